//! `process.stop`: the end of a program in the background and of all that it began; first asked for, then made.

use crate::processes::Processes;
use protocol::tools::ProcessStop;
use std::time::Duration;

/// How long it may take: the program's grace, and the system's part.
const LIMIT: Duration = Duration::from_secs(6);

/// Ends it, and comes back when that is done.
pub async fn run(table: &Processes, wanted: &ProcessStop) -> Result<String, String> {
    let process = table.find(&wanted.id)?;
    process.stop("on request");
    if !process.gone(LIMIT).await {
        return Err(format!(
            "{} has not ended yet; it was sent KILL",
            process.id
        ));
    }
    Ok(process.line())
}
