//! `cargo xtask dev --telegram`: a bot's updates, fetched by long polling and handed to the local Worker through its own door, so that no
//! public address is needed. <https://core.telegram.org/bots/api#getupdates>

use std::{
    sync::mpsc::{Receiver, Sender, TryRecvError, channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{devvars, workspace::Workspace};

const POLL: Duration = Duration::from_secs(50); // Telegram answers sooner when there is something

const PATIENCE: Duration = Duration::from_secs(30);

const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What the webhook would be given; see `set_webhook` in `src/channels/telegram.rs`.
const WANTED: [&str; 2] = ["message", "callback_query"];

/// Fetches and hands over, until it is told that it cannot.
pub(crate) struct Relay {
    news: Receiver<News>,
}

/// What a bot is reached with.
#[derive(Clone)]
pub(crate) struct Settings {
    token: String,
    secret: String,
    api: String,
}

enum News {
    /// Worth a line.
    Told(String),
    /// Nothing more will come.
    Ended(String),
}

/// How an attempt ended that may be made again.
enum Trouble {
    /// Later, it may work.
    ForNow(String),
    /// It will not.
    ForGood(String),
}

impl Settings {
    /// Reads them from `.dev.vars`.
    pub(crate) fn of(workspace: &Workspace) -> Result<Self> {
        let file = workspace.root.join(".dev.vars");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        Self::read(&text)
    }

    fn read(text: &str) -> Result<Self> {
        let value = |name| devvars::value(text, name);
        let Some(token) = value("TELEGRAM_BOT_TOKEN") else {
            bail!(
                "--telegram needs a bot: make one with @BotFather and put its TELEGRAM_BOT_TOKEN into .dev.vars"
            )
        };
        let Some(secret) = value("TELEGRAM_WEBHOOK_SECRET") else {
            let mut fresh = [0; 24];
            getrandom::fill(&mut fresh).context("asking the system for random bytes")?;
            bail!(
                "--telegram goes through the webhook's door, which needs a secret; put this line into .dev.vars and start again:\n\
                 TELEGRAM_WEBHOOK_SECRET=\"{}\"",
                crate::workspace::hex(&fresh)
            )
        };
        let api = value("TELEGRAM_API_URL");
        let api = api.unwrap_or_else(|| "https://api.telegram.org".to_owned());
        Ok(Self {
            token,
            secret,
            api: api.trim_end_matches('/').to_owned(),
        })
    }
}

impl Relay {
    /// Looks who the bot is, and begins.
    pub(crate) fn start(settings: Settings, worker: &str) -> Result<(Self, String)> {
        let errand = Errand {
            agent: agent(POLL + PATIENCE),
            door: format!("{worker}/telegram/webhook"),
            settings,
        };
        let me = match errand.call("getMe", &json!({})) {
            Ok(me) => me,
            Err(Trouble::ForNow(why) | Trouble::ForGood(why)) => bail!("{why}"),
        };
        let name = me["username"].as_str().unwrap_or("the bot").to_owned();
        let (told, news) = channel();
        thread::spawn(move || errand.run(&told));
        Ok((Self { news }, name))
    }

    /// Prints what there is to tell; an error when nothing more will come.
    pub(crate) fn still_runs(&self) -> Result<()> {
        loop {
            match self.news.try_recv() {
                Ok(News::Told(line)) => println!("  telegram: {line}"),
                Ok(News::Ended(why)) => bail!("{why}"),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => {
                    bail!("the relay of Telegram's updates has ended")
                }
            }
        }
    }
}

struct Errand {
    agent: ureq::Agent,
    door: String,
    settings: Settings,
}

impl Errand {
    fn run(&self, told: &Sender<News>) {
        let mut offset = 0;
        let mut failures = 0;
        loop {
            let fetched = self.fetch(offset);
            let done = fetched.and_then(|updates| {
                for update in updates {
                    self.hand_over(&update)?;
                    offset = update["update_id"].as_i64().unwrap_or(offset) + 1; // acknowledged by the next fetch
                }
                Ok(())
            });
            match done {
                Ok(()) => failures = 0,
                Err(Trouble::ForGood(why)) => {
                    told.send(News::Ended(why)).ok(); // nobody listens: the run has ended
                    return;
                }
                Err(Trouble::ForNow(why)) => {
                    if failures == 0
                        && told
                            .send(News::Told(format!("{why}; I try again")))
                            .is_err()
                    {
                        return;
                    }
                    thread::sleep(Duration::from_secs(1 << failures.min(5)).min(LONGEST_WAIT));
                    failures += 1;
                }
            }
        }
    }

    fn fetch(&self, offset: i64) -> Result<Vec<Value>, Trouble> {
        let wanted =
            json!({"offset": offset, "timeout": POLL.as_secs(), "allowed_updates": WANTED});
        let answer = self.call("getUpdates", &wanted)?;
        let updates = answer.as_array().cloned();
        updates.ok_or_else(|| Trouble::ForNow("getUpdates brought no list".to_owned()))
    }

    fn call(&self, method: &str, body: &Value) -> Result<Value, Trouble> {
        let Settings { token, api, .. } = &self.settings;
        let answer = self
            .agent
            .post(format!("{api}/bot{token}/{method}"))
            .header("content-type", "application/json")
            .send(body.to_string());
        // The error's own words may hold the address, and with it the token.
        let mut answer = answer.map_err(|_| Trouble::ForNow(format!("{api} cannot be reached")))?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().read_to_string().unwrap_or_default();
        let mut told: Value = serde_json::from_str(&body).unwrap_or_default();
        if told["ok"] == true {
            return Ok(told["result"].take());
        }
        let why = told["description"]
            .as_str()
            .unwrap_or("no reason")
            .to_owned();
        Err(match status {
            401 | 404 => Trouble::ForGood("Telegram does not know this TELEGRAM_BOT_TOKEN; copy it anew from @BotFather".to_owned()),
            409 if why.contains("webhook") => Trouble::ForGood(
                "this bot delivers to a webhook, and cannot be polled beside it: take another bot for development, or end the webhook with\n\
                 curl \"https://api.telegram.org/bot<token>/deleteWebhook\""
                    .to_owned(),
            ),
            409 => Trouble::ForGood("somebody else polls this bot already; end that, or take another bot".to_owned()),
            _ => Trouble::ForNow(format!("{method}: {status} {why}")),
        })
    }

    fn hand_over(&self, update: &Value) -> Result<(), Trouble> {
        let answer = self
            .agent
            .post(&self.door)
            .header("content-type", "application/json")
            .header("x-telegram-bot-api-secret-token", &self.settings.secret)
            .send(update.to_string());
        match answer.map(|answer| answer.status().as_u16()) {
            Ok(200..=299 | 413) => Ok(()), // what is too large would never be taken
            Ok(401) => Err(Trouble::ForGood(
                "the Worker refuses the TELEGRAM_WEBHOOK_SECRET; was .dev.vars changed? start again".to_owned(),
            )),
            Ok(status) => Err(Trouble::ForNow(format!("the Worker answered {status}"))),
            Err(error) => Err(Trouble::ForNow(format!("the Worker did not answer ({error})"))),
        }
    }
}

fn agent(limit: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(limit))
        .max_redirects(0)
        .http_status_as_error(false)
        .build()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{Ipv4Addr, TcpListener};

    /// Answers each request with the next of these; gives the requests' first lines, secrets and bodies.
    fn server(answers: Vec<(u16, Value)>) -> (String, Receiver<(String, String, Value)>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (seen, requests) = channel();
        thread::spawn(move || {
            for (status, answer) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut first, mut secret, mut length) = (String::new(), String::new(), 0);
                reader.read_line(&mut first).unwrap();
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    let Some((name, value)) = line.trim().split_once(": ") else {
                        break;
                    };
                    match name.to_ascii_lowercase().as_str() {
                        "content-length" => length = value.parse().unwrap(),
                        "x-telegram-bot-api-secret-token" => value.clone_into(&mut secret),
                        _ => {}
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let words: Vec<&str> = first.split(' ').take(2).collect();
                seen.send((words.join(" "), secret, body)).unwrap();
                let answer = answer.to_string();
                let head = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    answer.len()
                );
                stream.write_all((head + &answer).as_bytes()).unwrap();
            }
        });
        (address, requests)
    }

    fn settings(api: String) -> Settings {
        Settings {
            token: "7:AA".into(),
            secret: "hook".into(),
            api,
        }
    }

    fn ok(result: &Value) -> (u16, Value) {
        (200, json!({"ok": true, "result": result}))
    }

    #[test]
    fn updates_are_handed_over_in_order_and_acknowledged_only_when_they_were_taken() {
        let (first, second) = (json!({"update_id": 5}), json!({"update_id": 6}));
        let both = json!([first, second]);
        let webhook = json!({"ok": false, "description": "Conflict: can't use getUpdates method while webhook is active"});
        let (api, fetched) = server(vec![
            ok(&json!({"username": "crab_bot"})),
            ok(&both),
            ok(&json!([second])),
            (409, webhook),
        ]);
        let busy = (503, Value::Null);
        let (worker, taken) = server(vec![(200, Value::Null), busy, (200, Value::Null)]);
        let (relay, name) = Relay::start(settings(api), &worker).unwrap();
        assert_eq!(name, "crab_bot");

        let taken: Vec<_> = taken.iter().take(3).collect();
        let post = |update: &Value| {
            (
                "POST /telegram/webhook".to_owned(),
                "hook".to_owned(),
                update.clone(),
            )
        };
        assert_eq!(taken, [post(&first), post(&second), post(&second)]);
        let fetched: Vec<_> = fetched.iter().take(4).collect();
        let offsets: Vec<_> = fetched
            .iter()
            .map(|(line, _, body)| (line.as_str(), body["offset"].as_i64()))
            .collect();
        let poll = "POST /bot7:AA/getUpdates";
        assert_eq!(
            offsets,
            [
                ("POST /bot7:AA/getMe", None),
                (poll, Some(0)),
                (poll, Some(6)),
                (poll, Some(7))
            ]
        );
        let end = loop {
            match relay.news.recv().unwrap() {
                News::Told(line) => assert!(line.contains("503"), "{line}"),
                News::Ended(why) => break why,
            }
        };
        assert!(end.contains("deleteWebhook"), "{end}");
    }

    #[test]
    fn what_is_missing_is_named_and_a_refused_token_is_told_without_showing_it() {
        for (text, told) in [
            ("", "TELEGRAM_BOT_TOKEN"),
            ("TELEGRAM_BOT_TOKEN=\"7:AA\"", "TELEGRAM_WEBHOOK_SECRET=\""),
        ] {
            let error = Settings::read(text).err().unwrap().to_string();
            assert!(error.contains(told), "{error}");
        }
        let refusal = (401, json!({"ok": false, "description": "Unauthorized"}));
        let (api, _seen) = server(vec![refusal]);
        let error = Relay::start(settings(api), "http://127.0.0.1:1")
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("@BotFather") && !error.contains("7:AA"),
            "{error}"
        );
        let error = Relay::start(settings("http://127.0.0.1:1".into()), "http://127.0.0.1:1")
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("cannot be reached") && !error.contains("7:AA"),
            "{error}"
        );
    }
}
