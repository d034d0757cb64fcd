//! What goes on, shown in the chat while it goes on: a silent message that changes, and is gone when the answer comes.

use crate::kit::World;
use crate::kit::models::{Next, Reply};
use crate::kit::person::PATIENCE;
use crate::kit::telegram::Deed;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

/// What is shown in silence with these words, by this method.
async fn shown(world: &World, method: &str, words: &str) -> Deed {
    let find = |deeds: &[Deed]| {
        let mut deeds = deeds.iter().rev();
        deeds
            .find(|deed| deed.method == method && deed.text.contains(words))
            .cloned()
    };
    let found = world.telegram.wait_for(PATIENCE, find).await;
    found.unwrap_or_else(|| panic!("no {method} with {words:?}: {:#?}", world.telegram.deeds()))
}

/// All messages that make no sound have been taken away again.
async fn are_gone(world: &World) {
    let find = |deeds: &[Deed]| {
        let mut silent = deeds.iter().filter(|deed| deed.is_silent);
        let gone = |message: i64| {
            let mut deeds = deeds.iter();
            deeds.any(|deed| deed.method == "deleteMessage" && deed.message == message)
        };
        silent.all(|deed| gone(deed.message)).then_some(())
    };
    let gone = world.telegram.wait_for(PATIENCE, find).await;
    assert!(gone.is_some(), "{:#?}", world.telegram.deeds());
}

#[tokio::test]
async fn the_last_line_of_a_program_is_shown_while_it_runs_and_goes_with_the_answer() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let home = world.machine(&ada, "mac-mini").await;

    ada.says("run tail -f notes.txt").await;
    let question = ada.hears("May I run this").await;
    ada.presses(&question, "yes").await;
    let message = shown(&world, "sendMessage", "⏳ shell.run tail -f notes.txt").await;
    assert!(message.is_silent);
    for line in ["third line", "fourth `line`"] {
        let notes = home.playground.join("notes.txt");
        let mut notes = OpenOptions::new()
            .append(true)
            .open(notes)
            .expect("it is there");
        writeln!(notes, "{line}").expect("it can be written to");
        let changed = shown(&world, "editMessageText", &line.replace('`', "'")).await;
        assert_eq!(changed.message, message.message);
    }
    ada.says("/stop").await;
    ada.hears("Stopped").await;
    are_gone(&world).await;
    world.ends_well();
}

#[tokio::test]
async fn an_answer_is_shown_in_the_making_and_what_a_crash_leaves_of_it_is_taken_away() {
    let world = World::start("anthropic/claude-test").await;
    let ada = world.owner().await;
    let story = || {
        Reply::text(
            "Once there was a hermit crab who lived in a borrowed shell, and each time it grew it had to find another one.",
        )
    };
    let dozes = || Next::Dozes(story(), 1_500, Duration::from_secs(6));
    world.anthropic.then(dozes());
    ada.says("tell me a story").await;
    let message = shown(&world, "sendMessage", "Once there was").await;
    assert!(
        message.is_silent && message.text.ends_with('…'),
        "{}",
        message.text
    );
    ada.hears_that("the whole story", |deed| {
        deed.text.ends_with("another one.")
    })
    .await;
    are_gone(&world).await;

    world.anthropic.then(dozes()).then(dozes());
    ada.says("once more").await;
    let before = world.telegram.attempts("deleteMessage").len();
    world
        .telegram
        .was_called(
            "sendMessage",
            world.telegram.attempts("sendMessage").len() + 1,
        )
        .await;
    world.runtime.kill().await;
    world.runtime.start_again().await;
    ada.hears_that("the whole story", |deed| {
        deed.text.ends_with("another one.")
    })
    .await;
    are_gone(&world).await;
    assert!(world.telegram.attempts("deleteMessage").len() > before);
    world.ends_well();
}

#[tokio::test]
async fn what_ends_within_a_moment_is_not_shown_and_a_refused_preview_holds_nothing_up() {
    use crate::kit::telegram::Failure;
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let _home = world.machine(&ada, "mac-mini").await;
    ada.says("list playground").await;
    ada.hears("notes.txt").await;
    let silent = |deeds: Vec<Deed>| deeds.iter().any(|deed| deed.is_silent);
    assert!(!silent(world.telegram.deeds()), "a moment was shown");

    ada.says("run sleep 4").await;
    let question = ada.hears("May I run this").await;
    for _ in 0..2 {
        world.telegram.fails_next("sendMessage", Failure::CantParse);
    }
    ada.presses(&question, "yes").await;
    ada.hears("exit code 0").await;
    world.ends_well();
}
