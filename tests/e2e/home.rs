//! A yes at home: what is dangerous waits for it, the chat says so, and no yes in the chat stands in for it.

use crate::kit::World;
use crate::kit::models::{Next, Reply};
use serde_json::{Value, json};
use std::fs;

const DANGEROUS: &str = "\n[[command]]\nrun = [\"sh\"]\nthen = \"ask\"\ngrade = \"dangerous\"\n";

#[tokio::test]
async fn what_is_dangerous_runs_after_a_yes_at_home_and_not_after_one_in_the_chat() {
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
        let question = ada.hears("May I run this").await;
        ada.presses(&question, "ok").await;
        let told = ada.hears("wants a yes at the machine itself").await.text;
        assert!(told.contains("local-bridge approve"), "{told}");
        assert!(told.contains("open for 30 minutes"), "{told}");
        assert_eq!(lines(), before, "the yes in the chat ran it");

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
    world.ends_well();
}
