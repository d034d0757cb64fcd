//! What things cost on the real runtime: the rows that a turn writes, the bridge and its tunnel. `cargo xtask bench` runs it.

#[path = "../../tests/e2e/kit/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "the stories use the rest of the kit"
)]
mod kit;

mod bridge;
mod rows;

use serde_json::{Map, Value};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// The figures of one run, by name.
#[derive(Debug, Default)]
struct Figures(Map<String, Value>);

/// What is wished for on the command line.
#[derive(Debug, Default)]
struct Wish {
    benches: Vec<String>,
    json: Option<PathBuf>,
    quick: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let wish = match Wish::read(std::env::args().skip(1)) {
        Ok(wish) => wish,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut figures = Figures::default();
    for bench in &wish.benches {
        match bench.as_str() {
            "rows" => rows::run(&mut figures).await,
            "bridge" => Box::pin(bridge::run(&mut figures, wish.quick)).await,
            unknown => {
                eprintln!("error: there is no bench `{unknown}`; there are `rows` and `bridge`");
                return ExitCode::FAILURE;
            }
        }
    }
    match wish.json {
        Some(path) => match fs::write(&path, format!("{:#}\n", Value::Object(figures.0))) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {}: {error}", path.display());
                ExitCode::FAILURE
            }
        },
        None => ExitCode::SUCCESS,
    }
}

impl Wish {
    fn read(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut wish = Self::default();
        let mut arguments = arguments.filter(|argument| argument != "--bench"); // cargo adds it
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--json" => {
                    let file = arguments.next().ok_or("--json wants a file")?;
                    wish.json = Some(file.into());
                }
                "--quick" => wish.quick = true,
                option if option.starts_with('-') => {
                    return Err(format!("there is no option {option}"));
                }
                name => wish.benches.push(name.to_owned()),
            }
        }
        if wish.benches.is_empty() {
            wish.benches = ["rows", "bridge"].map(str::to_owned).to_vec();
        }
        Ok(wish)
    }
}

impl Figures {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }
}
