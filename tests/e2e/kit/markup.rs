//! Telegram's HTML, read as strictly as its documentation writes it: what a message would look like, or why it is refused.

/// What the person would read, and what is wrong with it although Telegram would forgive it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// The text without its markup.
    pub(crate) text: String,
    /// Offences against the documentation that the server lets pass.
    pub(crate) forgiven: Vec<String>,
}

struct Parser<'a> {
    source: &'a str,
    at: usize,
    open: Vec<&'a str>,
    parsed: Parsed,
}

/// Reads `source` as `parse_mode: HTML` does; an error is Telegram's own description.
pub(crate) fn parse_html(source: &str) -> Result<Parsed, String> {
    let parsed = Parsed {
        text: String::new(),
        forgiven: Vec::new(),
    };
    Parser {
        source,
        at: 0,
        open: Vec::new(),
        parsed,
    }
    .run()
    .map_err(|why| format!("Bad Request: can't parse entities: {why}"))
}

impl<'a> Parser<'a> {
    fn run(mut self) -> Result<Parsed, String> {
        while let Some(next) = self.rest().chars().next() {
            match next {
                '<' => self.tag()?,
                '&' => self.entity(),
                '>' => {
                    self.parsed
                        .forgiven
                        .push(format!("a bare > at byte offset {}", self.at));
                    self.take_char(next);
                }
                other => self.take_char(other),
            }
        }
        match self.open.last() {
            None => Ok(self.parsed),
            Some(name) => Err(format!(
                "Can't find end tag corresponding to start tag \"{name}\""
            )),
        }
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn take_char(&mut self, c: char) {
        self.parsed.text.push(c);
        self.at += c.len_utf8();
    }

    fn tag(&mut self) -> Result<(), String> {
        let offset = self.at;
        let Some(end) = self.rest().find('>') else {
            return Err(format!("Unclosed start tag at byte offset {offset}"));
        };
        let inside = &self.rest()[1..end];
        self.at += end + 1;
        match inside.strip_prefix('/') {
            Some(name) => self.end_tag(name.trim(), offset),
            None => self.start_tag(inside, offset),
        }
    }

    fn end_tag(&mut self, name: &str, offset: usize) -> Result<(), String> {
        match self.open.pop() {
            None => Err(format!("Unexpected end tag at byte offset {offset}")),
            Some(expected) if expected == name => Ok(()),
            Some(expected) => Err(format!(
                "Unmatched end tag at byte offset {offset}, expected \"</{expected}>\", found \"</{name}>\""
            )),
        }
    }

    fn start_tag(&mut self, inside: &'a str, offset: usize) -> Result<(), String> {
        let (name, attributes) = inside
            .split_once(char::is_whitespace)
            .unwrap_or((inside, ""));
        let attributes = attributes.trim();
        let fits = match name {
            "b" | "strong" | "i" | "em" | "u" | "ins" | "s" | "strike" | "del" | "tg-spoiler"
            | "pre" => attributes.is_empty(),
            "span" => attributes == "class=\"tg-spoiler\"",
            "a" => value(attributes, "href").is_some_and(|link| !link.is_empty()),
            "code" => {
                attributes.is_empty() || (self.open.last() == Some(&"pre") && language(attributes))
            }
            "blockquote" => attributes.is_empty() || attributes == "expandable",
            "tg-emoji" => value(attributes, "emoji-id").is_some(),
            _ => {
                return Err(format!(
                    "Unsupported start tag \"{name}\" at byte offset {offset}"
                ));
            }
        };
        if !fits {
            return Err(format!(
                "Tag \"{name}\" must not have attributes {attributes:?} at byte offset {offset}"
            ));
        }
        self.nest(name);
        Ok(())
    }

    fn nest(&mut self, name: &'a str) {
        let inside_code = self.open.iter().any(|open| matches!(*open, "pre" | "code"));
        let is_language = name == "code" && self.open.last() == Some(&"pre");
        if inside_code && !is_language {
            self.parsed.forgiven.push(format!(
                "<{name}> inside code, which can hold no other entity"
            ));
        }
        if name == "blockquote" && self.open.contains(&"blockquote") {
            self.parsed
                .forgiven
                .push("a blockquote inside a blockquote".to_owned());
        }
        self.open.push(name);
    }

    fn entity(&mut self) {
        let decoded = self
            .rest()
            .find(';')
            .and_then(|end| Some((end, decode(&self.rest()[1..end])?)));
        if let Some((end, c)) = decoded {
            self.parsed.text.push(c);
            self.at += end + 1;
        } else {
            self.parsed
                .forgiven
                .push(format!("a bare & at byte offset {}", self.at));
            self.take_char('&');
        }
    }
}

fn decode(name: &str) -> Option<char> {
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

fn value<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    attributes
        .strip_prefix(name)?
        .strip_prefix("=\"")?
        .strip_suffix('"')
        .filter(|value| !value.contains('"'))
}

fn language(attributes: &str) -> bool {
    value(attributes, "class").is_some_and(|class| class.starts_with("language-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(source: &str) -> Result<String, String> {
        let parsed = parse_html(source)?;
        assert_eq!(parsed.forgiven, Vec::<String>::new(), "in {source:?}");
        Ok(parsed.text)
    }

    #[test]
    fn documented_markup_is_read() {
        let source = "<b>bold <i>both</i></b> &lt;x&gt; &amp; &#39; <a href=\"https://e.org/?a=1&amp;b=2\">link</a> \
                      <pre><code class=\"language-rust\">fn</code></pre> <blockquote expandable>long</blockquote>";
        assert_eq!(
            clean(source),
            Ok("bold both <x> & ' link fn long".to_owned())
        );
    }

    #[test]
    fn markup_that_telegram_refuses_is_refused_in_its_words() {
        for (source, why) in [
            (
                "<h1>x</h1>",
                "Unsupported start tag \"h1\" at byte offset 0",
            ),
            ("a < b", "Unclosed start tag at byte offset 2"),
            (
                "<b>x",
                "Can't find end tag corresponding to start tag \"b\"",
            ),
            (
                "<b><i>x</b></i>",
                "Unmatched end tag at byte offset 7, expected \"</i>\", found \"</b>\"",
            ),
            ("x</b>", "Unexpected end tag at byte offset 1"),
        ] {
            assert_eq!(
                parse_html(source),
                Err(format!("Bad Request: can't parse entities: {why}"))
            );
        }
    }

    #[test]
    fn what_telegram_forgives_is_still_noticed() {
        let forgiven = |source| {
            parse_html(source)
                .expect("Telegram takes it")
                .forgiven
                .len()
        };
        assert_eq!(
            ["a & b", "a > b", "<code><b>x</b></code>", "&nbsp;"].map(forgiven),
            [1, 1, 1, 1]
        );
    }
}
