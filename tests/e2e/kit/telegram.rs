//! A Telegram Bot API on loopback that checks every call against the published format and keeps what it was sent.

use super::markup::parse_html;
use super::person::PATIENCE;
use super::server::{Cut, Server};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest, Multipart, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;

/// What a bot may upload.
const DOCUMENT_LIMIT: usize = 50 * 1024 * 1024;
/// A message's text, in UTF-16 units after its entities are parsed.
const TEXT_LIMIT: usize = 4096;
/// A caption, likewise.
const CAPTION_LIMIT: usize = 1024;

/// The fake; it ends with this value.
#[derive(Debug)]
pub(crate) struct FakeTelegram {
    /// What `TELEGRAM_API_URL` has to be.
    pub(crate) url: String,
    shared: Arc<Shared>,
    _server: Server,
}

/// One thing that the bot did and that Telegram took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deed {
    /// The API's method.
    pub(crate) method: String,
    /// In which chat.
    pub(crate) chat: i64,
    /// The message it made or changed; 0 where there is none.
    pub(crate) message: i64,
    /// The text as the person reads it; a document's caption.
    pub(crate) text: String,
    /// Label and action of each button.
    pub(crate) buttons: Vec<(String, String)>,
    /// It makes no sound: what goes on, and not what is said.
    pub(crate) is_silent: bool,
    /// The file, where one was sent.
    pub(crate) document: Option<Document>,
    /// All parameters as they came.
    pub(crate) parameters: Map<String, Value>,
}

/// A file that was sent.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Document {
    /// Its name.
    pub(crate) name: String,
    /// Its media type.
    pub(crate) mime: String,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// SHA-256 of its bytes.
    pub(crate) sha256: [u8; 32],
}

/// A call that reached the server, whatever became of it.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    /// The API's method.
    pub(crate) method: String,
    /// When.
    pub(crate) at: Instant,
    /// The status that it was answered with; 0 where it got no answer.
    pub(crate) status: u16,
}

/// What the server does to a call instead of serving it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Failure {
    /// 429, with the seconds to wait.
    TooMany(u32),
    /// 500.
    Broken,
    /// 400, because of the markup; only a call that has markup meets it.
    CantParse,
    /// The connection is reset.
    Reset,
    /// It is neither done nor answered.
    Ignored,
    /// It is done, but never answered.
    Unanswered,
}

#[derive(Debug)]
struct Shared {
    token: String,
    log: Mutex<Log>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Log {
    deeds: Vec<Deed>,
    attempts: Vec<Attempt>,
    violations: Vec<String>,
    failures: HashMap<&'static str, VecDeque<Failure>>,
    presses: HashSet<String>,
    last_id: i64,
}

/// Telegram's refusal: a status and a description.
struct Refusal(u16, String);

type Parameters = Map<String, Value>;

impl FakeTelegram {
    /// Starts the fake for a bot with this token.
    pub(crate) async fn start(token: &str) -> Self {
        let shared = Arc::new(Shared {
            token: token.to_owned(),
            log: Mutex::default(),
            changed: watch::Sender::new(0),
        });
        let routes = Router::new()
            .fallback(serve)
            .layer(DefaultBodyLimit::disable())
            .with_state(shared.clone());
        let server = Server::start(routes).await;
        Self {
            url: server.url.clone(),
            shared,
            _server: server,
        }
    }

    /// The next call of this method meets this failure; several queue up.
    pub(crate) fn fails_next(&self, method: &'static str, failure: Failure) {
        self.shared
            .log()
            .failures
            .entry(method)
            .or_default()
            .push_back(failure);
    }

    /// All that the bot has done, in order.
    pub(crate) fn deeds(&self) -> Vec<Deed> {
        self.shared.log().deeds.clone()
    }

    /// All calls of one method, in order.
    pub(crate) fn attempts(&self, method: &str) -> Vec<Attempt> {
        self.shared
            .log()
            .attempts
            .iter()
            .filter(|attempt| attempt.method == method)
            .cloned()
            .collect()
    }

    /// Everything that was not as published.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.shared.log().violations.clone()
    }

    /// An id that no message, update or press has had.
    pub(crate) fn new_id(&self) -> i64 {
        self.shared.log().new_id()
    }

    /// Makes a press known, so that the bot can answer it.
    pub(crate) fn expects_press(&self, press: &str) {
        self.shared.log().presses.insert(press.to_owned());
    }

    /// The presses that the bot has not answered.
    pub(crate) fn unanswered_presses(&self) -> Vec<String> {
        self.shared.log().presses.iter().cloned().collect()
    }

    /// Waits until `find` finds what it looks for among the deeds, or `None` when `patience` has run out.
    pub(crate) async fn wait_for<T>(
        &self,
        patience: Duration,
        mut find: impl FnMut(&[Deed]) -> Option<T>,
    ) -> Option<T> {
        self.wait(patience, |log| find(&log.deeds)).await
    }

    /// Waits until a method has been called `count` times in all, whatever became of the calls.
    pub(crate) async fn was_called(&self, method: &str, count: usize) {
        let of_method = |log: &Log| {
            log.attempts
                .iter()
                .filter(|attempt| attempt.method == method)
                .count()
        };
        let waited = self
            .wait(PATIENCE, |log| (of_method(log) >= count).then_some(()))
            .await;
        assert!(
            waited.is_some(),
            "{method} was not called {count} times: {:#?}",
            self.attempts(method)
        );
    }

    /// `find` looks while the log is held: it must not ask this fake for anything.
    async fn wait<T>(
        &self,
        patience: Duration,
        mut find: impl FnMut(&Log) -> Option<T>,
    ) -> Option<T> {
        let mut changes = self.shared.changed.subscribe();
        let search = async {
            loop {
                if let Some(found) = find(&self.shared.log()) {
                    return found;
                }
                changes
                    .changed()
                    .await
                    .expect("the fake lives as long as its watchers");
            }
        };
        timeout(patience, search).await.ok()
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log
            .lock()
            .expect("no handler panics with the log in its hand")
    }
}

impl Log {
    fn new_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }

    fn failure(&mut self, method: &str, parameters: &Parameters) -> Option<Failure> {
        let queue = self.failures.get_mut(method)?;
        match queue.front()? {
            Failure::CantParse if !parameters.contains_key("parse_mode") => None,
            Failure::CantParse
            | Failure::TooMany(_)
            | Failure::Broken
            | Failure::Reset
            | Failure::Ignored
            | Failure::Unanswered => queue.pop_front(),
        }
    }

    fn offends(&mut self, method: &str, what: impl std::fmt::Display) {
        self.violations.push(format!("{method}: {what}"));
    }
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    let prefix = format!("/bot{}/", shared.token);
    let Some(method) = path.strip_prefix(&prefix) else {
        shared.log().offends(&path, "not this bot's token");
        return refuse(&Refusal(401, "Unauthorized".to_owned()));
    };
    let (parameters, document) = match read(&shared, method, request).await {
        Ok(read) => read,
        Err(refusal) => return refuse(&refusal),
    };
    let (answer, is_silent) = treat(&shared, method, parameters, document, &cut);
    shared.changed.send_modify(|count| *count += 1);
    if is_silent {
        std::future::pending::<()>().await; // until the caller hangs up
    }
    answer
}

/// Serves a call or fails it, as ordered; true if its answer is never to be given.
fn treat(
    shared: &Shared,
    method: &str,
    parameters: Parameters,
    document: Option<Document>,
    cut: &Cut,
) -> (Response, bool) {
    let mut log = shared.log();
    let failure = log.failure(method, &parameters);
    let answer = match failure {
        Some(Failure::TooMany(seconds)) => too_many(seconds),
        Some(Failure::Broken) => refuse(&Refusal(500, "Internal Server Error".to_owned())),
        Some(Failure::CantParse) => refuse(&Refusal(
            400,
            "Bad Request: can't parse entities: as the test wished".to_owned(),
        )),
        Some(Failure::Reset) => {
            cut.now();
            StatusCode::OK.into_response()
        }
        Some(Failure::Ignored) => StatusCode::OK.into_response(),
        Some(Failure::Unanswered) | None => match log.judge(method, parameters, document) {
            Ok(result) => json_response(StatusCode::OK, &json!({"ok": true, "result": result})),
            Err(refusal) => {
                log.offends(
                    method,
                    format_args!("answered {}: {}", refusal.0, refusal.1),
                );
                refuse(&refusal)
            }
        },
    };
    let is_silent = matches!(failure, Some(Failure::Ignored | Failure::Unanswered));
    let status = if is_silent || matches!(failure, Some(Failure::Reset)) {
        0
    } else {
        answer.status().as_u16()
    };
    log.attempts.push(Attempt {
        method: method.to_owned(),
        at: Instant::now(),
        status,
    });
    (answer, is_silent)
}

async fn read(
    shared: &Shared,
    method: &str,
    request: Request,
) -> Result<(Parameters, Option<Document>), Refusal> {
    if request.method() != Method::POST {
        shared
            .log()
            .offends(method, format_args!("called with {}", request.method()));
    }
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    if kind.starts_with("multipart/form-data") {
        return read_multipart(request).await;
    }
    let body = to_bytes(request.into_body(), DOCUMENT_LIMIT)
        .await
        .map_err(|error| Refusal(400, error.to_string()))?;
    if !kind.starts_with("application/json") && !body.is_empty() {
        shared
            .log()
            .offends(method, format_args!("content type {kind:?}"));
    }
    if body.is_empty() {
        return Ok((Parameters::new(), None));
    }
    match serde_json::from_slice(&body) {
        Ok(Value::Object(parameters)) => Ok((parameters, None)),
        Ok(_) | Err(_) => Err(Refusal(
            400,
            "Bad Request: can't parse JSON object".to_owned(),
        )),
    }
}

async fn read_multipart(request: Request<Body>) -> Result<(Parameters, Option<Document>), Refusal> {
    let malformed = |what: &dyn std::fmt::Display| Refusal(400, format!("Bad Request: {what}"));
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|error| malformed(&error))?;
    let (mut parameters, mut document) = (Parameters::new(), None);
    while let Some(mut field) = form.next_field().await.map_err(|error| malformed(&error))? {
        let name = field.name().unwrap_or_default().to_owned();
        let Some(file) = field.file_name().map(str::to_owned) else {
            let text = field.text().await.map_err(|error| malformed(&error))?;
            parameters.insert(name.clone(), form_value(&name, text));
            continue;
        };
        let mime = field.content_type().unwrap_or_default().to_owned();
        let (mut bytes, mut hash) = (Vec::new(), hmac_sha256::Hash::new());
        while let Some(chunk) = field.chunk().await.map_err(|error| malformed(&error))? {
            if bytes.len() + chunk.len() > DOCUMENT_LIMIT {
                return Err(Refusal(413, "Request Entity Too Large".to_owned()));
            }
            hash.update(&chunk);
            bytes.extend_from_slice(&chunk);
        }
        parameters.insert(name, Value::Null);
        document = Some(Document {
            name: file,
            mime,
            bytes,
            sha256: hash.finalize(),
        });
    }
    Ok((parameters, document))
}

/// A form knows only text; what is not a string by its documentation is written in it as JSON.
fn form_value(name: &str, text: String) -> Value {
    match name {
        "caption" | "parse_mode" | "text" | "action" | "callback_query_id" => Value::String(text),
        _ => serde_json::from_str(&text).unwrap_or(Value::String(text)),
    }
}

const ACTIONS: &str = "typing upload_photo record_video upload_video record_voice upload_voice upload_document \
    choose_sticker find_location record_video_note upload_video_note";

impl Log {
    /// Does what the method says, or refuses it as Telegram would.
    fn judge(
        &mut self,
        method: &str,
        parameters: Parameters,
        document: Option<Document>,
    ) -> Result<Value, Refusal> {
        let deed = match method {
            "sendMessage" => self.send_message(&parameters)?,
            "sendDocument" => self.send_document(&parameters, document)?,
            "sendChatAction" => self.send_chat_action(&parameters)?,
            "answerCallbackQuery" => self.answer_press(&parameters)?,
            "editMessageText" => self.edit_text(&parameters)?,
            "editMessageReplyMarkup" => self.edit_buttons(&parameters)?,
            "deleteMessage" => self.delete_message(&parameters)?,
            "setWebhook" | "setMyCommands" => Deed::default(),
            _ => return Err(Refusal(404, "Not Found".to_owned())),
        };
        let result = if deed.message == 0 {
            Value::Bool(true)
        } else {
            shown(&deed)
        };
        self.deeds.push(Deed {
            method: method.to_owned(),
            parameters,
            ..deed
        });
        Ok(result)
    }

    fn send_message(&mut self, parameters: &Parameters) -> Result<Deed, Refusal> {
        const KNOWN: &str = "business_connection_id chat_id message_thread_id direct_messages_topic_id text \
            parse_mode entities link_preview_options disable_notification protect_content \
            allow_paid_broadcast message_effect_id suggested_post_parameters reply_parameters \
            reply_markup";
        self.knows("sendMessage", parameters, KNOWN);
        self.previews_are_off("sendMessage", parameters);
        Ok(Deed {
            chat: self.chat("sendMessage", parameters)?,
            text: self.text("sendMessage", parameters, "text", TEXT_LIMIT)?,
            buttons: self.buttons("sendMessage", parameters)?,
            is_silent: parameters.get("disable_notification") == Some(&Value::Bool(true)),
            message: self.new_id(),
            ..Deed::default()
        })
    }

    fn send_document(
        &mut self,
        parameters: &Parameters,
        document: Option<Document>,
    ) -> Result<Deed, Refusal> {
        const KNOWN: &str = "business_connection_id chat_id message_thread_id direct_messages_topic_id document \
            thumbnail caption parse_mode caption_entities disable_content_type_detection \
            disable_notification protect_content allow_paid_broadcast message_effect_id \
            suggested_post_parameters reply_parameters reply_markup";
        self.knows("sendDocument", parameters, KNOWN);
        let document = document.filter(|_| parameters.contains_key("document"));
        let document = document.ok_or_else(|| bad("there is no document in the request"))?;
        if document.bytes.is_empty() {
            return Err(bad("file must be non-empty"));
        }
        if document.name.is_empty() || document.name.contains('/') {
            self.offends(
                "sendDocument",
                format_args!("file name {:?}", document.name),
            );
        }
        let caption = if parameters.contains_key("caption") {
            self.text("sendDocument", parameters, "caption", CAPTION_LIMIT)?
        } else {
            String::new()
        };
        Ok(Deed {
            chat: self.chat("sendDocument", parameters)?,
            text: caption,
            buttons: self.buttons("sendDocument", parameters)?,
            document: Some(document),
            message: self.new_id(),
            ..Deed::default()
        })
    }

    fn send_chat_action(&mut self, parameters: &Parameters) -> Result<Deed, Refusal> {
        self.knows(
            "sendChatAction",
            parameters,
            "business_connection_id chat_id message_thread_id action",
        );
        let action = text_of(parameters, "action");
        if !ACTIONS.split(' ').any(|known| known == action) {
            return Err(bad("wrong parameter action in request"));
        }
        Ok(Deed {
            chat: self.chat("sendChatAction", parameters)?,
            text: action.to_owned(),
            ..Deed::default()
        })
    }

    fn answer_press(&mut self, parameters: &Parameters) -> Result<Deed, Refusal> {
        const KNOWN: &str = "callback_query_id text show_alert url cache_time";
        self.knows("answerCallbackQuery", parameters, KNOWN);
        if !self
            .presses
            .remove(text_of(parameters, "callback_query_id"))
        {
            return Err(bad(
                "query is too old and response timeout expired or query ID is invalid",
            ));
        }
        let text = text_of(parameters, "text");
        if text.encode_utf16().count() > 200 {
            return Err(bad("MESSAGE_TOO_LONG"));
        }
        Ok(Deed {
            text: text.to_owned(),
            ..Deed::default()
        })
    }

    fn edit_text(&mut self, parameters: &Parameters) -> Result<Deed, Refusal> {
        const KNOWN: &str = "business_connection_id chat_id message_id inline_message_id text parse_mode entities \
            link_preview_options reply_markup";
        self.knows("editMessageText", parameters, KNOWN);
        self.previews_are_off("editMessageText", parameters);
        let before = self.edited("editMessageText", parameters)?;
        let text = self.text("editMessageText", parameters, "text", TEXT_LIMIT)?;
        let buttons = self.buttons("editMessageText", parameters)?;
        if (&text, &buttons) == (&before.text, &before.buttons) {
            return Err(not_modified());
        }
        Ok(Deed {
            chat: before.chat,
            message: before.message,
            text,
            buttons,
            ..Deed::default()
        })
    }

    fn edit_buttons(&mut self, parameters: &Parameters) -> Result<Deed, Refusal> {
        const KNOWN: &str =
            "business_connection_id chat_id message_id inline_message_id reply_markup";
        self.knows("editMessageReplyMarkup", parameters, KNOWN);
        let before = self.edited("editMessageReplyMarkup", parameters)?;
        let buttons = self.buttons("editMessageReplyMarkup", parameters)?;
        if buttons == before.buttons {
            return Err(not_modified());
        }
        Ok(Deed { buttons, ..before })
    }

    fn delete_message(&mut self, parameters: &Parameters) -> Result<Deed, Refusal> {
        self.knows("deleteMessage", parameters, "chat_id message_id");
        self.edited("deleteMessage", parameters)
    }

    /// The message as it stands, which an edit names.
    fn edited(&mut self, method: &str, parameters: &Parameters) -> Result<Deed, Refusal> {
        let chat = self.chat(method, parameters)?;
        let id = parameters.get("message_id").and_then(Value::as_i64);
        let known = |deed: &&Deed| deed.chat == chat && Some(deed.message) == id;
        let last = self.deeds.iter().rev().find(known);
        last.filter(|deed| deed.method != "deleteMessage")
            .cloned()
            .ok_or_else(|| bad("message to edit not found"))
    }

    fn knows(&mut self, method: &str, parameters: &Parameters, known: &str) {
        for name in parameters
            .keys()
            .filter(|name| !known.split(' ').any(|known| known == name.as_str()))
        {
            self.violations
                .push(format!("{method}: there is no parameter {name}"));
        }
    }

    fn previews_are_off(&mut self, method: &str, parameters: &Parameters) {
        let off = parameters
            .get("link_preview_options")
            .and_then(|options| options.get("is_disabled"));
        if off != Some(&Value::Bool(true)) {
            self.offends(method, "link previews are not off");
        }
    }

    fn chat(&mut self, method: &str, parameters: &Parameters) -> Result<i64, Refusal> {
        let given = parameters
            .get("chat_id")
            .ok_or_else(|| bad("chat_id is empty"))?;
        let id = given.as_i64();
        if id.is_none() {
            self.offends(method, format_args!("chat_id is not an integer: {given}"));
        }
        id.filter(|id| *id != 0)
            .ok_or_else(|| bad("chat not found"))
    }

    /// The text as the person will read it.
    fn text(
        &mut self,
        method: &str,
        parameters: &Parameters,
        name: &str,
        limit: usize,
    ) -> Result<String, Refusal> {
        let source = parameters
            .get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| bad("message text is empty"))?;
        let text = match parameters.get("parse_mode").map(Value::as_str) {
            None => source.to_owned(),
            Some(Some("HTML")) => {
                let parsed = parse_html(source).map_err(|why| Refusal(400, why))?;
                for what in parsed.forgiven {
                    self.offends(method, format_args!("{what} in {source:?}"));
                }
                parsed.text
            }
            Some(_) => return Err(bad("unsupported parse_mode")),
        };
        match text.trim().encode_utf16().count() {
            0 => Err(bad("message text is empty")),
            length if length > limit => Err(bad("message is too long")),
            _ => Ok(text),
        }
    }

    fn buttons(
        &mut self,
        method: &str,
        parameters: &Parameters,
    ) -> Result<Vec<(String, String)>, Refusal> {
        let Some(markup) = parameters.get("reply_markup") else {
            return Ok(Vec::new());
        };
        let rows = markup
            .get("inline_keyboard")
            .and_then(Value::as_array)
            .ok_or_else(|| bad("object expected as reply markup"))?;
        let mut buttons = Vec::new();
        for row in rows {
            for button in row
                .as_array()
                .ok_or_else(|| bad("inline keyboard row must be an array"))?
            {
                buttons.push(read_button(button)?);
                for name in button.as_object().into_iter().flat_map(Map::keys) {
                    if !["text", "callback_data"].contains(&name.as_str()) {
                        self.violations
                            .push(format!("{method}: a button has {name}"));
                    }
                }
            }
        }
        Ok(buttons)
    }
}

fn read_button(button: &Value) -> Result<(String, String), Refusal> {
    let label = button
        .get("text")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let action = button
        .get("callback_data")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if label.trim().is_empty() {
        return Err(bad("inline keyboard button text is empty"));
    }
    if !(1..=64).contains(&action.len()) {
        return Err(bad("BUTTON_DATA_INVALID"));
    }
    Ok((label.to_owned(), action.to_owned()))
}

/// A message as the API shows it.
fn shown(deed: &Deed) -> Value {
    let mut message = json!({
        "message_id": deed.message,
        "from": {"id": 123_456_789, "is_bot": true, "first_name": "Bernard", "username": "bernard_bot"},
        "chat": {"id": deed.chat, "first_name": "Someone", "type": "private"},
        "date": 1_700_000_000,
    });
    match &deed.document {
        None => message["text"] = json!(deed.text),
        Some(Document {
            name, mime, bytes, ..
        }) => {
            message["document"] = json!({
                "file_id": format!("BQACAgQAAx{}", deed.message),
                "file_unique_id": format!("AgAD{}", deed.message),
                "file_name": name,
                "mime_type": mime,
                "file_size": bytes.len(),
            });
        }
    }
    message
}

fn text_of<'a>(parameters: &'a Parameters, name: &str) -> &'a str {
    parameters
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn bad(what: &str) -> Refusal {
    Refusal(400, format!("Bad Request: {what}"))
}

fn not_modified() -> Refusal {
    bad(
        "message is not modified: specified new message content and reply markup are exactly the same as a current content",
    )
}

fn refuse(refusal: &Refusal) -> Response {
    let Refusal(code, description) = refusal;
    let status = StatusCode::from_u16(*code).expect("a refusal's code is a status");
    json_response(
        status,
        &json!({"ok": false, "error_code": code, "description": description}),
    )
}

fn too_many(seconds: u32) -> Response {
    let description = format!("Too Many Requests: retry after {seconds}");
    let body = json!({"ok": false, "error_code": 429, "description": description, "parameters": {"retry_after": seconds}});
    json_response(StatusCode::TOO_MANY_REQUESTS, &body)
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ({}, {} bytes)",
            self.name,
            self.mime,
            self.bytes.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn call(telegram: &FakeTelegram, method: &str, parameters: Value) -> Value {
        let url = format!("{}/botT/{method}", telegram.url);
        let answer = reqwest::Client::new()
            .post(url)
            .json(&parameters)
            .send()
            .await
            .expect("an answer");
        answer.json().await.expect("JSON")
    }

    fn message(text: &str) -> Value {
        json!({"chat_id": 7, "text": text, "parse_mode": "HTML", "link_preview_options": {"is_disabled": true}})
    }

    #[tokio::test]
    async fn what_is_as_published_is_taken_and_kept() {
        let telegram = FakeTelegram::start("T").await;
        let mut asked = message("<b>Sure?</b> 1 &lt; 2");
        asked["reply_markup"] =
            json!({"inline_keyboard": [[{"text": "Yes", "callback_data": "yes:1"}]]});
        let sent = call(&telegram, "sendMessage", asked).await;
        assert_eq!(
            (&sent["ok"], &sent["result"]["message_id"]),
            (&json!(true), &json!(1))
        );
        let part = |name: &str| format!("--B\r\ncontent-disposition: form-data; name=\"{name}\"");
        let mut form = format!(
            "{}\r\n\r\n7\r\n{}\r\n\r\n12\r\n",
            part("chat_id"),
            part("caption")
        )
        .into_bytes();
        let kind = "; filename=\"a.bin\"\r\ncontent-type: application/octet-stream\r\n\r\n";
        form.extend(format!("{}{kind}", part("document")).bytes());
        form.extend(vec![7; 100_000]);
        form.extend(b"\r\n--B--\r\n");
        let posted = reqwest::Client::new().post(format!("{}/botT/sendDocument", telegram.url));
        let posted = posted
            .header("content-type", "multipart/form-data; boundary=B")
            .body(form);
        let sent: Value = posted
            .send()
            .await
            .expect("an answer")
            .json()
            .await
            .expect("JSON");
        assert_eq!(sent["result"]["document"]["file_size"], 100_000, "{sent}");

        let deeds = telegram.deeds();
        assert_eq!(
            (deeds[0].text.as_str(), &deeds[0].buttons[..]),
            ("Sure? 1 < 2", &[("Yes".into(), "yes:1".into())][..])
        );
        let document = deeds[1].document.as_ref().expect("the document");
        assert_eq!(document.sha256, hmac_sha256::Hash::hash(&vec![7; 100_000]));
        assert_eq!((deeds[1].chat, deeds[1].text.as_str()), (7, "12"));
        assert_eq!(telegram.violations(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_is_not_as_published_is_refused_or_noted() {
        let telegram = FakeTelegram::start("T").await;
        for (what, refused) in [
            (message("<h1>x</h1>"), true),
            (message(" "), true),
            (message(&"🐚".repeat(2049)), true),
            (json!({"chat_id": 7, "text": "x"}), false),
            (
                json!({"chat_id": 7, "text": "x", "disable_web_page_preview": true}),
                false,
            ),
            (
                json!({"text": "x", "link_preview_options": {"is_disabled": true}}),
                true,
            ),
        ] {
            let before = telegram.violations().len();
            let answer = call(&telegram, "sendMessage", what.clone()).await;
            assert_eq!(answer["ok"], !refused, "{what} got {answer}");
            assert!(
                telegram.violations().len() > before,
                "{what} went unnoticed"
            );
        }
        assert_eq!(
            call(&telegram, "getFile", json!({})).await["error_code"],
            404
        );
    }

    #[tokio::test]
    async fn failures_come_as_ordered_and_then_it_works_again() {
        let telegram = FakeTelegram::start("T").await;
        telegram.fails_next("sendMessage", Failure::TooMany(3));
        telegram.fails_next("sendMessage", Failure::CantParse);
        telegram.fails_next("sendMessage", Failure::Reset);
        assert_eq!(
            call(&telegram, "sendMessage", message("x")).await["parameters"]["retry_after"],
            3
        );
        let refused = call(&telegram, "sendMessage", message("x")).await;
        assert!(
            refused["description"]
                .as_str()
                .is_some_and(|why| why.contains("can't parse entities")),
            "{refused}"
        );
        let url = format!("{}/botT/sendMessage", telegram.url);
        assert!(
            reqwest::Client::new()
                .post(url)
                .json(&message("x"))
                .send()
                .await
                .is_err(),
            "no reset"
        );
        assert_eq!(
            call(&telegram, "sendMessage", message("x")).await["ok"],
            true
        );
        let statuses: Vec<u16> = telegram
            .attempts("sendMessage")
            .iter()
            .map(|attempt| attempt.status)
            .collect();
        assert_eq!(statuses, [429, 400, 0, 200]);
        assert_eq!(telegram.deeds().len(), 1);
    }
}
