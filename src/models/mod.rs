//! Language models. Each is a codec: a [`Prompt`] in, an HTTP request out; bytes in, a [`Reply`] out. No I/O.

pub mod anthropic;
pub mod offline;
pub mod openai;
pub mod sse;
mod wire;

use crate::secret::Secret;
use agent::event::{ModelFailure, Reply};
use agent::prompt::Prompt;
use http::HeaderMap;
use std::fmt;
use thiserror::Error;

/// What a stream of bytes has yielded so far.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// Some more of the answer's text, for a preview. All of them joined are the whole answer's text.
    Text(String),
    /// The answer is whole.
    Whole(Reply),
    /// The stream itself reports a failure.
    Failed(ModelFailure),
}

/// A model that can be asked, as `MODEL` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Model {
    /// Anthropic's, or a server that speaks its Messages API.
    Anthropic {
        /// The provider's name for it.
        model: String,
    },
    /// `OpenAI`'s, or a server that speaks its Chat Completions.
    Openai {
        /// The provider's name for it.
        model: String,
    },
    /// The grammar of intents that needs no network: [`offline::reply`].
    Offline,
}

/// `MODEL` names something that cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnknownModel {
    /// It names nothing at all.
    #[error(
        "MODEL is empty; write anthropic/<model>, openai/<model> or offline, or several with commas between them"
    )]
    Empty,
    /// Not a provider.
    #[error(
        "MODEL names `{0}`, which is not a model; write anthropic/<model>, openai/<model> or offline"
    )]
    Unknown(String),
    /// A provider without a model.
    #[error("MODEL names the provider `{0}` without a model; write {0}/<model>")]
    Nameless(&'static str),
    /// Cloudflare's own models.
    #[error(
        "MODEL names `{0}`, but workers-ai is not built yet; write anthropic/<model>, openai/<model> or offline"
    )]
    WorkersAi(String),
}

/// The keys and addresses with which models are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelAccess {
    /// `ANTHROPIC_API_KEY`.
    pub anthropic_key: Option<Secret>,
    /// `ANTHROPIC_API_URL`; [`anthropic::DEFAULT_URL`] otherwise.
    pub anthropic_url: Option<String>,
    /// `OPENAI_API_KEY`.
    pub openai_key: Option<Secret>,
    /// `OPENAI_API_URL`; [`openai::DEFAULT_URL`] otherwise.
    pub openai_url: Option<String>,
}

/// Reads the chain of models, in order of preference, that a comma-separated `MODEL` names.
pub fn parse_chain(text: &str) -> Result<Vec<Model>, UnknownModel> {
    let names: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    if names.is_empty() {
        return Err(UnknownModel::Empty);
    }
    names.into_iter().map(parse).collect()
}

fn parse(name: &str) -> Result<Model, UnknownModel> {
    // Only the first slash parts provider and model: OpenRouter's names hold slashes themselves.
    let (provider, model) = name
        .split_once('/')
        .map_or((name, ""), |(provider, model)| (provider, model.trim()));
    match (provider.trim().to_lowercase().as_str(), model) {
        ("offline", "") => Ok(Model::Offline),
        ("anthropic", "") => Err(UnknownModel::Nameless("anthropic")),
        ("openai", "") => Err(UnknownModel::Nameless("openai")),
        ("anthropic", model) => Ok(Model::Anthropic {
            model: model.to_owned(),
        }),
        ("openai", model) => Ok(Model::Openai {
            model: model.to_owned(),
        }),
        ("workers-ai", _) => Err(UnknownModel::WorkersAi(name.to_owned())),
        _ => Err(UnknownModel::Unknown(name.to_owned())),
    }
}

impl Model {
    /// Asks it, streamed. `Offline` is not asked over the network: call [`offline::reply`].
    pub fn request(
        &self,
        access: &ModelAccess,
        prompt: &Prompt,
    ) -> Result<http::Request<Vec<u8>>, ModelFailure> {
        let missing = |variable: &str| ModelFailure::MissingKey {
            variable: variable.to_owned(),
        };
        match self {
            Self::Anthropic { model } => {
                let key = access
                    .anthropic_key
                    .as_ref()
                    .ok_or_else(|| missing("ANTHROPIC_API_KEY"))?;
                anthropic::request(
                    address(access.anthropic_url.as_ref(), anthropic::DEFAULT_URL),
                    key,
                    model,
                    prompt,
                )
            }
            Self::Openai { model } => {
                let key = access.openai_key.as_ref();
                let base = address(access.openai_url.as_ref(), openai::DEFAULT_URL);
                // A server of one's own, such as Ollama, may need no key.
                if key.is_none() && base == openai::DEFAULT_URL {
                    return Err(missing("OPENAI_API_KEY"));
                }
                openai::request(base, key, model, prompt)
            }
            Self::Offline => Err(ModelFailure::Rejected {
                reason: "the offline model has no network to be asked over".to_owned(),
            }),
        }
    }

    /// A reader for its answer to this prompt.
    pub fn reader(&self, prompt: &Prompt) -> Reader {
        match self {
            Self::Anthropic { .. } => Reader::Anthropic(Box::new(anthropic::Reader::new(prompt))),
            Self::Openai { .. } => Reader::Openai(Box::new(openai::Reader::new(prompt))),
            Self::Offline => Reader::Offline(Box::new(offline::reply(prompt))),
        }
    }

    /// What an answer that is not 2xx means; the keys never stand in it, even where the provider repeats them.
    pub fn failure(
        &self,
        access: &ModelAccess,
        status: u16,
        headers: &HeaderMap,
        body: &[u8],
    ) -> ModelFailure {
        let failure = match self {
            Self::Anthropic { model } => anthropic::failure(status, headers, body, model),
            Self::Openai { model } => openai::failure(status, headers, body, model),
            Self::Offline => ModelFailure::Rejected {
                reason: format!("status {status}"),
            },
        };
        access.hide(failure)
    }

    /// How it is called in `MODEL`.
    pub fn label(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anthropic { model } => write!(f, "anthropic/{model}"),
            Self::Openai { model } => write!(f, "openai/{model}"),
            Self::Offline => f.write_str("offline"),
        }
    }
}

impl ModelAccess {
    fn hide(&self, failure: ModelFailure) -> ModelFailure {
        let ModelFailure::Rejected { mut reason } = failure else {
            return failure;
        };
        for key in [&self.anthropic_key, &self.openai_key]
            .into_iter()
            .flatten()
        {
            reason = reason.replace(key.expose(), "***");
        }
        ModelFailure::Rejected { reason }
    }
}

fn address<'a>(set: Option<&'a String>, default: &'a str) -> &'a str {
    set.map(|url| url.trim())
        .filter(|url| !url.is_empty())
        .unwrap_or(default)
}

/// Reads one model's answer, whoever it is.
#[derive(Debug)]
pub enum Reader {
    /// Anthropic's stream.
    Anthropic(Box<anthropic::Reader>),
    /// Chat Completions' stream.
    Openai(Box<openai::Reader>),
    /// The answer is here already.
    Offline(Box<Reply>),
}

impl Reader {
    /// What these bytes bring. After [`Piece::Whole`] or [`Piece::Failed`] nothing more comes.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Piece> {
        match self {
            Self::Anthropic(reader) => reader.push(bytes),
            Self::Openai(reader) => reader.push(bytes),
            Self::Offline(_) => Vec::new(),
        }
    }

    /// How many events so far bore some of the answer: words, a piece of a call, a thought. Those that only keep a connection
    /// awake do not count.
    pub fn bearing(&self) -> usize {
        match self {
            Self::Anthropic(reader) => reader.bearing(),
            Self::Openai(reader) => reader.bearing(),
            Self::Offline(_) => 0,
        }
    }

    /// What came of it, now that the stream has ended.
    pub fn finish(self) -> Result<Reply, ModelFailure> {
        match self {
            Self::Anthropic(reader) => reader.finish(),
            Self::Openai(reader) => reader.finish(),
            Self::Offline(reply) => Ok(*reply),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many events of this stream bear some of the answer.
    fn bearing(name: &str, stream: &str) -> usize {
        let model = parse(name).expect("a model's name");
        let prompt = Prompt {
            system: String::new(),
            tools: vec![],
            turns: vec![],
            max_tokens: 1,
        };
        let mut reader = model.reader(&prompt);
        reader.push(stream.as_bytes());
        reader.bearing()
    }

    #[test]
    fn anthropics_words_calls_and_thoughts_bear_an_answer_and_signs_of_life_do_not() {
        for (event, expected) in [
            (r#"{"type":"message_start","message":{"model":"m"}}"#, 0),
            (r#"{"type":"ping"}"#, 0),
            (
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
                0,
            ),
            (
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","name":"x","input":{}}}"#,
                1,
            ),
            (
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#,
                1,
            ),
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}"#,
                0,
            ),
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
                1,
            ),
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{"}}"#,
                1,
            ),
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
                1,
            ),
            (r#"{"type":"content_block_stop","index":0}"#, 0),
            (
                r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#,
                0,
            ),
        ] {
            let stream = format!("data: {event}\n\n");
            assert_eq!(bearing("anthropic/m", &stream), expected, "{event}");
        }
    }

    #[test]
    fn openais_words_calls_and_thoughts_bear_an_answer_and_signs_of_life_do_not() {
        assert_eq!(bearing("openai/m", ": OPENROUTER PROCESSING\n\n"), 0);
        assert_eq!(bearing("openai/m", "data: {\"choices\":[]}\n\n"), 0);
        for (delta, expected) in [
            (r#"{"role":"assistant","content":""}"#, 0),
            (
                r#"{"content":null,"reasoning":null,"reasoning_content":""}"#,
                0,
            ),
            (r#"{"tool_calls":[]}"#, 0),
            (r#"{"content":"a"}"#, 1),
            (r#"{"content":[{"type":"thinking","thinking":[]}]}"#, 1),
            (r#"{"refusal":"no"}"#, 1),
            (r#"{"content":"","reasoning":"hm"}"#, 1),
            (r#"{"reasoning_content":"hm"}"#, 1),
            (r#"{"reasoning":"hm","reasoning_content":"hm"}"#, 1),
            (r#"{"tool_calls":[{"index":0,"function":{"name":"x"}}]}"#, 1),
        ] {
            let stream = format!("data: {{\"choices\":[{{\"delta\":{delta}}}]}}\n\n");
            assert_eq!(bearing("openai/m", &stream), expected, "{delta}");
        }
    }
}
