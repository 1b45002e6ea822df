//! The secret that a request from another machine has to know to change something.

use crate::context::Context;
use crate::io::random;
use crate::service::http::Ask;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::hint::black_box;
use std::rc::Rc;

/// What was made because the configuration has none.
#[derive(Debug, Default)]
struct Made(RefCell<Option<String>>);

/// Says in the log what the token is, if it was made. A server that only this machine reaches
/// needs none.
pub(super) async fn announce(cx: Rc<Context>) {
    let config = cx.config();
    let api = &config.http_api;
    let local = api.listen.ip.is_some_and(|ip| ip.is_loopback());
    if api.enabled
        && api.token.is_empty()
        && !local
        && let Some(token) = made(&cx)
    {
        log::info!(
            "API: until the next start this token lets other machines change something: {token} \
             (http_api {{ token }} sets one for good)"
        );
    }
}

/// Whether `given` is the token. It takes as long whatever is wrong with it.
pub(super) fn fits(ask: &Ask, given: &str) -> bool {
    let config = ask.cx.config();
    let token = match config.http_api.token.as_str() {
        "" => made(&ask.cx).unwrap_or_default(),
        token => token.to_owned(),
    };
    !token.is_empty() && same(token.as_bytes(), given.as_bytes())
}

fn same(secret: &[u8], given: &[u8]) -> bool {
    let mut differs = secret.len() ^ given.len();
    for (at, byte) in secret.iter().enumerate() {
        let other = given.get(at).copied().unwrap_or_default();
        differs |= black_box(usize::from(byte ^ other));
    }
    black_box(differs) == 0
}

/// Made when it is first needed, or later, when the system has no randomness yet.
pub(super) fn made(cx: &Context) -> Option<String> {
    let made = cx.part::<Made>();
    if made.0.borrow().is_none() {
        let mut bytes = [0; 16];
        match random::fill(&mut bytes) {
            Ok(()) => {
                let mut text = String::new();
                for byte in bytes {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "{byte:02x}");
                }
                made.0.replace(Some(text));
            }
            Err(e) => log::error!("API: no token can be made: {e}"),
        }
    }
    made.0.borrow().clone()
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn only_the_whole_token_fits() {
        assert!(same(b"secret", b"secret"));
        for given in ["", "secre", "secrets", "Secret", "secre\0", "xecret"] {
            assert!(!same(b"secret", given.as_bytes()), "{given}");
        }
    }
}
