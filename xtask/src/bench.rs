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
    /// `rows`: rows written by a turn; `bridge`: the released bridge and its tunnel. Without a name: everything
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Write the figures into this file as well, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Less of everything: rougher figures in a minute or two
    #[arg(long)]
    quick: bool,
    /// Measure the Worker as it is deployed; the first time its build takes minutes
    #[arg(long)]
    deployment: bool,
}

impl Options {
    /// Speed, size and memory are those of what is released; rows are the same for any build.
    fn wants_release(&self) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| name == "bridge")
    }

    fn purpose(&self) -> Purpose {
        if self.deployment {
            Purpose::Deployment
        } else {
            Purpose::Trial
        }
    }
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let screen = Screen::new(false);
    let tools = Tools::ready(workspace, &screen)?;
    worker::build(workspace, &screen, &tools, options.purpose())?;
    let profile = if options.wants_release() {
        "release"
    } else {
        "dev"
    };
    let build = [
        "build",
        "--profile",
        profile,
        "-p",
        "local-bridge",
        "--locked",
    ];
    Running::start("cargo build", workspace.cargo(build), Output::Shown)?.succeed(|| ())?;
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
    if options.quick {
        bench.arg("--quick");
    }
    if options.deployment {
        bench.env("BERNARD_DEPLOYMENT", "1");
    }
    if options.wants_release() {
        bench.env(
            "BERNARD_BRIDGE",
            workspace.target.join("release/local-bridge"),
        );
    }
    bench
        .env("BERNARD_NODE", &tools.node)
        .env("BERNARD_ROOT", &workspace.root);
    Running::start("cargo bench", bench, Output::Shown)?.succeed(|| ())
}
