//! What Meta answers, by the codes that it publishes: which mean now, later, after the person's next message, or never.

use crate::channels::app::Answer;
use crate::channels::words::{one_line, shortened};
use http::{HeaderMap, header};
use serde_json::Value;

/// The longest reason that is kept, in UTF-16 units.
const REASON_LIMIT: usize = 200;

/// The code of a message that comes more than a day after the person's last one.
pub const SILENCE: i64 = 131_047;

/// How long to wait where too much was sent in all, in seconds.
const PATIENCE: u64 = 5;

/// How long where too much was sent to this person: Meta takes a message every six seconds.
const PAIR_PATIENCE: u64 = 6;

/// How long where an hour's or an account's share is used up.
const LONG_PATIENCE: u64 = 10 * 60;

/// Where a file of someone's lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaPlace {
    /// Its address, good for five minutes.
    pub url: String,
    /// Its length in bytes, where that is told.
    pub size: Option<u64>,
    /// Its SHA-256, where that is told: in hexadecimal or base64.
    pub sha256: Option<String>,
}

/// Reads an answer. Never an error: whatever came, it means one of these.
pub fn answer(status: u16, headers: &HeaderMap, body: &[u8]) -> Answer {
    let Ok(told) = serde_json::from_slice::<Value>(body) else {
        return untold(status, headers);
    };
    let error = &told["error"];
    if let Some(code) = error["code"].as_i64() {
        return refused(status, code, reason(error, code), retry_after(headers));
    }
    let ids = [&told["messages"][0]["id"], &told["id"]];
    let message_id = ids.iter().find_map(|id| id.as_str()).map(str::to_owned);
    let is_done = message_id.is_some() || told["success"].as_bool() == Some(true);
    if (200..300).contains(&status) && is_done {
        return Answer::Ok { message_id };
    }
    untold(status, headers)
}

/// Where a file lies, from the answer to a question for it.
pub fn media_place(body: &[u8]) -> Option<MediaPlace> {
    let told: Value = serde_json::from_slice(body).ok()?;
    let size = &told["file_size"];
    Some(MediaPlace {
        url: told["url"].as_str()?.to_owned(),
        size: size.as_u64().or_else(|| size.as_str()?.parse().ok()),
        sha256: told["sha256"].as_str().map(str::to_owned),
    })
}

/// What a code means, whatever the status: Meta says that the code counts.
fn refused(status: u16, code: i64, reason: String, wait: Option<u64>) -> Answer {
    let later = |usual| Answer::RetryAfter(wait.unwrap_or(usual));
    match code {
        SILENCE => Answer::Silenced(reason),
        131_056 => later(PAIR_PATIENCE),
        130_429 => later(PATIENCE),
        4 | 80_007 | 131_048 | 131_064 => later(LONG_PATIENCE),
        // The token has run out or lost its rights. With another one the same is taken.
        0 | 3 | 10 | 190 | 200..=299 => {
            Answer::Broken(format!("WHATSAPP_ACCESS_TOKEN is not accepted: {reason}"))
        }
        1 | 2 | 131_000 | 131_016 | 131_057 | 133_004 => Answer::Broken(reason),
        130_472 | 131_021 | 131_026 | 131_030 | 131_049 | 131_050 => Answer::Blocked(reason),
        _ if status >= 500 => Answer::Broken(reason),
        _ if status == 429 => later(PATIENCE),
        _ => Answer::Refused(reason),
    }
}

fn reason(error: &Value, code: i64) -> String {
    let words = [&error["error_data"]["details"], &error["message"]];
    let words = words.iter().find_map(|words| words.as_str());
    let words = one_line(words.unwrap_or_default());
    shortened(format!("{words} ({code})").trim(), REASON_LIMIT)
}

/// An answer that is not in Meta's words.
fn untold(status: u16, headers: &HeaderMap) -> Answer {
    let reason = format!("status {status} without WhatsApp's answer");
    match status {
        429 => Answer::RetryAfter(retry_after(headers).unwrap_or(PATIENCE)),
        400..=499 => Answer::Refused(reason),
        _ => Answer::Unclear(reason),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<u64> {
    let told = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    told.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use serde_json::json;

    fn error(code: i64, details: &str) -> String {
        json!({"error": {
            "message": format!("(#{code}) Title"), "type": "OAuthException", "code": code,
            "error_data": {"messaging_product": "whatsapp", "details": details}, "fbtrace_id": "A",
        }})
        .to_string()
    }

    #[test]
    fn every_code_means_one_thing() {
        let why = |code: i64| format!("why ({code})");
        let token = |code| {
            let why = why(code);
            Answer::Broken(format!("WHATSAPP_ACCESS_TOKEN is not accepted: {why}"))
        };
        for (status, code, expected) in [
            (400, 131_047, Answer::Silenced(why(131_047))),
            (400, 131_056, Answer::RetryAfter(6)),
            (400, 130_429, Answer::RetryAfter(5)),
            (400, 80_007, Answer::RetryAfter(600)),
            (400, 4, Answer::RetryAfter(600)),
            (400, 131_026, Answer::Blocked(why(131_026))),
            (401, 0, token(0)),
            (401, 190, token(190)),
            (403, 10, token(10)),
            (403, 200, token(200)),
            (500, 131_000, Answer::Broken(why(131_000))),
            (503, 131_016, Answer::Broken(why(131_016))),
            (503, 999_999, Answer::Broken(why(999_999))),
            (429, 999_999, Answer::RetryAfter(5)),
            (400, 100, Answer::Refused(why(100))),
            (400, 131_009, Answer::Refused(why(131_009))),
            (404, 132_001, Answer::Refused(why(132_001))),
            (403, 368, Answer::Refused(why(368))),
        ] {
            let body = error(code, "why");
            let answer = answer(status, &HeaderMap::new(), body.as_bytes());
            assert_eq!(answer, expected, "{status} {code}");
        }
    }

    #[test]
    fn a_success_has_a_name_and_what_is_not_in_metas_words_is_told_as_that() {
        let done = |id: Option<&str>| Answer::Ok {
            message_id: id.map(str::to_owned),
        };
        let text = str::to_owned;
        let sent = r#"{"messaging_product":"whatsapp","contacts":[{"input":"1","wa_id":"1"}],"messages":[{"id":"wamid.A"}]}"#;
        let bare = r#"{"error":{"message":"Error validating\naccess token","type":"OAuthException","code":190}}"#;
        let told = "WHATSAPP_ACCESS_TOKEN is not accepted: Error validating access token (190)";
        let strange = |status| format!("status {status} without WhatsApp's answer");
        for (status, body, expected) in [
            (200, sent, done(Some("wamid.A"))),
            (200, r#"{"success":true}"#, done(None)),
            (
                200,
                r#"{"id":"4490709327384033"}"#,
                done(Some("4490709327384033")),
            ),
            (401, bare, Answer::Broken(text(told))),
            (413, "<html>", Answer::Refused(strange(413))),
            (200, "{}", Answer::Unclear(strange(200))),
            (200, r#"{"success":false}"#, Answer::Unclear(strange(200))),
            (502, "<html>", Answer::Unclear(strange(502))),
            (302, "", Answer::Unclear(strange(302))),
        ] {
            let answer = answer(status, &HeaderMap::new(), body.as_bytes());
            assert_eq!(answer, expected, "{status} {body}");
        }
    }

    #[test]
    fn a_wait_that_is_told_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("8"));
        for body in [error(130_429, "why"), "slow down".to_owned()] {
            assert_eq!(
                answer(429, &headers, body.as_bytes()),
                Answer::RetryAfter(8)
            );
        }
        assert_eq!(answer(429, &HeaderMap::new(), b""), Answer::RetryAfter(5));
    }

    #[test]
    fn the_place_of_a_file_is_read_with_its_length_as_a_number_or_as_text() {
        let place = |size: Value| {
            let body = json!({"messaging_product": "whatsapp", "url": "https://lookaside.fbsbx.com/1", "mime_type": "image/jpeg",
                "sha256": "ab", "file_size": size, "id": "1"});
            media_place(body.to_string().as_bytes())
        };
        let expected = |size| {
            let (url, sha256) = (
                "https://lookaside.fbsbx.com/1".to_owned(),
                Some("ab".to_owned()),
            );
            Some(MediaPlace { url, size, sha256 })
        };
        assert_eq!(place(json!(303_833)), expected(Some(303_833)));
        assert_eq!(place(json!("303833")), expected(Some(303_833)));
        assert_eq!(place(json!(null)), expected(None));
        assert_eq!(media_place(b"{}"), None);
        assert_eq!(media_place(b"<html>"), None);
    }
}
