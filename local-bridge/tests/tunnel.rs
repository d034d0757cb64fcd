//! The real tunnel against a Worker that is a WebSocket server in this process.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use futures::{SinkExt, StreamExt};
use local_bridge::home::{Home, Pairing, State};
use local_bridge::journal::Journal;
use local_bridge::policy::{self, Sandbox};
use local_bridge::tunnel::{Backoff, Timing, Tunnel};
use protocol::call::{CallId, FileRef, Outcome, ToolName};
use protocol::chunk::{Chunk, MARKS, MAX_CHUNK, STRETCH, WINDOW};
use protocol::key::{KeyId, PublicKey, SigningKey, random_bytes, random_text, sha256_hex};
use protocol::session::{Access, Hello, HelloClaims, Root, Transcript, session_id};
use protocol::token::{self, Binding, Kind, call_hash};
use protocol::tools::given_id;
use protocol::warrant::{CANCEL, Receipt, Warrant};
use protocol::{
    CLOSE_REVOKED, CLOSE_VIOLATION, PING, PONG, ToBridge, ToWorker, VERSION, read_frame,
    write_frame,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

/// Long enough for two busy cores; nothing waits for it unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

const FAST: Timing = Timing {
    ping: Duration::from_millis(100),
    answer: Duration::from_secs(20),
    lease: Duration::from_secs(20),
    dial: Duration::from_secs(20),
    retry: Backoff {
        first: Duration::from_millis(5),
        soon: Duration::ZERO,
        most: Duration::from_millis(20),
    },
    refused: Backoff {
        first: Duration::from_millis(5),
        soon: Duration::ZERO,
        most: Duration::from_millis(20),
    },
    healthy: Duration::from_secs(10),
};

/// A home with one open folder, a bridge that runs in it, and the Worker that it dials.
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
    bridge: PublicKey,
    seq: u64,
    hello: Hello,
}

impl World {
    async fn new() -> Self {
        Self::with(FAST).await
    }

    async fn with(timing: Timing) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let docs = folder.path().join("docs");
        fs::create_dir(&docs).unwrap();
        let home = Home::open(&folder.path().join("home")).unwrap();
        let commands = [vec!["sleep".to_owned()], vec!["echo".to_owned()]];
        policy::init(
            &home,
            &[("docs".into(), docs, Access::Write)],
            &commands,
            Sandbox::None, // the fence has its own tests
            false,
        )
        .unwrap();
        let command = SigningKey::generate().unwrap();
        let bridge = home.make_key().unwrap().public();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let worker = format!("http://{}", listener.local_addr().unwrap());
        home.pair(&Pairing {
            worker,
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
        world.start(timing);
        world
    }

    fn start(&mut self, timing: Timing) {
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

    /// Takes the bridge's next connection as far as the upgrade, which needs a fresh ticket for us.
    async fn socket(&self) -> WebSocketStream<TcpStream> {
        let (stream, _) = timeout(PATIENCE, self.listener.accept())
            .await
            .unwrap()
            .unwrap();
        let (bridge, audience) = (self.bridge.clone(), self.command.public().id());
        let issuer = bridge.id();
        #[expect(clippy::result_large_err, reason = "tungstenite's callback")]
        let proof =
            move |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
                assert_eq!(request.uri().path(), "/bridge");
                let header = request.headers()["authorization"].to_str().unwrap();
                let ticket = header.strip_prefix("Bearer ").unwrap();
                let binding = Binding {
                    issuer: &issuer,
                    audience: &audience,
                    nonce: None,
                };
                token::check::<HelloClaims>(Kind::Hello, &bridge, binding, ticket, now()).unwrap();
                Ok(response)
            };
        accept_hdr_async(stream, proof).await.unwrap()
    }

    async fn line(&self) -> Line {
        self.line_by(&self.command).await.unwrap()
    }

    /// A session that the Worker proves with `signer`; nothing if the bridge hangs up on it.
    async fn line_by(&self, signer: &SigningKey) -> Option<Line> {
        let mut socket = self.socket().await;
        let nonce = random_text().unwrap();
        let challenge = ToBridge::Challenge {
            version: VERSION,
            nonce: nonce.clone(),
        };
        say(&mut socket, &challenge).await;
        let ToWorker::Answer {
            nonce: bridge_nonce,
            hello,
            signature: theirs,
        } = next(&mut socket).await.unwrap()
        else {
            panic!("no answer");
        };
        let (KeyId(bridge), KeyId(command)) = (self.bridge.id(), self.command.public().id());
        let transcript = Transcript {
            bridge: &bridge,
            command_key: &command,
            worker_nonce: &nonce,
            bridge_nonce: &bridge_nonce,
            version: VERSION,
            hello: &hello,
        };
        self.bridge
            .verify(&transcript.bridge_bytes(), &theirs)
            .unwrap();
        let signature = signer.sign(&transcript.worker_bytes());
        let session = session_id(&transcript, &theirs, &signature);
        say(&mut socket, &ToBridge::Welcome { signature }).await;
        if signer.public() != self.command.public() {
            assert_eq!(closed(&mut socket).await, Some(CLOSE_VIOLATION));
            return None;
        }
        Some(Line {
            socket,
            session,
            command: self.command.clone(),
            bridge: self.bridge.clone(),
            seq: 0,
            hello: serde_json::from_str(&hello).unwrap(),
        })
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
    /// A warrant as it should be, but for what a test spoils.
    fn warrant(&self, claims: &impl Serialize) -> Spoiled {
        Spoiled {
            kind: Kind::Warrant,
            key: self.command.clone(),
            issuer: self.command.public().id(),
            audience: self.bridge.id(),
            session: self.session.clone(),
            at: now(),
            claims: serde_json::to_value(claims).unwrap(),
        }
    }

    fn next_warrant(&mut self, call: &str, tool: &str, arguments: Value) -> String {
        self.seq += 1;
        let claims = Warrant {
            seq: self.seq,
            call: CallId(call.into()),
            tool: ToolName::new(tool),
            arguments,
            asked: true,
        };
        self.warrant(&claims).token()
    }

    async fn order(&mut self, call: &str, tool: &str, arguments: Value) {
        let warrant = self.next_warrant(call, tool, arguments);
        say(&mut self.socket, &ToBridge::Run { warrant }).await;
    }

    /// The next result, whose receipt must be the bridge's own for this session.
    async fn result(&mut self) -> (String, Outcome, Receipt) {
        let frame = next(&mut self.socket).await;
        let Some(ToWorker::Result {
            call,
            outcome,
            receipt,
        }) = frame
        else {
            panic!("not a result: {frame:?}");
        };
        let receipt = self.receipt(&receipt);
        assert_eq!(receipt.call, call);
        assert_eq!(receipt.outcome_sha256, sha256_hex(outcome.as_bytes()));
        (call.0, serde_json::from_str(&outcome).unwrap(), receipt)
    }

    fn receipt(&self, token: &str) -> Receipt {
        let (issuer, audience) = (self.bridge.id(), self.command.public().id());
        let binding = Binding {
            issuer: &issuer,
            audience: &audience,
            nonce: Some(&self.session),
        };
        token::check::<Receipt>(Kind::Receipt, &self.bridge, binding, token, now())
            .unwrap()
            .claims
    }

    async fn run(&mut self, call: &str, tool: &str, arguments: Value) -> Outcome {
        self.order(call, tool, arguments.clone()).await;
        let (answered, outcome, receipt) = self.result().await;
        assert_eq!(answered, call);
        assert_eq!(
            receipt.call_sha256,
            call_hash(&ToolName::new(tool), &arguments)
        );
        self.acknowledge(call).await;
        outcome
    }

    async fn acknowledge(&mut self, call: &str) {
        let call = CallId(call.into());
        say(&mut self.socket, &ToBridge::Acknowledged { call }).await;
    }

    /// Takes a file as the Worker does: credit in small steps, each byte where it belongs.
    async fn take_file(&mut self, step: u64) -> (Vec<u8>, String, u64) {
        let ToWorker::FileStart {
            call, name, size, ..
        } = next(&mut self.socket).await.unwrap()
        else {
            panic!("no file");
        };
        let (mut bytes, mut until) = (Vec::new(), 0);
        while (bytes.len() as u64) < size {
            if bytes.len() as u64 == until {
                until = (until + step).min(size);
                let call = call.clone();
                say(&mut self.socket, &ToBridge::Credit { call, until }).await;
            }
            let chunk = Chunk::decode(&next_bytes(&mut self.socket).await).unwrap();
            assert_eq!((&chunk.call, chunk.offset), (&call, bytes.len() as u64));
            bytes.extend_from_slice(&chunk.bytes);
            assert!(bytes.len() as u64 <= until, "more than was granted");
        }
        (bytes, name, size)
    }
}

struct Spoiled {
    kind: Kind,
    key: SigningKey,
    issuer: KeyId,
    audience: KeyId,
    session: String,
    at: i64,
    claims: Value,
}

impl Spoiled {
    fn token(self) -> String {
        let binding = Binding {
            issuer: &self.issuer,
            audience: &self.audience,
            nonce: Some(&self.session),
        };
        token::issue(self.kind, &self.key, binding, &self.claims, self.at).unwrap()
    }
}

async fn say(socket: &mut WebSocketStream<TcpStream>, frame: &ToBridge) {
    socket
        .send(Message::text(write_frame(frame)))
        .await
        .unwrap();
}

/// The next frame that is neither a ping nor bytes; `None` at the end. Pings are answered.
async fn next(socket: &mut WebSocketStream<TcpStream>) -> Option<ToWorker> {
    match next_message(socket).await? {
        Message::Text(text) => Some(read_frame(&text).unwrap()),
        Message::Close(_) => None,
        other @ (Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {
            panic!("not a text: {other:?}")
        }
    }
}

async fn next_bytes(socket: &mut WebSocketStream<TcpStream>) -> Vec<u8> {
    match next_message(socket).await {
        Some(Message::Binary(bytes)) => bytes.to_vec(),
        other => panic!("not bytes: {other:?}"),
    }
}

async fn next_message(socket: &mut WebSocketStream<TcpStream>) -> Option<Message> {
    let next = async {
        loop {
            match socket.next().await? {
                Ok(Message::Text(text)) if text.as_str() == PING => {
                    socket.send(Message::text(PONG)).await.ok();
                }
                Ok(message) => return Some(message),
                Err(_) => return None,
            }
        }
    };
    timeout(PATIENCE, next).await.expect("a frame in time")
}

/// Reads until the bridge closes, and tells with which code.
async fn closed(socket: &mut WebSocketStream<TcpStream>) -> Option<u16> {
    loop {
        match next_message(socket).await {
            Some(Message::Close(Some(frame))) => return Some(frame.code.into()),
            Some(Message::Close(None)) | None => return None,
            Some(
                Message::Text(_)
                | Message::Binary(_)
                | Message::Ping(_)
                | Message::Pong(_)
                | Message::Frame(_),
            ) => {}
        }
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn done(text: &str) -> Outcome {
    Outcome::done(text)
}

#[tokio::test]
async fn the_bridge_says_what_it_may_do_and_does_it() {
    let world = World::new().await;
    let mut line = world.line().await;
    assert_eq!(
        (line.hello.roots.clone(), line.hello.tools.len()),
        (
            vec![Root {
                name: "docs".into(),
                access: Access::Write
            }],
            20
        )
    );
    let write = json!({"path": "docs/a.txt", "text": "one\n"});
    assert_eq!(
        line.run("c1", "files.write", write).await,
        done("wrote docs/a.txt (4 B)")
    );
    assert_eq!(
        line.run("c2", "files.read", json!({"path": "docs/a.txt"}))
            .await,
        done("one")
    );
    let Outcome::Done { text, .. } = line.run("c3", "files.list", json!({})).await else {
        panic!("not done");
    };
    assert!(text.starts_with("docs/\na.txt  (4 B, 20"), "{text}");
    let found = line
        .run("c4", "files.search", json!({"query": "one"}))
        .await;
    assert_eq!(found, done("docs/a.txt:1: one"));
    let echo = line
        .run("c5", "shell.run", json!({"argv": ["echo", "hi"]}))
        .await;
    assert_eq!(echo, done("exit code 0\nstdout:\nhi"));
    let denied = line
        .run("c6", "shell.run", json!({"argv": ["rm", "docs/a.txt"]}))
        .await;
    assert!(matches!(denied, Outcome::Denied { .. }), "{denied:?}");
    let outside = line
        .run("c7", "files.read", json!({"path": "docs/../../home/key"}))
        .await;
    assert!(matches!(outside, Outcome::Denied { .. }), "{outside:?}");
    let unknown = line.run("c8", "files.erase", json!({})).await;
    assert_eq!(
        unknown,
        Outcome::denied("this machine has no tool 'files.erase'")
    );
    let approved = line
        .run(
            "c9",
            "files.read",
            json!({"path": "docs/a.txt", "approved": true}),
        )
        .await;
    assert!(matches!(approved, Outcome::Failed { .. }), "{approved:?}");
}

#[tokio::test]
async fn a_file_arrives_byte_for_byte_within_the_credit() {
    let world = World::new().await;
    let bytes: Vec<u8> = random_bytes::<4096>().unwrap().repeat(750);
    let bytes = [&bytes[..], b"end"].concat();
    fs::write(world.file("scan.pdf"), &bytes).unwrap();
    fs::write(world.file("empty"), "").unwrap();
    let mut line = world.line().await;
    for (call, step) in [("c1", WINDOW), ("c2", 100_000)] {
        line.order(call, "files.send", json!({"path": "docs/scan.pdf"}))
            .await;
        let (came, name, size) = line.take_file(step).await;
        assert!(came == bytes, "the bytes differ");
        let (answered, outcome, _) = line.result().await;
        let file = FileRef {
            name,
            mime: "application/pdf".into(),
            size,
            sha256: sha256_hex(&bytes),
        };
        let text = "sent docs/scan.pdf (3.0 MB)".to_owned();
        assert_eq!(
            outcome,
            Outcome::Done {
                text,
                file: Some(file)
            }
        );
        assert_eq!(answered, call);
        line.acknowledge(call).await;
    }
    line.order("c3", "files.send", json!({"path": "docs/empty"}))
        .await;
    assert_eq!(line.take_file(1).await, (vec![], "empty".to_owned(), 0));
    assert!(matches!(
        line.result().await.1,
        Outcome::Done { file: Some(_), .. }
    ));
}

#[tokio::test]
async fn a_file_cut_off_by_a_lost_line_is_sent_afresh() {
    let world = World::new().await;
    fs::write(world.file("big"), vec![7; 300_000]).unwrap();
    let mut line = world.line().await;
    line.order("c1", "files.send", json!({"path": "docs/big"}))
        .await;
    assert!(matches!(
        next(&mut line.socket).await,
        Some(ToWorker::FileStart { .. })
    ));
    let credit = ToBridge::Credit {
        call: CallId("c1".into()),
        until: 100_000,
    };
    say(&mut line.socket, &credit).await;
    next_bytes(&mut line.socket).await;
    drop(line);
    let mut line = world.line().await;
    line.order("c1", "files.send", json!({"path": "docs/big"}))
        .await;
    assert_eq!(line.take_file(WINDOW).await.0.len(), 300_000);
    assert_eq!(line.result().await.0, "c1");
    drop(line);
    // The result was journalled, but a Worker that has lost the bytes orders the call again.
    let mut line = world.line().await;
    assert_eq!(line.result().await.0, "c1");
    line.order("c1", "files.send", json!({"path": "docs/big"}))
        .await;
    assert_eq!(line.take_file(WINDOW).await.0.len(), 300_000);
    assert_eq!(line.result().await.0, "c1");
}

/// Sends what `spoil` makes of a warrant that would write a file, and sees it refused.
async fn refused(spoil: impl FnOnce(&mut Line, Spoiled) -> Vec<String>) {
    let world = World::new().await;
    let mut line = world.line().await;
    let claims = json!({
        "seq": 1, "call": "c1", "tool": "files.write", "arguments": {"path": "docs/a", "text": "x"},
    });
    let good = line.warrant(&claims);
    for warrant in spoil(&mut line, good) {
        say(&mut line.socket, &ToBridge::Run { warrant }).await;
    }
    assert_eq!(closed(&mut line.socket).await, Some(CLOSE_VIOLATION));
    assert!(!world.file("a").exists(), "it ran");
    // The bridge comes back and works.
    let mut line = world.line().await;
    assert_eq!(
        line.run("c2", "files.write", json!({"path": "docs/b", "text": ""}))
            .await,
        done("wrote docs/b (0 B)")
    );
}

#[tokio::test]
async fn a_warrant_forged_with_another_key_is_refused() {
    refused(|_, good| {
        let key = SigningKey::generate().unwrap();
        vec![Spoiled { key, ..good }.token()]
    })
    .await;
}

#[tokio::test]
async fn a_warrant_that_names_its_forger_is_refused() {
    refused(|_, good| {
        let key = SigningKey::generate().unwrap();
        let issuer = key.public().id();
        vec![
            Spoiled {
                key,
                issuer,
                ..good
            }
            .token(),
        ]
    })
    .await;
}

#[tokio::test]
async fn a_warrant_sent_twice_is_refused() {
    let world = World::new().await;
    let mut line = world.line().await;
    let append = json!({"path": "docs/a", "text": "line\n", "append": true});
    let warrant = line.next_warrant("c1", "files.write", append);
    for _ in 0..2 {
        let warrant = warrant.clone();
        say(&mut line.socket, &ToBridge::Run { warrant }).await;
    }
    assert_eq!(closed(&mut line.socket).await, Some(CLOSE_VIOLATION));
    let mut line = world.line().await;
    let (call, ..) = line.result().await;
    assert_eq!(call, "c1");
    assert_eq!(fs::read_to_string(world.file("a")).unwrap(), "line\n");
}

#[tokio::test]
async fn an_expired_warrant_is_refused() {
    refused(|_, good| {
        let at = now() - 36_000;
        vec![Spoiled { at, ..good }.token()]
    })
    .await;
}

#[tokio::test]
async fn a_warrant_for_another_bridge_is_refused() {
    refused(|_, good| {
        let audience = SigningKey::generate().unwrap().public().id();
        vec![Spoiled { audience, ..good }.token()]
    })
    .await;
}

#[tokio::test]
async fn a_warrant_of_another_session_is_refused() {
    refused(|_, good| {
        let session = random_text().unwrap();
        vec![Spoiled { session, ..good }.token()]
    })
    .await;
}

#[tokio::test]
async fn a_warrant_of_this_bridges_last_session_is_refused() {
    let world = World::new().await;
    let mut line = world.line().await;
    let warrant = line.next_warrant("c1", "files.write", json!({"path": "docs/a", "text": "x"}));
    drop(line);
    let mut line = world.line().await;
    say(&mut line.socket, &ToBridge::Run { warrant }).await;
    assert_eq!(closed(&mut line.socket).await, Some(CLOSE_VIOLATION));
    assert!(!world.file("a").exists(), "it ran");
}

#[tokio::test]
async fn a_warrant_out_of_sequence_is_refused() {
    refused(|_, mut good| {
        good.claims["seq"] = json!(2);
        vec![good.token()]
    })
    .await;
}

#[tokio::test]
async fn a_warrant_that_calls_itself_approved_is_refused() {
    refused(|_, mut good| {
        good.claims["approved"] = json!(true);
        vec![good.token()]
    })
    .await;
}

#[tokio::test]
async fn a_token_of_another_kind_is_no_warrant() {
    refused(|_, good| {
        let hello = Spoiled {
            kind: Kind::Hello,
            ..good
        };
        vec![hello.token()]
    })
    .await;
    refused(|_, _| vec!["nonsense".to_owned()]).await;
}

#[tokio::test]
async fn a_worker_with_a_key_that_is_not_pinned_gets_no_session() {
    let world = World::new().await;
    let impostor = SigningKey::generate().unwrap();
    assert!(world.line_by(&impostor).await.is_none());
    world.line().await;
}

#[tokio::test]
async fn a_call_ordered_again_in_a_later_session_is_answered_and_not_run_again() {
    let world = World::new().await;
    let append = json!({"path": "docs/a", "text": "line\n", "append": true});
    let mut line = world.line().await;
    let first = line.run("c1", "files.write", append.clone()).await;
    drop(line);
    let mut line = world.line().await;
    assert_eq!(line.run("c1", "files.write", append.clone()).await, first);
    assert_eq!(line.run("c1", "files.write", append).await, first);
    assert_eq!(fs::read_to_string(world.file("a")).unwrap(), "line\n");
}

#[tokio::test]
async fn a_change_can_be_undone_after_the_bridge_was_started_anew() {
    let mut world = World::new().await;
    fs::write(world.file("a"), "mine").unwrap();
    let mut line = world.line().await;
    let write = json!({"path": "docs/a", "text": "theirs"});
    line.run("c1", "files.write", write).await;
    let edits = json!([{"find": "theirs", "replace": "ours"}]);
    let edit = json!({"path": "docs/a", "edits": edits});
    assert_eq!(
        line.run("c2", "files.edit", edit).await,
        done("edited docs/a (1 replacement)\n@@ -1,1 +1,1 @@\n-theirs\n+ours")
    );
    let stopping = tokio::spawn(async move { closed(&mut line.socket).await });
    world.stop().await;
    stopping.await.unwrap();
    world.start(FAST);
    let mut line = world.line().await;
    for (call, undone, left) in [("c3", "c2", "theirs"), ("c4", "c1", "mine")] {
        let undo = json!({"call": undone});
        line.order(call, "files.undo", undo).await;
        let outcome = loop {
            // Results whose acknowledgement the stop has overtaken come first.
            let (answered, outcome, _) = line.result().await;
            line.acknowledge(&answered).await;
            if answered == call {
                break outcome;
            }
        };
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
        assert_eq!(fs::read_to_string(world.file("a")).unwrap(), left);
    }
}

#[tokio::test]
async fn a_result_is_kept_until_it_is_acknowledged_across_lines_and_restarts() {
    let mut world = World::new().await;
    let mut line = world.line().await;
    line.order("c1", "files.write", json!({"path": "docs/a", "text": "x"}))
        .await;
    let (_, first, receipt) = line.result().await;
    drop(line);
    let mut line = world.line().await;
    assert_eq!(
        line.result().await,
        ("c1".to_owned(), first.clone(), receipt.clone())
    );
    let stopping = tokio::spawn(async move { closed(&mut line.socket).await });
    world.stop().await;
    assert_eq!(stopping.await.unwrap(), Some(1001));
    world.start(FAST);
    let mut line = world.line().await;
    assert_eq!(line.result().await, ("c1".to_owned(), first, receipt));
    line.acknowledge("c1").await;
    let next = line.run("c2", "files.list", json!({})).await;
    assert!(matches!(next, Outcome::Done { .. }));
    drop(line);
    let mut line = world.line().await;
    line.order("c3", "files.list", json!({})).await;
    assert_eq!(line.result().await.0, "c3", "c1 and c2 are not sent again");
}

#[tokio::test]
async fn a_command_that_ends_while_the_line_is_down_is_told_at_once_on_the_next() {
    let world = World::new().await;
    let mut line = world.line().await;
    line.order("c1", "shell.run", json!({"argv": ["sleep", "0.3"]}))
        .await;
    drop(line);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut line = world.line().await;
    assert_eq!(line.result().await.1, done("exit code 0"));
}

#[tokio::test]
async fn a_command_cut_short_by_a_stop_is_reported_as_interrupted() {
    let mut world = World::new().await;
    let mut line = world.line().await;
    line.order("c1", "shell.run", json!({"argv": ["sleep", "60"]}))
        .await;
    // The list's result shows that the command before it has begun.
    line.run("c2", "files.list", json!({})).await;
    tokio::spawn(async move { closed(&mut line.socket).await });
    world.stop().await;
    world.start(FAST);
    let mut line = world.line().await;
    let mut told = line.result().await;
    if told.0 == "c2" {
        told = line.result().await; // its acknowledgement came too late for the stop
    }
    let (call, outcome, _) = told;
    assert_eq!(call, "c1");
    assert!(
        matches!(outcome, Outcome::Interrupted { .. }),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_call_can_be_called_off() {
    let world = World::new().await;
    let mut line = world.line().await;
    line.order("c1", "shell.run", json!({"argv": ["sleep", "60"]}))
        .await;
    line.order("c2", CANCEL, json!({"call": "c1"})).await;
    let (call, outcome, _) = line.result().await;
    assert_eq!(
        (call.as_str(), outcome),
        ("c2", done("c1 is being stopped"))
    );
    let (call, outcome, _) = line.result().await;
    assert_eq!((call.as_str(), outcome), ("c1", Outcome::Cancelled));
}

#[tokio::test]
async fn a_file_named_panic_freezes_every_call() {
    let world = World::new().await;
    let mut line = world.line().await;
    fs::write(world.home.path().join("panic"), "").unwrap();
    let frozen = line.run("c1", "files.list", json!({})).await;
    assert!(matches!(frozen, Outcome::Denied { .. }), "{frozen:?}");
    fs::remove_file(world.home.path().join("panic")).unwrap();
    let thawed = line.run("c2", "files.list", json!({})).await;
    assert!(matches!(thawed, Outcome::Done { .. }), "{thawed:?}");
}

#[tokio::test]
async fn a_worker_that_falls_silent_is_left_and_dialled_again() {
    let world = World::with(Timing {
        lease: Duration::from_millis(400),
        ..FAST
    })
    .await;
    let mut line = world.line().await;
    // Answered pings keep the line for longer than a lease.
    let alive = timeout(Duration::from_millis(1200), next_message(&mut line.socket)).await;
    assert!(alive.is_err(), "{alive:?}");
    // From here on nothing is answered, while the line stays open.
    let silent = line.socket;
    world.line().await;
    drop(silent);
}

/// A bridge whose pings are to be answered long before its lease is over.
const WATCHFUL: Timing = Timing {
    answer: Duration::from_millis(300),
    lease: Duration::from_secs(4),
    ..FAST
};

#[tokio::test]
async fn a_ping_that_nobody_answers_ends_the_line_long_before_the_lease() {
    let world = World::with(WATCHFUL).await;
    let mut line = world.line().await;
    let alive = timeout(Duration::from_millis(900), next_message(&mut line.socket)).await;
    assert!(alive.is_err(), "{alive:?}");
    let (silent, begun) = (line.socket, Instant::now());
    world.line().await;
    assert!(begun.elapsed() < WATCHFUL.lease, "{:?}", begun.elapsed());
    drop(silent);
}

#[tokio::test]
async fn any_byte_is_a_sign_of_life() {
    let world = World::with(WATCHFUL).await;
    let mut line = world.line().await;
    // No ping is answered; the parts of one frame come slowly.
    let frame = [&[0x89, 20][..], &[b'.'; 20]].concat(); // a WebSocket ping with twenty bytes
    for part in frame.chunks(2) {
        line.socket.get_mut().write_all(part).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let pong = loop {
        match line.socket.next().await.unwrap().unwrap() {
            Message::Text(_) => {}
            other @ (Message::Binary(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Close(_)
            | Message::Frame(_)) => break other,
        }
    };
    assert_eq!(pong, Message::Pong(vec![b'.'; 20].into()));
}

#[tokio::test]
async fn a_slow_line_with_a_file_on_it_has_the_whole_lease() {
    let world = World::with(WATCHFUL).await;
    fs::write(world.file("big"), vec![7; 300_000]).unwrap();
    let mut line = world.line().await;
    let order = json!({"path": "docs/big"});
    line.order("c1", "files.send", order).await;
    let start = next(&mut line.socket).await;
    assert!(
        matches!(start, Some(ToWorker::FileStart { .. })),
        "{start:?}"
    );
    let (call, until) = (CallId("c1".into()), WINDOW);
    say(&mut line.socket, &ToBridge::Credit { call, until }).await;
    // From here on nothing is read and nothing answered: as if the file were still on its way.
    let (silent, begun) = (line.socket, Instant::now());
    world.line().await;
    let took = begun.elapsed() + WATCHFUL.ping; // what was heard last came before
    assert!(took >= WATCHFUL.lease, "{took:?}");
    drop(silent);
}

#[tokio::test]
async fn a_changed_policy_is_told_anew() {
    let world = World::new().await;
    let mut line = world.line().await;
    let before = line.hello.policy_sha256.clone();
    let text = fs::read_to_string(world.home.policy()).unwrap();
    world
        .home
        .write(
            "policy.toml",
            &text.replace("access = \"write\"", "access = \"read\""),
        )
        .unwrap();
    closed(&mut line.socket).await;
    let mut line = world.line().await;
    assert_ne!(line.hello.policy_sha256, before);
    assert!(!line.hello.tools.contains(&"files.write".to_owned()));
    let denied = line
        .run("c1", "files.write", json!({"path": "docs/a", "text": ""}))
        .await;
    assert!(matches!(denied, Outcome::Denied { .. }), "{denied:?}");
}

#[tokio::test]
async fn a_broken_policy_is_told_and_the_last_good_one_stays_in_force_over_a_restart() {
    let mut world = World::new().await;
    let mut line = world.line().await;
    let before = line.hello.clone();
    assert_eq!(before.policy_fault, None);
    assert_eq!(before.asking_commands, before.commands);
    let text = fs::read_to_string(world.home.policy()).unwrap();
    let broken = format!("{text}\n[[command]]\nrun = [\"sh\"]\n");
    world.home.write("policy.toml", &broken).unwrap();
    closed(&mut line.socket).await;
    let line = world.line().await;
    let fault = line.hello.policy_fault.clone().unwrap();
    assert!(fault.contains("'sh' can run any other program"), "{fault}");
    let told = Hello {
        policy_fault: None,
        ..line.hello.clone()
    };
    assert_eq!(told, before);
    world.stop().await;
    drop(line);
    world.start(FAST);
    let mut line = world.line().await;
    assert_eq!(line.hello.policy_fault, Some(fault));
    let written = line
        .run("c1", "files.write", json!({"path": "docs/a", "text": "a"}))
        .await;
    assert!(matches!(written, Outcome::Done { .. }), "{written:?}");
    // Put right, it is told anew.
    world.home.write("policy.toml", &text).unwrap();
    closed(&mut line.socket).await;
    assert_eq!(world.line().await.hello, before);
}

#[tokio::test]
async fn a_refusal_at_the_door_says_what_to_do() {
    let world = World::new().await;
    let refuse = async || {
        let (stream, _) = timeout(PATIENCE, world.listener.accept())
            .await
            .unwrap()
            .unwrap();
        #[expect(clippy::result_large_err, reason = "tungstenite's callback")]
        let no = |_: &Request, _: Response| -> Result<Response, ErrorResponse> {
            let mut response = ErrorResponse::new(Some(r#"{"error":"who are you"}"#.to_owned()));
            *response.status_mut() = 401.try_into().unwrap();
            Err(response)
        };
        assert!(matches!(
            accept_hdr_async(stream, no).await,
            Err(Error::Http(_))
        ));
    };
    let said = async |begin: &str| {
        let told = async {
            loop {
                let error = world.home.state().last_error.unwrap_or_default();
                if error.starts_with(begin) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, told).await.expect(begin);
    };
    refuse().await;
    said("not paired (yet): confirm the six words").await;
    let mut line = world.line().await;
    let revoked = CloseFrame {
        code: CLOSE_REVOKED.into(),
        reason: "".into(),
    };
    line.socket.close(Some(revoked)).await.unwrap();
    said("revoked").await;
    refuse().await;
    said("revoked").await;
    let State {
        connected,
        accepted,
        ..
    } = world.home.state();
    assert_eq!((connected, accepted), (false, true));
}

#[tokio::test]
async fn the_journal_chains_every_call_and_its_head_travels() {
    let world = World::new().await;
    let mut line = world.line().await;
    let mut heads = Vec::new();
    for call in ["c1", "c2"] {
        line.order(call, "files.list", json!({})).await;
        let (_, _, receipt) = line.result().await;
        assert_eq!(receipt.policy_sha256, line.hello.policy_sha256);
        heads.push(receipt.audit_head);
    }
    assert_ne!(heads[0], heads[1]);
    let counts = Journal::look(&world.home.journal()).unwrap().unwrap();
    assert_eq!((counts.running, counts.waiting, counts.ended), (0, 2, 2));
}

/// A file as a Worker gives it: all of it true, until a test spoils it.
struct Gift {
    file: FileRef,
    bytes: Vec<u8>,
}

impl Gift {
    fn of(name: &str, bytes: Vec<u8>) -> Self {
        let file = FileRef {
            name: name.into(),
            mime: "application/pdf".into(),
            size: bytes.len() as u64,
            sha256: sha256_hex(&bytes),
        };
        Self { file, bytes }
    }

    fn large() -> Self {
        let numbers = (0..768_000_u32).flat_map(u32::to_le_bytes); // no two pieces of it alike
        Self::of("invoice.pdf", numbers.collect())
    }

    fn arguments(&self, to: &str) -> Value {
        json!({"file": given_id(&self.file.sha256), "to": to})
    }
}

impl Line {
    /// Orders that a file be saved, and hears the machine ask for it.
    async fn order_save(&mut self, call: &str, gift: &Gift, to: &str) {
        self.order(call, "files.save", gift.arguments(to)).await;
        let call = CallId(call.into());
        loop {
            match next(&mut self.socket).await {
                Some(ToWorker::Read { .. }) => {} // the last mark of a file before, behind its result
                told => return assert_eq!(told, Some(ToWorker::Want { call })),
            }
        }
    }

    async fn announces(&mut self, call: &str, file: &FileRef) {
        let (call, file) = (CallId(call.into()), file.clone());
        say(&mut self.socket, &ToBridge::FileStart { call, file }).await;
    }

    async fn sends_piece(&mut self, call: &str, offset: u64, bytes: &[u8]) {
        let chunk = Chunk {
            call: CallId(call.into()),
            offset,
            bytes: bytes.to_vec(),
        };
        // A bridge that has hung up meanwhile is what some tests wait for.
        self.socket.send(Message::binary(chunk.encode())).await.ok();
    }

    /// Sends bytes as a Worker does, a mark behind each stretch; never more marks on their way than there may be.
    async fn sends_bytes(&mut self, call: &str, bytes: &[u8]) {
        let (mut offset, mut waiting) = (0, Vec::new());
        for (number, stretch) in bytes.chunks(STRETCH).enumerate() {
            if waiting.len() == MARKS {
                self.hears_mark(&mut waiting).await;
            }
            for piece in stretch.chunks(MAX_CHUNK) {
                self.sends_piece(call, offset, piece).await;
                offset += piece.len() as u64;
            }
            let mark = format!("{call}-{number}");
            waiting.insert(0, mark.clone());
            let call = CallId(call.into());
            say(&mut self.socket, &ToBridge::Mark { call, mark }).await;
        }
        while waiting.len() > 1 {
            self.hears_mark(&mut waiting).await;
        }
    }

    async fn hears_mark(&mut self, waiting: &mut Vec<String>) {
        let mark = waiting.pop().unwrap();
        assert_eq!(
            next(&mut self.socket).await,
            Some(ToWorker::Read { mark }),
            "marks come back in order"
        );
    }

    /// The result of a call that may still say a last mark back before it.
    async fn result_of_save(&mut self) -> Outcome {
        loop {
            match next(&mut self.socket).await.unwrap() {
                ToWorker::Read { .. } => {}
                ToWorker::Result { outcome, .. } => return serde_json::from_str(&outcome).unwrap(),
                other @ (ToWorker::Answer { .. }
                | ToWorker::FileStart { .. }
                | ToWorker::Want { .. }
                | ToWorker::Waiting { .. }
                | ToWorker::Progress { .. }) => panic!("no result: {other:?}"),
            }
        }
    }
}

impl World {
    /// What lies in the open folder, hidden files too.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.file("")).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.unwrap().file_name().to_string_lossy().into_owned()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn a_file_that_its_owner_gave_is_saved_byte_for_byte_under_a_free_name_and_undone() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new().await;
    let mut line = world.line().await;
    let gift = Gift::large();
    for (call, name) in [("c1", "invoice.pdf"), ("c2", "invoice (2).pdf")] {
        line.order_save(call, &gift, "docs/").await;
        line.announces(call, &gift.file).await;
        line.sends_bytes(call, &gift.bytes).await;
        let hash = &gift.file.sha256[..16];
        let told = format!("saved to docs/{name} (3.0 MB, sha256 {hash}…)");
        assert_eq!(line.result_of_save().await, done(&told));
        line.acknowledge(call).await;
        assert_eq!(fs::read(world.file(name)).unwrap(), gift.bytes);
        let mode = fs::metadata(world.file(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let empty = Gift::of("empty", Vec::new());
    line.order_save("c3", &empty, "docs/new/e.txt").await;
    line.announces("c3", &empty.file).await;
    assert!(matches!(line.result_of_save().await, Outcome::Done { .. }));
    assert_eq!(
        world.names(),
        ["invoice (2).pdf", "invoice.pdf", "new"],
        "nothing is left beside them"
    );
    for call in ["c3", "c2"] {
        let undone = line
            .run(&format!("u-{call}"), "files.undo", json!({"call": call}))
            .await;
        assert!(matches!(undone, Outcome::Done { .. }), "{undone:?}");
    }
    assert_eq!(world.names(), ["invoice.pdf"]);
}

#[tokio::test]
async fn every_mark_comes_back_once_even_behind_a_files_last_byte() {
    let world = World::new().await;
    let mut line = world.line().await;
    for number in 0..20 {
        let (call, gift) = (format!("c{number}"), Gift::of("a.txt", vec![number]));
        line.order_save(&call, &gift, "docs/").await;
        line.announces(&call, &gift.file).await;
        line.sends_piece(&call, 0, &gift.bytes).await;
        let (id, mark) = (CallId(call.clone()), format!("m{number}"));
        let behind = ToBridge::Mark {
            call: id,
            mark: mark.clone(),
        };
        say(&mut line.socket, &behind).await;
        let (mut is_back, mut ended) = (false, false);
        while !(is_back && ended) {
            match next(&mut line.socket).await {
                Some(ToWorker::Read { mark: back }) => {
                    assert_eq!((back, is_back), (mark.clone(), false));
                    is_back = true;
                }
                Some(ToWorker::Result { .. }) => ended = true,
                other => panic!("{other:?}"),
            }
        }
        line.acknowledge(&call).await;
    }
}

#[tokio::test]
async fn a_file_that_is_cut_off_has_not_begun_and_comes_anew_once() {
    let mut world = World::new().await;
    let gift = Gift::large();
    let half = gift.bytes.len() / 2;
    for crashes in [false, true] {
        let mut line = world.line().await;
        line.order_save("c1", &gift, "docs/").await;
        line.announces("c1", &gift.file).await;
        line.sends_bytes("c1", &gift.bytes[..half]).await;
        let counts = Journal::look(&world.home.journal()).unwrap().unwrap();
        assert_eq!((counts.running, counts.ended), (0, 0), "not begun");
        if crashes {
            world.stop().await;
            world.start(FAST);
        }
    }
    let mut line = world.line().await;
    line.order_save("c1", &gift, "docs/").await;
    line.announces("c1", &gift.file).await;
    line.sends_bytes("c1", &gift.bytes).await;
    assert!(matches!(line.result_of_save().await, Outcome::Done { .. }));
    line.order("c1", "files.save", gift.arguments("docs/"))
        .await;
    let (again, _, _) = line.result().await;
    assert_eq!(again, "c1", "it is answered and not saved again");
    assert_eq!(world.names(), ["invoice.pdf"]);
}

type Spoil = fn(&mut Gift);

#[tokio::test]
async fn other_bytes_than_were_promised_are_not_kept() {
    let world = World::new().await;
    let mut line = world.line().await;
    let lies: [(&str, Spoil); 3] = [
        ("other bytes of that length", |gift| gift.bytes[7] ^= 1),
        ("a hash that only begins as the call says", |gift| {
            gift.file.sha256.replace_range(40.., &"0".repeat(24));
        }),
        ("another file, true in itself", |gift| {
            *gift = Gift::of("invoice.pdf", b"something else".to_vec());
        }),
    ];
    for (number, (what, spoil)) in lies.into_iter().enumerate() {
        let call = format!("c{number}");
        let mut gift = Gift::of("invoice.pdf", b"what the owner gave".to_vec());
        line.order_save(&call, &gift, "docs/").await;
        spoil(&mut gift);
        line.announces(&call, &gift.file).await;
        line.sends_bytes(&call, &gift.bytes).await;
        let damaged = "'invoice.pdf' arrived damaged and was not kept; try again";
        assert_eq!(
            line.result_of_save().await,
            Outcome::failed(damaged),
            "{what}"
        );
        line.acknowledge(&call).await;
    }
    let gift = Gift::large();
    line.order_save("c9", &gift, "docs/").await;
    let call = CallId("c9".into());
    say(&mut line.socket, &ToBridge::FileMissing { call }).await;
    let Outcome::Failed { reason } = line.result_of_save().await else {
        panic!("a file that is not there was saved");
    };
    assert!(reason.contains("attach it again"), "{reason}");
    assert!(world.names().is_empty());
}

#[tokio::test]
async fn a_worker_that_sends_what_was_not_asked_for_is_hung_up_on() {
    let world = World::new().await;
    let gift = Gift::large();
    let tries = [
        "beyond",
        "twice",
        "gap",
        "another call",
        "too early",
        "a flood",
    ];
    for what in tries {
        let mut line = world.line().await;
        line.order_save("c1", &gift, "docs/").await;
        match what {
            "beyond" => {
                let mut short = gift.file.clone();
                short.size = 10;
                line.announces("c1", &short).await;
                line.sends_piece("c1", 0, &gift.bytes[..11]).await;
            }
            "twice" => {
                line.announces("c1", &gift.file).await;
                line.sends_piece("c1", 0, &gift.bytes[..10]).await;
                line.sends_piece("c1", 0, &gift.bytes[..10]).await;
            }
            "gap" => {
                line.announces("c1", &gift.file).await;
                line.sends_piece("c1", 1, &gift.bytes[..10]).await;
            }
            "another call" => {
                line.announces("c1", &gift.file).await;
                line.sends_piece("c2", 0, &gift.bytes[..10]).await;
            }
            "too early" => line.sends_piece("c1", 0, &gift.bytes[..10]).await,
            _ => {
                line.announces("c1", &gift.file).await;
                line.announces("c1", &gift.file).await;
            }
        }
        assert_eq!(
            closed(&mut line.socket).await,
            Some(CLOSE_VIOLATION),
            "{what}"
        );
    }
    let mut line = world.line().await;
    line.order_save("c1", &gift, "docs/").await;
    line.announces("c1", &gift.file).await;
    line.sends_bytes("c1", &gift.bytes).await;
    assert!(matches!(line.result_of_save().await, Outcome::Done { .. }));
    assert_eq!(world.names(), ["invoice.pdf"]);
}

#[tokio::test]
async fn a_file_that_stops_coming_is_given_up_and_one_that_is_called_off_leaves_nothing() {
    let impatient = Timing {
        lease: Duration::from_secs(2),
        ..FAST
    };
    let world = World::with(impatient).await;
    let mut line = world.line().await;
    let gift = Gift::large();
    line.order_save("c1", &gift, "docs/").await;
    line.announces("c1", &gift.file).await;
    line.sends_piece("c1", 0, &gift.bytes[..10]).await;
    let stopped = "'invoice.pdf' stopped coming half-way and was not kept; try again";
    assert_eq!(line.result_of_save().await, Outcome::failed(stopped));
    line.sends_piece("c1", 10, &gift.bytes[10..20]).await; // on its way when it was given up

    line.order_save("c2", &gift, "docs/").await;
    line.announces("c2", &gift.file).await;
    line.sends_piece("c2", 0, &gift.bytes[..10]).await;
    line.order("x2", CANCEL, json!({"call": "c2"})).await;
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let (call, outcome, _) = line.result().await;
        outcomes.push((call, outcome));
    }
    outcomes.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        outcomes,
        [
            ("c2".to_owned(), Outcome::Cancelled),
            ("x2".to_owned(), done("c2 had not begun and will not"))
        ]
    );
    timeout(PATIENCE, async {
        while !world.names().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("its half goes with it");
}

#[tokio::test]
async fn a_file_that_comes_while_the_policy_changes_is_not_saved_under_the_old_one() {
    for comes_whole in [true, false] {
        let world = World::new().await;
        let mut line = world.line().await;
        let gift = Gift::of("a.txt", vec![7; 20]);
        line.order_save("c1", &gift, "docs/").await;
        line.announces("c1", &gift.file).await;
        line.sends_piece("c1", 0, &gift.bytes[..10]).await;
        let text = fs::read_to_string(world.home.policy()).unwrap();
        let closed = text.replace("access = \"write\"", "access = \"read\"");
        world.home.write("policy.toml", &closed).unwrap();
        if comes_whole {
            line.sends_piece("c1", 10, &gift.bytes[10..]).await;
        }
        let told = "policy.toml was changed while the file came, and it was not saved; try again";
        assert_eq!(line.result_of_save().await, Outcome::failed(told));
        assert!(world.names().is_empty());
    }
}

#[tokio::test]
async fn a_file_that_is_whole_after_the_home_was_frozen_is_not_saved() {
    let world = World::new().await;
    let mut line = world.line().await;
    let gift = Gift::of("a.txt", vec![7; 20]);
    line.order_save("c1", &gift, "docs/").await;
    line.announces("c1", &gift.file).await;
    line.sends_piece("c1", 0, &gift.bytes[..10]).await;
    world.home.write("panic", "").unwrap();
    line.sends_piece("c1", 10, &gift.bytes[10..]).await;
    assert_eq!(line.result_of_save().await, Outcome::Cancelled);
    assert!(world.names().is_empty());
}

#[tokio::test]
async fn the_name_that_a_file_brings_is_made_safe_and_places_keep_their_law() {
    let world = World::new().await;
    let mut line = world.line().await;
    let long = format!("{}.pdf", "é".repeat(300));
    let safe = format!("{}.pdf", "é".repeat(98));
    for (number, (brought, name)) in [
        ("../../etc/passwd", "passwd"),
        ("a\nb\u{202e}fdp.exe", "abfdp.exe"),
        ("..", "file"),
        (".bashrc", "bashrc"),
        (long.as_str(), safe.as_str()),
    ]
    .into_iter()
    .enumerate()
    {
        let (call, gift) = (format!("c{number}"), Gift::of(brought, vec![1]));
        line.order_save(&call, &gift, "docs/").await;
        line.announces(&call, &gift.file).await;
        line.sends_bytes(&call, &gift.bytes).await;
        let outcome = line.result_of_save().await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
        assert!(
            world.file(name).exists(),
            "{brought:?}: {:?}",
            world.names()
        );
        fs::remove_file(world.file(name)).unwrap();
    }
    let gift = Gift::large();
    for (number, to) in ["docs/../x", "docs/.ssh/a", "/etc/x", "docs/.git/hooks/a"]
        .into_iter()
        .enumerate()
    {
        let outcome = line
            .run(&format!("d{number}"), "files.save", gift.arguments(to))
            .await;
        let refused = matches!(outcome, Outcome::Denied { .. } | Outcome::Failed { .. });
        assert!(refused, "{to}: {outcome:?}");
    }
    assert!(world.names().is_empty());
}
