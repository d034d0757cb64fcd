//! What is only known by trying it: what a command really inherits, and whether the approver's bot can ask.

use crate::approve::bot::{Settings, Trouble};
use crate::home::Home;
use crate::places::Root;
use crate::policy::{Command, Pin, Sandbox, Then};
use crate::processes::program::Scratch;
use crate::sandbox::{Fence, Wanted};
use crate::tools::shell_run::environment;
use protocol::session::Access;
use protocol::tools::Grade;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// The program that tells its environment.
const TELLING: &str = "/usr/bin/env";

/// How much of the processor's time it may take.
const LIMIT: Duration = Duration::from_secs(5);

/// What a command finds in its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inherited {
    /// These variables, by name; some are not among those that it is given.
    Seen {
        /// All of them.
        all: Vec<String>,
        /// Those that it should not have.
        leaked: Vec<String>,
    },
    /// It was not tried, and why.
    Skipped(String),
}

/// The approver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approver {
    /// None is set.
    Unset,
    /// Its settings cannot be used.
    Broken(String),
    /// It was not asked, or did not answer, and why.
    Skipped(String),
    /// It cannot ask: Telegram says why.
    Refused(String),
    /// The bot of this name can write to its owner.
    Works(String),
}

/// Runs a program that tells its environment, as a command of this policy is run.
pub(super) fn inherited(home: &Home, fence: &Fence, sandbox: Sandbox) -> Inherited {
    match tried(home, fence, sandbox) {
        Ok(text) => named(&text),
        Err(why) => Inherited::Skipped(why),
    }
}

fn tried(home: &Home, fence: &Fence, sandbox: Sandbox) -> Result<String, String> {
    let told = |error: std::io::Error| error.to_string();
    let scratch = Scratch::make(&home.scratch()).map_err(told)?;
    let root = Root::open("doctor", scratch.path(), Access::Read).map_err(told)?;
    let rule = Command {
        argv: vec![TELLING.to_owned()],
        program: PathBuf::from(TELLING),
        then: Then::Allow,
        grade: Grade::Execute,
        network: false,
        exact: true,
        options: Vec::new(),
        rate: None,
        line: 0,
        pin: Pin::Free,
    };
    let wanted = Wanted {
        rule: &rule,
        root: &root,
        scratch: scratch.path(),
        limit: LIMIT,
        terminal: false,
    };
    let start = fence.command(sandbox, wanted);
    let mut command = start.map_err(|error| error.to_string())?.command;
    let ran = command
        .env_clear()
        .envs(environment(scratch.path()))
        .current_dir(scratch.path())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{TELLING}: {error}"))?;
    if ran.status.success() {
        return Ok(String::from_utf8_lossy(&ran.stdout).into_owned());
    }
    Err(format!("{TELLING} could not be run: {}", ran.status))
}

/// The names in what the program told.
pub(super) fn named(text: &str) -> Inherited {
    let given = environment(PathBuf::new().as_path()).map(|(name, _)| name);
    let names = text.lines().filter_map(|line| line.split_once('='));
    let mut all: Vec<String> = names.map(|(name, _)| name.to_owned()).collect();
    all.sort();
    let leaked = all.iter().filter(|name| !given.contains(&name.as_str()));
    Inherited::Seen {
        leaked: leaked.cloned().collect(),
        all,
    }
}

/// Asks Telegram about the approver's bot, without a message to anyone; asks nobody if it is to stay `offline`.
pub(super) fn approver(home: &Home, offline: bool) -> Approver {
    let settings = match Settings::read(home) {
        Ok(Some(settings)) => settings,
        Ok(None) => return Approver::Unset,
        Err(error) => return Approver::Broken(error.to_string()),
    };
    if offline {
        return Approver::Skipped("--offline".to_owned());
    }
    let works = settings
        .check()
        .and_then(|name| settings.reaches_owner().map(|()| name));
    match works {
        Ok(name) => Approver::Works(name),
        Err(why @ (Trouble::Unreachable(_) | Trouble::Limited(_))) => {
            Approver::Skipped(why.to_string())
        }
        Err(why @ (Trouble::Refused { .. } | Trouble::InUse)) => Approver::Refused(why.to_string()),
        Err(why @ (Trouble::Address(_) | Trouble::Desk(_))) => Approver::Broken(why.to_string()),
    }
}
