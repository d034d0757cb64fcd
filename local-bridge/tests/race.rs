//! A folder that turns into a link to somewhere else, and back, while files are written through it; and others who write at the same moment.
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
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

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

/// Tries at the most until each side has come first now and then.
const ROUNDS: usize = 20_000;

/// A folder that may only be added to, and a call that writes there.
struct Adding {
    world: tempfile::TempDir,
    policy: Policy,
    undo: Undo,
}

impl Adding {
    fn new() -> Self {
        let world = tempfile::tempdir().unwrap();
        let inbox = world.path().join("inbox");
        fs::create_dir(&inbox).unwrap();
        Self {
            policy: Policy {
                roots: vec![Root::open("inbox", &inbox, Access::Append).unwrap()],
                ..Policy::nothing()
            },
            undo: Undo::in_memory().unwrap(),
            world,
        }
    }

    fn call(&self, number: usize, tool: &str, path: &str) -> bool {
        let hands = Hands {
            policy: &self.policy,
            undo: &self.undo,
            trash: &Trash::at(self.world.path().join("trash"), Layout::Freedesktop),
            call: &CallId(format!("c{number}")),
            now: 1,
        };
        let arguments = serde_json::json!({"path": path, "text": "ours\n"});
        matches!(change(&hands, tool, arguments), Outcome::Done { .. })
    }
}

#[test]
fn where_things_are_only_added_a_file_that_another_makes_at_the_same_moment_is_not_replaced() {
    let adding = Adding::new();
    let inbox = adding.world.path().join("inbox");
    let (start, end) = (Barrier::new(2), Barrier::new(2));
    let (made, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let wait = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                start.wait();
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let until = Duration::from_micros(wait.load(Ordering::SeqCst) as u64);
                let begun = Instant::now();
                while begun.elapsed() < until {
                    std::hint::spin_loop();
                }
                let path = inbox.join(number.to_string());
                let file = OpenOptions::new().write(true).create_new(true).open(path);
                made.store(file.is_ok(), Ordering::SeqCst);
                if let Ok(mut file) = file {
                    file.write_all(b"theirs\n").unwrap();
                }
                end.wait();
            }
        });
        // They come later and later, as long as they come first, and sooner and sooner, as long as we do.
        let (mut theirs, mut ours, mut late) = (0, 0, 0_usize);
        for number in 0..ROUNDS {
            wait.store(late, Ordering::SeqCst);
            start.wait();
            let wrote = adding.call(number, "files.write", &format!("inbox/{number}"));
            end.wait();
            let they = made.load(Ordering::SeqCst);
            assert_ne!(they, wrote, "one and only one makes it");
            let text = fs::read_to_string(inbox.join(number.to_string())).unwrap();
            assert_eq!(text, if they { "theirs\n" } else { "ours\n" });
            theirs += usize::from(they);
            ours += usize::from(wrote);
            late = if they {
                late + 7
            } else {
                late.saturating_sub(5)
            };
            if theirs > 300 && ours > 300 {
                break;
            }
        }
        stop.store(true, Ordering::SeqCst);
        start.wait();
        assert!(theirs > 300 && ours > 300, "{theirs} theirs, {ours} ours");
    });
}

#[test]
fn where_things_are_only_added_no_line_is_lost_that_another_adds_meanwhile() {
    let adding = Adding::new();
    let path = adding.world.path().join("inbox/log");
    fs::write(&path, "").unwrap();
    let stop = AtomicBool::new(false);
    let (mut ours, mut theirs) = (0, 0);
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut lines = 0;
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            while !stop.load(Ordering::SeqCst) {
                file.write_all(b"theirs\n").unwrap();
                lines += 1;
                thread::sleep(Duration::from_micros(300));
            }
            lines
        });
        for number in 0..ROUNDS {
            ours += usize::from(adding.call(number, "files.append", "inbox/log"));
            if ours > 100 {
                break;
            }
        }
        stop.store(true, Ordering::SeqCst);
        theirs = other.join().unwrap();
    });
    let text = fs::read_to_string(&path).unwrap();
    let lines = |line: &str| text.lines().filter(|is| *is == line).count();
    assert_eq!((lines("ours"), lines("theirs")), (ours, theirs));
    assert!(ours > 100 && theirs > 100, "{ours} ours, {theirs} theirs");
}
