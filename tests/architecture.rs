//! Holds the walls that a compiler cannot: who imports whom, what codecs and agent may not know, where tokens and requests are made.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where our own code lies.
const ROOMS: [&str; 6] = ["src", "crates", "local-bridge", "xtask", "tests", "benches"];

/// The longest function outside tests, in lines; a longer one does two things.
const FUNCTION_LIMIT: usize = 80;

/// The longest file, in lines before its tests; a longer one holds two ideas.
const FILE_LIMIT: usize = 900;

/// Files that are longer, how long they may be, and why.
const LONG_FILES: [(&str, usize); 1] = [
    ("src/models/offline/intent.rs", 1250), // the grammar: mostly tables of words
];

/// One file of ours.
struct Source {
    path: String,
    whole: String,
}

impl Source {
    /// The numbered lines before the file's tests that are not comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.whole
            .lines()
            .enumerate()
            .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(at, line)| (at + 1, line))
    }

    /// Where the code holds one of these words, whole.
    fn offences(&self, words: &[&str]) -> Vec<String> {
        let told = |(at, line): (usize, &str)| {
            let word = words.iter().find(|word| holds_word(line, word))?;
            Some(format!("{}:{at}: `{word}`", self.path))
        };
        self.code().filter_map(told).collect()
    }

    /// The functions before the file's tests: name and length in lines. Relies on rustfmt's indentation.
    fn functions(&self) -> Vec<(String, usize)> {
        let lines: Vec<(usize, &str)> = self.code().collect();
        let mut found = Vec::new();
        for (at, (first, line)) in lines.iter().enumerate() {
            let Some((before, after)) = line.split_once("fn ") else {
                continue;
            };
            let known = ["pub", "pub(crate)", "pub(super)", "const", "async"];
            if !before.split_whitespace().all(|word| known.contains(&word)) {
                continue;
            }
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = lines[at..]
                .iter()
                .find(|(_, line)| *line == format!("{indent}}}"));
            let name = after.split(['(', '<']).next().unwrap_or_default();
            let length = end.map_or(1, |(last, _)| last - first + 1);
            found.push((name.to_owned(), length));
        }
        found
    }
}

fn holds_word(line: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        let open = !word.ends_with(part_of_name); // a word such as `bind(` ends itself
        !before.ends_with(part_of_name) && (open || !after.starts_with(part_of_name))
    })
}

fn root() -> PathBuf {
    // At run time, so that the checks can be pointed at a copy with something broken in it.
    let here = std::env::var("CARGO_MANIFEST_DIR");
    PathBuf::from(here.unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned()))
}

/// Our files below a folder. There always are some: a check of nothing would pass for ever.
fn sources(folder: &str) -> Vec<Source> {
    let (root, mut found) = (root(), Vec::new());
    collect(&root, &root.join(folder), &mut found);
    assert!(!found.is_empty(), "no Rust files below {folder}");
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("our folders can be read") {
        let path = entry.expect("our folders can be read").path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let whole = fs::read_to_string(&path).expect("our files are text");
            let path = path.strip_prefix(root).expect("it lies below the root");
            let path = path.to_string_lossy().into_owned();
            found.push(Source { path, whole });
        }
    }
}

fn everything() -> Vec<Source> {
    ROOMS.iter().flat_map(|room| sources(room)).collect()
}

/// What is not a test: the code that runs.
fn production() -> impl Iterator<Item = Source> {
    everything()
        .into_iter()
        .filter(|source| !source.path.split('/').any(|part| part == "tests"))
}

fn offences(sources: impl IntoIterator<Item = Source>, words: &[&str]) -> Vec<String> {
    let each = sources
        .into_iter()
        .flat_map(|source| source.offences(words));
    each.collect()
}

#[track_caller]
fn none(offences: &[String], law: &str) {
    assert!(offences.is_empty(), "{law}:\n{}", offences.join("\n"));
}

/// A package's own dependencies outside of tests, as cargo reads the manifests: name and features, sorted.
fn dependencies(package: &str) -> Vec<(String, Vec<String>)> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo speaks JSON");
    let packages = metadata["packages"].as_array().expect("a workspace");
    let package = packages.iter().find(|found| found["name"] == package);
    let wanted = package.expect("a package of ours")["dependencies"].as_array();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found: Vec<(String, Vec<String>)> = wanted
        .expect("a list")
        .iter()
        .filter(|dependency| dependency["kind"].is_null())
        .map(|dependency| {
            let features = dependency["features"].as_array().into_iter().flatten();
            (text(&dependency["name"]), features.map(text).collect())
        })
        .collect();
    found.sort();
    found
}

fn depends(package: &str, on: &str) -> bool {
    dependencies(package).iter().any(|(name, _)| name == on)
}

#[test]
fn every_file_says_in_its_first_line_what_it_is_for() {
    let silent = |source: &Source| !source.whole.starts_with("//! ");
    let silent: Vec<String> = everything()
        .into_iter()
        .filter(silent)
        .map(|source| source.path)
        .collect();
    none(&silent, "a file begins with `//!` and what the room is for");
}

#[test]
fn codecs_do_no_io() {
    let words = [
        "async",
        "await",
        "worker",
        "js_sys",
        "wasm_bindgen",
        "std::fs",
        "std::net",
    ];
    for folder in ["src/channels", "src/models"] {
        none(
            &offences(sources(folder), &words),
            "channels and models are codecs",
        );
    }
}

#[test]
fn agent_and_driver_have_no_clock_no_dice_and_wait_for_nobody() {
    let words = [
        "async",
        "await",
        "getrandom",
        "SystemTime",
        "Instant",
        "std::fs",
        "std::net",
        "std::env",
        "std::thread",
        "HashMap::new",
        "RandomState",
    ];
    none(
        &offences(sources("crates/agent/src"), &words),
        "what the agent knows came in an event",
    );
    none(
        &offences(sources("crates/driver/src"), &words),
        "what the driver knows it was told",
    );
}

#[test]
fn imports_go_one_way() {
    let plain = |name: &str| (name.to_owned(), Vec::new());
    let derive = ("serde".to_owned(), vec!["derive".to_owned()]);
    assert_eq!(
        dependencies("agent"),
        [
            plain("protocol"),
            derive,
            plain("serde_json"),
            plain("thiserror")
        ],
        "the agent decides; it needs the protocol's names and shapes, without signatures, and nothing else of ours"
    );
    assert_eq!(
        dependencies("driver"),
        [plain("agent"), plain("protocol"), plain("serde_json")],
        "the driver saves what the agent decides; rows and sockets are the shell's"
    );
    for (package, never) in [
        (
            "protocol",
            &["agent", "bernard", "local-bridge", "worker", "tokio"][..],
        ),
        ("local-bridge", &["agent", "driver", "bernard", "worker"]),
        ("bernard", &["local-bridge", "tokio", "reqwest"]),
        (
            "xtask",
            &[
                "agent",
                "driver",
                "protocol",
                "bernard",
                "local-bridge",
                "worker",
            ],
        ),
    ] {
        for other in never {
            assert!(
                !depends(package, other),
                "{package} must not depend on {other}"
            );
        }
    }
    assert!(depends("bernard", "agent") && depends("local-bridge", "protocol"));
}

#[test]
fn only_lists_know_which_chat_apps_there_are() {
    let lists = [
        "src/channels/app.rs",
        "src/channels/markup.rs",
        "src/channels/mod.rs",
        "src/config.rs",
        "src/door/mod.rs",
        "src/door/webhook.rs",
        "src/routes.rs",
    ];
    let mut found = Vec::new();
    for source in sources("src").into_iter().chain(sources("crates")) {
        let own = ["/telegram", "/whatsapp"].map(|app| source.path.contains(app));
        let is_test = source.path.split('/').any(|part| part == "tests");
        if own.contains(&true) || lists.contains(&source.path.as_str()) || is_test {
            continue;
        }
        for (at, line) in source.code() {
            let line = line.to_lowercase();
            if line.contains("telegram") || line.contains("whatsapp") {
                found.push(format!("{}:{at}", source.path));
            }
        }
    }
    none(
        &found,
        "which chat app it is, the lists know and the app's own files; the rest asks `channels::app`",
    );
}

#[test]
fn tokens_are_made_and_checked_in_one_file() {
    let elsewhere = production().filter(|source| source.path != "crates/protocol/src/token.rs");
    none(
        &offences(elsewhere, &["jwt_simple"]),
        "jwt-simple's defaults are lenient; `protocol::token` is the strict way",
    );
}

#[test]
fn requests_leave_by_one_door() {
    let elsewhere = sources("src")
        .into_iter()
        .filter(|source| source.path != "src/http.rs");
    none(
        &offences(elsewhere, &["Fetch", "Socket::builder"]),
        "requests leave through src/http.rs",
    );
    let calls = ["fetch_with_request", "fetch_with_str", "fetch_with_init"];
    let elsewhere = sources("src")
        .into_iter()
        .filter(|source| source.path != "src/front.rs");
    none(
        &offences(elsewhere, &calls),
        "only the front calls a person's object",
    );
}

#[test]
fn the_database_of_who_is_who_has_one_reader() {
    let elsewhere = sources("src")
        .into_iter()
        .filter(|source| source.path != "src/directory.rs");
    none(
        &offences(elsewhere, &["D1Database", "d1("]),
        "D1 is src/directory.rs's",
    );
}

#[test]
fn the_bridge_listens_on_nothing() {
    let words = [
        "TcpListener",
        "UnixListener",
        "UdpSocket",
        "UnixDatagram",
        "bind(",
        "listen(",
    ];
    none(
        &offences(sources("local-bridge/src"), &words),
        "the bridge only dials out",
    );
}

#[test]
fn files_and_functions_stay_short() {
    let mut long = Vec::new();
    for source in production() {
        let allowed = LONG_FILES.iter().find(|(path, _)| *path == source.path);
        let limit = allowed.map_or(FILE_LIMIT, |(_, limit)| *limit);
        let lines = source.code().last().map_or(0, |(at, _)| at);
        if lines > limit {
            long.push(format!("{}: {lines} lines, {limit} allowed", source.path));
        }
        for (name, lines) in source.functions() {
            if lines > FUNCTION_LIMIT {
                long.push(format!("{}: `{name}` has {lines} lines", source.path));
            }
        }
    }
    none(
        &long,
        "a long function does two things, a long file holds two ideas",
    );
}

#[test]
fn every_exception_is_still_one() {
    for (path, _) in LONG_FILES {
        let whole = fs::read_to_string(root().join(path)).expect("the exception is there");
        let source = Source {
            path: path.to_owned(),
            whole,
        };
        let lines = source.code().last().map_or(0, |(at, _)| at);
        assert!(
            lines > FILE_LIMIT,
            "{path} has become short: strike it from the list"
        );
    }
}

#[test]
fn a_planted_offence_is_seen_and_what_only_looks_like_one_is_not() {
    let planted = Source {
        path: "planted.rs".to_owned(),
        whole: "//! async in words is fine.\nuse worker::Env;\nlet workers = 1; // async\n    let s = TcpListener::bind(a);\n\
                pub(crate) async fn long() {\n    one();\n}\n#[cfg(test)]\nuse jwt_simple::x;\n"
            .to_owned(),
    };
    assert_eq!(planted.offences(&["worker"]), ["planted.rs:2: `worker`"]);
    assert_eq!(
        planted.offences(&["bind(", "TcpListener"]),
        ["planted.rs:4: `bind(`"]
    );
    assert_eq!(planted.offences(&["async"]).len(), 2); // a comment behind code counts: better one too many
    assert_eq!(planted.offences(&["jwt_simple"]), [""; 0]);
    assert_eq!(planted.functions(), [("long".to_owned(), 3)]);
}
