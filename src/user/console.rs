//! The console's pages: their sockets, and the rows of what they show.

use super::commands::Received;
use super::db::Db;
use super::{CONSOLE, Heart, PAGE_TAG, now, store};
use crate::channels::console::{
    FileCard, FromPage, Item, Message, MessageState, PageId, Speaker, ToPage, ToolLine, ToolState,
    receive,
};
use crate::channels::{Channel, Deed, Inbound, markup};
use crate::error::{Error, Result};
use agent::event::{Button, Decision};
use agent::{Attachment, Effect, Event, tool};
use protocol::call::{CallId, FileRef, Outcome, ToolCall};
use protocol::tools::{Place, ShellRun};
use serde::Deserialize;
use std::fmt::Write as _;
use std::rc::Rc;
use worker::{Response, WebSocket, WebSocketPair, console_log};

/// How many items a page gets when it opens.
const HISTORY: i64 = 100;

/// How much of the last line of a running command is shown, in characters.
const PROGRESS: usize = 200;

/// What a page's deliveries begin with; the page's own id follows.
const DELIVERY: &str = "console:";

/// The close code that the page takes as the end of its session.
const CLOSE_SIGNED_OUT: u16 = 4401;

/// How much of an outcome a tool's line shows, in characters.
const DETAIL: usize = 4_000;

/// What a person who looks at a conversation may wait for: not their own yes, and not a machine that is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    /// Nothing.
    None,
    /// A call runs on a machine that is there.
    AtHome,
    /// A model thinks, or a tool of the Worker runs.
    Here,
}

#[derive(Deserialize)]
struct Row {
    item: String,
}

impl Heart {
    pub(super) fn accept_page(self: &Rc<Self>, origin: &str, session: &str) -> Result<Response> {
        store::set_meta(self.db(), "origin", origin)?;
        let pair = WebSocketPair::new()?;
        self.state
            .accept_websocket_with_tags(&pair.server, &[PAGE_TAG, session]);
        let mut rows: Vec<Row> = self.db().all(
            "SELECT item FROM items ORDER BY seq DESC LIMIT ?",
            &[(HISTORY + 1).into()],
        )?;
        let earlier = rows.len() > usize::try_from(HISTORY).unwrap_or(usize::MAX);
        rows.truncate(usize::try_from(HISTORY).unwrap_or(usize::MAX));
        let items = rows
            .iter()
            .rev()
            .map(|row| Ok(serde_json::from_str(&row.item)?))
            .collect::<Result<Vec<Item>>>()?;
        for frame in [
            ToPage::History { items, earlier },
            ToPage::Bridges {
                bridges: self.bridges()?,
            },
            ToPage::Working {
                on: self.is_working()?,
            },
        ] {
            pair.server.send_with_str(frame.encode())?;
        }
        Ok(Response::from_websocket(pair.client)?)
    }

    pub(super) fn page_said(self: &Rc<Self>, socket: &WebSocket, text: &str) -> Result<()> {
        let frame = match receive(text) {
            Ok(frame) => frame,
            Err(garbage) => {
                console_log!("page: {garbage}");
                return Ok(socket.close(Some(1008), Some(garbage.to_string()))?);
            }
        };
        let id = frame.id().clone();
        let deed = self.with_files(frame)?;
        let inbound = Inbound {
            delivery: format!("{DELIVERY}{}", id.as_str()),
            channel: Channel::Console,
            sender: self.session_of(socket),
            sender_name: String::new(),
            chat: String::new(),
            answers: None,
            deed,
            at: now(),
        };
        self.receive(inbound, false)?;
        Ok(socket.send_with_str(ToPage::Accepted { id }.encode())?)
    }

    /// What a page's frame tells, with what is known of the files that it names.
    fn with_files(&self, frame: FromPage) -> Result<Deed> {
        let files = match &frame {
            FromPage::Say { files, .. } => self.attachments(files.iter().map(PageId::as_str))?,
            FromPage::Press { .. } => Vec::new(),
        };
        let deed = frame.deed();
        Ok(match deed {
            Deed::Wrote { text, .. } if text.trim().is_empty() && files.is_empty() => {
                let kind = "a file that is no longer kept".to_owned();
                Deed::Unreadable { kind }
            }
            Deed::Wrote {
                text,
                quoted,
                forwarded,
                ..
            } => Deed::Wrote {
                text,
                quoted,
                attachments: files,
                forwarded,
            },
            other @ (Deed::Commanded { .. }
            | Deed::Pressed { .. }
            | Deed::Gave { .. }
            | Deed::Unreadable { .. }) => other,
        })
    }

    /// The session that a page belongs to.
    fn session_of(&self, socket: &WebSocket) -> String {
        let mut tags = self.state.get_tags(socket).into_iter();
        tags.find(|tag| tag != PAGE_TAG).unwrap_or_default()
    }

    /// Ends the sockets of all sessions but this one.
    pub(super) fn end_sessions_but(&self, session: Option<&str>) -> Result<()> {
        for socket in self.state.get_websockets_with_tag(PAGE_TAG) {
            let tags = self.state.get_tags(&socket);
            if session.is_none_or(|session| tags.iter().all(|tag| tag != session)) {
                socket.close(Some(CLOSE_SIGNED_OUT), Some("signed out"))?;
            }
        }
        Ok(())
    }

    /// Ends the sockets of a session that is over.
    pub(super) fn end_session(&self, session: &str) -> Result<Response> {
        for socket in self.state.get_websockets_with_tag(session) {
            socket.close(Some(CLOSE_SIGNED_OUT), Some("signed out"))?;
        }
        Ok(Response::empty()?)
    }

    /// Whether Bernard is at work in the console's conversation.
    pub(super) fn is_working(&self) -> Result<bool> {
        Ok(self.work(CONSOLE)? != Work::None)
    }

    /// What is going on in a conversation that a person may wait for.
    pub(super) fn work(&self, conversation: &str) -> Result<Work> {
        let here = self.is_any_bridge_here();
        let outstanding = self.driver.conversation(conversation)?.outstanding();
        let work = outstanding.iter().map(|effect| match effect {
            Effect::AskModel { .. }
            | Effect::Run {
                place: Place::Worker,
                ..
            } => Work::Here,
            Effect::Run {
                place: Place::Bridge,
                ..
            } if here => Work::AtHome,
            Effect::Run { .. }
            | Effect::AskPerson { .. }
            | Effect::Say { .. }
            | Effect::Cancel { .. }
            | Effect::Abandon { .. } => Work::None,
        });
        Ok(work.max().unwrap_or(Work::None))
    }

    /// Tells every open page. A page that has gone without a word is no reason to fail.
    pub(super) fn show(&self, frame: &ToPage) {
        let text = frame.encode();
        for socket in self.state.get_websockets_with_tag(PAGE_TAG) {
            let _ = socket.send_with_str(&text);
        }
    }

    /// Shows whoever looks at this moment how far a call is; it is kept nowhere.
    pub(super) fn show_progress(&self, call: &CallId, line: &str) -> Result<()> {
        if let Some(Item::Tool(mut tool)) = get(self.db(), &call.0)?
            && tool.state == ToolState::Running
        {
            let line: String = line.chars().take(PROGRESS).collect();
            tool.detail = format!("{}\n\n{}", tool.detail, visible(&line));
            let item = Item::Tool(tool);
            self.show(&ToPage::Item { item });
        }
        Ok(())
    }

    /// Tells every open page which machines are there.
    pub(super) fn show_bridges(&self) -> Result<()> {
        let bridges = self.bridges()?;
        self.show(&ToPage::Bridges { bridges });
        Ok(())
    }
}

/// What a person wrote on a page, for all of their pages.
pub(super) fn note_delivery(db: &Db, delivery: &driver::Delivery) -> Result<()> {
    let Received { inbound, .. } = serde_json::from_str(&delivery.payload)?;
    match inbound.deed {
        Deed::Wrote {
            text, attachments, ..
        } => {
            let id = inbound.delivery.trim_start_matches(DELIVERY);
            add(db, spoken(id, &text, &attachments, inbound.at))
        }
        Deed::Commanded { .. }
        | Deed::Pressed { .. }
        | Deed::Gave { .. }
        | Deed::Unreadable { .. } => Ok(()),
    }
}

/// Stores the items that some news in the console's conversation makes or changes.
pub(super) fn note(db: &Db, event: &Event, effects: &[Effect], now: i64) -> Result<()> {
    let (mut items, mut new) = (Vec::new(), Vec::new());
    match event {
        Event::Finished { call, outcome, .. } => {
            items.extend(closed(db, call)?);
            items.extend(change_line(db, call, |line| ended(line, outcome))?);
        }
        Event::Waiting { call, .. } => {
            items.extend(change_line(db, call, |line| {
                line.state = ToolState::Waiting;
            })?);
        }
        Event::Decided {
            call,
            decision: Decision::No,
            ..
        } => {
            items.extend(change_line(db, call, |line| {
                line.state = ToolState::Denied;
            })?);
        }
        Event::Said { .. }
        | Event::Replied { .. }
        | Event::ModelFailed { .. }
        | Event::Decided { .. }
        | Event::Sent { .. }
        | Event::Notice { .. }
        | Event::Wished { .. }
        | Event::Stopped { .. } => {}
    }
    for effect in effects {
        match effect {
            Effect::Run { call, .. } if matches!(event, Event::Decided { .. }) => {
                items.extend(change_line(db, &call.id, |line| {
                    line.state = ToolState::Running;
                })?);
            }
            Effect::Run { call, .. } => new.push(tool_line(call, ToolState::Running, now)),
            Effect::AskPerson { call } => new.push(tool_line(call, ToolState::Asking, now)),
            Effect::Cancel { call } => {
                items.extend(closed(db, call)?);
                items.extend(change_line(db, call, |line| {
                    line.state = ToolState::Cancelled;
                })?);
            }
            Effect::AskModel { .. } | Effect::Say { .. } | Effect::Abandon { .. } => {}
        }
    }
    for item in items {
        change(db, &item)?;
        db.shows(item);
    }
    for item in new {
        add(db, item)?;
    }
    Ok(())
}

/// The question about a call, if it is open: nobody can answer it any more.
fn closed(db: &Db, call: &CallId) -> Result<Option<Item>> {
    let asking = |line: &ToolLine| line.state == ToolState::Asking;
    if !matches!(get(db, &call.0)?, Some(Item::Tool(line)) if asking(&line)) {
        return Ok(None); // most calls were never asked about
    }
    Ok(match get(db, &format!("question:{call}"))? {
        Some(Item::Message(message)) if message.state == MessageState::Asking => {
            let state = MessageState::Closed;
            Some(Item::Message(Message { state, ..message }))
        }
        Some(_) | None => None,
    })
}

fn change_line(db: &Db, call: &CallId, how: impl FnOnce(&mut ToolLine)) -> Result<Option<Item>> {
    let Some(Item::Tool(mut line)) = get(db, &call.0)? else {
        return Ok(None);
    };
    how(&mut line);
    Ok(Some(Item::Tool(line)))
}

fn ended(line: &mut ToolLine, outcome: &Outcome) {
    let (state, text) = match outcome {
        Outcome::Done { text, .. } => (ToolState::Done, text.as_str()),
        Outcome::Failed { reason } | Outcome::Interrupted { reason } => {
            (ToolState::Failed, reason.as_str())
        }
        Outcome::Denied { reason } => (ToolState::Denied, reason.as_str()),
        Outcome::Cancelled => (ToolState::Cancelled, ""),
    };
    line.state = state;
    line.detail = text.chars().take(DETAIL).collect();
}

fn tool_line(call: &ToolCall, state: ToolState, at: i64) -> Item {
    let detail = literal(call);
    Item::Tool(ToolLine {
        id: call.id.clone(),
        tool: call.tool.clone(),
        summary: tool::brief(call),
        state,
        detail,
        at,
    })
}

/// A call as it is: the program's arguments as they would be typed and the folder they would be typed in; anything else as its JSON.
pub(super) fn literal(call: &ToolCall) -> String {
    match ShellRun::deserialize(&call.arguments) {
        Ok(ShellRun {
            argv,
            folder,
            background,
            seconds,
            terminal,
        }) => {
            let words: Vec<String> = argv.iter().map(|word| quoted(word)).collect();
            let place = if folder.is_empty() {
                "the first folder".to_owned()
            } else {
                quoted(&folder)
            };
            let mut how = format!("in {place}");
            if background {
                how.push_str(", in the background");
            }
            if terminal {
                how.push_str(", with a terminal");
            }
            if let Some(seconds) = seconds {
                let _infallible = write!(how, ", for at most {seconds} s");
            }
            format!("{}\n({how})", words.join(" "))
        }
        Err(_) => visible(&format!("{} {}", call.tool, call.arguments)),
    }
}

/// A text in which nothing hides: what prints as nothing, or turns the direction of what follows, stands as its escape.
pub(super) fn visible(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let shown: Vec<char> = if c == '"' || c == '\'' || c == '\\' {
                vec![c]
            } else {
                c.escape_debug().collect()
            };
            shown
        })
        .collect()
}

pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("{word:?}")
    }
}

fn spoken(id: &str, text: &str, attachments: &[Attachment], at: i64) -> Item {
    let card = |file: &Attachment| FileCard {
        id: CallId(file.id.clone()),
        name: file.name.clone(),
        mime: file.mime.clone(),
        size: file.size,
        href: format!("/console/files/{}", file.id),
        at,
    };
    Item::Message(Message {
        id: id.to_owned(),
        from: Speaker::Person,
        html: String::new(),
        text: text.to_owned(),
        at,
        files: attachments.iter().map(card).collect(),
        buttons: Vec::new(),
        state: MessageState::Said,
    })
}

/// Something Bernard says.
pub(super) fn said(id: &str, text: &str, buttons: &[Button], at: i64) -> Item {
    Item::Message(Message {
        id: id.to_owned(),
        from: Speaker::Bernard,
        html: markup::page(text),
        text: markup::plain(text),
        at,
        files: Vec::new(),
        buttons: buttons.to_vec(),
        state: if buttons.is_empty() {
            MessageState::Said
        } else {
            MessageState::Asking
        },
    })
}

/// A file that was handed over.
pub(super) fn file_card(call: &CallId, file: &FileRef, at: i64) -> Item {
    Item::File(FileCard {
        id: CallId(format!("{call}-file")),
        name: file.name.clone(),
        mime: file.mime.clone(),
        size: file.size,
        href: format!("/console/files/{call}"),
        at,
    })
}

fn id_of(item: &Item) -> &str {
    match item {
        Item::Message(message) => &message.id,
        Item::Tool(line) => &line.id.0,
        Item::File(card) => &card.id.0,
        Item::Notice(notice) => &notice.id,
    }
}

/// The item of that id, looked for from the newest backwards.
pub(super) fn get(db: &Db, id: &str) -> Result<Option<Item>> {
    let row: Option<Row> = db.first(
        "SELECT item FROM items WHERE id = ? ORDER BY seq DESC LIMIT 1",
        &[id.into()],
    )?;
    row.map(|row| serde_json::from_str(&row.item).map_err(Error::from))
        .transpose()
}

/// Stores a new item, and has pages show it.
pub(super) fn add(db: &Db, item: Item) -> Result<()> {
    db.run(
        "INSERT INTO items (id, item) VALUES (?, ?)",
        &[id_of(&item).into(), (&serde_json::to_string(&item)?).into()],
    )?;
    db.shows(item);
    Ok(())
}

/// Stores an item in the place of the one with its id.
pub(super) fn change(db: &Db, item: &Item) -> Result<()> {
    db.run(
        "UPDATE items SET item = ? WHERE seq = (SELECT seq FROM items WHERE id = ? ORDER BY seq DESC LIMIT 1)",
        &[(&serde_json::to_string(item)?).into(), id_of(item).into()],
    )
}
