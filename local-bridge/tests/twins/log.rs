//! A log that somebody has worked on, read by whoever follows its chain and by whoever only reads its lines.

use local_bridge::audit::{Fault, verify};
use local_bridge::journal::{Entry, Journal, Ledger, Records};
use protocol::call::{CallId, Outcome, ToolName};
use rusqlite::Connection;
use std::path::PathBuf;
use tempfile::TempDir;

/// Five calls in a journal, whose database is the forger's.
struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self { folder };
        let mut journal = Journal::open(&world.path()).unwrap();
        for (at, call) in ["a", "b", "c", "d", "e"].iter().enumerate() {
            let (id, tool) = (CallId((*call).into()), ToolName::new("shell.run"));
            journal.begin(&id, &tool, "asked").unwrap();
            let outcome = Outcome::done(format!("text of {call}"));
            let now = 1_790_000_000_000 + i64::try_from(at).unwrap();
            journal.end(&id, &outcome, "p", now).unwrap().unwrap();
        }
        world
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("journal.db")
    }

    fn ledger(&self) -> Ledger {
        Journal::ledger(&self.path()).unwrap().unwrap()
    }
}

/// What a log without a chain can tell of itself: the numbers follow one another, and no call ends twice.
fn looks_sound(entries: &[Entry]) -> bool {
    let in_order = entries.iter().zip(1..).all(|(entry, seq)| entry.seq == seq);
    let mut calls: Vec<&str> = entries.iter().map(|entry| entry.call.0.as_str()).collect();
    calls.sort_unstable();
    calls.dedup();
    in_order && calls.len() == entries.len()
}

/// The forgery changes what the log tells; following the chain finds it, reading the lines does not.
fn succeeds_only_without_the_chain(forgery: &str, found: &Fault) {
    let world = World::new();
    let before = world.ledger();
    assert!(verify(&before, None).is_ok() && looks_sound(&before.entries));
    let db = Connection::open(world.path()).unwrap();
    db.execute_batch(forgery).unwrap();
    let after = world.ledger();
    assert_ne!(after.entries, before.entries);
    assert_eq!(verify(&after, None).as_ref(), Err(found));
    assert!(looks_sound(&after.entries));
}

#[test]
fn a_changed_entry_succeeds_only_without_the_chain() {
    succeeds_only_without_the_chain(
        "UPDATE audit SET tool = 'files.read' WHERE seq = 3; UPDATE calls SET tool = 'files.read' WHERE id = 'c'",
        &Fault::Changed(3),
    );
}

#[test]
fn a_removed_entry_succeeds_only_without_the_chain() {
    succeeds_only_without_the_chain(
        "DELETE FROM audit WHERE seq = 3; DELETE FROM calls WHERE id = 'c';
         UPDATE audit SET seq = 3 WHERE seq = 4; UPDATE audit SET seq = 4 WHERE seq = 5",
        &Fault::Changed(3),
    );
}

#[test]
fn two_entries_in_another_order_succeed_only_without_the_chain() {
    succeeds_only_without_the_chain(
        "UPDATE audit SET seq = 9 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3;
         UPDATE audit SET seq = 3 WHERE seq = 9",
        &Fault::Changed(2),
    );
}

#[test]
fn an_entry_that_never_was_succeeds_only_without_the_chain() {
    succeeds_only_without_the_chain(
        "INSERT INTO audit SELECT 6, at, 'f', tool, call_sha256, outcome_sha256, hash, '' FROM audit WHERE seq = 5",
        &Fault::Changed(6),
    );
}

#[test]
fn a_log_cut_off_at_its_end_succeeds_only_without_the_head_that_is_kept_apart() {
    let forgery = "DELETE FROM audit WHERE seq > 3; DELETE FROM calls WHERE id IN ('d', 'e')";
    let cut = Fault::CutOff {
        last: 3,
        anchored: 5,
    };
    succeeds_only_without_the_chain(forgery, &cut);
    // The chain alone holds: what is left of it is whole.
    let world = World::new();
    let db = Connection::open(world.path()).unwrap();
    db.execute_batch(forgery).unwrap();
    let mut ledger = world.ledger();
    let anchor = ledger.anchor.as_mut().unwrap();
    (anchor.seq, anchor.next) = (3, None);
    anchor.head.clone_from(&ledger.entries[2].hash);
    assert!(verify(&ledger, None).is_ok());
}
