//! The console as a browser uses it: a sign-in link, a cookie, a WebSocket.

use super::person::PATIENCE;
use bernard::channels::console::{FromPage, Item, PageId, Speaker, ToPage};
use futures::{SinkExt, StreamExt, stream};
use reqwest::header::{CONTENT_TYPE, COOKIE, ORIGIN, SET_COOKIE};
use reqwest::{Body, RequestBuilder, Response};
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// A page that is signed in and live.
#[derive(Debug)]
pub(crate) struct Console {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    worker: String,
    session: String,
}

impl Console {
    /// Uses a sign-in link up and opens the page's socket.
    pub(crate) async fn sign_in(worker: &str, link: &str) -> Self {
        let answer = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client without options can be made")
            .post(link)
            .header(ORIGIN, worker)
            .send()
            .await
            .expect("the Worker answers");
        assert!(
            answer.status().is_redirection() || answer.status().is_success(),
            "signing in ended in {}",
            answer.status()
        );
        let cookie = answer
            .headers()
            .get(SET_COOKIE)
            .and_then(|value| value.to_str().ok())
            .expect("a cookie");
        for wanted in ["HttpOnly", "SameSite=Strict"] {
            assert!(
                cookie.contains(wanted),
                "the session's cookie is not {wanted}"
            );
        }
        let session = cookie.split(';').next().expect("a split has a first part");
        Self::live(worker, session).await
    }

    /// The same browser, with a new socket.
    pub(crate) async fn again(&self) -> Self {
        Self::live(&self.worker, &self.session).await
    }

    /// Waits until the Worker has ended this browser's session, and sees that a new socket is refused.
    pub(crate) async fn sees_its_end(mut self) {
        let end = async {
            while let Some(Ok(frame)) = self.socket.next().await {
                if let Message::Close(why) = frame {
                    return why.map(|why| u16::from(why.code));
                }
            }
            None
        };
        let code = timeout(PATIENCE, end).await.expect("the socket stays open");
        assert_eq!(code, Some(4401), "how the page's socket ended");
        let request = Self::request(&self.worker, &self.session);
        let refused = connect_async(request).await;
        assert!(
            matches!(&refused, Err(Error::Http(answer)) if answer.status() == 401),
            "a session that was ended opens the page: {refused:?}"
        );
    }

    async fn live(worker: &str, session: &str) -> Self {
        let request = Self::request(worker, session);
        let (socket, _) = connect_async(request)
            .await
            .expect("the console's socket opens");
        Self {
            socket,
            worker: worker.to_owned(),
            session: session.to_owned(),
        }
    }

    fn request(worker: &str, session: &str) -> Request {
        let address = format!("{}/console/live", worker.replacen("http", "ws", 1));
        let mut request = address.into_client_request().expect("an address");
        request
            .headers_mut()
            .insert(COOKIE, session.parse().expect("a cookie is a header"));
        request
            .headers_mut()
            .insert(ORIGIN, worker.parse().expect("an address is a header"));
        request
    }

    /// Writes something.
    pub(crate) async fn says(&mut self, text: &str) {
        self.says_with(text, &[]).await;
    }

    /// Writes something, with files that were given before.
    pub(crate) async fn says_with(&mut self, text: &str, files: &[&str]) {
        static SAID: AtomicU64 = AtomicU64::new(0); // a repeated id would be taken for a repeated delivery
        let number = SAID.fetch_add(1, Ordering::SeqCst);
        let id = PageId::try_from(format!("said-{number}")).expect("letters and digits");
        let frame = serde_json::to_string(&FromPage::Say {
            id,
            text: text.to_owned(),
            files: files
                .iter()
                .map(|id| PageId::try_from((*id).to_owned()).expect("a file's id is one"))
                .collect(),
        })
        .expect("a page's frame is JSON");
        self.socket
            .send(Message::text(frame))
            .await
            .expect("the socket is open");
    }

    /// Gives a file; tells what the Worker answered.
    pub(crate) async fn gives(&self, name: &str, bytes: Vec<u8>) -> Value {
        let answer = self.posts_file(name, bytes, true).await;
        let status = answer.status();
        let told = answer.text().await.expect("an answer can be read");
        assert!(status.is_success(), "{name:?}: {status} {told}");
        serde_json::from_str(&told).expect("the answer is JSON")
    }

    /// Posts a file, with its length announced or not.
    pub(crate) async fn posts_file(&self, name: &str, bytes: Vec<u8>, announced: bool) -> Response {
        let body = if announced {
            Body::from(bytes)
        } else {
            let pieces: Vec<Vec<u8>> = bytes.chunks(100_000).map(<[u8]>::to_vec).collect();
            Body::wrap_stream(stream::iter(
                pieces.into_iter().map(Ok::<_, std::io::Error>),
            ))
        };
        let code = |coded: String, byte: u8| coded + &format!("%{byte:02X}");
        let coded = name.bytes().fold(String::new(), code);
        let request = self.post_of_file(&self.worker).header("x-file-name", coded);
        let request = request.header(CONTENT_TYPE, "application/pdf").body(body);
        let answer = timeout(PATIENCE, request.send()).await;
        answer
            .expect("an answer in time")
            .expect("the Worker answers")
    }

    /// Posts a file as a page of another origin would have this browser do.
    pub(crate) async fn posts_from(&self, origin: &str) -> Response {
        let request = self.post_of_file(origin).body("x");
        request.send().await.expect("the Worker answers")
    }

    fn post_of_file(&self, origin: &str) -> RequestBuilder {
        reqwest::Client::new()
            .post(format!("{}/console/files", self.worker))
            .header(COOKIE, &self.session)
            .header(ORIGIN, origin)
    }

    /// Waits for words of Bernard's that hold `fragment`.
    pub(crate) async fn hears(&mut self, fragment: &str) -> String {
        self.hears_and_sees(fragment).await.0
    }

    /// The same, and the answers that were seen in the making until then, each as far as it went.
    pub(crate) async fn hears_and_sees(&mut self, fragment: &str) -> (String, Vec<String>) {
        let wanted = fragment.to_lowercase();
        let mut seen = Vec::new();
        let mut making: Option<String> = None;
        let search = async {
            loop {
                let told = self.told().await;
                if let ToPage::Delta { text, .. } = &told {
                    making.get_or_insert_default().push_str(text);
                } else if let ToPage::Settled { .. } = &told {
                    seen.extend(making.take());
                } else if let Some(text) =
                    spoken(told).filter(|text| text.to_lowercase().contains(&wanted))
                {
                    return text;
                }
            }
        };
        let heard = timeout(PATIENCE, search).await;
        let heard = heard.unwrap_or_else(|_| panic!("the console waited in vain for {fragment:?}"));
        seen.extend(making);
        (heard, seen)
    }

    async fn told(&mut self) -> ToPage {
        loop {
            let frame = self.socket.next().await.expect("the socket stays open");
            if let Message::Text(frame) = frame.expect("frames can be read") {
                return serde_json::from_str(&frame).expect("the page's language");
            }
        }
    }
}

/// Bernard's words in a frame that brings an item; history is not news.
fn spoken(told: ToPage) -> Option<String> {
    match told {
        ToPage::Item {
            item: Item::Message(message),
        } if message.from == Speaker::Bernard => Some(message.text),
        ToPage::Item { .. }
        | ToPage::History { .. }
        | ToPage::Delta { .. }
        | ToPage::Settled { .. }
        | ToPage::Working { .. }
        | ToPage::Bridges { .. }
        | ToPage::Accepted { .. } => None,
    }
}
