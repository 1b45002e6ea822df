//! The logger of a whole process: in a child, so that what it writes to standard error can be read.

use std::{env, fs, path::PathBuf, process::Command, time::Duration};

use runnel::io::log::{self as ours, Settings, Tank};

const FILE: &str = "RUNNEL_TEST_LOG_FILE";

#[test]
fn lines_go_to_the_console_first_and_to_the_file_when_it_is_known() {
    let file = env::temp_dir().join(format!("runnel-{}-process.log", std::process::id()));
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(FILE, &file)
        .env("TZ", "XYZ-5:30")
        .output()
        .unwrap();
    let text = fs::read_to_string(&file);
    fs::remove_file(&file).ok();
    let console = String::from_utf8(child.stderr).unwrap();
    assert!(child.status.success(), "{console}");
    assert!(console.contains("before the configuration"), "{console}");
    assert!(!console.contains("after"), "{console}");

    let text = text.unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains("][trace][") && lines[0].ends_with("][0] after it"), "{text}");
    assert!(lines[1].contains("][warn][") && lines[1].ends_with("][123][0] after, of a player"));
    // The half hour of the zone stands in the time of day.
    let minutes = |time: &str| -> i64 {
        let mut numbers = time.split(':').map(|number| number.parse::<i64>().unwrap());
        numbers.next().unwrap() * 60 + numbers.next().unwrap()
    };
    let unix = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let behind = unix / 60 + 330 - minutes(&lines[0][12..17]);
    assert!(behind.rem_euclid(1440) <= 1, "{text}");
}

/// What the child does; nothing when the test runner calls it.
#[test]
fn child() {
    let Some(file) = env::var_os(FILE) else { return };
    ours::init();
    log::info!(target: "runnel::main", "before the configuration");
    log::debug!(target: "runnel::main", "too detailed");
    let tank = Tank::File(PathBuf::from(file), 0);
    let settings = Settings { level: ours::level("trace"), tank, utc: false };
    ours::configure(&settings).unwrap();
    log::info!(target: "runnel::main", "after it");
    log::debug!(target: "runnel::main", "after, too detailed");
    log::info!(target: "polling", "after, of a crate below");
    smol::block_on(ours::traced(123, async {
        log::warn!(target: "runnel::player", "after, of a player");
    }));
    assert!(ours::flush(Duration::from_secs(20)));
}
