//! What the person does, as it comes from any chat app: words go to the agent; commands and presses are answered here, without a model.

use super::{CONSOLE, Errand, Heart, now, store};
use crate::channels::{Channel, Deed, Inbound};
use crate::console::sign_in_link;
use crate::directory::Directory;
use crate::error::Result;
use crate::models::parse_chain;
use agent::event::{Button, Decision, Message, SayId};
use agent::{Effect, Event, Trust, tool};
use protocol::call::CallId;
use protocol::key::sha256_hex;
use std::rc::Rc;
use worker::Response;

const HELP: &str = "I am Bernard. Write to me in your own words; I can look at, find, send and write files on your machine, run the \
commands that its policy allows, and remember what you tell me.

/pair – join a machine
/bridges – your machines; revoke one
/console – a link to the web page
/status – what is going on
/stop – stop what I am doing
/help – this text";

impl Heart {
    /// Takes what the front of the Worker passes on. When this has answered, the delivery is safe.
    pub(super) async fn take(
        self: &Rc<Self>,
        inbound: Inbound,
        origin: &str,
        claimed: bool,
    ) -> Result<Response> {
        store::set_meta(&self.db, "origin", origin)?;
        if claimed {
            self.welcome(&inbound)?;
        } else {
            self.take_in(inbound).await?;
        }
        Ok(Response::empty()?)
    }

    /// Greets the person whose claim was just taken; a repeat of the delivery says nothing more.
    fn welcome(self: &Rc<Self>, inbound: &Inbound) -> Result<()> {
        let text = format!(
            "Welcome. You are my owner now, and this claim works for nobody else.\n\n{HELP}"
        );
        if store::admit(&self.db, &inbound.delivery, now())? {
            self.tell(&conversation(inbound), &inbound.delivery, text, Vec::new())?;
        }
        Ok(())
    }

    /// Stores a delivery together with what it decides; a repeat changes nothing.
    pub(super) async fn take_in(self: &Rc<Self>, inbound: Inbound) -> Result<()> {
        let conversation = conversation(&inbound);
        let at = inbound.at;
        match inbound.deed {
            Deed::Wrote {
                text,
                quoted,
                forwarded,
            } => {
                let trust = if forwarded { Trust::Kept } else { Trust::Owner };
                let message = Message {
                    text,
                    quoted,
                    trust,
                    at,
                };
                let delivery = inbound.delivery;
                self.arm_in(super::step::BACKSTOP_MILLIS).await;
                self.step_if(&conversation, |db| {
                    if !store::admit(db, &delivery, now())? {
                        return Ok(None);
                    }
                    if is_stop_word(&message.text) && !store::load(db, &conversation)?.is_idle() {
                        return Ok(Some(Event::Stopped { at: now() }));
                    }
                    Ok(Some(Event::Said {
                        message: message.clone(),
                    }))
                })?;
                Ok(())
            }
            // Commands and presses may wait for D1. They count as taken when they are done: cut off before that, they come again.
            Deed::Commanded { name, .. } => {
                if store::is_admitted(&self.db, &inbound.delivery)? {
                    return Ok(());
                }
                self.command(&conversation, &inbound.delivery, &name)
                    .await?;
                store::admit(&self.db, &inbound.delivery, now())?;
                Ok(())
            }
            Deed::Pressed {
                action,
                press,
                message,
            } => {
                if store::is_admitted(&self.db, &inbound.delivery)? {
                    return Ok(());
                }
                let told = self.pressed(&conversation, &action).await?;
                store::admit(&self.db, &inbound.delivery, now())?;
                self.settle_press(&conversation, &press, &message, told);
                if conversation == CONSOLE {
                    self.settle_item(&message, told.map(|_| action.as_str()))?;
                }
                Ok(())
            }
            Deed::Unreadable { kind } => {
                if !store::admit(&self.db, &inbound.delivery, now())? {
                    return Ok(());
                }
                let text = format!(
                    "I cannot open this kind of message yet ({kind}). Write it to me as text."
                );
                self.tell(&conversation, &inbound.delivery, text, Vec::new())
            }
        }
    }

    async fn command(
        self: &Rc<Self>,
        conversation: &str,
        delivery: &str,
        name: &str,
    ) -> Result<()> {
        let (text, buttons) = match name {
            "start" => (format!("Hello.\n\n{HELP}"), Vec::new()),
            "help" => (HELP.to_owned(), Vec::new()),
            "status" => (self.status(conversation)?, Vec::new()),
            "stop" if store::load(&self.db, conversation)?.is_idle() => {
                ("There is nothing to stop.".to_owned(), Vec::new())
            }
            "stop" => return self.step(conversation, &Event::Stopped { at: now() }),
            "pair" => (self.offer_pairing_in_chat(conversation).await?, Vec::new()),
            "bridges" => self.bridges_card()?,
            "console" => (self.console_link().await?, Vec::new()),
            unknown => (format!("I do not know /{unknown}.\n\n{HELP}"), Vec::new()),
        };
        self.tell(conversation, delivery, text, buttons)
    }

    /// What a press does, in words that the person sees for a moment; `None` if it does nothing any more.
    async fn pressed(
        self: &Rc<Self>,
        conversation: &str,
        action: &str,
    ) -> Result<Option<&'static str>> {
        let (done, words) = match action.split_once(':') {
            Some(("ok", call)) => (self.decided(conversation, call, Decision::Once)?, "Running"),
            Some(("no", call)) => (self.decided(conversation, call, Decision::No)?, "Not run"),
            Some(("pair", answer)) => match answer.split_once(':') {
                Some(("yes", id)) => (self.confirm_bridge(id).await?, "Connected"),
                Some(("no", id)) => (self.revoke_bridge(id).await?, "Turned away"),
                Some(_) | None => (false, ""),
            },
            Some(("revoke", id)) => (self.revoke_bridge(id).await?, "Revoked"),
            Some(_) | None => (false, ""),
        };
        Ok(done.then_some(words))
    }

    /// Passes an answer on if its question is open; false if it is not.
    fn decided(
        self: &Rc<Self>,
        conversation: &str,
        call: &str,
        decision: Decision,
    ) -> Result<bool> {
        let call = CallId(call.to_owned());
        self.step_if(conversation, |db| {
            let outstanding = store::load(db, conversation)?.outstanding();
            let open = outstanding.iter().any(
                |effect| matches!(effect, Effect::AskPerson { call: asked } if asked.id == call),
            );
            Ok(open.then(|| Event::Decided {
                call: call.clone(),
                decision,
                at: now(),
            }))
        })
    }

    /// Says something outside any turn, once for each `cause`.
    pub(super) fn tell(
        self: &Rc<Self>,
        conversation: &str,
        cause: &str,
        text: String,
        buttons: Vec<Button>,
    ) -> Result<()> {
        let say = SayId(format!("notice-{}", &sha256_hex(cause.as_bytes())[..16]));
        self.step(conversation, &Event::Notice { say, text, buttons })
    }

    fn status(&self, conversation: &str) -> Result<String> {
        let machine = store::load(&self.db, conversation)?;
        let doing = if machine.is_idle() {
            "nothing at the moment".to_owned()
        } else {
            let calls: Vec<String> = machine
                .calls()
                .map(|call| format!("`{}`", tool::brief(call)))
                .collect();
            if calls.is_empty() {
                "thinking".to_owned()
            } else {
                calls.join(", ")
            }
        };
        let model = match parse_chain(&self.config.model) {
            Ok(chain) => chain
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", then "),
            Err(error) => error.to_string(),
        };
        let bridges = self.bridges()?;
        let machines = if bridges.is_empty() {
            "none; /pair joins one".to_owned()
        } else {
            bridges
                .iter()
                .map(|bridge| format!("{} ({})", bridge.name, super::bridges::in_words(bridge)))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let doubtful = match store::doubtful(&self.db, now())? {
            0 => String::new(),
            count => format!("\nMessages today that may not have arrived: {count}"),
        };
        Ok(format!(
            "Doing: {doing}\nModel: {model}\nMachines: {machines}{doubtful}"
        ))
    }

    async fn console_link(&self) -> Result<String> {
        let origin = store::meta(&self.db, "origin")?.unwrap_or_default();
        let directory = Directory::new(&self.env)?;
        let link = sign_in_link(&directory, &origin, &self.user(), now()).await?;
        Ok(format!(
            "Open this within ten minutes; it works once:\n{link}"
        ))
    }

    /// Whose object this is.
    pub(super) fn user(&self) -> String {
        self.state.id().name().unwrap_or_default()
    }
}

/// Whether a whole message is a word with which people stop a program; it means that only while there is something to stop.
fn is_stop_word(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "stop",
        "abort",
        "cancel",
        "esc",
        "exit",
        "interrupt",
        "wait",
        "arrête",
        "annule",
        "attends",
    ];
    let word = text.trim().trim_end_matches(['.', '!']).to_lowercase();
    WORDS.contains(&word.as_str())
}

fn conversation(inbound: &Inbound) -> String {
    match inbound.channel {
        Channel::Telegram => format!("telegram:{}", inbound.chat),
        Channel::Console => CONSOLE.to_owned(),
    }
}

impl Errand {
    /// The errand as JSON.
    pub(crate) fn encode(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_word_is_the_whole_message() {
        for word in ["stop", " Stop! ", "STOP.", "Arrête"] {
            assert!(is_stop_word(word), "{word}");
        }
        for text in ["stop the music at nine", "bus stop", "", "don't stop"] {
            assert!(!is_stop_word(text), "{text}");
        }
    }
}
