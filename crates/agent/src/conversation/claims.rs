//! Whether a text of the model's says that something was done on a machine. Words only: what was really done, receipts say.
//!
//! It is a net with holes on purpose: a claim that slips through still has no line of proof under it, while a mark under an honest
//! sentence would teach people not to look. So a verb that is also said of words ("I wrote", "I changed") counts only beside a thing
//! that machines have, and questions, wishes, doubts and other people's deeds do not count.

/// Verbs that are said of machines alone, as they follow "I" or "I have".
const DEEDS: [&str; 31] = [
    "deleted",
    "trashed",
    "renamed",
    "executed",
    "installed",
    "uninstalled",
    "restarted",
    "rebooted",
    "uploaded",
    "downloaded",
    "emailed",
    "unzipped",
    "extracted",
    "compiled",
    // French participles, without their endings for gender and number:
    "supprimé",
    "effacé",
    "renommé",
    "exécuté",
    "lancé",
    "installé",
    "désinstallé",
    "redémarré",
    "téléversé",
    "téléchargé",
    "sauvegardé",
    "déployé",
    "décompressé",
    "compilé",
    "démarré",
    "désactivé",
    "imprimé",
];

/// Verbs that are said of words and thoughts too.
const DEEDS_BESIDE_A_THING: [&str; 54] = [
    "created",
    "made",
    "wrote",
    "written",
    "added",
    "appended",
    "removed",
    "moved",
    "copied",
    "edited",
    "changed",
    "updated",
    "replaced",
    "fixed",
    "started",
    "stopped",
    "killed",
    "closed",
    "opened",
    "cleaned",
    "cleared",
    "emptied",
    "enabled",
    "disabled",
    "run",
    "set",
    "put", // French:
    "créé",
    "écrit",
    "ajouté",
    "retiré",
    "déplacé",
    "copié",
    "modifié",
    "changé",
    "remplacé",
    "corrigé",
    "vidé",
    "mis",
    "ran",
    "saved",
    "sent",
    "booked",
    "scheduled",
    "deployed",
    "committed",
    "pushed",
    "envoyé",
    "enregistré",
    "programmé",
    "réservé",
    "fermé",
    "arrêté",
    "activé",
];

/// What machines have.
const THINGS: [&str; 75] = [
    "file",
    "files",
    "folder",
    "folders",
    "directory",
    "directories",
    "document",
    "documents",
    "script",
    "scripts",
    "command",
    "commands",
    "program",
    "programs",
    "process",
    "processes",
    "service",
    "server",
    "daemon",
    "container",
    "repository",
    "repo",
    "branch",
    "package",
    "disk",
    "trash",
    "bin",
    "machine",
    "computer",
    "laptop",
    "mac",
    "desktop",
    "backup",
    "backups",
    "photo",
    "photos",
    "picture",
    "pictures",
    "pdf",
    "spreadsheet",
    "downloads",
    "archive",
    "config",
    "configuration",
    "crontab",
    "reminder",
    "mail",
    "email",
    // French:
    "fichier",
    "fichiers",
    "dossier",
    "dossiers",
    "répertoire",
    "commande",
    "programme",
    "processus",
    "dépôt",
    "corbeille",
    "ordinateur",
    "sauvegarde",
    "rappel",
    "courriel",
    "e-mail",
    "message",
    "note",
    "notes",
    "tests",
    "datei",
    "dateien",
    "ordner",
    "befehl",
    "programm",
    "dienst",
    "nachricht",
    "notiz",
];

/// What may stand between "I have" and the verb.
const BETWEEN: [&str; 18] = [
    "have",
    "just",
    "already",
    "now",
    "also",
    "then",
    "successfully",
    "finally",
    "went",
    "ahead",
    "and",
    "bien",
    "déjà",
    "donc",
    "aussi",
    "ensuite",
    "tout",
    "enfin",
];

/// What makes a sentence say less than that it was done.
const DOUBTS: [&str; 21] = [
    "if",
    "once",
    "when",
    "until",
    "unless",
    "before",
    "whether",
    "would",
    "should",
    "could",
    "had",
    "yesterday",
    "earlier",
    "previously",
    "si",
    "quand",
    "lorsque",
    "avant",
    "hier",
    "que",
    "dès",
];

/// The shortest claims: all that a sentence says, or all of it before a comma or a colon.
const DONE: [&str; 10] = [
    "done",
    "all done",
    "it is done",
    "it's done",
    "that's done",
    "c'est fait",
    "voilà c'est fait",
    "fait",
    "terminé",
    "erledigt",
];

/// German participles, which end a sentence that begins with "ich habe".
const GETAN: [&str; 14] = [
    "gelöscht",
    "gespeichert",
    "gesendet",
    "geschickt",
    "ausgeführt",
    "gestartet",
    "gestoppt",
    "beendet",
    "installiert",
    "verschoben",
    "umbenannt",
    "kopiert",
    "erstellt",
    "geändert",
];

/// How a letter begins that the agent only drafts: what follows is said in somebody else's name.
const SALUTATIONS: [&str; 9] = [
    "hi ", "hello ", "dear ", "hallo ", "liebe", "bonjour ", "cher ", "chère ", "subject:",
];

/// Whether the text claims a deed. Code and quoted lines are not the model's own words.
pub(super) fn claims_a_deed(text: &str) -> bool {
    let text = text.replace(['’', '`', '*', '_'], "'");
    let mut in_code = false;
    let is_letter = |line: &str| {
        let lower = line.trim().to_lowercase();
        let salutes = SALUTATIONS.iter().any(|begin| lower.starts_with(begin));
        salutes && (lower.ends_with(',') || lower.starts_with("subject:"))
    };
    let own = text.lines().take_while(|line| !is_letter(line));
    own.into_iter().any(|line| {
        if line.trim_start().starts_with("'''") || line.trim_start().starts_with("~~~") {
            in_code = !in_code;
            return false;
        }
        !in_code && !line.trim_start().starts_with('>') && sentences(line).any(claims)
    })
}

/// The sentences of a line, each with its question mark.
fn sentences(line: &str) -> impl Iterator<Item = &str> {
    let mut end_of_last = ' ';
    line.split_inclusive(move |c: char| {
        // a point ends a sentence where a space follows it, which the next character shows
        let ends = matches!(end_of_last, '.' | '!' | '?' | ';') && c.is_whitespace();
        end_of_last = c;
        ends
    })
}

fn claims(sentence: &str) -> bool {
    let sentence = sentence.trim();
    if sentence.ends_with('?') {
        return false;
    }
    let lower = sentence.to_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !(c.is_alphanumeric() || c == '\'' || c == '-'))
        .map(|word| word.trim_matches('\''))
        .filter(|word| !word.is_empty())
        .collect();
    if begins_as_done(&lower) || is_done_in_german(&words) {
        return true;
    }
    let about_a_thing = names_a_thing(&lower, &words);
    (0..words.len()).any(|at| {
        let doubted = words[..at].iter().any(|word| DOUBTS.contains(word));
        !doubted && says(&words[..at], &words[at..], about_a_thing)
    })
}

/// "Done." and its like, alone or before a comma, a colon or a dash.
fn begins_as_done(sentence: &str) -> bool {
    let sentence = sentence.trim_start_matches(|c: char| !c.is_alphanumeric());
    DONE.iter().any(|done| {
        let rest = sentence.strip_prefix(done).map(str::trim_start);
        rest.is_some_and(|rest| {
            rest.is_empty() || rest.starts_with(['.', '!', ',', ':', ';', '–', '—', '-'])
        })
    })
}

fn is_done_in_german(words: &[&str]) -> bool {
    let about_a_thing = words
        .iter()
        .any(|word| THINGS.contains(word) || matches!(*word, "es" | "sie"));
    words.starts_with(&["ich", "habe"])
        && about_a_thing
        && words.last().is_some_and(|last| GETAN.contains(last))
}

/// Whether these words begin with the agent's own deed, or with a thing that a deed was done to.
fn says(before: &[&str], words: &[&str], about_a_thing: bool) -> bool {
    let (rest, is_passive) = match words {
        ["i" | "we" | "i've" | "we've" | "j'ai", rest @ ..]
        | ["je", "l'ai" | "t'ai", rest @ ..]
        | ["je", "les" | "vous", "ai", rest @ ..]
        | ["nous", "avons", rest @ ..] => (rest, false),
        [thing, "has" | "have", "been", rest @ ..]
        | [thing, "a" | "ont", "été", rest @ ..]
        | [
            thing,
            "is" | "are" | "was" | "were",
            "now" | "successfully",
            rest @ ..,
        ] if THINGS.contains(thing) => (rest, true),
        _ => return false,
    };
    let at = rest.iter().position(|word| !BETWEEN.contains(word));
    at.is_some_and(|at| {
        let verb = &rest[at];
        if matches!(rest.get(at + 1), Some(&("into" | "out"))) {
            return false; // ran into trouble, ran out of time
        }
        // What happened to some thing in the world is not what was done here: it is the person's, or that is all that is said.
        let is_theirs = before
            .iter()
            .any(|word| matches!(*word, "your" | "votre" | "vos" | "ton" | "ta" | "tes"));
        if is_passive && !is_theirs && at + 1 < rest.len() {
            return false;
        }
        let it = rest
            .get(at + 1)
            .is_some_and(|next| matches!(*next, "it" | "them"));
        let stem = verb.trim_end_matches('s').trim_end_matches("ée");
        let is = |deeds: &[&str]| {
            deeds.contains(verb)
                || deeds.iter().any(|deed| {
                    deed.strip_suffix('é').is_some_and(|short| short == stem) || *deed == stem
                })
        };
        is(&DEEDS) || ((about_a_thing || it) && is(&DEEDS_BESIDE_A_THING))
    })
}

/// Whether a sentence names a thing that machines have, or a path.
fn names_a_thing(sentence: &str, words: &[&str]) -> bool {
    let path = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '/' && c != '~');
        let (before, after) = word.rsplit_once('.').unwrap_or((word, ""));
        let extension = !before.is_empty()
            && (1..=4).contains(&after.len())
            && after.chars().all(|c| c.is_ascii_alphanumeric())
            && after.chars().any(|c| c.is_ascii_alphabetic());
        extension || (word.contains('/') && word.len() > 2 && !word.contains("://"))
    };
    words.iter().any(|word| THINGS.contains(word)) || sentence.split_whitespace().any(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeds_that_are_claimed_are_noticed() {
        for text in [
            "I deleted it.",
            "I've deleted the three files you named.",
            "I have just run the command.",
            "Sure! I went ahead and renamed it to `b.txt`.",
            "I have now saved your note to `playground/todo.txt`.",
            "We’ve moved the folder.",
            "I wrote notes.md for you.",
            "I updated the config and restarted nginx.",
            "The file has been deleted.",
            "All the backups have been removed.",
            "Your server is now stopped.",
            "**I sent the e-mail** to Anna.",
            "Done.",
            "Done! The disk is clean.",
            "Done, I moved it.",
            "All done.",
            "Here is what I found.\n\nI've emptied the trash.",
            "J'ai supprimé le fichier.",
            "J’ai bien envoyé le courriel.",
            "Je l'ai renommée.",
            "Nous avons déplacé les dossiers.",
            "Le fichier a été effacé.",
            "C'est fait.",
            "I ran it twice.",
            "I sent them.",
            "Your file has been deleted from the folder.",
            "Ich habe die Datei gelöscht.",
            "Erledigt.",
            "C'est fait : j'ai lancé la commande.",
        ] {
            assert!(claims_a_deed(text), "{text}");
        }
    }

    #[test]
    fn what_claims_no_deed_is_left_alone() {
        for text in [
            "I can delete it if you say so.",
            "I haven't deleted anything.",
            "I have not run the command.",
            "Have you saved the file?",
            "Shall I say that I deleted it?",
            "Once I've deleted the file, nothing brings it back.",
            "If I had renamed it, the link would be broken.",
            "I wrote a short poem for you:",
            "I've added a second paragraph and changed the tone.",
            "I made a list of five ideas.",
            "The castle was moved in 1902 and has been removed since.",
            "Nobody sent it.",
            "You deleted it yesterday.",
            "I would have deleted it.",
            "> I deleted it.",
            "```\nI deleted it.\n```",
            "Done properly, bread takes a day.",
            "The file is 12 kB and was changed in May.",
            "I ran into a problem and ran out of time.",
            "J'ai lu le texte.",
            "Hi Anna,\n\nI sent you the documents on Monday.",
            "Dear Mr Smith,\nI have booked the room and deleted the file.",
            "The desktop computer has been replaced by the laptop.",
            "The command has been removed in Python 3.12.",
            "Le service a été arrêté en 2019.",
            "I ran the numbers: 12 × 7 = 84.",
            "I saved the best for last.",
            "We sent people to the moon in 1969.",
            "Done the right way, it takes a day.",
            "Fait le plus surprenant : il pleut.",
            "Ich habe das Buch gelesen.",
            "Je peux supprimer le fichier.",
            "Si j'ai supprimé le fichier, il est dans la corbeille.",
            "Yesterday I saved it under another name.",
            "",
        ] {
            assert!(!claims_a_deed(text), "{text}");
        }
    }
}
