//! A line on the desktop when something waits for a yes. It asks for nothing and shows no more than a tool's name: others may see the screen.

use crate::home::Home;
use protocol::call::ToolName;
use std::path::Path;
use std::process::{Command, Stdio};

/// While this file lies in the home, questions are shown on the desktop.
pub const FILE: &str = "notify";

/// The programs that can do it, by their whole paths: no environment puts another one in their place.
const LINUX: &str = "/usr/bin/notify-send";
const MACOS: &str = "/usr/bin/osascript";

/// Shows that a call waits, if the owner wants that and the desktop can; what goes wrong goes unseen.
pub fn notify(home: &Home, tool: &ToolName) {
    if !home.path().join(FILE).exists() {
        return;
    }
    let Some(mut command) = command(&told(tool)) else {
        return;
    };
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match quiet.spawn() {
        Ok(mut child) => {
            // Its end has to be taken note of, by someone who does not wait for it here.
            std::thread::spawn(move || child.wait().ok());
        }
        Err(error) => tracing::debug!("no notification: {error}"),
    }
}

fn told(tool: &ToolName) -> String {
    format!(
        "{} waits for your yes: local-bridge approve",
        super::literal(&tool.0)
    )
}

fn command(text: &str) -> Option<Command> {
    if Path::new(LINUX).exists() {
        let mut command = Command::new(LINUX);
        command.args(["--app-name=local-bridge", "--", "Bernard", text]);
        return Some(command);
    }
    if Path::new(MACOS).exists() {
        let mut command = Command::new(MACOS);
        // The text is an argument and never part of the script.
        command.args([
            "-e",
            "on run argv",
            "-e",
            "display notification (item 1 of argv) with title \"Bernard\"",
            "-e",
            "end run",
            text,
        ]);
        return Some(command);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_line_with_a_tools_name_and_nothing_hidden_in_it() {
        assert_eq!(
            told(&ToolName::new("shell.run\n\u{202e}")),
            "shell.run\\u{a}\\u{202e} waits for your yes: local-bridge approve"
        );
    }
}
