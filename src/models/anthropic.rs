//! Anthropic's Messages API, streamed. A prompt in, a request out; the stream's bytes in, a [`Reply`] out. No I/O.

use super::Piece;
use super::sse::{SseDecoder, SseEvent};
use super::wire::{self, Names, Refusal};
use crate::secret::Secret;
use agent::event::{ModelFailure, Reply, Stop, Usage};
use agent::prompt::{Prompt, Shown, Turn};
use http::HeaderMap;
use protocol::call::ToolCall;
use protocol::tools::ToolSpec;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where requests go unless `ANTHROPIC_API_URL` says otherwise.
pub const DEFAULT_URL: &str = "https://api.anthropic.com";

/// The version of the API that this codec speaks.
const VERSION: &str = "2023-06-01";

/// Asks a model, streamed; fails only where the address or the key cannot stand in a request.
pub fn request(
    base: &str,
    key: &Secret,
    model: &str,
    prompt: &Prompt,
) -> Result<http::Request<Vec<u8>>, ModelFailure> {
    let headers = [("x-api-key", key.expose()), ("anthropic-version", VERSION)];
    wire::post(
        base,
        "/v1/messages",
        "ANTHROPIC_API_URL",
        &headers,
        &body(model, prompt),
    )
}

fn body(model: &str, prompt: &Prompt) -> Value {
    let messages: Vec<Value> = prompt.turns.iter().map(message).collect();
    let mut body = json!({
        "model": model,
        "max_tokens": prompt.max_tokens,
        "stream": true,
        "messages": messages,
    });
    if !prompt.system.trim().is_empty() {
        // Empty blocks are refused. The mark makes everything up to here one cached prefix.
        body["system"] = json!([{"type": "text", "text": prompt.system, "cache_control": {"type": "ephemeral"}}]);
    }
    let tools = tools(prompt);
    if !tools.is_empty() {
        body["tools"] = Value::Array(tools);
    }
    if prompt.tools.is_empty() && !wire::called(prompt).is_empty() {
        body["tool_choice"] = json!({"type": "none"});
    }
    body
}

/// The prompt's tools; where it has none but its history calls some, these by name alone: the API refuses tool blocks
/// without definitions (or answers them with nothing), and `tool_choice: none` keeps the model from calling them.
fn tools(prompt: &Prompt) -> Vec<Value> {
    let mut tools: Vec<Value> = if prompt.tools.is_empty() {
        wire::called(prompt)
            .into_iter()
            .map(|name| json!({"name": name, "description": "Not available now.", "input_schema": {"type": "object"}}))
            .collect()
    } else {
        prompt.tools.iter().map(tool).collect()
    };
    if let Some(last) = tools.last_mut() {
        last["cache_control"] = json!({"type": "ephemeral"});
    }
    tools
}

fn tool(spec: &ToolSpec) -> Value {
    json!({"name": wire::wire_name(&spec.name), "description": spec.description, "input_schema": spec.parameters})
}

fn message(turn: &Turn) -> Value {
    match turn {
        Turn::Person(words) => json!({"role": "user", "content": [text(words)]}),
        Turn::Agent { text: said, calls } => {
            let said = (!said.trim().is_empty() || calls.is_empty()).then(|| text(said));
            let blocks: Vec<Value> = said.into_iter().chain(calls.iter().map(tool_use)).collect();
            json!({"role": "assistant", "content": blocks})
        }
        Turn::Results(results, added) => {
            // Results must stand before any text.
            let added = added
                .as_deref()
                .filter(|words| !words.trim().is_empty())
                .map(text);
            let blocks: Vec<Value> = results.iter().map(tool_result).chain(added).collect();
            json!({"role": "user", "content": blocks})
        }
    }
}

/// A text block; the API refuses an empty one, and trailing blanks at the end of an assistant's words.
fn text(words: &str) -> Value {
    let words = words.trim_end();
    json!({"type": "text", "text": if words.is_empty() { "(nothing)" } else { words }})
}

fn tool_use(call: &ToolCall) -> Value {
    // The input must be an object; a call whose arguments were none stays in the history as one without.
    let input = if call.arguments.is_object() {
        call.arguments.clone()
    } else {
        json!({})
    };
    json!({"type": "tool_use", "id": call.id.0, "name": wire::wire_name(&call.tool), "input": input})
}

fn tool_result(shown: &Shown) -> Value {
    let mut block =
        json!({"type": "tool_result", "tool_use_id": shown.call.0, "content": shown.text});
    if shown.is_error {
        block["is_error"] = Value::Bool(true);
    }
    block
}

/// What an answer that is not 2xx means.
pub fn failure(status: u16, headers: &HeaderMap, body: &[u8], model: &str) -> ModelFailure {
    Refusal::of_answer(status, headers, body).failure(model)
}

/// Reads one answer's stream.
#[derive(Debug)]
pub struct Reader {
    sse: SseDecoder,
    names: Names,
    model: String,
    text: String,
    /// The block whose text came last; between two of them stands an empty line.
    text_block: Option<u64>,
    calls: BTreeMap<u64, Called>,
    stop: Stop,
    tokens: Tokens,
    /// How many events bore some of the answer.
    bearing: usize,
    /// What came of it, once that is known.
    end: Option<Result<Reply, ModelFailure>>,
}

/// A tool call that is being written.
#[derive(Debug)]
struct Called {
    name: String,
    /// What the start of the block held: `{}` from Anthropic itself, everything from some servers that imitate it.
    input: Value,
    json: String,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Started,
    },
    ContentBlockStart {
        index: u64,
        content_block: Block,
    },
    ContentBlockDelta {
        index: u64,
        delta: Delta,
    },
    MessageDelta {
        delta: Ending,
        usage: Option<Tokens>,
    },
    MessageStop,
    Error {
        error: Value,
    },
    /// `ping`, `content_block_stop`, and whatever comes to be.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Started {
    #[serde(default)]
    model: String,
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        #[serde(default)]
        text: String,
    },
    ToolUse {
        name: String,
        #[serde(default)]
        input: Value,
    },
    /// Thinking, and the server's own tools: not for the person.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    Input { partial_json: String },
    /// `thinking_delta`, `signature_delta`, `citations_delta`.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Ending {
    stop_reason: Option<String>,
}

/// Counts so far; a later event's replace an earlier one's.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
struct Tokens {
    #[serde(rename = "input_tokens")]
    input: Option<u64>,
    #[serde(rename = "cache_creation_input_tokens")]
    cached: Option<u64>,
    #[serde(rename = "cache_read_input_tokens")]
    from_cache: Option<u64>,
    #[serde(rename = "output_tokens")]
    output: Option<u64>,
}

impl Reader {
    /// A reader for the answer to this prompt.
    pub fn new(prompt: &Prompt) -> Self {
        Self {
            sse: SseDecoder::default(),
            names: Names::new(prompt),
            model: String::new(),
            text: String::new(),
            text_block: None,
            calls: BTreeMap::new(),
            stop: Stop::End,
            tokens: Tokens::default(),
            bearing: 0,
            end: None,
        }
    }

    /// What these bytes bring. After [`Piece::Whole`] or [`Piece::Failed`] nothing more comes.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Piece> {
        if self.end.is_some() {
            return Vec::new();
        }
        match self.sse.push(bytes) {
            Ok(events) => events
                .iter()
                .filter_map(|event| self.event(event))
                .collect(),
            Err(overflow) => vec![self.fail(ModelFailure::Network {
                reason: overflow.to_string(),
            })],
        }
    }

    /// How many events so far bore some of the answer, thoughts included. `ping` does not, nor does `message_start`.
    pub fn bearing(&self) -> usize {
        self.bearing
    }

    /// What came of it; without the stream's own `message_stop` the answer counts as broken off.
    pub fn finish(mut self) -> Result<Reply, ModelFailure> {
        if let Some(event) = std::mem::take(&mut self.sse).finish() {
            self.event(&event);
        }
        let broken = || {
            Err(ModelFailure::Network {
                reason: "the answer broke off before its end".to_owned(),
            })
        };
        self.end.unwrap_or_else(broken)
    }

    fn event(&mut self, event: &SseEvent) -> Option<Piece> {
        if self.end.is_some() {
            return None;
        }
        match wire::read(&event.data) {
            Ok(event) => self.told(event),
            Err(error) => {
                let reason = format!("the stream holds an event that cannot be read: {error}");
                Some(self.fail(ModelFailure::Network { reason }))
            }
        }
    }

    fn told(&mut self, event: Event) -> Option<Piece> {
        match event {
            Event::MessageStart { message } => {
                self.model = message.model;
                self.count(message.usage);
                None
            }
            Event::ContentBlockStart {
                index,
                content_block,
            } => {
                self.bearing += usize::from(content_block.is_bearing());
                self.begin(index, content_block)
            }
            Event::ContentBlockDelta { index, delta } => {
                self.bearing += usize::from(delta.is_bearing());
                self.go_on(index, delta)
            }
            Event::MessageDelta { delta, usage } => {
                if let Some(reason) = delta.stop_reason {
                    self.stop = stop(&reason);
                }
                self.count(usage);
                None
            }
            Event::MessageStop => Some(self.whole()),
            Event::Error { error } => {
                let failure = Refusal::of_json(&error).failure(&self.model);
                Some(self.fail(failure))
            }
            Event::Other => None,
        }
    }

    fn begin(&mut self, index: u64, block: Block) -> Option<Piece> {
        match block {
            Block::Text { text } => self.say(index, &text),
            Block::ToolUse { name, input } => {
                self.calls.insert(
                    index,
                    Called {
                        name,
                        input,
                        json: String::new(),
                    },
                );
                None
            }
            Block::Other => None,
        }
    }

    fn go_on(&mut self, index: u64, delta: Delta) -> Option<Piece> {
        match delta {
            Delta::Text { text } => self.say(index, &text),
            Delta::Input { partial_json } => {
                // No entry: the input of a tool that the server runs itself.
                if let Some(call) = self.calls.get_mut(&index) {
                    call.json.push_str(&partial_json);
                }
                None
            }
            Delta::Other => None,
        }
    }

    fn say(&mut self, index: u64, words: &str) -> Option<Piece> {
        if words.is_empty() {
            return None;
        }
        let other = self
            .text_block
            .replace(index)
            .is_some_and(|before| before != index);
        let piece = if other {
            format!("\n\n{words}")
        } else {
            words.to_owned()
        };
        self.text.push_str(&piece);
        Some(Piece::Text(piece))
    }

    fn count(&mut self, tokens: Option<Tokens>) {
        let Some(tokens) = tokens else { return };
        let before = self.tokens;
        self.tokens = Tokens {
            input: tokens.input.or(before.input),
            cached: tokens.cached.or(before.cached),
            from_cache: tokens.from_cache.or(before.from_cache),
            output: tokens.output.or(before.output),
        };
    }

    fn whole(&mut self) -> Piece {
        let calls: Vec<_> = std::mem::take(&mut self.calls)
            .into_values()
            .map(|call| call.wish(&self.names))
            .collect();
        // Servers that imitate the API do not all say `tool_use` when they mean it.
        let stop = if self.stop == Stop::End && !calls.is_empty() {
            Stop::Tools
        } else {
            self.stop
        };
        let reply = Reply {
            text: std::mem::take(&mut self.text),
            calls,
            stop,
            usage: self.tokens.usage(),
        };
        self.end = Some(Ok(reply.clone()));
        Piece::Whole(reply)
    }

    fn fail(&mut self, failure: ModelFailure) -> Piece {
        self.end = Some(Err(failure.clone()));
        Piece::Failed(failure)
    }
}

impl Block {
    /// A text's start is empty; a call's has its name, and a thinking model has begun though it may not show what.
    fn is_bearing(&self) -> bool {
        match self {
            Self::Text { text } => !text.is_empty(),
            Self::ToolUse { .. } | Self::Other => true,
        }
    }
}

impl Delta {
    fn is_bearing(&self) -> bool {
        match self {
            Self::Text { text: piece }
            | Self::Input {
                partial_json: piece,
            } => !piece.is_empty(),
            Self::Other => true,
        }
    }
}

impl Called {
    fn wish(self, names: &Names) -> agent::event::Wish {
        let given = self.json.is_empty()
            && self
                .input
                .as_object()
                .is_some_and(|input| !input.is_empty());
        let json = if given {
            self.input.to_string()
        } else {
            self.json
        };
        names.wish(&self.name, &json)
    }
}

impl Tokens {
    fn usage(self) -> Usage {
        let parts = [self.input, self.cached, self.from_cache];
        Usage {
            input: parts.into_iter().flatten().sum(),
            output: self.output.unwrap_or(0),
        }
    }
}

fn stop(reason: &str) -> Stop {
    match reason {
        "tool_use" => Stop::Tools,
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "refusal" => Stop::Refusal,
        // `end_turn`, `stop_sequence`, `pause_turn`.
        _ => Stop::End,
    }
}
