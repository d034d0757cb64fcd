//! What people and files are called and what a text begins with, the same in every chat app.

/// A command's name and argument, where a text begins with one: `/start abc`, `/Start@some_bot abc`. A path such as `/etc/hosts` is none.
pub(super) fn command(text: &str) -> Option<(String, String)> {
    let text = text.trim_start().strip_prefix('/')?;
    let (head, argument) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let (name, bot) = head.split_once('@').unwrap_or((head, "bot"));
    let word = |s: &str| {
        (1..=32).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    (word(name) && word(bot)).then(|| (name.to_ascii_lowercase(), argument.trim().to_owned()))
}

/// A name on one line that reads forwards, whatever whoever chose it put into it.
pub(super) fn one_line(name: &str) -> String {
    let forwards = name.replace(turns, "");
    forwards.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a character turns the direction of what follows, so that a name can pass for another.
pub(super) fn turns(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text, or as much of it as fits into so many UTF-16 units, with an ellipsis.
pub(super) fn shortened(text: &str, limit: usize) -> String {
    if text.encode_utf16().count() <= limit {
        return text.to_owned();
    }
    let mut used = 1; // the ellipsis
    let fits = |c: &char| {
        used += c.len_utf16();
        used <= limit
    };
    text.chars().take_while(fits).chain(['…']).collect()
}
