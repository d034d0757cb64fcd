//! The bridge's [`Records`] over a plain list, with crashes and failures before and after what it notes.

use crate::faults::Fault;
use crate::weather::{Weather, Write};
use local_bridge::approve::Held;
use local_bridge::journal::{Ended, Known, Records};
use protocol::call::{CallId, Outcome, ToolName};
use std::cell::RefCell;
use std::rc::Rc;

/// Why a machine's records cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Hitch {
    /// The bridge has died.
    #[error("the bridge crashed")]
    Crash,
    /// The disk refused.
    #[error("the disk refused")]
    Refused,
    /// A call was begun that is known.
    #[error("the call is known")]
    Known,
}

/// What one machine's disk holds, in the order in which calls began.
#[derive(Default)]
pub(crate) struct Notes(pub(crate) Vec<Note>, Vec<Held>);

#[derive(Clone)]
pub(crate) struct Note {
    call: CallId,
    tool: ToolName,
    call_sha256: String,
    pub(crate) ended: Option<Ended>,
}

/// One process's hold on a machine's records.
pub(crate) struct Paper {
    notes: Rc<RefCell<Notes>>,
    weather: Rc<Weather>,
}

impl Paper {
    pub(crate) fn new(notes: &Rc<RefCell<Notes>>, weather: &Rc<Weather>) -> Self {
        Self {
            notes: Rc::clone(notes),
            weather: Rc::clone(weather),
        }
    }

    fn write<T>(&self, write: impl FnOnce(&mut Vec<Note>) -> T) -> Result<T, Hitch> {
        self.write_with(self.weather.fate_of_write(), write)
    }

    fn write_with<T>(
        &self,
        fate: Write,
        write: impl FnOnce(&mut Vec<Note>) -> T,
    ) -> Result<T, Hitch> {
        match fate {
            Write::Kept => Ok(write(&mut self.notes.borrow_mut().0)),
            Write::CrashBefore => Err(Hitch::Crash),
            Write::CrashAfter => {
                write(&mut self.notes.borrow_mut().0);
                Err(Hitch::Crash)
            }
            Write::Refused => Err(Hitch::Refused),
        }
    }
}

impl Records for Paper {
    type Error = Hitch;

    fn find(&self, call: &CallId) -> Result<Option<Known>, Hitch> {
        if self.weather.has(Fault::FindBlind) {
            return Ok(None);
        }
        let notes = self.notes.borrow();
        let found = notes.0.iter().find(|note| note.call == *call);
        Ok(found.map(|note| match &note.ended {
            Some(ended) => Known::Ended(ended.clone()),
            None => Known::Running {
                call_sha256: note.call_sha256.clone(),
            },
        }))
    }

    fn begin(&mut self, call: &CallId, tool: &ToolName, call_sha256: &str) -> Result<(), Hitch> {
        if self.weather.has(Fault::BeginNotKept) {
            return Ok(());
        }
        let blind = self.weather.has(Fault::FindBlind);
        let known = |notes: &Notes| notes.0.iter().any(|note| note.call == *call);
        if known(&self.notes.borrow()) && !blind {
            return Err(Hitch::Known);
        }
        self.write(|notes| {
            notes.push(Note {
                call: call.clone(),
                tool: tool.clone(),
                call_sha256: call_sha256.to_owned(),
                ended: None,
            });
        })?;
        let waiting = &mut self.notes.borrow_mut().1;
        waiting.retain(|held| held.call.id != *call);
        Ok(())
    }

    fn end(
        &mut self,
        call: &CallId,
        outcome: &Outcome,
        policy_sha256: &str,
        now: i64,
    ) -> Result<Option<Ended>, Hitch> {
        let forgets = self.weather.has(Fault::EndNotKept);
        let note = |notes: &mut Vec<Note>| {
            let running = |note: &&mut Note| note.call == *call && note.ended.is_none();
            let note = notes.iter_mut().find(running)?;
            let ended = Ended {
                call: call.clone(),
                tool: note.tool.clone(),
                call_sha256: note.call_sha256.clone(),
                outcome: serde_json::to_string(outcome).unwrap_or_default(),
                policy_sha256: policy_sha256.to_owned(),
                audit_head: String::new(),
                at: now,
                acknowledged: false,
            };
            if !forgets {
                note.ended = Some(ended.clone());
            }
            Some(ended)
        };
        self.write(note)
    }

    fn forget(&mut self, call: &CallId) -> Result<(), Hitch> {
        if self.weather.has(Fault::ForgetsNothing) {
            return Ok(());
        }
        self.write(|notes| notes.retain(|note| note.call != *call))
    }

    fn acknowledge(&mut self, call: &CallId) -> Result<(), Hitch> {
        if self.weather.has(Fault::AcknowledgementsDropped) {
            return Ok(());
        }
        self.write(|notes| {
            let ended = notes.iter_mut().filter(|note| note.call == *call);
            for note in ended.filter_map(|note| note.ended.as_mut()) {
                note.acknowledged = true;
            }
        })
    }

    fn waiting(&self) -> Result<Vec<Ended>, Hitch> {
        if self.weather.has(Fault::NothingToTellAgain) {
            return Ok(vec![]);
        }
        let notes = self.notes.borrow();
        let ended = notes.0.iter().filter_map(|note| note.ended.clone());
        let mut waiting: Vec<Ended> = ended.filter(|ended| !ended.acknowledged).collect();
        waiting.sort_by_key(|ended| ended.at);
        Ok(waiting)
    }

    fn running(&self) -> Result<Vec<(CallId, ToolName)>, Hitch> {
        if self.weather.has(Fault::RunningBlind) {
            return Ok(vec![]);
        }
        let reads = self.weather.has(Fault::WritesTakenForReads);
        let notes = self.notes.borrow();
        let running = notes.0.iter().filter(|note| note.ended.is_none());
        Ok(running
            .map(|note| {
                let tool = if reads {
                    ToolName::new("files.read")
                } else {
                    note.tool.clone()
                };
                (note.call.clone(), tool)
            })
            .collect())
    }

    fn prune(&mut self, before: i64) -> Result<(), Hitch> {
        let old = |note: &Note| {
            let ended = note.ended.as_ref();
            ended.is_some_and(|ended| ended.acknowledged && ended.at < before)
        };
        if self.notes.borrow().0.iter().any(old) {
            self.write(|notes| notes.retain(|note| !old(note)))?;
        }
        Ok(())
    }

    fn hold(&mut self, held: &Held) -> Result<(), Hitch> {
        let waiting = &mut self.notes.borrow_mut().1;
        waiting.retain(|other| other.call.id != held.call.id);
        waiting.push(held.clone());
        Ok(())
    }

    fn held(&self) -> Result<Vec<Held>, Hitch> {
        Ok(self.notes.borrow().1.clone())
    }
}
