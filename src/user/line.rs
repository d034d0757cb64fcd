//! A machine's socket: what it carries through hibernation, whether anyone is still at its other end, and how it is hung up.

use super::fetch::Sending;
use super::now;
use crate::error::{Error, Result};
use protocol::{LEASE_SECONDS, ToBridge, write_frame};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use worker::{State, WebSocket, console_error, js_sys};

/// The longest reason that a close frame may carry, in bytes (RFC 6455, section 5.5); a longer one would keep the socket open.
const REASON_LIMIT: usize = 123;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(extends = js_sys::Object)]
    type RawState;
    #[wasm_bindgen(method, catch, js_name = getWebSocketAutoResponseTimestamp)]
    fn auto_response_timestamp(
        this: &RawState,
        socket: &JsValue,
    ) -> std::result::Result<JsValue, JsValue>;
}

/// What a bridge's socket carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    /// The machine.
    pub(super) bridge: String,
    /// How far its connection is.
    pub(super) phase: Phase,
    /// What of a file is on its way to it.
    #[serde(default)]
    pub(super) sending: Sending,
}

/// How far a connection is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// The machine has been challenged.
    Challenged { nonce: String },
    /// It has proven itself, at this time; `seq` is the last warrant's.
    Ready { session: String, seq: u64, at: i64 },
    /// It was closed. A socket whose other end is dead never answers that, and stays among the sockets.
    Over,
}

/// What a socket carries.
pub(super) fn line(socket: &WebSocket) -> Result<Line> {
    let text: Option<String> = socket.deserialize_attachment()?;
    Ok(serde_json::from_str(
        &text.ok_or(Error::Missing("the socket's line"))?,
    )?)
}

/// Gives a socket something to carry.
pub(super) fn set_line(socket: &WebSocket, line: &Line) -> Result<()> {
    Ok(socket.serialize_attachment(serde_json::to_string(line)?)?)
}

/// The socket's machine and session, if it has proven itself and was not hung up.
pub(super) fn ready(socket: &WebSocket) -> Result<(String, String)> {
    let Line { bridge, phase, .. } = line(socket)?;
    match phase {
        Phase::Ready { session, .. } => Ok((bridge, session)),
        Phase::Challenged { .. } => Err(Error::Violation("work before proof".into())),
        Phase::Over => Err(Error::Violation("work after the end".into())),
    }
}

/// Whether the other end has been heard within the lease. A machine pings three times in that; one that lost its power or its
/// network says no goodbye, and its socket looks open for hours.
pub(super) fn is_alive(state: &State, socket: &WebSocket) -> bool {
    let Ok(Line {
        phase: Phase::Ready { at, .. },
        ..
    }) = line(socket)
    else {
        return false;
    };
    let lease = i64::try_from(LEASE_SECONDS * 1000).unwrap_or(i64::MAX);
    now() - at.max(last_ping(state, socket)) <= lease
}

/// When the runtime last answered a ping by itself, in milliseconds since 1970; 0 if it never did.
fn last_ping(state: &State, socket: &WebSocket) -> i64 {
    let raw: &RawState = AsRef::<JsValue>::as_ref(state.as_raw()).unchecked_ref();
    let socket: &worker::web_sys::WebSocket = socket.as_ref();
    let at = raw
        .auto_response_timestamp(socket)
        .ok()
        .and_then(|at| at.dyn_into::<js_sys::Date>().ok());
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a date's milliseconds are whole and under 2^53"
    )]
    at.map_or(0, |at| at.get_time() as i64)
}

/// Says a frame to a machine.
pub(super) fn send(socket: &WebSocket, frame: &ToBridge) -> Result<()> {
    Ok(socket.send_with_str(write_frame(frame))?)
}

/// Ends a connection: nothing that still comes over it counts.
pub(super) fn hang_up(socket: &WebSocket, code: u16, why: &str) {
    let over = line(socket).map(|line| Line {
        phase: Phase::Over,
        ..line
    });
    if let Err(error) = over.and_then(|over| set_line(socket, &over)) {
        console_error!("a closed socket may still be taken for an open one: {error}");
    }
    let end = (0..=REASON_LIMIT.min(why.len()))
        .rev()
        .find(|end| why.is_char_boundary(*end))
        .unwrap_or(0);
    let _ = socket.close(Some(code), Some(&why[..end])); // a socket that is closing already is what we want
}
