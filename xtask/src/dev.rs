//! `cargo xtask dev`: from a checkout to an agent that answers, in one command.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    console::Worker,
    database::{self, SignIn},
    devvars,
    pairing::Home,
    playground,
    process::{Running, pause},
    screen::{Screen, elapsed},
    tools::Tools,
    worker::{self, Purpose},
    workspace::{Workspace, lock_file, write},
};

const FIRST_PORT: u16 = 8787; // wrangler's own
const PORTS: u16 = 100;
const START: Duration = Duration::from_secs(90); // wrangler on a busy machine

/// What to run, and where.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The folder that the bridge may touch, instead of `playground/`
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// The port on 127.0.0.1 [default: the last one, 8787, or the next that is free]
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Start no bridge
    #[arg(long)]
    no_bridge: bool,
    /// Show what every program says
    #[arg(long, short)]
    verbose: bool,
}

/// Prepares everything, runs it, and ends it all when asked to or when a part of it ends.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let started = Instant::now();
    let screen = Screen::new(options.verbose);
    let lock = lock_file(&workspace.state().join("lock")).context("locking .bernard")?;
    if lock.try_lock().is_err() {
        bail!("`cargo xtask dev` runs already in this folder; end that one first")
    }
    let first = !workspace.state().join("state").exists();
    let expected = if first {
        "the first takes about ten minutes"
    } else {
        "a few seconds"
    };
    println!("Bernard: preparing a development run ({expected})");
    let root = root(workspace, options)?;
    let tools = Tools::ready(workspace, &screen)?;
    worker::build(workspace, &screen, &tools, Purpose::Trial)?;
    if !options.no_bridge {
        build_bridge(workspace, &screen)?;
    }
    database::migrate(workspace, &screen, &tools)?;
    let [link, ours] = database::sign_in_links(workspace, &screen, &tools)?;

    let port = port(workspace, options.port)?;
    let address = format!("http://127.0.0.1:{port}");
    let mut children = vec![start_worker(workspace, &screen, &tools, port)?];
    if !options.no_bridge {
        let bridge = start_bridge(workspace, &screen, &address, &ours, &root)?;
        children.push(bridge);
    }
    let root = (!options.no_bridge).then_some(root.as_path());
    let link = format!("{address}{}", link.path());
    println!("{}", summary(workspace, &link, root, started.elapsed()));
    loop {
        pause()?;
        for child in &mut children {
            child.still_runs()?;
        }
    }
}

/// The folder that the bridge may touch, whole and with its links resolved.
fn root(workspace: &Workspace, options: &Options) -> Result<PathBuf> {
    let playground = workspace.root.join("playground");
    let workshop = workspace.state().join("playground");
    if options.root.is_none() && playground::make(&playground, &workshop)? {
        println!("  ✓ playground/ made, with a few documents to ask about");
    }
    let root = options.root.as_ref().unwrap_or(&playground);
    if !root.is_dir() {
        bail!(
            "{} is not a folder; --root takes one that exists",
            root.display()
        )
    }
    root.canonicalize()
        .with_context(|| format!("resolving {}", root.display()))
}

fn build_bridge(workspace: &Workspace, screen: &Screen) -> Result<()> {
    let expected = if workspace.bridge().is_file() {
        ""
    } else {
        "the first time about 3 minutes on two cores"
    };
    let build = workspace.cargo(["build", "--package", "local-bridge", "--locked"]);
    screen.run(
        workspace,
        ("the bridge built", expected),
        "bridge-build",
        build,
    )
}

/// The wanted port if it is free; unless one is wanted, the last run's, so that the bridge still
/// knows the Worker's address, or the first free one.
fn port(workspace: &Workspace, wanted: Option<u16>) -> Result<u16> {
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    if let Some(port) = wanted {
        if !free(&port) {
            bail!("port {port} is taken by another program; choose another with --port")
        }
        return Ok(port);
    }
    let remembered = workspace.state().join("port");
    let last = fs::read_to_string(&remembered)
        .ok()
        .and_then(|text| text.parse().ok());
    let port = last
        .into_iter()
        .chain(FIRST_PORT..FIRST_PORT + PORTS)
        .find(free)
        .context("no port from 8787 to 8886 is free; choose another with --port")?;
    write(&remembered, port.to_string())?;
    Ok(port)
}

fn start_worker(
    workspace: &Workspace,
    screen: &Screen,
    tools: &Tools,
    port: u16,
) -> Result<Running> {
    let port_text = port.to_string();
    let args = ["dev", "--local", "--ip", "127.0.0.1", "--port", &port_text];
    let mut wrangler = tools.wrangler(workspace, args)?;
    wrangler
        .arg("--show-interactive-dev-session=false")
        .arg("--persist-to")
        .arg(workspace.state().join("state"));
    let mut step = screen.step(&format!("the Worker started on 127.0.0.1:{port}"), "");
    let log = screen.output(workspace.log("wrangler"));
    let mut running = Running::start("wrangler dev", wrangler, log)?;
    let worker = Worker::at(&format!("http://127.0.0.1:{port}"));
    let began = Instant::now();
    while !worker.is_healthy() {
        running.still_runs()?;
        if began.elapsed() > START {
            bail!(
                "the Worker did not answer within {}; see {}",
                elapsed(START),
                workspace.log("wrangler").display()
            )
        }
        step.tick();
        pause()?;
    }
    step.done();
    Ok(running)
}

fn start_bridge(
    workspace: &Workspace,
    screen: &Screen,
    address: &str,
    link: &SignIn,
    root: &Path,
) -> Result<Running> {
    let home = Home::of(workspace);
    home.allow(workspace, screen, root)?;
    let console = Worker::at(address).sign_in(link)?;
    home.pair(workspace, screen, &console, address)?;
    let run = home.bridge(workspace, ["run"]);
    Running::start(
        "local-bridge run",
        run,
        screen.output(workspace.log("bridge")),
    )
}

fn summary(workspace: &Workspace, link: &str, root: Option<&Path>, took: Duration) -> String {
    let bridge = match root {
        None => "none was started (--no-bridge)".to_owned(),
        Some(root) => format!(
            "may read and write {} and nothing else on this machine",
            root.display()
        ),
    };
    let model = devvars::model(&workspace.root);
    let logs = workspace.state().join("logs");
    format!(
        "\nBernard is ready after {}.\n\n  \
         console  {link}\n           (signs one browser in, once, within 10 minutes)\n  \
         bridge   {bridge}\n  \
         model    {model}\n  \
         logs     {}\n\n\
         Try \"list my files\" or \"send me my proof of address\". Ctrl-C ends everything; what was said and done stays.",
        elapsed(took),
        logs.display(),
    )
}
