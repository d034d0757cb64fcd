//! Sending what the agent wants said: parcels from the driver to Telegram or to the pages, and how each was answered.

use super::commands::Pressed;
use super::console::Work;
use super::perform::{Allowance, Done};
use super::{CONSOLE, Heart, console, now};
use crate::channels::Outgoing;
use crate::channels::console::{Item, Message, MessageState, ToPage};
use crate::channels::markup::{self, Chunk};
use crate::channels::telegram::{self, Acting, Api};
use crate::error::{Error, Result};
use crate::http::{self, FileBytes};
use agent::Content;
use agent::event::Button;
use driver::{Answer, Consent, Outside, Parcel, SHORT_WAIT_MILLIS, Was, What};
use protocol::call::{CallId, FileRef, ToolCall};
use protocol::key::random_bytes;
use std::rc::Rc;
use std::time::Duration;
use worker::{Delay, console_error, console_log};

/// How long a message may take to be answered.
const MESSAGE_LIMIT: Duration = Duration::from_secs(30);

/// How long a file may take: 50 MB over a slow line.
const FILE_LIMIT: Duration = Duration::from_mins(5);

/// How often the typing sign is renewed: Telegram shows it for five seconds.
const TYPING: Duration = Duration::from_millis(4_500);

/// How often it is renewed at the most.
const TYPING_TIMES: u32 = 60;

/// How often while a call runs at home: its timer keeps the object from hibernating, so a long call ends without the sign.
const TYPING_TIMES_AT_HOME: u32 = 3;

/// How many messages one answer may take; what is longer is no answer for a chat.
const MESSAGES: usize = 10;

/// What stands for the rest of such an answer.
const CUT: &str = "[This is too long for a chat, so I stop here. Ask me for the part you need, or for it as a file.]";

/// What a button says that has been pressed before, or whose question is closed.
const NOTHING_LEFT: &str = "This button does nothing any more";

/// One conversation's post.
struct Post<'a> {
    heart: &'a Heart,
    conversation: &'a str,
}

impl Outside<Error> for Post<'_> {
    fn is_page(&self, conversation: &str) -> bool {
        conversation == CONSOLE
    }

    fn parts(&self, what: &What) -> usize {
        match what {
            What::Said(Content::File { .. }) => 1,
            What::Said(Content::Text { text, .. }) => chunks(text).len(),
            What::Question(call) => chunks(&self.heart.question(self.conversation, call).0).len(),
        }
    }

    fn consent(&self, call: &ToolCall) -> Result<Consent> {
        self.heart.consent_at_home(self.conversation, call)
    }

    fn question_millis(&self) -> i64 {
        self.heart.config.question_minutes * 60_000
    }
}

impl Heart {
    /// Sends what a conversation has to say until nothing is left, or what is left has to wait.
    pub(super) async fn deliver(
        self: &Rc<Self>,
        conversation: &str,
        allowance: &Allowance,
    ) -> Result<Done> {
        let post = Post {
            heart: self,
            conversation,
        };
        loop {
            if allowance.is_spent() {
                return Ok(Done::OutOfAllowance); // before the parcel is written down as on its way
            }
            let (was, acts) = self.driver.next_parcel(conversation, &post, now())?;
            self.act_within(allowance, acts);
            match was {
                Was::Nothing => return Ok(Done::Wholly),
                Was::Page(parcel) => {
                    let item = self.item(conversation, &parcel);
                    let put = |db: &_| console::add(db, item.clone());
                    let acts = self
                        .driver
                        .shown(conversation, &parcel, put, &post, now())?;
                    self.act_within(allowance, acts);
                }
                Was::Parcel(parcel) => {
                    let answer = self.send_parcel(conversation, &parcel, allowance).await;
                    log(&parcel, &answer);
                    let roll = random_bytes::<1>().map_or(128, |[byte]| byte);
                    self.driver.answered(&parcel, answer, &post, roll, now())?;
                }
                Was::Held { until } => {
                    let wait = until - now();
                    if wait > SHORT_WAIT_MILLIS {
                        return Ok(Done::Wholly); // the alarm comes back to it, and what follows keeps its place behind it
                    }
                    let wait = u64::try_from(wait).unwrap_or(0);
                    Delay::from(Duration::from_millis(wait)).await;
                }
            }
        }
    }

    /// What a page shows of a parcel. A page takes a text whole.
    fn item(&self, conversation: &str, parcel: &Parcel) -> Item {
        match &parcel.what {
            What::Said(Content::Text { text, buttons }) => {
                console::said(&parcel.say, text, buttons, now())
            }
            What::Said(Content::File { call, file }) => console::file_card(call, file, now()),
            What::Question(call) => {
                let (text, buttons) = self.question(conversation, call);
                console::said(&parcel.say, &text, &buttons, now())
            }
        }
    }

    async fn send_parcel(
        self: &Rc<Self>,
        conversation: &str,
        parcel: &Parcel,
        allowance: &Allowance,
    ) -> Answer {
        let Some(("telegram", chat)) = conversation.split_once(':') else {
            return Answer::Refused(format!("nobody can be reached at {conversation}"));
        };
        let Some(api) = self.config.telegram() else {
            return Answer::Refused("TELEGRAM_BOT_TOKEN is not set".into());
        };
        allowance.take();
        match &parcel.what {
            What::Said(Content::File { call, file }) => {
                self.send_file(&api, chat, call, file).await
            }
            What::Said(Content::Text { text, buttons }) => {
                send_part(&api, chat, text, buttons, parcel.part, allowance).await
            }
            What::Question(call) => {
                let (text, buttons) = self.question(conversation, call);
                send_part(&api, chat, &text, &buttons, parcel.part, allowance).await
            }
        }
    }

    async fn send_file(
        self: &Rc<Self>,
        api: &Api,
        chat: &str,
        call: &CallId,
        file: &FileRef,
    ) -> Answer {
        let (Ok(boundary), Ok(bytes)) = (random_bytes::<16>(), self.file_bytes(call)) else {
            return Answer::Refused("the file is not there any more".into());
        };
        let request = api.send_document(chat, file, None, boundary);
        meaning(ask(request, Some(bytes), FILE_LIMIT).await)
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
        let allowance = self.allowance();
        self.state.wait_until(async move {
            let mut left = TYPING_TIMES;
            while left > 0 && allowance.spare() {
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
        pressed: Pressed,
    ) {
        let Some(("telegram", chat)) = conversation.split_once(':') else {
            return;
        };
        let Some(api) = self.config.telegram() else {
            return;
        };
        let (told, goes) = match pressed {
            Pressed::Done(told) => (told, true),
            Pressed::StaysOpen(told) => (told, false),
            Pressed::Nothing => (NOTHING_LEFT, false),
        };
        let answer = api.answer_callback(press, Some(told));
        let edit = goes.then(|| api.edit_reply_markup(chat, message));
        let allowance = self.allowance();
        self.state.wait_until(async move {
            for request in [Some(answer), edit].into_iter().flatten() {
                if allowance.take() {
                    ask(request, None, MESSAGE_LIMIT).await;
                }
            }
        });
    }

    /// Takes the buttons away from a message. A kindness, like the one above.
    pub(super) fn take_buttons_away(self: &Rc<Self>, conversation: &str, message: &str) {
        let Some(("telegram", chat)) = conversation.split_once(':') else {
            return;
        };
        let Some(api) = self.config.telegram() else {
            return;
        };
        let edit = api.edit_reply_markup(chat, message);
        let allowance = self.allowance();
        self.state.wait_until(async move {
            if allowance.spare() {
                ask(edit, None, MESSAGE_LIMIT).await;
            }
        });
    }

    /// Marks a console question as answered, or as closed if the answer came too late; one that stays open is shown anew.
    pub(super) fn settle_item(&self, id: &str, action: &str, pressed: Pressed) -> Result<()> {
        if let Some(Item::Message(message)) = console::get(self.db(), id)?
            && message.state == MessageState::Asking
        {
            let state = match pressed {
                Pressed::Done(_) => MessageState::Answered(action.to_owned()),
                Pressed::StaysOpen(_) => MessageState::Asking,
                Pressed::Nothing => MessageState::Closed,
            };
            let item = Item::Message(Message { state, ..message });
            console::change(self.db(), &item)?;
            self.show(&ToPage::Item { item });
        }
        Ok(())
    }
}

/// A text in as many messages as it needs.
fn chunks(text: &str) -> Vec<Chunk> {
    let mut chunks = markup::chunks_telegram(text);
    if chunks.len() > MESSAGES {
        chunks.truncate(MESSAGES - 1);
        chunks.extend(markup::chunks_telegram(CUT));
    }
    chunks
}

/// Sends one part of a text; the buttons stand under the last.
async fn send_part(
    api: &Api,
    chat: &str,
    text: &str,
    buttons: &[Button],
    part: usize,
    allowance: &Allowance,
) -> Answer {
    let chunks = chunks(text);
    let Some(chunk) = chunks.get(part) else {
        return Answer::Refused("there is no such part".into());
    };
    let buttons = if part + 1 == chunks.len() {
        buttons
    } else {
        &[]
    };
    let marked = api.send_message(chat, &chunk.html, buttons);
    let marked = ask(marked, None, MESSAGE_LIMIT).await;
    if marked != telegram::Answer::CannotParse || !allowance.take() {
        return meaning(marked);
    }
    let plain = api.send_plain(chat, &chunk.plain, buttons);
    meaning(ask(plain, None, MESSAGE_LIMIT).await)
}

/// Sends a request to Telegram and reads its answer. No answer at all is unclear, never a reason to send again.
async fn ask(outgoing: Outgoing, file: Option<FileBytes>, limit: Duration) -> telegram::Answer {
    match http::send(outgoing, file, limit).await {
        Ok(reply) => telegram::answer(reply.status, &reply.headers, &reply.body),
        Err(Error::Platform(error)) if is_refused_connection(&error) => {
            telegram::Answer::Broken("no connection".into())
        }
        Err(error) => telegram::Answer::Unclear(error.to_string()),
    }
}

/// What Telegram's answer means for the driver.
fn meaning(answer: telegram::Answer) -> Answer {
    match answer {
        telegram::Answer::Ok { message_id } => Answer::Taken {
            message: message_id,
        },
        telegram::Answer::Blocked(reason) | telegram::Answer::Refused(reason) => {
            Answer::Refused(reason)
        }
        telegram::Answer::CannotParse => Answer::Refused("its markup was refused".into()),
        telegram::Answer::Unclear(reason) => Answer::Unclear(reason),
        telegram::Answer::RetryAfter(seconds) => Answer::RetryAfter(seconds),
        telegram::Answer::Broken(reason) => Answer::NotTaken(reason),
    }
}

fn log(parcel: &Parcel, answer: &Answer) {
    let id = parcel.id();
    match answer {
        Answer::Taken { .. } => {}
        Answer::RetryAfter(seconds) => {
            console_log!("telegram takes {id} in {seconds} seconds");
        }
        Answer::NotTaken(reason) => console_log!("telegram did not take {id}: {reason}"),
        Answer::Refused(reason) => console_error!("telegram refused {id}: {reason}"),
        Answer::Unclear(reason) => {
            console_error!("telegram may or may not have taken {id}: {reason}");
        }
    }
}

/// Whether a request cannot have arrived: nobody was there to take it.
fn is_refused_connection(error: &worker::Error) -> bool {
    let text = error.to_string();
    text.contains("Connection refused") || text.contains("connect() failed") || text.contains("DNS")
}
