//! What orders a call and what proves that it happened: the claims inside the signed tokens.

use crate::call::{CallId, ToolName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The pseudo-tool that calls off a running call; its only argument is `call`.
pub const CANCEL: &str = "calls.cancel";

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
