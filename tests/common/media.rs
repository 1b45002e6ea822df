//! Streams to publish, and what came out at the other end.

use super::{Running, SOON, Server, TempDir, eventually, run, spawn, tool};
use runnel::format::flv::Tag;
use runnel::media::{Kind, Packet};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A moving picture.
pub const PICTURE: &str = "-f lavfi -i testsrc2=s=320x180:r=25";
/// A tone.
pub const TONE: &str = "-f lavfi -i sine=f=440:r=44100";
/// H.264 with two B-frames between the others, a key frame a second.
pub const H264: &str = "-c:v libx264 -threads 1 -preset ultrafast -bf 2 -g 25 -pix_fmt yuv420p";
/// AAC in stereo.
pub const AAC: &str = "-c:a aac -ac 2 -b:a 64k";

/// A file that `ffmpeg` makes of `args`, which are cut at blanks. Made once, and kept for the next
/// run of the tests.
pub fn make(ffmpeg: &Path, name: &str, args: &str) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (ffmpeg, args).hash(&mut hasher);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("media");
    let file = dir.join(format!("{:016x}-{name}", hasher.finish()));
    if !file.is_file() {
        // Several tests may be here at once: each makes a file of its own, the last one stays.
        let temp = TempDir::new();
        let made = temp.join(name);
        let mut all: Vec<OsString> = "-v error -y".split(' ').map(Into::into).collect();
        all.extend(args.split_whitespace().map(Into::into));
        all.push(made.clone().into());
        run(ffmpeg, all);
        fs::create_dir_all(&dir).unwrap();
        fs::rename(&made, &file).unwrap();
    }
    file
}

/// Three seconds of H.264 with B-frames, and AAC.
pub fn sample(ffmpeg: &Path) -> PathBuf {
    make(ffmpeg, "sample.flv", &format!("{PICTURE} {TONE} -t 3 {H264} {AAC}"))
}

/// Publishes `file` to `url`, by default as fast as it can be written.
pub fn publish(ffmpeg: &Path, file: &Path, url: &str) {
    publish_with(ffmpeg, "", file, "-c copy", url).finish();
}

/// Publishes `file` in the time of its stamps, over and over.
pub fn publish_live(ffmpeg: &Path, file: &Path, url: &str) -> Running {
    publish_with(ffmpeg, "-re -stream_loop -1", file, "-c copy", url)
}

/// Publishes `file`, with options for it and for what is published.
pub fn publish_with(ffmpeg: &Path, before: &str, file: &Path, after: &str, url: &str) -> Running {
    let mut args: Vec<OsString> = vec!["-v".into(), "error".into()];
    args.extend(before.split_whitespace().map(Into::into));
    args.extend(["-i".into(), file.into()]);
    args.extend(after.split_whitespace().map(Into::into));
    args.extend(["-f".into(), "flv".into(), url.into()]);
    spawn(ffmpeg, args)
}

/// One packet as ffmpeg reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub dts: i64,
    pub pts: i64,
    pub size: u32,
    pub hash: String,
}

/// Everything that ffmpeg reads of a stream, packet by packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Hashes of the codecs' headers, by stream.
    pub headers: BTreeMap<u32, String>,
    pub packets: BTreeMap<u32, Vec<Seen>>,
}

impl Contents {
    /// Of what the muxer `framehash` wrote.
    pub fn parse(text: &str) -> Self {
        let mut contents = Self::default();
        for line in text.lines() {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            if let Some(extradata) = line.strip_prefix("#extradata ") {
                let (stream, rest) = extradata.split_once([':', ',']).unwrap();
                let hash = rest.rsplit(',').next().unwrap().trim();
                contents.headers.insert(stream.trim().parse().unwrap(), hash.into());
            } else if let [stream, dts, pts, _, size, hash, ..] = fields.as_slice()
                && let Ok(stream) = stream.parse::<u32>()
            {
                contents.packets.entry(stream).or_default().push(Seen {
                    dts: dts.parse().unwrap(),
                    pts: pts.parse().unwrap(),
                    size: size.parse().unwrap(),
                    hash: (*hash).into(),
                });
            }
        }
        contents
    }

    /// Of a file or a stream that ends.
    pub fn of(ffmpeg: &Path, url: impl Into<OsString>) -> Self {
        Self::read(ffmpeg, "-v error -i", url)
    }

    /// The same with the times that the file has, whatever the first one is.
    pub fn with_times(ffmpeg: &Path, url: impl Into<OsString>) -> Self {
        Self::read(ffmpeg, "-v error -copyts -i", url)
    }

    fn read(ffmpeg: &Path, before: &str, url: impl Into<OsString>) -> Self {
        let mut args: Vec<OsString> = before.split(' ').map(Into::into).collect();
        args.push(url.into());
        args.extend(HASHES.split(' ').map(Into::into));
        args.push("-".into());
        Self::parse(&run(ffmpeg, args))
    }

    /// How many packets there are.
    pub fn count(&self) -> usize {
        self.packets.values().map(Vec::len).sum()
    }

    /// With times that start at 0.
    pub fn starting_at_zero(mut self) -> Self {
        let all = self.packets.values().flatten();
        let first = all.map(|p| p.dts).min().unwrap_or_default();
        for packet in self.packets.values_mut().flatten() {
            packet.dts -= first;
            packet.pts -= first;
        }
        self
    }

    /// The times of each stream grow.
    pub fn assert_monotonic(&self) {
        for (stream, packets) in &self.packets {
            for pair in packets.windows(2) {
                let [a, b] = pair else { continue };
                assert!(a.dts < b.dts, "stream {stream}: {} follows {}", b.dts, a.dts);
            }
        }
    }
}

/// Every stream as it is, a line for each packet, written at once.
const HASHES: &str = "-map 0:v? -map 0:a? -c copy -hash md5 -flush_packets 1 -f framehash";

/// A player that writes down what it gets.
pub struct Recorder {
    running: Running,
    file: PathBuf,
    _dir: TempDir,
}

impl Recorder {
    /// Plays `url`; when it is back the server knows the player.
    pub fn start(ffmpeg: &Path, server: &Server, url: &str) -> Self {
        let before = server.count("start play");
        let dir = TempDir::new();
        let file = dir.join("hashes");
        let mut args: Vec<OsString> =
            "-v error -analyzeduration 1000000 -copyts -i".split(' ').map(Into::into).collect();
        args.push(url.into());
        args.extend(HASHES.split(' ').map(Into::into));
        args.push(file.clone().into());
        let running = spawn(ffmpeg, args);
        server.line_number("start play", before + 1);
        Self { running, file, _dir: dir }
    }

    fn read(&self) -> Contents {
        Contents::parse(&fs::read_to_string(&self.file).unwrap_or_default())
    }

    /// Waits until there are `count` packets, nearly, and no more come; then ends the server, and
    /// with it the recording.
    pub fn finish(mut self, server: &Server, count: usize) -> Contents {
        let until = Instant::now() + Duration::from_secs(10);
        let mut last = (0, Instant::now());
        while Instant::now() < until {
            let now = self.read().count();
            if now != last.0 {
                last = (now, Instant::now());
            }
            // The muxer keeps the last ones until its end.
            if now + 40 >= count && last.1.elapsed() > Duration::from_millis(500) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        server.signal(Signal::TERM);
        assert!(self.running.wait(SOON).is_some(), "the player does not end");
        self.read()
    }

    /// Waits for `count` packets, then ends.
    pub fn take(mut self, count: usize) -> Contents {
        eventually("packets are recorded", Duration::from_secs(12), || {
            self.read().count() >= count
        });
        self.running.stop();
        self.read()
    }
}

/// Has tstools look at a transport stream: each of `pids` counts its packets without a gap, and the
/// clock comes every 100 ms.
pub fn check_ts(file: &Path, pids: &[u16]) {
    let Some(tsreport) = tool("tsreport") else { return };
    for pid in pids {
        // It writes the counters into a file of its own.
        let dir = TempDir::new();
        let mut command = Command::new(&tsreport);
        command.args(["-buffering", "-cnt", &pid.to_string()]).arg(file);
        let output = command.current_dir(dir.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("Bad (>.1s) gaps: 0,"), "{text}");
        // The clock is the decode time of the pictures, as in SRS: between two clocks it is
        // ahead of some frames by what tstools works out.
        let known = |line: &str| line.contains("DTS") && line.contains("< PCR");
        let is_bad = |line: &str| line.contains("###") || line.contains("!!!");
        assert!(!text.lines().any(|line| is_bad(line) && !known(line)), "{text}");
        let counters = fs::read_to_string(dir.join("continuity_counter.txt")).unwrap();
        let counters: Vec<u8> =
            counters.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        assert!(counters.len() > 100, "{} packets of {pid}", counters.len());
        for pair in counters.windows(2) {
            assert_eq!(pair[1], (pair[0] + 1) % 16, "of {pid}");
        }
    }
}

/// The packets of an FLV file.
pub fn flv_packets(file: &[u8]) -> Vec<Packet> {
    let mut input = file;
    Tag::start(&mut input).unwrap();
    let mut packets = Vec::new();
    while let Ok(tag) = Tag::take(&mut input) {
        packets.push(Packet::new(tag.kind, tag.timestamp, tag.body.to_vec().into()));
    }
    packets
}

/// Eight seconds of H.264 at 25 pictures a second, 97 kbit/s, and AAC of 32 kbit/s; like the stream
/// of `--demo`, with more that moves.
pub fn demo() -> Vec<Packet> {
    flv_packets(include_bytes!("../data/moving.flv"))
}

/// What `--demo` publishes over and over.
pub fn built_in() -> Vec<Packet> {
    flv_packets(include_bytes!("../../src/service/demo/loop.flv"))
}

/// The sequence headers of `packets`, audio and video.
pub fn headers(packets: &[Packet]) -> Vec<Packet> {
    packets.iter().filter(|p| p.header).cloned().collect()
}

/// Without metadata and sequence headers.
pub fn frames(packets: &[Packet]) -> Vec<Packet> {
    packets.iter().filter(|p| p.kind != Kind::Data && !p.header).cloned().collect()
}

/// Kind and payload: what must not change on the way.
pub fn bodies(packets: &[Packet]) -> Vec<(Kind, &[u8])> {
    packets.iter().map(|p| (p.kind, p.payload.as_ref())).collect()
}
