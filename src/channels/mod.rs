//! The chat apps. Each is a codec: verified bytes in, [`Inbound`] out; something to say in, an HTTP request out. No I/O.

pub mod console;
pub mod markup;
pub mod telegram;

use serde::{Deserialize, Serialize};

/// A chat app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Telegram's Bot API.
    Telegram,
    /// Bernard's own web page.
    Console,
}

/// Something a person did in a chat app, whatever the app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inbound {
    /// Names the delivery for the app, such as `telegram:<update_id>`; the same id is the same delivery.
    pub delivery: String,
    /// The app.
    pub channel: Channel,
    /// Who did it: the app's own numeric id, as text. Never a changeable name.
    pub sender: String,
    /// What the app calls them, for people to read; proves nothing.
    pub sender_name: String,
    /// The chat to answer in, in the app's own terms.
    pub chat: String,
    /// What they did.
    pub deed: Deed,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// What a person did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Deed {
    /// Wrote a text.
    Wrote {
        /// The text.
        text: String,
        /// The text it replies to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quoted: Option<String>,
        /// The words are someone else's, passed on.
        #[serde(default)]
        forwarded: bool,
    },
    /// Gave a command, such as `/start abc`.
    Commanded {
        /// Its name without the slash, lower case.
        name: String,
        /// What follows it, trimmed.
        argument: String,
    },
    /// Pressed a button.
    Pressed {
        /// The button's action.
        action: String,
        /// The app's id of the press, which wants an answer.
        press: String,
        /// The app's id of the message whose button it was.
        message: String,
    },
    /// Sent something that Bernard cannot read yet, such as a sticker.
    Unreadable {
        /// What it was, in a word or two.
        kind: String,
    },
}

/// A request that is ready to leave, its body perhaps partly in storage.
pub struct Outgoing {
    /// Method, address and headers. No `content-length`: it follows from the body.
    pub request: http::Request<()>,
    /// What it carries.
    pub body: OutgoingBody,
}

/// What a request carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutgoingBody {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A stored file between two pieces, streamed: the file never lies in memory whole.
    File {
        /// What comes before the file's bytes.
        before: Vec<u8>,
        /// How long the file is, in bytes.
        size: u64,
        /// What comes after.
        after: Vec<u8>,
    },
}

impl std::fmt::Debug for Outgoing {
    /// Shows the method and the host alone: an app's secret may ride in the path, in a header or in the body.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = self.request.uri().host().unwrap_or("nowhere");
        write!(f, "Outgoing({} {host}/***)", self.request.method())
    }
}
