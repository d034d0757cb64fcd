//! WhatsApp's window: within a day of a person's last message Bernard may write freely, after that only what Meta has approved.

/// How long the window stays open after a person's message, in milliseconds.
pub const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// Whether Bernard may write freely to someone who wrote last at this time, by WhatsApp's clock. Of whom nothing is known, Meta is
/// asked.
pub fn is_open(heard: Option<i64>, now: i64) -> bool {
    heard.is_none_or(|heard| now - heard < DAY_MILLIS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_open_for_a_day_after_the_last_message_and_not_a_moment_longer() {
        let now = 1_763_800_000_000;
        for (heard, open) in [
            (Some(now), true),
            (Some(now - DAY_MILLIS + 1_000), true),
            (Some(now - DAY_MILLIS + 1), true),
            (Some(now - DAY_MILLIS), false),
            (Some(now - DAY_MILLIS - 1_000), false),
            (Some(now + 60_000), true), // their clock is ahead
            (Some(0), false),
            (None, true),
        ] {
            assert_eq!(is_open(heard, now), open, "{heard:?}");
        }
    }
}
