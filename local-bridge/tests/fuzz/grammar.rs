//! Texts and commands that nobody would write, a few thousand of them, the same ones each time.

use crate::bend::Dice;
use crate::law::{Machine, judged, policy};

/// How many of each are tried; a longer run changes the number and nothing else.
const TRIES: u32 = 3_000;

fn one<'a>(dice: &mut Dice, of: &[&'a str]) -> &'a str {
    of[dice.below(of.len())]
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

pub(crate) const PIECES: &[&str] = &[
    "[[command]]\n",
    "[[root]]\n",
    "[tools]\n",
    "run = ",
    "argv = ",
    "then = ",
    "grade = ",
    "network = ",
    "approvals = ",
    "[limits]\n",
    "foreground = ",
    "\"90s\"\n",
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
    "\"append\"\n",
    "\"/tmp\"\n",
    "\"/usr/share\"\n",
];

fn text(dice: &mut Dice) -> String {
    let count = 1 + dice.below(14);
    (0..count).map(|_| one(dice, PIECES)).collect()
}

/// A text in which each line is right, in an order that may not be.
fn likely(dice: &mut Dice) -> String {
    let mut lines = vec![one(
        dice,
        &["", "sandbox = \"none\"", "sandbox = \"required\""],
    )];
    for _ in 0..=dice.below(4) {
        lines.push("[[command]]");
        lines.push(one(
            dice,
            &[
                "run = [\"ls\"]",
                "run = [\"git\", \"log\"]",
                "run = [\"sort\", \"-o\"]",
                "run = [\"mystery\", \"é\"]",
            ],
        ));
        for line in [
            "then = \"allow\"",
            "grade = \"outward\"",
            "options = [\"-o\", \"--x\"]",
            "rate = \"3/hour\"",
            "network = true",
            "exact = true",
        ] {
            if dice.below(3) == 0 {
                lines.push(line);
            }
        }
    }
    lines.push(one(
        dice,
        &[
            "",
            "[tools]\nfiles.write = \"ask\"",
            "[tools]\nfiles.send = { then = \"ask\", rate = \"1/day\", grade = \"dangerous\" }",
        ],
    ));
    lines.join("\n")
}

/// A few rules about a few programs.
fn rules(dice: &mut Dice) -> String {
    let mut lines = Vec::new();
    for _ in 0..=dice.below(5) {
        let mut run = vec![one(dice, &["git", "ls", "sort", "mystery"])];
        for _ in 0..dice.below(3) {
            run.push(one(dice, &["status", "log", "a", "-o"]));
        }
        let then = one(dice, &["allow", "allow", "ask", "deny"]);
        lines.push(format!("[[command]]\nrun = {run:?}\nthen = \"{then}\"\n"));
    }
    lines.concat()
}

/// Whether a text is accepted; stops where the body does not hold.
#[track_caller]
fn read(text: &str) -> bool {
    policy(text.as_bytes()).unwrap_or_else(|why| panic!("{why}\n{text}"))
}

#[test]
fn no_text_breaks_the_parser_and_what_it_accepts_it_writes_back() {
    let dice = &mut Dice(0x5eed_0001);
    let mut accepted = 0;
    for _ in 0..TRIES {
        read(&text(dice));
        accepted += u32::from(read(&likely(dice)));
    }
    // A run in which nothing is accepted shows nothing.
    assert!(accepted > TRIES / 10 && accepted < TRIES, "{accepted}");
}

#[test]
fn bytes_that_are_broken_anywhere_do_not_break_the_parser() {
    let dice = &mut Dice(0x5eed_0002);
    let good: Vec<char> = include_str!("../policy/generous.toml")
        .chars()
        .take(900)
        .collect();
    for _ in 0..TRIES / 3 {
        let mut broken = good.clone();
        for _ in 0..=dice.below(3) {
            let at = dice.below(broken.len());
            let piece: Vec<char> = one(dice, PIECES).chars().collect();
            let end = (at + dice.below(3)).min(broken.len());
            broken.splice(at..end, piece);
        }
        read(&broken.into_iter().collect::<String>());
    }
}

#[test]
fn a_random_command_is_allowed_only_by_an_exact_beginning() {
    let machine = Machine::known();
    let dice = &mut Dice(0x5eed_0003);
    let (mut allowed, mut tried) = (0, 0);
    for _ in 0..TRIES / 10 {
        let Ok(policy) = machine.parse(&rules(dice)) else {
            continue; // git without a subcommand
        };
        for _ in 0..50 {
            let argv: Vec<String> = (0..dice.below(5))
                .map(|_| one(dice, WORDS).to_owned())
                .collect();
            tried += 1;
            let told = judged(&policy, &argv, |policy, argv| policy.judge(argv).verdict);
            allowed += u32::from(told.unwrap_or_else(|why| panic!("{why}")));
        }
    }
    assert!(tried > 2_000 && allowed > 20, "{allowed} of {tried}");
}
