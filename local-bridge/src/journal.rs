//! What this machine has done: each call's end is kept until the Worker has stored it, and a hash chain remembers all of them.

use protocol::call::{CallId, Outcome, ToolName};
use protocol::key::sha256_hex;
use protocol::tools::{Grade, bridge_tools};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use std::path::Path;

/// How long an acknowledged call is still known. The Worker gives up on a call long before.
const KEPT_MILLIS: i64 = 8 * 24 * 60 * 60 * 1000;

/// The audit chain's head before its first entry.
const NO_HEAD: &str = "0000000000000000000000000000000000000000000000000000000000000000";

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS calls (
    id TEXT PRIMARY KEY,
    tool TEXT NOT NULL,
    call_sha256 TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'ended')),
    outcome TEXT,
    policy_sha256 TEXT,
    audit_head TEXT,
    ended_at INTEGER,
    acknowledged INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS waiting ON calls (acknowledged, ended_at);
CREATE TABLE IF NOT EXISTS audit (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    call TEXT NOT NULL,
    tool TEXT NOT NULL,
    call_sha256 TEXT NOT NULL,
    outcome_sha256 TEXT NOT NULL,
    prev TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;";

/// The calls of one machine.
#[derive(Debug)]
pub struct Journal(Connection);

/// A call that has ended, as its receipt tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The call.
    pub call: CallId,
    /// Its tool.
    pub tool: ToolName,
    /// See [`protocol::token::call_hash`].
    pub call_sha256: String,
    /// A [`protocol::call::Outcome`] as JSON text.
    pub outcome: String,
    /// SHA-256 of the policy that judged it.
    pub policy_sha256: String,
    /// The audit chain's head after it.
    pub audit_head: String,
    /// When it ended, in milliseconds since 1970.
    pub at: i64,
    /// The Worker has stored it.
    pub acknowledged: bool,
}

/// What is known of a call id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It has begun and not ended.
    Running {
        /// What was asked.
        call_sha256: String,
    },
    /// It has ended.
    Ended(Ended),
}

/// How many calls there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Running ones.
    pub running: i64,
    /// Ended ones that the Worker has not acknowledged.
    pub waiting: i64,
    /// All that have ever ended.
    pub ended: i64,
}

/// The journal's file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the journal cannot be read or written: {0}")]
pub struct Unusable(#[from] rusqlite::Error);

impl Journal {
    /// Opens the journal and settles what an earlier process left running.
    pub fn open(path: &Path, now: i64) -> Result<Self, Unusable> {
        let mut journal = Self::prepared(Connection::open(path)?)?;
        journal.settle(now)?;
        Ok(journal)
    }

    /// How many calls a journal holds, without touching them; `None` where there is no journal yet.
    pub fn look(path: &Path) -> Result<Option<Counts>, Unusable> {
        if !path.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Self(Connection::open_with_flags(path, flags)?)
            .counts()
            .map(Some)
    }

    /// A journal that lives as long as the value.
    pub fn in_memory() -> Result<Self, Unusable> {
        Self::prepared(Connection::open_in_memory()?)
    }

    /// What is known of a call.
    pub fn find(&self, call: &CallId) -> Result<Option<Known>, Unusable> {
        let sql = "SELECT * FROM calls WHERE id = ?1";
        let mut known = self.0.prepare_cached(sql)?;
        Ok(known.query_row([&call.0], known_from).optional()?)
    }

    /// Notes that a call is about to run. What is noted is on the disk before this returns.
    pub fn begin(&self, call: &CallId, tool: &ToolName, call_sha256: &str) -> Result<(), Unusable> {
        self.0.execute(
            "INSERT INTO calls (id, tool, call_sha256, state) VALUES (?1, ?2, ?3, 'running')",
            params![call.0, tool.0, call_sha256],
        )?;
        Ok(())
    }

    /// Notes how a running call ended and adds it to the chain; `None` if no such call runs.
    pub fn end(
        &mut self,
        call: &CallId,
        outcome: &Outcome,
        policy_sha256: &str,
        now: i64,
    ) -> Result<Option<Ended>, Unusable> {
        let outcome = serde_json::to_string(outcome).unwrap_or_default(); // strings and numbers always serialise
        let transaction = self.0.transaction()?;
        let asked = transaction
            .query_row(
                "SELECT tool, call_sha256 FROM calls WHERE id = ?1 AND state = 'running'",
                [&call.0],
                |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)),
            )
            .optional()?;
        let Some((tool, call_sha256)) = asked else {
            return Ok(None);
        };
        let mut ended = Ended {
            call: call.clone(),
            tool: ToolName(tool),
            call_sha256,
            outcome,
            policy_sha256: policy_sha256.to_owned(),
            audit_head: String::new(),
            at: now,
            acknowledged: false,
        };
        ended.audit_head = append(&transaction, &ended)?;
        transaction.execute(
            "UPDATE calls SET state = 'ended', outcome = ?2, policy_sha256 = ?3, audit_head = ?4, ended_at = ?5 WHERE id = ?1",
            params![call.0, ended.outcome, policy_sha256, ended.audit_head, now],
        )?;
        transaction.commit()?;
        Ok(Some(ended))
    }

    /// Forgets a call that may be run again under its id because it changes nothing.
    pub fn forget(&self, call: &CallId) -> Result<(), Unusable> {
        self.0
            .execute("DELETE FROM calls WHERE id = ?1", [&call.0])?;
        Ok(())
    }

    /// Notes that the Worker has stored a result.
    pub fn acknowledge(&self, call: &CallId) -> Result<(), Unusable> {
        self.0.execute(
            "UPDATE calls SET acknowledged = 1 WHERE id = ?1 AND state = 'ended'",
            [&call.0],
        )?;
        Ok(())
    }

    /// The results that the Worker has not acknowledged, oldest first.
    pub fn waiting(&self) -> Result<Vec<Ended>, Unusable> {
        let sql = "SELECT * FROM calls WHERE acknowledged = 0 AND state = 'ended' ORDER BY ended_at, rowid";
        let mut rows = self.0.prepare_cached(sql)?;
        let ended = rows.query_map([], ended_from)?;
        Ok(ended.collect::<Result<_, _>>()?)
    }

    /// Drops acknowledged calls that nobody will order again.
    pub fn prune(&self, now: i64) -> Result<(), Unusable> {
        self.0.execute(
            "DELETE FROM calls WHERE acknowledged = 1 AND ended_at < ?1",
            [now - KEPT_MILLIS],
        )?;
        Ok(())
    }

    /// How many calls there are.
    pub fn counts(&self) -> Result<Counts, Unusable> {
        let count = |sql| self.0.query_row(sql, [], |row| row.get(0));
        Ok(Counts {
            running: count("SELECT count(*) FROM calls WHERE state = 'running'")?,
            waiting: count(
                "SELECT count(*) FROM calls WHERE state = 'ended' AND acknowledged = 0",
            )?,
            ended: count("SELECT count(*) FROM audit")?,
        })
    }

    fn prepared(connection: Connection) -> Result<Self, Unusable> {
        // FULL: a call must be on the disk before it acts, or a power cut would let it act twice.
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(connection))
    }

    /// Reads may run again when they are ordered again; of anything else it is not known whether it took effect.
    fn settle(&mut self, now: i64) -> Result<(), Unusable> {
        let left: Vec<(CallId, ToolName)> = {
            let mut rows = self
                .0
                .prepare("SELECT id, tool FROM calls WHERE state = 'running'")?;
            let left =
                rows.query_map([], |row| Ok((CallId(row.get(0)?), ToolName(row.get(1)?))))?;
            left.collect::<Result<_, _>>()?
        };
        for (call, tool) in left {
            if repeatable(&tool) {
                self.forget(&call)?;
            } else {
                let reason = format!(
                    "local-bridge stopped while {tool} was running; whether it took effect is not known"
                );
                self.end(&call, &Outcome::Interrupted { reason }, "", now)?;
            }
        }
        Ok(())
    }
}

/// Running it twice does no more than running it once.
pub fn repeatable(tool: &ToolName) -> bool {
    bridge_tools()
        .iter()
        .any(|spec| spec.name == *tool && spec.grade == Grade::Read)
}

fn append(connection: &Connection, ended: &Ended) -> Result<String, Unusable> {
    let last = connection
        .query_row(
            "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1",
            [],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)),
        )
        .optional()?;
    let (seq, prev) = last.map_or((1, NO_HEAD.to_owned()), |(seq, hash)| (seq + 1, hash));
    let outcome_sha256 = sha256_hex(ended.outcome.as_bytes());
    let entry = serde_json::json!([
        seq,
        ended.at,
        ended.call,
        ended.tool,
        ended.call_sha256,
        outcome_sha256,
        prev
    ]);
    let hash = sha256_hex(entry.to_string().as_bytes());
    connection.execute(
        "INSERT INTO audit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            seq,
            ended.at,
            ended.call.0,
            ended.tool.0,
            ended.call_sha256,
            outcome_sha256,
            prev,
            hash
        ],
    )?;
    Ok(hash)
}

fn known_from(row: &Row<'_>) -> rusqlite::Result<Known> {
    if row.get::<_, String>("state")? == "running" {
        let call_sha256 = row.get("call_sha256")?;
        return Ok(Known::Running { call_sha256 });
    }
    Ok(Known::Ended(ended_from(row)?))
}

fn ended_from(row: &Row<'_>) -> rusqlite::Result<Ended> {
    Ok(Ended {
        call: CallId(row.get("id")?),
        tool: ToolName(row.get("tool")?),
        call_sha256: row.get("call_sha256")?,
        outcome: row.get("outcome")?,
        policy_sha256: row.get("policy_sha256")?,
        audit_head: row.get("audit_head")?,
        at: row.get("ended_at")?,
        acknowledged: row.get("acknowledged")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> CallId {
        CallId(text.into())
    }

    fn tool(name: &str) -> ToolName {
        ToolName::new(name)
    }

    #[test]
    fn a_result_waits_until_it_is_acknowledged_and_is_dropped_eight_days_later() {
        let mut journal = Journal::in_memory().unwrap();
        journal
            .begin(&id("c1"), &tool("files.write"), "h1")
            .unwrap();
        let ended = journal
            .end(&id("c1"), &Outcome::done("ok"), "p", 1000)
            .unwrap()
            .unwrap();
        assert_eq!(journal.waiting().unwrap(), vec![ended.clone()]);
        journal.prune(1001 + KEPT_MILLIS).unwrap();
        assert_eq!(journal.waiting().unwrap(), vec![ended]);
        journal.acknowledge(&id("c1")).unwrap();
        assert_eq!(journal.waiting().unwrap(), vec![]);
        journal.prune(1000 + KEPT_MILLIS).unwrap();
        assert!(journal.find(&id("c1")).unwrap().is_some());
        journal.prune(1001 + KEPT_MILLIS).unwrap();
        assert_eq!(journal.find(&id("c1")).unwrap(), None);
    }

    #[test]
    fn a_call_ends_once() {
        let mut journal = Journal::in_memory().unwrap();
        journal
            .begin(&id("c1"), &tool("files.write"), "h1")
            .unwrap();
        let end = |journal: &mut Journal| journal.end(&id("c1"), &Outcome::Cancelled, "p", 1);
        assert!(end(&mut journal).unwrap().is_some());
        assert_eq!(end(&mut journal).unwrap(), None);
        assert_eq!(journal.counts().unwrap().ended, 1);
    }

    #[test]
    fn after_a_crash_reads_may_run_again_and_the_rest_is_reported_as_interrupted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let journal = Journal::open(&path, 1).unwrap();
        journal.begin(&id("r"), &tool("files.read"), "h1").unwrap();
        journal.begin(&id("w"), &tool("files.write"), "h2").unwrap();
        drop(journal);
        let journal = Journal::open(&path, 2).unwrap();
        assert_eq!(journal.find(&id("r")).unwrap(), None);
        let Some(Known::Ended(ended)) = journal.find(&id("w")).unwrap() else {
            panic!("not ended");
        };
        assert!(ended.outcome.contains("interrupted"), "{}", ended.outcome);
        assert_eq!(journal.waiting().unwrap(), vec![ended]);
    }

    #[test]
    fn each_end_is_chained_to_the_one_before() {
        let mut journal = Journal::in_memory().unwrap();
        let mut heads = Vec::new();
        for call in ["a", "b"] {
            journal.begin(&id(call), &tool("files.read"), "h").unwrap();
            let ended = journal.end(&id(call), &Outcome::Cancelled, "p", 5);
            heads.push(ended.unwrap().unwrap().audit_head);
        }
        let chain: Vec<(String, String)> = journal
            .0
            .prepare("SELECT prev, hash FROM audit ORDER BY seq")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(
            chain,
            vec![
                (NO_HEAD.to_owned(), heads[0].clone()),
                (heads[0].clone(), heads[1].clone())
            ]
        );
    }
}
