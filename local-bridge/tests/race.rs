//! A folder that turns into a link to somewhere else, and back, while files are written through it.
#![cfg(target_os = "linux")] // only there can two names be exchanged at one stroke
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use cap_std::fs::Dir;
use local_bridge::places::{Root, find};
use local_bridge::policy::Policy;
use local_bridge::tools::files_trash::{Layout, Trash};
use local_bridge::tools::target::{Durability, Target};
use local_bridge::tools::{Hands, change};
use local_bridge::undo::Undo;
use protocol::call::{CallId, Outcome};
use protocol::session::Access;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

const WRITES: usize = 20_000;

/// Calls at the most: nearly all are refused at once, for as long as the other thread rests while the folder is a link.
const CHANGES: usize = 400_000;

/// Of each tool so many calls must have got through the folder.
const ENOUGH: usize = 20;

/// Calls through the folder that flips; each finds something to do now and then.
const TOOLS: [(&str, &str); 8] = [
    ("files.write", r#"{"path": "docs/folder/a", "text": "x"}"#),
    ("files.append", r#"{"path": "docs/folder/a", "text": "x"}"#),
    (
        "files.copy",
        r#"{"from": "docs/folder/a", "to": "docs/folder/theirs", "replace": true}"#,
    ),
    (
        "files.edit",
        r#"{"path": "docs/folder/theirs", "edits": [{"find": "x", "replace": "xx", "all": true}]}"#,
    ),
    (
        "files.move",
        r#"{"from": "docs/folder/theirs", "to": "docs/folder/b", "replace": true}"#,
    ),
    ("files.trash", r#"{"path": "docs/folder/b"}"#),
    ("files.mkdir", r#"{"path": "docs/folder/sub/deep"}"#),
    ("files.undo", "{}"),
];

/// Exchanges `inside/folder` and `inside/link` as fast as it can until it is dropped.
struct Flipper {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Flipper {
    fn start(inside: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (folder, link) = (inside.join("folder"), inside.join("link"));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut flips = 0;
            while !stopped.load(Ordering::Relaxed) {
                renameat_with(CWD, &folder, CWD, &link, RenameFlags::EXCHANGE).unwrap();
                flips += 1;
            }
            flips
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// What a careless program does: looks where the path leads, and then goes there by its name.
fn naive(root: &Path, path: &str, bytes: &[u8]) -> bool {
    let target = root.join(path);
    let Some(parent) = target
        .parent()
        .and_then(|parent| parent.canonicalize().ok())
    else {
        return false;
    };
    parent.starts_with(root) && fs::write(&target, bytes).is_ok()
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

fn world() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let world = tempfile::tempdir().unwrap();
    let base = world.path().canonicalize().unwrap();
    let (inside, outside) = (base.join("inside"), base.join("outside"));
    fs::create_dir_all(inside.join("folder")).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink(&outside, inside.join("link")).unwrap();
    (world, inside, outside)
}

#[test]
fn no_write_escapes_through_a_folder_that_flips_into_a_link_while_a_naive_one_does() {
    let (_world, inside, outside) = world();
    let roots = [Root::open("docs", &inside, Access::Write).unwrap()];
    let flipper = Flipper::start(&inside);
    let mut written = 0;
    for number in 0..WRITES {
        // Few names, so that replacing and making both happen.
        let text = format!("docs/folder/{}", number % 64);
        let place = find(&roots, &text).unwrap();
        let wrote = Target::open(&place)
            .and_then(|target| target.replace(b"x", None, Durability::Unsynced));
        written += usize::from(wrote.is_ok());
    }
    assert_eq!(count(&outside), 0, "a write escaped");
    let mut tried = 0;
    while count(&outside) == 0 && tried < 50 * WRITES {
        naive(&inside, &format!("folder/{}", tried % 64), b"x");
        tried += 1;
    }
    let flips = flipper.stop();
    assert!(
        count(&outside) > 0,
        "the control does not escape, so the test proves nothing"
    );
    assert!(
        written > 0,
        "no write got through, so none could have escaped"
    );
    assert!(flips > 1000, "only {flips} flips");
    // The handle still opens the same folder as before.
    let dir: &Dir = &roots[0].dir;
    assert!(dir.is_dir("folder") || dir.is_dir("link"));
}

#[test]
fn no_tool_changes_anything_elsewhere_through_a_folder_that_flips_into_a_link() {
    let (world, inside, outside) = world();
    let policy = Policy {
        roots: vec![Root::open("docs", &inside, Access::Write).unwrap()],
        ..Policy::nothing()
    };
    let undo = Undo::in_memory().unwrap();
    let trash = Trash::at(world.path().join("trash"), Layout::Freedesktop);
    fs::write(outside.join("theirs"), "theirs").unwrap();
    let flipper = Flipper::start(&inside);
    let mut done = [0; TOOLS.len()];
    for number in 0..CHANGES {
        if done.iter().all(|&done| done >= ENOUGH) {
            break;
        }
        let (tool, arguments) = TOOLS[number % TOOLS.len()];
        let hands = Hands {
            policy: &policy,
            undo: &undo,
            trash: &trash,
            call: &CallId(format!("c{number}")),
            now: 1,
        };
        let arguments = serde_json::from_str(arguments).unwrap();
        let outcome = change(&hands, tool, arguments);
        done[number % TOOLS.len()] += usize::from(matches!(outcome, Outcome::Done { .. }));
    }
    let flips = flipper.stop();
    assert!(flips > 1000, "only {flips} flips");
    assert_eq!(count(&outside), 1, "a change escaped");
    assert_eq!(fs::read(outside.join("theirs")).unwrap(), b"theirs");
    assert!(
        done.iter().all(|&done| done >= ENOUGH),
        "too few got through to tell: {done:?}"
    );
}
