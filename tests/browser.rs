//! What is played in a browser: headless Chromium with the page's own player, hls.js and mpegts.js.
//! The pictures that it took stay in `browser/` of the directory for temporary files of the tests.

#![cfg(all(feature = "web", feature = "remux", feature = "hls", feature = "demo"))]

mod common;

use common::{Server, free_port, skip, start, tool};
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
    let Some(node) = tool("node") else { return };
    let Some(chromium) = tool("chromium") else { return };
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    if !scripts.join("node_modules/playwright-core").is_dir() {
        skip::<()>("node modules: `npm install --no-package-lock` in tests/browser");
        return;
    }
    let _one = BROWSER.lock().unwrap_or_else(PoisonError::into_inner);
    let http = free_port();
    let port = http.to_string();
    let server = Server::without_file(&[options, &["--http-port", &port]].concat());
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
fn mpegts_js_plays_flv_and_ts_over_http() {
    browse("flv.mjs", &[]);
}

#[test]
fn the_page_goes_on_when_the_encoder_is_back() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/service/demo/loop.flv");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    browse_with("again.mjs", &[], |server| {
        let rtmp = format!("rtmp://127.0.0.1:{}", server.port);
        vec![rtmp, text(&ffmpeg), text(&file)]
    });
}
