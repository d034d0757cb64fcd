//! A folder, a store and a trash for the tests of the tools that change files.

use crate::places::{Root, real_path};
use crate::policy::Policy;
use crate::tools::files_trash::{Layout, Trash};
use crate::tools::{Hands, change};
use crate::undo::Undo;
use protocol::call::{CallId, Outcome};
use protocol::session::Access;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A machine with one folder, `docs`. Its calls are named c1, c2, … as they are made.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) policy: Policy,
    pub(crate) undo: Undo,
    trash: Trash,
    calls: u32,
    /// Milliseconds since 1970; each call takes one.
    pub(crate) now: i64,
}

/// What lies below a folder: names, folders with a slash at the end, and what the files hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree(Vec<(String, String)>);

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Access::Write)
    }

    pub(crate) fn with(access: Access) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let docs = folder.path().join("docs");
        fs::create_dir(&docs).unwrap();
        let trash = folder.path().join("trash");
        Self {
            policy: Policy {
                roots: vec![Root::open("docs", &docs, access).unwrap()],
                ..Policy::nothing()
            },
            undo: Undo::in_memory().unwrap(),
            trash: Trash::at(trash, Layout::Freedesktop),
            folder,
            calls: 0,
            now: 1_795_305_600_000,
        }
    }

    pub(crate) fn with_trash(mut self, layout: Layout) -> Self {
        self.trash = Trash::at(self.outside("trash"), layout);
        self
    }

    /// A folder on another disk, which holds the trash and a root named `far`; nothing on a machine that has none.
    #[cfg(target_os = "linux")]
    pub(crate) fn with_another_disk(mut self) -> Option<(Self, TempDir)> {
        use std::os::unix::fs::MetadataExt;
        let disk = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
        let far = tempfile::tempdir_in("/dev/shm").ok()?;
        if disk(far.path()) == disk(self.folder.path()) {
            return None;
        }
        let root = Root::open("far", far.path(), Access::Write).unwrap();
        self.policy.roots.push(root);
        // As where one disk is there twice: only the rename tells.
        let trash = Trash::at(far.path().join("trash"), Layout::Freedesktop);
        self.trash = trash.on_disks(|_| Ok(1));
        Some((self, far))
    }

    /// Makes each folder named `stick` the topmost one of a disk.
    pub(crate) fn with_stick(mut self) -> Self {
        self.trash = self.trash.on_disks(|opened| {
            let path = real_path(opened)?;
            let mut names = path.components();
            Ok(u64::from(names.any(|name| name.as_os_str() == "stick")))
        });
        self
    }

    /// Opens the root anew, as a bridge does that starts again.
    pub(crate) fn reopen(&mut self, name: &str, access: Access) {
        self.policy.roots = vec![Root::open(name, &self.path(""), access).unwrap()];
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("docs").join(path)
    }

    pub(crate) fn outside(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Runs the next call.
    pub(crate) fn run(&mut self, tool: &str, arguments: Value) -> Outcome {
        self.calls += 1;
        self.now += 1;
        let call = CallId(format!("c{}", self.calls));
        let hands = Hands {
            policy: &self.policy,
            undo: &self.undo,
            trash: &self.trash,
            call: &call,
            now: self.now,
        };
        change(&hands, tool, arguments)
    }

    /// Runs the next call, which is done, and forgets what it tells.
    #[track_caller]
    pub(crate) fn does(&mut self, tool: &str, arguments: Value) -> String {
        let outcome = self.run(tool, arguments);
        let Outcome::Done { text, .. } = outcome else {
            panic!("{outcome:?}");
        };
        text
    }

    pub(crate) fn write(&mut self, path: &str, text: &str) -> Outcome {
        self.run("files.write", json!({"path": path, "text": text}))
    }

    pub(crate) fn undo(&mut self, call: &str) -> Outcome {
        self.run("files.undo", json!({"call": call}))
    }

    pub(crate) fn tree(&self) -> Tree {
        Tree::of(&self.path(""))
    }
}

impl Tree {
    pub(crate) fn of(folder: &Path) -> Self {
        let mut found = Vec::new();
        gather(folder, folder, &mut found);
        found.sort();
        Self(found)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<const N: usize> PartialEq<[(&str, &str); N]> for Tree {
    fn eq(&self, other: &[(&str, &str); N]) -> bool {
        let ours = self.0.iter().map(|(name, text)| (&**name, &**text));
        ours.eq(other.iter().copied())
    }
}

pub(crate) fn done(text: &str) -> Outcome {
    Outcome::done(text)
}

pub(crate) fn failed(reason: &str) -> Outcome {
    Outcome::failed(reason)
}

pub(crate) fn denied(reason: &str) -> Outcome {
    Outcome::denied(reason)
}

fn gather(base: &Path, folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(base).unwrap().display().to_string();
        let kind = fs::symlink_metadata(&path).unwrap();
        if kind.is_symlink() {
            let to = fs::read_link(&path).unwrap();
            found.push((name, format!("-> {}", to.display())));
        } else if kind.is_dir() {
            found.push((format!("{name}/"), String::new()));
            gather(base, &path, found);
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((name, String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
}
