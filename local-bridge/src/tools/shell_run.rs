//! `shell.run`: a program with its arguments, as the policy allows; no shell, nothing of our environment, and nothing left behind.

use crate::places::{self, NoPlace, Place};
use crate::policy::{AskedBy, Command as Rule, Policy, Sandbox};
use crate::sandbox::{NoFence, Seal, Start, Unreached};
use crate::tools::Job;
use protocol::call::Outcome;
use protocol::tools::ShellRun;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::VecDeque;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How long a command may take. A person is waiting.
pub const TIME_LIMIT: Duration = Duration::from_mins(1);

/// How long a command has to tidy up after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// How long output is waited for after the end: only a process that fled its group still holds the pipe.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How much of stdout is kept: beginning and end, half each.
const KEPT_OUT: usize = 48 * 1024;

/// How much of stderr is kept: together 64 KiB.
const KEPT_ERR: usize = 16 * 1024;

/// A command that writes more than this is running wild.
const FLOOD: u64 = 8 * 1024 * 1024;

/// Why a command was not begun.
#[derive(Debug, thiserror::Error)]
enum NotRun {
    #[error("{0}")]
    Denied(String),
    #[error("this machine opens no folder to run commands in")]
    Nowhere,
    #[error(transparent)]
    Place(#[from] NoPlace),
    #[error(transparent)]
    Fence(#[from] NoFence),
    #[error("'{program}' cannot be started: {source}")]
    Start { program: String, source: io::Error },
}

enum Ending {
    Exited(io::Result<ExitStatus>),
    TimedOut,
    Flooded,
    Cancelled,
}

/// Runs a command to its end, whatever ends it.
pub async fn run(job: Job, wanted: ShellRun) -> Outcome {
    limited(job, &wanted, TIME_LIMIT).await
}

async fn limited(job: Job, wanted: &ShellRun, limit: Duration) -> Outcome {
    match start(&job, wanted) {
        Ok((child, seal)) => watched(child, seal, job.cancelled, limit).await,
        Err(NotRun::Place(no)) => no.into(),
        Err(no @ (NotRun::Denied(_) | NotRun::Nowhere | NotRun::Fence(_))) => {
            Outcome::denied(no.to_string())
        }
        Err(no @ NotRun::Start { .. }) => Outcome::failed(no.to_string()),
    }
}

fn start(job: &Job, wanted: &ShellRun) -> Result<(Child, Seal), NotRun> {
    let rule = admitted(&job.policy, &wanted.argv)?;
    let place = folder(&job.policy, &wanted.folder)?;
    let dir = place.open_dir()?;
    let not_started = |source| NotRun::Start {
        program: rule.program.display().to_string(),
        source,
    };
    let here = working_folder(&dir).map_err(not_started)?;
    make_scratch(&job.scratch).map_err(not_started)?;
    let held = rule.hold().map_err(NotRun::Denied)?;
    let sandbox = job.policy.sandbox;
    let fenced = sandbox == Sandbox::Required;
    let pinned = held.in_place_of(rule, fenced).map_err(NotRun::Denied)?;
    let start = job
        .fence
        .command(sandbox, &pinned, place.root, &job.scratch)?;
    let Start { command, seal } = start;
    let mut command = Command::from(command);
    command
        .args(&wanted.argv[1..])
        .current_dir(here)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", &job.scratch)
        .env("TMPDIR", &job.scratch)
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    Ok((command.spawn().map_err(not_started)?, seal))
    // `dir` and `held` are held until here: the child enters the one and becomes the other by their numbers.
}

/// The rule under which a command runs, once whoever must say yes has said it.
fn admitted<'a>(policy: &'a Policy, argv: &[String]) -> Result<&'a Rule, NotRun> {
    // The Worker orders no command without a yes in the chat.
    policy
        .admit_command(argv, AskedBy::Chat, Instant::now())
        .map_err(NotRun::Denied)
}

fn folder<'a>(policy: &'a Policy, wanted: &str) -> Result<Place<'a>, NotRun> {
    let first = policy.roots.first().ok_or(NotRun::Nowhere)?;
    let text = if wanted.is_empty() {
        &first.name
    } else {
        wanted
    };
    Ok(places::find(&policy.roots, text)?)
}

/// A path to an opened folder that no renaming can turn elsewhere: the child enters what is open.
#[cfg(target_os = "linux")]
#[expect(
    clippy::unnecessary_wraps,
    reason = "other systems must ask, and may be refused"
)]
fn working_folder(dir: &cap_std::fs::Dir) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd;
    Ok(PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())))
}

/// The path of an opened folder. This system offers no way to enter a folder by its number without `unsafe`.
#[cfg(not(target_os = "linux"))]
fn working_folder(dir: &cap_std::fs::Dir) -> io::Result<PathBuf> {
    places::real_path(dir)
}

fn make_scratch(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

async fn watched(
    mut child: Child,
    seal: Seal,
    cancelled: watch::Receiver<bool>,
    limit: Duration,
) -> Outcome {
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let flood = Arc::new(Notify::new());
    let out = Output::drain(child.stdout.take(), KEPT_OUT, &flood);
    let err = Output::drain(child.stderr.take(), KEPT_ERR, &flood);
    let ending = tokio::select! {
        status = child.wait() => Ending::Exited(status),
        () = sleep(limit) => Ending::TimedOut,
        () = flood.notified() => Ending::Flooded,
        () = called_off(cancelled) => Ending::Cancelled,
    };
    if !matches!(ending, Ending::Exited(_)) {
        signal(group, Signal::TERM);
        timeout(GRACE, child.wait()).await.ok();
    }
    // What the program left behind in its group ends with it.
    signal(group, Signal::KILL);
    child.wait().await.ok();
    let (out, err) = (out.finish().await, err.finish().await);
    if let Some(outcome) = unreached(&ending, &seal, &err) {
        return outcome;
    }
    told(&ending, limit, &out, &err)
}

/// The outcome of a command whose program never began.
fn unreached(ending: &Ending, seal: &Seal, err: &str) -> Option<Outcome> {
    let Ending::Exited(Ok(status)) = ending else {
        return None;
    };
    Some(match seal.broken(status.code(), err)? {
        Unreached::NoFence(no) => Outcome::denied(no.to_string()),
        Unreached::NotStarted(why) => {
            Outcome::failed(format!("the program cannot be started: {why}"))
        }
    })
}

async fn called_off(mut cancelled: watch::Receiver<bool>) {
    if cancelled.wait_for(|called_off| *called_off).await.is_err() {
        // The caller is gone without calling it off: the command goes on.
        std::future::pending::<()>().await;
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        kill_process_group(group, signal).ok(); // nobody left in it: as it should be
    }
}

fn told(ending: &Ending, limit: Duration, out: &str, err: &str) -> Outcome {
    let begin = match ending {
        Ending::Exited(Ok(status)) => exit(*status),
        Ending::Exited(Err(error)) => format!("its end could not be learned: {error}"),
        Ending::TimedOut => format!("stopped after {} seconds", limit.as_secs()),
        Ending::Flooded => "stopped: it wrote more than 8 MB".to_owned(),
        Ending::Cancelled => return Outcome::Cancelled,
    };
    let streams = [("stdout", out), ("stderr", err)].into_iter();
    let streams = streams.filter(|(_, stream)| !stream.is_empty());
    let streams =
        streams.map(|(name, stream)| format!("\n{name}:\n{}", stream.trim_end_matches('\n')));
    let text = std::iter::once(begin).chain(streams).collect::<String>();
    match ending {
        Ending::Exited(Ok(_)) => Outcome::done(text),
        Ending::Exited(Err(_)) | Ending::TimedOut | Ending::Flooded | Ending::Cancelled => {
            Outcome::failed(text)
        }
    }
}

fn exit(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// One stream of a command, read to its end and kept in part.
struct Output {
    kept: Arc<Mutex<Kept>>,
    reader: JoinHandle<()>,
}

impl Output {
    fn drain(
        stream: Option<impl AsyncRead + Unpin + Send + 'static>,
        most: usize,
        flood: &Arc<Notify>,
    ) -> Self {
        let kept = Arc::new(Mutex::new(Kept::new(most / 2)));
        let (into, flood) = (Arc::clone(&kept), Arc::clone(flood));
        let reader = tokio::spawn(async move {
            let Some(mut stream) = stream else {
                return;
            };
            let mut bytes = vec![0; 16 * 1024];
            while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
                kept.add(&bytes[..count]);
                if kept.total > FLOOD {
                    flood.notify_one();
                }
            }
        });
        Self { kept, reader }
    }

    async fn finish(mut self) -> String {
        if timeout(LAST_WORDS, &mut self.reader).await.is_err() {
            self.reader.abort();
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.text()
    }
}

/// The beginning and the end of a stream.
struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    half: usize,
    total: u64,
}

impl Kept {
    fn new(half: usize) -> Self {
        Self {
            head: Vec::new(),
            tail: VecDeque::new(),
            half,
            total: 0,
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let (first, rest) = bytes.split_at(bytes.len().min(self.half - self.head.len()));
        self.head.extend_from_slice(first);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(self.half);
        self.tail.drain(..over);
    }

    fn text(&self) -> String {
        let (front, back) = self.tail.as_slices();
        let left_out = self.total - (self.head.len() + self.tail.len()) as u64;
        if left_out == 0 {
            return plain(&[&self.head, front, back].concat());
        }
        format!(
            "{}\n[{left_out} bytes left out]\n{}",
            plain(&self.head),
            plain(&[front, back].concat())
        )
    }
}

/// Text without a terminal's control sequences.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_sequence(&mut rest),
            '\n' | '\t' => plain.push(c),
            '\r' => plain.push('\n'),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

/// Passes over what follows an escape: `[ … letter`, `] … bell` or `ESC \`, or one character.
fn skip_sequence(rest: &mut std::str::Chars<'_>) {
    match rest.next() {
        Some('[') => {
            rest.find(|c| ('\u{40}'..='\u{7e}').contains(c));
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = rest.next() {
                if c == '\u{7}' {
                    break;
                }
                if c == '\u{1b}' {
                    rest.next();
                    break;
                }
            }
        }
        Some(_) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::Order;
    use crate::places::Root;
    use crate::sandbox::Fence;
    use crate::tools::files_send::Courier;
    use protocol::call::{CallId, ToolName};
    use protocol::session::Access;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;
    use tokio::sync::mpsc;

    struct World {
        folder: TempDir,
        cancel: watch::Sender<bool>,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("docs")).unwrap();
            Self {
                folder,
                cancel: watch::Sender::new(false),
            }
        }

        /// A program that only the tests know; no policy file could name it, for it is a shell script.
        fn program(&self, script: &str) -> Policy {
            let program = self.folder.path().join("program");
            fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
            let docs = self.folder.path().join("docs");
            Policy {
                roots: vec![Root::open("docs", &docs, Access::Write).unwrap()],
                commands: vec![Rule::new(vec!["program".into()], program)],
                sandbox: Sandbox::None,
                ..Policy::nothing()
            }
        }

        async fn run(&self, policy: Policy, argv: &[&str], limit: Duration) -> Outcome {
            let wanted = ShellRun {
                argv: argv.iter().map(|word| (*word).to_owned()).collect(),
                folder: String::new(),
            };
            let job = Job {
                order: Order {
                    call: CallId("c1".into()),
                    attempt: 1,
                    tool: ToolName::new("shell.run"),
                    arguments: serde_json::Value::Null,
                },
                policy: Arc::new(policy),
                scratch: self.folder.path().join("scratch"),
                fence: Fence::find(),
                undo: Arc::new(crate::undo::Undo::in_memory().unwrap()),
                cancelled: self.cancel.subscribe(),
                courier: Courier {
                    pieces: mpsc::channel(1).0,
                    credit: watch::channel(0).1,
                },
            };
            limited(job, &wanted, limit).await
        }
    }

    const LONG: Duration = Duration::from_secs(20);

    /// Whether a process ends within the moment that the system takes to carry out a SIGKILL.
    #[cfg(target_os = "linux")]
    async fn ends(pid: &str) -> bool {
        for _ in 0..500 {
            if !alive(pid) {
                return true;
            }
            sleep(Duration::from_millis(10)).await;
        }
        false
    }

    #[cfg(target_os = "linux")]
    fn alive(pid: &str) -> bool {
        // A zombie that its new parent has not yet collected is dead.
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
            !stat
                .rsplit(')')
                .next()
                .unwrap_or("")
                .trim_start()
                .starts_with('Z')
        })
    }

    #[tokio::test]
    async fn a_command_sees_four_variables_its_arguments_and_its_folder() {
        let world = World::new();
        let policy = world.program("pwd; echo \"$@\"; /usr/bin/env | /usr/bin/sort; exit 3");
        let outcome = world.run(policy, &["program", "a b", "$HOME"], LONG).await;
        let folder = world.folder.path().canonicalize().unwrap();
        let (docs, scratch) = (folder.join("docs"), world.folder.path().join("scratch"));
        let (docs, scratch) = (docs.display(), scratch.display());
        // PWD, OLDPWD, SHLVL and _ are the test's shell's own.
        let own = |line: &&str| {
            !["PWD=", "OLDPWD=", "SHLVL=", "_="]
                .iter()
                .any(|name| line.starts_with(name))
        };
        let Outcome::Done { text, .. } = outcome else {
            panic!("{outcome:?}");
        };
        let lines: Vec<&str> = text.lines().filter(own).collect();
        assert_eq!(
            lines.join("\n"),
            format!(
                "exit code 3\nstdout:\n{docs}\na b $HOME\nHOME={scratch}\nLANG=C.UTF-8\nPATH=/usr/bin:/bin\nTMPDIR={scratch}"
            )
        );
    }

    #[tokio::test]
    async fn a_command_that_no_rule_begins_is_denied() {
        let world = World::new();
        let policy = world.program("echo ran");
        let outcome = world.run(policy, &["other", "program"], LONG).await;
        assert_eq!(
            outcome,
            Outcome::denied(
                "the policy of this machine does not allow 'other program'; its owner can allow it in policy.toml"
            )
        );
    }

    #[tokio::test]
    async fn a_program_that_was_swapped_after_the_policy_was_read_is_denied() {
        let world = World::new();
        let policy = world.program("echo good");
        let unchanged = world.run(policy, &["program"], LONG).await;
        assert_eq!(unchanged, Outcome::done("exit code 0\nstdout:\ngood"));
        let policy = world.program("echo good");
        world.program("echo evil");
        let outcome = world.run(policy, &["program"], LONG).await;
        let Outcome::Denied { reason } = outcome else {
            panic!("{outcome:?}");
        };
        assert!(
            reason.contains("is not the program that was allowed"),
            "{reason}"
        );
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_command_that_takes_too_long_ends_with_all_that_it_began() {
        let world = World::new();
        let policy = world.program("trap '' TERM; sleep 300 & echo $!; sleep 300");
        let begun = std::time::Instant::now();
        let limit = Duration::from_secs(1);
        let outcome = world.run(policy, &["program"], limit).await;
        let Outcome::Failed { reason } = outcome else {
            panic!("{outcome:?}");
        };
        let (why, pid) = reason.split_once("\nstdout:\n").unwrap();
        assert_eq!(why, "stopped after 1 seconds");
        assert!(ends(pid).await, "sleep {pid} lives");
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_a_command_leaves_behind_ends_with_it() {
        let world = World::new();
        let policy = world.program("sleep 300 & echo $!");
        let outcome = world.run(policy, &["program"], LONG).await;
        let Outcome::Done { text, .. } = outcome else {
            panic!("{outcome:?}");
        };
        let pid = text.strip_prefix("exit code 0\nstdout:\n").unwrap();
        assert!(ends(pid).await, "sleep {pid} lives");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_cancelled_command_is_gone() {
        let world = World::new();
        let file = world.folder.path().join("pid");
        let policy = world.program(&format!("echo $$ > {}; sleep 300", file.display()));
        let cancel = world.cancel.clone();
        let waiting = tokio::spawn({
            let file = file.clone();
            async move {
                while fs::read_to_string(&file).map_or(true, |pid| pid.is_empty()) {
                    sleep(Duration::from_millis(10)).await;
                }
                cancel.send_replace(true);
            }
        });
        let outcome = world.run(policy, &["program"], LONG).await;
        waiting.await.unwrap();
        assert_eq!(outcome, Outcome::Cancelled);
        assert!(ends(fs::read_to_string(file).unwrap().trim()).await);
    }

    #[tokio::test]
    async fn long_output_keeps_its_beginning_and_end_and_a_flood_is_stopped() {
        let world = World::new();
        let policy =
            world.program("echo first; head -c 1000000 /dev/zero | tr '\\0' x; echo; echo last");
        let outcome = world.run(policy, &["program"], LONG).await;
        let Outcome::Done { text, .. } = outcome else {
            panic!("{outcome:?}");
        };
        assert!(text.starts_with("exit code 0\nstdout:\nfirst\nxxx"));
        assert!(text.ends_with("xxx\nlast"));
        assert!(text.contains("bytes left out]"));
        assert!(text.len() < 64 * 1024, "{}", text.len());
        let policy = world.program(
            "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done",
        );
        let outcome = world.run(policy, &["program"], LONG).await;
        let Outcome::Failed { reason } = outcome else {
            panic!("{outcome:?}");
        };
        assert!(reason.starts_with("stopped: it wrote more than 8 MB\n"));
    }

    #[test]
    fn control_sequences_are_taken_out() {
        let text = b"\x1b[1;31mred\x1b[0m\x1b]0;title\x07 a\rb\r\nc\x08\x1b]8;;x\x1b\\d\xff";
        assert_eq!(plain(text), "red a\nb\ncd\u{fffd}");
    }
}
