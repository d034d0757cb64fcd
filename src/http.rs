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
    body: ByteStream,
    hang_up: Option<AbortController>,
}

/// Sends a request and reads the answer whole, within a time limit.
pub async fn send(outgoing: Outgoing, file: Option<FileBytes>, limit: Duration) -> Result<Answer> {
    let mut streaming = open(outgoing, file, limit).await?;
    let mut body = Vec::new();
    while let Some(piece) = streaming.next(limit).await? {
        body.extend_from_slice(&piece);
        if body.len() > ANSWER_LIMIT {
            return Err(Error::Transfer("the answer is too long".into()));
        }
    }
    Ok(Answer {
        status: streaming.status,
        headers: std::mem::take(&mut streaming.headers),
        body,
    })
}

/// Sends a request and returns as soon as the answer's head is there.
pub async fn open(
    outgoing: Outgoing,
    file: Option<FileBytes>,
    limit: Duration,
) -> Result<Streaming> {
    let request = request(outgoing, file)?;
    let controller = AbortController::default();
    let signal = controller.signal();
    let fetch = Fetch::Request(request);
    let Some(answer) = within(limit, fetch.send_with_signal(&signal)).await else {
        controller.abort();
        return Err(Error::Transfer(format!(
            "no answer within {} seconds",
            limit.as_secs()
        )));
    };
    let mut answer = answer?;
    let headers = headers_of(answer.headers());
    Ok(Streaming {
        status: answer.status_code(),
        headers,
        body: answer.stream()?,
        hang_up: Some(controller),
    })
}

impl Streaming {
    /// The next piece of the body, or `None` at its end; an error if nothing comes within the limit.
    pub async fn next(&mut self, limit: Duration) -> Result<Option<Vec<u8>>> {
        match within(limit, self.body.next()).await {
            Some(Some(piece)) => Ok(Some(piece?)),
            Some(None) => Ok(None),
            None => Err(Error::Transfer(format!(
                "nothing came for {} seconds",
                limit.as_secs()
            ))),
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        if let Some(controller) = self.hang_up.take() {
            controller.abort();
        }
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
