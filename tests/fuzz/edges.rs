//! What must hold for any bytes that chat apps and models send.

use agent::Effect;
use agent::conversation::Conversation;
use agent::event::{Event, Message, ModelFailure, Reply};
use agent::prompt::{Prompt, Turn};
use agent::transcript::Trust;
use bernard::channels::telegram::{Garbage, receive};
use bernard::channels::{Channel, Deed, Inbound};
use bernard::door::Verified;
use bernard::door::telegram::{HEADER, TelegramBody, check};
use bernard::models::sse::{Overflow, SseDecoder, SseEvent};
use bernard::models::{Piece, parse_chain};
use bernard::secret::Secret;
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What a refused update may be told in, beside where it went wrong: words of ours, none of a person's.
const TOLD: &str = "not an update JSON wrong missing field duplicate fields invalid type length value number unit variant \
     expected struct with element elements i64 string a boolean bool sequence map null floating point integer byte \
     array character data did match any Update Message Chat User TextQuote CallbackQuery PressedMessage Content option \
     private message without from newtype character enum tuple of range out recursion limit exceeded can only flatten \
     structs and maps got key must be \
     update_id callback_query message_id date chat sender_chat forward_origin via_bot quote reply_to_message text \
     caption id type is_bot first_name last_name username";

fn hold(it: bool, else_broken: &str) -> Result<(), String> {
    if it {
        Ok(())
    } else {
        Err(else_broken.to_owned())
    }
}

/// What an update is told as stands in it: whose it is, from a private chat with a person, in their own words.
pub fn telegram_update(bytes: &[u8]) -> Result<bool, String> {
    telegram_update_by(receive, bytes)
}

/// The same for any decoder.
pub fn telegram_update_by(
    receive: impl Fn(&Verified<TelegramBody>) -> Result<Option<Inbound>, Garbage>,
    bytes: &[u8],
) -> Result<bool, String> {
    let inbound = match receive(&verified(bytes)) {
        Ok(Some(inbound)) => inbound,
        Ok(None) => return Ok(false),
        Err(garbage) => {
            says_nothing_of_theirs(&garbage.to_string())?;
            return Ok(false);
        }
    };
    // What nobody reads may hold letters and numbers that are none; then there is nothing to compare with.
    let Ok(update) = serde_json::from_slice::<Value>(bytes) else {
        return Ok(false);
    };
    let mut strings = Vec::new();
    texts(&update, &mut strings);
    let said = |text: &str| strings.contains(&text);
    hold(
        inbound.channel == Channel::Telegram
            && inbound.delivery == format!("telegram:{}", member(&update, "update_id", 0)),
        "another delivery",
    )?;
    let message = member(&update, "message", 1);
    let (chat, from) = if message.is_null() {
        let query = member(&update, "callback_query", 2);
        (
            member(member(query, "message", 2), "chat", 2),
            member(query, "from", 1),
        )
    } else {
        hold(
            member(message, "sender_chat", 3).is_null(),
            "a channel spoke",
        )?;
        (member(message, "chat", 1), member(message, "from", 2))
    };
    hold(member(chat, "type", 1) == "private", "not a private chat")?;
    hold(member(from, "is_bot", 1) == false, "a bot spoke")?;
    hold(
        number(member(from, "id", 0)) == inbound.sender,
        "someone else spoke",
    )?;
    hold(
        number(member(chat, "id", 0)) == inbound.chat,
        "another chat",
    )?;
    hold(inbound.at >= 0, "before all time")?;
    name_is_theirs(&inbound.sender_name, from)?;
    deed_is_theirs(&inbound.deed, message, &said)
}

/// The only way in: through the door, with the secret.
fn verified(body: &[u8]) -> Verified<TelegramBody> {
    let secret = Secret::new("a-webhook-secret").expect("not blank");
    let mut headers = HeaderMap::new();
    headers.insert(HEADER, HeaderValue::from_static("a-webhook-secret"));
    let pass = check(&headers, &secret).expect("the right secret, once");
    pass.seal(body.to_vec())
}

/// A field, of an object or of the list that may stand for it.
fn member<'a>(value: &'a Value, name: &str, at: usize) -> &'a Value {
    value
        .get(name)
        .or_else(|| value.get(at))
        .unwrap_or(&Value::Null)
}

/// A number as it is written.
fn number(value: &Value) -> String {
    value.as_i64().map_or_else(String::new, |id| id.to_string())
}

fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| texts(field, found)),
        Value::String(text) => found.push(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn name_is_theirs(name: &str, from: &Value) -> Result<(), String> {
    let given = [("first_name", 2), ("last_name", 3), ("username", 4)];
    let given: String = given
        .map(|(field, at)| member(from, field, at).as_str().unwrap_or_default())
        .join(" ");
    let turned = ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
    let turned: Vec<char> = turned.collect();
    let given = given.replace(&turned[..], "");
    hold(
        name.split_whitespace().all(|word| given.contains(word)),
        "a name that nobody gave",
    )?;
    hold(!name.contains(['\n', '\r']), "a name of several lines")
}

fn deed_is_theirs(
    deed: &Deed,
    message: &Value,
    said: &impl Fn(&str) -> bool,
) -> Result<bool, String> {
    let passed_on = ["forward_origin", "via_bot"]
        .iter()
        .any(|field| !member(message, field, usize::MAX).is_null());
    match deed {
        Deed::Wrote {
            text,
            quoted,
            attachments,
            forwarded,
        } => {
            hold(attachments.is_empty(), "a file from nowhere")?;
            hold(*forwarded == passed_on, "passed on, or not")?;
            let own = [&message["text"], &message["caption"]];
            let own = |text: &str| own.into_iter().any(|one| *one == text);
            hold(own(text) || captioned(text, &own), "words of nobody's")?;
            let quote = |text: &String| said(text) || captioned(text, said);
            hold(quoted.iter().all(quote), "a quotation of nobody's")?;
        }
        Deed::Commanded { name, argument } => {
            hold(!passed_on, "a command that was passed on")?;
            let text = message["text"].as_str().unwrap_or_default();
            let lower = text.trim_start().to_ascii_lowercase();
            hold(
                lower.starts_with(&format!("/{name}")) && text.trim_end().ends_with(argument),
                "a command that nobody gave",
            )?;
        }
        Deed::Pressed {
            action,
            press,
            message: _,
        } => {
            hold(message.is_null(), "a press and a message")?;
            hold(said(action) && said(press), "a press of nobody's")?;
        }
        Deed::Gave { .. } => return Err("a file to be fetched from nowhere".to_owned()),
        Deed::Unreadable { kind } => {
            hold(
                kind.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b' '),
                "a kind that is none of ours",
            )?;
        }
    }
    Ok(true)
}

/// Whether a text is a kind of ours in brackets, and behind it nothing or what was said.
fn captioned(text: &str, said: &impl Fn(&str) -> bool) -> bool {
    let Some((kind, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) else {
        return false;
    };
    let ours = kind
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b' ');
    ours && (rest.is_empty() || rest.strip_prefix(' ').is_some_and(said))
}

/// A refusal is logged: it holds our words and short numbers.
fn says_nothing_of_theirs(told: &str) -> Result<(), String> {
    let part_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for word in told
        .split(|c| !part_of_word(c))
        .filter(|word| !word.is_empty())
    {
        let known = TOLD.split_whitespace().any(|ours| ours == word)
            || ["line", "at", "column"].contains(&word)
            || word.len() <= 6 && word.bytes().all(|byte| byte.is_ascii_digit());
        hold(known, &format!("the log hears {word:?} in {told:?}"))?;
    }
    hold(told.is_ascii(), "the log hears letters of theirs")
}

/// The same bytes are the same events, wherever they are cut, and those that the format's description names.
pub fn sse(bytes: &[u8]) -> Result<bool, String> {
    sse_by(events, bytes)
}

/// The same for any decoder of pieces.
pub fn sse_by(
    decode: impl Fn(&[&[u8]]) -> Result<Vec<SseEvent>, Overflow>,
    bytes: &[u8],
) -> Result<bool, String> {
    let expected = Ok(described(bytes));
    for pieces in cuts(bytes) {
        let read = decode(&pieces);
        hold(
            read == expected,
            &format!("in {} pieces: {read:?}, not {expected:?}", pieces.len()),
        )?;
    }
    Ok(expected.is_ok_and(|events| !events.is_empty()))
}

/// The events of a stream that comes in these pieces.
pub fn events(pieces: &[&[u8]]) -> Result<Vec<SseEvent>, Overflow> {
    let mut decoder = SseDecoder::default();
    let mut events = Vec::new();
    for piece in pieces {
        events.extend(decoder.push(piece)?);
    }
    events.extend(decoder.finish());
    Ok(events)
}

/// Whole, in two at each of some places, in unequal pieces, and byte by byte.
fn cuts(bytes: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut all = vec![vec![bytes], bytes.chunks(1).collect()];
    all.extend([2, 3, 7, 61].map(|size| bytes.chunks(size).collect::<Vec<_>>()));
    let middle = bytes.len() / 2;
    let near = middle.saturating_sub(4)..(middle + 4).min(bytes.len());
    all.extend(near.map(|at| vec![&bytes[..at], &bytes[at..]]));
    all
}

/// The events of a whole stream, read as the format is described: line by line.
fn described(bytes: &[u8]) -> Vec<SseEvent> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut found = Vec::new();
    let (mut event, mut data): (String, Vec<String>) = Default::default();
    for line in text.split('\n').chain([""]) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        if field == "event" {
            event = value;
        } else if field == "data" {
            data.push(value);
        } else if line.is_empty() {
            let (name, data) = (std::mem::take(&mut event), std::mem::take(&mut data));
            found.extend((!data.is_empty()).then(|| SseEvent {
                event: Some(name).filter(|name| !name.is_empty()),
                data: data.join("\n"),
            }));
        }
    }
    found
}

/// What a model said is the same wherever its stream is cut, nothing comes after its end, and it can be kept.
pub fn stream(bytes: &[u8]) -> Result<bool, String> {
    stream_by(said, bytes)
}

/// What a stream comes to: what was shown on the way, and the reply.
pub type Said = (String, Result<Reply, ModelFailure>);

/// The same for any reader of pieces, given the provider's name.
pub fn stream_by(
    read: impl Fn(&str, &[&[u8]]) -> Result<Said, String>,
    bytes: &[u8],
) -> Result<bool, String> {
    let mut any = false;
    for provider in ["openai", "anthropic"] {
        let expected = read(provider, &[bytes])?;
        for pieces in cuts(bytes) {
            let said = read(provider, &pieces)?;
            hold(
                said == expected,
                &format!(
                    "{provider} in {} pieces: {said:?}, not {expected:?}",
                    pieces.len()
                ),
            )?;
        }
        if let Ok(reply) = expected.1 {
            can_be_kept(reply)?;
            any = true;
        }
    }
    Ok(any)
}

/// The conversation in which it was said is saved and read again as itself, and so is each line of its transcript.
fn can_be_kept(reply: Reply) -> Result<(), String> {
    let mut conversation = Conversation::new("fuzz");
    let message = Message {
        text: "hi".to_owned(),
        quoted: None,
        attachments: Vec::new(),
        trust: Trust::Owner,
        at: 1,
    };
    let asked = conversation.handle(Event::Said { message });
    let Some(Effect::AskModel { ask, .. }) = asked.into_iter().next() else {
        return Err("no model was asked".to_owned());
    };
    conversation.handle(Event::Replied { ask, reply, at: 2 });
    for entry in conversation.take_appended() {
        is_read_again(&entry)?;
    }
    is_read_again(&conversation)
}

fn is_read_again<T: Serialize + DeserializeOwned>(value: &T) -> Result<(), String> {
    let kept = serde_json::to_string(value).map_err(|error| error.to_string())?;
    let read: T = serde_json::from_str(&kept).map_err(|error| format!("{kept}: {error}"))?;
    let again = serde_json::to_string(&read).map_err(|error| error.to_string())?;
    hold(kept == again, &format!("{kept} became {again}"))
}

/// What a provider's reader makes of a stream that comes in these pieces.
pub fn said(provider: &str, pieces: &[&[u8]]) -> Result<Said, String> {
    let prompt = Prompt {
        system: "You are Bernard.".to_owned(),
        tools: agent::tool::all().to_vec(),
        turns: vec![Turn::Person("hi".to_owned())],
        max_tokens: 1024,
    };
    let chain = parse_chain(&format!("{provider}/m")).map_err(|error| error.to_string())?;
    let mut reader = chain.first().ok_or("no model")?.reader(&prompt);
    let (mut shown, mut ended) = (String::new(), false);
    for piece in pieces.iter().flat_map(|piece| reader.push(piece)) {
        hold(!ended, "something comes after the end")?;
        match piece {
            Piece::Text(text) => shown.push_str(&text),
            Piece::Whole(_) | Piece::Failed(_) => ended = true,
        }
    }
    Ok((shown, reader.finish()))
}
