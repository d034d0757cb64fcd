//! `rathole` on loopback, encrypted with Noise: a tunnel that carries bytes and knows nothing of calls. It is measured where it is installed.

use super::echo::{Echo, Trips};
use std::env;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// Where to find it, if not on the `PATH`.
const WHERE: &str = "RATHOLE";

/// How long its two ends may take to find each other.
const PATIENCE: Duration = Duration::from_secs(10);

/// Both ends, and an echo behind them; they end with this value.
#[derive(Debug)]
pub(super) struct Rathole {
    /// Its version, as it says it.
    pub(super) version: String,
    address: SocketAddr,
    ends: [Child; 2],
    _echo: Echo,
}

impl Rathole {
    /// Starts both ends in this folder; nothing where it is not installed.
    pub(super) async fn start(folder: &Path) -> Option<Self> {
        let program = env::var_os(WHERE).map_or_else(|| PathBuf::from("rathole"), PathBuf::from);
        let version = said(&program, &["--version"])?;
        let keys = said(&program, &["--genkey"])?;
        let mut keys = keys.lines().filter(|line| line.ends_with('='));
        let (private, public) = (keys.next()?, keys.next()?);
        let (echo, tunnel, address) = (Echo::listen().await, free(), free());
        let server = format!(
            "[server]\nbind_addr = \"{tunnel}\"\ndefault_token = \"bench\"\n\
             [server.transport]\ntype = \"noise\"\n[server.transport.noise]\nlocal_private_key = \"{private}\"\n\
             [server.services.echo]\nbind_addr = \"{address}\"\n"
        );
        let client = format!(
            "[client]\nremote_addr = \"{tunnel}\"\ndefault_token = \"bench\"\n\
             [client.transport]\ntype = \"noise\"\n[client.transport.noise]\nremote_public_key = \"{public}\"\n\
             [client.services.echo]\nlocal_addr = \"{}\"\n",
            echo.address
        );
        let ends = [("--server", server), ("--client", client)].map(|(end, text)| {
            let config = folder.join(format!("rathole{end}.toml"));
            fs::write(&config, text).expect("our own folder takes a file");
            Command::new(&program)
                .arg(end)
                .arg(&config)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("a program that told its version starts")
        });
        let rathole = Self {
            version: numbered(&version),
            address,
            ends,
            _echo: echo,
        };
        rathole.is_ready().await.then_some(rathole)
    }

    /// The same as over loopback alone, through both ends.
    pub(super) async fn trips(&self, times: usize, length: usize, bytes: u64) -> Trips {
        Trips::through(self.address, times, length, bytes).await
    }

    async fn is_ready(&self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let trip = async {
                TcpStream::connect(self.address).await.ok()?;
                Trips::try_through(self.address, 1, 1).await
            };
            if let Ok(Some(_)) = tokio::time::timeout(Duration::from_secs(1), trip).await {
                return true;
            }
            sleep(Duration::from_millis(50)).await; // nobody tells when they have found each other
        }
        false
    }
}

impl Drop for Rathole {
    fn drop(&mut self) {
        for end in &mut self.ends {
            end.kill().ok();
            end.wait().ok();
        }
    }
}

fn said(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(said)
}

/// Its name and its version, of all that it tells of its build.
fn numbered(told: &str) -> String {
    let version = told.lines().find_map(|line| line.split_once("Version:"));
    format!(
        "rathole {}",
        version.map_or("", |(_, number)| number.trim())
    )
}

/// An address on loopback that was free a moment ago.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener
        .local_addr()
        .expect("a bound socket has an address")
}
