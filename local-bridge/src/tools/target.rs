//! A file that is about to be changed: what lies there, and the one stroke in which something else takes its place.

use crate::places::{Above, NoPlace, Place, unblocked};
use crate::tools::figures::size;
use crate::undo::{Identity, MAX_CHANGE};
use cap_std::fs::{Dir, File, Metadata, MetadataExt, OpenOptions, OpenOptionsExt, Permissions};
use protocol::key::{random_text, sha256_hex};
use protocol::session::Access;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, linkat, renameat_with};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

/// What a file that was not there may be read by; the system's own mask takes away from it.
const NEW_MODE: u32 = 0o644;

/// How old a file in the making is when nobody can be making it any more.
pub(super) const STALE: Duration = Duration::from_hours(24);

/// How long [`random_text`] is.
const RANDOM: usize = 22;

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
    /// Looks at what lies at a place: an ordinary file, or nothing, where something may be made.
    pub fn open(place: &'a Place<'a>) -> Result<Self, NoPlace> {
        let above = place.above_new()?;
        let now = if above.missing.is_empty() {
            held(place, &above.dir, above.name)?
        } else {
            None
        };
        Ok(Self { place, above, now })
    }

    /// Whether other bytes may be put there: what is there, if anything is, may be changed.
    pub fn replaceable(&self) -> Result<(), NoPlace> {
        self.now
            .as_ref()
            .map_or(Ok(()), |_| self.place.changeable())
    }

    /// Puts other bytes there at one stroke. Never writes into what is there, so a link that slips in is replaced and not followed.
    /// The mode is that of what is there, else the one that is given, else the usual one.
    pub fn replace(
        self,
        bytes: &[u8],
        mode: Option<u32>,
        durability: Durability,
    ) -> Result<(), NoPlace> {
        self.replaceable()?;
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
                    None => rename_into(place, (&dir, half.as_os_str()), (&dir, name)),
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

    /// Gives a file back what it held. Where it may only be added to, that is done in the very file, by cutting off its end or writing on
    /// behind it: another program that has it open goes on in it.
    pub fn put_back(self, bytes: &[u8], mode: u32) -> Result<(), NoPlace> {
        if self.replaceable().is_ok() {
            return self.replace(bytes, Some(mode), Durability::Synced);
        }
        let now = self.now.as_ref().map_or(&[][..], |now| &now.bytes);
        if now.starts_with(bytes) {
            self.shorten(bytes.len() as u64)
        } else if let Some(rest) = bytes.strip_prefix(now) {
            self.extend(rest)
        } else {
            self.place.changeable()
        }
    }

    /// Writes bytes behind what is there, into the very file: whatever another program writes meanwhile, before or behind, stays.
    pub fn extend(&self, bytes: &[u8]) -> Result<(), NoPlace> {
        let mut options = unfollowed();
        let mut file = self.very(options.read(false).append(true))?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(|error| self.place.refusal(error))
    }

    /// Cuts off what is behind the first bytes, in the very file: whatever another program that has it open writes from then on stays.
    fn shorten(&self, length: u64) -> Result<(), NoPlace> {
        let mut options = unfollowed();
        let file = self.very(options.read(false).write(true))?;
        file.set_len(length)
            .and_then(|()| file.sync_all())
            .map_err(|error| self.place.refusal(error))
    }

    /// The very file that was looked at, opened anew and unchanged since.
    fn very(&self, options: &OpenOptions) -> Result<File, NoPlace> {
        let Self { place, above, now } = self;
        let failed = |error| place.refusal(error);
        let file = above.dir.open_with(Path::new(above.name), options);
        let file = file.map_err(failed)?;
        place.look(&file)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.nlink() > 1 {
            return Err(NoPlace::Linked(place.shown()));
        }
        let stamp = now.as_ref().map(|held| held.stamp);
        if !metadata.is_file() || stamp != Some(Stamp::of(&metadata)) {
            return Err(raced(place));
        }
        Ok(file)
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
    match rename_exclusive(from, to) {
        // Network file systems do not all know how; there a moment passes between the look and the rename.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::PERM)
            if to.0.symlink_metadata(Path::new(to.1)).is_err() =>
        {
            from.0.rename(Path::new(from.1), to.0, Path::new(to.1))
        }
        renamed => Ok(renamed?),
    }
}

/// Gives something a new name at a place. In a folder that may only be added to, it is done without a moment in which something else
/// could be replaced, or not at all.
pub fn rename_into(place: &Place<'_>, from: (&Dir, &OsStr), to: (&Dir, &OsStr)) -> io::Result<()> {
    if place.root.access >= Access::Write {
        rename_new(from, to)
    } else {
        Ok(rename_exclusive(from, to)?)
    }
}

/// Gives something another name at one stroke that fails where something has the name; a file by a second name that soon is its only
/// one, where the file system knows no such rename.
fn rename_exclusive(from: (&Dir, &OsStr), to: (&Dir, &OsStr)) -> rustix::io::Result<()> {
    match renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => link_over(from, to),
        renamed => renamed,
    }
}

fn link_over(from: (&Dir, &OsStr), to: (&Dir, &OsStr)) -> rustix::io::Result<()> {
    linkat(from.0, from.1, to.0, to.1, AtFlags::empty())?;
    rustix::fs::unlinkat(from.0, from.1, AtFlags::empty())
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
    Err(raced(place))
}

/// Why nothing is done where another program was quicker.
pub fn raced(place: &Place<'_>) -> NoPlace {
    NoPlace::Refused(format!(
        "'{}' was changed by another program at this moment; read it again and try again",
        place.shown()
    ))
}

/// A hidden name of ours for a file in the making, which nothing has yet.
pub fn half_name() -> io::Result<String> {
    let random = random_text().map_err(io::Error::other)?;
    Ok(format!(".{random}.half"))
}

/// Takes away what crashes left of files in the making, where it is this account's own and old enough that nobody makes it any more.
pub fn sweep(dir: &Dir) -> io::Result<()> {
    for entry in dir.entries()? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(is_half_name) {
            continue;
        }
        let metadata = dir.symlink_metadata(entry.file_name())?;
        let ours = metadata.is_file() && metadata.uid() == rustix::process::geteuid().as_raw();
        let age = metadata.modified()?.into_std().elapsed();
        if ours && metadata.nlink() == 1 && age.is_ok_and(|age| age > STALE) {
            dir.remove_file(entry.file_name())?;
        }
    }
    Ok(())
}

/// Whether [`half_name`] could have given a name.
fn is_half_name(name: &str) -> bool {
    let random = name
        .strip_prefix('.')
        .and_then(|name| name.strip_suffix(".half"));
    let is_random = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    random.is_some_and(|random| random.len() == RANDOM && random.chars().all(is_random))
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
    fn a_half_files_name_is_known_again() {
        let name = half_name().unwrap();
        assert!(is_half_name(&name), "{name}");
    }

    #[test]
    fn a_new_name_takes_nobodys_place() {
        type Way = fn((&Dir, &OsStr), (&Dir, &OsStr)) -> io::Result<()>;
        let ways: [Way; 3] = [
            rename_new,
            |from, to| Ok(rename_exclusive(from, to)?),
            |from, to| Ok(link_over(from, to)?),
        ];
        for way in ways {
            let world = World::new();
            world.put("a", "a");
            world.put("b", "b");
            let dir = &world.policy.roots[0].dir;
            let taken = way((dir, OsStr::new("a")), (dir, OsStr::new("b")));
            assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(world.tree(), [("a", "a"), ("b", "b")]);
            way((dir, OsStr::new("a")), (dir, OsStr::new("c"))).unwrap();
            assert_eq!(world.tree(), [("b", "b"), ("c", "a")]);
        }
    }

    #[test]
    fn what_comes_into_being_at_the_last_moment_is_not_replaced_where_things_are_only_added() {
        let world = World::with(Access::Append);
        let place = find(&world.policy.roots, "a").unwrap();
        let late = Target::open(&place).unwrap();
        assert!(late.now.is_none());
        world.put("a", "theirs");
        assert!(late.replace(b"ours", None, Durability::Synced).is_err());
        let there = Target::open(&place).unwrap();
        let refused = there.replace(b"ours", None, Durability::Synced);
        assert!(matches!(refused, Err(NoPlace::AddOnly(_))), "{refused:?}");
        assert_eq!(world.tree(), [("a", "theirs")]);
    }

    #[test]
    fn what_is_added_lands_behind_what_is_there_and_in_no_other_file() {
        let world = World::with(Access::Append);
        world.put("a", "one\n");
        let place = find(&world.policy.roots, "a").unwrap();
        let target = Target::open(&place).unwrap();
        target.extend(b"two\n").unwrap();
        let target = Target::open(&place).unwrap();
        fs::rename(world.path("a"), world.path("b")).unwrap();
        world.put("a", "theirs\n");
        assert!(target.extend(b"three\n").is_err());
        let target = Target::open(&place).unwrap();
        fs::remove_file(world.path("a")).unwrap();
        fs::hard_link(world.path("b"), world.path("a")).unwrap();
        assert!(matches!(target.extend(b"x"), Err(NoPlace::Linked(_))));
        assert_eq!(world.tree(), [("a", "one\ntwo\n"), ("b", "one\ntwo\n")]);
    }
}
