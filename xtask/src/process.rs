//! Children: each in a process group of its own, watched with an eye on Ctrl-C, and never left behind.

use std::{
    env,
    ffi::OsStr,
    fmt,
    fs::{self, File},
    io::{self, BufRead, BufReader},
    iter,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

const GRACE: Duration = Duration::from_secs(3); // enough for workerd to close its databases
const POLL: Duration = Duration::from_millis(50); // a person does not notice it
const LAST_LINES: usize = 30; // fills a terminal, hides nothing that matters

static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// The person (or the system) asked for the end; it is no failure.
#[derive(Debug)]
pub(crate) struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped")
    }
}

impl std::error::Error for Stopped {}

/// From here on Ctrl-C, a closed terminal and SIGTERM are remembered, not obeyed by dying on the spot.
pub(crate) fn catch_signals() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register(signal, STOP.clone()).context("listening for Ctrl-C")?;
    }
    Ok(())
}

/// Fails with [`Stopped`] once the end has been asked for.
pub(crate) fn go_on() -> Result<()> {
    if STOP.load(Ordering::Relaxed) {
        bail!(Stopped)
    }
    Ok(())
}

/// Sleeps for one turn of a watching loop; fails with [`Stopped`] once the end has been asked for.
pub(crate) fn pause() -> Result<()> {
    thread::sleep(POLL);
    go_on()
}

/// Where a child's output goes.
#[derive(Clone)]
pub(crate) enum Output {
    /// To a file, whose end is shown when the child fails.
    Log(PathBuf),
    /// To the terminal.
    Shown,
    /// Its standard output to whoever asks for its [`Running::lines`], the rest to a file.
    Heard(PathBuf),
    /// Its standard output to whoever asks for its [`Running::lines`], the rest to the terminal.
    HeardAndShown,
}

/// A command that starts in `folder`, free of what `cargo run` told this program about itself:
/// build scripts that look at it would run again for nothing.
pub(crate) fn program(name: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(name);
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(tells_of_this_package) {
            command.env_remove(name);
        }
    }
    command
}

fn tells_of_this_package(variable: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]
        .iter()
        .any(|prefix| variable.starts_with(prefix))
        || ["CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"].contains(&variable)
}

/// A child that runs; it ends with this value, and its whole process group with it.
pub(crate) struct Running {
    name: String,
    child: Child,
    /// The process group, until it has been ended.
    group: Option<Pid>,
    output: Output,
}

impl Running {
    /// Starts a child in a process group of its own.
    pub(crate) fn start(name: &str, mut command: Command, output: Output) -> Result<Self> {
        match &output {
            Output::Log(path) => {
                let log = log(path)?;
                command.stdout(log.try_clone()?).stderr(log);
            }
            Output::Heard(path) => {
                command.stdout(Stdio::piped()).stderr(log(path)?);
            }
            Output::HeardAndShown => {
                command.stdout(Stdio::piped());
            }
            Output::Shown => {}
        }
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let group = Some(Pid::from_child(&child));
        Ok(Self {
            name: name.to_owned(),
            child,
            group,
            output,
        })
    }

    /// The lines of the child's standard output, as they come, if it is heard; they end with the
    /// output, or with [`Stopped`].
    pub(crate) fn lines(&mut self) -> impl Iterator<Item = Result<String>> + use<> {
        let (sender, receiver) = mpsc::channel();
        let stdout = self.child.stdout.take();
        thread::spawn(move || {
            for line in stdout
                .into_iter()
                .flat_map(|said| BufReader::new(said).lines())
            {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return; // nobody listens any more
                }
            }
        });
        iter::from_fn(move || {
            loop {
                match receiver.recv_timeout(POLL) {
                    Ok(line) => return Some(Ok(line)),
                    Err(RecvTimeoutError::Disconnected) => return None,
                    Err(RecvTimeoutError::Timeout) => {}
                }
                if let Err(stopped) = go_on() {
                    return Some(Err(stopped));
                }
            }
        })
    }

    /// How the child ended, or `None` while it runs.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Fails when the child, which should go on, has ended.
    pub(crate) fn still_runs(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!(self.complaint(&format!("ended unexpectedly ({status})"))),
        }
    }

    /// Waits for the child's success, calling `tick` meanwhile; when the end is asked for, ends the child.
    pub(crate) fn succeed(mut self, mut tick: impl FnMut()) -> Result<()> {
        loop {
            if let Some(status) = self.ended()? {
                if status.success() {
                    return Ok(());
                }
                bail!(self.complaint(&format!("failed ({status})")));
            }
            tick();
            pause()?;
        }
    }

    /// What the child did wrong, with the last that it said.
    pub(crate) fn complaint(&self, what: &str) -> String {
        let (Output::Log(path) | Output::Heard(path)) = &self.output else {
            return format!("{} {what}", self.name);
        };
        let text = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        format!(
            "{} {what}; the last lines of {}:\n{}",
            self.name,
            path.display(),
            last_lines(&text)
        )
    }

    /// Ends the whole group: asks first, and after a grace insists.
    pub(crate) fn end(&mut self) {
        let Some(group) = self.group.take() else {
            return;
        };
        let _ = kill_process_group(group, Signal::TERM); // gone already: the aim
        let asked = Instant::now();
        while !self.gone(group) {
            if asked.elapsed() > GRACE {
                let _ = kill_process_group(group, Signal::KILL);
                let _ = self.child.wait();
                return;
            }
            thread::sleep(POLL);
        }
    }

    /// Whether child and descendants are gone. The child is reaped first: a zombie would keep its group.
    fn gone(&mut self, group: Pid) -> bool {
        let _ = self.child.try_wait();
        test_kill_process_group(group).is_err()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn log(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    File::create(path).with_context(|| format!("writing {}", path.display()))
}

/// Runs a short command and gives its standard output; on failure, says what it said.
pub(crate) fn capture(mut command: Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("starting {name}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{name} failed ({}):\n{}", output.status, last_lines(&said));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LAST_LINES);
    lines[first..]
        .iter()
        .flat_map(|line| ["  ", line, "\n"])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = program("sh", Path::new("/"));
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failed_child_shows_the_end_of_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("logs/child.log");
        let script = "seq 1 40; echo broken >&2; exit 3";
        let error = Running::start("the child", shell(script), Output::Log(log.clone()))
            .unwrap()
            .succeed(|| ())
            .unwrap_err()
            .to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(
            lines[0],
            format!(
                "the child failed (exit status: 3); the last lines of {}:",
                log.display()
            )
        );
        assert_eq!((lines.len(), lines[1], lines[30]), (31, "  12", "  broken"));
    }

    #[test]
    fn a_heard_child_is_heard_line_by_line_while_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let script = "echo one; echo aside >&2; echo two; sleep 60";
        let mut running =
            Running::start("the child", shell(script), Output::Heard(log.clone())).unwrap();
        let lines: Vec<String> = running.lines().take(2).map(Result::unwrap).collect();
        assert_eq!(lines, ["one", "two"]);
        running.still_runs().unwrap();
        assert_eq!(fs::read_to_string(log).unwrap(), "aside\n");
    }

    #[test]
    fn ending_a_child_ends_its_grandchildren_even_if_they_do_not_listen() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("beats");
        let script = "sh -c 'trap \"\" TERM; while :; do echo beat; sleep 0.02; done' & wait";
        let mut running =
            Running::start("the parent", shell(script), Output::Log(log.clone())).unwrap();
        while fs::read(&log).unwrap().is_empty() {
            running.still_runs().unwrap();
            thread::sleep(POLL);
        }
        running.end();
        let beats = fs::read(&log).unwrap();
        thread::sleep(POLL * 4);
        assert_eq!(fs::read(&log).unwrap(), beats);
    }

    #[test]
    fn what_cargo_run_says_of_this_program_is_not_passed_on() {
        assert!(tells_of_this_package("CARGO_MANIFEST_DIR"));
        assert!(tells_of_this_package("CARGO_PKG_VERSION"));
        assert!(!tells_of_this_package("CARGO_HOME"));
        assert!(!tells_of_this_package("CARGO_TARGET_DIR"));
    }
}
