//! `cargo xtask dev`: from a checkout to an agent that answers, in one command.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    console::{State, Worker},
    database::{self, SignIn, Where},
    devvars,
    pairing::Home,
    playground,
    process::{Running, pause},
    screen::{Screen, Step, elapsed},
    telegram::{self, Relay},
    tools::Tools,
    worker::{self, Purpose},
    workspace::{Workspace, lock_file, write},
};

const FIRST_PORT: u16 = 8787; // wrangler's own
const PORTS: u16 = 100;
const START: Duration = Duration::from_secs(90); // wrangler on a busy machine
const CONNECT: Duration = Duration::from_secs(30); // on loopback it takes a tenth of a second

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
    /// Take a bot's updates by long polling and hand them to the Worker here; the bot's token is read from `.dev.vars`
    #[arg(long)]
    telegram: bool,
    /// Show what every program says
    #[arg(long, short)]
    verbose: bool,
}

/// What the steps share.
struct Run<'a> {
    workspace: &'a Workspace,
    screen: Screen,
    tools: Tools,
    port: u16,
}

/// Prepares everything, runs it, and ends it all when asked to or when a part of it ends.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let started = Instant::now();
    let lock = lock_file(&workspace.state().join("lock")).context("locking .bernard")?;
    if lock.try_lock().is_err() {
        bail!("`cargo xtask dev` runs already in this folder; end that one first")
    }
    let screen = Screen::new(options.verbose);
    greet(workspace);
    let bot = options.telegram.then(|| telegram::Settings::of(workspace));
    let bot = bot.transpose()?;
    let root = root(workspace, options)?;
    let tools = Tools::ready(workspace, &screen)?;
    let port = port(workspace, options.port)?;
    let run = Run {
        workspace,
        screen,
        tools,
        port,
    };
    worker::build(workspace, &run.screen, &run.tools, Purpose::Trial)?;
    if !options.no_bridge {
        run.build_bridge()?;
    }
    database::migrate(workspace, &run.screen, &run.tools)?;
    let [link, ours] = database::sign_in_links(workspace, &run.screen, &run.tools, Where::Here)?;

    let mut children = vec![run.start_worker()?];
    let mut law = None;
    if !options.no_bridge {
        let home = Home::of(workspace);
        home.allow(workspace, &run.screen, &root)?;
        children.push(run.start_bridge(&home, &ours)?);
        law = Some(home.law(workspace)?);
    }
    let relay = bot.map(|bot| run.start_relay(bot)).transpose()?;
    let link = format!("{}{}", run.address(), link.path());
    println!(
        "{}",
        summary(workspace, &link, law.as_deref(), started.elapsed())
    );
    loop {
        pause()?;
        relay.as_ref().map_or(Ok(()), Relay::still_runs)?;
        for child in &mut children {
            child.still_runs()?;
        }
    }
}

fn greet(workspace: &Workspace) {
    let again = workspace.state().join("state").exists();
    let expected = if again {
        "a few seconds"
    } else {
        "the first takes about ten minutes"
    };
    println!("Bernard: preparing a development run ({expected})");
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

impl Run<'_> {
    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn build_bridge(&self) -> Result<()> {
        let there = self.workspace.bridge().is_file();
        let expected = if there {
            ""
        } else {
            "the first time about 3 minutes on two cores"
        };
        let build = self
            .workspace
            .cargo(["build", "--package", "local-bridge", "--locked"]);
        self.screen.run(
            self.workspace,
            ("the bridge built", expected),
            "bridge-build",
            build,
        )
    }

    fn start_worker(&self) -> Result<Running> {
        let port = self.port.to_string();
        let args = ["dev", "--local", "--ip", "127.0.0.1", "--port", &port];
        let mut wrangler = self.tools.wrangler(self.workspace, args)?;
        wrangler
            .arg("--show-interactive-dev-session=false")
            .arg("--persist-to")
            .arg(self.workspace.state().join("state"));
        let step = self
            .screen
            .step(&format!("the Worker started on 127.0.0.1:{port}"), "");
        let log = self.screen.output(self.workspace.log("wrangler"));
        let mut running = Running::start("wrangler dev", wrangler, log)?;
        let worker = Worker::at(&self.address());
        wait(step, &mut running, START, || Ok(worker.is_healthy()))?;
        Ok(running)
    }

    fn start_relay(&self, bot: telegram::Settings) -> Result<Relay> {
        let (relay, name) = Relay::start(bot, &self.address())?;
        println!("  ✓ @{name} is listened to; write to it on Telegram");
        Ok(relay)
    }

    fn start_bridge(&self, home: &Home, link: &SignIn) -> Result<Running> {
        let console = Worker::at(&self.address()).sign_in(link)?;
        home.pair(self.workspace, &self.screen, &console, &self.address())?;
        let step = self.screen.step("the bridge connected", "");
        let run = home.bridge(self.workspace, ["run"]);
        let log = self.screen.output(self.workspace.log("bridge"));
        let mut running = Running::start("local-bridge run", run, log)?;
        wait(step, &mut running, CONNECT, || {
            Ok(console
                .bridges()?
                .iter()
                .any(|bridge| bridge.state == State::Connected))
        })?;
        Ok(running)
    }
}

/// Waits until a child that was just started is ready.
fn wait(
    mut step: Step,
    child: &mut Running,
    patience: Duration,
    mut ready: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let began = Instant::now();
    while !ready()? {
        child.still_runs()?;
        if began.elapsed() > patience {
            bail!(child.complaint(&format!("was not ready within {}", elapsed(patience))))
        }
        step.tick();
        pause()?;
    }
    step.done();
    Ok(())
}

fn summary(workspace: &Workspace, link: &str, law: Option<&str>, took: Duration) -> String {
    let law = law.unwrap_or("none was started (--no-bridge)");
    let bridge: Vec<&str> = law.lines().collect();
    format!(
        "\nBernard is ready after {}.\n\n  \
         console  {link}\n           (signs one browser in, once, within 10 minutes)\n  \
         bridge   {}\n  \
         model    {}\n  \
         logs     {}\n\n\
         Try \"list my files\" or \"send me my proof of address\". Ctrl-C ends everything; what was said and done stays.",
        elapsed(took),
        bridge.join("\n           "),
        devvars::model(&workspace.root),
        workspace.state().join("logs").display(),
    )
}
