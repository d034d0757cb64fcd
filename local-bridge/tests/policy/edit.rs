//! What the owner's own commands write: exactly what they show, and never more than was asked for.

use crate::world::{World, short, words};
use local_bridge::policy::{NoChange, Policy, Proposal, propose, propose_rule};
use protocol::warrant::Wish;
use std::fs;
use std::process::{Command, Output, Stdio};
use std::thread;

const BEFORE: &str = "# mine\nsandbox = \"none\" # for now\n\n[tools] # all of them\nfiles.send = \"deny\"\n\n[[command]]\nrun = [\"cat\"] # cats\nthen = \"ask\"\n";

fn local_bridge(world: &World, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_local-bridge"));
    command.arg("--home").arg(world.home.path()).args(arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(world: &World) -> String {
    fs::read_to_string(world.home.policy()).unwrap()
}

#[test]
fn a_command_is_added_at_the_end_and_all_else_stays() {
    let world = World::new();
    world.write(BEFORE);
    let proposal = propose(&world.home, &words(&["ls", "-l"])).unwrap();
    assert_eq!(
        proposal.diff(),
        "@@ -10,0 +10,4 @@\n run = [\"cat\"] # cats\n then = \"ask\"\n+\n+[[command]]\n+run = [\"ls\", \"-l\"]\n+then = \"allow\""
    );
    assert_eq!(text(&world), BEFORE);
    let policy = proposal.write(&world.home).unwrap();
    assert!(text(&world).starts_with(BEFORE));
    assert_eq!(
        short(&policy.judge(&words(&["ls", "-l", "a"])).verdict),
        "allow 12"
    );
    assert_eq!(short(&policy.judge(&words(&["ls"])).verdict), "deny");
}

#[test]
fn a_tools_own_line_is_changed_in_one_word() {
    let world = World::new();
    let docs = World::root(&world.path("docs"));
    let lines = "[tools] # all of them\nfiles.send = \"deny\" # not yet\nfiles.trash = { then = \"ask\", rate = \"3/day\" }\n";
    world.write(&format!("{docs}{lines}"));
    let proposal = propose(&world.home, &words(&["files.send"])).unwrap();
    assert_eq!(
        proposal.diff(),
        "@@ -6,1 +6,1 @@\n access = \"write\"\n [tools] # all of them\n-files.send = \"deny\" # not yet\n+files.send = \"allow\" # not yet\n files.trash = { then = \"ask\", rate = \"3/day\" }"
    );
    proposal.write(&world.home).unwrap();
    let proposal = propose(&world.home, &words(&["files.trash"])).unwrap();
    let policy = proposal.write(&world.home).unwrap();
    assert_eq!(short(&policy.tool("files.trash")), "allow 7");
    assert_eq!(policy.tools[1].rate, Some("3/day".parse().unwrap()));
    // The folder allows it already.
    assert!(matches!(
        propose(&world.home, &words(&["files.write"])),
        Err(NoChange::Decided(_))
    ));
    // Folders are opened by hand.
    world.write("[tools]\nfiles.send = \"deny\"\n");
    assert!(matches!(
        propose(&world.home, &words(&["files.send"])),
        Err(NoChange::ByHand(_))
    ));
    assert!(matches!(
        propose(&world.home, &words(&["files.write"])),
        Err(NoChange::ByHand(_))
    ));
}

#[test]
fn nothing_is_proposed_that_would_widen_a_rule_or_allow_everything() {
    let world = World::new();
    world.write(&format!(
        "{BEFORE}\n[[command]]\nrun = [\"ls\", \"-R\"]\nthen = \"deny\"\n"
    ));
    for argv in [
        &["sh", "-c", "ls"][..],
        &["/bin/sh"],
        &["env"],
        &["git"],
        &["git", "-c", "x=y", "log"],
        &["cat", "a"],
        &["ls", "-R"],
        &["no-such-program"],
        &["ls", "\u{2013}l"],
        &["ls", "a\nb"],
    ] {
        let proposed = propose(&world.home, &words(argv));
        assert!(
            matches!(proposed, Err(NoChange::ByHand(_))),
            "{argv:?}: {proposed:?}"
        );
    }
    assert!(matches!(
        propose(&world.home, &words(&["ls", "-l"])).unwrap().write(&world.home),
        Ok(policy) if policy.commands.len() == 3
    ));
    assert!(matches!(
        propose(&world.home, &words(&["ls", "-l", "x"])),
        Err(NoChange::Decided(_))
    ));
}

fn wish(world: &World, argv: &[&str], exact: bool) -> Result<Proposal, NoChange> {
    let allow = words(argv);
    propose_rule(&world.home, &Wish { allow, exact })
}

#[test]
fn a_rule_that_asks_comes_to_allow_by_one_word_or_one_line() {
    let world = World::new();
    for (before, after) in [
        (
            "[[command]]\nthen = \"ask\" # for now\nrun = [\"cat\"]\n[tools]\n",
            "[[command]]\nthen = \"allow\" # for now\nrun = [\"cat\"]\n[tools]\n",
        ),
        (
            "[[command]]\nrun = [\n  \"cat\",\n]\nthen = \"ask\"\n\n[[command]]\nrun = [\"ls\"]\nthen = \"ask\"\n",
            "[[command]]\nrun = [\n  \"cat\",\n]\nthen = \"allow\"\n\n[[command]]\nrun = [\"ls\"]\nthen = \"ask\"\n",
        ),
        (
            "[[command]]\nargv = [\"cat\"]\n\n[[command]]\nrun = [\"ls\"]\nthen = \"ask\"\n",
            "[[command]]\nthen = \"allow\"\nargv = [\"cat\"]\n\n[[command]]\nrun = [\"ls\"]\nthen = \"ask\"\n",
        ),
    ] {
        world.write(before);
        let proposal = wish(&world, &["cat"], false).unwrap();
        assert_eq!(text(&world), before);
        let policy = proposal.write(&world.home).unwrap();
        assert_eq!(text(&world), after);
        let verdict = |argv: &[&str]| short(&policy.judge(&words(argv)).verdict);
        assert!(verdict(&["cat", "a"]).starts_with("allow"));
        assert!(!verdict(&["ls"]).starts_with("allow"));
    }
    // What is not clear, is narrower than the rule, or is dangerous, is left to the owner's hand.
    for (before, argv) in [
        ("command = [{ run = [\"cat\"] }]\n", &["cat"][..]),
        (
            "[[command]]\nrun = [\"cat\"]\nmatch = [\n[\"cat\"]\n]\nthen = \"ask\"\n",
            &["cat"],
        ),
        ("[[command]]\nrun = [\"cat\"]\nthen = 'ask'\n", &["cat"]),
        (
            "[[command]]\nrun = [\"cat\"]\nthen = \"ask\"\n",
            &["cat", "a"],
        ),
        (
            "[[command]]\nrun = [\"cat\"]\nthen = \"ask\"\n[[command]]\nrun = [\"cat\"]\n",
            &["cat"],
        ),
        (
            "[[command]]\nrun = [\"cat\"]\nthen = \"ask\"\ngrade = \"dangerous\"\n",
            &["cat"],
        ),
        ("[[command]]\nrun = [\"cat\"]\nthen = \"deny\"\n", &["cat"]),
    ] {
        world.write(before);
        let proposed = wish(&world, argv, false);
        assert!(
            matches!(proposed, Err(NoChange::ByHand(_))),
            "{before}: {proposed:?}"
        );
        assert_eq!(text(&world), before);
    }
}

#[test]
fn all_that_a_rule_says_is_shown_before_it_comes_to_allow() {
    let world = World::new();
    let other = "[[command]]\nrun = [\"ls\"]\nthen = \"ask\"\n";
    let rule = |before: &str, then: &str, after: &str| {
        format!("{other}\n[[command]]\n{before}{then}{after}\n{other}")
    };
    let (run, more) = (
        "run = [\"sort\"]\n",
        "network = true\noptions = [\n  \"--output\",\n]\n",
    );
    let (run_shown, more_shown) = (
        "\n run = [\"sort\"]",
        "\n network = true\n options = [\n   \"--output\",\n ]",
    );
    for (before, after, head, before_shown, after_shown) in [
        (
            run.to_owned(),
            more.to_owned(),
            "@@ -7,1 +7,1 @@\n [[command]]",
            run_shown.to_owned(),
            format!("{more_shown}\n "),
        ),
        (
            format!("{run}{more}"),
            String::new(),
            "@@ -11,1 +11,1 @@\n [[command]]",
            format!("{run_shown}{more_shown}"),
            "\n ".to_owned(),
        ),
    ] {
        world.write(&rule(&before, "then = \"ask\"\n", &after));
        let proposal = wish(&world, &["sort"], false).unwrap();
        assert_eq!(
            proposal.diff(),
            format!("{head}{before_shown}\n-then = \"ask\"\n+then = \"allow\"{after_shown}")
        );
        let policy = proposal.write(&world.home).unwrap();
        assert_eq!(text(&world), rule(&before, "then = \"allow\"\n", &after));
        let judged = policy.judge(&words(&["sort", "--output=x", "y"]));
        assert!(short(&judged.verdict).starts_with("allow"));
    }
    // Nor does a wish that says nothing of it hide it where `then` is not written at all.
    world.write(&format!("[[command]]\n{run}{more}"));
    assert_eq!(
        wish(&world, &["sort"], false).unwrap().diff(),
        format!("@@ -2,0 +2,1 @@\n [[command]]\n+then = \"allow\"{run_shown}{more_shown}")
    );
}

#[test]
fn exactly_these_words_are_allowed_beside_a_rule_that_asks_and_no_word_more() {
    let world = World::new();
    world.write(BEFORE);
    let proposal = wish(&world, &["cat", "a"], true).unwrap();
    assert!(
        proposal
            .diff()
            .ends_with("+run = [\"cat\", \"a\"]\n+then = \"allow\"\n+exact = true")
    );
    let policy = proposal.write(&world.home).unwrap();
    let verdict = |argv: &[&str]| short(&policy.judge(&words(argv)).verdict);
    assert!(
        verdict(&["cat", "a"]).starts_with("allow"),
        "{}",
        verdict(&["cat", "a"])
    );
    for more in [
        &["cat"][..],
        &["cat", "a", "b"],
        &["cat", "a", "-n"],
        &["cat", "b"],
    ] {
        assert!(verdict(more).starts_with("ask"), "{more:?}");
    }
    assert!(matches!(
        wish(&world, &["cat", "a"], true),
        Err(NoChange::Decided(_))
    ));
    let written = Policy::parse(&policy.written(), world.home.path()).unwrap();
    assert!(written.commands.iter().any(|rule| rule.exact));
    // Neither a rule that denies nor a dangerous one is got round by it, and it narrows nothing but an allowance.
    for harsher in ["then = \"deny\"", "then = \"ask\"\ngrade = \"dangerous\""] {
        let rule = format!("[[command]]\nrun = [\"cat\"]\n{harsher}\n");
        world.write(&rule);
        assert!(matches!(
            wish(&world, &["cat", "a"], true),
            Err(NoChange::ByHand(_))
        ));
        world.write(&format!(
            "{rule}[[command]]\nrun = [\"cat\", \"a\"]\nthen = \"allow\"\nexact = true\n"
        ));
        let policy = Policy::read(&world.home).unwrap();
        assert!(!short(&policy.judge(&words(&["cat", "a"])).verdict).starts_with("allow"));
    }
    for then in ["ask", "deny"] {
        world.write(&format!(
            "[[command]]\nrun = [\"cat\"]\nthen = \"{then}\"\nexact = true\n"
        ));
        let refused = Policy::read(&world.home).unwrap_err().to_string();
        assert!(
            refused.contains("exact = true can only stand beside"),
            "{refused}"
        );
    }
}

#[test]
fn what_was_changed_meanwhile_is_not_overwritten() {
    let world = World::new();
    world.write(BEFORE);
    let proposal = propose(&world.home, &words(&["ls"])).unwrap();
    world.write("# other\n");
    assert!(matches!(proposal.write(&world.home), Err(NoChange::Raced)));
    assert_eq!(text(&world), "# other\n");
}

#[test]
fn of_two_who_write_at_the_same_time_neither_loses_a_rule() {
    let world = World::new();
    world.write(BEFORE);
    thread::scope(|scope| {
        for option in ["-a", "-l"] {
            let home = &world.home;
            scope.spawn(move || {
                for number in 0..20 {
                    let argv = words(&["ls", option, &format!("{number}")]);
                    while let Err(raced) = propose(home, &argv).unwrap().write(home) {
                        assert!(matches!(raced, NoChange::Raced), "{raced}");
                    }
                }
            });
        }
    });
    let policy = Policy::read(&world.home).unwrap();
    assert_eq!(policy.commands.len(), 41);
}

#[test]
fn the_command_line_shows_the_change_and_writes_nothing_where_nobody_can_be_asked() {
    let world = World::new();
    world.write(BEFORE);
    let refused = local_bridge(&world, &["policy", "allow", "ls", "-l"]);
    assert!(!refused.status.success());
    let (out, err) = (
        String::from_utf8_lossy(&refused.stdout).into_owned(),
        String::from_utf8_lossy(&refused.stderr).into_owned(),
    );
    assert!(out.contains("+run = [\"ls\", \"-l\"]\n"), "{out}");
    assert!(err.contains("nobody can be asked here"), "{err}");
    assert_eq!(text(&world), BEFORE);
    let written = local_bridge(&world, &["policy", "allow", "--yes", "ls", "-l"]);
    assert!(written.status.success(), "{written:?}");
    let out = String::from_utf8_lossy(&written.stdout).into_owned();
    assert!(
        out.ends_with("allowed: ls -l\nrule:   policy.toml line 12: allow ls -l\n"),
        "{out}"
    );
    let explained = local_bridge(&world, &["policy", "explain", "cat", "-n"]);
    let out = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(
        out.starts_with("asks: cat -n\nrule:   policy.toml line 8: ask cat\n"),
        "{out}"
    );
}

#[test]
fn a_changed_program_is_accepted_by_its_owner_at_home() {
    let world = World::new();
    let program = world.program("tool", "#!/bin/sh\necho one\n");
    let program = program.display().to_string();
    world.write(&format!(
        "[[command]]\nrun = [{program:?}]\nthen = \"allow\"\n"
    ));
    assert!(local_bridge(&world, &["policy", "check"]).status.success());
    world.program("tool", "#!/bin/sh\necho two\n");
    let told = local_bridge(&world, &["policy", "check"]);
    let out = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(out.contains("NOT STARTED"), "{out}");
    assert!(
        !local_bridge(&world, &["policy", "check", "--accept"])
            .status
            .success()
    );
    assert!(
        local_bridge(&world, &["policy", "check", "--accept", "--yes"])
            .status
            .success()
    );
    let allowed = |policy: Policy| short(&policy.judge(&words(&[&program])).verdict);
    assert_eq!(allowed(Policy::read(&world.home).unwrap()), "allow 2");
    world.program("tool", "#!/bin/sh\necho three\n");
    assert!(
        local_bridge(&world, &["policy", "allow", "--yes", &program])
            .status
            .success()
    );
    assert_eq!(allowed(Policy::read(&world.home).unwrap()), "allow 2");
}
