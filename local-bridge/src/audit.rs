//! The log of what this machine has done, told and checked: each entry holds the hash of the one before it, so that a changed, removed,
//! added or reordered one is found. It proves this to whoever holds a head that its forger does not: see [`verify`].

use crate::journal::{Anchor, Entry, Ledger, NO_HEAD};
use crate::places::visible;
use crate::tools::figures::moment;
use protocol::call::{CallId, Outcome};
use protocol::key::sha256_hex;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How much of a hash is shown, in a receipt as well.
const SHORT: usize = 12;

/// The name of the exported format, and how its hashes are made.
const FORMAT: &str = "bernard-audit-1";
const HASHED: &str =
    "hash = SHA-256 of the JSON array [seq, at, call, tool, call_sha256, outcome_sha256, prev]";

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Numbers are left out.
    #[error("entry {0} is missing")]
    Missing(i64),
    /// What an entry says is not what it said when it was written.
    #[error("entry {0} was changed: its hash is not that of what it says")]
    Changed(i64),
    /// An entry follows another one than it did.
    #[error("entry {0} does not follow the one before it: one of them was put there or taken away")]
    Unlinked(i64),
    /// A kept outcome is not the one that was logged.
    #[error("the kept outcome of call {1} is not the one that entry {0} was written for")]
    Outcome(i64, CallId),
    /// A call has ended and is not in the log.
    #[error("call {0} has ended, and its entry is not in the log")]
    Vanished(CallId),
    /// The log ends before it should.
    #[error(
        "entries after {last} are missing: the log ended in entry {anchored}, says journal.head"
    )]
    CutOff {
        /// The last that is there.
        last: i64,
        /// The last that was there.
        anchored: i64,
    },
    /// The log was written anew.
    #[error("entry {0} is another one than journal.head says: the log was written anew")]
    Rewritten(i64),
    /// The log goes on where it should have ended.
    #[error("entry {0} was added by something else than local-bridge, says journal.head")]
    Added(i64),
    /// There is a log and nothing that says where it should end.
    #[error("journal.head is missing, so nobody can say where the log should end")]
    Unanchored,
    /// A head from elsewhere is none of this log's.
    #[error("no entry has the hash '{0}': the log is not the one that it came from")]
    Unknown(String),
}

/// A log that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sound {
    /// How many entries it has.
    pub entries: usize,
    /// How many of their outcomes are still kept, and were compared.
    pub outcomes: usize,
    /// Its last hash.
    pub head: String,
}

/// An entry as a person or a program reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its number.
    pub seq: i64,
    /// When the call ended, in milliseconds since 1970.
    pub at: i64,
    /// The call.
    pub call: String,
    /// Its tool.
    pub tool: String,
    /// How it ended, in a word; nothing where that is no longer kept.
    pub outcome: Option<&'static str>,
    /// The log's head after it.
    pub head: String,
}

/// What cannot be exported or read again.
#[derive(Debug, thiserror::Error)]
pub enum NoExport {
    /// A file could not be read or written.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// It is none of ours.
    #[error("{0}, line {1}: {2}")]
    Foreign(PathBuf, usize, String),
}

/// The first line of an export.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heading {
    format: String,
    hashed: String,
    bridge: Option<String>,
    exported_at: i64,
    entries: usize,
    anchor: Option<Anchor>,
}

/// Walks the whole log: every hash is computed anew, every kept outcome compared, and the end compared with the head that is kept apart.
/// `known` is a head from elsewhere, such as a receipt's, or as much of its beginning as is shown there.
///
/// Whoever can write every file of the account can also write a whole new log with a fitting head. Only a head that was carried away
/// before, as every receipt does, contradicts it.
pub fn verify(ledger: &Ledger, known: Option<&str>) -> Result<Sound, Fault> {
    let (mut seq, mut head) = (0, NO_HEAD);
    for entry in &ledger.entries {
        seq += 1;
        if entry.seq != seq {
            return Err(Fault::Missing(seq));
        }
        if entry.computed() != entry.hash {
            return Err(Fault::Changed(seq));
        }
        if entry.prev != head {
            return Err(Fault::Unlinked(seq));
        }
        head = &entry.hash;
    }
    compare_outcomes(ledger)?;
    compare_end(ledger, seq)?;
    if let Some(known) = known {
        let holds = |entry: &Entry| known.len() >= SHORT && entry.hash.starts_with(known);
        if !ledger.entries.iter().any(holds) {
            return Err(Fault::Unknown(visible(known)));
        }
    }
    Ok(Sound {
        entries: ledger.entries.len(),
        outcomes: ledger.kept.len(),
        head: head.to_owned(),
    })
}

fn compare_outcomes(ledger: &Ledger) -> Result<(), Fault> {
    let entries = ledger.entries.iter();
    let entries: HashMap<&str, &Entry> =
        entries.map(|entry| (entry.hash.as_str(), entry)).collect();
    for ended in &ledger.kept {
        let Some(entry) = entries.get(ended.audit_head.as_str()) else {
            return Err(Fault::Vanished(ended.call.clone()));
        };
        let outcome = sha256_hex(ended.outcome.as_bytes());
        let told = (&ended.call, &ended.tool, &ended.call_sha256, ended.at);
        if told != (&entry.call, &entry.tool, &entry.call_sha256, entry.at)
            || outcome != entry.outcome_sha256
        {
            return Err(Fault::Outcome(entry.seq, ended.call.clone()));
        }
    }
    Ok(())
}

fn compare_end(ledger: &Ledger, last: i64) -> Result<(), Fault> {
    let Some(anchor) = &ledger.anchor else {
        return if last == 0 {
            Ok(())
        } else {
            Err(Fault::Unanchored)
        };
    };
    let at = |seq: i64| {
        let index = usize::try_from(seq - 1).ok()?;
        ledger.entries.get(index).map(|entry| &entry.hash)
    };
    if last < anchor.seq {
        let anchored = anchor.seq;
        return Err(Fault::CutOff { last, anchored });
    }
    if anchor.seq > 0 && at(anchor.seq) != Some(&anchor.head) {
        return Err(Fault::Rewritten(anchor.seq));
    }
    let next = anchor.seq + 1;
    if last == next && at(next) == anchor.next.as_ref() || last == anchor.seq {
        return Ok(());
    }
    Err(Fault::Added(next))
}

/// The last entries, the oldest of them first.
pub fn lines(ledger: &Ledger, most: usize) -> Vec<Line> {
    let outcomes: HashMap<&str, &'static str> = ledger
        .kept
        .iter()
        .filter_map(|ended| Some((ended.audit_head.as_str(), word(&ended.outcome)?)))
        .collect();
    let skipped = ledger.entries.len().saturating_sub(most);
    let lines = ledger.entries.iter().skip(skipped).map(|entry| Line {
        seq: entry.seq,
        at: entry.at,
        call: entry.call.0.clone(),
        tool: entry.tool.0.clone(),
        outcome: outcomes.get(entry.hash.as_str()).copied(),
        head: entry.hash.clone(),
    });
    lines.collect()
}

fn word(outcome: &str) -> Option<&'static str> {
    Some(match serde_json::from_str(outcome).ok()? {
        Outcome::Done { .. } => "done",
        Outcome::Failed { .. } => "failed",
        Outcome::Denied { .. } => "denied",
        Outcome::Cancelled => "cancelled",
        Outcome::Interrupted { .. } => "interrupted",
    })
}

/// The first characters of a hash, as they stand in `/receipts`, too.
pub fn short(hash: &str) -> String {
    hash.chars().take(SHORT).collect()
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>5}  {}  {:<12} {:<11}  log {}  call {}",
            self.seq,
            moment(self.at.div_euclid(1000)),
            visible(&self.tool),
            self.outcome.unwrap_or("-"), // its outcome has been stored by the Worker and dropped here
            short(&self.head),
            visible(&self.call)
        )
    }
}

/// Writes a log into a file of its own, one JSON value a line: a heading, then each entry. Outcomes stay here; their hashes go.
pub fn export(
    ledger: &Ledger,
    bridge: Option<String>,
    now: i64,
    path: &Path,
) -> Result<usize, NoExport> {
    let heading = Heading {
        format: FORMAT.to_owned(),
        hashed: HASHED.to_owned(),
        bridge,
        exported_at: now,
        entries: ledger.entries.len(),
        anchor: ledger.anchor.clone(),
    };
    let write = || {
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let mut file = BufWriter::new(file);
        serde_json::to_writer(&mut file, &heading)?;
        for entry in &ledger.entries {
            file.write_all(b"\n")?;
            serde_json::to_writer(&mut file, entry)?;
        }
        file.write_all(b"\n")?;
        file.into_inner()?.sync_all()
    };
    write().map_err(|error| NoExport::Io(path.to_owned(), error))?;
    Ok(ledger.entries.len())
}

/// Reads what was exported, to be verified anywhere.
pub fn import(path: &Path) -> Result<Ledger, NoExport> {
    let text = fs::read_to_string(path).map_err(|error| NoExport::Io(path.to_owned(), error))?;
    let foreign = |line: usize, why: &dyn fmt::Display| {
        NoExport::Foreign(path.to_owned(), line + 1, why.to_string())
    };
    let mut lines = text.lines();
    let heading: Heading = serde_json::from_str(lines.next().unwrap_or_default())
        .map_err(|error| foreign(0, &error))?;
    if heading.format != FORMAT {
        return Err(foreign(0, &format!("the format is not {FORMAT}")));
    }
    let entries = lines.enumerate().map(|(at, line)| {
        serde_json::from_str::<Entry>(line).map_err(|error| foreign(at + 1, &error))
    });
    Ok(Ledger {
        entries: entries.collect::<Result<_, _>>()?,
        anchor: heading.anchor,
        ..Ledger::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Journal, Records};
    use protocol::call::ToolName;
    use rusqlite::Connection;
    use tempfile::TempDir;

    /// A journal of five calls, whose file is the forger's.
    struct World {
        folder: TempDir,
        heads: Vec<String>,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let mut journal = Journal::open(&folder.path().join("journal.db")).unwrap();
            let mut heads = Vec::new();
            for call in ["a", "b", "c", "d", "e"] {
                let id = CallId(call.into());
                let tool = ToolName::new("files.read");
                journal.begin(&id, &tool, "asked").unwrap();
                let outcome = Outcome::done(format!("text of {call}"));
                let ended = journal.end(&id, &outcome, "p", 1_790_000_000_000).unwrap();
                heads.push(ended.unwrap().audit_head);
            }
            Self { folder, heads }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("journal.db")
        }

        fn ledger(&self) -> Ledger {
            Journal::ledger(&self.path()).unwrap().unwrap()
        }

        fn verify(&self) -> Result<Sound, Fault> {
            verify(&self.ledger(), None)
        }

        /// What the forger does to the database.
        fn forge(&self, sql: &str) {
            let db = Connection::open(self.path()).unwrap();
            db.execute_batch(sql).unwrap();
        }

        /// All hashes made anew, in the log and in the calls that are kept: the chain is whole, whatever was done to it.
        fn rehash(&self) {
            let db = Connection::open(self.path()).unwrap();
            let mut head = NO_HEAD.to_owned();
            for (at, mut entry) in self.ledger().entries.into_iter().enumerate() {
                let old = entry.hash.clone();
                entry.seq = i64::try_from(at).unwrap() + 1;
                entry.prev.clone_from(&head);
                entry.hash = entry.computed();
                db.execute(
                    "UPDATE audit SET seq = ?1, prev = ?2, hash = ?3 WHERE hash = ?4",
                    (entry.seq, &entry.prev, &entry.hash, &old),
                )
                .unwrap();
                db.execute(
                    "UPDATE calls SET audit_head = ?1 WHERE audit_head = ?2",
                    (&entry.hash, &old),
                )
                .unwrap();
                head = entry.hash;
            }
        }
    }

    #[test]
    fn a_log_that_nobody_touched_holds() {
        let world = World::new();
        let sound = Sound {
            entries: 5,
            outcomes: 5,
            head: world.heads[4].clone(),
        };
        assert_eq!(world.verify(), Ok(sound));
    }

    #[test]
    fn a_changed_byte_is_found() {
        for column in ["tool", "call", "call_sha256", "outcome_sha256"] {
            let world = World::new();
            world.forge(&format!(
                "UPDATE audit SET {column} = 'x' || substr({column}, 2) WHERE seq = 3"
            ));
            assert_eq!(world.verify(), Err(Fault::Changed(3)), "{column}");
        }
        let world = World::new();
        world.forge("UPDATE audit SET at = at + 1 WHERE seq = 3");
        assert_eq!(world.verify(), Err(Fault::Changed(3)));
    }

    #[test]
    fn a_removed_entry_is_found_first_in_the_middle_and_last() {
        for seq in [1, 3] {
            let world = World::new();
            world.forge(&format!("DELETE FROM audit WHERE seq = {seq}"));
            assert_eq!(world.verify(), Err(Fault::Missing(seq)));
        }
        let world = World::new();
        world.forge("DELETE FROM audit WHERE seq = 5");
        let vanished = Fault::Vanished(CallId("e".into()));
        assert_eq!(world.verify(), Err(vanished), "its call is still there");
        world.forge("DELETE FROM calls WHERE id = 'e'");
        let cut = Fault::CutOff {
            last: 4,
            anchored: 5,
        };
        assert_eq!(world.verify(), Err(cut));
    }

    #[test]
    fn a_removed_entry_whose_gap_was_closed_is_found() {
        let world = World::new();
        world.forge(
            "DELETE FROM audit WHERE seq = 3; UPDATE audit SET seq = seq - 1 WHERE seq = 4;
             UPDATE audit SET seq = seq - 1 WHERE seq = 5;",
        );
        assert_eq!(world.verify(), Err(Fault::Changed(3)));
    }

    #[test]
    fn two_swapped_entries_are_found() {
        let world = World::new();
        world.forge(
            "UPDATE audit SET seq = 9 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3;
             UPDATE audit SET seq = 3 WHERE seq = 9;",
        );
        assert_eq!(world.verify(), Err(Fault::Changed(2)));
    }

    #[test]
    fn an_entry_whose_own_hash_was_made_anew_does_not_link() {
        let world = World::new();
        let mut entry = world.ledger().entries[2].clone();
        entry.tool = ToolName::new("files.list");
        world.forge(&format!(
            "UPDATE audit SET tool = 'files.list', hash = '{}' WHERE seq = 3; DELETE FROM calls",
            entry.computed()
        ));
        assert_eq!(world.verify(), Err(Fault::Unlinked(4)));
    }

    #[test]
    fn a_log_whose_hashes_were_all_made_anew_is_found_by_the_anchor_and_only_by_it() {
        let world = World::new();
        world.forge("UPDATE audit SET tool = 'files.list' WHERE seq = 3");
        world.forge("UPDATE calls SET tool = 'files.list' WHERE id = 'c'");
        world.rehash();
        assert_eq!(world.verify(), Err(Fault::Rewritten(5)));
        let mut ledger = world.ledger();
        let last = ledger.entries.last().unwrap();
        let (seq, head, next) = (last.seq, last.hash.clone(), None);
        ledger.anchor = Some(Anchor { seq, head, next });
        assert!(verify(&ledger, None).is_ok(), "nothing else here tells it");
        // Who can write the anchor, too, is contradicted by what was carried away: a receipt holds the old head.
        let carried = short(&world.heads[4]);
        let unknown = Fault::Unknown(carried.clone());
        assert_eq!(verify(&ledger, Some(&carried)), Err(unknown));
        let before = short(&world.heads[1]);
        assert!(
            verify(&ledger, Some(&before)).is_ok(),
            "of before the forgery"
        );
    }

    #[test]
    fn an_entry_that_was_removed_and_the_rest_made_anew_is_found() {
        let world = World::new();
        world.forge("DELETE FROM audit WHERE seq = 3; DELETE FROM calls WHERE id = 'c'");
        world.rehash();
        let cut = Fault::CutOff {
            last: 4,
            anchored: 5,
        };
        assert_eq!(world.verify(), Err(cut));
    }

    #[test]
    fn an_added_entry_is_found() {
        let world = World::new();
        world.forge("INSERT INTO audit SELECT 6, at, 'f', tool, call_sha256, outcome_sha256, hash, '' FROM audit WHERE seq = 5");
        assert_eq!(world.verify(), Err(Fault::Changed(6)));
        world.rehash();
        assert_eq!(world.verify(), Err(Fault::Added(6)));
    }

    #[test]
    fn what_a_power_cut_leaves_is_no_forgery() {
        let world = World::new();
        let (heads, whole) = (&world.heads, world.ledger());
        let anchor = |seq: i64, head: &str, next: Option<&String>| Ledger {
            anchor: Some(Anchor {
                seq,
                head: head.to_owned(),
                next: next.cloned(),
            }),
            ..whole.clone()
        };
        let written = anchor(4, &heads[3], Some(&heads[4]));
        assert!(verify(&written, None).is_ok(), "the last was committed");
        let unwritten = anchor(5, &heads[4], Some(&"f".repeat(64)));
        assert!(verify(&unwritten, None).is_ok(), "the next was not");
        let other = anchor(4, &heads[3], Some(&"f".repeat(64)));
        assert_eq!(verify(&other, None), Err(Fault::Added(5)));
        let older = anchor(3, &heads[2], Some(&heads[3]));
        assert_eq!(verify(&older, None), Err(Fault::Added(4)));
    }

    #[test]
    fn a_kept_outcome_that_was_changed_is_found() {
        let world = World::new();
        world.forge("UPDATE calls SET outcome = replace(outcome, 'text', 'test') WHERE id = 'b'");
        assert_eq!(world.verify(), Err(Fault::Outcome(2, CallId("b".into()))));
    }

    #[test]
    fn a_log_without_its_anchor_is_not_called_sound() {
        let world = World::new();
        fs::remove_file(world.folder.path().join("journal.head")).unwrap();
        assert_eq!(world.verify(), Err(Fault::Unanchored));
    }

    #[test]
    fn an_export_is_verified_elsewhere_as_it_is_here() {
        let world = World::new();
        let file = world.folder.path().join("log.jsonl");
        let ledger = world.ledger();
        assert_eq!(export(&ledger, Some("me".into()), 7, &file).unwrap(), 5);
        let again = export(&ledger, None, 7, &file).unwrap_err();
        assert!(again.to_string().ends_with("File exists (os error 17)"));
        let read = import(&file).unwrap();
        assert_eq!(
            (&read.entries, &read.anchor),
            (&ledger.entries, &ledger.anchor)
        );
        assert_eq!(verify(&read, Some(&world.heads[2])).unwrap().entries, 5);
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("text of"), "outcomes stay at home");
        fs::write(&file, text.replacen("files.read", "files.list", 1)).unwrap();
        assert_eq!(
            verify(&import(&file).unwrap(), None),
            Err(Fault::Changed(1))
        );
    }

    #[test]
    fn the_last_lines_are_told() {
        let world = World::new();
        world.forge("DELETE FROM calls WHERE id = 'd'");
        let told: Vec<String> = lines(&world.ledger(), 2)
            .iter()
            .map(ToString::to_string)
            .collect();
        let head = |at: usize| short(&world.heads[at]);
        assert_eq!(
            told,
            [
                format!(
                    "    4  2026-09-21 14:13:20  files.read   -            log {}  call d",
                    head(3)
                ),
                format!(
                    "    5  2026-09-21 14:13:20  files.read   done         log {}  call e",
                    head(4)
                ),
            ]
        );
    }
}
