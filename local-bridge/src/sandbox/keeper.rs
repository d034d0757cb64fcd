//! The keeper of one command on Linux: a process between the bridge and the command's program, with which ends all that the program began.
//!
//! Whatever the program begins and leaves behind, in whatever group or session, becomes the keeper's child and not the system's. When the
//! program ends, or the bridge is gone, however it went, the keeper ends all of them and then itself, the way the program did.
//!
//! What keeps the keeper itself: a fenced program cannot trace or signal it (seccomp refuses its number on every kernel; Landlock's
//! signal scope too, from Linux 6.12), and if it dies nevertheless, the program dies with it. Without a fence a program has all the rights of
//! its account: it can kill its keeper on purpose, as it can the bridge. A program of another user (`sudo`) cannot be ended by us.
//!
//! On macOS there is no such place between: the process group is ended, and what has left its group stays.

use super::{Enclosure, NotEntered, limits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, getppid, kill_process,
    kill_process_group, pidfd_open, pidfd_send_signal, set_child_subreaper, wait,
};
use signal_hook::low_level::emulate_default_handler;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the program has to tidy up after the keeper was sent SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// How long what does not die is waited for: a disk that does not answer, or another user's program.
const SWEEP: Duration = Duration::from_secs(10);

/// The pause between two looks at what still lives.
const BREATH: Duration = Duration::from_millis(1);

/// Ends everything at once.
const END: Signal = Signal::USR1;

/// What the keeper is sent, and what the program's group gets for it. SIGTERM itself is its owner's, or the system's at shutdown.
const FORWARDED: [(Signal, Signal); 3] = [
    (Signal::INT, Signal::INT),
    (Signal::HUP, Signal::HUP),
    (Signal::USR2, Signal::TERM),
];

/// What the keeper is sent so that the program gets a signal.
pub(crate) fn forwarding(signal: Signal) -> Signal {
    let mut known = FORWARDED.into_iter();
    known
        .find(|(_, meant)| *meant == signal)
        .map_or(END, |(sent, _)| sent)
}

/// Starts the enclosure's program, stays until its end or the bridge's, and ends all that it began. Returns only if it could not start.
pub(super) fn keep(enclosure: &Enclosure) -> Result<Infallible, NotEntered> {
    let failed = NotEntered::NotStarted;
    let program = enclosure.handle();
    close_fds::set_fds_cloexec(3, program.as_slice());
    let bridge = watched(enclosure.parent).map_err(failed)?;
    let own = Some(getpid());
    set_child_subreaper(own).map_err(|error| failed(error.into()))?;
    limits::no_core().map_err(failed)?;
    let mut news = News::open().map_err(failed)?;
    let mut kept = Kept::begin(enclosure).map_err(failed)?;
    withdraw();
    kept.watch(&bridge, &mut news);
    kept.sweep();
    kept.follow()
}

/// The bridge, by a handle that tells of its end and never comes to mean another process.
fn watched(parent: u32) -> io::Result<OwnedFd> {
    let gone = || io::Error::other("the bridge is gone");
    let pid = Pid::from_raw(parent.cast_signed()).ok_or_else(gone)?;
    let bridge = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| match error {
        Errno::SRCH | Errno::INVAL => gone(),
        error => io::Error::from(error),
    })?;
    if getppid() == Some(pid) {
        Ok(bridge)
    } else {
        Err(gone())
    }
}

/// Lets go of what belongs to the program alone: its input and output, whose ends others wait for, and its folder.
fn withdraw() {
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        rustix::stdio::dup2_stdin(&null).ok(); // what cannot be let go of ends with the keeper
        rustix::stdio::dup2_stdout(&null).ok();
        rustix::stdio::dup2_stderr(&null).ok();
    }
    std::env::set_current_dir("/").ok(); // it only keeps a folder busy
}

/// The signals that have come, and a stream that wakes whoever waits for one.
struct News {
    wake: UnixStream,
    heard: Vec<(Signal, Arc<AtomicBool>)>,
}

impl News {
    fn open() -> io::Result<Self> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let mut heard = Vec::new();
        let others = [Signal::CHILD, Signal::TERM, Signal::QUIT, END];
        for signal in FORWARDED.map(|(sent, _)| sent).into_iter().chain(others) {
            let flag = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal.as_raw(), Arc::clone(&flag))?;
            signal_hook::low_level::pipe::register(signal.as_raw(), waker.try_clone()?)?;
            heard.push((signal, flag));
        }
        Ok(Self { wake, heard })
    }

    /// Whether a signal has come since it was last asked.
    fn has(&self, signal: Signal) -> bool {
        let mut heard = self.heard.iter();
        heard.any(|(name, flag)| *name == signal && flag.swap(false, Ordering::SeqCst))
    }

    /// Waits for a signal, the bridge's end, or a moment; true where it was the bridge's end.
    fn wait(&mut self, bridge: &OwnedFd, until: Option<Instant>) -> bool {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut both = [
            PollFd::new(&self.wake, PollFlags::IN),
            PollFd::new(bridge, PollFlags::IN),
        ];
        let polled = poll(&mut both, left.as_ref());
        let gone = !both[1].revents().is_empty();
        // It tells nothing but that there is something to look at.
        while matches!(self.wake.read(&mut [0; 64]), Ok(1..)) {}
        match polled {
            Ok(_) => gone,
            Err(Errno::INTR) => false,
            Err(_) => true, // what cannot be watched is not kept
        }
    }
}

/// A program and how it ended.
struct Kept {
    program: Pid,
    ended: Option<WaitStatus>,
}

impl Kept {
    fn begin(enclosure: &Enclosure) -> io::Result<Self> {
        let mut command = if enclosure.bare {
            let mut command = Command::new(&enclosure.program);
            if let [name, arguments @ ..] = enclosure.argv.as_slice() {
                command.arg0(name).args(arguments);
            }
            command
        } else {
            let inner = Enclosure {
                parent: std::process::id(),
                keep: false,
                ..enclosure.clone()
            };
            inner.command(&super::own_program()?)
        };
        if !enclosure.terminal {
            // In a terminal the fence makes the group, with the session.
            command.process_group(0);
        }
        let child = command.spawn()?;
        let program = Pid::from_raw(child.id().cast_signed());
        Ok(Self {
            program: program.ok_or_else(|| io::Error::other("it has no number"))?,
            ended: None,
        })
    }

    /// Comes back when the program has ended or everything is to end.
    fn watch(&mut self, bridge: &OwnedFd, news: &mut News) {
        let mut until = None;
        loop {
            self.reap();
            if self.ended.is_some() || news.has(END) {
                return;
            }
            for (sent, meant) in FORWARDED {
                if news.has(sent) {
                    self.signal(meant);
                }
            }
            if news.has(Signal::TERM) || news.has(Signal::QUIT) {
                self.signal(Signal::TERM);
                until.get_or_insert(Instant::now() + GRACE);
            }
            if until.is_some_and(|until| until <= Instant::now()) || news.wait(bridge, until) {
                return;
            }
        }
    }

    /// Sends the program's group a signal; the program alone, where it has not yet come to have a group.
    fn signal(&self, signal: Signal) {
        let sent = kill_process_group(self.program, signal);
        if sent.is_err() && self.ended.is_none() {
            kill_process(self.program, signal).ok(); // it has ended, which is noticed by itself
        }
    }

    /// Collects what has ended; true when nothing is left at all. What a dead process leaves behind becomes our child before it is collected.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.program => self.ended = Some(status),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Ends all that is left: the program's group in one stroke, which no fork in it outruns, then one by one what has left it.
    fn sweep(&mut self) {
        let until = Instant::now() + SWEEP;
        self.signal(Signal::KILL);
        while !self.reap() && Instant::now() < until {
            strike();
            sleep(BREATH);
        }
    }

    /// Ends as the program did.
    fn follow(&self) -> ! {
        let Some(status) = self.ended else {
            std::process::exit(128 + Signal::KILL.as_raw());
        };
        if let Some(signal) = status.terminating_signal() {
            emulate_default_handler(signal).ok(); // for one that has no name the shells' way remains
            std::process::exit(128 + signal);
        }
        std::process::exit(status.exit_status().unwrap_or_default());
    }
}

/// Ends every process that comes from this one and still lives.
fn strike() {
    let own = getpid().as_raw_pid();
    let (parents, ours) = descendants(own);
    for pid in &ours {
        let Some(name) = Pid::from_raw(*pid) else {
            continue;
        };
        if parents.get(pid) == Some(&own) {
            // Nobody but us collects it, so its number stays its own.
            kill_process(name, Signal::KILL).ok();
        } else if let Ok(handle) = pidfd_open(name, PidfdFlags::empty()) {
            // The number may have become a stranger's; what is open cannot.
            if parent(*pid).is_some_and(|parent| parent == own || ours.contains(&parent)) {
                pidfd_send_signal(handle, Signal::KILL).ok();
            }
        }
    }
}

/// Everyone's parent, and those who come from one process.
fn descendants(of: i32) -> (HashMap<i32, i32>, HashSet<i32>) {
    let numbers = fs::read_dir("/proc").into_iter().flatten();
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parents: HashMap<i32, i32> = numbers
        .filter_map(|pid: i32| Some((pid, parent(pid)?)))
        .collect();
    let mut ours = HashSet::new();
    let mut before = usize::MAX;
    while before != ours.len() {
        before = ours.len();
        let more = parents.iter();
        let more = more.filter(|(_, parent)| **parent == of || ours.contains(*parent));
        let more: Vec<i32> = more.map(|(pid, _)| *pid).collect();
        ours.extend(more);
    }
    (parents, ours)
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parent_in(&String::from_utf8_lossy(&stat))
}

/// The fourth field; the second is a name that a program gives itself, with whatever it likes in it.
fn parent_in(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_hides_no_parent() {
        assert_eq!(parent_in("77 (a) R 1 (b) c) S 5 77 77 0"), Some(5));
        assert_eq!(parent_in("77 sh"), None);
    }

    #[test]
    fn each_signal_that_can_be_sent_reaches_the_program_as_itself() {
        let meant = |signal: Signal| {
            let sent = forwarding(signal);
            let found = FORWARDED.iter().find(|(name, _)| *name == sent);
            found.map(|(_, meant)| *meant)
        };
        for signal in [Signal::INT, Signal::HUP, Signal::TERM] {
            assert_eq!(meant(signal), Some(signal));
        }
        assert_eq!(forwarding(Signal::KILL), END);
    }
}
