//! Real models' dialects: streamed, cut anywhere, with several tool calls in one reply; and what they fail with.

use crate::kit::World;
use crate::kit::models::{Cutting, FakeModel, Next, Reply};
use serde_json::{Value, json};

/// A byte at a time; within characters and `\r\n`; within events; all at once.
const CUTTINGS: [Cutting; 5] = [
    Cutting {
        size: 1,
        crlf: true,
    },
    Cutting {
        size: 2,
        crlf: false,
    },
    Cutting {
        size: 3,
        crlf: true,
    },
    Cutting {
        size: 61,
        crlf: true,
    },
    Cutting {
        size: 1 << 20,
        crlf: false,
    },
];

#[tokio::test]
async fn anthropics_stream_is_understood_however_it_is_cut() {
    let world = World::start("anthropic/claude-test").await;
    two_tools_then_words(&world, &world.anthropic, "claude-test").await;
    world.ends_well();
}

#[tokio::test]
async fn openais_stream_is_understood_however_it_is_cut() {
    let world = World::start("openai/gpt-test").await;
    two_tools_then_words(&world, &world.openai, "gpt-test").await;
    world.ends_well();
}

#[tokio::test]
async fn a_models_failure_is_one_sentence_and_the_next_message_is_served() {
    let world = World::start("anthropic/claude-test").await;
    failures_are_told(&world, &world.anthropic).await;
    world.ends_well();

    let world = World::start("openai/gpt-test").await;
    failures_are_told(&world, &world.openai).await;
    world.ends_well();
}

#[tokio::test]
async fn a_turn_that_hangs_can_be_stopped_and_a_quoted_message_is_read_with_the_question() {
    let world = World::start("anthropic/claude-test").await;
    let ada = world.owner().await;
    world.anthropic.then(Next::Stalls);
    ada.says("think about this for ever").await;
    world.anthropic.was_asked(1).await;
    ada.says("/stop").await;
    ada.hears_something().await;

    world
        .anthropic
        .then_says("The lighthouse was painted in May.");
    ada.says("when was the lighthouse painted?").await;
    let answer = ada.hears("in May").await;
    world.anthropic.then_says("Yes, quite sure.");
    ada.replies(&answer, "are you sure of this?").await;
    ada.hears("quite sure").await;
    let requests = world.anthropic.requests();
    let words = last_words(requests.last().expect("it was just asked"), 1);
    assert!(
        words.contains("are you sure of this?") && words.contains("painted in May"),
        "the quote is missing: {words}"
    );
    world.ends_well();
}

async fn two_tools_then_words(world: &World, model: &FakeModel, name: &str) {
    let ada = world.owner().await;
    let _home = world.machine(&ada, "mac-mini").await;
    for (turn, cutting) in CUTTINGS.into_iter().enumerate() {
        model.cut(cutting);
        model.then_calls(&[
            ("files.list", json!({"path": "playground"})),
            ("files.read", json!({"path": "playground/notes.txt"})),
        ]);
        model.then_says(&format!(
            "Antwort {turn}: du hast <2> Dateien & eine 🐚 — **notes.txt**"
        ));
        ada.says(&format!("Frage {turn}: was liegt zu Hause? 🦀"))
            .await;
        ada.hears(&format!(
            "Antwort {turn}: du hast <2> Dateien & eine 🐚 — notes.txt"
        ))
        .await;

        let requests = model.requests();
        let [.., asked, answered] = requests.as_slice() else {
            panic!("two requests a turn, not {requests:#?}")
        };
        assert_eq!(asked["model"], name);
        assert!(
            last_words(asked, 1).contains(&format!("Frage {turn}")),
            "the question is not what was asked: {asked:#}"
        );
        let results = last_words(answered, 2);
        for result in ["budget.csv", "Buy sea salt."] {
            assert!(
                results.contains(result),
                "the model was not told {result:?}: {results}"
            );
        }
    }
    assert_eq!(
        ada.times_heard("Antwort"),
        CUTTINGS.len(),
        "an answer came twice"
    );
}

/// The last messages of a request, as JSON.
fn last_words(request: &Value, count: usize) -> String {
    let messages = request["messages"]
        .as_array()
        .expect("a judged request has messages");
    messages[messages.len().saturating_sub(count)..]
        .iter()
        .map(ToString::to_string)
        .collect()
}

async fn failures_are_told(world: &World, model: &FakeModel) {
    let ada = world.owner().await;
    for (failure, word) in [
        (Next::Refuses(401), "key"),
        (Next::Refuses(404), "model"),
        (Next::Overflows, "more than the model can read"),
    ] {
        let budgets = if matches!(failure, Next::Overflows) {
            3
        } else {
            1
        };
        for _ in 0..budgets {
            model.then(failure.clone()); // a prompt that is too long is shortened twice before the person is told
        }
        ada.says(&format!("a question that ends in {failure:?}"))
            .await;
        let told = ada.hears(word).await;
        assert_eq!(
            told.text.lines().count(),
            1,
            "{failure:?} took more than a line: {:?}",
            told.text
        );
    }

    // What passes by itself is not told: the question is asked again.
    let heard = ada.messages().len();
    let broken =
        Reply::text("This sentence never becomes whole, for the line breaks in the middle of it.");
    let passing = [
        Next::Refuses(429),
        Next::Refuses(500),
        Next::Refuses(529),
        Next::Resets,
        Next::BreaksOff(broken, 700),
    ];
    for (turn, failure) in passing.iter().enumerate() {
        model
            .then(failure.clone())
            .then_says(&format!("Answer {turn} in spite of it."));
        ada.says("a question").await;
        ada.hears(&format!("Answer {turn} in spite of it.")).await;
    }
    assert_eq!(
        ada.messages().len(),
        heard + passing.len(),
        "more was said than the answers"
    );

    // What does not pass is told in the end.
    model.otherwise(Some(Next::Refuses(529)));
    ada.says("a question").await;
    ada.hears("overloaded").await;
    model.otherwise(None).then_says("All is well again.");
    ada.says("and now?").await;
    ada.hears("All is well again.").await;
}
