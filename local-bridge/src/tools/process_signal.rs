//! `process.signal`: a signal for a program in the background, and for all that it began.

use crate::processes::Processes;
use protocol::tools::{ProcessSignal, Signal};
use rustix::process::Signal as Number;

/// Sends it.
pub fn run(table: &Processes, wanted: &ProcessSignal) -> Result<String, String> {
    let process = table.find(&wanted.id)?;
    let (number, name) = match wanted.signal {
        Signal::Int => (Number::INT, "INT"),
        Signal::Term => (Number::TERM, "TERM"),
        Signal::Hup => (Number::HUP, "HUP"),
        Signal::Kill => (Number::KILL, "KILL"),
    };
    process.signal(number)?;
    Ok(format!("{name} was sent to {}", process.id))
}
