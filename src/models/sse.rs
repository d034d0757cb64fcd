//! Server-sent events: bytes as they come, cut anywhere, to whole events. One format under every model's stream.

use thiserror::Error;

/// What one event may hold: far above any model's delta, far below what would hurt the isolate.
const EVENT_CAP: usize = 1024 * 1024;

/// What one stream may bring in all: a long answer with long reasoning is a tenth of it.
const STREAM_CAP: usize = 32 * 1024 * 1024;

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEvent {
    /// Its name, where the server gave one.
    pub event: Option<String>,
    /// Its data lines, joined by line feeds.
    pub data: String,
}

/// A stream that holds more than an honest server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Overflow {
    /// One event goes on and on.
    #[error("an event of the stream is longer than {EVENT_CAP} bytes")]
    Event,
    /// The stream goes on and on.
    #[error("the stream is longer than {STREAM_CAP} bytes")]
    Stream,
}

/// Turns bytes into events; holds at most one unfinished event.
#[derive(Debug, Default)]
pub struct SseDecoder {
    /// The line that has begun: bytes, since a chunk may end inside a character.
    line: Vec<u8>,
    event: Option<String>,
    data: Option<String>,
    /// The last byte was a carriage return, so a line feed right now belongs to it.
    after_return: bool,
    /// A line has been read, so a byte order mark is no longer expected.
    begun: bool,
    seen: usize,
    overflow: Option<Overflow>,
}

impl SseDecoder {
    /// The events that these bytes complete. After an overflow nothing more is read.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, Overflow> {
        let mut events = Vec::new();
        let mut rest = bytes;
        self.seen = self.seen.saturating_add(bytes.len());
        if self.seen > STREAM_CAP {
            self.overflow = Some(Overflow::Stream);
        }
        while let Some((&first, tail)) = rest.split_first() {
            if let Some(overflow) = self.overflow {
                return Err(overflow);
            }
            if std::mem::take(&mut self.after_return) && first == b'\n' {
                rest = tail;
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            self.extend(&rest[..end.unwrap_or(rest.len())]);
            let Some(end) = end else { break };
            self.after_return = rest[end] == b'\r';
            events.extend(self.end_line());
            rest = &rest[end + 1..];
        }
        self.overflow.map_or(Ok(events), Err)
    }

    /// The event that the stream's end leaves unclosed, if any: some servers forget the last empty line.
    pub fn finish(mut self) -> Option<SseEvent> {
        if self.overflow.is_some() {
            return None;
        }
        if !self.line.is_empty() {
            self.end_line();
        }
        self.dispatch()
    }

    fn extend(&mut self, bytes: &[u8]) {
        let held = self.line.len()
            + self.data.as_ref().map_or(0, String::len)
            + self.event.as_ref().map_or(0, String::len);
        if held + bytes.len() > EVENT_CAP {
            self.overflow = Some(Overflow::Event);
            self.line = Vec::new();
            self.data = None;
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    fn end_line(&mut self) -> Option<SseEvent> {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let begun = std::mem::replace(&mut self.begun, true);
        let line = if begun {
            &*text
        } else {
            text.strip_prefix('\u{feff}').unwrap_or(&text)
        };
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // A comment has an empty field name; `id` and `retry` serve reconnecting, which a model's answer cannot.
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<SseEvent> {
        let event = self.event.take().filter(|name| !name.is_empty());
        self.data.take().map(|data| SseEvent { event, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: Option<&str>, data: &str) -> SseEvent {
        SseEvent {
            event: name.map(str::to_owned),
            data: data.to_owned(),
        }
    }

    fn decode(chunks: &[&[u8]]) -> Vec<SseEvent> {
        let mut decoder = SseDecoder::default();
        let mut events = Vec::new();
        for chunk in chunks {
            events.extend(decoder.push(chunk).unwrap());
        }
        events.extend(decoder.finish());
        events
    }

    const MIXED: &str = "\u{feff}: hello\r\nevent: one\r\ndata: a\u{e9}\u{1f980}\r\n\r\ndata:b\rdata: c\r\rid: 7\nretry: 10\ndata\ndata:  d\n\nevent: nothing\n\n\n:x\ndata: last";

    fn expected() -> Vec<SseEvent> {
        vec![
            event(Some("one"), "a\u{e9}\u{1f980}"),
            event(None, "b\nc"),
            event(None, "\n d"),
            event(None, "last"),
        ]
    }

    #[test]
    fn every_line_ending_comment_and_multi_line_datum_is_read() {
        assert_eq!(decode(&[MIXED.as_bytes()]), expected());
    }

    #[test]
    fn a_cut_at_any_two_places_changes_nothing() {
        let bytes = MIXED.as_bytes();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                assert_eq!(
                    decode(&[&bytes[..first], &bytes[first..second], &bytes[second..]]),
                    expected(),
                    "cut at {first} and {second}"
                );
            }
        }
        let singles: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(&singles), expected());
    }

    #[test]
    fn an_endless_event_is_an_overflow_and_stays_one() {
        let mut decoder = SseDecoder::default();
        assert_eq!(
            decoder.push(b"data: short\n\n"),
            Ok(vec![event(None, "short")])
        );
        let line = [b"data: ".as_slice(), &vec![b'x'; EVENT_CAP / 2], b"\n"].concat();
        assert_eq!(decoder.push(&line), Ok(vec![]));
        assert_eq!(decoder.push(&line), Err(Overflow::Event));
        assert_eq!(decoder.push(b"\n\ndata: more\n\n"), Err(Overflow::Event));
        assert_eq!(decoder.finish(), None);
    }

    #[test]
    fn a_line_without_end_is_an_overflow() {
        let mut decoder = SseDecoder::default();
        let chunk = vec![b'x'; EVENT_CAP / 4];
        let results: Vec<_> = (0..5).map(|_| decoder.push(&chunk)).collect();
        assert_eq!(
            results,
            [
                Ok(vec![]),
                Ok(vec![]),
                Ok(vec![]),
                Ok(vec![]),
                Err(Overflow::Event)
            ]
        );
    }

    #[test]
    fn an_endless_stream_of_small_events_is_an_overflow() {
        let mut decoder = SseDecoder::default();
        let comment = [b":".as_slice(), &vec![b'x'; EVENT_CAP / 2], b"\n"].concat();
        let whole = STREAM_CAP / comment.len();
        for _ in 0..whole {
            assert_eq!(decoder.push(&comment), Ok(vec![]));
        }
        assert_eq!(decoder.push(&comment), Err(Overflow::Stream));
    }
}
