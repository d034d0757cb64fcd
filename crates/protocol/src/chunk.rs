//! A piece of a file as a binary frame: the call it belongs to, its offset, its bytes.

use crate::call::CallId;

/// The most bytes of file in one frame. The Worker's memory is 128 MB for many people; small frames keep a transfer small.
pub const MAX_CHUNK: usize = 64 * 1024;

/// The most bytes of files that are on their way in one direction: sent, and not known to be stored or read.
pub const WINDOW: u64 = 1024 * 1024;

/// About how much of a file the Worker sends before it sets a mark: half a window, so that the one half travels while the other is read.
pub const STRETCH: usize = 512 * 1024;

/// How many marks may be on their way to a bridge at once.
pub const MARKS: usize = 2;

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The call that the file belongs to.
    pub call: CallId,
    /// Where in the file the bytes stand.
    pub offset: u64,
    /// The bytes, at most [`MAX_CHUNK`].
    pub bytes: Vec<u8>,
}

/// Why a binary frame is no chunk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("binary frame is not a file chunk")]
pub struct BadChunk;

impl Chunk {
    /// The frame: length of the call id (1 byte), call id, offset (8 bytes, big end first), bytes.
    pub fn encode(&self) -> Vec<u8> {
        let id = self.call.0.as_bytes();
        let mut frame = Vec::with_capacity(1 + id.len() + 8 + self.bytes.len());
        frame.push(u8::try_from(id.len()).unwrap_or(u8::MAX)); // call ids have at most 64 characters
        frame.extend_from_slice(id);
        frame.extend_from_slice(&self.offset.to_be_bytes());
        frame.extend_from_slice(&self.bytes);
        frame
    }

    /// Reads a frame.
    pub fn decode(frame: &[u8]) -> Result<Self, BadChunk> {
        let (&length, rest) = frame.split_first().ok_or(BadChunk)?;
        let (id, rest) = rest.split_at_checked(usize::from(length)).ok_or(BadChunk)?;
        let (offset, bytes) = rest.split_first_chunk::<8>().ok_or(BadChunk)?;
        if bytes.is_empty() || bytes.len() > MAX_CHUNK {
            return Err(BadChunk);
        }
        let id = std::str::from_utf8(id).map_err(|_| BadChunk)?;
        Ok(Self {
            call: CallId(id.to_owned()),
            offset: u64::from_be_bytes(*offset),
            bytes: bytes.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_reads_back_as_it_was_written() {
        let chunk = Chunk {
            call: CallId("a1-2-3-4".into()),
            offset: 1 << 40,
            bytes: vec![0, 1, 255],
        };
        assert_eq!(Chunk::decode(&chunk.encode()), Ok(chunk));
    }

    #[test]
    fn a_cut_or_oversized_frame_is_refused() {
        let whole = Chunk {
            call: CallId("a1".into()),
            offset: 0,
            bytes: vec![7],
        }
        .encode();
        for end in 0..whole.len() {
            assert_eq!(Chunk::decode(&whole[..end]), Err(BadChunk), "cut at {end}");
        }
        let fat = Chunk {
            call: CallId("a1".into()),
            offset: 0,
            bytes: vec![7; MAX_CHUNK + 1],
        }
        .encode();
        assert_eq!(Chunk::decode(&fat), Err(BadChunk));
    }
}
