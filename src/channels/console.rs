//! Bernard's own web page, `src/console/`: what page and Worker say to each other. A frame's text in, [`FromPage`] out; [`ToPage`] in, text out. No I/O.

use crate::channels::Deed;
use agent::event::Button;
use protocol::call::{CallId, ToolName};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest text a person can send at once, in characters: some ten pages.
pub const TEXT_LIMIT: usize = 32_000;

/// The longest frame that can hold a text of [`TEXT_LIMIT`]: JSON may spell one character in twelve bytes.
pub const FRAME_LIMIT: usize = TEXT_LIMIT * 12 + 1024;

/// The longest id that a page may make up; a UUID has 36 characters.
const PAGE_ID_LIMIT: usize = 64;

/// The longest action a button may carry, in bytes: Telegram's limit, kept everywhere.
const ACTION_LIMIT: usize = 64;

/// The longest id of a message that a press may name, in bytes.
const MESSAGE_ID_LIMIT: usize = 128;

/// How many files a message may bring.
const FILES_LIMIT: usize = 10;

/// Names one deed of a page for its whole life; a repeated id is the same deed, sent again because no answer came.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct PageId(String);

impl PageId {
    /// The id as text: letters, digits and `-`, at least one and at most 64 of them.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A page's id is empty, too long, or holds more than letters, digits and `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an id is 1 to 64 letters, digits and hyphens")]
pub struct NotAnId;

impl TryFrom<String> for PageId {
    type Error = NotAnId;

    fn try_from(id: String) -> Result<Self, NotAnId> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if id.is_empty() || id.len() > PAGE_ID_LIMIT || !id.bytes().all(known) {
            return Err(NotAnId);
        }
        Ok(Self(id))
    }
}

/// What a page tells the Worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromPage {
    /// The person wrote something. Answered by [`ToPage::Accepted`] once it is stored.
    Say {
        /// Names the message; its [`Item::Message`] has the same id.
        id: PageId,
        /// What they wrote, at most [`TEXT_LIMIT`] characters; blank only where there are files.
        text: String,
        /// The ids of the files that they attached, see [`GivenFile`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        files: Vec<PageId>,
    },
    /// The person pressed a button. Answered by [`ToPage::Accepted`] once it is stored.
    Press {
        /// Names the press.
        id: PageId,
        /// The button's action.
        action: String,
        /// The message that the button is under.
        message: String,
    },
}

impl FromPage {
    /// Names the deed.
    pub fn id(&self) -> &PageId {
        match self {
            Self::Say { id, .. } | Self::Press { id, .. } => id,
        }
    }

    /// The deed as every channel tells it; `/name argument` is a command.
    pub fn deed(self) -> Deed {
        match self {
            Self::Say { text, .. } => command(&text).unwrap_or(Deed::Wrote {
                text,
                quoted: None,
                attachments: Vec::new(),
                forwarded: false,
            }),
            Self::Press {
                id,
                action,
                message,
            } => Deed::Pressed {
                action,
                press: id.0,
                message,
            },
        }
    }
}

/// What a page sent is not in its language. The page is Bernard's own, so this is a fault or a stranger's tool: nothing of it is used.
#[derive(Debug, Error)]
pub enum Garbage {
    /// The frame is longer than [`FRAME_LIMIT`].
    #[error("a frame of {0} bytes is longer than any message may be")]
    TooLarge(usize),
    /// The frame is no [`FromPage`].
    #[error("a frame is not in the page's language")]
    NotOurs(#[source] serde_json::Error),
    /// The text is longer than [`TEXT_LIMIT`].
    #[error("a text of {0} characters is longer than {TEXT_LIMIT}")]
    TextTooLong(usize),
    /// The text is empty, or nothing but white space.
    #[error("a text is blank")]
    Blank,
    /// There are more files than a message may bring.
    #[error("a message of {0} files is more than {FILES_LIMIT}")]
    TooManyFiles(usize),
    /// A button's action or its message's id is empty or longer than any that Bernard gives out.
    #[error("a press names no button of ours")]
    NoButton,
}

/// What a page's text frame says; refused whole where any part of it is not allowed.
pub fn receive(text: &str) -> Result<FromPage, Garbage> {
    if text.len() > FRAME_LIMIT {
        return Err(Garbage::TooLarge(text.len()));
    }
    let said: FromPage = serde_json::from_str(text).map_err(Garbage::NotOurs)?;
    match &said {
        FromPage::Say { text, files, .. } => check_words(text, files.len())?,
        FromPage::Press {
            action, message, ..
        } => check_press(action, message)?,
    }
    Ok(said)
}

fn check_words(text: &str, files: usize) -> Result<(), Garbage> {
    if files > FILES_LIMIT {
        return Err(Garbage::TooManyFiles(files));
    }
    let length = text.chars().count();
    if length > TEXT_LIMIT {
        return Err(Garbage::TextTooLong(length));
    }
    if text.trim().is_empty() && files == 0 {
        return Err(Garbage::Blank);
    }
    Ok(())
}

fn check_press(action: &str, message: &str) -> Result<(), Garbage> {
    let fits = |text: &str, limit: usize| !text.is_empty() && text.len() <= limit;
    if fits(action, ACTION_LIMIT) && fits(message, MESSAGE_ID_LIMIT) {
        Ok(())
    } else {
        Err(Garbage::NoButton)
    }
}

/// `/name argument` as a command; a path such as `/home/me` is none, for a name has no second slash.
fn command(text: &str) -> Option<Deed> {
    let rest = text.trim().strip_prefix('/')?;
    let (name, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (!name.is_empty() && name.bytes().all(known)).then(|| Deed::Commanded {
        name: name.to_ascii_lowercase(),
        argument: argument.trim().to_owned(),
    })
}

/// What the Worker tells a page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToPage {
    /// The conversation so far, sent once after connecting: what the page shows is replaced by it.
    History {
        /// The newest items, oldest first.
        items: Vec<Item>,
        /// Whether there are older ones.
        earlier: bool,
    },
    /// A new item, or the replacement of the one with the same kind and id.
    Item {
        /// The item.
        item: Item,
    },
    /// A piece of an answer in the making.
    Delta {
        /// Names the answer.
        ask: String,
        /// What comes next in it.
        text: String,
    },
    /// An answer in the making is over: its item has been sent, or there is none.
    Settled {
        /// Names the answer.
        ask: String,
    },
    /// Whether Bernard is at work.
    Working {
        /// At work, or not.
        on: bool,
    },
    /// The person's machines, all of them.
    Bridges {
        /// In the order in which they were paired.
        bridges: Vec<Bridge>,
    },
    /// What the page said under this id is stored, and will not be lost.
    Accepted {
        /// The page's own id for it.
        id: PageId,
    },
}

impl ToPage {
    /// The text frame that says this.
    #[expect(
        clippy::missing_panics_doc,
        reason = "writing strings, numbers and lists of them as JSON cannot fail"
    )]
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("strings, numbers and lists of them are always JSON")
    }
}

/// One thing in a conversation's view. Kind and id name it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Item {
    /// Something that was said.
    Message(Message),
    /// A tool's work.
    Tool(ToolLine),
    /// A file handed to the person.
    File(FileCard),
    /// A word from the house itself, such as "mac-mini is away".
    Notice(Notice),
}

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Names it.
    pub id: String,
    /// Who said it.
    pub from: Speaker,
    /// As HTML from Bernard's own Markdown renderer; empty for a person's words, which are shown as they are.
    pub html: String,
    /// As text.
    pub text: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// The files that came with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileCard>,
    /// The buttons under it.
    pub buttons: Vec<Button>,
    /// Whether its buttons wait to be pressed.
    pub state: MessageState,
}

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The person.
    Person,
    /// Bernard.
    Bernard,
}

/// Whether a message waits for a button to be pressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// It waits for nothing; its buttons, if any, can be pressed at any time.
    Said,
    /// It asks, and waits for one of its buttons.
    Asking,
    /// It asked and has its answer: this button's action. Its buttons do nothing any more.
    Answered(String),
    /// It asked, and an answer would come too late. Its buttons do nothing any more.
    Closed,
}

/// A tool's work, on one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolLine {
    /// The call.
    pub id: CallId,
    /// The tool.
    pub tool: ToolName,
    /// What it does, in a few words: `list playground`.
    pub summary: String,
    /// How far it is.
    pub state: ToolState,
    /// What there is to read behind the line, as text: arguments and outcome. May be empty.
    pub detail: String,
    /// When it was called, in milliseconds since 1970.
    pub at: i64,
}

/// How far a tool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolState {
    /// It is at work.
    Running,
    /// It waits for a machine that is away.
    Waiting,
    /// It waits for the person's yes.
    Asking,
    /// It is done.
    Done,
    /// It did not work.
    Failed,
    /// A rule or the person said no.
    Denied,
    /// It was called off.
    Cancelled,
}

/// A file handed to the person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCard {
    /// The call that brought it.
    pub id: CallId,
    /// Its name.
    pub name: String,
    /// Its MIME type.
    pub mime: String,
    /// Its size in bytes.
    pub size: u64,
    /// Where the page gets it: `/console/files/<call id>`.
    pub href: String,
    /// When it came, in milliseconds since 1970.
    pub at: i64,
}

/// A word from the house itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Names it.
    pub id: String,
    /// What it says.
    pub text: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// One of the person's machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// Names it in `/console/api/bridges/<id>/…`.
    pub id: String,
    /// What the person calls it.
    pub name: String,
    /// How it stands.
    #[serde(flatten)]
    pub state: BridgeState,
    /// When it was last heard, in milliseconds since 1970; `None` before the first time.
    pub seen: Option<i64>,
}

/// How a machine stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum BridgeState {
    /// Its socket is open.
    Connected,
    /// Paired, and not there at the moment.
    Away,
    /// It has proven its key and waits for the person to compare words.
    Pending {
        /// The six words that both ends must show.
        words: Vec<String>,
    },
}

/// The answer to `POST /console/api/pair`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingOffer {
    /// The one-time link, `bernard://pair?…`.
    pub link: String,
    /// Until when it works, in milliseconds since 1970.
    pub expires_at: i64,
}

/// The answer to a file that was given: by this id messages name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenFile {
    /// Its id, which follows from its bytes.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Its media type.
    pub mime: String,
    /// Its length in bytes.
    pub size: u64,
}

/// The answer of any `/console/api/` address that did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiRefusal {
    /// One sentence for the person: what happened and what to do.
    pub error: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const AT: i64 = 1_795_000_000_000;

    fn id(text: &str) -> PageId {
        PageId::try_from(text.to_owned()).unwrap()
    }

    fn refusal(frame: &Value) -> String {
        receive(&frame.to_string()).unwrap_err().to_string()
    }

    /// Fails unless `said` is written exactly as `golden` and read back as itself.
    fn speaks(said: &ToPage, golden: &Value) {
        let text = said.encode();
        assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), golden);
        assert_eq!(&serde_json::from_str::<ToPage>(&text).unwrap(), said);
    }

    #[test]
    fn a_text_is_received_whole() {
        let frame = json!({"type": "say", "id": "5f0c-9A", "text": "  list\n🦀 "});
        let said = FromPage::Say {
            files: Vec::new(),
            id: id("5f0c-9A"),
            text: "  list\n🦀 ".to_owned(),
        };
        assert_eq!(receive(&frame.to_string()).unwrap(), said);
        assert_eq!(serde_json::to_value(&said).unwrap(), frame);
    }

    #[test]
    fn a_press_is_received_whole() {
        let frame = json!({"type": "press", "id": "p1", "action": "yes:c1", "message": "say-4"});
        let said = FromPage::Press {
            id: id("p1"),
            action: "yes:c1".to_owned(),
            message: "say-4".to_owned(),
        };
        assert_eq!(receive(&frame.to_string()).unwrap(), said);
        assert_eq!(serde_json::to_value(&said).unwrap(), frame);
    }

    #[test]
    fn what_is_not_in_the_language_is_refused() {
        let not_ours = "a frame is not in the page's language";
        for frame in [
            json!({"type": "say", "id": "a", "text": "x", "approved": true}),
            json!({"type": "press", "id": "a", "action": "y", "message": "m", "as": "owner"}),
            json!({"type": "shout", "id": "a", "text": "x"}),
            json!({"type": "say", "id": "a"}),
            json!({"type": "say", "text": "x"}),
            json!({"type": "say", "id": "a", "text": 1}),
            json!({"type": "say", "id": "", "text": "x"}),
            json!({"type": "say", "id": "a_b", "text": "x"}),
            json!({"type": "say", "id": "é", "text": "x"}),
            json!({"type": "say", "id": "a".repeat(65), "text": "x"}),
            json!("say"),
        ] {
            assert_eq!(refusal(&frame), not_ours, "{frame}");
        }
        for text in [
            "",
            "{",
            "\u{0}",
            r#"{"type":"say","id":"a","text":"x","text":"y"}"#,
            r#"{"type":"say","type":"press","id":"a","text":"x"}"#,
            r#"{"type":"say","id":"a","text":"x"} {}"#,
        ] {
            assert_eq!(receive(text).unwrap_err().to_string(), not_ours, "{text}");
        }
    }

    #[test]
    fn a_text_may_be_as_long_as_the_limit_and_no_longer() {
        let frame = |length: usize| json!({"type": "say", "id": "a", "text": "🦀".repeat(length)});
        assert!(receive(&frame(TEXT_LIMIT).to_string()).is_ok());
        assert_eq!(
            refusal(&frame(TEXT_LIMIT + 1)),
            "a text of 32001 characters is longer than 32000"
        );
        let spelt_out = format!(
            r#"{{"type":"say","id":"a","text":"{}"}}"#,
            r"\ud83e\udd80".repeat(TEXT_LIMIT)
        );
        assert!(receive(&spelt_out).is_ok());
        let padded = format!("{}{spelt_out}", " ".repeat(1024));
        assert!(matches!(receive(&padded), Err(Garbage::TooLarge(_))));
    }

    #[test]
    fn a_blank_text_and_a_press_on_nothing_are_refused() {
        let said = json!({"type": "say", "id": "a", "text": " \n\u{a0}"});
        assert_eq!(refusal(&said), "a text is blank");
        for (action, message) in [
            ("", "m"),
            ("yes", ""),
            (&*"y".repeat(65), "m"),
            ("yes", &*"m".repeat(129)),
        ] {
            let press = json!({"type": "press", "id": "a", "action": action, "message": message});
            assert_eq!(refusal(&press), "a press names no button of ours");
        }
    }

    #[test]
    fn a_slash_and_a_name_are_a_command_and_a_path_is_not() {
        let deed = |text: &str| {
            FromPage::Say {
                files: Vec::new(),
                id: id("a"),
                text: text.to_owned(),
            }
            .deed()
        };
        let commanded = |name: &str, argument: &str| Deed::Commanded {
            name: name.to_owned(),
            argument: argument.to_owned(),
        };
        assert_eq!(deed(" /Stop "), commanded("stop", ""));
        assert_eq!(
            deed("/pair  mac mini\n"),
            commanded("pair", "mac mini"),
            "the argument is trimmed"
        );
        for text in ["/home/me/notes.txt what is it?", "/", "a /stop", "/ stop"] {
            let wrote = Deed::Wrote {
                text: text.to_owned(),
                quoted: None,
                attachments: Vec::new(),
                forwarded: false,
            };
            assert_eq!(deed(text), wrote);
        }
    }

    #[test]
    fn a_press_keeps_the_pages_id_for_it() {
        let press = FromPage::Press {
            id: id("p1"),
            action: "yes:c1".to_owned(),
            message: "say-4".to_owned(),
        };
        assert_eq!(press.id().as_str(), "p1");
        assert_eq!(
            press.deed(),
            Deed::Pressed {
                action: "yes:c1".to_owned(),
                press: "p1".to_owned(),
                message: "say-4".to_owned(),
            }
        );
    }

    #[test]
    fn history_is_written_as_the_page_reads_it() {
        let items = vec![
            Item::Message(Message {
                files: Vec::new(),
                id: "5f0c".to_owned(),
                from: Speaker::Person,
                html: String::new(),
                text: "list <b>".to_owned(),
                at: AT,
                buttons: vec![],
                state: MessageState::Said,
            }),
            Item::Notice(Notice {
                id: "n1".to_owned(),
                text: "mac-mini is away".to_owned(),
                at: AT,
            }),
        ];
        speaks(
            &ToPage::History {
                items,
                earlier: true,
            },
            &json!({"type": "history", "earlier": true, "items": [
                {"kind": "message", "id": "5f0c", "from": "person", "html": "", "text": "list <b>",
                 "at": AT, "buttons": [], "state": "said"},
                {"kind": "notice", "id": "n1", "text": "mac-mini is away", "at": AT},
            ]}),
        );
    }

    #[test]
    fn a_question_with_buttons_is_written_as_the_page_reads_it() {
        let question = |state| ToPage::Item {
            item: Item::Message(Message {
                files: Vec::new(),
                id: "say-4".to_owned(),
                from: Speaker::Bernard,
                html: "<p>May I?</p>".to_owned(),
                text: "May I?".to_owned(),
                at: AT,
                buttons: vec![Button {
                    label: "Yes, once".to_owned(),
                    action: "yes:c1".to_owned(),
                }],
                state,
            }),
        };
        let golden = |state: Value| {
            json!({"type": "item", "item": {"kind": "message", "id": "say-4", "from": "bernard",
                "html": "<p>May I?</p>", "text": "May I?", "at": AT,
                "buttons": [{"label": "Yes, once", "action": "yes:c1"}], "state": state}})
        };
        speaks(&question(MessageState::Asking), &golden(json!("asking")));
        speaks(&question(MessageState::Closed), &golden(json!("closed")));
        speaks(
            &question(MessageState::Answered("yes:c1".to_owned())),
            &golden(json!({"answered": "yes:c1"})),
        );
    }

    #[test]
    fn a_tool_line_is_written_as_the_page_reads_it() {
        for (state, word) in [
            (ToolState::Running, "running"),
            (ToolState::Waiting, "waiting"),
            (ToolState::Asking, "asking"),
            (ToolState::Done, "done"),
            (ToolState::Failed, "failed"),
            (ToolState::Denied, "denied"),
            (ToolState::Cancelled, "cancelled"),
        ] {
            let item = Item::Tool(ToolLine {
                id: CallId("c1".to_owned()),
                tool: ToolName("files.list".to_owned()),
                summary: "list playground".to_owned(),
                state,
                detail: "5 entries".to_owned(),
                at: AT,
            });
            speaks(
                &ToPage::Item { item },
                &json!({"type": "item", "item": {"kind": "tool", "id": "c1", "tool": "files.list",
                    "summary": "list playground", "state": word, "detail": "5 entries", "at": AT}}),
            );
        }
    }

    #[test]
    fn a_file_card_is_written_as_the_page_reads_it() {
        let item = Item::File(FileCard {
            id: CallId("c1".to_owned()),
            name: "proof.pdf".to_owned(),
            mime: "application/pdf".to_owned(),
            size: 104,
            href: "/console/files/c1".to_owned(),
            at: AT,
        });
        speaks(
            &ToPage::Item { item },
            &json!({"type": "item", "item": {"kind": "file", "id": "c1", "name": "proof.pdf",
                "mime": "application/pdf", "size": 104, "href": "/console/files/c1", "at": AT}}),
        );
    }

    #[test]
    fn an_answer_in_the_making_is_written_as_the_page_reads_it() {
        let ask = || "ask-7".to_owned();
        speaks(
            &ToPage::Delta {
                ask: ask(),
                text: "You ha".to_owned(),
            },
            &json!({"type": "delta", "ask": "ask-7", "text": "You ha"}),
        );
        speaks(
            &ToPage::Settled { ask: ask() },
            &json!({"type": "settled", "ask": "ask-7"}),
        );
        speaks(
            &ToPage::Working { on: true },
            &json!({"type": "working", "on": true}),
        );
        speaks(
            &ToPage::Accepted { id: id("5f0c") },
            &json!({"type": "accepted", "id": "5f0c"}),
        );
    }

    #[test]
    fn machines_are_written_as_the_page_reads_them() {
        let bridge = |name: &str, state, seen| Bridge {
            id: format!("b-{name}"),
            name: name.to_owned(),
            state,
            seen,
        };
        let words = ["amber", "boat", "cliff", "dune", "eel", "foam"].map(str::to_owned);
        let bridges = vec![
            bridge("mini", BridgeState::Connected, Some(AT)),
            bridge("nas", BridgeState::Away, None),
            bridge(
                "pi",
                BridgeState::Pending {
                    words: words.to_vec(),
                },
                None,
            ),
        ];
        speaks(
            &ToPage::Bridges { bridges },
            &json!({"type": "bridges", "bridges": [
                {"id": "b-mini", "name": "mini", "state": "connected", "seen": AT},
                {"id": "b-nas", "name": "nas", "state": "away", "seen": null},
                {"id": "b-pi", "name": "pi", "state": "pending", "words": words, "seen": null},
            ]}),
        );
    }

    #[test]
    fn the_answers_of_the_api_are_written_as_the_page_reads_them() {
        let offer = PairingOffer {
            link: "bernard://pair?x".to_owned(),
            expires_at: AT,
        };
        assert_eq!(
            serde_json::to_value(offer).unwrap(),
            json!({"link": "bernard://pair?x", "expires_at": AT})
        );
        let refusal = ApiRefusal {
            error: "no such machine".to_owned(),
        };
        assert_eq!(
            serde_json::to_value(refusal).unwrap(),
            json!({"error": "no such machine"})
        );
    }
}
