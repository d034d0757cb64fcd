//! Each check is made to speak and to be silent.

use super::facts::offset;
use super::trials::named;
use super::*;

fn process() -> Process {
    Process {
        pid: 7,
        since: 1,
        version: "0.1.0".into(),
        log: None,
    }
}

fn asked(offset: Option<i64>) -> Reach {
    Reach::Answered(Asked {
        status: 200,
        millis: 12,
        offset,
    })
}

fn file(path: &str, mode: u32, secret: bool) -> File {
    File {
        path: path.into(),
        mode,
        ours: true,
        secret,
    }
}

fn root(keys: &[&str]) -> Root {
    Root {
        name: "docs".into(),
        written: "/home/anna/docs".into(),
        real: "/home/anna/docs".into(),
        keys: keys.iter().map(ToString::to_string).collect(),
    }
}

fn command() -> Command {
    Command {
        begins: "git status".into(),
        unasked: true,
        broken: None,
        writable: None,
    }
}

/// A machine on which all is well. Only a real fence is whole, so there is none here, and no commands either.
fn healthy() -> Facts {
    Facts {
        home: "/home/anna/.bernard".into(),
        files: vec![
            file("/home/anna/.bernard", 0o040_700, true),
            file("/home/anna/.bernard/key", 0o100_600, true),
            file("/home/anna/.bernard/policy.toml", 0o100_644, false),
        ],
        policy: Some(Ok(())),
        sandbox: Sandbox::Required,
        roots: vec![root(&[])],
        commands: Vec::new(),
        fence: Fence::Missing("no Landlock".into()),
        fence_told: String::new(),
        root_account: false,
        encrypted: Some(true),
        full_disk_access: Some(false),
        paired: Ok("https://bernard.example".into()),
        last_error: None,
        reach: asked(Some(300)),
        running: Some(process()),
        listens: Some(Vec::new()),
        core: Some(0),
        audit: Ok(None),
        told: None,
        approver: Approver::Unset,
        inherited: named("PATH=/usr/bin:/bin\nHOME=/a\nTMPDIR=/a\nLANG=C.UTF-8\n"),
        item: Item::File("/home/anna/.bernard/key".into()),
        at: 1_790_000_000_000,
        frozen: false,
        freezable: true,
        free: 9_000_000_000,
        service: Service {
            path: "/home/anna/unit".into(),
            installed: true,
            current: true,
            active: Some(true),
        },
        version: "0.1.0".into(),
    }
}

/// What the checks say that are not well, after one thing has been spoilt; a fence is missing everywhere here.
fn said(spoil: impl FnOnce(&mut Facts)) -> Vec<(&'static str, Severity, String, String)> {
    let mut facts = healthy();
    spoil(&mut facts);
    let spoken = judge(&facts).into_iter();
    let spoken = spoken.filter(|check| check.severity != Severity::Ok && check.id != "B05");
    let told = spoken.map(|check| {
        let fix = check.fix.unwrap_or_default();
        (check.id, check.severity, check.evidence, fix)
    });
    told.collect()
}

fn one(
    id: &'static str,
    severity: Severity,
    evidence: &str,
    fix: &str,
) -> Vec<(&'static str, Severity, String, String)> {
    vec![(id, severity, evidence.to_owned(), fix.to_owned())]
}

use Severity::{Fail, Skipped, Warn};

const AGAIN: &str = "ask Bernard for a link with /pair, then run: local-bridge pair '<link>'";

#[test]
fn where_all_is_well_every_check_is_silent() {
    assert_eq!(said(|_| ()), []);
    let ids: Vec<&str> = judge(&healthy()).iter().map(|check| check.id).collect();
    assert_eq!(
        ids,
        [
            "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12",
            "B13", "B14", "B15", "B16", "B17", "B19", "B20", "B21", "B22", "B23", "B24", "B25"
        ]
    );
}

#[test]
fn what_others_could_read_or_change_is_named() {
    let key = "'/home/anna/.bernard/key'";
    assert_eq!(
        said(|facts| facts.files[1].mode = 0o100_640),
        one(
            "B01",
            Fail,
            &format!("{key} has mode 0640"),
            &format!("chmod go-rwx {key}")
        )
    );
    assert_eq!(
        said(|facts| facts.files[1].ours = false),
        one(
            "B01",
            Fail,
            &format!("{key} belongs to someone else"),
            &format!("sudo chown \"$(id -u)\" {key}")
        )
    );
    let policy = "'/home/anna/.bernard/policy.toml'";
    assert_eq!(
        said(|facts| facts.files[2].mode = 0o100_664),
        one(
            "B01",
            Fail,
            &format!("{policy} has mode 0664"),
            &format!("chmod go-rwx {policy}")
        )
    );
    let home = "'/home/anna/.bernard'";
    let open = said(|facts| facts.files[0].mode = 0o040_755);
    let mut expected = one(
        "B01",
        Fail,
        &format!("{home} has mode 0755"),
        &format!("chmod go-rwx {home}"),
    );
    expected.extend(one(
        "B01",
        Warn,
        &format!("{policy} can be read by others (mode 0644)"),
        &format!("chmod go-rwx {policy}"),
    ));
    assert_eq!(open, expected, "what a closed folder hid is now open, too");
}

#[test]
fn a_home_that_is_copied_elsewhere_is_found() {
    let home = "/home/anna/Dropbox (Anna)/bernard";
    let copied = said(|facts| {
        facts.home = home.into();
        facts.files.clear();
    });
    assert_eq!(
        copied,
        one(
            "B02",
            Fail,
            &format!("{home} lies in Dropbox, which copies the key elsewhere"),
            "mv it to ~/.bernard, and pair again: the key is no longer only here"
        )
    );
}

#[test]
fn a_policy_that_is_not_accepted_and_one_that_opens_keys_are_told() {
    let broken = said(|facts| facts.policy = Some(Err("policy.toml line 3: no".into())));
    let mut expected = one(
        "B03",
        Fail,
        "policy.toml line 3: no",
        "local-bridge policy check, and mend the line that it names",
    );
    expected.extend(one("B06", Skipped, "the policy is not accepted", ""));
    assert_eq!(broken, expected);
    assert_eq!(
        said(|facts| facts.policy = None),
        one(
            "B03",
            Warn,
            "there is no policy.toml, so nothing is allowed",
            "local-bridge policy init --root FOLDER"
        )
    );
    let keys = |commands: Vec<Command>| {
        said(|facts| {
            facts.roots = vec![root(&[".env", "id_rsa"])];
            facts.commands = commands;
        })
    };
    assert_eq!(
        keys(vec![command()]),
        one(
            "B03",
            Warn,
            "commands that work in 'docs' can read .env, id_rsa",
            "move them out of '/home/anna/docs', or open a folder below it"
        )
    );
    assert_eq!(keys(Vec::new()), [], "tools never touch them");
}

#[test]
fn a_folder_that_is_written_as_a_link_is_told() {
    assert_eq!(
        said(|facts| facts.roots[0].written = "/docs".into()),
        one(
            "B04",
            Warn,
            "'docs' is written as '/docs' and is '/home/anna/docs'",
            "in policy.toml, write path = \"/home/anna/docs\""
        )
    );
}

#[test]
fn a_missing_fence_matters_where_commands_run() {
    let fence = |commands: Vec<Command>, sandbox: Sandbox| {
        let mut facts = healthy();
        (facts.commands, facts.sandbox) = (commands, sandbox);
        let found = judge(&facts).into_iter().find(|check| check.id == "B05");
        let found = found.unwrap();
        (found.severity, found.evidence)
    };
    let missing = "commands are refused: no Landlock".to_owned();
    assert_eq!(fence(vec![command()], Sandbox::Required), (Fail, missing));
    let open = "sandbox = \"none\": commands run with all that your account can reach".to_owned();
    assert_eq!(fence(vec![command()], Sandbox::None), (Warn, open));
    let nothing = "there is no fence here: no Landlock; the policy allows no commands".to_owned();
    assert_eq!(fence(Vec::new(), Sandbox::None), (Warn, nothing));
}

#[test]
fn commands_that_are_too_free_are_told() {
    let free = said(|facts| {
        facts.commands = vec![command()];
        facts.sandbox = Sandbox::None;
    });
    assert_eq!(
        free,
        one(
            "B06",
            Warn,
            "'git status' run without a question and without a fence",
            "in policy.toml, write then = \"ask\", or sandbox = \"required\""
        )
    );
    let asked = said(|facts| {
        let unasked = false;
        facts.commands = vec![Command {
            unasked,
            ..command()
        }];
        facts.sandbox = Sandbox::None;
    });
    assert_eq!(asked, []);
}

#[test]
fn a_program_that_changed_or_could_is_told() {
    let with = |spoilt: Command| said(|facts| facts.commands = vec![spoilt]);
    let broken = Some("/usr/bin/git is another".to_owned());
    assert_eq!(
        with(Command {
            broken,
            ..command()
        }),
        one(
            "B07",
            Fail,
            "/usr/bin/git is another",
            "local-bridge policy check --accept, if you know why"
        )
    );
    let writable = Some("/home/anna/bin/git".into());
    assert_eq!(
        with(Command {
            writable,
            ..command()
        }),
        one(
            "B07",
            Warn,
            "'git status' starts '/home/anna/bin/git', which your account can replace",
            "name a program of the system's, or one that root has installed"
        )
    );
    assert_eq!(with(command()), []);
}

#[test]
fn an_account_and_a_system_that_give_too_much_are_told() {
    let ids = |spoil: fn(&mut Facts)| {
        let said = said(spoil).into_iter();
        said.map(|(id, severity, ..)| (id, severity))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(|facts| facts.root_account = true), [("B08", Fail)]);
    assert_eq!(ids(|facts| facts.encrypted = Some(false)), [("B09", Warn)]);
    assert_eq!(ids(|facts| facts.encrypted = None), [("B09", Skipped)]);
    assert_eq!(
        ids(|facts| facts.full_disk_access = Some(true)),
        [("B10", Warn)]
    );
    assert_eq!(
        ids(|facts| facts.full_disk_access = None),
        [("B10", Skipped)]
    );
}

#[test]
fn a_wrong_clock_is_told_to_the_second() {
    let fix = if cfg!(target_os = "macos") {
        "sudo sntp -sS time.apple.com"
    } else {
        "sudo timedatectl set-ntp true"
    };
    let wrong = "the Worker's; tokens live half a minute, so nothing is accepted";
    assert_eq!(
        said(|facts| facts.reach = asked(Some(603_200))),
        one(
            "B11",
            Fail,
            &format!("this machine's clock is 10 min 3 s ahead of {wrong}"),
            fix
        )
    );
    assert_eq!(
        said(|facts| facts.reach = asked(Some(-7_265_000))),
        one(
            "B11",
            Fail,
            &format!("this machine's clock is 2 h 1 min 5 s behind {wrong}"),
            fix
        )
    );
    assert_eq!(said(|facts| facts.reach = asked(Some(-5_900))), []);
    assert_eq!(
        said(|facts| facts.reach = asked(None)),
        one("B11", Skipped, "the Worker did not say what time it is", "")
    );
}

#[test]
fn a_date_is_compared_with_the_middle_of_the_asking() {
    let date = "Mon, 21 Sep 2026 14:13:20 GMT";
    let theirs = 1_790_000_000_000;
    assert_eq!(offset(date, theirs + 400, theirs + 600), Some(0));
    assert_eq!(
        offset(date, theirs + 600_000, theirs + 601_000),
        Some(600_000)
    );
    assert_eq!(offset("yesterday", 0, 0), None);
}

#[test]
fn a_pairing_that_does_not_hold_is_told() {
    assert_eq!(
        said(|facts| facts.paired = Err("this machine is not paired".into())),
        one("B12", Fail, "this machine is not paired", AGAIN)
    );
    let revoked = "revoked: the Worker no longer accepts this machine";
    assert_eq!(
        said(|facts| facts.last_error = Some(revoked.into())),
        one("B12", Fail, revoked, AGAIN)
    );
    let other = "the Worker's key is not the one this machine was paired with";
    let found = said(|facts| facts.last_error = Some(other.into()));
    assert_eq!(found[0].0, "B12");
    assert!(found[0].2.starts_with(other), "{found:?}");
    assert_eq!(
        said(|facts| facts.last_error = Some("the line broke".into())),
        []
    );
}

#[test]
fn a_process_that_is_not_as_it_was_built_is_told() {
    assert_eq!(
        said(|facts| facts.listens = Some(vec!["tcp 00000000:1F90".into()])),
        one(
            "B13",
            Fail,
            "process 7 listens on tcp 00000000:1F90",
            "kill 7; this is not local-bridge as it was built"
        )
    );
    assert_eq!(
        said(|facts| facts.core = Some(u64::MAX)),
        one(
            "B20",
            Fail,
            "process 7 may leave a core dump, with the key in it",
            "start it again: local-bridge run switches them off"
        )
    );
    assert_eq!(
        said(|facts| facts.version = "0.2.0".into()),
        one(
            "B19",
            Warn,
            "version 0.1.0 runs, this is 0.2.0",
            "start it again: local-bridge install does, or stop and run it"
        )
    );
    let mut expected = one("B13", Skipped, "it is not running", "");
    expected.extend(one("B20", Skipped, "it is not running", ""));
    assert_eq!(said(|facts| facts.running = None), expected);
}

#[test]
fn a_log_that_does_not_hold_is_told() {
    let fix =
        "local-bridge panic; then compare /receipts in the chat with: local-bridge audit show";
    assert_eq!(
        said(|facts| facts.audit = Ok(Some(Err(Fault::Missing(3))))),
        one("B15", Fail, "entry 3 is missing", fix)
    );
    let sound = Sound {
        entries: 3,
        outcomes: 2,
        head: String::new(),
    };
    assert_eq!(said(|facts| facts.audit = Ok(Some(Ok(sound)))), []);
    assert_eq!(
        said(|facts| facts.audit = Err("no".into())),
        one("B15", Fail, "no", "local-bridge audit verify")
    );
}

#[test]
fn an_approver_that_cannot_ask_is_told() {
    let with = |approver: Approver| said(|facts| facts.approver = approver);
    let set = "local-bridge approver set";
    assert_eq!(
        with(Approver::Broken("approver.toml is not understood".into())),
        one("B14", Fail, "approver.toml is not understood", set)
    );
    assert_eq!(
        with(Approver::Refused("Telegram says no (403): blocked".into())),
        one(
            "B14",
            Fail,
            "Telegram says no (403): blocked",
            "write anything to the bot, so that it may write to you; else: local-bridge approver set"
        )
    );
    assert_eq!(
        with(Approver::Skipped(
            "Telegram cannot be reached: no route".into()
        )),
        one("B14", Skipped, "Telegram cannot be reached: no route", "")
    );
    assert_eq!(with(Approver::Works("approve_bot".into())), []);
}

#[test]
fn what_the_worker_lacks_of_the_log_is_told() {
    let with = |last: Option<(i64, String)>, late: Option<i64>| {
        said(|facts| {
            facts.told = Some(Told {
                entries: 9,
                last,
                waiting: usize::from(late.is_some()),
                oldest: late.map(|late| facts.at - late),
            });
        })
    };
    let by_hand = "what it keeps is to be compared by hand: local-bridge audit verify --head HASH, with a log from /receipts";
    let stored = Some((8, "3f9a0c11d2e4".to_owned()));
    let known = "the Worker has acknowledged entry 8, log 3f9a0c11d2e4";
    assert_eq!(
        with(stored.clone(), Some(UNTOLD)),
        one(
            "B16",
            Skipped,
            &format!("{known}, and lacks 1; {by_hand}"),
            ""
        )
    );
    let unknown = "of what it has acknowledged nothing is kept here any more";
    assert_eq!(
        with(None, None),
        one(
            "B16",
            Skipped,
            &format!("{unknown}, and lacks 0; {by_hand}"),
            ""
        )
    );
    assert_eq!(
        with(stored, Some(UNTOLD + 60_000)),
        one(
            "B16",
            Warn,
            "1 receipts have not reached the Worker, the oldest for 24 h 1 min 0 s: until then only this machine can say what was done",
            "let it connect: local-bridge status says why it is not"
        )
    );
}

#[test]
fn a_variable_that_a_command_should_not_have_is_told() {
    let with = |inherited: Inherited| said(|facts| facts.inherited = inherited);
    assert_eq!(
        with(named("PATH=/usr/bin\nSSH_AUTH_SOCK=/run/agent\nHOME=/a\n")),
        one(
            "B17",
            Fail,
            "a command was given SSH_AUTH_SOCK",
            "local-bridge panic; this is not local-bridge as it was built"
        )
    );
    assert_eq!(
        with(Inherited::Skipped("no fence".into())),
        one("B17", Skipped, "no fence", "")
    );
}

#[test]
fn a_key_that_others_could_have_is_told() {
    let with = |item: Item, sandbox: Sandbox| {
        let said = said(|facts| {
            (facts.item, facts.sandbox) = (item, sandbox);
            let unasked = false;
            facts.commands = vec![Command {
                unasked,
                ..command()
            }];
        });
        assert!(said.len() <= 1, "{said:?}");
        said.into_iter().next()
    };
    let needed = |item: Item| with(item, Sandbox::Required);
    let opened = needed(Item::Open("/usr/bin/security".into())).unwrap();
    assert_eq!(
        (opened.0, opened.1, opened.2.as_str()),
        (
            "B21",
            Warn,
            "the keychain opens it to /usr/bin/security without a question"
        )
    );
    let free = with(Item::Shared, Sandbox::None).unwrap();
    assert_eq!((free.0, free.1), ("B21", Warn));
    assert_eq!(free.3, "in policy.toml, write sandbox = \"required\"");
    assert_eq!(needed(Item::Shared), None);
    assert_eq!(needed(Item::Own), None);
    let unseen = needed(Item::Unseen).unwrap();
    assert_eq!((unseen.0, unseen.1), ("B21", Skipped));
}

#[test]
fn a_key_in_a_closed_keychain_is_not_mended_by_another_pairing() {
    let why = format!(
        "{}",
        crate::home::Broken::Keychain(crate::keychain::NoKeychain::Locked)
    );
    let fix = "unlock the keychain; then: local-bridge status";
    assert_eq!(
        said(|facts| facts.paired = Err(why.clone())),
        one("B12", Fail, &why, fix)
    );
}

#[test]
fn what_keeps_it_from_working_is_told() {
    assert_eq!(
        said(|facts| facts.frozen = true),
        one(
            "B22",
            Warn,
            "it is frozen: every call is refused",
            "local-bridge resume"
        )
    );
    assert_eq!(
        said(|facts| facts.freezable = false),
        one(
            "B22",
            Fail,
            "no file can be put into '/home/anna/.bernard'",
            "chmod u+rwx '/home/anna/.bernard'"
        )
    );
    let failed = said(|facts| facts.reach = Reach::Failed("no route".into()));
    let mut expected = one("B11", Skipped, "the Worker could not be asked", "");
    expected.extend(one(
        "B23",
        Fail,
        "no route",
        "check that this machine is online and that the address is right: local-bridge status",
    ));
    assert_eq!(failed, expected);
    let free = |free: u64| said(|facts| facts.free = free);
    let fix = "df -h '/home/anna/.bernard', and make room";
    assert_eq!(free(40_000_000), one("B24", Fail, "40.0 MB free", fix));
    assert_eq!(free(400_000_000), one("B24", Warn, "400.0 MB free", fix));
}

#[test]
fn a_service_that_is_missing_stopped_or_old_is_told() {
    let with = |installed: bool, current: bool, active: Option<bool>| {
        said(|facts| {
            let path = "/home/anna/unit".into();
            facts.service = Service {
                path,
                installed,
                current,
                active,
            };
        })
    };
    let again = "local-bridge install";
    assert_eq!(
        with(false, true, None),
        one(
            "B25",
            Warn,
            "it is not installed: it ends with the window in which it runs",
            again
        )
    );
    assert_eq!(
        with(true, true, Some(false)),
        one(
            "B25",
            Fail,
            "'/home/anna/unit' is there, and it is not running",
            again
        )
    );
    assert_eq!(
        with(true, false, Some(true)),
        one(
            "B25",
            Warn,
            "'/home/anna/unit' is not what this policy and program need",
            again
        )
    );
    assert_eq!(with(true, true, None), []);
}

#[test]
fn a_check_reads_as_two_lines() {
    let mut facts = healthy();
    facts.root_account = true;
    let checks = judge(&facts);
    assert_eq!(failed(&checks), 1);
    let told: Vec<String> = checks.iter().map(ToString::to_string).collect();
    assert!(told.contains(&"ok   B22 it can be frozen: a file was put there and seen; local-bridge panic freezes it".to_owned()));
    assert!(told.contains(&"FAIL B08 it does not run as root: this is root: a mistake would reach the whole machine\n         fix: log in as the one whose files it may use, pair there, and unpair here: local-bridge unpair".to_owned()));
}
