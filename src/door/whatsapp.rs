//! WhatsApp's proofs: a keyed hash of each body under the app's secret, and the handshake by which Meta learns that the webhook is ours.

use super::{Verified, same};
use crate::secret::Secret;
use hmac_sha256::HMAC;
use http::HeaderMap;

/// The header in which Meta signs a body.
pub const HEADER: &str = "x-hub-signature-256";

/// The longest body that is read, in bytes: what Meta publishes as the most that one delivery holds.
pub const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// The longest challenge that is repeated: Meta's are ten digits, and this is no mirror for anyone's page.
const CHALLENGE_LIMIT: usize = 128;

/// How long a SHA-256 hash is, in bytes.
const HASH: usize = 32;

/// Why a request is not from Meta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The header is not there, or is empty.
    #[error("the request carries no signature")]
    Missing,
    /// The header is there more than once, so that two readers could each believe another one.
    #[error("the request carries more than one signature")]
    Doubled,
    /// The header holds something else than `sha256=` and 64 lower-case hexadecimal digits.
    #[error("the request carries what is no SHA-256 signature")]
    NoSignature,
    /// The signature is not ours for this body.
    #[error("the request carries a wrong signature")]
    Wrong,
    /// It is no subscription with our token and a challenge.
    #[error("the request is no handshake of ours")]
    NoHandshake,
}

/// A request that carries a signature; its body may be read, to see whether that is right.
pub struct Pass {
    presented: [u8; HASH],
    secret: Secret,
    number: String,
}

/// The bytes of one delivery, as Meta sent them.
#[derive(Clone, PartialEq, Eq)]
pub struct WhatsAppBody {
    bytes: Vec<u8>,
    number: String,
}

/// Whether a request carries a signature at all, told from its headers before a byte of its body is read. `number` is the id of our
/// phone number: what is for another one is not ours.
pub fn check(headers: &HeaderMap, secret: &Secret, number: &str) -> Result<Pass, Refused> {
    let mut presented = headers.get_all(HEADER).iter();
    let signature = presented.next().ok_or(Refused::Missing)?.as_bytes();
    // Some runtimes join repeated headers with a comma, which no signature may contain.
    if presented.next().is_some() || signature.contains(&b',') {
        return Err(Refused::Doubled);
    }
    if signature.is_empty() {
        return Err(Refused::Missing);
    }
    let digits = signature
        .strip_prefix(b"sha256=")
        .ok_or(Refused::NoSignature)?;
    Ok(Pass {
        presented: unhexed(digits).ok_or(Refused::NoSignature)?,
        secret: secret.clone(),
        number: number.to_owned(),
    })
}

/// What Meta is answered that asks whether this webhook is ours: its own challenge. `query` is the address's, with or without `?`.
pub fn handshake(query: &str, expected: &Secret) -> Result<Verified<String>, Refused> {
    let (mut mode, mut token, mut challenge) = (None, None, None);
    for pair in query.trim_start_matches('?').split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let known = match name {
            "hub.mode" => &mut mode,
            "hub.verify_token" => &mut token,
            "hub.challenge" => &mut challenge,
            _ => continue,
        };
        if known.replace(value).is_some() {
            return Err(Refused::NoHandshake);
        }
    }
    let (Some("subscribe"), Some(token), Some(challenge)) = (mode, token, challenge) else {
        return Err(Refused::NoHandshake);
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let fits = (1..=CHALLENGE_LIMIT).contains(&challenge.len()) && challenge.bytes().all(plain);
    if !same(&decoded(token), expected) || !fits {
        return Err(Refused::NoHandshake);
    }
    Ok(Verified(challenge.to_owned()))
}

impl Pass {
    /// The body, if it is the one that was signed: its bytes as they came, before anything is made of them.
    pub fn seal(self, body: Vec<u8>) -> Result<Verified<WhatsAppBody>, Refused> {
        if !HMAC::verify(&body, self.secret.expose(), &self.presented) {
            return Err(Refused::Wrong);
        }
        Ok(Verified(WhatsAppBody {
            bytes: body,
            number: self.number,
        }))
    }
}

impl WhatsAppBody {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The id of our phone number.
    pub fn number(&self) -> &str {
        &self.number
    }
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pass(for {})", self.number)
    }
}

impl std::fmt::Debug for WhatsAppBody {
    /// Shows the length alone: the words in it are someone's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WhatsAppBody({} bytes)", self.bytes.len())
    }
}

/// Lower-case digits alone: one hash has one spelling.
fn unhexed(digits: &[u8]) -> Option<[u8; HASH]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut hash = [0; HASH];
    if digits.len() != 2 * HASH {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? * 16 + digit(*low)?;
    }
    Some(hash)
}

/// A query's value without its percent-encoding.
fn decoded(value: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let value = value.as_bytes();
    let (mut bytes, mut at) = (Vec::with_capacity(value.len()), 0);
    while let Some(byte) = value.get(at) {
        let pair = (digit(value.get(at + 1)), digit(value.get(at + 2)));
        match (byte, pair) {
            (b'%', (Some(high), Some(low))) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                at += 3;
            }
            (b'+', _) => {
                bytes.push(b' ');
                at += 1;
            }
            (byte, _) => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const SECRET: &str = "an-app-secret";

    fn secret() -> Secret {
        Secret::new(SECRET).unwrap()
    }

    fn signature(body: &[u8]) -> String {
        let hash = HMAC::mac(body, SECRET);
        let digits: Vec<String> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256={}", digits.concat())
    }

    fn verdict(values: &[&str], body: &[u8]) -> Result<(), Refused> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_str(value).unwrap());
        }
        let pass = check(&headers, &secret(), "106540352242922")?;
        pass.seal(body.to_vec()).map(|_| ())
    }

    #[test]
    fn only_the_signature_of_these_very_bytes_presented_once_passes() {
        let body = "{\"body\":\"😀\"}".as_bytes();
        let right = signature(body);
        let escaped = br#"{"body":"\ud83d\ude00"}"#;
        let upper = format!("sha256={}", right[7..].to_uppercase());
        let longer = format!("{right}00");
        let twice = format!("{right},{right}");
        let sha1 = format!("sha1={}", &right[7..47]);
        let elsewhere = signature(b"{}");
        let table: [(&[&str], &[u8], _); 14] = [
            (&[&right], body, Ok(())),
            (&[&right], escaped, Err(Refused::Wrong)),
            (&[&right], &body[..body.len() - 1], Err(Refused::Wrong)),
            (&[&right], b"", Err(Refused::Wrong)),
            (&[&elsewhere], body, Err(Refused::Wrong)),
            (&[], body, Err(Refused::Missing)),
            (&[""], body, Err(Refused::Missing)),
            (&[&right[7..]], body, Err(Refused::NoSignature)),
            (&[&upper], body, Err(Refused::NoSignature)),
            (&[&longer], body, Err(Refused::NoSignature)),
            (&[&right[..70]], body, Err(Refused::NoSignature)),
            (&[&sha1], body, Err(Refused::NoSignature)),
            (&[&twice], body, Err(Refused::Doubled)),
            (&[&right, &right], body, Err(Refused::Doubled)),
        ];
        for (values, body, expected) in table {
            assert_eq!(verdict(values, body), expected, "{values:?}");
        }
    }

    #[test]
    fn any_bit_that_is_turned_breaks_the_signature() {
        let body = b"{\"object\":\"whatsapp_business_account\"}";
        let right = signature(body);
        for place in 0..body.len() * 8 {
            let mut bent = body.to_vec();
            bent[place / 8] ^= 1 << (place % 8);
            assert_eq!(verdict(&[&right], &bent), Err(Refused::Wrong), "{place}");
        }
    }

    #[test]
    fn the_challenge_comes_back_to_who_knows_the_token_and_nothing_else_does() {
        let token = Secret::new("tok en+1").unwrap();
        let answer =
            |query: &str| handshake(query, &token).map(|challenge| challenge.get().clone());
        let right = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=tok%20en%2b1";
        assert_eq!(answer(right), Ok("1158201444".to_owned()));
        assert_eq!(answer(&format!("?x=1&{right}")), Ok("1158201444".into()));
        let longest = "a".repeat(CHALLENGE_LIMIT);
        let with = |challenge: &str| right.replace("1158201444", challenge);
        assert_eq!(answer(&with(&longest)), Ok(longest.clone()));
        for query in [
            String::new(),
            with(""),
            with(&format!("{longest}a")),
            with("<script>"),
            with("%3Cb%3E"),
            with("a b"),
            right.replace("subscribe", "unsubscribe"),
            right.replace("en", "EN"),
            right.replace("tok%20en%2b1", ""),
            right.replace("hub.mode=subscribe&", ""),
            right.replace("&hub.verify_token=tok%20en%2b1", ""),
            format!("{right}&hub.challenge=2"),
            format!("{right}&hub.verify_token=tok%20en%2b1"),
        ] {
            assert_eq!(answer(&query), Err(Refused::NoHandshake), "{query}");
        }
    }

    #[test]
    fn neither_a_body_nor_a_pass_shows_what_it_holds() {
        let body = b"my diary".to_vec();
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_str(&signature(&body)).unwrap());
        let pass = check(&headers, &secret(), "42").unwrap();
        assert_eq!(format!("{pass:?}"), "Pass(for 42)");
        let sealed = pass.seal(body).unwrap();
        assert_eq!(format!("{sealed:?}"), "Verified(WhatsAppBody(8 bytes))");
        assert_eq!(
            (sealed.get().bytes(), sealed.get().number()),
            (&b"my diary"[..], "42")
        );
    }
}
