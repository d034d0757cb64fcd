//! `cargo xtask bench`: measures on the real runtime, and prints each figure beside its goal.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{
    process::{Output, Running},
    screen::Screen,
    tools::{self, Tools},
    worker::{self, Purpose},
    workspace::Workspace,
};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to measure; without a name: everything
    #[arg(value_name = "NAME")]
    names: Vec<Name>,
    /// Write the figures into this file as well, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Less of everything: rougher figures in a minute or two
    #[arg(long)]
    quick: bool,
    /// Measure the Worker as it is deployed; the first time its build takes minutes
    #[arg(long)]
    deployment: bool,
    /// Install `rathole` into .tools/, once, and compare with it. One on the PATH, or at $RATHOLE, is compared with anyway:
    /// `cargo install rathole --no-default-features --features server,client,noise`
    #[arg(long)]
    with_rathole: bool,
}

/// Something that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    /// Rows written by a turn
    Rows,
    /// The released bridge and its tunnel
    Bridge,
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Bridge => "bridge",
        }
    }
}

impl Options {
    /// Speed, size and memory are those of what is released; rows are the same for any build.
    fn wants_release(&self) -> bool {
        self.names.is_empty() || self.names.contains(&Name::Bridge)
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
    bench.args(options.names.iter().map(|name| name.text()));
    if options.with_rathole {
        bench.env("RATHOLE", tools::rathole(workspace, &screen)?);
    }
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
