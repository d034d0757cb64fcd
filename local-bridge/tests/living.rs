//! Living with a bridge: the real program, its commands and its log, against a Worker that is a server in this process.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use futures::{SinkExt, StreamExt};
use local_bridge::approve::bot::{Settings, Token};
use local_bridge::audit;
use local_bridge::home::{Home, Pairing};
use local_bridge::journal::Journal;
use local_bridge::policy::{self, Sandbox};
use local_bridge::sandbox::Fence;
use protocol::call::{CallId, Outcome, ToolName};
use protocol::key::{KeyId, SigningKey, random_text};
use protocol::pairing::{fingerprint, six_words};
use protocol::session::{Access, Transcript, session_id};
use protocol::token::{self, Binding, Kind};
use protocol::warrant::Warrant;
use protocol::{PING, PONG, ToBridge, ToWorker, VERSION, read_frame, write_frame};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

const PROGRAM: &str = env!("CARGO_BIN_EXE_local-bridge");

/// Long enough for two busy cores; nothing waits for it unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// What must never be in a log: it is in the file that is read, and nowhere else.
const CANARY: &str = "canary-4f1e9d0c2b7a";

/// A paired home, a Worker's address, and the bridge that runs, if it does.
struct World {
    folder: TempDir,
    home: Home,
    command: SigningKey,
    own: SigningKey,
    worker: String,
    running: Option<Child>,
}

/// One proven connection, as the Worker sees it.
struct Line {
    socket: WebSocketStream<TcpStream>,
    session: String,
    command: SigningKey,
    bridge: KeyId,
    seq: u64,
}

impl World {
    fn new(worker: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let docs = folder.path().join("docs");
        fs::create_dir(&docs).unwrap();
        fs::write(docs.join("letter"), CANARY).unwrap();
        let home = Home::open(&folder.path().join("home")).unwrap();
        let roots = [("docs".into(), docs, Access::Write)];
        let commands = [vec!["sleep".to_owned()]];
        policy::init(&home, &roots, &commands, Sandbox::None, false).unwrap();
        let command = SigningKey::generate().unwrap();
        let own = home.make_key().unwrap();
        home.pair(&Pairing {
            worker: worker.to_owned(),
            command_key: command.public().to_text(),
            name: "mac-mini".into(),
            bridge: own.public().id().0,
        })
        .unwrap();
        Self {
            folder,
            home,
            command,
            own,
            worker: worker.to_owned(),
            running: None,
        }
    }

    /// A world whose Worker listens, with the bridge started so that it logs all it can.
    async fn running() -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut world = Self::new(&format!("http://{}", listener.local_addr().unwrap()));
        world.start();
        (world, listener)
    }

    fn start(&mut self) {
        let mut command = self.program(&["run", "--log-file"]);
        let command = command.env("RUST_LOG", "trace").stderr(Stdio::null());
        self.running = Some(command.spawn().unwrap());
    }

    fn program(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg("--home")
            .arg(self.home.path())
            .args(words)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command of the owner's; its exit code, what it says, and what it complains of.
    fn says(&self, words: &[&str]) -> (i32, String, String) {
        told(&self.program(words).output().unwrap())
    }

    fn json(&self, words: &[&str]) -> Value {
        let (_, said, complaint) = self.says(words);
        serde_json::from_str(&said).expect(&complaint)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.logs().join("bridge.log")).unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn line(&self, listener: &TcpListener) -> Line {
        let (stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        let mut socket = accept_async(stream).await.unwrap();
        let nonce = random_text().unwrap();
        let (version, challenge) = (VERSION, nonce.clone());
        say(
            &mut socket,
            &ToBridge::Challenge {
                version,
                nonce: challenge,
            },
        )
        .await;
        let ToWorker::Answer {
            nonce: theirs,
            hello,
            signature,
        } = next(&mut socket).await
        else {
            panic!("no answer");
        };
        let (bridge, key) = (self.own.public().id(), self.command.public().id());
        let transcript = Transcript {
            bridge: &bridge.0,
            command_key: &key.0,
            worker_nonce: &nonce,
            bridge_nonce: &theirs,
            version: VERSION,
            hello: &hello,
        };
        let ours = self.command.sign(&transcript.worker_bytes());
        let session = session_id(&transcript, &signature, &ours);
        say(&mut socket, &ToBridge::Welcome { signature: ours }).await;
        Line {
            socket,
            session,
            command: self.command.clone(),
            bridge,
            seq: 0,
        }
    }

    fn stop(&mut self) {
        let mut child = self.running.take().unwrap();
        child.kill().unwrap(); // as a power cut does
        child.wait().unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.stop();
        }
    }
}

impl Line {
    async fn order(&mut self, call: &str, tool: &str, arguments: Value) {
        self.seq += 1;
        let claims = Warrant {
            seq: self.seq,
            call: CallId(call.into()),
            tool: ToolName::new(tool),
            arguments,
            asked: true,
        };
        let issuer = self.command.public().id();
        let binding = Binding {
            issuer: &issuer,
            audience: &self.bridge,
            nonce: Some(&self.session),
        };
        let warrant = token::issue(Kind::Warrant, &self.command, binding, &claims, now()).unwrap();
        say(&mut self.socket, &ToBridge::Run { warrant }).await;
    }

    async fn result(&mut self, call: &str) -> Outcome {
        let ToWorker::Result {
            call: told,
            outcome,
            ..
        } = next(&mut self.socket).await
        else {
            panic!("no result");
        };
        assert_eq!(told.0, call);
        say(&mut self.socket, &ToBridge::Acknowledged { call: told }).await;
        serde_json::from_str(&outcome).unwrap()
    }
}

async fn say(socket: &mut WebSocketStream<TcpStream>, frame: &ToBridge) {
    socket
        .send(Message::text(write_frame(frame)))
        .await
        .unwrap();
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> ToWorker {
    loop {
        let message = timeout(PATIENCE, socket.next()).await.unwrap().unwrap();
        match message.unwrap().into_text().unwrap().as_str() {
            PING => socket.send(Message::text(PONG)).await.unwrap(),
            text => return read_frame(text).unwrap(),
        }
    }
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let code = output.status.code().unwrap();
    (code, text(&output.stdout), text(&output.stderr))
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect(what);
}

/// Answers requests in its own thread with the same bytes, but for `TOKEN`, which becomes the bearer's token.
fn answering(answer: &'static str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut bytes = [0; 4096];
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read(&mut bytes) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => request.extend_from_slice(&bytes[..count]),
                }
            }
            let request = String::from_utf8_lossy(&request);
            let token = request.lines().find_map(|line| line.split_once("Bearer "));
            let body = token.map_or("", |(_, token)| token);
            let body = format!(r#"{{"error":"not you with {body}"}}"#);
            write!(
                stream,
                "{answer}Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .ok();
        }
    });
    address
}

/// A bot's address, where all is well, or where the bot may not write to its owner.
fn telegram(may_write: bool) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut request, mut bytes) = (Vec::new(), [0; 4096]);
            while !request.ends_with(b"}") {
                let count = stream.read(&mut bytes).unwrap();
                request.extend_from_slice(&bytes[..count]);
            }
            let request = String::from_utf8(request).unwrap();
            let method = request.split([' ', '/']).nth(3).unwrap();
            let (status, body) = match (method, may_write) {
                ("getMe", _) => (200, r#"{"ok":true,"result":{"id":1,"username":"yes_bot"}}"#),
                ("getWebhookInfo", _) => (200, r#"{"ok":true,"result":{"url":""}}"#),
                ("sendChatAction", true) => (200, r#"{"ok":true,"result":true}"#),
                _ => (
                    403,
                    r#"{"ok":false,"description":"Forbidden: bot was blocked by the user"}"#,
                ),
            };
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    address
}

fn check<'a>(checks: &'a Value, id: &str) -> &'a Value {
    let checks = checks.as_array().unwrap();
    checks.iter().find(|check| check["id"] == id).unwrap()
}

#[tokio::test]
async fn one_page_tells_how_things_stand_and_the_log_holds_no_secret() {
    let (mut world, listener) = World::running().await;
    let mut line = world.line(&listener).await;
    line.order("c1", "files.read", json!({"path": "docs/letter"}))
        .await;
    let outcome = line.result("c1").await;
    assert!(serde_json::to_string(&outcome).unwrap().contains(CANARY));
    line.order(
        "c2",
        "shell.run",
        json!({"argv": ["sleep", "30"], "folder": "docs"}),
    )
    .await;
    until("the command runs and the first result is stored", || {
        let status = world.json(&["status", "--json"]);
        status["runs"] == json!([{"call": "c2", "tool": "shell.run"}]) && status["waiting"] == 0
    })
    .await;

    let status = world.json(&["status", "--json"]);
    let process = status["running"].clone();
    assert_eq!(process["pid"], world.running.as_ref().unwrap().id());
    let log = world.home.logs().join("bridge.log");
    assert_eq!(process["log"], json!(log));
    let (key, command) = (world.own.public(), world.command.public());
    let paired = &status["paired"];
    let since = paired["since"].as_i64().unwrap();
    assert!((now() - 60_000..=now()).contains(&since), "{since}");
    assert_eq!(
        *paired,
        json!({
            "worker": world.worker,
            "name": "mac-mini",
            "fingerprint": fingerprint(&command),
            "words": six_words(&key, &command).join(" "),
            "since": since,
        })
    );
    assert_eq!(status["connection"]["connected"], true);
    assert_eq!(status["last"][0]["call"], "c1");
    assert_eq!(status["last"][0]["outcome"], "done");
    assert_eq!(
        (&status["ended"], &status["frozen"]),
        (&json!(1), &json!(false))
    );
    let (code, page, _) = world.says(&["status"]);
    assert_eq!(code, 0);
    assert!(page.contains("\nconnected   yes, since "), "{page}");
    assert!(page.contains("running: shell.run call c2"), "{page}");

    let mode = fs::metadata(&log).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = world.log();
    assert!(text.contains("call c1: files.read"), "{text}");
    for secret in [CANARY, &world.own.to_text(), "eyJ", "Bearer"] {
        assert!(!text.contains(secret), "{secret} in:\n{text}");
    }

    world.stop();
    let (_, page, _) = world.says(&["status"]);
    let gone = "\nconnected   no: local-bridge is not running; start it: local-bridge run\n";
    assert!(page.contains(gone), "{page}");
}

#[tokio::test]
async fn what_the_worker_repeats_of_a_token_is_masked_in_the_log() {
    let worker = answering("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n");
    let mut world = World::new(&worker);
    world.start();
    until("the refusal is logged", || {
        world.home.logs().join("bridge.log").exists() && world.log().contains("not you with")
    })
    .await;
    let text = world.log();
    assert!(text.contains("not you with ***"), "{text}");
    assert!(!text.contains("eyJ"), "{text}");
    // The same sentence on the terminal and in `status` is the owner's own; the file is what is shown to others.
    let error = world.home.state().last_error.unwrap();
    assert!(
        error.contains("not you with eyJ"),
        "the flow did hold it: {error}"
    );
}

#[tokio::test]
async fn panic_stops_what_runs_and_refuses_what_comes_until_resume() {
    let (world, listener) = World::running().await;
    let mut line = world.line(&listener).await;
    line.order(
        "c1",
        "shell.run",
        json!({"argv": ["sleep", "60"], "folder": "docs"}),
    )
    .await;
    until("the command runs", || {
        world.json(&["status", "--json"])["runs"] != json!([])
    })
    .await;
    let (code, said, _) = world.says(&["panic"]);
    assert_eq!(
        (code, said.as_str()),
        (
            0,
            "frozen: every call is refused, and what runs is stopped; to go on: local-bridge resume\n"
        )
    );
    assert_eq!(line.result("c1").await, Outcome::Cancelled);
    line.order("c2", "files.read", json!({"path": "docs/letter"}))
        .await;
    let denied = line.result("c2").await;
    assert!(matches!(denied, Outcome::Denied { .. }), "{denied:?}");
    let (_, page, _) = world.says(&["status"]);
    assert!(
        page.starts_with("FROZEN      every call is refused"),
        "{page}"
    );
    let (_, said, _) = world.says(&["panic", "--off"]);
    assert_eq!(said, "calls are carried out again\n");
    line.order("c3", "files.read", json!({"path": "docs/letter"}))
        .await;
    let done = line.result("c3").await;
    assert!(matches!(done, Outcome::Done { .. }), "{done:?}");
    let (code, said, _) = world.says(&["resume"]);
    assert_eq!(code, 0);
    assert!(
        said.starts_with("nothing was frozen on this machine\n"),
        "{said}"
    );
}

#[tokio::test]
async fn the_log_of_what_was_done_is_shown_checked_and_carried_away() {
    let (mut world, listener) = World::running().await;
    let mut line = world.line(&listener).await;
    for call in ["c1", "c2", "c3"] {
        line.order(call, "files.read", json!({"path": "docs/letter"}))
            .await;
        line.result(call).await;
    }
    let ledger = Journal::ledger(&world.home.journal()).unwrap().unwrap();
    let head = ledger.entries[1].hash.clone();
    let (code, said, _) = world.says(&["audit", "show", "--last", "1"]);
    let last = audit::lines(&ledger, 1)[0].to_string();
    assert_eq!((code, said), (0, format!("{last}\n")));
    let (code, said, _) = world.says(&["audit", "verify", "--head", &head[..12]]);
    let whole = &ledger.entries[2].hash;
    let expected = format!("whole: 3 entries, 3 outcomes compared; head {whole}\n");
    assert_eq!((code, said), (0, expected), "while it runs");
    let file = world.file("log.jsonl");
    let file = file.to_str().unwrap();
    assert_eq!(world.says(&["audit", "export", file]).0, 0);
    let (code, _, complaint) = world.says(&["audit", "export", file]);
    assert_eq!(code, 1);
    assert!(complaint.contains("File exists"), "{complaint}");

    world.stop();
    let db = Connection::open(world.home.journal()).unwrap();
    db.execute("UPDATE audit SET at = at + 1 WHERE seq = 2", [])
        .unwrap();
    let (code, _, complaint) = world.says(&["audit", "verify"]);
    assert_eq!(
        (code, complaint.as_str()),
        (
            1,
            "local-bridge: entry 2 was changed: its hash is not that of what it says\n"
        )
    );
    let checks = world.json(&["doctor", "--offline", "--json"]);
    assert_eq!(check(&checks, "B15")["severity"], "fail");
    let elsewhere = Command::new(PROGRAM)
        .args(["--home", "/nonexistent", "audit", "verify", file])
        .output();
    let (code, said, _) = told(&elsewhere.unwrap());
    assert_eq!(code, 0, "the export was made before");
    assert!(
        said.starts_with("whole: 3 entries, 0 outcomes compared"),
        "{said}"
    );
}

#[test]
fn the_doctor_says_what_is_wrong_with_the_clock_the_files_and_the_pairing() {
    let worker = answering(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nDate: Mon, 21 Sep 2020 14:13:20 GMT\r\n",
    );
    let world = World::new(&worker);
    let checks = world.json(&["doctor", "--json"]);
    let clock = check(&checks, "B11");
    assert_eq!(clock["severity"], "fail");
    let evidence = clock["evidence"].as_str().unwrap();
    assert!(evidence.contains("ahead of the Worker's"), "{evidence}");
    assert_eq!(check(&checks, "B23")["severity"], "ok");
    assert_eq!(check(&checks, "B12")["evidence"], format!("with {worker}"));
    assert_eq!(check(&checks, "B01")["severity"], "ok");
    let open = "sandbox = \"none\": commands run with all that your account can reach";
    assert_eq!(check(&checks, "B05")["evidence"], open);

    let key = world.home.path().join("key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(world.home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (code, said, complaint) = world.says(&["doctor", "--offline"]);
    assert_eq!(code, 1);
    assert!(complaint.ends_with("must be put right\n"), "{complaint}");
    let path = world.home.path().display();
    assert!(
        said.contains(&format!(
            "'{path}' has mode 0755\n         fix: chmod go-rwx '{path}'\n"
        )),
        "{said}"
    );
    assert!(
        said.contains(&format!(
            "'{path}/key' has mode 0644\n         fix: chmod go-rwx '{path}/key'\n"
        )),
        "{said}"
    );
    assert!(
        said.contains("-    B11 the clock is right: --offline\n"),
        "{said}"
    );
    // The fix that it names puts it right.
    for path in [world.home.path(), key.as_path()] {
        let status = Command::new("chmod").arg("go-rwx").arg(path).status();
        assert!(status.unwrap().success());
    }
    fs::remove_file(&key).unwrap();
    let checks = world.json(&["doctor", "--offline", "--json"]);
    assert_eq!(check(&checks, "B01")["severity"], "ok");
    assert_eq!(
        check(&checks, "B12")["evidence"],
        "this machine's key is gone"
    );
}

#[tokio::test]
async fn the_doctor_finds_a_running_bridge_that_listens_on_nothing_and_dumps_no_core() {
    let (world, listener) = World::running().await;
    let _line = world.line(&listener).await;
    let checks = world.json(&["doctor", "--offline", "--json"]);
    assert_eq!(check(&checks, "B13")["severity"], "ok");
    if cfg!(target_os = "linux") {
        assert_eq!(check(&checks, "B20")["severity"], "ok");
    }
    assert_eq!(check(&checks, "B19")["severity"], "ok");
}

#[test]
fn the_doctor_asks_whether_the_approver_can_ask() {
    let world = World::new("https://bernard.example");
    let token = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";
    let found = |api_url: &str| {
        let settings = Settings {
            token: Token::new(token).unwrap(),
            owner: 4711,
            api_url: Some(api_url.to_owned()),
        };
        settings.write(&world.home).unwrap();
        world.home.unpair().unwrap(); // the Worker is not asked
        let (_, said, _) = world.says(&["doctor", "--json"]);
        assert!(!said.contains(&token[10..]), "{said}");
        let checks: Value = serde_json::from_str(&said).unwrap();
        let check = check(&checks, "B14");
        let severity = check["severity"].as_str().unwrap().to_owned();
        (severity, check["evidence"].as_str().unwrap().to_owned())
    };
    let told = |severity: &str, evidence: &str| (severity.to_owned(), evidence.to_owned());
    assert_eq!(
        found(&telegram(true)),
        told("ok", "@yes_bot may write to you")
    );
    let blocked = "Telegram says no (403): Forbidden: bot was blocked by the user";
    assert_eq!(found(&telegram(false)), told("fail", blocked));
    let (severity, evidence) = found("http://127.0.0.1:9");
    assert_eq!(severity, "skipped");
    assert!(
        evidence.starts_with("Telegram cannot be reached"),
        "{evidence}"
    );
    let checks = world.json(&["doctor", "--offline", "--json"]);
    assert_eq!(check(&checks, "B14")["evidence"], "--offline");
}

#[test]
fn the_doctor_sees_what_a_command_inherits_by_running_one() {
    let world = World::new("https://bernard.example");
    let inherited = || {
        let mut doctor = world.program(&["doctor", "--offline", "--json"]);
        let output = doctor.env("CANARY", CANARY).output().unwrap();
        let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
        let check = check(&checks, "B17");
        (check["severity"].clone(), check["evidence"].clone())
    };
    let four = (json!("ok"), json!("a command saw HOME, LANG, PATH, TMPDIR"));
    assert_eq!(inherited(), four, "without a fence");
    let commands = [vec!["sleep".to_owned()]];
    let roots = [("docs".into(), world.file("docs"), Access::Read)];
    policy::init(&world.home, &roots, &commands, Sandbox::Required, true).unwrap();
    if Fence::kept_by(Path::new(PROGRAM)).allows(Sandbox::Required) {
        assert_eq!(inherited(), four, "behind the fence");
    } else {
        assert_eq!(inherited().0, json!("skipped"));
    }
}

#[tokio::test]
async fn what_runs_in_the_background_is_listed() {
    let (mut world, listener) = World::running().await;
    let mut line = world.line(&listener).await;
    let arguments = json!({"argv": ["sleep", "60"], "folder": "docs", "background": true});
    line.order("c1", "shell.run", arguments).await;
    let begun = line.result("c1").await;
    assert!(matches!(begun, Outcome::Done { .. }), "{begun:?}");
    let status = world.json(&["status", "--json"]);
    let listed = &status["background"][0];
    assert_eq!(
        (&listed["id"], &listed["command"]),
        (&json!("p1"), &json!("sleep 60"))
    );
    let (_, page, _) = world.says(&["status"]);
    assert!(page.contains("in the background: p1 since 20"), "{page}");
    assert!(page.contains(" UTC: sleep 60\n"), "{page}");
    world.stop();
    assert_eq!(world.json(&["status", "--json"])["background"], json!([]));
}

#[tokio::test]
async fn a_second_bridge_says_which_one_runs_and_how_to_stop_it() {
    let (world, listener) = World::running().await;
    let _line = world.line(&listener).await;
    let pid = world.running.as_ref().unwrap().id();
    for words in [
        &["run"][..],
        &["unpair", "--yes"],
        &["pair", "bernard://pair"],
    ] {
        let (code, _, complaint) = world.says(words);
        assert_eq!(code, 1, "{words:?}");
        let begin = format!(
            "local-bridge: local-bridge already runs with this home as process {pid}, since "
        );
        assert!(complaint.starts_with(&begin), "{complaint}");
        assert!(complaint.ends_with(&format!("kill {pid}\n")), "{complaint}");
    }
}

#[test]
fn a_broken_policy_is_shown_beside_the_one_that_is_in_force() {
    let world = World::new("https://bernard.example");
    let good = world.json(&["status", "--json"])["policy"]["summary"].clone();
    fs::write(world.home.policy(), "sandbox = \"maybe\"\n").unwrap();
    let status = world.json(&["status", "--json"]);
    assert_eq!(status["policy"]["summary"], good);
    let fault = status["policy"]["fault"].as_str().unwrap();
    assert!(fault.contains("at line 1"), "{fault}");
    let (_, page, _) = world.says(&["status"]);
    assert!(page.contains("\nWRONG       policy.toml"), "{page}");
    let checks = world.json(&["doctor", "--offline", "--json"]);
    assert_eq!(check(&checks, "B03")["severity"], "fail");
    let (code, _, complaint) = world.says(&["install"]);
    assert_eq!(code, 1, "{complaint}");
}

#[test]
fn a_machine_is_unpaired_without_a_network_and_only_once() {
    let world = World::new("http://127.0.0.1:9");
    let (code, said, _) = world.says(&["unpair", "--yes"]);
    assert_eq!(code, 0);
    assert!(
        said.starts_with("Forgotten; policy, log and undo stay.\nBernard still lists"),
        "{said}"
    );
    assert!(!world.home.path().join("key").exists());
    let nothing = "There is nothing to forget: this machine has no key and is not paired.\n";
    assert_eq!(
        world.says(&["unpair"]),
        (0, nothing.to_owned(), String::new())
    );
}

#[test]
fn where_the_key_lies_is_said_and_a_keychain_that_is_wanted_is_not_replaced_by_a_file() {
    let world = World::new("http://127.0.0.1:9");
    let lies = format!(
        "it lies in {}/key, a file that only you can read",
        world.home.path().display()
    );
    let (_, page, _) = world.says(&["status"]);
    assert!(page.contains(&lies), "{page}");
    if cfg!(target_os = "macos") {
        return; // there is a keychain
    }
    world.home.unpair().unwrap();
    let link = protocol::pairing::Link {
        worker: world.worker.clone(),
        pairing: "p1".into(),
        secret: "AAECAwQFBgcICQoLDA0ODw".into(),
        fingerprint: fingerprint(&world.command.public()),
    };
    let mut pair = world.program(&["pair", &link.to_string(), "--keys", "keychain"]);
    pair.env_remove("DBUS_SESSION_BUS_ADDRESS")
        .env_remove("XDG_RUNTIME_DIR");
    let (code, _, complaint) = told(&pair.output().unwrap());
    assert_eq!(code, 1);
    assert_eq!(
        complaint,
        "local-bridge: the key cannot be kept in the system's keychain: there is no keychain here: no desktop session (there is no D-Bus session bus); --keys file keeps it in a file\n"
    );
    assert_eq!(world.home.kept(), None);
}

#[test]
fn a_key_that_a_closed_keychain_has_keeps_a_service_trying() {
    let world = World::new("http://127.0.0.1:9");
    if cfg!(target_os = "macos") {
        return; // its keychain is not closed by a variable
    }
    fs::remove_file(world.home.path().join("key")).unwrap();
    world.home.write("keychain", "key of another day").unwrap();
    for words in [&["run"][..], &["run", "--log-file"]] {
        let mut run = world.program(words);
        run.env_remove("DBUS_SESSION_BUS_ADDRESS")
            .env_remove("XDG_RUNTIME_DIR");
        let (code, _, complaint) = told(&run.output().unwrap());
        assert_eq!(code, 75, "{complaint}");
        let why = "this machine's key lies in the system's keychain: there is no keychain here";
        assert!(complaint.contains(why), "{complaint}");
    }
    assert!(
        world
            .log()
            .contains("ERROR this machine's key lies in the system's keychain")
    );
    assert!(
        !world.home.path().join("key").exists(),
        "no key is made for it"
    );
}

#[test]
fn what_is_to_be_installed_can_be_read_first_and_only_who_is_ready_installs() {
    let world = World::new("https://bernard.example");
    let (code, said, _) = world.says(&["install", "--dry-run"]);
    assert_eq!(code, 0);
    let program = Path::new(PROGRAM).canonicalize().unwrap();
    for part in [
        program.to_str().unwrap(),
        world.home.path().to_str().unwrap(),
    ] {
        assert!(said.contains(part), "{said}");
    }
    world.home.unpair().unwrap();
    let account = world.file("account");
    fs::create_dir(&account).unwrap();
    let mut install = world.program(&["install"]);
    let output = install.env("HOME", &account).output().unwrap();
    let (code, _, complaint) = told(&output);
    let expected = if rustix::process::getuid().is_root() {
        "not installed for root"
    } else {
        "this machine is not paired"
    };
    assert_eq!(code, 1);
    assert!(complaint.contains(expected), "{complaint}");
    assert_eq!(
        fs::read_dir(&account).unwrap().count(),
        0,
        "nothing was written"
    );
    let mut uninstall = world.program(&["uninstall"]);
    let output = uninstall.env("HOME", &account).output().unwrap();
    let (code, _, complaint) = told(&output);
    assert_eq!(code, 1);
    assert!(
        complaint.starts_with("local-bridge: not installed: there is no "),
        "{complaint}"
    );
}

#[test]
fn who_only_looks_makes_no_home_and_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("none");
    for words in [
        &["status"][..],
        &["doctor"],
        &["audit", "show"],
        &["audit", "verify"],
        &["install"],
        &["panic"],
        &["resume"],
    ] {
        let mut command = Command::new(PROGRAM);
        let output = command.arg("--home").arg(&home).args(words).output();
        let (code, _, complaint) = told(&output.unwrap());
        let begin = format!(
            "local-bridge: there is no {}; ask Bernard for a link",
            home.display()
        );
        assert_eq!(code, 1, "{words:?}");
        assert!(complaint.starts_with(&begin), "{words:?}: {complaint}");
    }
    assert!(!home.exists());
    let help = Command::new(PROGRAM)
        .args(["audit", "verify", "--help"])
        .output();
    let (code, said, _) = told(&help.unwrap());
    assert_eq!(code, 0);
    assert!(said.contains("exit code 1"), "{said}");
}
