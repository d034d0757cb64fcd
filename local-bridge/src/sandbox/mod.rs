//! What a command can be fenced in with on this machine: all of it or nothing, never less without a word.
//!
//! The bridge starts itself again as `local-bridge __fenced …`. That process gives up everything which its [`Enclosure`] does not
//! name, looks whether it is really gone, and only then becomes the command's program. A restriction is never taken back, and
//! whatever the program starts has it too.
//!
//! On Linux a keeper stands between, `local-bridge __fenced --keep …`, with which all ends that the program began: also without a fence.

#[cfg(target_os = "linux")]
mod keeper;
mod limits;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(target_os = "macos", test))]
mod macos;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(target_os = "macos")]
use macos as system;

use crate::places::Root;
use crate::policy::{Command as Rule, Sandbox};
use cap_std::fs::MetadataExt as _;
use protocol::key::random_text;
use protocol::session::Access;
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

#[cfg(target_os = "linux")]
pub(crate) use keeper::forwarding;

/// Whether this system has a place for a keeper.
const KEEPS: bool = cfg!(target_os = "linux");

/// How a process ends that could not become the command's program.
pub const NOT_ENTERED: u8 = 125;

/// A program that every system has and that does nothing.
const IDLE_PROGRAMS: [&str; 2] = ["/bin/true", "/usr/bin/true"];

/// What this machine has to fence commands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fence {
    /// Nothing that could be enforced whole; this is why.
    Missing(String),
    /// Everything that a fence must have.
    Whole(Keeper),
}

/// The program that fences commands in, seen to do so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keeper {
    program: PathBuf,
    enforces: String,
}

/// A command must be fenced in and cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "sandbox_unavailable: {0}, and the policy demands a sandbox; with sandbox = \"none\" in policy.toml its owner can allow commands without one"
)]
pub struct NoFence(String);

/// The beginning of a command as the policy demands it, and how to know whether its program was reached.
#[derive(Debug)]
pub struct Start {
    /// The command: without further arguments, environment or folder.
    pub command: Command,
    /// What only the fence can say.
    pub seal: Seal,
    /// The process that begins is a keeper, with which all ends that the program began.
    pub kept: bool,
}

/// Tells what the fence says from what the program says: the program never learns the word.
#[derive(Debug)]
pub struct Seal(Option<String>);

/// A command that is to be fenced in.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The rule that holds its program.
    pub rule: &'a Rule,
    /// The folder that it works in.
    pub root: &'a Root,
    /// A folder for HOME and TMPDIR.
    pub scratch: &'a Path,
    /// How much of the processor's time each of its processes may take: as long as it may run.
    pub limit: Duration,
    /// Its input is a terminal, which becomes its own.
    pub terminal: bool,
}

/// All that a fenced command may reach, and what it is.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a word on a command line that only we write"
)]
pub struct Enclosure {
    /// A word that the program never learns, before all that the fence has to say
    #[arg(long)]
    token: String,
    /// The process with which the program ends, where the system can tie them
    #[arg(long)]
    parent: u32,
    /// The folder that the command may use
    #[arg(long, requires = "root_id")]
    root: Option<PathBuf>,
    /// Which folder that is, as DEVICE:INODE
    #[arg(long)]
    root_id: Option<String>,
    /// The folder may also be changed
    #[arg(long)]
    writable: bool,
    /// A folder for HOME and TMPDIR
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// The command may reach the network
    #[arg(long)]
    network: bool,
    /// Seconds of processor time for each process
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The terminal that is its input becomes its own
    #[arg(long)]
    terminal: bool,
    /// Stay between the bridge and the program, and end all that it began
    #[arg(long)]
    keep: bool,
    /// Give nothing up
    #[arg(long, requires = "keep")]
    bare: bool,
    /// The program
    #[arg(long)]
    program: PathBuf,
    /// Say what is enforced before the program begins
    #[arg(long)]
    tell: bool,
    /// The program's arguments, its own name first
    #[arg(last = true, required = true)]
    argv: Vec<OsString>,
}

/// Why a process did not become the command's program.
#[derive(Debug, thiserror::Error)]
pub enum NotEntered {
    /// A restriction cannot be enforced whole.
    #[error("no fence: {0}")]
    Unfenced(String),
    /// The program cannot be started.
    #[error("no start: {0}")]
    NotStarted(io::Error),
}

impl Fence {
    /// Looks at what this machine has, by fencing in a program that does nothing.
    pub fn find() -> Self {
        match own_program() {
            Ok(program) => Self::kept_by(&program),
            Err(error) => Self::Missing(format!("local-bridge cannot find itself: {error}")),
        }
    }

    /// The fence of a `local-bridge` that lies at `program`.
    pub fn kept_by(program: &Path) -> Self {
        match tried(program) {
            Ok(enforces) => Self::Whole(Keeper {
                program: program.to_owned(),
                enforces,
            }),
            Err(why) => Self::Missing(why),
        }
    }

    /// What a policy that is written here should demand.
    pub fn demand(&self) -> Sandbox {
        match self {
            Self::Missing(_) => Sandbox::None,
            Self::Whole(_) => Sandbox::Required,
        }
    }

    /// Whether commands can run at all under a policy's demand.
    pub fn allows(&self, wanted: Sandbox) -> bool {
        self.shortfall(wanted).is_none()
    }

    /// Why commands cannot run under a policy's demand.
    pub fn shortfall(&self, wanted: Sandbox) -> Option<NoFence> {
        match (self, wanted) {
            (_, Sandbox::None) | (Self::Whole(_), Sandbox::Required) => None,
            (Self::Missing(why), Sandbox::Required) => Some(NoFence(why.clone())),
        }
    }

    /// One line about what commands run behind under a policy's demand.
    pub fn told(&self, wanted: Sandbox) -> String {
        match (self, wanted) {
            (_, Sandbox::None) => {
                "commands run WITHOUT a sandbox, with all that your account can reach".to_owned()
            }
            (Self::Whole(keeper), Sandbox::Required) => {
                format!("commands run fenced in: {}", keeper.enforces)
            }
            (Self::Missing(why), Sandbox::Required) => {
                format!(
                    "commands are refused on this machine: {}",
                    NoFence(why.clone())
                )
            }
        }
    }

    /// The beginning of a command, as the policy demands it.
    pub fn command(&self, demand: Sandbox, wanted: Wanted<'_>) -> Result<Start, NoFence> {
        let rule = wanted.rule;
        match (self, demand) {
            (_, Sandbox::None) => self.free(rule, wanted.terminal),
            (Self::Missing(why), Sandbox::Required) => Err(NoFence(why.clone())),
            (Self::Whole(keeper), Sandbox::Required) => {
                let enclosure = Enclosure::of(wanted).map_err(NoFence)?;
                Ok(enclosure.start(&keeper.program))
            }
        }
    }

    /// A command without a fence, and with a keeper where there can be one.
    fn free(&self, rule: &Rule, terminal: bool) -> Result<Start, NoFence> {
        if let Some(keeper) = self.keeper() {
            let enclosure = Enclosure::bare(rule, terminal).map_err(NoFence)?;
            return Ok(enclosure.start(keeper));
        }
        let mut command = Command::new(&rule.program);
        command.arg0(&rule.argv[0]);
        Ok(Start {
            command,
            seal: Seal(None),
            kept: false,
        })
    }

    /// Whether what a command began ends with it and with the bridge, whatever it does, also without a fence.
    pub fn keeps(&self) -> bool {
        self.keeper().is_some()
    }

    /// The program that can stand between, where the system has a place for it.
    fn keeper(&self) -> Option<&Path> {
        match self {
            _ if !KEEPS => None,
            Self::Whole(keeper) => Some(&keeper.program),
            Self::Missing(_) => {
                static OWN: OnceLock<Option<PathBuf>> = OnceLock::new();
                OWN.get_or_init(own_keeper).as_deref()
            }
        }
    }
}

impl Seal {
    /// Why the program was not reached, if it was not: its exit code and what stands on its stderr.
    pub fn broken(&self, code: Option<i32>, stderr: &str) -> Option<Unreached> {
        let token = self.0.as_deref()?;
        if code != Some(NOT_ENTERED.into()) {
            return None;
        }
        let said = stderr.strip_prefix(token)?.trim();
        Some(match said.strip_prefix("no fence: ") {
            Some(why) => Unreached::NoFence(NoFence(why.to_owned())),
            None => Unreached::NotStarted(said.trim_start_matches("no start: ").to_owned()),
        })
    }
}

/// Why a fenced command's program was not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreached {
    /// It could not be fenced in.
    NoFence(NoFence),
    /// It could not be started.
    NotStarted(String),
}

impl Enclosure {
    fn of(wanted: Wanted<'_>) -> Result<Self, String> {
        let Wanted { rule, root, .. } = wanted;
        let metadata = root.dir.dir_metadata();
        let metadata = metadata.map_err(|error| format!("{}: {error}", root.path.display()))?;
        Ok(Self {
            token: random_text().map_err(|error| error.to_string())?,
            parent: std::process::id(),
            root: Some(root.path.clone()),
            root_id: Some(format!("{}:{}", metadata.dev(), metadata.ino())),
            writable: root.access >= Access::Write,
            scratch: Some(wanted.scratch.to_owned()),
            network: rule.network,
            seconds: wanted.limit.as_secs().max(1),
            terminal: wanted.terminal,
            keep: KEEPS,
            bare: false,
            program: rule.program.clone(),
            tell: false,
            argv: vec![OsString::from(&rule.argv[0])],
        })
    }

    /// What gives nothing up.
    fn bare(rule: &Rule, terminal: bool) -> Result<Self, String> {
        Ok(Self {
            terminal,
            keep: true,
            bare: true,
            ..Self::closed(&rule.program, vec![OsString::from(&rule.argv[0])])?
        })
    }

    /// What opens nothing.
    fn closed(program: &Path, argv: Vec<OsString>) -> Result<Self, String> {
        Ok(Self {
            token: random_text().map_err(|error| error.to_string())?,
            parent: std::process::id(),
            root: None,
            root_id: None,
            writable: false,
            scratch: None,
            network: false,
            seconds: 60,
            terminal: false,
            keep: false,
            bare: false,
            program: program.to_owned(),
            tell: false,
            argv,
        })
    }

    fn start(&self, keeper: &Path) -> Start {
        Start {
            command: self.command(keeper),
            seal: Seal(Some(self.token.clone())),
            kept: self.keep,
        }
    }

    fn command(&self, keeper: &Path) -> Command {
        let mut command = Command::new(keeper);
        // One word each: a token may begin with '-'.
        command
            .arg("__fenced")
            .arg(format!("--token={}", self.token))
            .arg(format!("--parent={}", self.parent));
        for (name, path) in [("--root", &self.root), ("--scratch", &self.scratch)] {
            if let Some(path) = path {
                command.arg(name).arg(path);
            }
        }
        if let Some(id) = &self.root_id {
            command.arg("--root-id").arg(id);
        }
        for (name, given) in [
            ("--writable", self.writable),
            ("--network", self.network),
            ("--terminal", self.terminal),
            ("--keep", self.keep),
            ("--bare", self.bare),
            ("--tell", self.tell),
        ] {
            command.args(given.then_some(name));
        }
        command.arg("--seconds").arg(self.seconds.to_string());
        command.arg("--program").arg(&self.program);
        command.arg("--").args(&self.argv);
        command
    }

    /// The number of the open file that is the program, where it is one.
    #[cfg(target_os = "linux")]
    fn handle(&self) -> Option<i32> {
        let handle = self.program.strip_prefix("/proc/self/fd").ok()?;
        handle.to_str()?.parse().ok()
    }

    /// What a process says that could not enter.
    pub fn report(&self, why: &NotEntered) -> String {
        format!("{} {why}", self.token)
    }

    /// The folder, opened, and seen to be the one that the policy means: a command before may have put another in its place.
    fn opened_root(&self) -> Result<Option<File>, NotEntered> {
        let Some(path) = &self.root else {
            return Ok(None);
        };
        let unfit = |why: String| NotEntered::Unfenced(format!("{}: {why}", path.display()));
        let folder = File::open(path).map_err(|error| unfit(error.to_string()))?;
        let metadata = folder
            .metadata()
            .map_err(|error| unfit(error.to_string()))?;
        let id = format!("{}:{}", metadata.dev(), metadata.ino());
        if !metadata.is_dir() || self.root_id.as_deref() != Some(&id) {
            return Err(unfit("another folder has taken its place".to_owned()));
        }
        Ok(Some(folder))
    }
}

/// Gives up everything that the enclosure does not name and becomes its program. Returns only if that cannot be.
pub fn enter(enclosure: &Enclosure) -> NotEntered {
    match entered(enclosure) {
        Ok(never) => match never {},
        Err(why) => why,
    }
}

fn entered(enclosure: &Enclosure) -> Result<Infallible, NotEntered> {
    #[cfg(target_os = "linux")]
    if enclosure.keep {
        return keeper::keep(enclosure);
    }
    // What the bridge itself was started with may be open without its knowing: a terminal's or an editor's files.
    close_fds::set_fds_cloexec(3, &[]);
    if enclosure.terminal {
        take_terminal().map_err(NotEntered::NotStarted)?;
    }
    limits::set(enclosure.seconds)
        .map_err(|error| NotEntered::Unfenced(format!("limits: {error}")))?;
    let (mut command, enforces) = system::fenced(enclosure)?;
    if enclosure.tell {
        println!("{} {enforces}", enclosure.token);
    }
    Err(NotEntered::NotStarted(command.exec()))
}

/// Begins a session, which is a process group as well, whose terminal is the input; the one that the bridge was started in is left behind.
fn take_terminal() -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::ioctl_tiocsctty(io::stdin())?;
    Ok(())
}

/// The running program, whatever has become of its file since.
#[cfg(target_os = "linux")]
#[expect(clippy::unnecessary_wraps, reason = "other systems must ask")]
fn own_program() -> io::Result<PathBuf> {
    Ok(PathBuf::from("/proc/self/exe"))
}

/// The running program.
#[cfg(not(target_os = "linux"))]
fn own_program() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// What the fence enforces, in its own words; else why there is none.
fn tried(keeper: &Path) -> Result<String, String> {
    let mut idle = IDLE_PROGRAMS.into_iter().map(Path::new);
    let idle = idle
        .find(|path| path.exists())
        .ok_or("there is no /bin/true to try it with")?;
    let (token, output) = tried_with(keeper, idle, &["true"])?;
    let enforces = judged(&token, &output)?;
    // Where the restricted process is not ours, it cannot look for itself.
    let (_, output) = tried_with(keeper, Path::new("/bin/cat"), &["cat", "/etc/hosts"])?;
    if output.status.success() {
        return Err("files can be read although the sandbox forbids it".to_owned());
    }
    Ok(enforces)
}

fn tried_with(keeper: &Path, program: &Path, argv: &[&str]) -> Result<(String, Output), String> {
    let argv = argv.iter().map(OsString::from).collect();
    let enclosure = Enclosure {
        keep: KEEPS,
        tell: true,
        ..Enclosure::closed(program, argv)?
    };
    let mut command = enclosure.command(keeper);
    let command = command.env_clear().current_dir("/").stdin(Stdio::null());
    let output = command.output().map_err(|error| error.to_string())?;
    Ok((enclosure.token, output))
}

/// This very program, if it stands between as it should.
fn own_keeper() -> Option<PathBuf> {
    let own = own_program().ok()?;
    // A shell tells how it ended; a program that is not local-bridge does not end so.
    let argv = ["sh", "-c", "exit 7"].map(OsString::from).to_vec();
    let enclosure = Enclosure {
        keep: true,
        bare: true,
        ..Enclosure::closed(Path::new("/bin/sh"), argv).ok()?
    };
    let output = enclosure.command(&own).stdin(Stdio::null()).output().ok()?;
    (output.status.code() == Some(7)).then_some(own)
}

fn judged(token: &str, output: &Output) -> Result<String, String> {
    let said = String::from_utf8_lossy(&output.stdout);
    let told = said.lines().find_map(|line| line.strip_prefix(token));
    if let (true, Some(enforces)) = (output.status.success(), told) {
        return Ok(enforces.trim().to_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let seal = Seal(Some(token.to_owned()));
    Err(match seal.broken(output.status.code(), &errors) {
        Some(Unreached::NoFence(NoFence(why)) | Unreached::NotStarted(why)) => why,
        None => "this system offers no sandbox that local-bridge can enforce".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_fence_can_say_that_the_program_was_not_reached() {
        let seal = Seal(Some("word".to_owned()));
        let unfenced = NotEntered::Unfenced("no Landlock".to_owned());
        let said = format!("word {unfenced}\n");
        let broken = Unreached::NoFence(NoFence("no Landlock".to_owned()));
        assert_eq!(seal.broken(Some(125), &said), Some(broken));
        let start = NotEntered::NotStarted(io::Error::other("bad format"));
        let broken = Unreached::NotStarted("bad format".to_owned());
        let said = format!("word {start}\n");
        assert_eq!(seal.broken(Some(125), &said), Some(broken));
        assert_eq!(seal.broken(Some(1), &said), None);
        assert_eq!(
            seal.broken(Some(125), "no fence: said by the program"),
            None
        );
        assert_eq!(Seal(None).broken(Some(125), &said), None);
    }

    #[test]
    fn a_program_that_only_ends_well_is_no_fence() {
        // It ends with 0 whatever it is told, and restricts nothing.
        let missing = "this system offers no sandbox that local-bridge can enforce".to_owned();
        let fence = Fence::kept_by(Path::new("/bin/true"));
        assert_eq!(fence, Fence::Missing(missing));
        assert_eq!(fence.demand(), Sandbox::None);
        assert!(!fence.allows(Sandbox::Required));
    }
}
