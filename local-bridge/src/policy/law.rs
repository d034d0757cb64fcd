//! The policy as it is in force: reread when its owner changes the file, and the last good one if what it has become is broken.

use super::{Pin, Policy, Unfit};
use crate::home::Home;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// The most of a fault that is told, in bytes: it travels in the hello.
const FAULT_LIMIT: usize = 1_000;

/// The policy as it is in force.
#[derive(Debug)]
pub struct Law {
    home: Home,
    seen: Seen,
    policy: Arc<Policy>,
    broken: Option<String>,
}

/// Which files were read: the policy, and what is remembered of its programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    policy: Option<Stamp>,
    programs: Option<Stamp>,
}

type Stamp = (SystemTime, u64, u64);

impl Law {
    /// Reads the policy of a home. One that is not there allows nothing; one that is broken is an error.
    pub fn open(home: &Home) -> Result<Self, Unfit> {
        let seen = Seen::of(home);
        let policy = read(home, seen)?;
        Ok(Self {
            home: home.clone(),
            seen: Seen {
                policy: seen.policy,
                ..Seen::of(home) // reading may have written there
            },
            policy: Arc::new(policy),
            broken: None,
        })
    }

    /// The policy in force: reread if the file has changed, the last good one if what it has become is broken.
    pub fn current(&mut self) -> Arc<Policy> {
        let now = Seen::of(&self.home);
        if now != self.seen {
            match read(&self.home, now) {
                Ok(mut policy) => {
                    policy.meter = Arc::clone(&self.policy.meter);
                    tracing::info!("policy reread: {}", policy.summary());
                    self.policy = Arc::new(policy);
                    self.broken = None;
                }
                Err(error) => {
                    tracing::error!(
                        "policy not accepted, the last good one stays in force: {error}"
                    );
                    self.broken = Some(error.to_string());
                }
            }
            self.seen = Seen {
                policy: now.policy,
                ..Seen::of(&self.home)
            };
        }
        Arc::clone(&self.policy)
    }

    /// What its owner should know about the policy in force, in a sentence or two; nothing where all is well.
    pub fn fault(&self) -> Option<String> {
        let broken = self.broken.iter().map(|error| {
            format!("policy.toml was changed and is not accepted; the rules before stay in force: {error}")
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
        Policy::read(home)
    } else {
        Ok(Policy::nothing())
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}
