//! The shell around the driver, as the Durable Object is one: performs acts, tells what came of them, dies, and wakes again.

use crate::channel::{Payload, parts};
use crate::faults::Fault;
use crate::home::{Down, Home, Up};
use crate::model::{self, Thought};
use crate::rows::{Disk, Trouble};
use crate::world::{PAGE, World};
use agent::event::{Decision, Message, SayId};
use agent::{Effect, Event, Trust};
use driver::{
    Act, Answer, BACKSTOP_MILLIS, Consent, Delivery, Driver, Line, Outside, Parcel, Rows,
    SHORT_WAIT_MILLIS, SendingState, Was, What, Where,
};
use protocol::call::{CallId, Outcome, ToolCall, ToolName};
use protocol::warrant::CANCEL;
use serde_json::json;

/// One awake instance and what it is in the middle of.
pub(crate) struct Instance {
    pub(crate) driver: Driver<Disk>,
    pub(crate) flights: Vec<Flight>,
    /// Something could not be looked at or noted: it stays awake and looks again soon.
    pub(crate) looks_again: bool,
}

/// An act that is being performed.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub(crate) act: Act,
    pub(crate) stage: Stage,
}

/// How far it is.
#[derive(Debug, Clone)]
pub(crate) enum Stage {
    /// Nothing has been done.
    Ready,
    /// The model has answered; nobody has been told.
    Thought(Thought),
    /// A parcel is written down and has not left.
    Leaving(Parcel),
    /// The provider has answered; nobody has been told.
    Answered(Parcel, Answer),
    /// The courier waits awake.
    Waiting(i64),
}

/// What the courier must know that is not in the rows.
struct Edge;

impl Outside<Trouble> for Edge {
    fn is_page(&self, conversation: &str) -> bool {
        conversation == PAGE
    }

    fn parts(&self, what: &What) -> usize {
        parts(what)
    }

    fn consent(&self, call: &ToolCall) -> Result<Consent, Trouble> {
        Ok(match call.arguments["argv"][0].as_str() {
            Some("forbidden") => Consent::Forbidden("the machine's policy forbids it".to_owned()),
            Some("granted") => Consent::Given,
            Some(_) | None => Consent::Ask,
        })
    }

    fn question_millis(&self) -> i64 {
        8 * 60 * 60 * 1000
    }
}

type Performed = Result<Vec<Act>, Trouble>;

impl World {
    /// Has an instance awake; a new one looks back first. False if it died of that.
    pub(crate) fn wake(&mut self) -> bool {
        let looks = match &self.instance {
            Some(instance) => instance.looks_again,
            None => true,
        };
        if self.instance.is_none() {
            self.weather.tell(|| "the object wakes".into());
            self.wakings += 1;
            self.instance = Some(Instance {
                driver: Driver::new(Disk::new(&self.tables, &self.weather)),
                flights: vec![],
                looks_again: false,
            });
        }
        if looks && !self.weather.has(Fault::NoResume) {
            self.resume();
        }
        self.instance.is_some()
    }

    /// Takes up whatever is left to be done. What cannot be looked at is looked at again soon.
    pub(crate) fn resume(&mut self) {
        let now = self.weather.now();
        let Some(instance) = &mut self.instance else {
            return;
        };
        let (acts, troubles) = instance.driver.resume(now);
        instance.looks_again = !troubles.is_empty();
        self.launch(acts);
        for trouble in troubles {
            self.weather.tell(|| format!("resuming failed: {trouble}"));
            self.die_of(&trouble);
        }
        let again = self
            .instance
            .as_ref()
            .filter(|instance| instance.looks_again);
        let set = again.map(|instance| instance.driver.rows().wake_by(now + 2_000));
        if let Some(Err(trouble)) = set {
            self.die_of(&trouble);
        }
    }

    /// Wakes, and looks back in any case.
    fn wake_and_look(&mut self) -> bool {
        let looks = self
            .instance
            .as_ref()
            .is_some_and(|instance| !instance.looks_again);
        if self.wake() && looks {
            self.resume();
        }
        self.instance.is_some()
    }

    pub(crate) fn launch(&mut self, acts: Vec<Act>) {
        if let Some(instance) = &mut self.instance {
            for act in acts {
                self.weather
                    .tell(|| format!("the driver asks: {}", act.name()));
                self.thinks += u32::from(matches!(act, Act::Think { .. }));
                let stage = Stage::Ready;
                instance.flights.push(Flight { act, stage });
            }
        }
    }

    /// The instance and its sockets are gone; only the rows stay.
    pub(crate) fn crash(&mut self) {
        self.weather.tell(|| "the object CRASHES".into());
        self.instance = None;
        self.sockets.clear();
        self.homes.iter_mut().for_each(Home::cut);
    }

    fn die_of(&mut self, trouble: &Trouble) {
        match trouble {
            Trouble::Crash => self.crash(),
            Trouble::Failed(_) | Trouble::Unreadable(_) => {}
        }
    }

    /// The alarm rings: resumes, and is set for what is due. The platform rings again when that fails.
    pub(crate) fn ring(&mut self) {
        self.weather.tell(|| "the alarm rings".into());
        self.tables.borrow_mut().alarm = None;
        if !(self.wake_and_look() && self.set_alarm()) {
            let mut tables = self.tables.borrow_mut();
            let again = self.weather.now() + 2_000;
            tables.alarm = Some(tables.alarm.map_or(again, |alarm| alarm.min(again)));
        }
    }

    fn set_alarm(&mut self) -> bool {
        if self.weather.has(Fault::AlarmForgetsDue) {
            return true;
        }
        let now = self.weather.now();
        let Some(instance) = &self.instance else {
            return false;
        };
        let is_here = |line: &Line| self.sockets.get(line.bridge.as_str()) == Some(&line.session);
        let set = instance.driver.due(is_here, now).and_then(|due| match due {
            Some(due) => instance.driver.rows().wake_by(due),
            None => Ok(()),
        });
        match set {
            Ok(()) => true,
            Err(trouble) => {
                self.die_of(&trouble);
                false
            }
        }
    }

    /// A stored message's door: true when it may be acknowledged.
    pub(crate) fn takes(&mut self, delivery: &Delivery) -> bool {
        let now = self.weather.now();
        if !self.wake() {
            return false;
        }
        let heard = self
            .instance
            .as_ref()
            .map(|instance| instance.driver.heard_from(&delivery.conversation, now));
        if !self.follow(heard) {
            return false;
        }
        let taken = self
            .instance
            .as_ref()
            .map(|instance| instance.driver.take(delivery, now));
        self.follow(taken)
    }

    /// An approval's button on a page: true when it may be acknowledged. A page shows what went wrong and does not press again.
    pub(crate) fn pressed(&mut self, conversation: &str, call: &CallId, yes: bool) -> bool {
        if !self.wake() {
            return false;
        }
        let decided = self.decided(conversation, call, yes);
        let is_shown = matches!(decided, Err(Trouble::Unreadable(_)));
        if is_shown {
            self.resume(); // what cannot be read is put out of the way, and the person told
        }
        self.follow(Some(decided)) || is_shown
    }

    fn decided(&self, conversation: &str, call: &CallId, yes: bool) -> Performed {
        let now = self.weather.now();
        let yes = yes || self.weather.has(Fault::NoTakenForYes);
        let decision = if yes { Decision::Once } else { Decision::No };
        let told = self.driver()?.step_if(conversation, now, |_, machine| {
            let asks = |effect: &Effect| matches!(effect, Effect::AskPerson { call: open } if open.id == *call);
            let open = machine.outstanding().iter().any(asks);
            let (call, at) = (call.clone(), now);
            Ok(open.then_some(Event::Decided { call, decision, at }))
        });
        told.map(Option::unwrap_or_default)
    }

    fn follow(&mut self, performed: Option<Performed>) -> bool {
        match performed {
            Some(Ok(acts)) => {
                self.launch(acts);
                true
            }
            Some(Err(trouble)) => {
                self.weather.tell(|| format!("it failed: {trouble}"));
                self.die_of(&trouble);
                false
            }
            None => false,
        }
    }

    /// A frame from a machine.
    pub(crate) fn hears(&mut self, home: usize) {
        let wire = self.homes[home].wire.as_mut().filter(|wire| !wire.cut);
        let Some((frame, session)) =
            wire.and_then(|wire| Some((wire.up.pop_front()?, wire.session.clone())))
        else {
            return;
        };
        let name = self.homes[home].name;
        self.weather
            .tell(|| format!("the object hears {name}: {frame:?}"));
        let heard = match frame {
            Up::Hello => {
                self.sockets.insert(name, session);
                self.weather.has(Fault::ReturnNotNoticed) || self.wake_and_look()
            }
            Up::Result { call, outcome } => self.wake() && self.came_home(home, &call, &outcome),
        };
        if !heard && self.instance.is_some() {
            self.weather
                .tell(|| format!("the object closes the line of {name}"));
            self.sockets.remove(name);
            self.homes[home].cut();
        }
    }

    fn came_home(&mut self, home: usize, call: &CallId, outcome: &str) -> bool {
        let Ok(outcome) = serde_json::from_str::<Outcome>(outcome) else {
            return false;
        };
        let now = self.weather.now();
        let told = self.instance.as_ref().map(|instance| {
            instance
                .driver
                .came_home(call, &outcome, "receipt", "home", now)
        });
        let failed = matches!(told, Some(Err(Trouble::Failed(_))));
        if failed && self.weather.has(Fault::AcknowledgesLostResult) {
            self.send(home, Down::Acknowledged(call.clone()));
            return true;
        }
        self.follow(told)
    }

    /// The object sees that a machine's line is gone.
    pub(crate) fn notices_loss(&mut self, name: &'static str) {
        self.weather
            .tell(|| format!("the object notices that {name} is gone"));
        self.sockets.remove(name);
        self.wake_and_look();
    }

    /// The person puts a machine out: its line is closed, and what waited for it waits in vain. That it is out and that somebody looks
    /// at what waited are saved together.
    pub(crate) fn unpair(&mut self, home: usize) {
        let (name, soon) = (self.homes[home].name, self.weather.now() + BACKSTOP_MILLIS);
        if !self.wake() {
            return;
        }
        self.weather.tell(|| format!("the person unpairs {name}"));
        let saved = self.driver().and_then(|driver| driver.rows().wake_by(soon));
        if !self.follow(Some(saved.map(|()| vec![]))) {
            return;
        }
        self.homes[home].is_paired = false;
        self.homes[home].cut();
        self.sockets.remove(name);
        self.resume();
    }

    /// One act goes one stage on.
    pub(crate) fn fly(&mut self, at: usize) {
        let Some(instance) = &mut self.instance else {
            return;
        };
        let Flight { act, stage } = instance.flights.remove(at);
        match &act {
            Act::Take { delivery } => {
                let done = self.handle(delivery);
                self.land(&act, done);
            }
            Act::Think {
                conversation,
                ask,
                tools,
            } => match stage {
                Stage::Thought(thought) => {
                    let told = self.tell_thought(conversation, ask, thought);
                    self.land(&act, told);
                }
                Stage::Ready | Stage::Leaving(_) | Stage::Answered(..) | Stage::Waiting(_) => {
                    self.ask_model(conversation, &ask.0, *tools, &act);
                }
            },
            Act::Send { conversation } => self.courier(conversation, &act, stage),
            Act::RunHere { conversation, call } => {
                let ran = self.poisoned(&act).and_then(|()| {
                    self.driver()?
                        .run_here(conversation, call, self.weather.now())
                });
                self.land(&act, ran);
            }
            Act::Place { conversation, call } => {
                let placed = self
                    .poisoned(&act)
                    .and_then(|()| self.place(conversation, call));
                self.land(&act, placed);
            }
            Act::Order { call, line, .. } => self.frame(line, Down::Order(call.clone())),
            Act::CallOff { call, line } => {
                let cancel = ToolCall {
                    id: CallId(format!("{call}-cancel")),
                    tool: ToolName::new(CANCEL),
                    arguments: json!({"call": call}),
                };
                self.frame(line, Down::Order(cancel));
            }
            Act::Acknowledge { call } => self.acknowledge(call),
            Act::Retract { .. } => {} // a kindness to the eye
            Act::Abandon { ask } => self.abandon(&ask.0),
        }
    }

    fn driver(&self) -> Result<&Driver<Disk>, Trouble> {
        self.instance
            .as_ref()
            .map(|instance| &instance.driver)
            .ok_or(Trouble::Crash)
    }

    /// Fails each time for acts whose name the seed has cursed, and now and then for others.
    fn poisoned(&self, act: &Act) -> Result<(), Trouble> {
        if !self.poison {
            return Ok(());
        }
        let hash = act.name().bytes().fold(self.curse, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        if !self.weather.calm.get() && self.weather.chance.one_in(4) {
            return Err(Trouble::Failed("it fails this time"));
        }
        if (hash >> 20).is_multiple_of(5) {
            return Err(Trouble::Failed("it fails each time"));
        }
        Ok(())
    }

    /// A tracked act is over: what follows is begun, or its failure is told.
    fn land(&mut self, act: &Act, performed: Performed) {
        let now = self.weather.now();
        match performed {
            Ok(acts) => {
                if let Some(instance) = &self.instance {
                    instance.driver.end(act);
                }
                self.launch(acts);
            }
            Err(Trouble::Crash) => self.crash(),
            Err(trouble @ (Trouble::Failed(_) | Trouble::Unreadable(_))) => {
                self.weather
                    .tell(|| format!("{} failed: {trouble}", act.name()));
                let failed = self
                    .instance
                    .as_ref()
                    .map(|instance| instance.driver.failed(act, &trouble.to_string(), now));
                if let (Act::Think { ask, .. }, Some(Err(Trouble::Failed(_)))) = (act, &failed) {
                    self.bills.retain(|(open, _)| *open != ask.0); // refused twice in a row: nobody could have noted it
                }
                let is_noted = self.follow(failed);
                if let Some(instance) = self.instance.as_mut().filter(|_| !is_noted) {
                    instance.looks_again = true;
                }
            }
        }
    }

    fn handle(&mut self, delivery: &Delivery) -> Performed {
        let now = self.weather.now();
        if let Payload::Decision { call, yes } = Payload::read(&delivery.payload) {
            let acts = self.decided(&delivery.conversation, &call, yes)?;
            self.launch(acts); // begun, whatever becomes of the rest
            return self.driver()?.handled(delivery, None, now);
        }
        let driver = self.driver()?;
        match Payload::read(&delivery.payload) {
            Payload::Words(text) => {
                let message = Message {
                    text,
                    quoted: None,
                    attachments: Vec::new(),
                    trust: Trust::Owner,
                    at: now,
                };
                driver.said(delivery, &message, now)
            }
            Payload::Decision { .. } => driver.handled(delivery, None, now),
            Payload::Poison => Err(Trouble::Failed("these words cannot be handled")),
            Payload::Command => {
                let notice = Event::Notice {
                    say: SayId(format!("command-{}", delivery.id)),
                    text: "All is well.".into(),
                    buttons: vec![],
                };
                driver.handled(delivery, Some(&notice), now)
            }
            Payload::Stop => driver.handled(delivery, Some(&Event::Stopped { at: now }), now),
        }
    }

    fn ask_model(&mut self, conversation: &str, ask: &str, tools: bool, act: &Act) {
        if let Err(trouble) = self.poisoned(act) {
            return self.land(act, Err(trouble));
        }
        self.asked += 1;
        let thought = {
            let tables = self.tables.borrow();
            let lines = tables
                .lines
                .get(conversation)
                .map_or(&[][..], Vec::as_slice);
            model::think(&self.weather, self.asked, lines, tools)
        };
        if let Thought::Reply(reply) = &thought {
            self.bills.push((ask.to_owned(), reply.usage));
        }
        self.weather
            .tell(|| format!("the model, to {ask}: {thought:?}"));
        let (act, stage) = (act.clone(), Stage::Thought(thought));
        self.fly_on(Flight { act, stage });
    }

    fn fly_on(&mut self, flight: Flight) {
        if let Some(instance) = &mut self.instance {
            instance.flights.push(flight);
        }
    }

    fn tell_thought(
        &self,
        conversation: &str,
        ask: &agent::event::AskId,
        thought: Thought,
    ) -> Performed {
        let (driver, now) = (self.driver()?, self.weather.now());
        match thought {
            Thought::Reply(reply) => {
                let mut acts = vec![];
                if self.weather.has(Fault::ReplyToldTwice) {
                    acts = driver.replied(conversation, ask, reply.clone(), now)?;
                }
                acts.extend(driver.replied(conversation, ask, reply, now)?);
                Ok(acts)
            }
            Thought::Failure(failure) => driver.model_failed(conversation, ask, failure, now),
        }
    }

    fn abandon(&mut self, ask: &str) {
        let listens =
            |flight: &Flight| matches!(&flight.act, Act::Think { ask: open, .. } if open.0 == ask);
        let Some(instance) = &mut self.instance else {
            return;
        };
        let Some(at) = instance.flights.iter().position(listens) else {
            return;
        };
        if !self.weather.calm.get() && self.weather.chance.one_in(3) {
            return; // its answer was already on the way
        }
        let flight = instance.flights.remove(at);
        instance.driver.end(&flight.act);
    }

    fn courier(&mut self, conversation: &str, act: &Act, stage: Stage) {
        let now = self.weather.now();
        match stage {
            Stage::Ready | Stage::Waiting(_) | Stage::Thought(_) => {
                self.next_parcel(conversation, act);
            }
            Stage::Leaving(parcel) => {
                if !self.weather.calm.get() && self.weather.chance.one_in(self.weather.error_in) {
                    return self.land(act, Err(Trouble::Failed("the parcel could not be made up")));
                }
                let answer = self.channel.takes(&parcel);
                if self.weather.has(Fault::SecondCourier) && self.weather.chance.one_in(4) {
                    self.channel.takes(&parcel);
                }
                let (act, stage) = (act.clone(), Stage::Answered(parcel, answer));
                self.fly_on(Flight { act, stage });
            }
            Stage::Answered(parcel, answer) => {
                let mut told = answer.clone();
                if let Answer::Unclear(reason) = &answer
                    && self.weather.has(Fault::UnclearAsNotTaken)
                {
                    told = Answer::NotTaken(reason.clone());
                }
                let roll = u8::try_from(self.weather.chance.below(256)).unwrap_or(0);
                let noted = self
                    .driver()
                    .and_then(|driver| driver.answered(&parcel, told, &Edge, roll, now));
                match noted {
                    Ok(wait) => {
                        self.channel.noted(&parcel, &answer);
                        self.wait(act, now + wait);
                    }
                    Err(trouble) => {
                        let row = self.tables.borrow().sendings.get(&parcel.id()).cloned();
                        if row.is_some_and(|row| row.state != SendingState::Sending) {
                            self.channel.noted(&parcel, &answer); // kept, although the instance died of it
                        }
                        self.land(act, Err(trouble));
                    }
                }
            }
        }
    }

    fn next_parcel(&mut self, conversation: &str, act: &Act) {
        let now = self.weather.now();
        let next = self
            .driver()
            .and_then(|driver| driver.next_parcel(conversation, &Edge, now));
        match next {
            Ok((was, acts)) => {
                self.launch(acts);
                match was {
                    Was::Parcel(parcel) => {
                        self.weather
                            .tell(|| format!("on its way: {} {:?}", parcel.id(), parcel.what));
                        let (act, stage) = (act.clone(), Stage::Leaving(parcel));
                        self.fly_on(Flight { act, stage });
                    }
                    Was::Page(parcel) => self.show(conversation, &parcel, act),
                    Was::Held { until } => self.wait(act, until),
                    Was::Nothing => self.land(act, Ok(vec![])),
                }
            }
            Err(trouble) => self.land(act, Err(trouble)),
        }
    }

    fn show(&mut self, conversation: &str, parcel: &Parcel, act: &Act) {
        let now = self.weather.now();
        let shown = self.driver().and_then(|driver| {
            let put = |rows: &Disk| rows.write(|tables| tables.show_on_page(parcel.id()));
            driver.shown(conversation, parcel, put, &Edge, now)
        });
        match shown {
            Ok(acts) => {
                self.weather
                    .tell(|| format!("the page shows {} {:?}", parcel.id(), parcel.what));
                self.channel.shows(PAGE, parcel);
                self.launch(acts);
                self.wait(act, now);
            }
            Err(trouble) => self.land(act, Err(trouble)),
        }
    }

    /// The courier goes on at that time, if that is soon; otherwise the alarm comes back to it.
    fn wait(&mut self, act: &Act, until: i64) {
        if until - self.weather.now() <= SHORT_WAIT_MILLIS {
            let (act, stage) = (act.clone(), Stage::Waiting(until));
            self.fly_on(Flight { act, stage });
        } else {
            self.land(act, Ok(vec![]));
        }
    }

    fn place(&mut self, conversation: &str, call: &ToolCall) -> Performed {
        let now = self.weather.now();
        let wanted = self
            .tables
            .borrow()
            .calls
            .get(&call.id)
            .and_then(|row| row.bridge.clone());
        let place = self.find(wanted.as_deref());
        if self.weather.has(Fault::OrdersBeforeSaving)
            && let Where::Here(line) = &place
        {
            self.frame(line, Down::Order(call.clone()));
        }
        self.driver()?
            .place(conversation, call, |bridge| Ok(self.find(bridge)), now)
    }

    /// Where a call could run: on the machine that it was ordered from, or on whichever is there.
    fn find(&self, bridge: Option<&str>) -> Where {
        let wanted = |home: &&Home| home.is_paired && bridge.is_none_or(|name| name == home.name);
        let mut homes = self.homes.iter().filter(wanted);
        let mut away = Where::Nowhere;
        let line = homes.find_map(|home| {
            if matches!(away, Where::Nowhere) {
                away = Where::Away(home.name.to_owned());
            }
            let session = self.sockets.get(home.name)?.clone();
            let bridge = home.name.to_owned();
            Some(Line { bridge, session })
        });
        line.map_or(away, Where::Here)
    }

    /// A frame leaves, if that connection is still there for the object; it may break on the way.
    fn frame(&mut self, line: &Line, frame: Down) {
        let now = self.weather.now();
        let home = self.homes.iter_mut().find(|home| home.name == line.bridge);
        let wire = home.and_then(|home| home.wire.as_mut());
        if let Some(wire) = wire.filter(|wire| wire.session == line.session && !wire.cut) {
            wire.down.push_back((now, frame));
        }
    }

    fn send(&mut self, home: usize, frame: Down) {
        let bridge = self.homes[home].name.to_owned();
        if let Some(session) = self.sockets.get(bridge.as_str()).cloned() {
            self.frame(&Line { bridge, session }, frame);
        }
    }

    fn acknowledge(&mut self, call: &CallId) {
        let name = call.0.strip_suffix("-cancel").unwrap_or(&call.0).to_owned();
        let row = self.tables.borrow().calls.get(&CallId(name)).cloned();
        let bridge = row.and_then(|row| row.bridge);
        let mut homes = self.homes.iter();
        if let Some(home) = homes.position(|home| bridge.as_deref() == Some(home.name)) {
            self.send(home, Down::Acknowledged(call.clone()));
        }
    }
}
