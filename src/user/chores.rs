//! Commands about the conversation itself, answered without a model: a fresh start, what was used, what is remembered, which model.

use super::people::MEMBERS_ONLY;
use super::{Heart, now, store};
use crate::error::Result;
use crate::models::parse_chain;
use crate::tools::memory;
use protocol::call::Outcome;
use serde_json::json;

/// Since which line a conversation's prompts read, by its name.
const BEGUN: &str = "begun:";

/// Which models a person wants asked, where not those of the deployment.
const MODEL: &str = "model";

/// How many facts are listed.
const FACTS: i64 = 40;

/// How many days `/usage` adds up.
const DAYS: i64 = 30;

impl Heart {
    /// `/new`: what was said before is no longer in view, and stays searchable.
    pub(super) fn begin_anew(&self, conversation: &str) -> Result<String> {
        if !self.driver.conversation(conversation)?.is_idle() {
            return Ok("I am still at something; /stop ends it, then /new.".to_owned());
        }
        let last = store::last_line(self.db(), conversation)?;
        store::set_meta(
            self.db(),
            &format!("{BEGUN}{conversation}"),
            &last.to_string(),
        )?;
        Ok("A new conversation. What was said before can still be searched for, and what you had me remember stays.".to_owned())
    }

    /// `/usage`: tokens of the day and of the last thirty days.
    pub(super) fn usage_words(&self) -> Result<String> {
        let today = store::tokens_since(self.db(), now(), 1)?;
        let month = store::tokens_since(self.db(), now(), DAYS)?;
        let line = |(input, output, lost): (u64, u64, u64)| {
            let lost = match lost {
                0 => String::new(),
                lost => format!(", {} for answers that were lost", grouped(lost)),
            };
            format!("{} read, {} written{lost}", grouped(input), grouped(output))
        };
        Ok(format!(
            "Tokens today: {}\nIn the last {DAYS} days: {}",
            line(today),
            line(month)
        ))
    }

    /// `/memory`, and `/memory forget NUMBER`.
    pub(super) fn memory_words(&self, argument: &str) -> Result<String> {
        let words = match argument.split_once(' ') {
            Some(("forget", id)) => memory::forget(self.db(), &json!({"id": id.trim()}), now())?,
            None if argument.is_empty() => {
                let facts = memory::listed(self.db(), FACTS)?;
                return Ok(if facts.is_empty() {
                    "I remember nothing yet; say \"remember that …\".".to_owned()
                } else {
                    format!(
                        "{}\n\n/memory forget and a number takes one back.",
                        facts.join("\n")
                    )
                });
            }
            Some(_) | None => memory::search(self.db(), "", &json!({"query": argument}))?,
        };
        Ok(match words {
            Outcome::Done { text, .. } => text,
            Outcome::Failed { reason }
            | Outcome::Denied { reason }
            | Outcome::Interrupted { reason } => reason,
            Outcome::Cancelled => String::new(),
        })
    }

    /// The models to ask, as the person or the deployment has it.
    pub(super) fn model_chain(&self) -> Result<String> {
        let wanted = store::meta(self.db(), MODEL)?;
        let wanted = wanted.filter(|wanted| !wanted.is_empty());
        Ok(wanted.unwrap_or_else(|| self.config.model.clone()))
    }

    /// `/model`, `/model NAME` and `/model default`.
    pub(super) async fn model_words(&self, argument: &str) -> Result<String> {
        let usual = &self.config.model;
        if argument.is_empty() {
            let chain = self.model_chain()?;
            return Ok(format!(
                "I ask {chain}. The deployment's own is {usual}. /model NAME asks another, /model default goes back."
            ));
        }
        if self.is_guest().await? {
            return Ok(MEMBERS_ONLY.to_owned());
        }
        if argument == "default" {
            store::set_meta(self.db(), MODEL, "")?;
            return Ok(format!("I ask {usual} again."));
        }
        match parse_chain(argument) {
            Ok(chain) => {
                let names: Vec<String> = chain.iter().map(ToString::to_string).collect();
                store::set_meta(self.db(), MODEL, &names.join(","))?;
                Ok(format!("From now on I ask {}.", names.join(", then ")))
            }
            Err(error) => Ok(format!("{error}. Nothing was changed.")),
        }
    }

    /// The last line that a conversation's prompts leave out.
    pub(super) fn begun_after(&self, conversation: &str) -> Result<i64> {
        let begun = store::meta(self.db(), &format!("{BEGUN}{conversation}"))?;
        Ok(begun.and_then(|begun| begun.parse().ok()).unwrap_or(0))
    }
}

/// A number with a space between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1 000"),
            (1_234_567, "1 234 567"),
        ] {
            assert_eq!(grouped(number), text.replace(' ', "\u{a0}"));
        }
    }
}
