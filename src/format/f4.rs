//! What Adobe HTTP Dynamic Streaming tells players: the manifest (F4M 1.0) and the bootstrap, which
//! lists fragments (Adobe Flash Video File Format Specification 10.1, §2.11.2).

use std::fmt::Write;

/// One fragment of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// From 1 on.
    pub number: u32,
    /// The time of its first frame in milliseconds.
    pub start: u64,
    /// Milliseconds.
    pub duration: u32,
}

/// The manifest of the live stream whose files begin with `name`.
pub fn manifest(name: &str) -> String {
    let url = url(name);
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <manifest xmlns=\"http://ns.adobe.com/f4m/1.0\">\n\
         \t<id>{url}.f4m</id>\n\
         \t<streamType>live</streamType>\n\
         \t<deliveryType>streaming</deliveryType>\n\
         \t<bootstrapInfo profile=\"named\" url=\"{url}.abst\" id=\"bootstrap0\" />\n\
         \t<media bitrate=\"0\" url=\"{url}\" bootstrapInfoId=\"bootstrap0\"></media>\n\
         </manifest>\n"
    )
}

/// The name of the fragment `number` of the stream whose files begin with `name`.
pub fn fragment_name(name: &str, number: u32) -> String {
    format!("{name}Seg1-Frag{number}")
}

/// Whether `file` is the name of a fragment or the bootstrap of the stream whose files begin with
/// `name`, finished or not.
pub fn is_of(name: &str, file: &str) -> bool {
    let Some(rest) = file.strip_prefix(name) else { return false };
    let number = rest.strip_prefix("Seg1-Frag").map(|n| n.strip_suffix(".tmp").unwrap_or(n));
    let digits = |n: &str| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit());
    number.is_some_and(digits) || matches!(rest, ".abst" | ".abst.temp" | ".f4m.temp")
}

/// The bootstrap (`abst`) of a live stream that can be played from the first of `fragments` to the
/// last one. They are in order.
pub fn bootstrap(fragments: &[Fragment]) -> Vec<u8> {
    let last = fragments.last().copied();
    let number = last.map_or(0, |fragment| fragment.number).to_be_bytes();
    let mut abst = full_box(b"abst");
    abst.extend(number);
    // The profile is named, the stream live.
    abst.push(0x20);
    abst.extend(TIMESCALE);
    abst.extend(last.map_or(0, |fragment| fragment.start).to_be_bytes());
    // No SMPTE offset, movie, servers, qualities, protection or metadata.
    abst.extend([0; 8 + 5]);
    abst.push(1);
    let mut asrt = full_box(b"asrt");
    asrt.push(0);
    asrt.extend(1_u32.to_be_bytes());
    asrt.extend(1_u32.to_be_bytes());
    asrt.extend(number);
    abst.extend(closed(asrt));
    abst.push(1);
    let mut afrt = full_box(b"afrt");
    afrt.extend(TIMESCALE);
    afrt.push(0);
    afrt.extend(u32::try_from(fragments.len()).unwrap_or(u32::MAX).to_be_bytes());
    for fragment in fragments {
        afrt.extend(fragment.number.to_be_bytes());
        afrt.extend(fragment.start.to_be_bytes());
        afrt.extend(fragment.duration.to_be_bytes());
    }
    abst.extend(closed(afrt));
    closed(abst)
}

/// The head of a fragment: a box `mdat` with `len` bytes of FLV tags. `None` when they are more than
/// 32 bits can say.
pub fn media_head(len: u64) -> Option<[u8; 8]> {
    let [a, b, c, d] = u32::try_from(len.checked_add(8)?).ok()?.to_be_bytes();
    Some([a, b, c, d, b'm', b'd', b'a', b't'])
}

/// The start of a box with version and flags 0; its size is not known yet.
fn full_box(kind: &[u8; 4]) -> Vec<u8> {
    [&[0; 4][..], kind, &[0; 4]].concat()
}

/// The box with its size.
fn closed(mut content: Vec<u8>) -> Vec<u8> {
    let size = u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(place) = content.first_chunk_mut() {
        *place = size;
    }
    content
}

/// `name` as a part of a url, fit for XML too.
fn url(name: &str) -> String {
    let mut url = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            // A String takes what is written.
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}

/// Milliseconds.
const TIMESCALE: [u8; 4] = 1000_u32.to_be_bytes();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::hex;

    #[test]
    fn a_bootstrap_lists_the_fragments_of_the_window() {
        let fragments = [
            Fragment { number: 7, start: 60_000, duration: 10_000 },
            Fragment { number: 8, start: 70_000, duration: 10_500 },
        ];
        let want = "
            00000093 61627374 00000000 00000008 20 000003e8 0000000000011170
            0000000000000000 00 00 00 00 00
            01
            00000019 61737274 00000000 00 00000001 00000001 00000008
            01
            00000035 61667274 00000000 000003e8 00 00000002
            00000007 000000000000ea60 00002710
            00000008 0000000000011170 00002904";
        let got = bootstrap(&fragments);
        assert_eq!(got, fix(hex(want)));
        assert_eq!(got.len(), 12 + 4 + 1 + 4 + 16 + 5 + 1 + 25 + 1 + 21 + 32);
    }

    /// The outer size, which the sum in the test below checks.
    fn fix(mut bytes: Vec<u8>) -> Vec<u8> {
        let len = bytes.len() as u32;
        bytes[..4].copy_from_slice(&len.to_be_bytes());
        bytes
    }

    #[test]
    fn no_fragments_are_a_list_too() {
        let got = bootstrap(&[]);
        assert_eq!(got[..4], (got.len() as u32).to_be_bytes());
    }

    #[test]
    fn a_manifest_names_the_files() {
        let text = manifest("cam");
        for part in [
            "<id>cam.f4m</id>",
            "<streamType>live</streamType>",
            "profile=\"named\" url=\"cam.abst\" id=\"bootstrap0\"",
            "<media bitrate=\"0\" url=\"cam\" bootstrapInfoId=\"bootstrap0\">",
        ] {
            assert!(text.contains(part), "{part}");
        }
        assert!(manifest("a b<&\"é%").contains("url=\"a%20b%3C%26%22%C3%A9%25.abst\""));
        assert_eq!(fragment_name("cam", 12), "camSeg1-Frag12");
    }

    #[test]
    fn a_fragment_says_its_length() {
        assert_eq!(media_head(0), Some(*b"\0\0\0\x08mdat"));
        assert_eq!(media_head(u64::from(u32::MAX) - 8), Some(*b"\xff\xff\xff\xffmdat"));
        assert_eq!(media_head(u64::from(u32::MAX) - 7), None);
    }

    #[test]
    fn files_of_a_stream_are_known_by_their_names() {
        for file in ["camSeg1-Frag1", "camSeg1-Frag20.tmp", "cam.abst", "cam.abst.temp"] {
            assert!(is_of("cam", file), "{file}");
        }
        for file in ["cam", "cam.f4m", "cam2Seg1-Frag1", "camSeg1-Frag", "camSeg1-Fragx", "cam.ts"]
        {
            assert!(!is_of("cam", file), "{file}");
        }
    }
}
