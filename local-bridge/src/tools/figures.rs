//! How sizes and dates are written for people and models.

use std::time::{SystemTime, UNIX_EPOCH};

/// `812 B`, `12.3 KB`, `4.0 MB`: thousands, as file managers count them.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let (mut whole, mut unit, mut tenths) = (bytes, "B", 0);
    for next in UNITS {
        if whole < 1000 {
            break;
        }
        (tenths, whole, unit) = (whole % 1000 / 100, whole / 1000, next);
    }
    format!("{whole}.{tenths} {unit}")
}

/// `2026-11-20`, in universal time.
pub fn date(time: SystemTime) -> String {
    let days = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() / 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2026-11-20 14:05:09`, in universal time, from seconds since 1970.
pub fn moment(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute) = (seconds / 3600 % 24, seconds / 60 % 60);
    let second = seconds % 60;
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Howard Hinnant's `civil_from_days` for days since 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468; // to 0000-03-01, so that leap days end a year
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 999, 1000, 12_345, 999_999, 52_428_800, 7_000_000_000_000];
        let words: Vec<String> = sizes.into_iter().map(size).collect();
        assert_eq!(
            words,
            [
                "0 B", "999 B", "1.0 KB", "12.3 KB", "999.9 KB", "52.4 MB", "7.0 TB"
            ]
        );
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds| date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01");
        assert_eq!(at(951_782_400), "2000-02-29");
        assert_eq!(at(1_795_305_599), "2026-11-21");
        assert_eq!(at(1_795_305_600), "2026-11-22");
        assert_eq!(moment(1_795_305_600 + 3_723), "2026-11-22 01:02:03");
        assert_eq!(moment(-1), "1970-01-01 00:00:00");
    }
}
