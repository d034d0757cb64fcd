//! Power cuts at the worst moments, and objects that leave memory in the midst of things: each deed once, each answer once.

use crate::kit::World;
use crate::kit::bridge::Machine;
use crate::kit::models::{Next, Reply};
use crate::kit::person::{PATIENCE, Person};
use crate::kit::telegram::{Deed, Failure};
use crate::kit::tunnel::Tunnel;
use futures::future::join_all;
use futures::join;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{sleep, timeout};

/// How many messages the storm has to carry.
const MESSAGES: u32 = 30;

/// How often each of the two programs is killed.
const CUTS: usize = 10;

/// What the answer to `/console` holds.
const LINK: &str = "/console/sign-in/";

/// What the person is told about a message of unknown fate.
const DOUBT: &str = "do not know whether it arrived";

/// Where the lines go, as the model names it and below the machine's folder.
const LOG: (&str, &str) = ("playground/log.txt", "log.txt");

#[tokio::test]
async fn thirty_messages_and_their_deeds_survive_twenty_power_cuts() {
    let chance = Chance::seeded();
    let world = World::start("openai/gpt-test").await;
    let ada = world.owner().await;
    let mut home = world.machine(&ada, "mac-mini").await;
    world.openai.thinks(secretary);

    join!(
        writes(&ada, chance.fork(1)),
        cuts_the_worker(&world, chance.fork(2)),
        cuts_the_bridge(&world, &mut home, chance.fork(3)),
    );
    let status = settles(&ada).await;

    let mut lines = lines(&home);
    lines.sort_unstable();
    let mut wanted: Vec<String> = (1..=MESSAGES).map(|n| format!("line-{n}")).collect();
    wanted.sort_unstable();
    assert_eq!(lines, wanted, "not every line once");
    let heard = told(&ada);
    let twice: Vec<_> = heard.iter().filter(|(_, times)| **times > 1).collect();
    assert_eq!(twice, [], "answered twice");
    let missing: Vec<u32> = (1..=MESSAGES).filter(|n| !heard.contains_key(n)).collect();
    let doubts = ada.times_heard(DOUBT);
    let looks = home.log().matches("files.read").count();
    println!("not heard: {missing:?}, doubts told: {doubts}, looks: {looks}; {status:?}");
    assert!(
        missing.is_empty() || (doubts > 0 && status.contains("may not have arrived")),
        "{missing:?} were never answered, and nobody said so"
    );
    world.ends_well();
}

#[tokio::test]
async fn a_message_of_unknown_fate_is_not_sent_again_and_the_person_is_told_so_once() {
    let world = World::start("openai/gpt-test").await;
    let ada = world.owner().await;
    for (n, failure) in [(1, Failure::Ignored), (2, Failure::Unanswered)] {
        let sent = world.telegram.attempts("sendMessage").len();
        world.telegram.fails_next("sendMessage", failure);
        world.openai.then_says(&format!("The answer is {n}."));
        ada.says("what is the answer?").await;
        world.telegram.was_called("sendMessage", sent + 1).await;
        world.runtime.kill().await;
        world.runtime.start_again().await;
        ada.says("/status").await;
        ada.hears(DOUBT).await;
        let status = ada.hears("Doing:").await;
        assert!(
            status
                .text
                .contains(&format!("that may not have arrived: {n}")),
            "{:?} counts no doubts",
            status.text
        );
        assert_eq!(ada.times_heard(DOUBT), n, "one doubt, one notice");
    }
    assert_eq!(
        [1, 2].map(|n| ada.times_heard(&format!("answer is {n}"))),
        [0, 1],
        "an answer was sent again"
    );
    world.ends_well();
}

#[tokio::test]
async fn a_question_of_unknown_fate_is_asked_again_and_takes_one_answer() {
    let world = World::start("openai/gpt-test").await;
    let ada = world.owner().await;
    let home = world.machine(&ada, "mac-mini").await;
    let sent = world.telegram.attempts("sendMessage").len();
    world.telegram.fails_next("sendMessage", Failure::Ignored);
    world.openai.then(calls("touch", "once.txt"));
    ada.says("leave a trace").await;
    world.telegram.was_called("sendMessage", sent + 1).await;
    world.openai.then_says("It is done.");
    world.runtime.kill().await;
    world.runtime.start_again().await;
    ada.says("/status").await;
    let question = ada.hears_that("a question", asks).await;
    ada.presses(&question, "yes").await;
    ada.hears("It is done.").await;
    assert!(home.playground.join("once.txt").exists(), "it was not run");
    world.ends_well();
}

#[tokio::test]
async fn a_command_that_was_cut_off_is_taken_when_it_comes_again() {
    let mut chance = Chance::seeded();
    let world = World::start("openai/gpt-test").await;
    let ada = world.owner().await;
    for round in 1..=8 {
        let update = ada.text_update("/console");
        let cut = async {
            sleep(chance.up_to(12)).await;
            world.runtime.kill().await;
        };
        join!(ada.delivers_in_vain(&update), cut);
        world.runtime.start_again().await;
        ada.delivers_until_taken(&update).await;
        ada.delivers_until_taken(&update).await;
        let is_end = |deed: &Deed| [LINK, DOUBT].iter().any(|end| deed.text.contains(end));
        ada.hears_that("a link, or a doubt about one", is_end).await;
        let links = ada.times_heard(LINK);
        assert!(links <= round, "{links} links for {round} commands");
        assert!(links + ada.times_heard(DOUBT) >= round, "one was lost");
    }
    world.ends_well();
}

#[tokio::test]
async fn a_yes_to_a_machine_that_was_cut_off_counts_when_it_comes_again() {
    let mut chance = Chance::seeded();
    let world = World::start("openai/gpt-test").await;
    let ada = world.owner().await;
    for round in 1..=5 {
        let mut machine = Machine::new(world.folder(), &format!("machine-{round}"));
        let question = world.asks_to_pair(&ada, &machine, None).await;
        let yes = question
            .buttons
            .iter()
            .find(|(_, action)| action.starts_with("pair:yes:"));
        let (_, action) = yes.expect("a way to say yes");
        let update = ada.press_update(&question, action);
        let cut = async {
            sleep(chance.up_to(8)).await;
            world.runtime.kill().await;
        };
        join!(ada.delivers_in_vain(&update), cut);
        world.runtime.start_again().await;
        ada.delivers_until_taken(&update).await;
        machine.run();
        machine.logs(0, &["connected to"]).await;
    }
    world.ends_well();
}

#[tokio::test]
async fn a_program_that_a_power_cut_ended_is_reported_and_not_run_again() {
    let world = World::start("openai/gpt-test").await;
    let ada = world.owner().await;
    let mut home = world.machine(&ada, "mac-mini").await;
    world.openai.then(calls("sleep", "5"));
    ada.says("wait a little").await;
    let question = ada.hears_that("a question", asks).await;
    let logged = home.log().len();
    world.openai.then_says("I do not know how that ended.");
    ada.presses(&question, "yes").await;
    home.logs(logged, &["shell.run"]).await;
    home.kill().await;
    home.run();
    ada.hears("how that ended").await;

    let requests = world.openai.requests();
    let messages = requests.last().and_then(|last| last["messages"].as_array());
    let result = messages
        .and_then(|messages| messages.last())
        .and_then(|result| result["content"].as_str())
        .expect("a tool's result");
    assert!(
        result.contains("whether it took effect is not known"),
        "{result}"
    );
    assert_eq!(home.log().matches(": shell.run").count(), 1, "it ran again");
    world.ends_well();
}

#[tokio::test]
async fn messages_that_come_at_once_are_each_answered_once() {
    let world = World::start("openai/gpt-test").await;
    let ada = world.owner().await;
    let home = world.machine(&ada, "mac-mini").await;
    world.openai.thinks(secretary);
    for round in 0..3 {
        let messages: Vec<Value> = (1..=4)
            .map(|n| ada.text_update(&format!("note line-{}", 4 * round + n)))
            .collect();
        let twice = messages.iter().chain(&messages);
        join_all(twice.map(|update| ada.delivers(update))).await;
        settles(&ada).await;
    }
    assert_eq!(lines(&home).len(), 12, "{:?}", lines(&home));
    assert_eq!(told(&ada), (1..=12).map(|n| (n, 1)).collect());
    world.ends_well();
}

#[tokio::test]
async fn a_turn_goes_on_wherever_it_stood_when_its_object_left_memory() {
    let world = World::start("openai/gpt-test").await;
    let ada = world.owner().await;
    let home = world.machine(&ada, "mac-mini").await;
    let user = ada.user_id().await;

    world.runtime.hibernate(&user).await; // while nothing goes on
    world.openai.then_says("I am awake.");
    ada.says("are you there?").await;
    ada.hears("I am awake.").await;

    world.openai.then(calls("touch", "waited.txt"));
    ada.says("leave a trace").await;
    let question = ada.hears_that("a question", asks).await;
    world.runtime.hibernate(&user).await; // while an approval waits
    world.openai.then_says("It is touched.");
    ada.presses(&question, "yes").await;
    ada.hears("It is touched.").await;
    assert!(
        home.playground.join("waited.txt").exists(),
        "it was not run"
    );

    let asked = world.openai.requests().len();
    let begun = Reply::text("This is never heard of again.");
    world.openai.then(Next::StallsAfter(begun, 400));
    world.openai.then_says("Once upon a time.");
    ada.says("tell me a story").await;
    world.openai.was_asked(asked + 1).await;
    // While the model speaks. The runtime keeps an object that holds a stream open, so it takes a crash; nobody writes after it.
    world.runtime.kill().await;
    world.runtime.start_again().await;
    ada.hears("Once upon a time.").await;
    assert_eq!(ada.times_heard("never heard"), 0);
    world.ends_well();
}

#[tokio::test]
async fn a_line_that_is_dead_at_one_end_only_swallows_no_call() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let tunnel = Tunnel::to(&world.runtime.url).await;
    let home = world.machine_behind(&ada, "mac-mini", &tunnel).await;
    ada.says("list playground").await;
    ada.hears("notes.txt").await;

    for round in 1..=2 {
        let logged = home.log().len();
        tunnel.lose();
        ada.says("read playground/notes.txt").await; // it is sent down the dead line, or waits
        home.logs(logged, &["connected to"]).await;
        ada.hears("sea salt").await;
        ada.says("read playground/budget.csv").await;
        ada.hears("910").await;
        assert_eq!(ada.times_heard("sea salt"), round, "it was answered twice");
    }
    world.ends_well();
}

/// The person: all the messages, one after another, each until it is acknowledged, and now and then once more.
async fn writes(ada: &Person<'_>, mut chance: Chance) {
    for n in 1..=MESSAGES {
        sleep(chance.up_to(1_500)).await;
        let update = ada.text_update(&format!("note line-{n}"));
        ada.delivers_until_taken(&update).await;
        if chance.below(5) == 0 {
            ada.delivers_until_taken(&update).await;
        }
    }
}

async fn cuts_the_worker(world: &World, mut chance: Chance) {
    for _ in 0..CUTS {
        moment(world, &mut chance).await;
        world.runtime.kill().await;
        world.runtime.start_again().await;
    }
}

async fn cuts_the_bridge(world: &World, home: &mut Machine, mut chance: Chance) {
    for _ in 0..CUTS {
        sleep(chance.up_to(2_000)).await;
        if chance.below(2) == 0 {
            moment(world, &mut chance).await;
        } else {
            begins_to_write(home).await;
            sleep(chance.up_to(4)).await;
        }
        home.kill().await;
        home.run();
    }
}

/// Waits for one of the moments in which something is under way, and a little longer.
async fn moment(world: &World, chance: &mut Chance) {
    let (asked, sent) = (
        world.openai.requests().len(),
        world.telegram.attempts("sendMessage").len(),
    );
    let something = chance.below(4);
    let waiting = async {
        match something {
            0 => sleep(chance.up_to(400)).await,
            1 => world.telegram.was_called("sendMessage", sent + 1).await,
            _ => world.openai.was_asked(asked + 1).await,
        }
    };
    timeout(Duration::from_secs(2), waiting).await.ok(); // nothing may be going on
    sleep(chance.up_to(80)).await;
}

/// Waits until the bridge has taken another write in hand.
async fn begins_to_write(home: &Machine) {
    let logged = home.log().len();
    let beginning = async {
        while !home.log()[logged..].contains("files.write") {
            sleep(Duration::from_millis(1)).await; // a file tells nobody when it grows
        }
    };
    timeout(Duration::from_secs(2), beginning).await.ok(); // nothing may be going on
}

/// Waits until nothing is left to be done, and gives the status that says so.
async fn settles(ada: &Person<'_>) -> String {
    let settling = async {
        loop {
            ada.says("/status").await;
            let status = ada.hears("Doing:").await;
            if status.text.contains("nothing at the moment") {
                return status.text;
            }
            sleep(Duration::from_millis(500)).await; // a machine that dials again tells nobody
        }
    };
    let settled = timeout(PATIENCE, settling).await;
    settled.expect("it comes to rest")
}

/// How often each number was answered.
fn told(ada: &Person<'_>) -> BTreeMap<u32, usize> {
    let mut told = BTreeMap::new();
    for n in ada
        .messages()
        .iter()
        .flat_map(|deed| numbers(&deed.text, "done "))
    {
        *told.entry(n).or_default() += 1;
    }
    told
}

fn lines(home: &Machine) -> Vec<String> {
    let log = fs::read_to_string(home.playground.join(LOG.1)).unwrap_or_default();
    log.lines().map(str::to_owned).collect()
}

/// A reply without a word: run this program.
fn calls(program: &str, argument: &str) -> Next {
    let run = json!({"argv": [program, argument]});
    Next::Replies(Reply {
        text: String::new(),
        calls: vec![("shell.run".to_owned(), run)],
    })
}

fn asks(deed: &Deed) -> bool {
    !deed.buttons.is_empty()
}

/// How a line stands, as far as the model can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// It was asked for.
    Wanted,
    /// It may be in the file or not.
    Doubtful,
    /// It is in the file.
    Written,
    /// The person knows.
    Told,
}

/// A model that writes down what it is asked to, looks when it is in doubt, and says what is done. It goes by the request alone.
fn secretary(request: &Value) -> Next {
    let ledger = ledger(request);
    let all = |wanted: Line| {
        ledger
            .iter()
            .filter(move |(_, line)| **line == wanted)
            .map(|(n, _)| *n)
    };
    let done: Vec<String> = all(Line::Written).map(|n| format!("done {n}.")).collect();
    let mut reply = Reply::text(&done.join(" "));
    if all(Line::Doubtful).next().is_some() {
        reply.calls = vec![("files.read".to_owned(), json!({"path": LOG.0}))];
    } else {
        let write = |n| json!({"path": LOG.0, "text": format!("line-{n}\n"), "append": true});
        reply.calls = all(Line::Wanted)
            .map(|n| ("files.write".to_owned(), write(n)))
            .collect();
    }
    if reply.text.is_empty() && reply.calls.is_empty() {
        reply = Reply::text("There is nothing left to do.");
    }
    Next::Ponders(reply, Duration::from_millis(30))
}

fn ledger(request: &Value) -> BTreeMap<u32, Line> {
    let mut ledger = BTreeMap::new();
    let mut calls = HashMap::new();
    for message in request["messages"].as_array().expect("a judged request") {
        let content = message["content"].as_str().unwrap_or_default();
        match message["role"].as_str() {
            Some("user") => {
                for n in numbers(content, "note line-") {
                    ledger.entry(n).or_insert(Line::Wanted);
                }
            }
            Some("assistant") => {
                ledger.extend(numbers(content, "done ").map(|n| (n, Line::Told)));
                for call in message["tool_calls"].as_array().into_iter().flatten() {
                    let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
                    calls.insert(&call["id"], numbers(arguments, "line-").next());
                }
            }
            Some("tool") => match calls.get(&message["tool_call_id"]) {
                Some(Some(n)) => {
                    ledger.insert(*n, judged(content));
                }
                Some(None) | None => looked_up(&mut ledger, content),
            },
            Some(_) | None => {}
        }
    }
    ledger
}

/// What a write's result says about its line.
fn judged(result: &str) -> Line {
    if result.contains("added to") {
        Line::Written
    } else if result.contains("interrupted") {
        Line::Doubtful
    } else {
        Line::Wanted
    }
}

/// What the file's text says about the lines in doubt.
fn looked_up(ledger: &mut BTreeMap<u32, Line>, text: &str) {
    let there: Vec<u32> = numbers(text, "line-").collect();
    for (n, line) in ledger
        .iter_mut()
        .filter(|(_, line)| **line == Line::Doubtful)
    {
        *line = if there.contains(n) {
            Line::Written
        } else {
            Line::Wanted
        };
    }
}

/// The numbers that follow this prefix.
fn numbers<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = u32> + use<'a> {
    text.split(prefix).skip(1).filter_map(|rest| {
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}

/// Chance that can be had again: `BERNARD_SEED` repeats a storm's choices, though not the machine's own timing.
#[derive(Debug, Clone, Copy)]
struct Chance(u64);

impl Chance {
    fn seeded() -> Self {
        let given = std::env::var("BERNARD_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            u64::from(since.map_or(0, |since| since.subsec_nanos()))
        });
        println!("BERNARD_SEED={seed}");
        Self(seed)
    }

    /// Another stream of choices from the same seed.
    fn fork(self, stream: u64) -> Self {
        Self(self.0 ^ stream.wrapping_mul(0xA076_1D64_78BD_642F))
    }

    /// `SplitMix64`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }

    fn up_to(&mut self, millis: u64) -> Duration {
        Duration::from_millis(self.below(millis + 1))
    }
}
