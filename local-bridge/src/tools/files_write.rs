//! `files.write`: a text file made, or replaced whole at one stroke.
//!
//! What replaces a text is written as that text was: same encoding, same ends of lines, same mode bits.

use crate::places::{self, NoPlace, Place};
use crate::tools::figures::size;
use crate::tools::target::{Durability, Target};
use crate::tools::text::{Encoding, Endings, Text};
use crate::tools::{Hands, files_append};
use crate::undo::{Deed, Image, Spot};
use protocol::key::sha256_hex;
use protocol::tools::{FilesAppend, FilesWrite};

/// Writes a text file.
pub fn run(hands: &Hands<'_>, wanted: &FilesWrite) -> Result<String, NoPlace> {
    if wanted.append {
        let (path, text) = (wanted.path.clone(), wanted.text.clone());
        return files_append::run(hands, &FilesAppend { path, text });
    }
    let place = places::find(&hands.policy.roots, &wanted.path)?;
    let mut changes = hands.begin();
    let target = Target::open(&place)?;
    target.replaceable()?;
    let (bytes, manner) = written(&target, &wanted.text);
    let done = if target.now.is_some() {
        "replaced"
    } else {
        "wrote"
    };
    let told = format!(
        "{done} {} ({}{manner})",
        place.shown(),
        size(bytes.len() as u64)
    );
    let plan = hands.plan(
        format!("files.write {}", place.shown()),
        deeds(&target, &bytes),
    );
    changes.make(&plan, || target.replace(&bytes, None, Durability::Synced))?;
    Ok(told)
}

/// The steps in which a target gets other contents: folders that are missing, then the file.
pub fn deeds(target: &Target<'_>, bytes: &[u8]) -> Vec<Deed> {
    let made = target.place.unmade(&target.above);
    let mut deeds: Vec<Deed> = made
        .iter()
        .map(|place| Deed::Made(Spot::of(place)))
        .collect();
    deeds.push(Deed::Put {
        at: Spot::of(target.place),
        before: before(target),
        after: Some(sha256_hex(bytes)),
    });
    deeds
}

/// What a target holds, to be kept.
pub fn before(target: &Target<'_>) -> Option<Image> {
    let now = target.now.as_ref()?;
    Some(Image::of(now.bytes.clone(), now.mode))
}

/// The text that lies at a target, or why there is none to be changed.
pub fn text_at(place: &Place<'_>, bytes: &[u8]) -> Result<Text, NoPlace> {
    Text::read(bytes, &place.path).map_err(|why| {
        let shown = place.shown();
        NoPlace::Refused(format!(
            "'{shown}' {why}; nothing was changed. files.write can replace it whole"
        ))
    })
}

/// The bytes of a text in the manner of the text that it replaces, and a word on that manner where it is unusual.
fn written(target: &Target<'_>, text: &str) -> (Vec<u8>, String) {
    let there = target
        .now
        .as_ref()
        .map(|now| Text::read(&now.bytes, &target.place.path));
    let Some(Ok(mut manner)) = there else {
        return (text.as_bytes().to_vec(), String::new()); // new, or no text
    };
    if manner.endings != Endings::CrLf || text.contains("\r\n") {
        manner.endings = Endings::None; // then the ends of lines are as they are told
    }
    let word = manner
        .unusual()
        .map_or_else(String::new, |word| format!(", {word} as before"));
    let mark = '\u{feff}'; // a mark that is told beside the one that is kept would be a second one
    let marked = manner.encoding != Encoding::Utf8;
    let text = text.strip_prefix(mark).filter(|_| marked).unwrap_or(text);
    (manner.write(text), word)
}

#[cfg(test)]
mod tests {
    use crate::tools::world::{World, denied, done};
    use protocol::call::Outcome;
    use protocol::session::Access;
    use serde_json::json;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_file_is_made_and_replaced_and_keeps_its_mode() {
        let mut world = World::new();
        assert_eq!(
            world.write("new/a.txt", "one"),
            done("wrote docs/new/a.txt (3 B)")
        );
        let file = world.path("new/a.txt");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(
            world.write("new/a.txt", "two\n"),
            done("replaced docs/new/a.txt (4 B)")
        );
        assert_eq!(world.tree(), [("new/", ""), ("new/a.txt", "two\n")]);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }

    #[test]
    fn an_older_way_of_asking_adds_to_the_end() {
        let mut world = World::new();
        let arguments = json!({"path": "a", "text": "x\n", "append": true});
        let added = done("added to docs/a (2 B)");
        assert_eq!(world.run("files.write", arguments.clone()), added);
        assert_eq!(world.run("files.write", arguments), added);
        assert_eq!(world.tree(), [("a", "x\nx\n")]);
    }

    #[test]
    fn what_replaces_a_text_is_written_as_that_was() {
        let mut world = World::new();
        for (before, told, after) in [
            (&b"a\r\nb\r\n"[..], "one\ntwo\n", &b"one\r\ntwo\r\n"[..]),
            (b"a\r\nb\r\n", "one\r\ntwo\n", b"one\r\ntwo\n"),
            (b"a\nb\r\n", "one\n", b"one\n"),
            (b"a\n", "one\r\n", b"one\r\n"),
            (b"\xef\xbb\xbfa\n", "\u{e9}\n", b"\xef\xbb\xbf\xc3\xa9\n"),
            (b"\xef\xbb\xbfa", "\u{feff}b", b"\xef\xbb\xbfb"),
            (b"a", "\u{feff}b", b"\xef\xbb\xbfb"),
            (b"\xff\xfea\0\n\0", "\u{e9}", b"\xff\xfe\xe9\0"),
            (
                b"\xfe\xff\0a\0\r\0\n",
                "\u{e9}\n",
                b"\xfe\xff\0\xe9\0\r\0\n",
            ),
            (b"\x7fELF\0", "one\n", b"one\n"),
        ] {
            fs::write(world.path("a"), before).unwrap();
            assert!(matches!(world.write("a", told), Outcome::Done { .. }));
            assert_eq!(fs::read(world.path("a")).unwrap(), after, "{before:?}");
        }
        fs::write(world.path("a"), b"\xff\xfea\0\r\0\n\0").unwrap();
        assert_eq!(
            world.write("a", "b\n"),
            done("replaced docs/a (8 B, UTF-16 LE, CRLF as before)")
        );
    }

    #[test]
    fn what_may_only_be_read_is_not_written() {
        let mut world = World::with(Access::Read);
        for path in ["a", "new/a"] {
            let refused = world.write(path, "x");
            assert_eq!(refused, denied(&format!("'docs/{path}' may only be read")));
        }
        assert!(world.tree().is_empty());
    }

    #[test]
    fn a_hard_link_to_a_file_outside_is_refused_and_the_file_unchanged() {
        let mut world = World::new();
        let outside = world.outside("mine");
        fs::write(&outside, "mine").unwrap();
        fs::hard_link(&outside, world.path("a")).unwrap();
        fs::write(world.path("b"), "b").unwrap();
        let linked = denied(
            "'docs/a' has a second name (a hard link), which may lie outside; it is not changed",
        );
        let edits = json!([{"find": "mine", "replace": "x"}]);
        for (tool, arguments) in [
            ("files.write", json!({"path": "a", "text": "x"})),
            ("files.append", json!({"path": "a", "text": "x"})),
            ("files.edit", json!({"path": "a", "edits": edits})),
            (
                "files.move",
                json!({"from": "b", "to": "a", "replace": true}),
            ),
            (
                "files.copy",
                json!({"from": "b", "to": "a", "replace": true}),
            ),
        ] {
            assert_eq!(world.run(tool, arguments), linked, "{tool}");
        }
        assert_eq!(fs::read_to_string(&outside).unwrap(), "mine");
        assert_eq!(world.tree(), [("a", "mine"), ("b", "b")]);
    }

    #[test]
    fn a_link_is_neither_followed_nor_replaced() {
        let mut world = World::new();
        let outside = world.outside("mine");
        fs::write(&outside, "mine").unwrap();
        symlink(&outside, world.path("a")).unwrap();
        assert_eq!(
            world.write("a", "x"),
            Outcome::failed("'docs/a' is a link; name the file that it leads to")
        );
        assert!(fs::symlink_metadata(world.path("a")).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&outside).unwrap(), "mine");
    }

    #[test]
    fn what_cannot_be_undone_is_not_replaced() {
        let mut world = World::new();
        let file = fs::File::create(world.path("a")).unwrap();
        file.set_len(20_000_001).unwrap();
        assert_eq!(
            world.write("a", "x"),
            Outcome::failed(
                "'docs/a' has 20.0 MB; up to 20.0 MB can be changed or copied, so that it can be undone"
            )
        );
        assert_eq!(file.metadata().unwrap().len(), 20_000_001);
    }
}
