//! The console in a real browser, driven by `tests/console/browser.mjs`.

use crate::kit::World;
use crate::kit::runtime::node;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// A browser starts slowly on two busy cores.
const BROWSER_TIMEOUT: Duration = Duration::from_mins(3);

#[tokio::test]
async fn a_person_signs_in_once_by_link_writes_and_sees_answer_and_work() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let home = world.machine(&ada, "mac-mini").await;
    let link = world.sign_in_link(&ada).await;

    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let steps = json!([
        {"say": "list playground", "answer": "notes.txt", "tool": "files.list"},
        {"say": "read playground/notes.txt", "answer": "Buy sea salt.", "tool": "files.read"},
        {"too_large": 60},
        {"say": "save it to playground/inbox", "attach": [
            {"name": "picked.txt", "text": "one"},
            {"name": "dropped.txt", "text": "two", "by": "drop"},
            {"name": "pasted.txt", "text": "three", "by": "paste"},
        ], "answer": "saved to playground/inbox/picked.txt", "tool": "files.save"},
        {"reload": true},
        {"see": "Buy sea salt."},
    ]);
    let steps_path = world.folder().join("steps.json");
    fs::write(&steps_path, steps.to_string()).expect("a file can be written");
    let mut browser = Command::new(node(repository));
    browser
        .arg(repository.join("tests/console/browser.mjs"))
        .arg(&link)
        .arg(world.folder().join("page"))
        .stdin(File::open(&steps_path).expect("it was just written"))
        .kill_on_drop(true);
    let output = timeout(BROWSER_TIMEOUT, browser.output())
        .await
        .expect("the browser ends")
        .expect("node can be started");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "the console failed in the browser:\n{out}\n{err}"
    );
    let report: Value = out
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
        .expect("a line of JSON");
    assert_eq!(report["ok"], true, "{report:#}");
    for (name, text) in [
        ("picked.txt", "one"),
        ("dropped.txt", "two"),
        ("pasted.txt", "three"),
    ] {
        let saved = fs::read_to_string(home.playground.join("inbox").join(name));
        assert_eq!(saved.expect("it was saved"), text);
    }
    world.ends_well();
}
