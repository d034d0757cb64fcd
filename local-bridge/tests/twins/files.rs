//! Ways out of an open folder, tried with the bridge's tools and with what a few careless lines would do.

use crate::machine::Machine;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use local_bridge::places::{Root, find, forbidden};
use local_bridge::tools::files_read;
use local_bridge::tools::target::{Durability, Target};
use protocol::call::Outcome;
use protocol::session::Access;
use protocol::tools::FilesRead;
use serde_json::json;
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A machine whose owner keeps a secret beside the open folder, and keys in it.
fn machine() -> Machine {
    let machine = Machine::new();
    fs::write(machine.outside("secret"), "canary\n").unwrap();
    fs::create_dir(machine.docs(".ssh")).unwrap();
    fs::write(machine.docs(".ssh/id"), "canary\n").unwrap();
    machine
}

/// What the tool shows of a file.
fn reads(machine: &Machine, path: &str) -> Option<String> {
    let wanted = FilesRead {
        path: path.to_owned(),
        from_line: None,
        lines: None,
    };
    files_read::run(&machine.policy, &wanted).ok()
}

fn shows(told: Option<String>) -> bool {
    told.is_some_and(|text| text.contains("canary"))
}

/// The bridge's tools do not show or change what a path leads to; those of a careless program do both.
fn succeeds_only_without_the_handle(machine: &Machine, path: &str) {
    assert!(!shows(reads(machine, path)), "{path}");
    let careless = machine.docs("").join(path);
    assert!(shows(fs::read_to_string(&careless).ok()), "{path}");
    let before = fs::read(&careless).unwrap();
    let outcome = machine.run("c1", "files.write", json!({"path": path, "text": "theirs"}));
    assert!(!matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(fs::read(&careless).unwrap(), before);
    fs::write(&careless, "theirs").unwrap();
    assert_eq!(fs::read(machine.outside("secret")).unwrap(), b"theirs");
}

#[test]
fn a_way_up_succeeds_only_without_the_held_folder() {
    for path in ["../secret", ".ssh/../../secret"] {
        succeeds_only_without_the_handle(&machine(), path);
    }
}

#[test]
fn a_whole_path_succeeds_only_without_the_held_folder() {
    let machine = machine();
    let path = machine.outside("secret");
    succeeds_only_without_the_handle(&machine, path.to_str().unwrap());
}

#[test]
fn a_link_that_leads_out_succeeds_only_without_the_held_folder() {
    for target in ["../secret".into(), machine().outside("secret")] {
        let machine = machine();
        let target = if target.is_absolute() {
            machine.outside("secret")
        } else {
            target
        };
        symlink(target, machine.docs("notes.txt")).unwrap();
        succeeds_only_without_the_handle(&machine, "notes.txt");
    }
}

#[test]
fn a_folder_that_is_a_link_succeeds_only_without_the_held_folder() {
    let machine = machine();
    symlink("..", machine.docs("folder")).unwrap();
    succeeds_only_without_the_handle(&machine, "folder/secret");
}

#[test]
fn a_second_name_of_a_file_outside_succeeds_only_without_the_count_of_names() {
    for (tool, more) in [("files.write", "text"), ("files.append", "text")] {
        let machine = machine();
        let secret = machine.outside("secret");
        fs::hard_link(&secret, machine.docs("notes.txt")).unwrap();
        let arguments = json!({"path": "notes.txt", more: "theirs"});
        let outcome = machine.run("c1", tool, arguments);
        assert!(!matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
        assert_eq!(fs::read(&secret).unwrap(), b"canary\n");
        // The held folder alone, which sees no way out in a second name.
        let dir = Dir::open_ambient_dir(machine.docs(""), ambient_authority()).unwrap();
        dir.write("notes.txt", "theirs").unwrap();
        assert_eq!(fs::read(&secret).unwrap(), b"theirs");
    }
}

#[test]
fn a_harmless_name_for_a_forbidden_one_succeeds_only_without_the_second_look() {
    let machine = machine();
    symlink(".ssh", machine.docs("keys")).unwrap();
    symlink(".ssh/id", machine.docs("plain")).unwrap();
    for path in ["keys/id", "plain"] {
        assert!(!shows(reads(&machine, path)), "{path}");
        // The names as they are asked for, and the held folder: both find nothing wrong.
        assert!(!forbidden(Path::new(path)));
        let dir = Dir::open_ambient_dir(machine.docs(""), ambient_authority()).unwrap();
        assert!(shows(dir.read_to_string(path).ok()), "{path}");
    }
    let theirs = json!({"path": "keys/authorized", "text": "theirs"});
    let outcome = machine.run("c1", "files.write", theirs);
    assert!(!matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert!(!machine.docs(".ssh/authorized").exists());
}

#[test]
fn a_forbidden_name_succeeds_only_without_the_list_of_names() {
    let machine = machine();
    for path in [".ssh/id", ".SSH/id", "./.ssh//id"] {
        assert!(!shows(reads(&machine, path)), "{path}");
        let dir = Dir::open_ambient_dir(machine.docs(""), ambient_authority()).unwrap();
        let there = shows(dir.read_to_string(path).ok());
        // In capitals it is another name, unless the disk sees no difference.
        assert!(there || path == ".SSH/id", "{path}");
    }
}

#[test]
fn a_file_larger_than_the_memory_succeeds_only_without_the_bound() {
    let machine = machine();
    let huge = fs::File::create(machine.docs("huge.txt")).unwrap();
    huge.set_len(16 << 30).unwrap(); // of holes: it takes no room on the disk
    let begun = Instant::now();
    let told = reads(&machine, "huge.txt").unwrap();
    assert!(told.len() < 1_000, "{told}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    // Without a bound it goes on; nobody waits for the end.
    let mut unbounded = fs::File::open(machine.docs("huge.txt")).unwrap();
    let (mut read, mut bytes) = (0, vec![0; 1 << 20]);
    while read <= 64 << 20 {
        read += unbounded.read(&mut bytes).unwrap();
    }
}

#[test]
fn a_pipe_that_nobody_writes_to_succeeds_only_without_the_open_that_waits_for_nobody() {
    let machine = machine();
    let pipe = machine.docs("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    assert!(!shows(reads(&machine, "pipe"))); // it comes back at all
    let mut careless = Command::new("cat")
        .arg(&pipe)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(50));
    assert!(careless.try_wait().unwrap().is_none());
    // It ends when somebody has come to write, and not before.
    fs::write(&pipe, "").unwrap();
    assert!(careless.wait().unwrap().success());
}

/// How often `write` replaces a file, at the most `rounds` times, until somebody who looks at it meanwhile sees something that was never
/// meant to be there: a part, or nothing at all. What they see at a moment is what a crash at that moment would leave.
fn rounds_until_half_is_seen(
    machine: &Machine,
    rounds: usize,
    write: impl Fn(&str),
) -> Option<usize> {
    let whole = ["a".repeat(1 << 20), "b".repeat(1 << 20)];
    let path = machine.docs("notes.txt");
    fs::write(&path, &whole[0]).unwrap();
    let (over, seen) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let text = fs::read_to_string(&path).unwrap();
                if !whole.contains(&text) {
                    seen.store(true, Ordering::SeqCst);
                }
            }
        });
        let is_seen = |round: &usize| {
            write(&whole[round % 2]);
            seen.load(Ordering::SeqCst)
        };
        let round = (1..=rounds).find(is_seen);
        over.store(true, Ordering::SeqCst);
        round
    })
}

#[test]
fn a_half_written_file_succeeds_only_without_the_replacement_at_one_stroke() {
    let machine = machine();
    let writes = |text: &str| fs::write(machine.docs("notes.txt"), text).unwrap();
    let enough = rounds_until_half_is_seen(&machine, 20_000, writes).unwrap();
    let replaces = |text: &str| {
        let place = find(&machine.policy.roots, "docs/notes.txt").unwrap();
        let target = Target::open(&place).unwrap();
        let replaced = target.replace(text.as_bytes(), None, Durability::Unsynced);
        replaced.unwrap();
    };
    let rounds = (2 * enough).clamp(40, 1_000); // as many as show it in the other, and more
    assert_eq!(rounds_until_half_is_seen(&machine, rounds, replaces), None);
}

#[test]
fn a_change_of_what_is_there_succeeds_only_without_the_access_that_adds_alone() {
    for (access, changed) in [
        (Access::Read, false),
        (Access::Append, false),
        (Access::Write, true),
    ] {
        let mut machine = machine();
        fs::write(machine.docs("notes.txt"), "ours").unwrap();
        machine.policy.roots = vec![Root::open("docs", &machine.docs(""), access).unwrap()];
        for (tool, more) in [
            (
                "files.write",
                json!({"path": "notes.txt", "text": "theirs"}),
            ),
            ("files.trash", json!({"path": "notes.txt"})),
        ] {
            let outcome = machine.run("c1", tool, more);
            let done = matches!(outcome, Outcome::Done { .. });
            assert_eq!(done, changed, "{access:?} {tool}: {outcome:?}");
        }
        assert_eq!(machine.text("notes.txt").is_none(), changed);
    }
}
