//! A server on loopback for the fakes, whose handlers can cut the connection under themselves.

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// A running server; it ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it listens, such as `http://127.0.0.1:4711`.
    pub(crate) url: String,
    task: AbortHandle,
}

/// The scissors for one connection: after [`Cut::now`] the peer gets no byte more, only a reset.
#[derive(Debug, Clone)]
pub(crate) struct Cut(Arc<AtomicBool>);

impl Server {
    /// Serves `routes` on a free port. Handlers may take `ConnectInfo<Cut>`.
    pub(crate) async fn start(routes: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let url = format!(
            "http://{}",
            listener
                .local_addr()
                .expect("a bound socket has an address")
        );
        let service = routes.into_make_service_with_connect_info::<Cut>();
        let task = tokio::spawn(async move { axum::serve(Cuttable(listener), service).await })
            .abort_handle();
        Self { url, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cut {
    /// Cuts the connection: whatever is written to it from here on is a reset.
    pub(crate) fn now(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Cuttable(TcpListener);

impl Listener for Cuttable {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.0).await;
        // Small pieces must leave as small pieces.
        stream
            .set_nodelay(true)
            .expect("a fresh socket takes options");
        (
            Wire {
                stream,
                cut: Cut(Arc::new(AtomicBool::new(false))),
            },
            peer,
        )
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Cuttable>> for Cut {
    fn connect_info(stream: IncomingStream<'_, Cuttable>) -> Self {
        stream.io().cut.clone()
    }
}

struct Wire {
    stream: TcpStream,
    cut: Cut,
}

impl Wire {
    fn intact(&self) -> io::Result<()> {
        if self.cut.0.load(Ordering::SeqCst) {
            // No farewell: closing sends a reset.
            self.stream.set_zero_linger()?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl Drop for Wire {
    /// A cut connection ends in a reset also when nothing more was to be written.
    fn drop(&mut self) {
        self.intact().ok();
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.intact()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.intact()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.intact()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
