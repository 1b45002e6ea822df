//! What is played in a browser: headless Chromium with the page's own player, hls.js and mpegts.js.
//! The pictures that it took stay in `browser/` of the directory for temporary files of the tests.

#![cfg(all(feature = "web", feature = "remux", feature = "hls", feature = "demo"))]

mod common;

use common::{RUNNEL, Server, TempDir, free_port, skip, start, tool};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One browser at a time: each wants a processor for itself.
static BROWSER: Mutex<()> = Mutex::new(());

/// Runs `tests/browser/SCRIPT` against a server as it starts without a file.
fn browse(script: &str, args: &[&str]) {
    browse_with(script, &["--demo"], |_| args.iter().map(|&arg| arg.to_owned()).collect());
}

/// The same with options for the server, and arguments that depend on it.
fn browse_with(script: &str, options: &[&str], args: impl FnOnce(&Server) -> Vec<String>) {
    let start = |http: u16| {
        let http = http.to_string();
        Server::without_file(&[options, &["--http-port", &http]].concat())
    };
    browse_on(script, start, args);
}

/// The same with a server that serves HTTP on the port that `begin` is given.
fn browse_on(
    script: &str,
    begin: impl FnOnce(u16) -> Server,
    args: impl FnOnce(&Server) -> Vec<String>,
) {
    let Some(node) = tool("node") else { return };
    let Some(chromium) = tool("chromium") else { return };
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    if !scripts.join("node_modules/playwright-core").is_dir() {
        skip::<()>("node modules: `npm install --no-package-lock` in tests/browser");
        return;
    }
    let _one = BROWSER.lock().unwrap_or_else(PoisonError::into_inner);
    let http = free_port();
    let server = begin(http);
    let pictures: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
    std::fs::create_dir_all(&pictures).unwrap();
    let mut command = Command::new(node);
    command.arg(scripts.join(script)).arg(format!("http://127.0.0.1:{http}"));
    command.arg(&pictures).args(args(&server)).env("CHROMIUM", chromium);
    let mut running = start(&mut command);
    let status = running.wait(Duration::from_secs(120));
    running.out.wait_for_end();
    let (out, err) = (running.out.all().join("\n"), running.err.all().join("\n"));
    assert!(status.is_some_and(|status| status.success()), "{script}: {status:?}\n{out}\n{err}");
}

#[test]
fn the_page_plays_the_demo_on_a_desktop() {
    browse("page.mjs", &["1280", "800"]);
}

#[test]
fn the_page_plays_the_demo_on_a_phone() {
    browse("page.mjs", &["390", "844", "dark"]);
}

#[test]
fn hls_js_plays_hls() {
    browse("hls.mjs", &[]);
}

#[test]
#[cfg(feature = "hls-keys")]
fn hls_js_plays_encrypted_segments() {
    let begin = |http| {
        let (port, dir) = (free_port(), TempDir::new());
        let hls = "hls_fragment 2; hls_window 20; hls_storage ram; hls_keys on;";
        let text = format!(
            "listen 127.0.0.1:{port}; daemon off; srs_log_tank console;
            http_server {{ enabled on; listen 127.0.0.1:{http}; }}
            vhost __defaultVhost__ {{ hls {{ enabled on; {hls} hls_fragments_per_key 2; }} }}"
        );
        std::fs::write(dir.join("test.conf"), text).unwrap();
        Server::spawn(Command::new(RUNNEL).args(["-c", "test.conf", "--demo"]), port, dir)
    };
    browse_on("hls.mjs", begin, |_| Vec::new());
}

#[test]
fn mpegts_js_plays_flv_and_ts_over_http() {
    browse("flv.mjs", &[]);
}

#[test]
fn the_page_goes_on_when_the_encoder_is_back() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/moving.flv");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    browse_with("again.mjs", &[], |server| {
        let rtmp = format!("rtmp://127.0.0.1:{}", server.port);
        vec![rtmp, text(&ffmpeg), text(&file)]
    });
}
