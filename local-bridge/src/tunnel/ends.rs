//! The two ends of a connection: both proofs at its beginning, and how it is said to be over.

use super::{Ended, Socket};
use crate::guard::Keys;
use futures::{SinkExt, StreamExt};
use protocol::key::{KeyId, random_text};
use protocol::session::{Transcript, session_id};
use protocol::{
    CLOSE_FROZEN, CLOSE_REPLACED, CLOSE_REVOKED, CLOSE_VIOLATION, PONG, ToBridge, ToWorker,
    VERSION, read_frame, write_frame,
};
use std::time::Duration;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

/// How long the last frame of a connection may take to reach the other side.
const PARTING: Duration = Duration::from_secs(1);

/// Both proofs: ours for the Worker, and the Worker's for us by the key that was pinned when we were paired.
pub(super) async fn prove(socket: &mut Socket, keys: &Keys, hello: &str) -> Result<String, Ended> {
    let ToBridge::Challenge { version, nonce } = next_frame(socket).await? else {
        return Err(Ended::Violation(
            "the session did not begin with a challenge".to_owned(),
        ));
    };
    if version != VERSION {
        return Err(Ended::Version(version));
    }
    let (KeyId(bridge), KeyId(command_id)) = (keys.own.public().id(), keys.command.id());
    let bridge_nonce = random_text()?;
    let transcript = Transcript {
        bridge: &bridge,
        command_key: &command_id,
        worker_nonce: &nonce,
        bridge_nonce: &bridge_nonce,
        version: VERSION,
        hello,
    };
    let ours = keys.own.sign(&transcript.bridge_bytes());
    let answer = ToWorker::Answer {
        nonce: bridge_nonce.clone(),
        hello: hello.to_owned(),
        signature: ours.clone(),
    };
    socket.send(Message::text(write_frame(&answer))).await?;
    let ToBridge::Welcome { signature: theirs } = next_frame(socket).await? else {
        return Err(Ended::Violation(
            "the Worker did not prove itself".to_owned(),
        ));
    };
    keys.command
        .verify(&transcript.worker_bytes(), &theirs)
        .map_err(|_| {
            Ended::Violation(
                "the Worker's key is not the one this machine was paired with".to_owned(),
            )
        })?;
    Ok(session_id(&transcript, &ours, &theirs))
}

async fn next_frame(socket: &mut Socket) -> Result<ToBridge, Ended> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) if text.as_str() == PONG => {}
            Some(Ok(Message::Text(text))) => {
                return read_frame(&text).map_err(|error| Ended::Violation(error.to_string()));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(why))) => return Err(closed(why)),
            Some(Ok(Message::Binary(_) | Message::Frame(_))) => {
                return Err(Ended::Violation(
                    "a frame of bytes before the session".to_owned(),
                ));
            }
            Some(Err(error)) => return Err(error.into()),
            None => return Err(Ended::Closed(String::new())),
        }
    }
}

/// Says goodbye where that is ours to do, and waits a moment so that it arrives.
pub(super) async fn part(socket: &mut Socket, ended: &Ended) {
    let (code, reason) = match ended {
        Ended::Violation(why) => (CLOSE_VIOLATION, why.as_str()),
        Ended::Stopped => (1001, "local-bridge was stopped"),
        Ended::PolicyChanged => (1001, "the policy has changed"),
        Ended::Version(_) => (1002, "another version of the protocol"),
        Ended::Silent | Ended::Stuck => (1001, "silence"),
        Ended::Journal(_) | Ended::Key(_) => (1011, "local-bridge cannot go on"),
        Ended::Refused(_)
        | Ended::Frozen(_)
        | Ended::Replaced
        | Ended::Unreachable(..)
        | Ended::Closed(_)
        | Ended::Line(_) => return,
    };
    let frame = CloseFrame {
        code: code.into(),
        reason: reason[..reason.floor_char_boundary(120)].into(), // a close frame holds 125 bytes
    };
    let parting = async {
        socket.close(Some(frame)).await?;
        while let Some(Ok(_)) = socket.next().await {}
        Ok::<(), Error>(())
    };
    timeout(PARTING, parting).await.ok();
}

pub(super) fn closed(why: Option<CloseFrame>) -> Ended {
    let Some(why) = why else {
        return Ended::Closed(String::new());
    };
    match u16::from(why.code) {
        CLOSE_REVOKED => Ended::Refused(why.reason.to_string()),
        CLOSE_FROZEN => Ended::Frozen(why.reason.to_string()),
        CLOSE_REPLACED => Ended::Replaced,
        code if why.reason.is_empty() => Ended::Closed(format!(" with code {code}")),
        code => Ended::Closed(format!(" with code {code}: {}", why.reason)),
    }
}
