//! What this machine has done, on its disk: each call's end is kept until the Worker has stored it, and a hash chain remembers all of them.

mod anchor;

pub use anchor::Anchor;

use crate::approve::{Held, desk};
use anchor::Anchorage;
use protocol::call::{CallId, Outcome, ToolName};
use protocol::key::sha256_hex;
use protocol::tools::{Grade, bridge_grade};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a journal that is being written is looked at before the last look must do.
const LOOKS: u32 = 20;

/// How long a reader waits for a writer.
const BUSY: Duration = Duration::from_secs(2);

/// The audit chain's head before its first entry.
pub const NO_HEAD: &str = "0000000000000000000000000000000000000000000000000000000000000000";

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

/// The calls of one machine, in a file of `SQLite`'s.
#[derive(Debug)]
pub struct Journal {
    db: Connection,
    /// Where the chain's head is kept a second time; nothing for a journal that is only looked at, or lies in memory.
    anchor: Option<Anchorage>,
    /// What the commits to come are worth.
    care: Care,
}

/// What a commit is worth when it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Care {
    /// It is on the disk.
    Durable,
    /// It outlives this process, and a power cut may take it back; the next durable commit takes it to the disk.
    Lasting,
}

/// One link of the chain: a call that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its number; the first is 1 and none is left out.
    pub seq: i64,
    /// When the call ended, in milliseconds since 1970.
    pub at: i64,
    /// The call.
    pub call: CallId,
    /// Its tool.
    pub tool: ToolName,
    /// See [`protocol::token::call_hash`].
    pub call_sha256: String,
    /// SHA-256 of the outcome's JSON text.
    pub outcome_sha256: String,
    /// The hash of the entry before it.
    pub prev: String,
    /// Its own hash.
    pub hash: String,
}

/// All that can be checked of what a machine did, as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    /// The chain.
    pub entries: Vec<Entry>,
    /// The ended calls whose outcomes are still kept, in the order in which they began.
    pub kept: Vec<Ended>,
    /// What runs.
    pub running: Vec<(CallId, ToolName)>,
    /// What waits for a yes at home, answered or not, with the moment at which that ends.
    pub held: Vec<(CallId, ToolName, i64)>,
    /// The head that is kept apart.
    pub anchor: Option<Anchor>,
}

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
    /// The audit chain's head after it; empty where no chain is kept.
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

/// The journal's files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The database.
    #[error("the journal cannot be read or written: {0}")]
    Database(#[from] rusqlite::Error),
    /// The database's file, or the one with the chain's head.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// The file with the chain's head is damaged.
    #[error(
        "{0} is damaged ({1}): something else than local-bridge wrote there. If you know what, remove it, and the next start writes it anew"
    )]
    Anchor(PathBuf, serde_json::Error),
}

/// What [`crate::calls::Calls`] must remember beyond its own process. What an operation notes is on the disk before it returns, but for what
/// a power cut may take back without harm: that a call has begun which only reads, and that a result is acknowledged. No operation does
/// half of its work.
pub trait Records {
    /// The records cannot be read or written.
    type Error: std::error::Error;

    /// What is known of a call.
    fn find(&self, call: &CallId) -> Result<Option<Known>, Self::Error>;

    /// Notes that a call is about to run, and that it waits for no yes any more. An error if its id is known.
    fn begin(
        &mut self,
        call: &CallId,
        tool: &ToolName,
        call_sha256: &str,
    ) -> Result<(), Self::Error>;

    /// Notes how a running call ended; `None`, and nothing noted, if no such call runs.
    fn end(
        &mut self,
        call: &CallId,
        outcome: &Outcome,
        policy_sha256: &str,
        now: i64,
    ) -> Result<Option<Ended>, Self::Error>;

    /// Forgets a call, running or ended, so that it may be run again under its id. One that is not known stays so.
    fn forget(&mut self, call: &CallId) -> Result<(), Self::Error>;

    /// Notes that the Worker has stored an ended call's result. Of any other call it notes nothing.
    fn acknowledge(&mut self, call: &CallId) -> Result<(), Self::Error>;

    /// The ended calls that are not acknowledged, those that ended first at first.
    fn waiting(&self) -> Result<Vec<Ended>, Self::Error>;

    /// The calls that have begun and not ended.
    fn running(&self) -> Result<Vec<(CallId, ToolName)>, Self::Error>;

    /// Drops the acknowledged calls that ended before a moment, and the questions that are over since then.
    fn prune(&mut self, before: i64) -> Result<(), Self::Error>;

    /// Notes that a call waits for a yes at home. A question about the same call is replaced, with its answer.
    fn hold(&mut self, held: &Held) -> Result<(), Self::Error>;

    /// The calls that wait for a yes at home, with what has been answered, in the order in which they were asked about.
    fn held(&self) -> Result<Vec<Held>, Self::Error>;
}

impl Entry {
    /// The hash that it must have: of all that it says, and of the entry before it.
    pub fn computed(&self) -> String {
        let told = serde_json::json!([
            self.seq,
            self.at,
            self.call,
            self.tool,
            self.call_sha256,
            self.outcome_sha256,
            self.prev
        ]);
        sha256_hex(told.to_string().as_bytes())
    }
}

impl Journal {
    /// Opens the journal, or makes it, for its owner alone.
    pub fn open(path: &Path) -> Result<Self, Unusable> {
        let anchor = anchor_of(path);
        let mut private = OpenOptions::new();
        private.create(true).append(true).mode(0o600);
        private
            .open(path)
            .map_err(|error| Unusable::File(path.to_owned(), error))?;
        let mut journal = Self::prepared(Connection::open(path)?)?;
        journal.anchor = Some(Anchorage::open(&anchor, last(&journal.db)?)?);
        Ok(journal)
    }

    /// How many calls a journal holds, without touching them; `None` where there is no journal yet.
    pub fn look(path: &Path) -> Result<Option<Counts>, Unusable> {
        let journal = Self::read_only(path)?;
        journal.map(|journal| journal.counts()).transpose()
    }

    /// All that can be checked of a journal, without touching it; `None` where there is no journal yet.
    pub fn ledger(path: &Path) -> Result<Option<Ledger>, Unusable> {
        let Some(mut journal) = Self::read_only(path)? else {
            return Ok(None);
        };
        let anchor = anchor_of(path);
        // Two files cannot be read in one moment: what has changed meanwhile is read again.
        for _ in 0..LOOKS {
            let before = anchor::read(&anchor)?;
            let ledger = journal.read()?;
            if anchor::read(&anchor)? == before {
                let anchor = before;
                return Ok(Some(Ledger { anchor, ..ledger }));
            }
        }
        let anchor = anchor::read(&anchor)?;
        let ledger = journal.read()?;
        Ok(Some(Ledger { anchor, ..ledger }))
    }

    fn read_only(path: &Path) -> Result<Option<Self>, Unusable> {
        if !path.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(BUSY)?;
        Ok(Some(Self {
            db,
            anchor: None,
            care: Care::Durable,
        }))
    }

    /// A journal that lives as long as the value.
    pub fn in_memory() -> Result<Self, Unusable> {
        Self::prepared(Connection::open_in_memory()?)
    }

    /// The tables as they are at one moment.
    fn read(&mut self) -> Result<Ledger, Unusable> {
        let moment = self.db.transaction()?;
        let entries = moment
            .prepare("SELECT * FROM audit ORDER BY seq")?
            .query_map([], entry_from)?
            .collect::<Result<_, _>>()?;
        let kept = moment
            .prepare("SELECT * FROM calls WHERE state = 'ended' ORDER BY rowid")?
            .query_map([], ended_from)?
            .collect::<Result<_, _>>()?;
        let running = moment
            .prepare("SELECT id, tool FROM calls WHERE state = 'running' ORDER BY rowid")?
            .query_map([], running_from)?
            .collect::<Result<_, _>>()?;
        // A journal of before there were questions has no table of them.
        let asks = "SELECT count(*) FROM sqlite_schema WHERE name = 'approvals'";
        let asks: bool = moment.query_row(asks, [], |row| row.get(0))?;
        let held = if asks {
            desk::held(&moment)?
        } else {
            Vec::new()
        };
        let held = held.into_iter();
        Ok(Ledger {
            entries,
            kept,
            running,
            held: held
                .map(|held| (held.call.id, held.call.tool, held.expires_at))
                .collect(),
            anchor: None,
        })
    }

    /// How many calls there are.
    pub fn counts(&self) -> Result<Counts, Unusable> {
        let count = |sql| self.db.query_row(sql, [], |row| row.get(0));
        Ok(Counts {
            running: count("SELECT count(*) FROM calls WHERE state = 'running'")?,
            waiting: count(
                "SELECT count(*) FROM calls WHERE state = 'ended' AND acknowledged = 0",
            )?,
            ended: count("SELECT count(*) FROM audit")?,
        })
    }

    fn prepared(connection: Connection) -> Result<Self, Unusable> {
        // FULL: a call that changes something must be on the disk before it acts, or a power cut would let it act twice.
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(SCHEMA)?;
        connection.execute_batch(desk::SCHEMA)?;
        Ok(Self {
            db: connection,
            anchor: None,
            care: Care::Durable,
        })
    }

    /// Says what the commits to come must be worth.
    fn take(&mut self, care: Care) -> Result<(), rusqlite::Error> {
        if self.care != care {
            let synchronous = match care {
                Care::Durable => "FULL",
                Care::Lasting => "NORMAL",
            };
            self.db.pragma_update(None, "synchronous", synchronous)?;
            self.care = care;
        }
        Ok(())
    }
}

impl Records for Journal {
    type Error = Unusable;

    fn find(&self, call: &CallId) -> Result<Option<Known>, Unusable> {
        let sql = "SELECT * FROM calls WHERE id = ?1";
        let mut known = self.db.prepare_cached(sql)?;
        Ok(known.query_row([&call.0], known_from).optional()?)
    }

    fn begin(&mut self, call: &CallId, tool: &ToolName, call_sha256: &str) -> Result<(), Unusable> {
        self.take(if bridge_grade(&tool.0) == Some(Grade::Read) {
            Care::Lasting
        } else {
            Care::Durable
        })?;
        let transaction = self.db.transaction()?;
        transaction
            .prepare_cached(
                "INSERT INTO calls (id, tool, call_sha256, state) VALUES (?1, ?2, ?3, 'running')",
            )?
            .execute(params![call.0, tool.0, call_sha256])?;
        // In one stroke with the beginning: no crash leaves a yes behind that was used.
        desk::close(&transaction, call)?;
        Ok(transaction.commit()?)
    }

    /// Also adds the end to the chain.
    fn end(
        &mut self,
        call: &CallId,
        outcome: &Outcome,
        policy_sha256: &str,
        now: i64,
    ) -> Result<Option<Ended>, Unusable> {
        let outcome = serde_json::to_string(outcome).unwrap_or_default(); // strings and numbers always serialise
        self.take(Care::Durable)?;
        let anchor = &mut self.anchor;
        let transaction = self.db.transaction()?;
        let asked = transaction
            .prepare_cached(
                "SELECT tool, call_sha256 FROM calls WHERE id = ?1 AND state = 'running'",
            )?
            .query_row([&call.0], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            })
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
        let (before, entry) = append(&transaction, &ended)?;
        ended.audit_head.clone_from(&entry.hash);
        let end = "UPDATE calls SET state = 'ended', outcome = ?2, policy_sha256 = ?3, audit_head = ?4, ended_at = ?5 WHERE id = ?1";
        transaction.prepare_cached(end)?.execute(params![
            call.0,
            ended.outcome,
            policy_sha256,
            ended.audit_head,
            now
        ])?;
        // Around the commit: at no moment does a chain that is whole disagree with its anchor.
        if let Some(anchor) = anchor {
            let (seq, head) = before;
            let next = Some(entry.hash.clone());
            anchor.announce(&Anchor { seq, head, next })?;
        }
        transaction.commit()?;
        if let Some(anchor) = anchor {
            let (seq, head, next) = (entry.seq, entry.hash, None);
            anchor.settle(&Anchor { seq, head, next })?;
        }
        Ok(Some(ended))
    }

    fn forget(&mut self, call: &CallId) -> Result<(), Unusable> {
        self.take(Care::Durable)?;
        self.db
            .execute("DELETE FROM calls WHERE id = ?1", [&call.0])?;
        Ok(())
    }

    fn acknowledge(&mut self, call: &CallId) -> Result<(), Unusable> {
        self.take(Care::Lasting)?; // one that is taken back is told once more, and acknowledged again
        let sql = "UPDATE calls SET acknowledged = 1 WHERE id = ?1 AND state = 'ended'";
        self.db.prepare_cached(sql)?.execute([&call.0])?;
        Ok(())
    }

    fn waiting(&self) -> Result<Vec<Ended>, Unusable> {
        let sql = "SELECT * FROM calls WHERE acknowledged = 0 AND state = 'ended' ORDER BY ended_at, rowid";
        let mut rows = self.db.prepare_cached(sql)?;
        let ended = rows.query_map([], ended_from)?;
        Ok(ended.collect::<Result<_, _>>()?)
    }

    fn running(&self) -> Result<Vec<(CallId, ToolName)>, Unusable> {
        let sql = "SELECT id, tool FROM calls WHERE state = 'running' ORDER BY rowid";
        let mut rows = self.db.prepare_cached(sql)?;
        let running = rows.query_map([], running_from)?;
        Ok(running.collect::<Result<_, _>>()?)
    }

    fn prune(&mut self, before: i64) -> Result<(), Unusable> {
        self.take(Care::Durable)?;
        self.db.execute(
            "DELETE FROM calls WHERE acknowledged = 1 AND ended_at < ?1",
            [before],
        )?;
        Ok(desk::prune(&self.db, before)?)
    }

    fn hold(&mut self, held: &Held) -> Result<(), Unusable> {
        self.take(Care::Durable)?;
        Ok(desk::hold(&mut self.db, held)?)
    }

    fn held(&self) -> Result<Vec<Held>, Unusable> {
        Ok(desk::held(&self.db)?)
    }
}

/// Adds a call's end to the chain; gives the end before it, and it.
fn append(
    connection: &Connection,
    ended: &Ended,
) -> Result<((i64, String), Entry), rusqlite::Error> {
    let before = last(connection)?.unwrap_or((0, NO_HEAD.to_owned()));
    let mut entry = Entry {
        seq: before.0 + 1,
        at: ended.at,
        call: ended.call.clone(),
        tool: ended.tool.clone(),
        call_sha256: ended.call_sha256.clone(),
        outcome_sha256: sha256_hex(ended.outcome.as_bytes()),
        prev: before.1.clone(),
        hash: String::new(),
    };
    entry.hash = entry.computed();
    connection
        .prepare_cached("INSERT INTO audit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
        .execute(params![
            entry.seq,
            entry.at,
            entry.call.0,
            entry.tool.0,
            entry.call_sha256,
            entry.outcome_sha256,
            entry.prev,
            entry.hash
        ])?;
    Ok((before, entry))
}

/// The number and the hash of the chain's last entry.
fn last(connection: &Connection) -> Result<Option<(i64, String)>, rusqlite::Error> {
    let sql = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";
    let mut last = connection.prepare_cached(sql)?;
    last.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

fn anchor_of(journal: &Path) -> PathBuf {
    journal.with_extension("head")
}

fn entry_from(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        seq: row.get("seq")?,
        at: row.get("at")?,
        call: CallId(row.get("call")?),
        tool: ToolName(row.get("tool")?),
        call_sha256: row.get("call_sha256")?,
        outcome_sha256: row.get("outcome_sha256")?,
        prev: row.get("prev")?,
        hash: row.get("hash")?,
    })
}

fn running_from(row: &Row<'_>) -> rusqlite::Result<(CallId, ToolName)> {
    Ok((CallId(row.get(0)?), ToolName(row.get(1)?)))
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
    use std::fs;

    fn id(text: &str) -> CallId {
        CallId(text.into())
    }

    fn tool(name: &str) -> ToolName {
        ToolName::new(name)
    }

    #[test]
    fn a_result_waits_until_it_is_acknowledged_and_is_dropped_when_it_is_old() {
        let mut journal = Journal::in_memory().unwrap();
        journal
            .begin(&id("c1"), &tool("files.write"), "h1")
            .unwrap();
        let ended = journal
            .end(&id("c1"), &Outcome::done("ok"), "p", 1000)
            .unwrap()
            .unwrap();
        assert_eq!(journal.waiting().unwrap(), vec![ended.clone()]);
        journal.prune(1001).unwrap();
        assert_eq!(journal.waiting().unwrap(), vec![ended]);
        journal.acknowledge(&id("c1")).unwrap();
        assert_eq!(journal.waiting().unwrap(), vec![]);
        journal.prune(1000).unwrap();
        assert!(journal.find(&id("c1")).unwrap().is_some());
        journal.prune(1001).unwrap();
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
    fn what_runs_is_noted_on_the_disk_and_begins_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let mut journal = Journal::open(&path).unwrap();
        for call in ["b", "a", "c"] {
            journal.begin(&id(call), &tool("files.read"), "h").unwrap();
        }
        journal.end(&id("c"), &Outcome::Cancelled, "p", 5).unwrap();
        drop(journal);
        let mut journal = Journal::open(&path).unwrap();
        let running = ["b", "a"].map(|call| (id(call), tool("files.read")));
        assert_eq!(journal.running().unwrap(), running);
        assert!(journal.begin(&id("a"), &tool("files.read"), "h").is_err());
        assert!(journal.begin(&id("c"), &tool("files.read"), "h").is_err());
        journal.forget(&id("a")).unwrap();
        journal.begin(&id("a"), &tool("files.read"), "h").unwrap();
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
            .db
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

    #[test]
    fn the_head_is_kept_a_second_time_for_the_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(Journal::ledger(&path).unwrap(), Some(Ledger::default()));
        let mut end = |call: &str| {
            journal.begin(&id(call), &tool("files.read"), "h").unwrap();
            let ended = journal.end(&id(call), &Outcome::Cancelled, "p", 5);
            ended.unwrap().unwrap()
        };
        let kept = vec![end("a"), end("b")];
        let ledger = Journal::ledger(&path).unwrap().unwrap();
        let anchor = Anchor {
            seq: 2,
            head: kept[1].audit_head.clone(),
            next: None,
        };
        assert_eq!(ledger.anchor, Some(anchor));
        assert_eq!(ledger.kept, kept);
        let computed: Vec<String> = ledger.entries.iter().map(Entry::computed).collect();
        assert_eq!(
            computed,
            kept.iter()
                .map(|ended| ended.audit_head.clone())
                .collect::<Vec<_>>()
        );
        for name in ["journal.db", "journal.head", "journal.db-wal"] {
            let metadata = fs::metadata(folder.path().join(name)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_journal_of_before_there_were_anchors_gets_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let mut journal = Journal::open(&path).unwrap();
        journal.begin(&id("a"), &tool("files.read"), "h").unwrap();
        journal.end(&id("a"), &Outcome::Cancelled, "p", 5).unwrap();
        let whole = Journal::ledger(&path).unwrap();
        fs::remove_file(folder.path().join("journal.head")).unwrap();
        assert_eq!(Journal::ledger(&path).unwrap().unwrap().anchor, None);
        drop(journal);
        Journal::open(&path).unwrap();
        assert_eq!(Journal::ledger(&path).unwrap(), whole);
    }

    #[test]
    fn a_damaged_head_is_neither_believed_nor_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        drop(Journal::open(&path).unwrap());
        let head = folder.path().join("journal.head");
        fs::write(&head, "{\"seq\":").unwrap();
        for damaged in [
            Journal::open(&path).map(|_| ()),
            Journal::ledger(&path).map(|_| ()),
        ] {
            let told = damaged.unwrap_err().to_string();
            assert!(told.contains("remove it, and the next start"), "{told}");
        }
        fs::remove_file(&head).unwrap();
        assert!(Journal::open(&path).is_ok());
    }
}
