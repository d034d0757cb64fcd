//! The policy file: what may stand in it, and what is wrong with it, by line.

use super::explain::access_word;
use super::judge::Verdict;
use super::options::{self, Finding};
use super::runners::is_runner;
use super::{Command, Pin, Policy, Rate, Sandbox, Then, ToolRule, Unfit, pins};
use crate::places::{self, Root};
use protocol::key::sha256_hex;
use protocol::session::Access;
use protocol::tools::{Grade, bridge_tools};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// Where a command's program is looked for, first match first. Fixed, so that no environment can put another program in its place.
const PROGRAM_FOLDERS: &[&str] = &[
    "/usr/bin",
    "/bin",
    "/usr/local/bin",
    "/opt/homebrew/bin",
    "/usr/sbin",
    "/sbin",
];

/// Git's own commands. Any other word after `git` may be an alias, and an alias can run anything.
const GIT_COMMANDS: &str = "add am annotate apply archive blame branch bundle cat-file check-attr check-ignore checkout cherry cherry-pick \
     clean clone commit count-objects describe diff diff-files diff-index diff-tree fetch for-each-ref format-patch \
     fsck gc grep init log ls-files ls-remote ls-tree merge merge-base mv name-rev notes pull push range-diff rebase \
     reflog remote reset restore rev-list rev-parse revert rm shortlog show show-ref sparse-checkout stash status \
     switch tag version whatchanged worktree";

/// The most rules, words and characters that a policy can hold: it is read by a person.
const MOST_RULES: usize = 1_000;

/// The folders that programs are looked for in.
#[derive(Debug, Clone)]
pub struct Programs(Vec<PathBuf>);

impl Programs {
    /// Programs that lie in these folders, the first match first.
    pub fn in_folders(folders: Vec<PathBuf>) -> Self {
        Self(folders)
    }
}

impl Default for Programs {
    fn default() -> Self {
        Self(PROGRAM_FOLDERS.iter().map(PathBuf::from).collect())
    }
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    #[serde(default)]
    sandbox: Sandbox,
    approvals: Option<Spanned<String>>,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    root: Vec<RawRoot>,
    #[serde(default)]
    command: Vec<RawCommand>,
    #[serde(default)]
    tools: RawTools,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    foreground: Option<Spanned<String>>,
    background: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoot {
    name: Spanned<String>,
    path: Spanned<PathBuf>,
    access: Access,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCommand {
    #[serde(alias = "argv")]
    run: Spanned<Vec<String>>,
    then: Option<Spanned<Then>>,
    grade: Option<Spanned<Grade>>,
    network: Option<Spanned<bool>>,
    exact: Option<Spanned<bool>>,
    #[serde(default)]
    options: Vec<Spanned<String>>,
    rate: Option<Spanned<String>>,
    #[serde(default, rename = "match")]
    matches: Vec<Spanned<Vec<String>>>,
    #[serde(default)]
    not_match: Vec<Spanned<Vec<String>>>,
}

/// `[tools]`, with `files.write = "ask"`, `"files.write" = "ask"` or a table with `then`.
#[derive(Debug, Default)]
struct RawTools(Vec<(Spanned<String>, RawTool)>);

#[derive(Debug)]
enum RawTool {
    Then(Then),
    Fields(Box<RawFields>),
    Below(RawTools),
}

#[derive(Debug, Default)]
struct RawFields {
    then: Then,
    grade: Option<Grade>,
    rate: Option<Spanned<String>>,
}

/// What is wrong, and the byte at which it begins.
type Wrong = (usize, String);

/// Checks a policy's text.
pub(super) fn parse(text: &str, home: &Path, programs: &Programs) -> Result<Policy, Unfit> {
    let raw: RawPolicy = toml::from_str(text).map_err(|error| Unfit::Syntax(error.to_string()))?;
    let lines = Lines(text);
    checked(&raw, &lines, text, home, programs).map_err(|(offset, why)| Unfit::Rule {
        line: lines.at(offset),
        why,
    })
}

/// A stretch of time such as "30m". The Worker gives up on a call after a day.
fn span(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "'{text}' is no time that a question can stay open; write such as \"30m\", from \"1s\" to \"24h\""
        )
    };
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some(_) | None => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let seconds = count.checked_mul(unit).ok_or_else(wrong)?;
    if !(1..=24 * 3_600).contains(&seconds) {
        return Err(wrong());
    }
    Ok(Duration::from_secs(seconds))
}

struct Lines<'a>(&'a str);

impl Lines<'_> {
    fn at(&self, offset: usize) -> usize {
        let before = self.0.bytes().take(offset);
        1 + before.filter(|byte| *byte == b'\n').count()
    }
}

fn checked(
    raw: &RawPolicy,
    lines: &Lines<'_>,
    text: &str,
    home: &Path,
    programs: &Programs,
) -> Result<Policy, Wrong> {
    if raw.command.len() > MOST_RULES {
        return Err((0, format!("more than {MOST_RULES} rules")));
    }
    let mut policy = Policy {
        sandbox: raw.sandbox,
        sha256: sha256_hex(text.as_bytes()),
        ..Policy::nothing()
    };
    if let Some(open) = &raw.approvals {
        policy.approvals = span(open.get_ref()).map_err(|why| (open.span().start, why))?;
    }
    for (limit, written) in [
        (&mut policy.limits.foreground, &raw.limits.foreground),
        (&mut policy.limits.background, &raw.limits.background),
    ] {
        if let Some(written) = written {
            let text = written.get_ref();
            *limit = span(text).map_err(|_| {
                let why = format!(
                    "'{text}' is no time that a command can take; write such as \"10m\", from \"1s\" to \"24h\""
                );
                (written.span().start, why)
            })?;
        }
    }
    for root in &raw.root {
        let name = root.name.get_ref();
        check_name(name, &policy.roots).map_err(|why| (root.name.span().start, why))?;
        let opened = open_root(root, home).map_err(|why| (root.path.span().start, why))?;
        check_nesting(&opened, &policy.roots).map_err(|why| (root.name.span().start, why))?;
        policy.roots.push(opened);
        policy.root_lines.push(lines.at(root.name.span().start));
    }
    let mut shelf = Shelf::new(programs);
    for command in &raw.command {
        let mut rule = rule(command, &policy.roots, &mut shelf)?;
        rule.line = lines.at(command.run.span().start);
        policy.commands.push(rule);
    }
    raw.tools.rules("", lines, &mut policy.tools)?;
    policy.tools.sort_by(|one, other| one.name.cmp(&other.name));
    if let Some(pair) = policy
        .tools
        .windows(2)
        .find(|pair| pair[0].name == pair[1].name)
    {
        let offset = text.split_inclusive('\n').take(pair[1].line - 1);
        let offset = offset.map(str::len).sum();
        return Err((offset, format!("two lines are about {}", pair[0].name)));
    }
    for (at, command) in raw.command.iter().enumerate() {
        check_examples(&policy, at, command)?;
    }
    Ok(policy)
}

/// Programs that were found, with what they are; each is looked at once.
struct Shelf<'a> {
    programs: &'a Programs,
    pins: HashMap<PathBuf, Result<String, String>>,
}

impl<'a> Shelf<'a> {
    fn new(programs: &'a Programs) -> Self {
        Self {
            programs,
            pins: HashMap::new(),
        }
    }

    fn pin(&mut self, program: &Path) -> Result<Pin, String> {
        let found = self.pins.entry(program.to_owned());
        let found = found.or_insert_with(|| pins::pin(program).map_err(|why| why.to_string()));
        found.clone().map(Pin::To)
    }
}

/// Checks a rule and finds its program.
fn rule(raw: &RawCommand, roots: &[Root], shelf: &mut Shelf<'_>) -> Result<Command, Wrong> {
    let start = raw.run.span().start;
    let argv = raw.run.get_ref();
    let then = raw.then.as_ref().map_or(Then::Ask, |then| *then.get_ref());
    check_words(argv).map_err(|why| (start, why))?;
    let network = raw.network.as_ref().is_some_and(|given| *given.get_ref());
    let grade = raw.grade.as_ref().map(|grade| *grade.get_ref());
    // What can reach the network can tell anyone anything, whatever its owner thinks of it.
    let grade = if network {
        grade.map_or(Grade::Outward, |grade| grade.max(Grade::Outward))
    } else {
        grade.unwrap_or(Grade::Execute)
    };
    if let (Then::Allow, Grade::Dangerous) = (then, grade) {
        let why = "what is dangerous is never allowed without a question; write then = \"ask\"";
        return Err((
            raw.grade.as_ref().map_or(start, |grade| grade.span().start),
            why.to_owned(),
        ));
    }
    let found = find_program(&argv[0], shelf.programs);
    let (program, pin) = match (found, then) {
        (Ok(program), Then::Deny) => (program, Pin::Free),
        (Err(_), Then::Deny) => (PathBuf::new(), Pin::Free),
        (Ok(program), Then::Allow | Then::Ask) => {
            check_program(argv, &program, (then, grade), roots).map_err(|why| (start, why))?;
            let pin = shelf.pin(&program).map_err(|why| {
                (start, format!("'{}' cannot be read, so nobody could tell whether it is still the same program: {why}", program.display()))
            })?;
            (program, pin)
        }
        (Err(why), Then::Allow | Then::Ask) => return Err((start, why)),
    };
    Ok(Command {
        argv: argv.clone(),
        program,
        then,
        grade,
        network,
        exact: is_exact(raw, then)?,
        options: named_options(raw, then)?,
        rate: rate(raw.rate.as_ref(), then)?,
        line: 0,
        pin,
    })
}

fn check_words(argv: &[String]) -> Result<(), String> {
    if argv.first().is_none_or(String::is_empty) {
        return Err("a command needs a program: run = [\"git\", \"status\"]".to_owned());
    }
    if argv.iter().any(|part| part.contains(char::is_control)) {
        return Err("a command cannot hold control characters".to_owned());
    }
    if let Some(Finding::Acts(why)) = argv.iter().map(|word| options::looks(word)).max() {
        return Err(why);
    }
    if argv[0].contains(' ') {
        return Err(format!(
            "one word each: not run = [\"{}\"], but run = [\"{}\"]",
            argv[0],
            argv[0]
                .split_whitespace()
                .collect::<Vec<_>>()
                .join("\", \"")
        ));
    }
    Ok(())
}

/// Only what allows can be narrowed: a rule that asks or denies shall not be got round by a word more.
fn is_exact(raw: &RawCommand, then: Then) -> Result<bool, Wrong> {
    match raw.exact.as_ref() {
        Some(exact) if *exact.get_ref() && then != Then::Allow => Err((
            exact.span().start,
            "exact = true can only stand beside then = \"allow\"".to_owned(),
        )),
        Some(exact) => Ok(*exact.get_ref()),
        None => Ok(false),
    }
}

/// Whether a rule may name this program at all.
fn check_program(
    argv: &[String],
    program: &Path,
    weight: (Then, Grade),
    roots: &[Root],
) -> Result<(), String> {
    let name = &argv[0];
    if is_runner(name, program) && weight != (Then::Ask, Grade::Dangerous) {
        return Err(format!(
            "'{name}' can run any other program, so a rule for it would allow everything; name the program itself, or write then = \"ask\" and grade = \"dangerous\""
        ));
    }
    if let Some(root) = roots.iter().find(|root| program.starts_with(&root.path)) {
        return Err(format!(
            "'{name}' lies in the folder '{}', where Bernard may change it",
            root.name
        ));
    }
    if fs::metadata(program).is_ok_and(|meta| meta.permissions().mode() & 0o002 != 0) {
        return Err(format!("'{}' can be changed by anyone", program.display()));
    }
    let is_git = Path::new(name)
        .file_name()
        .is_some_and(|file| file == "git")
        || program.file_name().is_some_and(|file| file == "git");
    if is_git {
        return check_git(argv);
    }
    Ok(())
}

/// `git -c …` and `git --exec-path …` run what they are given, and so does an alias: one of git's own commands must come first.
fn check_git(argv: &[String]) -> Result<(), String> {
    match argv.get(1) {
        Some(word) if GIT_COMMANDS.split(' ').any(|own| own == word) => Ok(()),
        Some(word) if !word.starts_with('-') => Err(format!(
            "'git {word}' is none of git's own commands; an alias could run anything"
        )),
        Some(_) | None => {
            Err("'git' needs a subcommand, such as run = [\"git\", \"status\"]".to_owned())
        }
    }
}

fn named_options(raw: &RawCommand, then: Then) -> Result<Vec<String>, Wrong> {
    for option in &raw.options {
        let (word, start) = (option.get_ref(), option.span().start);
        let plain = word.starts_with('-') && !word.trim_start_matches('-').is_empty();
        if !plain || word.contains(|c: char| c == '=' || c.is_whitespace() || c.is_control()) {
            return Err((
                start,
                format!("'{word}' is no option; write it as in \"-o\" or \"--output\""),
            ));
        }
        if then == Then::Deny {
            return Err((
                start,
                "a rule that denies names no options: it denies them all".to_owned(),
            ));
        }
    }
    Ok(raw
        .options
        .iter()
        .map(|option| option.get_ref().clone())
        .collect())
}

fn rate(raw: Option<&Spanned<String>>, then: Then) -> Result<Option<Rate>, Wrong> {
    let Some(raw) = raw else {
        return Ok(None);
    };
    let start = raw.span().start;
    if then == Then::Deny {
        return Err((start, "what is denied has no rate".to_owned()));
    }
    let rate = raw.get_ref().parse().map_err(|why| (start, why))?;
    Ok(Some(rate))
}

/// What the owner expects of a rule must be what it does, with all the other rules around it.
fn check_examples(policy: &Policy, at: usize, raw: &RawCommand) -> Result<(), Wrong> {
    let rule = &policy.commands[at];
    let told = |argv: &[String]| {
        let judged = policy.judge(argv).verdict;
        let (then, why) = match &judged {
            Verdict::Allow { by } => (Then::Allow, by.to_string()),
            Verdict::Ask { why, .. } => (Then::Ask, why.clone()),
            Verdict::Deny { why, .. } => (Then::Deny, why.clone()),
        };
        (then, why)
    };
    for example in &raw.matches {
        let argv = example.get_ref();
        let (then, why) = told(argv);
        let reached = policy.reaches(rule, argv);
        if !reached || then != rule.then {
            let why = match rule.then {
                _ if reached => why,
                Then::Allow => "it begins otherwise".to_owned(),
                Then::Ask | Then::Deny => "not all of its words are there".to_owned(),
            };
            return Err((
                example.span().start,
                format!(
                    "the example {argv:?} under match is not '{}', but '{then}': {why}",
                    rule.then
                ),
            ));
        }
    }
    for example in &raw.not_match {
        let argv = example.get_ref();
        let (then, why) = told(argv);
        if policy.reaches(rule, argv) && then == rule.then
            || then == Then::Allow && rule.then == Then::Allow
        {
            return Err((
                example.span().start,
                format!("the example {argv:?} under not_match is '{then}' all the same: {why}"),
            ));
        }
    }
    Ok(())
}

impl RawTools {
    /// The rules, whichever way they are written.
    fn rules(
        &self,
        above: &str,
        lines: &Lines<'_>,
        rules: &mut Vec<ToolRule>,
    ) -> Result<(), Wrong> {
        for (key, raw) in &self.0 {
            let name = if above.is_empty() {
                key.get_ref().clone()
            } else {
                format!("{above}.{}", key.get_ref())
            };
            let start = key.span().start;
            let mut rule = ToolRule {
                name,
                then: Then::Ask,
                grade: None,
                rate: None,
                line: lines.at(start),
            };
            match raw {
                RawTool::Below(below) => {
                    below.rules(&rule.name, lines, rules)?;
                    continue;
                }
                RawTool::Then(then) => rule.then = *then,
                RawTool::Fields(fields) => {
                    rule.then = fields.then;
                    rule.grade = fields.grade;
                    rule.rate = rate(fields.rate.as_ref(), fields.then)?;
                }
            }
            check_tool(&rule).map_err(|why| (start, why))?;
            rules.push(rule);
        }
        Ok(())
    }
}

fn check_tool(rule: &ToolRule) -> Result<(), String> {
    let names: Vec<String> = bridge_tools().into_iter().map(|spec| spec.name.0).collect();
    if !names.contains(&rule.name) {
        return Err(format!(
            "there is no tool '{}'; there are {}",
            places::visible(&rule.name),
            names.join(", ")
        ));
    }
    if rule.then == Then::Allow && rule.grade == Some(Grade::Dangerous) {
        return Err(
            "what is dangerous is never allowed without a question; write then = \"ask\""
                .to_owned(),
        );
    }
    Ok(())
}

impl<'de> Deserialize<'de> for RawTools {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(ToolVisitor)? {
            RawTool::Below(tools) => Ok(tools),
            RawTool::Then(_) | RawTool::Fields(_) => Err(D::Error::custom(
                "[tools] holds lines such as files.write = \"ask\"",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for RawTool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ToolVisitor)
    }
}

struct ToolVisitor;

impl<'de> Visitor<'de> for ToolVisitor {
    type Value = RawTool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"allow\", \"ask\", \"deny\" or { then = \"ask\", rate = \"30/hour\" }")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RawTool, E> {
        match text {
            "allow" => Ok(RawTool::Then(Then::Allow)),
            "ask" => Ok(RawTool::Then(Then::Ask)),
            "deny" => Ok(RawTool::Then(Then::Deny)),
            other => Err(E::custom(format!("'{other}' is none of allow, ask, deny"))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawTool, A::Error> {
        let mut below = Vec::new();
        let (mut then, mut fields) = (None, RawFields::default());
        let mut has_fields = false;
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            match key.get_ref().as_str() {
                "then" => then = Some(map.next_value()?),
                "grade" => fields.grade = Some(map.next_value()?),
                "rate" => fields.rate = Some(map.next_value()?),
                _ => {
                    below.push((key, map.next_value()?));
                    continue;
                }
            }
            has_fields = true;
        }
        if !has_fields {
            return Ok(RawTool::Below(RawTools(below)));
        }
        let Some(then) = then.filter(|_| below.is_empty()) else {
            return Err(A::Error::custom(
                "a rule about a tool needs `then`, and may have `grade` and `rate`",
            ));
        };
        fields.then = then;
        Ok(RawTool::Fields(Box::new(fields)))
    }
}

fn check_name(name: &str, roots: &[Root]) -> Result<(), String> {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(allowed) {
        return Err(format!(
            "a folder's name has letters, digits, spaces, '-', '_' or '.'; '{name}' is none"
        ));
    }
    if roots.iter().any(|root| root.name == name) {
        return Err(format!("two folders are named '{name}'"));
    }
    Ok(())
}

fn open_root(raw: &RawRoot, home: &Path) -> Result<Root, String> {
    let path = raw.path.get_ref();
    let shown = path.display();
    if !path.is_absolute() {
        return Err(format!(
            "'{shown}' must be a whole path, beginning with '/'"
        ));
    }
    let root = Root::open(raw.name.get_ref(), path, raw.access)
        .map_err(|error| format!("'{shown}' cannot be opened: {error}"))?;
    if root.path == Path::new("/") {
        return Err("'/' would open the whole machine; name a folder".to_owned());
    }
    let user_home = std::env::home_dir().and_then(|path| path.canonicalize().ok());
    if user_home.is_some_and(|folder| folder.starts_with(&root.path)) {
        return Err(format!(
            "'{shown}' holds your whole home folder; name a folder in it"
        ));
    }
    if home.starts_with(&root.path) || root.path.starts_with(home) {
        return Err(format!(
            "'{shown}' and the bridge's own folder {} lie in one another",
            home.display()
        ));
    }
    if places::forbidden(root.path.file_name().map_or(Path::new(""), Path::new)) {
        return Err(format!(
            "'{shown}' is never opened: it may hold keys or passwords"
        ));
    }
    Ok(root)
}

/// What a folder in another may not be done to, must not be done to it by the other's name either.
fn check_nesting(opened: &Root, roots: &[Root]) -> Result<(), String> {
    let pairs = roots
        .iter()
        .flat_map(|root| [(root, opened), (opened, root)]);
    let mut wider = pairs.filter(|(outer, inner)| {
        inner.path.starts_with(&outer.path) && inner.access < outer.access
    });
    wider.next().map_or(Ok(()), |(outer, inner)| {
        let words = |root: &Root| format!("the folder '{}' ({})", root.name, access_word(root.access));
        Err(format!(
            "{} lies in {}, by whose name it could be changed; open both for the same, or one of them elsewhere",
            words(inner),
            words(outer)
        ))
    })
}

/// The file that a name means, links followed.
fn find_program(name: &str, programs: &Programs) -> Result<PathBuf, String> {
    let found = |path: &Path| {
        let real = path.canonicalize().ok()?;
        let metadata = fs::metadata(&real).ok()?;
        let runs = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
        runs.then_some(real)
    };
    if name.starts_with('/') {
        return found(Path::new(name)).ok_or_else(|| format!("there is no program '{name}'"));
    }
    if name.contains('/') {
        return Err(format!("'{name}' must be a plain name or a whole path"));
    }
    let mut places = programs.0.iter().map(|folder| folder.join(name));
    places.find_map(|path| found(&path)).ok_or_else(|| {
        let folders: Vec<String> = programs
            .0
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        format!("there is no program '{name}' in {}", folders.join(", "))
    })
}
