//! What is asked of Meta's Graph API: one function a request, within the limits that Meta publishes.

use crate::channels::app::{CUT, MESSAGES};
use crate::channels::form::{Form, file_name, media_type};
use crate::channels::markup::chunks_whatsapp;
use crate::channels::words::shortened;
use crate::channels::{Outgoing, OutgoingBody};
use crate::secret::Secret;
use agent::event::Button;
use http::{HeaderValue, Method, Uri, header};
use protocol::call::FileRef;
use serde_json::{Value, json};

/// Meta's own address, with the version that this is written for.
const GRAPH: &str = "https://graph.facebook.com/v24.0";

/// The longest text of one message, in UTF-16 units.
const TEXT_LIMIT: usize = 4096;

/// The longest text over buttons, in UTF-16 units.
const BODY_LIMIT: usize = 1024;

/// How many buttons stand under a text, and the longest title of one.
const BUTTONS: usize = 3;
const BUTTON_TITLE: usize = 20;

/// How many rows a list has, and the longest title and description of one.
const ROWS: usize = 10;
const ROW_TITLE: usize = 24;
const ROW_DESCRIPTION: usize = 72;

/// The longest id of a button or row that fits both, in bytes.
const ACTION_LIMIT: usize = 200;

/// What opens a list.
const LIST_TITLE: &str = "Choose";

/// What stands over the rows that one list had no room for.
const MORE: &str = "There is more to choose from:";

/// The only hosts that media lie on.
const MEDIA_HOST: &str = "lookaside.fbsbx.com";
const MEDIA_HOSTS: &str = ".whatsapp.net";

/// What Meta takes as what, and how long it may be, in bytes.
const MEBIBYTE: u64 = 1024 * 1024;
const TAKEN: [(Kind, u64, &[&str]); 4] = [
    (Kind::Image, 5 * MEBIBYTE, &["image/jpeg", "image/png"]),
    (
        Kind::Audio,
        16 * MEBIBYTE,
        &[
            "audio/aac",
            "audio/amr",
            "audio/mpeg",
            "audio/mp4",
            "audio/ogg",
        ],
    ),
    (Kind::Video, 16 * MEBIBYTE, &["video/3gpp", "video/mp4"]),
    (
        Kind::Document,
        100 * MEBIBYTE,
        &[
            "text/plain",
            "application/pdf",
            "application/msword",
            "application/vnd.ms-excel",
            "application/vnd.ms-powerpoint",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ],
    ),
];

/// As what a file is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Image,
    Audio,
    Video,
    Document,
}

/// The one message that may be sent outside the window, as Meta has approved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its name.
    pub name: String,
    /// Its language, such as `en` or `pt_BR`.
    pub language: String,
}

/// Where requests go, in whose name, and the token that they carry.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    token: Secret,
    number: String,
    template: Option<Template>,
}

/// One message's worth of a text, with what can be chosen under it.
struct Piece<'a> {
    text: String,
    buttons: Vec<&'a Button>,
}

impl Api {
    /// The Graph API, at Meta or where `url` says: it replaces scheme, host and the version. `number` is the id of our phone number.
    pub fn new(url: Option<&str>, token: Secret, number: &str, template: Option<Template>) -> Self {
        let base = url.unwrap_or(GRAPH).trim().trim_end_matches('/').to_owned();
        Self {
            base,
            token,
            number: number.to_owned(),
            template,
        }
    }

    /// One part of a text with its marks; what can be chosen stands under the last, and in parts of its own where there is too much of it.
    pub fn part(&self, to: &str, text: &str, buttons: &[Button], part: usize) -> Option<Outgoing> {
        let piece = pieces(text, buttons).into_iter().nth(part)?;
        Some(self.send(to, &message(&piece)))
    }

    /// A text as it is, without marks of ours.
    pub fn text(&self, to: &str, text: &str) -> Outgoing {
        let text = shortened(text, TEXT_LIMIT);
        self.send(
            to,
            &json!({"type": "text", "text": {"preview_url": false, "body": text}}),
        )
    }

    /// Marks a message of theirs as read, and shows that Bernard is at work for twenty-five seconds or until a message comes.
    pub fn seen(&self, message: &str) -> Outgoing {
        self.call(&json!({
            "messaging_product": "whatsapp",
            "status": "read",
            "message_id": message,
            "typing_indicator": {"type": "text"},
        }))
    }

    /// Puts an emoji on a message of theirs.
    pub fn react(&self, to: &str, message: &str, emoji: &str) -> Outgoing {
        let reaction = json!({"message_id": message, "emoji": emoji});
        self.send(to, &json!({"type": "reaction", "reaction": reaction}))
    }

    /// The template, where there is one.
    pub fn template(&self, to: &str) -> Option<Outgoing> {
        let Template { name, language } = self.template.as_ref()?;
        let template = json!({"name": name, "language": {"code": language}});
        Some(self.send(to, &json!({"type": "template", "template": template})))
    }

    /// Hands a file over; its answer holds the name under which [`Self::file`] sends it. An error is why it cannot be sent.
    pub fn upload(&self, file: &FileRef, boundary: [u8; 16]) -> Result<Outgoing, String> {
        let (_, mime) = taken_as(file)?;
        let form = Form::new(boundary)
            .field("messaging_product", "whatsapp")
            .field("type", mime);
        let (kind, body) = form.file("file", file, mime);
        Ok(self.request(Method::POST, self.address("media"), Some(&kind), body))
    }

    /// A file that was handed over.
    pub fn file(&self, to: &str, file: &FileRef, media: &str) -> Outgoing {
        let kind = taken_as(file).map_or(Kind::Document, |(kind, _)| kind);
        let body = match kind {
            Kind::Image => json!({"type": "image", "image": {"id": media}}),
            Kind::Audio => json!({"type": "audio", "audio": {"id": media}}),
            Kind::Video => json!({"type": "video", "video": {"id": media}}),
            Kind::Document => {
                let name = file_name(&file.name);
                json!({"type": "document", "document": {"id": media, "filename": name}})
            }
        };
        self.send(to, &body)
    }

    /// Asks where a file of theirs lies.
    pub fn find_media(&self, media: &str) -> Outgoing {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let address = format!("{}/{media}?phone_number_id={}", self.base, self.number);
        let address = media.bytes().all(plain).then_some(address);
        self.request(Method::GET, address, None, OutgoingBody::Bytes(Vec::new()))
    }

    /// Fetches a file of theirs, with the token: from nowhere else than where Meta keeps media.
    pub fn fetch_media(&self, url: &str) -> Option<Outgoing> {
        let uri: Uri = url.parse().ok()?;
        let own: Option<Uri> = self.base.parse().ok();
        let is_own = own.is_some_and(|own| {
            self.base != GRAPH && own.authority() == uri.authority() && own.scheme() == uri.scheme()
        });
        let host = uri.host()?.to_ascii_lowercase();
        let is_metas = (host == MEDIA_HOST || host.ends_with(MEDIA_HOSTS))
            && uri.scheme_str() == Some("https")
            && uri.authority()?.as_str().eq_ignore_ascii_case(&host);
        let body = OutgoingBody::Bytes(Vec::new());
        (is_own || is_metas).then(|| self.request(Method::GET, Some(url.to_owned()), None, body))
    }

    /// A message to someone: by their number, or where they keep that to themselves by the id that Meta has given them.
    fn send(&self, to: &str, content: &Value) -> Outgoing {
        let by = if to.bytes().all(|byte| byte.is_ascii_digit()) {
            "to"
        } else {
            "recipient"
        };
        let mut body = content.clone();
        body["messaging_product"] = json!("whatsapp");
        body["recipient_type"] = json!("individual");
        body[by] = json!(to);
        self.call(&body)
    }

    fn call(&self, body: &Value) -> Outgoing {
        let body = OutgoingBody::Bytes(body.to_string().into_bytes());
        let place = self.address("messages");
        self.request(Method::POST, place, Some("application/json"), body)
    }

    fn address(&self, place: &str) -> Option<String> {
        let plain = self.number.bytes().all(|byte| byte.is_ascii_digit());
        let fits = plain && !self.number.is_empty() && !self.base.contains(['?', '#']);
        fits.then(|| format!("{}/{}/{place}", self.base, self.number))
    }

    /// A request with the token. Of an address that is none comes one without a host, which cannot leave.
    fn request(
        &self,
        method: Method,
        address: Option<String>,
        kind: Option<&str>,
        body: OutgoingBody,
    ) -> Outgoing {
        let uri = address.and_then(|address| address.parse::<Uri>().ok());
        let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
        let mut request = http::Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri.unwrap_or_default();
        let bearer = HeaderValue::from_str(&format!("Bearer {}", self.token.expose()));
        if let Ok(mut bearer) = bearer {
            bearer.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
        if let Some(kind) = kind.and_then(|kind| kind.parse().ok()) {
            request.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        Outgoing { request, body }
    }
}

/// In how many parts a text goes with what can be chosen under it.
pub(in crate::channels) fn parts(text: &str, buttons: &[Button]) -> usize {
    pieces(text, buttons).len()
}

/// As what a file is sent and under which media type. Text of any kind is plain text; an error is why Meta would not take it.
fn taken_as(file: &FileRef) -> Result<(Kind, &str), String> {
    let mime = media_type(&file.mime);
    let mime = match mime {
        "application/json" | "application/xml" | "application/toml" | "application/yaml" => {
            "text/plain"
        }
        mime if mime.starts_with("text/") => "text/plain",
        mime => mime,
    };
    let known = TAKEN.iter().find(|(_, _, kinds)| kinds.contains(&mime));
    let Some((kind, limit, _)) = known else {
        return Err(format!("WhatsApp takes no files of the type {mime}"));
    };
    if file.size > *limit {
        return Err(format!(
            "WhatsApp takes no {mime} of more than {} MB",
            limit / MEBIBYTE
        ));
    }
    Ok((*kind, mime))
}

/// A text with what can be chosen under its end. A button that Meta would refuse is left out, for it would refuse the words above it too.
fn pieces<'a>(text: &str, buttons: &'a [Button]) -> Vec<Piece<'a>> {
    let fits =
        |b: &&Button| !b.label.trim().is_empty() && (1..=ACTION_LIMIT).contains(&b.action.len());
    let buttons: Vec<&Button> = buttons.iter().filter(fits).collect();
    let last = if buttons.is_empty() {
        TEXT_LIMIT
    } else {
        BODY_LIMIT
    };
    let mut chunks = chunks_whatsapp(text, TEXT_LIMIT, last);
    if chunks.len() > MESSAGES {
        chunks.truncate(MESSAGES - 1);
        chunks.extend(chunks_whatsapp(CUT, TEXT_LIMIT, last));
    }
    let plain = |text| Piece {
        text,
        buttons: Vec::new(),
    };
    let mut pieces: Vec<Piece<'_>> = chunks.into_iter().map(|chunk| plain(chunk.text)).collect();
    for (index, rows) in buttons.chunks(ROWS).enumerate() {
        if index > 0 || pieces.is_empty() {
            pieces.push(plain(MORE.to_owned()));
        }
        if let Some(piece) = pieces.last_mut() {
            piece.buttons = rows.to_vec();
        }
    }
    pieces
}

/// A message: plain, with buttons where all their titles fit, else with a list.
fn message(piece: &Piece<'_>) -> Value {
    let Piece { text, buttons } = piece;
    let title = |button: &Button, limit| shortened(button.label.trim(), limit);
    if buttons.is_empty() {
        return json!({"type": "text", "text": {"preview_url": false, "body": text}});
    }
    let is_whole = |b: &&Button| title(b, BUTTON_TITLE) == b.label.trim();
    let mut titles: Vec<&str> = buttons.iter().map(|b| b.label.trim()).collect();
    titles.sort_unstable();
    titles.dedup();
    let unlike = titles.len() == buttons.len();
    let action = if buttons.len() <= BUTTONS && unlike && buttons.iter().all(is_whole) {
        let reply = |b: &&Button| json!({"type": "reply", "reply": {"id": b.action, "title": title(b, BUTTON_TITLE)}});
        json!({"type": "button", "action": {"buttons": buttons.iter().map(reply).collect::<Vec<_>>()}})
    } else {
        let rows: Vec<Value> = buttons.iter().map(|button| row(button)).collect();
        let sections = json!([{"title": LIST_TITLE, "rows": rows}]);
        json!({"type": "list", "action": {"button": LIST_TITLE, "sections": sections}})
    };
    let mut interactive = action;
    interactive["body"] = json!({"text": text});
    json!({"type": "interactive", "interactive": interactive})
}

/// A row of a list; a title that is too long goes on in its description.
fn row(button: &Button) -> Value {
    let label = button.label.trim();
    let title = shortened(label, ROW_TITLE);
    let mut row = json!({"id": button.action, "title": title});
    if title != label {
        row["description"] = json!(shortened(label, ROW_DESCRIPTION));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api() -> Api {
        let template = Template {
            name: "you_have_a_message".into(),
            language: "en".into(),
        };
        Api::new(
            None,
            Secret::new("EAAtoken").unwrap(),
            "106540352242922",
            Some(template),
        )
    }

    fn button(label: &str, action: &str) -> Button {
        Button {
            label: label.to_owned(),
            action: action.to_owned(),
        }
    }

    fn file(name: &str, mime: &str, size: u64) -> FileRef {
        FileRef {
            name: name.to_owned(),
            mime: mime.to_owned(),
            size,
            sha256: String::new(),
        }
    }

    /// Method, address, content type, bearer and JSON body of a request.
    fn golden(outgoing: Outgoing) -> (String, Value) {
        let (head, ()) = outgoing.request.into_parts();
        assert_eq!(head.headers[header::AUTHORIZATION], "Bearer EAAtoken");
        assert_eq!(head.headers.len(), 2);
        let kind = head.headers[header::CONTENT_TYPE].to_str().unwrap();
        let line = format!("{} {} {kind}", head.method, head.uri);
        let OutgoingBody::Bytes(body) = outgoing.body else {
            panic!("a file where JSON was expected");
        };
        (line, serde_json::from_slice(&body).unwrap())
    }

    fn to(recipient: &Value, content: &Value) -> (String, Value) {
        let mut body = json!({"messaging_product": "whatsapp", "recipient_type": "individual"});
        for (name, value) in [recipient, content]
            .into_iter()
            .flat_map(|v| v.as_object().unwrap())
        {
            body[name] = value.clone();
        }
        messages(&body)
    }

    fn messages(body: &Value) -> (String, Value) {
        let line =
            "POST https://graph.facebook.com/v24.0/106540352242922/messages application/json";
        (line.to_owned(), body.clone())
    }

    #[test]
    fn requests_are_written_as_meta_publishes_them() {
        let (api, ada) = (api(), json!({"to": "16505551234"}));
        let yes = [button("Yes, this once", "ok:c1"), button("No", "no:c1")];
        let table = [
            (
                api.part("16505551234", "**hi**", &[], 0).unwrap(),
                to(
                    &ada,
                    &json!({"type": "text", "text": {"preview_url": false, "body": "*hi*"}}),
                ),
            ),
            (
                api.text("US.13491208655302741918", "a*b"),
                to(
                    &json!({"recipient": "US.13491208655302741918"}),
                    &json!({"type": "text", "text": {"preview_url": false, "body": "a*b"}}),
                ),
            ),
            (
                api.part("16505551234", "ok?", &yes, 0).unwrap(),
                to(
                    &ada,
                    &json!({"type": "interactive", "interactive": {"type": "button", "body": {"text": "ok?"}, "action": {"buttons": [
                        {"type": "reply", "reply": {"id": "ok:c1", "title": "Yes, this once"}},
                        {"type": "reply", "reply": {"id": "no:c1", "title": "No"}},
                    ]}}}),
                ),
            ),
            (
                api.seen("wamid.A"),
                messages(
                    &json!({"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.A", "typing_indicator": {"type": "text"}}),
                ),
            ),
            (
                api.react("16505551234", "wamid.A", "👍"),
                to(
                    &ada,
                    &json!({"type": "reaction", "reaction": {"message_id": "wamid.A", "emoji": "👍"}}),
                ),
            ),
            (
                api.template("16505551234").unwrap(),
                to(
                    &ada,
                    &json!({"type": "template", "template": {"name": "you_have_a_message", "language": {"code": "en"}}}),
                ),
            ),
            (
                api.file("16505551234", &file("a.pdf", "application/pdf", 1), "99"),
                to(
                    &ada,
                    &json!({"type": "document", "document": {"id": "99", "filename": "a.pdf"}}),
                ),
            ),
            (
                api.file("16505551234", &file("a.png", "image/png", 1), "99"),
                to(&ada, &json!({"type": "image", "image": {"id": "99"}})),
            ),
        ];
        for (outgoing, expected) in table {
            assert_eq!(golden(outgoing), expected);
        }
    }

    #[test]
    fn too_many_or_too_long_buttons_become_lists_and_impossible_ones_are_left_out() {
        let rows = |count: usize| -> Vec<Button> {
            (0..count)
                .map(|n| button(&format!("Row {n}"), &format!("r:{n}")))
                .collect()
        };
        let body = |text: &str, buttons: &[Button], part| {
            let (_, body) = golden(api().part("1", text, buttons, part).unwrap());
            body["interactive"].clone()
        };
        let long = "Everything that begins `git status`";
        let list = body(
            "which?",
            &[button(long, "a"), button("", "b"), button("x", "")],
            0,
        );
        assert_eq!(
            list,
            json!({"type": "list", "body": {"text": "which?"}, "action": {"button": "Choose", "sections": [
                {"title": "Choose", "rows": [{"id": "a", "title": "Everything that begins …", "description": long}]},
            ]}})
        );
        let same = [button("Revoke", "revoke:1"), button("Revoke", "revoke:2")];
        assert_eq!(body("which?", &same, 0)["type"], "list");
        assert_eq!(body("which?", &rows(3), 0)["type"], "button");
        let count = |part: Value| {
            part["action"]["sections"][0]["rows"]
                .as_array()
                .unwrap()
                .len()
        };
        let many = rows(23);
        assert_eq!(parts("which?", &many), 3);
        assert_eq!(
            [0, 1].map(|part| count(body("which?", &many, part))),
            [10, 10]
        );
        assert_eq!(body("which?", &many, 2)["type"], "button");
        assert_eq!(body("which?", &many, 1)["body"]["text"], MORE);
    }

    #[test]
    fn the_text_over_buttons_is_short_and_the_rest_goes_before_it() {
        let text = "a word and more. ".repeat(400);
        let yes = [button("Yes", "ok")];
        let count = parts(&text, &yes);
        for part in 0..count {
            let (_, body) = golden(api().part("1", &text, &yes, part).unwrap());
            let is_last = part + 1 == count;
            let shown = if is_last {
                &body["interactive"]["body"]["text"]
            } else {
                &body["text"]["body"]
            };
            let limit = if is_last { BODY_LIMIT } else { TEXT_LIMIT };
            assert!(
                (1..=limit).contains(&shown.as_str().unwrap().len()),
                "{part}"
            );
        }
        assert!(api().part("1", &text, &yes, count).is_none());
        assert_eq!(parts("", &yes), 1);
    }

    #[test]
    fn a_file_goes_as_what_meta_takes_it_for_or_not_at_all() {
        let told = |mime: &str, size| {
            taken_as(&file("a", mime, size)).map(|(kind, mime)| (kind, mime.to_owned()))
        };
        let taken = |kind, mime: &str| Ok((kind, mime.to_owned()));
        let refused = |why: &str| Err(why.to_owned());
        for (mime, size, expected) in [
            ("image/jpeg", 5 * MEBIBYTE, taken(Kind::Image, "image/jpeg")),
            (
                "image/jpeg",
                5 * MEBIBYTE + 1,
                refused("WhatsApp takes no image/jpeg of more than 5 MB"),
            ),
            (
                "audio/ogg; codecs=opus",
                16 * MEBIBYTE,
                taken(Kind::Audio, "audio/ogg"),
            ),
            (
                "video/mp4",
                16 * MEBIBYTE + 1,
                refused("WhatsApp takes no video/mp4 of more than 16 MB"),
            ),
            ("text/csv", 1, taken(Kind::Document, "text/plain")),
            (
                "application/pdf",
                100 * MEBIBYTE,
                taken(Kind::Document, "application/pdf"),
            ),
            (
                "application/zip",
                1,
                refused("WhatsApp takes no files of the type application/zip"),
            ),
        ] {
            assert_eq!(told(mime, size), expected, "{mime}");
        }
        let (head, ()) = api()
            .upload(&file("a.txt", "text/markdown", 3), [0xa5; 16])
            .unwrap()
            .request
            .into_parts();
        assert_eq!(
            head.uri,
            "https://graph.facebook.com/v24.0/106540352242922/media"
        );
    }

    #[test]
    fn media_are_fetched_from_metas_hosts_alone() {
        for (url, fetched) in [
            (
                "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1",
                true,
            ),
            ("https://mmg.whatsapp.net/v/1", true),
            ("http://lookaside.fbsbx.com/1", false),
            ("https://lookaside.fbsbx.com:444/1", false),
            ("https://a@lookaside.fbsbx.com/1", false),
            ("https://lookaside.fbsbx.com.evil.example/1", false),
            ("https://evil.example/lookaside.fbsbx.com", false),
            ("https://whatsapp.net.evil.example/", false),
            ("https://evilwhatsapp.net/", false),
            ("https://graph.facebook.com/v24.0/x", false),
            ("file:///etc/passwd", false),
            ("", false),
        ] {
            assert_eq!(api().fetch_media(url).is_some(), fetched, "{url}");
        }
        let local = Api::new(
            Some("http://127.0.0.1:9/v24.0"),
            Secret::new("t").unwrap(),
            "1",
            None,
        );
        assert!(local.fetch_media("http://127.0.0.1:9/media/1").is_some());
        assert!(local.fetch_media("http://127.0.0.1:10/media/1").is_none());
    }

    #[test]
    fn no_print_of_a_request_or_of_the_api_shows_the_token_and_odd_addresses_cannot_leave() {
        let outgoing = api().text("1", "private words");
        assert_eq!(
            format!("{outgoing:?}"),
            "Outgoing(POST graph.facebook.com/***)"
        );
        assert!(!format!("{:?}", api()).contains("EAA"));
        let odd = |url, number| {
            let api = Api::new(url, Secret::new("t").unwrap(), number, None);
            api.text("1", "x").request.uri().to_string()
        };
        assert_eq!(odd(Some("ftp://example.com"), "1"), "/");
        assert_eq!(odd(Some("https://example.com?x="), "1"), "/");
        assert_eq!(odd(None, "../../x"), "/");
        assert_eq!(
            odd(Some("http://127.0.0.1:9/v24.0/"), "1"),
            "http://127.0.0.1:9/v24.0/1/messages"
        );
        assert_eq!(api().find_media("../x").request.uri(), "/");
    }
}
