//! The programs that go on in the background. They live as long as the bridge at the most, and each has its own bound of time.

pub mod capture;
mod listed;
mod plain;
pub mod program;
mod terminal;

pub use listed::{Listed, listed};

use crate::home::Home;
use crate::outputs::Outputs;
use crate::places::visible;
use crate::status::now;
use crate::tools::figures::size;
use capture::Capture;
use program::{End, Ending, GRACE, Group, Input, Program, exit};
use protocol::call::Outcome;
use rustix::process::Signal;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How many run at once; a home machine has other things to do.
pub const MOST: usize = 8;

/// How many that have ended are still known.
const REMEMBERED: usize = 16;

/// How often it is looked whether the machine was frozen.
const LOOK: Duration = Duration::from_secs(1);

/// All of them, across all connections of one bridge.
#[derive(Debug)]
pub struct Processes {
    home: Home,
    outputs: Outputs,
    room: Arc<Semaphore>,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug)]
struct Table {
    next: u64,
    all: Vec<Arc<Process>>,
}

/// A name and a place for one that is about to begin.
#[derive(Debug)]
pub struct Slot {
    /// Its name, such as `p3`.
    pub id: String,
    held: OwnedSemaphorePermit,
}

/// One of them, running or ended.
#[derive(Debug)]
pub struct Process {
    /// Its name, such as `p3`.
    pub id: String,
    /// How it was started.
    pub argv: Vec<String>,
    /// The number of the process to end, with which all ends that it began; its keeper, where it has one.
    pub pid: Option<u32>,
    /// When it began, in milliseconds since 1970.
    pub since: i64,
    begun: Instant,
    limit: Duration,
    group: Group,
    capture: Capture,
    input: tokio::sync::Mutex<Option<Input>>,
    stop: watch::Sender<Option<&'static str>>,
    ended: watch::Sender<Option<Ended>>,
}

/// How one ended.
#[derive(Debug, Clone)]
struct Ended {
    how: String,
    at: Instant,
    unreached: Option<Outcome>,
}

impl Processes {
    /// None yet. What earlier ones wrote is still there; what they left in their folders goes.
    pub fn open(home: &Home) -> io::Result<Self> {
        match std::fs::remove_dir_all(home.scratch()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("{}: {error}", home.scratch().display());
            }
            Ok(()) | Err(_) => {}
        }
        let outputs = Outputs::open(&home.outputs())?;
        listed::write(home, &[]);
        Ok(Self {
            table: Arc::new(Mutex::new(Table {
                next: outputs.next_number(),
                all: Vec::new(),
            })),
            home: home.clone(),
            outputs,
            room: Arc::new(Semaphore::new(MOST)),
        })
    }

    /// What commands wrote.
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// A place for another one.
    pub fn slot(&self) -> Result<Slot, String> {
        let held = Arc::clone(&self.room).try_acquire_owned().map_err(|_| {
            format!("{MOST} programs run in the background, and no more can; stop one first")
        })?;
        let mut table = self.lock();
        let id = format!("p{}", table.next);
        table.next += 1;
        Ok(Slot { id, held })
    }

    /// Lets a program go on until its time is over or it is stopped.
    pub fn adopt(
        &self,
        slot: Slot,
        argv: &[String],
        mut program: Program,
        limit: Duration,
    ) -> Arc<Process> {
        let process = Arc::new(Process {
            id: slot.id,
            argv: argv.to_vec(),
            pid: program.pid(),
            since: now(),
            begun: Instant::now(),
            limit,
            group: program.group(),
            capture: program.capture(),
            input: tokio::sync::Mutex::new(program.input()),
            stop: watch::Sender::new(None),
            ended: watch::Sender::new(None),
        });
        let mut table = self.lock();
        table.all.push(Arc::clone(&process));
        table.forget();
        listed::write(&self.home, &table.all);
        drop(table);
        let (watched, home) = (Arc::clone(&process), self.home.clone());
        let (held, table) = (slot.held, Arc::clone(&self.table));
        tokio::spawn(async move {
            let stop = watched.stop.subscribe();
            let end = program.ended(limit, stopped(stop, home.clone())).await;
            watched.settle(end).await;
            listed::write(&home, &locked(&table).all);
            drop(held);
        });
        process
    }

    /// The one of that name.
    pub fn find(&self, id: &str) -> Result<Arc<Process>, String> {
        let table = self.lock();
        let found = table.all.iter().find(|process| process.id == id);
        found.cloned().ok_or_else(|| {
            format!(
                "there is no process '{}'; process.list tells which there are, and they end with local-bridge",
                visible(id)
            )
        })
    }

    /// Forgets one that has never begun.
    pub fn remove(&self, id: &str) {
        self.lock().all.retain(|process| process.id != id);
    }

    /// All that are known, the oldest first.
    pub fn all(&self) -> Vec<Arc<Process>> {
        self.lock().all.clone()
    }

    /// Asks every one to end, for this reason.
    pub fn stop_all(&self, why: &'static str) {
        for process in self.all() {
            process.stop(why);
        }
    }

    /// Ends every one, for this reason, and waits until that is done.
    pub async fn end_all(&self, why: &'static str) {
        self.stop_all(why);
        for process in self.all() {
            process.gone(GRACE * 2).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        locked(&self.table)
    }
}

fn locked(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    /// Forgets the oldest of those that have ended.
    fn forget(&mut self) {
        let ended = self.all.iter().filter(|process| !process.runs()).count();
        let mut over = ended.saturating_sub(REMEMBERED);
        self.all.retain(|process| {
            let goes = over > 0 && !process.runs();
            over -= usize::from(goes);
            !goes
        });
    }
}

impl Process {
    /// What it has written.
    pub fn capture(&self) -> &Capture {
        &self.capture
    }

    /// Whether it has not ended.
    pub fn runs(&self) -> bool {
        self.ended.borrow().is_none()
    }

    /// What is to be told when it has never begun.
    pub fn unreached(&self) -> Option<Outcome> {
        self.ended.borrow().as_ref()?.unreached.clone()
    }

    /// How it stands, in words.
    pub fn state(&self) -> String {
        match &*self.ended.borrow() {
            None => format!(
                "runs for {} of {} seconds",
                self.begun.elapsed().as_secs(),
                self.limit.as_secs()
            ),
            Some(ended) => {
                format!(
                    "{}, {} seconds ago",
                    ended.how,
                    ended.at.elapsed().as_secs()
                )
            }
        }
    }

    /// One line about it.
    pub fn line(&self) -> String {
        let words = visible(&self.argv.join(" "));
        let command: String = words.chars().take(200).collect();
        let wrote = size(self.capture.total());
        format!("{}: {command}; {}; wrote {wrote}", self.id, self.state())
    }

    /// Writes to it, and ends its input where nothing follows.
    pub async fn write(&self, text: &str, end: bool) -> Result<(), String> {
        let mut input = self.input.lock().await;
        let Some(open) = input.as_mut().filter(|_| self.runs()) else {
            return Err(if self.runs() {
                format!("the input of {} has ended", self.id)
            } else {
                format!("{} has ended: {}", self.id, self.state())
            });
        };
        open.write(text.as_bytes()).await?;
        if let Some(open) = input.take_if(|_| end) {
            *input = open.end().await?;
        }
        Ok(())
    }

    /// Sends it and all that it began a signal.
    pub fn signal(&self, which: Signal) -> Result<(), String> {
        if !self.group.signal(which) {
            return Err(format!("{} has ended", self.id));
        }
        Ok(())
    }

    /// Asks it to end, and ends it, with all that it began, if it does not.
    pub fn stop(&self, why: &'static str) {
        self.stop.send_if_modified(|stop| {
            let first = stop.is_none();
            stop.get_or_insert(why);
            first
        });
    }

    /// Whether it has ended, or does within this time.
    pub async fn gone(&self, within: Duration) -> bool {
        let mut ended = self.ended.subscribe();
        let gone = timeout(within, ended.wait_for(Option::is_some)).await;
        gone.is_ok()
    }

    async fn settle(&self, end: End) {
        let how = match &end.ending {
            Ending::Exited(Ok(status)) => exit(*status),
            Ending::Exited(Err(error)) => format!("its end could not be learned: {error}"),
            Ending::TimedOut => format!("stopped after {} seconds", self.limit.as_secs()),
            Ending::Flooded => "stopped: it wrote too much".to_owned(),
            Ending::Cancelled => "called off".to_owned(),
            Ending::Stopped(why) => format!("stopped: {why}"),
        };
        self.ended.send_replace(Some(Ended {
            how,
            at: Instant::now(),
            unreached: end.unreached,
        }));
        self.input.lock().await.take();
    }
}

/// Comes back when one is to be stopped: it was asked to, or its machine was frozen.
async fn stopped(mut stop: watch::Receiver<Option<&'static str>>, home: Home) -> Ending {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if let Some(why) = *stop.borrow_and_update() {
            return Ending::Stopped(why);
        }
        tokio::select! {
            _ = look.tick() => {
                if home.panics() {
                    return Ending::Stopped("this machine was frozen");
                }
            }
            changed = stop.changed() => {
                if changed.is_err() {
                    return Ending::Stopped("nobody holds it any more");
                }
            }
        }
    }
}
