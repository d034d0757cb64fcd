//! The only network: dials the Worker, proves both sides, carries frames, and comes back after a loss.

mod dial;
mod ends;
mod pulse;
mod rhythm;
mod run;
mod wire;

pub use rhythm::{Backoff, Timing};

use crate::approve::{self, Scene, rule};
use crate::calls::{Action, Calls, News, Order};
use crate::guard::{Guard, Keys, Refused};
use crate::home::{Broken, Home, Pairing, State};
use crate::intake::{Inflow, Intake, Intakes, Wrong};
use crate::journal::{self, Journal, Unusable};
use crate::pair::{self, BadAddress};
use crate::policy::{Law, Policy, Unfit};
use crate::processes::Processes;
use crate::sandbox::Fence;
use crate::tools::files_send::{Courier, FromTool, Piece};
use crate::tools::{self, Job};
use crate::undo::{self, Undo};
use dial::{dial, socket_address};
use ends::{closed, part, prove};
use futures::{SinkExt, StreamExt};
use protocol::call::{CallId, Outcome};
use protocol::chunk::Chunk;
use protocol::key::BadKey;
use protocol::session::Hello;
use protocol::token;
use protocol::warrant::PROPOSE;
use protocol::{PING, PONG, ToWorker, VERSION, read_frame, write_frame};
use pulse::Pulse;
use run::Run;
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tokio::time::{
    Instant, Interval, MissedTickBehavior, interval, interval_at, sleep, sleep_until, timeout,
};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use url::Url;
use wire::Wire;

/// How many pieces of files wait for the line: a quarter of the Worker's window.
const PIECES: usize = 4;

/// How often a bridge that carries out calls, or holds them back, looks whether it has been frozen and what its owner says at home:
/// soon enough for who is afraid.
const LOOK: Duration = Duration::from_millis(500);

/// How long an answer that may be at the door already is waited for, when a silence has lasted too long: a machine that has slept, or was held
/// up by a line that took nothing, has not read yet what came meanwhile.
const LAST_LOOK: Duration = Duration::from_millis(200);

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
    intakes: Intakes,
    from_tools: mpsc::Receiver<FromTool>,
    to_us: mpsc::Sender<FromTool>,
    stop: watch::Receiver<bool>,
    /// When the session under way was proven.
    proven: Option<Instant>,
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

/// What the Worker is to be told.
#[derive(Debug)]
enum Telling {
    /// How a call ended; its receipt is signed for the line that takes it.
    Result(journal::Ended),
    Frame(ToWorker),
}

/// What commands run behind, and which of them reach the network nevertheless.
fn behind(fence: &Fence, policy: &Policy) -> String {
    let reaching = policy.commands.iter().filter(|rule| rule.network);
    let reaching: Vec<String> = reaching.map(|rule| rule.argv.join(" ")).collect();
    let told = fence.told(policy.sandbox);
    if reaching.is_empty() {
        return told;
    }
    format!("{told}; the network is open to {}", reaching.join(", "))
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

type Socket = WebSocketStream<MaybeTlsStream<Wire>>;

/// A connection whose two sides are proven.
struct Line<'a> {
    socket: &'a mut Socket,
    guard: Guard,
    pulse: Pulse,
}

impl From<Wrong> for Ended {
    fn from(wrong: Wrong) -> Self {
        Self::Violation(wrong.to_string())
    }
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
            law: Law::in_force(home)?,
            fence: Fence::find(),
            processes: Arc::new(Processes::open(home).map_err(Unready::Output)?),
            undo: Arc::new(Undo::open(home.path(), now())?),
            home: home.clone(),
            pairing,
            keys: Keys { own, command },
            timing,
            running: HashMap::new(),
            intakes: Intakes::default(),
            from_tools,
            to_us,
            stop,
            proven: None,
        })
    }

    /// Connects, again and again, until it is stopped.
    pub async fn run(mut self) {
        let policy = self.law.current();
        tracing::info!("policy: {}", policy.summary());
        if !policy.commands.is_empty() {
            tracing::info!("{}", self.fence.told(policy.sandbox));
        }
        let (mut failing, mut stop) = (Instant::now(), self.stop.clone());
        loop {
            let ended = Box::pin(self.connect_once()).await;
            self.disconnected(&ended);
            if matches!(ended, Ended::Stopped) {
                break;
            }
            let lasted = self.proven.take().map(|at| at.elapsed());
            let is_healthy = lasted.is_some_and(|lasted| lasted >= self.timing.healthy);
            if is_healthy || matches!(ended, Ended::PolicyChanged) {
                failing = Instant::now();
            }
            let wait = ended.backoff(&self.timing).wait(failing.elapsed());
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
        let (mut socket, meter) = match self.meanwhile(stopped_or(&mut stop, dialling)).await {
            Ok(Some(Ok(connected))) => connected,
            Ok(Some(Err(ended))) => return self.explained(ended),
            Ok(None) => return Ended::Stopped,
            Err(ended) => return ended,
        };
        let ended = match self.prove(&mut socket, &hello, &mut stop).await {
            Ok(session) => {
                self.connected();
                let pulse = Pulse::new(&self.timing, meter);
                let session = (session, pulse);
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
        (session, pulse): (String, Pulse),
        told_hello: &str,
        stop: &mut watch::Receiver<bool>,
    ) -> Ended {
        let lease = i64::try_from(self.timing.lease.as_millis()).unwrap_or(i64::MAX);
        let guard = Guard::new(self.keys.clone(), session, lease, now());
        let line = &mut Line {
            socket,
            guard,
            pulse,
        };
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
        let mut look = looking();
        let told = self.law.current();
        loop {
            tokio::select! {
                frame = line.socket.next() => self.incoming(line, frame).await?,
                Some(news) = self.from_tools.recv() => {
                    self.outgoing(line, news).await?;
                    if self.calls.idle() && !Arc::ptr_eq(&told, &self.law.current()) {
                        ping.reset_after(LOOK); // a call may have made a rule; its end is acknowledged first
                    }
                }
                _ = ping.tick() => {
                    if self.calls.idle() {
                        let policy = self.law.current();
                        if self.hello(&policy) != told_hello {
                            return Err(Ended::PolicyChanged);
                        }
                    }
                    self.send(line, Message::text(PING)).await?;
                    line.pulse.pinged();
                }
                _ = look.tick(), if self.is_busy() => {
                    for ruled in self.look()? {
                        self.take(line, ruled).await?;
                    }
                }
                () = sleep_until(line.pulse.ends()) => self.look_once_more(line).await?,
                () = stopped(stop) => return Err(Ended::Stopped),
            }
        }
    }

    /// The line is given up, unless something has come after all.
    async fn look_once_more(&mut self, line: &mut Line<'_>) -> Result<(), Ended> {
        match timeout(LAST_LOOK, line.socket.next()).await {
            Ok(frame) => self.incoming(line, frame).await,
            Err(_) if line.pulse.ends() > Instant::now() => Ok(()), // a part of a frame
            Err(_) => Err(Ended::Silent),
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
            Message::Text(text) if text.as_str() == PONG => {
                line.pulse.ponged();
                Ok(line.guard.heard(now())?)
            }
            Message::Text(text) => {
                let frame =
                    read_frame(&text).map_err(|error| Ended::Violation(error.to_string()))?;
                let news = line.guard.said(frame, now())?;
                let news = self.asked_at_home(news)?;
                self.take(line, news).await
            }
            Message::Ping(_) | Message::Pong(_) => Ok(line.guard.heard(now())?),
            Message::Close(why) => Err(closed(why)),
            Message::Binary(bytes) => {
                line.guard.heard(now())?;
                let chunk =
                    Chunk::decode(&bytes).map_err(|error| Ended::Violation(error.to_string()))?;
                let call = chunk.call.clone();
                self.take(line, News::Comes(call, Inflow::from(chunk)))
                    .await
            }
            Message::Frame(_) => Err(Ended::Violation("half a frame".to_owned())),
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
            noted @ (FromTool::Received { .. } | FromTool::Ended { .. }) => {
                let news = self.noted(noted);
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
                Action::Ask(held) => {
                    tracing::info!("a call waits for a yes at home: local-bridge approve");
                    approve::notify::notify(&self.home, &held);
                }
                Action::Wait { call, why, until } => {
                    let minutes = approve::minutes(until - now());
                    tellings.push(Telling::Frame(ToWorker::Waiting { call, why, minutes }));
                }
                Action::Start(order) => self.start(order),
                Action::Stop(call) => self.cancel(&call),
                Action::Credit { call, until } => {
                    if let Some(run) = self.running.get(&call) {
                        run.credit(until);
                    }
                }
                Action::Pass(call, inflow) => {
                    let unread = self.intakes.take(&call, inflow)?;
                    tellings.extend(unread.map(|mark| Telling::Frame(ToWorker::Read { mark })));
                }
                Action::Go(call) => {
                    self.stop_void(); // one that is stopped does not go
                    if let Some(run) = self.running.get(&call) {
                        run.go();
                    }
                }
                Action::HangUp(why) => return Err(Ended::Violation(why)),
            }
        }
        Ok(tellings)
    }

    /// An ordered call that needs a yes at home comes with the question; a frozen machine asks nothing, and a wish that nobody would be
    /// asked about is not looked at.
    fn asked_at_home(&mut self, news: News) -> Result<News, Unusable> {
        if let News::Ordered(call) | News::Unasked(call) = &news
            && rule::is_wish(call)
            && !self.calls.may_be_asked(call, now())?
        {
            return Ok(news);
        }
        if self.home.panics() {
            return Ok(news);
        }
        let policy = self.law.current();
        let scene = self.scene(&policy);
        Ok(match news {
            News::Ordered(call) => scene.ordered(call),
            News::Unasked(call) => scene.unasked(call),
            other @ (News::Welcomed
            | News::Held(_)
            | News::Ruled { .. }
            | News::Acknowledged { .. }
            | News::Credit { .. }
            | News::Comes(..)
            | News::Received { .. }
            | News::Ended { .. }
            | News::Lost) => other,
        })
    }

    fn is_busy(&self) -> bool {
        !self.running.is_empty() || self.calls.holds()
    }

    /// Stops what must not go on; gives what becomes of the calls that wait for a yes at home.
    fn look(&mut self) -> Result<Vec<News>, Unusable> {
        self.stop_void();
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
            home: &self.home,
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
        let policy = self.law.current();
        let (run, cancelled, granted) = Run::new(order.attempt, Arc::clone(&policy));
        self.running.insert(order.call.clone(), run);
        tracing::info!("call {}: {}", order.call, order.tool);
        let job = Job {
            policy,
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
        let intake = self.intake(&job.order);
        tokio::spawn(carry_out(
            self.home.clone(),
            job,
            intake,
            self.home.panics(),
            self.to_us.clone(),
        ));
    }

    /// What a call that receives a file receives it by.
    fn intake(&mut self, order: &Order) -> Option<Intake> {
        let run = self.running.get_mut(&order.call)?;
        (order.tool.0 == tools::RECEIVING).then(|| {
            let going = run.receives();
            self.intakes.open(&order.call, going, self.timing.lease)
        })
    }

    /// Stops what runs if the home is frozen, and what still receives a file under a policy that is in force no more.
    fn stop_void(&mut self) {
        let (panics, policy) = (self.home.panics(), self.law.current());
        let void = self.running.iter_mut().filter_map(|(call, run)| {
            let is_void = run.outdates(&policy) || panics;
            is_void.then(|| call.clone())
        });
        let void: Vec<CallId> = void.collect();
        for call in &void {
            self.cancel(call);
        }
    }

    fn cancel(&mut self, call: &CallId) {
        if let Some(run) = self.running.get_mut(call) {
            run.stop();
        }
        self.intakes.close(call);
    }

    /// The end of a run as news; what else comes from tools is of no use without a connection.
    fn noted(&mut self, news: FromTool) -> Option<News> {
        match news {
            FromTool::Piece { .. } => None,
            FromTool::Received { call, attempt } => Some(News::Received { call, attempt }),
            FromTool::Ended {
                call,
                attempt,
                outcome,
                policy_sha256,
            } => {
                let mut outcome = outcome;
                if self.running.get(&call).map(|run| run.attempt) == Some(attempt)
                    && let Some(run) = self.running.remove(&call)
                {
                    outcome = run.told(outcome);
                    self.intakes.close(&call);
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

    fn connected(&mut self) {
        self.proven = Some(Instant::now());
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
        let before = self.home.state();
        let error = Some(ended.to_string());
        let is_news = before.connected || before.last_error != error;
        if is_news {
            tracing::info!("connection closed: {ended}");
        } else {
            tracing::debug!("connection closed: {ended}"); // it is tried several times a second
        }
        if let Ended::Frozen(_) | Ended::Refused(_) = ended {
            self.processes
                .stop_all("the Worker has frozen or revoked this machine");
        }
        if let Err(error) = self.lost(ended) {
            tracing::error!("{error}");
        }
        if is_news {
            self.remember(&State {
                connected: false,
                since: now(),
                last_error: error,
                accepted: before.accepted,
            });
        }
    }

    fn lost(&mut self, ended: &Ended) -> Result<(), Unusable> {
        self.intakes.lost();
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
            free_commands: policy.free_commands(),
            home_commands: policy.home_commands(),
            home_tools: policy.home_tools(),
            sandbox: behind(&self.fence, policy),
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
                    Some(FromTool::Piece { .. } | FromTool::Received { .. }) => {}
                    None => break,
                }
            }
        };
        // Both at once: whoever stops the bridge waits no longer for the one than for the other.
        let processes = self.processes.end_all("local-bridge was stopped");
        tokio::join!(timeout(STOPPING, ending), processes).0.ok();
    }
}

async fn carry_out(
    home: Home,
    job: Job,
    intake: Option<Intake>,
    panics: bool,
    to_us: mpsc::Sender<FromTool>,
) {
    let (call, attempt) = (job.order.call.clone(), job.order.attempt);
    let policy_sha256 = job.policy.sha256.clone();
    let outcome = if panics {
        Outcome::denied(
            "this machine is frozen: a file named 'panic' lies in local-bridge's folder; its owner can take it away",
        )
    } else {
        // In its own task, so that a defect in a tool ends as news and not as silence.
        let running = async move {
            match intake {
                Some(intake) => tools::receive(job, intake).await,
                None if job.order.tool.0 == PROPOSE => rule::make(&home, &job.policy, &job.order),
                None => tools::run(job).await,
            }
        };
        tokio::spawn(running)
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
