//! Who may talk to Bernard: strangers knock, the owner decides, and whoever is known may join from elsewhere.

use crate::kit::World;
use crate::kit::person::Person;
use crate::kit::telegram::Deed;

/// The code in a message.
fn code_in(message: &Deed) -> String {
    let is_code = |word: &&str| {
        word.len() == 8
            && word
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    let mut words = message.text.split(|c: char| !c.is_ascii_alphanumeric());
    words.find(is_code).expect("a code").to_owned()
}

async fn knocks(stranger: &Person<'_>) -> String {
    stranger.says("hello?").await;
    code_in(&stranger.hears("somebody's own Bernard").await)
}

#[tokio::test]
async fn a_stranger_knocks_and_the_owner_lets_them_in_to_a_memory_of_their_own() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    ada.says("remember that the safe is 4711").await;
    ada.hears("remember").await;

    let eve = world.stranger(2001);
    let code = knocks(&eve).await;
    let card = ada.hears("wants to talk to me").await;
    assert!(
        card.text.contains(&code) && card.text.contains("2001"),
        "{}",
        card.text
    );
    eve.says("are you there?").await;
    eve.presses_action(&card, &card.buttons[0].1).await;

    ada.presses(&card, "yes").await;
    eve.hears("You are let in").await;
    eve.says("what do you remember about the safe?").await;
    let told = eve.hears_something().await;
    assert!(!told.text.contains("4711"), "{}", told.text);
    for refused in ["/pair", "/console"] {
        eve.says(refused).await;
        eve.hears("That is for members").await;
    }
    eve.says("/people").await;
    eve.hears("Only my owner decides").await;

    ada.says("/people member 2001").await;
    ada.hears("is a member now").await;
    eve.says("/pair").await;
    eve.hears("local-bridge pair").await;

    ada.says("/people guest 2001").await;
    ada.hears("is a guest now").await;
    eve.says("/people join").await;
    eve.hears("That is for members").await;
    ada.says("/people").await;
    let list = ada.hears("guest: telegram 2001").await;
    ada.presses(&list, "out").await;
    let before = eve.messages().len();
    eve.says("still there?").await;
    eve.hears("somebody's own Bernard").await;
    assert_eq!(eve.messages().len(), before + 1);
    world.ends_well();
}

#[tokio::test]
async fn who_is_denied_blocked_or_one_too_many_is_not_answered_again() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let (denied, blocked, third, fourth) = (
        world.stranger(3001),
        world.stranger(3002),
        world.stranger(3003),
        world.stranger(3004),
    );
    knocks(&denied).await;
    let card = ada.hears("3001").await;
    ada.presses(&card, "no").await;
    knocks(&blocked).await;
    let card = ada.hears("3002").await;
    ada.presses(&card, "block").await;
    for stranger in [&denied, &blocked] {
        stranger.says("please").await;
        assert_eq!(stranger.messages().len(), 1);
    }
    let code = knocks(&third).await;
    knocks(&world.stranger(3005)).await;
    knocks(&world.stranger(3006)).await;
    fourth.says("hello?").await;
    assert_eq!(fourth.messages().len(), 0, "a fourth was answered");

    ada.says("/people approve K7QX2MPA").await;
    ada.hears("Nobody waits with this code").await;
    ada.says(&format!("/people approve {}", code.to_lowercase()))
        .await;
    ada.hears("is let in").await;
    third.hears("You are let in").await;
    world.ends_well();
}

#[tokio::test]
async fn somebody_known_joins_from_elsewhere_by_a_code_that_works_once() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    ada.says("remember that my boat is called Pagure").await;
    ada.hears("remember").await;
    ada.says("/people join").await;
    let code = code_in(&ada.hears("in the other chat app").await);

    let second = world.stranger(4001);
    second.says(&code).await;
    second.hears("I know you here as well").await;
    second.says("what do you remember about the boat?").await;
    second.hears("Pagure").await;
    ada.hears("You are known in telegram:4001 as well now")
        .await;
    ada.says("/people").await;
    let list = ada.hears("telegram 4001").await;
    ada.presses(&list, "4001").await;
    second.says("still me?").await;
    second.hears("somebody's own Bernard").await;

    let thief = world.stranger(4002);
    thief.says(&code).await;
    thief.hears("somebody's own Bernard").await;
    world.ends_well();
}

#[tokio::test]
async fn a_panic_takes_back_codes_and_leaves_a_stolen_chat_nothing_to_read() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    ada.says("remember that my boat is called Pagure").await;
    ada.hears("remember").await;
    ada.says("/people join").await;
    let code = code_in(&ada.hears("in the other chat app").await);
    ada.says("/panic").await;
    ada.hears("Frozen").await;

    let thief = world.stranger(5001);
    thief.says(&code).await;
    thief.hears("somebody's own Bernard").await;
    for command in [
        "/memory",
        "/people",
        "/receipts",
        "/new",
        "/model offline",
        "/bridges",
    ] {
        ada.says(command).await;
        ada.hears("I am frozen since").await;
    }
    world.ends_well();
}
