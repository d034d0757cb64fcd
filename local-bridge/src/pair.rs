//! The one-time handshake that joins this machine to a person's Bernard.

use crate::home::{Broken, Home, Kept, Made, Pairing, Wish};
use crate::keychain::NoKeychain;
use crate::status::now;
use protocol::key::{BadKey, PublicKey, SigningKey, random_text};
use protocol::pairing::{Answer, Link, MAX_NAME, Refused, Request, six_words};
use protocol::session::HelloClaims;
use protocol::token::{self, Binding, Kind};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use url::{Host, Url};

/// A sleeping laptop's Wi-Fi and a cold Worker together need a few seconds; more means that nobody is there.
const TIMEOUT: Duration = Duration::from_secs(20);

/// An answer holds two keys and two proofs; anything longer is not one.
const MAX_ANSWER: u64 = 16 * 1024;

/// What a person compares after a pairing.
#[derive(Debug, PartialEq, Eq)]
pub struct Paired {
    /// This machine's key id.
    pub id: String,
    /// Six words that both sides show.
    pub words: [&'static str; 6],
    /// Where this machine's key lies.
    pub kept: Kept,
    /// Why it is not in the keychain, where that was tried.
    pub why_not: Option<NoKeychain>,
}

/// Why a pairing did not come about.
#[derive(Debug, thiserror::Error)]
pub enum Unpaired {
    /// The link, the name or a proof is wrong.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The address cannot be trusted with a link.
    #[error(transparent)]
    Address(#[from] BadAddress),
    /// The Worker said no, in its own words.
    #[error("{worker} refuses: {why}")]
    Answered {
        /// Who.
        worker: String,
        /// Its sentence.
        why: String,
    },
    /// The Worker cannot be reached or does not speak this protocol.
    #[error("{worker} cannot be reached: {why}")]
    Unreachable {
        /// Who.
        worker: String,
        /// What went wrong.
        why: String,
    },
    /// The home is not in order.
    #[error(transparent)]
    Home(#[from] Broken),
    /// There is no randomness.
    #[error(transparent)]
    Key(#[from] BadKey),
}

/// Why an address is not dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// It is no address of a Worker.
    #[error("'{0}' is not a web address")]
    Malformed(String),
    /// It would travel unencrypted.
    #[error("'{0}' is not encrypted; only https is dialled, except on this very machine")]
    Plain(String),
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// Joins this machine to the Bernard that made the link, and remembers it; the key is kept where its owner wishes.
pub fn pair(home: &Home, link: &str, name: &str, wish: Wish) -> Result<Paired, Unpaired> {
    let link = Link::parse(link)?;
    let address = endpoint(&link.worker, "/bridge/pair")?;
    let Made { key, kept, why_not } = home.make_key_in(wish)?;
    let request = Request::new(&link, &key, name, &random_text()?)?;
    let body = serde_json::to_string(&request).map_err(|error| Unpaired::Unreachable {
        worker: link.worker.clone(),
        why: error.to_string(),
    })?;
    let answer: Answer = ask(&link.worker, &address, None, body)?;
    let command_key = request.check_answer(&link, &answer)?;
    let id = key.public().id().0;
    home.pair(&Pairing {
        worker: link.worker.trim_end_matches('/').to_owned(),
        command_key: command_key.to_text(),
        name: name.to_owned(),
        bridge: id.clone(),
    })?;
    Ok(Paired {
        id,
        words: words(&key.public(), &command_key),
        kept,
        why_not,
    })
}

/// The six words that name a pairing.
pub fn words(bridge: &PublicKey, command_key: &PublicKey) -> [&'static str; 6] {
    six_words(bridge, command_key)
}

/// A route of the Worker, if the Worker's address may be dialled at all: encrypted, or on this very machine.
pub fn endpoint(worker: &str, route: &str) -> Result<Url, BadAddress> {
    let malformed = || BadAddress::Malformed(worker.to_owned());
    let mut url = Url::parse(worker).map_err(|_| malformed())?;
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return Err(malformed()),
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        "http" => return Err(BadAddress::Plain(worker.to_owned())),
        _ => return Err(malformed()),
    }
    let path = format!("{}{route}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// This machine's name, as far as it may travel: letters, digits, `-`, `_` and `.`.
pub fn machine_name() -> String {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    sanitised(host.trim_end_matches(".local"))
}

fn sanitised(host: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = host
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(MAX_NAME)
        .collect();
    if name.trim_matches('-').is_empty() {
        "home".to_owned()
    } else {
        name
    }
}

/// Asks the Worker to go on after a `/panic`, by this machine's own key; whether it was frozen. Nothing where nothing is paired.
pub fn thaw(home: &Home) -> Result<Option<bool>, Unpaired> {
    #[derive(Deserialize)]
    struct Thawed {
        thawed: bool,
    }
    let (Some((pairing, command)), Some(own)) = (home.pairing()?, home.key()?) else {
        return Ok(None);
    };
    let ticket = ticket(&own, &command, now()).map_err(|error| Unpaired::Unreachable {
        worker: pairing.worker.clone(),
        why: error.to_string(),
    })?;
    let address = endpoint(&pairing.worker, "/bridge/resume")?;
    let Thawed { thawed } = ask(&pairing.worker, &address, Some(&ticket), String::new())?;
    Ok(Some(thawed))
}

/// A token that proves this machine to its Worker, once.
pub fn ticket(own: &SigningKey, command: &PublicKey, now: i64) -> Result<String, token::Refused> {
    let (issuer, audience) = (own.public().id(), command.id());
    let binding = Binding {
        issuer: &issuer,
        audience: &audience,
        nonce: None,
    };
    token::issue(Kind::Hello, own, binding, &HelloClaims {}, now)
}

/// Asks the Worker something; its answer is JSON, a refusal a sentence.
fn ask<T: DeserializeOwned>(
    worker: &str,
    address: &Url,
    ticket: Option<&str>,
    body: String,
) -> Result<T, Unpaired> {
    let unreachable = |why: String| Unpaired::Unreachable {
        worker: worker.to_owned(),
        why,
    };
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .max_redirects(0) // a link names one Worker; a redirect would name another
        .proxy(None)
        .build()
        .new_agent();
    let mut request = agent
        .post(address.as_str())
        .content_type("application/json");
    if let Some(ticket) = ticket {
        request = request.header("authorization", format!("Bearer {ticket}"));
    }
    let mut response = request
        .send(body)
        .map_err(|error| unreachable(error.to_string()))?;
    let status = response.status();
    let text = response
        .body_mut()
        .with_config()
        .limit(MAX_ANSWER)
        .read_to_string()
        .map_err(|error| unreachable(error.to_string()))?;
    if status != 200 {
        let why = serde_json::from_str::<Refusal>(&text)
            .map_or_else(|_| format!("HTTP status {status}"), |refusal| refusal.error);
        return Err(Unpaired::Answered {
            worker: worker.to_owned(),
            why,
        });
    }
    serde_json::from_str(&text).map_err(|_| {
        unreachable("its answer is not Bernard's; is the address in the link right?".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_encrypted_or_local_addresses_are_dialled() {
        let dialled = |worker| endpoint(worker, "/bridge").map(|url| url.to_string());
        assert_eq!(
            dialled("https://bernard.example/").unwrap(),
            "https://bernard.example/bridge"
        );
        for local in [
            "http://127.0.0.1:8787",
            "http://localhost:8787",
            "http://[::1]:8787",
        ] {
            assert_eq!(dialled(local).unwrap(), format!("{local}/bridge"));
        }
        for plain in [
            "http://bernard.example",
            "http://127.0.0.1.example.com",
            "http://10.0.0.1",
        ] {
            assert_eq!(dialled(plain), Err(BadAddress::Plain(plain.to_owned())));
        }
        for odd in ["ftp://bernard.example", "bernard.example", "https://"] {
            assert_eq!(dialled(odd), Err(BadAddress::Malformed(odd.to_owned())));
        }
    }

    #[test]
    fn a_host_name_becomes_a_machine_name() {
        assert_eq!(sanitised("Anna's Mac mini"), "Anna-s-Mac-mini");
        assert_eq!(sanitised("éé"), "home");
        assert_eq!(sanitised(&"x".repeat(99)).len(), MAX_NAME);
    }
}
