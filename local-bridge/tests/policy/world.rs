//! A home, a folder, and programs that are only names.

use local_bridge::home::Home;
use local_bridge::policy::{Policy, Programs, Unfit, Verdict};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;

pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) home: Home,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["docs", "bin"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let home = Home::open(&folder.path().join("home")).unwrap();
        Self { folder, home }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder
            .path()
            .canonicalize()
            .unwrap()
            .join(name)
            .display()
            .to_string()
    }

    pub(crate) fn write(&self, text: &str) {
        self.home.write("policy.toml", text).unwrap();
    }

    pub(crate) fn root(path: &str) -> String {
        format!("[[root]]\nname = \"docs\"\npath = \"{path}\"\naccess = \"write\"\n")
    }

    /// Puts a program of this name into the folder of programs.
    pub(crate) fn program(&self, name: &str, bytes: &str) -> PathBuf {
        let path = self
            .folder
            .path()
            .canonicalize()
            .unwrap()
            .join("bin")
            .join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Reads a text whose programs are those of this world.
    pub(crate) fn parse(&self, text: &str) -> Result<Policy, Unfit> {
        let programs = Programs::in_folders(vec![self.folder.path().join("bin")]);
        Policy::parse_with(text, self.home.path(), &programs)
    }

    pub(crate) fn policy(&self, text: &str) -> Policy {
        self.parse(text)
            .unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    pub(crate) fn refusal(&self, text: &str) -> String {
        let read = self.parse(text);
        read.expect_err("the policy was accepted").to_string()
    }
}

pub(crate) fn words(argv: &[&str]) -> Vec<String> {
    argv.iter().map(|word| (*word).to_owned()).collect()
}

/// The verdict in a word, with the line that decided.
pub(crate) fn short(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allow { by } => format!("allow {}", by.line),
        Verdict::Ask { by, .. } => format!("ask {}", by.line),
        Verdict::Deny { by: Some(by), .. } => format!("deny {}", by.line),
        Verdict::Deny { by: None, .. } => "deny".to_owned(),
    }
}
