//! What a command writes: its beginning and end kept at hand, all of it in a file, up to a bound.

use super::plain::Plain;
use crate::outputs::{Output, Outputs};
use crate::tools::figures::size;
use std::collections::VecDeque;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How much of stdout is kept at hand: beginning and end, half each.
const KEPT_OUT: usize = 48 * 1024;

/// How much of stderr is kept at hand: together 64 KiB.
const KEPT_ERR: usize = 16 * 1024;

/// How much one look shows: the agent shows a model 16,000 characters of a result, and there must be room for what is said about it.
pub const GLANCE: usize = 15_000;

/// How much of one command is written down, and how much a command may write that someone waits for.
pub const MOST: u64 = 16_000_000;

/// How long output is waited for after the end: only a process that fled its group still holds the pipe.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The output of one command.
#[derive(Debug, Clone)]
pub struct Capture {
    kept: Arc<Mutex<Kept>>,
    flood: Arc<Notify>,
}

/// Which of its streams a command writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Its results, or all that it shows in a terminal.
    Out,
    /// Its complaints.
    Err,
}

/// A stream that is read to its end.
#[derive(Debug)]
pub struct Reader(JoinHandle<()>);

#[derive(Debug)]
struct Kept {
    out: Ends,
    err: Ends,
    /// The end of both, as it came.
    last: VecDeque<u8>,
    /// How much came, as text.
    total: u64,
    file: Option<Output>,
    /// How much of it is in the file.
    written: u64,
    /// Why the file does not hold everything.
    unwritten: Option<String>,
}

/// The beginning and the end of a stream.
#[derive(Debug)]
struct Ends {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    half: usize,
    total: u64,
}

/// A stretch of what a command wrote.
#[derive(Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its text.
    pub text: String,
    /// The byte at which it begins.
    pub from: u64,
    /// The byte after it.
    pub to: u64,
    /// How many bytes there are.
    pub total: u64,
}

impl Capture {
    /// Begins, with a file of this name; without one, when it cannot be made.
    pub fn begin(outputs: &Outputs, name: &str) -> Self {
        let (file, unwritten) = match outputs.file(name) {
            Ok(file) => (Some(file), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let kept = Kept {
            out: Ends::new(KEPT_OUT / 2),
            err: Ends::new(KEPT_ERR / 2),
            last: VecDeque::new(),
            total: 0,
            file,
            written: 0,
            unwritten,
        };
        Self {
            kept: Arc::new(Mutex::new(kept)),
            flood: Arc::new(Notify::new()),
        }
    }

    /// Reads a stream to its end.
    pub fn drain(
        &self,
        stream: Stream,
        source: Option<impl AsyncRead + Unpin + Send + 'static>,
    ) -> Reader {
        let into = self.clone();
        Reader(tokio::spawn(async move {
            let Some(mut source) = source else {
                return;
            };
            let (mut plain, mut raw) = (Plain::default(), 0_u64);
            let mut bytes = vec![0; 16 * 1024];
            while let Ok(count @ 1..) = source.read(&mut bytes).await {
                into.add(stream, &plain.read(&bytes[..count]));
                raw += count as u64;
                if raw > MOST {
                    into.flood.notify_one();
                }
            }
            into.add(stream, &plain.end());
        }))
    }

    /// Comes back when a command has written more than anyone could want.
    pub async fn flooded(&self) {
        self.flood.notified().await;
    }

    fn add(&self, stream: Stream, text: &str) {
        let mut kept = self.lock();
        match stream {
            Stream::Out => kept.out.add(text.as_bytes()),
            Stream::Err => kept.err.add(text.as_bytes()),
        }
        kept.add(text.as_bytes());
    }

    /// What stands at hand of both streams; a line before each.
    pub fn both(&self) -> String {
        let kept = self.lock();
        let streams = [("stdout", kept.out.text()), ("stderr", kept.err.text())];
        let streams = streams
            .iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| format!("\n{name}:\n{}", text.trim_end_matches('\n')));
        streams.collect()
    }

    /// What stands at hand of one stream.
    pub fn stream(&self, stream: Stream) -> String {
        let kept = self.lock();
        match stream {
            Stream::Out => kept.out.text(),
            Stream::Err => kept.err.text(),
        }
    }

    /// The last line that is not empty.
    pub fn last_line(&self) -> Option<String> {
        let last = self.end().text;
        let line = last.lines().rev().find(|line| !line.trim().is_empty())?;
        Some(line.trim().to_owned())
    }

    /// The end of what came.
    pub fn end(&self) -> Stretch {
        let kept = self.lock();
        let (front, back) = kept.last.as_slices();
        let bytes = [front, back].concat();
        let from = kept.total - bytes.len() as u64;
        stretch(&bytes, from, kept.total)
    }

    /// What came from a byte on, as far as one look goes.
    pub fn from(&self, from: u64) -> Result<Stretch, String> {
        let kept = self.lock();
        if from >= kept.written && from < kept.total {
            let why = kept
                .unwritten
                .as_deref()
                .unwrap_or("it is not written down");
            return Err(format!("nothing from byte {from} on is kept: {why}"));
        }
        let mut bytes = vec![0; GLANCE];
        let mut filled = 0;
        if let Some(output) = &kept.file {
            while filled < bytes.len() {
                let at = from + filled as u64;
                match output.file.read_at(&mut bytes[filled..], at) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) => return Err(format!("{}: {error}", output.name)),
                }
            }
        }
        Ok(stretch(&bytes[..filled], from, kept.total))
    }

    /// How much came, as text.
    pub fn total(&self) -> u64 {
        self.lock().total
    }

    /// Where all of it lies, in words; nothing where it is all at hand, and then the file goes.
    pub fn settle(&self) -> Option<String> {
        let mut kept = self.lock();
        if kept.out.is_whole() && kept.err.is_whole() {
            if let Some(file) = kept.file.take() {
                file.forget();
            }
            return None;
        }
        Some(kept.whereabouts())
    }

    /// Where all of it lies or grows, in words.
    pub fn whereabouts(&self) -> String {
        self.lock().whereabouts()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// Waits until the stream has ended; what holds it after its command's end is waited for no longer than a moment.
    pub async fn finish(mut self) {
        if timeout(LAST_WORDS, &mut self.0).await.is_err() {
            self.0.abort();
        }
    }
}

impl Kept {
    fn add(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        self.last.extend(bytes);
        let over = self.last.len().saturating_sub(GLANCE);
        self.last.drain(..over);
        self.write(bytes);
    }

    /// Writes down what fits.
    fn write(&mut self, bytes: &[u8]) {
        let Some(output) = self.file.as_mut().filter(|_| self.unwritten.is_none()) else {
            return;
        };
        let room = usize::try_from(MOST - self.written).unwrap_or(usize::MAX);
        let fitting = &bytes[..bytes.len().min(room)];
        match output.file.write_all(fitting) {
            Ok(()) => self.written += fitting.len() as u64,
            Err(error) => self.unwritten = Some(error.to_string()),
        }
        if fitting.len() < bytes.len() {
            self.unwritten = Some(format!("only the first {} are written down", size(MOST)));
        }
    }

    fn whereabouts(&self) -> String {
        let Some(output) = &self.file else {
            let why = self.unwritten.as_deref().unwrap_or("it is forgotten");
            return format!("{} of output, not written down: {why}", size(self.total));
        };
        let name = &output.name;
        match &self.unwritten {
            None => format!("all of its output, {}, is in {name}", size(self.total)),
            Some(why) => format!(
                "of its output, {}, the beginning is in {name}: {why}",
                size(self.total)
            ),
        }
    }
}

impl Ends {
    fn new(half: usize) -> Self {
        Self {
            head: Vec::new(),
            tail: VecDeque::new(),
            half,
            total: 0,
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let (first, rest) = bytes.split_at(bytes.len().min(self.half - self.head.len()));
        self.head.extend_from_slice(first);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(self.half);
        self.tail.drain(..over);
    }

    fn left_out(&self) -> u64 {
        self.total - (self.head.len() + self.tail.len()) as u64
    }

    fn is_whole(&self) -> bool {
        self.left_out() == 0
    }

    fn text(&self) -> String {
        let (front, back) = self.tail.as_slices();
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self.left_out() {
            0 => lossy(&[&self.head, front, back].concat()),
            left_out => format!(
                "{}\n[{left_out} bytes left out]\n{}",
                lossy(&self.head),
                lossy(&[front, back].concat())
            ),
        }
    }
}

/// The whole characters of some bytes.
fn stretch(bytes: &[u8], from: u64, total: u64) -> Stretch {
    let is_inside = |byte: &&u8| matches!(**byte, 0x80..=0xbf);
    let begin = bytes.iter().take(3).take_while(is_inside).count();
    let rest = &bytes[begin..];
    let end = match std::str::from_utf8(rest) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Ok(_) | Err(_) => rest.len(),
    };
    let from = from + begin as u64;
    Stretch {
        text: String::from_utf8_lossy(&rest[..end]).into_owned(),
        from,
        to: from + end as u64,
        total,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    async fn captured(outputs: &Outputs, name: &str, bytes: Vec<u8>) -> Capture {
        let capture = Capture::begin(outputs, name);
        let source = Some(std::io::Cursor::new(bytes));
        capture.drain(Stream::Out, source).finish().await;
        capture
    }

    #[tokio::test]
    async fn what_is_all_at_hand_needs_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::open(folder.path()).unwrap();
        let capture = captured(&outputs, "c1", b"short\n".to_vec()).await;
        assert_eq!(capture.both(), "\nstdout:\nshort");
        assert_eq!(capture.settle(), None);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn ten_megabytes_are_cut_at_hand_and_whole_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::open(folder.path()).unwrap();
        let bytes: Vec<u8> = (0..10_000_000_u32)
            .map(|at| b'a' + (at % 26) as u8)
            .collect();
        let capture = captured(&outputs, "c1", bytes.clone()).await;
        assert!(capture.both().len() <= 64 * 1024);
        let whole = "all of its output, 10.0 MB, is in @output/c1.txt";
        assert_eq!(capture.settle().as_deref(), Some(whole));
        assert!(fs::read(folder.path().join("c1.txt")).unwrap() == bytes);
        let stretch = capture.from(9_999_990).unwrap();
        assert_eq!((stretch.to, stretch.total), (10_000_000, 10_000_000));
        assert_eq!(stretch.text.as_bytes(), &bytes[9_999_990..]);
    }

    #[tokio::test]
    async fn more_than_the_bound_is_said_to_be_and_its_end_stays_at_hand() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::open(folder.path()).unwrap();
        let mut bytes = vec![b'x'; 17 << 20];
        bytes.extend(b"\nthe end");
        let capture = captured(&outputs, "c1", bytes).await;
        capture.flooded().await;
        let told = "of its output, 17.8 MB, the beginning is in @output/c1.txt: only the first 16.0 MB are written down";
        assert_eq!(capture.settle().as_deref(), Some(told));
        assert_eq!(
            fs::metadata(folder.path().join("c1.txt")).unwrap().len(),
            MOST
        );
        assert!(capture.end().text.ends_with("x\nthe end"));
        assert_eq!(capture.last_line().as_deref(), Some("the end"));
        assert!(capture.from(MOST).is_err());
    }

    #[tokio::test]
    async fn a_look_shows_whole_characters_and_the_next_one_goes_on_there() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::open(folder.path()).unwrap();
        let text = "é€😀".repeat(4_000);
        let capture = captured(&outputs, "c1", text.clone().into_bytes()).await;
        let (mut read, mut from) = (String::new(), 0);
        while from < capture.total() {
            let stretch = capture.from(from).unwrap();
            assert!(stretch.to > from && stretch.text.len() <= GLANCE);
            read.push_str(&stretch.text);
            from = stretch.to;
        }
        assert_eq!(read, text);
        assert!(text.ends_with(&capture.end().text));
    }
}
