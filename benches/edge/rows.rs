//! Rows written by one exchange: what the Free plan counts (100,000 a day), those of indexes and alarms included, as `/status` tells them.

use crate::Figures;
use crate::kit::World;
use crate::kit::console::Console;
use crate::kit::models::{Next, Reply};
use crate::kit::person::Person;
use serde_json::{Value, json};

/// How often each exchange is had; the first of its kind may make rows that the next ones change.
const TIMES: usize = 5;

/// What the Free plan writes a day.
const FREE_PLAN: u64 = 100_000;

/// The goal for a plain question and answer.
const PLAIN: u64 = 12;

/// The goal for each tool call more.
const CALL: u64 = 6;

/// A world in which rows are counted.
struct Ledger<'w> {
    world: &'w World,
    ada: &'w Person<'w>,
    /// What asking for the count itself writes.
    status: u64,
}

/// Measures every exchange and prints a table.
pub(crate) async fn run(figures: &mut Figures) {
    let world = World::start("anthropic/claude-fable").await;
    let ada = world.owner().await;
    let _home = world.machine(&ada, "mac-mini").await;
    let mut ledger = Ledger {
        world: &world,
        ada: &ada,
        status: 0,
    };
    ledger.calibrate().await;
    println!(
        "rows written by one exchange, the median of {TIMES}; goals: {PLAIN}, and {CALL} a call"
    );
    let plain = ledger.telegram(0).await;
    show("a question and its answer, Telegram", plain, PLAIN);
    figures.put("rows_plain", plain);
    for calls in 1..=3 {
        let rows = ledger.telegram(calls).await;
        let goal = PLAIN + CALL * calls as u64;
        show(
            &format!("with {calls} calls at home, one a step"),
            rows,
            goal,
        );
        figures.put(&format!("rows_{calls}_calls"), rows);
    }
    let approved = ledger.approved().await;
    show("with a command and a yes", approved, PLAIN + 2 * CALL);
    figures.put("rows_approved", approved);
    let repeated = ledger.repeated().await;
    show("a delivery that came before", repeated, 0);
    figures.put("rows_repeated", repeated);
    let page = ledger.page().await;
    show("a question and its answer, console", page, PLAIN);
    figures.put("rows_console", page);
    println!(
        "the Free plan's {FREE_PLAN} rows a day are {} plain exchanges",
        FREE_PLAN / plain.max(1)
    );
}

fn show(what: &str, rows: u64, goal: u64) {
    let mark = if rows <= goal { "✓" } else { "✗" };
    println!("  {mark} {what:<42} {rows:>3}   (goal {goal})");
}

impl Ledger<'_> {
    async fn calibrate(&mut self) {
        self.count().await;
        let mut counted = Vec::new();
        for _ in 0..TIMES {
            let before = self.count().await;
            counted.push(self.count().await - before);
        }
        self.status = median(counted);
    }

    /// The day's rows up to now.
    async fn count(&self) -> u64 {
        self.ada.says("/status").await;
        let status = self.ada.hears("rows written").await.text;
        let number = status
            .split(" rows written")
            .next()
            .and_then(|before| before.rsplit(' ').next())
            .and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("no number of rows in {status:?}"))
    }

    async fn measure<F: Future<Output = ()>>(&self, exchange: impl Fn(usize) -> F) -> u64 {
        let mut counted = Vec::new();
        for n in 0..TIMES {
            let before = self.count().await;
            exchange(n).await;
            counted.push((self.count().await - before).saturating_sub(self.status));
        }
        median(counted)
    }

    async fn telegram(&self, calls: usize) -> u64 {
        self.measure(|n| async move {
            for call in 0..calls {
                let folder = json!({ "path": format!("playground/./{}", ".//".repeat(call)) });
                self.calls("files.list", folder);
            }
            let answer = format!("answer {calls} {n}");
            self.world.anthropic.then_says(&answer);
            self.ada.says("what is there").await;
            self.ada.hears(&answer).await;
        })
        .await
    }

    /// The model will call a tool without a word: words between the steps are messages of their own, and cost as such.
    fn calls(&self, tool: &str, arguments: Value) {
        self.world.anthropic.then(Next::Replies(Reply {
            text: String::new(),
            calls: vec![(tool.to_owned(), arguments)],
        }));
    }

    async fn approved(&self) -> u64 {
        self.measure(|n| async move {
            let argv: Value = json!({ "argv": ["echo", "fine"] });
            self.calls("shell.run", argv);
            let answer = format!("answer approved {n}");
            self.world.anthropic.then_says(&answer);
            self.ada.says("how is the repository").await;
            let question = self.ada.hears("May I run this").await;
            self.ada.presses(&question, "yes").await;
            self.ada.hears(&answer).await;
        })
        .await
    }

    async fn repeated(&self) -> u64 {
        self.world.anthropic.then_says("only once");
        let update = self.ada.text_update("say it once");
        self.ada.delivers(&update).await;
        self.ada.hears("only once").await;
        self.measure(|_| async { self.ada.delivers(&update).await })
            .await
    }

    async fn page(&self) -> u64 {
        let link = self.world.sign_in_link(self.ada).await;
        let page = Console::sign_in(&self.world.runtime.url, &link).await;
        let page = tokio::sync::Mutex::new(page);
        self.measure(|n| {
            let page = &page;
            async move {
                let answer = format!("answer on the page {n}");
                self.world.anthropic.then_says(&answer);
                let mut page = page.lock().await;
                page.says("hello").await;
                page.hears(&answer).await;
            }
        })
        .await
    }
}

fn median(mut numbers: Vec<u64>) -> u64 {
    numbers.sort_unstable();
    numbers[numbers.len() / 2]
}
