//! The command line.

use lexopt::{Error, prelude::*};
use std::ffi::OsString;
use std::path::PathBuf;

/// What the command line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-c`: the configuration file; without it the built-in defaults.
    pub config: Option<PathBuf>,
    /// `-p`: listens there instead.
    pub port: Option<u16>,
    /// `--http-port`: serves HTTP there instead.
    pub http_port: Option<u16>,
    /// `--demo`: publishes the built-in test stream.
    pub demo: bool,
    /// What to do.
    pub action: Action,
    /// [`DETACHED`]: this process is the daemon that another one started.
    pub detached: bool,
}

/// The argument of the process that serves as a daemon; it is not for people.
pub const DETACHED: &str = "--detached";

/// What to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Serve.
    #[default]
    Run,
    /// `-t`: read the configuration, say whether it is right, exit.
    Test,
    /// `-T`: print every directive with its default.
    Reference,
    /// `--limits`: print the bounds of this image and their sum.
    Limits,
    /// `-v`, `-V`.
    Version,
    /// `-h`, `-?`.
    Help,
}

/// What `-h` prints below the version.
pub const HELP: &str = "\
Usage: runnel [-c FILE] [--demo] [-p PORT]
       runnel -t -c FILE

  -c FILE    configuration file; without it everything runs from built-in defaults
  -t         check the configuration file and exit
  -T         print every directive with its default and exit
  -p PORT    listen for RTMP on PORT, whatever the file says
  --http-port PORT
             serve HTTP on PORT, whatever the file says
  --demo     publish a built-in moving picture with sound as /live/demo
  --limits   print every bound of this image and the most memory it can use
  -v, -V     print the version
  -h, -?     print this

For example:
  runnel
  runnel --demo
  runnel -t -c conf/rtmp.conf
  runnel -c conf/rtmp.conf
";

impl Options {
    /// Reads the arguments after the program's name.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut parser = lexopt::Parser::from_args(args);
        let mut options = Self::default();
        while let Some(arg) = parser.next().map_err(|e| why(&e))? {
            match arg {
                Short('c') => options.config = Some(value(&mut parser)?.into()),
                Short('p') => options.port = Some(port(&mut parser)?),
                Long("http-port") => options.http_port = Some(port(&mut parser)?),
                Short('t') => options.action = Action::Test,
                Short('T') => options.action = Action::Reference,
                Short('v' | 'V') | Long("version") => options.action = Action::Version,
                Short('h' | '?') | Long("help") => options.action = Action::Help,
                Long("demo") => options.demo = true,
                Long("detached") => options.detached = true,
                Long("limits") => options.action = Action::Limits,
                other => return Err(why(&other.unexpected())),
            }
            if matches!(options.action, Action::Version | Action::Help) {
                return Ok(options);
            }
        }
        if options.action == Action::Test && options.config.is_none() {
            return Err("-t checks a configuration file: give it with -c".into());
        }
        Ok(options)
    }
}

fn value(parser: &mut lexopt::Parser) -> Result<OsString, String> {
    parser.value().map_err(|e| why(&e))
}

/// In words of our own: those of lexopt show strings as Rust would write them, which takes 6 KB of
/// tables.
fn why(error: &Error) -> String {
    match error {
        Error::MissingValue { option: Some(option) } => {
            format!("missing argument for option '{option}'")
        }
        Error::UnexpectedOption(option) => format!("invalid option '{option}'"),
        Error::UnexpectedArgument(word) => format!("unexpected argument \"{}\"", word.display()),
        Error::UnexpectedValue { option, value } => {
            format!("unexpected argument for option '{option}': \"{}\"", value.display())
        }
        _ => "the arguments cannot be read".into(),
    }
}

fn port(parser: &mut lexopt::Parser) -> Result<u16, String> {
    let text = value(parser)?.to_string_lossy().into_owned();
    let port = text.parse().ok().filter(|&port| port > 0);
    port.ok_or_else(|| format!("{text} is no port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn flags_may_share_a_word_and_touch_their_value() {
        let file = Some(PathBuf::from("a.conf"));
        let test = Options { config: file.clone(), action: Action::Test, ..Options::default() };
        for line in ["-t -c a.conf", "-tc a.conf", "-tca.conf", "-c a.conf -t"] {
            assert_eq!(parse(line), Ok(test.clone()), "{line}");
        }
        assert_eq!(parse("-ca.conf"), Ok(Options { config: file, ..Options::default() }));
    }

    #[test]
    fn nothing_means_the_defaults() {
        assert_eq!(parse(""), Ok(Options::default()));
        assert_eq!(parse("--demo").map(|o| o.demo), Ok(true));
        assert_eq!(parse("-p 19350").map(|o| o.port), Ok(Some(19350)));
        assert_eq!(parse("--http-port 80").map(|o| o.http_port), Ok(Some(80)));
        assert_eq!(parse("-?").map(|o| o.action), Ok(Action::Help));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, part) in
            [("-x", "-x"), ("--no", "--no"), ("-c", "-c"), ("-p 0", "0"), ("-t", "-c")]
        {
            assert!(parse(line).is_err_and(|e| e.contains(part)), "{line}");
        }
    }
}
