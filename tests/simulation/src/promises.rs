//! What must hold when everything has come to rest, whatever went wrong before.

use crate::channel::{Kind, Payload, Standing, parts_of};
use crate::tables::{Tables, Told};
use crate::world::{CHAT, PAGE, ROTTEN, World};
use agent::{Conversation, Effect, Entry, Line};
use driver::{HomeCall, RESERVED_TOKENS};
use protocol::call::{CallId, Outcome, ToolName};
use protocol::tools::Place;
use std::collections::{BTreeMap, BTreeSet};

type Kept = Result<(), String>;

/// Checks all promises; the first that is broken counts.
pub(crate) fn check(world: &World) {
    let tables = world.tables.borrow();
    let checked = rest(world, &tables)
        .and_then(|()| deliveries(world, &tables))
        .and_then(|()| {
            if world.rotten.is_some() {
                return Ok(()); // what was lost with the state is told, and cannot be accounted for
            }
            words(&tables)?;
            says(world, &tables)?;
            calls(world, &tables)?;
            money(world, &tables)
        });
    drop(tables);
    if let Err(broken) = checked {
        world.weather.broken(|| broken);
    }
}

/// An hour without trouble is enough for everything that waits for nobody.
pub(crate) fn nothing_is_overdue(world: &World) {
    let tables = world.tables.borrow();
    if let Some(row) = tables.inbox.values().find(|row| !row.settled) {
        let id = &row.delivery.id;
        world
            .weather
            .broken(|| format!("delivery {id} waits for more than an hour, for nobody"));
    }
    for name in [CHAT, PAGE] {
        let Ok(Some(machine)) = machine(&tables, name) else {
            continue;
        };
        for effect in machine.outstanding() {
            let waits_for_someone = matches!(
                &effect,
                Effect::AskPerson { .. }
                    | Effect::Run {
                        place: Place::Bridge,
                        ..
                    }
            );
            if !waits_for_someone {
                world
                    .weather
                    .broken(|| format!("this waits for more than an hour, for nobody: {effect:?}"));
            }
        }
    }
}

/// A conversation in which a question is open that the person cannot answer, because they do not see it.
pub(crate) fn unseen_question(world: &World) -> Option<&'static str> {
    let tables = world.tables.borrow();
    let asks = |name: &&&str| {
        let machine = machine(&tables, name).ok().flatten();
        machine.is_some_and(|machine| {
            let asked = |effect: &Effect| matches!(effect, Effect::AskPerson { .. });
            machine.outstanding().iter().any(asked)
        })
    };
    [CHAT, PAGE].iter().find(asks).copied()
}

fn machine(tables: &Tables, name: &str) -> Result<Option<Conversation>, String> {
    let Some(row) = tables.conversations.get(name) else {
        return Ok(None);
    };
    if row.kept.machine == ROTTEN && !row.open {
        return Ok(None); // nothing was awaited there, so nobody has had to look
    }
    let machine = serde_json::from_str(&row.kept.machine);
    machine
        .map(Some)
        .map_err(|error| format!("a saved state cannot be loaded: {error}"))
}

fn must(holds: bool, promise: impl FnOnce() -> String) -> Kept {
    if holds { Ok(()) } else { Err(promise()) }
}

/// Nothing is under way, anywhere.
fn rest(world: &World, tables: &Tables) -> Kept {
    for name in [CHAT, PAGE] {
        let Some(machine) = machine(tables, name)? else {
            continue;
        };
        must(machine.is_idle(), || {
            format!("a turn never ends in {name}: {:?}", machine.outstanding())
        })?;
        must(machine.outstanding().is_empty(), || {
            format!(
                "something is never said in {name}: {:?}",
                machine.outstanding()
            )
        })?;
        must(machine.queued() == 0, || {
            format!("words wait for ever in {name}")
        })?;
    }
    if let Some(instance) = &world.instance {
        must(instance.driver.is_idle(), || {
            "an act counts as under way that nobody performs".into()
        })?;
    }
    for home in world
        .homes
        .iter()
        .filter(|home| home.is_paired && !home.is_gone)
    {
        must(home.is_at_rest(), || {
            format!(
                "{} keeps a call that never ends or a result that is never acknowledged",
                home.name
            )
        })?;
    }
    let forgotten =
        |row: &&HomeCall| row.ended_at.is_none() && world.rotten != Some(row.conversation.as_str());
    let open = tables.calls.values().find(forgotten);
    must(open.is_none(), || {
        format!("a call for home stays open although nobody awaits it: {open:?}")
    })?;
    must(tables.put_away <= u32::from(world.rotten.is_some()), || {
        "a state that was saved could not be loaded".into()
    })
}

/// What was acknowledged was handled, once.
fn deliveries(world: &World, tables: &Tables) -> Kept {
    for update in &world.channel.updates {
        let Kind::Message(payload) = &update.kind else {
            continue;
        };
        let id = &update.id;
        let Some(row) = tables.inbox.get(id) else {
            return Err(format!("delivery {id} was acknowledged and is lost"));
        };
        must(row.settled, || format!("delivery {id} is never handled"))?;
        let notice = format!("aside-{id}");
        let told = notices(tables, &notice);
        let expected = usize::from(row.error.is_some());
        must(told == expected, || {
            format!("that {id} was set aside was told {told} times instead of {expected}")
        })?;
        if row.error.is_some() {
            must(
                world.poison
                    || world.weather.crash_in + world.weather.error_in > 0
                    || world.wakings > 3,
                || format!("{id} was set aside without need"),
            )?;
            continue;
        }
        match payload {
            Payload::Words(text) if text != "stop" => {
                let same = |told: &&Told| matches!(told, Told::Said { text: said } if said == text);
                let times = tables.told.iter().filter(same).count();
                must(times == 1, || {
                    format!("the agent was told {times} times what {id} says")
                })?;
            }
            Payload::Command => {
                let times = notices(tables, &format!("command-{id}"));
                must(times == 1, || {
                    format!("command {id} was carried out {times} times")
                })?;
            }
            Payload::Words(_) | Payload::Stop | Payload::Decision { .. } => {}
            Payload::Poison => {
                return Err(format!("{id}, which cannot be handled, counts as handled"));
            }
        }
    }
    stops(world, tables)
}

/// Each time the person says stop, by word or by command, the agent hears it once: as words when nothing was under way.
fn stops(world: &World, tables: &Tables) -> Kept {
    let said = |told: &&Told| matches!(told, Told::Said { text } if text == "stop");
    let heard = tables
        .told
        .iter()
        .filter(|told| said(told) || matches!(told, Told::Stopped))
        .count();
    let settled = |update: &&crate::channel::Update| {
        let stops = match &update.kind {
            Kind::Message(Payload::Stop) => true,
            Kind::Message(Payload::Words(text)) => text == "stop",
            Kind::Message(Payload::Poison | Payload::Command | Payload::Decision { .. })
            | Kind::Pressed { .. } => false,
        };
        stops
            && tables
                .inbox
                .get(&update.id)
                .is_some_and(|row| row.error.is_none())
    };
    let stops = world.channel.updates.iter().filter(settled).count();
    must(heard == stops, || {
        format!("of {stops} times stop, the agent heard {heard}")
    })
}

fn notices(tables: &Tables, name: &str) -> usize {
    let same = |told: &&Told| matches!(told, Told::Notice { say } if say == name);
    tables.told.iter().filter(same).count()
}

/// Every message stands in the transcript once, and something that has seen it answers it.
fn words(tables: &Tables) -> Kept {
    let mut lines_of: BTreeMap<&str, u32> = BTreeMap::new();
    for (name, lines) in &tables.lines {
        let (mut number, mut answered) = (0, 0);
        for entry in lines {
            match &entry.line {
                Line::Person { text, .. } => {
                    number += 1;
                    *lines_of.entry(text).or_default() += 1;
                }
                Line::Agent { text, calls } if calls.is_empty() => {
                    answered = answered.max(seen(text));
                }
                Line::Note { text } if !text.contains("is not connected; I'll do") => {
                    answered = number;
                }
                Line::Note { .. } | Line::Agent { .. } | Line::Result { .. } => {}
            }
        }
        must(answered == number, || {
            format!("of {number} messages in {name}, {answered} are answered")
        })?;
    }
    let mut told: BTreeMap<&str, u32> = BTreeMap::new();
    for entry in &tables.told {
        if let Told::Said { text } = entry {
            *told.entry(text).or_default() += 1;
        }
    }
    must(told == lines_of, || {
        format!("the transcript holds {lines_of:?} of what was said: {told:?}")
    })
}

/// How many messages the model had seen when it said this.
fn seen(text: &str) -> u32 {
    let number = text
        .rsplit(' ')
        .next()
        .and_then(|number| number.parse().ok());
    number.unwrap_or(0)
}

/// What is said arrives once, in order and whole, or the doubt about it is told.
fn says(world: &World, tables: &Tables) -> Kept {
    let mut order: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in &tables.told {
        let Told::Say {
            conversation,
            say,
            text,
            ..
        } = entry
        else {
            continue;
        };
        let known = order.insert(say, order.len());
        must(known.is_none(), || {
            format!("two things are said under the name {say}")
        })?;
        if conversation == CHAT {
            arrives(world, tables, say, text.as_deref())?;
        } else {
            let times = tables
                .pages
                .iter()
                .filter(|id| id.rsplit_once('#').is_some_and(|(name, _)| name == say))
                .count();
            let off = text.is_none() && called_off(tables);
            must(times == 1 || times == 0 && (off || gave_up(tables)), || {
                format!("the page shows {say} {times} times")
            })?;
        }
    }
    model_is_heard(tables)?;
    let mut last: BTreeMap<bool, (usize, usize)> = BTreeMap::new();
    let mut shown = BTreeSet::new();
    for (say, part) in &world.channel.shown {
        must(shown.insert((say, part)), || {
            format!("{say}#{part} arrived twice")
        })?;
        let Some(place) = order.get(say.as_str()) else {
            continue; // a question
        };
        let on_page = tables.pages.contains(&format!("{say}#{part}"));
        let before = last.insert(on_page, (*place, *part));
        must(before.is_none_or(|before| before < (*place, *part)), || {
            format!("{say}#{part} overtook what was said before it")
        })?;
    }
    Ok(())
}

fn called_off(tables: &Tables) -> bool {
    tables
        .told
        .iter()
        .any(|told| matches!(told, Told::Stopped | Told::Cancelled))
}

/// Whether something to be sent was given up after it had failed again and again.
fn gave_up(tables: &Tables) -> bool {
    tables
        .failures
        .iter()
        .any(|(act, times)| act.starts_with("send ") && *times >= driver::TRIES)
}

/// What became of one thing in the chat.
fn arrives(world: &World, tables: &Tables, say: &str, text: Option<&str>) -> Kept {
    let (mut whole, mut refused, mut doubt) = (true, false, false);
    for part in 0..text.map_or(1, parts_of) {
        let id = format!("{say}#{part}");
        let post = world.channel.posts.get(&id);
        let left = post.map_or(0, |post| post.attempts);
        let written = tables.sendings.get(&id).map_or(0, |row| row.attempts);
        match post.map(|post| post.standing) {
            Some(Standing::Taken) => {}
            Some(Standing::Refused) => refused = true,
            Some(Standing::Out | Standing::Doubt) => doubt = true,
            // Written down as on its way once more, and cut off before it left.
            Some(Standing::Clear) | None if written > left => doubt = true,
            Some(Standing::Clear) | None => whole = false,
        }
    }
    let patience = tables.sendings.iter().any(|(id, sending)| {
        id.starts_with(&format!("{say}#")) && sending.state == driver::SendingState::Refused
    });
    let told = notices(tables, &format!("doubt-{say}"));
    if text.is_none() {
        return must(
            whole || doubt || refused || patience || called_off(tables) || gave_up(tables),
            || format!("file {say} was lost"),
        );
    }
    must(told == 0 || doubt, || {
        format!("{say} is told to be in doubt and is not")
    })?;
    must(told <= 1, || {
        format!("the doubt about {say} is told {told} times")
    })?;
    if doubt && !refused && !say.starts_with("doubt-") {
        must(told == 1 || gave_up(tables), || {
            format!("{say} is in doubt and nobody is told")
        })?;
    }
    must(whole || refused || patience || gave_up(tables), || {
        format!("{say} was not sent whole")
    })
}

/// What the model said is said, once.
fn model_is_heard(tables: &Tables) -> Kept {
    for entry in tables.lines.values().flatten() {
        let Line::Agent { text, .. } = &entry.line else {
            continue;
        };
        if text.is_empty() {
            continue;
        }
        let holds = |told: &&Told| matches!(told, Told::Say { text: Some(said), .. } if said.contains(text.as_str()));
        let times = tables.told.iter().filter(holds).count();
        must(times == 1, || {
            format!("the model's words {text:?} were said {times} times")
        })?;
    }
    Ok(())
}

/// Each call has one result, and it is true.
fn calls(world: &World, tables: &Tables) -> Kept {
    let mut ended = BTreeSet::new();
    for lines in tables.lines.values() {
        let mut open: Vec<&CallId> = vec![];
        for Entry { line, .. } in lines {
            match line {
                Line::Person { .. } => must(open.is_empty(), || {
                    format!("the person speaks before {open:?} ended")
                })?,
                Line::Agent { calls, .. } => {
                    must(open.is_empty(), || {
                        format!("the agent speaks before {open:?} ended")
                    })?;
                    open = calls.iter().map(|call| &call.id).collect();
                }
                Line::Result {
                    call,
                    tool,
                    outcome,
                    ..
                } => {
                    let next = open.first() == Some(&call);
                    must(next, || {
                        format!("the result of {call} stands in the wrong place")
                    })?;
                    open.remove(0);
                    must(ended.insert(call), || format!("{call} ended twice"))?;
                    truth(world, tables, call, tool, outcome)?;
                }
                Line::Note { .. } => {}
            }
        }
        must(open.is_empty(), || format!("{open:?} have no result"))?;
    }
    let acted = world.truth.effects.keys().chain(tables.ran.keys());
    for call in acted {
        must(ended.contains(call), || {
            format!("{call} took effect and nobody knows of it")
        })?;
    }
    Ok(())
}

/// Whether what is told of a call is what happened.
fn truth(
    world: &World,
    tables: &Tables,
    call: &CallId,
    tool: &ToolName,
    outcome: &Outcome,
) -> Kept {
    let here = tables.ran.get(call).copied().unwrap_or(0);
    let home = world.truth.effects.get(call).copied().unwrap_or(0);
    let looked = world.truth.looked.contains_key(call);
    let ordered = tables
        .calls
        .get(call)
        .is_some_and(|row| row.bridge.is_some());
    let holds = match (outcome, tool.0.as_str()) {
        (Outcome::Done { .. }, "files.write" | "shell.run") => home == 1,
        (Outcome::Done { .. }, "memory.remember" | "memory.forget") => here == 1,
        (Outcome::Done { file: Some(_), .. }, _) => looked && was_sent(world, tables, call),
        (Outcome::Done { .. }, _) => looked,
        (Outcome::Failed { .. } | Outcome::Denied { .. }, _) => {
            here + home == 0 && !was_sent(world, tables, call)
        }
        (Outcome::Cancelled, _) => here == 0 && (home == 0 || ordered),
        (Outcome::Interrupted { .. }, _) => here == 0,
    };
    must(holds, || {
        format!(
            "of {call} ({tool}) is told {outcome:?}; it took effect {} times",
            here + home
        )
    })?;
    let no = world.truth.no.contains(call);
    let claims_no =
        matches!(outcome, Outcome::Denied { reason } if reason.starts_with("the person said no"));
    must(!claims_no || no, || {
        format!("of {call} is told that the person said no")
    })
}

/// Whether the file that this call brought reached the person.
fn was_sent(world: &World, tables: &Tables, call: &CallId) -> bool {
    let mut files = tables.told.iter().filter_map(|told| match told {
        Told::Say {
            say,
            file: Some(brought),
            ..
        } if brought == call => Some(format!("{say}#0")),
        Told::Say { .. }
        | Told::Said { .. }
        | Told::Replied { .. }
        | Told::Notice { .. }
        | Told::Stopped
        | Told::Cancelled => None,
    });
    let taken = |id: String| {
        let post = world.channel.posts.get(&id);
        post.is_some_and(|post| post.taken) || tables.pages.contains(&id)
    };
    files.any(taken)
}

/// What was paid is counted once; what was lost is covered by what was set aside.
fn money(world: &World, tables: &Tables) -> Kept {
    let (mut asks, mut told) = (BTreeSet::new(), (0, 0));
    for entry in &tables.told {
        if let Told::Replied { ask, input, output } = entry
            && asks.insert(ask)
        {
            told = (told.0 + input, told.1 + output);
        }
    }
    let spent = tables.spent;
    must((spent.input, spent.output) == told, || {
        format!(
            "answers cost {told:?} and {:?} is counted",
            (spent.input, spent.output)
        )
    })?;
    for (name, row) in &tables.conversations {
        must(row.kept.reserved == 0, || {
            format!("tokens stay reserved in {name} for nothing")
        })?;
    }
    let paid: u64 = world
        .bills
        .iter()
        .map(|(_, usage)| usage.input + usage.output)
        .sum();
    let counted = spent.input + spent.output + spent.lost;
    must(paid <= counted, || {
        format!(
            "answers cost {paid} in all, those that nobody heard included, and {counted} is counted"
        )
    })?;
    let most = RESERVED_TOKENS * u64::from(2 * world.thinks + 2 * world.wakings);
    must(spent.lost <= most, || {
        format!("{} tokens count as lost", spent.lost)
    })
}
