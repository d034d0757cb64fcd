//! What a process holds and uses, where the system tells (`/proc`).

use std::fs;
use std::iter::successors;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A process that is looked at.
#[derive(Debug, Clone)]
pub(super) struct Looked {
    folder: PathBuf,
}

impl Looked {
    /// The process of this number.
    pub(super) fn at(id: u32) -> Self {
        Self {
            folder: Path::new("/proc").join(id.to_string()),
        }
    }

    /// The process of this name among the descendants of another that was started last.
    pub(super) fn below(ancestor: u32, name: &str) -> Option<Self> {
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let ids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
        let named = ids.filter(|id| stat(*id).is_some_and(|(own, _)| own == name));
        let descends = |id: &u32| {
            let parents = successors(Some(*id), |id| stat(*id).map(|(_, parent)| parent));
            parents.skip(1).any(|parent| parent == ancestor)
        };
        named
            .filter(descends)
            .max_by_key(|id| started(*id))
            .map(Self::at)
    }

    /// What it holds in memory, in megabytes of a million bytes.
    pub(super) fn resident_mb(&self) -> Option<f64> {
        self.status("VmRSS:")
    }

    /// Of these, what no file can give back.
    pub(super) fn own_mb(&self) -> Option<f64> {
        self.status("RssAnon:")
    }

    fn status(&self, field: &str) -> Option<f64> {
        let status = fs::read_to_string(self.folder.join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kibibytes * 1024.0 / 1e6)
    }

    /// How long its threads have run on a core.
    pub(super) fn on_core(&self) -> Option<Duration> {
        let threads = fs::read_dir(self.folder.join("task")).ok()?.flatten();
        let nanos = threads.filter_map(|thread| {
            let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            stat.split_whitespace().next()?.parse::<u64>().ok()
        });
        Some(Duration::from_nanos(nanos.sum()))
    }
}

/// When a process was started, in ticks since the system was.
fn started(id: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let started = after.split_whitespace().nth(19);
    started.and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

/// A process's name and its parent: `1234 (name) state parent …`.
fn stat(id: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (front, back) = stat.rsplit_once(')')?;
    let (_, name) = front.split_once('(')?;
    let parent = back.split_whitespace().nth(1)?.parse().ok()?;
    Some((name.to_owned(), parent))
}
