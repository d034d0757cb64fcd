//! Markdown into WhatsApp's marks. They hold within one line and beside white space or punctuation only, and nothing can be escaped:
//! where a mark would not work, the words go without it.

use super::{Letter, Look, Measure, Rich, Style, cut, trimmed, units};

/// What keeps three backticks within code from ending it: a space without width.
const APART: char = '\u{200b}';

/// The marks around a block of code.
const FENCE: &str = "```";

/// One message's worth of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// In WhatsApp's marks. A link shows its address.
    pub text: String,
}

/// The whole in messages of at most `limit` UTF-16 units, the last of at most `last`.
///
/// A cut falls between paragraphs if it can, else lines, sentences, words, letters. Only white space is lost at it, and a block of code
/// that goes over it is closed and opened again.
pub fn chunks_whatsapp(markdown: &str, limit: usize, last: usize) -> Vec<Marked> {
    let rich = Rich::new(markdown);
    let letters = rich.letters();
    let styles = &rich.styles;
    let mut rest = trimmed(styles, &letters);
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let whole = cut(styles, rest, Meter::new(styles), limit);
        let fits = |limit| cut(styles, rest, Meter::new(styles), limit);
        let end = if whole == rest.len() {
            fits(last)
        } else {
            whole
        };
        let (now, later) = rest.split_at(end);
        let now = trimmed(styles, now);
        // A message that shows nothing is refused.
        if now.iter().any(|letter| letter.plain_only || letter.shows()) {
            let text = marked(styles, now);
            chunks.push(Marked { text });
        }
        rest = trimmed(styles, later);
    }
    chunks
}

/// The letters with their marks.
fn marked(styles: &[Style], letters: &[Letter<'_>]) -> String {
    let mut text = String::new();
    let mut rest = letters;
    while let Some(first) = rest.first() {
        let style = &styles[first.style];
        if style.fence.is_some() {
            let end = rest.iter().position(|letter| letter.style != first.style);
            let (block, later) = rest.split_at(end.unwrap_or(rest.len()));
            fence(block, &mut text);
            rest = later;
            continue;
        }
        let fenced = |letter: &Letter<'_>| styles[letter.style].fence.is_some();
        let end = rest.iter().position(|l| l.text == "\n" || fenced(l));
        let (line, later) = rest.split_at(end.unwrap_or(rest.len()));
        if text.is_empty() || text.ends_with('\n') {
            let quoted = line.first().or(later.first());
            if quoted.is_some_and(|letter| styles[letter.style].quote.is_some()) {
                text.push_str("> ");
            }
        }
        line_of(styles, line, &mut text);
        rest = later;
        if let Some((end, later)) = later.split_first()
            && end.text == "\n"
            && !fenced(end)
        {
            text.push('\n');
            rest = later;
        }
    }
    text
}

/// A block of code, in which nothing else counts.
fn fence(block: &[Letter<'_>], text: &mut String) {
    text.push_str(FENCE);
    let mut ticks = 0;
    for letter in block {
        ticks = if letter.text == "`" { ticks + 1 } else { 0 };
        if ticks == FENCE.len() {
            text.push(APART);
            ticks = 1;
        }
        text.push_str(letter.text);
    }
    if ticks > 0 {
        text.push(APART); // a backtick of its own beside the mark would be taken for it
    }
    text.push_str(FENCE);
}

/// One line's letters, in runs of one look.
fn line_of(styles: &[Style], line: &[Letter<'_>], text: &mut String) {
    let mut rest = line;
    while let Some(first) = rest.first() {
        let looks = &styles[first.style].looks;
        let same = |letter: &Letter<'_>| styles[letter.style].looks == *looks;
        let end = rest.iter().position(|letter| !same(letter));
        let (run, later) = rest.split_at(end.unwrap_or(rest.len()));
        let words: String = run.iter().map(|letter| letter.text).collect();
        let after = later.first().and_then(|letter| letter.text.chars().next());
        look(looks, &words, after, text);
        rest = later;
    }
}

/// Some words with the marks of their look, where those would work.
fn look(looks: &[Look], words: &str, after: Option<char>, text: &mut String) {
    let inner = words.trim();
    let start = words.len() - words.trim_start().len();
    let (lead, tail) = (&words[..start], &words[start + inner.len()..]);
    let before = lead.chars().next_back().or(text.chars().next_back());
    let after = tail.chars().next().or(after);
    let joins = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let marks: String = looks.iter().map(|look| mark(*look)).collect();
    let is_marked = !inner.is_empty()
        && !joins(before)
        && !joins(after)
        && !inner.contains(|c| marks.contains(c));
    text.push_str(lead);
    if is_marked {
        text.push_str(&marks);
    }
    text.push_str(inner);
    if is_marked {
        text.extend(marks.chars().rev());
    }
    text.push_str(tail);
}

fn mark(look: Look) -> char {
    match look {
        Look::Bold => '*',
        Look::Italic => '_',
        Look::Strike => '~',
        Look::Code => '`',
    }
}

/// How long a message is at the most, in UTF-16 units: each change of style may open and close marks.
struct Meter<'s> {
    styles: &'s [Style],
    style: Option<usize>,
    size: usize,
}

impl<'s> Meter<'s> {
    fn new(styles: &'s [Style]) -> Self {
        Self {
            styles,
            style: None,
            size: 0,
        }
    }
}

impl Measure for Meter<'_> {
    fn add(&mut self, letter: &Letter<'_>) {
        let style = &self.styles[letter.style];
        if self.style != Some(letter.style) {
            self.size += if style.fence.is_some() {
                2 * FENCE.len() + 1
            } else {
                2 * style.looks.len() + 2 // a quotation's mark
            };
            self.style = Some(letter.style);
        }
        self.size += units(letter.text);
        if letter.text == "\n" && style.fence.is_none() {
            self.style = None; // each line has marks of its own
        } else if letter.text == "`" {
            self.size += 1;
        }
    }

    fn size(&self) -> usize {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(markdown: &str) -> String {
        let chunks = chunks_whatsapp(markdown, 4096, 4096);
        let texts: Vec<String> = chunks.into_iter().map(|chunk| chunk.text).collect();
        texts.join("|")
    }

    #[test]
    fn markdown_becomes_whatsapps_marks() {
        for (markdown, text) in [
            ("", ""),
            ("hello", "hello"),
            ("one\ntwo  \nthree\n\nfour", "one\ntwo\nthree\n\nfour"),
            ("**b** *i* ~~s~~ `c`", "*b* _i_ ~s~ `c`"),
            ("***both***", "*_both_*"),
            ("**a *b* `c`**", "*a* *_b_* `c`"),
            ("# Title\ntext", "*Title*\n\ntext"),
            ("**one\ntwo**", "*one*\n*two*"),
            ("a < b & c > d", "a < b & c > d"),
            (
                "```rust\nlet x = &y;\n\n  z\n```",
                "```let x = &y;\n\n  z```",
            ),
            ("```\nplain\n```\nafter", "```plain```\n\nafter"),
            ("> said\n> twice\n\nanswer", "> said\n> twice\n\nanswer"),
            ("- a\n- **b**\n  - c", "• a\n• *b*\n  • c"),
            (
                "[site](https://example.com/?a=1)",
                "site (https://example.com/?a=1)",
            ),
            ("<https://e.com>", "https://e.com"),
            ("[x](javascript:alert(1))", "x"),
            (
                "| A | B |\n|---|--:|\n| x | 9 |",
                "```A | B\n--+--\nx | 9```",
            ),
        ] {
            assert_eq!(whole(markdown), text, "{markdown}");
        }
    }

    #[test]
    fn a_mark_that_would_not_work_is_left_out_and_no_code_ends_its_block() {
        for (markdown, text) in [
            ("un**believ**able", "unbelievable"),
            ("**a*b** c", "a*b c"),
            ("`` a`b ``", "a`b"),
            ("snake_case_name 2*3*4", "snake_case_name 234"),
            ("````\na ``` b\n````", "```a ``\u{200b}` b```"),
            ("````\n`x`\n````", "````x`\u{200b}```"),
        ] {
            assert_eq!(whole(markdown), text, "{markdown}");
        }
    }

    #[test]
    fn every_message_fits_and_only_white_space_is_lost() {
        let code = format!("```\n{}\n```", "let a = 1;\n".repeat(900));
        let words = "**bold** word _and_ `code`, ".repeat(700);
        let quote = "> q\n".repeat(3_000);
        let odd = "👍🏽".repeat(3_000);
        let ticks = format!("~~~\n{}\n~~~", "`".repeat(9_000));
        for markdown in [&code, &words, &quote, &odd, &ticks] {
            for (limit, last) in [(4096, 4096), (4096, 1024), (200, 50)] {
                let chunks = chunks_whatsapp(markdown, limit, last);
                assert!(chunks.len() > 1);
                let ends = chunks.last().map(|chunk| units(&chunk.text));
                assert!(ends.is_some_and(|size| (1..=last).contains(&size)));
                for chunk in &chunks {
                    assert!(units(&chunk.text) <= limit, "{}", chunk.text);
                    assert_eq!(chunk.text.matches(FENCE).count() % 2, 0, "{}", chunk.text);
                }
            }
        }
        let count = |text: &str, word: &str| text.matches(word).count();
        assert_eq!(count(&whole(&code), "let a = 1;"), 900);
        assert_eq!(count(&whole(&words), "*bold*"), 700);
        assert_eq!(count(&whole(&words), "`code`"), 700);
        assert_eq!(count(&whole(&odd), "👍🏽"), 3_000);
    }
}
