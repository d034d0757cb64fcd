//! The machines' sockets: who is there, the proof both ways, orders out, results and files in.

use super::fetch::Sending;
use super::files::Arrived;
use super::line::{Line, Phase, hang_up, is_alive, line, ready, send, set_line};
use super::{BRIDGE_TAG, Heart, console, now};
use crate::channels::console::{Bridge, BridgeState};
use crate::error::{Error, Result};
use agent::event::Button;
use driver::{Act, Rows, WAIT_MILLIS};
use protocol::call::{CallId, Outcome, ToolCall};
use protocol::chunk::Chunk;
use protocol::key::{KeyId, PublicKey, random_text, sha256_hex};
use protocol::session::{Hello, Transcript, session_id};
use protocol::token::{self, Binding, Kind, LIFE_SECONDS};
use protocol::warrant::{CANCEL, PROPOSE, Receipt, Warrant};
use protocol::{CLOSE_REPLACED, CLOSE_VIOLATION, ToBridge, ToWorker, VERSION, read_frame};
use serde::Deserialize;
use serde_json::json;
use std::rc::Rc;
use worker::{Response, WebSocket, WebSocketPair, console_error, console_log};

/// The close code for a connection that should be made again.
const CLOSE_AGAIN: u16 = 1012;

/// How many calls are called off once more when their machine is back.
const CALLED_OFF: i64 = 32;

/// The most of an outcome's text that is kept, in characters: the results of sixteen calls must fit into one row of 2 MB.
const OUTCOME_LIMIT: usize = 100_000;

/// The most that is told of what waits at home, in characters; the machine shows all of it.
const ACTION_LIMIT: usize = 3_000;

/// The most that is told of a rule at home, in characters.
const WHY_LIMIT: usize = 300;

#[derive(Deserialize)]
pub(super) struct BridgeRow {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) state: String,
    hello: Option<String>,
    seen_at: Option<i64>,
}

#[derive(Deserialize)]
struct KeyRow {
    public_key: String,
    state: String,
}

impl Heart {
    /// Takes a machine's socket. Its token was checked at the door; here it is used up, and the machine's standing is judged.
    pub(super) fn accept_bridge(self: &Rc<Self>, id: &str, token: &str) -> Result<Response> {
        if !self.admits(id, token)? {
            return Ok(Response::error("unauthorized", 401)?);
        }
        if let Some(kept_out) = self.kept_out()? {
            return Ok(kept_out);
        }
        self.close_bridge(id, CLOSE_REPLACED, "replaced by a newer connection");
        let pair = WebSocketPair::new()?;
        self.state
            .accept_websocket_with_tags(&pair.server, &[BRIDGE_TAG, id]);
        let nonce = random_text()?;
        set_line(
            &pair.server,
            &Line {
                bridge: id.to_owned(),
                phase: Phase::Challenged {
                    nonce: nonce.clone(),
                },
                sending: Sending::default(),
            },
        )?;
        send(
            &pair.server,
            &ToBridge::Challenge {
                version: VERSION,
                nonce,
            },
        )?;
        Ok(Response::from_websocket(pair.client)?)
    }

    /// Whether a machine with this token, which was checked at the door, is one of ours; the token is used up.
    pub(super) fn admits(&self, id: &str, token: &str) -> Result<bool> {
        let expires = now() + i64::try_from(2 * LIFE_SECONDS * 1000).unwrap_or(0);
        let fresh = self.db().changed(
            "INSERT INTO tokens (id, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING 1",
            &[token.into(), expires.into()],
        )?;
        Ok(fresh && self.key_of(id)?.is_some_and(|row| row.state == "active"))
    }

    /// A text frame from a machine. Whatever breaks the rules closes the socket.
    pub(super) fn bridge_said(self: &Rc<Self>, socket: &WebSocket, text: &str) {
        let done = read_frame(text)
            .map_err(|error| Error::Violation(error.to_string()))
            .and_then(|frame: ToWorker| self.frame(socket, frame));
        judged(socket, done);
    }

    /// A binary frame from a machine: a piece of a file.
    pub(super) fn bridge_sent(self: &Rc<Self>, socket: &WebSocket, bytes: &[u8]) {
        let done = ready(socket)
            .and_then(|(bridge, _)| {
                let chunk =
                    Chunk::decode(bytes).map_err(|error| Error::Violation(error.to_string()))?;
                Ok((bridge, chunk))
            })
            .and_then(
                |(bridge, chunk)| match self.file_goes_on(&bridge, &chunk)? {
                    Some(until) => send(
                        socket,
                        &ToBridge::Credit {
                            call: chunk.call,
                            until,
                        },
                    ),
                    None => Ok(()),
                },
            );
        judged(socket, done);
    }

    fn frame(self: &Rc<Self>, socket: &WebSocket, frame: ToWorker) -> Result<()> {
        match frame {
            ToWorker::Answer {
                nonce,
                hello,
                signature,
            } => self.begin_session(socket, &nonce, &hello, &signature),
            ToWorker::FileStart {
                call,
                name,
                mime,
                size,
            } => {
                let (bridge, _) = ready(socket)?;
                if self.is_over(&call)? {
                    return Ok(()); // it was called off while the file was on its way: without credit, no more comes
                }
                let open = self.driver.open_call(&call)?;
                if open.and_then(|open| open.bridge).as_ref() != Some(&bridge) {
                    return Err(Error::Violation(
                        "a file for a call that nobody ordered from here".into(),
                    ));
                }
                let until = self.file_starts(&bridge, &call, &name, &mime, size)?;
                send(socket, &ToBridge::Credit { call, until })
            }
            ToWorker::Want { call } => self.fetch(socket, call),
            ToWorker::Read { mark } => self.has_read(socket, &mark),
            ToWorker::Waiting { call, why, minutes } => {
                self.waits_at_home(socket, &call, &why, minutes)
            }
            ToWorker::Progress { call, line } => {
                let (bridge, _) = ready(socket)?;
                match self.driver.open_call(&call)? {
                    Some(row) if row.bridge.as_ref() == Some(&bridge) => {
                        self.preview_line(&row.conversation, &row.call, &line);
                        self.show_progress(&call, &line)
                    }
                    Some(_) | None => Ok(()), // it was called off meanwhile
                }
            }
            ToWorker::Result {
                call,
                outcome,
                receipt,
            } => self.result(socket, call, &outcome, &receipt),
        }
    }

    /// The machine has answered the challenge: it is who its key says, and now the Worker proves itself.
    fn begin_session(
        self: &Rc<Self>,
        socket: &WebSocket,
        bridge_nonce: &str,
        hello: &str,
        signature: &str,
    ) -> Result<()> {
        let line = line(socket)?;
        let Phase::Challenged { nonce } = &line.phase else {
            return Err(Error::Violation("an answer to no challenge".into()));
        };
        let key = self
            .key_of(&line.bridge)?
            .ok_or(Error::Missing("the bridge"))?;
        if key.state != "active" {
            return Err(Error::Violation("not confirmed, or revoked".into()));
        }
        let command_key = self.command_key()?;
        let command_id = command_key.public().id();
        let transcript = Transcript {
            bridge: &line.bridge,
            command_key: &command_id.0,
            worker_nonce: nonce,
            bridge_nonce,
            version: VERSION,
            hello,
        };
        PublicKey::from_text(&key.public_key)?
            .verify(&transcript.bridge_bytes(), signature)
            .map_err(|error| Error::Violation(error.to_string()))?;
        let said: Hello =
            serde_json::from_str(hello).map_err(|error| Error::Violation(error.to_string()))?;
        let own = command_key.sign(&transcript.worker_bytes());
        let session = session_id(&transcript, signature, &own);
        set_line(
            socket,
            &Line {
                bridge: line.bridge.clone(),
                phase: Phase::Ready {
                    session,
                    seq: 0,
                    at: now(),
                },
                sending: Sending::default(),
            },
        )?;
        self.db().run(
            "UPDATE bridges SET hello = ?, seen_at = ? WHERE id = ?",
            &[hello.into(), now().into(), (&line.bridge).into()],
        )?;
        send(socket, &ToBridge::Welcome { signature: own })?;
        console_log!("a machine is here with {} tools", said.tools.len());
        if let Err(error) = self.tell_policy_fault(&line.bridge, &said) {
            console_error!("telling of a policy's fault: {error}");
        }
        self.show_bridges()?;
        self.call_off_again(socket, &line.bridge)?;
        self.resume();
        Ok(())
    }

    /// Calls off what was called off while this machine's line was down: it may still run there, or wait for a yes.
    fn call_off_again(&self, socket: &WebSocket, bridge: &str) -> Result<()> {
        #[derive(Deserialize)]
        struct Called {
            id: String,
        }
        let called_off: Vec<Called> = self.db().all(
            "SELECT id FROM calls WHERE bridge = ? AND receipt IS NULL AND ended_at > ? ORDER BY ended_at DESC LIMIT ?",
            &[bridge.into(), (now() - WAIT_MILLIS).into(), CALLED_OFF.into()],
        )?;
        for call in called_off {
            self.call_off(socket, &CallId(call.id))?;
        }
        Ok(())
    }

    /// The socket of a connection, while it is alive.
    pub(super) fn socket_of(&self, line: &driver::Line) -> Option<WebSocket> {
        let mut here = self.ready_sockets().into_iter();
        here.find(|(_, ready)| ready == line)
            .map(|(socket, _)| socket)
    }

    /// Whether a connection is alive.
    pub(super) fn is_line_alive(&self, line: &driver::Line) -> bool {
        self.socket_of(line).is_some()
    }

    /// Signs one call and sends it down the socket.
    pub(super) fn order(&self, socket: &WebSocket, id: &CallId, call: &ToolCall) -> Result<()> {
        let Line {
            bridge,
            phase: Phase::Ready { session, seq, at },
            sending,
        } = line(socket)?
        else {
            return Err(Error::Missing("the session"));
        };
        let seq = seq + 1;
        let command_key = self.command_key()?;
        let (issuer, audience) = (command_key.public().id(), KeyId(bridge.clone()));
        let binding = Binding {
            issuer: &issuer,
            audience: &audience,
            nonce: Some(&session),
        };
        let warrant = Warrant {
            seq,
            call: id.clone(),
            tool: call.tool.clone(),
            arguments: call.arguments.clone(),
            asked: self.was_asked(id)?,
        };
        let warrant = token::issue(Kind::Warrant, &command_key, binding, &warrant, now())?;
        set_line(
            socket,
            &Line {
                bridge,
                phase: Phase::Ready {
                    session: session.clone(),
                    seq,
                    at,
                },
                sending,
            },
        )?;
        send(socket, &ToBridge::Run { warrant })
    }

    /// Whether the person has said yes to a call in the chat.
    fn was_asked(&self, call: &CallId) -> Result<bool> {
        let row = self.db().call(call)?;
        Ok(row.is_some_and(|row| row.meant.is_some()))
    }

    /// Tells a machine that a call is called off.
    pub(super) fn call_off(&self, socket: &WebSocket, call: &CallId) -> Result<()> {
        let cancel = ToolCall {
            id: CallId(format!("{call}-cancel")),
            tool: protocol::call::ToolName::new(CANCEL),
            arguments: json!({ "call": call }),
        };
        self.order(socket, &cancel.id, &cancel)
    }

    /// A call waits for a yes that only its owner can give, at the machine. The person is told, once for each call.
    fn waits_at_home(
        self: &Rc<Self>,
        socket: &WebSocket,
        call: &CallId,
        why: &str,
        minutes: u32,
    ) -> Result<()> {
        let (bridge, _) = ready(socket)?;
        let Some(row) = self.driver.open_call(call)? else {
            return Ok(()); // it was called off meanwhile
        };
        if row.bridge.as_ref() != Some(&bridge) {
            return Err(Error::Violation("a question about another's call".into()));
        }
        let text = wants_a_yes(&self.name_of(&bridge)?, &row.call, why, minutes);
        self.tell(&row.conversation, &format!("home:{call}"), text, vec![])
    }

    /// A call has ended at home: what its receipt does not prove did not happen.
    fn result(
        self: &Rc<Self>,
        socket: &WebSocket,
        call: CallId,
        outcome: &str,
        receipt: &str,
    ) -> Result<()> {
        let (bridge, session) = ready(socket)?;
        let key = self.key_of(&bridge)?.ok_or(Error::Missing("the bridge"))?;
        let proof = self.receipt_of(&bridge, &key.public_key, &session, receipt, now())?;
        if proof.call != call || proof.outcome_sha256 != sha256_hex(outcome.as_bytes()) {
            return Err(Error::Violation("a receipt for something else".into()));
        }
        let Some(row) = self.driver.open_call(&call)? else {
            return send(socket, &ToBridge::Acknowledged { call }); // it was called off, or is old news
        };
        if proof.call_sha256 != token::call_hash(&row.call.tool, &row.call.arguments)
            || row.bridge.as_ref() != Some(&bridge)
        {
            return Err(Error::Violation("a receipt for another call".into()));
        }
        let mut outcome: Outcome =
            serde_json::from_str(outcome).map_err(|error| Error::Violation(error.to_string()))?;
        shorten(&mut outcome);
        if let Outcome::Done {
            file: Some(file), ..
        } = &outcome
        {
            match self.arrived(&call, file)? {
                Arrived::Whole => {}
                Arrived::Damaged => {
                    outcome = Outcome::failed(format!("{} arrived damaged; try again", file.name));
                }
                // A result kept from an earlier connection. The call was ordered again over this one, and brings the bytes.
                Arrived::InPart => return Ok(()),
            }
        }
        let acts =
            self.driver
                .came_home(&call, &outcome, receipt, &self.name_of(&bridge)?, now())?;
        self.preview_without(&row.conversation, &call);
        let is_stored = acts.contains(&Act::Acknowledge { call: call.clone() });
        self.act(acts); // of these the acknowledgement is said here, over the socket that told
        if is_stored {
            send(socket, &ToBridge::Acknowledged { call })?;
        }
        Ok(())
    }

    /// What a receipt of this machine's key, for this session, says as of that moment.
    pub(super) fn receipt_of(
        &self,
        bridge: &str,
        public_key: &str,
        session: &str,
        receipt: &str,
        at: i64,
    ) -> Result<Receipt> {
        let (issuer, audience) = (KeyId(bridge.to_owned()), self.command_key()?.public().id());
        let binding = Binding {
            issuer: &issuer,
            audience: &audience,
            nonce: Some(session),
        };
        let key = PublicKey::from_text(public_key)?;
        Ok(token::check(Kind::Receipt, &key, binding, receipt, at)?.claims)
    }

    pub(super) fn bridge_gone(self: &Rc<Self>, socket: &WebSocket) {
        let noted = line(socket).and_then(|line| {
            self.db().run(
                "UPDATE bridges SET seen_at = ? WHERE id = ?",
                &[now().into(), (&line.bridge).into()],
            )?;
            self.show_bridges()?;
            self.resume(); // what it was doing waits for it now, and the person is told
            Ok(())
        });
        if let Err(error) = noted {
            console_error!("noting that a machine has gone: {error}");
        }
    }

    /// Hangs up every connection of a machine.
    pub(super) fn close_bridge(&self, id: &str, code: u16, why: &str) {
        for socket in self.state.get_websockets_with_tag(BRIDGE_TAG) {
            if line(&socket).is_ok_and(|line| line.bridge == id) {
                hang_up(&socket, code, why);
            }
        }
    }

    /// Hangs up every connection of every machine.
    pub(super) fn hang_up_on_all(&self, code: u16, why: &str) {
        for socket in self.state.get_websockets_with_tag(BRIDGE_TAG) {
            hang_up(&socket, code, why);
        }
    }

    fn key_of(&self, id: &str) -> Result<Option<KeyRow>> {
        self.db().first(
            "SELECT public_key, state FROM bridges WHERE id = ?",
            &[id.into()],
        )
    }

    /// Whether a call that was once ordered has its end.
    pub(super) fn is_over(&self, call: &CallId) -> Result<bool> {
        let row = self.db().call(call)?;
        Ok(row.is_some_and(|row| row.ended_at.is_some()))
    }

    pub(super) fn rows(&self) -> Result<Vec<BridgeRow>> {
        self.db().all("SELECT id, name, state, hello, seen_at FROM bridges WHERE state <> 'revoked' ORDER BY at", &[])
    }

    /// The sockets whose machine has proven itself.
    pub(super) fn ready_sockets(&self) -> Vec<(WebSocket, driver::Line)> {
        let mut found = Vec::new();
        for socket in self.state.get_websockets_with_tag(BRIDGE_TAG) {
            if let Ok((bridge, session)) = ready(&socket)
                && is_alive(&self.state, &socket)
            {
                found.push((socket, driver::Line { bridge, session }));
            }
        }
        found
    }

    pub(super) fn is_any_bridge_here(&self) -> bool {
        !self.ready_sockets().is_empty()
    }

    /// Whether a confirmed machine has never been here to say what it can do.
    pub(super) fn is_any_bridge_unheard(&self) -> Result<bool> {
        Ok(self
            .rows()?
            .iter()
            .any(|row| row.state == "active" && row.hello.is_none()))
    }

    /// A machine's name.
    pub(super) fn name_of(&self, id: &str) -> Result<String> {
        let row = self.rows()?.into_iter().find(|row| row.id == id);
        Ok(row.map_or_else(|| "a machine".to_owned(), |row| row.name))
    }

    /// What each confirmed machine last said of itself.
    pub(super) fn hellos(&self) -> Result<Vec<(String, Hello)>> {
        let active = self.rows()?.into_iter().filter(|row| row.state == "active");
        Ok(active
            .filter_map(|row| Some((row.name.clone(), hello(&row)?)))
            .collect())
    }

    /// The machines as the console shows them.
    pub(super) fn bridges(&self) -> Result<Vec<Bridge>> {
        let here: Vec<String> = self
            .ready_sockets()
            .into_iter()
            .map(|(_, line)| line.bridge)
            .collect();
        self.rows()?
            .into_iter()
            .map(|row| {
                let state = match row.state.as_str() {
                    "pending" => BridgeState::Pending {
                        words: self.words_of(&row.id)?,
                    },
                    _ if here.contains(&row.id) => BridgeState::Connected,
                    _ => BridgeState::Away,
                };
                Ok(Bridge {
                    id: row.id,
                    name: row.name,
                    state,
                    seen: row.seen_at,
                })
            })
            .collect()
    }

    /// The machines as a chat shows them, each with a button that puts it out.
    pub(super) fn bridges_card(&self) -> Result<(String, Vec<Button>)> {
        let bridges = self.bridges()?;
        if bridges.is_empty() {
            return Ok((
                "No machine is joined. /pair joins one.".to_owned(),
                Vec::new(),
            ));
        }
        let rows = self.rows()?;
        let told = |bridge: &Bridge| {
            let row = rows.iter().find(|row| row.id == bridge.id);
            let sandbox = row.and_then(hello).map(|hello| hello.sandbox);
            let sandbox = sandbox.filter(|sandbox| !sandbox.is_empty());
            sandbox.map_or_else(String::new, |sandbox| format!("; {}", plain(&sandbox)))
        };
        let lines: Vec<String> = bridges
            .iter()
            .map(|bridge| {
                let (state, told) = (in_words(bridge), told(bridge));
                format!("- **{}**: {state}{told}", bridge.name)
            })
            .collect();
        let buttons = bridges
            .iter()
            .map(|bridge| Button {
                label: format!("Revoke {}", bridge.name),
                action: format!("revoke:{}", bridge.id),
            })
            .collect();
        Ok((lines.join("\n"), buttons))
    }
}

/// How a machine stands, in a word or two.
pub(super) fn in_words(bridge: &Bridge) -> &'static str {
    match bridge.state {
        BridgeState::Connected => "connected",
        BridgeState::Away => "away",
        BridgeState::Pending { .. } => "waits for your word",
    }
}

/// A machine's words as part of a sentence.
fn plain(text: &str) -> String {
    let text = text.chars().filter(|c| !c.is_control() && *c != '`');
    text.take(WHY_LIMIT).collect()
}

/// What a person is told of a call that waits for a yes at home.
fn wants_a_yes(machine: &str, call: &ToolCall, why: &str, minutes: u32) -> String {
    if call.tool.0 == PROPOSE {
        return format!(
            "I asked {machine} for {}; say yes there within {minutes} minutes: `local-bridge approve`, or its approver. I tell you what came of it.",
            plain(&agent::tool::brief(call)),
        );
    }
    let literal = console::literal(call);
    let action = match literal.char_indices().nth(ACTION_LIMIT) {
        Some((end, _)) => format!("{}…", &literal[..end]),
        None => literal,
    };
    format!(
        "{machine} wants a yes at the machine itself for this ({}):\n```\n{action}\n```\nRun `local-bridge approve` there, or use its approver; nothing said here can stand in for it. The question is open for {minutes} minutes.",
        plain(why)
    )
}

pub(super) fn hello(row: &BridgeRow) -> Option<Hello> {
    serde_json::from_str(row.hello.as_ref()?).ok()
}

/// Hangs up on a machine that broke the rules.
fn judged(socket: &WebSocket, done: Result<()>) {
    let (code, why) = match done {
        Err(Error::Violation(why)) => (CLOSE_VIOLATION, why),
        Err(Error::Token(why)) => (CLOSE_VIOLATION, why.to_string()),
        // The object has lost the beginning of a file: the machine dials again and the call is ordered again.
        Err(Error::Transfer(why)) => (CLOSE_AGAIN, why),
        Ok(()) => return,
        // What could not be stored is told again over the next connection.
        Err(other) => {
            console_error!("what a machine told could not be taken: {other}");
            (CLOSE_AGAIN, "it could not be stored".to_owned())
        }
    };
    console_error!("bridge closed: {why}");
    hang_up(socket, code, &why);
}

/// Cuts what a machine tells to what a row can hold; the receipt proves the whole of it.
fn shorten(outcome: &mut Outcome) {
    let text = match outcome {
        Outcome::Done { text, .. } => text,
        Outcome::Failed { reason }
        | Outcome::Denied { reason }
        | Outcome::Interrupted { reason } => reason,
        Outcome::Cancelled => return,
    };
    if let Some((end, _)) = text.char_indices().nth(OUTCOME_LIMIT) {
        text.truncate(end);
        text.push_str("\n[the rest is too long to keep]");
    }
}
