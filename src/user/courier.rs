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

/// How often a message that was clearly not taken is tried again.
const TRIES: i64 = 8;

/// The longest that is waited between two tries, in seconds, unless the provider asks for more.
const LONGEST_WAIT: u64 = 60;

/// How often the typing sign is renewed: Telegram shows it for five seconds.
const TYPING: Duration = Duration::from_millis(4_500);

/// How often it is renewed at the most.
const TYPING_TIMES: u32 = 60;

#[derive(Deserialize)]
struct Sending {
    state: String,
    attempts: i64,
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
            let delivery = match conversation.split_once(':') {
                Some(("telegram", chat)) => self.deliver_to_telegram(chat, &say, &content).await?,
                Some(_) | None => self.deliver_to_pages(&say, &content)?,
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
        Ok(outstanding.into_iter().find_map(|effect| match effect {
            Effect::Say { say, content } => Some((say, content)),
            Effect::AskModel { .. }
            | Effect::Run { .. }
            | Effect::AskPerson { .. }
            | Effect::Cancel { .. }
            | Effect::Abandon { .. } => None,
        }))
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
    ) -> Result<Delivery> {
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
    ) -> Result<Delivery> {
        let chunks = markup::chunks_telegram(text);
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
                Delivery::Delivered => {}
                Delivery::Unknown => fate = delivery, // the rest is not in doubt
                Delivery::Refused { .. } => return Ok(delivery),
            }
        }
        Ok(fate)
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
        if asked == Delivery::Unknown {
            // Unseen, the question would hold the turn up for ever; seen twice, it still takes one answer.
            let again = format!("{id}:again");
            self.send_words(chat, &again, &text, &buttons).await?;
        }
        console_log!("asked about {}", tool::brief(call));
        Ok(())
    }

    /// Sends one parcel unless it was sent before. A request that may have arrived is not sent again: that is [`Delivery::Unknown`].
    async fn send_once(
        self: &Rc<Self>,
        chat: &str,
        id: &str,
        parcel: &Parcel<'_>,
    ) -> Result<Delivery> {
        let Some(api) = self.config.telegram() else {
            return Ok(Delivery::Refused {
                reason: "TELEGRAM_BOT_TOKEN is not set".into(),
            });
        };
        let row: Option<Sending> = self.db.first(
            "SELECT state, attempts FROM sendings WHERE id = ?",
            &[id.into()],
        )?;
        let mut attempts = 0;
        if let Some(row) = row {
            match row.state.as_str() {
                "sent" => return Ok(Delivery::Delivered),
                "refused" => {
                    return Ok(Delivery::Refused {
                        reason: "refused before".into(),
                    });
                }
                "sending" | "unknown" => {
                    mark(&self.db, id, "unknown", None, row.attempts)?;
                    return Ok(Delivery::Unknown);
                }
                _ => attempts = row.attempts,
            }
        }
        loop {
            attempts += 1;
            mark(&self.db, id, "sending", None, attempts)?;
            let wait = match self.send_parcel(&api, chat, parcel).await {
                Answer::Ok { message_id } => {
                    mark(&self.db, id, "sent", message_id.as_deref(), attempts)?;
                    return Ok(Delivery::Delivered);
                }
                Answer::Blocked(reason) | Answer::Refused(reason) => {
                    console_error!("telegram refused {id}: {reason}");
                    mark(&self.db, id, "refused", None, attempts)?;
                    return Ok(Delivery::Refused { reason });
                }
                Answer::CannotParse => {
                    mark(&self.db, id, "refused", None, attempts)?;
                    return Ok(Delivery::Refused {
                        reason: "its markup was refused".into(),
                    });
                }
                Answer::Unclear(reason) => {
                    console_error!("telegram may or may not have taken {id}: {reason}");
                    mark(&self.db, id, "unknown", None, attempts)?;
                    return Ok(Delivery::Unknown);
                }
                Answer::RetryAfter(seconds) => seconds,
                Answer::Broken(reason) => {
                    console_log!("telegram is broken: {reason}");
                    (1 << attempts.min(6)).min(LONGEST_WAIT)
                }
            };
            mark(&self.db, id, "held", None, attempts)?;
            if attempts >= TRIES {
                mark(&self.db, id, "refused", None, attempts)?;
                return Ok(Delivery::Refused {
                    reason: "Telegram was not to be had".into(),
                });
            }
            Delay::from(Duration::from_secs(wait)).await;
        }
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
                    Ok(Work::AtHome) => 0, // renewing it would keep a timer, and a timer keeps the object from hibernating
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

fn mark(db: &Db, id: &str, state: &str, provider: Option<&str>, attempts: i64) -> Result<()> {
    db.run(
        "INSERT INTO sendings (id, state, provider, attempts, at) VALUES (?, ?, ?, ?, ?)
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
