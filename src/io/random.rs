//! What nobody can foretell.

use std::fs::File;
use std::io::{self, Read};

/// Bytes from the system's source, which does not wait. Of its file, because the call is not in
/// kernels before 3.17.
pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// `N` such bytes as hexadecimal digits.
pub fn hex<const N: usize>() -> io::Result<String> {
    Ok(bytes::<N>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_are_never_the_same() {
        let (one, other) = (hex::<16>().unwrap(), hex::<16>().unwrap());
        assert_eq!((one.len(), other.len()), (32, 32));
        assert_ne!(one, other);
    }
}
