//! Small state that survives power loss: what is read back is what was saved last, or before it,
//! whole. The system is made to write it to the medium, so it may take a while: for the thread of
//! the [disk](super::disk) and for starts.
//!
//! A file is `RNS1`, the CRC-32 of what follows (IEEE 802.3), then the value as postcard writes it.

use super::disk::{beside, make_parent, sync_directory};
use crate::limits::STATE_BYTES;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// The bytes of a file that holds `value`. Fails when they are more than [`STATE_BYTES`].
pub fn encode(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let body =
        postcard::to_allocvec(value).map_err(|_| io::Error::other("it cannot be written"))?;
    if body.len() + HEAD > STATE_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.extend(MAGIC);
    bytes.extend(crc32(&body).to_be_bytes());
    bytes.extend(body);
    Ok(bytes)
}

/// Puts `bytes`, made by [`encode`], in place of what `path` holds. What it held before stays as
/// `<path>.bak` until the next time.
pub fn store(path: &Path, bytes: &[u8]) -> io::Result<()> {
    make_parent(path)?;
    let temp = beside(path, TEMP);
    let mut file = fs::File::create(&temp)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    match fs::rename(path, beside(path, BACKUP)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fs::rename(&temp, path)?;
    sync_directory(path)
}

/// What was stored last. `None` when nothing was, or nothing whole is left.
pub fn load<T: DeserializeOwned>(path: &Path) -> Option<T> {
    // The new one has its name last: until then it lies beside, whole or not.
    [path.to_owned(), beside(path, TEMP), beside(path, BACKUP)].iter().find_map(|path| {
        let bytes = super::files::read(path, STATE_BYTES).ok()?;
        decode(&bytes)
    })
}

/// Deletes it.
pub fn clear(path: &Path) {
    for suffix in [TEMP, BACKUP, ""] {
        // What is not there need not go.
        let _ = fs::remove_file(beside(path, suffix));
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (crc, body) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
    if u32::from_be_bytes(*crc) != crc32(body) {
        return None;
    }
    postcard::from_bytes(body).ok()
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xedb8_8320 };
        }
    }
    !crc
}

const MAGIC: &[u8] = b"RNS1";
const HEAD: usize = 8;
const TEMP: &str = ".new";
const BACKUP: &str = ".bak";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::mutations;
    use crate::io::disk::testing::Dir;

    type State = Vec<(String, u64)>;

    fn state(number: u64) -> State {
        vec![("a".repeat(40), number), ("b".into(), u64::MAX)]
    }

    #[test]
    fn the_sum_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_was_stored_last_is_loaded() {
        let dir = Dir::new();
        let path = dir.join("x/state");
        assert_eq!(load::<State>(&path), None);
        for number in 0..3 {
            store(&path, &encode(&state(number)).unwrap()).unwrap();
            assert_eq!(load(&path), Some(state(number)));
        }
        clear(&path);
        assert_eq!(fs::read_dir(dir.join("x")).unwrap().count(), 0);
    }

    #[test]
    fn a_store_cut_off_anywhere_leaves_one_of_the_two() {
        let dir = Dir::new();
        let path = dir.join("state");
        let (old, new) = (encode(&state(1)).unwrap(), encode(&state(2)).unwrap());
        for len in 0..=new.len() {
            // While the new file is written.
            clear(&path);
            store(&path, &old).unwrap();
            fs::write(beside(&path, TEMP), &new[..len]).unwrap();
            assert_eq!(load(&path), Some(state(1)));
            // Between the two renames.
            fs::rename(&path, beside(&path, BACKUP)).unwrap();
            let loaded = load(&path);
            assert_eq!(loaded, Some(state(if len == new.len() { 2 } else { 1 })));
            // A medium that lost what it was told to keep.
            fs::write(&path, &new[..len]).unwrap();
            assert!(load::<State>(&path).is_some());
        }
    }

    #[test]
    fn a_damaged_file_is_none() {
        let bytes = encode(&state(7)).unwrap();
        mutations(&bytes, |changed| {
            assert!(changed == bytes || decode::<State>(changed).is_none());
        });
        for len in 0..bytes.len() {
            assert_eq!(decode::<State>(&bytes[..len]), None);
        }
    }

    #[test]
    fn more_than_the_bound_is_refused() {
        let long = vec![(String::from_utf8(vec![b'x'; STATE_BYTES]).unwrap(), 1_u64)];
        assert!(encode(&long).is_err());
    }
}
