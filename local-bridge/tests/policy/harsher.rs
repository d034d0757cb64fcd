//! A harsher rule is not got round: not by a word between its own, nor by a spelling that nobody knows.

use crate::world::{World, short, words};
use local_bridge::policy::{AskedBy, Policy, Verdict};
use protocol::tools::Grade;
use std::time::Instant;

fn rule(run: &str, rest: &str) -> String {
    format!("[[command]]\nrun = {run}\n{rest}\n")
}

fn policy(rules: &[String]) -> (World, Policy) {
    let world = World::new();
    for name in ["git", "todo", "other"] {
        world.program(name, "a program");
    }
    let policy = world.policy(&rules.concat());
    (world, policy)
}

/// The verdict in a word, with the grade of a question.
fn graded(policy: &Policy, argv: &[&str]) -> String {
    match policy.judge(&words(argv)).verdict {
        Verdict::Ask { grade, by, .. } => format!("ask {} {grade:?}", by.line),
        verdict @ (Verdict::Allow { .. } | Verdict::Deny { .. }) => short(&verdict),
    }
}

#[test]
fn a_word_between_its_own_does_not_get_round_a_rule_that_denies() {
    let (_world, policy) = policy(&[
        rule(r#"["todo"]"#, "then = \"allow\"\noptions = [\"-v\"]"),
        rule(r#"["todo", "list", "--all"]"#, "then = \"deny\""),
    ]);
    for (argv, verdict) in [
        (&["todo", "list", "--all"][..], "deny 6"),
        (&["todo", "-v", "list", "--all"], "deny 6"),
        (&["todo", "list", "x", "--all"], "deny 6"),
        (&["todo", "list", "x", "--all=yes"], "deny 6"),
        (&["todo", "list", "x"], "allow 2"),
        (&["todo", "-v", "list", "everything"], "allow 2"),
        // In another order it is something else, and is looked at like any option.
        (&["todo", "--all", "list"], "ask 2 Execute"),
    ] {
        assert_eq!(graded(&policy, argv), verdict, "{argv:?}");
    }
}

#[test]
fn a_word_between_its_own_does_not_get_round_a_rule_that_asks() {
    let (_world, policy) = policy(&[
        rule(r#"["todo"]"#, "then = \"allow\""),
        rule(r#"["todo", "list"]"#, "then = \"ask\""),
        rule(r#"["todo", "burn"]"#, "grade = \"dangerous\""),
    ]);
    assert_eq!(graded(&policy, &["todo", "x"]), "allow 2");
    assert_eq!(graded(&policy, &["todo", "x", "list"]), "ask 5 Execute");
    assert_eq!(graded(&policy, &["todo", "x", "burn"]), "ask 8 Dangerous");
    // Of two that ask, the one that thinks worst of it decides.
    let both = words(&["todo", "list", "burn"]);
    assert_eq!(
        graded(&policy, &["todo", "list", "burn"]),
        "ask 8 Dangerous"
    );
    let admit = |yes| policy.admit_command(&both, yes, Instant::now());
    assert!(admit(AskedBy::Chat).is_err());
    assert!(admit(AskedBy::Home).is_ok());
}

#[test]
fn a_rule_that_asks_opens_only_what_begins_as_it_says() {
    let (_world, policy) = policy(&[rule(r#"["git", "commit"]"#, "then = \"ask\"")]);
    assert_eq!(graded(&policy, &["git", "commit"]), "ask 2 Execute");
    assert_eq!(
        graded(&policy, &["git", "-c", "alias.x=!sh", "x", "commit"]),
        "deny"
    );
}

#[test]
fn what_nobody_knows_is_graded_by_the_harshest_rule_about_its_program() {
    let (_world, policy) = policy(&[
        rule(r#"["todo", "list"]"#, "then = \"allow\""),
        rule(r#"["todo", "add"]"#, "then = \"ask\""),
        rule(r#"["todo", "burn"]"#, "grade = \"dangerous\""),
        rule(r#"["other"]"#, "then = \"allow\""),
    ]);
    for (argv, verdict) in [
        (&["todo", "list", "a"][..], "allow 2"),
        (&["todo", "list", "-b"], "ask 2 Dangerous"),
        (&["todo", "list", "--", "b"], "ask 2 Dangerous"),
        (&["todo", "add", "a"], "ask 5 Execute"),
        (&["todo", "add", "-b"], "ask 5 Dangerous"),
        (&["other", "-b"], "ask 11 Execute"),
    ] {
        assert_eq!(graded(&policy, argv), verdict, "{argv:?}");
    }
    let asked = policy.judge(&words(&["todo", "list", "-b"])).verdict;
    let Verdict::Ask { grade, why, .. } = asked else {
        panic!("{asked:?}");
    };
    assert_eq!(grade, Grade::Dangerous);
    assert_eq!(
        why,
        "what '-b' does in todo is not known here, and it may be what this rule is about: policy.toml line 8: ask todo burn"
    );
}
