//! The bridge's own folder: its key, whom it is paired with, its policy, its journal, and the lock that keeps it to one process.

use protocol::key::{BadKey, PublicKey, SigningKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder that holds everything that a bridge keeps.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

/// Whom this machine is paired with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pairing {
    /// The Worker's address.
    pub worker: String,
    /// The pinned command key, base64url.
    pub command_key: String,
    /// What this machine calls itself.
    pub name: String,
    /// This machine's key id.
    pub bridge: String,
}

/// What a running bridge last wrote about itself, for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// The session is up.
    pub connected: bool,
    /// Since when it has been so, in milliseconds since 1970.
    pub since: i64,
    /// Why the last connection ended, or could not be made.
    pub last_error: Option<String>,
    /// The Worker has accepted this pairing at least once.
    pub accepted: bool,
}

/// The process that runs, as it wrote of itself when it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it began, in milliseconds since 1970.
    pub since: i64,
    /// Its version.
    pub version: String,
    /// The file that it logs to, besides stderr.
    pub log: Option<PathBuf>,
}

/// Holds the home for one process; the system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// What can be wrong with the home.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read or change what only the owner may.
    #[error("{0} can be read or changed by others; run: chmod go-rwx '{0}'")]
    Open(PathBuf),
    /// A file is there and is not what it should be.
    #[error("{path} is damaged ({why}); pair this machine again with a fresh link from /pair")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        why: String,
    },
    /// Nothing is paired.
    #[error(
        "this machine is not paired; ask Bernard for a link with /pair, then run: local-bridge pair <link>"
    )]
    NotPaired,
    /// Another process holds the home.
    #[error("another local-bridge is already running with this home")]
    Running,
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] BadKey),
}

impl Home {
    /// Opens the folder, making it for its owner alone where it is not there.
    pub fn open(path: &Path) -> Result<Self, Broken> {
        let at = |source| Broken::Io {
            path: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(at)?;
        let path = path.canonicalize().map_err(at)?;
        let ours = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&path, ours).map_err(|source| Broken::Io {
            path: path.clone(),
            source,
        })?;
        Ok(Self(path))
    }

    /// The folder as it is, nothing made and nothing put right; `None` where there is none.
    pub fn look(path: &Path) -> Result<Option<Self>, Broken> {
        match path.canonicalize() {
            Ok(path) => Ok(Some(Self(path))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Broken::Io {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the policy lies.
    pub fn policy(&self) -> PathBuf {
        self.0.join("policy.toml")
    }

    /// Where the journal lies.
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal.db")
    }

    /// Where commands find their HOME and TMPDIR.
    pub fn scratch(&self) -> PathBuf {
        self.0.join("scratch")
    }

    /// Where all that commands wrote is kept for a while.
    pub fn outputs(&self) -> PathBuf {
        self.0.join("output")
    }

    /// Where a running bridge logs to.
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// While a file `panic` lies in the home, every call is refused.
    pub fn panics(&self) -> bool {
        // A file that cannot be looked at counts as there: the safe reading of an unclear sign.
        self.0.join("panic").try_exists().unwrap_or(true)
    }

    /// Puts the file `panic` there, with a word on how it came.
    pub fn freeze(&self, why: &str) -> Result<(), Broken> {
        self.write("panic", why)
    }

    /// Takes the file `panic` away; false where there was none.
    pub fn thaw(&self) -> Result<bool, Broken> {
        self.remove("panic")
    }

    /// Takes the home for this process.
    pub fn lock(&self) -> Result<Lock, Broken> {
        let path = self.0.join("lock");
        let file = private().open(&path).map_err(|source| Broken::Io {
            path: path.clone(),
            source,
        })?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => Err(Broken::Running),
            Err(TryLockError::Error(source)) => Err(Broken::Io { path, source }),
        }
    }

    /// The machine's key, if it has one.
    pub fn key(&self) -> Result<Option<SigningKey>, Broken> {
        let path = self.0.join("key");
        let Some(text) = read(&path)? else {
            return Ok(None);
        };
        match SigningKey::from_text(&text) {
            Ok(key) => Ok(Some(key)),
            Err(why) => Err(damaged(path, why)),
        }
    }

    /// The machine's key, made on first use.
    pub fn make_key(&self) -> Result<SigningKey, Broken> {
        if let Some(key) = self.key()? {
            return Ok(key);
        }
        let key = SigningKey::generate()?;
        self.write("key", &key.to_text())?;
        Ok(key)
    }

    /// Whom this machine is paired with, and the key that may command it.
    pub fn pairing(&self) -> Result<Option<(Pairing, PublicKey)>, Broken> {
        let path = self.0.join("pairing.json");
        let Some(pairing) = read_json::<Pairing>(&path)? else {
            return Ok(None);
        };
        match PublicKey::from_text(&pairing.command_key) {
            Ok(key) => Ok(Some((pairing, key))),
            Err(why) => Err(damaged(path, why)),
        }
    }

    /// Remembers a pairing.
    pub fn pair(&self, pairing: &Pairing) -> Result<(), Broken> {
        self.write_state(&State::default())?;
        self.write_json("pairing.json", pairing)
    }

    /// Forgets key and pairing; the journal and the policy stay.
    pub fn unpair(&self) -> Result<(), Broken> {
        for name in ["pairing.json", "key", "state.json"] {
            self.remove(name)?;
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<bool, Broken> {
        let path = self.0.join(name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Broken::Io { path, source }),
        }
    }

    /// What a bridge last wrote of itself; nothing known where the file is not there or not readable.
    pub fn state(&self) -> State {
        let read = read_json(&self.0.join("state.json"));
        read.ok().flatten().unwrap_or_default()
    }

    /// Writes what `status` shows.
    pub fn write_state(&self, state: &State) -> Result<(), Broken> {
        self.write_json("state.json", state)
    }

    /// Notes that this process runs, and that it has no connection yet, whatever one before it left.
    pub fn begin(&self, process: &Process) -> Result<(), Broken> {
        let before = self.state();
        self.write_state(&State {
            accepted: before.accepted,
            ..State::default()
        })?;
        self.write_json("run.json", process)
    }

    /// The process that began last; whether it still runs, only [`Home::lock`] tells.
    pub fn process(&self) -> Option<Process> {
        read_json(&self.0.join("run.json")).ok().flatten()
    }

    /// Writes one of the home's files whole, readable by its owner alone.
    pub fn write(&self, name: &str, text: &str) -> Result<(), Broken> {
        let path = self.0.join(name);
        let half = self.0.join(format!("{name}.half"));
        let write = || {
            match fs::remove_file(&half) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            let mut file = private().create_new(true).open(&half)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&half, &path)
        };
        write().map_err(|source| Broken::Io {
            path: path.clone(),
            source,
        })
    }

    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Broken> {
        let text =
            serde_json::to_string_pretty(value).map_err(|why| damaged(self.0.join(name), why))?;
        self.write(name, &text)
    }
}

fn read(path: &Path) -> Result<Option<String>, Broken> {
    match fs::read_to_string(path) {
        Ok(text) => {
            only_ours(path)?;
            Ok(Some(text))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Broken::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Broken> {
    let Some(text) = read(path)? else {
        return Ok(None);
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|why| damaged(path.to_owned(), why))
}

fn only_ours(path: &Path) -> Result<(), Broken> {
    let metadata = fs::metadata(path).map_err(|source| Broken::Io {
        path: path.to_owned(),
        source,
    })?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(Broken::Open(path.to_owned()));
    }
    Ok(())
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

fn damaged(path: PathBuf, why: impl std::fmt::Display) -> Broken {
    Broken::Damaged {
        path,
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("home")).unwrap();
        let first = home.make_key().unwrap();
        let second = home.make_key().unwrap();
        assert_eq!(first.public(), second.public());
        let mode = fs::metadata(home.path().join("key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let mode = fs::metadata(home.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("home")).unwrap();
        home.make_key().unwrap();
        let key = home.path().join("key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(home.key(), Err(Broken::Open(path)) if path == key));
    }

    #[test]
    fn a_home_serves_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("home")).unwrap();
        let held = home.lock().unwrap();
        assert!(matches!(home.lock(), Err(Broken::Running)));
        drop(held);
        assert!(home.lock().is_ok());
    }

    #[test]
    fn what_a_killed_bridge_left_is_not_taken_for_a_connection() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("home")).unwrap();
        home.write_state(&State {
            connected: true,
            since: 5,
            last_error: None,
            accepted: true,
        })
        .unwrap();
        let process = Process {
            pid: 7,
            since: 9,
            version: "0.1.0".into(),
            log: None,
        };
        home.begin(&process).unwrap();
        let fresh = State {
            accepted: true,
            ..State::default()
        };
        assert_eq!((home.state(), home.process()), (fresh, Some(process)));
    }

    #[test]
    fn a_home_is_frozen_and_thawed() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("home")).unwrap();
        assert!(!home.panics());
        home.freeze("by hand").unwrap();
        assert!(home.panics());
        assert!(home.thaw().unwrap());
        assert!(!home.panics());
        assert!(!home.thaw().unwrap());
    }

    #[test]
    fn looking_at_a_home_makes_and_mends_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("home");
        assert!(Home::look(&path).unwrap().is_none());
        assert!(!path.exists());
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Home::look(&path).unwrap().is_some());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn unpairing_forgets_key_and_pairing() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("home")).unwrap();
        let key = home.make_key().unwrap();
        let pairing = Pairing {
            worker: "https://bernard.example".into(),
            command_key: key.public().to_text(),
            name: "mac-mini".into(),
            bridge: key.public().id().0,
        };
        home.pair(&pairing).unwrap();
        assert_eq!(home.pairing().unwrap(), Some((pairing, key.public())));
        home.unpair().unwrap();
        assert!(home.key().unwrap().is_none());
        assert!(home.pairing().unwrap().is_none());
    }
}
