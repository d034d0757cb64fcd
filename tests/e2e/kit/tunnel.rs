//! A wire between bridge and Worker that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// A TCP proxy on loopback; it ends with this value.
#[derive(Debug)]
pub(crate) struct Tunnel {
    /// Where it listens, such as `http://127.0.0.1:4713`.
    pub(crate) url: String,
    state: watch::Sender<Wire>,
    accepted: Arc<AtomicUsize>,
    task: AbortHandle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wire {
    whole: bool,
    cuts: u32,
    /// How often the bridge's half alone was cut.
    losses: u32,
}

impl Tunnel {
    /// A tunnel to the server at `url`.
    pub(crate) async fn to(url: &str) -> Self {
        let target: SocketAddr = url
            .trim_start_matches("http://")
            .parse()
            .expect("the Worker answers on loopback");
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let url = format!(
            "http://{}",
            listener
                .local_addr()
                .expect("a bound socket has an address")
        );
        let state = watch::Sender::new(Wire {
            whole: true,
            cuts: 0,
            losses: 0,
        });
        let accepted = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(accept(
            listener,
            target,
            state.subscribe(),
            accepted.clone(),
        ))
        .abort_handle();
        Self {
            url,
            state,
            accepted,
            task,
        }
    }

    /// Cuts every connection; new ones get through.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|wire| wire.cuts += 1);
    }

    /// Cuts every connection at the bridge's end only: the Worker does not learn of it, as when Wi-Fi is lost.
    pub(crate) fn lose(&self) {
        self.state.send_modify(|wire| wire.losses += 1);
    }

    /// Cuts every connection and lets no new one through.
    pub(crate) fn close(&self) {
        self.state.send_modify(|wire| {
            *wire = Wire {
                whole: false,
                cuts: wire.cuts + 1,
                ..*wire
            }
        });
    }

    /// Lets connections through again.
    pub(crate) fn open(&self) {
        self.state.send_modify(|wire| wire.whole = true);
    }

    /// How many connections it has let through.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    state: watch::Receiver<Wire>,
    accepted: Arc<AtomicUsize>,
) {
    while let Ok((near, _)) = listener.accept().await {
        let mut state = state.clone();
        let wire = *state.borrow_and_update();
        if wire.whole {
            accepted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(carry(near, target, state, wire));
        }
    }
}

async fn carry(
    mut near: TcpStream,
    target: SocketAddr,
    mut state: watch::Receiver<Wire>,
    begun: Wire,
) {
    let Ok(mut far) = TcpStream::connect(target).await else {
        return;
    };
    let mut watching = state.clone();
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => return,
        _ = state.wait_for(|wire| wire.cuts > begun.cuts) => return,
        _ = watching.wait_for(|wire| wire.losses > begun.losses) => {}
    }
    drop(near);
    let _held = (far, state.wait_for(|wire| wire.cuts > begun.cuts).await);
}
