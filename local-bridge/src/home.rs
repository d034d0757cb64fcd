//! The bridge's own folder: its key, whom it is paired with, its policy, its journal, and the lock that keeps it to one process.

use crate::keychain::{Keychain, NoKeychain};
use protocol::key::{BadKey, PublicKey, SigningKey, random_text};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The folder that holds everything that a bridge keeps.
#[derive(Debug, Clone)]
pub struct Home {
    path: PathBuf,
    keychain: Keychain,
}

/// Where the key is to lie, as its owner wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// In the keychain where there is one that is open; else in a file.
    Auto,
    /// In the keychain or nowhere.
    Keychain,
    /// In a file.
    File,
}

/// Where the key lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// In the system's keychain.
    Keychain,
    /// In a file that only its owner can read.
    File,
}

/// The machine's key and where it lies.
#[derive(Debug)]
pub struct Made {
    /// The key.
    pub key: SigningKey,
    /// Where it lies.
    pub kept: Kept,
    /// Why it is not in the keychain, where that was tried.
    pub why_not: Option<NoKeychain>,
}

/// Files of which a bridge's folder has one or another from its first day on.
const FILES: [&str; 12] = [
    "lock",
    "policy.toml",
    "key",
    ITEM,
    "pairing.json",
    "panic",
    "journal.db",
    "undo.db",
    "run.json",
    "state.json",
    "background.json",
    "approver.toml",
];

/// The file that names the keychain's item.
const ITEM: &str = "keychain";

/// How a file is called that is being written.
const HALF: &str = "half";

/// How old such a file is when nobody can be writing it any more.
const STALE: Duration = Duration::from_hours(1);

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

/// Keeps others who wait for their turn from changing the home's files by what they hold.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "the open folder is the lock")] File);

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
    #[error(
        "{path} is damaged ({why}); run: local-bridge unpair, then pair again with a fresh link from /pair"
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        why: String,
    },
    /// The folder holds other things, and nothing of a bridge's: it would be closed to everyone else.
    #[error(
        "{0} is not local-bridge's: it holds other things; name a folder of its own with --home"
    )]
    Foreign(PathBuf),
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
    /// The keychain has the key and does not give it. A new one is never made for it: the Worker would not know that.
    #[error("this machine's key lies in the system's keychain: {0}")]
    Keychain(NoKeychain),
    /// The keychain that its owner wants does not work.
    #[error("the key cannot be kept in the system's keychain: {0}; --keys file keeps it in a file")]
    Unkept(NoKeychain),
    /// The keychain still has the key.
    #[error(
        "the key is still in the system's keychain: {why}; run local-bridge unpair again when that answers, or give it up: rm '{item}'"
    )]
    Left {
        /// Why.
        why: NoKeychain,
        /// The file that names the item.
        item: PathBuf,
    },
}

impl Home {
    /// Opens the folder, making it for its owner alone where it is not there.
    pub fn open(path: &Path) -> Result<Self, Broken> {
        let at = |source| Broken::Io {
            path: path.to_owned(),
            source,
        };
        only_a_folder(path)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(at)?;
        let path = path.canonicalize().map_err(at)?;
        if is_foreign(&path).map_err(at)? {
            return Err(Broken::Foreign(path));
        }
        let ours = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&path, ours).map_err(|source| Broken::Io {
            path: path.clone(),
            source,
        })?;
        Ok(Self::at(path))
    }

    fn at(path: PathBuf) -> Self {
        Self {
            path,
            keychain: Keychain::own(),
        }
    }

    /// The same with another keychain.
    #[must_use]
    pub fn with(self, keychain: Keychain) -> Self {
        Self { keychain, ..self }
    }

    /// The folder as it is, nothing made and nothing put right; `None` where there is none.
    pub fn look(path: &Path) -> Result<Option<Self>, Broken> {
        only_a_folder(path)?;
        match path.canonicalize() {
            Ok(path) => Ok(Some(Self::at(path))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Broken::Io {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the policy lies.
    pub fn policy(&self) -> PathBuf {
        self.path.join("policy.toml")
    }

    /// Where the journal lies.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal.db")
    }

    /// Where commands find their HOME and TMPDIR.
    pub fn scratch(&self) -> PathBuf {
        self.path.join("scratch")
    }

    /// Where all that commands wrote is kept for a while.
    pub fn outputs(&self) -> PathBuf {
        self.path.join("output")
    }

    /// Where a running bridge logs to.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// While a file `panic` lies in the home, every call is refused.
    pub fn panics(&self) -> bool {
        // A file that cannot be looked at counts as there: the safe reading of an unclear sign.
        self.path.join("panic").try_exists().unwrap_or(true)
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
        let path = self.path.join("lock");
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

    /// Waits for its turn to change a file by what it holds: nobody else who waits for theirs does so while the value lives.
    pub fn turn(&self) -> Result<Turn, Broken> {
        // The folder itself is locked: the file is another one after each change.
        let folder = File::open(&self.path).and_then(|folder| folder.lock().map(|()| folder));
        let folder = folder.map_err(|source| Broken::Io {
            path: self.path.clone(),
            source,
        })?;
        Ok(Turn(folder))
    }

    /// The machine's key, if it has one, from wherever it lies.
    pub fn key(&self) -> Result<Option<SigningKey>, Broken> {
        let path = self.path.join("key");
        let text = match (read(&path)?, self.item()?) {
            (Some(text), _) => text,
            (None, None) => return Ok(None),
            (None, Some(item)) => {
                let found = self.keychain.find(&item).map_err(Broken::Keychain)?;
                found.ok_or(Broken::Keychain(NoKeychain::Gone))?
            }
        };
        match SigningKey::from_text(&text) {
            Ok(key) => Ok(Some(key)),
            Err(why) => Err(damaged(path, why)),
        }
    }

    /// Where the key lies; nothing where there is none.
    pub fn kept(&self) -> Option<Kept> {
        let there = |name: &str| self.path.join(name).exists();
        if there("key") {
            Some(Kept::File)
        } else {
            there(ITEM).then_some(Kept::Keychain)
        }
    }

    /// Where that is, in words.
    pub fn lies(&self, kept: Kept) -> String {
        match kept {
            Kept::Keychain => "the system's keychain".to_owned(),
            Kept::File => format!(
                "{}, a file that only you can read",
                self.path.join("key").display()
            ),
        }
    }

    /// The keychain, and what its item is called if it has one of this home's.
    pub fn keychain(&self) -> Result<(&Keychain, Option<String>), Broken> {
        Ok((&self.keychain, self.item()?))
    }

    fn item(&self) -> Result<Option<String>, Broken> {
        read(&self.path.join(ITEM))
    }

    /// The machine's key, made on first use and kept in a file.
    pub fn make_key(&self) -> Result<SigningKey, Broken> {
        Ok(self.make_key_in(Wish::File)?.key)
    }

    /// The machine's key, made on first use, and kept or moved to where its owner wishes.
    pub fn make_key_in(&self, wish: Wish) -> Result<Made, Broken> {
        let (key, lies) = match self.key()? {
            Some(key) => (key, self.kept()),
            None => (SigningKey::generate()?, None),
        };
        let (kept, why_not) = match (wish, lies) {
            (Wish::Auto, Some(kept)) => (kept, None),
            (Wish::Keychain, Some(Kept::Keychain)) => (Kept::Keychain, None),
            (Wish::Keychain, Some(Kept::File) | None) | (Wish::Auto, None) => {
                match self.keep_in_keychain(&key)? {
                    Ok(()) => (Kept::Keychain, None),
                    Err(no) if wish == Wish::Keychain => return Err(Broken::Unkept(no)),
                    Err(no) => {
                        self.keep_in_file(&key)?;
                        (Kept::File, Some(no))
                    }
                }
            }
            (Wish::File, Some(Kept::File | Kept::Keychain) | None) => {
                self.keep_in_file(&key)?;
                (Kept::File, None)
            }
        };
        Ok(Made { key, kept, why_not })
    }

    /// Puts the key into the keychain, if that can be relied on, and only then takes it away from where it lay.
    fn keep_in_keychain(&self, key: &SigningKey) -> Result<Result<(), NoKeychain>, Broken> {
        let item = format!("key {}", random_text()?); // several homes, several keys
        let kept = self.keychain.try_out();
        let kept = kept.and_then(|()| self.keychain.keep(&item, &key.to_text()));
        if kept.is_ok() {
            if let Err(error) = self.write(ITEM, &item) {
                self.keychain.remove(&item).ok(); // nobody would know its name
                return Err(error);
            }
            self.remove("key")?;
        }
        Ok(kept)
    }

    fn keep_in_file(&self, key: &SigningKey) -> Result<(), Broken> {
        self.write("key", &key.to_text())?;
        self.forget_item()
    }

    /// Takes the key out of the keychain, if it is there.
    fn forget_item(&self) -> Result<(), Broken> {
        let Some(item) = self.item()? else {
            return Ok(());
        };
        self.keychain.remove(&item).map_err(|why| Broken::Left {
            why,
            item: self.path.join(ITEM),
        })?;
        self.remove(ITEM)?;
        Ok(())
    }

    /// Whom this machine is paired with, and the key that may command it.
    pub fn pairing(&self) -> Result<Option<(Pairing, PublicKey)>, Broken> {
        let path = self.path.join("pairing.json");
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
        self.forget_item()
    }

    fn remove(&self, name: &str) -> Result<bool, Broken> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Broken::Io { path, source }),
        }
    }

    /// What a bridge last wrote of itself; nothing known where the file is not there or not readable.
    pub fn state(&self) -> State {
        let read = read_json(&self.path.join("state.json"));
        read.ok().flatten().unwrap_or_default()
    }

    /// Writes what `status` shows.
    pub fn write_state(&self, state: &State) -> Result<(), Broken> {
        self.write_json("state.json", state)
    }

    /// Notes that this process runs, and that it has no connection yet, whatever one before it left. Half files go that are stale.
    pub fn begin(&self, process: &Process) -> Result<(), Broken> {
        if let Err(error) = self.sweep() {
            tracing::warn!("half files in the home could not be swept: {error}");
        }
        let before = self.state();
        self.write_state(&State {
            accepted: before.accepted,
            ..State::default()
        })?;
        self.write_json("run.json", process)
    }

    /// The process that began last; whether it still runs, only [`Home::lock`] tells.
    pub fn process(&self) -> Option<Process> {
        read_json(&self.path.join("run.json")).ok().flatten()
    }

    /// Writes one of the home's files whole, readable by its owner alone.
    pub fn write(&self, name: &str, text: &str) -> Result<(), Broken> {
        let path = self.path.join(name);
        // A name of its own: several processes may write at the same time.
        let half = format!("{name}.{}.{HALF}", random_text()?);
        let half = self.path.join(half);
        let write = || {
            let mut file = private().create_new(true).open(&half)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&half, &path)
        };
        write().map_err(|source| {
            fs::remove_file(&half).ok(); // the first error is the one to tell
            Broken::Io { path, source }
        })
    }

    /// Takes away what crashes left of files that were being written.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let is_half = entry.path().extension().is_some_and(|end| end == HALF);
            let age = metadata.modified()?.elapsed();
            if is_half && metadata.is_file() && age.is_ok_and(|age| age > STALE) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Broken> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|why| damaged(self.path.join(name), why))?;
        self.write(name, &text)
    }
}

/// What is there must be a folder.
fn only_a_folder(path: &Path) -> Result<(), Broken> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => Err(Broken::Io {
            path: path.to_owned(),
            source: io::ErrorKind::NotADirectory.into(),
        }),
        Ok(_) | Err(_) => Ok(()), // whatever else is wrong shows when it is used
    }
}

/// Whether a folder holds something, and none of the files that make it a bridge's.
fn is_foreign(path: &Path) -> io::Result<bool> {
    let ours = |name: &&str| {
        let metadata = fs::symlink_metadata(path.join(name));
        metadata.is_ok_and(|metadata| metadata.is_file())
    };
    Ok(fs::read_dir(path)?.next().is_some() && !FILES.iter().any(ours))
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
    use crate::keychain::tests::Fake;

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
    fn who_writes_at_the_same_time_writes_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("home")).unwrap();
        let texts = ["one".repeat(500), "two".repeat(500)];
        std::thread::scope(|scope| {
            for text in &texts {
                scope.spawn(|| {
                    for _ in 0..100 {
                        home.write("state.json", text).unwrap();
                    }
                });
            }
        });
        let written = fs::read_to_string(home.path().join("state.json")).unwrap();
        assert!(texts.contains(&written));
        fs::create_dir(home.path().join("panic")).unwrap();
        assert!(home.write("panic", "no file can take its place").is_err());
        assert_eq!(names(&home), ["panic", "state.json"]);
    }

    #[test]
    fn half_files_that_a_crash_left_are_swept_when_a_bridge_begins_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("home")).unwrap();
        let old = std::time::SystemTime::now() - STALE - Duration::from_secs(1);
        for (name, is_old) in [
            ("a.half", true),
            ("b.half", false),
            ("key", true),
            ("half", true),
        ] {
            let file = File::create(home.path().join(name)).unwrap();
            if is_old {
                file.set_modified(old).unwrap();
            }
        }
        let process = Process {
            pid: 7,
            since: 9,
            version: "0.1.0".into(),
            log: None,
        };
        home.begin(&process).unwrap();
        let left = ["b.half", "half", "key", "run.json", "state.json"];
        assert_eq!(names(&home), left);
    }

    fn names(home: &Home) -> Vec<String> {
        let names = fs::read_dir(home.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
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

    fn with(fake: &Fake) -> (tempfile::TempDir, Home) {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("home")).unwrap();
        (folder, home.with(fake.keychain()))
    }

    fn told(broken: Result<Option<SigningKey>, Broken>) -> String {
        broken.map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn a_key_is_kept_in_a_keychain_that_works_and_in_no_file() {
        let fake = Fake::new();
        let (_folder, home) = with(&fake);
        let made = home.make_key_in(Wish::Auto).unwrap();
        assert_eq!((made.kept, made.why_not), (Kept::Keychain, None));
        assert_eq!(home.kept(), Some(Kept::Keychain));
        assert_eq!(home.key().unwrap().unwrap().to_text(), made.key.to_text());
        for entry in fs::read_dir(home.path()).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            assert!(!text.contains(&made.key.to_text()));
        }
        assert!(!fake.arguments().contains(&made.key.to_text()));
        let again = home.make_key_in(Wish::Auto).unwrap();
        assert_eq!(again.key.to_text(), made.key.to_text());
        home.unpair().unwrap();
        assert_eq!((fake.items().len(), home.kept()), (0, None));
    }

    #[test]
    fn a_key_whose_items_name_cannot_be_noted_does_not_stay_in_the_keychain() {
        let fake = Fake::new();
        let (_folder, home) = with(&fake);
        fs::create_dir(home.path().join(ITEM)).unwrap();
        let key = SigningKey::generate().unwrap();
        assert!(matches!(
            home.keep_in_keychain(&key),
            Err(Broken::Io { .. })
        ));
        assert_eq!(fake.items(), [""; 0]);
    }

    #[test]
    fn a_key_whose_keychain_is_closed_is_never_made_anew() {
        let fake = Fake::new();
        let (_folder, home) = with(&fake);
        let key = home.make_key_in(Wish::Auto).unwrap().key.to_text();
        fake.is("locked", true);
        let locked = "this machine's key lies in the system's keychain: the keychain is locked; log in at the screen, or unlock it there (a service then goes on by itself)";
        assert_eq!(told(home.key()), locked);
        for wish in [Wish::Auto, Wish::Keychain, Wish::File] {
            let refused = home.make_key_in(wish).unwrap_err();
            assert_eq!(refused.to_string(), locked, "{wish:?}");
        }
        let item = home.path().join(ITEM);
        assert_eq!(
            home.unpair().unwrap_err().to_string(),
            format!(
                "the key is still in the system's keychain: the keychain is locked; log in at the screen, or unlock it there (a service then goes on by itself); run local-bridge unpair again when that answers, or give it up: rm '{}'",
                item.display()
            )
        );
        fake.is("locked", false);
        assert_eq!(home.key().unwrap().unwrap().to_text(), key);
        let name = fs::read_to_string(item).unwrap();
        home.keychain.remove(&name).unwrap();
        assert!(matches!(
            home.key(),
            Err(Broken::Keychain(NoKeychain::Gone))
        ));
        home.unpair().unwrap();
        assert!(home.key().unwrap().is_none());
    }

    #[test]
    fn without_a_keychain_a_key_lies_in_a_file_unless_that_is_not_wished() {
        let fake = Fake::new();
        fake.is("locked", true);
        let (_folder, home) = with(&fake);
        let refused = home.make_key_in(Wish::Keychain).unwrap_err();
        assert!(matches!(refused, Broken::Unkept(NoKeychain::Locked)));
        assert_eq!(home.kept(), None);
        let made = home.make_key_in(Wish::Auto).unwrap();
        assert_eq!(
            (made.kept, made.why_not),
            (Kept::File, Some(NoKeychain::Locked))
        );
        assert_eq!(home.kept(), Some(Kept::File));
    }

    #[test]
    fn a_key_is_moved_to_where_its_owner_wishes() {
        let fake = Fake::new();
        let (_folder, home) = with(&fake);
        let key = home.make_key().unwrap().to_text();
        assert_eq!((home.kept(), fake.items().len()), (Some(Kept::File), 0));
        for (wish, kept, items) in [
            (Wish::Auto, Kept::File, 0),
            (Wish::Keychain, Kept::Keychain, 1),
            (Wish::Keychain, Kept::Keychain, 1),
            (Wish::Auto, Kept::Keychain, 1),
            (Wish::File, Kept::File, 0),
        ] {
            let made = home.make_key_in(wish).unwrap();
            assert_eq!((made.kept, made.key.to_text()), (kept, key.clone()));
            assert_eq!((home.kept(), fake.items().len()), (Some(kept), items));
            assert_eq!(home.key().unwrap().unwrap().to_text(), key);
        }
    }

    #[test]
    fn a_folder_of_other_things_is_not_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let (other, file) = (folder.path().join("other"), folder.path().join("file"));
        fs::create_dir(&other).unwrap();
        fs::create_dir(other.join("lock")).unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
        let real = other.canonicalize().unwrap();
        assert!(matches!(Home::open(&other), Err(Broken::Foreign(path)) if path == real));
        let mode = fs::metadata(&other).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        fs::write(other.join("policy.toml"), "").unwrap();
        assert!(Home::open(&other).is_ok());
        fs::write(&file, "").unwrap();
        for opened in [Home::open(&file).map(|_| ()), Home::look(&file).map(|_| ())] {
            let said = opened.unwrap_err().to_string();
            assert!(said.ends_with("file: not a directory"), "{said}");
        }
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
