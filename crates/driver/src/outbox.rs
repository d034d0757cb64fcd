//! What is sent to people, in order, once. A parcel is written down before it leaves and after it is answered, so that a crash between
//! the two is seen as not knowing, never as not sent.

use crate::rows::{Millis, Rows, Sending, SendingState};
use crate::step::{News, load};
use crate::{Act, Driver};
use agent::event::{Decision, Delivery, SayId};
use agent::{Content, Conversation, Effect, Event};
use protocol::call::{CallId, Outcome, ToolCall};

/// How long a message that was clearly not taken is tried again: a day.
const PATIENCE_MILLIS: Millis = 24 * 60 * 60 * 1000;

/// The longest that is waited between two tries, in seconds, unless the provider asks for more.
const LONGEST_WAIT: u64 = 15 * 60;

/// The longest that a shell should wait awake for the next try; what takes longer is left to the alarm.
pub const SHORT_WAIT_MILLIS: Millis = 5_000;

/// How much too early an alarm may ring.
const TICK_MILLIS: Millis = 500;

/// Sent after a text whose fate is not known.
pub const DOUBT: &str = "The line broke while I was sending you a message, and I do not know whether it arrived. If you do not see it above, ask me again.";

/// What is noted of a parcel that is held until the person writes again.
const SILENCED: &str = "silenced";

/// What begins the name of such a notice.
const DOUBT_PREFIX: &str = "doubt-";

/// Something for the person.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// What the agent says.
    Said(Content),
    /// Whether a call may run.
    Question(ToolCall),
}

/// One request's worth of something for the person.
#[derive(Debug, Clone, PartialEq)]
pub struct Parcel {
    /// Names what is sent, for its whole life.
    pub say: String,
    /// Which part of it this is, from 0.
    pub part: usize,
    /// What is sent.
    pub what: What,
}

/// What the courier does next.
#[derive(Debug, Clone, PartialEq)]
pub enum Was {
    /// Send this; it is written down as on its way. Ends in [`Driver::answered`].
    Parcel(Parcel),
    /// Show this on the person's pages: stored is delivered. Ends in [`Driver::shown`].
    Page(Parcel),
    /// Wait: nothing may overtake what is held until then.
    Held {
        /// When it may be tried again.
        until: Millis,
    },
    /// Everything has been sent.
    Nothing,
}

/// What the provider said to a parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It has taken it.
    Taken {
        /// Its name for the message.
        message: Option<String>,
    },
    /// It has not taken it, and will after so many seconds.
    RetryAfter(u64),
    /// It has clearly not taken it, and may later.
    NotTaken(String),
    /// It takes nothing before the person has written again, see [`Driver::heard_from`]; looked at again at that time.
    Silenced {
        /// When that is.
        until: Millis,
    },
    /// It will never take it.
    Refused(String),
    /// It may or may not have taken it.
    Unclear(String),
}

/// What the courier must know that is not in the rows.
pub trait Outside<E> {
    /// Whether this conversation is read on pages that show the rows.
    fn is_page(&self, conversation: &str) -> bool;
    /// In how many parts something travels, at least one. The same thing always has the same number.
    fn parts(&self, what: &What) -> usize;
    /// What is known already about a call that the person is about to be asked about.
    fn consent(&self, call: &ToolCall) -> Result<Consent, E>;
    /// How long a question stays open.
    fn question_millis(&self) -> Millis;
}

/// Whether a person must be asked about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consent {
    /// They must.
    Ask,
    /// No machine would run it, and this is why.
    Forbidden(String),
    /// The machine's own law lets this very call run without a question.
    Given,
}

/// What the model reads of a question that nobody has answered.
const EXPIRED: &str = "the person did not answer the question in time, so this was not done; do not ask for it again unless they bring it up";

/// How something that is to be sent stands.
enum Standing {
    Over(Delivery),
    Held(Millis),
    Due(usize, Sending),
}

impl Parcel {
    /// The name of its row.
    pub fn id(&self) -> String {
        part_id(&self.say, self.part)
    }
}

impl<R: Rows> Driver<R> {
    /// What a conversation has to say next, and what became due meanwhile: words and files in their order, then questions. A part that
    /// an earlier instance had under way is of unknown fate, and not sent again.
    pub fn next_parcel(
        &self,
        conversation: &str,
        outside: &impl Outside<R::Error>,
        now: Millis,
    ) -> Result<(Was, Vec<Act>), R::Error> {
        let mut acts = vec![];
        let was = self.parcel_and_acts(conversation, outside, now, &mut acts);
        Ok((self.or_leave(&acts, was)?, acts))
    }

    fn parcel_and_acts(
        &self,
        conversation: &str,
        outside: &impl Outside<R::Error>,
        now: Millis,
        acts: &mut Vec<Act>,
    ) -> Result<Was, R::Error> {
        loop {
            let (_, machine) = load(self.rows(), conversation)?;
            let Some(first) = self.first_to_say(&machine, outside, now)? else {
                return Ok(Was::Nothing);
            };
            match first {
                (what, say, Standing::Over(delivery)) => {
                    acts.extend(self.over(conversation, &say, &what, delivery, now)?);
                }
                (_, _, Standing::Held(until)) => return Ok(Was::Held { until }),
                (what, say, Standing::Due(part, sending)) => {
                    if let Some(event) = answer_known(&what, outside, now)? {
                        acts.extend(self.step(conversation, &event, now)?);
                        continue;
                    }
                    let parcel = Parcel { say, part, what };
                    if outside.is_page(conversation) {
                        return Ok(Was::Page(parcel));
                    }
                    self.rows().put_sending(&Sending {
                        state: SendingState::Sending,
                        attempts: sending.attempts + 1,
                        ..sending
                    })?;
                    return Ok(Was::Parcel(parcel));
                }
            }
        }
    }

    /// What the provider said to a parcel; says how long to wait before the courier goes on. `roll` is random, so that what was held
    /// together is not sent together.
    pub fn answered(
        &self,
        parcel: &Parcel,
        answer: Answer,
        outside: &impl Outside<R::Error>,
        roll: u8,
        now: Millis,
    ) -> Result<Millis, R::Error> {
        let Some(sending) = self.rows().sending(&parcel.id())? else {
            return Ok(0);
        };
        let attempts = sending.attempts;
        let (state, provider, wait) = match answer {
            Answer::Taken { message } => (SendingState::Sent, message, 0),
            Answer::Refused(reason) => (SendingState::Refused, Some(reason), 0),
            Answer::Unclear(_) => (SendingState::Unknown, None, 0),
            Answer::RetryAfter(_) | Answer::NotTaken(_)
                if now - sending.since > PATIENCE_MILLIS =>
            {
                let reason = "the provider was not to be had for a day".to_owned();
                (SendingState::Refused, Some(reason), 0)
            }
            Answer::RetryAfter(seconds) => (SendingState::Held, None, seconds),
            Answer::Silenced { until } => {
                let wait = u64::try_from((until - now) / 1000).unwrap_or(0);
                (SendingState::Held, Some(SILENCED.to_owned()), wait)
            }
            Answer::NotTaken(_) => (SendingState::Held, None, backoff(attempts, roll)),
        };
        let wait = Millis::try_from(wait).unwrap_or(Millis::MAX / 2000) * 1000;
        let closes = (is_out(state) && matches!(parcel.what, What::Question(_)))
            .then(|| now + outside.question_millis());
        let next_at = closes.unwrap_or(now + wait);
        let sending = Sending {
            state,
            provider,
            next_at,
            ..sending
        };
        self.rows().transaction(|rows| {
            rows.put_sending(&sending)?;
            if state == SendingState::Held || closes.is_some() {
                rows.wake_by(next_at)?;
            }
            Ok(wait)
        })
    }

    /// The person has written: what was held until then is due, and is tried for as long as anything that is sent for the first time.
    pub fn heard_from(&self, conversation: &str, now: Millis) -> Result<Vec<Act>, R::Error> {
        let Ok((_, machine)) = load(self.rows(), conversation) else {
            return Ok(vec![]); // what cannot be read is put out of the way when the message is handled
        };
        let names: Vec<String> = to_say(&machine)
            .flat_map(|(say, _)| [format!("{say}#"), format!("{say}:again#")])
            .collect();
        let held = self.rows().held()?.into_iter();
        let silenced: Vec<Sending> = held
            .filter(|sending| sending.provider.as_deref() == Some(SILENCED))
            .filter(|sending| names.iter().any(|name| sending.id.starts_with(name)))
            .collect();
        if silenced.is_empty() {
            return Ok(vec![]);
        }
        self.rows().transaction(|rows| {
            for sending in &silenced {
                rows.put_sending(&Sending {
                    provider: None,
                    next_at: now,
                    since: now,
                    ..sending.clone()
                })?;
            }
            Ok(())
        })?;
        let conversation = conversation.to_owned();
        Ok(self.begin([Act::Send { conversation }]))
    }

    /// A page shows it; `put` adds it to what pages show, in the same transaction.
    pub fn shown(
        &self,
        conversation: &str,
        parcel: &Parcel,
        put: impl Fn(&R) -> Result<(), R::Error>,
        outside: &impl Outside<R::Error>,
        now: Millis,
    ) -> Result<Vec<Act>, R::Error> {
        self.save(conversation, now, |rows, machine| {
            if !to_say(machine).any(|(say, _)| say == parcel.say) {
                return Ok(News::default());
            }
            put(rows)?;
            Ok(match &parcel.what {
                What::Said(_) => News::of(sent(&parcel.say, Delivery::Delivered, now)),
                What::Question(_) => {
                    let next_at = now + outside.question_millis();
                    rows.put_sending(&Sending {
                        state: SendingState::Sent,
                        next_at,
                        ..fresh(parcel.id(), now)
                    })?;
                    rows.wake_by(next_at)?;
                    News::default()
                }
            })
        })
    }

    /// The first thing that is not done with, and how it stands.
    fn first_to_say(
        &self,
        machine: &Conversation,
        outside: &impl Outside<R::Error>,
        now: Millis,
    ) -> Result<Option<(What, String, Standing)>, R::Error> {
        for (say, what) in to_say(machine) {
            let parts = outside.parts(&what);
            let mut say = say;
            let mut standing = self.standing(&say, parts, outside, now)?;
            if let What::Question(_) = what {
                if matches!(standing, Standing::Over(Delivery::Unknown)) {
                    // Unseen, the question would hold the turn up; seen twice, it still takes one answer.
                    say = format!("{say}:again");
                    standing = self.standing(&say, parts, outside, now)?;
                }
                if matches!(
                    standing,
                    Standing::Over(Delivery::Delivered | Delivery::Unknown)
                ) {
                    if !self.is_expired(&say, now)? {
                        continue;
                    }
                    let reason = EXPIRED.to_owned();
                    standing = Standing::Over(Delivery::Refused { reason });
                }
            }
            return Ok(Some((what, say, standing)));
        }
        Ok(None)
    }

    /// Whether a question that is out has waited for its answer long enough.
    fn is_expired(&self, say: &str, now: Millis) -> Result<bool, R::Error> {
        let first = self.rows().sending(&part_id(say, 0))?;
        Ok(first.is_some_and(|sending| sending.next_at <= now + TICK_MILLIS))
    }

    /// The first thing that has not been sent; a question that was sent may wait long for its answer.
    pub(crate) fn first_unsent(
        &self,
        machine: &Conversation,
    ) -> Result<Option<(String, What)>, R::Error> {
        for (say, what) in to_say(machine) {
            let first = self.rows().sending(&part_id(&say, 0))?;
            let is_asked = first.is_some_and(|first| first.state == SendingState::Sent);
            match what {
                What::Question(_) if is_asked => {}
                What::Question(_) | What::Said(_) => return Ok(Some((say, what))),
            }
        }
        Ok(None)
    }

    /// Gives up sending something. What of it may have left stays in doubt.
    pub(crate) fn unsendable(
        &self,
        conversation: &str,
        say: &str,
        what: &What,
        reason: String,
        now: Millis,
    ) -> Result<Vec<Act>, R::Error> {
        let mut delivery = Delivery::Refused { reason };
        for part in 0.. {
            let Some(sending) = self.rows().sending(&part_id(say, part))? else {
                break;
            };
            delivery = match (sending.state, what) {
                (SendingState::Sending | SendingState::Unknown, What::Said(_)) => Delivery::Unknown,
                // A file travels in one part: it is there, only noting so has failed.
                (SendingState::Sent, What::Said(Content::File { .. })) => Delivery::Delivered,
                _ => delivery,
            };
        }
        self.over(conversation, say, what, delivery, now)
    }

    fn standing(
        &self,
        say: &str,
        parts: usize,
        outside: &impl Outside<R::Error>,
        now: Millis,
    ) -> Result<Standing, R::Error> {
        let mut fate = Delivery::Delivered;
        for part in 0..parts {
            let id = part_id(say, part);
            let Some(sending) = self.rows().sending(&id)? else {
                return Ok(Standing::Due(part, fresh(id, now)));
            };
            match sending.state {
                SendingState::Sent => {}
                SendingState::Refused if fate == Delivery::Unknown => break, // what went before stays in doubt
                SendingState::Refused => {
                    let reason = sending.provider.unwrap_or_default();
                    return Ok(Standing::Over(Delivery::Refused { reason }));
                }
                SendingState::Held if sending.next_at > now + TICK_MILLIS => {
                    return Ok(Standing::Held(sending.next_at));
                }
                SendingState::Held => return Ok(Standing::Due(part, sending)),
                SendingState::Unknown => fate = Delivery::Unknown, // the rest is not in doubt
                SendingState::Sending => {
                    self.rows().put_sending(&Sending {
                        state: SendingState::Unknown,
                        next_at: now + outside.question_millis(),
                        ..sending
                    })?;
                    fate = Delivery::Unknown;
                }
            }
        }
        Ok(Standing::Over(fate))
    }

    /// Tells the agent what became of something; of a text in doubt, the person is told in the same breath.
    fn over(
        &self,
        conversation: &str,
        say: &str,
        what: &What,
        delivery: Delivery,
        now: Millis,
    ) -> Result<Vec<Act>, R::Error> {
        let events: Vec<Event> = match what {
            What::Said(content) => doubt(say, content, &delivery)
                .into_iter()
                .chain([sent(say, delivery, now)])
                .collect(),
            What::Question(call) => {
                let Delivery::Refused { reason } = delivery else {
                    return Ok(vec![]);
                };
                let outcome = Outcome::denied(reason);
                let (call, at) = (call.id.clone(), now);
                vec![Event::Finished {
                    call,
                    outcome,
                    by: None,
                    at,
                }]
            }
        };
        self.save(conversation, now, |_, _| {
            let (events, acts) = (events.clone(), vec![]);
            Ok(News { events, acts })
        })
    }
}

/// What a conversation wants the person to see and has not been told the end of, under its names.
pub(crate) fn to_say(machine: &Conversation) -> impl Iterator<Item = (String, What)> {
    let (mut says, mut questions) = (vec![], vec![]);
    for effect in machine.outstanding() {
        match effect {
            Effect::Say { say, content } => says.push((say.0, What::Said(content))),
            Effect::AskPerson { call } => {
                questions.push((format!("question:{}", call.id), What::Question(call)));
            }
            Effect::AskModel { .. }
            | Effect::Run { .. }
            | Effect::Cancel { .. }
            | Effect::Abandon { .. } => {}
        }
    }
    says.into_iter().chain(questions)
}

/// The calls that the person is being asked about.
pub(crate) fn questions(machine: &Conversation) -> Vec<CallId> {
    let question = |(_, what)| match what {
        What::Question(call) => Some(call.id),
        What::Said(_) => None,
    };
    to_say(machine).filter_map(question).collect()
}

/// Inside a transaction: the messages of a question that nobody can answer any more.
pub(crate) fn retract<R: Rows>(
    rows: &R,
    conversation: &str,
    call: &CallId,
) -> Result<Vec<Act>, R::Error> {
    let mut acts = vec![];
    for say in [format!("question:{call}"), format!("question:{call}:again")] {
        for part in 0.. {
            let Some(sending) = rows.sending(&part_id(&say, part))? else {
                break;
            };
            let sent = sending.state == SendingState::Sent;
            acts.extend(
                sending
                    .provider
                    .filter(|_| sent)
                    .map(|message| Act::Retract {
                        conversation: conversation.to_owned(),
                        message,
                    }),
            );
        }
    }
    Ok(acts)
}

/// The answer to a question that needs none.
fn answer_known<E>(what: &What, outside: &impl Outside<E>, at: Millis) -> Result<Option<Event>, E> {
    let What::Question(call) = what else {
        return Ok(None);
    };
    let call_id = call.id.clone();
    Ok(match outside.consent(call)? {
        Consent::Ask => None,
        Consent::Forbidden(reason) => Some(Event::Finished {
            call: call_id,
            outcome: Outcome::denied(reason),
            by: None,
            at,
        }),
        Consent::Given => Some(Event::Decided {
            call: call_id,
            decision: Decision::Once,
            at,
        }),
    })
}

/// Whether a parcel has left, as far as is known.
fn is_out(state: SendingState) -> bool {
    matches!(state, SendingState::Sent | SendingState::Unknown)
}

fn part_id(say: &str, part: usize) -> String {
    format!("{say}#{part}")
}

fn fresh(id: String, now: Millis) -> Sending {
    Sending {
        id,
        state: SendingState::Held,
        provider: None,
        attempts: 0,
        next_at: now,
        since: now,
    }
}

fn sent(say: &str, delivery: Delivery, at: Millis) -> Event {
    let say = SayId(say.to_owned());
    Event::Sent { say, delivery, at }
}

/// What the person is told when a text may not have reached them; `None` where there is no need. A doubt is not itself doubted:
/// over a line that breaks each time, it would never end. Of a file, the turn itself tells what became of it.
fn doubt(say: &str, content: &Content, delivery: &Delivery) -> Option<Event> {
    let is_text = matches!(content, Content::Text { .. });
    let tells = is_text && *delivery == Delivery::Unknown && !say.starts_with(DOUBT_PREFIX);
    tells.then(|| Event::Notice {
        say: SayId(format!("{DOUBT_PREFIX}{say}")),
        text: DOUBT.to_owned(),
        buttons: vec![],
    })
}

/// How long to wait after so many tries, in seconds: twice as long each time up to a quarter of an hour, less or more by a random
/// quarter.
fn backoff(attempts: u32, roll: u8) -> u64 {
    let whole = (1_u64 << attempts.clamp(1, 10)).min(LONGEST_WAIT);
    whole * (192 + u64::from(roll) / 2) / 256
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_in_doubt_is_told_of_once_and_a_doubt_is_not() {
        let text = Content::Text {
            text: "It is noon.".into(),
            buttons: vec![],
        };
        let notice = doubt("a-1-s1", &text, &Delivery::Unknown);
        let Some(Event::Notice { say, .. }) = &notice else {
            panic!("nobody is told: {notice:?}")
        };
        assert_eq!(doubt("a-1-s1", &text, &Delivery::Unknown), notice);
        assert_eq!(doubt(&say.0, &text, &Delivery::Unknown), None);
        assert_eq!(doubt("a-1-s1", &text, &Delivery::Delivered), None);
    }

    #[test]
    fn the_waits_double_up_to_a_quarter_of_an_hour_give_or_take_a_quarter() {
        let whole: Vec<u64> = [1, 2, 3, 9, 10, 99].map(|n| backoff(n, 128)).into();
        assert_eq!(whole, [2, 4, 8, 512, 900, 900]);
        assert_eq!((backoff(10, 0), backoff(10, 255)), (675, 1121));
    }
}
