//! A policy that others would like to write, and programs that it should not start.

use crate::machine::{Machine, opened};
use local_bridge::approve::rule;
use local_bridge::calls::Order;
use local_bridge::home::Home;
use local_bridge::policy::{AskedBy, Command as Rule, Law, Policy, Programs, Then, Verdict};
use protocol::call::{CallId, Outcome, ToolName};
use protocol::key::SigningKey;
use protocol::warrant::PROPOSE;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

/// A home beside an open folder, and a folder of programs.
struct World {
    machine: Machine,
    home: Home,
}

impl World {
    fn new() -> Self {
        let machine = Machine::new();
        let home = Home::open(&machine.outside("home")).unwrap();
        fs::create_dir(machine.outside("bin")).unwrap();
        Self { machine, home }
    }

    fn program(&self, name: &str) -> String {
        let path = self.machine.outside("bin").join(name);
        fs::write(&path, "#!/bin/sh\necho ran\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    fn write(&self, text: &str) {
        self.home.write("policy.toml", text).unwrap();
    }

    fn parse(&self, text: &str) -> Result<Policy, String> {
        let programs = Programs::in_folders(vec![self.machine.outside("bin")]);
        let policy = Policy::parse_with(text, self.home.path(), &programs);
        policy.map_err(|error| error.to_string())
    }

    fn root(&self, folder: &str) -> String {
        let path = self.machine.outside(folder).display().to_string();
        format!("[[root]]\nname = \"r\"\npath = {path:?}\naccess = \"write\"\n")
    }
}

fn words(argv: &[&str]) -> Vec<String> {
    argv.iter().map(|word| (*word).to_owned()).collect()
}

fn allows(policy: &Policy, argv: &[&str]) -> bool {
    let verdict = policy.judge(&words(argv)).verdict;
    matches!(verdict, Verdict::Allow { .. })
}

fn allowing(program: &str) -> String {
    format!("[[command]]\nrun = [{program:?}]\nthen = \"allow\"\n")
}

#[test]
fn a_strangers_line_succeeds_only_without_the_look_at_who_may_write() {
    let world = World::new();
    let tool = world.program("tool");
    world.write("");
    let file = world.home.policy();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o622)).unwrap();
    fs::write(&file, allowing(&tool)).unwrap(); // as anyone on the machine could
    assert!(Policy::read(&world.home).is_err());
    let unlooked = world.parse(&fs::read_to_string(&file).unwrap()).unwrap();
    assert!(allows(&unlooked, &[&tool]));
}

#[test]
fn a_policy_rewritten_by_a_file_tool_succeeds_only_without_the_rule_that_keeps_it_apart() {
    let world = World::new();
    let tool = world.program("tool");
    world.write("");
    let mut law = Law::open(&world.home).unwrap();
    for folder in ["home", ""] {
        let refusal = world.parse(&world.root(folder)).unwrap_err();
        assert!(refusal.contains("lie in one another"), "{refusal}");
    }
    let rewrite = json!({"path": "docs/home/policy.toml", "text": allowing(&tool)});
    let outcome = world.machine.run("c1", "files.write", rewrite);
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}"); // in its own folder, where it is nobody's law
    assert!(!allows(&law.current(), &[&tool]));
    // A root around the bridge's own folder, as no policy that is read can have it.
    let mut around = Machine::new();
    around.policy = opened(&world.machine.outside(""));
    let rewrite = json!({"path": "docs/home/policy.toml", "text": allowing(&tool)});
    let outcome = around.run("c2", "files.write", rewrite);
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert!(allows(&law.current(), &[&tool]));
}

#[test]
fn a_broken_file_that_stops_the_machine_succeeds_only_without_the_last_good_one() {
    let world = World::new();
    world.write(&world.root("docs"));
    let mut law = Law::open(&world.home).unwrap();
    assert_eq!(law.current().roots.len(), 1);
    world.write("[[root]]\nname = ");
    assert_eq!(law.current().roots.len(), 1);
    let forgetful = Policy::read(&world.home).unwrap_or_else(|_| Policy::nothing());
    assert_eq!(forgetful.roots.len(), 0);
}

#[test]
fn a_mistyped_refusal_succeeds_only_without_the_strict_words() {
    let world = World::new();
    let tool = world.program("tool");
    let mistyped = format!(
        "[[command]]\nrun = [{tool:?}, \"clean\"]\nthen = \"allow\"\n[[comand]]\nrun = [{tool:?}]\nthen = \"deny\"\n"
    );
    let refusal = world.parse(&mistyped).unwrap_err();
    assert!(refusal.contains("comand"), "{refusal}");
    // A reader that passes over what it does not know.
    let mut read: toml::Table = mistyped.parse().unwrap();
    let known = ["root", "command", "tools"];
    read.retain(|word, _| known.contains(&word));
    let lenient = world.parse(&read.to_string()).unwrap();
    assert!(allows(&lenient, &[&tool, "clean"]));
    // Spelt as it was meant.
    let meant = world.parse(&mistyped.replace("comand", "command"));
    assert!(!allows(&meant.unwrap(), &[&tool, "clean"]));
}

#[test]
fn a_command_that_no_rule_begins_succeeds_only_where_a_rule_is_made_for_it() {
    let world = World::new();
    let (tool, other) = (world.program("tool"), world.program("other"));
    let policy = world.parse(&allowing(&other)).unwrap();
    assert!(!allows(&policy, &[&tool]));
    let policy = world.parse(&(allowing(&other) + &allowing(&tool))).unwrap();
    assert!(allows(&policy, &[&tool]));
}

#[test]
fn a_shell_that_runs_anything_succeeds_only_without_the_rule_about_interpreters() {
    let world = World::new();
    for name in ["sh", "env", "xargs", "find", "python3", "perl"] {
        let program = world.program(name);
        let refusal = world.parse(&allowing(&program)).unwrap_err();
        assert!(refusal.contains("dangerous"), "{name}: {refusal}");
        let unread = Policy {
            commands: vec![Rule {
                then: Then::Allow,
                ..Rule::new(words(&[name]), program.clone().into())
            }],
            ..Policy::nothing()
        };
        // Such a policy, made by hand, still meets the look at each word; without that, too, the beginning is all that counts.
        let argv = [name, "-c", "rm -rf ."];
        assert!(!allows(&unread, &argv), "{name}");
        let verdict = unread.judge_by_beginning(&words(&argv)).verdict;
        assert!(matches!(verdict, Verdict::Allow { .. }), "{name}");
    }
}

#[test]
fn a_program_that_bernard_can_write_succeeds_only_without_the_look_at_where_it_lies() {
    let world = World::new();
    let tool = world.machine.docs("tool").display().to_string();
    fs::copy(world.program("tool"), &tool).unwrap();
    let text = world.root("docs") + &allowing(&tool);
    let refusal = world.parse(&text).unwrap_err();
    assert!(refusal.contains("where Bernard may change it"), "{refusal}");
    let unlooked = Policy {
        commands: vec![Rule {
            then: Then::Allow,
            ..Rule::new(words(&[&tool]), tool.clone().into())
        }],
        ..opened(&world.machine.docs(""))
    };
    assert!(allows(&unlooked, &[&tool]));
}

#[test]
fn a_thousand_calls_an_hour_succeed_only_without_the_rate() {
    let world = World::new();
    let tool = world.program("tool");
    let now = Instant::now();
    let runs = |rate: &str| {
        let policy = world.parse(&(allowing(&tool) + rate)).unwrap();
        let admitted = |_: &usize| {
            policy
                .admit_command(&words(&[&tool]), AskedBy::Chat, now)
                .is_ok()
        };
        (0..1000).filter(admitted).count()
    };
    assert_eq!(runs("rate = \"3/hour\"\n"), 3);
    assert_eq!(runs(""), 1000);
}

#[test]
fn a_rule_wished_for_over_the_tunnel_succeeds_only_without_the_yes_at_home() {
    let world = World::new();
    let tool = world.program("tool");
    world.write("");
    let make = |yes: Option<String>| {
        let policy = Policy::read(&world.home).unwrap();
        let order = Order {
            call: CallId("c1".into()),
            attempt: 1,
            tool: ToolName::new(PROPOSE),
            arguments: json!({"allow": [tool], "exact": false}),
            asked: true, // the Worker says that the person has said yes, and that is worth nothing here
            yes,
        };
        rule::make(&world.home, &policy, &order);
        allows(&Policy::read(&world.home).unwrap(), &[&tool])
    };
    assert!(!make(None));
    assert!(!make(Some("another policy's".into())));
    let sha256 = Policy::read(&world.home).unwrap().sha256;
    assert!(make(Some(sha256)));
}

#[test]
fn a_key_that_everyone_can_read_succeeds_only_without_the_look_at_its_mode() {
    let world = World::new();
    let public = world.home.make_key().unwrap().public();
    let file = world.home.path().join("key");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(world.home.key().is_err()); // no session with a key that may be another's by now
    let taken = SigningKey::from_text(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(taken.public(), public);
}
