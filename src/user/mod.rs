//! One person's Durable Object: its doors. Each thing that arrives becomes an [`Event`](agent::Event) for the agent, or an errand done here.
//!
//! What is decided and saved is in the `driver` crate, over the rows of `rows.rs`; what is then done is in `step.rs` and, one arm an act,
//! in `perform.rs`; the rest is one file an idea.

mod approvals;
mod bridges;
mod chores;
mod commands;
mod console;
mod courier;
pub mod db;
mod digest;
mod fates;
mod fetch;
mod files;
mod freeze;
mod given;
mod line;
mod machines;
mod media;
mod object;
mod pairing;
pub(crate) mod people;
mod perform;
mod preview;
mod receipts;
mod rows;
mod step;
mod store;
mod think;
mod undo;
mod window;

pub use object::UserObject;
pub(crate) use pairing::REFUSED as REFUSED_PAIRING;
pub(crate) use rows::span;

use crate::channels::{Fate, Inbound};
use crate::config::Config;
use crate::directory::Stranger;
use crate::error::{Error, Result};
use db::Db;
use driver::Driver;
use files::Partial;
use perform::Allowance;
use preview::Preview;
use protocol::call::CallId;
use protocol::{PING, PONG};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use think::Asks;
use worker::{
    Env, Request, Response, State, WebSocket, WebSocketIncomingMessage,
    WebSocketRequestResponsePair,
};

/// The console's conversation; each chat elsewhere has its own, named `<channel>:<chat>`.
pub(crate) const CONSOLE: &str = "console";

/// The tag of the sockets that bridges hold.
const BRIDGE_TAG: &str = "bridge";

/// The tag of the sockets that console pages hold.
const PAGE_TAG: &str = "page";

/// The header that carries an errand which opens a WebSocket.
pub(crate) const ERRAND_HEADER: &str = "x-bernard-errand";

/// What the front of the Worker asks of a person's object. Only the Worker itself can reach it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Errand {
    /// Take what the person did in a chat app.
    Inbound {
        inbound: Inbound,
        origin: String,
        claimed: bool,
    },
    /// Say something, once for each cause.
    Tell {
        conversation: String,
        cause: String,
        text: String,
    },
    /// This person has joined from another chat, by a code.
    Joined { conversation: String, cause: String },
    /// Somebody whom nobody knows has written; they were told this code.
    Knock { stranger: Stranger, code: String },
    /// This person is no longer welcome.
    Leave,
    /// Note what became of a message.
    Fate { fate: Fate },
    /// Make a pairing link.
    OfferPairing { origin: String },
    /// Judge a machine's request to be paired.
    Pair { request: protocol::pairing::Request },
    /// List the machines.
    Bridges,
    /// The owner has seen the same words twice.
    ConfirmBridge { id: String },
    /// The owner wants a machine out.
    RevokeBridge { id: String },
    /// Take a machine's socket; its token has been checked, its one-time id has not.
    AcceptBridge { id: String, token: String },
    /// A machine ends a panic; its token has been checked, its one-time id has not.
    Thaw { id: String, token: String },
    /// Take a console page's socket; `session` is the hash of the cookie that it came with.
    AcceptPage { origin: String, session: String },
    /// A browser has signed out: its pages' sockets end with the session.
    EndSession { session: String },
    /// Hand over a file.
    File { call: CallId },
    /// Take a file that the person gives: the request's body, of this length where that is known. The name is percent-encoded.
    GiveFile {
        name: String,
        mime: String,
        length: Option<u64>,
    },
}

/// What the object holds while it is awake. Nothing here matters after a restart: the rows are the truth.
struct Heart {
    state: State,
    env: Env,
    driver: Driver<Db>,
    config: Config,
    /// What the invocation that came last may still send.
    allowance: RefCell<Allowance>,
    /// Questions to the model, and how each is called off.
    abandoned: RefCell<Asks>,
    /// The ends of files that are too short for a row yet.
    partial: RefCell<HashMap<CallId, Partial>>,
    /// The hashes of files that came whole, until their results are here.
    digests: Rc<RefCell<HashMap<CallId, String>>>,
    /// How many files are being given at this moment.
    coming: Cell<u32>,
    /// Chats in which the typing sign is kept up.
    typing: RefCell<HashSet<String>>,
    /// What is shown in chats while it goes on.
    previews: RefCell<HashMap<String, Preview>>,
    /// Whether this instance has looked for what an earlier one left undone.
    awake: Cell<bool>,
}

impl Heart {
    fn new(state: State, env: Env) -> Self {
        if let Ok(pair) = WebSocketRequestResponsePair::new(PING, PONG) {
            state.set_websocket_auto_response(&pair);
        }
        let config = Config::read(|name| env.var(name).ok().map(|value| value.to_string()));
        Self {
            driver: Driver::new(Db::new(&state)),
            state,
            env,
            config,
            allowance: RefCell::default(),
            abandoned: RefCell::default(),
            partial: RefCell::default(),
            digests: Rc::default(),
            coming: Cell::new(0),
            typing: RefCell::default(),
            previews: RefCell::default(),
            awake: Cell::new(false),
        }
    }

    /// The person's rows.
    fn db(&self) -> &Db {
        self.driver.rows()
    }

    /// What may be sent by what is begun now.
    fn allowance(&self) -> Allowance {
        self.allowance.borrow().clone()
    }

    /// Begins an invocation: it may send anew, and the first of an instance prepares the rows and takes up what an earlier instance
    /// left undone.
    async fn wake(self: &Rc<Self>) -> Result<()> {
        self.allowance.replace(Allowance::default());
        if !self.awake.get() {
            self.db().prepare().await?;
            if !self.awake.replace(true) {
                self.resume();
                self.sweep_previews()?;
            }
        }
        Ok(())
    }

    async fn answer(self: &Rc<Self>, mut request: Request) -> Result<Response> {
        let errand = match request.headers().get(ERRAND_HEADER)? {
            Some(errand) => serde_json::from_str(&errand)?,
            None => serde_json::from_str(&request.text().await?)?,
        };
        match errand {
            Errand::Inbound {
                inbound,
                origin,
                claimed,
            } => self.take(inbound, &origin, claimed),
            Errand::Tell {
                conversation,
                cause,
                text,
            } => {
                self.tell(&conversation, &cause, text, Vec::new())?;
                Ok(Response::empty()?)
            }
            Errand::Joined {
                conversation,
                cause,
            } => self.joined(&conversation, &cause),
            Errand::Knock { stranger, code } => self.somebody_knocks(&stranger, &code),
            Errand::Leave => self.leave(),
            Errand::Fate { fate } => self.take_fate(&fate),
            Errand::OfferPairing { origin } => self.offer_pairing_to_page(&origin).await,
            Errand::Pair { request } => self.pair(&request).await,
            Errand::Bridges => Ok(Response::from_json(
                &serde_json::json!({ "bridges": self.bridges()? }),
            )?),
            Errand::ConfirmBridge { id } => answer_to(self.confirm_bridge(&id).await?),
            Errand::RevokeBridge { id } => answer_to(self.revoke_bridge(&id).await?),
            Errand::AcceptBridge { id, token } => self.accept_bridge(&id, &token),
            Errand::Thaw { id, token } => self.thaw_from_home(&id, &token),
            Errand::AcceptPage { origin, session } => self.accept_page(&origin, &session),
            Errand::EndSession { session } => self.end_session(&session),
            Errand::File { call } => self.hand_over(&call),
            Errand::GiveFile { name, mime, length } => {
                self.take_file(&name, &mime, length, &mut request).await
            }
        }
    }

    async fn heard(
        self: &Rc<Self>,
        socket: &WebSocket,
        message: WebSocketIncomingMessage,
    ) -> Result<()> {
        self.wake().await?;
        let tags = self.state.get_tags(socket);
        let from_bridge = tags.iter().any(|tag| tag == BRIDGE_TAG);
        match message {
            WebSocketIncomingMessage::String(text) if from_bridge => {
                self.bridge_said(socket, &text);
                Ok(())
            }
            WebSocketIncomingMessage::Binary(bytes) if from_bridge => {
                self.bridge_sent(socket, &bytes);
                Ok(())
            }
            WebSocketIncomingMessage::String(text) => self.page_said(socket, &text),
            WebSocketIncomingMessage::Binary(_) => {
                Err(Error::Violation("a page sends no binary frames".into()))
            }
        }
    }

    async fn gone(self: &Rc<Self>, socket: &WebSocket) {
        if self
            .state
            .get_tags(socket)
            .iter()
            .any(|tag| tag == BRIDGE_TAG)
            && self.wake().await.is_ok()
        {
            self.bridge_gone(socket);
        }
    }
}

fn answer_to(found: bool) -> Result<Response> {
    let status = if found { 200 } else { 404 };
    Ok(Response::from_json(&serde_json::json!({ "ok": found }))?.with_status(status))
}

/// Now, in milliseconds since 1970.
pub(crate) fn now() -> i64 {
    i64::try_from(worker::Date::now().as_millis()).unwrap_or(i64::MAX)
}
