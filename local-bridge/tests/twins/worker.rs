//! A Worker that is not the one this machine was paired with, at the end of a real tunnel.

use crate::machine::NOW;
use futures::{SinkExt, StreamExt};
use local_bridge::home::{Home, Pairing};
use local_bridge::tunnel::{Backoff, Timing, Tunnel};
use protocol::call::{CallId, ToolName};
use protocol::key::{KeyId, PublicKey, SigningKey, random_text};
use protocol::session::{Access, Transcript, session_id};
use protocol::token::{Binding, Kind, issue};
use protocol::warrant::Warrant;
use protocol::{ToBridge, ToWorker, VERSION, read_frame, write_frame};
use serde_json::json;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

const PATIENCE: Duration = Duration::from_secs(30);

const FAST: Backoff = Backoff {
    first: Duration::from_millis(5),
    soon: Duration::ZERO,
    most: Duration::from_millis(20),
};

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Option<ToWorker> {
    loop {
        match timeout(PATIENCE, socket.next()).await.unwrap()? {
            Ok(Message::Text(text)) if text.as_str() == "ping" => {}
            Ok(Message::Text(text)) => return read_frame(&text).ok(),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

async fn say(socket: &mut WebSocketStream<TcpStream>, frame: &ToBridge) {
    // Whoever was hung up on speaks in vain.
    socket.send(Message::text(write_frame(frame))).await.ok();
}

/// What a Worker does that has `evil` and no other key: proves itself as well as it can, and orders a file.
async fn attack(listener: &TcpListener, bridge: &PublicKey, pinned: &KeyId, evil: &SigningKey) {
    let (stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let socket = &mut accept_async(stream).await.unwrap();
    let (version, nonce) = (VERSION, random_text().unwrap());
    let challenge = ToBridge::Challenge {
        version,
        nonce: nonce.clone(),
    };
    say(socket, &challenge).await;
    let answer = next(socket).await;
    let Some(ToWorker::Answer {
        nonce: bridge_nonce,
        hello,
        signature: theirs,
    }) = answer
    else {
        panic!("{answer:?}");
    };
    let KeyId(bridge_id) = bridge.id();
    let transcript = Transcript {
        bridge: &bridge_id,
        command_key: &pinned.0,
        worker_nonce: &nonce,
        bridge_nonce: &bridge_nonce,
        version,
        hello: &hello,
    };
    let signature = evil.sign(&transcript.worker_bytes());
    let session = session_id(&transcript, &theirs, &signature);
    say(socket, &ToBridge::Welcome { signature }).await;
    let claims = Warrant {
        seq: 1,
        call: CallId("c1".into()),
        tool: ToolName::new("files.write"),
        arguments: json!({"path": "docs/stolen", "text": "x"}),
        asked: true,
    };
    let binding = Binding {
        issuer: pinned,
        audience: &bridge.id(),
        nonce: Some(&session),
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(since.as_millis()).unwrap();
    assert!(now > NOW - 10 * 365 * 86_400_000, "the clock is set");
    let warrant = issue(Kind::Warrant, evil, binding, &claims, now).unwrap();
    say(socket, &ToBridge::Run { warrant }).await;
    // The result, or the end of the connection.
    next(socket).await;
}

/// Whether the false Worker gets its file written by a machine that has pinned the right key, or the one that happened to be there.
async fn writes(pins_at_first_sight: bool) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let docs = folder.path().join("docs");
    fs::create_dir(&docs).unwrap();
    let home = Home::open(&folder.path().join("home")).unwrap();
    let roots = [("docs".into(), docs.clone(), Access::Write)];
    local_bridge::policy::init(
        &home,
        &roots,
        &[],
        local_bridge::policy::Sandbox::None,
        false,
    )
    .unwrap();
    let (command, evil) = (
        SigningKey::generate().unwrap(),
        SigningKey::generate().unwrap(),
    );
    let pinned = if pins_at_first_sight { &evil } else { &command }.public();
    let bridge = home.make_key().unwrap().public();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    home.pair(&Pairing {
        worker: format!("http://{}", listener.local_addr().unwrap()),
        command_key: pinned.to_text(),
        name: "mac-mini".into(),
        bridge: bridge.id().0,
    })
    .unwrap();
    let timing = Timing {
        ping: Duration::from_secs(5),
        answer: PATIENCE,
        lease: PATIENCE,
        dial: PATIENCE,
        retry: FAST,
        refused: FAST,
        healthy: PATIENCE,
    };
    let stop = watch::Sender::new(false);
    let tunnel = Tunnel::open(&home, timing, stop.subscribe()).unwrap();
    let running = tokio::spawn(tunnel.run());
    attack(&listener, &bridge, &pinned.id(), &evil).await;
    stop.send_replace(true);
    timeout(PATIENCE, running).await.unwrap().unwrap();
    docs.join("stolen").exists()
}

#[tokio::test]
async fn a_false_worker_succeeds_only_without_the_pinned_key() {
    assert!(!writes(false).await);
    assert!(writes(true).await);
}
