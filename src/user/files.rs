//! Files on their way between a machine and the person: stored piece by piece first, handed over from the rows.
//!
//! A file never lies in memory whole, and one that was stored survives everything that can happen before it is sent.

use super::db::{Bind, Db};
use super::digest::Digest;
use super::{Heart, now};
use crate::error::{Error, Result};
use crate::http::FileBytes;
use futures::stream;
use protocol::call::{CallId, FileRef};
use protocol::chunk::{Chunk, MAX_CHUNK, WINDOW};
use protocol::key::hex;
use serde::Deserialize;
use serde_bytes::ByteBuf;
use std::rc::Rc;
use worker::js_sys::Uint8Array;
use worker::{Headers, Response};

/// How much of a file makes a row: half a window, so that credit flows while the other half travels. A row may hold 2 MB.
pub(super) const PIECE: usize = 512 * 1024;

/// The same, and a chunk, as the runtime counts bytes.
const PIECE_LENGTH: u32 = 512 * 1024;
const CHUNK_LENGTH: u32 = 64 * 1024;
const _: () = assert!(PIECE_LENGTH as usize == PIECE && CHUNK_LENGTH as usize == MAX_CHUNK);

/// The largest file that is taken, in bytes: what Telegram takes from a bot.
pub(super) const FILE_LIMIT: u64 = 50 * 1024 * 1024;

/// The end of a file that is too short for a row yet.
pub(super) struct Partial {
    /// The machine that sends it.
    bridge: String,
    /// Where it begins in the file.
    offset: u64,
    row: Row,
    size: u64,
    /// The hash of all rows before; nothing where the runtime would not make it.
    digest: Option<Digest>,
}

/// A row that is being filled, in memory of the runtime's, so that a file leaves nothing behind in wasm's: that would never be given back.
struct Row {
    bytes: Uint8Array,
    length: u32,
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

/// A file that is here whole.
pub(super) struct Kept {
    /// Its name in the rows.
    pub(super) file: String,
    /// What it is.
    pub(super) told: FileRef,
}

#[derive(Deserialize)]
struct Given {
    file: String,
    sha256: String,
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
        self.digests.borrow_mut().remove(call);
        self.partial.borrow_mut().insert(
            call.clone(),
            Partial {
                bridge: bridge.to_owned(),
                offset: 0,
                row: Row::empty(),
                size,
                digest: Digest::new().ok(),
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
        let end = partial.offset + u64::from(partial.row.length);
        if partial.bridge != bridge {
            return Err(Error::Violation("a piece of another machine's file".into()));
        }
        if chunk.offset != end || end + chunk.bytes.len() as u64 > partial.size {
            return Err(Error::Violation(
                "a piece of a file in the wrong place".into(),
            ));
        }
        if partial.row.length == 0 && partial.digest.as_ref().is_some_and(Digest::is_busy) {
            partial.row = Row::empty();
        }
        partial.row.add(&chunk.bytes)?;
        let end = end + chunk.bytes.len() as u64;
        if partial.row.length < PIECE_LENGTH && end < partial.size {
            return Ok(None);
        }
        let row = partial.row.filled();
        self.db().transaction(|db| {
            let place = [
                (&chunk.call.0).into(),
                signed(partial.offset).into(),
                Bind::Held(&row),
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
        partial.row.length = 0;
        let hashes = |digest: &Digest| digest.add(&row).is_ok();
        partial.digest = partial.digest.take().filter(hashes);
        let size = partial.size;
        if end == size
            && let Some(partial) = partials.remove(&chunk.call)
        {
            self.end_digest(&chunk.call, &partial);
        }
        Ok(Some(size.min(end + WINDOW)))
    }

    /// Keeps the hash of a file that is here whole for its result, which is the machine's next message.
    fn end_digest(&self, call: &CallId, partial: &Partial) {
        let (digests, call) = (Rc::clone(&self.digests), call.clone());
        if let Some(digest) = &partial.digest {
            // Where it fails, the rows are hashed.
            let _ = digest.end(move |sha256| {
                digests.borrow_mut().insert(call, sha256);
            });
        }
    }

    /// How much of the file that a machine's result names is here.
    pub(super) fn arrived(&self, call: &CallId, file: &FileRef) -> Result<Arrived> {
        let Some(stored) = stored(self.db(), &call.0)? else {
            return Ok(Arrived::InPart);
        };
        if stored.length != stored.size {
            return Ok(Arrived::InPart);
        }
        let digest = self.digests.borrow_mut().remove(call);
        let (length, sha256) = match digest {
            Some(sha256) => (unsigned(stored.size), sha256),
            None => hashed(self.db(), &call.0)?, // the object has slept meanwhile
        };
        let same = length == file.size && sha256 == file.sha256;
        Ok(if same {
            Arrived::Whole
        } else {
            Arrived::Damaged
        })
    }

    /// The file of that id, if it is here whole: one that the person gave, or that a call brought from a machine.
    pub(super) fn kept(&self, id: &str) -> Result<Option<Kept>> {
        let (file, sha256) = named(self.db(), id)?;
        let Some(stored) = stored(self.db(), &file)? else {
            return Ok(None);
        };
        let whole = u64::try_from(stored.size).ok();
        let Some(size) = whole.filter(|_| stored.length == stored.size) else {
            return Ok(None);
        };
        let sha256 = match sha256 {
            Some(sha256) => sha256,
            None => hashed(self.db(), &file)?.1,
        };
        let told = FileRef {
            name: stored.name,
            mime: stored.mime,
            size,
            sha256,
        };
        Ok(Some(Kept { file, told }))
    }

    /// A stored file's bytes, read row by row as they leave.
    pub(super) fn file_bytes(self: &Rc<Self>, call: &CallId) -> Result<FileBytes> {
        let (file, _) = named(self.db(), &call.0)?;
        stored(self.db(), &file)?.ok_or(Error::Missing("the file"))?;
        let heart = Rc::clone(self);
        Ok(Box::pin(stream::try_unfold(0_u64, move |offset| {
            let piece = piece_at(heart.db(), &file, offset).map_err(worker::Error::from);
            std::future::ready(
                piece.map(|piece| piece.map(|bytes| (bytes.clone(), offset + bytes.len() as u64))),
            )
        })))
    }

    /// Hands a file to the person's browser.
    pub(super) fn hand_over(self: &Rc<Self>, call: &CallId) -> Result<Response> {
        let (name, _) = named(self.db(), &call.0)?;
        let Some(file) = stored(self.db(), &name)?.filter(|file| file.length == file.size) else {
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

/// What a file is called in the rows, and its SHA-256 where that is known: what a call brought goes by the call, what was given by its id.
fn named(db: &Db, id: &str) -> Result<(String, Option<String>)> {
    let given: Option<Given> =
        db.first("SELECT file, sha256 FROM given WHERE id = ?", &[id.into()])?;
    Ok(match given {
        Some(Given { file, sha256 }) => (file, Some(sha256)),
        None => (id.to_owned(), None),
    })
}

fn stored(db: &Db, file: &str) -> Result<Option<Stored>> {
    db.first(
        "SELECT name, mime, size, stored AS length FROM files WHERE call = ?",
        &[file.into()],
    )
}

/// The row of a file that begins there.
pub(super) fn piece_at(db: &Db, file: &str, offset: u64) -> Result<Option<Vec<u8>>> {
    let piece: Option<Piece> = db.first(
        "SELECT bytes FROM file_pieces WHERE call = ? AND offset = ?",
        &[file.into(), signed(offset).into()],
    )?;
    Ok(piece.map(|piece| piece.bytes.into_vec()))
}

/// How long a file is, and its SHA-256, by its rows.
fn hashed(db: &Db, file: &str) -> Result<(u64, String)> {
    let mut hash = hmac_sha256::Hash::new();
    let mut offset = 0;
    while let Some(piece) = piece_at(db, file, offset)? {
        hash.update(&piece);
        offset += piece.len() as u64;
    }
    Ok((offset, hex(&hash.finalize())))
}

impl Row {
    fn empty() -> Self {
        Self {
            bytes: Uint8Array::new_with_length(PIECE_LENGTH + CHUNK_LENGTH),
            length: 0,
        }
    }

    /// Adds a chunk's bytes, where there is room: a row takes its last chunk before it is full.
    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let end = self.length.saturating_add(length);
        if end > self.bytes.length() {
            return Err(Error::Violation("a piece of a file is too large".into()));
        }
        self.bytes.subarray(self.length, end).copy_from(bytes);
        self.length = end;
        Ok(())
    }

    fn filled(&self) -> Uint8Array {
        self.bytes.subarray(0, self.length)
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(super) fn signed(number: u64) -> i64 {
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
