//! Asking the person about a call: what they are shown, what their yes is bound to, and when no question is needed.

use super::{Heart, console, now, store};
use crate::error::Result;
use agent::event::{Button, Decision};
use agent::{Event, Line, Trust};
use driver::{Agreed, Consent, HomeCall, NO_MACHINE, Rows};
use protocol::call::{CallId, ToolCall, ToolName};
use protocol::key::sha256_hex;
use protocol::session::Hello;
use protocol::token::call_hash;
use protocol::tools::ShellRun;
use protocol::warrant::{PROPOSE, Wish};
use serde::Deserialize;
use std::rc::Rc;

/// How much of the digest rides in a button: 64 bits, within Telegram's 64 bytes for all of it.
const DIGEST: usize = 16;

/// How much of the person's own words a question repeats, in characters.
const WORDS: usize = 80;

/// What the model reads when the yes was to something else.
const CHANGED: &str =
    "what the person was asked about is not what would run now, so it was not run; ask them again";

/// The longest label of a scope's button, in characters.
const LABEL: usize = 40;

/// What a machine's own law says of a call.
enum Law {
    Allows,
    /// Its owner is asked there, and nobody else need be.
    AsksAtHome,
    Asks,
    Denies,
}

impl Heart {
    /// What is known about a call before anyone is asked: what no machine would run, nobody is asked about; what the law of each machine
    /// allows, or asks its owner about, needs no question here. The order says that nobody was asked here, so that a machine whose law has
    /// changed meanwhile asks.
    pub(super) fn consent_at_home(&self, conversation: &str, call: &ToolCall) -> Result<Consent> {
        let command = ShellRun::deserialize(&call.arguments).ok();
        let argv = command.as_ref().map(|command| command.argv.as_slice());
        let able = self.able_hellos(conversation, call)?;
        if able.is_empty() && argv.is_some() {
            return Ok(Consent::Forbidden(NO_MACHINE.to_owned()));
        }
        let laws = able.iter().map(|(_, hello)| {
            let hello = hello.as_ref();
            hello.map_or(Law::Asks, |hello| law(hello, &call.tool, argv))
        });
        let (mut all_need_none, mut all_deny) = (!able.is_empty(), !able.is_empty());
        for law in laws {
            all_need_none &= matches!(law, Law::Allows | Law::AsksAtHome);
            all_deny &= matches!(law, Law::Denies);
        }
        if all_need_none {
            return Ok(Consent::Given);
        }
        if !all_deny {
            return Ok(Consent::Ask);
        }
        let names: Vec<&str> = able.iter().map(|(name, _)| name.as_str()).collect();
        Ok(Consent::Forbidden(format!(
            "the policy of {} does not list this command; only its owner can add it there, in policy.toml",
            names.join(", ")
        )))
    }

    /// How the person is asked about a call.
    pub(super) fn question(&self, conversation: &str, call: &ToolCall) -> (String, Vec<Button>) {
        let machine = self.machine_in_words(conversation, call);
        let mut text = format!(
            "May I run this on {machine}?\n```\n{}\n```",
            console::literal(call)
        );
        if let Ok(Some(origin)) = self.origin_of_wish(conversation) {
            text.push('\n');
            text.push_str(&origin);
        }
        let digest = self.digest(conversation, call).unwrap_or_default();
        let button = |label: &str, action: &str| Button {
            label: label.to_owned(),
            action: format!("{action}:{}:{digest}", call.id),
        };
        let mut buttons = vec![button("Yes, this once", "ok"), button("No", "no")];
        let scopes = self.scopes_at_home(conversation, call);
        if scopes.is_ok_and(|scopes| !scopes.is_empty()) {
            buttons.insert(1, button("Always…", "always"));
        }
        (text, buttons)
    }

    /// The person's yes or no. False if the question is open no more, or the yes was to something else: it counts for what they were
    /// shown and nothing else: the call, its arguments, the machine.
    pub(super) fn decided(
        self: &Rc<Self>,
        conversation: &str,
        answer: &str,
        decision: Decision,
    ) -> Result<bool> {
        let (id, digest) = answer.split_once(':').unwrap_or((answer, ""));
        let call = CallId(id.to_owned());
        if decision == Decision::No {
            return self.step_if(conversation, |_, machine| {
                let (call, at) = (call.clone(), now());
                let open = driver::question(machine, &call).is_some();
                Ok(open.then_some(Event::Decided { call, decision, at }))
            });
        }
        let judge = |open: &ToolCall| {
            if self.digest(conversation, open)? != digest {
                return Ok(Agreed::ToSomethingElse(CHANGED.to_owned()));
            }
            let meant = self.machine_for(conversation, open)?;
            Ok(Agreed::On(meant.map(|(id, _)| id)))
        };
        let (counts, acts) = self.driver.agreed(conversation, &call, judge, now())?;
        self.act(acts);
        Ok(counts)
    }

    /// What a person reads who wants no further question about such a call, and the scopes to choose from. The rule itself is made at
    /// home: no message can make one.
    pub(super) fn scopes_to_choose(
        &self,
        conversation: &str,
        answer: &str,
    ) -> Result<Option<(String, Vec<Button>)>> {
        let (id, digest) = answer.split_once(':').unwrap_or((answer, ""));
        let machine = self.driver.conversation(conversation)?;
        let Some(call) = driver::question(&machine, &CallId(id.to_owned())) else {
            return Ok(None);
        };
        let scopes = self.scopes_at_home(conversation, &call)?;
        if scopes.is_empty() || self.digest(conversation, &call)? != digest {
            return Ok(None);
        }
        let lines: Vec<String> = scopes
            .iter()
            .map(|wish| format!("- {}", in_words(wish, usize::MAX)))
            .collect();
        let choice = |wish: &Wish| Button {
            label: in_words(wish, LABEL).replace('`', ""),
            action: format!("scope:{}:{id}:{digest}", key(wish)),
        };
        let buttons = scopes.iter().map(choice).chain([Button {
            label: "Never mind".to_owned(),
            action: "nevermind:".to_owned(),
        }]);
        Ok(Some((
            format!(
                "What should {} run from now on without asking? I ask for the rule there; it is made when you say yes at the machine, and not before.\n{}\n\nThe question above is still open.",
                self.machine_in_words(conversation, &call),
                lines.join("\n")
            ),
            buttons.collect(),
        )))
    }

    /// Wishes for the rule of a scope, at the machine that the open question is about. False if that question is open no more or was about
    /// something else, or the rule was wished for before.
    pub(super) fn wish_for_a_rule(
        self: &Rc<Self>,
        conversation: &str,
        answer: &str,
    ) -> Result<bool> {
        let mut parts = answer.splitn(3, ':');
        let (Some(scope), Some(id), Some(digest)) = (parts.next(), parts.next(), parts.next())
        else {
            return Ok(false);
        };
        let asked = CallId(id.to_owned());
        self.step_if(conversation, |rows, machine| {
            let Some(open) = driver::question(machine, &asked) else {
                return Ok(None);
            };
            if self.digest(conversation, &open)? != digest {
                return Ok(None);
            }
            let meant = self.machine_for(conversation, &open)?.map(|(id, _)| id);
            let mut scopes = self.scopes_at_home(conversation, &open)?.into_iter();
            let wish = scopes.find(|wish| key(wish) == scope);
            let (Some(wish), Some(meant)) = (wish, meant) else {
                return Ok(None);
            };
            let errand = format!("rule-{id}-{scope}");
            let call = ToolCall {
                id: CallId(errand.clone()),
                tool: ToolName::new(PROPOSE),
                arguments: serde_json::to_value(&wish)?,
            };
            if rows.call(&call.id)?.is_some() {
                return Ok(None);
            }
            // With the wish: no other machine is asked for it.
            rows.put_call(&HomeCall {
                call: call.clone(),
                conversation: conversation.to_owned(),
                meant: Some(meant),
                bridge: None,
                session: None,
                receipt: None,
                done: false,
                at: now(),
                ended_at: None,
            })?;
            Ok(Some(Event::Wished {
                errand,
                calls: vec![call],
                at: now(),
            }))
        })
    }

    /// The scopes of a call, as far as its machine has said which rules it has.
    fn scopes_at_home(&self, conversation: &str, call: &ToolCall) -> Result<Vec<Wish>> {
        let Some((_, name)) = self.machine_for(conversation, call)? else {
            return Ok(Vec::new());
        };
        let mut able = self.able_hellos(conversation, call)?.into_iter();
        let hello = able.find(|(other, _)| *other == name);
        Ok(match hello.and_then(|(_, hello)| hello) {
            Some(hello) => scopes(&hello, call),
            None => Vec::new(),
        })
    }

    fn machine_in_words(&self, conversation: &str, call: &ToolCall) -> String {
        let chosen = self.machine_for(conversation, call).ok().flatten();
        chosen.map_or_else(|| "your machine".to_owned(), |(_, name)| name)
    }

    /// Names what a person is asked about: the call and the machine.
    fn digest(&self, conversation: &str, call: &ToolCall) -> Result<String> {
        let machine = self.machine_for(conversation, call)?;
        let (id, name) = machine.unwrap_or_default();
        let hash = call_hash(&call.tool, &call.arguments);
        let asked = format!("{}\n{hash}\n{id}\n{name}", call.id);
        Ok(sha256_hex(asked.as_bytes())[..DIGEST].to_owned())
    }

    /// Where the wish came from: what the person wrote last, and whether something that is not theirs was read since.
    fn origin_of_wish(&self, conversation: &str) -> Result<Option<String>> {
        let (mut said, mut read) = (None, None);
        for entry in store::since_the_turn_began(self.db(), conversation)? {
            match entry.line {
                Line::Person { text, trust, .. } => {
                    said.get_or_insert_with(|| {
                        console::visible(&text)
                            .chars()
                            .take(WORDS)
                            .collect::<String>()
                    });
                    if trust != Trust::Owner {
                        read = Some("words that you passed on".to_owned());
                    }
                }
                Line::Result { tool, trust, .. } if trust != Trust::Owner => {
                    read = Some(format!("what `{tool}` brought, which is not your word"));
                }
                Line::Result { .. } | Line::Agent { .. } | Line::Note { .. } => {}
            }
        }
        let said = said.map(|said| format!("You wrote: “{said}”"));
        let read = read.map(|read| format!("⚠ I wish it after reading {read}."));
        let lines: Vec<String> = said.into_iter().chain(read).collect();
        Ok((!lines.is_empty()).then(|| lines.join("\n")))
    }
}

/// What a machine's law, as far as its hello tells it, says of a call. Of a command that a rule allows, words may follow that only the
/// machine can judge: those that look like no option, or any where it has said that it knows them.
fn law(hello: &Hello, tool: &ToolName, argv: Option<&[String]>) -> Law {
    if hello.home_tools.contains(&tool.0) {
        return Law::AsksAtHome;
    }
    let Some(argv) = argv else {
        return Law::Asks;
    };
    let begins = |rules: &[Vec<String>]| rules.iter().any(|rule| argv.starts_with(rule));
    let is_among = |rules: &[Vec<String>]| rules.iter().any(|rule| rule == argv);
    let plainly = |rule: &Vec<String>| {
        let rest = argv.strip_prefix(rule.as_slice());
        rest.is_some_and(|rest| rest.iter().all(|word| is_plain(word)))
    };
    if begins(&hello.home_commands) {
        Law::AsksAtHome
    } else if hello.asking_tools.contains(&tool.0) {
        Law::Asks
    } else if is_among(&hello.commands) && !is_among(&hello.asking_commands) {
        Law::Allows // word for word, whatever is asked about that begins so
    } else if begins(&hello.asking_commands) {
        Law::Asks
    } else if begins(&hello.free_commands) || hello.commands.iter().any(plainly) {
        Law::Allows
    } else if begins(&hello.commands) {
        Law::Asks
    } else {
        Law::Denies
    }
}

/// Whether a word looks like no option, no list of words, and like nothing else that it is not.
fn is_plain(word: &str) -> bool {
    !word.is_empty()
        && !word.starts_with(['-', '+', '@'])
        && word.chars().all(|c| c == ' ' || c.is_ascii_graphic())
}

/// The rules that would answer such a question for good, the narrowest first. None where a machine could not be asked for one. What
/// begins as a rule that asks can be allowed as that rule says it or word for word: one in between would not be heeded.
fn scopes(hello: &Hello, call: &ToolCall) -> Vec<Wish> {
    let Ok(ShellRun { argv, .. }) = ShellRun::deserialize(&call.arguments) else {
        return Vec::new();
    };
    let wish = |words: &[String], exact| Wish {
        allow: words.to_vec(),
        exact,
    };
    let asking = hello.asking_commands.iter();
    let asking = asking
        .filter(|rule| argv.starts_with(rule))
        .max_by_key(|rule| rule.len());
    let mut scopes = vec![wish(&argv, true)];
    if let Some(rule) = asking {
        scopes.push(wish(rule, false));
    } else {
        scopes.extend(argv.get(..2).map(|words| wish(words, false)));
        scopes.extend(argv.get(..1).map(|words| wish(words, false)));
        scopes.retain(|wish| wish.exact || !hello.commands.contains(&wish.allow));
    }
    scopes.retain(Wish::fits);
    scopes
}

/// What names a scope in a button: whatever the machine says of its rules meanwhile, no other is meant.
fn key(wish: &Wish) -> String {
    let told = format!("{} {:?}", wish.exact, wish.allow);
    sha256_hex(told.as_bytes())[..8].to_owned()
}

/// A scope, as a person chooses it.
fn in_words(wish: &Wish, limit: usize) -> String {
    let words: Vec<String> = wish
        .allow
        .iter()
        .map(|word| console::quoted(word))
        .collect();
    let words = words.join(" ").replace('`', "'");
    let words = match words.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    };
    match (wish.exact, wish.allow.len()) {
        (true, _) => format!("Exactly this: `{words}`"),
        (false, 1) => format!("`{words}`, whatever follows"),
        (false, _) => format!("Everything that begins `{words}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn verdict(hello: &Hello, tool: &str, text: &str) -> &'static str {
        let words = words(text);
        let argv = (!text.is_empty()).then_some(words.as_slice());
        match law(hello, &ToolName::new(tool), argv) {
            Law::Allows => "allows",
            Law::AsksAtHome => "asks at home",
            Law::Asks => "asks",
            Law::Denies => "denies",
        }
    }

    #[test]
    fn what_a_machine_allows_or_asks_about_itself_needs_no_question() {
        let mut hello: Hello = serde_json::from_value(serde_json::json!({
            "version": "0", "platform": "linux", "tools": [], "roots": [], "policy_sha256": "",
            "commands": [["git", "status"], ["ls"], ["touch"], ["touch", "x", "y"], ["mystery"], ["sh"]],
            "asking_commands": [["touch"], ["sh"]], "free_commands": [["git", "status"]],
            "home_commands": [["sh"]], "home_tools": ["process.write"],
        }))
        .unwrap();
        for (command, expected) in [
            ("git status", "allows"),
            ("git status -s", "allows"),
            ("git status --exec=x", "allows"), // the machine denies it
            ("ls", "allows"),
            ("ls a", "allows"),
            ("ls -l", "asks"),
            ("mystery @list", "asks"),
            ("mystery +x", "asks"),
            ("mystery \u{2013}x", "asks"),
            ("mystery a\nb", "asks"),
            ("mystery a  b", "asks"), // an empty word
            ("touch", "asks"),
            ("touch a", "asks"),
            ("touch x y", "allows"), // word for word
            ("touch x y z", "asks"),
            ("sh", "asks at home"),
            ("sh -c x", "asks at home"),
            ("git push", "denies"),
            ("git", "denies"),
        ] {
            assert_eq!(verdict(&hello, "shell.run", command), expected, "{command}");
        }
        assert_eq!(verdict(&hello, "process.write", ""), "asks at home");
        assert_eq!(verdict(&hello, "process.signal", ""), "asks");
        hello.asking_tools = vec!["shell.run".into()];
        assert_eq!(verdict(&hello, "shell.run", "ls"), "asks");
    }

    fn scopes_of(asking: &[&[&str]], allowed: &[&[&str]], argv: &[&str]) -> Vec<String> {
        let hello: Hello = serde_json::from_value(serde_json::json!({
            "version": "0", "platform": "linux", "tools": [], "roots": [], "policy_sha256": "",
            "commands": ([asking, allowed].concat()), "asking_commands": asking,
        }))
        .unwrap();
        let call = ToolCall {
            id: CallId("c".into()),
            tool: ToolName::new("shell.run"),
            arguments: serde_json::json!({ "argv": argv }),
        };
        let wishes = scopes(&hello, &call);
        wishes.iter().map(|wish| in_words(wish, 12)).collect()
    }

    #[test]
    fn only_the_scopes_that_differ_and_would_help_are_offered() {
        let none: &[&[&str]] = &[];
        assert_eq!(
            scopes_of(none, none, &["git", "status", "-s"]),
            [
                "Exactly this: `git status -…`",
                "Everything that begins `git status`",
                "`git`, whatever follows"
            ]
        );
        assert_eq!(
            scopes_of(none, none, &["ls"]),
            ["Exactly this: `ls`", "`ls`, whatever follows"]
        );
        assert_eq!(
            scopes_of(
                &[&["git", "remote", "show"], &["git"]],
                none,
                &["git", "remote", "show", "x"]
            ),
            [
                "Exactly this: `git remote s…`",
                "Everything that begins `git remote s…`"
            ]
        );
        assert_eq!(
            scopes_of(none, &[&["mystery"]], &["mystery", "-q"]),
            [
                "Exactly this: `mystery -q`",
                "Everything that begins `mystery -q`"
            ]
        );
        assert_eq!(scopes_of(none, none, &[]), [""; 0]);
        let long = "x".repeat(200 * 1024);
        assert_eq!(
            scopes_of(none, none, &["git", "log", &long]),
            [
                "Everything that begins `git log`",
                "`git`, whatever follows"
            ]
        );
        assert_eq!(scopes_of(none, none, &[&long]), [""; 0]);
        // What would end the code in the message, or turn it round, is shown as what it is.
        let odd = scopes_of(none, none, &["a`\u{202e}\n"]);
        assert!(
            odd.iter().all(|scope| scope.matches('`').count() == 2 && !scope.contains(['\u{202e}', '\n'])),
            "{odd:?}"
        );
    }
}
