//! `files.send`: a file's exact bytes, streamed beside the call's result within the credit that the Worker gives.

use crate::places::{self, NoPlace, Place, visible};
use crate::tools::figures::size;
use crate::tools::{Job, broken};
use cap_std::fs::File;
use protocol::ToWorker;
use protocol::call::{CallId, FileRef, Outcome};
use protocol::chunk::{Chunk, MAX_CHUNK};
use protocol::key::hex;
use protocol::tools::FilesSend;
use ring::digest::{Context, SHA256};
use std::io::{self, Read};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

/// What Telegram takes from a bot.
pub const MAX_FILE: u64 = 50 * 1024 * 1024;

/// Something that a running tool wants to travel or to be known.
#[derive(Debug)]
pub enum FromTool {
    /// A piece of a file, of one run of a call.
    Piece {
        /// The call.
        call: CallId,
        /// Which run of it.
        attempt: u64,
        /// What travels.
        piece: Piece,
    },
    /// A run has all that it needs from the Worker, has changed nothing yet, and waits for the word to go on.
    Received {
        /// The call.
        call: CallId,
        /// Which run of it.
        attempt: u64,
    },
    /// A run has ended.
    Ended {
        /// The call.
        call: CallId,
        /// Which run of it.
        attempt: u64,
        /// How.
        outcome: Outcome,
        /// SHA-256 of the policy that judged it.
        policy_sha256: String,
    },
}

/// What travels beside results.
#[derive(Debug)]
pub enum Piece {
    /// A frame: a file's announcement, or how far a command is.
    Start(ToWorker),
    /// A binary frame.
    Bytes(Vec<u8>),
}

/// Carries the bytes of one run of one call. Its credit ends with the connection.
#[derive(Debug)]
pub struct Courier {
    /// Where pieces go, in order.
    pub pieces: mpsc::Sender<FromTool>,
    /// Up to where bytes may go.
    pub credit: watch::Receiver<u64>,
}

enum Halt {
    /// The place is not there or may not be read.
    No(NoPlace),
    /// The connection is gone or the call is called off.
    CutOff,
    /// More than a bot may send.
    TooLarge(u64),
    /// It grew or shrank under our eyes.
    Changed,
}

/// Sends a file.
pub async fn run(job: Job, wanted: FilesSend) -> Outcome {
    let clock = Handle::current();
    let sent = tokio::task::spawn_blocking(move || {
        let place = match places::find(&job.policy.roots, &wanted.path) {
            Ok(place) => place,
            Err(no) => return no.into(),
        };
        match send(&job, &place, &clock) {
            Ok(file) => Outcome::Done {
                text: format!("sent {} ({})", place.shown(), size(file.size)),
                file: Some(file),
            },
            Err(halt) => halt.told(&place),
        }
    });
    sent.await.unwrap_or_else(|_| broken())
}

impl Halt {
    fn told(self, place: &Place<'_>) -> Outcome {
        match self {
            Self::No(no) => no.into(),
            Self::CutOff => Outcome::Cancelled,
            Self::TooLarge(length) => Outcome::failed(format!(
                "'{}' has {}; Telegram takes files of up to 50 MB from a bot",
                place.shown(),
                size(length)
            )),
            Self::Changed => Outcome::failed(format!(
                "'{}' was being changed while it was sent; try again",
                place.shown()
            )),
        }
    }
}

fn send(job: &Job, place: &Place<'_>, clock: &Handle) -> Result<FileRef, Halt> {
    let mut file = place.open_file().map_err(Halt::No)?;
    let metadata = file.metadata();
    let length = metadata
        .map_err(|error| Halt::No(place.refusal(error)))?
        .len();
    if length > MAX_FILE {
        return Err(Halt::TooLarge(length));
    }
    let mut told = described(place, length);
    push(
        job,
        Piece::Start(ToWorker::FileStart {
            call: job.order.call.clone(),
            name: told.name.clone(),
            mime: told.mime.clone(),
            size: length,
        }),
    )?;
    let mut hash = Context::new(&SHA256);
    let mut credit = job.courier.credit.clone();
    let mut offset = 0;
    while offset < length {
        // Whatever is granted is used, or a Worker that grants less than a whole chunk would wait for ever.
        let until = *clock
            .block_on(credit.wait_for(|until| *until > offset))
            .map_err(|_| Halt::CutOff)?;
        let most = usize::try_from(until.min(length) - offset).unwrap_or(MAX_CHUNK);
        let mut frame = head(&job.order.call, offset);
        let begun = frame.len();
        let read = read_up_to(&mut file, most.min(MAX_CHUNK), &mut frame)
            .map_err(|error| Halt::No(place.refusal(error)))?;
        if read == 0 {
            return Err(Halt::Changed);
        }
        hash.update(&frame[begun..]);
        push(job, Piece::Bytes(frame))?;
        offset += read as u64;
    }
    let more = read_up_to(&mut file, 1, &mut Vec::new());
    if more.map_err(|error| Halt::No(place.refusal(error)))? > 0 {
        return Err(Halt::Changed);
    }
    told.sha256 = hex(hash.finish().as_ref());
    Ok(told)
}

/// A chunk's frame as far as its bytes, which are read to where they travel from.
fn head(call: &CallId, offset: u64) -> Vec<u8> {
    let chunk = Chunk {
        call: call.clone(),
        offset,
        bytes: Vec::new(),
    };
    chunk.encode()
}

fn described(place: &Place<'_>, size: u64) -> FileRef {
    let name = place.path.file_name().unwrap_or_default();
    FileRef {
        name: visible(&name.to_string_lossy()),
        mime: mime_guess::from_path(&place.path)
            .first_raw()
            .unwrap_or("application/octet-stream")
            .to_owned(),
        size,
        sha256: String::new(),
    }
}

fn push(job: &Job, piece: Piece) -> Result<(), Halt> {
    if *job.cancelled.borrow() {
        return Err(Halt::CutOff);
    }
    let piece = FromTool::Piece {
        call: job.order.call.clone(),
        attempt: job.order.attempt,
        piece,
    };
    job.courier
        .pieces
        .blocking_send(piece)
        .map_err(|_| Halt::CutOff)
}

fn read_up_to(file: &mut File, most: usize, bytes: &mut Vec<u8>) -> io::Result<usize> {
    bytes.reserve_exact(most);
    file.take(most as u64).read_to_end(bytes)
}
