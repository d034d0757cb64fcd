//! Taking back what a turn changed at home: by the button under its last words, or `/undo` for the last change there was.

use super::{Heart, now};
use crate::error::Result;
use agent::{Event, tool};
use protocol::call::{CallId, ToolCall, ToolName};
use serde::Deserialize;
use serde_json::json;
use std::rc::Rc;

/// The tool that takes a change back.
const UNDO: &str = "files.undo";

#[derive(Deserialize)]
struct Change {
    id: String,
    tool: String,
}

#[derive(Deserialize)]
struct Count {
    count: i64,
}

impl Heart {
    /// Has a turn's changes undone, the last one first. False if there are none, or the button was pressed before.
    pub(super) fn undo_turn(self: &Rc<Self>, conversation: &str, turn: &str) -> Result<bool> {
        let errand = format!("undo-{turn}");
        let begun: Option<Count> = self.db().first(
            "SELECT count(*) AS count FROM calls WHERE substr(id, 1, length(?1) + 1) = ?1 || '-'",
            &[(&errand).into()],
        )?;
        if begun.is_some_and(|begun| begun.count > 0) {
            return Ok(false);
        }
        let changes: Vec<Change> = self.db().all(
            "SELECT id, tool FROM calls WHERE conversation = ?1 AND substr(id, 1, length(?2) + 1) = ?2 || '-' AND done = 1
             ORDER BY ended_at DESC, length(id) DESC, id DESC",
            &[conversation.into(), turn.into()],
        )?;
        let calls: Vec<ToolCall> = changes
            .into_iter()
            .filter(|change| tool::can_be_undone(&ToolName::new(&change.tool)))
            .enumerate()
            .map(|(n, change)| ToolCall {
                id: CallId(format!("{errand}-{}", n + 1)),
                tool: ToolName::new(UNDO),
                arguments: json!({ "call": change.id }),
            })
            .collect();
        if calls.is_empty() {
            return Ok(false);
        }
        let at = now();
        self.step(conversation, &Event::Wished { errand, calls, at })?;
        Ok(true)
    }
}

/// What `/undo` asks of the machine: the last change that any of its file tools made. `cause` names the command.
pub(super) fn undo_last(cause: &str) -> Event {
    let errand = format!("undo-{cause}");
    let call = ToolCall {
        id: CallId(format!("{errand}-1")),
        tool: ToolName::new(UNDO),
        arguments: json!({}),
    };
    Event::Wished {
        errand,
        calls: vec![call],
        at: now(),
    }
}
