//! When something is wanted, as plain words say it, counted from now: "in 20 minutes", "dans une heure", "tomorrow".

/// Units by how they begin, with their seconds; the longer names stand before those that they begin with.
const UNITS: &[(&str, i64)] = &[
    ("second", 1),
    ("seconde", 1),
    ("sec", 1),
    ("s", 1),
    ("minute", 60),
    ("min", 60),
    ("mn", 60),
    ("m", 60),
    ("hour", 3_600),
    ("heure", 3_600),
    ("hr", 3_600),
    ("h", 3_600),
    ("day", 86_400),
    ("jour", 86_400),
    ("week", 604_800),
    ("semaine", 604_800),
];

/// Words that lead from the when to the what.
const LEADS: &[&str] = &["me", "moi", "to", "that", "about", "of", "de", "que"];

/// What is wanted and in how many seconds; `None` where the words do not say when.
pub(super) fn parse(text: &str) -> Option<(String, i64)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    for at in 0..words.len() {
        if let Some((length, seconds)) = moment(&words[at..]) {
            let rest: Vec<&str> = words[..at]
                .iter()
                .chain(&words[at + length..])
                .copied()
                .collect();
            let what = what(&rest);
            return (!what.is_empty()).then_some((what, seconds));
        }
    }
    None
}

/// How many words a moment takes here, and how far off it is.
fn moment(words: &[&str]) -> Option<(usize, i64)> {
    let plain = |word: &str| word.trim_matches([',', '.', '!', ':', '-']).to_lowercase();
    let first = plain(words.first()?);
    if ["tomorrow", "demain"].contains(&first.as_str()) {
        return Some((1, 86_400));
    }
    if !["in", "dans"].contains(&first.as_str()) {
        return None;
    }
    let second = plain(words.get(1)?);
    if let (Some(count), Some(word)) = (number(&second), words.get(2)) {
        return Some((3, count.checked_mul(unit(&plain(word))?)?));
    }
    let digits = second.find(|c: char| !c.is_ascii_digit())?; // "20min"
    Some((
        2,
        number(&second[..digits])?.checked_mul(unit(&second[digits..])?)?,
    ))
}

fn number(word: &str) -> Option<i64> {
    match word {
        "a" | "an" | "one" | "un" | "une" => Some(1),
        "two" | "deux" => Some(2),
        "three" | "trois" => Some(3),
        digits => digits
            .parse()
            .ok()
            .filter(|count| (1..=100_000).contains(count)),
    }
}

fn unit(word: &str) -> Option<i64> {
    let single = word
        .strip_suffix('s')
        .filter(|rest| !rest.is_empty())
        .unwrap_or(word);
    UNITS
        .iter()
        .find(|(name, _)| *name == single)
        .map(|(_, seconds)| *seconds)
}

fn what(words: &[&str]) -> String {
    let lead = words
        .iter()
        .take_while(|word| LEADS.contains(&word.to_lowercase().as_str()))
        .count();
    let text = words[lead..].join(" ");
    let text = text
        .strip_prefix("d'")
        .or_else(|| text.strip_prefix("d’"))
        .unwrap_or(&text);
    text.trim_matches([',', '.', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_say_what_and_when() {
        for (text, what, seconds) in [
            ("in 20 minutes to call Anna", "call Anna", 1_200),
            ("to call Anna in 2 hours", "call Anna", 7_200),
            (
                "in an hour, that the cake is in the oven",
                "the cake is in the oven",
                3_600,
            ),
            ("in 90s to turn the egg", "turn the egg", 90),
            ("tomorrow to pay the rent", "pay the rent", 86_400),
            ("dans une heure d'appeler Anna", "appeler Anna", 3_600),
            ("dans 3 jours de payer le loyer", "payer le loyer", 259_200),
        ] {
            assert_eq!(parse(text), Some((what.to_owned(), seconds)), "{text}");
        }
    }

    #[test]
    fn words_without_a_when_or_without_a_what_are_no_reminder() {
        for text in [
            "to call Anna at 5",
            "in 20 minutes",
            "to look in the oven",
            "in 0 minutes to go",
            "",
            "in 5 apples to eat",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
