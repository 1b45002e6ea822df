//! H.265 in RTP (RFC 7798): single units, aggregates (AP), fragments (FU), all without DONL.

use super::Error;
use super::picture::{Picture, Role};

/// NAL unit types of §4.4.
const AP: u8 = 48;
const FU: u8 = 49;

/// Adds the payload of a packet to `picture`.
pub(super) fn take(picture: &mut Picture, payload: &[u8]) -> Result<(), Error> {
    let Some((&[first, second], rest)) = payload.split_first_chunk() else {
        if !payload.is_empty() {
            picture.damage();
            return Err(Error::Short);
        }
        return Ok(());
    };
    match first >> 1 & 0x3f {
        kind @ 0..=47 => picture.unit(payload, role(kind, rest)),
        AP => picture.aggregate(rest, inside),
        FU => fragment(picture, [first, second], rest),
        kind => {
            picture.damage();
            Err(Error::Packetization(kind))
        }
    }
}

/// `body` is what stands behind the header of the unit.
fn role(kind: u8, body: &[u8]) -> Role {
    // first_slice_segment_in_pic_flag (ISO/IEC 23008-2 §7.3.6.1).
    let first = body.first().is_some_and(|byte| byte & 0x80 != 0);
    match kind {
        0..=31 => Role::Slice { key: (16..=23).contains(&kind), first },
        _ => Role::Other,
    }
}

/// What a unit inside an aggregate is; `None` for what does not belong there.
fn inside(unit: &[u8]) -> Option<Role> {
    let ([first, _], body) = unit.split_first_chunk()?;
    let kind = first >> 1 & 0x3f;
    (kind < AP).then(|| role(kind, body))
}

fn fragment(picture: &mut Picture, head: [u8; 2], rest: &[u8]) -> Result<(), Error> {
    let Some((&header, piece)) = rest.split_first() else {
        picture.damage();
        return Err(Error::Short);
    };
    let kind = header & 0x3f;
    let (start, end) = (header & 0x80 != 0, header & 0x40 != 0);
    if start {
        let head = [head[0] & 0x81 | kind << 1, head[1]];
        picture.first_fragment(&head, piece, role(kind, piece))?;
        if end { picture.fragment(&[], true) } else { Ok(()) }
    } else {
        picture.fragment(piece, end)
    }
}
