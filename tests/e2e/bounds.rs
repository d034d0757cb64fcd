//! What one message may cost, and what becomes of one that cannot be handled: it is set aside and told of, and those behind it go on.

use crate::kit::World;
use crate::kit::models::{Next, Reply};
use crate::kit::person::Person;
use rusqlite::Connection;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// The requests that Cloudflare's Free plan allows an invocation.
const FREE_PLAN: usize = 50;

#[tokio::test]
async fn a_turn_of_more_requests_than_an_invocation_may_send_goes_on_in_the_next() {
    let world = World::start("anthropic/claude-fable").await;
    let ada = world.owner().await;
    for n in 0..40 {
        let query = json!({ "query": format!("word{n}") });
        world.anthropic.then_calls(&[("memory.search", query)]);
    }
    world.anthropic.then_says("That was all I found.");

    ada.says("look for forty words").await;
    ada.hears("That was all I found.").await;

    let asked = world.anthropic.requests().len();
    assert_eq!(asked, 41, "each step asks once");
    let log = world.runtime.log();
    let moved = log.matches("goes on in an invocation of its own").count();
    let sent = world.telegram.deeds().len() + asked;
    assert!(
        moved >= sent / FREE_PLAN && moved > 0,
        "{sent} requests and {moved} changes of invocation"
    );
    assert_eq!(ada.times_heard("That was all I found."), 1);
    world.ends_well();
}

#[tokio::test]
async fn a_plain_exchange_writes_twelve_rows_at_the_most_and_each_call_at_home_six_more() {
    let world = World::start("anthropic/claude-fable").await;
    let ada = world.owner().await;
    let _home = world.machine(&ada, "mac-mini").await;
    let exchange = async |calls: usize| {
        for call in 0..calls {
            let folder = json!({ "path": format!("playground{}", "/.".repeat(call)) });
            world.anthropic.then(Next::Replies(Reply {
                text: String::new(),
                calls: vec![("files.list".to_owned(), folder)],
            }));
        }
        world.anthropic.then_says("That is all.");
        ada.says("what is there").await;
        ada.hears("That is all.").await;
    };
    exchange(0).await; // the first of its day and conversation makes rows that the next ones change
    // The least of three: on a busy machine an alarm may ring in between, which tidies up and counts as well.
    let mut asking = u64::MAX;
    for _ in 0..3 {
        let before = rows(&ada).await;
        asking = asking.min(rows(&ada).await - before);
    }
    for calls in 0..3 {
        let mut least = u64::MAX;
        for _ in 0..3 {
            let before = rows(&ada).await;
            exchange(calls).await;
            least = least.min(rows(&ada).await - before - asking);
        }
        let most = 12 + 6 * u64::try_from(calls).expect("a small number");
        assert!(
            (1..=most).contains(&least),
            "{calls} calls wrote {least} rows, {most} are allowed"
        );
    }
    world.ends_well();
}

#[tokio::test]
async fn a_message_that_cannot_be_handled_is_set_aside_and_told_and_the_next_is_answered() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let chat = conversation(&world);

    world.runtime.kill().await;
    let spoilt = "INSERT INTO waiting (delivery, conversation, payload, tries) VALUES ('telegram:1', ?, '{', 0)";
    change(&world, spoilt, &chat);
    world.runtime.start_again().await;

    ada.says("help").await;
    ada.hears("list playground").await;
    ada.hears("have set it aside").await;
    ada.says("remember that tea is at five").await;
    ada.hears("at five").await;
    assert_eq!(ada.times_heard("have set it aside"), 1);

    world.runtime.kill().await;
    let kept = "SELECT count(*) FROM aside WHERE what = 'telegram:1' AND conversation = ?";
    assert_eq!(
        count(&world, kept, &chat),
        1,
        "what was set aside is kept for its owner"
    );
    world.ends_well();
}

#[tokio::test]
async fn a_conversation_whose_state_cannot_be_read_begins_anew_and_says_so() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    ada.says("remember that my dentist is Doctor Periwinkle")
        .await;
    ada.hears("Periwinkle").await;
    let chat = conversation(&world);

    world.runtime.kill().await;
    let spoilt = "UPDATE conversations SET machine = substr(machine, 1, 20) WHERE id = ?";
    change(&world, spoilt, &chat);
    world.runtime.start_again().await;

    ada.says("what do you know about my dentist").await;
    ada.hears("I lost the thread here").await;
    let answers = || ada.times_heard("Periwinkle");
    while answers() < 2 {
        ada.hears("Periwinkle").await;
    }
    assert_eq!(ada.times_heard("I lost the thread here"), 1);
    world.ends_well();
}

#[tokio::test]
async fn tables_of_a_newer_version_are_not_touched_and_nothing_is_taken_that_could_be_lost() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let chat = conversation(&world);
    world.runtime.kill().await;
    change(
        &world,
        "INSERT INTO schema_steps SELECT 99 WHERE ? <> ''",
        &chat,
    );
    world.runtime.start_again().await;

    let update = ada.text_update("help");
    let refused = world.webhook(update.to_string()).await;
    assert_eq!(refused.status(), 503, "Telegram shall try again later");

    world.runtime.kill().await;
    change(
        &world,
        "DELETE FROM schema_steps WHERE step = 99 AND ? <> ''",
        &chat,
    );
    world.runtime.start_again().await;
    ada.delivers(&update).await;
    ada.hears("list playground").await;
    world.ends_well();
}

/// The rows of the day, as the person is told them; asking writes some itself.
async fn rows(person: &Person<'_>) -> u64 {
    person.says("/status").await;
    let status = person.hears("rows written").await.text;
    let before = status.split(" rows written").next().unwrap_or_default();
    let number = before.rsplit(' ').next().and_then(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("no number of rows in {status:?}"))
}

/// The owner's conversation, which has been spoken in.
fn conversation(world: &World) -> String {
    let mut found = objects(world).into_iter().filter_map(|path| {
        let id = "SELECT id FROM conversations";
        open(&path).query_row(id, [], |row| row.get(0)).ok()
    });
    found.next().expect("somebody has spoken")
}

/// Changes the rows of an object while nobody is there.
fn change(world: &World, sql: &str, parameter: &str) {
    for path in objects(world) {
        let changed = open(&path).execute(sql, [parameter]);
        assert_eq!(changed, Ok(1), "{sql} in {}", path.display());
    }
}

fn count(world: &World, sql: &str, parameter: &str) -> i64 {
    let one = |path: PathBuf| {
        let counted = open(&path).query_row(sql, [parameter], |row| row.get::<_, i64>(0));
        counted.expect("a number")
    };
    objects(world).into_iter().map(one).sum()
}

fn open(path: &Path) -> Connection {
    Connection::open(path).expect("an object's file opens")
}

/// The files of the people's objects.
fn objects(world: &World) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(&world.folder().join("worker"), &mut found);
    found
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the state can be read") {
        let path = entry.expect("the state can be read").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "sqlite") && is_object(&path) {
            found.push(path);
        }
    }
}

fn is_object(path: &Path) -> bool {
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'schema_steps'";
    open(path).query_row(tables, [], |row| row.get::<_, i64>(0)) == Ok(1)
}
