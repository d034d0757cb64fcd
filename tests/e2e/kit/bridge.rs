//! A home machine: a folder to play in, a policy, and the real `local-bridge`, which can be killed and started again.

use super::person::PATIENCE;
use super::runtime::{append, kill_group};
use protocol::pairing::Link;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// The programs that the policy lists: one that tells, one that leaves a trace, one that takes its time, one that follows what is written.
const COMMANDS: &str = r#"
[[command]]
argv = ["echo"]

[[command]]
argv = ["touch"]

[[command]]
argv = ["sleep"]

[[command]]
argv = ["tail"]
"#;

/// A machine with `local-bridge` on it; it ends with this value.
#[derive(Debug)]
pub(crate) struct Machine {
    /// The one folder that the bridge may touch.
    pub(crate) playground: PathBuf,
    home: PathBuf,
    child: Option<Child>,
}

/// What `local-bridge pair` printed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Paired {
    /// The six words.
    pub(crate) words: String,
    /// The bridge's id.
    pub(crate) id: String,
}

impl Machine {
    /// A machine of this name below `folder`, with a few documents and a policy that allows reading and writing them.
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let playground = folder.join(name).join("playground");
        let home = folder.join(name).join("home");
        fs::create_dir_all(&playground).expect("a folder can be made");
        fs::create_dir_all(&home).expect("a folder can be made");
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("the folder is ours");
        fs::write(
            playground.join("notes.txt"),
            "Call the plumber.\nBuy sea salt.\n",
        )
        .expect("a file can be written");
        fs::write(playground.join("budget.csv"), "month,rent\n2026-10,910\n")
            .expect("a file can be written");
        let machine = Self {
            playground,
            home,
            child: None,
        };
        machine.write_policy();
        machine
    }

    fn write_policy(&self) {
        let path = self
            .playground
            .to_str()
            .expect("temporary folders have plain names");
        let policy = format!(
            "sandbox = \"required\"\n\n[[root]]\nname = \"playground\"\npath = {path:?}\naccess = \"write\"\n{COMMANDS}"
        );
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.home.join("policy.toml"));
        file.and_then(|mut file| file.write_all(policy.as_bytes()))
            .expect("the policy can be written");
    }

    /// Its owner adds to its policy by hand.
    pub(crate) fn adds_to_its_policy(&self, text: &str) {
        let file = OpenOptions::new()
            .append(true)
            .open(self.home.join("policy.toml"));
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .expect("the policy can be added to");
    }

    /// Pairs with the link that the chat showed, at this address where there is one.
    pub(crate) async fn pair(&self, link: &str, address: Option<&str>) -> Paired {
        let mut link = Link::parse(link).expect("the chat shows a pairing link");
        if let Some(address) = address {
            address.clone_into(&mut link.worker);
        }
        let mut command = self.command();
        command.arg("pair").arg(link.to_string());
        command.args(["--keys", "file"]); // the keychain is its developer's
        let output = timeout(PATIENCE, command.output())
            .await
            .expect("pairing ends")
            .expect("local-bridge can be started");
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "pairing failed: {out}{err}");
        let field = |name: &str| {
            let found = out.lines().find_map(|line| line.strip_prefix(name));
            found
                .unwrap_or_else(|| panic!("`local-bridge pair` names no {name:?}: {out}"))
                .trim()
                .to_owned()
        };
        Paired {
            words: field("words:"),
            id: field("id:"),
        }
    }

    /// Runs another of its commands; gives what it printed.
    pub(crate) async fn does(&self, arguments: &[&str]) -> String {
        let output = timeout(PATIENCE, self.command().args(arguments).output());
        let output = output.await.expect("the command ends");
        let output = output.expect("local-bridge can be started");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts `local-bridge run`.
    pub(crate) fn run(&mut self) {
        let mut command = self.command();
        command
            .arg("run")
            .stdout(append(&self.log_path()))
            .stderr(append(&self.log_path()))
            .process_group(0)
            .kill_on_drop(true);
        self.child = Some(command.spawn().expect("local-bridge can be started"));
    }

    /// Ends the bridge at once, as a power cut would.
    pub(crate) async fn kill(&mut self) {
        self.end();
        if let Some(mut child) = self.child.take() {
            child
                .wait()
                .await
                .expect("a killed child can be waited for");
        }
    }

    /// The running bridge's process.
    pub(crate) fn process(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// All that the bridge has logged.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Waits until the bridge has logged one of these words, in lower case, beyond the first `start` bytes of its log.
    pub(crate) async fn logs(&self, start: usize, words: &[&str]) {
        let has_logged = || {
            let log = self.log()[start..].to_lowercase();
            words.iter().any(|word| log.contains(word))
        };
        let search = async {
            while !has_logged() {
                sleep(Duration::from_millis(50)).await; // a file tells nobody when it grows
            }
        };
        let found = timeout(PATIENCE, search).await;
        assert!(
            found.is_ok(),
            "the bridge logged none of {words:?}:\n{}",
            self.log()
        );
    }

    fn end(&self) {
        if let Some(id) = self.process() {
            kill_group(id);
        }
    }

    fn log_path(&self) -> PathBuf {
        self.home.join("bridge.log")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command.arg("--home").arg(&self.home).stdin(Stdio::null());
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.end();
    }
}

/// `local-bridge` beside the test's own program, which lies in `target/<profile>/deps`.
pub(crate) fn binary() -> PathBuf {
    let path = std::env::var_os("BERNARD_BRIDGE").map_or_else(
        || {
            let test = std::env::current_exe().expect("a test knows its program");
            test.ancestors()
                .nth(2)
                .expect("it lies two folders deep")
                .join("local-bridge")
        },
        PathBuf::from,
    );
    assert!(
        path.exists(),
        "there is no {}: run `cargo build -p local-bridge` first",
        path.display()
    );
    path
}
