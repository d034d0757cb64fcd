//! The dice: one seed, one history. `SplitMix64`, so that a seed means the same on every machine.

use std::cell::Cell;

/// A stream of numbers that a seed decides.
pub(crate) struct Chance(Cell<u64>);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `sides`, which is not 0.
    pub(crate) fn below(&self, sides: u64) -> u64 {
        // The upper half times the sides: no slower than a remainder, and even enough.
        ((self.next() >> 32) * sides) >> 32
    }

    /// The place of one of so many things.
    pub(crate) fn place(&self, things: usize) -> usize {
        usize::try_from(self.below(things as u64)).unwrap_or(0)
    }

    /// True once in so many times; never for 0.
    pub(crate) fn one_in(&self, times: u64) -> bool {
        times != 0 && self.below(times) == 0
    }

    pub(crate) fn between(&self, low: i64, high: i64) -> i64 {
        let span = u64::try_from(high - low).unwrap_or(0) + 1;
        low + i64::try_from(self.below(span)).unwrap_or(0)
    }

    pub(crate) fn pick<T: Copy>(&self, things: &[T]) -> T {
        things[self.place(things.len())]
    }
}
