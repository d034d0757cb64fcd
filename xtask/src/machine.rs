//! What the machine must have before anything can be built, and how to get it.

use std::{env, fmt, path::Path};

use anyhow::{Result, bail};

use crate::process::{capture, program};

/// The oldest versions that work.
const RUST: Version = Version(1, 95);
const NODE: Version = Version(18, 0); // runs npm, which brings a Node for wrangler
/// The oldest Node that wrangler and the end-to-end tests run on.
pub(crate) const WRANGLER_NODE: Version = Version(22, 12);

/// The part of a version that matters here: major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(u32, u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The first version in a program's own words, such as `rustc 1.95.0 (59807616e 2026-04-14)` or `v20.20.2`.
pub(crate) fn version(text: &str) -> Option<Version> {
    text.split_whitespace().find_map(|word| {
        let mut numbers = word.trim_start_matches('v').split('.').map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Some(Version(major, minor)),
            (_, _) => None,
        }
    })
}

/// The version of a program on the PATH, or `None` if there is none.
pub(crate) fn installed(name: impl AsRef<std::ffi::OsStr>) -> Option<Version> {
    let mut command = program(name, Path::new("."));
    command.arg("--version");
    capture(command).ok().as_deref().and_then(version)
}

/// Checks for everything that this program cannot install by itself, and names all that is missing at once.
pub(crate) fn check() -> Result<()> {
    let mut missing = Vec::new();
    let rust = installed("rustc");
    if rust.is_none_or(|found| found < RUST) {
        missing.push(format!(
            "Rust {RUST} or newer ({}): `rustup update stable`, or install rustup from https://rustup.rs",
            found(rust)
        ));
    }
    let node = installed("node");
    if node.is_none_or(|found| found < NODE) || installed("npm").is_none() {
        missing.push(format!(
            "Node {NODE} or newer with npm ({}): https://nodejs.org, your system's package manager, or `brew install node`",
            found(node)
        ));
    }
    if !has_c_compiler() {
        missing.push(format!(
            "a C compiler, which SQLite is built with: {}",
            c_compiler_advice()
        ));
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "this machine lacks something:\n  - {}",
        missing.join("\n  - ")
    )
}

fn found(version: Option<Version>) -> String {
    version.map_or("there is none".to_owned(), |version| {
        format!("found {version}")
    })
}

fn has_c_compiler() -> bool {
    let name = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let name = name.split_whitespace().next().unwrap_or("cc").to_owned(); // CC may carry flags
    let mut command = program(name, Path::new("."));
    command.arg("--version");
    capture(command).is_ok()
}

fn c_compiler_advice() -> &'static str {
    if cfg!(target_os = "macos") {
        "`xcode-select --install`"
    } else {
        "`sudo apt-get install build-essential`, `sudo dnf install gcc` or your system's like"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(
            version("rustc 1.95.0 (59807616e 2026-04-14)\n"),
            Some(Version(1, 95))
        );
        assert_eq!(version("v20.20.2\n"), Some(Version(20, 20)));
        assert_eq!(version("11.19.1"), Some(Version(11, 19)));
        assert_eq!(
            version("Chromium 156.0.8078.73 built on Debian"),
            Some(Version(156, 0))
        );
        assert_eq!(version("no number here"), None);
    }

    #[test]
    fn versions_compare_by_number_and_not_by_text() {
        assert!(version("v9.1.0") < version("v18.0.0"));
        assert!(version("v22.2.0") < Some(WRANGLER_NODE));
        assert!(version("v22.12.0") >= Some(WRANGLER_NODE));
    }
}
