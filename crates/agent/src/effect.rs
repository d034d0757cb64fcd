//! All that a conversation can ask for, and which event ends it.

use crate::event::{AskId, Button, SayId};
use protocol::call::{CallId, FileRef, ToolCall};
use protocol::tools::Place;
use serde::{Deserialize, Serialize};

/// Something to be done. Doing it again under the same id must be harmless: after a restart it is asked for again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Effect {
    /// Ask the model what comes next; ends in [`crate::Event::Replied`] or [`crate::Event::ModelFailed`].
    AskModel {
        /// Names the question.
        ask: AskId,
        /// Whether the model may call tools. At a bound it may not: it says what is done and what is not.
        tools: bool,
    },
    /// Run a tool; ends in [`crate::Event::Finished`]. [`crate::Event::Waiting`] may come before.
    Run {
        /// The call.
        call: ToolCall,
        /// Where it runs.
        place: Place,
    },
    /// Ask the person whether a call may run; ends in [`crate::Event::Decided`], or in [`crate::Event::Finished`] with a denial
    /// if the home machine's own law is known to forbid it: then the person is not asked at all.
    AskPerson {
        /// The call.
        call: ToolCall,
    },
    /// Send something to the person; ends in [`crate::Event::Sent`].
    Say {
        /// Names the message.
        say: SayId,
        /// What is sent.
        content: Content,
    },
    /// Call off a running tool or waiting approval; ends in nothing: the call has its result already.
    Cancel {
        /// Which.
        call: CallId,
    },
    /// Stop listening to the model; ends in nothing: its answer would be late news.
    Abandon {
        /// Which question.
        ask: AskId,
    },
}

/// What is sent to the person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    /// Words, in Markdown.
    Text {
        /// The words.
        text: String,
        /// Buttons under them, if any.
        buttons: Vec<Button>,
    },
    /// A file that came with a call's result.
    File {
        /// The call that brought it; the driver keeps the bytes under this id.
        call: CallId,
        /// Its name, type and size.
        file: FileRef,
    },
}
