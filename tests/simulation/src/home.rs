//! A machine at home: the bridge's real logic over its records, tools that take their time, and a disk on which effects stay.

use crate::records::{Hitch, Notes, Paper};
use crate::weather::Weather;
use local_bridge::calls::{Action, Calls, News, Order};
use protocol::call::{CallId, FileRef, Outcome, ToolCall};
use protocol::warrant::WARRANT_SECONDS;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// What has really happened in the world, whatever anyone has noted of it.
#[derive(Default)]
pub(crate) struct Truth {
    /// How often each call took effect at home.
    pub(crate) effects: BTreeMap<CallId, u32>,
    /// How often each call that only looks came to its end.
    pub(crate) looked: BTreeMap<CallId, u32>,
    /// The calls to which the person has said yes, and no.
    pub(crate) yes: Vec<CallId>,
    pub(crate) no: Vec<CallId>,
}

/// One machine.
pub(crate) struct Home {
    pub(crate) name: &'static str,
    pub(crate) notes: Rc<RefCell<Notes>>,
    /// The bridge, while it runs.
    calls: Option<Calls<Paper>>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) wire: Option<Wire>,
    /// The bridge has not been told yet that its line is gone.
    pub(crate) owes_lost: bool,
    /// The object knows it.
    pub(crate) is_paired: bool,
    /// It has come back for the last time.
    pub(crate) is_gone: bool,
    sessions: u32,
    weather: Rc<Weather>,
}

/// A tool at work.
pub(crate) struct Task {
    order: Order,
    end: End,
    acted: bool,
    stopped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    Failed,
    Denied,
}

/// A connection to the object, as the machine sees it.
pub(crate) struct Wire {
    pub(crate) session: String,
    /// Frames to the machine, and when they left.
    pub(crate) down: VecDeque<(i64, Down)>,
    /// Frames to the object.
    pub(crate) up: VecDeque<Up>,
    /// Nothing arrives any more.
    pub(crate) cut: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Down {
    Order(ToolCall),
    Acknowledged(CallId),
}

#[derive(Debug, Clone)]
pub(crate) enum Up {
    Hello,
    Result { call: CallId, outcome: String },
}

impl Home {
    pub(crate) fn new(name: &'static str, weather: &Rc<Weather>) -> Self {
        Self {
            name,
            notes: Rc::default(),
            calls: None,
            tasks: vec![],
            wire: None,
            owes_lost: false,
            is_paired: true,
            is_gone: false,
            sessions: 0,
            weather: Rc::clone(weather),
        }
    }

    pub(crate) fn runs(&self) -> bool {
        self.calls.is_some()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.wire.as_ref().is_some_and(|wire| !wire.cut)
    }

    /// Nothing runs, nothing waits to run, nothing is left to be told.
    pub(crate) fn is_at_rest(&self) -> bool {
        let notes = self.notes.borrow();
        let over = |note: &crate::records::Note| {
            let ended = note.ended.as_ref();
            ended.is_some_and(|ended| ended.acknowledged)
        };
        self.calls.as_ref().is_some_and(Calls::idle) && notes.0.iter().all(over)
    }

    /// A process begins, over what the one before has noted.
    pub(crate) fn revive(&mut self) {
        let paper = Paper::new(&self.notes, &self.weather);
        self.calls = Calls::revive(paper, self.weather.now()).ok();
        let lives = self.runs();
        self.weather.tell(|| {
            format!(
                "{}: the bridge starts{}",
                self.name,
                if lives { "" } else { " and dies at once" }
            )
        });
    }

    pub(crate) fn crash(&mut self) {
        self.weather
            .tell(|| format!("{}: the bridge dies", self.name));
        self.calls = None;
        self.tasks.clear();
        self.owes_lost = false;
        self.cut();
    }

    /// The line breaks; each side notices in its own time.
    pub(crate) fn cut(&mut self) {
        if let Some(wire) = &mut self.wire {
            wire.cut = true;
            wire.up.clear();
            wire.down.clear();
            self.owes_lost = self.calls.is_some();
        }
        if self.calls.is_none() {
            self.wire = None;
        }
    }

    pub(crate) fn notices_loss(&mut self) {
        self.wire = None;
        self.owes_lost = false;
        self.weather
            .tell(|| format!("{}: notices that its line is gone", self.name));
        self.hears(News::Lost);
    }

    pub(crate) fn dial(&mut self) {
        self.sessions += 1;
        let session = format!("{}-{}", self.name, self.sessions);
        self.weather
            .tell(|| format!("{}: dials in as {session}", self.name));
        self.wire = Some(Wire {
            session,
            down: VecDeque::new(),
            up: VecDeque::from([Up::Hello]),
            cut: false,
        });
        self.hears(News::Welcomed);
    }

    /// The next frame from the object.
    pub(crate) fn receives(&mut self) {
        let Some((sent_at, frame)) = self.wire.as_mut().and_then(|wire| wire.down.pop_front())
        else {
            return;
        };
        self.weather
            .tell(|| format!("{}: receives {frame:?}", self.name));
        let lifetime = i64::try_from(WARRANT_SECONDS).unwrap_or(0) * 1000;
        match frame {
            Down::Order(_) if self.weather.now() > sent_at + lifetime => {
                self.weather
                    .tell(|| format!("{}: that is too old; it hangs up", self.name));
                self.cut();
            }
            Down::Order(call) => self.hears(News::Ordered(call)),
            Down::Acknowledged(call) => self.hears(News::Acknowledged { call }),
        }
    }

    /// A tool goes on: first it takes effect, then it ends.
    pub(crate) fn works(&mut self, at: usize, truth: &mut Truth) {
        let task = &mut self.tasks[at];
        let call = task.order.call.clone();
        let tool = task.order.tool.0.as_str();
        let acts = matches!(tool, "files.write" | "shell.run");
        if acts && task.end == End::Done && !task.acted && !task.stopped {
            task.acted = true;
            let times = truth.effects.entry(call.clone()).or_default();
            *times += 1;
            let times = *times;
            self.weather
                .tell(|| format!("{}: {tool} {call} takes effect", self.name));
            if times > 1 {
                self.weather
                    .broken(|| format!("call {call} took effect {times} times"));
            }
            let granted = task.order.arguments["argv"][0] == "granted";
            if tool == "shell.run" && !granted && !truth.yes.contains(&call) {
                self.weather
                    .broken(|| format!("call {call} took effect without the person's yes"));
            }
            return;
        }
        let task = self.tasks.remove(at);
        let outcome = match task.end {
            _ if task.stopped && !task.acted => Outcome::Cancelled,
            End::Done => done(&task.order),
            End::Failed => Outcome::failed("no such file"),
            End::Denied => Outcome::denied("by policy"),
        };
        if !acts && matches!(outcome, Outcome::Done { .. }) {
            *truth.looked.entry(call.clone()).or_default() += 1;
        }
        self.weather
            .tell(|| format!("{}: {call} ends as {outcome:?}", self.name));
        self.hears(News::Ended {
            call,
            attempt: task.order.attempt,
            outcome,
            policy_sha256: String::new(),
        });
    }

    fn hears(&mut self, news: News) {
        let Some(calls) = &mut self.calls else {
            return;
        };
        match calls.handle(news, self.weather.now()) {
            Ok(actions) => {
                for action in actions {
                    self.perform(action);
                }
            }
            Err(Hitch::Crash) => self.crash(),
            Err(hitch @ (Hitch::Refused | Hitch::Known)) => {
                self.weather.tell(|| format!("{}: {hitch}", self.name));
                self.cut();
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Report(ended) => {
                if let Some(wire) = self.wire.as_mut().filter(|wire| !wire.cut) {
                    let (call, outcome) = (ended.call, ended.outcome);
                    wire.up.push_back(Up::Result { call, outcome });
                }
            }
            Action::Start(order) => {
                let end = match self.weather.chance.below(10) {
                    0 => End::Failed,
                    1 => End::Denied,
                    _ => End::Done,
                };
                self.weather
                    .tell(|| format!("{}: begins {} {}", self.name, order.tool, order.call));
                self.tasks.push(Task {
                    order,
                    end,
                    acted: false,
                    stopped: false,
                });
            }
            Action::Stop(call) => {
                let stopped = self.tasks.iter_mut().filter(|task| task.order.call == call);
                stopped.for_each(|task| task.stopped = true);
            }
            Action::Credit { .. }
            | Action::Pass(..)
            | Action::Go(_)
            | Action::Ask(_)
            | Action::Wait { .. } => {}
            Action::HangUp(reason) => {
                self.weather
                    .broken(|| format!("the bridge hangs up on its own Worker: {reason}"));
                self.cut();
            }
        }
    }
}

fn done(order: &Order) -> Outcome {
    let file = (order.tool.0 == "files.send").then(|| FileRef {
        name: "letter.pdf".into(),
        mime: "application/pdf".into(),
        size: 1,
        sha256: String::new(),
    });
    Outcome::Done {
        text: "ok".into(),
        file,
    }
}
