//! A wire that is watched and can fail: every byte is counted, every frame has its time; it can be cut, reset, or go silent.

use super::frames::{Frame, Frames, What};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// What a silent wire holds back before it takes no more, as the buffers of a network would.
const HELD_BACK: usize = 1024 * 1024;

/// Which way something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From the bridge to the Worker.
    Up,
    /// From the Worker to the bridge.
    Down,
}

/// Something that has come as far as the tap.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) at: Instant,
    pub(super) way: Way,
    pub(super) frame: Frame,
}

/// A TCP relay on loopback; it ends with this value.
#[derive(Debug)]
pub(super) struct Tap {
    /// Where it listens, such as `http://127.0.0.1:4713`.
    pub(super) url: String,
    fate: watch::Sender<Fate>,
    seen: Arc<Seen>,
    task: AbortHandle,
}

/// What becomes of the connections.
#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    cuts: u32,
    resets: u32,
    silent: bool,
}

#[derive(Debug)]
struct Seen {
    up: AtomicU64,
    down: AtomicU64,
    accepted: AtomicU64,
    events: Mutex<Vec<Event>>,
    changed: watch::Sender<usize>,
}

impl Tap {
    /// A tap before the server at `url`.
    pub(super) async fn before(url: &str) -> Self {
        let target: SocketAddr = url
            .trim_start_matches("http://")
            .parse()
            .expect("the Worker answers on loopback");
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let fate = watch::Sender::new(Fate::default());
        let seen = Arc::new(Seen {
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            events: Mutex::new(Vec::new()),
            changed: watch::Sender::new(0),
        });
        let accepting = accept(listener, target, fate.subscribe(), seen.clone());
        Self {
            url: format!("http://{address}"),
            fate,
            seen,
            task: tokio::spawn(accepting).abort_handle(),
        }
    }

    /// Ends every connection as a program does that ends.
    pub(super) fn cut(&self) {
        self.fate.send_modify(|fate| fate.cuts += 1);
    }

    /// Resets every connection at both ends.
    pub(super) fn reset(&self) {
        self.fate.send_modify(|fate| fate.resets += 1);
    }

    /// From here on nothing comes through, and nobody is told: a black hole. Or, with `false`, what was held back and all that follows does.
    pub(super) fn swallow(&self, silent: bool) {
        self.fate.send_modify(|fate| fate.silent = silent);
    }

    /// How many bytes of payload have passed, both ways.
    pub(super) fn bytes(&self) -> u64 {
        self.seen.up.load(Ordering::SeqCst) + self.seen.down.load(Ordering::SeqCst)
    }

    /// How many events there have been: where to begin to wait for the next.
    pub(super) fn now(&self) -> usize {
        *self.seen.changed.borrow()
    }

    /// The events from this one on.
    pub(super) fn since(&self, from: usize) -> Vec<Event> {
        self.seen.events()[from..].to_vec()
    }

    /// Waits for the first such frame from this event on; nothing, when there is none in `patience`.
    pub(super) async fn frame(
        &self,
        from: usize,
        way: Way,
        wanted: impl Fn(&What) -> bool,
        patience: Duration,
    ) -> Option<Instant> {
        let mut changed = self.seen.changed.subscribe();
        let mut next = from;
        let waiting = async {
            loop {
                changed.borrow_and_update();
                {
                    let events = self.seen.events();
                    let mut new = events[next..].iter();
                    if let Some(event) =
                        new.find(|event| event.way == way && wanted(&event.frame.what))
                    {
                        return Some(event.at);
                    }
                    next = events.len();
                }
                changed.changed().await.ok()?;
            }
        };
        timeout(patience, waiting).await.ok().flatten()
    }

    /// Waits until a session begins after this event.
    pub(super) async fn welcome(&self, from: usize, patience: Duration) -> Option<Instant> {
        let is_welcome = |what: &What| *what == What::Named("welcome".to_owned());
        self.frame(from, Way::Down, is_welcome, patience).await
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn events(&self) -> std::sync::MutexGuard<'_, Vec<Event>> {
        self.events.lock().expect("nobody panics with the events")
    }

    fn saw(&self, way: Way, frame: Frame) {
        let at = Instant::now();
        let mut events = self.events();
        events.push(Event { at, way, frame });
        self.changed.send_replace(events.len());
    }

    fn count(&self, way: Way, bytes: usize) {
        let counter = match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        };
        counter.fetch_add(bytes as u64, Ordering::SeqCst);
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    fate: watch::Receiver<Fate>,
    seen: Arc<Seen>,
) {
    while let Ok((near, _)) = listener.accept().await {
        seen.accepted.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(carry(near, target, fate.clone(), seen.clone()));
    }
}

async fn carry(
    mut near: TcpStream,
    target: SocketAddr,
    mut fate: watch::Receiver<Fate>,
    seen: Arc<Seen>,
) {
    let begun = *fate.borrow_and_update();
    let Ok(mut far) = TcpStream::connect(target).await else {
        return;
    };
    for end in [&near, &far] {
        end.set_nodelay(true).ok(); // a wire of our own making waits for nothing
    }
    let watched = fate.clone();
    let resets = {
        let (near_in, near_out) = near.split();
        let (far_in, far_out) = far.split();
        tokio::select! {
            () = pump(near_in, far_out, Way::Up, watched.clone(), &seen) => false,
            () = pump(far_in, near_out, Way::Down, watched, &seen) => false,
            changed = fate.wait_for(|fate| fate.cuts > begun.cuts || fate.resets > begun.resets) => {
                changed.is_ok_and(|fate| fate.resets > begun.resets)
            }
        }
    };
    if resets {
        for end in [near, far] {
            end.set_zero_linger().ok(); // closing it sends a reset
        }
    }
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    way: Way,
    mut fate: watch::Receiver<Fate>,
    seen: &Seen,
) {
    let mut frames = Frames::new();
    let mut held = Vec::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let silent = fate.borrow_and_update().silent;
        if !silent && !held.is_empty() {
            if to.write_all(&held).await.is_err() {
                return;
            }
            held.clear();
        }
        tokio::select! {
            read = from.read(&mut buffer), if held.len() < HELD_BACK => match read {
                Ok(0) | Err(_) => return,
                Ok(read) => {
                    seen.count(way, read);
                    frames.read(&buffer[..read], |frame| {
                        if frame.what != What::Other {
                            seen.saw(way, frame);
                        }
                    });
                    held.extend_from_slice(&buffer[..read]);
                }
            },
            changed = fate.changed() => if changed.is_err() {
                return;
            },
        }
    }
}
