//! The project's commands: `cargo xtask dev`, `build-worker`, `test`, `bench`.

mod bench;
mod console;
mod database;
mod dev;
mod devvars;
mod licences;
mod machine;
mod pairing;
mod playground;
mod process;
mod screen;
mod test;
mod tools;
mod worker;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::{
    process::Stopped, screen::Screen, tools::Tools, worker::Purpose, workspace::Workspace,
};

const ENDED_BY_SIGNAL: u8 = 130; // what shells expect after Ctrl-C

/// The project's commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Set everything up and run it here: the Worker, a paired bridge, and a console to talk to
    Dev(dev::Options),
    /// Build the Worker into `build/`, if anything that it is made of has changed
    BuildWorker {
        /// Build what is deployed: smaller and faster, and slower to build
        #[arg(long)]
        release: bool,
    },
    /// Check everything that must hold before a change is accepted
    Test(test::Options),
    /// Measure: rows written by a turn; the bridge on the real runtime
    Bench(bench::Options),
}

fn main() -> ExitCode {
    match run(&Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Stopped>() => {
            println!("\nended; nothing is left running");
            ExitCode::from(ENDED_BY_SIGNAL)
        }
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<()> {
    process::catch_signals()?;
    let workspace = Workspace::find()?;
    match command {
        Command::Dev(options) => dev::run(&workspace, options),
        Command::BuildWorker { release: true } => build_worker(&workspace, Purpose::Deployment),
        Command::BuildWorker { release: false } => {
            build_worker(&workspace, Purpose::told_by_wrangler())
        }
        Command::Test(options) => test::run(&workspace, options),
        Command::Bench(options) => bench::run(&workspace, options),
    }
}

fn build_worker(workspace: &Workspace, purpose: Purpose) -> Result<()> {
    if worker::is_current(workspace, purpose)? {
        return Ok(());
    }
    let screen = Screen::new(false);
    let tools = Tools::ready(workspace, &screen)?;
    worker::build(workspace, &screen, &tools, purpose)
}
