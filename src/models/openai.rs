//! Chat Completions, streamed, as `OpenAI`, `OpenRouter`, Groq, Mistral, Ollama and vLLM speak it. No I/O.

use super::Piece;
use super::sse::{SseDecoder, SseEvent};
use super::wire::{self, Names, Refusal};
use crate::secret::Secret;
use agent::event::{ModelFailure, Reply, Stop, Usage};
use agent::prompt::{Prompt, Turn};
use http::HeaderMap;
use protocol::call::{CallId, ToolCall};
use protocol::tools::ToolSpec;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// Where requests go unless `OPENAI_API_URL` says otherwise.
pub const DEFAULT_URL: &str = "https://api.openai.com/v1";

/// How long a call's id is on the wire: Mistral demands nine letters and digits exactly, the others take any text.
const ID_LENGTH: usize = 9;

/// Asks a model, streamed; fails only where the address or the key cannot stand in a request.
pub fn request(
    base: &str,
    key: Option<&Secret>,
    model: &str,
    prompt: &Prompt,
) -> Result<http::Request<Vec<u8>>, ModelFailure> {
    let bearer = key.map(|key| format!("Bearer {}", key.expose()));
    let headers: Vec<_> = bearer
        .iter()
        .map(|bearer| ("authorization", bearer.as_str()))
        .collect();
    let body = body(&Dialect::new(base, model), model, prompt);
    wire::post(base, "/chat/completions", "OPENAI_API_URL", &headers, &body)
}

/// Where the servers that speak this API differ.
struct Dialect {
    /// The field that limits the answer. `OpenAI`'s reasoning models refuse `max_tokens`; Mistral, Ollama and older vLLM
    /// refuse or ignore `max_completion_tokens`; Groq and `OpenRouter` take both.
    limit: &'static str,
    /// Whether usage must be asked for. Mistral refuses the question and tells it unasked.
    ask_usage: bool,
    /// Whether a person's words may follow a tool's result directly. Mistral's models refuse it, whoever serves them.
    person_after_tool: bool,
}

impl Dialect {
    fn new(base: &str, model: &str) -> Self {
        let uri = base.trim().parse::<http::Uri>().ok();
        let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default();
        let at = |name: &str| {
            host == name
                || host
                    .strip_suffix(name)
                    .is_some_and(|rest| rest.ends_with('.'))
        };
        let model = model.to_lowercase();
        let family = [
            "mistral",
            "mixtral",
            "ministral",
            "magistral",
            "devstral",
            "codestral",
            "pixtral",
        ];
        Self {
            limit: if at("openai.com") || at("openai.azure.com") {
                "max_completion_tokens"
            } else {
                "max_tokens"
            },
            ask_usage: !at("mistral.ai"),
            person_after_tool: !at("mistral.ai") && !family.iter().any(|name| model.contains(name)),
        }
    }
}

fn body(dialect: &Dialect, model: &str, prompt: &Prompt) -> Value {
    let mut body = json!({"model": model, "stream": true, "messages": messages(dialect, prompt)});
    body[dialect.limit] = prompt.max_tokens.into();
    if dialect.ask_usage {
        body["stream_options"] = json!({"include_usage": true});
    }
    if !prompt.tools.is_empty() {
        // An empty list is refused by some.
        body["tools"] = prompt.tools.iter().map(tool).collect();
    }
    body
}

fn tool(spec: &ToolSpec) -> Value {
    json!({"type": "function", "function": {
        "name": wire::wire_name(&spec.name),
        "description": spec.description,
        "parameters": spec.parameters,
    }})
}

fn messages(dialect: &Dialect, prompt: &Prompt) -> Vec<Value> {
    let ids = ids(prompt, short);
    let id = |call: &CallId| ids.get(call).cloned().unwrap_or_else(|| short(call, 0));
    let mut messages = Vec::new();
    if !prompt.system.trim().is_empty() {
        messages.push(json!({"role": "system", "content": prompt.system}));
    }
    for turn in &prompt.turns {
        match turn {
            Turn::Person(words) => messages.push(json!({"role": "user", "content": words})),
            Turn::Agent { text, calls } if calls.is_empty() => {
                messages.push(json!({"role": "assistant", "content": text}));
            }
            Turn::Agent { text, calls } => {
                let content = (!text.trim().is_empty()).then_some(text);
                let calls: Vec<Value> = calls
                    .iter()
                    .map(|call| tool_call(call, &id(&call.id)))
                    .collect();
                messages
                    .push(json!({"role": "assistant", "content": content, "tool_calls": calls}));
            }
            Turn::Results(results, added) => {
                let results = results
                    .iter()
                    .map(|shown| json!({"role": "tool", "tool_call_id": id(&shown.call), "content": shown.text}));
                messages.extend(results);
                if let Some(words) = added.as_deref().filter(|words| !words.trim().is_empty()) {
                    if !dialect.person_after_tool {
                        messages.push(json!({"role": "assistant", "content": "…"}));
                    }
                    messages.push(json!({"role": "user", "content": words}));
                }
            }
        }
    }
    messages
}

fn tool_call(call: &ToolCall, id: &str) -> Value {
    // Arguments that were no JSON are kept by the agent as a text; back in the history they must parse.
    let arguments = if call.arguments.is_object() {
        call.arguments.to_string()
    } else {
        "{}".to_owned()
    };
    json!({"id": id, "type": "function", "function": {"name": wire::wire_name(&call.tool), "arguments": arguments}})
}

/// Each call of the history by its id on the wire: no two the same, and the same ones for a longer history.
fn ids(prompt: &Prompt, short: impl Fn(&CallId, u32) -> String) -> HashMap<CallId, String> {
    let mut ids = HashMap::new();
    let mut taken = HashSet::new();
    for turn in &prompt.turns {
        let Turn::Agent { calls, .. } = turn else {
            continue;
        };
        for call in calls {
            if ids.contains_key(&call.id) {
                continue;
            }
            let free = (0..=u32::MAX)
                .map(|attempt| short(&call.id, attempt))
                .find(|id| !taken.contains(id));
            if let Some(id) = free {
                taken.insert(id.clone());
                ids.insert(call.id.clone(), id);
            }
        }
    }
    ids
}

/// Nine letters and digits that follow from a call's id; another attempt gives others.
fn short(call: &CallId, attempt: u32) -> String {
    const LETTERS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let hash = hmac_sha256::Hash::hash(format!("{attempt}:{call}").as_bytes());
    hash.iter()
        .take(ID_LENGTH)
        .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
        .collect()
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
    calls: Vec<Called>,
    /// Why it stopped, once the server said so.
    stop: Option<Stop>,
    refused: bool,
    usage: Usage,
    /// How many chunks bore some of the answer.
    bearing: usize,
    /// What came of it, once that is known.
    end: Option<Result<Reply, ModelFailure>>,
}

/// A tool call that is being written.
#[derive(Debug, Default)]
struct Called {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    model: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<Tokens>,
    /// Groq's place for usage before it knew `stream_options`.
    x_groq: Option<Groq>,
}

#[derive(Deserialize)]
struct Groq {
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct Tokens {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

/// What is added. Reasoning is not for the person and not read; that it comes shows that the model is at work.
#[derive(Deserialize, Default)]
struct Delta {
    content: Option<Content>,
    refusal: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
    /// `OpenRouter`'s, Ollama's and Groq's name for it. Some servers send both.
    #[serde(default)]
    reasoning: Value,
    /// `DeepSeek`'s and vLLM's.
    #[serde(default)]
    reasoning_content: Value,
}

/// Text, or Mistral's list of parts, of which thinking is one kind.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
}

#[derive(Deserialize, Default)]
struct CallDelta {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize, Default)]
struct FunctionDelta {
    name: Option<String>,
    /// A piece of JSON text; from some servers an object.
    arguments: Option<Value>,
}

impl Delta {
    fn is_bearing(&self) -> bool {
        let is_said = |value: &Value| !value.is_null() && value.as_str() != Some("");
        let content = self.content.as_ref().is_some_and(|content| match content {
            Content::Text(text) => !text.is_empty(),
            Content::Parts(parts) => !parts.is_empty(),
        });
        content
            || self.refusal.as_ref().is_some_and(|words| !words.is_empty())
            || self
                .tool_calls
                .as_ref()
                .is_some_and(|calls| !calls.is_empty())
            || is_said(&self.reasoning)
            || is_said(&self.reasoning_content)
    }
}

impl Reader {
    /// A reader for the answer to this prompt.
    pub fn new(prompt: &Prompt) -> Self {
        Self {
            sse: SseDecoder::default(),
            names: Names::new(prompt),
            model: String::new(),
            text: String::new(),
            calls: Vec::new(),
            stop: None,
            refused: false,
            usage: Usage::default(),
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
            Ok(events) => events.iter().flat_map(|event| self.event(event)).collect(),
            Err(overflow) => vec![self.fail(ModelFailure::Network {
                reason: overflow.to_string(),
            })],
        }
    }

    /// How many chunks so far bore some of the answer, thoughts included. Comments do not, nor does the first one's empty text.
    pub fn bearing(&self) -> usize {
        self.bearing
    }

    /// What came of it. The stream's own end is `[DONE]`; a `finish_reason` will do, since after it only usage follows.
    pub fn finish(mut self) -> Result<Reply, ModelFailure> {
        if let Some(event) = std::mem::take(&mut self.sse).finish() {
            self.event(&event);
        }
        if self.end.is_none() && self.stop.is_some() {
            self.whole();
        }
        let broken = || {
            Err(ModelFailure::Network {
                reason: "the answer broke off before its end".to_owned(),
            })
        };
        self.end.unwrap_or_else(broken)
    }

    fn event(&mut self, event: &SseEvent) -> Vec<Piece> {
        if self.end.is_some() {
            return Vec::new();
        }
        if event.data.trim() == "[DONE]" {
            return vec![self.whole()];
        }
        let broken = |error: serde_json::Error| ModelFailure::Network {
            reason: format!("the stream holds an event that cannot be read: {error}"),
        };
        let value: Value = match wire::read(&event.data) {
            Ok(value) => value,
            Err(error) => return vec![self.fail(broken(error))],
        };
        let is_error = value.get("error").is_some_and(|error| !error.is_null())
            || value.get("object").and_then(Value::as_str) == Some("error");
        if is_error {
            let failure = Refusal::of_json(&value).failure(&self.model);
            return vec![self.fail(failure)];
        }
        match serde_json::from_value(value) {
            Ok(chunk) => self.chunk(chunk),
            Err(error) => vec![self.fail(broken(error))],
        }
    }

    fn chunk(&mut self, chunk: Chunk) -> Vec<Piece> {
        if let Some(model) = chunk.model {
            self.model = model;
        }
        if let Some(tokens) = chunk.usage.or(chunk.x_groq.and_then(|groq| groq.usage)) {
            self.usage = Usage {
                input: tokens.prompt_tokens,
                output: tokens.completion_tokens,
            };
        }
        let mut pieces = Vec::new();
        // One answer is asked for, so any other index is a server's mistake.
        for choice in chunk
            .choices
            .into_iter()
            .flatten()
            .filter(|choice| choice.index == 0)
        {
            pieces.extend(self.delta(choice.delta.unwrap_or_default()));
            match choice.finish_reason.as_deref() {
                None | Some("") => {}
                Some("error") => {
                    let reason = "the provider reports an error without saying which".to_owned();
                    pieces.push(self.fail(ModelFailure::Rejected { reason }));
                    return pieces;
                }
                Some(reason) => self.stop = Some(stop(reason)),
            }
        }
        pieces
    }

    fn delta(&mut self, delta: Delta) -> Vec<Piece> {
        self.bearing += usize::from(delta.is_bearing());
        for call in delta.tool_calls.into_iter().flatten() {
            self.call(call);
        }
        let content = match delta.content {
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => parts.into_iter().filter_map(|part| part.text).collect(),
            None => String::new(),
        };
        let refusal = delta.refusal.unwrap_or_default();
        self.refused |= !refusal.is_empty();
        let words = [content, refusal]
            .into_iter()
            .filter(|words| !words.is_empty());
        words
            .map(|words| {
                self.text.push_str(&words);
                Piece::Text(words)
            })
            .collect()
    }

    fn call(&mut self, delta: CallDelta) {
        let function = delta.function.unwrap_or_default();
        let id = delta.id.unwrap_or_default();
        let name = function.name.unwrap_or_default();
        let arguments = match function.arguments {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
        };
        let place = self.place(delta.index, &id, &name, &arguments);
        let call = if let Some(call) = place.and_then(|place| self.calls.get_mut(place)) {
            call
        } else {
            self.calls.push(Called {
                index: delta.index,
                ..Called::default()
            });
            let Some(call) = self.calls.last_mut() else {
                return;
            };
            call
        };
        if call.id.is_empty() {
            call.id = id;
        }
        if call.name.is_empty() {
            call.name = name;
        }
        call.arguments.push_str(&arguments);
    }

    /// Which of the calls a fragment goes on with; `None` when it begins another.
    ///
    /// By the book the index says it. Some servers give every call index 0, some no index, some no id, and send each
    /// call whole: there, another id, or another name after arguments that are complete, begins another call.
    fn place(&self, index: Option<u64>, id: &str, name: &str, arguments: &str) -> Option<usize> {
        let same = self.calls.iter().rposition(|call| match index {
            Some(_) => call.index == index,
            None => id.is_empty() || call.id == id,
        });
        let before = self.calls.get(same?)?;
        let another_id = !id.is_empty() && !before.id.is_empty() && before.id != id;
        let another_whole = id.is_empty()
            && !name.is_empty()
            && !before.name.is_empty()
            && !arguments.is_empty()
            && serde_json::from_str::<Value>(&before.arguments).is_ok();
        if another_id {
            self.calls.iter().rposition(|call| call.id == id)
        } else {
            same.filter(|_| !another_whole)
        }
    }

    fn whole(&mut self) -> Piece {
        let calls: Vec<_> = std::mem::take(&mut self.calls)
            .into_iter()
            .map(|call| self.names.wish(&call.name, &call.arguments))
            .collect();
        let stop = match self.stop.unwrap_or_default() {
            Stop::End | Stop::Tools if self.refused => Stop::Refusal,
            // Ollama says `stop` after tool calls, others `tool_calls` without any.
            Stop::End | Stop::Tools if calls.is_empty() => Stop::End,
            Stop::End | Stop::Tools => Stop::Tools,
            stop @ (Stop::Length | Stop::Refusal) => stop,
        };
        let reply = Reply {
            text: std::mem::take(&mut self.text),
            calls,
            stop,
            usage: self.usage,
        };
        self.end = Some(Ok(reply.clone()));
        Piece::Whole(reply)
    }

    fn fail(&mut self, failure: ModelFailure) -> Piece {
        self.end = Some(Err(failure.clone()));
        Piece::Failed(failure)
    }
}

fn stop(reason: &str) -> Stop {
    match reason {
        "tool_calls" | "function_call" => Stop::Tools,
        "length" | "model_length" | "max_tokens" => Stop::Length,
        "content_filter" => Stop::Refusal,
        // `stop`, and the words that servers made up for it.
        _ => Stop::End,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::call::ToolName;

    fn prompt(ids: &[&str]) -> Prompt {
        let call = |id: &&str| ToolCall {
            id: CallId((*id).to_owned()),
            tool: ToolName::new("files.list"),
            arguments: json!({}),
        };
        let calls = ids.iter().map(call).collect();
        Prompt {
            system: String::new(),
            tools: vec![],
            turns: vec![
                Turn::Person("x".into()),
                Turn::Agent {
                    text: String::new(),
                    calls,
                },
            ],
            max_tokens: 1,
        }
    }

    #[test]
    fn ids_on_the_wire_are_nine_letters_and_digits_and_stay_the_same() {
        let first = short(&CallId("t1-s1-c1".into()), 0);
        assert_eq!(first, short(&CallId("t1-s1-c1".into()), 0));
        assert_eq!(first.len(), 9);
        assert!(
            first.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "{first}"
        );
        let all: Vec<String> = (0..5000).map(|n| format!("call-{n}")).collect();
        let ids = ids(
            &prompt(&all.iter().map(String::as_str).collect::<Vec<_>>()),
            short,
        );
        assert_eq!(ids.values().collect::<HashSet<_>>().len(), 5000);
    }

    #[test]
    fn ids_that_would_be_the_same_are_told_apart() {
        let clumsy = |call: &CallId, attempt: u32| format!("{}{attempt}", &call.0[..1]);
        let ids = ids(&prompt(&["a1", "a2", "b1", "a1"]), clumsy);
        let of = |id: &str| ids[&CallId(id.to_owned())].clone();
        assert_eq!([of("a1"), of("a2"), of("b1")], ["a0", "a1", "b0"]);
    }

    #[test]
    fn servers_are_told_apart_by_their_host_and_model() {
        let traits = |base: &str, model: &str| {
            let dialect = Dialect::new(base, model);
            (dialect.limit, dialect.ask_usage, dialect.person_after_tool)
        };
        assert_eq!(
            traits(DEFAULT_URL, "gpt-5"),
            ("max_completion_tokens", true, true)
        );
        assert_eq!(
            traits("https://eu.api.openai.com/v1/", "gpt-5"),
            ("max_completion_tokens", true, true)
        );
        assert_eq!(
            traits("https://notopenai.com/v1", "gpt-5"),
            ("max_tokens", true, true)
        );
        assert_eq!(
            traits("https://api.mistral.ai/v1", "open-nemo"),
            ("max_tokens", false, false)
        );
        assert_eq!(
            traits("http://127.0.0.1:11434/v1", "Devstral:24b"),
            ("max_tokens", true, false)
        );
        assert_eq!(
            traits("https://openrouter.ai/api/v1", "x-ai/grok-4"),
            ("max_tokens", true, true)
        );
    }
}
