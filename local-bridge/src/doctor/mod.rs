//! What could be wrong with a bridge at home: each check with how bad it is, what was seen, and what puts it right.
//!
//! `facts` looks at the machine and judges nothing; this file judges and looks at nothing.

mod facts;
mod trials;

pub use facts::{Asked, Command, File, Reach, Root, Service, look};
pub use trials::{Approver, Inherited};

use crate::audit::{Fault, Sound};
use crate::home::Process;
use crate::places::visible;
use crate::policy::Sandbox;
use crate::sandbox::Fence;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// How far the clocks may differ, in milliseconds: what a token tolerates, and the second to which a `Date` is exact.
const CLOCK: i64 = 6_000;

/// Free space below which a write may fail at any time.
const TOO_LITTLE: u64 = 50 * 1000 * 1000;

/// Free space below which it soon may.
const LITTLE: u64 = 500 * 1000 * 1000;

/// How long the Worker may lack what was done here before that is odd, in milliseconds: a day away from the network is not.
const UNTOLD: i64 = 24 * 60 * 60 * 1000;

/// Folders that are copied to other machines by themselves, as they are named in a path.
const SYNCED: [&str; 9] = [
    "Mobile Documents",
    "CloudStorage",
    "iCloud Drive",
    "Dropbox",
    "OneDrive",
    "Google Drive",
    "GoogleDrive",
    "Nextcloud",
    "Syncthing",
];

/// All that the checks go by.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The bridge's folder.
    pub home: PathBuf,
    /// The folder and the files in it.
    pub files: Vec<File>,
    /// The policy is accepted; else why not. Nothing where there is none.
    pub policy: Option<Result<(), String>>,
    /// What it demands.
    pub sandbox: Sandbox,
    /// The folders that it opens.
    pub roots: Vec<Root>,
    /// Its rules about commands that start something.
    pub commands: Vec<Command>,
    /// What commands are fenced in with.
    pub fence: Fence,
    /// What it says of itself.
    pub fence_told: String,
    /// This account may do everything.
    pub root_account: bool,
    /// The disk is encrypted, as far as that was seen.
    pub encrypted: Option<bool>,
    /// macOS lets this program read everything.
    pub full_disk_access: Option<bool>,
    /// Whether key and pairing fit each other: the Worker's address, or what is wrong.
    pub paired: Result<String, String>,
    /// Why the last connection ended.
    pub last_error: Option<String>,
    /// The Worker, as it was asked.
    pub reach: Reach,
    /// The process that runs.
    pub running: Option<Process>,
    /// Where it listens; nothing where that cannot be seen.
    pub listens: Option<Vec<String>>,
    /// How large a core dump of it may be, in bytes; nothing where that cannot be seen.
    pub core: Option<u64>,
    /// The log of what was done; an error is told in words.
    pub audit: Result<Option<Result<Sound, Fault>>, String>,
    /// What the Worker has acknowledged of that log; nothing where there is none.
    pub told: Option<Told>,
    /// The approver's bot, as it was asked.
    pub approver: Approver,
    /// What a command inherits, as it was tried.
    pub inherited: Inherited,
    /// Where the key lies, and who may read it there.
    pub item: Item,
    /// When this was so, in milliseconds since 1970.
    pub at: i64,
    /// A file `panic` lies in the home.
    pub frozen: bool,
    /// The file could be put there and was seen.
    pub freezable: bool,
    /// Bytes that are free where the home is.
    pub free: u64,
    /// The service that starts it.
    pub service: Service,
    /// This program's version.
    pub version: String,
}

/// What the Worker has acknowledged of the log, as far as this machine still knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// How many entries the log has.
    pub entries: usize,
    /// The last entry whose receipt it has stored, and the beginning of its hash.
    pub last: Option<(i64, String)>,
    /// How many receipts it has not stored yet.
    pub waiting: usize,
    /// When the oldest of those calls ended, in milliseconds since 1970.
    pub oldest: Option<i64>,
}

/// Where the key lies, and who may read it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// There is none.
    None,
    /// In a file.
    File(PathBuf),
    /// In a keychain that tells no programs apart.
    Shared,
    /// In a keychain that opens it to this program alone.
    Own,
    /// In a keychain that opens it to others, too.
    Open(String),
    /// In a keychain that does not say to whom it opens it.
    Unseen,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It could not be looked at.
    Skipped,
    /// It should be otherwise.
    Warn,
    /// It must be otherwise.
    Fail,
}

/// One check, and how it came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its number, for good.
    pub id: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was seen.
    pub evidence: String,
    /// What puts it right: a command, or a sentence.
    pub fix: Option<String>,
}

/// A check's number and subject, before it has come out.
#[derive(Debug, Clone, Copy)]
struct About(&'static str, &'static str);

impl About {
    fn came(self, severity: Severity, evidence: impl Into<String>, fix: Option<String>) -> Check {
        Check {
            id: self.0,
            about: self.1,
            severity,
            evidence: evidence.into(),
            fix,
        }
    }

    fn ok(self, evidence: impl Into<String>) -> Check {
        self.came(Severity::Ok, evidence, None)
    }

    fn skipped(self, evidence: impl Into<String>) -> Check {
        self.came(Severity::Skipped, evidence, None)
    }

    fn warn(self, evidence: impl Into<String>, fix: impl Into<String>) -> Check {
        self.came(Severity::Warn, evidence, Some(fix.into()))
    }

    fn fail(self, evidence: impl Into<String>, fix: impl Into<String>) -> Check {
        self.came(Severity::Fail, evidence, Some(fix.into()))
    }

    /// What was found, or that nothing was.
    fn all(self, found: Vec<Check>, none: impl Into<String>) -> Vec<Check> {
        if found.is_empty() {
            vec![self.ok(none)]
        } else {
            found
        }
    }
}

/// All checks, in the order of their numbers.
pub fn judge(facts: &Facts) -> Vec<Check> {
    [
        permissions(facts),
        synced(facts),
        policy(facts),
        links(facts),
        fence(facts),
        vec![unasked(facts)],
        programs(facts),
        vec![
            account(facts),
            encryption(facts),
            full_disk(facts),
            clock(facts),
            pairing(facts),
            listening(facts),
            approver(facts),
            audit(facts),
            head(facts),
            inherited(facts),
            version(facts),
            core(facts),
            item(facts),
            panic(facts),
            reach(facts),
            space(facts),
            service(facts),
        ],
    ]
    .concat()
}

/// Whether any of them must be put right.
pub fn failed(checks: &[Check]) -> usize {
    let failed = checks
        .iter()
        .filter(|check| check.severity == Severity::Fail);
    failed.count()
}

fn permissions(facts: &Facts) -> Vec<Check> {
    let about = About("B01", "the home is yours alone");
    let others = |file: &File, bits: u32| file.mode & bits != 0;
    let open = facts
        .files
        .iter()
        .any(|file| file.path == facts.home && others(file, 0o077));
    let mut found = Vec::new();
    for file in &facts.files {
        let path = shown(&file.path);
        let mode = file.mode & 0o7777;
        let fix = format!("chmod go-rwx {path}");
        if !file.ours {
            let fix = format!("sudo chown \"$(id -u)\" {path}");
            found.push(about.fail(format!("{path} belongs to someone else"), fix));
        } else if others(file, 0o022) || file.secret && others(file, 0o077) {
            found.push(about.fail(format!("{path} has mode {mode:04o}"), fix));
        } else if open && others(file, 0o077) {
            // In a closed folder nobody reaches it.
            let evidence = format!("{path} can be read by others (mode {mode:04o})");
            found.push(about.warn(evidence, fix));
        }
    }
    let none = format!("{} files, none of them anyone else's", facts.files.len());
    about.all(found, none)
}

fn synced(facts: &Facts) -> Vec<Check> {
    let about = About("B02", "the home stays on this machine");
    let part = facts.home.iter().find_map(|part| {
        let part = part.to_string_lossy();
        SYNCED.iter().find(|name| part.starts_with(*name))
    });
    vec![match part {
        Some(name) => about.fail(
            format!(
                "{} lies in {name}, which copies the key elsewhere",
                facts.home.display()
            ),
            "mv it to ~/.bernard, and pair again: the key is no longer only here",
        ),
        None => about.ok(facts.home.display().to_string()),
    }]
}

fn policy(facts: &Facts) -> Vec<Check> {
    let about = About("B03", "the policy is accepted and opens no keys");
    match &facts.policy {
        None => {
            return vec![about.warn(
                "there is no policy.toml, so nothing is allowed",
                "local-bridge policy init --root FOLDER",
            )];
        }
        Some(Err(why)) => {
            return vec![about.fail(
                why.clone(),
                "local-bridge policy check, and mend the line that it names",
            )];
        }
        Some(Ok(())) => {}
    }
    let runs = !facts.commands.is_empty();
    let mut found = Vec::new();
    for root in facts
        .roots
        .iter()
        .filter(|root| runs && !root.keys.is_empty())
    {
        let names: Vec<String> = root.keys.iter().map(|name| visible(name)).collect();
        found.push(about.warn(
            format!(
                "commands that work in '{}' can read {}",
                root.name,
                names.join(", ")
            ),
            format!(
                "move them out of {}, or open a folder below it",
                shown(&root.real)
            ),
        ));
    }
    about.all(
        found,
        format!(
            "{} folders, {} commands",
            facts.roots.len(),
            facts.commands.len()
        ),
    )
}

fn links(facts: &Facts) -> Vec<Check> {
    let about = About("B04", "folders are written as they are, without links");
    let found = facts.roots.iter().filter(|root| root.written != root.real);
    let found = found.map(|root| {
        about.warn(
            format!(
                "'{}' is written as {} and is {}",
                root.name,
                shown(&root.written),
                shown(&root.real)
            ),
            format!("in policy.toml, write path = \"{}\"", root.real.display()),
        )
    });
    about.all(found.collect(), format!("{} folders", facts.roots.len()))
}

fn fence(facts: &Facts) -> Vec<Check> {
    let about = About("B05", "commands are fenced in");
    let runs = !facts.commands.is_empty();
    vec![match (&facts.fence, facts.sandbox) {
        (_, Sandbox::None) if runs => about.warn(
            "sandbox = \"none\": commands run with all that your account can reach",
            "in policy.toml, write sandbox = \"required\"",
        ),
        (Fence::Missing(why), Sandbox::None | Sandbox::Required) if runs => about.fail(
            format!("commands are refused: {why}"),
            "use a system that has the fence (Linux 6.7 with Landlock, or macOS), or take the commands out of policy.toml",
        ),
        (Fence::Missing(why), Sandbox::None | Sandbox::Required) => about.warn(
            format!("there is no fence here: {why}; the policy allows no commands"),
            "allow none",
        ),
        (Fence::Whole(_), Sandbox::None | Sandbox::Required) if facts.fence_told.contains(" NOT ") => about.warn(
            facts.fence_told.clone(),
            "update the kernel to Linux 6.12 or newer",
        ),
        (Fence::Whole(_), Sandbox::None | Sandbox::Required) => about.ok(facts.fence_told.clone()),
    }]
}

fn unasked(facts: &Facts) -> Check {
    let about = About("B06", "no command does whatever it is told");
    // Interpreters and programs that start others are refused when the policy is read: that it was accepted says that there are none.
    let bare = facts
        .commands
        .iter()
        .filter(|command| command.unasked && facts.sandbox == Sandbox::None);
    let bare: Vec<String> = bare
        .map(|command| format!("'{}'", command.begins))
        .collect();
    match &facts.policy {
        Some(Err(_)) => about.skipped("the policy is not accepted"),
        None => about.ok("no commands"),
        Some(Ok(())) if bare.is_empty() => {
            about.ok("no interpreters, no programs that start others")
        }
        Some(Ok(())) => about.warn(
            format!(
                "{} run without a question and without a fence",
                bare.join(", ")
            ),
            "in policy.toml, write then = \"ask\", or sandbox = \"required\"",
        ),
    }
}

fn programs(facts: &Facts) -> Vec<Check> {
    let about = About("B07", "programs are the ones that were allowed");
    let mut found = Vec::new();
    for command in &facts.commands {
        if let Some(why) = &command.broken {
            found.push(about.fail(
                why.clone(),
                "local-bridge policy check --accept, if you know why",
            ));
        } else if let Some(path) = &command.writable {
            found.push(about.warn(
                format!(
                    "'{}' starts {}, which your account can replace",
                    command.begins,
                    shown(path)
                ),
                "name a program of the system's, or one that root has installed",
            ));
        }
    }
    about.all(found, format!("{} commands", facts.commands.len()))
}

fn account(facts: &Facts) -> Check {
    let about = About("B08", "it does not run as root");
    if facts.root_account {
        return about.fail(
            "this is root: a mistake would reach the whole machine",
            "log in as the one whose files it may use, pair there, and unpair here: local-bridge unpair",
        );
    }
    about.ok("an account without rights of its own")
}

fn encryption(facts: &Facts) -> Check {
    let about = About("B09", "the disk is encrypted");
    match facts.encrypted {
        Some(true) => about.ok("FileVault is on"),
        Some(false) => about.warn(
            "FileVault is off: who takes the disk takes the key",
            "sudo fdesetup enable",
        ),
        None => about.skipped("not looked at on this system"),
    }
}

fn full_disk(facts: &Facts) -> Check {
    let about = About("B10", "macOS lets it read no more than it needs");
    match facts.full_disk_access {
        Some(true) => about.warn(
            "this program has Full Disk Access (or the terminal that started it does)",
            "take it away in System Settings, Privacy & Security, Full Disk Access",
        ),
        Some(false) => about.ok("no Full Disk Access"),
        None => about.skipped("only macOS has this"),
    }
}

fn clock(facts: &Facts) -> Check {
    let about = About("B11", "the clock is right");
    match &facts.reach {
        Reach::Answered(Asked {
            offset: Some(offset),
            ..
        }) if offset.abs() > CLOCK => {
            let way = if *offset > 0 { "ahead of" } else { "behind" };
            let fix = if cfg!(target_os = "macos") {
                "sudo sntp -sS time.apple.com"
            } else {
                "sudo timedatectl set-ntp true"
            };
            about.fail(
                format!("this machine's clock is {} {way} the Worker's; tokens live half a minute, so nothing is accepted", span(offset.abs())),
                fix,
            )
        }
        Reach::Answered(Asked {
            offset: Some(offset),
            ..
        }) => about.ok(format!(
            "{} from the Worker's, as far as a second tells",
            span(offset.abs())
        )),
        Reach::Answered(Asked { offset: None, .. }) => {
            about.skipped("the Worker did not say what time it is")
        }
        Reach::Skipped(why) => about.skipped(why.clone()),
        Reach::Failed(_) => about.skipped("the Worker could not be asked"),
    }
}

fn pairing(facts: &Facts) -> Check {
    let about = About("B12", "it is paired, and the Worker's key is pinned");
    let again = "ask Bernard for a link with /pair, then run: local-bridge pair '<link>'";
    match (&facts.paired, &facts.last_error) {
        (Err(why), _) if why.contains("the system's keychain") => about.fail(
            why.clone(),
            "unlock the keychain; then: local-bridge status",
        ),
        (Err(why), _) => about.fail(why.clone(), again),
        (Ok(_), Some(error)) if error.contains("is not the one this machine was paired with") => {
            about.fail(
                format!(
                    "{error}: someone else answers at that address, or Bernard was set up anew"
                ),
                format!("if you set it up anew: local-bridge unpair; then {again}"),
            )
        }
        (Ok(_), Some(error)) if error.starts_with("revoked") || error.starts_with("not paired") => {
            about.fail(error.clone(), again)
        }
        (Ok(worker), _) => about.ok(format!("with {worker}")),
    }
}

fn listening(facts: &Facts) -> Check {
    let about = About("B13", "it listens on nothing");
    match (&facts.running, &facts.listens) {
        (None, _) => about.skipped("it is not running"),
        (Some(_), None) => about.skipped("this system does not show its sockets"),
        (Some(process), Some(sockets)) if !sockets.is_empty() => about.fail(
            format!("process {} listens on {}", process.pid, sockets.join(", ")),
            format!(
                "kill {}; this is not local-bridge as it was built",
                process.pid
            ),
        ),
        (Some(process), Some(_)) => about.ok(format!("process {} has no such socket", process.pid)),
    }
}

fn approver(facts: &Facts) -> Check {
    let about = About("B14", "you can be asked at home");
    match &facts.approver {
        Approver::Unset => {
            about.ok("no approver is set; questions are answered by local-bridge approve")
        }
        Approver::Broken(why) => about.fail(why.clone(), "local-bridge approver set"),
        Approver::Skipped(why) => about.skipped(why.clone()),
        Approver::Refused(why) => about.fail(
            why.clone(),
            "write anything to the bot, so that it may write to you; else: local-bridge approver set",
        ),
        Approver::Works(name) => about.ok(format!("@{name} may write to you")),
    }
}

fn audit(facts: &Facts) -> Check {
    let about = About("B15", "the log of what was done is whole");
    match &facts.audit {
        Ok(None) => about.ok("nothing was done yet"),
        Ok(Some(Ok(sound))) => about.ok(format!(
            "{} entries, {} outcomes compared",
            sound.entries, sound.outcomes
        )),
        Ok(Some(Err(fault))) => about.fail(
            fault.to_string(),
            "local-bridge panic; then compare /receipts in the chat with: local-bridge audit show",
        ),
        Err(why) => about.fail(why.clone(), "local-bridge audit verify"),
    }
}

/// What the Worker keeps, it alone can say; here it is seen what it has acknowledged, and that must be in the log ([`audit`] looks).
fn head(facts: &Facts) -> Check {
    let about = About("B16", "the Worker has the same log");
    let Some(told) = facts.told.as_ref().filter(|told| told.entries > 0) else {
        return about.ok("nothing was done yet");
    };
    let late = told.oldest.map(|oldest| facts.at - oldest);
    if let Some(late) = late.filter(|late| *late > UNTOLD) {
        return about.warn(
            format!(
                "{} receipts have not reached the Worker, the oldest for {}: until then only this machine can say what was done",
                told.waiting,
                span(late)
            ),
            "let it connect: local-bridge status says why it is not",
        );
    }
    let last = match &told.last {
        Some((seq, head)) => format!("the Worker has acknowledged entry {seq}, log {head}"),
        None => "of what it has acknowledged nothing is kept here any more".to_owned(),
    };
    about.skipped(format!(
        "{last}, and lacks {}; what it keeps is to be compared by hand: local-bridge audit verify --head HASH, with a log from /receipts",
        told.waiting
    ))
}

fn inherited(facts: &Facts) -> Check {
    let about = About("B17", "commands inherit nothing");
    match &facts.inherited {
        Inherited::Skipped(why) => about.skipped(why.clone()),
        Inherited::Seen { leaked, .. } if !leaked.is_empty() => about.fail(
            format!("a command was given {}", leaked.join(", ")),
            "local-bridge panic; this is not local-bridge as it was built",
        ),
        Inherited::Seen { all, .. } => about.ok(format!("a command saw {}", all.join(", "))),
    }
}

fn version(facts: &Facts) -> Check {
    let about = About("B19", "it is the version that it should be");
    let running = facts
        .running
        .as_ref()
        .filter(|process| process.version != facts.version);
    match (running, &facts.last_error) {
        (_, Some(error)) if error.contains("of the protocol and this program") => about.fail(
            error.clone(),
            "cargo install --path local-bridge --locked, in an up-to-date checkout",
        ),
        (Some(process), _) => about.warn(
            format!(
                "version {} runs, this is {}",
                process.version, facts.version
            ),
            "start it again: local-bridge install does, or stop and run it",
        ),
        (None, _) => about.ok(format!("version {}", facts.version)),
    }
}

fn core(facts: &Facts) -> Check {
    let about = About("B20", "its memory is not written to disk when it crashes");
    match (&facts.running, facts.core) {
        (None, _) => about.skipped("it is not running"),
        (Some(_), None) => about.skipped("this system does not show it"),
        (Some(_), Some(0)) => about.ok("no core dumps"),
        (Some(process), Some(_)) => about.fail(
            format!(
                "process {} may leave a core dump, with the key in it",
                process.pid
            ),
            "start it again: local-bridge run switches them off",
        ),
    }
}

fn item(facts: &Facts) -> Check {
    let about = About("B21", "the key opens to nobody else");
    let free = facts.sandbox == Sandbox::None && !facts.commands.is_empty();
    match &facts.item {
        Item::None => about.skipped("there is no key"),
        Item::File(path) => about.ok(format!("it lies in {}, which B01 looks at", shown(path))),
        Item::Own => about.ok("the keychain opens it to this program alone"),
        Item::Unseen => about.skipped("the keychain does not say to whom it opens it"),
        Item::Open(whom) => about.warn(
            format!("the keychain opens it to {} without a question", visible(whom)),
            "local-bridge unpair, and pair again: what local-bridge puts there opens to it alone",
        ),
        Item::Shared if free => about.warn(
            "while it is unlocked, the keychain opens it to every program of your session, and so to commands without a fence",
            "in policy.toml, write sandbox = \"required\"",
        ),
        Item::Shared => about.ok(
            "in the keychain, which opens it to your own programs while it is unlocked; fenced commands reach no such service",
        ),
    }
}

fn panic(facts: &Facts) -> Check {
    let about = About("B22", "it can be frozen");
    if facts.frozen {
        return about.warn("it is frozen: every call is refused", "local-bridge resume");
    }
    if !facts.freezable {
        return about.fail(
            format!("no file can be put into {}", shown(&facts.home)),
            format!("chmod u+rwx {}", shown(&facts.home)),
        );
    }
    about.ok("a file was put there and seen; local-bridge panic freezes it")
}

fn reach(facts: &Facts) -> Check {
    let about = About("B23", "the Worker answers, encrypted");
    match &facts.reach {
        Reach::Skipped(why) => about.skipped(why.clone()),
        Reach::Answered(Asked {
            status: 200,
            millis,
            ..
        }) => about.ok(format!("in {millis} ms")),
        Reach::Answered(Asked { status, .. }) => about.fail(
            format!("its health check says {status}"),
            "look at the Worker: wrangler tail",
        ),
        Reach::Failed(why) => about.fail(
            why.clone(),
            "check that this machine is online and that the address is right: local-bridge status",
        ),
    }
}

fn space(facts: &Facts) -> Check {
    let about = About("B24", "there is room on the disk");
    let evidence = format!("{} free", crate::tools::figures::size(facts.free));
    let fix = format!("df -h {}, and make room", shown(&facts.home));
    match facts.free {
        free if free < TOO_LITTLE => about.fail(evidence, fix),
        free if free < LITTLE => about.warn(evidence, fix),
        _ => about.ok(evidence),
    }
}

fn service(facts: &Facts) -> Check {
    let about = About("B25", "it starts with the machine");
    let Service {
        path,
        installed,
        current,
        active,
    } = &facts.service;
    let again = "local-bridge install";
    if !installed {
        return about.warn(
            "it is not installed: it ends with the window in which it runs",
            again,
        );
    }
    if *active == Some(false) {
        return about.fail(
            format!("{} is there, and it is not running", shown(path)),
            again,
        );
    }
    if !current {
        return about.warn(
            format!("{} is not what this policy and program need", shown(path)),
            again,
        );
    }
    about.ok(path.display().to_string())
}

/// `10 min 3 s`.
fn span(millis: i64) -> String {
    let seconds = millis / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {seconds} s"),
        _ => format!("{hours} h {minutes} min {seconds} s"),
    }
}

/// A path as a shell takes it.
fn shown(path: &Path) -> String {
    let path = visible(&path.to_string_lossy());
    format!("'{}'", path.replace('\'', r"'\''"))
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Skipped => "-",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        })
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<4} {} {}: {}",
            self.severity, self.id, self.about, self.evidence
        )?;
        match &self.fix {
            Some(fix) => write!(f, "\n         fix: {fix}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
