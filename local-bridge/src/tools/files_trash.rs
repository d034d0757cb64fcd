//! `files.trash`: a file or folder put into the system's trash, from which its owner takes it back, or `files.undo` does. Nothing is ever unlinked.
//!
//! On Linux the trash of the home folder as freedesktop.org's specification has it, or that of the disk; on macOS the folder `~/.Trash`.

mod disk;

use crate::places::{self, Above, NoPlace, Place};
use crate::tools::Hands;
use crate::tools::figures::moment;
use crate::tools::files_move::{movable, searched, there};
use crate::tools::target::{known, rename_new, sync};
use crate::undo::{Deed, Identity, Spot};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use disk::Disk;
use protocol::tools::FilesTrash;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::fd::AsFd;
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
    disk: Disk,
}

/// Where what is deleted goes.
struct Opened {
    files: Dir,
    info: Option<Dir>,
    /// What the notes count paths from; whole ones, where it is nothing.
    top: PathBuf,
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
                disk: disk::device,
            };
        }
        let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
        let data = data
            .filter(|data| data.is_absolute())
            .or_else(|| Some(home?.join(".local/share")));
        Self {
            path: data.map(|data| data.join("Trash")),
            layout: Layout::Freedesktop,
            disk: disk::device,
        }
    }

    /// A trash that lies somewhere else.
    pub fn at(path: PathBuf, layout: Layout) -> Self {
        Self {
            path: Some(path),
            layout,
            disk: disk::device,
        }
    }

    /// The same where disks are told apart otherwise.
    #[cfg(test)]
    pub(crate) fn on_disks(self, disk: Disk) -> Self {
        Self { disk, ..self }
    }

    /// Takes a free name for what lies at a place, and notes where that is.
    pub fn reserve(&self, place: &Place<'_>, above: &Above<'_>, now: i64) -> Result<Slot, NoPlace> {
        let reserve = || -> io::Result<Slot> {
            let Opened { files, info, top } = self.open(&above.dir)?;
            let origin = place.root.path.join(&above.real);
            let origin = origin.strip_prefix(&top).map_err(io::Error::other)?;
            let wanted = above.name.to_string_lossy();
            for number in 1..=MAX_NAMESAKES {
                let name = match number {
                    1 => wanted.clone().into_owned(),
                    _ => format!("{wanted}.{number}"),
                };
                if files.symlink_metadata(&name).is_ok() {
                    continue;
                }
                match info.as_ref().map(|info| note(info, &name, origin, now)) {
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

    /// The name that something has in the trash, to be taken out again and back to the disk of a folder.
    pub fn find(&self, folder: &Dir, name: &str) -> io::Result<Slot> {
        let Opened { files, info, .. } = self.open(folder)?;
        files.symlink_metadata(name)?;
        Ok(Slot {
            files,
            info,
            filled: true,
            name: name.to_owned(),
        })
    }

    /// The trash for what lies in a folder: the home folder's, or that of the folder's own disk.
    fn open(&self, folder: &Dir) -> io::Result<Opened> {
        let path = self
            .path
            .as_ref()
            .ok_or_else(|| io::Error::other("there is no home folder"))?;
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let trash = Dir::open_ambient_dir(path, ambient_authority())?;
        if self.layout == Layout::Plain {
            return Ok(Opened {
                files: trash,
                info: None,
                top: PathBuf::new(),
            });
        }
        if (self.disk)(folder.as_fd())? != (self.disk)(trash.as_fd())? {
            let bin = disk::bin(folder.as_fd(), self.disk)?;
            let inner = |name: &str| -> io::Result<Dir> {
                let inner = disk::private(bin.dir.as_fd(), name)?;
                Ok(Dir::from_std_file(inner.into()))
            };
            return Ok(Opened {
                files: inner("files")?,
                info: Some(inner("info")?),
                top: bin.top,
            });
        }
        let inner = |name: &str| {
            match trash.create_dir(name) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            trash.open_dir(name)
        };
        Ok(Opened {
            files: inner("files")?,
            info: Some(inner("info")?),
            top: PathBuf::new(),
        })
    }
}

impl Slot {
    /// Whether this is what lies here.
    pub fn holds(&self, what: &Identity) -> bool {
        let there = self.files.symlink_metadata(&self.name);
        let there = there.and_then(|there| known(&self.files, OsStr::new(&self.name), &there));
        there.is_ok_and(|there| there.is(what))
    }

    /// Refuses a folder that, back at a place, would hold what is never touched there: others may have put that into it meanwhile.
    pub fn restorable(&self, place: &Place<'_>, above: &Above<'_>) -> Result<(), NoPlace> {
        let dir = self.files.open_dir(&self.name);
        let dir = dir.map_err(|error| place.refusal(error))?;
        let kept = |below: &Path| place.root.forbids(&above.real.join(below));
        searched(dir, place, &kept)
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
    use crate::tools::world::{Tree, World, denied, done, failed};
    use serde_json::json;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

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

    /// This account's name in a trash that is not the home folder's.
    fn uid() -> String {
        rustix::process::geteuid().as_raw().to_string()
    }

    #[test]
    fn what_lies_on_a_disk_of_its_own_goes_to_the_trash_there_and_comes_back() {
        let mut world = World::new().with_stick();
        world.put("stick/a b/x", "x");
        world.put("home", "h");
        let before = world.tree();
        world.now = 1_795_305_600_000 + 3_723_000;
        assert_eq!(
            trash(&mut world, "stick/a b"),
            done("put docs/stick/a b into the system's trash; files.undo brings it back")
        );
        let own = format!(".Trash-{}", uid());
        let bin = world.path("stick").join(&own);
        let gone = Tree::of(&bin);
        assert_eq!(
            gone,
            [
                ("files/", ""),
                ("files/a b/", ""),
                ("files/a b/x", "x"),
                ("info/", ""),
                (
                    "info/a b.trashinfo",
                    "[Trash Info]\nPath=a%20b\nDeletionDate=2026-11-22T01:02:03\n"
                ),
            ]
        );
        for folder in ["", "files", "info"] {
            let mode = fs::metadata(bin.join(folder)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700, "{folder}");
        }
        trash(&mut world, "home");
        assert!(world.outside("trash/files/home").exists());
        world.does("files.undo", json!({}));
        world.does("files.undo", json!({"call": "c1"}));
        assert_eq!(Tree::of(&bin), [("files/", ""), ("info/", "")]);
        world.does("files.undo", json!({"call": "c4"}));
        assert_eq!(Tree::of(&bin), gone);
        world.does("files.undo", json!({"call": "c5"}));
        fs::remove_dir_all(&bin).unwrap();
        assert_eq!(world.tree(), before);
    }

    #[test]
    fn a_trash_that_all_accounts_share_is_used_if_nobody_can_replace_what_is_ours_there() {
        for (mode, used) in [(0o1777, true), (0o777, false)] {
            let mut world = World::new().with_stick();
            world.put("stick/a", "a");
            let shared = world.path("stick/.Trash");
            fs::create_dir(&shared).unwrap();
            fs::set_permissions(&shared, fs::Permissions::from_mode(mode)).unwrap();
            trash(&mut world, "stick/a");
            let (ours, own) = (shared.join(uid()), format!("stick/.Trash-{}", uid()));
            assert_eq!(ours.join("files/a").exists(), used, "{mode:o}");
            assert_eq!(world.path(&own).join("files/a").exists(), !used, "{mode:o}");
            world.does("files.undo", json!({}));
            assert!(world.path("stick/a").exists());
        }
        let mut world = World::new().with_stick();
        world.put("stick/a", "a");
        let elsewhere = world.outside("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o1777)).unwrap();
        symlink(&elsewhere, world.path("stick/.Trash")).unwrap();
        trash(&mut world, "stick/a");
        assert!(Tree::of(&elsewhere).is_empty());
        assert!(!world.path("stick/a").exists());
    }

    #[test]
    fn a_trash_that_another_account_has_made_for_all_is_not_used() {
        let us = rustix::process::geteuid().as_raw();
        for (owner, fits) in [(0, true), (us, true), (us + 1, false)] {
            assert_eq!(disk::fits_all(owner, 0o41777, us).is_ok(), fits, "{owner}");
        }
        assert!(disk::fits_all(0, 0o40777, us).is_err());
        if us != 0 {
            return; // only root can give a folder away
        }
        let mut world = World::new().with_stick();
        world.put("stick/a", "a");
        let shared = world.path("stick/.Trash");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
        std::os::unix::fs::chown(&shared, Some(1000), None).unwrap();
        trash(&mut world, "stick/a");
        assert!(Tree::of(&shared).is_empty());
        let own = world.path(&format!("stick/.Trash-{us}/files/a"));
        assert!(own.exists());
    }

    #[test]
    fn a_trash_of_a_disk_that_is_a_link_or_not_ours_alone_takes_nothing() {
        let mut world = World::new().with_stick();
        world.put("stick/a", "a");
        let elsewhere = world.outside("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let top = world.path("stick").canonicalize().unwrap();
        let own = top.join(format!(".Trash-{}", uid()));
        let refused = |why: &str| {
            failed(&format!(
                "'docs/stick/a' cannot be put into the system's trash and stays where it is: its disk takes no trash; {}: {why}",
                own.display()
            ))
        };
        symlink(&elsewhere, &own).unwrap();
        let outcome = trash(&mut world, "stick/a");
        assert_eq!(outcome, refused("is a link or no folder"));
        fs::remove_file(&own).unwrap();
        fs::create_dir(&own).unwrap();
        fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).unwrap();
        let outcome = trash(&mut world, "stick/a");
        assert_eq!(outcome, refused("can be changed by others"));
        fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).unwrap();
        symlink(&elsewhere, own.join("files")).unwrap();
        assert!(matches!(
            trash(&mut world, "stick/a"),
            protocol::call::Outcome::Failed { .. }
        ));
        assert!(world.path("stick/a").exists());
        assert!(Tree::of(&elsewhere).is_empty());
    }

    #[cfg(target_os = "linux")] // where a second disk is always at hand
    #[test]
    fn a_real_second_disk_has_its_trash_in_its_topmost_folder() {
        let Some((world, far)) = World::new().with_another_disk() else {
            eprintln!("skipped: /dev/shm is no disk of its own here");
            return;
        };
        let mut world = world.with_trash(Layout::Freedesktop);
        let name = format!("{}.txt", protocol::key::random_text().unwrap());
        fs::write(far.path().join(&name), "one").unwrap();
        assert_eq!(
            trash(&mut world, &format!("far/{name}")),
            done(&format!(
                "put far/{name} into the system's trash; files.undo brings it back"
            ))
        );
        let bin = Path::new("/dev/shm").join(format!(".Trash-{}", uid()));
        assert_eq!(fs::read(bin.join("files").join(&name)).unwrap(), b"one");
        let note = fs::read_to_string(bin.join("info").join(format!("{name}.trashinfo"))).unwrap();
        let from = far.path().strip_prefix("/dev/shm").unwrap();
        let path = format!("Path={}/{name}\n", from.display());
        assert!(note.contains(&path), "{note}");
        world.does("files.undo", json!({}));
        assert_eq!(fs::read(far.path().join(&name)).unwrap(), b"one");
        for folder in ["files", "info", ""] {
            fs::remove_dir(bin.join(folder)).ok(); // it may be somebody's, and then it is not empty
        }
    }

    #[test]
    fn a_trash_in_an_opened_folder_is_looked_at_and_not_changed() {
        let mut world = World::new().with_stick();
        world.put("stick/a", "a");
        world.put("b", "b");
        trash(&mut world, "stick/a");
        let before = world.tree();
        let bin = format!("stick/.Trash-{}", uid());
        for (tool, arguments) in [
            (
                "files.write",
                json!({"path": format!("{bin}/files/x"), "text": "x"}),
            ),
            (
                "files.append",
                json!({"path": format!("{bin}/info/a.trashinfo"), "text": "Path=../../.bashrc"}),
            ),
            (
                "files.move",
                json!({"from": "b", "to": format!("{bin}/files/b")}),
            ),
            ("files.trash", json!({"path": format!("{bin}/files/a")})),
            ("files.trash", json!({"path": bin})),
        ] {
            let outcome = world.run(tool, arguments);
            assert!(
                matches!(outcome, protocol::call::Outcome::Denied { .. }),
                "{tool}: {outcome:?}"
            );
        }
        assert_eq!(world.tree(), before);
    }

    #[test]
    fn a_folder_does_not_come_back_with_what_is_never_touched_in_it() {
        let mut world = World::new();
        world.put(".config/app/x", "x");
        let before = world.tree();
        trash(&mut world, ".config");
        let evil = world.outside("trash/files/.config/autostart");
        fs::create_dir(&evil).unwrap();
        fs::write(evil.join("evil.desktop"), "run me").unwrap();
        assert_eq!(
            world.run("files.undo", json!({})),
            denied(
                "'docs/.config/autostart' is never read or changed: it may hold keys, passwords or start-up commands"
            )
        );
        assert!(world.tree().is_empty());
        fs::remove_dir_all(&evil).unwrap();
        world.does("files.undo", json!({}));
        assert_eq!(world.tree(), before);
        // Nor does it go there again with it.
        world.put(".config/autostart/theirs", "x");
        let outcome = world.undo("c3");
        assert!(
            matches!(outcome, protocol::call::Outcome::Denied { .. }),
            "{outcome:?}"
        );
        assert!(world.path(".config/autostart/theirs").exists());
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
