//! The commands of the yes at home: the list of questions, and the approver that asks elsewhere.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use local_bridge::approve::bot::{Settings, Token};
use local_bridge::approve::{notify, terminal};
use local_bridge::home::Home;
use local_bridge::status::now;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::io::{BufReader, ErrorKind, IsTerminal, Write, stdin, stdout};

#[derive(Debug, Subcommand)]
pub(crate) enum Yes {
    /// What waits for a yes at home, live; answer it here
    Approve(Approve),
    /// A second Telegram bot that asks you, whose token this machine alone knows
    #[command(subcommand)]
    Approver(Approver),
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag")]
pub(crate) struct Approve {
    /// The question to answer: its id or how that begins; for a no, the call's id as well
    id: Option<String>,
    /// Say yes to it
    #[arg(long, requires = "id", conflicts_with_all = ["no", "list", "json"])]
    yes: bool,
    /// Say no to it
    #[arg(long, requires = "id", conflicts_with_all = ["list", "json"])]
    no: bool,
    /// Only list what waits
    #[arg(long, conflicts_with = "id")]
    list: bool,
    /// List it as JSON
    #[arg(long, conflicts_with = "id")]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Approver {
    /// Ask for the bot's token and your number, try them, and keep them
    Set {
        /// Another address than Telegram's; only for a test
        #[arg(long, hide = true)]
        api_url: Option<String>,
    },
    /// Forget the token
    Remove,
    /// Show each question on the desktop, with buttons where it has them, or do not; off by default
    Notify {
        /// On, or off
        #[arg(value_parser = ["on", "off"])]
        wanted: String,
    },
}

pub(crate) fn obey(home: &Home, command: Yes) -> Result<()> {
    match command {
        Yes::Approve(wanted) => approve(home, wanted),
        Yes::Approver(Approver::Set { api_url }) => set(home, api_url),
        Yes::Approver(Approver::Remove) => remove(home),
        Yes::Approver(Approver::Notify { wanted }) => show_on_desktop(home, wanted == "on"),
    }
}

fn approve(home: &Home, wanted: Approve) -> Result<()> {
    if let Some(id) = wanted.id {
        if wanted.yes == wanted.no {
            bail!("say --yes or --no; without an id, local-bridge approve asks");
        }
        terminal::answer(home, &id, wanted.yes, &mut stdout())?;
        return Ok(());
    }
    if wanted.json {
        let open = terminal::open_questions(home)?;
        println!("{}", serde_json::to_string_pretty(&open)?);
        return Ok(());
    }
    if wanted.list {
        let open = terminal::open_questions(home)?;
        println!("{}", terminal::listed(&open, now()));
        return Ok(());
    }
    if !stdin().is_terminal() {
        bail!("nobody can be asked here; use --list, --json, or an id with --yes or --no");
    }
    Ok(terminal::live(
        home,
        BufReader::new(stdin()),
        &mut stdout(),
    )?)
}

fn set(home: &Home, api_url: Option<String>) -> Result<()> {
    if stdin().is_terminal() {
        println!(
            "Make a bot with @BotFather for this alone. Never use Bernard's own: the cloud knows that token."
        );
    }
    let token = Token::new(&ask("Token (it is not shown): ", true)?)?;
    let owner = ask("Your number at Telegram (@userinfobot tells it): ", false)?;
    let owner = owner.parse::<i64>().ok().filter(|owner| *owner > 0);
    let settings = Settings {
        token,
        owner: owner.context("a number is wanted, such as 4711, not a name")?,
        api_url,
    };
    let name = settings.check()?;
    let machine = home.pairing()?.map(|(pairing, _)| pairing.name);
    let machine = machine.unwrap_or_else(local_bridge::pair::machine_name);
    settings.greet(&machine).with_context(|| {
        format!("write anything to @{name} first, so that it may write to you; then run this again")
    })?;
    settings.write(home)?;
    println!(
        "@{name} asks from now on, and has said hello to you. A running bridge needs no restart."
    );
    Ok(())
}

fn remove(home: &Home) -> Result<()> {
    if Settings::remove(home)? {
        println!("Forgotten. Questions are still answered by: local-bridge approve");
    } else {
        println!("There was no approver.");
    }
    Ok(())
}

fn show_on_desktop(home: &Home, wanted: bool) -> Result<()> {
    let file = home.path().join(notify::FILE);
    if wanted {
        home.write(notify::FILE, "")?;
        println!(
            "A notification shows what waits, with buttons where this desktop has them: whoever sits before it can answer."
        );
    } else {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => println!("No notifications."),
        }
    }
    Ok(())
}

/// One line of the input; what is secret is not echoed where a person types it.
fn ask(question: &str, secret: bool) -> Result<String> {
    let input = stdin();
    let mut line = String::new();
    if !input.is_terminal() {
        input.read_line(&mut line)?;
        return Ok(line.trim().to_owned());
    }
    print!("{question}");
    stdout().flush()?;
    let before = tcgetattr(&input)?;
    if secret {
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&input, OptionalActions::Flush, &silent)?;
    }
    let read = input.read_line(&mut line);
    tcsetattr(&input, OptionalActions::Now, &before)?;
    if secret {
        println!();
    }
    read?;
    Ok(line.trim().to_owned())
}
