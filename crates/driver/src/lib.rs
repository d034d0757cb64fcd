//! The driver: saves what the agent decides and says what is to be done. No clock, no network, no `async`.
//!
//! A [`Driver`] is one awake instance of one person's object. The shell around it (the Durable Object, or a simulation) tells it
//! news, performs the [`Act`]s that it returns, and tells what came of them. *Decide, save, act*: an act is only returned when the
//! decision that asks for it is in the [`Rows`]. What is under way is known to the instance alone, so an instance that dies costs
//! nothing: the next one's [`Driver::resume`] says what is to be done again, under the same ids.
//!
//! - `step.rs`: news to the agent, decision to the rows, effects to acts.
//! - `inbox.rs`: what people send; each delivery once, and one that cannot be handled is set aside.
//! - `outbox.rs`: what is sent to them; each message once, or its doubt told.
//! - `home.rs`: calls for the home machines; each ordered until it has ended, or too late.
//! - `resume.rs`: after a restart or a failure: what is done again, what is given up, when to look again.

mod act;
mod home;
mod inbox;
mod outbox;
mod resume;
mod rows;
mod step;

pub use act::{Act, Line};
pub use home::{Agreed, HERE_MILLIS, NO_MACHINE, WAIT_MILLIS, Where, question};
pub use outbox::{Answer, Consent, DOUBT, Outside, Parcel, SHORT_WAIT_MILLIS, Was, What};
pub use resume::{BACKSTOP_MILLIS, TRIES};
pub use rows::{Delivery, HomeCall, Kept, Rows, Sending, SendingState, Spent, Waiting};
pub use step::RESERVED_TOKENS;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

/// One awake instance of one person's object.
pub struct Driver<R> {
    rows: R,
    /// The names of the acts that are being performed.
    under_way: RefCell<BTreeSet<String>>,
    /// Whether this instance has looked for what an earlier one left undone.
    resumed: Cell<bool>,
}

impl<R: Rows> Driver<R> {
    /// An instance that has just woken over these rows.
    pub fn new(rows: R) -> Self {
        Self {
            rows,
            under_way: RefCell::default(),
            resumed: Cell::new(false),
        }
    }

    /// The rows.
    pub fn rows(&self) -> &R {
        &self.rows
    }

    /// Whether nothing is being performed.
    pub fn is_idle(&self) -> bool {
        self.under_way.borrow().is_empty()
    }

    /// An act has ended, or was cut short in a way that leaves it to be done again.
    pub fn end(&self, act: &Act) {
        self.under_way.borrow_mut().remove(&act.name());
    }

    /// On an error, the acts that were begun before it and now reach nobody are left to the next look.
    fn or_leave<T>(&self, begun: &[Act], result: Result<T, R::Error>) -> Result<T, R::Error> {
        if result.is_err() {
            for act in begun {
                self.end(act);
            }
        }
        result
    }

    fn is_under_way(&self, act: &Act) -> bool {
        self.under_way.borrow().contains(&act.name())
    }

    /// Of these acts, those that are not being performed already; from now on they are.
    fn begin(&self, acts: impl IntoIterator<Item = Act>) -> Vec<Act> {
        let mut under_way = self.under_way.borrow_mut();
        acts.into_iter()
            .filter(|act| !act.is_tracked() || under_way.insert(act.name()))
            .collect()
    }
}
