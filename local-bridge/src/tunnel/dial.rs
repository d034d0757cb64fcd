//! The dialling: where the Worker is, and what it says at the door.

use super::wire::{Meter, Wire};
use super::{Ended, Socket};
use crate::pair::{BadAddress, endpoint};
use protocol::MAX_TEXT_FRAME;
use protocol::token;
use serde::Deserialize;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::client_async_tls_with_config;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use url::{Host, Url};

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// Opens a socket to the Worker, with a ticket for it.
pub(super) async fn dial(
    address: Url,
    ticket: Result<String, token::Refused>,
    limit: Duration,
) -> Result<(Socket, Arc<Meter>), Ended> {
    let unreachable = |why: String| Ended::Unreachable(address.to_string(), why);
    let ticket = ticket.map_err(|error| unreachable(error.to_string()))?;
    let mut request = address.as_str().into_client_request()?;
    let bearer = HeaderValue::try_from(format!("Bearer {ticket}"))
        .map_err(|error| unreachable(error.to_string()))?;
    request.headers_mut().insert(AUTHORIZATION, bearer);
    let config = WebSocketConfig::default()
        .read_buffer_size(16 * 1024) // frames are small, and an idle bridge should be, too
        .write_buffer_size(0)
        .max_message_size(Some(MAX_TEXT_FRAME))
        .max_frame_size(Some(MAX_TEXT_FRAME));
    let dialling = async {
        let (wire, meter) = Wire::new(connect(&address).await?);
        let upgrade = client_async_tls_with_config(request, wire, Some(config), None);
        Ok((upgrade.await?.0, meter))
    };
    match timeout(limit, dialling).await {
        Ok(Ok(connected)) => Ok(connected),
        Ok(Err(Error::Http(response))) => {
            let said = said(response.body().as_deref());
            Err(match response.status().as_u16() {
                401 | 403 => Ended::Refused(said),
                423 => Ended::Frozen(said),
                status => unreachable(format!("HTTP status {status} {said}")),
            })
        }
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Err(_) => Err(unreachable("no answer".to_owned())),
    }
}

async fn connect(address: &Url) -> io::Result<TcpStream> {
    let port = address.port_or_known_default().unwrap_or(443);
    let stream = match address.host() {
        Some(Host::Domain(name)) => TcpStream::connect((name, port)).await,
        Some(Host::Ipv4(ip)) => TcpStream::connect((ip, port)).await,
        Some(Host::Ipv6(ip)) => TcpStream::connect((ip, port)).await,
        None => Err(io::Error::from(io::ErrorKind::AddrNotAvailable)),
    }?;
    stream.set_nodelay(true)?; // a result waits for nothing
    Ok(stream)
}

/// The Worker's own sentence, if it sent one.
fn said(body: Option<&[u8]>) -> String {
    let refusal = body.and_then(|body| serde_json::from_slice::<Refusal>(body).ok());
    refusal.map(|refusal| refusal.error).unwrap_or_default()
}

/// Where the Worker takes sockets: encrypted as its address is.
pub(super) fn socket_address(worker: &str) -> Result<Url, BadAddress> {
    let mut url = endpoint(worker, "/bridge")?;
    let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
    url.set_scheme(scheme)
        .map_err(|()| BadAddress::Malformed(worker.to_owned()))?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tunnel_is_encrypted_as_the_workers_address_is() {
        let address = |worker| socket_address(worker).map(|url| url.to_string());
        assert_eq!(
            address("https://bernard.example").unwrap(),
            "wss://bernard.example/bridge"
        );
        assert_eq!(
            address("http://127.0.0.1:8787").unwrap(),
            "ws://127.0.0.1:8787/bridge"
        );
        assert!(address("http://bernard.example").is_err());
    }
}
