//! The whole of what commands wrote: files that can be read, as `@output/NAME`, and changed by nobody. They go by themselves.

use crate::places::Root;
use crate::policy::Policy;
use protocol::key::random_text;
use protocol::session::Access;
use std::cmp::Reverse;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The folder's name in the paths of tools; no folder of a policy can have it.
pub const ROOT: &str = "@output";

/// How long what nobody reads any more is kept.
const KEPT: Duration = Duration::from_hours(7 * 24);

/// How much is kept of it all, in bytes.
const MOST: u64 = 200 * 1024 * 1024;

/// The folder.
#[derive(Debug)]
pub struct Outputs {
    path: PathBuf,
    law: Arc<Policy>,
}

/// A file that is being written.
#[derive(Debug)]
pub struct Output {
    /// Its name as tools know it.
    pub name: String,
    /// The file.
    pub file: File,
    path: PathBuf,
}

impl Outputs {
    /// Opens the folder, making it for its owner alone, and clears away what is old.
    pub fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let law = Policy {
            roots: vec![Root::open(ROOT, path, Access::Read)?],
            ..Policy::nothing()
        };
        let outputs = Self {
            path: path.to_owned(),
            law: Arc::new(law),
        };
        outputs.prune(SystemTime::now(), MOST);
        Ok(outputs)
    }

    /// The law under which the folder is looked at: it opens nothing else.
    pub fn law(&self) -> Arc<Policy> {
        Arc::clone(&self.law)
    }

    /// Whether a tool's path leads here.
    pub fn has(path: &str) -> bool {
        let path = path.trim_start_matches("./");
        path.strip_prefix(ROOT)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// A new file; of a name that cannot be one's, or that is taken, another is made.
    pub fn file(&self, name: &str) -> io::Result<Output> {
        self.prune(SystemTime::now(), MOST);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !name.is_empty() && name.len() <= 64 && name.chars().all(plain) {
            match self.make(name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made,
            }
        }
        self.make(&random_text().map_err(io::Error::other)?)
    }

    fn make(&self, name: &str) -> io::Result<Output> {
        let name = format!("{name}.txt");
        let path = self.path.join(&name);
        let mut options = OpenOptions::new();
        options.read(true).append(true).create_new(true).mode(0o600);
        Ok(Output {
            file: options.open(&path)?,
            name: format!("{ROOT}/{name}"),
            path,
        })
    }

    /// The number after the highest that a file `p1.txt`, `p2.txt`, … has: no program gets the name of one that is remembered.
    pub fn next_number(&self) -> u64 {
        let names = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let numbers = names.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let number = name.strip_prefix('p')?.strip_suffix(".txt")?;
            number.parse::<u64>().ok()
        });
        numbers.max().unwrap_or(0) + 1
    }

    /// Takes away what is old, and of the rest the oldest until the others fit.
    fn prune(&self, now: SystemTime, most: u64) {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                Some((metadata.modified().ok()?, metadata.len(), entry.path()))
            })
            .collect();
        files.sort_by_key(|(changed, ..)| Reverse(*changed));
        let mut sum = 0;
        for (changed, length, path) in files {
            sum += length;
            let is_old = now.duration_since(changed).is_ok_and(|age| age > KEPT);
            if is_old || sum > most {
                fs::remove_file(path).ok(); // it is tried again with the next file
            }
        }
    }
}

impl Output {
    /// Takes the file away: somebody has been told all that is in it.
    pub fn forget(&self) {
        fs::remove_file(&self.path).ok(); // what stays is pruned in time
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::files_read;
    use protocol::tools::FilesRead;
    use std::io::Write;

    fn names(outputs: &Outputs) -> Vec<String> {
        let entries = fs::read_dir(&outputs.path).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_read_by_its_name_and_no_way_leads_out() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("key"), "canary").unwrap();
        let outputs = Outputs::open(&folder.path().join("output")).unwrap();
        let mut output = outputs.file("c1").unwrap();
        output.file.write_all(b"one\ntwo\n").unwrap();
        let read = |path: &str| {
            let path = path.to_owned();
            let wanted = FilesRead {
                path,
                from_line: None,
                lines: None,
            };
            files_read::run(&outputs.law(), &wanted).map_err(|no| no.to_string())
        };
        assert_eq!(output.name, "@output/c1.txt");
        assert_eq!(read(&output.name).unwrap(), "one\ntwo");
        let out = "'@output/../key' leads out of the folders that this machine opens";
        assert_eq!(read("@output/../key").unwrap_err(), out);
    }

    #[test]
    fn only_its_own_name_leads_here() {
        for path in ["@output", "@output/c1.txt", "./@output/c1.txt"] {
            assert!(Outputs::has(path), "{path}");
        }
        for path in ["", "docs/@output", "@outputs/x", "/@output"] {
            assert!(!Outputs::has(path), "{path}");
        }
    }

    #[test]
    fn a_name_that_is_none_or_is_taken_gets_another() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::open(folder.path()).unwrap();
        for name in ["../c1", "", "c1", "c1"] {
            let output = outputs.file(name).unwrap();
            assert_eq!(output.path.parent(), Some(folder.path()), "{name}");
        }
        assert_eq!(names(&outputs).len(), 4);
    }

    #[test]
    fn numbers_go_on_where_an_earlier_bridge_ended() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::open(folder.path()).unwrap();
        assert_eq!(outputs.next_number(), 1);
        for name in ["p1", "p12", "c99"] {
            outputs.file(name).unwrap();
        }
        assert_eq!(outputs.next_number(), 13);
    }

    #[test]
    fn what_is_old_or_too_much_goes() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::open(folder.path()).unwrap();
        let now = SystemTime::now();
        for (name, days) in [("old", 8), ("week", 6), ("day", 1)] {
            let mut output = outputs.file(name).unwrap();
            output.file.write_all(&[b'x'; 100]).unwrap();
            let changed = now - Duration::from_hours(24 * days);
            output.file.set_modified(changed).unwrap();
        }
        outputs.prune(now, 1000);
        assert_eq!(names(&outputs), ["day.txt", "week.txt"]);
        outputs.prune(now, 150);
        assert_eq!(names(&outputs), ["day.txt"]);
    }
}
