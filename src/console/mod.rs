//! The console's page and its files, and the links that sign a browser in.

use crate::directory::Directory;
use crate::error::Result;
use ct_codecs::{Base64, Encoder};
use protocol::key::{encode, random_bytes, sha256_hex};
use worker::{Headers, Response, ResponseBuilder};

/// How long a sign-in link works, in milliseconds.
const LINK_MILLIS: i64 = 10 * 60 * 1000;

/// How long a browser stays signed in, in milliseconds.
pub const SESSION_MILLIS: i64 = 30 * 24 * 60 * 60 * 1000;

/// What the page may load: its own files and its own socket, nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A file that the Worker serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asset {
    /// The chat page.
    Page,
    /// Its program.
    Script,
    /// Its looks.
    Style,
    /// The button that uses a sign-in link up.
    SignIn,
    /// What a link shows that does not work.
    SignInRefused,
}

impl Asset {
    fn parts(self) -> (&'static str, &'static str) {
        const HTML: &str = "text/html; charset=utf-8";
        match self {
            Self::Page => (HTML, include_str!("page.html")),
            Self::Script => ("text/javascript; charset=utf-8", include_str!("app.js")),
            Self::Style => ("text/css; charset=utf-8", include_str!("app.css")),
            Self::SignIn => (HTML, include_str!("sign_in.html")),
            Self::SignInRefused => (HTML, include_str!("sign_in_refused.html")),
        }
    }

    /// The file as a response, with every header that keeps it what it is.
    pub fn response(self, status: u16) -> Result<Response> {
        let (kind, text) = self.parts();
        let headers = Headers::new();
        headers.set("content-type", kind)?;
        headers.set("content-security-policy", &policy(text))?;
        for (name, value) in SAFE {
            headers.set(name, value)?;
        }
        Ok(ResponseBuilder::new()
            .with_status(status)
            .with_headers(headers)
            .fixed(text.as_bytes().to_vec()))
    }
}

/// What every answer of the console carries.
const SAFE: &[(&str, &str)] = &[
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"), // `no-referrer` would make browsers send `Origin: null` with our own forms
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(), microphone=(), geolocation=()",
    ),
    ("cache-control", "no-store"),
];

/// Gives an answer that is no file of ours what every answer of the console carries. A WebSocket's answer is left as it is.
pub fn hardened(response: Response) -> Result<Response> {
    if response.status_code() == 101 {
        return Ok(response);
    }
    let headers = Headers::new();
    for (name, value) in response.headers().entries() {
        headers.append(&name, &value)?;
    }
    for (name, value) in SAFE {
        headers.set(name, value)?;
    }
    Ok(response.with_headers(headers))
}

/// The policy for a file: an inline style is allowed by its hash, so the sign-in page needs no second request.
fn policy(text: &str) -> String {
    let Some(style) = text
        .split_once("<style>")
        .and_then(|(_, rest)| rest.split_once("</style>"))
    else {
        return POLICY.to_owned();
    };
    let hash =
        Base64::encode_to_string(hmac_sha256::Hash::hash(style.0.as_bytes())).unwrap_or_default();
    POLICY.replace(
        "style-src 'self'",
        &format!("style-src 'self' 'sha256-{hash}'"),
    )
}

/// A fresh link that signs a browser in as this person, once.
pub async fn sign_in_link(
    directory: &Directory,
    origin: &str,
    user: &str,
    now: i64,
) -> Result<String> {
    let secret = encode(&random_bytes::<32>()?);
    directory
        .open_sign_in(&sha256_hex(secret.as_bytes()), user, now + LINK_MILLIS)
        .await?;
    Ok(format!("{origin}/console/sign-in/{secret}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_holds_a_script_or_a_style_that_its_policy_would_not_allow() {
        for asset in [Asset::Page, Asset::SignIn, Asset::SignInRefused] {
            let (_, text) = asset.parts();
            assert!(
                !text.contains(" style=") && !text.contains("javascript:"),
                "{asset:?}"
            );
            assert_eq!(
                text.matches("<style").count(),
                policy(text).matches("sha256-").count(),
                "{asset:?}"
            );
            for script in text.split("<script").skip(1) {
                assert!(
                    script.trim_start().starts_with("src=\"")
                        || script.contains("src=\"/console/app.js\""),
                    "{asset:?}"
                );
            }
        }
    }
}
