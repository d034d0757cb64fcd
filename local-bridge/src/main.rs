//! `local-bridge`: arguments in, sentences and exit codes out.

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use local_bridge::home::{Broken, Home};
use local_bridge::journal::Journal;
use local_bridge::pair;
use local_bridge::policy::{self, Law, Policy};
use local_bridge::sandbox::{self, Enclosure, Fence};
use local_bridge::tunnel::{Timing, Tunnel};
use protocol::session::Access;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// Bernard's hands on this machine: carries out what its owner asks for, and only ever dials out.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where key, pairing, policy and journal lie [default: ~/.bernard]
    #[arg(long, env = "BERNARD_HOME", value_name = "DIR", global = true)]
    home: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Owner(OwnerCommand),
    /// Give up what is not named and become a program: how the bridge starts fenced commands
    #[command(name = "__fenced", hide = true)]
    Fenced(Enclosure),
}

#[derive(Debug, Subcommand)]
enum OwnerCommand {
    /// Join this machine to a Bernard, with a link from /pair
    Pair {
        /// The link, whole
        link: String,
        /// What Bernard calls this machine [default: its host name]
        #[arg(long)]
        name: Option<String>,
    },
    /// Connect and carry out calls until stopped
    Run,
    /// Tell how things stand
    Status,
    /// Forget key and pairing
    Unpair {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// What may happen on this machine
    #[command(subcommand)]
    Policy(PolicyCommand),
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Write a policy.toml to go on from
    Init {
        /// A folder that Bernard may use
        #[arg(long, value_name = "PATH")]
        root: PathBuf,
        /// What Bernard calls the folder [default: its name]
        #[arg(long)]
        name: Option<String>,
        /// What may be done there
        #[arg(long, value_parser = ["read", "write"], default_value = "read")]
        access: String,
        /// How a command that may run begins, such as "git status"; may be given several times
        #[arg(long, value_name = "COMMAND")]
        command: Vec<String>,
        /// Replace a policy that is there
        #[arg(long)]
        force: bool,
    },
    /// Read the policy and tell what it means, or what is wrong with it
    Check {
        /// Programs that have changed since they were allowed are right as they are now
        #[arg(long)]
        accept: bool,
        /// Do not ask
        #[arg(long, requires = "accept")]
        yes: bool,
    },
    /// Tell which rule decides about a tool or a command, and why
    Explain {
        /// A tool, such as files.write, or a command, such as git push
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Add a rule that allows a tool or a command that begins so, after showing it
    Allow {
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// A tool, such as files.trash, or a command, such as git log
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Print the policy file
    Show,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let command = match arguments.command {
        // Before the home is looked for: a fenced command has no business there.
        Command::Fenced(enclosure) => return fenced(&enclosure),
        Command::Owner(command) => command,
    };
    match obey(arguments.home, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("local-bridge: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn fenced(enclosure: &Enclosure) -> ExitCode {
    let why = sandbox::enter(enclosure);
    eprintln!("{}", enclosure.report(&why));
    ExitCode::from(sandbox::NOT_ENTERED)
}

fn obey(given: Option<PathBuf>, command: OwnerCommand) -> Result<()> {
    let home = home(given)?;
    match command {
        OwnerCommand::Pair { link, name } => pair(&home, &link, name),
        OwnerCommand::Run => run(&home),
        OwnerCommand::Status => status(&home),
        OwnerCommand::Unpair { yes } => unpair(&home, yes),
        OwnerCommand::Policy(PolicyCommand::Init {
            root,
            name,
            access,
            command,
            force,
        }) => init(&home, &root, name, &access, &command, force),
        OwnerCommand::Policy(PolicyCommand::Check { accept, yes }) => check(&home, accept, yes),
        OwnerCommand::Policy(PolicyCommand::Explain { words }) => why(&home, &words),
        OwnerCommand::Policy(PolicyCommand::Allow { yes, words }) => allow(&home, &words, yes),
        OwnerCommand::Policy(PolicyCommand::Show) => show(&home),
    }
}

fn home(given: Option<PathBuf>) -> Result<Home> {
    let path = match given {
        Some(path) => path,
        None => std::env::home_dir()
            .context("there is no home folder; say where with --home")?
            .join(".bernard"),
    };
    Home::open(&path).context("opening local-bridge's folder")
}

fn pair(home: &Home, link: &str, name: Option<String>) -> Result<()> {
    let _held = home.lock()?;
    let name = name.unwrap_or_else(pair::machine_name);
    let paired = pair::pair(home, link, &name)?;
    println!("id: {}", paired.id);
    println!("words: {}", paired.words.join(" "));
    println!(
        "Confirm in the chat or the console that it shows the same six words for {name}; then run:"
    );
    println!("local-bridge run");
    Ok(())
}

fn run(home: &Home) -> Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let _held = home.lock()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting")?;
    let ran = runtime.block_on(async {
        let tunnel = Tunnel::open(home, Timing::default(), until_told()?)?;
        tunnel.run().await;
        Ok(())
    });
    // A disk that does not answer must not keep a stopped bridge alive.
    runtime.shutdown_background();
    ran
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

fn status(home: &Home) -> Result<()> {
    println!("home: {}", home.path().display());
    match home.key()? {
        Some(key) => println!(
            "key: {} (in a file that only you can read, not in the system's keychain)",
            key.public().id()
        ),
        None => println!("key: none yet"),
    }
    match home.pairing()? {
        Some((pairing, _)) => println!("paired: with {} as {}", pairing.worker, pairing.name),
        None => println!("paired: no; ask Bernard for a link with /pair"),
    }
    println!("connected: {}", connection(home)?);
    match Law::open(home) {
        Ok(mut law) => {
            let policy = law.current();
            println!("policy: {}", policy.summary());
            if let Some(fault) = law.fault() {
                println!("policy fault: {fault}");
            }
            println!("sandbox: {}", Fence::find().told(policy.sandbox));
        }
        Err(error) => println!("policy: broken, so local-bridge will not start: {error}"),
    }
    match Journal::look(&home.journal())? {
        Some(counts) => println!(
            "calls: {} running, {} waiting for the Worker, {} ended in all",
            counts.running, counts.waiting, counts.ended
        ),
        None => println!("calls: none yet"),
    }
    if home.panics() {
        println!("frozen: a file named 'panic' lies in the home; every call is refused");
    }
    Ok(())
}

fn connection(home: &Home) -> Result<String> {
    match home.lock() {
        Ok(_) => return Ok("no, local-bridge is not running".to_owned()),
        Err(Broken::Running) => {}
        Err(error) => return Err(error.into()),
    }
    let state = home.state();
    Ok(match (state.connected, state.last_error) {
        (true, _) => "yes".to_owned(),
        (false, Some(error)) => format!("no: {error}"),
        (false, None) => "not yet".to_owned(),
    })
}

fn unpair(home: &Home, yes: bool) -> Result<()> {
    let _held = home.lock()?;
    if !yes {
        asked("Forget this machine's key and whom it is paired with?")?;
    }
    home.unpair()?;
    println!(
        "Forgotten. Bernard still lists this machine until you revoke it in the chat or the console."
    );
    Ok(())
}

/// Goes on only after a yes. It is a person's: words from a pipe are none.
fn agreed(question: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        bail!("nobody can be asked here, so nothing was changed; --yes answers beforehand");
    }
    asked(question)
}

fn asked(question: &str) -> Result<()> {
    print!("{question} [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("nothing was changed");
    }
    Ok(())
}

fn init(
    home: &Home,
    root: &Path,
    name: Option<String>,
    access: &str,
    commands: &[String],
    force: bool,
) -> Result<()> {
    let root = std::path::absolute(root)?;
    let name = match name {
        Some(name) => name,
        None => root
            .file_name()
            .context("the folder needs a name; say one with --name")?
            .to_string_lossy()
            .into_owned(),
    };
    let access = if access == "write" {
        Access::Write
    } else {
        Access::Read
    };
    let words = |command: &String| command.split_whitespace().map(str::to_owned).collect();
    let commands: Vec<Vec<String>> = commands.iter().map(words).collect();
    let fence = Fence::find();
    let roots = [(name, root, access)];
    let policy = policy::init(home, &roots, &commands, fence.demand(), force)?;
    println!("wrote {}", home.policy().display());
    explain(&policy, &fence);
    Ok(())
}

fn check(home: &Home, accept: bool, yes: bool) -> Result<()> {
    let changed = policy::changed(home)?;
    if accept && !changed.is_empty() {
        for program in &changed {
            println!("{}", program.told());
        }
        agreed("Is that right?", yes)?;
        policy::accept(home, &changed)?;
    }
    let policy = Policy::read(home)?;
    explain(&policy, &Fence::find());
    Ok(())
}

fn why(home: &Home, words: &[String]) -> Result<()> {
    let policy = Law::open(home)?.current();
    println!("{}", policy::explain(&policy, words));
    Ok(())
}

fn allow(home: &Home, words: &[String], yes: bool) -> Result<()> {
    let law = Law::open(home)?.current();
    let begins = |rule: &&policy::Command| words.starts_with(&rule.argv);
    let rule = law.commands.iter().find(begins);
    let mut changed = policy::changed(home)?;
    changed.retain(|changed| rule.is_some_and(|rule| rule.program == changed.program));
    if !changed.is_empty() {
        for program in &changed {
            println!("{}", program.told());
        }
        agreed("Allow the program as it is now?", yes)?;
        policy::accept(home, &changed)?;
        return why(home, words);
    }
    let proposal = policy::propose(home, words)?;
    println!("{}", home.policy().display());
    println!("{}", proposal.diff());
    agreed("Write this?", yes)?;
    proposal.write(home)?;
    why(home, words)
}

fn explain(policy: &Policy, fence: &Fence) {
    println!("{}", policy.details());
    if !policy.commands.is_empty() {
        println!("{}", fence.told(policy.sandbox));
    }
}

fn show(home: &Home) -> Result<()> {
    let text = std::fs::read_to_string(home.policy())
        .with_context(|| format!("reading {}", home.policy().display()))?;
    print!("{text}");
    Ok(())
}
