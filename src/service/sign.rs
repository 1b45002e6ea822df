//! Signed URLs: who publishes or plays must know a secret of the vhost, or have a URL from somebody
//! who does, which is good until a time.
//!
//! What is signed is `play:/app/stream:EXPIRES` or `publish:…`, with the vhost in front of `/app`
//! where it is not the default one. The parameters `expires` (seconds since 1970) and `sign`
//! (HMAC-SHA256 in hex or base64url) carry it.

use crate::config::{Role, SignedUrl};
use crate::context::Context;
use crate::hub::{Client, StreamKey};
use crate::io::clock;
use crate::service::admission::{Refusal, Step};
use crate::service::{Service, Task};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::rc::Rc;

/// Asks every client for the signature.
pub const SERVICE: Service = Service { ask, ..Service::new("sign") };

/// Bytes of a signature.
const LEN: usize = 32;

fn ask(_cx: &Rc<Context>, client: &Rc<Client>, step: Step) -> Option<Task<Result<(), Refusal>>> {
    let role = match step {
        Step::Connect => return None,
        Step::Publish => Role::Publish,
        Step::Play => Role::Play,
    };
    let rules = &client.vhost.signed_url;
    let refusal = check(rules, role, &client.key, &client.param, clock::unix() / 1000).err()?;
    Some(Box::pin(async move { Err(refusal) }))
}

/// Whether the parameters `param` of a URL allow `role` on the stream `key` at `now`, in seconds
/// since 1970.
pub fn check(
    rules: &SignedUrl,
    role: Role,
    key: &StreamKey,
    param: &str,
    now: u64,
) -> Result<(), Refusal> {
    if !wants(rules, role) {
        return Ok(());
    }
    let (Some(expires), Some(sign)) = (value(param, "expires"), value(param, "sign")) else {
        let text = "the url is not signed: it lacks expires and sign";
        return Err(Refusal::new(1052, text));
    };
    let wrong = |text: &str| Err(Refusal::new(1053, text));
    let Ok(until) = expires.parse::<u64>() else {
        return wrong("expires in the url is no time in seconds");
    };
    let Some(sign) = decode(sign) else {
        return wrong("sign in the url is neither hex nor base64url of 32 bytes");
    };
    let role = match role {
        Role::Publish => "publish",
        Role::Play => "play",
    };
    // The time as it is written: there is one way to write what was signed.
    let text = format!("{role}:{key}:{expires}");
    let fits = |secret: &String| {
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes());
        // Takes the same time wherever the first wrong byte is.
        mac.is_ok_and(|mac| mac.chain_update(text.as_bytes()).verify_slice(&sign).is_ok())
    };
    if !rules.secret.iter().any(fits) {
        return wrong("the url is signed with another secret, or for something else");
    }
    if until < now {
        let late = now - until;
        return wrong(&format!("the signed url is over since {late} s"));
    }
    Ok(())
}

/// Whether `role` needs a signature.
pub fn wants(rules: &SignedUrl, role: Role) -> bool {
    rules.enabled
        && match role {
            Role::Publish => rules.publish,
            Role::Play => rules.play,
        }
}

/// The parameter `name`; RTMP clients may give parameters twice, each with a `?`.
fn value<'p>(param: &'p str, name: &str) -> Option<&'p str> {
    let pairs = param.split(['?', '&']).filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// A signature in hex, or in base64url with or without its `=`.
fn decode(text: &str) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    let text = text.as_bytes();
    if text.len() == 2 * LEN {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        for (out, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let [high, low] = pair else { return None };
            *out = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
        }
        return Some(bytes);
    }
    let text = text.strip_suffix(b"=").or_else(|| text.strip_suffix(b"%3D")).unwrap_or(text);
    if text.len() != (4 * LEN).div_ceil(3) {
        return None;
    }
    let (mut bits, mut held, mut out) = (0u32, 0, bytes.iter_mut());
    for byte in text {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            if let Some(out) = out.next() {
                *out = (bits >> held & 0xff) as u8;
            }
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DEFAULT_VHOST;

    // printf 'play:/live/livestream:2000000000' | openssl dgst -sha256 -hmac secret -r
    const HEX: &str = "69fe646e2e6c7bfd7b9a1bb80fb103f7fac332a77ee24051a8aea10f47c88447";
    const BASE64: &str = "af5kbi5se_17mhu4D7ED9_rDMqd-4kBRqK6hD0fIhEc";
    const PUBLISH: &str = "f0a8b9f861affbbaa99e6adaeac9a7e8630b5bdd530eb620a457fabe5f23f206";

    fn rules(secrets: &[&str]) -> SignedUrl {
        let secret = secrets.iter().map(|s| (*s).to_owned()).collect();
        SignedUrl { enabled: true, secret, ..SignedUrl::default() }
    }

    fn play(rules: &SignedUrl, stream: &str, param: &str, now: u64) -> Result<(), String> {
        let key = StreamKey::new(DEFAULT_VHOST, "live", stream);
        check(rules, Role::Play, &key, param, now).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn what_openssl_signs_is_good_until_its_time() {
        let rules = rules(&["new", "secret"]);
        for sign in [HEX, &HEX.to_uppercase(), BASE64, &format!("{BASE64}=")] {
            let param = format!("?x=1&expires=2000000000&sign={sign}");
            assert_eq!(play(&rules, "livestream", &param, 2_000_000_000), Ok(()), "{sign}");
            let late = play(&rules, "livestream", &param, 2_000_000_007).unwrap_err();
            assert_eq!(late, "the signed url is over since 7 s. ret=1053");
        }
        let param = format!("?expires=2000000000&sign={PUBLISH}");
        let key = StreamKey::new(DEFAULT_VHOST, "live", "livestream");
        assert_eq!(check(&rules, Role::Publish, &key, &param, 0), Ok(()));
        assert!(check(&rules, Role::Play, &key, &param, 0).is_err(), "to publish is not to play");
    }

    #[test]
    fn what_is_not_signed_so_is_refused() {
        let rules = rules(&["secret"]);
        let good = format!("?expires=2000000000&sign={HEX}");
        assert_eq!(play(&rules, "livestream", &good, 0), Ok(()));
        assert!(play(&rules, "livestream2", &good, 0).is_err());
        for (param, part) in [
            ("", "not signed"),
            ("?expires=2000000000", "not signed"),
            (&*format!("?sign={HEX}"), "not signed"),
            (&*format!("?expires=2000000001&sign={HEX}"), "another secret"),
            (&*format!("?expires=02000000000&sign={HEX}"), "another secret"),
            (&*format!("?expires=soon&sign={HEX}"), "no time"),
            (&*format!("?expires=99999999999999999999&sign={HEX}"), "no time"),
            ("?expires=2000000000&sign=", "neither hex"),
            ("?expires=2000000000&sign=zz", "neither hex"),
            (&*format!("?expires=2000000000&sign={}", &HEX[1..]), "neither hex"),
            (&*format!("?expires=2000000000&sign={}x", &HEX[1..]), "neither hex"),
            (&*format!("?expires=2000000000&sign={}", "é".repeat(32)), "neither hex"),
            (&*format!("?expires=2000000000&sign={}", "0".repeat(64)), "another secret"),
        ] {
            let error = play(&rules, "livestream", param, 0).unwrap_err();
            assert!(error.contains(part), "{param}: {error}");
        }
        let other = StreamKey::new("a.com", "live", "livestream");
        assert!(check(&rules, Role::Play, &other, &good, 0).is_err(), "another vhost");
    }

    #[test]
    fn each_side_may_be_left_open() {
        let only_play = SignedUrl { publish: false, ..rules(&["secret"]) };
        let key = StreamKey::new(DEFAULT_VHOST, "live", "s");
        assert_eq!(check(&only_play, Role::Publish, &key, "", 0), Ok(()));
        assert!(check(&only_play, Role::Play, &key, "", 0).is_err());
        assert_eq!(check(&SignedUrl::default(), Role::Play, &key, "", 0), Ok(()));
    }
}
