//! Which machine a call is for: the one that the person named, the one whose change it takes back, else one that is there.

use super::bridges::{BridgeRow, hello};
use super::rows::span;
use super::{CONSOLE, Heart, store};
use crate::error::Result;
use agent::{Entry, Line, tool};
use driver::{Rows, Where};
use protocol::call::{CallId, ToolCall, ToolName};
use protocol::session::Hello;
use serde::Deserialize;
use std::rc::Rc;

/// The conversation in which the person was last heard: what concerns no conversation is told there.
pub(super) const HEARD_IN: &str = "heard_in";

/// The tool whose calls belong to the machine of the call that they take back.
const UNDO: &str = "files.undo";

#[derive(Deserialize)]
struct Row {
    entry: String,
}

#[derive(Deserialize)]
struct Done {
    tool: String,
    bridge: Option<String>,
}

impl Heart {
    /// The confirmed machines that offer the call's tool, or that have never been here to say; of these only the ones that the call is for.
    fn able(&self, conversation: &str, call: &ToolCall) -> Result<Vec<BridgeRow>> {
        let offers =
            |row: &BridgeRow| hello(row).is_none_or(|hello| hello.tools.contains(&call.tool.0));
        let mut able = self.rows()?;
        able.retain(|row| row.state == "active" && offers(row));
        if call.tool.0 == UNDO {
            if let Some(bridge) = self.machine_of_change(call)? {
                able.retain(|row| row.id == bridge);
            }
            return Ok(able);
        }
        let words = self.last_words(conversation)?.to_lowercase();
        if able.iter().any(|row| names(&words, &row.name)) {
            able.retain(|row| names(&words, &row.name));
        }
        Ok(able)
    }

    /// Where a call could run. `wished` is the machine that it was once ordered from, or that the person was asked about.
    pub(super) fn find(
        &self,
        conversation: &str,
        call: &ToolCall,
        wished: Option<&str>,
    ) -> Result<Where> {
        let chosen = match wished {
            Some(wished) => self
                .rows()?
                .into_iter()
                .find(|row| row.state == "active" && row.id == wished),
            None => self.chosen(conversation, call)?,
        };
        let Some(row) = chosen else {
            return Ok(Where::Nowhere);
        };
        let mut here = self.ready_sockets().into_iter();
        Ok(match here.find(|(_, line)| line.bridge == row.id) {
            Some((_, line)) => Where::Here(line),
            None => Where::Away(row.name),
        })
    }

    /// The machine that a call would run on: of those that can, the first that is there.
    fn chosen(&self, conversation: &str, call: &ToolCall) -> Result<Option<BridgeRow>> {
        let here: Vec<String> = self
            .ready_sockets()
            .into_iter()
            .map(|(_, line)| line.bridge)
            .collect();
        let mut able = self.able(conversation, call)?;
        let first = able.iter().position(|row| here.contains(&row.id));
        Ok((!able.is_empty()).then(|| able.swap_remove(first.unwrap_or(0))))
    }

    /// The id and the name of the machine that a call would run on.
    pub(super) fn machine_for(
        &self,
        conversation: &str,
        call: &ToolCall,
    ) -> Result<Option<(String, String)>> {
        let chosen = self.chosen(conversation, call)?;
        Ok(chosen.map(|row| (row.id, row.name)))
    }

    /// The machines that could run a call: their names, and what each last said of itself.
    pub(super) fn able_hellos(
        &self,
        conversation: &str,
        call: &ToolCall,
    ) -> Result<Vec<(String, Option<Hello>)>> {
        let able = self.able(conversation, call)?.into_iter();
        Ok(able.map(|row| (row.name.clone(), hello(&row))).collect())
    }

    /// Tells the person what is wrong with a machine's policy, once for each fault.
    pub(super) fn tell_policy_fault(self: &Rc<Self>, bridge: &str, hello: &Hello) -> Result<()> {
        let Some(fault) = &hello.policy_fault else {
            return Ok(());
        };
        let name = self.name_of(bridge)?;
        let heard_in = store::meta(self.db(), HEARD_IN)?;
        let conversation = heard_in.unwrap_or_else(|| CONSOLE.to_owned());
        let cause = format!("policy {bridge} {} {fault}", hello.policy_sha256);
        let text = format!("⚠ The policy of {name}: {fault}");
        self.tell(&conversation, &cause, text, Vec::new())
    }

    /// The machine whose change an undo takes back: that of the call it names, else that of the last change there was.
    fn machine_of_change(&self, call: &ToolCall) -> Result<Option<String>> {
        if let Some(id) = call.arguments.get("call").and_then(|id| id.as_str()) {
            let row = self.db().call(&CallId(id.to_owned()))?;
            return Ok(row.and_then(|row| row.bridge));
        }
        let rows: Vec<Done> = self.db().all(
            "SELECT tool, bridge FROM calls WHERE done = 1 ORDER BY ended_at DESC LIMIT 200",
            &[],
        )?;
        let last = rows
            .into_iter()
            .find(|row| tool::can_be_undone(&ToolName::new(&row.tool)));
        Ok(last.and_then(|row| row.bridge))
    }

    /// What the person wrote last in a conversation.
    fn last_words(&self, conversation: &str) -> Result<String> {
        let Some((first, last)) = span(self.db(), conversation)? else {
            return Ok(String::new());
        };
        let row: Option<Row> = self.db().first(
            "SELECT entry FROM transcript WHERE seq BETWEEN ? AND ? AND entry ->> '$.line.type' = 'person' ORDER BY seq DESC LIMIT 1",
            &[first.into(), last.into()],
        )?;
        let Some(row) = row else {
            return Ok(String::new());
        };
        Ok(match serde_json::from_str::<Entry>(&row.entry)?.line {
            Line::Person { text, .. } => text,
            Line::Agent { .. } | Line::Result { .. } | Line::Note { .. } => String::new(),
        })
    }
}

/// Whether words in lower case hold a machine's name, whole.
fn names(words: &str, machine: &str) -> bool {
    let machine = machine.to_lowercase();
    let part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    words.match_indices(&machine).any(|(at, _)| {
        !words[..at].ends_with(part) && !words[at + machine.len()..].starts_with(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_named_by_its_whole_name() {
        for text in [
            "list it on mac-mini",
            "mac-mini: list",
            "on the mac-mini, please",
        ] {
            assert!(names(text, "Mac-mini"), "{text}");
        }
        for text in ["on mac-mini-2", "on old-mac-mini", "minimac-mini", "mini"] {
            assert!(!names(text, "mac-mini"), "{text}");
        }
    }
}
