//! Telegram's Bot API. Verified bytes in, [`Inbound`] out; something to say in, an HTTP request out. No I/O.

use super::app::Answer;
use super::form::{Form, media_type};
use super::words::{command, one_line, shortened};
use super::{Channel, Deed, Inbound, Outgoing, OutgoingBody};
use crate::door::Verified;
use crate::door::telegram::TelegramBody;
use crate::secret::Secret;
use agent::event::Button;
use http::{HeaderMap, Uri, header};
use protocol::call::FileRef;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

/// The longest text of one message, in UTF-16 units.
pub const TEXT_LIMIT: usize = 4096;

/// The longest file that a bot may send, in bytes.
pub const FILE_LIMIT: u64 = 50 * 1024 * 1024;

/// The longest words under a file, in UTF-16 units.
const CAPTION_LIMIT: usize = 1024;

/// The longest answer to a pressed button, in UTF-16 units.
const TOAST_LIMIT: usize = 200;

/// The longest `callback_data`, in bytes.
const ACTION_LIMIT: usize = 64;

/// How many characters of labels share a row of buttons on a narrow phone.
const ROW_LIMIT: usize = 28;

/// How many updates Telegram may deliver at once: one person writes to one bot.
const CONNECTIONS: u8 = 4;

/// How long to wait, in seconds, where a 429 names no time.
const PATIENCE: u64 = 5;

/// What can come with a message instead of text, by its field, in the order in which one hides another
/// (an animation is a document too, a venue a location).
const ATTACHMENTS: [(&str, &str); 19] = [
    ("photo", "photo"),
    ("voice", "voice message"),
    ("video_note", "video note"),
    ("video", "video"),
    ("audio", "audio file"),
    ("animation", "animation"),
    ("sticker", "sticker"),
    ("document", "document"),
    ("venue", "place"),
    ("location", "location"),
    ("contact", "contact"),
    ("poll", "poll"),
    ("checklist", "checklist"),
    ("dice", "dice"),
    ("game", "game"),
    ("story", "story"),
    ("paid_media", "paid media"),
    ("invoice", "invoice"),
    ("giveaway", "giveaway"),
];

/// What Telegram itself notes in a private chat; nobody said it, so nobody is answered.
const SERVICE: [&str; 12] = [
    "pinned_message",
    "message_auto_delete_timer_changed",
    "chat_background_set",
    "write_access_allowed",
    "connected_website",
    "successful_payment",
    "refunded_payment",
    "forum_topic_created",
    "forum_topic_edited",
    "forum_topic_closed",
    "forum_topic_reopened",
    "proximity_alert_triggered",
];

/// Why verified bytes are not an update.
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
    /// A field is missing or of another type than published.
    #[error("not an update: {0}")]
    NotAnUpdate(String),
    /// A message in a private chat names no sender.
    #[error("not an update: a private message without `from`")]
    NoSender,
}

#[derive(Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the fields as Telegram publishes them"
)]
struct Update {
    update_id: i64,
    message: Option<Message>,
    callback_query: Option<CallbackQuery>,
}

#[derive(Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the fields as Telegram publishes them"
)]
struct Message {
    date: i64,
    chat: Chat,
    from: Option<User>,
    sender_chat: Option<IgnoredAny>,
    forward_origin: Option<IgnoredAny>,
    via_bot: Option<IgnoredAny>,
    quote: Option<TextQuote>,
    reply_to_message: Option<Content>,
    #[serde(flatten)]
    content: Content,
}

/// What a message says, whoever sent it and wherever.
#[derive(Deserialize)]
struct Content {
    text: Option<String>,
    caption: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
struct Chat {
    id: i64,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct User {
    id: i64,
    is_bot: bool,
    first_name: String,
    last_name: Option<String>,
    username: Option<String>,
}

#[derive(Deserialize)]
struct TextQuote {
    text: String,
}

#[derive(Deserialize)]
struct CallbackQuery {
    id: String,
    from: User,
    message: Option<PressedMessage>,
    data: Option<String>,
}

/// The message whose button was pressed; its words may be out of the bot's reach, these fields never are.
#[derive(Deserialize)]
struct PressedMessage {
    message_id: i64,
    date: i64,
    chat: Chat,
}

/// What an update says; `None` where it is authentic and concerns nobody: groups, channels, bots, edits.
///
/// A press has no time of its own: it carries its message's, or 0 where that is out of the bot's reach.
pub fn receive(body: &Verified<TelegramBody>) -> Result<Option<Inbound>, Garbage> {
    let update: Update =
        serde_json::from_slice(body.get().bytes()).map_err(|e| Garbage::new(&e))?;
    let delivery = format!("telegram:{}", update.update_id);
    if let Some(message) = update.message {
        return written(delivery, message);
    }
    Ok(update
        .callback_query
        .and_then(|query| pressed(delivery, query)))
}

impl Garbage {
    /// Tells where and what, never the words found there: a log is no place for someone's message.
    fn new(error: &serde_json::Error) -> Self {
        if !error.is_data() {
            let (line, column) = (error.line(), error.column());
            return Self::NotJson { line, column };
        }
        let text = error.to_string();
        let told = match (text.starts_with("invalid "), text.rfind(", expected ")) {
            (true, Some(end)) => {
                let found = text.find(['"', '`']).unwrap_or(end).min(end);
                format!("{}{}", text[..found].trim_end(), &text[end..])
            }
            (true, None) | (false, _) => text,
        };
        Self::NotAnUpdate(told)
    }
}

fn written(delivery: String, message: Message) -> Result<Option<Inbound>, Garbage> {
    if message.chat.kind != "private" || message.sender_chat.is_some() {
        return Ok(None);
    }
    let from = message.from.as_ref().ok_or(Garbage::NoSender)?;
    if from.is_bot {
        return Ok(None);
    }
    let (sender, sender_name) = (from.id.to_string(), from.name());
    let (chat, at) = (message.chat.id.to_string(), millis(message.date));
    Ok(message.deed().map(|deed| Inbound {
        delivery,
        channel: Channel::Telegram,
        sender,
        sender_name,
        chat,
        answers: None,
        deed,
        at,
    }))
}

fn pressed(delivery: String, query: CallbackQuery) -> Option<Inbound> {
    let message = query.message?;
    if message.chat.kind != "private" || query.from.is_bot {
        return None;
    }
    Some(Inbound {
        delivery,
        channel: Channel::Telegram,
        sender: query.from.id.to_string(),
        sender_name: query.from.name(),
        chat: message.chat.id.to_string(),
        answers: None,
        deed: Deed::Pressed {
            action: query.data?,
            press: query.id,
            message: message.message_id.to_string(),
        },
        at: millis(message.date),
    })
}

impl Message {
    fn deed(self) -> Option<Deed> {
        // What another bot composed is no more the sender's own words than what they pass on.
        let forwarded = self.forward_origin.is_some() || self.via_bot.is_some();
        let quoted = match self.quote {
            Some(quote) => Some(quote.text),
            None => self.reply_to_message.and_then(Content::words),
        };
        if !forwarded && let Some((name, argument)) = self.content.text.as_deref().and_then(command)
        {
            return Some(Deed::Commanded { name, argument });
        }
        let attachment = self.content.attachment();
        if self.content.text.is_none() && self.content.caption.is_none() {
            if attachment.is_none() && self.content.is_service() {
                return None;
            }
            let kind = attachment
                .unwrap_or("message of an unknown kind")
                .to_owned();
            return Some(Deed::Unreadable { kind });
        }
        self.content.words().map(|text| Deed::Wrote {
            text,
            quoted,
            attachments: Vec::new(),
            forwarded,
        })
    }
}

impl Content {
    /// Its text; for an attachment, its kind in brackets and the caption.
    fn words(self) -> Option<String> {
        let kind = self.attachment();
        match (self.text, self.caption, kind) {
            (Some(text), _, _) => Some(text),
            (None, Some(caption), Some(kind)) => Some(format!("[{kind}] {caption}")),
            (None, Some(caption), None) => Some(caption),
            (None, None, kind) => kind.map(|kind| format!("[{kind}]")),
        }
    }

    fn attachment(&self) -> Option<&'static str> {
        ATTACHMENTS
            .into_iter()
            .find_map(|(field, kind)| self.has(field).then_some(kind))
    }

    fn is_service(&self) -> bool {
        SERVICE.into_iter().any(|field| self.has(field))
    }

    fn has(&self, field: &str) -> bool {
        self.rest.get(field).is_some_and(|value| !value.is_null())
    }
}

impl User {
    /// On one line that reads forwards, whatever they put into it.
    fn name(&self) -> String {
        let last = self.last_name.as_deref().unwrap_or("");
        let full = format!("{} {last}", self.first_name);
        let name = one_line(&full);
        match &self.username {
            Some(username) if name.is_empty() => username.clone(),
            Some(_) | None => name,
        }
    }
}

/// A date of Telegram's, in seconds, as milliseconds; one that no row could hold is the nearest that one can.
fn millis(date: i64) -> i64 {
    const LAST: i64 = 1 << 52;
    date.saturating_mul(1000).clamp(0, LAST)
}

/// Where requests go, and the token that rides in their paths.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    token: Secret,
}

/// What a chat shows Bernard doing, for five seconds or until a message comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acting {
    /// Typing.
    Typing,
    /// Sending a file.
    UploadDocument,
}

impl Api {
    /// The Bot API, at Telegram or where `url` says: it replaces scheme, host and any path prefix.
    ///
    /// Of an address that is none come requests without a host, which cannot leave.
    pub fn new(url: Option<&str>, token: Secret) -> Self {
        let base = url.unwrap_or("https://api.telegram.org");
        let base = base.trim().trim_end_matches('/').to_owned();
        Self { base, token }
    }

    /// A message in Telegram's HTML; see [`super::markup::chunks_telegram`].
    pub fn send_message(&self, chat: &str, html: &str, buttons: &[Button]) -> Outgoing {
        let mut message = message(chat, html, buttons);
        message["parse_mode"] = json!("HTML");
        self.call("sendMessage", &message)
    }

    /// A message in plain text: what to send when the HTML came back as [`Answer::CannotParse`].
    pub fn send_plain(&self, chat: &str, text: &str, buttons: &[Button]) -> Outgoing {
        self.call("sendMessage", &message(chat, text, buttons))
    }

    /// A file as a document, its bytes untouched; `boundary` is fresh random bytes.
    pub fn send_document(
        &self,
        chat: &str,
        file: &FileRef,
        caption: Option<&str>,
        boundary: [u8; 16],
    ) -> Outgoing {
        let mut form = Form::new(boundary).field("chat_id", chat);
        if let Some(caption) = caption.filter(|c| !c.trim().is_empty()) {
            form = form.field("caption", &shortened(caption, CAPTION_LIMIT));
        }
        // Otherwise a GIF is sent on as an animation and an MP3 as music, both re-encoded or renamed.
        let form = form.field("disable_content_type_detection", "true");
        let (kind, body) = form.file("document", file, media_type(&file.mime));
        self.request("sendDocument", &kind, body)
    }

    /// Shows in the chat what Bernard is doing.
    pub fn send_chat_action(&self, chat: &str, acting: Acting) -> Outgoing {
        let action = match acting {
            Acting::Typing => "typing",
            Acting::UploadDocument => "upload_document",
        };
        let body = json!({"chat_id": number(chat), "action": action});
        self.call("sendChatAction", &body)
    }

    /// Ends a press's waiting circle, with a line that fades away if there is one to say.
    pub fn answer_callback(&self, press: &str, text: Option<&str>) -> Outgoing {
        let mut body = json!({"callback_query_id": press});
        if let Some(text) = text {
            body["text"] = json!(shortened(text, TOAST_LIMIT));
        }
        self.call("answerCallbackQuery", &body)
    }

    /// A message in Telegram's HTML that makes no sound.
    pub fn send_silently(&self, chat: &str, html: &str) -> Outgoing {
        let mut message = message(chat, html, &[]);
        message["parse_mode"] = json!("HTML");
        message["disable_notification"] = json!(true);
        self.call("sendMessage", &message)
    }

    /// Another text in Telegram's HTML for a message of the bot's own.
    pub fn edit_text(&self, chat: &str, id: &str, html: &str) -> Outgoing {
        let mut message = message(chat, html, &[]);
        message["parse_mode"] = json!("HTML");
        message["message_id"] = number(id);
        self.call("editMessageText", &message)
    }

    /// Takes a message of the bot's own away; Telegram lets it for two days.
    pub fn delete_message(&self, chat: &str, id: &str) -> Outgoing {
        let body = json!({"chat_id": number(chat), "message_id": number(id)});
        self.call("deleteMessage", &body)
    }

    /// Takes the buttons from under a message.
    pub fn edit_reply_markup(&self, chat: &str, message: &str) -> Outgoing {
        let body = json!({
            "chat_id": number(chat),
            "message_id": number(message),
            "reply_markup": {"inline_keyboard": []},
        });
        self.call("editMessageReplyMarkup", &body)
    }

    /// Tells Telegram where to deliver updates and which secret to prove itself with.
    pub fn set_webhook(&self, url: &str, secret: &Secret) -> Outgoing {
        let body = json!({
            "url": url,
            "secret_token": secret.expose(),
            "max_connections": CONNECTIONS,
            "allowed_updates": ["message", "callback_query"],
        });
        self.call("setWebhook", &body)
    }

    fn call(&self, method: &str, body: &Value) -> Outgoing {
        let body = OutgoingBody::Bytes(body.to_string().into_bytes());
        self.request(method, "application/json", body)
    }

    fn request(&self, method: &str, kind: &str, body: OutgoingBody) -> Outgoing {
        let mut request = http::Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.address(method).unwrap_or_default();
        if let Ok(kind) = kind.parse() {
            request.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        Outgoing { request, body }
    }

    fn address(&self, method: &str) -> Option<Uri> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b":_-".contains(&b);
        let token = self.token.expose();
        if !token.bytes().all(plain) || self.base.contains(['?', '#']) {
            return None;
        }
        let uri: Uri = format!("{}/bot{token}/{method}", self.base).parse().ok()?;
        matches!(uri.scheme_str(), Some("http" | "https")).then_some(uri)
    }
}

/// The fields that a message has with and without markup. A link preview would fetch an address that a model was talked into writing.
fn message(chat: &str, text: &str, buttons: &[Button]) -> Value {
    let mut body = json!({
        "chat_id": number(chat),
        "text": text,
        "link_preview_options": {"is_disabled": true},
    });
    let rows = keyboard(buttons);
    if !rows.is_empty() {
        body["reply_markup"] = json!({"inline_keyboard": rows});
    }
    body
}

/// Short labels share a row. A button that Telegram would refuse is left out, for it would refuse the words above it too.
fn keyboard(buttons: &[Button]) -> Vec<Vec<Value>> {
    let fits =
        |b: &&Button| !b.label.trim().is_empty() && (1..=ACTION_LIMIT).contains(&b.action.len());
    let (mut rows, mut used) = (Vec::<Vec<Value>>::new(), 0);
    for button in buttons.iter().filter(fits) {
        let value = json!({"text": button.label, "callback_data": button.action});
        let length = button.label.chars().count();
        used += length;
        match rows.last_mut() {
            Some(row) if used <= ROW_LIMIT => row.push(value),
            Some(_) | None => {
                rows.push(vec![value]);
                used = length;
            }
        }
    }
    rows
}

/// An id as the number that Telegram publishes; anything else as it is, for Telegram to judge.
fn number(id: &str) -> Value {
    id.parse::<i64>().map_or_else(|_| json!(id), |n| json!(n))
}

#[derive(Deserialize)]
struct Told {
    ok: bool,
    result: Option<Value>,
    error_code: Option<u16>,
    description: Option<String>,
    parameters: Option<Parameters>,
}

#[derive(Deserialize)]
struct Parameters {
    retry_after: Option<u64>,
}

/// Reads an answer. Never an error: whatever came, it means one of these.
pub fn answer(status: u16, headers: &HeaderMap, body: &[u8]) -> Answer {
    let Ok(told) = serde_json::from_slice::<Told>(body) else {
        return untold(status, headers);
    };
    if told.ok {
        let id = told.result.as_ref().and_then(|r| r.get("message_id"));
        let message_id = id.and_then(Value::as_i64).map(|id| id.to_string());
        return Answer::Ok { message_id };
    }
    // Behind a gateway that turns every status into 200, Telegram's own code still tells.
    let status = told.error_code.unwrap_or(status);
    let wait = told.parameters.and_then(|p| p.retry_after);
    let words = told.description.unwrap_or_default();
    let reason = match shortened(words.trim(), 200) {
        empty if empty.is_empty() => format!("status {status}"),
        reason => reason,
    };
    refused(status, reason, wait.or_else(|| retry_after(headers)))
}

fn refused(status: u16, reason: String, wait: Option<u64>) -> Answer {
    let words = reason.to_ascii_lowercase();
    match status {
        429 => Answer::RetryAfter(wait.unwrap_or(PATIENCE)),
        400 if words.contains("can't parse entities") => Answer::CannotParse,
        // The buttons are gone already: what was asked for is so.
        400 if words.contains("message is not modified") => Answer::Ok { message_id: None },
        400 if words.contains("chat not found") => Answer::Blocked(reason),
        403 => Answer::Blocked(reason),
        500.. => Answer::Broken(reason),
        _ => Answer::Refused(reason),
    }
}

/// An answer that is not in Telegram's words.
fn untold(status: u16, headers: &HeaderMap) -> Answer {
    let reason = format!("status {status} without Telegram's answer");
    match status {
        429 => Answer::RetryAfter(retry_after(headers).unwrap_or(PATIENCE)),
        400..=499 => Answer::Refused(reason),
        _ => Answer::Unclear(reason),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(url: Option<&str>) -> Api {
        Api::new(url, Secret::new("7000000001:AAtoken_-x").unwrap())
    }

    fn button(label: &str, action: &str) -> Button {
        Button {
            label: label.to_owned(),
            action: action.to_owned(),
        }
    }

    /// Method, address, content type and JSON body of a request.
    fn golden(outgoing: Outgoing) -> (String, Value) {
        let (head, ()) = outgoing.request.into_parts();
        let kind = head.headers[header::CONTENT_TYPE].to_str().unwrap();
        let line = format!("{} {} {kind}", head.method, head.uri);
        assert_eq!(head.headers.len(), 1);
        let OutgoingBody::Bytes(body) = outgoing.body else {
            panic!("a file where JSON was expected");
        };
        (line, serde_json::from_slice(&body).unwrap())
    }

    fn expected(method: &str, body: Value) -> (String, Value) {
        let base = "https://api.telegram.org/bot7000000001:AAtoken_-x";
        (format!("POST {base}/{method} application/json"), body)
    }

    #[test]
    fn requests_are_written_as_the_bot_api_publishes_them() {
        let api = api(None);
        let buttons = [button("Yes", "allow:c1"), button("No", "deny:c1")];
        let keyboard = json!({"inline_keyboard": [[
            {"text": "Yes", "callback_data": "allow:c1"},
            {"text": "No", "callback_data": "deny:c1"},
        ]]});
        let quiet = json!({"is_disabled": true});
        let secret = Secret::new("hook").unwrap();
        let table = [
            (
                api.send_message("42", "<b>hi</b>", &[]),
                expected(
                    "sendMessage",
                    json!({"chat_id": 42, "text": "<b>hi</b>", "parse_mode": "HTML", "link_preview_options": quiet}),
                ),
            ),
            (
                api.send_message("-10042", "ok?", &buttons),
                expected(
                    "sendMessage",
                    json!({"chat_id": -10042, "text": "ok?", "parse_mode": "HTML", "link_preview_options": quiet, "reply_markup": keyboard}),
                ),
            ),
            (
                api.send_plain("42", "a < b", &buttons),
                expected(
                    "sendMessage",
                    json!({"chat_id": 42, "text": "a < b", "link_preview_options": quiet, "reply_markup": keyboard}),
                ),
            ),
            (
                api.send_silently("42", "<i>soon</i>"),
                expected(
                    "sendMessage",
                    json!({"chat_id": 42, "text": "<i>soon</i>", "parse_mode": "HTML", "link_preview_options": quiet, "disable_notification": true}),
                ),
            ),
            (
                api.edit_text("42", "7", "<i>now</i>"),
                expected(
                    "editMessageText",
                    json!({"chat_id": 42, "message_id": 7, "text": "<i>now</i>", "parse_mode": "HTML", "link_preview_options": quiet}),
                ),
            ),
            (
                api.delete_message("42", "7"),
                expected("deleteMessage", json!({"chat_id": 42, "message_id": 7})),
            ),
            (
                api.send_chat_action("42", Acting::Typing),
                expected("sendChatAction", json!({"chat_id": 42, "action": "typing"})),
            ),
            (
                api.send_chat_action("42", Acting::UploadDocument),
                expected(
                    "sendChatAction",
                    json!({"chat_id": 42, "action": "upload_document"}),
                ),
            ),
            (
                api.answer_callback("4770", None),
                expected("answerCallbackQuery", json!({"callback_query_id": "4770"})),
            ),
            (
                api.answer_callback("4770", Some(&"😀".repeat(101))),
                expected(
                    "answerCallbackQuery",
                    json!({"callback_query_id": "4770", "text": format!("{}…", "😀".repeat(99))}),
                ),
            ),
            (
                api.edit_reply_markup("42", "7"),
                expected(
                    "editMessageReplyMarkup",
                    json!({"chat_id": 42, "message_id": 7, "reply_markup": {"inline_keyboard": []}}),
                ),
            ),
            (
                api.set_webhook("https://b.example/telegram/webhook", &secret),
                expected(
                    "setWebhook",
                    json!({"url": "https://b.example/telegram/webhook", "secret_token": "hook", "max_connections": 4, "allowed_updates": ["message", "callback_query"]}),
                ),
            ),
        ];
        for (outgoing, expected) in table {
            assert_eq!(golden(outgoing), expected);
        }
    }

    #[test]
    fn short_buttons_share_a_row_and_impossible_ones_are_left_out() {
        let buttons = [
            button("Allow once", "a"),
            button("Deny", "b"),
            button("Always allow in this folder", "c"),
            button("", "d"),
            button("No action", ""),
            button("Too long", &"x".repeat(65)),
            button("Stop", &"x".repeat(64)),
        ];
        let labels = keyboard(&buttons).into_iter().map(|row| {
            let labels = row.iter().map(|b| b["text"].as_str().unwrap().to_owned());
            labels.collect::<Vec<_>>()
        });
        assert_eq!(
            labels.collect::<Vec<_>>(),
            [
                vec!["Allow once", "Deny"],
                vec!["Always allow in this folder"],
                vec!["Stop"]
            ]
        );
    }

    #[test]
    fn a_set_address_replaces_scheme_host_and_prefix() {
        let table = [
            (
                None,
                "https://api.telegram.org/bot7000000001:AAtoken_-x/getMe",
            ),
            (
                Some("http://127.0.0.1:9000"),
                "http://127.0.0.1:9000/bot7000000001:AAtoken_-x/getMe",
            ),
            (
                Some("http://[::1]:9/fake/tg//"),
                "http://[::1]:9/fake/tg/bot7000000001:AAtoken_-x/getMe",
            ),
            (Some("ftp://example.com"), "/"),
            (Some("https://example.com?x="), "/"),
            (Some("example"), "/"),
            (Some(""), "/"),
        ];
        for (url, address) in table {
            let outgoing = api(url).call("getMe", &json!({}));
            assert_eq!(outgoing.request.uri().to_string(), address, "{url:?}");
        }
        let odd = Api::new(None, Secret::new("1:a/../../x").unwrap());
        assert_eq!(odd.call("getMe", &json!({})).request.uri(), "/");
    }

    #[test]
    fn no_print_of_a_request_or_of_the_api_shows_the_token() {
        let api = api(None);
        let outgoing = api.send_message("42", "private words", &[]);
        assert_eq!(
            format!("{outgoing:?}"),
            "Outgoing(POST api.telegram.org/***)"
        );
        assert_eq!(
            format!("{api:?}"),
            "Api { base: \"https://api.telegram.org\", token: *** }"
        );
    }

    /// Reads a multipart body back: headers and content of each part.
    fn parts(body: &[u8], boundary: &str) -> Vec<(Vec<String>, Vec<u8>)> {
        let find = |hay: &[u8], needle: &[u8]| hay.windows(needle.len()).position(|w| w == needle);
        let (open, next) = (format!("--{boundary}\r\n"), format!("\r\n--{boundary}"));
        let mut rest = body
            .strip_prefix(open.as_bytes())
            .expect("opens with its boundary");
        let mut parts = Vec::new();
        loop {
            let head = find(rest, b"\r\n\r\n").expect("headers end");
            let headers = String::from_utf8(rest[..head].to_vec()).unwrap();
            let headers = headers.split("\r\n").map(str::to_owned).collect();
            let content = &rest[head + 4..];
            let end = find(content, next.as_bytes()).expect("a boundary follows");
            parts.push((headers, content[..end].to_vec()));
            rest = &content[end + next.len()..];
            if rest == b"--\r\n" {
                return parts;
            }
            rest = rest.strip_prefix(b"\r\n").expect("another part");
        }
    }

    fn sent(name: &str, mime: &str, caption: Option<&str>) -> Vec<(Vec<String>, Vec<u8>)> {
        let content = b"\r\n--bernard-00\r\n\x00\xff";
        let file = FileRef {
            name: name.to_owned(),
            mime: mime.to_owned(),
            size: content.len() as u64,
            sha256: String::new(),
        };
        let outgoing = api(None).send_document("42", &file, caption, [0xa5; 16]);
        let boundary = format!("bernard-{}", "a5".repeat(16));
        let kind = &outgoing.request.headers()[header::CONTENT_TYPE];
        assert_eq!(
            kind,
            format!("multipart/form-data; boundary={boundary}").as_str()
        );
        let OutgoingBody::File {
            before,
            size,
            after,
        } = outgoing.body
        else {
            panic!("bytes where a file was expected");
        };
        assert_eq!(size, content.len() as u64);
        parts(&[before, content.to_vec(), after].concat(), &boundary)
    }

    fn part(name: &str, value: &str) -> (Vec<String>, Vec<u8>) {
        let head = format!("content-disposition: form-data; name=\"{name}\"");
        (vec![head], value.as_bytes().to_vec())
    }

    fn document(name: &str, mime: &str) -> (Vec<String>, Vec<u8>) {
        let head =
            format!("content-disposition: form-data; name=\"document\"; filename=\"{name}\"");
        let headers = vec![head, format!("content-type: {mime}")];
        (headers, b"\r\n--bernard-00\r\n\x00\xff".to_vec())
    }

    #[test]
    fn a_document_is_sent_as_it_is_in_well_formed_parts() {
        let detection = || part("disable_content_type_detection", "true");
        assert_eq!(
            sent("Proof of address.pdf", "application/pdf", None),
            [
                part("chat_id", "42"),
                detection(),
                document("Proof of address.pdf", "application/pdf")
            ]
        );
        assert_eq!(
            sent(
                "Straße 日本.txt",
                "text/plain; charset=utf-8",
                Some(&"é".repeat(1025))
            ),
            [
                part("chat_id", "42"),
                part("caption", &format!("{}…", "é".repeat(1023))),
                detection(),
                document("Straße 日本.txt", "text/plain"),
            ]
        );
    }

    #[test]
    fn a_hostile_name_or_type_ends_neither_its_quotes_nor_its_header() {
        let table = [
            ("a\"; name=\"chat_id", "a'; name='chat_id"),
            ("a\r\nx: y\r\n\r\nz", "a__x: y____z"),
            ("..\\..\\a/b", ".._.._a_b"),
            ("photo\u{202e}gpj.exe", "photo_gpj.exe"),
            (" \t", "file"),
        ];
        for (name, safe) in table {
            let parts = sent(name, "a/b\r\nx: y", Some(" "));
            assert_eq!(
                parts.last(),
                Some(&document(safe, "application/octet-stream"))
            );
            assert_eq!(parts.len(), 3);
        }
    }

    #[test]
    fn every_answer_means_one_thing() {
        let said = |code: u16, words: &str| {
            json!({"ok": false, "error_code": code, "description": words}).to_string()
        };
        let ok = |id: Option<&str>| Answer::Ok {
            message_id: id.map(str::to_owned),
        };
        let text = str::to_owned;
        let (blocked, gone) = (
            "Forbidden: bot was blocked by the user",
            "Bad Request: chat not found",
        );
        let table = [
            (
                200,
                text(r#"{"ok":true,"result":{"message_id":77,"date":1,"chat":{"id":1}}}"#),
                ok(Some("77")),
            ),
            (200, text(r#"{"ok":true,"result":true}"#), ok(None)),
            (
                429,
                text(
                    r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 35","parameters":{"retry_after":35}}"#,
                ),
                Answer::RetryAfter(35),
            ),
            (429, said(429, "Too Many Requests"), Answer::RetryAfter(8)),
            (429, text("slow down"), Answer::RetryAfter(8)),
            (
                400,
                said(
                    400,
                    "Bad Request: can't parse entities: Unsupported start tag \"x\" at byte offset 0",
                ),
                Answer::CannotParse,
            ),
            (
                400,
                said(
                    400,
                    "Bad Request: message is not modified: specified new message content is the same",
                ),
                ok(None),
            ),
            (400, said(400, gone), Answer::Blocked(text(gone))),
            (403, said(403, blocked), Answer::Blocked(text(blocked))),
            (
                400,
                said(400, "Bad Request: message is too long"),
                Answer::Refused(text("Bad Request: message is too long")),
            ),
            (
                401,
                said(401, "Unauthorized"),
                Answer::Refused(text("Unauthorized")),
            ),
            (
                413,
                text("<html>"),
                Answer::Refused(text("status 413 without Telegram's answer")),
            ),
            (409, said(409, ""), Answer::Refused(text("status 409"))),
            (
                500,
                said(500, "Internal Server Error"),
                Answer::Broken(text("Internal Server Error")),
            ),
            (
                200,
                said(502, "Bad Gateway"),
                Answer::Broken(text("Bad Gateway")),
            ),
            (
                502,
                text("<html>"),
                Answer::Unclear(text("status 502 without Telegram's answer")),
            ),
            (
                200,
                text("{\"ok\":tr"),
                Answer::Unclear(text("status 200 without Telegram's answer")),
            ),
            (
                302,
                String::new(),
                Answer::Unclear(text("status 302 without Telegram's answer")),
            ),
        ];
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, http::HeaderValue::from_static("8"));
        for (status, body, expected) in table {
            assert_eq!(
                answer(status, &headers, body.as_bytes()),
                expected,
                "{status} {body}"
            );
        }
        assert_eq!(answer(429, &HeaderMap::new(), b""), Answer::RetryAfter(5));
    }
}
