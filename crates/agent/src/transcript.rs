//! What was said and done, in order; append-only.

use protocol::call::{CallId, Outcome, ToolCall, ToolName};
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970 began, UTC. The agent reads no clock: times arrive in events.
pub type Millis = i64;

/// Who stands behind some words. It travels with the text into transcript and memory, and only ever rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// The owner typed it.
    Owner,
    /// The owner's own files, or what they passed on.
    Kept,
    /// Written by anyone else: the web, mail, other people, a program's output.
    Elsewhere,
}

/// A file that a person gave; its bytes lie elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Names it for as long as it is kept.
    pub id: String,
    /// What it is called; whoever made the file may have chosen that.
    pub name: String,
    /// Its media type, by the word of whoever sent it.
    pub mime: String,
    /// Its length in bytes.
    pub size: u64,
}

/// One line of the transcript.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Millis,
    /// What.
    pub line: Line,
}

/// What a transcript can hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Line {
    /// The person wrote.
    Person {
        /// The text.
        text: String,
        /// What it replies to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quoted: Option<String>,
        /// The files that came with it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attachments: Vec<Attachment>,
        /// Who stands behind it.
        trust: Trust,
    },
    /// The model answered.
    Agent {
        /// What it said; may be empty when there are calls.
        text: String,
        /// What it called. Each gets exactly one `Result` line before the next `Person` or `Agent` line.
        calls: Vec<ToolCall>,
    },
    /// A call ended.
    Result {
        /// Which.
        call: CallId,
        /// Its tool.
        tool: ToolName,
        /// How.
        outcome: Outcome,
        /// Who stands behind the text in it.
        trust: Trust,
    },
    /// Bernard told the person something by itself: a failure, a wait. The model sees it as its own words.
    Note {
        /// The text.
        text: String,
    },
}
