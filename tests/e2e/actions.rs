//! The main job: a text in the chat, a deed at home, an answer; once each, with a yes where one is due.

use crate::kit::World;
use crate::kit::telegram::Deed;
use futures::future::join_all;
use serde_json::json;
use std::fs;

#[tokio::test]
async fn a_text_becomes_a_deed_at_home_and_an_answer_exactly_once() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let _home = world.machine(&ada, "mac-mini").await;

    let update = ada.text_update("list playground");
    for _ in 0..5 {
        ada.delivers(&update).await;
    }
    let answer = ada.hears("notes.txt").await;
    assert!(
        answer.text.contains("budget.csv"),
        "the list is not whole: {:?}",
        answer.text
    );

    let update = ada.text_update("read playground/notes.txt");
    join_all([0; 5].map(|_| ada.delivers(&update))).await;
    ada.hears("sea salt").await;

    // Whatever a repeat might have begun would stand before this.
    ada.says("read playground/budget.csv").await;
    ada.hears("910").await;
    assert_eq!(
        [
            ada.times_heard("playground holds"),
            ada.times_heard("sea salt")
        ]
        .map(|times| times.min(2)),
        [1, 1]
    );
    let typing = world
        .telegram
        .deeds()
        .into_iter()
        .find(|deed| deed.method == "sendChatAction" && deed.text == "typing");
    assert!(typing.is_some(), "nobody saw Bernard type");
    world.ends_well();
}

#[tokio::test]
async fn a_file_arrives_byte_for_byte_be_it_small_or_large() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let home = world.machine(&ada, "mac-mini").await;

    for size in [100, 30 * 1024 * 1024] {
        let bytes = noise(size);
        fs::write(home.playground.join("proof-of-address.pdf"), &bytes)
            .expect("the file can be written");
        ada.says("send me my proof of address").await;
        let sent = ada
            .hears_that("a document", |deed| deed.document.is_some())
            .await;
        let document = sent.document.expect("it was just looked for");
        assert_eq!(
            (document.name.as_str(), document.mime.as_str()),
            ("proof-of-address.pdf", "application/pdf")
        );
        assert_eq!(
            (document.bytes.len(), document.sha256),
            (size, hmac_sha256::Hash::hash(&bytes)),
            "the bytes differ"
        );
    }
    assert_eq!(
        ada.messages()
            .iter()
            .filter(|deed| deed.document.is_some())
            .count(),
        2,
        "a file came twice"
    );
    world.ends_well();
}

#[tokio::test]
async fn a_program_runs_after_a_yes_and_not_after_a_no() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let home = world.machine(&ada, "mac-mini").await;
    ada.says("list playground").await;
    ada.hears("notes.txt").await;
    let asks = |deed: &Deed| !deed.buttons.is_empty() && deed.text.contains("touch");

    ada.says("run touch refused.txt").await;
    let question = ada.hears_that("a question about touch", asks).await;
    ada.presses(&question, "no").await;
    ada.hears_something().await;

    ada.says("run touch agreed.txt").await;
    let question = ada.hears_that("a question about touch", asks).await;
    assert!(
        !home.playground.join("agreed.txt").exists(),
        "it ran before the yes"
    );
    ada.presses(&question, "yes").await;
    ada.hears_something().await;
    assert!(
        home.playground.join("agreed.txt").exists(),
        "it did not run after the yes"
    );

    // A second press of an answered question runs nothing again.
    fs::remove_file(home.playground.join("agreed.txt")).expect("the file is there");
    ada.presses(&question, "yes").await;
    ada.says("list playground").await;
    let list = ada.hears("notes.txt").await;
    assert!(!list.text.contains("agreed.txt"), "an old yes ran it again");
    assert!(
        !home.playground.join("refused.txt").exists(),
        "it ran in spite of the no"
    );
    assert_eq!(
        world.telegram.unanswered_presses(),
        Vec::<String>::new(),
        "a press was left spinning"
    );
    world.ends_well();
}

#[tokio::test]
async fn a_stop_ends_what_runs_at_home_and_a_forbidden_program_is_not_even_asked_about() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let home = world.machine(&ada, "mac-mini").await;

    ada.says("run whoami").await;
    ada.hears("does not list this command").await;

    ada.says("/stop").await;
    ada.hears("nothing to stop").await;

    ada.says("run sleep 50").await;
    let question = ada
        .hears_that("a question", |deed| {
            !deed.buttons.is_empty() && deed.text.contains("sleep")
        })
        .await;
    ada.presses(&question, "yes").await;
    home.logs(0, &["shell.run"]).await;
    ada.says("stop").await;
    ada.hears("Stopped.").await;
    home.logs(0, &["cancelled"]).await;
    assert!(!home.log().contains("exit code 0"), "the program went on");
    world.ends_well();
}

#[tokio::test]
async fn a_revoked_bridge_is_out_at_once_and_stays_out() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let mut home = world.machine(&ada, "mac-mini").await;
    ada.says("list playground").await;
    ada.hears("notes.txt").await;

    ada.says("/bridges").await;
    let bridges = ada
        .hears_that("a list of bridges", |deed| !deed.buttons.is_empty())
        .await;
    let (_, revoke) = bridges
        .buttons
        .iter()
        .find(|(_, action)| action.starts_with("revoke:"))
        .expect("a way to revoke");
    ada.presses_action(&bridges, revoke).await;
    home.logs(0, &["revoked"]).await;
    let states = world.runtime.sql("SELECT state FROM bridges", &[]).await;
    assert_eq!(states, [json!({"state": "revoked"})]);

    let before = home.log().len();
    home.kill().await;
    home.run();
    home.logs(before, &["revoked", "refused"]).await;
    let heard = ada.times_heard("notes.txt");
    ada.says("list playground").await;
    ada.hears_something().await;
    assert_eq!(
        ada.times_heard("notes.txt"),
        heard,
        "a revoked bridge still works"
    );
    world.ends_well();
}

#[tokio::test]
async fn two_users_do_not_reach_each_others_machines() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let bob = world.member(1_000_002).await;
    let adas = world.machine(&ada, "adas-mac").await;
    fs::write(adas.playground.join("adas-diary.txt"), "mine alone")
        .expect("the file can be written");
    let bobs = world.machine(&bob, "bobs-box").await;
    fs::write(bobs.playground.join("bobs-diary.txt"), "his alone")
        .expect("the file can be written");

    ada.says("list playground").await;
    ada.hears("adas-diary.txt").await;
    bob.says("list playground").await;
    bob.hears("bobs-diary.txt").await;
    assert_eq!(
        (ada.times_heard("bobs-"), bob.times_heard("adas-")),
        (0, 0),
        "they saw each other's"
    );

    // Bob presses a button that was Ada's: it names her bridge, and does nothing.
    ada.says("/bridges").await;
    let bridges = ada
        .hears_that("a list of bridges", |deed| !deed.buttons.is_empty())
        .await;
    let (_, revoke) = bridges
        .buttons
        .iter()
        .find(|(_, action)| action.starts_with("revoke:"))
        .expect("a way to revoke");
    bob.presses_action(&bridges, revoke).await;
    ada.says("read playground/adas-diary.txt").await;
    ada.hears("mine alone").await;
    world.ends_well();
}

/// Bytes without a pattern, the same each time.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
