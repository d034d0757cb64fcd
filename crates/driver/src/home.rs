//! Calls for the home machines: kept in rows, ordered from a machine that is there, until they have ended or are too late.

use crate::outbox::{What, to_say};
use crate::rows::{HomeCall, Millis, Rows};
use crate::step::{News, awaits};
use crate::{Act, Driver, Line};
use agent::event::Decision;
use agent::{Conversation, Event};
use protocol::call::{CallId, Outcome, ToolCall};

/// How long a call waits for its machine: a day. What was wished for before that may not be meant any more.
pub const WAIT_MILLIS: Millis = 24 * 60 * 60 * 1000;

/// How soon the alarm looks after a call that a machine is at.
pub const HERE_MILLIS: Millis = 60_000;

/// Why a call for the home machine cannot even wait.
pub const NO_MACHINE: &str =
    "no machine is paired that can do this; the person can join one with /pair";

/// Why a call ends whose machine is no longer paired.
const GONE: &str =
    "the machine took this on and is no longer paired; whether it was done is not known";

/// Where a call could run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Where {
    /// On a machine that is there.
    Here(Line),
    /// On a machine of this name that is away.
    Away(String),
    /// On none.
    Nowhere,
}

/// What a yes was to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agreed {
    /// To the call as it stands, on this machine where one is known.
    On(Option<String>),
    /// To something else; this is what the model reads.
    ToSomethingElse(String),
}

impl<R: Rows> Driver<R> {
    /// Orders a call from the machine that `find` names, or has it wait. `find` is told which machine the call was once ordered from:
    /// then no other will do. The order is in the rows before it is an act.
    pub fn place(
        &self,
        conversation: &str,
        call: &ToolCall,
        find: impl Fn(Option<&str>) -> Result<Where, R::Error>,
        now: Millis,
    ) -> Result<Vec<Act>, R::Error> {
        self.save(conversation, now, |rows, machine| {
            let known = rows.call(&call.id)?;
            let is_over = known.as_ref().is_some_and(|row| row.ended_at.is_some());
            if is_over || !awaits(machine, &call.id) {
                return Ok(News::default());
            }
            let is_new = known.is_none();
            let row = known.unwrap_or_else(|| wished(conversation, call, now));
            if now >= row.at + WAIT_MILLIS {
                let outcome = too_late(row.bridge.as_ref());
                return ended(rows, row, None, outcome, now);
            }
            match find(row.bridge.as_deref().or(row.meant.as_deref()))? {
                Where::Here(line) if row.session.as_ref() == Some(&line.session) => {
                    Ok(News::default()) // ordered over this very connection
                }
                Where::Here(line) => order(rows, row, line),
                Where::Away(name) => {
                    if is_new {
                        rows.put_call(&row)?;
                    }
                    rows.wake_by(row.at + WAIT_MILLIS)?;
                    Ok(News::of(Event::Waiting {
                        call: call.id.clone(),
                        machine: name,
                        taken: row.bridge.is_some(),
                        at: now,
                    }))
                }
                Where::Nowhere => {
                    let outcome = not_done(row.bridge.as_ref(), NO_MACHINE, GONE);
                    ended(rows, row, None, outcome, now)
                }
            }
        })
    }

    /// No machine can be asked for a call, however often it is tried.
    pub(crate) fn unplaceable(
        &self,
        conversation: &str,
        call: &ToolCall,
        reason: &str,
        now: Millis,
    ) -> Result<Vec<Act>, R::Error> {
        self.save(conversation, now, |rows, _| {
            let known = rows.call(&call.id)?;
            if known.as_ref().is_some_and(|row| row.ended_at.is_some()) {
                return Ok(News::default());
            }
            let row = known.unwrap_or_else(|| wished(conversation, call, now));
            let perhaps = format!(
                "{reason}; a machine took it on before, and whether it was done is not known"
            );
            let outcome = not_done(row.bridge.as_ref(), reason, &perhaps);
            ended(rows, row, None, outcome, now)
        })
    }

    /// The person's yes to a call: it counts for the machine that they were asked about. `judge` looks at the open call and names that
    /// machine, or says why the yes does not count. False if the question is open no more, or the yes was to something else.
    pub fn agreed(
        &self,
        conversation: &str,
        call: &CallId,
        judge: impl Fn(&ToolCall) -> Result<Agreed, R::Error>,
        now: Millis,
    ) -> Result<(bool, Vec<Act>), R::Error> {
        let mut counts = false;
        let acts = self.save(conversation, now, |rows, machine| {
            let Some(open) = question(machine, call) else {
                return Ok(News::default());
            };
            let (call, at) = (call.clone(), now);
            Ok(News::of(match judge(&open)? {
                Agreed::On(meant) => {
                    counts = true;
                    let row = wished(conversation, &open, now);
                    rows.put_call(&HomeCall { meant, ..row })?;
                    let decision = Decision::Once;
                    Event::Decided { call, decision, at }
                }
                Agreed::ToSomethingElse(reason) => Event::Finished {
                    call,
                    outcome: Outcome::denied(reason),
                    by: None,
                    at,
                },
            }))
        })?;
        Ok((counts, acts))
    }

    /// A call that has no end yet.
    pub fn open_call(&self, call: &CallId) -> Result<Option<HomeCall>, R::Error> {
        let row = self.rows().call(call)?;
        Ok(row.filter(|row| row.ended_at.is_none()))
    }

    /// A call has ended on the machine of this name, as its checked receipt proves. The end of one that is over is old news, acknowledged again.
    pub fn came_home(
        &self,
        call: &CallId,
        outcome: &Outcome,
        receipt: &str,
        machine: &str,
        now: Millis,
    ) -> Result<Vec<Act>, R::Error> {
        let acknowledge = Act::Acknowledge { call: call.clone() };
        let Some(open) = self.open_call(call)? else {
            return Ok(vec![acknowledge]);
        };
        self.save(&open.conversation, now, |rows, _| {
            let (row, outcome) = (open.clone(), outcome.clone());
            let mut news = ended(rows, row, Some(receipt.to_owned()), outcome, now)?;
            for event in &mut news.events {
                if let Event::Finished { by, .. } = event {
                    *by = Some(machine.to_owned());
                }
            }
            news.acts.push(acknowledge.clone());
            Ok(news)
        })
    }

    /// When to look after a call: soon, while a machine should be at it; at its deadline, while none is there.
    pub(crate) fn call_due(
        &self,
        call: &CallId,
        is_here: impl Fn(&Line) -> bool,
        now: Millis,
    ) -> Result<Millis, R::Error> {
        let Some(row) = self.open_call(call)? else {
            return Ok(now + HERE_MILLIS);
        };
        let deadline = row.at + WAIT_MILLIS;
        let line = line_of(&row);
        Ok(if line.as_ref().is_some_and(is_here) {
            deadline.min(now + HERE_MILLIS)
        } else {
            deadline
        })
    }
}

/// The call that an open question is about.
pub fn question(machine: &Conversation, call: &CallId) -> Option<ToolCall> {
    to_say(machine).find_map(|(_, what)| match what {
        What::Question(open) if open.id == *call => Some(open),
        What::Question(_) | What::Said(_) => None,
    })
}

/// Inside a transaction: a call is called off.
pub(crate) fn called_off<R: Rows>(
    rows: &R,
    call: &CallId,
    now: Millis,
) -> Result<Option<Act>, R::Error> {
    let Some(row) = rows.call(call)?.filter(|row| row.ended_at.is_none()) else {
        return Ok(None);
    };
    let line = line_of(&row);
    let ended_at = Some(now);
    rows.put_call(&HomeCall { ended_at, ..row })?;
    let call = call.clone();
    Ok(line.map(|line| Act::CallOff { call, line }))
}

pub(crate) fn wished(conversation: &str, call: &ToolCall, now: Millis) -> HomeCall {
    HomeCall {
        call: call.clone(),
        conversation: conversation.to_owned(),
        meant: None,
        bridge: None,
        session: None,
        receipt: None,
        done: false,
        at: now,
        ended_at: None,
    }
}

fn line_of(row: &HomeCall) -> Option<Line> {
    let (bridge, session) = row.bridge.clone().zip(row.session.clone())?;
    Some(Line { bridge, session })
}

fn order<R: Rows>(rows: &R, row: HomeCall, line: Line) -> Result<News, R::Error> {
    let ordered = HomeCall {
        bridge: Some(line.bridge.clone()),
        session: Some(line.session.clone()),
        ..row
    };
    rows.put_call(&ordered)?;
    let HomeCall {
        conversation, call, ..
    } = ordered;
    let order = Act::Order {
        conversation,
        call,
        line,
    };
    Ok(News {
        events: vec![],
        acts: vec![order],
    })
}

fn ended<R: Rows>(
    rows: &R,
    row: HomeCall,
    receipt: Option<String>,
    outcome: Outcome,
    now: Millis,
) -> Result<News, R::Error> {
    let (call, at) = (row.call.id.clone(), now);
    let ended_at = Some(now);
    let done = matches!(outcome, Outcome::Done { .. });
    rows.put_call(&HomeCall {
        receipt,
        done,
        ended_at,
        ..row
    })?;
    Ok(News::of(Event::Finished {
        call,
        outcome,
        by: None,
        at,
    }))
}

/// A call that was never ordered was not done. Of one that was, and whose machine has been silent since, nobody knows.
fn not_done(bridge: Option<&String>, never: &str, perhaps: &str) -> Outcome {
    match bridge {
        None => Outcome::failed(never),
        Some(_) => Outcome::Interrupted {
            reason: perhaps.to_owned(),
        },
    }
}

fn too_late(bridge: Option<&String>) -> Outcome {
    not_done(
        bridge,
        "the machine was away for a day, so this was not done; ask the person whether they still want it",
        "the machine took this on and was away for a day since; whether it was done is not known; it is not asked for again",
    )
}
