//! What Bernard says by itself, to the person and to the model. Texts only, no decisions.

use crate::event::ModelFailure;
use crate::tool;
use protocol::call::{FileRef, ToolCall};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Why a call does not run that the person has said no to.
pub(super) const PERSON_SAID_NO: &str = "the person said no; do not try this again or in another way, but say what you wanted to do and ask them";

/// Why a call does not run that has come to the same end too often.
pub(super) const REPEATED: &str = "this same call has come to the same result before and does not run again in this turn; do something else, or say what stands in the way";

/// Why a call does not run that came with too many others.
pub(super) const TOO_MANY_CALLS: &str =
    "too many calls in one reply; ask for this one again, with fewer beside it";

/// What is known of a file that was on its way when the turn was called off.
pub(super) const STOPPED_WHILE_SENDING: &str =
    "the turn was called off while the file was on its way to the person; it may have arrived";

/// Told when the model has answered with nothing, again and again.
pub(super) const SILENT: &str =
    "The model gave an empty answer three times; ask again, or put it another way.";

/// Told when the model declines and says no word about it.
pub(super) const DECLINED: &str = "The model declined to answer this; put it another way.";

/// Stands under an answer that was cut off and continued as often as it may be.
pub(super) const CUT_OFF: &str =
    "\n\n(This answer is longer than I may write at once; ask me to go on.)";

/// The one sentence in which the person is told why no answer came: what happened, and what to do.
pub fn sentence(failure: &ModelFailure) -> String {
    match failure {
        ModelFailure::RefusedKey => {
            "The model provider refuses the key; set a valid one with `wrangler secret put`, then write again.".into()
        }
        ModelFailure::MissingKey { variable } => {
            format!("The model has no key yet; set one with `wrangler secret put {variable}`, then write again.")
        }
        ModelFailure::UnknownModel { model } => {
            format!("The provider knows no model named `{model}`; correct the variable `MODEL`, then write again.")
        }
        ModelFailure::RateLimited { retry_after: Some(seconds) } => {
            format!("The model provider takes no more requests for the moment; write again in {seconds} seconds.")
        }
        ModelFailure::RateLimited { retry_after: None } => {
            "The model provider takes no more requests for the moment; write again in a minute or two.".into()
        }
        ModelFailure::Overloaded => "The model provider is overloaded; write again in a few minutes.".into(),
        ModelFailure::ContextOverflow => {
            "This is more than the model can read at once; ask for a smaller part of it.".into()
        }
        ModelFailure::Rejected { reason } => {
            format!("The model provider rejected the request ({}); put it another way.", short(reason))
        }
        ModelFailure::Broken { reason } => {
            format!("Something broke in me each time I went at this, three times over ({}); I have set it aside.", short(reason))
        }
        ModelFailure::Network { reason } => {
            format!("The model did not answer ({}); write again.", short(reason))
        }
    }
}

/// Told when the turn ends without the model's own account of it.
pub(super) fn with_account(sentence: &str, done: &Tally) -> String {
    if done.is_empty() {
        sentence.to_owned()
    } else {
        format!("{sentence} Done so far: {done}.")
    }
}

/// Told when the person has called the turn off. What was under way may have taken effect, so it counts neither as done nor as not done.
pub(super) fn stopped(done: &Tally, under_way: &Tally, not_done: &Tally) -> String {
    let mut text = "Stopped.".to_owned();
    for (what, calls) in [
        ("Done so far", done),
        ("Called off half-way", under_way),
        ("Not done", not_done),
    ] {
        if !calls.is_empty() {
            let _infallible = write!(text, " {what}: {calls}.");
        }
    }
    text
}

/// Told once a turn when a call's machine is away.
pub(super) fn away(machine: &str, taken: bool, call: &ToolCall) -> String {
    if taken {
        return format!(
            "{machine} went away while it was at {}; I'll tell you how that ended when it is back.",
            code(call)
        );
    }
    format!(
        "{machine} is not connected; I'll do {} when it is back.",
        code(call)
    )
}

/// Told once a turn to a person who writes while a call waits for their yes.
pub(super) fn waits_for_yes(call: &ToolCall) -> String {
    format!(
        "Noted. First I need your yes or no to {}; /stop calls it off.",
        code(call)
    )
}

/// Told once a turn to a person who writes while a call waits for its machine.
pub(super) fn waits_for_machine(machine: &str, call: &ToolCall) -> String {
    format!(
        "Noted. I still wait for {} on {machine}; /stop calls it off.",
        code(call)
    )
}

/// What the model reads when a file has reached the person.
pub(super) fn sent(text: &str, file: &FileRef) -> String {
    let sent = format!("{} was sent to the person", file.name);
    if text.is_empty() {
        sent
    } else {
        format!("{text}\n{sent}")
    }
}

/// What the model reads when a file was refused on its way.
pub(super) fn not_sent(file: &FileRef, reason: &str) -> String {
    format!("{} could not be sent to the person: {reason}", file.name)
}

/// What the model reads when nobody knows whether a file arrived.
pub(super) fn perhaps_sent(file: &FileRef) -> String {
    format!(
        "{} was handed over, but whether it reached the person is not known; it is not sent again by itself",
        file.name
    )
}

/// What the button reads that takes a turn's changes back.
pub(super) const UNDO: &str = "Undo";

/// What begins the line about what machines have proven.
const PROVEN: &str = "✓";

/// What stands under a turn's last words: how much of it machines have signed for.
pub(super) fn proven(by: &BTreeMap<String, u32>) -> String {
    let each = by.iter().map(|(machine, count)| {
        let actions = if *count == 1 { "action" } else { "actions" };
        format!("{count} {actions} on {machine}")
    });
    format!("{PROVEN} {}", each.collect::<Vec<_>>().join(", "))
}

/// What stands under words that claim a deed, in a turn in which nothing was done.
pub(super) const UNVERIFIED: &str = "⚠ Unverified: nothing was changed, run or sent for this answer. /receipts lists what your machines have signed for.";

/// A text of the model's in which no line passes for that one.
pub(super) fn unproven(text: &str) -> String {
    if !text.contains(PROVEN) {
        return text.to_owned();
    }
    let line = |line: &str| {
        let claims = line.trim_start().starts_with(PROVEN) && line.contains("action");
        if claims {
            format!("{line} (unverified)")
        } else {
            line.to_owned()
        }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// What the model reads when a call's arguments are nested deeper than they could be kept.
pub(super) const DEEP_ARGUMENTS: &str = "the arguments are nested too deeply";

/// What the model reads when a call's arguments are no JSON object.
pub(super) fn bad_arguments(raw: &str) -> String {
    format!("the arguments are not a JSON object: {}", short(raw))
}

/// Calls as people are told of them: the first few by name, the rest by number, so that a long turn stays a short text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    named: Vec<String>,
    more: u32,
}

impl Tally {
    const NAMED: usize = 8;

    /// Adds a call.
    pub(super) fn add(&mut self, call: &ToolCall) {
        if self.named.len() < Self::NAMED {
            self.named.push(code(call));
        } else {
            self.more += 1;
        }
    }

    /// Whether no call was added.
    pub(super) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.named.join(", "))?;
        if self.more > 0 {
            write!(f, " and {} more", self.more)
        } else {
            Ok(())
        }
    }
}

/// A call in a line, as Markdown code that its own text cannot end.
fn code(call: &ToolCall) -> String {
    format!("`{}`", tool::brief(call).replace('`', "'"))
}

fn short(text: &str) -> String {
    tool::shorten(&text.replace(['\n', '\r', '`'], " "), 200)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::call::{CallId, ToolName};
    use serde_json::json;

    #[test]
    fn each_failure_is_told_in_its_own_sentence() {
        let failures = [
            ModelFailure::RefusedKey,
            ModelFailure::MissingKey {
                variable: "ANTHROPIC_API_KEY".into(),
            },
            ModelFailure::UnknownModel {
                model: "m-1".into(),
            },
            ModelFailure::RateLimited {
                retry_after: Some(30),
            },
            ModelFailure::RateLimited { retry_after: None },
            ModelFailure::Overloaded,
            ModelFailure::ContextOverflow,
            ModelFailure::Rejected {
                reason: "bad\nschema".into(),
            },
            ModelFailure::Network {
                reason: "reset".into(),
            },
        ];
        assert_eq!(
            failures.map(|failure| sentence(&failure)),
            [
                "The model provider refuses the key; set a valid one with `wrangler secret put`, then write again.",
                "The model has no key yet; set one with `wrangler secret put ANTHROPIC_API_KEY`, then write again.",
                "The provider knows no model named `m-1`; correct the variable `MODEL`, then write again.",
                "The model provider takes no more requests for the moment; write again in 30 seconds.",
                "The model provider takes no more requests for the moment; write again in a minute or two.",
                "The model provider is overloaded; write again in a few minutes.",
                "This is more than the model can read at once; ask for a smaller part of it.",
                "The model provider rejected the request (bad schema); put it another way.",
                "The model did not answer (reset); write again.",
            ]
        );
    }

    #[test]
    fn a_tally_names_the_first_few_and_counts_the_rest() {
        let mut tally = Tally::default();
        for n in 0..11 {
            let arguments = json!({"path": format!("{n}`.txt")});
            tally.add(&ToolCall {
                id: CallId("c".into()),
                tool: ToolName::new("files.read"),
                arguments,
            });
        }
        let named: Vec<String> = (0..8).map(|n| format!("`files.read {n}'.txt`")).collect();
        assert_eq!(
            tally.to_string(),
            format!("{} and 3 more", named.join(", "))
        );
    }
}
