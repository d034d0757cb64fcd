//! `.dev.vars`: keys and settings of a development run, read by wrangler; here only to say which model answers.

use std::path::Path;

/// The value of a variable in a file of `NAME="value"` lines, or `None` if it is not set or empty.
pub(crate) fn value(text: &str, name: &str) -> Option<String> {
    let mut values = text.lines().filter_map(|line| {
        let (found, value) = line.trim().split_once('=')?;
        (found.trim() == name).then(|| unquoted(value))
    });
    values.next_back().filter(|value| !value.is_empty())
}

fn unquoted(value: &str) -> String {
    let value = value.trim();
    for quote in ['"', '\'', '`'] {
        if let Some((inside, _)) = value
            .strip_prefix(quote)
            .and_then(|rest| rest.split_once(quote))
        {
            return inside.to_owned();
        }
    }
    value
        .split(" #")
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// One sentence on which model will answer.
pub(crate) fn model(root: &Path) -> String {
    let Ok(text) = std::fs::read_to_string(root.join(".dev.vars")) else {
        return "offline: no network and no key, and not a language model (for a real one, copy \
                .dev.vars.example to .dev.vars)"
            .to_owned();
    };
    match value(&text, "MODEL") {
        None => "offline, since .dev.vars names no MODEL".to_owned(),
        Some(model) => format!("{model}, as .dev.vars says"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../.dev.vars.example");

    #[test]
    fn values_are_read_with_and_without_quotes() {
        let text =
            "# MODEL=\"no\"\nMODEL=\"anthropic/a # b\" # why\nKEY = plain # why\nEMPTY=\"\"\n";
        assert_eq!(value(text, "MODEL").as_deref(), Some("anthropic/a # b"));
        assert_eq!(value(text, "KEY").as_deref(), Some("plain"));
        assert_eq!(value(text, "EMPTY"), None);
        assert_eq!(value(text, "OTHER"), None);
    }

    /// The names that the Worker reads, in its own source.
    fn names_the_worker_reads() -> Vec<String> {
        let source = include_str!("../../src/config.rs");
        let source = source.split("#[cfg(test)]").next().unwrap();
        let is_name = |text: &&str| {
            text.len() > 3 && text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
        };
        source
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(is_name)
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_example_explains_every_name_that_the_worker_reads_and_no_other() {
        let mut explained = Vec::new();
        let mut explanation = 0;
        for line in EXAMPLE.lines() {
            match line.split_once('=') {
                _ if line.starts_with("# ") => explanation += line.len(),
                Some((name, value)) => {
                    assert!(explanation > 40, "{name} is not explained");
                    assert!(
                        value.starts_with('"') && value.ends_with('"'),
                        "{name}={value}"
                    );
                    explained.push(name.to_owned());
                    explanation = 0;
                }
                None => {
                    assert_eq!(line, "");
                    explanation = 0;
                }
            }
        }
        let mut read = names_the_worker_reads();
        assert!(read.contains(&"MODEL".to_owned()));
        read.sort();
        read.dedup();
        explained.sort();
        assert_eq!(explained, read);
    }

    #[test]
    fn the_example_as_it_stands_asks_the_offline_model_and_opens_nothing() {
        assert_eq!(value(EXAMPLE, "MODEL").as_deref(), Some("offline"));
        for name in names_the_worker_reads() {
            assert!(name == "MODEL" || value(EXAMPLE, &name).is_none(), "{name}");
        }
    }
}
