//! What the dependencies may be: under which licences, and from where.

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{process::capture, workspace::Workspace};

/// Licences under which a dependency may be built in; `deny.toml` says the same to cargo-deny.
const ALLOWED: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Checks every Rust package and the JavaScript lock file; says how many packages there are.
pub(crate) fn check(workspace: &Workspace) -> Result<String> {
    let metadata = capture(workspace.cargo(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("reading cargo metadata")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists packages")?;
    let mut objections: Vec<String> = packages.iter().filter_map(objection).collect();
    for file in ["package-lock.json", ".npmrc"] {
        let text = fs::read_to_string(workspace.root.join(file))
            .with_context(|| format!("reading {file}"))?;
        objections.extend(addresses(&text).map(|line| format!("{file} names an address: {line}")));
    }
    if objections.is_empty() {
        return Ok(format!("{} packages", packages.len()));
    }
    bail!("{}", objections.join("\n"))
}

/// What is wrong with one package of `cargo metadata`, if anything is.
fn objection(package: &Value) -> Option<String> {
    let name = format!("{} {}", text(&package["name"]), text(&package["version"]));
    let source = text(&package["source"]);
    if !is_from_crates_io(source) && !package["source"].is_null() {
        return Some(format!("{name} comes from {source}, not from crates.io"));
    }
    let licence = text(&package["license"]);
    match allowed(licence) {
        Ok(true) => None,
        Ok(false) => Some(format!(
            "{name}: the licence {licence:?} is not on the list"
        )),
        Err(problem) => Some(format!(
            "{name}: the licence {licence:?} cannot be read: {problem}"
        )),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn is_from_crates_io(source: &str) -> bool {
    source.starts_with("registry+") && source.ends_with("/rust-lang/crates.io-index")
}

/// The lines of a lock file or a client's settings that say where packages come from: each machine knows that itself.
fn addresses(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| {
        let tells = line.starts_with("\"resolved\"") || line.contains("registry=");
        tells && (line.contains("http:") || line.contains("https:"))
    })
}

/// Whether an SPDX expression can be fulfilled with licences of the list.
fn allowed(expression: &str) -> Result<bool> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect(); // a stack, next word last
    let verdict = any_of(&mut words)?;
    match words.pop() {
        None => Ok(verdict),
        Some(word) => bail!("nothing should follow before {word:?}"),
    }
}

fn any_of(words: &mut Vec<&str>) -> Result<bool> {
    let mut verdict = all_of(words)?;
    while words.pop_if(|word| *word == "OR").is_some() {
        verdict |= all_of(words)?;
    }
    Ok(verdict)
}

fn all_of(words: &mut Vec<&str>) -> Result<bool> {
    let mut verdict = one(words)?;
    while words.pop_if(|word| *word == "AND").is_some() {
        verdict &= one(words)?;
    }
    Ok(verdict)
}

fn one(words: &mut Vec<&str>) -> Result<bool> {
    match words.pop() {
        Some("(") => {
            let verdict = any_of(words)?;
            if words.pop() != Some(")") {
                bail!("a bracket is not closed")
            }
            Ok(verdict)
        }
        Some(")" | "AND" | "OR" | "WITH") | None => bail!("a licence is missing"),
        Some(licence) if words.pop_if(|word| *word == "WITH").is_some() => {
            let exception = words.pop().context("an exception is missing")?;
            Ok(ALLOWED.contains(&format!("{licence} WITH {exception}").as_str()))
        }
        Some(licence) => Ok(ALLOWED.contains(&licence)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_allowed_choice_is_enough_and_every_demand_must_be_met() {
        for good in [
            "MIT",
            "MIT OR GPL-3.0-only",
            "MIT/Apache-2.0",
            "Apache-2.0 AND ISC",
            "(MIT OR GPL-2.0-only) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0-only",
        ] {
            assert!(allowed(good).unwrap(), "{good}");
        }
        for bad in [
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "(MIT OR Apache-2.0) AND SSPL-1.0",
            "GPL-2.0-only WITH Classpath-exception-2.0",
            "MIT WITH LLVM-exception",
            "mit",
        ] {
            assert!(!allowed(bad).unwrap(), "{bad}");
        }
        // AND binds closer than OR.
        assert!(allowed("MIT OR GPL-3.0-only AND SSPL-1.0").unwrap());
        assert!(!allowed("(MIT OR GPL-3.0-only) AND SSPL-1.0").unwrap());
    }

    #[test]
    fn what_is_no_expression_is_an_error_and_not_a_yes() {
        for broken in [
            "",
            "MIT OR",
            "(MIT",
            "MIT)",
            "AND MIT",
            "MIT Apache-2.0",
            "MIT WITH",
        ] {
            assert!(allowed(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_package_from_elsewhere_or_without_a_licence_is_refused() {
        let package = |source: Value, license: Value| {
            objection(&serde_json::json!({
                "name": "crab", "version": "1.0.0", "source": source, "license": license,
            }))
        };
        let index = "registry+https://example.com/rust-lang/crates.io-index";
        assert_eq!(package(index.into(), "MIT".into()), None);
        assert_eq!(package(Value::Null, "MIT".into()), None);
        assert_eq!(
            package("git+https://example.com/crab".into(), "MIT".into()).as_deref(),
            Some("crab 1.0.0 comes from git+https://example.com/crab, not from crates.io")
        );
        assert_eq!(
            package(index.into(), Value::Null).as_deref(),
            Some("crab 1.0.0: the licence \"\" cannot be read: a licence is missing")
        );
    }

    #[test]
    fn an_address_in_a_lock_file_is_found_and_a_hash_is_not_one() {
        let lock = "\"version\": \"1.0.0\",\n  \"resolved\": \"https://example.com/a.tgz\",\n\
                    \"integrity\": \"sha512-abc\"\nregistry=http://example.com\nfund=false\n";
        assert_eq!(
            addresses(lock).collect::<Vec<_>>(),
            [
                "\"resolved\": \"https://example.com/a.tgz\",",
                "registry=http://example.com"
            ]
        );
    }

    #[test]
    fn cargo_deny_is_told_the_same_list() {
        let settings = include_str!("../../deny.toml");
        let (_, rest) = settings.split_once("allow = [").unwrap();
        let (list, _) = rest.split_once(']').unwrap();
        let mut told: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
        told.sort_unstable();
        assert_eq!(told, ALLOWED);
    }
}
