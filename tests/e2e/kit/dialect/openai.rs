//! Chat Completions, as `OpenAI` and the servers compatible with it understand it.

use super::super::models::Reply;
use super::{
    Judged, OVERFLOW, ensure, list, morsels, name, object, offered, only, schema, sse, text,
};
use axum::http::HeaderMap;
use serde_json::{Value, json};
use std::collections::HashSet;

/// Refuses what the API would refuse.
pub(crate) fn judge(headers: &HeaderMap, key: &str, request: &Value) -> Judged {
    let authorization = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    if authorization != Some(&format!("Bearer {key}")) {
        return Err((401, "Incorrect API key provided".to_owned()));
    }
    let body = object("request", request)?;
    only(
        "request",
        body,
        "model messages tools tool_choice parallel_tool_calls stream stream_options max_tokens max_completion_tokens \
         temperature top_p stop user seed response_format reasoning_effort prompt_cache_key safety_identifier store",
    )?;
    ensure(!text("model", body.get("model"))?.is_empty(), || {
        "model is empty".to_owned()
    })?;
    let limit = body.get("max_completion_tokens").or(body.get("max_tokens"));
    ensure(limit.and_then(Value::as_u64).is_some_and(|n| n > 0), || {
        "no limit on the answer's length".to_owned()
    })?;
    ensure(request["stream"] == true, || {
        "the test expects a streamed answer".to_owned()
    })?;
    judge_tools(body.get("tools"))?;
    judge_messages(list("messages", body.get("messages"))?)
}

fn judge_tools(tools: Option<&Value>) -> Judged {
    let Some(tools) = tools else { return Ok(()) };
    let tools = list("tools", Some(tools))?;
    ensure(!tools.is_empty(), || "[] is too short - 'tools'".to_owned())?;
    let mut names = HashSet::new();
    for tool in tools {
        only("tools", object("tool", tool)?, "type function")?;
        ensure(tool["type"] == "function", || {
            "tools.type must be function".to_owned()
        })?;
        let function = &tool["function"];
        only(
            "tools.function",
            object("tools.function", function)?,
            "name description parameters strict",
        )?;
        name("tools.function.name", function.get("name"), 64)?;
        ensure(names.insert(&function["name"]), || {
            format!("two tools are called {}", function["name"])
        })?;
        text("tools.function.description", function.get("description"))?;
        schema("tools.function.parameters", function.get("parameters"))?;
    }
    Ok(())
}

fn judge_messages(messages: &[Value]) -> Judged {
    let (mut open, mut last) = (HashSet::new(), "");
    for (index, message) in messages.iter().enumerate() {
        let role = text("role", message.get("role"))?;
        let at = |(code, why): (u16, String)| (code, format!("messages.{index}: {why}"));
        ensure(role == "tool" || open.is_empty(), || {
            format!("tool_call_ids without a response: {open:?}")
        })
        .map_err(at)?;
        // Compatible servers are stricter than OpenAI: the system speaks first, then the two take turns.
        ensure(role != last || role == "tool", || {
            format!("{role} speaks twice")
        })
        .map_err(at)?;
        match role {
            "system" | "developer" => {
                ensure(index == 0, || format!("{role} speaks late")).and_then(|()| spoken(message))
            }
            "user" => spoken(message),
            "assistant" => judge_assistant(message, &mut open),
            "tool" => judge_result(message, &mut open),
            _ => Err((400, format!("there is no role {role}"))),
        }
        .map_err(at)?;
        last = role;
    }
    ensure(open.is_empty(), || {
        format!("tool_call_ids without a response: {open:?}")
    })?;
    ensure(matches!(last, "user" | "tool"), || {
        format!("the last word is the {last}'s")
    })
}

fn spoken(message: &Value) -> Judged {
    only("message", object("message", message)?, "role content name")?;
    let content = match &message["content"] {
        Value::Array(parts) => {
            parts.iter().try_for_each(|part| {
                only("part", object("part", part)?, "type text cache_control")?;
                ensure(part["type"] == "text", || "a part is no text".to_owned())
            })?;
            parts
                .iter()
                .filter_map(|part| part["text"].as_str())
                .collect()
        }
        Value::String(words) => words.clone(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            return Err((400, format!("content is neither text nor parts: {other}")));
        }
    };
    ensure(!content.trim().is_empty(), || "content is empty".to_owned())
}

fn judge_assistant<'a>(message: &'a Value, open: &mut HashSet<&'a str>) -> Judged {
    only(
        "message",
        object("message", message)?,
        "role content tool_calls name refusal",
    )?;
    let Some(calls) = message.get("tool_calls") else {
        return ensure(
            message["content"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            || "says nothing".to_owned(),
        );
    };
    let silent = message["content"].is_null() || message["content"].is_string();
    ensure(silent, || "content is neither text nor null".to_owned())?;
    let calls = list("tool_calls", Some(calls))?;
    ensure(!calls.is_empty(), || {
        "[] is too short - 'tool_calls'".to_owned()
    })?;
    for call in calls {
        only("tool_calls", object("tool_call", call)?, "id type function")?;
        ensure(call["type"] == "function", || {
            "tool_calls.type must be function".to_owned()
        })?;
        only(
            "function",
            object("function", &call["function"])?,
            "name arguments",
        )?;
        name("function.name", call["function"].get("name"), 64)?;
        let arguments = text("function.arguments", call["function"].get("arguments"))?;
        let parsed: Result<Value, _> = serde_json::from_str(arguments);
        ensure(parsed.is_ok_and(|value| value.is_object()), || {
            format!("arguments are no JSON object: {arguments}")
        })?;
        let id = text("tool_calls.id", call.get("id"))?;
        ensure(id.len() <= 64 && open.insert(id), || {
            format!("tool call id {id:?} is too long or used twice")
        })?;
    }
    Ok(())
}

fn judge_result<'a>(message: &'a Value, open: &mut HashSet<&'a str>) -> Judged {
    only(
        "message",
        object("message", message)?,
        "role content tool_call_id",
    )?;
    text("tool content", message.get("content"))?;
    let id = text("tool_call_id", message.get("tool_call_id"))?;
    ensure(open.remove(id), || {
        format!("tool message answers no call: {id}")
    })
}

/// An error as the API words it.
pub(crate) fn error(status: u16, message: &str) -> Value {
    let (kind, code) = match (status, message) {
        (400, OVERFLOW) => ("invalid_request_error", Some("context_length_exceeded")),
        (401, _) => ("invalid_request_error", Some("invalid_api_key")),
        (404, _) => ("invalid_request_error", Some("model_not_found")),
        (429, _) => ("tokens", Some("rate_limit_exceeded")),
        (500.., _) => ("server_error", None),
        (_, _) => ("invalid_request_error", None),
    };
    let message = if message == OVERFLOW {
        "This model's maximum context length is 128000 tokens."
    } else {
        message
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

/// What keeps a connection awake and says nothing: a comment, as `OpenRouter` sends it.
pub(crate) const SIGN_OF_LIFE: &str = ": OPENROUTER PROCESSING\n\n";

/// What comes before the first token.
pub(crate) fn beginning(request: &Value, number: usize) -> String {
    let mut out = SIGN_OF_LIFE.to_owned();
    let role = choices(&json!({"role": "assistant", "content": ""}), None);
    sse(&mut out, None, &chunk(request, number, &role, &Value::Null));
    out
}

fn choices(delta: &Value, finish: Option<&str>) -> Value {
    json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}])
}

fn chunk(request: &Value, number: usize, choices: &Value, usage: &Value) -> Value {
    json!({
        "id": format!("chatcmpl-{number}"), "object": "chat.completion.chunk", "created": 1_700_000_000,
        "model": request["model"], "system_fingerprint": "fp_44709d6fcb", "choices": choices, "usage": usage,
    })
}

/// A reply as the API streams it.
pub(crate) fn speak(reply: &Reply, request: &Value, number: usize) -> String {
    let mut out = beginning(request, number);
    let chunk = |choices: Value, usage: Value| chunk(request, number, &choices, &usage);
    let mut delta = |delta: Value, finish: Option<&str>| {
        let chunk = chunk(choices(&delta, finish), Value::Null);
        sse(&mut out, None, &chunk);
    };
    for text in morsels(&reply.text) {
        delta(json!({"content": text}), None);
    }
    let names = || {
        request["tools"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|tool| tool["function"]["name"].as_str())
    };
    for (index, (tool, arguments)) in reply.calls.iter().enumerate() {
        let function = json!({"name": offered(names(), tool), "arguments": ""});
        let id = format!("call_{number:02}O5iu2VkDtA0jQm1{index}");
        delta(
            json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}),
            None,
        );
        for piece in morsels(&arguments.to_string()) {
            delta(
                json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}),
                None,
            );
        }
    }
    delta(
        json!({}),
        Some(if reply.calls.is_empty() {
            "stop"
        } else {
            "tool_calls"
        }),
    );
    if request["stream_options"]["include_usage"] == true {
        let usage = json!({"prompt_tokens": 400, "completion_tokens": 89, "total_tokens": 489});
        sse(&mut out, None, &chunk(json!([]), usage));
    }
    out.push_str("data: [DONE]\n\n");
    out
}
