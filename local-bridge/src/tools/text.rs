//! What the bytes of a text file mean, and how a changed text becomes bytes of the same kind again.

use std::path::Path;

/// How much of a file decides whether it is text.
const SNIFFED: usize = 8 * 1024;

/// How a text's characters are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8, as nearly every file.
    Utf8,
    /// UTF-8 behind a byte order mark, as Windows likes it.
    Utf8Marked,
    /// UTF-16 behind a mark, the low byte first.
    Utf16Le,
    /// UTF-16 behind a mark, the high byte first.
    Utf16Be,
}

/// How a text's lines end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endings {
    /// There is no end of a line in it.
    None,
    /// `\n`, every one.
    Lf,
    /// `\r\n`, every one.
    CrLf,
    /// Some `\n` and some `\r\n`.
    Mixed,
}

/// A text and all that is needed to write it as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The characters, without a mark; lines end in `\n` unless their ends are mixed.
    pub text: String,
    /// How they are written.
    pub encoding: Encoding,
    /// How its lines end.
    pub endings: Endings,
}

impl Encoding {
    /// Its name for people and models.
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Utf8Marked => "UTF-8 with BOM",
            Self::Utf16Le => "UTF-16 LE",
            Self::Utf16Be => "UTF-16 BE",
        }
    }

    /// The encoding that the first bytes announce, and the mark's length.
    fn announced(bytes: &[u8]) -> (Self, usize) {
        let all = [Self::Utf8Marked, Self::Utf16Le, Self::Utf16Be];
        let found = all.into_iter().find(|kind| bytes.starts_with(kind.mark()));
        found.map_or((Self::Utf8, 0), |kind| (kind, kind.mark().len()))
    }

    fn mark(self) -> &'static [u8] {
        match self {
            Self::Utf8 => b"",
            Self::Utf8Marked => b"\xef\xbb\xbf",
            Self::Utf16Le => b"\xff\xfe",
            Self::Utf16Be => b"\xfe\xff",
        }
    }
}

impl Endings {
    /// How the lines of a text end.
    pub fn of(text: &str) -> Self {
        let all = text.matches('\n').count();
        match text.matches("\r\n").count() {
            _ if all == 0 => Self::None,
            0 => Self::Lf,
            with if with == all => Self::CrLf,
            _ => Self::Mixed,
        }
    }

    /// Its name for people and models; none where there is nothing to tell.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Lf => Some("LF"),
            Self::CrLf => Some("CRLF"),
            Self::Mixed => Some("mixed LF and CRLF"),
        }
    }
}

impl Text {
    /// Reads a text, exactly; what is wrong with it where it is none, or one that would not be written back byte for byte.
    pub fn read(bytes: &[u8], path: &Path) -> Result<Self, String> {
        if let Some(kind) = not_text(bytes, path) {
            return Err(format!("is not text: {kind}"));
        }
        let (encoding, mark) = Encoding::announced(bytes);
        let rest = &bytes[mark..];
        let text = match encoding {
            Encoding::Utf8 | Encoding::Utf8Marked => String::from_utf8(rest.to_vec()).ok(),
            Encoding::Utf16Le => wide(rest, u16::from_le_bytes),
            Encoding::Utf16Be => wide(rest, u16::from_be_bytes),
        };
        let Some(text) = text else {
            let marked = encoding != Encoding::Utf8;
            let wrong = format!("is damaged: it is marked as {}", encoding.name());
            let unknown =
                "is neither UTF-8 nor marked UTF-16, so it could not be written back as it is";
            return Err(if marked { wrong } else { unknown.to_owned() });
        };
        let endings = Endings::of(&text);
        Ok(Self {
            text: plain(text, endings),
            encoding,
            endings,
        })
    }

    /// An empty text of the usual kind.
    pub fn empty() -> Self {
        Self {
            text: String::new(),
            encoding: Encoding::Utf8,
            endings: Endings::None,
        }
    }

    /// What another text is in this one's terms: `\n` alone at the ends of its lines, unless both kinds matter here.
    pub fn fitted(&self, other: &str) -> String {
        plain(other.to_owned(), self.endings)
    }

    /// The bytes of another text in this one's terms, written as this one is.
    pub fn write(&self, text: &str) -> Vec<u8> {
        let text = match self.endings {
            Endings::CrLf => text.replace('\n', "\r\n"),
            Endings::None | Endings::Lf | Endings::Mixed => text.to_owned(),
        };
        let mut bytes = self.encoding.mark().to_vec();
        match self.encoding {
            Encoding::Utf8 | Encoding::Utf8Marked => bytes.extend(text.bytes()),
            Encoding::Utf16Le => bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes)),
            Encoding::Utf16Be => bytes.extend(text.encode_utf16().flat_map(u16::to_be_bytes)),
        }
        bytes
    }

    /// What is unusual about how it is written, such as `UTF-16 LE, CRLF`.
    pub fn unusual(&self) -> Option<String> {
        let encoding = (self.encoding != Encoding::Utf8).then(|| self.encoding.name());
        let endings = match self.endings {
            Endings::CrLf | Endings::Mixed => self.endings.name(),
            Endings::None | Endings::Lf => None,
        };
        let words: Vec<&str> = encoding.into_iter().chain(endings).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

/// What a file is that is not text.
pub fn not_text(bytes: &[u8], path: &Path) -> Option<String> {
    const KINDS: &[(&[u8], &str)] = &[
        (b"%PDF-", "PDF document"),
        (b"\x89PNG\r\n", "PNG image"),
        (b"\xff\xd8\xff", "JPEG image"),
        (b"GIF8", "GIF image"),
        (b"\x1f\x8b", "gzip archive"),
        (b"\x7fELF", "program"),
        (b"SQLite format 3\0", "SQLite database"),
    ];
    if let Some((_, kind)) = KINDS.iter().find(|(begin, _)| bytes.starts_with(begin)) {
        return Some((*kind).to_owned());
    }
    let head = &bytes[..bytes.len().min(SNIFFED)];
    let wide = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
    let odd = head
        .iter()
        .filter(|&&byte| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b))
        .count();
    // A stray control character is still text; a tenth of them is not.
    if wide || (!head.contains(&0) && odd * 10 <= head.len()) {
        return None;
    }
    let guess = mime_guess::from_path(path).first_raw();
    Some(guess.unwrap_or("unknown format").to_owned())
}

/// The text as well as it can be shown, and what is to be said of its encoding.
pub fn shown(bytes: &[u8]) -> (String, Option<&'static str>) {
    const WIDE: Option<&str> = Some("[the file is UTF-16]");
    let (encoding, mark) = Encoding::announced(bytes);
    let rest = &bytes[mark..];
    match encoding {
        Encoding::Utf16Le => {
            return (
                String::from_utf16_lossy(&units(rest, u16::from_le_bytes)),
                WIDE,
            );
        }
        Encoding::Utf16Be => {
            return (
                String::from_utf16_lossy(&units(rest, u16::from_be_bytes)),
                WIDE,
            );
        }
        Encoding::Utf8 | Encoding::Utf8Marked => {}
    }
    match std::str::from_utf8(rest) {
        Ok(text) => (text.to_owned(), None),
        // Cut in the middle of the last character by our own limit.
        Err(error) if error.error_len().is_none() => (
            String::from_utf8_lossy(&rest[..error.valid_up_to()]).into_owned(),
            None,
        ),
        Err(_) => (
            rest.iter().map(|&byte| char::from(byte)).collect(),
            Some("[the file is not UTF-8; it is shown as if it were Latin-1]"),
        ),
    }
}

fn plain(text: String, endings: Endings) -> String {
    match endings {
        Endings::CrLf => text.replace("\r\n", "\n"),
        Endings::None | Endings::Lf | Endings::Mixed => text,
    }
}

fn units(bytes: &[u8], read: fn([u8; 2]) -> u16) -> Vec<u16> {
    let pairs = bytes.chunks_exact(2);
    pairs.map(|two| read([two[0], two[1]])).collect()
}

fn wide(bytes: &[u8], read: fn([u8; 2]) -> u16) -> Option<String> {
    let whole = bytes.len().is_multiple_of(2);
    whole.then(|| String::from_utf16(&units(bytes, read)).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_written_back_byte_for_byte_in_every_encoding() {
        let le = |text: &str| -> Vec<u8> {
            let units = text.encode_utf16().flat_map(u16::to_le_bytes);
            [vec![0xff, 0xfe], units.collect()].concat()
        };
        let be = |text: &str| -> Vec<u8> {
            let units = text.encode_utf16().flat_map(u16::to_be_bytes);
            [vec![0xfe, 0xff], units.collect()].concat()
        };
        for (bytes, text, encoding, endings) in [
            (b"".to_vec(), "", Encoding::Utf8, Endings::None),
            (b"a\nb".to_vec(), "a\nb", Encoding::Utf8, Endings::Lf),
            (
                b"a\r\nb\r\n".to_vec(),
                "a\nb\n",
                Encoding::Utf8,
                Endings::CrLf,
            ),
            (
                b"a\r\r\nb".to_vec(),
                "a\r\nb",
                Encoding::Utf8,
                Endings::CrLf,
            ),
            (
                b"a\r\nb\n".to_vec(),
                "a\r\nb\n",
                Encoding::Utf8,
                Endings::Mixed,
            ),
            (b"a\rb".to_vec(), "a\rb", Encoding::Utf8, Endings::None),
            (
                b"\xef\xbb\xbfH\xc3\xa9\n".to_vec(),
                "Hé\n",
                Encoding::Utf8Marked,
                Endings::Lf,
            ),
            (le("Hé 🦀\r\n"), "Hé 🦀\n", Encoding::Utf16Le, Endings::CrLf),
            (be("Hé 🦀\n"), "Hé 🦀\n", Encoding::Utf16Be, Endings::Lf),
        ] {
            let read = Text::read(&bytes, Path::new("a")).unwrap();
            assert_eq!(
                read,
                Text {
                    text: text.into(),
                    encoding,
                    endings
                }
            );
            assert_eq!(read.write(&read.text), bytes, "{text:?}");
        }
    }

    #[test]
    fn what_could_not_be_written_back_is_no_text() {
        let why = |bytes: &[u8]| Text::read(bytes, Path::new("a.bin")).unwrap_err();
        assert_eq!(why(b"a\0b"), "is not text: application/octet-stream");
        assert_eq!(
            why(b"H\xe9 ho"),
            "is neither UTF-8 nor marked UTF-16, so it could not be written back as it is"
        );
        assert_eq!(
            why(b"\xff\xfea\0b"),
            "is damaged: it is marked as UTF-16 LE"
        );
        assert_eq!(
            why(b"\xff\xfe\x00\xd8"),
            "is damaged: it is marked as UTF-16 LE"
        );
        assert_eq!(
            why(b"\xef\xbb\xbf\xff"),
            "is damaged: it is marked as UTF-8 with BOM"
        );
    }
}
