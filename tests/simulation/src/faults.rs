//! Deliberate faults: each breaks one seam of the world as a mistake in driver, journal, machine or shell would. A simulation that does
//! not catch them proves nothing.

/// One mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Rows: a repeated delivery is admitted again.
    DedupForgotten,
    /// Rows: a handled delivery goes on waiting.
    SettleForgotten,
    /// Rows: that a parcel is on its way is not written down.
    SendingMarkDropped,
    /// Rows: that a parcel was taken is not written down.
    SentMarkDropped,
    /// Rows: that a parcel is held is not written down.
    HeldMarkDropped,
    /// Rows: the machine's new state is not kept.
    MachineNotKept,
    /// Rows: transcript lines are not kept.
    LinesNotKept,
    /// Rows: calls for home are not kept.
    CallNotKept,
    /// Rows: from which machine a call was ordered is not kept.
    BridgeNotKept,
    /// Rows: that a call has ended is not kept.
    EndOfCallNotKept,
    /// Rows: what a transaction wrote before it failed stays.
    TransactionNotAtomic,
    /// Rows: the alarm is not set.
    AlarmNotSet,
    /// Rows: a later alarm replaces a sooner one.
    AlarmReplaced,
    /// Rows: failures of acts are not counted.
    FailuresNotCounted,
    /// Rows: failed tries of deliveries are not counted.
    TriesNotCounted,
    /// Rows: nothing seems to wait.
    WaitingBlind,
    /// Rows: nothing seems to be open.
    OpenBlind,
    /// Rows: what was spent is not kept.
    SpendForgotten,
    /// Rows: what was spent is counted twice.
    SpendDoubled,
    /// Rows: a tool that touches rows works outside of the transaction.
    ToolOutsideTransaction,
    /// Journal: that a call begins is not noted.
    BeginNotKept,
    /// Journal: that a call has ended is not noted.
    EndNotKept,
    /// Journal: no result seems to be unacknowledged.
    NothingToTellAgain,
    /// Journal: no call seems to be known.
    FindBlind,
    /// Journal: after a crash nothing seems to have been running.
    RunningBlind,
    /// Journal: after a crash what writes is taken for what reads.
    WritesTakenForReads,
    /// Journal: acknowledgements are not noted.
    AcknowledgementsDropped,
    /// Journal: nothing is forgotten.
    ForgetsNothing,
    /// Shell: a call is ordered before that is saved.
    OrdersBeforeSaving,
    /// Shell: a delivery is acknowledged before it is stored.
    AcknowledgesBeforeStoring,
    /// Shell: a parcel in doubt is told as not taken.
    UnclearAsNotTaken,
    /// Shell: an instance that wakes does not look back.
    NoResume,
    /// Shell: the courier sends each parcel through a second one too.
    SecondCourier,
    /// Shell: a reply is told twice.
    ReplyToldTwice,
    /// Shell: after the alarm it is not set for what is due.
    AlarmForgetsDue,
    /// Shell: a machine's return wakes nobody.
    ReturnNotNoticed,
    /// Shell: a no is taken for a yes.
    NoTakenForYes,
    /// Shell: a result that could not be stored is acknowledged.
    AcknowledgesLostResult,
    /// Machine: loaded without what is being said.
    SayingLost,
    /// Machine: loaded without what is queued.
    QueuedLost,
    /// Machine: loaded without its last open call.
    OpenCallLost,
    /// Machine: loaded with its turns counted from 0 again.
    TurnsForgotten,
    /// Machine: loaded with what a turn said counted from 0 again.
    SaysForgotten,
    /// Machine: loaded with a question to the person as if it were answered with yes.
    ApprovalSkipped,
}

impl Fault {
    /// Every fault there is.
    pub const ALL: &'static [Self] = &[
        Self::DedupForgotten,
        Self::SettleForgotten,
        Self::SendingMarkDropped,
        Self::SentMarkDropped,
        Self::HeldMarkDropped,
        Self::MachineNotKept,
        Self::LinesNotKept,
        Self::CallNotKept,
        Self::BridgeNotKept,
        Self::EndOfCallNotKept,
        Self::TransactionNotAtomic,
        Self::AlarmNotSet,
        Self::AlarmReplaced,
        Self::FailuresNotCounted,
        Self::TriesNotCounted,
        Self::WaitingBlind,
        Self::OpenBlind,
        Self::SpendForgotten,
        Self::SpendDoubled,
        Self::ToolOutsideTransaction,
        Self::BeginNotKept,
        Self::EndNotKept,
        Self::NothingToTellAgain,
        Self::FindBlind,
        Self::RunningBlind,
        Self::WritesTakenForReads,
        Self::AcknowledgementsDropped,
        Self::ForgetsNothing,
        Self::OrdersBeforeSaving,
        Self::AcknowledgesBeforeStoring,
        Self::UnclearAsNotTaken,
        Self::NoResume,
        Self::SecondCourier,
        Self::ReplyToldTwice,
        Self::AlarmForgetsDue,
        Self::ReturnNotNoticed,
        Self::NoTakenForYes,
        Self::AcknowledgesLostResult,
        Self::SayingLost,
        Self::QueuedLost,
        Self::OpenCallLost,
        Self::TurnsForgotten,
        Self::SaysForgotten,
        Self::ApprovalSkipped,
    ];
}
