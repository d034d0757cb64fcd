//! A program stays the one that was allowed, until its owner says otherwise.

use crate::world::{World, short, words};
use local_bridge::places::Root;
use local_bridge::policy::{Command, Law, Pin, Policy, Sandbox, accept, changed};
use local_bridge::sandbox::{Fence, Wanted};
use protocol::session::Access;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// A home whose policy allows one program with a whole path, and that path.
fn allowed() -> (World, std::path::PathBuf) {
    let world = World::new();
    let program = world.program("tool", "#!/bin/sh\necho one\n");
    let rule = format!(
        "[[command]]\nrun = [\"{}\"]\nthen = \"allow\"\n",
        program.display()
    );
    world.write(&rule);
    (world, program)
}

fn verdict(policy: &Policy) -> String {
    short(&policy.judge(&policy.commands[0].argv).verdict)
}

#[test]
fn a_program_is_remembered_when_it_is_first_allowed_and_refused_when_it_is_another() {
    let (world, program) = allowed();
    let mut law = Law::open(&world.home).unwrap();
    assert_eq!(verdict(&law.current()), "allow 2");
    let mode = fs::metadata(world.home.path().join("programs.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    world.program("tool", "#!/bin/sh\necho two\n");
    // The next start sees it.
    let mut again = Law::open(&world.home).unwrap();
    let policy = again.current();
    assert_eq!(verdict(&policy), "deny 2");
    assert_eq!(policy.shown_commands(), [[""; 0]; 0]);
    let fault = again.fault().unwrap();
    let begins = format!(
        "{} is not the program that was allowed (SHA-256 ",
        program.display()
    );
    assert!(fault.starts_with(&begins), "{fault}");
    assert!(
        fault.ends_with("its owner runs: local-bridge policy check --accept"),
        "{fault}"
    );
    // Once accepted, a running bridge takes it without a restart.
    let programs = changed(&world.home).unwrap();
    assert_eq!(programs.len(), 1);
    assert_eq!(programs[0].program, program);
    accept(&world.home, &programs).unwrap();
    assert_eq!(verdict(&again.current()), "allow 2");
    assert_eq!(again.fault(), None);
    assert!(changed(&world.home).unwrap().is_empty());
}

#[test]
fn a_program_that_is_swapped_under_a_running_bridge_is_not_started() {
    let (world, program) = allowed();
    let policy = Law::open(&world.home).unwrap().current();
    let rule = &policy.commands[0];
    assert!(rule.hold().is_ok());
    world.program("tool", "#!/bin/sh\necho two\n");
    let refused = rule.hold().unwrap_err();
    assert!(
        refused.contains("is not the program that was allowed"),
        "{refused}"
    );
    // Put back, it is itself again: what counts are its bytes.
    world.program("tool", "#!/bin/sh\necho one\n");
    let held = rule.hold().unwrap();
    // A script is started by its path, which is looked at once more.
    assert_eq!(held.in_place_of(rule, false).unwrap().program, program);
    let other = world.program("other", "#!/bin/sh\necho one\n");
    fs::rename(other, &program).unwrap();
    let refused = held.in_place_of(rule, false).unwrap_err();
    assert!(refused.ends_with("was changed just now"), "{refused}");
}

#[cfg(target_os = "linux")]
#[test]
fn what_was_looked_at_is_what_is_started_whatever_has_its_path_since() {
    let world = World::new();
    let program = world.program("tool", "");
    fs::copy("/bin/echo", &program).unwrap();
    world.write(&format!("[[command]]\nrun = [\"{}\"]\n", program.display()));
    let policy = Policy::read(&world.home).unwrap();
    let rule = &policy.commands[0];
    let held = rule.hold().unwrap();
    let evil = world.program("evil", "#!/bin/sh\necho evil\n");
    fs::rename(evil, &program).unwrap();
    let pinned = held.in_place_of(rule, false).unwrap();
    let said = |program: &std::path::Path| {
        let output = std::process::Command::new(program)
            .arg("good")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(said(&pinned.program), "good\n");
    assert_eq!(said(&rule.program), "evil\n"); // what the path alone would have started
}

#[cfg(target_os = "linux")]
#[test]
fn the_fence_starts_what_was_looked_at_too() {
    let world = World::new();
    let fence = Fence::kept_by(Path::new(env!("CARGO_BIN_EXE_local-bridge")));
    if let Fence::Missing(why) = &fence {
        assert!(why.starts_with("this kernel has no Landlock"), "{why}");
        println!("skipped: this kernel has no Landlock");
        return;
    }
    let program = world.program("tool", "");
    fs::copy("/bin/echo", &program).unwrap();
    let rule = Command::new(words(&["tool"]), program.clone());
    let root = Root::open("docs", Path::new(&world.path("docs")), Access::Write).unwrap();
    let scratch = world.folder.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let held = rule.hold().unwrap();
    fs::rename(world.program("evil", "#!/bin/sh\necho evil\n"), &program).unwrap();
    let said = |rule: &Command| {
        let wanted = Wanted {
            rule,
            root: &root,
            scratch: &scratch,
            limit: Duration::from_mins(1),
            terminal: false,
        };
        let start = fence.command(Sandbox::Required, wanted);
        let output = start.unwrap().command.arg("good").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(said(&held.in_place_of(&rule, true).unwrap()), "good\n");
    assert_eq!(said(&rule), "evil\n"); // what the path alone would have started
}

#[test]
fn a_damaged_memory_stops_every_program_and_can_be_made_anew() {
    let (world, _program) = allowed();
    Policy::read(&world.home).unwrap();
    world.home.write("programs.json", "nonsense").unwrap();
    let policy = Policy::read(&world.home).unwrap();
    assert!(matches!(&policy.commands[0].pin, Pin::Broken(why) if why.contains("programs.json")));
    assert_eq!(verdict(&policy), "deny 2");
    let programs = changed(&world.home).unwrap();
    assert_eq!(programs.len(), 1);
    accept(&world.home, &programs).unwrap();
    assert_eq!(verdict(&Policy::read(&world.home).unwrap()), "allow 2");
}

#[test]
fn a_rule_that_denies_needs_no_program() {
    let world = World::new();
    world.write("[[command]]\nrun = [\"not-installed\"]\nthen = \"deny\"\n");
    let policy = Policy::read(&world.home).unwrap();
    assert_eq!(
        short(&policy.judge(&words(&["not-installed", "x"])).verdict),
        "deny 2"
    );
    assert!(!world.home.path().join("programs.json").exists());
}
