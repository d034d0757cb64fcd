//! The bodies of `fuzz/` that are about the machine's law, held against every seed and some thousands of bent ones, the same in each run;
//! and against a law that is broken on purpose, which they must find.
#![expect(
    clippy::missing_panics_doc,
    reason = "a test stops at the first surprise"
)]

#[path = "../../../tests/fuzz/bend.rs"]
pub mod bend;
mod grammar;
pub mod law;

use bend::{Run, corpus, seeds};
use local_bridge::policy::{Command, Ground, Policy, Then, Verdict};

/// What separates the words of an input of `argv`, and words that look like others.
const WORDS: [&str; 30] = [
    "\t",
    "\n",
    "?\t",
    "allow\t",
    "ask\t",
    "deny\t",
    "options\t",
    "git",
    "/bin/git",
    "./git",
    "status",
    "-o",
    "--output",
    "--output=x",
    "--",
    "-",
    "\\n",
    "\\t",
    "\0",
    " ",
    "\u{200b}",
    "\u{2013}",
    "é",
    "\u{feff}",
    "@x",
    "+x",
    "sh",
    "-c",
    "..",
    "=",
];

/// The example, the generous policy, and what each line of a policy can be.
fn policies() -> Vec<Vec<u8>> {
    let mut all = seeds("local-bridge/tests/policy", ".toml");
    all.extend(corpus("policy"));
    all
}

/// The generous policy's rules with eight of the ways around it, or of the ordinary commands; and the corpus.
fn commands() -> Vec<Vec<u8>> {
    let machine = law::Machine::known();
    let generous = machine.parse(include_str!("../policy/generous.toml"));
    let rules: String = generous
        .expect("it is accepted")
        .commands
        .iter()
        .map(line)
        .collect();
    let lists = [
        include_str!("../policy/around.txt"),
        include_str!("../policy/ordinary.txt"),
    ];
    let lines = lists.iter().flat_map(|list| list.lines());
    let asked: Vec<String> = lines
        .filter(|line| line.starts_with('['))
        .map(|line| {
            let words: Vec<String> = serde_json::from_str(line).expect("a list of words");
            format!("?\t{}\n", escaped(&words))
        })
        .collect();
    let mut all = corpus("argv");
    all.extend(
        asked
            .chunks(8)
            .map(|some| format!("{rules}{}", some.concat()).into_bytes()),
    );
    all
}

fn line(rule: &Command) -> String {
    let options = if rule.options.is_empty() {
        String::new()
    } else {
        format!("options\t{}\n", escaped(&rule.options))
    };
    format!("{}\t{}\n{options}", rule.then, escaped(&rule.argv))
}

fn escaped(words: &[String]) -> String {
    let words = words.iter();
    let words = words.map(|word| word.replace('\n', "\\n").replace('\t', "\\t"));
    words.collect::<Vec<_>>().join("\t")
}

#[test]
fn a_policy_means_what_it_says() {
    let seeds = policies();
    let run = Run {
        seeds: &seeds,
        words: grammar::PIECES,
        each: 500,
    };
    run.holds("policy", law::policy);
}

#[test]
fn a_command_is_judged_as_the_rules_say() {
    let seeds = commands();
    let run = Run {
        seeds: &seeds,
        words: &WORDS,
        each: 60,
    };
    run.holds("argv", law::argv);
}

mod broken {
    use super::*;

    fn said(rule: &Command) -> Verdict {
        let (by, why) = (rule.ground(), String::new());
        match rule.then {
            Then::Allow => Verdict::Allow { by },
            Then::Ask => Verdict::Ask {
                grade: rule.grade,
                by,
                why,
            },
            Then::Deny => Verdict::Deny { by: Some(by), why },
        }
    }

    fn unlisted() -> Verdict {
        Verdict::Deny {
            by: None::<Ground>,
            why: String::new(),
        }
    }

    fn is_found(name: &str, verdict: fn(&Policy, &[String]) -> Verdict) {
        let seeds = commands();
        let run = Run {
            seeds: &seeds,
            words: &WORDS,
            each: 10,
        };
        run.finds(name, |bytes| law::argv_by(verdict, bytes));
    }

    #[test]
    fn a_matcher_that_takes_the_first_rule_is_found() {
        is_found("the first rule that matches", |policy, argv| {
            let mut rules = policy.commands.iter();
            let rule = rules.find(|rule| argv.starts_with(&rule.argv));
            rule.map_or_else(unlisted, said)
        });
    }

    #[test]
    fn a_matcher_of_joined_words_is_found() {
        is_found("a comparison of command lines", |policy, argv| {
            let line = argv.join(" ");
            let rules = policy.commands.iter();
            let rules = rules.filter(|rule| line.starts_with(&rule.argv.join(" ")));
            let rule = rules.max_by_key(|rule| rule.then);
            rule.map_or_else(unlisted, said)
        });
    }

    #[test]
    fn a_matcher_that_looks_at_the_beginning_alone_is_found() {
        is_found("no look at the words that follow", |policy, argv| {
            policy.judge_by_beginning(argv).verdict
        });
    }

    #[test]
    fn a_matcher_that_knows_a_program_by_one_name_is_found() {
        is_found("a denial of one name", |policy, argv| {
            let named = Policy {
                commands: policy
                    .commands
                    .iter()
                    .filter(|rule| rule.argv.first() == argv.first())
                    .cloned()
                    .collect(),
                ..Policy::nothing()
            };
            named.judge(argv).verdict
        });
    }

    #[test]
    fn a_policy_that_is_written_milder_or_without_its_limits_is_found() {
        let seeds = policies();
        let run = Run {
            seeds: &seeds,
            words: grammar::PIECES,
            each: 20,
        };
        run.finds("a denial that is written as a question", |bytes| {
            law::policy_by(
                |policy| policy.written().replace("\"deny\"", "\"ask\""),
                bytes,
            )
        });
        run.finds("limits that are not written", |bytes| {
            let limitless = |policy: &Policy| {
                let written = policy.written();
                let lines = written.lines().filter(|line| !line.contains("ground = "));
                lines.collect::<Vec<_>>().join("\n")
            };
            law::policy_by(limitless, bytes)
        });
    }
}
