//! What is compared with: the same wire and the same runtime with nothing on them, and loopback alone.

use super::frames::{Frames, What, client_frame};
use super::tap::{Tap, Way};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// How much a file's frame carries.
const CHUNK: usize = 64 * 1024;

/// How much may be under way, as for files.
const WINDOW: u64 = 1024 * 1024;

/// A WebSocket to a Worker that does nothing with it.
#[derive(Debug)]
pub(super) struct Bare {
    tap: Arc<Tap>,
    socket: TcpStream,
    frames: Frames,
}

impl Bare {
    /// Opens it by way of a tap; `path` is `echo` or `take`. Also tells how long that took.
    pub(super) async fn open(tap: &Arc<Tap>, path: &str) -> (Self, Duration) {
        let address = tap.url.trim_start_matches("http://");
        let begun = Instant::now();
        let mut socket = TcpStream::connect(address).await.expect("the tap listens");
        socket
            .set_nodelay(true)
            .expect("a fresh socket takes options");
        let upgrade = format!(
            "GET /beside/{path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket
            .write_all(upgrade.as_bytes())
            .await
            .expect("the tap takes it");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.expect("the Worker answers"));
        }
        let took = begun.elapsed();
        let text = String::from_utf8_lossy(&head).into_owned();
        assert!(text.starts_with("HTTP/1.1 101"), "no WebSocket: {text}");
        let mut frames = Frames::new();
        frames.read(&head, |_| {});
        let bare = Self {
            tap: tap.clone(),
            socket,
            frames,
        };
        (bare, took)
    }

    /// Round trips of texts of this length, one after another, as the tap sees them: there and back through the runtime.
    pub(super) async fn round_trips(&mut self, times: usize, length: usize) -> Vec<f64> {
        let from = self.tap.now();
        let frame = client_frame(1, &vec![b'x'; length]);
        for _ in 0..times {
            self.socket
                .write_all(&frame)
                .await
                .expect("the tap takes it");
            self.next_frame().await;
        }
        let events = self.tap.since(from);
        let texts = |way| {
            events
                .iter()
                .filter(move |event| event.way == way && event.frame.what == What::Text)
        };
        texts(Way::Up)
            .zip(texts(Way::Down))
            .map(|(up, down)| (down.at - up.at).as_secs_f64() * 1000.0)
            .collect()
    }

    /// Sends this many bytes in a file's frames within a file's window; MB/s, and all of it has come back or been counted at its end.
    pub(super) async fn megabytes_a_second(&mut self, bytes: u64) -> f64 {
        let frame = client_frame(2, &vec![7; CHUNK]);
        let bytes = bytes / WINDOW * WINDOW; // whole windows, so that everything is told
        let begun = Instant::now();
        let (mut sent, mut confirmed) = (0, 0);
        while confirmed < bytes {
            if sent < bytes && sent - confirmed < WINDOW {
                self.socket
                    .write_all(&frame)
                    .await
                    .expect("the tap takes it");
                sent += CHUNK as u64;
            } else {
                confirmed += self.next_confirmed().await;
            }
        }
        rate(bytes, begun.elapsed())
    }

    /// How many bytes the frames confirm that come next.
    async fn next_confirmed(&mut self) -> u64 {
        let mut confirmed = 0;
        while confirmed == 0 {
            let mut buffer = vec![0; 2 * CHUNK];
            let read = self.read(&mut buffer).await;
            self.frames.read(&buffer[..read], |frame| {
                confirmed += match frame.what {
                    What::Text => WINDOW / 2, // the Worker that only takes tells each half of it
                    What::Named(_) | What::Close | What::Other => frame.length,
                };
            });
        }
        confirmed
    }

    async fn next_frame(&mut self) {
        let mut whole = false;
        while !whole {
            let mut buffer = [0; 4096];
            let read = self.read(&mut buffer).await;
            self.frames.read(&buffer[..read], |_| whole = true);
        }
    }

    async fn read(&mut self, buffer: &mut [u8]) -> usize {
        let read = self.socket.read(buffer).await.expect("the wire is whole");
        assert!(read > 0, "the Worker has hung up");
        read
    }
}

/// A TCP server on loopback that sends back what comes; it ends with this value.
#[derive(Debug)]
pub(super) struct Echo {
    /// Where it listens.
    pub(super) address: SocketAddr,
    task: AbortHandle,
}

/// What a way to an echo takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trips {
    /// The median round trip, in milliseconds.
    pub(super) round: f64,
    /// Megabytes a second, there and back.
    pub(super) rate: f64,
}

impl Echo {
    /// Listens from now on.
    pub(super) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let echoing = async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    socket.set_nodelay(true).ok();
                    let (mut from, mut to) = socket.split();
                    tokio::io::copy(&mut from, &mut to).await.ok();
                });
            }
        };
        Self {
            address,
            task: tokio::spawn(echoing).abort_handle(),
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Trips {
    /// Loopback without anything.
    pub(super) async fn alone(times: usize, length: usize, bytes: u64) -> Self {
        let echo = Echo::listen().await;
        Self::through(echo.address, times, length, bytes).await
    }

    /// Round trips of messages of this length to an echo at `address`, then this many bytes in a file's chunks within a file's window.
    pub(super) async fn through(
        address: SocketAddr,
        times: usize,
        length: usize,
        bytes: u64,
    ) -> Self {
        let round = Self::try_through(address, times, length).await;
        let mut socket = TcpStream::connect(address).await.expect("it listens");
        let mut chunk = vec![7; CHUNK];
        let begun = Instant::now();
        let chunks = bytes / CHUNK as u64;
        for n in 0..chunks + WINDOW / CHUNK as u64 {
            if n < chunks {
                socket.write_all(&chunk).await.expect("it takes bytes");
            }
            if n >= WINDOW / CHUNK as u64 {
                socket.read_exact(&mut chunk).await.expect("it echoes");
            }
        }
        Self {
            round: round.expect("it echoes"),
            rate: rate(chunks * CHUNK as u64, begun.elapsed()),
        }
    }

    /// The median of round trips in milliseconds; nothing where the way is not open (yet).
    pub(super) async fn try_through(
        address: SocketAddr,
        times: usize,
        length: usize,
    ) -> Option<f64> {
        let mut socket = TcpStream::connect(address).await.ok()?;
        socket.set_nodelay(true).ok()?;
        let mut trips = Vec::new();
        let mut message = vec![b'x'; length];
        for _ in 0..times {
            let begun = Instant::now();
            socket.write_all(&message).await.ok()?;
            socket.read_exact(&mut message).await.ok()?;
            trips.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        Some(super::median(&mut trips))
    }
}

/// Megabytes a second.
#[expect(
    clippy::cast_precision_loss,
    reason = "nobody sends 2^52 bytes in a bench"
)]
pub(super) fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}
