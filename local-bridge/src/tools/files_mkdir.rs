//! `files.mkdir`: a folder, and those above it.

use crate::places::{self, NoPlace, Place};
use crate::tools::Hands;
use crate::tools::target::{look_at, sync};
use crate::undo::{Deed, Spot};
use protocol::tools::FilesMkdir;
use std::path::Path;

/// Makes a folder.
pub fn run(hands: &Hands<'_>, wanted: &FilesMkdir) -> Result<String, NoPlace> {
    let place = places::find(&hands.policy.roots, &wanted.path)?;
    let mut changes = hands.begin();
    let above = place.above_new()?;
    if above.missing.is_empty()
        && let Some(there) = look_at(&place, &above.dir, above.name)?
    {
        return if there.is_dir() {
            Ok(format!("{} is there already", place.shown()))
        } else {
            Err(place.unfit("is there already, and is a file"))
        };
    }
    let mut made = place.unmade(&above);
    made.push(place.clone());
    let deeds = made.iter().map(|place| Deed::Made(Spot::of(place)));
    let plan = hands.plan(format!("files.mkdir {}", place.shown()), deeds.collect());
    changes.make(&plan, || make(&place))?;
    Ok(format!("made {}", place.shown()))
}

/// Makes the folder of a place and those above it, as far as they are not there.
pub fn make(place: &Place<'_>) -> Result<(), NoPlace> {
    let (dir, name) = place.make(place.above_new()?)?;
    dir.create_dir(Path::new(name))
        .and_then(|()| sync(&dir))
        .map_err(|error| place.refusal(error))
}

#[cfg(test)]
mod tests {
    use crate::tools::world::{World, done, failed};
    use serde_json::json;

    #[test]
    fn a_folder_is_made_with_those_above_it_and_taken_away_again_while_it_is_empty() {
        let mut world = World::new();
        let arguments = json!({"path": "docs/a/b"});
        let mkdir = |world: &mut World| world.run("files.mkdir", arguments.clone());
        assert_eq!(mkdir(&mut world), done("made docs/a/b"));
        assert_eq!(world.tree(), [("a/", ""), ("a/b/", "")]);
        assert_eq!(mkdir(&mut world), done("docs/a/b is there already"));
        assert_eq!(
            world.undo("c1"),
            done("done: undo of files.mkdir docs/a/b; files.undo with call c3 reverts this")
        );
        assert!(world.tree().is_empty());
        world.does("files.undo", json!({"call": "c3"}));
        assert_eq!(world.tree(), [("a/", ""), ("a/b/", "")]);
        world.put("a/b/x", "x");
        assert_eq!(
            world.undo("c1"),
            failed("'docs/a/b' is no longer empty; nothing was undone")
        );
        assert_eq!(world.tree(), [("a/", ""), ("a/b/", ""), ("a/b/x", "x")]);
    }

    #[test]
    fn a_file_in_the_way_is_said() {
        let mut world = World::new();
        world.put("a", "x");
        let outcome = world.run("files.mkdir", json!({"path": "a"}));
        assert_eq!(outcome, failed("'docs/a' is there already, and is a file"));
    }
}
