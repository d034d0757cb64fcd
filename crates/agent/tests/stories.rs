//! Plays `tests/conversations/*.txt`: each line that is not indented tells the agent something, the lines under it are
//! what it answers with. `->` is an effect, `=>` a line of the transcript. `UPDATE=1 cargo test -p agent` writes them anew.
//!
//! The questions to the model are numbered as they come (`model 1`), and so are calls (`c1`) and sayings (`s1`).
//! Between any two lines the conversation is saved and loaded, so that every story is also a test of restarts.

use agent::event::{
    AskId, Button, Decision, Delivery, Message, Millis, ModelFailure, Reply, SayId, Stop, Usage,
    Wish,
};
use agent::{Content, Conversation, Effect, Entry, Event, Line, Trust};
use protocol::call::{CallId, FileRef, Outcome, ToolCall, ToolName};
use protocol::tools::Place;
use std::fmt::Write as _;
use std::path::PathBuf;

/// How often each piece of news is told.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Telling {
    Once,
    /// The second time nothing may happen. What the person writes is told once: drivers drop repeated deliveries.
    Twice,
}

#[test]
fn every_story_goes_as_it_is_written() {
    let stories = stories();
    assert!(
        stories.len() >= 25,
        "only {} stories were found",
        stories.len()
    );
    for (path, written) in stories {
        let played = Player::play(&written, Telling::Once);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &played).expect("the folder of stories can be written to");
        } else {
            assert_eq!(
                played,
                written,
                "\n{}\nplayed:\n{played}\nwritten:\n{written}",
                path.display()
            );
        }
    }
}

#[test]
fn news_that_is_told_twice_does_nothing_the_second_time() {
    for (path, written) in stories() {
        let (once, twice) = (
            Player::play(&written, Telling::Once),
            Player::play(&written, Telling::Twice),
        );
        assert_eq!(twice, once, "{}", path.display());
    }
}

fn stories() -> Vec<(PathBuf, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/conversations");
    let files = std::fs::read_dir(folder).expect("the folder of stories is there");
    let mut stories: Vec<_> = files
        .map(|file| file.expect("a folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path| {
            (
                path.clone(),
                std::fs::read_to_string(path).expect("a story is text"),
            )
        })
        .collect();
    stories.sort();
    stories
}

/// Tells a conversation a story and writes down what it does.
struct Player {
    conversation: Conversation,
    telling: Telling,
    now: Millis,
    asks: Vec<AskId>,
    calls: Vec<CallId>,
    says: Vec<SayId>,
}

impl Player {
    fn play(story: &str, telling: Telling) -> String {
        let conversation = Conversation::new("t");
        let mut teller = Self {
            conversation,
            telling,
            now: 0,
            asks: vec![],
            calls: vec![],
            says: vec![],
        };
        let mut played = String::new();
        for line in story.lines().filter(|line| !line.starts_with("  ")) {
            played.push_str(line);
            played.push('\n');
            if !line.is_empty() && !line.starts_with('#') {
                teller
                    .line(line)
                    .into_iter()
                    .for_each(|done| writeln!(played, "  {done}").expect("a string takes all"));
            }
        }
        played
    }

    fn line(&mut self, line: &str) -> Vec<String> {
        let Some((asks, plan)) = line
            .strip_prefix("model ")
            .and_then(|rest| rest.split_once(" call: "))
        else {
            let event = self.event(line);
            return self.tell(&event);
        };
        // `model 1 to 39 call: files.read {"path": "#"}; done: text #`
        let (call, text) = plan
            .split_once("; done: ")
            .expect("a series says how its calls end");
        let (first, last) = asks
            .split_once(" to ")
            .expect("a series has a first and a last");
        let numbers = number(first)..=number(last);
        let mut last = vec![];
        for n in numbers.map(|n| n.to_string()) {
            let event = self.event(&format!("model {n} calls: {}", call.replace('#', &n)));
            self.tell(&event);
            let event = self.event(&format!(
                "c{} done: {}",
                self.calls.len(),
                text.replace('#', &n)
            ));
            last = self.tell(&event);
        }
        last
    }

    /// Tells one event; saves and loads before and after it.
    fn tell(&mut self, event: &Event) -> Vec<String> {
        self.reload();
        let effects = self.conversation.handle(event.clone());
        let lines = self.conversation.take_appended();
        if self.telling == Telling::Twice && !matches!(event, Event::Said { .. }) {
            let before = self.conversation.clone();
            assert_eq!(
                self.conversation.handle(event.clone()),
                [],
                "told twice: {event:?}"
            );
            assert_eq!(self.conversation, before, "told twice: {event:?}");
        }
        self.reload();
        let mut done: Vec<String> = lines.iter().map(|entry| self.write_entry(entry)).collect();
        done.extend(effects.iter().map(|effect| self.write_effect(effect)));
        done
    }

    fn reload(&mut self) {
        let saved = serde_json::to_string(&self.conversation).expect("a conversation can be saved");
        let loaded: Conversation =
            serde_json::from_str(&saved).expect("what was saved can be loaded");
        assert_eq!(loaded.outstanding(), self.conversation.outstanding());
        assert_eq!(loaded, self.conversation);
        self.conversation = loaded;
    }
}

/// From words to events.
impl Player {
    fn event(&mut self, line: &str) -> Event {
        self.now += 1_000;
        let at = self.now;
        if line == "stop" {
            return Event::Stopped { at };
        }
        let (head, text) = line.split_once(": ").unwrap_or((line, ""));
        let words: Vec<&str> = head.split(' ').collect();
        match words.as_slice() {
            ["person", "on", call] if !call.starts_with('"') => {
                let decision = if text == "yes" {
                    Decision::Once
                } else {
                    Decision::No
                };
                Event::Decided {
                    call: self.call(call),
                    decision,
                    at,
                }
            }
            ["person", "has", errand, "done"] => Event::Wished {
                errand: (*errand).to_owned(),
                calls: calls_of(errand, text),
                at,
            },
            ["person", how @ ..] => Event::Said {
                message: message(&how.join(" "), text, at),
            },
            ["notice", say] => Event::Notice {
                say: SayId((*say).to_owned()),
                text: text.to_owned(),
                buttons: buttons(),
            },
            ["model", n, "fails"] => Event::ModelFailed {
                ask: self.ask(n),
                failure: failure(text),
                at,
            },
            ["model", n, how @ ..] => Event::Replied {
                ask: self.ask(n),
                reply: reply(&how.join(" "), text),
                at,
            },
            [call, "waits", "for", machine] => Event::Waiting {
                call: self.call(call),
                machine: (*machine).to_owned(),
                taken: text == "it was at it",
                at,
            },
            [say, how @ ("sent" | "refused" | "unknown")] => Event::Sent {
                say: self.say(say),
                delivery: delivery(how, text),
                at,
            },
            [call, how @ .., "on", machine] => Event::Finished {
                call: self.call(call),
                outcome: outcome(how, text),
                by: Some((*machine).to_owned()),
                at,
            },
            [call, how @ ..] => Event::Finished {
                call: self.call(call),
                outcome: outcome(how, text),
                by: None,
                at,
            },
            [] => panic!("there is nothing in {line:?}"),
        }
    }

    fn ask(&self, n: &str) -> AskId {
        self.asks
            .get(number(n) - 1)
            .cloned()
            .unwrap_or_else(|| AskId(format!("unknown-{n}")))
    }

    fn call(&self, name: &str) -> CallId {
        let known = name
            .strip_prefix('c')
            .and_then(|n| self.calls.get(number(n) - 1));
        known.cloned().unwrap_or_else(|| CallId(name.to_owned()))
    }

    fn say(&self, name: &str) -> SayId {
        let known = name
            .strip_prefix('s')
            .and_then(|n| self.says.get(number(n) - 1));
        known.cloned().unwrap_or_else(|| SayId(name.to_owned()))
    }
}

/// From effects and transcript lines to words.
impl Player {
    fn write_effect(&mut self, effect: &Effect) -> String {
        match effect {
            Effect::AskModel { ask, tools } => {
                let without = if *tools { "" } else { " without tools" };
                format!("-> ask {}{without}", self.ask_name(ask))
            }
            Effect::Run {
                call,
                place: Place::Bridge,
            } => format!("-> run at home {}", self.write_call(call)),
            Effect::Run {
                call,
                place: Place::Worker,
            } => format!("-> run here {}", self.write_call(call)),
            Effect::AskPerson { call } => format!("-> ask person about {}", self.write_call(call)),
            Effect::Say {
                say,
                content: Content::Text { text, buttons },
            } => {
                let buttons: Vec<String> = buttons
                    .iter()
                    .map(|button| format!(" [{}={}]", button.label, button.action))
                    .collect();
                format!(
                    "-> say {}: {}{}",
                    self.say_name(say),
                    escaped(text),
                    buttons.concat()
                )
            }
            Effect::Say {
                say,
                content: Content::File { call, file },
            } => {
                format!(
                    "-> send {}: {} of {}",
                    self.say_name(say),
                    file.name,
                    self.call_name(call)
                )
            }
            Effect::Cancel { call } => format!("-> cancel {}", self.call_name(call)),
            Effect::Abandon { ask } => format!("-> abandon {}", self.ask_name(ask)),
        }
    }

    fn write_entry(&mut self, entry: &Entry) -> String {
        match &entry.line {
            Line::Person {
                text,
                quoted,
                attachments: _,
                trust,
            } => {
                let quoted = quoted
                    .as_ref()
                    .map(|quoted| format!(" on {quoted:?}"))
                    .unwrap_or_default();
                let trust = if *trust == Trust::Owner {
                    String::new()
                } else {
                    format!(" ({trust:?})")
                };
                format!("=> person{trust}{quoted}: {}", escaped(text))
            }
            Line::Agent { text, calls } => {
                let calls: Vec<String> = calls
                    .iter()
                    .map(|call| format!(" [{}]", self.write_call(call)))
                    .collect();
                format!("=> agent: {}{}", escaped(text), calls.concat()).replace(":  [", ": [")
            }
            Line::Result {
                call,
                outcome,
                trust,
                ..
            } => {
                format!(
                    "=> {} {} ({trust:?})",
                    self.call_name(call),
                    write_outcome(outcome)
                )
            }
            Line::Note { text } => format!("=> note: {}", escaped(text)),
        }
    }

    fn write_call(&mut self, call: &ToolCall) -> String {
        format!(
            "{} {} {}",
            self.call_name(&call.id),
            call.tool,
            call.arguments
        )
    }

    fn ask_name(&mut self, ask: &AskId) -> String {
        format!("model {}", place(&mut self.asks, ask))
    }

    fn call_name(&mut self, call: &CallId) -> String {
        format!("c{}", place(&mut self.calls, call))
    }

    /// A notice keeps the name that its teller gave it.
    fn say_name(&mut self, say: &SayId) -> String {
        if say.0.starts_with("t-") {
            format!("s{}", place(&mut self.says, say))
        } else {
            say.0.clone()
        }
    }
}

fn place<T: Clone + PartialEq>(known: &mut Vec<T>, id: &T) -> usize {
    if !known.contains(id) {
        known.push(id.clone());
    }
    known
        .iter()
        .position(|other| other == id)
        .expect("it was just put there")
        + 1
}

fn number(text: &str) -> usize {
    text.parse()
        .unwrap_or_else(|_| panic!("{text:?} should be a number"))
}

fn message(how: &str, text: &str, at: Millis) -> Message {
    let quoted = how
        .strip_prefix("on \"")
        .map(|quoted| quoted.trim_end_matches('"').to_owned());
    let trust = if how == "passes on" {
        Trust::Kept
    } else {
        Trust::Owner
    };
    assert!(
        how.is_empty() || quoted.is_some() || trust == Trust::Kept,
        "how does a person {how:?}?"
    );
    Message {
        text: text.to_owned(),
        quoted,
        attachments: vec![],
        trust,
        at,
    }
}

fn reply(how: &str, text: &str) -> Reply {
    let (text, calls, stop) = match how {
        "says" => (text, vec![], Stop::End),
        "says nothing" => ("", vec![], Stop::End),
        "is cut off" => (text, vec![], Stop::Length),
        "declines" => (text, vec![], Stop::Refusal),
        "calls" => ("", wishes(text), Stop::Tools),
        _ => {
            // `model 1 says "One moment." and calls: files.list {}`
            let said = how
                .strip_prefix("says \"")
                .and_then(|rest| rest.strip_suffix("\" and calls"));
            (
                said.unwrap_or_else(|| panic!("what does a model that {how}?")),
                wishes(text),
                Stop::Tools,
            )
        }
    };
    Reply {
        text: text.replace("\\n", "\n"),
        calls,
        stop,
        usage: Usage::default(),
    }
}

/// The calls of an errand, which a story names by the errand and a number.
fn calls_of(errand: &str, text: &str) -> Vec<ToolCall> {
    let named = wishes(text).into_iter().enumerate();
    named
        .map(|(n, wish)| ToolCall {
            id: CallId(format!("{errand}-{}", n + 1)),
            tool: wish.tool,
            arguments: wish.arguments.expect("an errand's arguments are JSON"),
        })
        .collect()
}

fn wishes(text: &str) -> Vec<Wish> {
    let wish = |text: &str| {
        let (tool, arguments) = text.split_once(' ').unwrap_or((text, "{}"));
        Wish {
            tool: ToolName::new(tool),
            arguments: serde_json::from_str(arguments).map_err(|_| arguments.to_owned()),
        }
    };
    text.split("; ").map(wish).collect()
}

fn failure(text: &str) -> ModelFailure {
    let (kind, rest) = text.split_once(", ").unwrap_or((text, ""));
    match kind {
        "refused key" => ModelFailure::RefusedKey,
        "missing key" => ModelFailure::MissingKey {
            variable: rest.to_owned(),
        },
        "unknown model" => ModelFailure::UnknownModel {
            model: rest.to_owned(),
        },
        "rate limited" => ModelFailure::RateLimited {
            retry_after: rest.parse().ok(),
        },
        "overloaded" => ModelFailure::Overloaded,
        "context overflow" => ModelFailure::ContextOverflow,
        "rejected" => ModelFailure::Rejected {
            reason: rest.to_owned(),
        },
        "network" => ModelFailure::Network {
            reason: rest.to_owned(),
        },
        _ => panic!("no model fails by {kind:?}"),
    }
}

fn outcome(how: &[&str], text: &str) -> Outcome {
    let text = text.replace("\\n", "\n");
    match how {
        ["done"] => Outcome::done(text),
        ["brings", name] => Outcome::Done {
            text,
            file: Some(file(name)),
        },
        ["failed"] => Outcome::failed(text),
        ["denied"] => Outcome::denied(text),
        ["interrupted"] => Outcome::Interrupted { reason: text },
        ["cancelled"] => Outcome::Cancelled,
        _ => panic!("no call ends by {how:?}"),
    }
}

fn file(name: &str) -> FileRef {
    FileRef {
        name: name.to_owned(),
        mime: "application/pdf".into(),
        size: 1_234,
        sha256: "0".repeat(64),
    }
}

fn delivery(how: &str, text: &str) -> Delivery {
    match how {
        "sent" => Delivery::Delivered,
        "refused" => Delivery::Refused {
            reason: text.to_owned(),
        },
        _ => Delivery::Unknown,
    }
}

fn buttons() -> Vec<Button> {
    vec![Button {
        label: "OK".into(),
        action: "ok".into(),
    }]
}

fn write_outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { text, file: None } => format!("done: {}", escaped(text)),
        Outcome::Done {
            text,
            file: Some(file),
        } => format!("done with {}: {}", file.name, escaped(text)),
        Outcome::Failed { reason } => format!("failed: {}", escaped(reason)),
        Outcome::Denied { reason } => format!("denied: {}", escaped(reason)),
        Outcome::Cancelled => "cancelled".into(),
        Outcome::Interrupted { reason } => format!("interrupted: {}", escaped(reason)),
    }
}

fn escaped(text: &str) -> String {
    text.replace('\n', "\\n")
}
