//! The chat apps as the rest of the house sees them: one list, and what each can be asked for. Which app it is, only this list knows.

use super::markup::{self, Chunk};
use super::telegram::{self, Acting};
use super::whatsapp;
use super::{Channel, Fate, Inbound, Media, Outgoing};
use crate::config::Config;
use crate::door::webhook::Proven;
use agent::event::Button;
use http::HeaderMap;
use protocol::call::FileRef;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How many messages one text may take; what is longer is no answer for a chat.
pub(super) const MESSAGES: usize = 10;

/// What stands for the rest of such a text.
pub(super) const CUT: &str = "[This is too long for a chat, so I stop here. Ask me for the part you need, or for it as a file.]";

/// An app that can be spoken through, with what it takes to reach it.
#[derive(Debug)]
pub enum App {
    /// Telegram's Bot API.
    Telegram(telegram::Api),
    /// WhatsApp's Cloud API.
    WhatsApp(whatsapp::Api),
}

/// What an app made of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Ok {
        /// The message that came of it, where one did.
        message_id: Option<String>,
    },
    /// Too much at once: nothing was taken; the same may be sent again after so many seconds.
    RetryAfter(u64),
    /// The markup is wrong: nothing was taken; the plain text will be.
    CannotParse,
    /// The person cannot be reached; this is the reason.
    Blocked(String),
    /// Nothing is taken before the person has written again; this is the reason.
    Silenced(String),
    /// The request is wrong and will stay so; this is the reason.
    Refused(String),
    /// The app says in its own words that it failed; in practice nothing was taken, so that one more try is right.
    Broken(String),
    /// Something between answered in the app's place: the request may or may not have been taken, so that sending it again may say it twice.
    Unclear(String),
}

/// One part of a text, as it is sent.
#[derive(Debug)]
pub struct Part {
    /// With the app's markup.
    pub marked: Outgoing,
    /// Without: what to send when the markup was refused; nothing where none ever is.
    pub plain: Option<Outgoing>,
}

/// Why an app cannot be spoken through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mute {
    /// It is no app, or one that is reached in another way.
    #[error("nobody can be reached at {0}")]
    NoApp(String),
    /// A secret is missing.
    #[error("{0} is not set")]
    NotSet(&'static str),
}

/// What an app's proven bytes say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Heard {
    /// What people did, in its order.
    pub inbound: Vec<Inbound>,
    /// What became of what was sent.
    pub fates: Vec<Fate>,
    /// What was left out, for the log: words of ours.
    pub dropped: Vec<&'static str>,
}

/// What must be kept of a person's last message to go on speaking with them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// When they wrote it, in milliseconds since 1970.
    pub at: i64,
    /// The app's id of it.
    pub message: String,
}

/// How a file is sent.
#[derive(Debug)]
pub enum Carriage {
    /// In one request.
    Whole(Outgoing),
    /// It is handed over first; [`App::handed_over`] then sends it under the name that the answer holds.
    Upload(Outgoing),
}

/// Reads what an app's proven bytes say. An error is for the log: the same bytes will never say more.
pub fn receive(body: &Proven) -> Result<Heard, String> {
    match body {
        Proven::Telegram(body) => telegram::receive(body)
            .map(|inbound| Heard {
                inbound: inbound.into_iter().collect(),
                ..Heard::default()
            })
            .map_err(|garbage| garbage.to_string()),
        Proven::WhatsApp(body) => whatsapp::receive(body).map_err(|garbage| garbage.to_string()),
    }
}

/// What must be kept of a message to go on speaking with whoever wrote it; nothing where the app asks for nothing.
pub fn trace(inbound: &Inbound) -> Option<Trace> {
    match inbound.channel {
        Channel::WhatsApp => {
            let (_, message) = inbound.delivery.split_once(':')?;
            Some(Trace {
                at: inbound.at,
                message: message.to_owned(),
            })
        }
        Channel::Telegram | Channel::Console => None,
    }
}

impl App {
    /// The app of a conversation, and the chat there in the app's own terms.
    pub fn of<'c>(conversation: &'c str, config: &Config) -> Result<(Self, &'c str), Mute> {
        let no_app = || Mute::NoApp(conversation.to_owned());
        let (name, chat) = conversation.split_once(':').ok_or_else(no_app)?;
        match Channel::named(name) {
            Some(Channel::Telegram) => {
                let api = config
                    .telegram()
                    .ok_or(Mute::NotSet("TELEGRAM_BOT_TOKEN"))?;
                Ok((Self::Telegram(api), chat))
            }
            Some(Channel::WhatsApp) => {
                let api = config.whatsapp().map_err(Mute::NotSet)?;
                Ok((Self::WhatsApp(api), chat))
            }
            Some(Channel::Console) | None => Err(no_app()),
        }
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Telegram(_) => "Telegram",
            Self::WhatsApp(_) => "WhatsApp",
        }
    }

    /// What a stranger is told, once: whose this is, by which id its owner knows them, and a code to show.
    pub fn turn_away(
        inbound: &Inbound,
        code: Option<&str>,
        config: &Config,
    ) -> Result<Outgoing, Mute> {
        let conversation = inbound.conversation();
        let (app, chat) = Self::of(&conversation, config)?;
        let mut text = format!(
            "This is somebody's own Bernard, and it does not know you yet. Your {} id is {}; its owner can let you in.",
            app.name(),
            inbound.sender
        );
        if let Some(code) = code {
            text.push_str(" I have asked them. Show them this code, so that they know it is you: ");
            text.push_str(code);
        }
        Ok(app.plain(chat, &text))
    }

    /// In how many parts a text is sent with the buttons under its end.
    pub fn parts(conversation: &str, text: &str, buttons: &[Button]) -> usize {
        let name = conversation.split_once(':').map_or("", |(name, _)| name);
        match Channel::named(name) {
            Some(Channel::Telegram) => chunks_telegram(text).len(),
            Some(Channel::WhatsApp) => whatsapp::parts(text, buttons),
            Some(Channel::Console) | None => 1,
        }
    }

    /// One part of a text; the buttons stand under the last. Nothing where there is no such part.
    pub fn part(&self, chat: &str, text: &str, buttons: &[Button], part: usize) -> Option<Part> {
        match self {
            Self::Telegram(api) => {
                let chunks = chunks_telegram(text);
                let chunk = chunks.get(part)?;
                let is_last = part + 1 == chunks.len();
                let buttons = if is_last { buttons } else { &[] };
                Some(Part {
                    marked: api.send_message(chat, &chunk.html, buttons),
                    plain: Some(api.send_plain(chat, &chunk.plain, buttons)),
                })
            }
            Self::WhatsApp(api) => Some(Part {
                marked: api.part(chat, text, buttons, part)?,
                plain: None,
            }),
        }
    }

    /// A short text without markup.
    pub fn plain(&self, chat: &str, text: &str) -> Outgoing {
        match self {
            Self::Telegram(api) => api.send_plain(chat, text, &[]),
            Self::WhatsApp(api) => api.text(chat, text),
        }
    }

    /// A file, its bytes untouched; `boundary` is fresh random bytes. An error is why the app would not take it.
    pub fn file(&self, chat: &str, file: &FileRef, boundary: [u8; 16]) -> Result<Carriage, String> {
        match self {
            Self::Telegram(api) => {
                let whole = api.send_document(chat, file, None, boundary);
                Ok(Carriage::Whole(whole))
            }
            Self::WhatsApp(api) => Ok(Carriage::Upload(api.upload(file, boundary)?)),
        }
    }

    /// Sends a file that was handed over, by the name that the app gave it; nothing where the app knows no such way.
    pub fn handed_over(&self, chat: &str, file: &FileRef, name: &str) -> Option<Outgoing> {
        match self {
            Self::Telegram(_) => None,
            Self::WhatsApp(api) => Some(api.file(chat, file, name)),
        }
    }

    /// Asks where a file lies that somebody sent; nothing where the app knows no such way.
    pub fn find_media(&self, media: &Media) -> Option<Outgoing> {
        match self {
            Self::Telegram(_) => None,
            Self::WhatsApp(api) => Some(api.find_media(&media.id)),
        }
    }

    /// Fetches a file from where the answer to that says it lies; nothing where that is no place to send a secret to.
    pub fn fetch_media(&self, answer: &[u8]) -> Option<Outgoing> {
        match self {
            Self::Telegram(_) => None,
            Self::WhatsApp(api) => api.fetch_media(&whatsapp::media_place(answer)?.url),
        }
    }

    /// A sign of being at work, which fades by itself; nothing where the app wants to know of which message and does not.
    pub fn typing(&self, chat: &str, trace: Option<&Trace>) -> Option<Outgoing> {
        match self {
            Self::Telegram(api) => Some(api.send_chat_action(chat, Acting::Typing)),
            Self::WhatsApp(api) => Some(api.seen(&trace?.message)),
        }
    }

    /// How long that sign is to be seen, less a little.
    pub fn typing_lasts(&self) -> Duration {
        match self {
            Self::Telegram(_) => Duration::from_secs(4),
            Self::WhatsApp(_) => Duration::from_secs(23),
        }
    }

    /// Tells a person that a message of theirs was seen; nothing where the app shows that by itself.
    pub fn seen(&self, trace: &Trace) -> Option<Outgoing> {
        match self {
            Self::Telegram(_) => None,
            Self::WhatsApp(api) => Some(api.seen(&trace.message)),
        }
    }

    /// Says what a press did, in a line that fades away where the app has such; `done` is whether it did something.
    pub fn answer_press(&self, chat: &str, press: &str, told: &str, done: bool) -> Outgoing {
        match self {
            Self::Telegram(api) => api.answer_callback(press, Some(told)),
            Self::WhatsApp(api) if done => api.react(chat, press, "👍"),
            Self::WhatsApp(api) => api.text(chat, told),
        }
    }

    /// Takes the buttons from under a message; nothing where what was sent stays.
    pub fn without_buttons(&self, chat: &str, message: &str) -> Option<Outgoing> {
        match self {
            Self::Telegram(api) => Some(api.edit_reply_markup(chat, message)),
            Self::WhatsApp(_) => None,
        }
    }

    /// Whether a message can be changed while something goes on.
    pub fn has_previews(&self) -> bool {
        match self {
            Self::Telegram(_) => true,
            Self::WhatsApp(_) => false,
        }
    }

    /// A message that shows what is going on, without a sound; of a long text, its end.
    pub fn preview(&self, chat: &str, text: &str) -> Option<Outgoing> {
        match self {
            Self::Telegram(api) => {
                let chunk = markup::chunks_telegram(text).pop()?;
                Some(api.send_silently(chat, &chunk.html))
            }
            Self::WhatsApp(_) => None,
        }
    }

    /// The same message with another text.
    pub fn preview_again(&self, chat: &str, message: &str, text: &str) -> Option<Outgoing> {
        match self {
            Self::Telegram(api) => {
                let chunk = markup::chunks_telegram(text).pop()?;
                Some(api.edit_text(chat, message, &chunk.html))
            }
            Self::WhatsApp(_) => None,
        }
    }

    /// Takes a message of Bernard's own away; nothing where what was sent stays.
    pub fn take_away(&self, chat: &str, message: &str) -> Option<Outgoing> {
        match self {
            Self::Telegram(api) => Some(api.delete_message(chat, message)),
            Self::WhatsApp(_) => None,
        }
    }

    /// Whether the app lets Bernard write freely to someone who wrote last as `trace` tells.
    pub fn is_open(&self, trace: Option<&Trace>, now: i64) -> bool {
        match self {
            Self::Telegram(_) => true,
            Self::WhatsApp(_) => whatsapp::is_open(trace.map(|trace| trace.at), now),
        }
    }

    /// What may be sent to someone all the same, where there is something: that there is a message for them.
    pub fn nudge(&self, chat: &str) -> Option<Outgoing> {
        match self {
            Self::Telegram(_) => None,
            Self::WhatsApp(api) => api.template(chat),
        }
    }

    /// Whether a message that never arrived, for this reason, would be taken after the person has written again.
    pub fn is_silence(&self, code: i64) -> bool {
        match self {
            Self::Telegram(_) => false,
            Self::WhatsApp(_) => code == whatsapp::SILENCE,
        }
    }

    /// Whether the app tells afterwards what became of a message.
    pub fn tells_fates(&self) -> bool {
        match self {
            Self::Telegram(_) => false,
            Self::WhatsApp(_) => true,
        }
    }

    /// Reads an answer. Never an error: whatever came, it means one of these.
    pub fn answer(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Answer {
        match self {
            Self::Telegram(_) => telegram::answer(status, headers, body),
            Self::WhatsApp(_) => whatsapp::answer(status, headers, body),
        }
    }
}

/// A text in as many messages as it needs.
fn chunks_telegram(text: &str) -> Vec<Chunk> {
    let mut chunks = markup::chunks_telegram(text);
    if chunks.len() > MESSAGES {
        chunks.truncate(MESSAGES - 1);
        chunks.extend(markup::chunks_telegram(CUT));
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_found_by_its_conversation_and_says_what_it_lacks() {
        let config = |token: Option<&str>| {
            Config::read(|name| {
                (name == "TELEGRAM_BOT_TOKEN")
                    .then(|| token.map(str::to_owned))
                    .flatten()
            })
        };
        let found = App::of("telegram:42", &config(Some("7000000001:AAtoken")));
        assert!(matches!(found, Ok((App::Telegram(_), "42"))));
        assert_eq!(
            App::of("telegram:42", &config(None)).err(),
            Some(Mute::NotSet("TELEGRAM_BOT_TOKEN"))
        );
        for nobody in ["console", "console:1", "pigeon:42", ""] {
            assert_eq!(
                App::of(nobody, &config(None)).err(),
                Some(Mute::NoApp(nobody.to_owned()))
            );
        }
    }

    #[test]
    fn a_text_of_too_many_messages_ends_with_a_word_about_it() {
        let long = "a word ".repeat(10_000);
        assert_eq!(App::parts("telegram:42", &long, &[]), MESSAGES);
        let chunks = chunks_telegram(&long);
        assert_eq!(chunks.last().map(|chunk| chunk.plain.as_str()), Some(CUT));
        assert_eq!(App::parts("console", &long, &[]), 1);
    }
}
