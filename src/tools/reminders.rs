//! Reminders: kept as rows, told by the object's alarm. None of it needs a model.

use crate::error::Result;
use crate::time::utc;
use crate::user::db::Db;
use protocol::call::Outcome;
use serde::Deserialize;
use serde_json::Value;

/// The longest text, in characters.
const TEXT_LIMIT: usize = 500;

/// How far ahead a reminder may lie, in seconds: a year.
const FARTHEST: i64 = 365 * 24 * 60 * 60;

/// How many may wait at once.
const MOST: i64 = 200;

/// How late a reminder may be without saying so, in milliseconds.
const ON_TIME: i64 = 60_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    text: String,
    in_seconds: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cancel {
    id: i64,
}

#[derive(Deserialize)]
struct Count {
    count: i64,
}

#[derive(Deserialize)]
struct At {
    at: Option<i64>,
}

/// A reminder that is still to come.
#[derive(Debug, Deserialize)]
pub struct Reminder {
    /// Its number.
    pub id: i64,
    /// Where it will be told.
    pub conversation: String,
    /// What it says.
    pub text: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// Keeps a reminder for this conversation.
pub fn set(db: &Db, conversation: &str, arguments: &Value, now: i64) -> Result<Outcome> {
    let Ok(Set { text, in_seconds }) = Set::deserialize(arguments) else {
        return Ok(Outcome::failed(
            "reminders.set takes `text` and `in_seconds`, a whole number",
        ));
    };
    let text = text.trim();
    if text.is_empty() || text.chars().count() > TEXT_LIMIT {
        return Ok(Outcome::failed(format!(
            "a reminder has 1 to {TEXT_LIMIT} characters"
        )));
    }
    if !(1..=FARTHEST).contains(&in_seconds) {
        return Ok(Outcome::failed(
            "a reminder lies between a second and a year ahead",
        ));
    }
    let waiting: Option<Count> = db.first(
        "SELECT count(*) AS count FROM reminders WHERE state = 'waiting'",
        &[],
    )?;
    if waiting.is_some_and(|waiting| waiting.count >= MOST) {
        return Ok(Outcome::failed(format!(
            "{MOST} reminders wait already; call some off first"
        )));
    }
    let at = now + in_seconds * 1000;
    db.run(
        "INSERT INTO reminders (conversation, text, at, state) VALUES (?, ?, ?, 'waiting')",
        &[conversation.into(), text.into(), at.into()],
    )?;
    db.set_alarm_by(at)?;
    Ok(Outcome::done(format!(
        "reminder set for {}: {text}",
        utc(at)
    )))
}

/// The reminders that are still to come, in every conversation.
pub fn list(db: &Db) -> Result<Outcome> {
    let waiting: Vec<Reminder> = db.all(
        "SELECT id, conversation, text, at FROM reminders WHERE state = 'waiting' ORDER BY at",
        &[],
    )?;
    if waiting.is_empty() {
        return Ok(Outcome::done("no reminder waits"));
    }
    let lines: Vec<String> = waiting
        .iter()
        .map(|one| format!("[{}] {}: {}", one.id, utc(one.at), one.text))
        .collect();
    Ok(Outcome::done(lines.join("\n")))
}

/// Calls a reminder off.
pub fn cancel(db: &Db, arguments: &Value) -> Result<Outcome> {
    let Ok(Cancel { id }) = Cancel::deserialize(arguments) else {
        return Ok(Outcome::failed(
            "reminders.cancel takes `id`, a number from reminders.list",
        ));
    };
    let found = db.changed(
        "UPDATE reminders SET state = 'cancelled' WHERE id = ? AND state = 'waiting' RETURNING 1",
        &[id.into()],
    )?;
    Ok(if found {
        Outcome::done(format!("reminder {id} is called off"))
    } else {
        Outcome::failed(format!("no reminder {id} waits"))
    })
}

/// When the next reminder is due.
pub fn next(db: &Db) -> Result<Option<i64>> {
    let row: Option<At> = db.first(
        "SELECT min(at) AS at FROM reminders WHERE state = 'waiting'",
        &[],
    )?;
    Ok(row.and_then(|row| row.at))
}

/// The reminders whose time has come.
pub fn due(db: &Db, now: i64) -> Result<Vec<Reminder>> {
    db.all(
        "SELECT id, conversation, text, at FROM reminders WHERE state = 'waiting' AND at <= ? ORDER BY at",
        &[now.into()],
    )
}

/// Marks a reminder as told; false if it was called off or told meanwhile.
pub fn tell(db: &Db, id: i64) -> Result<bool> {
    db.changed(
        "UPDATE reminders SET state = 'told' WHERE id = ? AND state = 'waiting' RETURNING 1",
        &[id.into()],
    )
}

impl Reminder {
    /// What the person reads.
    pub fn words(&self, now: i64) -> String {
        let late = now - self.at;
        if late <= ON_TIME {
            return format!("⏰ {}", self.text);
        }
        format!("⏰ {} (late by {} min)", self.text, late / 60_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_reminder_says_how_late_it_is() {
        let reminder = Reminder {
            id: 1,
            conversation: "console".into(),
            text: "call Anna".into(),
            at: 0,
        };
        assert_eq!(reminder.words(ON_TIME), "⏰ call Anna");
        assert_eq!(reminder.words(12 * 60_000), "⏰ call Anna (late by 12 min)");
    }
}
