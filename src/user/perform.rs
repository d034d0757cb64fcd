//! What each effect does: one arm an effect. Performing one again after a restart must be harmless.

use super::{Heart, now, store};
use crate::error::Result;
use crate::tools;
use agent::{Effect, Event};
use protocol::call::ToolCall;
use protocol::tools::Place;
use std::rc::Rc;

impl Heart {
    pub(super) async fn perform(self: &Rc<Self>, conversation: &str, effect: Effect) -> Result<()> {
        match effect {
            Effect::AskModel { ask, tools } => self.think(conversation, ask, tools).await,
            Effect::Run {
                call,
                place: Place::Worker,
            } => {
                self.run_here(conversation, &call)?;
                self.arm_for_due().await // it may have been a reminder
            }
            Effect::Run {
                call,
                place: Place::Bridge,
            } => self.run_at_home(conversation, &call),
            Effect::AskPerson { call } => self.ask_person(conversation, &call).await,
            Effect::Say { .. } => self.deliver(conversation).await,
            Effect::Cancel { call } => self.cancel(&call),
            Effect::Abandon { ask } => {
                self.abandoned.borrow_mut().insert(ask);
                Ok(())
            }
        }
    }

    /// A tool of the Worker touches rows only: its effect and its result are saved together, so it happens exactly once.
    fn run_here(self: &Rc<Self>, conversation: &str, call: &ToolCall) -> Result<()> {
        self.step_if(conversation, |db| {
            let trust = store::trust_in_view(db, conversation)?;
            let outcome = tools::run(db, conversation, call, trust, now())?;
            Ok(Some(Event::Finished {
                call: call.id.clone(),
                outcome,
                at: now(),
            }))
        })
        .map(|_| ())
    }
}
