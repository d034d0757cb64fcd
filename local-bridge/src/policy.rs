//! What may happen on this machine. Its owner writes it; nothing that comes over the tunnel can change it. What is unnamed is denied.

use crate::home::Home;
use crate::places::{self, Root};
use protocol::key::sha256_hex;
use protocol::session::{self, Access};
use rustix::process::geteuid;
use serde::Deserialize;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use toml::Spanned;

/// Where a command's program is looked for, first match first. Fixed, so that no environment can put another program in its place.
const PROGRAM_FOLDERS: &[&str] = &[
    "/usr/bin",
    "/bin",
    "/usr/local/bin",
    "/opt/homebrew/bin",
    "/usr/sbin",
    "/sbin",
];

/// Programs that run whatever they are told: a rule for one of them would be a rule for everything.
const RUNNERS: &[&str] = &[
    "sh",
    "bash",
    "rbash",
    "dash",
    "zsh",
    "fish",
    "ksh",
    "mksh",
    "csh",
    "tcsh",
    "ash",
    "busybox",
    "toybox",
    "perl",
    "ruby",
    "irb",
    "node",
    "nodejs",
    "deno",
    "bun",
    "php",
    "lua",
    "luajit",
    "tclsh",
    "expect",
    "awk",
    "gawk",
    "mawk",
    "nawk",
    "env",
    "xargs",
    "parallel",
    "find",
    "fd",
    "ssh",
    "scp",
    "sftp",
    "rsync",
    "sudo",
    "su",
    "doas",
    "runuser",
    "pkexec",
    "osascript",
    "open",
    "xdg-open",
    "security",
    "script",
    "nohup",
    "nice",
    "ionice",
    "time",
    "timeout",
    "setsid",
    "stdbuf",
    "unshare",
    "nsenter",
    "chroot",
    "strace",
    "ltrace",
    "gdb",
    "lldb",
    "watch",
    "screen",
    "tmux",
    "vi",
    "vim",
    "nvim",
    "view",
    "ex",
    "ed",
    "emacs",
    "nano",
    "less",
    "more",
    "man",
    "crontab",
    "at",
    "batch",
    "systemctl",
    "systemd-run",
    "launchctl",
    "docker",
    "podman",
    "kubectl",
    "make",
    "tar",
    "zip",
    "nc",
    "ncat",
    "netcat",
    "socat",
    "sed",
    "local-bridge",
];

/// Beginnings of programs' names that come with a version in them, such as `python3.13`.
const RUNNER_FAMILIES: &[&str] = &[
    "python", "pypy", "perl5", "ruby2", "ruby3", "php7", "php8", "lua5",
];

/// What may happen, checked and with its folders held open.
#[derive(Debug)]
pub struct Policy {
    /// The folders.
    pub roots: Vec<Root>,
    /// The commands.
    pub commands: Vec<Command>,
    /// What a command can reach.
    pub sandbox: Sandbox,
    /// SHA-256 of the file's bytes, lower-case hex.
    pub sha256: String,
}

/// A command that may run: this program, these first arguments, then any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// How the command begins, as the owner wrote it.
    pub argv: Vec<String>,
    /// The program, found once, when the policy was read.
    pub program: PathBuf,
}

/// Whether commands run in a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// In a fully enforced one or not at all.
    #[default]
    Required,
    /// With all that the owner's account can reach.
    None,
}

/// The policy as it is in force: reread when its owner changes the file.
#[derive(Debug)]
pub struct Law {
    home: Home,
    seen: Option<Stamp>,
    policy: Arc<Policy>,
}

/// Why a policy is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Someone else could change it.
    #[error("{0} {1}; only its owner may be able to change it (chmod 600)")]
    Writable(PathBuf, &'static str),
    /// It is not TOML of this kind; the message shows the line.
    #[error("policy.toml: {0}")]
    Syntax(String),
    /// A rule cannot be kept.
    #[error("policy.toml line {line}: {why}")]
    Rule {
        /// Where.
        line: usize,
        /// Why.
        why: String,
    },
    /// There is one already.
    #[error("{0} is there already; --force replaces it")]
    Exists(PathBuf),
}

type Stamp = (SystemTime, u64, u64);

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    #[serde(default)]
    sandbox: Sandbox,
    #[serde(default)]
    root: Vec<RawRoot>,
    #[serde(default)]
    command: Vec<RawCommand>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoot {
    name: Spanned<String>,
    path: Spanned<PathBuf>,
    access: Access,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCommand {
    argv: Spanned<Vec<String>>,
}

impl Law {
    /// Reads the policy of a home. One that is not there allows nothing; one that is broken is an error.
    pub fn open(home: &Home) -> Result<Self, Unfit> {
        let seen = stamp(&home.policy());
        let policy = if seen.is_some() {
            Policy::read(home)?
        } else {
            Policy::nothing()
        };
        Ok(Self {
            home: home.clone(),
            seen,
            policy: Arc::new(policy),
        })
    }

    /// The policy in force: reread if the file has changed, the last good one if what it has become is broken.
    pub fn current(&mut self) -> Arc<Policy> {
        let now = stamp(&self.home.policy());
        if now != self.seen {
            self.seen = now;
            let read = if now.is_some() {
                Policy::read(&self.home)
            } else {
                Ok(Policy::nothing())
            };
            match read {
                Ok(policy) => {
                    tracing::info!("policy reread: {}", policy.summary());
                    self.policy = Arc::new(policy);
                }
                Err(error) => {
                    tracing::error!(
                        "policy not accepted, the last good one stays in force: {error}"
                    );
                }
            }
        }
        Arc::clone(&self.policy)
    }
}

impl Policy {
    /// Reads and checks the policy of a home.
    pub fn read(home: &Home) -> Result<Self, Unfit> {
        let path = home.policy();
        let io = |source| Unfit::Io {
            path: path.clone(),
            source,
        };
        let metadata = fs::metadata(&path).map_err(io)?;
        if metadata.permissions().mode() & 0o022 != 0 {
            return Err(Unfit::Writable(path, "can be changed by others"));
        }
        if metadata.uid() != geteuid().as_raw() {
            return Err(Unfit::Writable(path, "belongs to someone else"));
        }
        let text = fs::read_to_string(&path).map_err(io)?;
        Self::parse(&text, home.path())
    }

    /// Checks a policy's text for a bridge whose home is `home`.
    pub fn parse(text: &str, home: &Path) -> Result<Self, Unfit> {
        let raw: RawPolicy =
            toml::from_str(text).map_err(|error| Unfit::Syntax(error.to_string()))?;
        let at = |offset: usize, why: String| Unfit::Rule {
            line: 1 + text[..offset.min(text.len())].matches('\n').count(),
            why,
        };
        let mut roots: Vec<Root> = Vec::new();
        for root in &raw.root {
            let name = root.name.get_ref();
            check_name(name, &roots).map_err(|why| at(root.name.span().start, why))?;
            let root = open_root(root, home).map_err(|why| at(root.path.span().start, why))?;
            roots.push(root);
        }
        let mut commands = Vec::new();
        for command in &raw.command {
            let start = command.argv.span().start;
            commands.push(Command::new(command.argv.get_ref()).map_err(|why| at(start, why))?);
        }
        Ok(Self {
            roots,
            commands,
            sandbox: raw.sandbox,
            sha256: sha256_hex(text.as_bytes()),
        })
    }

    /// The policy of a machine without one.
    pub fn nothing() -> Self {
        Self {
            roots: Vec::new(),
            commands: Vec::new(),
            sandbox: Sandbox::Required,
            sha256: sha256_hex(b""),
        }
    }

    /// The rule that lets a command run.
    pub fn command(&self, argv: &[String]) -> Option<&Command> {
        self.commands
            .iter()
            .find(|command| argv.starts_with(&command.argv))
    }

    /// What the Worker is told of the roots.
    pub fn shown_roots(&self) -> Vec<session::Root> {
        let shown = self.roots.iter().map(|root| session::Root {
            name: root.name.clone(),
            access: root.access,
        });
        shown.collect()
    }

    /// One line about it.
    pub fn summary(&self) -> String {
        if self.roots.is_empty() && self.commands.is_empty() {
            return "nothing is allowed; run: local-bridge policy init --root FOLDER".to_owned();
        }
        let roots = self.roots.iter().map(|root| {
            let access = access_word(root.access);
            format!("{} ({access})", root.name)
        });
        let commands = self.commands.iter().map(|command| command.argv.join(" "));
        let list = |items: Vec<String>| {
            if items.is_empty() {
                "none".to_owned()
            } else {
                items.join(", ")
            }
        };
        format!(
            "folders: {}; commands: {}",
            list(roots.collect()),
            list(commands.collect())
        )
    }

    /// All of it, for its owner.
    pub fn details(&self) -> String {
        let mut lines = Vec::new();
        for root in &self.roots {
            let access = access_word(root.access);
            lines.push(format!(
                "folder  {} = {} ({access})",
                root.name,
                root.path.display()
            ));
        }
        for command in &self.commands {
            let program = command.program.display();
            lines.push(format!("command {} … = {program}", command.argv.join(" ")));
        }
        lines.push("everything else is denied".to_owned());
        lines.join("\n")
    }
}

impl Command {
    /// Checks how a command may begin and finds its program.
    fn new(argv: &[String]) -> Result<Self, String> {
        let Some(name) = argv.first().filter(|name| !name.is_empty()) else {
            return Err("a command needs a program: argv = [\"git\", \"status\"]".to_owned());
        };
        if argv.iter().any(|part| part.contains('\0')) {
            return Err("a command cannot hold a NUL character".to_owned());
        }
        let program = find_program(name)?;
        let real = program.canonicalize().unwrap_or_else(|_| program.clone());
        for path in [&program, &real] {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            if runs_anything(&file) {
                return Err(format!(
                    "'{name}' can run any other program, so a rule for it would allow everything; name the program itself"
                ));
            }
        }
        // `git -c …` and `git --exec-path …` run what they are given; a subcommand must come first.
        let subcommand = argv.get(1).is_some_and(|word| !word.starts_with('-'));
        if Path::new(name)
            .file_name()
            .is_some_and(|file| file == "git")
            && !subcommand
        {
            return Err(
                "'git' needs a subcommand, such as argv = [\"git\", \"status\"]".to_owned(),
            );
        }
        Ok(Self {
            argv: argv.to_vec(),
            program,
        })
    }
}

/// Writes a policy that a person can read and go on with.
pub fn init(
    home: &Home,
    roots: &[(String, PathBuf, Access)],
    commands: &[Vec<String>],
    sandbox: Sandbox,
    force: bool,
) -> Result<Policy, Unfit> {
    let path = home.policy();
    if path.exists() && !force {
        return Err(Unfit::Exists(path));
    }
    let text = template(roots, commands, sandbox);
    let policy = Policy::parse(&text, home.path())?;
    home.write("policy.toml", &text)
        .map_err(|error| Unfit::Io {
            path,
            source: io::Error::other(error),
        })?;
    Ok(policy)
}

/// What a person reads for an access.
pub fn access_word(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "read and write",
    }
}

fn template(
    roots: &[(String, PathBuf, Access)],
    commands: &[Vec<String>],
    sandbox: Sandbox,
) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let mut text = String::from(
        "# What Bernard may do on this machine. What is not named here is denied.\n\
         # Only this file decides, and only you can change it: nothing that arrives over the internet can.\n\
         # It is reread when you save it. `local-bridge policy check` tells what it means.\n",
    );
    if !commands.is_empty() {
        text.push_str(match sandbox {
            Sandbox::Required => {
                "\n# Commands run fenced in by the system's sandbox, or not at all: they reach the folder that they work in,\n\
                 # no other of your files and no network. \"none\" would let them reach whatever your account can.\n\
                 sandbox = \"required\"\n"
            }
            Sandbox::None => {
                "\n# Commands run WITHOUT a sandbox: a command below can reach whatever your account can.\n\
                 # Take the line away, or write \"required\", and commands run fenced in or not at all.\n\
                 sandbox = \"none\"\n"
            }
        });
    }
    text.push_str(
        "\n# Folders. `name` is what Bernard calls it. access = \"read\" looks; \"write\" also changes.\n\
         # Keys, passwords and start-up files (.ssh, .env, *.pem, .zshrc …) are never touched, even in here.\n",
    );
    text.extend(roots.iter().map(|(name, path, access)| {
        let access = match access {
            Access::Read => "read",
            Access::Write => "write",
        };
        let (name, path) = (quoted(name), quoted(&path.display().to_string()));
        format!("[[root]]\nname = {name}\npath = {path}\naccess = \"{access}\"\n\n")
    }));
    text.push_str(
        "# Commands, by how they begin: [\"git\", \"status\"] also allows `git status --short`, and never `git push`.\n\
         # There is no shell: no pipes, no wildcards. Shells and interpreters are refused here.\n",
    );
    if commands.is_empty() {
        text.push_str("# [[command]]\n# argv = [\"git\", \"status\"]\n");
    }
    text.extend(commands.iter().map(|argv| {
        let words: Vec<String> = argv.iter().map(|word| quoted(word)).collect();
        format!("[[command]]\nargv = [{}]\n\n", words.join(", "))
    }));
    text
}

fn check_name(name: &str, roots: &[Root]) -> Result<(), String> {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(allowed) {
        return Err(format!(
            "a folder's name has letters, digits, spaces, '-', '_' or '.'; '{name}' is none"
        ));
    }
    if roots.iter().any(|root| root.name == name) {
        return Err(format!("two folders are named '{name}'"));
    }
    Ok(())
}

fn open_root(raw: &RawRoot, home: &Path) -> Result<Root, String> {
    let path = raw.path.get_ref();
    let shown = path.display();
    if !path.is_absolute() {
        return Err(format!(
            "'{shown}' must be a whole path, beginning with '/'"
        ));
    }
    let root = Root::open(raw.name.get_ref(), path, raw.access)
        .map_err(|error| format!("'{shown}' cannot be opened: {error}"))?;
    if root.path == Path::new("/") {
        return Err("'/' would open the whole machine; name a folder".to_owned());
    }
    let user_home = std::env::home_dir().and_then(|path| path.canonicalize().ok());
    if user_home.is_some_and(|folder| folder.starts_with(&root.path)) {
        return Err(format!(
            "'{shown}' holds your whole home folder; name a folder in it"
        ));
    }
    if home.starts_with(&root.path) || root.path.starts_with(home) {
        return Err(format!(
            "'{shown}' and the bridge's own folder {} lie in one another",
            home.display()
        ));
    }
    if places::forbidden(root.path.file_name().map_or(Path::new(""), Path::new)) {
        return Err(format!(
            "'{shown}' is never opened: it may hold keys or passwords"
        ));
    }
    Ok(root)
}

fn find_program(name: &str) -> Result<PathBuf, String> {
    let runnable = |path: &Path| {
        fs::metadata(path)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if name.starts_with('/') {
        let path = PathBuf::from(name);
        return if runnable(&path) {
            Ok(path)
        } else {
            Err(format!("there is no program '{name}'"))
        };
    }
    if name.contains('/') {
        return Err(format!("'{name}' must be a plain name or a whole path"));
    }
    let mut places = PROGRAM_FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join(name));
    places.find(|path| runnable(path)).ok_or_else(|| {
        format!(
            "there is no program '{name}' in {}",
            PROGRAM_FOLDERS.join(", ")
        )
    })
}

fn runs_anything(file: &str) -> bool {
    let runners: HashSet<&str> = RUNNERS.iter().copied().collect();
    runners.contains(file)
        || RUNNER_FAMILIES
            .iter()
            .any(|family| file.starts_with(family))
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    struct World {
        folder: TempDir,
        home: Home,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("docs")).unwrap();
            let home = Home::open(&folder.path().join("home")).unwrap();
            Self { folder, home }
        }

        fn path(&self, name: &str) -> String {
            self.folder.path().join(name).display().to_string()
        }

        fn write(&self, text: &str) {
            self.home.write("policy.toml", text).unwrap();
        }

        fn root(path: &str) -> String {
            format!("[[root]]\nname = \"docs\"\npath = \"{path}\"\naccess = \"read\"\n")
        }

        fn refusal(&self, text: &str) -> String {
            let read = Policy::parse(text, self.home.path());
            read.expect_err("the policy was accepted").to_string()
        }
    }

    #[test]
    fn what_init_writes_is_read_back_and_is_the_owners_alone() {
        let world = World::new();
        let roots = [(
            "docs".to_owned(),
            world.folder.path().join("docs"),
            Access::Write,
        )];
        let commands = [vec!["ls".to_owned(), "-l".to_owned()]];
        init(&world.home, &roots, &commands, Sandbox::None, false).unwrap();
        let policy = Policy::read(&world.home).unwrap();
        assert_eq!(
            policy.summary(),
            "folders: docs (read and write); commands: ls -l"
        );
        assert_eq!(policy.sandbox, Sandbox::None);
        let mode = fs::metadata(world.home.policy())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = init(&world.home, &roots, &[], Sandbox::None, false);
        assert!(matches!(again, Err(Unfit::Exists(_))));
        for (commands, sandbox) in [(&commands[..], Sandbox::Required), (&[], Sandbox::None)] {
            let policy = init(&world.home, &roots, commands, sandbox, true).unwrap();
            assert_eq!(policy.sandbox, Sandbox::Required);
        }
    }

    #[test]
    fn the_example_file_is_a_policy() {
        let world = World::new();
        let example = include_str!("../policy.example.toml");
        let text = example.replace("/Users/anna/Documents", &world.path("docs"));
        assert_ne!(text, example);
        let policy = Policy::parse(&text, world.home.path()).unwrap();
        assert_eq!(policy.roots.len(), 1);
        assert_eq!(policy.commands.len(), 1);
        assert_eq!(policy.sandbox, Sandbox::Required);
    }

    #[test]
    fn a_policy_that_others_can_change_is_refused() {
        let world = World::new();
        world.write(&World::root(&world.path("docs")));
        for (mode, accepted) in [(0o600, true), (0o644, true), (0o620, false), (0o602, false)] {
            fs::set_permissions(world.home.policy(), fs::Permissions::from_mode(mode)).unwrap();
            let read = Policy::read(&world.home);
            assert_eq!(read.is_ok(), accepted, "{mode:o}");
        }
    }

    #[test]
    fn a_root_never_opens_the_machine_the_home_folder_or_the_bridges_own() {
        let world = World::new();
        let user_home = std::env::home_dir().unwrap().display().to_string();
        for (path, why) in [
            ("/".to_owned(), "whole machine"),
            (user_home, "whole home folder"),
            (
                world.folder.path().display().to_string(),
                "lie in one another",
            ),
            (world.path("home"), "lie in one another"),
            ("docs".to_owned(), "whole path"),
            (world.path("nowhere"), "cannot be opened"),
        ] {
            let refusal = world.refusal(&World::root(&path));
            assert!(refusal.contains(why), "{path}: {refusal}");
            assert!(refusal.starts_with("policy.toml line 3: "), "{refusal}");
        }
    }

    #[test]
    fn what_is_unknown_or_doubled_is_refused_with_its_line() {
        let world = World::new();
        let docs = World::root(&world.path("docs"));
        let refusal = world.refusal(&format!("{docs}\n{docs}"));
        assert_eq!(refusal, "policy.toml line 7: two folders are named 'docs'");
        let refusal = world.refusal("[[root]]\nname = \"a\"\npath = \"/a\"\naccess = \"all\"\n");
        assert!(refusal.contains("line 4"), "{refusal}");
        let refusal = world.refusal("approved = true\n");
        assert!(refusal.contains("approved"), "{refusal}");
    }

    #[test]
    fn programs_that_run_others_are_refused() {
        let world = World::new();
        for argv in [
            r#"["sh", "-c"]"#,
            r#"["/bin/bash"]"#,
            r#"["env", "ls"]"#,
            r#"["find", "."]"#,
            r#"["git"]"#,
            r#"["git", "-c"]"#,
            r#"["no-such-program"]"#,
            r#"["./ls"]"#,
            "[]",
            r#"[""]"#,
        ] {
            let refusal = world.refusal(&format!("[[command]]\nargv = {argv}\n"));
            assert!(
                refusal.starts_with("policy.toml line 2: "),
                "{argv}: {refusal}"
            );
        }
        assert!(runs_anything("python3.13"));
        assert!(!runs_anything("pythagoras"));
    }

    #[test]
    fn a_command_is_allowed_by_how_it_begins() {
        let world = World::new();
        let policy = Policy::parse("[[command]]\nargv = [\"ls\", \"-l\"]\n", world.home.path());
        let policy = policy.unwrap();
        let allowed = |argv: &[&str]| {
            let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
            policy.command(&argv).is_some()
        };
        assert!(allowed(&["ls", "-l"]));
        assert!(allowed(&["ls", "-l", "a"]));
        assert!(!allowed(&["ls"]));
        assert!(!allowed(&["ls", "-la"]));
        assert!(!allowed(&["/bin/ls", "-l"]));
        assert!(!allowed(&[]));
    }

    #[test]
    fn a_changed_file_is_reread_and_a_broken_one_keeps_the_last_good_one() {
        let world = World::new();
        let mut law = Law::open(&world.home).unwrap();
        assert!(law.current().roots.is_empty());
        world.write(&World::root(&world.path("docs")));
        let good = law.current();
        assert_eq!(good.roots.len(), 1);
        world.write("nonsense");
        assert_eq!(law.current().sha256, good.sha256);
        world.write("");
        assert!(law.current().roots.is_empty());
        fs::remove_file(world.home.policy()).unwrap();
        assert!(law.current().roots.is_empty());
    }
}
