//! What was there before each change of a file, kept in the bridge's home before the change takes effect, so that it can be undone.

use crate::places::{NoPlace, Place};
use protocol::call::CallId;
use protocol::key::sha256_hex;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most bytes that one change may replace or copy: what people write is smaller, and ten such changes fit.
pub const MAX_CHANGE: u64 = 20 * 1000 * 1000;

/// The most bytes that all changes together keep.
const MAX_ALL: u64 = 200 * 1000 * 1000;

/// How long a change can be undone.
const MAX_AGE_MILLIS: i64 = 7 * 24 * 60 * 60 * 1000;

/// What a change takes beside its contents and its words, so that a million of them are no more than the others.
const OVERHEAD: u64 = 1000;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    call TEXT NOT NULL UNIQUE,
    what TEXT NOT NULL,
    at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('made', 'failed', 'undone')),
    undoes INTEGER,
    bytes INTEGER NOT NULL,
    deeds TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS images (
    change INTEGER NOT NULL REFERENCES changes (seq) ON DELETE CASCADE,
    deed INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (change, deed)
) STRICT;";

/// The changes of one machine, in a file of `SQLite`'s.
#[derive(Debug)]
pub struct Undo {
    store: Mutex<Connection>,
    limits: Limits,
}

/// The store while one change is made: no other begins before this value is gone, so that none is undone or judged half-way.
#[derive(Debug)]
pub struct Changes<'a> {
    store: MutexGuard<'a, Connection>,
    limits: Limits,
}

/// A change that is about to be made.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The call that makes it, and by which it is undone.
    pub call: &'a CallId,
    /// The tool and its place, for people and models.
    pub what: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// The change that it undoes, if it does.
    pub undoes: Option<i64>,
    /// What it does, in order.
    pub deeds: Vec<Deed>,
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its number.
    pub seq: i64,
    /// The call that made it.
    pub call: CallId,
    /// The tool and its place.
    pub what: String,
    /// How it stands.
    pub state: State,
    /// The change that it undid, if it did.
    pub undoes: Option<i64>,
    /// What it did, in order.
    pub deeds: Vec<Deed>,
}

/// How a change stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It was made, or was about to be when the bridge stopped.
    Made,
    /// It did not work, at least not to its end.
    Failed,
    /// It was taken back.
    Undone,
}

/// One step of a change, with all that is needed to take it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// A folder is made.
    Made(Spot),
    /// An empty folder is taken away.
    Removed(Spot),
    /// A file's contents come, go or change.
    Put {
        /// Which file.
        at: Spot,
        /// What it held; nothing where it was not there.
        before: Option<Image>,
        /// SHA-256 of what it then holds; nothing where it is gone.
        after: Option<String>,
    },
    /// Something gets another name.
    Moved {
        /// The old one.
        from: Spot,
        /// The new one.
        to: Spot,
        /// What it is.
        what: Identity,
    },
    /// Something goes to the system's trash.
    Trashed {
        /// Where it lay.
        at: Spot,
        /// What it is called there.
        name: String,
        /// What it is.
        what: Identity,
    },
    /// Something comes back from there.
    Restored {
        /// Where to.
        at: Spot,
        /// What it is.
        what: Identity,
    },
}

/// A place, in words that outlast the policy in which it was found.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Spot {
    /// The root's name.
    pub root: String,
    /// Where the root lay.
    pub base: PathBuf,
    /// The way below it.
    pub path: PathBuf,
}

/// A file's contents as they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// SHA-256 of the bytes.
    pub sha256: String,
    /// The file's mode bits.
    pub mode: u32,
    /// The bytes; they lie in a table of their own.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

/// By what a file or folder is known again under another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// It is a folder.
    pub folder: bool,
    /// Its disk.
    pub dev: u64,
    /// Its number there.
    pub ino: u64,
    /// SHA-256 of a file's bytes, where they are not too many.
    pub sha256: Option<String>,
    /// Of a larger file its length and when it was written, in seconds and nanoseconds.
    pub written: Option<(u64, i64, i64)>,
}

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Its file cannot be made.
    #[error("the undo store {path} cannot be made: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read or written.
    #[error("the undo store cannot be read or written: {0}")]
    Database(#[from] rusqlite::Error),
    /// A change in it is not understood.
    #[error("the undo store holds what cannot be understood: {0}")]
    Damaged(#[from] serde_json::Error),
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    all: u64,
    age: i64,
}

impl From<Unusable> for NoPlace {
    fn from(unusable: Unusable) -> Self {
        Self::Refused(format!("{unusable}; nothing was changed"))
    }
}

impl Undo {
    /// Opens the store in a bridge's home, or makes it, for its owner alone, and drops what is too old at `now`.
    pub fn open(home: &Path, now: i64) -> Result<Self, Unusable> {
        let path = home.join("undo.db");
        // SQLite gives its other files the mode of this one.
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .and_then(|file| {
                let ours = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                file.set_permissions(ours)
            })
            .map_err(|source| Unusable::Io {
                path: path.clone(),
                source,
            })?;
        let undo = Self::prepared(Connection::open(path)?)?;
        undo.begin().prune(now)?;
        Ok(undo)
    }

    /// A store that lives as long as the value.
    pub fn in_memory() -> Result<Self, Unusable> {
        Self::prepared(Connection::open_in_memory()?)
    }

    /// Takes the store for one change.
    pub fn begin(&self) -> Changes<'_> {
        Changes {
            // A tool that broke has left no statement half-way: SQLite sees to that.
            store: self.store.lock().unwrap_or_else(PoisonError::into_inner),
            limits: self.limits,
        }
    }

    fn prepared(store: Connection) -> Result<Self, Unusable> {
        // What is pruned must leave the disk, too. Only a file without tables takes this.
        store.pragma_update(None, "auto_vacuum", "FULL")?;
        store.pragma_update(None, "secure_delete", "ON")?;
        store.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        // FULL: what was there must be on the disk before it is replaced.
        store.pragma_update(None, "synchronous", "FULL")?;
        store.pragma_update(None, "foreign_keys", "ON")?;
        store.execute_batch(SCHEMA)?;
        Ok(Self {
            store: Mutex::new(store),
            limits: Limits {
                all: MAX_ALL,
                age: MAX_AGE_MILLIS,
            },
        })
    }
}

impl Changes<'_> {
    /// Keeps what a change will replace, then makes it. A change that fails stays known by its call, for it may have worked in part.
    pub fn make<T>(
        &mut self,
        plan: &Plan<'_>,
        make: impl FnOnce() -> Result<T, NoPlace>,
    ) -> Result<T, NoPlace> {
        let seq = self.keep(plan)?;
        let done = make();
        if done.is_err() {
            self.note(seq, State::Failed)?;
        }
        done
    }

    /// Drops what is too old. Making a change does so as well.
    pub fn prune(&mut self, now: i64) -> Result<(), Unusable> {
        prune(&self.store, self.limits, now, 0)
    }

    /// The change that a call made.
    pub fn find(&self, call: &CallId) -> Result<Option<Change>, Unusable> {
        self.one("SELECT * FROM changes WHERE call = ?1", &call.0)
    }

    /// The last change that is neither undone nor itself an undoing.
    pub fn last(&self) -> Result<Option<Change>, Unusable> {
        let sql =
            "SELECT * FROM changes WHERE state = ?1 AND undoes IS NULL ORDER BY seq DESC LIMIT 1";
        self.one(sql, State::Made.word())
    }

    /// The changes that can be undone, the last one first: call and what it did.
    pub fn recent(&self, most: u32) -> Result<Vec<(CallId, String)>, Unusable> {
        let sql = "SELECT call, what FROM changes WHERE state = 'made' ORDER BY seq DESC LIMIT ?1";
        let mut rows = self.store.prepare_cached(sql)?;
        let recent = rows.query_map([most], |row| Ok((CallId(row.get(0)?), row.get(1)?)))?;
        Ok(recent.collect::<Result<_, _>>()?)
    }

    /// The last change after a given one, still in force, that touched a place.
    pub fn later(&self, seq: i64, spot: &Spot) -> Result<Option<(CallId, String)>, Unusable> {
        let sql = "SELECT call, what, deeds FROM changes WHERE seq > ?1 AND state = 'made' AND undoes IS NULL ORDER BY seq DESC";
        let mut rows = self.store.prepare_cached(sql)?;
        let mut rows = rows.query([seq])?;
        while let Some(row) = rows.next()? {
            let deeds: Vec<Deed> = serde_json::from_str(&row.get::<_, String>("deeds")?)?;
            if deeds.iter().any(|deed| deed.spots().contains(&spot)) {
                return Ok(Some((CallId(row.get("call")?), row.get("what")?)));
            }
        }
        Ok(None)
    }

    /// Notes that a change was taken back. If it was an undoing itself, what it undid is in force again, and so on down.
    pub fn turn(&mut self, change: &Change) -> Result<(), Unusable> {
        self.note(change.seq, State::Undone)?;
        let (mut next, mut state) = (change.undoes, State::Made);
        while let Some(seq) = next {
            self.note(seq, state)?;
            let sql = "SELECT undoes FROM changes WHERE seq = ?1";
            let undoes = self.store.query_row(sql, [seq], |row| row.get(0));
            next = undoes.optional()?.flatten();
            state = match state {
                State::Made => State::Undone,
                State::Undone | State::Failed => State::Made,
            };
        }
        Ok(())
    }

    fn keep(&mut self, plan: &Plan<'_>) -> Result<i64, NoPlace> {
        let images: Vec<(usize, &Image)> =
            plan.deeds.iter().enumerate().filter_map(image).collect();
        let bytes: u64 = images
            .iter()
            .map(|(_, image)| image.bytes.len() as u64)
            .sum();
        if bytes > MAX_CHANGE {
            return Err(NoPlace::Refused(
                "more than 20 MB would be replaced, which could not be undone; nothing was changed"
                    .to_owned(),
            ));
        }
        Ok(self.insert(plan, &images, bytes)?)
    }

    fn insert(
        &mut self,
        plan: &Plan<'_>,
        images: &[(usize, &Image)],
        bytes: u64,
    ) -> Result<i64, Unusable> {
        let limits = self.limits;
        // A long list of long names fills a disk as contents do.
        let deeds = serde_json::to_string(&plan.deeds)?;
        let bytes = bytes + OVERHEAD + (deeds.len() + plan.what.len()) as u64;
        let transaction = self.store.transaction()?;
        prune(&transaction, limits, plan.at, bytes)?;
        transaction.execute(
            "INSERT INTO changes (call, what, at, state, undoes, bytes, deeds) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                plan.call.0,
                plan.what,
                plan.at,
                State::Made.word(),
                plan.undoes,
                i64::try_from(bytes).unwrap_or(i64::MAX),
                deeds
            ],
        )?;
        let seq = transaction.last_insert_rowid();
        for (at, image) in images {
            transaction.execute(
                "INSERT INTO images (change, deed, bytes) VALUES (?1, ?2, ?3)",
                params![seq, i64::try_from(*at).unwrap_or(i64::MAX), image.bytes],
            )?;
        }
        transaction.commit()?;
        Ok(seq)
    }

    fn note(&mut self, seq: i64, state: State) -> Result<(), Unusable> {
        let sql = "UPDATE changes SET state = ?2 WHERE seq = ?1";
        self.store.execute(sql, params![seq, state.word()])?;
        Ok(())
    }

    fn one(&self, sql: &str, by: &str) -> Result<Option<Change>, Unusable> {
        let mut found = self.store.prepare_cached(sql)?;
        let Some((mut change, deeds)) = found.query_row([by], change_from).optional()? else {
            return Ok(None);
        };
        change.deeds = serde_json::from_str(&deeds)?;
        let sql = "SELECT bytes FROM images WHERE change = ?1 AND deed = ?2";
        let mut images = self.store.prepare_cached(sql)?;
        for (at, deed) in (0_i64..).zip(&mut change.deeds) {
            if let Deed::Put {
                before: Some(image),
                ..
            } = deed
            {
                image.bytes = images.query_row([change.seq, at], |row| row.get(0))?;
            }
        }
        Ok(Some(change))
    }
}

impl Deed {
    /// The places that it concerns.
    pub fn spots(&self) -> Vec<&Spot> {
        match self {
            Self::Made(at)
            | Self::Removed(at)
            | Self::Put { at, .. }
            | Self::Trashed { at, .. }
            | Self::Restored { at, .. } => vec![at],
            Self::Moved { from, to, .. } => vec![from, to],
        }
    }
}

impl Spot {
    /// A place in lasting words.
    pub fn of(place: &Place<'_>) -> Self {
        Self {
            root: place.root.name.clone(),
            base: place.root.path.clone(),
            path: place.path.clone(),
        }
    }
}

impl Image {
    /// A file's contents, kept.
    pub fn of(bytes: Vec<u8>, mode: u32) -> Self {
        Self {
            sha256: sha256_hex(&bytes),
            mode,
            bytes,
        }
    }
}

impl Identity {
    /// Whether this is the same thing. A file is its contents: one that was put back has another number, and numbers are given anew.
    pub fn is(&self, other: &Self) -> bool {
        let number = (self.dev, self.ino) == (other.dev, other.ino);
        let contents = self.sha256 == other.sha256 && self.written == other.written;
        self.folder == other.folder && contents && (number || self.sha256.is_some())
    }
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Failed => "failed",
            Self::Undone => "undone",
        }
    }
}

/// Drops what is too old, and then the oldest until there is room.
fn prune(store: &Connection, limits: Limits, now: i64, room: u64) -> Result<(), Unusable> {
    let old = now.saturating_sub(limits.age);
    store.execute("DELETE FROM changes WHERE at < ?1", [old])?;
    let most = i64::try_from(limits.all.saturating_sub(room)).unwrap_or(i64::MAX);
    // Sums from the newest on; where the sum passes the limit begins what goes.
    store.execute(
        "DELETE FROM changes WHERE seq <= (
            SELECT max(seq) FROM (SELECT seq, sum(bytes) OVER (ORDER BY seq DESC) AS kept FROM changes) WHERE kept > ?1
        )",
        [most],
    )?;
    Ok(())
}

fn image((at, deed): (usize, &Deed)) -> Option<(usize, &Image)> {
    match deed {
        Deed::Put { before, .. } => Some((at, before.as_ref()?)),
        Deed::Made(_)
        | Deed::Removed(_)
        | Deed::Moved { .. }
        | Deed::Trashed { .. }
        | Deed::Restored { .. } => None,
    }
}

/// A change and its deeds, as yet unread.
fn change_from(row: &Row<'_>) -> rusqlite::Result<(Change, String)> {
    let state: String = row.get("state")?;
    let states = [State::Made, State::Failed, State::Undone];
    let change = Change {
        seq: row.get("seq")?,
        call: CallId(row.get("call")?),
        what: row.get("what")?,
        state: states
            .into_iter()
            .find(|known| known.word() == state)
            .unwrap_or(State::Failed), // the table takes no other word
        undoes: row.get("undoes")?,
        deeds: Vec::new(),
    };
    Ok((change, row.get("deeds")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const DAY: i64 = 24 * 60 * 60 * 1000;

    fn put(name: &str, before: &[u8]) -> Deed {
        Deed::Put {
            at: Spot {
                root: "docs".into(),
                base: "/home/anna/docs".into(),
                path: name.into(),
            },
            before: Some(Image::of(before.to_vec(), 0o640)),
            after: Some(sha256_hex(b"after")),
        }
    }

    fn keep(undo: &Undo, call: &str, at: i64, undoes: Option<i64>, deeds: Vec<Deed>) -> i64 {
        let plan = Plan {
            call: &CallId(call.into()),
            what: format!("files.write {call}"),
            at,
            undoes,
            deeds,
        };
        undo.begin().keep(&plan).unwrap()
    }

    fn known(undo: &Undo) -> Vec<String> {
        let mut calls: Vec<String> = undo
            .begin()
            .recent(99)
            .unwrap()
            .into_iter()
            .map(|(call, _)| call.0)
            .collect();
        calls.reverse();
        calls
    }

    #[test]
    fn what_was_kept_is_there_after_a_crash_and_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let undo = Undo::open(home.path(), 1).unwrap();
        let deeds = vec![put("a", b"one"), put("b", b"two")];
        let seq = keep(&undo, "c1", 1, None, deeds.clone());
        for entry in fs::read_dir(home.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{:?}", entry.file_name());
        }
        std::mem::forget(undo); // no goodbye, as in a crash
        let undo = Undo::open(home.path(), 1).unwrap();
        let expected = Change {
            seq,
            call: CallId("c1".into()),
            what: "files.write c1".into(),
            state: State::Made,
            undoes: None,
            deeds,
        };
        let changes = undo.begin();
        assert_eq!(changes.last().unwrap(), Some(expected.clone()));
        assert_eq!(
            changes.find(&expected.call).unwrap(),
            Some(expected.clone())
        );
        drop(changes);
        drop(undo);
        for (day, kept) in [(7, true), (8, false)] {
            let undo = Undo::open(home.path(), day * DAY).unwrap();
            let found = undo.begin().find(&expected.call).unwrap();
            assert_eq!(found.is_some(), kept, "day {day}");
        }
    }

    #[test]
    fn what_is_replaced_is_on_the_disk_before_it_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        let undo = Undo::open(home.path(), 1).unwrap();
        let call = CallId("c1".into());
        let plan = Plan {
            call: &call,
            what: String::new(),
            at: 1,
            undoes: None,
            deeds: vec![put("a", b"one")],
        };
        let seen = undo.begin().make(&plan, || {
            let another = Undo::open(home.path(), 1)?;
            Ok(another.begin().find(&call)?)
        });
        assert_eq!(seen.unwrap().unwrap().deeds, [put("a", b"one")]);
    }

    #[test]
    fn a_call_makes_one_change() {
        let undo = Undo::in_memory().unwrap();
        keep(&undo, "c1", 1, None, vec![put("a", b"one")]);
        let plan = Plan {
            call: &CallId("c1".into()),
            what: String::new(),
            at: 2,
            undoes: None,
            deeds: vec![put("a", b"two")],
        };
        assert!(undo.begin().keep(&plan).is_err());
        let change = undo.begin().last().unwrap().unwrap();
        assert_eq!(change.deeds, [put("a", b"one")]);
    }

    #[test]
    fn the_oldest_changes_go_when_there_are_too_many_bytes_or_they_are_too_old() {
        let mut undo = Undo::in_memory().unwrap();
        let deeds = serde_json::to_string(&[put("a", &[b'x'; 100])]).unwrap();
        let words = (deeds.len() + "files.write c1".len()) as u64;
        undo.limits.all = 3 * (100 + words + OVERHEAD);
        for (at, call) in (1..).zip(["c1", "c2", "c3"]) {
            keep(&undo, call, at * DAY, None, vec![put("a", &[b'x'; 100])]);
        }
        assert_eq!(known(&undo), ["c1", "c2", "c3"]);
        keep(&undo, "c4", 4 * DAY, None, vec![put("a", &[b'x'; 100])]);
        assert_eq!(known(&undo), ["c2", "c3", "c4"]);
        keep(&undo, "c5", 5 * DAY, None, vec![put("a", &[b'x'; 101])]);
        assert_eq!(known(&undo), ["c4", "c5"], "one byte too many");
        keep(&undo, "c6", 11 * DAY, None, vec![]);
        assert_eq!(known(&undo), ["c4", "c5", "c6"]);
        keep(&undo, "c7", 11 * DAY + 1, None, vec![]);
        assert_eq!(known(&undo), ["c5", "c6", "c7"], "c4 is seven days old");
        let images: i64 = undo
            .begin()
            .store
            .query_row("SELECT count(*) FROM images", [], |row| row.get(0))
            .unwrap();
        assert_eq!(images, 1);
    }

    #[test]
    fn a_change_that_could_not_be_undone_is_not_made() {
        let undo = Undo::in_memory().unwrap();
        let large = vec![0; usize::try_from(MAX_CHANGE).unwrap() + 1];
        let call = CallId("c1".into());
        let plan = Plan {
            call: &call,
            what: String::new(),
            at: 1,
            undoes: None,
            deeds: vec![put("a", &large)],
        };
        let refused = undo.begin().make(&plan, || -> Result<(), NoPlace> {
            panic!("it was made");
        });
        assert_eq!(
            refused.unwrap_err().to_string(),
            "more than 20 MB would be replaced, which could not be undone; nothing was changed"
        );
        assert_eq!(undo.begin().find(&call).unwrap(), None);
    }

    #[test]
    fn undoing_an_undoing_puts_the_change_in_force_again() {
        let undo = Undo::in_memory().unwrap();
        let first = keep(&undo, "c1", 1, None, vec![]);
        let last = |undo: &Undo| undo.begin().last().unwrap().map(|change| change.call.0);
        let turn = |undo: &Undo, call: &str| {
            let mut changes = undo.begin();
            let change = changes.find(&CallId(call.into())).unwrap().unwrap();
            changes.turn(&change).unwrap();
        };
        let second = keep(&undo, "u1", 2, Some(first), vec![]);
        turn(&undo, "c1");
        assert_eq!((last(&undo), known(&undo)), (None, vec!["u1".into()]));
        let third = keep(&undo, "u2", 3, Some(second), vec![]);
        turn(&undo, "u1");
        assert_eq!(last(&undo), Some("c1".into()));
        keep(&undo, "u3", 4, Some(third), vec![]);
        turn(&undo, "u2");
        assert_eq!(
            (last(&undo), known(&undo)),
            (None, vec!["u1".into(), "u3".into()])
        );
    }
}
