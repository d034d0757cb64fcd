//! After a restart or a failure: what is done again, what is given up after the third time, and when to look again.

use crate::outbox::{What, to_say};
use crate::rows::{Millis, Rows, Sending, SendingState, Spent, Waiting};
use crate::step::load;
use crate::{Act, Driver, Line};
use agent::event::ModelFailure;
use agent::{Conversation, Effect, Event};
use protocol::call::{CallId, Outcome};
use protocol::tools::Place;

/// How long after an event the alarm looks whether its work was done: an evicted or crashed object resumes then.
pub const BACKSTOP_MILLIS: Millis = 20_000;

/// How often handling something may fail, or be cut off, before it is given up and the person is told.
pub const TRIES: u32 = 3;

/// How soon what failed once is tried again; what failed twice waits four times as long.
const FIRST_RETRY_MILLIS: Millis = 1_000;

/// What is counted as the failure when an instance ended in the middle.
const CUT_OFF: &str = "it was cut off in the middle";

impl<R: Rows> Driver<R> {
    /// Everything that is awaited and not being performed. On an instance's first look, what an earlier one was in the middle of counts
    /// as having failed once, so that work that kills its instance is not begun for ever. What cannot be looked at is an error beside
    /// the rest and holds nothing else up; the object should look again soon.
    pub fn resume(&self, now: Millis) -> (Vec<Act>, Vec<R::Error>) {
        let first = !self.resumed.get();
        let (mut acts, mut errors) = (vec![], vec![]);
        let mut note = |found: Result<Vec<Act>, R::Error>| match found {
            Ok(more) => acts.extend(more),
            Err(error) => errors.push(error),
        };
        match self.rows().waiting() {
            Ok(waiting) => {
                for Waiting { delivery, .. } in waiting {
                    note(self.again(Act::Take { delivery }, first, 0, now));
                }
            }
            Err(error) => note(Err(error)),
        }
        match self.rows().open() {
            Ok(conversations) => {
                for conversation in conversations {
                    self.resume_one(&conversation, first, now, &mut note);
                }
            }
            Err(error) => note(Err(error)),
        }
        // What could not be looked at is still to be counted as cut off.
        self.resumed.set(errors.is_empty());
        (acts, errors)
    }

    fn resume_one(
        &self,
        conversation: &str,
        first: bool,
        now: Millis,
        note: &mut impl FnMut(Result<Vec<Act>, R::Error>),
    ) {
        match self.replace_broken(conversation, now) {
            Ok(replaced) if replaced.is_empty() => {}
            other => return note(other),
        }
        match load(self.rows(), conversation) {
            Ok((kept, machine)) => {
                for effect in machine.outstanding() {
                    if let Some(act) = Act::of(conversation, effect) {
                        note(self.again(act, first, kept.reserved, now));
                    }
                }
            }
            Err(error) => note(Err(error)),
        }
    }

    /// An act could not be performed. It stays to be done; the third time it is given up, and what was awaited ends with that.
    pub fn failed(&self, act: &Act, error: &str, now: Millis) -> Result<Vec<Act>, R::Error> {
        self.end(act);
        if let Act::Take { delivery } = act {
            let mut acts = self.replace_broken(&delivery.conversation, now)?;
            if !acts.is_empty() {
                acts.extend(self.begin([act.clone()])); // that was it: in the fresh conversation it will be heard
                return Ok(acts);
            }
        }
        if let Act::Think {
            conversation, ask, ..
        } = act
        {
            let (kept, machine) = load(self.rows(), conversation)?;
            if machine.thinking() == Some(ask) {
                self.lost(kept.reserved, now)?; // it may have been answered, and paid for, before it failed
            }
        }
        let tries = self.count(act, error, now)?;
        if tries < TRIES {
            self.rows()
                .wake_by(now + FIRST_RETRY_MILLIS * Millis::from(tries).pow(2))?;
            return Ok(vec![]);
        }
        self.give_up(act, error, now)
    }

    /// When the object must look again by itself, if at all: a person's yes and a machine that comes back announce themselves.
    /// `is_here` is whether a connection is still alive.
    pub fn due(
        &self,
        is_here: impl Fn(&Line) -> bool,
        now: Millis,
    ) -> Result<Option<Millis>, R::Error> {
        let soon = now + BACKSTOP_MILLIS;
        let held = self.rows().held()?;
        let mut due: Vec<Millis> = vec![];
        due.extend(self.rows().waiting()?.first().map(|_| soon));
        for conversation in self.rows().open()? {
            let Ok((_, machine)) = load(self.rows(), &conversation) else {
                due.push(soon);
                continue;
            };
            let held_until = self.held_until(&machine, &held)?;
            due.extend(held_until);
            let is_held = held_until.is_some();
            for effect in machine.outstanding() {
                match effect {
                    // Its own time counts, or that of the one before it.
                    Effect::Say { .. } | Effect::AskPerson { .. } if is_held => {}
                    Effect::AskModel { .. }
                    | Effect::Say { .. }
                    | Effect::Run {
                        place: Place::Worker,
                        ..
                    } => due.push(soon),
                    Effect::Run {
                        call,
                        place: Place::Bridge,
                    } => due.push(self.call_due(&call.id, &is_here, now)?),
                    Effect::AskPerson { call } => due.extend(self.question_due(&call.id, soon)?),
                    Effect::Cancel { .. } | Effect::Abandon { .. } => {}
                }
            }
        }
        Ok(due.into_iter().min())
    }

    /// When the first thing that is still to be sent may be tried again, if it is held. What nobody awaits any more is not looked at.
    fn held_until(
        &self,
        machine: &Conversation,
        held: &[Sending],
    ) -> Result<Option<Millis>, R::Error> {
        for (say, what) in to_say(machine) {
            let names = [format!("{say}#"), format!("{say}:again#")];
            let is_of = |sending: &&Sending| names.iter().any(|name| sending.id.starts_with(name));
            if let Some(sending) = held.iter().find(is_of) {
                return Ok(Some(sending.next_at));
            }
            match what {
                What::Question(call) if self.is_asked(&call.id)? => {}
                What::Question(_) | What::Said(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Whether a question has left, or waits for its time.
    fn is_asked(&self, call: &CallId) -> Result<bool, R::Error> {
        let first = format!("question:{call}#0");
        Ok(self.rows().sending(&first)?.is_some())
    }

    /// When to look after a question: soon, if it has not left; when it closes, if it has. A held one's own time counts already.
    fn question_due(&self, call: &CallId, soon: Millis) -> Result<Option<Millis>, R::Error> {
        let say = format!("question:{call}");
        let again = self.rows().sending(&format!("{say}:again#0"))?;
        let Some(last) = again.map_or_else(
            || self.rows().sending(&format!("{say}#0")),
            |again| Ok(Some(again)),
        )?
        else {
            return Ok(Some(soon));
        };
        Ok(match last.state {
            SendingState::Sent | SendingState::Unknown => Some(last.next_at),
            SendingState::Sending => Some(soon),
            SendingState::Held | SendingState::Refused => None,
        })
    }

    /// The answer that the instance before waited for is lost; what it cost is not known, so all that was set aside for it counts.
    fn lost(&self, lost: u64, now: Millis) -> Result<(), R::Error> {
        let nothing = Spent::default();
        self.rows().spend(Spent { lost, ..nothing }, now)
    }

    fn again(
        &self,
        act: Act,
        first: bool,
        reserved: u64,
        now: Millis,
    ) -> Result<Vec<Act>, R::Error> {
        if self.is_under_way(&act) {
            return Ok(vec![]);
        }
        let dangerous = match act {
            Act::Take { .. } | Act::Think { .. } | Act::RunHere { .. } => true,
            // A parcel that was cut off is in doubt and never sent again; a call may wait for days, through many instances.
            Act::Send { .. }
            | Act::Place { .. }
            | Act::Order { .. }
            | Act::CallOff { .. }
            | Act::Acknowledge { .. }
            | Act::Retract { .. }
            | Act::Abandon { .. } => false,
        };
        if first && matches!(act, Act::Think { .. }) {
            self.lost(reserved, now)?;
        }
        if first && dangerous && self.count(&act, CUT_OFF, now)? >= TRIES {
            return self.give_up(&act, CUT_OFF, now);
        }
        Ok(self.begin([act]))
    }

    fn count(&self, act: &Act, error: &str, now: Millis) -> Result<u32, R::Error> {
        let name = match act {
            Act::Take { delivery } => {
                let waiting = self.rows().waiting()?;
                let known = waiting.iter().find(|one| one.delivery.id == delivery.id);
                let tries = known.map_or(0, |one| one.tries) + 1;
                self.rows().tried(&delivery.id, tries)?;
                return Ok(tries);
            }
            Act::Send { conversation } => {
                let (_, machine) = load(self.rows(), conversation)?;
                let first = self.first_unsent(&machine)?;
                first.map_or_else(|| act.name(), |(say, _)| format!("send {say}"))
            }
            Act::Think { .. }
            | Act::RunHere { .. }
            | Act::Place { .. }
            | Act::Order { .. }
            | Act::CallOff { .. }
            | Act::Acknowledge { .. }
            | Act::Retract { .. }
            | Act::Abandon { .. } => act.name(),
        };
        self.rows().count_failure(&name, error, now)
    }

    fn give_up(&self, act: &Act, error: &str, now: Millis) -> Result<Vec<Act>, R::Error> {
        let reason = format!("given up after {TRIES} tries: {error}");
        match act {
            Act::Take { delivery } => self.set_aside(delivery, error, now),
            Act::Think {
                conversation, ask, ..
            } => {
                let failure = ModelFailure::Broken {
                    reason: error.to_owned(),
                };
                self.model_failed(conversation, ask, failure, now)
            }
            Act::RunHere { conversation, call } => {
                let end = finished(&call.id, Outcome::failed(reason), now);
                self.step(conversation, &end, now)
            }
            Act::Place { conversation, call } => self.unplaceable(conversation, call, &reason, now),
            Act::Send { conversation } => {
                let (_, machine) = load(self.rows(), conversation)?;
                match self.first_unsent(&machine)? {
                    Some((say, what)) => self.unsendable(conversation, &say, &what, reason, now),
                    None => Ok(vec![]),
                }
            }
            Act::Order { .. }
            | Act::CallOff { .. }
            | Act::Acknowledge { .. }
            | Act::Retract { .. }
            | Act::Abandon { .. } => Ok(vec![]),
        }
    }
}

fn finished(call: &CallId, outcome: Outcome, at: Millis) -> Event {
    let call = call.clone();
    Event::Finished {
        call,
        outcome,
        by: None,
        at,
    }
}
