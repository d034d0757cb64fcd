//! `files.copy`: the exact bytes of a file, or of all files of a folder, in another place.

use crate::places::{self, NoPlace, Place};
use crate::tools::Hands;
use crate::tools::figures::size;
use crate::tools::files_move::destination;
use crate::tools::files_write::deeds;
use crate::tools::target::{Durability, Target, look_at, read};
use crate::undo::{Deed, MAX_CHANGE, Spot};
use cap_std::fs::{Dir, MetadataExt};
use protocol::key::sha256_hex;
use protocol::tools::FilesCopy;
use std::path::{Path, PathBuf};

/// The most files and folders that are copied at once: the rest of a larger tree would be a program's own.
const MAX_FILES: usize = 1000;

/// What a folder holds, outermost first, and all that is needed to make it again.
#[derive(Debug, Default)]
struct Tree {
    folders: Vec<PathBuf>,
    files: Vec<(PathBuf, Vec<u8>, u32)>,
    links: usize,
}

/// Copies a file or a folder.
pub fn run(hands: &Hands<'_>, wanted: &FilesCopy) -> Result<String, NoPlace> {
    let from = places::find(&hands.policy.roots, &wanted.from)?;
    let to = places::find(&hands.policy.roots, &wanted.to)?;
    let mut changes = hands.begin();
    let what = format!("{} to {}", from.shown(), to.shown());
    let (bytes, mode) = match from.open_file() {
        Ok(file) => {
            let metadata = file.metadata().map_err(|error| from.refusal(error))?;
            let mode = metadata.mode();
            (read(&from, file, metadata.len())?, mode)
        }
        Err(NoPlace::Unfit {
            what: "is a folder",
            ..
        }) => {
            let tree = Tree::of(&from, &to)?;
            let plan = hands.plan(format!("files.copy {what}"), tree.deeds(&to)?);
            changes.make(&plan, || tree.put(&to))?;
            return Ok(format!("copied {what} ({})", tree.told()));
        }
        Err(error) => return Err(error),
    };
    let target = destination(&to, &from, wanted.replace)?;
    let plan = hands.plan(format!("files.copy {what}"), deeds(&target, &bytes));
    changes.make(&plan, || {
        target.replace(&bytes, Some(copied(mode)), Durability::Synced)
    })?;
    Ok(format!("copied {what} ({})", size(bytes.len() as u64)))
}

/// No program gets anyone's rights by being copied.
fn copied(mode: u32) -> u32 {
    mode & 0o777
}

impl Tree {
    /// Reads a folder that shall be copied. One name in it that is never touched, here or there, and nothing is.
    fn of(from: &Place<'_>, to: &Place<'_>) -> Result<Self, NoPlace> {
        let dir = from.open_dir()?;
        let real = from.inside(&dir)?;
        let way = to.above_new()?;
        let (source, goal) = (from.root.path.join(real), to.root.path.join(&way.real));
        if goal.starts_with(&source) {
            return Err(NoPlace::Refused(format!(
                "'{}' cannot be copied into itself",
                from.shown()
            )));
        }
        if way.missing.is_empty() && look_at(to, &way.dir, way.name)?.is_some() {
            return Err(NoPlace::Refused(format!(
                "'{}' is there already; a folder is copied to a new path only",
                to.shown()
            )));
        }
        let mut tree = Self::default();
        let mut open = vec![(PathBuf::new(), dir)];
        let mut bytes = 0;
        while let Some((below, dir)) = open.pop() {
            tree.folders.push(below.clone());
            let keeps = |below: &Path| to.root.keeps(&way.real.join(below));
            tree.folder(from, &keeps, &below, &dir, &mut open)?;
            bytes = tree.bytes();
            if bytes > MAX_CHANGE || tree.folders.len() + tree.files.len() > MAX_FILES {
                break;
            }
        }
        if bytes > MAX_CHANGE || tree.folders.len() + tree.files.len() > MAX_FILES {
            return Err(NoPlace::Refused(format!(
                "'{}' is too large: up to {MAX_FILES} files and {} are copied at once, so that it can be undone",
                from.shown(),
                size(MAX_CHANGE)
            )));
        }
        Ok(tree)
    }

    /// Reads the files of one folder and notes the folders.
    fn folder(
        &mut self,
        from: &Place<'_>,
        keeps: &dyn Fn(&Path) -> bool,
        below: &Path,
        dir: &Dir,
        open: &mut Vec<(PathBuf, Dir)>,
    ) -> Result<(), NoPlace> {
        for entry in dir.entries().map_err(|error| from.refusal(error))? {
            let entry = entry.map_err(|error| from.refusal(error))?;
            let below = below.join(entry.file_name());
            let place = from.below(&below);
            if from.root.forbids(&place.path) || keeps(&below) {
                return Err(NoPlace::Forbidden(place.shown()));
            }
            let metadata = entry.metadata().map_err(|error| place.refusal(error))?;
            if metadata.is_symlink() {
                self.links += 1;
            } else if metadata.is_dir() {
                let inner = entry.open_dir().map_err(|error| place.refusal(error))?;
                place.look(&inner)?;
                open.push((below, inner));
            } else {
                let file = place.open_file()?;
                let bytes = read(&place, file, metadata.len())?;
                self.files.push((below, bytes, metadata.mode()));
            }
            if self.bytes() > MAX_CHANGE || self.files.len() > MAX_FILES {
                break;
            }
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.files
            .iter()
            .map(|(_, bytes, _)| bytes.len() as u64)
            .sum()
    }

    fn deeds(&self, to: &Place<'_>) -> Result<Vec<Deed>, NoPlace> {
        let above = to.above_new()?;
        let mut deeds: Vec<Deed> = to
            .unmade(&above)
            .iter()
            .map(|place| Deed::Made(Spot::of(place)))
            .collect();
        let folders = self.folders.iter();
        deeds.extend(folders.map(|below| Deed::Made(Spot::of(&below_of(to, below)))));
        deeds.extend(self.files.iter().map(|(below, bytes, _)| Deed::Put {
            at: Spot::of(&below_of(to, below)),
            before: None,
            after: Some(sha256_hex(bytes)),
        }));
        Ok(deeds)
    }

    fn put(&self, to: &Place<'_>) -> Result<(), NoPlace> {
        for below in &self.folders {
            crate::tools::files_mkdir::make(&below_of(to, below))?;
        }
        for (below, bytes, mode) in &self.files {
            let place = below_of(to, below);
            let target = Target::open(&place)?;
            target.replace(bytes, Some(copied(*mode)), Durability::Synced)?;
        }
        Ok(())
    }

    fn told(&self) -> String {
        let files = self.files.len();
        let s = if files == 1 { "" } else { "s" };
        let links = match self.links {
            0 => String::new(),
            links => format!("; {links} left out: links"),
        };
        format!("{files} file{s}, {}{links}", size(self.bytes()))
    }
}

/// The place of a name in a folder, or the folder itself where there is none.
fn below_of<'a>(place: &Place<'a>, below: &Path) -> Place<'a> {
    if below.as_os_str().is_empty() {
        place.clone()
    } else {
        place.below(below)
    }
}

#[cfg(test)]
mod tests {
    use crate::tools::world::{Tree, World, denied, done, failed};
    use serde_json::json;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_copied_bytes_and_mode_and_the_copy_is_taken_away_again() {
        let mut world = World::new();
        world.put("a", b"\0\xff\r\n");
        let mode = fs::Permissions::from_mode(0o4750);
        fs::set_permissions(world.path("a"), mode).unwrap();
        let copy = json!({"from": "a", "to": "new/b"});
        let outcome = world.run("files.copy", copy.clone());
        assert_eq!(outcome, done("copied docs/a to docs/new/b (4 B)"));
        let copied = world.path("new/b");
        assert_eq!(fs::read(&copied).unwrap(), b"\0\xff\r\n");
        let mode = fs::metadata(&copied).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o750);
        assert_eq!(
            world.run("files.copy", copy),
            failed("'docs/new/b' is there already; set replace to put this in its place")
        );
        world.does("files.undo", json!({}));
        assert!(!world.path("new").exists());
        assert!(world.path("a").exists());
    }

    #[test]
    fn what_a_copy_replaced_comes_back() {
        let mut world = World::new();
        world.put("a", "a");
        world.put("b", "b");
        world.does(
            "files.copy",
            json!({"from": "a", "to": "b", "replace": true}),
        );
        assert_eq!(world.tree(), [("a", "a"), ("b", "a")]);
        world.does("files.undo", json!({}));
        assert_eq!(world.tree(), [("a", "a"), ("b", "b")]);
    }

    #[test]
    fn a_folder_is_copied_whole_or_not_at_all_and_taken_away_again() {
        let mut world = World::new();
        world.put("f/a", "a");
        world.put("f/g/b", "b");
        fs::create_dir(world.path("f/empty")).unwrap();
        std::os::unix::fs::symlink("a", world.path("f/link")).unwrap();
        let before = world.tree();
        let copy = json!({"from": "f", "to": "new/h"});
        assert_eq!(
            world.run("files.copy", copy.clone()),
            done("copied docs/f to docs/new/h (2 files, 2 B; 1 left out: links)")
        );
        let after = [("a", "a"), ("empty/", ""), ("g/", ""), ("g/b", "b")];
        assert_eq!(Tree::of(&world.path("new/h")), after);
        assert_eq!(
            world.run("files.copy", copy),
            failed("'docs/new/h' is there already; a folder is copied to a new path only")
        );
        world.does("files.undo", json!({}));
        assert_eq!(world.tree(), before);
        world.does("files.undo", json!({"call": "c3"}));
        assert_eq!(Tree::of(&world.path("new/h")), after);
        fs::remove_dir_all(world.path("new")).unwrap();
        world.put("f/g/.env", "x");
        world.put("o/autostart/x", "x");
        let before = world.tree();
        for (from, to, name) in [
            ("f", "h", "docs/f/g/.env"),
            ("o", ".config", "docs/o/autostart"),
        ] {
            assert_eq!(
                world.run("files.copy", json!({"from": from, "to": to})),
                denied(&format!(
                    "'{name}' is never read or changed: it may hold keys, passwords or start-up commands"
                ))
            );
        }
        assert_eq!(
            world.run("files.copy", json!({"from": "f", "to": "f/g/h"})),
            failed("'docs/f' cannot be copied into itself")
        );
        assert_eq!(world.tree(), before);
    }

    #[test]
    fn a_folder_that_could_not_be_undone_is_not_copied() {
        let mut world = World::new();
        world.put("f/a", vec![b'x'; 10_000_001]);
        world.put("f/b", vec![b'x'; 10_000_000]);
        let too_large = failed(
            "'docs/f' is too large: up to 1000 files and 20.0 MB are copied at once, so that it can be undone",
        );
        let copy = json!({"from": "f", "to": "g"});
        assert_eq!(world.run("files.copy", copy.clone()), too_large);
        world.put("f/a", "");
        world.put("f/b", "");
        for number in 0..1000 {
            world.put(&format!("f/{number}"), "");
        }
        assert_eq!(world.run("files.copy", copy), too_large);
        assert!(!world.path("g").exists());
    }

    #[test]
    fn a_file_is_not_copied_over_a_folder() {
        let mut world = World::new();
        world.put("f/a", "a");
        let outcome = world.run("files.copy", json!({"from": "f/a", "to": "f"}));
        assert_eq!(
            outcome,
            failed("'docs/f' is a folder; say the whole new path, such as 'docs/f/a'")
        );
    }
}
