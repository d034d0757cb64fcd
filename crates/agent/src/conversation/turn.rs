//! One turn: from what the person said to the last word about it. It knows its bounds and names its parts.

use super::claims::claims_a_deed;
use super::guard::{Guard, Repeat, WARNING};
use super::words::{self, Tally};
use crate::effect::Effect;
use crate::event::{AskId, Button, Millis, SayId, Wish};
use crate::gate;
use crate::policy::{self, Verdict};
use crate::tool;
use crate::transcript::{Entry, Line, Trust};
use protocol::call::{CallId, FileRef, Outcome, ToolCall};
use protocol::tools::Place;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How many times a turn may ask the model with tools at hand. Then follows one last question without them.
pub(super) const MAX_STEPS: u32 = 40;

/// How many calls of one reply run; more than this at once is no plan.
const MAX_CALLS: usize = 16;

/// How deep a call's arguments may be nested. What keeps and carries them wraps them further, and no reader of JSON goes below 128.
const MAX_DEPTH: usize = 64;

/// How often an empty answer is asked for again.
const MAX_RETRIES: u32 = 2;

/// How often a cut-off answer is continued.
const MAX_CONTINUED: u32 = 3;

/// The state of the turn that is under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Turn {
    /// `{conversation}-{turn}`: what all ids of this turn begin with.
    name: String,
    /// How many questions were asked, retries not counted.
    step: u32,
    /// How often this step's answer was empty.
    retries: u32,
    /// How often the answer was cut off.
    continued: u32,
    /// How many things were said.
    says: u32,
    /// The model goes in circles: the next question is the last.
    closing: bool,
    /// The person knows that a machine is away.
    pub(super) told_away: bool,
    /// The person knows that their message waits for something.
    pub(super) told_parked: bool,
    /// What the model has answered and the person has not been sent: the beginning of a cut-off answer.
    pub(super) unsaid: String,
    /// What was done.
    pub(super) done: Tally,
    /// How much of it machines have proven, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    proven: BTreeMap<String, u32>,
    /// How many changes at home there are that can be undone.
    #[serde(default)]
    changes: u32,
    /// Whether anything was done, or only said to be.
    #[serde(default)]
    deeds: Deeds,
    pub(super) guard: Guard,
    pub(super) phase: Phase,
}

/// What a turn has done beyond looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Deeds {
    /// Nothing, and the model says nothing else.
    #[default]
    None,
    /// Nothing, though the model says that it did something.
    Claimed,
    /// Something.
    Done,
}

/// What a turn waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Phase {
    /// The model's answer.
    Thinking { ask: AskId, tools: bool },
    /// The calls of the model's last answer, in its order.
    Acting { calls: Vec<Open> },
}

/// A call until all calls beside it have ended too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) call: ToolCall,
    pub(super) stage: Stage,
}

/// How far a call has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Stage {
    /// The person is asked.
    Asking { place: Place },
    /// It runs, or waits for its machine.
    Running {
        place: Place,
        away: Option<String>,
        /// The machine had taken it on before it went.
        #[serde(default)]
        taken: bool,
    },
    /// Its file is on the way to the person.
    Sending {
        say: SayId,
        text: String,
        file: FileRef,
    },
    /// It has its result.
    Ended {
        outcome: Outcome,
        trust: Trust,
        at: Millis,
    },
}

/// What a stop has called off.
#[derive(Default)]
pub(super) struct CalledOff {
    /// What tells those who were at it.
    pub(super) effects: Vec<Effect>,
    /// The calls that had begun.
    pub(super) under_way: Tally,
    /// The calls that had not.
    pub(super) not_done: Tally,
}

impl Turn {
    /// A turn that has not asked anything yet.
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            step: 0,
            retries: 0,
            continued: 0,
            says: 0,
            closing: false,
            told_away: false,
            told_parked: false,
            unsaid: String::new(),
            done: Tally::default(),
            proven: BTreeMap::new(),
            changes: 0,
            deeds: Deeds::None,
            guard: Guard::default(),
            phase: Phase::Acting { calls: vec![] },
        }
    }

    /// The next question to the model; the last of a turn comes without tools.
    pub(super) fn ask(&mut self) -> Effect {
        self.step += 1;
        self.retries = 0;
        let tools = !self.closing && self.step <= MAX_STEPS;
        self.think(AskId(format!("{}-{}a", self.name, self.step)), tools)
    }

    /// The same question again under another id, or `None` when it was asked often enough.
    pub(super) fn retry(&mut self) -> Option<Effect> {
        if self.retries == MAX_RETRIES {
            return None;
        }
        self.retries += 1;
        let tools = self.may_call();
        Some(self.think(
            AskId(format!("{}-{}a{}", self.name, self.step, self.retries)),
            tools,
        ))
    }

    fn think(&mut self, ask: AskId, tools: bool) -> Effect {
        self.phase = Phase::Thinking {
            ask: ask.clone(),
            tools,
        };
        Effect::AskModel { ask, tools }
    }

    /// Whether a cut-off answer may be continued; counts.
    pub(super) fn may_continue(&mut self) -> bool {
        self.continued += 1;
        self.continued <= MAX_CONTINUED && self.may_call()
    }

    /// Whether the model may call tools in the answer that is awaited.
    pub(super) fn may_call(&self) -> bool {
        matches!(self.phase, Phase::Thinking { tools: true, .. })
    }

    /// The question whose answer is awaited.
    pub(super) fn thinking(&self) -> Option<&AskId> {
        match &self.phase {
            Phase::Thinking { ask, .. } => Some(ask),
            Phase::Acting { .. } => None,
        }
    }

    /// A name for the next thing said.
    pub(super) fn say_id(&mut self) -> SayId {
        self.says += 1;
        SayId(format!("{}-s{}", self.name, self.says))
    }

    /// Names the calls of a reply and lays them out, none begun. What keeps a call from being tried stands beside it.
    pub(super) fn name(&self, wishes: Vec<Wish>) -> Vec<(ToolCall, Option<String>)> {
        let name_one = |(n, wish): (usize, Wish)| {
            let id = CallId(format!("{}-{}-{}", self.name, self.step, n + 1));
            let (arguments, problem) = match wish.arguments {
                Ok(deep) if !fits(&deep, MAX_DEPTH) => {
                    (json!({}), Some(words::DEEP_ARGUMENTS.to_owned()))
                }
                Ok(Value::Object(fields)) => (Value::Object(fields), None),
                Ok(Value::Null) => (json!({}), None),
                Ok(other) => (json!({}), Some(words::bad_arguments(&other.to_string()))),
                Err(raw) => (json!({}), Some(words::bad_arguments(&raw))),
            };
            let problem = if n < MAX_CALLS {
                problem
            } else {
                Some(words::TOO_MANY_CALLS.to_owned())
            };
            (
                ToolCall {
                    id,
                    tool: wish.tool,
                    arguments,
                },
                problem,
            )
        };
        wishes.into_iter().enumerate().map(name_one).collect()
    }

    /// Begins a call, as far as policy and guard allow.
    pub(super) fn begin(
        &mut self,
        call: ToolCall,
        problem: Option<String>,
        at: Millis,
    ) -> Option<Effect> {
        if let Some(reason) = problem {
            self.end(call, Outcome::Failed { reason }, at);
            return None;
        }
        match self.guard.check(&call) {
            Repeat::Fine => {}
            Repeat::Refuse => return self.refuse_repeat(call, at),
            Repeat::Close => {
                self.closing = true;
                return self.refuse_repeat(call, at);
            }
        }
        match policy::judge(&call) {
            Verdict::Run(place) => {
                self.open(
                    call.clone(),
                    Stage::Running {
                        place,
                        away: None,
                        taken: false,
                    },
                );
                Some(Effect::Run { call, place })
            }
            Verdict::Ask(place) => {
                self.open(call.clone(), Stage::Asking { place });
                Some(Effect::AskPerson { call })
            }
            Verdict::Refuse(reason) => {
                self.end(call, Outcome::Failed { reason }, at);
                None
            }
        }
    }

    fn open(&mut self, call: ToolCall, stage: Stage) {
        let open = Open { call, stage };
        match &mut self.phase {
            Phase::Acting { calls } => calls.push(open),
            Phase::Thinking { .. } => self.phase = Phase::Acting { calls: vec![open] },
        }
    }

    /// Gives a call that never began the result that this crate writes itself.
    fn end(&mut self, call: ToolCall, outcome: Outcome, at: Millis) {
        let outcome = self.count(&call, outcome);
        self.open(
            call,
            Stage::Ended {
                outcome,
                trust: Trust::Owner,
                at,
            },
        );
    }

    fn refuse_repeat(&mut self, call: ToolCall, at: Millis) -> Option<Effect> {
        let outcome = Outcome::denied(words::REPEATED);
        self.open(
            call,
            Stage::Ended {
                outcome,
                trust: Trust::Owner,
                at,
            },
        );
        None
    }

    /// Shows a result to the guard, which may add its warning.
    fn count(&mut self, call: &ToolCall, outcome: Outcome) -> Outcome {
        if self.guard.record(call, &outcome) {
            warned(outcome)
        } else {
            outcome
        }
    }

    /// The calls of the last answer, ended or not.
    pub(super) fn calls(&self) -> &[Open] {
        match &self.phase {
            Phase::Acting { calls } => calls,
            Phase::Thinking { .. } => &[],
        }
    }

    fn calls_mut(&mut self) -> &mut [Open] {
        match &mut self.phase {
            Phase::Acting { calls } => calls,
            Phase::Thinking { .. } => &mut [],
        }
    }

    /// A call by its id, ended or not.
    pub(super) fn call(&self, id: &CallId) -> Option<&Open> {
        self.calls().iter().find(|open| open.call.id == *id)
    }

    /// The call whose file travels under this name.
    pub(super) fn sends(&self, id: &SayId) -> Option<&Open> {
        self.calls()
            .iter()
            .find(|open| matches!(&open.stage, Stage::Sending { say, .. } if say == id))
    }

    /// Moves a call on to another stage.
    pub(super) fn advance(&mut self, id: &CallId, stage: Stage) {
        if let Some(open) = self.calls_mut().iter_mut().find(|open| open.call.id == *id) {
            open.stage = stage;
        }
    }

    /// Gives a call its result. Unless someone else is said to stand behind the words in it, they are its tool's.
    pub(super) fn finish(
        &mut self,
        id: &CallId,
        outcome: Outcome,
        trust: Option<Trust>,
        at: Millis,
    ) {
        let Some(call) = self.call(id).map(|open| open.call.clone()) else {
            return;
        };
        if matches!(outcome, Outcome::Done { .. }) {
            self.done.add(&call);
            if tool::acts(&call.tool) {
                self.deeds = Deeds::Done;
            }
        }
        let outcome = self.count(&call, outcome);
        let trust = trust.unwrap_or_else(|| tool::trust_in(&call));
        self.advance(id, Stage::Ended { outcome, trust, at });
    }

    /// Notes that a machine's receipt proves a call to be done.
    pub(super) fn prove(&mut self, id: &CallId, by: Option<String>) {
        let (Some(machine), Some(open)) = (by, self.call(id)) else {
            return;
        };
        let changes = u32::from(tool::can_be_undone(&open.call.tool));
        self.changes += changes;
        *self.proven.entry(machine).or_default() += 1;
    }

    /// Whether anything was done.
    pub(super) fn has_acted(&self) -> bool {
        self.deeds == Deeds::Done
    }

    /// Words of the model's on their way to the person: without what is not for people, also where that was cut in two, and without a line
    /// that passes for a proof. What they claim is remembered.
    pub(super) fn heard(&mut self, text: &str) -> String {
        let text = &gate::for_people(text);
        if claims_a_deed(text) {
            self.deeds = self.deeds.max(Deeds::Claimed);
        }
        words::unproven(text)
    }

    /// The turn's last words with what machines have proven under them, and the button that takes it back. What the model claims to have
    /// done in a turn in which nothing was done is said to be unverified, unless it may speak of the turn before.
    pub(super) fn sealed(&mut self, text: &str, acted_before: bool) -> (String, Vec<Button>) {
        let mut text = self.heard(text);
        if self.deeds == Deeds::Claimed && !acted_before {
            text.push_str("\n\n");
            text.push_str(words::UNVERIFIED);
        }
        let buttons = if self.changes > 0 {
            vec![Button {
                label: words::UNDO.into(),
                action: format!("undo:{}", self.name),
            }]
        } else {
            vec![]
        };
        if self.proven.is_empty() {
            return (text, buttons);
        }
        (
            format!("{text}\n\n{}", words::proven(&self.proven)),
            buttons,
        )
    }

    /// Calls everything off: each call that has not ended gets a result.
    pub(super) fn call_off(&mut self, at: Millis) -> CalledOff {
        let mut off = CalledOff::default();
        if let Some(ask) = self.thinking() {
            off.effects.push(Effect::Abandon { ask: ask.clone() });
        }
        for open in self.calls_mut() {
            let (tally, outcome) = match &open.stage {
                Stage::Ended { .. } => continue,
                Stage::Asking { .. }
                | Stage::Running {
                    away: Some(_),
                    taken: false,
                    ..
                } => (&mut off.not_done, Outcome::Cancelled),
                Stage::Running { .. } => (&mut off.under_way, Outcome::Cancelled),
                Stage::Sending { .. } => (
                    &mut off.under_way,
                    Outcome::Interrupted {
                        reason: words::STOPPED_WHILE_SENDING.into(),
                    },
                ),
            };
            tally.add(&open.call);
            off.effects.push(Effect::Cancel {
                call: open.call.id.clone(),
            });
            open.stage = Stage::Ended {
                outcome,
                trust: Trust::Owner,
                at,
            };
        }
        off
    }

    /// Whether every call has its result.
    pub(super) fn settled(&self) -> bool {
        self.calls()
            .iter()
            .all(|open| matches!(open.stage, Stage::Ended { .. }))
    }

    /// The results of the calls, in the model's order, each exactly once: they leave the turn.
    pub(super) fn take_results(&mut self) -> Vec<Entry> {
        let calls = match &mut self.phase {
            Phase::Acting { calls } => std::mem::take(calls),
            Phase::Thinking { .. } => vec![],
        };
        calls.into_iter().filter_map(result).collect()
    }

    /// What a person who writes in the middle of the turn has to know: nothing moves until they or their machine do.
    pub(super) fn parked(&self) -> Option<String> {
        let mut told = None;
        for open in self.calls() {
            match &open.stage {
                Stage::Ended { .. } => {}
                Stage::Asking { .. } => {
                    told.get_or_insert_with(|| words::waits_for_yes(&open.call));
                }
                Stage::Running {
                    away: Some(machine),
                    ..
                } => {
                    told.get_or_insert_with(|| words::waits_for_machine(machine, &open.call));
                }
                Stage::Running { away: None, .. } | Stage::Sending { .. } => return None,
            }
        }
        told
    }

    /// The question and the calls that are still awaited, files on their way not included.
    pub(super) fn outstanding(&self) -> Vec<Effect> {
        match &self.phase {
            Phase::Thinking { ask, tools } => vec![Effect::AskModel {
                ask: ask.clone(),
                tools: *tools,
            }],
            Phase::Acting { calls } => calls.iter().filter_map(awaited).collect(),
        }
    }
}

fn awaited(open: &Open) -> Option<Effect> {
    match &open.stage {
        Stage::Asking { .. } => Some(Effect::AskPerson {
            call: open.call.clone(),
        }),
        Stage::Running { place, .. } => Some(Effect::Run {
            call: open.call.clone(),
            place: *place,
        }),
        Stage::Sending { .. } | Stage::Ended { .. } => None,
    }
}

fn result(open: Open) -> Option<Entry> {
    match open.stage {
        Stage::Ended { outcome, trust, at } => Some(Entry {
            at,
            line: Line::Result {
                call: open.call.id,
                tool: open.call.tool,
                outcome,
                trust,
            },
        }),
        Stage::Asking { .. } | Stage::Running { .. } | Stage::Sending { .. } => None,
    }
}

fn warned(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Done { text, file } => Outcome::Done {
            text: text + WARNING,
            file,
        },
        Outcome::Failed { reason } => Outcome::Failed {
            reason: reason + WARNING,
        },
        Outcome::Denied { reason } => Outcome::Denied {
            reason: reason + WARNING,
        },
        Outcome::Interrupted { reason } => Outcome::Interrupted {
            reason: reason + WARNING,
        },
        Outcome::Cancelled => Outcome::Cancelled,
    }
}

/// Whether a value is nested no deeper than so many levels.
fn fits(value: &Value, levels: usize) -> bool {
    let inside = |inner: &Value| levels > 0 && fits(inner, levels - 1);
    match value {
        Value::Array(items) => items.iter().all(inside),
        Value::Object(fields) => fields.values().all(inside),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}
