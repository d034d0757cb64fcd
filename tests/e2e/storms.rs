//! Bad weather: machines away, lost sockets, power cuts, eviction, a Telegram in trouble. Nothing lost, nothing twice.

use crate::kit::World;
use crate::kit::telegram::Failure;
use crate::kit::tunnel::Tunnel;
use std::time::Duration;

#[tokio::test]
async fn a_call_waits_for_its_machine_through_eviction_and_power_cut() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let mut home = world.machine(&ada, "mac-mini").await;
    ada.says("list playground").await;
    ada.hears("notes.txt").await;

    for storm in ["eviction", "power cut"] {
        home.kill().await;
        let heard = ada.times_heard("sea salt");
        ada.says("read playground/notes.txt").await;
        let told = ada.hears_something().await;
        assert!(
            !told.text.contains("sea salt"),
            "nobody was there to read it"
        );
        if storm == "eviction" {
            world.runtime.hibernate(&ada.user_id().await).await;
        } else {
            world.runtime.kill().await;
            world.runtime.start_again().await;
        }
        home.run();
        ada.hears("sea salt").await;
        assert_eq!(ada.times_heard("sea salt"), heard + 1, "after an {storm}");
    }
    world.ends_well();
}

#[tokio::test]
async fn an_object_may_leave_memory_while_its_call_runs_at_home() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let _home = world.machine(&ada, "mac-mini").await;
    let user = ada.user_id().await;

    ada.says("list playground").await;
    ada.hears("notes.txt").await;
    ada.says("run sleep 28").await;
    let question = ada
        .hears_that("a question", |deed| !deed.buttons.is_empty())
        .await;
    world.runtime.hibernate(&user).await;
    ada.presses(&question, "yes").await;
    // While the program sleeps, the typing sign ends after eighteen seconds; then the object can go.
    tokio::time::sleep(Duration::from_secs(19)).await;
    world.runtime.hibernate(&user).await;
    ada.hears_something().await;
    ada.says("read playground/notes.txt").await;
    ada.hears("sea salt").await;
    world.ends_well();
}

#[tokio::test]
async fn a_lost_socket_costs_a_reconnect_and_no_answer() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let tunnel = Tunnel::to(&world.runtime.url).await;
    let home = world.machine_behind(&ada, "mac-mini", &tunnel).await;

    for round in 0..3 {
        let connections = tunnel.accepted();
        ada.says(&format!("run touch round-{round}.txt")).await;
        let question = ada
            .hears_that("a question", |deed| !deed.buttons.is_empty())
            .await;
        if round == 1 {
            tunnel.close();
        }
        ada.presses(&question, "yes").await;
        match round {
            1 => {
                ada.hears_something().await;
                tunnel.open();
            }
            _ => tunnel.cut(),
        }
        ada.says(&format!("find round-{round}")).await;
        ada.hears(&format!("playground/round-{round}.txt")).await;
        assert!(
            home.playground.join(format!("round-{round}.txt")).exists(),
            "round {round} was lost"
        );
        assert!(
            tunnel.accepted() > connections,
            "the bridge did not dial again"
        );
    }
    world.ends_well();
}

#[tokio::test]
async fn telegrams_troubles_neither_lose_nor_double_an_answer() {
    let world = World::start("offline").await;
    let ada = world.owner().await;

    world
        .telegram
        .fails_next("sendMessage", Failure::TooMany(2));
    ada.says("help").await;
    let help = ada.hears_something().await;
    let attempts = world.telegram.attempts("sendMessage");
    let [.., refused, taken] = attempts.as_slice() else {
        panic!("two attempts, not {attempts:#?}")
    };
    assert_eq!((refused.status, taken.status), (429, 200));
    assert!(
        taken.at - refused.at >= Duration::from_secs(2),
        "retry_after was not honoured"
    );
    assert_eq!(ada.times_heard(&help.text), 1, "it was sent twice");

    world.telegram.fails_next("sendMessage", Failure::CantParse);
    ada.says("help").await;
    let plain = ada.hears_something().await;
    assert!(
        !plain.parameters.contains_key("parse_mode"),
        "it is not plain: {:?}",
        plain.parameters
    );

    world.telegram.fails_next("sendMessage", Failure::Broken);
    ada.says("what do you know about whales").await;
    let answer = ada.hears_something().await;
    assert_eq!(
        ada.times_heard(&answer.text),
        1,
        "after a 500 it was sent twice"
    );

    // Nobody knows whether it arrived, so it is not sent again, and the person is told so.
    let before = world.telegram.attempts("sendMessage").len();
    world.telegram.fails_next("sendMessage", Failure::Reset);
    ada.says("remember that the sea is salty").await;
    ada.hears("do not know whether it arrived").await;
    ada.says("help").await;
    ada.hears_something().await;
    let statuses: Vec<u16> = world.telegram.attempts("sendMessage")[before..]
        .iter()
        .map(|attempt| attempt.status)
        .collect();
    assert_eq!(
        statuses,
        [0, 200, 200],
        "a message of unknown fate was sent again, or the next was lost"
    );
    world.ends_well();
}
