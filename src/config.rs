//! Every variable and secret that the Worker knows, read once into [`Config`].

use crate::channels::telegram::Api;
use crate::models::ModelAccess;
use crate::secret::Secret;

/// What the Worker was configured with. Everything is optional: what is missing closes its route or says so when it is wanted.
#[derive(Debug, Clone)]
pub struct Config {
    /// The bot's token; without it Telegram is closed.
    pub telegram_token: Option<Secret>,
    /// What Telegram sends along with each update; without it the webhook is closed.
    pub telegram_webhook_secret: Option<Secret>,
    /// Stands in for `https://api.telegram.org`.
    pub telegram_url: Option<String>,
    /// The one-time code that makes its first user the owner.
    pub owner_claim: Option<Secret>,
    /// Which models to ask, in order, as `MODEL` has it.
    pub model: String,
    /// Keys and addresses of the model providers.
    pub access: ModelAccess,
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
        Self {
            telegram_token: secret("TELEGRAM_BOT_TOKEN"),
            telegram_webhook_secret: secret("TELEGRAM_WEBHOOK_SECRET"),
            telegram_url: text("TELEGRAM_API_URL"),
            owner_claim: secret("OWNER_CLAIM"),
            model: text("MODEL").unwrap_or_else(|| "offline".to_owned()),
            access: ModelAccess {
                anthropic_key: secret("ANTHROPIC_API_KEY"),
                anthropic_url: text("ANTHROPIC_API_URL"),
                openai_key: secret("OPENAI_API_KEY"),
                openai_url: text("OPENAI_API_URL"),
            },
        }
    }

    /// Telegram's API, if there is a token for it.
    pub fn telegram(&self) -> Option<Api> {
        self.telegram_token
            .clone()
            .map(|token| Api::new(self.telegram_url.as_deref(), token))
    }
}
