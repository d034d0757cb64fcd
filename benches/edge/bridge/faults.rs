//! Faults by the hundred while calls run: cuts, resets, silences, power cuts. Then every line is counted, and what was told of it.

use super::script::{APPENDED, LOG, Told, Wish, line};
use super::tap::Tap;
use crate::kit::World;
use crate::kit::bridge::Machine;
use crate::kit::person::Person;
use futures::future::join_all;
use futures::join;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How many people's machines have the bad weather at once.
const LANES: i64 = 6;

/// After so many broken connections in a row the bridge is restarted, which forgets its backoff; else it would mostly wait.
const BREAKS: usize = 2;

/// The longest that the last turns may take when the weather has cleared up: a bridge's longest wait and the Worker's.
const SETTLING: Duration = Duration::from_secs(45);

/// What there was and what came of it.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) injected: usize,
    pub(super) cuts: usize,
    pub(super) resets: usize,
    pub(super) silences: usize,
    pub(super) kills: usize,
    pub(super) seconds: f64,
    pub(super) calls: usize,
    /// Calls that were told to be done and are not, or of which nothing was ever told.
    pub(super) lost: usize,
    /// Calls that ran more than once, or ran although they were told not to have.
    pub(super) doubled: usize,
    /// Calls of which it was told that nobody knows whether they took effect.
    pub(super) in_doubt: usize,
    /// Of those, how many did.
    pub(super) in_doubt_done: usize,
}

/// One person, their machine, and the wire between it and the Worker.
struct Lane<'w> {
    number: usize,
    person: Person<'w>,
    tap: Tap,
    machine: Machine,
}

/// When it ends.
struct Until<'a> {
    begun: Instant,
    limit: Duration,
    most: usize,
    count: &'a AtomicUsize,
}

impl Until<'_> {
    fn is_over(&self) -> bool {
        self.begun.elapsed() >= self.limit || self.count.load(Ordering::SeqCst) >= self.most
    }
}

/// Injects up to `most` faults in at most `limit`.
pub(super) async fn run(world: &World, told: &Told, most: usize, limit: Duration) -> Faults {
    let mut lanes = Vec::new();
    for number in 0..LANES {
        let person = world.member(3_000_001 + number).await;
        let tap = Tap::before(&world.runtime.url).await;
        let machine = world
            .machine_at(&person, &format!("weather-{number}"), &tap.url)
            .await;
        fs::write(machine.playground.join(LOG.1), "").expect("the playground is ours");
        lanes.push(Lane {
            number: usize::try_from(number).expect("a small number"),
            person,
            tap,
            machine,
        });
    }
    let count = AtomicUsize::new(0);
    let until = Until {
        begun: Instant::now(),
        limit,
        most,
        count: &count,
    };
    let ended = join_all(lanes.iter_mut().map(|lane| lane.lives(world, &until))).await;
    let mut faults = Faults {
        seconds: until.begun.elapsed().as_secs_f64(),
        ..Faults::default()
    };
    for (lane, (turns, weather)) in lanes.iter().zip(ended) {
        faults.injected += weather.cuts + weather.resets + weather.silences + weather.kills;
        faults.cuts += weather.cuts;
        faults.resets += weather.resets;
        faults.silences += weather.silences;
        faults.kills += weather.kills;
        lane.count(turns, told, &mut faults);
    }
    faults
}

impl Lane<'_> {
    async fn lives(&mut self, world: &World, until: &Until<'_>) -> (usize, Faults) {
        let chance = Chance(0x5EED + self.number as u64);
        let weather = weather(&self.tap, &mut self.machine, chance, until);
        let work = works(world, &self.person, self.number, until);
        let (turns, weather) = join!(work, weather);
        (turns, weather)
    }

    /// Compares the lines with what was told of them.
    fn count(&self, turns: usize, told: &Told, faults: &mut Faults) {
        let text = fs::read_to_string(self.machine.playground.join(LOG.1)).unwrap_or_default();
        let told = told.lock().expect("nobody panics with the notes");
        for turn in (0..turns).map(|turn| turn_of(self.number, turn)) {
            for line in (0..APPENDED).map(|call| line(turn, call)) {
                let times = text.lines().filter(|there| **there == line).count();
                let result = told.get(&line).map_or("", String::as_str);
                let is_done = result.contains("added to");
                let is_in_doubt = result.contains("interrupted");
                faults.calls += 1;
                faults.in_doubt += usize::from(is_in_doubt);
                faults.in_doubt_done += usize::from(is_in_doubt && times == 1);
                let denied = !is_done && !is_in_doubt && !result.is_empty();
                let lost = (is_done && times == 0) || result.is_empty();
                let doubled = times > 1 || (denied && times > 0);
                faults.lost += usize::from(lost);
                faults.doubled += usize::from(doubled);
                if lost || doubled || denied {
                    println!("  ! {line} is there {times} times, and was told: {result:?}");
                }
            }
        }
    }
}

fn turn_of(lane: usize, turn: usize) -> usize {
    lane * 100_000 + turn
}

/// Has one turn after the other; gives how many it began.
async fn works(world: &World, person: &Person<'_>, lane: usize, until: &Until<'_>) -> usize {
    let mut turns = 0;
    while !until.is_over() {
        let turn = turn_of(lane, turns);
        let wish = Wish::Append(turn);
        person.says(&wish.text(turn)).await;
        turns += 1;
        let answer = wish.answer(turn);
        let heard = world.telegram.wait_for(SETTLING, |deeds| {
            let mut newest = deeds.iter().rev();
            newest.find(|deed| deed.text.contains(&answer)).map(|_| ())
        });
        if heard.await.is_none() {
            println!("  ! {answer:?} was never heard");
            break;
        }
    }
    turns
}

async fn weather(
    tap: &Tap,
    machine: &mut Machine,
    mut chance: Chance,
    until: &Until<'_>,
) -> Faults {
    let mut faults = Faults::default();
    let mut breaks = 0;
    while !until.is_over() {
        sleep(Duration::from_millis(5 + chance.below(80))).await;
        let from = tap.now();
        match chance.below(10) {
            _ if breaks == BREAKS => {
                machine.kill().await;
                machine.run();
                breaks = 0;
                faults.kills += 1;
            }
            0..5 => {
                tap.swallow(true);
                sleep(Duration::from_millis(50 + chance.below(451))).await;
                tap.swallow(false);
                faults.silences += 1;
                until.count.fetch_add(1, Ordering::SeqCst);
                continue; // the connection outlives it
            }
            even if even % 2 == 0 => {
                tap.cut();
                breaks += 1;
                faults.cuts += 1;
            }
            _ => {
                tap.reset();
                breaks += 1;
                faults.resets += 1;
            }
        }
        until.count.fetch_add(1, Ordering::SeqCst);
        if tap.welcome(from, SETTLING).await.is_none() {
            println!("  ! a bridge did not come back");
            break;
        }
    }
    faults
}

/// Chance that is the same in every run.
struct Chance(u64);

impl Chance {
    /// `SplitMix64`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}
