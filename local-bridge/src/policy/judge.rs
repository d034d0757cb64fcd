//! Allow, ask or deny, with the rule that decided. The harshest rule wins, wherever it stands; what no rule names is denied.

use super::options::{self, Finding};
use super::rates::in_minutes;
use super::{Command, Pin, Policy, Then, ToolRule};
use crate::places;
use protocol::call::ToolCall;
use protocol::session::Access;
use protocol::tools::{Grade, bridge_grade};
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::time::Instant;

/// The tools that can do something where things may only be added; the others change what is there or take it away.
const ADDING: &[&str] = &[
    "files.write",
    "files.append",
    "files.copy",
    "files.mkdir",
    "files.save",
    "files.undo",
];

/// What the policy says to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It runs.
    Allow {
        /// The rule that decided.
        by: Ground,
    },
    /// It runs when its owner says yes.
    Ask {
        /// What it can do to the world.
        grade: Grade,
        /// The rule that decided.
        by: Ground,
        /// Why it is not simply allowed.
        why: String,
    },
    /// It does not run.
    Deny {
        /// The rule that decided; none, where nothing names it.
        by: Option<Ground>,
        /// Why.
        why: String,
    },
}

/// A rule, as its owner finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    /// The line of policy.toml on which it stands.
    pub line: usize,
    /// What it says, short.
    pub rule: String,
}

/// What the policy says to a command, and the rule under which it would run.
#[derive(Debug)]
pub struct Judged<'a> {
    /// What it says.
    pub verdict: Verdict,
    /// The rule that holds the program; none, where nothing may run.
    pub rule: Option<&'a Command>,
}

/// Who has said yes to a call before it came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AskedBy {
    /// Nobody.
    Nobody,
    /// The Worker, which orders such a call only after a yes in the chat.
    Chat,
    /// Its owner, at the machine or through the approver: nothing in the cloud can say this yes.
    Home,
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy.toml line {}: {}", self.line, self.rule)
    }
}

impl AskedBy {
    /// Who is known to have been asked about a tool: the Worker asks about what runs programs and about what is worse.
    pub fn for_tool(grade: Grade) -> Self {
        if grade >= Grade::Execute {
            Self::Chat
        } else {
            Self::Nobody
        }
    }
}

impl Verdict {
    /// Whether a call may run when `asked` has said yes; else why not. Everything that would run comes by here.
    pub fn consent(&self, asked: AskedBy) -> Result<(), String> {
        match self {
            Self::Allow { .. } => Ok(()),
            Self::Deny { why, .. } => Err(why.clone()),
            Self::Ask { grade, by, .. } => {
                let least = match grade {
                    Grade::Dangerous => AskedBy::Home,
                    Grade::Read | Grade::Write | Grade::Execute | Grade::Outward => AskedBy::Chat,
                };
                if asked >= least {
                    return Ok(());
                }
                Err(format!("this needs a yes at home ({by})"))
            }
        }
    }
}

impl Policy {
    /// What the policy says to a command.
    pub fn judge(&self, argv: &[String]) -> Judged<'_> {
        self.judge_with(argv, |rule| options::look(argv, rule))
    }

    /// What the policy would say if the words after a rule's beginning did not matter. It shows what the beginning alone lets through.
    pub fn judge_by_beginning(&self, argv: &[String]) -> Judged<'_> {
        self.judge_with(argv, |_| Finding::Plain)
    }

    fn judge_with(&self, argv: &[String], look: impl Fn(&Command) -> Finding) -> Judged<'_> {
        let narrowing = self.narrowing(argv);
        let denies = narrowing.iter().find(|rule| rule.then == Then::Deny);
        if let Some(rule) = denies {
            let by = rule.ground();
            let why = format!("the policy of this machine denies it ({by})");
            return Judged::denied(Some(by), why);
        }
        // Of several that ask, the one that thinks worst of it; the first, where they agree.
        let asks = narrowing.iter().copied();
        let asks = asks.rev().filter(|rule| rule.then == Then::Ask);
        let asks = asks.max_by_key(|rule| rule.grade);
        // A rule for exactly these words is their owner's last word about them, unless they are dangerous.
        let exact = self.opening(argv).find(|rule| rule.exact);
        let asks = asks.filter(|rule| exact.is_none() || rule.grade == Grade::Dangerous);
        // A rule that names an option covers it, whichever of the rules decides.
        let Some((finding, best)) = self
            .opening(argv)
            .filter(|rule| exact.is_none() || rule.exact)
            .map(|rule| (look(rule), rule))
            .min_by(|(one, _), (other, _)| one.cmp(other))
        else {
            return Judged::denied(None, unlisted(argv));
        };
        let rule = asks.unwrap_or(best);
        if let Pin::Broken(why) = &rule.pin {
            return Judged::denied(Some(rule.ground()), why.clone());
        }
        let by = rule.ground();
        let verdict = match (finding, asks) {
            (Finding::Acts(why), _) => return Judged::denied(Some(by), why),
            (Finding::Unknown(why), asks) => {
                let (grade, worse) = self.worst_grade(argv, rule);
                let why = match asks {
                    Some(_) => "the rule asks".to_owned(),
                    None => why,
                };
                let why = worse.map_or(why.clone(), |worse| {
                    format!("{why}, and it may be what this rule is about: {worse}")
                });
                Verdict::Ask { grade, by, why }
            }
            (Finding::Plain, Some(_)) => Verdict::Ask {
                grade: rule.grade,
                by,
                why: "the rule asks".to_owned(),
            },
            (Finding::Plain, None) => Verdict::Allow { by },
        };
        Judged {
            verdict,
            rule: Some(rule),
        }
    }

    /// The rules about the program of a command. What denies or asks is about a program, by whatever name it is called; what denies a
    /// plain name is about every program of that name, wherever it lies.
    fn about<'a, 'b>(
        &'a self,
        argv: &'b [String],
    ) -> impl Iterator<Item = &'a Command> + use<'a, 'b> {
        let named = |rule: &Command| rule.argv.first() == argv.first();
        let program = self
            .commands
            .iter()
            .filter(|rule| named(rule))
            .map(|rule| &rule.program)
            .find(|program| !program.as_os_str().is_empty());
        let given: Option<&'b OsStr> = argv.first().and_then(|name| Path::new(name).file_name());
        let real: Option<&'a OsStr> = program.and_then(|program| program.file_name());
        self.commands.iter().filter(move |rule| {
            let same = rule.then != Then::Allow && Some(&rule.program) == program;
            let name = rule.argv.first().map(OsStr::new);
            let called = program.is_some() && (name == given || name == real);
            named(rule) || same || rule.then == Then::Deny && called
        })
    }

    /// The rules under which a command may run: it begins as they say.
    fn opening<'a, 'b>(
        &'a self,
        argv: &'b [String],
    ) -> impl Iterator<Item = &'a Command> + use<'a, 'b> {
        self.about(argv).filter(|rule| {
            let rest = argv.get(1..).unwrap_or_default();
            rule.then != Then::Deny
                && rest.starts_with(rule.argv.get(1..).unwrap_or_default())
                && !(rule.exact && argv.len() > rule.argv.len())
        })
    }

    /// The rules that deny a command or ask about it. A word put between theirs, or before, does not get round them; they open nothing.
    fn narrowing(&self, argv: &[String]) -> Vec<&Command> {
        let about = self.about(argv).filter(|rule| rule.then != Then::Allow);
        about.filter(|rule| rule.is_within(argv)).collect()
    }

    /// Whether a rule of this policy has a say in a command: it allows what begins as it says; it denies, or asks about, what holds its
    /// words.
    pub(super) fn reaches(&self, rule: &Command, argv: &[String]) -> bool {
        let is_rule = |other: &&Command| std::ptr::eq(*other, rule);
        match rule.then {
            Then::Allow => self.opening(argv).any(|other| is_rule(&other)),
            Then::Ask | Then::Deny => self.narrowing(argv).iter().any(is_rule),
        }
    }

    /// The harshest grade that a rule about the same program has, and that rule, if it is harsher than `rule`.
    fn worst_grade(&self, argv: &[String], rule: &Command) -> (Grade, Option<Ground>) {
        let runs = self.about(argv).filter(|other| other.then != Then::Deny);
        match runs.max_by_key(|other| other.grade) {
            Some(worst) if worst.grade > rule.grade => (worst.grade, Some(worst.ground())),
            Some(_) | None => (rule.grade, None),
        }
    }

    /// What the policy says to a tool. A folder names the tools that work in it, a command the tool that runs it, a line under
    /// `[tools]` any; such a line can deny or ask, and opens no folder.
    pub fn tool(&self, name: &str) -> Verdict {
        let Some(grade) = bridge_grade(name) else {
            return Verdict::Deny {
                by: None,
                why: format!("this machine has no tool '{}'", places::visible(name)),
            };
        };
        let rule = self.tools.iter().find(|rule| rule.name == name);
        if let Some(rule) = rule.filter(|rule| rule.then == Then::Deny) {
            let by = rule.ground();
            return Verdict::Deny {
                why: format!("the policy of this machine denies {name} ({by})"),
                by: Some(by),
            };
        }
        let by = match self.opens(name, grade, rule) {
            Ok(by) => by,
            Err(why) => return Verdict::Deny { by: None, why },
        };
        match rule {
            Some(rule) if rule.then == Then::Ask => Verdict::Ask {
                grade: rule.grade.unwrap_or(grade),
                by: rule.ground(),
                why: "the rule asks".to_owned(),
            },
            Some(rule) => Verdict::Allow { by: rule.ground() },
            None => Verdict::Allow { by },
        }
    }

    /// What gives a tool something to work on; else what is missing.
    fn opens(&self, name: &str, grade: Grade, rule: Option<&ToolRule>) -> Result<Ground, String> {
        if name == "shell.run" || name.starts_with("process.") {
            let mut runs = self.commands.iter().filter(|rule| rule.then != Then::Deny);
            return match runs.next() {
                _ if self.roots.is_empty() => Err("no folder is open to run it in".to_owned()),
                Some(rule) => Ok(rule.ground()),
                None => Err("no command is allowed".to_owned()),
            };
        }
        if name.starts_with("files.") {
            let least = least(name, grade);
            let mut roots = self.roots.iter().zip(&self.root_lines);
            return match roots.find(|(root, _)| root.access >= least) {
                Some((root, line)) => Ok(Ground {
                    line: *line,
                    rule: format!("folder '{}'", root.name),
                }),
                None if self.roots.iter().any(|root| root.access >= least) => Ok(Ground {
                    line: 0,
                    rule: "a folder".to_owned(),
                }),
                None => Err(format!("no folder is open in which {name} may work")),
            };
        }
        rule.map(ToolRule::ground)
            .ok_or_else(|| format!("no line under [tools] names {name}"))
    }

    /// Whether a tool may be called at all, with or without a yes.
    pub fn offers(&self, name: &str) -> bool {
        !matches!(self.tool(name), Verdict::Deny { .. })
    }

    /// Why a call has to wait for a yes at home: what the policy asks about, and the chat's yes does not do or does not come. Nothing for
    /// what may run without it, nor for what is denied with it. `command` is what the call is about, if it is about one.
    pub fn wants_home(&self, call: &ToolCall, command: Option<&[String]>) -> Option<Ground> {
        let grade = bridge_grade(&call.tool.0)?;
        self.wants_beside(AskedBy::for_tool(grade), call, command)
    }

    /// The same for a call about which the chat is known to have asked nobody.
    pub fn wants_home_unasked(
        &self,
        call: &ToolCall,
        command: Option<&[String]>,
    ) -> Option<Ground> {
        self.wants_beside(AskedBy::Nobody, call, command)
    }

    fn wants_beside(
        &self,
        asked: AskedBy,
        call: &ToolCall,
        command: Option<&[String]>,
    ) -> Option<Ground> {
        let command = command.map(|argv| self.judge(argv).verdict);
        let verdicts: Vec<Verdict> = std::iter::once(self.tool(&call.tool.0))
            .chain(command)
            .collect();
        if verdicts
            .iter()
            .any(|verdict| verdict.consent(AskedBy::Home).is_err())
        {
            return None;
        }
        verdicts.into_iter().find_map(|verdict| match verdict {
            Verdict::Ask { ref by, .. } if verdict.consent(asked).is_err() => Some(by.clone()),
            Verdict::Allow { .. } | Verdict::Ask { .. } | Verdict::Deny { .. } => None,
        })
    }

    /// The tools that need a yes because the policy says so.
    pub fn asking_tools(&self) -> Vec<String> {
        let asking = self.tools.iter().map(|rule| rule.name.clone());
        asking
            .filter(|name| matches!(self.tool(name), Verdict::Ask { .. }))
            .collect()
    }

    /// Lets a call of a tool through that came with a yes of `yes`, as far as the lines under `[tools]` go, and counts it; else why not.
    /// What a tool finds to work on is its own business.
    pub fn admit_tool(&self, name: &str, yes: AskedBy, now: Instant) -> Result<(), String> {
        let grade = bridge_grade(name);
        let Some(rule) = self.tools.iter().find(|rule| rule.name == name) else {
            let works = ["files.", "shell.", "process."]
                .iter()
                .any(|room| name.starts_with(room));
            return match grade {
                Some(_) if works => Ok(()),
                Some(_) | None => self.tool(name).consent(yes),
            };
        };
        // What its owner thinks of a tool's grade does not change what the chat asks about.
        let asked = grade.map_or(AskedBy::Nobody, AskedBy::for_tool);
        self.tool(name).consent(asked.max(yes))?;
        let rate = rule.rate.map(|rate| (format!("tool {name}"), rate));
        self.count(&rate.into_iter().collect::<Vec<_>>(), now)
    }

    /// Lets a command through that came with a yes of `asked`, and counts it; else why not.
    pub fn admit_command(
        &self,
        argv: &[String],
        asked: AskedBy,
        now: Instant,
    ) -> Result<&Command, String> {
        let judged = self.judge(argv);
        judged.verdict.consent(asked)?;
        let Some(rule) = judged.rule else {
            return Err(unlisted(argv)); // unreachable: what has no rule is denied
        };
        let opening = self.opening(argv).filter(|rule| rule.then == Then::Allow);
        let counted = opening.chain(self.narrowing(argv));
        let rates = counted.filter_map(|rule| {
            let key = format!("command {:?}", rule.argv);
            Some((key, rule.rate?))
        });
        self.count(&rates.collect::<Vec<_>>(), now)?;
        Ok(rule)
    }

    fn count(&self, rates: &[(String, super::Rate)], now: Instant) -> Result<(), String> {
        let named: Vec<_> = rates
            .iter()
            .map(|(key, rate)| (format!("{key} {rate}"), *rate))
            .collect();
        self.meter.count(&named, now).map_err(|wait| {
            let rates: Vec<String> = rates.iter().map(|(_, rate)| rate.to_string()).collect();
            format!(
                "the policy of this machine allows it {} and it has been that often; {}",
                rates.join(" and "),
                in_minutes(wait)
            )
        })
    }
}

impl Judged<'_> {
    fn denied(by: Option<Ground>, why: String) -> Self {
        Self {
            verdict: Verdict::Deny { by, why },
            rule: None,
        }
    }
}

impl Command {
    /// Whether the rule's words after the program stand in a command in their order, whatever stands between them; a long option also
    /// with a value.
    fn is_within(&self, argv: &[String]) -> bool {
        let mut words = argv.iter().skip(1);
        let mut own = self.argv.iter().skip(1);
        own.all(|own| words.any(|word| word == own || is_valued(own, word)))
    }

    /// The rule, as its owner finds it.
    pub fn ground(&self) -> Ground {
        let words: Vec<String> = self.argv.iter().map(|word| places::visible(word)).collect();
        Ground {
            line: self.line,
            rule: format!("{} {}", self.then, words.join(" ")),
        }
    }
}

impl ToolRule {
    /// The rule, as its owner finds it.
    pub fn ground(&self) -> Ground {
        Ground {
            line: self.line,
            rule: format!("{} {}", self.then, self.name),
        }
    }
}

impl fmt::Display for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        })
    }
}

/// What a folder must be open for at the least, so that a tool of files finds something to do there.
fn least(name: &str, grade: Grade) -> Access {
    match grade {
        Grade::Read => Access::Read,
        Grade::Write if ADDING.contains(&name) => Access::Append,
        Grade::Write | Grade::Execute | Grade::Outward | Grade::Dangerous => Access::Write,
    }
}

/// The command that a call would run, if it is about one.
pub fn argv_of(call: &ToolCall) -> Option<Vec<String>> {
    let words = call.arguments.get("argv")?;
    serde_json::from_value(words.clone()).ok()
}

/// Whether a word is a long option with its value: `--force=yes` for `--force`.
fn is_valued(option: &str, word: &str) -> bool {
    let value = word.strip_prefix(option);
    option.len() > 2
        && option.starts_with("--")
        && value.is_some_and(|value| value.starts_with('='))
}

fn unlisted(argv: &[String]) -> String {
    format!(
        "the policy of this machine does not allow '{}'; its owner can allow it in policy.toml",
        places::visible(&argv.join(" "))
    )
}
