//! The table: each figure beside its goal and what it is compared with.

use crate::Figures;
use serde_json::Value;

/// Is set where the Worker was built for deployment.
const DEPLOYMENT: &str = "BERNARD_DEPLOYMENT";

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// What is compared with itself: beyond this the machine was too restless for any ratio.
    Between(f64, f64),
    /// It stands for itself.
    None,
}

/// All figures, in the order in which they were taken.
#[derive(Debug)]
pub(super) struct Report(Vec<Row>);

#[derive(Debug)]
struct Row {
    name: &'static str,
    what: String,
    value: Option<f64>,
    unit: &'static str,
    goal: Goal,
    note: String,
}

impl Report {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// Notes a figure and shows it at once, for the whole takes minutes.
    pub(super) fn put(
        &mut self,
        name: &'static str,
        what: &str,
        value: Option<f64>,
        unit: &'static str,
        goal: Goal,
        note: &str,
    ) {
        let row = Row {
            name,
            what: what.to_owned(),
            value: value.filter(|value| value.is_finite()),
            unit,
            goal,
            note: note.to_owned(),
        };
        eprintln!("{}", row.shown());
        self.0.push(row);
    }

    /// The whole table.
    pub(super) fn print(&self, quick: bool) {
        println!(
            "the bridge on loopback, beside a bare WebSocket through the same workerd and relay; medians{}",
            if quick { "; quick, so rougher" } else { "" }
        );
        for row in &self.0 {
            println!("{}", row.shown());
        }
        if self.0.iter().any(Row::is_restless) {
            println!(
                "  ✗ the same thing measured twice came out differently: this machine has too much else to do for these ratios"
            );
        }
        let worker = if std::env::var_os(DEPLOYMENT).is_some() {
            "as it is deployed"
        } else {
            "the development build, whose code is optimised less; `--deployment` takes the other"
        };
        println!("  · the Worker is {worker}");
    }

    pub(super) fn fill(&self, figures: &mut Figures) {
        for row in &self.0 {
            let value = row.value.map_or(Value::Null, rounded);
            figures.put(row.name, value);
        }
    }
}

impl Row {
    fn is_restless(&self) -> bool {
        match (self.value, self.goal) {
            (Some(value), Goal::Between(least, most)) => !(least..=most).contains(&value),
            (_, Goal::AtMost(_) | Goal::AtLeast(_) | Goal::Between(..) | Goal::None) => false,
        }
    }

    fn shown(&self) -> String {
        let (mark, goal) = match (self.value, self.goal) {
            (Some(value), Goal::AtMost(most)) => {
                (mark(value <= most), format!("≤ {}", figure(most)))
            }
            (Some(value), Goal::AtLeast(least)) => {
                (mark(value >= least), format!("≥ {}", figure(least)))
            }
            (Some(value), Goal::Between(least, most)) => (
                mark((least..=most).contains(&value)),
                format!("{}–{}", figure(least), figure(most)),
            ),
            (None, _) | (_, Goal::None) => ("·", String::new()),
        };
        let value = self.value.map_or("—".to_owned(), figure);
        format!(
            "  {mark} {:<34} {value:>9} {:<5} {goal:<9} {}",
            self.what, self.unit, self.note
        )
        .trim_end()
        .to_owned()
    }
}

fn mark(is_reached: bool) -> &'static str {
    if is_reached { "✓" } else { "✗" }
}

fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        small if small < 1.0 => 3,
        middle if middle < 100.0 => 2,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// To three decimals; a count stays one.
fn rounded(value: f64) -> Value {
    let text = format!("{value:.3}");
    let text = text.strip_suffix(".000").unwrap_or(&text);
    serde_json::from_str(text).unwrap_or(Value::Null)
}
