//! The last good policy: the text that was last accepted, kept in the bridge's home for a start at which policy.toml is broken.

use super::{Policy, only_the_owners, pins};
use crate::home::Home;
use protocol::key::sha256_hex;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::time::SystemTime;

/// The file in the bridge's home. No root holds it: a home is never opened.
const FILE: &str = "policy.last.json";

/// A policy as it was accepted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    sha256: String,
    text: String,
}

/// Keeps a text that was accepted just now.
pub(super) fn keep(home: &Home, policy: &Policy, text: String) {
    if kept(home).is_ok_and(|kept| kept.sha256 == policy.sha256) {
        return;
    }
    let kept = Kept {
        sha256: policy.sha256.clone(),
        text,
    };
    let json = serde_json::to_string_pretty(&kept).unwrap_or_default(); // two texts always serialise
    if let Err(error) = home.write(FILE, &json) {
        tracing::warn!(
            "the policy is in force and could not be kept as the last good one: {error}"
        );
        forget(home); // an older one must not come back in its place
    }
}

/// Forgets what was kept.
pub(super) fn forget(home: &Home) {
    match fs::remove_file(home.path().join(FILE)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!("the last good policy could not be forgotten: {error}"),
    }
}

/// Since when the last good policy is that.
pub(super) fn since(home: &Home) -> Option<SystemTime> {
    fs::metadata(home.path().join(FILE)).ok()?.modified().ok()
}

/// The last policy that was accepted, if it still is one; else why there is none.
pub(super) fn read(home: &Home) -> Result<Policy, String> {
    let told = |error: &dyn std::fmt::Display| format!("there is no last good one: {error}");
    let kept = kept(home).map_err(|error| told(&error))?;
    let mut policy = Policy::parse(&kept.text, home.path()).map_err(|error| told(&error))?;
    pins::settle(home, &mut policy);
    Ok(policy)
}

/// What was kept, if only this account can have written it and it is whole.
fn kept(home: &Home) -> io::Result<Kept> {
    let path = home.path().join(FILE);
    only_the_owners(home.path(), &fs::metadata(home.path())?).map_err(io::Error::other)?;
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed());
    let mut file = options.open(&path)?;
    let metadata = file.metadata()?;
    only_the_owners(&path, &metadata).map_err(io::Error::other)?;
    let ours = metadata.is_file() && metadata.nlink() == 1;
    if !ours || metadata.permissions().mode() & 0o077 != 0 {
        return Err(io::Error::other(format!("{FILE} is not its owner's alone")));
    }
    let mut json = String::new();
    file.read_to_string(&mut json)?;
    let kept: Kept = serde_json::from_str(&json)?;
    if sha256_hex(kept.text.as_bytes()) != kept.sha256 {
        return Err(io::Error::other(format!("{FILE} is damaged")));
    }
    Ok(kept)
}
