//! The model of this bench: the person's message says which calls it makes, and it makes them without a word.

use crate::kit::models::{Next, Reply};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Where the lines of the appending calls go, as the model names it and below the machine's folder.
pub(super) const LOG: (&str, &str) = ("playground/log.txt", "log.txt");

/// How many calls an appending turn makes, all in one reply.
pub(super) const APPENDED: usize = 3;

/// What the person asks for, in one word that no prompt has otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Looks at this many of the small files, one a step.
    Stat(usize),
    /// Sends the large file of this number.
    Send(usize),
    /// Saves what the person gave, under this number.
    Save(usize),
    /// Appends the lines of this turn.
    Append(usize),
}

/// What each appending call was told to have come to, by its line.
pub(super) type Told = Arc<Mutex<BTreeMap<String, String>>>;

impl Wish {
    /// The message that says it; `number` makes each turn's own.
    pub(super) fn text(self, number: usize) -> String {
        let (kind, count) = match self {
            Self::Stat(count) => ("stat", count),
            Self::Send(count) => ("send", count),
            Self::Save(count) => ("save", count),
            Self::Append(count) => ("append", count),
        };
        format!("bench:{kind}:{count}:{number}:")
    }

    /// The answer that ends that turn.
    pub(super) fn answer(self, number: usize) -> String {
        format!("done {}", self.text(number))
    }

    fn read(text: &str) -> Option<(Self, usize)> {
        let mut parts = text.split_once("bench:")?.1.split(':');
        let (kind, count, number) = (parts.next()?, parts.next()?, parts.next()?);
        let count = count.parse().ok()?;
        let wish = match kind {
            "stat" => Self::Stat(count),
            "send" => Self::Send(count),
            "save" => Self::Save(count),
            "append" => Self::Append(count),
            _ => return None,
        };
        Some((wish, number.parse().ok()?))
    }

    fn calls(self, ended: usize, given: &str) -> Vec<(String, Value)> {
        let call = |tool: &str, arguments| (tool.to_owned(), arguments);
        match self {
            Self::Stat(count) if ended < count => {
                let path = format!("playground/small/{ended}.txt");
                vec![call("files.stat", json!({ "path": path }))]
            }
            Self::Send(file) if ended == 0 => {
                let path = format!("playground/large-{file}.bin");
                vec![call("files.send", json!({ "path": path }))]
            }
            Self::Save(number) if ended == 0 => {
                let to = format!("playground/saved-{number}.bin");
                vec![call("files.save", json!({ "file": given, "to": to }))]
            }
            Self::Append(turn) if ended == 0 => (0..APPENDED)
                .map(|n| {
                    let text = format!("{}\n", line(turn, n));
                    call("files.append", json!({ "path": LOG.0, "text": text }))
                })
                .collect(),
            Self::Stat(_) | Self::Send(_) | Self::Save(_) | Self::Append(_) => vec![],
        }
    }
}

/// The line of one appending call.
pub(super) fn line(turn: usize, call: usize) -> String {
    format!("line-{turn}-{call}.")
}

/// The model; what became of appending calls is noted, and `given` is the id of the file that the person gives.
pub(super) fn mind(told: Told, given: String) -> impl Fn(&Value) -> Next + Send + 'static {
    move |request| {
        let messages = request["messages"].as_array().expect("a judged request");
        let wished = messages.iter().enumerate().rev().find_map(|(at, message)| {
            let text = message["content"].as_str()?;
            let (wish, number) = Wish::read(text)?;
            (message["role"] == "user").then_some((at, wish, number))
        });
        let Some((at, wish, number)) = wished else {
            return Next::Replies(Reply::text("Nothing was wished for."));
        };
        let results: Vec<&Value> = messages[at..]
            .iter()
            .filter(|message| message["role"] == "tool")
            .collect();
        if let Wish::Append(_) = wish {
            note(&told, &messages[at..]);
        }
        let calls = wish.calls(results.len(), &given);
        let text = if calls.is_empty() {
            wish.answer(number)
        } else {
            String::new()
        };
        Next::Replies(Reply { text, calls })
    }
}

/// Notes what the results say, each with the line of its call.
fn note(told: &Told, messages: &[Value]) {
    let mut told = told.lock().expect("nobody panics with the notes");
    let mut lines = BTreeMap::new();
    for message in messages {
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
            let id = call["id"].as_str().unwrap_or_default();
            let begun = arguments.find("line-").map(|at| &arguments[at..]);
            let line = begun.and_then(|text| text.split_inclusive('.').next());
            lines.insert(id, line.unwrap_or_default().to_owned());
        }
        let id = message["tool_call_id"].as_str().unwrap_or_default();
        if let Some(line) = lines.get(id) {
            let result = message["content"].as_str().unwrap_or_default();
            told.insert(line.clone(), result.to_owned());
        }
    }
}
