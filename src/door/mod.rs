//! Who may come in. One file a proof; only here can a [`Verified`] be made, and codecs take nothing else.

pub mod bridge;
pub mod console;
pub mod telegram;
pub mod webhook;
pub mod whatsapp;

use crate::secret::Secret;

/// Something whose sender has proven themselves. Only the doors can make one.
///
/// Anyone may read one:
///
/// ```
/// fn length(body: &bernard::door::Verified<Vec<u8>>) -> usize {
///     body.get().len()
/// }
/// ```
///
/// Nobody else can make one:
///
/// ```compile_fail
/// fn forge(body: Vec<u8>) -> bernard::door::Verified<Vec<u8>> {
///     bernard::door::Verified(body)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// What was proven.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// What was proven, for keeps.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// Whether a presented secret is the expected one, in time that tells nothing of either.
///
/// Both sides are keyed hashes under a random key, so that neither length nor a common beginning shows.
fn same(presented: &[u8], expected: &Secret) -> bool {
    let mut key = [0_u8; 32];
    if getrandom::fill(&mut key).is_err() {
        return false;
    }
    let expected = hmac_sha256::HMAC::mac(expected.expose(), key);
    hmac_sha256::HMAC::verify(presented, key, &expected)
}

/// Whether a text is the owner's one-time claim.
pub fn is_claim(text: &str, claim: &Secret) -> bool {
    !text.is_empty() && same(text.as_bytes(), claim)
}
