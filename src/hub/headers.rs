//! What comes before any media: metadata and sequence headers.

use crate::media::Packet;

/// What a new player must have before any media: the newest of each, and a number that grows
/// whenever one of them changes.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    /// `onMetaData`.
    pub metadata: Option<Packet>,
    /// AudioSpecificConfig or its like.
    pub audio: Option<Packet>,
    /// AVCDecoderConfigurationRecord or its like.
    pub video: Option<Packet>,
    /// Changes so far.
    pub generation: u32,
}

impl Headers {
    /// In the order in which they are sent.
    pub fn iter(&self) -> impl Iterator<Item = &Packet> {
        [&self.metadata, &self.audio, &self.video].into_iter().flatten()
    }
}
