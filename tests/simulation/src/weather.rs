//! What hangs over a history: its dice, its clock, how much goes wrong, which deliberate fault is in, and what has been seen of it.

use crate::chance::Chance;
use crate::faults::Fault;
use std::cell::{Cell, RefCell};

/// Shared by everyone in one world.
pub(crate) struct Weather {
    pub(crate) chance: Chance,
    now: Cell<i64>,
    /// One write in so many crashes its writer; 0 for none.
    pub(crate) crash_in: u64,
    /// One write in so many fails without a crash; 0 for none.
    pub(crate) error_in: u64,
    /// No more trouble: everyone is to come to rest.
    pub(crate) calm: Cell<bool>,
    fault: Option<Fault>,
    broken: RefCell<Option<String>>,
    story: Option<RefCell<Vec<String>>>,
}

/// What becomes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    /// It is kept.
    Kept,
    /// The writer dies; nothing was kept.
    CrashBefore,
    /// It is kept and the writer dies without knowing.
    CrashAfter,
    /// Nothing is kept and the writer is told.
    Refused,
}

impl Weather {
    pub(crate) fn new(seed: u64, fault: Option<Fault>, told: bool) -> Self {
        let chance = Chance::new(seed);
        let crash_in = chance.pick(&[0, 0, 150, 60, 25]);
        let error_in = chance.pick(&[0, 0, 0, 120, 50, 15]);
        Self {
            chance,
            now: Cell::new(1_790_000_000_000),
            crash_in,
            error_in,
            calm: Cell::new(false),
            fault,
            broken: RefCell::default(),
            story: told.then(RefCell::default),
        }
    }

    pub(crate) fn now(&self) -> i64 {
        self.now.get()
    }

    pub(crate) fn set_clock(&self, now: i64) {
        self.now.set(now);
    }

    /// Whether this deliberate fault is in.
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    pub(crate) fn fate_of_write(&self) -> Write {
        if self.calm.get() {
            return Write::Kept;
        }
        if self.chance.one_in(self.crash_in) {
            return self.chance.pick(&[Write::CrashBefore, Write::CrashAfter]);
        }
        if self.chance.one_in(self.error_in) {
            return Write::Refused;
        }
        Write::Kept
    }

    /// A line of the story; composed only if somebody reads it.
    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        if let Some(story) = &self.story {
            let at = self.now() - 1_790_000_000_000;
            let seconds = at.div_euclid(1000);
            let line = format!("{seconds:>8}.{:03}  {}", at.rem_euclid(1000), line());
            story.borrow_mut().push(line);
        }
    }

    /// A promise was broken. The first counts: what follows may be its consequence.
    pub(crate) fn broken(&self, promise: impl FnOnce() -> String) {
        if self.broken.borrow().is_none() {
            let promise = promise();
            self.tell(|| format!("BROKEN: {promise}"));
            self.broken.replace(Some(promise));
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.borrow().is_some()
    }

    pub(crate) fn verdict(&self) -> Option<String> {
        self.broken.borrow().clone()
    }

    pub(crate) fn story(&self) -> Vec<String> {
        let lines = self.story.as_ref().map(|story| story.borrow().clone());
        lines.unwrap_or_default()
    }
}
