//! A model that the seed has written: it says what it has seen, calls tools, says nothing, breaks off, fails.

use crate::weather::Weather;
use agent::event::{ModelFailure, Reply, Stop, Usage, Wish};
use agent::{Entry, Line};
use protocol::call::ToolName;
use serde_json::{Value, json};

/// What came of a question.
#[derive(Debug, Clone)]
pub(crate) enum Thought {
    Reply(Reply),
    Failure(ModelFailure),
}

/// Answers the question with this number, after reading these lines. What it says begins with its own mark and ends with how many
/// of the person's messages it has seen.
pub(crate) fn think(weather: &Weather, number: u32, lines: &[Entry], tools: bool) -> Thought {
    let chance = &weather.chance;
    let calm = weather.calm.get();
    let person = |entry: &&Entry| matches!(entry.line, Line::Person { .. });
    let seen = lines.iter().filter(person).count();
    if !calm && chance.one_in(14) {
        return Thought::Failure(failure(weather));
    }
    let usage = Usage {
        input: 100 + chance.below(900),
        output: 1 + chance.below(200),
    };
    let tail = chance.pick(&["", "", "|more", "|more|and more"]);
    let text = format!("a{number}{tail} saw {seen}");
    let wants = if number > 7 { 8 } else { 2 };
    if tools && !calm && chance.one_in(wants) {
        let calls = (0..chance.pick(&[1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 5, 9, 18]))
            .map(|_| wish(weather))
            .collect();
        let silent = chance.one_in(2);
        return Thought::Reply(Reply {
            text: if silent { String::new() } else { text },
            calls,
            stop: Stop::Tools,
            usage,
        });
    }
    let stop = match chance.below(if calm { 1 } else { 16 }) {
        13 => Stop::Length,
        14 | 15 => {
            let text = String::new();
            let stop = chance.pick(&[Stop::End, Stop::Refusal]);
            let calls = vec![];
            return Thought::Reply(Reply {
                text,
                calls,
                stop,
                usage,
            });
        }
        _ => Stop::End,
    };
    let calls = vec![];
    Thought::Reply(Reply {
        text,
        calls,
        stop,
        usage,
    })
}

fn failure(weather: &Weather) -> ModelFailure {
    match weather.chance.below(3) {
        0 => ModelFailure::Overloaded,
        1 => ModelFailure::RateLimited { retry_after: None },
        _ => ModelFailure::Network {
            reason: "it broke off".into(),
        },
    }
}

fn wish(weather: &Weather) -> Wish {
    let chance = &weather.chance;
    let path = || json!({"path": chance.pick(&["a", "b", "c"])});
    let (tool, arguments): (_, Value) = match chance.below(12) {
        0..3 => ("files.write", path()),
        3..6 => (
            "shell.run",
            json!({"argv": [chance.pick(&["ls", "make", "forbidden", "granted"])]}),
        ),
        6 => ("files.read", path()),
        7 | 8 => ("files.send", path()),
        9 | 10 => ("memory.remember", json!({"text": chance.pick(&["x", "y"])})),
        _ => (
            chance.pick(&["no.such", "memory.forget"]),
            json!({"refused": true}),
        ),
    };
    Wish {
        tool: ToolName::new(tool),
        arguments: if chance.one_in(30) {
            Err("{\"path\":".into())
        } else {
            Ok(arguments)
        },
    }
}
