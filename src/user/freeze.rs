//! `/panic`: everything stops and every machine is cut off, until `/resume` from a place that whoever has stolen the chat does not have.

use super::{Heart, now, store};
use crate::directory::Directory;
use crate::error::Result;
use crate::time::utc;
use agent::Event;
use driver::Rows;
use protocol::CLOSE_FROZEN;
use std::rc::Rc;
use worker::{Response, console_error, console_log};

/// Since when everything is frozen, in milliseconds since 1970; empty while nothing is.
const FROZEN: &str = "frozen";

/// What a machine is told that dials in meanwhile.
const KEPT_OUT: &str =
    "frozen by /panic; /resume in the console, or `local-bridge resume` here, ends it";

impl Heart {
    /// Since when everything is frozen.
    pub(super) fn frozen_since(&self) -> Result<Option<i64>> {
        let since = store::meta(self.db(), FROZEN)?;
        Ok(since.and_then(|since| since.parse().ok()))
    }

    /// Stops every turn, calls off what runs and what waits, cuts every machine off, and signs every browser out but that of the session
    /// which wished it: who had the chat may have opened one. Links that were made in a chat open nothing any more.
    pub(super) async fn freeze(self: &Rc<Self>, session: Option<&str>) -> Result<String> {
        if self.frozen_since()?.is_none() {
            store::set_meta(self.db(), FROZEN, &now().to_string())?;
        }
        self.db()
            .run("UPDATE pairings SET used = 1, secret = ''", &[])?;
        for conversation in self.db().open()? {
            // What runs at home is called off while its machine still listens; one conversation's trouble holds nothing else up.
            if let Err(error) = self.step(&conversation, &Event::Stopped { at: now() }) {
                console_error!("stopping {conversation}: {error}");
            }
        }
        self.hang_up_on_all(CLOSE_FROZEN, KEPT_OUT);
        self.show_bridges()?;
        console_log!("frozen");
        let directory = Directory::new(&self.env)?;
        directory.drop_sign_in_links(&self.user()).await?;
        directory.drop_join(&self.user()).await?;
        let has_a_machine = self.has_a_machine()?;
        let end = match (session, has_a_machine) {
            (Some(_), _) => {
                "you write /resume here, or run `local-bridge resume` on a machine of yours; every other browser is signed out"
            }
            (None, true) => {
                "you run `local-bridge resume` on a machine of yours; this chat cannot end it, and every browser is signed out"
            }
            (None, false) => {
                "you write /resume in the console; this chat cannot end it, and you have no machine that could"
            }
        };
        if session.is_some() || has_a_machine {
            directory.close_sessions(&self.user(), session).await?;
            self.end_sessions_but(session)?;
        } // else nobody could end it
        Ok(format!(
            "Frozen. Every turn is stopped, what ran is called off, what waited is dropped, and every machine is cut off. It stays so until {end}."
        ))
    }

    /// Ends it, if the wish comes from a console whose session still stands: a stolen chat shall not undo its owner's panic, nor a page that
    /// the panic has signed out.
    pub(super) async fn thaw_from(self: &Rc<Self>, session: Option<&str>) -> Result<String> {
        if self.frozen_since()?.is_none() {
            return Ok("Nothing is frozen.".to_owned());
        }
        let user = match session {
            Some(session) => Directory::new(&self.env)?.session(session, now()).await?,
            None => None,
        };
        if user.as_deref() != Some(self.user().as_str()) {
            return Ok("That is not for a chat to decide: write /resume in the console, or run `local-bridge resume` on a machine of yours."
                .to_owned());
        }
        self.thaw()?;
        Ok("Thawed. Your machines may come back; what was stopped stays stopped.".to_owned())
    }

    /// Ends it for a machine that has proven itself.
    pub(super) fn thaw_from_home(self: &Rc<Self>, id: &str, token: &str) -> Result<Response> {
        if !self.admits(id, token)? {
            return Ok(Response::error("unauthorized", 401)?);
        }
        let was_frozen = self.frozen_since()?.is_some();
        self.thaw()?;
        Ok(Response::from_json(
            &serde_json::json!({ "thawed": was_frozen }),
        )?)
    }

    /// Whether there is a machine that could end it.
    fn has_a_machine(&self) -> Result<bool> {
        Ok(self.rows()?.iter().any(|row| row.state == "active"))
    }

    fn thaw(&self) -> Result<()> {
        store::set_meta(self.db(), FROZEN, "")?;
        self.db().set_alarm_by(now())?; // reminders have waited
        console_log!("thawed");
        Ok(())
    }

    /// What a person reads who writes meanwhile.
    pub(super) fn frozen_words(&self) -> Result<Option<String>> {
        Ok(self.frozen_since()?.map(|since| {
            format!(
                "I am frozen since {} and do nothing. /resume in the console, or `local-bridge resume` on a machine of yours, ends it.",
                utc(since)
            )
        }))
    }

    /// A machine that dials in while everything is frozen is told why it stays out.
    pub(super) fn kept_out(&self) -> Result<Option<Response>> {
        if self.frozen_since()?.is_none() {
            return Ok(None);
        }
        let body = serde_json::json!({ "error": KEPT_OUT });
        Ok(Some(Response::from_json(&body)?.with_status(423)))
    }
}
