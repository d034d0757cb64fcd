//! Whether a text of the model's says that something was done on a machine. Words only: what was really done, receipts say.
//!
//! It is a net with holes on purpose: a claim that slips through still has no line of proof under it, while a mark under an honest
//! sentence would teach people not to look. So a verb that is also said of words ("I wrote", "I changed") counts only beside a thing
//! that machines have, and questions, wishes, doubts and other people's deeds do not count.

/// Verbs that are said of machines alone, as they follow "I" or "I have".
const DEEDS: [&str; 47] = [
    "deleted",
    "trashed",
    "renamed",
    "ran",
    "executed",
    "installed",
    "uninstalled",
    "restarted",
    "rebooted",
    "uploaded",
    "downloaded",
    "emailed",
    "sent",
    "saved",
    "committed",
    "pushed",
    "deployed",
    "unzipped",
    "extracted",
    "compiled",
    "backed",
    "scheduled",
    "booked",
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
    "envoyé",
    "enregistré",
    "sauvegardé",
    "déployé",
    "décompressé",
    "compilé",
    "programmé",
    "réservé",
    "démarré",
    "arrêté",
    "fermé",
    "activé",
    "désactivé",
    "imprimé",
];

/// Verbs that are said of words and thoughts too.
const DEEDS_BESIDE_A_THING: [&str; 39] = [
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
];

/// What machines have.
const THINGS: [&str; 62] = [
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

/// The shortest claims, as a text or a line begins.
const DONE: [&str; 9] = [
    "done",
    "all done",
    "it is done",
    "it's done",
    "that's done",
    "c'est fait",
    "voilà c'est fait",
    "fait",
    "terminé",
];

/// Whether the text claims a deed. Code and quoted lines are not the model's own words.
pub(super) fn claims_a_deed(text: &str) -> bool {
    let text = text.replace(['’', '`', '*', '_'], "\u{0}");
    let text = text.replace('\u{0}', "'");
    let mut in_code = false;
    text.lines().any(|line| {
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
    if begins_as_done(&words) {
        return true;
    }
    let about_a_thing = names_a_thing(&lower, &words);
    (0..words.len()).any(|at| {
        let doubted = words[..at].iter().any(|word| DOUBTS.contains(word));
        !doubted && says(&words[at..], about_a_thing)
    })
}

/// "Done." and its like, alone or before a comma or dash.
fn begins_as_done(words: &[&str]) -> bool {
    DONE.iter().any(|done| {
        let done: Vec<&str> = done.split(' ').collect();
        let next = words.get(done.len());
        words.starts_with(&done)
            && next.is_none_or(|next| {
                matches!(*next, "i" | "the" | "i've" | "your" | "j'ai" | "le" | "la")
            })
    })
}

/// Whether these words begin with the agent's own deed, or with a thing that a deed was done to.
fn says(words: &[&str], about_a_thing: bool) -> bool {
    let rest = match words {
        ["i" | "we" | "i've" | "we've" | "j'ai", rest @ ..]
        | ["je", "l'ai" | "t'ai", rest @ ..]
        | ["je", "les" | "vous", "ai", rest @ ..]
        | ["nous", "avons", rest @ ..] => rest,
        [thing, "has" | "have", "been", rest @ ..] | [thing, "a" | "ont", "été", rest @ ..]
            if THINGS.contains(thing) =>
        {
            rest
        }
        [
            thing,
            "is" | "are" | "was" | "were",
            "now" | "successfully",
            rest @ ..,
        ] if THINGS.contains(thing) => rest,
        _ => return false,
    };
    let at = rest.iter().position(|word| !BETWEEN.contains(word));
    at.is_some_and(|at| {
        let verb = &rest[at];
        if matches!(rest.get(at + 1), Some(&("into" | "out"))) {
            return false; // ran into trouble, ran out of time
        }
        let stem = verb.trim_end_matches('s').trim_end_matches("ée");
        let is = |deeds: &[&str]| {
            deeds.contains(verb)
                || deeds.iter().any(|deed| {
                    deed.strip_suffix('é').is_some_and(|short| short == stem) || *deed == stem
                })
        };
        is(&DEEDS) || (about_a_thing && is(&DEEDS_BESIDE_A_THING))
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
            "Je peux supprimer le fichier.",
            "Si j'ai supprimé le fichier, il est dans la corbeille.",
            "Yesterday I saved it under another name.",
            "",
        ] {
            assert!(!claims_a_deed(text), "{text}");
        }
    }
}
