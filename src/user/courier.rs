//! Sending what the agent wants said: parcels from the driver to a chat app or to the pages, and how each was answered.

use super::commands::Pressed;
use super::console::Work;
use super::perform::{Allowance, Done};
use super::window::SILENCE_MILLIS;
use super::{CONSOLE, Heart, console, now};
use crate::channels::Outgoing;
use crate::channels::app::{self, App, Carriage};
use crate::channels::console::{Item, Message, MessageState, ToPage};
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

/// How often it is looked whether the typing sign is still wanted.
const TYPING: Duration = Duration::from_millis(4_500);

/// How often it is renewed at the most.
const TYPING_TIMES: u32 = 60;

/// How often while a call runs at home: its timer keeps the object from hibernating, so a long call ends without the sign.
const TYPING_TIMES_AT_HOME: u32 = 3;

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
            What::Said(Content::Text { text, buttons }) => {
                App::parts(self.conversation, text, buttons)
            }
            What::Question(call) => {
                let (text, buttons) = self.heart.question(self.conversation, call);
                App::parts(self.conversation, &text, &buttons)
            }
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
                    self.end_preview(conversation);
                    let roll = random_bytes::<1>().map_or(128, |[byte]| byte);
                    let taken = match &answer {
                        Answer::Taken { message } => message.clone(),
                        Answer::RetryAfter(_)
                        | Answer::NotTaken(_)
                        | Answer::Silenced { .. }
                        | Answer::Refused(_)
                        | Answer::Unclear(_) => None,
                    };
                    self.driver.answered(&parcel, answer, &post, roll, now())?;
                    if let Some(message) = taken {
                        self.expect_fate(conversation, &parcel, &message)?;
                    }
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
        let (app, chat) = match App::of(conversation, &self.config) {
            Ok(found) => found,
            Err(mute) => return Answer::Refused(mute.to_string()),
        };
        let trace = self.trace(conversation);
        if self.is_open(&app, conversation, trace.as_ref()) {
            let answer = self
                .send_content(&app, chat, conversation, parcel, allowance)
                .await;
            if !matches!(answer, Answer::Silenced { .. }) {
                return answer;
            }
            self.note_silence(conversation, trace.as_ref());
        }
        if self.trace(conversation) == trace {
            self.nudge(&app, conversation, parcel, allowance).await;
        }
        if self.trace(conversation) == trace {
            Answer::Silenced {
                until: now() + SILENCE_MILLIS,
            }
        } else {
            Answer::RetryAfter(1) // they have written meanwhile
        }
    }

    async fn send_content(
        self: &Rc<Self>,
        app: &App,
        chat: &str,
        conversation: &str,
        parcel: &Parcel,
        allowance: &Allowance,
    ) -> Answer {
        allowance.take();
        match &parcel.what {
            What::Said(Content::File { call, file }) => {
                self.send_file(app, chat, call, file, allowance).await
            }
            What::Said(Content::Text { text, buttons }) => {
                send_part(app, chat, text, buttons, parcel.part, allowance).await
            }
            What::Question(call) => {
                let (text, buttons) = self.question(conversation, call);
                send_part(app, chat, &text, &buttons, parcel.part, allowance).await
            }
        }
    }

    async fn send_file(
        self: &Rc<Self>,
        app: &App,
        chat: &str,
        call: &CallId,
        file: &FileRef,
        allowance: &Allowance,
    ) -> Answer {
        let (Ok(boundary), Ok(bytes)) = (random_bytes::<16>(), self.file_bytes(call)) else {
            return Answer::Refused("the file is not there any more".into());
        };
        let upload = match app.file(chat, file, boundary) {
            Ok(Carriage::Whole(request)) => {
                return meaning(ask(app, request, Some(bytes), FILE_LIMIT).await);
            }
            Ok(Carriage::Upload(request)) => request,
            Err(reason) => return Answer::Refused(reason),
        };
        let name = match ask(app, upload, Some(bytes), FILE_LIMIT).await {
            app::Answer::Ok {
                message_id: Some(name),
            } => name,
            app::Answer::Ok { message_id: None } => {
                return Answer::NotTaken("the app gave the file no name".into());
            }
            // What was only handed over, nobody has seen: it may be handed over again.
            app::Answer::Unclear(reason) => return Answer::NotTaken(reason),
            other @ (app::Answer::RetryAfter(_)
            | app::Answer::CannotParse
            | app::Answer::Blocked(_)
            | app::Answer::Silenced(_)
            | app::Answer::Refused(_)
            | app::Answer::Broken(_)) => return meaning(other),
        };
        allowance.take();
        match app.handed_over(chat, file, &name) {
            Some(request) => meaning(ask(app, request, None, MESSAGE_LIMIT).await),
            None => Answer::Refused("the app takes no files".into()),
        }
    }

    /// Keeps the typing sign up while something is under way in an app's chat.
    pub(super) fn keep_typing(self: &Rc<Self>, conversation: &str) {
        let Ok((app, chat)) = App::of(conversation, &self.config) else {
            return;
        };
        if !self.typing.borrow_mut().insert(conversation.to_owned()) {
            return;
        }
        let (heart, conversation, chat) =
            (Rc::clone(self), conversation.to_owned(), chat.to_owned());
        let allowance = self.allowance();
        self.state.wait_until(async move {
            let (mut left, mut shown_until) = (TYPING_TIMES, 0);
            while left > 0 {
                left = match heart.work(&conversation) {
                    Ok(Work::Here) => left - 1,
                    Ok(Work::AtHome) => (left - 1).min(TYPING_TIMES_AT_HOME),
                    Ok(Work::None) | Err(_) => break,
                };
                if now() >= shown_until {
                    let trace = heart.trace(&conversation);
                    let Some(sign) = app.typing(&chat, trace.as_ref()) else {
                        break;
                    };
                    if !allowance.spare() {
                        break;
                    }
                    ask(&app, sign, None, MESSAGE_LIMIT).await;
                    let lasts = i64::try_from(app.typing_lasts().as_millis());
                    shown_until = now() + lasts.unwrap_or_default();
                }
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
        let Ok((app, chat)) = App::of(conversation, &self.config) else {
            return;
        };
        let (told, goes) = match pressed {
            Pressed::Done(told) => (told, true),
            Pressed::StaysOpen(told) => (told, false),
            Pressed::Nothing => (NOTHING_LEFT, false),
        };
        let is_done = !matches!(pressed, Pressed::Nothing);
        let answer = app.answer_press(chat, press, told, is_done);
        let edit = if goes {
            app.without_buttons(chat, message)
        } else {
            None
        };
        let allowance = self.allowance();
        self.state.wait_until(async move {
            for request in [Some(answer), edit].into_iter().flatten() {
                if allowance.take() {
                    ask(&app, request, None, MESSAGE_LIMIT).await;
                }
            }
        });
    }

    /// Takes the buttons away from a message. A kindness, like the one above.
    pub(super) fn take_buttons_away(self: &Rc<Self>, conversation: &str, message: &str) {
        let Ok((app, chat)) = App::of(conversation, &self.config) else {
            return;
        };
        let Some(edit) = app.without_buttons(chat, message) else {
            return;
        };
        let allowance = self.allowance();
        self.state.wait_until(async move {
            if allowance.spare() {
                ask(&app, edit, None, MESSAGE_LIMIT).await;
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

/// Sends one part of a text; without markup where the app refuses that.
async fn send_part(
    app: &App,
    chat: &str,
    text: &str,
    buttons: &[Button],
    part: usize,
    allowance: &Allowance,
) -> Answer {
    let Some(part) = app.part(chat, text, buttons, part) else {
        return Answer::Refused("there is no such part".into());
    };
    let marked = ask(app, part.marked, None, MESSAGE_LIMIT).await;
    match part.plain {
        Some(plain) if marked == app::Answer::CannotParse && allowance.take() => {
            meaning(ask(app, plain, None, MESSAGE_LIMIT).await)
        }
        Some(_) | None => meaning(marked),
    }
}

/// Sends a request to an app and reads its answer. No answer at all is unclear, never a reason to send again.
pub(super) async fn ask(
    app: &App,
    outgoing: Outgoing,
    file: Option<FileBytes>,
    limit: Duration,
) -> app::Answer {
    match http::send(outgoing, file, limit).await {
        Ok(reply) => app.answer(reply.status, &reply.headers, &reply.body),
        Err(Error::Platform(error)) if is_refused_connection(&error) => {
            app::Answer::Broken("no connection".into())
        }
        Err(error) => app::Answer::Unclear(error.to_string()),
    }
}

/// What an app's answer means for the driver.
fn meaning(answer: app::Answer) -> Answer {
    match answer {
        app::Answer::Ok { message_id } => Answer::Taken {
            message: message_id,
        },
        app::Answer::Blocked(reason) | app::Answer::Refused(reason) => Answer::Refused(reason),
        app::Answer::CannotParse => Answer::Refused("its markup was refused".into()),
        app::Answer::Silenced(_) => Answer::Silenced {
            until: now() + SILENCE_MILLIS,
        },
        app::Answer::Unclear(reason) => Answer::Unclear(reason),
        app::Answer::RetryAfter(seconds) => Answer::RetryAfter(seconds),
        app::Answer::Broken(reason) => Answer::NotTaken(reason),
    }
}

fn log(parcel: &Parcel, answer: &Answer) {
    let id = parcel.id();
    match answer {
        Answer::Taken { .. } => {}
        Answer::RetryAfter(seconds) => {
            console_log!("the app takes {id} in {seconds} seconds");
        }
        Answer::Silenced { .. } => console_log!("{id} waits for the person to write"),
        Answer::NotTaken(reason) => console_log!("the app did not take {id}: {reason}"),
        Answer::Refused(reason) => console_error!("the app refused {id}: {reason}"),
        Answer::Unclear(reason) => {
            console_error!("the app may or may not have taken {id}: {reason}");
        }
    }
}

/// Whether a request cannot have arrived: nobody was there to take it.
fn is_refused_connection(error: &worker::Error) -> bool {
    let text = error.to_string();
    text.contains("Connection refused") || text.contains("connect() failed") || text.contains("DNS")
}
