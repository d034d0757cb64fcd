//! What Meta delivers: many entries, changes, messages and statuses in one body. What is odd is left out and named; the rest is heard.

use crate::channels::app::Heard;
use crate::channels::words::{command, one_line};
use crate::channels::{Arrival, Channel, Deed, Fate, Inbound, Media};
use crate::door::Verified;
use crate::door::whatsapp::WhatsAppBody;
use serde_json::Value;

/// The longest id that is believed, in bytes.
const ID_LIMIT: usize = 256;

/// The longest reason of a failure that is kept, in characters.
const REASON_LIMIT: usize = 200;

/// The kinds of message that bring a file: their name with Meta, and ours.
const FILES: [(&str, &str); 5] = [
    ("image", "photo"),
    ("audio", "audio file"),
    ("video", "video"),
    ("document", "document"),
    ("sticker", "sticker"),
];

/// How files are called that come without a name, by their media type.
const ENDINGS: [(&str, &str); 14] = [
    ("image/jpeg", "jpg"),
    ("image/png", "png"),
    ("image/webp", "webp"),
    ("image/gif", "gif"),
    ("audio/ogg", "ogg"),
    ("audio/mpeg", "mp3"),
    ("audio/mp4", "m4a"),
    ("audio/aac", "aac"),
    ("audio/amr", "amr"),
    ("video/mp4", "mp4"),
    ("video/3gpp", "3gp"),
    ("application/pdf", "pdf"),
    ("text/plain", "txt"),
    ("application/zip", "zip"),
];

/// Why proven bytes are not a delivery. The words in them are never repeated: a log is no place for someone's message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Garbage {
    /// The bytes are no JSON.
    #[error("not JSON: wrong at line {line} column {column}")]
    NotJson {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// They are some other JSON.
    #[error("not a delivery of a WhatsApp Business account")]
    NotWhatsApp,
}

/// What a delivery says: what people did, what became of what was sent, and what of it concerns nobody.
pub fn receive(body: &Verified<WhatsAppBody>) -> Result<Heard, Garbage> {
    let body = body.get();
    let told: Value = serde_json::from_slice(body.bytes()).map_err(|error| Garbage::NotJson {
        line: error.line(),
        column: error.column(),
    })?;
    if text(&told, "/object") != Some("whatsapp_business_account") {
        return Err(Garbage::NotWhatsApp);
    }
    let mut heard = Heard::default();
    let changes = list(&told, "/entry")
        .iter()
        .flat_map(|entry| list(entry, "/changes"));
    for change in changes {
        if text(change, "/field") != Some("messages") {
            heard.dropped.push("a change that is no message");
        } else if text(change, "/value/metadata/phone_number_id") != Some(body.number()) {
            heard.dropped.push("something for another phone number");
        } else {
            take(&mut heard, change);
        }
    }
    Ok(heard)
}

/// Everything in one change that is ours.
fn take(heard: &mut Heard, change: &Value) {
    let contacts = list(change, "/value/contacts");
    for message in list(change, "/value/messages") {
        match inbound(message, contacts) {
            Ok(Some(inbound)) => heard.inbound.push(inbound),
            Ok(None) => {}
            Err(why) => heard.dropped.push(why),
        }
    }
    for status in list(change, "/value/statuses") {
        match fate(status) {
            Some(fate) => heard.fates.push(fate),
            None => heard.dropped.push("a status that cannot be read"),
        }
    }
    if !list(change, "/value/errors").is_empty() {
        heard.dropped.push("an error of WhatsApp's own");
    }
}

/// What someone did; nothing where nobody need be answered.
fn inbound(message: &Value, contacts: &[Value]) -> Result<Option<Inbound>, &'static str> {
    if !message["group_id"].is_null() {
        return Err("a message in a group");
    }
    let id = id(message, "/id").ok_or("a message without an id")?;
    let sender = sender(message).ok_or("a message without a sender")?;
    let Some(deed) = deed(message, id) else {
        return Ok(None);
    };
    let is_theirs = |contact: &&Value| {
        [text(contact, "/wa_id"), text(contact, "/user_id")].contains(&Some(sender))
    };
    let contact = contacts.iter().find(is_theirs);
    let name = contact.and_then(|contact| text(contact, "/profile/name"));
    Ok(Some(Inbound {
        delivery: format!("{}:{id}", Channel::WhatsApp.name()),
        channel: Channel::WhatsApp,
        sender: sender.to_owned(),
        sender_name: one_line(name.unwrap_or_default()),
        chat: sender.to_owned(),
        answers: self::id(message, "/context/id")
            .filter(|_| !is_forwarded(message))
            .map(str::to_owned),
        deed,
        at: millis(message),
    }))
}

/// Who sent it: their phone number's digits, or where they keep that to themselves the id that Meta has given them for this business.
fn sender(message: &Value) -> Option<&str> {
    let number = |from: &&str| {
        (1..=20).contains(&from.len()) && from.bytes().all(|byte| byte.is_ascii_digit())
    };
    let scoped = |id: &&str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
        let country = id.split('.').next().unwrap_or_default();
        let is_country = country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase());
        (4..=140).contains(&id.len()) && is_country && id.bytes().all(known)
    };
    text(message, "/from")
        .filter(number)
        .or_else(|| text(message, "/from_user_id").filter(scoped))
}

/// What they did; nothing for what WhatsApp itself notes.
fn deed(message: &Value, press: &str) -> Option<Deed> {
    let kind = text(message, "/type").unwrap_or_default();
    let words = match kind {
        "text" => text(message, "/text/body").map(str::to_owned),
        "button" => text(message, "/button/text").map(str::to_owned),
        "location" => place(message),
        "contacts" => Some(people(message)).filter(|people| !people.is_empty()),
        "reaction" => {
            let emoji = text(message, "/reaction/emoji").unwrap_or_default();
            if emoji.is_empty() {
                return None; // a reaction taken back
            }
            Some(format!("[reacted with {}]", one_line(emoji)))
        }
        "interactive" => return Some(pressed(message, press)),
        "system" | "request_welcome" => return None,
        kind => return Some(file(message, kind).unwrap_or_else(|| unreadable(kind))),
    };
    let Some(words) = words.filter(|words| !words.trim().is_empty()) else {
        return Some(unreadable(kind));
    };
    let forwarded = is_forwarded(message);
    if kind == "text"
        && !forwarded
        && let Some((name, argument)) = command(&words)
    {
        return Some(Deed::Commanded { name, argument });
    }
    Some(Deed::Wrote {
        text: words,
        quoted: advertisement(message),
        attachments: Vec::new(),
        forwarded,
    })
}

/// A button or a row of a list that Bernard offered.
fn pressed(message: &Value, press: &str) -> Deed {
    let reply = ["button_reply", "list_reply"]
        .iter()
        .find_map(|kind| id(&message["interactive"][*kind], "/id"));
    let Some(action) = reply else {
        return unreadable("form");
    };
    Deed::Pressed {
        action: action.to_owned(),
        press: press.to_owned(),
        message: id(message, "/context/id").unwrap_or_default().to_owned(),
    }
}

/// A message that brings a file, which still lies with Meta.
fn file(message: &Value, kind: &str) -> Option<Deed> {
    let (field, ours) = FILES.iter().find(|(field, _)| *field == kind)?;
    let file = &message[*field];
    let plain = |id: &&str| {
        id.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    let media = id(file, "/id").filter(plain)?;
    let voice = file["voice"].as_bool() == Some(true);
    let kind = if voice { "voice message" } else { ours };
    let mime = text(file, "/mime_type").unwrap_or_default();
    let mime = mime.split(';').next().unwrap_or_default().trim();
    let name = text(file, "/filename").map(one_line);
    Some(Deed::Gave {
        media: Media {
            id: media.to_owned(),
            kind: kind.to_owned(),
            name: name
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| named(kind, mime)),
            mime: mime.to_owned(),
            sha256: text(file, "/sha256").unwrap_or_default().to_owned(),
        },
        text: text(file, "/caption").unwrap_or_default().to_owned(),
        quoted: advertisement(message),
        forwarded: is_forwarded(message),
    })
}

fn named(kind: &str, mime: &str) -> String {
    let ending = ENDINGS.iter().find(|(known, _)| *known == mime);
    let ending = ending.map_or("bin", |(_, ending)| ending);
    format!("{}.{ending}", kind.replace(' ', "-"))
}

fn unreadable(kind: &str) -> Deed {
    let kind = match kind {
        "order" => "order",
        "form" => "form",
        "contacts" => "contact",
        "location" => "location",
        _ => FILES
            .iter()
            .find(|(field, _)| *field == kind)
            .map_or("message of an unknown kind", |(_, ours)| ours),
    };
    let kind = kind.to_owned();
    Deed::Unreadable { kind }
}

fn place(message: &Value) -> Option<String> {
    let place = &message["location"];
    let (latitude, longitude) = (place["latitude"].as_f64()?, place["longitude"].as_f64()?);
    let names = ["/name", "/address", "/url"].map(|field| text(place, field));
    let names: Vec<String> = names.into_iter().flatten().map(one_line).collect();
    let names = names.join(", ");
    let names = names.trim();
    Some(
        format!("[location] {latitude}, {longitude} {names}")
            .trim_end()
            .to_owned(),
    )
}

fn people(message: &Value) -> String {
    let person = |contact: &Value| {
        let name = text(contact, "/name/formatted_name").unwrap_or_default();
        let phones = list(contact, "/phones")
            .iter()
            .filter_map(|phone| text(phone, "/phone"));
        let emails = list(contact, "/emails")
            .iter()
            .filter_map(|mail| text(mail, "/email"));
        let words: Vec<String> = [name]
            .into_iter()
            .chain(phones)
            .chain(emails)
            .map(one_line)
            .collect();
        format!("[contact] {}", words.join(", "))
    };
    let people: Vec<String> = list(message, "/contacts").iter().map(person).collect();
    people.join("\n")
}

/// The advertisement that someone came from: others' words, as a quotation.
fn advertisement(message: &Value) -> Option<String> {
    let fields = [
        "/referral/headline",
        "/referral/body",
        "/referral/source_url",
    ];
    let words = fields.map(|field| text(message, field));
    let words: Vec<String> = words.into_iter().flatten().map(one_line).collect();
    (!words.is_empty()).then(|| format!("[advertisement] {}", words.join(" – ")))
}

fn is_forwarded(message: &Value) -> bool {
    ["forwarded", "frequently_forwarded"]
        .iter()
        .any(|mark| message["context"][*mark].as_bool() == Some(true))
}

/// What became of a message that was sent.
fn fate(status: &Value) -> Option<Fate> {
    let arrival = match text(status, "/status")? {
        "sent" => Arrival::Sent,
        "delivered" => Arrival::Delivered,
        "read" | "played" => Arrival::Read,
        "failed" => {
            let error = &status["errors"][0];
            let reasons = ["/error_data/details", "/message", "/title"];
            let reason = reasons.iter().find_map(|field| text(error, field));
            let reason = one_line(reason.unwrap_or_default());
            Arrival::Failed {
                code: error["code"].as_i64().unwrap_or(0),
                reason: reason.chars().take(REASON_LIMIT).collect(),
            }
        }
        _ => return None,
    };
    Some(Fate {
        channel: Channel::WhatsApp,
        person: id(status, "/recipient_id")
            .or_else(|| id(status, "/recipient_user_id"))?
            .to_owned(),
        message: id(status, "/id")?.to_owned(),
        arrival,
        at: millis(status),
    })
}

/// A time of Meta's, in seconds as text, in milliseconds; one that no row could hold is the nearest that one can.
fn millis(told: &Value) -> i64 {
    const LAST: i64 = 1 << 52;
    let stamp = &told["timestamp"];
    let seconds = stamp.as_str().and_then(|text| text.parse().ok());
    let seconds: i64 = seconds.or(stamp.as_i64()).unwrap_or(0);
    seconds.saturating_mul(1000).clamp(0, LAST)
}

fn id<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    let fits = |id: &&str| {
        (1..=ID_LIMIT).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
    };
    text(value, pointer).filter(fits)
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}
