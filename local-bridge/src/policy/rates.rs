//! How often something may happen. Counted in memory, by a clock that nobody can set back; a restart begins anew.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most that a rate can allow: so many times are remembered.
const MOST: u32 = 10_000;

const UNITS: [(&str, u64); 3] = [("minute", 60), ("hour", 3_600), ("day", 86_400)];

/// So many times in any stretch of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    times: u32,
    per: Duration,
}

/// When what has a rate has happened.
#[derive(Debug, Default)]
pub struct Meter(Mutex<HashMap<String, VecDeque<Instant>>>);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is no rate; write how often per minute, hour or day, such as \"30/hour\" (at most {MOST})"
            )
        };
        let (times, unit) = text.split_once('/').ok_or_else(wrong)?;
        let digits = !times.is_empty() && times.bytes().all(|byte| byte.is_ascii_digit());
        let times: u32 = times.parse().map_err(|_| wrong())?;
        let seconds = UNITS.iter().find(|(name, _)| *name == unit);
        let (_, seconds) = seconds.ok_or_else(wrong)?;
        if !digits || times == 0 || times > MOST {
            return Err(wrong());
        }
        Ok(Self {
            times,
            per: Duration::from_secs(*seconds),
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.per.as_secs();
        let unit = UNITS.iter().find(|(_, unit)| *unit == seconds);
        write!(f, "{}/{}", self.times, unit.map_or("", |(name, _)| name))
    }
}

impl Meter {
    /// Counts one more of each, or none of them and says how long to wait if one has been as often as it may.
    pub fn count(&self, wanted: &[(String, Rate)], now: Instant) -> Result<(), Duration> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wait = Duration::ZERO;
        for (key, rate) in wanted {
            let times = kept.entry(key.clone()).or_default();
            times.retain(|at| now.saturating_duration_since(*at) < rate.per);
            let most = usize::try_from(rate.times).unwrap_or(usize::MAX);
            if times.len() >= most
                && let Some(at) = times.get(times.len() - most)
            {
                wait = wait.max(rate.per.saturating_sub(now.saturating_duration_since(*at)));
            }
        }
        if !wait.is_zero() {
            return Err(wait);
        }
        for (key, _) in wanted {
            kept.entry(key.clone()).or_default().push_back(now);
        }
        Ok(())
    }
}

/// A wait as a person counts it.
pub(super) fn in_minutes(wait: Duration) -> String {
    match wait.as_secs().div_ceil(60) {
        0 | 1 => "try again in 1 minute".to_owned(),
        minutes => format!("try again in {minutes} minutes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(rate: &str) -> Vec<(String, Rate)> {
        vec![("git".to_owned(), rate.parse().unwrap())]
    }

    #[test]
    fn a_rate_is_read_and_written_alike_and_nothing_else_is_one() {
        for text in ["30/hour", "1/minute", "10000/day"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "30",
            "0/hour",
            "-1/hour",
            "+1/hour",
            "1/week",
            "1 / hour",
            "10001/day",
            "99999999999/day",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_has_been_as_often_as_it_may_waits_until_the_first_is_long_ago() {
        let (meter, begin) = (Meter::default(), Instant::now());
        let at = |minutes: u64| begin + Duration::from_mins(minutes);
        let rate = wanted("2/hour");
        assert_eq!(meter.count(&rate, at(0)), Ok(()));
        assert_eq!(meter.count(&rate, at(20)), Ok(()));
        let wait = meter.count(&rate, at(21)).unwrap_err();
        assert_eq!(in_minutes(wait), "try again in 39 minutes");
        // What was refused was not counted.
        assert_eq!(meter.count(&rate, at(60)), Ok(()));
        assert_eq!(meter.count(&rate, at(61)), Err(Duration::from_mins(19)));
    }

    #[test]
    fn of_several_rates_all_must_hold_and_a_refusal_counts_for_none() {
        let (meter, now) = (Meter::default(), Instant::now());
        let one: Vec<_> = vec![("a".to_owned(), "1/day".parse().unwrap())];
        let both = [
            one.clone(),
            vec![("b".to_owned(), "1/day".parse().unwrap())],
        ]
        .concat();
        assert_eq!(meter.count(&one, now), Ok(()));
        assert!(meter.count(&both, now).is_err());
        assert_eq!(meter.count(&both[1..], now), Ok(()));
    }
}
