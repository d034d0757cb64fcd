//! The commands of living with a bridge: start it, see how it stands, look for what is wrong, read its log, install it, freeze it.

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use local_bridge::approve::bot;
use local_bridge::audit;
use local_bridge::doctor::{self, Severity};
use local_bridge::home::{Broken, Home, Lock, Process};
use local_bridge::install::{self, NotDone, Plan, System, ask_system};
use local_bridge::journal::{Journal, Ledger};
use local_bridge::logs::{self, Log};
use local_bridge::pair;
use local_bridge::policy::{Law, Policy};
use local_bridge::status::{self, Status};
use local_bridge::tunnel::{Timing, Tunnel};
use rustix::process::{Resource, Rlimit, getrlimit, getuid, setrlimit};
use serde::Serialize;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriterExt};

#[derive(Debug, Subcommand)]
pub(crate) enum Care {
    /// Connect and carry out calls until stopped
    Run {
        /// Also log to logs/bridge.log in the home: five files of 1 MB, yours alone
        #[arg(long)]
        log_file: bool,
    },
    /// Tell how things stand: paired with whom, connected since when, what ran last, what waits
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Look for what is wrong, and say what puts it right; exit code 1 if something must be
    Doctor {
        /// As JSON: id, about, severity (ok, skipped, warn, fail), evidence, fix
        #[arg(long)]
        json: bool,
        /// Do not ask the Worker
        #[arg(long)]
        offline: bool,
    },
    /// The log of all that was done here: read it, check it, take it elsewhere
    #[command(subcommand)]
    Audit(Audit),
    /// Start with the machine: a systemd user unit on Linux, a launchd agent on macOS; again after a change of the policy
    Install {
        /// Print the file and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Stop and remove what install wrote; key, policy and log stay
    Uninstall,
    /// Freeze: refuse every call and stop what runs, until resume. Needs no network
    Panic {
        /// End this machine's own
        #[arg(long)]
        off: bool,
    },
    /// Go on after panic
    Resume,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// The last calls: number, time, tool, outcome, the log's head after it (as in /receipts), call
    Show {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        last: usize,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Compute every hash anew and name the first entry that was changed, removed, added or moved; exit code 1 if there is one
    Verify {
        /// A file that export wrote [default: the log of this machine]
        file: Option<PathBuf>,
        /// A head that must be in the log, such as one from /receipts in the chat (12 characters or more)
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
    /// Write the log into a new file, one JSON value a line, to be verified anywhere; outcomes stay here, their hashes go
    Export {
        /// The file
        file: PathBuf,
    },
}

impl Care {
    /// Does it, in the home that lies, or is to lie, at `path`.
    pub(crate) fn obey(self, path: &Path) -> Result<()> {
        match self {
            Self::Run { log_file } => run(
                &Home::open(path).context("opening local-bridge's folder")?,
                log_file,
            ),
            Self::Status { json } => show(&Status::of(&found(path)?), json),
            Self::Doctor { json, offline } => doctor(&found(path)?, json, offline),
            Self::Audit(Audit::Show { last, json }) => audit_show(&found(path)?, last, json),
            Self::Audit(Audit::Verify { file, head }) => {
                verify(path, file.as_deref(), head.as_deref())
            }
            Self::Audit(Audit::Export { file }) => export(&found(path)?, &file),
            Self::Install { dry_run } => install(&found(path)?, dry_run),
            Self::Uninstall => uninstall(&found(path)?),
            Self::Panic { off: false } => freeze(&found(path)?),
            Self::Panic { off: true } => thaw(&found(path)?),
            Self::Resume => resume(&found(path)?),
        }
    }
}

/// The home as it is: whoever only looks makes nothing.
fn found(path: &Path) -> Result<Home> {
    let home = Home::look(path).context("opening local-bridge's folder")?;
    home.with_context(|| {
        format!(
            "there is no {}; ask Bernard for a link with /pair, then run: local-bridge pair '<link>'",
            path.display()
        )
    })
}

/// Takes the home for this process, or says which one has it and how that is stopped.
pub(crate) fn alone(home: &Home) -> Result<Lock> {
    let held = home.lock();
    if !matches!(held, Err(Broken::Running)) {
        return Ok(held?);
    }
    let process = home.process();
    let who = process.as_ref().map(|process| {
        let (pid, since) = (process.pid, status::utc(process.since));
        format!(" as process {pid}, since {since}")
    });
    bail!(
        "local-bridge already runs with this home{}; local-bridge status tells how it stands; to stop it: {}",
        who.unwrap_or_default(),
        stopping(home, process.map(|process| process.pid))
    )
}

/// What stops the bridge that runs: whoever kills a service's process only makes it start again.
fn stopping(home: &Home, pid: Option<u32>) -> String {
    let system = System::own();
    let service = plan(home, &Policy::nothing()).and_then(|plan| Ok(plan.service(system)?));
    match (service, pid) {
        (Ok(service), _) if service.active(&mut ask_system) == Some(true) => match system {
            System::Systemd => format!("systemctl --user stop {}", service.name),
            System::Launchd => "local-bridge uninstall".to_owned(),
        },
        (Ok(_) | Err(_), Some(pid)) => format!("Ctrl-C in its window, or kill {pid}"),
        (Ok(_) | Err(_), None) => "Ctrl-C in its window".to_owned(),
    }
}

fn run(home: &Home, log_file: bool) -> Result<()> {
    let _held = alone(home)?;
    no_core_dumps()?;
    let log = log_to(home, log_file)?;
    home.begin(&Process {
        pid: std::process::id(),
        since: status::now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        log,
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting")?;
    let ran = runtime.block_on(async {
        let tunnel = Tunnel::open(home, Timing::default(), until_told()?)?;
        let approver = home.clone();
        std::thread::spawn(move || bot::serve(&approver)); // it ends with the process
        tunnel.run().await;
        Ok(())
    });
    if let (Err(error), true) = (&ran, log_file) {
        tracing::error!("{error:#}"); // whoever starts it as a service reads the log
    }
    // A disk that does not answer must not keep a stopped bridge alive.
    runtime.shutdown_background();
    ran
}

/// A core dump would hold the key.
fn no_core_dumps() -> Result<()> {
    let limit = Rlimit {
        current: Some(0),
        ..getrlimit(Resource::Core)
    };
    setrlimit(Resource::Core, limit).context("switching core dumps off")
}

fn log_to(home: &Home, log_file: bool) -> Result<Option<PathBuf>> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let to_stderr = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false);
    if !log_file {
        to_stderr
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .init();
        return Ok(None);
    }
    // A key that cannot be read cannot be logged either; that it cannot belongs into the log.
    let secrets = home.key().ok().flatten().map(|key| key.to_text());
    let log = Log::open(
        &home.logs(),
        logs::MOST_BYTES,
        secrets.into_iter().collect(),
    );
    let log = log.with_context(|| format!("opening {}", home.logs().display()))?;
    let path = log.path();
    let both = std::io::stderr.and(Mutex::new(log));
    to_stderr
        .with_writer(BoxMakeWriter::new(both))
        .with_ansi(false)
        .init();
    Ok(Some(path))
}

/// Becomes true at SIGINT or SIGTERM.
fn until_told() -> Result<watch::Receiver<bool>> {
    let (stop, stopped) = watch::channel(false);
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.send_replace(true);
    });
    Ok(stopped)
}

fn show(status: &Status, json: bool) -> Result<()> {
    if json {
        return as_json(status);
    }
    print!("{status}");
    Ok(())
}

fn as_json<T: Serialize + ?Sized>(value: &T) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

fn doctor(home: &Home, json: bool, offline: bool) -> Result<()> {
    let checks = doctor::judge(&doctor::look(home, offline));
    if json {
        as_json(&checks)?;
    } else {
        for check in &checks {
            println!("{check}");
        }
        let warned = checks
            .iter()
            .filter(|check| check.severity == Severity::Warn)
            .count();
        let failed = doctor::failed(&checks);
        println!("{} checks: {warned} warn, {failed} FAIL", checks.len());
    }
    match doctor::failed(&checks) {
        0 => Ok(()),
        1 => bail!("something must be put right"),
        many => bail!("{many} things must be put right"),
    }
}

fn ledger(home: &Home) -> Result<Ledger> {
    Ok(Journal::ledger(&home.journal())?.unwrap_or_default())
}

fn audit_show(home: &Home, last: usize, json: bool) -> Result<()> {
    let lines = audit::lines(&ledger(home)?, last);
    if json {
        return as_json(&lines);
    }
    if lines.is_empty() {
        println!("nothing was done here yet");
    }
    for line in lines {
        println!("{line}");
    }
    Ok(())
}

fn verify(home: &Path, file: Option<&Path>, head: Option<&str>) -> Result<()> {
    let ledger = match file {
        Some(file) => audit::import(file)?,
        None => ledger(&found(home)?)?,
    };
    let sound = audit::verify(&ledger, head)?;
    println!(
        "whole: {} entries, {} outcomes compared; head {}",
        sound.entries, sound.outcomes, sound.head
    );
    if head.is_none() && sound.entries > 0 {
        println!(
            "Who can write all your files could have written the log anew. A head that left this machine shows it: take one from /receipts in the chat, and run: local-bridge audit verify --head HASH"
        );
    }
    Ok(())
}

fn export(home: &Home, file: &Path) -> Result<()> {
    let bridge = home.key()?.map(|key| key.public().id().0);
    let entries = audit::export(&ledger(home)?, bridge, status::now(), file)?;
    println!("wrote {entries} entries into {}", file.display());
    println!("anywhere: local-bridge audit verify {}", file.display());
    Ok(())
}

fn install(home: &Home, dry_run: bool) -> Result<()> {
    let (system, uid) = (System::own(), getuid().as_raw());
    if dry_run {
        let policy = Law::open(home)?.current();
        let service = seen(plan(home, &policy)?, system).service(system)?;
        eprintln!("would write {}:", service.path.display());
        print!("{}", service.text);
        return Ok(());
    }
    let policy = install::ready(home, uid)?;
    let service = seen(plan(home, &policy)?, system).service(system)?;
    if let (None, Some(process)) = (service.written(), status::running(home)?) {
        return Err(NotDone::ByHand(process.pid).into());
    }
    for line in service.install(uid, &mut ask_system)? {
        println!("{line}");
    }
    println!("see how it stands: local-bridge status");
    Ok(())
}

fn plan(home: &Home, policy: &Policy) -> Result<Plan> {
    let program = std::env::current_exe().and_then(|path| path.canonicalize());
    let program = program.context("local-bridge cannot find its own program")?;
    let account = std::env::home_dir().context("there is no home folder")?;
    let uid = getuid().as_raw();
    Ok(Plan::new(home, policy, program, account, uid))
}

/// The same, with what was found out by trying.
fn seen(plan: Plan, system: System) -> Plan {
    Plan {
        views: install::views(system, &mut ask_system),
        ..plan
    }
}

fn uninstall(home: &Home) -> Result<()> {
    let (system, uid) = (System::own(), getuid().as_raw());
    let service = plan(home, &Policy::nothing())?.service(system)?;
    for line in service.uninstall(uid, &mut ask_system)? {
        println!("{line}");
    }
    println!(
        "{} stays as it is: key, pairing, policy and log",
        home.path().display()
    );
    Ok(())
}

fn freeze(home: &Home) -> Result<()> {
    let at = status::utc(status::now());
    home.freeze(&format!("local-bridge panic, {at}\n"))?;
    println!(
        "frozen: every call is refused, and what runs is stopped; to go on: local-bridge resume"
    );
    Ok(())
}

/// Ends this machine's own panic.
fn thaw(home: &Home) -> Result<()> {
    println!(
        "{}",
        if home.thaw()? {
            "calls are carried out again"
        } else {
            "nothing was frozen on this machine"
        }
    );
    Ok(())
}

/// Ends a panic, whichever side began it: the file here, and the Worker's `/panic`, by this machine's own key.
fn resume(home: &Home) -> Result<()> {
    thaw(home)?;
    match pair::thaw(home) {
        Ok(Some(true)) => println!("the Worker goes on as well; its machines may come back"),
        Ok(Some(false)) => println!("nothing was frozen at the Worker"),
        Ok(None) => {}
        Err(error) => println!("if /panic was said in a chat, that still holds: {error}"),
    }
    Ok(())
}
