//! Which programs run in the background, written down in the bridge's home, so that its owner can see them from another process.

use super::Process;
use crate::home::Home;
use crate::places::visible;
use crate::status;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The file in the bridge's home.
const FILE: &str = "background.json";

/// How much of a command is written down, in characters.
const SHOWN: usize = 200;

/// A program that runs in the background.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Its name, such as `p3`.
    pub id: String,
    /// How it was started, in one line that hides nothing and moves no cursor; the beginning, where it is long.
    pub command: String,
    /// Since when, in milliseconds since 1970.
    pub since: i64,
    /// The number of the process to end: with it ends all that the program began. Where there is no keeper, it is the program itself.
    pub pid: Option<u32>,
}

/// What a bridge wrote down, and which bridge that was.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    bridge: u32,
    programs: Vec<Listed>,
}

/// The programs that run in the background of the bridge that runs with this home, the oldest first; none where no bridge runs, whatever
/// one that was killed has left written. It can be asked from any process.
pub fn listed(home: &Home) -> Vec<Listed> {
    let bridge = status::running(home).ok().flatten();
    let text = std::fs::read_to_string(home.path().join(FILE));
    let page: Page = text
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    if bridge.is_none_or(|bridge| bridge.pid != page.bridge) {
        return Vec::new();
    }
    let safe = |listed: Listed| Listed {
        id: visible(&listed.id),
        command: visible(&listed.command),
        ..listed
    };
    page.programs.into_iter().map(safe).collect()
}

/// Writes down which of these run. That nobody can look is no reason not to run them.
pub(super) fn write(home: &Home, all: &[Arc<Process>]) {
    let running = all.iter().filter(|process| process.runs());
    let page = Page {
        bridge: std::process::id(),
        programs: running.map(|process| listing(process)).collect(),
    };
    let text = serde_json::to_string_pretty(&page).unwrap_or_default();
    if let Err(error) = home.write(FILE, &text) {
        tracing::warn!("status cannot show what runs in the background: {error}");
    }
}

fn listing(process: &Process) -> Listed {
    let words = visible(&process.argv.join(" "));
    Listed {
        id: process.id.clone(),
        command: words.chars().take(SHOWN).collect(),
        since: process.since,
        pid: process.pid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home;

    fn home_with(page: &Page) -> (tempfile::TempDir, Home) {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("home")).unwrap();
        let text = serde_json::to_string(page).unwrap();
        home.write(FILE, &text).unwrap();
        (folder, home)
    }

    fn page(bridge: u32, command: &str) -> Page {
        Page {
            bridge,
            programs: vec![Listed {
                id: "p3".into(),
                command: command.into(),
                since: 5,
                pid: Some(77),
            }],
        }
    }

    fn begin(home: &Home, pid: u32) {
        home.begin(&home::Process {
            pid,
            since: 1,
            version: "0.1.0".into(),
            log: None,
        })
        .unwrap();
    }

    #[test]
    fn what_a_dead_bridge_left_written_does_not_run() {
        let (_folder, home) = home_with(&page(4711, "make all"));
        begin(&home, 4711);
        assert_eq!(listed(&home), []);
        let held = home.lock().unwrap();
        assert_eq!(listed(&home), page(4711, "make all").programs);
        begin(&home, 4712);
        assert_eq!(listed(&home), [], "another bridge runs");
        drop(held);
    }

    #[test]
    fn what_is_shown_moves_no_cursor_and_a_damaged_page_shows_nothing() {
        let (_folder, home) = home_with(&page(1, "make\u{1b}[2K\u{202e}x"));
        begin(&home, 1);
        let _held = home.lock().unwrap();
        assert_eq!(listed(&home)[0].command, r"make\u{1b}[2K\u{202e}x");
        home.write(FILE, "{").unwrap();
        assert_eq!(listed(&home), []);
    }
}
