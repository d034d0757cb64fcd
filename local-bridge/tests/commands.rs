//! Commands as a model orders them: in front and in the background, with a terminal and without, and what attackers make of them.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use local_bridge::calls::Order;
use local_bridge::home::{self, Home};
use local_bridge::places::Root;
use local_bridge::policy::{Command as Rule, Limits, Policy, Sandbox, Then};
use local_bridge::processes::{MOST, Processes, listed};
use local_bridge::sandbox::Fence;
use local_bridge::tools::files_send::{Courier, FromTool, Piece};
use local_bridge::tools::{self, Job};
use protocol::ToWorker;
use protocol::call::{CallId, Outcome, ToolName};
use protocol::session::Access;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// Makes this very program a bridge that is killed while a command goes on in its background, and tells it the command's argument.
const DOOMED: &str = "DOOMED_WITH";

/// A bridge with one folder, whose policy asks before `bash`, and what is nobody's business beside it.
struct World {
    folder: TempDir,
    home: Home,
    fence: Fence,
    processes: Arc<Processes>,
    calls: AtomicU32,
    sandbox: Sandbox,
    limits: Limits,
    then: Then,
    line: mpsc::Sender<FromTool>,
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
        fs::create_dir(folder.path().join("docs")).unwrap();
        fs::write(folder.path().join("secret"), "canary\n").unwrap();
        let home = Home::open(&folder.path().join("home")).unwrap();
        Some(Self {
            processes: Arc::new(Processes::open(&home).unwrap()),
            fence,
            home,
            folder,
            calls: AtomicU32::new(0),
            sandbox: Sandbox::Required,
            limits: Policy::nothing().limits,
            then: Then::Ask,
            line: mpsc::channel(1).0,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn policy(&self) -> Policy {
        let rule = Rule::new(vec!["bash".into()], "/bin/bash".into());
        Policy {
            roots: vec![Root::open("docs", &self.path("docs"), Access::Write).unwrap()],
            commands: vec![Rule {
                then: self.then,
                ..rule
            }],
            sandbox: self.sandbox,
            limits: self.limits,
            ..Policy::nothing()
        }
    }

    /// A call as it comes through the tunnel.
    async fn call(&self, tool: &str, arguments: Value) -> Outcome {
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let (_cancel, cancelled) = watch::channel(false);
        tools::run(Job {
            order: Order {
                call: CallId(format!("c{number}")),
                attempt: 1,
                tool: ToolName::new(tool),
                arguments,
                asked: true,
                yes: None,
            },
            policy: Arc::new(self.policy()),
            scratch: self.path("scratch"),
            processes: Arc::clone(&self.processes),
            fence: self.fence.clone(),
            undo: Arc::new(local_bridge::undo::Undo::in_memory().unwrap()),
            cancelled,
            courier: Courier {
                pieces: self.line.clone(),
                credit: watch::channel(0).1,
            },
        })
        .await
    }

    /// A script, with further arguments of the call.
    async fn bash(&self, script: &str, more: Value) -> Outcome {
        let mut arguments = json!({"argv": ["bash", "-c", script], "folder": "docs"});
        for (name, value) in more.as_object().unwrap() {
            arguments[name] = value.clone();
        }
        self.call("shell.run", arguments).await
    }

    async fn background(&self, script: &str) -> String {
        done(self.bash(script, json!({"background": true})).await)
    }

    async fn output(&self, id: &str) -> String {
        done(self.call("process.output", json!({"id": id})).await)
    }

    /// Waits until what a program has written holds a text.
    async fn says(&self, id: &str, text: &str) {
        for _ in 0..500 {
            if self.output(id).await.contains(text) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("{id} does not say {text}: {}", self.output(id).await);
    }
}

fn done(outcome: Outcome) -> String {
    let Outcome::Done { text, .. } = outcome else {
        panic!("{outcome:?}");
    };
    text
}

fn failed(outcome: Outcome) -> String {
    let (Outcome::Failed { reason } | Outcome::Denied { reason }) = outcome else {
        panic!("{outcome:?}");
    };
    reason
}

/// Processes that live and have a word among their arguments.
fn living(word: &str) -> Vec<i32> {
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name();
        name.to_str()?.parse::<i32>().ok()
    });
    let has_word = |pid: &i32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut arguments = arguments.split(|byte| *byte == 0);
        arguments.any(|argument| argument == word.as_bytes())
    };
    numbers.filter(has_word).collect()
}

fn comes_true(wanted: impl Fn() -> bool) -> bool {
    for _ in 0..1000 {
        if wanted() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// A number of seconds that no other process sleeps.
fn mark(digit: u32) -> String {
    format!("{}.{digit}", 50_000 + std::process::id())
}

#[tokio::test]
async fn a_program_in_the_background_is_listed_read_written_to_and_stopped() {
    let Some(world) = World::new() else { return };
    let begun = world
        .background("echo ready; while read line; do echo got $line; done; sleep 300")
        .await;
    let told = "p1 runs in the background, for 3600 seconds at the most and no longer than local-bridge; process.output shows what it writes; all of its output, 6 B, is in @output/p1.txt\nstdout:\nready";
    assert_eq!(begun, told);
    let written = world.call("process.write", json!({"id": "p1", "text": "one\ntwo\n"}));
    let told = "p1 has been given 8 bytes; process.output shows what it makes of them";
    assert_eq!(done(written.await), told);
    world.says("p1", "got one\ngot two\n").await;
    let from = done(
        world
            .call("process.output", json!({"id": "p1", "from": 6}))
            .await,
    );
    assert!(
        from.contains("bytes 6 to 22 of 22; what comes next is from 22"),
        "{from}"
    );
    assert!(from.ends_with("\ngot one\ngot two\n"), "{from}");
    let list = done(world.call("process.list", json!({})).await);
    assert!(
        list.starts_with("p1: bash -c echo ready;") && list.contains("; runs for "),
        "{list}"
    );
    let stopped = done(world.call("process.stop", json!({"id": "p1"})).await);
    assert!(
        stopped.contains("; stopped: on request, 0 seconds ago"),
        "{stopped}"
    );
    let late = failed(
        world
            .call("process.write", json!({"id": "p1", "text": "x"}))
            .await,
    );
    assert!(late.starts_with("p1 has ended"), "{late}");
    let late = failed(
        world
            .call("process.signal", json!({"id": "p1", "signal": "INT"}))
            .await,
    );
    assert_eq!(late, "p1 has ended");
    let whole = done(
        world
            .call("files.read", json!({"path": "@output/p1.txt"}))
            .await,
    );
    assert_eq!(whole, "ready\ngot one\ngot two");
}

#[tokio::test]
async fn the_end_of_its_input_ends_a_program_that_reads() {
    let Some(world) = World::new() else { return };
    for more in [
        json!({"background": true}),
        json!({"background": true, "terminal": true}),
    ] {
        let begun = done(world.bash("exec cat", more).await);
        let id = begun.split(' ').next().unwrap();
        let last = json!({"id": id, "text": "hi\n", "end": true});
        done(world.call("process.write", last).await);
        assert!(
            world
                .processes
                .find(id)
                .unwrap()
                .gone(Duration::from_secs(5))
                .await
        );
        let output = world.output(id).await;
        assert!(
            output.contains(": exit code 0, ") && output.contains("hi\n"),
            "{output}"
        );
    }
}

#[tokio::test]
async fn a_signal_reaches_the_program_and_only_four_can_be_sent() {
    let Some(world) = World::new() else { return };
    world
        .background("trap 'echo caught; exit 7' INT; echo on; while :; do sleep 0.05; done")
        .await;
    for bad in ["STOP", "USR1", "9", "int"] {
        let refused = world.call("process.signal", json!({"id": "p1", "signal": bad}));
        assert!(
            failed(refused.await).starts_with("arguments are not understood"),
            "{bad}"
        );
    }
    done(
        world
            .call("process.signal", json!({"id": "p1", "signal": "INT"}))
            .await,
    );
    assert!(
        world
            .processes
            .find("p1")
            .unwrap()
            .gone(Duration::from_secs(5))
            .await
    );
    let output = world.output("p1").await;
    assert!(
        output.starts_with("p1: exit code 7, ") && output.ends_with("on\ncaught\n"),
        "{output}"
    );
}

#[tokio::test]
async fn nobody_elses_process_can_be_named() {
    let Some(world) = World::new() else { return };
    let own = std::process::id().to_string();
    for id in [own.as_str(), "1", "p1", "", "p1\u{202e}", "../p1"] {
        for (tool, arguments) in [
            ("process.write", json!({"id": id, "text": "x"})),
            ("process.signal", json!({"id": id, "signal": "KILL"})),
            ("process.stop", json!({"id": id})),
            ("process.output", json!({"id": id})),
        ] {
            let reason = failed(world.call(tool, arguments).await);
            assert!(reason.starts_with("there is no process '"), "{reason}");
            assert!(!reason.contains('\u{202e}'), "{reason}");
        }
    }
}

#[tokio::test]
async fn what_the_policy_has_come_to_deny_gets_no_more_input_and_can_still_be_stopped() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.background("cat").await;
    world.then = Then::Deny;
    let write = world.call("process.write", json!({"id": "p1", "text": "x"}));
    assert!(failed(write.await).contains("denies it"));
    done(world.call("process.stop", json!({"id": "p1"})).await);
}

#[tokio::test]
async fn no_more_than_eight_run_at_once_and_each_has_its_time() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.limits.background = Duration::from_secs(4);
    let one = || world.bash("sleep 300", json!({"background": true, "seconds": 9999}));
    let begun = futures::future::join_all((0..MOST).map(|_| one())).await;
    assert!(
        begun.iter().all(|one| matches!(one, Outcome::Done { .. })),
        "{begun:?}"
    );
    let full = world.bash("sleep 300", json!({"background": true})).await;
    let told = "8 programs run in the background, and no more can; stop one first";
    assert_eq!(failed(full), told);
    let last = world.processes.find("p8").unwrap();
    assert!(last.gone(Duration::from_secs(20)).await);
    assert!(
        last.line().contains("; stopped after 4 seconds, "),
        "{}",
        last.line()
    );
    done(world.bash("sleep 300", json!({"background": true})).await);
}

#[test]
fn the_policy_says_how_long_commands_may_take() {
    let folder = tempfile::tempdir().unwrap();
    let limits = |text: &str| {
        let policy = Policy::parse(text, folder.path());
        policy
            .map(|policy| policy.limits)
            .map_err(|unfit| unfit.to_string())
    };
    let written = limits("[limits]\nforeground = \"90s\"\nbackground = \"24h\"\n");
    let meant = Limits {
        foreground: Duration::from_secs(90),
        background: Duration::from_hours(24),
    };
    assert_eq!(written, Ok(meant));
    assert_eq!(limits(""), Ok(Policy::nothing().limits));
    for bad in ["25h", "0s", "forever", "-1s", "1.5h"] {
        let error = limits(&format!("[limits]\n\nforeground = \"{bad}\"\n")).unwrap_err();
        assert!(error.starts_with("policy.toml line 3: "), "{error}");
    }
}

#[tokio::test]
async fn a_wished_time_is_given_up_to_the_policys_bound() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.limits.foreground = Duration::from_secs(2);
    let cut = failed(world.bash("sleep 300", json!({"seconds": 1})).await);
    assert_eq!(
        cut,
        "stopped after 1 seconds; up to 2 can be wished for, and 3600 in the background"
    );
    let cut = failed(world.bash("sleep 300", json!({"seconds": 9999})).await);
    assert_eq!(cut, "stopped after 2 seconds");
    let limit = done(world.bash("ulimit -t", json!({"seconds": 2})).await);
    assert_eq!(limit, "exit code 0\nstdout:\n2");
}

#[tokio::test]
async fn a_command_that_takes_long_tells_its_last_line_when_that_has_changed() {
    let Some(mut world) = World::new() else {
        return;
    };
    let (line, mut told) = mpsc::channel(9);
    world.line = line;
    let script = "echo one; echo two; sleep 5.5; printf 'three'; sleep 2; echo four; sleep 0.3";
    done(world.bash(script, json!({})).await);
    let mut lines = Vec::new();
    while let Ok(news) = told.try_recv() {
        let FromTool::Piece {
            piece: Piece::Start(ToWorker::Progress { call, line }),
            ..
        } = news
        else {
            panic!("{news:?}");
        };
        assert_eq!(call, CallId("c1".into()));
        lines.push(line);
    }
    assert_eq!(lines, ["two", "three"]);
}

#[tokio::test]
async fn a_program_that_fails_at_once_says_so_and_leaves_nothing_behind() {
    let Some(world) = World::new() else { return };
    let begun = world.background("echo no such thing >&2; exit 3").await;
    assert!(begun.starts_with("p1 has ended: exit code 3, "), "{begun}");
    assert!(begun.ends_with("\nstderr:\nno such thing"), "{begun}");
    assert_eq!(fs::read_dir(world.path("scratch")).unwrap().count(), 0);
}

#[tokio::test]
async fn ten_megabytes_are_cut_for_the_model_and_whole_in_the_file() {
    let Some(world) = World::new() else { return };
    let text = done(world.bash("seq 1500000", json!({})).await);
    let begin = "exit code 0; all of its output, 10.8 MB, is in @output/c1.txt\nstdout:\n1\n2\n";
    assert!(text.starts_with(begin) && text.ends_with("\n1500000"));
    assert!(text.len() <= 65 * 1024);
    let read = json!({"path": "@output/c1.txt", "from_line": 1_499_999});
    let told = "1499999\n1500000\n[lines 1499999 to 1500000 of 1500000]";
    assert_eq!(done(world.call("files.read", read).await), told);
    let list = done(world.call("files.list", json!({"path": "@output"})).await);
    assert!(list.contains("c1.txt"), "{list}");
    for (tool, arguments) in [
        (
            "files.write",
            json!({"path": "@output/c1.txt", "text": "x"}),
        ),
        ("files.trash", json!({"path": "@output/c1.txt"})),
        (
            "files.copy",
            json!({"from": "@output/c1.txt", "to": "docs/x"}),
        ),
        ("files.read", json!({"path": "@output/../key"})),
        ("files.read", json!({"path": "@output/../../secret"})),
    ] {
        let outcome = world.call(tool, arguments.clone()).await;
        assert!(
            matches!(outcome, Outcome::Denied { .. }),
            "{tool} {arguments}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn what_a_command_writes_cannot_hide_anything() {
    let Some(world) = World::new() else { return };
    for name in [
        "a\u{1b}[2K\u{1b}[1Ab",
        "c\nd",
        "e\u{202e}txt.exe",
        "f\u{1b}]0;g",
    ] {
        fs::write(world.path("docs").join(name), "").unwrap();
    }
    let text = done(world.bash("ls", json!({})).await);
    assert_eq!(text, "exit code 0\nstdout:\nab\nc\nd\ne\\u{202e}txt.exe\nf");
    let list = done(world.call("files.list", json!({"path": "docs"})).await);
    for name in ["a\\u{1b}[2K", "c\\nd", "e\\u{202e}txt.exe", "f\\u{1b}]0;g"] {
        assert!(list.contains(name), "{name}: {list}");
    }
}

#[tokio::test]
async fn a_program_in_a_terminal_is_fenced_in_as_any_other() {
    let Some(world) = World::new() else { return };
    let terminal = || json!({"terminal": true});
    let look = "test -t 0 && test -t 1 && echo both; echo typed >/dev/tty; stty size; tty >/dev/null && echo $TERM";
    let text = done(world.bash(look, terminal()).await);
    assert_eq!(text, "exit code 0\nstdout:\nboth\ntyped\n40 120\nxterm");
    let plain = done(
        world
            .bash(
                "test -t 0 || echo none; (echo x >/dev/tty) 2>/dev/null || echo no",
                json!({}),
            )
            .await,
    );
    assert_eq!(plain, "exit code 0\nstdout:\nnone\nno");
    for attack in [
        "cat ../secret",
        "echo x > ../new",
        "setsid --wait true",
        "exec 3<>/dev/tcp/127.0.0.1/1",
        "exec 3<>/dev/ptmx",
        "for pts in /dev/pts/[0-9]*; do exec 3<>$pts || exit 1; done",
    ] {
        let text = done(world.bash(attack, terminal()).await);
        assert!(
            !text.starts_with("exit code 0") && !text.contains("canary"),
            "{attack}: {text}"
        );
    }
    assert!(!world.path("new").exists());
}

#[tokio::test]
async fn without_a_sandbox_no_terminal_is_given() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.sandbox = Sandbox::None;
    let outcome = world
        .bash("echo ran > ran", json!({"terminal": true}))
        .await;
    let refusal = "a terminal is given only behind the sandbox of Linux, which this machine does not have or its policy does not use";
    assert_eq!(outcome, Outcome::denied(refusal));
    assert!(!world.path("docs/ran").exists());
}

#[tokio::test]
async fn what_a_program_in_a_terminal_began_ends_with_it() {
    let Some(world) = World::new() else { return };
    let mark = mark(1);
    let script =
        format!("set -m; sleep {mark} & trap '' HUP TERM; sleep {mark} & echo on; sleep {mark}");
    let begun = done(
        world
            .bash(&script, json!({"background": true, "terminal": true}))
            .await,
    );
    assert!(begun.contains("p1 runs"), "{begun}");
    assert!(
        comes_true(|| living(&mark).len() >= 3),
        "{:?}",
        living(&mark)
    );
    done(world.call("process.stop", json!({"id": "p1"})).await);
    assert!(
        comes_true(|| living(&mark).is_empty()),
        "{:?} live",
        living(&mark)
    );
}

#[tokio::test]
async fn a_command_that_multiplies_ends_whole() {
    let Some(world) = World::new() else { return };
    // Bounded, so that without any limit it is 400 and no more.
    let mark = mark(2);
    let script = format!("for i in {{1..400}}; do sleep {mark} & done; echo all; wait");
    let outcome = world.bash(&script, json!({"seconds": 3})).await;
    let most = outcome_text(&outcome).contains("all");
    if !geteuid().is_root() {
        assert!(
            !most,
            "400 processes are more than are allowed: {outcome:?}"
        );
    }
    assert!(
        comes_true(|| living(&mark).is_empty()),
        "{} live",
        living(&mark).len()
    );
}

fn outcome_text(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Done { text, .. } => text,
        Outcome::Failed { reason }
        | Outcome::Denied { reason }
        | Outcome::Interrupted { reason } => reason,
        Outcome::Cancelled => "",
    }
}

#[tokio::test]
async fn a_frozen_machine_ends_what_runs_in_its_background() {
    let Some(world) = World::new() else { return };
    world
        .background("trap '' TERM; while :; do sleep 0.1; done")
        .await;
    world.home.freeze("by hand").unwrap();
    let process = world.processes.find("p1").unwrap();
    assert!(process.gone(Duration::from_secs(10)).await);
    assert!(
        process
            .line()
            .contains("; stopped: this machine was frozen, "),
        "{}",
        process.line()
    );
}

#[tokio::test]
async fn a_bridge_that_stops_ends_what_runs_in_its_background_and_its_names_are_not_given_again() {
    let Some(mut world) = World::new() else {
        return;
    };
    let mark = mark(3);
    world
        .background(&format!("trap '' TERM; sleep {mark} & sleep {mark}"))
        .await;
    assert!(!living(&mark).is_empty());
    world.processes.end_all("local-bridge was stopped").await;
    assert!(
        comes_true(|| living(&mark).is_empty()),
        "{:?} live",
        living(&mark)
    );
    world.processes = Arc::new(Processes::open(&world.home).unwrap());
    let gone = failed(world.call("process.output", json!({"id": "p1"})).await);
    assert!(gone.starts_with("there is no process 'p1'"), "{gone}");
    assert!(world.background("sleep 300").await.starts_with("p2 runs"));
}

#[tokio::test]
async fn a_program_in_the_background_does_not_outlive_a_bridge_that_is_killed() {
    let Some(mut world) = World::new() else {
        return;
    };
    if let Ok(doom) = std::env::var(DOOMED) {
        let (mark, sandbox) = doom.split_once(' ').unwrap();
        if sandbox == "free" {
            world.sandbox = Sandbox::None;
        }
        world.background(&format!("exec sleep {mark}")).await;
        sleep(Duration::from_mins(5)).await;
        panic!("it should not live to see this");
    }
    let doom = |mark: &str, sandbox: &str| {
        let mut bridge = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_program_in_the_background_does_not_outlive_a_bridge_that_is_killed",
            ])
            .env(DOOMED, format!("{mark} {sandbox}"))
            .env("TMPDIR", world.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        assert!(
            comes_true(|| !living(mark).is_empty()),
            "{sandbox}: no start"
        );
        bridge.kill().unwrap();
        bridge.wait().unwrap();
    };
    let fenced = mark(4);
    doom(&fenced, "fenced");
    assert!(
        comes_true(|| living(&fenced).is_empty()),
        "{:?} live",
        living(&fenced)
    );
    let free = mark(5);
    doom(&free, "free");
    assert!(
        comes_true(|| living(&free).is_empty()),
        "{:?} live",
        living(&free)
    );
}

#[tokio::test]
async fn what_runs_in_the_background_can_be_seen_from_another_process_and_only_while_it_runs() {
    let Some(world) = World::new() else { return };
    world
        .home
        .begin(&home::Process {
            pid: std::process::id(),
            since: 1,
            version: "0.1.0".into(),
            log: None,
        })
        .unwrap();
    let held = world.home.lock().unwrap();
    assert_eq!(listed(&world.home), []);
    let mark = mark(6);
    world
        .background(&format!("sleep {mark} & sleep {mark}"))
        .await;
    let seen = listed(&world.home);
    let process = world.processes.find("p1").unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!((&*seen[0].id, seen[0].pid), ("p1", process.pid));
    assert_eq!(
        seen[0].command,
        format!("bash -c sleep {mark} & sleep {mark}")
    );
    // The number is the one to end: all goes with it.
    let keeper = Pid::from_raw(seen[0].pid.unwrap().cast_signed()).unwrap();
    kill_process(keeper, Signal::TERM).unwrap();
    assert!(process.gone(Duration::from_secs(5)).await);
    assert_eq!(living(&mark), [0; 0]);
    for _ in 0..200 {
        if listed(&world.home).is_empty() {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(listed(&world.home), []);
    drop(held);
}
