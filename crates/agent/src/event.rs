//! All that can happen to a conversation.

pub use crate::transcript::Millis;
use crate::transcript::{Attachment, Trust};
use protocol::call::{CallId, Outcome, ToolCall, ToolName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Names one question to a model: a repeated id is the same question.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AskId(pub String);

/// Names one thing to be sent to the person, for its whole life.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SayId(pub String);

/// Something that happened. News that is late or told twice does nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The person wrote. Each delivery is told once: the driver has already dropped repeats.
    Said {
        /// What was written.
        message: Message,
    },
    /// The model answered; ends [`crate::Effect::AskModel`].
    Replied {
        /// Which question.
        ask: AskId,
        /// The answer.
        reply: Reply,
        /// When.
        at: Millis,
    },
    /// The model did not answer; ends [`crate::Effect::AskModel`].
    ModelFailed {
        /// Which question.
        ask: AskId,
        /// Why.
        failure: ModelFailure,
        /// When.
        at: Millis,
    },
    /// A tool ended; ends [`crate::Effect::Run`].
    Finished {
        /// Which call.
        call: CallId,
        /// How.
        outcome: Outcome,
        /// The name of the machine whose receipt proves it, where one does.
        by: Option<String>,
        /// When.
        at: Millis,
    },
    /// The person has calls made themselves, by a button: one after the other, without the model. They are told what came of them.
    Wished {
        /// Names the errand; a repeat is the same errand.
        errand: String,
        /// The calls, under ids of their own.
        calls: Vec<ToolCall>,
        /// When.
        at: Millis,
    },
    /// The machine that should run a call is not there. The call keeps waiting; the person is told once a turn.
    Waiting {
        /// Which call.
        call: CallId,
        /// The machine's name, such as `mac-mini`.
        machine: String,
        /// It had taken the call on before it went: whether it is done is not known.
        taken: bool,
        /// When.
        at: Millis,
    },
    /// The person answered an approval; ends [`crate::Effect::AskPerson`].
    Decided {
        /// Which call was asked about.
        call: CallId,
        /// What they said.
        decision: Decision,
        /// When.
        at: Millis,
    },
    /// A message left, or will not; ends [`crate::Effect::Say`].
    Sent {
        /// Which.
        say: SayId,
        /// How it went.
        delivery: Delivery,
        /// When.
        at: Millis,
    },
    /// Bernard itself has something to say, outside any turn: the answer to a command, a pairing link. It is sent, not remembered.
    Notice {
        /// Names it; a repeat is the same notice.
        say: SayId,
        /// The text, in Markdown.
        text: String,
        /// Buttons under it, if any.
        buttons: Vec<Button>,
    },
    /// The person called the turn off.
    Stopped {
        /// When.
        at: Millis,
    },
}

/// What a person wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The text.
    pub text: String,
    /// The text it replies to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quoted: Option<String>,
    /// The files that came with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// Who stands behind the words.
    pub trust: Trust,
    /// When it was written.
    pub at: Millis,
}

/// What a model said, in any provider's dialect.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Reply {
    /// What it says to the person; may be empty when it only calls tools.
    pub text: String,
    /// The tools it wants, in its order.
    pub calls: Vec<Wish>,
    /// Why it stopped.
    pub stop: Stop,
    /// What it cost.
    pub usage: Usage,
}

/// A tool call as a model wishes it, before the agent has named and judged it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wish {
    /// The tool's own name (`files.list`), or what the model called it if no such tool exists.
    pub tool: ToolName,
    /// The arguments; `Err` holds the raw text when it was not JSON.
    pub arguments: Result<Value, String>,
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// It had said all.
    #[default]
    End,
    /// It waits for tools.
    Tools,
    /// It ran into its length limit.
    Length,
    /// It declined to answer.
    Refusal,
}

/// Tokens of one model call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read, cached ones included.
    pub input: u64,
    /// Tokens written.
    pub output: u64,
}

/// Why a model did not answer, by kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ModelFailure {
    /// The provider refused the key (401, 403).
    RefusedKey,
    /// No key is configured for this provider.
    MissingKey {
        /// The variable that would hold it.
        variable: String,
    },
    /// The provider does not know this model (404).
    UnknownModel {
        /// Its name.
        model: String,
    },
    /// Too many requests (429).
    RateLimited {
        /// Seconds to wait, where the provider said.
        retry_after: Option<u32>,
    },
    /// The provider is overloaded or broken (5xx, Anthropic's 529).
    Overloaded,
    /// The prompt is longer than the model's window.
    ContextOverflow,
    /// The provider refused the request for another reason.
    Rejected {
        /// Its words, shortened; for the operator's log and the person.
        reason: String,
    },
    /// Asking failed on our side again and again, so it is given up.
    Broken {
        /// What is known.
        reason: String,
    },
    /// No answer came, or it broke off.
    Network {
        /// What is known.
        reason: String,
    },
}

/// What a person said about an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Yes, this once.
    Once,
    /// No.
    No,
}

/// How sending went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Delivery {
    /// The provider took it.
    Delivered,
    /// The provider refused it for good.
    Refused {
        /// Why.
        reason: String,
    },
    /// It may or may not have arrived; it is not sent again.
    Unknown,
}

/// A button under a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Button {
    /// What it reads.
    pub label: String,
    /// What comes back when it is pressed, at most 64 bytes (Telegram's `callback_data`).
    pub action: String,
}
