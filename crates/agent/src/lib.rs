//! The agent: told what happened, says what to do. No clock, no dice, no network; everything it knows came in an event.
//!
//! Read [`conversation`] first: [`Conversation::handle`] takes an [`Event`] and gives [`Effect`]s.
//! The driver's contract is *decide, save, act*: call `handle`, save the conversation and the lines it
//! [appended](Conversation::take_appended) in one transaction, then perform the effects. After a restart,
//! [`Conversation::outstanding`] lists what is still awaited; performing it again uses the same ids.

pub mod conversation;
pub mod effect;
pub mod event;
pub mod gate;
pub mod policy;
pub mod prompt;
pub mod tool;
pub mod transcript;

pub use conversation::Conversation;
pub use effect::{Content, Effect};
pub use event::Event;
pub use transcript::{Attachment, Entry, Line, Trust};
