//! `files.list`: what a folder holds.

use crate::places::{self, NoPlace, Place, visible};
use crate::policy::{Policy, access_word};
use crate::tools::figures::{date, size};
use cap_std::fs::DirEntry;
use protocol::tools::FilesList;

/// More lines than this tell a model nothing.
const MAX_ENTRIES: usize = 500;

/// Lists a folder, or the roots where no path is given and there are several.
pub fn run(policy: &Policy, wanted: &FilesList) -> Result<String, NoPlace> {
    let nowhere = wanted.path.is_empty() || wanted.path == "/" || wanted.path == ".";
    if nowhere && policy.roots.len() != 1 {
        return Ok(roots(policy));
    }
    let path = if nowhere { "" } else { &wanted.path };
    folder(&places::find(&policy.roots, path)?)
}

fn roots(policy: &Policy) -> String {
    if policy.roots.is_empty() {
        return "no folder is open on this machine".to_owned();
    }
    let mut lines = vec!["folders on this machine:".to_owned()];
    for root in &policy.roots {
        lines.push(format!("{}/  ({})", root.name, access_word(root.access)));
    }
    lines.join("\n")
}

fn folder(place: &Place<'_>) -> Result<String, NoPlace> {
    let dir = place.open_dir()?;
    let entries = dir.entries().map_err(|error| place.refusal(error))?;
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in entries {
        let entry = entry.map_err(|error| place.refusal(error))?;
        let below = place.below(entry.file_name());
        if below.root.forbids(&below.path) {
            continue;
        }
        let (is_folder, line) = line(&entry);
        if is_folder {
            folders.push(line);
        } else {
            files.push(line);
        }
    }
    folders.sort_unstable();
    files.sort_unstable();
    let all = folders.len() + files.len();
    let mut lines = vec![format!("{}/", place.shown())];
    if all == 0 {
        lines.push("(empty)".to_owned());
    }
    lines.extend(folders.into_iter().chain(files).take(MAX_ENTRIES));
    if all > MAX_ENTRIES {
        lines.push(format!(
            "[{MAX_ENTRIES} of {all} shown; files.search finds the others]"
        ));
    }
    Ok(lines.join("\n"))
}

/// Whether it is a folder, and its line.
fn line(entry: &DirEntry) -> (bool, String) {
    let name = visible(&entry.file_name().to_string_lossy());
    let Ok(metadata) = entry.metadata() else {
        return (false, name);
    };
    if metadata.is_dir() {
        return (true, format!("{name}/"));
    }
    if metadata.is_symlink() {
        return (false, format!("{name}  (link)"));
    }
    let day = metadata
        .modified()
        .map_or_else(|_| "no date".to_owned(), |time| date(time.into_std()));
    (false, format!("{name}  ({}, {day})", size(metadata.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::Root;
    use protocol::session::Access;
    use std::fs::{self, File};
    use std::path::Path;
    use std::time::{Duration, UNIX_EPOCH};

    fn policy(folder: &Path, names: &[&str]) -> Policy {
        let open = |name: &&str| {
            fs::create_dir_all(folder.join(name)).unwrap();
            Root::open(name, &folder.join(name), Access::Read).unwrap()
        };
        Policy {
            roots: names.iter().map(open).collect(),
            ..Policy::nothing()
        }
    }

    fn list(policy: &Policy, path: &str) -> String {
        let wanted = FilesList { path: path.into() };
        run(policy, &wanted).unwrap()
    }

    #[test]
    fn a_folder_is_listed_folders_first_with_sizes_and_dates() {
        let folder = tempfile::tempdir().unwrap();
        let policy = policy(folder.path(), &["docs"]);
        let docs = folder.path().join("docs");
        assert_eq!(list(&policy, ""), "docs/\n(empty)");
        fs::create_dir(docs.join("zoo")).unwrap();
        fs::create_dir(docs.join(".ssh")).unwrap();
        fs::write(docs.join("b.txt"), vec![b'x'; 12_345]).unwrap();
        fs::write(docs.join("a\nb"), "").unwrap();
        for name in ["b.txt", "a\nb"] {
            let day = UNIX_EPOCH + Duration::from_hours(498_696);
            File::options()
                .write(true)
                .open(docs.join(name))
                .unwrap()
                .set_modified(day)
                .unwrap();
        }
        std::os::unix::fs::symlink("/etc", docs.join("etc")).unwrap();
        assert_eq!(
            list(&policy, "docs"),
            "docs/\nzoo/\na\\nb  (0 B, 2026-11-22)\nb.txt  (12.3 KB, 2026-11-22)\netc  (link)"
        );
    }

    #[test]
    fn without_a_path_several_roots_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let policy = policy(folder.path(), &["docs", "music"]);
        assert_eq!(
            list(&policy, ""),
            "folders on this machine:\ndocs/  (read)\nmusic/  (read)"
        );
    }

    #[test]
    fn a_long_folder_is_cut_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let policy = policy(folder.path(), &["docs"]);
        for number in 0..=MAX_ENTRIES {
            File::create(folder.path().join(format!("docs/{number}"))).unwrap();
        }
        let text = list(&policy, "docs");
        assert_eq!(text.lines().count(), MAX_ENTRIES + 2);
        assert!(text.ends_with("[500 of 501 shown; files.search finds the others]"));
    }
}
