//! Elementary streams: what is left of a stream without its container.

use runnel::codec::nal::{self, Unit, Video};
use runnel::format::ts::{Body, read};
use runnel::media::{Kind, Packet};
use std::path::Path;
use std::process::Command;

/// The slices of the pictures, in their order.
pub fn slices(packets: &[Packet], video: Video) -> Vec<Vec<u8>> {
    let pictures = packets.iter().filter(|p| p.kind == Kind::Video && !p.header);
    let units = pictures.flat_map(|packet| {
        let data = match read(packet.kind, &packet.payload) {
            Ok(Body::Picture(_, _, data)) => data,
            // The end of the sequence, which ffmpeg says in FLV.
            _ => b"",
        };
        nal::prefixed(data, 4)
    });
    only_slices(video, units)
}

/// Those units that are slices.
pub fn only_slices<'a>(video: Video, units: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    units
        .filter(|unit| matches!(video.unit(unit), Unit::Slice { .. }))
        .map(<[u8]>::to_vec)
        .collect()
}

/// An elementary stream as ffmpeg takes it out of `file`.
pub fn extract(program: &Path, file: &Path, args: &str) -> Vec<u8> {
    let output = Command::new(program)
        .args(["-v", "error", "-i"])
        .arg(file)
        .args(args.split_whitespace())
        .arg("-")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
