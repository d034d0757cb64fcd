//! How a connection is proven both ways: one transcript, two signatures, and the session that they name.

use serde::{Deserialize, Serialize};

/// What a bridge says of itself. It describes; it grants nothing: the bridge judges each call anyway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The bridge program's version.
    pub version: String,
    /// `linux` or `macos`.
    pub platform: String,
    /// The tools that its policy can allow at all.
    pub tools: Vec<String>,
    /// What the tools may touch.
    pub roots: Vec<Root>,
    /// The beginnings of the commands that may run, such as `["git", "status"]`.
    pub commands: Vec<Vec<String>>,
    /// SHA-256 of the policy file, lower-case hex.
    pub policy_sha256: String,
}

/// A folder that a bridge opens to its tools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// The first part of every path in it.
    pub name: String,
    /// What may be done there.
    pub access: Access,
}

/// What may be done in a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Look.
    Read,
    /// Look and change.
    Write,
}

/// Everything that both sides sign at the beginning of a session.
#[derive(Debug, Clone, Copy)]
pub struct Transcript<'a> {
    /// The bridge's key id.
    pub bridge: &'a str,
    /// The command key's id.
    pub command_key: &'a str,
    /// The Worker's nonce.
    pub worker_nonce: &'a str,
    /// The bridge's nonce.
    pub bridge_nonce: &'a str,
    /// The protocol version.
    pub version: u32,
    /// The hello's JSON text.
    pub hello: &'a str,
}

impl Transcript<'_> {
    /// What the bridge signs.
    pub fn bridge_bytes(&self) -> Vec<u8> {
        self.bytes("bernard-session-v1 bridge")
    }

    /// What the Worker signs. A different label, so that neither signature can pass for the other.
    pub fn worker_bytes(&self) -> Vec<u8> {
        self.bytes("bernard-session-v1 worker")
    }

    fn bytes(&self, label: &str) -> Vec<u8> {
        let version = self.version.to_string();
        fields(&[
            label,
            self.bridge,
            self.command_key,
            self.worker_nonce,
            self.bridge_nonce,
            &version,
            self.hello,
        ])
    }
}

/// Joins texts so that no two different lists give the same bytes: each is preceded by its length.
pub(crate) fn fields(texts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in texts {
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_differ_only_in_their_borders_give_different_bytes() {
        assert_ne!(fields(&["ab", "c"]), fields(&["a", "bc"]));
        assert_ne!(fields(&["a", ""]), fields(&["", "a"]));
    }
}
