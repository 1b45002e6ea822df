//! Files and HTTP streams made from a live stream.

use super::{
    section::section,
    value::{Seconds, Size, choice},
    vhost::TimeJitter,
};

section! {
    /// Cuts streams into HLS.
    Hls ("hls", needs "hls") {
        /// Whether streams are cut into HLS.
        enabled: bool = false;
        /// Seconds a segment.
        hls_fragment: Seconds [0.01..=3600] = Seconds::from_millis(10_000);
        /// Seconds in the playlist.
        hls_window: Seconds [0.01..=86400] = Seconds::from_millis(60_000);
        /// How much longer than hls_fragment the target duration is.
        hls_td_ratio: f64 [0.1..=100] = 1.5;
        /// A segment of only audio is cut at so many times hls_fragment.
        hls_aof_ratio: f64 [0.1..=100] = 2.0;
        /// What happens to the publisher when a segment cannot be written.
        hls_on_error: HlsOnError = HlsOnError::Continue;
        /// The directory of playlists and segments.
        hls_path: String = "./objs/nginx/html".into();
        /// The playlist, with `[vhost]`, `[app]` and `[stream]`.
        hls_m3u8_file: String = "[app]/[stream].m3u8".into();
        /// The segments, also with `[seq]`, `[timestamp]`, `[duration]` and dates; and with
        /// `[epoch]`, another one after each start, which the default has in memory.
        hls_ts_file: String = "[app]/[stream]-[seq].ts".into();
        /// Whether the length of segments follows the clock.
        hls_ts_floor: bool = false;
        /// What is put in front of the segment names in the playlist.
        hls_entry_prefix: String = String::new() => "http://cdn.example.com";
        /// The audio codec that is told before the first audio; an for no audio.
        hls_acodec: HlsAcodec = HlsAcodec::Aac;
        /// The video codec that is told before the first video; vn for no video.
        hls_vcodec: HlsVcodec = HlsVcodec::H264;
        /// Whether segments that left the playlist are deleted.
        hls_cleanup: bool = true;
        /// Seconds without a publisher after which all is deleted; 0 for never.
        hls_dispose: Seconds = Seconds::from_millis(0);
        /// Bytes of the answer that on_hls_notify reads.
        hls_nb_notify: u32 = 64;
        /// Whether segments begin at a key frame.
        hls_wait_keyframe: bool = true;
        /// Where segments live.
        hls_storage: HlsStorage = HlsStorage::Disk;
        /// Where a playlist in memory is served; ends with .m3u8.
        hls_mount: String = "[vhost]/[app]/[stream].m3u8".into();
        /// Whether segments are encrypted (AES-128).
        hls_keys: bool = false;
        /// Segments with the same key.
        hls_fragments_per_key: u32 [1..=2147483647] = 5;
        /// The key files.
        hls_key_file: String = "[app]/[stream]-[seq].key".into();
        /// The directory of the key files.
        hls_key_file_path: String = "./objs/nginx/html".into();
        /// What is put in front of the key names in the playlist.
        hls_key_url: String = String::new() => "https://keys.example.com";
        /// Whether time stamps are taken as they come.
        hls_dts_directly: bool = true;
    }
}

choice! {
    /// What happens to the publisher when HLS fails.
    HlsOnError {
        /// HLS stops until the next publish.
        Ignore = "ignore",
        /// The publisher is closed.
        Disconnect = "disconnect",
        /// The packet is left out.
        Continue = "continue",
    }
}

choice! {
    /// The audio codec in the first PMT.
    HlsAcodec {
        /// AAC.
        Aac = "aac",
        /// MP3.
        Mp3 = "mp3",
        /// No audio.
        None = "an",
    } else warn Aac
}

choice! {
    /// The video codec in the first PMT.
    HlsVcodec {
        /// H.264.
        H264 = "h264",
        /// No video.
        None = "vn",
    } else warn H264
}

choice! {
    /// Where HLS segments live.
    HlsStorage {
        /// Files.
        Disk = "disk",
        /// Memory, served by the HTTP server.
        Ram = "ram",
        /// Both.
        Both = "both",
    }
}

section! {
    /// Cuts streams into HDS.
    Hds ("hds", needs "hds"; free) {
        /// Whether streams are cut into HDS.
        enabled: bool = false;
        /// Seconds a fragment.
        hds_fragment: Seconds [0.01..=3600] = Seconds::from_millis(10_000);
        /// Seconds in the manifest.
        hds_window: Seconds [0.01..=86400] = Seconds::from_millis(60_000);
        /// The directory of manifests and fragments.
        hds_path: String = "./objs/nginx/html".into();
    }
}

section! {
    /// Cuts streams into MPEG-DASH.
    Dash ("dash", needs "dash") {
        /// Whether streams are cut into MPEG-DASH.
        enabled: bool = false;
        /// Seconds a fragment.
        dash_fragment: Seconds [0.01..=3600] = Seconds::from_millis(30_000);
        /// Seconds between two updates of the manifest.
        dash_update_period: Seconds [0.01..=86400] = Seconds::from_millis(150_000);
        /// Seconds that a player may go back.
        dash_timeshift: Seconds [0.01..=86400] = Seconds::from_millis(300_000);
        /// The directory of manifests and fragments.
        dash_path: String = "./objs/nginx/html".into();
        /// The manifest, with `[vhost]`, `[app]` and `[stream]`.
        dash_mpd_file: String = "[app]/[stream].mpd".into();
    }
}

section! {
    /// Records streams.
    Dvr ("dvr", needs "dvr") {
        /// Whether streams are recorded.
        enabled: bool = false;
        /// One file a publish, one a dvr_duration, or always the same one.
        dvr_plan: DvrPlan = DvrPlan::Session;
        /// The file, with `[vhost]`, `[app]`, `[stream]`, `[timestamp]` and dates; ends with .flv.
        dvr_path: String = "./objs/nginx/html/[app]/[stream].[timestamp].flv".into();
        /// Seconds a file, plan segment only.
        dvr_duration: Seconds [0.01..=31536000] = Seconds::from_millis(30_000);
        /// Whether files begin at a key frame.
        dvr_wait_keyframe: bool = true;
        /// How time stamps are made to run evenly.
        time_jitter: TimeJitter = TimeJitter::Full;
        /// Which streams, as app/stream; all for all.
        dvr_apply: Vec<String> = vec!["all".into()];
        /// Seconds of a recording that may be lost when the power fails, beside what one write takes.
        dvr_fsync: Seconds [0.1..=3600] = Seconds::from_millis(5_000);
        /// Bytes, or K, M, G, kept free: old recordings go, then recording stops; 0 for none.
        dvr_min_free: Size = Size(0);
        /// Bytes, or K, M, G, of all recordings of this vhost: old ones go; 0 for any number.
        dvr_max_bytes: Size = Size(0);
    }
}

choice! {
    /// When a recording goes on in the next file.
    DvrPlan {
        /// At the next publish.
        Session = "session",
        /// After `dvr_duration`.
        Segment = "segment",
        /// Never.
        Append = "append",
    }
}

section! {
    /// Serves files over HTTP under the name of this vhost.
    HttpStatic ("http_static", needs "static-files") {
        /// Whether files are served.
        enabled: bool = false;
        /// Where they are served.
        mount: String = "[vhost]/".into();
        /// The directory they are in.
        dir: String = "./objs/nginx/html".into();
    }
}

section! {
    /// Serves live streams over HTTP.
    HttpRemux ("http_remux", needs "remux") {
        /// Whether live streams are served over HTTP.
        enabled: bool = false;
        /// Seconds of audio that a new player gets at once, .aac and .mp3 only.
        fast_cache: Seconds [0..=3600] = Seconds::from_millis(0);
        /// Where they are served; .flv, .ts, .aac or .mp3 at the end is the format, .* all four.
        mount: String = "[vhost]/[app]/[stream].flv".into();
        /// Whether an edge fetches a stream because an HTTP player asks for it.
        hstrs: bool = true;
    }
}
