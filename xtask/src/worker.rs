//! Builds the Worker into `build/`, and only when something that goes into it has changed.

use std::{env, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{
    screen::Screen,
    tools::Tools,
    workspace::{Workspace, fingerprint, lock_file, stamped, wait_for, write},
};

/// Everything that the Worker is made of.
const INGREDIENTS: [&str; 6] = [
    "src",
    "crates",
    "migrations",
    "Cargo.toml",
    "Cargo.lock",
    ".cargo/config.toml",
];

/// What the Worker is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Development and tests: built quickly.
    Trial,
    /// Cloudflare's edge: small and fast.
    Deployment,
}

impl Purpose {
    /// What wrangler, when it runs its build command, wants the result for.
    pub(crate) fn told_by_wrangler() -> Self {
        match env::var("WRANGLER_COMMAND").as_deref() {
            Ok("deploy" | "versions upload") => Self::Deployment,
            Ok(_) | Err(_) => Self::Trial,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Trial => "for development",
            Self::Deployment => "for deployment",
        }
    }
}

/// Makes `build/` current. Two builds wait for each other.
pub(crate) fn build(
    workspace: &Workspace,
    screen: &Screen,
    tools: &Tools,
    purpose: Purpose,
) -> Result<()> {
    let lock = lock_file(&workspace.tools().join("worker.lock")).context("locking the build")?;
    wait_for(&lock)?;
    if is_current(workspace, purpose)? {
        return Ok(());
    }
    let wanted = wanted(workspace, purpose)?; // as it is before the build: a change during it counts as one
    let title = format!("the Worker built {}", purpose.name());
    let command = command(workspace, tools, purpose);
    screen.run(
        workspace,
        (&title, expectation(workspace, purpose)),
        "worker-build",
        command,
    )?;
    write(&stamp(workspace), wanted)
}

/// Whether `build/` was made for this purpose from what lies here.
pub(crate) fn is_current(workspace: &Workspace, purpose: Purpose) -> Result<bool> {
    let products = ["build/index.js", "build/index_bg.wasm"];
    let there = products
        .iter()
        .all(|product| workspace.root.join(product).is_file());
    Ok(there && stamped(&stamp(workspace), &wanted(workspace, purpose)?))
}

fn wanted(workspace: &Workspace, purpose: Purpose) -> Result<String> {
    Ok(format!(
        "{} {}",
        purpose.name(),
        fingerprint(&workspace.root, &INGREDIENTS)?
    ))
}

fn stamp(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("worker.stamp")
}

fn command(workspace: &Workspace, tools: &Tools, purpose: Purpose) -> Command {
    let mut command = crate::process::program(&tools.worker_build, &workspace.root);
    let wasm_opt = workspace.root.join("node_modules/.bin/wasm-opt");
    match purpose {
        Purpose::Trial => command.args(["--profile", "edge-dev", "--no-opt"]),
        Purpose::Deployment if wasm_opt.is_file() => {
            command.arg("--release").env("WASM_OPT_BIN", wasm_opt)
        }
        Purpose::Deployment => command.args(["--release", "--no-opt"]),
    };
    command
        .arg("--locked")
        .env("WASM_BINDGEN_BIN", &tools.wasm_bindgen)
        .env("ESBUILD_BIN", &tools.esbuild);
    command
}

fn expectation(workspace: &Workspace, purpose: Purpose) -> &'static str {
    let folder = match purpose {
        Purpose::Trial => "wasm32-unknown-unknown/edge-dev",
        Purpose::Deployment => "wasm32-unknown-unknown/release",
    };
    if workspace.target.join(folder).is_dir() {
        "up to a minute"
    } else {
        "the first time about 4 minutes on two cores"
    }
}
