//! What became of messages after their app had taken them: noted, and told where one never arrived.

use super::window::SILENCE_MILLIS;
use super::{Heart, now};
use crate::channels::app::App;
use crate::channels::{Arrival, Fate};
use crate::error::Result;
use agent::event::SayId;
use agent::{Content, Event};
use driver::{Parcel, Rows, Sending, SendingState, What};
use protocol::key::sha256_hex;
use serde::Deserialize;
use std::rc::Rc;
use worker::{Response, console_log};

/// What begins the name of a text that is said again: that one is not said a third time.
const AGAIN: &str = "again-";

/// How much of a message is quoted that a person answers, in characters.
const QUOTED: usize = 1_000;

#[derive(Deserialize)]
struct Known {
    conversation: String,
    say: String,
    part: u32,
    text: String,
    heard: String,
}

#[derive(Deserialize)]
struct State {
    state: String,
    code: Option<i64>,
}

#[derive(Deserialize)]
struct Words {
    text: String,
}

impl Heart {
    /// Notes what an app has taken, where it tells afterwards what became of it; the news may be here already.
    pub(super) fn expect_fate(
        self: &Rc<Self>,
        conversation: &str,
        parcel: &Parcel,
        message: &str,
    ) -> Result<()> {
        let tells = App::of(conversation, &self.config).is_ok_and(|(app, _)| app.tells_fates());
        if !tells {
            return Ok(());
        }
        let text = match &parcel.what {
            What::Said(_) | What::Question(_) if parcel.part > 0 => String::new(),
            What::Said(Content::Text { text, .. }) => text.clone(),
            What::Said(Content::File { file, .. }) => format!("[the file {}]", file.name),
            What::Question(call) => self.question(conversation, call).0,
        };
        let part = i64::try_from(parcel.part).unwrap_or(i64::MAX);
        let known: Option<State> = self.db().first(
            "INSERT INTO fates (message, conversation, say, part, text, heard, state, code, at) VALUES (?, ?, ?, ?, ?, ?, 'taken', NULL, ?)
             ON CONFLICT (message) DO UPDATE SET conversation = excluded.conversation, say = excluded.say, part = excluded.part,
               text = excluded.text, heard = excluded.heard
             RETURNING state, code",
            &[
                message.into(),
                conversation.into(),
                (&parcel.say).into(),
                part.into(),
                (&text).into(),
                (&self.last_heard(conversation)).into(),
                now().into(),
            ],
        )?;
        match known.filter(|known| known.state == "failed") {
            Some(failed) => self.never_arrived(message, failed.code.unwrap_or(0), "it failed"),
            None => Ok(()),
        }
    }

    /// An app tells what became of a message. News that is older than what is known changes nothing, nor does a repeat.
    pub(super) fn take_fate(self: &Rc<Self>, fate: &Fate) -> Result<Response> {
        let (state, code) = match &fate.arrival {
            Arrival::Sent => ("sent", None),
            Arrival::Delivered => ("delivered", None),
            Arrival::Read => ("read", None),
            Arrival::Failed { code, .. } => ("failed", Some(*code)),
        };
        let conversation = format!("{}:{}", fate.channel.name(), fate.person);
        let is_news = self.db().changed(
            "INSERT INTO fates (message, conversation, say, part, text, heard, state, code, at) VALUES (?1, ?2, '', 0, '', '', ?3, ?4, ?5)
             ON CONFLICT (message) DO UPDATE SET state = excluded.state, code = excluded.code
             WHERE instr('taken sent delivered read failed', excluded.state) > instr('taken sent delivered read failed', fates.state)
             RETURNING 1",
            &[
                (&fate.message).into(),
                (&conversation).into(),
                state.into(),
                code.map_or(super::db::Bind::Null, super::db::Bind::Int),
                now().into(),
            ],
        )?;
        if is_news && let Arrival::Failed { code, reason } = &fate.arrival {
            console_log!("{} never arrived: {reason} ({code})", fate.message);
            self.never_arrived(&fate.message, *code, reason)?;
        }
        Ok(Response::empty()?)
    }

    /// Says again, once, what never arrived: after the person's next message where that was the reason, else where they can be reached.
    fn never_arrived(self: &Rc<Self>, message: &str, code: i64, reason: &str) -> Result<()> {
        let known: Option<Known> = self.db().first(
            "SELECT conversation, say, part, text, heard FROM fates WHERE message = ?",
            &[message.into()],
        )?;
        let Some(known) = known.filter(|known| !known.say.is_empty()) else {
            return Ok(()); // nothing of ours, such as a nudge
        };
        let Ok((app, _)) = App::of(&known.conversation, &self.config) else {
            return Ok(());
        };
        let silence = app.is_silence(code);
        let trace = self.trace(&known.conversation);
        if silence && self.last_heard(&known.conversation) == known.heard {
            self.note_silence(&known.conversation, trace.as_ref()); // they have not written since
        }
        if silence && known.say.starts_with("question:") {
            return self.ask_again(&known);
        }
        if known.say.starts_with(AGAIN) {
            return Ok(());
        }
        let text = self.text_of(&known)?;
        let (place, text) = if silence {
            (known.conversation, text)
        } else {
            let place = self.elsewhere(&known.conversation)?;
            let text = format!(
                "What I wrote on {} did not reach you ({reason}):\n\n{text}",
                app.name()
            );
            (place, text)
        };
        let say = SayId(format!("{AGAIN}{}", &sha256_hex(message.as_bytes())[..16]));
        let buttons = Vec::new();
        self.step(&place, &Event::Notice { say, text, buttons })
    }

    /// A question that nobody has seen: as one in doubt, which is asked once more.
    fn ask_again(self: &Rc<Self>, known: &Known) -> Result<()> {
        let id = format!("{}#{}", known.say, known.part);
        if let Some(sending) = self.db().sending(&id)?
            && sending.state == SendingState::Sent
        {
            self.db().put_sending(&Sending {
                state: SendingState::Unknown,
                next_at: now() + SILENCE_MILLIS,
                ..sending
            })?;
            self.resume();
        }
        Ok(())
    }

    fn text_of(&self, known: &Known) -> Result<String> {
        if known.part == 0 {
            return Ok(known.text.clone());
        }
        let first: Option<Words> = self.db().first(
            "SELECT text FROM fates WHERE say = ? AND part = 0",
            &[(&known.say).into()],
        )?;
        Ok(first.map_or_else(|| known.text.clone(), |first| first.text))
    }

    /// What Bernard wrote in a message that a person answers, where that is still known.
    pub(super) fn words_sent(&self, message: &str) -> Result<Option<String>> {
        let found: Option<Words> = self.db().first(
            "SELECT text FROM fates WHERE message = ?",
            &[message.into()],
        )?;
        let words = found.map(|found| found.text.chars().take(QUOTED).collect::<String>());
        Ok(words.filter(|words| !words.is_empty()))
    }
}
