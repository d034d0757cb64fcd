//! The driver's rows in the object's `SQLite`.

use super::db::{Bind, Db};
use super::{CONSOLE, console, store};
use crate::error::{Error, Result};
use crate::tools;
use agent::{Effect, Entry, Event};
use driver::{Delivery, HomeCall, Kept, Rows, Sending, SendingState, Spent, Waiting};
use protocol::call::{CallId, Outcome, ToolCall, ToolName};
use protocol::key::{hex, random_bytes};
use serde::Deserialize;

/// How many of a conversation's lines fit below its number in a transcript's key.
const LINES: i64 = 1 << 32;

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

#[derive(Deserialize)]
struct WaitingRow {
    delivery: String,
    conversation: String,
    payload: String,
    tries: u32,
}

#[derive(Deserialize)]
struct ConversationRow {
    machine: String,
    reserved: u64,
    input: u64,
    output: u64,
}

#[derive(Deserialize)]
struct SendingRow {
    id: String,
    state: String,
    provider: Option<String>,
    attempts: u32,
    next_at: i64,
    since: i64,
}

#[derive(Deserialize)]
struct CallRow {
    conversation: String,
    tool: String,
    arguments: String,
    meant: Option<String>,
    bridge: Option<String>,
    session: Option<String>,
    receipt: Option<String>,
    done: i64,
    at: i64,
    ended_at: Option<i64>,
}

#[derive(Deserialize)]
struct Name {
    id: String,
}

#[derive(Deserialize)]
struct Count {
    count: u32,
}

#[derive(Deserialize)]
struct Number {
    number: Option<i64>,
}

impl Rows for Db {
    type Error = Error;

    fn transaction<T>(&self, body: impl FnMut(&Self) -> Result<T>) -> Result<T> {
        Self::transaction(self, body)
    }

    fn admit(&self, delivery: &Delivery, now: i64) -> Result<bool> {
        let new = self.changed(
            "INSERT INTO inbox (delivery, at) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING 1",
            &[(&delivery.id).into(), now.into()],
        )?;
        if new {
            self.run(
                "INSERT INTO waiting (delivery, conversation, payload, tries) VALUES (?, ?, ?, 0)",
                &[
                    (&delivery.id).into(),
                    (&delivery.conversation).into(),
                    (&delivery.payload).into(),
                ],
            )?;
            if delivery.conversation == CONSOLE {
                console::note_delivery(self, delivery)?;
            }
        }
        Ok(new)
    }

    fn settle(&self, delivery: &str, error: Option<&str>) -> Result<()> {
        if let Some(error) = error {
            self.run(
                "INSERT INTO aside (what, conversation, payload, error, at)
                 SELECT delivery, conversation, payload, ?, coalesce((SELECT at FROM inbox WHERE inbox.delivery = waiting.delivery), 0)
                 FROM waiting WHERE delivery = ?",
                &[error.into(), delivery.into()],
            )?;
        }
        self.run("DELETE FROM waiting WHERE delivery = ?", &[delivery.into()])
    }

    fn waiting(&self) -> Result<Vec<Waiting>> {
        let rows: Vec<WaitingRow> = self.all(
            "SELECT delivery, conversation, payload, tries FROM waiting ORDER BY seq",
            &[],
        )?;
        let waiting = |row: WaitingRow| Waiting {
            delivery: Delivery {
                id: row.delivery,
                conversation: row.conversation,
                payload: row.payload,
            },
            tries: row.tries,
        };
        Ok(rows.into_iter().map(waiting).collect())
    }

    fn is_waiting(&self, delivery: &str) -> Result<bool> {
        self.changed(
            "SELECT 1 FROM waiting WHERE delivery = ?",
            &[delivery.into()],
        )
    }

    fn tried(&self, delivery: &str, tries: u32) -> Result<()> {
        self.run(
            "UPDATE waiting SET tries = ? WHERE delivery = ?",
            &[i64::from(tries).into(), delivery.into()],
        )
    }

    fn fresh_name(&self) -> Result<String> {
        Ok(hex(&random_bytes::<5>()?))
    }

    fn conversation(&self, id: &str) -> Result<Option<Kept>> {
        let row: Option<ConversationRow> = self.first(
            "SELECT machine, reserved, input, output FROM conversations WHERE id = ? AND machine <> ''",
            &[id.into()],
        )?;
        Ok(row.map(|row| Kept {
            machine: row.machine,
            reserved: row.reserved,
            spent: Spent {
                input: row.input,
                output: row.output,
                lost: 0,
            },
        }))
    }

    fn keep(&self, id: &str, kept: &Kept, open: bool) -> Result<()> {
        self.run(
            "INSERT INTO conversations (id, machine, open, reserved, input, output) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET machine = excluded.machine, open = excluded.open,
               reserved = excluded.reserved, input = excluded.input, output = excluded.output",
            &[
                id.into(),
                (&kept.machine).into(),
                i64::from(open).into(),
                signed(kept.reserved).into(),
                signed(kept.spent.input).into(),
                signed(kept.spent.output).into(),
            ],
        )
    }

    fn open(&self) -> Result<Vec<String>> {
        let rows: Vec<Name> = self.all("SELECT id FROM conversations WHERE open = 1", &[])?;
        Ok(rows.into_iter().map(|row| row.id).collect())
    }

    fn put_away(&self, id: &str, now: i64) -> Result<()> {
        self.run(
            "INSERT INTO aside (what, conversation, payload, error, at)
             SELECT 'machine', id, machine, 'cannot be read', ? FROM conversations WHERE id = ?",
            &[now.into(), id.into()],
        )?;
        self.run(
            "UPDATE conversations SET machine = '', open = 0, reserved = 0 WHERE id = ?",
            &[id.into()],
        )
    }

    fn append(&self, id: &str, lines: &[Entry]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let (first, last) = span(self, id)?.ok_or(Error::Missing("the conversation"))?;
        let row: Option<Number> = self.first(
            "SELECT max(seq) AS number FROM transcript WHERE seq BETWEEN ? AND ?",
            &[first.into(), last.into()],
        )?;
        let mut seq = row.and_then(|row| row.number).unwrap_or(first);
        for line in lines {
            seq += 1;
            self.run(
                "INSERT INTO transcript (seq, at, entry) VALUES (?, ?, ?)",
                &[
                    seq.into(),
                    line.at.into(),
                    (&serde_json::to_string(line)?).into(),
                ],
            )?;
        }
        Ok(())
    }

    fn show(&self, id: &str, event: &Event, effects: &[Effect], now: i64) -> Result<()> {
        if id == CONSOLE {
            console::note(self, event, effects, now)?;
        }
        Ok(())
    }

    fn spend(&self, spent: Spent, now: i64) -> Result<()> {
        self.run(
            "INSERT INTO usage (day, input, output, lost, rows) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (day) DO UPDATE SET input = input + excluded.input, output = output + excluded.output,
               lost = lost + excluded.lost, rows = rows + excluded.rows",
            &[
                (now / DAY_MILLIS).into(),
                signed(spent.input).into(),
                signed(spent.output).into(),
                signed(spent.lost).into(),
                signed(self.take_rows_written()).into(),
            ],
        )
    }

    fn sending(&self, id: &str) -> Result<Option<Sending>> {
        let row: Option<SendingRow> = self.first(
            "SELECT id, state, provider, attempts, next_at, since FROM sendings WHERE id = ?",
            &[id.into()],
        )?;
        row.map(sending).transpose()
    }

    fn put_sending(&self, sending: &Sending) -> Result<()> {
        self.run(
            "INSERT INTO sendings (id, state, provider, attempts, next_at, since) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET state = excluded.state, provider = excluded.provider,
               attempts = excluded.attempts, next_at = excluded.next_at, since = excluded.since",
            &[
                (&sending.id).into(),
                word(sending.state).into(),
                sending.provider.as_deref().into(),
                i64::from(sending.attempts).into(),
                sending.next_at.into(),
                sending.since.into(),
            ],
        )
    }

    fn held(&self) -> Result<Vec<Sending>> {
        let rows: Vec<SendingRow> = self.all(
            "SELECT id, state, provider, attempts, next_at, since FROM sendings WHERE state = 'held'",
            &[],
        )?;
        rows.into_iter().map(sending).collect()
    }

    fn call(&self, id: &CallId) -> Result<Option<HomeCall>> {
        let row: Option<CallRow> = self.first(
            "SELECT conversation, tool, arguments, meant, bridge, session, receipt, done, at, ended_at FROM calls WHERE id = ?",
            &[(&id.0).into()],
        )?;
        let Some(row) = row else {
            return Ok(None);
        };
        Ok(Some(HomeCall {
            call: ToolCall {
                id: id.clone(),
                tool: ToolName(row.tool),
                arguments: serde_json::from_str(&row.arguments)?,
            },
            conversation: row.conversation,
            meant: row.meant,
            bridge: row.bridge,
            session: row.session,
            receipt: row.receipt,
            done: row.done != 0,
            at: row.at,
            ended_at: row.ended_at,
        }))
    }

    fn put_call(&self, row: &HomeCall) -> Result<()> {
        self.run(
            "INSERT INTO calls (id, conversation, tool, arguments, meant, bridge, session, receipt, done, at, ended_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET bridge = excluded.bridge, session = excluded.session,
               receipt = excluded.receipt, done = excluded.done, ended_at = excluded.ended_at",
            &[
                (&row.call.id.0).into(),
                (&row.conversation).into(),
                (&row.call.tool.0).into(),
                (&row.call.arguments.to_string()).into(),
                row.meant.as_deref().into(),
                row.bridge.as_deref().into(),
                row.session.as_deref().into(),
                row.receipt.as_deref().into(),
                i64::from(row.done).into(),
                row.at.into(),
                row.ended_at.map_or(Bind::Null, Bind::Int),
            ],
        )
    }

    fn run_tool(&self, conversation: &str, call: &ToolCall, now: i64) -> Result<Outcome> {
        let trust = store::trust_in_view(self, conversation)?;
        tools::run(self, conversation, call, trust, now)
    }

    fn count_failure(&self, act: &str, error: &str, now: i64) -> Result<u32> {
        let row: Option<Count> = self.first(
            "INSERT INTO failures (act, count, error, at) VALUES (?, 1, ?, ?)
             ON CONFLICT (act) DO UPDATE SET count = count + 1, error = excluded.error, at = excluded.at RETURNING count",
            &[act.into(), error.into(), now.into()],
        )?;
        Ok(row.map_or(1, |row| row.count))
    }

    fn wake_by(&self, at: i64) -> Result<()> {
        self.set_alarm_by(at)
    }
}

/// The keys between which a conversation's lines lie; `None` if nothing was said there.
pub(crate) fn span(db: &Db, conversation: &str) -> Result<Option<(i64, i64)>> {
    let row: Option<Number> = db.first(
        "SELECT no AS number FROM conversations WHERE id = ?",
        &[conversation.into()],
    )?;
    let first = row.and_then(|row| row.number).map(|no| no * LINES);
    Ok(first.map(|first| (first, first + LINES - 1)))
}

fn sending(row: SendingRow) -> Result<Sending> {
    Ok(Sending {
        state: match row.state.as_str() {
            "sending" => SendingState::Sending,
            "held" => SendingState::Held,
            "sent" => SendingState::Sent,
            "unknown" => SendingState::Unknown,
            "refused" => SendingState::Refused,
            _ => return Err(Error::Missing("a sending's state")),
        },
        id: row.id,
        provider: row.provider,
        attempts: row.attempts,
        next_at: row.next_at,
        since: row.since,
    })
}

fn word(state: SendingState) -> &'static str {
    match state {
        SendingState::Sending => "sending",
        SendingState::Held => "held",
        SendingState::Sent => "sent",
        SendingState::Unknown => "unknown",
        SendingState::Refused => "refused",
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
