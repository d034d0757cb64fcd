//! WhatsApp's Cloud API, as Meta publishes it: what comes in, what goes out, what an answer means, and when Bernard may speak. No I/O.

mod answer;
mod hear;
mod send;
mod window;

pub use answer::{MediaPlace, SILENCE, answer, media_place};
pub use hear::{Garbage, receive};
pub(super) use send::parts;
pub use send::{Api, Template};
pub use window::{DAY_MILLIS, is_open};
