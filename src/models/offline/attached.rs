//! Files that came with a message, and where the person wants them saved.

use agent::prompt::Turn;

/// How many files one request saves: as many calls as a plan may have.
const MOST: usize = 4;

/// How the prompt tells of a file.
const LINE: &str = "[attached: ";

/// What stands before a file's id there.
const ID: &str = ", file id ";

/// How a wish to have them saved begins.
const OPENINGS: &[&str] = &[
    "save",
    "put",
    "store",
    "keep",
    "enregistre",
    "range",
    "mets",
];

/// Where it names the place.
const PLACES: &[&str] = &[
    " to ", " in ", " into ", " under ", " at ", " dans ", " sous ",
];

/// The ids of the files that came with a text.
pub(super) fn files(text: &str) -> Vec<String> {
    let id = |line: &str| {
        let told = line.trim().strip_prefix(LINE)?.strip_suffix(']')?;
        told.rsplit_once(ID).map(|(_, id)| id.to_owned())
    };
    text.lines().filter_map(id).take(MOST).collect()
}

/// A text without what it tells of files.
pub(super) fn without(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with(LINE));
    lines.collect::<Vec<_>>().join("\n")
}

/// The files that came last.
pub(super) fn latest(before: &[Turn]) -> Vec<String> {
    let given = before.iter().rev().map(|turn| match turn {
        Turn::Person(text) | Turn::Results(_, Some(text)) => files(text),
        Turn::Agent { .. } | Turn::Results(_, None) => Vec::new(),
    });
    given
        .into_iter()
        .find(|ids| !ids.is_empty())
        .unwrap_or_default()
}

/// Where they shall be saved, if that is what the words ask for.
pub(super) fn place(words: &str) -> Option<String> {
    let folded = words.trim().to_lowercase();
    let folded = folded.strip_prefix("please ").unwrap_or(&folded);
    let begins = |opening: &&str| {
        let rest = folded.strip_prefix(*opening);
        rest.is_some_and(|rest| rest.starts_with(|c: char| !c.is_alphanumeric()))
    };
    OPENINGS.iter().find(|opening| begins(opening))?;
    let lower = words.to_ascii_lowercase();
    let end = |place: &&str| lower.find(*place).map(|at| at + place.len());
    let at = PLACES.iter().filter_map(end).min()?;
    let path = words[at..].trim().trim_end_matches(['.', '!', '?']);
    let path = path.trim_matches(['`', '"', '\'']).trim();
    let path = path.strip_suffix(" please").unwrap_or(path);
    if path.is_empty() || path.contains('\n') {
        return None;
    }
    let last = path.rsplit('/').next().unwrap_or_default();
    let is_folder = !last.is_empty() && !last.contains('.');
    Some(if is_folder {
        format!("{path}/")
    } else {
        path.to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_the_line_that_tells_of_them() {
        let text = "save it\n[attached: a, file id b.pdf, application/pdf, 40.1 kB, file id in-0b]\n\n[Sunday]";
        assert_eq!(files(text), ["in-0b"]);
        assert_eq!(without(text), "save it\n\n[Sunday]");
        let before = [
            Turn::Person(text.into()),
            Turn::Agent {
                text: "Where to?".into(),
                calls: vec![],
            },
            Turn::Person("hm".into()),
        ];
        assert_eq!(latest(&before), ["in-0b"]);
        assert!(latest(&before[1..]).is_empty());
    }

    #[test]
    fn a_place_is_what_stands_behind_the_word_for_it() {
        for (words, to) in [
            ("save it to playground/inbox", Some("playground/inbox/")),
            (
                "Save this in `playground/a b.pdf`.",
                Some("playground/a b.pdf"),
            ),
            ("please save them into playground/", Some("playground/")),
            ("put it under docs", Some("docs/")),
            ("enregistre dans docs", Some("docs/")),
            ("save it", None),
            ("saved to docs", None),
            ("write \"a\" to docs/b", None),
        ] {
            assert_eq!(place(words).as_deref(), to, "{words}");
        }
    }
}
