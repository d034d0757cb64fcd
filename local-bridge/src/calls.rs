//! Which calls run: news in, actions out. Holds no keys, no tokens, no sockets; what must outlast a crash goes to its [`Records`] first.

use crate::approve::rule::is_wish;
use crate::approve::{Held, Ruling};
use crate::intake::Inflow;
use crate::journal::{Ended, Known, Records};
use protocol::call::{CallId, Outcome, ToolCall, ToolName};
use protocol::token::call_hash;
use protocol::tools::{Grade, bridge_tools};
use protocol::warrant::{CANCEL, PROPOSE};
use protocol::{MAX_TEXT_FRAME, write_frame};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};

/// How many calls run at once; a home machine has other things to do.
const MAX_RUNNING: usize = 4;

/// How many calls may wait for their turn; the Worker's limits are far below.
const MAX_QUEUED: usize = 64;

/// How many calls may wait for a yes at home; a person who is asked more often than that no longer reads.
const MAX_HELD: usize = 16;

/// How many of them may be wishes for rules: what is wished for so often is no longer thought about.
const MAX_WISHES: usize = 8;

/// How many new questions an hour may bring, however fast the ones before are answered or called off.
const MAX_ASKED: usize = 30;

/// The hour in which they are counted.
const ASKED_MILLIS: i64 = 60 * 60 * 1000;

/// How long an acknowledged call is still known. The Worker gives up on a call long before.
const KEPT_MILLIS: i64 = 8 * 24 * 60 * 60 * 1000;

/// What a result's frame holds beside the outcome: two ids, a receipt of about 1.2 KB, punctuation.
const FRAME_OVERHEAD: usize = 4 * 1024;

/// The tool whose bytes travel beside its result, within one connection.
const SEND: &str = "files.send";

/// The tool that receives a file, within one connection, before it begins.
const SAVE: &str = "files.save";

/// The calls of one machine, across all its connections.
#[derive(Debug)]
pub struct Calls<J> {
    records: J,
    connected: bool,
    running: HashMap<CallId, Running>,
    queue: VecDeque<Asked>,
    /// Calls may wait for a yes at home.
    holds: bool,
    /// When the new questions of the last hour were asked.
    asked: VecDeque<i64>,
    attempts: u64,
    /// Ends that the records refused to take; they are noted before the next session begins.
    unnoted: Vec<Unnoted>,
}

/// One call to be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// The call.
    pub call: CallId,
    /// Which run of the call this is; news of another run is stale.
    pub attempt: u64,
    /// The tool.
    pub tool: ToolName,
    /// Its arguments, as yet unchecked against the tool's own type.
    pub arguments: Value,
    /// Whether the person has said yes to it in the chat; the Worker's word for it.
    pub asked: bool,
    /// SHA-256 of the policy under which its owner has said yes to it at home; nothing where nobody was asked there.
    pub yes: Option<String>,
}

/// What can happen. What the Worker says comes between [`News::Welcomed`] and [`News::Lost`] and is checked already.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// Both sides are proven: a session begins.
    Welcomed,
    /// The Worker orders a call.
    Ordered(ToolCall),
    /// The Worker orders a call about which it has asked nobody.
    Unasked(ToolCall),
    /// The Worker orders a call that needs a yes at home.
    Held(Box<Held>),
    /// What becomes of a call that waits for a yes at home is decided, by the question of this digest.
    Ruled {
        /// The call.
        call: CallId,
        /// Of which question.
        digest: String,
        /// What.
        ruling: Ruling,
    },
    /// The Worker has stored a result.
    Acknowledged {
        /// The call.
        call: CallId,
    },
    /// The Worker has room for more of a file.
    Credit {
        /// The call that sends the file.
        call: CallId,
        /// The offset up to which its bytes may travel.
        until: u64,
    },
    /// The Worker sends something of a file for a call.
    Comes(CallId, Inflow),
    /// A run has all that it needs from the Worker; it has changed nothing yet.
    Received {
        /// The call.
        call: CallId,
        /// Which run of it.
        attempt: u64,
    },
    /// A call's run has ended.
    Ended {
        /// The call.
        call: CallId,
        /// Which run of it.
        attempt: u64,
        /// How.
        outcome: Outcome,
        /// SHA-256 of the policy that judged it.
        policy_sha256: String,
    },
    /// The connection is gone, or none came about.
    Lost,
}

/// What to do about it, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Tell the Worker how a call ended, with a receipt.
    Report(Ended),
    /// Tell the owner that a call waits for a yes at home.
    Ask(Box<Held>),
    /// Tell the Worker that a call waits for a yes at home.
    Wait {
        /// The call.
        call: CallId,
        /// The rule that wants the yes.
        why: String,
        /// When the question ends, in milliseconds since 1970.
        until: i64,
    },
    /// Run a call; it ends in [`News::Ended`].
    Start(Order),
    /// End a run early; it still ends in [`News::Ended`], which may come too late to count.
    Stop(CallId),
    /// A file's bytes may travel up to here.
    Credit {
        /// The call that sends the file.
        call: CallId,
        /// The offset.
        until: u64,
    },
    /// Something of a file that a call receives.
    Pass(CallId, Inflow),
    /// A call that has received its file may make its change.
    Go(CallId),
    /// The Worker broke the rules: close the connection. Nothing else follows.
    HangUp(String),
}

/// What is asked under a call's id, and the hash that tells it from anything else.
#[derive(Debug, Clone)]
struct Asked {
    call: ToolCall,
    sha256: String,
    /// Whether the chat has asked about it.
    in_chat: bool,
    /// The question that goes with it, or what its answer was worth.
    home: Home,
}

/// What a call needs from its owner at home.
#[derive(Debug, Clone)]
enum Home {
    Nothing,
    Wanted(Box<Held>),
    /// A yes, under the policy of this SHA-256.
    Said(String),
}

#[derive(Debug)]
struct Unnoted {
    call: CallId,
    outcome: Outcome,
    policy_sha256: String,
}

#[derive(Debug)]
struct Running {
    attempt: u64,
    tool: ToolName,
    /// A call that is still receiving: it has changed nothing, and nothing of it is recorded.
    receives: Option<Asked>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cancel {
    call: CallId,
}

impl<J: Records> Calls<J> {
    /// Takes over the records of an earlier process, which may have died, and settles what it left running.
    pub fn revive(mut records: J, now: i64) -> Result<Self, J::Error> {
        for (call, tool) in records.running()? {
            if repeatable(&tool) {
                records.forget(&call)?;
            } else {
                // Whatever it was, it may have acted already and must not act again.
                let reason = format!(
                    "local-bridge stopped while {tool} was running; whether it took effect is not known"
                );
                records.end(&call, &Outcome::Interrupted { reason }, "", now)?;
            }
        }
        let asked = records.held()?;
        Ok(Self {
            records,
            connected: false,
            running: HashMap::new(),
            queue: VecDeque::new(),
            holds: true, // the process before may have left some
            asked: asked.iter().map(|held| held.opened_at).collect(),
            attempts: 0,
            unnoted: Vec::new(),
        })
    }

    /// Takes news in at `now` (milliseconds since 1970). What must outlast a crash is recorded when this returns. After an error
    /// the connection cannot go on: [`News::Lost`] has to follow.
    pub fn handle(&mut self, news: News, now: i64) -> Result<Vec<Action>, J::Error> {
        match news {
            News::Welcomed => self.welcomed(now),
            News::Ordered(call) => self.ordered(Asked::new(call), now),
            News::Unasked(call) => self.ordered(Asked::unasked(call), now),
            News::Held(held) => self.ordered(Asked::wanting(held), now),
            News::Ruled {
                call,
                digest,
                ruling,
            } => self.ruled(&call, &digest, ruling, now),
            News::Acknowledged { call } => {
                self.records.acknowledge(&call)?;
                Ok(vec![])
            }
            News::Credit { call, until } => Ok(vec![Action::Credit { call, until }]),
            News::Comes(call, inflow) => Ok(vec![Action::Pass(call, inflow)]),
            News::Received { call, attempt } => self.received(&call, attempt),
            News::Ended {
                call,
                attempt,
                outcome,
                policy_sha256,
            } => {
                if self.running.get(&call).map(|running| running.attempt) != Some(attempt) {
                    return Ok(vec![]);
                }
                self.ended(&call, outcome, &policy_sha256, now)
            }
            News::Lost => self.lost(),
        }
    }

    /// Nothing runs and nothing waits to run.
    pub fn idle(&self) -> bool {
        self.running.is_empty() && self.queue.is_empty()
    }

    /// Whether calls may wait for a yes at home, whose time or answer is to be looked for.
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// The calls that wait for a yes at home, with what has been answered.
    pub fn held(&mut self) -> Result<Vec<Held>, J::Error> {
        let held = self.records.held()?;
        self.holds = !held.is_empty();
        Ok(held)
    }

    /// Every result that the Worker may not have is told again.
    fn welcomed(&mut self, now: i64) -> Result<Vec<Action>, J::Error> {
        while let Some(Unnoted {
            call,
            outcome,
            policy_sha256,
        }) = self.unnoted.last()
        {
            self.records.end(call, outcome, policy_sha256, now)?;
            self.unnoted.pop();
        }
        self.connected = true;
        self.records.prune(now - KEPT_MILLIS)?;
        let waiting = self.records.waiting()?;
        Ok(waiting.into_iter().map(Action::Report).collect())
    }

    fn ordered(&mut self, asked: Asked, now: i64) -> Result<Vec<Action>, J::Error> {
        let held = self.question(&asked.call.id)?;
        let before = match self.records.find(&asked.call.id)? {
            Some(Known::Ended(ended)) if ended.call_sha256 == asked.sha256 => {
                return self.again(asked, ended, now);
            }
            Some(Known::Ended(Ended { call_sha256, .. }) | Known::Running { call_sha256 }) => {
                Some(call_sha256)
            }
            None => self
                .waiting(&asked.call.id)
                .map(|at| self.queue[at].sha256.clone())
                .or_else(|| self.running.get(&asked.call.id)?.receives_sha256())
                .or(held.as_ref().map(|held| held.call_sha256.clone())),
        };
        match before {
            None => self.take(asked, now),
            // Its end will be told.
            Some(before) if before == asked.sha256 => Ok(held
                .filter(|held| held.answer.is_none())
                .and_then(|held| self.wait(held))
                .into_iter()
                .collect()),
            Some(_) => Ok(vec![Action::HangUp(format!(
                "call {} came back asking for something else",
                asked.call.id
            ))]),
        }
    }

    /// Where a call waits for its turn.
    fn waiting(&self, call: &CallId) -> Option<usize> {
        self.queue.iter().position(|asked| asked.call.id == *call)
    }

    /// An ended call is answered from the records; only a file whose bytes the Worker has lost is sent again.
    fn again(&mut self, asked: Asked, ended: Ended, now: i64) -> Result<Vec<Action>, J::Error> {
        if asked.call.tool.0 == SEND && !ended.acknowledged {
            self.records.forget(&asked.call.id)?;
            return self.take(asked, now);
        }
        Ok(self.report(ended).into_iter().collect())
    }

    fn take(&mut self, asked: Asked, now: i64) -> Result<Vec<Action>, J::Error> {
        if asked.call.tool.0 == CANCEL {
            return self.cancel(&asked, now);
        }
        if matches!(asked.home, Home::Wanted(_)) || is_wish(&asked.call) {
            if let Some(full) = self.no_room(&asked.call, now)? {
                return self.end_unrun(&asked, &Outcome::failed(full), now);
            }
            self.asked.push_back(now); // a wish that brings no question has cost a look at all programs
        }
        if let Home::Wanted(held) = asked.home {
            return self.hold(*held);
        }
        if self.queue.len() >= MAX_QUEUED {
            let full = Outcome::failed("too many calls are waiting on this machine; try later");
            return self.end_unrun(&asked, &full, now);
        }
        self.queue.push_back(asked);
        self.start_next()
    }

    /// Whether a question about a call would be taken on; there is none about one that is known.
    pub fn may_be_asked(&mut self, call: &ToolCall, now: i64) -> Result<bool, J::Error> {
        let is_known = self.running.contains_key(&call.id)
            || self.waiting(&call.id).is_some()
            || self.records.find(&call.id)?.is_some()
            || self.question(&call.id)?.is_some();
        Ok(!is_known && self.no_room(call, now)?.is_none())
    }

    /// Why a question about a call cannot be taken on, beside those that lie open and after those of the last hour.
    fn no_room(&mut self, call: &ToolCall, now: i64) -> Result<Option<&'static str>, J::Error> {
        let open = self.held()?;
        if open.len() >= MAX_HELD {
            return Ok(Some(
                "too many calls wait for a yes at home on this machine; they have to be answered first",
            ));
        }
        if is_wish(call) {
            let call_sha256 = call_hash(&call.tool, &call.arguments);
            let mut wishes = open.iter().filter(|open| open.is_wish());
            if wishes.clone().any(|open| open.call_sha256 == call_sha256) {
                return Ok(Some("this very rule waits for a yes at home already"));
            }
            if wishes.nth(MAX_WISHES - 1).is_some() {
                return Ok(Some(
                    "too many rules wait for a yes at home on this machine; they have to be answered first",
                ));
            }
        }
        Ok((!self.may_ask(now)).then_some(
            "this machine has asked for 30 yeses at home within an hour and asks for no more; try later",
        ))
    }

    /// Whether the last hour has room for one more question. One that is asked anew because its owner changed the policy does not count.
    fn may_ask(&mut self, now: i64) -> bool {
        // What lies ahead was asked before the clock was set back.
        let hour = now - ASKED_MILLIS + 1..=now;
        self.asked.retain(|at| hour.contains(at));
        self.asked.len() < MAX_ASKED
    }

    /// The question about a call that lies open.
    fn question(&mut self, call: &CallId) -> Result<Option<Held>, J::Error> {
        if !self.holds {
            return Ok(None);
        }
        let held = self.held()?;
        Ok(held.into_iter().find(|held| held.call.id == *call))
    }

    /// Nothing begins: no more than the question is on the disk.
    fn hold(&mut self, held: Held) -> Result<Vec<Action>, J::Error> {
        self.records.hold(&held)?;
        self.holds = true;
        let ask = Action::Ask(Box::new(held.clone()));
        Ok(std::iter::once(ask).chain(self.wait(held)).collect())
    }

    fn wait(&self, held: Held) -> Option<Action> {
        self.connected.then_some(Action::Wait {
            call: held.call.id,
            why: held.why,
            until: held.expires_at,
        })
    }

    /// A ruling holds for the question that it was about, and for as long as that lies open: it is taken off the list when the call begins.
    fn ruled(
        &mut self,
        call: &CallId,
        digest: &str,
        ruling: Ruling,
        now: i64,
    ) -> Result<Vec<Action>, J::Error> {
        let Some(held) = self.question(call)?.filter(|held| held.digest == digest) else {
            return Ok(vec![]);
        };
        match ruling {
            Ruling::Run { yes } => {
                if !self.may_queue(&held) {
                    return Ok(vec![]); // it is looked at again
                }
                let mut asked = Asked::unasked(held.call); // what counts is the yes at home
                asked.home = yes.map_or(Home::Nothing, Home::Said);
                self.queue.push_back(asked);
                self.start_next()
            }
            // Its yes was in time.
            Ruling::Lapse { .. } if self.running.contains_key(call) => Ok(vec![]),
            Ruling::Refuse { reason } | Ruling::Lapse { reason } => {
                let mut actions = self.take_off(call);
                let refused = Outcome::denied(reason);
                actions.extend(self.end_unrun(&Asked::new(held.call), &refused, now)?);
                actions.extend(self.start_next()?);
                Ok(actions)
            }
            Ruling::Ask(again) => {
                let mut actions = self.take_off(call);
                actions.extend(self.hold(*again)?);
                actions.extend(self.start_next()?);
                Ok(actions)
            }
        }
    }

    /// Whether a call that has its yes may join those that wait for their turn.
    fn may_queue(&self, held: &Held) -> bool {
        let call = &held.call;
        let is_there = self.waiting(&call.id).is_some() || self.running.contains_key(&call.id);
        let is_full = self.queue.len() >= MAX_QUEUED;
        let has_no_way = [SEND, SAVE].contains(&&*call.tool.0) && !self.connected;
        // A rule that is made changes the policy under which the yes to the next one was said.
        let has_to_wait = is_wish(call)
            && (self.running.values().any(|run| run.tool.0 == PROPOSE)
                || self.queue.iter().any(|asked| is_wish(&asked.call)));
        !(is_there || is_full || has_no_way || has_to_wait)
    }

    /// Nothing comes of a call's turn, nor of the file that it is receiving.
    fn take_off(&mut self, call: &CallId) -> Vec<Action> {
        self.waiting(call).and_then(|at| self.queue.remove(at));
        let receiving = self.break_off(call);
        let stop = receiving.map(|asked| Action::Stop(asked.call.id));
        stop.into_iter().collect()
    }

    /// A call that is still receiving runs no more; what its run tells from here on counts for nothing.
    fn break_off(&mut self, call: &CallId) -> Option<Asked> {
        self.running.get(call)?.receives.as_ref()?;
        self.running.remove(call)?.receives
    }

    /// Begins what there is room for. Where the records take some and then refuse one, those that they took do start: recorded as begun,
    /// they would count as running for ever. The one stays first in line, and the next news that begins a call tells the error.
    fn start_next(&mut self) -> Result<Vec<Action>, J::Error> {
        let mut actions = Vec::new();
        while self.running.len() < MAX_RUNNING {
            let Some(asked) = self.queue.pop_front() else {
                break;
            };
            // Recorded before it is started: a crash in between costs a call, never runs one twice. One that receives a file first has
            // not begun before that is here.
            let receives = (asked.call.tool.0 == SAVE).then(|| asked.clone());
            let begun = match receives {
                Some(_) => Ok(()),
                None => self
                    .records
                    .begin(&asked.call.id, &asked.call.tool, &asked.sha256),
            };
            if let Err(error) = begun {
                if actions.is_empty() {
                    return Err(error);
                }
                self.queue.push_front(asked);
                break;
            }
            let Asked {
                call,
                home,
                in_chat,
                ..
            } = asked;
            self.attempts += 1;
            let running = Running {
                attempt: self.attempts,
                tool: call.tool.clone(),
                receives,
            };
            self.running.insert(call.id.clone(), running);
            actions.push(Action::Start(Order {
                call: call.id,
                attempt: self.attempts,
                tool: call.tool,
                arguments: call.arguments,
                asked: in_chat,
                yes: match home {
                    Home::Said(policy_sha256) => Some(policy_sha256),
                    Home::Nothing | Home::Wanted(_) => None,
                },
            }));
        }
        Ok(actions)
    }

    /// A call has its file: it counts as begun from here on.
    fn received(&mut self, call: &CallId, attempt: u64) -> Result<Vec<Action>, J::Error> {
        let running = self.running.get_mut(call);
        let Some(running) = running.filter(|running| running.attempt == attempt) else {
            return Ok(vec![]); // of a run that a lost connection has ended
        };
        if let Some(asked) = &running.receives {
            self.records.begin(call, &running.tool, &asked.sha256)?;
            running.receives = None;
        }
        Ok(vec![Action::Go(call.clone())])
    }

    fn cancel(&mut self, asked: &Asked, now: i64) -> Result<Vec<Action>, J::Error> {
        let target = match serde_json::from_value::<Cancel>(asked.call.arguments.clone()) {
            Ok(Cancel { call }) => call,
            Err(error) => {
                let bad = Outcome::failed(format!("arguments are not understood: {error}"));
                return self.end_unrun(asked, &bad, now);
            }
        };
        let mut told = format!("{target} is not running here");
        let queued = self.waiting(&target).and_then(|at| self.queue.remove(at));
        let receiving = self.break_off(&target);
        let stop = receiving.as_ref().map(|_| Action::Stop(target.clone()));
        let mut actions: Vec<Action> = stop.into_iter().collect();
        let held = self.question(&target)?.map(|held| Asked::new(held.call));
        if let Some(unbegun) = receiving.or(queued).or(held) {
            actions.extend(self.end_unrun(&unbegun, &Outcome::Cancelled, now)?);
            told = format!("{target} had not begun and will not");
        } else if self.running.contains_key(&target) {
            actions.push(Action::Stop(target.clone()));
            told = format!("{target} is being stopped");
        }
        actions.extend(self.end_unrun(asked, &Outcome::done(told), now)?);
        actions.extend(self.start_next()?);
        Ok(actions)
    }

    /// Ends a call that never runs.
    fn end_unrun(
        &mut self,
        asked: &Asked,
        outcome: &Outcome,
        now: i64,
    ) -> Result<Vec<Action>, J::Error> {
        let Asked { call, sha256, .. } = asked;
        self.records.begin(&call.id, &call.tool, sha256)?;
        let ended = self.end(&call.id, outcome.clone(), "", now)?;
        Ok(ended
            .and_then(|ended| self.report(ended))
            .into_iter()
            .collect())
    }

    fn ended(
        &mut self,
        call: &CallId,
        outcome: Outcome,
        policy_sha256: &str,
        now: i64,
    ) -> Result<Vec<Action>, J::Error> {
        // Recorded before it is told: a result that was told is never taken back by a crash.
        let running = self.running.remove(call);
        if let Some(Running {
            tool,
            receives: Some(asked),
            ..
        }) = running
        {
            self.records.begin(call, &tool, &asked.sha256)?; // it ended before it could begin
        }
        let ended = self.end(call, fitting(outcome), policy_sha256, now)?;
        let report = ended.and_then(|ended| self.report(ended));
        let mut actions: Vec<Action> = report.into_iter().collect();
        actions.extend(self.start_next()?);
        Ok(actions)
    }

    /// Notes an end. One that the records refuse is kept in mind: a call that no longer runs would count as running for ever.
    fn end(
        &mut self,
        call: &CallId,
        outcome: Outcome,
        policy_sha256: &str,
        now: i64,
    ) -> Result<Option<Ended>, J::Error> {
        let noted = self.records.end(call, &outcome, policy_sha256, now);
        if noted.is_err() {
            let (call, policy_sha256) = (call.clone(), policy_sha256.to_owned());
            self.unnoted.push(Unnoted {
                call,
                outcome,
                policy_sha256,
            });
        }
        noted
    }

    /// What runs goes on; what waits its turn would act without a Worker that still means it; a file's bytes have lost their way, and who
    /// waits for them has not begun. What
    /// waits for a yes at home goes on waiting: its owner is told what it is, and says whether it is still meant.
    fn lost(&mut self) -> Result<Vec<Action>, J::Error> {
        self.connected = false;
        self.queue.clear();
        let sending: Vec<CallId> = self
            .running
            .iter()
            .filter(|(_, running)| {
                running.receives.is_some() || running.tool.0 == SEND && repeatable(&running.tool)
            })
            .map(|(call, _)| call.clone())
            .collect();
        let mut actions = Vec::new();
        for call in sending {
            self.records.forget(&call)?;
            self.running.remove(&call);
            actions.push(Action::Stop(call));
        }
        Ok(actions)
    }

    /// A result to tell; without a session it stays in the records until there is one.
    fn report(&self, ended: Ended) -> Option<Action> {
        self.connected.then_some(Action::Report(ended))
    }
}

impl Running {
    fn receives_sha256(&self) -> Option<String> {
        let asked = self.receives.as_ref()?;
        Some(asked.sha256.clone())
    }
}

impl Asked {
    fn new(call: ToolCall) -> Self {
        Self {
            sha256: call_hash(&call.tool, &call.arguments),
            in_chat: true,
            home: Home::Nothing,
            call,
        }
    }

    fn unasked(call: ToolCall) -> Self {
        Self {
            in_chat: false,
            ..Self::new(call)
        }
    }

    fn wanting(held: Box<Held>) -> Self {
        Self {
            home: Home::Wanted(held.clone()),
            ..Self::new(held.call)
        }
    }
}

/// Running it twice does no more than running it once.
fn repeatable(tool: &ToolName) -> bool {
    bridge_tools()
        .iter()
        .any(|spec| spec.name == *tool && spec.grade == Grade::Read)
}

/// An outcome whose frame the Worker will read. A tool's own limits keep far below; a text of quotes and backslashes may not.
fn fitting(outcome: Outcome) -> Outcome {
    let travels = |outcome: &Outcome| {
        let text = serde_json::to_string(outcome).unwrap_or_default();
        write_frame(&text).len() + FRAME_OVERHEAD <= MAX_TEXT_FRAME
    };
    let mut outcome = outcome;
    while !travels(&outcome) {
        outcome = match outcome {
            Outcome::Done { text, file } => Outcome::Done {
                text: halved(&text),
                file,
            },
            Outcome::Failed { reason } => Outcome::failed(halved(&reason)),
            Outcome::Denied { reason } => Outcome::denied(halved(&reason)),
            Outcome::Interrupted { reason } => Outcome::Interrupted {
                reason: halved(&reason),
            },
            Outcome::Cancelled => return Outcome::Cancelled,
        };
    }
    outcome
}

fn halved(text: &str) -> String {
    let middle = text.floor_char_boundary(text.len() / 2);
    format!("{}\n[cut: too long to travel]", &text[..middle])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Journal;
    use serde_json::json;

    const NOW: i64 = 1_790_000_000_000;

    struct World {
        calls: Calls<Journal>,
    }

    impl World {
        fn new() -> Self {
            let journal = Journal::in_memory().unwrap();
            let calls = Calls::revive(journal, NOW).unwrap();
            let mut world = Self { calls };
            assert_eq!(world.hears(News::Welcomed), vec![]);
            world
        }

        fn hears(&mut self, news: News) -> Vec<Action> {
            self.calls.handle(news, NOW).unwrap()
        }

        fn order(&mut self, call: &str, tool: &str, arguments: Value) -> Vec<Action> {
            self.hears(News::Ordered(ToolCall {
                id: id(call),
                tool: ToolName::new(tool),
                arguments,
            }))
        }

        fn end(&mut self, started: &[Action], outcome: Outcome) -> Vec<Action> {
            let [Action::Start(order)] = started else {
                panic!("nothing started: {started:?}");
            };
            self.hears(News::Ended {
                call: order.call.clone(),
                attempt: order.attempt,
                outcome,
                policy_sha256: "p".into(),
            })
        }

        fn acknowledge(&mut self, call: &str) {
            let stored = News::Acknowledged { call: id(call) };
            assert_eq!(self.hears(stored), vec![]);
        }
    }

    /// A question about a call, asked `at` and open for ten.
    fn held(call: &str, tool: &str, arguments: Value, at: i64) -> Box<Held> {
        let tool = ToolName::new(tool);
        Box::new(Held {
            id: format!("{call}-{at}"),
            call_sha256: call_hash(&tool, &arguments),
            command: None,
            machine: "mac-mini".into(),
            shown: "shown".into(),
            why: "policy.toml line 1".into(),
            policy_sha256: "p".into(),
            digest: format!("{call}-{at}"),
            opened_at: at,
            expires_at: at + 10,
            answer: None,
            call: ToolCall {
                id: id(call),
                tool,
                arguments,
            },
        })
    }

    fn run(held: &Held) -> News {
        let yes = Some("p".to_owned());
        News::Ruled {
            call: held.call.id.clone(),
            digest: held.digest.clone(),
            ruling: Ruling::Run { yes },
        }
    }

    fn waits(held: &Held) -> Action {
        Action::Wait {
            call: held.call.id.clone(),
            why: held.why.clone(),
            until: held.expires_at,
        }
    }

    fn id(text: &str) -> CallId {
        CallId(text.into())
    }

    fn outcomes(actions: &[Action]) -> Vec<(&str, Outcome)> {
        let told = actions.iter().map(|action| {
            let Action::Report(Ended { call, outcome, .. }) = action else {
                panic!("not a result: {action:?}");
            };
            (call.0.as_str(), serde_json::from_str(outcome).unwrap())
        });
        told.collect()
    }

    #[test]
    fn a_call_runs_once_and_is_then_answered_from_the_journal() {
        let mut world = World::new();
        let write = json!({"path": "a", "text": "b"});
        let started = world.order("c1", "files.write", write.clone());
        assert_eq!(world.order("c1", "files.write", write.clone()), vec![]);
        let first = world.end(&started, Outcome::done("ok"));
        assert_eq!(outcomes(&first), vec![("c1", Outcome::done("ok"))]);
        let second = world.order("c1", "files.write", write.clone());
        assert_eq!(outcomes(&second), vec![("c1", Outcome::done("ok"))]);
        world.hears(News::Lost);
        let again = world.hears(News::Welcomed);
        assert_eq!(outcomes(&again), vec![("c1", Outcome::done("ok"))]);
        let third = world.order("c1", "files.write", write);
        assert_eq!(outcomes(&third), vec![("c1", Outcome::done("ok"))]);
        world.acknowledge("c1");
        assert_eq!(world.hears(News::Welcomed), vec![]);
    }

    #[test]
    fn an_id_that_comes_back_with_other_arguments_ends_the_session() {
        let mut world = World::new();
        let started = world.order("c1", "files.write", json!({"path": "a", "text": "b"}));
        let other = json!({"path": "a", "text": "c"});
        let why = "call c1 came back asking for something else".to_owned();
        let hang_up = vec![Action::HangUp(why)];
        assert_eq!(world.order("c1", "files.write", other.clone()), hang_up);
        world.end(&started, Outcome::done("ok"));
        assert_eq!(world.order("c1", "files.write", other), hang_up);
    }

    #[test]
    fn a_waiting_id_that_comes_back_with_other_arguments_ends_the_session() {
        let mut world = World::new();
        for call in ["c1", "c2", "c3", "c4", "c5"] {
            world.order(call, "files.read", json!({"path": "a"}));
        }
        let same = world.order("c5", "files.read", json!({"path": "a"}));
        assert_eq!(same, vec![]);
        let actions = world.order("c5", "files.read", json!({"path": "b"}));
        let why = "call c5 came back asking for something else".to_owned();
        assert_eq!(actions, vec![Action::HangUp(why)]);
    }

    #[test]
    fn a_fifth_call_waits_and_starts_in_order() {
        let mut world = World::new();
        let first = world.order("c1", "files.list", json!({}));
        for call in ["c2", "c3", "c4"] {
            assert_eq!(world.order(call, "files.list", json!({})).len(), 1);
        }
        assert_eq!(world.order("c5", "files.list", json!({})), vec![]);
        assert_eq!(world.order("c6", "files.list", json!({})), vec![]);
        let actions = world.end(&first, Outcome::done("ok"));
        assert!(matches!(&actions[1..], [Action::Start(order)] if order.call.0 == "c5"));
        let queued = world.order("x1", CANCEL, json!({"call": "c6"}));
        assert_eq!(
            outcomes(&queued),
            vec![
                ("c6", Outcome::Cancelled),
                ("x1", Outcome::done("c6 had not begun and will not"))
            ]
        );
    }

    #[test]
    fn when_too_many_wait_the_next_is_turned_away_and_none_waits_beyond_a_loss() {
        let mut world = World::new();
        for call in 0..MAX_RUNNING + MAX_QUEUED {
            world.order(&format!("c{call}"), "files.list", json!({}));
        }
        let full = Outcome::failed("too many calls are waiting on this machine; try later");
        let actions = world.order("over", "files.list", json!({}));
        assert_eq!(outcomes(&actions), vec![("over", full)]);
        assert_eq!(world.hears(News::Lost), vec![]);
        assert_eq!(world.calls.running.len(), MAX_RUNNING);
        assert!(world.calls.queue.is_empty());
    }

    #[test]
    fn a_cancelled_run_is_stopped_and_its_own_end_tells_how() {
        let mut world = World::new();
        let started = world.order("c1", "shell.run", json!({"argv": ["sleep", "9"]}));
        let actions = world.order("x1", CANCEL, json!({"call": "c1"}));
        assert_eq!(actions[0], Action::Stop(id("c1")));
        assert_eq!(
            outcomes(&actions[1..]),
            vec![("x1", Outcome::done("c1 is being stopped"))]
        );
        let actions = world.end(&started, Outcome::Cancelled);
        assert_eq!(outcomes(&actions), vec![("c1", Outcome::Cancelled)]);
        let actions = world.order("x2", CANCEL, json!({"call": "c1"}));
        assert_eq!(
            outcomes(&actions),
            vec![("x2", Outcome::done("c1 is not running here"))]
        );
    }

    #[test]
    fn a_lost_connection_ends_a_files_journey_and_a_new_order_starts_it_afresh() {
        let mut world = World::new();
        let path = json!({"path": "a"});
        let started = world.order("c1", SEND, path.clone());
        let actions = world.hears(News::Lost);
        assert_eq!(actions, vec![Action::Stop(id("c1"))]);
        assert_eq!(world.hears(News::Welcomed), vec![]);
        let again = world.order("c1", SEND, path.clone());
        assert_eq!(world.end(&started, Outcome::done("stale")), vec![]);
        let actions = world.end(&again, Outcome::done("sent"));
        assert_eq!(outcomes(&actions), vec![("c1", Outcome::done("sent"))]);
        let unstored = world.order("c1", SEND, path.clone());
        assert!(matches!(unstored[..], [Action::Start(_)]));
        world.end(&unstored, Outcome::done("sent"));
        world.acknowledge("c1");
        let actions = world.order("c1", SEND, path);
        assert_eq!(outcomes(&actions), vec![("c1", Outcome::done("sent"))]);
    }

    #[test]
    fn a_call_that_receives_a_file_begins_when_that_is_here_and_not_before() {
        let mut world = World::new();
        let arguments = json!({"file": "in-0b", "to": "a"});
        let started = world.order("c1", SAVE, arguments.clone());
        assert_eq!(world.calls.records.find(&id("c1")).unwrap(), None);
        assert_eq!(world.order("c1", SAVE, arguments.clone()), vec![]);
        let other = world.order("c1", SAVE, json!({"file": "in-0c", "to": "a"}));
        assert!(matches!(other[..], [Action::HangUp(_)]));
        // Cut off, it leaves no trace and comes anew; what its first run still tells counts for nothing.
        assert_eq!(world.hears(News::Lost), vec![Action::Stop(id("c1"))]);
        assert_eq!(world.hears(News::Welcomed), vec![]);
        let again = world.order("c1", SAVE, arguments.clone());
        assert_eq!(world.hears(received(&started)), vec![]);
        let go = world.hears(received(&again));
        assert_eq!(go, vec![Action::Go(id("c1"))]);
        let known = world.calls.records.find(&id("c1")).unwrap();
        assert!(matches!(known, Some(Known::Running { .. })));
        // From here on it is done once, whatever becomes of the line.
        assert_eq!(world.hears(News::Lost), vec![]);
        assert_eq!(world.end(&again, Outcome::done("saved")), vec![]);
        let told = world.hears(News::Welcomed);
        assert_eq!(outcomes(&told), vec![("c1", Outcome::done("saved"))]);
        let third = world.order("c1", SAVE, arguments);
        assert_eq!(outcomes(&third), vec![("c1", Outcome::done("saved"))]);
    }

    #[test]
    fn a_file_that_cannot_be_received_ends_its_call_and_a_yes_for_it_is_not_used_up() {
        let mut world = World::new();
        let started = world.order("c1", SAVE, json!({}));
        let told = world.end(&started, Outcome::failed("damaged"));
        assert_eq!(outcomes(&told), vec![("c1", Outcome::failed("damaged"))]);
        let held = held("c2", SAVE, json!({}), NOW);
        world.hears(News::Held(held.clone()));
        let started = world.hears(run(&held));
        assert!(matches!(started[..], [Action::Start(_)]));
        assert_eq!(world.hears(run(&held)), vec![], "it runs already");
        world.hears(News::Lost);
        assert_eq!(world.hears(run(&held)), vec![], "there is no line for it");
        world.hears(News::Welcomed);
        let started = world.hears(run(&held));
        let told = world.end(&started, Outcome::done("saved"));
        assert_eq!(outcomes(&told), vec![("c2", Outcome::done("saved"))]);
        assert_eq!(world.calls.held().unwrap(), vec![]);
    }

    fn ruled(held: &Held, ruling: Ruling) -> News {
        News::Ruled {
            call: held.call.id.clone(),
            digest: held.digest.clone(),
            ruling,
        }
    }

    /// What the run that these actions start says when its file is here.
    fn received(started: &[Action]) -> News {
        let Some(Action::Start(order)) = started.last() else {
            panic!("nothing started: {started:?}");
        };
        News::Received {
            call: order.call.clone(),
            attempt: order.attempt,
        }
    }

    #[test]
    fn what_is_asked_anew_while_its_file_comes_is_stopped_and_begins_under_the_new_yes_alone() {
        let mut world = World::new();
        let first = held("c1", SAVE, json!({}), NOW);
        world.hears(News::Held(first.clone()));
        let started = world.hears(run(&first));
        let again = held("c1", SAVE, json!({}), NOW + 5);
        let asked = world.hears(ruled(&first, Ruling::Ask(again.clone())));
        let stop = Action::Stop(id("c1"));
        assert_eq!(asked, vec![stop, Action::Ask(again.clone()), waits(&again)]);
        assert_eq!(world.hears(received(&started)), vec![]);
        assert_eq!(world.end(&started, Outcome::Cancelled), vec![]);
        assert_eq!(world.calls.held().unwrap(), vec![*again.clone()]);
        let started = world.hears(run(&again));
        let go = world.hears(received(&started));
        assert_eq!(go, vec![Action::Go(id("c1"))]);
        assert_eq!(world.calls.held().unwrap(), vec![]);
    }

    #[test]
    fn what_is_refused_or_called_off_while_its_file_comes_is_stopped_and_its_end_is_told_once() {
        let refuse = Ruling::Refuse {
            reason: "frozen".into(),
        };
        let (stop, cancel) = (Action::Stop(id("c1")), json!({"call": "c1"}));
        for is_refused in [true, false] {
            for has_question in [true, false] {
                let mut world = World::new();
                let held = held("c1", SAVE, json!({}), NOW);
                let started = if has_question {
                    world.hears(News::Held(held.clone()));
                    world.hears(run(&held))
                } else {
                    world.order("c1", SAVE, json!({}))
                };
                let others = ["r1", "r2", "r3"].map(|call| world.order(call, "t", json!({})));
                assert!(others.iter().all(|started| started.len() == 1));
                assert_eq!(world.order("r4", "t", json!({})), vec![], "it has to wait");
                let (told, expected) = match (is_refused, has_question) {
                    (true, false) => continue, // nobody was asked
                    (true, true) => {
                        let denied = ("c1", Outcome::denied("frozen"));
                        (world.hears(ruled(&held, refuse.clone())), vec![denied])
                    }
                    (false, _) => {
                        let off = Outcome::done("c1 had not begun and will not");
                        let told = world.order("x1", CANCEL, cancel.clone());
                        (told, vec![("c1", Outcome::Cancelled), ("x1", off)])
                    }
                };
                let ends = 1 + expected.len();
                assert_eq!(told[0], stop);
                assert_eq!(outcomes(&told[1..ends]), expected);
                assert!(
                    matches!(&told[ends..], [Action::Start(order)] if order.call.0 == "r4"),
                    "its turn has come: {told:?}"
                );
                assert_eq!(world.hears(received(&started)), vec![]);
                assert_eq!(world.end(&started, Outcome::Cancelled), vec![]);
                assert_eq!(world.calls.held().unwrap(), vec![]);
                world.hears(News::Lost);
                let again = world.hears(News::Welcomed);
                assert_eq!(outcomes(&again), expected);
            }
        }
    }

    #[test]
    fn a_yes_in_time_does_not_lapse_while_its_file_comes_and_lapses_where_it_has_not_begun() {
        let mut world = World::new();
        let lapse = Ruling::Lapse {
            reason: "late".into(),
        };
        let comes = held("c1", SAVE, json!({}), NOW);
        world.hears(News::Held(comes.clone()));
        let started = world.hears(run(&comes));
        assert_eq!(world.hears(ruled(&comes, lapse.clone())), vec![]);
        let go = world.hears(received(&started));
        assert_eq!(go, vec![Action::Go(id("c1"))]);
        let told = world.end(&started, Outcome::done("saved"));
        assert_eq!(outcomes(&told), vec![("c1", Outcome::done("saved"))]);
        let waits = held("c2", SAVE, json!({}), NOW);
        world.hears(News::Held(waits.clone()));
        let told = world.hears(ruled(&waits, lapse));
        assert_eq!(outcomes(&told), vec![("c2", Outcome::denied("late"))]);
        assert_eq!(world.calls.held().unwrap(), vec![]);
    }

    #[test]
    fn wishes_that_bring_no_question_count_as_well_and_known_ones_are_not_looked_at() {
        let mut world = World::new();
        let wish = |call: usize| ToolCall {
            id: id(&format!("w{call}")),
            tool: ToolName::new(PROPOSE),
            arguments: json!({"allow": [call.to_string()]}),
        };
        for call in 0..MAX_ASKED {
            assert!(world.calls.may_be_asked(&wish(call), NOW).unwrap());
            let started = world.hears(News::Unasked(wish(call)));
            assert!(!world.calls.may_be_asked(&wish(call), NOW).unwrap());
            world.end(&started, Outcome::done("it needs no rule"));
            assert!(!world.calls.may_be_asked(&wish(call), NOW).unwrap());
        }
        assert!(!world.calls.may_be_asked(&wish(90), NOW).unwrap());
        let often = "this machine has asked for 30 yeses at home within an hour and asks for no more; try later";
        let over = world.hears(News::Unasked(wish(90)));
        assert_eq!(outcomes(&over), vec![("w90", Outcome::failed(often))]);
        let later = NOW + ASKED_MILLIS;
        assert!(world.calls.may_be_asked(&wish(91), later).unwrap());
    }

    #[test]
    fn one_wish_begins_at_a_time_for_the_next_is_about_another_policy_then() {
        let mut world = World::new();
        let wish = |call: &str, word: &str| held(call, PROPOSE, json!({"allow": [word]}), NOW);
        let (one, two) = (wish("c1", "ls"), wish("c2", "cat"));
        for held in [&one, &two] {
            world.hears(News::Held(held.clone()));
        }
        let started = world.hears(run(&one));
        assert!(matches!(started[..], [Action::Start(_)]));
        assert_eq!(world.hears(run(&two)), vec![]);
        world.end(&started, Outcome::done("made"));
        let again = held("c2", PROPOSE, json!({"allow": ["cat"]}), NOW + 5);
        let asked = world.hears(ruled(&two, Ruling::Ask(again.clone())));
        assert_eq!(asked.last(), Some(&waits(&again)));
        assert!(matches!(world.hears(run(&again))[..], [Action::Start(_)]));
    }

    #[test]
    fn a_command_that_ends_while_the_line_is_down_is_told_at_the_next_session() {
        let mut world = World::new();
        let started = world.order("c1", "shell.run", json!({"argv": ["true"]}));
        assert_eq!(world.hears(News::Lost), vec![]);
        assert_eq!(world.end(&started, Outcome::done("ok")), vec![]);
        let actions = world.hears(News::Welcomed);
        assert_eq!(outcomes(&actions), vec![("c1", Outcome::done("ok"))]);
    }

    #[test]
    fn after_a_crash_reads_may_run_again_and_the_rest_is_reported_as_interrupted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let mut journal = Journal::open(&path).unwrap();
        for (call, tool) in [("r", "files.read"), ("w", "files.write")] {
            journal.begin(&id(call), &ToolName::new(tool), "h").unwrap();
        }
        drop(journal);
        let calls = Calls::revive(Journal::open(&path).unwrap(), 2).unwrap();
        assert_eq!(calls.records.find(&id("r")).unwrap(), None);
        let Some(Known::Ended(ended)) = calls.records.find(&id("w")).unwrap() else {
            panic!("not ended");
        };
        assert!(ended.outcome.contains("interrupted"), "{}", ended.outcome);
        assert_eq!(calls.records.waiting().unwrap(), vec![ended]);
    }

    #[test]
    fn a_result_waits_until_it_is_acknowledged_and_is_dropped_eight_days_later() {
        let mut world = World::new();
        let started = world.order("c1", "files.write", json!({}));
        let told = world.end(&started, Outcome::done("ok"));
        let mut welcomed = |acknowledged: bool, at: i64| {
            if acknowledged {
                world.acknowledge("c1");
            }
            let told = world.calls.handle(News::Welcomed, at).unwrap();
            (told, world.calls.records.find(&id("c1")).unwrap().is_some())
        };
        assert_eq!(welcomed(false, NOW + KEPT_MILLIS + 1), (told, true));
        assert_eq!(welcomed(true, NOW + KEPT_MILLIS), (vec![], true));
        assert_eq!(welcomed(true, NOW + KEPT_MILLIS + 1), (vec![], false));
    }

    #[test]
    fn a_held_call_has_not_begun_and_its_yes_is_used_up_when_it_does() {
        let mut world = World::new();
        let held = held("c1", "shell.run", json!({"argv": ["sh"]}), NOW);
        let asked = vec![Action::Ask(held.clone()), waits(&held)];
        assert_eq!(world.hears(News::Held(held.clone())), asked);
        assert_eq!(world.calls.records.find(&id("c1")).unwrap(), None);
        assert!(world.calls.idle() && world.calls.holds());
        // Ordered again, it is not asked about again; something else under its id ends the session.
        assert_eq!(world.hears(News::Held(held.clone())), vec![waits(&held)]);
        let other = world.order("c1", "shell.run", json!({"argv": ["ls"]}));
        assert!(matches!(other[..], [Action::HangUp(_)]));
        let stale = News::Ruled {
            call: id("c1"),
            digest: "of another question".into(),
            ruling: Ruling::Run { yes: None },
        };
        assert_eq!(world.hears(stale), vec![]);
        let started = world.hears(run(&held));
        let [Action::Start(order)] = &started[..] else {
            panic!("{started:?}");
        };
        assert_eq!(order.yes.as_deref(), Some("p"));
        assert_eq!(world.hears(run(&held)), vec![]);
        assert_eq!(world.calls.held().unwrap(), vec![]);
        assert!(!world.calls.holds());
        let told = world.end(&started, Outcome::done("ok"));
        assert_eq!(outcomes(&told), vec![("c1", Outcome::done("ok"))]);
        assert_eq!(world.hears(run(&held)), vec![]);
    }

    #[test]
    fn a_yes_waits_for_its_turn_and_outlives_a_lost_line_that_it_waited_through() {
        let mut world = World::new();
        let held = held("c1", "shell.run", json!({}), NOW);
        world.hears(News::Held(held.clone()));
        let running: Vec<Vec<Action>> = ["r1", "r2", "r3", "r4"]
            .map(|call| world.order(call, "shell.run", json!({})))
            .into();
        assert_eq!(world.hears(run(&held)), vec![]);
        assert_eq!(world.hears(run(&held)), vec![], "it is queued once");
        assert_eq!(world.calls.queue.len(), 1);
        assert_eq!(world.hears(News::Lost), vec![]);
        assert_eq!(world.calls.held().unwrap().len(), 1);
        assert_eq!(world.end(&running[0], Outcome::Cancelled), vec![]);
        assert!(matches!(world.hears(run(&held))[..], [Action::Start(_)]));
    }

    #[test]
    fn a_question_ends_in_a_refusal_or_in_another_question() {
        let mut world = World::new();
        let first = held("c1", "shell.run", json!({}), NOW);
        world.hears(News::Held(first.clone()));
        let again = held("c1", "shell.run", json!({}), NOW + 5);
        let asked = world.hears(ruled(&first, Ruling::Ask(again.clone())));
        assert_eq!(asked.last(), Some(&waits(&again)));
        assert_eq!(world.hears(run(&first)), vec![]);
        let reason = "no".to_owned();
        let refused = world.hears(ruled(&again, Ruling::Refuse { reason }));
        assert_eq!(outcomes(&refused), vec![("c1", Outcome::denied("no"))]);
        assert_eq!(world.hears(run(&again)), vec![]);
    }

    #[test]
    fn a_file_is_not_sent_into_a_line_that_is_down_and_nobody_is_asked_too_often() {
        let mut world = World::new();
        let held_file = held("c1", SEND, json!({}), NOW);
        world.hears(News::Held(held_file.clone()));
        world.hears(News::Lost);
        assert_eq!(world.hears(run(&held_file)), vec![]);
        world.hears(News::Welcomed);
        assert!(matches!(
            world.hears(run(&held_file))[..],
            [Action::Start(_)]
        ));
        for call in 0..MAX_HELD {
            world.hears(News::Held(held(
                &format!("h{call}"),
                "files.write",
                json!({}),
                NOW,
            )));
        }
        let over = world.hears(News::Held(held("over", "files.write", json!({}), NOW)));
        let told = outcomes(&over);
        assert!(matches!(told[..], [("over", Outcome::Failed { .. })]));
    }

    #[test]
    fn an_hour_brings_thirty_new_questions_and_no_more_even_if_each_is_answered() {
        let mut world = World::new();
        let mut ask = |call: usize, at: i64| {
            let held = held(&format!("h{call}"), "files.write", json!({}), at);
            let told = world.calls.handle(News::Held(held.clone()), at).unwrap();
            let is_asked = matches!(told[..], [Action::Ask(_), Action::Wait { .. }]);
            let refuse = News::Ruled {
                call: held.call.id,
                digest: held.digest,
                ruling: Ruling::Refuse {
                    reason: "no".into(),
                },
            };
            world.calls.handle(refuse, at).unwrap();
            (is_asked, told)
        };
        for call in 0..MAX_ASKED {
            assert!(ask(call, NOW).0, "{call}");
        }
        let (_, over) = ask(90, NOW + ASKED_MILLIS - 1);
        let often = "this machine has asked for 30 yeses at home within an hour and asks for no more; try later";
        assert_eq!(outcomes(&over), vec![("h90", Outcome::failed(often))]);
        assert!(ask(91, NOW + ASKED_MILLIS).0, "an hour later");
        // A clock that is set back does not bring a longer silence.
        assert!(ask(92, NOW - 1).0);
    }

    #[test]
    fn what_the_records_took_is_started_though_they_refuse_the_next() {
        let mut world = World::new();
        let asked = |call: &str| {
            Asked::new(ToolCall {
                id: id(call),
                tool: ToolName::new("files.list"),
                arguments: json!({}),
            })
        };
        // A call that is known already is one that the records refuse to begin.
        let known = ToolName::new("files.list");
        world.calls.records.begin(&id("c2"), &known, "h").unwrap();
        world.calls.queue.extend(["c1", "c2", "c3"].map(asked));
        let started = world.calls.start_next().unwrap();
        assert!(matches!(&started[..], [Action::Start(order)] if order.call.0 == "c1"));
        assert!(world.calls.running.contains_key(&id("c1")));
        assert!(world.calls.start_next().is_err());
    }

    #[test]
    fn a_text_that_would_not_fit_its_frame_is_cut() {
        let long = Outcome::done("\\\"".repeat(MAX_TEXT_FRAME));
        let Outcome::Done { text, .. } = fitting(long) else {
            panic!("no longer done");
        };
        assert!(text.ends_with("[cut: too long to travel]"));
        let frame = write_frame(&serde_json::to_string(&Outcome::done(text)).unwrap());
        assert!(frame.len() <= MAX_TEXT_FRAME);
    }
}
