//! The tools that run on the home machine: their names, their arguments, what the model is told of them.

use crate::call::{CallId, ToolName};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// What an action can do to the world, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Looks, changes nothing.
    Read,
    /// Changes what can be changed back, or ends what a yes began.
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
    /// Add to the end instead, as [`FilesAppend`] does; a model is told of that tool alone.
    #[serde(default)]
    pub append: bool,
}

/// `files.stat`: what one file or folder is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesStat {
    /// The file or folder.
    pub path: String,
}

/// `files.edit`: pieces of a text file, replaced exactly; all of them or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesEdit {
    /// The file.
    pub path: String,
    /// The pieces; each is looked for in the text as it was before all of them.
    pub edits: Vec<Edit>,
}

/// One piece of a text and what takes its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The text as it stands in the file, exactly; it must be there once.
    pub find: String,
    /// What takes its place.
    pub replace: String,
    /// Replace it wherever it stands instead of once.
    #[serde(default)]
    pub all: bool,
}

/// `files.append`: a text added to the end of a file, which is made where it is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesAppend {
    /// The file.
    pub path: String,
    /// What is added.
    pub text: String,
}

/// `files.move`: a file or folder under another name or in another folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesMove {
    /// What is moved.
    pub from: String,
    /// Its whole new path.
    pub to: String,
    /// Take the place of a file that is there.
    #[serde(default)]
    pub replace: bool,
}

/// `files.copy`: the exact bytes of a file, or of a folder's files, in another place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesCopy {
    /// What is copied.
    pub from: String,
    /// The copy's whole path.
    pub to: String,
    /// Take the place of a file that is there.
    #[serde(default)]
    pub replace: bool,
}

/// `files.mkdir`: a folder, and those above it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesMkdir {
    /// The folder.
    pub path: String,
}

/// `files.trash`: a file or folder put into the system's trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesTrash {
    /// What is put there.
    pub path: String,
}

/// `files.undo`: a change by one of these tools, taken back. An undoing is such a change as well.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesUndo {
    /// The call that made the change; the last change that stands where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
}

/// `files.send`: a file's exact bytes, handed to the person in the chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesSend {
    /// The file.
    pub path: String,
}

/// `files.save`: a file that the person gave, put on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesSave {
    /// Which file: the id that the message shows, or the `files.send` call that brought one from another machine.
    pub file: String,
    /// Its whole new path, or the folder that it goes to under its own name.
    pub to: String,
}

/// What the id of a file that a person gave begins with; the first 128 bits of its SHA-256 follow, in hex.
pub const GIVEN: &str = "in-";

/// The id of a file that a person gave. It names the very bytes: who has signed a call with it has signed them.
pub fn given_id(sha256: &str) -> String {
    let hash = sha256.get(..32).unwrap_or(sha256);
    format!("{GIVEN}{hash}")
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
    /// Let it go on and come back at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub background: bool,
    /// How long it may take; the machine's policy says how much of that it gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
    /// Give it a terminal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub terminal: bool,
}

/// `process.list`: the programs in the background.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessList {}

/// `process.output`: what a program in the background has written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessOutput {
    /// The program, such as `p3`.
    pub id: String,
    /// The byte to begin at; the end of what it has written by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
}

/// `process.write`: words for a program in the background.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessWrite {
    /// The program.
    pub id: String,
    /// What it reads, exactly; a line ends in `\n`.
    #[serde(default)]
    pub text: String,
    /// Nothing follows: its input ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub end: bool,
}

/// `process.signal`: a signal for a program in the background and for all that it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSignal {
    /// The program.
    pub id: String,
    /// Which.
    pub signal: Signal,
}

/// The signals that may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Signal {
    /// As by Ctrl-C.
    Int,
    /// Please end.
    Term,
    /// The terminal is gone, or: read your settings again.
    Hup,
    /// End, unasked.
    Kill,
}

/// `process.stop`: the end of a program in the background and of all that it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessStop {
    /// The program.
    pub id: String,
}

/// Every tool of the home machine, in the order in which a model is told of them.
pub fn bridge_tools() -> Vec<ToolSpec> {
    let mut tools = reading_tools();
    tools.extend(changing_tools());
    tools.extend([
        spec(
            "files.send",
            Grade::Read,
            "Hand a file to the person in this chat.",
            json!({"path": {"type": "string"}}),
            &["path"],
        ),
        spec(
            "files.save",
            Grade::Write,
            "Save an attached file, by its id, to a path or folder.",
            json!({"file": {"type": "string"}, "to": {"type": "string"}}),
            &["file", "to"],
        ),
        spec(
            "shell.run",
            Grade::Execute,
            "Run a program on the home machine. No shell: no pipes, globs or redirections.",
            json!({
                "argv": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                "folder": path("where to run it; the first root by default"),
                "background": described("boolean", "for what does not end by itself"),
                "seconds": described("integer", "time limit; 60 by default"),
                "terminal": json!({"type": "boolean"}),
            }),
            &["argv"],
        ),
    ]);
    tools.extend(process_tools());
    tools
}

/// What was started with a yes may be looked at, signalled and stopped without another; what is written to it can make it do anything.
fn process_tools() -> Vec<ToolSpec> {
    let text = || json!({"type": "string"});
    vec![
        spec(
            "process.list",
            Grade::Read,
            "Programs in the background.",
            json!({}),
            &[],
        ),
        spec(
            "process.output",
            Grade::Read,
            "What one has written; the end of it by default.",
            json!({"id": path("such as p3"), "from": {"type": "integer", "minimum": 0}}),
            &["id"],
        ),
        spec(
            "process.write",
            Grade::Execute,
            "Write to its input.",
            json!({"id": text(), "text": text(), "end": described("boolean", "nothing follows")}),
            &["id"],
        ),
        spec(
            "process.signal",
            Grade::Write,
            "Send it a signal.",
            json!({"id": text(), "signal": {"enum": ["INT", "TERM", "HUP", "KILL"]}}),
            &["id", "signal"],
        ),
        spec(
            "process.stop",
            Grade::Write,
            "End it and all that it began.",
            json!({"id": text()}),
            &["id"],
        ),
    ]
}

/// What a home machine's tool can do to the world; `None` if there is no such tool.
pub fn bridge_grade(name: &str) -> Option<Grade> {
    // Each call asks several times, and the specs with their schemas are a thousand small allocations.
    static GRADES: LazyLock<Vec<(ToolName, Grade)>> = LazyLock::new(|| {
        let tools = bridge_tools().into_iter();
        tools.map(|spec| (spec.name, spec.grade)).collect()
    });
    let found = GRADES.iter().find(|(known, _)| known.0 == name);
    found.map(|(_, grade)| *grade)
}

fn reading_tools() -> Vec<ToolSpec> {
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
            "files.stat",
            Grade::Read,
            "What a file or folder is: exact size, times, mode, encoding.",
            json!({"path": {"type": "string"}}),
            &["path"],
        ),
        spec(
            "files.read",
            Grade::Read,
            "Read a text file, whole or by lines.",
            json!({
                "path": {"type": "string"},
                "from_line": {"type": "integer", "minimum": 1},
                "lines": {"type": "integer", "minimum": 1},
            }),
            &["path"],
        ),
        spec(
            "files.search",
            Grade::Read,
            "Find files by name or by text.",
            json!({
                "query": {"type": "string", "description": "words that the name or text holds"},
                "path": path("folder to stay below; empty for all"),
                "within": {"enum": ["both", "names", "contents"]},
            }),
            &["query"],
        ),
    ]
}

fn changing_tools() -> Vec<ToolSpec> {
    let text = || json!({"type": "string"});
    let from_to = || {
        json!({
            "from": text(),
            "to": path("its whole new path"),
            "replace": {"type": "boolean", "description": "a file that is there"},
        })
    };
    let edit = json!({
        "type": "object",
        "required": ["find", "replace"],
        "properties": {
            "find": path("exact text that is there once"),
            "replace": text(),
            "all": {"type": "boolean", "description": "wherever it is"},
        },
    });
    vec![
        spec(
            "files.write",
            Grade::Write,
            "Make a text file, or replace it whole.",
            json!({"path": text(), "text": text()}),
            &["path", "text"],
        ),
        spec(
            "files.edit",
            Grade::Write,
            "Replace exact pieces of a text file: all of them or none.",
            json!({"path": text(), "edits": {"type": "array", "items": edit, "minItems": 1}}),
            &["path", "edits"],
        ),
        spec(
            "files.append",
            Grade::Write,
            "Add text to the end of a file.",
            json!({"path": text(), "text": text()}),
            &["path", "text"],
        ),
        spec(
            "files.move",
            Grade::Write,
            "Move or rename a file or folder.",
            from_to(),
            &["from", "to"],
        ),
        spec(
            "files.copy",
            Grade::Write,
            "Copy a file or folder.",
            from_to(),
            &["from", "to"],
        ),
        spec(
            "files.mkdir",
            Grade::Write,
            "Make a folder.",
            json!({"path": text()}),
            &["path"],
        ),
        spec(
            "files.trash",
            Grade::Write,
            "Delete a file or folder: it goes to the system's trash.",
            json!({"path": text()}),
            &["path"],
        ),
        spec(
            "files.undo",
            Grade::Write,
            "Undo a change by these file tools; undo that undo to redo it.",
            json!({"call": path("the change's call; the last by default")}),
            &[],
        ),
    ]
}

fn path(what: &str) -> Value {
    described("string", what)
}

fn described(kind: &str, what: &str) -> Value {
    json!({"type": kind, "description": what})
}

fn spec(
    name: &str,
    grade: Grade,
    description: &str,
    properties: Value,
    required: &[&str],
) -> ToolSpec {
    // That nothing else is taken is not said to the model: every tool says so itself to one that tries, and each word here is paid for
    // with every question.
    let mut parameters = json!({"type": "object", "required": required});
    parameters["properties"] = properties;
    ToolSpec {
        name: ToolName::new(name),
        description: description.to_owned(),
        parameters,
        place: Place::Bridge,
        grade,
    }
}
