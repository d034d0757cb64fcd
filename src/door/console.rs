//! A person's browser: a one-time link makes a session, a session's cookie comes back with each request, and only from our own pages.

use super::Verified;
use crate::directory::Directory;
use crate::error::Result;
use http::HeaderMap;
use protocol::key::sha256_hex;

/// The session cookie's name over https; the prefix binds it to the host and to https.
const COOKIE: &str = "__Host-bernard";

/// Its name over plain http, which only ever is this machine's own loopback.
const LOOPBACK_COOKIE: &str = "bernard";

/// A person whose browser has proven itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    /// Who.
    pub user: String,
    /// The hash of what they proved it with.
    pub hash: String,
}

/// The name that the session's cookie has at this origin.
pub fn cookie_name(origin: &str) -> &'static str {
    if origin.starts_with("https://") {
        COOKIE
    } else {
        LOOPBACK_COOKIE
    }
}

/// The session's secret from the cookies, if there is exactly one.
pub fn cookie(headers: &HeaderMap, origin: &str) -> Option<String> {
    let name = cookie_name(origin);
    let all = headers
        .get_all(http::header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut found = all
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='));
    let secret = found.next()?;
    found.next().is_none().then(|| secret.to_owned())
}

/// Whether a request comes from our own page: browsers say so with every POST and every WebSocket, and pages cannot lie about it.
pub fn is_from_own_page(headers: &HeaderMap, origin: &str) -> bool {
    headers
        .get(http::header::ORIGIN)
        .and_then(|value| value.to_str().ok())
        == Some(origin)
}

/// The person whose session this is.
pub async fn session(
    directory: &Directory,
    headers: &HeaderMap,
    origin: &str,
    now: i64,
) -> Result<Option<Verified<Visitor>>> {
    let Some(secret) = cookie(headers, origin) else {
        return Ok(None);
    };
    let hash = sha256_hex(secret.as_bytes());
    let user = directory.session(&hash, now).await?;
    Ok(user.map(|user| Verified(Visitor { user, hash })))
}

/// The person whose sign-in link this is; the link still works afterwards.
pub async fn link(
    directory: &Directory,
    secret: &str,
    now: i64,
) -> Result<Option<Verified<Visitor>>> {
    let hash = sha256_hex(secret.as_bytes());
    let user = directory.sign_in(&hash, now).await?;
    Ok(user.map(|user| Verified(Visitor { user, hash })))
}

/// The same, and the link is used up.
pub async fn use_link(
    directory: &Directory,
    secret: &str,
    now: i64,
) -> Result<Option<Verified<Visitor>>> {
    let hash = sha256_hex(secret.as_bytes());
    let user = directory.use_sign_in(&hash, now).await?;
    Ok(user.map(|user| Verified(Visitor { user, hash })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookie: &str, origin: &str) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.append(http::header::COOKIE, cookie.parse().unwrap());
        map.append(http::header::ORIGIN, origin.parse().unwrap());
        map
    }

    #[test]
    fn the_cookie_is_found_among_others_and_refused_when_doubled() {
        let at = |cookie: &str, origin: &str| super::cookie(&headers(cookie, origin), origin);
        assert_eq!(
            at("a=1; __Host-bernard=s; b=2", "https://b.example"),
            Some("s".into())
        );
        assert_eq!(at("bernard=s", "http://127.0.0.1:8787"), Some("s".into()));
        assert_eq!(at("bernard=s", "https://b.example"), None);
        assert_eq!(at("bernard=s; bernard=t", "http://127.0.0.1:8787"), None);
    }

    #[test]
    fn only_our_own_origin_is_our_own_page() {
        let own = "https://b.example";
        assert!(is_from_own_page(&headers("a=1", own), own));
        for other in [
            "https://evil.example",
            "null",
            "https://b.example.evil.example",
            "http://b.example",
        ] {
            assert!(!is_from_own_page(&headers("a=1", other), own), "{other}");
        }
        assert!(!is_from_own_page(&HeaderMap::new(), own));
    }
}
