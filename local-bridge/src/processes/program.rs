//! A program that has been started, from its first byte to the end of all that it began.

use super::capture::{Capture, Reader, Stream};
use super::terminal::{Terminal, stdio};
#[cfg(target_os = "linux")]
use crate::sandbox::forwarding;
use crate::sandbox::{Seal, Start, Unreached};
use protocol::call::Outcome;
use protocol::key::random_text;
#[cfg(target_os = "linux")]
use rustix::process::kill_process;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::{self, DirBuilder};
use std::future::Future;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{sleep, timeout};

/// How long a command has to tidy up after SIGTERM.
pub const GRACE: Duration = Duration::from_secs(2);

/// How long a keeper may take to end what does not die; it gives up before.
const SWEEP: Duration = Duration::from_secs(12);

/// How long a program may leave what is written to it unread.
const UNREAD: Duration = Duration::from_secs(5);

/// A program that runs.
#[derive(Debug)]
pub struct Program {
    child: Child,
    group: Group,
    tether: Tether,
    kept: bool,
    seal: Seal,
    scratch: Scratch,
    capture: Capture,
    readers: Vec<Reader>,
    input: Option<Input>,
    /// Where the fence says what only it can say.
    says: Stream,
}

/// A program and all that it began, for as long as a number stands for them.
#[derive(Debug, Clone)]
pub struct Group(Arc<Mutex<Option<Number>>>);

/// What stands for a program and all that it began.
#[derive(Debug, Clone, Copy)]
enum Number {
    /// Its keeper, which passes signals on.
    #[cfg(target_os = "linux")]
    Keeper(Pid),
    /// Its process group.
    Own(Pid),
}

/// Ends a program whose end nobody waits for any more.
#[derive(Debug)]
struct Tether(Group);

/// What a program reads from.
#[derive(Debug)]
pub enum Input {
    /// A pipe.
    Pipe(ChildStdin),
    /// Its terminal.
    Terminal(Sender),
}

/// What a program is to read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// Nothing.
    Nothing,
    /// What is written to it.
    Pipe,
    /// What is typed into its terminal.
    Terminal,
}

/// A folder of one command's own, for HOME and TMPDIR; it goes with it.
#[derive(Debug)]
pub struct Scratch(Option<PathBuf>);

/// Why a program has ended.
#[derive(Debug)]
pub enum Ending {
    /// By itself.
    Exited(io::Result<ExitStatus>),
    /// Its time was over.
    TimedOut,
    /// It wrote more than anyone could want.
    Flooded,
    /// Its call was called off.
    Cancelled,
    /// It was stopped, and why.
    Stopped(&'static str),
}

/// The end of a program.
#[derive(Debug)]
pub struct End {
    /// Why.
    pub ending: Ending,
    /// What is to be told when the program never began.
    pub unreached: Option<Outcome>,
}

impl Scratch {
    /// Makes a folder below this one.
    pub fn make(below: &Path) -> io::Result<Self> {
        let path = below.join(random_text().map_err(io::Error::other)?);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)?;
        Ok(Self(Some(path)))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new("/nonexistent"))
    }

    /// Takes it away where that keeps nothing else waiting: nobody knows how much is in it.
    async fn remove(mut self) {
        if let Some(path) = self.0.take() {
            let removing = move || fs::remove_dir_all(path).ok(); // what stays goes when the bridge begins anew
            tokio::task::spawn_blocking(removing).await.ok();
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            fs::remove_dir_all(path).ok(); // nothing has begun in it, or the bridge is ending
        }
    }
}

impl Program {
    /// Starts a command whose fence, folder and environment are set.
    pub fn start(
        start: Start,
        scratch: Scratch,
        capture: Capture,
        reads: Reads,
    ) -> io::Result<Self> {
        let Start {
            command,
            seal,
            kept,
        } = start;
        let mut command = Command::from(command);
        // A keeper must outlive what it keeps, if only for a moment.
        command.kill_on_drop(!kept);
        let terminal = match reads {
            Reads::Terminal => Some(in_terminal(&mut command)?),
            Reads::Nothing | Reads::Pipe => {
                let input = match reads {
                    Reads::Pipe => Stdio::piped(),
                    Reads::Nothing | Reads::Terminal => Stdio::null(),
                };
                let command = command.stdin(input);
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
                None
            }
        };
        if kept || terminal.is_none() {
            // In a terminal the fence makes the group, with the session.
            command.process_group(0);
        }
        let mut child = command.spawn()?;
        drop(command); // with the program's end of its terminal
        let group = Group::of(&child, kept);
        let (readers, says, input) = match terminal {
            Some((keys, screen)) => (
                vec![capture.drain(Stream::Out, Some(screen))],
                Stream::Out,
                Some(Input::Terminal(keys)),
            ),
            None => (
                vec![
                    capture.drain(Stream::Out, child.stdout.take()),
                    capture.drain(Stream::Err, child.stderr.take()),
                ],
                Stream::Err,
                child.stdin.take().map(Input::Pipe),
            ),
        };
        Ok(Self {
            child,
            tether: Tether(group.clone()),
            group,
            kept,
            seal,
            scratch,
            capture,
            readers,
            input,
            says,
        })
    }

    /// What it writes.
    pub fn capture(&self) -> Capture {
        self.capture.clone()
    }

    /// The program and all that it began.
    pub fn group(&self) -> Group {
        self.group.clone()
    }

    /// The number of the process with which it ends.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// What it reads from; once.
    pub fn input(&mut self) -> Option<Input> {
        self.input.take()
    }

    /// Waits for its end, or ends it, with all that it began.
    pub async fn ended(mut self, limit: Duration, ends: impl Future<Output = Ending>) -> End {
        let ending = tokio::select! {
            status = self.child.wait() => Ending::Exited(status),
            () = sleep(limit) => Ending::TimedOut,
            ending = ends => ending,
        };
        if !matches!(ending, Ending::Exited(_)) {
            self.group.signal(Signal::TERM);
            timeout(GRACE, self.child.wait()).await.ok();
        }
        // What the program left behind ends with it; a keeper that has ended has seen to it.
        if !(self.kept && matches!(self.child.try_wait(), Ok(Some(_)))) {
            self.group.signal(Signal::KILL);
        }
        if self.kept {
            timeout(SWEEP, self.child.wait()).await.ok();
        }
        self.child.start_kill().ok(); // it may not have come to have a group
        self.child.wait().await.ok();
        self.group.leave();
        drop(self.tether);
        for reader in self.readers {
            reader.finish().await;
        }
        self.scratch.remove().await;
        let said = self.capture.stream(self.says);
        let unreached = unreached(&ending, &self.seal, &said);
        End { ending, unreached }
    }
}

impl Input {
    /// Writes all of it; else says how much was taken.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut taken = 0;
        let writing = async {
            while taken < bytes.len() {
                taken += match self {
                    Self::Pipe(pipe) => pipe.write(&bytes[taken..]).await?,
                    Self::Terminal(keys) => keys.write(&bytes[taken..]).await?,
                };
            }
            io::Result::Ok(())
        };
        let why = match timeout(UNREAD, writing).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it does not read".to_owned(),
        };
        Err(format!("it took {taken} bytes of {}: {why}", bytes.len()))
    }

    /// Lets it know that nothing follows. A terminal is open still: what is typed to say so is one more key.
    pub async fn end(mut self) -> Result<Option<Self>, String> {
        match &self {
            Self::Pipe(_) => Ok(None),
            Self::Terminal(_) => {
                let typed = self.write(b"\x04").await;
                typed.map_err(|why| format!("Ctrl-D: {why}"))?;
                Ok(Some(self))
            }
        }
    }
}

impl Group {
    #[cfg(target_os = "linux")]
    fn of(child: &Child, kept: bool) -> Self {
        let number = if kept { Number::Keeper } else { Number::Own };
        Self(Arc::new(Mutex::new(own_number(child).map(number))))
    }

    #[cfg(not(target_os = "linux"))]
    fn of(child: &Child, _kept: bool) -> Self {
        Self(Arc::new(Mutex::new(own_number(child).map(Number::Own))))
    }

    /// Sends all of it a signal; false where nobody is left in it.
    pub fn signal(&self, signal: Signal) -> bool {
        let number = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *number {
            #[cfg(target_os = "linux")]
            Some(Number::Keeper(number)) => kill_process(number, forwarding(signal)).is_ok(),
            Some(Number::Own(number)) => kill_process_group(number, signal).is_ok(),
            None => false,
        }
    }

    /// Forgets the number: it may come to be a stranger's.
    fn leave(&self) {
        let mut number = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *number = None;
    }
}

impl Drop for Tether {
    fn drop(&mut self) {
        self.0.signal(Signal::KILL);
        self.0.leave();
    }
}

fn own_number(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| Pid::from_raw(id.cast_signed()))
}

/// How a program ended that ended by itself.
pub fn exit(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn in_terminal(command: &mut Command) -> io::Result<(Sender, Receiver)> {
    let terminal = Terminal::open()?;
    let [input, output, complaints] = stdio(&terminal.theirs)?;
    command.stdin(input).stdout(output).stderr(complaints);
    Ok((terminal.keys, terminal.screen))
}

/// The outcome of a command whose program never began.
fn unreached(ending: &Ending, seal: &Seal, said: &str) -> Option<Outcome> {
    let Ending::Exited(Ok(status)) = ending else {
        return None;
    };
    Some(match seal.broken(status.code(), said)? {
        Unreached::NoFence(no) => Outcome::denied(no.to_string()),
        Unreached::NotStarted(why) => {
            Outcome::failed(format!("the program cannot be started: {why}"))
        }
    })
}
