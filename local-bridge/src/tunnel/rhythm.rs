//! The rhythm of a connection: how often, how long, and how soon again.

use protocol::key::random_bytes;
use protocol::{LEASE_SECONDS, PING_SECONDS};
use std::time::Duration;

/// The rhythm of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How often to ping.
    pub ping: Duration,
    /// How long the Worker may be silent.
    pub lease: Duration,
    /// How long dialling and proving may take.
    pub dial: Duration,
    /// Waits between tries that failed.
    pub retry: Backoff,
    /// Waits between tries that were refused: the owner may say yes at any minute.
    pub refused: Backoff,
    /// A session that lasted this long shows that all is well.
    pub healthy: Duration,
}

/// Waits that double, each a random part of its step, so that many bridges do not come back in step.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The first step.
    pub first: Duration,
    /// The longest step.
    pub most: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(PING_SECONDS),
            lease: Duration::from_secs(LEASE_SECONDS),
            dial: Duration::from_secs(15), // Wi-Fi that wakes, and a cold Worker
            retry: Backoff {
                first: Duration::from_millis(250),
                most: Duration::from_secs(30),
            },
            refused: Backoff {
                first: Duration::from_secs(2),
                most: Duration::from_mins(1),
            },
            healthy: Duration::from_secs(10),
        }
    }
}

impl Backoff {
    /// The wait before the next try after `failures` of them.
    pub(super) fn wait(self, failures: u32) -> Duration {
        let step = self
            .first
            .saturating_mul(1 << failures.min(16))
            .min(self.most);
        let part = random_bytes::<2>().map_or(u16::MAX, u16::from_be_bytes);
        step.mul_f64(f64::from(part) / f64::from(u16::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_never_longer_than_their_step() {
        let backoff = Timing::default().retry;
        for (failures, step) in [(0, 250), (1, 500), (3, 2000), (7, 30_000), (60, 30_000)] {
            let longest = (0..200).map(|_| backoff.wait(failures)).max().unwrap();
            let step = Duration::from_millis(step);
            assert!(longest <= step, "{failures}: {longest:?}");
            assert!(longest > step / 2, "{failures}: {longest:?}");
        }
    }
}
