//! What Worker and bridge say to each other, as it stands on the wire: one golden text a message in `tests/wire/`.
//!
//! A change here is a change of the protocol: raise `protocol::VERSION`, then `UPDATE=1 cargo test --test wire` and read the diff.

use ct_codecs::{Base64UrlSafeNoPadding as Base64, Decoder};
use protocol::call::{CallId, FileRef, Outcome, ToolCall, ToolName};
use protocol::chunk::{Chunk, MAX_CHUNK, WINDOW};
use protocol::key::{SigningKey, hex};
use protocol::pairing::{Answer, Link, Request, fingerprint, six_words};
use protocol::session::{Access, Hello, HelloClaims, Root, Transcript, session_id};
use protocol::token::{self, Binding, Kind, call_hash};
use protocol::tools::bridge_tools;
use protocol::warrant::{Receipt, WARRANT_SECONDS, Warrant};
use protocol::{ToBridge, ToWorker};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;

const NOW: i64 = 1_790_000_000_000;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire")
}

/// A message's text is its golden one, and the golden one is read as the message.
#[track_caller]
fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, message: &T) {
    written(name, message);
    let text = fs::read_to_string(folder().join(name)).expect("just compared");
    let read: T = serde_json::from_str(&text).expect("the golden text is a message");
    assert_eq!(read, *message, "{name} reads as something else");
}

/// A value's text is its golden one.
#[track_caller]
fn written<T: Serialize>(name: &str, value: &T) {
    let path = folder().join(name);
    let now = serde_json::to_string_pretty(value).expect("it is JSON") + "\n";
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(folder()).expect("the folder of golden texts can be made");
        fs::write(&path, now).expect("the golden texts can be written");
        return;
    }
    let before = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(now, before, "{name} has changed (UPDATE=1 writes it anew)");
}

fn text(words: &str) -> String {
    words.to_owned()
}

/// A value as it travels inside another: JSON on one line.
fn line<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("it is JSON")
}

fn call() -> CallId {
    CallId(text("7f3a9c-4-2-1"))
}

fn file() -> FileRef {
    FileRef {
        name: text("proof-of-address.pdf"),
        mime: text("application/pdf"),
        size: 1465,
        sha256: "0b".repeat(32),
    }
}

fn hello() -> Hello {
    let root = |name, access| Root {
        name: text(name),
        access,
    };
    Hello {
        version: text("0.1.0"),
        platform: text("linux"),
        tools: vec![text("files.list"), text("shell.run")],
        roots: vec![
            root("playground", Access::Write),
            root("scans", Access::Read),
        ],
        commands: vec![
            vec![text("git"), text("status")],
            vec![text("git"), text("commit")],
        ],
        asking_commands: vec![vec![text("git"), text("commit")]],
        asking_tools: vec![text("files.write")],
        free_commands: vec![vec![text("git"), text("status")]],
        home_commands: vec![vec![text("terraform"), text("apply")]],
        home_tools: vec![text("files.trash")],
        sandbox: text("commands run fenced in: files, signals, no sockets"),
        policy_fault: Some(text("policy.toml was changed and is not accepted")),
        policy_sha256: "0c".repeat(32),
    }
}

fn warrant() -> Warrant {
    Warrant {
        seq: 3,
        call: call(),
        tool: ToolName::new("files.read"),
        arguments: json!({"path": "playground/notes.md"}),
        asked: false,
    }
}

fn receipt() -> Receipt {
    Receipt {
        call: call(),
        call_sha256: "0d".repeat(32),
        outcome_sha256: "0e".repeat(32),
        at: NOW,
        policy_sha256: "0c".repeat(32),
        audit_head: "0f".repeat(32),
    }
}

fn to_bridge() -> Vec<ToBridge> {
    vec![
        ToBridge::Challenge {
            version: protocol::VERSION,
            nonce: text("AAECAwQFBgcICQoLDA0ODw"),
        },
        ToBridge::Welcome {
            signature: text("c2lnbmF0dXJl"),
        },
        ToBridge::Run {
            warrant: text("header.claims.signature"),
        },
        ToBridge::Acknowledged { call: call() },
        ToBridge::Credit {
            call: call(),
            until: WINDOW,
        },
        ToBridge::FileStart {
            call: call(),
            file: file(),
        },
        ToBridge::FileMissing { call: call() },
        ToBridge::Mark {
            call: call(),
            mark: text("EBESExQVFhcYGRobHB0eHw"),
        },
    ]
}

fn to_worker() -> Vec<ToWorker> {
    vec![
        ToWorker::Answer {
            nonce: text("Dw4NDAsKCQgHBgUEAwIBAA"),
            hello: line(&hello()),
            signature: text("c2lnbmF0dXJl"),
        },
        ToWorker::Want { call: call() },
        ToWorker::Read {
            mark: text("EBESExQVFhcYGRobHB0eHw"),
        },
        ToWorker::FileStart {
            call: call(),
            name: file().name,
            mime: file().mime,
            size: file().size,
        },
        ToWorker::Waiting {
            call: call(),
            why: text("policy.toml line 12: ask sh"),
            minutes: 30,
        },
        ToWorker::Progress {
            call: call(),
            line: text("[12/40] compiling"),
        },
        ToWorker::Result {
            call: call(),
            outcome: line(&Outcome::done("4 lines")),
            receipt: text("header.claims.signature"),
        },
    ]
}

fn outcomes() -> Vec<Outcome> {
    vec![
        Outcome::Done {
            text: text("sent"),
            file: Some(file()),
        },
        Outcome::failed("'playground/gone.txt': No such file or directory"),
        Outcome::denied("the policy of this machine does not allow 'rm'"),
        Outcome::Cancelled,
        Outcome::Interrupted {
            reason: text("local-bridge stopped while it ran"),
        },
    ]
}

/// The `type` that a message of a tagged enum carries.
fn tag<T: Serialize>(message: &T) -> String {
    let value = serde_json::to_value(message).expect("it is JSON");
    text(value["type"].as_str().expect("it is tagged"))
}

/// Every `type` that an enum knows, in serde's own words.
fn tags<T: DeserializeOwned + Debug>() -> BTreeSet<String> {
    let complaint = serde_json::from_value::<T>(json!({"type": "no such thing"}));
    let complaint = complaint.expect_err("there is no such thing").to_string();
    let expected = complaint
        .split_once("expected")
        .expect("serde lists them")
        .1;
    let names = expected.split('`').skip(1).step_by(2).map(str::to_owned);
    names.collect()
}

#[track_caller]
fn each<T>(prefix: &str, messages: &[T])
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    for message in messages {
        golden(&format!("{prefix}.{}.json", tag(message)), message);
    }
    let shown: BTreeSet<String> = messages.iter().map(tag).collect();
    assert_eq!(
        shown,
        tags::<T>(),
        "{prefix}: every variant has its golden text"
    );
}

#[test]
fn what_the_worker_says_stands_as_it_did() {
    each("to_bridge", &to_bridge());
}

#[test]
fn what_the_bridge_says_stands_as_it_did() {
    each("to_worker", &to_worker());
}

#[test]
fn every_end_of_a_call_stands_as_it_did() {
    each("outcome", &outcomes());
    golden("outcome.done_without_file.json", &Outcome::done("4 lines"));
}

#[test]
fn what_travels_inside_tokens_and_frames_stands_as_it_did() {
    golden("hello.json", &hello());
    golden("hello_claims.json", &HelloClaims {});
    golden("warrant.json", &warrant());
    golden("receipt.json", &receipt());
    let call = ToolCall {
        id: call(),
        tool: warrant().tool,
        arguments: warrant().arguments,
    };
    golden("tool_call.json", &call);
}

#[test]
fn what_travels_in_a_pairing_stands_as_it_did() {
    let request = Request {
        pairing: text("cGFpcmluZw"),
        bridge_key: text("YnJpZGdlIGtleQ"),
        name: text("mac-mini"),
        nonce: text("AAECAwQFBgcICQoLDA0ODw"),
        possession: text("c2lnbmF0dXJl"),
        proof: text("cHJvb2Y"),
    };
    golden("pairing_request.json", &request);
    let answer = Answer {
        command_key: text("Y29tbWFuZCBrZXk"),
        possession: text("c2lnbmF0dXJl"),
        proof: text("cHJvb2Y"),
    };
    golden("pairing_answer.json", &answer);
}

#[test]
fn the_numbers_that_both_sides_keep_stand_as_they_did() {
    let numbers = json!({
        "VERSION": protocol::VERSION,
        "MAX_TEXT_FRAME": protocol::MAX_TEXT_FRAME,
        "PING": protocol::PING,
        "PONG": protocol::PONG,
        "PING_SECONDS": protocol::PING_SECONDS,
        "LEASE_SECONDS": protocol::LEASE_SECONDS,
        "CLOSE_VIOLATION": protocol::CLOSE_VIOLATION,
        "CLOSE_REPLACED": protocol::CLOSE_REPLACED,
        "CLOSE_REVOKED": protocol::CLOSE_REVOKED,
        "MAX_CHUNK": MAX_CHUNK,
        "WINDOW": WINDOW,
        "WARRANT_SECONDS": WARRANT_SECONDS,
        "TOKEN_SECONDS": token::LIFE_SECONDS,
        "CANCEL": protocol::warrant::CANCEL,
        "LINK_MILLIS": protocol::pairing::LINK_MILLIS,
        "MAX_TRIES": protocol::pairing::MAX_TRIES,
        "MAX_NAME": protocol::pairing::MAX_NAME,
    });
    written("numbers.json", &numbers);
}

#[test]
fn the_tools_of_the_home_machine_stand_as_they_did() {
    golden("bridge_tools.json", &bridge_tools());
}

/// Keys of our own making: never used outside this file.
fn keys() -> (SigningKey, SigningKey) {
    let key = |text| SigningKey::from_text(text).expect("a key pair");
    (
        key(
            "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQGKiOPddAnxlf1S2y08ul1yymcJvx2UEhvzdIgBtA9vXA",
        ),
        key(
            "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgKBOXcOqH0XX1ajVGbDTH7My42KkbTuN6Jd9g9bj8mzlA",
        ),
    )
}

#[test]
fn what_is_signed_and_compared_stands_as_it_did() {
    let (bridge, command) = keys();
    let (bridge_id, command_id) = (bridge.public().id(), command.public().id());
    let hello = line(&hello());
    let transcript = Transcript {
        bridge: &bridge_id.0,
        command_key: &command_id.0,
        worker_nonce: "AAECAwQFBgcICQoLDA0ODw",
        bridge_nonce: "Dw4NDAsKCQgHBgUEAwIBAA",
        version: protocol::VERSION,
        hello: &hello,
    };
    let (theirs, ours) = (
        bridge.sign(&transcript.bridge_bytes()),
        command.sign(&transcript.worker_bytes()),
    );
    let link = Link {
        worker: text("https://bernard.example"),
        pairing: text("cGFpcmluZw"),
        secret: text("AAECAwQFBgcICQoLDA0ODw"),
        fingerprint: fingerprint(&command.public()),
    };
    let request = Request::new(&link, &bridge, "mac-mini", "bm9uY2U").expect("a good name");
    let chunk = Chunk {
        call: call(),
        offset: 65_536,
        bytes: b"%PDF".to_vec(),
    };
    let derived = json!({
        "bridge key id": bridge_id.0,
        "command key id": command_id.0,
        "bridge signature": theirs,
        "worker signature": ours,
        "session id": session_id(&transcript, &theirs, &ours),
        "call hash": call_hash(&warrant().tool, &warrant().arguments),
        "pairing link": link.to_string(),
        "pairing request": request,
        "pairing answer": request.answer(&link.secret, &command),
        "six words": six_words(&bridge.public(), &command.public()).join(" "),
        "file chunk, hex": hex(&chunk.encode()),
    });
    written("derived.json", &derived);
}

#[test]
fn tokens_stand_as_they_did_but_for_their_random_id() {
    let (bridge, command) = keys();
    let (bridge_id, command_id) = (bridge.public().id(), command.public().id());
    let binding = |issuer, audience, nonce| Binding {
        issuer,
        audience,
        nonce,
    };
    let down = binding(&command_id, &bridge_id, Some("session"));
    let up = binding(&bridge_id, &command_id, Some("session"));
    let first = binding(&bridge_id, &command_id, None);
    let issued = |token: Result<String, token::Refused>| opened(&token.expect("it can be signed"));
    written(
        "token.warrant.json",
        &issued(token::issue(Kind::Warrant, &command, down, &warrant(), NOW)),
    );
    written(
        "token.receipt.json",
        &issued(token::issue(Kind::Receipt, &bridge, up, &receipt(), NOW)),
    );
    written(
        "token.hello.json",
        &issued(token::issue(
            Kind::Hello,
            &bridge,
            first,
            &HelloClaims {},
            NOW,
        )),
    );
}

/// A token's header and claims, with the one random claim made constant.
fn opened(token: &str) -> Value {
    let part = |at: usize| -> Value {
        let part = token.split('.').nth(at).expect("three parts");
        let bytes = Base64::decode_to_vec(part, None).expect("base64url");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let mut claims = part(1);
    let id = claims["jti"].as_str().expect("every token has an id");
    assert_eq!(id.len(), 22, "128 random bits in base64url");
    claims["jti"] = json!("22 random characters");
    json!({"header": part(0), "claims": claims})
}

#[test]
fn no_golden_text_is_left_of_a_message_that_is_gone() {
    if std::env::var_os("UPDATE").is_some() {
        return; // they are just being written
    }
    let mut known: BTreeSet<String> = [
        "bridge_tools",
        "derived",
        "hello",
        "hello_claims",
        "numbers",
        "outcome.done_without_file",
        "pairing_answer",
        "pairing_request",
        "receipt",
        "token.hello",
        "token.receipt",
        "token.warrant",
        "tool_call",
        "warrant",
    ]
    .map(str::to_owned)
    .into();
    known.extend(
        tags::<ToBridge>()
            .iter()
            .map(|tag| format!("to_bridge.{tag}")),
    );
    known.extend(
        tags::<ToWorker>()
            .iter()
            .map(|tag| format!("to_worker.{tag}")),
    );
    known.extend(tags::<Outcome>().iter().map(|tag| format!("outcome.{tag}")));
    let there: BTreeSet<String> = fs::read_dir(folder())
        .expect("the golden texts are there")
        .map(|entry| entry.expect("they can be read").file_name())
        .map(|name| text(name.to_string_lossy().trim_end_matches(".json")))
        .collect();
    assert_eq!(there, known);
}
