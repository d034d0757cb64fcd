//! What comes in by webhook: recorded requests through their door and their codec, whole values compared.

use bernard::channels::telegram::{Garbage, receive};
use bernard::channels::{Channel, Deed, Inbound};
use bernard::door::Verified;
use bernard::door::telegram::{BODY_LIMIT, HEADER, TelegramBody, check};
use bernard::secret::Secret;
use http::{HeaderMap, HeaderValue};
use std::collections::BTreeSet;
use std::path::PathBuf;

const ADA: &str = "111111111";
const AT: i64 = 1_763_800_000_000;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/telegram")
}

fn recorded(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.json"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The only way in: through the door, with the secret.
fn verified(body: &[u8]) -> Verified<TelegramBody> {
    let secret = Secret::new("a-webhook-secret").expect("not blank");
    let mut headers = HeaderMap::new();
    headers.insert(HEADER, HeaderValue::from_static("a-webhook-secret"));
    let pass = check(&headers, &secret).expect("the right secret, once");
    pass.seal(body.to_vec())
}

fn from_ada(update: i64, deed: Deed) -> Inbound {
    Inbound {
        delivery: format!("telegram:{update}"),
        channel: Channel::Telegram,
        sender: ADA.to_owned(),
        sender_name: "Ada Lovelace".to_owned(),
        chat: ADA.to_owned(),
        answers: None,
        deed,
        at: AT,
    }
}

fn wrote(text: &str, quoted: Option<&str>, forwarded: bool) -> Deed {
    Deed::Wrote {
        text: text.to_owned(),
        quoted: quoted.map(str::to_owned),
        attachments: Vec::new(),
        forwarded,
    }
}

fn commanded(name: &str, argument: &str) -> Deed {
    Deed::Commanded {
        name: name.to_owned(),
        argument: argument.to_owned(),
    }
}

fn pressed(action: &str, press: &str, message: &str) -> Deed {
    Deed::Pressed {
        action: action.to_owned(),
        press: press.to_owned(),
        message: message.to_owned(),
    }
}

fn unreadable(kind: &str) -> Deed {
    let kind = kind.to_owned();
    Deed::Unreadable { kind }
}

/// What is told to someone, by the fixture's name.
fn told() -> Vec<(&'static str, Inbound)> {
    let huge = Inbound {
        delivery: "telegram:9007199254740991".to_owned(),
        sender: "4503599627370495".to_owned(),
        sender_name: "A B".to_owned(),
        chat: "4503599627370495".to_owned(),
        at: 253_402_300_799_000,
        ..from_ada(0, wrote("hi", None, false))
    };
    let nameless = Inbound {
        sender: "5".to_owned(),
        sender_name: "ghost".to_owned(),
        ..from_ada(880_000_029, wrote("boo", None, false))
    };
    let out_of_reach = Inbound {
        at: 0,
        ..from_ada(880_000_012, pressed("deny:c1", "477000000000000002", "12"))
    };
    let files = "There are two files: a.txt and b.txt.";
    let deeds = [
        ("text", 1, wrote("What is in my notes?", None, false)),
        ("emoji", 2, wrote("👍🏽 done — «ça va»?\nשלום", None, false)),
        ("command", 3, commanded("status", "now please")),
        ("start", 4, commanded("start", "7Q2-claim_x")),
        ("path", 5, wrote("/etc/hosts is where?", None, false)),
        ("reply", 6, wrote("and the second?", Some(files), false)),
        (
            "reply_with_quote",
            7,
            wrote("open it", Some("b.txt"), false),
        ),
        (
            "reply_to_photo",
            8,
            wrote("who is it?", Some("[photo] at the sea"), false),
        ),
        ("forward", 9, wrote("/panic now", None, true)),
        ("via_bot", 10, wrote("The weather is fine", None, true)),
        (
            "callback",
            11,
            pressed("allow:c1", "477000000000000001", "1011"),
        ),
        ("sticker", 15, unreadable("sticker")),
        ("voice", 16, unreadable("voice message")),
        ("animation", 17, unreadable("animation")),
        (
            "photo_with_caption",
            18,
            wrote("[photo] /what is this?", None, false),
        ),
        ("unknown_kind", 19, unreadable("message of an unknown kind")),
        ("unknown_fields", 28, wrote("hi", None, false)),
    ];
    let plain = deeds.map(|(name, n, deed)| (name, from_ada(880_000_000 + n, deed)));
    let odd = [
        ("huge_ids", huge),
        ("nameless", nameless),
        ("callback_inaccessible", out_of_reach),
    ];
    plain.into_iter().chain(odd).collect()
}

/// What is authentic and concerns nobody.
const UNTOLD: [&str; 9] = [
    "callback_in_group",
    "callback_of_game",
    "pinned",
    "group",
    "channel_post",
    "edited",
    "bot_sender",
    "sender_chat",
    "membership",
];

#[test]
fn every_recorded_update_is_told_as_it_was_meant() {
    for (name, inbound) in told() {
        let body = verified(&recorded(name));
        assert_eq!(receive(&body), Ok(Some(inbound)), "{name}");
    }
    for name in UNTOLD {
        let body = verified(&recorded(name));
        assert_eq!(receive(&body), Ok(None), "{name}");
    }
}

#[test]
fn every_recorded_update_is_expected_to_be_something() {
    let expected = told().into_iter().map(|(name, _)| name.to_owned());
    let expected: BTreeSet<String> = expected.chain(UNTOLD.map(str::to_owned)).collect();
    let files = std::fs::read_dir(folder()).expect("the fixtures' folder");
    let names = files.map(|file| {
        let path = file.expect("a readable folder").path();
        let name = path.file_stem().expect("a name");
        name.to_string_lossy().into_owned()
    });
    assert_eq!(names.collect::<BTreeSet<String>>(), expected);
}

#[test]
fn garbage_is_named_and_its_words_are_not_repeated() {
    let told = |body: &str| {
        let refusal = receive(&verified(body.as_bytes()));
        refusal.expect_err("garbage").to_string()
    };
    let private = r#""date":1,"chat":{"id":1,"type":"private"}"#;
    let table = [
        (String::new(), "not JSON: wrong at line 1 column 0"),
        (
            "{\"update_id\":1,".to_owned(),
            "not JSON: wrong at line 1 column 15",
        ),
        ("\u{0}".to_owned(), "not JSON: wrong at line 1 column 1"),
        (
            "{}".to_owned(),
            "not an update: missing field `update_id` at line 1 column 2",
        ),
        (
            "[]".to_owned(),
            "not an update: invalid length 0, expected struct Update with 3 elements at line 1 column 2",
        ),
        (
            r#"{"update_id":"my secret, expected none"}"#.to_owned(),
            "not an update: invalid type: string, expected i64 at line 1 column 39",
        ),
        (
            r#"{"update_id":1.5}"#.to_owned(),
            "not an update: invalid type: floating point, expected i64 at line 1 column 16",
        ),
        (
            r#"{"update_id":1,"update_id":2}"#.to_owned(),
            "not an update: duplicate field `update_id` at line 1 column 26",
        ),
        (
            r#"{"update_id":1,"message":{"date":1}}"#.to_owned(),
            "not an update: missing field `chat` at line 1 column 35",
        ),
        (
            format!(r#"{{"update_id":1,"message":{{{private},"text":"x"}}}}"#),
            "not an update: a private message without `from`",
        ),
    ];
    for (body, expected) in table {
        assert_eq!(told(&body), expected, "{body}");
    }
    let typed = format!(r#"{{"update_id":1,"message":{{{private},"text":["x"]}}}}"#);
    assert!(
        told(&typed).starts_with("not an update: invalid type: sequence"),
        "{}",
        told(&typed)
    );
    let bytes = verified(&[b'"', 0xff, b'"']);
    assert!(matches!(receive(&bytes), Err(Garbage::NotJson { .. })));
}

#[test]
fn no_piece_of_an_update_makes_the_codec_stumble() {
    for (name, _) in told() {
        let whole = recorded(name);
        for end in 0..whole.len().saturating_sub(2) {
            assert!(
                receive(&verified(&whole[..end])).is_err(),
                "{name} cut at {end}"
            );
        }
        for place in 0..whole.len() {
            let mut bent = whole.clone();
            bent[place] ^= 0x15;
            // Whatever it now means, it is an answer and no panic.
            let _ = receive(&verified(&bent));
        }
    }
}

#[test]
fn the_longest_text_with_the_longest_reply_fits_the_limit() {
    let longest = "\\ud83d\\ude00".repeat(2048);
    let entity =
        r#"{"offset":1234,"length":1234,"type":"text_link","url":"https://example.com/path"},"#;
    let message = format!("{longest}{}", entity.repeat(100));
    assert!(2 * message.len() < BODY_LIMIT);
}
