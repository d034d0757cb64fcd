//! Which of the files that a search found is meant.

use super::history::Done;
use super::intent::fold;

/// What a search comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// This one and no other.
    One(String),
    /// These, equally well.
    Several(Vec<String>),
    /// None that has all the words; these have some.
    None(Vec<String>),
}

/// The paths in a search's result, each once: a match a line, its path first, with a size or a line of text after it.
pub(super) fn paths(done: &Done) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    if done.failed {
        return paths;
    }
    for path in done.text.lines().filter_map(path_of) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

/// Whether a search's result names anything, a file or a folder.
pub(super) fn any(done: &Done) -> bool {
    done.text.lines().any(|line| place_of(line).is_some())
}

fn path_of(line: &str) -> Option<String> {
    let path = place_of(line)?;
    (!path.ends_with('/')).then_some(path)
}

/// The file or folder that a line names.
fn place_of(line: &str) -> Option<String> {
    let line = line.trim();
    let line = ["- ", "* ", "• "]
        .iter()
        .find_map(|bullet| line.strip_prefix(bullet))
        .unwrap_or(line);
    let path = without_size(without_text(line));
    // Paths begin with a root's name, so each holds a slash; sentences such as `no match for 'a/b'` seldom look alike.
    let marked = path.len() < line.len() || path.ends_with('/');
    let path = path.trim_matches('`').trim();
    let root = path.split('/').next()?;
    let sentence = path.starts_with(['[', '(', '<', '…']) || path.ends_with([':', '.']);
    let plain = marked || !root.contains(char::is_whitespace);
    (path.contains('/') && !root.is_empty() && plain && !sentence).then(|| path.to_owned())
}

/// `path:12: text` to `path`.
fn without_text(line: &str) -> &str {
    line.match_indices(':')
        .find(|(at, _)| {
            let after = &line[at + 1..];
            let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            digits > 0 && after[digits..].starts_with(':')
        })
        .map_or(line, |(at, _)| &line[..at])
}

/// `path  (12.3 KB)` to `path`; a bracket that belongs to the name holds no unit of size.
fn without_size(line: &str) -> &str {
    let Some((path, size)) = line
        .strip_suffix(')')
        .and_then(|line| line.rsplit_once('('))
    else {
        return line;
    };
    let unit = size.trim_start_matches(|c: char| {
        c.is_ascii_digit() || matches!(c, '.' | ',' | ' ' | '\u{a0}')
    });
    let has_number = unit.len() < size.len();
    let units = ["b", "byte", "bytes", "kb", "kib", "mb", "mib", "gb", "gib"];
    let is_size = has_number
        && unit
            .split([',', ' '])
            .next()
            .is_some_and(|unit| units.contains(&unit.to_lowercase().as_str()));
    if is_size { path.trim_end() } else { line }
}

/// The file that the words describe best: each in its name before some in its folders, nothing else in its name before more.
pub(super) fn file(found: &Done, words: &[String]) -> Choice {
    let words: Vec<String> = words.iter().flat_map(|word| parts(word)).collect();
    let paths = paths(found);
    let best = paths.iter().filter_map(|path| fit(path, &words)).max();
    let Some(best) = best else {
        return Choice::None(paths);
    };
    let mut fitting: Vec<String> = paths
        .into_iter()
        .filter(|path| fit(path, &words) == Some(best))
        .collect();
    match fitting.len() {
        1 => fitting.pop().map_or(Choice::None(vec![]), Choice::One),
        _ => Choice::Several(fitting),
    }
}

/// How well a path fits: how many of the words its name holds, and whether it holds no others. `None` where one is missing.
fn fit(path: &str, words: &[String]) -> Option<(usize, bool)> {
    const LINKING: &[&str] = &[
        "of", "the", "a", "and", "for", "de", "du", "la", "le", "des", "my", "mon", "ma",
    ];
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let (name, folders) = (parts(name), parts(folders));
    let holds = |held: &[String], word: &String| held.iter().any(|part| alike(part, word));
    if words.is_empty()
        || !words
            .iter()
            .all(|word| holds(&name, word) || holds(&folders, word))
    {
        return None;
    }
    let in_name = words.iter().filter(|word| holds(&name, word)).count();
    let last = name.len().saturating_sub(1);
    let others = name.iter().enumerate().filter(|(at, part)| {
        let extension = *at == last && *at > 0 && part.len() <= 5;
        !extension
            && !LINKING.contains(&part.as_str())
            && !words.iter().any(|word| alike(part, word))
    });
    Some((in_name, others.count() == 0))
}

/// One word or its plural, or a word of which the other is the beginning.
fn alike(part: &str, word: &str) -> bool {
    let plain = |word: &str| {
        word.strip_suffix('s')
            .filter(|stem| stem.len() > 2)
            .unwrap_or(word)
            .to_owned()
    };
    let (part, word) = (plain(part), plain(word));
    part == word || (word.chars().count() >= 3 && part.starts_with(&word))
}

fn parts(text: &str) -> Vec<String> {
    fold(text)
        .split(|c: char| !c.is_alphanumeric())
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The folder of that name, as its own line or the paths below it tell.
pub(super) fn folder(found: &Done, name: &str) -> Choice {
    let wanted = fold(name);
    let mut folders: Vec<String> = Vec::new();
    for path in found.text.lines().filter_map(place_of) {
        let mut end = 0;
        for part in path.split('/') {
            end += part.len();
            if fold(part) == wanted
                && end < path.len()
                && !folders.contains(&path[..end].to_owned())
            {
                folders.push(path[..end].to_owned());
            }
            end += 1;
        }
    }
    match folders.len() {
        0 => Choice::None(vec![]),
        1 => folders.pop().map_or(Choice::None(vec![]), Choice::One),
        _ => Choice::Several(folders),
    }
}

/// Whether a file of that name is likely text; one without an extension may be.
pub(super) fn is_text(path: &str) -> bool {
    const OTHER: &[&str] = &[
        "pdf", "jpg", "jpeg", "png", "gif", "heic", "webp", "tiff", "mp3", "m4a", "wav", "mp4",
        "mov", "avi", "mkv", "zip", "gz", "tar", "7z", "dmg", "doc", "docx", "xls", "xlsx", "ppt",
        "pptx", "odt", "ods", "pages", "numbers", "key", "epub",
    ];
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.')
        .is_none_or(|(_, extension)| !OTHER.contains(&extension.to_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::call::ToolName;

    fn found(text: &str) -> Done {
        Done {
            tool: ToolName::new("files.search"),
            text: text.to_owned(),
            failed: false,
        }
    }

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn paths_are_read_from_every_shape_of_line() {
        let text = "3 matches:\nplayground/letters/proof-of-address.pdf  (12.3 KB)\nplayground/a:b.txt:12: rent: 3:4\n\
                    - `playground/photo (1).jpg`\nplayground/photo (1).jpg (1,204 bytes)\nplayground/x (2).md\nplayground/letters/\n\
                    no match for 'playground/other'\nMy Files/a.txt  (3 B)\n[… 20 more are left out …]\n";
        assert_eq!(
            paths(&found(text)),
            [
                "playground/letters/proof-of-address.pdf",
                "playground/a:b.txt",
                "playground/photo (1).jpg",
                "playground/x (2).md",
                "My Files/a.txt",
            ]
        );
        assert_eq!(
            paths(&Done {
                failed: true,
                ..found("playground/a.txt")
            }),
            Vec::<String>::new()
        );
    }

    #[test]
    fn the_name_that_says_all_and_nothing_else_is_the_best() {
        let text = "p/proof-of-address.pdf\np/proof-of-address-2019.pdf\np/proof/address/x.pdf";
        assert_eq!(
            file(&found(text), &words("proof address")),
            Choice::One("p/proof-of-address.pdf".into())
        );
        let text = "p/a/proof-of-address.pdf\np/b/Proof_of_Address.PDF";
        let both = text.lines().map(str::to_owned).collect();
        assert_eq!(
            file(&found(text), &words("proof address")),
            Choice::Several(both)
        );
        assert_eq!(
            file(&found("p/lease.pdf"), &words("lease contract")),
            Choice::None(vec!["p/lease.pdf".into()])
        );
        assert_eq!(
            file(&found("p/Rés umé.pdf"), &words("resume")),
            Choice::None(vec!["p/Rés umé.pdf".into()])
        );
        assert_eq!(
            file(&found("p/Résumé.pdf"), &words("resume")),
            Choice::One("p/Résumé.pdf".into())
        );
    }

    #[test]
    fn a_folder_is_found_by_the_paths_below_it() {
        let text = "p/letters/a.txt\np/letters/b.txt\np/old/Letters/c.txt\np/letters.txt";
        let both = vec!["p/letters".to_owned(), "p/old/Letters".to_owned()];
        assert_eq!(folder(&found(text), "letters"), Choice::Several(both));
        assert_eq!(
            folder(&found("p/letters/a.txt"), "Letters"),
            Choice::One("p/letters".into())
        );
        assert_eq!(
            folder(&found("p/letters.txt"), "letters"),
            Choice::None(vec![])
        );
        assert_eq!(
            folder(&found("p/letters/"), "letters"),
            Choice::One("p/letters".into())
        );
    }
}
