//! One fragment while it is written.

use crate::format::f4::{Fragment, media_head};
use crate::format::flv::{tag_header, tag_trailer};
use crate::io::disk::{CreateOptions, Disk, File, Full, Reply};
use crate::limits::WRITE_BYTES;
use crate::media::{Kind, Packet};
use bytes::{BufMut, BytesMut};

/// Whether a file was written and has its name.
pub(super) type Kept = Reply<Result<(), String>>;

/// A box of FLV tags, beginning with sequence headers. It has its name when it is whole.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    path: String,
    number: u32,
    /// In milliseconds of the stream, which do not wrap.
    start: u64,
    last: u64,
    /// Bytes of tags so far.
    len: u64,
    batch: BytesMut,
    /// The disk had no room for a part.
    broken: bool,
}

impl Segment {
    /// Fragment `number`, to be called `path`, from `start` milliseconds on.
    pub(super) fn new(disk: &Disk, path: String, number: u32, start: u64) -> Self {
        let options = CreateOptions { dirs: true, append: false, exclusive: false };
        let mut batch = BytesMut::new();
        batch.put_bytes(0, HEAD);
        Self {
            file: disk.create(format!("{path}.tmp"), options),
            path,
            number,
            start,
            last: start,
            len: 0,
            batch,
            broken: false,
        }
    }

    /// Milliseconds from its start to `now` of the stream.
    pub(super) const fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.start)
    }

    /// Writes `packet` at `now` of the stream.
    pub(super) fn put(&mut self, packet: &Packet, now: u64) {
        // 31 bits, as in every FLV tag; players of live streams know that it wraps.
        let dts = (now & u64::from(crate::media::time::MASK)) as u32;
        let Some(head) = tag_header(packet.kind, dts, packet.payload.len()) else { return };
        self.batch.put_slice(&head);
        self.batch.put_slice(&packet.payload);
        let trailer = tag_trailer(packet.payload.len());
        self.batch.put_slice(&trailer);
        self.len += (head.len() + packet.payload.len() + trailer.len()) as u64;
        if packet.kind != Kind::Data {
            self.last = self.last.max(now);
        }
        if self.batch.len() >= WRITE_BYTES {
            self.flush();
        }
    }

    /// What went wrong.
    pub(super) fn failed(&self) -> Option<&str> {
        self.file.failed()
    }

    /// The number that it has.
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// Closes it before `next`, the time of the frame after it; `None`: the stream ends. With it
    /// comes what will have become of the file. `None` comes back, and the file goes, when
    /// something is missing in it.
    pub(super) fn finish(mut self, next: Option<u64>) -> Option<(Fragment, Kept)> {
        self.flush();
        let whole = media_head(self.len).filter(|_| !self.broken);
        let Some(head) = whole.filter(|head| self.head(*head).is_ok()) else {
            log::warn!("hds: {} is left out, the disk is too slow", self.path);
            self.file.remove();
            return None;
        };
        debug_assert_eq!(head.len(), HEAD);
        self.file.rename(&self.path);
        let end = next.unwrap_or(self.last).max(self.start + 1);
        let duration = u32::try_from(end - self.start).unwrap_or(u32::MAX);
        let fragment = Fragment { number: self.number, start: self.start, duration };
        Some((fragment, self.file.close()))
    }

    fn head(&self, head: [u8; HEAD]) -> Result<(), Full> {
        self.file.write_at(0, head.to_vec().into())
    }

    fn flush(&mut self) {
        if !self.batch.is_empty() && !self.broken {
            self.broken = self.file.append(self.batch.split().freeze()).is_err();
        }
        self.batch.clear();
    }
}

const HEAD: usize = 8;
