//! Joining a machine: the link, the proofs, the owner's word that both ends show the same six words. And letting one go.

use super::{CONSOLE, Heart, now, store};
use crate::channels::console::PairingOffer;
use crate::directory::Directory;
use crate::error::{Error, Result};
use agent::event::Button;
use protocol::CLOSE_REVOKED;
use protocol::key::{PublicKey, SigningKey, random_text};
use protocol::pairing::{LINK_MILLIS, Link, MAX_NAME, MAX_TRIES, Request, fingerprint, six_words};
use serde::Deserialize;
use std::rc::Rc;
use worker::{Response, console_log};

#[derive(Deserialize)]
struct Open {
    secret: String,
    conversation: String,
    expires_at: i64,
    tries: i64,
    used: i64,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

#[derive(Deserialize)]
struct Key {
    public_key: String,
}

impl Heart {
    /// The key that signs orders to this person's machines. It is made at first need and never leaves the object.
    pub(super) fn command_key(&self) -> Result<SigningKey> {
        if let Some(text) = store::meta(self.db(), "command_key")? {
            return Ok(SigningKey::from_text(&text)?);
        }
        let key = SigningKey::generate()?;
        store::set_meta(self.db(), "command_key", &key.to_text())?;
        Ok(key)
    }

    pub(super) async fn offer_pairing_to_page(self: &Rc<Self>, origin: &str) -> Result<Response> {
        store::set_meta(self.db(), "origin", origin)?;
        Ok(Response::from_json(&self.offer_pairing(CONSOLE).await?)?)
    }

    pub(super) async fn offer_pairing_in_chat(
        self: &Rc<Self>,
        conversation: &str,
    ) -> Result<String> {
        let offer = self.offer_pairing(conversation).await?;
        Ok(format!(
            "On the machine, within five minutes, run:\n```\nlocal-bridge pair '{}'\n```\nIt works once. I will then show you six \
             words; compare them with the ones on the machine's screen.",
            offer.link
        ))
    }

    async fn offer_pairing(self: &Rc<Self>, conversation: &str) -> Result<PairingOffer> {
        let origin =
            store::meta(self.db(), "origin")?.ok_or(Error::Missing("the Worker's own address"))?;
        let expires_at = now() + LINK_MILLIS;
        let link = Link {
            worker: origin,
            pairing: random_text()?,
            secret: random_text()?,
            fingerprint: fingerprint(&self.command_key()?.public()),
        };
        self.db().run(
            "INSERT INTO pairings (id, secret, conversation, expires_at, tries, used) VALUES (?, ?, ?, ?, 0, 0)",
            &[(&link.pairing).into(), (&link.secret).into(), conversation.into(), expires_at.into()],
        )?;
        Directory::new(&self.env)?
            .open_pairing(&link.pairing, &self.user(), expires_at)
            .await?;
        Ok(PairingOffer {
            link: link.to_string(),
            expires_at,
        })
    }

    /// Judges a machine's request. Every refusal looks the same from outside.
    pub(super) async fn pair(self: &Rc<Self>, request: &Request) -> Result<Response> {
        let consumed = if self.frozen_since()?.is_some() {
            None
        } else {
            self.consume(request)?
        };
        let Some((key, secret, conversation)) = consumed else {
            return Ok(
                Response::from_json(&serde_json::json!({ "error": REFUSED }))?.with_status(401),
            );
        };
        let command_key = self.command_key()?;
        let answer = request.answer(&secret, &command_key);
        let (id, name) = (key.id().0, self.free_name(&request.name)?);
        self.db().run(
            "INSERT INTO bridges (id, name, public_key, state, at) VALUES (?, ?, ?, 'pending', ?)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, state = 'pending', at = excluded.at",
            &[(&id).into(), (&name).into(), (&request.bridge_key).into(), now().into()],
        )?;
        let directory = Directory::new(&self.env)?;
        directory
            .add_bridge(
                &id,
                &self.user(),
                &name,
                &request.bridge_key,
                &command_key.public().id().0,
                now(),
            )
            .await?;
        let words = six_words(&key, &command_key.public()).join(" ");
        if conversation == CONSOLE {
            self.show_bridges()?;
        }
        let text = format!(
            "**{name}** wants to be your machine. Its screen must show these six words:\n\n**{words}**\n\nOnly say yes if they are the same."
        );
        let buttons = vec![
            Button {
                label: "They match".into(),
                action: format!("pair:yes:{id}"),
            },
            Button {
                label: "No".into(),
                action: format!("pair:no:{id}"),
            },
        ];
        self.tell(
            &conversation,
            &format!("pair {}", request.pairing),
            text,
            buttons,
        )?;
        console_log!("a machine was paired and waits for its owner's word");
        Ok(Response::from_json(&answer)?)
    }

    /// Uses a link up: once, in time, and only by who has its secret. Wrong tries are counted, whoever makes them.
    fn consume(&self, request: &Request) -> Result<Option<(PublicKey, String, String)>> {
        self.db().transaction(|db| {
            let open: Option<Open> = db.first(
                "SELECT secret, conversation, expires_at, tries, used FROM pairings WHERE id = ?",
                &[(&request.pairing).into()],
            )?;
            let Some(open) = open else { return Ok(None) };
            if open.used != 0 || open.tries >= i64::from(MAX_TRIES) || open.expires_at < now() {
                return Ok(None);
            }
            let Ok(key) = request.check(&open.secret) else {
                db.run(
                    "UPDATE pairings SET tries = tries + 1 WHERE id = ?",
                    &[(&request.pairing).into()],
                )?;
                return Ok(None);
            };
            db.run(
                "UPDATE pairings SET used = 1, secret = '' WHERE id = ?",
                &[(&request.pairing).into()],
            )?;
            Ok(Some((key, open.secret, open.conversation)))
        })
    }

    /// The owner has seen the same words at both ends. False if this machine is unknown or out. Saying so again is harmless, and
    /// brings D1 up to date if the first time was cut off.
    pub(super) async fn confirm_bridge(self: &Rc<Self>, id: &str) -> Result<bool> {
        if self.frozen_since()?.is_some() {
            return Ok(false); // a machine that joins now could end the panic
        }
        let changed = self.db().changed(
            "UPDATE bridges SET state = 'active' WHERE id = ? AND state <> 'revoked' RETURNING 1",
            &[id.into()],
        )?;
        if changed {
            Directory::new(&self.env)?
                .set_bridge(&self.user(), id, "active", now())
                .await?;
            self.show_bridges()?;
        }
        Ok(changed)
    }

    /// Gives a machine another name: `rename OLD NEW`.
    pub(super) async fn rename_bridge(self: &Rc<Self>, argument: &str) -> Result<String> {
        let words: Vec<&str> = argument.split_whitespace().collect();
        let &["rename", old, new] = words.as_slice() else {
            return Ok("Say /bridges rename OLD NEW.".to_owned());
        };
        if !protocol::pairing::is_name(new) {
            return Ok(format!(
                "`{new}` is no name for a machine: letters, digits, - _ . and at most {MAX_NAME} of them."
            ));
        }
        if self.free_name(new)? != new {
            return Ok(format!("Another machine is called {new} already."));
        }
        let id: Option<Id> = self.db().first(
            "UPDATE bridges SET name = ? WHERE name = ? AND state <> 'revoked' RETURNING id",
            &[new.into(), old.into()],
        )?;
        let Some(Id { id }) = id else {
            return Ok(format!("No machine is called {old}; /bridges lists them."));
        };
        Directory::new(&self.env)?
            .name_bridge(&self.user(), &id, new)
            .await?;
        self.show_bridges()?;
        Ok(format!("{old} is called {new} now."))
    }

    /// Puts a machine out: its socket is closed before this returns. False if it was out already.
    pub(super) async fn revoke_bridge(self: &Rc<Self>, id: &str) -> Result<bool> {
        let changed = self.db().transaction(|db| {
            db.set_alarm_by(now())?; // cut off before the end, the alarm tells those who wait for this machine
            db.changed(
                "UPDATE bridges SET state = 'revoked' WHERE id = ? AND state <> 'revoked' RETURNING 1",
                &[id.into()],
            )
        })?;
        self.close_bridge(id, CLOSE_REVOKED, "revoked by its owner");
        if changed {
            Directory::new(&self.env)?
                .set_bridge(&self.user(), id, "revoked", now())
                .await?;
            self.show_bridges()?;
            self.resume(); // what waited for this machine waits in vain, and is told so
        }
        Ok(changed)
    }

    /// The six words of a machine that waits for its owner's word.
    pub(super) fn words_of(&self, id: &str) -> Result<Vec<String>> {
        let row: Option<Key> = self
            .db()
            .first("SELECT public_key FROM bridges WHERE id = ?", &[id.into()])?;
        let key = PublicKey::from_text(&row.ok_or(Error::Missing("the bridge"))?.public_key)?;
        Ok(six_words(&key, &self.command_key()?.public())
            .map(str::to_owned)
            .to_vec())
    }

    /// The wished name, or with a number if another machine has it.
    fn free_name(&self, wished: &str) -> Result<String> {
        #[derive(Deserialize)]
        struct Name {
            name: String,
        }
        let rows: Vec<Name> = self
            .db()
            .all("SELECT name FROM bridges WHERE state <> 'revoked'", &[])?;
        let taken = |name: &str| rows.iter().any(|row| row.name == name);
        let mut candidates =
            std::iter::once(wished.to_owned()).chain((2..).map(|n| format!("{wished}-{n}")));
        Ok(candidates
            .find(|name| !taken(name))
            .unwrap_or_else(|| wished.to_owned()))
    }
}

/// What a machine is told whose link does not work, whatever the reason.
pub(crate) const REFUSED: &str =
    "this pairing link does not work (any more); ask for a new one with /pair";
