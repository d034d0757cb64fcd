//! Four hundred ways around the rules, and the ordinary commands beside them: the first must fail, the second succeed.

use crate::world::World;
use local_bridge::policy::{Policy, Verdict};

const AROUND: &str = include_str!("around.txt");
const ORDINARY: &str = include_str!("ordinary.txt");
const GENEROUS: &str = include_str!("generous.toml");

fn lines(text: &str) -> Vec<Vec<String>> {
    let lines = text.lines().filter(|line| line.starts_with('['));
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn generous() -> (World, Policy) {
    let world = World::new();
    let named = GENEROUS
        .lines()
        .filter_map(|line| line.strip_prefix("run = [\""));
    for line in named {
        world.program(line.split('"').next().unwrap(), "a program");
    }
    let policy = world.policy(GENEROUS);
    (world, policy)
}

fn allowed(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Allow { .. })
}

#[test]
fn none_of_the_ways_around_the_rules_is_allowed() {
    let (_world, policy) = generous();
    let around = lines(AROUND);
    assert!(around.len() >= 200, "{}", around.len());
    let through: Vec<_> = around
        .iter()
        .filter(|argv| allowed(&policy.judge(argv).verdict))
        .collect();
    assert!(through.is_empty(), "{through:#?}");
}

#[test]
fn ordinary_commands_are_allowed() {
    let (_world, policy) = generous();
    let ordinary = lines(ORDINARY);
    assert!(ordinary.len() >= 40, "{}", ordinary.len());
    let stopped: Vec<_> = ordinary
        .iter()
        .map(|argv| (argv, policy.judge(argv).verdict))
        .filter(|(_, verdict)| !allowed(verdict))
        .collect();
    assert!(stopped.is_empty(), "{stopped:#?}");
}

#[test]
fn beginnings_alone_would_let_many_of_them_through() {
    let (_world, policy) = generous();
    let around = lines(AROUND);
    let through = around
        .iter()
        .filter(|argv| allowed(&policy.judge_by_beginning(argv).verdict))
        .count();
    // Without a look at the words after the beginning; a corpus that only named unknown programs would prove nothing.
    assert_eq!(through, 215);
}
