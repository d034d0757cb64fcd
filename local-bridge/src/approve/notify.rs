//! A question on the desktop when something waits for a yes, with buttons where the system has them. The answer goes the way of all
//! answers: to the very question that was shown, and only while it is open.
//!
//! It is off until the owner turns it on, for whoever sees the screen reads it, and whoever sits before it answers. A fenced command cannot
//! press a button: it makes no socket (seccomp on Linux) and finds no service but two (macOS), and so reaches neither the session's bus nor
//! the window server. Without a fence it can, as it can run `local-bridge approve`.

use super::desk::Desk;
use super::{Held, literal};
use crate::home::Home;
use crate::status::now;
use std::env;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// While this file lies in the home, questions are shown on the desktop.
pub const FILE: &str = "notify";

/// Where the programs lie that can do it: no environment puts another one in their place.
const LINUX: [&str; 2] = ["/usr/bin/notify-send", "/usr/local/bin/notify-send"];
const MACOS: &str = "/usr/bin/osascript";

/// What of the environment leads to the session's desktop.
const DESKTOP: [&str; 4] = [
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_RUNTIME_DIR",
    "DISPLAY",
    "WAYLAND_DISPLAY",
];

/// The most characters and lines that a notification shows; of more, desktops cut what they like.
const MAX_CHARACTERS: usize = 300;
const MAX_LINES: usize = 8;

/// How often it is looked whether an answer has come, here or elsewhere.
const LOOK: Duration = Duration::from_millis(300);

/// How long a program may take to say what it can.
const HELP_TIME: Duration = Duration::from_secs(3);

/// The most that is read of what a program says: the word for a button is shorter, and all that `--help` tells fits.
const MOST_SAID: u64 = 64 * 1024;

/// A program that shows notifications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notifier {
    program: PathBuf,
    system: System,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum System {
    /// libnotify's `notify-send`.
    NotifySend,
    /// macOS's `osascript`.
    Osascript,
}

/// What the owner can do about a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Buttons {
    /// All of the action is shown.
    YesAndNo,
    /// A part of it is.
    No,
}

/// Shows a question, if the owner wants that and the desktop can; what goes wrong goes unseen.
pub fn notify(home: &Home, held: &Held) {
    if !home.path().join(FILE).exists() {
        return;
    }
    let Some(notifier) = Notifier::find() else {
        return;
    };
    let (home, held) = (home.clone(), held.clone());
    let thread = thread::Builder::new(); // as many as there are questions, which are bounded
    if let Err(error) = thread.spawn(move || notifier.ask(&home, &held)) {
        tracing::warn!("no notification: {error}");
    }
}

impl Notifier {
    /// The one of this system, if it has one.
    pub fn find() -> Option<Self> {
        let mut linux = LINUX.iter().map(Path::new);
        if let Some(program) = linux.find(|program| program.exists()) {
            return Some(Self::notify_send(program));
        }
        let osascript = Path::new(MACOS);
        osascript.exists().then(|| Self {
            program: osascript.to_owned(),
            system: System::Osascript,
        })
    }

    /// A `notify-send` that lies at this path.
    pub fn notify_send(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            system: System::NotifySend,
        }
    }

    /// Shows a question until it is answered, here or elsewhere, or its time is over. Whether an answer given here counted.
    pub fn ask(&self, home: &Home, held: &Held) -> bool {
        let has_buttons = self.has_buttons();
        let asked = if has_buttons {
            self.with_buttons(held)
        } else {
            self.without_buttons(held)
        };
        let Ok(mut child) = start(asked) else {
            tracing::debug!("no notification: {} does not start", self.program.display());
            return false;
        };
        if !ends(&mut child, || is_open(home, held)) || !has_buttons {
            return false;
        }
        let said = said(child, 16);
        let yes = match said.as_deref().map(str::trim_end) {
            Some("yes" | "Yes") if buttons(held) == Buttons::YesAndNo => true,
            Some("no" | "No") => false,
            Some(_) | None => return false, // closed, or not understood
        };
        let desk = Desk::open(&home.journal()).ok().flatten();
        desk.is_some_and(|desk| {
            let answer = desk.answer(&held.id, &held.digest, yes, "on the desktop", now());
            answer.unwrap_or(false)
        })
    }

    /// Whether it can show buttons: `notify-send` can since libnotify 0.8.
    fn has_buttons(&self) -> bool {
        if self.system == System::Osascript {
            return true;
        }
        let mut help = self.command();
        help.arg("--help");
        let Ok(mut child) = start(help) else {
            return false;
        };
        let end = Instant::now() + HELP_TIME;
        ends(&mut child, || Instant::now() < end)
            && said(child, MOST_SAID).is_some_and(|told| told.contains("--action"))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear();
        let kept = DESKTOP
            .iter()
            .filter_map(|name| Some((name, env::var_os(name)?)));
        command.envs(kept);
        command
    }

    fn with_buttons(&self, held: &Held) -> Command {
        let mut command = self.command();
        let (title, text) = (title(held), text(held));
        let millis = (held.expires_at - now()).max(1_000);
        let has_yes = buttons(held) == Buttons::YesAndNo;
        match self.system {
            System::NotifySend => {
                command.args(["--app-name=local-bridge", "--urgency=critical", "--wait"]);
                command.arg(format!("--expire-time={}", millis.min(i64::from(i32::MAX))));
                if has_yes {
                    command.arg("--action=yes=Yes");
                }
                command.args(["--action=no=No", "--", title, &escaped(&text)]);
            }
            System::Osascript => {
                let (other, default) = if has_yes {
                    ("Yes", "No")
                } else {
                    ("Later", "Later")
                };
                let seconds = millis / 1_000;
                // Title and text are arguments and never part of the script.
                let script = [
                    "on run argv".to_owned(),
                    format!(
                        "set said to display alert (item 1 of argv) message (item 2 of argv) buttons {{\"No\", \"{other}\"}} default button \"{default}\" giving up after {seconds}"
                    ),
                    "if gave up of said then return \"\"".to_owned(),
                    "return button returned of said".to_owned(),
                    "end run".to_owned(),
                ];
                for line in script {
                    command.args(["-e", &line]);
                }
                command.args([title, &text]);
            }
        }
        command
    }

    /// A line that says no more than that something waits.
    fn without_buttons(&self, held: &Held) -> Command {
        let mut command = self.command();
        let text = format!(
            "{} waits for your yes: local-bridge approve",
            literal(&held.call.tool.0)
        );
        command.args([
            "--app-name=local-bridge",
            "--",
            title(held),
            &escaped(&text),
        ]);
        command
    }
}

fn title(held: &Held) -> &'static str {
    if held.is_wish() {
        "Bernard: may this become a rule?"
    } else {
        "Bernard: may this run?"
    }
}

/// The action, whole where it fits.
fn text(held: &Held) -> String {
    match buttons(held) {
        Buttons::YesAndNo => held.shown.clone(),
        Buttons::No => {
            let lines: Vec<&str> = held.shown.lines().take(MAX_LINES / 2).collect();
            let begin: String = lines.join("\n").chars().take(MAX_CHARACTERS / 2).collect();
            format!("{begin}…\nThis is not all of it. To see it and say yes: local-bridge approve")
        }
    }
}

/// A yes counts for what was seen.
fn buttons(held: &Held) -> Buttons {
    let fits =
        held.shown.chars().count() <= MAX_CHARACTERS && held.shown.lines().count() <= MAX_LINES;
    if fits && !held.is_cut() {
        Buttons::YesAndNo
    } else {
        Buttons::No
    }
}

/// Text in which a desktop that reads markup finds none.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn start(mut command: Command) -> std::io::Result<Child> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

/// Waits for a program's end; false if it did not end well, or is ended because it is no longer wanted.
fn ends(child: &mut Child, is_wanted: impl Fn() -> bool) -> bool {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if is_wanted() => thread::sleep(LOOK),
            Ok(None) | Err(_) => {
                // It may have ended by itself; then there is nothing to end.
                child.kill().and_then(|()| child.wait()).ok();
                return false;
            }
        }
    }
}

/// What a program that has ended has said, if that is text and no more than `most` bytes.
fn said(child: Child, most: u64) -> Option<String> {
    let mut text = String::new();
    let mut out = child.stdout?.take(most + 1);
    out.read_to_string(&mut text).ok()?;
    (text.len() as u64 <= most).then_some(text)
}

fn is_open(home: &Home, held: &Held) -> bool {
    let desk = Desk::open(&home.journal()).ok().flatten();
    let open = desk.and_then(|desk| desk.unanswered(now()).ok());
    open.is_some_and(|open| open.iter().any(|open| open.digest == held.digest))
}
