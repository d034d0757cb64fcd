//! `cargo xtask bench`: measures on the real runtime, and prints each figure beside its goal.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{
    process::{Output, Running},
    screen::Screen,
    tools::Tools,
    worker::{self, Purpose},
    workspace::Workspace,
};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// `rows`: rows written by a turn. Without a name: everything
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Write the figures into this file as well, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let screen = Screen::new(false);
    let tools = Tools::ready(workspace, &screen)?;
    worker::build(workspace, &screen, &tools, Purpose::Trial)?;
    let bridge = workspace.cargo(["build", "-p", "local-bridge", "--locked"]);
    Running::start("cargo build", bridge, Output::Shown)?.succeed(|| ())?;
    let args = [
        "bench",
        "--profile",
        "dev",
        "-p",
        "bernard",
        "--bench",
        "edge",
        "--locked",
        "--",
    ];
    let mut bench = workspace.cargo(args);
    bench.args(&options.names);
    if let Some(json) = &options.json {
        let json = std::path::absolute(json).context("the file for the figures")?;
        bench.arg("--json").arg(json);
    }
    bench
        .env("BERNARD_NODE", &tools.node)
        .env("BERNARD_ROOT", &workspace.root);
    Running::start("cargo bench", bench, Output::Shown)?.succeed(|| ())
}
