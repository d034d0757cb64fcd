//! Markdown, as models write it, into what each place can show: Telegram's HTML, WhatsApp's marks, the console's HTML, plain text. No I/O.

mod page;
mod whatsapp;

pub use page::page;
pub use whatsapp::{Marked, chunks_whatsapp};

use super::telegram::TEXT_LIMIT;
use pulldown_cmark::{Alignment, CodeBlockKind, CowStr, Event, LinkType, Options, Parser, Tag};

/// One message's worth of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// In Telegram's HTML, every tag closed.
    pub html: String,
    /// The same words without markup, for when the HTML is refused. A link shows its address.
    pub plain: String,
}

/// The longest address that becomes a link: it must leave room for words in a message of its own.
const LINK_LIMIT: usize = 1024;

/// How deep a list is still indented; beyond, a phone has no room left.
const INDENT_LIMIT: usize = 8;

/// What the parser says, in the terms of this room. `Close` ends the latest `Open` that is not ended.
enum Piece<'a> {
    Open(Node<'a>),
    Close,
    Text(CowStr<'a>),
    Code(CowStr<'a>),
    Break,
    Rule,
}

enum Node<'a> {
    Paragraph,
    Heading,
    Quote,
    Fence(String),
    Raw,
    List(Option<u64>),
    Item,
    Table(Vec<Alignment>),
    Head,
    Row,
    Cell,
    Bold,
    Italic,
    Strike,
    Link(Target<'a>),
    Image,
    /// Something that is shown by what is in it alone.
    Bare,
}

/// Where a link leads.
enum Target<'a> {
    /// To a place that one may be sent to.
    Place(CowStr<'a>),
    /// To a place whose address is too long for a tag; it is shown instead.
    Long(CowStr<'a>),
    /// To nowhere: a scheme that runs or reads something, or an address within some page.
    Nowhere,
}

/// The whole in Telegram's HTML, however long.
pub fn telegram(markdown: &str) -> String {
    let rich = Rich::new(markdown);
    html(&rich.styles, &rich.letters())
}

/// The whole in plain text.
pub fn plain(markdown: &str) -> String {
    Rich::new(markdown)
        .runs
        .iter()
        .map(|run| run.text.as_str())
        .collect()
}

/// The whole in messages that Telegram takes: HTML source and plain text are each at most [`TEXT_LIMIT`] UTF-16 units.
///
/// A cut falls between paragraphs if it can, else lines, sentences, words, letters. Only white space is lost at it.
pub fn chunks_telegram(markdown: &str) -> Vec<Chunk> {
    let rich = Rich::new(markdown);
    let letters = rich.letters();
    let mut rest = trimmed(&rich.styles, &letters);
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(cut(
            &rich.styles,
            rest,
            Meter::new(&rich.styles),
            TEXT_LIMIT,
        ));
        let now = trimmed(&rich.styles, now);
        // Telegram refuses a message that shows nothing.
        if now.iter().any(Letter::shows) {
            chunks.push(Chunk {
                html: html(&rich.styles, now),
                plain: now.iter().map(|letter| letter.text).collect(),
            });
        }
        rest = trimmed(&rich.styles, later);
    }
    chunks
}

fn pieces(markdown: &str) -> impl Iterator<Item = Piece<'_>> {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    Parser::new_ext(markdown, options).map(piece)
}

fn piece(event: Event<'_>) -> Piece<'_> {
    match event {
        Event::Start(tag) => Piece::Open(node(tag)),
        Event::End(_) => Piece::Close,
        Event::Text(text)
        | Event::Html(text)
        | Event::InlineHtml(text)
        | Event::FootnoteReference(text) => Piece::Text(text),
        Event::Code(code) | Event::InlineMath(code) | Event::DisplayMath(code) => Piece::Code(code),
        // A line that a model ended is a line that it meant to end.
        Event::SoftBreak | Event::HardBreak => Piece::Break,
        Event::Rule => Piece::Rule,
        Event::TaskListMarker(done) => Piece::Text(if done { "☑ " } else { "☐ " }.into()),
    }
}

fn node(tag: Tag<'_>) -> Node<'_> {
    match tag {
        Tag::Paragraph => Node::Paragraph,
        Tag::Heading { .. } => Node::Heading,
        Tag::BlockQuote(_) => Node::Quote,
        Tag::CodeBlock(CodeBlockKind::Indented) => Node::Fence(String::new()),
        Tag::CodeBlock(CodeBlockKind::Fenced(info)) => Node::Fence(language(&info)),
        Tag::HtmlBlock => Node::Raw,
        Tag::List(first) => Node::List(first),
        Tag::Item => Node::Item,
        Tag::Table(columns) => Node::Table(columns),
        Tag::TableHead => Node::Head,
        Tag::TableRow => Node::Row,
        Tag::TableCell => Node::Cell,
        Tag::Strong => Node::Bold,
        Tag::Emphasis => Node::Italic,
        Tag::Strikethrough => Node::Strike,
        Tag::Link {
            link_type,
            dest_url,
            ..
        } => Node::Link(target(link_type, dest_url)),
        Tag::Image { .. } => Node::Image,
        Tag::FootnoteDefinition(_)
        | Tag::DefinitionList
        | Tag::DefinitionListTitle
        | Tag::DefinitionListDefinition
        | Tag::Superscript
        | Tag::Subscript
        | Tag::MetadataBlock(_) => Node::Bare,
    }
}

/// The first word after a fence, where it can be a language's name.
fn language(info: &str) -> String {
    let word = info.split([' ', ',', '{', '\t']).next().unwrap_or("");
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"+#-_.".contains(&b);
    if word.len() <= 32 && word.bytes().all(fits) {
        word.to_owned()
    } else {
        String::new()
    }
}

fn target(kind: LinkType, url: CowStr<'_>) -> Target<'_> {
    let url = match kind {
        LinkType::Email => format!("mailto:{url}").into(),
        LinkType::Inline
        | LinkType::Reference
        | LinkType::ReferenceUnknown
        | LinkType::Collapsed
        | LinkType::CollapsedUnknown
        | LinkType::Shortcut
        | LinkType::ShortcutUnknown
        | LinkType::Autolink
        | LinkType::WikiLink { .. } => url,
    };
    let starts = |scheme: &str| {
        url.get(..scheme.len())
            .is_some_and(|s| s.eq_ignore_ascii_case(scheme))
    };
    let leads = ["http://", "https://", "mailto:", "tg://"]
        .into_iter()
        .any(starts);
    if !leads || url.contains(|c: char| c.is_control() || c.is_whitespace()) {
        Target::Nowhere
    } else if units(&escaped(&url)) > LINK_LIMIT {
        Target::Long(url)
    } else {
        Target::Place(url)
    }
}

/// How a piece of text looks.
#[derive(Clone, PartialEq, Eq, Default)]
struct Style {
    /// Which quotation it stands in: two that touch stay two.
    quote: Option<usize>,
    /// The language of the code block that it is in; may be empty.
    fence: Option<String>,
    link: Option<String>,
    /// Each once, in order.
    looks: Vec<Look>,
}

/// How letters are set, outermost tag first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    Bold,
    Italic,
    Strike,
    Code,
}

struct Run {
    text: String,
    style: usize,
    /// It stands in the plain text alone, such as a link's address.
    plain_only: bool,
}

/// A character of the flat text, or a whole plain-only run, which is never cut.
#[derive(Clone, Copy)]
struct Letter<'a> {
    text: &'a str,
    style: usize,
    plain_only: bool,
}

/// Markdown laid out as one flat text whose pieces know their style, so that it can be cut anywhere.
#[derive(Default)]
struct Rich<'a> {
    runs: Vec<Run>,
    styles: Vec<Style>,
    open: Vec<Node<'a>>,
    style: Style,
    /// What the next text is set in, as it was begun.
    looks: Vec<Look>,
    /// Line ends that are due before the next text.
    gap: usize,
    /// A list item's bullet that is due before the next text.
    marker: Option<String>,
    lists: Vec<Option<u64>>,
    quotes: usize,
    quoted: usize,
    /// The plain text of the innermost link or image so far.
    label: Vec<String>,
    /// A code block's text so far: it is laid out when it is whole.
    block: Option<String>,
    table: Vec<Vec<String>>,
}

impl<'a> Rich<'a> {
    fn new(markdown: &'a str) -> Self {
        let mut rich = Self::default();
        for piece in pieces(markdown) {
            rich.take(piece);
        }
        rich
    }

    fn letters(&self) -> Vec<Letter<'_>> {
        let mut letters = Vec::new();
        for run in &self.runs {
            let (style, plain_only) = (run.style, run.plain_only);
            let letter = |text| Letter {
                text,
                style,
                plain_only,
            };
            if plain_only {
                letters.push(letter(run.text.as_str()));
            } else {
                letters.extend(run.text.split_inclusive(|_| true).map(letter));
            }
        }
        letters
    }

    fn take(&mut self, piece: Piece<'a>) {
        match piece {
            Piece::Open(node) => {
                self.opened(&node);
                self.open.push(node);
            }
            Piece::Close => {
                if let Some(node) = self.open.pop() {
                    self.closed(node);
                }
            }
            Piece::Text(text) => self.text(&text),
            Piece::Code(code) => self.code(&code),
            Piece::Break => self.line_end(),
            Piece::Rule => {
                self.begin_block();
                self.text("———");
            }
        }
    }

    fn opened(&mut self, node: &Node<'a>) {
        match node {
            Node::Paragraph => self.begin_block(),
            Node::Heading => {
                self.begin_block();
                self.looks.push(Look::Bold);
            }
            Node::Quote => self.begin_quote(),
            Node::Fence(_) | Node::Raw | Node::Cell => self.block = Some(String::new()),
            Node::List(first) => {
                self.begin_block();
                self.lists.push(*first);
            }
            Node::Item => self.begin_item(),
            Node::Table(_) => self.table.clear(),
            Node::Head | Node::Row => self.table.push(Vec::new()),
            Node::Bold => self.looks.push(Look::Bold),
            Node::Italic => self.looks.push(Look::Italic),
            Node::Strike => self.looks.push(Look::Strike),
            Node::Link(target) => {
                self.label.push(String::new());
                if let Target::Place(url) = target {
                    self.style.link = Some(url.to_string());
                }
            }
            Node::Image => self.label.push(String::new()),
            Node::Bare => {}
        }
    }

    fn closed(&mut self, node: Node<'a>) {
        match node {
            Node::Heading | Node::Bold | Node::Italic | Node::Strike => {
                self.looks.pop();
            }
            Node::Quote => self.end_quote(),
            Node::Fence(language) => self.end_fence(language),
            Node::Raw => self.end_raw(),
            Node::List(_) => {
                self.lists.pop();
                self.begin_block();
            }
            Node::Item => self.end_item(),
            Node::Table(columns) => {
                let rows = std::mem::take(&mut self.table);
                self.fence(&aligned(&rows, &columns), String::new());
            }
            Node::Cell => {
                let cell = self.block.take().unwrap_or_default();
                if let Some(row) = self.table.last_mut() {
                    row.push(cell);
                }
            }
            Node::Link(target) => self.end_link(&target),
            Node::Image => self.end_image(),
            Node::Paragraph | Node::Head | Node::Row | Node::Bare => {}
        }
    }

    /// The next text starts a line of its own, after an empty one outside lists.
    fn begin_block(&mut self) {
        if !self.runs.is_empty() {
            self.gap = self.gap.max(if self.lists.is_empty() { 2 } else { 1 });
        }
    }

    fn begin_quote(&mut self) {
        self.settle();
        self.begin_block();
        self.quotes += 1;
        if self.quotes == 1 {
            self.quoted += 1;
            self.style.quote = Some(self.quoted);
        }
    }

    /// Telegram knows no quotation within a quotation: all but the outermost are let go.
    fn end_quote(&mut self) {
        self.quotes -= 1;
        if self.quotes == 0 {
            self.style.quote = None;
        }
        self.begin_block();
    }

    fn begin_item(&mut self) {
        self.settle();
        self.begin_block();
        let bullet = match self.lists.last_mut() {
            Some(Some(next)) => {
                let bullet = format!("{next}. ");
                *next = next.saturating_add(1);
                bullet
            }
            Some(None) | None => "• ".to_owned(),
        };
        let depth = self.lists.len().saturating_sub(1).min(INDENT_LIMIT);
        self.marker = Some("  ".repeat(depth) + &bullet);
    }

    fn end_item(&mut self) {
        self.settle();
    }

    /// Writes a bullet that is due, so that what comes next stands under it.
    fn settle(&mut self) {
        if self.marker.is_some() {
            self.write("");
        }
    }

    fn end_fence(&mut self, language: String) {
        let code = self.block.take().unwrap_or_default();
        self.fence(code.trim_end_matches('\n'), language);
    }

    fn end_raw(&mut self) {
        let raw = self.block.take().unwrap_or_default();
        self.begin_block();
        self.text(raw.trim_end_matches('\n'));
    }

    fn fence(&mut self, code: &str, language: String) {
        if code.is_empty() {
            return;
        }
        self.settle();
        self.begin_block();
        self.flush_gap();
        let style = Style {
            quote: self.style.quote,
            fence: Some(language),
            ..Style::default()
        };
        self.push(code, style, false);
        self.begin_block();
    }

    /// In plain text a link is followed by its address, unless that is what it reads.
    fn end_link(&mut self, target: &Target<'a>) {
        let label = self.label.pop().unwrap_or_default();
        let (Target::Place(url) | Target::Long(url)) = target else {
            return;
        };
        let shown = url.strip_prefix("mailto:").unwrap_or(url);
        if label.trim().is_empty() {
            self.text(shown);
        } else if label != shown && label != **url {
            let address = format!(" ({shown})");
            match (target, &mut self.block) {
                (_, Some(cell)) => cell.push_str(&address),
                (Target::Long(_), None) => self.text(&address),
                (Target::Place(_) | Target::Nowhere, None) => {
                    let style = self.looks();
                    self.push(&address, style, true);
                }
            }
        }
        self.style.link = None;
    }

    fn end_image(&mut self) {
        let label = self.label.pop().unwrap_or_default();
        if label.trim().is_empty() {
            self.text("[image]");
        } else if let Some(outer) = self.label.last_mut() {
            outer.push_str(&label);
        }
    }

    fn text(&mut self, text: &str) {
        if let Some(label) = self.label.last_mut() {
            label.push_str(text);
        }
        match &mut self.block {
            Some(block) => block.push_str(text),
            None => self.write(text),
        }
    }

    fn code(&mut self, code: &str) {
        // Telegram lets nothing else into code: a link around it would be lost.
        if self.style.link.is_some() {
            return self.text(code);
        }
        let around = std::mem::replace(&mut self.looks, vec![Look::Code]);
        self.text(code);
        self.looks = around;
    }

    fn line_end(&mut self) {
        match &mut self.block {
            Some(block) => block.push(' '),
            None => self.gap = self.gap.max(1),
        }
    }

    /// Writes into the flat text, after whatever is due before it.
    fn write(&mut self, text: &str) {
        let hanging = self.gap > 0 && self.marker.is_none() && !self.lists.is_empty();
        self.flush_gap();
        let lead = match self.marker.take() {
            Some(marker) => marker,
            None if hanging => "  ".repeat(self.lists.len().min(INDENT_LIMIT + 1)),
            None => String::new(),
        };
        let style = Style {
            quote: self.style.quote,
            ..Style::default()
        };
        self.push(&lead, style, false);
        let style = self.looks();
        self.push(text, style, false);
    }

    /// Line ends belong to a quotation only where it goes on after them.
    fn flush_gap(&mut self) {
        let before = self.runs.last().map(|run| &self.styles[run.style]);
        let quote = before
            .and_then(|style| style.quote)
            .filter(|quote| self.style.quote == Some(*quote));
        let style = Style {
            quote,
            ..Style::default()
        };
        let gap = "\n".repeat(std::mem::take(&mut self.gap));
        self.push(&gap, style, false);
    }

    fn looks(&self) -> Style {
        let mut looks = self.looks.clone();
        looks.sort_unstable();
        looks.dedup();
        let around = self.style.clone();
        Style { looks, ..around }
    }

    fn push(&mut self, text: &str, style: Style, plain_only: bool) {
        if text.is_empty() {
            return;
        }
        if self.styles.last() != Some(&style) {
            self.styles.push(style);
        }
        self.runs.push(Run {
            text: text.to_owned(),
            style: self.styles.len() - 1,
            plain_only,
        });
    }
}

/// A table in letters of one width.
fn aligned(rows: &[Vec<String>], columns: &[Alignment]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| columns_of(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut lines = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).zip(columns);
        let cells: Vec<String> = cells
            .map(|((cell, width), side)| padded(cell, *width, *side))
            .collect();
        lines.push(cells.join(" | ").trim_end().to_owned());
        if index == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            lines.push(rules.join("-+-"));
        }
    }
    lines.join("\n")
}

fn padded(cell: &str, width: usize, side: Alignment) -> String {
    let room = width.saturating_sub(columns_of(cell));
    let left = match side {
        Alignment::None | Alignment::Left => 0,
        Alignment::Center => room / 2,
        Alignment::Right => room,
    };
    format!("{}{cell}{}", " ".repeat(left), " ".repeat(room - left))
}

/// How many columns a text takes in letters of one width: ideographs and emoji take two, marks none.
fn columns_of(text: &str) -> usize {
    text.chars()
        .map(|c| match c {
            c if joins(c) => 0,
            '\u{1100}'..='\u{115f}'
            | '\u{2e80}'..='\u{a4cf}'
            | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe6f}'
            | '\u{ff00}'..='\u{ff60}'
            | '\u{1f300}'..='\u{1faff}'
            | '\u{20000}'..='\u{3fffd}' => 2,
            _ => 1,
        })
        .sum()
}

/// Whether a character belongs to the one before it: a combining mark, a joiner, a variation, a skin tone.
fn joins(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5bd}' | '\u{610}'..='\u{61a}'
        | '\u{64b}'..='\u{65f}' | '\u{93c}' | '\u{93e}'..='\u{94d}' | '\u{e31}' | '\u{e34}'..='\u{e3a}'
        | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{200d}' | '\u{20d0}'..='\u{20ff}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0020}'..='\u{e007f}')
}

impl Letter<'_> {
    /// Whether a reader sees it.
    fn shows(&self) -> bool {
        let unseen = |c: char| {
            c.is_whitespace()
                || c.is_control()
                || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        };
        !self.plain_only && self.text.chars().any(|c| !unseen(c))
    }

    fn is_space(&self) -> bool {
        self.text.chars().all(char::is_whitespace)
    }
}

/// Without white space at either end; the first code line's indentation stays.
fn trimmed<'l, 't>(styles: &[Style], letters: &'l [Letter<'t>]) -> &'l [Letter<'t>] {
    let code = |letter: &Letter<'_>| styles[letter.style].fence.is_some() && letter.text != "\n";
    let kept = |letter: &Letter<'_>| !letter.is_space() || code(letter);
    let start = letters.iter().position(kept).unwrap_or(letters.len());
    let end = letters.iter().rposition(|letter| !letter.is_space());
    letters
        .get(start..end.map_or(start, |end| end + 1))
        .unwrap_or(&[])
}

/// A place to cut, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Seam {
    Paragraph,
    Line,
    Sentence,
    Space,
    Letter,
    /// Within what a reader sees as one character; only where there is nothing else.
    Mark,
}

/// Tells how long a message is with what was added to it.
trait Measure {
    fn add(&mut self, letter: &Letter<'_>);
    fn size(&self) -> usize;
}

/// How many letters go into the next message: all that fit, or up to the best seam among them; at least one.
fn cut(styles: &[Style], letters: &[Letter<'_>], mut meter: impl Measure, limit: usize) -> usize {
    // For each kind of seam the last place that fits, and how full the message is there.
    let mut seams: [Option<(usize, usize)>; 6] = [None; 6];
    for (index, letter) in letters.iter().enumerate() {
        if index > 0
            && let Some(seam) = seam(styles, letters, index)
        {
            seams[seam as usize] = Some((index, meter.size()));
        }
        meter.add(letter);
        if meter.size() > limit {
            return best(seams, limit).unwrap_or(index.max(1));
        }
    }
    letters.len()
}

/// A good seam early in a message is worse than a lesser one that fills it, up to a point.
fn best(seams: [Option<(usize, usize)>; 6], limit: usize) -> Option<usize> {
    let [paragraph, line, sentence, space, letter, mark] = seams;
    let full = |seam: Option<(usize, usize)>, least: usize| seam.filter(|(_, size)| *size >= least);
    full(paragraph, limit / 4)
        .or(full(line, limit / 2))
        .or(full(sentence, limit / 2))
        .or(full(space, limit / 2))
        .or(paragraph)
        .or(line)
        .or(sentence)
        .or(space)
        .or(full(letter, limit / 2))
        .or(mark)
        .or(letter)
        .map(|(index, _)| index)
}

/// What kind of seam lies before a letter; none before what must follow the letter in front of it.
fn seam(styles: &[Style], letters: &[Letter<'_>], index: usize) -> Option<Seam> {
    let (before, after) = (letters[index - 1], letters[index]);
    let fenced = styles[before.style].fence.is_some() && styles[after.style].fence.is_some();
    let ends = |text: &str| matches!(text, "." | "!" | "?" | "…" | "。" | "！" | "？");
    let earlier = |back: usize| index.checked_sub(back).map_or("", |i| letters[i].text);
    if after.plain_only {
        None
    } else if before.text == "\n" {
        let paragraph = earlier(2) == "\n" && !fenced;
        Some(if paragraph {
            Seam::Paragraph
        } else {
            Seam::Line
        })
    } else if matches!(before.text, "。" | "！" | "？") && !fenced {
        Some(Seam::Sentence)
    } else if before.is_space() && !after.is_space() {
        let sentence = ends(earlier(2)) && !fenced;
        Some(if sentence {
            Seam::Sentence
        } else {
            Seam::Space
        })
    } else if after.text.chars().all(joins)
        || before.text == "\u{200d}"
        || halves_a_flag(letters, index)
    {
        Some(Seam::Mark)
    } else {
        Some(Seam::Letter)
    }
}

/// Whether a seam would part the two letters that make a flag: they pair up from the first on.
fn halves_a_flag(letters: &[Letter<'_>], index: usize) -> bool {
    let flag = |letter: &&Letter<'_>| ("\u{1f1e6}"..="\u{1f1ff}").contains(&letter.text);
    let before = letters[..index].iter().rev().take_while(flag).count();
    flag(&&letters[index]) && before % 2 == 1
}

/// How long a message is, in UTF-16 units, with every tag closed.
struct Meter<'s> {
    styles: &'s [Style],
    style: Option<usize>,
    html: usize,
    closing: usize,
    plain: usize,
}

impl<'s> Meter<'s> {
    fn new(styles: &'s [Style]) -> Self {
        Self {
            styles,
            style: None,
            html: 0,
            closing: 0,
            plain: 0,
        }
    }
}

impl Measure for Meter<'_> {
    fn add(&mut self, letter: &Letter<'_>) {
        self.plain += units(letter.text);
        if letter.plain_only {
            return;
        }
        if self.style != Some(letter.style) {
            let mut change = String::new();
            let before = self.style.map(|style| &self.styles[style]);
            let after = &self.styles[letter.style];
            switch(before, Some(after), &mut change);
            self.html += units(&change);
            let mut closing = String::new();
            switch(Some(after), None, &mut closing);
            self.closing = units(&closing);
            self.style = Some(letter.style);
        }
        self.html += units(&escaped(letter.text));
    }

    fn size(&self) -> usize {
        (self.html + self.closing).max(self.plain)
    }
}

/// Telegram's HTML of some letters.
fn html(styles: &[Style], letters: &[Letter<'_>]) -> String {
    let (mut html, mut style) = (String::new(), None);
    for letter in letters.iter().filter(|letter| !letter.plain_only) {
        if style != Some(letter.style) {
            let before = style.map(|style: usize| &styles[style]);
            switch(before, Some(&styles[letter.style]), &mut html);
            style = Some(letter.style);
        }
        html.push_str(&escaped(letter.text));
    }
    switch(style.map(|style| &styles[style]), None, &mut html);
    html
}

/// Closes what ends and opens what begins between two styles.
fn switch(before: Option<&Style>, after: Option<&Style>, html: &mut String) {
    let (before, after) = (
        before.map(Style::tags).unwrap_or_default(),
        after.map(Style::tags).unwrap_or_default(),
    );
    let common = before
        .iter()
        .zip(&after)
        .take_while(|(b, a)| b == a)
        .count();
    for tag in before[common..].iter().rev() {
        html.push_str(tag.close);
    }
    for tag in &after[common..] {
        html.push_str(&tag.open);
    }
}

#[derive(PartialEq, Eq)]
struct Markup {
    open: String,
    close: &'static str,
    /// Tells touching elements apart that look the same.
    which: usize,
}

impl Style {
    /// Its tags, outermost first.
    fn tags(&self) -> Vec<Markup> {
        let tag = |open: String, close| Markup {
            open,
            close,
            which: 0,
        };
        let mut tags = Vec::new();
        if let Some(which) = self.quote {
            let quote = tag("<blockquote>".to_owned(), "</blockquote>");
            tags.push(Markup { which, ..quote });
        }
        match self.fence.as_deref() {
            Some("") => tags.push(tag("<pre>".to_owned(), "</pre>")),
            Some(language) => tags.push(tag(
                format!("<pre><code class=\"language-{}\">", escaped(language)),
                "</code></pre>",
            )),
            None => {}
        }
        if let Some(url) = &self.link {
            tags.push(tag(format!("<a href=\"{}\">", escaped(url)), "</a>"));
        }
        tags.extend(self.looks.iter().map(|look| match look {
            Look::Bold => tag("<b>".to_owned(), "</b>"),
            Look::Italic => tag("<i>".to_owned(), "</i>"),
            Look::Strike => tag("<s>".to_owned(), "</s>"),
            Look::Code => tag("<code>".to_owned(), "</code>"),
        }));
        tags
    }
}

fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// Safe as text and within double quotes; by the four named entities that Telegram knows.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_telegrams_html() {
        let table = [
            ("", ""),
            ("hello", "hello"),
            ("one\ntwo  \nthree\n\nfour", "one\ntwo\nthree\n\nfour"),
            (
                "**b** *i* ~~s~~ `c`",
                "<b>b</b> <i>i</i> <s>s</s> <code>c</code>",
            ),
            ("***both***", "<b><i>both</i></b>"),
            ("**a *b* `c`**", "<b>a <i>b</i> </b><code>c</code>"),
            ("# Title\ntext", "<b>Title</b>\n\ntext"),
            (
                "a < b & c > d \"q\"",
                "a &lt; b &amp; c &gt; d &quot;q&quot;",
            ),
            (
                "```rust\nlet x = &y;\n\n  z\n```",
                "<pre><code class=\"language-rust\">let x = &amp;y;\n\n  z</code></pre>",
            ),
            ("```\nplain\n```\nafter", "<pre>plain</pre>\n\nafter"),
            ("```ru\"st\nx\n```", "<pre>x</pre>"),
            ("```\n```", ""),
            (
                "> said\n> twice\n\nanswer",
                "<blockquote>said\ntwice</blockquote>\n\nanswer",
            ),
            (
                "> a\n>\n> > b\n\n<!-- -->\n\n> c",
                "<blockquote>a\n\nb</blockquote>\n\n&lt;!-- --&gt;\n\n<blockquote>c</blockquote>",
            ),
            (
                "- a\n- b\n  - c\n    more\n\n9. x\n10. y",
                "• a\n• b\n  • c\n    more\n\n9. x\n10. y",
            ),
            (
                "1. one\n\n   more\n\n2. two\n\nend",
                "1. one\n  more\n2. two\n\nend",
            ),
            ("- ```\n  code\n  ```\n- x", "• \n<pre>code</pre>\n• x"),
            ("-\n- x", "• \n• x"),
            ("- [x] done\n- [ ] due", "• ☑ done\n• ☐ due"),
            ("a\n\n---\n\nb", "a\n\n———\n\nb"),
            (
                "[site](https://example.com/?a=1&b=\"2\")",
                "<a href=\"https://example.com/?a=1&amp;b=&quot;2&quot;\">site</a>",
            ),
            (
                "[**bold** `code`](http://e.com)",
                "<a href=\"http://e.com\"><b>bold</b> code</a>",
            ),
            (
                "<a@b.org> <https://e.com>",
                "<a href=\"mailto:a@b.org\">a@b.org</a> <a href=\"https://e.com\">https://e.com</a>",
            ),
            ("[me](tg://user?id=1)", "<a href=\"tg://user?id=1\">me</a>"),
            (
                "[](https://e.com)",
                "<a href=\"https://e.com\">https://e.com</a>",
            ),
            (
                "![a cat](https://e.com/cat.png) ![](x.png)",
                "a cat [image]",
            ),
            (
                "[![logo](l.png)](https://e.com)",
                "<a href=\"https://e.com\">logo</a>",
            ),
            (
                "| Name | Sum |\n|---|--:|\n| Rent | 900 |\n| Tea & *milk* 茶 | 7 |",
                "<pre>Name          | Sum\n--------------+----\nRent          | 900\nTea &amp; milk 茶 |   7</pre>",
            ),
            (
                "| See |\n|---|\n| [it](https://e.com) |",
                "<pre>See\n------------------\nit (https://e.com)</pre>",
            ),
        ];
        for (markdown, html) in table {
            assert_eq!(telegram(markdown), html, "{markdown}");
        }
    }

    #[test]
    fn hostile_markdown_is_shown_and_does_nothing_in_either_html() {
        let table = [
            (
                "<script>alert(1)</script>",
                "&lt;script&gt;alert(1)&lt;/script&gt;",
                "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>",
            ),
            (
                "a <img src=x onerror=alert(1)> b",
                "a &lt;img src=x onerror=alert(1)&gt; b",
                "<p>a &lt;img src=x onerror=alert(1)&gt; b</p>",
            ),
            ("[x](javascript:alert(1))", "x", "<p>x</p>"),
            ("[x](JaVaScRiPt:alert(1))", "x", "<p>x</p>"),
            ("[x](<java\tscript:alert(1)>)", "x", "<p>x</p>"),
            ("[x](data:text/html;base64,PHN2Zz4=)", "x", "<p>x</p>"),
            (
                "[x](file:///etc/passwd) [y](//e.com) [z](/console)",
                "x y z",
                "<p>x y z</p>",
            ),
            (
                "[x](https://e.com/\"onclick=\"alert(1))",
                "<a href=\"https://e.com/&quot;onclick=&quot;alert(1)\">x</a>",
                "<p><a href=\"https://e.com/&quot;onclick=&quot;alert(1)\" rel=\"noopener noreferrer nofollow\" target=\"_blank\">x</a></p>",
            ),
            ("![x](https://e.com/?d=secret)", "x", "<p>x</p>"),
            (
                "```x\"><script>\n</code></pre>\n```",
                "<pre>&lt;/code&gt;&lt;/pre&gt;</pre>",
                "<pre><code>&lt;/code&gt;&lt;/pre&gt;\n</code></pre>",
            ),
            (
                "`</code><b>`",
                "<code>&lt;/code&gt;&lt;b&gt;</code>",
                "<p><code>&lt;/code&gt;&lt;b&gt;</code></p>",
            ),
            (
                "&lt;b&gt; &amp;amp;",
                "&lt;b&gt; &amp;amp;",
                "<p>&lt;b&gt; &amp;amp;</p>",
            ),
            (
                "\u{200f}שלום\u{202e} abc",
                "\u{200f}שלום\u{202e} abc",
                "<p>\u{200f}שלום\u{202e} abc</p>",
            ),
        ];
        for (markdown, chat, console) in table {
            assert_eq!(telegram(markdown), chat, "{markdown}");
            assert_eq!(page(markdown), console, "{markdown}");
        }
    }

    #[test]
    fn markdown_becomes_the_consoles_html() {
        let table = [
            ("", ""),
            (
                "# A\n\nb **c** *d* ~~e~~",
                "<h3>A</h3><p>b <strong>c</strong> <em>d</em> <del>e</del></p>",
            ),
            ("a\nb", "<p>a<br>b</p>"),
            (
                "- a\n- b\n  1. c",
                "<ul><li>a</li><li>b<ol><li>c</li></ol></li></ul>",
            ),
            ("3. x", "<ol start=\"3\"><li>x</li></ol>"),
            ("> q", "<blockquote><p>q</p></blockquote>"),
            (
                "```rust\nlet x = \"<\";\n```",
                "<pre><code class=\"language-rust\">let x = &quot;&lt;&quot;;\n</code></pre>",
            ),
            (
                "| a | b |\n|---|---|\n| c | d |",
                "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>c</td><td>d</td></tr></tbody></table>",
            ),
            (
                "[s](https://e.com) [](tg://x)",
                "<p><a href=\"https://e.com\" rel=\"noopener noreferrer nofollow\" target=\"_blank\">s</a> <a href=\"tg://x\" rel=\"noopener noreferrer nofollow\" target=\"_blank\">tg://x</a></p>",
            ),
            (
                "![alt *text*](https://e.com/i.png)",
                "<p>alt <em>text</em></p>",
            ),
            ("---", "<hr>"),
        ];
        for (markdown, html) in table {
            assert_eq!(page(markdown), html, "{markdown}");
        }
    }

    #[test]
    fn plain_text_keeps_every_word_and_address() {
        let table = [
            ("**b** `c` <u>&amp;</u>", "b c <u>&</u>"),
            (
                "[site](https://e.com) <https://e.com>",
                "site (https://e.com) https://e.com",
            ),
            (
                "[a@b.org](mailto:a@b.org) [write](mailto:a@b.org)",
                "a@b.org write (a@b.org)",
            ),
            ("```py\nx\n```\n\n> q", "x\n\nq"),
        ];
        for (markdown, text) in table {
            assert_eq!(plain(markdown), text, "{markdown}");
        }
        let long = format!("[site](https://e.com/{})", "a".repeat(2000));
        assert_eq!(telegram(&long), plain(&long));
        assert_eq!(
            plain(&long),
            format!("site (https://e.com/{})", "a".repeat(2000))
        );
    }

    #[test]
    fn what_shows_nothing_makes_no_message() {
        for markdown in [
            "",
            " \n\t\n",
            "&nbsp;",
            "\u{200b}\u{feff}",
            "```\n\n```",
            "[x]: https://e.com",
        ] {
            assert_eq!(chunks_telegram(markdown), Vec::new(), "{markdown:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_at_the_best_seam() {
        let chunk = |html: String| Chunk {
            plain: html.clone(),
            html,
        };
        let words = |n: usize| "word ".repeat(n).trim_end().to_owned();
        // Between paragraphs, though a line and a sentence end later.
        let (first, second) = (words(400), format!("{}. b\nc", words(500)));
        let text = format!("{first}\n\n{second}");
        assert_eq!(chunks_telegram(&text), [chunk(first), chunk(second)]);
        // Between lines, though a sentence ends later.
        let (first, second) = (words(700), format!("{}. {}", words(50), words(200)));
        let text = format!("{first}\n{second}");
        assert_eq!(chunks_telegram(&text), [chunk(first), chunk(second)]);
        // Between sentences, though a word ends later.
        let (first, second) = (format!("{}.", words(700)), words(300));
        let text = format!("{first} {second}");
        assert_eq!(chunks_telegram(&text), [chunk(first), chunk(second)]);
        // Between words.
        assert_eq!(
            chunks_telegram(&words(1000)),
            [chunk(words(819)), chunk(words(181))]
        );
        // Anywhere, where there is no seam.
        let text = "x".repeat(5000);
        assert_eq!(
            chunks_telegram(&text),
            [chunk("x".repeat(4096)), chunk("x".repeat(904))]
        );
    }

    #[test]
    fn emoji_count_two_and_stay_whole() {
        let sizes = |text: &str| -> Vec<usize> {
            chunks_telegram(text)
                .iter()
                .map(|chunk| units(&chunk.plain))
                .collect()
        };
        assert_eq!(sizes(&"😀".repeat(2048)), [4096]);
        assert_eq!(sizes(&"😀".repeat(2049)), [4096, 2]);
        // A family is 11 units and one character to a reader; a flag is 4.
        assert_eq!(sizes(&"👨‍👩‍👧‍👦".repeat(400)), [4092, 308]);
        assert_eq!(sizes(&format!("a{}", "🇫🇷".repeat(1100))), [4093, 308]);
        assert_eq!(sizes(&"👍🏽".repeat(1025)), [4096, 4]);
    }

    #[test]
    fn a_cut_code_block_is_closed_and_opened_again_with_its_language() {
        let line = "    let total = sum(&items) + 1;";
        let code = [line; 200].join("\n");
        let chunks = chunks_telegram(&format!("Look:\n\n```rust\n{code}\n```\n\nDone."));
        let (open, close) = ("<pre><code class=\"language-rust\">", "</code></pre>");
        let lines = |n: usize| [line; 200][..n].join("\n").replace('&', "&amp;");
        let first = 109;
        assert_eq!(
            chunks
                .iter()
                .map(|chunk| chunk.html.clone())
                .collect::<Vec<_>>(),
            [
                format!("Look:\n\n{open}{}{close}", lines(first)),
                format!("{open}{}{close}\n\nDone.", lines(200 - first)),
            ]
        );
    }

    #[test]
    fn a_link_and_its_address_stay_in_one_message() {
        let text = format!("{} [here](https://example.com/long)", "x".repeat(4080));
        let chunks = chunks_telegram(&text);
        assert_eq!(
            chunks[1],
            Chunk {
                html: "<a href=\"https://example.com/long\">here</a>".to_owned(),
                plain: "here (https://example.com/long)".to_owned(),
            }
        );
    }

    #[test]
    fn depth_costs_no_stack_and_no_square() {
        let deep = "- ".repeat(20_000) + &"> ".repeat(20_000) + "x";
        assert!(telegram(&deep).len() < 1_000_000);
        assert!(page(&deep).len() < 2_000_000);
    }

    /// A small generator of numbers: the same seed, the same document.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap() % sides
        }
    }

    fn document(seed: u64) -> String {
        const PIECES: [&str; 36] = [
            "word ",
            "another, longer ",
            "end. ",
            "Why? ",
            "\n",
            "\n\n",
            "**",
            "*",
            "~~",
            "`",
            "`code & <tag>` ",
            "```rust\nfn a() {}\n    let b = 1;\n```\n",
            "\n```\n",
            "> ",
            "\n> quoted ",
            "\n- item ",
            "\n  - nested ",
            "\n1. first ",
            "# ",
            "[link](https://e.com/?a=1&b=2) ",
            "[bad](javascript:x) ",
            "[**b** `c`](tg://a) ",
            "![image](https://e.com/i.png) ",
            "<b>",
            "</script>",
            "& < > \" ' ",
            "😀",
            "👨‍👩‍👧‍👦",
            "ünï ",
            "日本語。",
            "\n| a | b |\n|---|--:|\n| c | 1 |\n\n",
            "\u{200f}שלום ",
            "___",
            "\\",
            "<https://e.com> ",
            "aVeryLongWordWithoutAnySeamInItThatGoesOnAndOnAndOnAndOnAndOnAndOnAndOnAndOnAndOnAndOn",
        ];
        let mut dice = Dice(seed);
        let mut text = String::new();
        for _ in 0..dice.roll(1500) {
            let piece = PIECES[dice.roll(PIECES.len())];
            let times = if dice.roll(40) == 0 {
                dice.roll(300)
            } else {
                1
            };
            text.push_str(&piece.repeat(times));
        }
        text
    }

    /// The text of some HTML; fails unless every tag is known, and closed in order.
    fn text_of(html: &str, known: &[&str], void: &[&str]) -> String {
        let (mut text, mut open, mut rest) = (String::new(), Vec::new(), html);
        while let Some((before, after)) = rest.split_once('<') {
            assert!(!before.contains('>'), "a bare > in {html}");
            text.push_str(before);
            let (tag, after) = after.split_once('>').expect("a tag ends");
            rest = after;
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "in {html}");
                continue;
            }
            let name = tag.split(' ').next().unwrap();
            assert!(
                known.contains(&name) || void.contains(&name),
                "<{tag}> in {html}"
            );
            if !void.contains(&name) {
                open.push(name);
            }
        }
        assert_eq!(open, Vec::<&str>::new(), "left open in {html}");
        text.push_str(rest);
        let named = [
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&quot;", "\""),
            ("&amp;", "&"),
        ];
        named
            .iter()
            .fold(text, |text, (entity, c)| text.replace(entity, c))
    }

    fn solid(text: &str) -> String {
        text.chars().filter(|c| !c.is_whitespace()).collect()
    }

    #[test]
    fn any_document_is_cut_into_balanced_messages_within_the_limits_that_lose_nothing() {
        const KNOWN: [&str; 7] = ["b", "i", "s", "code", "pre", "a", "blockquote"];
        let mut cuts = 0;
        for seed in 0..60 {
            let markdown = document(seed);
            let chunks = chunks_telegram(&markdown);
            cuts += chunks.len().saturating_sub(1);
            let (mut told, mut read) = (String::new(), String::new());
            for chunk in &chunks {
                assert!(units(&chunk.html) <= TEXT_LIMIT, "seed {seed}");
                assert!(units(&chunk.plain) <= TEXT_LIMIT, "seed {seed}");
                told += &solid(&chunk.plain);
                read += &solid(&text_of(&chunk.html, &KNOWN, &[]));
            }
            assert_eq!(told, solid(&plain(&markdown)), "seed {seed}");
            assert_eq!(
                read,
                solid(&text_of(&telegram(&markdown), &KNOWN, &[])),
                "seed {seed}"
            );
        }
        assert!(cuts > 200, "only {cuts} cuts were tried");
    }

    #[test]
    fn any_document_becomes_a_page_of_known_elements_alone() {
        const KNOWN: [&str; 18] = [
            "p",
            "h3",
            "ul",
            "ol",
            "li",
            "pre",
            "code",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "blockquote",
            "strong",
            "em",
            "del",
            "a",
        ];
        for seed in 0..60 {
            text_of(&page(&document(seed)), &KNOWN, &["br", "hr"]);
        }
    }
}
