//! Commands and what is answered.

use super::*;
use crate::proto::rtmp::{Identity, RUNNEL};

#[test]
fn connect_is_answered_in_the_order_that_clients_know() {
    let mut peer = Peer::new();
    let events = peer.command("connect", 1.0, &[properties(), properties()]);
    let [Event::Connect(connect)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(connect.tc_url, "rtmp://host/live");
    assert!(connect.args.is_some());
    let (server_ip, chunk_size) = ("1.2.3.4".into(), 4096);
    peer.server.accept_connect(&ConnectReply {
        server_ip,
        pid: 12,
        id: 34,
        chunk_size,
        ..ConnectReply::default()
    });
    let version = env!("CARGO_PKG_VERSION");
    let Identity { url, site, email, copyright, primary, authors, .. } = RUNNEL;
    let expected = [
        "5 2 0 00 26 25 a0".to_owned(),
        "6 2 0 00 26 25 a0 02".to_owned(),
        "1 2 0 00 00 10 00".to_owned(),
        format!(
            "20 3 0 '_result' 1 {{fmsVer='FMS/3,5,3,888',capabilities=127,mode=1}} \
             {{level='status',code='NetConnection.Connect.Success',\
             description='Connection succeeded',objectEncoding=0,data=[0: version='3,5,3,888',\
             srs_sig='runnel',srs_server='runnel/{version}',\
             srs_license='The MIT License (MIT)',srs_role='cluster',srs_url='{url}',\
             srs_version='{version}',srs_site='{site}',srs_email='{email}',\
             srs_copyright='{copyright}',srs_primary='{primary}',srs_authors='{authors}',\
             srs_server_ip='1.2.3.4',srs_pid=12,srs_id=34]}}"
        ),
        "20 3 0 'onBWDone' 0 null".to_owned(),
    ];
    assert_eq!(peer.replies(), expected);
    assert_eq!(peer.server.out_chunk_size(), 4096);
    assert_eq!(peer.server.state(), "idle");
}

#[test]
fn codecs_are_offered_to_those_who_offer_codecs() {
    let mut peer = Peer::new();
    let map = Object::from_iter([("*", 7.0), ("hvc1", 1.0)]);
    let properties = Object::from_iter([
        ("tcUrl", "rtmp://host/live".into()),
        ("objectEncoding", 3.0.into()),
        ("capsEx", 15.0.into()),
        ("videoFourCcInfoMap", Value::Object(map)),
        ("fourCcList", Value::StrictArray(vec!["av01".into(), "hvc1".into()])),
    ]);
    peer.command("connect", 1.0, &[properties.into()]);
    peer.server.accept_connect(&ConnectReply::default());
    let replies = peer.replies();
    assert!(replies[3].starts_with(
        "20 3 0 '_result' 1 {fmsVer='FMS/3,5,3,888',capabilities=127,mode=1,\
         fourCcList=['av01','hvc1'],videoFourCcInfoMap={*=4,hvc1=4},capsEx=1} "
    ));
    assert!(replies[3].contains("objectEncoding=3,"));
}

#[test]
fn a_client_that_can_is_asked_to_connect_again() {
    for (caps, able) in [(None, false), (Some(14.0), false), (Some(1.0), true), (Some(15.0), true)]
    {
        let mut peer = Peer::new();
        assert!(peer.server.leave(), "nothing is under way before connect");
        let caps = caps.map(|caps: f64| ("capsEx", Value::from(caps)));
        let url = ("tcUrl", Value::from("rtmp://host/live"));
        let properties = [url].into_iter().chain(caps);
        peer.command("connect", 1.0, &[Object::from_iter(properties).into()]);
        peer.server.accept_connect(&ConnectReply::default());
        peer.replies();
        let url = Some("rtmp://other/live");
        assert_eq!(peer.server.request_reconnect(url, "Bye."), able);
        assert!(!peer.server.leave());
        let status = "code='NetConnection.Connect.ReconnectRequest',description=";
        let expected = [
            format!(
                "20 3 0 'onStatus' 0 null {{tcUrl='rtmp://other/live',{status}'Bye.',level='status'}}"
            ),
            format!("20 3 0 'onStatus' 0 null {{{status}'The server leaves.',level='status'}}"),
        ];
        assert_eq!(peer.replies(), if able { &expected[..] } else { &[] });
        assert_eq!(peer.server.state(), "idle", "it goes on");
    }
}

#[test]
fn a_refused_client_is_told_and_then_ignored() {
    let mut peer = Peer::new();
    peer.command("connect", 1.0, &[properties()]);
    peer.server.refuse_connect("no such vhost");
    let rejected = "20 3 0 '_error' 1 null {level='error',\
        code='NetConnection.Connect.Rejected',description='no such vhost'}";
    assert_eq!(peer.replies(), [rejected]);
    assert!(peer.command("createStream", 2.0, &[]).is_empty());
    assert!(peer.replies().is_empty());
    assert_eq!(peer.server.state(), "refused");
}

#[test]
fn what_comes_before_connect_is_skipped() {
    let mut peer = Peer::new();
    assert!(peer.command("createStream", 2.0, &[]).is_empty());
    assert!(peer.send(9, 0, b"\x17\x01").unwrap().is_empty());
    assert!(peer.replies().is_empty());
    assert_eq!(peer.command("connect", 1.0, &[properties()]).len(), 1);
}

#[test]
fn connect_without_tc_url_is_an_error_with_an_answer() {
    for value in [Value::Null, 5.0.into(), true.into()] {
        let mut peer = Peer::new();
        let properties = Object::from_iter([("tcUrl", value)]);
        let payload = command("connect", 1.0, &[properties.into()]);
        let error = peer.send(COMMAND, 0, &payload).unwrap_err();
        assert_eq!(error.code(), 2005);
        let at = peer.record.len() - 3073;
        assert_eq!(error.to_string(), format!("connect without tcUrl, before byte {at}"));
        assert!(peer.replies()[0].contains("NetConnection.Connect.Rejected"));
    }
}

#[test]
fn properties_of_the_wrong_type_count_as_absent() {
    let mut peer = Peer::new();
    let properties = Object::from_iter([
        ("tcUrl", "rtmp://host/live".into()),
        ("pageUrl", Value::Number(1.0)),
        ("swfUrl", Value::Undefined),
        ("objectEncoding", "3".into()),
        ("app", Object::new().into()),
    ]);
    let events = peer.command("connect", 7.0, &[properties.into(), "x".into()]);
    let [Event::Connect(connect)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&*connect.page_url, &*connect.swf_url, &*connect.app), ("", "", ""));
    assert_eq!((connect.object_encoding, connect.transaction), (0.0, 7.0));
    assert!(connect.args_dropped);
    peer.server.accept_connect(&ConnectReply::default());
    assert!(peer.replies()[3].starts_with("20 3 0 '_result' 7 {"));
}

#[test]
fn an_encoder_publishes() {
    let mut peer = Peer::connected();
    peer.publish(Style::Fmle);
    let expected = [
        "20 3 0 '_result' 2 null undefined",
        "20 3 0 '_result' 3 null undefined",
        "20 3 0 '_result' 4 null 1",
        FC_PUBLISH,
        PUBLISH_STATUS,
    ];
    assert_eq!(peer.replies(), expected);
}

#[test]
fn flash_publishes() {
    let mut peer = Peer::connected();
    peer.publish(Style::Flash);
    assert_eq!(peer.replies(), ["20 3 0 '_result' 4 null 1", PUBLISH_STATUS]);
}

#[test]
fn haivision_publishes() {
    let mut peer = Peer::connected();
    peer.publish(Style::Haivision);
    let expected = [
        "20 3 0 '_result' 4 null 1",
        "20 3 0 '_result' 5 null undefined",
        FC_PUBLISH,
        PUBLISH_STATUS,
    ];
    assert_eq!(peer.replies(), expected);
}

#[test]
fn an_encoder_that_publishes_without_a_name_uses_the_one_it_released() {
    let mut peer = Peer::connected();
    peer.command("releaseStream", 2.0, &[Value::Null, "s".into()]);
    let events = peer.command("publish", 0.0, &[Value::Null]);
    assert!(matches!(&events[..], [Event::Publish(publish)] if publish.name == "s"));
}

#[test]
fn a_player_plays() {
    let mut peer = Peer::connected();
    peer.command("createStream", 2.0, &[Value::Null]);
    let events = peer.command("play", 0.0, &[Value::Null, "s?k=1".into(), (-1.0).into()]);
    let [Event::Play(play)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&*play.name, play.start, play.duration), ("s?k=1", -1.0, -1.0));
    peer.server.accept_play();
    let status = |code: &str, description: &str| {
        format!(
            "20 5 1 'onStatus' 0 null {{level='status',code='NetStream.Play.{code}',\
             description='{description}',details='stream',clientid='ASAICiss'}}"
        )
    };
    let expected = [
        "20 3 0 '_result' 2 null 1".to_owned(),
        "4 2 0 00 00 00 00 00 01".to_owned(),
        status("Reset", "Playing and resetting stream."),
        status("Start", "Started playing stream."),
        "18 5 1 '|RtmpSampleAccess' true true".to_owned(),
        "18 5 1 'onStatus' {code='NetStream.Data.Start'}".to_owned(),
    ];
    assert_eq!(peer.replies(), expected);
}

#[test]
fn play_needs_no_create_stream() {
    let mut peer = Peer::connected();
    let events = peer.command("play", 0.0, &[Value::Null, "s".into()]);
    assert!(matches!(events[..], [Event::Play(_)]));
}

#[test]
fn a_player_pauses_and_goes_on() {
    let mut peer = Peer::playing();
    let events = peer.command("pause", 0.0, &[Value::Null, true.into(), 5.0.into()]);
    assert!(matches!(events[..], [Event::Pause(true)]));
    let events = peer.command("pause", 0.0, &[Value::Null, false.into(), 5.0.into()]);
    assert!(matches!(events[..], [Event::Pause(false)]));
    let expected = [
        "20 5 1 'onStatus' 0 null {level='status',code='NetStream.Pause.Notify',\
         description='Paused stream.'}",
        "4 2 0 00 01 00 00 00 01",
        "20 5 1 'onStatus' 0 null {level='status',code='NetStream.Unpause.Notify',\
         description='Unpaused stream.'}",
        "4 2 0 00 00 00 00 00 01",
    ];
    assert_eq!(peer.replies(), expected);
}

#[test]
fn other_commands_of_a_player_are_answered_and_have_no_effect() {
    let mut peer = Peer::playing();
    for name in ["seek", "deleteStream", "getStreamLength", "play", "publish", "anything"] {
        assert!(peer.command(name, 5.0, &[Value::Null, 1.0.into()]).is_empty());
        assert_eq!(peer.replies(), ["20 3 0 '_result' 5 null null"], "{name}");
        assert!(peer.command(name, 0.0, &[Value::Null, 1.0.into()]).is_empty());
        assert!(peer.command(name, f64::NAN, &[Value::Null, 1.0.into()]).is_empty());
        assert!(peer.replies().is_empty(), "{name}");
    }
    assert!(peer.send(9, 0, b"\x17\x01").unwrap().is_empty());
    assert!(peer.send(22, 0, b"rubbish").unwrap().is_empty());
    assert_eq!(peer.server.state(), "play");
}

#[test]
fn a_player_that_closes_its_stream_may_play_or_publish_again() {
    let mut peer = Peer::playing();
    let events = peer.command("closeStream", 0.0, &[Value::Null]);
    assert!(matches!(events[..], [Event::CloseStream]));
    assert!(peer.replies().is_empty());
    let events = peer.command("play", 0.0, &[Value::Null, "t".into()]);
    assert!(matches!(&events[..], [Event::Play(play)] if play.name == "t"));
    peer.server.accept_play();
    assert_eq!(peer.replies().len(), 5);
    peer.command("closeStream", 0.0, &[Value::Null]);
    peer.publish(Style::Fmle);
}

#[test]
fn an_encoder_stops_and_publishes_again() {
    for style in [Style::Fmle, Style::Haivision] {
        let mut peer = Peer::publishing(style);
        let events = peer.command("FCUnpublish", 6.0, &[Value::Null, "s".into()]);
        assert!(matches!(events[..], [Event::Unpublish]));
        let expected = [
            "20 5 1 'onFCUnpublish' 0 null {code='NetStream.Unpublish.Success',\
             description='Stop publishing stream.'}",
            "20 3 1 '_result' 6 null undefined",
            "20 5 1 'onStatus' 0 null {level='status',code='NetStream.Unpublish.Success',\
             description='Stream is now unpublished',clientid='ASAICiss'}",
        ];
        assert_eq!(peer.replies(), expected);
        assert!(peer.command("deleteStream", 7.0, &[Value::Null, 1.0.into()]).is_empty());
        assert_eq!(peer.replies(), ["20 3 0 '_result' 7 null null"]);
        peer.publish(style);
        assert_eq!(packets(&peer.send(8, 1, b"\xaf\x01").unwrap()).len(), 1);
    }
}

#[test]
fn an_encoder_goes_on_through_other_commands() {
    let mut peer = Peer::publishing(Style::Fmle);
    assert!(peer.command("_checkbw", 5.0, &[Value::Null]).is_empty());
    assert!(peer.command("_checkbw", 0.0, &[Value::Null]).is_empty());
    assert_eq!(peer.replies(), ["20 3 0 '_result' 5 null null"]);
    assert_eq!(peer.server.state(), "publish");
    let events = peer.command("deleteStream", 0.0, &[Value::Null, 1.0.into()]);
    assert!(matches!(events[..], [Event::Unpublish]));
}

#[test]
fn whatever_flash_says_ends_what_it_publishes() {
    for name in ["closeStream", "deleteStream", "publish", "FCUnpublish", "anything"] {
        let mut peer = Peer::publishing(Style::Flash);
        let events = peer.command(name, 0.0, &[Value::Null, false.into()]);
        assert!(matches!(events[..], [Event::Unpublish]), "{name}");
        assert!(peer.replies().is_empty());
        peer.publish(Style::Flash);
    }
    let mut peer = Peer::publishing(Style::Flash);
    assert_eq!(peer.command("createStream", 9.0, &[Value::Null]).len(), 1);
    assert_eq!(peer.replies(), ["20 3 0 '_result' 9 null 1"]);
}

#[test]
fn a_refused_stream_can_be_asked_for_again() {
    let mut peer = Peer::connected();
    peer.command("play", 0.0, &[Value::Null, "s".into()]);
    peer.server.refuse("NetStream.Play.StreamNotFound", "no such stream");
    let refused = "20 5 1 'onStatus' 0 null {level='error',\
        code='NetStream.Play.StreamNotFound',description='no such stream',clientid='ASAICiss'}";
    assert_eq!(peer.replies(), [refused]);
    peer.publish(Style::Flash);
    peer.server.end("error", "NetStream.Publish.BadName", "another one took over");
    assert_eq!(peer.replies().len(), 3);
    assert_eq!(peer.server.state(), "idle");
}

#[test]
fn answers_that_nobody_waits_for_have_no_effect() {
    let mut peer = Peer::playing();
    peer.server.accept_connect(&ConnectReply::default());
    peer.server.refuse_connect("x");
    peer.server.accept_publish(Box::new(Heap { media_max: 0 }));
    peer.server.refuse("x", "y");
    peer.server.accept_play();
    assert!(peer.replies().is_empty());
    assert_eq!(peer.server.state(), "play");
}

#[test]
fn nothing_is_taken_while_an_answer_is_due() {
    let mut peer = Peer::connected();
    write_message(&mut peer.backlog, 128, 3, COMMAND, 1, 0, &command("createStream", 2.0, &[]));
    let publish = command("publish", 0.0, &[Value::Null, "s".into()]);
    write_message(&mut peer.backlog, 128, 3, COMMAND, 1, 0, &publish);
    let waiting = peer.backlog.len();
    write_message(&mut peer.backlog, 128, 6, 9, 1, 40, &vec![0x17; 50_000]);
    let media = peer.backlog.len() - waiting;
    assert!(matches!(peer.run().unwrap()[..], [Event::Publish(_)]));
    assert!(peer.run().unwrap().is_empty());
    assert_eq!(peer.backlog.len(), media);
    peer.server.accept_publish(Box::new(Heap { media_max: 100_000 }));
    assert_eq!(packets(&peer.run().unwrap())[0].2.len(), 50_000);
}

#[test]
fn calls_are_answered() {
    let mut peer = Peer::connected();
    assert!(peer.command("anything", 5.0, &[Value::Null]).is_empty());
    assert_eq!(peer.replies(), ["20 3 0 '_result' 5 null null"]);
    peer.command("anything", 0.0, &[Value::Null]);
    assert_eq!(peer.replies(), ["20 3 0 '_result' 0 null null"]);
    peer.command("createStream", 2.0, &[Value::Null]);
    peer.command("createStream", 3.0, &[Value::Null]);
    assert_eq!(peer.replies(), ["20 3 0 '_result' 2 null 1", "20 3 0 '_result' 3 null 1"]);
    peer.command("anything", 0.0, &[Value::Null]);
    assert!(peer.replies().is_empty());
    peer.command("_result", 5.0, &[Value::Null]);
    peer.command("pause", 0.0, &[Value::Null]);
    assert!(peer.replies().is_empty());
}

#[test]
fn commands_in_amf3_are_amf0_behind_a_zero() {
    let mut peer = Peer::connected();
    for prefix in [&b"\0"[..], b""] {
        let payload = [prefix, &command("createStream", 2.0, &[Value::Null])].concat();
        assert!(peer.send(COMMAND_AMF3, 0, &payload).unwrap().is_empty());
        assert_eq!(peer.replies(), ["20 3 0 '_result' 2 null 1"]);
    }
}
