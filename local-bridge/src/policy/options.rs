//! What the words after a rule's beginning may be: options that write or start programs are never covered by a beginning alone.
//!
//! It looks at whole words of an argv, never at a command line. Programs whose options are known have a row in [`KNOWN`]; of all others
//! every option that the rule does not name is a question.

use super::Command;
use std::path::Path;

/// What is known of a command's words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Finding {
    /// They do no more than the rule says.
    Plain,
    /// Nobody here knows what they do.
    Unknown(String),
    /// They make the program do something else than the rule says, or hide what they are.
    Acts(String),
}

/// What is known of a program's options: all but these only choose what is shown.
struct Known {
    program: &'static str,
    /// The second words that the row is for; all, where there are none.
    subcommands: &'static [&'static str],
    /// Long options that write, start programs, or read other files than the ones named.
    long: &'static [&'static str],
    /// Letters that do.
    short: &'static str,
    /// Letters that take what follows them in the same word as their value.
    valued: &'static str,
    operands: Operands,
}

/// What a program takes beside options.
enum Operands {
    Any,
    /// A further one would be written to.
    AtMost(usize),
    /// Only formats, which begin with '+': anything else sets the clock.
    Formats,
}

const fn known(program: &'static str) -> Known {
    Known {
        program,
        subcommands: &[],
        long: &[],
        short: "",
        valued: "",
        operands: Operands::Any,
    }
}

/// Programs that have no option that acts, on Linux or macOS.
const HARMLESS: &str = "ls dir vdir cat head tail wc du df stat cmp comm cut tr paste join fold fmt nl od hexdump hd strings md5sum \
     sha1sum sha224sum sha256sum sha384sum sha512sum b2sum cksum sum md5 uname uptime whoami id groups who w users \
     logname pwd echo printf true false seq basename dirname realpath readlink grep egrep fgrep ps free column tac \
     rev expr tty printenv nproc lsblk lscpu cal ncal sw_vers factor sleep jq vmstat locale getconf numfmt expand \
     unexpand findmnt test";

/// Programs that have some.
const KNOWN: &[Known] = &[
    Known {
        long: &["output", "compress-program", "temporary-directory"],
        short: "oT",
        valued: "ktS",
        ..known("sort")
    },
    Known {
        long: &["paginate"], // starts pr
        short: "l",
        valued: "IFDxXUCSWL",
        ..known("diff")
    },
    Known {
        // Compiles a file of its own, starts decompressors, leaves its own sandbox.
        long: &["compile", "uncompress", "uncompress-noreport", "no-sandbox"],
        short: "CzZS",
        ..known("file")
    },
    Known {
        // A letter that takes a value takes it from the next word, so that letters after it still count.
        short: "oR",
        long: &["output"],
        ..known("tree")
    },
    Known {
        long: &["pre", "hostname-bin", "search-zip"],
        short: "z",
        valued: "efgtTmABCMjdEr",
        ..known("rg")
    },
    Known {
        long: &["output"],
        short: "o", // on macOS
        ..known("base64")
    },
    Known {
        operands: Operands::AtMost(1),
        ..known("uniq")
    },
    Known {
        short: "r",
        long: &["revert"],
        operands: Operands::AtMost(1),
        ..known("xxd")
    },
    Known {
        long: &["file", "boot"],
        short: "Fb",
        operands: Operands::AtMost(0),
        ..known("hostname")
    },
    Known {
        long: &["set"],
        short: "s",
        valued: "dfrIv",
        operands: Operands::Formats,
        ..known("date")
    },
    Known {
        subcommands: &[
            "log",
            "show",
            "diff",
            "whatchanged",
            "diff-tree",
            "diff-index",
            "diff-files",
            "shortlog",
            "rev-list",
        ],
        long: &[
            "output",
            "alternate-refs",
            "ext-diff",
            "textconv",
            "show-signature",
            "remerge-diff",
            "diff-merges",
            "no-index",
            "open-files-in-pager",
            "upload-pack",
            "exec",
            "config-env",
        ],
        short: "Oc",
        valued: "SGLU",
        ..known("git")
    },
    Known {
        subcommands: &["grep"],
        long: &["open-files-in-pager", "textconv", "no-index", "ext-grep"],
        short: "O", // `-c` counts
        valued: "efABCm",
        ..known("git")
    },
    Known {
        subcommands: &[
            "status",
            "blame",
            "annotate",
            "ls-files",
            "ls-tree",
            "describe",
            "rev-parse",
            "cat-file",
            "name-rev",
            "merge-base",
            "count-objects",
            "check-ignore",
            "check-attr",
            "show-ref",
            "for-each-ref",
            "cherry",
            "version",
        ],
        long: &[
            "textconv",
            "filters",
            "output",
            "exec",
            "exec-path",
            "config-env",
            "ext-diff",
        ],
        short: "Oc",
        ..known("git")
    },
];

/// Words that tell, in programs that we do not know, of options that write or start something: `--exec`, `-execdir`, `--output=…`.
const ACTING: &str = "exec execdir ok okdir command to-command use-compress-program compress-program checkpoint-action info-script \
     new-volume-script rsh rsh-command upload-pack receive-pack ext-diff textconv output out outfile output-document \
     output-file pager editor edit config config-file eval script script-file init-file init-command rcfile hook \
     plugin pre preprocessor hostname-bin delete remove remove-destination in-place inplace write save log-file \
     logfile trace dump load load-extension library require import module open-files-in-pager filter proxy-command \
     proxycommand shell strip-program diff-program wrapper run run-command on-download-complete post-file \
     upload-file engine provider plugin-dir template fprint fprintf fls unsafe no-sandbox fix apply";

/// Beginnings that make git start a program as if it were another machine.
const TRANSPORTS: [&str; 2] = ["ext::", "fd::"];

/// What the words of `argv` after the rule's beginning do.
pub(super) fn look(argv: &[String], rule: &Command) -> Finding {
    let (program, beginning) = (known_name(rule), rule.argv.len());
    let own: Vec<&String> = rule.argv.iter().chain(&rule.options).collect();
    let rest = argv.iter().skip(beginning);
    let words = rest
        .map(|word| {
            let by_looks = looks(word);
            if is_named(word, &own) {
                return by_looks;
            }
            by_looks.max(word_of(&program, argv, word))
        })
        .max();
    words
        .unwrap_or(Finding::Plain)
        .max(operands(&program, argv))
}

/// Whether the program of a rule is one whose options are known, so that no word after the rule's beginning is a question.
pub(super) fn is_known(rule: &Command) -> bool {
    let program = known_name(rule);
    let takes_any = |row: &Known| matches!(row.operands, Operands::Any);
    HARMLESS.split(' ').any(|name| name == program)
        || row(&program, &rule.argv).is_some_and(takes_any)
}

/// The name that says what a program's options mean. Git's is its own, whatever it is called by.
fn known_name(rule: &Command) -> String {
    let last = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let real = last(&rule.program);
    if real == "git" {
        return real;
    }
    last(Path::new(rule.argv.first().map_or("", String::as_str)))
}

/// Only the very word, or a long option with its value: no abbreviation, nothing run together.
fn is_named(word: &str, own: &[&String]) -> bool {
    let before = word.split_once('=').map_or(word, |(name, _)| name);
    let is_long = before.starts_with("--");
    own.iter()
        .any(|named| named.starts_with('-') && (*named == word || is_long && *named == before))
}

/// What a word's characters do to whoever reads it.
pub(super) fn looks(word: &str) -> Finding {
    let shown = word.escape_debug();
    if word
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\t') || is_invisible(c))
    {
        return Finding::Acts(format!("'{shown}' holds characters that cannot be seen"));
    }
    if word.trim_start().starts_with(is_like_a_dash) {
        return Finding::Acts(format!("'{shown}' looks like an option and is none"));
    }
    if word.is_empty() {
        return Finding::Unknown("one of its words is empty".to_owned());
    }
    if word.contains(|c: char| {
        c.is_control() || matches!(c, '\u{200c}' | '\u{200d}') || is_odd_space(c)
    }) {
        return Finding::Unknown(format!("'{shown}' is more than one plain line"));
    }
    Finding::Plain
}

/// Characters that reorder or vanish. The joiners of emoji and scripts are not among them: file names have those.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn is_like_a_dash(c: char) -> bool {
    matches!(
        c,
        '\u{58a}' | '\u{5be}' | '\u{1400}' | '\u{1806}' | '\u{2010}'
            ..='\u{2015}'
                | '\u{2043}'
                | '\u{2212}'
                | '\u{2796}'
                | '\u{2e3a}'
                | '\u{2e3b}'
                | '\u{30fc}'
                | '\u{fe58}'
                | '\u{fe63}'
                | '\u{ff0d}'
                | '\u{2cba}'
    )
}

fn is_odd_space(c: char) -> bool {
    c.is_whitespace() && c != ' ' || c == '\u{2800}'
}

fn word_of(program: &str, argv: &[String], word: &str) -> Finding {
    if program == "git"
        && let Some(why) = git_word(word)
    {
        return Finding::Acts(why);
    }
    if HARMLESS.split(' ').any(|name| name == program) {
        return Finding::Plain;
    }
    match row(program, argv) {
        Some(row) if row.acts(word) => acting(word),
        Some(_) => Finding::Plain,
        None => unknown(program, word),
    }
}

fn row(program: &str, argv: &[String]) -> Option<&'static Known> {
    let second = argv.get(1).map_or("", String::as_str);
    KNOWN.iter().find(|row| {
        row.program == program && (row.subcommands.is_empty() || row.subcommands.contains(&second))
    })
}

/// Words that make any of git's commands start a program.
fn git_word(word: &str) -> Option<String> {
    let shown = word.escape_debug();
    if TRANSPORTS.iter().any(|transport| word.contains(transport)) || word.contains("://-") {
        return Some(format!(
            "'{shown}' is an address at which git starts a program"
        ));
    }
    if word.contains("%G") || word.contains("(signature") {
        return Some(format!(
            "'{shown}' makes git start the program that checks signatures"
        ));
    }
    None
}

impl Known {
    fn acts(&self, word: &str) -> bool {
        if let Some(long) = word.strip_prefix("--") {
            // Programs take any beginning of an option that is clear for the option.
            let name = long.split_once('=').map_or(long, |(name, _)| name);
            return !name.is_empty() && self.long.iter().any(|acting| acting.starts_with(name));
        }
        let Some(letters) = word.strip_prefix('-') else {
            return false;
        };
        letters
            .chars()
            .take_while(|letter| !self.valued.contains(*letter))
            .any(|letter| self.short.contains(letter))
    }
}

/// A word for a program of which we know nothing.
fn unknown(program: &str, word: &str) -> Finding {
    let name = word.trim_start_matches(['-', '+']);
    let name = name.split_once(['=', ':']).map_or(name, |(name, _)| name);
    let name = name.to_lowercase().replace('_', "-");
    let is_option = word.starts_with('-') && word != "-";
    // One letter is as little as any other; of two or more we know what they mean if they begin a word that we know.
    let tells = |acting: &str| {
        name.len() >= 2
            && (acting.starts_with(name.as_str()) || name.starts_with(&format!("{acting}-")))
            || name == acting
    };
    if is_option && ACTING.split(' ').any(tells) {
        return acting(word);
    }
    // After a `--` stands what some programs run, and what others only read.
    if is_option || word.starts_with(['+', '@']) {
        return Finding::Unknown(format!(
            "what '{}' does in {program} is not known here",
            word.escape_debug()
        ));
    }
    Finding::Plain
}

fn acting(word: &str) -> Finding {
    let name = word.split_once('=').map_or(word, |(name, _)| name);
    Finding::Acts(format!(
        "'{}' can write files or start programs, and no rule names it",
        name.escape_debug()
    ))
}

fn operands(program: &str, argv: &[String]) -> Finding {
    let Some(row) = row(program, argv) else {
        return Finding::Plain;
    };
    let mut ended = false;
    let operands: Vec<&String> = argv
        .iter()
        .skip(1)
        .filter(|word| {
            let before = ended;
            ended = ended || *word == "--";
            before || !word.starts_with('-') || *word == "-"
        })
        .collect();
    match row.operands {
        Operands::Any => Finding::Plain,
        Operands::AtMost(most) if operands.len() <= most => Finding::Plain,
        Operands::AtMost(_) => Finding::Unknown(format!(
            "{program} may write to '{}'",
            operands.last().map_or("", |word| word).escape_debug()
        )),
        Operands::Formats if operands.iter().all(|word| word.starts_with('+')) => Finding::Plain,
        Operands::Formats => {
            Finding::Unknown(format!("{program} may set the clock by its last word"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(argv: &[&str], beginning: usize, named: &[&str]) -> &'static str {
        found_by("", argv, beginning, named)
    }

    fn found_by(real: &str, argv: &[&str], beginning: usize, named: &[&str]) -> &'static str {
        let owned = |words: &[&str]| -> Vec<String> {
            words.iter().map(|word| (*word).to_owned()).collect()
        };
        let mut rule = Command::new(owned(&argv[..beginning]), real.into());
        rule.options = owned(named);
        match look(&owned(argv), &rule) {
            Finding::Plain => "plain",
            Finding::Unknown(_) => "unknown",
            Finding::Acts(_) => "acts",
        }
    }

    #[test]
    fn options_are_known_in_every_way_of_writing_them() {
        for (argv, finding) in [
            (&["sort", "-n", "a"][..], "plain"),
            (&["sort", "-o", "a"], "acts"),
            (&["sort", "-nroa"], "acts"),
            (&["sort", "-to", "a"], "plain"), // the separator is the letter o
            (&["sort", "--outp=a"], "acts"),
            (&["sort", "--", "-oa"], "acts"),
            (&["tree", "-L", "2"], "plain"),
            (&["tree", "-Lo", "2", "f"], "acts"),
            (&["uniq", "a"], "plain"),
            (&["uniq", "a", "b"], "unknown"),
            (&["uniq", "--", "-a", "-b"], "unknown"),
            (&["date", "+%F"], "plain"),
            (&["date", "01010000"], "unknown"),
            (&["mystery", "a.txt"], "plain"),
            (&["mystery", "-q"], "unknown"),
            (&["mystery", "--exec-batch", "x"], "acts"),
            (&["mystery", "-exec", "x"], "acts"),
            (&["mystery", "@list"], "unknown"),
            (&["mystery", "--", "list"], "unknown"),
            (&["mystery", "--ou=f"], "acts"),
            (&["mystery", "--o=f"], "unknown"),
        ] {
            assert_eq!(found(argv, 1, &[]), finding, "{argv:?}");
        }
    }

    #[test]
    fn a_letter_means_what_it_means_in_the_subcommand() {
        assert_eq!(found(&["git", "grep", "-nO", "x"], 2, &[]), "acts");
        assert_eq!(found(&["git", "grep", "-eO"], 2, &[]), "plain");
        assert_eq!(found(&["git", "log", "-SO"], 2, &[]), "plain");
        assert_eq!(found(&["git", "log", "--format=%G?"], 2, &[]), "acts");
        assert_eq!(found(&["git", "fetch", "origin"], 2, &[]), "plain");
        assert_eq!(found(&["git", "fetch", "ext::sh -c x"], 2, &[]), "acts");
        assert_eq!(found(&["git", "fetch", "--all"], 2, &[]), "unknown");
        let by_another_name = ["g", "fetch", "ext::sh -c x"];
        assert_eq!(found_by("/usr/bin/git", &by_another_name, 2, &[]), "acts");
    }

    #[test]
    fn what_a_rule_names_is_covered_and_only_as_it_is_named() {
        assert_eq!(found(&["sort", "-o", "a"], 2, &[]), "plain");
        assert_eq!(found(&["sort", "x", "-o", "a"], 1, &["-o"]), "plain");
        assert_eq!(found(&["sort", "-oa"], 1, &["-o"]), "acts");
        assert_eq!(found(&["sort", "--output=a"], 1, &["--output"]), "plain");
        assert_eq!(found(&["sort", "--outp=a"], 1, &["--output"]), "acts");
        assert_eq!(found(&["git", "grep", "-nO"], 2, &["-n"]), "acts");
    }

    #[test]
    fn what_only_looks_like_something_else_is_seen() {
        for (word, finding) in [
            ("\u{2013}output", "acts"),
            ("\u{200b}-o", "acts"),
            ("a\u{202e}txt", "acts"),
            ("a\u{1b}[2J", "acts"),
            ("a\0", "acts"),
            ("", "unknown"),
            ("a\nb", "unknown"),
            ("a\u{a0}b", "unknown"),
            ("Bücher – Liste.txt", "plain"),
        ] {
            assert_eq!(found(&["ls", word], 1, &[]), finding, "{word:?}");
        }
    }
}
