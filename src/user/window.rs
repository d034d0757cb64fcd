//! Where an app lets Bernard write only for a while after a person's message: what is kept of that message, and what is done until the
//! next one.

use super::courier::ask;
use super::machines::HEARD_IN;
use super::perform::Allowance;
use super::{CONSOLE, Heart, now, store};
use crate::channels::app::{self, App, Trace};
use crate::channels::{Deed, Inbound};
use crate::error::Result;
use agent::Content;
use driver::{Parcel, What};
use serde::Deserialize;
use std::rc::Rc;
use std::time::Duration;
use worker::{console_error, console_log};

/// When what waits for a person's message is looked at by itself: there is nothing to find but that it still waits.
pub(super) const SILENCE_MILLIS: i64 = 7 * 24 * 60 * 60 * 1000;

/// Under which keys it is kept what a person wrote last.
const HEARD: &str = "heard:";

/// Under which keys it is kept after which message the app would take nothing more, before its time.
const SILENT: &str = "silent:";

/// Under which keys it is kept after which message the person was told that there is something for them.
const NUDGED: &str = "nudged:";

/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Name {
    id: String,
}

impl Heart {
    /// Notes that a person has written, where their app asks for it; what waited for that goes on its way.
    pub(super) fn note_heard(self: &Rc<Self>, inbound: &Inbound) -> Result<()> {
        let Some(trace) = app::trace(inbound) else {
            return Ok(());
        };
        let conversation = inbound.conversation();
        if self
            .trace(&conversation)
            .is_some_and(|known| known.at > trace.at)
        {
            return Ok(()); // an app may deliver an older message late
        }
        let key = format!("{HEARD}{conversation}");
        store::set_meta(self.db(), &key, &serde_json::to_string(&trace)?)?;
        let acts = self.driver.heard_from(&conversation, now())?;
        self.act(acts);
        Ok(())
    }

    /// Shows a person that their message was seen, where that is for Bernard to do. A kindness.
    pub(super) fn show_seen(self: &Rc<Self>, inbound: &Inbound) {
        let (conversation, allowance) = (inbound.conversation(), self.allowance());
        let is_thought_about = matches!(inbound.deed, Deed::Wrote { .. } | Deed::Gave { .. });
        if is_thought_about && !self.typing.borrow().contains(&conversation) {
            return; // the typing sign will show it
        }
        let Ok((app, _)) = App::of(&conversation, &self.config) else {
            return;
        };
        let Some(seen) = app::trace(inbound).and_then(|trace| app.seen(&trace)) else {
            return;
        };
        self.state.wait_until(async move {
            if allowance.spare() {
                ask(&app, seen, None, LIMIT).await;
            }
        });
    }

    /// What is known of a person's last message.
    pub(super) fn trace(&self, conversation: &str) -> Option<Trace> {
        let kept = store::meta(self.db(), &format!("{HEARD}{conversation}"));
        serde_json::from_str(&kept.ok()??).ok()
    }

    /// The app's id of a person's last message; empty where none is known.
    pub(super) fn last_heard(&self, conversation: &str) -> String {
        let trace = self.trace(conversation);
        trace.map_or_else(String::new, |trace| trace.message)
    }

    /// Whether the app would take something.
    pub(super) fn is_open(&self, app: &App, conversation: &str, trace: Option<&Trace>) -> bool {
        let silent = store::meta(self.db(), &format!("{SILENT}{conversation}"));
        let last = trace.map_or("", |trace| trace.message.as_str());
        app.is_open(trace, now()) && !matches!(silent, Ok(Some(silent)) if silent == last)
    }

    /// The app has said that it takes nothing before the next message.
    pub(super) fn note_silence(&self, conversation: &str, trace: Option<&Trace>) {
        let message = trace.map_or("", |trace| trace.message.as_str());
        let key = format!("{SILENT}{conversation}");
        if let Err(error) = store::set_meta(self.db(), &key, message) {
            console_error!("noting that {conversation} is silent: {error}");
        }
    }

    /// Tells someone, once for each time that they have fallen silent, that there is something for them: by what the app allows, or else
    /// where they can be reached.
    pub(super) async fn nudge(
        self: &Rc<Self>,
        app: &App,
        conversation: &str,
        parcel: &Parcel,
        allowance: &Allowance,
    ) {
        let trace = self.trace(conversation);
        let since = trace.map_or_else(|| "ever".to_owned(), |trace| trace.message);
        let key = format!("{NUDGED}{conversation}");
        let nudged = store::meta(self.db(), &key);
        if !matches!(nudged, Ok(known) if known.as_deref() != Some(since.as_str())) {
            return;
        }
        // Noted before it is done: better no nudge than one each time that the object dies of it.
        if let Err(error) = store::set_meta(self.db(), &key, &since) {
            console_error!("noting a nudge at {conversation}: {error}");
            return;
        }
        let chat = conversation.split_once(':').map_or("", |(_, chat)| chat);
        if let Some(nudge) = app.nudge(chat)
            && allowance.take()
        {
            match ask(app, nudge, None, LIMIT).await {
                app::Answer::Ok { .. } | app::Answer::Unclear(_) => return,
                refused @ (app::Answer::RetryAfter(_)
                | app::Answer::CannotParse
                | app::Answer::Blocked(_)
                | app::Answer::Silenced(_)
                | app::Answer::Refused(_)
                | app::Answer::Broken(_)) => {
                    console_error!("{} did not take the nudge: {refused:?}", app.name());
                }
            }
        }
        self.tell_elsewhere(app, conversation, &since, parcel);
    }

    /// Tells a person what waits for them in an app that is silent.
    fn tell_elsewhere(
        self: &Rc<Self>,
        app: &App,
        conversation: &str,
        since: &str,
        parcel: &Parcel,
    ) {
        let what = match &parcel.what {
            What::Said(Content::Text { text, .. }) => format!("It says:\n\n{text}"),
            What::Said(Content::File { file, .. }) => format!("It is the file {}.", file.name),
            What::Question(call) => {
                let (text, _) = self.question(conversation, call);
                format!("It is a question, to be answered there:\n\n{text}")
            }
        };
        let text = format!(
            "I have something for you on {}, where I may write only after you have written again. {what}",
            app.name()
        );
        let told = self.elsewhere(conversation).and_then(|place| {
            console_log!("{conversation} is silent: told in {place}");
            self.tell(
                &place,
                &format!("nudge {conversation} {since}"),
                text,
                Vec::new(),
            )
        });
        if let Err(error) = told {
            console_error!("telling of {conversation} elsewhere: {error}");
        }
    }

    /// Where else the person can be reached: where they wrote last, in another app, on the page.
    pub(super) fn elsewhere(&self, conversation: &str) -> Result<String> {
        let last = store::meta(self.db(), HEARD_IN)?;
        let all: Vec<Name> = self
            .db()
            .all("SELECT id FROM conversations ORDER BY no DESC", &[])?;
        let mut places = last.into_iter().chain(all.into_iter().map(|row| row.id));
        let reached = places.find(|place| {
            let app = App::of(place, &self.config);
            place != conversation
                && app.is_ok_and(|(app, _)| self.is_open(&app, place, self.trace(place).as_ref()))
        });
        Ok(reached.unwrap_or_else(|| CONSOLE.to_owned()))
    }
}
