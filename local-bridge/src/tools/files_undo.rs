//! `files.undo`: a change taken back, its last step first. What that takes away is kept in turn, so that undoing an undoing redoes.
//!
//! A step is taken back only where things lie as the change left them; where they lie as before it, as after a crash, there is nothing to do.
//!
//! Where things may only be added, an undoing takes back what a call added, as long as it is byte for byte what the call left: a file that
//! was made goes, one that was moved in goes back, a text that was added goes from the end of the very file, a folder goes while it is empty. Beyond that
//! it adds, as one does that redoes or that brings something out of the trash. It gives nothing else another content or name.

use crate::places::{NoPlace, Place};
use crate::tools::Hands;
use crate::tools::files_mkdir;
use crate::tools::files_move::{destination, movable, relocate};
use crate::tools::files_trash::Slot;
use crate::tools::files_write::before;
use crate::tools::target::{Target, identity, look_at, raced, sync};
use crate::undo::{Change, Changes, Deed, Identity, Image, Plan, Spot, State};
use protocol::tools::FilesUndo;
use std::collections::HashSet;
use std::io;
use std::path::Path;

/// How many changes are named where none of that call is known.
const NAMED: u32 = 5;

/// How the name of a change begins that took another one back.
const UNDOING: &str = "undo of ";

/// What is done to take one deed back.
enum Step<'a> {
    /// Makes a folder.
    Make(Place<'a>),
    /// Takes a folder away, if it is empty.
    Remove(Place<'a>),
    /// Gives a file that holds what has this SHA-256, or that is not there, the contents that it had, or takes it away.
    Write(Place<'a>, Option<String>, Option<&'a Image>),
    /// Gives something its old name.
    Rename(Place<'a>, Place<'a>),
    /// Takes something out of the trash.
    Restore(Place<'a>, Slot),
    /// Puts something back into the trash.
    Trash(Place<'a>, Slot),
}

/// How things lie, as far as the steps already planned leave them.
struct View<'a, 'c> {
    hands: &'a Hands<'a>,
    changes: &'c Changes<'c>,
    change: &'a Change,
    gone: HashSet<&'a Spot>,
}

/// Takes a change back.
pub fn run(hands: &Hands<'_>, wanted: &FilesUndo) -> Result<String, NoPlace> {
    let mut changes = hands.begin();
    let change = wanted_change(&changes, wanted)?;
    let (deeds, steps) = planned(hands, &changes, &change)?;
    if steps.is_empty() {
        changes.turn(&change)?;
        let what = &change.what;
        return Ok(format!("nothing to undo: all is as it was before {what}"));
    }
    let what = opposite(&change.what);
    let plan = Plan {
        undoes: Some(change.seq),
        ..hands.plan(what.clone(), deeds)
    };
    let lone = change.deeds.len() == 1;
    changes.make(&plan, || {
        steps.into_iter().try_for_each(|step| step.take(lone))
    })?;
    changes.turn(&change)?;
    let next = changes.last()?.map_or_else(String::new, |next| {
        format!(
            "; the change before it is {} (call {})",
            next.what, next.call
        )
    });
    Ok(format!(
        "done: {what}; files.undo with call {} reverts this{next}",
        hands.call
    ))
}

fn wanted_change(changes: &Changes<'_>, wanted: &FilesUndo) -> Result<Change, NoPlace> {
    let Some(call) = &wanted.call else {
        let last = changes.last()?;
        return last.ok_or_else(|| NoPlace::Refused("there is no change to undo".to_owned()));
    };
    let Some(change) = changes.find(call)? else {
        let recent = changes.recent(NAMED)?;
        let known: Vec<String> = recent
            .iter()
            .map(|(call, what)| format!("{what} (call {call})"))
            .collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        return Err(NoPlace::Refused(format!(
            "no change by call {call} is kept; the last ones: {known}"
        )));
    };
    match change.state {
        State::Made | State::Failed => Ok(change),
        State::Undone => Err(NoPlace::Refused(format!(
            "{} (call {call}) is undone already",
            change.what
        ))),
    }
}

/// What an undoing is called: that of an undoing is a redoing.
fn opposite(what: &str) -> String {
    if let Some(change) = what.strip_prefix(UNDOING) {
        return format!("redo of {change}");
    }
    let change = what.strip_prefix("redo of ").unwrap_or(what);
    format!("{UNDOING}{change}")
}

/// The deeds that take a change back, and how each is done. Nothing is touched yet, so that a refusal leaves all as it is.
fn planned<'a>(
    hands: &'a Hands<'a>,
    changes: &Changes<'_>,
    change: &'a Change,
) -> Result<(Vec<Deed>, Vec<Step<'a>>), NoPlace> {
    let mut view = View {
        hands,
        changes,
        change,
        gone: HashSet::new(),
    };
    let (mut deeds, mut steps) = (Vec::new(), Vec::new());
    for deed in change.deeds.iter().rev() {
        if let Some((deed, step)) = view.back(deed)? {
            deeds.push(deed);
            steps.push(step);
        }
    }
    Ok((deeds, steps))
}

impl<'a> View<'a, '_> {
    /// The opposite of a deed; nothing where it is not in effect.
    fn back(&mut self, deed: &'a Deed) -> Result<Option<(Deed, Step<'a>)>, NoPlace> {
        match deed {
            Deed::Made(at) => self.unmade(at),
            Deed::Removed(at) => {
                let place = self.place(at)?;
                let absent = lies(&place)?.is_none();
                Ok(absent.then(|| (Deed::Made(at.clone()), Step::Make(place))))
            }
            Deed::Put { at, before, after } => self.put(at, before.as_ref(), after.as_deref()),
            Deed::Moved { from, to, what } => self.moved(from, to, what),
            Deed::Trashed { at, name, what } => self.trashed(at, name, what),
            Deed::Restored { at, what } => self.restored(at, what),
        }
    }

    fn unmade(&self, at: &Spot) -> Result<Option<(Deed, Step<'a>)>, NoPlace> {
        let place = self.place(at)?;
        if !lies(&place)?.is_some_and(|what| what.folder) {
            return Ok(None);
        }
        self.takes(&place)?;
        let own = self.change.deeds.last() == Some(&Deed::Made(at.clone()));
        let mut entries = place.open_dir()?.entries();
        if own
            && entries
                .as_mut()
                .is_ok_and(|entries| entries.next().is_some())
        {
            return Err(NoPlace::Refused(format!(
                "'{}' is no longer empty; nothing was undone",
                place.shown()
            )));
        }
        Ok(Some((Deed::Removed(at.clone()), Step::Remove(place))))
    }

    fn put(
        &mut self,
        at: &'a Spot,
        was: Option<&'a Image>,
        after: Option<&str>,
    ) -> Result<Option<(Deed, Step<'a>)>, NoPlace> {
        let place = self.place(at)?;
        let now = if self.gone.contains(at) {
            None
        } else {
            before(&Target::open(&place)?)
        };
        let (is, was_sha) = (
            now.as_ref().map(|now| now.sha256.as_str()),
            was.map(|was| was.sha256.as_str()),
        );
        if is != after {
            return if is == was_sha {
                Ok(None)
            } else {
                Err(self.changed(at, &place)?)
            };
        }
        match (&now, was) {
            (None, _) => {}
            (Some(now), Some(was)) if was.bytes.starts_with(&now.bytes) => {}
            (Some(now), Some(was)) if !now.bytes.starts_with(&was.bytes) => place.changeable()?,
            (Some(_), _) => self.takes(&place)?,
        }
        if was.is_none() {
            self.gone.insert(at);
        }
        let step = Step::Write(place, is.map(str::to_owned), was);
        let deed = Deed::Put {
            at: at.clone(),
            before: now,
            after: was_sha.map(str::to_owned),
        };
        Ok(Some((deed, step)))
    }

    fn moved(
        &mut self,
        from: &'a Spot,
        to: &'a Spot,
        what: &Identity,
    ) -> Result<Option<(Deed, Step<'a>)>, NoPlace> {
        let (old, new) = (self.place(from)?, self.place(to)?);
        let there = if self.gone.contains(to) {
            None
        } else {
            lies(&new)?
        };
        let back = if self.gone.contains(from) {
            None
        } else {
            lies(&old)?
        };
        match (there, back) {
            (Some(there), None) if there.is(what) => {
                if there.folder || old.changeable().is_err() {
                    // Nobody knows what others have put into a folder since; and a name that was changed here was no addition.
                    new.changeable()?;
                }
                self.takes(&new)?;
                if there.folder {
                    // Its old name may forbid what was put into it under the new one.
                    let (source, way) = (new.above()?, old.above_new()?);
                    movable(&new, &source, Some((old.root, &way.real)))?;
                }
                self.gone.insert(to);
                let deed = Deed::Moved {
                    from: to.clone(),
                    to: from.clone(),
                    what: there,
                };
                Ok(Some((deed, Step::Rename(new, old))))
            }
            (_, Some(back)) if back.is(what) => Ok(None),
            (Some(there), Some(_)) if there.is(what) => Err(NoPlace::Refused(format!(
                "something else lies at '{}' since; nothing was undone",
                old.shown()
            ))),
            _ => Err(self.changed(to, &new)?),
        }
    }

    fn trashed(
        &self,
        at: &Spot,
        name: &str,
        what: &Identity,
    ) -> Result<Option<(Deed, Step<'a>)>, NoPlace> {
        let place = self.place(at)?;
        if let Some(there) = lies(&place)? {
            return if there.is(what) {
                Ok(None)
            } else {
                Err(NoPlace::Refused(format!(
                    "something else lies at '{}' since; nothing was undone",
                    place.shown()
                )))
            };
        }
        let above = place.above_new()?;
        match self.hands.trash.find(&above.dir, name) {
            Ok(slot) if slot.holds(what) => {
                if what.folder {
                    slot.restorable(&place, &above)?;
                }
                drop(above);
                let deed = Deed::Restored {
                    at: at.clone(),
                    what: what.clone(),
                };
                Ok(Some((deed, Step::Restore(place, slot))))
            }
            Ok(_) | Err(_) => Err(NoPlace::Refused(format!(
                "the system's trash no longer holds '{}', so it cannot be brought back",
                place.shown()
            ))),
        }
    }

    fn restored(&self, at: &Spot, what: &Identity) -> Result<Option<(Deed, Step<'a>)>, NoPlace> {
        let place = self.place(at)?;
        let Some(there) = lies(&place)? else {
            return Ok(None);
        };
        if !there.is(what) {
            return Err(self.changed(at, &place)?);
        }
        self.takes(&place)?;
        let above = place.above_new()?;
        if there.folder {
            movable(&place, &above, None)?;
        }
        let slot = self.hands.trash.reserve(&place, &above, self.hands.now)?;
        drop(above);
        let deed = Deed::Trashed {
            at: at.clone(),
            name: slot.name.clone(),
            what: there,
        };
        Ok(Some((deed, Step::Trash(place, slot))))
    }

    /// Whether something may go from a place: where things may only be added, what the change added, and not what undoing it put back.
    fn takes(&self, place: &Place<'_>) -> Result<(), NoPlace> {
        if self.change.what.starts_with(UNDOING) {
            return place.changeable();
        }
        Ok(())
    }

    /// A place of a change, by the policy of today.
    fn place(&self, spot: &Spot) -> Result<Place<'a>, NoPlace> {
        let mut roots = self.hands.policy.roots.iter();
        let root = roots.find(|root| root.name == spot.root && root.path == spot.base);
        let path = spot.path.clone();
        let place = root.map(|root| Place { root, path });
        place.ok_or_else(|| {
            NoPlace::Refused(format!(
                "the folder '{}' of that change is not open any more; nothing was undone",
                spot.root
            ))
        })
    }

    /// Why a place that is not as the change left it is not touched.
    fn changed(&self, spot: &Spot, place: &Place<'_>) -> Result<NoPlace, NoPlace> {
        let shown = place.shown();
        Ok(NoPlace::Refused(
            match self.changes.later(self.change.seq, spot)? {
                Some((call, what)) => format!(
                    "'{shown}' was changed again by {what} (call {call}); undo that first. Nothing was undone"
                ),
                None => format!("'{shown}' was changed since by someone else; nothing was undone"),
            },
        ))
    }
}

/// What lies at a place.
fn lies(place: &Place<'_>) -> Result<Option<Identity>, NoPlace> {
    identity(place, &place.above_new()?)
}

impl Step<'_> {
    /// Does it. A folder that is not empty stays, unless it is all that there is to be done.
    fn take(self, lone: bool) -> Result<(), NoPlace> {
        match self {
            Self::Make(place) => files_mkdir::make(&place),
            Self::Remove(place) => remove(&place, lone),
            Self::Write(place, holds, image) => {
                let target = Target::open(&place)?;
                if before(&target).map(|now| now.sha256) != holds {
                    return Err(raced(&place));
                }
                match image {
                    Some(was) => target.put_back(&was.bytes, was.mode),
                    None => target.remove(),
                }
            }
            Self::Rename(from, to) => {
                let source = from.above_new()?;
                relocate(&from, &source, destination(&to, &from, false)?)
            }
            Self::Restore(place, slot) => slot.empty(&place, place.above_new()?),
            Self::Trash(place, slot) => slot.fill(&place, &place.above_new()?),
        }
    }
}

fn remove(place: &Place<'_>, lone: bool) -> Result<(), NoPlace> {
    let above = place.above_new()?;
    if !above.missing.is_empty() || look_at(place, &above.dir, above.name)?.is_none() {
        return Ok(());
    }
    match above.dir.remove_dir(Path::new(above.name)) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && !lone => Ok(()),
        removed => removed
            .and_then(|()| sync(&above.dir))
            .map_err(|error| place.refusal(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::world::{World, done, failed};
    use protocol::call::CallId;
    use protocol::key::sha256_hex;
    use protocol::session::Access;
    use serde_json::json;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn changes_are_undone_one_by_one_from_the_last_and_redone() {
        let mut world = World::new();
        world.write("new/a", "one");
        world.write("new/a", "two");
        assert_eq!(
            world.run("files.undo", json!({})),
            done(
                "done: undo of files.write docs/new/a; files.undo with call c3 reverts this; \
                 the change before it is files.write docs/new/a (call c1)"
            )
        );
        assert_eq!(world.tree(), [("new/", ""), ("new/a", "one")]);
        assert_eq!(
            world.run("files.undo", json!({})),
            done("done: undo of files.write docs/new/a; files.undo with call c4 reverts this")
        );
        assert!(world.tree().is_empty());
        assert_eq!(
            world.run("files.undo", json!({})),
            failed("there is no change to undo")
        );
        assert_eq!(
            world.undo("c4"),
            done(
                "done: redo of files.write docs/new/a; files.undo with call c6 reverts this; \
                 the change before it is files.write docs/new/a (call c1)"
            )
        );
        assert_eq!(world.tree(), [("new/", ""), ("new/a", "one")]);
        world.undo("c3");
        assert_eq!(world.tree(), [("new/", ""), ("new/a", "two")]);
        assert_eq!(
            world.undo("c3"),
            failed("undo of files.write docs/new/a (call c3) is undone already")
        );
    }

    #[test]
    fn what_someone_else_changed_since_is_not_undone() {
        let mut world = World::new();
        world.write("a", "one");
        world.write("a", "two");
        world.put("a", "by hand");
        let theirs = failed("'docs/a' was changed since by someone else; nothing was undone");
        assert_eq!(world.undo("c2"), theirs);
        assert_eq!(world.run("files.undo", json!({})), theirs);
        assert_eq!(
            world.undo("c1"),
            failed(
                "'docs/a' was changed again by files.write docs/a (call c2); undo that first. Nothing was undone"
            )
        );
        assert_eq!(world.tree(), [("a", "by hand")]);
        world.put("a", "two");
        world.undo("c2");
        assert_eq!(world.tree(), [("a", "one")]);
        fs::remove_file(world.path("a")).unwrap();
        let gone = world.undo("c1");
        assert_eq!(
            gone,
            done("nothing to undo: all is as it was before files.write docs/a")
        );
    }

    #[test]
    fn what_another_program_wrote_since_the_plan_is_not_taken_back() {
        for access in [Access::Append, Access::Write] {
            let world = World::with(access);
            let was = Image::of(b"one\n".to_vec(), 0o644);
            for (held, image) in [(b"one\nours\n".to_vec(), Some(&was)), (vec![], None)] {
                world.put("a", "one\nours\ntheirs\n");
                let place = Place {
                    root: &world.policy.roots[0],
                    path: "a".into(),
                };
                let step = Step::Write(place, Some(sha256_hex(&held)), image);
                assert_eq!(
                    step.take(true).unwrap_err().to_string(),
                    "'docs/a' was changed by another program at this moment; read it again and try again"
                );
                assert_eq!(world.tree(), [("a", "one\nours\ntheirs\n")]);
            }
        }
    }

    #[test]
    fn what_was_moved_away_since_is_not_undone() {
        let mut world = World::new();
        world.put("a", "a");
        world.does("files.move", json!({"from": "a", "to": "b"}));
        fs::rename(world.path("b"), world.path("c")).unwrap();
        assert_eq!(
            world.undo("c1"),
            failed("'docs/b' was changed since by someone else; nothing was undone")
        );
        fs::rename(world.path("c"), world.path("b")).unwrap();
        world.put("a", "another");
        assert_eq!(
            world.undo("c1"),
            failed("something else lies at 'docs/a' since; nothing was undone")
        );
        assert_eq!(world.tree(), [("a", "another"), ("b", "a")]);
    }

    #[test]
    fn after_a_crash_before_the_change_there_is_nothing_to_undo() {
        let mut world = World::new();
        world.put("a", "one");
        let at = |path: &str| Spot {
            root: "docs".into(),
            base: world.policy.roots[0].path.clone(),
            path: path.into(),
        };
        let a = world.policy.roots[0].dir.symlink_metadata("a").unwrap();
        let what = Identity {
            folder: false,
            dev: cap_std::fs::MetadataExt::dev(&a),
            ino: cap_std::fs::MetadataExt::ino(&a),
            sha256: Some(sha256_hex(b"one")),
            written: None,
        };
        let put = |before| Deed::Put {
            at: at("a"),
            before,
            after: Some(sha256_hex(b"two")),
        };
        let image = Image::of(b"one".to_vec(), 0o644);
        let (b, name) = (at("b"), "a".to_owned());
        let moved = Deed::Moved {
            from: at("a"),
            to: b.clone(),
            what: what.clone(),
        };
        let trashed = Deed::Trashed {
            at: at("a"),
            name,
            what,
        };
        let plans = [
            vec![Deed::Made(at("new")), put(Some(image))],
            vec![Deed::Made(b)],
            vec![moved],
            vec![trashed],
        ];
        for (number, deeds) in plans.into_iter().enumerate() {
            let plan = Plan {
                call: &CallId(format!("crashed-{number}")),
                what: format!("change {number}"),
                at: world.now,
                undoes: None,
                deeds,
            };
            world.undo.begin().make(&plan, || Ok(())).unwrap();
            assert_eq!(
                world.undo(&format!("crashed-{number}")),
                done(&format!(
                    "nothing to undo: all is as it was before change {number}"
                ))
            );
        }
        assert_eq!(world.tree(), [("a", "one")]);
    }

    #[test]
    fn after_a_crash_in_the_middle_what_has_taken_effect_is_undone() {
        let mut world = World::new();
        world.put("a", "one");
        let spot = |path: &str| Spot {
            root: "docs".into(),
            base: world.policy.roots[0].path.clone(),
            path: path.into(),
        };
        let put = |path: &str, before: Option<&[u8]>| Deed::Put {
            at: spot(path),
            before: before.map(|bytes| Image::of(bytes.to_vec(), 0o644)),
            after: Some(sha256_hex(b"two")),
        };
        let deeds = vec![
            put("a", Some(b"one")),
            Deed::Made(spot("new")),
            put("new/b", None),
        ];
        let plan = Plan {
            call: &CallId("crashed".into()),
            what: "a change".into(),
            at: world.now,
            undoes: None,
            deeds,
        };
        let crash = std::panic::AssertUnwindSafe(|| {
            world.undo.begin().make(&plan, || -> Result<(), NoPlace> {
                world.put("a", "two");
                fs::create_dir(world.path("new")).unwrap();
                panic!("as if the power had gone");
            })
        });
        assert!(std::panic::catch_unwind(crash).is_err());
        assert_eq!(world.tree(), [("a", "two"), ("new/", "")]);
        world.does("files.undo", json!({}));
        assert_eq!(world.tree(), [("a", "one")]);
    }

    #[test]
    fn what_came_to_where_things_are_only_added_goes_to_the_trash_and_what_came_back_there_stays() {
        let mut world = World::with(Access::Append);
        world.put("a", "given");
        let at = Spot {
            root: "docs".into(),
            base: world.policy.roots[0].path.clone(),
            path: "a".into(),
        };
        let what = Identity {
            folder: false,
            dev: 0,
            ino: 0,
            sha256: Some(sha256_hex(b"given")),
            written: None,
        };
        let plan = Plan {
            call: &CallId("given".into()),
            what: "files.save docs/a".into(),
            at: world.now,
            undoes: None,
            deeds: vec![Deed::Restored { at, what }],
        };
        world.undo.begin().make(&plan, || Ok(())).unwrap();
        world.undo("given");
        assert!(world.tree().is_empty());
        assert_eq!(fs::read(world.outside("trash/files/a")).unwrap(), b"given");
        world.does("files.undo", json!({"call": "c1"}));
        assert_eq!(world.tree(), [("a", "given")]);
        // The redoing is the call's own again; what came out of the trash by an undoing is not.
        world.reopen("docs", Access::Write);
        world.does("files.trash", json!({"path": "a"}));
        world.reopen("docs", Access::Append);
        world.does("files.undo", json!({"call": "c3"}));
        assert!(matches!(
            world.undo("c4"),
            protocol::call::Outcome::Denied { .. }
        ));
        assert_eq!(world.tree(), [("a", "given")]);
    }

    #[test]
    fn a_change_that_failed_is_not_the_last_one() {
        let mut world = World::new();
        world.write("a", "one");
        world.put("f/x", "x");
        let plan = Plan {
            call: &CallId("broken".into()),
            what: "files.write docs/b".into(),
            at: world.now,
            undoes: None,
            deeds: vec![],
        };
        let broke = || -> Result<(), NoPlace> { Err(NoPlace::Refused("broke".into())) };
        assert!(world.undo.begin().make(&plan, broke).is_err());
        world.does("files.undo", json!({}));
        assert_eq!(world.tree(), [("f/", ""), ("f/x", "x")]);
        assert_eq!(
            world.undo("broken"),
            done("nothing to undo: all is as it was before files.write docs/b")
        );
    }

    #[test]
    fn a_folder_that_others_use_by_now_stays() {
        let mut world = World::new();
        world.write("new/a", "one");
        world.put("new/b", "mine");
        world.does("files.undo", json!({}));
        assert_eq!(world.tree(), [("new/", ""), ("new/b", "mine")]);
    }

    #[test]
    fn a_file_that_comes_back_has_its_mode() {
        let mut world = World::new();
        world.put("a", "a");
        world.put("b", "b");
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(world.path("b"), mode).unwrap();
        let over = json!({"from": "a", "to": "b", "replace": true});
        world.does("files.move", over);
        world.does("files.undo", json!({}));
        let mode = fs::metadata(world.path("b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_folder_does_not_come_back_with_what_is_never_touched_under_its_old_name() {
        let mut world = World::new();
        world.put("dotfiles/.config/app/x", "x");
        let away = json!({"from": "dotfiles/.config", "to": "plain"});
        world.does("files.move", away);
        world.write("plain/autostart/evil.desktop", "run me");
        let before = world.tree();
        assert_eq!(
            world.undo("c1"),
            protocol::call::Outcome::denied(
                "'docs/plain/autostart' is never read or changed: it may hold keys, passwords or start-up commands"
            )
        );
        assert_eq!(world.tree(), before);
        fs::remove_dir_all(world.path("plain/autostart")).unwrap();
        world.undo("c1");
        assert_eq!(
            world.tree(),
            [
                ("dotfiles/", ""),
                ("dotfiles/.config/", ""),
                ("dotfiles/.config/app/", ""),
                ("dotfiles/.config/app/x", "x")
            ]
        );
    }

    #[test]
    fn the_policy_of_today_judges_an_undoing_too() {
        let mut world = World::new();
        world.write("a", "one");
        world.reopen("docs", Access::Read);
        let refused = world.undo("c1");
        assert_eq!(
            refused,
            protocol::call::Outcome::denied("'docs/a' may only be read")
        );
        world.reopen("papers", Access::Write);
        assert_eq!(
            world.undo("c1"),
            failed("the folder 'docs' of that change is not open any more; nothing was undone")
        );
        assert_eq!(world.tree(), [("a", "one")]);
    }

    #[test]
    fn a_call_that_changed_nothing_is_answered_with_those_that_did() {
        let mut world = World::new();
        assert_eq!(
            world.undo("c9"),
            failed("no change by call c9 is kept; the last ones: none")
        );
        world.write("a", "one");
        assert_eq!(
            world.undo("c9"),
            failed("no change by call c9 is kept; the last ones: files.write docs/a (call c2)")
        );
    }
}
