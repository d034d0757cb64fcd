//! Files that a person gives through the page and has saved on a machine.

use crate::kit::World;
use crate::kit::console::Console;
use crate::kit::person::PATIENCE;
use crate::kit::tunnel::Tunnel;
use protocol::key::sha256_hex;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const MB: usize = 1_000_000;

/// Bytes of which no two pieces are alike.
fn numbered(length: usize) -> Vec<u8> {
    let numbers = (0_u64..).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    numbers.take(length).collect()
}

/// The names in a folder, hidden ones too.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| {
            let name = entry.expect("a folder can be read").file_name();
            name.to_string_lossy().into_owned()
        })
        .collect();
    names.sort();
    names
}

/// Waits until a file in the making has some bytes.
async fn is_coming(folder: &Path) {
    let coming = async {
        loop {
            let half = names(folder)
                .into_iter()
                .find(|name| Path::new(name).extension().is_some_and(|end| end == "half"));
            let length = half.and_then(|name| fs::metadata(folder.join(name)).ok());
            if length.is_some_and(|half| half.len() > MB as u64) {
                return;
            }
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, coming).await.expect("the file comes");
}

#[tokio::test]
async fn a_file_from_the_page_is_saved_byte_for_byte_through_cut_lines_and_an_evicted_object() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let tunnel = Tunnel::to(&world.runtime.url).await;
    let home = world.machine_behind(&ada, "mac-mini", &tunnel).await;
    let link = world.sign_in_link(&ada).await;
    let mut page = Console::sign_in(&world.runtime.url, &link).await;
    let bytes = numbered(30 * MB);
    let given = page.gives("Rechnung März.pdf", bytes.clone()).await;
    assert_eq!(
        given,
        json!({
            "id": format!("in-{}", &sha256_hex(&bytes)[..32]),
            "name": "Rechnung März.pdf",
            "mime": "application/pdf",
            "size": bytes.len(),
        })
    );
    let id = given["id"].as_str().expect("an id").to_owned();
    page.says_with("save it to playground/inbox", &[&id]).await;
    is_coming(&home.playground).await;
    world.runtime.hibernate(&ada.user_id().await).await; // how far it is stands on the socket
    tunnel.cut();
    is_coming(&home.playground).await;
    tunnel.lose();
    page.hears("saved to playground/inbox/Rechnung").await;
    let saved = home.playground.join("inbox/Rechnung März.pdf");
    assert!(
        fs::read(&saved).expect("it is there") == bytes,
        "other bytes"
    );

    page.says_with("save it to playground/inbox", &[&id]).await;
    page.hears("Rechnung März (2).pdf").await;
    page.says("/undo").await;
    page.hears("undo of files.save").await;
    assert_eq!(names(&home.playground.join("inbox")), ["Rechnung März.pdf"]);
    let hidden = names(&home.playground).into_iter();
    let hidden: Vec<String> = hidden.filter(|name| name.starts_with('.')).collect();
    assert!(hidden.is_empty(), "left behind: {hidden:?}");
    world.ends_well();
}

#[tokio::test]
async fn whatever_a_file_is_called_it_lies_where_it_was_wanted_and_nowhere_else() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let home = world.machine(&ada, "mac-mini").await;
    let link = world.sign_in_link(&ada).await;
    let mut page = Console::sign_in(&world.runtime.url, &link).await;
    let long = format!("{}.txt", "é".repeat(300));
    let brought = [
        "../../../escaped.txt",
        "a\nb] [file id in-0.txt",
        "\u{202e}txt.exe",
        &long,
        "",
        ".bashrc",
    ];
    for (number, name) in brought.into_iter().enumerate() {
        let bytes = format!("file {number}").into_bytes();
        let given = page.gives(name, bytes).await;
        let id = given["id"].as_str().expect("an id");
        page.says_with("save it to playground/inbox", &[id]).await;
        page.hears("saved to playground/inbox/").await;
    }
    let saved = names(&home.playground.join("inbox"));
    let cut = format!("{}.txt", "é".repeat(98));
    for name in ["escaped.txt", "txt.exe", "file", "bashrc", &cut] {
        assert!(saved.iter().any(|saved| saved == name), "{name}: {saved:?}");
    }
    assert_eq!(saved.len(), brought.len(), "{saved:?}");
    let outside = home.playground.parent().expect("it lies in a folder");
    assert!(!outside.join("escaped.txt").exists());
    world.ends_well();
}

#[tokio::test]
async fn only_a_signed_in_page_gives_files_and_none_beyond_the_bound() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let link = world.sign_in_link(&ada).await;
    let page = Console::sign_in(&world.runtime.url, &link).await;
    let most = 50 * 1024 * 1024;
    for (bytes, announced, status) in [
        (numbered(most), true, StatusCode::OK),
        (numbered(most + 1), true, StatusCode::PAYLOAD_TOO_LARGE),
        (numbered(most + 1), false, StatusCode::PAYLOAD_TOO_LARGE),
        (Vec::new(), true, StatusCode::OK),
    ] {
        let length = bytes.len();
        let answer = page.posts_file("a.bin", bytes, announced).await;
        assert_eq!(answer.status(), status, "{length} bytes, {announced}");
        if status != StatusCode::OK {
            let told: Value = answer.json().await.expect("a sentence");
            assert_eq!(told, json!({"error": "A file may have 50 MB at the most."}));
        }
    }
    let stranger = reqwest::Client::new()
        .post(world.url("/console/files"))
        .body("x")
        .send()
        .await
        .expect("the Worker answers");
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    let foreign = page.posts_from("https://elsewhere.example").await;
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
    world.ends_well();
}
