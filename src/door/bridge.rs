//! A machine that dials in: its token is by its own key, for this person's command key, and fresh. Whether it was used before, the object knows.

use super::Verified;
use crate::directory::BridgeRow;
use http::HeaderMap;
use protocol::key::{KeyId, PublicKey};
use protocol::session::HelloClaims;
use protocol::token::{self, Binding, Kind};

/// A machine that has proven its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its key's thumbprint.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// Its token's own id, which may be used once.
    pub token: String,
}

/// The token in the `Authorization` header, if there is exactly one.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(http::header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    value
        .strip_prefix("Bearer ")
        .filter(|token| !token.contains([',', ' ']))
}

/// The key that a token says it is signed with: which row to look up.
pub fn claimed(token: &str) -> Option<String> {
    token::claimed_key(token).map(|id| id.0)
}

/// Checks a token against the machine's row.
pub fn check(token: &str, row: &BridgeRow, now: i64) -> Option<Verified<Caller>> {
    if row.state != "active" {
        return None;
    }
    let key = PublicKey::from_text(&row.public_key).ok()?;
    let (issuer, audience) = (KeyId(row.id.clone()), KeyId(row.command_key.clone()));
    let binding = Binding {
        issuer: &issuer,
        audience: &audience,
        nonce: None,
    };
    let checked = token::check::<HelloClaims>(Kind::Hello, &key, binding, token, now).ok()?;
    Some(Verified(Caller {
        id: row.id.clone(),
        user: row.user_id.clone(),
        token: checked.id,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::key::SigningKey;

    const NOW: i64 = 1_790_000_000_000;

    fn row(key: &SigningKey, state: &str) -> BridgeRow {
        BridgeRow {
            id: key.public().id().0,
            user_id: "u1".into(),
            public_key: key.public().to_text(),
            command_key: "command".into(),
            state: state.into(),
        }
    }

    fn hello(key: &SigningKey, audience: &str) -> String {
        let (issuer, audience) = (key.public().id(), KeyId(audience.into()));
        let binding = Binding {
            issuer: &issuer,
            audience: &audience,
            nonce: None,
        };
        token::issue(Kind::Hello, key, binding, &HelloClaims {}, NOW).unwrap()
    }

    #[test]
    fn a_paired_machine_comes_in_by_its_own_key() {
        let key = SigningKey::generate().unwrap();
        let caller = check(&hello(&key, "command"), &row(&key, "active"), NOW).unwrap();
        assert_eq!(
            (caller.get().id.as_str(), caller.get().user.as_str()),
            (key.public().id().0.as_str(), "u1")
        );
    }

    #[test]
    fn a_machine_that_is_pending_revoked_late_or_someone_elses_stays_out() {
        let (key, other) = (
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
        );
        let token = hello(&key, "command");
        assert_eq!(check(&token, &row(&key, "pending"), NOW), None);
        assert_eq!(check(&token, &row(&key, "revoked"), NOW), None);
        assert_eq!(check(&token, &row(&key, "active"), NOW + 61_000), None);
        assert_eq!(check(&token, &row(&other, "active"), NOW), None);
        assert_eq!(
            check(&hello(&key, "another"), &row(&key, "active"), NOW),
            None
        );
    }

    #[test]
    fn a_header_must_hold_one_token() {
        let headers = |values: &[&str]| {
            let mut map = HeaderMap::new();
            for value in values {
                map.append(http::header::AUTHORIZATION, value.parse().unwrap());
            }
            map
        };
        assert_eq!(bearer(&headers(&["Bearer a.b.c"])), Some("a.b.c"));
        for bad in [
            &["a.b.c"][..],
            &["Bearer a, Bearer b"],
            &["Bearer a", "Bearer b"],
            &[],
        ] {
            assert_eq!(bearer(&headers(bad)), None, "{bad:?}");
        }
    }
}
