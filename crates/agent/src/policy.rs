//! Which calls run, which ask the person, which never. A tool that nobody named never runs.

use crate::tool;
use protocol::call::ToolCall;
use protocol::tools::{Grade, Place};

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It runs at once.
    Run(Place),
    /// It runs when the person has said yes.
    Ask(Place),
    /// It does not run; the reason is for the model.
    Refuse(String),
}

/// Judges a call by its tool's grade. The home machine judges again by its own law and has the last word.
pub fn judge(call: &ToolCall) -> Verdict {
    let Some(spec) = tool::all().iter().find(|tool| tool.name == call.tool) else {
        return Verdict::Refuse(unknown(call));
    };
    match spec.grade {
        Grade::Read | Grade::Write => Verdict::Run(spec.place),
        Grade::Execute | Grade::Outward | Grade::Dangerous => Verdict::Ask(spec.place),
    }
}

fn unknown(call: &ToolCall) -> String {
    let names: Vec<&str> = tool::all()
        .iter()
        .map(|tool| tool.name.0.as_str())
        .collect();
    format!(
        "there is no tool `{}`; the tools are {}",
        tool::shorten(&call.tool.0, 64),
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::call::{CallId, ToolName};
    use serde_json::json;

    fn verdict(tool: &str) -> Verdict {
        judge(&ToolCall {
            id: CallId("c".into()),
            tool: ToolName::new(tool),
            arguments: json!({}),
        })
    }

    #[test]
    fn reading_and_writing_run_and_programs_ask() {
        assert_eq!(verdict("files.read"), Verdict::Run(Place::Bridge));
        for change in [
            "write", "edit", "append", "move", "copy", "mkdir", "trash", "undo",
        ] {
            let tool = format!("files.{change}");
            assert_eq!(verdict(&tool), Verdict::Run(Place::Bridge), "{tool}");
        }
        assert_eq!(verdict("memory.remember"), Verdict::Run(Place::Worker));
        assert_eq!(verdict("shell.run"), Verdict::Ask(Place::Bridge));
    }

    #[test]
    fn what_was_started_with_a_yes_is_watched_and_stopped_without_another_and_told_nothing() {
        for tool in ["list", "output", "signal", "stop"] {
            let tool = format!("process.{tool}");
            assert_eq!(verdict(&tool), Verdict::Run(Place::Bridge), "{tool}");
        }
        assert_eq!(verdict("process.write"), Verdict::Ask(Place::Bridge));
    }

    #[test]
    fn every_tool_above_write_asks() {
        for tool in tool::all() {
            let expected = if tool.grade > Grade::Write {
                Verdict::Ask(tool.place)
            } else {
                Verdict::Run(tool.place)
            };
            assert_eq!(verdict(&tool.name.0), expected, "{}", tool.name);
        }
    }

    #[test]
    fn a_tool_that_nobody_named_is_refused_with_the_names_of_those_that_exist() {
        assert_eq!(
            verdict("files.delete"),
            Verdict::Refuse(
                "there is no tool `files.delete`; the tools are files.list, files.stat, files.read, files.search, \
                 files.write, files.edit, files.append, files.move, files.copy, files.mkdir, files.trash, files.undo, \
                 files.send, files.save, shell.run, process.list, process.output, process.write, process.signal, process.stop, memory.remember, memory.search, memory.forget, reminders.set, \
                 reminders.list, reminders.cancel, results.read"
                    .into()
            )
        );
    }
}
