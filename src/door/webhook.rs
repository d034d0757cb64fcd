//! The chat apps' webhooks, in one list: which secrets each needs, how much of a body is read, and which proof it is. Each proof is a
//! file of its own.

use super::Verified;
use super::telegram::{self, TelegramBody};
use super::whatsapp::{self, WhatsAppBody};
use crate::channels::Channel;
use crate::config::Config;
use http::HeaderMap;

/// A request whose headers are as an app's must be; its body may be read.
#[derive(Debug)]
pub enum Pass {
    /// Telegram's.
    Telegram(telegram::Pass),
    /// WhatsApp's.
    WhatsApp(whatsapp::Pass),
}

/// A body that an app has proven to be its own.
#[derive(Debug)]
pub enum Proven {
    /// Telegram's.
    Telegram(Verified<TelegramBody>),
    /// WhatsApp's.
    WhatsApp(Verified<WhatsAppBody>),
}

/// Why a request comes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turned {
    /// A secret is not set, so that nothing could be proven; this is its variable.
    Closed(&'static str),
    /// It is not the app's.
    Refused(String),
}

/// Whether a request may be an app's, told from its headers alone, before a byte of its body is read.
pub fn check(app: Channel, headers: &HeaderMap, config: &Config) -> Result<Pass, Turned> {
    match app {
        Channel::Telegram => {
            let secret = config.telegram_webhook_secret.as_ref();
            let secret = secret.ok_or(Turned::Closed("TELEGRAM_WEBHOOK_SECRET"))?;
            if config.telegram_token.is_none() {
                return Err(Turned::Closed("TELEGRAM_BOT_TOKEN"));
            }
            let pass = telegram::check(headers, secret);
            let refused = |refused: telegram::Refused| Turned::Refused(refused.to_string());
            pass.map(Pass::Telegram).map_err(refused)
        }
        Channel::WhatsApp => {
            let secret = config.whatsapp_app_secret.as_ref();
            let secret = secret.ok_or(Turned::Closed("WHATSAPP_APP_SECRET"))?;
            config.whatsapp().map_err(Turned::Closed)?;
            let number = config.whatsapp_number.as_deref().unwrap_or_default();
            let pass = whatsapp::check(headers, secret, number);
            let refused = |refused: whatsapp::Refused| Turned::Refused(refused.to_string());
            pass.map(Pass::WhatsApp).map_err(refused)
        }
        Channel::Console => Err(Turned::Refused("a page has no webhook".to_owned())),
    }
}

/// What an app is answered that asks whether its webhook is ours, from the address's query.
pub fn handshake(app: Channel, query: &str, config: &Config) -> Result<Verified<String>, Turned> {
    match app {
        Channel::WhatsApp => {
            let token = config.whatsapp_verify_token.as_ref();
            let token = token.ok_or(Turned::Closed("WHATSAPP_VERIFY_TOKEN"))?;
            let challenge = whatsapp::handshake(query, token);
            challenge.map_err(|refused| Turned::Refused(refused.to_string()))
        }
        Channel::Telegram | Channel::Console => {
            Err(Turned::Refused("its webhook asks nothing".to_owned()))
        }
    }
}

impl Pass {
    /// The longest body that is read, in bytes.
    pub fn body_limit(&self) -> usize {
        match self {
            Self::Telegram(_) => telegram::BODY_LIMIT,
            Self::WhatsApp(_) => whatsapp::BODY_LIMIT,
        }
    }

    /// The body, proven; or that it is not, where the proof is over its bytes.
    pub fn seal(self, body: Vec<u8>) -> Result<Proven, Turned> {
        match self {
            Self::Telegram(pass) => Ok(Proven::Telegram(pass.seal(body))),
            Self::WhatsApp(pass) => pass
                .seal(body)
                .map(Proven::WhatsApp)
                .map_err(|refused| Turned::Refused(refused.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_whose_secrets_are_not_set_is_closed_and_a_page_has_no_webhook() {
        let config = |set: &[&str]| {
            let set: Vec<String> = set.iter().map(|&name| name.to_owned()).collect();
            Config::read(move |name| {
                set.iter()
                    .any(|set| set == name)
                    .then(|| "secret".to_owned())
            })
        };
        let turned = |app, set: &[&str]| check(app, &HeaderMap::new(), &config(set)).err();
        let both = ["TELEGRAM_WEBHOOK_SECRET", "TELEGRAM_BOT_TOKEN"];
        let meta = [
            "WHATSAPP_APP_SECRET",
            "WHATSAPP_ACCESS_TOKEN",
            "WHATSAPP_PHONE_NUMBER_ID",
        ];
        let closed = |set: &[&str]| turned(Channel::WhatsApp, set);
        for (set, missing) in meta.iter().enumerate() {
            assert_eq!(closed(&meta[..set]), Some(Turned::Closed(missing)));
        }
        let none = "the request carries no signature".to_owned();
        assert_eq!(closed(&meta), Some(Turned::Refused(none)));
        assert_eq!(
            [
                turned(Channel::Telegram, &[]),
                turned(Channel::Telegram, &both[..1]),
                turned(Channel::Telegram, &both),
                turned(Channel::Console, &both),
            ],
            [
                Some(Turned::Closed("TELEGRAM_WEBHOOK_SECRET")),
                Some(Turned::Closed("TELEGRAM_BOT_TOKEN")),
                Some(Turned::Refused(
                    "the request carries no webhook secret".to_owned()
                )),
                Some(Turned::Refused("a page has no webhook".to_owned())),
            ]
        );
    }
}
