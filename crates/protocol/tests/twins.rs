//! Each strictness of a token's reader, switched off: the token that it refuses then passes. What is left is what `jwt-simple` checks alone.
#![cfg(feature = "signatures")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use ct_codecs::{Base64UrlSafeNoPadding as Base64, Decoder};
use jwt_simple::prelude::{
    Duration, Ed25519PublicKey, EdDSAPublicKeyLike, UnixTimeStamp, VerificationOptions,
};
use protocol::MAX_TEXT_FRAME;
use protocol::key::{KeyId, SigningKey, encode, random_text, sha256_hex};
use protocol::pairing::{Link, Refused, Request, fingerprint};
use protocol::session::Transcript;
use protocol::token::{Binding, Kind, check};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// The moment of each test, in seconds since 1970.
const NOW: u64 = 1_790_000_000;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    words: String,
}

/// A token made by hand, right in everything but what an attack bends.
struct Bent {
    header: Value,
    claims: Value,
    signer: SigningKey,
}

/// The parties, and one token between them.
struct World {
    key: SigningKey,
    issuer: KeyId,
    audience: KeyId,
    token: String,
}

impl World {
    fn with(bend: impl FnOnce(&mut Bent)) -> Self {
        let key = SigningKey::generate().unwrap();
        let issuer = key.public().id();
        let mut token = Bent {
            header: json!({"alg": "EdDSA", "typ": "warrant+jwt", "kid": issuer.0}),
            claims: json!({
                "iss": issuer.0, "aud": "reader", "nonce": "session", "jti": "id",
                "iat": NOW, "nbf": NOW, "exp": NOW + 30, "words": "go",
            }),
            signer: key.clone(),
        };
        bend(&mut token);
        let parts = [&token.header, &token.claims].map(|part| encode(part.to_string().as_bytes()));
        let signed = parts.join(".");
        let signature = token.signer.sign(signed.as_bytes());
        Self {
            key,
            issuer,
            audience: KeyId("reader".into()),
            token: format!("{signed}.{signature}"),
        }
    }

    /// Whether the project's own reader takes it.
    fn passes(&self, nonce: Option<&str>) -> bool {
        let binding = Binding {
            issuer: &self.issuer,
            audience: &self.audience,
            nonce,
        };
        let now = i64::try_from(NOW).unwrap() * 1000;
        check::<Words>(Kind::Warrant, &self.key.public(), binding, &self.token, now).is_ok()
    }

    /// Whether the library alone takes it, with every option that the project's own reader sets but those that are switched off.
    fn passes_library(&self, switch_off: impl FnOnce(&mut VerificationOptions)) -> bool {
        let mut options = VerificationOptions {
            required_key_id: Some(self.issuer.0.clone()),
            required_signature_type: Some("warrant+jwt".into()),
            required_nonce: Some("session".into()),
            allowed_issuers: Some(HashSet::from([self.issuer.0.clone()])),
            allowed_audiences: Some(HashSet::from([self.audience.0.clone()])),
            time_tolerance: Some(Duration::from_secs(5)),
            max_validity: Some(Duration::from_secs(35)),
            max_token_length: Some(MAX_TEXT_FRAME),
            max_header_length: Some(512),
            artificial_time: Some(UnixTimeStamp::from_secs(NOW)),
            ..VerificationOptions::default()
        };
        switch_off(&mut options);
        let bytes = decode(&self.key.public().to_text());
        let key = Ed25519PublicKey::from_bytes(&bytes).unwrap();
        key.verify_token::<Map<String, Value>>(&self.token, Some(options))
            .is_ok()
    }

    /// What a reader sees that takes the words for the deed.
    fn unsigned_claims(&self) -> Value {
        let claims = self.token.split('.').nth(1).unwrap();
        serde_json::from_slice(&decode(claims)).unwrap()
    }
}

fn decode(text: &str) -> Vec<u8> {
    Base64::decode_to_vec(text, None).unwrap()
}

/// An attack that one option of the library stops: refused by the project's reader and by the library, and not without the option.
fn stopped_by_option(
    bend: impl FnOnce(&mut Bent),
    switch_off: impl FnOnce(&mut VerificationOptions),
) {
    let world = World::with(bend);
    assert!(!world.passes(Some("session")));
    assert!(!world.passes_library(|_| ()), "the option stops nothing");
    assert!(world.passes_library(switch_off), "something else stops it");
}

/// An attack that no option of the library stops.
fn stopped_by_ourselves(bend: impl FnOnce(&mut Bent)) {
    let world = World::with(bend);
    assert!(!world.passes(Some("session")));
    assert!(world.passes_library(|_| ()), "something else stops it");
}

#[test]
fn a_token_that_nothing_is_wrong_with_passes_everywhere() {
    let world = World::with(|_| ());
    assert!(world.passes(Some("session")) && world.passes_library(|_| ()));
}

#[test]
fn another_keys_token_succeeds_only_without_the_signature() {
    let world = World::with(|bent| bent.signer = SigningKey::generate().unwrap());
    assert!(!world.passes(Some("session")) && !world.passes_library(|_| ()));
    assert_eq!(world.unsigned_claims()["words"], "go");
}

#[test]
fn an_unsigned_token_succeeds_only_without_the_signature() {
    for algorithm in ["none", "None", "HS256", ""] {
        let mut world = World::with(|bent| bent.header["alg"] = json!(algorithm));
        let signature = world.token.rfind('.').unwrap() + 1;
        world.token.truncate(signature);
        assert!(!world.passes(Some("session")) && !world.passes_library(|_| ()));
        assert_eq!(world.unsigned_claims()["words"], "go");
    }
}

#[test]
fn a_token_of_another_kind_succeeds_only_without_the_kind() {
    for kind in ["hello+jwt", "receipt+jwt", "JWT"] {
        stopped_by_option(
            |bent| bent.header["typ"] = json!(kind),
            |options| options.required_signature_type = None,
        );
    }
}

#[test]
fn a_kind_in_other_letters_succeeds_only_without_the_plain_header() {
    stopped_by_ourselves(|bent| bent.header["typ"] = json!("Warrant+JWT"));
}

#[test]
fn an_address_of_keys_in_the_header_succeeds_only_without_the_plain_header() {
    stopped_by_ourselves(|bent| bent.header["jku"] = json!("https://evil.example/keys"));
    stopped_by_ourselves(|bent| bent.header["cty"] = json!("warrant"));
}

#[test]
fn another_machines_token_succeeds_only_without_the_audience() {
    stopped_by_option(
        |bent| bent.claims["aud"] = json!("another"),
        |options| options.allowed_audiences = None,
    );
}

#[test]
fn a_token_for_many_machines_succeeds_only_without_the_one_audience() {
    stopped_by_ourselves(|bent| bent.claims["aud"] = json!(["reader", "another"]));
}

#[test]
fn another_sessions_token_succeeds_only_without_the_session() {
    stopped_by_option(
        |bent| bent.claims["nonce"] = json!("the session before"),
        |options| options.required_nonce = None,
    );
}

#[test]
fn a_sessions_token_before_the_session_succeeds_only_without_our_own_look() {
    let world = World::with(|_| ());
    assert!(!world.passes(None));
    assert!(world.passes_library(|options| options.required_nonce = None));
}

#[test]
fn another_issuers_name_succeeds_only_without_the_issuer() {
    stopped_by_option(
        |bent| bent.claims["iss"] = json!("another"),
        |options| options.allowed_issuers = None,
    );
}

#[test]
fn another_keys_name_succeeds_only_without_the_key_id() {
    stopped_by_option(
        |bent| bent.header["kid"] = json!("another"),
        |options| options.required_key_id = None,
    );
}

#[test]
fn a_token_of_ten_minutes_ago_succeeds_only_without_the_strict_clock() {
    let old = NOW - 600;
    stopped_by_option(
        |bent| {
            for (name, at) in [("iat", old), ("nbf", old), ("exp", old + 30)] {
                bent.claims[name] = json!(at);
            }
        },
        |options| {
            let lenient = VerificationOptions::default();
            options.time_tolerance = lenient.time_tolerance; // the library's own fifteen minutes
            options.max_validity = lenient.max_validity;
        },
    );
}

#[test]
fn a_token_without_an_end_succeeds_only_without_the_life() {
    stopped_by_ourselves(|bent| {
        bent.claims.as_object_mut().unwrap().remove("exp");
    });
}

#[test]
fn a_token_that_lives_for_a_year_succeeds_only_without_the_life() {
    stopped_by_ourselves(|bent| bent.claims["exp"] = json!(NOW + 365 * 86_400));
}

#[test]
fn a_token_without_an_id_succeeds_only_without_the_id() {
    stopped_by_ourselves(|bent| {
        bent.claims.as_object_mut().unwrap().remove("jti");
    });
    stopped_by_ourselves(|bent| bent.claims["jti"] = json!("i".repeat(65)));
}

#[test]
fn an_unknown_claim_succeeds_only_without_the_strict_shape() {
    stopped_by_ourselves(|bent| bent.claims["approved"] = json!(true));
}

#[test]
fn a_token_longer_than_any_frame_succeeds_only_without_the_bound() {
    stopped_by_option(
        |bent| bent.claims["words"] = json!("w".repeat(MAX_TEXT_FRAME)),
        |options| options.max_token_length = None,
    );
}

fn transcript<'a>(worker_nonce: &'a str, bridge_nonce: &'a str) -> Transcript<'a> {
    Transcript {
        bridge: "b",
        command_key: "c",
        worker_nonce,
        bridge_nonce,
        version: 1,
        hello: "{}",
    }
}

#[test]
fn a_bridges_own_proof_sent_back_succeeds_only_without_the_label() {
    // That both sides have one key is the attacker's best day; the label alone is what is left.
    let key = SigningKey::generate().unwrap();
    let transcript = transcript("n1", "n2");
    let proof = key.sign(&transcript.bridge_bytes());
    let public = key.public();
    assert!(public.verify(&transcript.worker_bytes(), &proof).is_err());
    // The two differ in the label and in nothing else.
    let unlabelled = |bytes: Vec<u8>, label: &str| bytes[8 + label.len()..].to_vec();
    let ours = unlabelled(transcript.bridge_bytes(), "bernard-session-v1 bridge");
    let theirs = unlabelled(transcript.worker_bytes(), "bernard-session-v1 worker");
    assert!(public.verify(&theirs, &key.sign(&ours)).is_ok());
}

#[test]
fn a_border_moved_between_two_nonces_succeeds_only_without_the_lengths() {
    let (one, other) = (transcript("ab", "c"), transcript("a", "bc"));
    assert_ne!(one.worker_bytes(), other.worker_bytes());
    let joined = |it: Transcript<'_>| {
        let words = [it.bridge, it.command_key, it.worker_nonce, it.bridge_nonce];
        sha256_hex(words.concat().as_bytes())
    };
    assert_eq!(joined(one), joined(other));
}

#[test]
fn a_false_workers_key_at_pairing_succeeds_only_without_the_fingerprint() {
    let (command, evil) = (
        SigningKey::generate().unwrap(),
        SigningKey::generate().unwrap(),
    );
    let link = Link {
        worker: "https://bernard.example".into(),
        pairing: "p".into(),
        secret: random_text().unwrap(),
        fingerprint: fingerprint(&command.public()),
    };
    let machine = SigningKey::generate().unwrap();
    let request = Request::new(&link, &machine, "mac-mini", &random_text().unwrap()).unwrap();
    // It has even got hold of the link's secret.
    let answer = request.answer(&link.secret, &evil);
    assert_eq!(
        request.check_answer(&link, &answer),
        Err(Refused::Fingerprint)
    );
    let trusting = Link {
        fingerprint: fingerprint(&evil.public()), // as whoever trusts at first sight would note it
        ..link
    };
    assert_eq!(request.check_answer(&trusting, &answer), Ok(evil.public()));
}
