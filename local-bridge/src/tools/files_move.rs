//! `files.move`: a file or folder under another name or in another folder.

use crate::places::{self, Above, NoPlace, Place, Root};
use crate::tools::Hands;
use crate::tools::files_write::before;
use crate::tools::target::{Target, identity, look_at, rename_into, sync};
use crate::undo::{Deed, Identity, Spot};
use cap_std::fs::{Dir, MetadataExt};
use protocol::tools::FilesMove;
use std::io;
use std::path::{Path, PathBuf};

/// The most names that are looked at in a folder before it is moved; a folder with more is a program's own.
const MAX_TREE: usize = 10_000;

/// Moves a file or folder.
pub fn run(hands: &Hands<'_>, wanted: &FilesMove) -> Result<String, NoPlace> {
    let from = places::find(&hands.policy.roots, &wanted.from)?;
    let to = places::find(&hands.policy.roots, &wanted.to)?;
    let mut changes = hands.begin();
    let source = from.above()?;
    let what = there(&from, &source)?;
    let way = to.above_new()?;
    if what.folder {
        movable(&from, &source, Some((to.root, &way.real)))?;
    }
    let told = format!("{} to {}", from.shown(), to.shown());
    if renamed(&from, &source, &to, &way, &what)? {
        to.changeable()?;
        let deeds = vec![moved(&from, &to, what)];
        let plan = hands.plan(format!("files.move {told}"), deeds);
        changes.make(&plan, || {
            let renamed = source.dir.rename(source.name, &way.dir, way.name);
            renamed.map_err(|error| from.refusal(error))
        })?;
        return Ok(format!("moved {told}"));
    }
    let target = destination(&to, &from, wanted.replace)?;
    if what.folder && target.now.is_some() {
        return Err(to.unfit("is a file; a folder cannot take its place"));
    }
    let mut deeds: Vec<Deed> = to.unmade(&target.above).iter().map(made).collect();
    if let Some(image) = before(&target) {
        deeds.push(Deed::Put {
            at: Spot::of(&to),
            before: Some(image),
            after: None,
        });
    }
    deeds.push(moved(&from, &to, what));
    let plan = hands.plan(format!("files.move {told}"), deeds);
    changes.make(&plan, || relocate(&from, &source, target))?;
    Ok(format!("moved {told}"))
}

/// The file that is to be made or, if that is wanted, to be replaced.
pub fn destination<'a>(
    to: &'a Place<'a>,
    from: &Place<'_>,
    replace: bool,
) -> Result<Target<'a>, NoPlace> {
    let shown = to.shown();
    let target = match Target::open(to) {
        Err(NoPlace::Unfit {
            what: "is a folder",
            ..
        }) => {
            let name = from.path.file_name().unwrap_or_default().to_string_lossy();
            return Err(NoPlace::Refused(format!(
                "'{shown}' is a folder; say the whole new path, such as '{}'",
                to.below(name.as_ref()).shown()
            )));
        }
        target => target?,
    };
    target.replaceable()?;
    if target.now.is_some() && !replace {
        return Err(NoPlace::Refused(format!(
            "'{shown}' is there already; set replace to put this in its place"
        )));
    }
    Ok(target)
}

/// What lies at the end of a way, which must be something.
pub fn there(place: &Place<'_>, above: &Above<'_>) -> Result<Identity, NoPlace> {
    identity(place, above)?.ok_or_else(|| place.refusal(io::ErrorKind::NotFound.into()))
}

/// Gives what lies at a place the name of a target, whose old contents are kept by now.
pub fn relocate(from: &Place<'_>, source: &Above<'_>, target: Target<'_>) -> Result<(), NoPlace> {
    target.check()?;
    let (place, over) = (target.place, target.now.is_some());
    let (dir, name) = place.make(target.above)?;
    let renamed = if over {
        source.dir.rename(source.name, &dir, name)
    } else {
        rename_into(place, (&source.dir, source.name), (&dir, name))
    };
    renamed
        .and_then(|()| sync(&dir))
        .and_then(|()| sync(&source.dir))
        .map_err(|error| apart(error, from, place))
}

/// Refuses a folder that holds what is never touched, where it lies or where it is going: moved whole, it would be touched.
pub fn movable(
    from: &Place<'_>,
    source: &Above<'_>,
    to: Option<(&Root, &Path)>,
) -> Result<(), NoPlace> {
    let dir = source.dir.open_dir(source.name);
    let dir = dir.map_err(|error| from.refusal(error))?;
    if let Some((root, real)) = to
        && root
            .path
            .join(real)
            .starts_with(from.root.path.join(&source.real))
    {
        return Err(NoPlace::Refused(format!(
            "'{}' cannot be moved into itself",
            from.shown()
        )));
    }
    searched(dir, from, &|below| {
        from.root.forbids(&source.real.join(below))
            || to.is_some_and(|(root, real)| root.keeps(&real.join(below)))
    })
}

/// Looks through the folder of a place and refuses it where a path in it is kept.
pub fn searched(dir: Dir, place: &Place<'_>, kept: &dyn Fn(&Path) -> bool) -> Result<(), NoPlace> {
    let mut looked = 0;
    let mut open: Vec<(PathBuf, Dir)> = vec![(PathBuf::new(), dir)];
    while let Some((way, dir)) = open.pop() {
        for entry in dir.entries().map_err(|error| place.refusal(error))? {
            let entry = entry.map_err(|error| place.refusal(error))?;
            let below = way.join(entry.file_name());
            looked += 1;
            if kept(&below) {
                return Err(NoPlace::Forbidden(place.below(&below).shown()));
            }
            if looked > MAX_TREE {
                return Err(place.unfit("holds more than 10,000 files; it is not moved as a whole"));
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let inner = entry.open_dir().map_err(|error| place.refusal(error))?;
                open.push((below, inner));
            }
        }
    }
    Ok(())
}

/// Whether both names are of the same thing, as where a file system ignores case.
fn renamed(
    from: &Place<'_>,
    source: &Above<'_>,
    to: &Place<'_>,
    way: &Above<'_>,
    what: &Identity,
) -> Result<bool, NoPlace> {
    if from.root.path.join(&source.real) == to.root.path.join(&way.real) {
        return Err(from.unfit("is there already: both paths are the same"));
    }
    if !way.missing.is_empty() {
        return Ok(false);
    }
    let Some(there) = look_at(to, &way.dir, way.name)? else {
        return Ok(false);
    };
    let same = (there.dev(), there.ino()) == (what.dev, what.ino);
    if same && there.is_file() && there.nlink() > 1 {
        return Err(NoPlace::Linked(to.shown()));
    }
    Ok(same)
}

fn moved(from: &Place<'_>, to: &Place<'_>, what: Identity) -> Deed {
    Deed::Moved {
        from: Spot::of(from),
        to: Spot::of(to),
        what,
    }
}

fn made(place: &Place<'_>) -> Deed {
    Deed::Made(Spot::of(place))
}

fn apart(error: io::Error, from: &Place<'_>, to: &Place<'_>) -> NoPlace {
    if error.kind() == io::ErrorKind::CrossesDevices {
        return NoPlace::Refused(format!(
            "'{}' lies on another disk than '{}'; copy it with files.copy, then files.trash the first",
            from.shown(),
            to.shown()
        ));
    }
    to.refusal(error)
}

#[cfg(test)]
mod tests {
    use crate::tools::world::{World, denied, done, failed};
    use serde_json::{Value, json};
    use std::fs;
    use std::os::unix::fs::symlink;

    fn to(from: &str, to: &str) -> Value {
        json!({"from": from, "to": to})
    }

    #[test]
    fn a_file_and_a_folder_are_moved_and_come_back() {
        let mut world = World::new();
        world.put("a", "a");
        world.put("f/x/y", "y");
        let before = world.tree();
        assert_eq!(
            world.run("files.move", to("a", "new/b")),
            done("moved docs/a to docs/new/b")
        );
        assert_eq!(
            world.run("files.move", to("f", "new/g")),
            done("moved docs/f to docs/new/g")
        );
        let after = world.tree();
        assert_eq!(
            after,
            [
                ("new/", ""),
                ("new/b", "a"),
                ("new/g/", ""),
                ("new/g/x/", ""),
                ("new/g/x/y", "y")
            ]
        );
        world.does("files.undo", json!({}));
        world.does("files.undo", json!({}));
        assert_eq!(world.tree(), before);
        world.does("files.undo", json!({"call": "c4"}));
        world.does("files.undo", json!({"call": "c3"}));
        assert_eq!(world.tree(), after);
    }

    #[test]
    fn what_is_there_is_replaced_only_when_that_is_said_and_comes_back() {
        let mut world = World::new();
        world.put("a", "a");
        world.put("b", "b");
        assert_eq!(
            world.run("files.move", to("a", "b")),
            failed("'docs/b' is there already; set replace to put this in its place")
        );
        let over = json!({"from": "a", "to": "b", "replace": true});
        world.does("files.move", over);
        assert_eq!(world.tree(), [("b", "a")]);
        world.does("files.undo", json!({}));
        assert_eq!(world.tree(), [("a", "a"), ("b", "b")]);
        world.does("files.undo", json!({"call": "c3"}));
        assert_eq!(world.tree(), [("b", "a")]);
    }

    #[test]
    fn what_cannot_be_moved_is_said_and_stays() {
        let mut world = World::new();
        world.put("a", "a");
        world.put("f/x", "x");
        symlink("a", world.path("link")).unwrap();
        let before = world.tree();
        for (from, into, why) in [
            ("gone", "b", "'docs/gone': entity not found"),
            (
                "a",
                "a",
                "'docs/a' is there already: both paths are the same",
            ),
            ("f", "f/g", "'docs/f' cannot be moved into itself"),
            ("f", "f", "'docs/f' cannot be moved into itself"),
            (
                "a",
                "f",
                "'docs/f' is a folder; say the whole new path, such as 'docs/f/a'",
            ),
            (
                "link",
                "b",
                "'docs/link' is a link; name the file that it leads to",
            ),
            (
                "a",
                "link",
                "'docs/link' is a link; name the file that it leads to",
            ),
            (
                "docs",
                "b",
                "'docs' is a folder that its owner opened; it stays as it is",
            ),
        ] {
            let outcome = world.run("files.move", to(from, into));
            assert_eq!(outcome, failed(why), "{from} to {into}");
        }
        let over = json!({"from": "f", "to": "a", "replace": true});
        assert_eq!(
            world.run("files.move", over),
            failed("'docs/a' is a file; a folder cannot take its place")
        );
        assert_eq!(world.tree(), before);
    }

    #[test]
    fn a_folder_takes_nothing_forbidden_with_it_and_does_not_become_it() {
        let mut world = World::new();
        world.put("repo/.git/hooks/x", "x");
        world.put("f/deep/.env", "x");
        world.put("g/hooks/pre-commit", "x");
        world.put("h/autostart/x", "x");
        world.put("i/.git/x", "x");
        let before = world.tree();
        for (tool, from, into, name) in [
            ("files.move", "repo", "r", "docs/repo/.git"),
            ("files.move", "f", "k", "docs/f/deep/.env"),
            ("files.trash", "f", "", "docs/f/deep/.env"),
            ("files.trash", "repo", "", "docs/repo/.git/hooks"),
            ("files.move", "g", ".git", "docs/.git"),
            ("files.move", "g", "new/.git", "docs/new/.git"),
            ("files.move", "h", ".config", "docs/h/autostart"),
            ("files.move", "i", "j", "docs/i/.git"),
        ] {
            let arguments = match tool {
                "files.move" => to(from, into),
                _ => json!({"path": from}),
            };
            let why = format!(
                "'{name}' is never read or changed: it may hold keys, passwords or start-up commands"
            );
            assert_eq!(world.run(tool, arguments), denied(&why), "{from} to {into}");
        }
        assert_eq!(world.tree(), before);
        // Without anything forbidden on it the same way is open.
        fs::remove_dir_all(world.path("h/autostart")).unwrap();
        world.put("h/app/x", "x");
        world.does("files.move", to("h", ".config"));
    }

    #[test]
    fn a_large_file_is_moved_and_known_again() {
        let mut world = World::new();
        let file = fs::File::create(world.path("a")).unwrap();
        file.set_len(20_000_001).unwrap();
        world.does("files.move", to("a", "b"));
        world.does("files.undo", json!({}));
        assert!(world.path("a").exists());
        world.does("files.move", to("a", "b"));
        file.set_len(20_000_002).unwrap();
        assert_eq!(
            world.undo("c3"),
            failed("'docs/b' was changed since by someone else; nothing was undone")
        );
    }

    #[test]
    fn a_move_after_an_edit_that_was_undone_comes_back_all_the_same() {
        let mut world = World::new();
        world.put("a", "a");
        world.does("files.move", to("a", "b"));
        world.does("files.append", json!({"path": "b", "text": "!"}));
        world.does("files.undo", json!({}));
        world.does("files.undo", json!({}));
        assert_eq!(world.tree(), [("a", "a")]);
    }
}
