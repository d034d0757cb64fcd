//! A model that is none: a small grammar of intents that goes through the same loop and the same tools, without network.
//!
//! Everything follows from the prompt. Each intent is a plan, replayed from its beginning against the results that are
//! there already; the first call without a result is what comes next. A plan has at most four calls, so it ends.

mod attached;
mod choose;
mod history;
mod intent;
mod say;
mod when;

use agent::event::{Reply, Stop, Usage, Wish};
use agent::prompt::{Prompt, Turn};
use choose::Choice;
use history::{Done, Request};
use intent::{Intent, Wanted};
use protocol::call::ToolName;
use say::{FALLBACK, GREETING, HELP, NOTHING, PASSED_ON, REMINDERS, brief, handed, missing, offer};
use serde_json::{Value, json};

/// What comes next in this conversation: the same for the same prompt, always.
pub fn reply(prompt: &Prompt) -> Reply {
    let requests = history::requests(&prompt.turns);
    let Some((last, earlier)) = requests.split_last() else {
        let framed = |turn: &Turn| matches!(turn, Turn::Person(text) if text.contains("<data "));
        let passed_on = prompt.turns.last().is_some_and(framed);
        return said(if passed_on { PASSED_ON } else { NOTHING }.to_owned());
    };
    match Plan::new(prompt, last).next() {
        Err(Next::Call(wish)) => Reply {
            text: String::new(),
            calls: vec![wish],
            stop: Stop::Tools,
            usage: Usage::default(),
        },
        Err(Next::Say(text)) | Ok(text) => {
            let before = earlier.iter().map(|request| account(prompt, request));
            let parts: Vec<String> = before
                .chain([text])
                .chain(last.remarks.iter().cloned())
                .collect();
            said(parts.join("\n\n"))
        }
    }
}

fn said(text: String) -> Reply {
    Reply {
        text,
        calls: Vec::new(),
        stop: Stop::End,
        usage: Usage::default(),
    }
}

/// What came of a request after which the person wrote another.
fn account(prompt: &Prompt, request: &Request) -> String {
    match Plan::new(prompt, request).next() {
        Ok(text) | Err(Next::Say(text)) => text,
        Err(Next::Call(_)) => {
            format!(
                "I left off “{}”, since you wrote again; ask once more if you still want it.",
                brief(&request.words)
            )
        }
    }
}

/// What a plan does when it does not run through.
enum Next {
    Call(Wish),
    Say(String),
}

/// One request and how far it has got.
struct Plan<'a> {
    prompt: &'a Prompt,
    request: &'a Request,
    /// Of the results, those that the plan has used.
    used: usize,
}

impl<'a> Plan<'a> {
    fn new(prompt: &'a Prompt, request: &'a Request) -> Self {
        Self {
            prompt,
            request,
            used: 0,
        }
    }

    fn next(mut self) -> Result<String, Next> {
        match self.request.intent.clone() {
            Intent::Help => Ok(HELP.to_owned()),
            Intent::Greeting => Ok(GREETING.to_owned()),
            Intent::Thanks | Intent::Yes => Ok("All right.".to_owned()),
            Intent::Unclear(how) => Ok(how.to_owned()),
            Intent::Choose(_) | Intent::Unknown => Ok(FALLBACK.to_owned()),
            Intent::Remind(wish) => self.remind(&wish),
            Intent::List(folder) => self.list(&folder),
            Intent::Search { query, contents } => self.search(&query, contents),
            Intent::Read(wanted) => self.read(&wanted),
            Intent::Send(wanted) => self.send(&wanted),
            Intent::Write { path, text, append } => self.write(&path, &text, append),
            Intent::Save { files, to } => self.save(&files, &to),
            Intent::Run(argv) => self.run(&argv),
            Intent::Remember(fact) => self.remember(&fact),
            Intent::Recall(query) => self.recall(&query),
            Intent::Forget(query) => self.forget(&query),
        }
    }

    /// A call's result, if it is there; otherwise the call is what comes next.
    fn call(&mut self, tool: &str, arguments: Value) -> Result<Done, Next> {
        let tool = ToolName::new(tool);
        if let Some(done) = self.request.results.get(self.used) {
            self.used += 1;
            if done.tool == tool {
                return Ok(done.clone());
            }
            let lost = format!("I lost the thread after {}; please ask again.", done.tool);
            return Err(Next::Say(lost));
        }
        if self.prompt.tools.is_empty() {
            return Err(Next::Say(self.at_the_bound()));
        }
        if !self.prompt.tools.iter().any(|spec| spec.name == tool) {
            return Err(Next::Say(missing(&tool)));
        }
        Err(Next::Call(Wish {
            tool,
            arguments: Ok(arguments),
        }))
    }

    /// Told when the turn may call no more tools though the plan goes on.
    fn at_the_bound(&self) -> String {
        let words = brief(&self.request.words);
        let done: Vec<String> = self
            .request
            .results
            .iter()
            .map(|done| format!("- {}: {}", done.tool, done.state()))
            .collect();
        let done = if done.is_empty() {
            "Nothing of it is done.".to_owned()
        } else {
            format!("So far:\n{}", done.join("\n"))
        };
        format!(
            "I may use no more tools in this turn, so “{words}” is not finished. {done}\n\nWrite it again to go on."
        )
    }

    fn list(&mut self, folder: &str) -> Result<String, Next> {
        let first = self.call("files.list", json!({"path": folder}))?;
        if !first.failed {
            return Ok(first.listing());
        }
        if folder.contains('/') || !first.may_look_elsewhere() {
            return Ok(first.regret());
        }
        // A folder's bare name: it may lie anywhere below the roots.
        let found = self.call("files.search", json!({"query": folder, "within": "names"}))?;
        match choose::folder(&found, folder) {
            Choice::One(path) => {
                let second = self.call("files.list", json!({"path": path}))?;
                Ok(if second.failed {
                    second.regret()
                } else {
                    second.listing()
                })
            }
            Choice::Several(paths) => Ok(offer("Which folder do you mean?", &paths)),
            Choice::None(_) => Ok(first.regret()),
        }
    }

    fn remind(&mut self, wish: &str) -> Result<String, Next> {
        let Some((text, in_seconds)) = when::parse(wish) else {
            return Ok(REMINDERS.to_owned());
        };
        let done = self.call(
            "reminders.set",
            json!({"text": text, "in_seconds": in_seconds}),
        )?;
        if done.failed {
            return Ok(done.regret());
        }
        Ok(format!("⏰ {}", done.text.trim()))
    }

    fn search(&mut self, query: &str, contents: bool) -> Result<String, Next> {
        let within = if contents { "contents" } else { "both" };
        let done = self.call("files.search", json!({"query": query, "within": within}))?;
        if done.failed {
            return Ok(done.regret());
        }
        if !choose::any(&done) {
            return Ok(format!(
                "I found nothing for “{query}”. `list` shows what is there."
            ));
        }
        Ok(done.showing(&format!("Found for “{query}”:"), ""))
    }

    fn read(&mut self, wanted: &Wanted) -> Result<String, Next> {
        let (mut path, looked) = self.find(wanted)?;
        let mut done = self.look(&path)?;
        if done.failed
            && !looked
            && let Some(other) = self.elsewhere(&path, &done)?
        {
            done = self.look(&other)?;
            path = other;
        }
        if done.failed {
            return Ok(done.regret());
        }
        if done.is_no_text() {
            done = self.call("files.send", json!({"path": path}))?;
        }
        if done.failed {
            return Ok(done.regret());
        }
        if done.tool.0 == "files.send" {
            return Ok(handed(&path, &done));
        }
        Ok(done.showing(&format!("`{path}`:"), &format!("`{path}` is empty.")))
    }

    /// Text is read; what only looks well as a file, such as a picture, is handed over instead.
    fn look(&mut self, path: &str) -> Result<Done, Next> {
        let tool = if choose::is_text(path) {
            "files.read"
        } else {
            "files.send"
        };
        self.call(tool, json!({"path": path}))
    }

    fn send(&mut self, wanted: &Wanted) -> Result<String, Next> {
        let (mut path, looked) = self.find(wanted)?;
        let mut done = self.call("files.send", json!({"path": path}))?;
        if done.failed
            && !looked
            && let Some(other) = self.elsewhere(&path, &done)?
        {
            done = self.call("files.send", json!({"path": other}))?;
            path = other;
        }
        Ok(if done.failed {
            done.regret()
        } else {
            handed(&path, &done)
        })
    }

    /// The one file that is meant, and whether it was looked for; where it is not one, the plan ends with a question.
    fn find(&mut self, wanted: &Wanted) -> Result<(String, bool), Next> {
        let words = match wanted {
            Wanted::Path(path) => return Ok((path.clone(), false)),
            Wanted::Described(words) => words,
        };
        let found = self.call(
            "files.search",
            json!({"query": words.join(" "), "within": "names"}),
        )?;
        let near = match choose::file(&found, words) {
            Choice::One(path) => return Ok((path, true)),
            Choice::Several(paths) => {
                return Err(Next::Say(offer("Several files fit. Which one?", &paths)));
            }
            Choice::None(near) => near,
        };
        if found.failed {
            return Err(Next::Say(found.regret()));
        }
        Err(Next::Say(self.nearest(words, near)?))
    }

    /// What to say when no file has all the words: those that have the longest of them, if any, are offered, never taken.
    fn nearest(&mut self, words: &[String], mut near: Vec<String>) -> Result<String, Next> {
        let longest = words.iter().max_by_key(|word| word.chars().count());
        if let Some(word) = longest.filter(|_| near.is_empty() && words.len() > 1) {
            let found = self.call("files.search", json!({"query": word, "within": "names"}))?;
            if !found.failed {
                near = choose::paths(&found);
            }
        }
        let what = words.join(" ");
        if near.is_empty() {
            return Ok(format!(
                "I found no file for “{what}”. `list` shows what is there."
            ));
        }
        Ok(offer(
            &format!("I found no file for “{what}”, only these. Is it one of them?"),
            &near,
        ))
    }

    /// A file of that bare name somewhere below the roots, after it was not there where the name alone points.
    fn elsewhere(&mut self, name: &str, done: &Done) -> Result<Option<String>, Next> {
        if name.contains('/') || !done.may_look_elsewhere() {
            return Ok(None);
        }
        let found = self.call("files.search", json!({"query": name, "within": "names"}))?;
        match choose::file(&found, &[name.to_lowercase()]) {
            Choice::One(path) => Ok(Some(path)),
            Choice::Several(paths) => Err(Next::Say(offer(
                "Several files have that name. Which one?",
                &paths,
            ))),
            Choice::None(_) => Ok(None),
        }
    }

    fn write(&mut self, path: &str, text: &str, append: bool) -> Result<String, Next> {
        let arguments = if append {
            json!({"path": path, "text": format!("{text}\n"), "append": true})
        } else {
            json!({"path": path, "text": text})
        };
        let done = self.call("files.write", arguments)?;
        Ok(if done.failed {
            done.regret()
        } else {
            done.telling()
        })
    }

    fn save(&mut self, files: &[String], to: &str) -> Result<String, Next> {
        let mut told = Vec::new();
        for file in files {
            let done = self.call("files.save", json!({"file": file, "to": to}))?;
            told.push(if done.failed {
                done.regret()
            } else {
                done.telling()
            });
        }
        Ok(told.join("\n"))
    }

    fn run(&mut self, argv: &[String]) -> Result<String, Next> {
        let done = self.call("shell.run", json!({"argv": argv}))?;
        if done.failed {
            return Ok(done.regret());
        }
        let program = argv.join(" ");
        Ok(done.showing(
            &format!("`{program}`:"),
            &format!("`{program}` ran and printed nothing."),
        ))
    }

    fn remember(&mut self, fact: &str) -> Result<String, Next> {
        let done = self.call("memory.remember", json!({"text": fact}))?;
        Ok(if done.failed {
            done.regret()
        } else {
            done.telling()
        })
    }

    fn recall(&mut self, query: &str) -> Result<String, Next> {
        let done = self.call("memory.search", json!({"query": query}))?;
        if done.failed {
            return Ok(done.regret());
        }
        if done.text.trim().lines().count() == 1 {
            return Ok(done.telling());
        }
        let about = if query.is_empty() { "you" } else { query };
        let empty = format!("I remember nothing about {about}.");
        Ok(done.showing(&format!("What I know about {about}:"), &empty))
    }

    fn forget(&mut self, query: &str) -> Result<String, Next> {
        let done = self.call("memory.forget", json!({"query": query}))?;
        Ok(if done.failed {
            done.regret()
        } else {
            done.telling()
        })
    }
}
