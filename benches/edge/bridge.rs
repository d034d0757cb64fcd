//! The bridge on the real runtime, beside a bare WebSocket through the same runtime and the same wire: `cargo xtask bench bridge`.
//!
//! Every time is taken at a relay on loopback between bridge and Worker. The wire is a plain WebSocket: no TLS, no distance.

mod echo;
mod faults;
mod frames;
mod process;
mod rathole;
mod report;
mod script;
mod tap;

use crate::Figures;
use crate::kit::World;
use crate::kit::bridge::{Machine, binary};
use crate::kit::console::Console;
use crate::kit::person::Person;
use crate::kit::runtime::Runtime;
use echo::{Bare, Trips, rate};
use frames::What;
use process::Looked;
use protocol::key::sha256_hex;
use protocol::tools::given_id;
use rathole::Rathole;
use report::{Goal, Report};
use script::{Told, Wish};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tap::{Event, Tap, Way};
use tokio::time::{sleep, timeout};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// A file: nearly what Telegram takes from a bot.
const FILE: u64 = 45 * 1024 * 1024;

/// What a round trip of Noise through another tunnel is measured with: a short message.
const SHORT: usize = 128;

/// How many calls a turn of looking makes; a turn has forty steps.
const CALLS: usize = 30;

/// About what an order and a result have.
const MESSAGE: usize = 700;

/// How long nothing happens: three pings, and no longer than a lease.
const IDLE: Duration = Duration::from_mins(1);

/// How long a wire is silent that comes back.
const HOLE: Duration = Duration::from_secs(30);

/// What a ping and its answer cost below the bytes that a relay sees: three packets with 52 bytes of headers of IPv4 and TCP, two
/// records of TLS 1.3 with 22.
const BELOW: u64 = 3 * 52 + 2 * 22;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Size {
    starts: usize,
    rounds: usize,
    trips: usize,
    files: u64,
    resets: usize,
    restarts: usize,
    faults: usize,
    weather: Duration,
}

/// Everything that takes part.
struct Stage<'w> {
    world: &'w World,
    ada: Person<'w>,
    tap: Tap,
    home: Machine,
    /// The wire to the bare Worker.
    bare: Arc<Tap>,
    /// Another tunnel, where it is installed.
    rathole: Option<Rathole>,
    turns: usize,
    size: Size,
    report: Report,
}

/// Measures everything and prints a table.
pub(crate) async fn run(figures: &mut Figures, quick: bool) {
    let size = Size::of(quick);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/runtime/echo.mjs");
    let world = World::start_as("openai/gpt-test", &[], &[], Some(&beside)).await;
    let told = Told::default();
    let given = given_id(&sha256_hex(&noise()));
    world.openai.thinks(script::mind(told.clone(), given));
    let ada = world.owner().await;
    let tap = Tap::before(&world.runtime.url).await;
    let home = world.machine_at(&ada, "home", &tap.url).await;
    furnish(&home);
    let mut stage = Stage {
        world: &world,
        ada,
        tap,
        home,
        bare: Arc::new(Tap::before(&world.runtime.url).await),
        rathole: Rathole::start(world.folder()).await,
        turns: 0,
        size,
        report: Report::new(),
    };
    stage.binary();
    stage.starts().await;
    stage.round_trips().await;
    stage.idles().await;
    stage.files().await;
    stage.resets().await;
    stage.restarts().await;
    stage.faults(&told).await;
    stage.report.print(quick);
    stage.report.fill(figures);
}

fn furnish(home: &Machine) {
    let small = home.playground.join("small");
    fs::create_dir_all(&small).expect("the playground is ours");
    for n in 0..CALLS {
        fs::write(small.join(format!("{n}.txt")), "small\n").expect("the playground is ours");
    }
    fs::write(home.playground.join("large-0.bin"), noise()).expect("the playground is ours");
}

/// A file's bytes, the same each time.
fn noise() -> Vec<u8> {
    let mut number = 1_u32;
    let noise = (0..FILE).map(|_| {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        number.to_be_bytes()[0]
    });
    noise.collect()
}

impl Size {
    fn of(quick: bool) -> Self {
        if quick {
            Self {
                starts: 5,
                rounds: 2,
                trips: 100,
                files: 4,
                resets: 5,
                restarts: 1,
                faults: 100,
                weather: Duration::from_secs(15),
            }
        } else {
            Self {
                starts: 11,
                rounds: 5,
                trips: 300,
                files: 22, // a little more than 1 GB
                resets: 15,
                restarts: 15,
                faults: 1_000,
                weather: Duration::from_mins(1),
            }
        }
    }
}

/// What is told of a tunnel that is not there to compare with.
const NO_RATHOLE: &str =
    "not installed: `--with-rathole` builds it into .tools/, or `RATHOLE` names one";

/// What was measured in turns, a median each.
#[derive(Debug, Default)]
struct Rounds {
    echoes: Vec<f64>,
    again: Vec<f64>,
    results: Vec<f64>,
    ends: Vec<f64>,
    computed: Vec<f64>,
    disks: Vec<f64>,
    loops: Vec<f64>,
    ratholes: Vec<f64>,
}

/// Files, in MB a second each.
#[derive(Debug, Default)]
struct Rates {
    sends: Vec<f64>,
    travels: Vec<f64>,
    saves: Vec<f64>,
    echoes: Vec<f64>,
    takes: Vec<f64>,
    loops: Vec<f64>,
    ratholes: Vec<f64>,
}

impl Stage<'_> {
    fn binary(&mut self) {
        let stripped = self.world.folder().join("stripped");
        let strip = Command::new("strip")
            .arg("-o")
            .arg(&stripped)
            .arg(binary())
            .status();
        let is_stripped = strip.is_ok_and(|status| status.success());
        let path = if is_stripped { stripped } else { binary() };
        let size = fs::metadata(&path).map(|metadata| metadata.len());
        let stripped = if is_stripped {
            "stripped"
        } else {
            "as it is: there is no `strip`"
        };
        let note = format!("{stripped}; {}", binary().display());
        let size = size.ok().map(megabytes);
        let goal = Goal::None;
        self.report
            .put("binary_mb", "binary", size, "MB", goal, &note);
    }

    /// From the start of the program to the Worker's welcome.
    async fn starts(&mut self) {
        let (mut connected, mut upgrades) = (Vec::new(), Vec::new());
        for _ in 0..self.size.starts {
            connected.push(self.starts_again().await);
            let (_, took) = Bare::open(&self.bare, "echo").await;
            upgrades.push(millis(took));
        }
        let note = format!(
            "a bare WebSocket's upgrade alone: {:.1} ms; no TLS in either",
            median(&mut upgrades)
        );
        let connected = Some(median(&mut connected));
        let goal = Goal::AtMost(50.0);
        let what = "start to connected";
        self.report
            .put("start_to_connected_ms", what, connected, "ms", goal, &note);
    }

    /// Kills the bridge and starts it again, so that it has forgotten its backoff; how long until it was welcomed, in milliseconds.
    async fn starts_again(&mut self) -> f64 {
        self.home.kill().await;
        let (from, begun) = (self.tap.now(), Instant::now());
        self.home.run();
        let welcome = self.tap.welcome(from, PATIENCE).await;
        millis(welcome.expect("the bridge connects") - begun)
    }

    async fn round_trips(&mut self) {
        let (mut bare, _) = Bare::open(&self.bare, "echo").await;
        bare.round_trips(self.size.trips, MESSAGE).await; // the first are slower on both sides
        self.looks().await;
        let mut rounds = Rounds::default();
        for _ in 0..self.size.rounds {
            let mut trips = bare.round_trips(self.size.trips, MESSAGE).await;
            rounds.echoes.push(median(&mut trips));
            let before = self.bridges_time();
            let (result, end) = self.looks().await;
            let used = self.bridges_time().zip(before);
            let used = used.map(|(after, before)| a_call(after.saturating_sub(before)));
            rounds.computed.extend(used);
            rounds.results.push(result);
            rounds.ends.push(end);
            rounds.disks.push(durable_write(self.world.folder()));
            let alone = Trips::alone(self.size.trips, SHORT, 0).await;
            rounds.loops.push(alone.round);
            if let Some(rathole) = &self.rathole {
                let trips = rathole.trips(self.size.trips, SHORT, 0).await;
                rounds.ratholes.push(trips.round);
            }
            let mut trips = bare.round_trips(self.size.trips, MESSAGE).await;
            rounds.again.push(median(&mut trips));
        }
        self.tell_rounds(rounds);
    }

    fn tell_rounds(&mut self, mut rounds: Rounds) {
        let again = median(&mut rounds.again) / median(&mut rounds.echoes);
        rounds.echoes.append(&mut rounds.again);
        let echo = median(&mut rounds.echoes);
        let (result, end) = (median(&mut rounds.results), median(&mut rounds.ends));
        let (disk, alone) = (median(&mut rounds.disks), median(&mut rounds.loops));
        let computed = Some(median(&mut rounds.computed)).filter(|time| time.is_finite());
        let report = &mut self.report;
        let what = "the echo, to itself a moment later";
        let goal = Goal::Between(0.8, 1.25);
        report.put("echo_aa_ratio", what, Some(again), "×", goal, "");
        let note = format!("loopback alone {alone:.3} ms");
        let what = "a bare echo";
        report.put("echo_rtt_ms", what, Some(echo), "ms", Goal::None, &note);
        let note = "a signed order, what it does noted durably, a signed result (files.stat)";
        let (what, ratio) = ("an empty call, to bare echo", Some(result / echo));
        let goal = Goal::AtMost(1.5);
        report.put("call_rtt_ratio_to_echo", what, ratio, "×", goal, note);
        let what = "an empty call";
        report.put("call_rtt_ms", what, Some(result), "ms", Goal::None, "");
        let what = "of it, the bridge on a core";
        report.put("call_cpu_ms", what, computed, "ms", Goal::None, "");
        let note =
            "what a call that reads waits for twice, and one that changes something three times";
        let what = "of it, twice: one durable write";
        report.put("durable_write_ms", what, Some(disk), "ms", Goal::None, note);
        let note = format!("{end:.2} ms; with the Worker's check of the receipt and its rows");
        let (what, ratio) = ("the same until acknowledged", Some(end / echo));
        let name = "call_acknowledged_ratio_to_echo";
        report.put(name, what, ratio, "×", Goal::None, &note);
        let rathole = median(&mut rounds.ratholes);
        let note = self.rathole.as_ref().map_or(NO_RATHOLE.to_owned(), |it| {
            format!("{}, {SHORT} bytes over TCP, no calls", it.version)
        });
        let what = "rathole with Noise, round trip";
        let name = "rathole_rtt_ms";
        self.report
            .put(name, what, Some(rathole), "ms", Goal::None, &note);
    }

    /// A turn of empty calls, one after another: the medians from order to result, and from order to acknowledgement.
    async fn looks(&mut self) -> (f64, f64) {
        let from = self.tap.now();
        self.turn(Wish::Stat(CALLS)).await;
        let (mut results, mut ends) = (Vec::new(), Vec::new());
        let (mut ordered, mut told) = (None, None);
        for event in self.tap.since(from) {
            let What::Named(name) = &event.frame.what else {
                continue;
            };
            match (event.way, name.as_str()) {
                (Way::Down, "run") => ordered = Some(event.at),
                (Way::Up, "result") => told = Some(event.at),
                (Way::Down, "acknowledged") => {
                    if let (Some(ordered), Some(told)) = (ordered.take(), told.take()) {
                        results.push(millis(told - ordered));
                        ends.push(millis(event.at - ordered));
                    }
                }
                _ => {}
            }
        }
        assert_eq!(ends.len(), CALLS, "calls that the tap did not see");
        (median(&mut results), median(&mut ends))
    }

    async fn turn(&mut self, wish: Wish) {
        self.turns += 1;
        self.ada.says(&wish.text(self.turns)).await;
        self.ada.hears(&wish.answer(self.turns)).await;
    }

    /// A minute of nothing, while two other machines' wires have gone silent.
    async fn idles(&mut self) {
        let world = self.world;
        let (bob, eve) = (world.member(2_000_001).await, world.member(2_000_002).await);
        let wires = [
            Tap::before(&world.runtime.url).await,
            Tap::before(&world.runtime.url).await,
        ];
        let bobs = world.machine_at(&bob, "short", &wires[0].url).await;
        let eves = world.machine_at(&eve, "endless", &wires[1].url).await;
        furnish_small(&bobs);
        self.starts_again().await;
        sleep(Duration::from_secs(2)).await; // what starts is not idle yet
        let looked = self.home.process().map(Looked::at);
        let (recovered, noticed, idle) = futures::join!(
            hole_of(&wires[0], &bob),
            noticed_after(&wires[1]),
            Idle::watch(&self.tap, looked),
        );
        drop(eves);
        self.tell_idle(&idle);
        let note = "begun just after a frame, which is the worst case: the lease is 60 s, the ping comes every 20 s";
        let what = "an endless black hole noticed";
        let goal = Goal::AtMost(30.0);
        self.report
            .put("blackhole_noticed_s", what, noticed, "s", goal, note);
        let note = format!(
            "a call ordered in it, from the end of the silence to its acknowledgement; the silence was {} s",
            HOLE.as_secs()
        );
        let what = "a short black hole outlived";
        let name = "blackhole_recovered_ms";
        self.report
            .put(name, what, recovered, "ms", Goal::None, &note);
    }

    fn tell_idle(&mut self, idle: &Idle) {
        let unmeasured = "not measured: this system has no /proc";
        let note = idle.own.map_or(unmeasured.to_owned(), |own| {
            format!("{own:.1} MB of it its own, the rest pages of the program")
        });
        let (what, goal) = ("idle memory", Goal::AtMost(8.0));
        let name = "idle_rss_mb";
        self.report
            .put(name, what, idle.resident, "MB", goal, &note);
        let note = idle.cpu.map_or(unmeasured, |_| "of one core");
        let (what, goal) = ("idle CPU", Goal::AtMost(0.05)); // what rounds to 0.0
        let name = "idle_cpu_percent";
        self.report.put(name, what, idle.cpu, "%", goal, note);
        let a_day = |bytes: u64| Some(megabytes(bytes) * 1000.0 * 86_400.0 / idle.seconds);
        let note = format!(
            "{} bytes in {:.0} s, {} pings; above TCP",
            idle.bytes, idle.seconds, idle.pings
        );
        let (what, goal) = ("idle traffic a day", Goal::AtMost(1000.0));
        let name = "idle_kb_per_day";
        self.report
            .put(name, what, a_day(idle.bytes), "kB", goal, &note);
        let what = "a ping through a proven session";
        let note = "answered by the runtime, which wakes nobody";
        let name = "ping_rtt_ms";
        self.report
            .put(name, what, Some(idle.ping), "ms", Goal::None, note);
        let below = a_day(idle.bytes + idle.pings * BELOW);
        let note = "calculated, not measured: with the headers of IPv4, TCP and TLS 1.3";
        let what = "the same on a wire";
        self.report
            .put("idle_wire_kb_per_day", what, below, "kB", goal, note);
    }

    fn bridges_time(&self) -> Option<Duration> {
        self.home.process().map(Looked::at)?.on_core()
    }

    async fn files(&mut self) {
        let link = self.world.sign_in_link(&self.ada).await;
        let mut page = Console::sign_in(&self.world.runtime.url, &link).await;
        self.memory(&mut page).await;
        page.gives("large.bin", noise()).await;
        let mut rates = Rates::default();
        let (mut echo, _) = Bare::open(&self.bare, "echo").await;
        let (mut take, _) = Bare::open(&self.bare, "take").await;
        for number in 0..self.size.rounds {
            let (send, travel) = self.sends(&mut page).await;
            rates.sends.push(send);
            rates.travels.push(travel);
            rates.echoes.push(echo.megabytes_a_second(FILE).await);
            rates.saves.push(self.saves(&mut page, number).await);
            rates.takes.push(take.megabytes_a_second(FILE).await);
            rates.loops.push(Trips::alone(1, 1, FILE).await.rate);
            if let Some(rathole) = &self.rathole {
                rates.ratholes.push(rathole.trips(1, 1, FILE).await.rate);
            }
        }
        let resident = self.home.process().map(Looked::at);
        let resident = resident.and_then(|bridge| bridge.resident_mb());
        self.tell_rates(rates);
        let gone = megabytes(FILE * self.size.files);
        let note = format!("after {gone:.0} MB");
        let goal = Goal::AtMost(12.0);
        let what = "memory after 1 GB";
        self.report
            .put("rss_after_1gb_mb", what, resident, "MB", goal, &note);
    }

    fn tell_rates(&mut self, mut rates: Rates) {
        let (send, echo) = (median(&mut rates.sends), median(&mut rates.echoes));
        let save = median(&mut rates.saves);
        let note = format!(
            "{}; bare echo {echo:.0} MB/s, bare Worker that only takes {:.0} MB/s, loopback {:.0} MB/s; {:.0} MB/s until the result, before it is acknowledged",
            spread(&mut rates.sends, "MB/s"),
            median(&mut rates.takes),
            median(&mut rates.loops),
            median(&mut rates.travels)
        );
        let goal = Goal::AtLeast(150.0_f64.min(0.8 * echo));
        let report = &mut self.report;
        let what = "a file from home, hash verified";
        report.put("send_mb_s", what, Some(send), "MB/s", goal, &note);
        let (what, ratio) = ("the same, to bare echo", Some(send / echo));
        report.put("send_ratio_to_echo", what, ratio, "×", Goal::None, "");
        let note = format!(
            "{}, until it lies there durably",
            spread(&mut rates.saves, "MB/s")
        );
        let what = "a file to home, hash verified";
        report.put("read_mb_s", what, Some(save), "MB/s", goal, &note);
        let (what, ratio) = ("the same, to bare echo", Some(save / echo));
        report.put("read_ratio_to_echo", what, ratio, "×", Goal::None, "");
        let rathole = Some(median(&mut rates.ratholes));
        let note = "there and back, nothing stored, nothing hashed";
        let note = self.rathole.as_ref().map_or(NO_RATHOLE, |_| note);
        let what = "rathole with Noise";
        self.report
            .put("rathole_mb_s", what, rathole, "MB/s", Goal::None, note);
    }

    /// How workerd grows, and what both programs compute, while only files pass.
    async fn memory(&mut self, page: &mut Console) {
        let workerd = Looked::below(std::process::id(), "workerd");
        let resident = || workerd.as_ref().and_then(Looked::resident_mb);
        let (before, begun) = (resident(), (self.bridges_time(), on_core(workerd.as_ref())));
        let peak = Peak::watch(workerd.clone());
        let files = self.size.files - self.size.rounds as u64;
        for _ in 0..files {
            self.sends(page).await;
        }
        let growth = peak.ends().await.zip(before).map(|(peak, old)| peak - old);
        let kept = resident().zip(before).map(|(now, old)| now - old);
        let ended = (self.bridges_time(), on_core(workerd.as_ref()));
        let bare = self.bare_growth(FILE * files).await;
        let used = |after: Option<Duration>, before: Option<Duration>| {
            let used = after.zip(before);
            let used = used.map(|(after, before)| after.saturating_sub(before));
            used.map_or(f64::NAN, millis) / megabytes(FILE * files)
        };
        let note = format!(
            "from {:.0} MB, the most in {:.0} MB of files; {:.0} MB at their end; a bare Worker that only takes them: {:.0} MB; on a core for a MB: the bridge {:.1} ms, workerd {:.1} ms",
            before.unwrap_or(f64::NAN),
            megabytes(FILE * files),
            kept.unwrap_or(f64::NAN),
            bare.unwrap_or(f64::NAN),
            used(ended.0, begun.0),
            used(ended.1, begun.1),
        );
        let goal = Goal::AtMost(32.0);
        let what = "workerd's growth";
        self.report
            .put("workerd_growth_mb", what, growth, "MB", goal, &note);
    }

    /// How a workerd grows in which a bare Worker only takes as many bytes: what no Worker can avoid.
    async fn bare_growth(&self, bytes: u64) -> Option<f64> {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/runtime/echo.mjs");
        let folder = self.world.folder().join("bare");
        let runtime = Runtime::start(&folder, serde_json::Map::new(), Some(&beside)).await;
        let tap = Arc::new(Tap::before(&runtime.url).await);
        let (mut take, _) = Bare::open(&tap, "take").await;
        let workerd = Looked::below(std::process::id(), "workerd");
        let before = workerd.as_ref().and_then(Looked::resident_mb);
        let peak = Peak::watch(workerd);
        take.megabytes_a_second(bytes).await;
        peak.ends().await.zip(before).map(|(peak, old)| peak - old)
    }

    /// Has a file saved that the person has given; MB/s from its announcement to the result, when it lies there by its hash.
    async fn saves(&mut self, page: &mut Console, number: usize) -> f64 {
        let from = self.tap.now();
        self.turns += 1;
        let wish = Wish::Save(number);
        page.says(&wish.text(self.turns)).await;
        page.hears(&wish.answer(self.turns)).await;
        let took = self.between(from, "file_start", "result");
        let saved = self.home.playground.join(format!("saved-{number}.bin"));
        let length = fs::metadata(&saved).map(|metadata| metadata.len());
        assert_eq!(length.ok(), Some(FILE), "{} is not there", saved.display());
        fs::remove_file(saved).expect("the playground is ours");
        rate(FILE, took)
    }

    /// Sends a file; MB/s from its announcement to its acknowledgement, and to its result.
    async fn sends(&mut self, page: &mut Console) -> (f64, f64) {
        let from = self.tap.now();
        self.turns += 1;
        let wish = Wish::Send(0);
        page.says(&wish.text(self.turns)).await;
        page.hears(&wish.answer(self.turns)).await;
        (
            rate(FILE, self.between(from, "file_start", "acknowledged")),
            rate(FILE, self.between(from, "file_start", "result")),
        )
    }

    /// How long it took from the first frame of one name, after this event, to the first of another.
    fn between(&self, from: usize, begun: &str, ended: &str) -> Duration {
        let events = self.tap.since(from);
        let at = |name: &str| {
            let is_it = |what: &What| *what == What::Named(name.to_owned());
            let event = events.iter().find(|event| is_it(&event.frame.what));
            event.unwrap_or_else(|| panic!("no frame {name}")).at
        };
        at(ended) - at(begun)
    }

    /// From a reset to the next welcome, each the first of its process.
    async fn resets(&mut self) {
        let mut times = Vec::new();
        for _ in 0..self.size.resets {
            self.starts_again().await;
            sleep(Duration::from_millis(100)).await;
            let (from, begun) = (self.tap.now(), Instant::now());
            self.tap.reset();
            let welcome = self.tap.welcome(from, PATIENCE).await;
            times.push(millis(welcome.expect("the bridge comes back") - begun));
        }
        let note = spread(&mut times, "ms");
        let what = "connected again after a reset";
        let name = "reset_reconnect_ms_p50";
        let (goal, time) = (Goal::AtMost(300.0), Some(median(&mut times)));
        self.report.put(name, what, time, "ms", goal, &note);
    }

    /// From the moment at which the restarted Worker answers to the welcome.
    async fn restarts(&mut self) {
        let (mut times, mut outages) = (Vec::new(), Vec::new());
        for _ in 0..self.size.restarts {
            self.starts_again().await;
            sleep(Duration::from_millis(300)).await;
            let (from, begun) = (self.tap.now(), Instant::now());
            self.world.runtime.kill().await;
            let (back, ()) = futures::join!(self.answers(), self.world.runtime.start_again());
            let welcome = self.tap.welcome(from, PATIENCE).await;
            let welcome = welcome.expect("the bridge comes back");
            times.push(millis(welcome.saturating_duration_since(back)));
            outages.push((back - begun).as_secs_f64());
        }
        let note = format!(
            "{}; the Worker was away for {:.1} s",
            spread(&mut times, "ms"),
            median(&mut outages)
        );
        let what = "connected again, Worker restarted";
        let (goal, time) = (Goal::AtMost(300.0), Some(median(&mut times)));
        self.report
            .put("reconnect_ms_p50", what, time, "ms", goal, &note);
    }

    /// When the Worker answers again.
    async fn answers(&self) -> Instant {
        loop {
            let asking = self.world.client.get(self.world.url("/healthz")).send();
            if let Ok(Ok(answer)) = timeout(PATIENCE, asking).await
                && answer.status().is_success()
            {
                return Instant::now();
            }
            sleep(Duration::from_millis(5)).await; // nobody tells when it is back
        }
    }

    async fn faults(&mut self, told: &Told) {
        let (most, limit) = (self.size.faults, self.size.weather);
        let faults = faults::run(self.world, told, most, limit).await;
        let note = format!(
            "{} cuts, {} resets, {} silences of 50–500 ms, {} kills of the bridge in {:.0} s, over {} calls",
            faults.cuts, faults.resets, faults.silences, faults.kills, faults.seconds, faults.calls
        );
        let count = |number: usize| u32::try_from(number).ok().map(f64::from);
        let (what, number) = ("faults injected", count(faults.injected));
        self.report
            .put("faults_injected", what, number, "", Goal::None, &note);
        let (what, number) = ("calls lost", count(faults.lost));
        let goal = Goal::AtMost(0.0);
        self.report.put("faults_lost", what, number, "", goal, "");
        let (what, number) = ("calls run twice", count(faults.doubled));
        self.report
            .put("faults_doubled", what, number, "", goal, "");
        let note = format!(
            "told as not known whether they took effect; {} of them did",
            faults.in_doubt_done
        );
        let (what, number) = ("calls in doubt", count(faults.in_doubt));
        self.report
            .put("faults_in_doubt", what, number, "", Goal::None, &note);
    }
}

fn furnish_small(machine: &Machine) {
    let small = machine.playground.join("small");
    fs::create_dir_all(&small).expect("the playground is ours");
    fs::write(small.join("0.txt"), "small\n").expect("the playground is ours");
}

/// A silence with a call ordered in the middle of it: milliseconds from its end to the call's acknowledgement.
async fn hole_of(tap: &Tap, person: &Person<'_>) -> Option<f64> {
    tap.swallow(true);
    sleep(HOLE / 2).await;
    let from = tap.now();
    let wish = Wish::Stat(1);
    person.says(&wish.text(0)).await;
    sleep(HOLE / 2).await;
    let begun = Instant::now();
    tap.swallow(false);
    let is_end = |what: &What| *what == What::Named("acknowledged".to_owned());
    let acknowledged = tap.frame(from, Way::Down, is_end, PATIENCE).await?;
    person.hears(&wish.answer(0)).await;
    Some(millis(acknowledged - begun))
}

/// Seconds from the beginning of a silence to the bridge's goodbye.
async fn noticed_after(tap: &Tap) -> Option<f64> {
    let (from, begun) = (tap.now(), Instant::now());
    tap.swallow(true);
    let is_end = |what: &What| *what == What::Close;
    let patience = Duration::from_secs(90); // longer than the lease
    let noticed = tap.frame(from, Way::Up, is_end, patience).await?;
    Some((noticed - begun).as_secs_f64())
}

/// A bridge that has nothing to do.
struct Idle {
    seconds: f64,
    bytes: u64,
    pings: u64,
    /// A ping's round trip, in milliseconds.
    ping: f64,
    resident: Option<f64>,
    own: Option<f64>,
    cpu: Option<f64>,
}

impl Idle {
    async fn watch(tap: &Tap, looked: Option<Looked>) -> Self {
        let (begun, from, bytes) = (Instant::now(), tap.now(), tap.bytes());
        let before = on_core(looked.as_ref());
        sleep(IDLE).await;
        let seconds = begun.elapsed().as_secs_f64();
        let used = on_core(looked.as_ref()).zip(before);
        let events = tap.since(from);
        let texts = |way| {
            let is_one = move |event: &&Event| event.way == way && event.frame.what == What::Text;
            events.iter().filter(is_one)
        };
        let pings = texts(Way::Up).zip(texts(Way::Down));
        let mut trips: Vec<f64> = pings.map(|(up, down)| millis(down.at - up.at)).collect();
        Self {
            seconds,
            bytes: tap.bytes() - bytes,
            pings: texts(Way::Up).count() as u64,
            ping: median(&mut trips),
            resident: looked.as_ref().and_then(Looked::resident_mb),
            own: looked.as_ref().and_then(Looked::own_mb),
            cpu: used.map(|(after, before)| {
                after.saturating_sub(before).as_secs_f64() / seconds * 100.0
            }),
        }
    }
}

/// The median of small writes that are made durable, in milliseconds: what a call cannot do without.
fn durable_write(folder: &Path) -> f64 {
    let mut file = File::create(folder.join("durable")).expect("our own folder takes a file");
    let mut times: Vec<f64> = (0..20)
        .map(|_| {
            let begun = Instant::now();
            file.write_all(&[7; 4096])
                .and_then(|()| file.sync_data())
                .expect("our own file takes bytes");
            millis(begun.elapsed())
        })
        .collect();
    median(&mut times)
}

/// What one of a turn's calls has of the time.
fn a_call(turn: Duration) -> f64 {
    let calls = u32::try_from(CALLS).expect("a small number");
    millis(turn / calls)
}

/// The most that a process holds, while it is watched.
struct Peak {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Option<f64>>,
}

impl Peak {
    fn watch(looked: Option<Looked>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let looked = looked?;
            let mut peak = looked.resident_mb()?;
            while !stopped.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(20)).await;
                peak = peak.max(looked.resident_mb()?);
            }
            Some(peak)
        });
        Self { stop, task }
    }

    async fn ends(self) -> Option<f64> {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.ok().flatten()
    }
}

fn on_core(looked: Option<&Looked>) -> Option<Duration> {
    looked.and_then(Looked::on_core)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn megabytes(bytes: u64) -> f64 {
    rate(bytes, Duration::from_secs(1))
}

/// The middle one of some numbers.
fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

fn spread(numbers: &mut [f64], unit: &str) -> String {
    numbers.sort_by(f64::total_cmp);
    let (first, last) = (numbers.first(), numbers.last());
    let shown = |number: Option<&f64>| number.copied().unwrap_or(f64::NAN);
    format!(
        "{:.0} to {:.0} {unit} in {} times",
        shown(first),
        shown(last),
        numbers.len()
    )
}
