//! What orders a call and what proves that it happened: the claims inside the signed tokens.

use crate::call::{CallId, ToolName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The pseudo-tool that calls off a running call; its only argument is `call`.
pub const CANCEL: &str = "calls.cancel";

/// The pseudo-tool by which the person wishes for a rule; its arguments are a [`Wish`]. No model is told of it. It never does anything
/// without a yes at home.
pub const PROPOSE: &str = "policy.propose";

/// The most words that a rule can be wished for with.
pub const MAX_WISH_WORDS: usize = 32;

/// The most bytes that they have together: whoever says yes has to read them, on a phone as well.
pub const MAX_WISH_BYTES: usize = 1_000;

/// A wish for a rule: what a machine should run from now on without a question. It is no more than a wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// How the command begins.
    pub allow: Vec<String>,
    /// Nothing may follow these words.
    pub exact: bool,
}

impl Wish {
    /// Whether it is short enough to be asked about.
    pub fn fits(&self) -> bool {
        let bytes: usize = self.allow.iter().map(String::len).sum();
        (1..=MAX_WISH_WORDS).contains(&self.allow.len()) && bytes <= MAX_WISH_BYTES
    }
}

/// How long a warrant may be acted on, in seconds.
pub const WARRANT_SECONDS: u64 = 30;

/// Orders exactly one call, on one bridge, in one session. Issued by the command key for the bridge's key id, with the session as nonce.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warrant {
    /// 1 for the session's first warrant, then one more each time; a gap or a repeat ends the session.
    pub seq: u64,
    /// The call's name for life: a bridge that knows it answers from its journal.
    pub call: CallId,
    /// The tool.
    pub tool: ToolName,
    /// Its arguments.
    pub arguments: Value,
    /// Whether the person has said yes to this very call in the chat. Where they have not, the machine sees to it that they are asked.
    pub asked: bool,
}

/// Proves how a call ended. Issued by the bridge's key for the command key's id, with the session as nonce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The call.
    pub call: CallId,
    /// SHA-256 of tool and arguments, see [`crate::token::call_hash`]; lower-case hex.
    pub call_sha256: String,
    /// SHA-256 of the outcome's JSON text, lower-case hex.
    pub outcome_sha256: String,
    /// When it ended, by the bridge's clock, in milliseconds since 1970.
    pub at: i64,
    /// SHA-256 of the policy that allowed it, lower-case hex.
    pub policy_sha256: String,
    /// The head of the bridge's own hash-chained log after this call, lower-case hex.
    pub audit_head: String,
}
