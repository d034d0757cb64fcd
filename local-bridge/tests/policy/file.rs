//! The file: what may stand in it, what is wrong with it and where, and how its rules stand to each other.

use crate::world::{World, short, words};
use local_bridge::policy::{self, AskedBy, Law, Policy, Sandbox, Then, Unfit, explain};
use protocol::session::Access;
use protocol::tools::Grade;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn judged(policy: &Policy, argv: &[&str]) -> String {
    short(&policy.judge(&words(argv)).verdict)
}

#[test]
fn what_init_writes_is_read_back_and_is_the_owners_alone() {
    let world = World::new();
    let docs = PathBuf::from(world.path("docs"));
    let roots = [("docs".to_owned(), docs, Access::Write)];
    let commands = [words(&["ls", "-l"])];
    policy::init(&world.home, &roots, &commands, Sandbox::None, false).unwrap();
    let policy = Policy::read(&world.home).unwrap();
    assert_eq!(
        policy.summary(),
        "folders: docs (read and write); commands: ls -l (asks)"
    );
    assert_eq!(policy.sandbox, Sandbox::None);
    let mode = fs::metadata(world.home.policy())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = policy::init(&world.home, &roots, &[], Sandbox::None, false);
    assert!(matches!(again, Err(Unfit::Exists(_))));
    for (commands, sandbox) in [(&commands[..], Sandbox::Required), (&[], Sandbox::None)] {
        let policy = policy::init(&world.home, &roots, commands, sandbox, true).unwrap();
        assert_eq!(policy.sandbox, Sandbox::Required);
    }
}

#[test]
fn the_example_file_is_a_policy() {
    let world = World::new();
    let example = include_str!("../../policy.example.toml");
    let text = example.replace("/Users/anna/Documents", &world.path("docs"));
    assert_ne!(text, example);
    let policy = Policy::parse(&text, world.home.path()).unwrap();
    assert_eq!(policy.roots.len(), 1);
    assert_eq!(policy.sandbox, Sandbox::Required);
    assert_eq!(policy.approvals, Duration::from_mins(30));
    assert_eq!(judged(&policy, &["ls", "-l", "letters"]), "allow 25");
    assert_eq!(judged(&policy, &["ls"]), "deny");
}

#[test]
fn every_example_in_the_readme_is_a_policy() {
    let world = World::new();
    for program in ["git", "ls"] {
        world.program(program, "a program");
    }
    let readme = include_str!("../../README.md");
    let examples = readme.split("```toml\n").skip(1);
    let examples: Vec<&str> = examples
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(examples.len() >= 2, "{}", examples.len());
    for example in examples {
        let policy = world.policy(&example.replace("/Users/anna/Documents", &world.path("docs")));
        assert!(
            !policy.commands.is_empty() || !policy.tools.is_empty(),
            "{example}"
        );
    }
}

#[test]
fn a_policy_that_others_can_change_is_refused() {
    let world = World::new();
    world.write(&World::root(&world.path("docs")));
    for (mode, accepted) in [(0o600, true), (0o644, true), (0o620, false), (0o602, false)] {
        fs::set_permissions(world.home.policy(), fs::Permissions::from_mode(mode)).unwrap();
        let read = Policy::read(&world.home);
        assert_eq!(read.is_ok(), accepted, "{mode:o}");
    }
}

#[test]
fn a_policy_whose_folder_anyone_can_exchange_is_refused() {
    let world = World::new();
    let shared = PathBuf::from(world.path("shared"));
    let own = shared.join("own");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("policy.toml"), "").unwrap();
    for private in [&own, &own.join("policy.toml")] {
        fs::set_permissions(private, fs::Permissions::from_mode(0o700)).unwrap();
    }
    symlink(own.join("policy.toml"), world.home.policy()).unwrap();
    for (mode, accepted) in [(0o755, true), (0o777, false), (0o1777, true)] {
        fs::set_permissions(&shared, fs::Permissions::from_mode(mode)).unwrap();
        let read = Policy::read(&world.home);
        assert_eq!(read.is_ok(), accepted, "{mode:o}: {read:?}");
    }
}

#[test]
fn a_policy_that_is_a_link_into_an_opened_folder_is_refused() {
    let world = World::new();
    let text = World::root(&world.path("docs"));
    for (folder, accepted) in [("docs", false), ("bin", true)] {
        let target = world.path(&format!("{folder}/policy.toml"));
        fs::write(&target, &text).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        fs::remove_file(world.home.policy()).ok();
        symlink(&target, world.home.policy()).unwrap();
        let read = Policy::read(&world.home);
        assert_eq!(read.is_ok(), accepted, "{folder}: {read:?}");
    }
}

#[test]
fn a_root_never_opens_the_machine_the_home_folder_or_the_bridges_own() {
    let world = World::new();
    let user_home = std::env::home_dir().unwrap().display().to_string();
    for (path, why) in [
        ("/".to_owned(), "whole machine"),
        (user_home, "whole home folder"),
        (
            world.folder.path().display().to_string(),
            "lie in one another",
        ),
        (world.path("home"), "lie in one another"),
        ("docs".to_owned(), "whole path"),
        (world.path("nowhere"), "cannot be opened"),
    ] {
        let refusal = world.refusal(&World::root(&path));
        assert!(refusal.contains(why), "{path}: {refusal}");
        assert!(refusal.starts_with("policy.toml line 3: "), "{refusal}");
    }
}

#[test]
fn what_is_unknown_or_doubled_is_refused_with_its_line() {
    let world = World::new();
    world.program("ls", "a program");
    let docs = World::root(&world.path("docs"));
    let refusal = world.refusal(&format!("{docs}\n{docs}"));
    assert_eq!(refusal, "policy.toml line 7: two folders are named 'docs'");
    for (text, line, why) in [
        (
            "[[root]]\nname = \"a\"\npath = \"/a\"\naccess = \"all\"\n",
            "line 4",
            "all",
        ),
        ("approved = true\n", "line 1", "approved"),
        (
            "approvals = \"25h\"\n",
            "line 1",
            "no time that a question can stay open",
        ),
        ("approvals = \"0m\"\n", "line 1", "no time that"),
        ("approvals = \"30\"\n", "line 1", "no time that"),
        ("approvals = \"é\"\n", "line 1", "no time that"),
        ("approvals = \"\"\n", "line 1", "no time that"),
        (
            "[[command]]\nrun = [\"ls\"]\nthen = \"yes\"\n",
            "line 3",
            "yes",
        ),
        (
            "[[command]]\nrun = [\"ls\"]\nrate = \"often\"\n",
            "line 3",
            "'often' is no rate",
        ),
        (
            "[[command]]\nrun = [\"ls\"]\nthen = \"deny\"\nrate = \"1/day\"\n",
            "line 4",
            "has no rate",
        ),
        (
            "[[command]]\nrun = [\"ls\"]\noptions = [\"o\"]\n",
            "line 3",
            "'o' is no option",
        ),
        (
            "[[command]]\nrun = [\"ls\"]\noptions = [\"--\"]\n",
            "line 3",
            "'--' is no option",
        ),
        (
            "[[command]]\nrun = [\"ls\"]\nthen = \"allow\"\ngrade = \"dangerous\"\n",
            "line 4",
            "never allowed without",
        ),
        ("[[command]]\nrun = \"ls -l\"\n", "line 2", "sequence"),
        (
            "[[command]]\nrun = [\"ls -l\"]\n",
            "line 2",
            "run = [\"ls\", \"-l\"]",
        ),
        (
            "[[command]]\nrun = [\"ls\", \"\\u2013l\"]\n",
            "line 2",
            "looks like an option",
        ),
        (
            "[[command]]\nrun = [\"ls\"]\nargv = [\"ls\"]\n",
            "line 1",
            "duplicate",
        ),
        (
            "[tools]\nfiles.burn = \"ask\"\n",
            "line 2",
            "there is no tool 'files.burn'",
        ),
        ("[tools]\nfiles.write = \"maybe\"\n", "line 2", "maybe"),
        (
            "[tools]\nfiles.write = { rate = \"1/day\" }\n",
            "line 2",
            "needs `then`",
        ),
        (
            "[tools]\nfiles.write = \"ask\"\n\"files.write\" = \"allow\"\n",
            "line 3",
            "two lines are about files.write",
        ),
        ("tools = \"ask\"\n", "line 1", "[tools] holds lines"),
    ] {
        let refusal = world.refusal(text);
        assert!(
            refusal.contains(line) && refusal.contains(why),
            "{text}\n{refusal}"
        );
    }
}

#[test]
fn programs_that_run_others_are_listed_only_as_dangerous_and_asked_about() {
    let world = World::new();
    for name in ["sh", "env", "find", "git", "python3.13", "awk", "ls"] {
        world.program(name, "a program");
    }
    symlink(world.path("bin/sh"), world.path("bin/harmless")).unwrap();
    for argv in [
        r#"["sh", "-c"]"#,
        r#"["env", "ls"]"#,
        r#"["find", "."]"#,
        r#"["python3.13"]"#,
        r#"["harmless"]"#,
    ] {
        for (rest, accepted) in [
            ("", false),
            ("then = \"allow\"", false),
            ("then = \"ask\"", false),
            ("grade = \"dangerous\"", true),
            ("then = \"deny\"", true),
        ] {
            let text = format!("[[command]]\nrun = {argv}\n{rest}\n");
            assert_eq!(world.parse(&text).is_ok(), accepted, "{text}");
        }
    }
    for argv in [
        r#"["git"]"#,
        r#"["git", "-c"]"#,
        r#"["git", "st"]"#,
        r#"["no-such-program"]"#,
        r#"["./ls"]"#,
        "[]",
        r#"[""]"#,
    ] {
        let refusal = world.refusal(&format!("[[command]]\nargv = {argv}\n"));
        assert!(
            refusal.starts_with("policy.toml line 2: "),
            "{argv}: {refusal}"
        );
    }
}

#[test]
fn a_program_that_bernard_or_anyone_could_change_is_refused() {
    let world = World::new();
    let docs = World::root(&world.path("docs"));
    let inside = world.path("docs/tool");
    fs::copy(world.program("tool", "a program"), &inside).unwrap();
    let refusal = world.refusal(&format!("{docs}[[command]]\nrun = [{inside:?}]\n"));
    assert!(refusal.contains("where Bernard may change it"), "{refusal}");
    let open = world.program("open-to-all", "a program");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o757)).unwrap();
    let refusal = world.refusal("[[command]]\nrun = [\"open-to-all\"]\n");
    assert!(refusal.contains("can be changed by anyone"), "{refusal}");
}

#[test]
fn the_harshest_rule_wins_wherever_it_stands() {
    let world = World::new();
    let git = world.program("git", "a program");
    let rule = |run: &str, then: &str| format!("[[command]]\nrun = {run}\nthen = \"{then}\"\n");
    let whole = format!("[\"{}\", \"status\", \"-s\"]", git.display());
    let rules = [
        rule(r#"["git", "status"]"#, "allow"),
        rule(r#"["git", "status", "--short"]"#, "ask"),
        rule(r#"["git", "status", "--short", "x"]"#, "deny"),
        rule(&whole, "deny"),
    ];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
        let text = order.map(|at| rules[at].clone()).concat();
        let policy = world.policy(&text);
        let then = |argv: &[&str]| judged(&policy, argv).split(' ').next().unwrap().to_owned();
        assert_eq!(then(&["git", "status"]), "allow");
        assert_eq!(then(&["git", "status", "--short"]), "ask");
        assert_eq!(then(&["git", "status", "--short", "y"]), "ask");
        assert_eq!(then(&["git", "status", "--short", "x", "y"]), "deny");
        // The same program by another name.
        assert_eq!(then(&["git", "status", "-s"]), "deny");
        assert_eq!(then(&["git"]), "deny");
        assert_eq!(then(&[]), "deny");
    }
}

#[test]
fn a_rule_asks_unless_it_says_otherwise_and_the_old_name_of_run_is_understood() {
    let world = World::new();
    world.program("ls", "a program");
    let policy = world.policy("[[command]]\nargv = [\"ls\", \"-l\"]\n");
    assert_eq!(judged(&policy, &["ls", "-l", "a"]), "ask 2");
    assert_eq!(judged(&policy, &["ls", "-la"]), "deny");
    assert_eq!(judged(&policy, &["/bin/ls", "-l"]), "deny");
    assert_eq!(policy.shown_commands(), [words(&["ls", "-l"])]);
    assert_eq!(policy.asking_commands(), [words(&["ls", "-l"])]);
}

#[test]
fn a_folder_is_not_opened_for_more_by_the_name_of_one_around_it() {
    let world = World::new();
    fs::create_dir(world.path("docs/archive")).unwrap();
    let root = |name: &str, path: &str, access: &str| {
        let path = world.path(path);
        format!("[[root]]\nname = \"{name}\"\npath = \"{path}\"\naccess = \"{access}\"\n")
    };
    let all = ["read", "append", "write"];
    for (outer, around) in all.iter().enumerate() {
        for (inner, within) in all.iter().enumerate() {
            for (path, accepted) in [
                ("docs/archive", inner >= outer),
                ("docs", inner == outer),
                ("bin", true),
            ] {
                let roots = [root("docs", "docs", around), root("archive", path, within)];
                for text in [roots.concat(), [&*roots[1], &*roots[0]].concat()] {
                    assert_eq!(world.parse(&text).is_ok(), accepted, "{text}");
                }
            }
        }
    }
    let text = root("docs", "docs", "write") + &root("archive", "docs/archive", "append");
    assert_eq!(
        world.refusal(&text),
        "policy.toml line 6: the folder 'archive' (read and add) lies in the folder 'docs' (read and write), \
         by whose name it could be changed; open both for the same, or one of them elsewhere"
    );
}

#[test]
fn a_rule_that_denies_a_plain_name_is_about_every_program_of_that_name() {
    let world = World::new();
    let elsewhere = world.path("docs/tool");
    fs::copy(world.program("other", "a program"), &elsewhere).unwrap();
    let policy = world.policy(&format!(
        "[[command]]\nrun = [{elsewhere:?}]\nthen = \"allow\"\n[[command]]\nrun = [\"tool\", \"wipe\"]\nthen = \"deny\"\n"
    ));
    assert_eq!(judged(&policy, &[&elsewhere, "show"]), "allow 2");
    assert_eq!(judged(&policy, &[&elsewhere, "wipe"]), "deny 5");
    assert_eq!(judged(&policy, &[&elsewhere, "-v", "wipe"]), "deny 5");
}

#[test]
fn an_example_is_about_its_own_rule_and_all_that_this_reaches() {
    let world = World::new();
    world.program("git", "a program");
    let deny = "[[command]]\nrun = [\"git\", \"push\"]\nthen = \"deny\"\n";
    world.policy(&format!(
        "{deny}match = [[\"git\", \"push\", \"-f\"], [\"git\", \"-C\", \"x\", \"push\"]]\nnot_match = [[\"git\", \"log\"]]\n"
    ));
    let refusal = world.refusal(&format!(
        "{deny}not_match = [[\"git\", \"log\", \"push\"]]\n"
    ));
    assert!(refusal.contains("is 'deny' all the same"), "{refusal}");
    let refusal = world.refusal(&format!("{deny}match = [[\"git\", \"log\"]]\n"));
    assert!(
        refusal.contains("not all of its words are there"),
        "{refusal}"
    );
    // Another rule's word is not this one's.
    let both = "[[command]]\nrun = [\"git\", \"log\"]\nthen = \"allow\"\n[[command]]\nrun = [\"git\", \"log\", \"-1\"]\nthen = \"allow\"\nexact = true\n";
    world.policy(&format!("{both}match = [[\"git\", \"log\", \"-1\"]]\n"));
    let refusal = world.refusal(&format!(
        "{both}match = [[\"git\", \"log\", \"-1\", \"x\"]]\n"
    ));
    assert!(refusal.contains("it begins otherwise"), "{refusal}");
}

#[test]
fn examples_are_checked_when_the_file_is_read() {
    let world = World::new();
    world.program("git", "a program");
    let text = |examples: &str| {
        format!(
            "[[command]]\nrun = [\"git\", \"log\"]\nthen = \"allow\"\n{examples}\n[[command]]\nrun = [\"git\", \"log\", \"-p\"]\nthen = \"deny\"\nmatch = [[\"git\", \"log\", \"-p\", \"x\"]]\nnot_match = [[\"git\", \"log\"]]\n"
        )
    };
    world.policy(&text(
        "match = [\n  [\"git\", \"log\", \"-1\"],\n]\nnot_match = [[\"git\", \"push\"], [\"git\", \"log\", \"--output=x\"], [\"git\", \"log\", \"-p\"]]",
    ));
    for (examples, line, why) in [
        (
            "match = [\n  [\"git\", \"log\"],\n  [\"git\", \"push\"],\n]",
            6,
            "it begins otherwise",
        ),
        (
            "match = [[\"git\", \"log\", \"--output=x\"]]",
            4,
            "can write files or start programs",
        ),
        ("match = [[\"git\", \"log\", \"-p\"]]", 4, "deny git log -p"),
        (
            "not_match = [[\"git\", \"log\", \"-2\"]]",
            4,
            "'allow' all the same",
        ),
    ] {
        let refusal = world.refusal(&text(examples));
        assert!(
            refusal.starts_with(&format!("policy.toml line {line}: the example")),
            "{refusal}"
        );
        assert!(refusal.contains(why), "{refusal}");
    }
}

#[test]
fn tools_are_named_by_folders_and_commands_and_narrowed_by_lines() {
    let world = World::new();
    world.program("ls", "a program");
    let docs = World::root(&world.path("docs"));
    let rules = "[tools]\nfiles.send = \"deny\"\n\"files.write\" = \"ask\"\nfiles.trash = { then = \"ask\", grade = \"dangerous\" }\n[tools.shell]\nrun = \"ask\"\n";
    let command = "[[command]]\nrun = [\"ls\"]\n";
    let policy = world.policy(&format!("{docs}{command}{rules}"));
    let tool = |name: &str| short(&policy.tool(name));
    assert_eq!(tool("files.read"), "allow 2");
    assert_eq!(tool("files.write"), "ask 9");
    assert_eq!(tool("files.send"), "deny 8");
    assert_eq!(tool("shell.run"), "ask 12");
    assert_eq!(tool("files.burn"), "deny");
    assert_eq!(
        policy.asking_tools(),
        ["files.trash", "files.write", "shell.run"]
    );
    let now = Instant::now();
    let admit = |name: &str, yes| policy.admit_tool(name, yes, now);
    assert_eq!(admit("files.read", AskedBy::Nobody), Ok(()));
    assert_eq!(admit("shell.run", AskedBy::Nobody), Ok(())); // the chat has asked
    assert_eq!(admit("files.write", AskedBy::Home), Ok(()));
    assert_eq!(admit("files.trash", AskedBy::Home), Ok(()));
    for (name, why) in [
        ("files.send", "denies files.send"),
        ("files.write", "needs a yes at home"),
        ("files.trash", "needs a yes at home"),
        ("files.burn", "has no tool"),
    ] {
        let refused = admit(name, AskedBy::Nobody).unwrap_err();
        assert!(refused.contains(why), "{name}: {refused}");
    }
    // A line opens no folder.
    let policy = world.policy("[tools]\nfiles.write = \"allow\"\n");
    assert_eq!(short(&policy.tool("files.write")), "deny");
    let reading = docs.replace("\"write\"", "\"read\"");
    let policy = world.policy(&format!("{reading}[tools]\nfiles.write = \"allow\"\n"));
    assert_eq!(short(&policy.tool("files.write")), "deny");
}

#[test]
fn what_has_a_rate_is_refused_when_it_has_been_that_often() {
    let world = World::new();
    world.program("ls", "a program");
    let policy = world.policy("[[command]]\nrun = [\"ls\"]\nthen = \"allow\"\nrate = \"2/hour\"\n");
    let (argv, begin) = (words(&["ls"]), Instant::now());
    let run = |seconds: u64| {
        let now = begin + Duration::from_secs(seconds);
        policy.admit_command(&argv, AskedBy::Chat, now).map(|_| ())
    };
    assert_eq!(run(0), Ok(()));
    assert_eq!(run(1), Ok(()));
    assert_eq!(
        run(60),
        Err("the policy of this machine allows it 2/hour and it has been that often; try again in 59 minutes".to_owned())
    );
    assert_eq!(run(3_600), Ok(()));
}

#[test]
fn what_is_dangerous_waits_for_a_yes_at_home() {
    let world = World::new();
    world.program("sh", "a program");
    let policy = world.policy("[[command]]\nrun = [\"sh\"]\ngrade = \"dangerous\"\n");
    let admit = |yes| policy.admit_command(&words(&["sh"]), yes, Instant::now());
    assert_eq!(
        admit(AskedBy::Chat).unwrap_err(),
        "this needs a yes at home (policy.toml line 2: ask sh)"
    );
    assert!(admit(AskedBy::Home).is_ok());
    assert_eq!(policy.commands[0].grade, Grade::Dangerous);
    assert_eq!(policy.asking_commands(), [["sh"]]);
}

#[test]
fn explaining_names_the_rule_the_reason_and_the_change() {
    let world = World::new();
    for name in ["git", "sort", "mystery"] {
        world.program(name, "a program");
    }
    let policy = world.policy(
        "[[command]]\nrun = [\"git\", \"status\"]\nthen = \"allow\"\n[[command]]\nrun = [\"git\", \"push\"]\nthen = \"deny\"\n[[command]]\nrun = [\"sort\"]\nthen = \"allow\"\n[[command]]\nrun = [\"mystery\"]\nthen = \"allow\"\n",
    );
    for (argv, told) in [
        (
            &["git", "status", "-s"][..],
            "allowed: git status -s\nrule:   policy.toml line 2: allow git status",
        ),
        (
            &["git", "push", "-f"],
            "denied: git push -f\nrule:   policy.toml line 5: deny git push\nwhy:    the policy of this machine denies it (policy.toml line 5: deny git push)\nchange: take the rule in line 5 away",
        ),
        (
            &["sort", "-o", "x"],
            "denied: sort -o x\nrule:   policy.toml line 8: allow sort\nwhy:    '-o' can write files or start programs, and no rule names it\nchange: options = [\"…\"] in line 8 if that is what you want; it then holds for every use of the rule",
        ),
        (
            &["mystery", "-q"],
            "asks: mystery -q\nrule:   policy.toml line 11: allow mystery\nwhy:    what '-q' does in mystery is not known here; grade execute\nchange: options = [\"…\"] in line 11 names what the rule may do beside; or: local-bridge policy allow mystery -q",
        ),
        (
            &["ls", "a b"],
            "denied: ls a b\nwhy:    the policy of this machine does not allow 'ls a b'; its owner can allow it in policy.toml\nchange: local-bridge policy allow ls 'a b'",
        ),
        (
            &["files.write"],
            "denied: files.write\nwhy:    no folder is open in which files.write may work\nchange: a [[root]] with name, path and access (\"write\" for what changes files, \"append\" for what only adds)",
        ),
    ] {
        assert_eq!(explain(&policy, &words(argv)), told, "{argv:?}");
    }
    let told = explain(&policy, &words(&["bash", "-c", "ls"]));
    assert!(told.contains("none that makes it automatic"), "{told}");
}

#[test]
fn a_changed_file_is_reread_and_a_broken_one_keeps_the_last_good_one_and_says_so() {
    let world = World::new();
    let mut law = Law::open(&world.home).unwrap();
    assert!(law.current().roots.is_empty());
    let docs = World::root(&world.path("docs"));
    world.write(&docs);
    let good = law.current();
    assert_eq!(good.roots.len(), 1);
    assert_eq!(law.fault(), None);
    world.write(&format!("{docs}\n[tools]\nfiles.send = \"perhaps\"\n"));
    assert_eq!(law.current().sha256, good.sha256);
    let fault = law.fault().unwrap();
    assert!(
        fault.starts_with("policy.toml was changed and is not accepted; the rules of 20"),
        "{fault}"
    );
    assert!(fault.contains("line 7"), "{fault}");
    world.write("");
    assert!(law.current().roots.is_empty());
    assert_eq!(law.fault(), None);
    fs::remove_file(world.home.policy()).unwrap();
    assert!(law.current().roots.is_empty());
}

#[test]
fn a_rate_outlives_a_change_of_the_file() {
    let world = World::new();
    let text = "[[command]]\nrun = [\"ls\"]\nthen = \"allow\"\nrate = \"1/day\"\n";
    world.write(text);
    let mut law = Law::open(&world.home).unwrap();
    let run = |policy: &Policy| {
        policy
            .admit_command(&words(&["ls"]), AskedBy::Chat, Instant::now())
            .is_ok()
    };
    assert!(run(&law.current()));
    world.write(&format!("# changed\n{text}"));
    assert!(!run(&law.current()));
}

#[test]
fn a_rule_that_grants_the_network_is_outward_at_the_least_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let graded = |more: &str| {
        let text = format!("[[command]]\nrun = [\"ls\"]\nnetwork = true\n{more}");
        let policy = Policy::parse(&text, folder.path()).unwrap();
        let rule = &policy.commands[0];
        let told = explain(&policy, &["ls".to_owned()]);
        assert!(policy.details().contains("reaches the network"));
        assert!(told.contains("network: TCP and UDP that go out"), "{told}");
        (rule.network, rule.then, rule.grade)
    };
    assert_eq!(graded(""), (true, Then::Ask, Grade::Outward));
    assert_eq!(
        graded("grade = \"read\"\n"),
        (true, Then::Ask, Grade::Outward)
    );
    assert_eq!(
        graded("grade = \"dangerous\"\n"),
        (true, Then::Ask, Grade::Dangerous)
    );
    assert_eq!(
        graded("then = \"allow\"\n"),
        (true, Then::Allow, Grade::Outward)
    );
}
