//! A file that is about to be changed: what lies there, and the one stroke in which something else takes its place.

use crate::places::{Above, NoPlace, Place, unblocked};
use crate::tools::figures::size;
use crate::undo::{Identity, MAX_CHANGE};
use cap_std::fs::{Dir, File, Metadata, MetadataExt, OpenOptions, OpenOptionsExt, Permissions};
use protocol::key::{random_text, sha256_hex};
use rustix::fs::{Mode, OFlags, RenameFlags, renameat_with};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
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

/// A place that a file lies at or shall lie at.
#[derive(Debug)]
pub struct Target<'a> {
    /// The place.
    pub place: &'a Place<'a>,
    /// The way there.
    pub above: Above<'a>,
    /// What lies there.
    pub now: Option<Held>,
}

/// A file's contents, held in memory.
#[derive(Debug)]
pub struct Held {
    /// The bytes, at most [`MAX_CHANGE`] of them.
    pub bytes: Vec<u8>,
    /// Its mode bits.
    pub mode: u32,
    stamp: Stamp,
}

/// Tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    ino: u64,
    len: u64,
    changed: (i64, i64),
}

impl<'a> Target<'a> {
    /// Looks at what lies at a place: an ordinary file that may be changed, or nothing.
    pub fn open(place: &'a Place<'a>) -> Result<Self, NoPlace> {
        let above = place.above()?;
        let now = if above.missing.is_empty() {
            held(place, &above.dir, above.name)?
        } else {
            None
        };
        Ok(Self { place, above, now })
    }

    /// Puts other bytes there at one stroke. Never writes into what is there, so a link that slips in is replaced and not followed.
    /// The mode is that of what is there, else the one that is given, else the usual one.
    pub fn replace(
        self,
        bytes: &[u8],
        mode: Option<u32>,
        durability: Durability,
    ) -> Result<(), NoPlace> {
        let Self { place, above, now } = self;
        let (dir, name) = place.make(above)?;
        let half = half_name().map_err(|error| place.refusal(error))?;
        let mode = now.as_ref().map(|now| now.mode).or(mode);
        let filled = fill(&dir, &half, bytes, mode, durability);
        let placed = filled
            .map_err(|error| place.refusal(error))
            .and_then(|()| unchanged(place, &dir, name, now.as_ref()))
            .and_then(|()| {
                let half = Path::new(&half);
                let placed = match now {
                    Some(_) => dir.rename(half, &dir, Path::new(name)),
                    None => rename_new((&dir, half.as_os_str()), (&dir, name)),
                };
                placed.map_err(|error| place.refusal(error))
            });
        if placed.is_err() {
            // The first error is the one to tell; a leftover is hidden and harmless.
            dir.remove_file(&half).ok();
        }
        placed?;
        if durability == Durability::Synced {
            sync(&dir).map_err(|error| place.refusal(error))?;
        }
        Ok(())
    }

    /// Makes sure that what lies there is still what was looked at.
    pub fn check(&self) -> Result<(), NoPlace> {
        if !self.above.missing.is_empty() {
            return Ok(());
        }
        unchanged(
            self.place,
            &self.above.dir,
            self.above.name,
            self.now.as_ref(),
        )
    }

    /// Takes the file away. For what is kept in the undo store alone.
    pub fn remove(self) -> Result<(), NoPlace> {
        let Self { place, above, now } = self;
        if now.is_none() {
            return Ok(());
        }
        unchanged(place, &above.dir, above.name, now.as_ref())?;
        above
            .dir
            .remove_file(Path::new(above.name))
            .and_then(|()| sync(&above.dir))
            .map_err(|error| place.refusal(error))
    }
}

/// What a name in a folder is, if it is there: a file or a folder, and no link or device.
pub fn look_at(place: &Place<'_>, dir: &Dir, name: &OsStr) -> Result<Option<Metadata>, NoPlace> {
    let metadata = match dir.symlink_metadata(Path::new(name)) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(place.refusal(error)),
    };
    if metadata.is_symlink() {
        return Err(place.unfit("is a link; name the file that it leads to"));
    }
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(place.unfit("is not an ordinary file"));
    }
    Ok(Some(metadata))
}

/// By what the file or folder at the end of a way is known again; nothing where there is none.
pub fn identity(place: &Place<'_>, above: &Above<'_>) -> Result<Option<Identity>, NoPlace> {
    if !above.missing.is_empty() {
        return Ok(None);
    }
    let Some(metadata) = look_at(place, &above.dir, above.name)? else {
        return Ok(None);
    };
    let known = known(&above.dir, above.name, &metadata);
    known.map(Some).map_err(|error| place.refusal(error))
}

/// By what the file or folder of a name is known again.
pub fn known(dir: &Dir, name: &OsStr, metadata: &Metadata) -> io::Result<Identity> {
    let mut identity = Identity {
        folder: metadata.is_dir(),
        dev: metadata.dev(),
        ino: metadata.ino(),
        sha256: None,
        written: None,
    };
    if metadata.is_file() && metadata.len() <= MAX_CHANGE {
        let mut bytes = Vec::new();
        let file = dir.open_with(Path::new(name), &unfollowed())?;
        file.take(MAX_CHANGE).read_to_end(&mut bytes)?;
        identity.sha256 = Some(sha256_hex(&bytes));
    } else if metadata.is_file() {
        identity.written = Some((metadata.len(), metadata.mtime(), metadata.mtime_nsec()));
    }
    Ok(identity)
}

/// Gives something another name, where nothing may have that name yet.
pub fn rename_new(from: (&Dir, &OsStr), to: (&Dir, &OsStr)) -> io::Result<()> {
    match renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Network file systems do not all know how; there a moment passes between the look and the rename.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP)
            if to.0.symlink_metadata(Path::new(to.1)).is_err() =>
        {
            from.0.rename(Path::new(from.1), to.0, Path::new(to.1))
        }
        Err(error) => Err(error.into()),
    }
}

/// Waits until a folder's names are on the disk.
pub fn sync(dir: &Dir) -> io::Result<()> {
    // The handle serves for finding names only; the folder must be opened again to be synced.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::fsync(rustix::fs::openat(dir, ".", flags, Mode::empty())?)?;
    Ok(())
}

fn held(place: &Place<'_>, dir: &Dir, name: &OsStr) -> Result<Option<Held>, NoPlace> {
    let Some(metadata) = look_at(place, dir, name)? else {
        return Ok(None);
    };
    if metadata.is_dir() {
        return Err(place.unfit("is a folder"));
    }
    let file = open(place, dir, name)?;
    let metadata = file.metadata().map_err(|error| place.refusal(error))?;
    if !metadata.is_file() {
        return Err(place.unfit("is not an ordinary file"));
    }
    if metadata.nlink() > 1 {
        return Err(NoPlace::Linked(place.shown()));
    }
    let bytes = read(place, file, metadata.len())?;
    Ok(Some(Held {
        bytes,
        mode: metadata.mode() & 0o7777,
        stamp: Stamp::of(&metadata),
    }))
}

fn open(place: &Place<'_>, dir: &Dir, name: &OsStr) -> Result<File, NoPlace> {
    let file = dir
        .open_with(Path::new(name), &unfollowed())
        .map_err(|error| place.refusal(error))?;
    place.look(&file)?;
    Ok(file)
}

fn unfollowed() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW.bits().cast_signed() | unblocked();
    options.read(true).custom_flags(flags);
    options
}

/// A file's bytes, if they are no more than can be kept for undoing.
pub fn read(place: &Place<'_>, file: File, length: u64) -> Result<Vec<u8>, NoPlace> {
    let mut bytes = Vec::new();
    if length <= MAX_CHANGE {
        file.take(MAX_CHANGE + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| place.refusal(error))?;
    }
    if length.max(bytes.len() as u64) > MAX_CHANGE {
        return Err(NoPlace::Refused(format!(
            "'{}' has {}; up to {} can be changed or copied, so that it can be undone",
            place.shown(),
            size(length),
            size(MAX_CHANGE)
        )));
    }
    Ok(bytes)
}

/// Another program may have written between our look and now; what it wrote is not ours to throw away.
fn unchanged(
    place: &Place<'_>,
    dir: &Dir,
    name: &OsStr,
    before: Option<&Held>,
) -> Result<(), NoPlace> {
    let now = look_at(place, dir, name)?;
    if now.as_ref().map(Stamp::of) == before.map(|held| held.stamp) {
        return Ok(());
    }
    Err(NoPlace::Refused(format!(
        "'{}' was changed by another program at this moment; read it again and try again",
        place.shown()
    )))
}

fn half_name() -> io::Result<String> {
    let random = random_text().map_err(io::Error::other)?;
    Ok(format!(".{random}.half"))
}

fn fill(
    dir: &Dir,
    half: &str,
    bytes: &[u8],
    mode: Option<u32>,
    durability: Durability,
) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(NEW_MODE);
    let mut file = dir.open_with(half, &options)?;
    if let Some(mode) = mode {
        // Before the bytes, so that nobody reads who could not read the file before.
        let permissions = std::fs::Permissions::from_mode(mode);
        file.set_permissions(Permissions::from_std(permissions))?;
    }
    file.write_all(bytes)?;
    match durability {
        Durability::Synced => file.sync_all(),
        Durability::Unsynced => Ok(()),
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            ino: metadata.ino(),
            len: metadata.len(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::find;
    use crate::tools::world::World;
    use std::fs;

    type Step = fn(Target<'_>) -> Result<(), NoPlace>;

    #[test]
    fn what_another_program_wrote_since_the_look_is_not_replaced_or_taken_away() {
        let world = World::new();
        let place = find(&world.policy.roots, "a").unwrap();
        let put: Step = |target| target.replace(b"ours", None, Durability::Synced);
        let remove: Step = |target| target.remove();
        for (before, step) in [(None, put), (Some("one"), put), (Some("one"), remove)] {
            fs::remove_file(world.path("a")).ok();
            if let Some(text) = before {
                world.put("a", text);
            }
            let target = Target::open(&place).unwrap();
            world.put("a", "theirs");
            assert_eq!(
                step(target).unwrap_err().to_string(),
                "'docs/a' was changed by another program at this moment; read it again and try again"
            );
            assert_eq!(world.tree(), [("a", "theirs")]);
        }
    }

    #[test]
    fn a_new_name_takes_nobodys_place() {
        let world = World::new();
        world.put("a", "a");
        world.put("b", "b");
        let dir = &world.policy.roots[0].dir;
        let taken = rename_new((dir, OsStr::new("a")), (dir, OsStr::new("b")));
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(world.tree(), [("a", "a"), ("b", "b")]);
        rename_new((dir, OsStr::new("a")), (dir, OsStr::new("c"))).unwrap();
        assert_eq!(world.tree(), [("b", "b"), ("c", "a")]);
    }
}
