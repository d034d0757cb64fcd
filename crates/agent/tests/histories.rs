//! Tells conversations thousands of made-up histories, with late, repeated and invented news, and checks what must always hold.

use agent::event::{
    AskId, Decision, Delivery, Message, ModelFailure, Reply, SayId, Stop, Usage, Wish,
};
use agent::prompt::{Input, PERSONA, Turn, assemble};
use agent::{Content, Conversation, Effect, Entry, Event, Line, Trust, tool};
use protocol::call::{CallId, FileRef, Outcome, ToolName};
use serde_json::json;
use std::collections::HashSet;

const HISTORIES: u64 = 10_000;
const EVENTS: usize = 30;

/// How much late news there is; fewer than the notices that a conversation knows again.
const REMEMBERED: usize = 20;

#[test]
fn what_must_always_hold_holds_in_every_history() {
    for seed in 0..HISTORIES {
        let mut history = History::new(seed);
        for _ in 0..EVENTS {
            history.go_on();
        }
        history.check_transcript();
        history.check_prompt();
        history.finish();
    }
}

#[test]
fn a_long_history_keeps_a_small_state() {
    let mut history = History::new(7);
    for _ in 0..20_000 {
        history.go_on();
        // Between turns nothing is left of them but what is still being sent.
        if history.conversation.is_idle() && history.awaited.is_empty() {
            let saved = serde_json::to_string(&history.conversation).unwrap();
            assert!(saved.len() < 2_000, "{saved}");
        }
    }
    history.check_transcript();
}

/// One history: the conversation, all that it said and asked for, and the dice.
struct History {
    seed: u64,
    dice: u64,
    conversation: Conversation,
    lines: Vec<Entry>,
    /// Effects whose ending event was not told, as an observer counts them.
    awaited: Vec<Effect>,
    /// Events that were told.
    told: Vec<Event>,
    named: HashSet<String>,
    notices: u32,
    messages: usize,
}

impl History {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            conversation: Conversation::new("h4x"),
            lines: vec![],
            awaited: vec![],
            told: vec![],
            named: HashSet::new(),
            notices: 0,
            messages: 0,
        }
    }

    /// A number below `sides`, from a linear congruential generator.
    fn roll(&mut self, sides: usize) -> usize {
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.dice >> 33).expect("31 bits fit") % sides
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.roll(items.len())].clone()
    }

    fn go_on(&mut self) {
        let again = !self.told.is_empty() && self.roll(8) == 0;
        let event = if again {
            let told = self.told.clone();
            self.pick(&told)
        } else {
            self.news()
        };
        let late = again && !self.is_news(&event);
        let before = self.conversation.clone();
        self.tell(&event);
        // Any moment may be the one of a restart; saving at each of them would take most of the test's time.
        if self.roll(4) == 0 {
            self.reload();
        }
        assert!(
            !late || self.conversation == before,
            "seed {}: late news did something: {event:?}",
            self.seed
        );
        if self.told.len() == REMEMBERED {
            self.told.remove(0);
        }
        if !matches!(event, Event::Said { .. }) {
            self.told.push(event);
        }
    }

    /// Whether an event means something at this moment, although it was told before.
    fn is_news(&self, event: &Event) -> bool {
        let concerned = |effect: &Effect| match event {
            Event::Waiting { call, .. } => {
                matches!(effect, Effect::Run { call: other, .. } if other.id == *call)
            }
            Event::Said { .. }
            | Event::Replied { .. }
            | Event::ModelFailed { .. }
            | Event::Finished { .. }
            | Event::Wished { .. }
            | Event::Decided { .. }
            | Event::Sent { .. }
            | Event::Notice { .. }
            | Event::Stopped { .. } => ends(event, effect),
        };
        matches!(event, Event::Stopped { .. }) || self.awaited.iter().any(concerned)
    }

    fn tell(&mut self, event: &Event) {
        let effects = self.conversation.handle(event.clone());
        self.awaited.retain(|effect| !ends(event, effect));
        for effect in effects {
            self.note(effect);
        }
        self.lines.extend(self.conversation.take_appended());
        self.check_outstanding();
    }

    /// Counts an effect; a new one must have a name that nothing had before.
    fn note(&mut self, effect: Effect) {
        let name = match &effect {
            Effect::AskModel { ask, .. } => ask.0.clone(),
            Effect::Run { call, .. } => format!("run {}", call.id),
            Effect::AskPerson { call } => format!("may {}", call.id),
            Effect::Say { say, content } => {
                let text = matches!(content, Content::Text { text, .. } if text.trim().is_empty());
                assert!(
                    !text,
                    "seed {}: nothing is said with an empty message",
                    self.seed
                );
                say.0.clone()
            }
            Effect::Cancel { call } => {
                return self.awaited.retain(|effect| !concerns(effect, call));
            }
            Effect::Abandon { ask } => {
                return self.awaited.retain(
                    |effect| !matches!(effect, Effect::AskModel { ask: other, .. } if other == ask),
                );
            }
        };
        assert!(
            self.named.insert(name.clone()),
            "seed {}: {name} is named twice",
            self.seed
        );
        self.awaited.push(effect);
    }

    fn reload(&mut self) {
        let saved = serde_json::to_string(&self.conversation).expect("a conversation can be saved");
        let loaded: Conversation =
            serde_json::from_str(&saved).expect("what was saved can be loaded");
        assert_eq!(loaded, self.conversation, "seed {}", self.seed);
        self.conversation = loaded;
    }

    /// What the conversation says it waits for is what was asked for and has not ended; and a turn always waits for something.
    fn check_outstanding(&self) {
        let outstanding = self.conversation.outstanding();
        let same = outstanding.len() == self.awaited.len()
            && outstanding
                .iter()
                .all(|effect| self.awaited.contains(effect));
        assert!(
            same,
            "seed {}: {outstanding:?} instead of {:?}",
            self.seed, self.awaited
        );
        let thinks = self
            .awaited
            .iter()
            .any(|effect| matches!(effect, Effect::AskModel { .. }));
        assert_eq!(
            thinks,
            self.conversation.thinking().is_some(),
            "seed {}",
            self.seed
        );
        let works = thinks || self.conversation.calls().next().is_some();
        assert_eq!(
            works,
            !self.conversation.is_idle(),
            "seed {}: a turn waits for nothing",
            self.seed
        );
    }

    /// Every call has exactly one result, before anyone speaks again.
    fn check_transcript(&self) {
        let mut open: Vec<CallId> = vec![];
        for entry in &self.lines {
            match &entry.line {
                Line::Person { .. } => assert_eq!(open, [], "seed {}: a person speaks", self.seed),
                Line::Agent { calls, .. } => {
                    assert_eq!(open, [], "seed {}: the agent speaks", self.seed);
                    open = calls.iter().map(|call| call.id.clone()).collect();
                }
                Line::Result { call, .. } => {
                    assert_eq!(
                        open.first(),
                        Some(call),
                        "seed {}: results stand in the model's order",
                        self.seed
                    );
                    open.remove(0);
                }
                Line::Note { .. } => {}
            }
        }
        let said = self
            .lines
            .iter()
            .filter(|entry| matches!(entry.line, Line::Person { .. }))
            .count();
        assert_eq!(
            said + self.conversation.queued(),
            self.messages,
            "seed {}: every message is kept once",
            self.seed
        );
    }

    /// A prompt alternates, and whatever is called has its result at once.
    fn check_prompt(&mut self) {
        let from = self.roll(self.lines.len() + 1);
        let budget_chars = self.roll(3_000);
        let prompt = assemble(&Input {
            persona: PERSONA,
            home: &[],
            profile: &[],
            entries: &self.lines[from..],
            tools: tool::all().to_vec(),
            allow_tools: true,
            now: "Sunday, 15 h",
            budget_chars,
            max_tokens: 1_000,
        });
        assert!(
            matches!(prompt.turns.first(), Some(Turn::Person(_)) | None),
            "seed {}",
            self.seed
        );
        for pair in prompt.turns.windows(2) {
            let fits = match (&pair[0], &pair[1]) {
                (Turn::Person(_) | Turn::Results(..), Turn::Agent { .. }) => true,
                (Turn::Agent { calls, .. }, Turn::Person(_)) => calls.is_empty(),
                (Turn::Agent { calls, .. }, Turn::Results(shown, _)) => calls
                    .iter()
                    .map(|call| &call.id)
                    .eq(shown.iter().map(|shown| &shown.call)),
                (Turn::Person(_) | Turn::Results(..), Turn::Person(_) | Turn::Results(..))
                | (Turn::Agent { .. }, Turn::Agent { .. }) => false,
            };
            assert!(fits, "seed {}: {pair:#?}", self.seed);
        }
        assert!(
            !matches!(prompt.turns.last(), Some(Turn::Agent { .. })),
            "seed {}",
            self.seed
        );
    }

    /// When the world answers all that is asked, every turn ends.
    fn finish(&mut self) {
        for _ in 0..400 {
            let Some(effect) = self.awaited.first().cloned() else {
                break;
            };
            let event = self.answer(&effect);
            self.tell(&event);
        }
        assert!(
            self.conversation.is_idle() && self.awaited.is_empty(),
            "seed {}: {:?}",
            self.seed,
            self.awaited
        );
        self.check_transcript();
    }

    fn news(&mut self) -> Event {
        match self.roll(12) {
            0 | 1 => {
                self.messages += 1;
                let trust = self.pick(&[Trust::Owner, Trust::Owner, Trust::Kept]);
                Event::Said {
                    message: Message {
                        text: format!("message {}", self.messages),
                        quoted: None,
                        attachments: Vec::new(),
                        trust,
                        at: 1,
                    },
                }
            }
            2 => {
                self.notices += u32::from(self.roll(2) == 0);
                Event::Notice {
                    say: SayId(format!("notice-{}", self.notices)),
                    text: "x".into(),
                    buttons: vec![],
                }
            }
            3 if self.roll(3) == 0 => Event::Stopped { at: 1 },
            4 => self.waiting(),
            5 => self.invented(),
            _ => match self.awaited.clone() {
                none if none.is_empty() => self.invented(),
                some => {
                    let effect = self.pick(&some);
                    self.answer(&effect)
                }
            },
        }
    }

    fn waiting(&mut self) -> Event {
        let calls: Vec<CallId> = self
            .conversation
            .calls()
            .map(|call| call.id.clone())
            .collect();
        let call = if calls.is_empty() {
            CallId("nobody".into())
        } else {
            self.pick(&calls)
        };
        Event::Waiting {
            call,
            machine: "mac-mini".into(),
            taken: false,
            at: 1,
        }
    }

    /// News of things that were never asked for.
    fn invented(&mut self) -> Event {
        let call = CallId(format!(
            "h4x-{}-{}-{}",
            self.roll(4),
            self.roll(4),
            9 + self.roll(3)
        ));
        match self.roll(4) {
            0 => Event::Replied {
                ask: AskId("h4x-9999-1a".into()),
                reply: self.reply(),
                at: 1,
            },
            1 => Event::Finished {
                call,
                outcome: self.outcome(),
                by: None,
                at: 1,
            },
            2 => Event::Decided {
                call,
                decision: Decision::Once,
                at: 1,
            },
            _ => Event::Sent {
                say: SayId("h4x-9999-s1".into()),
                delivery: Delivery::Delivered,
                at: 1,
            },
        }
    }

    fn answer(&mut self, effect: &Effect) -> Event {
        match effect {
            Effect::AskModel { ask, .. } if self.roll(12) == 0 => Event::ModelFailed {
                ask: ask.clone(),
                failure: ModelFailure::Overloaded,
                at: 1,
            },
            Effect::AskModel { ask, .. } => Event::Replied {
                ask: ask.clone(),
                reply: self.reply(),
                at: 1,
            },
            Effect::Run { call, .. } => Event::Finished {
                call: call.id.clone(),
                outcome: self.outcome(),
                by: None,
                at: 1,
            },
            Effect::AskPerson { call } => {
                let decision = self.pick(&[Decision::Once, Decision::No]);
                Event::Decided {
                    call: call.id.clone(),
                    decision,
                    at: 1,
                }
            }
            Effect::Say { say, .. } => {
                let refused = Delivery::Refused {
                    reason: "blocked".into(),
                };
                let delivery = self.pick(&[Delivery::Delivered, Delivery::Unknown, refused]);
                Event::Sent {
                    say: say.clone(),
                    delivery,
                    at: 1,
                }
            }
            Effect::Cancel { .. } | Effect::Abandon { .. } => {
                panic!("nothing is awaited of {effect:?}")
            }
        }
    }

    fn reply(&mut self) -> Reply {
        let text = self
            .pick(&["", "", " \n", "Well.", "Let me look."])
            .to_owned();
        let stop = self.pick(&[
            Stop::End,
            Stop::End,
            Stop::Tools,
            Stop::Length,
            Stop::Refusal,
        ]);
        let wishes = self.pick(&[0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 18]);
        let calls = (0..wishes).map(|_| self.wish()).collect();
        Reply {
            text,
            calls,
            stop,
            usage: Usage::default(),
        }
    }

    fn wish(&mut self) -> Wish {
        let tool = self.pick(&[
            "files.list",
            "files.send",
            "shell.run",
            "memory.search",
            "no.such",
        ]);
        let arguments = match self.roll(6) {
            0 => Err("{\"path\":".to_owned()),
            1 => Ok(json!([1])),
            n => Ok(json!({"path": n})),
        };
        Wish {
            tool: ToolName::new(tool),
            arguments,
        }
    }

    fn outcome(&mut self) -> Outcome {
        let file = FileRef {
            name: "a.pdf".into(),
            mime: "application/pdf".into(),
            size: 1,
            sha256: "0".repeat(64),
        };
        let text = self.pick(&["same", "same", "other"]).to_owned();
        self.pick(&[
            Outcome::Done {
                text: text.clone(),
                file: None,
            },
            Outcome::Done {
                text: text.clone(),
                file: Some(file),
            },
            Outcome::failed(text.clone()),
            Outcome::denied("by policy"),
            Outcome::Cancelled,
            Outcome::Interrupted { reason: text },
        ])
    }
}

/// Whether an event is the one that ends an effect, by the contract that `Effect` states.
fn ends(event: &Event, effect: &Effect) -> bool {
    match effect {
        Effect::AskModel { ask, .. } => {
            matches!(event, Event::Replied { ask: other, .. } | Event::ModelFailed { ask: other, .. } if other == ask)
        }
        Effect::Run { call, .. } => {
            matches!(event, Event::Finished { call: other, .. } if *other == call.id)
        }
        Effect::AskPerson { call } => match event {
            Event::Decided { call: other, .. }
            | Event::Finished {
                call: other,
                outcome: Outcome::Denied { .. } | Outcome::Failed { .. },
                ..
            } => *other == call.id,
            Event::Said { .. }
            | Event::Replied { .. }
            | Event::ModelFailed { .. }
            | Event::Finished { .. }
            | Event::Wished { .. }
            | Event::Waiting { .. }
            | Event::Sent { .. }
            | Event::Notice { .. }
            | Event::Stopped { .. } => false,
        },
        Effect::Say { say, .. } => matches!(event, Event::Sent { say: other, .. } if other == say),
        Effect::Cancel { .. } | Effect::Abandon { .. } => false,
    }
}

/// Whether an effect belongs to a call and ends with it when it is called off.
fn concerns(effect: &Effect, id: &CallId) -> bool {
    match effect {
        Effect::Run { call, .. } | Effect::AskPerson { call } => call.id == *id,
        Effect::Say {
            content: Content::File { call, .. },
            ..
        } => call == id,
        Effect::Say {
            content: Content::Text { .. },
            ..
        }
        | Effect::AskModel { .. }
        | Effect::Cancel { .. }
        | Effect::Abandon { .. } => false,
    }
}
