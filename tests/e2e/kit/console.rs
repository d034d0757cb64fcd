//! The console as a browser uses it: a sign-in link, a cookie, a WebSocket.

use super::person::PATIENCE;
use bernard::channels::console::{FromPage, Item, PageId, Speaker, ToPage};
use futures::{SinkExt, StreamExt};
use reqwest::header::{COOKIE, ORIGIN, SET_COOKIE};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// A page that is signed in and live.
#[derive(Debug)]
pub(crate) struct Console {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    said: u32,
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
        Self { socket, said: 0 }
    }

    /// Writes something.
    pub(crate) async fn says(&mut self, text: &str) {
        self.said += 1;
        let id = PageId::try_from(format!("said-{}", self.said)).expect("letters and digits");
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
        let wanted = fragment.to_lowercase();
        let search = async {
            loop {
                let frame = self
                    .socket
                    .next()
                    .await
                    .expect("the socket stays open")
                    .expect("frames can be read");
                let Message::Text(frame) = frame else {
                    continue;
                };
                let told: ToPage = serde_json::from_str(&frame).expect("the page's language");
                if let Some(text) =
                    spoken(told).filter(|text| text.to_lowercase().contains(&wanted))
                {
                    return text;
                }
            }
        };
        timeout(PATIENCE, search)
            .await
            .unwrap_or_else(|_| panic!("the console waited in vain for {fragment:?}"))
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
