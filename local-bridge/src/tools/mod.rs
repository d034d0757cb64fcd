//! What this machine can do: the list of tools, and the one way in which each of them is run.

pub mod figures;
pub mod files_append;
pub mod files_copy;
pub mod files_edit;
pub mod files_list;
pub mod files_mkdir;
pub mod files_move;
pub mod files_read;
pub mod files_save;
pub mod files_search;
pub mod files_send;
pub mod files_stat;
pub mod files_trash;
pub mod files_undo;
pub mod files_write;
pub mod process_list;
pub mod process_output;
pub mod process_signal;
pub mod process_stop;
pub mod process_write;
pub mod shell_run;
pub mod target;
pub mod text;
#[cfg(test)]
mod world;

use crate::calls::Order;
use crate::intake::Intake;
use crate::outputs::{Outputs, ROOT};
use crate::places::NoPlace;
use crate::policy::{AskedBy, Policy, Verdict};
use crate::processes::Processes;
use crate::sandbox::Fence;
use crate::undo::{Changes, Deed, Plan, Undo};
use files_send::Courier;
use files_trash::Trash;
use protocol::call::{CallId, Outcome};
use protocol::session::Access;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// One call with all that it may use.
#[derive(Debug)]
pub struct Job {
    /// What is ordered.
    pub order: Order,
    /// The law that judges it.
    pub policy: Arc<Policy>,
    /// Where each command gets a folder for HOME and TMPDIR.
    pub scratch: PathBuf,
    /// What goes on in the background, and what commands wrote.
    pub processes: Arc<Processes>,
    /// What commands run behind.
    pub fence: Fence,
    /// Keeps what a change of a file replaces.
    pub undo: Arc<Undo>,
    /// Becomes `true` when the call is called off.
    pub cancelled: watch::Receiver<bool>,
    /// Carries a file's bytes.
    pub courier: Courier,
}

impl Job {
    /// Who has said yes to it: in the chat as the Worker tells, or at home.
    pub fn asked(&self) -> AskedBy {
        let chat = if self.order.asked {
            AskedBy::Chat
        } else {
            AskedBy::Nobody
        };
        chat.max(self.said_yes())
    }

    /// Why a call that nobody was asked about does not run: by now the policy wants a yes to its tool.
    fn unasked(&self) -> Option<String> {
        match self.policy.tool(&self.order.tool.0) {
            ask @ Verdict::Ask { .. } => ask.consent(self.asked()).err(),
            Verdict::Allow { .. } | Verdict::Deny { .. } => None,
        }
    }

    /// Who has said yes to it beside the chat: a yes at home holds under the very policy that it was given under, and no other.
    pub fn said_yes(&self) -> AskedBy {
        if self.order.yes.as_ref() == Some(&self.policy.sha256) {
            AskedBy::Home
        } else {
            AskedBy::Nobody
        }
    }
}

/// The tools that need a folder to look at.
const LOOKING: &[&str] = &[
    "files.list",
    "files.stat",
    "files.read",
    "files.search",
    "files.send",
];

/// The tool that brings a file to this machine: it needs an [`Intake`] to run.
pub const RECEIVING: &str = "files.save";

/// The tools that need a folder that may be changed or added to.
const CHANGING: &[&str] = &[
    "files.write",
    "files.edit",
    "files.append",
    "files.move",
    "files.copy",
    "files.mkdir",
    "files.trash",
    "files.undo",
];

/// The tools that need a command that may run.
const RUNNING: &[&str] = &[
    "shell.run",
    "process.list",
    "process.output",
    "process.write",
    "process.signal",
    "process.stop",
];

/// What a tool that changes files works with.
#[derive(Debug)]
pub struct Hands<'a> {
    /// The law that judges it.
    pub policy: &'a Policy,
    /// Keeps what it replaces.
    pub undo: &'a Undo,
    /// Where it puts what it deletes.
    pub trash: &'a Trash,
    /// The call that is carried out.
    pub call: &'a CallId,
    /// When, in milliseconds since 1970.
    pub now: i64,
}

impl<'a> Hands<'a> {
    /// A change by this call: the tool, its place, its steps.
    fn plan(&self, what: String, deeds: Vec<Deed>) -> Plan<'a> {
        Plan {
            call: self.call,
            what,
            at: self.now,
            undoes: None,
            deeds,
        }
    }

    /// Takes the undo store. Before anything is looked at: what is kept must be what is replaced.
    fn begin(&self) -> Changes<'a> {
        self.undo.begin()
    }
}

/// The names of the tools that a policy can allow at all.
pub fn offered(policy: &Policy, fence: &Fence) -> Vec<String> {
    let mut names: Vec<&str> = Vec::new();
    if !policy.roots.is_empty() {
        names.extend(LOOKING);
    }
    if policy
        .roots
        .iter()
        .any(|root| root.access >= Access::Append)
    {
        names.extend(CHANGING);
        names.push(RECEIVING);
    }
    let runs = !policy.roots.is_empty() && !policy.shown_commands().is_empty();
    if runs && fence.allows(policy.sandbox) {
        names.extend(RUNNING);
    }
    names.retain(|name| policy.offers(name));
    names.into_iter().map(str::to_owned).collect()
}

/// Runs a call to its end.
pub async fn run(mut job: Job) -> Outcome {
    let arguments = job.order.arguments.clone();
    let tool = job.order.tool.0.as_str();
    let admitted = job.policy.admit_tool(tool, job.said_yes(), Instant::now());
    if let Some(why) = admitted.err().or(job.unasked()) {
        return Outcome::denied(why);
    }
    if names_output(&arguments) {
        if !LOOKING.contains(&tool) {
            return Outcome::denied(format!("what lies in {ROOT} can only be looked at"));
        }
        job.policy = job.processes.outputs().law();
    }
    let policy = Arc::clone(&job.policy);
    match job.order.tool.0.as_str() {
        "files.list" => blocking(arguments, move |wanted| files_list::run(&policy, &wanted)).await,
        "files.stat" => blocking(arguments, move |wanted| files_stat::run(&policy, &wanted)).await,
        "files.read" => blocking(arguments, move |wanted| files_read::run(&policy, &wanted)).await,
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
        tool if CHANGING.contains(&tool) => changing(job).await,
        _ => processes(job, arguments).await,
    }
}

/// Runs a call that brings a file to this machine, to its end.
pub async fn receive(job: Job, intake: Intake) -> Outcome {
    let admitted = job
        .policy
        .admit_tool(&job.order.tool.0, job.said_yes(), Instant::now());
    if let Err(why) = admitted {
        return Outcome::denied(why);
    }
    let arguments = job.order.arguments.clone();
    if names_output(&arguments) {
        return Outcome::denied(format!("what lies in {ROOT} can only be looked at"));
    }
    match parsed(arguments) {
        Ok(wanted) => files_save::run(job, wanted, intake).await,
        Err(outcome) => outcome,
    }
}

/// Whether a call is about what commands wrote.
fn names_output(arguments: &Value) -> bool {
    let mut paths = ["path", "from", "to"].into_iter();
    paths.any(|name| {
        let path = arguments.get(name).and_then(Value::as_str);
        path.is_some_and(Outputs::has)
    })
}

/// Looks at what goes on in the background, and acts on it.
async fn processes(job: Job, arguments: Value) -> Outcome {
    let table = &job.processes;
    let done = match job.order.tool.0.as_str() {
        "process.list" => parsed(arguments).map(|wanted| process_list::run(table, &wanted)),
        "process.output" => parsed(arguments).map(|wanted| process_output::run(table, &wanted)),
        "process.signal" => parsed(arguments).map(|wanted| process_signal::run(table, &wanted)),
        "process.write" => match parsed(arguments) {
            Ok(wanted) => Ok(process_write::run(&job, &wanted).await),
            Err(outcome) => Err(outcome),
        },
        "process.stop" => match parsed(arguments) {
            Ok(wanted) => Ok(process_stop::run(table, &wanted).await),
            Err(outcome) => Err(outcome),
        },
        other => Err(unknown(other)),
    };
    done.map_or_else(
        |outcome| outcome,
        |done| done.map_or_else(Outcome::failed, Outcome::done),
    )
}

/// Changes files, as a call of one of the tools that do.
pub fn change(hands: &Hands<'_>, tool: &str, arguments: Value) -> Outcome {
    match tool {
        "files.write" => apply(files_write::run, hands, arguments),
        "files.edit" => apply(files_edit::run, hands, arguments),
        "files.append" => apply(files_append::run, hands, arguments),
        "files.move" => apply(files_move::run, hands, arguments),
        "files.copy" => apply(files_copy::run, hands, arguments),
        "files.mkdir" => apply(files_mkdir::run, hands, arguments),
        "files.trash" => apply(files_trash::run, hands, arguments),
        "files.undo" => apply(files_undo::run, hands, arguments),
        other => unknown(other),
    }
}

fn apply<A: DeserializeOwned>(
    tool: fn(&Hands<'_>, &A) -> Result<String, NoPlace>,
    hands: &Hands<'_>,
    arguments: Value,
) -> Outcome {
    match parsed(arguments) {
        Ok(wanted) => tool(hands, &wanted).map_or_else(Outcome::from, Outcome::done),
        Err(outcome) => outcome,
    }
}

fn unknown(tool: &str) -> Outcome {
    Outcome::denied(format!("this machine has no tool '{tool}'"))
}

/// Changes files where that keeps nothing else waiting.
async fn changing(job: Job) -> Outcome {
    let changed = tokio::task::spawn_blocking(move || {
        let hands = Hands {
            policy: &job.policy,
            undo: &job.undo,
            trash: &Trash::own(),
            call: &job.order.call,
            now: now(),
        };
        change(&hands, &job.order.tool.0, job.order.arguments)
    });
    changed.await.unwrap_or_else(|_| broken())
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
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

#[cfg(test)]
mod tests {
    use super::world::{Tree, World};
    use super::*;
    use serde_json::json;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    /// A file of a folder that is open, and the ways that lead elsewhere.
    fn maze() -> World {
        let world = World::new();
        world.put("real/ok", "ok");
        world.put(".ssh/id", "k");
        world.put(".git/config", "c");
        fs::create_dir(world.outside("away")).unwrap();
        fs::write(world.outside("away/secret"), "s").unwrap();
        for (to, name) in [
            ("real", "in"),
            ("../away/secret", "up"),
            ("../away", "away"),
            ("/proc/self/root", "proc"),
            (".ssh", "keys"),
            (".ssh/id", "plain"),
            (".git", "g"),
        ] {
            symlink(to, world.path(name)).unwrap();
        }
        symlink(world.outside("away/secret"), world.path("absolute")).unwrap();
        world
    }

    /// Ways that lead out or to what is never touched.
    const BAD: &[&str] = &[
        "up",
        "absolute",
        "away/secret",
        "away/new",
        "away/new/x",
        "proc/etc/passwd",
        "proc/tmp/bernard-was-here",
        "../away/secret",
        "../away/new",
        "real/../../away/secret",
        "/etc/passwd",
        "keys/id",
        "keys/new",
        "plain",
        ".ssh/id",
        ".ssh/new/x",
        ".SSH/new",
        "real/.env",
        "real/.env.local/x",
        "new/id_rsa",
        "x.pem",
        "g/config",
        "g/hooks/x",
        ".git/hooks/x",
        "real/.git",
        "Library/LaunchAgents/x.plist",
        "\0",
    ];

    /// Ways that are as good as `real/ok`, by which a test of refusals shows that it tests anything.
    const GOOD: &[&str] = &[
        "real/ok",
        "./real/ok",
        "real/../real/ok",
        "real//../real/ok",
        "in/ok",
    ];

    /// Every tool with a path in each of its places.
    fn calls(path: &str) -> Vec<(&'static str, Value)> {
        let edits = json!([{"find": "s", "replace": "x"}, {"find": "k", "replace": "x"}]);
        let over = |from: &str, to: &str| json!({"from": from, "to": to, "replace": true});
        vec![
            ("files.write", json!({"path": path, "text": "x"})),
            ("files.append", json!({"path": path, "text": "x"})),
            ("files.edit", json!({"path": path, "edits": edits})),
            ("files.mkdir", json!({"path": path})),
            ("files.trash", json!({"path": path})),
            ("files.move", over(path, "moved")),
            ("files.move", over("real/ok", path)),
            ("files.copy", over(path, "copied")),
            ("files.copy", over("real/ok", path)),
        ]
    }

    /// What careless programs do with a path.
    fn naively(tool: &str, docs: &Path, arguments: &Value) {
        let at = |name: &str| arguments[name].as_str().map(|path| docs.join(path));
        let (path, from, to) = (at("path"), at("from"), at("to"));
        // That most of it fails is the point: what does not is counted below.
        match (tool, path, from, to) {
            ("files.write" | "files.append" | "files.edit", Some(path), ..) => {
                fs::write(path, "x").ok();
            }
            ("files.mkdir", Some(path), ..) => {
                fs::create_dir_all(path).ok();
            }
            ("files.trash", Some(path), ..) => {
                fs::remove_file(path).ok();
            }
            ("files.move", _, Some(from), Some(to)) => {
                fs::rename(from, to).ok();
            }
            ("files.copy", _, Some(from), Some(to)) => {
                fs::copy(from, to).ok();
            }
            _ => panic!("{tool}"),
        }
    }

    #[test]
    fn no_tool_follows_a_way_out_or_to_what_is_never_touched() {
        for path in BAD {
            for (tool, arguments) in calls(path) {
                let mut world = maze();
                let before = Tree::of(&world.outside(""));
                let outcome = world.run(tool, arguments.clone());
                assert!(
                    matches!(outcome, Outcome::Denied { .. } | Outcome::Failed { .. }),
                    "{tool} {arguments}: {outcome:?}"
                );
                assert_eq!(Tree::of(&world.outside("")), before, "{tool} {arguments}");
            }
        }
        assert!(!Path::new("/tmp/bernard-was-here").exists());
    }

    #[test]
    fn no_tool_that_looks_follows_them_either() {
        let world = maze();
        for path in BAD {
            let stat = protocol::tools::FilesStat {
                path: (*path).into(),
            };
            let stat = files_stat::run(&world.policy, &stat);
            assert!(stat.is_err() || *path == "g/config", "{path}: {stat:?}");
        }
    }

    #[test]
    fn by_a_good_way_every_tool_reaches_its_file() {
        for path in GOOD {
            for (tool, arguments) in calls(path) {
                let mut world = maze();
                world.put("real/ok", "sk");
                let itself = arguments["from"] == "real/ok" && arguments["to"] == *path;
                let there = tool == "files.mkdir";
                let outcome = world.run(tool, arguments.clone());
                let does = matches!(outcome, Outcome::Done { .. });
                let moved_onto_itself = itself && tool == "files.move";
                assert_eq!(
                    does,
                    !there && !moved_onto_itself,
                    "{tool} {arguments}: {outcome:?}"
                );
            }
        }
    }

    #[test]
    fn careless_tools_are_caught_by_the_same_ways() {
        let mut caught: Vec<&str> = Vec::new();
        for path in BAD
            .iter()
            .filter(|path| !path.starts_with(['/', '\0']) && !path.starts_with("proc"))
        {
            for (tool, arguments) in calls(path) {
                let world = maze();
                let docs = world.path("");
                let before = (
                    Tree::of(&world.outside("away")),
                    Tree::of(&docs.join(".ssh")),
                );
                naively(tool, &docs, &arguments);
                let after = (
                    Tree::of(&world.outside("away")),
                    Tree::of(&docs.join(".ssh")),
                );
                if before != after {
                    caught.push(tool);
                }
            }
        }
        caught.sort_unstable();
        caught.dedup();
        let all = ["append", "copy", "edit", "mkdir", "move", "trash", "write"];
        assert_eq!(caught, all.map(|tool| format!("files.{tool}")));
    }

    #[test]
    fn every_tool_that_is_told_of_is_known_here() {
        let told: Vec<String> = protocol::tools::bridge_tools()
            .into_iter()
            .map(|spec| spec.name.0)
            .collect();
        let mut here: Vec<&str> = [LOOKING, CHANGING, RUNNING, &[RECEIVING]].concat();
        let mut told: Vec<&str> = told.iter().map(String::as_str).collect();
        here.sort_unstable();
        told.sort_unstable();
        assert_eq!(here, told);
        let mut world = World::new();
        for tool in CHANGING {
            let outcome = world.run(tool, json!({"no such": "argument"}));
            let Outcome::Failed { reason } = outcome else {
                panic!("{tool}: {outcome:?}");
            };
            assert!(
                reason.starts_with("arguments are not understood: unknown field"),
                "{reason}"
            );
        }
    }
}
