//! `shell.run`: a program with its arguments, as the policy allows; no shell, nothing of our environment, and nothing left behind.

use crate::calls::Order;
use crate::places::{self, NoPlace, Place};
use crate::policy::{Command as Rule, Policy, Sandbox};
use crate::processes::capture::Capture;
use crate::processes::program::{Ending, Program, Reads, Scratch, exit};
use crate::processes::{Process, Slot};
use crate::sandbox::{NoFence, Wanted};
use crate::tools::Job;
use crate::tools::files_send::{FromTool, Piece};
use protocol::ToWorker;
use protocol::call::Outcome;
use protocol::tools::ShellRun;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// How long a command may take where nobody wished for more. A person is waiting.
pub const TIME_LIMIT: Duration = Duration::from_mins(1);

/// How long the first output of a program in the background is waited for: one that fails does so at once.
const FIRST_WORDS: Duration = Duration::from_secs(1);

/// How long a program in the background may take to end that was called off before it had begun.
const CALLED_OFF: Duration = Duration::from_secs(4);

/// How long a command says nothing of how far it is: most end before.
const QUIET: Duration = Duration::from_secs(3);

/// How often it says so then.
const EVERY: Duration = Duration::from_secs(2);

/// How much of its last line is told, in characters.
const PROGRESS: usize = 200;

/// Settings of git that win over those of a repository. A bare one is any folder with the right names in it, and those can be written
/// like any other file: git must not take it for a repository. An empty `diff.external` would stop `git diff`, so it is not here.
const GIT_SETTINGS: [(&str, &str); 6] = [
    ("safe.bareRepository", "explicit"),
    ("core.fsmonitor", "false"),
    ("core.hooksPath", "/dev/null"),
    ("log.showSignature", "false"),
    ("core.pager", "cat"),
    ("protocol.ext.allow", "never"),
];

/// Variables that do the same; `GIT_PAGER` wins over `pager.log` and the like.
const GIT_VARIABLES: [(&str, &str); 3] = [
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_PAGER", "cat"),
];

/// Why a command was not begun.
#[derive(Debug, thiserror::Error)]
enum NotRun {
    #[error("{0}")]
    Denied(String),
    #[error("this machine opens no folder to run commands in")]
    Nowhere,
    #[error(
        "a terminal is given only behind the sandbox of Linux, which this machine does not have or its policy does not use"
    )]
    NoTerminal,
    #[error(transparent)]
    Place(#[from] NoPlace),
    #[error(transparent)]
    Fence(#[from] NoFence),
    #[error("'{program}' cannot be started: {source}")]
    Start { program: String, source: io::Error },
}

/// How a command is run.
#[derive(Debug, Clone, Copy)]
struct Way {
    limit: Duration,
    reads: Reads,
}

/// Runs a command to its end, whatever ends it; or lets it go on in the background.
pub async fn run(job: Job, wanted: ShellRun) -> Outcome {
    let limits = job.policy.limits;
    let wished = wanted
        .seconds
        .map(|seconds| Duration::from_secs(seconds.max(1).into()));
    if wanted.background {
        let limit = wished.unwrap_or(limits.background).min(limits.background);
        return in_background(job, &wanted, limit).await;
    }
    let limit = wished.unwrap_or(TIME_LIMIT).min(limits.foreground);
    limited(job, &wanted, limit).await
}

impl From<NotRun> for Outcome {
    fn from(not: NotRun) -> Self {
        match not {
            NotRun::Place(no) => no.into(),
            NotRun::Denied(_) | NotRun::Nowhere | NotRun::NoTerminal | NotRun::Fence(_) => {
                Self::denied(not.to_string())
            }
            NotRun::Start { .. } => Self::failed(not.to_string()),
        }
    }
}

async fn limited(job: Job, wanted: &ShellRun, limit: Duration) -> Outcome {
    let reads = if wanted.terminal {
        Reads::Terminal
    } else {
        Reads::Nothing
    };
    let program = match start(&job, wanted, Way { limit, reads }, &job.order.call.0) {
        Ok(program) => program,
        Err(not) => return not.into(),
    };
    let capture = program.capture();
    let flood = capture.clone();
    let ends = async {
        tokio::select! {
            () = flood.flooded() => Ending::Flooded,
            () = called_off(job.cancelled) => Ending::Cancelled,
            () = told_of(&job.order, &job.courier.pieces, &flood) => Ending::Cancelled, // it never ends
        }
    };
    let end = program.ended(limit, ends).await;
    let whole = capture.settle();
    if let Some(outcome) = end.unreached {
        return outcome;
    }
    let most = job.policy.limits;
    let mut begin = begin(&end.ending, limit);
    if matches!(end.ending, Ending::TimedOut) && limit < most.foreground {
        let (longer, longest) = (most.foreground.as_secs(), most.background.as_secs());
        let hint = format!("; up to {longer} can be wished for, and {longest} in the background");
        begin.push_str(&hint);
    }
    told(&end.ending, &begin, whole, &capture)
}

/// Tells what a command wrote last, from time to time. What finds no room on the line is not told: the next word is as good.
async fn told_of(order: &Order, line: &mpsc::Sender<FromTool>, capture: &Capture) {
    let mut ticks = interval_at(Instant::now() + QUIET, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = None;
    loop {
        ticks.tick().await;
        let last = capture.last_line();
        if last == before {
            continue;
        }
        before.clone_from(&last);
        let last = last.unwrap_or_default();
        let progress = ToWorker::Progress {
            call: order.call.clone(),
            line: last.chars().take(PROGRESS).collect(),
        };
        let news = FromTool::Piece {
            call: order.call.clone(),
            attempt: order.attempt,
            piece: Piece::Start(progress),
        };
        line.try_send(news).ok();
    }
}

/// Starts a program that goes on, and comes back with what it says at first.
async fn in_background(job: Job, wanted: &ShellRun, limit: Duration) -> Outcome {
    let slot = match job.processes.slot() {
        Ok(slot) => slot,
        Err(full) => return Outcome::failed(full),
    };
    let process = match begun(&job, wanted, slot, limit) {
        Ok(process) => process,
        Err(not) => return not.into(),
    };
    let ended = tokio::select! {
        ended = process.gone(FIRST_WORDS) => ended,
        () = called_off(job.cancelled) => {
            process.stop("called off");
            process.gone(CALLED_OFF).await;
            return Outcome::Cancelled;
        }
    };
    if let Some(outcome) = process.unreached() {
        job.processes.remove(&process.id);
        process.capture().settle();
        return outcome;
    }
    let said = process.capture().both();
    let id = &process.id;
    let begin = if ended {
        format!("{id} has ended: {}", process.state())
    } else {
        format!(
            "{id} runs in the background, for {} seconds at the most and no longer than local-bridge; process.output shows what it writes",
            limit.as_secs()
        )
    };
    Outcome::done(format!(
        "{begin}; {}{said}",
        process.capture().whereabouts()
    ))
}

fn begun(
    job: &Job,
    wanted: &ShellRun,
    slot: Slot,
    limit: Duration,
) -> Result<Arc<Process>, NotRun> {
    let reads = if wanted.terminal {
        Reads::Terminal
    } else {
        Reads::Pipe
    };
    let program = start(job, wanted, Way { limit, reads }, &slot.id)?;
    Ok(job.processes.adopt(slot, &wanted.argv, program, limit))
}

fn start(job: &Job, wanted: &ShellRun, way: Way, name: &str) -> Result<Program, NotRun> {
    let rule = admitted(job, &wanted.argv)?;
    let place = folder(&job.policy, &wanted.folder)?;
    let dir = place.open_dir()?;
    let not_started = |source| NotRun::Start {
        program: rule.program.display().to_string(),
        source,
    };
    let here = working_folder(&dir).map_err(not_started)?;
    let scratch = Scratch::make(&job.scratch).map_err(not_started)?;
    let held = rule.hold().map_err(NotRun::Denied)?;
    let sandbox = job.policy.sandbox;
    let fenced = sandbox == Sandbox::Required;
    let terminal = way.reads == Reads::Terminal;
    if terminal && !(fenced && cfg!(target_os = "linux")) {
        return Err(NotRun::NoTerminal);
    }
    let between = fenced || job.fence.keeps();
    let pinned = held.in_place_of(rule, between).map_err(NotRun::Denied)?;
    let mut start = job.fence.command(
        sandbox,
        Wanted {
            rule: &pinned,
            root: place.root,
            scratch: scratch.path(),
            limit: way.limit,
            terminal,
        },
    )?;
    let command = &mut start.command;
    command
        .args(&wanted.argv[1..])
        .current_dir(here)
        .env_clear()
        .envs(environment(scratch.path()));
    if is_git(rule) {
        command.envs(git_variables());
    }
    if terminal {
        command.env("TERM", "xterm");
    }
    let capture = Capture::begin(job.processes.outputs(), name);
    Program::start(start, scratch, capture, way.reads).map_err(not_started)
    // `dir` and `held` are held until here: the child enters the one and becomes the other by their numbers.
}

/// All that a command finds in its environment, beside what is only git's or a terminal's.
pub(crate) fn environment(scratch: &Path) -> [(&'static str, &OsStr); 4] {
    [
        ("PATH", OsStr::new("/usr/bin:/bin")),
        ("HOME", scratch.as_os_str()),
        ("TMPDIR", scratch.as_os_str()),
        ("LANG", OsStr::new("C.UTF-8")),
    ]
}

/// Whether a rule's program is git, by its own name or the one that it is called by.
fn is_git(rule: &Rule) -> bool {
    let called = rule.argv.first().map(Path::new);
    let names = [Some(rule.program.as_path()), called];
    let mut names = names.into_iter().flatten();
    names.any(|path| path.file_name().is_some_and(|name| name == "git"))
}

/// What keeps git from starting programs that a folder's own files name. The system's settings stay: they are root's, and say
/// which folders are safe and how to sign in.
fn git_variables() -> impl Iterator<Item = (String, String)> {
    let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let settings = GIT_SETTINGS.iter().enumerate();
    let settings = settings.flat_map(move |(at, (name, value))| {
        [
            owned(&format!("GIT_CONFIG_KEY_{at}"), name),
            owned(&format!("GIT_CONFIG_VALUE_{at}"), value),
        ]
    });
    let variables = GIT_VARIABLES.iter();
    variables
        .map(move |(name, value)| owned(name, value))
        .chain([owned("GIT_CONFIG_COUNT", &GIT_SETTINGS.len().to_string())])
        .chain(settings)
}

/// The rule under which a command runs, once whoever must say yes has said it.
fn admitted<'a>(job: &'a Job, argv: &[String]) -> Result<&'a Rule, NotRun> {
    job.policy
        .admit_command(argv, job.asked(), Instant::now().into_std())
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

async fn called_off(mut cancelled: watch::Receiver<bool>) {
    if cancelled.wait_for(|called_off| *called_off).await.is_err() {
        // The caller is gone without calling it off: the command goes on.
        std::future::pending::<()>().await;
    }
}

/// How a command ended, in words.
fn begin(ending: &Ending, limit: Duration) -> String {
    match ending {
        Ending::Exited(Ok(status)) => exit(*status),
        Ending::Exited(Err(error)) => format!("its end could not be learned: {error}"),
        Ending::TimedOut => format!("stopped after {} seconds", limit.as_secs()),
        Ending::Flooded => "stopped: it wrote more than 16 MB".to_owned(),
        Ending::Cancelled => "called off".to_owned(),
        Ending::Stopped(why) => format!("stopped: {why}"),
    }
}

/// What is told of an end. Where all of it lies stands first: what is cut later is cut in the middle.
fn told(ending: &Ending, begin: &str, whole: Option<String>, capture: &Capture) -> Outcome {
    let whole = whole.map_or_else(String::new, |whole| format!("; {whole}"));
    let text = format!("{begin}{whole}{}", capture.both());
    match ending {
        Ending::Exited(Ok(_)) => Outcome::done(text),
        Ending::Cancelled => Outcome::Cancelled,
        Ending::Exited(Err(_)) | Ending::TimedOut | Ending::Flooded | Ending::Stopped(_) => {
            Outcome::failed(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::Home;
    use crate::places::Root;
    use crate::processes::Processes;
    use crate::sandbox::Fence;
    use crate::tools::files_send::Courier;
    use protocol::call::{CallId, ToolName};
    use protocol::session::Access;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;
    #[cfg(target_os = "linux")]
    use tokio::time::sleep;

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
                background: false,
                seconds: None,
                terminal: false,
            };
            let home = Home::open(&self.folder.path().join("home")).unwrap();
            let job = Job {
                order: Order {
                    call: CallId("c1".into()),
                    attempt: 1,
                    tool: ToolName::new("shell.run"),
                    arguments: serde_json::Value::Null,
                    asked: true,
                    yes: None,
                },
                policy: Arc::new(policy),
                scratch: self.folder.path().join("scratch"),
                fence: Fence::find(),
                processes: Arc::new(Processes::open(&home).unwrap()),
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
        let docs = folder.join("docs");
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
        let home = lines[4].strip_prefix("HOME=").unwrap();
        let scratch = world.folder.path().join("scratch");
        assert_eq!(Path::new(home).parent(), Some(&*scratch));
        assert_eq!(
            lines.join("\n"),
            format!(
                "exit code 3\nstdout:\n{}\na b $HOME\nHOME={home}\nLANG=C.UTF-8\nPATH=/usr/bin:/bin\nTMPDIR={home}",
                docs.display()
            )
        );
        assert!(!Path::new(home).exists() && scratch.exists());
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
        assert_eq!(
            why,
            "stopped after 1 seconds; up to 600 can be wished for, and 3600 in the background"
        );
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
        let begin =
            "exit code 0; all of its output, 1.0 MB, is in @output/c1.txt\nstdout:\nfirst\nxxx";
        assert!(text.starts_with(begin), "{}", &text[..200]);
        assert!(text.ends_with("xxx\nlast"));
        assert!(text.contains("bytes left out]"));
        assert!(text.len() < 65 * 1024, "{}", text.len());
        let policy = world.program(
            "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done",
        );
        let outcome = world.run(policy, &["program"], LONG).await;
        let Outcome::Failed { reason } = outcome else {
            panic!("{outcome:?}");
        };
        assert!(reason.starts_with("stopped: it wrote more than 16 MB; of its output, "));
    }
}
