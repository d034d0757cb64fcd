//! Who may talk to Bernard: strangers knock, the owner says yes or no, and whoever is known in one chat app may join another.

use super::commands::Pressed;
use super::machines::HEARD_IN;
use super::{CONSOLE, Errand, Heart, now, store};
use crate::directory::{Directory, Known, Stranger};
use crate::error::Result;
use crate::front::bring;
use agent::Event;
use agent::event::Button;
use driver::Rows;
use protocol::CLOSE_REVOKED;
use protocol::key::random_bytes;
use std::collections::BTreeMap;
use std::rc::Rc;
use worker::Response;

/// What codes are made of: no letter or digit that can be taken for another.
const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// How long a code is: 40 bits.
const LENGTH: usize = 8;

/// How long a code for joining another app works, in milliseconds.
const JOIN_MILLIS: i64 = 10 * 60 * 1000;

/// How much of a name is shown, in characters.
const NAME: usize = 48;

/// What a guest reads who wants what is for members.
pub(super) const MEMBERS_ONLY: &str = "That is for members; my owner can make you one.";

const NOT_OWNER: &str = "Only my owner decides who may talk to me.";

const HOW: &str = "/people approve CODE lets a stranger in, as a guest. /people member NAME lets a guest join machines and open the console; \
/people guest NAME takes that back. /people join gives you a code that makes you known in another chat app.";

/// What is said to somebody who is known elsewhere and has shown it.
const JOINED: &str = "I know you here as well now: the same memory, the same machines.";

const LET_IN: &str = "You are let in: you can talk to me now. What you tell me stays between us; nobody else's memory or machines are \
in reach from here. /help says what I can do.";

/// A code that nobody can guess in the time that it works.
pub(crate) fn code() -> Result<String> {
    let bytes = random_bytes::<LENGTH>()?;
    let letters = bytes.map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
    Ok(letters.into_iter().collect())
}

/// Whether a text is a code and nothing else, as people write one.
pub(crate) fn as_code(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_uppercase().replace(['-', ' '], "");
    let fits = text.len() == LENGTH && text.bytes().all(|byte| LETTERS.contains(&byte));
    fits.then_some(text)
}

impl Heart {
    /// The owner hears of somebody whom nobody knows.
    pub(super) fn somebody_knocks(
        self: &Rc<Self>,
        stranger: &Stranger,
        code: &str,
    ) -> Result<Response> {
        let heard_in = store::meta(self.db(), HEARD_IN)?;
        let conversation = heard_in.unwrap_or_else(|| CONSOLE.to_owned());
        let Stranger {
            channel,
            address,
            name,
            ..
        } = stranger;
        let text = format!(
            "{} ({channel} id {address}) wants to talk to me. They were given the code {code}; approve them only if it is somebody who shows you that.",
            shown(name)
        );
        let button = |label: &str, deed: &str| Button {
            label: label.to_owned(),
            action: format!("people:{deed}:{channel}:{address}"),
        };
        let buttons = vec![
            button("Approve", "yes"),
            button("Deny", "no"),
            button("Block", "block"),
        ];
        let cause = format!("knock {channel} {address} {code}");
        self.tell(&conversation, &cause, text, buttons)?;
        Ok(Response::empty()?)
    }

    /// This person is known in another chat from now on, and is told so where they were before.
    pub(super) fn joined(self: &Rc<Self>, conversation: &str, cause: &str) -> Result<Response> {
        if let Some(before) = store::meta(self.db(), HEARD_IN)?
            && before != conversation
        {
            let text = format!(
                "You are known in {conversation} as well now. If that was not you: /people, and forget it there."
            );
            self.tell(&before, &format!("told {cause}"), text, Vec::new())?;
        }
        self.tell(conversation, cause, JOINED.to_owned(), Vec::new())?;
        Ok(Response::empty()?)
    }

    /// What a press on such a question does.
    pub(super) async fn judge_stranger(&self, answer: &str) -> Result<Pressed> {
        let parts: Vec<&str> = answer.splitn(3, ':').collect();
        let [deed, channel, address] = parts.as_slice() else {
            return Ok(Pressed::Nothing);
        };
        if *deed == "forget" {
            let directory = Directory::new(&self.env)?;
            let user = self.user();
            let forgotten = directory.forget_address(&user, channel, address, now());
            return Ok(if forgotten.await? {
                Pressed::Done("Forgotten")
            } else {
                Pressed::Nothing
            });
        }
        let Some(directory) = self.as_owner().await? else {
            return Ok(Pressed::Nothing);
        };
        let (done, told) = match *deed {
            "yes" => match directory.stranger(channel, address).await? {
                Some(stranger) => (self.let_in(&directory, &stranger).await?, "Let in"),
                None => (false, ""),
            },
            "no" => (
                directory.keep_out(channel, address, false, now()).await?,
                "Turned away",
            ),
            "block" => (
                directory.keep_out(channel, address, true, now()).await?,
                "Blocked",
            ),
            "out" => (self.put_out(&directory, channel).await?, "Put out"),
            _ => (false, ""),
        };
        Ok(if done {
            Pressed::Done(told)
        } else {
            Pressed::Nothing
        })
    }

    /// `/people` and what may follow it.
    pub(super) async fn people(&self, argument: &str) -> Result<(String, Vec<Button>)> {
        let words = |text: &str| Ok((text.to_owned(), Vec::new()));
        let (verb, rest) = argument.split_once(' ').unwrap_or((argument, ""));
        if verb == "join" && self.is_guest().await? {
            return words(MEMBERS_ONLY);
        }
        if verb == "join" {
            return Ok((self.join_code().await?, Vec::new()));
        }
        let Some(directory) = self.as_owner().await? else {
            return words(NOT_OWNER);
        };
        match verb {
            "" => Ok(listed(&directory.people().await?)),
            "approve" => {
                let code = as_code(rest).unwrap_or_default();
                match directory.stranger_by_code(&code, now()).await? {
                    Some(stranger) if self.let_in(&directory, &stranger).await? => {
                        Ok((format!("{} is let in.", shown(&stranger.name)), Vec::new()))
                    }
                    Some(_) | None => words("Nobody waits with this code; codes work for an hour."),
                }
            }
            "member" | "guest" => {
                let people = directory.people().await?;
                let Some(person) = named(&people, rest) else {
                    return words("No guest or member is called so; /people lists them.");
                };
                if !directory.set_role(&person.id, verb, now()).await? {
                    return words(NOT_OWNER);
                }
                if verb == "guest" {
                    bring(&self.env, &person.id, &Errand::Leave).await?;
                }
                Ok((
                    format!("{} is a {verb} now.", shown(&person.name)),
                    Vec::new(),
                ))
            }
            _ => words(HOW),
        }
    }

    /// Whether this person may join machines and open the console.
    pub(super) async fn is_guest(&self) -> Result<bool> {
        let role = Directory::new(&self.env)?.role(&self.user()).await?;
        Ok(role.as_deref() == Some("guest"))
    }

    /// Everything stops for somebody who is no longer welcome; the rows stay theirs.
    pub(super) fn leave(self: &Rc<Self>) -> Result<Response> {
        for conversation in self.db().open()? {
            self.step(&conversation, &Event::Stopped { at: now() })?;
        }
        for left in [
            "UPDATE pairings SET used = 1, secret = ''",
            "UPDATE reminders SET state = 'cancelled' WHERE state = 'waiting'",
            "UPDATE bridges SET state = 'revoked'",
            "DELETE FROM waiting",
        ] {
            self.db().run(left, &[])?;
        }
        self.hang_up_on_all(CLOSE_REVOKED, "its person is no longer known here");
        self.end_sessions_but(None)?;
        Ok(Response::empty()?)
    }

    async fn as_owner(&self) -> Result<Option<Directory>> {
        let directory = Directory::new(&self.env)?;
        let role = directory.role(&self.user()).await?;
        Ok((role.as_deref() == Some("owner")).then_some(directory))
    }

    async fn let_in(&self, directory: &Directory, stranger: &Stranger) -> Result<bool> {
        let Stranger {
            channel,
            address,
            chat,
            ..
        } = stranger;
        let Some(person) = directory.let_in(channel, address, now()).await? else {
            return Ok(false);
        };
        let errand = Errand::Tell {
            conversation: format!("{channel}:{chat}"),
            cause: "let in".to_owned(),
            text: LET_IN.to_owned(),
        };
        bring(&self.env, &person, &errand).await?;
        Ok(true)
    }

    async fn put_out(&self, directory: &Directory, user: &str) -> Result<bool> {
        if !directory.put_out(user, now()).await? {
            return Ok(false);
        }
        bring(&self.env, user, &Errand::Leave).await?;
        Ok(true)
    }

    async fn join_code(&self) -> Result<String> {
        let code = code()?;
        let directory = Directory::new(&self.env)?;
        directory
            .open_join(&code, &self.user(), now() + JOIN_MILLIS)
            .await?;
        Ok(format!(
            "Write this to me in the other chat app within ten minutes, and I know you there as well: {code}\nWhoever writes it becomes you: show it to nobody."
        ))
    }
}

fn listed(people: &[Known]) -> (String, Vec<Button>) {
    let mut each: BTreeMap<usize, (&Known, Vec<String>)> = BTreeMap::new();
    for person in people {
        let place = people.iter().position(|other| other.id == person.id);
        let entry = each
            .entry(place.unwrap_or_default())
            .or_insert((person, Vec::new()));
        entry.1.push(if person.address.is_empty() {
            person.channel.clone()
        } else {
            format!("{} {}", person.channel, person.address)
        });
    }
    let line = |(person, addresses): &(&Known, Vec<String>)| {
        format!(
            "- {}, {}: {}",
            shown(&person.name),
            person.role,
            addresses.join(", ")
        )
    };
    let lines: Vec<String> = each.values().map(line).collect();
    let others = each.values().filter(|(person, _)| person.role != "owner");
    let out = others.map(|(person, _)| Button {
        label: format!("Put {} out", shown(&person.name)),
        action: format!("people:out:{}:", person.id),
    });
    let own = people
        .iter()
        .filter(|person| person.role == "owner" && !person.address.is_empty());
    let own: Vec<&Known> = own.collect();
    let forget = own.iter().filter(|_| own.len() > 1).map(|person| Button {
        label: format!("Forget {} {}", person.channel, person.address),
        action: format!("people:forget:{}:{}", person.channel, person.address),
    });
    let buttons = out.chain(forget);
    (format!("{}\n\n{HOW}", lines.join("\n")), buttons.collect())
}

/// The one guest or member of this name or id; nobody where it could be several.
fn named<'p>(people: &'p [Known], name: &str) -> Option<&'p Known> {
    let name = name.trim();
    let is_meant = |person: &&Known| {
        person.role != "owner"
            && (person.id == name
                || person.name.eq_ignore_ascii_case(name)
                || person.address == name)
    };
    let found = people.iter().find(is_meant)?;
    let mut others = people.iter().filter(is_meant);
    others.all(|other| other.id == found.id).then_some(found)
}

/// A name that somebody gave themselves: nothing in it is markup, a line's end, or invisible.
fn shown(name: &str) -> String {
    let plain = |c: &char| c.is_alphanumeric() || " @.'-()".contains(*c);
    let name: String = name.chars().filter(plain).take(NAME).collect();
    let name = name.trim().to_owned();
    if name.is_empty() {
        "somebody".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_however_they_are_written_and_nothing_else_is_one() {
        let fresh = code().unwrap();
        assert_eq!(as_code(&fresh), Some(fresh.clone()));
        let written = format!(" {}-{} ", fresh[..4].to_lowercase(), &fresh[4..]);
        assert_eq!(as_code(&written), Some(fresh));
        for text in [
            "",
            "K7QX2MP",
            "K7QX2MPAA",
            "K7QX2MP0",
            "hello there",
            "/start K7QX2MPA",
        ] {
            assert_eq!(as_code(text), None, "{text}");
        }
    }

    #[test]
    fn people_are_listed_once_with_all_their_addresses_and_only_others_can_be_put_out() {
        let known = |id: &str, role: &str, name: &str, channel: &str, address: &str| Known {
            id: id.into(),
            role: role.into(),
            name: name.into(),
            channel: channel.into(),
            address: address.into(),
        };
        let people = [
            known("a1", "owner", "", "telegram", "1"),
            known("a1", "owner", "", "console", ""),
            known("b2", "guest", "Eve *bold*\n# x", "telegram", "2"),
        ];
        let (text, buttons) = listed(&people);
        assert_eq!(
            text.split("\n\n").next(),
            Some("- somebody, owner: telegram 1, console\n- Eve bold x, guest: telegram 2")
        );
        assert_eq!(buttons.len(), 1);
        assert_eq!(buttons[0].action, "people:out:b2:");
        assert_eq!(
            named(&people, "2").map(|found| found.id.as_str()),
            Some("b2")
        );
        assert_eq!(named(&people, "1"), None);
    }
}
