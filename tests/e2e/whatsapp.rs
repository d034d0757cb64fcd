//! WhatsApp: who gets in, words and buttons both ways, files both ways, and a person who has not written for a day.

use crate::kit::person::acknowledged;
use crate::kit::whatsapp::{Failure, Lie, SIGNATURE, VERIFY_TOKEN, signature};
use crate::kit::{OWNER_CLAIM, World};
use reqwest::Response;
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

const ADA: &str = "16505551234";
const DAY: Duration = Duration::from_hours(24);
const LESS: Duration = Duration::from_hours(23);

async fn knock(world: &World, signatures: &[&str], body: &str) -> Response {
    let request = world.client.post(world.url("/whatsapp/webhook"));
    let request = signatures
        .iter()
        .fold(request, |request, it| request.header(SIGNATURE, *it));
    let answer = request.body(body.to_owned()).send().await;
    answer.expect("the Worker answers")
}

#[tokio::test]
async fn the_webhook_opens_to_what_meta_signed_alone() {
    let world = World::start("anthropic/claude-test").await;
    let ada = world.contact(ADA);
    let body = ada.message("text", &json!({"body": "let me in 😀"}), Duration::ZERO);
    let body = body.to_string();
    let right = signature(body.as_bytes());
    let other = signature(b"{}");
    let sha1 = format!("sha1={}", &right[7..47]);
    for signatures in [
        vec![],
        vec![""],
        vec![&right[7..]],
        vec![&other],
        vec![&sha1],
        vec![&right, &right],
    ] {
        let answer = knock(&world, &signatures, &body).await;
        assert_eq!(answer.status(), 401, "with {signatures:?}");
    }
    let escaped = body.replace('😀', "\\ud83d\\ude00");
    assert_eq!(knock(&world, &[&right], &escaped).await.status(), 401);
    let bent = body.replace("let me in", "let me im");
    assert_eq!(knock(&world, &[&right], &bent).await.status(), 401);
    let long = " ".repeat(3 * 1024 * 1024 + 1);
    let too_long = knock(&world, &[&signature(long.as_bytes())], &long).await;
    assert_eq!(too_long.status(), 413);
    assert_eq!(knock(&world, &[], &long).await.status(), 401);

    let elsewhere = body.replace(crate::kit::whatsapp::NUMBER, "999999999999999");
    for garbage in ["", "{", "[]", "{\"object\":\"page\"}", &elsewhere] {
        let answer = knock(&world, &[&signature(garbage.as_bytes())], garbage).await;
        acknowledged(answer).await;
    }
    assert_eq!(world.whatsapp.sent(), [], "garbage moved something");
    world
        .runtime
        .logs("something for another phone number")
        .await;
    assert_eq!(world.runtime.objects().await, Vec::<Value>::new());
    world.ends_well();
}

#[tokio::test]
async fn meta_is_answered_its_challenge_for_the_right_token_and_nobody_else() {
    let world = World::start("offline").await;
    let ask = async |query: String| {
        let answer = world
            .client
            .get(world.url(&format!("/whatsapp/webhook?{query}")));
        let answer = answer.send().await.expect("the Worker answers");
        let kind = answer.headers().get("content-type").cloned();
        let status = answer.status().as_u16();
        (status, kind, answer.text().await.expect("a body"))
    };
    let right =
        format!("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={VERIFY_TOKEN}");
    let (status, kind, body) = ask(right.clone()).await;
    assert_eq!((status, body.as_str()), (200, "1158201444"));
    let kind = kind.as_ref().and_then(|kind| kind.to_str().ok());
    assert!(kind.is_some_and(|kind| kind.starts_with("text/plain")));
    for wrong in [
        String::new(),
        right.replace("canary", "wrong"),
        right.replace("1158201444", "%3Cscript%3E"),
        right.replace("subscribe", "x"),
    ] {
        let (status, _, body) = ask(wrong.clone()).await;
        assert_eq!(status, 403, "{wrong}");
        assert!(
            !body.contains("1158201444") && !body.contains("script"),
            "{body}"
        );
    }
    world.ends_well();
}

#[tokio::test]
async fn what_is_not_configured_is_closed() {
    let world =
        World::start_without("offline", &["WHATSAPP_APP_SECRET", "WHATSAPP_VERIFY_TOKEN"]).await;
    assert_eq!(knock(&world, &["sha256=00"], "{}").await.status(), 503);
    let asked = world
        .client
        .get(world.url("/whatsapp/webhook?hub.mode=subscribe"));
    assert_eq!(asked.send().await.expect("an answer").status(), 503);
    world.runtime.logs("WHATSAPP_APP_SECRET is not set").await;
    world.runtime.logs("WHATSAPP_VERIFY_TOKEN is not set").await;
    world.ends_well();
}

#[tokio::test]
async fn the_bare_claim_makes_the_owner_and_strangers_cost_nothing() {
    let world = World::start("anthropic/claude-test").await;
    let stranger = world.contact("4915112345678");
    for text in ["hello", "/start wrong-claim", "run rm -rf /"] {
        stranger.says(text).await;
    }
    let ada = world.contact(ADA);
    ada.says(&format!(" {OWNER_CLAIM} ")).await;
    ada.hears("Welcome. You are my owner now").await;
    let thief = world.contact("33612345678");
    thief.says(OWNER_CLAIM).await;

    world.anthropic.then_says("Hello, **owner**.");
    ada.says("hello").await;
    ada.hears("Hello, *owner*.").await;
    assert!(stranger.messages().len() <= 1, "{:#?}", stranger.messages());
    assert!(thief.messages().len() <= 1, "{:#?}", thief.messages());
    assert_eq!(
        world.anthropic.requests().len(),
        1,
        "a stranger cost a model call"
    );
    let asked = world.anthropic.requests()[0].to_string();
    assert!(!asked.contains(OWNER_CLAIM), "the claim is in a prompt");
    assert_eq!(world.runtime.objects().await.len(), 1);
    world.ends_well();
}

#[tokio::test]
async fn words_go_both_ways_once_each_and_are_marked_as_read() {
    let world = World::start("anthropic/claude-test").await;
    let ada = world.contact_of(&world.owner().await, ADA).await;
    world
        .anthropic
        .then_says("There are two files:\n\n- **a.txt**\n- `b.txt`");
    let body = ada.message(
        "text",
        &json!({"body": "What is in my notes?"}),
        Duration::ZERO,
    );
    for _ in 0..3 {
        ada.delivers(&body).await; // Meta delivers again what it believes lost
    }
    let answer = ada.hears("two files").await;
    assert_eq!(answer.text, "There are two files:\n\n• *a.txt*\n• `b.txt`");
    assert_eq!(
        world.anthropic.requests().len(),
        1,
        "a repeat was taken for another message"
    );
    let id = body["entry"][0]["changes"][0]["value"]["messages"][0]["id"].as_str();
    assert!(
        world
            .whatsapp
            .seen()
            .iter()
            .any(|seen| Some(seen.as_str()) == id)
    );

    world.anthropic.then_says("You are welcome.");
    ada.says("thanks").await;
    ada.hears("You are welcome.").await;
    world.anthropic.then_says("It says: rent.");
    let mut reply = ada.message("text", &json!({"body": "open the second"}), Duration::ZERO);
    reply["entry"][0]["changes"][0]["value"]["messages"][0]["context"] =
        json!({"from": "15550783881", "id": answer.id});
    ada.delivers(&reply).await;
    ada.hears("It says: rent.").await;
    let asked = world
        .anthropic
        .requests()
        .pop()
        .expect("a request")
        .to_string();
    assert!(
        asked.matches("There are two files").count() >= 2,
        "what was quoted is not shown: {asked}"
    );

    let long = "a word and another. ".repeat(400);
    world.anthropic.then_says(&long);
    ada.says("tell me everything").await;
    ada.hears("a word and another").await;
    ada.hears("a word and another").await;
    assert_eq!(ada.times_heard("a word and another"), 2);
    world.ends_well();
}

#[tokio::test]
async fn someone_without_a_number_is_answered_by_the_id_that_meta_gave_them() {
    let world = World::start("anthropic/claude-test").await;
    let scoped = "US.13491208655302741918";
    let ada = world.contact_of(&world.owner().await, scoped).await;
    world.anthropic.then_says("Hello, whoever you are.");
    ada.says("hello").await;
    let hello = ada.hears("Hello, whoever you are.").await;
    assert_eq!(hello.to, scoped);
    world.ends_well();
}

#[tokio::test]
async fn a_question_has_buttons_and_a_tap_counts_once() {
    let world = World::start("offline").await;
    let owner = world.owner().await;
    let home = world.machine(&owner, "mac-mini").await;
    let ada = world.contact_of(&owner, ADA).await;
    ada.says("run sleep 1").await;
    let question = ada.hears("May I run this on").await;
    assert!(question.text.contains("```sleep 1"), "{}", question.text);
    let titles: Vec<&str> = question
        .buttons
        .iter()
        .map(|(title, _)| title.as_str())
        .collect();
    assert!(
        titles.contains(&"Yes, this once") && titles.contains(&"No"),
        "{titles:?}"
    );
    let stranger = world.contact("4915112345678");
    let (title, yes) = question.buttons[0].clone();
    stranger.taps_id(&question, &title, &yes).await;
    assert!(
        !home.log().contains(": shell.run"),
        "a stranger's yes counted"
    );
    ada.taps(&question, "yes").await;
    ada.taps(&question, "yes").await;
    ada.hears("This button does nothing any more").await;
    home.logs(0, &["shell.run"]).await;
    assert_eq!(home.log().matches(": shell.run").count(), 1);
    let reactions: Vec<String> = ada
        .messages()
        .into_iter()
        .filter(|sent| sent.kind == "reaction")
        .map(|sent| sent.text)
        .collect();
    assert_eq!(reactions, ["👍"]);
    world.ends_well();
}

#[tokio::test]
async fn whoever_has_not_written_for_a_day_is_told_once_and_hears_it_all_when_they_write() {
    let world = World::start("anthropic/claude-test").await;
    let ada = world.contact_of(&world.owner().await, ADA).await;
    world.anthropic.then_says("The first answer.");
    ada.says_since("one", DAY + Duration::from_mins(1)).await; // Meta was cut off from us for a day
    ada.hears("you_have_a_message").await;
    world.runtime.logs("waits for the person to write").await;
    world.runtime.kill().await;
    world.runtime.start_again().await;
    ada.says_since("/help", DAY + Duration::from_secs(30)).await;
    ada.hears("you_have_a_message").await; // another message, another silence
    assert_eq!(ada.times_heard(""), 2, "{:#?}", ada.messages());

    world.anthropic.then_says("The second answer.");
    ada.says_since("two", LESS).await;
    ada.hears("The first answer.").await;
    ada.hears("I am Bernard").await;
    ada.hears("The second answer.").await;
    assert_eq!(ada.times_heard("answer."), 2);
    assert_eq!(ada.times_heard("you_have_a_message"), 2);
    let refused = world.whatsapp.refused();
    assert_eq!(refused, Vec::<i64>::new(), "Meta had to refuse something");
    world.ends_well();
}

#[tokio::test]
async fn a_silence_that_meta_tells_of_is_believed_and_never_looped() {
    let world = World::start("anthropic/claude-test").await;
    let ada = world.contact_of(&world.owner().await, ADA).await;
    world.anthropic.then_says("Hello.");
    ada.says("hello").await;
    let hello = ada.hears("Hello.").await;
    world.whatsapp.falls_silent(ADA);
    world.whatsapp.falls_silent(ADA);
    world.anthropic.then_says("It is noon.");
    let body = ada.message("text", &json!({"body": "what time is it?"}), Duration::ZERO);
    world.whatsapp.falls_silent(ADA); // as if the clocks did not agree
    ada.delivers(&body).await;
    ada.hears("you_have_a_message").await;
    assert_eq!(world.whatsapp.refused(), [131_047]);

    world.anthropic.then_says("You are welcome.");
    ada.says("thanks").await;
    ada.hears("It is noon.").await;
    let welcome = ada.hears("You are welcome.").await;
    let refused = world.whatsapp.refused();
    assert_eq!(refused, [131_047], "it was tried in vain more than once");

    // The same, told only afterwards: what was lost is said again after their next message, once.
    ada.got(&welcome, "sent", None).await;
    ada.got(&welcome, "failed", Some(131_047)).await;
    ada.got(&welcome, "failed", Some(131_047)).await;
    ada.hears("you_have_a_message").await;
    world.anthropic.then_says("Yes?");
    ada.says("are you there?").await;
    ada.hears("You are welcome.").await;
    ada.hears("Yes?").await;
    assert_eq!(ada.times_heard("You are welcome."), 2);

    // Told so late that they have written since: said again at once.
    ada.got(&hello, "failed", Some(131_047)).await;
    ada.hears("Hello.").await;
    assert_eq!(ada.times_heard("you_have_a_message"), 2);
    world.ends_well();
}

#[tokio::test]
async fn a_question_that_never_arrived_is_asked_again_after_the_next_message() {
    let world = World::start("offline").await;
    let owner = world.owner().await;
    let home = world.machine(&owner, "mac-mini").await;
    let ada = world.contact_of(&owner, ADA).await;
    ada.says("run sleep 1").await;
    let lost = ada.hears("May I run this on").await;
    ada.got(&lost, "failed", Some(131_047)).await;
    ada.hears("you_have_a_message").await;
    ada.says("/status").await;
    let question = ada.hears("May I run this on").await;
    ada.taps(&question, "yes").await;
    home.logs(0, &[": shell.run"]).await;
    ada.taps(&lost, "yes").await; // it was there after all
    ada.hears("This button does nothing any more").await;
    assert_eq!(home.log().matches(": shell.run").count(), 1);
    assert_eq!(ada.times_heard("May I run this on"), 2);
    world.ends_well();
}

#[tokio::test]
async fn without_a_template_the_person_is_told_where_else_they_can_be_reached() {
    let world = World::start_without("anthropic/claude-test", &["WHATSAPP_TEMPLATE"]).await;
    let owner = world.owner().await;
    let ada = world.contact_of(&owner, ADA).await;
    world.anthropic.then_says("The answer is 42.");
    ada.says_since("what is the answer?", DAY + Duration::from_mins(1))
        .await;
    let told = owner.hears("I have something for you on WhatsApp").await;
    assert!(told.text.contains("The answer is 42."), "{}", told.text);
    assert_eq!(ada.messages(), []);

    world.anthropic.then_says("Here I am.");
    ada.says("hello?").await;
    ada.hears("The answer is 42.").await;
    let here = ada.hears("Here I am.").await;
    ada.got(&here, "delivered", None).await;
    ada.got(&here, "failed", Some(131_026)).await; // late news of an older state changes much: this one never was seen
    owner
        .hears("What I wrote on WhatsApp did not reach you")
        .await;
    world.ends_well();
}

#[tokio::test]
async fn meta_in_trouble_is_tried_again_by_what_its_code_means() {
    let world = World::start("anthropic/claude-test").await;
    let owner = world.owner().await;
    let ada = world.contact_of(&owner, ADA).await;
    for (failure, answer) in [
        (Failure::Code(429, 130_429), "one"),
        (Failure::Code(500, 131_000), "two"),
        (Failure::Code(401, 190), "three"),
        (Failure::Code(400, 131_056), "four"),
    ] {
        world.whatsapp.fails_next(failure);
        world.anthropic.then_says(answer);
        ada.says("go on").await;
        ada.hears(answer).await;
        assert_eq!(ada.times_heard(answer), 1);
    }
    world.whatsapp.fails_next(Failure::Code(400, 131_026));
    world.anthropic.then_says("never");
    ada.says("go on").await;
    world.whatsapp.has_refused(5).await;
    world.whatsapp.fails_next(Failure::Reset);
    world.anthropic.then_says("perhaps");
    ada.says("go on").await;
    ada.hears("I do not know whether it arrived").await;
    assert_eq!(
        (ada.times_heard("never"), ada.times_heard("perhaps")),
        (0, 0)
    );
    world.ends_well();
}

#[tokio::test]
async fn files_go_both_ways_whole() {
    let world = World::start("anthropic/claude-test").await;
    let owner = world.owner().await;
    let ada = world.contact_of(&owner, ADA).await;
    let bytes = noise(700_000);
    world.anthropic.then_says("I have it.");
    ada.gives("application/pdf", "lease.pdf", "keep this", &bytes)
        .await;
    ada.hears("I have it.").await;
    let asked = world.anthropic.requests().pop().expect("a request");
    let asked = asked.to_string();
    for word in ["lease.pdf", "keep this", "[document]"] {
        assert!(asked.contains(word), "{word} is not in {asked}");
    }
    world.ends_well();
}

#[tokio::test]
async fn a_file_that_is_not_what_or_where_it_should_be_is_not_taken_and_its_words_are_heard() {
    let world = World::start("anthropic/claude-test").await;
    let ada = world.contact_of(&world.owner().await, ADA).await;
    for (lie, told) in [
        (Lie::Elsewhere, "it lies where I may not fetch it"),
        (Lie::Moved, "the app does not hand it over"),
        (Lie::OtherBytes, "other bytes came than were announced"),
        (Lie::Missing, "the app does not hand it over"),
    ] {
        let answer = format!("I see: {lie:?}");
        world.anthropic.then_says(&answer);
        ada.gives_oddly(lie, "text/plain", "a.txt", "read this", b"hello")
            .await;
        ada.hears(&answer).await;
        let asked = world.anthropic.requests().pop().expect("a request");
        let said = asked["messages"].as_array().and_then(|said| said.last());
        let said = said.map(ToString::to_string).unwrap_or_default();
        let expected = format!("[document; not here: {told}] read this");
        assert!(said.contains(&expected), "{lie:?}: {said}");
    }
    world.ends_well();
}

#[tokio::test]
async fn a_file_from_home_is_handed_over_and_then_sent_once() {
    let world = World::start("offline").await;
    let owner = world.owner().await;
    let home = world.machine(&owner, "mac-mini").await;
    let ada = world.contact_of(&owner, ADA).await;
    let bytes = noise(2_000_000);
    let write = |name: &str, bytes: &[u8]| {
        fs::write(home.playground.join(name), bytes).expect("the file can be written");
    };
    write("proof-of-address.pdf", &bytes);
    world.whatsapp.fails_next(Failure::Code(429, 130_429)); // once handed over, it is handed over again
    ada.says("send me proof-of-address.pdf").await;
    let sent = ada.hears("proof-of-address.pdf").await;
    let hash = hmac_sha256::Hash::hash(&bytes).map(|byte| format!("{byte:02x}"));
    assert_eq!(
        (sent.kind.as_str(), sent.file),
        (
            "document",
            Some((hash.concat(), "application/pdf".to_owned()))
        )
    );
    write("all.zip", &noise(1_000));
    ada.says("send me playground/all.zip").await;
    ada.hears("takes no files of the type").await;
    let files = ada.messages();
    let files = files.iter().filter(|sent| sent.file.is_some());
    assert_eq!(files.count(), 1);
    world.ends_well();
}

/// Bytes without a pattern, the same each time.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x5EED_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..size).map(|_| next()).collect()
}
