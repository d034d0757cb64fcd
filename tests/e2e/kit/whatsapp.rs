//! WhatsApp's Cloud API on loopback: every request is read into Meta's published fields and held to Meta's published limits, and people
//! with WhatsApp, whose messages reach the Worker signed as Meta signs them.

use super::person::{PATIENCE, acknowledged};
use super::server::{Cut, Server};
use super::{World, files_sha256};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest, Multipart, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hmac_sha256::HMAC;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::timeout;

/// The id of Bernard's phone number.
pub(crate) const NUMBER: &str = "106540352242922";
/// What requests must carry.
pub(crate) const ACCESS_TOKEN: &str = "EAAcanaryAccessToken0123456789abcdef";
/// What deliveries are signed with.
pub(crate) const APP_SECRET: &str = "canary-app-secret-0123456789abcdef";
/// What the handshake asks for.
pub(crate) const VERIFY_TOKEN: &str = "canary-verify-token-0123456789abcdef";
/// The template that Meta has approved.
pub(crate) const TEMPLATE: &str = "you_have_a_message";
/// The header of the signature.
pub(crate) const SIGNATURE: &str = "X-Hub-Signature-256";

/// The longest text, in characters.
const TEXT_LIMIT: usize = 4096;
/// The longest text over buttons and lists.
const BODY_LIMIT: usize = 1024;
/// The largest upload of all.
const UPLOAD_LIMIT: usize = 100 * 1024 * 1024;

/// The fake; it ends with this value.
#[derive(Debug)]
pub(crate) struct FakeGraph {
    /// What `WHATSAPP_API_URL` has to be.
    pub(crate) url: String,
    shared: Arc<Shared>,
    _server: Server,
}

/// One message that Bernard sent and that Meta took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// To whom.
    pub(crate) to: String,
    /// Its id.
    pub(crate) id: String,
    /// Its type: `text`, `interactive`, `template`, `reaction`, `document` …
    pub(crate) kind: String,
    /// The words that the person reads; a template's name, a reaction's emoji, a file's name.
    pub(crate) text: String,
    /// Title and id of each button or row.
    pub(crate) buttons: Vec<(String, String)>,
    /// SHA-256 and media type of the file, where one was sent.
    pub(crate) file: Option<(String, String)>,
}

/// What the server does to a message instead of serving it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Failure {
    /// This status with this code of Meta's.
    Code(u16, i64),
    /// The connection is reset.
    Reset,
}

#[derive(Debug)]
struct Shared {
    log: Mutex<Log>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Log {
    sent: Vec<Sent>,
    seen: Vec<String>,
    refused: Vec<i64>,
    violations: Vec<String>,
    failures: VecDeque<Failure>,
    /// To whom only a template may be sent.
    silent: HashSet<String>,
    /// The ids of messages that people have sent.
    known: HashSet<String>,
    /// Files that Bernard has handed over: media type and hash.
    uploads: HashMap<String, (String, String, usize)>,
    /// Files that people have sent: media type, bytes, and what is odd about them.
    media: HashMap<String, (String, Vec<u8>, Lie)>,
    last_id: usize,
}

/// What is odd about a file that somebody sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Nothing.
    None,
    /// It lies with somebody else.
    Elsewhere,
    /// Its address leads on to somebody else.
    Moved,
    /// Other bytes come than were announced.
    OtherBytes,
    /// It is gone.
    Missing,
}

/// Meta's refusal: a status, a code and the details.
struct Refusal(u16, i64, String);

/// What may be posted to `messages`: the fields that Meta publishes for what Bernard sends, and no other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    messaging_product: String,
    recipient_type: String,
    to: Option<String>,
    recipient: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    text: Option<Text>,
    interactive: Option<Interactive>,
    template: Option<Template>,
    reaction: Option<Reaction>,
    image: Option<Media>,
    audio: Option<Media>,
    video: Option<Media>,
    document: Option<Media>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    body: String,
    preview_url: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Interactive {
    #[serde(rename = "type")]
    kind: String,
    body: Body_,
    action: Action,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body_ {
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Action {
    button: Option<String>,
    #[serde(default)]
    buttons: Vec<Button>,
    #[serde(default)]
    sections: Vec<Section>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Button {
    #[serde(rename = "type")]
    kind: String,
    reply: Reply,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    id: String,
    title: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    title: String,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    title: String,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    name: String,
    language: Language,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Language {
    code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reaction {
    message_id: String,
    emoji: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Media {
    id: String,
    filename: Option<String>,
}

/// What marks a message as read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    messaging_product: String,
    status: String,
    message_id: String,
    typing_indicator: Option<Typing>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typing {
    #[serde(rename = "type")]
    kind: String,
}

impl FakeGraph {
    /// Starts the fake.
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared {
            log: Mutex::default(),
            changed: watch::Sender::new(0),
        });
        let routes = Router::new()
            .fallback(serve)
            .layer(DefaultBodyLimit::disable())
            .with_state(shared.clone());
        let server = Server::start(routes).await;
        Self {
            url: format!("{}/v24.0", server.url),
            shared,
            _server: server,
        }
    }

    /// The next message meets this failure; several queue up.
    pub(crate) fn fails_next(&self, failure: Failure) {
        self.shared.log().failures.push_back(failure);
    }

    /// From now on this person takes templates only, until they write.
    pub(crate) fn falls_silent(&self, person: &str) {
        self.shared.log().silent.insert(person.to_owned());
    }

    /// All that was sent, in order.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.shared.log().sent.clone()
    }

    /// The messages of theirs that were marked as read.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.shared.log().seen.clone()
    }

    /// The codes with which messages were refused.
    pub(crate) fn refused(&self) -> Vec<i64> {
        self.shared.log().refused.clone()
    }

    /// Everything that was not as published.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.shared.log().violations.clone()
    }

    /// Waits until `find` finds what it looks for among what was sent, or `None` when `patience` has run out. It must not ask this fake
    /// for anything.
    pub(crate) async fn wait_for<T>(
        &self,
        patience: Duration,
        mut find: impl FnMut(&[Sent]) -> Option<T>,
    ) -> Option<T> {
        self.wait(patience, |log| find(&log.sent)).await
    }

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

    /// Waits until so many messages in all were refused.
    pub(crate) async fn has_refused(&self, count: usize) {
        let enough = self
            .wait(PATIENCE, |log| (log.refused.len() >= count).then_some(()))
            .await;
        assert!(enough.is_some(), "only {:?} were refused", self.refused());
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
    fn new_id(&mut self) -> String {
        self.last_id += 1;
        format!("wamid.HBgLOUR{:06}==", self.last_id)
    }

    fn offends(&mut self, what: impl std::fmt::Display) {
        self.violations.push(format!("whatsapp: {what}"));
    }
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    let bearer = request.headers().get(header::AUTHORIZATION);
    let is_ours = bearer.is_some_and(|bearer| *bearer == format!("Bearer {ACCESS_TOKEN}").as_str());
    if !is_ours {
        shared
            .log()
            .offends(format_args!("{path} without the token"));
        return refuse(&Refusal(401, 190, "Error validating access token".into()));
    }
    let messages = format!("/v24.0/{NUMBER}/messages");
    let uploads = format!("/v24.0/{NUMBER}/media");
    let answer = match (request.method(), path.as_str()) {
        (&Method::POST, path) if path == messages => message(&shared, &cut, request).await,
        (&Method::POST, path) if path == uploads => upload(&shared, request).await,
        (&Method::GET, path) => found(&shared, path, &request),
        (method, path) => {
            shared.log().offends(format_args!("{method} {path}"));
            Err(Refusal(404, 100, "Unsupported request".into()))
        }
    };
    shared.changed.send_modify(|count| *count += 1);
    answer.unwrap_or_else(|refusal| refuse(&refusal))
}

async fn message(shared: &Shared, cut: &Cut, request: Request) -> Result<Response, Refusal> {
    let kind = request.headers().get(header::CONTENT_TYPE).cloned();
    let body = to_bytes(request.into_body(), 1024 * 1024).await;
    let body = body.map_err(|error| bad(&error.to_string()))?;
    let mut log = shared.log();
    if kind.is_none_or(|kind| kind != "application/json") {
        log.offends("a message that is no JSON");
    }
    if let Ok(seen) = serde_json::from_slice::<Seen>(&body) {
        let marked = log.mark(&seen);
        return marked.inspect_err(|why| log_refusal(&mut log, why));
    }
    match log.failures.pop_front() {
        Some(Failure::Code(status, code)) => {
            log.refused.push(code);
            return Err(Refusal(status, code, "as the test wished".into()));
        }
        Some(Failure::Reset) => {
            cut.now();
            return Ok(StatusCode::OK.into_response());
        }
        None => {}
    }
    let judged = serde_json::from_slice::<Message>(&body)
        .map_err(|error| bad(&error.to_string()))
        .and_then(|message| log.judge(message));
    match judged {
        Ok(sent) => {
            let answer = json!({
                "messaging_product": "whatsapp",
                "contacts": [{"input": sent.to, "wa_id": sent.to}],
                "messages": [{"id": sent.id}],
            });
            log.sent.push(sent);
            Ok(axum::Json(answer).into_response())
        }
        Err(refusal) => {
            log.refused.push(refusal.1);
            log_refusal(&mut log, &refusal);
            Err(refusal)
        }
    }
}

/// What Meta refuses for another reason than the hour is no request that Bernard should have sent.
fn log_refusal(log: &mut Log, refusal: &Refusal) {
    if refusal.1 != 131_047 {
        log.offends(format_args!("answered {}: {}", refusal.1, refusal.2));
    }
}

impl Log {
    fn mark(&mut self, seen: &Seen) -> Result<Response, Refusal> {
        let is_published = seen.messaging_product == "whatsapp"
            && seen.status == "read"
            && seen
                .typing_indicator
                .as_ref()
                .is_none_or(|typing| typing.kind == "text");
        if !is_published || !self.known.contains(&seen.message_id) {
            return Err(bad("no such message to mark"));
        }
        self.seen.push(seen.message_id.clone());
        Ok(axum::Json(json!({"success": true})).into_response())
    }

    /// Takes a message, or refuses it as Meta would.
    fn judge(&mut self, message: Message) -> Result<Sent, Refusal> {
        if (&*message.messaging_product, &*message.recipient_type) != ("whatsapp", "individual") {
            return Err(bad("messaging_product or recipient_type"));
        }
        let to = match (&message.to, &message.recipient) {
            (Some(to), None) if to.bytes().all(|byte| byte.is_ascii_digit()) => to.clone(),
            (None, Some(id)) if id.contains('.') => id.clone(),
            _ => return Err(bad("no recipient, or two")),
        };
        if self.silent.contains(&to) && message.kind != "template" {
            let why = "More than 24 hours have passed since the recipient last replied";
            return Err(Refusal(400, 131_047, why.into()));
        }
        let content = match &*message.kind {
            "text" => message.text.map(text),
            "interactive" => message.interactive.map(interactive),
            "template" => message.template.map(template),
            "reaction" => message.reaction.map(|reaction| self.reaction(reaction)),
            "image" => message.image.map(|media| self.file("image", media)),
            "audio" => message.audio.map(|media| self.file("audio", media)),
            "video" => message.video.map(|media| self.file("video", media)),
            "document" => message.document.map(|media| self.file("document", media)),
            _ => None,
        };
        let content = content.ok_or_else(|| bad("the type without its object"))??;
        Ok(Sent {
            to,
            id: self.new_id(),
            kind: message.kind,
            ..content
        })
    }

    fn reaction(&self, reaction: Reaction) -> Result<Sent, Refusal> {
        if !self.known.contains(&reaction.message_id) || reaction.emoji.is_empty() {
            return Err(bad("a reaction to nothing"));
        }
        Ok(Sent {
            text: reaction.emoji,
            ..Sent::default()
        })
    }

    fn file(&self, kind: &str, media: Media) -> Result<Sent, Refusal> {
        let (mime, sha256, size) = self
            .uploads
            .get(&media.id)
            .ok_or_else(|| bad("no such media"))?;
        let (kinds, megabytes): (&[&str], usize) = match kind {
            "image" => (&["image/jpeg", "image/png"], 5),
            "audio" => (
                &[
                    "audio/aac",
                    "audio/amr",
                    "audio/mpeg",
                    "audio/mp4",
                    "audio/ogg",
                ],
                16,
            ),
            "video" => (&["video/3gpp", "video/mp4"], 16),
            _ => (&["text/plain", "application/pdf"], 100), // and office documents, which no test sends
        };
        if !kinds.contains(&mime.as_str()) || *size > megabytes * 1024 * 1024 {
            return Err(Refusal(
                400,
                131_053,
                format!("{mime} of {size} bytes as {kind}"),
            ));
        }
        if media.filename.is_some() != (kind == "document") {
            return Err(bad("a file's name"));
        }
        Ok(Sent {
            text: media.filename.unwrap_or_default(),
            file: Some((sha256.clone(), mime.clone())),
            ..Sent::default()
        })
    }
}

fn text(text: Text) -> Result<Sent, Refusal> {
    within("a text", &text.body, TEXT_LIMIT)?;
    if text.preview_url {
        return Err(bad("a preview")); // of an address that a model was talked into writing
    }
    Ok(Sent {
        text: text.body,
        ..Sent::default()
    })
}

fn template(template: Template) -> Result<Sent, Refusal> {
    if (&*template.name, &*template.language.code) != (TEMPLATE, "en") {
        return Err(Refusal(404, 132_001, "Template name does not exist".into()));
    }
    Ok(Sent {
        text: template.name,
        ..Sent::default()
    })
}

fn interactive(interactive: Interactive) -> Result<Sent, Refusal> {
    within("a body", &interactive.body.text, BODY_LIMIT)?;
    let Action {
        button,
        buttons,
        sections,
    } = interactive.action;
    let choices = match (&*interactive.kind, button) {
        ("button", None) if sections.is_empty() => replies(buttons)?,
        ("list", Some(button)) if buttons.is_empty() => {
            within("a list's button", &button, 20)?;
            rows(sections)?
        }
        _ => return Err(bad("an action that does not go with its type")),
    };
    let unlike: HashSet<&String> = choices.iter().map(|(_, id)| id).collect();
    if unlike.len() != choices.len() {
        return Err(bad("two choices with one id"));
    }
    Ok(Sent {
        text: interactive.body.text,
        buttons: choices,
        ..Sent::default()
    })
}

fn replies(buttons: Vec<Button>) -> Result<Vec<(String, String)>, Refusal> {
    if !(1..=3).contains(&buttons.len()) {
        return Err(bad("one to three buttons"));
    }
    let mut titles = HashSet::new();
    for Button { kind, reply } in &buttons {
        within("a button's title", &reply.title, 20)?;
        within("a button's id", &reply.id, 256)?;
        if kind != "reply" || !titles.insert(&reply.title) || reply.id.trim() != reply.id {
            return Err(bad("a button"));
        }
    }
    let choices = buttons
        .into_iter()
        .map(|button| (button.reply.title, button.reply.id));
    Ok(choices.collect())
}

fn rows(sections: Vec<Section>) -> Result<Vec<(String, String)>, Refusal> {
    let mut choices = Vec::new();
    for Section { title, rows } in sections {
        within("a section's title", &title, 24)?;
        for row in rows {
            within("a row's title", &row.title, 24)?;
            within("a row's id", &row.id, 200)?;
            if row.description.chars().count() > 72 {
                return Err(bad("a row's description"));
            }
            choices.push((row.title, row.id));
        }
    }
    if !(1..=10).contains(&choices.len()) {
        return Err(bad("one to ten rows"));
    }
    Ok(choices)
}

fn within(what: &str, text: &str, limit: usize) -> Result<(), Refusal> {
    let length = text.encode_utf16().count();
    if text.trim().is_empty() || length > limit {
        return Err(bad(&format!("{what} of {length} characters")));
    }
    Ok(())
}

/// An upload, in the form that Meta publishes.
async fn upload(shared: &Shared, request: Request<Body>) -> Result<Response, Refusal> {
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|error| bad(&error.to_string()))?;
    let (mut fields, mut file) = (HashMap::new(), None);
    while let Some(field) = form
        .next_field()
        .await
        .map_err(|error| bad(&error.to_string()))?
    {
        let name = field.name().unwrap_or_default().to_owned();
        let mime = field.content_type().map(str::to_owned);
        let is_file = field.file_name().is_some();
        let bytes = field
            .bytes()
            .await
            .map_err(|error| bad(&error.to_string()))?;
        if is_file && name == "file" && bytes.len() <= UPLOAD_LIMIT {
            file = Some((mime.unwrap_or_default(), files_sha256(&bytes), bytes.len()));
        } else {
            fields.insert(name, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    let mut log = shared.log();
    let expected = file
        .as_ref()
        .map(|(mime, _, _)| mime.clone())
        .unwrap_or_default();
    let wanted: HashMap<String, String> = [
        ("messaging_product".to_owned(), "whatsapp".to_owned()),
        ("type".to_owned(), expected),
    ]
    .into();
    let (Some(file), true) = (file, fields == wanted) else {
        log.offends(format_args!("an upload with {fields:?}"));
        return Err(bad("an upload"));
    };
    log.last_id += 1;
    let id = (4_490_709_000_000 + log.last_id).to_string();
    log.uploads.insert(id.clone(), file);
    Ok(axum::Json(json!({"id": id})).into_response())
}

/// Where a file of theirs lies, or the file itself.
fn found(shared: &Shared, path: &str, request: &Request) -> Result<Response, Refusal> {
    let mut log = shared.log();
    let id = path.rsplit('/').next().unwrap_or_default();
    let Some((mime, mut bytes, lie)) = log.media.get(id).cloned() else {
        log.offends(format_args!("GET {path}"));
        return Err(bad("no such media"));
    };
    if path.starts_with("/stolen/") || lie == Lie::Missing {
        if lie != Lie::Missing {
            log.offends("the token went where a redirect led");
        }
        return Err(Refusal(404, 100, "gone".into()));
    }
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let sha256 = files_sha256(&bytes);
    if path.starts_with("/lookaside/") {
        if lie == Lie::Moved {
            let place = format!("http://{host}/stolen/{id}");
            return Ok((StatusCode::FOUND, [(header::LOCATION, place)]).into_response());
        }
        if lie == Lie::OtherBytes {
            bytes.push(b'!');
        }
        return Ok(([(header::CONTENT_TYPE, mime)], bytes).into_response());
    }
    if request.uri().query() != Some(&format!("phone_number_id={NUMBER}")) {
        log.offends(format_args!("{:?}", request.uri().query()));
    }
    let url = match lie {
        Lie::Elsewhere => format!("http://lookaside.fbsbx.com.evil.example/{id}"),
        Lie::None | Lie::Moved | Lie::OtherBytes | Lie::Missing => {
            format!("http://{host}/lookaside/{id}")
        }
    };
    let place = json!({
        "messaging_product": "whatsapp", "url": url, "mime_type": mime, "sha256": sha256,
        "file_size": bytes.len().to_string(), "id": id,
    });
    Ok(axum::Json(place).into_response())
}

fn bad(what: &str) -> Refusal {
    Refusal(400, 100, format!("Invalid parameter: {what}"))
}

fn refuse(refusal: &Refusal) -> Response {
    let Refusal(status, code, details) = refusal;
    let status = StatusCode::from_u16(*status).expect("a refusal's status");
    let body = json!({"error": {
        "message": format!("(#{code}) Refused"), "type": "OAuthException", "code": code,
        "error_data": {"messaging_product": "whatsapp", "details": details}, "fbtrace_id": "AXYZ",
    }});
    (status, axum::Json(body)).into_response()
}

/// Someone with WhatsApp. They listen in order: what they have heard, they do not hear again.
#[derive(Debug)]
pub(crate) struct Contact<'w> {
    /// Their number's digits.
    pub(crate) number: String,
    world: &'w World,
    heard: AtomicUsize,
}

impl<'w> Contact<'w> {
    /// Someone of whom nobody knows.
    pub(crate) fn new(world: &'w World, number: &str) -> Self {
        Self {
            number: number.to_owned(),
            world,
            heard: AtomicUsize::new(0),
        }
    }

    /// Writes a text.
    pub(crate) async fn says(&self, text: &str) {
        self.says_since(text, Duration::ZERO).await;
    }

    /// Writes a text that Meta delivers only after so long.
    pub(crate) async fn says_since(&self, text: &str, ago: Duration) {
        self.delivers(&self.message("text", &json!({"body": text}), ago))
            .await;
    }

    /// Taps a button or a row that has this word.
    pub(crate) async fn taps(&self, on: &Sent, word: &str) {
        let choice = on
            .buttons
            .iter()
            .find(|(title, _)| title.to_lowercase().contains(word));
        let (title, id) = choice.unwrap_or_else(|| panic!("no button says {word:?} under {on:#?}"));
        self.taps_id(on, title, id).await;
    }

    /// Taps a button by its id, be it one that was never offered.
    pub(crate) async fn taps_id(&self, on: &Sent, title: &str, id: &str) {
        let reply = json!({"type": "button_reply", "button_reply": {"id": id, "title": title}});
        let mut body = self.message("interactive", &reply, Duration::ZERO);
        body["entry"][0]["changes"][0]["value"]["messages"][0]["context"] =
            json!({"from": "15550783881", "id": on.id});
        self.delivers(&body).await;
    }

    /// Sends a file.
    pub(crate) async fn gives(&self, mime: &str, name: &str, caption: &str, bytes: &[u8]) {
        self.gives_oddly(Lie::None, mime, name, caption, bytes)
            .await;
    }

    /// Sends a file about which something is odd.
    pub(crate) async fn gives_oddly(
        &self,
        lie: Lie,
        mime: &str,
        name: &str,
        caption: &str,
        bytes: &[u8],
    ) {
        let id = {
            let mut log = self.world.whatsapp.shared.log();
            log.last_id += 1;
            let id = (1_003_383_000_000 + log.last_id).to_string();
            log.media
                .insert(id.clone(), (mime.to_owned(), bytes.to_vec(), lie));
            id
        };
        let media = json!({"caption": caption, "filename": name, "mime_type": mime, "sha256": files_sha256(bytes), "id": id});
        self.delivers(&self.message("document", &media, Duration::ZERO))
            .await;
    }

    /// Lets Meta tell what became of a message.
    pub(crate) async fn got(&self, sent: &Sent, status: &str, code: Option<i64>) {
        let mut told = json!({"id": sent.id, "status": status, "timestamp": seconds(Duration::ZERO), "recipient_id": self.number});
        if let Some(code) = code {
            told["errors"] = json!([{"code": code, "title": "Refused", "message": "Refused", "error_data": {"details": "as the test wished"}}]);
        }
        let value =
            json!({"messaging_product": "whatsapp", "metadata": metadata(), "statuses": [told]});
        self.delivers(&delivery(&value)).await;
    }

    /// A delivery with a message of this person, as Meta publishes it.
    pub(crate) fn message(&self, kind: &str, content: &Value, ago: Duration) -> Value {
        let mut log = self.world.whatsapp.shared.log();
        log.last_id += 1;
        let id = format!("wamid.HBgLTHEIRS{:06}==", log.last_id);
        log.known.insert(id.clone());
        log.silent.remove(&self.number);
        let mut message = json!({"id": id, "timestamp": seconds(ago), "type": kind, kind: content});
        let mut contact = json!({"profile": {"name": "Ada"}});
        let (from, known) = if self.number.contains('.') {
            ("from_user_id", "user_id") // a number that its owner keeps to themselves
        } else {
            ("from", "wa_id")
        };
        message[from] = json!(self.number);
        contact[known] = json!(self.number);
        let contacts = json!([contact]);
        delivery(
            &json!({"messaging_product": "whatsapp", "metadata": metadata(), "contacts": contacts, "messages": [message]}),
        )
    }

    /// Hands a delivery to the webhook, signed; the Worker has to acknowledge it with an empty body.
    pub(crate) async fn delivers(&self, body: &Value) {
        acknowledged(self.world.whatsapp_webhook(&body.to_string()).await).await;
    }

    /// Waits for the next message that holds `fragment`, in any case of letters.
    pub(crate) async fn hears(&self, fragment: &str) -> Sent {
        let wanted = fragment.to_lowercase();
        let from = self.heard.load(Ordering::SeqCst);
        let find = |sent: &[Sent]| {
            let mut new = sent.iter().enumerate().skip(from);
            let is_it =
                |sent: &Sent| sent.to == self.number && sent.text.to_lowercase().contains(&wanted);
            new.find(|(_, sent)| is_it(sent))
                .map(|(at, sent)| (at, sent.clone()))
        };
        let found = self.world.whatsapp.wait_for(PATIENCE, find).await;
        let (at, sent) = found.unwrap_or_else(|| {
            panic!(
                "{} waited in vain for {fragment:?}; all they ever heard: {:#?}",
                self.number,
                self.messages()
            )
        });
        self.heard.store(at + 1, Ordering::SeqCst);
        sent
    }

    /// All that this person was ever sent.
    pub(crate) fn messages(&self) -> Vec<Sent> {
        let mut sent = self.world.whatsapp.sent();
        sent.retain(|sent| sent.to == self.number);
        sent
    }

    /// How many of their messages hold `fragment`.
    pub(crate) fn times_heard(&self, fragment: &str) -> usize {
        let messages = self.messages();
        messages
            .iter()
            .filter(|sent| sent.text.contains(fragment))
            .count()
    }
}

/// A body's signature under the app's secret.
pub(crate) fn signature(body: &[u8]) -> String {
    let digits: Vec<String> = HMAC::mac(body, APP_SECRET)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256={}", digits.concat())
}

fn delivery(value: &Value) -> Value {
    json!({"object": "whatsapp_business_account", "entry": [{"id": "102290129340398", "changes": [{"value": value, "field": "messages"}]}]})
}

fn metadata() -> Value {
    json!({"display_phone_number": "15550783881", "phone_number_id": NUMBER})
}

/// So long ago, in seconds since 1970, as text.
fn seconds(ago: Duration) -> String {
    let since = SystemTime::now().checked_sub(ago);
    let since = since.and_then(|since| since.duration_since(UNIX_EPOCH).ok());
    since.expect("after 1970").as_secs().to_string()
}
