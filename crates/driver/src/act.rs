//! What the shell is to do.

use crate::home::HERE_MILLIS;
use crate::resume::BACKSTOP_MILLIS;
use crate::rows::{Delivery, Millis};
use agent::Effect;
use agent::event::AskId;
use protocol::call::{CallId, ToolCall};
use protocol::tools::Place;

/// A connection of a home machine that has proven itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The machine.
    pub bridge: String,
    /// The session over which it is there.
    pub session: String,
}

/// Something to be done. Those that [are tracked](Act::is_tracked) run one at a time each, and end with [`Driver::end`](crate::Driver::end)
/// or, when they break, [`Driver::failed`](crate::Driver::failed). The others are messages: sent or lost, nothing waits for them.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Handle a stored delivery: [`Driver::said`](crate::Driver::said) for words; a command ends in
    /// [`Driver::handled`](crate::Driver::handled).
    Take {
        /// What was stored.
        delivery: Delivery,
    },
    /// Ask the model; ends in [`Driver::replied`](crate::Driver::replied) or [`Driver::model_failed`](crate::Driver::model_failed).
    Think {
        /// For which conversation.
        conversation: String,
        /// Names the question.
        ask: AskId,
        /// Whether the model may call tools.
        tools: bool,
    },
    /// Send what the conversation has to say, parcel by parcel, until [`Driver::next_parcel`](crate::Driver::next_parcel) has none.
    Send {
        /// Whose words.
        conversation: String,
    },
    /// Run a tool that touches rows only: [`Driver::run_here`](crate::Driver::run_here).
    RunHere {
        /// For which conversation.
        conversation: String,
        /// The call.
        call: ToolCall,
    },
    /// Find a machine for a call: [`Driver::place`](crate::Driver::place).
    Place {
        /// For which conversation.
        conversation: String,
        /// The call.
        call: ToolCall,
    },
    /// Order a call from a machine.
    Order {
        /// For which conversation.
        conversation: String,
        /// The call.
        call: ToolCall,
        /// Over which connection.
        line: Line,
    },
    /// Tell a machine that a call is called off.
    CallOff {
        /// The call.
        call: CallId,
        /// The connection over which it was ordered, if it is still there.
        line: Line,
    },
    /// Tell a machine that a call's end is stored.
    Acknowledge {
        /// The call.
        call: CallId,
    },
    /// Take the buttons away from a question that nobody can answer any more.
    Retract {
        /// Where it was asked.
        conversation: String,
        /// The provider's name for the message.
        message: String,
    },
    /// Stop listening to the model.
    Abandon {
        /// Which question.
        ask: AskId,
    },
}

impl Act {
    /// What an effect asks of the shell; `None` where saving it was all.
    pub(crate) fn of(conversation: &str, effect: Effect) -> Option<Self> {
        let conversation = conversation.to_owned();
        Some(match effect {
            Effect::AskModel { ask, tools } => Self::Think {
                conversation,
                ask,
                tools,
            },
            Effect::Run {
                call,
                place: Place::Worker,
            } => Self::RunHere { conversation, call },
            Effect::Run {
                call,
                place: Place::Bridge,
            } => Self::Place { conversation, call },
            Effect::AskPerson { .. } | Effect::Say { .. } => Self::Send { conversation },
            Effect::Cancel { .. } => return None, // the step that said so has ended the call's row and knows its line
            Effect::Abandon { ask } => Self::Abandon { ask },
        })
    }

    /// Names it: two acts with one name are the same. All that is said in a conversation is one act, so that it keeps its order.
    pub fn name(&self) -> String {
        match self {
            Self::Take { delivery, .. } => format!("take {}", delivery.id),
            Self::Think { ask, .. } => format!("think {}", ask.0),
            Self::Send { conversation } => format!("send {conversation}"),
            Self::RunHere { call, .. } => format!("run {}", call.id),
            Self::Place { call, .. } => format!("place {}", call.id),
            Self::Order { call, .. } => format!("order {}", call.id),
            Self::CallOff { call, .. } => format!("call off {call}"),
            Self::Acknowledge { call } => format!("acknowledge {call}"),
            Self::Retract { message, .. } => format!("retract {message}"),
            Self::Abandon { ask } => format!("abandon {}", ask.0),
        }
    }

    /// When the object must look whether it was done, if nothing else wakes it.
    pub(crate) fn look_by(&self, now: Millis) -> Option<Millis> {
        match self {
            Self::Take { .. }
            | Self::Think { .. }
            | Self::Send { .. }
            | Self::RunHere { .. }
            | Self::Place { .. } => Some(now + BACKSTOP_MILLIS),
            Self::Order { .. } => Some(now + HERE_MILLIS),
            Self::CallOff { .. }
            | Self::Acknowledge { .. }
            | Self::Retract { .. }
            | Self::Abandon { .. } => None,
        }
    }

    /// Whether it runs at most once at a time and its end must be told.
    pub fn is_tracked(&self) -> bool {
        match self {
            Self::Take { .. }
            | Self::Think { .. }
            | Self::Send { .. }
            | Self::RunHere { .. }
            | Self::Place { .. } => true,
            Self::Order { .. }
            | Self::CallOff { .. }
            | Self::Acknowledge { .. }
            | Self::Retract { .. }
            | Self::Abandon { .. } => false,
        }
    }
}
