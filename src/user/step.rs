//! Acting: what the driver returns is performed here. Between telling the driver and saving nothing is `async`, so no two events can
//! interleave in one object.

use super::db::Db;
use super::perform::{Allowance, Done};
use super::{CONSOLE, Heart, PAGE_TAG, now, store};
use crate::channels::console::ToPage;
use crate::error::Result;
use crate::tools::reminders;
use agent::event::SayId;
use agent::{Conversation, Event};
use driver::{Act, BACKSTOP_MILLIS};
use std::rc::Rc;
use std::time::Duration;
use worker::{Delay, console_error, console_log};

/// How long an alarm stays up for work under way. The runtime allows fifteen minutes.
const WATCH: Duration = Duration::from_mins(10);

/// How often it looks.
const LOOK: Duration = Duration::from_millis(500);

impl Heart {
    /// Tells the agent what happened, and does what it asks for.
    pub(super) fn step(self: &Rc<Self>, conversation: &str, event: &Event) -> Result<()> {
        let acts = self.driver.step(conversation, event, now())?;
        self.act(acts);
        Ok(())
    }

    /// The same for news that is only known inside the transaction: rows that go with it are saved with it. False if there was none.
    pub(super) fn step_if(
        self: &Rc<Self>,
        conversation: &str,
        news: impl Fn(&Db, &Conversation) -> Result<Option<Event>>,
    ) -> Result<bool> {
        let acts = self.driver.step_if(conversation, now(), news)?;
        let told = acts.is_some();
        self.act(acts.unwrap_or_default());
        Ok(told)
    }

    /// Performs what has been saved, within the invocation that came last.
    pub(super) fn act(self: &Rc<Self>, acts: Vec<Act>) {
        self.act_within(&self.allowance(), acts);
    }

    /// Performs what has been saved: messages at once and in order, the rest each at its own pace. What an act leads to counts for the
    /// invocation in which that began.
    pub(super) fn act_within(self: &Rc<Self>, allowance: &Allowance, acts: Vec<Act>) {
        self.show_changes();
        for act in acts {
            if act.is_tracked() {
                let (heart, allowance) = (Rc::clone(self), allowance.clone());
                self.state.wait_until(async move {
                    heart.perform_to_the_end(act, &allowance).await;
                });
            } else if let Err(error) = self.say_to_others(&act) {
                console_error!("{}: {error}", act.name()); // whoever waits for it is told again at the next look
            }
        }
    }

    async fn perform_to_the_end(self: Rc<Self>, act: Act, allowance: &Allowance) {
        let acts = match self.perform(&act, allowance).await {
            Ok(Done::Wholly) => {
                self.driver.end(&act);
                return;
            }
            Ok(Done::OutOfAllowance) => {
                console_log!("{} goes on in an invocation of its own", act.name());
                self.driver.end(&act);
                self.db().set_alarm_by(now()).map(|()| Vec::new())
            }
            Err(error) => {
                console_error!("{}: {error}", act.name());
                self.driver.failed(&act, &error.to_string(), now())
            }
        };
        match acts {
            Ok(acts) => self.act_within(allowance, acts),
            Err(error) => {
                console_error!("{}: {error}", act.name());
                self.look_again();
            }
        }
    }

    /// Lets every open page follow what was saved.
    fn show_changes(&self) {
        let items = self.db().take_shown();
        if self.state.get_websockets_with_tag(PAGE_TAG).is_empty() {
            return;
        }
        for item in items {
            self.show(&ToPage::Item { item });
        }
        match self.is_working() {
            Ok(on) => self.show(&ToPage::Working { on }),
            Err(error) => console_error!("whether {CONSOLE} is at work: {error}"),
        }
    }

    /// The alarm: resumes, stays up while there is work, and comes again while there may be more.
    pub(super) async fn ring(self: &Rc<Self>) -> Result<()> {
        self.db().alarm_rang();
        self.wake().await?;
        self.resume();
        self.remind()?;
        let until = now() + i64::try_from(WATCH.as_millis()).unwrap_or(i64::MAX);
        while !self.driver.is_idle() && now() < until {
            Delay::from(LOOK).await;
        }
        store::prune(self.db(), now())?;
        let due = self.driver.due(|line| self.is_line_alive(line), now())?;
        let reminder = if self.frozen_since()?.is_some() {
            None
        } else {
            reminders::next(self.db())?
        };
        match due.into_iter().chain(reminder).min() {
            Some(at) => self.db().set_alarm_by(at.max(now())),
            None => Ok(()),
        }
    }

    /// Has the alarm ring again soon, whatever was wrong.
    pub(super) fn look_again(&self) {
        if let Err(error) = self.db().set_alarm_by(now() + BACKSTOP_MILLIS) {
            console_error!("setting the alarm: {error}");
        }
    }

    /// Starts again what is awaited and not under way.
    pub(super) fn resume(self: &Rc<Self>) {
        let (acts, errors) = self.driver.resume(now());
        self.act(acts);
        if !errors.is_empty() {
            self.look_again();
        }
        for error in errors {
            console_error!("looking for what is left to do: {error}");
        }
    }

    /// Tells the reminders whose time has come; each is marked as told in the transaction that says it.
    fn remind(self: &Rc<Self>) -> Result<()> {
        if self.frozen_since()?.is_some() {
            return Ok(());
        }
        for reminder in reminders::due(self.db(), now())? {
            let say = SayId(format!("reminder-{}", reminder.id));
            let text = reminder.words(now());
            let told = self.step_if(&reminder.conversation, |db, _| {
                let due = reminders::tell(db, reminder.id)?;
                Ok(due.then(|| Event::Notice {
                    say: say.clone(),
                    text: text.clone(),
                    buttons: Vec::new(),
                }))
            });
            if let Err(error) = told {
                console_error!("reminding in {}: {error}", reminder.conversation);
                let acts = self.driver.replace_broken(&reminder.conversation, now())?;
                self.act(acts);
            }
        }
        Ok(())
    }
}
