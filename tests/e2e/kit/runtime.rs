//! The built Worker on the real runtime, held by `tests/runtime/control.mjs`: start, kill, evict, look into D1.

use super::person::PATIENCE;
use serde_json::{Map, Value, json};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command as Kill, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

/// A cold start compiles the wasm; on two busy cores that is seconds, never a minute.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// One Worker on one folder. It can be killed and started again; it ends with this value.
#[derive(Debug)]
pub(crate) struct Runtime {
    /// Where it answers, such as `http://127.0.0.1:4712`; the same after a restart.
    pub(crate) url: String,
    folder: PathBuf,
    vars: Map<String, Value>,
    beside: Option<PathBuf>,
    process: Mutex<Process>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    stdin: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Runtime {
    /// Starts the Worker with its state in `folder` and these variables and secrets, and where it is given a second Worker beside it.
    pub(crate) async fn start(
        folder: &Path,
        vars: Map<String, Value>,
        beside: Option<&Path>,
    ) -> Self {
        let mut process = Process::spawn(folder);
        let url = process.start(folder, &vars, beside, 0).await;
        Self {
            url,
            folder: folder.to_owned(),
            vars,
            beside: beside.map(Path::to_owned),
            process: Mutex::new(process),
        }
    }

    /// Ends the whole process group at once, as a power cut would.
    pub(crate) async fn kill(&self) {
        let mut process = self.process.lock().await;
        process.kill();
        process
            .child
            .wait()
            .await
            .expect("a killed child can be waited for");
    }

    /// Starts the killed Worker again, on the same folder and port.
    pub(crate) async fn start_again(&self) {
        let port = self
            .url
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
            .expect("the address ends in its port");
        let mut process = Process::spawn(&self.folder);
        let url = process
            .start(&self.folder, &self.vars, self.beside.as_deref(), port)
            .await;
        assert_eq!(url, self.url, "the Worker came back at another address");
        *self.process.lock().await = process;
    }

    /// Puts a user's object out of memory; its sockets stay open, as in hibernation.
    pub(crate) async fn hibernate(&self, user: &str) {
        self.ask(json!({"cmd": "evict", "name": user, "webSockets": "hibernate"}))
            .await;
    }

    /// The ids of all objects that exist.
    pub(crate) async fn objects(&self) -> Vec<Value> {
        self.ask(json!({"cmd": "objects"})).await["objects"]
            .as_array()
            .expect("a list of ids")
            .clone()
    }

    /// Runs a query on D1 and gives its rows.
    pub(crate) async fn sql(&self, query: &str, params: &[Value]) -> Vec<Value> {
        self.ask(json!({"cmd": "sql", "query": query, "params": params}))
            .await["rows"]
            .as_array()
            .expect("rows")
            .clone()
    }

    /// All that the Worker and the runtime have logged.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(log_path(&self.folder)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the log holds these words.
    pub(crate) async fn logs(&self, words: &str) {
        let held = timeout(PATIENCE, async {
            while !self.log().contains(words) {
                sleep(Duration::from_millis(20)).await; // what the Worker writes takes its own way to the file
            }
        });
        assert!(held.await.is_ok(), "no {words:?} in {}", self.log());
    }

    async fn ask(&self, question: Value) -> Value {
        self.process.lock().await.ask(question).await
    }
}

impl Process {
    fn spawn(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("the state's folder can be made");
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(node(repository))
            .arg(repository.join("tests/runtime/control.mjs"))
            .current_dir(repository)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(append(&log_path(folder)))
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .expect("node can be started");
        Self {
            stdin: child.stdin.take().expect("stdin is piped"),
            answers: BufReader::new(child.stdout.take().expect("stdout is piped")).lines(),
            child,
        }
    }

    async fn start(
        &mut self,
        folder: &Path,
        vars: &Map<String, Value>,
        beside: Option<&Path>,
        port: u16,
    ) -> String {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let build = std::env::var_os("BERNARD_BUILD")
            .map_or_else(|| repository.join("build"), PathBuf::from);
        assert!(
            build.join("index_bg.wasm").exists(),
            "there is no Worker in {}: run `cargo xtask build-worker` first",
            build.display()
        );
        let started = self.ask(json!({
            "cmd": "start",
            "build": build,
            "folder": folder,
            "migrations": repository.join("migrations"),
            "compatibilityDate": compatibility_date(repository),
            "port": port,
            "vars": vars,
            "beside": beside,
        }));
        started.await["url"]
            .as_str()
            .expect("the address")
            .to_owned()
    }

    async fn ask(&mut self, question: Value) -> Value {
        self.stdin
            .write_all(format!("{question}\n").as_bytes())
            .await
            .expect("the runtime listens");
        let line = timeout(START_TIMEOUT, self.answers.next_line())
            .await
            .expect("the runtime answers in time");
        let line = line
            .expect("the answer can be read")
            .expect("the runtime lives; its log says why it does not");
        let answer: Value = serde_json::from_str(&line).expect("answers are JSON");
        assert_eq!(
            answer["ok"], true,
            "the runtime refused {question}: {}",
            answer["error"]
        );
        answer
    }

    fn kill(&self) {
        // The group, because node is not the one that serves: workerd is its child. No id: it is gone already.
        if let Some(id) = self.child.id() {
            kill_group(id);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ends a process and its descendants at once.
pub(crate) fn kill_group(id: u32) {
    let group = format!("-{id}");
    Kill::new("kill")
        .args(["-KILL", "--", &group])
        .stderr(Stdio::null())
        .status()
        .expect("there is a kill command");
}

/// A file that a child's output is added to.
pub(crate) fn append(path: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("a log can be opened")
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("worker.log")
}

/// A Node that is new enough: the given one, the project's own, the system's.
pub(crate) fn node(repository: &Path) -> PathBuf {
    let pinned = repository.join("node_modules/.bin/node");
    match std::env::var_os("BERNARD_NODE") {
        Some(node) => node.into(),
        None if pinned.exists() => pinned,
        None => "node".into(),
    }
}

fn compatibility_date(repository: &Path) -> String {
    let text = std::fs::read_to_string(repository.join("wrangler.toml"))
        .expect("wrangler.toml can be read");
    let line = text
        .lines()
        .find(|line| line.starts_with("compatibility_date"))
        .expect("wrangler.toml has a date");
    line.split('"')
        .nth(1)
        .expect("the date is quoted")
        .to_owned()
}
