//! One running call, as the tunnel holds it: it is stopped, given credit, and let go once its file is here.

use crate::policy::Policy;
use protocol::call::Outcome;
use std::sync::Arc;
use tokio::sync::watch;

/// How a call ends whose file came under a policy that is in force no more.
const OUTDATED: &str =
    "policy.toml was changed while the file came, and it was not saved; try again";

/// A running call.
#[derive(Debug)]
pub(super) struct Run {
    /// Which run of the call this is.
    pub(super) attempt: u64,
    /// The policy that judges it.
    policy: Arc<Policy>,
    cancel: watch::Sender<bool>,
    credit: Option<watch::Sender<u64>>,
    /// The word that it may make its change, where it receives a file first.
    go: Option<watch::Sender<bool>>,
    /// It was stopped because its policy is in force no more.
    is_outdated: bool,
}

impl Run {
    /// A run under a policy; what its tool hears whether it is cancelled by, and how far its bytes may travel.
    pub(super) fn new(
        attempt: u64,
        policy: Arc<Policy>,
    ) -> (Self, watch::Receiver<bool>, watch::Receiver<u64>) {
        let (cancel, cancelled) = watch::channel(false);
        let (credit, granted) = watch::channel(0);
        let run = Self {
            attempt,
            policy,
            cancel,
            credit: Some(credit),
            go: None,
            is_outdated: false,
        };
        (run, cancelled, granted)
    }

    /// It receives a file first; what it hears by that it may go on.
    pub(super) fn receives(&mut self) -> watch::Receiver<bool> {
        let (go, going) = watch::channel(false);
        self.go = Some(go);
        going
    }

    /// It has its file and may make its change, unless it was stopped.
    pub(super) fn go(&self) {
        if let Some(go) = &self.go {
            go.send_replace(true);
        }
    }

    /// Its bytes may travel up to an offset; one that lies before the last says nothing.
    pub(super) fn credit(&self, until: u64) {
        if let Some(credit) = &self.credit {
            credit.send_if_modified(|granted| {
                let more = until > *granted;
                *granted = until.max(*granted);
                more
            });
        }
    }

    /// Ends it early.
    pub(super) fn stop(&mut self) {
        self.cancel.send_replace(true);
        self.credit = None; // wakes one that waits for it
        self.go = None;
    }

    /// Whether it still receives a file under another policy than this one; then its end says so.
    pub(super) fn outdates(&mut self, now: &Policy) -> bool {
        let receives = self.go.as_ref().is_some_and(|go| !*go.borrow());
        self.is_outdated |= receives && self.policy.sha256 != now.sha256;
        receives && self.is_outdated
    }

    /// How it ended, with the reason if that was not the person's.
    pub(super) fn told(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Cancelled if self.is_outdated => Outcome::failed(OUTDATED),
            other @ (Outcome::Done { .. }
            | Outcome::Failed { .. }
            | Outcome::Denied { .. }
            | Outcome::Cancelled
            | Outcome::Interrupted { .. }) => other,
        }
    }
}
