//! The command line of ffmpeg for an engine.

use crate::config::{Engine, Pair};
use crate::media::Decimal;

/// What is encoded, and how it is read.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// File or address.
    pub url: &'a str,
    /// At the speed of the clock.
    pub realtime: bool,
    /// The format that the engine names may be told; for RTMP only.
    pub format: bool,
}

/// The arguments for `engine`. An error says what it lacks, with the number of the original.
pub fn encode(engine: &Engine, input: Input<'_>, output: &str) -> Result<Vec<String>, String> {
    if engine.vcodec.is_empty() {
        return Err("the engine has no vcodec. ret=3015".into());
    }
    if engine.acodec.is_empty() {
        return Err("the engine has no acodec. ret=3020".into());
    }
    if output.is_empty() {
        return Err("the engine has no output. ret=3016".into());
    }
    let mut argv = read(engine, input);
    pairs(&mut argv, &engine.vfilter);
    video(&mut argv, engine);
    audio(&mut argv, engine);
    write(&mut argv, &engine.oformat, output);
    Ok(argv)
}

/// The arguments to leave everything as it is.
pub fn copy(engine: &Engine, input: Input<'_>, output: &str) -> Vec<String> {
    let mut argv = read(engine, input);
    push(&mut argv, &["-vcodec", "copy", "-acodec", "copy"]);
    write(&mut argv, "flv", output);
    argv
}

fn read(engine: &Engine, input: Input<'_>) -> Vec<String> {
    let mut argv = Vec::new();
    pairs(&mut argv, &engine.perfile);
    if input.realtime {
        push(&mut argv, &["-re"]);
    }
    let told = input.format && input.url.starts_with("rtmp://");
    if told && !matches!(engine.iformat.as_str(), "" | "off") {
        push(&mut argv, &["-f", &engine.iformat]);
    }
    push(&mut argv, &["-i", input.url]);
    argv
}

fn video(argv: &mut Vec<String>, engine: &Engine) {
    match engine.vcodec.as_str() {
        "vn" => return push(argv, &["-vn"]),
        codec => push(argv, &["-vcodec", codec]),
    }
    if engine.vcodec == "copy" {
        return;
    }
    if engine.vbitrate > 0 {
        push(argv, &["-b:v", &(u64::from(engine.vbitrate) * 1000).to_string()]);
    }
    if engine.vfps > 0.0 {
        push(argv, &["-r", &Decimal::new(engine.vfps, 2).to_string()]);
    }
    let (width, height) = (engine.vwidth & !1, engine.vheight & !1);
    if width > 0 && height > 0 {
        push(argv, &["-s", &format!("{width}x{height}")]);
        push(argv, &["-aspect", &format!("{width}:{height}")]);
    }
    if engine.vthreads > 0 {
        push(argv, &["-threads", &engine.vthreads.to_string()]);
    }
    for (option, value) in [("-profile:v", &engine.vprofile), ("-preset", &engine.vpreset)] {
        if !value.is_empty() {
            push(argv, &[option, value]);
        }
    }
    pairs(argv, &engine.vparams);
}

fn audio(argv: &mut Vec<String>, engine: &Engine) {
    match engine.acodec.as_str() {
        "an" => return push(argv, &["-an"]),
        codec => push(argv, &["-acodec", codec]),
    }
    if engine.acodec == "copy" {
        let filter = |pair: &&Pair| pair.name == "bsf:a" && pair.values == ["aac_adtstoasc"];
        let filter: Vec<_> = engine.aparams.iter().find(filter).cloned().into_iter().collect();
        return pairs(argv, &filter);
    }
    if engine.abitrate > 0 {
        push(argv, &["-b:a", &(u64::from(engine.abitrate) * 1000).to_string()]);
    }
    for (option, value) in [("-ar", engine.asample_rate), ("-ac", engine.achannels)] {
        if value > 0 {
            push(argv, &[option, &value.to_string()]);
        }
    }
    pairs(argv, &engine.aparams);
}

fn write(argv: &mut Vec<String>, format: &str, output: &str) {
    if !matches!(format, "" | "off") {
        push(argv, &["-f", format]);
    }
    push(argv, &["-y", output]);
}

fn pairs(argv: &mut Vec<String>, pairs: &[Pair]) {
    for pair in pairs {
        argv.push(format!("-{}", pair.name));
        argv.extend(pair.values.iter().cloned());
    }
}

fn push(argv: &mut Vec<String>, words: &[&str]) {
    argv.extend(words.iter().map(|word| (*word).to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn engine(text: &str) -> Engine {
        let text =
            format!("listen 1; vhost v {{ transcode {{ engine ff {{ enabled on; {text} }} }} }}");
        let config = config::load(text.as_bytes()).unwrap().config;
        (*config.vhosts[0].transcodes[0].engines[0]).clone()
    }

    #[test]
    fn the_words_stand_in_the_order_of_the_original() {
        let rtmp = Input { url: "rtmp://h/a/s", realtime: false, format: true };
        let file = Input { url: "a.mp4", realtime: true, format: false };
        for (text, input, want) in [
            (
                "vcodec copy; acodec copy;",
                rtmp,
                "-f flv -i rtmp://h/a/s -vcodec copy -acodec copy -f flv -y out",
            ),
            (
                "iformat off; oformat off; vcodec vn; acodec copy; aparams { bsf:a aac_adtstoasc; x y; }",
                rtmp,
                "-i rtmp://h/a/s -vn -acodec copy -bsf:a aac_adtstoasc -y out",
            ),
            ("vcodec copy; acodec an;", file, "-re -i a.mp4 -vcodec copy -an -f flv -y out"),
            (
                "vfilter { i logo.png; filter_complex overlay=10:10; } vcodec libx264; vbitrate 500; \
                 vfps 25; vwidth 769; vheight 321; vthreads 2; vprofile main; vpreset fast; \
                 vparams { g 50; } acodec aac; abitrate 64; asample_rate 44100; achannels 2; \
                 aparams { profile:a aac_low; }",
                rtmp,
                "-f flv -i rtmp://h/a/s -i logo.png -filter_complex overlay=10:10 -vcodec libx264 \
                 -b:v 500000 -r 25.00 -s 768x320 -aspect 768:320 -threads 2 -profile:v main \
                 -preset fast -g 50 -acodec aac -b:a 64000 -ar 44100 -ac 2 -profile:a aac_low \
                 -f flv -y out",
            ),
            (
                "perfile { rtsp_transport tcp; } vcodec libx264; vprofile high; vpreset slow; \
                 vthreads 0; acodec libfdk_aac;",
                file,
                "-rtsp_transport tcp -re -i a.mp4 -vcodec libx264 -profile:v high -preset slow \
                 -acodec libfdk_aac -f flv -y out",
            ),
        ] {
            assert_eq!(encode(&engine(text), input, "out").unwrap().join(" "), want);
        }
        assert_eq!(
            copy(&engine("vcodec libx264; vprofile high; vpreset slow;"), file, "out").join(" "),
            "-re -i a.mp4 -vcodec copy -acodec copy -f flv -y out"
        );
    }

    #[test]
    fn an_engine_that_lacks_something_says_what() {
        let rtmp = Input { url: "rtmp://h/a/s", realtime: false, format: true };
        for (text, output, code) in [
            ("acodec copy;", "out", "3015"),
            ("vcodec copy;", "out", "3020"),
            ("vcodec copy; acodec copy;", "", "3016"),
        ] {
            let error = encode(&engine(text), rtmp, output).unwrap_err();
            assert!(error.contains(code), "{error}");
        }
    }
}
