//! `local-bridge`: arguments in, sentences and exit codes out.

mod care;
mod yes;

use anyhow::{Context, Result, bail};
use care::Care;
use clap::{Parser, Subcommand};
use local_bridge::home::{Broken, Home, Wish};
use local_bridge::pair;
use local_bridge::policy::{self, Law, Policy};
use local_bridge::sandbox::{self, Enclosure, Fence};
use local_bridge::tunnel::Unready;
use protocol::session::Access;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use yes::Yes;

/// What a service manager reads as a failure that passes (`EX_TEMPFAIL`).
const TRY_AGAIN: u8 = 75;

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
    #[command(flatten)]
    Care(Care),
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
        /// Where this machine's key is to lie; auto takes the system's keychain where it is open, else a file that only you can read
        #[arg(long, value_parser = ["auto", "keychain", "file"], default_value = "auto")]
        keys: String,
    },
    /// Forget key and pairing
    Unpair {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    #[command(flatten)]
    Yes(Yes),
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
        #[arg(long, value_parser = ["read", "append", "write"], default_value = "read")]
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
    let done = match arguments.command {
        // Before the home is looked for: a fenced command has no business there.
        Command::Fenced(enclosure) => return fenced(&enclosure),
        Command::Owner(command) => obey(arguments.home, command),
        Command::Care(care) => home_path(arguments.home).and_then(|path| care.obey(&path)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("local-bridge: {}", told(&error));
            if waits(&error) {
                return ExitCode::from(TRY_AGAIN);
            }
            ExitCode::FAILURE
        }
    }
}

/// An error and what caused it, each once: some name their cause themselves.
fn told(error: &anyhow::Error) -> String {
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !told.ends_with(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// Whether a later start may do better without a change: the keychain opens when its owner comes.
fn waits(error: &anyhow::Error) -> bool {
    let closed = |broken: &Broken| matches!(broken, Broken::Keychain(_));
    error.downcast_ref().is_some_and(closed)
        || matches!(error.downcast_ref(), Some(Unready::Home(broken)) if closed(broken))
}

fn fenced(enclosure: &Enclosure) -> ExitCode {
    let why = sandbox::enter(enclosure);
    eprintln!("{}", enclosure.report(&why));
    ExitCode::from(sandbox::NOT_ENTERED)
}

fn obey(given: Option<PathBuf>, command: OwnerCommand) -> Result<()> {
    let path = home_path(given)?;
    let home = Home::open(&path).context("opening local-bridge's folder")?;
    match command {
        OwnerCommand::Pair { link, name, keys } => pair(&home, &link, name, wish(&keys)),
        OwnerCommand::Unpair { yes } => unpair(&home, yes),
        OwnerCommand::Yes(command) => yes::obey(&home, command),
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

fn home_path(given: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path);
    }
    let account = std::env::home_dir().filter(|account| account.is_absolute());
    let account = account.context("there is no home folder; say where with --home")?;
    Ok(account.join(".bernard"))
}

fn wish(keys: &str) -> Wish {
    match keys {
        "keychain" => Wish::Keychain,
        "file" => Wish::File,
        _ => Wish::Auto,
    }
}

fn pair(home: &Home, link: &str, name: Option<String>, wish: Wish) -> Result<()> {
    let _held = care::alone(home)?;
    let name = name.unwrap_or_else(pair::machine_name);
    let paired = pair::pair(home, link, &name, wish)?;
    println!("id: {}", paired.id);
    println!("words: {}", paired.words.join(" "));
    println!(
        "Confirm in the chat or the console that it shows the same six words for {name}; then run:"
    );
    println!("local-bridge run");
    println!("or, to start it with the machine: local-bridge install");
    println!("Your key lies in {}.", home.lies(paired.kept));
    if let Some(why) = paired.why_not {
        println!("(Not in the system's keychain: {why}.)");
    }
    Ok(())
}

fn unpair(home: &Home, yes: bool) -> Result<()> {
    let _held = care::alone(home)?;
    let paired = home.path().join("pairing.json").exists();
    if !paired && home.kept().is_none() {
        println!("There is nothing to forget: this machine has no key and is not paired.");
        return Ok(());
    }
    if !yes {
        asked("Forget this machine's key and whom it is paired with?")?;
    }
    home.unpair()?;
    println!("Forgotten; policy, log and undo stay.");
    if paired {
        println!(
            "Bernard still lists this machine until you revoke it in the chat or the console."
        );
    }
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
    let access = match access {
        "write" => Access::Write,
        "append" => Access::Append,
        _ => Access::Read,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_each_cause_once() {
        let path = "/nonexistent/home".into();
        let source = std::io::ErrorKind::PermissionDenied.into();
        let error = anyhow::Error::from(Broken::Io { path, source });
        assert_eq!(
            told(&error.context("opening local-bridge's folder")),
            "opening local-bridge's folder: /nonexistent/home: permission denied"
        );
    }
}
