//! Someone with Telegram: what they write and press reaches the Worker as published updates; what they hear comes back.

use super::World;
use super::telegram::Deed;
use reqwest::Response;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The longest that any answer may take: a bridge's backoff after a restart on two busy cores.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A person in their private chat with the bot. They listen in order: what they have heard, they do not hear again.
#[derive(Debug)]
pub(crate) struct Person<'w> {
    /// Their numeric id, which is their chat's as well.
    pub(crate) id: i64,
    world: &'w World,
    heard: AtomicUsize,
}

impl<'w> Person<'w> {
    /// Someone of whom nobody knows.
    pub(crate) fn new(world: &'w World, id: i64) -> Self {
        Self {
            id,
            world,
            heard: AtomicUsize::new(0),
        }
    }

    /// Writes to the bot; the Worker has to acknowledge it with an empty body.
    pub(crate) async fn says(&self, text: &str) {
        self.delivers(&self.text_update(text)).await;
    }

    /// Writes to the bot in reply to one of its messages.
    pub(crate) async fn replies(&self, to: &Deed, text: &str) {
        let mut update = self.text_update(text);
        update["message"]["reply_to_message"] = self.bots_message(to);
        self.delivers(&update).await;
    }

    /// Presses the button whose label or action has this word; the Worker has to acknowledge it.
    pub(crate) async fn presses(&self, on: &Deed, word: &str) {
        let has_word = |text: &String| {
            text.to_lowercase()
                .split(|c: char| !c.is_alphanumeric())
                .any(|part| part == word)
        };
        let button = on
            .buttons
            .iter()
            .find(|(label, action)| has_word(label) || has_word(action));
        let (_, action) = button.unwrap_or_else(|| panic!("no button says {word:?} under {on:#?}"));
        self.presses_action(on, action).await;
    }

    /// Presses a button by its action, be it one that the bot never offered.
    pub(crate) async fn presses_action(&self, on: &Deed, action: &str) {
        self.delivers(&self.press_update(on, action)).await;
    }

    /// An update with a press of a button, as Telegram publishes it.
    pub(crate) fn press_update(&self, on: &Deed, action: &str) -> Value {
        let press = format!("press-{}", self.world.telegram.new_id());
        self.world.telegram.expects_press(&press);
        json!({
            "update_id": self.world.telegram.new_id(),
            "callback_query": {
                "id": press,
                "from": self.user(),
                "message": self.bots_message(on),
                "chat_instance": "-3141592653589793",
                "data": action,
            },
        })
    }

    /// An update with a text from this person, as Telegram publishes it.
    pub(crate) fn text_update(&self, text: &str) -> Value {
        let mut message = json!({
            "message_id": self.world.telegram.new_id(),
            "from": self.user(),
            "chat": self.chat(),
            "date": 1_700_000_000,
            "text": text,
        });
        if text.starts_with('/') {
            let length = text
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .encode_utf16()
                .count();
            message["entities"] = json!([{"type": "bot_command", "offset": 0, "length": length}]);
        }
        json!({"update_id": self.world.telegram.new_id(), "message": message})
    }

    /// Hands an update to the webhook, as Telegram would.
    pub(crate) async fn delivers(&self, update: &Value) {
        let answer = self.world.webhook(update.to_string()).await;
        acknowledged(answer).await;
    }

    /// Hands an update to a webhook that may be gone before it answers.
    pub(crate) async fn delivers_in_vain(&self, update: &Value) {
        let request = self.world.webhook_request(update.to_string());
        request.send().await.ok(); // whatever became of it, Telegram delivers what was not acknowledged again
    }

    /// Hands an update to the webhook again and again until it is acknowledged, as Telegram does; a Worker may be down.
    pub(crate) async fn delivers_until_taken(&self, update: &Value) {
        let delivering = async {
            loop {
                let request = self.world.webhook_request(update.to_string());
                match request.send().await {
                    Ok(answer) if answer.status() == 200 => return acknowledged(answer).await,
                    Ok(_) | Err(_) => sleep(Duration::from_millis(50)).await, // nobody tells when the Worker is back
                }
            }
        };
        let taken = timeout(PATIENCE, delivering).await;
        assert!(taken.is_ok(), "the webhook never acknowledged {update}");
    }

    /// Waits for the next message that holds `fragment`, in any case of letters.
    pub(crate) async fn hears(&self, fragment: &str) -> Deed {
        let wanted = fragment.to_lowercase();
        self.hears_that(&format!("{fragment:?}"), |deed| {
            deed.text.to_lowercase().contains(&wanted)
        })
        .await
    }

    /// Waits for the next message at all.
    pub(crate) async fn hears_something(&self) -> Deed {
        self.hears_that("anything", |_| true).await
    }

    /// Waits for the next message that is as wanted; `what` says in words what that is.
    pub(crate) async fn hears_that(&self, what: &str, wanted: impl Fn(&Deed) -> bool) -> Deed {
        let from = self.heard.load(Ordering::SeqCst);
        let find = |deeds: &[Deed]| {
            let new = deeds.iter().enumerate().skip(from);
            let mut spoken = new.filter(|(_, deed)| deed.chat == self.id && is_spoken(deed));
            spoken
                .find(|(_, deed)| wanted(deed))
                .map(|(index, deed)| (index, deed.clone()))
        };
        let found = self.world.telegram.wait_for(PATIENCE, find).await;
        let (index, deed) = found.unwrap_or_else(|| {
            let heard: Vec<String> = self
                .messages()
                .iter()
                .map(|deed| format!("\n  {:?}", deed.text))
                .collect();
            panic!(
                "{} waited in vain for {what}; all they ever heard:{}",
                self.id,
                heard.concat()
            )
        });
        self.heard.store(index + 1, Ordering::SeqCst);
        deed
    }

    /// All that this person was ever sent, edits left out.
    pub(crate) fn messages(&self) -> Vec<Deed> {
        let mut deeds = self.world.telegram.deeds();
        deeds.retain(|deed| deed.chat == self.id && is_spoken(deed));
        deeds
    }

    /// How many of this person's messages hold `fragment`.
    pub(crate) fn times_heard(&self, fragment: &str) -> usize {
        let wanted = fragment.to_lowercase();
        self.messages()
            .iter()
            .filter(|deed| deed.text.to_lowercase().contains(&wanted))
            .count()
    }

    /// This person's name for the Worker, which is their object's name.
    pub(crate) async fn user_id(&self) -> String {
        let query = "SELECT user_id FROM identities WHERE channel = 'telegram' AND address = ?";
        let rows = self
            .world
            .runtime
            .sql(query, &[json!(self.id.to_string())])
            .await;
        let user = rows.first().and_then(|row| row["user_id"].as_str());
        user.unwrap_or_else(|| panic!("{} is nobody to the Worker", self.id))
            .to_owned()
    }

    fn user(&self) -> Value {
        json!({"id": self.id, "is_bot": false, "first_name": "Ada", "username": "ada", "language_code": "en"})
    }

    fn chat(&self) -> Value {
        json!({"id": self.id, "first_name": "Ada", "username": "ada", "type": "private"})
    }

    fn bots_message(&self, deed: &Deed) -> Value {
        let rows: Vec<Value> = deed
            .buttons
            .iter()
            .map(|(label, action)| json!([{"text": label, "callback_data": action}]))
            .collect();
        let mut message = json!({
            "message_id": deed.message,
            "from": {"id": 123_456_789, "is_bot": true, "first_name": "Bernard", "username": "bernard_bot"},
            "chat": self.chat(),
            "date": 1_700_000_000,
            "text": deed.text,
        });
        if !rows.is_empty() {
            message["reply_markup"] = json!({"inline_keyboard": rows});
        }
        message
    }
}

/// Telegram executes what stands in a 2xx body, so there must be nothing.
pub(crate) async fn acknowledged(answer: Response) {
    let status = answer.status();
    let body = answer.text().await.expect("the body can be read");
    assert_eq!(
        (status.as_u16(), body.as_str()),
        (200, ""),
        "the webhook did not simply acknowledge"
    );
}

/// Whether it is said in earnest; what goes on is shown in silence.
fn is_spoken(deed: &Deed) -> bool {
    !deed.is_silent && matches!(deed.method.as_str(), "sendMessage" | "sendDocument")
}
