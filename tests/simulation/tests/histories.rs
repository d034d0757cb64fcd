//! A hundred thousand histories keep every promise, and every deliberate fault breaks one.
//!
//! `BERNARD_SEED=<n>` replays one seed and prints its story; `BERNARD_HISTORIES=<n>` changes how many are lived through, and
//! `BERNARD_FROM=<n>` with which seed they begin.

use simulation::{Fault, play, tell};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

const HISTORIES: u64 = 100_000;

/// How many histories a fault may hide in.
const PATIENCE: u64 = 20_000;

/// Histories that once broke a promise, and what was at fault.
const ONCE_BROKEN: &[(u64, &str)] = &[
    (49, "what a called-off question had cost was not counted"),
    (
        8,
        "a reply that could not be saved was asked for again, and its cost not counted",
    ),
    (
        2516,
        "after a first look that failed, nothing counted as cut off any more",
    ),
    (
        214,
        "a call that a machine had taken on was reported as not done after a day",
    ),
    (2625, "the same, when its machine was unpaired"),
    (3191, "the same, when placing it failed three times"),
    (
        3821,
        "the doubt about one part was lost when another part was refused",
    ),
    (
        7297,
        "a held question of a call that was over made the alarm ring for ever",
    ),
    (
        38085,
        "an act that was begun before an error counted as under way for ever",
    ),
    (
        1256,
        "a message was never acknowledged, since its conversation could not be read",
    ),
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays the seeds of a range on two threads; one that breaks a promise, if there is any.
fn first_broken(seeds: Range<u64>, fault: Option<Fault>) -> Option<(u64, String)> {
    let stop = AtomicBool::new(false);
    let hunt = |first: u64| {
        let mut mine = (first..seeds.end).step_by(2);
        mine.find_map(|seed| {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            let broken = play(seed, fault).err()?;
            stop.store(true, Ordering::Relaxed);
            Some((seed, broken))
        })
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| hunt(seeds.start + 1));
        let mine = hunt(seeds.start);
        let theirs = other.join().expect("a history does not panic");
        mine.into_iter().chain(theirs).min()
    })
}

fn story(seed: u64, fault: Option<Fault>) -> String {
    tell(seed, fault).join("\n")
}

#[test]
fn a_hundred_thousand_histories_keep_every_promise() {
    if let Some(seed) = number("BERNARD_SEED") {
        eprintln!("{}", story(seed, None));
        assert_eq!(play(seed, None), Ok(()), "seed {seed}");
        return;
    }
    let seeds = number("BERNARD_HISTORIES").unwrap_or(HISTORIES);
    let from = number("BERNARD_FROM").unwrap_or(0);
    let began = Instant::now();
    if let Some((seed, broken)) = first_broken(from..from + seeds, None) {
        panic!(
            "seed {seed}: {broken}\n\n{}\n\nagain: BERNARD_SEED={seed} cargo test -p simulation histories",
            story(seed, None)
        );
    }
    eprintln!("{seeds} histories in {:?}", began.elapsed());
}

#[test]
fn what_once_broke_a_promise_keeps_it() {
    for (seed, what) in ONCE_BROKEN {
        assert_eq!(play(*seed, None), Ok(()), "seed {seed}: {what}");
    }
}

#[test]
fn every_deliberate_fault_is_caught() {
    let mut harmless = vec![];
    for fault in Fault::ALL {
        match first_broken(0..PATIENCE, Some(*fault)) {
            Some((seed, broken)) => eprintln!("{fault:?}: after {} histories: {broken}", seed + 1),
            None => harmless.push(fault),
        }
    }
    assert!(harmless.is_empty(), "nobody notices {harmless:?}");
}
