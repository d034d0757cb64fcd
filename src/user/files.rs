//! Files on their way from a machine to the person: stored piece by piece first, handed over from the rows.
//!
//! A file never lies in memory whole, and one that was stored survives everything that can happen before it is sent.

use super::db::{Bind, Db};
use super::{Heart, now};
use crate::error::{Error, Result};
use crate::http::FileBytes;
use futures::stream;
use protocol::call::{CallId, FileRef};
use protocol::chunk::{Chunk, WINDOW};
use protocol::key::hex;
use serde::Deserialize;
use serde_bytes::ByteBuf;
use std::rc::Rc;
use worker::{Headers, Response};

/// How much of a file makes a row: half a window, so that credit flows while the other half travels. A row may hold 2 MB.
const PIECE: usize = 512 * 1024;

/// The largest file that is taken, in bytes: what Telegram takes from a bot.
const FILE_LIMIT: u64 = 50 * 1024 * 1024;

/// The end of a file that is too short for a row yet.
pub(super) struct Partial {
    /// The machine that sends it.
    bridge: String,
    /// Where it begins in the file.
    offset: u64,
    bytes: Vec<u8>,
    size: u64,
}

/// How much of a file is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrived {
    /// All of it, byte for byte.
    Whole,
    /// As much as was announced, but other bytes.
    Damaged,
    /// Not all of it yet.
    InPart,
}

#[derive(Deserialize)]
struct Stored {
    name: String,
    mime: String,
    size: i64,
    length: i64,
}

#[derive(Deserialize)]
struct Piece {
    bytes: ByteBuf,
}

impl Heart {
    /// A machine announces a file; says how far it may send. An earlier attempt at the same file is dropped.
    pub(super) fn file_starts(
        &self,
        bridge: &str,
        call: &CallId,
        name: &str,
        mime: &str,
        size: u64,
    ) -> Result<u64> {
        if size > FILE_LIMIT {
            return Err(Error::Violation(format!(
                "a file of {size} bytes is more than may be sent"
            )));
        }
        self.db().transaction(|db| {
            db.run("DELETE FROM file_pieces WHERE call = ?", &[(&call.0).into()])?;
            db.run(
                "INSERT OR REPLACE INTO files (call, name, mime, size, stored, at) VALUES (?, ?, ?, ?, 0, ?)",
                &[(&call.0).into(), name.into(), mime.into(), signed(size).into(), now().into()],
            )
        })?;
        self.partial.borrow_mut().insert(
            call.clone(),
            Partial {
                bridge: bridge.to_owned(),
                offset: 0,
                bytes: Vec::new(),
                size,
            },
        );
        Ok(size.min(WINDOW))
    }

    /// A piece of a file; says how far the machine may send from here, when that has changed.
    pub(super) fn file_goes_on(&self, bridge: &str, chunk: &Chunk) -> Result<Option<u64>> {
        let mut partials = self.partial.borrow_mut();
        let Some(partial) = partials.get_mut(&chunk.call) else {
            if self.is_over(&chunk.call)? {
                return Ok(None); // it was called off with pieces still on their way
            }
            return Err(Error::Transfer("a piece of a file nobody announced".into()));
        };
        let end = partial.offset + partial.bytes.len() as u64;
        if partial.bridge != bridge {
            return Err(Error::Violation("a piece of another machine's file".into()));
        }
        if chunk.offset != end || end + chunk.bytes.len() as u64 > partial.size {
            return Err(Error::Violation(
                "a piece of a file in the wrong place".into(),
            ));
        }
        partial.bytes.extend_from_slice(&chunk.bytes);
        let end = end + chunk.bytes.len() as u64;
        if partial.bytes.len() < PIECE && end < partial.size {
            return Ok(None);
        }
        self.db().transaction(|db| {
            let place = [
                (&chunk.call.0).into(),
                signed(partial.offset).into(),
                Bind::Blob(&partial.bytes),
            ];
            db.run(
                "INSERT INTO file_pieces (call, offset, bytes) VALUES (?, ?, ?)",
                &place,
            )?;
            db.run(
                "UPDATE files SET stored = ? WHERE call = ?",
                &[signed(end).into(), (&chunk.call.0).into()],
            )
        })?;
        partial.offset = end;
        partial.bytes.clear();
        let size = partial.size;
        if end == size {
            partials.remove(&chunk.call);
        }
        Ok(Some(size.min(end + WINDOW)))
    }

    /// How much of the file that a machine's result names is here.
    pub(super) fn arrived(&self, call: &CallId, file: &FileRef) -> Result<Arrived> {
        let Some(stored) = stored(self.db(), call)? else {
            return Ok(Arrived::InPart);
        };
        if stored.length != stored.size {
            return Ok(Arrived::InPart);
        }
        let mut hash = hmac_sha256::Hash::new();
        let mut offset = 0;
        while let Some(piece) = piece_at(self.db(), call, offset)? {
            hash.update(&piece);
            offset += piece.len() as u64;
        }
        let same = offset == file.size && hex(&hash.finalize()) == file.sha256;
        Ok(if same {
            Arrived::Whole
        } else {
            Arrived::Damaged
        })
    }

    /// A stored file's bytes, read row by row as they leave.
    pub(super) fn file_bytes(self: &Rc<Self>, call: &CallId) -> Result<FileBytes> {
        stored(self.db(), call)?.ok_or(Error::Missing("the file"))?;
        let (heart, call) = (Rc::clone(self), call.clone());
        Ok(Box::pin(stream::try_unfold(0_u64, move |offset| {
            let piece = piece_at(heart.db(), &call, offset).map_err(worker::Error::from);
            std::future::ready(
                piece.map(|piece| piece.map(|bytes| (bytes.clone(), offset + bytes.len() as u64))),
            )
        })))
    }

    /// Hands a file to the person's browser.
    pub(super) fn hand_over(self: &Rc<Self>, call: &CallId) -> Result<Response> {
        let Some(file) = stored(self.db(), call)?.filter(|file| file.length == file.size) else {
            return Ok(Response::error(
                "this file is not kept any more; ask for it again",
                404,
            )?);
        };
        let headers = Headers::new();
        headers.set("content-type", &file.mime)?;
        headers.set(
            "content-disposition",
            &format!("attachment; filename*=UTF-8''{}", percent(&file.name)),
        )?;
        headers.set("x-content-type-options", "nosniff")?;
        headers.set("content-security-policy", "sandbox; default-src 'none'")?;
        headers.set("cache-control", "no-store")?;
        Ok(Response::from_stream(self.file_bytes(call)?)?.with_headers(headers))
    }
}

fn stored(db: &Db, call: &CallId) -> Result<Option<Stored>> {
    db.first(
        "SELECT name, mime, size, stored AS length FROM files WHERE call = ?",
        &[(&call.0).into()],
    )
}

fn piece_at(db: &Db, call: &CallId, offset: u64) -> Result<Option<Vec<u8>>> {
    let piece: Option<Piece> = db.first(
        "SELECT bytes FROM file_pieces WHERE call = ? AND offset = ?",
        &[(&call.0).into(), signed(offset).into()],
    )?;
    Ok(piece.map(|piece| piece.bytes.into_vec()))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A file name for a header, RFC 8187.
fn percent(name: &str) -> String {
    use std::fmt::Write;
    name.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}"); // writing to a string cannot fail
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_cannot_leave_its_header() {
        assert_eq!(percent("a b\"\r\n.pdf"), "a%20b%22%0D%0A.pdf");
        assert_eq!(percent("café.pdf"), "caf%C3%A9.pdf");
    }
}
