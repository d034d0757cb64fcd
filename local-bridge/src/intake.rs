//! Files that come from the Worker, judged as they come: each piece in its place, for a call that may have it, no more than was asked for.

use crate::tools::files_send::MAX_FILE;
use protocol::call::{CallId, FileRef};
use protocol::chunk::{Chunk, MARKS, MAX_CHUNK, STRETCH};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::{Instant, timeout_at};

/// How much may wait for a tool: all that a Worker may send before a mark has been said back, and as much again for short pieces.
const WAITING: usize = 2 * MARKS * (STRETCH / MAX_CHUNK);

/// How long any file may take, for there are pauses on every line.
const WHOLE: Duration = Duration::from_mins(10);

/// The bytes of a second on the slowest line on which a file is worth waiting for.
const SLOWEST: u64 = 100_000;

/// What comes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inflow {
    /// It is announced.
    Start(FileRef),
    /// There is none.
    Missing,
    /// Its next bytes.
    Bytes {
        /// Where in the file they stand.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A mark, to be said back once all before it has been read.
    Mark(String),
}

/// One call's end of it.
#[derive(Debug)]
pub struct Intake {
    /// What comes, in order; [`Intake::next`] waits for it.
    pub inflow: mpsc::Receiver<Inflow>,
    /// Becomes `true` when the file, which is here whole, may take its place. Gone, it may not.
    pub go: watch::Receiver<bool>,
    /// Whose turn it is: one file at a time.
    pub turn: Arc<Mutex<()>>,
    /// How long the next piece may take.
    pub patience: Duration,
    /// When all of the file must be here, once it is announced.
    end: Option<Instant>,
}

/// What a call waits for takes too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the file comes too slowly")]
pub struct TooSlow;

/// The files that come over one connection.
#[derive(Debug, Default)]
pub struct Intakes {
    open: HashMap<CallId, Coming>,
    turn: Arc<Mutex<()>>,
}

/// What a Worker sends is not what it may send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// No call asked for it over this connection.
    #[error("a piece of a file that no call asked for")]
    Unasked,
    /// It was announced before, or not yet, or is longer than any file may be.
    #[error("a file that does not begin as it should")]
    Beginning,
    /// It does not stand where the last piece ended, or ends behind the file's end.
    #[error("a piece of a file in the wrong place")]
    Misplaced,
    /// What came before has not been said to be read.
    #[error("more of a file than was asked for")]
    TooMuch,
}

#[derive(Debug)]
struct Coming {
    /// Where it goes; nothing once its call has ended, when what is still on its way counts for nothing.
    to: Option<mpsc::Sender<Inflow>>,
    size: Option<u64>,
    at: u64,
}

impl Intakes {
    /// Lets a call receive a file; each piece may take `patience`.
    pub fn open(&mut self, call: &CallId, go: watch::Receiver<bool>, patience: Duration) -> Intake {
        let (to, inflow) = mpsc::channel(WAITING);
        let coming = Coming {
            to: Some(to),
            size: None,
            at: 0,
        };
        self.open.insert(call.clone(), coming);
        Intake {
            inflow,
            go,
            turn: Arc::clone(&self.turn),
            patience,
            end: None,
        }
    }

    /// A call needs no more of its file. What is on its way still comes.
    pub fn close(&mut self, call: &CallId) {
        if let Some(coming) = self.open.get_mut(call) {
            coming.to = None;
        }
    }

    /// The connection is gone, and with it all that came over it.
    pub fn lost(&mut self) {
        self.open.clear();
    }

    /// Passes on what comes for a call; gives back a mark that nobody is left to read to.
    pub fn take(&mut self, call: &CallId, inflow: Inflow) -> Result<Option<String>, Wrong> {
        let Some(coming) = self.open.get_mut(call) else {
            return match inflow {
                Inflow::Mark(mark) => Ok(Some(mark)), // it ended before this was sent
                Inflow::Start(_) | Inflow::Missing | Inflow::Bytes { .. } => Err(Wrong::Unasked),
            };
        };
        coming.judge(&inflow)?;
        let Some(to) = &coming.to else {
            return Ok(unread(inflow));
        };
        match to.try_send(inflow) {
            Ok(()) => Ok(None),
            Err(TrySendError::Closed(inflow)) => Ok(unread(inflow)),
            Err(TrySendError::Full(_)) => Err(Wrong::TooMuch),
        }
    }
}

impl Intake {
    /// The next of what comes; nothing if no more comes. It takes too long by itself, or with all that came before: whoever sends does not
    /// decide for how long a call lies open.
    pub async fn next(&mut self) -> Result<Option<Inflow>, TooSlow> {
        let now = Instant::now();
        let piece = now + self.patience;
        let end = self.end.map_or(piece, |end| end.min(piece));
        if end <= now {
            return Err(TooSlow); // even if something has come
        }
        let next = timeout_at(end, self.inflow.recv()).await;
        let next = next.map_err(|_| TooSlow)?;
        if let Some(Inflow::Start(file)) = &next {
            self.end = Some(Instant::now() + longest(file.size));
        }
        Ok(next)
    }
}

/// How long a file of so many bytes may take.
fn longest(size: u64) -> Duration {
    WHOLE + Duration::from_secs(size / SLOWEST)
}

impl Coming {
    /// Whether this may come now.
    fn judge(&mut self, inflow: &Inflow) -> Result<(), Wrong> {
        match (inflow, self.size) {
            (Inflow::Start(file), None) if file.size <= MAX_FILE => {
                self.size = Some(file.size);
                Ok(())
            }
            (Inflow::Missing, None) | (Inflow::Mark(_), _) => Ok(()),
            (Inflow::Bytes { offset, bytes }, Some(size)) => {
                let end = offset.saturating_add(bytes.len() as u64);
                if *offset != self.at || end > size {
                    return Err(Wrong::Misplaced);
                }
                self.at = end;
                Ok(())
            }
            (Inflow::Start(_) | Inflow::Missing | Inflow::Bytes { .. }, _) => Err(Wrong::Beginning),
        }
    }
}

impl From<Chunk> for Inflow {
    fn from(chunk: Chunk) -> Self {
        Self::Bytes {
            offset: chunk.offset,
            bytes: chunk.bytes,
        }
    }
}

fn unread(inflow: Inflow) -> Option<String> {
    match inflow {
        Inflow::Mark(mark) => Some(mark),
        Inflow::Start(_) | Inflow::Missing | Inflow::Bytes { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn id(call: &str) -> CallId {
        CallId(call.into())
    }

    fn start(size: u64) -> Inflow {
        Inflow::Start(FileRef {
            name: "a".into(),
            mime: "text/plain".into(),
            size,
            sha256: "00".repeat(32),
        })
    }

    fn bytes(offset: u64, bytes: &[u8]) -> Inflow {
        Inflow::Bytes {
            offset,
            bytes: bytes.to_vec(),
        }
    }

    fn mark() -> Inflow {
        Inflow::Mark("m".into())
    }

    fn opened() -> (Intakes, Intake) {
        let mut intakes = Intakes::default();
        let (_, go) = watch::channel(false);
        let intake = intakes.open(&id("c1"), go, PATIENCE);
        (intakes, intake)
    }

    #[test]
    fn a_file_comes_in_order_and_no_byte_of_it_twice_or_beyond() {
        let (mut intakes, mut intake) = opened();
        let good = [start(4), bytes(0, b"ab"), mark(), bytes(2, b"cd")];
        for inflow in &good {
            assert_eq!(intakes.take(&id("c1"), inflow.clone()), Ok(None));
        }
        for (wrong, why) in [
            (start(4), Wrong::Beginning),
            (Inflow::Missing, Wrong::Beginning),
            (bytes(2, b"cd"), Wrong::Misplaced),
            (bytes(4, b"e"), Wrong::Misplaced),
            (bytes(u64::MAX, b"e"), Wrong::Misplaced),
        ] {
            assert_eq!(intakes.take(&id("c1"), wrong), Err(why));
        }
        let came: Vec<Inflow> = std::iter::from_fn(|| intake.inflow.try_recv().ok()).collect();
        assert_eq!(came, good);
    }

    #[test]
    fn what_no_call_asked_for_is_refused_and_what_one_no_longer_needs_is_dropped() {
        let (mut intakes, intake) = opened();
        assert_eq!(
            intakes.take(&id("c1"), bytes(0, b"a")),
            Err(Wrong::Beginning)
        );
        assert_eq!(
            intakes.take(&id("c1"), start(MAX_FILE + 1)),
            Err(Wrong::Beginning)
        );
        for inflow in [start(1), Inflow::Missing, bytes(0, b"a")] {
            assert_eq!(intakes.take(&id("c2"), inflow), Err(Wrong::Unasked));
        }
        let back = Ok(Some("m".to_owned()));
        assert_eq!(intakes.take(&id("c2"), mark()), back);
        assert_eq!(intakes.take(&id("c1"), start(2)), Ok(None));
        intakes.close(&id("c1"));
        assert_eq!(intakes.take(&id("c1"), bytes(0, b"a")), Ok(None));
        assert_eq!(intakes.take(&id("c1"), mark()), back);
        assert_eq!(
            intakes.take(&id("c1"), bytes(0, b"a")),
            Err(Wrong::Misplaced),
            "even then in order"
        );
        drop(intake);
        intakes.lost();
        assert_eq!(intakes.take(&id("c1"), start(1)), Err(Wrong::Unasked));
    }

    #[test]
    fn whoever_sends_without_waiting_for_its_marks_is_refused() {
        let (mut intakes, _intake) = opened();
        intakes.take(&id("c1"), start(MAX_FILE)).unwrap();
        let flood = (0..).find_map(|at| intakes.take(&id("c1"), bytes(at, b"x")).err());
        assert_eq!(flood, Some(Wrong::TooMuch));
    }
    #[tokio::test]
    async fn a_file_has_an_end_to_its_time_however_well_its_pieces_come() {
        let (mut intakes, mut intake) = opened();
        for inflow in [start(2), mark(), bytes(0, b"ab")] {
            intakes.take(&id("c1"), inflow).unwrap();
        }
        let before = Instant::now();
        assert_eq!(intake.next().await, Ok(Some(start(2))));
        let end = intake.end.unwrap();
        assert!(end >= before + WHOLE && end <= Instant::now() + WHOLE);
        assert_eq!(longest(30 * SLOWEST), WHOLE + Duration::from_secs(30));
        assert_eq!(intake.next().await, Ok(Some(mark())));
        intake.end = Some(Instant::now());
        assert_eq!(intake.next().await, Err(TooSlow), "the bytes are there");
    }
}
