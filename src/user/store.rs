//! The rows that the driver lives on: conversations, transcript, deliveries. Nothing here decides anything.

use super::db::Db;
use crate::error::Result;
use agent::{Conversation, Effect, Entry, Line, Trust};
use protocol::key::{hex, random_bytes};
use serde::Deserialize;

/// How much of a conversation is read for a prompt; the prompt's own budget cuts further.
const WINDOW_ROWS: i64 = 200;

/// How long a delivery is remembered: Meta retries for seven days, Telegram for one.
const INBOX_MILLIS: i64 = 8 * DAY_MILLIS;

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

#[derive(Deserialize)]
struct Machine {
    machine: String,
}

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

#[derive(Deserialize)]
struct Name {
    id: String,
}

/// Notes a delivery; false if it was noted before.
pub(super) fn admit(db: &Db, delivery: &str, now: i64) -> Result<bool> {
    db.changed(
        "INSERT INTO inbox (delivery, at) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING 1",
        &[delivery.into(), now.into()],
    )
}

/// Whether a delivery was noted before.
pub(super) fn is_admitted(db: &Db, delivery: &str) -> Result<bool> {
    let row: Option<Count> = db.first(
        "SELECT count(*) AS count FROM inbox WHERE delivery = ?",
        &[delivery.into()],
    )?;
    Ok(row.is_some_and(|row| row.count > 0))
}

/// A conversation's machine, a fresh one if nothing was said there yet.
pub(super) fn load(db: &Db, conversation: &str) -> Result<Conversation> {
    let row: Option<Machine> = db.first(
        "SELECT machine FROM conversations WHERE id = ?",
        &[conversation.into()],
    )?;
    match row {
        Some(row) => Ok(serde_json::from_str(&row.machine)?),
        None => Ok(Conversation::new(&hex(&random_bytes::<5>()?))),
    }
}

/// Saves a machine and the lines that it appended.
pub(super) fn save(db: &Db, conversation: &str, machine: &mut Conversation) -> Result<()> {
    for entry in machine.take_appended() {
        append(db, conversation, &entry)?;
    }
    let open = i64::from(!machine.outstanding().is_empty());
    db.run(
        "INSERT INTO conversations (id, machine, open) VALUES (?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET machine = excluded.machine, open = excluded.open",
        &[
            conversation.into(),
            (&serde_json::to_string(machine)?).into(),
            open.into(),
        ],
    )
}

fn append(db: &Db, conversation: &str, entry: &Entry) -> Result<()> {
    db.run(
        "INSERT INTO transcript (conversation, at, entry) VALUES (?, ?, ?)",
        &[
            conversation.into(),
            entry.at.into(),
            (&serde_json::to_string(entry)?).into(),
        ],
    )?;
    match &entry.line {
        Line::Person { text, .. } | Line::Agent { text, .. } if !text.is_empty() => db.run(
            "INSERT INTO transcript_words (rowid, words) VALUES (last_insert_rowid(), ?)",
            &[text.into()],
        ),
        Line::Person { .. } | Line::Agent { .. } | Line::Result { .. } | Line::Note { .. } => {
            Ok(())
        }
    }
}

/// The newest lines of a conversation, oldest first.
pub(super) fn window(db: &Db, conversation: &str) -> Result<Vec<Entry>> {
    let rows: Vec<Stored> = db.all(
        "SELECT entry FROM (SELECT seq, entry FROM transcript WHERE conversation = ? ORDER BY seq DESC LIMIT ?) ORDER BY seq",
        &[conversation.into(), WINDOW_ROWS.into()],
    )?;
    rows.iter()
        .map(|row| Ok(serde_json::from_str(&row.entry)?))
        .collect()
}

/// The label of the least trusted words since the person last wrote: what a tool does then, it may do on their account.
pub(super) fn trust_in_view(db: &Db, conversation: &str) -> Result<Trust> {
    let rows: Vec<Stored> = db.all(
        "SELECT entry FROM transcript WHERE conversation = ?1 AND seq >= (
           SELECT max(seq) FROM transcript WHERE conversation = ?1 AND entry ->> '$.line.type' = 'person')",
        &[conversation.into()],
    )?;
    let mut trust = Trust::Owner;
    for row in &rows {
        let entry: Entry = serde_json::from_str(&row.entry)?;
        match entry.line {
            Line::Person { trust: label, .. } | Line::Result { trust: label, .. } => {
                trust = trust.max(label);
            }
            Line::Agent { .. } | Line::Note { .. } => {}
        }
    }
    Ok(trust)
}

/// The conversations in which something is awaited, and what.
pub(super) fn outstanding(db: &Db) -> Result<Vec<(String, Vec<Effect>)>> {
    let rows: Vec<Name> = db.all("SELECT id FROM conversations WHERE open = 1", &[])?;
    rows.into_iter()
        .map(|row| Ok((row.id.clone(), load(db, &row.id)?.outstanding())))
        .collect()
}

/// How many messages of the last day may or may not have arrived.
pub(super) fn doubtful(db: &Db, now: i64) -> Result<i64> {
    let since = now - DAY_MILLIS;
    let row: Option<Count> = db.first(
        "SELECT count(*) AS count FROM sendings WHERE state = 'unknown' AND at > ?",
        &[since.into()],
    )?;
    Ok(row.map_or(0, |row| row.count))
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

/// Drops what no longer serves anyone: old deliveries, used tokens, dead links, files that were handed over.
pub(super) fn prune(db: &Db, now: i64) -> Result<()> {
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
        "DELETE FROM sendings WHERE at < ?",
        &[(now - INBOX_MILLIS).into()],
    )?;
    db.run(
        "DELETE FROM file_pieces WHERE call IN (SELECT call FROM files WHERE at < ?)",
        &[(now - DAY_MILLIS).into()],
    )?;
    db.run(
        "DELETE FROM files WHERE at < ?",
        &[(now - DAY_MILLIS).into()],
    )
}
