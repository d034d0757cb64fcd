//! What the driver needs of a person's rows: a few tables, by meaning. `SQLite` in the Durable Object, plain maps in the simulation.

use agent::{Effect, Entry, Event};
use protocol::call::{CallId, Outcome, ToolCall};

/// Milliseconds since 1970, UTC.
pub(crate) type Millis = agent::event::Millis;

/// Something a person sent, as it is kept until it is handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The provider's name for it: a repeat has the same.
    pub id: String,
    /// The conversation in which it is answered.
    pub conversation: String,
    /// What the shell needs to handle it.
    pub payload: String,
}

/// A delivery that is not handled yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The delivery.
    pub delivery: Delivery,
    /// How often handling it failed or was cut off, as far as it was counted.
    pub tries: u32,
}

/// A conversation as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// The agent's machine as JSON.
    pub machine: String,
    /// Tokens set aside for the question that is being asked; 0 while none is.
    pub reserved: u64,
    /// What this turn's questions have cost so far.
    pub spent: Spent,
}

/// Tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Read by models.
    pub input: u64,
    /// Written by models.
    pub output: u64,
    /// Set aside for questions whose answer was lost in a restart: what they cost is not known.
    pub lost: u64,
}

impl Spent {
    /// Nothing.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// One request's worth of something sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// Its name: that of what is said, and the number of the part.
    pub id: String,
    /// How it stands.
    pub state: SendingState,
    /// The provider's name for the message, or its reason to refuse it.
    pub provider: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// When a held one may be tried again.
    pub next_at: Millis,
    /// When it was first tried.
    pub since: Millis,
}

/// How a parcel stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendingState {
    /// On its way. Found by a later instance, its fate is not known.
    Sending,
    /// Clearly not taken; it waits to be tried again.
    Held,
    /// Taken.
    Sent,
    /// It may or may not have been taken; it is not sent again.
    Unknown,
    /// Refused for good.
    Refused,
}

/// A call for a home machine.
#[derive(Debug, Clone, PartialEq)]
pub struct HomeCall {
    /// What is to run.
    pub call: ToolCall,
    /// For which conversation.
    pub conversation: String,
    /// The machine that the person was asked about, where they were asked: no other may run it.
    pub meant: Option<String>,
    /// The machine from which it was ordered: no other may run it, and it is not known to have run.
    pub bridge: Option<String>,
    /// The session over which it was last ordered.
    pub session: Option<String>,
    /// The machine's signed account of its end.
    pub receipt: Option<String>,
    /// Whether that says that it was done.
    pub done: bool,
    /// When it was wished for.
    pub at: Millis,
    /// When it ended or was called off.
    pub ended_at: Option<Millis>,
}

/// A person's rows. What one call changes is on the disk, all of it or nothing, when it returns.
pub trait Rows {
    /// Why they cannot be read or written.
    type Error: From<serde_json::Error> + std::fmt::Display;

    /// Does several things or, at the first error, none of them.
    fn transaction<T>(
        &self,
        body: impl FnMut(&Self) -> Result<T, Self::Error>,
    ) -> Result<T, Self::Error>;

    /// Keeps a delivery as waiting; false if its id is known, handled or not.
    fn admit(&self, delivery: &Delivery, now: Millis) -> Result<bool, Self::Error>;
    /// Keeps a delivery's id as handled and drops its payload; `error` if it was set aside instead.
    fn settle(&self, delivery: &str, error: Option<&str>) -> Result<(), Self::Error>;
    /// The deliveries that wait, oldest first.
    fn waiting(&self) -> Result<Vec<Waiting>, Self::Error>;
    /// Whether this delivery waits.
    fn is_waiting(&self, delivery: &str) -> Result<bool, Self::Error>;
    /// Sets how often handling a waiting delivery has failed.
    fn tried(&self, delivery: &str, tries: u32) -> Result<(), Self::Error>;

    /// A random name for a conversation that begins: twelve letters and digits at the most.
    fn fresh_name(&self) -> Result<String, Self::Error>;
    /// A conversation, if anything was said there.
    fn conversation(&self, id: &str) -> Result<Option<Kept>, Self::Error>;
    /// Keeps a conversation. `open` is whether anything is awaited in it.
    fn keep(&self, id: &str, kept: &Kept, open: bool) -> Result<(), Self::Error>;
    /// The conversations in which something is awaited.
    fn open(&self) -> Result<Vec<String>, Self::Error>;
    /// Puts a conversation that cannot be read out of the way; its transcript stays.
    fn put_away(&self, id: &str, now: Millis) -> Result<(), Self::Error>;
    /// Adds lines to a conversation's transcript.
    fn append(&self, id: &str, lines: &[Entry]) -> Result<(), Self::Error>;
    /// Lets pages follow: what they show of this news and its effects.
    fn show(
        &self,
        id: &str,
        event: &Event,
        effects: &[Effect],
        now: Millis,
    ) -> Result<(), Self::Error>;
    /// Adds to what the day of `now` has cost.
    fn spend(&self, spent: Spent, now: Millis) -> Result<(), Self::Error>;

    /// How a parcel stands.
    fn sending(&self, id: &str) -> Result<Option<Sending>, Self::Error>;
    /// Keeps how a parcel stands.
    fn put_sending(&self, sending: &Sending) -> Result<(), Self::Error>;
    /// The parcels that are held.
    fn held(&self) -> Result<Vec<Sending>, Self::Error>;

    /// A call for a home machine.
    fn call(&self, id: &CallId) -> Result<Option<HomeCall>, Self::Error>;
    /// Keeps a call for a home machine.
    fn put_call(&self, call: &HomeCall) -> Result<(), Self::Error>;

    /// Runs a tool of [`protocol::tools::Place::Worker`]; it touches rows only.
    fn run_tool(
        &self,
        conversation: &str,
        call: &ToolCall,
        now: Millis,
    ) -> Result<Outcome, Self::Error>;

    /// Counts a failure of an act; how many there are now.
    fn count_failure(&self, act: &str, error: &str, now: Millis) -> Result<u32, Self::Error>;

    /// Has the object woken at that time or before: an alarm that rings sooner stays. It is set with the transaction or not at all.
    fn wake_by(&self, at: Millis) -> Result<(), Self::Error>;
}
