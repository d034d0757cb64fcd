//! Commands that are answered without a model.

use crate::kit::World;

#[tokio::test]
async fn a_new_conversation_leaves_out_what_was_said_and_another_model_can_be_asked() {
    let world = World::start("anthropic/claude-test").await;
    let ada = world.owner().await;
    world.anthropic.then_says("Noted, violets.");
    ada.says("my flowers are violets").await;
    ada.hears("Noted, violets").await;

    ada.says("/new").await;
    ada.hears("A new conversation").await;
    world.anthropic.then_says("I do not see any.");
    ada.says("which flowers?").await;
    ada.hears("I do not see any").await;
    let last = world.anthropic.requests().pop().expect("it was asked");
    let last = last.to_string();
    assert!(
        last.contains("which flowers?") && !last.contains("violets"),
        "{last}"
    );

    ada.says("/usage").await;
    ada.hears("Tokens today").await;
    ada.says("/model nonsense/none").await;
    ada.hears("Nothing was changed").await;
    ada.says("/model offline").await;
    ada.hears("From now on I ask offline").await;
    let asked = world.anthropic.requests().len();
    ada.says("remember that the gate code is with Bo").await;
    ada.hears("remember").await;
    ada.says("/memory").await;
    ada.hears("[1] the gate code is with Bo").await;
    ada.says("/memory forget 1").await;
    ada.hears("forgotten").await;
    ada.says("/memory").await;
    ada.hears("I remember nothing yet").await;
    assert_eq!(
        world.anthropic.requests().len(),
        asked,
        "a command asked a model"
    );
    ada.says("/model default").await;
    ada.hears("I ask anthropic/claude-test again").await;
    world.ends_well();
}
