//! The one way to make and to check a signed token. `jwt-simple`'s defaults are lenient (15 minutes of tolerance, tokens without
//! an end, lists of audiences): nothing else in the project may call it.

use crate::call::ToolName;
use crate::key::{KeyId, PublicKey, SigningKey, random_text, sha256_hex};
use crate::session::fields;
use ct_codecs::{Base64UrlSafeNoPadding as Base64, Decoder};
use jwt_simple::prelude::{
    Claims, Duration, Ed25519KeyPair, Ed25519PublicKey, EdDSAKeyPairLike, EdDSAPublicKeyLike,
    HeaderOptions, Token, UnixTimeStamp, VerificationOptions,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};

/// How far the two clocks may differ beyond a token's life, in seconds.
const TOLERANCE_SECONDS: u64 = 5;

/// The longest id that a token may have: it is kept until the token has expired.
const MAX_ID: usize = 64;

/// How long any token lives, in seconds.
pub const LIFE_SECONDS: u64 = 30;

/// What a token is for. The kind stands in its header, so that one kind never passes for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A bridge asks to connect.
    Hello,
    /// The Worker orders a call.
    Warrant,
    /// A bridge proves a call's outcome.
    Receipt,
}

/// Whom a token is from, whom it is for, and what it is bound to.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// The signer's key id.
    pub issuer: &'a KeyId,
    /// The reader's key id.
    pub audience: &'a KeyId,
    /// The session; `None` only before there is one.
    pub nonce: Option<&'a str>,
}

/// A token that has passed every check.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked<C> {
    /// What it claims.
    pub claims: C,
    /// Its own name, for readers that take each token once.
    pub id: String,
}

/// Why a token was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its signature, kind, parties, session or time is not as it must be.
    #[error("token refused: {0}")]
    Rejected(String),
    /// It names no end, or several audiences, or has no id.
    #[error("token lacks a strict {0}")]
    Loose(&'static str),
    /// Its claims are not those of its kind.
    #[error("token's claims are not understood: {0}")]
    Claims(String),
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello+jwt",
            Self::Warrant => "warrant+jwt",
            Self::Receipt => "receipt+jwt",
        }
    }
}

/// Signs claims into a token that lives for [`LIFE_SECONDS`] from `now` (milliseconds since 1970).
pub fn issue<C: Serialize>(
    kind: Kind,
    key: &SigningKey,
    binding: Binding<'_>,
    claims: &C,
    now: i64,
) -> Result<String, Refused> {
    let custom =
        serde_json::to_value(claims).map_err(|error| Refused::Claims(error.to_string()))?;
    let mut claims = Claims::with_custom_claims(custom, Duration::from_secs(LIFE_SECONDS))
        .with_issuer(binding.issuer)
        .with_audience(binding.audience)
        .with_jwt_id(random_text().map_err(|error| Refused::Rejected(error.to_string()))?);
    let now = seconds(now);
    claims.issued_at = Some(now);
    claims.invalid_before = Some(now);
    claims.expires_at = Some(now + Duration::from_secs(LIFE_SECONDS));
    claims.nonce = binding.nonce.map(str::to_owned);
    let pair = Ed25519KeyPair::from_bytes(key.raw())
        .map_err(rejected)?
        .with_key_id(&binding.issuer.0);
    let options = HeaderOptions {
        signature_type: Some(kind.name().to_owned()),
        content_type: None,
    };
    pair.sign_with_options(claims, &options).map_err(rejected)
}

/// Checks a token strictly: signature, kind, key id, one issuer, one audience, session, and a short life around `now` (milliseconds).
pub fn check<C: DeserializeOwned>(
    kind: Kind,
    key: &PublicKey,
    binding: Binding<'_>,
    token: &str,
    now: i64,
) -> Result<Checked<C>, Refused> {
    if !has_plain_header(kind, token) {
        return Err(Refused::Loose("header"));
    }
    let options = strict(kind, binding, now);
    let public = Ed25519PublicKey::from_bytes(key.raw()).map_err(rejected)?;
    let claims = public
        .verify_token::<Map<String, Value>>(token, Some(options))
        .map_err(rejected)?;
    let (Some(issued), Some(expires)) = (claims.issued_at, claims.expires_at) else {
        return Err(Refused::Loose("life"));
    };
    if expires < issued || expires - issued > Duration::from_secs(LIFE_SECONDS) {
        return Err(Refused::Loose("life"));
    }
    if !claims
        .audiences
        .as_ref()
        .is_some_and(jwt_simple::claims::Audiences::is_string)
    {
        return Err(Refused::Loose("audience"));
    }
    if binding.nonce.is_none() && claims.nonce.is_some() {
        return Err(Refused::Loose("session"));
    }
    let id = claims
        .jwt_id
        .filter(|id| (1..=MAX_ID).contains(&id.len()))
        .ok_or(Refused::Loose("id"))?;
    let claims = serde_json::from_value(Value::Object(claims.custom))
        .map_err(|error| Refused::Claims(error.to_string()))?;
    Ok(Checked { claims, id })
}

/// The key id that a token claims to be signed by. Proves nothing: it says which key to check the token with.
pub fn claimed_key(token: &str) -> Option<KeyId> {
    if token.len() > crate::MAX_TEXT_FRAME {
        return None;
    }
    let metadata = Token::decode_metadata(token).ok()?;
    metadata.key_id().map(|id| KeyId(id.to_owned()))
}

/// What a receipt says was asked: SHA-256 over tool and arguments as their JSON text, lower-case hex.
pub fn call_hash(tool: &ToolName, arguments: &Value) -> String {
    sha256_hex(&fields(&[
        "bernard-call-v1",
        &tool.0,
        &canonical(arguments),
    ]))
}

/// JSON text with every object's keys in order, whatever order a parser kept.
fn canonical(value: &Value) -> String {
    match value {
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(canonical).collect::<Vec<_>>().join(",")
        ),
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            let members = sorted
                .iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// Whether the header names algorithm, kind and key, and nothing else: no address of keys, no key of its own, no extension. The kind is
/// compared here because jwt-simple takes it in any case.
fn has_plain_header(kind: Kind, token: &str) -> bool {
    let header = token.split('.').next().unwrap_or_default();
    let bytes = Base64::decode_to_vec(header, None).unwrap_or_default();
    let header: Map<String, Value> = serde_json::from_slice(&bytes).unwrap_or_default();
    header.len() == 3
        && ["alg", "kid"].iter().all(|name| header.contains_key(*name))
        && header.get("typ").is_some_and(|typ| typ == kind.name())
}

fn strict(kind: Kind, binding: Binding<'_>, now: i64) -> VerificationOptions {
    VerificationOptions {
        required_key_id: Some(binding.issuer.0.clone()),
        required_signature_type: Some(kind.name().to_owned()),
        required_nonce: binding.nonce.map(str::to_owned),
        allowed_issuers: Some(HashSet::from([binding.issuer.0.clone()])),
        allowed_audiences: Some(HashSet::from([binding.audience.0.clone()])),
        time_tolerance: Some(Duration::from_secs(TOLERANCE_SECONDS)),
        max_validity: Some(Duration::from_secs(LIFE_SECONDS + TOLERANCE_SECONDS)),
        max_token_length: Some(crate::MAX_TEXT_FRAME),
        max_header_length: Some(512),
        artificial_time: Some(seconds(now)),
        ..VerificationOptions::default()
    }
}

fn seconds(millis: i64) -> UnixTimeStamp {
    UnixTimeStamp::from_secs(u64::try_from(millis / 1000).unwrap_or(0))
}

fn rejected(error: impl std::fmt::Display) -> Refused {
    Refused::Rejected(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    const NOW: i64 = 1_790_000_000_000;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Words {
        words: String,
    }

    struct Pair {
        key: SigningKey,
        issuer: KeyId,
        audience: KeyId,
    }

    impl Pair {
        fn new() -> Self {
            let key = SigningKey::generate().unwrap();
            let issuer = key.public().id();
            Self {
                key,
                issuer,
                audience: KeyId("reader".into()),
            }
        }

        fn binding(&self) -> Binding<'_> {
            Binding {
                issuer: &self.issuer,
                audience: &self.audience,
                nonce: Some("session"),
            }
        }

        fn issue(&self) -> String {
            issue(
                Kind::Warrant,
                &self.key,
                self.binding(),
                &Words { words: "go".into() },
                NOW,
            )
            .unwrap()
        }

        fn check(&self, token: &str, now: i64) -> Result<Words, Refused> {
            check(
                Kind::Warrant,
                &self.key.public(),
                self.binding(),
                token,
                now,
            )
            .map(|checked| checked.claims)
        }

        /// A token by the same key with claims of the test's own making: what a lenient issuer might send.
        fn loose(&self, change: impl FnOnce(&mut jwt_simple::prelude::JWTClaims<Value>)) -> String {
            self.typed("warrant+jwt", change)
        }

        fn typed(
            &self,
            typ: &str,
            change: impl FnOnce(&mut jwt_simple::prelude::JWTClaims<Value>),
        ) -> String {
            let mut claims = Claims::with_custom_claims(
                json!({"words": "go"}),
                Duration::from_secs(LIFE_SECONDS),
            )
            .with_issuer(&self.issuer)
            .with_audience(&self.audience)
            .with_nonce("session")
            .with_jwt_id("id");
            let now = seconds(NOW);
            (claims.issued_at, claims.invalid_before) = (Some(now), Some(now));
            claims.expires_at = Some(now + Duration::from_secs(LIFE_SECONDS));
            change(&mut claims);
            let pair = Ed25519KeyPair::from_bytes(self.key.raw())
                .unwrap()
                .with_key_id(&self.issuer.0);
            let options = HeaderOptions {
                signature_type: Some(typ.into()),
                content_type: None,
            };
            pair.sign_with_options(claims, &options).unwrap()
        }
    }

    #[test]
    fn a_fresh_token_passes_and_names_its_signer() {
        let pair = Pair::new();
        let token = pair.issue();
        assert_eq!(claimed_key(&token), Some(pair.issuer.clone()));
        assert_eq!(
            pair.check(&token, NOW + 20_000),
            Ok(Words { words: "go".into() })
        );
        assert_eq!(
            pair.check(&pair.loose(|_| ()), NOW),
            Ok(Words { words: "go".into() })
        );
    }

    #[test]
    fn a_token_does_not_outlive_its_thirty_seconds_and_their_tolerance() {
        let pair = Pair::new();
        let token = pair.issue();
        assert!(pair.check(&token, NOW + 36_000).is_err());
        assert!(pair.check(&token, NOW - 6_000).is_err());
    }

    #[test]
    fn a_token_of_another_kind_session_audience_or_key_is_refused() {
        let pair = Pair::new();
        let other = Pair::new();
        let token = pair.issue();
        let try_with = |kind, key: &Pair, binding| {
            check::<Words>(kind, &key.key.public(), binding, &token, NOW).is_err()
        };
        assert!(try_with(Kind::Hello, &pair, pair.binding()));
        assert!(try_with(Kind::Receipt, &pair, pair.binding()));
        assert!(try_with(Kind::Warrant, &other, pair.binding()));
        assert!(try_with(
            Kind::Warrant,
            &pair,
            Binding {
                nonce: Some("another"),
                ..pair.binding()
            }
        ));
        assert!(try_with(
            Kind::Warrant,
            &pair,
            Binding {
                nonce: None,
                ..pair.binding()
            }
        ));
        assert!(try_with(
            Kind::Warrant,
            &pair,
            Binding {
                audience: &other.issuer,
                ..pair.binding()
            }
        ));
        assert!(try_with(
            Kind::Warrant,
            &pair,
            Binding {
                issuer: &other.issuer,
                ..pair.binding()
            }
        ));
    }

    #[test]
    fn what_jwt_simple_would_let_pass_is_refused() {
        let pair = Pair::new();
        let two = HashSet::from(["reader", "another"]);
        assert!(
            pair.check(&pair.loose(|claims| claims.expires_at = None), NOW)
                .is_err(),
            "no end"
        );
        assert!(
            pair.check(&pair.loose(|claims| claims.issued_at = None), NOW)
                .is_err(),
            "no beginning"
        );
        assert!(
            pair
                .check(
                    &pair
                        .loose(|claims| claims.expires_at =
                            Some(seconds(NOW) + Duration::from_days(1))),
                    NOW
                )
                .is_err(),
            "a long life"
        );
        assert!(
            pair.check(
                &pair.loose(|claims| *claims = claims.clone().with_audiences(two)),
                NOW
            )
            .is_err(),
            "two audiences"
        );
        assert!(
            pair.check(&pair.loose(|claims| claims.jwt_id = None), NOW)
                .is_err(),
            "no id"
        );
        assert!(
            pair.check(&pair.typed("Warrant+JWT", |_| ()), NOW).is_err(),
            "a kind in capitals"
        );
        assert!(
            pair.check(
                &pair.loose(|claims| claims.custom = json!({"words": "go", "approved": true})),
                NOW
            )
            .is_err(),
            "more claims than its kind has"
        );
    }

    #[test]
    fn a_token_with_any_byte_changed_is_refused() {
        let pair = Pair::new();
        let token = pair.issue();
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(pair.check(&changed, NOW).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_call_has_one_hash_whatever_the_order_of_its_arguments() {
        let tool = ToolName::new("files.read");
        let one: Value = serde_json::from_str(r#"{"a":{"x":1,"y":[2]},"b":"\u00e9"}"#).unwrap();
        let two: Value =
            serde_json::from_str("{\"b\":\"\u{e9}\",\"a\":{\"y\":[2],\"x\":1}}").unwrap();
        assert_eq!(call_hash(&tool, &one), call_hash(&tool, &two));
        assert_ne!(
            call_hash(&tool, &one),
            call_hash(&ToolName::new("files.list"), &one)
        );
        assert_ne!(call_hash(&tool, &one), call_hash(&tool, &json!({})));
    }

    #[test]
    fn a_call_has_one_hash_at_both_ends_whatever_its_numbers() {
        let tool = ToolName::new("shell.run");
        for n in 1..2_000_u32 {
            let arguments =
                json!({"x": f64::from(n) * 15_321.7 / 7.0, "y": 1.1_f64.powi(-100) / f64::from(n)});
            let there: Value = serde_json::from_str(&arguments.to_string()).unwrap();
            assert_eq!(
                call_hash(&tool, &there),
                call_hash(&tool, &arguments),
                "{arguments}"
            );
        }
    }
}
