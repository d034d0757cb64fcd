//! `files.edit`: exact pieces of a text file replaced, all of them at one stroke or none.

use crate::places::{self, NoPlace, Place, visible};
use crate::tools::Hands;
use crate::tools::files_write::{deeds, text_at};
use crate::tools::target::{Durability, Target};
use crate::tools::text::{Endings, Text};
use protocol::tools::{Edit, FilesEdit};
use std::io;
use std::ops::Range;

/// The most lines of a summary; the model knows what it asked for.
const MAX_LINES: usize = 40;

/// The most characters of a line in a summary.
const MAX_LINE: usize = 200;

/// The most places that are named where a piece is there several times.
const MAX_NAMED: usize = 8;

/// A piece of the old text and what takes its place.
#[derive(Debug)]
struct Piece<'a> {
    number: usize,
    range: Range<usize>,
    with: &'a str,
}

/// Edits a text file.
pub fn run(hands: &Hands<'_>, wanted: &FilesEdit) -> Result<String, NoPlace> {
    let place = places::find(&hands.policy.roots, &wanted.path)?;
    let mut changes = hands.begin();
    let target = Target::open(&place)?;
    target.replaceable()?;
    let Some(now) = &target.now else {
        return Err(place.refusal(io::ErrorKind::NotFound.into()));
    };
    let text = text_at(&place, &now.bytes)?;
    let edits: Vec<Edit> = wanted
        .edits
        .iter()
        .map(|edit| fitted(&text, edit))
        .collect();
    let pieces = pieces(&text, &edits).map_err(|why| {
        NoPlace::Refused(format!("{why}. Nothing was changed in '{}'", place.shown()))
    })?;
    let edited = replaced(&text.text, &pieces);
    let told = told(&place, &text.text, &pieces);
    let bytes = text.write(&edited);
    let plan = hands.plan(
        format!("files.edit {}", place.shown()),
        deeds(&target, &bytes),
    );
    changes.make(&plan, || target.replace(&bytes, None, Durability::Synced))?;
    Ok(told)
}

fn fitted(text: &Text, edit: &Edit) -> Edit {
    Edit {
        find: text.fitted(&edit.find),
        replace: text.fitted(&edit.replace),
        all: edit.all,
    }
}

/// Where each piece is, in the order of the text; why it cannot be done, if it cannot.
fn pieces<'a>(text: &Text, edits: &'a [Edit]) -> Result<Vec<Piece<'a>>, String> {
    if edits.is_empty() {
        return Err("there is no edit".to_owned());
    }
    let mut pieces = Vec::new();
    for (number, edit) in (1..).zip(edits) {
        if edit.find.is_empty() {
            return Err(format!(
                "edit {number}: `find` is empty; files.append adds to the end"
            ));
        }
        if edit.find == edit.replace {
            return Err(format!("edit {number}: `find` and `replace` are the same"));
        }
        let found: Vec<usize> = places_of(&text.text, &edit.find);
        if found.is_empty() {
            return Err(format!("edit {number}: {}", absent(text, &edit.find)));
        }
        if found.len() > 1 && !edit.all {
            return Err(format!(
                "edit {number}: `find` is there {} times ({}); make it longer, or set `all`",
                found.len(),
                named(&text.text, &found)
            ));
        }
        pieces.extend(found.into_iter().map(|at| Piece {
            number,
            range: at..at + edit.find.len(),
            with: &edit.replace,
        }));
    }
    pieces.sort_by_key(|piece| piece.range.start);
    for two in pieces.windows(2) {
        if two[1].range.start < two[0].range.end {
            let (one, other) = (two[0].number, two[1].number);
            return Err(format!(
                "edits {one} and {other} overlap; make them one edit"
            ));
        }
    }
    Ok(pieces)
}

/// Where a piece begins, overlapping ones too: `aa` is in `aaa` twice, and which is meant is not known.
fn places_of(text: &str, find: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find(find) {
        found.push(from + at);
        let step = text[from + at..].chars().next().map_or(1, char::len_utf8);
        from += at + step;
    }
    found
}

/// What helps where a piece is not there.
fn absent(text: &Text, find: &str) -> String {
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let wanted = squeezed(find);
    let lines: Vec<&str> = text.text.lines().collect();
    let height = find.lines().count().max(1);
    let near = lines
        .windows(height)
        .position(|lines| !wanted.is_empty() && squeezed(&lines.join("\n")).contains(&wanted));
    match near {
        Some(at) => format!(
            "`find` is not there, but line {} differs from it in spaces or ends of lines only",
            at + 1
        ),
        None if text.endings == Endings::Mixed && find.contains('\n') => {
            "`find` is not there; the file mixes LF and CRLF, so use pieces within one line"
                .to_owned()
        }
        None => "`find` is not there; read the file again".to_owned(),
    }
}

fn named(text: &str, found: &[usize]) -> String {
    let mut lines: Vec<usize> = found.iter().map(|&at| line_of(text, at)).collect();
    lines.dedup();
    let mut words: Vec<String> = lines
        .iter()
        .take(MAX_NAMED)
        .map(ToString::to_string)
        .collect();
    if lines.len() > MAX_NAMED {
        words.push("…".to_owned());
    }
    format!("line {}", words.join(", "))
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn replaced(text: &str, pieces: &[Piece<'_>]) -> String {
    let (mut edited, mut from) = (String::new(), 0);
    for piece in pieces {
        edited.push_str(&text[from..piece.range.start]);
        edited.push_str(piece.with);
        from = piece.range.end;
    }
    edited.push_str(&text[from..]);
    edited
}

/// What changed, by lines, as `diff` shows it.
fn told(place: &Place<'_>, text: &str, pieces: &[Piece<'_>]) -> String {
    let mut lines = Vec::new();
    let mut from = 0;
    let mut moved = 0_isize; // how far the lines below have moved
    while from < pieces.len() {
        let mut lines_of = whole_lines(text, &pieces[from].range);
        let mut until = from + 1;
        while let Some(next) = pieces.get(until) {
            if next.range.start >= lines_of.end {
                break;
            }
            lines_of.end = lines_of.end.max(whole_lines(text, &next.range).end);
            until += 1;
        }
        let old = &text[lines_of.clone()];
        let new = within(text, &lines_of, &pieces[from..until]);
        let first = line_of(text, lines_of.start);
        let (gone, come) = (old.lines().count(), new.lines().count());
        lines.push(format!(
            "@@ -{first},{gone} +{},{come} @@",
            first.saturating_add_signed(moved)
        ));
        lines.extend(old.lines().map(|line| shown('-', line)));
        lines.extend(new.lines().map(|line| shown('+', line)));
        moved += come.cast_signed() - gone.cast_signed();
        from = until;
    }
    let all = lines.len();
    if all > MAX_LINES {
        lines.truncate(MAX_LINES);
        lines.push(format!("[{} more lines]", all - MAX_LINES));
    }
    let count = pieces.len();
    let s = if count == 1 { "" } else { "s" };
    format!(
        "edited {} ({count} replacement{s})\n{}",
        place.shown(),
        lines.join("\n")
    )
}

/// The lines that a range lies in, the end of the last one included.
fn whole_lines(text: &str, range: &Range<usize>) -> Range<usize> {
    let start = text[..range.start].rfind('\n').map_or(0, |at| at + 1);
    // A piece that ends with a line does not reach into the next one.
    let last = if text[range.clone()].ends_with('\n') {
        range.end - 1
    } else {
        range.end
    };
    let end = text[last..]
        .find('\n')
        .map_or(text.len(), |at| last + at + 1);
    start..end
}

fn within(text: &str, lines: &Range<usize>, pieces: &[Piece<'_>]) -> String {
    let (mut edited, mut from) = (String::new(), lines.start);
    for piece in pieces {
        edited.push_str(&text[from..piece.range.start]);
        edited.push_str(piece.with);
        from = piece.range.end;
    }
    edited.push_str(&text[from..lines.end]);
    edited
}

fn shown(sign: char, line: &str) -> String {
    let line: String = line.chars().take(MAX_LINE).collect();
    format!("{sign}{}", visible(&line).replace("\\t", "\t"))
}

#[cfg(test)]
mod tests {
    use crate::tools::world::{World, done, failed};
    use protocol::call::Outcome;
    use serde_json::{Value, json};
    use std::fs;

    fn edit(world: &mut World, edits: &Value) -> Outcome {
        world.run("files.edit", json!({"path": "a", "edits": edits}))
    }

    #[test]
    fn pieces_are_replaced_and_told_by_lines_and_come_back() {
        let mut world = World::new();
        world.put("a", "one\ntwo\nthree\nfour\nfive\n");
        let edits = json!([
            {"find": "four\n", "replace": ""},
            {"find": "one", "replace": "1\n1.5"},
            {"find": "e\nf", "replace": "E\nF"},
        ]);
        assert_eq!(
            edit(&mut world, &edits),
            failed("edits 3 and 1 overlap; make them one edit. Nothing was changed in 'docs/a'")
        );
        let edits = json!([
            {"find": "five\n", "replace": ""},
            {"find": "one", "replace": "1\n1.5"},
            {"find": "o\nth", "replace": "O\nTH"},
        ]);
        assert_eq!(
            edit(&mut world, &edits),
            done(
                "edited docs/a (3 replacements)\n@@ -1,1 +1,2 @@\n-one\n+1\n+1.5\n@@ -2,2 +3,2 @@\n-two\n-three\n+twO\n+THree\n\
                 @@ -5,1 +6,0 @@\n-five"
            )
        );
        assert_eq!(world.tree(), [("a", "1\n1.5\ntwO\nTHree\nfour\n")]);
        world.does("files.undo", json!({}));
        assert_eq!(world.tree(), [("a", "one\ntwo\nthree\nfour\nfive\n")]);
    }

    #[test]
    fn one_edit_that_cannot_be_made_leaves_the_others_unmade() {
        let mut world = World::new();
        world.put("a", "a x\n  b\nx x\naaa\n");
        let good = json!({"find": "b", "replace": "B"});
        for (bad, why) in [
            (
                json!({"find": "", "replace": "y"}),
                "edit 2: `find` is empty; files.append adds to the end",
            ),
            (
                json!({"find": "y", "replace": "z"}),
                "edit 2: `find` is not there; read the file again",
            ),
            (
                json!({"find": "x", "replace": "x"}),
                "edit 2: `find` and `replace` are the same",
            ),
            (
                json!({"find": "x", "replace": "y"}),
                "edit 2: `find` is there 3 times (line 1, 3); make it longer, or set `all`",
            ),
            (
                json!({"find": "aa", "replace": "y"}),
                "edit 2: `find` is there 2 times (line 4); make it longer, or set `all`",
            ),
            (
                json!({"find": "a  x\n b", "replace": "y"}),
                "edit 2: `find` is not there, but line 1 differs from it in spaces or ends of lines only",
            ),
            (
                json!({"find": "  b\n", "replace": "y"}),
                "edits 2 and 1 overlap; make them one edit",
            ),
        ] {
            assert_eq!(
                edit(&mut world, &json!([good, bad])),
                failed(&format!("{why}. Nothing was changed in 'docs/a'"))
            );
            assert_eq!(world.tree(), [("a", "a x\n  b\nx x\naaa\n")]);
        }
        assert_eq!(
            edit(
                &mut world,
                &json!([good, {"find": "x", "replace": "y", "all": true}])
            ),
            done(
                "edited docs/a (4 replacements)\n@@ -1,1 +1,1 @@\n-a x\n+a y\n@@ -2,1 +2,1 @@\n-  b\n+  B\n@@ -3,1 +3,1 @@\n-x x\n+y y"
            )
        );
        assert_eq!(world.tree(), [("a", "a y\n  B\ny y\naaa\n")]);
        assert_eq!(
            edit(&mut world, &json!([])),
            failed("there is no edit. Nothing was changed in 'docs/a'")
        );
    }

    #[test]
    fn encoding_and_ends_of_lines_stay() {
        let mut world = World::new();
        let edits = json!([{"find": "a\nb", "replace": "\u{e9}\nc\n"}]);
        for (before, after) in [
            (&b"a\nb\n"[..], &b"\xc3\xa9\nc\n\n"[..]),
            (b"a\r\nb\r\n", b"\xc3\xa9\r\nc\r\n\r\n"),
            (b"\xef\xbb\xbfa\nb", b"\xef\xbb\xbf\xc3\xa9\nc\n"),
            (b"\xff\xfea\0\n\0b\0", b"\xff\xfe\xe9\0\n\0c\0\n\0"),
            (
                b"\xfe\xff\0a\0\r\0\n\0b",
                b"\xfe\xff\0\xe9\0\r\0\n\0c\0\r\0\n",
            ),
            (b"a\nb\r\n", b"\xc3\xa9\nc\n\r\n"),
        ] {
            fs::write(world.path("a"), before).unwrap();
            assert!(matches!(edit(&mut world, &edits), Outcome::Done { .. }));
            assert_eq!(fs::read(world.path("a")).unwrap(), after, "{before:?}");
        }
        fs::write(world.path("a"), b"x\na\r\nb").unwrap();
        assert_eq!(
            edit(&mut world, &json!([{"find": "x\na\nb", "replace": ""}])),
            failed(
                "edit 1: `find` is not there, but line 1 differs from it in spaces or ends of lines only. Nothing was changed in 'docs/a'"
            )
        );
    }

    #[test]
    fn what_is_no_text_is_not_edited() {
        let mut world = World::new();
        let edits = json!([{"find": "a", "replace": "b"}]);
        for (bytes, why) in [
            (&b"%PDF-1.7 a"[..], "is not text: PDF document"),
            (b"a\0", "is not text: unknown format"),
            (
                b"a\xe9 b",
                "is neither UTF-8 nor marked UTF-16, so it could not be written back as it is",
            ),
        ] {
            world.put("a", bytes);
            assert_eq!(
                edit(&mut world, &edits),
                failed(&format!(
                    "'docs/a' {why}; nothing was changed. files.write can replace it whole"
                ))
            );
        }
        fs::remove_file(world.path("a")).unwrap();
        assert_eq!(
            edit(&mut world, &edits),
            failed("'docs/a': entity not found")
        );
    }

    #[test]
    fn a_long_summary_is_cut() {
        let mut world = World::new();
        world.put("a", "x\n".repeat(100));
        let text = world.does(
            "files.edit",
            json!({"path": "a", "edits": [{"find": "x", "replace": "y", "all": true}]}),
        );
        assert!(text.starts_with("edited docs/a (100 replacements)\n@@ -1,1 +1,1 @@\n"));
        assert!(text.ends_with("[260 more lines]"), "{text}");
    }
}
