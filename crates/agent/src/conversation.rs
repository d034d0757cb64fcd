//! The machine: told what happened, it says what to do. Read [`Conversation::handle`] first.
//!
//! A turn is from what the person said to the last word about it. It thinks (the model is asked), acts (the model's calls
//! run side by side), thinks again with their results, and ends with an answer, a failure that the person is told, or a stop.

mod claims;
mod errand;
mod guard;
mod turn;
mod words;

pub(crate) use guard::WARNING;
pub use words::sentence;

use crate::effect::{Content, Effect};
use crate::event::{
    AskId, Button, Decision, Delivery, Event, Message, Millis, ModelFailure, Reply, SayId, Stop,
    Wish,
};
use crate::gate;
use crate::transcript::{Entry, Line, Trust};
use errand::Errand;
use protocol::call::{CallId, Outcome, ToolCall};
use protocol::tools::Place;
use serde::{Deserialize, Serialize};
use turn::{Open, Stage, Turn};

/// How many ids of notices are kept, so that a repeat is known: more than a driver has under way at once.
const NOTICES_KEPT: usize = 32;

/// How long the random part of all ids may be: with it a [`CallId`] stays under 64 characters.
const ID_LIMIT: usize = 12;

/// Where one person's conversation stands: the turn under way and what is still being sent, never the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// What all ids begin with.
    id: String,
    /// How many turns have begun.
    turns: u32,
    /// The turn under way.
    turn: Option<Turn>,
    /// What the person wrote meanwhile; it joins at the next step.
    queued: Vec<Message>,
    /// What the person has done without the model, first come first served; the first one's first call runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    errands: Vec<Errand>,
    /// What is being sent. It outlives its turn.
    saying: Vec<Saying>,
    /// The last notices, sent or not.
    noticed: Vec<SayId>,
    /// The last turn did something: words about it are no claims.
    #[serde(default)]
    acted: bool,
    /// Lines that no one has taken yet.
    #[serde(skip)]
    appended: Vec<Entry>,
}

/// Something that is being sent to the person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Saying {
    say: SayId,
    content: Content,
}

impl Conversation {
    /// A conversation in which nothing was said. Every id in it begins with `id`: random letters and digits, twelve at the most.
    pub fn new(id: &str) -> Self {
        Self {
            id: id
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .take(ID_LIMIT)
                .collect(),
            turns: 0,
            turn: None,
            queued: vec![],
            errands: vec![],
            saying: vec![],
            noticed: vec![],
            acted: false,
            appended: vec![],
        }
    }

    /// Takes news and gives what to do about it; news that is late or told twice does nothing.
    ///
    /// Save the conversation together with [`Conversation::take_appended`] before performing any effect.
    pub fn handle(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Said { message } => self.said(message),
            Event::Replied { ask, reply, at } => self.replied(&ask, reply, at),
            Event::ModelFailed { ask, failure, at } => self.model_failed(&ask, &failure, at),
            Event::Finished {
                call,
                outcome,
                by,
                at,
            } => self.finished(&call, outcome, by, at),
            Event::Wished { errand, calls, at } => self.wished(errand, calls, at),
            Event::Waiting {
                call,
                machine,
                taken,
                at,
            } => self.waiting(&call, machine, taken, at),
            Event::Decided { call, decision, at } => self.decided(&call, decision, at),
            Event::Sent { say, delivery, at } => self.sent(&say, &delivery, at),
            Event::Notice { say, text, buttons } => self.notice(say, text, buttons),
            Event::Stopped { at } => self.stopped(at),
        }
    }

    /// Every effect whose ending event has not come, under the same ids: after a restart, these are performed again.
    pub fn outstanding(&self) -> Vec<Effect> {
        let mut effects = self
            .turn
            .as_ref()
            .map(Turn::outstanding)
            .unwrap_or_default();
        let errands = self.under_way().map(|n| self.errands[n].clone());
        effects.extend(errands.filter_map(|mut errand| errand.next()).map(run));
        effects.extend(self.saying.iter().map(|saying| Effect::Say {
            say: saying.say.clone(),
            content: saying.content.clone(),
        }));
        effects
    }

    /// The transcript lines that were appended since this was last called, in order; they are saved with the conversation.
    pub fn take_appended(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.appended)
    }

    /// Whether nothing has ever happened in it.
    pub fn is_new(&self) -> bool {
        self.turns == 0 && self.queued.is_empty() && self.noticed.is_empty()
    }

    /// Whether no turn and no errand is under way. Something may still be being sent.
    pub fn is_idle(&self) -> bool {
        self.turn.is_none() && self.errands.is_empty()
    }

    /// The question to the model whose answer is awaited.
    pub fn thinking(&self) -> Option<&AskId> {
        self.turn.as_ref()?.thinking()
    }

    /// The calls that have no result yet, in the model's order.
    pub fn calls(&self) -> impl Iterator<Item = &ToolCall> {
        let open = |open: &&Open| !matches!(open.stage, Stage::Ended { .. });
        self.turn
            .iter()
            .flat_map(Turn::calls)
            .filter(open)
            .map(|open| &open.call)
            .chain(self.under_way().filter_map(|n| self.errands[n].running()))
    }

    /// How many messages wait for the turn's next step.
    pub fn queued(&self) -> usize {
        self.queued.len()
    }

    fn said(&mut self, message: Message) -> Vec<Effect> {
        self.queued.push(message);
        let Some(mut turn) = self.turn.take() else {
            return vec![self.begin()];
        };
        let effects = match turn.parked() {
            Some(text) if !turn.told_parked => {
                turn.told_parked = true;
                vec![self.say(&mut turn, text)]
            }
            Some(_) | None => vec![],
        };
        self.turn = Some(turn);
        effects
    }

    fn replied(&mut self, ask: &AskId, reply: Reply, at: Millis) -> Vec<Effect> {
        let Some(mut turn) = self.turn.take_if(|turn| turn.thinking() == Some(ask)) else {
            return vec![];
        };
        let text = gate::for_people(&reply.text);
        let reply = Reply { text, ..reply };
        if turn.may_call() && !reply.calls.is_empty() {
            return self.act(turn, reply.text, reply.calls, at);
        }
        if reply.text.trim().is_empty() {
            return self.silent(turn, reply.stop, at);
        }
        turn.unsaid.push_str(&reply.text);
        self.append(
            at,
            Line::Agent {
                text: reply.text,
                calls: vec![],
            },
        );
        if reply.stop == Stop::Length {
            if turn.may_continue() {
                return self.go_on(turn);
            }
            turn.unsaid.push_str(words::CUT_OFF);
        }
        self.end(turn)
    }

    fn model_failed(&mut self, ask: &AskId, failure: &ModelFailure, at: Millis) -> Vec<Effect> {
        let Some(mut turn) = self.turn.take_if(|turn| turn.thinking() == Some(ask)) else {
            return vec![];
        };
        // What was queued would fail likewise: it is kept in the transcript, and the sentence answers it too.
        self.join();
        let text = words::with_account(&sentence(failure), &turn.done);
        let mut effects = self.say_unsaid(&mut turn);
        effects.push(self.tell(&mut turn, text, at));
        effects
    }

    fn wished(&mut self, name: String, calls: Vec<ToolCall>, at: Millis) -> Vec<Effect> {
        let say = SayId(name);
        if calls.is_empty() || !self.is_news(&say) {
            return vec![];
        }
        self.errands.push(Errand::new(say.0, calls));
        let last = self.errands.len() - 1;
        if !self.under_way().any(|n| n == last) {
            return vec![]; // its turn comes
        }
        self.go_on_with(last, at)
    }

    /// The errands of which a call runs: the first in line, and those that keep nothing waiting.
    fn under_way(&self) -> impl Iterator<Item = usize> {
        let first = self.first_in_line();
        let runs = move |n: &usize| Some(*n) == first || self.errands[*n].aside;
        (0..self.errands.len()).filter(runs)
    }

    fn first_in_line(&self) -> Option<usize> {
        self.errands.iter().position(|errand| !errand.aside)
    }

    /// The errand under way that has this call run.
    fn errand_of(&self, id: &CallId) -> Option<usize> {
        self.under_way().find(|n| self.errands[*n].runs(id))
    }

    /// Goes on with an errand: its next call, or word of it and then the next in line.
    fn go_on_with(&mut self, errand: usize, at: Millis) -> Vec<Effect> {
        let (mut effects, mut going) = (vec![], Some(errand));
        while let Some(n) = going {
            if let Some(next) = self.errands[n].next() {
                effects.push(run(next));
                return effects;
            }
            let done = self.errands.remove(n);
            let (text, note) = (done.words(), done.note());
            self.append(at, Line::Note { text: note });
            let buttons = vec![];
            effects.push(self.send(SayId(done.name), Content::Text { text, buttons }));
            going = self.first_in_line().filter(|_| !done.aside); // beside it, that one runs already
        }
        effects
    }

    fn finished(
        &mut self,
        id: &CallId,
        outcome: Outcome,
        by: Option<String>,
        at: Millis,
    ) -> Vec<Effect> {
        if let Some(errand) = self.errand_of(id) {
            self.errands[errand].end(&outcome);
            return self.go_on_with(errand, at);
        }
        let expected = |turn: &mut Turn| runs(turn, id) || asks(turn, id) && is_no(&outcome);
        let Some(mut turn) = self.turn.take_if(expected) else {
            return vec![];
        };
        if matches!(outcome, Outcome::Done { .. }) {
            turn.prove(id, by);
        }
        let mut effects = vec![];
        match outcome {
            Outcome::Done {
                text,
                file: Some(file),
            } => {
                let say = turn.say_id();
                let content = Content::File {
                    call: id.clone(),
                    file: file.clone(),
                };
                effects.push(self.send(say.clone(), content));
                turn.advance(id, Stage::Sending { say, text, file });
            }
            Outcome::Done { file: None, .. }
            | Outcome::Failed { .. }
            | Outcome::Denied { .. }
            | Outcome::Cancelled
            | Outcome::Interrupted { .. } => turn.finish(id, outcome, None, at),
        }
        self.proceed(turn, effects)
    }

    fn waiting(&mut self, id: &CallId, machine: String, taken: bool, at: Millis) -> Vec<Effect> {
        if let Some(n) = self.errand_of(id) {
            let errand = &mut self.errands[n];
            let (name, told) = (format!("{}-away", errand.name), errand.told_away);
            errand.told_away = true;
            let away = errand
                .running()
                .map(|call| words::away(&machine, taken, call));
            return match away {
                Some(text) if !told => {
                    let buttons = vec![];
                    vec![self.send(SayId(name), Content::Text { text, buttons })]
                }
                Some(_) | None => vec![],
            };
        }
        let Some(mut turn) = self.turn.take_if(|turn| runs(turn, id)) else {
            return vec![];
        };
        let mut effects = vec![];
        if let Some(Open {
            call,
            stage: Stage::Running { place, .. },
        }) = turn.call(id).cloned()
        {
            if !turn.told_away {
                turn.told_away = true;
                effects.push(self.tell(&mut turn, words::away(&machine, taken, &call), at));
            }
            turn.advance(
                id,
                Stage::Running {
                    place,
                    away: Some(machine),
                    taken,
                },
            );
        }
        self.turn = Some(turn);
        effects
    }

    fn decided(&mut self, id: &CallId, decision: Decision, at: Millis) -> Vec<Effect> {
        let Some(mut turn) = self.turn.take() else {
            return vec![];
        };
        let Some(Open {
            call,
            stage: Stage::Asking { place },
        }) = turn.call(id).cloned()
        else {
            self.turn = Some(turn);
            return vec![];
        };
        let mut effects = vec![];
        match decision {
            Decision::Once => {
                turn.advance(
                    id,
                    Stage::Running {
                        place,
                        away: None,
                        taken: false,
                    },
                );
                effects.push(Effect::Run { call, place });
            }
            Decision::No => turn.finish(
                id,
                Outcome::denied(words::PERSON_SAID_NO),
                Some(Trust::Owner),
                at,
            ),
        }
        self.proceed(turn, effects)
    }

    fn sent(&mut self, say: &SayId, delivery: &Delivery, at: Millis) -> Vec<Effect> {
        let Some(place) = self.saying.iter().position(|saying| saying.say == *say) else {
            return vec![];
        };
        // A text that is refused for good is dropped: there is no other way to reach the person.
        self.saying.remove(place);
        let Some(mut turn) = self.turn.take_if(|turn| turn.sends(say).is_some()) else {
            return vec![];
        };
        if let Some(Open {
            call,
            stage: Stage::Sending { text, file, .. },
        }) = turn.sends(say).cloned()
        {
            let outcome = match delivery {
                Delivery::Delivered => Outcome::Done {
                    text: words::sent(&text, &file),
                    file: Some(file),
                },
                Delivery::Refused { reason } => Outcome::failed(words::not_sent(&file, reason)),
                Delivery::Unknown => Outcome::Interrupted {
                    reason: words::perhaps_sent(&file),
                },
            };
            turn.finish(&call.id, outcome, None, at);
        }
        self.proceed(turn, vec![])
    }

    fn notice(&mut self, say: SayId, text: String, buttons: Vec<Button>) -> Vec<Effect> {
        if text.trim().is_empty() || !self.is_news(&say) {
            return vec![];
        }
        vec![self.send(say, Content::Text { text, buttons })]
    }

    /// Whether this name was not used before; from now on it was.
    fn is_news(&mut self, say: &SayId) -> bool {
        if self.noticed.contains(say) || self.saying.iter().any(|saying| saying.say == *say) {
            return false;
        }
        if self.noticed.len() == NOTICES_KEPT {
            self.noticed.remove(0);
        }
        self.noticed.push(say.clone());
        true
    }

    fn stopped(&mut self, at: Millis) -> Vec<Effect> {
        let mut effects = self.call_errands_off(at);
        effects.extend(self.stop_turn(at));
        effects
    }

    /// What is left of the errands is not done; what of it runs is called off.
    fn call_errands_off(&mut self, at: Millis) -> Vec<Effect> {
        let running = self.under_way().filter_map(|n| self.errands[n].running());
        let mut effects: Vec<Effect> = running
            .map(|call| Effect::Cancel {
                call: call.id.clone(),
            })
            .collect();
        for mut errand in std::mem::take(&mut self.errands) {
            while errand.running().is_some() {
                errand.end(&Outcome::Cancelled);
            }
            let (text, note) = (errand.words(), errand.note());
            self.append(at, Line::Note { text: note });
            let buttons = vec![];
            effects.push(self.send(SayId(errand.name), Content::Text { text, buttons }));
        }
        effects
    }

    fn stop_turn(&mut self, at: Millis) -> Vec<Effect> {
        let Some(mut turn) = self.turn.take() else {
            return vec![];
        };
        self.saying
            .retain(|saying| turn.sends(&saying.say).is_none());
        let off = turn.call_off(at);
        self.appended.extend(turn.take_results());
        self.join();
        let mut effects = off.effects;
        effects.extend(self.say_unsaid(&mut turn));
        let text = words::stopped(&turn.done, &off.under_way, &off.not_done);
        effects.push(self.tell(&mut turn, text, at));
        effects
    }

    /// Begins a turn with what is queued.
    fn begin(&mut self) -> Effect {
        self.turns += 1;
        self.ask(Turn::new(format!("{}-{}", self.id, self.turns)))
    }

    /// The model is asked, knowing all that the person has written.
    fn ask(&mut self, mut turn: Turn) -> Effect {
        if self.join() {
            turn.guard.forget();
        }
        let effect = turn.ask();
        self.turn = Some(turn);
        effect
    }

    /// The model's calls are written down, judged, and begun.
    fn act(&mut self, mut turn: Turn, text: String, wishes: Vec<Wish>, at: Millis) -> Vec<Effect> {
        let named = turn.name(wishes);
        let calls = named.iter().map(|(call, _)| call.clone()).collect();
        turn.unsaid.push_str(&text);
        self.append(at, Line::Agent { text, calls });
        let mut effects = self.say_unsaid(&mut turn);
        for (call, problem) in named {
            effects.extend(turn.begin(call, problem, at));
        }
        self.proceed(turn, effects)
    }

    /// The answer was empty: it is asked for again, and when that does not help the person is told.
    fn silent(&mut self, mut turn: Turn, stop: Stop, at: Millis) -> Vec<Effect> {
        if !turn.unsaid.trim().is_empty() {
            return self.end(turn); // nothing to add to the answer that was cut off
        }
        let declined = stop == Stop::Refusal;
        if let Some(effect) = (!declined).then(|| turn.retry()).flatten() {
            self.join();
            self.turn = Some(turn);
            return vec![effect];
        }
        let text = words::with_account(
            if declined {
                words::DECLINED
            } else {
                words::SILENT
            },
            &turn.done,
        );
        let mut effects = vec![self.tell(&mut turn, text, at)];
        effects.extend(self.end(turn));
        effects
    }

    /// The answer was cut off: the model goes on with it, unless the person has meanwhile said something else.
    fn go_on(&mut self, mut turn: Turn) -> Vec<Effect> {
        let mut effects = if self.queued.is_empty() {
            vec![]
        } else {
            self.say_unsaid(&mut turn)
        };
        effects.push(self.ask(turn));
        effects
    }

    /// Ends a turn with what the model said last. What was queued is the next turn's beginning.
    fn end(&mut self, mut turn: Turn) -> Vec<Effect> {
        let text = std::mem::take(&mut turn.unsaid);
        let mut effects = vec![];
        let acted_before = std::mem::replace(&mut self.acted, turn.has_acted());
        if !text.trim().is_empty() {
            let say = turn.say_id();
            let (text, buttons) = turn.sealed(&text, acted_before);
            effects.push(self.send(say, Content::Text { text, buttons }));
        }
        if !self.queued.is_empty() {
            effects.push(self.begin());
        }
        effects
    }

    /// Goes on when every call has its result, and waits otherwise.
    fn proceed(&mut self, mut turn: Turn, mut effects: Vec<Effect>) -> Vec<Effect> {
        if turn.settled() {
            self.appended.extend(turn.take_results());
            effects.push(self.ask(turn));
        } else {
            self.turn = Some(turn);
        }
        effects
    }

    /// Writes down what is queued; true when there was something.
    fn join(&mut self) -> bool {
        let joined = !self.queued.is_empty();
        for Message {
            text,
            quoted,
            attachments,
            trust,
            at,
        } in std::mem::take(&mut self.queued)
        {
            self.append(
                at,
                Line::Person {
                    text,
                    quoted,
                    attachments,
                    trust,
                },
            );
        }
        joined
    }

    /// Says something that is no answer of the model, and writes it down.
    fn tell(&mut self, turn: &mut Turn, text: String, at: Millis) -> Effect {
        self.append(at, Line::Note { text: text.clone() });
        self.say(turn, text)
    }

    /// Says what the model has answered so far; never an empty message.
    fn say_unsaid(&mut self, turn: &mut Turn) -> Vec<Effect> {
        let text = std::mem::take(&mut turn.unsaid);
        if text.trim().is_empty() {
            vec![]
        } else {
            let text = turn.heard(&text);
            vec![self.say(turn, text)]
        }
    }

    fn say(&mut self, turn: &mut Turn, text: String) -> Effect {
        self.send(
            turn.say_id(),
            Content::Text {
                text,
                buttons: vec![],
            },
        )
    }

    fn send(&mut self, say: SayId, content: Content) -> Effect {
        self.saying.push(Saying {
            say: say.clone(),
            content: content.clone(),
        });
        Effect::Say { say, content }
    }

    fn append(&mut self, at: Millis, line: Line) {
        self.appended.push(Entry { at, line });
    }
}

/// Whether a call waits for the person's yes. A machine whose law forbids it may say so before they have answered.
fn asks(turn: &Turn, id: &CallId) -> bool {
    turn.call(id)
        .is_some_and(|open| matches!(open.stage, Stage::Asking { .. }))
}

fn is_no(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Denied { .. } | Outcome::Failed { .. } => true,
        Outcome::Done { .. } | Outcome::Cancelled | Outcome::Interrupted { .. } => false,
    }
}

fn run((call, place): (ToolCall, Place)) -> Effect {
    Effect::Run { call, place }
}

fn runs(turn: &Turn, id: &CallId) -> bool {
    turn.call(id)
        .is_some_and(|open| matches!(open.stage, Stage::Running { .. }))
}
