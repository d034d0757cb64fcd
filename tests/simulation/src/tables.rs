//! The rows themselves: plain maps, and what undoes a transaction.

use agent::{Content, Effect, Entry, Event};
use driver::{Delivery, HomeCall, Kept, Sending, Spent};
use protocol::call::CallId;
use std::collections::BTreeMap;

/// All tables of one person, as they are on the disk.
#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) inbox: BTreeMap<String, InboxRow>,
    pub(crate) conversations: BTreeMap<String, ConversationRow>,
    pub(crate) lines: BTreeMap<String, Vec<Entry>>,
    pub(crate) sendings: BTreeMap<String, Sending>,
    pub(crate) calls: BTreeMap<CallId, HomeCall>,
    pub(crate) failures: BTreeMap<String, u32>,
    pub(crate) spent: Spent,
    /// How often each of the Worker's own tools took effect, by call.
    pub(crate) ran: BTreeMap<CallId, u32>,
    pub(crate) alarm: Option<i64>,
    /// What pages show: names of parcels.
    pub(crate) pages: Vec<String>,
    /// All news and what followed from it, as it was saved.
    pub(crate) told: Vec<Told>,
    pub(crate) put_away: u32,
    pub(crate) names: u32,
    undo: Vec<Undo>,
    inside: bool,
}

#[derive(Clone)]
pub(crate) struct InboxRow {
    pub(crate) delivery: Delivery,
    pub(crate) number: usize,
    pub(crate) tries: u32,
    pub(crate) settled: bool,
    pub(crate) error: Option<String>,
}

#[derive(Clone)]
pub(crate) struct ConversationRow {
    pub(crate) kept: Kept,
    pub(crate) open: bool,
}

/// One piece of news or of what followed from it.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    Said {
        text: String,
    },
    Replied {
        ask: String,
        input: u64,
        output: u64,
    },
    Notice {
        say: String,
    },
    Stopped,
    Say {
        conversation: String,
        say: String,
        text: Option<String>,
        file: Option<CallId>,
    },
    Cancelled,
}

enum Undo {
    Inbox(String, Option<InboxRow>),
    Conversation(String, Option<ConversationRow>),
    Lines(String, usize),
    Sending(String, Option<Sending>),
    Call(CallId, Option<HomeCall>),
    Failure(String, Option<u32>),
    Spent(Spent),
    Ran(CallId, Option<u32>),
    Alarm(Option<i64>),
    Pages(usize),
    Told(usize),
    PutAway(u32),
}

impl Tables {
    pub(crate) fn is_inside(&self) -> bool {
        self.inside
    }

    pub(crate) fn begin(&mut self) {
        self.inside = true;
        self.undo.clear();
    }

    pub(crate) fn commit(&mut self) {
        self.inside = false;
        self.undo.clear();
    }

    pub(crate) fn roll_back(&mut self) {
        self.inside = false;
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Inbox(id, old) => restore(&mut self.inbox, id, old),
                Undo::Conversation(id, old) => restore(&mut self.conversations, id, old),
                Undo::Lines(id, length) => self.lines.entry(id).or_default().truncate(length),
                Undo::Sending(id, old) => restore(&mut self.sendings, id, old),
                Undo::Call(id, old) => restore(&mut self.calls, id, old),
                Undo::Failure(name, old) => restore(&mut self.failures, name, old),
                Undo::Spent(old) => self.spent = old,
                Undo::Ran(id, old) => restore(&mut self.ran, id, old),
                Undo::Alarm(old) => self.alarm = old,
                Undo::Pages(length) => self.pages.truncate(length),
                Undo::Told(length) => self.told.truncate(length),
                Undo::PutAway(old) => self.put_away = old,
            }
        }
    }

    pub(crate) fn put_inbox(&mut self, id: &str, row: InboxRow) {
        let old = self.inbox.insert(id.to_owned(), row);
        self.undo.push(Undo::Inbox(id.to_owned(), old));
    }

    pub(crate) fn put_conversation(&mut self, id: &str, row: ConversationRow) {
        let old = self.conversations.insert(id.to_owned(), row);
        self.undo.push(Undo::Conversation(id.to_owned(), old));
    }

    pub(crate) fn put_away(&mut self, id: &str) {
        let old = self.conversations.remove(id);
        self.undo.push(Undo::Conversation(id.to_owned(), old));
        self.undo.push(Undo::PutAway(self.put_away));
        self.put_away += 1;
    }

    pub(crate) fn append(&mut self, id: &str, lines: &[Entry]) {
        let all = self.lines.entry(id.to_owned()).or_default();
        self.undo.push(Undo::Lines(id.to_owned(), all.len()));
        all.extend_from_slice(lines);
    }

    pub(crate) fn put_sending(&mut self, sending: Sending) {
        let id = sending.id.clone();
        let old = self.sendings.insert(id.clone(), sending);
        self.undo.push(Undo::Sending(id, old));
    }

    pub(crate) fn put_call(&mut self, call: HomeCall) {
        let id = call.call.id.clone();
        let old = self.calls.insert(id.clone(), call);
        self.undo.push(Undo::Call(id, old));
    }

    pub(crate) fn count(&mut self, act: &str) -> u32 {
        let old = self.failures.get(act).copied();
        let times = old.unwrap_or(0) + 1;
        self.failures.insert(act.to_owned(), times);
        self.undo.push(Undo::Failure(act.to_owned(), old));
        times
    }

    pub(crate) fn spend(&mut self, spent: Spent) {
        self.undo.push(Undo::Spent(self.spent));
        self.spent.input += spent.input;
        self.spent.output += spent.output;
        self.spent.lost += spent.lost;
    }

    pub(crate) fn run(&mut self, call: &CallId, undone: bool) {
        let old = self.ran.get(call).copied();
        self.ran.insert(call.clone(), old.unwrap_or(0) + 1);
        if undone {
            self.undo.push(Undo::Ran(call.clone(), old));
        }
    }

    pub(crate) fn set_alarm(&mut self, alarm: Option<i64>) {
        self.undo.push(Undo::Alarm(self.alarm));
        self.alarm = alarm;
    }

    pub(crate) fn show_on_page(&mut self, parcel: String) {
        self.undo.push(Undo::Pages(self.pages.len()));
        self.pages.push(parcel);
    }

    pub(crate) fn tell(&mut self, conversation: &str, event: &Event, effects: &[Effect]) {
        self.undo.push(Undo::Told(self.told.len()));
        self.told.extend(news(event));
        let followed = effects
            .iter()
            .filter_map(|effect| what(conversation, effect));
        self.told.extend(followed);
    }
}

fn restore<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, old: Option<V>) {
    match old {
        Some(old) => map.insert(key, old),
        None => map.remove(&key),
    };
}

fn news(event: &Event) -> Option<Told> {
    match event {
        Event::Said { message } => Some(Told::Said {
            text: message.text.clone(),
        }),
        Event::Replied { ask, reply, .. } => Some(Told::Replied {
            ask: ask.0.clone(),
            input: reply.usage.input,
            output: reply.usage.output,
        }),
        Event::Notice { say, .. } => Some(Told::Notice { say: say.0.clone() }),
        Event::Stopped { .. } => Some(Told::Stopped),
        Event::ModelFailed { .. }
        | Event::Finished { .. }
        | Event::Waiting { .. }
        | Event::Decided { .. }
        | Event::Sent { .. }
        | Event::Wished { .. } => None,
    }
}

fn what(conversation: &str, effect: &Effect) -> Option<Told> {
    match effect {
        Effect::Say { say, content } => Some(Told::Say {
            conversation: conversation.to_owned(),
            say: say.0.clone(),
            text: match content {
                Content::Text { text, .. } => Some(text.clone()),
                Content::File { .. } => None,
            },
            file: match content {
                Content::Text { .. } => None,
                Content::File { call, .. } => Some(call.clone()),
            },
        }),
        Effect::Cancel { .. } => Some(Told::Cancelled),
        Effect::AskModel { .. }
        | Effect::Abandon { .. }
        | Effect::Run { .. }
        | Effect::AskPerson { .. } => None,
    }
}
