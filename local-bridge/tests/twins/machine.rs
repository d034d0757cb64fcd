//! A machine with one open folder, and what lies beside it.

use local_bridge::places::Root;
use local_bridge::policy::Policy;
use local_bridge::tools::files_trash::{Layout, Trash};
use local_bridge::tools::{Hands, change};
use local_bridge::undo::Undo;
use protocol::call::{CallId, Outcome};
use protocol::session::Access;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The moment of every test that asks for one, in milliseconds since 1970.
pub(crate) const NOW: i64 = 1_790_000_000_000;

pub(crate) struct Machine {
    folder: TempDir,
    pub(crate) policy: Policy,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("docs")).unwrap();
        let policy = opened(&folder.path().join("docs"));
        Self { folder, policy }
    }

    /// A path beside the open folder.
    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    /// A path in the open folder.
    pub(crate) fn docs(&self, name: &str) -> PathBuf {
        self.outside("docs").join(name)
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.docs(name)).ok()
    }

    /// Runs a tool that changes files, as a call that was let through.
    pub(crate) fn run(&self, call: &str, tool: &str, arguments: Value) -> Outcome {
        let hands = Hands {
            policy: &self.policy,
            // A fresh one each time: that it takes one change a call is a control of its own, which no test here may lean on.
            undo: &Undo::in_memory().unwrap(),
            trash: &Trash::at(self.outside("trash"), Layout::Freedesktop),
            call: &CallId(call.into()),
            now: NOW,
        };
        change(&hands, tool, arguments)
    }
}

/// A policy that opens one folder, and was not read from any file.
pub(crate) fn opened(docs: &Path) -> Policy {
    Policy {
        roots: vec![Root::open("docs", docs, Access::Write).unwrap()],
        ..Policy::nothing()
    }
}
