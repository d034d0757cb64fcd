//! What is so on this machine, for [`super::judge`]: files, kernel, network and processes are looked at here, and only the file `panic` is touched.

use super::{Facts, Item, Told, trials};
use crate::audit;
use crate::home::{Home, Kept, Process};
use crate::install::{Plan, System, ask_system};
use crate::journal::{Journal, Ledger};
use crate::keychain::Readers;
use crate::pair::endpoint;
use crate::places;
use crate::policy::{Law, Pin, Policy, Sandbox, Then};
use crate::sandbox::Fence;
use crate::status;
use rustix::fs::{Access, access, statvfs};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the Worker may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many names of a folder are looked at for keys.
const NAMES: usize = 5_000;

/// A file of the home's, or the home itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it lies.
    pub path: PathBuf,
    /// Its mode.
    pub mode: u32,
    /// It belongs to this account.
    pub ours: bool,
    /// Nobody else may even read it.
    pub secret: bool,
}

/// A folder that the policy opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Its name.
    pub name: String,
    /// Its path as the policy has it.
    pub written: PathBuf,
    /// Its path without links.
    pub real: PathBuf,
    /// What lies in it that may hold keys or passwords.
    pub keys: Vec<String>,
}

/// A rule about commands that starts something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// How the command begins.
    pub begins: String,
    /// It runs without a question.
    pub unasked: bool,
    /// Why its program is not started.
    pub broken: Option<String>,
    /// What this account could replace: its program, or the folder in which that lies.
    pub writable: Option<PathBuf>,
}

/// What became of asking the Worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// It was not asked, and why.
    Skipped(String),
    /// It did not answer.
    Failed(String),
    /// It did.
    Answered(Asked),
}

/// The Worker's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The HTTP status of its health check.
    pub status: u16,
    /// How long it took.
    pub millis: u128,
    /// How far this machine's clock is ahead of the Worker's, in milliseconds.
    pub offset: Option<i64>,
}

/// The service that starts the bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Where its file lies.
    pub path: PathBuf,
    /// It is there.
    pub installed: bool,
    /// It says what it should.
    pub current: bool,
    /// It runs.
    pub active: Option<bool>,
}

/// Looks at everything; asks the Worker unless it is to stay `offline`.
pub fn look(home: &Home, offline: bool) -> Facts {
    let (law, policy) = match Law::in_force(home) {
        Ok(mut law) => {
            let accepted = law.broken().map_or(Ok(()), |why| Err(why.to_owned()));
            (Some(law.current()), accepted)
        }
        Err(error) => (None, Err(error.to_string())),
    };
    let law = law.as_deref();
    let fence = Fence::find();
    let running = status::running(home).ok().flatten();
    let paired = paired(home);
    let sandbox = law.map_or(Sandbox::Required, |law| law.sandbox);
    let ledger = Journal::ledger(&home.journal());
    Facts {
        home: home.path().to_owned(),
        files: files(home),
        policy: home.policy().exists().then_some(policy),
        sandbox,
        roots: law.map(|law| roots(home, law)).unwrap_or_default(),
        commands: law.map(commands).unwrap_or_default(),
        fence_told: fence.told(Sandbox::Required),
        root_account: rustix::process::geteuid().is_root(),
        encrypted: encrypted(),
        full_disk_access: full_disk_access(),
        reach: match &paired {
            _ if offline => Reach::Skipped("--offline".to_owned()),
            Ok(worker) => ask(worker),
            Err(_) => Reach::Skipped("it is not paired".to_owned()),
        },
        paired,
        last_error: home.state().last_error,
        listens: running.as_ref().and_then(listens),
        core: running.as_ref().and_then(core),
        running,
        told: ledger.as_ref().ok().and_then(Option::as_ref).map(told),
        audit: match ledger {
            Ok(ledger) => Ok(ledger.map(|ledger| audit::verify(&ledger, None))),
            Err(error) => Err(error.to_string()),
        },
        approver: trials::approver(home, offline),
        inherited: trials::inherited(home, &fence, sandbox),
        item: item(home),
        at: status::now(),
        frozen: home.panics(),
        freezable: freezable(home),
        free: statvfs(home.path()).map_or(0, |disk| disk.f_bavail * disk.f_frsize),
        service: service(home, law),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        fence,
    }
}

/// What the Worker has acknowledged of the log, as far as that is still known.
fn told(ledger: &Ledger) -> Told {
    let seq = |head: &str| {
        let entry = ledger.entries.iter().find(|entry| entry.hash == head);
        entry.map(|entry| entry.seq)
    };
    let (acknowledged, waiting): (Vec<_>, Vec<_>) =
        ledger.kept.iter().partition(|ended| ended.acknowledged);
    let last = acknowledged.iter().filter_map(|ended| {
        let head = &ended.audit_head;
        Some((seq(head)?, audit::short(head)))
    });
    Told {
        entries: ledger.entries.len(),
        last: last.max(),
        waiting: waiting.len(),
        oldest: waiting.iter().map(|ended| ended.at).min(),
    }
}

/// Where the key lies, and who may read it there.
fn item(home: &Home) -> Item {
    match (home.kept(), home.keychain()) {
        (None, _) => Item::None,
        (Some(Kept::File), _) => Item::File(home.path().join("key")),
        (Some(Kept::Keychain), Ok((keychain, Some(name)))) => match keychain.readers(&name) {
            _ if cfg!(not(target_os = "macos")) => Item::Shared,
            Some(Readers::Anyone) => Item::Open("any program".to_owned()),
            Some(Readers::Programs(programs)) => others(programs),
            None => Item::Unseen,
        },
        (Some(Kept::Keychain), Ok((_, None)) | Err(_)) => Item::Unseen,
    }
}

/// Whether any but this program is among those who may read the key.
fn others(mut programs: Vec<String>) -> Item {
    let own = std::env::current_exe().unwrap_or_default();
    programs.retain(|program| Path::new(program) != own);
    if programs.is_empty() {
        return Item::Own;
    }
    Item::Open(programs.join(", "))
}

fn files(home: &Home) -> Vec<File> {
    let own = rustix::process::geteuid().as_raw();
    let looked = |path: PathBuf| {
        let metadata = fs::symlink_metadata(&path).ok()?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let secret =
            path == home.path() || matches!(&*name, "key" | "pairing.json" | "approver.toml");
        Some(File {
            mode: metadata.mode(),
            ours: metadata.uid() == own,
            secret: secret && !metadata.is_symlink(),
            path,
        })
    };
    let below = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let scratch = home.scratch(); // commands make in it what they like
    let mut paths = vec![home.path().to_owned()];
    paths.extend(
        below(home.path())
            .into_iter()
            .filter(|path| *path != scratch),
    );
    paths.extend(below(&home.logs()));
    paths.into_iter().filter_map(looked).collect()
}

fn roots(home: &Home, law: &Policy) -> Vec<Root> {
    let written = written(home);
    let roots = law.roots.iter().map(|root| Root {
        name: root.name.clone(),
        written: written
            .iter()
            .find(|(name, _)| *name == root.name)
            .map_or_else(|| root.path.clone(), |(_, path)| path.clone()),
        real: root.path.clone(),
        keys: keys(&root.path),
    });
    roots.collect()
}

/// The folders' paths as the file has them.
fn written(home: &Home) -> Vec<(String, PathBuf)> {
    let text = fs::read_to_string(home.policy()).unwrap_or_default();
    let table: toml::Table = text.parse().unwrap_or_default();
    let roots = table.get("root").and_then(toml::Value::as_array);
    let text = |root: &toml::Value, key: &str| Some(root.get(key)?.as_str()?.to_owned());
    let roots = roots.into_iter().flatten();
    let roots = roots.filter_map(|root| Some((text(root, "name")?, text(root, "path")?.into())));
    roots.collect()
}

fn keys(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .take(NAMES);
    let names = names.map(|entry| entry.file_name());
    let mut keys: Vec<String> = names
        .filter(|name| places::forbidden(Path::new(name)))
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    keys.sort();
    keys
}

fn commands(law: &Policy) -> Vec<Command> {
    let starting = law.commands.iter().filter(|rule| rule.then != Then::Deny);
    let commands = starting.map(|rule| Command {
        begins: rule.argv.join(" "),
        unasked: rule.then == Then::Allow,
        broken: match &rule.pin {
            Pin::Broken(why) => Some(why.clone()),
            Pin::Free | Pin::To(_) => None,
        },
        writable: writable(&rule.program),
    });
    commands.collect()
}

/// Root can replace everything: of it, nothing is learnt so.
fn writable(program: &Path) -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return None;
    }
    let places = [Some(program), program.parent()];
    let mut places = places.into_iter().flatten();
    let found = places.find(|path| access(*path, Access::WRITE_OK).is_ok());
    found.map(Path::to_owned)
}

fn paired(home: &Home) -> Result<String, String> {
    let told = |error: crate::home::Broken| error.to_string();
    let (pairing, _) = home
        .pairing()
        .map_err(told)?
        .ok_or("this machine is not paired")?;
    let key = home
        .key()
        .map_err(told)?
        .ok_or("this machine's key is gone")?;
    if key.public().id().0 != pairing.bridge {
        return Err("this machine's key is not the one that was paired".to_owned());
    }
    Ok(pairing.worker)
}

/// Asks the Worker's health check, which needs no proof and tells nothing.
fn ask(worker: &str) -> Reach {
    let address = match endpoint(worker, "/healthz") {
        Ok(address) => address,
        Err(error) => return Reach::Failed(error.to_string()),
    };
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build()
        .new_agent();
    let (begun, before) = (Instant::now(), status::now());
    match agent.get(address.as_str()).call() {
        Ok(response) => {
            let date = response.headers().get("date");
            let date = date.and_then(|date| date.to_str().ok());
            Reach::Answered(Asked {
                status: response.status().as_u16(),
                millis: begun.elapsed().as_millis(),
                offset: date.and_then(|date| offset(date, before, status::now())),
            })
        }
        Err(error) => Reach::Failed(format!("{worker} cannot be reached: {error}")),
    }
}

/// How far the middle of the asking is ahead of the middle of the second that a `Date` names.
pub(super) fn offset(date: &str, before: i64, after: i64) -> Option<i64> {
    let date = httpdate::parse_http_date(date).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    let theirs = i64::try_from(since.as_millis()).ok()? + 500;
    Some(i64::midpoint(before, after) - theirs)
}

/// Puts a file there as `panic` would be put, and takes it away again.
fn freezable(home: &Home) -> bool {
    const TRY: &str = "panic-try";
    let path = home.path().join(TRY);
    home.write(TRY, "").is_ok() && path.exists() && fs::remove_file(path).is_ok()
}

/// The inet sockets of a process that wait for others to connect.
#[cfg(target_os = "linux")]
fn listens(process: &Process) -> Option<Vec<String>> {
    const LISTENING: &str = "0A";
    let own = Path::new("/proc").join(process.pid.to_string());
    let mut inodes = Vec::new();
    for entry in fs::read_dir(own.join("fd")).ok()?.flatten() {
        let link = fs::read_link(entry.path()).unwrap_or_default();
        let link = link.to_string_lossy().into_owned();
        let inode = link
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'));
        inodes.extend(inode.map(str::to_owned));
    }
    let mut found = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = fs::read_to_string(own.join("net").join(table)).unwrap_or_default();
        for line in text.lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let [_, local, remote, state, _, _, _, _, _, inode, ..] = columns[..] else {
                continue;
            };
            // A UDP socket without a peer takes what comes; one that asks for a name's address is connected.
            let unconnected = table.starts_with("udp") && remote.ends_with(":0000");
            if (state == LISTENING || unconnected) && inodes.iter().any(|own| own == inode) {
                found.push(format!("{table} {local}"));
            }
        }
    }
    Some(found)
}

#[cfg(not(target_os = "linux"))]
fn listens(process: &Process) -> Option<Vec<String>> {
    let pid = process.pid.to_string();
    let words = [
        "lsof",
        "-nP",
        "-a",
        "-p",
        &pid,
        "-iTCP",
        "-sTCP:LISTEN",
        "-Fn",
    ];
    // It fails where it finds nothing, and says so by printing nothing.
    let said = match ask_system(&words) {
        Ok(said) | Err(said) => said,
    };
    let names = said.lines().filter_map(|line| line.strip_prefix('n'));
    Some(names.map(str::to_owned).collect())
}

#[cfg(target_os = "linux")]
fn core(process: &Process) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/limits", process.pid)).ok()?;
    let line = text
        .lines()
        .find(|line| line.starts_with("Max core file size"))?;
    let soft = line.split_whitespace().nth(4)?;
    Some(soft.parse().unwrap_or(u64::MAX)) // "unlimited"
}

#[cfg(not(target_os = "linux"))]
fn core(_process: &Process) -> Option<u64> {
    None
}

#[cfg(target_os = "macos")]
fn encrypted() -> Option<bool> {
    let said = ask_system(&["/usr/bin/fdesetup", "status"]).ok()?;
    Some(said.contains("FileVault is On"))
}

#[cfg(not(target_os = "macos"))]
fn encrypted() -> Option<bool> {
    None
}

/// Only who has the access can open the list of who has it.
#[cfg(target_os = "macos")]
fn full_disk_access() -> Option<bool> {
    let list = "Library/Application Support/com.apple.TCC/TCC.db";
    Some(fs::File::open(std::env::home_dir()?.join(list)).is_ok())
}

#[cfg(not(target_os = "macos"))]
fn full_disk_access() -> Option<bool> {
    None
}

fn service(home: &Home, law: Option<&Policy>) -> Service {
    let nothing = Policy::nothing();
    let program = std::env::current_exe().and_then(|path| path.canonicalize());
    let program = program.unwrap_or_default();
    let account = std::env::home_dir().unwrap_or_default();
    let uid = rustix::process::getuid().as_raw();
    let plan = Plan::new(home, law.unwrap_or(&nothing), program, account, uid);
    let with = |views| {
        Plan {
            views,
            ..plan.clone()
        }
        .service(System::own())
    };
    let (Ok(service), Ok(other)) = (with(true), with(false)) else {
        return Service {
            path: PathBuf::new(),
            installed: false,
            current: false,
            active: None,
        };
    };
    let written = service.written();
    Service {
        installed: written.is_some(),
        current: written.is_none_or(|text| text == service.text || text == other.text),
        active: service
            .written()
            .and_then(|_| service.active(&mut ask_system)),
        path: service.path,
    }
}
