//! The only door through which requests leave: time-limited, size-limited, and it follows no redirect with a secret in hand.

use crate::channels::{Outgoing, OutgoingBody};
use crate::error::{Error, Result};
use futures::future::{Either, select};
use futures::stream::{LocalBoxStream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue};
use js_sys::Uint8Array;
use std::time::Duration;
use wasm_bindgen::JsValue;
use worker::{
    AbortController, ByteStream, Delay, Fetch, FixedLengthStream, Headers, Method, Request,
    RequestInit, RequestRedirect, worker_sys,
};

/// The most that is read of an answer that is not a stream: providers' answers are a few kilobytes.
const ANSWER_LIMIT: usize = 1024 * 1024;

/// A file's bytes from storage, piece by piece.
pub type FileBytes = LocalBoxStream<'static, worker::Result<Vec<u8>>>;

/// An answer that was read whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

/// An answer whose body is still coming. Dropping it hangs up.
pub struct Streaming {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    _line: Line, // before the body: who hangs up does not read on
    body: ByteStream,
}

/// A connection that a request holds. Dropping it hangs up, be it before the answer's head or after.
struct Line(Option<AbortController>);

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(controller) = self.0.take() {
            controller.abort();
        }
    }
}

/// Sends a request and reads the answer whole; neither its head nor any piece of its body may take longer than the limit.
pub async fn send(outgoing: Outgoing, file: Option<FileBytes>, limit: Duration) -> Result<Answer> {
    let late = |what: &str| Error::Transfer(format!("{what} {} seconds", limit.as_secs()));
    let mut streaming = within(limit, open(outgoing, file))
        .await
        .ok_or_else(|| late("no answer within"))??;
    let mut body = Vec::new();
    while let Some(piece) = within(limit, streaming.next())
        .await
        .ok_or_else(|| late("nothing came for"))??
    {
        body.extend_from_slice(&piece);
        if body.len() > ANSWER_LIMIT {
            return Err(Error::Transfer("the answer is too long".into()));
        }
    }
    Ok(Answer {
        status: streaming.status,
        headers: streaming.headers,
        body,
    })
}

/// Sends a request and returns as soon as the answer's head is there, however long that takes: whoever stops waiting hangs up.
pub async fn open(outgoing: Outgoing, file: Option<FileBytes>) -> Result<Streaming> {
    let request = request(outgoing, file)?;
    let controller = AbortController::default();
    let signal = controller.signal();
    let line = Line(Some(controller));
    let mut answer = Fetch::Request(request).send_with_signal(&signal).await?;
    Ok(Streaming {
        status: answer.status_code(),
        headers: headers_of(answer.headers()),
        _line: line,
        body: answer.stream()?,
    })
}

impl Streaming {
    /// The next piece of the body, or `None` at its end, however long that takes.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(self.body.next().await.transpose()?)
    }
}

/// Waits for a future, but not longer than the limit. (`AbortSignal.timeout` would keep a Durable Object from hibernating.)
pub async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let timer = Delay::from(limit);
    futures::pin_mut!(future, timer);
    match select(future, timer).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

fn request(outgoing: Outgoing, file: Option<FileBytes>) -> Result<Request> {
    let (parts, ()) = outgoing.request.into_parts();
    let headers = Headers::new();
    for (name, value) in &parts.headers {
        let value = value
            .to_str()
            .map_err(|_| Error::Missing("a readable header value"))?;
        headers.set(name.as_str(), value)?;
    }
    let mut init = RequestInit::new();
    init.with_method(Method::from(parts.method.to_string()))
        .with_headers(headers)
        .with_redirect(RequestRedirect::Manual);
    match outgoing.body {
        OutgoingBody::Bytes(bytes) if bytes.is_empty() => {}
        OutgoingBody::Bytes(bytes) => {
            init.with_body(Some(Uint8Array::from(&bytes[..]).into()));
        }
        OutgoingBody::File {
            before,
            size,
            after,
        } => {
            let file = file.ok_or(Error::Missing("the file that this request carries"))?;
            init.with_body(Some(framed(before, file, size, after)));
        }
    }
    Ok(Request::new_with_init(&parts.uri.to_string(), &init)?)
}

/// A body of known length, so that it leaves with a `content-length` and never lies in memory whole.
fn framed(before: Vec<u8>, file: FileBytes, size: u64, after: Vec<u8>) -> JsValue {
    let length = before.len() as u64 + size + after.len() as u64;
    let piece = |bytes| futures::stream::once(std::future::ready(Ok(bytes)));
    let stream = FixedLengthStream::wrap(piece(before).chain(file).chain(piece(after)), length);
    worker_sys::FixedLengthStream::from(stream)
        .readable()
        .into()
}

fn headers_of(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers.entries() {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            map.append(name, value);
        }
    }
    map
}

/// A request's headers as the codecs know them.
pub fn incoming_headers(request: &Request) -> HeaderMap {
    headers_of(request.headers())
}
