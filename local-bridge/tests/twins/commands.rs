//! What a command would like to do, behind the fence and without it.

use local_bridge::calls::Order;
use local_bridge::home::Home;
use local_bridge::places::Root;
use local_bridge::policy::{Command as Rule, Policy, Sandbox};
use local_bridge::processes::Processes;
use local_bridge::sandbox::{Fence, Wanted};
use local_bridge::tools::{self, Job, files_send::Courier};
use local_bridge::undo::Undo;
use protocol::call::{CallId, Outcome, ToolName};
use protocol::session::Access;
use serde_json::json;
use std::fs;
use std::io::{Read, copy, sink};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

/// In the environment of this very program, as a key would be in the bridge's.
const CANARY: &str = "CARGO_MANIFEST_DIR";

struct World {
    folder: TempDir,
    fence: Fence,
}

impl World {
    /// Nothing where the kernel cannot fence anything in.
    fn new() -> Option<Self> {
        let fence = Fence::kept_by(Path::new(env!("CARGO_BIN_EXE_local-bridge")));
        if let Fence::Missing(why) = &fence {
            assert!(why.starts_with("this kernel has no Landlock"), "{why}");
            println!("skipped: this kernel has no Landlock");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        for name in ["docs", "scratch"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Some(Self { folder, fence })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn root(&self) -> Root {
        Root::open("docs", &self.path("docs"), Access::Write).unwrap()
    }

    /// How a script ends: its exit code, and what it says.
    fn script(&self, sandbox: Sandbox, script: &str) -> (Option<i32>, String) {
        let rule = Rule::new(vec!["bash".into()], "/bin/bash".into());
        let wanted = Wanted {
            rule: &rule,
            root: &self.root(),
            scratch: &self.path("scratch"),
            limit: Duration::from_mins(1),
            terminal: false,
        };
        let mut start = self.fence.command(sandbox, wanted).unwrap();
        let command = start.command.current_dir(self.path("docs"));
        let command = command.stdin(Stdio::null()).args(["-c", script]);
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), told)
    }

    fn policy(&self, rule: Rule, sandbox: Sandbox) -> Policy {
        Policy {
            roots: vec![self.root()],
            commands: vec![rule],
            sandbox,
            ..Policy::nothing()
        }
    }

    /// A call as it comes through the tunnel; `asked` is the Worker's word for it that the person has said yes.
    async fn call(&self, policy: Policy, fence: Fence, argv: &[&str], asked: bool) -> Outcome {
        let (_cancel, cancelled) = watch::channel(false);
        let home = Home::open(&self.path("home")).unwrap();
        tools::run(Job {
            order: Order {
                asked,
                yes: None,
                call: CallId("c1".into()),
                attempt: 1,
                tool: ToolName::new("shell.run"),
                arguments: json!({"argv": argv, "folder": "docs"}),
            },
            policy: Arc::new(policy),
            scratch: self.path("scratch"),
            processes: Arc::new(Processes::open(&home).unwrap()),
            fence,
            undo: Arc::new(Undo::in_memory().unwrap()),
            cancelled,
            courier: Courier {
                pieces: mpsc::channel(1).0,
                credit: watch::channel(0).1,
            },
        })
        .await
    }
}

fn rule(word: &str, program: &Path) -> Rule {
    Rule::new(vec![word.into()], program.to_owned())
}

#[test]
fn a_file_too_large_for_the_disk_succeeds_only_without_the_limits() {
    let Some(world) = World::new() else { return };
    let attack = "truncate -s 1G large"; // of holes
    let (code, _) = world.script(Sandbox::Required, attack);
    assert_ne!(code, Some(0));
    assert_eq!(fs::metadata(world.path("docs/large")).unwrap().len(), 0);
    let (code, _) = world.script(Sandbox::None, attack);
    assert_eq!(code, Some(0));
    assert_eq!(
        fs::metadata(world.path("docs/large")).unwrap().len(),
        1 << 30
    );
}

#[test]
fn a_thousand_open_files_succeed_only_without_the_limits() {
    let Some(world) = World::new() else { return };
    let attack = "i=10; while [ $i -lt 300 ]; do eval \"exec $i</dev/null\" || exit 1; i=$((i+1)); done; echo all";
    let (_, fenced) = world.script(Sandbox::Required, attack);
    assert_eq!(fenced, "");
    let (_, free) = world.script(Sandbox::None, attack);
    assert_eq!(free, "all\n");
}

#[test]
fn a_bomb_of_processes_succeeds_only_without_the_limits() {
    let Some(world) = World::new() else { return };
    // What the system lets it begin. No bomb is thrown: it would hit all who work on this machine, and the system keeps to the number
    // for every account but the administrator's.
    let most = |sandbox| {
        let (_, told) = world.script(sandbox, "ulimit -Hu");
        told.trim().parse().unwrap_or(u64::MAX) // there may be no limit
    };
    let (fenced, free) = (most(Sandbox::Required), most(Sandbox::None));
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let threads = processes.filter_map(|process| fs::read_dir(process.path().join("task")).ok());
    let threads = threads.map(|threads| threads.count() as u64).sum::<u64>();
    // Others come and go while they are counted.
    assert!(fenced < 2 * threads + 500, "{fenced}");
    assert!(free > fenced, "{free}");
}

#[test]
fn another_programs_environment_succeeds_only_without_the_fence() {
    let Some(world) = World::new() else { return };
    // Whoever may trace a program may read this of it, and nobody else.
    let attack = format!("tr '\\0' '\\n' < /proc/{}/environ", std::process::id());
    let (_, fenced) = world.script(Sandbox::Required, &attack);
    assert!(!fenced.contains(CANARY), "{fenced}");
    let (_, free) = world.script(Sandbox::None, &attack);
    assert!(free.contains(CANARY), "{free}");
}

#[test]
fn another_programs_memory_succeeds_only_without_the_fence() {
    let Some(world) = World::new() else { return };
    let mut victim = Command::new("sleep").arg("60").spawn().unwrap();
    let attack = format!("exec 3< /proc/{}/mem && echo opened", victim.id());
    let (_, fenced) = world.script(Sandbox::Required, &attack);
    let (_, free) = world.script(Sandbox::None, &attack);
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert_eq!(fenced, "");
    if free.is_empty() {
        println!("skipped: this system lets nobody trace what is not their own child");
        return;
    }
    assert_eq!(free, "opened\n");
}

#[tokio::test]
async fn the_bridges_own_environment_succeeds_only_without_the_one_from_nothing() {
    let Some(world) = World::new() else { return };
    let program = Path::new("/usr/bin/env");
    for sandbox in [Sandbox::Required, Sandbox::None] {
        let policy = world.policy(rule("env", program), sandbox);
        let outcome = world
            .call(policy, world.fence.clone(), &["env"], true)
            .await;
        let Outcome::Done { text, .. } = outcome else {
            panic!("{outcome:?}");
        };
        assert!(text.contains("HOME=") && !text.contains(CANARY), "{text}");
    }
    let inherited = Command::new(program).output().unwrap();
    assert!(String::from_utf8_lossy(&inherited.stdout).contains(CANARY));
}

#[tokio::test]
async fn a_command_behind_no_fence_succeeds_only_where_the_policy_says_none() {
    let Some(world) = World::new() else { return };
    let missing = || Fence::Missing("this kernel is too old".to_owned());
    for (sandbox, runs) in [(Sandbox::Required, false), (Sandbox::None, true)] {
        let policy = world.policy(rule("touch", Path::new("/bin/touch")), sandbox);
        let outcome = world.call(policy, missing(), &["touch", "ran"], true).await;
        assert_eq!(world.path("docs/ran").exists(), runs, "{outcome:?}");
    }
}

#[tokio::test]
async fn a_command_that_nobody_was_asked_about_succeeds_only_without_the_question() {
    let Some(world) = World::new() else { return };
    for (asked, runs) in [(false, false), (true, true)] {
        let policy = world.policy(rule("touch", Path::new("/bin/touch")), Sandbox::Required);
        let call = world.call(policy, world.fence.clone(), &["touch", "ran"], asked);
        let outcome = call.await;
        assert_eq!(world.path("docs/ran").exists(), runs, "{outcome:?}");
    }
}

#[tokio::test]
async fn a_flood_of_output_succeeds_only_without_the_bound() {
    let Some(world) = World::new() else { return };
    let policy = world.policy(rule("yes", Path::new("/usr/bin/yes")), Sandbox::Required);
    let outcome = world
        .call(policy, world.fence.clone(), &["yes"], true)
        .await;
    let Outcome::Failed { reason } = outcome else {
        panic!("{outcome:?}");
    };
    assert!(reason.starts_with("stopped: it wrote more than 16 MB"));
    assert!(reason.len() <= 65 * 1024, "{}", reason.len());
    // Whoever only reads what comes has no end of it.
    let mut free = Command::new("yes").stdout(Stdio::piped()).spawn().unwrap();
    let pipe = free.stdout.take().unwrap();
    let read = copy(&mut pipe.take(64 << 20), &mut sink()).unwrap();
    free.kill().unwrap();
    free.wait().unwrap();
    assert_eq!(read, 64 << 20);
}

#[tokio::test]
async fn a_swapped_program_succeeds_only_without_the_pin() {
    use local_bridge::policy::{Law, Programs};
    let Some(world) = World::new() else { return };
    let home = Home::open(&world.path("home")).unwrap();
    fs::create_dir(world.path("bin")).unwrap();
    let tool = world.path("bin/tool");
    let write = |words: &str| {
        fs::write(&tool, format!("#!/bin/bash\necho {words} > said\n")).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    };
    write("good");
    let docs = world.path("docs").display().to_string();
    let path = tool.display().to_string();
    let text = format!(
        "sandbox = \"none\"\n[[root]]\nname = \"docs\"\npath = {docs:?}\naccess = \"write\"\n\
         [[command]]\nrun = [{path:?}]\nthen = \"allow\"\n"
    );
    home.write("policy.toml", &text).unwrap();
    let pinned = Law::open(&home).unwrap().current();
    write("evil");
    // Read anew, by a bridge that remembers no program: it takes what it finds.
    let unpinned = Policy::parse_with(&text, home.path(), &Programs::default()).unwrap();
    let said = || fs::read_to_string(world.path("docs/said")).unwrap_or_default();
    let pinned = Arc::into_inner(pinned).unwrap();
    let outcome = world
        .call(pinned, world.fence.clone(), &[&path], true)
        .await;
    assert!(matches!(outcome, Outcome::Denied { .. }), "{outcome:?}");
    assert_eq!(said(), "");
    let outcome = world
        .call(unpinned, world.fence.clone(), &[&path], true)
        .await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(said(), "evil\n");
}
