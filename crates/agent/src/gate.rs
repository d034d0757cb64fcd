//! The last look at what is said: nothing that is meant for machines reaches a person.
//!
//! Models sometimes write aloud what belongs on another line of the wire: their thinking, calls of tools as text, the marks that their
//! own format is made of, the frames around what they were given, a word that stands for silence; and what breaks tells of itself in
//! traces. All that is taken out here, and what is left stays as it was. What stands in a code block was written to be seen.

use crate::tool;
use protocol::call::ToolName;
use serde_json::Value;

/// What stands around a thought. Compared without regard to case.
const THOUGHTS: [&str; 7] = [
    "think",
    "thinking",
    "thought",
    "reasoning",
    "reflection",
    "scratchpad",
    "antthinking",
];

/// What stands around a call that was written as text.
const CALLS: [&str; 6] = [
    "tool_call",
    "tool_calls",
    "function_calls",
    "function_call",
    "tool_response",
    "invoke",
];

/// Other spellings of these.
const ALIASES: [(&str, &str); 4] = [
    ("◁think▷", "<think>"),
    ("◁/think▷", "</think>"),
    ("[THINK]", "<think>"),
    ("[/THINK]", "</think>"),
];

/// How often a text is looked at.
const ROUNDS: u32 = 8;

/// Code blocks of these languages are calls, whatever they look like.
const CALL_BLOCKS: [&str; 5] = [
    "tool_code",
    "tool_call",
    "tool_calls",
    "tool_use",
    "function_call",
];

/// Lines that stand for silence in other systems; a model that learnt them may say them here.
const SILENCE: [&str; 6] = [
    "NO_REPLY",
    "HEARTBEAT_OK",
    "ANNOUNCE_SKIP",
    "REPLY_SKIP",
    "[SILENT]",
    "<silent/>",
];

/// Marks of models' formats.
const MARKS: [&str; 3] = ["[INST]", "[/INST]", "[TOOL_CALLS]"];

/// The shortest mark between `<|` and `|>`, in letters: `<|x|>` is mathematics.
const SHORTEST_MARK: usize = 3;

/// What only a line of our own failures holds.
const TRACES: [&str; 3] = ["at wasm://", "RuntimeError: unreachable", "wasm-function["];

/// The text without what is not for people, trimmed where something was taken; as it is where there is nothing.
///
/// What is left is looked at again until nothing more is taken: two halves of a tag must not make a whole one.
pub fn for_people(text: &str) -> String {
    let mut shown = text.to_owned();
    for _ in 0..ROUNDS {
        let again = looked_at(&shown);
        if again == shown {
            break;
        }
        shown = again;
    }
    if shown == text {
        shown
    } else {
        shown.trim().to_owned()
    }
}

fn looked_at(text: &str) -> String {
    let text = channel_of_people(text);
    let text = ALIASES
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    let spoken = without_hidden(&text);
    let has_frame = spoken.contains("<data src=\"");
    let mut shown = String::with_capacity(spoken.len());
    let mut fence: Option<Fence> = None;
    for line in spoken.split_inclusive('\n') {
        let opened = Fence::opened_by(line);
        if let Some(open) = &fence {
            if !open.is_call {
                shown.push_str(line);
            }
            if open.is_closed_by(line) {
                fence = None;
            }
            continue;
        }
        let shows_code = opened.as_ref().is_some_and(|opened| !opened.is_call);
        if shows_code || is_shown(line) {
            shown.push_str(line);
        } else if opened.is_none() {
            shown.push_str(&plain(line, has_frame));
        }
        fence = opened;
    }
    if is_call(shown.trim()) {
        return String::new();
    }
    shown
}

/// Whether a line is code or a quotation: written to be seen.
fn is_shown(line: &str) -> bool {
    line.starts_with("    ") || line.starts_with('\t') || line.trim_start().starts_with('>')
}

/// A line of words without marks, calls, silence and traces; nothing where it was only that.
fn plain(line: &str, has_frame: bool) -> String {
    let line = without_format(line, has_frame);
    let bare = line.trim();
    let is_silence = SILENCE.contains(&bare.trim_matches(['*', '`', '.', '"']));
    let is_trace = TRACES.iter().any(|trace| bare.starts_with(trace));
    if is_silence || is_trace || is_call(bare) {
        return String::new();
    }
    line
}

/// A code block that has begun.
struct Fence {
    mark: char,
    length: usize,
    is_call: bool,
}

impl Fence {
    fn opened_by(line: &str) -> Option<Self> {
        let line = line.trim_start();
        let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
        let length = line.chars().take_while(|c| *c == mark).count();
        let language = line[length..].trim().to_ascii_lowercase();
        (length >= 3 && !language.contains('`')).then(|| Self {
            mark,
            length,
            is_call: CALL_BLOCKS.contains(&language.as_str()),
        })
    }

    fn is_closed_by(&self, line: &str) -> bool {
        let line = line.trim();
        line.len() >= self.length && line.chars().all(|c| c == self.mark)
    }
}

/// Of a text in channels, as some models' own format has it, what is meant for people: the last `final` one, else what stands before them.
fn channel_of_people(text: &str) -> &str {
    const FINAL: &str = "<|channel|>final<|message|>";
    const OTHERS: [&str; 2] = ["<|channel|>analysis", "<|channel|>commentary"];
    if let Some(at) = text.rfind(FINAL) {
        return &text[at + FINAL.len()..];
    }
    let other = OTHERS.iter().filter_map(|other| text.find(other)).min();
    other.map_or(text, |at| &text[..at])
}

/// Without thoughts and calls between tags, code blocks in them included. One that begins a line and never ends hides all that follows;
/// an end of a thought without its beginning, at the end of a line, all before it.
fn without_hidden(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut hidden: Option<String> = None;
    let mut fence: Option<Fence> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        let mut rest = line;
        if let Some(name) = &hidden {
            let Some(end) = Tag::ends(rest, name) else {
                continue;
            };
            rest = &rest[end..];
        } else if let Some(open) = &fence {
            shown.push_str(line);
            if open.is_closed_by(line) {
                fence = None;
            }
            continue;
        } else if let Some(opened) = Fence::opened_by(line) {
            shown.push_str(line);
            fence = Some(opened);
            continue;
        } else if is_shown(line) {
            shown.push_str(line);
            continue;
        }
        if let Some(end) = thought_ends(rest) {
            shown.clear();
            rest = &rest[end..];
        }
        hidden = spoken(rest, &text[at..], &mut shown);
    }
    shown
}

/// Adds what is spoken in a line; gives the name of what hides the lines that follow.
fn spoken(line: &str, later: &str, shown: &mut String) -> Option<String> {
    let (mut rest, mut from) = (line, 0);
    while let Some(tag) = Tag::begins(rest, from) {
        let behind = &rest[tag.end..];
        if let Some(end) = Tag::ends(behind, &tag.name) {
            shown.push_str(&rest[..tag.start]);
            rest = &behind[end..];
            from = 0;
        } else if Tag::ends(later, &tag.name).is_some() || rest[..tag.start].trim().is_empty() {
            shown.push_str(&rest[..tag.start]);
            return Some(tag.name);
        } else {
            from = tag.end; // a word of the answer, such as a type's parameter
        }
    }
    shown.push_str(rest);
    None
}

/// Where a line ends a thought whose beginning nobody has seen: behind the tag that is the last thing in it.
fn thought_ends(line: &str) -> Option<usize> {
    let bare = line.trim_end();
    let name = THOUGHTS.iter().find(|name| {
        let end = format!("</{name}>");
        let lower = bare.to_ascii_lowercase();
        lower.ends_with(&end) && !lower.contains(&format!("<{name}>"))
    })?;
    let start = bare.len() - name.len() - 3;
    (!is_in_code(line, start)).then_some(bare.len())
}

/// A tag that begins a thought or a call.
struct Tag {
    name: String,
    start: usize,
    end: usize,
}

impl Tag {
    /// The next one in a line, from this byte on; none in inline code. A call's may have attributes, a thought's has none.
    fn begins(line: &str, from: usize) -> Option<Self> {
        let starts = line[from..].match_indices('<').map(|(at, _)| from + at);
        starts
            .filter(|at| !is_in_code(line, *at))
            .find_map(|start| {
                let inner = &line[start + 1..];
                let length = inner
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(inner.len());
                let name = inner[..length].to_ascii_lowercase();
                let close = inner[length..].find('>')?;
                let is_whole = close == 0 && THOUGHTS.contains(&name.as_str());
                (is_whole || CALLS.contains(&name.as_str())).then(|| Self {
                    name,
                    start,
                    end: start + 1 + length + close + 1,
                })
            })
    }

    /// Where such a tag's end ends in a text.
    fn ends(text: &str, name: &str) -> Option<usize> {
        let end = format!("</{name}>");
        let at = text.to_ascii_lowercase().find(&end)?;
        Some(at + end.len())
    }
}

/// Whether a place in a line is within inline code.
fn is_in_code(line: &str, at: usize) -> bool {
    line[..at].matches('`').count() % 2 == 1
}

/// A line without the marks that models' formats are made of (`<|im_end|>`, `[INST]`, `[TOOL_CALLS]`) and the edges of our own frames.
fn without_format(line: &str, has_frame: bool) -> String {
    let mut left = line.to_owned();
    let mut from = 0;
    while let Some(start) = bare(&left, "<|", from) {
        let inner = &left[start + 2..];
        let is_letter = |c: char| c.is_ascii_lowercase() || c == '_';
        let length = inner.find(|c: char| !is_letter(c)).unwrap_or(inner.len());
        if length >= SHORTEST_MARK && inner[length..].starts_with("|>") {
            left.replace_range(start..start + length + 4, "");
        } else {
            from = start + 2;
        }
    }
    for mark in MARKS {
        while let Some(start) = bare(&left, mark, 0) {
            left.replace_range(start..start + mark.len(), "");
        }
    }
    while let Some(start) = bare(&left, "<data src=\"", 0) {
        let length = left[start..].find('>');
        let length = length.map_or(left.len() - start, |length| length + 1);
        left.replace_range(start..start + length, "");
    }
    if has_frame && left.trim() == "</data>" {
        return String::new();
    }
    left
}

/// Where a pattern stands in a line outside of inline code.
fn bare(line: &str, pattern: &str, from: usize) -> Option<usize> {
    let mut found = line[from..].match_indices(pattern).map(|(at, _)| from + at);
    found.find(|at| !is_in_code(line, *at))
}

/// Whether a text is a call in JSON: one of our own tools by its name, with arguments beside it.
fn is_call(text: &str) -> bool {
    if !(text.starts_with(['{', '[']) && text.ends_with(['}', ']'])) {
        return false;
    }
    match serde_json::from_str(text) {
        Ok(Value::Array(items)) => !items.is_empty() && items.iter().all(calls_a_tool),
        Ok(value) => calls_a_tool(&value),
        Err(_) => false,
    }
}

fn calls_a_tool(value: &Value) -> bool {
    let inner = value.get("function").filter(|inner| inner.is_object());
    let value = inner.unwrap_or(value);
    let name = ["name", "tool", "tool_name", "recipient_name"]
        .iter()
        .find_map(|field| value.get(field)?.as_str());
    let has_arguments = ["arguments", "parameters", "input", "args", "tool_input"]
        .iter()
        .any(|field| value.get(field).is_some());
    let is_ours = name.is_some_and(|name| {
        let name = ToolName::new(name.trim_start_matches("functions.").replace("__", "."));
        tool::all()
            .iter()
            .any(|spec| spec.name == name || spec.name.0.replace('.', "_") == name.0)
    });
    (is_ours && has_arguments) || value.get("tool_calls").is_some_and(Value::is_array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_for_machines_is_taken_out() {
        for (said, shown) in [
            (
                "<think>I should list.</think>\n\nHere it is.",
                "Here it is.",
            ),
            ("<Thinking>\na\n\nb\n</Thinking>Yes.", "Yes."),
            ("I should list.\n</think>\nHere it is.", "Here it is."),
            ("Here it is.\n<think>and now", "Here it is."),
            ("◁think▷hm◁/think▷Yes.", "Yes."),
            ("<think>a</think>One.<think>b</think> Two.", "One. Two."),
            (
                "Looking.\n<tool_call>\n{\"name\":\"files.list\",\"arguments\":{}}\n</tool_call>",
                "Looking.",
            ),
            (
                "<function_calls><invoke name=\"x\"></invoke></function_calls>Done it.",
                "Done it.",
            ),
            (
                "{\"name\":\"files.list\",\"arguments\":{\"path\":\"\"}}",
                "",
            ),
            ("[{\"name\":\"files_list\",\"parameters\":{}}]", ""),
            (
                "{\"type\":\"function\",\"function\":{\"name\":\"shell.run\",\"arguments\":\"{}\"}}",
                "",
            ),
            ("{\"tool_calls\":[]}", ""),
            (
                "I look.\n{\"tool\":\"files.read\",\"input\":{\"path\":\"a\"}}\nOne moment.",
                "I look.\nOne moment.",
            ),
            ("```tool_code\nprint(files.list())\n```\nHere.", "Here."),
            (
                "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Yes.",
                "Yes.",
            ),
            ("Yes.<|im_end|>", "Yes."),
            ("[INST] Yes. [/INST]", "Yes."),
            ("NO_REPLY", ""),
            ("**HEARTBEAT_OK**", ""),
            ("It is fine.\nNO_REPLY", "It is fine."),
            (
                "<data src=\"files.read\" trust=\"kept\">\nmilk\n</data>",
                "milk",
            ),
            (
                "It broke:\nRuntimeError: unreachable\n    at wasm://wasm/01:wasm-function[12]:0x1\nat wasm://wasm/01:wasm-function[12]:0x1",
                "It broke:\n    at wasm://wasm/01:wasm-function[12]:0x1",
            ),
            ("a.<th<think></think>ink>", "a.<think>"),
            (
                "<think>\nLet me see:\n```sh\nrm -rf secret\n```\nso…</think>\nHere it is.",
                "Here it is.",
            ),
            ("[THINK]hm[/THINK]Yes.", "Yes."),
            ("so I list it.</think>\nHere it is.", "Here it is."),
            ("<|channel|>analysis<|message|>hm, I wonder", ""),
        ] {
            assert_eq!(for_people(said), shown, "{said}");
            assert_eq!(for_people(shown), shown, "a second look changes {shown}");
        }
    }

    #[test]
    fn what_is_meant_for_people_stays_as_it_is() {
        for said in [
            "",
            "  indented, and with a space at its end ",
            "I think <b>so</b> & <i>why not</i>: 1 < 2 > 0.",
            "Use `<think>` tags? In code they stay:\n```xml\n<think>a</think>\n{\"name\":\"files.list\",\"arguments\":{}}\nNO_REPLY\n```\nSo.",
            "~~~\n<|im_end|>\n~~~",
            "{\"name\":\"Ada\",\"arguments\":[\"for\",\"against\"]}",
            "{\"name\":\"files.list\"}",
            "The word NO_REPLY stands for silence.",
            "Traceback (most recent call last):\n  File \"a.py\", line 1",
            "[1] a, [2] b, {x | x > 0}",
            "a_b_c __init__",
            "The field has the type `Vec<Thought>`, so clone it.",
            "Use Map<String, List<Reasoning>> for that, and go on.",
            "The message `thread 'main' panicked at src/main.rs:5:10` means an overflow.",
            "note: run with `RUST_BACKTRACE=1` tells how.",
            "I like <Thinking, Fast and Slow> a lot.",
            "Wer <thinking> schreibt, denkt.",
            "The closing tag is </think>, and the opening one `<think>`.",
            "In F#, `f <| x |> g` is ambiguous: f <| (x |> g)",
            "The expectation <|x|> is 0.",
            "    <data><item/></data>\n`<root><data>x</data></root>`",
            "> ```\n> <think>quoted</think>\n> ```",
        ] {
            let shown = for_people(said);
            assert_eq!(shown, said);
        }
    }

    #[test]
    fn no_text_makes_it_stumble() {
        let pieces = [
            "<think",
            ">",
            "</think>",
            "```",
            "\n",
            "<|",
            "|>",
            "{",
            "ä",
            "◁think▷",
            "<data src=\"",
            "</",
        ];
        for a in pieces {
            for b in pieces {
                for c in pieces {
                    let text = format!("{a}{b}{c}{a}");
                    let once = for_people(&text);
                    assert!(once.len() <= text.len() + 8, "{text:?}");
                }
            }
        }
    }
}
