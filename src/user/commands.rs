//! What the person does, as it comes from any chat app: words go to the agent; commands and presses are answered here, without a model.

use super::machines::HEARD_IN;
use super::people::MEMBERS_ONLY;
use super::{CONSOLE, Errand, Heart, now, store, undo};
use crate::channels::{Channel, Deed, Inbound};
use crate::console::sign_in_link;
use crate::directory::Directory;
use crate::error::Result;
use crate::models::parse_chain;
use agent::event::{Button, Decision, Message, SayId};
use agent::{Event, Trust, tool};
use driver::{Act, Delivery};
use protocol::key::sha256_hex;
use serde::{Deserialize, Serialize};
use std::rc::Rc;
use worker::Response;

const HELP: &str = "I am Bernard. Write to me in your own words; I can look at, find, send and write files on your machine, run the \
commands that its policy allows, and remember what you tell me.

/pair – join a machine
/bridges – your machines; revoke one, or /bridges rename OLD NEW
/undo – take back the last change of a file
/receipts – what they have signed for
/new – a fresh conversation
/memory – what I remember; /memory forget NUMBER takes it back
/model – which model I ask, or another
/usage – what it has cost in tokens
/console – a link to the web page
/people – who may talk to me
/status – what is going on
/stop – stop what I am doing
/panic – stop everything and cut every machine off; /resume in the console ends it
/help – this text";

/// What a press has done, in words that the person sees for a moment.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pressed {
    /// It did what it says; the buttons go.
    Done(&'static str),
    /// It did something, and the buttons stay.
    StaysOpen(&'static str),
    /// It does nothing any more.
    Nothing,
}

/// A delivery as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Received {
    /// What the person did.
    pub(super) inbound: Inbound,
    /// With it they became the owner.
    pub(super) claimed: bool,
}

impl Heart {
    /// Takes what the front of the Worker passes on. When this has answered, the delivery is safe.
    pub(super) fn take(
        self: &Rc<Self>,
        inbound: Inbound,
        origin: &str,
        claimed: bool,
    ) -> Result<Response> {
        store::set_meta(self.db(), "origin", origin)?;
        self.note_heard(&inbound)?;
        self.show_seen(&inbound);
        self.receive(inbound, claimed)?;
        Ok(Response::empty()?)
    }

    /// Stores a delivery, to be handled at once; a repeat changes nothing.
    pub(super) fn receive(self: &Rc<Self>, inbound: Inbound, claimed: bool) -> Result<()> {
        let received = Received { inbound, claimed };
        let delivery = Delivery {
            id: received.inbound.delivery.clone(),
            conversation: received.inbound.conversation(),
            payload: serde_json::to_string(&received)?,
        };
        store::set_meta(self.db(), HEARD_IN, &delivery.conversation)?;
        let acts = self.driver.take(&delivery, now())?;
        self.act(acts);
        Ok(())
    }

    /// Handles a stored delivery. Cut off before its end, it is handled again.
    pub(super) async fn take_in(self: &Rc<Self>, delivery: &Delivery) -> Result<Vec<Act>> {
        let Received { inbound, claimed } = serde_json::from_str(&delivery.payload)?;
        Ok(match inbound.deed {
            Deed::Wrote { .. } | Deed::Gave { .. } if self.frozen_since()?.is_some() => {
                let words = self.frozen_words()?.unwrap_or_default();
                let event = notice(&delivery.id, words, Vec::new());
                self.driver.handled(delivery, Some(&event), now())?
            }
            Deed::Wrote {
                text,
                quoted,
                attachments,
                forwarded,
            } => {
                let quoted = self.quoted(quoted, inbound.answers.as_deref())?;
                let message = Message {
                    text,
                    quoted,
                    attachments,
                    trust: trust(forwarded),
                    at: inbound.at,
                };
                self.driver.said(delivery, &message, now())?
            }
            Deed::Gave {
                media,
                text,
                quoted,
                forwarded,
            } => {
                let (what, file) = match self.fetch_media(&delivery.conversation, &media).await? {
                    Ok(file) => (format!("[{}]", media.kind), Some(file)),
                    Err(why) => (format!("[{}; not here: {why}]", media.kind), None),
                };
                let message = Message {
                    text: format!("{what} {text}").trim().to_owned(),
                    quoted: self.quoted(quoted, inbound.answers.as_deref())?,
                    attachments: file.into_iter().collect(),
                    trust: trust(forwarded),
                    at: inbound.at,
                };
                self.driver.said(delivery, &message, now())?
            }
            Deed::Commanded { name, argument } => {
                let event = if claimed {
                    notice(&delivery.id, welcome(), Vec::new())
                } else {
                    let session = (inbound.channel == Channel::Console).then_some(&*inbound.sender);
                    self.command(delivery, session, &name, &argument).await?
                };
                self.driver.handled(delivery, Some(&event), now())?
            }
            Deed::Pressed {
                action,
                press,
                message,
            } => {
                let pressed = self.pressed(&delivery.conversation, &action).await?;
                self.settle_press(&delivery.conversation, &press, &message, pressed);
                if delivery.conversation == CONSOLE {
                    self.settle_item(&message, &action, pressed)?;
                }
                self.driver.handled(delivery, None, now())?
            }
            Deed::Unreadable { kind } => {
                let text = format!(
                    "I cannot open this kind of message yet ({kind}). Write it to me as text."
                );
                let event = notice(&delivery.id, text, Vec::new());
                self.driver.handled(delivery, Some(&event), now())?
            }
        })
    }

    /// What a message came with, or else what it answers.
    fn quoted(&self, quoted: Option<String>, answers: Option<&str>) -> Result<Option<String>> {
        match (quoted, answers) {
            (None, Some(message)) => self.words_sent(message),
            (quoted, _) => Ok(quoted),
        }
    }

    /// Does a command; what it tells the agent is saved as the command's end. `session` is the console's, where it comes from there.
    async fn command(
        self: &Rc<Self>,
        delivery: &Delivery,
        session: Option<&str>,
        name: &str,
        argument: &str,
    ) -> Result<Event> {
        let conversation = &delivery.conversation;
        let is_allowed = matches!(name, "start" | "help" | "status" | "panic" | "resume");
        if !is_allowed && let Some(words) = self.frozen_words()? {
            return Ok(notice(&delivery.id, words, Vec::new())); // whoever has stolen the chat shall get nothing more from it
        }
        let text = match name {
            "start" => format!("Hello.\n\n{HELP}"),
            "help" => HELP.to_owned(),
            "status" => self.status(conversation)?,
            "panic" => self.freeze(session).await?,
            "resume" => self.thaw_from(session).await?,
            "receipts" => self.receipts()?,
            "new" => self.begin_anew(conversation)?,
            "usage" => self.usage_words()?,
            "memory" => self.memory_words(argument)?,
            "model" => self.model_words(argument).await?,
            "stop" if self.driver.conversation(conversation)?.is_idle() => {
                "There is nothing to stop.".to_owned()
            }
            "stop" => return Ok(Event::Stopped { at: now() }),
            "undo" => {
                let cause = sha256_hex(delivery.id.as_bytes());
                return Ok(undo::undo_last(&cause[..16]));
            }
            "pair" | "console" if self.is_guest().await? => MEMBERS_ONLY.to_owned(),
            "people" => {
                let (text, buttons) = self.people(argument).await?;
                return Ok(notice(&delivery.id, text, buttons));
            }
            "pair" => self.offer_pairing_in_chat(conversation).await?,
            "bridges" if !argument.is_empty() => self.rename_bridge(argument).await?,
            "bridges" => {
                let (text, buttons) = self.bridges_card()?;
                return Ok(notice(&delivery.id, text, buttons));
            }
            "console" => self.console_link().await?,
            unknown => format!("I do not know /{unknown}.\n\n{HELP}"),
        };
        Ok(notice(&delivery.id, text, Vec::new()))
    }

    /// What a press does.
    async fn pressed(self: &Rc<Self>, conversation: &str, action: &str) -> Result<Pressed> {
        let refuses = [
            "no:",
            "pair:no:",
            "revoke:",
            "people:no:",
            "people:block:",
            "people:out:",
        ];
        if self.frozen_since()?.is_some() && !refuses.iter().any(|word| action.starts_with(word)) {
            return Ok(Pressed::StaysOpen("Everything is frozen"));
        }
        let (done, words) = match action.split_once(':') {
            Some(("ok", call)) => (self.decided(conversation, call, Decision::Once)?, "Running"),
            Some(("no", call)) => (self.decided(conversation, call, Decision::No)?, "Not run"),
            Some(("undo", turn)) => (self.undo_turn(conversation, turn)?, "Undoing"),
            Some(("always", call)) => {
                let Some((words, scopes)) = self.scopes_to_choose(conversation, call)? else {
                    return Ok(Pressed::Nothing);
                };
                self.tell(conversation, action, words, scopes)?;
                return Ok(Pressed::StaysOpen("The question is still open"));
            }
            Some(("scope", answer)) => (
                self.wish_for_a_rule(conversation, answer)?,
                "Say yes at the machine",
            ),
            Some(("nevermind", _)) => (true, "As it was"),
            Some(("pair", answer)) => match answer.split_once(':') {
                Some(("yes", id)) => (self.confirm_bridge(id).await?, "Connected"),
                Some(("no", id)) => (self.revoke_bridge(id).await?, "Turned away"),
                Some(_) | None => (false, ""),
            },
            Some(("people", answer)) => return self.judge_stranger(answer).await,
            Some(("revoke", id)) => (self.revoke_bridge(id).await?, "Revoked"),
            Some(_) | None => (false, ""),
        };
        Ok(if done {
            Pressed::Done(words)
        } else {
            Pressed::Nothing
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
        self.step(conversation, &notice(cause, text, buttons))
    }

    fn status(&self, conversation: &str) -> Result<String> {
        let machine = self.driver.conversation(conversation)?;
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
        let model = match parse_chain(&self.model_chain()?) {
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
        let doubtful = match store::doubtful(self.db(), now())? {
            0 => String::new(),
            count => format!("\nMessages today that may not have arrived: {count}"),
        };
        if let Some(words) = self.frozen_words()? {
            return Ok(words);
        }
        let store::Usage { tokens, rows } = store::usage(self.db(), now())?;
        Ok(format!(
            "Doing: {doing}\nModel: {model}\nMachines: {machines}\nToday: {tokens} tokens, {rows} rows written{doubtful}"
        ))
    }

    async fn console_link(&self) -> Result<String> {
        let origin = store::meta(self.db(), "origin")?.unwrap_or_default();
        let directory = Directory::new(&self.env)?;
        let link = sign_in_link(&directory, &origin, &self.user(), now()).await?;
        if let Some(words) = self.frozen_words()? {
            directory.drop_sign_in_links(&self.user()).await?; // a panic came in between
            return Ok(words);
        }
        Ok(format!(
            "Open this within ten minutes; it works once:\n{link}"
        ))
    }

    /// Whose object this is.
    pub(super) fn user(&self) -> String {
        self.state.id().name().unwrap_or_default()
    }
}

/// Who stands behind what a person sent: of what they passed on, not they.
fn trust(forwarded: bool) -> Trust {
    if forwarded { Trust::Kept } else { Trust::Owner }
}

/// Something said outside any turn, once for each `cause`.
fn notice(cause: &str, text: String, buttons: Vec<Button>) -> Event {
    let say = SayId(format!("notice-{}", &sha256_hex(cause.as_bytes())[..16]));
    Event::Notice { say, text, buttons }
}

/// Greets the person whose claim was just taken.
fn welcome() -> String {
    format!("Welcome. You are my owner now, and this claim works for nobody else.\n\n{HELP}")
}

impl Errand {
    /// The errand as JSON.
    pub(crate) fn encode(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}
