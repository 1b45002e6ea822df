//! Authentication of both sides: Basic (RFC 7617), Digest with MD5 and SHA-256 (RFC 2617,
//! RFC 7616).

use super::base64;
use md5::{Digest as _, Md5};
use sha2::Sha256;
use std::fmt::{self, Write as _};

/// A name and its password. `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The hash of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Md5,
    Sha256,
}

impl Hash {
    fn of(self, parts: &[&str]) -> String {
        let text = parts.join(":");
        match self {
            Self::Md5 => hex(&Md5::digest(text.as_bytes())),
            Self::Sha256 => hex(&Sha256::digest(text.as_bytes())),
        }
    }

    fn parse(name: Option<&str>) -> Option<Self> {
        match name.unwrap_or("MD5").to_ascii_uppercase().as_str() {
            "MD5" => Some(Self::Md5),
            "SHA-256" => Some(Self::Sha256),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }
}

/// The part of a digest answer that both sides compute (RFC 7616 §3.4.1); `counted` is `nc`,
/// `cnonce` and `qop` where the quality of protection is used.
fn response(
    hash: Hash,
    credentials: (&str, &str),
    realm: &str,
    nonce: &str,
    counted: Option<[&str; 3]>,
    (method, uri): (&str, &str),
) -> String {
    let secret = hash.of(&[credentials.0, realm, credentials.1]);
    let asked = hash.of(&[method, uri]);
    match counted {
        Some([count, own, quality]) => hash.of(&[&secret, nonce, count, own, quality, &asked]),
        None => hash.of(&[&secret, nonce, &asked]),
    }
}

/// What a server wants to be proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    realm: String,
    /// `None` for Basic.
    digest: Option<Digest>,
    /// The nonce was too old; the credentials may be right.
    pub stale: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Digest {
    nonce: String,
    opaque: Option<String>,
    hash: Hash,
    /// Whether the server named it.
    names_hash: bool,
    auth: bool,
}

impl Challenge {
    /// The strongest challenge that can be met among the `WWW-Authenticate` lines of a response.
    pub fn choose<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Self> {
        lines.filter_map(Self::parse).max_by_key(|challenge| match &challenge.digest {
            None => 0,
            Some(digest) => 1 + u8::from(digest.hash == Hash::Sha256),
        })
    }

    fn parse(line: &str) -> Option<Self> {
        let (scheme, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let parameters = Parameters::parse(rest);
        let realm = parameters.get("realm").unwrap_or_default().to_owned();
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self { realm, digest: None, stale: false });
        }
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let hash = Hash::parse(parameters.get("algorithm"))?;
        let auth = match parameters.get("qop") {
            None | Some("") => false,
            Some(list) if list.split(',').any(|q| q.trim().eq_ignore_ascii_case("auth")) => true,
            Some(_) => return None,
        };
        let digest = Digest {
            nonce: parameters.get("nonce")?.to_owned(),
            opaque: parameters.get("opaque").map(str::to_owned),
            hash,
            names_hash: parameters.get("algorithm").is_some(),
            auth,
        };
        let stale = parameters.get("stale").is_some_and(|s| s.eq_ignore_ascii_case("true"));
        Some(Self { realm, digest: Some(digest), stale })
    }

    /// The `Authorization` line for a request. `count` is how many requests had this challenge's
    /// nonce, this one included; `own` is a text that the server cannot foretell.
    pub fn answer(
        &self,
        credentials: &Credentials,
        (method, uri): (&str, &str),
        count: u32,
        own: &str,
    ) -> String {
        let Credentials { user, password } = credentials;
        let Some(digest) = &self.digest else {
            return format!("Basic {}", base64::encode(format!("{user}:{password}").as_bytes()));
        };
        let Digest { nonce, opaque, hash, names_hash, auth } = digest;
        let (realm, count) = (&self.realm, format!("{count:08x}"));
        let counted = auth.then_some([&*count, own, "auth"]);
        let login = (&**user, &**password);
        let response = response(*hash, login, realm, nonce, counted, (method, uri));
        let mut line = format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", \
             response=\"{response}\"",
            escaped(user),
            escaped(realm),
            escaped(nonce)
        );
        // Writing to a String cannot fail.
        if *auth {
            let _ = write!(line, ", qop=auth, nc={count}, cnonce=\"{own}\"");
        }
        if *names_hash {
            let _ = write!(line, ", algorithm={}", hash.name());
        }
        if let Some(opaque) = opaque {
            let _ = write!(line, ", opaque=\"{}\"", escaped(opaque));
        }
        line
    }
}

/// What a server asks of those that come in on one connection.
#[derive(Clone, Debug)]
pub struct Gate {
    /// What the clients show with the question for the password.
    pub realm: String,
    /// A text that nobody can foretell, other for each connection: so that an answer is of no use
    /// on another one.
    pub nonce: String,
    /// Who may come in.
    pub credentials: Credentials,
    /// Take Basic too, which shows the password to whoever listens on the way.
    pub basic: bool,
}

impl Gate {
    /// The `WWW-Authenticate` lines. Digest is asked for as RFC 2069 has it, with MD5 and without
    /// quality of protection: encoders know nothing else. They may do better.
    pub fn challenges(&self) -> Vec<String> {
        let Self { realm, nonce, .. } = self;
        let (realm, nonce) = (escaped(realm), escaped(nonce));
        let mut lines = vec![format!("Digest realm=\"{realm}\", nonce=\"{nonce}\"")];
        if self.basic {
            lines.push(format!("Basic realm=\"{realm}\""));
        }
        lines
    }

    /// Whether an `Authorization` line lets a request in. What is secret is compared in constant
    /// time.
    pub fn admits(&self, method: &str, uri: &str, line: &str) -> bool {
        let Some((scheme, rest)) = line.trim().split_once(' ') else { return false };
        if scheme.eq_ignore_ascii_case("basic") {
            let login = base64::decode(rest);
            let Credentials { user, password } = &self.credentials;
            let due = format!("{user}:{password}");
            return self.basic && login.is_some_and(|login| same(&login, due.as_bytes()));
        }
        scheme.eq_ignore_ascii_case("digest") && self.digest(method, uri, rest).unwrap_or(false)
    }

    fn digest(&self, method: &str, uri: &str, rest: &str) -> Option<bool> {
        let parameters = Parameters::parse(rest);
        let hash = Hash::parse(parameters.get("algorithm"))?;
        let counted = match parameters.get("qop") {
            None => None,
            Some("auth") => Some([parameters.get("nc")?, parameters.get("cnonce")?, "auth"]),
            Some(_) => return None,
        };
        let stated = parameters.get("uri")?;
        let Credentials { user, password } = &self.credentials;
        // Some clients say the url of the session in requests for a track.
        let of_this = stated == uri || uri.starts_with(stated) || stated.starts_with(uri);
        let known = parameters.get("realm")? == self.realm
            && parameters.get("nonce")? == self.nonce
            && same(parameters.get("username")?.as_bytes(), user.as_bytes());
        let login = (&**user, &**password);
        let due = response(hash, login, &self.realm, &self.nonce, counted, (method, stated));
        let given = parameters.get("response")?.to_ascii_lowercase();
        Some(same(given.as_bytes(), due.as_bytes()) && known && of_this)
    }
}

/// Compares in a time that does not depend on where the first difference is, nor on the length of
/// what is secret.
fn same(given: &[u8], due: &[u8]) -> bool {
    let (given, due) = (Sha256::digest(given), Sha256::digest(due));
    given.iter().zip(due.iter()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// `name=value` or `name="value"`, with commas between.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn parse(text: &str) -> Self {
        let mut found = Vec::new();
        let mut rest = text;
        while let Some((name, after)) = rest.split_once('=') {
            let name = name.trim_matches(|c: char| c == ',' || c.is_whitespace());
            let after = after.trim_start();
            let (value, end) = match after.strip_prefix('"') {
                Some(quoted) => unquote(quoted),
                None => {
                    let end = after.find(',').unwrap_or(after.len());
                    let (value, end) = after.split_at(end);
                    (value.trim().to_owned(), end)
                }
            };
            found.push((name.to_ascii_lowercase(), value));
            rest = end;
        }
        Self(found)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// What stands before the closing quote, and what behind it.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, text.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::mutations;

    fn login(user: &str, password: &str) -> Credentials {
        Credentials { user: user.into(), password: password.into() }
    }

    /// Challenge, request, own text, the answer's response: RFC 2617 §3.5, RFC 7616 §3.9.1, and
    /// RFC 2069 with the numbers of its errata.
    const CASES: &[(&str, &str, &str, &str, &str)] = &[
        (
            "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
             nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
             opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
            "Circle Of Life",
            "/dir/index.html",
            "0a4f113b",
            "6629fae49393a05397450978507c4ef1",
        ),
        (
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=SHA-256, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
             opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"",
            "Circle of Life",
            "/dir/index.html",
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
        (
            "Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
             opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
            "CircleOfLife",
            "/dir/index.html",
            "",
            "1949323746fe6a43ef61f9606e7febea",
        ),
    ];

    #[test]
    fn digests_are_those_of_the_standards() {
        for (line, password, uri, own, response) in CASES {
            let challenge = Challenge::choose([*line].into_iter()).unwrap();
            let answer = challenge.answer(&login("Mufasa", password), ("GET", uri), 1, own);
            assert!(answer.contains(&format!("response=\"{response}\"")), "{answer}");
            assert!(answer.contains("opaque=\""));
        }
    }

    #[test]
    fn the_strongest_challenge_is_met() {
        let basic = "Basic realm=\"a\"";
        let md5 = "Digest realm=\"a, b\", nonce=\"n\"";
        let sha = "Digest realm=\"a\", nonce=\"n\", algorithm=SHA-256, stale=TRUE";
        let unknown = "Digest realm=\"a\", nonce=\"n\", algorithm=SHA-512-256";
        let choose = |lines: &[&str]| Challenge::choose(lines.iter().copied());
        assert_eq!(choose(&[basic, sha, md5]), choose(&[sha]));
        assert_eq!(choose(&[md5, unknown, basic]), choose(&[md5]));
        assert_eq!(choose(&[md5]).unwrap().realm, "a, b");
        assert_eq!(choose(&[basic, unknown]), choose(&[basic]));
        assert!(choose(&[sha]).unwrap().stale && !choose(&[md5]).unwrap().stale);
        assert_eq!(choose(&["Bearer x", unknown, "Digest realm=\"no nonce\""]), None);
        let answer =
            choose(&[basic]).unwrap().answer(&login("Aladdin", "open sesame"), ("", ""), 1, "");
        assert_eq!(answer, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }

    fn gate(basic: bool) -> Gate {
        let (realm, nonce) = ("run\"nel".into(), "0123abcd".into());
        Gate { realm, nonce, credentials: login("cam", "pass:wörd"), basic }
    }

    const URI: &str = "rtsp://h/live/s";

    #[test]
    fn who_knows_the_password_comes_in() {
        for basic in [true, false] {
            let gate = gate(basic);
            let lines = gate.challenges();
            assert_eq!(lines.len(), 1 + usize::from(basic));
            for line in &lines {
                for more in
                    ["", ", qop=\"auth\"", ", algorithm=SHA-256", ", qop=auth, algorithm=MD5"]
                {
                    let challenge = Challenge::parse(&format!("{line}{more}")).unwrap();
                    let answer = |login: &Credentials, method, uri| {
                        challenge.answer(login, (method, uri), 1, "0f")
                    };
                    let right = answer(&gate.credentials, "ANNOUNCE", URI);
                    assert!(gate.admits("ANNOUNCE", URI, &right), "{right}");
                    assert!(gate.admits("ANNOUNCE", &format!("{URI}/t=1"), &right));
                    for wrong in [login("cam", "pass"), login("cam2", "pass:wörd"), login("", "")]
                    {
                        assert!(!gate.admits("ANNOUNCE", URI, &answer(&wrong, "ANNOUNCE", URI)));
                    }
                    if right.starts_with("Digest") {
                        assert!(!gate.admits("SETUP", URI, &right), "of another method");
                        assert!(!gate.admits("ANNOUNCE", "rtsp://h/live/t", &right));
                        let other = Gate { nonce: "other".into(), ..gate.clone() };
                        assert!(!other.admits("ANNOUNCE", URI, &right), "of another connection");
                    }
                }
            }
        }
        let right = Challenge::parse("Basic realm=\"a\"").unwrap().answer(
            &gate(false).credentials,
            ("", ""),
            1,
            "",
        );
        assert!(gate(true).admits("ANNOUNCE", URI, &right));
        assert!(!gate(false).admits("ANNOUNCE", URI, &right), "Basic was not asked for");
    }

    #[test]
    fn a_changed_answer_does_not_come_in() {
        let gate = gate(true);
        for line in gate.challenges() {
            let challenge = Challenge::parse(&line).unwrap();
            let right = challenge.answer(&gate.credentials, ("SETUP", URI), 1, "");
            for len in 0..right.len() - 2 {
                let cut = String::from_utf8_lossy(&right.as_bytes()[..len]).into_owned();
                assert!(!gate.admits("SETUP", URI, &cut), "{cut}");
            }
            mutations(right.as_bytes(), |changed| {
                gate.admits("SETUP", URI, &String::from_utf8_lossy(changed));
                let _ = Challenge::parse(&String::from_utf8_lossy(changed));
            });
        }
    }
}
