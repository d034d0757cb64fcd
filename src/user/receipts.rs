//! `/receipts`: what machines have proven to have done, newest first.

use super::Heart;
use crate::error::{Error, Result};
use crate::time::utc;
use agent::tool;
use protocol::call::{CallId, ToolCall, ToolName};
use protocol::token::call_hash;
use protocol::warrant::Receipt;
use serde::Deserialize;

/// How many are listed.
const SHOWN: i64 = 10;

/// How much of a hash is shown: enough to find it in the machine's own log.
const HASH: usize = 12;

#[derive(Deserialize)]
struct Row {
    id: String,
    tool: String,
    arguments: String,
    receipt: String,
    ended_at: i64,
    session: Option<String>,
    bridge: Option<String>,
    machine: Option<String>,
    public_key: Option<String>,
}

impl Heart {
    /// The last receipts. Each was checked against its machine's key when it came, and is checked once more.
    pub(super) fn receipts(&self) -> Result<String> {
        let rows: Vec<Row> = self.db().all(
            "SELECT calls.id AS id, tool, arguments, receipt, ended_at, session, bridge, name AS machine, public_key
             FROM calls LEFT JOIN bridges ON bridges.id = calls.bridge
             WHERE receipt IS NOT NULL ORDER BY ended_at DESC LIMIT ?",
            &[SHOWN.into()],
        )?;
        if rows.is_empty() {
            return Ok("No machine has done anything yet.".to_owned());
        }
        let mut lines = vec!["What your machines have signed for, newest first:".to_owned()];
        for row in rows {
            lines.push(self.receipt(&row)?);
        }
        lines.push(
            "`local-bridge audit show` on the machine lists the same from its own log.".to_owned(),
        );
        Ok(lines.join("\n"))
    }

    fn receipt(&self, row: &Row) -> Result<String> {
        let call = ToolCall {
            id: CallId(row.id.clone()),
            tool: ToolName::new(&row.tool),
            arguments: serde_json::from_str(&row.arguments)?,
        };
        let brief = tool::brief(&call);
        let machine = row.machine.as_deref().unwrap_or("a machine that is gone");
        let Some(proof) = self.checked(row)?.filter(|proof| {
            proof.call == call.id && proof.call_sha256 == call_hash(&call.tool, &call.arguments)
        }) else {
            return Ok(format!(
                "- ✗ `{brief}` on {machine}: its receipt does not hold"
            ));
        };
        let short = |hash: &str| hash.chars().take(HASH).collect::<String>();
        Ok(format!(
            "- ✓ `{brief}` on {machine}, {}, log `{}`, policy `{}`",
            utc(proof.at),
            short(&proof.audit_head),
            short(&proof.policy_sha256)
        ))
    }

    /// What a receipt proves, checked as at the moment when it came.
    fn checked(&self, row: &Row) -> Result<Option<Receipt>> {
        let (Some(bridge), Some(session), Some(key)) = (&row.bridge, &row.session, &row.public_key)
        else {
            return Ok(None);
        };
        match self.receipt_of(bridge, key, session, &row.receipt, row.ended_at) {
            Ok(proof) => Ok(Some(proof)),
            Err(Error::Token(_)) => Ok(None),
            Err(other) => Err(other), // not the receipt's fault
        }
    }
}
