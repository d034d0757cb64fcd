//! The Secret Service, asked through libsecret's `secret-tool`: names in its arguments, secrets through its input and output only.
//!
//! It finds by `search` and not by `lookup`, which would open a window to ask for a password where the keychain is locked: a bridge that
//! a service manager starts again and again must not do so.

use super::{NoKeychain, SERVICE};
use crate::places::visible;
use std::env;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Where distributions put it. Only root writes there.
const PLACES: [&str; 2] = [
    "/usr/bin/secret-tool",
    "/run/current-system/sw/bin/secret-tool",
];

/// How long it may take: a locked keychain asks for its password at the screen, where nobody may sit.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

/// The longest answer that is read: an item is a few lines.
const MAX: u64 = 64 * 1024;

/// All of our environment that it needs: where the session's bus is.
const VARIABLES: [&str; 4] = [
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_RUNTIME_DIR",
    "HOME",
    "DISPLAY",
];

/// The program, and how long it is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretTool {
    program: PathBuf,
    patience: Duration,
    bus: Bus,
}

/// Whether there is a session to ask in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bus {
    /// Look for it: without one, the program might start one of its own.
    Looked,
    /// The program knows.
    Given,
}

/// What the program said.
#[derive(Debug)]
struct Said {
    status: ExitStatus,
    out: String,
    err: String,
}

impl SecretTool {
    /// The distribution's.
    pub fn own() -> Self {
        let found = PLACES.iter().find(|place| Path::new(place).exists());
        Self {
            program: found.unwrap_or(&PLACES[0]).into(),
            patience: PATIENCE,
            bus: Bus::Looked,
        }
    }

    /// Another one, that needs no session; it is waited for as long as this.
    pub fn at(program: PathBuf, patience: Duration) -> Self {
        Self {
            program,
            patience,
            bus: Bus::Given,
        }
    }

    pub(super) fn keep(&self, name: &str, secret: &str) -> Result<(), NoKeychain> {
        let said = self.ask(
            "store",
            &["--label", &format!("Bernard's local-bridge: {name}")],
            name,
            secret,
        )?;
        if said.status.success() {
            return Ok(());
        }
        Err(said.refused())
    }

    pub(super) fn find(&self, name: &str) -> Result<Option<String>, NoKeychain> {
        let said = self.ask("search", &[], name, "")?;
        if !said.status.success() {
            return Err(said.refused());
        }
        // An item is a heading in brackets and a line for each of its properties; a locked one has no secret.
        let secret = said
            .out
            .lines()
            .find_map(|line| line.strip_prefix("secret = "));
        match secret {
            Some(secret) => Ok(Some(secret.to_owned())),
            None if said.out.starts_with('[') => Err(NoKeychain::Locked),
            None => Ok(None),
        }
    }

    pub(super) fn remove(&self, name: &str) -> Result<bool, NoKeychain> {
        // It fails in the same way where there is nothing and where all is locked, so it is looked first.
        if self.find(name)?.is_none() {
            return Ok(false);
        }
        let said = self.ask("clear", &[], name, "")?;
        if said.status.success() {
            return Ok(true);
        }
        Err(said.refused())
    }

    fn ask(
        &self,
        verb: &str,
        options: &[&str],
        name: &str,
        input: &str,
    ) -> Result<Said, NoKeychain> {
        self.session()?;
        let mut command = Command::new(&self.program);
        command.arg(verb).args(options);
        command.args(["service", SERVICE, "account", name]);
        command.env_clear().env("LC_ALL", "C");
        command.envs(
            VARIABLES
                .iter()
                .filter_map(|key| Some((key, env::var_os(key)?))),
        );
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| self.absent(&error))?;
        self.heard(child, input)
    }

    /// Whether there is a bus to ask on.
    fn session(&self) -> Result<(), NoKeychain> {
        let named = env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some_and(|value| !value.is_empty());
        let usual = || env::var_os("XDG_RUNTIME_DIR").map(|folder| Path::new(&folder).join("bus"));
        if self.bus == Bus::Given || named || usual().is_some_and(|socket| socket.exists()) {
            return Ok(());
        }
        Err(NoKeychain::Absent(
            "no desktop session (there is no D-Bus session bus)".to_owned(),
        ))
    }

    fn absent(&self, error: &io::Error) -> NoKeychain {
        if error.kind() == io::ErrorKind::NotFound {
            return NoKeychain::Absent(format!(
                "{} is not installed (Debian, Ubuntu: libsecret-tools; Fedora, Arch: libsecret)",
                self.program.display()
            ));
        }
        NoKeychain::Absent(format!("{}: {error}", self.program.display()))
    }

    fn heard(&self, mut child: Child, input: &str) -> Result<Said, NoKeychain> {
        let ends = Instant::now() + self.patience;
        if let Some(mut stdin) = child.stdin.take() {
            // Whoever does not read it answers all the same; that is heard below.
            stdin.write_all(input.as_bytes()).ok();
        }
        let (out, err) = (read(child.stdout.take()), read(child.stderr.take()));
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < ends => thread::sleep(LOOK),
                Ok(None) | Err(_) => {
                    child.kill().ok();
                    child.wait().ok();
                    return Err(NoKeychain::Silent(self.patience));
                }
            }
        };
        // What it started may hold its output open for longer than it lives.
        let rest = || ends.saturating_duration_since(Instant::now()).max(LOOK);
        let silent = |_| NoKeychain::Silent(self.patience);
        Ok(Said {
            status,
            out: out.recv_timeout(rest()).map_err(silent)?,
            err: err.recv_timeout(rest()).map_err(silent)?,
        })
    }
}

impl Said {
    /// Why, in its own words: it never repeats a secret.
    fn refused(&self) -> NoKeychain {
        let said = self.err.trim().lines().last().unwrap_or_default();
        let said = said.strip_prefix("secret-tool: ").unwrap_or(said);
        if said.contains("locked") {
            return NoKeychain::Locked;
        }
        // Nobody owns the name on the bus, or there is no bus.
        let nobody = [
            "was not provided by any",
            "D-Bus",
            "Could not connect",
            "ServiceUnknown",
        ];
        let said = match (said, self.status.code()) {
            ("", Some(code)) => format!("secret-tool ended with {code}"),
            ("", None) => "secret-tool was killed".to_owned(),
            _ => visible(said),
        };
        if nobody.iter().any(|word| said.contains(word)) {
            return NoKeychain::Absent(said);
        }
        NoKeychain::Refused(said)
    }
}

/// Reads to the end in a thread of its own, so that nothing waits for who writes too much or never ends.
fn read(from: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (to, text) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            from.take(MAX).read_to_end(&mut bytes).ok();
        }
        to.send(String::from_utf8_lossy(&bytes).into_owned()).ok();
    });
    text
}
