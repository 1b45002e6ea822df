//! Other programs: hooks that are asked over HTTP, and child processes.

use super::{
    section::section,
    value::{Pair, Seconds, choice},
};
use std::rc::Rc;

section! {
    /// Tells a server of yours what clients do, and asks whether they may.
    HttpHooks ("http_hooks", needs "hooks") {
        /// Whether your server is told and asked.
        enabled: bool = false;
        /// Asked when a client connects.
        on_connect: Vec<String> = Vec::new() => "http://127.0.0.1:8085/api/v1/clients";
        /// Told when a client goes.
        on_close: Vec<String> = Vec::new() => "http://127.0.0.1:8085/api/v1/clients";
        /// Asked when a client publishes.
        on_publish: Vec<String> = Vec::new() => "http://127.0.0.1:8085/api/v1/streams";
        /// Told when a client stops to publish.
        on_unpublish: Vec<String> = Vec::new() => "http://127.0.0.1:8085/api/v1/streams";
        /// Asked when a client plays.
        on_play: Vec<String> = Vec::new() => "http://127.0.0.1:8085/api/v1/sessions";
        /// Told when a client stops to play.
        on_stop: Vec<String> = Vec::new() => "http://127.0.0.1:8085/api/v1/sessions";
        /// Told when a recording is complete.
        on_dvr: Vec<String> = Vec::new() => "http://127.0.0.1:8085/api/v1/dvrs";
        /// Told when an HLS segment is complete.
        on_hls: Vec<String> = Vec::new() => "http://127.0.0.1:8085/api/v1/hls";
        /// Fetched when an HLS segment is complete, with `[app]`, `[stream]`, `[ts_url]`, `[param]`.
        on_hls_notify: Vec<String> = Vec::new() => "http://127.0.0.1:8085/[app]/[stream]/[ts_url]";
        /// Seconds that your server has for an answer, for each url; then it counts as none.
        timeout: Seconds [0.1..=60] = Seconds::from_millis(3000);
        /// Whether clients are let in when your server cannot be reached, gives no answer in time
        /// or one with status 5xx. Any other answer than a yes is a no all the same.
        fail_open: bool = false;
    }
}

section! {
    /// Runs programs while a stream is published. They are started again when they end.
    Exec ("exec", needs "exec") {
        /// Whether the programs are run.
        enabled: bool = false;
        /// The program and its arguments; no shell. Replaced are `[vhost]`, `[port]`, `[app]`,
        /// `[stream]`, `[param]`, `[url]`, `[tcUrl]`, `[swfUrl]`, `[pageUrl]`, `[timestamp]` and
        /// the date as `[2006]-[01]-[02]-[15].[04].[05].[999]`.
        publish: Vec<Vec<String>> = Vec::new()
            => "./objs/ffmpeg -i [url] -c copy -f flv ./objs/[stream].flv";
    }
}

section! {
    /// Publishes a file, a camera or another stream here. The server reads it itself where it can:
    /// .flv, .ts, .aac and .mp3 from files and over http, HLS over http, rtmp, MPEG-TS over udp,
    /// rtsp. For everything else, and when the engine encodes, it runs ffmpeg.
    Ingest ("ingest", needs "ingest", arg id) {
        /// Whether it runs.
        enabled: bool = false;
        /// What is read.
        input: Rc<Input> = Rc::default();
        /// The program, where one is needed.
        ffmpeg: String = String::new() => "./objs/ffmpeg";
        /// Begins with the first player and ends when there is none any more.
        on_demand: bool = false;
        /// Seconds without a player until it ends.
        linger: Seconds = Seconds::from_millis(10_000);
        /// Where it publishes, and what it makes of the stream.
        engines as "engine": Vec<Rc<Engine>> = Vec::new() => "copy";
    }
}

section! {
    /// What is read.
    Input ("input"; free) {
        /// file is read at the speed of the clock, stream as it comes.
        kind as "type": InputType = InputType::File;
        /// The file or the address.
        url: String = String::new() => "./doc/source.flv";
    }
}

choice! {
    /// How an ingest reads.
    InputType {
        /// At the speed of the clock.
        File = "file",
        /// As it comes.
        Stream = "stream",
    }
}

section! {
    /// Runs a program that makes other qualities of a stream; for all, an app or an app/stream.
    Transcode ("transcode", needs "transcode", arg scope) {
        /// Whether the program runs.
        enabled: bool = false;
        /// The program.
        ffmpeg: String = String::new() => "./objs/ffmpeg";
        /// One quality.
        engines as "engine": Vec<Rc<Engine>> = Vec::new() => "ff";
    }
}

section! {
    /// One run of the program.
    Engine ("engine", arg name) {
        /// Whether it runs.
        enabled: bool = false;
        /// Options in front of the input. An ingest that runs no program reads rtsp_transport: udp
        /// is tried first then, else the connection.
        perfile: Vec<Pair> = Vec::new() => "{ rtsp_transport tcp; }";
        /// The format of the input; off for not told.
        iformat: String = "flv".into();
        /// Options behind the input.
        vfilter: Vec<Pair> = Vec::new() => "{ vf drawtext=text=live; }";
        /// The video encoder: libx264, copy, or vn for no video.
        vcodec: String = String::new() => "libx264";
        /// kbit/s of video; 0 for not told.
        vbitrate: u32 = 0 => "1500";
        /// Pictures a second; 0 for not told.
        vfps: f64 = 0.0 => "25";
        /// Width of the picture, made even; 0 for not told.
        vwidth: u32 = 0 => "768";
        /// Height of the picture, made even; 0 for not told.
        vheight: u32 = 0 => "320";
        /// Threads of the encoder; 0 for not told.
        vthreads: u32 = 1;
        /// The H.264 profile: high, main or baseline.
        vprofile: String = String::new() => "main";
        /// The x264 preset.
        vpreset: String = String::new() => "medium";
        /// Further options for video.
        vparams: Vec<Pair> = Vec::new() => "{ g 50; }";
        /// The audio encoder: aac, libfdk_aac, ..., copy, or an for no audio.
        acodec: String = String::new() => "aac";
        /// kbit/s of audio; 0 for not told.
        abitrate: u32 = 0 => "70";
        /// Audio samples a second; 0 for not told.
        asample_rate: u32 = 0 => "44100";
        /// Audio channels; 0 for not told.
        achannels: u32 [0..=2] = 0 => "2";
        /// Further options for audio.
        aparams: Vec<Pair> = Vec::new() => "{ profile:a aac_low; }";
        /// The format of the output; off for not told.
        oformat: String = "flv".into();
        /// Where to, with `[vhost]`, `[port]`; transcode: `[app]`, `[stream]`, `[param]`, `[engine]`.
        output: String = String::new() => "rtmp://127.0.0.1:[port]/live?vhost=[vhost]/out";
    }
}
