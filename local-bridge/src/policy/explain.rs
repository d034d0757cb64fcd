//! The policy in words, for its owner: all of it, or what it says to one tool or command, by which rule, and what would change that.

use super::judge::Verdict;
use super::runners::runs_anything;
use super::{Command, Pin, Policy, Sandbox, Then};
use crate::places;
use protocol::session::Access;
use protocol::tools::{Grade, bridge_tools};
use std::path::Path;

/// What the policy says to a tool, where the only word is the name of one, else to a command; why, and what would have to be added.
pub fn explain(policy: &Policy, words: &[String]) -> String {
    let tool = words
        .first()
        .filter(|name| words.len() == 1 && is_tool(name));
    let (verdict, remedy, network) = if let Some(name) = tool {
        let verdict = policy.tool(name);
        let remedy = tool_remedy(name, &verdict);
        (verdict, remedy, None)
    } else {
        let judged = policy.judge(words);
        let network = judged
            .rule
            .and_then(|rule| network_told(rule, policy.sandbox));
        let remedy = command_remedy(policy, words, &judged.verdict);
        (judged.verdict, remedy, network)
    };
    let shown: Vec<String> = words.iter().map(|word| places::visible(word)).collect();
    let (word, by, why) = match &verdict {
        Verdict::Allow { by } => ("allowed", Some(by), None),
        Verdict::Ask { by, why, grade } => {
            let why = format!("{why}; grade {}", grade_word(*grade));
            ("asks", Some(by), Some(why))
        }
        Verdict::Deny { by, why } => ("denied", by.as_ref(), Some(why.clone())),
    };
    let mut lines = vec![format!("{word}: {}", shown.join(" "))];
    lines.extend(by.map(|by| format!("rule:   {by}")));
    lines.extend(why.map(|why| format!("why:    {why}")));
    lines.extend(network.map(|network| format!("network: {network}")));
    lines.extend(remedy.map(|remedy| format!("change: {remedy}")));
    lines.join("\n")
}

/// What a command can reach beyond the machine, where its rule grants that.
fn network_told(rule: &Command, sandbox: Sandbox) -> Option<&'static str> {
    let told = match sandbox {
        Sandbox::Required => "TCP and UDP that go out, for the rule says network = true",
        Sandbox::None => "all of it, for there is no sandbox",
    };
    rule.network.then_some(told)
}

/// Whether a word is the name of a tool of this machine.
pub(super) fn is_tool(name: &str) -> bool {
    bridge_tools().iter().any(|spec| spec.name.0 == name)
}

fn tool_remedy(name: &str, verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::Allow { .. } => None,
        Verdict::Ask { by, .. } | Verdict::Deny { by: Some(by), .. } => {
            Some(format!("in line {}: {name} = \"allow\"", by.line))
        }
        Verdict::Deny { by: None, .. } if name == "shell.run" || name.starts_with("process.") => {
            Some("a [[command]] and a [[root]] to run it in".to_owned())
        }
        Verdict::Deny { by: None, .. } if name.starts_with("files.") => Some(
            "a [[root]] with name, path and access (\"write\" for what changes files, \"append\" for what only adds)".to_owned(),
        ),
        Verdict::Deny { by: None, .. } => Some(format!("under [tools]: {name} = \"allow\"")),
    }
}

fn command_remedy(policy: &Policy, words: &[String], verdict: &Verdict) -> Option<String> {
    let program = words.first()?;
    let file = Path::new(program).file_name().unwrap_or_default();
    if runs_anything(&file.to_string_lossy()) {
        return Some(format!(
            "none that makes it automatic: {program} can run any other program; it can only stand with then = \"ask\" and grade = \"dangerous\""
        ));
    }
    let allow = format!("local-bridge policy allow {}", typed(words));
    let rules = policy.commands.iter();
    let deciding = |line: usize| rules.clone().find(|rule| rule.line == line);
    match verdict {
        Verdict::Allow { .. } => None,
        Verdict::Ask { by, .. } => match deciding(by.line) {
            Some(rule) if rule.then == Then::Allow => Some(format!(
                "options = [\"…\"] in line {} names what the rule may do beside; or: {allow}",
                by.line
            )),
            Some(rule) if rule.grade == Grade::Dangerous => {
                Some("none: what is dangerous is always asked about".to_owned())
            }
            Some(_) | None => Some(format!("in line {}: then = \"allow\"", by.line)),
        },
        Verdict::Deny { by: None, .. } => Some(allow),
        Verdict::Deny { by: Some(by), .. } => match deciding(by.line) {
            Some(rule) if matches!(rule.pin, Pin::Broken(_)) => {
                Some("local-bridge policy check --accept".to_owned())
            }
            Some(rule) if rule.then == Then::Deny => {
                Some(format!("take the rule in line {} away", by.line))
            }
            Some(_) | None => Some(format!(
                "options = [\"…\"] in line {} if that is what you want; it then holds for every use of the rule",
                by.line
            )),
        },
    }
}

/// Words as they are typed into a shell.
pub(super) fn typed(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    let quoted = words.iter().map(|word| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", places::visible(word).replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

impl Policy {
    /// One line about it.
    pub fn summary(&self) -> String {
        if self.roots.is_empty() && self.commands.is_empty() {
            return "nothing is allowed; run: local-bridge policy init --root FOLDER".to_owned();
        }
        let roots = self.roots.iter().map(|root| {
            let access = access_word(root.access);
            format!("{} ({access})", root.name)
        });
        let asks = self.asking_commands();
        let commands = self.shown_commands().into_iter().map(|argv| {
            let asks = if asks.contains(&argv) { " (asks)" } else { "" };
            format!("{}{asks}", argv.join(" "))
        });
        let list = |items: Vec<String>| {
            if items.is_empty() {
                "none".to_owned()
            } else {
                items.join(", ")
            }
        };
        format!(
            "folders: {}; commands: {}",
            list(roots.collect()),
            list(commands.collect())
        )
    }

    /// All of it, for its owner.
    pub fn details(&self) -> String {
        let mut lines = Vec::new();
        for root in &self.roots {
            let access = access_word(root.access);
            lines.push(format!(
                "folder  {} = {} ({access})",
                root.name,
                root.path.display()
            ));
        }
        for rule in &self.tools {
            let rate = rule.rate.map(|rate| format!(", {rate}"));
            lines.push(format!(
                "tool    {}: {}{}",
                rule.name,
                rule.then,
                rate.unwrap_or_default()
            ));
        }
        lines.extend(self.commands.iter().map(Command::details));
        lines.push("everything else is denied".to_owned());
        lines.join("\n")
    }
}

impl Command {
    fn details(&self) -> String {
        let mut notes = vec![self.then.to_string()];
        if self.grade != Grade::Execute {
            notes.push(grade_word(self.grade).to_owned());
        }
        if self.network {
            notes.push("reaches the network".to_owned());
        }
        if self.exact {
            notes.push("exactly".to_owned());
        }
        if !self.options.is_empty() {
            notes.push(format!("also {}", self.options.join(" ")));
        }
        notes.extend(self.rate.map(|rate| rate.to_string()));
        let program = match &self.pin {
            Pin::To(sha256) => {
                let short: String = sha256.chars().take(12).collect();
                format!("{} (SHA-256 {short}…)", self.program.display())
            }
            Pin::Broken(why) => format!("NOT STARTED: {why}"),
            Pin::Free => "no program".to_owned(),
        };
        let argv = self.argv.join(" ");
        format!("command {argv} … : {} = {program}", notes.join(", "))
    }
}

/// What a person reads for an access.
pub fn access_word(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Append => "read and add",
        Access::Write => "read and write",
    }
}

/// A grade as the file has it.
pub(super) fn grade_word(grade: Grade) -> &'static str {
    match grade {
        Grade::Read => "read",
        Grade::Write => "write",
        Grade::Execute => "execute",
        Grade::Outward => "outward",
        Grade::Dangerous => "dangerous",
    }
}
