//! A yes that its owner never said, or said to something else.

use crate::machine::NOW;
use local_bridge::approve::bot::{Bot, Settings, Token};
use local_bridge::approve::desk::Desk;
use local_bridge::approve::{Held, Ruling, Scene};
use local_bridge::home::{Home, Pairing};
use local_bridge::journal::{Journal, Records};
use local_bridge::policy::Policy;
use local_bridge::processes::Processes;
use protocol::call::{CallId, ToolCall, ToolName};
use protocol::key::SigningKey;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

const OWNER: i64 = 4711;
const STRANGER: i64 = 815;

/// A home whose policy wants a yes for writing, and a journal in which calls wait for it.
struct World {
    folder: TempDir,
    home: Home,
    journal: Journal,
    pairing: Pairing,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("home")).unwrap();
        std::fs::create_dir(folder.path().join("docs")).unwrap();
        let key = SigningKey::generate().unwrap();
        let journal = Journal::open(&home.journal()).unwrap();
        let world = Self {
            folder,
            home,
            journal,
            pairing: Pairing {
                worker: "https://bernard.example".into(),
                command_key: key.public().to_text(),
                name: "mac-mini".into(),
                bridge: key.public().id().0,
            },
        };
        world.law("");
        world
    }

    fn law(&self, more: &str) {
        let docs = self.folder.path().join("docs").display().to_string();
        let text = format!(
            "{more}\n[[root]]\nname = \"docs\"\npath = {docs:?}\naccess = \"write\"\n[tools]\nfiles.write = {{ then = \"ask\", grade = \"dangerous\" }}\n"
        );
        self.home.write("policy.toml", &text).unwrap();
    }

    fn with_scene<T>(&self, now: i64, what: impl FnOnce(&Scene<'_>) -> T) -> T {
        let policy = Policy::read(&self.home).unwrap();
        let processes = Processes::open(&self.home).unwrap();
        what(&Scene {
            home: &self.home,
            policy: &policy,
            pairing: &self.pairing,
            processes: &processes,
            now,
        })
    }

    /// Has a call wait that was asked about at a moment.
    fn hold(&mut self, call: &str, path: &str, at: i64) -> Held {
        let call = ToolCall {
            id: CallId(call.into()),
            tool: ToolName::new("files.write"),
            arguments: json!({"path": path, "text": "x"}),
        };
        let held = self.with_scene(at, |scene| {
            let ground = scene.policy.wants_home(&call, None).unwrap();
            Held::new(call, &ground, scene).unwrap()
        });
        self.journal.hold(&held).unwrap();
        held
    }

    fn desk(&self) -> Desk {
        Desk::open(&self.home.journal()).unwrap().unwrap()
    }

    fn answer(&self, held: &Held, now: i64) -> bool {
        let desk = self.desk();
        desk.answer(&held.id, &held.digest, true, "terminal", now)
            .unwrap()
    }

    fn sql(&self, sql: &str) {
        let db = Connection::open(self.home.journal()).unwrap();
        db.execute_batch(sql).unwrap();
    }

    /// Whether a call that waits would run, as the bridge sees it.
    fn runs(&self, call: &str, now: i64) -> bool {
        let held = self.held(call);
        let ruling = self.with_scene(now, |scene| scene.ruling(&held));
        matches!(ruling, Some(Ruling::Run { .. }))
    }

    /// Whether it would, if a yes were all that counts.
    fn has_a_yes(&self, call: &str) -> bool {
        self.held(call).answer.is_some_and(|answer| answer.yes)
    }

    fn held(&self, call: &str) -> Held {
        let mut held = self.journal.held().unwrap();
        held.retain(|held| held.call.id.0 == call);
        held.pop().unwrap()
    }
}

#[test]
fn an_old_yes_for_the_same_again_succeeds_only_without_its_digest() {
    let mut world = World::new();
    let first = world.hold("c1", "docs/a", NOW);
    assert!(world.answer(&first, NOW));
    assert!(world.runs("c1", NOW));
    // It runs, and is over; the very same is ordered again, and the yes comes again.
    world
        .journal
        .begin(&first.call.id, &first.call.tool, "h")
        .unwrap();
    let second = world.hold("c2", "docs/a", NOW);
    assert!(!world.answer(&first, NOW));
    assert!(!world.runs("c2", NOW));
    // A desk at which a yes is to an action, and not to a question.
    assert_eq!(first.call_sha256, second.call_sha256);
    let same = format!(
        "answer = 'yes', answered_by = 'x', answered_at = {NOW} WHERE call_sha256 = '{}'",
        first.call_sha256
    );
    world.sql(&format!("UPDATE approvals SET {same} AND closed = 0"));
    assert!(world.runs("c2", NOW));
}

#[test]
fn a_yes_carried_to_another_question_succeeds_only_without_its_digest() {
    let mut world = World::new();
    let harmless = world.hold("c1", "docs/a", NOW);
    let other = world.hold("c2", "docs/b", NOW);
    let desk = world.desk();
    let carried = desk.answer(&other.id, &harmless.digest, true, "terminal", NOW);
    assert!(!carried.unwrap() && !world.runs("c2", NOW));
    world.sql(&format!("UPDATE approvals SET answer = 'yes', answered_by = 'x', answered_at = {NOW} WHERE id = '{}'", other.id));
    assert!(world.runs("c2", NOW));
}

#[test]
fn other_arguments_under_a_yes_succeed_only_without_their_digest() {
    let mut world = World::new();
    let held = world.hold("c1", "docs/a", NOW);
    assert!(world.answer(&held, NOW) && world.runs("c1", NOW));
    let other = json!({"path": "docs/b", "text": "theirs"});
    world.sql(&format!("UPDATE approvals SET arguments = '{other}'"));
    assert_eq!(world.held("c1").call.arguments, other);
    assert!(!world.runs("c1", NOW));
    assert!(world.has_a_yes("c1"));
}

#[test]
fn a_yes_under_another_policy_succeeds_only_without_its_hash() {
    let mut world = World::new();
    let held = world.hold("c1", "docs/a", NOW);
    assert!(world.answer(&held, NOW) && world.runs("c1", NOW));
    world.law("# changed");
    assert!(!world.runs("c1", NOW));
    assert!(world.has_a_yes("c1"));
}

#[test]
fn a_late_yes_succeeds_only_without_the_clock() {
    let mut world = World::new();
    let held = world.hold("c1", "docs/a", NOW);
    let late = held.expires_at;
    assert!(!world.answer(&held, late));
    // One that was said in time and is looked at long after is worth no more.
    assert!(world.answer(&held, late - 1));
    assert!(world.runs("c1", late));
    assert!(!world.runs("c1", late + 5 * 60 * 1000));
    // A bridge whose clock stands still.
    assert!(world.runs("c1", held.opened_at));
}

#[test]
fn a_name_that_paints_a_question_succeeds_only_without_the_escapes() {
    let mut world = World::new();
    let path = "docs/a\nmachine: laptop\n\u{1b}[2K\u{202e}gpj.exe\u{200b}";
    let shown = world.hold("c1", path, NOW).shown;
    let painted = |shown: &str| {
        let odd = |c: char| c != '\n' && (c.is_control() || !c.is_ascii());
        shown.lines().any(|line| line == "machine: laptop") || shown.contains(odd)
    };
    assert!(!painted(&shown), "{shown}");
    assert!(painted(&format!(
        "machine: mac-mini\ntool: files.write\npath: {path}"
    )));
}

/// A Telegram that tells of one press and takes everything.
fn telegram(press: &Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let updates = Arc::new(Mutex::new(vec![press.clone()]));
    thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.unwrap(), &updates);
        }
    });
    address
}

fn serve(stream: TcpStream, updates: &Mutex<Vec<Value>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).ok()?;
    let method = line.split(' ').nth(1)?.rsplit('/').next()?.to_owned();
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line).ok()?;
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    let result = match method.as_str() {
        "getMe" => json!({"id": 1, "is_bot": true, "username": "approver"}),
        "getWebhookInfo" => json!({"url": ""}),
        "sendMessage" => json!({"message_id": 1, "chat": {"id": OWNER}}),
        "getUpdates" => json!(std::mem::take(&mut *updates.lock().ok()?)),
        _ => json!(true),
    };
    let body = json!({"ok": true, "result": result}).to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    reader.get_mut().write_all((head + &body).as_bytes()).ok()
}

/// Whether a press by the stranger is a yes to a bot whose owner is this one.
fn a_press_counts(owner: i64) -> bool {
    let mut world = World::new();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let held = world.hold("c1", "docs/a", i64::try_from(since.as_millis()).unwrap());
    let press = json!({
        "update_id": 1,
        "callback_query": {
            "id": "q1",
            "from": {"id": STRANGER, "is_bot": false},
            "message": {"message_id": 1, "chat": {"id": STRANGER}},
            "data": format!("y:{}:{}", held.id, &held.digest[..16]),
        },
    });
    let settings = Settings {
        token: Token::new("110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw").unwrap(),
        owner,
        api_url: Some(telegram(&press)),
    };
    settings.write(&world.home).unwrap();
    Bot::open(&world.home).unwrap().unwrap().turn().unwrap();
    world.has_a_yes("c1")
}

#[test]
fn a_strangers_press_succeeds_only_without_the_look_at_whose_it_is() {
    assert!(!a_press_counts(OWNER));
    // A bot that takes whoever presses for its owner.
    assert!(a_press_counts(STRANGER));
}
