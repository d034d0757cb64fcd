//! `process.list`: the programs in the background, those that have just ended too.

use crate::processes::Processes;
use protocol::tools::ProcessList;

/// One line for each.
pub fn run(table: &Processes, _wanted: &ProcessList) -> Result<String, String> {
    let all = table.all();
    if all.is_empty() {
        return Ok(
            "no program runs in the background; those of an earlier local-bridge have ended with it"
                .to_owned(),
        );
    }
    let lines: Vec<String> = all.iter().map(|process| process.line()).collect();
    Ok(lines.join("\n"))
}
