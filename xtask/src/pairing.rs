//! The development run's own bridge: its policy, and its pairing with the Worker on loopback.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    console::{Bridge, Console, State},
    process::{Output, Running, capture, go_on, program},
    screen::Screen,
    workspace::{Workspace, stamped, write},
};

/// A command to try: whatever arguments it is given, it only tells which system this is.
const COMMAND: &str = "uname";

/// What a policy written here comes with; one from before is put aside and written again.
const TERMS: &str = "(commands fenced in)";

/// The bridge's own folder, and what the policy in it was written for.
pub(crate) struct Home {
    folder: PathBuf,
    /// Names the folder that the policy was last written for.
    rooted: PathBuf,
}

/// What a bridge says of itself when it has paired.
#[derive(Debug, PartialEq, Eq)]
struct Introduction {
    id: String,
    words: Vec<String>,
}

impl Home {
    /// The home of this workspace's bridge.
    pub(crate) fn of(workspace: &Workspace) -> Self {
        let state = workspace.state();
        Self {
            folder: state.join("bridge"),
            rooted: state.join("rooted"),
        }
    }

    /// A command of the bridge that lives here.
    pub(crate) fn bridge<const N: usize>(&self, workspace: &Workspace, args: [&str; N]) -> Command {
        let mut command = program(workspace.bridge(), &workspace.root);
        command.arg("--home").arg(&self.folder).args(args);
        command
    }

    /// Lets the bridge touch one folder, unless its policy names that one already.
    pub(crate) fn allow(&self, workspace: &Workspace, screen: &Screen, root: &Path) -> Result<()> {
        let policy = self.folder.join("policy.toml");
        let wanted = format!("{} {TERMS}", root.display());
        if policy.is_file() && stamped(&self.rooted, &wanted) {
            return Ok(());
        }
        if policy.is_file() {
            let before = self.folder.join("policy.toml.before");
            fs::rename(&policy, before).context("putting the old policy aside")?;
        }
        let args = [
            "policy",
            "init",
            "--access",
            "write",
            "--command",
            COMMAND,
            "--root",
        ];
        let mut init = self.bridge(workspace, args);
        init.arg(root);
        screen.run(
            workspace,
            ("the bridge's policy written", ""),
            "policy",
            init,
        )?;
        write(&self.rooted, wanted)
    }

    /// What the policy allows, in the bridge's own words.
    pub(crate) fn law(&self, workspace: &Workspace) -> Result<String> {
        capture(self.bridge(workspace, ["policy", "check"]))
    }

    /// Pairs the bridge with the Worker at `address`, unless the Worker knows it already.
    pub(crate) fn pair(
        &self,
        workspace: &Workspace,
        screen: &Screen,
        console: &Console,
        address: &str,
    ) -> Result<()> {
        if let Some(known) = self.pairing(address) {
            let confirmed = |bridge: &Bridge| match bridge.state {
                State::Connected | State::Away => bridge.id == known,
                State::Pending(_) => false,
            };
            if console.bridges()?.iter().any(confirmed) {
                return Ok(());
            }
        }
        let step = screen.step("a bridge paired with the Worker", "");
        let name = machine_name();
        let link = console.pairing_link()?;
        let arguments = ["pair", &link, "--name", &name, "--keys", "file"];
        let pair = self.bridge(workspace, arguments);
        let output = Output::Heard(workspace.log("pair"));
        let mut pairing = Running::start("local-bridge pair", pair, output)?;
        let Some(introduction) = introduction(pairing.lines())? else {
            pairing.succeed(|| ())?;
            bail!("the bridge paired without saying its id and words")
        };
        confirm(console, &introduction)?;
        pairing.succeed(|| ())?;
        step.done();
        Ok(())
    }

    /// The bridge's id, if it believes itself paired with the Worker at `address`.
    fn pairing(&self, address: &str) -> Option<String> {
        let text = fs::read_to_string(self.folder.join("pairing.json")).ok()?;
        paired_with(address, &serde_json::from_str(&text).ok()?)
    }
}

fn paired_with(address: &str, pairing: &serde_json::Value) -> Option<String> {
    let same = pairing["worker"] == address;
    pairing["bridge"]
        .as_str()
        .filter(|_| same)
        .map(str::to_owned)
}

/// Compares the words at both ends, as a person would, and says yes only if they are the same.
fn confirm(console: &Console, introduction: &Introduction) -> Result<()> {
    go_on()?;
    let bridges = console.bridges()?;
    let listed = bridges
        .iter()
        .find(|bridge| bridge.id == introduction.id)
        .context("the console does not list the bridge that has just paired")?;
    match &listed.state {
        State::Connected | State::Away => return Ok(()), // confirmed before, and the key is the same
        State::Pending(words) if *words == introduction.words => {}
        State::Pending(words) => bail!(
            "the words differ: the bridge says {:?}, the console {words:?}; nothing was confirmed",
            introduction.words
        ),
    }
    console.confirm(&introduction.id)
}

/// Reads on until id and words are said.
fn introduction(lines: impl Iterator<Item = Result<String>>) -> Result<Option<Introduction>> {
    let (mut id, mut words) = (None, None);
    for line in lines {
        let line = line?;
        if let Some(said) = line.trim().strip_prefix("id: ") {
            id = Some(said.trim().to_owned());
        } else if let Some(said) = line.trim().strip_prefix("words: ") {
            words = Some(said.split_whitespace().map(str::to_owned).collect());
        }
        if let (Some(id), Some(words)) = (&id, &words) {
            return Ok(Some(Introduction {
                id: String::clone(id),
                words: Vec::clone(words),
            }));
        }
    }
    Ok(None)
}

/// This machine's name, as a person would say it in a chat: `mac-mini`.
fn machine_name() -> String {
    short_name(&rustix::system::uname().nodename().to_string_lossy())
}

fn short_name(host: &str) -> String {
    let name: String = host
        .split('.')
        .next()
        .unwrap_or_default()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .take(32)
        .collect();
    let name = name.trim_matches('-');
    if name.is_empty() {
        "home".to_owned()
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> impl Iterator<Item = Result<String>> {
        text.lines().map(|line| Ok(line.to_owned()))
    }

    #[test]
    fn a_bridge_introduces_itself_in_any_order_among_other_lines() {
        let said = "pairing with http://127.0.0.1:8787\nwords: crab shell tide moss kelp sand\nid: abc\nmore";
        let words = ["crab", "shell", "tide", "moss", "kelp", "sand"]
            .map(str::to_owned)
            .to_vec();
        let wanted = Introduction {
            id: "abc".to_owned(),
            words,
        };
        assert_eq!(introduction(lines(said)).unwrap(), Some(wanted));
        assert_eq!(introduction(lines("id: abc\nrefused")).unwrap(), None);
    }

    #[test]
    fn a_pairing_holds_only_for_the_address_that_it_was_made_with() {
        let pairing = serde_json::json!({"worker": "http://127.0.0.1:8787", "bridge": "abc"});
        let with = |address| paired_with(address, &pairing);
        assert_eq!(with("http://127.0.0.1:8787").as_deref(), Some("abc"));
        assert_eq!(with("http://127.0.0.1:8788"), None);
        assert_eq!(
            paired_with("http://127.0.0.1:8787", &serde_json::Value::Null),
            None
        );
    }

    #[test]
    fn a_machine_is_called_by_the_first_part_of_its_name() {
        assert_eq!(short_name("Mac-mini.local"), "mac-mini");
        assert_eq!(short_name("Zoé's PC"), "zo--s-pc");
        assert_eq!(short_name("..."), "home");
    }
}
