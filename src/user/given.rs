//! Files that the person gives: taken piece by piece as they come, named by what they hold, kept until they are old or newer ones need the room.

use super::db::{Bind, Db};
use super::files::{FILE_LIMIT, PIECE, signed};
use super::{Heart, now};
use crate::channels::console::{ApiRefusal, GivenFile};
use crate::error::Result;
use agent::Attachment;
use futures::{Stream, StreamExt};
use hmac_sha256::Hash;
use protocol::key::{hex, random_bytes};
use protocol::tools::given_id;
use serde::Deserialize;
use std::rc::Rc;
use worker::{Request, Response, console_error};

/// How many bytes of given files one person's object keeps. Beyond that the oldest go.
const ROOM: i64 = 200 * 1024 * 1024;

/// How many there may be: many small ones fill a table, too.
const MOST: i64 = 500;

/// How many come at once: each has up to a row in memory.
const AT_ONCE: u32 = 4;

/// The longest name that is kept, in characters.
const NAME_LIMIT: usize = 255;

/// The longest ending of a name that is kept whole.
const ENDING_LIMIT: usize = 16;

/// The longest media type.
const MIME_LIMIT: usize = 127;

/// Why a file was not taken.
enum NotTaken {
    /// It has more than [`FILE_LIMIT`] bytes.
    TooLarge,
    /// It ended before its announced length, or beyond.
    CutOff,
}

/// A file in the making: its rows, and what is too short for one yet.
struct Coming {
    file: String,
    stored: u64,
    bytes: Vec<u8>,
    hash: Hash,
}

#[derive(Deserialize)]
struct Known {
    name: String,
    mime: String,
    size: u64,
}

#[derive(Deserialize)]
struct Oldest {
    id: String,
    file: String,
}

#[derive(Deserialize)]
struct Sum {
    bytes: i64,
    count: i64,
}

/// One of those that come at once; it counts for as long as the value lives.
struct Place<'a>(&'a Heart);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.coming.set(self.0.coming.get().saturating_sub(1));
    }
}

impl Heart {
    /// Takes a file from a page, whose request's body it is.
    pub(super) async fn take_file(
        self: &Rc<Self>,
        name: &str,
        mime: &str,
        length: Option<u64>,
        request: &mut Request,
    ) -> Result<Response> {
        if let Some(words) = self.frozen_words()? {
            return refusal(423, &words);
        }
        if self.coming.get() >= AT_ONCE {
            return refusal(429, "Four files are coming already; this one has to wait.");
        }
        self.coming.set(self.coming.get() + 1);
        let _place = Place(self);
        let (name, mime) = (name_of(name), mime_of(mime));
        let coming = Coming::begin(self.db(), &name, &mime)?;
        let file = coming.file.clone();
        let taken = match request.stream() {
            Ok(stream) => coming.all(self.db(), stream, length).await,
            Err(_) => {
                coming
                    .all(self.db(), futures::stream::empty(), length)
                    .await
            } // no body at all: an empty file
        };
        match taken {
            Ok(Ok((size, sha256))) => {
                Ok(Response::from_json(&self.keep_file(&file, &sha256, size)?)?)
            }
            Ok(Err(why)) => {
                drop_file(self.db(), &file)?;
                match why {
                    NotTaken::TooLarge => refusal(413, "A file may have 50 MB at the most."),
                    NotTaken::CutOff => refusal(400, "The file did not come whole; try again."),
                }
            }
            Err(error) => {
                drop_file(self.db(), &file)?;
                console_error!("a file that was given: {error}");
                refusal(500, "The file could not be kept; try again.")
            }
        }
    }

    /// Takes a file that an app hands over; an error is why it was not taken. `hash` is its SHA-256, where the app told it.
    pub(super) async fn take_stream(
        &self,
        name: &str,
        mime: &str,
        hash: Option<&str>,
        stream: impl Stream<Item = worker::Result<Vec<u8>>>,
    ) -> Result<std::result::Result<Attachment, String>> {
        let (name, mime) = (visible_name(name), mime_of(mime));
        let coming = Coming::begin(self.db(), &name, &mime)?;
        let file = coming.file.clone();
        let refused = match coming.all(self.db(), stream, None).await {
            Ok(Ok((size, sha256))) if hash.is_none_or(|told| is_hash(told, &sha256)) => {
                let GivenFile {
                    id,
                    name,
                    mime,
                    size,
                } = self.keep_file(&file, &sha256, size)?;
                return Ok(Ok(Attachment {
                    id,
                    name,
                    mime,
                    size,
                }));
            }
            Ok(Ok(_)) => "other bytes came than were announced".to_owned(),
            Ok(Err(NotTaken::TooLarge)) => "it has more than 50 MB".to_owned(),
            Ok(Err(NotTaken::CutOff)) => "it did not come whole".to_owned(),
            Err(error) => {
                drop_file(self.db(), &file)?;
                return Err(error);
            }
        };
        drop_file(self.db(), &file)?;
        Ok(Err(refused))
    }

    /// Files of these ids, as a message tells of them; those that are not kept (any more) are left out.
    pub(super) fn attachments(
        &self,
        ids: impl Iterator<Item = impl AsRef<str>>,
    ) -> Result<Vec<Attachment>> {
        let mut found = Vec::new();
        for id in ids {
            let known: Option<Known> = self.db().first(
                "SELECT name, mime, size FROM given JOIN files ON files.call = given.file WHERE given.id = ?",
                &[id.as_ref().into()],
            )?;
            found.extend(known.map(|Known { name, mime, size }| Attachment {
                id: id.as_ref().to_owned(),
                name,
                mime,
                size,
            }));
        }
        Ok(found)
    }

    /// Names a file that is here whole; the same bytes given twice are kept once, under the newer name.
    fn keep_file(&self, file: &str, sha256: &str, size: u64) -> Result<GivenFile> {
        let id = given_id(sha256);
        self.db().transaction(|db| {
            let before: Option<Oldest> =
                db.first("SELECT id, file FROM given WHERE id = ?", &[(&id).into()])?;
            if let Some(before) = before {
                forget(db, &before)?;
            }
            make_room(db, size)?;
            db.run(
                "UPDATE files SET size = ?, stored = ? WHERE call = ?",
                &[signed(size).into(), signed(size).into(), file.into()],
            )?;
            db.run(
                "INSERT INTO given (id, file, sha256, at) VALUES (?, ?, ?, ?)",
                &[(&id).into(), file.into(), sha256.into(), now().into()],
            )
        })?;
        let known = self.attachments(std::iter::once(&id))?.pop();
        let (name, mime) = known.map_or_else(Default::default, |it| (it.name, it.mime));
        Ok(GivenFile {
            id,
            name,
            mime,
            size,
        })
    }
}

impl Coming {
    /// Notes a file whose length is not known yet; one that never comes whole is tidied away with old ones.
    fn begin(db: &Db, name: &str, mime: &str) -> Result<Self> {
        let file = format!("up-{}", hex(&random_bytes::<16>()?));
        db.run(
            "INSERT INTO files (call, name, mime, size, stored, at) VALUES (?, ?, ?, -1, 0, ?)",
            &[(&file).into(), name.into(), mime.into(), now().into()],
        )?;
        Ok(Self {
            file,
            stored: 0,
            bytes: Vec::new(),
            hash: Hash::new(),
        })
    }

    /// Takes it to its end: its length and its SHA-256.
    async fn all(
        mut self,
        db: &Db,
        stream: impl Stream<Item = worker::Result<Vec<u8>>>,
        length: Option<u64>,
    ) -> Result<std::result::Result<(u64, String), NotTaken>> {
        let mut stream = std::pin::pin!(stream);
        while let Some(piece) = stream.next().await {
            let Ok(piece) = piece else {
                return Ok(Err(NotTaken::CutOff)); // whoever sent it has gone
            };
            if self.stored + (self.bytes.len() + piece.len()) as u64 > FILE_LIMIT {
                return Ok(Err(NotTaken::TooLarge));
            }
            for piece in piece.chunks(PIECE) {
                self.bytes.extend_from_slice(piece);
                if self.bytes.len() >= PIECE {
                    let rest = self.bytes.split_off(PIECE);
                    self.store(db)?;
                    self.bytes = rest;
                }
            }
        }
        if !self.bytes.is_empty() {
            self.store(db)?;
        }
        if length.is_some_and(|length| length != self.stored) {
            return Ok(Err(NotTaken::CutOff));
        }
        Ok(Ok((self.stored, hex(&self.hash.finalize()))))
    }

    /// Makes a row of what is there.
    fn store(&mut self, db: &Db) -> Result<()> {
        self.hash.update(&self.bytes);
        db.run(
            "INSERT INTO file_pieces (call, offset, bytes) VALUES (?, ?, ?)",
            &[
                (&self.file).into(),
                signed(self.stored).into(),
                Bind::Blob(&self.bytes),
            ],
        )?;
        self.stored += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }
}

/// Drops the oldest until another of this size fits.
fn make_room(db: &Db, size: u64) -> Result<()> {
    loop {
        let sum: Option<Sum> = db.first(
            "SELECT coalesce(sum(size), 0) AS bytes, count(*) AS count FROM given JOIN files ON files.call = given.file",
            &[],
        )?;
        let fits = |sum: &Sum| sum.bytes + signed(size) <= ROOM && sum.count < MOST;
        if sum.as_ref().is_none_or(fits) {
            return Ok(());
        }
        let oldest: Option<Oldest> =
            db.first("SELECT id, file FROM given ORDER BY at LIMIT 1", &[])?;
        let Some(oldest) = oldest else {
            return Ok(());
        };
        forget(db, &oldest)?;
    }
}

fn forget(db: &Db, given: &Oldest) -> Result<()> {
    db.run("DELETE FROM given WHERE id = ?", &[(&given.id).into()])?;
    drop_file(db, &given.file)
}

fn drop_file(db: &Db, file: &str) -> Result<()> {
    db.run("DELETE FROM file_pieces WHERE call = ?", &[file.into()])?;
    db.run("DELETE FROM files WHERE call = ?", &[file.into()])
}

fn refusal(status: u16, error: &str) -> Result<Response> {
    let error = error.to_owned();
    Ok(Response::from_json(&ApiRefusal { error })?.with_status(status))
}

/// A name as it comes in a header, percent-encoded: its last part, on one line.
fn name_of(coded: &str) -> String {
    visible_name(&decoded(coded))
}

/// A name's last part, on one line.
fn visible_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = last.chars().filter(|c| !c.is_control()).collect();
    match name.trim() {
        "" | "." | ".." => "file".to_owned(),
        name => shortened(name),
    }
}

/// A name with as much of it as is kept; its ending stays.
fn shortened(name: &str) -> String {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    if name.chars().count() <= NAME_LIMIT {
        return name.to_owned();
    }
    if ending.is_empty() || ending.chars().count() > ENDING_LIMIT {
        return name.chars().take(NAME_LIMIT).collect();
    }
    let stem = name.chars().take(NAME_LIMIT - ENDING_LIMIT - 1);
    stem.chain(['.']).chain(ending.chars()).collect()
}

/// Whether an app meant this SHA-256, written in hexadecimal or in base64 of either alphabet.
fn is_hash(told: &str, sha256: &str) -> bool {
    let plain = |text: &str| {
        text.trim_end_matches('=')
            .replace('+', "-")
            .replace('/', "_")
    };
    let bytes: Option<Vec<u8>> = (0..sha256.len() / 2)
        .map(|at| u8::from_str_radix(sha256.get(2 * at..2 * at + 2)?, 16).ok())
        .collect();
    told.eq_ignore_ascii_case(sha256)
        || bytes.is_some_and(|bytes| plain(told) == protocol::key::encode(&bytes))
}

/// A media type in the form that one has; anything else is bytes.
fn mime_of(told: &str) -> String {
    let mime = told.split(';').next().unwrap_or_default().trim();
    let token = |part: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        !part.is_empty() && part.bytes().all(known)
    };
    match mime.split_once('/') {
        Some((kind, form)) if token(kind) && token(form) && mime.len() <= MIME_LIMIT => {
            mime.to_ascii_lowercase()
        }
        Some(_) | None => "application/octet-stream".to_owned(),
    }
}

fn decoded(coded: &str) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let coded = coded.as_bytes();
    let (mut bytes, mut at) = (Vec::with_capacity(coded.len()), 0);
    while let Some(byte) = coded.get(at) {
        let pair = (digit(coded.get(at + 1)), digit(coded.get(at + 2)));
        if let (b'%', (Some(high), Some(low))) = (byte, pair) {
            bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
            at += 3;
        } else {
            bytes.push(*byte);
            at += 1;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_visible_part_of_a_path_whatever_it_comes_as() {
        for (coded, name) in [
            ("invoice.pdf", "invoice.pdf"),
            ("caf%C3%A9%20%25.pdf", "caf\u{e9} %.pdf"),
            ("..%2F..%2Fetc%2Fpasswd", "passwd"),
            ("C%3A%5Cx%5Ca.txt", "a.txt"),
            ("a%0D%0Ab%00.txt", "ab.txt"),
            ("..", "file"),
            ("a%2F", "file"),
            ("", "file"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%ff.txt", "\u{fffd}.txt"),
        ] {
            assert_eq!(name_of(coded), name, "{coded}");
        }
        assert_eq!(name_of(&"x".repeat(3_000)).len(), NAME_LIMIT);
        let long = name_of(&format!("{}.pdf", "x".repeat(3_000)));
        assert!(
            long.len() <= NAME_LIMIT && long.ends_with("x.pdf"),
            "{long}"
        );
    }

    #[test]
    fn what_is_no_media_type_is_bytes() {
        for (told, mime) in [
            ("application/pdf", "application/pdf"),
            ("Text/Plain; charset=utf-8", "text/plain"),
            ("image/svg+xml", "image/svg+xml"),
            ("", "application/octet-stream"),
            ("text", "application/octet-stream"),
            ("text/\"x\"", "application/octet-stream"),
            ("a/b/c", "application/octet-stream"),
        ] {
            assert_eq!(mime_of(told), mime, "{told}");
        }
    }
}
