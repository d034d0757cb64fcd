//! Who is who: D1. Whose chat is this, whose session, whose machine. What was said lies in each person's object, never here.

use crate::error::Result;
use protocol::key::{hex, random_bytes, sha256_hex};
use serde::Deserialize;
use wasm_bindgen::JsValue;
use worker::{D1Database, D1PreparedStatement, Env};

/// How long links that do not work any more are kept, in milliseconds.
const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// The database of who is who.
pub struct Directory(D1Database);

/// A machine as the door knows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BridgeRow {
    /// Its key's thumbprint.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Its public key, base64url.
    pub public_key: String,
    /// The thumbprint of the command key that it was paired with.
    pub command_key: String,
    /// `pending`, `active` or `revoked`.
    pub state: String,
}

#[derive(Deserialize)]
struct User {
    user_id: String,
}

impl Directory {
    /// The binding `DB`.
    pub fn new(env: &Env) -> Result<Self> {
        Ok(Self(env.d1("DB")?))
    }

    /// Whose address this is in a chat app.
    pub async fn person(&self, channel: &str, address: &str) -> Result<Option<String>> {
        self.user(
            "SELECT user_id FROM identities WHERE channel = ? AND address = ?",
            &[channel.into(), address.into()],
        )
        .await
    }

    /// Makes an address the owner's, if nobody has used this claim before. The first claim makes the owner; an owner who is there
    /// already, from the console, gets the address added.
    pub async fn claim(
        &self,
        claim: &str,
        channel: &str,
        address: &str,
        now: i64,
    ) -> Result<Option<String>> {
        let hash = sha256_hex(claim.as_bytes());
        let fresh = hex(&random_bytes::<16>()?);
        let owner = "(SELECT id FROM users WHERE role = 'owner' LIMIT 1)";
        // One batch is one transaction: of two claims at once, the second finds the first one's row.
        self.0
            .batch(vec![
                self.bind(
                    "INSERT INTO users (id, role, created_at) SELECT ?1, 'owner', ?2
                     WHERE NOT EXISTS (SELECT 1 FROM users WHERE role = 'owner') AND NOT EXISTS (SELECT 1 FROM claims WHERE hash = ?3)",
                    &[(&fresh).into(), number(now), (&hash).into()],
                )?,
                self.bind(
                    &format!(
                        "INSERT INTO identities (channel, address, user_id, created_at) SELECT ?1, ?2, {owner}, ?3
                         WHERE NOT EXISTS (SELECT 1 FROM claims WHERE hash = ?4) ON CONFLICT DO NOTHING"
                    ),
                    &[channel.into(), address.into(), number(now), (&hash).into()],
                )?,
                self.bind(
                    &format!("INSERT INTO claims (hash, used_by, used_at) SELECT ?1, {owner}, ?2 WHERE true ON CONFLICT DO NOTHING"),
                    &[(&hash).into(), number(now)],
                )?,
            ])
            .await?;
        let person = self.person(channel, address).await?;
        if let Some(person) = &person {
            self.audit(person, "owner_claimed", channel, now).await?;
        }
        Ok(person)
    }

    /// Whether this stranger is seen for the first time; later it is not.
    pub async fn meet_stranger(&self, channel: &str, address: &str, now: i64) -> Result<bool> {
        let done = self
            .bind(
                "INSERT INTO strangers (channel, address, notified_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                &[channel.into(), address.into(), number(now)],
            )?
            .run()
            .await?;
        Ok(done.meta()?.and_then(|meta| meta.changes).unwrap_or(0) > 0)
    }

    /// Keeps a sign-in link's hash.
    pub async fn open_sign_in(&self, hash: &str, user: &str, expires_at: i64) -> Result<()> {
        self.run(
            "DELETE FROM sign_in_links WHERE expires_at < ?",
            &[number(expires_at - DAY_MILLIS)],
        )
        .await?;
        self.run(
            "INSERT INTO sign_in_links (hash, user_id, expires_at) VALUES (?, ?, ?)",
            &[hash.into(), user.into(), number(expires_at)],
        )
        .await
    }

    /// Whose sign-in link this is, if it still works.
    pub async fn sign_in(&self, hash: &str, now: i64) -> Result<Option<String>> {
        self.user(
            "SELECT user_id FROM sign_in_links WHERE hash = ? AND used_at IS NULL AND expires_at > ?",
            &[hash.into(), number(now)],
        )
        .await
    }

    /// Uses a sign-in link up; of two browsers at once, one gets it.
    pub async fn use_sign_in(&self, hash: &str, now: i64) -> Result<Option<String>> {
        self.user(
            "UPDATE sign_in_links SET used_at = ?2 WHERE hash = ?1 AND used_at IS NULL AND expires_at > ?2 RETURNING user_id",
            &[hash.into(), number(now)],
        )
        .await
    }

    /// Keeps a session's hash.
    pub async fn open_session(
        &self,
        hash: &str,
        user: &str,
        expires_at: i64,
        now: i64,
    ) -> Result<()> {
        self.run("DELETE FROM sessions WHERE expires_at < ?", &[number(now)])
            .await?;
        self.run(
            "INSERT INTO sessions (hash, user_id, expires_at) VALUES (?, ?, ?)",
            &[hash.into(), user.into(), number(expires_at)],
        )
        .await?;
        self.audit(user, "signed_in", "console", now).await
    }

    /// Whose session this is.
    pub async fn session(&self, hash: &str, now: i64) -> Result<Option<String>> {
        self.user(
            "SELECT user_id FROM sessions WHERE hash = ? AND expires_at > ?",
            &[hash.into(), number(now)],
        )
        .await
    }

    /// Ends a session.
    pub async fn close_session(&self, hash: &str) -> Result<()> {
        self.run("DELETE FROM sessions WHERE hash = ?", &[hash.into()])
            .await
    }

    /// Says which person's object judges a pairing.
    pub async fn open_pairing(&self, id: &str, user: &str, expires_at: i64) -> Result<()> {
        self.run(
            "DELETE FROM pairings WHERE expires_at < ?",
            &[number(expires_at - DAY_MILLIS)],
        )
        .await?;
        self.run(
            "INSERT INTO pairings (id, user_id, expires_at) VALUES (?, ?, ?)",
            &[id.into(), user.into(), number(expires_at)],
        )
        .await
    }

    /// Whose pairing this is.
    pub async fn pairing(&self, id: &str, now: i64) -> Result<Option<String>> {
        self.user(
            "SELECT user_id FROM pairings WHERE id = ? AND expires_at > ?",
            &[id.into(), number(now)],
        )
        .await
    }

    /// Keeps a machine that waits for its owner's word. A machine that someone else has paired stays theirs.
    pub async fn add_bridge(
        &self,
        id: &str,
        user: &str,
        name: &str,
        public_key: &str,
        command_key: &str,
        now: i64,
    ) -> Result<()> {
        self.run(
            "INSERT INTO bridges (id, user_id, name, public_key, command_key, state, created_at) VALUES (?1, ?2, ?3, ?4, ?5, 'pending', ?6)
             ON CONFLICT (id) DO UPDATE SET name = ?3, command_key = ?5, state = 'pending' WHERE user_id = ?2",
            &[id.into(), user.into(), name.into(), public_key.into(), command_key.into(), number(now)],
        )
        .await?;
        self.audit(user, "bridge_paired", id, now).await
    }

    /// Changes how a machine stands.
    pub async fn set_bridge(&self, user: &str, id: &str, state: &str, now: i64) -> Result<()> {
        self.run(
            "UPDATE bridges SET state = ? WHERE id = ? AND user_id = ?",
            &[state.into(), id.into(), user.into()],
        )
        .await?;
        self.audit(user, &format!("bridge_{state}"), id, now).await
    }

    /// Takes back every sign-in link of a person that was not used.
    pub async fn drop_sign_in_links(&self, user: &str) -> Result<()> {
        self.run(
            "DELETE FROM sign_in_links WHERE user_id = ? AND used_at IS NULL",
            &[user.into()],
        )
        .await
    }

    /// Gives a machine another name.
    pub async fn name_bridge(&self, user: &str, id: &str, name: &str) -> Result<()> {
        self.run(
            "UPDATE bridges SET name = ? WHERE id = ? AND user_id = ?",
            &[name.into(), id.into(), user.into()],
        )
        .await
    }

    /// A machine by its key's thumbprint.
    pub async fn bridge(&self, id: &str) -> Result<Option<BridgeRow>> {
        let statement = self.bind(
            "SELECT id, user_id, public_key, command_key, state FROM bridges WHERE id = ?",
            &[id.into()],
        )?;
        Ok(statement.first(None).await?)
    }

    async fn audit(&self, user: &str, deed: &str, subject: &str, now: i64) -> Result<()> {
        self.run(
            "INSERT INTO audit (at, user_id, deed, subject) VALUES (?, ?, ?, ?)",
            &[number(now), user.into(), deed.into(), subject.into()],
        )
        .await
    }

    async fn user(&self, query: &str, values: &[JsValue]) -> Result<Option<String>> {
        let row: Option<User> = self.bind(query, values)?.first(None).await?;
        Ok(row.map(|row| row.user_id))
    }

    async fn run(&self, query: &str, values: &[JsValue]) -> Result<()> {
        self.bind(query, values)?.run().await?;
        Ok(())
    }

    fn bind(&self, query: &str, values: &[JsValue]) -> Result<D1PreparedStatement> {
        Ok(self.0.prepare(query).bind(values)?)
    }
}

/// A whole number for D1, whose own integers have 32 bits.
#[expect(
    clippy::cast_precision_loss,
    reason = "JavaScript has no other number; times stay under 2^53"
)]
fn number(value: i64) -> JsValue {
    JsValue::from_f64(value as f64)
}
