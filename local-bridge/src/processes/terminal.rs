//! A terminal for one command: its own, with nothing of the terminal that the bridge may have been started in.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use tokio::net::unix::pipe::{Receiver, Sender};

/// A terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    /// Where we type.
    pub(super) keys: Sender,
    /// What it shows.
    pub(super) screen: Receiver,
    /// The program's end.
    pub(super) theirs: OwnedFd,
}

impl Terminal {
    /// Makes one.
    pub(super) fn open() -> io::Result<Self> {
        let (ours, theirs) = pair()?;
        // It is no pipe, and it is read and written without waiting as one is.
        Ok(Self {
            keys: Sender::from_owned_fd_unchecked(ours.try_clone()?)?,
            screen: Receiver::from_owned_fd_unchecked(ours)?,
            theirs,
        })
    }
}

/// Where a program's input, output and complaints go in a terminal.
pub(super) fn stdio(theirs: &OwnedFd) -> io::Result<[Stdio; 3]> {
    let one = || Ok::<_, io::Error>(Stdio::from(theirs.try_clone()?));
    Ok([one()?, one()?, one()?])
}

/// Both ends; ours does not wait.
#[cfg(target_os = "linux")]
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::fs::{OFlags, fcntl_setfl};
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::{Winsize, tcsetwinsize};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let theirs = ioctl_tiocgptpeer(&ours, flags)?;
    let size = Winsize {
        ws_row: 40,
        ws_col: 120, // tables are not cut
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&ours, size)?;
    fcntl_setfl(&ours, OFlags::RDWR | OFlags::NONBLOCK)?;
    Ok((ours, theirs))
}

/// There is no way to name the other end here that nobody else could take first.
#[cfg(not(target_os = "linux"))]
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}
