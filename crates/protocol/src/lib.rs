//! All that Worker and bridge say to each other, in the order of a connection's life.
//!
//! 1. **Pairing**, once ([`pairing`]): the owner's one-time link joins a machine to a person's object; each pins the other's key.
//! 2. **Upgrade**: the bridge dials `GET /bridge` with a [`token::Kind::Hello`] in its `Authorization` header.
//! 3. **Session** ([`session`]): [`ToBridge::Challenge`], [`ToWorker::Answer`], [`ToBridge::Welcome`]; both have signed one
//!    transcript, whose hash names the session.
//! 4. **Work**: each [`ToBridge::Run`] carries a [`warrant::Warrant`]; its [`ToWorker::Result`] carries a [`warrant::Receipt`]; the bridge
//!    keeps a result until [`ToBridge::Acknowledged`]. A file travels before the result that names it, in binary [`chunk`]s;
//!    one that a call shall save on the machine comes when the bridge asks for it ([`ToWorker::Want`]).
//! 5. **Silence**: the bridge sends the text [`PING`] and the Worker's runtime answers [`PONG`] without waking anyone. A bridge that has
//!    heard nothing for [`LEASE_SECONDS`] is no longer ready to act: it hangs up and dials again. One whose ping stays unanswered for eight
//!    seconds, on a line with nothing else to carry, does so too.
//!
//! Frames are JSON, one enum each way. Names and shapes live here without any feature; keys and signatures need `signatures`.

pub mod call;
pub mod chunk;
pub mod session;
pub mod tools;
pub mod warrant;

#[cfg(feature = "signatures")]
pub mod key;
#[cfg(feature = "signatures")]
pub mod pairing;
#[cfg(feature = "signatures")]
pub mod token;
#[cfg(feature = "signatures")]
mod words;

use call::{CallId, FileRef};
use serde::{Deserialize, Serialize};

/// The version of everything in this crate; both sides must speak the same.
pub const VERSION: u32 = 3;

/// The longest text frame, in bytes. Files travel in chunks, so a longer one is an error or an attack.
pub const MAX_TEXT_FRAME: usize = 256 * 1024;

/// What a bridge sends to show that it is alive; answered without waking the object (a hibernating object costs nothing).
pub const PING: &str = "ping";

/// What comes back.
pub const PONG: &str = "pong";

/// How often a bridge pings, in seconds: three tries fit into a lease.
pub const PING_SECONDS: u64 = 20;

/// How long a bridge may act without having heard from its Worker, in seconds.
pub const LEASE_SECONDS: u64 = 60;

/// The WebSocket close code for a peer that broke the rules of a session (a bad signature, a gap in the sequence).
pub const CLOSE_VIOLATION: u16 = 4409;

/// The close code for a connection that a newer one of the same bridge replaces.
pub const CLOSE_REPLACED: u16 = 4408;

/// The close code for a bridge whose owner has revoked it.
pub const CLOSE_REVOKED: u16 = 4401;

/// The close code for all bridges of an owner who has frozen everything.
pub const CLOSE_FROZEN: u16 = 4423;

/// What the Worker tells a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ToBridge {
    /// Asks the bridge to prove itself for this connection.
    Challenge {
        /// The Worker's protocol version.
        version: u32,
        /// 128 random bits, base64url.
        nonce: String,
    },
    /// Proves the Worker; the session begins.
    Welcome {
        /// The command key's signature, see [`session::Transcript::worker_bytes`].
        signature: String,
    },
    /// Orders one call.
    Run {
        /// A [`warrant::Warrant`] in a token of kind `Warrant`.
        warrant: String,
    },
    /// Says that a result is stored; the bridge may forget it.
    Acknowledged {
        /// Which.
        call: CallId,
    },
    /// Lets the bridge send a file's bytes up to this offset.
    Credit {
        /// The call that the file belongs to.
        call: CallId,
        /// The offset, in bytes from the file's beginning.
        until: u64,
    },
    /// Announces the bytes of the file that a call shall save; they follow in [`chunk`]s, [`ToBridge::Mark`]s between them.
    FileStart {
        /// The call.
        call: CallId,
        /// What comes.
        file: FileRef,
    },
    /// There is no such file (any more) as a call shall save.
    FileMissing {
        /// The call.
        call: CallId,
    },
    /// Stands behind a stretch of a file, [`chunk::STRETCH`] long at the most. Whoever has read as far can say it back.
    Mark {
        /// The call that the file is for.
        call: CallId,
        /// 128 random bits, base64url.
        mark: String,
    },
}

/// What a bridge tells the Worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ToWorker {
    /// Proves the bridge and says what it can do.
    Answer {
        /// 128 random bits, base64url.
        nonce: String,
        /// A [`session::Hello`] as JSON text: the very bytes are signed.
        hello: String,
        /// The bridge key's signature, see [`session::Transcript::bridge_bytes`].
        signature: String,
    },
    /// Announces a file's bytes; the Worker answers with [`ToBridge::Credit`].
    FileStart {
        /// The call that the file belongs to.
        call: CallId,
        /// Its last path component.
        name: String,
        /// Its media type.
        mime: String,
        /// How many bytes will come.
        size: u64,
    },
    /// Asks for the bytes of the file that an open call names, from their beginning.
    Want {
        /// The call.
        call: CallId,
    },
    /// Says a [`ToBridge::Mark`] back: all before it has been read, so that more may come.
    Read {
        /// The mark.
        mark: String,
    },
    /// Says that a call waits for its owner's yes at home, which nothing that the Worker says can take the place of.
    Waiting {
        /// Which.
        call: CallId,
        /// The rule that wants the yes, as the machine's owner finds it.
        why: String,
        /// For how many minutes the question stays open.
        minutes: u32,
    },
    /// Shows how far a running command is. It is told without proof, and nothing is lost when it is not told.
    Progress {
        /// The call.
        call: CallId,
        /// The last line that it wrote, 200 characters at the most.
        line: String,
    },
    /// Tells how a call ended.
    Result {
        /// Which.
        call: CallId,
        /// A [`call::Outcome`] as JSON text: its hash is in the receipt.
        outcome: String,
        /// A [`warrant::Receipt`] in a token of kind `Receipt`.
        receipt: String,
    },
}

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BadFrame {
    /// It is longer than [`MAX_TEXT_FRAME`].
    #[error("frame of {0} bytes is too long")]
    TooLong(usize),
    /// It is not a frame of this version.
    #[error("frame is not understood: {0}")]
    Unknown(#[from] serde_json::Error),
}

/// Reads a text frame.
pub fn read_frame<T: for<'a> Deserialize<'a>>(text: &str) -> Result<T, BadFrame> {
    if text.len() > MAX_TEXT_FRAME {
        return Err(BadFrame::TooLong(text.len()));
    }
    Ok(serde_json::from_str(text)?)
}

/// Writes a text frame.
pub fn write_frame<T: Serialize>(frame: &T) -> String {
    serde_json::to_string(frame).unwrap_or_default() // frames hold strings and numbers only, which always serialise
}
