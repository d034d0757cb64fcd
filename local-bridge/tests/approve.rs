//! Calls that need a yes at home, through the real tunnel: what they wait for, what counts as a yes, and what does not.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use futures::{SinkExt, StreamExt};
use local_bridge::approve::Held;
use local_bridge::approve::desk::Desk;
use local_bridge::calls::Order;
use local_bridge::home::{Home, Pairing};
use local_bridge::policy::{AskedBy, Policy};
use local_bridge::processes::Processes;
use local_bridge::sandbox::Fence;
use local_bridge::tools::files_send::Courier;
use local_bridge::tools::{self, Job};
use local_bridge::tunnel::{Backoff, Timing, Tunnel};
use local_bridge::undo::Undo;
use protocol::call::{CallId, FileRef, Outcome, ToolName};
use protocol::chunk::Chunk;
use protocol::key::{KeyId, PublicKey, SigningKey, random_text, sha256_hex};
use protocol::session::{Hello, Transcript, session_id};
use protocol::token::{self, Binding, Kind};
use protocol::tools::given_id;
use protocol::warrant::{CANCEL, PROPOSE, Warrant};
use protocol::{CLOSE_FROZEN, PING, PONG, ToBridge, ToWorker, VERSION, read_frame, write_frame};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_async};

/// Long enough for two busy cores; nothing waits for it unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

const SOON: Backoff = Backoff {
    first: Duration::from_millis(5),
    soon: Duration::ZERO,
    most: Duration::from_millis(20),
};

const RULES: &str = "[[command]]\nrun = [\"sh\"]\nthen = \"ask\"\ngrade = \"dangerous\"\n[tools]\nfiles.mkdir = \"ask\"\nfiles.save = \"ask\"\n";

/// A home whose policy wants a yes for `sh` and for new folders, a bridge that runs in it, and the Worker that it dials.
struct World {
    folder: TempDir,
    home: Home,
    command: SigningKey,
    bridge: PublicKey,
    listener: TcpListener,
    stop: watch::Sender<bool>,
    running: Option<JoinHandle<()>>,
}

/// One proven connection, as the Worker sees it.
struct Line {
    socket: WebSocketStream<TcpStream>,
    session: String,
    command: SigningKey,
    bridge: KeyId,
    seq: u64,
    hello: Hello,
}

impl World {
    async fn new(first_lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("docs")).unwrap();
        let home = Home::open(&folder.path().join("home")).unwrap();
        let command = SigningKey::generate().unwrap();
        let bridge = home.make_key().unwrap().public();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        home.pair(&Pairing {
            worker: format!("http://{}", listener.local_addr().unwrap()),
            command_key: command.public().to_text(),
            name: "mac-mini".into(),
            bridge: bridge.id().0,
        })
        .unwrap();
        let mut world = Self {
            folder,
            home,
            command,
            bridge,
            listener,
            stop: watch::Sender::new(false),
            running: None,
        };
        world.law(first_lines, RULES);
        world.start();
        world
    }

    /// Writes the policy: what stands first, the folder, the rules.
    fn law(&self, first: &str, rules: &str) {
        let docs = self.file("").display().to_string();
        let text = format!(
            "{first}\nsandbox = \"none\"\n[[root]]\nname = \"docs\"\npath = {docs:?}\naccess = \"write\"\n{rules}"
        );
        self.home.write("policy.toml", &text).unwrap();
    }

    fn start(&mut self) {
        let timing = Timing {
            ping: Duration::from_millis(100),
            answer: Duration::from_secs(20),
            lease: Duration::from_secs(20),
            dial: Duration::from_secs(20),
            retry: SOON,
            refused: SOON,
            healthy: Duration::from_secs(10),
        };
        let tunnel = Tunnel::open(&self.home, timing, self.stop.subscribe()).unwrap();
        self.running = Some(tokio::spawn(tunnel.run()));
    }

    async fn stop(&mut self) {
        self.stop.send_replace(true);
        let running = self.running.take().unwrap();
        timeout(PATIENCE, running).await.unwrap().unwrap();
        self.stop.send_replace(false);
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("docs").join(name)
    }

    fn desk(&self) -> Desk {
        Desk::open(&self.home.journal()).unwrap().unwrap()
    }

    fn answer(&self, held: &Held, yes: bool) -> bool {
        let desk = self.desk();
        desk.answer(&held.id, &held.digest, yes, "test", now())
            .unwrap()
    }

    fn questions(&self) -> Vec<Held> {
        self.desk().unanswered(now()).unwrap()
    }

    /// The only open question, once it is there.
    async fn question(&self) -> Held {
        self.question_but("").await
    }

    /// The only open question that is not this one.
    async fn question_but(&self, id: &str) -> Held {
        let asked = async {
            loop {
                let mut open = self.questions();
                open.retain(|held| held.id != id);
                if let Some(held) = open.pop() {
                    assert_eq!(open, vec![]);
                    return held;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, asked).await.unwrap()
    }

    fn policy_text(&self) -> String {
        fs::read_to_string(self.home.policy()).unwrap()
    }

    /// How often the command has run.
    fn runs(&self) -> usize {
        fs::read_to_string(self.file("ran")).map_or(0, |text| text.lines().count())
    }

    async fn line(&self) -> Line {
        let (stream, _) = timeout(PATIENCE, self.listener.accept())
            .await
            .unwrap()
            .unwrap();
        let mut socket = accept_async(stream).await.unwrap();
        let nonce = random_text().unwrap();
        let challenge = ToBridge::Challenge {
            version: VERSION,
            nonce: nonce.clone(),
        };
        say(&mut socket, &challenge).await;
        let Some(ToWorker::Answer {
            nonce: bridge_nonce,
            hello,
            signature: theirs,
        }) = next(&mut socket).await
        else {
            panic!("no answer");
        };
        let (bridge, command) = (self.bridge.id(), self.command.public().id());
        let transcript = Transcript {
            bridge: &bridge.0,
            command_key: &command.0,
            worker_nonce: &nonce,
            bridge_nonce: &bridge_nonce,
            version: VERSION,
            hello: &hello,
        };
        let signature = self.command.sign(&transcript.worker_bytes());
        let session = session_id(&transcript, &theirs, &signature);
        say(&mut socket, &ToBridge::Welcome { signature }).await;
        Line {
            socket,
            session,
            command: self.command.clone(),
            bridge,
            seq: 0,
            hello: serde_json::from_str(&hello).unwrap(),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

impl Line {
    async fn order(&mut self, call: &str, tool: &str, arguments: Value) {
        self.order_as(true, call, tool, arguments).await;
    }

    /// Orders a call about which nobody was asked in the chat.
    async fn order_unasked(&mut self, call: &str, tool: &str, arguments: Value) {
        self.order_as(false, call, tool, arguments).await;
    }

    /// Wishes for a rule and hears that it waits.
    async fn wishes(&mut self, call: &str, allow: &[&str], exact: bool) {
        let wish = json!({ "allow": allow, "exact": exact });
        self.order_unasked(call, PROPOSE, wish).await;
        let waiting = ToWorker::Waiting {
            call: CallId(call.into()),
            why: "a rule is wished for in the chat".into(),
            minutes: 30,
        };
        assert_eq!(next(&mut self.socket).await, Some(waiting));
    }

    /// How a wish ends about which nobody is asked.
    async fn wish_ends(&mut self, call: &str, wish: Value) -> Outcome {
        self.order_unasked(call, PROPOSE, wish).await;
        let (ended, outcome) = self.result().await;
        assert_eq!(ended, call);
        outcome
    }

    async fn order_as(&mut self, asked: bool, call: &str, tool: &str, arguments: Value) {
        self.seq += 1;
        let claims = Warrant {
            seq: self.seq,
            call: CallId(call.into()),
            tool: ToolName::new(tool),
            arguments,
            asked,
        };
        let issuer = self.command.public().id();
        let binding = Binding {
            issuer: &issuer,
            audience: &self.bridge,
            nonce: Some(&self.session),
        };
        let warrant = token::issue(Kind::Warrant, &self.command, binding, &claims, now());
        let warrant = warrant.unwrap();
        say(&mut self.socket, &ToBridge::Run { warrant }).await;
    }

    /// Orders the dangerous command, which notes each of its runs, and hears that it waits.
    async fn order_dangerous(&mut self, call: &str) {
        self.order(call, "shell.run", dangerous()).await;
        let waiting = ToWorker::Waiting {
            call: CallId(call.into()),
            why: "policy.toml line 8: ask sh".into(),
            minutes: 30,
        };
        assert_eq!(next(&mut self.socket).await, Some(waiting));
    }

    /// How this call ended, whatever is told once more before.
    async fn end_of(&mut self, call: &str) -> Outcome {
        loop {
            let (ended, outcome) = self.result().await;
            if ended == call {
                return outcome;
            }
        }
    }

    async fn result(&mut self) -> (String, Outcome) {
        match next(&mut self.socket).await {
            Some(ToWorker::Result { call, outcome, .. }) => {
                let stored = ToBridge::Acknowledged { call: call.clone() };
                say(&mut self.socket, &stored).await;
                (call.0, serde_json::from_str(&outcome).unwrap())
            }
            other => panic!("not a result: {other:?}"),
        }
    }
}

/// Where a program of the system lies.
fn program(name: &str) -> String {
    let mut folders = ["/usr/bin", "/bin"].iter();
    let found = folders.find_map(|folder| PathBuf::from(folder).join(name).canonicalize().ok());
    found.unwrap().display().to_string()
}

fn dangerous() -> Value {
    json!({"argv": ["sh", "-c", "echo ran >> ran"], "folder": "docs"})
}

async fn say(socket: &mut WebSocketStream<TcpStream>, frame: &ToBridge) {
    let frame = Message::text(write_frame(frame));
    socket.send(frame).await.unwrap();
}

/// The next frame that is no ping; pings are answered.
async fn next(socket: &mut WebSocketStream<TcpStream>) -> Option<ToWorker> {
    let next = async {
        loop {
            match socket.next().await? {
                Ok(Message::Text(text)) if text.as_str() == PING => {
                    socket.send(Message::text(PONG)).await.ok();
                }
                Ok(Message::Text(text)) => return Some(read_frame(&text).unwrap()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(other) => panic!("not a text: {other:?}"),
            }
        }
    };
    timeout(PATIENCE, next).await.expect("a frame in time")
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn ran() -> Outcome {
    Outcome::done("exit code 0")
}

fn denied(begin: &str, outcome: &Outcome) {
    let Outcome::Denied { reason } = outcome else {
        panic!("not denied: {outcome:?}");
    };
    assert!(reason.starts_with(begin), "{reason}");
}

#[tokio::test]
async fn what_is_dangerous_waits_for_a_yes_and_runs_once_after_it() {
    let world = World::new("").await;
    let mut line = world.line().await;
    assert_eq!(line.hello.commands, [["sh"]]);
    assert_eq!(line.hello.asking_commands, [["sh"]]);
    line.order_dangerous("c1").await;
    // It waits and does not run: other calls go on.
    line.order("c2", "files.list", json!({})).await;
    assert_eq!(line.result().await.0, "c2");
    let held = world.question().await;
    let action = "machine: mac-mini\ntool: shell.run\nargv: [\"sh\",\"-c\",\"echo ran >> ran\"]\nfolder: \"docs\"\nprogram: /";
    assert!(held.shown.starts_with(action), "{}", held.shown);
    assert_eq!(held.expires_at, held.opened_at + 30 * 60 * 1000);
    // What is not an answer to this very question is none.
    let desk = world.desk();
    let answers = |id: &str, digest: &str| desk.answer(id, digest, true, "test", now()).unwrap();
    assert!(!answers(&held.id, &"0".repeat(64)));
    assert!(!answers("c1", &held.digest));
    assert_eq!(world.runs(), 0);
    assert!(world.answer(&held, true));
    assert!(!world.answer(&held, true), "a second yes is none");
    assert!(!world.answer(&held, false), "nor can it be taken back");
    assert_eq!(line.result().await, ("c1".to_owned(), ran()));
    line.order("c1", "shell.run", dangerous()).await;
    assert_eq!(line.result().await, ("c1".to_owned(), ran()));
    // The yes was for that call alone.
    line.order_dangerous("c3").await;
    assert_eq!(world.question().await.call.id, CallId("c3".into()));
    assert_eq!(world.runs(), 1);
}

#[tokio::test]
async fn a_no_is_told_to_the_model_and_is_final() {
    let world = World::new("").await;
    let mut line = world.line().await;
    line.order_dangerous("c1").await;
    let held = world.question().await;
    assert!(world.answer(&held, false));
    let (call, outcome) = line.result().await;
    assert_eq!(call, "c1");
    denied("its owner said no at home; do not try again", &outcome);
    assert!(!world.answer(&held, true));
    line.order("c1", "shell.run", dangerous()).await;
    assert_eq!(line.result().await, (call, outcome));
    assert_eq!(world.runs(), 0);
}

#[tokio::test]
async fn what_nobody_answers_in_time_is_denied_and_cannot_be_approved_any_more() {
    let world = World::new("approvals = \"1s\"").await;
    let mut line = world.line().await;
    line.order("c1", "shell.run", dangerous()).await;
    let held = world.question().await;
    assert!(matches!(
        next(&mut line.socket).await,
        Some(ToWorker::Waiting { minutes: 1, .. })
    ));
    let (call, outcome) = line.result().await;
    assert_eq!(call, "c1");
    denied("nobody at home said yes in time; do not try", &outcome);
    assert!(now() >= held.expires_at);
    assert!(!world.answer(&held, true));
    assert_eq!((world.runs(), world.questions()), (0, vec![]));
}

#[tokio::test]
async fn a_question_outlives_the_bridge_and_the_line() {
    let mut world = World::new("").await;
    let mut line = world.line().await;
    line.order_dangerous("c1").await;
    let held = world.question().await;
    tokio::spawn(async move { while next(&mut line.socket).await.is_some() {} });
    world.stop().await;
    assert_eq!(world.questions(), vec![held.clone()]);
    world.start();
    let mut line = world.line().await;
    // The Worker still means it, and hears once more that it waits. Nothing has begun: nothing was interrupted.
    line.order_dangerous("c1").await;
    assert_eq!(world.questions(), vec![held.clone()]);
    drop(line);
    // Without a line, the yes counts and the result waits for the next one.
    assert!(world.answer(&held, true));
    let begun = async {
        while world.runs() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, begun).await.unwrap();
    let mut line = world.line().await;
    assert_eq!(line.result().await, ("c1".to_owned(), ran()));
    assert_eq!(world.runs(), 1);
}

#[tokio::test]
async fn when_the_policy_changes_the_call_is_judged_anew() {
    let world = World::new("").await;
    let mut line = world.line().await;
    line.order_dangerous("c1").await;
    let first = world.question().await;
    world.law("# another word", RULES);
    let second = world.question_but(&first.id).await;
    assert!(!world.answer(&first, true), "it was about another law");
    assert_ne!(
        (&first.digest, &first.policy_sha256),
        (&second.digest, &second.policy_sha256)
    );
    world.law("", "[[command]]\nrun = [\"sh\"]\nthen = \"deny\"\n");
    let outcome = loop {
        match next(&mut line.socket).await {
            Some(ToWorker::Result { outcome, .. }) => {
                break serde_json::from_str(&outcome).unwrap();
            }
            Some(ToWorker::Waiting { .. }) => {} // asked anew
            Some(other) => panic!("{other:?}"),
            None => line = world.line().await, // the policy is told anew
        }
    };
    denied("the policy of this machine denies it", &outcome);
    assert!(!world.answer(&second, true));
    assert_eq!((world.runs(), world.questions()), (0, vec![]));
}

#[tokio::test]
async fn a_call_that_is_called_off_is_asked_about_no_more() {
    let world = World::new("").await;
    let mut line = world.line().await;
    line.order_dangerous("c1").await;
    let held = world.question().await;
    line.order("x1", CANCEL, json!({"call": "c1"})).await;
    assert_eq!(line.result().await, ("c1".to_owned(), Outcome::Cancelled));
    let told = Outcome::done("c1 had not begun and will not");
    assert_eq!(line.result().await, ("x1".to_owned(), told));
    assert!(!world.answer(&held, true));
    assert_eq!(world.runs(), 0);
}

#[tokio::test]
async fn a_tool_that_the_chat_does_not_ask_about_is_asked_about_at_home() {
    let world = World::new("").await;
    let mut line = world.line().await;
    let path = json!({"path": "docs/new\u{202e}gpj.exe"});
    line.order("c1", "files.mkdir", path).await;
    assert!(matches!(
        next(&mut line.socket).await,
        Some(ToWorker::Waiting { .. })
    ));
    let held = world.question().await;
    assert_eq!(
        held.shown,
        "machine: mac-mini\ntool: files.mkdir\npath: \"docs/new\\u{202e}gpj.exe\""
    );
    assert!(!world.file("new\u{202e}gpj.exe").exists());
    assert!(world.answer(&held, true));
    let (_, outcome) = line.result().await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert!(world.file("new\u{202e}gpj.exe").exists());
}

#[tokio::test]
async fn nothing_that_the_worker_says_is_a_yes() {
    let world = World::new("").await;
    let mut line = world.line().await;
    line.order_dangerous("c1").await;
    let held = world.question().await;
    let call = CallId("c1".into());
    say(
        &mut line.socket,
        &ToBridge::Acknowledged { call: call.clone() },
    )
    .await;
    say(&mut line.socket, &ToBridge::Credit { call, until: 1 }).await;
    line.order_dangerous("c1").await;
    for (at, tool) in ["calls.approve", "approve", "local-bridge.approve"]
        .iter()
        .enumerate()
    {
        let arguments = json!({"call": "c1", "id": held.id, "digest": held.digest, "yes": true});
        line.order(&format!("f{at}"), tool, arguments).await;
        denied("this machine has no tool", &line.result().await.1);
    }
    // One that says in its arguments that it is approved is asked about like any other.
    let mut claims = dangerous();
    claims["approved"] = json!(true);
    line.order("c2", "shell.run", claims).await;
    assert!(matches!(
        next(&mut line.socket).await,
        Some(ToWorker::Waiting { .. })
    ));
    // Twice as long as an answer needs to be seen.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let open = world.questions();
    assert_eq!((open.len(), &open[0]), (2, &held));
    assert_eq!(world.runs(), 0);
    // No frame but an order even names what to do, and the one yes that an order can claim is that of the chat.
    for forged in [
        json!({"type": "approve", "call": "c1"}),
        json!({"type": "run", "warrant": "x", "approved": true}),
        json!({"type": "acknowledged", "call": "c1", "yes": true}),
    ] {
        assert!(read_frame::<ToBridge>(&forged.to_string()).is_err());
    }
}

#[tokio::test]
async fn a_question_that_was_tampered_with_is_not_run_by_its_yes() {
    let world = World::new("").await;
    let mut line = world.line().await;
    line.order_dangerous("c1").await;
    let held = world.question().await;
    let other = json!({"argv": ["sh", "-c", "echo other >> ran"], "folder": "docs"});
    let db = rusqlite::Connection::open(world.home.journal()).unwrap();
    db.execute("UPDATE approvals SET arguments = ?1", [other.to_string()])
        .unwrap();
    let (_, outcome) = line.result().await;
    assert!(!world.answer(&held, true));
    denied("what its owner was asked about at home is not", &outcome);
    assert_eq!(world.runs(), 0);
}

#[tokio::test]
async fn words_for_a_dangerous_program_need_a_yes_of_their_own() {
    let world = World::new("").await;
    let mut line = world.line().await;
    let shell = json!({"argv": ["sh"], "folder": "docs", "background": true});
    line.order("c1", "shell.run", shell).await;
    assert!(matches!(
        next(&mut line.socket).await,
        Some(ToWorker::Waiting { .. })
    ));
    assert!(world.answer(&world.question().await, true));
    let (_, outcome) = line.result().await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    let words = json!({"id": "p1", "text": "echo ran >> ran\n", "end": true});
    line.order("c2", "process.write", words).await;
    assert!(matches!(
        next(&mut line.socket).await,
        Some(ToWorker::Waiting { .. })
    ));
    let held = world.question().await;
    let action = "text: \"echo ran >> ran\\n\"\nto: [\"sh\"]";
    assert!(held.shown.contains(action), "{}", held.shown);
    assert_eq!(world.runs(), 0);
    assert!(world.answer(&held, true));
    let (_, outcome) = line.result().await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    let written = async {
        while world.runs() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, written).await.unwrap();
}

#[tokio::test]
async fn what_waits_when_everything_is_frozen_is_refused_and_no_yes_gets_round_it() {
    let world = World::new("").await;
    let mut line = world.line().await;
    line.order_dangerous("c1").await;
    let held = world.question().await;
    let frozen = CloseFrame {
        code: CLOSE_FROZEN.into(),
        reason: "".into(),
    };
    line.socket.close(Some(frozen)).await.unwrap();
    let mut line = world.line().await;
    assert!(!world.answer(&held, true));
    let (_, outcome) = line.result().await;
    denied("the Worker has frozen or revoked this machine", &outcome);
    // The same with the owner's own brake.
    line.order_dangerous("c2").await;
    let held = world.question().await;
    world.home.freeze("by hand").unwrap();
    let (_, outcome) = line.result().await;
    denied("this machine was frozen at home", &outcome);
    assert!(!world.answer(&held, true));
    line.order("c3", "shell.run", dangerous()).await;
    let (_, outcome) = line.result().await;
    denied("this machine is frozen", &outcome);
    assert_eq!((world.runs(), world.questions()), (0, vec![]));
}

/// A run of the dangerous command as the tunnel would start it, with what it says of a yes at home.
async fn run_with(yes: impl Fn(&Policy) -> Option<String>) -> (Outcome, usize) {
    let world = World::new("").await;
    let policy = Policy::read(&world.home).unwrap();
    let (_cancel, cancelled) = watch::channel(false);
    let outcome = tools::run(Job {
        order: Order {
            call: CallId("c1".into()),
            attempt: 1,
            tool: ToolName::new("shell.run"),
            arguments: dangerous(),
            asked: true,
            yes: yes(&policy),
        },
        policy: Arc::new(policy),
        scratch: world.home.scratch(),
        fence: Fence::find(),
        undo: Arc::new(Undo::in_memory().unwrap()),
        processes: Arc::new(Processes::open(&world.home).unwrap()),
        cancelled,
        courier: Courier {
            pieces: mpsc::channel(1).0,
            credit: watch::channel(0).1,
        },
    })
    .await;
    (outcome, world.runs())
}

#[tokio::test]
async fn without_the_yes_the_tool_itself_refuses_and_with_one_put_in_its_place_it_would_run() {
    let (outcome, runs) = run_with(|_| None).await;
    denied("this needs a yes at home", &outcome);
    assert_eq!(runs, 0);
    let (outcome, runs) = run_with(|_| Some("another policy's".into())).await;
    denied("this needs a yes at home", &outcome);
    assert_eq!(runs, 0);
    let switched_off = run_with(|policy| Some(policy.sha256.clone())).await;
    assert_eq!(switched_off, (ran(), 1));
}

#[tokio::test]
async fn a_rule_is_made_by_the_yes_at_home_and_the_command_then_runs_unasked() {
    let world = World::new("").await;
    let before = world.policy_text();
    let mut line = world.line().await;
    assert_eq!(line.hello.free_commands, Vec::<Vec<String>>::new());
    line.wishes("w1", &["ls", "-a"], false).await;
    let held = world.question().await;
    let lines = before.lines().count();
    assert_eq!(
        held.shown,
        format!(
            "machine: mac-mini\nA rule is proposed: allow [\"ls\",\"-a\"] without asking, whatever follows\nin policy.toml:\n@@ -{n},0 +{n},4 @@\n files.mkdir = \"ask\"\n files.save = \"ask\"\n+\n+[[command]]\n+run = [\"ls\", \"-a\"]\n+then = \"allow\"\nprogram: {program}",
            n = lines + 1,
            program = program("ls"),
        )
    );
    assert_eq!(world.policy_text(), before, "a wish wrote something");
    assert!(world.answer(&held, true));
    let (call, outcome) = line.result().await;
    let made = "There is a rule now: [\"ls\",\"-a\"], whatever follows, runs without a question.";
    assert_eq!((call.as_str(), outcome), ("w1", Outcome::done(made)));
    let rule = "\n[[command]]\nrun = [\"ls\", \"-a\"]\nthen = \"allow\"\n";
    assert_eq!(world.policy_text(), format!("{before}{rule}"));
    // It is told at once, and holds without any question.
    assert_eq!(next(&mut line.socket).await, None);
    let mut line = world.line().await;
    assert_eq!(line.hello.free_commands, [["ls", "-a"]]);
    let argv = json!({"argv": ["ls", "-a", "-l"], "folder": "docs"});
    line.order_unasked("c1", "shell.run", argv).await;
    let outcome = line.end_of("c1").await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    // Wished for again, there is nothing to ask.
    let again = line.wish_ends("w2", json!({"allow": ["ls", "-a"], "exact": true}));
    let Outcome::Done { text, .. } = again.await else {
        panic!("not done");
    };
    assert!(
        text.starts_with("This needs no rule:\nallowed: ls -a\n"),
        "{text}"
    );
}

#[tokio::test]
async fn a_rule_for_exactly_this_allows_nothing_after_it() {
    let world = World::new("").await;
    let mut line = world.line().await;
    line.wishes("w1", &["echo", "a"], true).await;
    assert!(world.answer(&world.question().await, true));
    line.result().await;
    assert!(
        world
            .policy_text()
            .ends_with("then = \"allow\"\nexact = true\n")
    );
    let mut line = world.line().await;
    assert_eq!(line.hello.free_commands, Vec::<Vec<String>>::new());
    let argv = |words: &[&str]| json!({"argv": words, "folder": "docs"});
    line.order_unasked("c1", "shell.run", argv(&["echo", "a"]))
        .await;
    let outcome = line.end_of("c1").await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    line.order_unasked("c2", "shell.run", argv(&["echo", "a", "b"]))
        .await;
    let outcome = line.end_of("c2").await;
    denied(
        "the policy of this machine does not allow 'echo a b'",
        &outcome,
    );
    // The wider rule is another one, and can be wished for beside it.
    line.wishes("w2", &["echo", "a"], false).await;
}

#[tokio::test]
async fn a_no_the_end_of_the_time_and_a_call_off_leave_the_policy_as_it_is() {
    let world = World::new("approvals = \"3s\"").await;
    let before = world.policy_text();
    let mut line = world.line().await;
    let mut wish = async |call: &str| {
        let arguments = json!({"allow": ["ls"], "exact": false});
        line.order_unasked(call, PROPOSE, arguments).await;
        let held = world.question().await;
        let waits = next(&mut line.socket).await;
        assert!(matches!(waits, Some(ToWorker::Waiting { .. })), "{waits:?}");
        match call {
            "no" => assert!(world.answer(&held, false)),
            "off" => line.order("x1", CANCEL, json!({"call": "off"})).await,
            _ => {}
        }
        let (ended, outcome) = line.result().await;
        assert_eq!(ended, call);
        assert!(!world.answer(&held, true), "a late yes");
        outcome
    };
    denied(
        "its owner said no at home; no rule was made",
        &wish("no").await,
    );
    denied(
        "nobody at home said yes in time; no rule",
        &wish("late").await,
    );
    assert_eq!(wish("off").await, Outcome::Cancelled);
    assert_eq!(world.policy_text(), before);
}

#[tokio::test]
async fn no_wish_is_asked_about_that_its_owner_could_not_have_made_or_read() {
    for exact in [true, false] {
        unread(exact).await;
    }
}

/// Fewer wishes than an hour may bring.
async fn unread(exact: bool) {
    let world = World::new("").await;
    let before = world.policy_text();
    let mut line = world.line().await;
    let long = "x".repeat(100 * 1024);
    let many = vec!["x"; 33];
    for (at, (allow, why)) in [
        (json!([]), "no words, or more than can be asked about"),
        (json!([""]), "a command needs a program"),
        (json!(["ls", long]), "no words, or more than can be"),
        (json!(many), "no words, or more than can be"),
        (json!(["ls", "a\nb"]), "control characters"),
        (json!(["ls", "\u{202e}a"]), "characters that cannot be seen"),
        (json!(["ls", "\u{2013}l"]), "looks like an option"),
        (json!(["sh"]), "this is for your own hand"),
        (json!(["sh", "-c", "ls"]), "none that makes it automatic"),
        (json!(["python3", "x.py"]), "can run any other program"),
        (json!(["env", "ls"]), "can run any other program"),
        (json!(["git"]), "git"),
        (json!(["no-such-program"]), "no-such-program"),
        (json!(["files.mkdir"]), "files.mkdir"), // a command of that name, and not the tool
        (json!("ls"), "arguments are not understood"),
    ]
    .into_iter()
    .enumerate()
    {
        let wish = json!({"allow": allow, "exact": exact});
        let outcome = line.wish_ends(&format!("w{at}"), wish).await;
        let Outcome::Failed { reason } = outcome else {
            panic!("{allow}: {outcome:?}");
        };
        assert!(reason.contains(why), "{allow}: {reason}");
    }
    for forged in [
        json!({"allow": ["ls"], "exact": false, "yes": true}),
        json!({"allow": ["ls"]}),
        json!({}),
    ] {
        let name = format!("f{}", forged.to_string().len());
        let outcome = line.wish_ends(&name, forged).await;
        assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    }
    assert_eq!((world.questions(), world.policy_text()), (vec![], before));
}

#[tokio::test]
async fn a_flood_of_wishes_is_bounded_and_each_rule_is_asked_about_once() {
    let world = World::new("").await;
    let before = world.policy_text();
    let mut line = world.line().await;
    for n in 0..8 {
        line.wishes(&format!("w{n}"), &["echo", &n.to_string()], false)
            .await;
    }
    let twin = line.wish_ends("twin", json!({"allow": ["echo", "0"], "exact": false}));
    assert_eq!(
        twin.await,
        Outcome::failed("this very rule waits for a yes at home already")
    );
    let ninth = line.wish_ends("ninth", json!({"allow": ["echo", "9"], "exact": false}));
    assert_eq!(
        ninth.await,
        Outcome::failed(
            "too many rules wait for a yes at home on this machine; they have to be answered first"
        )
    );
    // What would run still finds room.
    line.order_dangerous("c1").await;
    assert_eq!(world.questions().len(), 9);
    assert_eq!(world.policy_text(), before);
}

#[tokio::test]
async fn when_the_policy_changes_a_wish_is_asked_about_anew_with_the_lines_as_they_then_are() {
    let world = World::new("").await;
    let mut line = world.line().await;
    line.wishes("w1", &["ls"], false).await;
    let first = world.question().await;
    world.law("# another word\n", RULES);
    let changed = world.policy_text();
    let second = world.question_but(&first.id).await;
    assert!(!world.answer(&first, true), "it was about another file");
    assert_ne!(first.shown, second.shown);
    assert_eq!(world.policy_text(), changed);
    // Its owner writes the rule themselves.
    let own = format!("{RULES}[[command]]\nrun = [\"ls\"]\nthen = \"allow\"\n");
    world.law("", &own);
    let outcome = loop {
        match next(&mut line.socket).await {
            Some(ToWorker::Result { outcome, .. }) => {
                break serde_json::from_str(&outcome).unwrap();
            }
            Some(ToWorker::Waiting { .. }) => {}
            Some(other) => panic!("{other:?}"),
            None => line = world.line().await,
        }
    };
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert!(!world.answer(&second, true));
}

#[tokio::test]
async fn what_nobody_was_asked_about_in_the_chat_is_asked_about_at_home_or_denied() {
    let world = World::new("").await;
    world.law(
        "",
        "[[command]]\nrun = [\"echo\"]\nthen = \"ask\"\n[[command]]\nrun = [\"uniq\"]\nthen = \"allow\"\n",
    );
    let mut line = world.line().await;
    let argv = |words: &[&str]| json!({"argv": words, "folder": "docs"});
    // With the chat's yes it runs.
    line.order("c1", "shell.run", argv(&["echo", "a"])).await;
    let (_, outcome) = line.result().await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    for (call, words) in [("c2", &["echo", "a"][..]), ("c3", &["uniq", "a", "b"])] {
        line.order_unasked(call, "shell.run", argv(words)).await;
        let waits = next(&mut line.socket).await;
        assert!(matches!(waits, Some(ToWorker::Waiting { .. })), "{waits:?}");
        let held = world.question().await;
        assert_eq!(held.call.id.0, call);
        assert!(world.answer(&held, false));
        denied("its owner said no at home", &line.result().await.1);
    }
    // It waits under a law that the chat's yes would do for, and there was none.
    line.order_unasked("c4", "shell.run", argv(&["echo", "a"]))
        .await;
    let first = world.question().await;
    world.law("", "[[command]]\nrun = [\"echo\"]\nthen = \"ask\"\n");
    let again = world.question_but(&first.id).await;
    assert_eq!(again.call, first.call);
}

#[tokio::test]
async fn what_the_hello_says_is_asked_about_at_home_is_asked_about_or_denied_whatever_follows() {
    let world = World::new("").await;
    let rules = "[[command]]\nrun = [\"sh\"]\nthen = \"ask\"\ngrade = \"dangerous\"\n[[command]]\nrun = [\"touch\", \"a\"]\nthen = \"ask\"\ngrade = \"dangerous\"\n[[command]]\nrun = [\"touch\"]\nthen = \"allow\"\n[[command]]\nrun = [\"rm\"]\nthen = \"ask\"\n[[command]]\nrun = [\"ls\"]\nthen = \"allow\"\n[tools]\nfiles.mkdir = \"ask\"\nprocess.stop = { then = \"ask\", grade = \"dangerous\" }\n";
    world.law("", rules);
    let policy = Policy::read(&world.home).unwrap();
    let home = policy.home_commands();
    assert_eq!(home, [vec!["sh"], vec!["touch", "a"]]);
    assert_eq!(
        policy.free_commands(),
        [["ls"]],
        "touch has a rule that asks"
    );
    assert_eq!(policy.home_tools(), ["files.mkdir", "process.stop"]);
    let words = ["a", "b", "-c", "--", "--help", "+x", "@f", "-rf", ""];
    let mut asked = 0;
    for begins in &home {
        for one in words {
            for other in words {
                let argv: Vec<String> = begins
                    .iter()
                    .cloned()
                    .chain([one.to_owned(), other.to_owned()])
                    .collect();
                let verdict = policy.judge(&argv).verdict;
                let chat = verdict.consent(AskedBy::Chat);
                assert!(chat.is_err(), "{argv:?}: {verdict:?}");
                asked += usize::from(verdict.consent(AskedBy::Home).is_ok());
            }
        }
    }
    assert!(asked > words.len(), "all of it is denied: {asked}");
}

#[tokio::test]
async fn of_two_rules_with_a_yes_the_second_is_asked_about_anew_with_the_first_in_its_lines() {
    let world = World::new("").await;
    let mut line = world.line().await;
    line.wishes("w1", &["ls"], true).await;
    let first = world.question().await;
    line.wishes("w2", &["cat"], true).await;
    let second = world.question_but(&first.id).await;
    assert!(world.answer(&first, true));
    world.answer(&second, true); // it comes too late if the first rule is made already
    let again = world.question_but(&second.id).await;
    assert_eq!(again.call, second.call);
    assert!(world.answer(&again, true));
    let mut ends = Vec::new();
    while !ends.contains(&"w2".to_owned()) {
        match next(&mut line.socket).await {
            Some(ToWorker::Result { call, outcome, .. }) => {
                let outcome: Outcome = serde_json::from_str(&outcome).unwrap();
                assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
                say(
                    &mut line.socket,
                    &ToBridge::Acknowledged { call: call.clone() },
                )
                .await;
                ends.push(call.0);
            }
            Some(ToWorker::Waiting { .. }) => {}
            Some(other) => panic!("{other:?}"),
            None => line = world.line().await, // the policy is told anew
        }
    }
    ends.dedup();
    assert_eq!(ends, ["w1", "w2"]);
    let text = world.policy_text();
    assert!(
        text.contains("\"ls\"") && text.contains("\"cat\""),
        "{text}"
    );
}

/// A file that its owner gave, for a call that has to ask at home.
fn save(file: &FileRef) -> Value {
    json!({"file": given_id(&file.sha256), "to": "docs/"})
}

fn given() -> (FileRef, &'static [u8]) {
    let bytes = b"given by its owner";
    let file = FileRef {
        name: "a.txt".into(),
        mime: "text/plain".into(),
        size: bytes.len() as u64,
        sha256: sha256_hex(bytes),
    };
    (file, bytes)
}

impl Line {
    /// Has a file wanted for a call, and sends as much of it.
    async fn sends(&mut self, call: &str, file: &FileRef, bytes: &[u8]) {
        let call = CallId(call.into());
        let wants = ToWorker::Want { call: call.clone() };
        assert_eq!(next(&mut self.socket).await, Some(wants));
        let (id, file) = (call.clone(), file.clone());
        say(&mut self.socket, &ToBridge::FileStart { call: id, file }).await;
        let (offset, bytes) = (0, bytes.to_vec());
        let chunk = Chunk {
            call,
            offset,
            bytes,
        };
        let piece = Message::binary(chunk.encode());
        self.socket.send(piece).await.unwrap();
    }
}

#[tokio::test]
async fn a_yes_for_a_file_is_void_when_the_policy_changes_while_it_comes() {
    let world = World::new("").await;
    let mut line = world.line().await;
    let (file, bytes) = given();
    line.order("c1", "files.save", save(&file)).await;
    let waits = next(&mut line.socket).await;
    assert!(matches!(waits, Some(ToWorker::Waiting { .. })), "{waits:?}");
    let first = world.question().await;
    assert!(world.answer(&first, true));
    line.sends("c1", &file, &bytes[..5]).await;
    world.law("# another word", RULES);
    let second = world.question_but(&first.id).await;
    tokio::spawn(async move { while next(&mut line.socket).await.is_some() {} });
    assert!(!world.file("a.txt").exists());
    let mut line = world.line().await; // the policy is told anew
    assert!(world.answer(&second, true));
    line.sends("c1", &file, bytes).await;
    let (call, outcome) = line.result().await;
    assert_eq!(call, "c1");
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(fs::read(world.file("a.txt")).unwrap(), bytes);
    assert_eq!(world.questions(), vec![]);
}

#[tokio::test]
async fn a_file_with_a_yes_can_be_called_off_while_it_comes_and_the_line_goes_on() {
    let world = World::new("").await;
    let mut line = world.line().await;
    let (file, bytes) = given();
    line.order("c1", "files.save", save(&file)).await;
    let waits = next(&mut line.socket).await;
    assert!(matches!(waits, Some(ToWorker::Waiting { .. })), "{waits:?}");
    assert!(world.answer(&world.question().await, true));
    line.sends("c1", &file, &bytes[..5]).await;
    line.order("x1", CANCEL, json!({"call": "c1"})).await;
    assert_eq!(line.result().await, ("c1".to_owned(), Outcome::Cancelled));
    let told = Outcome::done("c1 had not begun and will not");
    assert_eq!(line.result().await, ("x1".to_owned(), told));
    line.order("x2", CANCEL, json!({"call": "c1"})).await;
    let told = Outcome::done("c1 is not running here");
    assert_eq!(line.result().await, ("x2".to_owned(), told));
    assert!(!world.file("a.txt").exists());
}
