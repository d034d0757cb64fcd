//! The policy as it is in force: reread when its owner changes the file, and the last good one if what it has become is broken.
//!
//! A file that is broken, or that others could have written, changes nothing: the last good one stays, over a restart too, and what is told
//! of it says of when that is. While there is no file, nothing is allowed, and whoever reads the policy then forgets what was kept. A file
//! that was gone while nobody looked is a changed one like any other, for so do some editors save: if it is broken, the last good one stays.

use super::{Pin, Policy, Unfit, last};
use crate::home::Home;
use crate::tools::figures::moment;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The most of a fault that is told, in bytes: it travels in the hello.
const FAULT_LIMIT: usize = 1_000;

/// How soon a broken policy is read again although the file is as it was: a folder that it names may have come back.
const AGAIN: Duration = Duration::from_secs(10);

/// The policy as it is in force.
#[derive(Debug)]
pub struct Law {
    home: Home,
    seen: Seen,
    policy: Arc<Policy>,
    /// Since when these are the rules, where there are any.
    since: Option<SystemTime>,
    broken: Option<String>,
    read: Instant,
}

/// Which files were read: the policy, and what is remembered of its programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    policy: Option<Stamp>,
    programs: Option<Stamp>,
}

/// When it was written, its length, its number, and when its mode or owner was changed.
type Stamp = (SystemTime, u64, u64, (i64, i64));

impl Law {
    /// Reads the policy of a home. One that is not there allows nothing; one that is broken is an error.
    pub fn open(home: &Home) -> Result<Self, Unfit> {
        let seen = Seen::of(home);
        let policy = read(home, seen)?;
        Ok(Self::of(home, seen, policy, None))
    }

    /// What a bridge runs under: the policy of a home, or the last good one, where that of now is not accepted. It is an error only
    /// where there is neither.
    pub fn in_force(home: &Home) -> Result<Self, Unfit> {
        let seen = Seen::of(home);
        let broken = match read(home, seen) {
            Ok(policy) => return Ok(Self::of(home, seen, policy, None)),
            Err(broken) => broken,
        };
        match last::read(home) {
            Ok(policy) => {
                let broken = Some(broken.to_string());
                Ok(Self::of(home, seen, policy, broken))
            }
            Err(why) => {
                tracing::error!("the policy is not accepted, and {why}");
                Err(broken)
            }
        }
    }

    fn of(home: &Home, seen: Seen, policy: Policy, broken: Option<String>) -> Self {
        if let Some(error) = &broken {
            tracing::error!("policy not accepted, the last good one stays in force: {error}");
        }
        Self {
            home: home.clone(),
            seen: Seen {
                policy: seen.policy,
                ..Seen::of(home) // reading may have written there
            },
            policy: Arc::new(policy),
            since: last::since(home),
            broken,
            read: Instant::now(),
        }
    }

    /// The policy in force: reread if the file has changed, the last good one if what it has become is broken.
    pub fn current(&mut self) -> Arc<Policy> {
        let now = Seen::of(&self.home);
        let again = self.broken.is_some() && self.read.elapsed() >= AGAIN;
        if now != self.seen || again {
            self.read = Instant::now();
            match read(&self.home, now) {
                Ok(mut policy) => {
                    policy.meter = Arc::clone(&self.policy.meter);
                    tracing::info!("policy reread: {}", policy.summary());
                    self.policy = Arc::new(policy);
                    self.since = last::since(&self.home);
                    self.broken = None;
                }
                Err(error) => {
                    let error = Some(error.to_string());
                    if let Some(error) = error.iter().find(|_| self.broken != error) {
                        tracing::error!(
                            "policy not accepted, the last good one stays in force: {error}"
                        );
                    }
                    self.broken = error;
                }
            }
            self.seen = Seen {
                policy: now.policy,
                ..Seen::of(&self.home)
            };
        }
        Arc::clone(&self.policy)
    }

    /// Why policy.toml is not what is in force, where it is not.
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// What its owner should know about the policy in force, in a sentence or two; nothing where all is well.
    pub fn fault(&self) -> Option<String> {
        let of = self
            .since
            .and_then(seconds)
            .map(|since| format!("of {} UTC", moment(since)));
        let rules = of.as_deref().unwrap_or("before");
        let broken = self.broken.iter().map(|error| {
            format!("policy.toml was changed and is not accepted; the rules {rules} stay in force: {error}")
        });
        let mut told: Vec<String> = broken.collect();
        for rule in &self.policy.commands {
            if let Pin::Broken(why) = &rule.pin
                && !told.contains(why)
            {
                told.push(why.clone());
            }
        }
        let mut text = told.join("\n");
        text.truncate(text.floor_char_boundary(FAULT_LIMIT));
        (!text.is_empty()).then_some(text)
    }
}

impl Seen {
    fn of(home: &Home) -> Self {
        Self {
            policy: stamp(&home.policy()),
            programs: stamp(&home.path().join("programs.json")),
        }
    }
}

fn read(home: &Home, seen: Seen) -> Result<Policy, Unfit> {
    if seen.policy.is_some() {
        return Policy::read(home);
    }
    let gone = fs::symlink_metadata(home.policy());
    if gone.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        last::forget(home);
    }
    Ok(Policy::nothing())
}

fn seconds(time: SystemTime) -> Option<i64> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    let written = metadata.modified().ok()?;
    Some((written, metadata.len(), metadata.ino(), changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_policy_is_read_again_after_a_while_for_a_folder_may_have_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("home")).unwrap();
        let mut law = Law::in_force(&home).unwrap();
        let stick = folder.path().join("stick");
        let path = stick.display();
        let text = format!("[[root]]\nname = \"stick\"\npath = \"{path}\"\naccess = \"read\"\n");
        home.write("policy.toml", &text).unwrap();
        assert!(law.current().roots.is_empty());
        assert!(law.broken().is_some());
        fs::create_dir(&stick).unwrap();
        assert!(law.current().roots.is_empty());
        law.read = Instant::now().checked_sub(AGAIN).unwrap();
        assert_eq!(law.current().roots.len(), 1);
        assert_eq!(law.broken(), None);
    }
}
