//! The approver: a second Telegram bot, whose token this machine alone knows, asks the owner and brings the answers. It only dials out.

use super::Held;
use super::desk::{Desk, Over};
use crate::home::{Broken, Home};
use crate::journal::Unusable;
use crate::pair::{BadAddress, endpoint};
use crate::status::now;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// Where the approver's settings lie in the home.
const FILE: &str = "approver.toml";

/// Telegram's own address.
const TELEGRAM: &str = "https://api.telegram.org";

/// How long Telegram may keep a request for news, in seconds. A question that opens meanwhile is sent after it.
const POLL_SECONDS: u64 = 3;

/// How long any request may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How often questions are looked for.
const PAUSE: Duration = Duration::from_millis(500);

/// How often it is looked for while none is set.
const UNSET_PAUSE: Duration = Duration::from_secs(5);

/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// An answer of Telegram's is a few messages; anything longer is not one.
const MAX_ANSWER: u64 = 1024 * 1024;

/// The longest action that fits into a message of 4,096 UTF-16 units, with the words around it. What is not shown whole cannot be
/// approved there.
const MAX_SHOWN: usize = 3_500;

/// How much of a digest a button carries: 64 bits, beside the question's 128-bit id. A button holds 64 bytes.
const DIGEST_PART: usize = 16;

/// A bot's token. It prints as `***`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

/// The approver, as its owner has set it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The token of a bot that is not Bernard's own.
    pub token: Token,
    /// The one person whose presses count, by Telegram's number.
    pub owner: i64,
    /// Another address than Telegram's own; for a test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_url: Option<String>,
}

/// What can be wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum Unset {
    /// The file cannot be read or written, or others can.
    #[error(transparent)]
    Home(#[from] Broken),
    /// The file is not what it should be.
    #[error("approver.toml is not understood: line {0}; run: local-bridge approver set")]
    Syntax(usize),
    /// The token is none. It is not shown.
    #[error(
        "that is no bot token; @BotFather gives one such as 110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
    )]
    Token,
    /// The owner is not named by a number.
    #[error("a person's number is wanted, such as 4711, not a name; @userinfobot tells yours")]
    Owner,
}

/// Why Telegram could not be asked. None of it holds the token.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// No answer came, or none that is Telegram's.
    #[error("Telegram cannot be reached: {0}")]
    Unreachable(String),
    /// The answer is no.
    #[error("Telegram says no ({status}): {why}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its words.
        why: String,
    },
    /// The answer is to wait.
    #[error("Telegram wants {0} seconds of quiet")]
    Limited(u64),
    /// The bot already answers to someone.
    #[error(
        "this bot is in use: it sends its news to a webhook, as Bernard's own bot does. The approver must be another one, whose token the cloud does not know; @BotFather makes it"
    )]
    InUse,
    /// The address is none.
    #[error(transparent)]
    Address(#[from] BadAddress),
    /// The questions cannot be read or written.
    #[error(transparent)]
    Desk(#[from] Unusable),
}

/// A bot at work.
#[derive(Debug)]
pub struct Bot {
    api: Api,
    owner: i64,
    desk: Desk,
}

/// The way to Telegram.
#[derive(Debug)]
struct Api {
    agent: ureq::Agent,
    address: String,
    token: Token,
}

#[derive(Deserialize)]
struct Answered {
    ok: bool,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Default, Deserialize)]
struct Parameters {
    retry_after: Option<u64>,
}

#[derive(Deserialize)]
struct Me {
    username: String,
}

#[derive(Deserialize)]
struct Webhook {
    url: String,
}

#[derive(Deserialize)]
struct Message {
    message_id: i64,
    chat: Party,
}

#[derive(Deserialize)]
struct Party {
    id: i64,
}

#[derive(Deserialize)]
struct Update {
    update_id: i64,
    callback_query: Option<Value>,
}

/// A press on a button.
#[derive(Deserialize)]
struct Press {
    id: String,
    from: Party,
    message: Option<Message>,
    data: Option<String>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Token {
    /// A token from its text: the bot's number, a colon, letters and digits.
    pub fn new(text: &str) -> Result<Self, Unset> {
        let (number, secret) = text.split_once(':').ok_or(Unset::Token)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let is_number = number.parse::<i64>().is_ok_and(|number| number > 0);
        if !is_number || secret.is_empty() || !secret.chars().all(allowed) {
            return Err(Unset::Token);
        }
        Ok(Self(text.to_owned()))
    }

    /// The bot's own number, which is no secret.
    fn bot(&self) -> i64 {
        let number = self.0.split(':').next().unwrap_or_default();
        number.parse().unwrap_or_default()
    }
}

impl Settings {
    /// The approver of a home; `None` where there is none.
    pub fn read(home: &Home) -> Result<Option<Self>, Unset> {
        let path = home.path().join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Broken::Io { path, source }.into()),
        };
        let metadata = fs::metadata(&path);
        if metadata.is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0) {
            return Err(Broken::Open(path).into());
        }
        let settings: Self = toml::from_str(&text).map_err(|error| {
            // The library's own words would show the line, and the token in it.
            let offset = error.span().map_or(0, |span| span.start);
            Unset::Syntax(
                1 + text
                    .bytes()
                    .take(offset)
                    .filter(|byte| *byte == b'\n')
                    .count(),
            )
        })?;
        Token::new(&settings.token.0)?;
        if settings.owner <= 0 {
            return Err(Unset::Owner);
        }
        Ok(Some(settings))
    }

    /// Keeps them in a home, for its owner alone.
    pub fn write(&self, home: &Home) -> Result<(), Unset> {
        let text = toml::to_string(self).map_err(|_| Unset::Syntax(1))?;
        Ok(home.write(FILE, &text)?)
    }

    /// Takes them out of a home; false where there were none.
    pub fn remove(home: &Home) -> Result<bool, Unset> {
        let path = home.path().join(FILE);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Broken::Io { path, source }.into()),
        }
    }

    /// The bot's name, if Telegram knows the token and the bot is free to be an approver.
    pub fn check(&self) -> Result<String, Trouble> {
        let api = Api::new(self);
        let Me { username } = api.call("getMe", &json!({}))?;
        let Webhook { url } = api.call("getWebhookInfo", &json!({}))?;
        if url.is_empty() {
            Ok(username)
        } else {
            Err(Trouble::InUse)
        }
    }

    /// Looks whether it may write to its owner, without a message: "typing" shows for a moment.
    pub fn reaches_owner(&self) -> Result<(), Trouble> {
        let body = json!({"chat_id": self.owner, "action": "typing"});
        let _is_true: bool = Api::new(self).call("sendChatAction", &body)?;
        Ok(())
    }

    /// Says hello, which shows that the owner has begun a chat with the bot: before that it may not write.
    pub fn greet(&self, machine: &str) -> Result<(), Trouble> {
        let text =
            format!("This is the approver of {machine}. What needs a yes at home is asked here.");
        let body = json!({"chat_id": self.owner, "text": text});
        let Message { .. } = Api::new(self).call("sendMessage", &body)?;
        Ok(())
    }
}

/// Serves a home's approver, if it has one, for as long as the process lives.
pub fn serve(home: &Home) {
    let (mut pause, mut told) = (PAUSE, String::new());
    loop {
        match turn(home) {
            Ok(is_set) => {
                pause = if is_set { PAUSE } else { UNSET_PAUSE };
                told.clear();
            }
            Err((why, wait)) => {
                if why != told {
                    tracing::warn!("approver: {why}");
                    told = why;
                }
                pause = wait.unwrap_or((pause * 2).min(LONGEST_PAUSE));
            }
        }
        std::thread::sleep(pause);
    }
}

/// One turn, with the settings as they are; whether there are any. Else why not, and how long to wait if Telegram says so.
fn turn(home: &Home) -> Result<bool, (String, Option<Duration>)> {
    let Some(bot) = Bot::open(home).map_err(|error| (error.to_string(), None))? else {
        return Ok(false);
    };
    bot.turn().map(|()| true).map_err(|trouble| {
        let wait = match &trouble {
            Trouble::Limited(seconds) => Some(Duration::from_secs(*seconds)),
            Trouble::Unreachable(_)
            | Trouble::Refused { .. }
            | Trouble::InUse
            | Trouble::Address(_)
            | Trouble::Desk(_) => None,
        };
        (trouble.to_string(), wait)
    })
}

impl Bot {
    /// The approver of a home; `None` where none is set or nothing was ever ordered.
    pub fn open(home: &Home) -> Result<Option<Self>, Unset> {
        let Some(settings) = Settings::read(home)? else {
            return Ok(None);
        };
        let desk = Desk::open(&home.journal()).ok().flatten();
        Ok(desk.map(|desk| Self {
            api: Api::new(&settings),
            owner: settings.owner,
            desk,
        }))
    }

    /// Takes the answers that have come, asks what is not asked yet, and tells how questions ended. Telegram hears nothing of it while
    /// there is no question. Trouble with one of them ends nothing but that one, and is told at the end.
    pub fn turn(&self) -> Result<(), Trouble> {
        // Answers first: however many questions come, a no still counts.
        let is_open = !self.desk.unanswered(now())?.is_empty();
        let mut first = if is_open { self.hear() } else { Ok(()) };
        for held in self.desk.unsent(now())? {
            if matches!(first, Err(Trouble::Limited(_))) {
                return first;
            }
            first = later(first, self.ask(&held));
        }
        for over in self.desk.over(now())? {
            if matches!(first, Err(Trouble::Limited(_))) {
                return first;
            }
            first = later(first, self.close(&over));
        }
        first
    }

    fn ask(&self, held: &Held) -> Result<(), Trouble> {
        let button = |label: &str, word: char| {
            let part = part(held);
            json!({"text": label, "callback_data": format!("{word}:{}:{part}", held.id)})
        };
        let (action, buttons) = if is_seen(held) {
            (
                held.shown.clone(),
                vec![button("Yes", 'y'), button("No", 'n')],
            )
        } else {
            let begin: String = held.shown.chars().take(MAX_SHOWN / 2).collect();
            let action = format!(
                "{begin}…\n\nThis is not all of it: approve it at the machine, with local-bridge approve"
            );
            (action, vec![button("No", 'n')])
        };
        let text = format!(
            "{} Open for {} minutes.\n\n{action}\n\n{}: {}",
            if held.is_wish() {
                "May this become a rule?"
            } else {
                "May this run?"
            },
            held.minutes_left(now()),
            if held.is_wish() { "why" } else { "rule" },
            held.why
        );
        let body = json!({
            "chat_id": self.owner,
            "text": text,
            "link_preview_options": {"is_disabled": true},
            "reply_markup": {"inline_keyboard": [buttons]},
        });
        let sent: Message = self.api.call("sendMessage", &body)?;
        Ok(self.desk.sent(&held.id, sent.message_id)?)
    }

    /// Takes the presses since the last one that is noted. Each is noted after it counted: a press that comes twice does nothing more.
    fn hear(&self) -> Result<(), Trouble> {
        let bot = self.api.token.bot();
        let body = json!({
            "offset": self.desk.next_update(bot)?,
            "timeout": POLL_SECONDS,
            "allowed_updates": ["callback_query"],
        });
        let updates: Vec<Update> = match self.api.call("getUpdates", &body) {
            Err(Trouble::Refused { status: 409, .. }) => return Err(Trouble::InUse),
            other => other?,
        };
        for update in updates {
            let press = update.callback_query;
            if let Some(press) = press.and_then(|press| serde_json::from_value(press).ok()) {
                self.pressed(&press)?;
            }
            self.desk.updated(bot, update.update_id + 1)?;
        }
        Ok(())
    }

    fn pressed(&self, press: &Press) -> Result<(), Trouble> {
        let chat = press.message.as_ref().map(|message| message.chat.id);
        if press.from.id != self.owner || chat != Some(self.owner) {
            tracing::warn!(
                "approver: a press by {} was ignored, who is not the owner",
                press.from.id
            );
            return Ok(());
        }
        let words = match press.data.as_deref().map(|data| self.answered(data)) {
            Some(answered) => answered?,
            None => None,
        };
        let text = words.unwrap_or("This is no longer open. Nothing was done.");
        let body = json!({"callback_query_id": press.id, "text": text});
        match self.api.call::<Value>("answerCallbackQuery", &body) {
            // The words are shown for a moment; one that was pressed long ago shows them no more.
            Ok(_) | Err(Trouble::Refused { status: 400, .. }) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    /// What an answer has done, in words; `None` if nothing.
    fn answered(&self, data: &str) -> Result<Option<&'static str>, Trouble> {
        let mut parts = data.splitn(3, ':');
        let (Some(word @ ("y" | "n")), Some(id), Some(named)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Ok(None);
        };
        let at = now();
        let open = self.desk.unanswered(at)?;
        let fits = |held: &&Held| held.id == id && self::part(held) == named;
        let Some(held) = open.iter().find(fits) else {
            return Ok(None);
        };
        let yes = word == "y";
        if yes && !is_seen(held) {
            return Ok(Some("Not all of it was shown. Approve it at the machine.")); // no such button was sent
        }
        let counts = self
            .desk
            .answer(&held.id, &held.digest, yes, "Telegram", at)?;
        let words = held.words();
        Ok(counts.then_some(if yes { words.said_yes } else { words.said_no }))
    }

    /// Tells in the message how its question ended; the buttons go.
    fn close(&self, over: &Over) -> Result<(), Trouble> {
        let shown: String = over.shown.chars().take(MAX_SHOWN / 2).collect();
        let body = json!({
            "chat_id": self.owner,
            "message_id": over.message,
            "text": format!("{}\n\n{shown}", over.ending),
            "link_preview_options": {"is_disabled": true},
        });
        match self.api.call::<Value>("editMessageText", &body) {
            // Deleted, or edited already: it shows no buttons either way.
            Ok(_) | Err(Trouble::Refused { status: 400, .. }) => {
                Ok(self.desk.shown_over(&over.id)?)
            }
            Err(trouble) => Err(trouble),
        }
    }
}

/// What is told of two tries: to be quiet before all else, then the first trouble.
fn later(first: Result<(), Trouble>, next: Result<(), Trouble>) -> Result<(), Trouble> {
    match next {
        Err(Trouble::Limited(seconds)) => Err(Trouble::Limited(seconds)),
        other => first.and(other),
    }
}

/// Whether a message shows all that would run: only then it asks for a yes.
fn is_seen(held: &Held) -> bool {
    !held.is_cut() && held.shown.encode_utf16().count() <= MAX_SHOWN
}

/// What a button carries of a question's digest.
fn part(held: &Held) -> &str {
    held.digest.get(..DIGEST_PART).unwrap_or(&held.digest)
}

impl Api {
    fn new(settings: &Settings) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0) // the token is in the path
            .proxy(None)
            .build()
            .new_agent();
        let address = settings.api_url.as_deref().unwrap_or(TELEGRAM);
        Self {
            agent,
            address: address.to_owned(),
            token: settings.token.clone(),
        }
    }

    fn call<T: DeserializeOwned>(&self, method: &str, body: &Value) -> Result<T, Trouble> {
        // Whatever goes wrong is told without the token, which is in the address.
        let unreachable =
            |why: String| Trouble::Unreachable(why.replace(self.token.0.as_str(), "***"));
        let url = endpoint(&self.address, &format!("/bot{}/{method}", self.token.0))?;
        let mut response = self
            .agent
            .post(url.as_str())
            .content_type("application/json")
            .send(body.to_string())
            .map_err(|error| unreachable(error.to_string()))?;
        let status = response.status().as_u16();
        let text = response
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER)
            .read_to_string()
            .map_err(|error| unreachable(error.to_string()))?;
        let answered: Answered = serde_json::from_str(&text)
            .map_err(|_| unreachable(format!("HTTP status {status}, and no answer of its kind")))?;
        if let Some(seconds) = answered.parameters.retry_after {
            return Err(Trouble::Limited(seconds));
        }
        if !answered.ok {
            let why = answered.description.replace(self.token.0.as_str(), "***");
            return Err(Trouble::Refused { status, why });
        }
        serde_json::from_value(answered.result)
            .map_err(|_| unreachable(format!("its answer to {method} is not understood")))
    }
}
