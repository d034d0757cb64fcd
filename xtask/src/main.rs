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
mod telegram;
mod test;
mod tools;
mod worker;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;

use crate::{
    database::Where, process::Stopped, screen::Screen, tools::Tools, worker::Purpose,
    workspace::Workspace,
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
    /// Print a link that signs one browser in to the console of your deployment, once, within ten minutes; your Cloudflare account is the proof
    SignIn {
        /// The deployment's address, such as <https://bernard.example.workers.dev>
        url: String,
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
        Command::SignIn { url } => sign_in(&workspace, url),
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

fn sign_in(workspace: &Workspace, url: &str) -> Result<()> {
    let origin = url.trim_end_matches('/');
    let host = origin.strip_prefix("https://").unwrap_or_default();
    if host.is_empty() || host.contains(['/', '?', '#', '@']) {
        bail!(
            "{url} is not a deployment's address; it looks like https://bernard.example.workers.dev"
        )
    }
    let screen = Screen::new(false);
    let tools = Tools::ready(workspace, &screen)?;
    let [link] = database::sign_in_links(workspace, &screen, &tools, Where::Deployed)?;
    println!(
        "Open this within ten minutes; it works once:\n{origin}{}",
        link.path()
    );
    Ok(())
}
