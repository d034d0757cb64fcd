//! What this machine can do: the list of tools, and the one way in which each of them is run.

pub mod figures;
pub mod files_list;
pub mod files_read;
pub mod files_search;
pub mod files_send;
pub mod files_write;
pub mod shell_run;

use crate::calls::Order;
use crate::places::NoPlace;
use crate::policy::Policy;
use crate::sandbox::Fence;
use files_send::Courier;
use protocol::call::Outcome;
use protocol::session::Access;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// One call with all that it may use.
#[derive(Debug)]
pub struct Job {
    /// What is ordered.
    pub order: Order,
    /// The law that judges it.
    pub policy: Arc<Policy>,
    /// Where commands find their HOME and TMPDIR.
    pub scratch: PathBuf,
    /// What commands run behind.
    pub fence: Fence,
    /// Becomes `true` when the call is called off.
    pub cancelled: watch::Receiver<bool>,
    /// Carries a file's bytes.
    pub courier: Courier,
}

/// The names of the tools that a policy can allow at all.
pub fn offered(policy: &Policy, fence: &Fence) -> Vec<String> {
    let mut names = Vec::new();
    if !policy.roots.is_empty() {
        names.extend(["files.list", "files.read", "files.search", "files.send"]);
    }
    if policy.roots.iter().any(|root| root.access >= Access::Write) {
        names.push("files.write");
    }
    if !policy.roots.is_empty() && !policy.commands.is_empty() && fence.allows(policy.sandbox) {
        names.push("shell.run");
    }
    names.into_iter().map(str::to_owned).collect()
}

/// Runs a call to its end.
pub async fn run(job: Job) -> Outcome {
    let arguments = job.order.arguments.clone();
    let policy = Arc::clone(&job.policy);
    match job.order.tool.0.as_str() {
        "files.list" => blocking(arguments, move |wanted| files_list::run(&policy, &wanted)).await,
        "files.read" => blocking(arguments, move |wanted| files_read::run(&policy, &wanted)).await,
        "files.write" => {
            blocking(arguments, move |wanted| files_write::run(&policy, &wanted)).await
        }
        "files.search" => {
            let cancelled = job.cancelled.clone();
            blocking(arguments, move |wanted| {
                files_search::run(&policy, &wanted, &|| *cancelled.borrow())
            })
            .await
        }
        "files.send" => match parsed(arguments) {
            Ok(wanted) => files_send::run(job, wanted).await,
            Err(outcome) => outcome,
        },
        "shell.run" => match parsed(arguments) {
            Ok(wanted) => shell_run::run(job, wanted).await,
            Err(outcome) => outcome,
        },
        other => Outcome::denied(format!("this machine has no tool '{other}'")),
    }
}

/// Runs what waits for disks where it keeps nothing else waiting.
async fn blocking<A, F>(arguments: Value, tool: F) -> Outcome
where
    A: DeserializeOwned + Send + 'static,
    F: FnOnce(A) -> Result<String, NoPlace> + Send + 'static,
{
    let wanted = match parsed::<A>(arguments) {
        Ok(wanted) => wanted,
        Err(outcome) => return outcome,
    };
    let ran = tokio::task::spawn_blocking(move || tool(wanted)).await;
    match ran {
        Ok(Ok(text)) => Outcome::done(text),
        Ok(Err(no)) => no.into(),
        Err(_) => broken(),
    }
}

fn parsed<A: DeserializeOwned>(arguments: Value) -> Result<A, Outcome> {
    serde_json::from_value(arguments)
        .map_err(|error| Outcome::failed(format!("arguments are not understood: {error}")))
}

/// A defect of ours; the log has its panic.
pub fn broken() -> Outcome {
    Outcome::failed("the tool broke; local-bridge's log says where")
}
