//! What is read and tidied beside the driver's own rows: the prompt's window, the object's own values, what may be dropped.

use super::db::Db;
use super::rows::span;
use crate::error::Result;
use agent::{Entry, Line, Trust};
use serde::Deserialize;

/// How much of a conversation is read for a prompt; the prompt's own budget cuts further.
const WINDOW_ROWS: i64 = 200;

/// How long a delivery is remembered: Meta retries for seven days, Telegram for one.
const INBOX_MILLIS: i64 = 8 * DAY_MILLIS;

/// How long a call's receipt and what was set aside are kept.
const RECEIPTS_MILLIS: i64 = 90 * DAY_MILLIS;

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

#[derive(Deserialize)]
struct Stored {
    entry: String,
}

#[derive(Deserialize)]
struct Value {
    value: String,
}

#[derive(Deserialize)]
struct Count {
    count: i64,
}

/// The newest lines of a conversation behind this one, oldest first.
pub(super) fn window_after(db: &Db, conversation: &str, line: i64) -> Result<Vec<Entry>> {
    let Some((first, last)) = span(db, conversation)? else {
        return Ok(Vec::new());
    };
    between(db, first.max(line + 1), last)
}

/// The number of a conversation's last line; 0 where there is none.
pub(super) fn last_line(db: &Db, conversation: &str) -> Result<i64> {
    let Some((first, last)) = span(db, conversation)? else {
        return Ok(0);
    };
    let row: Option<Count> = db.first(
        "SELECT coalesce(max(seq), 0) AS count FROM transcript WHERE seq BETWEEN ? AND ?",
        &[first.into(), last.into()],
    )?;
    Ok(row.map_or(0, |row| row.count))
}

/// The newest lines of a conversation, oldest first.
pub(super) fn window(db: &Db, conversation: &str) -> Result<Vec<Entry>> {
    let Some((first, last)) = span(db, conversation)? else {
        return Ok(Vec::new());
    };
    between(db, first, last)
}

fn between(db: &Db, first: i64, last: i64) -> Result<Vec<Entry>> {
    let rows: Vec<Stored> = db.all(
        "SELECT entry FROM (SELECT seq, entry FROM transcript WHERE seq BETWEEN ? AND ? ORDER BY seq DESC LIMIT ?) ORDER BY seq",
        &[first.into(), last.into(), WINDOW_ROWS.into()],
    )?;
    rows.iter()
        .map(|row| Ok(serde_json::from_str(&row.entry)?))
        .collect()
}

/// The label of the least trusted words since the turn began: what a tool does then, it may do on their account.
pub(super) fn trust_in_view(db: &Db, conversation: &str) -> Result<Trust> {
    let mut trust = Trust::Owner;
    for entry in since_the_turn_began(db, conversation)? {
        match entry.line {
            Line::Person { trust: label, .. } | Line::Result { trust: label, .. } => {
                trust = trust.max(label);
            }
            Line::Agent { .. } | Line::Note { .. } => {}
        }
    }
    Ok(trust)
}

/// What was said and done since the turn under way began. Words that the person wrote in its middle do not begin another: behind them
/// stand results that the model has only now read.
pub(super) fn since_the_turn_began(db: &Db, conversation: &str) -> Result<Vec<Entry>> {
    let mut entries = window(db, conversation)?;
    let begun = beginning(&entries);
    Ok(entries.split_off(begun))
}

fn beginning(entries: &[Entry]) -> usize {
    let mut begun = 0;
    let mut after: Option<&Line> = None; // the last line before these words that is neither the person's nor a note
    for (at, entry) in entries.iter().enumerate() {
        match &entry.line {
            Line::Person { .. } => {
                let in_the_middle =
                    matches!(after, Some(Line::Result { .. } | Line::Person { .. }));
                if !in_the_middle {
                    begun = at;
                }
                after = Some(&entry.line);
            }
            Line::Agent { .. } | Line::Result { .. } => after = Some(&entry.line),
            Line::Note { .. } => {}
        }
    }
    begun
}

/// How many messages of the last day may or may not have arrived.
pub(super) fn doubtful(db: &Db, now: i64) -> Result<i64> {
    let since = now - DAY_MILLIS;
    let row: Option<Count> = db.first(
        "SELECT count(*) AS count FROM sendings WHERE state = 'unknown' AND since > ?",
        &[since.into()],
    )?;
    Ok(row.map_or(0, |row| row.count))
}

#[derive(Deserialize)]
struct Tokens {
    input: u64,
    output: u64,
    lost: u64,
}

/// What a day has cost.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Usage {
    /// Tokens, those of lost answers included.
    pub(super) tokens: u64,
    /// Rows written.
    pub(super) rows: u64,
}

/// What the day of `now` has cost up to now.
pub(super) fn usage(db: &Db, now: i64) -> Result<Usage> {
    let row: Option<Usage> = db.first(
        "SELECT input + output + lost AS tokens, rows FROM usage WHERE day = ?",
        &[(now / DAY_MILLIS).into()],
    )?;
    let mut usage = row.unwrap_or_default();
    usage.rows += db.rows_written();
    Ok(usage)
}

/// Tokens read, written and lost in so many days up to `now`.
pub(super) fn tokens_since(db: &Db, now: i64, days: i64) -> Result<(u64, u64, u64)> {
    let row: Option<Tokens> = db.first(
        "SELECT coalesce(sum(input), 0) AS input, coalesce(sum(output), 0) AS output, coalesce(sum(lost), 0) AS lost FROM usage WHERE day > ?",
        &[(now / DAY_MILLIS - days).into()],
    )?;
    Ok(row.map_or((0, 0, 0), |row| (row.input, row.output, row.lost)))
}

/// A value that belongs to the object itself.
pub(super) fn meta(db: &Db, key: &str) -> Result<Option<String>> {
    let row: Option<Value> = db.first("SELECT value FROM meta WHERE key = ?", &[key.into()])?;
    Ok(row.map(|row| row.value))
}

/// Sets a value that belongs to the object itself; writes only when it changes.
pub(super) fn set_meta(db: &Db, key: &str, value: &str) -> Result<()> {
    if meta(db, key)?.as_deref() == Some(value) {
        return Ok(());
    }
    db.run(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        &[key.into(), value.into()],
    )
}

/// Drops what no longer serves anyone, once a day: old deliveries, used tokens, dead links, files that were handed over, files that were given long ago.
pub(super) fn prune(db: &Db, now: i64) -> Result<()> {
    const PRUNED: &str = "pruned";
    let today = (now / DAY_MILLIS).to_string();
    if meta(db, PRUNED)?.as_ref() == Some(&today) {
        return Ok(());
    }
    set_meta(db, PRUNED, &today)?;
    db.run(
        "DELETE FROM inbox WHERE at < ?",
        &[(now - INBOX_MILLIS).into()],
    )?;
    db.run("DELETE FROM tokens WHERE expires_at < ?", &[now.into()])?;
    db.run(
        "DELETE FROM pairings WHERE expires_at < ?",
        &[(now - DAY_MILLIS).into()],
    )?;
    db.run(
        "DELETE FROM sendings WHERE since < ?",
        &[(now - INBOX_MILLIS).into()],
    )?;
    db.run(
        "DELETE FROM fates WHERE at < ?",
        &[(now - INBOX_MILLIS).into()],
    )?;
    db.run(
        "DELETE FROM given WHERE at < ?",
        &[(now - INBOX_MILLIS).into()],
    )?;
    db.run(
        "DELETE FROM file_pieces WHERE call IN (SELECT call FROM files WHERE at < ? AND call NOT IN (SELECT file FROM given))",
        &[(now - DAY_MILLIS).into()],
    )?;
    db.run(
        "DELETE FROM files WHERE at < ? AND call NOT IN (SELECT file FROM given)",
        &[(now - DAY_MILLIS).into()],
    )?;
    db.run(
        "DELETE FROM failures WHERE at < ?",
        &[(now - INBOX_MILLIS).into()],
    )?;
    db.run(
        "DELETE FROM calls WHERE ended_at < ?",
        &[(now - RECEIPTS_MILLIS).into()],
    )?;
    db.run(
        "DELETE FROM aside WHERE at < ?",
        &[(now - RECEIPTS_MILLIS).into()],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::call::{CallId, Outcome, ToolName};

    fn line(what: &str) -> Entry {
        let text = what.to_owned();
        let line = match what {
            "result" => Line::Result {
                call: CallId("c".into()),
                tool: ToolName::new("files.read"),
                outcome: Outcome::done("x"),
                trust: Trust::Kept,
            },
            "agent" => Line::Agent {
                text,
                calls: Vec::new(),
            },
            "note" => Line::Note { text },
            _ => Line::Person {
                text,
                quoted: None,
                attachments: Vec::new(),
                trust: Trust::Owner,
            },
        };
        Entry { at: 1, line }
    }

    #[test]
    fn words_in_the_middle_of_a_turn_do_not_begin_another() {
        for (lines, begun) in [
            ("", 0),
            ("person", 0),
            ("person agent person", 2),
            ("person person agent", 0),
            ("person agent result person", 0),
            ("person agent result note person person", 0),
            ("person agent result agent person agent result person", 4),
        ] {
            let entries: Vec<Entry> = lines.split_whitespace().map(line).collect();
            assert_eq!(beginning(&entries), begun, "{lines}");
        }
    }
}
