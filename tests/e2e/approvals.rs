//! Who says yes: what a question shows, what a yes is bound to, when it closes; and taking back what was done.

use crate::kit::World;
use crate::kit::bridge::Machine;
use crate::kit::models::{Next, Reply};
use crate::kit::telegram::Deed;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

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
async fn always_is_a_rule_that_only_home_can_make_and_what_it_allows_is_not_asked_about() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let home = world.machine(&ada, "mac-mini").await;

    ada.says("run echo hello there").await;
    let question = ada.hears("May I run this").await;
    ada.presses_action(&question, &action(&question, "always"))
        .await;
    let words = ada.hears("A rule for vm is made there").await.text;
    for scope in [
        "policy allow echo hello there",
        "policy allow echo hello\n",
        "policy allow echo\n",
    ] {
        assert!(words.contains(scope), "{scope:?} is not in {words:?}");
    }
    assert_eq!(
        home.log().matches(": shell.run").count(),
        0,
        "a button made a rule"
    );
    ada.presses(&question, "no").await;
    ada.hears_something().await;

    let logged = home.log().len();
    home.adds_to_its_policy("\n[[command]]\nrun = [\"uname\", \"-s\"]\nthen = \"allow\"\n");
    home.logs(logged, &["connected to"]).await;
    ada.says("run uname -s").await;
    ada.hears("Linux").await;
    assert_eq!(
        ada.times_heard("May I run this"),
        1,
        "it asked about what needs no question"
    );
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
