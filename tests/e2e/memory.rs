//! What is remembered: after a restart, in every conversation of that person, in no other person's.

use crate::kit::World;
use crate::kit::console::Console;
use std::time::Duration;
use tokio::time::sleep;

#[tokio::test]
async fn what_one_person_told_is_known_after_a_power_cut_and_to_nobody_else() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let bob = world.member(1_000_002).await;
    let _home = world.machine(&ada, "mac-mini").await;

    ada.says("remember that my dentist is Doctor Periwinkle")
        .await;
    ada.hears_something().await;
    let repeated = ada.text_update("list playground");
    ada.delivers(&repeated).await;
    ada.hears("notes.txt").await;

    world.runtime.kill().await;
    world.runtime.start_again().await;

    // What was delivered before the cut is known after it.
    ada.delivers(&repeated).await;
    ada.says("what do you know about my dentist").await;
    ada.hears("Periwinkle").await;
    ada.says("read playground/notes.txt").await;
    ada.hears("sea salt").await;
    assert_eq!(
        ada.times_heard("budget.csv"),
        1,
        "a delivery was served again after the cut"
    );

    let mut console = Console::sign_in(&world.runtime.url, &world.sign_in_link(&ada).await).await;
    console.says("what do you know about my dentist").await;
    console.hears("Periwinkle").await;

    bob.says("what do you know about my dentist").await;
    bob.hears_something().await;
    assert_eq!(
        bob.times_heard("Periwinkle"),
        0,
        "one person's memory was told to another"
    );
    world.ends_well();
}

#[tokio::test]
async fn a_reminder_comes_once_and_in_its_chat_though_the_power_was_cut() {
    let world = World::start("offline").await;
    let ada = world.owner().await;

    ada.says("remind me in 6 seconds to turn the egg").await;
    ada.hears("reminder set for").await;
    ada.says("remind me at some time to sleep").await;
    ada.hears("Say when").await;
    world.runtime.kill().await;
    world.runtime.start_again().await;
    ada.hears("⏰ turn the egg").await;

    // The alarm has rung; what it might have told twice would stand before this.
    world.runtime.kill().await;
    world.runtime.start_again().await;
    ada.says("help").await;
    ada.hears("list playground").await;
    assert_eq!(ada.times_heard("⏰ turn the egg"), 1);
    world.ends_well();
}

#[tokio::test]
async fn a_reminder_is_not_put_off_by_a_call_that_waits_for_its_machine() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let mut home = world.machine(&ada, "mac-mini").await;
    home.kill().await;

    ada.says("remind me in 12 seconds to turn the egg").await;
    ada.hears("reminder set for").await;
    ada.says("list playground").await;
    ada.hears("is not connected").await;
    sleep(Duration::from_secs(1)).await; // so that the Worker knows it was heard: a message in doubt would set an alarm of its own
    world.runtime.kill().await;
    world.runtime.start_again().await;

    // Opening the page wakes the object, which takes up the waiting call with its deadline a day away.
    let _page = Console::sign_in(&world.runtime.url, &world.sign_in_link(&ada).await).await;
    ada.hears("⏰ turn the egg").await;
    world.ends_well();
}
