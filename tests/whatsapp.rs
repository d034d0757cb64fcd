//! What WhatsApp's webhook brings: bodies as Meta publishes them, through their door and their codec, whole values compared.

use bernard::channels::app::Heard;
use bernard::channels::whatsapp::{Garbage, receive};
use bernard::channels::{Arrival, Channel, Deed, Fate, Inbound, Media};
use bernard::door::Verified;
use bernard::door::whatsapp::{BODY_LIMIT, HEADER, WhatsAppBody, check};
use bernard::secret::Secret;
use hmac_sha256::HMAC;
use http::{HeaderMap, HeaderValue};
use std::collections::BTreeSet;
use std::path::PathBuf;

const ADA: &str = "16505551234";
const NUMBER: &str = "106540352242922";
const SECRET: &str = "an-app-secret";
const AT: i64 = 1_763_800_000_000;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/whatsapp")
}

fn recorded(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.json"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The only way in: through the door, signed.
fn verified(body: &[u8]) -> Verified<WhatsAppBody> {
    let digits = HMAC::mac(body, SECRET).map(|byte| format!("{byte:02x}"));
    let mut headers = HeaderMap::new();
    let signature = HeaderValue::from_str(&format!("sha256={}", digits.concat())).expect("plain");
    headers.insert(HEADER, signature);
    let secret = Secret::new(SECRET).expect("not blank");
    let pass = check(&headers, &secret, NUMBER).expect("one signature");
    pass.seal(body.to_vec()).expect("the right one")
}

fn wamid(n: u32) -> String {
    format!("wamid.HBgLMTY1MDU1NTEyMzQVAgASGBQzQTAw{n:02}A=")
}

fn from_ada(n: u32, deed: Deed) -> Inbound {
    Inbound {
        delivery: format!("whatsapp:{}", wamid(n)),
        channel: Channel::WhatsApp,
        sender: ADA.to_owned(),
        sender_name: "Ada Lovelace".to_owned(),
        chat: ADA.to_owned(),
        answers: None,
        deed,
        at: AT,
    }
}

fn answering(message: &str, inbound: Inbound) -> Inbound {
    Inbound {
        answers: Some(message.to_owned()),
        ..inbound
    }
}

fn wrote(text: &str) -> Deed {
    passed_on(text, false)
}

fn passed_on(text: &str, forwarded: bool) -> Deed {
    Deed::Wrote {
        text: text.to_owned(),
        quoted: None,
        attachments: Vec::new(),
        forwarded,
    }
}

fn unreadable(kind: &str) -> Deed {
    let kind = kind.to_owned();
    Deed::Unreadable { kind }
}

/// A file: its kind, its id's last digits, name, type, hash, and the words with it.
fn gave(kind: &str, id: u64, name: &str, mime: &str, sha256: &str, text: &str) -> Deed {
    Deed::Gave {
        media: Media {
            id: (1_003_383_421_387_200 + id).to_string(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            mime: mime.to_owned(),
            sha256: sha256.to_owned(),
        },
        text: text.to_owned(),
        quoted: None,
        forwarded: kind == "video",
    }
}

fn pressed(n: u32, action: &str, message: &str) -> Deed {
    Deed::Pressed {
        action: action.to_owned(),
        press: wamid(n),
        message: message.to_owned(),
    }
}

fn places() -> [(&'static str, Inbound); 3] {
    let museum = "[location] 40.782910059774, -73.959075808525 Solomon R. Guggenheim Museum, 1071 5th Ave, New York, \
                  https://www.guggenheim.org";
    let people = "[contact] Barbara J. Johnson, +1 650-555-9999, bjj@example.com\n[contact] Bob";
    [
        ("location", from_ada(15, wrote(museum))),
        ("location_live", from_ada(16, wrote("[location] -1.5, 36"))),
        ("contacts", from_ada(17, wrote(people))),
    ]
}

fn files() -> [(&'static str, Inbound); 6] {
    let hash = "SfInY0gGKTsJlUWbwxC1k+FAD0FZHvzwfpvO0zX0GUI=";
    let deeds = [
        (
            "image",
            9,
            gave(
                "photo",
                56,
                "photo.jpg",
                "image/jpeg",
                hash,
                "What is this?",
            ),
        ),
        (
            "audio",
            10,
            gave(
                "audio file",
                57,
                "audio-file.mp3",
                "audio/mpeg",
                "56a8ea6c3d4e5b2f",
                "",
            ),
        ),
        (
            "voice",
            11,
            gave(
                "voice message",
                58,
                "voice-message.ogg",
                "audio/ogg",
                hash,
                "",
            ),
        ),
        (
            "video",
            12,
            gave("video", 59, "video.mp4", "video/mp4", "ab", ""),
        ),
        (
            "document",
            13,
            gave(
                "document",
                60,
                "Lease gpj.pdf",
                "application/pdf",
                "ab",
                "the lease",
            ),
        ),
        (
            "sticker",
            14,
            gave("sticker", 61, "sticker.webp", "image/webp", "ab", ""),
        ),
    ];
    deeds.map(|(name, n, deed)| (name, from_ada(n, deed)))
}

fn buttons() -> [(&'static str, Inbound); 4] {
    let yes = "ok:a-1-c1:0123456789abcdef";
    [
        (
            "button_reply",
            18,
            "wamid.QUESTION",
            pressed(18, yes, "wamid.QUESTION"),
        ),
        (
            "list_reply",
            19,
            "wamid.LIST",
            pressed(19, "revoke:abc", "wamid.LIST"),
        ),
        ("flow_reply", 20, "wamid.FLOW", unreadable("form")),
        ("button", 21, "wamid.TEMPLATE", wrote("Read it")),
    ]
    .map(|(name, n, message, deed)| (name, answering(message, from_ada(n, deed))))
}

/// What is told to someone, by the fixture's name.
fn told() -> Vec<(&'static str, Inbound)> {
    let shown = "[advertisement] Succulent sale! – Ends Friday. – https://fb.me/3cr4Wqqkv";
    let referred = Deed::Wrote {
        text: "Can I get more info?".to_owned(),
        quoted: Some(shown.to_owned()),
        attachments: Vec::new(),
        forwarded: false,
    };
    let command = Deed::Commanded {
        name: "status".to_owned(),
        argument: "now please".to_owned(),
    };
    let deeds = [
        ("text", 1, wrote("What is in my notes?")),
        ("emoji", 2, wrote("👍🏽 done — «ça va»?\nשלום")),
        ("command", 3, command),
        ("path", 4, wrote("/etc/hosts is where?")),
        ("forward", 6, passed_on("/panic now", true)),
        ("forwarded_often", 7, passed_on("a chain letter", true)),
        ("referral", 8, referred),
        ("reaction", 22, wrote("[reacted with 👍]")),
        ("order", 24, unreadable("order")),
        ("unsupported", 25, unreadable("message of an unknown kind")),
        ("unknown_kind", 26, unreadable("message of an unknown kind")),
        ("unknown_fields", 27, wrote("hi")),
    ];
    let plain = deeds.map(|(name, n, deed)| (name, from_ada(n, deed)));
    let reply = from_ada(5, wrote("and the second?"));
    let scoped = "US.13491208655302741918".to_owned();
    let odd = [
        ("reply", answering("wamid.HBgLQUJDREVGRw==", reply)),
        (
            "username",
            Inbound {
                sender: scoped.clone(),
                sender_name: "Sheena".to_owned(),
                chat: scoped,
                ..from_ada(28, wrote("hello from a username"))
            },
        ),
        (
            "nameless",
            Inbound {
                sender_name: String::new(),
                ..from_ada(29, wrote("boo"))
            },
        ),
    ];
    let all = plain.into_iter().chain(odd).chain(places());
    all.chain(files()).chain(buttons()).collect()
}

fn fate(message: &str, arrival: Arrival) -> Fate {
    Fate {
        channel: Channel::WhatsApp,
        person: ADA.to_owned(),
        message: message.to_owned(),
        arrival,
        at: AT + 1_000,
    }
}

/// What became of messages, by the fixture's name.
fn fates() -> Vec<(&'static str, Fate)> {
    let late = "Message failed to send because more than 24 hours have passed since the customer last replied to this number.";
    let failed = Arrival::Failed {
        code: 131_047,
        reason: late.to_owned(),
    };
    let arrivals = [
        ("sent", Arrival::Sent),
        ("delivered", Arrival::Delivered),
        ("read", Arrival::Read),
        ("played", Arrival::Read),
        ("failed", failed),
    ];
    let fates = arrivals.map(|(name, arrival)| (name, fate("wamid.OURS", arrival)));
    fates.into()
}

/// What is authentic and concerns nobody, with what the log reads of it.
const UNTOLD: [(&str, &[&str]); 10] = [
    ("reaction_taken_back", &[]),
    ("system", &[]),
    ("welcome", &[]),
    ("group", &["a message in a group"]),
    ("other_number", &["something for another phone number"]),
    ("other_field", &["a change that is no message"]),
    ("without_id", &["a message without an id"]),
    ("odd_sender", &["a message without a sender"]),
    (
        "odd_status",
        &[
            "a status that cannot be read",
            "a status that cannot be read",
        ],
    ),
    ("whole_error", &["an error of WhatsApp's own"]),
];

#[test]
fn every_recorded_delivery_is_told_as_it_was_meant() {
    for (name, inbound) in told() {
        let heard = Heard {
            inbound: vec![inbound],
            ..Heard::default()
        };
        assert_eq!(receive(&verified(&recorded(name))), Ok(heard), "{name}");
    }
    for (name, fate) in fates() {
        let heard = Heard {
            fates: vec![fate],
            ..Heard::default()
        };
        assert_eq!(receive(&verified(&recorded(name))), Ok(heard), "{name}");
    }
    for (name, dropped) in UNTOLD {
        let heard = Heard {
            dropped: dropped.to_vec(),
            ..Heard::default()
        };
        assert_eq!(receive(&verified(&recorded(name))), Ok(heard), "{name}");
    }
}

#[test]
fn many_messages_and_statuses_in_one_delivery_are_all_heard() {
    let heard = Heard {
        inbound: vec![
            from_ada(36, wrote("one")),
            from_ada(37, wrote("two")),
            from_ada(38, wrote("three")),
        ],
        fates: vec![
            fate("wamid.OURS", Arrival::Delivered),
            fate("wamid.THEIRS", Arrival::Read),
        ],
        dropped: vec!["something for another phone number"],
    };
    assert_eq!(receive(&verified(&recorded("many"))), Ok(heard));
}

#[test]
fn every_recorded_delivery_is_expected_to_be_something() {
    let told = told().into_iter().map(|(name, _)| name);
    let fates = fates().into_iter().map(|(name, _)| name);
    let untold = UNTOLD.map(|(name, _)| name);
    let expected = told.chain(fates).chain(untold).chain(["many"]);
    let expected: BTreeSet<String> = expected.map(str::to_owned).collect();
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
        receive(&verified(body.as_bytes()))
            .expect_err("garbage")
            .to_string()
    };
    for (body, expected) in [
        ("", "not JSON: wrong at line 1 column 0"),
        ("{\"object\":", "not JSON: wrong at line 1 column 10"),
        ("my diary", "not JSON: wrong at line 1 column 1"),
        ("{}", "not a delivery of a WhatsApp Business account"),
        ("[]", "not a delivery of a WhatsApp Business account"),
        (
            "{\"object\":\"page\"}",
            "not a delivery of a WhatsApp Business account",
        ),
    ] {
        assert_eq!(told(body), expected, "{body}");
    }
    let bytes = verified(&[b'"', 0xff, b'"']);
    assert!(matches!(receive(&bytes), Err(Garbage::NotJson { .. })));
    let empty = receive(&verified(
        br#"{"object":"whatsapp_business_account","entry":7}"#,
    ));
    assert_eq!(empty, Ok(Heard::default()));
}

#[test]
fn no_piece_of_a_delivery_makes_the_codec_stumble() {
    for (name, _) in told() {
        let whole = recorded(name);
        for end in (0..whole.len().saturating_sub(2)).step_by(7) {
            let cut = receive(&verified(&whole[..end]));
            assert!(cut.is_err(), "{name} cut at {end}");
        }
        for place in 0..whole.len() {
            let mut bent = whole.clone();
            bent[place] ^= 0x15;
            // Whatever it now means, it is an answer and no panic.
            let _ = receive(&verified(&bent));
        }
    }
    assert_eq!(BODY_LIMIT, 3 * 1024 * 1024);
}
