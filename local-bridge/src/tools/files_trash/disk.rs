//! The trash of a disk that the home folder does not lie on: `.Trash/$uid` or `.Trash-$uid` in its topmost folder, by freedesktop.org's specification.
//!
//! Others may be able to write into that folder. So all is opened by handles, no link is followed, and what is not ours alone is not used.

use crate::places::real_path;
use cap_std::fs::Dir;
use rustix::fs::{Mode, OFlags, RawMode, fstat, mkdirat, openat};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Tells the disk that something opened lies on.
pub(super) type Disk = fn(BorrowedFd<'_>) -> io::Result<u64>;

/// A disk's own trash.
#[derive(Debug)]
pub(super) struct Bin {
    /// The trash.
    pub(super) dir: Dir,
    /// The disk's topmost folder, from which it counts its paths.
    pub(super) top: PathBuf,
}

/// The system's number of a disk.
pub(super) fn device(opened: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(File::from(opened.try_clone_to_owned()?).metadata()?.dev())
}

/// Opens the trash of the disk that a folder lies on, or makes it.
pub(super) fn bin(folder: BorrowedFd<'_>, disk: Disk) -> io::Result<Bin> {
    let top = topmost(folder, disk)?;
    let path = real_path(&top)?;
    let uid = geteuid().as_raw();
    let own = format!(".Trash-{uid}");
    let shared = shared(top.as_fd()).and_then(|shared| private(shared.as_fd(), &uid.to_string()));
    // Where the administrator has made no shared one, or one that is not safe, it is one's own.
    let dir = shared.or_else(|shared| {
        private(top.as_fd(), &own).map_err(|error| {
            let shown = path.display();
            let other = if shared.kind() == io::ErrorKind::NotFound {
                String::new()
            } else {
                format!("; {shown}/.Trash: {shared}")
            };
            io::Error::other(format!(
                "its disk takes no trash; {shown}/{own}: {error}{other}"
            ))
        })
    })?;
    if disk(dir.as_fd())? != disk(folder)? {
        let shown = path.display();
        return Err(io::Error::other(format!(
            "the trash in {shown} lies on another disk"
        )));
    }
    Ok(Bin {
        dir: Dir::from_std_file(File::from(dir)),
        top: path,
    })
}

/// Opens a folder that is its account's alone, or makes it.
pub(super) fn private(within: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    match mkdirat(within, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let folder = open(within, name)?;
    let stat = fstat(&folder)?;
    let others = Mode::WGRP | Mode::WOTH;
    if stat.st_uid != geteuid().as_raw() {
        return Err(io::Error::other("belongs to someone else"));
    }
    if Mode::from_raw_mode(stat.st_mode).intersects(others) {
        return Err(io::Error::other("can be changed by others"));
    }
    Ok(folder)
}

/// The topmost folder of the disk that a folder lies on.
fn topmost(folder: BorrowedFd<'_>, disk: Disk) -> io::Result<OwnedFd> {
    let own = disk(folder)?;
    let mut top = folder.try_clone_to_owned()?;
    loop {
        let above = open(top.as_fd(), "..")?;
        let (here, there) = (fstat(&top)?, fstat(&above)?);
        let is_root = (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino);
        if is_root || disk(above.as_fd())? != own {
            return Ok(top);
        }
        top = above;
    }
}

/// The trash that all accounts share.
fn shared(top: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let shared = open(top, ".Trash")?;
    let stat = fstat(&shared)?;
    fits_all(stat.st_uid, stat.st_mode, geteuid().as_raw())?;
    Ok(shared)
}

/// Whether a folder of this owner and mode serves as a trash for all: nobody but the administrator may replace another's folder in it.
pub(super) fn fits_all(owner: u32, mode: RawMode, us: u32) -> io::Result<()> {
    if !Mode::from_raw_mode(mode).contains(Mode::SVTX) {
        return Err(io::Error::other("has no sticky bit"));
    }
    // Against a folder's owner the sticky bit does not help.
    if owner != 0 && owner != us {
        return Err(io::Error::other("belongs to someone else"));
    }
    Ok(())
}

fn open(within: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    // A folder above may be one that can be gone through and not be read.
    #[cfg(target_os = "linux")]
    const LOOK: OFlags = OFlags::PATH;
    #[cfg(not(target_os = "linux"))]
    const LOOK: OFlags = OFlags::RDONLY;
    let flags = LOOK | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(within, name, flags, Mode::empty()) {
        Err(Errno::NOTDIR | Errno::LOOP) => Err(io::Error::other("is a link or no folder")),
        opened => Ok(opened?),
    }
}
