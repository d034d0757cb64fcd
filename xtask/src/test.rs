//! `cargo xtask test`: everything that must hold, in one command.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{
    licences,
    process::{Output, Running},
    screen::{Screen, elapsed},
    tools::{self, Tools},
    worker::{self, Purpose},
    workspace::Workspace,
};

const MAC: &str = "aarch64-apple-darwin";

/// What to leave out.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only format, lints and the tests that need neither wrangler nor a browser
    #[arg(long)]
    quick: bool,
    /// Leave a step out
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    skip: Vec<Step>,
}

/// One thing that is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Step {
    Format,
    Licences,
    Lints,
    WasmLints,
    Builds,
    Worker,
    Tests,
    Docs,
    Mac,
}

impl Step {
    const QUICK: [Self; 3] = [Self::Format, Self::Lints, Self::Tests];
    const ALL: [Self; 9] = [
        Self::Format,
        Self::Licences,
        Self::Lints,
        Self::WasmLints,
        Self::Builds,
        Self::Worker,
        Self::Tests,
        Self::Docs,
        Self::Mac,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Licences => "licences and sources of the dependencies",
            Self::Lints => "lints, on this machine's target",
            Self::WasmLints => "lints, on the Worker's target",
            Self::Builds => "the bridge and all tests build",
            Self::Worker => "the Worker builds",
            Self::Tests => "tests: units, stories, end to end",
            Self::Docs => "documentation without warnings",
            Self::Mac => "the bridge compiles for macOS",
        }
    }
}

/// How one step came out.
enum Verdict {
    Passed(Duration),
    Failed(Duration),
    Skipped,
    NotReached,
}

/// How many tests there were, as their runners said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
}

struct Bench<'a> {
    workspace: &'a Workspace,
    screen: Screen,
    tools: Option<Tools>,
    quick: bool,
    count: Count,
}

/// Runs the steps in order up to the first that fails, and says how each came out.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let screen = Screen::new(false);
    let tools = if options.quick {
        None
    } else {
        Some(Tools::ready(workspace, &screen)?)
    };
    let mut bench = Bench {
        workspace,
        screen,
        tools,
        quick: options.quick,
        count: Count::default(),
    };
    let steps = if options.quick {
        &Step::QUICK[..]
    } else {
        &Step::ALL[..]
    };
    let mut verdicts = Vec::new();
    let mut failure = None;
    for step in steps {
        let verdict = if failure.is_some() {
            Verdict::NotReached
        } else if options.skip.contains(step) {
            Verdict::Skipped
        } else {
            println!("\n── {} ──", step.title());
            let started = Instant::now();
            match bench.perform(*step) {
                Ok(()) => Verdict::Passed(started.elapsed()),
                Err(error) => {
                    failure = Some(error);
                    Verdict::Failed(started.elapsed())
                }
            }
        };
        verdicts.push((*step, verdict));
    }
    println!("\n{}", table(&verdicts));
    let Count {
        passed,
        failed,
        skipped,
    } = bench.count;
    println!("tests: {passed} passed, {failed} failed, {skipped} skipped");
    failure.map_or(Ok(()), Err)
}

fn table(verdicts: &[(Step, Verdict)]) -> String {
    let line = |(step, verdict): &(Step, Verdict)| {
        let (mark, said) = match verdict {
            Verdict::Passed(took) => ("✓", elapsed(*took)),
            Verdict::Failed(took) => ("✗", format!("failed after {}", elapsed(*took))),
            Verdict::Skipped => ("-", "skipped".to_owned()),
            Verdict::NotReached => ("-", "not reached".to_owned()),
        };
        format!("{mark} {:<42} {said}\n", step.title())
    };
    verdicts.iter().map(line).collect()
}

impl Bench<'_> {
    fn perform(&mut self, step: Step) -> Result<()> {
        let workspace = self.workspace;
        match step {
            Step::Format => show(workspace.cargo(["fmt", "--all", "--check"])),
            Step::Licences => {
                println!("{} are allowed", licences::check(workspace)?);
                Ok(())
            }
            Step::Lints => {
                let args = ["clippy", "--workspace", "--all-targets", "--locked"];
                show(denying_warnings(workspace.cargo(args)))
            }
            Step::WasmLints => {
                let args = [
                    "clippy",
                    "-p",
                    "bernard",
                    "--lib",
                    "--locked",
                    "--target",
                    tools::WASM,
                ];
                show(denying_warnings(workspace.cargo(args)))
            }
            // With everything else, so that what the tests need is compiled once and not twice.
            Step::Builds => {
                show(workspace.cargo(["build", "--workspace", "--all-targets", "--locked"]))
            }
            Step::Worker => worker::build(workspace, &self.screen, self.tools()?, Purpose::Trial),
            Step::Tests => self.test(),
            Step::Docs => {
                let mut doc = workspace.cargo(["doc", "--workspace", "--no-deps", "--locked"]);
                doc.env("RUSTDOCFLAGS", "-D warnings");
                show(doc)
            }
            Step::Mac => self.check_mac(),
        }
    }

    fn tools(&self) -> Result<&Tools> {
        self.tools
            .as_ref()
            .context("the tools are installed before a step needs them")
    }

    /// All tests, or without `tests/e2e`, which needs the runtime and a browser, when it must be quick.
    fn test(&mut self) -> Result<()> {
        let mut tests = self.workspace.cargo(["test", "--workspace", "--locked"]);
        if self.quick {
            tests.args(["--lib", "--bins"]);
            for test in [
                "stories",
                "histories",
                "architecture",
                "wire",
                "migrations",
                "models",
                "webhooks",
            ] {
                tests.args(["--test", test]);
            }
        } else {
            let chromium = tools::chromium(self.workspace, &self.screen)?;
            tests
                .env("BERNARD_NODE", &self.tools()?.node)
                .env("CHROMIUM", chromium)
                .env("BERNARD_ROOT", &self.workspace.root);
        }
        let mut running = Running::start("cargo test", tests, Output::HeardAndShown)?;
        for line in running.lines() {
            let line = line?;
            println!("{line}");
            self.count.add(&line);
        }
        running.succeed(|| ())
    }

    fn check_mac(&self) -> Result<()> {
        tools::add_target(self.workspace, &self.screen, MAC)?;
        let args = ["check", "-p", "local-bridge", "--locked", "--target", MAC];
        let mut check = self.workspace.cargo(args);
        if !cfg!(target_os = "macos") {
            let cc = tools::apple_cc(self.workspace, &self.screen)?;
            check.env("CC_aarch64_apple_darwin", cc);
        }
        show(check)
    }
}

fn denying_warnings(mut command: Command) -> Command {
    command.args(["--", "-D", "warnings"]);
    command
}

fn show(command: Command) -> Result<()> {
    let args: Vec<_> = command
        .get_args()
        .map(|arg| arg.to_string_lossy())
        .collect();
    let name = format!("cargo {}", args.join(" "));
    Running::start(&name, command, Output::Shown)?.succeed(|| ())
}

impl Count {
    /// Adds a line such as `test result: ok. 5 passed; 0 failed; 1 ignored; …`; other lines count nothing.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let mut words = result
            .split([' ', ';', '.'])
            .filter(|word| !word.is_empty())
            .peekable();
        while let Some(word) = words.next() {
            let (Ok(number), Some(what)) = (word.parse::<usize>(), words.peek()) else {
                continue;
            };
            match *what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {} // measured, filtered out, the time
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_over_all_runners() {
        let mut count = Count::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 2 ignored; 0 measured; 7 filtered out; finished in 0.10s",
            "test result: FAILED. 40 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.25s",
        ] {
            count.add(line);
        }
        assert_eq!(
            count,
            Count {
                passed: 43,
                failed: 1,
                skipped: 2
            }
        );
    }

    #[test]
    fn the_table_names_each_step_and_how_it_came_out() {
        let verdicts = [
            (Step::Format, Verdict::Passed(Duration::from_millis(1500))),
            (Step::Lints, Verdict::Failed(Duration::from_secs(75))),
            (Step::Docs, Verdict::NotReached),
            (Step::Mac, Verdict::Skipped),
        ];
        let lines: Vec<String> = table(&verdicts).lines().map(str::to_owned).collect();
        assert_eq!(lines[0], format!("✓ {:<42} 1.5 s", "format"));
        assert_eq!(
            lines[1],
            format!("✗ {:<42} failed after 75 s", Step::Lints.title())
        );
        assert_eq!(
            lines[2],
            format!("- {:<42} not reached", Step::Docs.title())
        );
        assert_eq!(lines[3], format!("- {:<42} skipped", Step::Mac.title()));
    }
}
