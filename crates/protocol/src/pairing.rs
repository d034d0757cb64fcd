//! How a machine is joined to a person's object: a one-time link, proofs both ways, six words that a person compares.
//!
//! The link carries the fingerprint of the command key, so the bridge trusts nobody on first use; the link's secret never travels.

use crate::key::{BadKey, PublicKey, SigningKey, encode};
use crate::session::fields;
use crate::words::WORDS;
use ct_codecs::{Base64UrlSafeNoPadding as Base64, Decoder};
use hmac_sha256::{HMAC, Hash};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How long a link works, in milliseconds.
pub const LINK_MILLIS: i64 = 5 * 60 * 1000;

/// How many wrong tries end a link, whoever makes them.
pub const MAX_TRIES: u32 = 5;

/// The longest name that a bridge may carry, in characters.
pub const MAX_NAME: usize = 40;

/// A one-time link, as the owner copies it from the chat to the machine.
#[derive(Clone, PartialEq, Eq)]
pub struct Link {
    /// The Worker's address, such as `https://bernard.example.workers.dev`.
    pub worker: String,
    /// Names the pairing.
    pub pairing: String,
    /// 128 random bits, base64url. Whoever has it may pair one machine.
    pub secret: String,
    /// [`fingerprint`] of the command key.
    pub fingerprint: String,
}

/// A machine asks to be joined: the body of `POST /bridge/pair`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// From the link.
    pub pairing: String,
    /// The machine's public key, base64url.
    pub bridge_key: String,
    /// What the machine calls itself, such as `mac-mini`.
    pub name: String,
    /// 128 random bits, base64url.
    pub nonce: String,
    /// The machine's signature: it has the secret half.
    pub possession: String,
    /// HMAC under the link's secret: it has the link.
    pub proof: String,
}

/// The Worker's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The command key's public half, base64url.
    pub command_key: String,
    /// The command key's signature: it has the secret half.
    pub possession: String,
    /// HMAC under the link's secret: it has the link.
    pub proof: String,
}

/// Why a pairing did not come about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The text is no pairing link.
    #[error("this is not a pairing link; ask for one with /pair and copy it whole")]
    Link,
    /// The name is empty, too long or has characters beyond letters, digits, `-`, `_` and `.`.
    #[error("a machine's name has 1 to 40 letters, digits, '-', '_' or '.'")]
    Name,
    /// The other side does not have the link's secret.
    #[error("the other side does not know this link's secret")]
    Proof,
    /// The Worker's key is not the one whose fingerprint the link carries.
    #[error("the Worker's key is not the one this link was made for")]
    Fingerprint,
    /// A key or signature is wrong.
    #[error(transparent)]
    Key(#[from] BadKey),
}

impl Link {
    /// Reads a link.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let query = text
            .trim()
            .strip_prefix("bernard://pair?")
            .ok_or(Refused::Link)?;
        let part = |name: &str| {
            let found = query
                .split('&')
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            // A link that was broken into two lines on its way is not the one that was made.
            let whole = |value: &&str| {
                !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic())
            };
            found.filter(whole).ok_or(Refused::Link)
        };
        let address = Base64::decode_to_vec(part("u")?, None).map_err(|_| Refused::Link)?;
        let worker = String::from_utf8(address).map_err(|_| Refused::Link)?;
        if !(worker.starts_with("https://") || worker.starts_with("http://")) {
            return Err(Refused::Link);
        }
        Ok(Self {
            worker,
            pairing: part("p")?.to_owned(),
            secret: part("s")?.to_owned(),
            fingerprint: part("f")?.to_owned(),
        })
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = encode(self.worker.as_bytes());
        write!(
            f,
            "bernard://pair?u={address}&p={}&s={}&f={}",
            self.pairing, self.secret, self.fingerprint
        )
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("worker", &self.worker)
            .field("pairing", &self.pairing)
            .finish_non_exhaustive()
    }
}

impl Request {
    /// A machine's request under a link.
    pub fn new(link: &Link, key: &SigningKey, name: &str, nonce: &str) -> Result<Self, Refused> {
        check_name(name)?;
        let mut request = Self {
            pairing: link.pairing.clone(),
            bridge_key: key.public().to_text(),
            name: name.to_owned(),
            nonce: nonce.to_owned(),
            possession: String::new(),
            proof: String::new(),
        };
        let bytes = request.bytes();
        request.possession = key.sign(&bytes);
        request.proof = mac(&link.secret, &bytes);
        Ok(request)
    }

    /// Checks that the asker has the link's secret and the key it names.
    pub fn check(&self, secret: &str) -> Result<PublicKey, Refused> {
        let bytes = self.bytes();
        check_mac(secret, &bytes, &self.proof)?;
        check_name(&self.name)?;
        let key = PublicKey::from_text(&self.bridge_key)?;
        key.verify(&bytes, &self.possession)?;
        Ok(key)
    }

    /// The Worker's answer to this request.
    pub fn answer(&self, secret: &str, command_key: &SigningKey) -> Answer {
        let public = command_key.public().to_text();
        let bytes = self.answer_bytes(&public);
        Answer {
            possession: command_key.sign(&bytes),
            proof: mac(secret, &bytes),
            command_key: public,
        }
    }

    /// Checks that the answer comes from the key that the link was made for.
    pub fn check_answer(&self, link: &Link, answer: &Answer) -> Result<PublicKey, Refused> {
        let key = PublicKey::from_text(&answer.command_key)?;
        if fingerprint(&key) != link.fingerprint {
            return Err(Refused::Fingerprint);
        }
        let bytes = self.answer_bytes(&answer.command_key);
        check_mac(&link.secret, &bytes, &answer.proof)?;
        key.verify(&bytes, &answer.possession)?;
        Ok(key)
    }

    fn bytes(&self) -> Vec<u8> {
        fields(&[
            "bernard-pair-v1 bridge",
            &self.pairing,
            &self.bridge_key,
            &self.name,
            &self.nonce,
        ])
    }

    fn answer_bytes(&self, command_key: &str) -> Vec<u8> {
        fields(&[
            "bernard-pair-v1 worker",
            &self.pairing,
            &self.bridge_key,
            &self.name,
            &self.nonce,
            command_key,
        ])
    }
}

/// The first half of SHA-256 of a command key, base64url: what a link carries.
pub fn fingerprint(key: &PublicKey) -> String {
    encode(&Hash::hash(key.raw())[..16])
}

/// The six words that name two keys together. Both sides show them; a person sees that they are the same.
pub fn six_words(bridge: &PublicKey, command_key: &PublicKey) -> [&'static str; 6] {
    let hash = Hash::hash(&fields(&[
        "bernard-words-v1",
        &bridge.to_text(),
        &command_key.to_text(),
    ]));
    std::array::from_fn(|at| WORDS[usize::from(hash[at])])
}

/// Whether this may be a machine's name.
pub fn is_name(name: &str) -> bool {
    check_name(name).is_ok()
}

fn check_name(name: &str) -> Result<(), Refused> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(allowed) {
        return Err(Refused::Name);
    }
    Ok(())
}

fn mac(secret: &str, bytes: &[u8]) -> String {
    encode(&HMAC::mac(bytes, secret))
}

fn check_mac(secret: &str, bytes: &[u8], proof: &str) -> Result<(), Refused> {
    let proof = Base64::decode_to_vec(proof, None).map_err(|_| Refused::Proof)?;
    let proof: [u8; 32] = proof.try_into().map_err(|_| Refused::Proof)?;
    if secret.is_empty() || !HMAC::verify(bytes, secret, &proof) {
        return Err(Refused::Proof);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(key: &SigningKey) -> Link {
        Link {
            worker: "https://bernard.example".into(),
            pairing: "p1".into(),
            secret: "AAECAwQFBgcICQoLDA0ODw".into(),
            fingerprint: fingerprint(&key.public()),
        }
    }

    #[test]
    fn a_link_reads_back_and_does_not_print_its_secret() {
        let link = link(&SigningKey::generate().unwrap());
        assert_eq!(Link::parse(&format!(" {link}\n")), Ok(link.clone()));
        assert!(!format!("{link:?}").contains(&link.secret));
        assert_eq!(
            Link::parse("https://bernard.example/pair"),
            Err(Refused::Link)
        );
        assert_eq!(
            Link::parse("bernard://pair?u=&p=1&s=2&f=3"),
            Err(Refused::Link)
        );
        for broken in [" ", "\n", "\u{b}"] {
            let text = format!("{link}{broken}rest");
            assert_eq!(Link::parse(&text), Err(Refused::Link), "{broken:?}");
        }
    }

    #[test]
    fn both_sides_prove_themselves_and_see_the_same_words() {
        let (bridge, command) = (
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
        );
        let link = link(&command);
        let request = Request::new(&link, &bridge, "mac-mini", "nonce").unwrap();
        let seen = request.check(&link.secret).unwrap();
        let pinned = request
            .check_answer(&link, &request.answer(&link.secret, &command))
            .unwrap();
        assert_eq!((&seen, &pinned), (&bridge.public(), &command.public()));
        assert_eq!(
            six_words(&seen, &command.public()),
            six_words(&bridge.public(), &pinned)
        );
    }

    #[test]
    fn a_request_without_the_secret_or_the_key_is_refused() {
        let (bridge, other, command) = (
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
        );
        let link = link(&command);
        let request = Request::new(&link, &bridge, "mac-mini", "nonce").unwrap();
        assert_eq!(request.check("another secret"), Err(Refused::Proof));
        assert_eq!(request.check(""), Err(Refused::Proof));
        let renamed = Request {
            name: "office".into(),
            ..request.clone()
        };
        assert_eq!(renamed.check(&link.secret), Err(Refused::Proof));
        let mut stolen = Request {
            bridge_key: other.public().to_text(),
            ..request
        };
        stolen.proof = mac(&link.secret, &stolen.bytes());
        assert_eq!(
            stolen.check(&link.secret),
            Err(Refused::Key(BadKey::Signature))
        );
        assert_eq!(
            Request::new(&link, &bridge, "my mac", "nonce"),
            Err(Refused::Name)
        );
    }

    #[test]
    fn an_answer_by_another_key_is_refused_even_with_the_secret() {
        let (bridge, command, impostor) = (
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
        );
        let link = link(&command);
        let request = Request::new(&link, &bridge, "mac-mini", "nonce").unwrap();
        let forged = request.answer(&link.secret, &impostor);
        assert_eq!(
            request.check_answer(&link, &forged),
            Err(Refused::Fingerprint)
        );
        let mut borrowed = request.answer(&link.secret, &command);
        borrowed.possession = forged.possession;
        assert_eq!(
            request.check_answer(&link, &borrowed),
            Err(Refused::Key(BadKey::Signature))
        );
        let blind = request.answer("a guess", &command);
        assert_eq!(request.check_answer(&link, &blind), Err(Refused::Proof));
    }
}
