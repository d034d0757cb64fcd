//! Texts and commands that nobody would write, a few thousand of them, the same ones each time.

use crate::world::World;
use local_bridge::policy::{Command, Policy, Then, Verdict};

/// How many of each are tried; a longer run changes the number and nothing else.
const TRIES: u32 = 3_000;

/// Numbers that look random and are the same in each run: xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).unwrap()
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const WORDS: &[&str] = &[
    "git",
    "ls",
    "sort",
    "mystery",
    "sh",
    "status",
    "log",
    "push",
    "a",
    "b",
    "-o",
    "-n",
    "--output",
    "--output=x",
    "--",
    "-",
    "",
    "\0",
    "a\nb",
    "\u{2013}x",
    "\u{200b}",
    "-no",
    "--exec",
    "@x",
    "+x",
    "status ",
    "é",
    "-nO",
    "ext::x",
];

const PIECES: &[&str] = &[
    "[[command]]\n",
    "[[root]]\n",
    "[tools]\n",
    "run = ",
    "argv = ",
    "then = ",
    "grade = ",
    "network = ",
    "options = ",
    "rate = ",
    "match = ",
    "not_match = ",
    "name = ",
    "path = ",
    "access = ",
    "sandbox = ",
    "files.write = ",
    "\"files.send\" = ",
    "[\"ls\"]\n",
    "[\"git\", \"log\"]\n",
    "[[\"ls\", \"-l\"]]\n",
    "\"allow\"\n",
    "\"ask\"\n",
    "\"deny\"\n",
    "\"dangerous\"\n",
    "\"none\"\n",
    "\"3/hour\"\n",
    "true\n",
    "{ then = \"ask\" }\n",
    "[\"-o\"]\n",
    "\"\\u0000\"",
    "]",
    "[",
    "\"",
    "=",
    "\n",
    "#",
    "{",
    "}",
    ",",
    "'",
    "\u{feff}",
    "é",
    "\\",
    "1",
    "\"read\"\n",
    "\"/tmp\"\n",
];

fn text(dice: &mut Dice) -> String {
    let count = 1 + dice.below(14);
    (0..count).map(|_| dice.one(PIECES)).collect()
}

/// A text in which each line is right, in an order that may not be.
fn likely(dice: &mut Dice) -> String {
    let mut lines = vec![dice.one(&["", "sandbox = \"none\"", "sandbox = \"required\""])];
    for _ in 0..=dice.below(4) {
        lines.push("[[command]]");
        lines.push(dice.one(&[
            "run = [\"ls\"]",
            "run = [\"git\", \"log\"]",
            "run = [\"sort\", \"-o\"]",
            "run = [\"mystery\", \"é\"]",
        ]));
        for line in [
            "then = \"allow\"",
            "grade = \"outward\"",
            "options = [\"-o\", \"--x\"]",
            "rate = \"3/hour\"",
            "network = true",
        ] {
            if dice.below(3) == 0 {
                lines.push(line);
            }
        }
    }
    lines.push(dice.one(&[
        "",
        "[tools]\nfiles.write = \"ask\"",
        "[tools]\nfiles.send = { then = \"ask\", rate = \"1/day\", grade = \"dangerous\" }",
    ]));
    lines.join("\n")
}

/// A few rules about a few programs.
fn rules(dice: &mut Dice) -> String {
    let mut lines = Vec::new();
    for _ in 0..=dice.below(5) {
        let mut run = vec![dice.one(&["git", "ls", "sort", "mystery"])];
        for _ in 0..dice.below(3) {
            run.push(dice.one(&["status", "log", "a", "-o"]));
        }
        let then = dice.one(&["allow", "allow", "ask", "deny"]);
        lines.push(format!("[[command]]\nrun = {run:?}\nthen = \"{then}\"\n"));
    }
    lines.concat()
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
    format!("{roots:?} {commands:?} {tools:?} {:?}", policy.sandbox)
}

fn world() -> World {
    let world = World::new();
    for name in ["git", "ls", "sort", "mystery", "sh"] {
        world.program(name, "a program");
    }
    world
}

/// The body: no text makes the parser panic, and what it accepts is what is written back.
fn reads_what_it_would_write(world: &World, text: &str) -> bool {
    let Ok(policy) = world.parse(text) else {
        return false;
    };
    let written = policy.written();
    let again = world
        .parse(&written)
        .unwrap_or_else(|error| panic!("{error}\n{text}\n---\n{written}"));
    assert_eq!(meaning(&policy), meaning(&again), "{text}\n---\n{written}");
    true
}

/// The body: a command is allowed only if a rule that allows is its exact beginning and none that asks or denies is.
fn allows_only_exact_beginnings(policy: &Policy, argv: &[String]) -> bool {
    let begins = |then: Then| {
        let rules = policy.commands.iter().filter(move |rule| rule.then == then);
        rules
            .map(|rule| &rule.argv)
            .any(|run| run.len() <= argv.len() && run.iter().zip(argv).all(|(a, b)| a == b))
    };
    match policy.judge(argv).verdict {
        Verdict::Allow { by } => {
            assert!(
                begins(Then::Allow) && !begins(Then::Ask) && !begins(Then::Deny),
                "{argv:?}"
            );
            assert!(
                policy.commands.iter().any(|rule| rule.line == by.line),
                "{argv:?}"
            );
            assert!(
                !argv
                    .iter()
                    .any(|word| word.is_empty() || word.contains(char::is_control)),
                "{argv:?}"
            );
            true
        }
        Verdict::Ask { .. } => {
            assert!(begins(Then::Allow) || begins(Then::Ask), "{argv:?}");
            assert!(!begins(Then::Deny), "{argv:?}");
            false
        }
        Verdict::Deny { .. } => false,
    }
}

#[test]
fn no_text_breaks_the_parser_and_what_it_accepts_it_writes_back() {
    let world = world();
    let dice = &mut Dice(0x5eed_0001);
    let mut accepted = 0;
    for _ in 0..TRIES {
        let text = text(dice);
        reads_what_it_would_write(&world, &text);
        accepted += u32::from(reads_what_it_would_write(&world, &likely(dice)));
    }
    // A run in which nothing is accepted shows nothing.
    assert!(accepted > TRIES / 10 && accepted < TRIES, "{accepted}");
}

#[test]
fn bytes_that_are_broken_anywhere_do_not_break_the_parser() {
    let world = world();
    let dice = &mut Dice(0x5eed_0002);
    let good: Vec<char> = include_str!("generous.toml").chars().take(900).collect();
    for _ in 0..TRIES / 3 {
        let mut broken = good.clone();
        for _ in 0..=dice.below(3) {
            let at = dice.below(broken.len());
            let piece: Vec<char> = dice.one(PIECES).chars().collect();
            let end = (at + dice.below(3)).min(broken.len());
            broken.splice(at..end, piece);
        }
        reads_what_it_would_write(&world, &broken.into_iter().collect::<String>());
    }
}

#[test]
fn a_random_command_is_allowed_only_by_an_exact_beginning() {
    let world = world();
    let dice = &mut Dice(0x5eed_0003);
    let (mut allowed, mut tried) = (0, 0);
    for _ in 0..TRIES / 10 {
        let Ok(policy) = world.parse(&rules(dice)) else {
            continue; // git without a subcommand
        };
        for _ in 0..50 {
            let argv: Vec<String> = (0..dice.below(5))
                .map(|_| dice.one(WORDS).to_owned())
                .collect();
            tried += 1;
            allowed += u32::from(allows_only_exact_beginnings(&policy, &argv));
        }
    }
    assert!(tried > 2_000 && allowed > 20, "{allowed} of {tried}");
}
