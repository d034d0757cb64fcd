//! The bridge as a service of its owner's account: a systemd user unit on Linux, a launchd agent on macOS, written, started and taken away.
//!
//! What the unit forbids holds for the bridge itself and for every command; the fence of a command ([`crate::sandbox`]) comes on top.

use crate::home::{Broken, Home};
use crate::policy::{Policy, Sandbox, Unfit};
use protocol::key::sha256_hex;
use protocol::session::Access;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The mark by which a file is known to be ours to replace and to remove.
const MARK: &str = "Written by `local-bridge install`; `local-bridge uninstall` takes it away.";

/// Folders of keys, below the account's home: nothing that the bridge does needs them.
const KEYS: [&str; 7] = [
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".password-store",
    ".local/share/keyrings",
];

/// What runs when someone logs in, below the account's home: nothing that the bridge does changes it.
const STARTED: [&str; 7] = [
    ".config/systemd",
    ".config/autostart",
    ".profile",
    ".bash_profile",
    ".bashrc",
    ".zshenv",
    ".zshrc",
];

/// Who starts services for an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// systemd's user manager.
    Systemd,
    /// macOS.
    Launchd,
}

/// All that a service's file is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The program.
    pub program: PathBuf,
    /// The bridge's folder.
    pub home: PathBuf,
    /// The account's home folder.
    pub account: PathBuf,
    /// The account's number.
    pub uid: u32,
    /// The folders that the policy opens, and whether they may be changed.
    pub roots: Vec<(PathBuf, bool)>,
    /// Commands are fenced in; else they are meant to have all that the account can reach.
    pub fenced: bool,
    /// The system can show a service of this account another view of the disk.
    pub views: bool,
}

/// A service's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Whose it is.
    pub system: System,
    /// What the system calls the service.
    pub name: String,
    /// Where the file lies.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// Why nothing was installed or removed.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// It would have the whole machine.
    #[error("local-bridge is not installed for root: log in as the one whose files it may use")]
    Root,
    /// The home is not in order, or nothing is paired.
    #[error(transparent)]
    Home(#[from] Broken),
    /// The policy is broken.
    #[error("the policy must be right first: {0}")]
    Policy(#[from] Unfit),
    /// One was started by hand.
    #[error(
        "a local-bridge that was started by hand is running; stop it first (Ctrl-C, or: kill {0})"
    )]
    ByHand(u32),
    /// A path cannot be written into a service's file.
    #[error("'{0}' cannot stand in a service's file: it is not plain text")]
    Odd(PathBuf),
    /// A file lies in the way.
    #[error("{0} was not written by local-bridge; move it away first")]
    Foreign(PathBuf),
    /// There is no file.
    #[error("not installed: there is no {0}")]
    Absent(PathBuf),
    /// A file could not be read or written.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// The system said no.
    #[error("{0}")]
    System(String),
}

/// Runs a program of the system's and gives what it prints, or why it failed.
pub type Runner<'a> = &'a mut dyn FnMut(&[&str]) -> Result<String, String>;

impl System {
    /// The one of this machine.
    pub fn own() -> Self {
        if cfg!(target_os = "macos") {
            Self::Launchd
        } else {
            Self::Systemd
        }
    }
}

impl Plan {
    /// What a service needs for a home whose policy is this.
    pub fn new(home: &Home, policy: &Policy, program: PathBuf, account: PathBuf, uid: u32) -> Self {
        let roots = policy.roots.iter();
        let roots = roots.map(|root| (root.path.clone(), root.access >= Access::Append));
        let runs = policy.shown_commands();
        Self {
            program,
            home: home.path().to_owned(),
            account,
            uid,
            roots: roots.collect(),
            fenced: policy.sandbox == Sandbox::Required || runs.is_empty(),
            views: false,
        }
    }

    /// The file that this system wants.
    pub fn service(&self, system: System) -> Result<Service, NotDone> {
        let suffix = if self.home == self.account.join(".bernard") {
            String::new()
        } else {
            let home = sha256_hex(self.home.as_os_str().as_encoded_bytes());
            format!("-{}", &home[..8]) // several homes, several services
        };
        let (name, path, text) = match system {
            System::Systemd => {
                let name = format!("local-bridge{suffix}.service");
                let path = self.account.join(".config/systemd/user").join(&name);
                (name, path, self.unit()?)
            }
            System::Launchd => {
                let name = format!("bernard.local-bridge{suffix}");
                let folder = self.account.join("Library/LaunchAgents");
                let text = self.agent(&name)?;
                let path = folder.join(format!("{name}.plist"));
                (name, path, text)
            }
        };
        Ok(Service {
            system,
            name,
            path,
            text,
        })
    }

    fn unit(&self) -> Result<String, NotDone> {
        let word = |path: &Path| Ok::<_, NotDone>(quoted(plain(path)?).replace('$', "$$"));
        let (program, home) = (word(&self.program)?, word(&self.home)?);
        let view = self.view()?;
        Ok(format!(
            "# {MARK}
[Unit]
Description=Bernard's local-bridge: carries out signed actions on this machine, and only dials out
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={program} --home {home} run --log-file
# Again and again, at first after two seconds, at last every minute.
Restart=always
RestartSec=2
RestartSteps=6
RestartMaxDelaySec=60
TimeoutStopSec=10
# A command that takes too much memory ends alone.
OOMPolicy=continue
MemoryMax=4G
TasksMax=1024
LimitCORE=0
NoNewPrivileges=yes
LockPersonality=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=~@clock @cpu-emulation @debug @module @mount @obsolete @raw-io @reboot @swap
# Not RestrictSUIDSGID: it takes openat2 away, which keeps paths below their folders.
# Not MemoryDenyWriteExecute: programs that commands may start need it off.
{view}
[Install]
WantedBy=default.target
"
        ))
    }

    /// What the service sees of the disk.
    fn view(&self) -> Result<String, NotDone> {
        if !self.fenced {
            return Ok(
                "# sandbox = \"none\": commands are meant to reach all that the account can.\n"
                    .to_owned(),
            );
        }
        if !self.views {
            return Ok("# No view of its own of the disk: this system has none for an account's services.\n".to_owned());
        }
        let mut text =
            "ProtectSystem=strict\nProtectKernelTunables=yes\nProtectControlGroups=yes\n"
                .to_owned();
        let temporary = |path: &PathBuf| path.starts_with("/tmp") || path.starts_with("/var/tmp");
        let mut places = self.roots.iter().map(|(path, _)| path).chain([&self.home]);
        if !places.any(temporary) {
            text.push_str("PrivateTmp=yes\n");
        }
        for path in self.changed() {
            // A folder that is not there, such as a disk's that is not plugged in, keeps nothing from starting.
            line(&mut text, "ReadWritePaths", path)?;
        }
        for name in KEYS {
            line(&mut text, "InaccessiblePaths", &self.account.join(name))?;
        }
        for name in STARTED {
            line(&mut text, "ReadOnlyPaths", &self.account.join(name))?;
        }
        Ok(text)
    }

    /// What the service may change. Where it may change anything of the account's, it is given the account's home in one piece: the
    /// trash lies there, and nothing is moved from one piece to another.
    fn changed(&self) -> Vec<&Path> {
        let writable = self.roots.iter().filter(|(_, writable)| *writable);
        let writable: Vec<&Path> = writable.map(|(path, _)| path.as_path()).collect();
        let mut changed: Vec<&Path> = Vec::new();
        if !writable.is_empty() {
            changed.push(&self.account);
        }
        for path in writable.into_iter().chain([self.home.as_path()]) {
            if !changed.iter().any(|above| path.starts_with(above)) {
                changed.push(path);
            }
        }
        changed
    }

    fn agent(&self, label: &str) -> Result<String, NotDone> {
        let (program, home) = (escaped(plain(&self.program)?), escaped(plain(&self.home)?));
        Ok(format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- {MARK} -->
<plist version="1.0">
<dict>
    <key>Label</key>
    <string>{label}</string>
    <key>ProgramArguments</key>
    <array>
        <string>{program}</string>
        <string>--home</string>
        <string>{home}</string>
        <string>run</string>
        <string>--log-file</string>
    </array>
    <key>RunAtLoad</key>
    <true/>
    <key>KeepAlive</key>
    <true/>
    <key>ThrottleInterval</key>
    <integer>10</integer>
    <key>ProcessType</key>
    <string>Background</string>
    <key>HardResourceLimits</key>
    <dict>
        <key>Core</key>
        <integer>0</integer>
    </dict>
</dict>
</plist>
"#
        ))
    }
}

/// Looks whether a home may be made a service of at all.
pub fn ready(home: &Home, uid: u32) -> Result<Policy, NotDone> {
    if uid == 0 {
        return Err(NotDone::Root);
    }
    home.pairing()?.ok_or(Broken::NotPaired)?;
    home.key()?.ok_or(Broken::NotPaired)?;
    if !home.policy().exists() {
        return Ok(Policy::nothing());
    }
    Ok(Policy::read(home)?)
}

/// Whether the system can give a service of this account a view of the disk: it takes namespaces that some systems forbid.
pub fn views(system: System, run: Runner<'_>) -> bool {
    match system {
        System::Systemd => run(&[
            "systemd-run",
            "--user",
            "--quiet",
            "--wait",
            "--collect",
            "--property=ProtectSystem=strict",
            "true",
        ])
        .is_ok(),
        System::Launchd => false,
    }
}

impl Service {
    /// Whether its file is there, as anyone wrote it.
    pub fn written(&self) -> Option<String> {
        fs::read_to_string(&self.path).ok()
    }

    /// Whether it runs, as far as the system says.
    pub fn active(&self, run: Runner<'_>) -> Option<bool> {
        match self.system {
            System::Systemd => match run(&["systemctl", "--user", "is-active", &self.name]) {
                Ok(_) => Some(true),
                // "activating" as well: it has ended and is about to be started again.
                Err(why) if why.contains("activ") || why.contains("failed") => Some(false),
                Err(_) => None,
            },
            System::Launchd => Some(run(&["launchctl", "list", &self.name]).is_ok()),
        }
    }

    /// Writes the file and starts the service; gives what its owner should know.
    pub fn install(&self, uid: u32, run: Runner<'_>) -> Result<Vec<String>, NotDone> {
        self.ours()?;
        let io = |error| NotDone::Io(self.path.clone(), error);
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(io)?;
        }
        fs::write(&self.path, &self.text).map_err(io)?;
        let mut told = vec![format!("wrote {}", self.path.display())];
        match self.system {
            System::Systemd => self.enable(uid, run, &mut told)?,
            System::Launchd => self.bootstrap(uid, run, &mut told)?,
        }
        Ok(told)
    }

    fn enable(&self, uid: u32, run: Runner<'_>, told: &mut Vec<String>) -> Result<(), NotDone> {
        if run(&["systemctl", "--user", "show-environment"]).is_err() {
            told.push(format!(
                "systemd's user manager does not answer here, so nothing was started. Where it does, run:\n  systemctl --user daemon-reload\n  systemctl --user enable --now {0}\nWithout systemd, start this with the machine: {1}",
                self.name,
                self.text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap_or_default()
            ));
            return Ok(());
        }
        for words in [
            &["systemctl", "--user", "daemon-reload"][..],
            &["systemctl", "--user", "enable", &self.name],
            &["systemctl", "--user", "restart", &self.name],
        ] {
            run(words).map_err(|why| {
                NotDone::System(format!(
                    "{}: {}; see: journalctl --user -u {}",
                    words.join(" "),
                    why.trim(),
                    self.name
                ))
            })?;
        }
        told.push(format!(
            "started {}; it starts again whenever you log in",
            self.name
        ));
        let uid = uid.to_string();
        let lingers = run(&[
            "loginctl",
            "show-user",
            &uid,
            "--property=Linger",
            "--value",
        ]);
        if !lingers.is_ok_and(|answer| answer.trim() == "yes") {
            told.push(
                "it ends when you log out; to let it run from boot on: loginctl enable-linger"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn bootstrap(&self, uid: u32, run: Runner<'_>, told: &mut Vec<String>) -> Result<(), NotDone> {
        let domain = format!("gui/{uid}");
        let path = self.path.to_string_lossy();
        // One that is there already is loaded anew; that there is none is no failure.
        run(&["launchctl", "bootout", &format!("{domain}/{}", self.name)]).ok();
        run(&["launchctl", "bootstrap", &domain, &path]).map_err(|why| {
            NotDone::System(format!(
                "launchctl bootstrap {domain} {path}: {}; it takes a login at the screen, not only by ssh",
                why.trim()
            ))
        })?;
        told.push(format!(
            "started {}; it starts again whenever you log in",
            self.name
        ));
        Ok(())
    }

    /// Stops the service and removes its file; gives what its owner should know.
    pub fn uninstall(&self, uid: u32, run: Runner<'_>) -> Result<Vec<String>, NotDone> {
        if self.written().is_none() {
            return Err(NotDone::Absent(self.path.clone()));
        }
        self.ours()?;
        let stopped = match self.system {
            System::Systemd => run(&["systemctl", "--user", "disable", "--now", &self.name]),
            System::Launchd => run(&["launchctl", "bootout", &format!("gui/{uid}/{}", self.name)]),
        };
        fs::remove_file(&self.path).map_err(|error| NotDone::Io(self.path.clone(), error))?;
        if self.system == System::Systemd {
            run(&["systemctl", "--user", "daemon-reload"]).ok();
        }
        Ok(vec![
            match stopped {
                Ok(_) => format!("stopped {}", self.name),
                Err(why) => format!("{} was not running ({})", self.name, why.trim()),
            },
            format!("removed {}", self.path.display()),
        ])
    }

    fn ours(&self) -> Result<(), NotDone> {
        match fs::read_to_string(&self.path) {
            Ok(text) if text.contains(MARK) => Ok(()),
            Ok(_) => Err(NotDone::Foreign(self.path.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(NotDone::Io(self.path.clone(), error)),
        }
    }
}

/// Runs a program of the system's and gives what it prints, or why it failed.
pub fn ask_system(words: &[&str]) -> Result<String, String> {
    let [program, arguments @ ..] = words else {
        return Err("no program".to_owned());
    };
    let mut command = Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr)))
}

fn line(text: &mut String, key: &str, path: &Path) -> Result<(), NotDone> {
    let path = format!("-{}", plain(path)?);
    let _infallible = writeln!(text, "{key}={}", quoted(&path));
    Ok(())
}

fn plain(path: &Path) -> Result<&str, NotDone> {
    let text = path
        .to_str()
        .filter(|text| !text.contains(char::is_control));
    text.ok_or_else(|| NotDone::Odd(path.to_owned()))
}

/// One word of a unit file.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace('%', "%%"))
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            program: "/usr/local/bin/local-bridge".into(),
            home: "/home/anna/.bernard".into(),
            account: "/home/anna".into(),
            uid: 1000,
            roots: vec![
                ("/home/anna/Documents".into(), true),
                ("/srv/100% ours".into(), true),
                ("/srv/read".into(), false),
            ],
            fenced: true,
            views: true,
        }
    }

    const BEGIN: &str = r#"# Written by `local-bridge install`; `local-bridge uninstall` takes it away.
[Unit]
Description=Bernard's local-bridge: carries out signed actions on this machine, and only dials out
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart="/usr/local/bin/local-bridge" --home "/home/anna/.bernard" run --log-file
# Again and again, at first after two seconds, at last every minute.
Restart=always
RestartSec=2
RestartSteps=6
RestartMaxDelaySec=60
TimeoutStopSec=10
# A command that takes too much memory ends alone.
OOMPolicy=continue
MemoryMax=4G
TasksMax=1024
LimitCORE=0
NoNewPrivileges=yes
LockPersonality=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=~@clock @cpu-emulation @debug @module @mount @obsolete @raw-io @reboot @swap
# Not RestrictSUIDSGID: it takes openat2 away, which keeps paths below their folders.
# Not MemoryDenyWriteExecute: programs that commands may start need it off.
"#;

    const VIEW: &str = r#"ProtectSystem=strict
ProtectKernelTunables=yes
ProtectControlGroups=yes
PrivateTmp=yes
ReadWritePaths="-/home/anna"
ReadWritePaths="-/srv/100%% ours"
InaccessiblePaths="-/home/anna/.ssh"
InaccessiblePaths="-/home/anna/.gnupg"
InaccessiblePaths="-/home/anna/.aws"
InaccessiblePaths="-/home/anna/.azure"
InaccessiblePaths="-/home/anna/.kube"
InaccessiblePaths="-/home/anna/.password-store"
InaccessiblePaths="-/home/anna/.local/share/keyrings"
ReadOnlyPaths="-/home/anna/.config/systemd"
ReadOnlyPaths="-/home/anna/.config/autostart"
ReadOnlyPaths="-/home/anna/.profile"
ReadOnlyPaths="-/home/anna/.bash_profile"
ReadOnlyPaths="-/home/anna/.bashrc"
ReadOnlyPaths="-/home/anna/.zshenv"
ReadOnlyPaths="-/home/anna/.zshrc"
"#;

    const END: &str = "\n[Install]\nWantedBy=default.target\n";

    fn service(plan: &Plan, system: System) -> Service {
        plan.service(system).unwrap()
    }

    #[test]
    fn the_unit_for_systemd_is_this_one() {
        let expected = Service {
            system: System::Systemd,
            name: "local-bridge.service".into(),
            path: "/home/anna/.config/systemd/user/local-bridge.service".into(),
            text: format!("{BEGIN}{VIEW}{END}"),
        };
        assert_eq!(service(&plan(), System::Systemd), expected);
    }

    #[test]
    fn a_unit_without_a_view_of_its_own_says_why() {
        let plan = |fenced, views| Plan {
            fenced,
            views,
            ..plan()
        };
        let text = |plan| service(&plan, System::Systemd).text;
        let why =
            "# No view of its own of the disk: this system has none for an account's services.\n";
        assert_eq!(text(plan(true, false)), format!("{BEGIN}{why}{END}"));
        let why = "# sandbox = \"none\": commands are meant to reach all that the account can.\n";
        assert_eq!(text(plan(false, true)), format!("{BEGIN}{why}{END}"));
    }

    #[test]
    fn a_bridge_that_only_reads_can_change_its_own_folder_alone() {
        let mut plan = plan();
        plan.roots.retain(|(_, writable)| !writable);
        assert_eq!(plan.changed(), [Path::new("/home/anna/.bernard")]);
        plan.home = "/tmp/home".into();
        let text = service(&plan, System::Systemd).text;
        assert!(!text.contains("PrivateTmp"), "its home lies there");
        assert!(text.contains("ReadWritePaths=\"-/tmp/home\"\nInaccessible"));
    }

    #[test]
    fn the_agent_for_launchd_is_this_one() {
        let plan = Plan {
            account: "/Users/anna".into(),
            home: "/Users/anna/R&D <1>".into(),
            ..plan()
        };
        let expected = Service {
            system: System::Launchd,
            name: "bernard.local-bridge-deeaf5fb".into(),
            path: "/Users/anna/Library/LaunchAgents/bernard.local-bridge-deeaf5fb.plist".into(),
            text: r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- Written by `local-bridge install`; `local-bridge uninstall` takes it away. -->
<plist version="1.0">
<dict>
    <key>Label</key>
    <string>bernard.local-bridge-deeaf5fb</string>
    <key>ProgramArguments</key>
    <array>
        <string>/usr/local/bin/local-bridge</string>
        <string>--home</string>
        <string>/Users/anna/R&amp;D &lt;1&gt;</string>
        <string>run</string>
        <string>--log-file</string>
    </array>
    <key>RunAtLoad</key>
    <true/>
    <key>KeepAlive</key>
    <true/>
    <key>ThrottleInterval</key>
    <integer>10</integer>
    <key>ProcessType</key>
    <string>Background</string>
    <key>HardResourceLimits</key>
    <dict>
        <key>Core</key>
        <integer>0</integer>
    </dict>
</dict>
</plist>
"#
            .into(),
        };
        assert_eq!(service(&plan, System::Launchd), expected);
    }

    #[test]
    fn paths_are_quoted_as_systemd_reads_them() {
        let plan = Plan {
            program: "/opt/a \"b\" $HOME %h\\c".into(),
            ..plan()
        };
        let text = service(&plan, System::Systemd).text;
        let start = text.lines().find(|line| line.starts_with("ExecStart="));
        let expected =
            r#"ExecStart="/opt/a \"b\" $$HOME %%h\\c" --home "/home/anna/.bernard" run --log-file"#;
        assert_eq!(start, Some(expected));
        let plan = Plan {
            home: "/home/anna/a\nExecStartPre=b".into(),
            ..plan
        };
        assert!(matches!(
            plan.service(System::Systemd),
            Err(NotDone::Odd(_))
        ));
    }

    #[test]
    fn systemd_itself_finds_nothing_wrong_with_the_unit() {
        let folder = tempfile::tempdir().unwrap();
        let plan = Plan {
            program: "/bin/true".into(),
            ..plan()
        };
        let unit = folder.path().join("local-bridge.service");
        fs::write(&unit, service(&plan, System::Systemd).text).unwrap();
        let verify = |path: &Path| {
            let mut verify = Command::new("systemd-analyze");
            verify.args(["--user", "--man=no", "verify"]).arg(path);
            let ran = verify.env("XDG_RUNTIME_DIR", folder.path()).output();
            ran.map(|output| String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let Ok(said) = verify(&unit) else {
            println!("skipped: there is no systemd-analyze");
            return;
        };
        // What only a newer systemd knows is passed over; what is about other units of this machine is not ours.
        let newer = ["RestartSteps", "RestartMaxDelaySec"];
        let complaints = |said: &str| {
            let ours = said.lines().filter(|line| {
                line.contains("local-bridge.service") && !newer.iter().any(|key| line.contains(key))
            });
            ours.count()
        };
        assert_eq!(complaints(&said), 0, "{said}");
        let wrong = folder.path().join("wrong").join("local-bridge.service");
        fs::create_dir(folder.path().join("wrong")).unwrap();
        fs::write(
            &wrong,
            "[Service]\nExecStart=/bin/true\nProtectSystem=very\n",
        )
        .unwrap();
        assert_eq!(complaints(&verify(&wrong).unwrap()), 1, "it does look");
    }

    /// Notes what is run and answers as `answer` says.
    fn noted<'a>(
        ran: &'a mut Vec<String>,
        answer: impl Fn(&str) -> Result<String, String> + 'a,
    ) -> impl FnMut(&[&str]) -> Result<String, String> + 'a {
        move |words| {
            ran.push(words.join(" "));
            answer(words[1])
        }
    }

    fn in_folder(folder: &Path) -> Service {
        Service {
            path: folder.join("units/local-bridge.service"),
            ..service(&plan(), System::Systemd)
        }
    }

    #[test]
    fn a_service_is_written_started_and_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let service = in_folder(folder.path());
        let mut ran = Vec::new();
        let told = service
            .install(1000, &mut noted(&mut ran, |_| Ok("no\n".into())))
            .unwrap();
        assert_eq!(
            ran,
            [
                "systemctl --user show-environment",
                "systemctl --user daemon-reload",
                "systemctl --user enable local-bridge.service",
                "systemctl --user restart local-bridge.service",
                "loginctl show-user 1000 --property=Linger --value",
            ]
        );
        assert_eq!(
            told,
            [
                format!("wrote {}", service.path.display()),
                "started local-bridge.service; it starts again whenever you log in".to_owned(),
                "it ends when you log out; to let it run from boot on: loginctl enable-linger"
                    .to_owned(),
            ]
        );
        assert_eq!(service.written(), Some(service.text.clone()));
        let mut ran = Vec::new();
        let told = service
            .uninstall(1000, &mut noted(&mut ran, |_| Ok(String::new())))
            .unwrap();
        assert_eq!(
            ran,
            [
                "systemctl --user disable --now local-bridge.service",
                "systemctl --user daemon-reload",
            ]
        );
        let removed = format!("removed {}", service.path.display());
        assert_eq!(told, ["stopped local-bridge.service".to_owned(), removed]);
        assert_eq!(service.written(), None);
        let again = service.uninstall(1000, &mut |_| Ok(String::new()));
        assert!(matches!(again, Err(NotDone::Absent(_))), "{again:?}");
    }

    #[test]
    fn without_a_user_manager_the_owner_is_told_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let service = in_folder(folder.path());
        let mut ran = Vec::new();
        let told = service
            .install(1000, &mut noted(&mut ran, |_| Err("no bus".into())))
            .unwrap();
        assert_eq!(ran, ["systemctl --user show-environment"]);
        assert!(told[1].contains("systemctl --user enable --now local-bridge.service"));
        assert!(told[1].ends_with("--home \"/home/anna/.bernard\" run --log-file"));
    }

    #[test]
    fn a_service_that_is_about_to_be_started_again_does_not_run() {
        let service = service(&plan(), System::Systemd);
        let active = |answer: Result<&str, &str>| {
            let answer = answer.map(str::to_owned).map_err(str::to_owned);
            service.active(&mut |_: &[&str]| answer.clone())
        };
        assert_eq!(active(Ok("active\n")), Some(true));
        for word in ["inactive\n", "activating\n", "failed\n"] {
            assert_eq!(active(Err(word)), Some(false), "{word}");
        }
        assert_eq!(active(Err("Failed to connect to bus")), None);
    }

    #[test]
    fn what_others_wrote_is_neither_replaced_nor_removed() {
        let folder = tempfile::tempdir().unwrap();
        let service = in_folder(folder.path());
        fs::create_dir(folder.path().join("units")).unwrap();
        fs::write(&service.path, "[Service]\n").unwrap();
        let mut nothing = |_: &[&str]| panic!("nothing is run");
        for done in [
            service.install(1000, &mut nothing),
            service.uninstall(1000, &mut nothing),
        ] {
            assert!(matches!(done, Err(NotDone::Foreign(_))), "{done:?}");
        }
        assert_eq!(service.written(), Some("[Service]\n".to_owned()));
    }

    #[test]
    fn a_home_without_a_pairing_and_an_account_with_everything_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        assert!(matches!(ready(&home, 0), Err(NotDone::Root)));
        let unpaired = ready(&home, 1000).unwrap_err().to_string();
        assert!(
            unpaired.starts_with("this machine is not paired"),
            "{unpaired}"
        );
    }
}
