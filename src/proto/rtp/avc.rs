//! H.264 in RTP (RFC 6184): single units, aggregates (STAP-A), fragments (FU-A).

use super::Error;
use super::picture::{Picture, Role};

/// NAL unit types of §5.2.
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Adds the payload of a packet to `picture`.
pub(super) fn take(picture: &mut Picture, payload: &[u8]) -> Result<(), Error> {
    let Some((&first, rest)) = payload.split_first() else { return Ok(()) };
    match first & 0x1f {
        kind @ 1..=23 => picture.unit(payload, role(kind, rest)),
        STAP_A => picture.aggregate(rest, inside),
        FU_A => fragment(picture, first, rest),
        kind => {
            picture.damage();
            Err(Error::Packetization(kind))
        }
    }
}

/// `body` is what stands behind the header of the unit.
fn role(kind: u8, body: &[u8]) -> Role {
    // first_mb_in_slice, 0 as ue(v), is what a slice begins with (ISO/IEC 14496-10 §7.3.3).
    let first = body.first().is_some_and(|byte| byte & 0x80 != 0);
    match kind {
        1..=5 => Role::Slice { key: kind == 5, first: first || matches!(kind, 3 | 4) },
        _ => Role::Other,
    }
}

/// What a unit inside an aggregate is; `None` for what does not belong there.
fn inside(unit: &[u8]) -> Option<Role> {
    let (first, body) = unit.split_first()?;
    let kind = first & 0x1f;
    (kind < STAP_A).then(|| role(kind, body))
}

fn fragment(picture: &mut Picture, indicator: u8, rest: &[u8]) -> Result<(), Error> {
    let Some((&header, piece)) = rest.split_first() else {
        picture.damage();
        return Err(Error::Short);
    };
    let kind = header & 0x1f;
    let (start, end) = (header & 0x80 != 0, header & 0x40 != 0);
    if start {
        picture.first_fragment(&[indicator & 0xe0 | kind], piece, role(kind, piece))?;
        if end { picture.fragment(&[], true) } else { Ok(()) }
    } else {
        picture.fragment(piece, end)
    }
}
