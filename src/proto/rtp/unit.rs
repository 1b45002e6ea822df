//! What comes out of a track.

/// A picture or an audio frame. It is lent: whoever needs it longer copies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit<'a> {
    /// Presentation time in ticks of the track's RTP clock; it does not wrap. The first packet of
    /// a track is at its 32-bit timestamp.
    pub time: i64,
    /// What it is.
    pub content: Content<'a>,
}

/// What is in a [`Unit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// An access unit: the NAL units of one picture, parameter sets among them where they came.
    Picture {
        /// Its units.
        nals: Nals<'a>,
        /// It has an IDR or IRAP slice: a decoder can start here.
        key: bool,
    },
    /// One raw AAC frame, without ADTS header.
    Audio(&'a [u8]),
    /// The AudioSpecificConfig of the frames that follow, where the stream itself says it.
    AudioConfig(&'a [u8]),
}

/// The NAL units of a picture, none of them empty, [`MESSAGE_MAX`](crate::limits::MESSAGE_MAX)
/// bytes at most with their lengths. Iterates over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nals<'a>(&'a [u8]);

impl<'a> Nals<'a> {
    /// `data` has a length of four bytes before each unit.
    pub(super) const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// The units, each behind its length in four bytes (ISO/IEC 14496-15).
    pub const fn with_lengths(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for Nals<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.0.split_first_chunk()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        let (nal, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some(nal)
    }
}
