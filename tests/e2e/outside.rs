//! The servers outside in trouble: silent, stalling, busy, broken, reset. Each answer comes once, or its failure is told once.

use crate::kit::World;
use crate::kit::console::Console;
use crate::kit::models::{FakeModel, Next, Reply};
use crate::kit::person::Person;
use crate::kit::telegram::Failure;
use futures::future::join_all;
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Short enough for a test to see them end, long enough for a busy machine to answer within them.
const SHORT: [(&str, &str); 2] = [
    ("MODEL_FIRST_TOKEN_SECONDS", "2"),
    ("MODEL_PAUSE_SECONDS", "2"),
];

/// So long that no test sees them end: what ends before has another reason.
const LONG: [(&str, &str); 2] = [
    ("MODEL_FIRST_TOKEN_SECONDS", "600"),
    ("MODEL_PAUSE_SECONDS", "600"),
];

/// How often a model is asked before the person is told that it does not answer.
const TRIES: usize = 3;

/// A byte of [`story`]'s stream behind its first tokens and before its end, in both dialects.
const HALF: usize = 2_000;

/// An answer of many pieces.
fn story() -> Reply {
    Reply::text(
        "Once there was a hermit crab who lived in a borrowed shell, and each time it grew it had to find another one, \
         carry itself over in a moment without any house, and close the door behind it again.",
    )
}

#[tokio::test]
async fn anthropics_silence_is_given_up_told_once_and_the_next_message_is_served() {
    let world = World::start_with("anthropic/claude-test", &SHORT).await;
    silences_are_told(&world, &world.anthropic).await;
    world.ends_well();
}

#[tokio::test]
async fn openais_silence_is_given_up_told_once_and_the_next_message_is_served() {
    let world = World::start_with("openai/gpt-test", &SHORT).await;
    silences_are_told(&world, &world.openai).await;
    world.ends_well();
}

#[tokio::test]
async fn a_stop_hangs_up_on_anthropic_at_once_whatever_is_waited_for() {
    let world = World::start_with("anthropic/claude-test", &LONG).await;
    stops_hang_up(&world, &world.anthropic).await;
    world.ends_well();
}

#[tokio::test]
async fn a_stop_hangs_up_on_openai_at_once_whatever_is_waited_for() {
    let world = World::start_with("openai/gpt-test", &LONG).await;
    stops_hang_up(&world, &world.openai).await;
    world.ends_well();
}

#[tokio::test]
async fn anthropics_troubles_neither_lose_nor_double_an_answer() {
    let world = World::start("anthropic/claude-test").await;
    troubles_pass(&world, &world.anthropic).await;
    world.ends_well();
}

#[tokio::test]
async fn openais_troubles_neither_lose_nor_double_an_answer() {
    let world = World::start("openai/gpt-test").await;
    troubles_pass(&world, &world.openai).await;
    world.ends_well();
}

#[tokio::test]
async fn signs_of_life_hold_an_answer_that_has_begun_through_a_long_pause() {
    let patience = [("MODEL_PAUSE_SECONDS", "5")];
    let dozing = Next::Dozes(story(), HALF, Duration::from_secs(8));
    for model in ["anthropic/claude-test", "openai/gpt-test"] {
        let world = World::start_with(model, &patience).await;
        let ada = world.owner().await;
        let asked = if model.starts_with("anthropic") {
            &world.anthropic
        } else {
            &world.openai
        };
        asked.then(dozing.clone());
        ada.says("tell me a story").await;
        ada.hears(&story().text).await;
        assert_eq!(
            (asked.requests().len(), ada.times_heard("hermit crab")),
            (1, 1),
            "{model}"
        );
        world.ends_well();
    }
}

#[tokio::test]
async fn half_an_answer_on_the_page_is_not_the_beginning_of_the_next_one() {
    let world = World::start_with("anthropic/claude-test", &SHORT).await;
    let ada = world.owner().await;
    let mut page = Console::sign_in(&world.runtime.url, &world.sign_in_link(&ada).await).await;
    world.anthropic.then(Next::StallsAfter(story(), HALF));
    world.anthropic.otherwise(Some(Next::Replies(story())));
    page.says("tell me a story").await;
    let (told, seen) = page.hears_and_sees("hermit crab").await;
    let story = story().text;
    assert_eq!(told, story);
    let [half, .., whole] = seen.as_slice() else {
        panic!("two answers in the making, not {seen:?}")
    };
    assert!(
        !half.is_empty() && half != whole && story.starts_with(half.as_str()),
        "no half: {seen:?}"
    );
    assert_eq!(*whole, story, "{seen:?}");
    world.ends_well();
}

#[tokio::test]
async fn patience_that_cannot_be_is_told_to_the_operator_once_and_the_usual_one_holds() {
    let wrong = [
        ("MODEL_FIRST_TOKEN_SECONDS", "0"),
        ("MODEL_PAUSE_SECONDS", "a while"),
    ];
    let world = World::start_with("anthropic/claude-test", &wrong).await;
    let ada = world.owner().await;
    for answer in ["One answer.", "Another answer."] {
        world.anthropic.then_says(answer);
        ada.says("a question").await;
        ada.hears(answer).await;
    }
    let log = world.runtime.log();
    for fault in [
        "MODEL_FIRST_TOKEN_SECONDS is not a number of seconds from 1 to 600; 45 are waited",
        "MODEL_PAUSE_SECONDS is not a number of seconds from 1 to 600; 60 are waited",
    ] {
        assert_eq!(log.matches(fault).count(), 1, "{fault}\n{log}");
    }
    world.ends_well();
}

#[tokio::test]
async fn telegrams_troubles_neither_lose_nor_double_a_document() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let _home = world.machine(&ada, "mac-mini").await;
    let documents = || {
        let sent = ada.messages();
        sent.iter().filter(|deed| deed.document.is_some()).count()
    };
    for (nth, failure) in [Failure::TooMany(1), Failure::Broken]
        .into_iter()
        .enumerate()
    {
        world.telegram.fails_next("sendDocument", failure);
        ada.says("send me playground/budget.csv").await;
        ada.hears_that("a document", |deed| deed.document.is_some())
            .await;
        ada.hears("sent you").await;
        assert_eq!(documents(), nth + 1);
    }
    let attempts = world.telegram.attempts("sendDocument");
    let statuses: Vec<u16> = attempts.iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses, [429, 200, 500, 200]);
    assert!(
        attempts[1].at - attempts[0].at >= Duration::from_secs(1),
        "retry_after was not honoured"
    );

    // Nobody knows whether it arrived: it is not sent again, and the person is told so, once.
    world.telegram.fails_next("sendDocument", Failure::Reset);
    ada.says("send me playground/budget.csv").await;
    let told = ada.hears("not known").await;
    ada.says("read playground/notes.txt").await;
    ada.hears("sea salt").await;
    assert_eq!(ada.times_heard(&told.text), 1);
    assert_eq!(
        (documents(), world.telegram.attempts("sendDocument").len()),
        (2, 5),
        "a document of unknown fate was sent again"
    );
    world.ends_well();
}

/// Every way of saying nothing, each told to somebody else at the same time.
async fn silences_are_told(world: &World, model: &FakeModel) {
    const NO_WORD: &str = "no word came within 2 seconds";
    let silences = [
        ("not even a head", NO_WORD),
        ("a head and nothing else", NO_WORD),
        ("a beginning and signs of life", NO_WORD),
        ("half an answer", "nothing more came for 2 seconds"),
    ];
    model.thinks(|request| {
        let words = last_message(request);
        if words.contains("all well?") {
            Next::Replies(Reply::text("All is well."))
        } else if words.contains("not even a head") {
            Next::Ponders(story(), Duration::from_hours(1))
        } else if words.contains("a head and nothing else") {
            Next::Stalls
        } else if words.contains("a beginning and signs of life") {
            Next::Pings
        } else {
            Next::StallsAfter(story(), HALF)
        }
    });
    let stories = (2_000_001..)
        .zip(silences)
        .map(|(id, (silence, reason))| async move {
            let person = world.member(id).await;
            let begun = Instant::now();
            person.says(&format!("Give me {silence}.")).await;
            let told = person.hears("did not answer").await;
            assert!(
                told.text.contains(reason) && told.text.lines().count() == 1,
                "{silence}: {:?}",
                told.text
            );
            assert!(
                begun.elapsed() >= Duration::from_secs(6),
                "{silence}: given up too soon"
            );
            person.says("Is all well?").await;
            person.hears("All is well.").await;
            let heard: Vec<String> = person
                .messages()
                .into_iter()
                .map(|deed| deed.text)
                .collect();
            assert_eq!(heard, [told.text.as_str(), "All is well."], "{silence}");
            let asked = model.requests().into_iter().filter(|request| {
                let words = last_message(request);
                words.contains(silence) && !words.contains("all well?")
            });
            assert_eq!(asked.count(), TRIES, "{silence}");
        });
    join_all(stories).await;
    model.was_left(silences.len() * TRIES).await;
}

async fn stops_hang_up(world: &World, model: &FakeModel) {
    let ada = world.owner().await;
    let silences = [
        ("/stop", Next::Ponders(story(), Duration::from_hours(1))),
        ("stop", Next::Stalls),
        ("Stop!", Next::Pings),
        ("/stop", Next::StallsAfter(story(), HALF)),
    ];
    for (nth, (stop, silence)) in silences.into_iter().enumerate() {
        model.then(silence);
        ada.says("think about this for ever").await;
        model.has_stalled(nth + 1).await;
        ada.says(stop).await;
        ada.hears("Stopped").await;
        model.was_left(nth + 1).await;
        is_served(&ada, model).await;
    }

    // While it is waited for a busy model there is nobody to hang up on; it is just not asked again.
    model.then(Next::Busy(2));
    let asked = model.requests().len();
    ada.says("think about this when you can").await;
    model.was_asked(asked + 1).await;
    ada.says("/stop").await;
    ada.hears("Stopped").await;
    is_served(&ada, model).await;
    sleep(Duration::from_secs(4)).await; // nobody tells when something does not happen
    assert_eq!(model.requests().len(), asked + 2, "it was asked again");
    assert_eq!(
        ada.times_heard("hermit crab"),
        0,
        "a stopped answer was told"
    );
}

async fn is_served(person: &Person<'_>, model: &FakeModel) {
    model.then_says("On we go.");
    person.says("and now?").await;
    person.hears("On we go.").await;
}

async fn troubles_pass(world: &World, model: &FakeModel) {
    let ada = world.owner().await;
    let broken = || Next::ResetsAfter(story(), HALF);
    let troubles = [
        vec![Next::Refuses(500), Next::Refuses(500)],
        vec![Next::Busy(1)],
        vec![Next::Resets],
        vec![broken()],
        vec![broken(), Next::Resets],
    ];
    for (nth, trouble) in troubles.into_iter().enumerate() {
        let (heard, asked, times) = (ada.messages().len(), model.requests().len(), trouble.len());
        for failure in &trouble {
            model.then(failure.clone());
        }
        let answer = format!("Answer {nth} in spite of it.");
        model.then_says(&answer);
        ada.says("a question").await;
        ada.hears(&answer).await;
        assert_eq!(ada.messages().len(), heard + 1, "after {trouble:?}");
        let at = model.asked_at();
        assert_eq!(at.len(), asked + times + 1, "after {trouble:?}");
        if let [Next::Busy(seconds)] = trouble.as_slice() {
            let pause = at[asked + 1] - at[asked];
            let least = Duration::from_secs(u64::from(*seconds));
            assert!(pause >= least, "asked again after {pause:?}");
        }
    }
    assert_eq!(ada.times_heard("hermit crab"), 0, "half an answer was told");

    // What does not pass is told in the end, once.
    for (failure, word) in [
        (Next::Refuses(500), "overloaded"),
        (Next::Busy(1), "no more requests"),
        (Next::Resets, "did not answer"),
        (broken(), "did not answer"),
    ] {
        let (heard, asked) = (ada.messages().len(), model.requests().len());
        model.otherwise(Some(failure.clone()));
        ada.says("a question").await;
        let told = ada.hears(word).await;
        assert_eq!(told.text.lines().count(), 1, "{failure:?}: {:?}", told.text);
        model.otherwise(None);
        assert_eq!(model.requests().len(), asked + TRIES, "{failure:?}");
        is_served(&ada, model).await;
        assert_eq!(ada.messages().len(), heard + 2, "{failure:?}");
    }
}

/// What a request asks last, as JSON.
fn last_message(request: &Value) -> String {
    let messages = request["messages"].as_array();
    let last = messages.and_then(|messages| messages.last());
    last.map(ToString::to_string).unwrap_or_default()
}
