//! The chat apps. Each is a codec: verified bytes in, [`Inbound`] out; something to say in, an HTTP request out. No I/O.

pub mod app;
pub mod console;
mod form;
pub mod markup;
pub mod telegram;
pub mod whatsapp;
mod words;

use agent::Attachment;
use serde::{Deserialize, Serialize};

/// A chat app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Telegram's Bot API.
    Telegram,
    /// WhatsApp's Cloud API.
    #[serde(rename = "whatsapp")]
    WhatsApp,
    /// Bernard's own web page.
    Console,
}

impl Channel {
    /// Its name: what its conversations begin with.
    pub fn name(self) -> &'static str {
        match self {
            Self::Telegram => "telegram",
            Self::WhatsApp => "whatsapp",
            Self::Console => "console",
        }
    }

    /// The channel of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Telegram, Self::WhatsApp, Self::Console]
            .into_iter()
            .find(|channel| channel.name() == name)
    }
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
    /// The app's id of the message that this answers, where the app tells no more of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<String>,
    /// What they did.
    pub deed: Deed,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

impl Inbound {
    /// The conversation that it belongs to: the app's name and the chat.
    pub fn conversation(&self) -> String {
        if self.channel == Channel::Console {
            self.channel.name().to_owned()
        } else {
            format!("{}:{}", self.channel.name(), self.chat)
        }
    }
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
        /// The files that came with it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attachments: Vec<Attachment>,
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
    /// Sent a file, which still lies with the app.
    Gave {
        /// The file.
        media: Media,
        /// The words with it; may be empty.
        text: String,
        /// What it came with, such as an advertisement.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quoted: Option<String>,
        /// It is someone else's, passed on.
        #[serde(default)]
        forwarded: bool,
    },
    /// Sent something that Bernard cannot read yet, such as a sticker.
    Unreadable {
        /// What it was, in a word or two.
        kind: String,
    },
}

/// A file that still lies with the app that it came by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    /// The app's id of it.
    pub id: String,
    /// What it is, in a word or two.
    pub kind: String,
    /// What it is called.
    pub name: String,
    /// Its media type, by the word of whoever sent it.
    pub mime: String,
    /// Its SHA-256, in hexadecimal or base64, where that was told; else empty.
    pub sha256: String,
}

/// What became of a message of Bernard's, as its app tells afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fate {
    /// The app.
    pub channel: Channel,
    /// To whom it was sent: the app's own id.
    pub person: String,
    /// The app's id of the message.
    pub message: String,
    /// How far it came.
    pub arrival: Arrival,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// How far a message came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Arrival {
    /// It has left the app's servers.
    Sent,
    /// It is on the person's device.
    Delivered,
    /// They have seen it.
    Read,
    /// It never arrived.
    Failed {
        /// The app's code of the reason.
        code: i64,
        /// The reason.
        reason: String,
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
