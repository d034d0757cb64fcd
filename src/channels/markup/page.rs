//! Markdown into HTML for the console's page.

use super::{Node, Piece, Target, escaped, pieces};
use std::borrow::Cow;
use std::fmt::Write;

/// The whole as HTML for the console's page: no scripts, images, styles or raw HTML can come through, whatever the Markdown says.
pub fn page(markdown: &str) -> String {
    let mut page = Page::default();
    for piece in pieces(markdown) {
        page.take(piece);
    }
    page.html
}

/// The console's HTML so far.
#[derive(Default)]
struct Page<'a> {
    html: String,
    open: Vec<Node<'a>>,
    /// Within a table's head, where cells are headers.
    head: bool,
    /// Where the text of the innermost link or image begins in `html`.
    labels: Vec<usize>,
}

impl<'a> Page<'a> {
    fn take(&mut self, piece: Piece<'a>) {
        match piece {
            Piece::Open(node) => {
                self.opened(&node);
                self.open.push(node);
            }
            Piece::Close => {
                if let Some(node) = self.open.pop() {
                    self.closed(&node);
                }
            }
            Piece::Text(text) => self.html += &escaped(&text),
            Piece::Code(code) => {
                // Writing to a `String` cannot fail.
                let _ = write!(self.html, "<code>{}</code>", escaped(&code));
            }
            Piece::Break if self.labels.is_empty() => self.html += "<br>",
            Piece::Break => self.html.push(' '),
            Piece::Rule => self.html += "<hr>",
        }
    }

    fn opened(&mut self, node: &Node<'a>) {
        self.head |= matches!(node, Node::Head);
        self.html += &node.page_tags(self.head).0;
        if matches!(node, Node::Link(_) | Node::Image) {
            self.labels.push(self.html.len());
        }
    }

    fn closed(&mut self, node: &Node<'a>) {
        if let Some(words) = node.page_label()
            && self.labels.pop() == Some(self.html.len())
        {
            self.html += &words;
        }
        self.html += node.page_tags(self.head).1;
        self.head &= !matches!(node, Node::Head);
    }
}

impl Node<'_> {
    /// Its opening and closing tags in the console's page. Nothing else ever opens an element there.
    fn page_tags(&self, head: bool) -> (Cow<'static, str>, &'static str) {
        let (open, close) = match self {
            Node::Paragraph | Node::Raw => ("<p>", "</p>"),
            Node::Heading => ("<h3>", "</h3>"),
            Node::Quote => ("<blockquote>", "</blockquote>"),
            Node::Fence(language) if language.is_empty() => ("<pre><code>", "</code></pre>"),
            Node::Fence(language) => {
                let open = format!("<pre><code class=\"language-{}\">", escaped(language));
                return (open.into(), "</code></pre>");
            }
            Node::List(None) => ("<ul>", "</ul>"),
            Node::List(Some(1)) => ("<ol>", "</ol>"),
            Node::List(Some(first)) => return (format!("<ol start=\"{first}\">").into(), "</ol>"),
            Node::Item => ("<li>", "</li>"),
            Node::Table(_) => ("<table>", "</tbody></table>"),
            Node::Head => ("<thead><tr>", "</tr></thead><tbody>"),
            Node::Row => ("<tr>", "</tr>"),
            Node::Cell if head => ("<th>", "</th>"),
            Node::Cell => ("<td>", "</td>"),
            Node::Bold => ("<strong>", "</strong>"),
            Node::Italic => ("<em>", "</em>"),
            Node::Strike => ("<del>", "</del>"),
            Node::Link(Target::Place(url) | Target::Long(url)) => {
                let around = "rel=\"noopener noreferrer nofollow\" target=\"_blank\"";
                return (
                    format!("<a href=\"{}\" {around}>", escaped(url)).into(),
                    "</a>",
                );
            }
            Node::Link(Target::Nowhere) | Node::Image | Node::Bare => ("", ""),
        };
        (open.into(), close)
    }

    /// What a link or image reads that has no words of its own; `None` for what needs none.
    fn page_label(&self) -> Option<String> {
        match self {
            Node::Link(Target::Place(url) | Target::Long(url)) => Some(escaped(url)),
            Node::Link(Target::Nowhere) => Some(String::new()),
            Node::Image => Some("[image]".to_owned()),
            Node::Paragraph
            | Node::Heading
            | Node::Quote
            | Node::Fence(_)
            | Node::Raw
            | Node::List(_)
            | Node::Item
            | Node::Table(_)
            | Node::Head
            | Node::Row
            | Node::Cell
            | Node::Bold
            | Node::Italic
            | Node::Strike
            | Node::Bare => None,
        }
    }
}
