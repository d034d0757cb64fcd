//! What must hold for any bytes that were signed as WhatsApp's.

use bernard::channels::app::Heard;
use bernard::channels::whatsapp::{Garbage, receive};
use bernard::channels::{Arrival, Channel, Deed, Inbound};
use bernard::door::Verified;
use bernard::door::whatsapp::{HEADER, WhatsAppBody, check};
use bernard::secret::Secret;
use hmac_sha256::HMAC;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

/// The phone number of the recorded deliveries.
const NUMBER: &str = "106540352242922";

/// What a person may be told to have written beside their own words.
const OURS: [&str; 4] = [
    "[location]",
    "[contact]",
    "[reacted with",
    "[advertisement]",
];

fn hold(it: bool, else_broken: &str) -> Result<(), String> {
    if it {
        Ok(())
    } else {
        Err(else_broken.to_owned())
    }
}

/// What a delivery is told as stands in it: messages for our number alone, each with its sender, its id and its own words.
pub fn delivery(bytes: &[u8]) -> Result<bool, String> {
    delivery_by(receive, bytes)
}

/// The same for any decoder.
pub fn delivery_by(
    receive: impl Fn(&Verified<WhatsAppBody>) -> Result<Heard, Garbage>,
    bytes: &[u8],
) -> Result<bool, String> {
    let heard = match receive(&verified(bytes)?) {
        Ok(heard) => heard,
        Err(Garbage::NotJson { .. } | Garbage::NotWhatsApp) => return Ok(false),
    };
    let told: Value = serde_json::from_slice(bytes).map_err(|_| "heard in what is no JSON")?;
    let changes = told["entry"].as_array().into_iter().flatten();
    let changes = changes.flat_map(|entry| entry["changes"].as_array().into_iter().flatten());
    let ours: Vec<&Value> = changes
        .filter(|change| change["field"] == "messages")
        .map(|change| &change["value"])
        .filter(|value| value["metadata"]["phone_number_id"] == NUMBER)
        .collect();
    let all = |field: &'static str| {
        let lists = ours.iter().filter_map(move |value| value[field].as_array());
        lists.flatten().collect::<Vec<&Value>>()
    };
    let (messages, statuses) = (all("messages"), all("statuses"));
    hold(heard.inbound.len() <= messages.len(), "more than was sent")?;
    hold(heard.fates.len() <= statuses.len(), "more than was told")?;
    for inbound in &heard.inbound {
        let is_it = |message: &&&Value| {
            let id = message["id"].as_str().unwrap_or_default();
            inbound.delivery == format!("whatsapp:{id}")
        };
        let sent: Vec<Result<(), String>> = messages
            .iter()
            .filter(is_it)
            .map(|message| is_theirs(inbound, message))
            .collect();
        // Bent bytes may give one id to two messages: then it is one of them.
        let broken = sent.iter().find_map(|it| it.as_ref().err());
        hold(
            sent.iter().any(Result::is_ok),
            broken.map_or("a message that nobody sent", String::as_str),
        )?;
    }
    for fate in &heard.fates {
        let known = statuses.iter().any(|status| {
            status["id"] == fate.message.as_str()
                && (status["recipient_id"] == fate.person.as_str()
                    || status["recipient_user_id"] == fate.person.as_str())
                && (status["status"] == "failed") == matches!(fate.arrival, Arrival::Failed { .. })
        });
        hold(known, "a fate that nobody told")?;
    }
    Ok(!heard.inbound.is_empty() || !heard.fates.is_empty())
}

fn is_theirs(inbound: &Inbound, message: &Value) -> Result<(), String> {
    let from = inbound.sender.as_str();
    hold(
        message["from"] == from || message["from_user_id"] == from,
        "someone else spoke",
    )?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
    hold(from.bytes().all(plain) && !from.is_empty(), "an odd sender")?;
    hold(inbound.chat == from, "another chat")?;
    hold(inbound.channel == Channel::WhatsApp, "another app")?;
    hold(message["group_id"].is_null(), "a group spoke")?;
    hold(inbound.at >= 0, "before all time")?;
    hold(!inbound.sender_name.contains('\n'), "a name of lines")?;
    let context = &message["context"];
    let passed_on = context["forwarded"] == true || context["frequently_forwarded"] == true;
    let answers = inbound.answers.as_deref();
    hold(
        answers.is_none_or(|id| context["id"] == id && !passed_on),
        "an answer to nothing",
    )?;
    deed_is_theirs(&inbound.deed, message, passed_on)
}

fn deed_is_theirs(deed: &Deed, message: &Value, passed_on: bool) -> Result<(), String> {
    match deed {
        Deed::Wrote {
            text,
            quoted,
            attachments,
            forwarded,
        } => {
            hold(attachments.is_empty(), "a file from nowhere")?;
            hold(*forwarded == passed_on, "passed on, or not")?;
            let ours = |text: &str| OURS.iter().any(|word| text.starts_with(word));
            let own = [&message["text"]["body"], &message["button"]["text"]];
            let own = own.into_iter().any(|own| *own == text.as_str());
            hold(own || ours(text), "words of nobody's")?;
            hold(
                quoted.as_deref().is_none_or(ours),
                "a quotation of nobody's",
            )
        }
        Deed::Commanded { name, argument } => {
            hold(!passed_on, "a command that was passed on")?;
            let text = message["text"]["body"].as_str().unwrap_or_default();
            let lower = text.trim_start().to_ascii_lowercase();
            hold(
                lower.starts_with(&format!("/{name}")) && text.trim_end().ends_with(argument),
                "a command that nobody gave",
            )
        }
        Deed::Pressed { action, press, .. } => {
            let replies = ["button_reply", "list_reply"];
            let pressed = replies.map(|kind| &message["interactive"][kind]["id"]);
            hold(
                pressed.into_iter().any(|id| *id == action.as_str())
                    && message["id"] == press.as_str(),
                "a press of nobody's",
            )
        }
        Deed::Gave {
            media, forwarded, ..
        } => {
            let kind = message["type"].as_str().unwrap_or_default();
            hold(message[kind]["id"] == media.id.as_str(), "another file")?;
            hold(*forwarded == passed_on, "passed on, or not")?;
            hold(
                !media.name.contains(['\n', '\r', '\u{202e}']) && !media.name.is_empty(),
                "a file's name that misleads",
            )
        }
        Deed::Unreadable { kind } => hold(
            kind.bytes().all(|it| it.is_ascii_lowercase() || it == b' '),
            "a kind that is none of ours",
        ),
    }
}

/// The only way in: through the door, signed.
fn verified(body: &[u8]) -> Result<Verified<WhatsAppBody>, String> {
    let secret = Secret::new("an-app-secret").ok_or("a blank secret")?;
    let digits = HMAC::mac(body, secret.expose()).map(|byte| format!("{byte:02x}"));
    let signature = HeaderValue::from_str(&format!("sha256={}", digits.concat()));
    let mut headers = HeaderMap::new();
    headers.insert(HEADER, signature.map_err(|error| error.to_string())?);
    let pass = check(&headers, &secret, NUMBER).map_err(|error| error.to_string())?;
    pass.seal(body.to_vec()).map_err(|error| error.to_string())
}
