//! Rules that the person wishes for in the chat: what the owner is asked about at home, and what their yes writes. The wish itself writes
//! nothing: without a yes under the very policy that it would change, the file stays as it is.

use super::{NOT_ASCII, line, literal};
use crate::calls::Order;
use crate::home::Home;
use crate::policy::{NoChange, Policy, Proposal, changed, propose_rule};
use protocol::call::{Outcome, ToolCall};
use protocol::warrant::{PROPOSE, Wish};
use serde_json::{Value, json};
use std::time::Duration;

/// How long such a question stays open at the most.
pub(super) const OPEN: Duration = Duration::from_mins(30);

/// What stands where else the rule that wants the yes.
pub(super) const WHY: &str = "a rule is wished for in the chat";

/// A change of policy.toml that waits for its owner's yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    wish: Wish,
    proposal: Proposal,
}

/// Whether a call wishes for a rule.
pub fn is_wish(call: &ToolCall) -> bool {
    call.tool.0 == PROPOSE
}

/// The change that a call wishes for; else how the call ends: there is nothing to ask about.
pub fn look(home: &Home, policy: &Policy, call: &ToolCall) -> Result<Change, Outcome> {
    wished(home, policy, &call.arguments)
}

fn wished(home: &Home, policy: &Policy, arguments: &Value) -> Result<Change, Outcome> {
    let wish: Wish = serde_json::from_value(arguments.clone())
        .map_err(|error| Outcome::failed(format!("arguments are not understood: {error}")))?;
    let proposal = propose_rule(home, &wish).map_err(|no| match no {
        NoChange::Decided(told) => Outcome::done(format!("This needs no rule:\n{told}")),
        other @ (NoChange::ByHand(_) | NoChange::Unfit(_) | NoChange::Raced) => {
            Outcome::failed(other.to_string())
        }
    })?;
    if proposal.changes() != policy.sha256 {
        let raced = "policy.toml is not the one in force; try again in a moment";
        return Err(Outcome::failed(raced));
    }
    let moved = if home.policy().exists() {
        changed(home).map_err(|error| Outcome::failed(error.to_string()))?
    } else {
        vec![]
    };
    let is_moved = moved
        .iter()
        .any(|moved| proposal.program() == Some(moved.program.as_path()));
    if is_moved {
        return Err(Outcome::failed(
            "its program has changed since it was allowed; at the machine: local-bridge policy check --accept",
        ));
    }
    Ok(Change { wish, proposal })
}

/// Writes the rule that an order wishes for, if its owner has said yes to it at home under the policy that is there.
pub fn make(home: &Home, policy: &Policy, order: &Order) -> Outcome {
    let change = match wished(home, policy, &order.arguments) {
        Ok(change) => change,
        Err(outcome) => return outcome,
    };
    if order.yes.as_ref() != Some(&change.proposal.changes()) {
        return Outcome::denied("a rule needs a yes at home; no rule was made");
    }
    match change.proposal.write(home) {
        Ok(_) => Outcome::done(change.made()),
        Err(error) => Outcome::failed(error.to_string()),
    }
}

impl Change {
    /// What its owner is shown: the rule in words, and every line of the change.
    pub(super) fn shown(&self, machine: &str) -> String {
        let mut text = format!("machine: {}\n", literal(machine));
        let rule = format!("allow {} without asking, {}", self.words(), self.scope());
        line(&mut text, "A rule is proposed", &rule);
        text.push_str("in policy.toml:\n");
        for told in self.proposal.diff().lines() {
            text.push_str(&literal(told));
            text.push('\n');
        }
        if let Some(program) = self.proposal.program() {
            line(&mut text, "program", &literal(&program.to_string_lossy()));
        }
        if !text.is_ascii() {
            line(&mut text, "note", NOT_ASCII);
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// What the person reads in the chat when it is made.
    fn made(&self) -> String {
        let words = self.words();
        format!(
            "There is a rule now: {words}, {}, runs without a question.",
            self.scope()
        )
    }

    fn words(&self) -> String {
        literal(&json!(self.wish.allow).to_string())
    }

    fn scope(&self) -> &'static str {
        if self.wish.exact {
            "and nothing after it"
        } else {
            "whatever follows"
        }
    }
}
