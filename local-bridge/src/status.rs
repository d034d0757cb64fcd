//! How things stand, on one page: paired with whom, connected since when, what may happen, what happened last, what waits.

use crate::audit::{self, Line};
use crate::home::{Broken, Home, Process, State};
use crate::journal::{Journal, Ledger};
use crate::policy::Law;
use crate::processes::{Listed, listed};
use crate::sandbox::Fence;
use crate::tools::figures::moment;
use protocol::key::PublicKey;
use protocol::pairing::{fingerprint, six_words};
use serde::Serialize;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// How many calls are shown.
const LAST: usize = 5;

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// This program's version.
    pub version: String,
    /// The bridge's folder.
    pub home: PathBuf,
    /// This machine's key.
    pub key: Key,
    /// Whom it is paired with.
    pub paired: Option<Paired>,
    /// What cannot be read of key or pairing.
    pub broken: Option<String>,
    /// The process that runs, where one does.
    pub running: Option<Process>,
    /// The connection.
    pub connection: Connection,
    /// Every call is refused.
    pub frozen: bool,
    /// What may happen.
    pub policy: Rules,
    /// What commands run behind.
    pub sandbox: String,
    /// The calls that ended last, the oldest of them first.
    pub last: Vec<Line>,
    /// The calls that have begun and not ended.
    pub runs: Vec<Begun>,
    /// The programs that run in the background.
    pub background: Vec<Listed>,
    /// The calls that wait for a yes at home.
    pub asks: Vec<Begun>,
    /// How many results the Worker has not stored yet.
    pub waiting: usize,
    /// How many calls have ended in all.
    pub ended: usize,
    /// What is wrong with the journal.
    pub journal_fault: Option<String>,
    /// The log file, where there is one.
    pub log: Option<PathBuf>,
    /// When this was so, in milliseconds since 1970.
    pub at: i64,
}

/// The machine's own key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Its id, if there is one.
    pub id: Option<String>,
    /// Where its private half lies, if there is one.
    pub kept: Option<String>,
}

/// A pairing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Paired {
    /// The Worker's address.
    pub worker: String,
    /// What this machine is called there.
    pub name: String,
    /// The fingerprint of the key that may command it.
    pub fingerprint: String,
    /// The six words that both sides show.
    pub words: String,
    /// Since when, in milliseconds since 1970.
    pub since: Option<i64>,
}

/// The connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Connection {
    /// It is up.
    pub connected: bool,
    /// Since when it is as it is, in milliseconds since 1970.
    pub since: Option<i64>,
    /// Why it is not up.
    pub why: Option<String>,
}

/// What may happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rules {
    /// In one line.
    pub summary: String,
    /// The SHA-256 of the file.
    pub sha256: Option<String>,
    /// What its owner should know about it.
    pub fault: Option<String>,
}

/// A call that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Begun {
    /// The call.
    pub call: String,
    /// Its tool.
    pub tool: String,
}

impl Status {
    /// Looks at a home.
    pub fn of(home: &Home) -> Self {
        let (key, paired, broken) = who(home);
        let running = running(home);
        let (ledger, journal_fault) = match Journal::ledger(&home.journal()) {
            Ok(ledger) => (ledger.unwrap_or_default(), None),
            Err(error) => (Ledger::default(), Some(error.to_string())),
        };
        let (policy, sandbox) = rules(home);
        let log = home.logs().join(crate::logs::NAME);
        let runs = ledger.running.iter().map(|(call, tool)| Begun {
            call: call.0.clone(),
            tool: tool.0.clone(),
        });
        let at = now();
        let open = ledger.held.iter().filter(|(_, _, until)| *until > at);
        let asks = open.map(|(call, tool, _)| Begun {
            call: call.0.clone(),
            tool: tool.0.clone(),
        });
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            home: home.path().to_owned(),
            key,
            paired,
            broken,
            connection: Connection::of(running.as_ref(), &home.state()),
            running: running.ok().flatten(),
            frozen: home.panics(),
            policy,
            sandbox,
            last: audit::lines(&ledger, LAST),
            runs: runs.collect(),
            background: listed(home),
            asks: asks.collect(),
            waiting: ledger
                .kept
                .iter()
                .filter(|ended| !ended.acknowledged)
                .count(),
            ended: ledger.entries.len(),
            journal_fault,
            log: log.exists().then_some(log),
            at,
        }
    }
}

fn who(home: &Home) -> (Key, Option<Paired>, Option<String>) {
    let mut broken = Vec::new();
    let key = home.key().unwrap_or_else(|error| {
        broken.push(error.to_string());
        None
    });
    let public = key.map(|key| key.public());
    let pairing = home.pairing().unwrap_or_else(|error| {
        broken.push(error.to_string());
        None
    });
    let paired = pairing.map(|(pairing, command)| Paired {
        worker: pairing.worker,
        name: pairing.name,
        fingerprint: fingerprint(&command),
        words: words(public.as_ref(), &command),
        since: paired_since(home),
    });
    let key = Key {
        id: public.map(|key| key.id().0),
        kept: home.kept().map(|kept| home.lies(kept)),
    };
    (key, paired, (!broken.is_empty()).then(|| broken.join("; ")))
}

fn words(own: Option<&PublicKey>, command: &PublicKey) -> String {
    own.map(|own| six_words(own, command).join(" "))
        .unwrap_or_default()
}

/// The file of a pairing is written once.
fn paired_since(home: &Home) -> Option<i64> {
    let written = fs::metadata(home.path().join("pairing.json"))
        .ok()?
        .modified()
        .ok()?;
    Some(millis(written))
}

/// The process that holds the home, if one does. The lock is the system's: it cannot outlive its process, as a number in a file can.
pub fn running(home: &Home) -> Result<Option<Process>, Broken> {
    if !home.path().join("lock").exists() {
        return Ok(None);
    }
    match home.lock() {
        Ok(_) => Ok(None),
        Err(Broken::Running) => Ok(home.process()),
        Err(
            error @ (Broken::Io { .. }
            | Broken::Open(_)
            | Broken::Damaged { .. }
            | Broken::Foreign(_)
            | Broken::NotPaired
            | Broken::Key(_)
            | Broken::Keychain(_)
            | Broken::Unkept(_)
            | Broken::Left { .. }),
        ) => Err(error),
    }
}

impl Connection {
    fn of(running: Result<&Option<Process>, &Broken>, state: &State) -> Self {
        let why = match running {
            Ok(Some(_)) => state.last_error.clone(),
            Ok(None) => Some("local-bridge is not running; start it: local-bridge run".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        let runs = matches!(running, Ok(Some(_)));
        let connected = runs && state.connected;
        Self {
            connected,
            since: (runs && state.since > 0).then_some(state.since),
            why: if connected {
                None
            } else {
                Some(why.unwrap_or_else(|| "not yet; it is being tried".to_owned()))
            },
        }
    }
}

fn rules(home: &Home) -> (Rules, String) {
    match Law::in_force(home) {
        Ok(mut law) => {
            let policy = law.current();
            let rules = Rules {
                summary: policy.summary(),
                sha256: home.policy().exists().then(|| policy.sha256.clone()),
                fault: law.fault(),
            };
            (rules, Fence::find().told(policy.sandbox))
        }
        Err(error) => {
            let rules = Rules {
                summary: "broken, so local-bridge will not start".to_owned(),
                sha256: None,
                fault: Some(error.to_string()),
            };
            (rules, "not known while the policy is broken".to_owned())
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, text: &dyn fmt::Display| {
            let text = text.to_string().replace('\n', "\n            ");
            writeln!(f, "{name:<11} {text}")
        };
        if self.frozen {
            row(
                "FROZEN",
                &"every call is refused; to go on: local-bridge resume",
            )?;
        }
        match &self.paired {
            Some(paired) => {
                let since = paired.since.map(|since| format!(", since {}", utc(since)));
                row(
                    "paired",
                    &format_args!(
                        "with {} as {}{}",
                        paired.worker,
                        paired.name,
                        since.unwrap_or_default()
                    ),
                )?;
                let words = match paired.words.as_str() {
                    "" => String::new(), // without a key of our own there are none
                    words => format!("; words: {words}"),
                };
                row("", &format_args!("its key {}{words}", paired.fingerprint))?;
            }
            None => row(
                "paired",
                &"no; ask Bernard for a link with /pair, then run: local-bridge pair '<link>'",
            )?,
        }
        if let Some(broken) = &self.broken {
            row("BROKEN", broken)?;
        }
        row("connected", &self.connection)?;
        match &self.running {
            Some(process) => row(
                "running",
                &format_args!(
                    "process {}, version {}, since {}",
                    process.pid,
                    process.version,
                    utc(process.since)
                ),
            )?,
            None => row("running", &"no")?,
        }
        row("policy", &self.policy.summary)?;
        if let Some(sha256) = &self.policy.sha256 {
            row("", &format_args!("SHA-256 {}", audit::short(sha256)))?;
        }
        if let Some(fault) = &self.policy.fault {
            row("WRONG", fault)?;
        }
        row("sandbox", &self.sandbox)?;
        self.write_calls(&mut row)?;
        let id = self.key.id.as_deref().unwrap_or("not to be read");
        match &self.key.kept {
            Some(kept) => row("key", &format_args!("{id}; it lies in {kept}"))?,
            None => row("key", &"none yet")?,
        }
        row("home", &self.home.display())?;
        match &self.log {
            Some(log) => row("log", &log.display()),
            None => row("log", &"none; local-bridge run --log-file writes one"),
        }
    }
}

impl Status {
    /// What ran, runs, and waits.
    fn write_calls(
        &self,
        row: &mut impl FnMut(&str, &dyn fmt::Display) -> fmt::Result,
    ) -> fmt::Result {
        row(
            "calls",
            &format_args!(
                "{} ended in all; {} running; {} results wait for the Worker",
                self.ended,
                self.runs.len(),
                self.waiting
            ),
        )?;
        for begun in &self.runs {
            row(
                "",
                &format_args!("running: {} call {}", begun.tool, begun.call),
            )?;
        }
        for listed in &self.background {
            let (id, since, command) = (&listed.id, utc(listed.since), &listed.command);
            row(
                "",
                &format_args!("in the background: {id} since {since}: {command}"),
            )?;
        }
        for asked in &self.asks {
            let (tool, call) = (&asked.tool, &asked.call);
            row(
                "",
                &format_args!("waits for your yes: {tool} call {call}; local-bridge approve"),
            )?;
        }
        for line in &self.last {
            row("", line)?;
        }
        if let Some(fault) = &self.journal_fault {
            row("WRONG", fault)?;
        }
        Ok(())
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.connected { "yes" } else { "no" })?;
        if let Some(since) = self.since {
            write!(f, ", since {}", utc(since))?;
        }
        match &self.why {
            Some(why) => write!(f, ": {why}"),
            None => Ok(()),
        }
    }
}

/// A moment as people read it.
pub fn utc(at: i64) -> String {
    format!("{} UTC", moment(at.div_euclid(1000)))
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    millis(SystemTime::now())
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> Process {
        Process {
            pid: 4711,
            since: 1_790_000_000_000,
            version: "0.1.0".into(),
            log: None,
        }
    }

    #[test]
    fn a_page_tells_all_of_it() {
        let line = Line {
            seq: 7,
            at: 1_790_000_060_000,
            call: "c7".into(),
            tool: "files.read".into(),
            outcome: Some("done"),
            head: "ab".repeat(32),
        };
        let status = Status {
            version: "0.1.0".into(),
            home: "/home/anna/.bernard".into(),
            key: Key {
                id: Some("me".into()),
                kept: Some("a file".into()),
            },
            paired: Some(Paired {
                worker: "https://bernard.example".into(),
                name: "mac-mini".into(),
                fingerprint: "print".into(),
                words: "a b c d e f".into(),
                since: Some(1_780_000_000_000),
            }),
            broken: None,
            running: Some(process()),
            connection: Connection {
                connected: true,
                since: Some(1_790_000_001_000),
                why: None,
            },
            frozen: true,
            policy: Rules {
                summary: "folders: docs (read); commands: none".into(),
                sha256: Some("cd".repeat(32)),
                fault: Some("line 3: odd\nreally".into()),
            },
            sandbox: "whole".into(),
            last: vec![line],
            runs: vec![Begun {
                call: "c8".into(),
                tool: "shell.run".into(),
            }],
            background: vec![Listed {
                id: "p3".into(),
                command: "make all".into(),
                since: 1_790_000_030_000,
                pid: Some(77),
            }],
            asks: vec![Begun {
                call: "c9".into(),
                tool: "files.trash".into(),
            }],
            waiting: 2,
            ended: 7,
            journal_fault: None,
            log: None,
            at: 1_790_000_070_000,
        };
        let page = "\
FROZEN      every call is refused; to go on: local-bridge resume
paired      with https://bernard.example as mac-mini, since 2026-05-28 20:26:40 UTC
            its key print; words: a b c d e f
connected   yes, since 2026-09-21 14:13:21 UTC
running     process 4711, version 0.1.0, since 2026-09-21 14:13:20 UTC
policy      folders: docs (read); commands: none
            SHA-256 cdcdcdcdcdcd
WRONG       line 3: odd
            really
sandbox     whole
calls       7 ended in all; 1 running; 2 results wait for the Worker
            running: shell.run call c8
            in the background: p3 since 2026-09-21 14:13:50 UTC: make all
            waits for your yes: files.trash call c9; local-bridge approve
                7  2026-09-21 14:14:20  files.read   done         log abababababab  call c7
key         me; it lies in a file
home        /home/anna/.bernard
log         none; local-bridge run --log-file writes one
";
        assert_eq!(status.to_string(), page);
    }

    #[test]
    fn a_connection_is_the_running_process_own() {
        let up = State {
            connected: true,
            since: 5000,
            last_error: None,
            accepted: true,
        };
        let told = |running: Option<Process>, state: &State| {
            Connection::of(Ok(&running), state).to_string()
        };
        assert_eq!(
            told(Some(process()), &up),
            "yes, since 1970-01-01 00:00:05 UTC"
        );
        assert_eq!(
            told(None, &up),
            "no: local-bridge is not running; start it: local-bridge run"
        );
        assert_eq!(
            told(Some(process()), &State::default()),
            "no: not yet; it is being tried"
        );
    }
}
