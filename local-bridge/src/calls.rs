//! Which calls run: news in, actions out. Checks every warrant, asks the journal, keeps results until they are acknowledged. No sockets.

use crate::journal::{Ended, Journal, Known, Unusable, repeatable};
use protocol::call::{CallId, Outcome, ToolName};
use protocol::key::{KeyId, PublicKey, SigningKey, sha256_hex};
use protocol::token::{Binding, Kind, call_hash, check, issue};
use protocol::warrant::{CANCEL, Receipt, Warrant};
use protocol::{MAX_TEXT_FRAME, ToBridge, ToWorker, write_frame};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};

/// How many calls run at once; a home machine has other things to do.
const MAX_RUNNING: usize = 4;

/// How many calls may wait for their turn; the Worker's limits are far below.
const MAX_QUEUED: usize = 64;

/// The longest call id, see [`CallId`].
const MAX_ID: usize = 64;

/// What a result's frame holds beside the outcome: two ids, a receipt of about 1.2 KB, punctuation.
const FRAME_OVERHEAD: usize = 4 * 1024;

/// The tool whose bytes travel beside its result, within one connection.
const SEND: &str = "files.send";

/// The calls of one machine, across all its connections.
#[derive(Debug)]
pub struct Calls {
    journal: Journal,
    key: SigningKey,
    id: KeyId,
    command_key: PublicKey,
    command_id: KeyId,
    lease_millis: i64,
    session: Option<Session>,
    running: HashMap<CallId, Running>,
    queue: VecDeque<Order>,
    attempts: u64,
}

/// One call to be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// The call.
    pub call: CallId,
    /// Which run of the call this is; news of another run is stale.
    pub attempt: u64,
    /// The tool.
    pub tool: ToolName,
    /// Its arguments, as yet unchecked against the tool's own type.
    pub arguments: Value,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// Both sides are proven; the session has this name.
    Welcomed(String),
    /// Something came that shows the Worker to be there.
    Heard,
    /// The Worker says something.
    Said(ToBridge),
    /// A call's run has ended.
    Ended {
        /// The call.
        call: CallId,
        /// Which run of it.
        attempt: u64,
        /// How.
        outcome: Outcome,
        /// SHA-256 of the policy that judged it.
        policy_sha256: String,
    },
    /// The connection is gone.
    Lost,
}

/// What to do about it, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Tell the Worker.
    Say(ToWorker),
    /// Run a call; it ends in [`News::Ended`].
    Start(Order),
    /// End a run early; it still ends in [`News::Ended`], which may come too late to count.
    Stop(CallId),
    /// A file's bytes may travel up to here.
    Credit {
        /// The call that sends the file.
        call: CallId,
        /// The offset.
        until: u64,
    },
    /// The Worker broke the rules: close the connection. Nothing else follows.
    HangUp(String),
}

#[derive(Debug)]
struct Session {
    name: String,
    last_seq: u64,
    heard_at: i64,
}

#[derive(Debug)]
struct Running {
    attempt: u64,
    tool: ToolName,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cancel {
    call: CallId,
}

impl Calls {
    /// Calls that `command_key` may order from the owner of `key`.
    pub fn new(
        journal: Journal,
        key: SigningKey,
        command_key: PublicKey,
        lease_millis: i64,
    ) -> Self {
        Self {
            id: key.public().id(),
            command_id: command_key.id(),
            journal,
            key,
            command_key,
            lease_millis,
            session: None,
            running: HashMap::new(),
            queue: VecDeque::new(),
            attempts: 0,
        }
    }

    /// Takes news in at `now` (milliseconds since 1970). What must outlast a crash is on the disk when this returns.
    pub fn handle(&mut self, news: News, now: i64) -> Result<Vec<Action>, Unusable> {
        match news {
            News::Welcomed(session) => self.welcomed(session, now),
            News::Heard => Ok(self.heard(now).err().into_iter().collect()),
            News::Said(frame) => match self.heard(now) {
                Ok(()) => self.said(frame, now),
                Err(hang_up) => Ok(vec![hang_up]),
            },
            News::Ended {
                call,
                attempt,
                outcome,
                policy_sha256,
            } => self.ended(&call, attempt, outcome, &policy_sha256, now),
            News::Lost => self.lost(),
        }
    }

    /// Nothing runs and nothing waits to run.
    pub fn idle(&self) -> bool {
        self.running.is_empty() && self.queue.is_empty()
    }

    fn welcomed(&mut self, name: String, now: i64) -> Result<Vec<Action>, Unusable> {
        self.session = Some(Session {
            name,
            last_seq: 0,
            heard_at: now,
        });
        self.journal.prune(now)?;
        let waiting = self.journal.waiting()?;
        Ok(waiting
            .iter()
            .filter_map(|ended| self.result(ended, now))
            .collect())
    }

    /// A machine that slept, or a line that was dead, longer than the lease is no longer ready to act.
    fn heard(&mut self, now: i64) -> Result<(), Action> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        if now - session.heard_at > self.lease_millis {
            return Err(Action::HangUp("the lease has run out".to_owned()));
        }
        session.heard_at = now;
        Ok(())
    }

    fn said(&mut self, frame: ToBridge, now: i64) -> Result<Vec<Action>, Unusable> {
        match frame {
            ToBridge::Run { warrant } => match self.checked(&warrant, now) {
                Ok(warrant) => self.run(warrant, now),
                Err(why) => Ok(vec![Action::HangUp(why)]),
            },
            ToBridge::Acknowledged { call } => {
                self.journal.acknowledge(&call)?;
                Ok(vec![])
            }
            ToBridge::Credit { call, until } => Ok(vec![Action::Credit { call, until }]),
            ToBridge::Challenge { .. } | ToBridge::Welcome { .. } => Ok(vec![Action::HangUp(
                "a session began inside a session".to_owned(),
            )]),
        }
    }

    /// A warrant from the pinned key, for this machine, this session and this moment, next in sequence; else why not.
    fn checked(&mut self, token: &str, now: i64) -> Result<Warrant, String> {
        let Some(session) = &mut self.session else {
            return Err("a warrant before the session".to_owned());
        };
        let binding = Binding {
            issuer: &self.command_id,
            audience: &self.id,
            nonce: Some(&session.name),
        };
        let checked = check::<Warrant>(Kind::Warrant, &self.command_key, binding, token, now);
        let warrant = checked.map_err(|error| error.to_string())?.claims;
        let expected = session.last_seq + 1;
        if warrant.seq != expected {
            return Err(format!(
                "warrant number {} came where {expected} was due",
                warrant.seq
            ));
        }
        if !well_formed(&warrant.call) {
            return Err("a call's id has other than letters, digits and '-'".to_owned());
        }
        session.last_seq = expected;
        Ok(warrant)
    }

    fn run(&mut self, warrant: Warrant, now: i64) -> Result<Vec<Action>, Unusable> {
        let asked = call_hash(&warrant.tool, &warrant.arguments);
        match self.journal.find(&warrant.call)? {
            Some(Known::Running { call_sha256 }) if call_sha256 == asked => Ok(vec![]),
            Some(Known::Ended(ended)) if ended.call_sha256 == asked => {
                self.again(warrant, &ended, now)
            }
            Some(Known::Running { .. } | Known::Ended(_)) => Ok(vec![Action::HangUp(format!(
                "call {} came back asking for something else",
                warrant.call
            ))]),
            None if self.queue.iter().any(|order| order.call == warrant.call) => Ok(vec![]),
            None => self.take(warrant, now),
        }
    }

    /// An ended call is answered from the journal; only a file whose bytes the Worker has lost is sent again.
    fn again(
        &mut self,
        warrant: Warrant,
        ended: &Ended,
        now: i64,
    ) -> Result<Vec<Action>, Unusable> {
        if warrant.tool.0 == SEND && !ended.acknowledged {
            self.journal.forget(&warrant.call)?;
            return self.take(warrant, now);
        }
        Ok(self.result(ended, now).into_iter().collect())
    }

    fn take(&mut self, warrant: Warrant, now: i64) -> Result<Vec<Action>, Unusable> {
        if warrant.tool.0 == CANCEL {
            return self.cancel(&warrant, now);
        }
        if self.queue.len() >= MAX_QUEUED {
            let full = Outcome::failed("too many calls are waiting on this machine; try later");
            return self.settle(&warrant.call, &warrant, &full, now);
        }
        self.attempts += 1;
        self.queue.push_back(Order {
            call: warrant.call,
            attempt: self.attempts,
            tool: warrant.tool,
            arguments: warrant.arguments,
        });
        self.start_next()
    }

    fn start_next(&mut self) -> Result<Vec<Action>, Unusable> {
        let mut actions = Vec::new();
        while self.running.len() < MAX_RUNNING {
            let Some(order) = self.queue.pop_front() else {
                break;
            };
            let asked = call_hash(&order.tool, &order.arguments);
            self.journal.begin(&order.call, &order.tool, &asked)?;
            let running = Running {
                attempt: order.attempt,
                tool: order.tool.clone(),
            };
            self.running.insert(order.call.clone(), running);
            actions.push(Action::Start(order));
        }
        Ok(actions)
    }

    fn cancel(&mut self, warrant: &Warrant, now: i64) -> Result<Vec<Action>, Unusable> {
        let target = match serde_json::from_value::<Cancel>(warrant.arguments.clone()) {
            Ok(Cancel { call }) => call,
            Err(error) => {
                let bad = Outcome::failed(format!("arguments are not understood: {error}"));
                return self.settle(&warrant.call, warrant, &bad, now);
            }
        };
        let mut actions = Vec::new();
        let mut told = format!("{target} is not running here");
        if let Some(at) = self.queue.iter().position(|order| order.call == target)
            && let Some(order) = self.queue.remove(at)
        {
            let asked = Warrant {
                seq: 0,
                call: order.call,
                tool: order.tool,
                arguments: order.arguments,
            };
            actions.extend(self.settle(&target, &asked, &Outcome::Cancelled, now)?);
            told = format!("{target} had not begun and will not");
        } else if self.running.contains_key(&target) {
            actions.push(Action::Stop(target.clone()));
            told = format!("{target} is being stopped");
        }
        actions.extend(self.settle(&warrant.call, warrant, &Outcome::done(told), now)?);
        Ok(actions)
    }

    /// Ends a call that never runs.
    fn settle(
        &mut self,
        call: &CallId,
        asked: &Warrant,
        outcome: &Outcome,
        now: i64,
    ) -> Result<Vec<Action>, Unusable> {
        let hash = call_hash(&asked.tool, &asked.arguments);
        self.journal.begin(call, &asked.tool, &hash)?;
        let ended = self.journal.end(call, outcome, "", now)?;
        Ok(ended
            .and_then(|ended| self.result(&ended, now))
            .into_iter()
            .collect())
    }

    fn ended(
        &mut self,
        call: &CallId,
        attempt: u64,
        outcome: Outcome,
        policy_sha256: &str,
        now: i64,
    ) -> Result<Vec<Action>, Unusable> {
        if self.running.get(call).map(|running| running.attempt) != Some(attempt) {
            return Ok(vec![]);
        }
        let outcome = fitting(outcome);
        let ended = self.journal.end(call, &outcome, policy_sha256, now)?;
        self.running.remove(call);
        let result = ended.and_then(|ended| self.result(&ended, now));
        let mut actions: Vec<Action> = result.into_iter().collect();
        actions.extend(self.start_next()?);
        Ok(actions)
    }

    /// What runs goes on; what waits would act without a Worker that still means it; a file's bytes have lost their way.
    fn lost(&mut self) -> Result<Vec<Action>, Unusable> {
        self.session = None;
        self.queue.clear();
        let sending: Vec<CallId> = self
            .running
            .iter()
            .filter(|(_, running)| running.tool.0 == SEND && repeatable(&running.tool))
            .map(|(call, _)| call.clone())
            .collect();
        let mut actions = Vec::new();
        for call in sending {
            self.journal.forget(&call)?;
            self.running.remove(&call);
            actions.push(Action::Stop(call));
        }
        Ok(actions)
    }

    /// A result with a receipt for the present session; nothing while there is none.
    fn result(&self, ended: &Ended, now: i64) -> Option<Action> {
        let session = self.session.as_ref()?;
        let receipt = Receipt {
            call: ended.call.clone(),
            call_sha256: ended.call_sha256.clone(),
            outcome_sha256: sha256_hex(ended.outcome.as_bytes()),
            at: ended.at,
            policy_sha256: ended.policy_sha256.clone(),
            audit_head: ended.audit_head.clone(),
        };
        let binding = Binding {
            issuer: &self.id,
            audience: &self.command_id,
            nonce: Some(&session.name),
        };
        match issue(Kind::Receipt, &self.key, binding, &receipt, now) {
            Ok(receipt) => Some(Action::Say(ToWorker::Result {
                call: ended.call.clone(),
                outcome: ended.outcome.clone(),
                receipt,
            })),
            Err(error) => Some(Action::HangUp(format!("no receipt can be signed: {error}"))),
        }
    }
}

fn well_formed(call: &CallId) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    !call.0.is_empty() && call.0.len() <= MAX_ID && call.0.chars().all(allowed)
}

/// An outcome whose frame the Worker will read. A tool's own limits keep far below; a text of quotes and backslashes may not.
fn fitting(outcome: Outcome) -> Outcome {
    let travels = |outcome: &Outcome| {
        let text = serde_json::to_string(outcome).unwrap_or_default();
        write_frame(&text).len() + FRAME_OVERHEAD <= MAX_TEXT_FRAME
    };
    let mut outcome = outcome;
    while !travels(&outcome) {
        outcome = match outcome {
            Outcome::Done { text, file } => Outcome::Done {
                text: halved(&text),
                file,
            },
            Outcome::Failed { reason } => Outcome::failed(halved(&reason)),
            Outcome::Denied { reason } => Outcome::denied(halved(&reason)),
            Outcome::Interrupted { reason } => Outcome::Interrupted {
                reason: halved(&reason),
            },
            Outcome::Cancelled => return Outcome::Cancelled,
        };
    }
    outcome
}

fn halved(text: &str) -> String {
    let middle = text.floor_char_boundary(text.len() / 2);
    format!("{}\n[cut: too long to travel]", &text[..middle])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: i64 = 1_790_000_000_000;
    const LEASE: i64 = 60_000;

    struct World {
        calls: Calls,
        command: SigningKey,
        bridge: KeyId,
        seq: u64,
    }

    impl World {
        fn new() -> Self {
            let (command, key) = (
                SigningKey::generate().unwrap(),
                SigningKey::generate().unwrap(),
            );
            let bridge = key.public().id();
            let journal = Journal::in_memory().unwrap();
            let calls = Calls::new(journal, key, command.public(), LEASE);
            let mut world = Self {
                calls,
                command,
                bridge,
                seq: 0,
            };
            world.welcome("s1", NOW);
            world
        }

        fn welcome(&mut self, session: &str, now: i64) -> Vec<Action> {
            self.seq = 0;
            let news = News::Welcomed(session.to_owned());
            self.calls.handle(news, now).unwrap()
        }

        fn warrant(&self, seq: u64, call: &str, tool: &str, arguments: Value, at: i64) -> News {
            let issuer = self.command.public().id();
            let session = self.calls.session.as_ref().map(|s| s.name.clone());
            let binding = Binding {
                issuer: &issuer,
                audience: &self.bridge,
                nonce: session.as_deref(),
            };
            let claims = Warrant {
                seq,
                call: CallId(call.into()),
                tool: ToolName::new(tool),
                arguments,
            };
            let warrant = issue(Kind::Warrant, &self.command, binding, &claims, at).unwrap();
            News::Said(ToBridge::Run { warrant })
        }

        fn order(&mut self, call: &str, tool: &str, arguments: Value) -> Vec<Action> {
            self.seq += 1;
            let news = self.warrant(self.seq, call, tool, arguments, NOW);
            self.calls.handle(news, NOW).unwrap()
        }

        fn end(&mut self, started: &[Action], outcome: Outcome) -> Vec<Action> {
            let [Action::Start(order)] = started else {
                panic!("nothing started: {started:?}");
            };
            let news = News::Ended {
                call: order.call.clone(),
                attempt: order.attempt,
                outcome,
                policy_sha256: "p".into(),
            };
            self.calls.handle(news, NOW).unwrap()
        }
    }

    fn outcomes(actions: &[Action]) -> Vec<(&str, Outcome)> {
        let said = actions.iter().map(|action| {
            let Action::Say(ToWorker::Result { call, outcome, .. }) = action else {
                panic!("not a result: {action:?}");
            };
            (call.0.as_str(), serde_json::from_str(outcome).unwrap())
        });
        said.collect()
    }

    #[test]
    fn a_call_runs_once_and_is_then_answered_from_the_journal() {
        let mut world = World::new();
        let write = json!({"path": "a", "text": "b"});
        let started = world.order("c1", "files.write", write.clone());
        assert_eq!(world.order("c1", "files.write", write.clone()), vec![]);
        let first = world.end(&started, Outcome::done("ok"));
        assert_eq!(outcomes(&first), vec![("c1", Outcome::done("ok"))]);
        let second = world.order("c1", "files.write", write.clone());
        assert_eq!(outcomes(&second), vec![("c1", Outcome::done("ok"))]);
        world.calls.handle(News::Lost, NOW).unwrap();
        let again = world.welcome("s2", NOW);
        assert_eq!(outcomes(&again), vec![("c1", Outcome::done("ok"))]);
        let third = world.order("c1", "files.write", write);
        assert_eq!(outcomes(&third), vec![("c1", Outcome::done("ok"))]);
        let stored = News::Said(ToBridge::Acknowledged {
            call: CallId("c1".into()),
        });
        assert_eq!(world.calls.handle(stored, NOW).unwrap(), vec![]);
        assert_eq!(world.welcome("s3", NOW), vec![]);
    }

    #[test]
    fn a_gap_or_a_repeat_in_the_sequence_ends_the_session() {
        let mut world = World::new();
        let gap = world.warrant(2, "c1", "files.list", json!({}), NOW);
        let why = "warrant number 2 came where 1 was due".to_owned();
        assert_eq!(
            world.calls.handle(gap, NOW).unwrap(),
            vec![Action::HangUp(why)]
        );
        let first = world.warrant(1, "c1", "files.list", json!({}), NOW);
        assert!(matches!(
            world.calls.handle(first.clone(), NOW).unwrap()[..],
            [Action::Start(_)]
        ));
        let why = "warrant number 1 came where 2 was due".to_owned();
        assert_eq!(
            world.calls.handle(first, NOW).unwrap(),
            vec![Action::HangUp(why)]
        );
    }

    #[test]
    fn a_warrant_of_another_session_or_of_the_past_ends_the_session() {
        let mut world = World::new();
        let stale = world.warrant(1, "c1", "files.list", json!({}), NOW);
        world.welcome("s2", NOW);
        let actions = world.calls.handle(stale, NOW).unwrap();
        assert!(matches!(actions[..], [Action::HangUp(_)]), "{actions:?}");
        let old = world.warrant(1, "c1", "files.list", json!({}), NOW - 60_000);
        let actions = world.calls.handle(old, NOW).unwrap();
        assert!(matches!(actions[..], [Action::HangUp(_)]), "{actions:?}");
        assert!(world.calls.idle());
    }

    #[test]
    fn an_id_that_comes_back_with_other_arguments_ends_the_session() {
        let mut world = World::new();
        let started = world.order("c1", "files.write", json!({"path": "a", "text": "b"}));
        world.end(&started, Outcome::done("ok"));
        let actions = world.order("c1", "files.write", json!({"path": "a", "text": "c"}));
        assert!(matches!(actions[..], [Action::HangUp(_)]), "{actions:?}");
    }

    #[test]
    fn an_id_that_could_be_a_path_ends_the_session() {
        let mut world = World::new();
        let actions = world.order("../c1", "files.list", json!({}));
        assert!(matches!(actions[..], [Action::HangUp(_)]), "{actions:?}");
    }

    #[test]
    fn after_the_lease_nothing_is_taken() {
        let mut world = World::new();
        let late = NOW + LEASE + 1;
        let news = world.warrant(1, "c1", "files.list", json!({}), late);
        let why = "the lease has run out".to_owned();
        assert_eq!(
            world.calls.handle(news, late).unwrap(),
            vec![Action::HangUp(why)]
        );
    }

    #[test]
    fn a_fifth_call_waits_and_starts_in_order() {
        let mut world = World::new();
        let first = world.order("c1", "files.list", json!({}));
        for call in ["c2", "c3", "c4"] {
            assert_eq!(world.order(call, "files.list", json!({})).len(), 1);
        }
        assert_eq!(world.order("c5", "files.list", json!({})), vec![]);
        assert_eq!(world.order("c6", "files.list", json!({})), vec![]);
        let actions = world.end(&first, Outcome::done("ok"));
        assert!(matches!(&actions[1..], [Action::Start(order)] if order.call.0 == "c5"));
        let queued = world.order("x1", CANCEL, json!({"call": "c6"}));
        assert_eq!(
            outcomes(&queued),
            vec![
                ("c6", Outcome::Cancelled),
                ("x1", Outcome::done("c6 had not begun and will not"))
            ]
        );
    }

    #[test]
    fn a_cancelled_run_is_stopped_and_its_own_end_tells_how() {
        let mut world = World::new();
        let started = world.order("c1", "shell.run", json!({"argv": ["sleep", "9"]}));
        let actions = world.order("x1", CANCEL, json!({"call": "c1"}));
        assert_eq!(actions[0], Action::Stop(CallId("c1".into())));
        assert_eq!(
            outcomes(&actions[1..]),
            vec![("x1", Outcome::done("c1 is being stopped"))]
        );
        let actions = world.end(&started, Outcome::Cancelled);
        assert_eq!(outcomes(&actions), vec![("c1", Outcome::Cancelled)]);
        let actions = world.order("x2", CANCEL, json!({"call": "c1"}));
        assert_eq!(
            outcomes(&actions),
            vec![("x2", Outcome::done("c1 is not running here"))]
        );
    }

    #[test]
    fn a_lost_connection_ends_a_files_journey_and_a_new_order_starts_it_afresh() {
        let mut world = World::new();
        let path = json!({"path": "a"});
        let started = world.order("c1", SEND, path.clone());
        let actions = world.calls.handle(News::Lost, NOW).unwrap();
        assert_eq!(actions, vec![Action::Stop(CallId("c1".into()))]);
        assert_eq!(world.welcome("s2", NOW), vec![]);
        let again = world.order("c1", SEND, path.clone());
        assert_eq!(world.end(&started, Outcome::done("stale")), vec![]);
        let actions = world.end(&again, Outcome::done("sent"));
        assert_eq!(outcomes(&actions), vec![("c1", Outcome::done("sent"))]);
        let unstored = world.order("c1", SEND, path.clone());
        assert!(matches!(unstored[..], [Action::Start(_)]));
        world.end(&unstored, Outcome::done("sent"));
        let stored = News::Said(ToBridge::Acknowledged {
            call: CallId("c1".into()),
        });
        world.calls.handle(stored, NOW).unwrap();
        let actions = world.order("c1", SEND, path);
        assert_eq!(outcomes(&actions), vec![("c1", Outcome::done("sent"))]);
    }

    #[test]
    fn a_command_that_ends_while_the_line_is_down_is_told_at_the_next_session() {
        let mut world = World::new();
        let started = world.order("c1", "shell.run", json!({"argv": ["true"]}));
        assert_eq!(world.calls.handle(News::Lost, NOW).unwrap(), vec![]);
        assert_eq!(world.end(&started, Outcome::done("ok")), vec![]);
        let actions = world.welcome("s2", NOW);
        assert_eq!(outcomes(&actions), vec![("c1", Outcome::done("ok"))]);
    }

    #[test]
    fn a_receipt_proves_what_was_asked_and_how_it_ended() {
        let mut world = World::new();
        let arguments = json!({"path": "a", "text": "b"});
        let started = world.order("c1", "files.write", arguments.clone());
        let actions = world.end(&started, Outcome::done("ok"));
        let [
            Action::Say(ToWorker::Result {
                outcome, receipt, ..
            }),
        ] = &actions[..]
        else {
            panic!("{actions:?}");
        };
        let (bridge_key, audience) = (world.calls.key.public(), world.command.public().id());
        let binding = Binding {
            issuer: &world.bridge,
            audience: &audience,
            nonce: Some("s1"),
        };
        let receipt = check::<Receipt>(Kind::Receipt, &bridge_key, binding, receipt, NOW)
            .unwrap()
            .claims;
        assert_eq!(
            receipt,
            Receipt {
                call: CallId("c1".into()),
                call_sha256: call_hash(&ToolName::new("files.write"), &arguments),
                outcome_sha256: sha256_hex(outcome.as_bytes()),
                at: NOW,
                policy_sha256: "p".into(),
                audit_head: receipt.audit_head.clone(),
            }
        );
        assert_eq!(receipt.audit_head.len(), 64);
    }

    #[test]
    fn a_text_that_would_not_fit_its_frame_is_cut() {
        let long = Outcome::done("\\\"".repeat(MAX_TEXT_FRAME));
        let Outcome::Done { text, .. } = fitting(long) else {
            panic!("no longer done");
        };
        assert!(text.ends_with("[cut: too long to travel]"));
        let frame = write_frame(&serde_json::to_string(&Outcome::done(text)).unwrap());
        assert!(frame.len() <= MAX_TEXT_FRAME);
    }
}
