//! A file within a multipart form (RFC 7578), as chat apps take uploads.

use super::OutgoingBody;
use super::words::turns;
use protocol::call::FileRef;
use std::fmt::Write;

/// A form with plain fields and, after them, one file that is streamed from storage.
pub(super) struct Form {
    boundary: String,
    before: String,
}

impl Form {
    /// An empty form; `boundary` is fresh random bytes, so that no file can hold it.
    pub(super) fn new(boundary: [u8; 16]) -> Self {
        let mut line = String::from("bernard-");
        for byte in boundary {
            // Writing to a `String` cannot fail.
            let _ = write!(line, "{byte:02x}");
        }
        Self {
            boundary: line,
            before: String::new(),
        }
    }

    /// The same with another field; neither its name nor its value comes from a person.
    pub(super) fn field(mut self, name: &str, value: &str) -> Self {
        let _ = write!(
            self.before,
            "--{}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n",
            self.boundary
        );
        self
    }

    /// Its content type, and the body around a file that goes under this field's name and as this media type.
    pub(super) fn file(
        mut self,
        field: &str,
        file: &FileRef,
        mime: &str,
    ) -> (String, OutgoingBody) {
        let name = file_name(&file.name);
        let _ = write!(
            self.before,
            "--{}\r\ncontent-disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\ncontent-type: {mime}\r\n\r\n",
            self.boundary
        );
        let body = OutgoingBody::File {
            before: self.before.into_bytes(),
            size: file.size,
            after: format!("\r\n--{}--\r\n", self.boundary).into_bytes(),
        };
        let kind = format!("multipart/form-data; boundary={}", self.boundary);
        (kind, body)
    }
}

/// A file's name that cannot end its quotes or its header, name a folder, or show its letters backwards. Otherwise as it is, in UTF-8.
pub(super) fn file_name(name: &str) -> String {
    let safe = |c: char| match c {
        '"' => '\'',
        '\\' | '/' => '_',
        c if c.is_control() || turns(c) => '_',
        c => c,
    };
    let name: String = name.trim().chars().map(safe).collect();
    if name.is_empty() {
        "file".to_owned()
    } else {
        name
    }
}

/// A media type without its parameters, or the unknown one for what is none.
pub(super) fn media_type(mime: &str) -> &str {
    let mime = mime.split(';').next().unwrap_or("").trim();
    let token = |s: &str| {
        !s.is_empty()
            && s.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
    };
    match mime.split_once('/') {
        Some((kind, sub)) if token(kind) && token(sub) => mime,
        Some(_) | None => "application/octet-stream",
    }
}
