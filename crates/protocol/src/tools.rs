//! The tools that run on the home machine: their names, their arguments, what the model is told of them.

use crate::call::ToolName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What an action can do to the world, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Looks, changes nothing.
    Read,
    /// Changes what can be changed back.
    Write,
    /// Runs a program.
    Execute,
    /// Sends something to someone else.
    Outward,
    /// Cannot be taken back, or touches money, locks, alarms or policy.
    Dangerous,
}

/// A tool as a model is told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Its name, such as `files.list`.
    pub name: ToolName,
    /// One or two sentences: what it does and when to use it.
    pub description: String,
    /// JSON Schema of its arguments, an `object`.
    pub parameters: Value,
    /// Where it runs.
    pub place: Place,
    /// What it can do to the world.
    pub grade: Grade,
}

/// Where a tool runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In the Worker, beside the person's memory.
    Worker,
    /// On the person's own machine, through the tunnel.
    Bridge,
}

/// `files.list`: what a folder holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesList {
    /// A folder below a root, such as `playground/letters`; empty for the roots themselves.
    #[serde(default)]
    pub path: String,
}

/// `files.read`: a stretch of a text file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesRead {
    /// The file.
    pub path: String,
    /// The first line wanted, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_line: Option<u32>,
    /// How many lines at the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u32>,
}

/// `files.search`: files whose name or text matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesSearch {
    /// Words to look for; a file matches by name when its path holds each of them, in any case.
    pub query: String,
    /// A folder to stay below; empty for everything.
    #[serde(default)]
    pub path: String,
    /// Where to look.
    #[serde(default)]
    pub within: SearchWithin,
}

/// Where `files.search` looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchWithin {
    /// In names and in text.
    #[default]
    Both,
    /// In names only.
    Names,
    /// In text only.
    Contents,
}

/// `files.write`: a text file, made or replaced whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesWrite {
    /// The file.
    pub path: String,
    /// Its whole new text.
    pub text: String,
    /// Add to the end instead of replacing.
    #[serde(default)]
    pub append: bool,
}

/// `files.send`: a file's exact bytes, handed to the person in the chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesSend {
    /// The file.
    pub path: String,
}

/// `shell.run`: a program with its arguments; there is no shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShellRun {
    /// The program and its arguments, one element each.
    pub argv: Vec<String>,
    /// The folder to run in; the first root by default.
    #[serde(default)]
    pub folder: String,
}

/// Every tool of the home machine, in the order in which a model is told of them.
pub fn bridge_tools() -> Vec<ToolSpec> {
    let path = |what: &str| json!({"type": "string", "description": what});
    vec![
        spec(
            "files.list",
            Grade::Read,
            "List a folder on the home machine: names, sizes, dates.",
            json!({
                "path": path("folder below a root, e.g. playground/letters; empty for the roots"),
            }),
            &[],
        ),
        spec(
            "files.read",
            Grade::Read,
            "Read a text file on the home machine, whole or by lines.",
            json!({
                "path": path("the file"),
                "from_line": {"type": "integer", "minimum": 1},
                "lines": {"type": "integer", "minimum": 1},
            }),
            &["path"],
        ),
        spec(
            "files.search",
            Grade::Read,
            "Find files on the home machine by name or by text.",
            json!({
                "query": {"type": "string", "description": "words that the name or text holds"},
                "path": path("folder to stay below; empty for all"),
                "within": {"enum": ["both", "names", "contents"]},
            }),
            &["query"],
        ),
        spec(
            "files.write",
            Grade::Write,
            "Make, replace or add to a text file on the home machine.",
            json!({
                "path": path("the file"),
                "text": {"type": "string"},
                "append": {"type": "boolean", "description": "add to the end instead of replacing"},
            }),
            &["path", "text"],
        ),
        spec(
            "files.send",
            Grade::Read,
            "Hand a file from the home machine to the person in this chat.",
            json!({
                "path": path("the file"),
            }),
            &["path"],
        ),
        spec(
            "shell.run",
            Grade::Execute,
            "Run a program on the home machine. No shell: no pipes, globs or redirections.",
            json!({
                "argv": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                "folder": path("where to run it; the first root by default"),
            }),
            &["argv"],
        ),
    ]
}

fn spec(
    name: &str,
    grade: Grade,
    description: &str,
    properties: Value,
    required: &[&str],
) -> ToolSpec {
    let mut parameters =
        json!({"type": "object", "required": required, "additionalProperties": false});
    parameters["properties"] = properties;
    ToolSpec {
        name: ToolName::new(name),
        description: description.to_owned(),
        parameters,
        place: Place::Bridge,
        grade,
    }
}
