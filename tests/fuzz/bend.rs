//! Bends bytes, the same way in each run, and holds a body against every one of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// How many bends one input gets at the most: the more, the less is left that a decoder would take.
const MOST_BENDS: usize = 4;

/// The longest input: what grows by doubling ends here.
const LONGEST: usize = 128 * 1024;

/// What a body was held against.
pub struct Run<'a> {
    /// What a decoder knows well.
    pub seeds: &'a [Vec<u8>],
    /// Words that mean something to it.
    pub words: &'a [&'a str],
    /// How many bent inputs are made of each seed.
    pub each: usize,
}

/// How a run went that found nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// How often the body ran.
    pub executions: usize,
    /// How often its decoder took what it was given.
    pub accepted: usize,
}

/// An input with which a body does not hold.
#[derive(Debug)]
pub struct Finding {
    /// The input.
    pub input: Vec<u8>,
    /// What went wrong.
    pub why: String,
}

impl Run<'_> {
    /// Holds a body against every seed and what is made of it; a body says whether its decoder accepted, or what is broken.
    pub fn of(&self, body: impl Fn(&[u8]) -> Result<bool, String>) -> Result<Tally, Finding> {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let mut tally = Tally {
            executions: 0,
            accepted: 0,
        };
        for seed in self.seeds {
            for nth in 0..=self.each {
                let input = match nth {
                    0 => seed.clone(),
                    _ => self.bent(seed, &mut dice),
                };
                let told = catch_unwind(AssertUnwindSafe(|| body(&input)));
                let told = told.unwrap_or_else(|_| Err("it panicked".to_owned()));
                tally.executions += 1;
                match told {
                    Ok(accepted) => tally.accepted += usize::from(accepted),
                    Err(why) => return Err(Finding { input, why }),
                }
            }
        }
        Ok(tally)
    }

    /// The tally of a body that holds everywhere; it is shown, and where nothing or everything was accepted, nothing was tried.
    #[track_caller]
    pub fn holds(&self, name: &str, body: impl Fn(&[u8]) -> Result<bool, String>) -> Tally {
        let tally = self.of(body).unwrap_or_else(|finding| {
            let input = String::from_utf8_lossy(&finding.input);
            panic!("{name}: {}\n{:?}\n{input}", finding.why, finding.input)
        });
        println!("{name}: {} seeds, {tally:?}", self.seeds.len());
        assert!(
            tally.accepted > 0 && tally.accepted < tally.executions,
            "{name}: {tally:?}"
        );
        tally
    }

    /// What a run says of a body whose decoder is broken on purpose.
    #[track_caller]
    pub fn finds(&self, name: &str, body: impl Fn(&[u8]) -> Result<bool, String>) {
        if let Ok(tally) = self.of(body) {
            panic!("{name} was not found: {tally:?}");
        }
    }

    fn bent(&self, seed: &[u8], dice: &mut Dice) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=dice.below(MOST_BENDS) {
            self.bend(&mut bytes, dice);
        }
        bytes.truncate(LONGEST);
        bytes
    }

    fn bend(&self, bytes: &mut Vec<u8>, dice: &mut Dice) {
        // Much of what decoders get wrong stands at the very beginning or end.
        let at = match dice.below(8) {
            0 => 0,
            1 => bytes.len(),
            _ => dice.below(bytes.len() + 1),
        };
        let end = (at + dice.below(24)).min(bytes.len());
        match dice.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 if at < bytes.len() => bytes[at] = dice.byte(),
            2 => bytes.insert(at, dice.byte()),
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            6 if !self.words.is_empty() => {
                let word = self.words[dice.below(self.words.len())];
                let until = if dice.below(2) == 0 { at } else { end };
                bytes.splice(at..until, word.bytes());
            }
            7 => {
                let other = &self.seeds[dice.below(self.seeds.len())];
                let tail = other[dice.below(other.len() + 1)..].to_vec();
                bytes.splice(at.., tail);
            }
            _ => {
                let to = dice.below(bytes.len() + 1);
                let piece: Vec<u8> = bytes[at..end].to_vec();
                bytes.splice(to..to, piece);
            }
        }
    }
}

/// Numbers that look random and are the same in each run: xorshift.
pub struct Dice(pub u64);

impl Dice {
    /// A number below `most`, which is not 0.
    pub fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).expect("it is below a usize")
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("it is below 256")
    }
}

/// The files of a folder of the repository whose names end so, in the order of their names. There always are some.
pub fn seeds(folder: &str, ending: &str) -> Vec<Vec<u8>> {
    let found = files(folder, ending);
    assert!(!found.is_empty(), "no seeds in {folder}");
    found
}

/// The seeds that a target has of its own, if any.
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    files(&format!("fuzz/corpus/{target}"), "")
}

fn files(folder: &str, ending: &str) -> Vec<Vec<u8>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut roots = here
        .ancestors()
        .filter(|root| root.join("Cargo.lock").exists());
    let folder = roots.next().expect("the repository").join(folder);
    let files = std::fs::read_dir(&folder).into_iter().flatten();
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(ending));
    paths.sort();
    let read = |path| std::fs::read(path).expect("a readable seed");
    paths.iter().map(read).collect()
}
