//! The console as a browser uses it: a sign-in link, a cookie, a WebSocket.

use super::person::PATIENCE;
use bernard::channels::console::{FromPage, Item, PageId, Speaker, ToPage};
use futures::{SinkExt, StreamExt};
use reqwest::header::{COOKIE, ORIGIN, SET_COOKIE};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
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

    async fn live(worker: &str, session: &str) -> Self {
        let address = format!("{}/console/live", worker.replacen("http", "ws", 1));
        let mut request = address.into_client_request().expect("an address");
        request
            .headers_mut()
            .insert(COOKIE, session.parse().expect("a cookie is a header"));
        request
            .headers_mut()
            .insert(ORIGIN, worker.parse().expect("an address is a header"));
        let (socket, _) = connect_async(request)
            .await
            .expect("the console's socket opens");
        Self {
            socket,
            worker: worker.to_owned(),
            session: session.to_owned(),
        }
    }

    /// Writes something.
    pub(crate) async fn says(&mut self, text: &str) {
        static SAID: AtomicU64 = AtomicU64::new(0); // a repeated id would be taken for a repeated delivery
        let number = SAID.fetch_add(1, Ordering::SeqCst);
        let id = PageId::try_from(format!("said-{number}")).expect("letters and digits");
        let frame = serde_json::to_string(&FromPage::Say {
            id,
            text: text.to_owned(),
        })
        .expect("a page's frame is JSON");
        self.socket
            .send(Message::text(frame))
            .await
            .expect("the socket is open");
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
