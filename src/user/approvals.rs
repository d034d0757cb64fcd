//! Asking the person about a call: what they are shown, what their yes is bound to, and when no question is needed.

use super::{Heart, console, now, store};
use crate::error::Result;
use agent::event::{Button, Decision};
use agent::{Event, Line, Trust};
use driver::{Agreed, Consent, NO_MACHINE};
use protocol::call::{CallId, ToolCall};
use protocol::key::sha256_hex;
use protocol::session::Hello;
use protocol::token::call_hash;
use protocol::tools::ShellRun;
use serde::Deserialize;
use std::rc::Rc;

/// How much of the digest rides in a button: 64 bits, within Telegram's 64 bytes for all of it.
const DIGEST: usize = 16;

/// How much of the person's own words a question repeats, in characters.
const WORDS: usize = 80;

/// What the model reads when the yes was to something else.
const CHANGED: &str =
    "what the person was asked about is not what would run now, so it was not run; ask them again";

/// What a machine's own law says of a command.
enum Law {
    Allows,
    Asks,
    Denies,
}

impl Heart {
    /// What is known about a call before anyone is asked: what no machine would run, nobody is asked about; what the law of each machine
    /// allows word for word needs no question.
    pub(super) fn consent_at_home(&self, conversation: &str, call: &ToolCall) -> Result<Consent> {
        let Ok(ShellRun { argv, .. }) = ShellRun::deserialize(&call.arguments) else {
            return Ok(Consent::Ask);
        };
        let able = self.able_hellos(conversation, call)?;
        if able.is_empty() {
            return Ok(Consent::Forbidden(NO_MACHINE.to_owned()));
        }
        let laws = able
            .iter()
            .map(|(_, hello)| hello.as_ref().map_or(Law::Asks, |hello| law(hello, &argv)));
        let (mut all_allow, mut all_deny) = (true, true);
        for law in laws {
            all_allow &= matches!(law, Law::Allows);
            all_deny &= matches!(law, Law::Denies);
        }
        if all_allow {
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
        let buttons = vec![
            button("Yes, this once", "ok"),
            button("Always…", "always"),
            button("No", "no"),
        ];
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

    /// What a person reads who wants no further question about such a call. The rule is made at home, by hand: no message can make one.
    pub(super) fn always_words(&self, conversation: &str, answer: &str) -> Result<Option<String>> {
        let (id, _) = answer.split_once(':').unwrap_or((answer, ""));
        let machine = self.driver.conversation(conversation)?;
        let Some(call) = driver::question(&machine, &CallId(id.to_owned())) else {
            return Ok(None);
        };
        let Ok(ShellRun { argv, .. }) = ShellRun::deserialize(&call.arguments) else {
            return Ok(None);
        };
        let quoted: Vec<String> = argv.iter().map(|word| console::quoted(word)).collect();
        let mut scopes = vec![("exactly this", quoted.join(" "))];
        if argv.len() > 2 {
            scopes.push(("everything that begins so", quoted[..2].join(" ")));
        }
        if argv.len() > 1 {
            scopes.push(("this program, whatever follows", quoted[0].clone()));
        }
        let lines: Vec<String> = scopes
            .iter()
            .map(|(scope, words)| format!("- {scope}: `local-bridge policy allow {words}`"))
            .collect();
        Ok(Some(format!(
            "A rule for {} is made there, not here. On that machine, run one of these:\n{}\nThe question above is still open.",
            self.machine_in_words(conversation, &call),
            lines.join("\n")
        )))
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

/// What a machine's law, as far as its hello tells it, says of a command. Only the very words of a rule are known to need no question:
/// what may follow them, the machine alone can judge.
fn law(hello: &Hello, argv: &[String]) -> Law {
    let begins = |rules: &[Vec<String>]| rules.iter().any(|rule| argv.starts_with(rule));
    if begins(&hello.asking_commands) {
        Law::Asks
    } else if hello.commands.iter().any(|rule| rule == argv) {
        Law::Allows
    } else if begins(&hello.commands) {
        Law::Asks
    } else {
        Law::Denies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn only_the_very_words_of_a_rule_need_no_question() {
        let hello: Hello = serde_json::from_value(serde_json::json!({
            "version": "0", "platform": "linux", "tools": [], "roots": [], "policy_sha256": "",
            "commands": [["git", "status"], ["ls"], ["touch"]],
            "asking_commands": [["touch"]],
        }))
        .unwrap();
        let verdict = |text| match law(&hello, &words(text)) {
            Law::Allows => "allows",
            Law::Asks => "asks",
            Law::Denies => "denies",
        };
        for (command, expected) in [
            ("git status", "allows"),
            ("git status -s", "asks"),
            ("ls", "allows"),
            ("touch", "asks"),
            ("touch a", "asks"),
            ("git push", "denies"),
            ("git", "denies"),
        ] {
            assert_eq!(verdict(command), expected, "{command}");
        }
    }
}
