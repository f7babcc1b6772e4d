//! What the agent knows of one unit on its machine, and what it says of it.

use super::{ATTEMPTS_TOLD, JobResult, Receipt, UnitStatus, Verb};
use crate::model::{Generation, Placement, TargetState, Timestamp, UnitState};
use crate::unit::UnitName;

/// What is known of one unit on this machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Local {
    pub(super) on_disk: bool,
    pub(super) receipt: Option<Receipt>,
    /// The receipt here is newer than the one on disk.
    pub(super) receipt_unsaved: bool,
    pub(super) status: Option<UnitStatus>,
    pub(super) since: Timestamp,
    pub(super) busy: Option<Busy>,
    pub(super) trouble: Option<Trouble>,
    /// Why the last order was carried out badly; empty when it was not.
    pub(super) error: String,
    /// What the store has been told, or is being told.
    pub(super) reported: Option<UnitState>,
}

/// What is being done for a unit. At most one thing at a time.
#[derive(Clone, Debug)]
pub(super) enum Busy {
    Writing(Receipt),
    Running {
        /// The order that was in force when it was submitted (a stop may serve none).
        order: Option<Placement>,
        /// The run of the guard under which it was submitted.
        guard: Option<String>,
    },
    WritingReceipt(Receipt),
    Removing,
}

/// Something went wrong that keeps the unit from its order.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    /// The order it concerns; another order is tried at once.
    pub(super) order: Option<Placement>,
    pub(super) attempts: u32,
    pub(super) retry: Retry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// At this moment: the cause may pass by itself.
    At(Timestamp),
    /// When files on this machine have changed: systemd refused, and only that can help.
    OnChange,
}

impl Local {
    pub(super) fn is_live(&self) -> bool {
        self.status.as_ref().is_some_and(UnitStatus::is_live)
    }

    /// Whether nothing of it runs by that leaving order, and nothing is under way that could change that.
    fn has_left(&self, order: &Placement) -> bool {
        // Nor of one that died and that systemd is about to start again; but of that it is not said that it stopped.
        let is_dead = || self.status.as_ref().is_some_and(UnitStatus::is_between_lives);
        let runs = self.is_live() && (order.is_stop() || !is_dead());
        !runs && matches!(self.busy, None | Some(Busy::WritingReceipt(_)))
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        match &self.trouble {
            Some(Trouble { retry: Retry::At(at), .. }) => self.busy.is_none() && *at <= now,
            Some(Trouble { retry: Retry::OnChange, .. }) | None => false,
        }
    }

    /// What the store is told of this unit; `None` while nothing is known of it.
    pub(super) fn state(&self, name: &UnitName, order: Option<&Placement>) -> Option<UnitState> {
        let hash = self.receipt.as_ref().map(|receipt| receipt.hash).or(order.map(|order| order.hash))?;
        let status = self.status.clone().unwrap_or_else(|| UnitStatus::unloaded(name.clone()));
        let (mut done, mut restarts, reached) = match &self.receipt {
            Some(receipt) => (receipt.generation, receipt.restarts, receipt.reached),
            None => (Generation(0), 0, TargetState::Inactive),
        };
        if let Some(trouble @ Trouble { order: Some(failed), .. }) = &self.trouble
            && (trouble.retry == Retry::OnChange || ATTEMPTS_TOLD <= trouble.attempts)
        {
            // Refused, or failing for a while: whoever waits for this order is told, and it is still tried.
            (done, restarts) = (failed.generation, failed.restarts);
        }
        Some(UnitState {
            load: status.load,
            active: status.active,
            sub: status.sub,
            result: status.result,
            hash,
            done,
            restarts,
            reached,
            error: self.error.clone(),
            since: self.since,
            left: order.filter(|order| self.has_left(order)).and_then(|order| order.leaving),
        })
    }
}

/// How a job that did not end well is told.
pub(super) fn job_error(verb: Verb, ended: &JobResult) -> String {
    let word = match ended {
        JobResult::Done => "done",
        JobResult::Other(word) => word,
        JobResult::Refused { message, .. } => message,
    };
    let why = match word {
        "dependency" => ": a unit that it requires could not be started",
        "timeout" => ": it took longer than its file allows",
        "canceled" => ": another job took its place",
        _ => "",
    };
    format!("the {} job ended with `{word}`{why}", verb.as_str())
}
