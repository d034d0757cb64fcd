//! `process.output`: what a program in the background has written; its end, or on from a byte.

use crate::processes::Processes;
use protocol::tools::ProcessOutput;

/// As much as one look shows, and how to go on.
pub fn run(table: &Processes, wanted: &ProcessOutput) -> Result<String, String> {
    let process = table.find(&wanted.id)?;
    let capture = process.capture();
    let stretch = match wanted.from {
        Some(from) => capture.from(from)?,
        None => capture.end(),
    };
    let state = format!("{}: {}", process.id, process.state());
    if stretch.total == 0 {
        return Ok(format!("{state}; it has written nothing"));
    }
    let more = match (stretch.to < stretch.total, process.runs()) {
        (true, _) => format!("; read on with from {}", stretch.to),
        (false, true) => format!("; what comes next is from {}", stretch.to),
        (false, false) => String::new(),
    };
    Ok(format!(
        "{state}; bytes {} to {} of {}{more}; {}\n{}",
        stretch.from,
        stretch.to,
        stretch.total,
        capture.whereabouts(),
        stretch.text
    ))
}
