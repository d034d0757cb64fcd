//! `local-bridge approve`: the open questions in a terminal, live, and the answers that are typed there. The home's file permissions are
//! what proves who answers.

use super::Held;
use super::desk::Desk;
use crate::home::Home;
use crate::journal::Unusable;
use crate::status::now;
use rustix::process::geteuid;
use std::fs;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How often the list is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The fewest characters of an id that name a question.
const SHORTEST_NAME: usize = 6;

/// Why nothing was answered.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Only the owner of the home says yes.
    #[error("{0} belongs to someone else; only its owner can answer")]
    NotOwner(String),
    /// There is no such question.
    #[error("no open question is called '{0}'; local-bridge approve --list shows them")]
    NoSuch(String),
    /// A call's name, which the cloud chooses, is no name for what one says yes to.
    #[error(
        "'{0}' is a call, named by the cloud; say yes to the question's own id, which local-bridge approve --list shows"
    )]
    CloudsName(String),
    /// It ended meanwhile.
    #[error("it is no longer open; nothing was done")]
    Over,
    /// The questions cannot be read or written.
    #[error(transparent)]
    Desk(#[from] Unusable),
    /// The terminal, or the home, cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The questions that can still be answered, for their owner alone.
pub fn open_questions(home: &Home) -> Result<Vec<Held>, NoAnswer> {
    owner_only(home)?;
    match Desk::open(&home.journal())? {
        Some(desk) => Ok(desk.unanswered(now())?),
        None => Ok(vec![]),
    }
}

/// Answers the question of this id, or whose id begins so, once its action is printed: whole, if the answer is yes. A no may name the call
/// as well. Gives the question.
pub fn answer(home: &Home, name: &str, yes: bool, out: &mut impl Write) -> Result<Held, NoAnswer> {
    let open = open_questions(home)?;
    let is_call = |held: &Held| held.call.id.0 == name;
    let exact = |held: &&Held| held.id == name || (!yes && is_call(held));
    let begins = |held: &&Held| name.len() >= SHORTEST_NAME && held.id.starts_with(name);
    let mut beginning = open.iter().filter(begins);
    let named = open.iter().find(exact).or_else(|| {
        let first = beginning.next()?;
        beginning.next().is_none().then_some(first)
    });
    let held = named.ok_or_else(|| {
        let name = super::literal(name);
        if open.iter().any(is_call) {
            NoAnswer::CloudsName(name)
        } else {
            NoAnswer::NoSuch(name)
        }
    })?;
    let answer = if yes { "yes" } else { "no" };
    writeln!(out, "{answer} to:\n{}", action(held, yes))?;
    out.flush()?;
    say(home, held, yes)?;
    Ok(held.clone())
}

/// The questions, numbered, as they are listed.
pub fn listed(open: &[Held], now: i64) -> String {
    if open.is_empty() {
        return "Nothing waits for a yes.".to_owned();
    }
    let told = open.iter().enumerate().map(|(at, held)| {
        format!(
            "{}. {} (open for {} minutes, id {})\n{}\n",
            at + 1,
            super::literal(&held.why),
            held.minutes_left(now),
            held.id,
            indented(&held.shown)
        )
    });
    told.collect::<Vec<_>>().join("\n")
}

/// Shows the open questions, again whenever they change, and takes what is typed, until `q` or the end of the input.
pub fn live(
    home: &Home,
    input: impl BufRead + Send + 'static,
    out: &mut impl Write,
) -> Result<(), NoAnswer> {
    let typed = lines(input);
    let mut session = Session {
        home,
        out,
        shown: open_questions(home)?,
        sure: None,
    };
    session.list()?;
    loop {
        match typed.recv_timeout(LOOK) {
            Ok(line) if matches!(line.trim(), "q" | "quit") => return Ok(()),
            Ok(line) => session.typed(line.trim())?,
            Err(RecvTimeoutError::Timeout) => session.look()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// One sitting at the terminal.
struct Session<'a, W> {
    home: &'a Home,
    out: &'a mut W,
    /// What the numbers mean: the list as it was last shown.
    shown: Vec<Held>,
    /// What was chosen and waits to be confirmed.
    sure: Option<(Held, bool)>,
}

impl<W: Write> Session<'_, W> {
    fn list(&mut self) -> Result<(), NoAnswer> {
        writeln!(self.out, "\n{}", listed(&self.shown, now()))?;
        if !self.shown.is_empty() {
            writeln!(
                self.out,
                "y 1 or n 1 and Enter answers the first; q ends this."
            )?;
        }
        Ok(self.out.flush()?)
    }

    /// Shows the list anew if it has changed; not while an answer is being confirmed.
    fn look(&mut self) -> Result<(), NoAnswer> {
        if self.sure.is_some() {
            return Ok(());
        }
        let open = open_questions(self.home)?;
        let ids = |held: &[Held]| -> Vec<String> {
            let ids = held.iter().map(|held| held.id.clone());
            ids.collect()
        };
        if ids(&open) == ids(&self.shown) {
            return Ok(());
        }
        self.shown = open;
        self.list()
    }

    fn typed(&mut self, line: &str) -> Result<(), NoAnswer> {
        if let Some((held, yes)) = self.sure.take() {
            return self.confirmed(&held, yes, line);
        }
        if line.is_empty() {
            self.shown = open_questions(self.home)?;
            return self.list();
        }
        match chosen(line).and_then(|(yes, number)| Some((yes, self.shown.get(number)?))) {
            Some((yes, held)) => {
                let held = held.clone();
                let words = held.words();
                let question = if yes { words.yes } else { words.no };
                let action = indented(&action(&held, yes));
                write!(
                    self.out,
                    "\n{action}\n\n{question} Type yes and Enter, or anything else to go back: "
                )?;
                self.sure = Some((held, yes));
            }
            None => writeln!(
                self.out,
                "Not understood. y 1 or n 1 answers the first; q ends this."
            )?,
        }
        Ok(self.out.flush()?)
    }

    fn confirmed(&mut self, held: &Held, yes: bool, line: &str) -> Result<(), NoAnswer> {
        let told = if line == "yes" {
            match say(self.home, held, yes) {
                Ok(()) if yes => held.words().said_yes.to_owned(),
                Ok(()) => held.words().said_no.to_owned(),
                Err(over @ NoAnswer::Over) => over.to_string(),
                Err(error) => return Err(error),
            }
        } else {
            "Nothing was answered.".to_owned()
        };
        writeln!(self.out, "{told}")?;
        self.shown = open_questions(self.home)?;
        self.list()
    }
}

/// What is answered: nobody says yes to a part.
fn action(held: &Held, yes: bool) -> String {
    if yes {
        held.whole()
    } else {
        held.shown.clone()
    }
}

fn say(home: &Home, held: &Held, yes: bool) -> Result<(), NoAnswer> {
    owner_only(home)?;
    let desk = Desk::open(&home.journal())?.ok_or(NoAnswer::Over)?;
    if desk.answer(&held.id, &held.digest, yes, "at the machine", now())? {
        Ok(())
    } else {
        Err(NoAnswer::Over)
    }
}

/// Root can write everywhere, and is not the owner either.
fn owner_only(home: &Home) -> Result<(), NoAnswer> {
    let owner = fs::metadata(home.path())?.uid();
    if owner == geteuid().as_raw() {
        Ok(())
    } else {
        Err(NoAnswer::NotOwner(home.path().display().to_string()))
    }
}

/// `y 2`, `y2` or `yes 2`: the answer, and the place in the list.
fn chosen(line: &str) -> Option<(bool, usize)> {
    let split = line.find(|c: char| c.is_ascii_digit())?;
    let (word, number) = line.split_at(split);
    let yes = match word.trim() {
        "y" | "yes" => true,
        "n" | "no" => false,
        _ => return None,
    };
    Some((yes, number.parse::<usize>().ok()?.checked_sub(1)?))
}

fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| format!("   {line}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The lines of an input, read elsewhere, so that the list goes on meanwhile.
fn lines(input: impl BufRead + Send + 'static) -> Receiver<String> {
    let (line, lines) = channel();
    thread::spawn(move || {
        for read in input.lines() {
            let Ok(read) = read else {
                break;
            };
            if line.send(read).is_err() {
                break;
            }
        }
    });
    lines
}
