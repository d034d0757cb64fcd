//! Telegram's proof: the secret that `setWebhook` was given comes back in a header of every update.

use super::{Verified, same};
use crate::secret::Secret;
use http::HeaderMap;

/// The header in which Telegram repeats the webhook's secret.
pub const HEADER: &str = "x-telegram-bot-api-secret-token";

/// The longest update that is read, in bytes: the longest text (4,096 characters) with every character escaped and marked up stays under half of it.
pub const BODY_LIMIT: usize = 256 * 1024;

/// Why a request is not from Telegram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The header is not there, or is empty.
    #[error("the request carries no webhook secret")]
    Missing,
    /// The header is there more than once, so that two readers could each believe another one.
    #[error("the request carries more than one webhook secret")]
    Doubled,
    /// The header is there and is not ours.
    #[error("the request carries a wrong webhook secret")]
    Wrong,
}

/// A request whose headers are Telegram's; its body may be read.
#[derive(Debug)]
pub struct Pass(());

/// The bytes of one update, as Telegram sent them.
#[derive(Clone, PartialEq, Eq)]
pub struct TelegramBody(Vec<u8>);

/// Whether a request is Telegram's, told from its headers alone, before a byte of its body is read.
pub fn check(headers: &HeaderMap, expected: &Secret) -> Result<Pass, Refused> {
    let mut presented = headers.get_all(HEADER).iter();
    let token = presented.next().ok_or(Refused::Missing)?.as_bytes();
    // Some runtimes join repeated headers with a comma, which no secret token may contain.
    if presented.next().is_some() || token.contains(&b',') {
        return Err(Refused::Doubled);
    }
    if token.is_empty() {
        return Err(Refused::Missing);
    }
    if !same(token, expected) {
        return Err(Refused::Wrong);
    }
    Ok(Pass(()))
}

impl Pass {
    /// The body that came with the headers, proven by them.
    pub fn seal(self, body: Vec<u8>) -> Verified<TelegramBody> {
        Verified(TelegramBody(body))
    }
}

impl TelegramBody {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for TelegramBody {
    /// Shows the length alone: the words in it are someone's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TelegramBody({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn verdict(values: &[&[u8]]) -> Result<(), Refused> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        let secret = Secret::new("Right-Secret_1").unwrap();
        check(&headers, &secret).map(|_| ())
    }

    #[test]
    fn only_the_whole_secret_presented_once_passes() {
        let table: [(&[&[u8]], _); 14] = [
            (&[b"Right-Secret_1"], Ok(())),
            (&[], Err(Refused::Missing)),
            (&[b""], Err(Refused::Missing)),
            (&[b"wrong"], Err(Refused::Wrong)),
            (&[b"right-secret_1"], Err(Refused::Wrong)),
            (&[b"Right-Secret_"], Err(Refused::Wrong)),
            (&[b"Right-Secret_12"], Err(Refused::Wrong)),
            (&[b"***"], Err(Refused::Wrong)),
            (&[b"\xff\xfe"], Err(Refused::Wrong)),
            (
                &[b"Right-Secret_1", b"Right-Secret_1"],
                Err(Refused::Doubled),
            ),
            (&[b"Right-Secret_1", b"wrong"], Err(Refused::Doubled)),
            (&[b"wrong", b"Right-Secret_1"], Err(Refused::Doubled)),
            (&[b"Right-Secret_1, Right-Secret_1"], Err(Refused::Doubled)),
            (&[b","], Err(Refused::Doubled)),
        ];
        for (values, expected) in table {
            assert_eq!(verdict(values), expected, "{values:?}");
        }
    }

    #[test]
    fn the_header_is_found_however_it_is_spelt() {
        let mut headers = HeaderMap::new();
        let name = http::HeaderName::from_bytes(b"X-Telegram-Bot-Api-Secret-Token").unwrap();
        headers.insert(name, HeaderValue::from_static("Right-Secret_1"));
        let secret = Secret::new("Right-Secret_1").unwrap();
        let sealed = check(&headers, &secret).unwrap().seal(b"{}".to_vec());
        assert_eq!(sealed.get().bytes(), b"{}");
    }

    #[test]
    fn neither_a_body_nor_a_refusal_shows_what_was_sent() {
        let sealed = Pass(()).seal(b"my diary".to_vec());
        assert_eq!(format!("{sealed:?}"), "Verified(TelegramBody(8 bytes))");
        assert_eq!(
            Refused::Wrong.to_string(),
            "the request carries a wrong webhook secret"
        );
    }
}
