//! What goes on, shown in an app's chat while it goes on: one silent message, changed about once a second, and gone when the answer comes.
//!
//! A kindness: nothing is lost with it. It is sent with what the invocation has to spare, what ends within a moment is not shown at all,
//! and after a crash what is left of it is taken away.

use super::courier::ask;
use super::{Heart, console, now, store};
use crate::channels::app::{Answer, App};
use crate::error::Result;
use agent::{gate, tool};
use protocol::call::{CallId, ToolCall};
use serde::Deserialize;
use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;
use std::time::Duration;
use worker::{Delay, console_error};

/// What ends sooner than this is not shown, in milliseconds.
const FIRST_MILLIS: i64 = 1_500;

/// How often it changes at first: as often as Telegram lets a bot edit in one chat.
const EVERY_MILLIS: i64 = 1_000;

/// How often it changes at the least, while there is something new.
const SELDOM_MILLIS: i64 = 5_000;

/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(10);

/// How much of an answer in the making is shown, in characters: its end.
const SHOWN: usize = 3_000;

/// How much of a program's last line.
const LINE: usize = 200;

/// Under which keys the ids of what is shown are kept.
const KEY: &str = "preview:";

/// A conversation's.
#[derive(Debug, Clone, Default)]
pub(super) struct Preview(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    /// What the model has answered so far.
    text: String,
    calls: Vec<Running>,
    /// The message, once it is sent.
    message: Option<String>,
    shown: String,
    /// When it may be sent or changed.
    next: i64,
    every: i64,
    /// Somebody sees to it.
    is_tended: bool,
    /// A request is under way: what it leads to, whoever sent it puts away.
    is_asking: bool,
    is_over: bool,
}

#[derive(Debug, Clone)]
struct Running {
    call: CallId,
    brief: String,
    line: String,
}

#[derive(Deserialize)]
struct Kept {
    key: String,
    value: String,
}

impl Heart {
    /// A call begins at home.
    pub(super) fn preview_call(self: &Rc<Self>, conversation: &str, call: &ToolCall) {
        self.change_preview(conversation, |state| {
            state.calls.retain(|running| running.call != call.id);
            state.calls.push(Running {
                call: call.id.clone(),
                brief: console::visible(&tool::brief(call)).replace('`', "'"),
                line: String::new(),
            });
        });
    }

    /// A program has written a line.
    pub(super) fn preview_line(self: &Rc<Self>, conversation: &str, call: &ToolCall, line: &str) {
        let line: String = line.chars().take(LINE).collect();
        let line = console::visible(&line).replace('`', "'");
        if !self.previews.borrow().contains_key(conversation) {
            self.preview_call(conversation, call);
        }
        self.change_preview(conversation, |state| {
            for running in &mut state.calls {
                if running.call == call.id {
                    running.line.clone_from(&line);
                }
            }
        });
    }

    /// A call has ended.
    pub(super) fn preview_without(self: &Rc<Self>, conversation: &str, call: &CallId) {
        if self.previews.borrow().contains_key(conversation) {
            self.change_preview(conversation, |state| {
                state.calls.retain(|running| running.call != *call);
            });
        }
    }

    /// The model has said more.
    pub(super) fn preview_text(self: &Rc<Self>, conversation: &str, more: &str) {
        self.change_preview(conversation, |state| state.text.push_str(more));
    }

    /// What the model has begun to say does not count.
    pub(super) fn preview_unsaid(&self, conversation: &str) {
        if let Some(preview) = self.previews.borrow().get(conversation) {
            preview.0.borrow_mut().text.clear();
        }
    }

    /// Something was said in earnest, below the preview: that goes. What still runs is shown anew, further down.
    pub(super) fn end_preview(self: &Rc<Self>, conversation: &str) {
        let Some(preview) = self.previews.borrow_mut().remove(conversation) else {
            return;
        };
        let (calls, message) = {
            let mut state = preview.0.borrow_mut();
            state.is_over = true;
            let message = if state.is_asking {
                None
            } else {
                state.message.take()
            };
            (std::mem::take(&mut state.calls), message)
        };
        if let Some(message) = message {
            self.take_preview_away(conversation.to_owned(), message);
        }
        if !calls.is_empty() {
            self.change_preview(conversation, |state| state.calls = calls);
        }
    }

    /// Takes away what an earlier instance has left.
    pub(super) fn sweep_previews(self: &Rc<Self>) -> Result<()> {
        let kept: Vec<Kept> = self.db().all(
            "SELECT key, value FROM meta WHERE key BETWEEN 'preview:' AND 'preview;' LIMIT 5",
            &[],
        )?;
        for Kept { key, value } in kept {
            let message = key.rsplit('/').next().unwrap_or_default().to_owned();
            self.take_preview_away(value, message);
        }
        Ok(())
    }

    fn change_preview(self: &Rc<Self>, conversation: &str, change: impl FnOnce(&mut State)) {
        let app = App::of(conversation, &self.config);
        if !app.is_ok_and(|(app, _)| app.has_previews()) {
            return; // a page sees each word by itself, and elsewhere nothing that was sent can be changed
        }
        let preview = {
            let mut previews = self.previews.borrow_mut();
            previews.entry(conversation.to_owned()).or_default().clone()
        };
        let mut state = preview.0.borrow_mut();
        change(&mut state);
        if state.next == 0 {
            (state.next, state.every) = (now() + FIRST_MILLIS, EVERY_MILLIS);
        }
        if !state.is_tended {
            state.is_tended = true;
            let (heart, conversation) = (Rc::clone(self), conversation.to_owned());
            let tended = preview.clone();
            self.state
                .wait_until(async move { heart.tend(&conversation, tended).await });
        }
    }

    /// Sends and changes the message until there is nothing new.
    async fn tend(self: Rc<Self>, conversation: &str, preview: Preview) {
        let allowance = self.allowance();
        let Ok((app, chat)) = App::of(conversation, &self.config) else {
            return;
        };
        while let Some(wait) = preview.wait() {
            Delay::from(wait).await;
            let Some((text, message)) = preview.news() else {
                break;
            };
            let request = match &message {
                Some(message) => app.preview_again(chat, message, &text),
                None => app.preview(chat, &text),
            };
            let Some(request) = request.filter(|_| allowance.spare()) else {
                break;
            };
            preview.0.borrow_mut().is_asking = true;
            let answer = ask(&app, request, None, LIMIT).await;
            preview.0.borrow_mut().is_asking = false;
            match answer {
                Answer::Ok { message_id } => self.shown(conversation, &preview, message_id),
                Answer::RetryAfter(seconds) => preview.later(seconds),
                Answer::Unclear(_) if message.is_none() => break, // it may be there already: never a second one
                Answer::Broken(_) | Answer::Unclear(_) => {
                    preview.later(SELDOM_MILLIS.unsigned_abs() / 1000);
                }
                Answer::CannotParse
                | Answer::Blocked(_)
                | Answer::Silenced(_)
                | Answer::Refused(_) => break,
            }
        }
        let mut state = preview.0.borrow_mut();
        state.is_tended = false;
        if state.is_over
            && let Some(message) = state.message.take()
        {
            self.take_preview_away(conversation.to_owned(), message);
        }
    }

    /// A message is shown, for the first time or again.
    fn shown(&self, conversation: &str, preview: &Preview, message: Option<String>) {
        let mut state = preview.0.borrow_mut();
        let Some(message) = message.filter(|_| state.message.is_none()) else {
            return;
        };
        if let Err(error) = store::set_meta(self.db(), &key(conversation, &message), conversation) {
            console_error!("noting a preview: {error}");
        }
        state.message = Some(message);
    }

    fn take_preview_away(self: &Rc<Self>, conversation: String, message: String) {
        let heart = Rc::clone(self);
        let allowance = self.allowance();
        self.state.wait_until(async move {
            let Ok((app, chat)) = App::of(&conversation, &heart.config) else {
                return;
            };
            if let Some(request) = app.take_away(chat, &message) {
                if !allowance.take() {
                    return; // what is noted is swept later
                }
                match ask(&app, request, None, LIMIT).await {
                    Answer::RetryAfter(_)
                    | Answer::CannotParse
                    | Answer::Broken(_)
                    | Answer::Unclear(_) => return,
                    Answer::Ok { .. }
                    | Answer::Blocked(_)
                    | Answer::Silenced(_)
                    | Answer::Refused(_) => {}
                }
            }
            let noted = key(&conversation, &message);
            let forgotten = heart
                .db()
                .run("DELETE FROM meta WHERE key = ?", &[(&noted).into()]);
            if let Err(error) = forgotten {
                console_error!("forgetting a preview: {error}");
            }
        });
    }
}

/// Under which key a message is noted.
fn key(conversation: &str, message: &str) -> String {
    format!("{KEY}{conversation}/{message}")
}

impl Preview {
    /// How long until there is something to show; nothing where there is nothing new.
    fn wait(&self) -> Option<Duration> {
        let state = self.0.borrow();
        let text = state.text();
        let is_news = !state.is_over && !text.is_empty() && text != state.shown;
        is_news.then(|| Duration::from_millis((state.next - now()).max(0).unsigned_abs()))
    }

    /// What is to be shown now, and the message that shows it already.
    fn news(&self) -> Option<(String, Option<String>)> {
        let mut state = self.0.borrow_mut();
        let text = state.text();
        if state.is_over || text.is_empty() {
            return None;
        }
        state.next = now() + state.every;
        state.every = (state.every + state.every / 4).min(SELDOM_MILLIS);
        state.shown.clone_from(&text);
        Some((text, state.message.clone()))
    }

    fn later(&self, seconds: u64) {
        let mut state = self.0.borrow_mut();
        let wait = i64::try_from(seconds)
            .unwrap_or(i64::MAX)
            .saturating_mul(1000);
        state.next = now().saturating_add(wait.min(60_000));
        state.shown.clear(); // it was not taken
    }
}

impl State {
    fn text(&self) -> String {
        let mut shown = String::new();
        let text = gate::for_people(&self.text);
        let skipped = text.chars().count().saturating_sub(SHOWN);
        if !text.trim().is_empty() {
            let end: String = text.chars().skip(skipped).collect();
            shown = format!(
                "{}{} …",
                if skipped > 0 { "… " } else { "" },
                end.trim_end()
            );
        }
        for Running { brief, line, .. } in &self.calls {
            let gap = if shown.is_empty() { "" } else { "\n\n" };
            let _infallible = write!(shown, "{gap}⏳ `{brief}`");
            if !line.trim().is_empty() {
                let _infallible = write!(shown, "\n`{line}`");
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_so_far_stands_above_what_runs_and_of_a_long_text_its_end() {
        let mut state = State {
            text: "Let me look.\n".to_owned(),
            ..State::default()
        };
        assert_eq!(state.text(), "Let me look. …");
        state.calls.push(Running {
            call: CallId("c1".into()),
            brief: "shell.run make".to_owned(),
            line: "compiling".to_owned(),
        });
        assert_eq!(
            state.text(),
            "Let me look. …\n\n⏳ `shell.run make`\n`compiling`"
        );
        state.text = "ä".repeat(SHOWN + 1);
        state.calls.clear();
        assert_eq!(state.text(), format!("… {} …", "ä".repeat(SHOWN)));
        state.text.clear();
        assert_eq!(state.text(), "");
    }
}
