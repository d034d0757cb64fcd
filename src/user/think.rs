//! Asking a model: the chain of models, patience with the ones that are busy, the answer as it streams.

use super::{CONSOLE, Heart, now, store};
use crate::channels::console::ToPage;
use crate::channels::{Outgoing, OutgoingBody};
use crate::error::Result;
use crate::http;
use crate::models::{Model, ModelAccess, Piece, offline, parse_chain};
use crate::time::utc_hour;
use crate::tools::memory;
use agent::event::{AskId, ModelFailure, Reply};
use agent::prompt::{self, Prompt};
use agent::{Event, tool};
use protocol::session::{Access, Hello};
use std::rc::Rc;
use std::time::Duration;
use worker::{Delay, console_error, console_log};

/// How long a model may take to its first byte. Ten minutes of silence is the field's worst complaint.
const FIRST_BYTE: Duration = Duration::from_secs(45);

/// How long a stream may pause.
const PAUSE: Duration = Duration::from_mins(1);

/// How often one model is tried while its provider is busy.
const TRIES: u32 = 3;

/// The longest that is waited between two tries, in seconds, whatever the provider asks for.
const LONGEST_WAIT: u32 = 20;

/// How many facts are always in view.
const PROFILE: i64 = 20;

/// The longest answer that is kept, in bytes, its calls included.
const ANSWER_LIMIT: usize = 256 * 1024;

/// How much of the transcript a prompt may hold, in bytes: about 12,000 tokens, and less and less for a model that finds it too long.
const BUDGETS: [usize; 3] = [48_000, 16_000, 4_000];

/// The longest answer wanted, in tokens: a few screens of a phone.
const MAX_TOKENS: u32 = 4_096;

impl Heart {
    pub(super) async fn think(
        self: &Rc<Self>,
        conversation: &str,
        ask: AskId,
        tools: bool,
    ) -> Result<()> {
        self.keep_typing(conversation);
        let mut answer = Err(ModelFailure::ContextOverflow);
        for budget in BUDGETS {
            let prompt = self.prompt(conversation, tools, budget)?;
            answer = self.ask_chain(conversation, &ask, &prompt).await;
            if answer != Err(ModelFailure::ContextOverflow) {
                break;
            }
        }
        self.abandoned.borrow_mut().remove(&ask);
        if conversation == CONSOLE {
            self.show(&ToPage::Settled { ask: ask.0.clone() });
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
        self.step(conversation, &event)
    }

    async fn ask_chain(
        &self,
        conversation: &str,
        ask: &AskId,
        prompt: &Prompt,
    ) -> std::result::Result<Reply, ModelFailure> {
        let chain = parse_chain(&self.config.model).map_err(|error| ModelFailure::Rejected {
            reason: error.to_string(),
        })?;
        let mut last = ModelFailure::Overloaded;
        for model in chain {
            match self.ask_patiently(conversation, ask, &model, prompt).await {
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
        &self,
        conversation: &str,
        ask: &AskId,
        model: &Model,
        prompt: &Prompt,
    ) -> std::result::Result<Reply, ModelFailure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let failure = match self.ask_once(conversation, ask, model, prompt).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            let wait = match &failure {
                ModelFailure::RateLimited { retry_after } => retry_after.unwrap_or(1 << tries),
                ModelFailure::Overloaded | ModelFailure::Network { .. } => 1 << (tries - 1),
                ModelFailure::RefusedKey
                | ModelFailure::MissingKey { .. }
                | ModelFailure::UnknownModel { .. }
                | ModelFailure::ContextOverflow
                | ModelFailure::Rejected { .. } => return Err(failure),
            };
            if tries == TRIES || self.abandoned.borrow().contains(ask) {
                return Err(failure);
            }
            Delay::from(Duration::from_secs(u64::from(wait.min(LONGEST_WAIT)))).await;
        }
    }

    async fn ask_once(
        &self,
        conversation: &str,
        ask: &AskId,
        model: &Model,
        prompt: &Prompt,
    ) -> std::result::Result<Reply, ModelFailure> {
        if *model == Model::Offline {
            return Ok(offline::reply(prompt));
        }
        let access: &ModelAccess = &self.config.access;
        let (parts, body) = model.request(access, prompt)?.into_parts();
        let outgoing = Outgoing {
            request: ::http::Request::from_parts(parts, ()),
            body: OutgoingBody::Bytes(body),
        };
        let mut answer = http::open(outgoing, None, FIRST_BYTE)
            .await
            .map_err(|error| network(&error))?;
        if !(200..300).contains(&answer.status) {
            let mut body = Vec::new();
            while let (Ok(Some(piece)), true) = (answer.next(PAUSE).await, body.len() < 64 * 1024) {
                body.extend_from_slice(&piece);
            }
            return Err(model.failure(access, answer.status, &answer.headers, &body));
        }
        let mut reader = model.reader(prompt);
        let mut limit = FIRST_BYTE;
        while let Some(bytes) = answer.next(limit).await.map_err(|error| network(&error))? {
            limit = PAUSE;
            if self.abandoned.borrow().contains(ask) {
                return Err(ModelFailure::Network {
                    reason: "the person called it off".into(),
                });
            }
            for piece in reader.push(&bytes) {
                match piece {
                    Piece::Text(text) if conversation == CONSOLE => self.show(&ToPage::Delta {
                        ask: ask.0.clone(),
                        text,
                    }),
                    Piece::Text(_) => {}
                    Piece::Whole(reply) => return Ok(reply),
                    Piece::Failed(failure) => return Err(failure),
                }
            }
        }
        reader.finish()
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
        let profile = memory::profile(&self.db, PROFILE)?;
        let entries = store::window(&self.db, conversation)?;
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

fn network(error: &crate::error::Error) -> ModelFailure {
    ModelFailure::Network {
        reason: error.to_string(),
    }
}
