//! Real git, in folders that a model has filled: it starts nothing that a file there names, and works as ever in a repository.

use local_bridge::calls::Order;
use local_bridge::home::Home;
use local_bridge::places::Root;
use local_bridge::policy::{Command as Rule, Policy, Sandbox, Then};
use local_bridge::processes::Processes;
use local_bridge::sandbox::Fence;
use local_bridge::tools::{self, Job, files_send::Courier};
use protocol::call::{CallId, Outcome, ToolName};
use protocol::session::Access;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

/// A folder that may be written to, and git, which may show what is in it; without a fence, so that git alone stands in the way.
struct World {
    folder: TempDir,
    git: PathBuf,
}

impl World {
    /// Nothing where there is no git.
    fn new() -> Option<Self> {
        let mut places = [
            "/usr/bin/git",
            "/usr/local/bin/git",
            "/opt/homebrew/bin/git",
        ]
        .iter();
        let Some(git) = places.find(|path| Path::new(path).exists()) else {
            println!("skipped: there is no git");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("docs")).unwrap();
        let git = Path::new(git).canonicalize().unwrap();
        Some(Self { folder, git })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn policy(&self) -> Policy {
        let rule = |subcommand: &str| Rule {
            then: Then::Allow,
            ..Rule::new(vec!["git".into(), subcommand.into()], self.git.clone())
        };
        Policy {
            roots: vec![Root::open("docs", &self.path("docs"), Access::Write).unwrap()],
            commands: ["status", "diff", "log"].map(rule).into(),
            sandbox: Sandbox::None,
            ..Policy::nothing()
        }
    }

    /// A call as it comes through the tunnel.
    async fn call(&self, tool: &str, arguments: Value) -> String {
        let (_cancel, cancelled) = watch::channel(false);
        let home = Home::open(&self.path("home")).unwrap();
        let outcome = tools::run(Job {
            order: Order {
                asked: true,
                yes: None,
                call: CallId("c1".into()),
                attempt: 1,
                tool: ToolName::new(tool),
                arguments,
            },
            policy: Arc::new(self.policy()),
            scratch: self.path("scratch"),
            processes: Arc::new(Processes::open(&home).unwrap()),
            fence: Fence::find(),
            undo: Arc::new(local_bridge::undo::Undo::in_memory().unwrap()),
            cancelled,
            courier: Courier {
                pieces: mpsc::channel(1).0,
                credit: watch::channel(0).1,
            },
        })
        .await;
        let Outcome::Done { text, .. } = outcome else {
            panic!("{tool}: {outcome:?}");
        };
        text
    }

    async fn git(&self, words: &[&str], folder: &str) -> String {
        let argv: Vec<&str> = std::iter::once("git")
            .chain(words.iter().copied())
            .collect();
        self.call("shell.run", json!({"argv": argv, "folder": folder}))
            .await
    }

    /// Git as it would be without the bridge.
    fn bare_git(&self, words: &[&str], folder: &str) -> bool {
        let mut command = Command::new(&self.git);
        let command = command.args(words).current_dir(self.path(folder));
        let command = command.env_clear().env("PATH", "/usr/bin:/bin");
        let command = command.env("HOME", self.folder.path());
        command.output().unwrap().status.success()
    }
}

#[tokio::test]
async fn a_folder_that_only_looks_like_a_repository_starts_no_program() {
    let Some(world) = World::new() else { return };
    for name in ["objects", "refs"] {
        let path = format!("docs/evil/{name}");
        world.call("files.mkdir", json!({"path": path})).await;
    }
    let ran = world.path("ran");
    let config = format!(
        "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = .\n\tfsmonitor = \"touch {}; false\"\n",
        ran.display()
    );
    for (name, text) in [("HEAD", "ref: refs/heads/main\n"), ("config", &config)] {
        let path = format!("docs/evil/{name}");
        let file = json!({"path": path, "text": text});
        world.call("files.write", file).await;
    }
    let told = world.git(&["status"], "docs/evil").await;
    assert!(!ran.exists(), "{told}");
    assert!(told.starts_with("exit code 128"), "{told}");
    world.bare_git(&["status"], "docs/evil");
    assert!(ran.exists(), "this git would not have started it anyway");
}

#[tokio::test]
async fn git_works_in_a_repository_and_leaves_its_monitor_and_pager_alone() {
    let Some(world) = World::new() else { return };
    fs::create_dir(world.path("docs/work")).unwrap();
    let ran = world.path("ran");
    let touch = format!("touch {}; false", ran.display());
    let letter = world.path("docs/work/letter");
    fs::write(&letter, "one\n").unwrap();
    for words in [
        &["init", "--quiet"][..],
        &["config", "user.name", "Anna"],
        &["config", "user.email", "anna@example.org"],
        &["add", "letter"],
        &["commit", "--quiet", "--message", "first"],
        &["config", "core.fsmonitor", &touch],
    ] {
        assert!(world.bare_git(words, "docs/work"), "{words:?}");
    }
    fs::remove_file(&ran).ok();
    fs::write(&letter, "two\n").unwrap();
    let folder = "docs/work";
    let status = world.git(&["status", "--short"], folder).await;
    assert_eq!(status, "exit code 0\nstdout:\n M letter");
    let diff = world.git(&["diff"], folder).await;
    assert!(diff.ends_with("\n-one\n+two"), "{diff}");
    let log = world.git(&["log", "--format=%s"], folder).await;
    assert_eq!(log, "exit code 0\nstdout:\nfirst");
    assert!(!ran.exists());
}
