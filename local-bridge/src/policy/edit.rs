//! The policy file as its owner gets it written: the first one, and one rule more. What its owner wrote stays as it is, comments included.

use super::explain::{explain, grade_word, is_tool};
use super::judge::Verdict;
use super::{Command, Policy, Sandbox, Then, ToolRule, Unfit};
use crate::home::{Broken, Home, Turn};
use protocol::key::sha256_hex;
use protocol::session::Access;
use protocol::tools::Grade;
use protocol::warrant::Wish;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A change of policy.toml that its owner has not agreed to yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    before: String,
    after: String,
    program: Option<PathBuf>,
}

/// Why there is nothing to write.
#[derive(Debug, thiserror::Error)]
pub enum NoChange {
    /// The rules say so already, or one of them speaks against it.
    #[error("nothing to add:\n{0}")]
    Decided(String),
    /// The file cannot be changed without its owner's hand.
    #[error("this is for your own hand, in policy.toml: {0}")]
    ByHand(String),
    /// The file is not in order, or would not be.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The file was changed while its owner thought about it.
    #[error("policy.toml was changed meanwhile; nothing was written")]
    Raced,
}

/// Writes a policy that a person can read and go on with.
pub fn init(
    home: &Home,
    roots: &[(String, PathBuf, Access)],
    commands: &[Vec<String>],
    sandbox: Sandbox,
    force: bool,
) -> Result<Policy, Unfit> {
    let path = home.policy();
    let turn = turn(home)?;
    if path.exists() && !force {
        return Err(Unfit::Exists(path));
    }
    let text = template(roots, commands, sandbox);
    Policy::parse(&text, home.path())?;
    write(home, &text)?;
    drop(turn);
    Policy::read(home)
}

/// What would have to be written so that a tool or a command is allowed. No rule about a command that is there is widened.
pub fn propose(home: &Home, words: &[String]) -> Result<Proposal, NoChange> {
    let tool = words
        .first()
        .filter(|name| words.len() == 1 && is_tool(name));
    let rule = Wish {
        allow: words.to_vec(),
        exact: false,
    };
    proposal(home, tool, &rule)
}

/// The same for a command alone, as it was wished for in the chat.
pub fn propose_rule(home: &Home, wish: &Wish) -> Result<Proposal, NoChange> {
    if !wish.fits() {
        return Err(NoChange::ByHand(
            "such a rule has no words, or more than can be asked about".to_owned(),
        ));
    }
    proposal(home, None, wish)
}

fn proposal(home: &Home, tool: Option<&String>, wish: &Wish) -> Result<Proposal, NoChange> {
    let words = &wish.allow;
    let before = current(home)?;
    let policy = Policy::parse(&before, home.path())?;
    let after = match tool {
        Some(name) => with_tool(&before, &policy, name)?,
        None => with_command(&before, &policy, wish)?,
    };
    let became = Policy::parse(&after, home.path()).map_err(|why| {
        NoChange::ByHand(format!(
            "with the rule that would allow it, it is not accepted: {why}"
        ))
    })?;
    let (verdict, program) = if let Some(name) = tool {
        (became.tool(name), None)
    } else {
        let judged = became.judge(words);
        let program = judged.rule.map(|rule| rule.program.clone());
        (judged.verdict, program)
    };
    if !matches!(verdict, Verdict::Allow { .. }) {
        return Err(NoChange::ByHand(explain(&became, words)));
    }
    Ok(Proposal {
        before,
        after,
        program,
    })
}

impl Proposal {
    /// SHA-256 of the policy that it changes, lower-case hex.
    pub fn changes(&self) -> String {
        sha256_hex(self.before.as_bytes())
    }

    /// The program that would be started, where it is about a command.
    pub fn program(&self) -> Option<&Path> {
        self.program.as_deref()
    }

    /// The change, line by line, with all that the rule says which is changed: what comes to be allowed is as much as its other lines open.
    pub fn diff(&self) -> String {
        let before: Vec<&str> = self.before.lines().collect();
        let after: Vec<&str> = self.after.lines().collect();
        let same = before
            .iter()
            .zip(&after)
            .take_while(|(a, b)| a == b)
            .count();
        let (gone, come) = (&before[same..], &after[same..]);
        let tail = gone.iter().rev().zip(come.iter().rev());
        let tail = tail.take_while(|(a, b)| a == b).count();
        let (gone, come) = (&gone[..gone.len() - tail], &come[..come.len() - tail]);
        let head = format!(
            "@@ -{},{} +{},{} @@",
            same + 1,
            gone.len(),
            same + 1,
            come.len()
        );
        // A rule that is added stands in the change itself, as a whole.
        let is_whole = come.iter().any(|line| begins_table(line));
        let table = before[..same].iter().rposition(|line| begins_table(line));
        let above = same.saturating_sub(2);
        let above = above.min(table.filter(|_| !is_whole).unwrap_or(above));
        let below = &before[same + gone.len()..];
        let next = below.iter().position(|line| begins_table(line));
        let below = &below[..next.unwrap_or(below.len())];
        let kept = |line: &&str| format!(" {line}");
        let lines = std::iter::once(head)
            .chain(before[above..same].iter().map(kept))
            .chain(gone.iter().map(|line| format!("-{line}")))
            .chain(come.iter().map(|line| format!("+{line}")))
            .chain(below.iter().map(kept));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Writes it in one stroke, if the file is still the one that it was made for.
    pub fn write(&self, home: &Home) -> Result<Policy, NoChange> {
        let turn = turn(home)?;
        if current(home)? != self.before {
            return Err(NoChange::Raced);
        }
        write(home, &self.after)?;
        drop(turn);
        Ok(Policy::read(home)?)
    }
}

/// Whether a line begins a table, and is no part of a list that goes over several lines: where that is unclear, more is shown.
fn begins_table(line: &str) -> bool {
    let line = line.trim_start();
    let name = line.strip_prefix("[[").or_else(|| line.strip_prefix('['));
    name.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()))
}

fn current(home: &Home) -> Result<String, NoChange> {
    let path = home.policy();
    if path.is_symlink() {
        return Err(NoChange::ByHand("it is a link to another file".to_owned()));
    }
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(Unfit::Io { path, source }.into()),
    }
}

/// Keeps other processes of ours, though no editor, from writing between a look and what follows from it.
fn turn(home: &Home) -> Result<Turn, Unfit> {
    home.turn().map_err(|error| unwritten(home, error))
}

fn write(home: &Home, text: &str) -> Result<(), Unfit> {
    let written = home.write("policy.toml", text);
    written.map_err(|error| unwritten(home, error))
}

fn unwritten(home: &Home, error: Broken) -> Unfit {
    Unfit::Io {
        path: home.policy(),
        source: io::Error::other(error),
    }
}

fn with_command(before: &str, policy: &Policy, wish: &Wish) -> Result<String, NoChange> {
    let words = &wish.allow;
    // A rule for these very words does not say that others may follow.
    let covers = |rule: &Command| {
        rule.then == Then::Allow
            && words.starts_with(&rule.argv)
            && (!rule.exact || wish.exact && rule.argv == *words)
    };
    match policy.judge(words).verdict {
        Verdict::Allow { .. } if policy.commands.iter().any(covers) => {
            return Err(NoChange::Decided(explain(policy, words)));
        }
        Verdict::Ask { by, .. } | Verdict::Deny { by: Some(by), .. } => {
            // A rule that asks or denies wins over one that allows what begins so: only changing it would help.
            let mut rules = policy.commands.iter();
            let harsher = rules.find(|rule| rule.line == by.line && rule.then != Then::Allow);
            let by_hand = || NoChange::ByHand(explain(policy, words));
            if let Some(rule) = harsher {
                if rule.then == Then::Deny || rule.grade == Grade::Dangerous {
                    return Err(by_hand());
                }
                if !wish.exact {
                    let allowing = (rule.argv == *words).then(|| allowing(before, rule.line));
                    return allowing.flatten().ok_or_else(by_hand);
                }
            }
        }
        Verdict::Allow { .. } | Verdict::Deny { by: None, .. } => {}
    }
    let gap = if before.is_empty() || before.ends_with("\n\n") {
        ""
    } else if before.ends_with('\n') {
        "\n"
    } else {
        "\n\n"
    };
    let exact = if wish.exact { "exact = true\n" } else { "" };
    let rule = format!(
        "[[command]]\nrun = {}\nthen = \"allow\"\n{exact}",
        list(words)
    );
    Ok(format!("{before}{gap}{rule}"))
}

/// Has the rule allow whose words begin on this line, by the one word or, where none is written, by a line more; nothing where the file is
/// not written so that this is clear.
fn allowing(before: &str, line: usize) -> Option<String> {
    let mut lines: Vec<String> = before.split_inclusive('\n').map(str::to_owned).collect();
    let own = line.checked_sub(1)?;
    let is_table = |line: &String| line.trim_start().starts_with('[');
    let begin = lines.get(..own)?.iter().rposition(is_table)? + 1;
    let after = lines[own + 1..].iter().position(is_table);
    let end = after.map_or(lines.len(), |after| own + 1 + after);
    let says = |n: &usize| lines[*n].trim_start().starts_with("then");
    let said: Vec<usize> = (begin..end).filter(says).collect();
    match said[..] {
        [] if lines[own].trim_start().starts_with(['r', 'a']) => {
            lines.insert(own, "then = \"allow\"\n".to_owned());
        }
        [at] if lines[at].matches("\"ask\"").count() == 1 => {
            lines[at] = lines[at].replace("\"ask\"", "\"allow\"");
        }
        _ => return None,
    }
    Some(lines.concat())
}

/// Changes the one word in the tool's own line; what a tool works on is opened by folders and commands, and those are added by hand.
fn with_tool(before: &str, policy: &Policy, name: &str) -> Result<String, NoChange> {
    let words = [name.to_owned()];
    if let Verdict::Allow { .. } = policy.tool(name) {
        return Err(NoChange::Decided(explain(policy, &words)));
    }
    let by_hand = || NoChange::ByHand(explain(policy, &words));
    let mut rules = policy.tools.iter();
    let rule = rules.find(|rule| rule.name == name).ok_or_else(by_hand)?;
    let mut lines: Vec<&str> = before.split_inclusive('\n').collect();
    let line = lines.get_mut(rule.line - 1).ok_or_else(by_hand)?;
    let written = format!("\"{}\"", rule.then);
    if line.matches(&written).count() != 1 {
        return Err(by_hand());
    }
    let allowing = line.replace(&written, "\"allow\"");
    *line = &allowing;
    Ok(lines.concat())
}

impl Policy {
    /// The rules as text that is read back as the same rules; comments and examples are not among them.
    pub fn written(&self) -> String {
        let mut text = match self.sandbox {
            Sandbox::Required => "sandbox = \"required\"\n\n",
            Sandbox::None => "sandbox = \"none\"\n\n",
        }
        .to_owned();
        let span = |name: &str, span: Duration| format!("{name} = \"{}s\"\n", span.as_secs());
        text.insert_str(0, &span("approvals", self.approvals));
        text.push_str("[limits]\n");
        text.push_str(&span("foreground", self.limits.foreground));
        text.push_str(&span("background", self.limits.background));
        text.push('\n');
        for root in &self.roots {
            text.push_str(&root_text(
                &root.name,
                &root.path.display().to_string(),
                root.access,
            ));
        }
        text.extend(self.commands.iter().map(Command::written));
        if !self.tools.is_empty() {
            text.push_str("[tools]\n");
            text.extend(self.tools.iter().map(ToolRule::written));
        }
        text
    }
}

impl Command {
    fn written(&self) -> String {
        let implied = if self.network {
            Grade::Outward
        } else {
            Grade::Execute
        };
        let mut lines = vec![
            "[[command]]".to_owned(),
            format!("run = {}", list(&self.argv)),
            format!("then = \"{}\"", self.then),
        ];
        if self.grade != implied {
            lines.push(format!("grade = \"{}\"", grade_word(self.grade)));
        }
        if self.network {
            lines.push("network = true".to_owned());
        }
        if self.exact {
            lines.push("exact = true".to_owned());
        }
        if !self.options.is_empty() {
            lines.push(format!("options = {}", list(&self.options)));
        }
        lines.extend(self.rate.map(|rate| format!("rate = \"{rate}\"")));
        lines.join("\n") + "\n\n"
    }
}

impl ToolRule {
    fn written(&self) -> String {
        let mut fields = vec![format!("then = \"{}\"", self.then)];
        fields.extend(
            self.grade
                .map(|grade| format!("grade = \"{}\"", grade_word(grade))),
        );
        fields.extend(self.rate.map(|rate| format!("rate = \"{rate}\"")));
        format!("{} = {{ {} }}\n", self.name, fields.join(", "))
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(", "))
}

fn root_text(name: &str, path: &str, access: Access) -> String {
    let access = match access {
        Access::Read => "read",
        Access::Append => "append",
        Access::Write => "write",
    };
    let (name, path) = (quoted(name), quoted(path));
    format!("[[root]]\nname = {name}\npath = {path}\naccess = \"{access}\"\n\n")
}

fn template(
    roots: &[(String, PathBuf, Access)],
    commands: &[Vec<String>],
    sandbox: Sandbox,
) -> String {
    let mut text = String::from(
        "# What Bernard may do on this machine. What is not named here is denied.\n\
         # Only this file decides, and only you can change it: nothing that arrives over the internet can.\n\
         # It is reread when you save it. `local-bridge policy check` tells what it means, and\n\
         # `local-bridge policy explain git push` which rule decides about something, and why.\n",
    );
    if !commands.is_empty() {
        text.push_str(match sandbox {
            Sandbox::Required => {
                "\n# Commands run fenced in by the system's sandbox, or not at all: they reach the folder that they work in,\n\
                 # no other of your files and no network. \"none\" would let them reach whatever your account can.\n\
                 sandbox = \"required\"\n"
            }
            Sandbox::None => {
                "\n# Commands run WITHOUT a sandbox: a command below can reach whatever your account can.\n\
                 # Take the line away, or write \"required\", and commands run fenced in or not at all.\n\
                 sandbox = \"none\"\n"
            }
        });
    }
    text.push_str(
        "\n# Folders. `name` is what Bernard calls it. access = \"read\" looks; \"append\" also adds; \"write\" also changes.\n\
         # Keys, passwords and start-up files (.ssh, .env, *.pem, .zshrc …) are never touched, even in here.\n",
    );
    text.extend(
        roots
            .iter()
            .map(|(name, path, access)| root_text(name, &path.display().to_string(), *access)),
    );
    text.push_str(
        "# Commands, by how they begin: [\"git\", \"status\"] is also `git status --short`, and never `git push`.\n\
         # then = \"allow\", \"ask\" (you are asked first) or \"deny\"; a rule that denies wins over one that asks, and that over one that allows.\n\
         # There is no shell: no pipes, no wildcards. Shells and interpreters are refused here, and so are options that write files\n\
         # or start programs, unless the rule names them: options = [\"--output\"].\n\
         # Examples under `match` and `not_match` are checked whenever this file is read.\n",
    );
    if commands.is_empty() {
        text.push_str(
            "# [[command]]\n# run = [\"git\", \"status\"]\n# then = \"ask\"\n# match = [[\"git\", \"status\", \"--short\"]]\n# not_match = [[\"git\", \"push\"]]\n\n",
        );
    }
    text.extend(commands.iter().map(|argv| {
        let run = list(argv);
        format!("[[command]]\nrun = {run}\nthen = \"ask\"\n\n")
    }));
    text.push_str(
        "# Tools may be narrowed, and how often something happens:\n# [tools]\n# files.write = { then = \"allow\", rate = \"30/hour\" }\n# files.send = \"deny\"\n",
    );
    text
}
