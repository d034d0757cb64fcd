//! One world: who is in it, what may happen next, and how it comes to rest.

use crate::channel::{Channel, Kind, Payload};
use crate::faults::Fault;
use crate::home::{Home, Truth};
use crate::promises;
use crate::shell::{Instance, Stage};
use crate::tables::Tables;
use crate::weather::Weather;
use agent::event::Usage;
use driver::{Delivery, WAIT_MILLIS};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The conversation in a chat app.
pub(crate) const CHAT: &str = "chat";

/// The conversation on the person's own pages.
pub(crate) const PAGE: &str = "page";

/// What is left of a state that has become unreadable.
pub(crate) const ROTTEN: &str = "{";

/// How long everyone may take to come to rest once nothing goes wrong any more.
const REST_MILLIS: i64 = 12 * 60 * 60 * 1000;

/// How long the person looks at nothing before they say stop.
const PATIENCE_MILLIS: i64 = 60 * 60 * 1000;

/// How soon the provider hands over again what was not acknowledged.
const RETRY_MILLIS: i64 = 3_000;

/// How many things may happen until then.
const REST_STEPS: u32 = 3_000;

pub(crate) struct World {
    pub(crate) weather: Rc<Weather>,
    pub(crate) tables: Rc<RefCell<Tables>>,
    pub(crate) truth: Truth,
    pub(crate) channel: Channel,
    pub(crate) homes: Vec<Home>,
    /// The sessions that the object believes to be alive, by machine. They outlive an instance that falls asleep, not one that dies.
    pub(crate) sockets: BTreeMap<&'static str, String>,
    pub(crate) instance: Option<Instance>,
    /// How many instances there were.
    pub(crate) wakings: u32,
    /// How often a question was to be put to the model.
    pub(crate) thinks: u32,
    /// How many questions went to the model.
    pub(crate) asked: u32,
    /// What each answer of the model costs, by question.
    pub(crate) bills: Vec<(String, Usage)>,
    /// Whether some acts fail each time, and which.
    pub(crate) poison: bool,
    pub(crate) curse: u64,
    /// How many messages the person will still write.
    to_write: u64,
    trouble: Trouble,
    doings: Vec<(Doing, u64)>,
    stops: u32,
    /// The conversation whose state was made unreadable.
    pub(crate) rotten: Option<&'static str>,
    calm_since: i64,
    /// When everyone must have come to rest.
    deadline: i64,
}

/// How often each kind of trouble comes, in this world.
struct Trouble {
    crash: u64,
    cut: u64,
    bridge_crash: u64,
    jump: u64,
    repeat: u64,
    /// The person puts machines out.
    unpairs: bool,
    /// A state becomes unreadable, once.
    rots: bool,
}

/// Something that can happen next.
#[derive(Debug, Clone, Copy)]
enum Doing {
    Fly(usize),
    Deliver(usize),
    Write,
    Decide(usize),
    Dial(usize),
    Receive(usize),
    Hear(usize),
    Work(usize, usize),
    HomeNotices(usize),
    ObjectNotices(usize),
    Revive(usize),
    Ring,
    LookAgain,
    CrashObject,
    Sleep,
    Cut(usize),
    CrashBridge(usize),
    Unpair(usize),
    Rot,
    Jump,
}

impl World {
    pub(crate) fn new(seed: u64, fault: Option<Fault>, told: bool) -> Self {
        let weather = Rc::new(Weather::new(seed, fault, told));
        let chance = &weather.chance;
        let trouble = Trouble {
            crash: chance.pick(&[0, 0, 1, 3]),
            cut: chance.pick(&[0, 1, 2]),
            bridge_crash: chance.pick(&[0, 0, 1, 3]),
            jump: chance.pick(&[0, 1, 3]),
            repeat: chance.pick(&[0, 1, 2]),
            unpairs: chance.one_in(20),
            rots: chance.one_in(40),
        };
        let machines = chance.pick(&[0, 1, 1, 1, 1, 2, 2]);
        let homes = ["mac", "nas"][..machines]
            .iter()
            .map(|name| Home::new(name, &weather));
        Self {
            tables: Rc::default(),
            truth: Truth::default(),
            channel: Channel::new(&weather),
            homes: homes.collect(),
            sockets: BTreeMap::new(),
            instance: None,
            wakings: 0,
            thinks: 0,
            asked: 0,
            bills: vec![],
            poison: chance.one_in(6),
            curse: chance.below(u64::from(u32::MAX)),
            to_write: 1 + chance.below(4),
            trouble,
            doings: vec![],
            stops: 0,
            rotten: None,
            calm_since: 0,
            deadline: 0,
            weather: Rc::clone(&weather),
        }
    }

    /// Lives through a history to its end.
    pub(crate) fn live(&mut self) {
        let most = [60, 110, 110, 110, 110, 110, 110, 250];
        let most = self.weather.chance.pick(&most);
        let steps = self.weather.chance.between(15, most);
        for _ in 0..steps {
            self.doings.clear();
            self.possible();
            self.troubles();
            self.pass_time();
            if !self.happen() || self.weather.is_broken() {
                break;
            }
        }
        while self.to_write > 0 && !self.weather.is_broken() {
            self.write();
        }
        self.rest();
        if !self.weather.is_broken() {
            promises::check(self);
        }
    }

    /// Nothing goes wrong any more: everything must come to its end.
    fn rest(&mut self) {
        self.weather
            .tell(|| "-- from here on, nothing goes wrong --".into());
        self.weather.calm.set(true);
        self.calm_since = self.weather.now();
        for home in &mut self.homes {
            if self.weather.chance.one_in(15) {
                home.is_gone = true;
                home.crash();
            }
        }
        let gone = self.homes.iter().any(|home| home.is_gone);
        self.deadline = self.calm_since + if gone { 2 * WAIT_MILLIS } else { REST_MILLIS };
        for _ in 0..REST_STEPS {
            if self.weather.is_broken() {
                return;
            }
            if self.weather.now() > self.deadline {
                return self
                    .weather
                    .broken(|| "the world does not come to rest within half a day".into());
            }
            self.doings.clear();
            self.possible();
            self.pass_time();
            if !self.happen() && !self.wait_for_something() {
                return;
            }
        }
        self.weather
            .broken(|| "the world does not come to rest".into());
    }

    /// Chooses one of the things that can happen; false if nothing can.
    fn happen(&mut self) -> bool {
        let total: u64 = self.doings.iter().map(|(_, weight)| weight).sum();
        if total == 0 {
            return false;
        }
        let mut left = self.weather.chance.below(total);
        let chosen = self.doings.iter().find(|(_, weight)| {
            let found = left < *weight;
            left = left.saturating_sub(*weight);
            found
        });
        if let Some((doing, _)) = chosen.copied() {
            self.act(doing);
        }
        true
    }

    fn pass_time(&self) {
        let (weather, now) = (&self.weather, self.weather.now());
        weather.set_clock(now + weather.chance.between(0, 60));
        if !weather.calm.get() && self.trouble.jump > 0 && weather.chance.one_in(60) {
            weather.set_clock(now - weather.chance.between(0, 2_000));
            weather.tell(|| "the clock goes back".into());
        }
    }

    /// Everything that goes on by itself.
    fn possible(&mut self) {
        let (calm, now) = (self.weather.calm.get(), self.weather.now());
        if let Some(instance) = &self.instance {
            if instance.looks_again {
                self.doings.push((Doing::LookAgain, 2));
            }
            for (at, flight) in instance.flights.iter().enumerate() {
                let waits = matches!(flight.stage, Stage::Waiting(until) if until > now);
                if !waits {
                    self.doings.push((Doing::Fly(at), 10));
                }
            }
        }
        for (at, update) in self.channel.updates.iter().enumerate() {
            if !update.acknowledged && update.next_at <= now {
                self.doings.push((Doing::Deliver(at), 8));
            } else if update.acknowledged && !calm {
                self.doings.push((Doing::Deliver(at), self.trouble.repeat));
            }
        }
        if self.to_write > 0 {
            self.doings.push((Doing::Write, 3));
        }
        for at in 0..self.channel.questions.len() {
            self.doings.push((Doing::Decide(at), 4));
        }
        for (at, home) in self.homes.iter().enumerate() {
            machine_possible(at, home, &self.sockets, &mut self.doings);
        }
        let alarm = self.tables.borrow().alarm;
        if !calm && alarm.is_some_and(|alarm| alarm <= now + 400) {
            self.doings.push((Doing::Ring, 4));
        }
    }

    fn troubles(&mut self) {
        let Trouble {
            crash,
            cut,
            bridge_crash,
            jump,
            ..
        } = self.trouble;
        if let Some(instance) = &self.instance {
            self.doings.push((Doing::CrashObject, crash));
            let is_idle = instance.flights.is_empty() && instance.driver.is_idle();
            if is_idle && !instance.looks_again {
                self.doings.push((Doing::Sleep, 3));
            }
        }
        for (at, home) in self.homes.iter().enumerate() {
            if home.is_connected() {
                self.doings.push((Doing::Cut(at), cut));
            }
            if home.runs() {
                self.doings.push((Doing::CrashBridge(at), bridge_crash));
            }
            if home.is_paired && self.trouble.unpairs {
                self.doings.push((Doing::Unpair(at), 1));
            }
        }
        if self.trouble.rots {
            self.doings.push((Doing::Rot, 2));
        }
        self.doings.push((Doing::Jump, jump));
    }

    fn act(&mut self, doing: Doing) {
        match doing {
            Doing::Fly(at) => self.fly(at),
            Doing::Deliver(at) => self.deliver(at),
            Doing::Write => self.write(),
            Doing::Decide(at) => self.decide(at),
            Doing::Dial(home) => self.homes[home].dial(),
            Doing::Receive(home) => self.homes[home].receives(),
            Doing::Hear(home) => self.hears(home),
            Doing::Work(home, task) => self.homes[home].works(task, &mut self.truth),
            Doing::HomeNotices(home) => self.homes[home].notices_loss(),
            Doing::ObjectNotices(home) => self.notices_loss(self.homes[home].name),
            Doing::Revive(home) => self.homes[home].revive(),
            Doing::Ring => self.ring(),
            Doing::LookAgain => self.resume(),
            Doing::CrashObject => self.crash(),
            Doing::Sleep => {
                self.weather.tell(|| "the object falls asleep".into());
                self.instance = None;
            }
            Doing::Cut(home) => {
                let name = self.homes[home].name;
                self.weather.tell(|| format!("the line of {name} breaks"));
                self.homes[home].cut();
            }
            Doing::CrashBridge(home) => self.homes[home].crash(),
            Doing::Unpair(home) => self.unpair(home),
            Doing::Rot => self.rot(),
            Doing::Jump => {
                let seconds = self
                    .weather
                    .chance
                    .pick(&[1, 3, 25, 70, 1_200, 18_000, 100_000]);
                self.weather.set_clock(self.weather.now() + seconds * 1000);
                self.weather.tell(|| format!("{seconds} seconds pass"));
            }
        }
    }

    /// The provider hands an update over.
    fn deliver(&mut self, at: usize) {
        let update = self.channel.updates[at].clone();
        self.weather
            .tell(|| format!("the provider delivers {}", update.id));
        if self.weather.has(Fault::AcknowledgesBeforeStoring) {
            self.channel.updates[at].acknowledged = true;
        }
        let stored = match &update.kind {
            Kind::Message(payload) => self.takes(&Delivery {
                id: update.id.clone(),
                conversation: update.conversation.to_owned(),
                payload: payload.write(),
            }),
            Kind::Pressed { call, yes } => self.pressed(update.conversation, call, *yes),
        };
        let arrives = self.weather.calm.get() || !self.weather.chance.one_in(12);
        if stored && arrives {
            self.channel.updates[at].acknowledged = true;
        } else {
            self.channel.updates[at].next_at = self.weather.now() + RETRY_MILLIS;
        }
    }

    /// The person writes.
    fn write(&mut self) {
        self.to_write -= 1;
        let chance = &self.weather.chance;
        let conversation = chance.pick(&[CHAT, CHAT, CHAT, PAGE]);
        let number = self.channel.updates.len();
        let payload = match chance.below(20) {
            0 | 1 => Payload::Stop,
            2 => Payload::Words("stop".into()),
            3 | 4 => Payload::Command,
            5 if self.poison => Payload::Poison,
            _ => Payload::Words(format!("m{number}")),
        };
        self.channel.add(conversation, Kind::Message(payload));
    }

    /// The person answers a question; sometimes twice, sometimes both ways.
    fn decide(&mut self, at: usize) {
        let chance = &self.weather.chance;
        let (conversation, call) = self.channel.questions[at].clone();
        if self.weather.calm.get() || !chance.one_in(6) {
            self.channel.questions.remove(at);
        }
        let yes = !chance.one_in(4);
        let pressed = if yes {
            &mut self.truth.yes
        } else {
            &mut self.truth.no
        };
        pressed.push(call.clone());
        let kind = if conversation == CHAT {
            Kind::Message(Payload::Decision { call, yes })
        } else {
            Kind::Pressed { call, yes }
        };
        self.channel.add(conversation, kind);
    }

    /// Nothing moves: the clock goes on to the next wait or alarm; a person who sees nothing at last says stop. False: all is at rest.
    fn wait_for_something(&mut self) -> bool {
        let waits = self
            .instance
            .iter()
            .flat_map(|instance| &instance.flights)
            .filter_map(|flight| match flight.stage {
                Stage::Waiting(until) => Some(until),
                Stage::Ready | Stage::Thought(_) | Stage::Leaving(_) | Stage::Answered(..) => None,
            });
        let unheard = self
            .channel
            .updates
            .iter()
            .filter(|update| !update.acknowledged);
        let wait = waits.chain(unheard.map(|update| update.next_at)).min();
        let alarm = self.tables.borrow().alarm;
        let now = self.weather.now();
        match (wait, alarm) {
            (Some(wait), alarm) if alarm.is_none_or(|alarm| wait <= alarm) => {
                self.weather.set_clock(now.max(wait));
                true
            }
            // Nobody waits for a day in front of a question that they do not see; and what is due then is nothing that rests now.
            (_, Some(alarm)) if alarm > now + PATIENCE_MILLIS => {
                self.loses_patience() || alarm <= self.deadline && self.ring_at(alarm)
            }
            (_, Some(alarm)) => self.ring_at(alarm),
            (_, None) => self.loses_patience(),
        }
    }

    /// A state becomes unreadable on the disk.
    fn rot(&mut self) {
        let name = self.weather.chance.pick(&[CHAT, PAGE]);
        if let Some(row) = self.tables.borrow_mut().conversations.get_mut(name) {
            self.weather
                .tell(|| format!("what is kept of {name} becomes unreadable"));
            row.kept.machine = ROTTEN.into();
            self.rotten = Some(name);
            self.trouble.rots = false;
        }
    }

    fn ring_at(&mut self, alarm: i64) -> bool {
        let hour = self.calm_since + PATIENCE_MILLIS;
        if self.weather.now() <= hour && hour < alarm {
            promises::nothing_is_overdue(self);
        }
        self.weather.set_clock(self.weather.now().max(alarm));
        self.ring();
        true
    }

    fn loses_patience(&mut self) -> bool {
        let unseen = promises::unseen_question(self);
        let Some(conversation) = unseen.filter(|_| self.stops < 4) else {
            return false;
        };
        self.stops += 1;
        self.channel.add(conversation, Kind::Message(Payload::Stop));
        true
    }
}

/// What can happen around one machine.
fn machine_possible(
    at: usize,
    home: &Home,
    sockets: &BTreeMap<&'static str, String>,
    doings: &mut Vec<(Doing, u64)>,
) {
    if home.is_gone {
        // it stays away
    } else if !home.runs() {
        doings.push((Doing::Revive(at), 4));
    } else if home.owes_lost {
        doings.push((Doing::HomeNotices(at), 4));
    } else if home.wire.is_none() && home.is_paired {
        doings.push((Doing::Dial(at), 4));
    }
    for task in 0..home.tasks.len() {
        doings.push((Doing::Work(at, task), 5));
    }
    let alive = home.wire.as_ref().filter(|wire| !wire.cut);
    if let Some(wire) = alive {
        if !wire.down.is_empty() {
            doings.push((Doing::Receive(at), 8));
        }
        if !wire.up.is_empty() {
            doings.push((Doing::Hear(at), 8));
        }
    }
    let believed = sockets.get(home.name);
    if believed.is_some_and(|session| alive.is_none_or(|wire| wire.session != *session)) {
        doings.push((Doing::ObjectNotices(at), 3));
    }
}
