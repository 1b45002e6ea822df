use super::*;
use crate::codec::testing::{hex, mutations};

/// In the manner of a Hikvision camera: H.264 and µ-law, and ONVIF metadata.
const HIKVISION: &str = "v=0\r\no=- 1109162014219182 1109162014219192 IN IP4 192.0.2.64\r\n\
    s=Media Presentation\r\ne=NONE\r\nb=AS:5100\r\nt=0 0\r\n\
    a=control:rtsp://192.0.2.64:554/Streaming/Channels/101/\r\n\
    m=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\nb=AS:5000\r\na=recvonly\r\na=x-dimensions:1920,1080\r\n\
    a=control:rtsp://192.0.2.64:554/Streaming/Channels/101/trackID=1\r\n\
    a=rtpmap:96 H264/90000\r\n\
    a=fmtp:96 profile-level-id=420029; packetization-mode=1; \
    sprop-parameter-sets=Z00AKpWoHgCJ+VA=,aO48gA==\r\n\
    m=audio 0 RTP/AVP 0\r\na=recvonly\r\n\
    a=control:rtsp://192.0.2.64:554/Streaming/Channels/101/trackID=2\r\n\
    m=application 0 RTP/AVP 107\r\na=control:trackID=3\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\n\
    a=Media_header:MEDIAINFO=494D4B48;\r\n";

/// In the manner of a Dahua camera: H.265 and AAC, relative controls.
const DAHUA: &str = "v=0\no=- 2252316233 2252316233 IN IP4 0.0.0.0\ns=RTSP Session/2.0\n\
    c=IN IP4 0.0.0.0\nt=0 0\na=control:*\na=range:npt=now-\na=packetization-supported:DH\n\
    m=video 0 RTP/AVP 98\na=control:trackID=0\na=framerate:25.000000\na=rtpmap:98 H265/90000\n\
    a=fmtp:98 profile-id=1;sprop-sps=QgEBAWAAAAMAsAAAAwAAAwBaoAWCAJBY2uSTL5o=;\
    sprop-pps=RAHA8vA8kA==;sprop-vps=QAEMAf//AWAAAAMAsAAAAwAAAwBarAk=\na=recvonly\n\
    m=audio 0 RTP/AVP 97\na=control:trackID=1\na=rtpmap:97 MPEG4-GENERIC/48000\n\
    a=fmtp:97 streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;\
    indexdeltalength=3;config=1188\na=recvonly\n";

/// In the manner of an Axis camera.
const AXIS: &str = "v=0\r\no=- 7381456 1 IN IP4 198.51.100.9\r\ns=Session streamed with GStreamer\r\n\
    i=rtsp-server\r\nt=0 0\r\na=tool:GStreamer\r\na=type:broadcast\r\na=range:npt=now-\r\n\
    a=control:rtsp://198.51.100.9/axis-media/media.amp?videocodec=h264\r\n\
    m=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\nb=AS:50000\r\na=rtpmap:96 H264/90000\r\n\
    a=fmtp:96 packetization-mode=1;profile-level-id=4d0029;sprop-parameter-sets=Z00AKeKQDwBE/LgLcBAQGkHiRFQ=,aO48gA==\r\n\
    a=ts-refclk:local\r\na=mediaclk:sender\r\n\
    a=control:rtsp://198.51.100.9/axis-media/media.amp/stream=0?videocodec=h264\r\n\
    m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/16000/1\r\n\
    a=fmtp:97 streamtype=5;profile-level-id=2;mode=AAC-hbr;config=1408;sizeLength=13;\
    indexLength=3;indexDeltaLength=3;profile=1;bitrate=32000;\r\n\
    a=control:rtsp://198.51.100.9/axis-media/media.amp/stream=1?videocodec=h264\r\n";

/// What ffmpeg announces.
const FFMPEG: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=No Name\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
    a=tool:libavformat 59.27.100\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
    a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z0LADNkBQZ+fARAAAAMAEAAAAwMg8UKkgA==,aMuDyyA=; \
    profile-level-id=42C00C\r\na=control:streamid=0\r\n\
    m=audio 0 RTP/AVP 97\r\nb=AS:128\r\na=rtpmap:97 MPEG4-GENERIC/44100/2\r\n\
    a=fmtp:97 profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3; \
    config=121056E500\r\na=control:streamid=1\r\n";

/// What GStreamer's rtspclientsink announces.
const GSTREAMER: &str = "v=0\r\no=- 1188340656180883 1 IN IP4 127.0.0.1\r\n\
    s=Session streamed with GStreamer\r\ni=rtspclientsink\r\nt=0 0\r\na=tool:GStreamer\r\n\
    m=video 0 RTP/AVP 96\r\nc=IN IP4 127.0.0.1\r\na=rtpmap:96 H264/90000\r\na=framerate:25\r\n\
    a=fmtp:96 packetization-mode=1;profile-level-id=42c00c;sprop-parameter-sets=Z0LADNkBQZ+fARAAAAMAEAAAAwMg8UKkgA==,aMuDyyA=\r\n\
    a=control:stream=0\r\na=ts-refclk:local\r\n";

/// What live555's server describes of an MPEG-4 file with LATM sound.
const LIVE555: &str = "v=0\r\no=- 1700000000000000 1 IN IP4 203.0.113.5\r\n\
    s=H.264 Video, streamed by the LIVE555 Media Server\r\ni=test.264\r\nt=0 0\r\n\
    a=tool:LIVE555 Streaming Media v2022.12.01\r\na=type:broadcast\r\na=control:*\r\na=range:npt=0-\r\n\
    a=x-qt-text-nam:H.264 Video, streamed by the LIVE555 Media Server\r\n\
    m=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\nb=AS:500\r\na=rtpmap:96 H264/90000\r\n\
    a=fmtp:96 packetization-mode=1;profile-level-id=42C00C;sprop-parameter-sets=Z0LADNkBQZ+fARAAAAMAEAAAAwMg8UKkgA==,aMuDyyA=\r\n\
    a=control:track1\r\nm=audio 0 RTP/AVP 97\r\na=rtpmap:97 MP4A-LATM/90000\r\n\
    a=fmtp:97 cpresent=0;config=400023203FC0\r\na=control:track2\r\n";

const BASE: &str = "rtsp://h/cam?x=1";

/// Name, SDP, tracks as `codec type/rate parameters control`, notes.
type Case = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

const CASES: &[Case] = &[
    (
        "Hikvision",
        HIKVISION,
        &["H264 96/90000 674d002a95a81e0089f950+68ee3c80 \
           rtsp://192.0.2.64:554/Streaming/Channels/101/trackID=1"],
        &[
            "track 1 of the SDP: codec PCMU is not supported, ignored",
            "track 2 of the SDP: m=application is ignored",
        ],
    ),
    (
        "Dahua",
        DAHUA,
        &[
            "H265 98/90000 40010c01ffff01600000030\
           0b0000003000003005aac09+42010101600000030\
           0b0000003000003005aa0058200905\
           8dae4932f9a+4401c0f2f03c90 rtsp://h/cam?x=1/trackID=0",
            "AAC 97/48000 13/3/3/1024 1188 rtsp://h/cam?x=1/trackID=1",
        ],
        &[],
    ),
    (
        "Axis",
        AXIS,
        &[
            "H264 96/90000 674d0029e2900f0044fcb80b7010101a41e24454+68ee3c80 \
           rtsp://198.51.100.9/axis-media/media.amp/stream=0?videocodec=h264",
            "AAC 97/16000 13/3/3/1024 1408 \
           rtsp://198.51.100.9/axis-media/media.amp/stream=1?videocodec=h264",
        ],
        &[],
    ),
    (
        "ffmpeg",
        FFMPEG,
        &[
            "H264 96/90000 6742c00cd901419f9f011000000300100000030320f142a480+68cb83cb20 \
           rtsp://h/cam?x=1/streamid=0",
            "AAC 97/44100 13/3/3/1024 121056e500 rtsp://h/cam?x=1/streamid=1",
        ],
        &[],
    ),
    (
        "GStreamer",
        GSTREAMER,
        &["H264 96/90000 6742c00cd901419f9f011000000300100000030320f142a480+68cb83cb20 \
           rtsp://h/cam?x=1/stream=0"],
        &[],
    ),
    (
        "live555",
        LIVE555,
        &[
            "H264 96/90000 6742c00cd901419f9f011000000300100000030320f142a480+68cb83cb20 \
           rtsp://h/cam?x=1/track1",
            "LATM 97/90000 out of band 1/1024/48000 1190 rtsp://h/cam?x=1/track2",
        ],
        &[],
    ),
    (
        "LATM that says in its packets what it is, and LATM that says it nowhere",
        "m=audio 0 RTP/AVP 97\na=rtpmap:97 MP4A-LATM/44100/2\n\
         m=audio 0 RTP/AVP 97\na=rtpmap:97 MP4A-LATM/44100\na=fmtp:97 cpresent=1;config=40002420adca00\n\
         m=audio 0 RTP/AVP 97\na=rtpmap:97 MP4A-LATM/44100\na=fmtp:97 cpresent=0\n\
         m=audio 0 RTP/AVP 97\na=rtpmap:97 MP4A-LATM/44100\na=fmtp:97 cpresent=0;config=401024203fc0\n",
        &[
            "LATM 97/44100 in band  rtsp://h/cam?x=1",
            "LATM 97/44100 in band 1/1024/44100 121056e500 rtsp://h/cam?x=1",
        ],
        &[
            "track 2 of the SDP: AAC config cannot be read, ignored",
            "track 3 of the SDP: AAC config cannot be read, ignored",
        ],
    ),
    (
        "no rtpmap, parameters give it away",
        "m=video 0 RTP/AVP 96\na=fmtp:96 sprop-parameter-sets=Z00AKpWoHgCJ+VA=\n\
         m=audio 0 RTP/AVP 8\nm=video 0 RTP/AVP 26 100\n",
        &["H264 96/90000 674d002a95a81e0089f950 rtsp://h/cam?x=1"],
        &[
            "track 1 of the SDP: codec PCMA is not supported, ignored",
            "track 2 of the SDP: payload type 100 is unknown, ignored",
        ],
    ),
    (
        "the second format is one that is known",
        "m=video 0 RTP/AVP 26 97\na=rtpmap:97 h264/90000\na=fmtp:97 packetization-mode=0\n",
        &["H264 97/90000  rtsp://h/cam?x=1"],
        &[],
    ),
    (
        "broken sets, start codes, zeros behind",
        "m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n\
         a=fmtp:96 sprop-parameter-sets=AAAAAWdNACqVqB4Aifl QAA,!!,,AAAAAWjuPIAAAA==,QUJD\n",
        &["H264 96/90000 68ee3c80 rtsp://h/cam?x=1"],
        &["track 0 of the SDP: parameter sets cannot be read, left out"],
    ),
    (
        "AAC without a config, low bit rate, SBR",
        "m=audio 0 RTP/AVP 97\na=rtpmap:97 mpeg4-generic/44100/2\na=fmtp:97 mode=AAC-hbr; config=\n\
         m=audio 0 RTP/AVP 98\na=rtpmap:98 mpeg4-generic/8000\na=fmtp:98 mode=AAC-lbr;config=1588\n\
         m=audio 0 RTP/AVP 99\na=rtpmap:99 mpeg4-generic/48000/2\na=fmtp:99 config=1310\n",
        &[
            "AAC 97/44100 13/3/3/1024 1210 rtsp://h/cam?x=1",
            "AAC 98/8000 6/2/2/1024 1588 rtsp://h/cam?x=1",
            "AAC 99/48000 13/3/3/2048 1310 rtsp://h/cam?x=1",
        ],
        &[],
    ),
    (
        "what is refused",
        "m=video 0 RTP/SAVP 96\na=rtpmap:96 H264/90000\n\
         m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96 packetization-mode=2\n\
         m=video 0 RTP/AVP 96\na=rtpmap:96 H265/90000\na=fmtp:96 sprop-max-don-diff=2\n\
         m=audio 0 RTP/AVP 97\na=rtpmap:97 mpeg4-generic/44100/2\na=fmtp:97 mode=CELP-vbr\n\
         m=audio 0 RTP/AVP 97\na=rtpmap:97 mpeg4-generic/44100/2\na=fmtp:97 config=zz\n\
         m=audio 0 RTP/AVP 97\na=rtpmap:97 mpeg4-generic/1/2\n\
         m=audio 0 RTP/AVP 97\na=rtpmap:97 mpeg4-generic/44100\na=fmtp:97 sizelength=33\n\
         m=audio 0 RTP/AVP 97\na=rtpmap:97 mpeg4-generic/44100\na=fmtp:97 ctsdeltalength=22\n\
         m=audio 0 RTP/AVP 300\nm=\nm=video\n",
        &[],
        &[
            "track 0 of the SDP: RTP/SAVP is not supported, only RTP/AVP",
            "track 1 of the SDP: interleaved NAL units are not supported, ignored",
            "track 2 of the SDP: interleaved NAL units are not supported, ignored",
            "track 3 of the SDP: AAC mode CELP-vbr is not supported, ignored",
            "track 4 of the SDP: AAC config cannot be read, ignored",
            "track 5 of the SDP: AAC config cannot be read, ignored",
            "track 6 of the SDP: AAC mode AAC-hbr with these lengths is not supported, ignored",
            "track 7 of the SDP: AAC mode AAC-hbr with ctsdeltalength is not supported, ignored",
            "track 8 of the SDP: payload type 300 is unknown, ignored",
            "track 9 of the SDP: m= is ignored",
            "track 10 of the SDP:  is not supported, only RTP/AVP",
        ],
    ),
    ("nothing", "", &[], &[]),
];

fn text(session: &Session, track: &Track) -> String {
    let digits = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let Format { payload, payload_type, clock_rate } = track.format;
    let (name, more) = match payload {
        Payload::H264 => ("H264", String::new()),
        Payload::Hevc => ("H265", String::new()),
        Payload::Aac { size_length, index_length, index_delta_length, frame_ticks } => {
            ("AAC", format!("{size_length}/{index_length}/{index_delta_length}/{frame_ticks} "))
        }
        Payload::Latm { in_band, mux } => {
            let mux = mux.map(|m| format!("{}/{}/{} ", m.frames, m.samples, m.core_rate));
            let band = if in_band { "in band" } else { "out of band" };
            ("LATM", format!("{band} {}", mux.unwrap_or_default()))
        }
    };
    let parameters = match &track.parameters {
        Parameters::Sets(sets) => sets.iter().map(|s| digits(s)).collect::<Vec<_>>().join("+"),
        Parameters::Aac(config) => digits(config),
    };
    let url = session.track_url(track, BASE);
    format!("{name} {payload_type}/{clock_rate} {more}{parameters} {url}")
}

#[test]
fn the_sdps_of_cameras_and_encoders_are_understood() {
    for (name, sdp, tracks, notes) in CASES {
        for sdp in [sdp.to_string(), sdp.replace("\r\n", "\n")] {
            let session = Session::parse(&sdp);
            let got: Vec<_> = session.tracks.iter().map(|track| text(&session, track)).collect();
            assert_eq!(got, *tracks, "{name}");
            let got: Vec<_> = session.notes.iter().map(ToString::to_string).collect();
            assert_eq!(got, *notes, "{name}");
        }
    }
}

#[test]
fn the_session_has_a_name_and_a_url() {
    let session = Session::parse(HIKVISION);
    assert_eq!(session.name, "Media Presentation");
    assert_eq!(session.url(BASE), "rtsp://192.0.2.64:554/Streaming/Channels/101/");
    assert_eq!(Session::parse(DAHUA).url(BASE), BASE);
    assert_eq!(Session::parse(FFMPEG).url(BASE), BASE);
}

#[test]
fn an_sdp_cut_off_or_changed_is_read_as_far_as_it_goes() {
    for (name, sdp, tracks, _) in CASES {
        for len in 0..sdp.len() {
            let session = Session::parse(&sdp[..len]);
            assert!(session.tracks.len() <= tracks.len() + 1, "{name} {len}");
        }
        mutations(sdp.as_bytes(), |changed| {
            let session = Session::parse(&String::from_utf8_lossy(changed));
            assert!(session.tracks.len() <= RTSP_TRACKS);
        });
    }
}

#[test]
fn tracks_and_parameter_sets_are_bounded() {
    let many = "m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n".repeat(RTSP_TRACKS + 2);
    let session = Session::parse(&many);
    assert_eq!((session.tracks.len(), session.notes.len()), (RTSP_TRACKS, 2));
    assert_eq!(Session::parse(&"m=\n".repeat(5000)).notes.len(), NOTED);
    let set = base64::encode(&[0x67; 3000]);
    let large = format!(
        "m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96 sprop-parameter-sets={}\n",
        [&*set; 4].join(",")
    );
    let session = Session::parse(&large);
    let Parameters::Sets(sets) = &session.tracks[0].parameters else { panic!("sets") };
    assert_eq!((sets.len(), session.notes.len()), (2, 1));
    assert_eq!(unhex("121"), Some(hex("1210")), "an odd digit");
}
