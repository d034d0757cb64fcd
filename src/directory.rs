//! Who is who: D1. Whose chat is this, whose session, whose machine. What was said lies in each person's object, never here.

use crate::error::Result;
use protocol::key::{hex, random_bytes, sha256_hex};
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsValue;
use worker::{D1Database, D1PreparedStatement, Env};

/// How long links that do not work any more are kept, in milliseconds.
const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// How long a stranger's code works, and how long they are not answered again.
const KNOCK_MILLIS: i64 = 60 * 60 * 1000;

/// How many strangers may wait in one app; more are not answered.
const MOST_KNOCKS: i64 = 3;

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

/// Somebody whom nobody knows, and who has written.
#[derive(Debug, Clone, Copy)]
pub struct Knock<'a> {
    /// The app's name.
    pub channel: &'a str,
    /// Their numeric id there.
    pub address: &'a str,
    /// What the app calls them.
    pub name: &'a str,
    /// The chat to answer in.
    pub chat: &'a str,
    /// What they are told to show the owner.
    pub code: &'a str,
}

/// Somebody who waits for the owner's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stranger {
    /// The app's name.
    pub channel: String,
    /// Their numeric id there.
    pub address: String,
    /// What the app calls them.
    pub name: String,
    /// The chat to answer in.
    pub chat: String,
}

/// Somebody who is known, at one address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Known {
    /// Names them and their object.
    pub id: String,
    /// `owner`, `member` or `guest`.
    pub role: String,
    /// What they were called when they were let in.
    pub name: String,
    /// The app's name.
    pub channel: String,
    /// Their numeric id there.
    pub address: String,
}

#[derive(Deserialize)]
struct RoleRow {
    role: String,
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

    /// Who the owner is, if there is one.
    pub async fn owner(&self) -> Result<Option<String>> {
        self.user(
            "SELECT id AS user_id FROM users WHERE role = 'owner' LIMIT 1",
            &[],
        )
        .await
    }

    /// What a person may do: `owner`, `member` or `guest`.
    pub async fn role(&self, user: &str) -> Result<Option<String>> {
        let statement = self.bind("SELECT role FROM users WHERE id = ?", &[user.into()])?;
        let row: Option<RoleRow> = statement.first(None).await?;
        Ok(row.map(|row| row.role))
    }

    /// A stranger knocks; whether they are to be answered. Once for each code, a few at a time in each app, and never who was blocked.
    pub async fn knock(&self, knock: &Knock<'_>, now: i64) -> Result<bool> {
        self.changes(
                "INSERT INTO strangers (channel, address, notified_at, name, chat, code_hash, expires_at)
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
                 WHERE (SELECT count(*) FROM strangers WHERE channel = ?1 AND code_hash <> '' AND expires_at > ?3) < ?8
                 ON CONFLICT (channel, address) DO UPDATE SET notified_at = ?3, name = ?4, chat = ?5, code_hash = ?6, expires_at = ?7
                 WHERE strangers.blocked = 0 AND strangers.expires_at <= ?3",
                &[
                    knock.channel.into(),
                    knock.address.into(),
                    number(now),
                    knock.name.into(),
                    knock.chat.into(),
                    sha256_hex(knock.code.as_bytes()).into(),
                    number(now + KNOCK_MILLIS),
                    number(MOST_KNOCKS),
                ],
        )
        .await
    }

    /// The stranger who was given this code.
    pub async fn stranger_by_code(&self, code: &str, now: i64) -> Result<Option<Stranger>> {
        let statement = self.bind(
            "SELECT channel, address, name, chat FROM strangers WHERE code_hash = ? AND expires_at > ? AND blocked = 0",
            &[sha256_hex(code.as_bytes()).into(), number(now)],
        )?;
        Ok(statement.first(None).await?)
    }

    /// A stranger by their address.
    pub async fn stranger(&self, channel: &str, address: &str) -> Result<Option<Stranger>> {
        let statement = self.bind(
            "SELECT channel, address, name, chat FROM strangers WHERE channel = ? AND address = ?",
            &[channel.into(), address.into()],
        )?;
        Ok(statement.first(None).await?)
    }

    /// Makes a stranger a guest, once; gives who they are now.
    pub async fn let_in(&self, channel: &str, address: &str, now: i64) -> Result<Option<String>> {
        let fresh = hex(&random_bytes::<16>()?);
        // One batch is one transaction: of two yeses at once, the second finds no stranger any more.
        self.0
            .batch(vec![
                self.bind(
                    "INSERT INTO users (id, role, created_at, name) SELECT ?1, 'guest', ?2, name FROM strangers
                     WHERE channel = ?3 AND address = ?4
                     AND NOT EXISTS (SELECT 1 FROM identities WHERE identities.channel = ?3 AND identities.address = ?4)",
                    &[(&fresh).into(), number(now), channel.into(), address.into()],
                )?,
                self.bind(
                    "INSERT INTO identities (channel, address, user_id, created_at) SELECT ?1, ?2, id, ?3 FROM users WHERE id = ?4",
                    &[channel.into(), address.into(), number(now), (&fresh).into()],
                )?,
                self.bind(
                    "DELETE FROM strangers WHERE channel = ? AND address = ?",
                    &[channel.into(), address.into()],
                )?,
            ])
            .await?;
        let person = self.person(channel, address).await?;
        if let Some(person) = person.as_ref().filter(|person| **person == fresh) {
            self.audit(person, "let_in", channel, now).await?;
            return Ok(Some(person.clone()));
        }
        Ok(None)
    }

    /// Turns a stranger away: for a week, or for good. Whether there was one.
    pub async fn keep_out(
        &self,
        channel: &str,
        address: &str,
        for_good: bool,
        now: i64,
    ) -> Result<bool> {
        self.changes(
                "UPDATE strangers SET code_hash = '', blocked = ?1, expires_at = ?2 WHERE channel = ?3 AND address = ?4",
                &[
                    number(i64::from(for_good)),
                    number(now + 7 * DAY_MILLIS),
                    channel.into(),
                    address.into(),
                ],
        )
        .await
    }

    /// Everybody who is known, an entry for each address; the owner first.
    pub async fn people(&self) -> Result<Vec<Known>> {
        let statement = self.bind(
            "SELECT users.id AS id, role, name, coalesce(channel, 'console') AS channel, coalesce(address, '') AS address
             FROM users LEFT JOIN identities ON identities.user_id = users.id
             WHERE role = 'owner' OR channel IS NOT NULL ORDER BY role <> 'owner', users.created_at, identities.created_at",
            &[],
        )?;
        Ok(statement.all().await?.results()?)
    }

    /// Gives somebody other than the owner another role. Whether there was such a one. A guest's browsers, links and machines open nothing.
    pub async fn set_role(&self, user: &str, role: &str, now: i64) -> Result<bool> {
        if role == "guest" {
            self.shut(user).await?;
        }
        let changed = self
            .changes(
                "UPDATE users SET role = ? WHERE id = ? AND role <> 'owner'",
                &[role.into(), user.into()],
            )
            .await?;
        self.audit(user, &format!("made_{role}"), "", now).await?;
        Ok(changed)
    }

    /// Puts somebody other than the owner out: their addresses, browsers, links and machines open nothing any more. Whether there was
    /// such a one.
    pub async fn put_out(&self, user: &str, now: i64) -> Result<bool> {
        if !matches!(self.role(user).await?.as_deref(), Some("member" | "guest")) {
            return Ok(false);
        }
        self.run("DELETE FROM identities WHERE user_id = ?", &[user.into()])
            .await?;
        self.shut(user).await?;
        self.audit(user, "put_out", "", now).await?;
        Ok(true)
    }

    /// Makes a guest of somebody other than the owner, for whom no browser, link or machine opens anything.
    async fn shut(&self, user: &str) -> Result<()> {
        let batch: Result<Vec<D1PreparedStatement>> = [
            "UPDATE users SET role = 'guest' WHERE id = ? AND role <> 'owner'",
            "DELETE FROM sessions WHERE user_id = ?",
            "DELETE FROM sign_in_links WHERE user_id = ?",
            "DELETE FROM join_codes WHERE user_id = ?",
            "DELETE FROM pairings WHERE user_id = ?",
            "UPDATE bridges SET state = 'revoked' WHERE user_id = ?",
        ]
        .into_iter()
        .map(|query| self.bind(query, &[user.into()]))
        .collect();
        self.0.batch(batch?).await?;
        Ok(())
    }

    /// Takes back the code by which a person could join another chat app.
    pub async fn drop_join(&self, user: &str) -> Result<()> {
        self.run("DELETE FROM join_codes WHERE user_id = ?", &[user.into()])
            .await
    }

    /// Takes one of a person's addresses away, unless it is their last. Whether it was one of theirs.
    pub async fn forget_address(
        &self,
        user: &str,
        channel: &str,
        address: &str,
        now: i64,
    ) -> Result<bool> {
        let changed = self
            .changes(
                "DELETE FROM identities WHERE user_id = ?1 AND channel = ?2 AND address = ?3
                 AND (SELECT count(*) FROM identities WHERE user_id = ?1) > 1",
                &[user.into(), channel.into(), address.into()],
            )
            .await?;
        self.audit(user, "address_forgotten", channel, now).await?;
        Ok(changed)
    }

    /// Forgets that a stranger has knocked: nobody heard of it.
    pub async fn unknock(&self, channel: &str, address: &str) -> Result<()> {
        self.run(
            "DELETE FROM strangers WHERE channel = ? AND address = ? AND blocked = 0",
            &[channel.into(), address.into()],
        )
        .await
    }

    /// Keeps a code by which a person joins another chat app; an earlier one of theirs works no more. Guests have none.
    pub async fn open_join(&self, code: &str, user: &str, expires_at: i64) -> Result<()> {
        self.drop_join(user).await?;
        self.run(
            "INSERT INTO join_codes (hash, user_id, expires_at) SELECT ?1, id, ?3 FROM users WHERE id = ?2 AND role <> 'guest'",
            &[
                sha256_hex(code.as_bytes()).into(),
                user.into(),
                number(expires_at),
            ],
        )
        .await
    }

    /// Uses such a code up: the address becomes that person's.
    pub async fn join(
        &self,
        code: &str,
        channel: &str,
        address: &str,
        now: i64,
    ) -> Result<Option<String>> {
        let hash = sha256_hex(code.as_bytes());
        // One batch is one transaction: a code is used up by whoever joins with it, and by nobody else.
        self.0
            .batch(vec![
                self.bind(
                    "INSERT INTO identities (channel, address, user_id, created_at) SELECT ?1, ?2, user_id, ?3 FROM join_codes
                     WHERE hash = ?4 AND expires_at > ?3 ON CONFLICT DO NOTHING",
                    &[channel.into(), address.into(), number(now), (&hash).into()],
                )?,
                self.bind(
                    "DELETE FROM join_codes WHERE hash = ? AND expires_at > ?",
                    &[(&hash).into(), number(now)],
                )?,
            ])
            .await?;
        let Some(person) = self.person(channel, address).await? else {
            return Ok(None);
        };
        self.audit(&person, "joined", channel, now).await?;
        Ok(Some(person))
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
            "SELECT user_id FROM sign_in_links WHERE hash = ? AND used_at IS NULL AND expires_at > ? AND user_id IN (SELECT id FROM users WHERE role <> 'guest')",
            &[hash.into(), number(now)],
        )
        .await
    }

    /// Uses a sign-in link up; of two browsers at once, one gets it.
    pub async fn use_sign_in(&self, hash: &str, now: i64) -> Result<Option<String>> {
        self.user(
            "UPDATE sign_in_links SET used_at = ?2 WHERE hash = ?1 AND used_at IS NULL AND expires_at > ?2 AND user_id IN (SELECT id FROM users WHERE role <> 'guest') RETURNING user_id",
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
            "SELECT user_id FROM sessions WHERE hash = ? AND expires_at > ? AND user_id IN (SELECT id FROM users WHERE role <> 'guest')",
            &[hash.into(), number(now)],
        )
        .await
    }

    /// Ends a session.
    pub async fn close_session(&self, hash: &str) -> Result<()> {
        self.run("DELETE FROM sessions WHERE hash = ?", &[hash.into()])
            .await
    }

    /// Ends all sessions of a person but the one with this hash.
    pub async fn close_sessions(&self, user: &str, but: Option<&str>) -> Result<()> {
        self.run(
            "DELETE FROM sessions WHERE user_id = ? AND hash <> ?",
            &[user.into(), but.unwrap_or_default().into()],
        )
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
            "SELECT user_id FROM pairings WHERE id = ? AND expires_at > ? AND user_id IN (SELECT id FROM users WHERE role <> 'guest')",
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

    /// Whether a statement has changed anything.
    async fn changes(&self, query: &str, values: &[JsValue]) -> Result<bool> {
        let done = self.bind(query, values)?.run().await?;
        Ok(done.meta()?.and_then(|meta| meta.changes).unwrap_or(0) > 0)
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
