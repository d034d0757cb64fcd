//! The whole of a result that was too long to be shown: it lies in the transcript, and is read piece by piece.

use crate::error::Result;
use crate::user::db::Db;
use crate::user::span;
use agent::{Entry, Line};
use protocol::call::Outcome;
use serde::Deserialize;
use serde_json::Value;

/// How much is shown at once, in characters: less than what would itself be cut.
const PIECE: usize = 12_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    call: String,
    #[serde(default)]
    from: usize,
}

#[derive(Deserialize)]
struct Row {
    entry: String,
}

/// A piece of a result of this conversation, and where it goes on.
pub fn read(db: &Db, conversation: &str, arguments: &Value) -> Result<Outcome> {
    let Ok(Read { call, from }) = Read::deserialize(arguments) else {
        return Ok(Outcome::failed(
            "results.read takes `call` and `from`, a number of characters",
        ));
    };
    let (first, last) = span(db, conversation)?.unwrap_or_default();
    let row: Option<Row> = db.first(
        "SELECT entry FROM transcript WHERE seq BETWEEN ? AND ? AND entry ->> '$.line.type' = 'result' AND entry ->> '$.line.call' = ?",
        &[first.into(), last.into(), (&call).into()],
    )?;
    let Some(row) = row else {
        return Ok(Outcome::failed(format!(
            "no result of a call `{call}` is kept here"
        )));
    };
    let entry: Entry = serde_json::from_str(&row.entry)?;
    Ok(match entry.line {
        Line::Result {
            outcome: Outcome::Done { text, .. },
            ..
        } => Outcome::done(piece(&text, from)),
        Line::Result { .. } | Line::Person { .. } | Line::Agent { .. } | Line::Note { .. } => {
            Outcome::failed("that call brought nothing to read")
        }
    })
}

fn piece(text: &str, from: usize) -> String {
    let length = text.chars().count();
    let shown: String = text.chars().skip(from).take(PIECE).collect();
    let end = from.min(length) + shown.chars().count();
    if end < length {
        format!("{shown}\n[characters {from} to {end} of {length}; go on with \"from\": {end}]")
    } else {
        format!("{shown}\n[the end, {length} characters]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_together_are_the_whole_and_each_says_where_it_goes_on() {
        let text: String = (0..30_000_u32)
            .filter_map(|n| char::from_u32(0x4e00 + n % 500))
            .collect();
        let mut read = String::new();
        let mut from = 0;
        loop {
            let shown = piece(&text, from);
            let (body, note) = shown.rsplit_once('\n').unwrap();
            read += body;
            match note.split("\"from\": ").nth(1) {
                Some(next) => from = next.trim_end_matches(']').parse().unwrap(),
                None => break,
            }
        }
        assert_eq!(read, text);
        assert_eq!(piece("short", 90), "\n[the end, 5 characters]");
    }
}
