//! The last good policy: what a bridge starts under when the file is broken, and what it never takes for one.

use crate::world::World;
use local_bridge::home::Home;
use local_bridge::policy::{Law, Policy};
use local_bridge::status::Status;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

const BROKEN: &str = "[tools]\nfiles.send = \"perhaps\"\n";

/// A home whose policy was accepted and is broken by now.
fn broken() -> World {
    let world = World::new();
    world.write(&World::root(&world.path("docs")));
    Policy::read(&world.home).unwrap();
    world.write(BROKEN);
    world
}

fn kept(home: &Home) -> PathBuf {
    home.path().join("policy.last.json")
}

fn mode(path: &PathBuf, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// As if the last good policy had been accepted at this second since 1970.
fn accepted_at(world: &World, second: u64) {
    let kept = fs::File::open(kept(&world.home)).unwrap();
    let at = UNIX_EPOCH + Duration::from_secs(second);
    kept.set_modified(at).unwrap();
}

#[test]
fn a_bridge_starts_under_the_last_good_policy_says_so_and_takes_the_mended_one() {
    let world = broken();
    assert!(Law::open(&world.home).is_err());
    accepted_at(&world, 1_795_183_509);
    let mut law = Law::in_force(&world.home).unwrap();
    assert_eq!(law.current().roots.len(), 1);
    let fault = law.fault().unwrap();
    assert!(
        fault.starts_with("policy.toml was changed and is not accepted; the rules of 2026-11-20 14:05:09 UTC stay in force: policy.toml: ")
            && fault.contains("line 2"),
        "{fault}"
    );
    assert!(law.broken().unwrap().contains("line 2"));
    let told = Status::of(&world.home).policy;
    assert_eq!(
        told.summary,
        "folders: docs (read and write); commands: none"
    );
    assert_eq!(told.fault, Some(fault));
    let mended = "[tools]\nfiles.send = \"deny\"\n";
    world.write(mended);
    assert!(law.current().roots.is_empty());
    assert_eq!((law.fault(), law.broken()), (None, None));
    // What was reread is the last good one from then on.
    world.write(BROKEN);
    let mut law = Law::in_force(&world.home).unwrap();
    assert_eq!(law.current().written(), world.policy(mended).written());
}

#[test]
fn what_was_never_accepted_is_nothing_to_start_under() {
    let world = World::new();
    world.write(BROKEN);
    assert!(Law::in_force(&world.home).is_err());
    assert!(!kept(&world.home).exists());
    // Nor is a policy that would not be accepted today.
    let world = broken();
    fs::remove_dir(world.path("docs")).unwrap();
    assert!(Law::in_force(&world.home).is_err());
}

#[test]
fn a_policy_that_others_can_change_is_not_read_and_changes_nothing() {
    let world = World::new();
    let docs = World::root(&world.path("docs"));
    world.write(&docs);
    let mut running = Law::in_force(&world.home).unwrap();
    world.write("");
    mode(&world.home.policy(), 0o666);
    for law in [&mut running, &mut Law::in_force(&world.home).unwrap()] {
        assert_eq!(law.current().roots.len(), 1);
        let fault = law.fault().unwrap();
        assert!(fault.contains("can be changed by others"), "{fault}");
    }
    // It is taken when it is its owner's alone, although not a byte of it is another.
    mode(&world.home.policy(), 0o600);
    assert!(running.current().roots.is_empty());
    assert_eq!(running.fault(), None);
    // And no longer when it is not.
    mode(&world.home.policy(), 0o660);
    running.current();
    assert!(running.fault().is_some());
}

#[test]
fn a_policy_that_is_gone_allows_nothing_and_does_not_come_back() {
    let world = broken();
    fs::remove_file(world.home.policy()).unwrap();
    let mut law = Law::in_force(&world.home).unwrap();
    assert!(law.current().roots.is_empty());
    assert_eq!(law.fault(), None);
    assert!(!kept(&world.home).exists());
    world.write(BROKEN);
    assert!(Law::in_force(&world.home).is_err());
}

#[test]
fn a_policy_that_was_gone_while_nobody_looked_is_a_changed_one_and_the_fault_says_of_when_its_rules_are()
 {
    let world = broken();
    accepted_at(&world, 1_795_183_509);
    // As an editor saves that deletes and makes anew.
    fs::remove_file(world.home.policy()).unwrap();
    world.write(BROKEN);
    let mut law = Law::in_force(&world.home).unwrap();
    assert_eq!(law.current().roots.len(), 1);
    let fault = law.fault().unwrap();
    assert!(
        fault.contains("the rules of 2026-11-20 14:05:09 UTC"),
        "{fault}"
    );
    // One look at the home without it, and it does not come back.
    fs::remove_file(world.home.policy()).unwrap();
    Law::open(&world.home).unwrap();
    world.write(BROKEN);
    assert!(Law::in_force(&world.home).is_err());
    // Where there were no rules, none is spoken of.
    let world = World::new();
    let mut law = Law::in_force(&world.home).unwrap();
    world.write(BROKEN);
    law.current();
    let fault = law.fault().unwrap();
    assert!(
        fault.contains("; the rules before stay in force: "),
        "{fault}"
    );
}

#[test]
fn what_others_could_have_written_is_not_taken_for_the_last_good_policy() {
    type Spoil = fn(&World);
    let spoil: [(&str, Spoil); 7] = [
        ("readable by others", |world| {
            mode(&kept(&world.home), 0o644);
        }),
        ("writable by others", |world| {
            mode(&kept(&world.home), 0o620);
        }),
        ("a home that others can change", |world| {
            mode(&world.home.path().to_owned(), 0o777);
        }),
        ("another text", |world| {
            let text = fs::read_to_string(kept(&world.home)).unwrap();
            let text = text.replace("access = \\\"write\\\"", "access = \\\"read\\\"");
            fs::write(kept(&world.home), text).unwrap();
        }),
        ("half a file", |world| {
            let text = fs::read(kept(&world.home)).unwrap();
            fs::write(kept(&world.home), &text[..text.len() / 2]).unwrap();
        }),
        ("a link", |world| {
            let moved = world.home.path().join("moved");
            fs::rename(kept(&world.home), &moved).unwrap();
            symlink(&moved, kept(&world.home)).unwrap();
        }),
        ("a second name", |world| {
            fs::hard_link(kept(&world.home), world.path("docs/policy")).unwrap();
        }),
    ];
    for (what, spoil) in spoil {
        let world = broken();
        let before = fs::read(kept(&world.home)).unwrap();
        spoil(&world);
        assert!(Law::in_force(&world.home).is_err(), "{what}");
        // As it was, it is taken.
        mode(&world.home.path().to_owned(), 0o700);
        fs::remove_file(kept(&world.home)).unwrap();
        fs::write(kept(&world.home), before).unwrap();
        mode(&kept(&world.home), 0o600);
        assert!(Law::in_force(&world.home).is_ok(), "{what}");
    }
}
