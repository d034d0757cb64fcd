//! `files.read`: a stretch of a text file, and plain words where it is no text.

use crate::places::{self, NoPlace, Place};
use crate::policy::Policy;
use crate::tools::figures::size;
use crate::tools::text::{not_text, shown};
use protocol::tools::FilesRead;
use std::io::Read;

/// How many lines come without being asked for.
const LINES: u32 = 400;

/// How many characters come at the most: some 4,000 tokens.
const MAX_CHARS: usize = 16_000;

/// How much of a file is looked at. A text that is longer is a log or a dump, for which there is `files.search`.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Reads a text file by lines.
pub fn run(policy: &Policy, wanted: &FilesRead) -> Result<String, NoPlace> {
    let place = places::find(&policy.roots, &wanted.path)?;
    let file = place.open_file()?;
    let length = file.metadata().map_err(|error| place.refusal(error))?.len();
    let mut bytes = Vec::new();
    file.take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| place.refusal(error))?;
    if let Some(kind) = not_text(&bytes, &place.path) {
        return Ok(format!(
            "{} is not text: {kind}, {}; send it with files.send",
            place.shown(),
            size(length)
        ));
    }
    let (text, note) = shown(&bytes);
    let mut told = vec![stretch(&place, &text, wanted)];
    told.extend(note.map(str::to_owned));
    if length > MAX_BYTES {
        let (length, looked) = (size(length), size(MAX_BYTES));
        told.push(format!(
            "[the file has {length}; only its first {looked} are looked at]"
        ));
    }
    Ok(told.join("\n"))
}

fn stretch(place: &Place<'_>, text: &str, wanted: &FilesRead) -> String {
    let all = text.lines().count();
    if all == 0 {
        return format!("{} is empty", place.shown());
    }
    let first = wanted.from_line.unwrap_or(1).max(1) as usize;
    if first > all {
        return format!("{} has only {all} lines", place.shown());
    }
    let most = wanted.lines.unwrap_or(LINES).max(1) as usize;
    let (mut told, mut chars) = (Vec::new(), 0);
    for line in text.lines().skip(first - 1).take(most) {
        chars += line.chars().count() + 1;
        if chars > MAX_CHARS {
            break;
        }
        told.push(line.to_owned());
    }
    let last = first - 1 + told.len().max(1);
    if told.is_empty() {
        // The first line alone is too long. It is cut, or reading on would never get past it.
        let line = text.lines().nth(first - 1).unwrap_or_default();
        told.push(line.chars().take(MAX_CHARS).collect());
        told.push(format!(
            "[line {first} is cut after {MAX_CHARS} characters]"
        ));
    }
    if last < all {
        let next = last + 1;
        told.push(format!(
            "[lines {first} to {last} of {all}; read on with from_line {next}]"
        ));
    } else if first > 1 {
        told.push(format!("[lines {first} to {last} of {all}]"));
    }
    told.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::Root;
    use protocol::session::Access;
    use std::fs;
    use tempfile::TempDir;

    fn world() -> (TempDir, Policy) {
        let folder = tempfile::tempdir().unwrap();
        let policy = Policy {
            roots: vec![Root::open("docs", folder.path(), Access::Read).unwrap()],
            ..Policy::nothing()
        };
        (folder, policy)
    }

    fn read(policy: &Policy, path: &str, from_line: Option<u32>, lines: Option<u32>) -> String {
        let path = path.to_owned();
        let wanted = FilesRead {
            path,
            from_line,
            lines,
        };
        run(policy, &wanted).unwrap()
    }

    #[test]
    fn a_short_text_comes_whole_and_a_long_one_says_how_to_read_on() {
        let (folder, policy) = world();
        fs::write(folder.path().join("a"), "one\ntwo\nthree\n").unwrap();
        assert_eq!(read(&policy, "a", None, None), "one\ntwo\nthree");
        assert_eq!(
            read(&policy, "a", None, Some(2)),
            "one\ntwo\n[lines 1 to 2 of 3; read on with from_line 3]"
        );
        assert_eq!(
            read(&policy, "a", Some(3), None),
            "three\n[lines 3 to 3 of 3]"
        );
        assert_eq!(read(&policy, "a", Some(9), None), "docs/a has only 3 lines");
        fs::write(folder.path().join("e"), "").unwrap();
        assert_eq!(read(&policy, "e", None, None), "docs/e is empty");
    }

    #[test]
    fn no_more_than_the_limit_comes_even_in_one_line() {
        let (folder, policy) = world();
        fs::write(folder.path().join("a"), "é".repeat(20_000) + "\nend\n").unwrap();
        let text = read(&policy, "a", None, None);
        assert!(text.starts_with(&("é".repeat(MAX_CHARS) + "\n")));
        assert!(text.ends_with(
            "\n[line 1 is cut after 16000 characters]\n[lines 1 to 1 of 2; read on with from_line 2]"
        ));
        fs::write(folder.path().join("b"), "0123456789\n".repeat(2000)).unwrap();
        let text = read(&policy, "b", None, Some(5000));
        assert!(text.chars().count() <= MAX_CHARS + 100);
        assert!(text.ends_with("[lines 1 to 1454 of 2000; read on with from_line 1455]"));
    }

    #[test]
    fn what_is_not_text_is_named() {
        let (folder, policy) = world();
        fs::write(folder.path().join("a.pdf"), b"%PDF-1.7 words").unwrap();
        assert_eq!(
            read(&policy, "a.pdf", None, None),
            "docs/a.pdf is not text: PDF document, 14 B; send it with files.send"
        );
        fs::write(folder.path().join("a.zip"), b"PK\x03\x04\0\0").unwrap();
        assert_eq!(
            read(&policy, "a.zip", None, None),
            "docs/a.zip is not text: application/zip, 6 B; send it with files.send"
        );
    }

    #[test]
    fn texts_in_other_encodings_are_read() {
        let (folder, policy) = world();
        let wide: Vec<u8> = [0xfeff_u16, 0x48, 0xe9]
            .iter()
            .flat_map(|unit| unit.to_le_bytes())
            .collect();
        for (name, bytes, text) in [
            ("bom", b"\xef\xbb\xbfH\xc3\xa9".to_vec(), "Hé"),
            ("wide", wide, "Hé\n[the file is UTF-16]"),
            (
                "latin",
                b"H\xe9 ho".to_vec(),
                "Hé ho\n[the file is not UTF-8; it is shown as if it were Latin-1]",
            ),
        ] {
            fs::write(folder.path().join(name), bytes).unwrap();
            assert_eq!(read(&policy, name, None, None), text, "{name}");
        }
    }
}
