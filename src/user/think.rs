//! Asking a model: the chain of models, patience with the ones that are busy, the answer as it streams.

use super::perform::{Allowance, Done};
use super::{CONSOLE, Heart, now, store};
use crate::channels::console::ToPage;
use crate::channels::{Outgoing, OutgoingBody};
use crate::config::Patience;
use crate::error::Result;
use crate::http::{self, Streaming};
use crate::models::{Model, ModelAccess, Piece, offline, parse_chain};
use crate::time::utc_hour;
use crate::tools::memory;
use agent::event::{AskId, ModelFailure, Reply};
use agent::prompt::{self, Prompt};
use agent::{Event, tool};
use futures::future::{AbortHandle, AbortRegistration, Abortable};
use protocol::session::{Access, Hello};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;
use worker::{Delay, console_error, console_log};

/// For how many of its longest pauses a stream may be kept awake without a token: a model that thinks unseen for ten minutes
/// has lost its way, or its server has.
const PAUSES_AWAKE: u32 = 10;

/// How often one model is tried while its provider is busy.
const TRIES: u32 = 3;

/// The longest that is waited between two tries, in seconds; a provider that asks for more is not waited for.
const LONGEST_WAIT: u32 = 20;

/// How many facts are always in view.
const PROFILE: i64 = 20;

/// The most that is read of a refusal, in bytes: providers' are a few hundred.
const REFUSAL_LIMIT: usize = 64 * 1024;

/// The longest answer that is kept, in bytes, its calls included.
const ANSWER_LIMIT: usize = 256 * 1024;

/// How much of the transcript a prompt may hold, in bytes: about 12,000 tokens, and less and less for a model that finds it too long.
const BUDGETS: [usize; 3] = [48_000, 16_000, 4_000];

/// The longest answer wanted, in tokens: a few screens of a phone.
const MAX_TOKENS: u32 = 4_096;

/// What came of asking a model.
type Answer = std::result::Result<Reply, ModelFailure>;

/// Questions to the model, each with the handle that ends its waiting, whatever is waited for.
#[derive(Debug, Default)]
pub(super) struct Asks(HashMap<AskId, AbortHandle>);

impl Asks {
    /// Calls a question off. One that is not asked yet will not be.
    pub(super) fn insert(&mut self, ask: AskId) {
        let unasked = || AbortHandle::new_pair().0;
        self.0.entry(ask).or_insert_with(unasked).abort();
    }

    /// What ends the waiting for a question's answer once the question is called off; at once if it is already.
    fn begin(&mut self, ask: &AskId) -> AbortRegistration {
        let (handle, registration) = AbortHandle::new_pair();
        let before = self.0.insert(ask.clone(), handle.clone());
        if before.is_some_and(|before| before.is_aborted()) {
            handle.abort();
        }
        registration
    }

    fn end(&mut self, ask: &AskId) {
        self.0.remove(ask);
    }
}

/// How long one answer is waited for still.
///
/// Until the first token only tokens count: a server that sends a head, a beginning and signs of life shows that it is there, not
/// that a model answers. From then on any byte ends a pause, for a `ping` is Anthropic's published sign that a model is at
/// work where nothing can be shown, and comments are `OpenRouter`'s; but signs of life alone do not hold a stream for ever.
#[derive(Debug)]
struct Vigil {
    patience: Patience,
    begun: bool,
    token_until: i64,
    byte_until: i64,
}

impl Vigil {
    fn new(patience: Patience, at: i64) -> Self {
        let until = at.saturating_add(millis(patience.first_token));
        Self {
            patience,
            begun: false,
            token_until: until,
            byte_until: until,
        }
    }

    /// Notes that bytes came, and whether there was a token in them.
    fn heard(&mut self, token: bool, at: i64) {
        self.begun |= token;
        if token {
            let longest = self.patience.pause * PAUSES_AWAKE;
            self.token_until = at.saturating_add(millis(longest));
        }
        if self.begun {
            self.byte_until = at.saturating_add(millis(self.patience.pause));
        }
    }

    /// How long is waited for the next byte; `None` once it is over.
    fn left(&self, at: i64) -> Option<Duration> {
        let left = self.token_until.min(self.byte_until).saturating_sub(at);
        let left = u64::try_from(left).ok().filter(|left| *left > 0)?;
        Some(Duration::from_millis(left))
    }

    /// What is waited for, or the failure that the vigil's end or a broken connection means.
    async fn keep<T>(
        &self,
        awaited: impl Future<Output = Result<T>>,
    ) -> std::result::Result<T, ModelFailure> {
        let left = self.left(now()).ok_or_else(|| self.failure())?;
        let came = http::within(left, awaited).await;
        came.ok_or_else(|| self.failure())?
            .map_err(|error| ModelFailure::Network {
                reason: error.to_string(),
            })
    }

    fn failure(&self) -> ModelFailure {
        let (what, limit) = if !self.begun {
            ("no word came within", self.patience.first_token)
        } else if self.byte_until <= self.token_until {
            ("nothing more came for", self.patience.pause)
        } else {
            ("no word more came for", self.patience.pause * PAUSES_AWAKE)
        };
        ModelFailure::Network {
            reason: format!("{what} {} seconds", limit.as_secs()),
        }
    }
}

impl Heart {
    /// Calls a question to the model off: the waiting for its answer ends at once, and with it the request.
    pub(super) fn abandon(&self, ask: AskId) {
        self.abandoned.borrow_mut().insert(ask);
    }

    pub(super) async fn think(
        self: &Rc<Self>,
        conversation: &str,
        ask: AskId,
        tools: bool,
        allowance: &Allowance,
    ) -> Result<Done> {
        self.keep_typing(conversation);
        let fresh = allowance.is_whole();
        report(&self.config.faults);
        let called_off = self.abandoned.borrow_mut().begin(&ask);
        let answer = Abortable::new(
            self.consult(conversation, &ask, tools, allowance),
            called_off,
        )
        .await;
        self.abandoned.borrow_mut().end(&ask);
        if conversation == CONSOLE {
            self.show(&ToPage::Settled { ask: ask.0.clone() });
        }
        let Ok(answer) = answer else {
            return Ok(Done::Wholly); // it was called off: nobody waits for the news
        };
        let mut answer = answer?;
        if answer.is_err() && allowance.is_spent() && !fresh {
            return Ok(Done::OutOfAllowance); // not the models' fault: asked again, with all of an invocation's requests
        }
        if answer.as_ref().is_ok_and(is_too_long) {
            let reason = "its answer is longer than can be kept".to_owned();
            answer = Err(ModelFailure::Rejected { reason });
        }
        let event = match answer {
            Ok(reply) => Event::Replied {
                ask,
                reply,
                at: now(),
            },
            Err(failure) => {
                console_error!("model: {failure:?}");
                Event::ModelFailed {
                    ask,
                    failure,
                    at: now(),
                }
            }
        };
        let acts = self.driver.step(conversation, &event, now())?;
        self.act_within(allowance, acts);
        Ok(Done::Wholly)
    }

    async fn consult(
        self: &Rc<Self>,
        conversation: &str,
        ask: &AskId,
        tools: bool,
        allowance: &Allowance,
    ) -> Result<Answer> {
        let mut answer = Err(ModelFailure::ContextOverflow);
        for budget in BUDGETS {
            let prompt = self.prompt(conversation, tools, budget)?;
            answer = self.ask_chain(conversation, ask, &prompt, allowance).await;
            if answer != Err(ModelFailure::ContextOverflow) {
                break;
            }
        }
        Ok(answer)
    }

    async fn ask_chain(
        self: &Rc<Self>,
        conversation: &str,
        ask: &AskId,
        prompt: &Prompt,
        allowance: &Allowance,
    ) -> Answer {
        let rejected = |reason: String| ModelFailure::Rejected { reason };
        let chain = self
            .model_chain()
            .map_err(|error| rejected(error.to_string()))?;
        let chain = parse_chain(&chain).map_err(|error| rejected(error.to_string()))?;
        let mut last = ModelFailure::Overloaded;
        for model in chain {
            match self
                .ask_patiently(conversation, ask, &model, prompt, allowance)
                .await
            {
                Ok(reply) => return Ok(reply),
                Err(ModelFailure::ContextOverflow) => return Err(ModelFailure::ContextOverflow),
                Err(failure) => {
                    console_log!("{model} did not answer: {failure:?}");
                    last = failure;
                }
            }
        }
        Err(last)
    }

    async fn ask_patiently(
        self: &Rc<Self>,
        conversation: &str,
        ask: &AskId,
        model: &Model,
        prompt: &Prompt,
        allowance: &Allowance,
    ) -> Answer {
        let mut tries = 0;
        loop {
            tries += 1;
            if !allowance.take() {
                return Err(ModelFailure::Overloaded); // of requests, not the provider: the asker knows
            }
            let failure = match self.ask_once(conversation, ask, model, prompt).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            self.preview_unsaid(conversation);
            if conversation == CONSOLE {
                // What came of a broken answer is not the beginning of the next one.
                self.show(&ToPage::Settled { ask: ask.0.clone() });
            }
            let wait = match &failure {
                ModelFailure::RateLimited { retry_after } => retry_after.unwrap_or(1 << tries),
                ModelFailure::Overloaded | ModelFailure::Network { .. } => 1 << (tries - 1),
                ModelFailure::RefusedKey
                | ModelFailure::MissingKey { .. }
                | ModelFailure::UnknownModel { .. }
                | ModelFailure::ContextOverflow
                | ModelFailure::Rejected { .. }
                | ModelFailure::Broken { .. } => return Err(failure),
            };
            if tries == TRIES || wait > LONGEST_WAIT {
                return Err(failure); // the next model may answer sooner, and the person is told how long it would take
            }
            Delay::from(Duration::from_secs(u64::from(wait))).await;
        }
    }

    async fn ask_once(
        self: &Rc<Self>,
        conversation: &str,
        ask: &AskId,
        model: &Model,
        prompt: &Prompt,
    ) -> Answer {
        if *model == Model::Offline {
            return Ok(offline::reply(prompt));
        }
        let access: &ModelAccess = &self.config.access;
        let (parts, body) = model.request(access, prompt)?.into_parts();
        let outgoing = Outgoing {
            request: ::http::Request::from_parts(parts, ()),
            body: OutgoingBody::Bytes(body),
        };
        let mut vigil = Vigil::new(self.config.patience, now());
        let mut answer = vigil.keep(http::open(outgoing, None)).await?;
        if !(200..300).contains(&answer.status) {
            let body = refusal(&mut answer, &vigil).await;
            return Err(model.failure(access, answer.status, &answer.headers, &body));
        }
        let mut reader = model.reader(prompt);
        loop {
            let bytes = match vigil.keep(answer.next()).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return reader.finish(),
                // All may have been said already, but for a farewell.
                Err(failure) => return reader.finish().map_err(|_| failure),
            };
            let before = reader.bearing();
            for piece in reader.push(&bytes) {
                match piece {
                    Piece::Text(text) if conversation == CONSOLE => self.show(&ToPage::Delta {
                        ask: ask.0.clone(),
                        text,
                    }),
                    Piece::Text(text) => self.preview_text(conversation, &text),
                    Piece::Whole(reply) => return Ok(reply),
                    Piece::Failed(failure) => return Err(failure),
                }
            }
            vigil.heard(reader.bearing() > before, now());
        }
    }

    fn prompt(&self, conversation: &str, allow_tools: bool, budget_chars: usize) -> Result<Prompt> {
        let hellos = self.hellos()?;
        // A machine that was joined a moment ago has not said yet what it can do: what it is asked waits for it.
        let unheard = self.is_any_bridge_unheard()?;
        let offered = |name: &str| {
            unheard
                || hellos
                    .iter()
                    .any(|(_, hello)| hello.tools.iter().any(|tool| tool == name))
        };
        let tools = tool::all().iter().filter(|tool| match tool.place {
            protocol::tools::Place::Worker => true,
            protocol::tools::Place::Bridge => offered(&tool.name.0),
        });
        let home: Vec<String> = hellos
            .iter()
            .map(|(name, hello)| describe(name, hello))
            .collect();
        let profile = memory::profile(self.db(), PROFILE)?;
        let begun = self.begun_after(conversation)?;
        let entries = store::window_after(self.db(), conversation, begun)?;
        Ok(prompt::assemble(&prompt::Input {
            persona: prompt::PERSONA,
            profile: &profile,
            home: &home,
            entries: &entries,
            tools: tools.cloned().collect(),
            allow_tools,
            budget_chars,
            now: &utc_hour(now()),
            max_tokens: MAX_TOKENS,
        }))
    }
}

/// A machine in one line: its name, what may be touched, which commands may run.
fn describe(name: &str, hello: &Hello) -> String {
    let roots: Vec<String> = hello
        .roots
        .iter()
        .map(|root| match root.access {
            Access::Read => format!("{} (read only)", root.name),
            Access::Append => format!("{} (read and add; nothing there is changed)", root.name),
            Access::Write => root.name.clone(),
        })
        .collect();
    let commands: Vec<String> = hello
        .commands
        .iter()
        .map(|command| format!("`{}`", command.join(" ")))
        .collect();
    let commands = if commands.is_empty() {
        "none".to_owned()
    } else {
        commands.join(", ")
    };
    format!(
        "{name} ({}): folders {}; commands {commands}",
        hello.platform,
        roots.join(", ")
    )
}

/// Whether an answer is more than a row should hold; with `max_tokens` honoured none is.
fn is_too_long(reply: &Reply) -> bool {
    let arguments = reply.calls.iter().map(|call| match &call.arguments {
        Ok(value) => value.to_string().len(),
        Err(text) => text.len(),
    });
    reply.text.len() + arguments.sum::<usize>() > ANSWER_LIMIT
}

/// The body of a refusal, as much of it as came in time and is worth reading.
async fn refusal(answer: &mut Streaming, vigil: &Vigil) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < REFUSAL_LIMIT
        && let Ok(Some(piece)) = vigil.keep(answer.next()).await
    {
        body.extend_from_slice(&piece);
    }
    body
}

/// Tells the operator what is configured wrongly; once an isolate, not with each question.
fn report(faults: &[String]) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        for fault in faults {
            console_error!("{fault}");
        }
    });
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vigil() -> Vigil {
        let patience = Patience {
            first_token: Duration::from_secs(3),
            pause: Duration::from_secs(2),
        };
        Vigil::new(patience, 1_000)
    }

    fn lasts(vigil: &Vigil, at: i64) -> Option<u128> {
        vigil.left(at).map(|left| left.as_millis())
    }

    fn silence(reason: &str) -> ModelFailure {
        ModelFailure::Network {
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn signs_of_life_do_not_stand_for_the_first_token() {
        let mut vigil = vigil();
        for at in [1_000, 2_000, 3_999] {
            vigil.heard(false, at);
        }
        assert_eq!(lasts(&vigil, 3_999), Some(1));
        assert_eq!(lasts(&vigil, 4_000), None);
        assert_eq!(vigil.failure(), silence("no word came within 3 seconds"));
    }

    #[test]
    fn after_the_first_token_any_byte_ends_a_pause() {
        let mut vigil = vigil();
        vigil.heard(true, 3_000);
        assert_eq!(lasts(&vigil, 3_000), Some(2_000));
        vigil.heard(false, 4_500);
        assert_eq!(lasts(&vigil, 5_000), Some(1_500));
        assert_eq!(lasts(&vigil, 6_500), None);
        assert_eq!(vigil.failure(), silence("nothing more came for 2 seconds"));
    }

    #[test]
    fn signs_of_life_alone_do_not_hold_a_stream_for_ever() {
        let mut vigil = vigil();
        vigil.heard(true, 1_000);
        for at in (2_000..=20_000).step_by(1_000) {
            vigil.heard(false, at);
        }
        assert_eq!(lasts(&vigil, 20_000), Some(1_000));
        assert_eq!(lasts(&vigil, 21_000), None);
        assert_eq!(vigil.failure(), silence("no word more came for 20 seconds"));
        vigil.heard(true, 20_500);
        assert_eq!(lasts(&vigil, 20_500), Some(2_000));
    }

    #[test]
    fn a_question_that_was_called_off_before_it_was_asked_is_not_asked() {
        let mut asks = Asks::default();
        let ask = AskId("ask-1".into());
        asks.insert(ask.clone());
        let waiting = Abortable::new(std::future::ready(()), asks.begin(&ask));
        assert!(waiting.is_aborted());
        asks.end(&ask);
        let waiting = Abortable::new(std::future::ready(()), asks.begin(&ask));
        assert!(!waiting.is_aborted());
        asks.insert(ask.clone());
        assert!(waiting.is_aborted());
        asks.end(&ask);
        assert!(asks.0.is_empty());
    }
}
