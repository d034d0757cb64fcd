//! What must hold for any text of a policy and any command: it means what it says, and nothing is allowed that no rule allows.

use local_bridge::policy::{Command, Pin, Policy, Programs, Then, Unfit, Verdict};
use protocol::tools::Grade;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The most rules of one input: a matcher is quick, its check by hand is not.
const MOST_RULES: usize = 60;

fn hold(it: bool, else_broken: &str) -> Result<(), String> {
    if it {
        Ok(())
    } else {
        Err(else_broken.to_owned())
    }
}

/// A machine whose programs are only names: nothing on the real one is looked at, as far as a policy names no whole paths.
pub struct Machine {
    folder: TempDir,
}

impl Machine {
    /// The one machine of all runs, with every program that the example of a generous policy names.
    pub fn known() -> &'static Self {
        static MACHINE: OnceLock<Machine> = OnceLock::new();
        MACHINE.get_or_init(|| {
            let folder = tempfile::tempdir().expect("a folder for a machine");
            let bin = folder.path().join("bin");
            fs::create_dir(&bin).expect("a folder for programs");
            let generous = include_str!("../policy/generous.toml").lines();
            let named = generous
                .filter_map(|line| line.strip_prefix("run = [\""))
                .filter_map(|line| line.split('"').next());
            for name in named.chain(["git", "ls", "sort", "mystery", "sh"]) {
                let path = bin.join(name);
                fs::write(&path, "a program").expect("a program");
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
            }
            Self { folder }
        })
    }

    /// Reads a text whose programs are those of this machine.
    pub fn parse(&self, text: &str) -> Result<Policy, Unfit> {
        let programs = Programs::in_folders(vec![self.folder.path().join("bin")]);
        Policy::parse_with(text, &self.folder.path().join("home"), &programs)
    }
}

/// What a policy means: all but where it stands.
fn meaning(policy: &Policy) -> String {
    let roots: Vec<_> = policy
        .roots
        .iter()
        .map(|root| (&root.name, &root.path, root.access))
        .collect();
    let placeless = |rule: &Command| Command {
        line: 0,
        ..rule.clone()
    };
    let commands: Vec<_> = policy.commands.iter().map(placeless).collect();
    let tools: Vec<_> = policy
        .tools
        .iter()
        .map(|rule| (&rule.name, rule.then, rule.grade, rule.rate))
        .collect();
    format!(
        "{roots:?} {commands:?} {tools:?} {:?} {:?} {:?}",
        policy.sandbox, policy.approvals, policy.limits
    )
}

/// A policy that is accepted is read as itself when it is written, and allows no more than its rules do.
pub fn policy(bytes: &[u8]) -> Result<bool, String> {
    policy_by(Policy::written, bytes)
}

/// The same for any way of writing it.
pub fn policy_by(written: impl Fn(&Policy) -> String, bytes: &[u8]) -> Result<bool, String> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Ok(false);
    };
    let Ok(policy) = Machine::known().parse(text) else {
        return Ok(false);
    };
    let written = written(&policy);
    let again = Machine::known()
        .parse(&written)
        .map_err(|error| format!("{error}\n---\n{written}"))?;
    let (before, after) = (meaning(&policy), meaning(&again));
    hold(
        before == after,
        &format!("{before}\nbecame\n{after}\n---\n{written}"),
    )?;
    for rule in policy.commands.iter().take(MOST_RULES) {
        for more in [&[][..], &["-o"], &["--", "x"], &["\0"]] {
            let more = more.iter().map(|word| (*word).to_owned());
            let argv: Vec<String> = rule.argv.iter().cloned().chain(more).collect();
            judged(&policy, &argv, Policy::verdict)?;
        }
    }
    Ok(true)
}

/// What a policy says to a command.
trait Says {
    fn verdict(&self, argv: &[String]) -> Verdict;
}

impl Says for Policy {
    fn verdict(&self, argv: &[String]) -> Verdict {
        self.judge(argv).verdict
    }
}

/// Rules and commands, a line each, words parted by tabs: a line begins with `allow`, `ask`, `deny` or, for a command, with `?`; a line
/// of `options` belongs to the rule before it. Every command is judged as the rules say, wherever they stand.
pub fn argv(bytes: &[u8]) -> Result<bool, String> {
    argv_by(Policy::verdict, bytes)
}

/// The same for any matcher.
pub fn argv_by(
    verdict: impl Fn(&Policy, &[String]) -> Verdict,
    bytes: &[u8],
) -> Result<bool, String> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Ok(false);
    };
    let (mut policy, mut asked) = (Policy::nothing(), Vec::new());
    for line in text.lines() {
        let mut words = line.split('\t').map(unescaped);
        let first = words.next().unwrap_or_default();
        let words: Vec<String> = words.collect();
        let then = match first.as_str() {
            "allow" => Then::Allow,
            "ask" => Then::Ask,
            "deny" => Then::Deny,
            "options" => {
                if let Some(rule) = policy.commands.last_mut() {
                    rule.options = words;
                }
                continue;
            }
            _ => {
                asked.push(words);
                continue;
            }
        };
        // A rule with other words is none: the parser refuses it.
        let plain = !words.is_empty() && words.iter().all(is_plain);
        if plain && policy.commands.len() < MOST_RULES {
            let line = policy.commands.len() + 1;
            policy.commands.push(rule(then, words, line));
        }
    }
    let mut any = false;
    for argv in asked.iter().take(MOST_RULES) {
        any |= judged(&policy, argv, &verdict)?;
    }
    policy.commands.reverse();
    for argv in asked.iter().take(MOST_RULES) {
        any |= judged(&policy, argv, &verdict)?;
    }
    Ok(any)
}

/// A rule for a program that lies in one folder with all others: the last part of a name says which it is.
fn rule(then: Then, argv: Vec<String>, line: usize) -> Command {
    let name = argv.first().and_then(|name| Path::new(name).file_name());
    Command {
        program: name.map_or_else(PathBuf::new, |name| Path::new("/programs").join(name)),
        argv,
        then,
        grade: Grade::Execute,
        network: false,
        exact: false,
        options: Vec::new(),
        rate: None,
        line,
        pin: Pin::Free,
    }
}

fn unescaped(word: &str) -> String {
    word.replace("\\n", "\n").replace("\\t", "\t")
}

#[expect(clippy::ptr_arg, reason = "it is handed to `all`")]
fn is_plain(word: &String) -> bool {
    !word.is_empty() && !word.contains(char::is_control)
}

/// Whether a command is allowed; fails where the rules, compared word by word, say otherwise: deny before ask before allow.
pub fn judged(
    policy: &Policy,
    argv: &[String],
    verdict: impl Fn(&Policy, &[String]) -> Verdict,
) -> Result<bool, String> {
    let begins = |then: Then| {
        let rules = policy.commands.iter().filter(move |rule| rule.then == then);
        rules
            .filter(|rule| !rule.exact || rule.argv.len() == argv.len())
            .map(|rule| &rule.argv)
            .any(|run| run.len() <= argv.len() && run.iter().zip(argv).all(|(a, b)| a == b))
    };
    // Its owner has allowed these very words: that wins over a rule that asks.
    let exactly = policy
        .commands
        .iter()
        .any(|rule| rule.then == Then::Allow && rule.exact && rule.argv == argv);
    // What denies or asks is about a program, whichever of its names it is called by.
    let programs: Vec<&PathBuf> = policy
        .commands
        .iter()
        .filter(|rule| rule.argv.first() == argv.first())
        .map(|rule| &rule.program)
        .collect();
    let about = |then: Then, fits: &dyn Fn(&Command) -> bool| {
        let mut rules = policy.commands.iter().filter(|rule| rule.then == then);
        rules.any(|rule| {
            let same = rule.argv.first() == argv.first()
                || (!rule.program.as_os_str().is_empty() && programs.contains(&&rule.program));
            same && fits(rule)
        })
    };
    let beginning = |rule: &Command| {
        let rest = rule.argv.iter().zip(argv).skip(1).all(|(a, b)| a == b);
        rule.argv.len() <= argv.len() && rest
    };
    // A word in between evades no rule that denies or asks.
    let in_order = |rule: &Command| {
        let mut words = argv.iter().skip(1);
        rule.argv.iter().skip(1).all(|wanted| {
            words.any(|word| {
                let value = wanted.starts_with("--") && word.starts_with(&format!("{wanted}="));
                word == wanted || value
            })
        })
    };
    let denies = begins(Then::Deny) || about(Then::Deny, &in_order);
    let asks = begins(Then::Ask) || about(Then::Ask, &in_order);
    let opens = begins(Then::Ask) || about(Then::Ask, &beginning);
    let allows = begins(Then::Allow);
    let told = verdict(policy, argv);
    let wrong = |why: &str| format!("{why}: {argv:?} is {told:?}");
    match &told {
        Verdict::Allow { by } => {
            hold(allows, &wrong("no rule allows it"))?;
            hold(
                (!asks || exactly) && !denies,
                &wrong("a harsher rule is about it"),
            )?;
            let mut rules = policy.commands.iter().filter(|rule| rule.line == by.line);
            hold(
                rules.any(|rule| rule.then == Then::Allow && argv.starts_with(&rule.argv)),
                &wrong("the rule it names is another"),
            )?;
            hold(argv.iter().all(is_plain), &wrong("a word hides something"))?;
            Ok(true)
        }
        Verdict::Ask { .. } => {
            hold(allows || opens, &wrong("no rule opens it"))?;
            hold(!denies, &wrong("a rule denies it"))?;
            Ok(false)
        }
        Verdict::Deny { by: None, .. } => {
            hold(!allows && !opens && !denies, &wrong("a rule is about it"))?;
            Ok(false)
        }
        Verdict::Deny { by: Some(_), .. } => {
            hold(allows || asks || denies, &wrong("no rule is about it"))?;
            Ok(false)
        }
    }
}
