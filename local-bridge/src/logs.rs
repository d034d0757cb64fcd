//! A log file that stays small and holds no secret: five files of one megabyte, for the owner alone, each line looked through before it is written.
//!
//! Written here and not taken from a crate: `tracing-appender` turns files over by time only, so that a bridge which cannot connect could
//! fill a disk between two midnights.

use crate::places::visible;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file that is written to; the one before it is `bridge.log.1`, and so on.
pub const NAME: &str = "bridge.log";

/// How large a file grows: some ten thousand lines.
pub const MOST_BYTES: u64 = 1_000_000;

/// How many files there are.
pub const FILES: u32 = 5;

/// The file that is written to next. It is made before any other is moved: on a full disk none is lost for it.
const NEXT: &str = "bridge.log.next";

/// What stands where a secret stood.
const MASK: &str = "***";

/// The shortest known secret that is looked for: what is shorter could be any word.
const SHORTEST: usize = 16;

/// How the three parts of a signed token begin: base64url of `{"`.
const TOKEN: &str = "eyJ";

/// Writes lines into files that are turned over by their size.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    file: File,
    written: u64,
    most: u64,
    torn: bool,
    secrets: Vec<String>,
}

impl Log {
    /// Goes on writing in a folder, which is made if it is not there. None of `secrets` is ever written.
    pub fn open(folder: &Path, most: u64, secrets: Vec<String>) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let file = appended(&folder.join(NAME))?;
        let written = file.metadata()?.len();
        let long = |secret: &String| secret.len() >= SHORTEST;
        Ok(Self {
            folder: folder.to_owned(),
            file,
            written,
            most,
            torn: false,
            secrets: secrets.into_iter().filter(long).collect(),
        })
    }

    /// The file that is written to.
    pub fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    fn turn_over(&mut self) -> io::Result<()> {
        let next = self.folder.join(NEXT);
        let file = appended(&next)?;
        for number in (1..FILES).rev() {
            match fs::rename(self.numbered(number - 1), self.numbered(number)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        fs::rename(next, self.path())?;
        self.file = file;
        self.written = 0;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        if number == 0 {
            return self.path();
        }
        self.folder.join(format!("{NAME}.{number}"))
    }
}

impl Write for Log {
    /// Takes a whole line, as `tracing-subscriber` hands it over.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        // What others say may hold the ends of lines and the colours of terminals.
        let told = format!("{}\n", masked(&visible(text.trim_end()), &self.secrets));
        let size = told.len() as u64;
        if self.written > 0 && self.written + size > self.most {
            self.turn_over()?;
        }
        // After a line of which a full disk took only the beginning, the next one begins anew.
        let gap: &[u8] = if self.torn { b"\n" } else { b"" };
        self.torn = true;
        self.file.write_all(gap)?;
        self.file.write_all(told.as_bytes())?;
        self.torn = false;
        self.written += size;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn appended(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).open(path)
}

/// A line without the secrets that are known, and without what looks like a signed token or a bot's, whosever it is.
fn masked(line: &str, secrets: &[String]) -> String {
    let mut text = line.to_owned();
    for secret in secrets {
        text = text.replace(secret.as_str(), MASK);
    }
    let mut told = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find(TOKEN) {
        let (before, begin) = rest.split_at(at);
        let within = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=');
        let end = begin.find(|c| !within(c)).unwrap_or(begin.len());
        let (word, after) = begin.split_at(end);
        told.push_str(before);
        told.push_str(if word.contains('.') { MASK } else { word });
        rest = after;
    }
    told.push_str(rest);
    without_bot_tokens(&told)
}

/// A text without what looks like a Telegram bot's token: its number, a colon, and at least thirty letters and digits.
fn without_bot_tokens(text: &str) -> String {
    let within = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(':') {
        let end = after.find(|c| !within(c)).unwrap_or(after.len());
        let number = before.len() - before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        if number >= 6 && end >= 30 {
            told.push_str(&before[..before.len() - number]);
            told.push_str(MASK);
            rest = &after[end..];
        } else {
            told.push_str(before);
            told.push(':');
            rest = after;
        }
    }
    told.push_str(rest);
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::key::SigningKey;
    use std::os::unix::fs::PermissionsExt;

    fn log(folder: &Path, most: u64) -> Log {
        Log::open(folder, most, Vec::new()).unwrap()
    }

    #[test]
    fn files_are_turned_over_by_size_and_the_oldest_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log(folder.path(), 20);
        for number in 0..13 {
            log.write_all(format!("line {number:04}\n").as_bytes())
                .unwrap();
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("bridge.log"), "line 0012\n");
        assert_eq!(read("bridge.log.1"), "line 0010\nline 0011\n");
        assert_eq!(read("bridge.log.4"), "line 0004\nline 0005\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5);
    }

    #[test]
    fn a_log_is_gone_on_with_and_is_the_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        log(&logs, 20).write_all(b"one\n").unwrap();
        let mut again = log(&logs, 20);
        again.write_all(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(again.path()).unwrap(), "one\ntwo\n");
        again
            .write_all(b"a line that is too long for the rest\n")
            .unwrap();
        for (path, mode) in [("", 0o700), ("bridge.log", 0o600), ("bridge.log.1", 0o600)] {
            let metadata = fs::metadata(logs.join(path)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, mode, "{path}");
        }
    }

    #[test]
    fn a_disk_that_takes_nothing_costs_no_older_file_and_no_later_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log(folder.path(), 20);
        for number in 0..5 {
            log.write_all(format!("line {number:04}\n").as_bytes())
                .unwrap();
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let before = (read("bridge.log.2"), read("bridge.log.1"));
        // No new file can be made.
        fs::create_dir(folder.path().join(NEXT)).unwrap();
        for _ in 0..9 {
            log.write_all(b"a line that is too long for the rest\n")
                .unwrap_err();
        }
        assert_eq!((read("bridge.log.2"), read("bridge.log.1")), before);
        fs::remove_dir(folder.path().join(NEXT)).unwrap();
        log.write_all(b"a line that is too long for the rest\n")
            .unwrap();
        assert_eq!(read("bridge.log.1"), "line 0004\n");
        assert_eq!(read("bridge.log"), "a line that is too long for the rest\n");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_line_after_one_that_was_cut_off_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log(folder.path(), 1000);
        let whole = std::mem::replace(&mut log.file, appended(Path::new("/dev/full")).unwrap());
        log.write_all(b"one\n").unwrap_err();
        log.file = whole;
        log.write_all(b"two\n").unwrap();
        log.write_all(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(log.path()).unwrap(), "\ntwo\nthree\n");
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let key = SigningKey::generate().unwrap().to_text();
        let secrets = [key.clone()];
        let token = "eyJhbGciOiJFZERTQSJ9.eyJhIjoxfQ.c2ln-_";
        assert_eq!(
            masked(&format!("k={key}, again {key}."), &secrets),
            "k=***, again ***."
        );
        assert_eq!(
            masked(&format!("(Bearer {token})"), &secrets),
            "(Bearer ***)"
        );
        assert_eq!(
            masked("eyJ is how it begins", &secrets),
            "eyJ is how it begins"
        );
        let bot = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";
        assert_eq!(
            masked(
                &format!("https://t.example/bot{bot}/get: no {bot}"),
                &secrets
            ),
            "https://t.example/bot***/get: no ***"
        );
        let plain = "2026-09-21T14:13:20 INFO call c1: files.read, in 12345678: ok";
        assert_eq!(masked(plain, &secrets), plain);
    }

    #[test]
    fn a_line_that_others_wrote_stays_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log(folder.path(), 1000);
        log.write_all(b"closed: bye\n2026-01-01 INFO call x: done\x1b[2J\n")
            .unwrap();
        let told = fs::read_to_string(log.path()).unwrap();
        assert_eq!(told.lines().count(), 1);
        assert!(!told.contains('\x1b'), "{told:?}");
    }
}
