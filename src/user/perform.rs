//! What each act does: one arm an act. Performing one again after a restart must be harmless.

use super::{Heart, now};
use crate::error::Result;
use driver::Act;
use std::cell::Cell;
use std::rc::Rc;

/// How many requests may leave in one invocation. The Free plan ends an invocation at fifty.
const REQUESTS: u32 = 39;

/// How many of them are kept for what matters more than a sign of life.
const KEPT: u32 = 20;

/// The requests that an invocation may still send; all that it begins draws on the same.
#[derive(Debug, Clone)]
pub(super) struct Allowance(Rc<Cell<u32>>);

impl Default for Allowance {
    fn default() -> Self {
        Self(Rc::new(Cell::new(REQUESTS)))
    }
}

impl Allowance {
    /// Takes one request; false if there is none left.
    pub(super) fn take(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left > 0
    }

    /// Whether nothing was taken yet, but for signs of life.
    pub(super) fn is_whole(&self) -> bool {
        self.0.get() + 1 >= REQUESTS
    }

    /// Whether there is none left.
    pub(super) fn is_spent(&self) -> bool {
        self.0.get() == 0
    }

    /// Takes one for something that may as well be left out.
    pub(super) fn spare(&self) -> bool {
        self.0.get() > KEPT && self.take()
    }
}

/// How performing an act ended.
pub(super) enum Done {
    /// Nothing of it is left to do, or others will.
    Wholly,
    /// The invocation may send no more; the next one goes on with it.
    OutOfAllowance,
}

impl Heart {
    pub(super) async fn perform(self: &Rc<Self>, act: &Act, allowance: &Allowance) -> Result<Done> {
        match act {
            Act::Take { delivery } => {
                let acts = self.take_in(delivery).await?;
                self.act_within(allowance, acts);
            }
            Act::Think {
                conversation,
                ask,
                tools,
            } => {
                return self
                    .think(conversation, ask.clone(), *tools, allowance)
                    .await;
            }
            Act::Send { conversation } => return self.deliver(conversation, allowance).await,
            Act::RunHere { conversation, call } => {
                let acts = self.driver.run_here(conversation, call, now())?;
                self.act_within(allowance, acts);
            }
            Act::Place { conversation, call } => {
                let find = |wished: Option<&str>| self.find(conversation, call, wished);
                let acts = self.driver.place(conversation, call, find, now())?;
                self.act_within(allowance, acts);
            }
            Act::Order { .. }
            | Act::CallOff { .. }
            | Act::Acknowledge { .. }
            | Act::Retract { .. }
            | Act::Abandon { .. } => self.say_to_others(act)?,
        }
        Ok(Done::Wholly)
    }

    /// What is only a message: nothing waits for its end.
    pub(super) fn say_to_others(self: &Rc<Self>, act: &Act) -> Result<()> {
        match act {
            Act::Order {
                conversation,
                call,
                line,
            } => {
                if let Some(socket) = self.socket_of(line) {
                    self.order(&socket, &call.id, call)?;
                    self.keep_typing(conversation);
                    self.preview_call(conversation, call);
                }
                Ok(())
            }
            Act::CallOff { call, line } => {
                self.partial.borrow_mut().remove(call);
                match self.socket_of(line) {
                    Some(socket) => self.call_off(&socket, call),
                    None => Ok(()),
                }
            }
            Act::Retract {
                conversation,
                message,
            } => {
                self.take_buttons_away(conversation, message);
                Ok(())
            }
            Act::Abandon { ask } => {
                self.abandon(ask.clone());
                Ok(())
            }
            // Acknowledged over the socket over which it came, by whoever holds that; the rest is no message.
            Act::Acknowledge { .. }
            | Act::Take { .. }
            | Act::Think { .. }
            | Act::Send { .. }
            | Act::RunHere { .. }
            | Act::Place { .. } => Ok(()),
        }
    }
}
