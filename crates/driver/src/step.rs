//! Decide, save, act: the agent is told the news, what it decides is saved with the news that caused it, and only then is it done.

use crate::rows::{Kept, Millis, Rows, Spent};
use crate::{Act, Driver, home, outbox};
use agent::event::{AskId, ModelFailure, Reply};
use agent::{Conversation, Effect, Event};
use protocol::call::{CallId, ToolCall};

/// Tokens set aside for one question: the longest prompt (48,000 characters, about 12,000 tokens) and the longest answer (4,096).
pub const RESERVED_TOKENS: u64 = 16_096;

/// What a step begins with, found inside its transaction.
#[derive(Default)]
pub(crate) struct News {
    /// What the agent is told, in order.
    pub(crate) events: Vec<Event>,
    /// What is to be done beside what the agent decides, once all is saved.
    pub(crate) acts: Vec<Act>,
}

impl News {
    pub(crate) fn of(event: Event) -> Self {
        Self {
            events: vec![event],
            acts: vec![],
        }
    }
}

impl<R: Rows> Driver<R> {
    /// Tells the agent what happened and saves what it decided.
    pub fn step(
        &self,
        conversation: &str,
        event: &Event,
        now: Millis,
    ) -> Result<Vec<Act>, R::Error> {
        self.save(conversation, now, |_, _| Ok(News::of(event.clone())))
    }

    /// The same for news that is only known inside the transaction: rows that go with it are saved with it. `None` if there was none.
    pub fn step_if(
        &self,
        conversation: &str,
        now: Millis,
        news: impl Fn(&R, &Conversation) -> Result<Option<Event>, R::Error>,
    ) -> Result<Option<Vec<Act>>, R::Error> {
        let mut told = false;
        let acts = self.save(conversation, now, |rows, machine| {
            let event = news(rows, machine)?;
            told = event.is_some();
            Ok(event.map(News::of).unwrap_or_default())
        })?;
        Ok(told.then_some(acts))
    }

    /// A conversation as it stands.
    pub fn conversation(&self, id: &str) -> Result<Conversation, R::Error> {
        Ok(load(self.rows(), id)?.1)
    }

    /// The model has answered.
    pub fn replied(
        &self,
        conversation: &str,
        ask: &AskId,
        reply: Reply,
        now: Millis,
    ) -> Result<Vec<Act>, R::Error> {
        let (ask, at) = (ask.clone(), now);
        self.step(conversation, &Event::Replied { ask, reply, at }, now)
    }

    /// The model has not answered.
    pub fn model_failed(
        &self,
        conversation: &str,
        ask: &AskId,
        failure: ModelFailure,
        now: Millis,
    ) -> Result<Vec<Act>, R::Error> {
        let (ask, at) = (ask.clone(), now);
        self.step(conversation, &Event::ModelFailed { ask, failure, at }, now)
    }

    /// Runs a tool that touches rows only: its effect and its result are saved together, so it happens exactly once.
    pub fn run_here(
        &self,
        conversation: &str,
        call: &ToolCall,
        now: Millis,
    ) -> Result<Vec<Act>, R::Error> {
        self.save(conversation, now, |rows, machine| {
            if !awaits(machine, &call.id) {
                return Ok(News::default()); // called off, or run before
            }
            let outcome = rows.run_tool(conversation, call, now)?;
            let (call, at) = (call.id.clone(), now);
            Ok(News::of(Event::Finished {
                call,
                outcome,
                by: None,
                at,
            }))
        })
    }

    /// One transaction: the news is found, the agent decides, all of it is saved. What comes back may be done.
    pub(crate) fn save(
        &self,
        conversation: &str,
        now: Millis,
        mut news: impl FnMut(&R, &Conversation) -> Result<News, R::Error>,
    ) -> Result<Vec<Act>, R::Error> {
        let acts = self.rows().transaction(|rows| {
            let (kept, machine) = load(rows, conversation)?;
            let news = news(rows, &machine)?;
            decide(rows, conversation, (kept, machine), news, now)
        })?;
        Ok(self.begin(acts))
    }
}

/// A conversation as it stands, a fresh one if nothing was said there yet.
pub(crate) fn load<R: Rows>(rows: &R, id: &str) -> Result<(Kept, Conversation), R::Error> {
    Ok(match rows.conversation(id)? {
        Some(kept) => {
            let machine = serde_json::from_str(&kept.machine)?;
            (kept, machine)
        }
        None => (Kept::default(), Conversation::new(&rows.fresh_name()?)),
    })
}

/// Whether a call has not ended.
pub(crate) fn awaits(machine: &Conversation, call: &CallId) -> bool {
    machine.calls().any(|open| open.id == *call)
}

/// Inside a transaction: whatever becomes of this instance, another will look after these acts.
pub(crate) fn look_by<R: Rows>(rows: &R, acts: &[Act], now: Millis) -> Result<(), R::Error> {
    match acts.iter().filter_map(|act| act.look_by(now)).min() {
        Some(at) => rows.wake_by(at),
        None => Ok(()),
    }
}

/// Inside a transaction: tells the agent, and saves everything that follows from it.
pub(crate) fn decide<R: Rows>(
    rows: &R,
    conversation: &str,
    (before, mut machine): (Kept, Conversation),
    news: News,
    now: Millis,
) -> Result<Vec<Act>, R::Error> {
    let mut acts = vec![];
    let mut kept = before.clone();
    let mut open = outbox::questions(&machine);
    for event in news.events {
        if let Event::Decided { call, .. } = &event {
            open.retain(|asked| asked != call); // whoever pressed the button sees to it
        }
        if let Event::Replied { reply, .. } = &event {
            kept.spent.input += reply.usage.input; // paid for, also when nobody waits for it any more
            kept.spent.output += reply.usage.output;
        }
        let effects = machine.handle(event.clone());
        rows.show(conversation, &event, &effects, now)?;
        for effect in effects {
            if let Effect::Cancel { call } = &effect {
                acts.extend(home::called_off(rows, call, now)?);
            }
            if let Effect::Abandon { .. } = &effect {
                kept.spent.lost += before.reserved; // nobody hears any more what it has cost
            }
            acts.extend(Act::of(conversation, effect));
        }
    }
    let lines = machine.take_appended();
    kept.reserved = if machine.thinking().is_some() {
        RESERVED_TOKENS
    } else {
        0
    };
    if machine.is_idle() && !kept.spent.is_none() {
        rows.spend(kept.spent, now)?;
        kept.spent = Spent::default();
    }
    kept.machine = serde_json::to_string(&machine)?;
    // Late and repeated news changes nothing and writes nothing.
    if kept != before && (!before.machine.is_empty() || !machine.is_new()) {
        rows.keep(conversation, &kept, !machine.outstanding().is_empty())?;
        rows.append(conversation, &lines)?;
    }
    let still_open = outbox::questions(&machine);
    for call in open.iter().filter(|call| !still_open.contains(call)) {
        acts.extend(outbox::retract(rows, conversation, call)?);
    }
    acts.extend(news.acts);
    look_by(rows, &acts, now)?;
    Ok(acts)
}
