//! Files on their way to a machine: what the person gave, or another machine sent, read row by row as the machine reads it.
//!
//! How far a file is stands on the machine's socket: it outlasts the object's sleep, and ends with the connection. Of the file itself
//! no more than two rows are on their way at once, whatever the machine claims: only who has read a mark can say it back.

use super::Heart;
use super::files::{Kept, piece_at};
use super::line::{line, ready, send, set_line};
use crate::error::{Error, Result};
use protocol::ToBridge;
use protocol::call::CallId;
use protocol::chunk::{Chunk, MARKS, MAX_CHUNK};
use protocol::key::random_text;
use protocol::tools::FilesSave;
use serde::{Deserialize, Serialize};
use worker::WebSocket;

/// The tool whose calls bring a file to a machine.
const SAVE: &str = "files.save";

/// What is on its way over one connection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sending {
    file: Option<Under>,
    /// What was set behind the rows that are on their way, in order.
    marks: Vec<String>,
}

/// A file on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Under {
    call: CallId,
    /// Its name in the rows.
    file: String,
    size: u64,
    /// Up to where it was sent.
    at: u64,
}

impl Heart {
    /// A machine asks for the file that one of its calls shall save; an earlier one that is not through gives way.
    pub(super) fn fetch(&self, socket: &WebSocket, call: CallId) -> Result<()> {
        let (bridge, _) = ready(socket)?;
        let Some(wanted) = self.wanted_by(&bridge, &call)? else {
            return Ok(()); // it was called off meanwhile, and the machine is told so
        };
        let Some(Kept { file, told }) = self.kept(&wanted)? else {
            return send(socket, &ToBridge::FileMissing { call });
        };
        let mut line = line(socket)?;
        line.sending.file = Some(Under {
            call: call.clone(),
            file,
            size: told.size,
            at: 0,
        });
        set_line(socket, &line)?;
        send(socket, &ToBridge::FileStart { call, file: told })?;
        self.send_on(socket)
    }

    /// A machine has read up to a mark.
    pub(super) fn has_read(&self, socket: &WebSocket, mark: &str) -> Result<()> {
        ready(socket)?;
        let mut line = line(socket)?;
        let known = line.sending.marks.iter().position(|set| set == mark);
        let known = known.ok_or_else(|| Error::Violation("a mark that was not set".into()))?;
        line.sending.marks.drain(..=known);
        set_line(socket, &line)?;
        self.send_on(socket)
    }

    /// Sends rows while fewer than [`MARKS`] of them are on their way.
    fn send_on(&self, socket: &WebSocket) -> Result<()> {
        let mut line = line(socket)?;
        while line.sending.marks.len() < MARKS
            && let Some(under) = line.sending.file.take()
        {
            if under.at >= under.size || self.is_over(&under.call)? {
                continue;
            }
            let row = piece_at(self.db(), &under.file, under.at)?;
            let row = row.ok_or(Error::Missing("a piece of a file"))?;
            let mark = random_text()?;
            let sent = under.at + row.len() as u64;
            send_row(socket, &under, &row, &mark)?;
            line.sending.marks.push(mark);
            line.sending.file = Some(Under { at: sent, ..under });
        }
        set_line(socket, &line)
    }

    /// The file that an open call of this machine names; nothing where the call is over.
    fn wanted_by(&self, bridge: &str, call: &CallId) -> Result<Option<String>> {
        let Some(row) = self.driver.open_call(call)? else {
            return if self.is_over(call)? {
                Ok(None)
            } else {
                Err(Error::Violation("a file for a call that is none".into()))
            };
        };
        if row.bridge.as_deref() != Some(bridge) || row.call.tool.0 != SAVE {
            return Err(Error::Violation(
                "a file for a call that nobody ordered from here".into(),
            ));
        }
        let wanted: FilesSave = serde_json::from_value(row.call.arguments)
            .map_err(|error| Error::Violation(error.to_string()))?;
        Ok(Some(wanted.file))
    }
}

/// A row of a file in small frames, and the mark behind it.
fn send_row(socket: &WebSocket, under: &Under, row: &[u8], mark: &str) -> Result<()> {
    let mut offset = under.at;
    for bytes in row.chunks(MAX_CHUNK) {
        let chunk = Chunk {
            call: under.call.clone(),
            offset,
            bytes: bytes.to_vec(),
        };
        offset += bytes.len() as u64;
        socket.send_with_bytes(chunk.encode())?;
    }
    let (call, mark) = (under.call.clone(), mark.to_owned());
    send(socket, &ToBridge::Mark { call, mark })
}
