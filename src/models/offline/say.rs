//! What the `offline` model says: its own few texts, and results in their own words.

use super::history::Done;
use protocol::call::ToolName;

/// How much of a result is repeated in an answer: what fits into one Telegram message with the words around it.
const SHOWN_CAP: usize = 3000;

pub(super) const HELP: &str = "I am Bernard, running without a language model: I understand a few plain requests and nothing else.

- `list playground/letters`: what a folder holds
- `find lease`: files by their name or text; `which files mention deposit`: by text alone
- `read playground/notes.txt` or `show me the notes`
- `send me my proof of address`: the file itself, here in the chat
- `write \"buy stamps\" to playground/todo.txt`, `add \"call Anna\" to playground/todo.txt`
- `save it to playground/inbox`, with a file attached
- `run git status`: a program with its arguments, if your machine's policy allows it
- `remind me in 20 minutes to call Anna`
- `remember that the spare key is with Anna`, `what do you know about the spare key`, `forget the spare key`

For a real conversation set `MODEL` to `anthropic/<model>` or `openai/<model>` and the key that goes with it, \
`ANTHROPIC_API_KEY` or `OPENAI_API_KEY`.";

pub(super) const GREETING: &str = "Hello! I am Bernard. I run without a language model here, so I understand plain requests only, \
such as `list playground` or `send me my proof of address`. Write `help` for all of them.";

pub(super) const FALLBACK: &str = "I did not understand that: I am not a language model, only a small set of plain requests. I can \
list, find, read, send and write files, run programs, and remember things; `help` shows how to say it. For a real \
conversation set `MODEL` to `anthropic/<model>` or `openai/<model>` and the key that goes with it.";

pub(super) const PASSED_ON: &str =
    "You passed on words that are not your own. I act on yours only: tell me what to do.";

pub(super) const NOTHING: &str =
    "I have nothing to add: I am not a language model, only a small set of plain requests.";

pub(super) const REMINDERS: &str = "Say when, counted from now, and what: `remind me in 20 minutes to call Anna`, or `remind me tomorrow to pay the rent`.";

impl Done {
    /// How it went, in a word or a few.
    pub(super) fn state(&self) -> String {
        if self.failed {
            brief(&self.text)
        } else {
            "done".to_owned()
        }
    }

    /// What the failure says, and nothing beyond it.
    pub(super) fn regret(&self) -> String {
        let reason = self.text.trim();
        if reason.starts_with("denied: the person said no") {
            return "You said no, so I did not do it.".to_owned();
        }
        let told = |start: &str, sentence: &str| {
            reason
                .strip_prefix(start)
                .map(|rest| format!("{sentence} {}", brief(rest.trim())))
        };
        told("failed:", "That did not work:")
            .or_else(|| told("denied:", "That was not allowed:"))
            .or_else(|| told("cancelled:", "That was cancelled:"))
            .or_else(|| told("interrupted,", "That was interrupted,"))
            .unwrap_or_else(|| format!("That did not work: {}", brief(reason)))
    }

    /// Whether the same thing may be tried with another path: not after a no, nor where its effect is unknown.
    pub(super) fn may_look_elsewhere(&self) -> bool {
        self.failed
            && ![
                "denied:",
                "cancelled:",
                "interrupted,",
                "there is no result",
            ]
            .iter()
            .any(|no| self.text.starts_with(no))
    }

    /// The result under a heading, as it stands; or other words where it is empty.
    pub(super) fn showing(&self, heading: &str, empty: &str) -> String {
        let text = self.text.trim_end();
        if text.trim().is_empty() || text == "done" {
            return empty.to_owned();
        }
        block(heading, text)
    }

    /// The result's own words, as a sentence.
    pub(super) fn telling(&self) -> String {
        let text = brief(self.text.trim());
        let mut rest = text.chars();
        match rest.next() {
            Some(first) => first.to_uppercase().chain(rest).collect(),
            None => "Done.".to_owned(),
        }
    }

    /// A folder's result under its own first line, which names the folder.
    pub(super) fn listing(&self) -> String {
        let text = self.text.trim();
        let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
        match first.strip_suffix('/') {
            Some(folder) if rest.trim() == "(empty)" => format!("`{folder}` is empty."),
            Some(folder) if !rest.is_empty() => block(&format!("`{folder}` holds:"), rest),
            Some(_) | None => self.showing("I see:", "There is nothing."),
        }
    }

    /// Whether it only says that the file is no text.
    pub(super) fn is_no_text(&self) -> bool {
        !self.failed && self.text.lines().count() == 1 && self.text.contains(" is not text: ")
    }
}

/// That a file was handed over, if the result says so; otherwise what it says.
pub(super) fn handed(path: &str, done: &Done) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let sent = format!("{name} was sent to the person");
    if done.text.lines().any(|line| line.trim() == sent) {
        return format!("I sent you `{path}`.");
    }
    format!("`{path}`: {}", brief(done.text.trim()))
}

/// A text as it stands, under a heading.
fn block(heading: &str, text: &str) -> String {
    let shown: String = text.chars().take(SHOWN_CAP).collect();
    let left = text.chars().count().saturating_sub(SHOWN_CAP);
    let rest = if left == 0 {
        String::new()
    } else {
        format!("\n\n({left} characters more are not shown here.)")
    };
    let fence = fence(&shown);
    format!("{heading}\n\n{fence}\n{shown}\n{fence}{rest}")
}

pub(super) fn missing(tool: &ToolName) -> String {
    if tool.0.starts_with("memory.") {
        return format!("I have no `{tool}` here, so I cannot do that.");
    }
    format!(
        "No computer of yours that offers `{tool}` is connected to me. Write /pair to connect one."
    )
}

pub(super) fn offer(question: &str, paths: &[String]) -> String {
    const MOST: usize = 9;
    let lines: Vec<String> = paths
        .iter()
        .take(MOST)
        .enumerate()
        .map(|(at, path)| format!("{}. `{path}`", at + 1))
        .collect();
    let more = paths.len().saturating_sub(MOST);
    let more = if more == 0 {
        String::new()
    } else {
        format!("\n\n({more} more; say more words of its name.)")
    };
    format!(
        "{question}\n\n{}{more}\n\nAnswer with its number.",
        lines.join("\n")
    )
}

/// A fence that nothing in the text can close.
fn fence(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

/// The beginning of a text, on one line.
pub(super) fn brief(text: &str) -> String {
    const CAP: usize = 400;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CAP) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
