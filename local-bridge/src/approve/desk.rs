//! Where questions lie until they are answered: a table in the journal's file, which its owner alone can write.

use super::{Answer, Held};
use crate::journal::Unusable;
use protocol::call::{CallId, ToolCall, ToolName};
use protocol::warrant::PROPOSE;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::json;
use std::path::Path;

/// The tables; the journal's own are made elsewhere.
pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS approvals (
    id TEXT PRIMARY KEY,
    call TEXT NOT NULL,
    tool TEXT NOT NULL,
    arguments TEXT NOT NULL,
    call_sha256 TEXT NOT NULL,
    command TEXT,
    machine TEXT NOT NULL,
    shown TEXT NOT NULL,
    why TEXT NOT NULL,
    policy_sha256 TEXT NOT NULL,
    digest TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    answer TEXT CHECK (answer IN ('yes', 'no')),
    answered_by TEXT,
    answered_at INTEGER,
    closed INTEGER NOT NULL DEFAULT 0,
    message INTEGER,
    message_over INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS approvals_open ON approvals (call) WHERE closed = 0;
CREATE TABLE IF NOT EXISTS approver (bot INTEGER PRIMARY KEY, next INTEGER NOT NULL) STRICT;";

/// The questions, as their owner's programs see them. It can answer and nothing else: what becomes of a call, the bridge decides.
#[derive(Debug)]
pub struct Desk(Connection);

/// A question that a message was sent about, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    /// The question.
    pub id: String,
    /// The message.
    pub message: i64,
    /// What the message showed.
    pub shown: String,
    /// How it ended, in a sentence.
    pub ending: String,
}

impl Desk {
    /// Opens the questions of a journal; `None` where there is no journal yet.
    pub fn open(journal: &Path) -> Result<Option<Self>, Unusable> {
        if !journal.exists() {
            return Ok(None);
        }
        let db = Connection::open(journal)?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.execute_batch(SCHEMA)?;
        Ok(Some(Self(db)))
    }

    /// The questions that can still be answered, the oldest first.
    pub fn unanswered(&self, now: i64) -> Result<Vec<Held>, Unusable> {
        let sql = "SELECT * FROM approvals WHERE closed = 0 AND answer IS NULL AND expires_at > ?1 ORDER BY opened_at, rowid";
        let mut rows = self.0.prepare_cached(sql)?;
        let held = rows.query_map([now], held_from)?;
        Ok(held.collect::<Result<_, _>>()?)
    }

    /// Answers a question for good; false, and nothing done, if it is over, answered, or not about what this digest names.
    pub fn answer(
        &self,
        id: &str,
        digest: &str,
        yes: bool,
        by: &str,
        now: i64,
    ) -> Result<bool, Unusable> {
        let answer = if yes { "yes" } else { "no" };
        let changed = self.0.execute(
            "UPDATE approvals SET answer = ?3, answered_by = ?4, answered_at = ?5
             WHERE id = ?1 AND digest = ?2 AND closed = 0 AND answer IS NULL AND expires_at > ?5",
            params![id, digest, answer, by, now],
        )?;
        Ok(changed == 1)
    }

    /// The open questions that no message was sent about.
    pub(super) fn unsent(&self, now: i64) -> Result<Vec<Held>, Unusable> {
        let sql = "SELECT * FROM approvals WHERE closed = 0 AND answer IS NULL AND expires_at > ?1 AND message IS NULL ORDER BY opened_at, rowid";
        let mut rows = self.0.prepare_cached(sql)?;
        let held = rows.query_map([now], held_from)?;
        Ok(held.collect::<Result<_, _>>()?)
    }

    /// Notes which message was sent about a question.
    pub(super) fn sent(&self, id: &str, message: i64) -> Result<(), Unusable> {
        let sql = "UPDATE approvals SET message = ?2 WHERE id = ?1";
        self.0.execute(sql, params![id, message])?;
        Ok(())
    }

    /// The questions that are over while their message still shows buttons.
    pub(super) fn over(&self, now: i64) -> Result<Vec<Over>, Unusable> {
        let sql = "SELECT * FROM approvals WHERE message IS NOT NULL AND message_over = 0 AND (closed = 1 OR answer IS NOT NULL OR expires_at <= ?1)";
        let mut rows = self.0.prepare_cached(sql)?;
        let over = rows.query_map([now], |row| over_from(row, now))?;
        Ok(over.collect::<Result<_, _>>()?)
    }

    /// Notes that a question's message shows how it ended.
    pub(super) fn shown_over(&self, id: &str) -> Result<(), Unusable> {
        let sql = "UPDATE approvals SET message_over = 1 WHERE id = ?1";
        self.0.execute(sql, [id])?;
        Ok(())
    }

    /// The number of the next update that a bot has to tell.
    pub(super) fn next_update(&self, bot: i64) -> Result<i64, Unusable> {
        let sql = "SELECT next FROM approver WHERE bot = ?1";
        let next = self.0.query_row(sql, [bot], |row| row.get(0)).optional()?;
        Ok(next.unwrap_or(0))
    }

    /// Notes the number of the next update.
    pub(super) fn updated(&self, bot: i64, next: i64) -> Result<(), Unusable> {
        let sql = "INSERT INTO approver (bot, next) VALUES (?1, ?2) ON CONFLICT (bot) DO UPDATE SET next = excluded.next";
        self.0.execute(sql, [bot, next])?;
        Ok(())
    }
}

/// Puts a question on the list; one about the same call that lies there is taken off it.
pub(crate) fn hold(db: &mut Connection, held: &Held) -> Result<(), rusqlite::Error> {
    let moment = db.transaction()?;
    close(&moment, &held.call.id)?;
    moment.execute(
        "INSERT INTO approvals (id, call, tool, arguments, call_sha256, command, machine, shown, why, policy_sha256, digest, opened_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        params![
            held.id,
            held.call.id.0,
            held.call.tool.0,
            held.call.arguments.to_string(),
            held.call_sha256,
            held.command.as_ref().map(|argv| json!(argv).to_string()),
            held.machine,
            held.shown,
            held.why,
            held.policy_sha256,
            held.digest,
            held.opened_at,
            held.expires_at
        ],
    )?;
    moment.commit()
}

/// The calls that wait, answered or not, in the order in which they were asked about.
pub(crate) fn held(db: &Connection) -> Result<Vec<Held>, rusqlite::Error> {
    let sql = "SELECT * FROM approvals WHERE closed = 0 ORDER BY opened_at, rowid";
    let mut rows = db.prepare_cached(sql)?;
    let held = rows.query_map([], held_from)?;
    held.collect()
}

/// Takes the question about a call off the list, whatever its answer: none is used twice.
pub(crate) fn close(db: &Connection, call: &CallId) -> Result<(), rusqlite::Error> {
    let sql = "UPDATE approvals SET closed = 1 WHERE call = ?1 AND closed = 0";
    db.execute(sql, [&call.0])?;
    Ok(())
}

/// Drops the questions that are over since before a moment.
pub(crate) fn prune(db: &Connection, before: i64) -> Result<(), rusqlite::Error> {
    let sql = "DELETE FROM approvals WHERE closed = 1 AND expires_at < ?1";
    db.execute(sql, [before])?;
    Ok(())
}

fn held_from(row: &Row<'_>) -> rusqlite::Result<Held> {
    let arguments: String = row.get("arguments")?;
    let command: Option<String> = row.get("command")?;
    Ok(Held {
        id: row.get("id")?,
        call: ToolCall {
            id: CallId(row.get("call")?),
            tool: ToolName(row.get("tool")?),
            // What is no JSON is not what was asked about: the digest will not fit.
            arguments: serde_json::from_str(&arguments).unwrap_or_default(),
        },
        call_sha256: row.get("call_sha256")?,
        command: command.and_then(|argv| serde_json::from_str(&argv).ok()),
        machine: row.get("machine")?,
        shown: row.get("shown")?,
        why: row.get("why")?,
        policy_sha256: row.get("policy_sha256")?,
        digest: row.get("digest")?,
        opened_at: row.get("opened_at")?,
        expires_at: row.get("expires_at")?,
        answer: answer_from(row)?,
    })
}

fn answer_from(row: &Row<'_>) -> rusqlite::Result<Option<Answer>> {
    let Some(answer) = row.get::<_, Option<String>>("answer")? else {
        return Ok(None);
    };
    Ok(Some(Answer {
        yes: answer == "yes",
        by: row.get("answered_by")?,
        at: row.get("answered_at")?,
    }))
}

fn over_from(row: &Row<'_>, now: i64) -> rusqlite::Result<Over> {
    let expires_at: i64 = row.get("expires_at")?;
    let ending = match answer_from(row)? {
        Some(Answer { yes: true, by, .. }) => format!("Yes ({by})."),
        Some(Answer { yes: false, by, .. }) => format!("No ({by})."),
        None if expires_at <= now && row.get::<_, String>("tool")? == PROPOSE => {
            "Not answered in time; no rule was made.".to_owned()
        }
        None if expires_at <= now => "Not answered in time; it was not run.".to_owned(),
        None => "Called off, or asked anew.".to_owned(),
    };
    Ok(Over {
        id: row.get("id")?,
        message: row.get("message")?,
        shown: row.get("shown")?,
        ending,
    })
}
