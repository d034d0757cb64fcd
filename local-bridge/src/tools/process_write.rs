//! `process.write`: words for a program in the background. They can make it do anything that its fence lets it do, so they need the yes
//! that its command needs.

use crate::tools::Job;
use protocol::tools::ProcessWrite;

/// The most that is written at once.
const MOST: usize = 64 * 1024;

/// Writes them.
pub async fn run(job: &Job, wanted: &ProcessWrite) -> Result<String, String> {
    let process = job.processes.find(&wanted.id)?;
    // The policy may have changed since it was started.
    let verdict = job.policy.judge(&process.argv).verdict;
    verdict.consent(job.asked())?;
    if wanted.text.len() > MOST {
        return Err(format!(
            "that is more than {MOST} bytes; write it piece by piece"
        ));
    }
    process.write(&wanted.text, wanted.end).await?;
    let end = if wanted.end { ", and its end" } else { "" };
    Ok(format!(
        "{} has been given {} bytes{end}; process.output shows what it makes of them",
        process.id,
        wanted.text.len()
    ))
}
