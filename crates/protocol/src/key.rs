//! Ed25519 keys: each bridge makes one, each person's object makes one, and neither ever leaves its home.

use ct_codecs::{Base64UrlSafeNoPadding as Base64, Decoder, Encoder, Hex};
use ed25519_compact as ed;
use std::fmt;

/// A secret key. It prints as `***`.
#[derive(Clone)]
pub struct SigningKey(ed::KeyPair);

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(ed::PublicKey);

/// Names a public key: its RFC 7638 thumbprint, SHA-256 in base64url.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyId(pub String);

/// Why key material was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// It is not 32 (public) or 64 (secret) bytes in base64url, or not a point that may be used.
    #[error("not an Ed25519 key")]
    Malformed,
    /// A signature does not fit.
    #[error("signature does not verify")]
    Signature,
    /// The system gave no random numbers.
    #[error("no randomness to be had from the system")]
    Randomness,
}

impl SigningKey {
    /// Makes a key from the system's randomness.
    pub fn generate() -> Result<Self, BadKey> {
        let seed = random_bytes::<32>()?;
        Ok(Self(ed::KeyPair::from_seed(ed::Seed::new(seed))))
    }

    /// Reads what [`Self::to_text`] wrote.
    pub fn from_text(text: &str) -> Result<Self, BadKey> {
        let bytes = Base64::decode_to_vec(text.trim(), None).map_err(|_| BadKey::Malformed)?;
        let pair = ed::KeyPair::from_slice(&bytes).map_err(|_| BadKey::Malformed)?;
        pair.validate().map_err(|_| BadKey::Malformed)?;
        Ok(Self(pair))
    }

    /// The key as text. Whoever has it is the key's owner.
    pub fn to_text(&self) -> String {
        encode(&*self.0)
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.pk)
    }

    /// Signs bytes; base64url.
    pub fn sign(&self, bytes: &[u8]) -> String {
        encode(&*self.0.sk.sign(bytes, None))
    }

    /// The 64 bytes that `jwt-simple` takes.
    pub(crate) fn raw(&self) -> &[u8] {
        &*self.0
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(***)")
    }
}

impl PublicKey {
    /// Reads base64url; refuses points of small order, under which anyone can sign.
    pub fn from_text(text: &str) -> Result<Self, BadKey> {
        let bytes = Base64::decode_to_vec(text, None).map_err(|_| BadKey::Malformed)?;
        let key = ed::PublicKey::from_slice(&bytes).map_err(|_| BadKey::Malformed)?;
        key.validate().map_err(|_| BadKey::Malformed)?;
        Ok(Self(key))
    }

    /// The key as base64url.
    pub fn to_text(&self) -> String {
        encode(&*self.0)
    }

    /// The key's name.
    pub fn id(&self) -> KeyId {
        let jwk = format!(
            r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#,
            self.to_text()
        );
        KeyId(encode(&hmac_sha256::Hash::hash(jwk.as_bytes())))
    }

    /// Checks a signature made by [`SigningKey::sign`].
    pub fn verify(&self, bytes: &[u8], signature: &str) -> Result<(), BadKey> {
        let raw = Base64::decode_to_vec(signature, None).map_err(|_| BadKey::Signature)?;
        let signature = ed::Signature::from_slice(&raw).map_err(|_| BadKey::Signature)?;
        self.0
            .verify(bytes, &signature)
            .map_err(|_| BadKey::Signature)
    }

    pub(crate) fn raw(&self) -> &[u8] {
        &*self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A fresh value of 128 random bits, base64url: for nonces, ids and one-time secrets.
pub fn random_text() -> Result<String, BadKey> {
    Ok(encode(&random_bytes::<16>()?))
}

/// Random bytes from the system.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], BadKey> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| BadKey::Randomness)?;
    Ok(bytes)
}

/// SHA-256 in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&hmac_sha256::Hash::hash(bytes))
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    Hex::encode_to_string(bytes).unwrap_or_default() // fails only beyond the address space
}

/// Base64url without padding.
pub fn encode(bytes: &[u8]) -> String {
    Base64::encode_to_string(bytes).unwrap_or_default() // fails only beyond the address space
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_its_signature_verifies() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_text(&key.to_text()).unwrap();
        let signature = again.sign(b"words");
        assert_eq!(key.public().verify(b"words", &signature), Ok(()));
        assert_eq!(
            key.public().verify(b"other words", &signature),
            Err(BadKey::Signature)
        );
    }

    #[test]
    fn the_key_id_is_the_thumbprint_that_jwt_simple_computes() {
        use jwt_simple::prelude::*;
        let key = SigningKey::generate().unwrap();
        let theirs = Ed25519PublicKey::from_bytes(key.public().raw()).unwrap();
        assert_eq!(key.public().id().0, theirs.jwk_thumbprint());
    }

    #[test]
    fn a_weak_public_key_is_refused() {
        let identity = {
            let mut p = [0_u8; 32];
            p[0] = 1;
            encode(&p)
        };
        assert_eq!(PublicKey::from_text(&identity), Err(BadKey::Malformed));
        assert_eq!(
            PublicKey::from_text(&encode(&[0; 32])),
            Err(BadKey::Malformed)
        );
    }

    #[test]
    fn a_secret_key_does_not_print_itself() {
        let key = SigningKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey(***)");
    }
}
