//! What Bernard remembers of a person: kept, found and forgotten in that person's own rows.

use crate::error::Result;
use crate::user::db::Db;
use crate::user::span;
use agent::{Entry, Line, Trust};
use protocol::call::Outcome;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// The longest fact, in characters: a sentence or two, not a document.
const FACT_LIMIT: usize = 1_000;

/// How many facts and messages a search shows.
const SHOWN: i64 = 8;

/// How many different words a search looks for: the ranking costs their number squared where they are common.
const QUERY_WORDS: usize = 16;

/// How much of an earlier message a search shows, in characters.
const SNIPPET: usize = 300;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remember {
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    query: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forget {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    query: Option<String>,
}

#[derive(Deserialize)]
struct Fact {
    id: i64,
    text: String,
    trust: String,
}

#[derive(Deserialize)]
struct Said {
    entry: String,
}

/// Keeps a fact; one that is kept already is not kept twice.
pub fn remember(
    db: &Db,
    conversation: &str,
    arguments: &Value,
    trust: Trust,
    now: i64,
) -> Result<Outcome> {
    let Ok(Remember { text }) = Remember::deserialize(arguments) else {
        return Ok(Outcome::failed(
            "memory.remember takes one argument, `text`",
        ));
    };
    let text = text.trim();
    if text.is_empty() || text.chars().count() > FACT_LIMIT {
        return Ok(Outcome::failed(format!(
            "a fact has 1 to {FACT_LIMIT} characters"
        )));
    }
    let known: Option<Fact> = db.first(
        "SELECT id, text, trust FROM facts WHERE text = ? AND forgotten_at IS NULL",
        &[text.into()],
    )?;
    if let Some(fact) = known {
        return Ok(Outcome::done(format!(
            "already remembered: [{}] {}",
            fact.id, fact.text
        )));
    }
    db.run(
        "INSERT INTO facts (text, trust, conversation, at) VALUES (?, ?, ?, ?)",
        &[
            text.into(),
            label(trust).into(),
            conversation.into(),
            now.into(),
        ],
    )?;
    db.run(
        "INSERT INTO facts_words (rowid, words) VALUES (last_insert_rowid(), ?)",
        &[text.into()],
    )?;
    Ok(Outcome::done(format!("remembered: {text}")))
}

/// Finds facts, and messages from before the one that asks, by words.
pub fn search(db: &Db, conversation: &str, arguments: &Value) -> Result<Outcome> {
    let Ok(Search { query }) = Search::deserialize(arguments) else {
        return Ok(Outcome::failed("memory.search takes one argument, `query`"));
    };
    let facts = find(db, &query)?;
    let said = find_said(db, conversation, &query)?;
    let mut lines = Vec::new();
    if !facts.is_empty() {
        lines.push("Remembered:".to_owned());
        lines.extend(facts.iter().map(shown));
    }
    if !said.is_empty() {
        lines.push("Said earlier:".to_owned());
        lines.extend(said);
    }
    if lines.is_empty() {
        lines.push(format!("nothing is remembered about `{query}`"));
    }
    Ok(Outcome::done(lines.join("\n")))
}

/// Forgets one fact, named by its number or by words that only it holds.
pub fn forget(db: &Db, arguments: &Value, now: i64) -> Result<Outcome> {
    let wish = Forget::deserialize(arguments).ok();
    let found = match wish {
        Some(Forget { id: Some(id), .. }) => {
            let number = id
                .as_i64()
                .or_else(|| id.as_str()?.trim().parse().ok())
                .unwrap_or(0);
            db.all(
                "SELECT id, text, trust FROM facts WHERE id = ? AND forgotten_at IS NULL",
                &[number.into()],
            )?
        }
        Some(Forget {
            query: Some(query), ..
        }) => find(db, &query)?,
        Some(Forget { .. }) | None => {
            return Ok(Outcome::failed("memory.forget takes `id` or `query`"));
        }
    };
    match found.as_slice() {
        [] => Ok(Outcome::done("nothing like that is remembered")),
        [fact] => {
            db.run(
                "UPDATE facts SET forgotten_at = ? WHERE id = ?",
                &[now.into(), fact.id.into()],
            )?;
            Ok(Outcome::done(format!("forgotten: {}", fact.text)))
        }
        several => {
            let list: Vec<String> = several.iter().map(shown).collect();
            Ok(Outcome::failed(format!(
                "several facts fit; say which by its number:\n{}",
                list.join("\n")
            )))
        }
    }
}

/// The newest facts, oldest first, each with its number.
pub fn listed(db: &Db, limit: i64) -> Result<Vec<String>> {
    let facts: Vec<Fact> = db.all(
        "SELECT id, text, trust FROM (SELECT id, text, trust FROM facts WHERE forgotten_at IS NULL ORDER BY id DESC LIMIT ?) ORDER BY id",
        &[limit.into()],
    )?;
    Ok(facts.iter().map(shown).collect())
}

/// The newest facts that the owner stands behind, oldest first: what is always in view. A fact that came with somebody else's words is
/// found by a search and never stands among the instructions.
pub fn profile(db: &Db, limit: i64) -> Result<Vec<String>> {
    let facts: Vec<Fact> = db.all(
        "SELECT id, text, trust FROM (SELECT id, text, trust FROM facts WHERE forgotten_at IS NULL AND trust = 'owner' ORDER BY id DESC LIMIT ?) ORDER BY id",
        &[limit.into()],
    )?;
    Ok(facts.into_iter().map(|fact| fact.text).collect())
}

/// How a fact's trust is kept.
fn label(trust: Trust) -> &'static str {
    match trust {
        Trust::Owner => "owner",
        Trust::Kept => "kept",
        Trust::Elsewhere => "elsewhere",
    }
}

/// A fact as a search shows it, with its number and, where it is not the owner's own word, with that.
fn shown(fact: &Fact) -> String {
    match fact.trust.as_str() {
        "owner" => format!("[{}] {}", fact.id, fact.text),
        _ => format!(
            "[{}] (not from the person themselves) {}",
            fact.id, fact.text
        ),
    }
}

fn find(db: &Db, query: &str) -> Result<Vec<Fact>> {
    let Some(words) = match_any(query) else {
        return db.all(
            "SELECT id, text, trust FROM facts WHERE forgotten_at IS NULL ORDER BY id DESC LIMIT ?",
            &[SHOWN.into()],
        );
    };
    db.all(
        "SELECT facts.id AS id, facts.text AS text, facts.trust AS trust FROM facts_words JOIN facts ON facts.id = facts_words.rowid
         WHERE facts_words MATCH ? AND facts.forgotten_at IS NULL ORDER BY bm25(facts_words) LIMIT ?",
        &[(&words).into(), SHOWN.into()],
    )
}

fn find_said(db: &Db, conversation: &str, query: &str) -> Result<Vec<String>> {
    let Some(words) = match_any(query) else {
        return Ok(Vec::new());
    };
    index_words(db)?;
    let (first, last) = span(db, conversation)?.unwrap_or_default();
    let rows: Vec<Said> = db.all(
        "SELECT transcript.entry AS entry FROM transcript_words JOIN transcript ON transcript.seq = transcript_words.rowid
         WHERE transcript_words MATCH ?1 AND NOT (transcript.seq BETWEEN ?2 AND ?3 AND transcript.seq >= (
           SELECT seq FROM transcript WHERE seq BETWEEN ?2 AND ?3 AND entry ->> '$.line.type' = 'person' ORDER BY seq DESC LIMIT 1))
         ORDER BY bm25(transcript_words) LIMIT ?4",
        &[(&words).into(), first.into(), last.into(), SHOWN.into()],
    )?;
    Ok(rows.iter().filter_map(|row| snippet(&row.entry)).collect())
}

/// Adds to the index what was said since the last search. Done with each message, it would write half of all rows; most messages are
/// never searched for.
fn index_words(db: &Db) -> Result<()> {
    db.run(
        "INSERT INTO transcript_words (rowid, words)
         SELECT transcript.seq, transcript.entry ->> '$.line.text' FROM conversations JOIN transcript
           ON transcript.seq > max(conversations.indexed, conversations.no << 32) AND transcript.seq < (conversations.no + 1) << 32
         WHERE transcript.entry ->> '$.line.type' IN ('person', 'agent') AND transcript.entry ->> '$.line.text' <> ''",
        &[],
    )?;
    db.run(
        "UPDATE conversations SET indexed = (SELECT max(seq) FROM transcript WHERE seq < (conversations.no + 1) << 32)
         WHERE indexed < (SELECT max(seq) FROM transcript WHERE seq BETWEEN conversations.no << 32 AND (conversations.no + 1) << 32)",
        &[],
    )
}

fn snippet(entry: &str) -> Option<String> {
    let entry: Entry = serde_json::from_str(entry).ok()?;
    let (who, text) = match entry.line {
        Line::Person { text, .. } => ("person", text),
        Line::Agent { text, .. } => ("you", text),
        Line::Result { .. } | Line::Note { .. } => return None,
    };
    let short: String = text.chars().take(SNIPPET).collect();
    Some(format!("{who}: {}", short.replace('\n', " ")))
}

/// An FTS5 query that matches any of the words; each is quoted, so that none can be an operator. `None` without words.
fn match_any(query: &str) -> Option<String> {
    const COMMON: &[&str] = &[
        "a", "about", "and", "do", "i", "is", "know", "me", "my", "of", "the", "to", "what", "you",
        "your",
    ];
    let words: BTreeSet<String> = query
        .chars()
        .take(FACT_LIMIT)
        .collect::<String>()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .filter(|word| !COMMON.contains(&word.as_str()))
        .map(|word| format!("\"{word}\" *"))
        .collect();
    (!words.is_empty()).then(|| {
        words
            .into_iter()
            .take(QUERY_WORDS)
            .collect::<Vec<_>>()
            .join(" OR ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_can_hold_no_operator() {
        assert_eq!(match_any("bin day?"), Some("\"bin\" * OR \"day\" *".into()));
        assert_eq!(
            match_any("a\" OR words:*"),
            Some("\"or\" * OR \"words\" *".into())
        );
        assert_eq!(match_any("what do you know about me?"), None);
        assert_eq!(match_any(" ?! "), None);
        assert_eq!(match_any(&"b ".repeat(5_000)), Some("\"b\" *".into()));
        let many = (0..500)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join(" ");
        assert_eq!(
            match_any(&many).unwrap().matches(" OR ").count(),
            QUERY_WORDS - 1
        );
    }
}
