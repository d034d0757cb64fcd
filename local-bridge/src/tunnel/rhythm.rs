//! The rhythm of a connection: how often, how long, and how soon again.

use protocol::key::random_bytes;
use protocol::{LEASE_SECONDS, PING_SECONDS};
use std::time::Duration;

/// The rhythm of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How often to ping.
    pub ping: Duration,
    /// How long the answer to a ping may take on a line that has nothing else to carry.
    pub answer: Duration,
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

/// Waits that grow with the time for which nothing has worked, each a random part of its step, so that many bridges do not come back in step.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The first step.
    pub first: Duration,
    /// For how long there is no longer one: most losses are over in seconds, and somebody waits.
    pub soon: Duration,
    /// The longest step.
    pub most: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(PING_SECONDS),
            answer: Duration::from_secs(8), // with the ping before it under 30 s; a phone's network may hold a packet for 5
            lease: Duration::from_secs(LEASE_SECONDS),
            dial: Duration::from_secs(15), // Wi-Fi that wakes, and a cold Worker
            retry: Backoff {
                first: Duration::from_millis(400), // a try costs a handshake at both ends
                soon: Duration::from_secs(10),     // a Worker that is deployed anew
                most: Duration::from_secs(30),
            },
            refused: Backoff {
                first: Duration::from_secs(2),
                soon: Duration::ZERO,
                most: Duration::from_mins(1),
            },
            healthy: Duration::from_secs(10),
        }
    }
}

impl Backoff {
    /// The wait before the next try, when nothing has worked for so long.
    pub(super) fn wait(self, failing: Duration) -> Duration {
        let part = random_bytes::<2>().map_or(u16::MAX, u16::from_be_bytes);
        self.step(failing)
            .mul_f64(f64::from(part) / f64::from(u16::MAX))
    }

    /// As long as it has failed since the soon tries: by and by each step is about twice the one before.
    fn step(self, failing: Duration) -> Duration {
        let step = failing.saturating_sub(self.soon);
        step.max(self.first).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_soon_for_ten_seconds_and_then_ever_later_up_to_half_a_minute() {
        let retry = Timing::default().retry;
        let steps = [
            0, 2_000, 9_999, 10_000, 10_500, 12_000, 25_000, 40_000, 3_600_000,
        ]
        .map(|failing| retry.step(Duration::from_millis(failing)).as_millis());
        assert_eq!(
            steps,
            [400, 400, 400, 400, 500, 2_000, 15_000, 30_000, 30_000]
        );
    }

    #[test]
    fn a_refusal_is_asked_about_ever_more_rarely_from_the_beginning() {
        let refused = Timing::default().refused;
        let steps = [0, 2, 30, 60, 3600].map(|failing| refused.step(Duration::from_secs(failing)));
        let seconds = [2, 2, 30, 60, 60].map(Duration::from_secs);
        assert_eq!(steps, seconds);
    }

    #[test]
    fn waits_are_spread_over_their_step_and_never_longer() {
        let retry = Timing::default().retry;
        for failing in [Duration::ZERO, Duration::from_secs(25)] {
            let step = retry.step(failing);
            let waits: Vec<Duration> = (0..200).map(|_| retry.wait(failing)).collect();
            assert!(waits.iter().all(|wait| *wait <= step), "{waits:?}");
            for quarter in 0..4 {
                let part = step / 4 * quarter..=step / 4 * (quarter + 1);
                assert!(waits.iter().any(|wait| part.contains(wait)), "{quarter}");
            }
        }
    }

    /// What a person notices of an outage is what is left of a wait when the Worker is back.
    #[test]
    fn after_a_short_outage_half_of_the_bridges_are_back_within_300_milliseconds() {
        let retry = Timing::default().retry;
        let mut late: Vec<Duration> = (0..1_001)
            .map(|n| {
                let outage = Duration::from_millis(500 + n * 8);
                let mut at = Duration::ZERO;
                while at < outage {
                    at += retry.wait(at) + Duration::from_millis(2); // a refused connection
                }
                at.saturating_sub(outage)
            })
            .collect();
        late.sort();
        assert!(late[500] < Duration::from_millis(250), "{:?}", late[500]); // and a handshake
    }
}
