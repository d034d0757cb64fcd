//! Decide, save, act. Nothing here is `async` between loading and saving, so no two events can interleave in one object.

use super::db::Db;
use super::{CONSOLE, Heart, console, courier, now, store};
use crate::channels::console::ToPage;
use crate::error::Result;
use crate::tools::reminders;
use agent::event::SayId;
use agent::{Effect, Event};
use protocol::tools::Place;
use std::rc::Rc;
use std::time::Duration;
use worker::{Delay, console_error};

/// How long after an event the alarm looks whether its work was done: an evicted or crashed object resumes then.
pub(super) const BACKSTOP_MILLIS: i64 = 20_000;

/// How long an alarm stays up for work under way. The runtime allows fifteen minutes.
const WATCH: Duration = Duration::from_mins(10);

/// How often it looks.
const LOOK: Duration = Duration::from_millis(500);

impl Heart {
    /// Tells the agent what happened, saves what it decided, and starts what it asked for.
    pub(super) fn step(self: &Rc<Self>, conversation: &str, event: &Event) -> Result<()> {
        self.step_if(conversation, |_| Ok(Some(event.clone())))
            .map(|_| ())
    }

    /// The same for news that is only known inside the transaction: rows that go with it are saved with it. False if there was none.
    pub(super) fn step_if(
        self: &Rc<Self>,
        conversation: &str,
        news: impl Fn(&Db) -> Result<Option<Event>>,
    ) -> Result<bool> {
        let saved = self.db.transaction(|db| {
            let Some(event) = news(db)? else {
                return Ok(None);
            };
            let mut machine = store::load(db, conversation)?;
            let effects = machine.handle(event.clone());
            store::save(db, conversation, &mut machine)?;
            let items = if conversation == CONSOLE {
                console::note(db, &event, &effects, now())?
            } else {
                Vec::new()
            };
            Ok(Some((effects, items)))
        })?;
        let Some((effects, items)) = saved else {
            return Ok(false);
        };
        for item in items {
            self.show(&ToPage::Item { item });
        }
        if conversation == CONSOLE {
            self.show(&ToPage::Working {
                on: self.is_working()?,
            });
        }
        self.act(conversation, effects);
        Ok(true)
    }

    /// Starts effects, each at most once at a time.
    pub(super) fn act(self: &Rc<Self>, conversation: &str, effects: Vec<Effect>) {
        for effect in effects {
            let name = name(conversation, &effect);
            if !self.in_flight.borrow_mut().insert(name.clone()) {
                continue;
            }
            let (heart, conversation) = (Rc::clone(self), conversation.to_owned());
            self.state.wait_until(async move {
                if needs_watch(&effect) {
                    heart.arm_in(BACKSTOP_MILLIS).await;
                }
                let performed = heart.perform(&conversation, effect).await;
                heart.in_flight.borrow_mut().remove(&name);
                if let Err(error) = performed {
                    console_error!("{name}: {error}");
                }
            });
        }
    }

    /// Starts again what is awaited and not under way.
    pub(super) fn resume(self: &Rc<Self>) -> Result<()> {
        for (conversation, effects) in store::outstanding(&self.db)? {
            self.act(&conversation, effects);
        }
        Ok(())
    }

    /// The alarm: resumes, stays up while there is work, and comes again while there may be more.
    pub(super) async fn ring(self: &Rc<Self>) -> Result<()> {
        self.alarm_at.set(0);
        self.wake()?;
        self.remind()?;
        self.resume()?;
        let until = now() + i64::try_from(WATCH.as_millis()).unwrap_or(i64::MAX);
        while !self.in_flight.borrow().is_empty() && now() < until {
            Delay::from(LOOK).await;
        }
        store::prune(&self.db, now())?;
        self.arm_for_due().await
    }

    /// Tells the reminders whose time has come; each is marked as told in the transaction that says it.
    fn remind(self: &Rc<Self>) -> Result<()> {
        for reminder in reminders::due(&self.db, now())? {
            let say = SayId(format!("reminder-{}", reminder.id));
            let text = reminder.words(now());
            self.step_if(&reminder.conversation, |db| {
                let due = reminders::tell(db, reminder.id)?;
                Ok(due.then(|| Event::Notice {
                    say: say.clone(),
                    text: text.clone(),
                    buttons: Vec::new(),
                }))
            })?;
        }
        Ok(())
    }

    /// Sets the alarm for whatever is due first.
    pub(super) async fn arm_for_due(&self) -> Result<()> {
        if let Some(at) = self.next_due()? {
            self.arm_in((at - now()).max(0)).await;
        }
        Ok(())
    }

    /// When the object must look again by itself, if at all: a person's yes and a machine that comes back announce themselves.
    fn next_due(&self) -> Result<Option<i64>> {
        let mut due = courier::held_until(&self.db)?
            .into_iter()
            .chain(reminders::next(&self.db)?)
            .min();
        for (_, effects) in store::outstanding(&self.db)? {
            let held = courier::is_held(&self.db, &effects)?;
            for effect in effects {
                let at = match effect {
                    Effect::Say { .. } if held => continue, // its own time counts, or that of the one before it
                    Effect::AskModel { .. }
                    | Effect::Say { .. }
                    | Effect::Run {
                        place: Place::Worker,
                        ..
                    } => now() + BACKSTOP_MILLIS,
                    Effect::Run {
                        call,
                        place: Place::Bridge,
                    } => self.call_due(&call.id)?,
                    Effect::AskPerson { .. } | Effect::Cancel { .. } | Effect::Abandon { .. } => {
                        continue;
                    }
                };
                due = Some(due.map_or(at, |due: i64| due.min(at)));
            }
        }
        Ok(due)
    }

    /// Sets the alarm unless one rings sooner. Setting it writes a row, so it is not moved with each event.
    pub(super) async fn arm_in(&self, millis: i64) {
        let at = now() + millis;
        if self.alarm_at.get() == 0 {
            // An instance that has just woken does not know the alarm of the one before: a later one must not replace it.
            let kept = self.state.storage().get_alarm().await.ok().flatten();
            if self.alarm_at.get() == 0 {
                self.alarm_at.set(kept.unwrap_or(0));
            }
        }
        let set = self.alarm_at.get();
        if set > now() && set <= at {
            return;
        }
        self.alarm_at.set(at);
        let wait = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        if let Err(error) = self.state.storage().set_alarm(wait).await {
            self.alarm_at.set(0);
            console_error!("setting the alarm: {error}");
        }
    }
}

/// Whether the alarm must look after an effect from the start. A parked one, waiting for a yes or a machine, costs nothing.
fn needs_watch(effect: &Effect) -> bool {
    match effect {
        Effect::AskModel { .. }
        | Effect::Say { .. }
        | Effect::Run {
            place: Place::Worker,
            ..
        } => true,
        Effect::Run {
            place: Place::Bridge,
            ..
        }
        | Effect::AskPerson { .. }
        | Effect::Cancel { .. }
        | Effect::Abandon { .. } => false,
    }
}

/// Names what is under way. All that is said in a conversation goes through one courier, so that it keeps its order.
fn name(conversation: &str, effect: &Effect) -> String {
    match effect {
        Effect::AskModel { ask, .. } => format!("ask {}", ask.0),
        Effect::Run { call, .. } => format!("run {}", call.id),
        Effect::AskPerson { call } => format!("question {}", call.id),
        Effect::Say { .. } => format!("courier {conversation}"),
        Effect::Cancel { call } => format!("cancel {call}"),
        Effect::Abandon { ask } => format!("abandon {}", ask.0),
    }
}
