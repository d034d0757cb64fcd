//! The console's API, as a signed-in browser on this machine uses it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::database::SignIn;

const PATIENCE: Duration = Duration::from_secs(20); // the first request makes the person's object

/// The Worker on loopback, before anyone has signed in.
pub(crate) struct Worker {
    agent: ureq::Agent,
    address: String,
}

/// The Worker, asked by the owner.
pub(crate) struct Console {
    worker: Worker,
    cookie: String,
}

/// A bridge as the console lists it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bridge {
    /// Its key's thumbprint.
    pub(crate) id: String,
    /// How it stands.
    pub(crate) state: State,
}

/// How a bridge stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Confirmed, and its socket is open.
    Connected,
    /// Confirmed, and not there.
    Away,
    /// To be confirmed when it shows these words.
    Pending(Vec<String>),
}

impl Worker {
    /// The Worker at an address such as `http://127.0.0.1:8787`.
    pub(crate) fn at(address: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .max_redirects(0)
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .into();
        Self {
            agent,
            address: address.to_owned(),
        }
    }

    /// Whether it answers.
    pub(crate) fn is_healthy(&self) -> bool {
        let answer = self.agent.get(format!("{}/healthz", self.address)).call();
        answer.is_ok_and(|mut answer| {
            answer.status() == 200
                && answer
                    .body_mut()
                    .read_to_string()
                    .is_ok_and(|body| body.trim() == "ok")
        })
    }

    /// Signs in with a one-time link.
    pub(crate) fn sign_in(self, link: &SignIn) -> Result<Console> {
        let answer = self
            .agent
            .post(format!("{}{}", self.address, link.path()))
            .header("Origin", &self.address)
            .send_empty()
            .context("signing in to the console")?;
        if answer.status() != 303 {
            bail!(
                "the console refused a sign-in link just made: {}",
                answer.status()
            )
        }
        let cookies = answer.headers().get_all("set-cookie");
        let pairs: Vec<&str> = cookies
            .iter()
            .filter_map(|cookie| cookie.to_str().ok()?.split(';').next())
            .collect();
        if pairs.is_empty() {
            bail!("the console signed in without a cookie")
        }
        Ok(Console {
            cookie: pairs.join("; "),
            worker: self,
        })
    }
}

impl Console {
    /// A pairing link for one bridge.
    pub(crate) fn pairing_link(&self) -> Result<String> {
        let answer = self.post("/console/api/pair")?;
        let link = answer["link"]
            .as_str()
            .context("the console's answer holds a pairing link")?;
        Ok(link.to_owned())
    }

    /// The owner's bridges.
    pub(crate) fn bridges(&self) -> Result<Vec<Bridge>> {
        let answer = self
            .worker
            .agent
            .get(format!("{}/console/api/bridges", self.worker.address))
            .header("Cookie", &self.cookie)
            .call()
            .context("asking the console for bridges")?;
        bridges(&json(answer, "/console/api/bridges")?)
    }

    /// Says that the words of a bridge are the same at both ends.
    pub(crate) fn confirm(&self, id: &str) -> Result<()> {
        self.post(&format!("/console/api/bridges/{id}/confirm"))
            .map(drop)
    }

    fn post(&self, path: &str) -> Result<Value> {
        let answer = self
            .worker
            .agent
            .post(format!("{}{path}", self.worker.address))
            .header("Cookie", &self.cookie)
            .header("Origin", &self.worker.address)
            .send_empty()
            .with_context(|| format!("asking the console for {path}"))?;
        json(answer, path)
    }
}

fn json(mut answer: ureq::http::Response<ureq::Body>, path: &str) -> Result<Value> {
    let status = answer.status();
    let body = answer.body_mut().read_to_string().unwrap_or_default();
    if !status.is_success() {
        let said: String = body.trim().chars().take(200).collect(); // an error page goes on for screens
        bail!("the console answered {status} to {path}: {said}")
    }
    Ok(serde_json::from_str(&body).unwrap_or_default()) // some deeds answer with nothing
}

fn bridges(answer: &Value) -> Result<Vec<Bridge>> {
    let list = answer["bridges"]
        .as_array()
        .context("the console's answer lists bridges")?;
    list.iter().map(bridge).collect()
}

fn bridge(listed: &Value) -> Result<Bridge> {
    let id = listed["id"]
        .as_str()
        .context("a bridge has an id")?
        .to_owned();
    let state = match listed["state"].as_str() {
        Some("connected") => State::Connected,
        Some("away") => State::Away,
        Some("pending") => {
            let words = listed["words"].as_array().into_iter().flatten();
            State::Pending(
                words
                    .filter_map(|word| word.as_str().map(str::to_owned))
                    .collect(),
            )
        }
        Some(_) | None => bail!("the console tells a bridge's state in words of its own: {listed}"),
    };
    Ok(Bridge { id, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_bridges_is_read() {
        let answer = serde_json::json!({"bridges": [
            {"id": "a", "name": "desk", "state": "connected", "seen": 1},
            {"id": "b", "name": "loft", "state": "away", "seen": null},
            {"id": "c", "name": "attic", "state": "pending", "words": ["crab", "shell"]},
        ]});
        let words = vec!["crab".to_owned(), "shell".to_owned()];
        assert_eq!(
            bridges(&answer).unwrap(),
            [
                Bridge {
                    id: "a".into(),
                    state: State::Connected
                },
                Bridge {
                    id: "b".into(),
                    state: State::Away
                },
                Bridge {
                    id: "c".into(),
                    state: State::Pending(words)
                },
            ]
        );
        assert!(bridges(&serde_json::json!({})).is_err());
        assert!(bridges(&serde_json::json!({"bridges": [{"id": "a", "state": "new"}]})).is_err());
    }
}
