//! What the person does themselves, by a button and without the model: calls, one after the other, and then word of what came of them.

use super::words;
use crate::policy::{self, Verdict};
use crate::tool;
use protocol::call::{CallId, Outcome, ToolCall};
use protocol::tools::Place;
use protocol::warrant::PROPOSE;
use serde::{Deserialize, Serialize};

/// How much of what a call brings is told, in characters.
const TOLD: usize = 1_000;

/// Some calls in order. The first that is left runs; what it changes, the next may build on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Errand {
    /// Names it, and the words about it.
    pub(super) name: String,
    /// What is left to do.
    left: Vec<ToolCall>,
    /// What came of the rest, a line each.
    told: Vec<String>,
    /// How many of them were done.
    done: u32,
    /// It wishes for rules and may wait long for a yes at home: nothing waits for it, and it waits for nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) aside: bool,
    /// The person knows that the machine is away.
    pub(super) told_away: bool,
}

impl Errand {
    pub(super) fn new(name: String, calls: Vec<ToolCall>) -> Self {
        Self {
            name,
            aside: calls.iter().all(is_wish),
            left: calls,
            told: vec![],
            done: 0,
            told_away: false,
        }
    }

    /// The call that runs, and where. What would need a question, or runs nowhere, is refused and passed over: a press is no answer to a
    /// question that nobody asked.
    pub(super) fn next(&mut self) -> Option<(ToolCall, Place)> {
        while let Some(call) = self.left.first().cloned() {
            if is_wish(&call) {
                return Some((call, Place::Bridge)); // its machine asks, whoever else has been asked
            }
            match policy::judge(&call) {
                Verdict::Run(place) => return Some((call, place)),
                Verdict::Ask(_) | Verdict::Refuse(_) => {
                    self.end(&Outcome::denied("this needs a question first"));
                }
            }
        }
        None
    }

    /// The call that runs.
    pub(super) fn running(&self) -> Option<&ToolCall> {
        self.left.first()
    }

    /// Whether this is the call that runs.
    pub(super) fn runs(&self, id: &CallId) -> bool {
        self.running().is_some_and(|call| call.id == *id)
    }

    /// The call that runs has ended.
    pub(super) fn end(&mut self, outcome: &Outcome) {
        if self.left.is_empty() {
            return;
        }
        let call = self.left.remove(0);
        self.told.push(match outcome {
            Outcome::Done { text, .. } => {
                self.done += 1;
                tool::shorten(text, TOLD)
            }
            Outcome::Failed { reason } | Outcome::Denied { reason } => {
                format!("`{}` was not done: {reason}", tool::brief(&call))
            }
            Outcome::Cancelled => format!("`{}` was called off", tool::brief(&call)),
            Outcome::Interrupted { reason } => {
                format!(
                    "whether `{}` was done is not known: {reason}",
                    tool::brief(&call)
                )
            }
        });
    }

    /// What the person reads at its end.
    pub(super) fn words(&self) -> String {
        words::unproven(&self.told.join("\n"))
    }

    /// What the model reads of it: a machine's words have no place among its own.
    pub(super) fn note(&self) -> String {
        let count = self.told.len();
        format!(
            "The person pressed a button; of its {count} {} at home, {} done.",
            if count == 1 { "action" } else { "actions" },
            match self.done {
                0 => "none was".to_owned(),
                1 => "1 was".to_owned(),
                done => format!("{done} were"),
            }
        )
    }
}

fn is_wish(call: &ToolCall) -> bool {
    call.tool.0 == PROPOSE
}
