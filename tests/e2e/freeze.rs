//! Panic: everything stops, every machine is out, and a chat cannot undo it. And what machines have signed for.

use crate::kit::World;
use crate::kit::console::Console;

#[tokio::test]
async fn a_panic_stops_everything_signs_browsers_out_and_only_the_console_or_a_machine_ends_it() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let home = world.machine(&ada, "mac-mini").await;
    let link = world.sign_in_link(&ada).await;
    let spare_link = world.sign_in_link(&ada).await;
    let mut page = Console::sign_in(&world.runtime.url, &link).await;

    ada.says("run sleep 50").await;
    let question = ada.hears("May I run this").await;
    ada.presses(&question, "yes").await;
    home.logs(0, &["shell.run"]).await;
    page.says("run sleep 51").await;
    page.hears("May I run this").await;

    let logged = home.log().len();
    ada.says("/panic").await;
    ada.hears("Frozen").await;
    home.logs(logged, &["frozen by /panic"]).await;
    page.sees_its_end().await;
    ada.says("list playground").await;
    ada.hears("I am frozen since").await;
    for command in ["/pair", "/console", "/status"] {
        ada.says(command).await;
        ada.hears("I am frozen since").await;
    }
    ada.says("/resume").await;
    ada.hears("not for a chat to decide").await;
    ada.says("list playground").await;
    ada.hears("I am frozen since").await;
    assert_eq!(
        home.log().matches(": shell.run").count(),
        1,
        "a yes to a frozen question ran"
    );

    world.runtime.kill().await;
    world.runtime.start_again().await;
    ada.says("list playground").await;
    ada.hears("I am frozen since").await;

    let refused = world
        .client
        .post(&spare_link)
        .send()
        .await
        .expect("it answers");
    assert_eq!(
        refused.status(),
        403,
        "a link from before the panic still opens"
    );
    let logged = home.log().len();
    let told = home.does(&["resume"]).await;
    assert!(told.contains("the Worker goes on as well"), "{told}");
    home.logs(logged, &["connected to"]).await;
    ada.says("list playground").await;
    ada.hears("notes.txt").await;

    let mut pages = Vec::new();
    for _ in 0..2 {
        let link = world.sign_in_link(&ada).await;
        pages.push(Console::sign_in(&world.runtime.url, &link).await);
    }
    let other = pages.pop().expect("two were made");
    let mut page = pages.pop().expect("two were made");
    page.says("/panic").await;
    page.hears("every other browser is signed out").await;
    other.sees_its_end().await;
    let mut page = page.again().await;
    let logged = home.log().len();
    page.says("/resume").await;
    page.hears("Thawed").await;
    home.logs(logged, &["connected to"]).await;
    ada.says("read playground/notes.txt").await;
    ada.hears("sea salt").await;
    world.ends_well();
}

#[tokio::test]
async fn what_a_machine_has_signed_for_is_listed_and_a_machine_takes_its_new_name() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let _home = world.machine(&ada, "mac-mini").await;

    ada.says("/receipts").await;
    ada.hears("No machine has done anything yet").await;
    ada.says("read playground/notes.txt").await;
    ada.hears("sea salt").await;
    ada.says("/receipts").await;
    let listed = ada.hears("have signed for").await;
    assert!(
        listed
            .text
            .contains("✓ files.read playground/notes.txt on vm"),
        "{}",
        listed.text
    );

    for (asked, told) in [
        ("/bridges rename vm study mac", "Say /bridges rename"),
        ("/bridges rename vm stu/dy", "is no name for a machine"),
        (
            "/bridges rename nobody study",
            "No machine is called nobody",
        ),
        ("/bridges rename vm study", "is called study now"),
    ] {
        ada.says(asked).await;
        ada.hears(told).await;
    }
    ada.says("/bridges").await;
    ada.hears("study: connected").await;
    world.ends_well();
}

#[tokio::test]
async fn without_a_machine_that_could_end_a_panic_the_console_stays() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let link = world.sign_in_link(&ada).await;
    let mut page = Console::sign_in(&world.runtime.url, &link).await;

    ada.says("/panic").await;
    ada.hears("you write /resume in the console").await;
    page.says("/resume").await;
    page.hears("Thawed").await;
    world.ends_well();
}
