//! Notices a model that goes in circles: the same call with the same result, again and again. A poll that changes is no circle.

use protocol::call::{Outcome, ToolCall};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt::Write;

/// The same call with the same result this many times earns a warning; from then on the call is refused.
pub(super) const WARN_AT: u32 = 3;

/// How many different calls are remembered; a circle with more stations than this ends at the step limit.
const WINDOW: usize = 64;

/// Stands at the end of a result that has come once too often.
pub(crate) const WARNING: &str = "\n\n[This call has given this same result three times. It will not run again; do something else, or say what stands in the way.]";

/// Which calls a turn has made and how often each gave the same result.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Guard {
    seen: Vec<Seen>,
}

/// One call, by fingerprint: the texts themselves stay out of the saved state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    call: u64,
    result: u64,
    times: u32,
}

/// Whether a call is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It may run.
    Fine,
    /// It may not; the model reads why.
    Refuse,
    /// It may not, and the model has been told before: the turn comes to its end.
    Close,
}

impl Guard {
    /// Judges a call before it runs, and counts it when it may not.
    pub(super) fn check(&mut self, call: &ToolCall) -> Repeat {
        let fingerprint = call_fingerprint(call);
        let Some(seen) = self
            .seen
            .iter_mut()
            .find(|seen| seen.call == fingerprint && seen.times >= WARN_AT)
        else {
            return Repeat::Fine;
        };
        seen.times += 1;
        if seen.times == WARN_AT + 1 {
            Repeat::Refuse
        } else {
            Repeat::Close
        }
    }

    /// Counts a result; true when this is the time to warn.
    pub(super) fn record(&mut self, call: &ToolCall, outcome: &Outcome) -> bool {
        let (call, result) = (call_fingerprint(call), outcome_fingerprint(outcome));
        let before = match self.seen.iter().position(|seen| seen.call == call) {
            Some(place) => Some(self.seen.remove(place)),
            None => None,
        };
        let times = match before {
            Some(before) if before.result == result => before.times + 1,
            Some(_) | None => 1,
        };
        // A no is not asked for again: it counts as often as a warned call, and its own words are the warning.
        let denied = matches!(outcome, Outcome::Denied { .. });
        let times = if denied { times.max(WARN_AT) } else { times };
        if self.seen.len() == WINDOW {
            self.seen.remove(0);
        }
        self.seen.push(Seen {
            call,
            result,
            times,
        });
        times == WARN_AT && !denied
    }

    /// Begins afresh: the person has said something, so that trying again may make sense.
    pub(super) fn forget(&mut self) {
        self.seen.clear();
    }
}

fn call_fingerprint(call: &ToolCall) -> u64 {
    let mut text = format!("{}\n", call.tool);
    canonical(&call.arguments, &mut text);
    fnv1a(text.as_bytes())
}

fn outcome_fingerprint(outcome: &Outcome) -> u64 {
    fnv1a(format!("{outcome:?}").as_bytes())
}

/// JSON with every object's keys in order, whatever order the model wrote them in.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            out.push('{');
            for (name, value) in fields {
                let _infallible = write!(out, "{name:?}:");
                canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
    }
}

/// FNV-1a, 64 bits: the same on every machine and after every restart, which the standard hasher does not promise.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::call::{CallId, ToolName};
    use serde_json::json;

    fn call(arguments: Value) -> ToolCall {
        ToolCall {
            id: CallId("c".into()),
            tool: ToolName::new("files.list"),
            arguments,
        }
    }

    #[test]
    fn the_third_same_result_warns_the_fourth_call_is_refused_the_fifth_closes() {
        let mut guard = Guard::default();
        let (call, same) = (call(json!({"path": "a"})), Outcome::done("x"));
        let mut told = vec![];
        for _ in 0..3 {
            assert_eq!(guard.check(&call), Repeat::Fine);
            told.push(guard.record(&call, &same));
        }
        assert_eq!(told, [false, false, true]);
        assert_eq!(
            [guard.check(&call), guard.check(&call), guard.check(&call)],
            [Repeat::Refuse, Repeat::Close, Repeat::Close]
        );
    }

    #[test]
    fn a_poll_that_changes_is_no_circle() {
        let mut guard = Guard::default();
        let call = call(json!({"path": "a"}));
        for n in 0..20 {
            assert_eq!(guard.check(&call), Repeat::Fine);
            assert!(!guard.record(&call, &Outcome::done(format!("{} files", n / 2))));
        }
    }

    #[test]
    fn the_order_of_arguments_does_not_make_another_call() {
        let one: Value =
            serde_json::from_str(r#"{"a": {"x": 1, "y": [2, null]}, "b": "c"}"#).unwrap();
        let other: Value =
            serde_json::from_str(r#"{"b": "c", "a": {"y": [2, null], "x": 1}}"#).unwrap();
        assert_eq!(call_fingerprint(&call(one)), call_fingerprint(&call(other)));
        assert_ne!(
            call_fingerprint(&call(json!({"a": "1"}))),
            call_fingerprint(&call(json!({"a": 1})))
        );
    }

    #[test]
    fn a_denied_call_is_not_put_to_the_person_again() {
        let mut guard = Guard::default();
        let call = call(json!({}));
        assert!(!guard.record(&call, &Outcome::denied("no")));
        assert_eq!(guard.check(&call), Repeat::Refuse);
    }

    #[test]
    fn the_oldest_call_is_forgotten_first() {
        let mut guard = Guard::default();
        for n in 0..=WINDOW {
            guard.record(&call(json!({"path": n})), &Outcome::denied("no"));
        }
        assert_eq!(guard.seen.len(), WINDOW);
        assert_eq!(guard.check(&call(json!({"path": 0}))), Repeat::Fine);
        assert_eq!(guard.check(&call(json!({"path": 1}))), Repeat::Refuse);
    }
}
