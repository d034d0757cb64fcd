//! The pairing handshake against a Worker that is an HTTP server in this process.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use local_bridge::home::{Home, Kept, Pairing, Wish};
use local_bridge::pair::{Paired, pair};
use protocol::key::SigningKey;
use protocol::pairing::{Link, Request, fingerprint, six_words};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

/// Answers one request with what `answer` makes of it, and gives the address.
fn worker<F>(answer: F) -> (String, JoinHandle<()>)
where
    F: FnOnce(Request) -> (u16, String) + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (status, body) = answer(read(&stream));
        write!(
            stream,
            "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
    });
    (address, serving)
}

fn read(stream: &TcpStream) -> Request {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "POST /bridge/pair HTTP/1.1\r\n");
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn link(worker: &str, command: &SigningKey) -> Link {
    Link {
        worker: worker.to_owned(),
        pairing: "p1".into(),
        secret: "AAECAwQFBgcICQoLDA0ODw".into(),
        fingerprint: fingerprint(&command.public()),
    }
}

fn home() -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::open(&folder.path().join("home")).unwrap();
    (folder, home)
}

#[test]
fn a_pairing_is_remembered_and_both_sides_have_the_same_words() {
    let (_folder, home) = home();
    let command = SigningKey::generate().unwrap();
    let theirs = command.clone();
    let (address, serving) = worker(move |request| {
        let secret = "AAECAwQFBgcICQoLDA0ODw";
        request.check(secret).unwrap();
        let answer = request.answer(secret, &theirs);
        (200, serde_json::to_string(&answer).unwrap())
    });
    let paired = pair(
        &home,
        &link(&address, &command).to_string(),
        "mac-mini",
        Wish::File,
    )
    .unwrap();
    serving.join().unwrap();
    let key = home.key().unwrap().unwrap().public();
    assert_eq!(
        paired,
        Paired {
            id: key.id().0,
            words: six_words(&key, &command.public()),
            kept: Kept::File,
            why_not: None,
        }
    );
    let (pairing, pinned) = home.pairing().unwrap().unwrap();
    assert_eq!(pinned, command.public());
    assert_eq!(
        pairing,
        Pairing {
            worker: address,
            command_key: command.public().to_text(),
            name: "mac-mini".into(),
            bridge: key.id().0,
        }
    );
}

#[test]
fn a_worker_with_another_key_than_the_links_is_not_pinned() {
    let (_folder, home) = home();
    let command = SigningKey::generate().unwrap();
    let (address, serving) = worker(|request| {
        let impostor = SigningKey::generate().unwrap();
        let answer = request.answer("AAECAwQFBgcICQoLDA0ODw", &impostor);
        (200, serde_json::to_string(&answer).unwrap())
    });
    let refused = pair(
        &home,
        &link(&address, &command).to_string(),
        "mac-mini",
        Wish::File,
    );
    serving.join().unwrap();
    assert_eq!(
        refused.unwrap_err().to_string(),
        "the Worker's key is not the one this link was made for"
    );
    assert_eq!(home.pairing().unwrap(), None);
}

#[test]
fn the_workers_own_sentence_is_shown() {
    let (_folder, home) = home();
    let command = SigningKey::generate().unwrap();
    let (address, serving) = worker(|_| (410, r#"{"error":"this link has expired"}"#.to_owned()));
    let refused = pair(
        &home,
        &link(&address, &command).to_string(),
        "mac-mini",
        Wish::File,
    );
    serving.join().unwrap();
    assert_eq!(
        refused.unwrap_err().to_string(),
        format!("{address} refuses: this link has expired")
    );
    assert_eq!(home.pairing().unwrap(), None);
}

#[test]
fn a_link_to_an_unencrypted_worker_elsewhere_is_not_followed() {
    let (_folder, home) = home();
    let command = SigningKey::generate().unwrap();
    let link = link("http://bernard.example", &command).to_string();
    assert_eq!(
        pair(&home, &link, "mac-mini", Wish::File)
            .unwrap_err()
            .to_string(),
        "'http://bernard.example' is not encrypted; only https is dialled, except on this very machine"
    );
    assert!(home.key().unwrap().is_none(), "no key is made for it");
}
