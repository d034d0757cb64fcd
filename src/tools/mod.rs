//! The tools that run in the Worker itself, beside the person's memory: one file each.

pub mod memory;
pub mod reminders;
pub mod results;

use crate::error::Result;
use crate::user::db::Db;
use agent::Trust;
use protocol::call::{Outcome, ToolCall};

/// Runs a tool. It only touches rows, so the caller can save its effect and its result in one transaction.
///
/// `trust` is that of the least trusted words in view when the call was wished for: what is kept on their account carries it.
pub fn run(
    db: &Db,
    conversation: &str,
    call: &ToolCall,
    trust: Trust,
    now: i64,
) -> Result<Outcome> {
    match call.tool.0.as_str() {
        "memory.remember" => memory::remember(db, conversation, &call.arguments, trust, now),
        "memory.search" => memory::search(db, conversation, &call.arguments),
        "memory.forget" => memory::forget(db, &call.arguments, now),
        "reminders.set" => reminders::set(db, conversation, &call.arguments, now),
        "reminders.list" => reminders::list(db),
        "reminders.cancel" => reminders::cancel(db, &call.arguments),
        "results.read" => results::read(db, conversation, &call.arguments),
        unknown => Ok(Outcome::failed(format!("no tool `{unknown}` runs here"))),
    }
}
