use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    process::Command,
    task::{Context, Poll, Waker},
};

use super::*;

/// A directory of this test, empty at its start and gone at its end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("runnel-{}-{name}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const LONG: Duration = Duration::from_secs(20);

fn to_file(path: &std::path::Path) -> Settings {
    Settings { level: LevelFilter::Info, tank: Tank::File(path.to_owned(), 0), utc: true }
}

fn style(colour: bool) -> Style {
    Style { zone: None, colour }
}

#[test]
fn lines_have_the_fields_that_tools_look_for() {
    let now = UNIX_EPOCH + Duration::from_millis(1_769_882_645_007);
    let pid = process::id();
    ID.set(104);
    for (level, text, want) in [
        (Level::Trace, "a", format!("[2026-01-31 18:04:05.007][verb][{pid}][104] a\n")),
        (Level::Debug, "a", format!("[2026-01-31 18:04:05.007][debug][{pid}][104] a\n")),
        (Level::Info, "a", format!("[2026-01-31 18:04:05.007][trace][{pid}][104] a\n")),
        (Level::Warn, "a", format!("[2026-01-31 18:04:05.007][warn][{pid}][104][0] a\n")),
        (
            Level::Error,
            "write: Broken pipe (os error 32)",
            format!(
                "[2026-01-31 18:04:05.007][error][{pid}][104][32] write: Broken pipe (os error 32)\n"
            ),
        ),
    ] {
        assert_eq!(style(false).line(level, text, now), want);
    }
    assert!(style(true).line(Level::Warn, "a", now).starts_with("\x1b[33m["));
    assert!(style(true).line(Level::Error, "a", now).ends_with(" a\x1b[0m\n"));
    assert!(style(true).line(Level::Info, "a", now).starts_with('['));
}

#[test]
fn long_lines_are_cut_between_characters() {
    for filler in ["x", "ü", "好", "🎥"] {
        for shift in 0..4 {
            let text = "y".repeat(shift) + &filler.repeat(5000);
            let line = style(true).line(Level::Warn, &text, UNIX_EPOCH);
            assert!(line.len() <= limits::LOG_LINE && line.len() > limits::LOG_LINE - 4);
            assert!(line.ends_with(&format!("{filler}\x1b[0m\n")));
        }
    }
}

#[test]
fn a_message_stays_on_its_line() {
    let mut text = Text(String::new());
    write!(text, "a\nb\r\0c{}", "\x1b[31md\n".to_owned()).unwrap();
    assert_eq!(text.0, "a b  c [31md ");
    assert!(write!(text, "{}", "x".repeat(9999)).is_err());
    assert_eq!(text.0.len(), limits::LOG_LINE);
}

#[test]
fn the_file_is_opened_at_the_first_line_and_appended_to() {
    let dir = Dir::new("append");
    let path = dir.0.join("a.log");
    let queue = Queue::start(&to_file(&path)).unwrap();
    assert!(queue.flush(LONG));
    assert!(!path.exists());
    queue.log(Level::Info, format_args!("first"));
    assert!(queue.flush(LONG));
    fs::write(&path, "kept\n").unwrap();
    queue.log(Level::Info, format_args!("second"));
    assert!(queue.flush(LONG));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("kept\n[2") && text.ends_with("] second\n"), "{text}");
    // Whatever the umask takes away, nobody may execute it and the owner may read and write it.
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o713, 0o600);
}

#[test]
fn a_moved_file_is_left_alone_after_reopen() {
    let dir = Dir::new("reopen");
    let (path, moved) = (dir.0.join("a.log"), dir.0.join("a.log.1"));
    let queue = Queue::start(&to_file(&path)).unwrap();
    queue.log(Level::Info, format_args!("before"));
    assert!(queue.flush(LONG));
    fs::rename(&path, &moved).unwrap();
    queue.reopen();
    queue.log(Level::Info, format_args!("after"));
    assert!(queue.flush(LONG));
    assert!(fs::read_to_string(&moved).unwrap().ends_with("] before\n"));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.ends_with("] after\n") && text.lines().count() == 1);
}

#[test]
fn a_reload_moves_the_log_to_another_file() {
    let dir = Dir::new("reload");
    let (a, b) = (dir.0.join("a.log"), dir.0.join("b.log"));
    let queue = Queue::start(&to_file(&a)).unwrap();
    queue.log(Level::Info, format_args!("one"));
    assert!(queue.flush(LONG));
    queue.configure(&to_file(&b));
    queue.log(Level::Info, format_args!("two"));
    assert!(queue.flush(LONG));
    assert!(fs::read_to_string(a).unwrap().ends_with("] one\n"));
    assert!(fs::read_to_string(b).unwrap().ends_with("] two\n"));
}

#[test]
fn what_a_full_card_swallowed_is_told_later() {
    let dir = Dir::new("lost");
    let path = dir.0.join("not-there/a.log");
    let queue = Queue::start(&to_file(&path)).unwrap();
    for _ in 0..3 {
        queue.log(Level::Info, format_args!("gone"));
        assert!(queue.flush(LONG));
    }
    fs::create_dir(dir.0.join("not-there")).unwrap();
    queue.log(Level::Info, format_args!("there"));
    assert!(queue.flush(LONG));
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].ends_with("] there"), "{text}");
    assert!(lines[1].contains("][warn]") && lines[1].contains("] 3 log lines lost"), "{text}");
    assert!(!text.contains("gone"));
}

#[test]
fn a_stalled_tank_holds_up_nobody() {
    let dir = Dir::new("stall");
    let path = dir.0.join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let queue = Queue::start(&to_file(&path)).unwrap();
    queue.state().patience = Duration::ZERO;
    // Nobody reads the pipe, so opening it takes for ever.
    let start = Instant::now();
    for i in 0..20_000 {
        queue.log(Level::Info, format_args!("line {i}"));
    }
    assert!(!queue.flush(Duration::from_millis(50)));
    assert!(start.elapsed() < LONG);
    let state = queue.state();
    assert!(state.lines.len() <= QUEUE);
    drop(state);
    // Lines that arrived and lines that are told to be lost add up.
    let (mut sum, mut reports) = (0, 0);
    for line in io::BufRead::lines(io::BufReader::new(File::open(path).unwrap())) {
        let line = line.unwrap();
        let message = line.split("] ").last().unwrap();
        match message.split_once(" log lines lost") {
            Some((number, _)) => {
                sum += number.parse::<u32>().unwrap();
                reports += 1;
            }
            None => sum += 1,
        }
        if sum >= 20_000 {
            break;
        }
    }
    assert_eq!(sum, 20_000);
    assert!(reports > 0);
}

#[test]
fn what_a_start_says_waits_for_room_but_not_for_ever() {
    let dir = Dir::new("start");
    let path = dir.0.join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let queue = Queue::start(&to_file(&path)).unwrap();
    let count = 3 * QUEUE / 40;
    let read = path.clone();
    let reader = thread::spawn(move || {
        // The queue is full by then.
        thread::sleep(Duration::from_millis(200));
        let lines = io::BufRead::lines(io::BufReader::new(File::open(read).unwrap()));
        lines.take(count).map(|line| line.unwrap()).filter(|line| line.contains("] line ")).count()
    });
    for i in 0..count {
        queue.log(Level::Info, format_args!("line {i}"));
    }
    assert_eq!(reader.join().unwrap(), count);
    assert!(!queue.state().patience.is_zero());

    // Nobody reads any more.
    let path = dir.0.join("unread");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let queue = Queue::start(&to_file(&path)).unwrap();
    for i in 0..count {
        queue.log(Level::Info, format_args!("line {i}"));
    }
    let state = queue.state();
    assert!(state.patience.is_zero() && state.dropped > 0);
}

#[test]
fn the_words_of_the_configuration_are_levels() {
    for (word, want) in [
        ("verbose", LevelFilter::Trace),
        ("info", LevelFilter::Debug),
        ("trace", LevelFilter::Info),
        ("warn", LevelFilter::Warn),
        ("error", LevelFilter::Error),
        ("loud", LevelFilter::Off),
    ] {
        assert_eq!(level(word), want);
    }
}

#[test]
fn a_traced_future_has_its_id_whenever_it_runs() {
    ID.set(7);
    let inner = traced(200, async { id() });
    let mut first = true;
    let mut outer = Box::pin(traced(100, async move {
        let before = id();
        let nested = inner.await;
        std::future::poll_fn(
            |_| if mem::take(&mut first) { Poll::Pending } else { Poll::Ready(()) },
        )
        .await;
        (before, nested, id())
    }));
    let mut context = Context::from_waker(Waker::noop());
    assert!(outer.as_mut().poll(&mut context).is_pending());
    assert_eq!(id(), 7);
    assert_eq!(outer.as_mut().poll(&mut context), Poll::Ready((100, 200, 100)));
    assert_eq!(id(), 7);
}

#[test]
fn ids_start_at_100_and_differ() {
    let (a, b) = (next_id(), next_id());
    assert!(a >= 100 && b > a);
}
