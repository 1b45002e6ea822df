//! Which service answers a request.

use super::answer::{Answer, Ask, Reply};
use crate::proto::http::encode_path;
use std::fmt;
use std::rc::Rc;

/// What answers requests.
pub type Handler = Rc<dyn Fn(&Ask) -> Answer>;

/// The paths of a port and who answers them. A handler that answers [`Answer::Next`] is followed
/// by the next one that fits; when none is left the answer is 404.
#[derive(Default)]
pub struct Router {
    ahead: Vec<Handler>,
    routes: Vec<Route>,
    last: Vec<Handler>,
    /// Pages of other sites may use what is served (CORS).
    pub crossdomain: bool,
    /// But not to change anything.
    pub read_only: bool,
}

struct Route {
    /// Empty: any host.
    host: String,
    path: String,
    handler: Handler,
}

impl Router {
    /// Asked before any pattern.
    pub fn ahead(&mut self, handler: impl Fn(&Ask) -> Answer + 'static) {
        self.ahead.push(Rc::new(handler));
    }

    /// Asked when no pattern's handler has an answer.
    pub fn last(&mut self, handler: impl Fn(&Ask) -> Answer + 'static) {
        self.last.push(Rc::new(handler));
    }

    /// Answers `pattern`: `/path`, or `/path/` for all that begins so; `host/path` for one host
    /// only. The longest pattern counts, of equals the first. A pattern that ends with `/` brings
    /// a redirect from the path without it. Once there is a pattern for a host, patterns without
    /// one do not count for it.
    pub fn on(&mut self, pattern: &str, handler: impl Fn(&Ask) -> Answer + 'static) {
        let (host, path) = pattern.split_at(pattern.find('/').unwrap_or(pattern.len()));
        let (host, path) = (host.to_ascii_lowercase(), path.to_owned());
        if let Some(bare) = path.strip_suffix('/').filter(|bare| !bare.is_empty()) {
            let (host, path) = (host.clone(), bare.to_owned());
            self.routes.push(Route { host, path, handler: Rc::new(to_slash) });
        }
        self.routes.push(Route { host, path, handler: Rc::new(handler) });
    }

    /// The handlers for a request, in the order in which they are to be asked, each with the
    /// length of what its pattern says of the path.
    pub(super) fn find(&self, host: &str, path: &str) -> Vec<(usize, Handler)> {
        let host = if self.routes.iter().any(|r| r.host == host) { host } else { "" };
        let fits = |route: &&Route| {
            let exact = route.path == path;
            route.host == host
                && (exact || route.path.ends_with('/') && path.starts_with(&route.path))
        };
        let mut routes: Vec<&Route> = self.routes.iter().filter(fits).collect();
        routes.sort_by_key(|route| std::cmp::Reverse(route.path.len()));
        let routes = routes.into_iter().map(|r| (r.path.len(), r.handler.clone()));
        let ahead = self.ahead.iter().map(|handler| (0, handler.clone()));
        let last = self.last.iter().map(|handler| (0, handler.clone()));
        ahead.chain(routes).chain(last).collect()
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns = self.routes.iter().map(|r| format!("{}{}", r.host, r.path));
        f.debug_list().entries(patterns).finish()
    }
}

/// To the same path as a directory.
pub fn to_slash(ask: &Ask) -> Answer {
    let query = if ask.request.query.is_empty() { "" } else { "?" };
    let to = format!("{}/{query}{}", encode_path(&ask.request.path), ask.request.query);
    let mut reply = Reply::status(302);
    reply.headers.push(("Location", to));
    Answer::Reply(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(router: &Router, host: &str, path: &str) -> Vec<usize> {
        router.find(host, path).into_iter().map(|(len, _)| len).collect()
    }

    #[test]
    fn the_longest_pattern_is_asked_first() {
        let mut router = Router::default();
        for pattern in ["/", "/a/", "/a/b", "/a/b/"] {
            router.on(pattern, |_| Answer::Next);
        }
        assert_eq!(lengths(&router, "", "/"), [1]);
        assert_eq!(lengths(&router, "", "/a"), [2, 1], "the redirect");
        assert_eq!(lengths(&router, "", "/a/x"), [3, 1]);
        assert_eq!(lengths(&router, "", "/a/b"), [4, 4, 3, 1]);
        assert_eq!(lengths(&router, "", "/a/b/c"), [5, 3, 1]);
        assert_eq!(lengths(&router, "", "/ab"), [1]);
    }

    #[test]
    fn a_host_with_patterns_of_its_own_has_no_others() {
        let mut router = Router::default();
        router.on("/", |_| Answer::Next);
        router.on("A.com/x/", |_| Answer::Next);
        assert_eq!(lengths(&router, "a.com", "/x/y"), [3]);
        assert_eq!(lengths(&router, "a.com", "/"), []);
        assert_eq!(lengths(&router, "b.com", "/x/y"), [1]);
    }
}
