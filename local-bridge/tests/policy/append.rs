//! A folder that may only be added to: what comes there stays there, and what is there stays as it is.

use crate::world::{World, short, words};
use local_bridge::policy::{Policy, explain};
use local_bridge::sandbox::Fence;
use local_bridge::tools::files_trash::{Layout, Trash};
use local_bridge::tools::{Hands, change, offered};
use local_bridge::undo::Undo;
use protocol::call::{CallId, Outcome};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A machine with the folder `inbox`, which may only be added to, and the folder `desk`, which may be changed.
struct Machine {
    world: World,
    policy: Policy,
    undo: Undo,
    calls: u32,
}

impl Machine {
    fn new() -> Self {
        let world = World::new();
        for (path, text) in [
            ("inbox/a", "a\n"),
            ("inbox/f/b", "b"),
            ("desk/c", "c"),
            ("desk/g/d", "d"),
        ] {
            let path = world.folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let policy = opened(&world, "append");
        Self {
            world,
            policy,
            undo: Undo::in_memory().unwrap(),
            calls: 0,
        }
    }

    /// What its owner opens the folder `inbox` for from now on.
    fn open(&mut self, access: &str) {
        self.policy = opened(&self.world, access);
    }

    fn run(&mut self, tool: &str, arguments: Value) -> Outcome {
        self.calls += 1;
        let hands = Hands {
            policy: &self.policy,
            undo: &self.undo,
            trash: &Trash::at(self.world.folder.path().join("trash"), Layout::Freedesktop),
            call: &CallId(format!("c{}", self.calls)),
            now: i64::from(self.calls),
        };
        change(&hands, tool, arguments)
    }

    #[track_caller]
    fn does(&mut self, tool: &str, arguments: Value) -> String {
        let call = format!("c{}", self.calls + 1);
        let outcome = self.run(tool, arguments);
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
        call
    }

    #[track_caller]
    fn refuses(&mut self, tool: &str, arguments: &Value) {
        let before = self.tree();
        let outcome = self.run(tool, arguments.clone());
        let Outcome::Denied { reason } = outcome else {
            panic!("{tool} {arguments}: {outcome:?}");
        };
        assert!(
            reason.contains("lies in a folder that may only be added to"),
            "{tool} {arguments}: {reason}"
        );
        assert_eq!(self.tree(), before, "{tool} {arguments}");
    }

    fn tree(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for root in ["desk", "inbox"] {
            gather(self.world.folder.path(), Path::new(root), &mut found);
        }
        found.sort();
        found
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.world.folder.path().join(path)).ok()
    }
}

fn opened(world: &World, access: &str) -> Policy {
    let root = |name: &str, access: &str| {
        let path = world.path(name);
        format!("[[root]]\nname = \"{name}\"\npath = \"{path}\"\naccess = \"{access}\"\n")
    };
    world.policy(&(root("inbox", access) + &root("desk", "write")))
}

fn gather(base: &Path, folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(base.join(folder)).unwrap() {
        let path = folder.join(entry.unwrap().file_name());
        if base.join(&path).is_dir() {
            found.push((format!("{}/", path.display()), String::new()));
            gather(base, &path, found);
        } else {
            let text = fs::read_to_string(base.join(&path)).unwrap();
            found.push((path.display().to_string(), text));
        }
    }
}

fn tree(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    expected.iter().map(owned).collect()
}

#[test]
fn what_is_new_is_added_and_taken_back_as_long_as_it_is_as_it_was_left() {
    let mut machine = Machine::new();
    let before = machine.tree();
    let write = json!({"path": "inbox/new/n", "text": "n"});
    let added = [
        machine.does("files.write", write),
        machine.does("files.append", json!({"path": "inbox/a", "text": "more"})),
        machine.does("files.append", json!({"path": "inbox/e", "text": "e"})),
        machine.does("files.mkdir", json!({"path": "inbox/made"})),
        machine.does("files.copy", json!({"from": "inbox/f", "to": "inbox/h"})),
        machine.does("files.copy", json!({"from": "desk/c", "to": "inbox/c"})),
        machine.does("files.move", json!({"from": "desk/c", "to": "inbox/m"})),
    ];
    let after = machine.tree();
    assert_eq!(
        after,
        tree(&[
            ("desk/g/", ""),
            ("desk/g/d", "d"),
            ("inbox/a", "a\nmore"),
            ("inbox/c", "c"),
            ("inbox/e", "e"),
            ("inbox/f/", ""),
            ("inbox/f/b", "b"),
            ("inbox/h/", ""),
            ("inbox/h/b", "b"),
            ("inbox/m", "c"),
            ("inbox/made/", ""),
            ("inbox/new/", ""),
            ("inbox/new/n", "n"),
        ])
    );
    let mut taken_back = Vec::new();
    for call in added.iter().rev() {
        taken_back.push(machine.does("files.undo", json!({"call": call})));
    }
    assert_eq!(machine.tree(), before);
    for call in taken_back.iter().rev() {
        machine.does("files.undo", json!({"call": call}));
    }
    assert_eq!(machine.tree(), after);
}

#[test]
fn what_is_there_is_not_changed_replaced_moved_or_deleted() {
    let mut machine = Machine::new();
    let over = |from: &str, to: &str| json!({"from": from, "to": to, "replace": true});
    let edits = json!([{"find": "a", "replace": "x"}]);
    for (tool, arguments) in [
        ("files.write", json!({"path": "inbox/a", "text": "x"})),
        ("files.write", json!({"path": "inbox/a", "text": ""})),
        ("files.edit", json!({"path": "inbox/a", "edits": edits})),
        ("files.trash", json!({"path": "inbox/a"})),
        ("files.trash", json!({"path": "inbox/f"})),
        ("files.move", json!({"from": "inbox/a", "to": "inbox/z"})),
        ("files.move", json!({"from": "inbox/a", "to": "desk/z"})),
        ("files.move", json!({"from": "inbox/f", "to": "desk/z"})),
        ("files.move", over("desk/c", "inbox/a")),
        ("files.move", json!({"from": "desk/c", "to": "inbox/a"})),
        ("files.copy", over("desk/c", "inbox/a")),
        ("files.copy", over("inbox/f/b", "inbox/a")),
    ] {
        machine.refuses(tool, &arguments);
    }
    // In the folder beside it, each of these is done.
    for (tool, arguments) in [
        ("files.write", json!({"path": "desk/c", "text": "x"})),
        (
            "files.edit",
            json!({"path": "desk/c", "edits": [{"find": "x", "replace": "y"}]}),
        ),
        ("files.copy", over("inbox/a", "desk/c")),
        ("files.move", over("desk/c", "desk/g/d")),
        ("files.trash", json!({"path": "desk/g"})),
    ] {
        machine.does(tool, arguments);
    }
}

#[test]
fn what_others_have_changed_since_is_not_taken_back() {
    let mut machine = Machine::new();
    let append = json!({"path": "inbox/a", "text": "more"});
    let appended = machine.does("files.append", append);
    let made = machine.does("files.write", json!({"path": "inbox/n", "text": "n"}));
    let moved = machine.does("files.move", json!({"from": "desk/g", "to": "inbox/g"}));
    for (path, text) in [("a", "a\nmore, theirs"), ("n", "theirs"), ("g/x", "theirs")] {
        fs::write(machine.world.folder.path().join("inbox").join(path), text).unwrap();
    }
    let before = machine.tree();
    for call in [&appended, &made, &moved] {
        let outcome = machine.run("files.undo", json!({"call": call}));
        assert!(!matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    }
    assert_eq!(machine.tree(), before);
}

#[test]
fn what_was_changed_while_it_could_be_is_not_changed_back_when_it_can_no_longer() {
    let mut machine = Machine::new();
    machine.open("write");
    let edits = json!([{"find": "a", "replace": "x"}]);
    let edited = machine.does("files.edit", json!({"path": "inbox/a", "edits": edits}));
    let moved = machine.does(
        "files.move",
        json!({"from": "inbox/f/b", "to": "inbox/f/z"}),
    );
    // What stands again after an undoing is not the call's own any more.
    let made = machine.does("files.write", json!({"path": "inbox/n", "text": "n"}));
    let over = json!({"from": "desk/c", "to": "inbox/n", "replace": true});
    let replaced = machine.does("files.move", over);
    let back = machine.does("files.undo", json!({"call": replaced}));
    machine.open("append");
    for call in [&edited, &moved, &back] {
        machine.refuses("files.undo", &json!({"call": call}));
    }
    machine.does("files.undo", json!({"call": made}));
    assert_eq!(machine.text("inbox/n"), None);
    // What comes out of the trash is added; it does not go there again.
    machine.open("write");
    let trashed = machine.does("files.trash", json!({"path": "inbox/a"}));
    machine.open("append");
    let restored = machine.does("files.undo", json!({"call": trashed}));
    assert_eq!(machine.text("inbox/a").as_deref(), Some("x\n"));
    machine.refuses("files.undo", &json!({"call": restored}));
}

#[test]
fn the_tools_that_only_add_are_offered_and_the_words_say_so() {
    let world = World::new();
    let docs = World::root(&world.path("docs")).replace("\"write\"", "\"append\"");
    let policy = world.policy(&docs);
    assert_eq!(
        offered(&policy, &Fence::Missing(String::new())),
        [
            "files.list",
            "files.stat",
            "files.read",
            "files.search",
            "files.send",
            "files.write",
            "files.append",
            "files.copy",
            "files.mkdir",
            "files.undo",
            "files.save",
        ]
    );
    for (tool, verdict) in [
        ("files.read", "allow 2"),
        ("files.append", "allow 2"),
        ("files.edit", "deny"),
        ("files.move", "deny"),
        ("files.trash", "deny"),
    ] {
        assert_eq!(short(&policy.tool(tool)), verdict, "{tool}");
    }
    assert_eq!(
        policy.summary(),
        "folders: docs (read and add); commands: none"
    );
    assert!(policy.details().starts_with("folder  docs = "));
    assert!(policy.details().contains(" (read and add)\n"));
    assert_eq!(
        explain(&policy, &words(&["files.trash"])),
        "denied: files.trash\nwhy:    no folder is open in which files.trash may work\n\
         change: a [[root]] with name, path and access (\"write\" for what changes files, \"append\" for what only adds)"
    );
    let written = Policy::parse(&policy.written(), world.home.path()).unwrap();
    assert_eq!(written.shown_roots(), policy.shown_roots());
}
