//! Whether anyone is at the other end. A ping's answer is due within seconds, unless much of what was sent before it may still be on its way:
//! a slow line that carries a large file is not a dead one, and has the whole lease.

use super::rhythm::Timing;
use super::wire::Meter;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How much may lie before a ping that is answered at once: less than ten seconds of the slowest line that anyone uses.
const LIGHT: u64 = 32 * 1024;

/// The most pings that wait for their answers; a lease holds three.
const MOST: usize = 8;

/// The signs of life of one connection.
#[derive(Debug)]
pub(super) struct Pulse {
    answer: Duration,
    lease: Duration,
    meter: Arc<Meter>,
    pings: VecDeque<Ping>,
    /// How much had been sent when the ping was sent that was answered last: so much has arrived.
    arrived: u64,
}

#[derive(Debug, Clone, Copy)]
struct Ping {
    at: Instant,
    /// How much had been sent with it, itself included.
    sent: u64,
}

impl Pulse {
    /// Of a connection that has just been proven: all that was sent has arrived.
    pub(super) fn new(timing: &Timing, meter: Arc<Meter>) -> Self {
        Self {
            answer: timing.answer,
            lease: timing.lease,
            arrived: meter.sent(),
            meter,
            pings: VecDeque::new(),
        }
    }

    /// A ping has been handed to the system.
    pub(super) fn pinged(&mut self) {
        if self.pings.len() == MOST {
            self.pings.pop_front();
        }
        self.pings.push_back(Ping {
            at: Instant::now(),
            sent: self.meter.sent(),
        });
    }

    /// A ping was answered, and so all that was sent before it has arrived.
    pub(super) fn ponged(&mut self) {
        if let Some(ping) = self.pings.pop_front() {
            self.arrived = ping.sent;
        }
    }

    /// When the other end is given up, if nothing comes until then.
    pub(super) fn ends(&self) -> Instant {
        self.ends_after(self.meter.heard())
    }

    fn ends_after(&self, heard: Instant) -> Instant {
        let over = heard + self.lease;
        let unheard = self.pings.iter().find(|ping| ping.at > heard);
        match unheard.filter(|ping| ping.sent.saturating_sub(self.arrived) <= LIGHT) {
            Some(ping) => over.min(ping.at + self.answer),
            None => over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that heard something now, and the pings that followed: after how many seconds, with how many bytes sent before.
    fn pulse(pings: &[(u64, u64)]) -> (Pulse, Instant) {
        let timing = Timing {
            answer: Duration::from_secs(8),
            lease: Duration::from_mins(1),
            ..Timing::default()
        };
        let mut pulse = Pulse::new(&timing, Arc::new(Meter::new()));
        let now = Instant::now();
        pulse.pings = pings
            .iter()
            .map(|(after, sent)| Ping {
                at: now + Duration::from_secs(*after),
                sent: *sent,
            })
            .collect();
        (pulse, now)
    }

    fn seconds(pulse: &Pulse, heard: Instant) -> u64 {
        (pulse.ends_after(heard) - heard).as_secs()
    }

    #[test]
    fn without_a_ping_the_other_end_has_the_whole_lease() {
        let (pulse, now) = pulse(&[]);
        assert_eq!(seconds(&pulse, now), 60);
    }

    #[test]
    fn the_first_ping_after_which_nothing_came_has_seconds() {
        let (pulse, now) = pulse(&[(20, 8), (40, 16)]);
        assert_eq!(seconds(&pulse, now), 28);
        // Anything that comes is life, whatever it is.
        assert_eq!(seconds(&pulse, now + Duration::from_secs(21)), 40 + 8 - 21);
        assert_eq!(seconds(&pulse, now + Duration::from_secs(41)), 60);
    }

    #[test]
    fn behind_a_file_that_may_be_on_its_way_a_ping_has_the_whole_lease() {
        let (mut pulse, now) = pulse(&[(20, LIGHT + 1), (40, LIGHT + 9), (50, LIGHT + 17)]);
        assert_eq!(seconds(&pulse, now), 60);
        // Its answer shows that the file has arrived; the next has nothing to wait for.
        pulse.ponged();
        assert_eq!(seconds(&pulse, now + Duration::from_secs(39)), 1 + 8);
    }

    #[test]
    fn a_lease_is_never_longer_than_a_lease() {
        let (pulse, now) = pulse(&[(57, 8)]);
        assert_eq!(seconds(&pulse, now), 60);
    }

    #[test]
    fn pings_that_nobody_answers_are_not_collected() {
        let (mut pulse, _) = pulse(&[]);
        for _ in 0..100 {
            pulse.pinged();
        }
        assert_eq!(pulse.pings.len(), MOST);
    }
}
