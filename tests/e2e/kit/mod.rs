//! A world for one story: the Worker on the real runtime, fakes of all that it talks to, people and their machines.

pub(crate) mod bridge;
pub(crate) mod console;
mod dialect;
mod markup;
pub(crate) mod models;
pub(crate) mod person;
pub(crate) mod runtime;
mod server;
pub(crate) mod telegram;
pub(crate) mod tunnel;
pub(crate) mod whatsapp;

use bridge::Machine;
use models::{Dialect, FakeModel};
use person::{PATIENCE, Person};
use reqwest::{Body, Client, RequestBuilder, Response};
use runtime::Runtime;
use serde_json::{Map, Value, json};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use telegram::{Deed, FakeTelegram};
use tempfile::TempDir;
use tunnel::Tunnel;
use whatsapp::{Contact, FakeGraph};

/// The bot's token.
pub(crate) const TOKEN: &str = "123456789:AAcanaryTokenCanaryTokenCanaryToken";
/// What Telegram proves itself with.
pub(crate) const WEBHOOK_SECRET: &str = "canary-webhook-secret-0123456789abcdef";
/// The header that it does so in.
pub(crate) const SECRET_HEADER: &str = "X-Telegram-Bot-Api-Secret-Token";
/// What makes the first user the owner.
pub(crate) const OWNER_CLAIM: &str = "canary-claim-0123456789abcdef";
const ANTHROPIC_KEY: &str = "sk-ant-canary-key-0123456789abcdef";
const OPENAI_KEY: &str = "sk-proj-canary-key-0123456789abcdef";

/// What must never be in a log nor in what is kept.
const SECRETS: [&str; 7] = [
    TOKEN,
    WEBHOOK_SECRET,
    ANTHROPIC_KEY,
    OPENAI_KEY,
    whatsapp::ACCESS_TOKEN,
    whatsapp::APP_SECRET,
    whatsapp::VERIFY_TOKEN,
];

/// The id of the person who becomes the owner.
const OWNER: i64 = 1_000_001;

/// Everything that a story needs; all of it ends with this value.
#[derive(Debug)]
pub(crate) struct World {
    /// The Worker.
    pub(crate) runtime: Runtime,
    /// What the Worker takes for Telegram.
    pub(crate) telegram: FakeTelegram,
    /// What it takes for WhatsApp.
    pub(crate) whatsapp: FakeGraph,
    /// What it takes for Anthropic.
    pub(crate) anthropic: FakeModel,
    /// What it takes for `OpenAI`.
    pub(crate) openai: FakeModel,
    /// Someone on the internet.
    pub(crate) client: Client,
    spoken_secrets: Mutex<Vec<String>>,
    folder: TempDir,
}

impl World {
    /// A world in which `MODEL` is `model` and everything is configured.
    pub(crate) async fn start(model: &str) -> Self {
        Self::start_without(model, &[]).await
    }

    /// The same, with these variables and secrets unset.
    pub(crate) async fn start_without(model: &str, unset: &[&str]) -> Self {
        Self::start_as(model, unset, &[], None).await
    }

    /// The same as at first, with these variables set as well.
    pub(crate) async fn start_with(model: &str, set: &[(&str, &str)]) -> Self {
        Self::start_as(model, &[], set, None).await
    }

    /// The same as at first, with some variables unset and others set, and a second Worker (its one module) on the same runtime, at
    /// `/beside/`.
    pub(crate) async fn start_as(
        model: &str,
        unset: &[&str],
        set: &[(&str, &str)],
        beside: Option<&Path>,
    ) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let telegram = FakeTelegram::start(TOKEN).await;
        let whatsapp = FakeGraph::start().await;
        let anthropic = FakeModel::start(Dialect::Anthropic, ANTHROPIC_KEY).await;
        let openai = FakeModel::start(Dialect::OpenAi, OPENAI_KEY).await;
        let vars = [
            ("MODEL", model),
            ("TELEGRAM_BOT_TOKEN", TOKEN),
            ("TELEGRAM_WEBHOOK_SECRET", WEBHOOK_SECRET),
            ("TELEGRAM_API_URL", &telegram.url),
            ("WHATSAPP_ACCESS_TOKEN", whatsapp::ACCESS_TOKEN),
            ("WHATSAPP_PHONE_NUMBER_ID", whatsapp::NUMBER),
            ("WHATSAPP_APP_SECRET", whatsapp::APP_SECRET),
            ("WHATSAPP_VERIFY_TOKEN", whatsapp::VERIFY_TOKEN),
            ("WHATSAPP_TEMPLATE", whatsapp::TEMPLATE),
            ("WHATSAPP_API_URL", &whatsapp.url),
            ("ANTHROPIC_API_KEY", ANTHROPIC_KEY),
            ("ANTHROPIC_API_URL", &anthropic.url),
            ("OPENAI_API_KEY", OPENAI_KEY),
            ("OPENAI_API_URL", &openai.url),
            ("OWNER_CLAIM", OWNER_CLAIM),
        ];
        let usual = vars.into_iter().filter(|(name, _)| !unset.contains(name));
        let vars: Map<String, Value> = usual
            .chain(set.iter().copied())
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        let runtime = Runtime::start(&folder.path().join("worker"), vars, beside).await;
        let client = Client::builder()
            .timeout(PATIENCE)
            .build()
            .expect("a plain client can be made");
        let spoken_secrets = Mutex::new(vec![OWNER_CLAIM.to_owned()]);
        Self {
            runtime,
            telegram,
            whatsapp,
            anthropic,
            openai,
            client,
            spoken_secrets,
            folder,
        }
    }

    /// The address of a path of the Worker's.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.runtime.url)
    }

    /// Someone of whom the Worker knows nothing.
    pub(crate) fn stranger(&self, id: i64) -> Person<'_> {
        Person::new(self, id)
    }

    /// The owner, made by the claim and greeted.
    pub(crate) async fn owner(&self) -> Person<'_> {
        let owner = Person::new(self, OWNER);
        owner.says(&format!("/start {OWNER_CLAIM}")).await;
        owner.hears_something().await;
        owner
    }

    /// A second user, let in by the operator.
    pub(crate) async fn member(&self, id: i64) -> Person<'_> {
        let user = format!("{id:032x}");
        let users = "INSERT INTO users (id, role, created_at) VALUES (?, 'member', 0)";
        self.runtime.sql(users, &[json!(user)]).await;
        let identities = "INSERT INTO identities (channel, address, user_id, created_at) VALUES ('telegram', ?, ?, 0)";
        self.runtime
            .sql(identities, &[json!(id.to_string()), json!(user)])
            .await;
        Person::new(self, id)
    }

    /// A machine that is paired with this person and whose bridge runs.
    pub(crate) async fn machine(&self, person: &Person<'_>, name: &str) -> Machine {
        let mut machine = Machine::new(self.folder.path(), name);
        self.pair(person, &machine, None).await;
        machine.run();
        machine.logs(0, &["connected to"]).await;
        machine
    }

    /// The same, with a tunnel between bridge and Worker.
    pub(crate) async fn machine_behind(
        &self,
        person: &Person<'_>,
        name: &str,
        tunnel: &Tunnel,
    ) -> Machine {
        self.machine_at(person, name, &tunnel.url).await
    }

    /// The same, with something of the test's own at `address` between bridge and Worker.
    pub(crate) async fn machine_at(
        &self,
        person: &Person<'_>,
        name: &str,
        address: &str,
    ) -> Machine {
        let mut machine = Machine::new(self.folder.path(), name);
        self.pair(person, &machine, Some(address)).await;
        machine.run();
        machine.logs(0, &["connected to"]).await;
        machine
    }

    /// Pairs as a person does: a link from the chat, six words at both ends, a yes.
    async fn pair(&self, person: &Person<'_>, machine: &Machine, address: Option<&str>) {
        let question = self.asks_to_pair_at(person, machine, address).await;
        person.presses(&question, "match").await;
    }

    /// The same up to the question whether the words match.
    pub(crate) async fn asks_to_pair(
        &self,
        person: &Person<'_>,
        machine: &Machine,
        tunnel: Option<&Tunnel>,
    ) -> Deed {
        let address = tunnel.map(|tunnel| tunnel.url.as_str());
        self.asks_to_pair_at(person, machine, address).await
    }

    async fn asks_to_pair_at(
        &self,
        person: &Person<'_>,
        machine: &Machine,
        address: Option<&str>,
    ) -> Deed {
        person.says("/pair").await;
        let offer = person.hears("bernard://pair?").await;
        let link = offer
            .text
            .split('\'')
            .find(|part| part.starts_with("bernard://pair?"));
        let link = link
            .unwrap_or_else(|| panic!("no quoted link in {:?}", offer.text))
            .to_owned();
        self.keep_secret(
            protocol::pairing::Link::parse(&link)
                .expect("a pairing link")
                .secret,
        );
        let paired = machine.pair(&link, address).await;
        assert_eq!(
            paired.words.split_whitespace().count(),
            6,
            "six words in {paired:?}"
        );
        let has_words = |text: &str| {
            paired
                .words
                .split_whitespace()
                .all(|word| text.contains(word))
        };
        let question = person
            .hears_that("the six words", |deed| has_words(&deed.text))
            .await;
        let foreign = question
            .buttons
            .iter()
            .find(|(_, action)| !action.starts_with("pair:"));
        assert_eq!(
            foreign, None,
            "a button that has nothing to do with pairing"
        );
        question
    }

    /// A sign-in link for the console, asked for in the chat.
    pub(crate) async fn sign_in_link(&self, person: &Person<'_>) -> String {
        person.says("/console").await;
        let told = person.hears("/console/sign-in/").await;
        let is_gap = |c: char| c.is_whitespace() || "<>()\"'`".contains(c);
        let link = told
            .text
            .split(is_gap)
            .find(|word| word.contains("/console/sign-in/"));
        let link = link.expect("a message with a link holds it");
        self.keep_secret(link.rsplit('/').next().unwrap_or_default().to_owned());
        link.to_owned()
    }

    /// Someone with WhatsApp of whom the Worker knows nothing.
    pub(crate) fn contact(&self, number: &str) -> Contact<'_> {
        Contact::new(self, number)
    }

    /// The same person in WhatsApp, let in by the operator.
    pub(crate) async fn contact_of(&self, person: &Person<'_>, number: &str) -> Contact<'_> {
        let identities = "INSERT INTO identities (channel, address, user_id, created_at) VALUES ('whatsapp', ?, ?, 0)";
        let user = person.user_id().await;
        self.runtime
            .sql(identities, &[json!(number), json!(user)])
            .await;
        Contact::new(self, number)
    }

    /// Posts a body to WhatsApp's webhook with the right signature.
    pub(crate) async fn whatsapp_webhook(&self, body: &str) -> Response {
        let request = self.client.post(self.url("/whatsapp/webhook"));
        let signed = request.header(whatsapp::SIGNATURE, whatsapp::signature(body.as_bytes()));
        let request = signed.header("content-type", "application/json");
        let sent = request.body(body.to_owned()).send().await;
        sent.expect("the Worker answers")
    }

    /// Posts a body to the webhook with the right secret.
    pub(crate) async fn webhook(&self, body: impl Into<Body>) -> Response {
        let request = self.webhook_request(body);
        request.send().await.expect("the Worker answers")
    }

    /// The request that does so; nobody may be there to take it.
    fn webhook_request(&self, body: impl Into<Body>) -> RequestBuilder {
        let request = self
            .client
            .post(self.url("/telegram/webhook"))
            .header(SECRET_HEADER, WEBHOOK_SECRET);
        request
            .header("content-type", "application/json")
            .body(body)
    }

    /// Where this story may leave files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// No log may show this.
    fn keep_secret(&self, secret: String) {
        self.spoken_secrets
            .lock()
            .expect("nobody panics with the list in hand")
            .push(secret);
    }

    /// The end of each story: nobody was sent anything unpublished, and no secret lies about.
    pub(crate) fn ends_well(self) {
        let mut violations = self.telegram.violations();
        violations.extend(self.whatsapp.violations());
        violations.extend(self.anthropic.violations());
        violations.extend(self.openai.violations());
        assert_eq!(
            violations,
            Vec::<String>::new(),
            "what the Worker sent was not as published"
        );
        let spoken = self
            .spoken_secrets
            .lock()
            .expect("nobody panics with the list in hand")
            .clone();
        for file in files_below(self.folder.path()) {
            let bytes = match fs::read(&file) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue, // a bridge still tidies up
                read => read.expect("our own files can be read"),
            };
            let is_log = file.extension().is_some_and(|extension| extension == "log");
            let log_only = spoken.iter().map(String::as_str).filter(|_| is_log);
            for secret in SECRETS.into_iter().chain(log_only) {
                assert!(
                    !contains(&bytes, secret.as_bytes()),
                    "{} holds {secret:?}",
                    file.display()
                );
            }
        }
    }
}

impl Drop for World {
    /// A story that fails tells what everyone saw.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for deed in self.telegram.deeds() {
            let (method, chat, text) = (&deed.method, deed.chat, shortened(&deed.text));
            eprintln!(
                "telegram: {method} to {chat}: {text:?} {:?} {:?}",
                deed.buttons, deed.document
            );
        }
        for sent in self.whatsapp.sent() {
            let (kind, to, text) = (&sent.kind, &sent.to, shortened(&sent.text));
            eprintln!(
                "whatsapp: {kind} to {to}: {text:?} {:?} {:?}",
                sent.buttons, sent.file
            );
        }
        for (name, model) in [("anthropic", &self.anthropic), ("openai", &self.openai)] {
            for request in model.requests() {
                let last = request["messages"]
                    .as_array()
                    .and_then(|messages| messages.last())
                    .map(ToString::to_string);
                eprintln!(
                    "{name}: asked about {}",
                    shortened(&last.unwrap_or_default())
                );
            }
        }
        for violation in [
            self.telegram.violations(),
            self.whatsapp.violations(),
            self.anthropic.violations(),
            self.openai.violations(),
        ]
        .concat()
        {
            eprintln!("not as published: {violation}");
        }
        for file in files_below(self.folder.path()) {
            if file.extension().is_some_and(|extension| extension == "log") {
                let log =
                    String::from_utf8_lossy(&fs::read(&file).unwrap_or_default()).into_owned();
                let lines: Vec<&str> = log.lines().collect();
                eprintln!(
                    "--- {}\n{}",
                    file.display(),
                    lines[lines.len().saturating_sub(40)..].join("\n")
                );
            }
        }
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// A file's SHA-256, in hexadecimal.
fn files_sha256(bytes: &[u8]) -> String {
    let hash = hmac_sha256::Hash::hash(bytes);
    hash.map(|byte| format!("{byte:02x}")).concat()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

fn shortened(text: &str) -> String {
    text.chars().take(300).collect()
}
