//! What people send: stored, then acknowledged, then handled once. What cannot be handled is set aside, and they are told.

use crate::rows::{Delivery, Millis, Rows};
use crate::step::{News, decide, load, look_by};
use crate::{Act, Driver};
use agent::event::{Message, SayId};
use agent::{Conversation, Event};

impl<R: Rows> Driver<R> {
    /// Stores a delivery. When this has returned it may be acknowledged: it will be handled, or its failure told. A repeat does nothing.
    pub fn take(&self, delivery: &Delivery, now: Millis) -> Result<Vec<Act>, R::Error> {
        let acts = self.rows().transaction(|rows| {
            let new = rows.admit(delivery, now)?;
            let delivery = delivery.clone();
            let acts: Vec<Act> = new.then_some(Act::Take { delivery }).into_iter().collect();
            look_by(rows, &acts, now)?;
            Ok(acts)
        })?;
        Ok(self.begin(acts))
    }

    /// Hands over what a person wrote. Alone on its line while a turn is under way, a word such as "stop" ends the turn.
    pub fn said(
        &self,
        delivery: &Delivery,
        message: &Message,
        now: Millis,
    ) -> Result<Vec<Act>, R::Error> {
        self.save(&delivery.conversation, now, |rows, machine| {
            if !rows.is_waiting(&delivery.id)? {
                return Ok(News::default());
            }
            rows.settle(&delivery.id, None)?;
            let stops = is_stop_word(&message.text) && !machine.is_idle();
            Ok(News::of(if stops {
                Event::Stopped { at: now }
            } else {
                let message = message.clone();
                Event::Said { message }
            }))
        })
    }

    /// A command is done; what it tells the agent is saved with that.
    pub fn handled(
        &self,
        delivery: &Delivery,
        event: Option<&Event>,
        now: Millis,
    ) -> Result<Vec<Act>, R::Error> {
        self.save(&delivery.conversation, now, |rows, _| {
            if !rows.is_waiting(&delivery.id)? {
                return Ok(News::default());
            }
            rows.settle(&delivery.id, None)?;
            Ok(event.cloned().map(News::of).unwrap_or_default())
        })
    }

    /// Gives a delivery up. Its conversation may be what cannot be read: then a fresh one tells of it.
    pub(crate) fn set_aside(
        &self,
        delivery: &Delivery,
        error: &str,
        now: Millis,
    ) -> Result<Vec<Act>, R::Error> {
        let conversation = &delivery.conversation;
        let acts = self.rows().transaction(|rows| {
            rows.settle(&delivery.id, Some(error))?;
            put_away_if_broken(rows, conversation, now)?;
            let notice = Event::Notice {
                say: SayId(format!("aside-{}", delivery.id)),
                text: set_aside(error),
                buttons: vec![],
            };
            let loaded = load(rows, conversation)?;
            decide(rows, conversation, loaded, News::of(notice), now)
        })?;
        Ok(self.begin(acts))
    }

    /// Puts a conversation that cannot be read out of the way, if that is what it is, and says so in a fresh one.
    pub fn replace_broken(&self, id: &str, now: Millis) -> Result<Vec<Act>, R::Error> {
        let acts = self.rows().transaction(|rows| {
            if !put_away_if_broken(rows, id, now)? {
                return Ok(vec![]);
            }
            let notice = Event::Notice {
                say: SayId(format!("broken-{now}")),
                text: BROKEN.to_owned(),
                buttons: vec![],
            };
            let loaded = load(rows, id)?;
            decide(rows, id, loaded, News::of(notice), now)
        })?;
        Ok(self.begin(acts))
    }
}

/// True if the conversation could not be read and is out of the way now.
fn put_away_if_broken<R: Rows>(rows: &R, id: &str, now: Millis) -> Result<bool, R::Error> {
    let Some(kept) = rows.conversation(id)? else {
        return Ok(false);
    };
    let broken = serde_json::from_str::<Conversation>(&kept.machine).is_err();
    if broken {
        rows.put_away(id, now)?;
    }
    Ok(broken)
}

/// Told when a conversation's state could not be read.
const BROKEN: &str = "I lost the thread here: what I kept of the last turn cannot be read. What was said before is still in my memory. Please ask again.";

fn set_aside(error: &str) -> String {
    let error: String = error.chars().take(200).collect();
    format!(
        "I could not handle a message of yours, three times over, and have set it aside ({error}). What you wrote after it is not held up; please put it another way."
    )
}

/// Whether a whole message is a word with which people stop a program; it means that only while there is something to stop.
fn is_stop_word(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "stop",
        "abort",
        "cancel",
        "esc",
        "exit",
        "interrupt",
        "wait",
        "arrête",
        "annule",
        "attends",
    ];
    let word = text.trim().trim_end_matches(['.', '!']).to_lowercase();
    WORDS.contains(&word.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_word_is_the_whole_message() {
        for word in ["stop", " Stop! ", "STOP.", "Arrête"] {
            assert!(is_stop_word(word), "{word}");
        }
        for text in ["stop the music at nine", "bus stop", "", "don't stop"] {
            assert!(!is_stop_word(text), "{text}");
        }
    }
}
