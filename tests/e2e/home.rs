//! A yes at home: what is dangerous waits for it, the chat says so and asks nothing, and a hello that is out of date lets nothing through.

use crate::kit::World;
use crate::kit::models::{Next, Reply};
use serde_json::{Value, json};
use std::fs;

const DANGEROUS: &str = "\n[[command]]\nrun = [\"sh\"]\nthen = \"ask\"\ngrade = \"dangerous\"\n";

#[tokio::test]
async fn what_is_dangerous_is_asked_about_at_home_alone_and_runs_after_the_yes_there() {
    let world = World::start("anthropic/claude-fable").await;
    let ada = world.owner().await;
    let home = world.machine(&ada, "mac-mini").await;
    let logged = home.log().len();
    home.adds_to_its_policy(DANGEROUS);
    home.logs(logged, &["connected to"]).await;
    let ran = home.playground.join("ran.txt");
    for (answer, says) in [("--yes", "It ran."), ("--no", "You said no at home.")] {
        world.anthropic.then(Next::Replies(Reply {
            text: String::new(),
            calls: vec![(
                "shell.run".to_owned(),
                json!({ "argv": ["sh", "-c", "echo ran >> ran.txt"] }),
            )],
        }));
        world.anthropic.then_says(says);
        let lines = || fs::read_to_string(&ran).map_or(0, |text| text.lines().count());
        let before = lines();

        ada.says(&format!("run the dangerous thing {answer}")).await;
        let told = ada.hears("vm wants a yes at the machine itself").await.text;
        for words in [
            "sh -c \"echo ran >> ran.txt\"",
            "local-bridge approve",
            "open for 30 minutes",
        ] {
            assert!(told.contains(words), "{words:?} is not in {told}");
        }
        assert_eq!(lines(), before, "it ran without a yes");

        let open: Value = serde_json::from_str(&home.does(&["approve", "--json"]).await)
            .expect("the list is JSON");
        let id = open[0]["id"].as_str().expect("one waits");
        home.does(&["approve", id, answer]).await;
        ada.hears(says).await;
        assert_eq!(lines(), 1, "it ran once, for the yes alone");
        let told = world.anthropic.requests().pop().expect("it was asked");
        let refused = told.to_string().contains("its owner said no at home");
        assert_eq!(refused, answer == "--no", "{told}");
    }
    assert_eq!(
        ada.times_heard("May I run this"),
        0,
        "the chat asked as well"
    );
    world.ends_well();
}

#[tokio::test]
async fn a_command_that_has_become_less_dangerous_meanwhile_is_still_asked_about() {
    let world = World::start("anthropic/claude-fable").await;
    let ada = world.owner().await;
    let mut home = world.machine(&ada, "mac-mini").await;
    let logged = home.log().len();
    home.adds_to_its_policy(
        "\n[[command]]\nrun = [\"mkdir\"]\nthen = \"ask\"\ngrade = \"dangerous\"\n",
    );
    home.logs(logged, &["connected to"]).await;
    home.kill().await;
    // What the Worker remembers of it says that the chat need not ask; the law at home has come to leave that to the chat.
    let law = home.playground.with_file_name("home").join("policy.toml");
    let text = fs::read_to_string(&law).expect("it has a policy");
    fs::write(&law, text.replace("grade = \"dangerous\"\n", "")).expect("it can be written");
    world.anthropic.then(Next::Replies(Reply {
        text: String::new(),
        calls: vec![(
            "shell.run".to_owned(),
            json!({ "argv": ["mkdir", "a.txt"] }),
        )],
    }));
    world.anthropic.then_says("You said no.");
    ada.says("make it").await;
    ada.hears("vm is not connected").await;
    home.run();
    ada.hears("vm wants a yes at the machine itself").await;
    assert!(!home.playground.join("a.txt").exists(), "nobody said yes");
    let open: Value =
        serde_json::from_str(&home.does(&["approve", "--json"]).await).expect("the list is JSON");
    let id = open[0]["id"].as_str().expect("one waits");
    home.does(&["approve", id, "--no"]).await;
    ada.hears("You said no.").await;
    assert!(!home.playground.join("a.txt").exists());
    world.ends_well();
}
