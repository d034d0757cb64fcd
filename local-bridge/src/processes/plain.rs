//! Text without a terminal's control sequences, and with what hides or turns text around made visible; piece by piece, as it comes.

/// Reads one stream. What is cut between two pieces is put together again.
#[derive(Debug, Default)]
pub(super) struct Plain {
    state: State,
    /// The beginning of a character.
    begun: Vec<u8>,
    /// A carriage return has just ended a line.
    returned: bool,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Text,
    /// After an escape.
    Escape,
    /// After `ESC [`: up to a letter.
    Sequence,
    /// After `ESC ]` and the like: up to a bell or `ESC \`. It ends with the line, too, or one byte could hide all that follows.
    Words,
}

impl Plain {
    /// The text of the next bytes.
    pub(super) fn read(&mut self, bytes: &[u8]) -> String {
        let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\t');
        if self.is_at_ease() && bytes.iter().all(is_plain) {
            return String::from_utf8_lossy(bytes).into_owned(); // nearly all that is ever written
        }
        let mut all = std::mem::take(&mut self.begun);
        all.extend_from_slice(bytes);
        let whole = all.len() - unfinished(&all);
        self.begun = all.split_off(whole);
        let mut text = String::with_capacity(all.len());
        for c in String::from_utf8_lossy(&all).chars() {
            self.take(c, &mut text);
        }
        text
    }

    /// What is left when nothing follows.
    pub(super) fn end(&mut self) -> String {
        let begun = std::mem::take(&mut self.begun);
        String::from_utf8_lossy(&begun).into_owned()
    }

    /// Nothing is left of what came before.
    fn is_at_ease(&self) -> bool {
        matches!(self.state, State::Text) && self.begun.is_empty() && !self.returned
    }

    fn take(&mut self, c: char, text: &mut String) {
        match (self.state, c) {
            (_, '\u{1b}') => self.state = State::Escape,
            (State::Escape, '[') => self.state = State::Sequence,
            (State::Escape, ']' | 'P' | 'X' | '^' | '_') => self.state = State::Words,
            (State::Escape, ' '..='\u{7e}') => self.state = State::Text,
            (State::Sequence, ' '..='?') => {}
            (State::Sequence, '@'..='\u{7e}') | (State::Words, '\u{7}') => {
                self.state = State::Text;
            }
            (State::Words, c) if !matches!(c, '\n' | '\r') => {}
            (State::Text | State::Escape | State::Sequence | State::Words, c) => {
                self.state = State::Text;
                self.show(c, text);
            }
        }
    }

    fn show(&mut self, c: char, text: &mut String) {
        let returned = std::mem::replace(&mut self.returned, c == '\r');
        match c {
            '\n' if returned => {} // the line has ended with the return
            '\n' | '\r' => text.push('\n'),
            '\t' => text.push(c),
            c if c.is_control() => {}
            c if hides(c) => text.extend(c.escape_unicode()),
            c => text.push(c),
        }
    }
}

/// Characters that turn the direction of what follows, or that nobody sees. The joiners of emoji and scripts are not among them.
fn hides(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// How many bytes at the end are the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    for (back, byte) in bytes.iter().rev().take(3).enumerate() {
        let length = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if length > back + 1 { back + 1 } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read whole, and byte by byte: it must be the same.
    fn plain(bytes: &[u8]) -> String {
        let mut at_once = Plain::default();
        let mut whole = at_once.read(bytes);
        whole.push_str(&at_once.end());
        let mut slowly = Plain::default();
        let mut pieces: String = bytes.iter().map(|byte| slowly.read(&[*byte])).collect();
        pieces.push_str(&slowly.end());
        assert_eq!(pieces, whole);
        whole
    }

    #[test]
    fn control_sequences_are_taken_out() {
        let text = b"\x1b[1;31mred\x1b[0m\x1b]0;title\x07 a\rb\r\nc\x08\x1b]8;;x\x1b\\d\xff";
        assert_eq!(plain(text), "red a\nb\ncd\u{fffd}");
    }

    #[test]
    fn what_turns_or_hides_text_is_seen() {
        let name = "a\u{202e}txt.exe \u{2066}x\u{200b} \u{e0041}";
        let seen = "a\\u{202e}txt.exe \\u{2066}x\\u{200b} \\u{e0041}";
        assert_eq!(plain(name.as_bytes()), seen);
        let kept = "Grüße, 👨\u{200d}👩\u{200d}👧 \u{5e9}\u{5dc}";
        assert_eq!(plain(kept.as_bytes()), kept);
    }

    #[test]
    fn nothing_hides_the_lines_that_follow() {
        assert_eq!(plain(b"\x1b]0;no end\nseen\n"), "\nseen\n");
        assert_eq!(plain(b"\x1b[12\nseen"), "\nseen");
        assert_eq!(plain(b"secret\x1b[2K\x1b[1A\rgood"), "secret\ngood");
        assert_eq!(plain(b"a\x1b\x1b[31mb"), "ab");
    }
}
