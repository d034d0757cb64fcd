//! What must hold for any bytes on the wire between Worker and bridge: frames, chunks, links, tokens and what they claim.

use protocol::call::{Outcome, ToolCall};
use protocol::chunk::{BadChunk, Chunk, MAX_CHUNK};
use protocol::key::{KeyId, SigningKey, encode};
use protocol::pairing::{Answer, Link, Refused as NoLink, Request};
use protocol::session::{Hello, HelloClaims};
use protocol::token::{self, Binding, Kind, LIFE_SECONDS, Refused};
use protocol::warrant::{Receipt, Warrant};
use protocol::{BadFrame, MAX_TEXT_FRAME, ToBridge, ToWorker, read_frame, write_frame};
use serde::Serialize;
use serde_json::Value;
use std::fmt::Debug;
use std::sync::OnceLock;

/// When tokens are checked, in milliseconds.
const NOW: i64 = 1_790_000_000_000;

/// How many seconds two clocks may differ: the leniency that a token may count on.
const TOLERANCE: i64 = 5;

/// At how many places a chunk is cut.
const CUTS: usize = 40;

/// Fails with what is broken where something does not hold.
fn hold(it: bool, else_broken: &str) -> Result<(), String> {
    if it {
        Ok(())
    } else {
        Err(else_broken.to_owned())
    }
}

/// A frame that is read says all that stood there, goes one way, and is read again as itself when it is written.
pub fn frame(bytes: &[u8]) -> Result<bool, String> {
    frame_by(read_frame, read_frame, bytes)
}

/// The same for any two decoders.
pub fn frame_by(
    down: impl Fn(&str) -> Result<ToBridge, BadFrame>,
    up: impl Fn(&str) -> Result<ToWorker, BadFrame>,
    bytes: &[u8],
) -> Result<bool, String> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Ok(false);
    };
    let frames = [whole(text, down)?, whole(text, up)?];
    hold(frames != [true, true], "a frame goes both ways")?;
    let inside = [
        again(text, read_frame::<Hello>)?,
        again(text, read_frame::<Outcome>)?,
        again(text, read_frame::<ToolCall>)?,
        again(text, read_frame::<Warrant>)?,
        again(text, read_frame::<Receipt>)?,
        again(text, read_frame::<Request>)?,
        again(text, read_frame::<Answer>)?,
    ];
    Ok(frames.contains(&true) || inside.contains(&true))
}

/// [`again`], and nothing that stood in the text is lost or altered.
fn whole<T: Serialize + PartialEq + Debug>(
    text: &str,
    read: impl Fn(&str) -> Result<T, BadFrame>,
) -> Result<bool, String> {
    if !again(text, &read)? {
        return Ok(false);
    }
    hold(text.len() <= MAX_TEXT_FRAME, "a frame is too long")?;
    let frame = read(text).map_err(|error| error.to_string())?;
    let said: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let read = serde_json::to_value(&frame).map_err(|error| error.to_string())?;
    let (mut before, mut after) = (Vec::new(), Vec::new());
    leaves(&said, &mut before);
    leaves(&read, &mut after);
    before.sort();
    after.sort();
    hold(before == after, &format!("it was read as {frame:?}"))?;
    Ok(true)
}

/// What is read is read as itself when it is written.
fn again<T: Serialize + PartialEq + Debug>(
    text: &str,
    read: impl Fn(&str) -> Result<T, BadFrame>,
) -> Result<bool, String> {
    let Ok(frame) = read(text) else {
        return Ok(false);
    };
    let written = write_frame(&frame);
    match read(&written) {
        Ok(second) if second == frame => Ok(true),
        Ok(second) => Err(format!("{frame:?} became {second:?}")),
        Err(error) => Err(format!("{written} is not read: {error}")),
    }
}

/// The texts and numbers in a value: a struct may stand as an object or as a list.
fn leaves(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| leaves(field, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            found.push(value.to_string());
        }
    }
}

/// A chunk is its bytes and nothing else: what is read is written as it came, and claims nothing beyond its frame.
pub fn chunk(bytes: &[u8]) -> Result<bool, String> {
    chunk_by(Chunk::decode, bytes)
}

/// The same for any decoder.
pub fn chunk_by(
    decode: impl Fn(&[u8]) -> Result<Chunk, BadChunk>,
    bytes: &[u8],
) -> Result<bool, String> {
    let expected = chunk_in(bytes);
    let read = decode(bytes).ok();
    let Some(chunk) = read.clone() else {
        hold(expected.is_none(), "a whole chunk was refused")?;
        return Ok(false);
    };
    hold(read == expected, &format!("it was read as {chunk:?}"))?;
    hold(chunk.encode() == bytes, "it is written otherwise")?;
    let step = bytes.len().div_ceil(CUTS);
    for end in (0..bytes.len()).step_by(step) {
        let Ok(cut) = decode(&bytes[..end]) else {
            continue;
        };
        let begins = chunk.bytes.starts_with(&cut.bytes) && cut.bytes.len() < chunk.bytes.len();
        hold(
            begins && (&cut.call, cut.offset) == (&chunk.call, chunk.offset),
            &format!("cut at {end}, it is another chunk"),
        )?;
    }
    Ok(true)
}

/// The chunk in a frame, read by places.
fn chunk_in(frame: &[u8]) -> Option<Chunk> {
    let id_end = 1 + usize::from(*frame.first()?);
    let begin = id_end + 8;
    let size = frame.len().checked_sub(begin)?;
    if !(1..=MAX_CHUNK).contains(&size) {
        return None;
    }
    let id = String::from_utf8(frame[1..id_end].to_vec()).ok()?;
    let offset = frame[id_end..begin]
        .iter()
        .fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
    Some(Chunk {
        call: protocol::call::CallId(id),
        offset,
        bytes: frame[begin..].to_vec(),
    })
}

/// A pairing link that is read is read as itself when it is shown, and names an address of the web.
pub fn link(bytes: &[u8]) -> Result<bool, String> {
    link_by(Link::parse, bytes)
}

/// The same for any reader.
pub fn link_by(parse: impl Fn(&str) -> Result<Link, NoLink>, bytes: &[u8]) -> Result<bool, String> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Ok(false);
    };
    let Ok(link) = parse(text) else {
        return Ok(false);
    };
    hold(link.worker.starts_with("http"), "no address of the web")?;
    for part in [&link.pairing, &link.secret, &link.fingerprint] {
        hold(
            !part.is_empty() && text.contains(&format!("={part}")),
            "a part is not in the link",
        )?;
    }
    hold(
        parse(&link.to_string()) == Ok(link),
        "it is shown otherwise",
    )?;
    Ok(true)
}

/// The two ends of a wire: keys of the tests' own making.
struct Ends {
    bridge: SigningKey,
    command: SigningKey,
    bridge_id: KeyId,
    command_id: KeyId,
}

const KINDS: [Kind; 3] = [Kind::Hello, Kind::Warrant, Kind::Receipt];

impl Ends {
    fn known() -> &'static Self {
        static ENDS: OnceLock<Ends> = OnceLock::new();
        ENDS.get_or_init(|| {
            let key = |text| SigningKey::from_text(text).expect("a key pair");
            let bridge = key(
                "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQGKiOPddAnxlf1S2y08ul1yymcJvx2UEhvzdIgBtA9vXA",
            );
            let command = key(
                "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgKBOXcOqH0XX1ajVGbDTH7My42KkbTuN6Jd9g9bj8mzlA",
            );
            Self {
                bridge_id: bridge.public().id(),
                command_id: command.public().id(),
                bridge,
                command,
            }
        })
    }

    fn key(&self, kind: Kind) -> &SigningKey {
        match kind {
            Kind::Warrant => &self.command,
            Kind::Hello | Kind::Receipt => &self.bridge,
        }
    }

    fn binding(&self, kind: Kind) -> Binding<'_> {
        let (issuer, audience) = match kind {
            Kind::Warrant => (&self.command_id, &self.bridge_id),
            Kind::Hello | Kind::Receipt => (&self.bridge_id, &self.command_id),
        };
        let nonce = match kind {
            Kind::Hello => None,
            Kind::Warrant | Kind::Receipt => Some("session"),
        };
        Binding {
            issuer,
            audience,
            nonce,
        }
    }
}

/// Whether a token passes as one of its kind.
fn passes(kind: Kind, text: &str) -> Result<(), Refused> {
    let ends = Ends::known();
    let (key, binding) = (ends.key(kind).public(), ends.binding(kind));
    match kind {
        Kind::Hello => token::check::<HelloClaims>(kind, &key, binding, text, NOW).map(drop),
        Kind::Warrant => token::check::<Warrant>(kind, &key, binding, text, NOW).map(drop),
        Kind::Receipt => token::check::<Receipt>(kind, &key, binding, text, NOW).map(drop),
    }
}

/// Header and claims of a token of each kind, as they stand in `tests/wire/`: a line of JSON each.
pub fn claims_seeds() -> Vec<Vec<u8>> {
    let texts = [
        include_str!("../wire/token.hello.json"),
        include_str!("../wire/token.warrant.json"),
        include_str!("../wire/token.receipt.json"),
    ];
    let lines = texts.map(|text| {
        let token: Value = serde_json::from_str(text).expect("a golden token is JSON");
        format!("{}\n{}", token["header"], token["claims"]).into_bytes()
    });
    lines.to_vec()
}

/// A genuine token of each kind.
pub fn token_seeds() -> &'static [Vec<u8>] {
    static TOKENS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    TOKENS.get_or_init(|| {
        let seeds = claims_seeds();
        let tokens = KINDS.iter().zip(&seeds).map(|(kind, seed)| {
            let text = std::str::from_utf8(seed).expect("it was text");
            signed(*kind, text).expect("two lines").into_bytes()
        });
        tokens.collect()
    })
}

/// A token by the right key with a header and claims of anyone's making.
fn signed(kind: Kind, text: &str) -> Option<String> {
    let (header, claims) = text.split_once('\n')?;
    let said = format!(
        "{}.{}",
        encode(header.as_bytes()),
        encode(claims.as_bytes())
    );
    let signature = Ends::known().key(kind).sign(said.as_bytes());
    Some(format!("{said}.{signature}"))
}

/// A token passes as what it was issued as, and nothing else in the world passes.
pub fn token(bytes: &[u8]) -> Result<bool, String> {
    token_by(|kind, text| passes(kind, text).is_ok(), bytes)
}

/// The same for any check.
pub fn token_by(passes: impl Fn(Kind, &str) -> bool, bytes: &[u8]) -> Result<bool, String> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Ok(false);
    };
    let _ = token::claimed_key(text); // proves nothing, and stumbles over nothing
    let mut any = false;
    for (kind, genuine) in KINDS.iter().zip(token_seeds()) {
        let taken = passes(*kind, text);
        hold(
            taken == (bytes == genuine),
            &format!("as {kind:?}: taken is {taken}"),
        )?;
        any |= taken;
    }
    Ok(any)
}

/// Whatever its issuer writes into it, a token that passes names one issuer, one reader, this session, and thirty seconds of now.
pub fn claims(bytes: &[u8]) -> Result<bool, String> {
    claims_by(|kind, text| passes(kind, text).is_ok(), bytes)
}

/// The same for any check.
pub fn claims_by(passes: impl Fn(Kind, &str) -> bool, bytes: &[u8]) -> Result<bool, String> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Ok(false);
    };
    let mut any = false;
    for kind in KINDS {
        let Some(token) = signed(kind, text) else {
            return Ok(false);
        };
        if passes(kind, &token) {
            is_strict(kind, text)?;
            any = true;
        }
    }
    Ok(any)
}

fn is_strict(kind: Kind, text: &str) -> Result<(), String> {
    let (header, claims) = text.split_once('\n').ok_or("two lines")?;
    let json = |text| serde_json::from_str::<Value>(text).map_err(|error| error.to_string());
    let (header, claims) = (json(header)?, json(claims)?);
    let binding = Ends::known().binding(kind);
    let typ = match kind {
        Kind::Hello => "hello+jwt",
        Kind::Warrant => "warrant+jwt",
        Kind::Receipt => "receipt+jwt",
    };
    let names = header.as_object().map_or(0, serde_json::Map::len);
    hold(names == 3, "the header says more")?;
    hold(header["alg"] == "EdDSA", "another algorithm")?;
    hold(header["typ"] == typ, "another kind")?;
    hold(header["kid"] == binding.issuer.0, "another key")?;
    hold(claims["iss"] == binding.issuer.0, "another issuer")?;
    hold(claims["aud"] == binding.audience.0, "another reader")?;
    hold(claims["nonce"].as_str() == binding.nonce, "another session")?;
    let id = claims["jti"].as_str().map_or(0, str::len);
    hold((1..=64).contains(&id), "no id that could be kept")?;
    let (Some(from), Some(until)) = (claims["iat"].as_i64(), claims["exp"].as_i64()) else {
        return Err("no beginning or no end".to_owned());
    };
    let (now, life) = (NOW / 1000, i64::try_from(LIFE_SECONDS).expect("seconds"));
    hold((0..=life).contains(&(until - from)), "a long life")?;
    hold(
        from - TOLERANCE <= now && now <= until + TOLERANCE,
        "not its time",
    )
}
