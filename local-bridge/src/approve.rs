//! The yes that the cloud cannot forge: calls that wait for it, what their owner is shown, and what an answer is worth.
//!
//! `desk` keeps questions and answers in the journal's file; whoever may write there is the owner. `terminal` asks at the machine, `bot` by
//! a second Telegram bot whose token only this machine knows. Nothing here is reachable through the tunnel.

pub mod bot;
pub mod desk;
pub mod notify;
pub mod rule;
pub mod terminal;

use crate::calls::News;
use crate::home::{Home, Pairing};
use crate::policy::{Ground, Policy, argv_of};
use crate::processes::Processes;
use protocol::call::ToolCall;
use protocol::key::{BadKey, random_text, sha256_hex};
use protocol::token::call_hash;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;

/// The longest text that is shown whole; of a longer one, its beginning, its end, its length and its SHA-256.
const SHOWN_WHOLE: usize = 2_000;

/// How much of each end of a longer one is shown, in characters.
const SHOWN_END: usize = 500;

/// How long a yes counts at the least: it was said in time, and what waits for its turn or for the line has to begin soon after.
const YES_MILLIS: i64 = 5 * 60 * 1000;

/// What is said of letters that a person can take for others.
const NOT_ASCII: &str = "some characters are not ASCII; one can look like another";

/// A call that waits for its owner's yes at home.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Held {
    /// Names the question: 128 random bits, base64url.
    pub id: String,
    /// What is asked for.
    pub call: ToolCall,
    /// See [`call_hash`].
    pub call_sha256: String,
    /// The command that it is about, if it is about one.
    pub command: Option<Vec<String>>,
    /// The machine, by its name.
    pub machine: String,
    /// The literal action, as its owner sees it.
    pub shown: String,
    /// The rule that wants the yes.
    pub why: String,
    /// SHA-256 of the policy that wants it.
    pub policy_sha256: String,
    /// What a yes is bound to: all of the above, the machine's key and the end of the time.
    pub digest: String,
    /// When it was first asked, in milliseconds since 1970.
    pub opened_at: i64,
    /// When the question ends.
    pub expires_at: i64,
    /// What its owner has said.
    pub answer: Option<Answer>,
}

/// How a question is put into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// Asked for a yes.
    pub yes: &'static str,
    /// Asked whether a no is meant.
    pub no: &'static str,
    /// A yes was taken.
    pub said_yes: &'static str,
    /// A no was taken.
    pub said_no: &'static str,
}

const RUN: Words = Words {
    yes: "Run this?",
    no: "Refuse this?",
    said_yes: "It runs.",
    said_no: "It does not run.",
};

const RULE: Words = Words {
    yes: "Write this rule into policy.toml?",
    no: "Refuse this rule?",
    said_yes: "Yes; the chat tells when it is made.",
    said_no: "No rule is made.",
};

/// What an owner has said, once and for all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Yes, or no.
    pub yes: bool,
    /// By which way it came.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// What becomes of a call that waits.
#[derive(Debug, Clone, PartialEq)]
pub enum Ruling {
    /// It runs. The SHA-256 is that of the policy under which its owner said yes; nothing where the policy has come to want none.
    Run {
        /// Under which policy.
        yes: Option<String>,
    },
    /// It never runs.
    Refuse {
        /// Why, for the model.
        reason: String,
    },
    /// Its time is over: unless it has begun to receive what it needs, it never runs.
    Lapse {
        /// Why, for the model.
        reason: String,
    },
    /// It is asked about anew.
    Ask(Box<Held>),
}

/// What judges a call that waits, as it is at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// Where the policy lies.
    pub home: &'a Home,
    /// The policy in force.
    pub policy: &'a Policy,
    /// Which machine this is.
    pub pairing: &'a Pairing,
    /// The programs in the background, which calls may be about.
    pub processes: &'a Processes,
    /// The time, in milliseconds since 1970.
    pub now: i64,
}

impl Scene<'_> {
    /// The news that a call is ordered: one that needs a yes at home comes with the question.
    pub fn ordered(&self, call: ToolCall) -> News {
        let command = self.command(&call);
        let wants = self.policy.wants_home(&call, command.as_deref());
        self.asked(call, wants).unwrap_or_else(News::Ordered)
    }

    /// The same for a call about which the chat has asked nobody.
    pub fn unasked(&self, call: ToolCall) -> News {
        let command = self.command(&call);
        let wants = self.policy.wants_home_unasked(&call, command.as_deref());
        self.asked(call, wants).unwrap_or_else(News::Unasked)
    }

    /// A call with its question; the call alone, where there is none to ask. Then nothing is run that would need the yes.
    fn asked(&self, call: ToolCall, wants: Option<Ground>) -> Result<News, ToolCall> {
        let question = match (rule::is_wish(&call), wants) {
            (true, _) => match rule::look(self.home, self.policy, &call) {
                Ok(change) => Held::about_rule(call.clone(), &change, self),
                Err(_) => return Err(call), // whoever runs it says why
            },
            (false, Some(ground)) => Held::new(call.clone(), &ground, self),
            (false, None) => return Err(call),
        };
        match question {
            Ok(held) => Ok(News::Held(Box::new(held))),
            Err(error) => {
                tracing::error!("no question can be made: {error}");
                Err(call)
            }
        }
    }

    /// What becomes of the calls that wait, as news; of those about which nothing is decided yet, none.
    pub fn rulings(&self, held: Vec<Held>) -> Vec<News> {
        let ruled = held.into_iter().filter_map(|held| {
            let ruling = self.ruling(&held)?;
            Some(news(held, ruling))
        });
        ruled.collect()
    }

    /// What becomes of a call that waits, if anything yet.
    pub fn ruling(&self, held: &Held) -> Option<Ruling> {
        let end = if held.is_wish() {
            "no rule was made" // the person reads it, not the model
        } else {
            "do not try again unless the person asks for it anew"
        };
        let because = |why: &str| format!("{why}; {end}");
        let refuse = |why: &str| {
            let reason = because(why);
            Some(Ruling::Refuse { reason })
        };
        if held.answer.is_none() && self.now >= held.expires_at {
            return refuse("nobody at home said yes in time");
        }
        if held.answer.as_ref().is_some_and(|answer| !answer.yes) {
            return refuse("its owner said no at home");
        }
        let is_same_law = self.policy.sha256 == held.policy_sha256;
        if is_same_law && held.digest != held.computed(self) {
            return refuse("what its owner was asked about at home is not what would run");
        }
        if self.command(&held.call) != held.command {
            return refuse("the program that it was for is no longer there");
        }
        let answer = held.answer.as_ref();
        let lasts = answer.map_or(0, |answer| answer.at.saturating_add(YES_MILLIS));
        if self.now >= held.expires_at.max(lasts) {
            let reason = because("its owner said yes at home, but it could not begin in time");
            return Some(Ruling::Lapse { reason });
        }
        if !is_same_law {
            return Some(self.anew(held));
        }
        answer?;
        let yes = Some(self.policy.sha256.clone());
        Some(Ruling::Run { yes })
    }

    /// The policy has changed since the question was asked: an answer to it says nothing any more.
    fn anew(&self, held: &Held) -> Ruling {
        let command = held.command.as_deref();
        // Whether the chat was asked is known no more, and counted for a question that is not open any more.
        let wants = self.policy.wants_home_unasked(&held.call, command);
        match self.asked(held.call.clone(), wants) {
            Ok(News::Held(again)) => Ruling::Ask(again),
            Ok(_) | Err(_) => Ruling::Run { yes: None }, // it runs, or is denied, like any other
        }
    }

    /// The command that a call is about: its own, or that of the program which it gives words to.
    fn command(&self, call: &ToolCall) -> Option<Vec<String>> {
        let named = || {
            let id = call.arguments.get("id")?.as_str()?;
            let process = self.processes.find(id).ok()?;
            Some(process.argv.clone())
        };
        match call.tool.0.as_str() {
            "process.write" => named(),
            _ => argv_of(call),
        }
    }
}

/// The news that a call which waits never runs.
pub fn refused(held: Held, why: &str) -> News {
    let what = if held.is_wish() {
        "no rule was made"
    } else {
        "it was not run"
    };
    let reason = format!("{why}; {what}");
    news(held, Ruling::Refuse { reason })
}

fn news(held: Held, ruling: Ruling) -> News {
    News::Ruled {
        call: held.call.id,
        digest: held.digest,
        ruling,
    }
}

impl Held {
    /// A question about a call that needs a yes because of this rule, open for as long as the policy says.
    pub fn new(call: ToolCall, ground: &Ground, scene: &Scene<'_>) -> Result<Self, BadKey> {
        let command = scene.command(&call);
        let shown = shown(&call, command.as_deref(), scene.policy, &scene.pairing.name);
        let open = scene.policy.approvals;
        Self::opened(call, command, (shown, ground.to_string()), open, scene)
    }

    /// A question about a rule that is wished for.
    fn about_rule(
        call: ToolCall,
        change: &rule::Change,
        scene: &Scene<'_>,
    ) -> Result<Self, BadKey> {
        let shown = change.shown(&scene.pairing.name);
        let open = scene.policy.approvals.min(rule::OPEN);
        Self::opened(call, None, (shown, rule::WHY.to_owned()), open, scene)
    }

    fn opened(
        call: ToolCall,
        command: Option<Vec<String>>,
        (shown, why): (String, String),
        open: Duration,
        scene: &Scene<'_>,
    ) -> Result<Self, BadKey> {
        let open = i64::try_from(open.as_millis()).unwrap_or(0);
        let mut held = Self {
            id: question_id()?,
            call_sha256: call_hash(&call.tool, &call.arguments),
            machine: scene.pairing.name.clone(),
            shown,
            why,
            policy_sha256: scene.policy.sha256.clone(),
            digest: String::new(),
            opened_at: scene.now,
            expires_at: scene.now + open,
            answer: None,
            command,
            call,
        };
        held.digest = held.computed(scene);
        Ok(held)
    }

    /// Whether it is about a rule that is wished for, and not about something that would run.
    pub fn is_wish(&self) -> bool {
        rule::is_wish(&self.call)
    }

    /// The digest that it must have to be run by this machine under this policy.
    fn computed(&self, scene: &Scene<'_>) -> String {
        let call_sha256 = call_hash(&self.call.tool, &self.call.arguments);
        let bound = json!([
            "bernard-approval-v1",
            self.id,
            self.call.id,
            self.call.tool,
            call_sha256,
            self.command,
            scene.policy.sha256,
            scene.pairing.bridge,
            self.machine,
            self.shown,
            self.expires_at
        ]);
        sha256_hex(bound.to_string().as_bytes())
    }

    /// What is asked, and what has come of a yes and of a no.
    pub fn words(&self) -> &'static Words {
        if self.is_wish() { &RULE } else { &RUN }
    }

    /// Whether what is shown leaves out some of what would run, so that a yes to it would be one to something unseen.
    pub fn is_cut(&self) -> bool {
        !long_texts(&self.call).is_empty()
    }

    /// All that would run: what is shown and, of each text that it cuts, every character.
    pub fn whole(&self) -> String {
        let mut text = self.shown.clone();
        for (name, long) in long_texts(&self.call) {
            let told = literal(&json!(long).to_string());
            write!(text, "\n\nall of {}:\n{told}", literal(name))
                .expect("a String takes all that is written");
        }
        if self.shown.is_ascii() && !text.is_ascii() {
            write!(text, "\n\nnote: {NOT_ASCII}").expect("a String takes all that is written");
        }
        text
    }

    /// For how many minutes it is still open, begun ones counted whole.
    pub fn minutes_left(&self, now: i64) -> u32 {
        minutes(self.expires_at - now)
    }
}

/// A random name that no command line takes for an option.
fn question_id() -> Result<String, BadKey> {
    loop {
        let id = random_text()?;
        if !id.starts_with('-') {
            return Ok(id);
        }
    }
}

/// Milliseconds in minutes, begun ones counted whole.
pub fn minutes(millis: i64) -> u32 {
    u32::try_from((millis.max(0) + 59_999) / 60_000).unwrap_or(u32::MAX)
}

/// The literal action: machine, tool, every argument, and the program that would be started.
fn shown(call: &ToolCall, command: Option<&[String]>, policy: &Policy, machine: &str) -> String {
    let mut text = format!("machine: {}\n", literal(machine));
    line(&mut text, "tool", &literal(&call.tool.0));
    if let Value::Object(arguments) = &call.arguments {
        for (name, value) in arguments {
            argument(&mut text, &literal(name), value);
        }
    } else {
        argument(&mut text, "arguments", &call.arguments);
    }
    if let Some(argv) = command {
        if call.arguments.get("argv").is_none() {
            line(&mut text, "to", &literal(&json!(argv).to_string()));
        }
        let judged = policy.judge(argv);
        if let Some(rule) = judged.rule {
            line(
                &mut text,
                "program",
                &literal(&rule.program.to_string_lossy()),
            );
        }
    }
    if !text.is_ascii() {
        line(&mut text, "note", NOT_ASCII);
    }
    text.truncate(text.trim_end().len());
    text
}

fn line(text: &mut String, name: &str, value: &str) {
    writeln!(text, "{name}: {value}").expect("a String takes all that is written");
}

/// One argument, whole; of a long text its ends. Words of a command are never cut.
fn argument(text: &mut String, name: &str, value: &Value) {
    match value {
        Value::String(long) if is_long(long) => {
            let characters: Vec<char> = long.chars().collect();
            let begin: String = characters[..SHOWN_END].iter().collect();
            let end: String = characters[characters.len() - SHOWN_END..].iter().collect();
            let sha256 = sha256_hex(long.as_bytes());
            let told = format!(
                "{} bytes, SHA-256 {sha256}, from {} to {}",
                long.len(),
                literal(&Value::from(begin).to_string()),
                literal(&Value::from(end).to_string())
            );
            line(text, name, &told);
        }
        whole @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_)) => line(text, name, &literal(&whole.to_string())),
    }
}

/// The texts of a call that are shown by their ends alone, with their arguments' names.
fn long_texts(call: &ToolCall) -> Vec<(&str, &str)> {
    let arguments: Vec<(&str, &Value)> = match &call.arguments {
        Value::Object(arguments) => arguments
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .collect(),
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)) => vec![("arguments", other)],
    };
    let texts = arguments.into_iter().filter_map(|(name, value)| {
        let text = value.as_str().filter(|text| is_long(text))?;
        Some((name, text))
    });
    texts.collect()
}

fn is_long(text: &str) -> bool {
    text.chars().count() > SHOWN_WHOLE
}

/// Text in which nothing can hide: control and format characters, marks of direction, and spaces that are none, as escapes.
pub fn literal(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if hides(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn hides(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::call::{CallId, ToolName};
    use tempfile::TempDir;

    const NOW: i64 = 1_790_000_000_000;

    struct World {
        _folder: TempDir,
        home: Home,
        policy: Policy,
        pairing: Pairing,
        processes: Processes,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let home = Home::open(&folder.path().join("home")).unwrap();
            let docs = folder.path().join("docs");
            std::fs::create_dir(&docs).unwrap();
            let text = format!(
                "approvals = \"2m\"\n[[root]]\nname = \"docs\"\npath = '{}'\naccess = \"write\"\n[tools]\nfiles.write = \"ask\"\n",
                docs.display()
            );
            Self {
                policy: Policy::parse(&text, home.path()).unwrap(),
                pairing: Pairing {
                    worker: "https://bernard.example".into(),
                    command_key: String::new(),
                    name: "mac-mini".into(),
                    bridge: "b1".into(),
                },
                processes: Processes::open(&home).unwrap(),
                home,
                _folder: folder,
            }
        }

        fn at(&self, now: i64) -> Scene<'_> {
            Scene {
                home: &self.home,
                policy: &self.policy,
                pairing: &self.pairing,
                processes: &self.processes,
                now,
            }
        }

        /// A question that was answered with yes.
        fn held(&self, arguments: Value) -> Held {
            let call = ToolCall {
                id: CallId("c1".into()),
                tool: ToolName::new("files.write"),
                arguments,
            };
            let answer = Some(Answer {
                yes: true,
                by: "test".into(),
                at: NOW,
            });
            let ground = self.policy.wants_home(&call, None).unwrap();
            let held = Held::new(call, &ground, &self.at(NOW)).unwrap();
            Held { answer, ..held }
        }
    }

    fn write() -> Value {
        json!({"path": "docs/a", "text": "x"})
    }

    #[test]
    fn a_yes_is_bound_to_all_of_the_question_and_to_this_machine() {
        let mut world = World::new();
        let held = world.held(write());
        let yes = Some(world.policy.sha256.clone());
        assert_eq!(
            world.at(NOW).ruling(&held),
            Some(Ruling::Run { yes: yes.clone() })
        );
        let spoiled: [fn(&mut Held); 8] = [
            |held| held.id.push('x'),
            |held| held.call.id.0.push('x'),
            |held| held.call.tool = ToolName::new("files.append"),
            |held| held.call.arguments["text"] = json!("y"),
            |held| held.shown.push('x'),
            |held| held.machine.push('x'),
            |held| held.expires_at += 1,
            |held| held.digest = "0".repeat(64),
        ];
        for (at, spoil) in spoiled.iter().enumerate() {
            let mut other = held.clone();
            spoil(&mut other);
            let ruling = world.at(NOW).ruling(&other);
            assert!(matches!(ruling, Some(Ruling::Refuse { .. })), "{at}");
        }
        world.pairing.bridge = "b2".into();
        let elsewhere = world.at(NOW).ruling(&held);
        assert!(matches!(elsewhere, Some(Ruling::Refuse { .. })));
    }

    #[test]
    fn a_yes_counts_until_the_question_ends_and_not_under_another_policy() {
        let mut world = World::new();
        let held = world.held(write());
        let end = NOW + 120_000;
        assert_eq!(held.expires_at, end);
        assert!(matches!(
            world.at(end - 1).ruling(&held),
            Some(Ruling::Run { .. })
        ));
        // It was said long before; one that is said at the last moment is not too late a moment after.
        let late =
            |why: &str| format!("{why}; do not try again unless the person asks for it anew");
        let reason = late("its owner said yes at home, but it could not begin in time");
        let said_at = |at: i64| {
            let mut held = held.clone();
            held.answer.as_mut().unwrap().at = at;
            held
        };
        let lapsed = Some(Ruling::Lapse { reason });
        assert_eq!(world.at(NOW + YES_MILLIS).ruling(&held), lapsed);
        let last = said_at(end - 1);
        assert!(matches!(
            world.at(end - 2 + YES_MILLIS).ruling(&last),
            Some(Ruling::Run { .. })
        ));
        assert_eq!(world.at(end - 1 + YES_MILLIS).ruling(&last), lapsed);
        let unanswered = Held {
            answer: None,
            ..held.clone()
        };
        let reason = late("nobody at home said yes in time");
        let nobody = Some(Ruling::Refuse { reason });
        assert_eq!(world.at(end - 1).ruling(&unanswered), None);
        assert_eq!(world.at(end).ruling(&unanswered), nobody);
        world.policy.sha256 = "another".into();
        let Some(Ruling::Ask(again)) = world.at(NOW + 5).ruling(&held) else {
            panic!("not asked anew");
        };
        assert_eq!((again.answer.clone(), again.opened_at), (None, NOW + 5));
        assert_ne!((&again.id, &again.digest), (&held.id, &held.digest));
        assert_eq!(world.at(NOW + 5).ruling(&again), None);
        // Come to be allowed, it runs like any other.
        world.policy.tools.clear();
        let free = world.at(NOW + 5).ruling(&held);
        assert_eq!(free, Some(Ruling::Run { yes: None }));
    }

    #[test]
    fn a_questions_id_is_no_option_of_a_command() {
        // Of random ones, each 64th begins with '-'.
        let is_option = |id: String| id.starts_with('-');
        assert!(!(0..2_000).any(|_| is_option(question_id().unwrap())));
    }

    #[test]
    fn nothing_hides_in_what_is_shown() {
        let world = World::new();
        let held = world.held(json!({
            "path": "docs/\u{202e}gpj\u{200d}.exe\u{7}",
            "te\u{feff}xt": "a\u{a0}b\nfake: line",
            "аrg": 1,
        }));
        assert_eq!(
            held.shown,
            "machine: mac-mini\ntool: files.write\npath: \"docs/\\u{202e}gpj\\u{200d}.exe\\u0007\"\nte\\u{feff}xt: \"a\\u{a0}b\\nfake: line\"\nаrg: 1\nnote: some characters are not ASCII; one can look like another"
        );
    }

    #[test]
    fn a_long_text_is_shown_by_its_ends_its_length_and_its_hash_and_counts_as_cut() {
        let world = World::new();
        let long = format!("{}{}", "b".repeat(3_000), "e".repeat(3_000));
        let held = world.held(json!({"path": "docs/a", "text": long}));
        let shown = held.shown.clone();
        let told = format!(
            "text: 6000 bytes, SHA-256 {}, from \"{}\" to \"{}\"",
            sha256_hex(long.as_bytes()),
            "b".repeat(500),
            "e".repeat(500)
        );
        assert_eq!(shown.lines().last(), Some(told.as_str()));
        assert!(held.is_cut());
        let whole = format!("{shown}\n\nall of text:\n\"{long}\"");
        assert_eq!(held.whole(), whole);
        let brief = world.held(json!({"path": "docs/a", "text": "x".repeat(2_000)}));
        assert!(!brief.is_cut());
        assert_eq!(brief.whole(), brief.shown);
    }

    #[test]
    fn what_lies_in_the_middle_of_a_long_text_is_part_of_the_whole_and_hides_nothing() {
        let world = World::new();
        let edge = "x".repeat(1_500);
        let held = world.held(json!({"text": format!("{edge}\u{202e}\n\u{430}{edge}")}));
        let middle = "x\\u{202e}\\n\u{430}x";
        assert!(!held.shown.contains(middle));
        assert!(held.whole().contains(middle));
        assert!(held.whole().ends_with(NOT_ASCII), "{}", held.whole());
    }
}
