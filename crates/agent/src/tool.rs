//! The tools a model is told of: those of the home machine, which [`protocol`] names, and those of the Worker, named here.

use crate::transcript::Trust;
use protocol::call::{ToolCall, ToolName};
use protocol::tools::{Grade, Place, ToolSpec, bridge_tools};
use protocol::warrant::PROPOSE;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// The longest [`brief`], in characters: a line on a phone.
const BRIEF_LIMIT: usize = 60;

/// The beginning of the paths under which a machine shows what its commands wrote.
const COMMANDS_WROTE: &str = "@output";

/// Every tool that runs in the Worker itself, in the order in which a model is told of them.
pub fn worker_tools() -> Vec<ToolSpec> {
    vec![
        spec(
            "memory.remember",
            Grade::Write,
            "Keep a fact about the person for good: one sentence that is clear without this conversation.",
            &json!({"text": {"type": "string"}}),
            &["text"],
        ),
        spec(
            "memory.search",
            Grade::Read,
            "Find remembered facts and earlier messages by words.",
            &json!({"query": {"type": "string", "description": "words that they hold"}}),
            &["query"],
        ),
        spec(
            "memory.forget",
            Grade::Write,
            "Forget a remembered fact, when the person asks for it.",
            &json!({
                "id": {"type": "string", "description": "from memory.search"},
                "query": {"type": "string", "description": "words that only this fact holds"},
            }),
            &[],
        ),
        spec(
            "reminders.set",
            Grade::Write,
            "Write to the person later, in this chat.",
            &json!({
                "text": {"type": "string", "description": "what to remind them of"},
                "in_seconds": {"type": "integer", "minimum": 1, "description": "how long from now"},
            }),
            &["text", "in_seconds"],
        ),
        spec(
            "reminders.list",
            Grade::Read,
            "The reminders that are still to come.",
            &json!({}),
            &[],
        ),
        spec(
            "reminders.cancel",
            Grade::Write,
            "Call a reminder off.",
            &json!({"id": {"type": "integer", "description": "from reminders.list"}}),
            &["id"],
        ),
        spec(
            "results.read",
            Grade::Read,
            "Read on in a tool's result that was too long to be shown whole.",
            &json!({
                "call": {"type": "string", "description": "as named where the result was cut"},
                "from": {"type": "integer", "minimum": 0, "description": "the character to begin at"},
            }),
            &["call"],
        ),
    ]
}

/// Every tool there is, in the order in which a model is told of them.
pub fn all() -> &'static [ToolSpec] {
    static ALL: LazyLock<Vec<ToolSpec>> =
        LazyLock::new(|| [bridge_tools(), worker_tools()].concat());
    &ALL
}

/// The tool of that name, if there is one.
pub fn find(name: &ToolName) -> Option<ToolSpec> {
    all().iter().find(|tool| tool.name == *name).cloned()
}

/// Who stands behind the text that a tool brings back; a tool that nobody named brings the least trusted.
pub fn trust(name: &ToolName) -> Trust {
    match name.0.split_once('.') {
        Some(("memory" | "reminders", _)) => Trust::Owner,
        Some(("files", _)) => Trust::Kept,
        Some(_) | None => Trust::Elsewhere,
    }
}

/// Who stands behind the text that a call brings back: what a command wrote is no person's own, by whatever tool it is read.
pub fn trust_in(call: &ToolCall) -> Trust {
    let path = call.arguments.get("path").and_then(Value::as_str);
    match path.map(|path| path.trim_start_matches("./")) {
        Some(path) if path.starts_with(COMMANDS_WROTE) => Trust::Elsewhere,
        Some(_) | None => trust(&call.tool),
    }
}

/// A call in one short line for people: the tool and its most telling argument.
pub fn brief(call: &ToolCall) -> String {
    let argument = ["argv", "allow", "path", "from", "query", "text", "id"]
        .iter()
        .find_map(|name| words(call.arguments.get(name)?));
    let line = match argument {
        Some(argument) if call.tool.0 == PROPOSE => format!("a rule for {argument}"),
        Some(argument) => format!("{} {argument}", call.tool),
        None => call.tool.to_string(),
    };
    shorten(&line.replace(['\n', '\r'], " "), BRIEF_LIMIT)
}

/// A text's first `limit` characters, with an ellipsis where some are missing.
pub(crate) fn shorten(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn words(argument: &Value) -> Option<String> {
    let text = match argument {
        Value::String(text) => text.clone(),
        Value::Array(items) => items
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(" "),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

fn spec(
    name: &str,
    grade: Grade,
    description: &str,
    properties: &Value,
    required: &[&str],
) -> ToolSpec {
    ToolSpec {
        name: ToolName::new(name),
        description: description.to_owned(),
        parameters: json!({"type": "object", "properties": properties, "required": required}),
        place: Place::Worker,
        grade,
    }
}

/// Whether what a tool changes at home can be taken back.
pub fn can_be_undone(name: &ToolName) -> bool {
    bridge_tools()
        .iter()
        .any(|spec| spec.name == *name && spec.grade == Grade::Write)
}

/// Whether a tool does more than look: it changes something, starts something, or hands something over.
pub fn acts(name: &ToolName) -> bool {
    let hands_over = name.0 == "files.send";
    hands_over
        || all()
            .iter()
            .any(|spec| spec.name == *name && spec.grade > Grade::Read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::call::CallId;

    #[test]
    fn every_tool_is_named_once_and_found_by_its_name() {
        let tools = all();
        for tool in tools {
            assert_eq!(
                tools.iter().filter(|other| other.name == tool.name).count(),
                1,
                "{}",
                tool.name
            );
            assert_eq!(find(&tool.name).as_ref(), Some(tool));
        }
        assert_eq!(find(&ToolName::new("files.format")), None);
    }

    #[test]
    fn a_brief_is_the_tool_and_its_most_telling_argument() {
        let brief_of = |tool: &str, arguments: Value| {
            brief(&ToolCall {
                id: CallId("c".into()),
                tool: ToolName::new(tool),
                arguments,
            })
        };
        assert_eq!(
            brief_of(
                "shell.run",
                json!({"argv": ["git", "status"], "folder": "x"})
            ),
            "shell.run git status"
        );
        assert_eq!(
            brief_of("files.write", json!({"path": "a.txt", "text": "b"})),
            "files.write a.txt"
        );
        assert_eq!(
            brief_of("files.move", json!({"from": "a.txt", "to": "b.txt"})),
            "files.move a.txt"
        );
        assert_eq!(
            brief_of(PROPOSE, json!({"allow": ["git", "status"], "exact": true})),
            "a rule for git status"
        );
        assert_eq!(
            brief_of("results.read", json!({"call": "c1", "from": 7})),
            "results.read"
        );
        assert_eq!(brief_of("files.list", json!({})), "files.list");
        assert_eq!(brief_of("files.list", json!({"path": ""})), "files.list");
        assert_eq!(
            brief_of("memory.search", json!({"query": "é".repeat(99)}))
                .chars()
                .count(),
            BRIEF_LIMIT + 1
        );
    }

    #[test]
    fn what_a_command_wrote_is_trusted_no_more_when_it_is_read_as_a_file() {
        let trust_of = |path: &str| {
            trust_in(&ToolCall {
                id: CallId("c".into()),
                tool: ToolName::new("files.read"),
                arguments: json!({"path": path}),
            })
        };
        assert_eq!(trust_of("docs/a.txt"), Trust::Kept);
        assert_eq!(trust_of("@output/c1.txt"), Trust::Elsewhere);
        assert_eq!(trust_of("./@output/c1.txt"), Trust::Elsewhere);
    }

    #[test]
    fn a_tool_that_nobody_named_is_trusted_least() {
        let trusts = ["memory.search", "files.read", "shell.run", "files", "x.y"]
            .map(|name| trust(&ToolName::new(name)));
        assert_eq!(
            trusts,
            [
                Trust::Owner,
                Trust::Kept,
                Trust::Elsewhere,
                Trust::Elsewhere,
                Trust::Elsewhere
            ]
        );
    }
}
