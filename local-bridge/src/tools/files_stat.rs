//! `files.stat`: what one file or folder is.

use crate::places::{self, NoPlace, Place};
use crate::policy::{Policy, access_word};
use crate::tools::figures::{moment, size};
use crate::tools::text::Text;
use crate::undo::MAX_CHANGE;
use cap_std::fs::{File, Metadata, MetadataExt};
use protocol::tools::FilesStat;
use std::io::Read;
use std::path::Path;

/// Tells what lies at a place.
pub fn run(policy: &Policy, wanted: &FilesStat) -> Result<String, NoPlace> {
    let place = places::find(&policy.roots, &wanted.path)?;
    let link = match place.root.dir.symlink_metadata(&place.path) {
        Ok(metadata) if metadata.is_symlink() => "; reached by a link",
        Ok(_) => "",
        Err(error) => return Err(place.refusal(error)),
    };
    let told = match place.open_file() {
        Ok(file) => a_file(&place, file)?,
        Err(NoPlace::Unfit {
            what: "is a folder",
            ..
        }) => a_folder(&place)?,
        Err(error) => return Err(error),
    };
    Ok(format!("{}: {told}{link}", place.shown()))
}

fn a_file(place: &Place<'_>, file: File) -> Result<String, NoPlace> {
    let metadata = file.metadata().map_err(|error| place.refusal(error))?;
    let length = metadata.len();
    let mut told = vec![
        format!("file, {length} bytes ({})", size(length)),
        common(&metadata),
    ];
    if metadata.nlink() > 1 {
        let links = metadata.nlink();
        told.push(format!("{links} names (hard links), so it is not changed"));
    }
    if length <= MAX_CHANGE {
        let mut bytes = Vec::new();
        file.take(MAX_CHANGE)
            .read_to_end(&mut bytes)
            .map_err(|error| place.refusal(error))?;
        told.push(kind(&bytes, &place.path));
    }
    Ok(told.join("; "))
}

fn kind(bytes: &[u8], path: &Path) -> String {
    match Text::read(bytes, path) {
        Ok(text) => {
            let lines = text.text.lines().count();
            let endings = text
                .endings
                .name()
                .map_or(String::new(), |name| format!(", {name}"));
            format!("text, {}{endings}, {lines} lines", text.encoding.name())
        }
        Err(why) => why,
    }
}

fn a_folder(place: &Place<'_>) -> Result<String, NoPlace> {
    let dir = place.open_dir()?;
    let metadata = dir.dir_metadata().map_err(|error| place.refusal(error))?;
    let entries = dir.entries().map_err(|error| place.refusal(error))?;
    let seen = entries.filter_map(Result::ok).filter(|entry| {
        let below = place.below(entry.file_name());
        !below.root.forbids(&below.path)
    });
    let mut told = format!("folder, {} entries; {}", seen.count(), common(&metadata));
    if place.path == Path::new(".") {
        told.push_str("; opened to ");
        told.push_str(access_word(place.root.access));
    }
    Ok(told)
}

fn common(metadata: &Metadata) -> String {
    format!(
        "changed {} UTC; mode {:03o}",
        moment(metadata.mtime()),
        metadata.mode() & 0o7777
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::world::World;
    use protocol::session::Access;
    use std::fs::{self, File};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::{Duration, UNIX_EPOCH};

    fn stat(world: &World, path: &str) -> String {
        let wanted = FilesStat { path: path.into() };
        run(&world.policy, &wanted).unwrap_or_else(|no| format!("no: {no}"))
    }

    #[test]
    fn what_lies_there_is_told_exactly() {
        let mut world = World::new();
        world.put("a.txt", "one\r\ntwo\r\n");
        world.put("b.pdf", "%PDF-");
        world.put("f/.env", "x");
        world.put("f/x", "");
        symlink("a.txt", world.path("l")).unwrap();
        symlink("f/.env", world.path("m")).unwrap();
        symlink("/etc/passwd", world.path("n")).unwrap();
        fs::hard_link(world.path("f/x"), world.path("f/y")).unwrap();
        for name in ["a.txt", "b.pdf", "f/x", "f"] {
            let path = world.path(name);
            let mode = if path.is_dir() { 0o700 } else { 0o640 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let day = UNIX_EPOCH + Duration::from_secs(1_795_305_600 + 61);
            File::open(path).unwrap().set_modified(day).unwrap();
        }
        let changed = "changed 2026-11-22 00:01:01 UTC";
        for (path, told) in [
            (
                "a.txt",
                format!("docs/a.txt: file, 10 bytes (10 B); {changed}; mode 640; text, UTF-8, CRLF, 2 lines"),
            ),
            (
                "b.pdf",
                format!("docs/b.pdf: file, 5 bytes (5 B); {changed}; mode 640; is not text: PDF document"),
            ),
            (
                "f/x",
                format!(
                    "docs/f/x: file, 0 bytes (0 B); {changed}; mode 640; 2 names (hard links), so it is not changed; \
                     text, UTF-8, 0 lines"
                ),
            ),
            ("f", format!("docs/f: folder, 2 entries; {changed}; mode 700")),
            (
                "l",
                format!(
                    "docs/l: file, 10 bytes (10 B); {changed}; mode 640; text, UTF-8, CRLF, 2 lines; reached by a link"
                ),
            ),
            (
                "m",
                "no: 'docs/m' is never read or changed: it may hold keys, passwords or start-up commands".into(),
            ),
            (
                "n",
                "no: 'docs/n' leads out of the folders that this machine opens".into(),
            ),
        ] {
            assert_eq!(stat(&world, path), told);
        }
        world.reopen("docs", Access::Read);
        assert!(stat(&world, "docs").ends_with("; opened to read"));
    }
}
