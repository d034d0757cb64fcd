//! What passes on a wire, read without disturbing it: the upgrade's head, then each WebSocket frame's kind and length.

/// How much of a text frame is looked at: enough for the name that its JSON begins with.
const LOOKED_AT: usize = 48;

/// The longest head of an upgrade that is waited for.
const HEAD_LIMIT: usize = 64 * 1024;

/// What a frame is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// JSON whose `type` is this.
    Named(String),
    /// A text that is no such JSON.
    Text,
    /// The end of a connection, as it is told.
    Close,
    /// Bytes, or a frame of the WebSocket itself.
    Other,
}

/// A frame that has passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) what: What,
    /// Its payload, in bytes.
    pub(super) length: u64,
}

/// A reader of one direction of one connection.
#[derive(Debug)]
pub(super) struct Frames {
    state: State,
}

#[derive(Debug)]
enum State {
    /// The HTTP head, up to its empty line.
    Upgrade(Vec<u8>),
    /// It is not a WebSocket.
    Plain,
    /// A frame's head.
    Head(Vec<u8>),
    /// A frame's payload.
    Payload {
        opcode: u8,
        mask: [u8; 4],
        length: u64,
        left: u64,
        begun: Vec<u8>,
    },
}

impl Frames {
    /// A reader for a connection that has not said anything yet.
    pub(super) fn new() -> Self {
        Self {
            state: State::Upgrade(Vec::new()),
        }
    }

    /// Reads on, and tells each frame whose last byte is here.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut told: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            bytes = match &mut self.state {
                State::Plain => return,
                State::Upgrade(_) => self.upgrade(bytes),
                State::Head(_) => self.head(bytes),
                State::Payload { .. } => self.payload(bytes),
            };
            if let Some(frame) = self.whole() {
                told(frame);
            }
        }
    }

    fn upgrade<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let State::Upgrade(head) = &mut self.state else {
            return bytes;
        };
        let before = head.len();
        head.extend_from_slice(bytes);
        let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else {
            if head.len() > HEAD_LIMIT {
                self.state = State::Plain;
            }
            return &[];
        };
        let text = String::from_utf8_lossy(&head[..end]).to_lowercase();
        let upgrades = text.contains("upgrade: websocket") && !text.starts_with("http/1.1 4");
        self.state = if upgrades {
            State::Head(Vec::new())
        } else {
            State::Plain
        };
        &bytes[end + 4 - before..]
    }

    fn head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let State::Head(head) = &mut self.state else {
            return bytes;
        };
        let mut taken = 0;
        while taken < bytes.len() && head.len() < wanted(head) {
            head.push(bytes[taken]);
            taken += 1;
        }
        if head.len() == wanted(head) {
            let length = length(head);
            let mut mask = [0; 4];
            if head[1] & 0x80 != 0 {
                mask.copy_from_slice(&head[head.len() - 4..]);
            }
            self.state = State::Payload {
                opcode: head[0] & 0x0f,
                mask,
                length,
                left: length,
                begun: Vec::new(),
            };
        }
        &bytes[taken..]
    }

    fn payload<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let State::Payload { left, begun, .. } = &mut self.state else {
            return bytes;
        };
        let here = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let looked_at = here.min(LOOKED_AT - begun.len());
        begun.extend_from_slice(&bytes[..looked_at]);
        *left -= here as u64;
        &bytes[here..]
    }

    fn whole(&mut self) -> Option<Frame> {
        let State::Payload {
            opcode,
            mask,
            length,
            left: 0,
            begun,
        } = &self.state
        else {
            return None;
        };
        let frame = Frame {
            what: what(*opcode, *mask, begun),
            length: *length,
        };
        self.state = State::Head(Vec::new());
        Some(frame)
    }
}

/// How long a frame's head is, as far as what is here tells.
fn wanted(head: &[u8]) -> usize {
    let Some(second) = head.get(1) else {
        return 2;
    };
    let more = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + more + if second & 0x80 == 0 { 0 } else { 4 }
}

fn length(head: &[u8]) -> u64 {
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    match head[1] & 0x7f {
        126 => number(&head[2..4]),
        127 => number(&head[2..10]),
        short => u64::from(short),
    }
}

fn what(opcode: u8, mask: [u8; 4], begun: &[u8]) -> What {
    match opcode {
        1 => {
            let text: Vec<u8> = begun
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask)
                .collect();
            named(&String::from_utf8_lossy(&text)).map_or(What::Text, What::Named)
        }
        8 => What::Close,
        _ => What::Other,
    }
}

fn named(text: &str) -> Option<String> {
    let (name, _) = text.strip_prefix("{\"type\":\"")?.split_once('"')?;
    Some(name.to_owned())
}

/// A frame as a client sends it, with a mask of zeros: making it costs nothing.
pub(super) fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).expect("it is below 126")),
        middle @ 126..65_536 => {
            frame.push(0x80 | 0x7e);
            let length = u16::try_from(middle).expect("it is below 65,536");
            frame.extend_from_slice(&length.to_be_bytes());
        }
        long => {
            frame.push(0x80 | 0x7f);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}
