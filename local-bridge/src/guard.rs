//! The session's proof and order: takes in what the Worker says if it may say it now, and signs receipts. Holds the keys; knows no journal.

use crate::calls::News;
use crate::intake::Inflow;
use crate::journal::Ended;
use protocol::call::{CallId, ToolCall};
use protocol::key::{KeyId, PublicKey, SigningKey, sha256_hex};
use protocol::token::{self, Binding, Kind, check, issue};
use protocol::warrant::{Receipt, Warrant};
use protocol::{ToBridge, ToWorker};

/// The longest call id, see [`CallId`].
const MAX_ID: usize = 64;

/// The longest name of a tool; those that there are have less than half of it.
const MAX_TOOL: usize = 64;

/// Guards one session, from its proof to its end.
#[derive(Debug)]
pub struct Guard {
    keys: Keys,
    session: String,
    lease_millis: i64,
    last_seq: u64,
    heard_at: i64,
}

/// The two parties, as each session knows them.
#[derive(Debug, Clone)]
pub struct Keys {
    /// This machine's own key.
    pub own: SigningKey,
    /// The Worker's key that was pinned when the machine was paired.
    pub command: PublicKey,
}

/// Why the session cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A machine that slept, or a line that was dead, for longer than the lease is no longer ready to act.
    #[error("the lease has run out")]
    LeaseOver,
    /// The Worker proves itself once.
    #[error("a session began inside a session")]
    Nested,
    /// The warrant is not from the pinned key, for this machine, this session and this moment.
    #[error(transparent)]
    Warrant(token::Refused),
    /// A warrant is missing, or comes a second time.
    #[error("warrant number {came} came where {due} was due")]
    OutOfOrder {
        /// Its number.
        came: u64,
        /// The number that would have been right.
        due: u64,
    },
    /// A call's id could be mistaken for something else.
    #[error("a call's id has other than letters, digits and '-'")]
    BadId,
    /// No tool is called so, and a person would have to read it.
    #[error("a tool's name has more than 64 bytes")]
    BadTool,
    /// A receipt cannot be made.
    #[error("no receipt can be signed: {0}")]
    Unsigned(token::Refused),
}

impl Guard {
    /// Guards a session that both sides have just proven.
    pub fn new(keys: Keys, session: String, lease_millis: i64, now: i64) -> Self {
        Self {
            keys,
            session,
            lease_millis,
            last_seq: 0,
            heard_at: now,
        }
    }

    /// Notes that the Worker is there, unless it was away for too long.
    pub fn heard(&mut self, now: i64) -> Result<(), Refused> {
        if now - self.heard_at > self.lease_millis {
            return Err(Refused::LeaseOver);
        }
        self.heard_at = now;
        Ok(())
    }

    /// What the Worker says, as news for [`crate::calls::Calls`].
    pub fn said(&mut self, frame: ToBridge, now: i64) -> Result<News, Refused> {
        self.heard(now)?;
        match frame {
            ToBridge::Run { warrant } => self.ordered(&warrant, now),
            ToBridge::Acknowledged { call } => Ok(News::Acknowledged { call }),
            ToBridge::Credit { call, until } => Ok(News::Credit { call, until }),
            ToBridge::FileStart { call, file } => Ok(News::Comes(call, Inflow::Start(file))),
            ToBridge::FileMissing { call } => Ok(News::Comes(call, Inflow::Missing)),
            ToBridge::Mark { call, mark } => Ok(News::Comes(call, Inflow::Mark(mark))),
            ToBridge::Challenge { .. } | ToBridge::Welcome { .. } => Err(Refused::Nested),
        }
    }

    /// The frame that tells a result, with a receipt for this session.
    pub fn result(&self, ended: Ended, now: i64) -> Result<ToWorker, Refused> {
        let (own, command) = self.ids();
        let binding = Binding {
            issuer: &own,
            audience: &command,
            nonce: Some(&self.session),
        };
        let claims = Receipt {
            call: ended.call.clone(),
            call_sha256: ended.call_sha256,
            outcome_sha256: sha256_hex(ended.outcome.as_bytes()),
            at: ended.at,
            policy_sha256: ended.policy_sha256,
            audit_head: ended.audit_head,
        };
        let receipt = issue(Kind::Receipt, &self.keys.own, binding, &claims, now);
        Ok(ToWorker::Result {
            call: ended.call,
            outcome: ended.outcome,
            receipt: receipt.map_err(Refused::Unsigned)?,
        })
    }

    /// The order of a warrant from the pinned key, for this machine, this session and this moment, next in sequence.
    fn ordered(&mut self, token: &str, now: i64) -> Result<News, Refused> {
        let (own, command) = self.ids();
        let binding = Binding {
            issuer: &command,
            audience: &own,
            nonce: Some(&self.session),
        };
        let checked = check::<Warrant>(Kind::Warrant, &self.keys.command, binding, token, now);
        let warrant = checked.map_err(Refused::Warrant)?.claims;
        let (came, due) = (warrant.seq, self.last_seq + 1);
        if came != due {
            return Err(Refused::OutOfOrder { came, due });
        }
        if !well_formed(&warrant.call) {
            return Err(Refused::BadId);
        }
        if warrant.tool.0.len() > MAX_TOOL {
            return Err(Refused::BadTool);
        }
        self.last_seq = due;
        let call = ToolCall {
            id: warrant.call,
            tool: warrant.tool,
            arguments: warrant.arguments,
        };
        Ok(if warrant.asked {
            News::Ordered(call)
        } else {
            News::Unasked(call)
        })
    }

    fn ids(&self) -> (KeyId, KeyId) {
        (self.keys.own.public().id(), self.keys.command.id())
    }
}

fn well_formed(call: &CallId) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    !call.0.is_empty() && call.0.len() <= MAX_ID && call.0.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Journal, Records};
    use protocol::call::{Outcome, ToolName};
    use protocol::token::call_hash;
    use serde_json::{Value, json};

    const NOW: i64 = 1_790_000_000_000;
    const LEASE: i64 = 60_000;

    struct World {
        guard: Guard,
        command: SigningKey,
    }

    impl World {
        fn new() -> Self {
            let command = SigningKey::generate().unwrap();
            let keys = Keys {
                own: SigningKey::generate().unwrap(),
                command: command.public(),
            };
            let guard = Guard::new(keys, "s1".to_owned(), LEASE, NOW);
            Self { guard, command }
        }

        fn welcome(&mut self, session: &str) {
            let keys = self.guard.keys.clone();
            self.guard = Guard::new(keys, session.to_owned(), LEASE, NOW);
        }

        fn warrant(&self, seq: u64, call: &str, at: i64) -> ToBridge {
            let (own, command) = self.guard.ids();
            self.warrant_by(&self.command, (&command, &own), (seq, call, at))
        }

        fn warrant_for(&self, tool: &str) -> ToBridge {
            let (own, command) = self.guard.ids();
            let binding = Binding {
                issuer: &command,
                audience: &own,
                nonce: Some(&self.guard.session),
            };
            let claims = Warrant {
                seq: 1,
                call: CallId("c1".into()),
                tool: ToolName::new(tool),
                arguments: json!({}),
                asked: true,
            };
            let warrant = issue(Kind::Warrant, &self.command, binding, &claims, NOW).unwrap();
            ToBridge::Run { warrant }
        }

        fn warrant_by(
            &self,
            key: &SigningKey,
            (issuer, audience): (&KeyId, &KeyId),
            (seq, call, at): (u64, &str, i64),
        ) -> ToBridge {
            let binding = Binding {
                issuer,
                audience,
                nonce: Some(&self.guard.session),
            };
            let claims = Warrant {
                seq,
                call: CallId(call.into()),
                tool: ToolName::new("files.list"),
                arguments: json!({}),
                asked: true,
            };
            let warrant = issue(Kind::Warrant, key, binding, &claims, at).unwrap();
            ToBridge::Run { warrant }
        }
    }

    fn list(call: &str) -> News {
        News::Ordered(ToolCall {
            id: CallId(call.into()),
            tool: ToolName::new("files.list"),
            arguments: Value::Object(serde_json::Map::new()),
        })
    }

    #[test]
    fn a_gap_or_a_repeat_in_the_sequence_ends_the_session() {
        let mut world = World::new();
        let gap = world.guard.said(world.warrant(2, "c1", NOW), NOW);
        assert_eq!(
            gap.unwrap_err().to_string(),
            "warrant number 2 came where 1 was due"
        );
        let first = world.warrant(1, "c1", NOW);
        assert_eq!(world.guard.said(first.clone(), NOW), Ok(list("c1")));
        assert_eq!(
            world.guard.said(first, NOW),
            Err(Refused::OutOfOrder { came: 1, due: 2 })
        );
        let second = world.warrant(2, "c2", NOW);
        assert_eq!(world.guard.said(second, NOW), Ok(list("c2")));
    }

    #[test]
    fn a_warrant_of_another_session_or_of_the_past_ends_the_session() {
        let mut world = World::new();
        let stale = world.warrant(1, "c1", NOW);
        world.welcome("s2");
        let refused = world.guard.said(stale, NOW);
        assert!(matches!(refused, Err(Refused::Warrant(_))), "{refused:?}");
        let old = world.warrant(1, "c1", NOW - 60_000);
        let refused = world.guard.said(old, NOW);
        assert!(matches!(refused, Err(Refused::Warrant(_))), "{refused:?}");
        let fresh = world.warrant(1, "c1", NOW);
        assert_eq!(world.guard.said(fresh, NOW), Ok(list("c1")));
    }

    #[test]
    fn a_warrant_by_another_key_or_for_another_machine_ends_the_session() {
        let mut world = World::new();
        let (own, command) = world.guard.ids();
        let stranger = SigningKey::generate().unwrap();
        let stranger_id = stranger.public().id();
        for (key, parties) in [
            (&stranger, (&command, &own)),
            (&stranger, (&stranger_id, &own)),
            (&world.command, (&command, &stranger_id)),
        ] {
            let warrant = world.warrant_by(key, parties, (1, "c1", NOW));
            let refused = world.guard.said(warrant, NOW);
            assert!(matches!(refused, Err(Refused::Warrant(_))), "{refused:?}");
        }
    }

    #[test]
    fn an_id_that_could_be_a_path_ends_the_session() {
        let mut world = World::new();
        let refused = world.guard.said(world.warrant(1, "../c1", NOW), NOW);
        assert_eq!(refused, Err(Refused::BadId));
    }

    #[test]
    fn a_tools_name_that_is_too_long_to_be_one_ends_the_session() {
        let mut world = World::new();
        let long = world.warrant_for(&"t".repeat(65));
        assert_eq!(world.guard.said(long, NOW), Err(Refused::BadTool));
        let longest = world.warrant_for(&"t".repeat(64));
        let taken = world.guard.said(longest, NOW);
        assert!(matches!(taken, Ok(News::Ordered(_))), "{taken:?}");
    }

    #[test]
    fn after_the_lease_nothing_is_taken() {
        let mut world = World::new();
        assert_eq!(world.guard.heard(NOW + 1), Ok(()));
        let (kept, late) = (NOW + 1 + LEASE, NOW + 2 + LEASE);
        let news = world.guard.said(world.warrant(1, "c1", late), late);
        assert_eq!(news.unwrap_err().to_string(), "the lease has run out");
        assert_eq!(world.guard.heard(late), Err(Refused::LeaseOver));
        let news = world.guard.said(world.warrant(1, "c1", kept), kept);
        assert_eq!(news, Ok(list("c1")));
    }

    #[test]
    fn a_session_does_not_begin_inside_a_session() {
        let mut world = World::new();
        let welcome = ToBridge::Welcome {
            signature: String::new(),
        };
        assert_eq!(world.guard.said(welcome, NOW), Err(Refused::Nested));
    }

    #[test]
    fn a_receipt_proves_what_was_asked_and_how_it_ended() {
        let world = World::new();
        let (call, tool) = (CallId("c1".into()), ToolName::new("files.write"));
        let asked = call_hash(&tool, &json!({"path": "a", "text": "b"}));
        let mut journal = Journal::in_memory().unwrap();
        journal.begin(&call, &tool, &asked).unwrap();
        let ended = journal.end(&call, &Outcome::done("ok"), "p", NOW);
        let ended = ended.unwrap().unwrap();
        let ToWorker::Result {
            outcome, receipt, ..
        } = world.guard.result(ended, NOW).unwrap()
        else {
            panic!("not a result");
        };
        let (own, command) = world.guard.ids();
        let binding = Binding {
            issuer: &own,
            audience: &command,
            nonce: Some("s1"),
        };
        let bridge_key = world.guard.keys.own.public();
        let receipt = check::<Receipt>(Kind::Receipt, &bridge_key, binding, &receipt, NOW)
            .unwrap()
            .claims;
        assert_eq!(
            receipt,
            Receipt {
                call,
                call_sha256: asked,
                outcome_sha256: sha256_hex(outcome.as_bytes()),
                at: NOW,
                policy_sha256: "p".into(),
                audit_head: receipt.audit_head.clone(),
            }
        );
        assert_eq!(receipt.audit_head.len(), 64);
    }
}
