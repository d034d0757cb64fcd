//! Orders that nobody should obey, given to the guard and to a reader of a few lines that can be told to leave a check out.

use crate::machine::{Machine, NOW};
use local_bridge::calls::{Action, Calls, News};
use local_bridge::guard::{Guard, Keys};
use local_bridge::journal::Journal;
use protocol::call::{CallId, Outcome, ToolCall, ToolName};
use protocol::key::{PublicKey, SigningKey, encode};
use protocol::{MAX_TEXT_FRAME, ToBridge};
use serde_json::{Value, json};

const LEASE: i64 = 60_000;

/// What an order has to pass. The reader below can do without any one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Signature,
    PinnedKey,
    Kind,
    Audience,
    Session,
    Life,
    Sequence,
    Shape,
    Id,
    Size,
    Lease,
}

const CHECKS: [Check; 11] = [
    Check::Signature,
    Check::PinnedKey,
    Check::Kind,
    Check::Audience,
    Check::Session,
    Check::Life,
    Check::Sequence,
    Check::Shape,
    Check::Id,
    Check::Size,
    Check::Lease,
];

/// Two keys, one session, and a line by which orders come.
struct World {
    machine: Machine,
    own: SigningKey,
    command: SigningKey,
}

/// One token, made by hand and right in everything but what an attack bends.
struct Bent {
    header: Value,
    claims: Value,
    signer: SigningKey,
    /// How long the line was silent before, in milliseconds.
    silence: i64,
}

impl World {
    fn new() -> Self {
        Self {
            machine: Machine::new(),
            own: SigningKey::generate().unwrap(),
            command: SigningKey::generate().unwrap(),
        }
    }

    /// An order to write `docs/stolen`, as it should be.
    fn order(&self, seq: u64) -> Bent {
        let (own, command) = (self.own.public().id(), self.command.public().id());
        let seconds = NOW / 1000;
        Bent {
            header: json!({"alg": "EdDSA", "typ": "warrant+jwt", "kid": command.0}),
            claims: json!({
                "iss": command.0, "aud": own.0, "nonce": "s1", "jti": format!("t{seq}"),
                "iat": seconds, "nbf": seconds, "exp": seconds + 30,
                "seq": seq, "call": format!("c{seq}"), "tool": "files.append", "asked": true,
                "arguments": {"path": "docs/stolen", "text": "x\n"},
            }),
            signer: self.command.clone(),
            silence: 0,
        }
    }

    /// What the guard lets through of these, until it ends the session.
    fn guarded(&self, orders: &[Bent]) -> Vec<ToolCall> {
        let keys = Keys {
            own: self.own.clone(),
            command: self.command.public(),
        };
        let (mut guard, mut now) = (Guard::new(keys, "s1".into(), LEASE, NOW), NOW);
        let mut calls = Vec::new();
        for order in orders {
            now += order.silence;
            let warrant = order.token();
            match guard.said(ToBridge::Run { warrant }, now) {
                Ok(News::Ordered(call)) => calls.push(call),
                Ok(_) => {} // its owner is asked
                Err(_) => break,
            }
        }
        calls
    }

    /// What a reader lets through that leaves out one check.
    fn read(&self, orders: &[Bent], without: Option<Check>) -> Vec<ToolCall> {
        let (mut last, mut now) = (0, NOW);
        let mut calls = Vec::new();
        for order in orders {
            now += order.silence;
            let failed =
                |check: Check| without != Some(check) && !self.holds(check, order, (last, now));
            if CHECKS.into_iter().any(failed) {
                break;
            }
            last += 1;
            let claims = &order.claims;
            let lenient = without == Some(Check::Shape) && claims["approved"] == true;
            if claims["asked"] == true || lenient {
                calls.push(ToolCall {
                    id: CallId(claims["call"].as_str().unwrap().into()),
                    tool: ToolName::new(claims["tool"].as_str().unwrap()),
                    arguments: claims["arguments"].clone(),
                });
            }
        }
        calls
    }

    fn holds(&self, check: Check, order: &Bent, (last, now): (u64, i64)) -> bool {
        let (claims, seconds) = (&order.claims, now / 1000);
        let known = [
            "iss",
            "aud",
            "nonce",
            "jti",
            "iat",
            "nbf",
            "exp",
            "seq",
            "call",
            "tool",
            "asked",
            "arguments",
        ];
        match check {
            Check::Signature => {
                order.signature_is_by(&order.named_key().unwrap_or(self.command.public()))
            }
            Check::PinnedKey => order.named_key().is_none(),
            Check::Kind => order.header["typ"] == "warrant+jwt",
            Check::Audience => claims["aud"] == self.own.public().id().0,
            Check::Session => claims["nonce"] == "s1",
            Check::Life => (claims["iat"].as_i64().unwrap()..=claims["exp"].as_i64().unwrap())
                .contains(&seconds),
            Check::Sequence => claims["seq"] == last + 1,
            Check::Shape => claims
                .as_object()
                .unwrap()
                .keys()
                .all(|name| known.contains(&name.as_str())),
            Check::Id => claims["call"]
                .as_str()
                .unwrap()
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-'),
            Check::Size => order.token().len() <= MAX_TEXT_FRAME,
            Check::Lease => order.silence <= LEASE,
        }
    }

    /// Carries out what came through; how many lines there are then in the file that should not be.
    fn stolen(&self, calls: Vec<ToolCall>) -> usize {
        for call in calls {
            let outcome = self.machine.run(&call.id.0, &call.tool.0, call.arguments);
            assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
        }
        let text = self.machine.text("stolen").unwrap_or_default();
        text.lines().count()
    }
}

impl Bent {
    fn token(&self) -> String {
        let signed = self.signed();
        if self.header["alg"] == "none" {
            return format!("{signed}.");
        }
        format!("{signed}.{}", self.signer.sign(signed.as_bytes()))
    }

    fn signed(&self) -> String {
        [&self.header, &self.claims]
            .map(|part| encode(part.to_string().as_bytes()))
            .join(".")
    }

    fn signature_is_by(&self, key: &PublicKey) -> bool {
        let token = self.token();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        key.verify(signed.as_bytes(), signature).is_ok()
    }

    /// The key that the token itself brings along.
    fn named_key(&self) -> Option<PublicKey> {
        let text = self.header["jwk"]["x"].as_str()?;
        Some(PublicKey::from_text(text).unwrap())
    }
}

/// One attack: nothing comes of it under the guard, nor under the reader that leaves nothing out, and more than `honest` lines come of
/// it exactly where this check is left out.
fn succeeds_only_without(control: Check, honest: usize, attack: impl Fn(&World) -> Vec<Bent>) {
    let world = World::new();
    let orders = attack(&world);
    assert_eq!(
        world.stolen(world.guarded(&orders)),
        honest,
        "the guard lets it through"
    );
    for without in std::iter::once(None).chain(CHECKS.map(Some)) {
        let world = World::new();
        let orders = attack(&world);
        let more = world.stolen(world.read(&orders, without)) > honest;
        assert_eq!(more, without == Some(control), "without {without:?}");
    }
}

/// One order, bent.
fn bent(bend: impl Fn(&mut Bent)) -> impl Fn(&World) -> Vec<Bent> {
    move |world| {
        let mut order = world.order(1);
        bend(&mut order);
        vec![order]
    }
}

#[test]
fn an_honest_order_is_obeyed_by_both() {
    let world = World::new();
    let orders = [world.order(1), world.order(2)];
    assert_eq!(world.guarded(&orders), world.read(&orders, None));
    assert_eq!(world.stolen(world.guarded(&orders)), 2);
}

#[test]
fn an_unsigned_order_succeeds_only_without_the_signature() {
    let attack = bent(|order| order.header["alg"] = json!("none"));
    succeeds_only_without(Check::Signature, 0, attack);
}

#[test]
fn a_forged_order_succeeds_only_without_the_signature() {
    let attack = bent(|order| order.signer = SigningKey::generate().unwrap());
    succeeds_only_without(Check::Signature, 0, attack);
}

#[test]
fn an_order_that_brings_its_own_key_succeeds_only_without_the_pinned_key() {
    let attack = bent(|order| {
        order.signer = SigningKey::generate().unwrap();
        let x = order.signer.public().to_text();
        order.header["jwk"] = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
    });
    // The reader's signature is that of the key which the order brings.
    succeeds_only_without(Check::PinnedKey, 0, attack);
}

#[test]
fn a_token_of_another_kind_succeeds_only_without_the_kind() {
    for kind in ["hello+jwt", "receipt+jwt"] {
        succeeds_only_without(
            Check::Kind,
            0,
            bent(|order| order.header["typ"] = json!(kind)),
        );
    }
}

#[test]
fn another_machines_order_succeeds_only_without_the_audience() {
    let attack = bent(|order| order.claims["aud"] = json!("another-machine"));
    succeeds_only_without(Check::Audience, 0, attack);
}

#[test]
fn an_order_of_the_last_session_succeeds_only_without_the_session() {
    let attack = bent(|order| order.claims["nonce"] = json!("s0"));
    succeeds_only_without(Check::Session, 0, attack);
}

#[test]
fn an_expired_order_succeeds_only_without_its_life() {
    let attack = bent(|order| {
        for name in ["iat", "nbf", "exp"] {
            order.claims[name] = json!(order.claims[name].as_i64().unwrap() - 60);
        }
    });
    succeeds_only_without(Check::Life, 0, attack);
}

#[test]
fn a_replayed_order_succeeds_only_without_the_sequence() {
    succeeds_only_without(Check::Sequence, 1, |world| {
        vec![world.order(1), world.order(1)]
    });
}

#[test]
fn an_order_out_of_sequence_succeeds_only_without_the_sequence() {
    succeeds_only_without(Check::Sequence, 0, |world| vec![world.order(2)]);
}

#[test]
fn an_order_that_calls_itself_approved_succeeds_only_without_the_strict_shape() {
    let attack = bent(|order| {
        order.claims["asked"] = json!(false);
        order.claims["approved"] = json!(true);
    });
    succeeds_only_without(Check::Shape, 0, attack);
}

#[test]
fn a_call_id_that_is_a_path_succeeds_only_without_the_look_at_it() {
    let attack = bent(|order| order.claims["call"] = json!("../../c1"));
    succeeds_only_without(Check::Id, 0, attack);
}

#[test]
fn an_order_longer_than_any_frame_succeeds_only_without_the_bound() {
    let attack = bent(|order| {
        order.claims["arguments"]["text"] = json!("x".repeat(MAX_TEXT_FRAME) + "\n");
    });
    succeeds_only_without(Check::Size, 0, attack);
}

#[test]
fn an_order_after_a_long_silence_succeeds_only_without_the_lease() {
    let attack = bent(|order| {
        order.silence = LEASE + 1;
        for name in ["iat", "nbf", "exp"] {
            order.claims[name] = json!(order.claims[name].as_i64().unwrap() + LEASE / 1000);
        }
    });
    succeeds_only_without(Check::Lease, 0, attack);
}

/// The Worker orders the very same call in session after session; how often it runs, if each finds the journal that `journal` gives.
fn runs(world: &World, journal: impl Fn() -> Journal) -> usize {
    for _ in 0..3 {
        let mut calls = Calls::revive(journal(), NOW).unwrap();
        calls.handle(News::Welcomed, NOW).unwrap();
        for call in world.guarded(&[world.order(1)]) {
            for action in calls.handle(News::Ordered(call), NOW).unwrap() {
                let Action::Start(order) = action else {
                    continue;
                };
                let outcome = world
                    .machine
                    .run(&order.call.0, &order.tool.0, order.arguments);
                let ended = News::Ended {
                    call: order.call,
                    attempt: order.attempt,
                    outcome,
                    policy_sha256: "p".into(),
                };
                calls.handle(ended, NOW).unwrap();
            }
        }
    }
    world.stolen(vec![])
}

#[test]
fn a_call_ordered_again_succeeds_only_without_the_journal() {
    let world = World::new();
    let file = world.machine.outside("journal.db");
    assert_eq!(runs(&world, || Journal::open(&file).unwrap()), 1);
    let world = World::new();
    assert_eq!(runs(&world, || Journal::in_memory().unwrap()), 3);
}
