//! The system's keychain: where a secret lies that is better not in a file, and why it cannot be had when it cannot.
//!
//! On macOS it is asked through the Security framework, so that an item opens to this program alone. On Linux it is the Secret Service,
//! asked through the distribution's `secret-tool`: a D-Bus library in this program would cost 1.9 MB of it and as much memory, for two
//! questions when it starts.

mod access;
#[cfg(target_os = "macos")]
mod apple;
mod secret_tool;

pub use access::Readers;
pub use secret_tool::SecretTool;

use protocol::key::{BadKey, random_text};
use std::time::Duration;

/// What all items are filed under.
pub(crate) const SERVICE: &str = "bernard.local-bridge";

/// The keychain of this account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keychain {
    /// macOS's.
    #[cfg(target_os = "macos")]
    Apple,
    /// The Secret Service of a desktop session: GNOME Keyring, `KWallet`, `KeePassXC`.
    Service(SecretTool),
}

/// Why a keychain does not do what it is asked to. None of it holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoKeychain {
    /// It is there and closed.
    #[error(
        "the keychain is locked; log in at the screen, or unlock it there (a service then goes on by itself)"
    )]
    Locked,
    /// It would ask its owner first, and nobody sits there.
    #[error(
        "the keychain wants to ask first: it is locked, or does not know this program since it was updated; at the screen, run local-bridge status in a terminal and choose Always Allow"
    )]
    Asks,
    /// The item is not in it.
    #[error(
        "the keychain does not show it: either it is locked, or the item was taken out of it; unlock it, or else: local-bridge unpair, and pair again"
    )]
    Gone,
    /// It takes too long: perhaps it waits for somebody at the screen.
    #[error("the keychain has not answered within {} seconds", .0.as_secs())]
    Silent(Duration),
    /// There is none here.
    #[error("there is no keychain here: {0}")]
    Absent(String),
    /// It answers, with a no.
    #[error("the keychain says no: {0}")]
    Refused(String),
    /// What it gives back is not what it was given.
    #[error("the keychain gives back another value than it was given")]
    Differs,
    /// There is no randomness for a probe.
    #[error(transparent)]
    Key(#[from] BadKey),
}

impl Keychain {
    /// The one of this machine.
    pub fn own() -> Self {
        #[cfg(target_os = "macos")]
        {
            Self::Apple
        }
        #[cfg(not(target_os = "macos"))]
        {
            Self::Service(SecretTool::own())
        }
    }

    /// Keeps a secret under a name, instead of what it kept under it before, and looks whether it does. Where it does not, nothing stays.
    pub fn keep(&self, name: &str, secret: &str) -> Result<(), NoKeychain> {
        match self {
            #[cfg(target_os = "macos")]
            Self::Apple => apple::keep(name, secret)?,
            Self::Service(tool) => tool.keep(name, secret)?,
        }
        let why = match self.find(name) {
            Ok(Some(kept)) if kept == secret => return Ok(()),
            Ok(_) => NoKeychain::Differs,
            Err(why) => why,
        };
        self.remove(name).ok(); // the first error is the one to tell
        Err(why)
    }

    /// The secret under a name; `None` where the keychain is open and has none, or shows none. It asks nobody for a password.
    pub fn find(&self, name: &str) -> Result<Option<String>, NoKeychain> {
        match self {
            #[cfg(target_os = "macos")]
            Self::Apple => apple::find(name),
            Self::Service(tool) => tool.find(name),
        }
    }

    /// Takes the secret under a name out; false where there was none.
    pub fn remove(&self, name: &str) -> Result<bool, NoKeychain> {
        match self {
            #[cfg(target_os = "macos")]
            Self::Apple => apple::remove(name),
            Self::Service(tool) => tool.remove(name),
        }
    }

    /// Who may read the secret under a name without a question, where the keychain tells programs apart; else nothing.
    pub fn readers(&self, name: &str) -> Option<Readers> {
        match self {
            #[cfg(target_os = "macos")]
            Self::Apple => {
                let listed =
                    crate::install::ask_system(&["/usr/bin/security", "dump-keychain", "-a"]);
                access::readers(&listed.ok()?, SERVICE, name)
            }
            Self::Service(_) => {
                tracing::trace!("{name}: the Secret Service does not tell programs apart");
                None
            }
        }
    }

    /// Looks whether it can be relied on, with a secret that is none: kept, found again, taken out, and then gone.
    pub fn try_out(&self) -> Result<(), NoKeychain> {
        let name = format!("probe {}", random_text()?);
        self.keep(&name, &random_text()?)?;
        self.remove(&name)?;
        match self.find(&name)? {
            None => Ok(()),
            Some(_) => Err(NoKeychain::Differs),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::path::PathBuf;
    use std::process::{Command, Stdio};
    use std::time::Instant;
    use tempfile::TempDir;

    /// Says what libsecret's `secret-tool` said before a GNOME Keyring that was open, locked, and not there. Its items are files.
    const PROGRAM: &str = r#"#!/bin/sh
cd "${0%/*}" || exit 9
verb=$1; shift
[ "$verb" = store ] && shift 2
item="item $4"
printf '%s\n' "$verb" "$@" >> arguments
[ -e hangs ] && exec /bin/sleep 30
if [ -e absent ]; then
    echo 'secret-tool: The name org.freedesktop.secrets was not provided by any .service files' >&2
    exit 1
fi
case $verb in
store)
    /bin/cat > "$item.given"
    if [ -e locked ]; then
        echo 'secret-tool: Cannot create an item in a locked collection' >&2
        exit 1
    fi
    /bin/mv "$item.given" "$item" ;;
search)
    [ -e "$item" ] || exit 0
    printf '[/2]\nlabel = something\n'
    if [ -e locked ]; then
        echo 'secret-tool: Cannot get secret of a locked object' >&2
    elif [ -e other ]; then
        echo 'secret = another'
    else
        printf 'secret = %s\n' "$(/bin/cat "$item")"
    fi
    printf 'created = 2026-11-22 22:07:29\nschema = org.freedesktop.Secret.Generic\n'
    printf 'attribute.account = %s\n' "$4" >&2 ;;
clear)
    { [ -e "$item" ] && [ ! -e locked ]; } || exit 1
    /bin/rm "$item" ;;
esac
"#;

    /// A keychain that a test can lock.
    pub(crate) struct Fake(TempDir);

    impl Fake {
        pub(crate) fn new() -> Self {
            let fake = Self(tempfile::tempdir().unwrap());
            // Written by another process: one that this one has just written could not always be started.
            let mut copy = Command::new("/bin/sh");
            let copy = copy.args(["-c", r#"cat > "$0" && chmod 700 "$0""#]);
            let mut copy = copy
                .arg(fake.program())
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            let mut into = copy.stdin.take().unwrap();
            into.write_all(PROGRAM.as_bytes()).unwrap();
            drop(into);
            assert!(copy.wait().unwrap().success());
            fake
        }

        fn program(&self) -> PathBuf {
            self.0.path().join("secret-tool")
        }

        pub(crate) fn keychain(&self) -> Keychain {
            let patience = Duration::from_secs(20); // two busy cores
            Keychain::Service(SecretTool::at(self.program(), patience))
        }

        /// From now on it is `locked`, `absent` and the like, or not.
        pub(crate) fn is(&self, how: &str, so: bool) {
            let sign = self.0.path().join(how);
            if so {
                fs::write(sign, "").unwrap();
            } else {
                fs::remove_file(sign).unwrap();
            }
        }

        /// What is in it.
        pub(crate) fn items(&self) -> Vec<String> {
            let names = fs::read_dir(self.0.path()).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut items: Vec<String> = names.filter(|name| name.starts_with("item ")).collect();
            items.sort();
            items
        }

        /// All the words that it was ever given.
        pub(crate) fn arguments(&self) -> String {
            fs::read_to_string(self.0.path().join("arguments")).unwrap_or_default()
        }
    }

    #[test]
    fn a_secret_is_kept_found_replaced_and_taken_out() {
        let fake = Fake::new();
        let keychain = fake.keychain();
        assert_eq!(keychain.find("key a"), Ok(None));
        assert_eq!(keychain.remove("key a"), Ok(false));
        keychain.keep("key a", "first one").unwrap();
        keychain.keep("key a", "second one").unwrap();
        keychain.keep("key b", "third one").unwrap();
        assert_eq!(keychain.find("key a"), Ok(Some("second one".into())));
        assert_eq!(keychain.remove("key a"), Ok(true));
        assert_eq!(keychain.find("key a"), Ok(None));
        assert_eq!(fake.items(), ["item key b"]);
        let arguments = fake.arguments();
        assert!(arguments.contains("key a\n"), "{arguments}");
        assert!(
            !arguments.contains(" one"),
            "a secret is no argument: {arguments}"
        );
    }

    #[test]
    fn what_is_kept_and_not_found_again_as_it_was_does_not_stay() {
        let fake = Fake::new();
        let keychain = fake.keychain();
        fake.is("other", true);
        assert_eq!(keychain.keep("key a", "secret"), Err(NoKeychain::Differs));
        assert_eq!(fake.items(), [""; 0]);
    }

    #[test]
    fn a_keychain_that_cannot_be_had_says_why() {
        let fake = Fake::new();
        let keychain = fake.keychain();
        keychain.keep("key a", "secret").unwrap();
        fake.is("locked", true);
        assert_eq!(keychain.find("key a"), Err(NoKeychain::Locked));
        assert_eq!(keychain.keep("key a", "other"), Err(NoKeychain::Locked));
        assert_eq!(keychain.remove("key a"), Err(NoKeychain::Locked));
        fake.is("locked", false);
        assert_eq!(keychain.find("key a"), Ok(Some("secret".into())));
        fake.is("absent", true);
        let nobody = "The name org.freedesktop.secrets was not provided by any .service files";
        assert_eq!(
            keychain.find("key a"),
            Err(NoKeychain::Absent(nobody.into()))
        );
        let none = SecretTool::at("/nonexistent/secret-tool".into(), Duration::from_secs(1));
        let missing = "/nonexistent/secret-tool is not installed (Debian, Ubuntu: libsecret-tools; Fedora, Arch: libsecret)";
        assert_eq!(
            Keychain::Service(none).find("key a"),
            Err(NoKeychain::Absent(missing.into()))
        );
    }

    #[test]
    fn a_keychain_that_waits_for_somebody_is_not_waited_for() {
        let fake = Fake::new();
        fake.is("hangs", true);
        let patience = Duration::from_millis(300);
        let keychain = Keychain::Service(SecretTool::at(fake.program(), patience));
        let begun = Instant::now();
        assert_eq!(keychain.find("key a"), Err(NoKeychain::Silent(patience)));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_keychain_is_tried_out_and_nothing_stays_in_it() {
        let fake = Fake::new();
        assert_eq!(fake.keychain().try_out(), Ok(()));
        assert_eq!(fake.items(), [""; 0]);
        fake.is("other", true);
        assert_eq!(fake.keychain().try_out(), Err(NoKeychain::Differs));
        fake.is("other", false);
        fake.is("locked", true);
        assert_eq!(fake.keychain().try_out(), Err(NoKeychain::Locked));
    }

    #[test]
    fn a_keychain_is_told_what_an_item_is_called_and_nothing_else() {
        let fake = Fake::new();
        let keychain = fake.keychain();
        keychain.keep("key a", "secret").unwrap();
        assert_eq!(
            fake.arguments(),
            "store\nservice\nbernard.local-bridge\naccount\nkey a\nsearch\nservice\nbernard.local-bridge\naccount\nkey a\n"
        );
    }
}
