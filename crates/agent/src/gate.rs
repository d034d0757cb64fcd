//! The last look at what is said: nothing that is meant for machines reaches a person.
//!
//! Models sometimes write aloud what belongs on another line of the wire: their thinking, calls of tools as text, the marks that their
//! own format is made of, the frames around what they were given, a word that stands for silence; and what breaks tells of itself in
//! traces. All that is taken out here, and what is left stays as it was. What stands in a code block was written to be seen.

use crate::tool;
use protocol::call::ToolName;
use serde_json::Value;

/// What stands around a thought or around a call that was written as text. Compared without regard to case.
const HIDDEN: [&str; 12] = [
    "think",
    "thinking",
    "thought",
    "reasoning",
    "reflection",
    "scratchpad",
    "antthinking",
    "tool_call",
    "tool_calls",
    "function_calls",
    "function_call",
    "tool_response",
];

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

/// Marks of models' formats, and the edges of our own frames.
const MARKS: [&str; 6] = [
    "[INST]",
    "[/INST]",
    "[TOOL_CALLS]",
    "</data>",
    "</quote>",
    "<quote>",
];

/// The longest mark between `<|` and `|>`, in bytes.
const LONGEST_MARK: usize = 40;

/// What only a line of our own failures holds.
const TRACES: [&str; 6] = [
    "wasm-function[",
    "wasm://",
    "panicked at src/",
    "panicked at crates/",
    "RuntimeError: unreachable",
    "note: run with `RUST_BACKTRACE",
];

/// The text without what is not for people, trimmed where something was taken; as it is where there is nothing.
pub fn for_people(text: &str) -> String {
    let final_words = channel_of_people(text);
    let mut shown = String::with_capacity(final_words.len());
    let mut plain = String::new();
    let mut fence: Option<Fence> = None;
    for line in final_words.split_inclusive('\n') {
        match (&mut fence, Fence::opened_by(line)) {
            (None, Some(opened)) => {
                shown.push_str(&without_marks(&std::mem::take(&mut plain)));
                if !opened.is_call {
                    shown.push_str(line);
                }
                fence = Some(opened);
            }
            (None, None) => plain.push_str(line),
            (Some(open), _) => {
                if !open.is_call {
                    shown.push_str(line);
                }
                if open.is_closed_by(line) {
                    fence = None;
                }
            }
        }
    }
    shown.push_str(&without_marks(&plain));
    if shown == text {
        shown
    } else {
        shown.trim().to_owned()
    }
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

/// Of a text in channels, as some models' own format has it, what is meant for people: the last `final` one.
fn channel_of_people(text: &str) -> &str {
    const FINAL: &str = "<|channel|>final<|message|>";
    text.rfind(FINAL)
        .map_or(text, |at| &text[at + FINAL.len()..])
}

/// Text outside of code blocks without thoughts, calls, marks, silence and traces.
fn without_marks(text: &str) -> String {
    if !text.contains(['<', '[', '{', '◁', '_']) && !TRACES.iter().any(|trace| text.contains(trace))
    {
        return text.to_owned(); // nearly all that is ever said
    }
    let text = without_hidden(text);
    let text = without_format(&text);
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        let is_silence = SILENCE.contains(&bare.trim_matches(['*', '`', '.', '"']));
        let is_trace = TRACES.iter().any(|trace| bare.contains(trace));
        if !is_silence && !is_trace && !is_call(bare) {
            shown.push_str(line);
        }
    }
    if is_call(shown.trim()) {
        return String::new();
    }
    shown
}

/// Without thoughts and calls between tags. One that never ends hides all that follows; an end without a beginning, all before it.
fn without_hidden(text: &str) -> String {
    let mut left = text
        .replace("◁think▷", "<think>")
        .replace("◁/think▷", "</think>");
    let mut from = 0;
    while let Some(tag) = Tag::next(&left, from) {
        if !tag.is_end {
            let end = Tag::next_end(&left, tag.end, &tag.name);
            let until = end.map_or(left.len(), |end| end.end);
            left.replace_range(tag.start..until, "");
            from = tag.start;
        } else if HIDDEN[..7].contains(&tag.name.as_str()) {
            left.replace_range(..tag.end, "");
            from = 0;
        } else {
            left.replace_range(tag.start..tag.end, "");
            from = tag.start;
        }
    }
    left
}

/// A tag of [`HIDDEN`] in a text.
struct Tag {
    name: String,
    start: usize,
    end: usize,
    is_end: bool,
}

impl Tag {
    fn next(text: &str, from: usize) -> Option<Self> {
        let mut at = from;
        while let Some(start) = bare(text, "<", at) {
            if let Some(tag) = Self::at(text, start) {
                return Some(tag);
            }
            at = start + 1;
        }
        None
    }

    fn next_end(text: &str, from: usize, name: &str) -> Option<Self> {
        let mut at = from;
        while let Some(tag) = Self::next(text, at) {
            if tag.is_end && tag.name == name {
                return Some(tag);
            }
            at = tag.end;
        }
        None
    }

    fn at(text: &str, start: usize) -> Option<Self> {
        let rest = &text[start + 1..];
        let is_end = rest.starts_with('/');
        let inner = rest.trim_start_matches('/');
        let length = inner
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(inner.len());
        let name = inner[..length].to_ascii_lowercase();
        if !HIDDEN.contains(&name.as_str()) {
            return None;
        }
        let close = inner[length..].find('>')?;
        let end = start + 1 + (rest.len() - inner.len()) + length + close + 1;
        Some(Self {
            name,
            start,
            end,
            is_end,
        })
    }
}

/// Without the marks that models' formats are made of (`<|im_end|>`, `[INST]`, `[TOOL_CALLS]`) and the edges of our own frames.
fn without_format(text: &str) -> String {
    let mut left = text.to_owned();
    let mut from = 0;
    while let Some(start) = bare(&left, "<|", from) {
        match left[start..]
            .find("|>")
            .filter(|length| *length < LONGEST_MARK)
        {
            Some(length) => left.replace_range(start..start + length + 2, ""),
            None => from = start + 2,
        }
    }
    for mark in MARKS {
        while let Some(start) = bare(&left, mark, 0) {
            left.replace_range(start..start + mark.len(), "");
        }
    }
    while let Some(start) = bare(&left, "<data src=\"", 0) {
        let length = left[start..]
            .find('>')
            .map_or(left.len() - start, |length| length + 1);
        left.replace_range(start..start + length, "");
    }
    left
}

/// Where a pattern stands that is no mention of itself in inline code.
fn bare(text: &str, pattern: &str, from: usize) -> Option<usize> {
    let mut found = text[from..].match_indices(pattern).map(|(at, _)| from + at);
    found.find(|at| !text[..*at].ends_with('`'))
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
                "It broke:\npanicked at src/user/mod.rs:1:2:\nat wasm://wasm/01:wasm-function[12]:0x1",
                "It broke:",
            ),
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
