//! One call of one tool: its name for life, what was asked, and how it ended.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Names one tool call for its whole life; a repeated id is the same call, never another one.
///
/// Letters, digits and `-`, at most 64 of them, so that it can travel as a file name, a row's key and a model's tool-use id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub String);

/// A tool's name as people and policies write it, such as `files.list`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ToolName(pub String);

/// What was asked: a tool and its arguments, as yet unchecked against the tool's own type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// The call's name for life.
    pub id: CallId,
    /// The tool that should run.
    pub tool: ToolName,
    /// A JSON object; each tool parses it into its own type and refuses what it does not know.
    pub arguments: serde_json::Value,
}

/// How a call ended. A failure is news for the model to read, never an error of the program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// It was done; `text` is what the tool has to tell.
    Done {
        /// What the model reads.
        text: String,
        /// A file that the call brought with it, to be handed to the person.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<FileRef>,
    },
    /// It was tried and did not work, or could not be tried; nothing more will happen.
    Failed {
        /// Why, and where possible what would help.
        reason: String,
    },
    /// A rule or a person said no; trying again is wrong.
    Denied {
        /// Which rule or whose no.
        reason: String,
    },
    /// It was called off before it ended.
    Cancelled,
    /// It had begun when its machine or program stopped; whether it took effect is not known.
    Interrupted {
        /// What is known.
        reason: String,
    },
}

/// A file that travelled (or will) beside a call's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRef {
    /// The file's last path component, without any folder.
    pub name: String,
    /// Its media type, `application/octet-stream` where unknown.
    pub mime: String,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of its bytes, lower-case hex.
    pub sha256: String,
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ToolName {
    /// A tool's name from its text.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

impl Outcome {
    /// It was done, and this is what it has to tell.
    pub fn done(text: impl Into<String>) -> Self {
        Self::Done {
            text: text.into(),
            file: None,
        }
    }

    /// It did not work, and this is why.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Failed {
            reason: reason.into(),
        }
    }

    /// A rule or a person said no.
    pub fn denied(reason: impl Into<String>) -> Self {
        Self::Denied {
            reason: reason.into(),
        }
    }
}
