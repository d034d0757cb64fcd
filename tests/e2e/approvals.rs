//! Who says yes: what a question shows, what a yes is bound to, when it closes; and taking back what was done.

use crate::kit::World;
use crate::kit::bridge::Machine;
use crate::kit::models::{Next, Reply};
use crate::kit::telegram::Deed;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

#[tokio::test]
async fn a_question_shows_the_whole_call_and_where_it_came_from_and_a_yes_counts_for_that_alone() {
    let world = World::start("anthropic/claude-fable").await;
    let ada = world.owner().await;
    let home = world.machine(&ada, "mac-mini").await;
    world.anthropic.then(calls(
        "files.read",
        json!({ "path": "playground/notes.txt" }),
    ));
    world.anthropic.then(calls(
        "shell.run",
        json!({ "argv": ["echo", "a\u{202e}b\n$(c)"] }),
    ));
    world.anthropic.then_says("I did not run it.");

    ada.says("read the notes and do what is right").await;
    let question = ada.hears("May I run this").await;
    for shown in [
        "on vm?",
        r#"echo "a\u{202e}b\n$(c)""#,
        "You wrote: “read the notes and do what is right”",
        "⚠ I wish it after reading what files.read brought",
    ] {
        assert!(
            question.text.contains(shown),
            "{shown} is not in {:?}",
            question.text
        );
    }
    let yes = action(&question, "ok");
    let (call, digest) = yes.rsplit_once(':').expect("a digest");
    assert_eq!(digest.len(), 16, "{yes}");
    ada.presses_action(&question, &format!("{call}:0123456789abcdef"))
        .await;
    ada.hears("I did not run it.").await;
    let told = world.anthropic.requests().pop().expect("it was asked");
    assert!(
        told.to_string().contains("not what would run now"),
        "{told}"
    );
    assert_eq!(
        home.log().matches(": shell.run").count(),
        0,
        "a yes to something else ran it"
    );
    world.ends_well();
}

#[tokio::test]
async fn a_question_that_nobody_answers_closes_and_its_buttons_go() {
    let world = World::start("anthropic/claude-fable").await;
    let ada = world.owner().await;
    let home = world.machine(&ada, "mac-mini").await;
    world
        .anthropic
        .then(calls("shell.run", json!({ "argv": ["echo", "hello"] })));
    world
        .anthropic
        .then_says("You did not answer, so I left it.");

    ada.says("say hello at home").await;
    let question = ada.hears("May I run this").await;
    ada.says("/status").await; // when this is answered, the Worker knows that the question was taken
    ada.hears("Doing: shell.run").await;
    world.runtime.kill().await;
    let overdue = "UPDATE sendings SET next_at = 1 WHERE id LIKE 'question:%'";
    change_rows(&world.folder().join("worker"), overdue);
    world.runtime.start_again().await;
    ada.says("/status").await; // wakes the object
    ada.hears("so I left it").await;
    let told = world.anthropic.requests().pop().expect("it was asked");
    assert!(
        told.to_string()
            .contains("did not answer the question in time"),
        "{told}"
    );

    ada.presses_action(&question, &action(&question, "ok"))
        .await;
    ada.says("/status").await;
    ada.hears("Doing: nothing").await;
    let edits = world.telegram.deeds();
    let edited = edits
        .iter()
        .any(|deed| deed.method == "editMessageReplyMarkup");
    assert!(edited, "the buttons still stand under a closed question");
    assert_eq!(
        home.log().matches(": shell.run").count(),
        0,
        "a late yes ran it"
    );
    world.ends_well();
}

#[tokio::test]
async fn always_becomes_a_rule_by_the_yes_at_home_and_the_same_request_then_runs_unasked() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let home = world.machine(&ada, "mac-mini").await;
    let law = || fs::read_to_string(law_of(&home)).expect("it has a policy");
    let before = law();

    ada.says("run echo hello there").await;
    let question = ada.hears("May I run this").await;
    ada.presses(&question, "always").await;
    let choice = ada.hears("from now on without asking").await;
    let labels: Vec<&str> = choice.buttons.iter().map(|(label, _)| &**label).collect();
    assert_eq!(
        labels,
        [
            "Exactly this: echo hello there",
            "echo, whatever follows",
            "Never mind"
        ]
    );
    ada.presses(&question, "always").await; // a second press says nothing new
    ada.presses_action(&choice, &action_of(&choice, "echo, "))
        .await;
    let asked = ada.hears("I asked vm for a rule for echo").await.text;
    assert!(asked.contains("local-bridge approve"), "{asked}");
    // A press that comes again, and a scope that nobody offered, ask for nothing more.
    let scope = action_of(&choice, "echo, ");
    let call = scope.split(':').nth(2).expect("a call");
    for again in [
        scope.clone(),
        scope.replace("scope:", "scope:0"),
        format!("scope:2:{call}:0123456789abcdef"),
        "scope:".to_owned(),
        "scope:1".to_owned(),
        "scope:-1:a:b".to_owned(),
    ] {
        ada.presses_action(&choice, &again).await;
    }
    // The person of another object has no such question, whatever they press.
    let bob = world.member(1_000_002).await;
    bob.presses_action(&choice, &scope).await;
    ada.presses(&question, "no").await;
    ada.hears_something().await;
    ada.presses_action(&choice, &action_of(&choice, "Exactly"))
        .await; // the question is over
    ada.says("/status").await;
    ada.hears("Doing: a rule for echo").await;
    let open = waiting(&home).await;
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!(law(), before, "a wish changed the policy");

    let logged = home.log().len();
    let id = open[0]["id"].as_str().expect("it has an id");
    let shown = home.does(&["approve", id, "--yes"]).await;
    assert!(shown.contains("+then = \"allow\"\n"), "{shown}");
    ada.hears("There is a rule now").await;
    home.logs(logged, &["connected to"]).await;
    assert_eq!(
        law(),
        before.replace("argv = [\"echo\"]", "then = \"allow\"\nargv = [\"echo\"]")
    );
    ada.says("run echo hello there").await;
    ada.hears("hello there").await;
    ada.says("run echo -n and whatever else").await; // what follows is covered as well
    ada.hears("and whatever else").await;
    assert_eq!(ada.times_heard("May I run this"), 1, "it asked again");
    assert_eq!(bob.times_heard("rule"), 0);
    world.ends_well();
}

#[tokio::test]
async fn a_no_at_home_and_what_the_machine_refuses_are_told_and_leave_its_policy_as_it_is() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let home = world.machine(&ada, "mac-mini").await;
    let law = || fs::read_to_string(law_of(&home)).expect("it has a policy");
    let before = law();

    ada.says("run echo hello").await;
    let question = ada.hears("May I run this").await;
    ada.presses(&question, "always").await;
    let choice = ada.hears("from now on without asking").await;
    ada.presses_action(&choice, &action_of(&choice, "Exactly"))
        .await;
    ada.hears("I asked vm for a rule").await;
    let id = waiting(&home).await[0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    // An undo need not wait until someone comes home.
    ada.says("/undo").await;
    ada.hears("files.undo").await;
    home.does(&["approve", &id, "--no"]).await;
    ada.hears("its owner said no at home; no rule was made")
        .await;
    assert_eq!(law(), before);
    ada.presses(&question, "no").await;
    ada.hears_something().await;

    // Its owner has meanwhile made it dangerous: no wish changes that.
    ada.says("run touch a").await;
    let question = ada.hears("touch a").await;
    ada.presses(&question, "always").await;
    let scopes = ada.hears_that("the scopes of touch", |deed| {
        deed.buttons
            .iter()
            .any(|(label, _)| label == "touch, whatever follows")
    });
    let choice = scopes.await;
    home.adds_to_its_policy("grade = \"ask\"\n"); // the policy is out of order for a moment
    let broken = law();
    ada.presses_action(&choice, &action_of(&choice, "touch, whatever"))
        .await;
    ada.hears("a rule for touch was not done").await;
    assert_eq!((law(), waiting(&home).await), (broken, vec![]));
    world.ends_well();
}

#[tokio::test]
async fn a_change_is_proven_under_the_answer_and_taken_back_by_its_button() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let home = world.machine(&ada, "mac-mini").await;
    let file = home.playground.join("todo.txt");

    ada.says("write \"buy stamps\" to playground/todo.txt")
        .await;
    let answer = ada.hears("✓ 1 action on vm").await;
    assert!(file.exists());
    ada.presses_action(&answer, &action(&answer, "undo")).await;
    ada.hears("undo").await;
    assert!(!file.exists(), "the button took nothing back");
    ada.presses_action(&answer, &action(&answer, "undo")).await;

    ada.says("add \"call Anna\" to playground/notes.txt").await;
    ada.hears("✓ 1 action on vm").await;
    let changed = fs::read_to_string(home.playground.join("notes.txt")).expect("it is there");
    assert!(changed.contains("call Anna"));
    ada.says("/undo").await;
    ada.hears("notes.txt").await;
    let undone = fs::read_to_string(home.playground.join("notes.txt")).expect("it is there");
    assert!(!undone.contains("call Anna"), "{undone}");
    assert!(!file.exists(), "a second press did something");
    world.ends_well();
}

#[tokio::test]
async fn the_machine_that_was_named_acts_takes_back_and_is_waited_for() {
    let world = World::start("anthropic/claude-fable").await;
    let ada = world.owner().await;
    let first = world.machine(&ada, "one").await;
    let mut second = world.machine(&ada, "two").await; // by their host's name they are vm and vm-2
    let file = |home: &Machine| home.playground.join("a.txt");
    let write = json!({ "path": "playground/a.txt", "text": "b" });

    for (words, acts, idle) in [
        ("write it on vm-2", &second, &first),
        ("and now on VM", &first, &second),
    ] {
        let before = file(idle).exists();
        world.anthropic.then(calls("files.write", write.clone()));
        world.anthropic.then_says("Written.");
        ada.says(words).await;
        let answer = ada.hears("Written.").await;
        assert!(file(acts).exists(), "{words}");
        assert_eq!(file(idle).exists(), before, "{words}");
        ada.presses_action(&answer, &action(&answer, "undo")).await;
        ada.hears("a.txt").await;
        assert!(
            !file(acts).exists(),
            "{words}: not taken back where it was done"
        );
    }

    second.kill().await;
    world.anthropic.then(calls("files.write", write));
    world.anthropic.then_says("Written at last.");
    ada.says("once more on vm-2").await;
    ada.hears("vm-2 is not connected").await;
    assert!(
        !file(&first).exists(),
        "another machine did what vm-2 was asked for"
    );
    second.run();
    ada.hears("Written at last.").await;
    assert!(file(&second).exists());
    world.ends_well();
}

#[tokio::test]
async fn a_yes_for_one_machine_runs_on_no_other() {
    let world = World::start("anthropic/claude-fable").await;
    let ada = world.owner().await;
    let mut first = world.machine(&ada, "one").await;
    let mut second = world.machine(&ada, "two").await;
    world
        .anthropic
        .then(calls("shell.run", json!({ "argv": ["echo", "hello"] })));

    ada.says("say hello at home").await;
    let question = ada.hears("May I run this on vm?").await;
    first.kill().await;
    second.kill().await;
    ada.presses_action(&question, &action(&question, "ok"))
        .await;
    ada.hears("vm is not connected").await;
    let logged = second.log().len();
    second.run();
    second.logs(logged, &["connected to"]).await;
    ada.says("/status").await;
    ada.hears("vm-2 (connected)").await;
    assert!(
        !second.log().contains(": shell.run"),
        "a yes for vm ran on vm-2"
    );
    world.anthropic.then_says("It said hello.");
    first.run();
    ada.hears("It said hello.").await;
    assert!(first.log().contains(": shell.run"));
    world.ends_well();
}

fn calls(tool: &str, arguments: Value) -> Next {
    Next::Replies(Reply {
        text: String::new(),
        calls: vec![(tool.to_owned(), arguments)],
    })
}

/// The action of the button that begins with this word.
fn action(under: &Deed, word: &str) -> String {
    let mut actions = under.buttons.iter().map(|(_, action)| action);
    let found = actions.find(|action| action.starts_with(&format!("{word}:")));
    found
        .unwrap_or_else(|| panic!("no button {word} under {under:#?}"))
        .clone()
}

/// The policy of a machine.
fn law_of(home: &Machine) -> PathBuf {
    home.playground.with_file_name("home").join("policy.toml")
}

/// The action of the button whose label begins so.
fn action_of(under: &Deed, label: &str) -> String {
    let mut buttons = under.buttons.iter();
    let found = buttons.find(|(told, _)| told.starts_with(label));
    let (_, action) = found.unwrap_or_else(|| panic!("no button {label} under {under:#?}"));
    action.clone()
}

/// What waits for a yes at home.
async fn waiting(home: &Machine) -> Vec<Value> {
    let listed = home.does(&["approve", "--json"]).await;
    serde_json::from_str(&listed).expect("the list is JSON")
}

/// Changes rows in whichever database has the table, while nobody is there.
fn change_rows(folder: &Path, sql: &str) {
    for entry in fs::read_dir(folder).expect("the state can be read") {
        let path = entry.expect("the state can be read").path();
        if path.is_dir() {
            change_rows(&path, sql);
        } else if path.extension().is_some_and(|kind| kind == "sqlite") {
            Connection::open(&path)
                .expect("it opens")
                .execute(sql, [])
                .ok();
        }
    }
}
