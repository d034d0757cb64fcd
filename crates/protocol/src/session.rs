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
    /// Those of them that its policy wants a yes for; the others it simply allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asking_commands: Vec<Vec<String>>,
    /// The tools that its policy wants a yes for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asking_tools: Vec<String>,
    /// Those commands that are allowed whatever words follow: the machine knows what they do, or denies them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub free_commands: Vec<Vec<String>>,
    /// Those commands that its owner is asked about at home, so that nobody else need be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub home_commands: Vec<Vec<String>>,
    /// The tools of which the same is true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub home_tools: Vec<String>,
    /// What commands run behind there, and what of it the machine has seen to hold, as it tells people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
    /// What its owner should be told of the policy, such as that a change of it is not accepted; nothing where all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_fault: Option<String>,
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
    /// Look, and add what is new; what is there stays as it is.
    Append,
    /// Look and change.
    Write,
}

/// The claims of a token of kind `Hello`: none, and no others are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HelloClaims {}

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

/// Names a session: SHA-256 over what the Worker signs and both signatures as they travelled, base64url.
#[cfg(feature = "signatures")]
pub fn session_id(
    transcript: &Transcript<'_>,
    bridge_signature: &str,
    worker_signature: &str,
) -> String {
    let mut bytes = transcript.worker_bytes();
    bytes.extend_from_slice(bridge_signature.as_bytes());
    bytes.extend_from_slice(worker_signature.as_bytes());
    crate::key::encode(&hmac_sha256::Hash::hash(&bytes))
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
    fn each_access_includes_the_one_before_and_has_a_word_on_the_wire() {
        assert!(Access::Read < Access::Append && Access::Append < Access::Write);
        let words = [Access::Read, Access::Append, Access::Write];
        let words = serde_json::to_string(&words).unwrap();
        assert_eq!(words, r#"["read","append","write"]"#);
    }

    #[test]
    fn fields_that_differ_only_in_their_borders_give_different_bytes() {
        assert_ne!(fields(&["ab", "c"]), fields(&["a", "bc"]));
        assert_ne!(fields(&["a", ""]), fields(&["", "a"]));
    }

    #[cfg(feature = "signatures")]
    #[test]
    fn a_session_id_depends_on_both_signatures_and_the_transcript() {
        let transcript = Transcript {
            bridge: "b",
            command_key: "c",
            worker_nonce: "n1",
            bridge_nonce: "n2",
            version: 1,
            hello: "{}",
        };
        let id = session_id(&transcript, "s1", "s2");
        assert_eq!(id, session_id(&transcript, "s1", "s2"));
        assert_ne!(id, session_id(&transcript, "s1", "s3"));
        assert_ne!(id, session_id(&transcript, "s3", "s2"));
        let other = Transcript {
            worker_nonce: "n3",
            ..transcript
        };
        assert_ne!(id, session_id(&other, "s1", "s2"));
    }
}
