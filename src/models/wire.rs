//! What the providers' dialects have in common: names on the wire, addresses, and the reading of refusals.

use agent::event::{ModelFailure, Wish};
use agent::prompt::{Prompt, Turn};
use http::HeaderMap;
use protocol::call::ToolName;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The longest tool name that every provider takes.
const NAME_CAP: usize = 64;

/// How much of a provider's own words is passed on.
const REASON_CAP: usize = 300;

/// A tool's name as models may write it: letters, digits, `_` and `-` only, so `files.list` becomes `files_list`.
pub(super) fn wire_name(tool: &ToolName) -> String {
    let name: String = tool
        .0
        .chars()
        .take(NAME_CAP)
        .map(|c| if is_name(c) { c } else { '_' })
        .collect();
    if name.is_empty() {
        "unknown".to_owned()
    } else {
        name
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// The tools of one prompt, to find again the tool that a model's word means.
#[derive(Debug, Clone)]
pub(super) struct Names(Vec<(String, ToolName)>);

impl Names {
    /// The names of a prompt's tools.
    pub(super) fn new(prompt: &Prompt) -> Self {
        Self(
            prompt
                .tools
                .iter()
                .map(|tool| (wire_name(&tool.name), tool.name.clone()))
                .collect(),
        )
    }

    /// A call as the model wrote it, its tool given its own name back; no arguments at all mean an empty object.
    pub(super) fn wish(&self, called: &str, arguments: &str) -> Wish {
        let known = self
            .0
            .iter()
            .find(|(wire, own)| wire == called || own.0 == called);
        let tool = known.map_or_else(|| ToolName::new(called), |(_, own)| own.clone());
        let arguments = if arguments.trim().is_empty() {
            Ok(Value::Object(Map::new()))
        } else {
            serde_json::from_str(arguments).map_err(|_| arguments.to_owned())
        };
        Wish { tool, arguments }
    }
}

/// The tools that a prompt's history calls, by their names on the wire, each once, in the order of their first call.
pub(super) fn called(prompt: &Prompt) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for turn in &prompt.turns {
        let Turn::Agent { calls, .. } = turn else {
            continue;
        };
        for name in calls.iter().map(|call| wire_name(&call.tool)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// A POST with JSON to an address that was configured; `variable` is named when it is no address.
pub(super) fn post(
    base: &str,
    path: &str,
    variable: &str,
    headers: &[(&'static str, &str)],
    body: &Value,
) -> Result<http::Request<Vec<u8>>, ModelFailure> {
    let rejected = |reason: String| ModelFailure::Rejected { reason };
    let address = format!("{}{path}", base.trim().trim_end_matches('/'));
    let uri: http::Uri = address
        .parse()
        .map_err(|_| rejected(format!("{variable} is not an address")))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(rejected(format!(
            "{variable} must begin with https:// or http://"
        )));
    }
    let mut request = http::Request::new(body.to_string().into_bytes());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = uri;
    request.headers_mut().insert(
        "content-type",
        http::HeaderValue::from_static("application/json"),
    );
    for (name, value) in headers {
        let mut value = http::HeaderValue::from_str(value).map_err(|_| {
            rejected("the key holds characters that a request cannot carry".to_owned())
        })?;
        value.set_sensitive(true);
        request.headers_mut().insert(*name, value);
    }
    Ok(request)
}

/// A refusal, in whatever shape a provider wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The HTTP status, or the number that a stream's error object gives as one.
    pub(super) status: Option<u16>,
    /// The kinds and codes that the provider named, such as `overloaded_error`.
    pub(super) codes: Vec<String>,
    /// Its words.
    pub(super) message: String,
    /// Seconds to wait, where it said.
    pub(super) retry_after: Option<u32>,
}

impl Refusal {
    /// The refusal that an HTTP answer tells of.
    pub(super) fn of_answer(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let mut refusal = match serde_json::from_str::<Value>(&text) {
            Ok(value) => Self::of_json(&value),
            Err(_) => Self {
                message: text.trim().to_owned(),
                ..Self::default()
            },
        };
        refusal.status = Some(status);
        refusal.retry_after = retry_after(headers);
        refusal
    }

    /// The refusal in an error object: `{"error":{"type","code","message"}}`, `{"error":"words"}`, or these fields bare.
    pub(super) fn of_json(value: &Value) -> Self {
        let error = match value.get("error") {
            Some(error) if !error.is_null() => error,
            Some(_) | None => value,
        };
        let codes = ["type", "code", "status"]
            .iter()
            .filter_map(|field| error.get(field)?.as_str());
        let status = error
            .get("code")
            .and_then(Value::as_u64)
            .and_then(|code| u16::try_from(code).ok());
        // OpenRouter puts the words of the provider behind it into `metadata.raw`; Mistral nests `message.detail`.
        let behind = error.pointer("/metadata/raw").and_then(Value::as_str);
        let message = [
            behind,
            error.get("message").and_then(Value::as_str),
            error.as_str(),
        ];
        let message = message
            .into_iter()
            .flatten()
            .find(|words| !words.is_empty())
            .map_or_else(
                || {
                    error
                        .get("message")
                        .or_else(|| error.get("detail"))
                        .map_or_else(String::new, Value::to_string)
                },
                str::to_owned,
            );
        Self {
            status: status.filter(|code| (400..600).contains(code)),
            codes: codes.map(str::to_owned).collect(),
            message,
            retry_after: None,
        }
    }

    /// Its kind, as the agent tells it to the person and decides whether another model may help.
    pub(super) fn failure(&self, model: &str) -> ModelFailure {
        if self.is_overflow() {
            return ModelFailure::ContextOverflow;
        }
        if self.is_penniless() {
            let reason = format!(
                "the provider's account has no credit left: {}",
                shorten(&self.message)
            );
            return ModelFailure::Rejected { reason };
        }
        if self.is_unknown_model() {
            return ModelFailure::UnknownModel {
                model: model.to_owned(),
            };
        }
        match self.status {
            // OpenRouter answers 403 for words that a moderator dislikes; the key is fine.
            Some(401 | 403) if !self.says(&["moderation", "flagged"]) => ModelFailure::RefusedKey,
            Some(413) => ModelFailure::ContextOverflow,
            Some(429) => ModelFailure::RateLimited {
                retry_after: self.retry_after,
            },
            Some(408 | 500..=599) => ModelFailure::Overloaded,
            Some(_) | None => self.failure_by_code(),
        }
    }

    fn failure_by_code(&self) -> ModelFailure {
        let is = |names: &[&str]| self.codes.iter().any(|code| names.contains(&code.as_str()));
        if is(&[
            "authentication_error",
            "permission_error",
            "invalid_api_key",
            "invalid_authentication",
        ]) {
            ModelFailure::RefusedKey
        } else if is(&["rate_limit_error", "rate_limit_exceeded"]) {
            ModelFailure::RateLimited {
                retry_after: self.retry_after,
            }
        } else if is(&[
            "overloaded_error",
            "api_error",
            "timeout_error",
            "server_error",
            "internal_server_error",
        ]) {
            ModelFailure::Overloaded
        } else {
            ModelFailure::Rejected {
                reason: self.reason(),
            }
        }
    }

    fn is_overflow(&self) -> bool {
        let may = self
            .status
            .is_none_or(|status| matches!(status, 400 | 413 | 422 | 500));
        let codes = [
            "context_length_exceeded",
            "request_too_large",
            "exceed_context_size_error",
        ];
        let words = [
            "prompt is too long",
            "input is too long",
            "context length",
            "context window",
            "context size",
            "context limit",
            "reduce the length of the messages",
        ];
        may && (self.codes.iter().any(|code| codes.contains(&code.as_str())) || self.says(&words))
    }

    fn is_penniless(&self) -> bool {
        let codes = [
            "insufficient_quota",
            "billing_error",
            "billing_hard_limit_reached",
        ];
        self.status == Some(402)
            || self.codes.iter().any(|code| codes.contains(&code.as_str()))
            || self.says(&["credit balance is too low", "insufficient credits"])
    }

    fn is_unknown_model(&self) -> bool {
        let named = self
            .codes
            .iter()
            .any(|code| matches!(code.as_str(), "model_not_found" | "invalid_model"));
        let words = [
            "invalid model",
            "not a valid model",
            "no endpoints found for",
        ];
        match self.status {
            Some(404) => {
                // Without a word of the model the address itself is wrong, unless there are no words at all.
                named || self.message.is_empty() || self.says(&["model"]) || self.says(&words)
            }
            Some(400 | 422) | None => {
                named
                    || self.says(&words)
                    || (self.says(&["model"]) && self.says(&["does not exist"]))
            }
            Some(_) => false,
        }
    }

    fn says(&self, words: &[&str]) -> bool {
        let message = self.message.to_lowercase();
        words.iter().any(|word| message.contains(word))
    }

    fn reason(&self) -> String {
        let words = shorten(&self.message);
        let words = if words.is_empty() {
            self.codes.join(", ")
        } else {
            words
        };
        match (self.status, words.is_empty()) {
            (Some(status), true) => format!("status {status}"),
            (Some(404), false) => format!("status 404, is the address right? {words}"),
            (Some(status), false) => format!("status {status}: {words}"),
            (None, true) => "the stream reports an error without saying which".to_owned(),
            (None, false) => words,
        }
    }
}

/// Whole seconds from `retry-after`; its other form, a date, would need a clock.
fn retry_after(headers: &HeaderMap) -> Option<u32> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let seconds: u32 = whole.parse().ok()?;
    let more = part.bytes().any(|digit| digit != b'0');
    Some(seconds.saturating_add(u32::from(more)))
}

/// Words for people: one line, not long, and nothing in it that looks like a key.
pub(super) fn shorten(words: &str) -> String {
    let line = words
        .split_whitespace()
        .map(mask)
        .collect::<Vec<_>>()
        .join(" ");
    if line.chars().count() <= REASON_CAP {
        return line;
    }
    let cut: String = line.chars().take(REASON_CAP).collect();
    format!("{cut}…")
}

/// A word with each stretch that could be a key replaced: what begins like one, or 20 letters and digits on end.
fn mask(word: &str) -> String {
    let mut masked = String::new();
    let mut rest = word;
    while !rest.is_empty() {
        let run = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
        let (stretch, tail) = rest.split_at(run);
        masked.push_str(if is_key(stretch) { "***" } else { stretch });
        let next = tail.chars().next().map_or(0, char::len_utf8);
        masked.push_str(&tail[..next]);
        rest = &tail[next..];
    }
    masked
}

fn is_key(stretch: &str) -> bool {
    let begins = ["sk-", "sk_", "gsk_", "pk-", "key-", "xai-"]
        .iter()
        .any(|start| stretch.starts_with(start));
    let dense = |part: &str| part.len() >= 20 && part.bytes().any(|b| b.is_ascii_digit());
    (begins && stretch.len() > 8) || stretch.split(['-', '_']).any(dense)
}

/// Reads an event's JSON. Half a character, which a server that cuts between the two halves of an emoji escapes, reads as `\u{fffd}`:
/// it would otherwise cost the whole answer.
pub(super) fn read<T: DeserializeOwned>(data: &str) -> serde_json::Result<T> {
    serde_json::from_str(data).or_else(|_| serde_json::from_str(&without_halves(data)))
}

fn without_halves(json: &str) -> String {
    let unit = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut whole, mut at) = (String::with_capacity(json.len()), 0);
    while let Some(next) = json
        .get(at..)
        .and_then(|rest| rest.find('\\'))
        .map(|found| at + found)
    {
        whole.push_str(&json[at..next]);
        let pair = (unit(next), unit(next + 6));
        at = next
            + match pair {
                (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
                (Some(_), _) => 6,
                (None, _) => json[next + 1..]
                    .chars()
                    .next()
                    .map_or(1, |escaped| 1 + escaped.len_utf8()),
            };
        match pair {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) | (None, _) => {
                whole.push_str(&json[next..at]);
            }
            (Some(0xd800..=0xdfff), _) => whole.push_str("\\ufffd"),
            (Some(_), _) => whole.push_str(&json[next..at]),
        }
    }
    whole.push_str(json.get(at..).unwrap_or_default());
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_key_is_masked_and_the_rest_is_kept() {
        assert_eq!(
            shorten(
                "bad key \"sk-ant-api03-AbC\" or (0123456789abcdefghijKLMN)\n for claude-3-5-sonnet-20241022"
            ),
            "bad key \"***\" or (***) for claude-3-5-sonnet-20241022"
        );
    }

    #[test]
    fn called_tools_that_look_the_same_on_the_wire_are_one() {
        let call = |tool: &str| protocol::call::ToolCall {
            id: protocol::call::CallId(tool.into()),
            tool: ToolName::new(tool),
            arguments: Value::Null,
        };
        let calls = ["files.list", "files_list", "x"].map(call).to_vec();
        let turns = vec![Turn::Agent {
            text: String::new(),
            calls,
        }];
        let prompt = Prompt {
            system: String::new(),
            tools: vec![],
            turns,
            max_tokens: 1,
        };
        assert_eq!(called(&prompt), ["files_list", "x"]);
    }

    #[test]
    fn long_words_are_cut() {
        assert_eq!(shorten(&"é ".repeat(400)), format!("{}…", "é ".repeat(150)));
    }

    #[test]
    fn names_that_no_provider_takes_are_made_takeable() {
        let names = ["files.list", "", "a b/ü", &"x".repeat(70)]
            .map(|name| wire_name(&ToolName::new(name)));
        assert_eq!(
            names,
            [
                "files_list".to_owned(),
                "unknown".to_owned(),
                "a_b__".to_owned(),
                "x".repeat(64)
            ]
        );
    }

    #[test]
    fn half_a_character_costs_only_itself() {
        let read = |json: &str| read::<String>(json).unwrap();
        assert_eq!(read(r#""a\ud83d b""#), "a\u{fffd} b");
        assert_eq!(read(r#""\udd80\ud83d""#), "\u{fffd}\u{fffd}");
        assert_eq!(
            read(r#""\ud83d\ud83e\udd80\u00e9\n\\ud83d""#),
            "\u{fffd}🦀é\n\\ud83d"
        );
        assert!(super::read::<String>(r#""broken \u12"#).is_err());
    }
}
