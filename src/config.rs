//! Every variable and secret that the Worker knows, read once into [`Config`].

use crate::channels::telegram::Api;
use crate::channels::whatsapp::{self, Template};
use crate::models::ModelAccess;
use crate::secret::Secret;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What a limit on waiting may be set to, in seconds: none at all would stop every answer, and no person waits for more.
const SECONDS: RangeInclusive<u64> = 1..=600;

/// What the life of a question may be set to, in minutes: up to a week.
const MINUTES: RangeInclusive<i64> = 1..=10_080;

/// How long a question stays open where nothing else is set, in minutes.
const USUAL_MINUTES: i64 = 30;

/// What the Worker was configured with. Everything is optional: what is missing closes its route or says so when it is wanted.
#[derive(Debug, Clone)]
pub struct Config {
    /// The bot's token; without it Telegram is closed.
    pub telegram_token: Option<Secret>,
    /// What Telegram sends along with each update; without it the webhook is closed.
    pub telegram_webhook_secret: Option<Secret>,
    /// Stands in for `https://api.telegram.org`.
    pub telegram_url: Option<String>,
    /// What requests to WhatsApp carry; without it WhatsApp is closed.
    pub whatsapp_token: Option<Secret>,
    /// What Meta signs each delivery with; without it the webhook is closed.
    pub whatsapp_app_secret: Option<Secret>,
    /// What Meta says when it asks whether the webhook is ours; without it that is not answered.
    pub whatsapp_verify_token: Option<Secret>,
    /// The id of Bernard's phone number with Meta; without it WhatsApp is closed.
    pub whatsapp_number: Option<String>,
    /// What may be sent to someone who has not written for a day.
    pub whatsapp_template: Option<Template>,
    /// Stands in for Meta's Graph API, with its version.
    pub whatsapp_url: Option<String>,
    /// The one-time code that makes its first user the owner.
    pub owner_claim: Option<Secret>,
    /// Which models to ask, in order, as `MODEL` has it.
    pub model: String,
    /// Keys and addresses of the model providers.
    pub access: ModelAccess,
    /// How long a model is waited for.
    pub patience: Patience,
    /// How long a question about a call stays open, in minutes.
    pub question_minutes: i64,
    /// What was set to something that cannot be, one sentence each, for the operator.
    pub faults: Vec<String>,
}

/// How long a model is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From the question to the first token of the answer. Ten minutes of silence is the field's worst complaint.
    pub first_token: Duration,
    /// From then on, the longest pause of the stream.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first_token: Duration::from_secs(45),
            pause: Duration::from_mins(1),
        }
    }
}

impl Config {
    /// Reads every variable by name.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let secret = |name| variable(name).and_then(|text| Secret::new(&text));
        let text = |name| {
            variable(name)
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
        };
        let mut faults = Vec::new();
        let mut seconds = |name, default: Duration| {
            text(name).map_or(default, |text| {
                duration(&text).unwrap_or_else(|| {
                    faults.push(format!(
                        "{name} is not a number of seconds from {} to {}; {} are waited",
                        SECONDS.start(),
                        SECONDS.end(),
                        default.as_secs()
                    ));
                    default
                })
            })
        };
        let usual = Patience::default();
        let patience = Patience {
            first_token: seconds("MODEL_FIRST_TOKEN_SECONDS", usual.first_token),
            pause: seconds("MODEL_PAUSE_SECONDS", usual.pause),
        };
        let question_minutes = text("APPROVAL_MINUTES").map_or(USUAL_MINUTES, |text| {
            let minutes = text.parse().ok().filter(|minutes| MINUTES.contains(minutes));
            minutes.unwrap_or_else(|| {
                faults.push(format!(
                    "APPROVAL_MINUTES is not a number of minutes from {} to {}; {USUAL_MINUTES} are waited",
                    MINUTES.start(),
                    MINUTES.end()
                ));
                USUAL_MINUTES
            })
        });
        Self {
            telegram_token: secret("TELEGRAM_BOT_TOKEN"),
            telegram_webhook_secret: secret("TELEGRAM_WEBHOOK_SECRET"),
            telegram_url: text("TELEGRAM_API_URL"),
            whatsapp_token: secret("WHATSAPP_ACCESS_TOKEN"),
            whatsapp_app_secret: secret("WHATSAPP_APP_SECRET"),
            whatsapp_verify_token: secret("WHATSAPP_VERIFY_TOKEN"),
            whatsapp_number: text("WHATSAPP_PHONE_NUMBER_ID"),
            whatsapp_template: text("WHATSAPP_TEMPLATE").map(|name| Template {
                name,
                language: text("WHATSAPP_TEMPLATE_LANGUAGE").unwrap_or_else(|| "en".to_owned()),
            }),
            whatsapp_url: text("WHATSAPP_API_URL"),
            owner_claim: secret("OWNER_CLAIM"),
            model: text("MODEL").unwrap_or_else(|| "offline".to_owned()),
            access: ModelAccess {
                anthropic_key: secret("ANTHROPIC_API_KEY"),
                anthropic_url: text("ANTHROPIC_API_URL"),
                openai_key: secret("OPENAI_API_KEY"),
                openai_url: text("OPENAI_API_URL"),
            },
            patience,
            question_minutes,
            faults,
        }
    }

    /// Telegram's API, if there is a token for it.
    pub fn telegram(&self) -> Option<Api> {
        self.telegram_token
            .clone()
            .map(|token| Api::new(self.telegram_url.as_deref(), token))
    }

    /// WhatsApp's API; an error is the variable that is not set.
    pub fn whatsapp(&self) -> Result<whatsapp::Api, &'static str> {
        let token = self.whatsapp_token.clone();
        let number = self.whatsapp_number.as_deref();
        Ok(whatsapp::Api::new(
            self.whatsapp_url.as_deref(),
            token.ok_or("WHATSAPP_ACCESS_TOKEN")?,
            number.ok_or("WHATSAPP_PHONE_NUMBER_ID")?,
            self.whatsapp_template.clone(),
        ))
    }
}

fn duration(text: &str) -> Option<Duration> {
    let seconds = text.parse().ok()?;
    SECONDS
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(first_token: &str, pause: &str) -> (Patience, Vec<String>) {
        let config = Config::read(|name| match name {
            "MODEL_FIRST_TOKEN_SECONDS" => Some(first_token.to_owned()),
            "MODEL_PAUSE_SECONDS" => Some(pause.to_owned()),
            _ => None,
        });
        (config.patience, config.faults)
    }

    fn patience(first_token: u64, pause: u64) -> Patience {
        Patience {
            first_token: Duration::from_secs(first_token),
            pause: Duration::from_secs(pause),
        }
    }

    #[test]
    fn patience_is_set_in_whole_seconds_within_bounds() {
        assert_eq!(read("1", " 600 "), (patience(1, 600), vec![]));
        assert_eq!(read("", "  "), (patience(45, 60), vec![]));
        assert_eq!(Config::read(|_| None).patience, patience(45, 60));
    }

    #[test]
    fn what_is_no_such_number_is_told_and_the_usual_patience_holds() {
        let fault = |name: &str, usual: u64| {
            format!("{name} is not a number of seconds from 1 to 600; {usual} are waited")
        };
        for wrong in [
            "0",
            "601",
            "-1",
            "2.5",
            "soon",
            "45s",
            "99999999999999999999999",
        ] {
            assert_eq!(
                read(wrong, "7"),
                (
                    patience(45, 7),
                    vec![fault("MODEL_FIRST_TOKEN_SECONDS", 45)]
                ),
                "{wrong:?}"
            );
            assert_eq!(
                read("7", wrong),
                (patience(7, 60), vec![fault("MODEL_PAUSE_SECONDS", 60)]),
                "{wrong:?}"
            );
        }
    }
}
