//! The rules of event streams as a table of cases: what the list of `LaunchDarkly`'s contract tests and the web platform tests
//! cover, restated; and every cut.

use super::checks::{Outcome, any, parsed, specified};
use super::*;
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

const LONG: usize = 1 << 20;

/// Events in short: `type|data|id`, with `-` for an id that is not there.
fn short(outcome: &Outcome) -> Vec<String> {
    let events = outcome.events.iter();
    events
        .map(|(kind, data, id)| {
            let data = data.clone().unwrap_or_else(|len| format!("<{len}>"));
            format!("{kind}|{data}|{}", id.as_deref().unwrap_or("-"))
        })
        .collect()
}

/// Each stream is as expected, at once and byte by byte, with each line end instead of LF, and as the specification says.
fn check(stream: &str, expected: &[&str]) {
    let whole = parsed(LONG, [stream.as_bytes()]);
    assert_eq!(short(&whole), expected, "{stream:?}");
    assert_eq!(whole, specified(stream.as_bytes()), "{stream:?}");
    for end in ["\n", "\r\n", "\r"] {
        if stream.contains('\r') && end != "\n" {
            continue;
        }
        let stream = stream.replace('\n', end);
        for size in [1, 2, 3, 7] {
            let pieces = parsed(LONG, stream.as_bytes().chunks(size));
            assert_eq!(short(&pieces), expected, "{stream:?} in pieces of {size}");
        }
    }
}

#[test]
fn g28_the_rules_as_a_table() {
    for (stream, expected) in [
        // Fields.
        ("data: hello\n\n", &["message|hello|-"][..]),
        ("data:hello\n\n", &["message|hello|-"]),
        ("data:  hello \n\n", &["message| hello |-"]),
        ("data:\thello\n\n", &["message|\thello|-"]),
        ("data: a:b: c\n\n", &["message|a:b: c|-"]),
        ("data: a\ndata: b\n\n", &["message|a\nb|-"]),
        ("data: a\ndata\ndata:\ndata: b\n\n", &["message|a\n\n\nb|-"]),
        ("data:\n\ndata\ndata\n\ndata:test\n\n", &["message||-", "message|\n|-", "message|test|-"]),
        ("data:\ndata:\n\n", &["message|\n|-"]),
        ("event: add\ndata: 1\n\n", &["add|1|-"]),
        ("data: 1\nevent: add\n\n", &["add|1|-"]),
        ("event: a\nevent: b\ndata: 1\n\n", &["b|1|-"]),
        ("event: a\nevent:\ndata: 1\n\n", &["message|1|-"]),
        ("event: a b\ndata: 1\n\n", &["a b|1|-"]),
        ("event: a\n\ndata: 1\n\n", &["message|1|-"]),
        ("event: a\ndata: 1\n\ndata: 2\n\n", &["a|1|-", "message|2|-"]),
        ("event: a\n\n", &[]),
        ("id: 1\ndata: 1\n\n", &["message|1|1"]),
        ("id: 1\ndata: 1\n\ndata: 2\n\n", &["message|1|1", "message|2|-"]),
        ("id: 1\nid: 2\ndata: 1\n\n", &["message|1|2"]),
        ("id: 1\ndata: 1\n\nid\ndata: 2\n\n", &["message|1|1", "message|2|"]),
        ("id: 1\0\ndata: 1\n\n", &["message|1|-"]),
        ("id: 1\nid: 2\0\ndata: 1\n\n", &["message|1|1"]),
        ("id: [{\"topic\":\"a\"}, 1]\ndata: 1\n\n", &["message|1|[{\"topic\":\"a\"}, 1]"]),
        ("retry: 10\ndata: 1\n\n", &["message|1|-"]),
        // What is no field.
        ("nothing\ndata: 1\n\n", &["message|1|-"]),
        ("datax: 0\nxdata: 0\ndat: 0\ndata 0\ndata: 1\n\n", &["message|1|-"]),
        (" data: 0\ndata : 0\nData: 0\nDATA: 0\ndata\0: 0\ndata: 1\n\n", &["message|1|-"]),
        ("event : a\nid : 7\ne\ni\nd\nr\ndata: 1\n\n", &["message|1|-"]),
        // Comments.
        (":\n\n:x\n: y\n\ndata: 1\n:data: 2\ndata: 3\n\n", &["message|1\n3|-"]),
        (":data: 1\n\n", &[]),
        // Line ends, mixed.
        ("data: 1\r\ndata: 2\ndata: 3\rdata: 4\r\n\ndata: 5\n\r", &["message|1\n2\n3\n4|-", "message|5|-"]),
        ("data: 1\r\n\r\ndata: 2\r\rdata: 3\r\n\n", &["message|1|-", "message|2|-", "message|3|-"]),
        ("\n\n\ndata: 1\n\n\n\n\ndata: 2\n\n", &["message|1|-", "message|2|-"]),
        ("data: a\u{85}b\u{2028}c\u{b}d\u{c}e\n\n", &["message|a\u{85}b\u{2028}c\u{b}d\u{c}e|-"]),
        // The end of the body.
        ("data: 1\n\ndata: 2\n", &["message|1|-"]),
        ("data: 1\n\ndata: 2", &["message|1|-"]),
        ("data: 1\n", &[]),
        ("data: 1\n\nid: 9\n", &["message|1|-"]),
        ("", &[]),
        // Marks.
        ("\u{feff}data: 1\n\n", &["message|1|-"]),
        ("\u{feff}\u{feff}data: 1\n\ndata: 2\n\n", &["message|2|-"]),
        ("data: 1\n\n\u{feff}data: 2\n\ndata: \u{feff}3\n\n", &["message|1|-", "message|\u{feff}3|-"]),
        ("\n\u{feff}data: 1\n\n", &[]),
        ("\u{feff}", &[]),
        // The vector of the web platform tests that checks most at once (`format-field-parsing`).
        (
            "data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n",
            &["message|\0\n 2\n1\n3\n\n4|-"],
        ),
        ("data: \u{1f408} é\nevent: ü\nid: ñ\n\n", &["ü|\u{1f408} é|ñ"]),
    ] {
        check(stream, expected);
    }
}

#[test]
fn what_counts_beside_events() {
    for (stream, last_id, retry) in [
        // It counts although no event comes of it.
        ("id: 1\n\n", Some("1"), None),
        ("id: 1\nevent: x\n\ndata: 2\n\n", Some("1"), None),
        // Only with the end of its event.
        ("id: 1\n\nid: 2\n", Some("1"), None),
        ("id: 1\n\nid\n\n", Some(""), None),
        ("data: 1\n\n", None, None),
        ("retry: 1000", None, None),
        ("retry: 1000\n", None, Some(1000)),
        ("retry:0\n", None, Some(0)),
        ("retry: 1000\nretry: 5000ms\nretry: -1\nretry: 1.5\nretry:  7\nretry:\nretry\n", None, Some(1000)),
        ("retry: 99999999999999999999999\n", None, Some(u64::MAX)),
        ("retry: 007\n", None, Some(7)),
    ] {
        let outcome = parsed(LONG, [stream.as_bytes()]);
        assert_eq!((outcome.last_id.as_deref(), outcome.retry), (last_id, retry), "{stream:?}");
        any(0, stream.as_bytes());
    }
}

#[test]
fn what_is_no_utf8_is_replaced() {
    for (stream, expected) in [
        (&b"data: ok\xc3\n\n"[..], "message|ok\u{fffd}|-"),
        (b"data: \xff\xfe\n\n", "message|\u{fffd}\u{fffd}|-"),
        (b"data: \xf0\x9f\x90\ndata: x\n\n", "message|\u{fffd}\nx|-"),
        (b"data: \xed\xa0\xbd\n\n", "message|\u{fffd}\u{fffd}\u{fffd}|-"),
        (b"event: \xc3\nid: \xe2\x82\ndata: 1\n\n", "\u{fffd}|1|\u{fffd}"),
        (b"\xef\xbbdata: 0\ndata: 1\n\n", "message|1|-"),
    ] {
        assert_eq!(short(&parsed(LONG, [stream])), [expected], "{stream:?}");
        any(1, stream);
    }
}

/// A stream with everything in it that a cut could spoil.
const RICH: &str = "\u{feff}:ok\r\n\r\nretry: 2500\r\nevent: update\nid: [{\"a\":1},{\"b\":\"\u{1f408}\"}]\ndata: {\"x\":\"é\u{1f408}\"}\r\r\
    :thump\ndata: 1\r\ndata:\r\ndata: 3\n\nid\ndata: \u{2028}\n\nid: 9\n\nevent: end\ndata: done\n\ndata: torn";

#[test]
fn no_cut_matters() {
    let bytes = RICH.as_bytes();
    let whole = parsed(LONG, [bytes]);
    assert_eq!(whole, specified(bytes));
    assert_eq!(whole.events.len(), 4, "{whole:?}");
    for cut in 0..=bytes.len() {
        assert_eq!(parsed(LONG, [&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
        for second in cut..=bytes.len() {
            let pieces = [&bytes[..cut], &bytes[cut..second], &bytes[second..]];
            assert_eq!(parsed(LONG, pieces), whole, "cut at {cut} and {second}");
        }
    }
    let mut random = StdRng::seed_from_u64(1);
    for round in 0..10_000 {
        let mut rest = bytes;
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(random.random_range(0..=rest.len().min(40)));
            pieces.push(piece);
            rest = left;
        }
        assert_eq!(parsed(LONG, pieces.iter().copied()), whole, "round {round}: {pieces:?}");
    }
}

/// An event without end, a line without end, a comment without end: memory stays bounded, and the stream goes on.
#[test]
fn what_is_too_long_is_said_and_passed_over() {
    const MIB: usize = 1 << 20;
    for (what, line, event) in [
        ("one line", &b"x"[..], &b"data: "[..]),
        ("many lines", b"data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n", b""),
        ("empty lines", b"data\n", b""),
        ("a comment", b"x", b"data: 1\n:"),
        ("comments", b":x\n", b"data: 1\n"),
        ("a field that nobody knows", b"x", b"data: 1\ndatum: "),
        ("a type", b"x", b"data: 1\nevent: "),
    ] {
        let mut parser = Parser::new(MIB);
        parser.push(event);
        let piece = line.repeat(64 * 1024 / line.len());
        for _ in 0..320 {
            parser.push(&piece);
            assert_eq!(parser.next(), None);
            assert!(parser.pending.capacity() + parser.block.data.copy.capacity() < 5 * MIB, "{what}");
        }
        parser.push(if line.ends_with(b"\n") { b"" } else { b"\n" });
        parser.push(b"id: 7\n\ndata: next\n\n");
        let first = parser.next().unwrap();
        match (what, first.data) {
            ("a comment" | "comments" | "a field that nobody knows", data) => {
                assert_eq!(data, Data::Whole("1".into()), "{what}");
            }
            (_, Data::TooLong(len, head)) => assert!(len > 3 * MIB && head.len() <= HEAD_BYTES, "{what}: {len}"),
            (_, data) => panic!("{what}: {data:?}"),
        }
        assert_eq!(first.id, Some("7"), "{what}: it is passed over for good");
        let second = parser.next().unwrap();
        assert_eq!(second.data, Data::Whole("next".into()), "{what}");
    }
}

#[test]
fn a_limit_is_exact() {
    let at = |len: usize| parsed(10, [format!("data: {}\n\n", "x".repeat(len)).as_bytes()]);
    assert_eq!(short(&at(10)), ["message|xxxxxxxxxx|-"]);
    assert_eq!(short(&at(11)), ["message|<11>|-"]);
    let lines = |last: &str| parsed(10, [format!("data: 12345\ndata: {last}\n\n").as_bytes()]);
    assert_eq!(short(&lines("6789")), ["message|12345\n6789|-"]);
    assert_eq!(short(&lines("67890")), ["message|<11>|-"]);
}

proptest! {
    /// What is made of the pieces of the format, and any bytes.
    #[test]
    fn any_stream_is_as_specified(
        text in "(\u{feff}|\r\n|\r|\n|data|event|id|retry|:| |[a-c0-9\0é\u{1f408}]|data: [a-z]{0,12}\n|id: [0-9]{0,2}\n){0,40}", choice in 0_u8..20,
    ) {
        any(choice, text.as_bytes());
    }

    #[test]
    fn any_bytes_are_as_specified(bytes in proptest::collection::vec(any_byte(), 0..80), choice in 0_u8..20) {
        any(choice, &bytes);
    }
}

fn any_byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        Just(b'\n'),
        Just(b'\r'),
        Just(b':'),
        Just(b'd'),
        Just(0xc3),
        Just(0xef),
        Just(0xbb),
        Just(0xbf),
        proptest::num::u8::ANY
    ]
}
