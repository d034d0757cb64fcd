//! How much of the machine one command may use, whatever it is let to reach.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;

/// Open files; programs of a few files at a time need fewer than 50.
const OPEN_FILES: u64 = 256;

/// The largest file that can be written: what `files.send` carries, and some.
const FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Address space. On macOS the system does not keep to it.
#[cfg(target_os = "linux")]
const MEMORY_BYTES: u64 = 1024 * 1024 * 1024;

/// How many processes and threads a command can add to those that its owner's account has.
#[cfg(target_os = "linux")]
const MORE_PROCESSES: u64 = 128;

/// Limits this process and all that it starts, for good; each to this much of the processor's time.
pub(super) fn set(seconds: u64) -> io::Result<()> {
    limit(Resource::Core, 0)?;
    limit(Resource::Cpu, seconds)?;
    limit(Resource::Nofile, OPEN_FILES)?;
    limit(Resource::Fsize, FILE_BYTES)?;
    #[cfg(target_os = "linux")]
    {
        limit(Resource::Nproc, running()? + MORE_PROCESSES)?;
        limit(Resource::As, MEMORY_BYTES)?;
    }
    Ok(())
}

/// Lets this process leave no picture of its memory behind, however it ends.
#[cfg(target_os = "linux")]
pub(super) fn no_core() -> io::Result<()> {
    limit(Resource::Core, 0)
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let most = getrlimit(resource)
        .maximum
        .map_or(most, |allowed| allowed.min(most));
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    Ok(setrlimit(resource, limit)?)
}

/// The threads of this account: the system counts them all against the limit, whoever started them.
#[cfg(target_os = "linux")]
fn running() -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let own = rustix::process::getuid().as_raw();
    let mut threads = 0;
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let numbered = entry.file_name().as_encoded_bytes()[0].is_ascii_digit();
        // A process may end while it is counted.
        if numbered && entry.metadata().is_ok_and(|found| found.uid() == own) {
            let tasks = std::fs::read_dir(entry.path().join("task"));
            threads += tasks.map_or(0, |tasks| tasks.count() as u64);
        }
    }
    Ok(threads)
}
