//! The chat's provider: hands updates over at least once, takes parcels, loses answers. It remembers what it was asked.

use crate::weather::Weather;
use driver::{Answer, Parcel, What};
use protocol::call::CallId;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What the person has done, on its way to the object.
#[derive(Debug, Clone)]
pub(crate) struct Update {
    pub(crate) id: String,
    pub(crate) conversation: &'static str,
    pub(crate) kind: Kind,
    pub(crate) acknowledged: bool,
    /// When the provider tries again.
    pub(crate) next_at: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What is stored first.
    Message(Payload),
    /// An approval's button on a page.
    Pressed { call: CallId, yes: bool },
}

/// What a stored delivery holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Payload {
    Words(String),
    /// Words that cannot be handled, however often it is tried.
    Poison,
    /// A command that is answered with a notice.
    Command,
    /// The command that ends the turn.
    Stop,
    /// An approval's button.
    Decision {
        call: CallId,
        yes: bool,
    },
}

/// What became of a parcel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Post {
    pub(crate) attempts: u32,
    pub(crate) taken: bool,
    pub(crate) standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Standing {
    /// It left; what became of it was not stored.
    #[default]
    Out,
    /// Stored as clearly not taken: it may be sent again.
    Clear,
    /// Stored as taken.
    Taken,
    /// Stored as refused for good.
    Refused,
    /// Stored as not known.
    Doubt,
}

pub(crate) struct Channel {
    pub(crate) updates: Vec<Update>,
    pub(crate) posts: BTreeMap<String, Post>,
    /// What the chat shows, in order: names of what was said, and the part.
    pub(crate) shown: Vec<(String, usize)>,
    /// Questions that the person can see and has not answered.
    pub(crate) questions: Vec<(&'static str, CallId)>,
    weather: Rc<Weather>,
}

impl Payload {
    pub(crate) fn write(&self) -> String {
        match self {
            Self::Words(text) => text.clone(),
            Self::Poison => "/poison".into(),
            Self::Command => "/command".into(),
            Self::Stop => "/stop".into(),
            Self::Decision { call, yes: true } => format!("/yes {call}"),
            Self::Decision { call, yes: false } => format!("/no {call}"),
        }
    }

    pub(crate) fn read(payload: &str) -> Self {
        for (word, yes) in [("/yes ", true), ("/no ", false)] {
            if let Some(call) = payload.strip_prefix(word) {
                let call = CallId(call.to_owned());
                return Self::Decision { call, yes };
            }
        }
        match payload {
            "/poison" => Self::Poison,
            "/command" => Self::Command,
            "/stop" => Self::Stop,
            words => Self::Words(words.to_owned()),
        }
    }
}

impl Channel {
    pub(crate) fn new(weather: &Rc<Weather>) -> Self {
        Self {
            updates: vec![],
            posts: BTreeMap::new(),
            shown: vec![],
            questions: vec![],
            weather: Rc::clone(weather),
        }
    }

    pub(crate) fn add(&mut self, conversation: &'static str, kind: Kind) {
        let id = format!("u{}", self.updates.len());
        self.weather
            .tell(|| format!("the person, in {conversation}: {kind:?} ({id})"));
        self.updates.push(Update {
            id,
            conversation,
            kind,
            acknowledged: false,
            next_at: i64::MIN,
        });
    }

    /// A parcel arrives, or not.
    pub(crate) fn takes(&mut self, parcel: &Parcel) -> Answer {
        let (id, chance) = (parcel.id(), &self.weather.chance);
        let known = self.posts.get(&id).map(|post| post.standing);
        if let Some(standing) = known.filter(|standing| *standing != Standing::Clear) {
            self.weather.broken(|| {
                format!("parcel {id} was sent again, although it stood as {standing:?}")
            });
        }
        let roll = if self.weather.calm.get() {
            99
        } else {
            chance.below(100)
        };
        let (taken, answer) = match roll {
            0..8 => (true, Answer::Unclear("the answer was lost".into())),
            8..12 => (false, Answer::Unclear("it never arrived".into())),
            12..20 => (false, Answer::NotTaken("busy".into())),
            20..24 => (false, Answer::RetryAfter(chance.pick(&[1, 4, 30, 2_000]))),
            24..27 => (false, Answer::Refused("blocked".into())),
            27..30 => {
                let until = self.weather.now() + chance.pick(&[5_000, 60_000, 1_800_000]);
                (false, Answer::Silenced { until })
            }
            _ => (
                true,
                Answer::Taken {
                    message: Some("7".into()),
                },
            ),
        };
        self.weather
            .tell(|| format!("the provider: {id} -> {answer:?}"));
        let post = self.posts.entry(id).or_default();
        post.attempts += 1;
        post.standing = Standing::Out;
        post.taken |= taken;
        if taken {
            self.shows("chat", parcel);
        }
        answer
    }

    /// The person can see it from now on.
    pub(crate) fn shows(&mut self, conversation: &'static str, parcel: &Parcel) {
        self.shown.push((parcel.say.clone(), parcel.part));
        if let What::Question(call) = &parcel.what {
            self.questions.push((conversation, call.id.clone()));
        }
    }

    /// An answer has been stored.
    pub(crate) fn noted(&mut self, parcel: &Parcel, answer: &Answer) {
        if let Some(post) = self.posts.get_mut(&parcel.id()) {
            post.standing = match answer {
                Answer::Taken { .. } => Standing::Taken,
                Answer::RetryAfter(_) | Answer::NotTaken(_) | Answer::Silenced { .. } => {
                    Standing::Clear
                }
                Answer::Refused(_) => Standing::Refused,
                Answer::Unclear(_) => Standing::Doubt,
            };
        }
    }
}

/// In how many parts something travels.
pub(crate) fn parts(what: &What) -> usize {
    match what {
        What::Said(agent::Content::Text { text, .. }) => parts_of(text),
        What::Said(agent::Content::File { .. }) | What::Question(_) => 1,
    }
}

pub(crate) fn parts_of(text: &str) -> usize {
    1 + text.matches('|').count()
}
