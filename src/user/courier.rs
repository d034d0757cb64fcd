//! Sending what the agent wants said, in order, once: what was sent is written down before and after.

use super::console::Work;
use super::db::Db;
use super::{Heart, console, now, store};
use crate::channels::Outgoing;
use crate::channels::console::{Item, Message, MessageState, ToPage};
use crate::channels::markup::{self, Chunk};
use crate::channels::telegram::{Acting, Answer, Api, answer};
use crate::error::{Error, Result};
use crate::http::{self, FileBytes};
use agent::event::{Button, Delivery, SayId};
use agent::{Content, Effect, Event, tool};
use protocol::call::{CallId, FileRef, Outcome, ToolCall};
use protocol::key::random_bytes;
use serde::Deserialize;
use std::rc::Rc;
use std::time::Duration;
use worker::{Delay, console_error, console_log};

/// How long a message may take to be answered.
const MESSAGE_LIMIT: Duration = Duration::from_secs(30);

/// How long a file may take: 50 MB over a slow line.
const FILE_LIMIT: Duration = Duration::from_mins(5);

/// How long a message that was clearly not taken is tried again, in milliseconds: a day.
const PATIENCE_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// The longest that is waited between two tries, in seconds, unless the provider asks for more.
const LONGEST_WAIT: u64 = 15 * 60;

/// The longest that is waited while the object stays awake, in seconds; what takes longer is left to the alarm.
const SHORT_WAIT: u64 = 5;

/// How much too early an alarm may ring, in milliseconds.
const TICK_MILLIS: i64 = 500;

/// How often the typing sign is renewed: Telegram shows it for five seconds.
const TYPING: Duration = Duration::from_millis(4_500);

/// How often it is renewed at the most.
const TYPING_TIMES: u32 = 60;

/// How often while a call runs at home: its timer keeps the object from hibernating, so a long call ends without the sign.
const TYPING_TIMES_AT_HOME: u32 = 3;

#[derive(Deserialize)]
struct Sending {
    state: String,
    attempts: i64,
    next_at: i64,
    at: i64,
}

/// How many messages one answer may take; what is longer is no answer for a chat.
const MESSAGES: usize = 10;

/// What stands for the rest of such an answer.
const CUT: &str = "[This is too long for a chat, so I stop here. Ask me for the part you need, or for it as a file.]";

/// What became of a parcel's earlier tries.
enum Before {
    /// It is over.
    Settled(Delivery),
    /// It waits for its time.
    Held,
    /// It may be sent now.
    Due { attempts: i64, since: i64 },
}

/// One request's worth of something to send.
enum Parcel<'a> {
    Words {
        chunk: &'a Chunk,
        buttons: &'a [Button],
    },
    File {
        call: &'a CallId,
        file: &'a FileRef,
    },
}

impl Heart {
    /// Sends what a conversation has to say, oldest first, until nothing is left.
    pub(super) async fn deliver(self: &Rc<Self>, conversation: &str) -> Result<()> {
        while let Some((say, content)) = self.next_to_say(conversation)? {
            let fate = match conversation.split_once(':') {
                Some(("telegram", chat)) => self.deliver_to_telegram(chat, &say, &content).await?,
                Some(_) | None => Some(self.deliver_to_pages(&say, &content)?),
            };
            let Some(delivery) = fate else {
                return Ok(()); // held: the alarm comes back to it, and what follows keeps its place behind it
            };
            if let Some(notice) = doubt(&say, &content, &delivery) {
                self.step(conversation, &notice)?; // before the message counts as sent, so that no crash falls between the two
            }
            self.step(
                conversation,
                &Event::Sent {
                    say,
                    delivery,
                    at: now(),
                },
            )?;
        }
        Ok(())
    }

    fn next_to_say(&self, conversation: &str) -> Result<Option<(SayId, Content)>> {
        let outstanding = store::load(&self.db, conversation)?.outstanding();
        Ok(first_to_say(&outstanding).map(|(say, content)| (say.clone(), content.clone())))
    }

    /// A page shows what is in the rows: stored is delivered.
    fn deliver_to_pages(&self, say: &SayId, content: &Content) -> Result<Delivery> {
        let item = match content {
            Content::Text { text, buttons } => console::said(&say.0, text, buttons, now()),
            Content::File { call, file } => console::file_card(call, file, now()),
        };
        console::put(&self.db, &item)?;
        self.show(&ToPage::Item { item });
        Ok(Delivery::Delivered)
    }

    async fn deliver_to_telegram(
        self: &Rc<Self>,
        chat: &str,
        say: &SayId,
        content: &Content,
    ) -> Result<Option<Delivery>> {
        match content {
            Content::Text { text, buttons } => self.send_words(chat, &say.0, text, buttons).await,
            Content::File { call, file } => {
                self.send_once(chat, &say.0, &Parcel::File { call, file })
                    .await
            }
        }
    }

    /// Sends a text in as many messages as it needs; the buttons stand under the last.
    async fn send_words(
        self: &Rc<Self>,
        chat: &str,
        id: &str,
        text: &str,
        buttons: &[Button],
    ) -> Result<Option<Delivery>> {
        let mut chunks = markup::chunks_telegram(text);
        if chunks.len() > MESSAGES {
            chunks.truncate(MESSAGES - 1);
            chunks.extend(markup::chunks_telegram(CUT));
        }
        let mut fate = Delivery::Delivered;
        for (n, chunk) in chunks.iter().enumerate() {
            let buttons = if n + 1 == chunks.len() { buttons } else { &[] };
            let delivery = self
                .send_once(
                    chat,
                    &format!("{id}#{n}"),
                    &Parcel::Words { chunk, buttons },
                )
                .await?;
            match delivery {
                Some(Delivery::Delivered) => {}
                Some(Delivery::Unknown) => fate = Delivery::Unknown, // the rest is not in doubt
                Some(Delivery::Refused { .. }) | None => return Ok(delivery),
            }
        }
        Ok(Some(fate))
    }

    /// Asks the person about a call, once: a question that was sent is not sent again after a restart.
    pub(super) async fn ask_person(
        self: &Rc<Self>,
        conversation: &str,
        call: &ToolCall,
    ) -> Result<()> {
        if let Some(reason) = self.forbidden_at_home(call)? {
            let outcome = Outcome::denied(reason);
            let event = Event::Finished {
                call: call.id.clone(),
                outcome,
                at: now(),
            };
            return self.step(conversation, &event);
        }
        let machine = self.name_of_machine_for(call)?;
        let text = format!(
            "May I run this on {machine}?\n```\n{}\n```",
            console::literal(call)
        );
        let buttons = [
            Button {
                label: "Yes, this once".into(),
                action: format!("ok:{}", call.id),
            },
            Button {
                label: "No".into(),
                action: format!("no:{}", call.id),
            },
        ];
        let id = format!("question:{}", call.id);
        let Some(("telegram", chat)) = conversation.split_once(':') else {
            let item = console::said(&id, &text, &buttons, now());
            if console::put_new(&self.db, &item)? {
                self.show(&ToPage::Item { item });
            }
            return Ok(());
        };
        let asked = self.send_words(chat, &id, &text, &buttons).await?;
        if let Some(Delivery::Refused { reason }) = &asked {
            let outcome = Outcome::denied(format!("the person could not be asked: {reason}"));
            let event = Event::Finished {
                call: call.id.clone(),
                outcome,
                at: now(),
            };
            return self.step(conversation, &event);
        }
        if asked == Some(Delivery::Unknown) {
            // Unseen, the question would hold the turn up for ever; seen twice, it still takes one answer.
            let again = format!("{id}:again");
            self.send_words(chat, &again, &text, &buttons).await?;
        }
        console_log!("asked about {}", tool::brief(call));
        Ok(())
    }

    /// Sends one parcel unless it was sent before; `None` if it is held for later. A request that may have arrived is not sent
    /// again: that is [`Delivery::Unknown`].
    async fn send_once(
        self: &Rc<Self>,
        chat: &str,
        id: &str,
        parcel: &Parcel<'_>,
    ) -> Result<Option<Delivery>> {
        let Some(api) = self.config.telegram() else {
            let reason = "TELEGRAM_BOT_TOKEN is not set".into();
            return Ok(Some(Delivery::Refused { reason }));
        };
        let (mut attempts, since) = match self.sent_before(id)? {
            Before::Settled(delivery) => return Ok(Some(delivery)),
            Before::Held => return Ok(None),
            Before::Due { attempts, since } => (attempts, since),
        };
        loop {
            attempts += 1;
            mark(&self.db, id, "sending", None, attempts)?;
            let wait = match self.send_parcel(&api, chat, parcel).await {
                Answer::Ok { message_id } => {
                    mark(&self.db, id, "sent", message_id.as_deref(), attempts)?;
                    return Ok(Some(Delivery::Delivered));
                }
                Answer::Blocked(reason) | Answer::Refused(reason) => {
                    return self.refused(id, attempts, reason).map(Some);
                }
                Answer::CannotParse => {
                    return self
                        .refused(id, attempts, "its markup was refused".into())
                        .map(Some);
                }
                Answer::Unclear(reason) => {
                    console_error!("telegram may or may not have taken {id}: {reason}");
                    mark(&self.db, id, "unknown", None, attempts)?;
                    return Ok(Some(Delivery::Unknown));
                }
                Answer::RetryAfter(seconds) => seconds,
                Answer::Broken(reason) => {
                    console_log!("telegram did not take {id}: {reason}");
                    backoff(attempts)
                }
            };
            if now() - since > PATIENCE_MILLIS {
                return self
                    .refused(id, attempts, "Telegram was not to be had for a day".into())
                    .map(Some);
            }
            let millis = i64::try_from(wait).unwrap_or(i64::MAX / 1000) * 1000;
            hold(&self.db, id, attempts, now() + millis)?;
            if wait > SHORT_WAIT {
                self.arm_in(millis).await;
                return Ok(None);
            }
            Delay::from(Duration::from_secs(wait)).await;
        }
    }

    fn refused(&self, id: &str, attempts: i64, reason: String) -> Result<Delivery> {
        console_error!("telegram refused {id}: {reason}");
        mark(&self.db, id, "refused", None, attempts)?;
        Ok(Delivery::Refused { reason })
    }

    /// What became of earlier tries. One that was under way when its object went is a try of unknown fate.
    fn sent_before(&self, id: &str) -> Result<Before> {
        let row: Option<Sending> = self.db.first(
            "SELECT state, attempts, next_at, at FROM sendings WHERE id = ?",
            &[id.into()],
        )?;
        let Some(row) = row else {
            return Ok(Before::Due {
                attempts: 0,
                since: now(),
            });
        };
        Ok(match row.state.as_str() {
            "sent" => Before::Settled(Delivery::Delivered),
            "refused" => Before::Settled(Delivery::Refused {
                reason: "refused before".into(),
            }),
            "sending" | "unknown" => {
                mark(&self.db, id, "unknown", None, row.attempts)?;
                Before::Settled(Delivery::Unknown)
            }
            _ if row.next_at > now() + TICK_MILLIS => Before::Held,
            _ => Before::Due {
                attempts: row.attempts,
                since: row.at,
            },
        })
    }

    async fn send_parcel(self: &Rc<Self>, api: &Api, chat: &str, parcel: &Parcel<'_>) -> Answer {
        match parcel {
            Parcel::Words { chunk, buttons } => {
                let marked = ask(
                    api.send_message(chat, &chunk.html, buttons),
                    None,
                    MESSAGE_LIMIT,
                )
                .await;
                if marked != Answer::CannotParse {
                    return marked;
                }
                ask(
                    api.send_plain(chat, &chunk.plain, buttons),
                    None,
                    MESSAGE_LIMIT,
                )
                .await
            }
            Parcel::File { call, file } => {
                let (Ok(boundary), Ok(bytes)) = (random_bytes::<16>(), self.file_bytes(call))
                else {
                    return Answer::Refused("the file is not there any more".into());
                };
                ask(
                    api.send_document(chat, file, None, boundary),
                    Some(bytes),
                    FILE_LIMIT,
                )
                .await
            }
        }
    }

    /// Keeps the typing sign up while something is under way in a Telegram chat.
    pub(super) fn keep_typing(self: &Rc<Self>, conversation: &str) {
        let Some(("telegram", chat)) = conversation.split_once(':') else {
            return;
        };
        let Some(api) = self.config.telegram() else {
            return;
        };
        if !self.typing.borrow_mut().insert(conversation.to_owned()) {
            return;
        }
        let (heart, conversation, chat) =
            (Rc::clone(self), conversation.to_owned(), chat.to_owned());
        self.state.wait_until(async move {
            let mut left = TYPING_TIMES;
            while left > 0 {
                left = match heart.work(&conversation) {
                    Ok(Work::Here) => left - 1,
                    Ok(Work::AtHome) => (left - 1).min(TYPING_TIMES_AT_HOME),
                    Ok(Work::None) | Err(_) => break,
                };
                ask(
                    api.send_chat_action(&chat, Acting::Typing),
                    None,
                    MESSAGE_LIMIT,
                )
                .await;
                Delay::from(TYPING).await;
            }
            heart.typing.borrow_mut().remove(&conversation);
        });
    }

    /// Ends a press's waiting circle and, if the press did something, takes the buttons away. A kindness: if it fails, nothing is lost.
    pub(super) fn settle_press(
        self: &Rc<Self>,
        conversation: &str,
        press: &str,
        message: &str,
        told: Option<&str>,
    ) {
        let Some(("telegram", chat)) = conversation.split_once(':') else {
            return;
        };
        let Some(api) = self.config.telegram() else {
            return;
        };
        let answer = api.answer_callback(press, Some(told.unwrap_or(NOTHING_LEFT)));
        let edit = told.map(|_| api.edit_reply_markup(chat, message));
        self.state.wait_until(async move {
            ask(answer, None, MESSAGE_LIMIT).await;
            if let Some(edit) = edit {
                ask(edit, None, MESSAGE_LIMIT).await;
            }
        });
    }

    /// Marks a console question as answered, or as closed if the answer came too late.
    pub(super) fn settle_item(&self, id: &str, action: Option<&str>) -> Result<()> {
        if let Some(Item::Message(message)) = console::get(&self.db, id)?
            && message.state == MessageState::Asking
        {
            let state = action.map_or(MessageState::Closed, |action| {
                MessageState::Answered(action.to_owned())
            });
            let item = Item::Message(Message { state, ..message });
            console::put(&self.db, &item)?;
            self.show(&ToPage::Item { item });
        }
        Ok(())
    }
}

/// What the person is told when a text may not have reached them; `None` where there is no need. A doubt is not itself doubted:
/// over a line that breaks each time, it would never end.
fn doubt(say: &SayId, content: &Content, delivery: &Delivery) -> Option<Event> {
    const PREFIX: &str = "doubt-";
    match (content, delivery) {
        (Content::Text { .. }, Delivery::Unknown) if !say.0.starts_with(PREFIX) => {
            Some(Event::Notice {
                say: SayId(format!("{PREFIX}{}", say.0)),
                text: DOUBT.to_owned(),
                buttons: Vec::new(),
            })
        }
        // Of a file, the turn itself tells what became of it.
        (Content::Text { .. } | Content::File { .. }, _) => None,
    }
}

/// Sent after a text whose fate is not known.
const DOUBT: &str = "The line broke while I was sending you a message, and I do not know whether it arrived. If you do not see it above, ask me again.";

/// What a button says that has been pressed before, or whose question is closed.
const NOTHING_LEFT: &str = "This button does nothing any more";

/// Sends a request to Telegram and reads its answer. No answer at all is unclear, never a reason to send again.
async fn ask(outgoing: Outgoing, file: Option<FileBytes>, limit: Duration) -> Answer {
    match http::send(outgoing, file, limit).await {
        Ok(reply) => answer(reply.status, &reply.headers, &reply.body),
        Err(Error::Platform(error)) if is_refused_connection(&error) => {
            Answer::Broken("no connection".into())
        }
        Err(error) => Answer::Unclear(error.to_string()),
    }
}

/// Whether a request cannot have arrived: nobody was there to take it.
fn is_refused_connection(error: &worker::Error) -> bool {
    let text = error.to_string();
    text.contains("Connection refused") || text.contains("connect() failed") || text.contains("DNS")
}

/// How long to wait after so many tries, in seconds: twice as long each time up to a quarter of an hour, less or more by a random
/// quarter, so that what was held together is not sent together.
fn backoff(attempts: i64) -> u64 {
    let whole = (1_u64 << attempts.clamp(1, 10)).min(LONGEST_WAIT);
    let roll = random_bytes::<1>().map_or(128, |[byte]| u64::from(byte));
    whole * (192 + roll / 2) / 256
}

/// Notes that nothing was taken, and when to try again.
fn hold(db: &Db, id: &str, attempts: i64, next_at: i64) -> Result<()> {
    db.run(
        "UPDATE sendings SET state = 'held', attempts = ?, next_at = ? WHERE id = ?",
        &[attempts.into(), next_at.into(), id.into()],
    )
}

fn first_to_say(outstanding: &[Effect]) -> Option<(&SayId, &Content)> {
    outstanding.iter().find_map(|effect| match effect {
        Effect::Say { say, content } => Some((say, content)),
        Effect::AskModel { .. }
        | Effect::Run { .. }
        | Effect::AskPerson { .. }
        | Effect::Cancel { .. }
        | Effect::Abandon { .. } => None,
    })
}

/// Whether the first thing that a conversation has to say is held.
pub(super) fn is_held(db: &Db, outstanding: &[Effect]) -> Result<bool> {
    let Some((say, _)) = first_to_say(outstanding) else {
        return Ok(false);
    };
    // A text goes out in parts, named by its id and their number.
    db.changed(
        "SELECT 1 FROM sendings WHERE state = 'held' AND (id = ?1 OR substr(id, 1, length(?1) + 1) = ?1 || '#')",
        &[(&say.0).into()],
    )
}

/// When the first of the held messages wants to be tried again.
pub(super) fn held_until(db: &Db) -> Result<Option<i64>> {
    #[derive(Deserialize)]
    struct Due {
        at: Option<i64>,
    }
    let row: Option<Due> = db.first(
        "SELECT min(next_at) AS at FROM sendings WHERE state = 'held'",
        &[],
    )?;
    Ok(row.and_then(|row| row.at))
}

fn mark(db: &Db, id: &str, state: &str, provider: Option<&str>, attempts: i64) -> Result<()> {
    db.run(
        "INSERT INTO sendings (id, state, provider, attempts, next_at, at) VALUES (?, ?, ?, ?, 0, ?)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, provider = excluded.provider, attempts = excluded.attempts",
        &[id.into(), state.into(), provider.into(), attempts.into(), now().into()],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_in_doubt_is_told_of_once_and_a_doubt_is_not() {
        let text = Content::Text {
            text: "It is noon.".into(),
            buttons: Vec::new(),
        };
        let say = SayId("a-1-s1".into());
        let notice = doubt(&say, &text, &Delivery::Unknown);
        let Some(Event::Notice { say: told, .. }) = &notice else {
            panic!("nobody is told: {notice:?}")
        };
        assert_eq!(doubt(&say, &text, &Delivery::Unknown), notice);
        assert_eq!(doubt(told, &text, &Delivery::Unknown), None);
        assert_eq!(doubt(&say, &text, &Delivery::Delivered), None);
    }
}
