//! `files.append`: a text added to the end of a file, in the file's own encoding.

use crate::places::{self, NoPlace};
use crate::tools::Hands;
use crate::tools::figures::size;
use crate::tools::files_write::{deeds, text_at};
use crate::tools::target::{Durability, Target};
use crate::tools::text::Text;
use protocol::tools::FilesAppend;

/// Adds to the end of a file, or makes it.
pub fn run(hands: &Hands<'_>, wanted: &FilesAppend) -> Result<String, NoPlace> {
    let place = places::find(&hands.policy.roots, &wanted.path)?;
    let mut changes = hands.begin();
    let target = Target::open(&place)?;
    let text = match &target.now {
        Some(now) => text_at(&place, &now.bytes)?,
        None => Text::empty(),
    };
    let added = text.fitted(&wanted.text);
    let bytes = text.write(&format!("{}{added}", text.text));
    let before = target.now.as_ref().map_or(&[][..], |now| &now.bytes);
    let Some(grown) = bytes.strip_prefix(before) else {
        return Err(place.unfit("cannot be added to without changing what is there"));
    };
    let plan = hands.plan(
        format!("files.append {}", place.shown()),
        deeds(&target, &bytes),
    );
    let told = format!("added to {} ({})", place.shown(), size(grown.len() as u64));
    let grown = grown.to_vec();
    changes.make(&plan, || {
        if target.replaceable().is_ok() {
            target.replace(&bytes, None, Durability::Synced)
        } else {
            target.extend(&grown)
        }
    })?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use crate::tools::world::{World, done, failed};
    use protocol::session::Access;
    use serde_json::json;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn a_text_is_added_in_the_files_own_manner_and_taken_away_again() {
        let mut world = World::new();
        for (before, added, after, told) in [
            (&b"a\n"[..], "b\n", &b"a\nb\n"[..], "2 B"),
            (b"a\r\n", "b\nc", b"a\r\nb\r\nc", "4 B"),
            (b"a\r\n", "b\r\n", b"a\r\nb\r\n", "3 B"),
            (b"a\r\nb\n", "c\n", b"a\r\nb\nc\n", "2 B"),
            (b"\xef\xbb\xbfa", "\u{e9}", b"\xef\xbb\xbfa\xc3\xa9", "2 B"),
            (b"\xff\xfea\0", "\u{e9}", b"\xff\xfea\0\xe9\0", "2 B"),
            (b"\xfe\xff\0a", "\u{e9}", b"\xfe\xff\0a\0\xe9", "2 B"),
            (b"", "a", b"a", "1 B"),
        ] {
            world.put("a", before);
            let outcome = world.run("files.append", json!({"path": "a", "text": added}));
            assert_eq!(outcome, done(&format!("added to docs/a ({told})")));
            assert_eq!(fs::read(world.path("a")).unwrap(), after);
            world.does("files.undo", json!({}));
            assert_eq!(fs::read(world.path("a")).unwrap(), before);
        }
    }

    #[test]
    fn where_things_are_only_added_the_very_file_grows() {
        let mut world = World::with(Access::Append);
        world.put("a", b"\xff\xfea\0\r\0\n\0");
        let file = fs::metadata(world.path("a")).unwrap().ino();
        let append = |text: &str| json!({"path": "a", "text": text});
        let added = world.run("files.append", append("\u{e9}\n"));
        assert_eq!(added, done("added to docs/a (6 B)"));
        let bytes = b"\xff\xfea\0\r\0\n\0\xe9\0\r\0\n\0";
        assert_eq!(fs::read(world.path("a")).unwrap(), bytes);
        assert_eq!(fs::metadata(world.path("a")).unwrap().ino(), file);
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(world.path("a"), mode).unwrap();
        world.does("files.undo", json!({}));
        assert_eq!(fs::read(world.path("a")).unwrap(), &bytes[..8]);
        world.does("files.undo", json!({"call": "c2"}));
        assert_eq!(fs::read(world.path("a")).unwrap(), bytes);
        assert_eq!(fs::metadata(world.path("a")).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn where_things_are_only_added_another_programs_lines_outlast_an_undoing_and_a_redoing() {
        let mut world = World::with(Access::Append);
        world.put("log", "one\n");
        let log = fs::OpenOptions::new().append(true).open(world.path("log"));
        let mut log = log.unwrap();
        let ours = json!({"path": "log", "text": "ours\n"});
        world.does("files.append", ours);
        world.does("files.undo", json!({}));
        world.does("files.undo", json!({"call": "c2"}));
        log.write_all(b"two\n").unwrap();
        assert_eq!(world.tree(), [("log", "one\nours\ntwo\n")]);
        log.set_len(9).unwrap();
        world.does("files.undo", json!({"call": "c3"}));
        log.write_all(b"two\n").unwrap();
        assert_eq!(world.tree(), [("log", "one\ntwo\n")]);
    }

    #[test]
    fn a_file_that_is_not_there_is_made_and_a_binary_one_is_left() {
        let mut world = World::new();
        let arguments = json!({"path": "new/a", "text": "one\n"});
        let outcome = world.run("files.append", arguments);
        assert_eq!(outcome, done("added to docs/new/a (4 B)"));
        world.put("b.zip", b"PK\x03\x04\0\0");
        let arguments = json!({"path": "b.zip", "text": "x"});
        let outcome = world.run("files.append", arguments);
        assert_eq!(
            outcome,
            failed(
                "'docs/b.zip' is not text: application/zip; nothing was changed. files.write can replace it whole"
            )
        );
        assert_eq!(
            world.tree(),
            [
                ("b.zip", "PK\u{3}\u{4}\0\0"),
                ("new/", ""),
                ("new/a", "one\n")
            ]
        );
    }
}
