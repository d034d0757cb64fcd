//! What the model APIs publish about their requests and streams, one file a vendor.

pub(crate) mod anthropic;
pub(crate) mod openai;

use serde_json::{Map, Value};
use std::fmt::Write as _;

/// Stands for "too long" until a vendor puts it in its own words.
pub(crate) const OVERFLOW: &str = "context overflow";

/// Whether the request is as published; else the status and the words of the refusal.
type Judged = Result<(), (u16, String)>;

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Judged {
    if holds { Ok(()) } else { Err((400, why())) }
}

/// Whether `object` has no field but these, given with spaces between.
fn only(what: &str, object: &Map<String, Value>, known: &str) -> Judged {
    let stranger = object
        .keys()
        .find(|name| !known.split_whitespace().any(|known| known == name.as_str()));
    stranger.map_or(Ok(()), |name| {
        Err((
            400,
            format!("{what}.{name}: extra inputs are not permitted"),
        ))
    })
}

fn object<'a>(what: &str, value: &'a Value) -> Result<&'a Map<String, Value>, (u16, String)> {
    value
        .as_object()
        .ok_or_else(|| (400, format!("{what} is not an object: {value}")))
}

fn list<'a>(what: &str, value: Option<&'a Value>) -> Result<&'a [Value], (u16, String)> {
    value
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .ok_or_else(|| (400, format!("{what} is not a list")))
}

fn text<'a>(what: &str, value: Option<&'a Value>) -> Result<&'a str, (u16, String)> {
    value
        .and_then(Value::as_str)
        .ok_or_else(|| (400, format!("{what} is not a string: {value:?}")))
}

/// Letters, digits, `_` and `-`, at most `longest` of them.
fn name(what: &str, value: Option<&Value>, longest: usize) -> Judged {
    let name = text(what, value)?;
    let fits = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    ensure(fits && (1..=longest).contains(&name.len()), || {
        format!("{what} does not fit: {name:?}")
    })
}

fn schema(what: &str, value: Option<&Value>) -> Judged {
    let is_object = value.and_then(|schema| schema.get("type")) == Some(&Value::from("object"));
    ensure(is_object, || {
        format!("{what} is not an object's schema: {value:?}")
    })
}

/// The name under which the request offers Bernard's tool `own`, such as `files_list` for `files.list`.
fn offered<'a>(mut names: impl Iterator<Item = &'a str>, own: &str) -> String {
    let plain = |name: &str| name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    names
        .find(|name| plain(name) == plain(own))
        .unwrap_or(own)
        .to_owned()
}

/// `text` in pieces of a few characters, as models stream it.
fn morsels(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters
        .chunks(5)
        .map(|morsel| morsel.iter().collect())
        .collect()
}

fn sse(out: &mut String, event: Option<&str>, data: &Value) {
    if let Some(event) = event {
        writeln!(out, "event: {event}").expect("a string takes all");
    }
    write!(out, "data: {data}\n\n").expect("a string takes all");
}
