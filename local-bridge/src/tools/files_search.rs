//! `files.search`: files whose name or text holds the words. Walks through handles, so it never leaves a root and follows no link.

use crate::places::{self, NoPlace, Place, visible};
use crate::policy::Policy;
use crate::tools::figures::size;
use cap_std::fs::{Dir, File};
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::sinks::Lossy;
use grep_searcher::{BinaryDetection, SearcherBuilder};
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use protocol::tools::{FilesSearch, SearchWithin};
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// More matches than this are a question that was too wide.
const MAX_MATCHES: usize = 50;

/// Text files that people write are smaller.
const MAX_FILE: u64 = 2 * 1000 * 1000;

/// A person is waiting.
const MAX_TIME: Duration = Duration::from_secs(10);

/// A line that is longer is no prose; its beginning tells enough.
const MAX_LINE: usize = 200;

/// The longest list of patterns that is read from a folder.
const MAX_IGNORE_FILE: u64 = 64 * 1024;

/// What is said where there are more matches than are shown.
const MORE: &str = "[there are more; use more words]";

/// How deep folders are followed down.
const MAX_DEPTH: usize = 32;

/// Searches below a folder, or everywhere.
pub fn run(
    policy: &Policy,
    wanted: &FilesSearch,
    cancelled: &dyn Fn() -> bool,
) -> Result<String, NoPlace> {
    let words = words(&wanted.query);
    if words.is_empty() {
        return Ok("nothing to look for: the query holds no word".to_owned());
    }
    let places = if matches!(wanted.path.as_str(), "" | "." | "/") {
        policy
            .roots
            .iter()
            .map(|root| places::find(&policy.roots, &root.name))
            .collect::<Result<Vec<_>, _>>()?
    } else {
        vec![places::find(&policy.roots, &wanted.path)?]
    };
    let mut search = Search {
        matcher: matcher(&words),
        words,
        within: wanted.within,
        cancelled,
        until: Instant::now() + MAX_TIME,
        names: Vec::new(),
        lines: Vec::new(),
        stopped: None,
    };
    for place in &places {
        let dir = place.open_dir()?;
        search.folder(place, &dir, &[], 0);
    }
    Ok(search.told(&wanted.query))
}

struct Search<'a> {
    words: Vec<String>,
    matcher: Option<RegexMatcher>,
    within: SearchWithin,
    cancelled: &'a dyn Fn() -> bool,
    until: Instant,
    names: Vec<String>,
    lines: Vec<String>,
    stopped: Option<&'static str>,
}

impl Search<'_> {
    fn folder(&mut self, place: &Place<'_>, dir: &Dir, above: &[Rc<Gitignore>], depth: usize) {
        let mut ignored = above.to_vec();
        ignored.extend(ignore_file(place, dir).map(Rc::new));
        for name in sorted(dir) {
            if self.over() {
                return;
            }
            let below = place.below(&name);
            let Ok(metadata) = dir.symlink_metadata(Path::new(&name)) else {
                continue;
            };
            let hidden = name.to_string_lossy().starts_with('.');
            if hidden
                || metadata.is_symlink()
                || below.root.forbids(&below.path)
                || is_ignored(&ignored, &below.path, metadata.is_dir())
            {
                continue;
            }
            self.name(&below, metadata.is_dir(), metadata.len());
            if metadata.is_dir() && depth < MAX_DEPTH {
                // Between the look and the opening a link may have slipped in; the handle keeps it inside, the look at it forbids.
                if let Ok(inner) = dir.open_dir(Path::new(&name))
                    && below.look(&inner).is_ok()
                {
                    self.folder(&below, &inner, &ignored, depth + 1);
                }
            } else if metadata.is_file() && metadata.len() <= MAX_FILE {
                self.contents(&below);
            }
        }
    }

    fn over(&mut self) -> bool {
        if self.stopped.is_none() {
            if (self.cancelled)() {
                self.stopped = Some("[called off]");
            } else if Instant::now() > self.until {
                self.stopped = Some("[stopped after 10 seconds; name a folder to look in]");
            } else if self.full() {
                self.stopped = Some(MORE);
            }
        }
        self.stopped.is_some()
    }

    /// One match beyond the limit shows that there are more.
    fn full(&self) -> bool {
        let (names, lines) = (
            self.names.len() > MAX_MATCHES,
            self.lines.len() > MAX_MATCHES,
        );
        match self.within {
            SearchWithin::Both => names && lines,
            SearchWithin::Names => names,
            SearchWithin::Contents => lines,
        }
    }

    fn name(&mut self, place: &Place<'_>, folder: bool, length: u64) {
        if self.within == SearchWithin::Contents || self.names.len() > MAX_MATCHES {
            return;
        }
        let path = plain(&place.path.to_string_lossy());
        if !self.words.iter().all(|word| path.contains(word.as_str())) {
            return;
        }
        self.names.push(if folder {
            format!("{}/", place.shown())
        } else {
            format!("{}  ({})", place.shown(), size(length))
        });
    }

    fn contents(&mut self, place: &Place<'_>) {
        if self.within == SearchWithin::Names || self.lines.len() > MAX_MATCHES {
            return;
        }
        let (Some(matcher), Ok(file)) = (&self.matcher, place.open_file()) else {
            return;
        };
        let (words, lines, shown) = (&self.words, &mut self.lines, place.shown());
        let sink = Lossy(|number, line| {
            let lower = line.to_lowercase();
            if words.iter().all(|word| lower.contains(word.as_str())) {
                let text: String = line.trim().chars().take(MAX_LINE).collect();
                lines.push(format!("{shown}:{number}: {}", visible(&text)));
            }
            Ok(lines.len() <= MAX_MATCHES)
        });
        let mut searcher = SearcherBuilder::new()
            .binary_detection(BinaryDetection::quit(0))
            .line_number(true)
            .build();
        // A file that cannot be read to its end has simply fewer matches.
        searcher.search_file(matcher, &file.into_std(), sink).ok();
    }

    fn told(mut self, query: &str) -> String {
        let found = self.names.len() + self.lines.len();
        if found == 0 && self.stopped.is_none() {
            return format!("no match for '{}'", visible(query));
        }
        let mut lines = self.names;
        lines.append(&mut self.lines);
        if lines.len() > MAX_MATCHES {
            lines.truncate(MAX_MATCHES);
            self.stopped.get_or_insert(MORE);
        }
        lines.extend(self.stopped.map(str::to_owned));
        lines.join("\n")
    }
}

/// The words of a query in small letters, without the endings of simple plurals.
fn words(query: &str) -> Vec<String> {
    plain(query).split_whitespace().map(stem).collect()
}

fn stem(word: &str) -> String {
    let long = word.chars().count() > 3;
    let stem = word
        .strip_suffix("ies")
        .or_else(|| word.strip_suffix('s').filter(|rest| !rest.ends_with('s')));
    stem.filter(|_| long).unwrap_or(word).to_owned()
}

/// Small letters, with spaces for what separates words in names.
fn plain(text: &str) -> String {
    text.to_lowercase().replace(['-', '_', '.', '/'], " ")
}

/// Finds lines that hold the longest word; the others are looked for in those lines alone.
fn matcher(words: &[String]) -> Option<RegexMatcher> {
    let longest = words.iter().max_by_key(|word| word.len())?;
    RegexMatcherBuilder::new()
        .case_insensitive(true)
        .fixed_strings(true)
        .build(longest)
        .ok()
}

fn sorted(dir: &Dir) -> Vec<OsString> {
    let Ok(entries) = dir.entries() else {
        return Vec::new();
    };
    let mut names: Vec<OsString> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort_unstable();
    names
}

/// The patterns that a folder's own `.gitignore` names: what programs make there, not people.
fn ignore_file(place: &Place<'_>, dir: &Dir) -> Option<Gitignore> {
    let file: File = dir.open(".gitignore").ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(MAX_IGNORE_FILE).read_to_string(&mut text).ok()?;
    let mut builder = GitignoreBuilder::new(Path::new("/").join(&place.path));
    for line in text.lines() {
        builder.add_line(None, line).ok()?;
    }
    builder.build().ok()
}

fn is_ignored(lists: &[Rc<Gitignore>], path: &Path, folder: bool) -> bool {
    let path = Path::new("/").join(path);
    for list in lists.iter().rev() {
        match list.matched(&path, folder) {
            Match::None => {}
            Match::Ignore(_) => return true,
            Match::Whitelist(_) => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::Root;
    use protocol::session::Access;
    use std::fs;
    use tempfile::TempDir;

    fn world(files: &[(&str, &str)]) -> (TempDir, Policy) {
        let folder = tempfile::tempdir().unwrap();
        let docs = folder.path().join("docs");
        fs::create_dir(&docs).unwrap();
        for (name, text) in files {
            let path = docs.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let policy = Policy {
            roots: vec![Root::open("docs", &docs, Access::Read).unwrap()],
            ..Policy::nothing()
        };
        (folder, policy)
    }

    fn search(policy: &Policy, query: &str, within: SearchWithin) -> String {
        let wanted = FilesSearch {
            query: query.into(),
            path: String::new(),
            within,
        };
        run(policy, &wanted, &|| false).unwrap()
    }

    #[test]
    fn a_file_is_found_by_the_words_of_its_name() {
        let (_folder, policy) = world(&[
            ("letters/proof-of-address.pdf", "%PDF"),
            ("budget_2026.csv", "a,b"),
            ("photo.jpg", ""),
        ]);
        let names = |query| search(&policy, query, SearchWithin::Names);
        assert_eq!(
            names("Proof of Address"),
            "docs/letters/proof-of-address.pdf  (4 B)"
        );
        assert_eq!(
            names("letter"),
            "docs/letters/\ndocs/letters/proof-of-address.pdf  (4 B)"
        );
        assert_eq!(names("budgets"), "docs/budget_2026.csv  (3 B)");
        assert_eq!(names("photo.jpg"), "docs/photo.jpg  (0 B)");
        assert_eq!(names("passport"), "no match for 'passport'");
    }

    #[test]
    fn a_line_is_found_by_its_words_and_names_come_first() {
        let (_folder, policy) = world(&[
            ("a.txt", "nothing\nThe rent of MAY was paid\nrent\n"),
            ("rent-may.txt", "empty"),
            ("bin.dat", "rent may\0"),
        ]);
        assert_eq!(
            search(&policy, "may rent", SearchWithin::Both),
            "docs/rent-may.txt  (5 B)\ndocs/a.txt:2: The rent of MAY was paid"
        );
    }

    #[test]
    fn hidden_forbidden_linked_and_ignored_files_are_passed_over() {
        let (folder, policy) = world(&[
            (".hidden/word.txt", "word"),
            (".env", "word"),
            ("word.pem", "word"),
            ("target/word.txt", "word"),
            (".gitignore", "target/\n"),
        ]);
        fs::write(folder.path().join("word"), "word").unwrap();
        let docs = folder.path().join("docs");
        std::os::unix::fs::symlink(folder.path(), docs.join("word-away")).unwrap();
        std::os::unix::fs::symlink("../word", docs.join("word-up")).unwrap();
        assert_eq!(
            search(&policy, "word", SearchWithin::Both),
            "no match for 'word'"
        );
    }

    #[test]
    fn too_many_matches_are_cut_and_said_so() {
        let names: Vec<String> = (0..60).map(|n| format!("word{n:02}")).collect();
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        let (_folder, policy) = world(&files);
        let text = search(&policy, "word", SearchWithin::Names);
        assert_eq!(text.lines().count(), MAX_MATCHES + 1);
        assert!(text.ends_with(MORE));
    }
}
