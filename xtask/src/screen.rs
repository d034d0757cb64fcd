//! What a person sees while things are prepared: one line a step, how long it takes, how long it took.

use std::{
    io::{IsTerminal, Write, stdout},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    process::{Output, Running},
    workspace::Workspace,
};

/// Shows progress; on a terminal the line of the running step counts seconds.
pub(crate) struct Screen {
    verbose: bool,
    moving: bool,
}

impl Screen {
    /// A screen that shows the children's own output too when `verbose`.
    pub(crate) fn new(verbose: bool) -> Self {
        Self {
            verbose,
            moving: !verbose && stdout().is_terminal(),
        }
    }

    /// Where the output of a child goes that logs to `path`.
    pub(crate) fn output(&self, path: PathBuf) -> Output {
        if self.verbose {
            Output::Shown
        } else {
            Output::Log(path)
        }
    }

    /// Begins a step. `expected` says how long it takes, when that is long.
    pub(crate) fn step(&self, title: &str, expected: &str) -> Step {
        let expected = match expected {
            "" => String::new(),
            long => format!(" ({long})"),
        };
        let step = Step {
            title: title.to_owned(),
            expected,
            started: Instant::now(),
            shown: None,
            moving: self.moving,
        };
        if !self.moving {
            println!("  … {}{}", step.title, step.expected);
        }
        step
    }

    /// Runs a command as a step of its own, its output going to the log `name`.
    pub(crate) fn run(
        &self,
        workspace: &Workspace,
        step: (&str, &str),
        name: &str,
        command: Command,
    ) -> Result<()> {
        let mut shown = self.step(step.0, step.1);
        let running = Running::start(name, command, self.output(workspace.log(name)))?;
        running.succeed(|| shown.tick())?;
        shown.done();
        Ok(())
    }
}

/// One step that is under way.
pub(crate) struct Step {
    title: String,
    expected: String,
    started: Instant,
    shown: Option<u64>,
    moving: bool,
}

impl Step {
    /// Shows that the step goes on.
    pub(crate) fn tick(&mut self) {
        let seconds = self.started.elapsed().as_secs();
        if self.moving && self.shown != Some(seconds) {
            self.shown = Some(seconds);
            print!("\r\x1b[K  … {}{} {seconds} s", self.title, self.expected);
            let _ = stdout().flush(); // a closed terminal is noticed by its signal
        }
    }

    /// Shows that the step is done, and how long it took.
    pub(crate) fn done(self) {
        let clear = if self.moving { "\r\x1b[K" } else { "" };
        println!(
            "{clear}  ✓ {} {}",
            self.title,
            elapsed(self.started.elapsed())
        );
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if self.moving && self.shown.is_some() {
            print!("\r\x1b[K"); // what comes next starts on a clean line
            let _ = stdout().flush();
        }
    }
}

/// A duration as a person says it: `0.4 s`, `12 s`, `3 min 05 s`.
pub(crate) fn elapsed(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        120.. => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_as_a_person_says_them() {
        let said = |ms| elapsed(Duration::from_millis(ms));
        assert_eq!(
            [said(440), said(12_900), said(119_000), said(125_000)],
            ["0.4 s", "12 s", "119 s", "2 min 05 s"]
        );
    }
}
