//! `files.write`: a text file made, replaced whole at one stroke, or added to.

use crate::places::{self, NoPlace, Place, unblocked};
use crate::policy::Policy;
use crate::tools::figures::size;
use cap_std::fs::{Dir, File, MetadataExt, OpenOptions, OpenOptionsExt, Permissions};
use protocol::key::random_text;
use protocol::tools::FilesWrite;
use rustix::fs::{Mode, OFlags};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

/// What a file that was not there may be read by; the system's own mask takes away from it.
const NEW_MODE: u32 = 0o644;

/// Whether a write waits until it is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It does, as "done" promises.
    Synced,
    /// It does not; for measuring what else a write does.
    Unsynced,
}

/// Writes a text file.
pub fn run(policy: &Policy, wanted: &FilesWrite) -> Result<String, NoPlace> {
    let place = places::find(&policy.roots, &wanted.path)?;
    let bytes = wanted.text.as_bytes();
    let done = write(&place, bytes, wanted.append, Durability::Synced)?;
    let size = size(bytes.len() as u64);
    Ok(format!("{done} {} ({size})", place.shown()))
}

/// Writes bytes to a place and says in one word what that did.
pub fn write(
    place: &Place<'_>,
    bytes: &[u8],
    append: bool,
    durability: Durability,
) -> Result<&'static str, NoPlace> {
    let (dir, name) = place.make_parent()?;
    let mode = existing(place, &dir, name)?;
    if append {
        add(place, &dir, name, bytes, durability)?;
        return Ok("added to");
    }
    replace(&dir, name, bytes, mode, durability).map_err(|error| place.refusal(error))?;
    Ok(if mode.is_some() { "replaced" } else { "wrote" })
}

/// The mode of the file that is there, if it is one that may be changed.
fn existing(place: &Place<'_>, dir: &Dir, name: &OsStr) -> Result<Option<u32>, NoPlace> {
    let metadata = match dir.symlink_metadata(Path::new(name)) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(place.refusal(error)),
    };
    if metadata.is_dir() {
        return Err(place.unfit("is a folder"));
    }
    if metadata.is_symlink() {
        return Err(place.unfit("is a link; name the file that it leads to"));
    }
    if !metadata.is_file() {
        return Err(place.unfit("is not an ordinary file"));
    }
    if metadata.nlink() > 1 {
        return Err(NoPlace::Linked(place.shown()));
    }
    Ok(Some(metadata.mode() & 0o7777))
}

/// Puts a new file in the old one's place. Never writes into what is there, so a link that slips in is replaced and not followed.
fn replace(
    dir: &Dir,
    name: &OsStr,
    bytes: &[u8],
    mode: Option<u32>,
    durability: Durability,
) -> io::Result<()> {
    let half = format!(".{}.half", random_text().map_err(io::Error::other)?);
    let written = fill(dir, &half, bytes, mode, durability)
        .and_then(|()| dir.rename(&half, dir, Path::new(name)));
    if written.is_err() {
        // The first error is the one to tell; a leftover is hidden and harmless.
        dir.remove_file(&half).ok();
    }
    written?;
    if durability == Durability::Synced {
        // The handle serves for finding names only; the folder must be opened again to be synced.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::fsync(rustix::fs::openat(dir, ".", flags, Mode::empty())?)?;
    }
    Ok(())
}

fn fill(
    dir: &Dir,
    half: &str,
    bytes: &[u8],
    mode: Option<u32>,
    durability: Durability,
) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(NEW_MODE);
    let mut file = dir.open_with(half, &options)?;
    if let Some(mode) = mode {
        use std::os::unix::fs::PermissionsExt;
        let permissions = std::fs::Permissions::from_mode(mode);
        file.set_permissions(Permissions::from_std(permissions))?;
    }
    finish(&mut file, bytes, durability)
}

fn add(
    place: &Place<'_>,
    dir: &Dir,
    name: &OsStr,
    bytes: &[u8],
    durability: Durability,
) -> Result<(), NoPlace> {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW.bits().cast_signed() | unblocked();
    options
        .append(true)
        .create(true)
        .mode(NEW_MODE)
        .custom_flags(flags);
    let mut file = dir
        .open_with(Path::new(name), &options)
        .map_err(|error| place.refusal(error))?;
    place.look(&file)?;
    let metadata = file.metadata().map_err(|error| place.refusal(error))?;
    if !metadata.is_file() {
        return Err(place.unfit("is not an ordinary file"));
    }
    if metadata.nlink() > 1 {
        return Err(NoPlace::Linked(place.shown()));
    }
    finish(&mut file, bytes, durability).map_err(|error| place.refusal(error))
}

fn finish(file: &mut File, bytes: &[u8], durability: Durability) -> io::Result<()> {
    file.write_all(bytes)?;
    match durability {
        Durability::Synced => file.sync_all(),
        Durability::Unsynced => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::Root;
    use protocol::session::Access;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use tempfile::TempDir;

    fn world(access: Access) -> (TempDir, Policy) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("docs")).unwrap();
        let root = Root::open("docs", &folder.path().join("docs"), access).unwrap();
        let policy = Policy {
            roots: vec![root],
            ..Policy::nothing()
        };
        (folder, policy)
    }

    fn put(policy: &Policy, path: &str, text: &str, append: bool) -> Result<String, NoPlace> {
        let wanted = FilesWrite {
            path: path.into(),
            text: text.into(),
            append,
        };
        run(policy, &wanted)
    }

    #[test]
    fn a_file_is_made_replaced_and_added_to() {
        let (folder, policy) = world(Access::Write);
        let file = folder.path().join("docs/new/a.txt");
        assert_eq!(
            put(&policy, "new/a.txt", "one", false).unwrap(),
            "wrote docs/new/a.txt (3 B)"
        );
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(
            put(&policy, "new/a.txt", "two\n", false).unwrap(),
            "replaced docs/new/a.txt (4 B)"
        );
        assert_eq!(
            put(&policy, "new/a.txt", "three\n", true).unwrap(),
            "added to docs/new/a.txt (6 B)"
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), "two\nthree\n");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o640
        );
        assert_eq!(
            put(&policy, "b.txt", "new", true).unwrap(),
            "added to docs/b.txt (3 B)"
        );
        let left = fs::read_dir(folder.path().join("docs/new"))
            .unwrap()
            .count();
        assert_eq!(left, 1, "no half file is left");
    }

    #[test]
    fn what_may_only_be_read_is_not_written() {
        let (folder, policy) = world(Access::Read);
        assert!(matches!(
            put(&policy, "a", "x", false),
            Err(NoPlace::ReadOnly(_))
        ));
        assert!(matches!(
            put(&policy, "new/a", "x", true),
            Err(NoPlace::ReadOnly(_))
        ));
        assert_eq!(fs::read_dir(folder.path().join("docs")).unwrap().count(), 0);
    }

    #[test]
    fn a_hard_link_to_a_file_outside_is_refused_and_the_file_unchanged() {
        let (folder, policy) = world(Access::Write);
        let outside = folder.path().join("outside");
        fs::write(&outside, "mine").unwrap();
        fs::hard_link(&outside, folder.path().join("docs/a")).unwrap();
        for append in [false, true] {
            assert!(matches!(
                put(&policy, "a", "x", append),
                Err(NoPlace::Linked(_))
            ));
        }
        assert_eq!(fs::read_to_string(&outside).unwrap(), "mine");
    }

    #[test]
    fn a_link_is_neither_followed_nor_replaced() {
        let (folder, policy) = world(Access::Write);
        let outside = folder.path().join("outside");
        fs::write(&outside, "mine").unwrap();
        symlink(&outside, folder.path().join("docs/a")).unwrap();
        symlink(folder.path(), folder.path().join("docs/away")).unwrap();
        for append in [false, true] {
            assert!(put(&policy, "a", "x", append).is_err());
            assert!(put(&policy, "away/outside", "x", append).is_err());
            assert!(put(&policy, "away/new/x", "x", append).is_err());
            assert!(put(&policy, "../outside", "x", append).is_err());
            assert!(put(&policy, ".ssh/authorized_keys", "x", append).is_err());
        }
        assert_eq!(fs::read_to_string(&outside).unwrap(), "mine");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
