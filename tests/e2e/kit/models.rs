//! Model servers on loopback, in two vendors' dialects: they answer from a script, streamed in awkward pieces, and
//! refuse every request that is not as published.

use super::dialect;
use super::person::PATIENCE;
use super::server::{Cut, Server};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use serde_json::Value;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// No prompt of a test comes near it.
const REQUEST_LIMIT: usize = 4 * 1024 * 1024;

/// How often a model that says nothing shows that it is there.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_millis(100);

/// Whose API is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `POST /v1/messages`.
    Anthropic,
    /// `POST /v1/chat/completions`.
    OpenAi,
}

/// One entry of a script: what the model does when it is next asked.
#[derive(Debug, Clone)]
pub(crate) enum Next {
    /// It speaks and calls tools; names are Bernard's own, such as `files.list`.
    Replies(Reply),
    /// It answers with this status, in the form that its API gives to that status.
    Refuses(u16),
    /// It has too much to do, and names the seconds to wait.
    Busy(u32),
    /// The prompt is longer than its window.
    Overflows,
    /// The connection is reset before any answer.
    Resets,
    /// The answer breaks off after this many bytes.
    BreaksOff(Reply, usize),
    /// The connection is reset when this many bytes of the answer have left.
    ResetsAfter(Reply, usize),
    /// The answer's head comes, then nothing more.
    Stalls,
    /// The answer begins, and after this many bytes nothing more comes.
    StallsAfter(Reply, usize),
    /// What comes before the first token comes, then signs of life for ever.
    Pings,
    /// In the middle of the answer, at the end of the event that holds its byte of this number, come only signs of life for so long.
    Dozes(Reply, usize, Duration),
    /// The answer comes, but not at once: not even its head.
    Ponders(Reply, Duration),
}

/// A mind of one's own: what it does follows from the request alone, so that whoever asks again is answered alike.
type Mind = Box<dyn Fn(&Value) -> Next + Send>;

/// What a model says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    /// Its words.
    pub(crate) text: String,
    /// Its tool calls.
    pub(crate) calls: Vec<(String, Value)>,
}

/// How an answer is cut on the wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cutting {
    /// Bytes in a piece.
    pub(crate) size: usize,
    /// Whether lines end in `\r\n`, so that a cut can fall between the two.
    pub(crate) crlf: bool,
}

/// The fake; it ends with this value.
#[derive(Debug)]
pub(crate) struct FakeModel {
    /// What the vendor's `…_API_URL` has to be.
    pub(crate) url: String,
    shared: Arc<Shared>,
    _server: Server,
}

/// Whether a holder of this key may ask this, by the published format; else status and words of the refusal.
type Judge = fn(&HeaderMap, &str, &Value) -> Result<(), (u16, String)>;

#[derive(Debug)]
struct Shared {
    dialect: Dialect,
    key: String,
    desk: Mutex<Desk>,
    asked: watch::Sender<usize>,
    /// How many answers have come to a standstill.
    stalled: watch::Sender<usize>,
    /// How many askers have hung up before the answer's end.
    left: watch::Sender<usize>,
}

/// Someone who waits for an answer that is slow to come. Whoever leaves before it is served is counted.
struct Waiting {
    shared: Arc<Shared>,
    served: bool,
}

struct Desk {
    script: VecDeque<Next>,
    mind: Option<Mind>,
    otherwise: Option<Next>,
    cutting: Cutting,
    requests: Vec<Value>,
    asked_at: Vec<Instant>,
    violations: Vec<String>,
}

impl FakeModel {
    /// Starts the fake for holders of `key`.
    pub(crate) async fn start(dialect: Dialect, key: &str) -> Self {
        let cutting = Cutting {
            size: 7,
            crlf: false,
        };
        let desk = Desk {
            script: VecDeque::new(),
            mind: None,
            otherwise: None,
            cutting,
            requests: Vec::new(),
            asked_at: Vec::new(),
            violations: Vec::new(),
        };
        let shared = Arc::new(Shared {
            dialect,
            key: key.to_owned(),
            desk: Mutex::new(desk),
            asked: watch::Sender::new(0),
            stalled: watch::Sender::new(0),
            left: watch::Sender::new(0),
        });
        let server = Server::start(Router::new().fallback(serve).with_state(shared.clone())).await;
        let prefix = match dialect {
            Dialect::Anthropic => "",
            Dialect::OpenAi => "/v1",
        };
        Self {
            url: format!("{}{prefix}", server.url),
            shared,
            _server: server,
        }
    }

    /// Adds to the script.
    pub(crate) fn then(&self, next: Next) -> &Self {
        self.shared.desk().script.push_back(next);
        self
    }

    /// Adds to the script: these words.
    pub(crate) fn then_says(&self, text: &str) -> &Self {
        self.then(Next::Replies(Reply::text(text)))
    }

    /// Adds to the script: these tool calls, all in one reply.
    pub(crate) fn then_calls(&self, calls: &[(&str, Value)]) -> &Self {
        let calls = calls
            .iter()
            .map(|(name, arguments)| ((*name).to_owned(), arguments.clone()))
            .collect();
        self.then(Next::Replies(Reply {
            text: "Einen Moment — ich schaue nach. 🐚".to_owned(),
            calls,
        }))
    }

    /// What the model does whenever its script is at its end; `None` makes being asked then a fault.
    pub(crate) fn otherwise(&self, next: Option<Next>) -> &Self {
        self.shared.desk().otherwise = next;
        self
    }

    /// When its script is at its end, the model does what `mind` makes of the request.
    pub(crate) fn thinks(&self, mind: impl Fn(&Value) -> Next + Send + 'static) -> &Self {
        self.shared.desk().mind = Some(Box::new(mind));
        self
    }

    /// Cuts all further answers this way.
    pub(crate) fn cut(&self, cutting: Cutting) {
        self.shared.desk().cutting = cutting;
    }

    /// All requests that were as published, in order.
    pub(crate) fn requests(&self) -> Vec<Value> {
        self.shared.desk().requests.clone()
    }

    /// When each of them came.
    pub(crate) fn asked_at(&self) -> Vec<Instant> {
        self.shared.desk().asked_at.clone()
    }

    /// Waits until the model has been asked `count` times in all.
    pub(crate) async fn was_asked(&self, count: usize) {
        reaches(&self.shared.asked, count, "questions").await;
    }

    /// Waits until `count` answers in all have come to a standstill.
    pub(crate) async fn has_stalled(&self, count: usize) {
        reaches(&self.shared.stalled, count, "answers that stall").await;
    }

    /// Waits until `count` askers in all have closed the connection on an answer that did not come.
    pub(crate) async fn was_left(&self, count: usize) {
        reaches(&self.shared.left, count, "askers who hung up").await;
    }

    /// Everything that was not as published, and what the script did not foresee or still waits for.
    pub(crate) fn violations(&self) -> Vec<String> {
        let desk = self.shared.desk();
        let unused = desk
            .script
            .iter()
            .map(|next| format!("the model was never asked for {next:?}"));
        desk.violations.iter().cloned().chain(unused).collect()
    }
}

async fn reaches(counter: &watch::Sender<usize>, count: usize, what: &str) {
    let mut counts = counter.subscribe();
    let wait = timeout(PATIENCE, counts.wait_for(|reached| *reached >= count)).await;
    let reached = *counter.borrow();
    assert!(wait.is_ok(), "{reached} {what}, not {count}");
}

impl Waiting {
    /// The answer has come to a standstill.
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.stalled.send_modify(|stalled| *stalled += 1);
        Self {
            shared: shared.clone(),
            served: false,
        }
    }

    fn serve(mut self) {
        self.served = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.served {
            self.shared.left.send_modify(|left| *left += 1);
        }
    }
}

impl Reply {
    /// Only words.
    pub(crate) fn text(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            calls: Vec::new(),
        }
    }
}

impl Desk {
    /// What becomes of a request: the script goes first.
    fn next(&mut self, request: &Value) -> Option<Next> {
        let scripted = self.script.pop_front();
        scripted
            .or_else(|| self.mind.as_ref().map(|mind| mind(request)))
            .or_else(|| self.otherwise.clone())
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} asked, then {:?}", self.requests.len(), self.script)
    }
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().expect("no handler panics at the desk")
    }

    fn judge(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Value, (u16, String)> {
        let (expected, judge): (_, Judge) = match self.dialect {
            Dialect::Anthropic => ("/v1/messages", dialect::anthropic::judge),
            Dialect::OpenAi => ("/v1/chat/completions", dialect::openai::judge),
        };
        if (method, path) != (&Method::POST, expected) {
            return Err((404, format!("{method} {path} is not {expected}")));
        }
        let kind = headers
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default();
        if !kind.starts_with("application/json") {
            return Err((400, format!("content type {kind:?}")));
        }
        let request = serde_json::from_slice(body).map_err(|error| (400, error.to_string()))?;
        judge(headers, &self.key, &request)?;
        Ok(request)
    }

    fn refusal(&self, status: u16, message: &str) -> Response {
        self.refusal_for(status, message, 1)
    }

    /// A refusal; 429 names these seconds to wait.
    fn refusal_for(&self, status: u16, message: &str, seconds: u32) -> Response {
        let body = match self.dialect {
            Dialect::Anthropic => dialect::anthropic::error(status, message),
            Dialect::OpenAi => dialect::openai::error(status, message),
        };
        let status = StatusCode::from_u16(status).expect("scripts name statuses");
        let mut response = (
            status,
            [(header::CONTENT_TYPE, "application/json")],
            body.to_string(),
        )
            .into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }

    /// What comes before the first token, and what shows from then on that the model is there.
    fn beginning(&self, request: &Value, number: usize) -> (Vec<u8>, &'static str) {
        let (beginning, sign) = match self.dialect {
            Dialect::Anthropic => (
                dialect::anthropic::beginning(request, number),
                dialect::anthropic::SIGN_OF_LIFE,
            ),
            Dialect::OpenAi => (
                dialect::openai::beginning(request, number),
                dialect::openai::SIGN_OF_LIFE,
            ),
        };
        (beginning.into_bytes(), sign)
    }

    /// The whole answer as the API streams it.
    fn speak(&self, reply: &Reply, request: &Value, number: usize, crlf: bool) -> Vec<u8> {
        let text = match self.dialect {
            Dialect::Anthropic => dialect::anthropic::speak(reply, request, number),
            Dialect::OpenAi => dialect::openai::speak(reply, request, number),
        };
        if crlf {
            text.replace('\n', "\r\n")
        } else {
            text
        }
        .into_bytes()
    }
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, REQUEST_LIMIT).await else {
        return StatusCode::BAD_REQUEST.into_response(); // who is cut off while asking has asked nothing
    };
    let request = match shared.judge(&head.method, head.uri.path(), &head.headers, &body) {
        Ok(request) => request,
        Err((status, why)) => {
            shared
                .desk()
                .violations
                .push(format!("{:?} answered {status}: {why}", shared.dialect));
            return shared.refusal(status, &why);
        }
    };
    let (next, cutting, number) = {
        let mut desk = shared.desk();
        desk.requests.push(request.clone());
        desk.asked_at.push(Instant::now());
        (desk.next(&request), desk.cutting, desk.requests.len())
    };
    shared.asked.send_replace(number);
    let Some(next) = next else {
        shared.desk().violations.push(format!(
            "{:?} was asked, but its script had ended",
            shared.dialect
        ));
        return shared.refusal(500, "the script has ended");
    };
    let speak = |reply: &Reply| shared.speak(reply, &request, number, cutting.crlf);
    match next {
        Next::Replies(reply) => stream(pieces(&speak(&reply), cutting.size)),
        Next::BreaksOff(reply, after) => {
            let broken = async { Err(io::ErrorKind::ConnectionReset.into()) };
            let whole = &speak(&reply)[..after];
            stream(pieces(whole, cutting.size).chain(stream::once(broken)))
        }
        Next::ResetsAfter(reply, after) => {
            let reset = async move {
                cut.now();
                Err(io::ErrorKind::ConnectionReset.into())
            };
            let whole = &speak(&reply)[..after];
            stream(pieces(whole, cutting.size).chain(stream::once(reset)))
        }
        Next::Stalls => stream(standstill(shared)),
        Next::StallsAfter(reply, after) => {
            let whole = &speak(&reply)[..after];
            stream(pieces(whole, cutting.size).chain(standstill(shared)))
        }
        Next::Pings => {
            let (beginning, sign) = shared.beginning(&request, number);
            stream(pieces(&beginning, cutting.size).chain(signs_of_life(sign, shared)))
        }
        Next::Dozes(reply, after, pause) => {
            let (_, sign) = shared.beginning(&request, number);
            let whole = speak(&reply);
            let (first, rest) = whole.split_at(end_of_event(&whole, after));
            let signs = pause.as_millis() / SIGN_OF_LIFE_EVERY.as_millis();
            let signs = usize::try_from(signs).expect("a test does not doze for years");
            let doze = signs_of_life(sign, shared.clone()).take(signs);
            let rest = pieces(rest, cutting.size);
            stream(pieces(first, cutting.size).chain(doze).chain(rest))
        }
        Next::Ponders(reply, pause) => {
            let waiting = Waiting::begin(&shared);
            sleep(pause).await;
            waiting.serve();
            stream(pieces(&speak(&reply), cutting.size))
        }
        Next::Refuses(status) => shared.refusal(status, "as the script says"),
        Next::Busy(seconds) => shared.refusal_for(429, "as the script says", seconds),
        Next::Overflows => shared.refusal(400, dialect::OVERFLOW),
        Next::Resets => {
            cut.now();
            StatusCode::OK.into_response()
        }
    }
}

/// Nothing, for as long as the asker waits.
fn standstill(shared: Arc<Shared>) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::once(async move {
        let _waiting = Waiting::begin(&shared);
        std::future::pending().await
    })
}

/// One sign of life after the other, for as long as the asker waits.
fn signs_of_life(
    sign: &'static str,
    shared: Arc<Shared>,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let waiting = async move { Waiting::begin(&shared) };
    stream::once(waiting).flat_map(move |waiting| {
        stream::unfold(waiting, move |waiting| async move {
            sleep(SIGN_OF_LIFE_EVERY).await;
            Some((Ok(Bytes::from_static(sign.as_bytes())), waiting))
        })
    })
}

/// Where the event ends that holds this byte.
fn end_of_event(stream: &[u8], at: usize) -> usize {
    let ends =
        |end: &usize| stream[..*end].ends_with(b"\n\n") || stream[..*end].ends_with(b"\r\n\r\n");
    (at + 1..=stream.len())
        .find(ends)
        .expect("a stream ends with an event")
}

fn stream(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Response {
    (
        [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")],
        Body::from_stream(pieces),
    )
        .into_response()
}

/// Pieces of this size, each handed to the socket before the next is made.
fn pieces(whole: &[u8], size: usize) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let pieces: Vec<Bytes> = whole.chunks(size).map(Bytes::copy_from_slice).collect();
    stream::iter(pieces).then(|piece| async {
        tokio::task::yield_now().await;
        Ok(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    async fn ask(model: &FakeModel, request: &Value) -> (u16, String) {
        let client = reqwest::Client::new();
        let request = match model.shared.dialect {
            Dialect::Anthropic => client
                .post(format!("{}/v1/messages", model.url))
                .header("x-api-key", "key")
                .header("anthropic-version", "2023-06-01")
                .json(request),
            Dialect::OpenAi => client
                .post(format!("{}/chat/completions", model.url))
                .bearer_auth("key")
                .json(request),
        };
        let answer = request.send().await.expect("an answer");
        (
            answer.status().as_u16(),
            answer.text().await.expect("a body"),
        )
    }

    #[tokio::test]
    async fn anthropics_rules_are_kept_and_its_stream_is_spoken() {
        let model = FakeModel::start(Dialect::Anthropic, "key").await;
        model.cut(Cutting {
            size: 1,
            crlf: true,
        });
        let schema = json!({"type": "object"});
        let mut request = json!({
            "model": "m", "max_tokens": 9, "stream": true,
            "tools": [{"name": "files_list", "description": "lists", "input_schema": schema}],
            "messages": [{"role": "user", "content": "hi"}],
        });
        model.then_calls(&[("files.list", json!({"path": "é"}))]);
        let (status, stream) = ask(&model, &request).await;
        assert_eq!(status, 200);
        assert!(
            stream.starts_with("event: message_start\r\ndata: {"),
            "{stream}"
        );
        assert!(
            stream.contains(r#""name":"files_list""#) && stream.ends_with("\r\n\r\n"),
            "{stream}"
        );

        let called = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "files_list", "input": {}}]});
        request["messages"] =
            json!([{"role": "user", "content": "hi"}, called, {"role": "user", "content": "and?"}]);
        let (status, body) = ask(&model, &request).await;
        assert!(
            status == 400 && body.contains("without tool_result"),
            "{body}"
        );
        assert_eq!(model.violations().len(), 1);
    }

    #[tokio::test]
    async fn openais_rules_are_kept_and_its_stream_is_spoken() {
        let model = FakeModel::start(Dialect::OpenAi, "key").await;
        let mut request = json!({
            "model": "m", "max_tokens": 9, "stream": true, "stream_options": {"include_usage": true},
            "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}],
        });
        model.then_says("hello");
        let (status, stream) = ask(&model, &request).await;
        assert_eq!(status, 200);
        assert!(
            stream.contains(r#""completion_tokens":89"#) && stream.ends_with("data: [DONE]\n\n"),
            "{stream}"
        );

        request["tools"] = json!([{"type": "function", "function": {"name": "files.list", "description": "", "parameters": {}}}]);
        let (status, body) = ask(&model, &request).await;
        assert!(status == 400 && body.contains("does not fit"), "{body}");
        assert_eq!(model.violations().len(), 1);
    }

    #[tokio::test]
    async fn a_reset_and_a_broken_stream_reach_the_asker_as_errors() {
        let model = FakeModel::start(Dialect::OpenAi, "key").await;
        let request = json!({"model": "m", "max_tokens": 9, "stream": true, "messages": [{"role": "user", "content": "hi"}]});
        let ask = async || {
            let asked = reqwest::Client::new()
                .post(format!("{}/chat/completions", model.url))
                .bearer_auth("key");
            asked.json(&request).send().await?.bytes().await
        };
        model.then(Next::Resets);
        assert!(ask().await.is_err(), "a reset went unnoticed");
        model.then(Next::BreaksOff(Reply::text("half a sentence"), 200));
        assert!(ask().await.is_err(), "a broken stream went unnoticed");
        assert_eq!(model.violations(), Vec::<String>::new());
    }
}
