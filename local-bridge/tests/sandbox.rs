//! The fence around commands, attacked: whatever it forbids succeeds in the same test without it.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use local_bridge::calls::Order;
use local_bridge::home::Home;
use local_bridge::places::Root;
use local_bridge::policy::{Command as Rule, Policy, Sandbox};
use local_bridge::processes::Processes;
use local_bridge::sandbox::{Fence, Start, Unreached, Wanted};
use local_bridge::tools::{self, Job, files_send::Courier};
use protocol::call::{CallId, Outcome, ToolName};
use protocol::session::Access;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

/// Tells the attacker, which is this very program, where the sockets are that it is to try.
const SOCKETS: &str = "SOCKETS_TO_TRY";

/// Makes this very program a bridge that is killed while it runs a command, and tells it the command's argument.
const DOOMED: &str = "DOOMED_WITH";

/// A machine with a folder that its owner opened and one with what is nobody's business.
struct World {
    folder: TempDir,
    fence: Fence,
}

/// One run of a script, with the fence or without.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl World {
    /// Nothing where the kernel cannot fence anything in; that it can and the fence fails is no reason to skip.
    fn new() -> Option<Self> {
        let fence = Fence::kept_by(Path::new(env!("CARGO_BIN_EXE_local-bridge")));
        if let Fence::Missing(why) = &fence {
            assert!(why.starts_with("this kernel has no Landlock"), "{why}");
            println!("skipped: this kernel has no Landlock");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        for name in ["docs", "scratch", ".ssh"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("docs/letter"), "dear\n").unwrap();
        fs::write(folder.path().join("secret"), "canary\n").unwrap();
        fs::write(folder.path().join(".ssh/id_x"), "canary\n").unwrap();
        Some(Self { folder, fence })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn root(&self, access: Access) -> Root {
        Root::open("docs", &self.path("docs"), access).unwrap()
    }

    fn start(&self, sandbox: Sandbox, program: &Path, root: &Root) -> Start {
        let rule = Rule::new(vec!["program".into()], program.to_owned());
        self.start_by(&rule, sandbox, root)
    }

    /// By a rule that grants the network.
    fn start_outward(&self, program: &Path) -> Start {
        let rule = Rule {
            network: true,
            ..Rule::new(vec!["program".into()], program.to_owned())
        };
        self.start_by(&rule, Sandbox::Required, &self.root(Access::Write))
    }

    fn start_by(&self, rule: &Rule, sandbox: Sandbox, root: &Root) -> Start {
        let wanted = Wanted {
            rule,
            root,
            scratch: &self.path("scratch"),
            limit: Duration::from_mins(1),
            terminal: false,
        };
        let mut start = self.fence.command(sandbox, wanted).unwrap();
        start
            .command
            .current_dir(self.path("docs"))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.path("scratch"))
            .stdin(Stdio::null());
        start
    }

    fn script(&self, sandbox: Sandbox, access: Access, script: &str) -> Ran {
        let mut start = self.start(sandbox, Path::new("/bin/bash"), &self.root(access));
        ran(&start.command.args(["-c", script]).output().unwrap())
    }

    /// The script without the fence and with it.
    fn both(&self, access: Access, script: &str) -> (Ran, Ran) {
        (
            self.script(Sandbox::None, access, script),
            self.script(Sandbox::Required, access, script),
        )
    }

    fn policy(&self, program: &str, sandbox: Sandbox) -> Policy {
        Policy {
            roots: vec![self.root(Access::Write)],
            commands: vec![Rule::new(vec!["program".into()], program.into())],
            sandbox,
            ..Policy::nothing()
        }
    }

    /// A call as it comes through the tunnel.
    async fn call(&self, policy: Policy, fence: Fence, arguments: &[&str]) -> Outcome {
        let argv: Vec<&str> = std::iter::once("program")
            .chain(arguments.iter().copied())
            .collect();
        let (_cancel, cancelled) = watch::channel(false);
        let home = Home::open(&self.path("home")).unwrap();
        tools::run(Job {
            order: Order {
                asked: true,
                yes: None,
                call: CallId("c1".into()),
                attempt: 1,
                tool: ToolName::new("shell.run"),
                arguments: serde_json::json!({"argv": argv, "folder": "docs"}),
            },
            policy: Arc::new(policy),
            scratch: self.path("scratch"),
            processes: Arc::new(Processes::open(&home).unwrap()),
            fence,
            undo: Arc::new(local_bridge::undo::Undo::in_memory().unwrap()),
            cancelled,
            courier: Courier {
                pieces: mpsc::channel(1).0,
                credit: watch::channel(0).1,
            },
        })
        .await
    }

    async fn fenced_call(&self, program: &str, arguments: &[&str]) -> Outcome {
        let policy = self.policy(program, Sandbox::Required);
        self.call(policy, self.fence.clone(), arguments).await
    }
}

fn ran(output: &Output) -> Ran {
    Ran {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Processes that live and have a word among their arguments.
fn living(word: &str) -> Vec<i32> {
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name();
        name.to_str()?.parse::<i32>().ok()
    });
    let has_word = |pid: &i32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut arguments = arguments.split(|byte| *byte == 0);
        arguments.any(|argument| argument == word.as_bytes())
    };
    numbers.filter(has_word).collect()
}

/// Whether none is left within the moment that the system takes to carry out a SIGKILL.
fn all_end(word: &str) -> bool {
    comes_true(|| living(word).is_empty())
}

/// Whether a process that has a word among its arguments has come to be the command's program.
fn runs_program(word: &str) -> bool {
    let is_program = |pid: i32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.starts_with(b"program\0")
    };
    living(word).into_iter().any(is_program)
}

fn comes_true(wanted: impl Fn() -> bool) -> bool {
    for _ in 0..1000 {
        if wanted() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

fn kill(processes: &[i32]) {
    for pid in processes {
        let pid = Pid::from_raw(*pid).unwrap();
        kill_process(pid, Signal::KILL).ok();
    }
}

#[test]
fn a_command_reads_its_folder_and_nothing_outside_of_it() {
    let Some(world) = World::new() else { return };
    symlink("../secret", world.path("docs/link")).unwrap();
    for path in [
        "../secret",
        "../.ssh/id_x",
        "link",
        "/proc/self/root/$PWD/../secret",
    ] {
        let (free, fenced) = world.both(Access::Write, &format!("cat letter; cat \"{path}\""));
        assert_eq!(
            (free.code, &*free.out),
            (Some(0), "dear\ncanary\n"),
            "{path}"
        );
        assert_eq!((fenced.code, &*fenced.out), (Some(1), "dear\n"), "{path}");
        assert!(
            fenced.err.ends_with("Permission denied\n"),
            "{}",
            fenced.err
        );
    }
    for path in ["/etc/passwd", "/proc/1/cmdline", "/proc/self/environ"] {
        let (free, fenced) = world.both(Access::Read, &format!("exec 3<{path}"));
        assert_eq!((free.code, fenced.code), (Some(0), Some(1)), "{path}");
    }
}

#[test]
fn a_command_changes_its_folder_only_where_the_policy_lets_it_write() {
    let Some(world) = World::new() else { return };
    let inside = "echo x > new && mv new moved && echo y >> letter && rm moved && touch letter";
    for access in [Access::Read, Access::Append] {
        let read = world.script(Sandbox::Required, access, inside);
        assert_eq!(read.code, Some(1), "{}", read.err);
        assert_eq!(fs::read(world.path("docs/letter")).unwrap(), b"dear\n");
    }
    let write = world.script(Sandbox::Required, Access::Write, inside);
    assert_eq!(write.code, Some(0), "{}", write.err);
    assert_eq!(fs::read(world.path("docs/letter")).unwrap(), b"dear\ny\n");
    for access in [Access::Read, Access::Write] {
        let scratch = world.script(Sandbox::Required, access, "echo x > $HOME/y && cat $HOME/y");
        assert_eq!((scratch.code, &*scratch.out), (Some(0), "x\n"));
    }
}

#[test]
fn a_command_changes_nothing_outside_of_its_folder_not_even_modes_and_dates() {
    let Some(world) = World::new() else { return };
    let secret = world.path("secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let before = fs::metadata(&secret).unwrap();
    for attack in [
        "echo x > ../new",
        "echo x >> ../secret",
        "chmod 666 ../secret",
        "touch -d 2001-01-01 ../secret",
        "mv ../secret stolen",
        "ln ../secret stolen",
        "rm ../secret",
        "mkdir ../dir",
    ] {
        let fenced = world.script(Sandbox::Required, Access::Write, attack);
        assert_eq!(fenced.code, Some(1), "{attack}: {}", fenced.err);
    }
    let after = fs::metadata(&secret).unwrap();
    assert_eq!(after.permissions(), before.permissions());
    assert_eq!(after.modified().unwrap(), before.modified().unwrap());
    assert!(!world.path("new").exists() && !world.path("docs/stolen").exists());
    let free = world.script(
        Sandbox::None,
        Access::Write,
        "chmod 666 ../secret && touch -d 2001-01-01 ../secret && echo x > ../new",
    );
    assert_eq!(free.code, Some(0), "{}", free.err);
    let after = fs::metadata(&secret).unwrap();
    assert_ne!(after.permissions(), before.permissions());
    assert_ne!(after.modified().unwrap(), before.modified().unwrap());
}

#[test]
fn a_command_reaches_no_network_not_even_this_machine() {
    let Some(world) = World::new() else { return };
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    tcp.set_nonblocking(true).unwrap();
    udp.set_nonblocking(true).unwrap();
    let (tcp_port, udp_port) = (
        tcp.local_addr().unwrap().port(),
        udp.local_addr().unwrap().port(),
    );
    let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{tcp_port}");
    let send = format!("echo canary > /dev/udp/127.0.0.1/{udp_port}");
    let mut bytes = [0; 16];
    for attack in [&connect, &send] {
        let fenced = world.script(Sandbox::Required, Access::Write, attack);
        assert_eq!(fenced.code, Some(1), "{attack}");
        assert!(fenced.err.contains("not permitted"), "{}", fenced.err);
    }
    assert_eq!(tcp.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(
        udp.recv(&mut bytes).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    for attack in [&connect, &send] {
        let free = world.script(Sandbox::None, Access::Write, attack);
        assert_eq!(free.code, Some(0), "{attack}: {}", free.err);
    }
    tcp.accept().unwrap();
    assert_eq!(udp.recv(&mut bytes).unwrap(), 7);
}

#[test]
fn a_command_reaches_the_network_where_its_rule_grants_it_and_serves_nobody() {
    let Some(world) = World::new() else { return };
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let timeout = Some(Duration::from_secs(5));
    udp.set_read_timeout(timeout).unwrap();
    let (tcp_port, udp_port) = (
        tcp.local_addr().unwrap().port(),
        udp.local_addr().unwrap().port(),
    );
    let outward = |script: &str| {
        let mut start = world.start_outward(Path::new("/bin/bash"));
        ran(&start.command.args(["-c", script]).output().unwrap())
    };
    let answering = std::thread::spawn(move || {
        use std::io::Write;
        tcp.accept().unwrap().0.write_all(b"hello\n").unwrap();
    });
    let connected = outward(&format!("exec 3<>/dev/tcp/127.0.0.1/{tcp_port}; cat <&3"));
    assert_eq!(
        (connected.code, &*connected.out),
        (Some(0), "hello\n"),
        "{}",
        connected.err
    );
    answering.join().unwrap();
    let sent = outward(&format!("echo canary > /dev/udp/localhost/{udp_port}"));
    assert_eq!(sent.code, Some(0), "{}", sent.err);
    assert_eq!(udp.recv(&mut [0; 16]).unwrap(), 7);
    // Names are looked up, and nothing else of /etc.
    for (path, code) in [
        ("hosts", 0),
        ("passwd", 1),
        ("ssl/private", 1),
        ("shadow", 1),
    ] {
        let there = Path::new("/etc").join(path).exists();
        let read = outward(&format!("exec 3</etc/{path}"));
        assert!(!there || read.code == Some(code), "{path}: {}", read.err);
    }
    // Another's sockets stay as closed as they are without the network.
    let attacker = std::env::current_exe().unwrap();
    let name = world.path("docs/outward").display().to_string();
    let _stream = UnixListener::bind(format!("{name}.stream")).unwrap();
    let _named = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let _datagram = UnixDatagram::bind(format!("{name}.datagram")).unwrap();
    let mut start = world.start_outward(&attacker);
    let test = "a_command_reaches_no_socket_of_another_program_by_file_or_by_name";
    let command = start.command.args(["--exact", test]).env(SOCKETS, &name);
    // Two ends of its own; nothing listens.
    assert_eq!(ran(&command.output().unwrap()).code, Some(0b01_0000));
}

/// The attacker's part: a bit for each kind of socket that it reaches, as its exit code.
fn try_sockets(name: &str) -> i32 {
    let reached = [
        UnixStream::connect(format!("{name}.stream")).is_ok(),
        UnixStream::connect_addr(&SocketAddr::from_abstract_name(name).unwrap()).is_ok(),
        UnixDatagram::unbound()
            .and_then(|socket| socket.send_to(b"x", format!("{name}.datagram")))
            .is_ok(),
        UnixDatagram::pair()
            .and_then(|(socket, _)| socket.send_to(b"x", format!("{name}.datagram")))
            .is_ok(),
        // Two ends that lead nowhere else are no danger, and programs use them.
        UnixStream::pair().is_ok(),
        TcpListener::bind("127.0.0.1:0").is_ok(),
    ];
    let bits = reached.into_iter().enumerate();
    bits.map(|(at, reached)| i32::from(reached) << at).sum()
}

#[test]
fn a_command_reaches_no_socket_of_another_program_by_file_or_by_name() {
    if let Ok(name) = std::env::var(SOCKETS) {
        std::process::exit(try_sockets(&name));
    }
    let Some(world) = World::new() else { return };
    let name = world.path("docs/socket").display().to_string();
    let _stream = UnixListener::bind(format!("{name}.stream")).unwrap();
    let _named = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let _datagram = UnixDatagram::bind(format!("{name}.datagram")).unwrap();
    let attacker = std::env::current_exe().unwrap();
    let attack = |sandbox| {
        let mut start = world.start(sandbox, &attacker, &world.root(Access::Write));
        let test = "a_command_reaches_no_socket_of_another_program_by_file_or_by_name";
        let command = start.command.args(["--exact", test]).env(SOCKETS, &name);
        ran(&command.output().unwrap()).code
    };
    assert_eq!(attack(Sandbox::None), Some(0b11_1111));
    assert_eq!(attack(Sandbox::Required), Some(0b01_0000));
}

/// Sleepers that flee: in the group, out of it, and without a parent. The mark stands alone only among their own arguments.
fn fleeing(mark: &str) -> String {
    format!("(setsid bash -c '(sleep {mark} & sleep {mark} &)' &); (sleep {mark} &); sleep {mark}")
}

/// The bridge's part, until it is killed.
async fn doomed(world: &World, doom: &str) -> ! {
    let (mark, way) = doom.split_once(' ').unwrap();
    let script = fleeing(mark);
    let sandbox = match way {
        "fenced" => Sandbox::Required,
        "free" => Sandbox::None,
        _ => {
            let mut command = Command::new("/bin/bash");
            let mut child = command.args(["-c", &script]).spawn().unwrap();
            child.wait().unwrap();
            panic!("it should not live to see an end");
        }
    };
    let policy = world.policy("/bin/bash", sandbox);
    let ended = world
        .call(policy, world.fence.clone(), &["-c", &script])
        .await;
    panic!("it should not live to see an end: {ended:?}");
}

#[tokio::test]
async fn nothing_that_a_command_began_outlives_a_bridge_that_is_killed() {
    let Some(world) = World::new() else { return };
    if let Ok(doom) = std::env::var(DOOMED) {
        doomed(&world, &doom).await;
    }
    let doom = |mark: &str, way: &str| {
        let test = "nothing_that_a_command_began_outlives_a_bridge_that_is_killed";
        let mut bridge = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env(DOOMED, format!("{mark} {way}"))
            .env("TMPDIR", world.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Behind the fence nothing has a session of its own.
        let least = if way == "fenced" { 2 } else { 4 };
        assert!(
            comes_true(|| living(mark).len() >= least),
            "{way}: no start"
        );
        bridge.kill().unwrap();
        bridge.wait().unwrap();
        let killed = Instant::now();
        while !living(mark).is_empty() && killed.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let survivors = living(mark);
        kill(&survivors);
        survivors.len()
    };
    let mark = |digit: u32| format!("{}.{digit}", 60_000 + std::process::id());
    assert_eq!(doom(&mark(1), "fenced"), 0);
    assert_eq!(doom(&mark(2), "free"), 0);
    assert!(
        doom(&mark(3), "unkept") >= 3,
        "nothing has shown what the keeper does"
    );
}

#[test]
fn a_command_does_not_begin_when_its_bridge_is_gone() {
    if World::new().is_none() {
        return;
    }
    let fenced = |parent: u32| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_local-bridge"));
        command.args(["__fenced", "--token=word", "--program=/bin/echo"]);
        command.arg(format!("--parent={parent}"));
        let output = command.args(["--", "echo", "ran"]).output().unwrap();
        let ran = ran(&output);
        (ran.code, ran.out, ran.err)
    };
    let told = |code: i32, out: &str, err: &str| (Some(code), out.to_owned(), err.to_owned());
    assert_eq!(fenced(std::process::id()), told(0, "ran\n", ""));
    let gone = "word no start: the bridge is gone\n";
    assert_eq!(fenced(u32::MAX), told(125, "", gone));
}

#[test]
fn a_command_signals_none_but_its_own_processes() {
    let Some(world) = World::new() else { return };
    let attack = format!("kill -0 {}", std::process::id());
    let (free, fenced) = world.both(Access::Write, &attack);
    assert_eq!(free.code, Some(0), "{}", free.err);
    if world.fence.told(Sandbox::Required).contains("signals NOT") {
        println!("skipped: this kernel's Landlock does not know signals, and the fence says so");
        return;
    }
    assert_eq!(fenced.code, Some(1));
    assert!(fenced.err.contains("not permitted"), "{}", fenced.err);
    let own = "sleep 300 & kill $!; wait $!; echo $?";
    let fenced = world.script(Sandbox::Required, Access::Write, own);
    assert_eq!(fenced.out, "143\n");
}

#[test]
fn a_command_neither_leaves_its_group_nor_makes_worlds_of_its_own() {
    let Some(world) = World::new() else { return };
    for attack in [
        "setsid --wait true",
        "unshare --user true",
        "unshare --mount true",
        "mount -t tmpfs none .",
        "prlimit --pid $PPID --nofile=1:1",
        "renice 5 $PPID",
    ] {
        let fenced = world.script(Sandbox::Required, Access::Write, attack);
        assert!(!matches!(fenced.code, Some(0 | 127)), "{attack}");
    }
    let (free, _) = world.both(Access::Write, "setsid --wait true && prlimit --pid $PPID");
    assert_eq!(free.code, Some(0), "{}", free.err);
}

#[test]
fn a_command_has_limits() {
    let Some(world) = World::new() else { return };
    let limits = "ulimit -c; ulimit -t; ulimit -n; ulimit -f; ulimit -v; ulimit -Hn";
    let fenced = world.script(Sandbox::Required, Access::Write, limits);
    assert_eq!(fenced.out, "0\n60\n256\n65536\n1048576\n256\n");
    let processes = world.script(Sandbox::Required, Access::Write, "ulimit -u");
    assert!(processes.out.trim().parse::<u64>().unwrap() < 100_000);
    let big = world.script(
        Sandbox::Required,
        Access::Write,
        "head -c 80000000 /dev/zero > big",
    );
    assert_ne!(big.code, Some(0));
    assert_eq!(
        fs::metadata(world.path("docs/big")).unwrap().len(),
        64 << 20
    );
}

#[test]
fn a_command_inherits_no_open_file() {
    let Some(world) = World::new() else { return };
    let secret = fs::File::open(world.path("secret")).unwrap();
    rustix::io::fcntl_setfd(&secret, rustix::io::FdFlags::empty()).unwrap();
    let read = format!("cat <&{}", secret.as_raw_fd());
    let (free, fenced) = world.both(Access::Write, &read);
    let unkept = ran(&Command::new("/bin/bash")
        .args(["-c", &read])
        .output()
        .unwrap());
    assert_eq!((unkept.code, &*unkept.out), (Some(0), "canary\n"));
    for kept in [free, fenced] {
        assert_eq!((kept.code, &*kept.out), (Some(1), ""));
    }
}

#[test]
fn a_folder_that_another_has_taken_the_place_of_is_not_opened() {
    let Some(world) = World::new() else { return };
    let root = world.root(Access::Write);
    fs::rename(world.path("docs"), world.path("moved")).unwrap();
    symlink(".ssh", world.path("docs")).unwrap();
    let mut start = world.start(Sandbox::Required, Path::new("/bin/cat"), &root);
    let fenced = ran(&start.command.arg("id_x").output().unwrap());
    assert_eq!(fenced.out, "");
    let Some(Unreached::NoFence(no)) = start.seal.broken(fenced.code, &fenced.err) else {
        panic!("{:?} {}", fenced.code, fenced.err);
    };
    let no = no.to_string();
    assert!(no.starts_with("sandbox_unavailable: "), "{no}");
    assert!(no.contains("another folder has taken its place"), "{no}");
}

#[tokio::test]
async fn a_fenced_call_sees_four_variables_its_name_and_its_folder() {
    let Some(world) = World::new() else { return };
    let docs = world.path("docs").canonicalize().unwrap();
    let docs = docs.display();
    let outcome = world.fenced_call("/usr/bin/env", &[]).await;
    let Outcome::Done { text, .. } = outcome else {
        panic!("{outcome:?}");
    };
    let mut lines: Vec<&str> = text.lines().skip(2).collect();
    lines.sort_unstable();
    let scratch = lines[0].strip_prefix("HOME=").unwrap();
    assert_eq!(Path::new(scratch).parent(), Some(&*world.path("scratch")));
    assert!(!Path::new(scratch).exists(), "it goes with its command");
    let variables = [
        format!("HOME={scratch}"),
        "LANG=C.UTF-8".to_owned(),
        "PATH=/usr/bin:/bin".to_owned(),
        format!("TMPDIR={scratch}"),
    ];
    assert_eq!(lines, variables);
    let outcome = world.fenced_call("/bin/bash", &["-c", "echo $0 \"$@\"; pwd", "n", "a b"]);
    let told = format!("exit code 0\nstdout:\nn a b\n{docs}");
    assert_eq!(outcome.await, Outcome::done(told));
}

#[tokio::test]
async fn nothing_that_a_call_began_outlives_it_whatever_group_or_session_it_fled_to() {
    let Some(world) = World::new() else { return };
    // Many that wait, one that wants a session of its own, one that starts others as it goes.
    let script = |mark: &str| {
        format!(
            "for i in {{1..60}}; do sleep {mark} & done; setsid sleep {mark} & \
             (while :; do sleep {mark} & sleep 0.01; done) & sleep 0.3"
        )
    };
    for (digit, sandbox) in [(1, Sandbox::Required), (2, Sandbox::None)] {
        let mark = format!("{}.{digit}5", 40_000 + std::process::id());
        let policy = world.policy("/bin/bash", sandbox);
        let fence = world.fence.clone();
        let outcome = world.call(policy, fence, &["-c", &script(&mark)]).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
        assert_eq!(
            living(&mark),
            [0; 0],
            "{sandbox:?}: it ends before its call does"
        );
    }
    let mark = format!("{}.75", 40_000 + std::process::id());
    let mut unkept = Command::new("/bin/bash");
    let unkept = unkept.args(["-c", &script(&mark)]).process_group(0);
    let mut unkept = unkept.spawn().unwrap();
    let group = Pid::from_child(&unkept);
    unkept.wait().unwrap();
    kill_process_group(group, Signal::KILL).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let survivors = living(&mark);
    kill(&survivors);
    assert!(
        !survivors.is_empty(),
        "without a keeper one flees its group"
    );
}

#[tokio::test]
async fn a_call_ends_as_its_program_does() {
    let Some(world) = World::new() else { return };
    for sandbox in [Sandbox::Required, Sandbox::None] {
        for (script, told) in [
            ("exit 0", "exit code 0"),
            ("exit 7", "exit code 7"),
            ("exit 255", "exit code 255"),
            ("kill -TERM $$", "ended by signal 15"),
            ("kill -KILL $$", "ended by signal 9"),
            ("kill -SEGV $$", "ended by signal 11"),
            ("kill -PIPE $$", "ended by signal 13"),
            ("kill -USR1 $$", "ended by signal 10"),
        ] {
            let policy = world.policy("/bin/bash", sandbox);
            let fence = world.fence.clone();
            let outcome = world.call(policy, fence, &["-c", script]).await;
            assert_eq!(outcome, Outcome::done(told), "{sandbox:?} {script}");
        }
    }
}

#[tokio::test]
async fn a_program_cannot_end_its_keeper_nor_outlive_one_that_is_killed() {
    let Some(world) = World::new() else { return };
    let attack = "for name in KILL STOP USR1 0; do kill -$name $PPID; kill -$name -- -$PPID; kill -$name -- -1; done; echo alive";
    let attacked = world.script(Sandbox::Required, Access::Write, attack);
    assert_eq!((attacked.code, &*attacked.out), (Some(0), "alive\n"));
    assert_eq!(
        attacked.err.matches("not permitted").count(),
        12,
        "{}",
        attacked.err
    );
    // From outside, by whoever may.
    let mark = format!("{}.5", 70_000 + std::process::id());
    let mut start = world.start(
        Sandbox::Required,
        Path::new("/bin/sleep"),
        &world.root(Access::Read),
    );
    let mut keeper = start.command.arg(&mark).spawn().unwrap();
    assert!(comes_true(|| runs_program(&mark)));
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    assert!(all_end(&mark), "{:?} live", living(&mark));
}

#[tokio::test]
async fn a_program_that_ignores_signals_or_adopts_or_unties_itself_ends_with_all_that_it_began() {
    let Some(world) = World::new() else { return };
    // PR_SET_CHILD_SUBREAPER is 36, PR_SET_PDEATHSIG 1; their numbers are the same on every processor.
    let python = Path::new("/usr/bin/python3");
    let ties = "import ctypes, os, sys; c = ctypes.CDLL(None); c.prctl(36, 1, 0, 0, 0); c.prctl(1, 0, 0, 0, 0); os.closerange(0, 256); ";
    for (digit, sandbox) in [(1, Sandbox::Required), (2, Sandbox::None)] {
        let mark = format!("{}.{digit}", 80_000 + std::process::id());
        let script = if python.exists() {
            let flee = "os.fork() or os.fork() or os.execv('/bin/sleep', ['sleep', sys.argv[1]]); os.execv('/bin/sleep', ['sleep', sys.argv[1]])";
            format!("trap '' TERM INT HUP; exec /usr/bin/python3 -c \"{ties}{flee}\" {mark}")
        } else {
            format!("trap '' TERM INT HUP; exec 0<&- 1>&- 2>&-; sleep {mark} & sleep {mark}")
        };
        let mut start = world.start(sandbox, Path::new("/bin/bash"), &world.root(Access::Read));
        let mut keeper = start.command.args(["-c", &script]).spawn().unwrap();
        assert!(
            comes_true(|| living(&mark).len() >= 3),
            "{:?}",
            living(&mark)
        );
        kill_process(Pid::from_child(&keeper), Signal::TERM).unwrap();
        let begun = Instant::now();
        keeper.wait().unwrap();
        assert_eq!(living(&mark), [0; 0], "{sandbox:?}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn ten_thousand_children_that_end_at_once_are_collected() {
    let Some(world) = World::new() else { return };
    let script = "for i in {1..100}; do (for j in {1..100}; do : & done) & done; wait; echo all";
    for sandbox in [Sandbox::Required, Sandbox::None] {
        let ran = world.script(sandbox, Access::Write, script);
        let whole = ran.out == "all\n" && ran.code == Some(0);
        // The fence lets it have 128 at once; where that is too few, it says so and still ends.
        assert!(
            whole || sandbox == Sandbox::Required,
            "{} {}",
            ran.out,
            ran.err
        );
    }
}

#[tokio::test]
async fn what_forks_as_fast_as_it_can_from_session_to_session_is_caught() {
    let Some(world) = World::new() else { return };
    let mark = format!("{}.9", 90_000 + std::process::id());
    // Four lines of processes, each of which begins the next in a session of its own and ends; the file calls them off.
    let stop = world.path("scratch/stop");
    let hop = format!(
        "[ -e {} ] || setsid bash -c \"$HOP\" x {mark} & exit 0",
        stop.display()
    );
    let script = format!(
        "export HOP='{hop}'; for i in 1 2 3 4; do bash -c \"$HOP\" x {mark} & done; sleep 0.3"
    );
    let begun = Instant::now();
    let ran = world.script(Sandbox::None, Access::Write, &script);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
    let survivors = living(&mark);
    fs::write(&stop, "").unwrap();
    assert_eq!(survivors, [0; 0]);
}

#[tokio::test]
async fn a_fenced_call_that_floods_is_stopped_and_one_that_says_much_is_cut() {
    let Some(world) = World::new() else { return };
    let outcome = world.fenced_call("/usr/bin/yes", &[]).await;
    let Outcome::Failed { reason } = outcome else {
        panic!("{outcome:?}");
    };
    assert!(reason.starts_with("stopped: it wrote more than 16 MB; of its output, "));
    assert!(reason.len() <= 65 * 1024);
    let outcome = world.fenced_call("/usr/bin/seq", &["1000000"]).await;
    let Outcome::Done { text, .. } = outcome else {
        panic!("{outcome:?}");
    };
    let (begin, rest) = text.split_once('\n').unwrap();
    assert!(begin.starts_with("exit code 0; all of its output, 6.8 MB, is in @output/"));
    assert!(rest.starts_with("stdout:\n1\n2\n") && rest.ends_with("\n1000000"));
    assert!(text.contains("bytes left out]") && text.len() <= 65 * 1024);
}

#[tokio::test]
async fn where_there_is_no_fence_there_is_no_command() {
    let Some(world) = World::new() else { return };
    let policy = || world.policy("/bin/touch", Sandbox::Required);
    let missing = Fence::Missing("this kernel is too old".to_owned());
    let offered = |fence| tools::offered(&policy(), fence).contains(&"shell.run".to_owned());
    assert!(offered(&world.fence));
    assert!(!offered(&missing));
    let outcome = world.call(policy(), missing.clone(), &["ran"]).await;
    let refusal = "sandbox_unavailable: this kernel is too old, and the policy demands a sandbox; with sandbox = \"none\" in policy.toml its owner can allow commands without one";
    assert_eq!(outcome, Outcome::denied(refusal));
    assert!(!world.path("docs/ran").exists());
    let outcome = world.call(policy(), world.fence.clone(), &["ran"]).await;
    assert_eq!(outcome, Outcome::done("exit code 0"));
    assert!(world.path("docs/ran").exists());
}

#[tokio::test]
async fn a_program_that_cannot_start_behind_the_fence_is_told_apart_from_one_that_fails() {
    let Some(world) = World::new() else { return };
    let broken = world.path("broken");
    fs::write(&broken, "#!/no/interpreter\n").unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o700)).unwrap();
    let outcome = world.fenced_call(broken.to_str().unwrap(), &[]).await;
    let reason = "the program cannot be started: No such file or directory (os error 2)";
    assert_eq!(outcome, Outcome::failed(reason));
    let outcome = world.fenced_call("/bin/bash", &["-c", "echo no fence: ha >&2; exit 125"]);
    let told = "exit code 125\nstderr:\nno fence: ha";
    assert_eq!(outcome.await, Outcome::done(told));
}
