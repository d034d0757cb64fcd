//! `files.trash`: a file or folder put into the system's trash, from which its owner takes it back, or `files.undo` does. Nothing is ever unlinked.
//!
//! On Linux the trash of the home folder as freedesktop.org's specification has it; on macOS the folder `~/.Trash`.

use crate::places::{self, Above, NoPlace, Place};
use crate::tools::Hands;
use crate::tools::figures::moment;
use crate::tools::files_move::{movable, there};
use crate::tools::target::{known, rename_new, sync};
use crate::undo::{Deed, Identity, Spot};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use protocol::tools::FilesTrash;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// So many of one name in the trash, and the next is refused.
const MAX_NAMESAKES: u32 = 1000;

/// How a trash is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `files/` and, beside it, a note in `info/` on where each of them came from.
    Freedesktop,
    /// One folder.
    Plain,
}

/// The system's trash.
#[derive(Debug, Clone)]
pub struct Trash {
    path: Option<PathBuf>,
    layout: Layout,
}

/// A name in the trash that is ours to fill.
#[derive(Debug)]
pub struct Slot {
    files: Dir,
    info: Option<Dir>,
    filled: bool,
    /// The name.
    pub name: String,
}

/// Puts a file or folder into the trash.
pub fn run(hands: &Hands<'_>, wanted: &FilesTrash) -> Result<String, NoPlace> {
    let place = places::find(&hands.policy.roots, &wanted.path)?;
    let mut changes = hands.begin();
    let above = place.above()?;
    let what = there(&place, &above)?;
    if what.folder {
        movable(&place, &above, None)?;
    }
    let slot = hands.trash.reserve(&place, &above, hands.now)?;
    let deed = Deed::Trashed {
        at: Spot::of(&place),
        name: slot.name.clone(),
        what,
    };
    let plan = hands.plan(format!("files.trash {}", place.shown()), vec![deed]);
    changes.make(&plan, || slot.fill(&place, &above))?;
    Ok(format!(
        "put {} into the system's trash; files.undo brings it back",
        place.shown()
    ))
}

impl Trash {
    /// The trash of the account that the bridge runs under.
    pub fn own() -> Self {
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        if cfg!(target_os = "macos") {
            return Self {
                path: home.map(|home| home.join(".Trash")),
                layout: Layout::Plain,
            };
        }
        let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
        let data = data
            .filter(|data| data.is_absolute())
            .or_else(|| Some(home?.join(".local/share")));
        Self {
            path: data.map(|data| data.join("Trash")),
            layout: Layout::Freedesktop,
        }
    }

    /// A trash that lies somewhere else.
    pub fn at(path: PathBuf, layout: Layout) -> Self {
        Self {
            path: Some(path),
            layout,
        }
    }

    /// Takes a free name for what lies at a place, and notes where that is.
    pub fn reserve(&self, place: &Place<'_>, above: &Above<'_>, now: i64) -> Result<Slot, NoPlace> {
        let reserve = || -> io::Result<Slot> {
            let (files, info) = self.open()?;
            let origin = place.root.path.join(&above.real);
            let wanted = above.name.to_string_lossy();
            for number in 1..=MAX_NAMESAKES {
                let name = match number {
                    1 => wanted.clone().into_owned(),
                    _ => format!("{wanted}.{number}"),
                };
                if files.symlink_metadata(&name).is_ok() {
                    continue;
                }
                match info.as_ref().map(|info| note(info, &name, &origin, now)) {
                    Some(Err(error)) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Some(Err(error)) => return Err(error),
                    Some(Ok(())) | None => {
                        return Ok(Slot {
                            files,
                            info,
                            filled: false,
                            name,
                        });
                    }
                }
            }
            Err(io::Error::other("it holds too many files of that name"))
        };
        reserve().map_err(|error| unusable(place, &error))
    }

    /// The name that something has in the trash, to be taken out again.
    pub fn find(&self, name: &str) -> io::Result<Slot> {
        let (files, info) = self.open()?;
        files.symlink_metadata(name)?;
        Ok(Slot {
            files,
            info,
            filled: true,
            name: name.to_owned(),
        })
    }

    fn open(&self) -> io::Result<(Dir, Option<Dir>)> {
        let path = self
            .path
            .as_ref()
            .ok_or_else(|| io::Error::other("there is no home folder"))?;
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let trash = Dir::open_ambient_dir(path, ambient_authority())?;
        if self.layout == Layout::Plain {
            return Ok((trash, None));
        }
        let inner = |name: &str| {
            match trash.create_dir(name) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            trash.open_dir(name)
        };
        Ok((inner("files")?, Some(inner("info")?)))
    }
}

impl Slot {
    /// Whether this is what lies here.
    pub fn holds(&self, what: &Identity) -> bool {
        let there = self.files.symlink_metadata(&self.name);
        let there = there.and_then(|there| known(&self.files, OsStr::new(&self.name), &there));
        there.is_ok_and(|there| there.is(what))
    }

    /// Moves what lies at a place here.
    pub fn fill(mut self, place: &Place<'_>, above: &Above<'_>) -> Result<(), NoPlace> {
        let name = OsStr::new(&self.name);
        rename_new((&above.dir, above.name), (&self.files, name))
            .and_then(|()| {
                self.filled = true;
                sync(&above.dir)
            })
            .map_err(|error| unusable(place, &error))
    }

    /// Moves what lies here to a place where nothing is.
    pub fn empty(mut self, place: &Place<'_>, above: Above<'_>) -> Result<(), NoPlace> {
        let (dir, name) = place.make(above)?;
        rename_new((&self.files, OsStr::new(&self.name)), (&dir, name))
            .and_then(|()| {
                self.filled = false;
                sync(&dir)
            })
            .map_err(|error| place.refusal(error))
    }
}

impl Drop for Slot {
    /// A name that holds nothing needs no note. One that stays behind all the same is skipped by every trash.
    fn drop(&mut self) {
        if let Some(info) = self.info.as_ref().filter(|_| !self.filled) {
            info.remove_file(info_name(&self.name)).ok();
        }
    }
}

/// Writes where something came from and when it went, as the specification has it but for the hour, which is universal time.
fn note(info: &Dir, name: &str, origin: &Path, now: i64) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let mut file = info.open_with(info_name(name), &options)?;
    let mut path = String::new();
    for &byte in origin.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            let _infallible = write!(path, "%{byte:02X}");
        }
    }
    let date = moment(now.div_euclid(1000)).replace(' ', "T");
    write!(file, "[Trash Info]\nPath={path}\nDeletionDate={date}\n")?;
    file.sync_all()
}

fn info_name(name: &str) -> String {
    format!("{name}.trashinfo")
}

fn unusable(place: &Place<'_>, error: &io::Error) -> NoPlace {
    let why = if error.kind() == io::ErrorKind::CrossesDevices {
        "it lies on another disk than the trash of the home folder".to_owned()
    } else {
        error.to_string()
    };
    NoPlace::Refused(format!(
        "'{}' cannot be put into the system's trash and stays where it is: {why}",
        place.shown()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::world::{Tree, World, done, failed};
    use serde_json::json;
    use std::fs;

    fn trash(world: &mut World, path: &str) -> protocol::call::Outcome {
        world.run("files.trash", json!({"path": path}))
    }

    #[test]
    fn what_is_deleted_lies_in_the_trash_as_the_specification_has_it() {
        let mut world = World::new();
        world.put("a b/\u{e9}.txt", "one");
        world.put("f/x", "x");
        world.now = 1_795_305_600_000 + 3_723_000;
        assert_eq!(
            trash(&mut world, "a b/\u{e9}.txt"),
            done("put docs/a b/\u{e9}.txt into the system's trash; files.undo brings it back")
        );
        world.put("a b/\u{e9}.txt", "two");
        trash(&mut world, "a b/\u{e9}.txt");
        trash(&mut world, "f");
        assert_eq!(world.tree(), [("a b/", "")]);
        let docs = world.path("").canonicalize().unwrap();
        let info = |path: &str| {
            let docs = docs.display();
            format!("[Trash Info]\nPath={docs}/{path}\nDeletionDate=2026-11-22T01:02:03\n")
        };
        assert_eq!(
            Tree::of(&world.outside("trash")),
            [
                ("files/", ""),
                ("files/f/", ""),
                ("files/f/x", "x"),
                ("files/\u{e9}.txt", "one"),
                ("files/\u{e9}.txt.2", "two"),
                ("info/", ""),
                ("info/f.trashinfo", info("f").as_str()),
                (
                    "info/\u{e9}.txt.2.trashinfo",
                    info("a%20b/%C3%A9.txt").as_str()
                ),
                (
                    "info/\u{e9}.txt.trashinfo",
                    info("a%20b/%C3%A9.txt").as_str()
                ),
            ]
        );
    }

    #[test]
    fn what_was_deleted_comes_back_and_goes_again() {
        for layout in [Layout::Freedesktop, Layout::Plain] {
            let mut world = World::new().with_trash(layout);
            world.put("f/x", "x");
            let before = world.tree();
            trash(&mut world, "f");
            let gone = Tree::of(&world.outside("trash"));
            assert!(world.tree().is_empty());
            world.does("files.undo", json!({}));
            assert_eq!(world.tree(), before);
            let trashed = match layout {
                Layout::Freedesktop => Tree::of(&world.outside("trash/info")),
                Layout::Plain => Tree::of(&world.outside("trash")),
            };
            assert!(trashed.is_empty(), "{trashed:?}");
            world.does("files.undo", json!({"call": "c2"}));
            assert_eq!(Tree::of(&world.outside("trash")), gone);
        }
    }

    #[test]
    fn what_cannot_come_back_stays_in_the_trash() {
        let mut world = World::new();
        world.put("a", "one");
        trash(&mut world, "a");
        world.put("a", "two");
        assert_eq!(
            world.undo("c1"),
            failed("something else lies at 'docs/a' since; nothing was undone")
        );
        fs::remove_file(world.path("a")).unwrap();
        fs::remove_file(world.outside("trash/files/a")).unwrap();
        fs::write(world.outside("trash/files/a"), "another").unwrap();
        let emptied =
            failed("the system's trash no longer holds 'docs/a', so it cannot be brought back");
        assert_eq!(world.undo("c1"), emptied);
        fs::remove_file(world.outside("trash/files/a")).unwrap();
        assert_eq!(world.undo("c1"), emptied);
        assert!(world.tree().is_empty());
    }

    #[cfg(target_os = "linux")] // where a second disk is always at hand
    #[test]
    fn what_lies_on_another_disk_is_neither_deleted_nor_moved() {
        let Some((mut world, far)) = World::new().with_another_disk() else {
            return;
        };
        world.put("a", "one");
        assert_eq!(
            trash(&mut world, "docs/a"),
            failed(
                "'docs/a' cannot be put into the system's trash and stays where it is: \
                 it lies on another disk than the trash of the home folder"
            )
        );
        let trashed = Tree::of(&far.path().join("trash"));
        assert_eq!(trashed, [("files/", ""), ("info/", "")]);
        assert_eq!(
            world.run("files.move", json!({"from": "docs/a", "to": "far/a"})),
            failed(
                "'docs/a' lies on another disk than 'far/a'; copy it with files.copy, then files.trash the first"
            )
        );
        assert_eq!(world.tree(), [("a", "one")]);
        world.does("files.copy", json!({"from": "docs/a", "to": "far/a"}));
        assert_eq!(fs::read(far.path().join("a")).unwrap(), b"one");
    }

    #[test]
    fn without_a_trash_nothing_is_deleted() {
        let mut world = World::new();
        world.put("a", "one");
        fs::write(world.outside("trash"), "a file").unwrap();
        assert_eq!(
            trash(&mut world, "a"),
            failed(
                "'docs/a' cannot be put into the system's trash and stays where it is: File exists (os error 17)"
            )
        );
        assert_eq!(world.tree(), [("a", "one")]);
        assert_eq!(
            world.run("files.undo", json!({})),
            failed("there is no change to undo")
        );
    }
}
