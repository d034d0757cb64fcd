//! Who may read an item of macOS's keychain without a question, from what `security dump-keychain -a` lists. It lists no secrets.

/// Who may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readers {
    /// Whoever asks.
    Anyone,
    /// These programs, as far as they are still the ones that were allowed.
    Programs(Vec<String>),
}

/// Who may read the item of a service with this name; nothing where it is not listed.
#[cfg(any(target_os = "macos", test))]
pub(crate) fn readers(listed: &str, service: &str, name: &str) -> Option<Readers> {
    let wanted = [
        format!("\"svce\"<blob>=\"{service}\""),
        format!("\"acct\"<blob>=\"{name}\""),
    ];
    let mut items = listed.split("keychain: \"");
    let item = items.find(|item| wanted.iter().all(|line| item.contains(line)))?;
    let (mut decrypts, mut programs) = (false, None);
    for line in item.lines().map(str::trim) {
        if let Some((_, rights)) = line
            .split_once("): ")
            .filter(|_| line.starts_with("authorizations ("))
        {
            decrypts = rights
                .split(' ')
                .any(|right| right == "decrypt" || right == "any");
        } else if decrypts && line == "applications: <null>" {
            return Some(Readers::Anyone);
        } else if decrypts && line.starts_with("applications (") {
            programs.get_or_insert_default();
        } else if decrypts && let Some(program) = program(line) {
            programs.get_or_insert_with(Vec::new).push(program);
        }
    }
    programs.map(Readers::Programs)
}

/// `0: /usr/bin/security (OK)`; one that has been changed since says `(status …)`.
#[cfg(any(target_os = "macos", test))]
fn program(line: &str) -> Option<String> {
    let (number, rest) = line.split_once(": ")?;
    number.parse::<u32>().ok()?;
    rest.strip_suffix(" (OK)").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, decrypt: &str) -> String {
        format!(
            r#"keychain: "/Users/anna/Library/Keychains/login.keychain-db"
version: 512
class: "genp"
attributes:
    0x00000007 <blob>="bernard.local-bridge"
    "acct"<blob>="{name}"
    "svce"<blob>="bernard.local-bridge"
access: 3 entries
    entry 0:
        authorizations (1): encrypt
        don't-require-password
        description: bernard.local-bridge
        applications: <null>
    entry 1:
        authorizations (6): decrypt derive export_clear export_wrapped mac sign
        don't-require-password
        description: bernard.local-bridge
        {decrypt}
    entry 2:
        authorizations (1): change_acl
        dont-require-password
        description: bernard.local-bridge
        applications (0):
"#
        )
    }

    #[test]
    fn those_who_may_read_one_item_are_told() {
        let own = "/Users/anna/.cargo/bin/local-bridge";
        let listed = [
            item("key other", "applications: <null>"),
            item(
                "key a",
                &format!(
                    "applications (3):\n            0: {own} (OK)\n                requirement: cdhash H\"5cbb\"\n            1: /old/local-bridge (status -67068)\n            2: /usr/bin/security (OK)"
                ),
            ),
            item("key none", "applications (0):"),
        ]
        .concat();
        let of = |name: &str| readers(&listed, "bernard.local-bridge", name);
        let both = vec![own.to_owned(), "/usr/bin/security".to_owned()];
        assert_eq!(of("key a"), Some(Readers::Programs(both)));
        assert_eq!(of("key other"), Some(Readers::Anyone));
        assert_eq!(of("key none"), Some(Readers::Programs(Vec::new())));
        assert_eq!(of("key"), None);
        assert_eq!(readers(&listed, "another", "key a"), None);
    }
}
