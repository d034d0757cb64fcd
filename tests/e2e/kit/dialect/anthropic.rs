//! Anthropic's Messages API, version 2023-06-01.

use super::super::models::Reply;
use super::{
    Judged, OVERFLOW, ensure, list, morsels, name, object, offered, only, schema, sse, text,
};
use axum::http::HeaderMap;
use serde_json::{Value, json};
use std::collections::HashSet;

/// Refuses what the API would refuse, and what its documentation advises against.
pub(crate) fn judge(headers: &HeaderMap, key: &str, request: &Value) -> Judged {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if header("x-api-key") != Some(key) {
        return Err((401, "invalid x-api-key".to_owned()));
    }
    ensure(header("anthropic-version") == Some("2023-06-01"), || {
        "anthropic-version: header is required".to_owned()
    })?;
    let body = object("request", request)?;
    only(
        "request",
        body,
        "model messages max_tokens system tools tool_choice stream temperature top_p top_k stop_sequences metadata \
         thinking service_tier output_config cache_control",
    )?;
    ensure(!text("model", body.get("model"))?.is_empty(), || {
        "model is empty".to_owned()
    })?;
    ensure(
        request["max_tokens"].as_u64().is_some_and(|n| n > 0),
        || "max_tokens: field required".to_owned(),
    )?;
    ensure(request["stream"] == true, || {
        "the test expects a streamed answer".to_owned()
    })?;
    judge_system(body.get("system"))?;
    judge_tools(body.get("tools"))?;
    judge_messages(list("messages", body.get("messages"))?)
}

fn judge_system(system: Option<&Value>) -> Judged {
    match system {
        None | Some(Value::String(_)) => Ok(()),
        Some(blocks) => list("system", Some(blocks))?
            .iter()
            .try_for_each(|block| judge_text("system", block)),
    }
}

fn judge_tools(tools: Option<&Value>) -> Judged {
    let Some(tools) = tools else { return Ok(()) };
    let mut names = HashSet::new();
    for tool in list("tools", Some(tools))? {
        only(
            "tools",
            object("tool", tool)?,
            "name description input_schema cache_control type strict",
        )?;
        name("tools.name", tool.get("name"), 128)?;
        ensure(names.insert(&tool["name"]), || {
            format!("tool names must be unique: {}", tool["name"])
        })?;
        ensure(
            !text("tools.description", tool.get("description"))?.is_empty(),
            || "a tool says nothing".to_owned(),
        )?;
        schema("tools.input_schema", tool.get("input_schema"))?;
    }
    Ok(())
}

fn judge_messages(messages: &[Value]) -> Judged {
    ensure(!messages.is_empty(), || {
        "messages: at least one message is required".to_owned()
    })?;
    ensure(messages.len() % 2 == 1, || {
        "the last message must be the user's".to_owned()
    })?;
    let (mut open, mut all) = (HashSet::new(), HashSet::new());
    for (index, message) in messages.iter().enumerate() {
        let role = if index % 2 == 0 { "user" } else { "assistant" };
        only("message", object("message", message)?, "role content")?;
        ensure(message["role"] == role, || {
            format!("messages.{index}: roles must alternate, expected {role}")
        })?;
        if role == "user" {
            answered(index, &mut open, &message["content"])?;
        }
        judge_content(role, &message["content"], &mut open, &mut all)
            .map_err(|(code, why)| (code, format!("messages.{index}: {why}")))?;
    }
    Ok(())
}

/// Every `tool_use` of the message before has exactly one result here, and the results stand first.
fn answered<'a>(index: usize, open: &mut HashSet<&'a str>, content: &'a Value) -> Judged {
    let blocks = content.as_array().map(Vec::as_slice).unwrap_or_default();
    let results = blocks
        .iter()
        .take_while(|block| block["type"] == "tool_result");
    for result in results {
        let id = text("tool_result.tool_use_id", result.get("tool_use_id"))?;
        ensure(open.remove(id), || {
            format!("messages.{index}: unexpected tool_use_id {id}")
        })?;
    }
    let late = blocks
        .iter()
        .skip_while(|block| block["type"] == "tool_result")
        .any(|block| block["type"] == "tool_result");
    ensure(!late, || {
        format!("messages.{index}: tool_result blocks must come first")
    })?;
    ensure(open.is_empty(), || {
        format!("messages.{index}: tool_use ids without tool_result blocks: {open:?}")
    })
}

fn judge_content<'a>(
    role: &str,
    content: &'a Value,
    open: &mut HashSet<&'a str>,
    all: &mut HashSet<&'a str>,
) -> Judged {
    if let Value::String(text) = content {
        return ensure(!text.trim().is_empty(), || {
            "content must be non-empty".to_owned()
        });
    }
    let blocks = list("content", Some(content))?;
    ensure(!blocks.is_empty(), || {
        "content must be non-empty".to_owned()
    })?;
    for block in blocks {
        match (text("type", block.get("type"))?, role) {
            ("text", _) => judge_text("content", block)?,
            ("tool_result", "user") => judge_result(block)?,
            ("tool_use", "assistant") => {
                only(
                    "tool_use",
                    object("tool_use", block)?,
                    "type id name input cache_control",
                )?;
                name("tool_use.id", block.get("id"), 128)?;
                name("tool_use.name", block.get("name"), 128)?;
                object("tool_use.input", &block["input"])?;
                let id = text("tool_use.id", block.get("id"))?;
                ensure(all.insert(id), || {
                    format!("tool_use ids must be unique: {id}")
                })?;
                open.insert(id);
            }
            (kind, role) => {
                return Err((400, format!("{kind} blocks have no place with the {role}")));
            }
        }
    }
    Ok(())
}

fn judge_text(what: &str, block: &Value) -> Judged {
    only(what, object(what, block)?, "type text cache_control")?;
    ensure(!text(what, block.get("text"))?.trim().is_empty(), || {
        "text content blocks must be non-empty".to_owned()
    })
}

fn judge_result(block: &Value) -> Judged {
    only(
        "tool_result",
        object("tool_result", block)?,
        "type tool_use_id content is_error cache_control",
    )?;
    match &block["content"] {
        Value::Null | Value::String(_) => Ok(()),
        blocks @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            list("tool_result.content", Some(blocks))?
                .iter()
                .try_for_each(|block| judge_text("tool_result", block))
        }
    }
}

/// An error as the API words it.
pub(crate) fn error(status: u16, message: &str) -> Value {
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    let message = if message == OVERFLOW {
        "prompt is too long: 214000 tokens > 200000 maximum"
    } else {
        message
    };
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"})
}

/// What keeps a connection awake and says nothing.
pub(crate) const SIGN_OF_LIFE: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";

/// What comes before the first token.
pub(crate) fn beginning(request: &Value, number: usize) -> String {
    let mut out = String::new();
    let start = json!({"type": "message_start", "message": {
        "id": format!("msg_{number}"), "type": "message", "role": "assistant", "content": [], "model": request["model"],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 400, "output_tokens": 1},
    }});
    sse(&mut out, Some("message_start"), &start);
    out
}

/// A reply as the API streams it.
pub(crate) fn speak(reply: &Reply, request: &Value, number: usize) -> String {
    let mut out = beginning(request, number);
    let mut event = |data: Value| sse(&mut out, data["type"].as_str(), &data);
    let mut index = 0;
    let mut block = |start: Value, deltas: Vec<Value>| {
        event(json!({"type": "content_block_start", "index": index, "content_block": start}));
        event(json!({"type": "ping"}));
        for delta in deltas {
            event(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        event(json!({"type": "content_block_stop", "index": index}));
        index += 1;
    };
    if !reply.text.is_empty() {
        let deltas = morsels(&reply.text)
            .into_iter()
            .map(|text| json!({"type": "text_delta", "text": text}));
        block(json!({"type": "text", "text": ""}), deltas.collect());
    }
    let names = || {
        request["tools"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|tool| tool["name"].as_str())
    };
    for (nth, (tool, arguments)) in reply.calls.iter().enumerate() {
        // The API begins with an empty piece, too.
        let pieces = std::iter::once(String::new()).chain(morsels(&arguments.to_string()));
        let deltas = pieces.map(|json| json!({"type": "input_json_delta", "partial_json": json}));
        let id = format!("toolu_{number:02}A09q90qw90lq9178{nth}");
        block(
            json!({"type": "tool_use", "id": id, "name": offered(names(), tool), "input": {}}),
            deltas.collect(),
        );
    }
    let stop = if reply.calls.is_empty() {
        "end_turn"
    } else {
        "tool_use"
    };
    event(
        json!({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": null}, "usage": {"output_tokens": 89}}),
    );
    event(json!({"type": "message_stop"}));
    out
}
