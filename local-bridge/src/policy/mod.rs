//! What may happen on this machine. Its owner writes it; nothing that comes over the tunnel can change it. What is unnamed is denied.
//!
//! `parse` reads the file, `judge` applies it, `options` and `runners` know which programs do more than their name says, `pins` keeps a
//! program the one that was allowed, `rates` counts, `law` rereads, `last` keeps the last good one, `explain` and `edit` serve the owner.

mod edit;
mod explain;
mod judge;
mod last;
mod law;
mod options;
mod parse;
mod pins;
mod rates;
mod runners;
mod told;

pub use edit::{NoChange, Proposal, init, propose, propose_rule};
pub use explain::{access_word, explain};
pub use judge::{AskedBy, Ground, Judged, Verdict, argv_of};
pub use law::Law;
pub use parse::Programs;
pub use pins::{Changed, Held, accept, changed};
pub use rates::{Meter, Rate};

use crate::home::Home;
use crate::places::Root;
use protocol::key::sha256_hex;
use protocol::session;
use protocol::tools::Grade;
use rustix::fs::OFlags;
use rustix::process::geteuid;
use serde::Deserialize;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a question to the owner at home stays open where the policy does not say: long enough to walk to the machine.
const APPROVALS: Duration = Duration::from_mins(30);

/// How long a command may take that someone waits for, where the policy does not say.
const FOREGROUND: Duration = Duration::from_mins(10);

/// How long a command may go on in the background, where the policy does not say.
const BACKGROUND: Duration = Duration::from_hours(1);

/// What may happen, checked and with its folders held open.
#[derive(Debug)]
pub struct Policy {
    /// The folders.
    pub roots: Vec<Root>,
    /// The line on which each folder begins.
    pub root_lines: Vec<usize>,
    /// The rules about commands, in the order of the file.
    pub commands: Vec<Command>,
    /// The rules about tools, in the order of their names.
    pub tools: Vec<ToolRule>,
    /// What a command can reach.
    pub sandbox: Sandbox,
    /// How long a question to the owner at home stays open.
    pub approvals: Duration,
    /// How long commands may take.
    pub limits: Limits,
    /// SHA-256 of the file's bytes, lower-case hex.
    pub sha256: String,
    /// How often what has a rate has happened; it outlives a change of the file, and not a restart.
    pub meter: Arc<Meter>,
}

/// How long commands may take, whatever is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// One that someone waits for.
    pub foreground: Duration,
    /// One in the background.
    pub background: Duration,
}

/// A rule about commands: this program, these first arguments, then any that do no more than the rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// How the command begins, as the owner wrote it.
    pub argv: Vec<String>,
    /// The program, found once, when the policy was read; empty for a rule that denies one which is not there.
    pub program: PathBuf,
    /// What happens to such a command.
    pub then: Then,
    /// What such a command can do to the world.
    pub grade: Grade,
    /// Such a command needs the network.
    pub network: bool,
    /// No word may follow those of the rule.
    pub exact: bool,
    /// Options that may be given although they write or start programs, or although nothing is known of them.
    pub options: Vec<String>,
    /// How often such a command may run.
    pub rate: Option<Rate>,
    /// Where the rule begins in the file.
    pub line: usize,
    /// Which file the program is.
    pub pin: Pin,
}

/// Which file a rule's program is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// Nothing is ever started by the rule.
    Free,
    /// The one whose bytes have this SHA-256, lower-case hex.
    To(String),
    /// None that may be started, and why.
    Broken(String),
}

/// A rule about a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolRule {
    /// The tool.
    pub name: String,
    /// What happens when it is called.
    pub then: Then,
    /// What it can do to the world, where its owner thinks otherwise than we.
    pub grade: Option<Grade>,
    /// How often it may be called.
    pub rate: Option<Rate>,
    /// Where the rule stands in the file.
    pub line: usize,
}

/// What a rule does with what it matches: the harshest rule wins, wherever it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It runs.
    Allow,
    /// It runs when its owner says yes.
    #[default]
    Ask,
    /// It does not run.
    Deny,
}

/// Whether commands run in a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// In a fully enforced one or not at all.
    #[default]
    Required,
    /// With all that the owner's account can reach.
    None,
}

/// Why a policy is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Someone else could change it.
    #[error("{0} {1}; only its owner may be able to change it (chmod go-w)")]
    Writable(PathBuf, &'static str),
    /// It lies where Bernard could reach it.
    #[error("{0} lies in the folder '{1}', which this policy opens; move it out")]
    Within(PathBuf, String),
    /// It is not TOML of this kind; the message shows the line.
    #[error("policy.toml: {0}")]
    Syntax(String),
    /// A rule cannot be kept.
    #[error("policy.toml line {line}: {why}")]
    Rule {
        /// Where.
        line: usize,
        /// Why.
        why: String,
    },
    /// There is one already.
    #[error("{0} is there already; --force replaces it")]
    Exists(PathBuf),
}

impl Policy {
    /// Reads and checks the policy of a home, and remembers it as the last good one, and the programs that it allows for the first time.
    pub fn read(home: &Home) -> Result<Self, Unfit> {
        let (mut policy, text) = Self::looked_at(home)?;
        pins::settle(home, &mut policy);
        last::keep(home, &policy, text);
        Ok(policy)
    }

    /// Reads and checks the policy of a home, with its text; its programs are taken as they are.
    fn looked_at(home: &Home) -> Result<(Self, String), Unfit> {
        let path = home.policy();
        let io = |source| Unfit::Io {
            path: path.clone(),
            source,
        };
        let real = path.canonicalize().map_err(io)?;
        // Opened once: what is looked at is what is read.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut options = fs::OpenOptions::new();
        options.read(true).custom_flags(flags);
        let mut file = options.open(&real).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(io(io::Error::other("it is no file")));
        }
        only_the_owners(&path, &metadata)?;
        if let Some(folder) = real.parent() {
            let folder_metadata = fs::metadata(folder).map_err(io)?;
            only_the_owners(folder, &folder_metadata)?;
        }
        for folder in real.ancestors().skip(2) {
            let mode = fs::metadata(folder).map_err(io)?.permissions().mode();
            if mode & 0o002 != 0 && mode & 0o1000 == 0 {
                let why = "can be changed by anyone";
                return Err(Unfit::Writable(folder.to_owned(), why));
            }
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io)?;
        let policy = Self::parse(&text, home.path())?;
        match policy
            .roots
            .iter()
            .find(|root| real.starts_with(&root.path))
        {
            Some(root) => Err(Unfit::Within(real, root.name.clone())),
            None => Ok((policy, text)),
        }
    }

    /// Checks a policy's text for a bridge whose home is `home`.
    pub fn parse(text: &str, home: &Path) -> Result<Self, Unfit> {
        parse::parse(text, home, &Programs::default())
    }

    /// Checks a policy's text whose programs lie elsewhere than in the system's folders.
    pub fn parse_with(text: &str, home: &Path, programs: &Programs) -> Result<Self, Unfit> {
        parse::parse(text, home, programs)
    }

    /// The policy of a machine without one.
    pub fn nothing() -> Self {
        Self {
            roots: Vec::new(),
            root_lines: Vec::new(),
            commands: Vec::new(),
            tools: Vec::new(),
            sandbox: Sandbox::Required,
            approvals: APPROVALS,
            limits: Limits {
                foreground: FOREGROUND,
                background: BACKGROUND,
            },
            sha256: sha256_hex(b""),
            meter: Arc::default(),
        }
    }

    /// What the Worker is told of the roots.
    pub fn shown_roots(&self) -> Vec<session::Root> {
        let shown = self.roots.iter().map(|root| session::Root {
            name: root.name.clone(),
            access: root.access,
        });
        shown.collect()
    }

    /// The beginnings of the commands that can run, after a yes or without one.
    pub fn shown_commands(&self) -> Vec<Vec<String>> {
        self.shown(|_| true)
    }

    /// Those of them that need the yes.
    pub fn asking_commands(&self) -> Vec<Vec<String>> {
        self.shown(|verdict| matches!(verdict, Verdict::Ask { .. }))
    }

    fn shown(&self, wanted: impl Fn(&Verdict) -> bool) -> Vec<Vec<String>> {
        let mut shown: Vec<Vec<String>> = Vec::new();
        for rule in &self.commands {
            let verdict = self.judge(&rule.argv).verdict;
            let runs = verdict.consent(AskedBy::Home).is_ok() && wanted(&verdict);
            if runs && !shown.contains(&rule.argv) {
                shown.push(rule.argv.clone());
            }
        }
        shown
    }
}

impl Command {
    /// A rule that asks, for a program that lies at `program` as it is at this moment.
    pub fn new(argv: Vec<String>, program: PathBuf) -> Self {
        let pin = pins::pin(&program).map_or_else(|why| Pin::Broken(why.to_string()), Pin::To);
        Self {
            argv,
            program,
            then: Then::Ask,
            grade: Grade::Execute,
            network: false,
            exact: false,
            options: Vec::new(),
            rate: None,
            line: 0,
            pin,
        }
    }
}

fn only_the_owners(path: &Path, metadata: &fs::Metadata) -> Result<(), Unfit> {
    // In a folder with the sticky bit, such as /tmp, others cannot replace what is ours.
    let mode = metadata.permissions().mode();
    if mode & 0o022 != 0 && !(metadata.is_dir() && mode & 0o1000 != 0) {
        return Err(Unfit::Writable(path.to_owned(), "can be changed by others"));
    }
    let owner = metadata.uid();
    if owner != geteuid().as_raw() && !(metadata.is_dir() && owner == 0) {
        return Err(Unfit::Writable(path.to_owned(), "belongs to someone else"));
    }
    Ok(())
}
