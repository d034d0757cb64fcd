//! A machine that lies, breaks the rules or falls silent: only what its receipts prove is told, and the honest are heard again.

use crate::attacks::{hello, joined, now, upgrade};
use crate::kit::World;
use crate::kit::console::Console;
use crate::kit::person::{PATIENCE, Person, acknowledged};
use futures::{SinkExt, StreamExt};
use protocol::call::{CallId, FileRef, Outcome, ToolName};
use protocol::chunk::{Chunk, MARKS, STRETCH};
use protocol::key::{PublicKey, SigningKey, random_text, sha256_hex};
use protocol::session::{Access, Hello, Root, Transcript, session_id};
use protocol::token::{self, Binding, Kind, LIFE_SECONDS};
use protocol::warrant::{CANCEL, Receipt, Warrant};
use protocol::{
    CLOSE_VIOLATION, LEASE_SECONDS, PING, PONG, ToBridge, ToWorker, VERSION, read_frame,
    write_frame,
};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// A paired machine without a bridge: it says what the story wants.
struct Fake<'w> {
    world: &'w World,
    key: SigningKey,
    command_key: PublicKey,
}

/// One connection that both sides have proven.
struct Session<'w> {
    fake: &'w Fake<'w>,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    id: String,
    seq: u64,
}

/// What a receipt is made of, so that a lie is one field of it.
struct Proof {
    key: SigningKey,
    session: String,
    call: CallId,
    call_sha256: String,
    outcome: String,
    issued: i64,
}

type Lie = (&'static str, fn(&mut Proof, &str));

/// Each makes an honest proof a false one; the text is an earlier session's name.
const LIES: [Lie; 7] = [
    ("by another key", |proof, _| {
        proof.key = SigningKey::generate().expect("the system has randomness");
    }),
    ("for another outcome", |proof, _| {
        proof.outcome = text_of(&Outcome::done("something else"));
    }),
    ("for a call of another name", |proof, _| {
        proof.call = CallId("another-call".into());
    }),
    ("for a call of other arguments", |proof, _| {
        proof.call_sha256 = token::call_hash(&ToolName::new("files.list"), &json!({"path": ""}));
    }),
    ("for an earlier session", |proof, earlier| {
        earlier.clone_into(&mut proof.session);
    }),
    ("that has expired", |proof, _| {
        proof.issued -= 2 * i64::try_from(LIFE_SECONDS * 1000).expect("half a minute is short");
    }),
    ("from the future", |proof, _| {
        proof.issued += 2 * i64::try_from(LIFE_SECONDS * 1000).expect("half a minute is short");
    }),
];

#[tokio::test]
async fn only_what_a_receipt_proves_is_told_and_after_each_lie_the_truth_is_heard_once() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let fake = Fake::paired(&world, &ada).await;
    let mut session = fake.connects().await;
    ada.says("list playground").await;
    let call = session.is_ordered("files.list").await;
    session.tells(&call, &Outcome::done("honest-0.txt")).await;
    session.is_acknowledged(&call).await;
    ada.hears("honest-0.txt").await;

    for (number, (what, lie)) in LIES.iter().enumerate() {
        let earlier = session.id;
        session = fake.connects().await;
        ada.says("list playground").await;
        let call = session.is_ordered("files.list").await;
        let outcome = text_of(&Outcome::done("invented.txt"));
        let mut proof = session.proof(&call, &outcome);
        lie(&mut proof, &earlier);
        let receipt = proof.receipt(&fake);
        session.sends(&result(&call, &outcome, receipt)).await;
        let close = session.is_closed().await;
        assert_eq!(u16::from(close.code), CLOSE_VIOLATION, "a receipt {what}");

        session = fake.connects().await;
        let again = session.is_ordered("files.list").await;
        assert_eq!(again.call, call.call, "the call did not stay the same");
        let honest = format!("honest-{}.txt", number + 1);
        session.tells(&again, &Outcome::done(&honest)).await;
        session.is_acknowledged(&again).await;
        ada.hears(&honest).await;
        assert_eq!(
            [ada.times_heard("invented.txt"), ada.times_heard(&honest)],
            [0, 1],
            "after a receipt {what}"
        );
    }
    world.ends_well();
}

#[tokio::test]
async fn what_comes_behind_a_violation_counts_for_nothing_and_a_long_reason_closes_as_well() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let fake = Fake::paired(&world, &ada).await;
    let mut session = fake.connects().await;
    ada.says("list playground").await;
    let call = session.is_ordered("files.list").await;

    let late = text_of(&Outcome::done("too-late.txt"));
    let receipt = session.proof(&call, &late).receipt(&fake);
    let valid = write_frame(&result(&call, &late, receipt));
    session.sends_at_once(["{".to_owned(), valid]).await;
    let close = session.is_closed().await;
    assert_eq!(u16::from(close.code), CLOSE_VIOLATION);

    let mut session = fake.connects().await;
    let again = session.is_ordered("files.list").await;
    assert_eq!(again.call, call.call, "the call did not stay open");
    let unknown = json!({"type": "x".repeat(300)}).to_string();
    session.sends_at_once([unknown]).await;
    let close = session.is_closed().await;
    assert_eq!(u16::from(close.code), CLOSE_VIOLATION);
    assert!(close.reason.contains("xxx"), "{:?}", close.reason);

    let mut session = fake.connects().await;
    let again = session.is_ordered("files.list").await;
    session.tells(&again, &Outcome::done("honest.txt")).await;
    session.is_acknowledged(&again).await;
    ada.hears("honest.txt").await;
    assert_eq!(
        [
            ada.times_heard("too-late.txt"),
            ada.times_heard("honest.txt")
        ],
        [0, 1]
    );
    world.ends_well();
}

#[tokio::test]
async fn a_file_counts_only_if_it_was_ordered_and_its_bytes_are_those_that_were_promised() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let fake = Fake::paired(&world, &ada).await;
    let mut session = fake.connects().await;
    session
        .sends(&file_start(&CallId("nobodys-call".into()), 3))
        .await;
    let close = session.is_closed().await;
    assert_eq!(u16::from(close.code), CLOSE_VIOLATION);

    let mut session = fake.connects().await;
    for (promised, is_sent) in [(b"the true bytes", true), (b"some old bytes", false)] {
        ada.says("send playground/gift.bin").await;
        let call = session.is_ordered("files.send").await;
        let bytes = b"the true bytes";
        session.sends(&file_start(&call.call, bytes.len())).await;
        session.has_credit(&call).await;
        session.sends_piece(&call, 0, bytes).await;
        session.has_credit(&call).await;
        let file = FileRef {
            name: "gift.bin".into(),
            mime: "application/octet-stream".into(),
            size: bytes.len() as u64,
            sha256: sha256_hex(promised),
        };
        let outcome = Outcome::Done {
            text: "Here it is.".into(),
            file: Some(file),
        };
        session.tells(&call, &outcome).await;
        session.is_acknowledged(&call).await;
        if is_sent {
            ada.hears_that("the file", |deed| deed.document.is_some())
                .await;
        } else {
            ada.hears("damaged").await;
        }
    }
    let documents = ada.messages();
    let documents = documents.iter().filter(|deed| deed.document.is_some());
    assert_eq!(documents.count(), 1, "a damaged file was sent");
    world.ends_well();
}

#[tokio::test]
async fn a_file_that_was_called_off_on_its_way_leaves_the_socket_open() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let fake = Fake::paired(&world, &ada).await;
    let mut session = fake.connects().await;
    ada.says("send playground/gift.bin").await;
    let call = session.is_ordered("files.send").await;
    session.sends(&file_start(&call.call, 100)).await;
    session.has_credit(&call).await;
    session.sends_piece(&call, 0, b"a beginning").await;

    ada.says("/stop").await;
    ada.hears("Stopped").await;
    let cancel = session.is_ordered(CANCEL).await;
    assert_eq!(cancel.arguments, json!({"call": call.call}));
    session.sends_piece(&call, 11, b"what was on its way").await;
    session.sends(&file_start(&call.call, 100)).await;

    // The next that comes over the same socket is neither credit nor an end.
    ada.says("list playground").await;
    let list = session.is_ordered("files.list").await;
    session.tells(&list, &Outcome::done("honest.txt")).await;
    session.is_acknowledged(&list).await;
    ada.hears("honest.txt").await;
    world.ends_well();
}

#[tokio::test]
async fn a_machine_gets_the_file_that_its_own_open_call_names_and_never_more_than_it_has_read() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let fake = Fake::paired(&world, &ada).await;
    let link = world.sign_in_link(&ada).await;
    let mut page = Console::sign_in(&world.runtime.url, &link).await;
    let mut session = fake.connects().await;
    let bytes = vec![7; 4 * STRETCH];
    let given = page.gives("gift.bin", bytes.clone()).await;
    let id = given["id"].as_str().expect("an id").to_owned();

    page.says("list playground").await;
    let list = session.is_ordered("files.list").await;
    for (call, what) in [
        (CallId("nobodys-call".into()), "a call that is none"),
        (list.call.clone(), "a call that saves nothing"),
    ] {
        session.sends(&ToWorker::Want { call }).await;
        let close = session.is_closed().await;
        assert_eq!(u16::from(close.code), CLOSE_VIOLATION, "{what}");
        session = fake.connects().await;
        session.is_ordered("files.list").await;
    }
    session.tells(&list, &Outcome::done("honest.txt")).await;
    session.is_acknowledged(&list).await;
    page.hears("honest.txt").await;

    // Another machine of the same person asks for what was ordered from this one.
    page.says_with("save it to playground", &[&id]).await;
    let save = session.is_ordered("files.save").await;
    let call = save.call.clone();
    let other = Fake::paired(&world, &ada).await;
    let mut others = other.connects().await;
    others.sends(&ToWorker::Want { call: call.clone() }).await;
    let close = others.is_closed().await;
    assert_eq!(u16::from(close.code), CLOSE_VIOLATION);

    // Two stretches come, and then, however often it is asked for, nothing until a mark is said back.
    for _ in 0..3 {
        session.sends(&ToWorker::Want { call: call.clone() }).await;
    }
    let (mut marks, mut came, mut starts) = (Vec::new(), 0, 0);
    while marks.len() < MARKS || starts < 3 {
        match session.hears().await {
            Message::Binary(piece) => came += Chunk::decode(&piece).expect("a piece").bytes.len(),
            Message::Text(text) => match read_frame(&text).expect("the bridge's language") {
                ToBridge::FileStart { .. } => starts += 1,
                ToBridge::Mark { mark, .. } => marks.push(mark),
                other @ (ToBridge::Challenge { .. }
                | ToBridge::Welcome { .. }
                | ToBridge::Run { .. }
                | ToBridge::Acknowledged { .. }
                | ToBridge::Credit { .. }
                | ToBridge::FileMissing { .. }) => panic!("{other:?}"),
            },
            other @ (Message::Ping(_)
            | Message::Pong(_)
            | Message::Close(_)
            | Message::Frame(_)) => {
                panic!("{other:?}")
            }
        }
    }
    session.socket.send(Message::text(PING)).await.unwrap();
    assert_eq!(session.hears().await, Message::text(PONG), "more came");
    assert!(came <= MARKS * STRETCH, "{came} bytes came unread");

    let mark = "AAECAwQFBgcICQoLDA0ODw".to_owned();
    session.sends(&ToWorker::Read { mark }).await;
    let close = session.is_closed().await;
    assert_eq!(u16::from(close.code), CLOSE_VIOLATION, "a mark of its own");

    // An honest one that has read them gets the rest.
    let mut session = fake.connects().await;
    let save = session.is_ordered("files.save").await;
    assert_eq!(save.call, call, "the call did not stay the same");
    session.sends(&ToWorker::Want { call: call.clone() }).await;
    let mut whole = Vec::new();
    while whole.len() < bytes.len() {
        match session.hears().await {
            Message::Binary(piece) => {
                let piece = Chunk::decode(&piece).expect("a piece");
                assert_eq!((piece.offset, &piece.call), (whole.len() as u64, &call));
                whole.extend(piece.bytes);
            }
            Message::Text(text) => {
                if let ToBridge::Mark { mark, .. } = read_frame(&text).expect("its language") {
                    session.sends(&ToWorker::Read { mark }).await;
                }
            }
            other @ (Message::Ping(_)
            | Message::Pong(_)
            | Message::Close(_)
            | Message::Frame(_)) => {
                panic!("{other:?}")
            }
        }
    }
    assert!(whole == bytes, "other bytes");
    world.ends_well();
}

#[tokio::test]
async fn a_machine_that_falls_silent_for_longer_than_its_lease_counts_as_away() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let fake = Fake::paired(&world, &ada).await;
    let mut session = fake.connects().await;
    sleep(Duration::from_secs(LEASE_SECONDS) + Duration::from_millis(1500)).await; // the silence itself

    ada.says("list playground").await;
    ada.hears("is not connected").await;
    session.socket.send(Message::text(PING)).await.unwrap();
    let next = session.hears().await;
    assert_eq!(
        next,
        Message::text(PONG),
        "it was not the silence but an order or an end"
    );
    world.ends_well();
}

#[tokio::test]
async fn rare_methods_are_not_taken_for_get_and_the_last_date_there_is_is_a_date() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let healthz = world.url("/healthz");
    for (method, is_served) in [
        ("GET", true),
        ("PROPFIND", false),
        ("LOCK", false),
        ("QUERY", false),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = world.client.request(method.clone(), &healthz);
        let status = request.send().await.unwrap().status();
        assert_eq!(status.is_success(), is_served, "{method}: {status}");
    }

    let mut update = ada.text_update("hello");
    update["message"]["date"] = json!(i64::MAX);
    acknowledged(world.webhook(update.to_string()).await).await;
    ada.says("list playground").await;
    ada.hears("/pair").await;
    world.ends_well();
}

impl<'w> Fake<'w> {
    async fn paired(world: &'w World, person: &Person<'_>) -> Self {
        let key = SigningKey::generate().expect("the system has randomness");
        let command_key = joined(world, person, &key).await;
        Self {
            world,
            key,
            command_key,
        }
    }

    /// Dials, proves itself, and checks the Worker's proof.
    async fn connects(&'w self) -> Session<'w> {
        let token = hello(Kind::Hello, &self.key, &self.command_key);
        let request = upgrade(self.world, &format!("Bearer {token}"), "/bridge");
        let (socket, _) = connect_async(request).await.expect("the socket opens");
        let mut session = Session {
            fake: self,
            socket,
            id: String::new(),
            seq: 0,
        };
        let ToBridge::Challenge { version, nonce } = session.frame().await else {
            panic!("no challenge came first");
        };
        assert_eq!(version, VERSION);
        let (bridge, command_key) = (self.key.public().id(), self.command_key.id());
        let (own_nonce, hello) = (random_text().expect("the system has randomness"), says());
        let transcript = Transcript {
            bridge: &bridge.0,
            command_key: &command_key.0,
            worker_nonce: &nonce,
            bridge_nonce: &own_nonce,
            version: VERSION,
            hello: &hello,
        };
        let own = self.key.sign(&transcript.bridge_bytes());
        let answer = ToWorker::Answer {
            nonce: own_nonce.clone(),
            hello: hello.clone(),
            signature: own.clone(),
        };
        session.sends(&answer).await;
        let ToBridge::Welcome { signature } = session.frame().await else {
            panic!("no welcome followed the answer");
        };
        self.command_key
            .verify(&transcript.worker_bytes(), &signature)
            .expect("the Worker proves itself");
        session.id = session_id(&transcript, &own, &signature);
        session
    }
}

impl Session<'_> {
    /// The next order, which is for this tool, the session's next and truly the Worker's.
    async fn is_ordered(&mut self, tool: &str) -> Warrant {
        let frame = self.frame().await;
        let ToBridge::Run { warrant } = &frame else {
            panic!("no order for {tool} but {frame:?}");
        };
        let (issuer, audience) = (self.fake.command_key.id(), self.fake.key.public().id());
        let binding = Binding {
            issuer: &issuer,
            audience: &audience,
            nonce: Some(&self.id),
        };
        let key = &self.fake.command_key;
        let warrant: Warrant = token::check(Kind::Warrant, key, binding, warrant, now())
            .expect("a true warrant")
            .claims;
        self.seq += 1;
        assert_eq!((warrant.seq, warrant.tool.0.as_str()), (self.seq, tool));
        warrant
    }

    async fn is_acknowledged(&mut self, order: &Warrant) {
        let call = order.call.clone();
        assert_eq!(self.frame().await, ToBridge::Acknowledged { call });
    }

    async fn has_credit(&mut self, order: &Warrant) {
        let frame = self.frame().await;
        assert!(
            matches!(&frame, ToBridge::Credit { call, .. } if *call == order.call),
            "no credit but {frame:?}"
        );
    }

    /// Waits for the socket's end and the reason that the Worker gives.
    async fn is_closed(&mut self) -> CloseFrame {
        let heard = self.hears().await;
        let Message::Close(Some(frame)) = heard else {
            panic!("no end but {heard:?}");
        };
        frame
    }

    async fn frame(&mut self) -> ToBridge {
        let heard = self.hears().await;
        let Message::Text(text) = &heard else {
            panic!("no frame but {heard:?}");
        };
        read_frame(text).expect("the bridge's language")
    }

    async fn hears(&mut self) -> Message {
        timeout(PATIENCE, self.socket.next())
            .await
            .expect("the Worker says something")
            .expect("the socket tells its end")
            .expect("frames can be read")
    }

    /// An honest result.
    async fn tells(&mut self, order: &Warrant, outcome: &Outcome) {
        let outcome = text_of(outcome);
        let receipt = self.proof(order, &outcome).receipt(self.fake);
        self.sends(&result(order, &outcome, receipt)).await;
    }

    fn proof(&self, order: &Warrant, outcome: &str) -> Proof {
        Proof {
            key: self.fake.key.clone(),
            session: self.id.clone(),
            call: order.call.clone(),
            call_sha256: token::call_hash(&order.tool, &order.arguments),
            outcome: outcome.to_owned(),
            issued: now(),
        }
    }

    async fn sends_piece(&mut self, order: &Warrant, offset: u64, bytes: &[u8]) {
        let chunk = Chunk {
            call: order.call.clone(),
            offset,
            bytes: bytes.to_vec(),
        };
        let sent = self.socket.send(Message::binary(chunk.encode())).await;
        sent.expect("the socket is open");
    }

    async fn sends(&mut self, frame: &ToWorker) {
        self.sends_at_once([write_frame(frame)]).await;
    }

    /// Sends texts in one go: the later ones are on their way before the first can be answered.
    async fn sends_at_once(&mut self, texts: impl IntoIterator<Item = String>) {
        for text in texts {
            let fed = self.socket.feed(Message::text(text)).await;
            fed.expect("the socket is open");
        }
        self.socket.flush().await.expect("the socket is open");
    }
}

impl Proof {
    /// The receipt, which claims to be by the machine's key whoever signs it.
    fn receipt(&self, fake: &Fake<'_>) -> String {
        let (issuer, audience) = (fake.key.public().id(), fake.command_key.id());
        let binding = Binding {
            issuer: &issuer,
            audience: &audience,
            nonce: Some(&self.session),
        };
        let claims = Receipt {
            call: self.call.clone(),
            call_sha256: self.call_sha256.clone(),
            outcome_sha256: sha256_hex(self.outcome.as_bytes()),
            at: self.issued,
            policy_sha256: sha256_hex(b"a policy"),
            audit_head: sha256_hex(b"a log"),
        };
        token::issue(Kind::Receipt, &self.key, binding, &claims, self.issued)
            .expect("a key can sign")
    }
}

/// What the machine says of itself.
fn says() -> String {
    let hello = Hello {
        version: "0.0.0".into(),
        platform: "linux".into(),
        tools: ["files.list", "files.search", "files.send", "files.save"]
            .map(str::to_owned)
            .to_vec(),
        roots: vec![Root {
            name: "playground".into(),
            access: Access::Write,
        }],
        commands: Vec::new(),
        asking_commands: Vec::new(),
        asking_tools: Vec::new(),
        free_commands: Vec::new(),
        home_commands: Vec::new(),
        home_tools: Vec::new(),
        sandbox: String::new(),
        policy_fault: None,
        policy_sha256: sha256_hex(b"a policy"),
    };
    serde_json::to_string(&hello).expect("a hello is JSON")
}

fn file_start(call: &CallId, size: usize) -> ToWorker {
    ToWorker::FileStart {
        call: call.clone(),
        name: "gift.bin".into(),
        mime: "application/octet-stream".into(),
        size: size as u64,
    }
}

fn result(order: &Warrant, outcome: &str, receipt: String) -> ToWorker {
    ToWorker::Result {
        call: order.call.clone(),
        outcome: outcome.to_owned(),
        receipt,
    }
}

fn text_of(outcome: &Outcome) -> String {
    serde_json::to_string(outcome).expect("an outcome is JSON")
}
