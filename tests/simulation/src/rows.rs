//! The driver's [`Rows`] over plain maps, with crashes and failures before and after what it writes.

use crate::faults::Fault;
use crate::tables::{ConversationRow, InboxRow, Tables};
use crate::weather::{Weather, Write};
use agent::{Effect, Entry, Event};
use driver::{Delivery, HomeCall, Kept, Rows, Sending, SendingState, Spent, Waiting};
use protocol::call::{CallId, Outcome, ToolCall};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Why rows cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The instance has died; nothing that it does from now on counts.
    #[error("the object crashed")]
    Crash,
    /// Something failed that may work another time.
    #[error("{0}")]
    Failed(&'static str),
    /// A state cannot be read.
    #[error("unreadable: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// One instance's hold on the rows.
pub(crate) struct Disk {
    tables: Rc<RefCell<Tables>>,
    weather: Rc<Weather>,
    dead: Cell<bool>,
}

impl Disk {
    pub(crate) fn new(tables: &Rc<RefCell<Tables>>, weather: &Rc<Weather>) -> Self {
        Self {
            tables: Rc::clone(tables),
            weather: Rc::clone(weather),
            dead: Cell::new(false),
        }
    }

    /// One write: kept by itself, or with the transaction around it.
    pub(crate) fn write<T>(&self, write: impl FnOnce(&mut Tables) -> T) -> Result<T, Trouble> {
        if self.dead.get() {
            return Err(Trouble::Crash);
        }
        if self.tables.borrow().is_inside() {
            return Ok(write(&mut self.tables.borrow_mut()));
        }
        self.tables.borrow_mut().begin();
        let written = write(&mut self.tables.borrow_mut());
        self.close(Ok(written))
    }

    /// Ends a transaction one way or the other.
    fn close<T>(&self, result: Result<T, Trouble>) -> Result<T, Trouble> {
        let fate = match &result {
            Ok(_) => self.weather.fate_of_write(),
            Err(_) => Write::Refused,
        };
        let mut tables = self.tables.borrow_mut();
        match fate {
            Write::Kept | Write::CrashAfter => tables.commit(),
            Write::CrashBefore | Write::Refused
                if self.weather.has(Fault::TransactionNotAtomic) =>
            {
                tables.commit();
            }
            Write::CrashBefore | Write::Refused => tables.roll_back(),
        }
        match fate {
            Write::Kept => result,
            Write::Refused => result.and(Err(Trouble::Failed("the rows could not be written"))),
            Write::CrashBefore | Write::CrashAfter => {
                self.dead.set(true);
                Err(Trouble::Crash)
            }
        }
    }

    fn has(&self, fault: Fault) -> bool {
        self.weather.has(fault)
    }
}

impl Rows for Disk {
    type Error = Trouble;

    fn transaction<T>(
        &self,
        mut body: impl FnMut(&Self) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        if self.dead.get() {
            return Err(Trouble::Crash);
        }
        self.tables.borrow_mut().begin();
        let result = body(self);
        self.close(result)
    }

    fn admit(&self, delivery: &Delivery, _now: i64) -> Result<bool, Trouble> {
        let forgets = self.has(Fault::DedupForgotten);
        self.write(|tables| {
            if tables.inbox.contains_key(&delivery.id) && !forgets {
                return false;
            }
            let number = tables.inbox.len();
            let row = InboxRow {
                delivery: delivery.clone(),
                number,
                tries: 0,
                settled: false,
                error: None,
            };
            tables.put_inbox(&delivery.id, row);
            true
        })
    }

    fn settle(&self, delivery: &str, error: Option<&str>) -> Result<(), Trouble> {
        let forgets = self.has(Fault::SettleForgotten);
        self.write(|tables| {
            if let Some(row) = tables.inbox.get(delivery).filter(|_| !forgets) {
                let row = InboxRow {
                    settled: true,
                    error: error.map(str::to_owned),
                    ..row.clone()
                };
                tables.put_inbox(delivery, row);
            }
        })
    }

    fn waiting(&self) -> Result<Vec<Waiting>, Trouble> {
        if self.has(Fault::WaitingBlind) {
            return Ok(vec![]);
        }
        let tables = self.tables.borrow();
        let mut rows: Vec<&InboxRow> = tables.inbox.values().filter(|row| !row.settled).collect();
        rows.sort_by_key(|row| row.number);
        let waiting = |row: &InboxRow| Waiting {
            delivery: row.delivery.clone(),
            tries: row.tries,
        };
        Ok(rows.into_iter().map(waiting).collect())
    }

    fn is_waiting(&self, delivery: &str) -> Result<bool, Trouble> {
        let tables = self.tables.borrow();
        Ok(tables.inbox.get(delivery).is_some_and(|row| !row.settled))
    }

    fn tried(&self, delivery: &str, tries: u32) -> Result<(), Trouble> {
        if self.has(Fault::TriesNotCounted) {
            return Ok(());
        }
        self.write(|tables| {
            if let Some(row) = tables.inbox.get(delivery).cloned() {
                tables.put_inbox(delivery, InboxRow { tries, ..row });
            }
        })
    }

    fn fresh_name(&self) -> Result<String, Trouble> {
        let mut tables = self.tables.borrow_mut();
        tables.names += 1;
        Ok(format!("n{}", tables.names))
    }

    fn conversation(&self, id: &str) -> Result<Option<Kept>, Trouble> {
        let tables = self.tables.borrow();
        let kept = tables.conversations.get(id).map(|row| row.kept.clone());
        Ok(kept.map(|kept| Kept {
            machine: misread(&self.weather, kept.machine),
            ..kept
        }))
    }

    fn keep(&self, id: &str, kept: &Kept, open: bool) -> Result<(), Trouble> {
        if self.has(Fault::MachineNotKept) && self.weather.chance.one_in(8) {
            return Ok(());
        }
        let kept = kept.clone();
        self.write(|tables| tables.put_conversation(id, ConversationRow { kept, open }))
    }

    fn open(&self) -> Result<Vec<String>, Trouble> {
        if self.has(Fault::OpenBlind) {
            return Ok(vec![]);
        }
        let tables = self.tables.borrow();
        let open = tables.conversations.iter().filter(|(_, row)| row.open);
        Ok(open.map(|(id, _)| id.clone()).collect())
    }

    fn put_away(&self, id: &str, _now: i64) -> Result<(), Trouble> {
        self.write(|tables| tables.put_away(id))
    }

    fn append(&self, id: &str, lines: &[Entry]) -> Result<(), Trouble> {
        if lines.is_empty() || self.has(Fault::LinesNotKept) {
            return Ok(());
        }
        self.write(|tables| tables.append(id, lines))
    }

    fn show(&self, id: &str, event: &Event, effects: &[Effect], _now: i64) -> Result<(), Trouble> {
        self.write(|tables| tables.tell(id, event, effects))
    }

    fn spend(&self, spent: Spent, _now: i64) -> Result<(), Trouble> {
        if self.has(Fault::SpendForgotten) {
            return Ok(());
        }
        let doubled = self.has(Fault::SpendDoubled);
        self.write(|tables| {
            tables.spend(spent);
            if doubled {
                tables.spend(spent);
            }
        })
    }

    fn sending(&self, id: &str) -> Result<Option<Sending>, Trouble> {
        Ok(self.tables.borrow().sendings.get(id).cloned())
    }

    fn put_sending(&self, sending: &Sending) -> Result<(), Trouble> {
        let dropped = match sending.state {
            SendingState::Sending => self.has(Fault::SendingMarkDropped),
            SendingState::Sent => self.has(Fault::SentMarkDropped),
            SendingState::Held => self.has(Fault::HeldMarkDropped),
            SendingState::Unknown | SendingState::Refused => false,
        };
        if dropped {
            return Ok(());
        }
        self.write(|tables| tables.put_sending(sending.clone()))
    }

    fn held(&self) -> Result<Vec<Sending>, Trouble> {
        let tables = self.tables.borrow();
        let held = |sending: &&Sending| sending.state == SendingState::Held;
        Ok(tables.sendings.values().filter(held).cloned().collect())
    }

    fn call(&self, id: &CallId) -> Result<Option<HomeCall>, Trouble> {
        Ok(self.tables.borrow().calls.get(id).cloned())
    }

    fn put_call(&self, call: &HomeCall) -> Result<(), Trouble> {
        if self.has(Fault::CallNotKept) {
            return Ok(());
        }
        let mut call = call.clone();
        if self.has(Fault::BridgeNotKept) {
            call.bridge = None;
        }
        if self.has(Fault::EndOfCallNotKept) {
            call.ended_at = None;
        }
        self.write(|tables| tables.put_call(call))
    }

    fn run_tool(
        &self,
        _conversation: &str,
        call: &ToolCall,
        _now: i64,
    ) -> Result<Outcome, Trouble> {
        if call.arguments.get("refused").is_some() {
            return Ok(Outcome::failed("there is no such fact"));
        }
        let undone = !self.has(Fault::ToolOutsideTransaction);
        self.write(|tables| tables.run(&call.id, undone))?;
        Ok(Outcome::done("kept"))
    }

    fn count_failure(&self, act: &str, _error: &str, _now: i64) -> Result<u32, Trouble> {
        if self.has(Fault::FailuresNotCounted) {
            return Ok(0);
        }
        self.write(|tables| tables.count(act))
    }

    fn wake_by(&self, at: i64) -> Result<(), Trouble> {
        if self.has(Fault::AlarmNotSet) {
            return Ok(());
        }
        let replaced = self.has(Fault::AlarmReplaced);
        self.write(|tables| {
            if replaced || tables.alarm.is_none_or(|alarm| at < alarm) {
                tables.set_alarm(Some(at));
            }
        })
    }
}

/// What a machine's mistake makes of the state that it reads.
fn misread(weather: &Weather, machine: String) -> String {
    let faults = [
        Fault::SayingLost,
        Fault::QueuedLost,
        Fault::OpenCallLost,
        Fault::TurnsForgotten,
        Fault::SaysForgotten,
        Fault::ApprovalSkipped,
    ];
    let Some(fault) = faults.into_iter().find(|fault| weather.has(*fault)) else {
        return machine;
    };
    let Ok(mut state) = serde_json::from_str::<Value>(&machine) else {
        return machine;
    };
    spoil(&mut state, fault);
    state.to_string()
}

fn spoil(state: &mut Value, fault: Fault) {
    let turn = &mut state["turn"];
    if fault == Fault::SaysForgotten && turn.is_object() {
        turn["says"] = 0.into();
    }
    let calls = turn
        .get_mut("phase")
        .and_then(|phase| phase.get_mut("calls"));
    if let Some(calls) = calls.and_then(Value::as_array_mut) {
        if fault == Fault::OpenCallLost {
            calls.pop();
        }
        for call in calls {
            let standing = &mut call["stage"];
            if fault == Fault::ApprovalSkipped && standing["type"] == "asking" {
                standing["type"] = "running".into();
                standing["away"] = Value::Null;
            }
        }
    }
    if fault == Fault::SayingLost {
        state["saying"] = Value::Array(vec![]);
    }
    if fault == Fault::QueuedLost {
        state["queued"] = Value::Array(vec![]);
    }
    if fault == Fault::TurnsForgotten {
        state["turns"] = 0.into();
    }
}
