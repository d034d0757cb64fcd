//! Transcript, memory and persona to what a model sees, within a budget.
//!
//! Providers cache a prompt by its beginning, so what changes least comes first: tools, system, history, and the hour at the very end.

mod frame;
mod history;

use crate::transcript::Entry;
use protocol::call::{CallId, ToolCall};
use protocol::tools::ToolSpec;
use std::fmt::Write;

/// Who Bernard is, as text.
pub const PERSONA: &str = include_str!("persona.md");

/// The longest result that a model is shown whole, in characters.
pub const RESULT_LIMIT: usize = 16_000;

/// Ends a prompt that may call no more tools.
const LAST_WORD: &str = "[You can call no more tools in this turn. Tell the person what is done, what is not, and what should come next.]";

/// Ends a prompt whose last words are the model's own: an answer that was cut off.
const GO_ON: &str =
    "[Your answer was cut off. Go on exactly where it stopped, without repeating anything.]";

/// All that a prompt is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Input<'a> {
    /// Who the model is; [`PERSONA`] unless the owner has written another.
    pub persona: &'a str,
    /// Lines that describe the machines: names, roots, allowed commands.
    pub home: &'a [String],
    /// What is known of the person, a fact a line.
    pub profile: &'a [String],
    /// The newest part of the transcript, oldest line first. It may begin anywhere, even between a call and its result.
    pub entries: &'a [Entry],
    /// The tools of the connected machines and of the Worker.
    pub tools: Vec<ToolSpec>,
    /// Whether they may be called; from [`crate::Effect::AskModel`].
    pub allow_tools: bool,
    /// The day and the hour where the person is, no finer, as a text; empty when unknown.
    pub now: &'a str,
    /// How much history is shown at the most. Counted in bytes, which for every script is at least its characters.
    pub budget_chars: usize,
    /// The longest answer wanted, in tokens.
    pub max_tokens: u32,
}

/// What a model is shown, in no provider's dialect yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// Who the model is and what it knows of the person. The same bytes from call to call, so that providers can cache it.
    pub system: String,
    /// The tools it may call; empty at a bound, when it may only speak.
    pub tools: Vec<ToolSpec>,
    /// The conversation, beginning with a [`Turn::Person`]; persons and agents alternate.
    pub turns: Vec<Turn>,
    /// The longest answer wanted, in tokens.
    pub max_tokens: u32,
}

/// One turn of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    /// The person's words, framed with where they come from.
    Person(String),
    /// The model's own.
    Agent {
        /// What it said.
        text: String,
        /// What it called; each has its [`Shown`] in the next turn.
        calls: Vec<ToolCall>,
    },
    /// The results of the calls just before, in their order, and what the person added meanwhile.
    Results(Vec<Shown>, Option<String>),
}

/// One call's result as the model reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Which call.
    pub call: CallId,
    /// What it reads.
    pub text: String,
    /// Whether the call did not do what was asked.
    pub is_error: bool,
}

/// Makes the prompt of one question.
pub fn assemble(input: &Input) -> Prompt {
    let mut turns = history::window(history::turns(input.entries), input.budget_chars);
    add_tail(&mut turns, input);
    Prompt {
        system: system(input),
        tools: if input.allow_tools {
            input.tools.clone()
        } else {
            vec![]
        },
        turns,
        max_tokens: input.max_tokens,
    }
}

fn system(input: &Input) -> String {
    let mut system = input.persona.trim_end().to_owned();
    for (title, lines) in [
        ("The machines at home", input.home),
        ("What you know of the person", input.profile),
    ] {
        if !lines.is_empty() {
            let _infallible = write!(system, "\n\n# {title}\n");
            for line in lines {
                let _infallible = write!(system, "\n- {}", line.replace('\n', " "));
            }
        }
    }
    system
}

/// Adds what holds for this one question, at the end, where it spoils no cache.
fn add_tail(turns: &mut Vec<Turn>, input: &Input) {
    if let Some(Turn::Agent { calls, .. }) = turns.last()
        && calls.is_empty()
        && input.allow_tools
    {
        turns.push(Turn::Person(GO_ON.to_owned()));
    }
    if !input.now.is_empty()
        && let Some(Turn::Person(text)) = turns
            .iter_mut()
            .rev()
            .find(|turn| matches!(turn, Turn::Person(_)))
    {
        let _infallible = write!(text, "\n\n[{}]", input.now);
    }
    if !input.allow_tools {
        history::add_words(turns, LAST_WORD.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool;
    use crate::transcript::{Line, Trust};

    fn line(line: Line) -> Entry {
        Entry { at: 0, line }
    }

    fn said(text: &str) -> Entry {
        line(Line::Person {
            text: text.into(),
            quoted: None,
            attachments: Vec::new(),
            trust: Trust::Owner,
        })
    }

    fn spoke(text: &str) -> Entry {
        line(Line::Agent {
            text: text.into(),
            calls: vec![],
        })
    }

    fn input(entries: &[Entry]) -> Input<'_> {
        Input {
            persona: "You are Bernard.\n",
            home: &[],
            profile: &[],
            entries,
            tools: tool::all().to_vec(),
            allow_tools: true,
            now: "",
            budget_chars: 10_000,
            max_tokens: 4_096,
        }
    }

    #[test]
    fn the_system_text_is_persona_home_profile_in_this_order() {
        let home = ["mac-mini: roots playground, docs".to_owned()];
        let profile = ["Called Jo".to_owned(), "Lives in\nLyon".to_owned()];
        let prompt = assemble(&Input {
            home: &home,
            profile: &profile,
            ..input(&[said("hi")])
        });
        assert_eq!(
            prompt,
            Prompt {
                system: "You are Bernard.\n\n# The machines at home\n\n- mac-mini: roots playground, docs\n\n\
                         # What you know of the person\n\n- Called Jo\n- Lives in Lyon"
                    .into(),
                tools: tool::all().to_vec(),
                turns: vec![Turn::Person("hi".into())],
                max_tokens: 4_096,
            }
        );
    }

    #[test]
    fn the_hour_stands_in_the_persons_last_words_and_changes_nothing_before_them() {
        let entries = [said("a"), spoke("b"), said("c")];
        let at = |now| {
            assemble(&Input {
                now,
                ..input(&entries)
            })
        };
        let (three, four) = (at("Sunday, 15 h"), at("Sunday, 16 h"));
        assert_eq!(three.turns[2], Turn::Person("c\n\n[Sunday, 15 h]".into()));
        assert_eq!(
            (&three.system, &three.tools, &three.turns[..2]),
            (&four.system, &four.tools, &four.turns[..2])
        );
    }

    #[test]
    fn the_last_question_of_a_turn_has_no_tools_and_says_so() {
        let prompt = assemble(&Input {
            allow_tools: false,
            ..input(&[said("a")])
        });
        assert_eq!(
            (prompt.tools, prompt.turns),
            (vec![], vec![Turn::Person(format!("a\n\n{LAST_WORD}"))])
        );
    }

    #[test]
    fn a_cut_off_answer_is_asked_to_go_on() {
        let prompt = assemble(&input(&[said("a"), spoke("b")]));
        let spoken = Turn::Agent {
            text: "b".into(),
            calls: vec![],
        };
        assert_eq!(
            prompt.turns,
            [Turn::Person("a".into()), spoken, Turn::Person(GO_ON.into())]
        );
    }

    #[test]
    fn a_later_prompt_begins_with_the_earlier_one() {
        let mut entries = vec![said("a")];
        let first = assemble(&input(&entries));
        entries.extend([spoke("b"), said("c")]);
        let second = assemble(&input(&entries));
        assert_eq!(
            (first.system, first.turns.as_slice()),
            (second.system, &second.turns[..1])
        );
    }

    #[test]
    fn the_fixed_prompt_with_every_tool_stays_under_its_budget_of_tokens() {
        let prompt = assemble(&Input {
            persona: PERSONA,
            ..input(&[said("")])
        });
        let tools: usize = prompt
            .tools
            .iter()
            .map(|t| t.name.0.len() + t.description.len() + t.parameters.to_string().len())
            .sum();
        // Three bytes a token is less than any tokeniser makes of English or of JSON schemas on the whole.
        let tokens = |bytes: usize| bytes.div_ceil(3);
        assert!(
            tokens(PERSONA.len()) <= 450,
            "the persona has {} bytes",
            PERSONA.len()
        );
        assert!(
            tokens(prompt.system.len() + tools) < 2_200,
            "{} + {tools} bytes",
            prompt.system.len()
        );
    }
}
