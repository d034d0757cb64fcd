//! The grammar of the `offline` model: a person's words in, what they want out. English, and the commonest French.

/// What a person wants, as far as a grammar can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Intent {
    /// To know what can be asked.
    Help,
    /// To say hello.
    Greeting,
    /// To agree with what was offered.
    Yes,
    /// To be polite, or to let a matter rest; nothing is to be done.
    Thanks,
    /// To see what a folder holds; empty for the roots.
    List(String),
    /// To find files.
    Search {
        /// The words that matter.
        query: String,
        /// Only in what files say, not in their names.
        contents: bool,
    },
    /// To see what a file says.
    Read(Wanted),
    /// To be handed a file.
    Send(Wanted),
    /// To have a text file made or added to.
    Write {
        /// The file.
        path: String,
        /// The text.
        text: String,
        /// Add instead of replacing.
        append: bool,
    },
    /// To have files that they attached put on the machine.
    Save {
        /// Their ids.
        files: Vec<String>,
        /// Where.
        to: String,
    },
    /// To have a program run.
    Run(Vec<String>),
    /// To have a fact kept.
    Remember(String),
    /// To hear what is kept; empty for everything.
    Recall(String),
    /// To have a fact forgotten.
    Forget(String),
    /// To be reminded.
    Remind(String),
    /// To pick one of the things that were offered, counted from 1; 0 is the last.
    Choose(usize),
    /// Something whose verb is clear and whose rest is not: this is how to say it.
    Unclear(&'static str),
    /// Anything else.
    Unknown,
}

/// A file, as people name one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// By its path or full name.
    Path(String),
    /// By words that its name holds.
    Described(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    List,
    Search,
    SearchText,
    Read,
    Send,
    Want,
    Write,
    Append,
    Note,
    Run,
    Remember,
    Recall,
    Forget,
    Remind,
}

pub(super) const HOW_TO_WRITE: &str =
    "Tell me the text and the file like this: `write \"the text\" to playground/notes.txt`.";
pub(super) const HOW_TO_SAVE: &str =
    "Tell me where to save it, such as `save it to playground/inbox`.";
const HOW_TO_RUN: &str = "Tell me the program and its arguments, such as `run git status`.";
const NO_SHELL: &str = "I run one program with its arguments and there is no shell, so `|`, `>`, `<`, `;` and `&` have no meaning here.";
const OPEN_QUOTE: &str = "A quotation mark in that command is never closed.";
const HOW_TO_REMEMBER: &str =
    "Tell me what to remember, such as `remember that the spare key is with Anna`.";
const HOW_TO_FORGET: &str =
    "Tell me which fact to forget, such as `forget the spare key`; I forget one at a time.";
const HOW_TO_NAME_A_FILE: &str = "Tell me which file, by its name or by words of it.";
const ONLY_TO_YOU: &str = "I can hand a file to you in this chat, and to nobody else.";

/// Said whole, these mean this.
const WHOLE: &[(&[&str], Intent)] = &[
    (
        &[
            "help",
            "/help",
            "/start",
            "?",
            "help me",
            "i need help",
            "what can you do",
            "what do you do",
            "who are you",
            "what are you",
            "how do you work",
            "commands",
            "are you a language model",
            "are you an ai",
            "aide",
            "a l'aide",
            "aide-moi",
            "que sais-tu faire",
            "que peux-tu faire",
            "qui es-tu",
        ],
        Intent::Help,
    ),
    (
        &[
            "hi",
            "hello",
            "hey",
            "hi there",
            "hello there",
            "hey there",
            "yo",
            "good morning",
            "good afternoon",
            "good evening",
            "how are you",
            "bonjour",
            "salut",
            "bonsoir",
            "coucou",
            "ca va",
        ],
        Intent::Greeting,
    ),
    (
        &[
            "thanks",
            "thank you",
            "thank you very much",
            "thanks a lot",
            "many thanks",
            "ok",
            "okay",
            "great",
            "perfect",
            "super",
            "cool",
            "good",
            "nice",
            "no",
            "non",
            "never mind",
            "nevermind",
            "forget it",
            "nothing",
            "merci",
            "merci beaucoup",
            "d'accord",
            "laisse tomber",
            "hurry",
            "hurry up",
        ],
        Intent::Thanks,
    ),
    (
        &[
            "yes",
            "yes please",
            "yes that one",
            "that one",
            "oui",
            "yep",
            "sure",
        ],
        Intent::Yes,
    ),
];

/// Words before a request that change nothing about it.
const BEFORE: &[&str] = &[
    "please",
    "pls",
    "kindly",
    "can you",
    "could you",
    "would you",
    "will you",
    "can u",
    "i want you to",
    "i need you to",
    "i would like you to",
    "i'd like you to",
    "hey",
    "hi",
    "hello",
    "good morning",
    "good afternoon",
    "good evening",
    "bernard",
    "ok",
    "okay",
    "yes",
    "no",
    "oh",
    "wait",
    "sorry",
    "so",
    "and",
    "then",
    "now",
    "also",
    "just",
    "well",
    "actually",
    "quickly",
    "go ahead and",
    "thanks",
    "thank you",
    "bonjour",
    "salut",
    "bonsoir",
    "peux-tu",
    "peux tu",
    "pourrais-tu",
    "pouvez-vous",
    "pourriez-vous",
    "tu peux",
    "est-ce que tu peux",
    "s'il te plait",
    "s'il vous plait",
    "stp",
    "svp",
    "merci",
];

/// Words after any request that change nothing about it.
const COURTESY: &[&str] = &[
    "please",
    "pls",
    "thanks",
    "thank you",
    "bernard",
    "s'il te plait",
    "s'il vous plait",
    "stp",
    "svp",
    "merci",
];

/// Words after a request for a thing that change nothing about it.
const HASTE: &[&str] = &[
    "for me",
    "now",
    "right now",
    "quickly",
    "asap",
    "again",
    "maintenant",
];

/// How a request begins. The longest that fits is meant.
const OPENINGS: &[(Verb, &[&str])] = &[
    (
        Verb::List,
        &[
            "list",
            "ls",
            "dir",
            "show files",
            "show me files",
            "show the files",
            "show me the files",
            "show my files",
            "show me my files",
            "show me what's in",
            "show me what is in",
            "show me the contents of",
            "show the contents of",
            "show the folder",
            "show me the folder",
            "open the folder",
            "what is in",
            "what's in",
            "whats in",
            "what is inside",
            "what's inside",
            "what files are in",
            "what files are there in",
            "what files do i have",
            "what do i have in",
            "which files are in",
            "which files do i have",
            "give me a list of",
            "liste",
            "lister",
            "quels fichiers",
            "qu'y a-t-il dans",
            "que contient",
            "montre les fichiers",
            "montre-moi les fichiers",
            "montre le dossier",
        ],
    ),
    (
        Verb::Search,
        &[
            "find",
            "find me",
            "search",
            "search for",
            "search files for",
            "search my files for",
            "look for",
            "look up",
            "locate",
            "where is",
            "where's",
            "wheres",
            "where are",
            "where did i put",
            "where did i save",
            "do i have",
            "cherche",
            "recherche",
            "trouve",
            "trouve-moi",
            "ou est",
            "ou sont",
            "ou se trouve",
        ],
    ),
    (
        Verb::SearchText,
        &[
            "grep",
            "grep for",
            "which file mentions",
            "which files mention",
            "which file contains",
            "which files contain",
            "what files mention",
            "what files contain",
            "find files that mention",
            "find files that contain",
            "find files mentioning",
            "find files containing",
            "find the file that mentions",
            "search the text of files for",
        ],
    ),
    (
        Verb::Read,
        &[
            "read",
            "read me",
            "read out",
            "show",
            "show me",
            "open",
            "cat",
            "display",
            "print",
            "what does",
            "what is written in",
            "what's written in",
            "let me see",
            "let me read",
            "i want to see",
            "i want to read",
            "lis",
            "lis-moi",
            "ouvre",
            "montre",
            "montre-moi",
            "montre moi",
            "affiche",
        ],
    ),
    (
        Verb::Send,
        &[
            "send",
            "send me",
            "send us",
            "send over",
            "send me over",
            "give me",
            "get me",
            "bring me",
            "hand me",
            "fetch",
            "fetch me",
            "find and send me",
            "share",
            "attach",
            "upload",
            "download",
            "let me have",
            "can i have",
            "can i get",
            "could i have",
            "could i get",
            "may i have",
            "envoie",
            "envoie-moi",
            "envoie moi",
            "envoyez-moi",
            "donne-moi",
            "donne moi",
            "transmets-moi",
        ],
    ),
    (
        Verb::Want,
        &[
            "i need",
            "i want",
            "i would like",
            "i'd like",
            "je veux",
            "je voudrais",
            "il me faut",
            "j'ai besoin de",
        ],
    ),
    (
        Verb::Write,
        &[
            "write",
            "write down",
            "write the text",
            "save",
            "save the text",
            "create",
            "create a file",
            "create the file",
            "make a file",
            "put",
            "ecris",
            "enregistre",
            "cree",
            "cree un fichier",
        ],
    ),
    (
        Verb::Append,
        &["append", "add", "add the line", "add a line", "ajoute"],
    ),
    (
        Verb::Note,
        &[
            "note",
            "note down",
            "jot down",
            "make a note",
            "take a note",
        ],
    ),
    (
        Verb::Run,
        &[
            "run",
            "run the command",
            "run the program",
            "execute",
            "exec",
            "launch",
            "lance",
            "$",
        ],
    ),
    (
        Verb::Remember,
        &[
            "remember",
            "remember that",
            "please remember that",
            "keep in mind",
            "keep in mind that",
            "don't forget",
            "don't forget that",
            "note that",
            "make a note that",
            "memorize",
            "memorize that",
            "retiens",
            "retiens que",
            "souviens-toi que",
            "rappelle-toi que",
            "n'oublie pas",
            "n'oublie pas que",
        ],
    ),
    (
        Verb::Recall,
        &[
            "recall",
            "what do you know",
            "what do you know about",
            "what do you know of",
            "what do you remember",
            "what do you remember about",
            "what do you remember of",
            "what did i tell you about",
            "what have i told you about",
            "what did i say about",
            "do you remember",
            "do you know",
            "do you know about",
            "tell me what you know about",
            "tell me about",
            "what is my",
            "what's my",
            "what are my",
            "who is my",
            "who's my",
            "when is my",
            "when's my",
            "que sais-tu",
            "que sais-tu de",
            "que sais-tu sur",
            "qu'est-ce que tu sais de",
            "qu'est-ce que tu sais sur",
            "te souviens-tu de",
            "quel est mon",
            "quelle est ma",
        ],
    ),
    (
        Verb::Forget,
        &[
            "forget",
            "forget that",
            "forget about",
            "forget what i said about",
            "oublie",
            "oublie que",
        ],
    ),
    (
        Verb::Remind,
        &[
            "remind",
            "remind me",
            "set a reminder",
            "set an alarm",
            "set a timer",
            "wake me",
            "rappelle-moi",
            "rappelle moi",
        ],
    ),
];

/// Words that say nothing about which file is meant.
const FILLERS: &[&str] = &[
    "a",
    "an",
    "the",
    "my",
    "our",
    "your",
    "me",
    "us",
    "some",
    "any",
    "of",
    "for",
    "to",
    "in",
    "on",
    "at",
    "with",
    "from",
    "about",
    "that",
    "this",
    "is",
    "are",
    "it",
    "file",
    "files",
    "document",
    "documents",
    "copy",
    "called",
    "named",
    "put",
    "saved",
    "le",
    "la",
    "les",
    "un",
    "une",
    "des",
    "du",
    "de",
    "mon",
    "ma",
    "mes",
    "notre",
    "nos",
    "fichier",
    "fichiers",
];

/// Words around a folder's name that are not part of it.
const FOLDER_FILLERS: &[&str] = &[
    "all",
    "the",
    "my",
    "our",
    "me",
    "a",
    "of",
    "in",
    "under",
    "inside",
    "below",
    "from",
    "file",
    "files",
    "folder",
    "folders",
    "directory",
    "contents",
    "content",
    "everything",
    "there",
    "what",
    "is",
    "what's",
    "i",
    "have",
    "do",
    "documents here",
    "here",
    "le",
    "la",
    "les",
    "mes",
    "de",
    "du",
    "des",
    "dans",
    "dossier",
    "fichiers",
    "tout",
];

/// Words between a text and the file it goes to.
const TOWARDS: &[&str] = &[
    "to", "in", "into", "as", "at", "onto", "under", "dans", "a", "sur", "vers",
];

/// What a person wants.
pub(super) fn read(text: &str) -> Intent {
    let all = words(text);
    if let Some(intent) = whole(&all) {
        return intent;
    }
    let mut rest = all.as_slice();
    while let Some(next) = BEFORE.iter().find_map(|phrase| strip(rest, phrase)) {
        rest = next;
    }
    if rest.is_empty() {
        return if all.is_empty() {
            Intent::Unknown
        } else {
            Intent::Greeting
        };
    }
    rest = strip_after(rest, COURTESY);
    if let Some(intent) = whole(rest) {
        return intent;
    }
    if let Some(number) = choice(rest) {
        return Intent::Choose(number);
    }
    let opening = OPENINGS
        .iter()
        .flat_map(|(verb, phrases)| phrases.iter().map(move |phrase| (*verb, *phrase)))
        .filter_map(|(verb, phrase)| Some((verb, strip(rest, phrase)?)))
        .min_by_key(|(_, left)| left.len());
    opening.map_or(Intent::Unknown, |(verb, left)| intent(verb, text, left))
}

fn intent(verb: Verb, text: &str, rest: &[Word]) -> Intent {
    let brisk = strip_after(rest, HASTE);
    let said = || raw(text, rest);
    match verb {
        Verb::List => list(text, brisk),
        Verb::Search => search(text, brisk, false),
        Verb::SearchText => search(text, brisk, true),
        Verb::Read => one_file(
            text,
            strip_after(brisk, &["say", "says", "contain", "contains"]),
            Intent::Read,
        ),
        Verb::Want if rest.first().is_some_and(|word| word.bare == "to") => Intent::Unknown,
        Verb::Send | Verb::Want => send(text, brisk),
        Verb::Write => write(&said(), false).unwrap_or(Intent::Unclear(HOW_TO_WRITE)),
        Verb::Append => write(&said(), true).unwrap_or(Intent::Unclear(HOW_TO_WRITE)),
        Verb::Note => write(&said(), true).unwrap_or_else(|| remember(&said())),
        Verb::Run => argv(&command(text, rest)).map_or_else(Intent::Unclear, Intent::Run),
        Verb::Remember => remember(&said()),
        Verb::Recall => Intent::Recall(about(brisk)),
        Verb::Forget => match about(brisk) {
            query if query.is_empty() || query == "everything" || query == "all" => {
                Intent::Unclear(HOW_TO_FORGET)
            }
            query => Intent::Forget(query),
        },
        Verb::Remind => Intent::Remind(said()),
    }
}

/// One word as it stands in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    start: usize,
    end: usize,
    /// Without the marks around it.
    clean: String,
    /// That, in small letters without accents: what the tables hold.
    bare: String,
}

fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut at = 0;
    for piece in text.split(char::is_whitespace) {
        let start = at;
        at += piece.len()
            + text[start + piece.len()..]
                .chars()
                .next()
                .map_or(0, char::len_utf8);
        if !piece.is_empty() {
            let clean = trim(piece).to_owned();
            let bare = fold(if clean.is_empty() { piece } else { &clean });
            words.push(Word {
                start,
                end: start + piece.len(),
                clean,
                bare,
            });
        }
    }
    // A lone mark is no word, but for `$` before a command, `.` for a folder, and `?` with nothing beside it.
    let alone = words.len() == 1;
    words.retain(|word| {
        !word.clean.is_empty()
            || matches!(word.bare.as_str(), "$" | ".")
            || (alone && word.bare == "?")
    });
    words
}

fn trim(piece: &str) -> &str {
    let quotes = [
        '"', '\'', '`', '“', '”', '‘', '’', '«', '»', '(', ')', '[', ']', ',', ';', '!', '…', '—',
        '–',
    ];
    piece
        .trim_start_matches(quotes)
        .trim_end_matches(quotes)
        .trim_end_matches(|c| matches!(c, '.' | '?' | ':') || quotes.contains(&c))
}

/// Small letters without the accents of French, and straight apostrophes.
pub(super) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        match c {
            'à' | 'â' | 'ä' | 'á' => folded.push('a'),
            'é' | 'è' | 'ê' | 'ë' => folded.push('e'),
            'î' | 'ï' | 'í' => folded.push('i'),
            'ô' | 'ö' | 'ó' => folded.push('o'),
            'ù' | 'û' | 'ü' | 'ú' => folded.push('u'),
            'ç' => folded.push('c'),
            'œ' => folded.push_str("oe"),
            '’' | '‘' => folded.push('\''),
            c => folded.push(c),
        }
    }
    folded
}

fn strip<'a>(words: &'a [Word], phrase: &str) -> Option<&'a [Word]> {
    let mut rest = words;
    for part in phrase.split(' ') {
        let (first, next) = rest.split_first()?;
        if first.bare != part {
            return None;
        }
        rest = next;
    }
    Some(rest)
}

fn strip_after<'a>(words: &'a [Word], phrases: &[&str]) -> &'a [Word] {
    let mut rest = words;
    loop {
        let ends = |phrase: &&str| {
            let length = phrase.split(' ').count();
            let split = rest.len().checked_sub(length)?;
            strip(&rest[split..], phrase).filter(|left| left.is_empty())?;
            Some(&rest[..split])
        };
        match phrases.iter().find_map(ends) {
            Some(shorter) => rest = shorter,
            None => return rest,
        }
    }
}

fn whole(words: &[Word]) -> Option<Intent> {
    let said = strip_after(words, &["bernard", "everyone"]);
    let is = |phrase: &&str| strip(said, phrase).is_some_and(<[Word]>::is_empty);
    WHOLE
        .iter()
        .find(|(phrases, _)| phrases.iter().any(is))
        .map(|(_, intent)| intent.clone())
}

/// `2`, `the second`, `number two`, `the last one`.
fn choice(words: &[Word]) -> Option<usize> {
    const ORDINALS: &[(&str, usize)] = &[
        ("first", 1),
        ("1st", 1),
        ("one", 1),
        ("second", 2),
        ("2nd", 2),
        ("two", 2),
        ("third", 3),
        ("3rd", 3),
        ("three", 3),
        ("fourth", 4),
        ("4th", 4),
        ("fifth", 5),
        ("5th", 5),
        ("last", 0),
        ("premier", 1),
        ("premiere", 1),
        ("deuxieme", 2),
        ("troisieme", 3),
        ("dernier", 0),
        ("derniere", 0),
    ];
    let mut rest = words;
    while let Some(next) = ["the", "number", "le", "la", "numero"]
        .iter()
        .find_map(|word| strip(rest, word))
    {
        rest = next;
    }
    if rest.len() > 1 {
        rest = strip_after(rest, &["one"]);
    }
    let [word] = rest else { return None };
    let number = word.bare.trim_start_matches('#');
    let counted = number
        .parse()
        .ok()
        .filter(|number| (1..=99).contains(number));
    counted.or_else(|| {
        ORDINALS
            .iter()
            .find(|(name, _)| *name == number)
            .map(|(_, number)| *number)
    })
}

/// What the words stand for in the text, marks and all.
fn raw(text: &str, words: &[Word]) -> String {
    match (words.first(), words.last()) {
        (Some(first), Some(last)) => text[first.start..last.end].trim().to_owned(),
        _ => String::new(),
    }
}

fn list(text: &str, rest: &[Word]) -> Intent {
    let mut left = rest;
    let filler = |word: &Word| FOLDER_FILLERS.contains(&word.bare.as_str());
    while let Some((first, next)) = left.split_first().filter(|(first, _)| filler(first)) {
        let _ = first;
        left = next;
    }
    while let Some((last, next)) = left.split_last().filter(|(last, _)| filler(last)) {
        let _ = last;
        left = next;
    }
    let folder = unquote(&raw(text, left))
        .trim_end_matches(['?', '!', ',', ';'])
        .trim_end()
        .to_owned();
    let folder = if matches!(folder.as_str(), "." | "/" | "./" | "~" | "~/") {
        String::new()
    } else {
        folder
    };
    if has_extension(&folder) {
        Intent::Read(Wanted::Path(folder))
    } else {
        Intent::List(folder.trim_end_matches('.').to_owned())
    }
}

fn search(text: &str, rest: &[Word], contents: bool) -> Intent {
    let said = raw(text, rest);
    let query =
        quoted(&said).map_or_else(|| described(rest).join(" "), |(inner, _)| inner.to_owned());
    if query.is_empty() {
        return Intent::Unclear("Tell me what to look for, such as `find lease`.");
    }
    Intent::Search { query, contents }
}

fn send(text: &str, rest: &[Word]) -> Intent {
    let to = rest
        .iter()
        .rposition(|word| matches!(word.bare.as_str(), "to" | "a"))
        .filter(|at| *at > 0);
    let Some(at) = to else {
        return one_file(text, rest, Intent::Send);
    };
    let me = ["me", "us", "here", "moi", "this chat", "the chat"];
    let whom = &rest[at + 1..];
    if me
        .iter()
        .any(|name| strip(whom, name).is_some_and(<[Word]>::is_empty))
    {
        return one_file(text, &rest[..at], Intent::Send);
    }
    // `send me my letter to the bank` names a letter; `send my letter to the bank` names someone else.
    let before = words(&text[..rest.first().map_or(0, |word| word.start)]);
    let to_me = before
        .last()
        .is_some_and(|word| word.bare == "me" || word.bare == "us" || word.bare.ends_with("moi"));
    let wanted = before.last().is_some_and(|word| {
        matches!(
            word.bare.as_str(),
            "need" | "want" | "like" | "have" | "get"
        )
    });
    if to_me || wanted {
        one_file(text, rest, Intent::Send)
    } else {
        Intent::Unclear(ONLY_TO_YOU)
    }
}

fn one_file(text: &str, rest: &[Word], intent: impl Fn(Wanted) -> Intent) -> Intent {
    wanted(&raw(text, rest), rest).map_or(Intent::Unclear(HOW_TO_NAME_A_FILE), intent)
}

fn wanted(said: &str, rest: &[Word]) -> Option<Wanted> {
    if let Some((inner, _)) = quoted(said).filter(|(inner, _)| is_path(inner)) {
        return Some(Wanted::Path(inner.to_owned()));
    }
    let kept: Vec<&Word> = rest
        .iter()
        .filter(|word| !FILLERS.contains(&word.bare.as_str()))
        .collect();
    if let [first, .., last] = kept.as_slice()
        && first.clean.contains('/')
        && has_extension(&last.clean)
        && !has_extension(&first.clean)
    {
        // A path with blanks in it.
        let from = said.find(first.clean.as_str())?;
        let to = said.rfind(last.clean.as_str())? + last.clean.len();
        return Some(Wanted::Path(said.get(from..to)?.to_owned()));
    }
    let path = kept
        .iter()
        .find(|word| word.clean.contains('/') && word.clean.len() > 1);
    let name = kept
        .iter()
        .find(|word| has_extension(&word.clean))
        .filter(|_| kept.len() == 1);
    if let Some(word) = path.or(name) {
        return Some(Wanted::Path(word.clean.clone()));
    }
    let words = described(rest);
    (!words.is_empty()).then_some(Wanted::Described(words))
}

/// The words that matter, in small letters; all of them where none seems to.
fn described(rest: &[Word]) -> Vec<String> {
    let plain = |word: &Word| {
        let word = word.clean.to_lowercase().replace('’', "'");
        let word = word.strip_suffix("'s").unwrap_or(&word);
        ["l'", "d'", "m'"]
            .iter()
            .find_map(|elided| word.strip_prefix(elided))
            .unwrap_or(word)
            .to_owned()
    };
    let kept = rest
        .iter()
        .filter(|word| !FILLERS.contains(&word.bare.as_str()));
    let kept: Vec<String> = kept.map(plain).filter(|word| !word.is_empty()).collect();
    if kept.is_empty() {
        rest.iter()
            .map(plain)
            .filter(|word| !word.is_empty())
            .collect()
    } else {
        kept
    }
}

fn remember(said: &str) -> Intent {
    let fact = said.trim().trim_start_matches([':', '-']).trim();
    let fact = quoted(fact)
        .filter(|(_, after)| after.is_empty())
        .map_or(fact, |(inner, _)| inner);
    if fact.is_empty() {
        Intent::Unclear(HOW_TO_REMEMBER)
    } else {
        Intent::Remember(fact.to_owned())
    }
}

/// What a question is about; nothing for oneself, since all that is remembered is about its owner.
fn about(rest: &[Word]) -> String {
    let mut left = rest;
    while let Some(next) = [
        "my", "the", "about", "that", "our", "mon", "ma", "mes", "le", "la",
    ]
    .iter()
    .find_map(|word| strip(left, word))
    {
        left = next;
    }
    let own = ["me", "myself", "us", "moi", "everything"];
    if left.len() == 1
        && left.iter().all(|word| own.contains(&word.bare.as_str()))
        && left.first().is_some_and(|w| w.bare != "everything")
    {
        return String::new();
    }
    left.iter()
        .map(|word| word.clean.as_str())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A quotation at the very beginning, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    const PAIRS: &[(char, char)] = &[
        ('"', '"'),
        ('“', '”'),
        ('«', '»'),
        ('‘', '’'),
        ('\'', '\''),
        ('`', '`'),
    ];
    let first = text.chars().next()?;
    let (_, close) = PAIRS.iter().find(|(open, _)| *open == first)?;
    let rest = &text[first.len_utf8()..];
    // The first closing mark that ends a word: an apostrophe inside one does not.
    let end = rest.match_indices(*close).map(|(at, _)| at).find(|at| {
        rest[at + close.len_utf8()..]
            .chars()
            .next()
            .is_none_or(|next| !next.is_alphanumeric())
    })?;
    Some((rest[..end].trim(), rest[end + close.len_utf8()..].trim()))
}

fn unquote(text: &str) -> &str {
    quoted(text).map_or(text, |(inner, _)| inner)
}

fn is_path(text: &str) -> bool {
    text.contains('/') || has_extension(text)
}

fn has_extension(text: &str) -> bool {
    let name = text.rsplit('/').next().unwrap_or(text);
    name.rsplit_once('.').is_some_and(|(stem, extension)| {
        !stem.is_empty()
            && (1..=5).contains(&extension.len())
            && extension.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && extension.bytes().any(|byte| byte.is_ascii_alphabetic())
    })
}

/// `"text" to file`, `text to file`, `file: text`, `file with "text"`.
fn write(said: &str, append: bool) -> Option<Intent> {
    let (text, path) = quoted_first(said)
        .or_else(|| file_first(said))
        .or_else(|| towards(said))?;
    let (text, path) = (text.to_owned(), path.to_owned());
    (!text.is_empty() && !path.is_empty()).then_some(Intent::Write { path, text, append })
}

fn quoted_first(said: &str) -> Option<(&str, &str)> {
    let (text, after) = quoted(said)?;
    Some((text, file_name(after)?))
}

fn file_first(said: &str) -> Option<(&str, &str)> {
    for between in [
        ": ",
        ":\n",
        " with the text ",
        " with ",
        " containing ",
        " saying ",
        " avec ",
    ] {
        if let Some((left, right)) = said.split_once(between)
            && let Some(path) = file_name(left).filter(|path| is_path(path) && !path.contains(' '))
        {
            return Some((unquote(right.trim()), path));
        }
    }
    None
}

fn towards(said: &str) -> Option<(&str, &str)> {
    let (at, _) = said
        .match_indices(char::is_whitespace)
        .rev()
        .find(|(at, _)| {
            let right = said[*at..].trim_start();
            let first = right.split_whitespace().next().unwrap_or_default();
            TOWARDS.contains(&fold(first).as_str())
                && file_name(right).is_some_and(|path| is_path(path) && !path.contains(' '))
        })?;
    Some((said[..at].trim(), file_name(said[at..].trim_start())?))
}

/// A file's name after `to`, `in the file` and the like.
fn file_name(text: &str) -> Option<&str> {
    let mut rest = text.trim().trim_start_matches([',', ':']).trim_start();
    while let Some((first, next)) = rest.split_once(char::is_whitespace) {
        let first = fold(first);
        let skip = TOWARDS.contains(&first.as_str())
            || [
                "the", "my", "a", "file", "called", "named", "document", "le", "la", "mon",
                "fichier", "end", "of",
            ]
            .contains(&first.as_str());
        if !skip {
            break;
        }
        rest = next.trim_start();
    }
    let name = unquote(rest).trim_end_matches(['.', '!', '?', ',']).trim();
    (!name.is_empty() && !TOWARDS.contains(&name)).then_some(name)
}

/// The command in a sentence: between backticks, or all the rest but for the mark of a question.
fn command(text: &str, rest: &[Word]) -> String {
    let said = raw(text, rest);
    if let Some((inside, _)) = said
        .strip_prefix('`')
        .and_then(|rest| rest.rsplit_once('`'))
    {
        return inside.to_owned();
    }
    let before = words(&text[..rest.first().map_or(0, |word| word.start)]);
    let asked = before.iter().any(|word| {
        matches!(
            word.bare.as_str(),
            "can" | "could" | "would" | "will" | "peux-tu"
        )
    });
    let question = said.strip_suffix('?').filter(|_| asked).map(str::trim_end);
    question.unwrap_or(&said).to_owned()
}

/// Splits a command into its words, quotes kept together; there is no shell to do it.
fn argv(said: &str) -> Result<Vec<String>, &'static str> {
    let mut argv = Vec::new();
    let mut word: Option<String> = None;
    let mut bare = true;
    let mut quote = None;
    let mut escaped = false;
    for c in said.chars() {
        let c = if matches!(c, '“' | '”') { '"' } else { c };
        match (quote, c) {
            _ if escaped => {
                word.get_or_insert_default().push(c);
                escaped = false;
            }
            (None | Some('"'), '\\') => (escaped, bare) = (true, false),
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                (quote, bare) = (Some(c), false);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => {
                end_word(&mut argv, &mut word, bare)?;
                bare = true;
            }
            (Some(_) | None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(OPEN_QUOTE);
    }
    end_word(&mut argv, &mut word, bare)?;
    if argv.is_empty() {
        Err(HOW_TO_RUN)
    } else {
        Ok(argv)
    }
}

fn end_word(
    argv: &mut Vec<String>,
    word: &mut Option<String>,
    bare: bool,
) -> Result<(), &'static str> {
    let Some(word) = word.take() else {
        return Ok(());
    };
    let operator = word.starts_with(['|', '>', '<', '&'])
        || word.ends_with([';', '&', '|'])
        || word.starts_with("2>");
    if bare && operator {
        return Err(NO_SHELL);
    }
    argv.push(word);
    Ok(())
}
