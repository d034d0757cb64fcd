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
    /// Whether its owner has confirmed it, and not taken that back.
    pub(crate) active: bool,
    /// What it must show at both ends before it is confirmed.
    pub(crate) words: Vec<String>,
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
    let strings = |value: &Value| -> Vec<String> {
        let words = value.as_array().into_iter().flatten();
        words
            .filter_map(|word| word.as_str().map(str::to_owned))
            .collect()
    };
    list.iter()
        .map(|bridge| {
            Ok(Bridge {
                id: bridge["id"]
                    .as_str()
                    .context("a bridge has an id")?
                    .to_owned(),
                active: bridge["state"] == "active",
                words: strings(&bridge["words"]),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_bridges_is_read() {
        let answer = serde_json::json!({"bridges": [
            {"id": "a", "name": "desk", "state": "active", "words": []},
            {"id": "b", "name": "attic", "state": "pending", "words": ["crab", "shell"]},
        ]});
        assert_eq!(
            bridges(&answer).unwrap(),
            [
                Bridge {
                    id: "a".into(),
                    active: true,
                    words: vec![]
                },
                Bridge {
                    id: "b".into(),
                    active: false,
                    words: vec!["crab".into(), "shell".into()]
                },
            ]
        );
        assert!(bridges(&serde_json::json!({})).is_err());
    }
}
