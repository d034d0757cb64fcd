//! The connection below the WebSocket: counts what the system took for sending, and notes when bytes last came.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A connection that is metered.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    meter: Arc<Meter>,
}

/// What a wire has carried. Any byte counts: a frame that takes long to arrive is a sign of life before it is whole.
#[derive(Debug)]
pub(super) struct Meter {
    begun: Instant,
    /// When bytes last came, in microseconds since then.
    heard: AtomicU64,
    sent: AtomicU64,
}

impl Wire {
    /// Meters a connection from now on.
    pub(super) fn new(stream: TcpStream) -> (Self, Arc<Meter>) {
        let meter = Arc::new(Meter::new());
        let wire = Self {
            stream,
            meter: Arc::clone(&meter),
        };
        (wire, meter)
    }

    fn written(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.meter.sent.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
    }
}

impl Meter {
    /// Of a connection that begins.
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            heard: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    /// When bytes last came; before the first, when the connection began.
    pub(super) fn heard(&self) -> Instant {
        self.begun + Duration::from_micros(self.heard.load(Ordering::Relaxed))
    }

    /// How many bytes the system has taken for sending.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn hears(&self) {
        let since = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.heard.store(since, Ordering::Relaxed);
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.meter.hears();
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
