//! The audit chain's head, kept in a file of its own: a line for each change, of which the last whole one counts.
//!
//! Lines are added and not replaced, so that a call costs one write to the disk and not a new file, its name and their folder; a file that has
//! grown is written anew.

use super::Unusable;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How long the file may become before it is written anew: some two hundred calls.
const MOST_BYTES: u64 = 64 * 1024;

/// The chain's head: a chain that was cut off or written anew does not end in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// The number of the last entry.
    pub seq: i64,
    /// Its hash.
    pub head: String,
    /// The hash of the entry that is being written after it; what a power cut leaves.
    pub next: Option<String>,
}

/// The file, open for writing.
#[derive(Debug)]
pub(super) struct Anchorage {
    path: PathBuf,
    /// Nothing before the chain's first entry, and after an error.
    file: Option<File>,
    length: u64,
}

impl Anchorage {
    /// Opens the file of a chain that ends in this entry. A file that is there is believed, for `audit verify` to judge, and written anew as one
    /// line: it may end in half of one.
    pub(super) fn open(path: &Path, last: Option<(i64, String)>) -> Result<Self, Unusable> {
        let mut anchorage = Self {
            path: path.to_owned(),
            file: None,
            length: 0,
        };
        // A journal of before there were anchors gets one.
        let made = last.map(|(seq, head)| Anchor {
            seq,
            head,
            next: None,
        });
        if let Some(anchor) = read(path)?.or(made) {
            anchorage
                .renew(&anchor)
                .map_err(|error| anchorage.unusable(error))?;
        }
        Ok(anchorage)
    }

    /// Notes what is about to be committed. It is on the disk when this returns: the entry must not outlive the word of it.
    pub(super) fn announce(&mut self, anchor: &Anchor) -> Result<(), Unusable> {
        let announced = if self.file.is_none() || self.length > MOST_BYTES {
            self.renew(anchor)
        } else {
            self.add(anchor, File::sync_data)
        };
        announced.map_err(|error| self.unusable(error))
    }

    /// Notes what was committed. A power cut may take this back: the line before it allows the chain to end in either entry.
    pub(super) fn settle(&mut self, anchor: &Anchor) -> Result<(), Unusable> {
        self.add(anchor, |_| Ok(()))
            .map_err(|error| self.unusable(error))
    }

    /// Adds a line. After an error the file is not added to again: it may end in half a line, which the next one would go on.
    fn add(&mut self, anchor: &Anchor, kept: fn(&File) -> io::Result<()>) -> io::Result<()> {
        let line = line(anchor)?;
        let Some(mut file) = self.file.take() else {
            return Ok(());
        };
        file.write_all(&line)?;
        kept(&file)?;
        self.file = Some(file);
        self.length += line.len() as u64;
        Ok(())
    }

    /// Writes a file of one line and puts it in the old one's place.
    fn renew(&mut self, anchor: &Anchor) -> io::Result<()> {
        let half = self.path.with_extension("head.half");
        match fs::remove_file(&half) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut options = OpenOptions::new();
        options.append(true).create_new(true).mode(0o600);
        let mut file = options.open(&half)?;
        let line = line(anchor)?;
        file.write_all(&line)?;
        file.sync_all()?;
        fs::rename(&half, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        self.file = Some(file);
        self.length = line.len() as u64;
        Ok(())
    }

    fn unusable(&self, error: io::Error) -> Unusable {
        Unusable::File(self.path.clone(), error)
    }
}

/// The last whole line of a file; `None` where there is no file. What follows it is what a power cut left of a line, or nothing.
pub(super) fn read(path: &Path) -> Result<Option<Anchor>, Unusable> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Unusable::File(path.to_owned(), error)),
    };
    let mut lines = bytes.split(|byte| *byte == b'\n').rev();
    let unfinished = lines.next().unwrap_or_default();
    let last = lines.next();
    // A file of one line without an end is whole, too: so they were written once.
    let line = last.unwrap_or(unfinished);
    serde_json::from_slice(line)
        .map(Some)
        .map_err(|error| Unusable::Anchor(path.to_owned(), error))
}

fn line(anchor: &Anchor) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(anchor)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(seq: i64) -> Anchor {
        Anchor {
            seq,
            head: format!("head {seq}"),
            next: (seq % 2 == 0).then(|| format!("next {seq}")),
        }
    }

    #[test]
    fn the_last_whole_line_counts_whatever_a_power_cut_left_of_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.head");
        let mut anchorage = Anchorage::open(&path, None).unwrap();
        assert_eq!(read(&path).unwrap(), None);
        anchorage.announce(&anchor(0)).unwrap();
        anchorage.settle(&anchor(1)).unwrap();
        assert_eq!(read(&path).unwrap(), Some(anchor(1)));
        let whole = fs::read(&path).unwrap();
        let settled = whole.len() - line(&anchor(1)).unwrap().len();
        for end in settled..whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            assert_eq!(read(&path).unwrap(), Some(anchor(0)), "cut at {end}");
        }
        // The next start goes on after what is whole.
        drop(anchorage);
        let mut anchorage = Anchorage::open(&path, None).unwrap();
        anchorage.announce(&anchor(2)).unwrap();
        assert_eq!(read(&path).unwrap(), Some(anchor(2)));
    }

    #[test]
    fn after_half_a_line_that_a_full_disk_took_the_file_is_written_anew() {
        for settles in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal.head");
            let mut anchorage = Anchorage::open(&path, None).unwrap();
            anchorage.announce(&anchor(0)).unwrap();
            let mut bytes = fs::read(&path).unwrap();
            bytes.extend_from_within(..bytes.len() / 2);
            fs::write(&path, bytes).unwrap();
            anchorage.file = Some(File::open(&path).unwrap()); // takes no more
            let refused = if settles {
                anchorage.settle(&anchor(1))
            } else {
                anchorage.announce(&anchor(1))
            };
            assert!(refused.is_err());
            assert_eq!(read(&path).unwrap(), Some(anchor(0)));
            anchorage.announce(&anchor(2)).unwrap();
            assert_eq!(read(&path).unwrap(), Some(anchor(2)));
            assert_eq!(fs::read(&path).unwrap(), line(&anchor(2)).unwrap());
        }
    }

    #[test]
    fn a_file_that_has_grown_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.head");
        let mut anchorage = Anchorage::open(&path, None).unwrap();
        for seq in 0..4_000 {
            anchorage.settle(&anchor(seq)).unwrap();
            if seq % 100 == 0 {
                anchorage.announce(&anchor(seq)).unwrap();
            }
            let length = fs::metadata(&path).unwrap().len();
            assert!(length <= MOST_BYTES + 100 * 100, "{length}");
        }
        assert_eq!(read(&path).unwrap(), Some(anchor(3_999)));
    }

    #[test]
    fn a_file_of_before_there_were_lines_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.head");
        fs::write(&path, serde_json::to_vec(&anchor(7)).unwrap()).unwrap();
        assert_eq!(read(&path).unwrap(), Some(anchor(7)));
        let mut anchorage = Anchorage::open(&path, Some((9, "other".into()))).unwrap();
        assert_eq!(read(&path).unwrap(), Some(anchor(7)));
        anchorage.settle(&anchor(8)).unwrap();
        assert_eq!(read(&path).unwrap(), Some(anchor(8)));
    }

    #[test]
    fn a_damaged_last_line_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.head");
        let whole = String::from_utf8(line(&anchor(1)).unwrap()).unwrap();
        for damaged in [String::new(), "{\"seq\":".into(), format!("{whole}{{}}\n")] {
            fs::write(&path, &damaged).unwrap();
            assert!(read(&path).is_err(), "{damaged:?}");
        }
    }
}
