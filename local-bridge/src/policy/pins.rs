//! A program stays the one that was allowed: what its bytes were is remembered, and what has become of them is refused until the owner
//! says that it is right. What is hashed is what is started.

use super::{Command, Pin, Policy, Unfit};
use crate::home::Home;
use protocol::key::hex;
use rustix::io::{FdFlags, fcntl_setfd};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The file in the bridge's home.
const FILE: &str = "programs.json";

/// A program, as it was when it was allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    sha256: String,
}

type Book = BTreeMap<PathBuf, Known>;

/// A program that is another one than was allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Where it lies.
    pub program: PathBuf,
    /// The SHA-256 of what was allowed, lower-case hex; none where it could not be remembered.
    pub before: Option<String>,
    /// The SHA-256 of what lies there now.
    pub now: String,
}

/// A program, open and seen to be the one that was allowed.
#[derive(Debug)]
pub struct Held {
    file: File,
    script: bool,
    path: PathBuf,
}

/// The SHA-256 of what lies at a path, lower-case hex.
pub(super) fn pin(program: &Path) -> io::Result<String> {
    sha256(&File::open(program)?)
}

/// Compares a policy's programs with those that were allowed before, and remembers those that are new.
pub(super) fn settle(home: &Home, policy: &mut Policy) {
    let (book, unreadable) = match read(home) {
        Ok(book) => (book, None),
        Err(error) => (Book::new(), Some(error.to_string())),
    };
    let mut grown = book.clone();
    for (program, now) in pinned(policy) {
        grown.entry(program).or_insert(Known { sha256: now });
    }
    let unwritten = if unreadable.is_none() && grown != book {
        write(home, &grown).err().map(|error| error.to_string())
    } else {
        None
    };
    for rule in &mut policy.commands {
        let Pin::To(now) = &rule.pin else {
            continue;
        };
        let shown = rule.program.display();
        let known = book.get(&rule.program);
        if let Some(why) = &unreadable {
            rule.pin = Pin::Broken(format!(
                "it is not known whether {shown} is still the program that was allowed: {why}; run: local-bridge policy check --accept"
            ));
        } else if let Some(known) = known.filter(|known| known.sha256 != *now) {
            rule.pin = Pin::Broken(told(&rule.program, &known.sha256, now));
        } else if let (None, Some(why)) = (known, &unwritten) {
            rule.pin = Pin::Broken(format!("{shown} cannot be remembered: {why}"));
        }
    }
}

/// The programs of a home's policy that are others than were allowed.
pub fn changed(home: &Home) -> Result<Vec<Changed>, Unfit> {
    let (policy, _) = Policy::looked_at(home)?;
    let book = read(home);
    let changed = pinned(&policy).into_iter().filter_map(|(program, now)| {
        let before = match &book {
            Ok(book) => Some(book.get(&program)?.sha256.clone()),
            Err(_) => None,
        };
        (before.as_ref() != Some(&now)).then_some(Changed {
            program,
            before,
            now,
        })
    });
    Ok(changed.collect())
}

/// Remembers programs as they are now, because their owner says so.
pub fn accept(home: &Home, programs: &[Changed]) -> Result<(), Unfit> {
    // A book that cannot be read is made anew; what is not accepted here is then remembered at the next start.
    let mut book = read(home).unwrap_or_default();
    for program in programs {
        let known = Known {
            sha256: program.now.clone(),
        };
        book.insert(program.program.clone(), known);
    }
    write(home, &book).map_err(|source| Unfit::Io {
        path: home.path().join(FILE),
        source,
    })
}

impl Changed {
    /// One paragraph: what has changed, who can have done it, and what to do.
    pub fn told(&self) -> String {
        match &self.before {
            Some(before) => told(&self.program, before, &self.now),
            None => format!("{} is not remembered", self.program.display()),
        }
    }
}

impl Command {
    /// Opens the rule's program and looks whether it is the one that was allowed; else says why not.
    pub fn hold(&self) -> Result<Held, String> {
        let allowed = match &self.pin {
            Pin::To(sha256) => sha256,
            Pin::Broken(why) => return Err(why.clone()),
            Pin::Free => return Err("no program belongs to this rule".to_owned()),
        };
        let program = &self.program;
        let failed = |error: io::Error| format!("{} cannot be read: {error}", program.display());
        let file = File::open(program).map_err(failed)?;
        let before = file.metadata().map_err(failed)?;
        let now = sha256(&file).map_err(failed)?;
        let after = file.metadata().map_err(failed)?;
        if now != *allowed || identity(&before) != identity(&after) {
            return Err(told(program, allowed, &now));
        }
        let script = is_script(&file).map_err(failed)?;
        Ok(Held {
            file,
            script,
            path: program.clone(),
        })
    }
}

impl Held {
    /// The rule with the opened file in its program's place, where the system can start one by its handle. A script's interpreter could
    /// not open it, and macOS has no such way: there the path is looked at once more, right before the start.
    pub fn in_place_of(&self, rule: &Command, inherited: bool) -> Result<Command, String> {
        let mut rule = rule.clone();
        if let Some(path) = self.by_handle() {
            if inherited {
                // The fence is a program of its own, which closes all that it does not use before the command begins.
                fcntl_setfd(&self.file, FdFlags::empty()).map_err(|error| error.to_string())?;
            }
            rule.program = path;
            return Ok(rule);
        }
        let same = |path: &Path| -> io::Result<bool> {
            Ok(identity(&fs::metadata(path)?) == identity(&self.file.metadata()?))
        };
        match same(&self.path) {
            Ok(true) => Ok(rule),
            Ok(false) => Err(format!("{} was changed just now", self.path.display())),
            Err(error) => Err(format!("{} cannot be read: {error}", self.path.display())),
        }
    }

    #[cfg(target_os = "linux")]
    fn by_handle(&self) -> Option<PathBuf> {
        use std::os::fd::AsRawFd;
        let handle = self.file.as_raw_fd();
        (!self.script).then(|| PathBuf::from(format!("/proc/self/fd/{handle}")))
    }

    #[cfg(not(target_os = "linux"))]
    fn by_handle(&self) -> Option<PathBuf> {
        let _ = self.script;
        None
    }
}

/// Every program that a policy may start, once, with what it is now.
fn pinned(policy: &Policy) -> BTreeMap<PathBuf, String> {
    let rules = policy.commands.iter();
    let pins = rules.filter_map(|rule| match &rule.pin {
        Pin::To(sha256) => Some((rule.program.clone(), sha256.clone())),
        Pin::Free | Pin::Broken(_) => None,
    });
    pins.collect()
}

fn told(program: &Path, before: &str, now: &str) -> String {
    let short = |sha256: &str| sha256.chars().take(12).collect::<String>();
    format!(
        "{} is not the program that was allowed (SHA-256 {}…, now {}…); {}. If that is right, its owner runs: local-bridge policy check --accept",
        program.display(),
        short(before),
        short(now),
        who_could(program)
    )
}

/// Who can have changed a file: that tells an update from anything else.
fn who_could(program: &Path) -> &'static str {
    let of_the_system = |path: &Path| {
        fs::metadata(path)
            .is_ok_and(|meta| meta.uid() == 0 && meta.permissions().mode() & 0o022 == 0)
    };
    if of_the_system(program) && program.parent().is_some_and(of_the_system) {
        "only the system's administrator can change it, so an update is likely"
    } else {
        "others than the system's administrator can change it"
    }
}

fn identity(metadata: &Metadata) -> (u64, u64, u64, i64, i64, i64, i64) {
    (
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    )
}

fn is_script(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let mut begin = [0; 2];
    let read = file.read_at(&mut begin, 0)?;
    Ok(read < 2 || begin == *b"#!")
}

fn sha256(mut file: &File) -> io::Result<String> {
    let mut hash = hmac_sha256::Hash::new();
    let mut bytes = vec![0; 256 * 1024];
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(hex(&hash.finalize())),
            count => hash.update(&bytes[..count]),
        }
    }
}

fn read(home: &Home) -> io::Result<Book> {
    let path = home.path().join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Book::new()),
        Err(error) => return Err(error),
    };
    if fs::metadata(&path)?.permissions().mode() & 0o022 != 0 {
        return Err(io::Error::other(format!("{FILE} can be changed by others")));
    }
    serde_json::from_str(&text).map_err(|error| io::Error::other(format!("{FILE}: {error}")))
}

fn write(home: &Home, book: &Book) -> io::Result<()> {
    let text = serde_json::to_string_pretty(book)?;
    home.write(FILE, &text).map_err(io::Error::other)
}
