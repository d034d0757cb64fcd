//! The only network: dials the Worker, proves both sides, carries frames, and comes back after a loss.

mod dial;
mod rhythm;

pub use rhythm::{Backoff, Timing};

use crate::approve::{self, Scene};
use crate::calls::{Action, Calls, News, Order};
use crate::guard::{Guard, Keys, Refused};
use crate::home::{Broken, Home, Pairing, State};
use crate::journal::{self, Journal, Unusable};
use crate::pair::{self, BadAddress};
use crate::policy::{Law, Policy, Unfit};
use crate::processes::Processes;
use crate::sandbox::Fence;
use crate::tools::files_send::{Courier, FromTool, Piece};
use crate::tools::{self, Job};
use crate::undo::{self, Undo};
use dial::{dial, socket_address};
use futures::{SinkExt, StreamExt};
use protocol::call::{CallId, Outcome};
use protocol::key::{BadKey, KeyId, random_text};
use protocol::session::{Hello, Transcript, session_id};
use protocol::token;
use protocol::{
    CLOSE_FROZEN, CLOSE_REPLACED, CLOSE_REVOKED, CLOSE_VIOLATION, PING, PONG, ToBridge, ToWorker,
    VERSION, read_frame, write_frame,
};
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{
    Instant, Interval, MissedTickBehavior, interval, interval_at, sleep, sleep_until, timeout,
};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use url::Url;

/// How many pieces of files wait for the line: a quarter of the Worker's window.
const PIECES: usize = 4;

/// How long the last frame of a connection may take to reach the other side.
const PARTING: Duration = Duration::from_secs(1);

/// How often a bridge that carries out calls, or holds them back, looks whether it has been frozen and what its owner says at home:
/// soon enough for who is afraid.
const LOOK: Duration = Duration::from_millis(500);

/// How long running tools may take to stop when the bridge does.
const STOPPING: Duration = Duration::from_secs(4);

/// One machine's end of the tunnel.
#[derive(Debug)]
pub struct Tunnel {
    home: Home,
    pairing: Pairing,
    keys: Keys,
    address: Url,
    timing: Timing,
    law: Law,
    fence: Fence,
    processes: Arc<Processes>,
    undo: Arc<Undo>,
    calls: Calls<Journal>,
    running: HashMap<CallId, Run>,
    from_tools: mpsc::Receiver<FromTool>,
    to_us: mpsc::Sender<FromTool>,
    stop: watch::Receiver<bool>,
}

/// Why the bridge cannot run at all.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    /// The home is not in order, or nothing is paired.
    #[error(transparent)]
    Home(#[from] Broken),
    /// The policy is broken.
    #[error(transparent)]
    Policy(#[from] Unfit),
    /// The journal is broken.
    #[error(transparent)]
    Journal(#[from] Unusable),
    /// The undo store is broken.
    #[error(transparent)]
    Undo(#[from] undo::Unusable),
    /// There is no place for what commands write.
    #[error("the folder for what commands write: {0}")]
    Output(std::io::Error),
    /// The Worker's address is none.
    #[error(transparent)]
    Address(#[from] BadAddress),
}

/// A running call, as the tunnel holds it.
#[derive(Debug)]
struct Run {
    attempt: u64,
    cancel: watch::Sender<bool>,
    credit: Option<watch::Sender<u64>>,
}

/// What the Worker is to be told.
#[derive(Debug)]
enum Telling {
    /// How a call ended; its receipt is signed for the line that takes it.
    Result(journal::Ended),
    Frame(ToWorker),
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("local-bridge was stopped")]
    Stopped,
    #[error("the policy has changed and is told anew")]
    PolicyChanged,
    #[error("{0}")]
    Violation(String),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Frozen(String),
    #[error("a newer connection of this bridge has taken its place")]
    Replaced,
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, String),
    #[error("the Worker closed it{0}")]
    Closed(String),
    #[error("the Worker has been silent for too long")]
    Silent,
    #[error("the line broke: {0}")]
    Line(#[from] Error),
    #[error("the line does not take what is sent")]
    Stuck,
    #[error(
        "the Worker speaks version {0} of the protocol and this program {VERSION}; update the older one"
    )]
    Version(u32),
    #[error(transparent)]
    Journal(#[from] Unusable),
    #[error(transparent)]
    Key(#[from] BadKey),
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A connection whose two sides are proven.
struct Line<'a> {
    socket: &'a mut Socket,
    guard: Guard,
}

impl From<Refused> for Ended {
    fn from(refused: Refused) -> Self {
        Self::Violation(refused.to_string())
    }
}

impl Ended {
    /// The waits that suit it.
    fn backoff(&self, timing: &Timing) -> Backoff {
        match self {
            Self::Refused(_) | Self::Frozen(_) | Self::Replaced | Self::Version(_) => {
                timing.refused
            }
            Self::Stopped
            | Self::PolicyChanged
            | Self::Violation(_)
            | Self::Unreachable(..)
            | Self::Closed(_)
            | Self::Silent
            | Self::Line(_)
            | Self::Stuck
            | Self::Journal(_)
            | Self::Key(_) => timing.retry,
        }
    }
}

impl Tunnel {
    /// Prepares the end of the tunnel that a home describes. It runs until `stop` becomes true.
    pub fn open(home: &Home, timing: Timing, stop: watch::Receiver<bool>) -> Result<Self, Unready> {
        // Two providers of cryptography may be linked in; the first one installed is the one in use.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let (pairing, command) = home.pairing()?.ok_or(Broken::NotPaired)?;
        let own = home.key()?.ok_or(Broken::NotPaired)?;
        let journal = Journal::open(&home.journal())?;
        let (to_us, from_tools) = mpsc::channel(PIECES);
        Ok(Self {
            address: socket_address(&pairing.worker)?,
            calls: Calls::revive(journal, now())?,
            law: Law::open(home)?,
            fence: Fence::find(),
            processes: Arc::new(Processes::open(home).map_err(Unready::Output)?),
            undo: Arc::new(Undo::open(home.path(), now())?),
            home: home.clone(),
            pairing,
            keys: Keys { own, command },
            timing,
            running: HashMap::new(),
            from_tools,
            to_us,
            stop,
        })
    }

    /// Connects, again and again, until it is stopped.
    pub async fn run(mut self) {
        let policy = self.law.current();
        tracing::info!("policy: {}", policy.summary());
        if !policy.commands.is_empty() {
            tracing::info!("{}", self.fence.told(policy.sandbox));
        }
        let (mut failures, mut stop) = (0, self.stop.clone());
        loop {
            let begun = Instant::now();
            let ended = Box::pin(self.connect_once()).await;
            self.disconnected(&ended);
            if matches!(ended, Ended::Stopped) {
                break;
            }
            if begun.elapsed() >= self.timing.healthy || matches!(ended, Ended::PolicyChanged) {
                failures = 0;
            }
            let wait = ended.backoff(&self.timing).wait(failures);
            failures += 1;
            tracing::debug!("next try in {} ms", wait.as_millis());
            let waited = self.meanwhile(stopped_or(&mut stop, sleep(wait))).await;
            match waited {
                Ok(Some(())) => {}
                Ok(None) => break,
                Err(error) => tracing::error!("{error}"),
            }
        }
        self.stop_tools().await;
    }

    /// One connection, from dialling to its end.
    async fn connect_once(&mut self) -> Ended {
        let mut stop = self.stop.clone();
        let policy = self.law.current();
        let hello = self.hello(&policy);
        let dialling = Box::pin(dial(self.address.clone(), self.ticket(), self.timing.dial));
        let mut socket = match self.meanwhile(stopped_or(&mut stop, dialling)).await {
            Ok(Some(Ok(socket))) => socket,
            Ok(Some(Err(ended))) => return self.explained(ended),
            Ok(None) => return Ended::Stopped,
            Err(ended) => return ended,
        };
        let ended = match self.prove(&mut socket, &hello, &mut stop).await {
            Ok(session) => {
                self.connected();
                self.serve(&mut socket, session, &hello, &mut stop).await
            }
            Err(ended) => ended,
        };
        part(&mut socket, &ended).await;
        self.explained(ended)
    }

    /// The session's name, once both sides have shown their keys.
    async fn prove(
        &mut self,
        socket: &mut Socket,
        hello: &str,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<String, Ended> {
        let limit = self.timing.dial;
        let keys = self.keys.clone();
        let proving = timeout(limit, prove(socket, &keys, hello));
        match self.meanwhile(stopped_or(stop, proving)).await? {
            Some(Ok(proven)) => proven,
            Some(Err(_)) => Err(Ended::Silent),
            None => Err(Ended::Stopped),
        }
    }

    async fn serve(
        &mut self,
        socket: &mut Socket,
        session: String,
        told_hello: &str,
        stop: &mut watch::Receiver<bool>,
    ) -> Ended {
        let lease = i64::try_from(self.timing.lease.as_millis()).unwrap_or(i64::MAX);
        let guard = Guard::new(self.keys.clone(), session, lease, now());
        let line = &mut Line { socket, guard };
        match self.served(line, told_hello, stop).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn served(
        &mut self,
        line: &mut Line<'_>,
        told_hello: &str,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<std::convert::Infallible, Ended> {
        self.take(line, News::Welcomed).await?;
        let mut ping = interval_at(Instant::now() + self.timing.ping, self.timing.ping);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut look = looking();
        loop {
            tokio::select! {
                frame = line.socket.next() => {
                    heard = Instant::now();
                    self.incoming(line, frame).await?;
                }
                Some(news) = self.from_tools.recv() => self.outgoing(line, news).await?,
                _ = ping.tick() => {
                    if self.calls.idle() {
                        let policy = self.law.current();
                        if self.hello(&policy) != told_hello {
                            return Err(Ended::PolicyChanged);
                        }
                    }
                    self.send(line, Message::text(PING)).await?;
                }
                _ = look.tick(), if self.is_busy() => {
                    for ruled in self.look()? {
                        self.take(line, ruled).await?;
                    }
                }
                () = sleep_until(heard + self.timing.lease) => return Err(Ended::Silent),
                () = stopped(stop) => return Err(Ended::Stopped),
            }
        }
    }

    async fn incoming(
        &mut self,
        line: &mut Line<'_>,
        frame: Option<Result<Message, Error>>,
    ) -> Result<(), Ended> {
        let Some(frame) = frame else {
            return Err(Ended::Closed(String::new()));
        };
        match frame? {
            Message::Text(text) if text.as_str() == PONG => Ok(line.guard.heard(now())?),
            Message::Text(text) => {
                let frame =
                    read_frame(&text).map_err(|error| Ended::Violation(error.to_string()))?;
                let news = line.guard.said(frame, now())?;
                let news = self.asked_at_home(news);
                self.take(line, news).await
            }
            Message::Ping(_) | Message::Pong(_) => Ok(line.guard.heard(now())?),
            Message::Close(why) => Err(closed(why)),
            Message::Binary(_) | Message::Frame(_) => Err(Ended::Violation(
                "a frame of bytes, which a Worker never sends".to_owned(),
            )),
        }
    }

    async fn outgoing(&mut self, line: &mut Line<'_>, news: FromTool) -> Result<(), Ended> {
        match news {
            FromTool::Piece {
                call,
                attempt,
                piece,
            } => {
                if self.running.get(&call).map(|run| run.attempt) != Some(attempt) {
                    return Ok(()); // of a run that a lost connection has ended
                }
                let message = match piece {
                    Piece::Start(frame) => Message::text(write_frame(&frame)),
                    Piece::Bytes(bytes) => Message::binary(bytes),
                };
                self.send(line, message).await
            }
            ended @ FromTool::Ended { .. } => {
                let news = self.noted(ended);
                match news {
                    Some(news) => self.take(line, news).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// Hands news to the calls and does what they say: first what is done here, for a line that breaks while a result is told must
    /// not keep a call that is recorded as begun from beginning.
    async fn take(&mut self, line: &mut Line<'_>, news: News) -> Result<(), Ended> {
        for telling in self.act(news)? {
            let frame = match telling {
                Telling::Result(ended) => line.guard.result(ended, now())?,
                Telling::Frame(frame) => frame,
            };
            self.send(line, Message::text(write_frame(&frame))).await?;
        }
        Ok(())
    }

    /// Does what the calls say to news; gives what there is to tell, which is nothing without a session.
    fn act(&mut self, news: News) -> Result<Vec<Telling>, Ended> {
        let mut tellings = Vec::new();
        for action in self.calls.handle(news, now())? {
            match action {
                Action::Report(ended) => tellings.push(Telling::Result(ended)),
                Action::Ask(tool) => {
                    tracing::info!("a call waits for a yes at home: local-bridge approve");
                    approve::notify::notify(&self.home, &tool);
                }
                Action::Wait { call, why, until } => {
                    let minutes = approve::minutes(until - now());
                    tellings.push(Telling::Frame(ToWorker::Waiting { call, why, minutes }));
                }
                Action::Start(order) => self.start(order),
                Action::Stop(call) => self.cancel(&call),
                Action::Credit { call, until } => self.credit(&call, until),
                Action::HangUp(why) => return Err(Ended::Violation(why)),
            }
        }
        Ok(tellings)
    }

    /// An ordered call that needs a yes at home comes with the question; a frozen machine asks nothing.
    fn asked_at_home(&mut self, news: News) -> News {
        let News::Ordered(call) = news else {
            return news;
        };
        if self.home.panics() {
            return News::Ordered(call);
        }
        let policy = self.law.current();
        self.scene(&policy).ordered(call)
    }

    fn is_busy(&self) -> bool {
        !self.running.is_empty() || self.calls.holds()
    }

    /// Stops what a frozen home must not run; gives what becomes of the calls that wait for a yes there.
    fn look(&mut self) -> Result<Vec<News>, Unusable> {
        self.freeze();
        if !self.calls.holds() {
            return Ok(vec![]);
        }
        if self.home.panics() {
            return self.refuse_held("this machine was frozen at home while it waited");
        }
        let (held, policy) = (self.calls.held()?, self.law.current());
        Ok(self.scene(&policy).rulings(held))
    }

    fn refuse_held(&mut self, why: &str) -> Result<Vec<News>, Unusable> {
        let held = self.calls.held()?.into_iter();
        Ok(held.map(|held| approve::refused(held, why)).collect())
    }

    fn scene<'a>(&'a self, policy: &'a Policy) -> Scene<'a> {
        Scene {
            policy,
            pairing: &self.pairing,
            processes: &self.processes,
            now: now(),
        }
    }

    async fn send(&mut self, line: &mut Line<'_>, message: Message) -> Result<(), Ended> {
        match timeout(self.timing.lease, line.socket.send(message)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(Ended::Stuck),
        }
    }

    fn start(&mut self, order: Order) {
        let (cancel, cancelled) = watch::channel(false);
        let (credit, granted) = watch::channel(0);
        let run = Run {
            attempt: order.attempt,
            cancel,
            credit: Some(credit),
        };
        self.running.insert(order.call.clone(), run);
        tracing::info!("call {}: {}", order.call, order.tool);
        let job = Job {
            policy: self.law.current(),
            scratch: self.home.scratch(),
            processes: Arc::clone(&self.processes),
            fence: self.fence.clone(),
            undo: Arc::clone(&self.undo),
            cancelled,
            courier: Courier {
                pieces: self.to_us.clone(),
                credit: granted,
            },
            order,
        };
        tokio::spawn(carry_out(job, self.home.panics(), self.to_us.clone()));
    }

    /// Stops what runs if the home is frozen.
    fn freeze(&mut self) {
        if self.home.panics() {
            for run in self.running.values_mut() {
                run.cancel.send_replace(true);
                run.credit = None;
            }
        }
    }

    fn cancel(&mut self, call: &CallId) {
        if let Some(run) = self.running.get_mut(call) {
            run.cancel.send_replace(true);
            run.credit = None; // wakes one that waits for it
        }
    }

    fn credit(&mut self, call: &CallId, until: u64) {
        let run = self.running.get(call);
        if let Some(credit) = run.and_then(|run| run.credit.as_ref()) {
            credit.send_if_modified(|granted| {
                let more = until > *granted;
                *granted = until.max(*granted);
                more
            });
        }
    }

    /// The end of a run as news; what else comes from tools is of no use without a connection.
    fn noted(&mut self, news: FromTool) -> Option<News> {
        match news {
            FromTool::Piece { .. } => None,
            FromTool::Ended {
                call,
                attempt,
                outcome,
                policy_sha256,
            } => {
                if self.running.get(&call).map(|run| run.attempt) == Some(attempt) {
                    self.running.remove(&call);
                }
                tracing::info!("call {call}: {}", kind(&outcome));
                Some(News::Ended {
                    call,
                    attempt,
                    outcome,
                    policy_sha256,
                })
            }
        }
    }

    /// Waits without a connection, and keeps what ends in that time.
    async fn meanwhile<T>(&mut self, waiting: impl Future<Output = T>) -> Result<T, Ended> {
        tokio::pin!(waiting);
        let mut look = looking();
        loop {
            tokio::select! {
                done = &mut waiting => return Ok(done),
                _ = look.tick(), if self.is_busy() => {
                    for ruled in self.look()? {
                        self.act(ruled)?;
                    }
                }
                Some(news) = self.from_tools.recv() => {
                    if let Some(news) = self.noted(news) {
                        self.act(news)?; // there is nobody to tell: what ends reaches the journal
                    }
                }
            }
        }
    }

    fn connected(&self) {
        let Pairing { worker, name, .. } = &self.pairing;
        tracing::info!("connected to {worker} as {name}");
        self.remember(&State {
            connected: true,
            since: now(),
            last_error: None,
            accepted: true,
        });
    }

    fn disconnected(&mut self, ended: &Ended) {
        match ended {
            Ended::Violation(why) => tracing::warn!("refused: {why}"),
            Ended::Stopped
            | Ended::PolicyChanged
            | Ended::Refused(_)
            | Ended::Frozen(_)
            | Ended::Replaced
            | Ended::Unreachable(..)
            | Ended::Closed(_)
            | Ended::Silent
            | Ended::Line(_)
            | Ended::Stuck
            | Ended::Version(_)
            | Ended::Journal(_)
            | Ended::Key(_) => {}
        }
        tracing::info!("connection closed: {ended}");
        if let Ended::Frozen(_) | Ended::Refused(_) = ended {
            self.processes
                .stop_all("the Worker has frozen or revoked this machine");
        }
        if let Err(error) = self.lost(ended) {
            tracing::error!("{error}");
        }
        let before = self.home.state();
        let state = State {
            connected: false,
            since: now(),
            last_error: Some(ended.to_string()),
            accepted: before.accepted,
        };
        if before.connected || before.last_error != state.last_error {
            self.remember(&state);
        }
    }

    fn lost(&mut self, ended: &Ended) -> Result<(), Unusable> {
        for action in self.calls.handle(News::Lost, now())? {
            if let Action::Stop(call) = action {
                self.cancel(&call);
                self.running.remove(&call);
            }
        }
        if let Ended::Frozen(_) | Ended::Refused(_) = ended {
            // A yes that is given later must not get round it.
            let why = "the Worker has frozen or revoked this machine while it waited";
            for refused in self.refuse_held(why)? {
                self.calls.handle(refused, now())?; // nothing starts, and nobody is there to be told
            }
        }
        Ok(())
    }

    fn remember(&self, state: &State) {
        if let Err(error) = self.home.write_state(state) {
            tracing::warn!("{error}");
        }
    }

    /// A refusal in words that tell its owner what to do.
    fn explained(&self, ended: Ended) -> Ended {
        let Ended::Refused(said) = ended else {
            return ended;
        };
        let said = if said.is_empty() {
            said
        } else {
            format!(" ({said})")
        };
        Ended::Refused(if self.home.state().accepted {
            format!(
                "revoked: the Worker no longer accepts this machine; pair it again with a link from /pair{said}"
            )
        } else {
            format!("not paired (yet): confirm the six words in the chat or the console{said}")
        })
    }

    fn hello(&self, policy: &Policy) -> String {
        let hello = Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            platform: std::env::consts::OS.to_owned(),
            tools: tools::offered(policy, &self.fence),
            roots: policy.shown_roots(),
            commands: policy.shown_commands(),
            asking_commands: policy.asking_commands(),
            asking_tools: policy.asking_tools(),
            policy_fault: self.law.fault(),
            policy_sha256: policy.sha256.clone(),
        };
        write_frame(&hello)
    }

    fn ticket(&self) -> Result<String, token::Refused> {
        pair::ticket(&self.keys.own, &self.keys.command, now())
    }

    /// Ends what runs. Its rows stay as they are: the next start sees that it did not end by itself.
    async fn stop_tools(&mut self) {
        let calls: Vec<CallId> = self.running.keys().cloned().collect();
        for call in &calls {
            self.cancel(call);
        }
        let ending = async {
            while !self.running.is_empty() {
                match self.from_tools.recv().await {
                    Some(FromTool::Ended { call, .. }) => {
                        self.running.remove(&call);
                    }
                    Some(FromTool::Piece { .. }) => {}
                    None => break,
                }
            }
        };
        // Both at once: whoever stops the bridge waits no longer for the one than for the other.
        let processes = self.processes.end_all("local-bridge was stopped");
        tokio::join!(timeout(STOPPING, ending), processes).0.ok();
    }
}

async fn carry_out(job: Job, panics: bool, to_us: mpsc::Sender<FromTool>) {
    let (call, attempt) = (job.order.call.clone(), job.order.attempt);
    let policy_sha256 = job.policy.sha256.clone();
    let outcome = if panics {
        Outcome::denied(
            "this machine is frozen: a file named 'panic' lies in local-bridge's folder; its owner can take it away",
        )
    } else {
        // In its own task, so that a defect in a tool ends as news and not as silence.
        tokio::spawn(tools::run(job))
            .await
            .unwrap_or_else(|_| tools::broken())
    };
    let news = FromTool::Ended {
        call,
        attempt,
        outcome,
        policy_sha256,
    };
    to_us.send(news).await.ok(); // fails only when the bridge has ended
}

/// Both proofs: ours for the Worker, and the Worker's for us by the key that was pinned when we were paired.
async fn prove(socket: &mut Socket, keys: &Keys, hello: &str) -> Result<String, Ended> {
    let ToBridge::Challenge { version, nonce } = next_frame(socket).await? else {
        return Err(Ended::Violation(
            "the session did not begin with a challenge".to_owned(),
        ));
    };
    if version != VERSION {
        return Err(Ended::Version(version));
    }
    let (KeyId(bridge), KeyId(command_id)) = (keys.own.public().id(), keys.command.id());
    let bridge_nonce = random_text()?;
    let transcript = Transcript {
        bridge: &bridge,
        command_key: &command_id,
        worker_nonce: &nonce,
        bridge_nonce: &bridge_nonce,
        version: VERSION,
        hello,
    };
    let ours = keys.own.sign(&transcript.bridge_bytes());
    let answer = ToWorker::Answer {
        nonce: bridge_nonce.clone(),
        hello: hello.to_owned(),
        signature: ours.clone(),
    };
    socket.send(Message::text(write_frame(&answer))).await?;
    let ToBridge::Welcome { signature: theirs } = next_frame(socket).await? else {
        return Err(Ended::Violation(
            "the Worker did not prove itself".to_owned(),
        ));
    };
    keys.command
        .verify(&transcript.worker_bytes(), &theirs)
        .map_err(|_| {
            Ended::Violation(
                "the Worker's key is not the one this machine was paired with".to_owned(),
            )
        })?;
    Ok(session_id(&transcript, &ours, &theirs))
}

async fn next_frame(socket: &mut Socket) -> Result<ToBridge, Ended> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) if text.as_str() == PONG => {}
            Some(Ok(Message::Text(text))) => {
                return read_frame(&text).map_err(|error| Ended::Violation(error.to_string()));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(why))) => return Err(closed(why)),
            Some(Ok(Message::Binary(_) | Message::Frame(_))) => {
                return Err(Ended::Violation(
                    "a frame of bytes before the session".to_owned(),
                ));
            }
            Some(Err(error)) => return Err(error.into()),
            None => return Err(Ended::Closed(String::new())),
        }
    }
}

/// Says goodbye where that is ours to do, and waits a moment so that it arrives.
async fn part(socket: &mut Socket, ended: &Ended) {
    let (code, reason) = match ended {
        Ended::Violation(why) => (CLOSE_VIOLATION, why.as_str()),
        Ended::Stopped => (1001, "local-bridge was stopped"),
        Ended::PolicyChanged => (1001, "the policy has changed"),
        Ended::Version(_) => (1002, "another version of the protocol"),
        Ended::Silent | Ended::Stuck => (1001, "silence"),
        Ended::Journal(_) | Ended::Key(_) => (1011, "local-bridge cannot go on"),
        Ended::Refused(_)
        | Ended::Frozen(_)
        | Ended::Replaced
        | Ended::Unreachable(..)
        | Ended::Closed(_)
        | Ended::Line(_) => return,
    };
    let frame = CloseFrame {
        code: code.into(),
        reason: reason[..reason.floor_char_boundary(120)].into(), // a close frame holds 125 bytes
    };
    let parting = async {
        socket.close(Some(frame)).await?;
        while let Some(Ok(_)) = socket.next().await {}
        Ok::<(), Error>(())
    };
    timeout(PARTING, parting).await.ok();
}

fn closed(why: Option<CloseFrame>) -> Ended {
    let Some(why) = why else {
        return Ended::Closed(String::new());
    };
    match u16::from(why.code) {
        CLOSE_REVOKED => Ended::Refused(why.reason.to_string()),
        CLOSE_FROZEN => Ended::Frozen(why.reason.to_string()),
        CLOSE_REPLACED => Ended::Replaced,
        code if why.reason.is_empty() => Ended::Closed(format!(" with code {code}")),
        code => Ended::Closed(format!(" with code {code}: {}", why.reason)),
    }
}

/// One look at a time, however long nothing ran.
fn looking() -> Interval {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender's end means the same: nobody is left who could want us to run.
    stop.wait_for(|stop| *stop).await.ok();
}

/// What a future gives, or nothing if the bridge is stopped first.
async fn stopped_or<T>(
    stop: &mut watch::Receiver<bool>,
    future: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        done = future => Some(done),
        () = stopped(stop) => None,
    }
}

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done { .. } => "done",
        Outcome::Failed { .. } => "failed",
        Outcome::Denied { .. } => "denied",
        Outcome::Cancelled => "cancelled",
        Outcome::Interrupted { .. } => "interrupted",
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
