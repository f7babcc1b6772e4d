//! What came of the effects, unit by unit.

use super::guard::is_guarded;
use super::local::{Busy, Retry, Trouble, job_error};
use super::{Agent, JobResult, Receipt, UnitStatus, Verb, pause_ms};
use crate::model::{TargetState, Timestamp};
use crate::unit::UnitName;

impl Agent {
    pub(super) fn wrote(&mut self, now: Timestamp, name: &UnitName, result: Result<(), String>) {
        self.n_writing = self.n_writing.saturating_sub(1);
        let Some(local) = self.units.get_mut(name) else { return };
        let Some(Busy::Writing(receipt)) = local.busy.take() else { return };
        match result {
            Ok(()) => {
                local.on_disk = true;
                local.receipt = Some(receipt);
                local.receipt_unsaved = false;
                self.settled(now, name);
                self.retry_refused();
            }
            Err(reason) => self.failed(now, name, reason),
        }
    }

    pub(super) fn receipt_written(&mut self, now: Timestamp, name: &UnitName, result: Result<(), String>) {
        let Some(local) = self.units.get_mut(name) else { return };
        let Some(Busy::WritingReceipt(receipt)) = local.busy.take() else { return };
        match result {
            Ok(()) => {
                if receipt.reached == TargetState::Loaded {
                    // What went wrong when it was started is nothing to one that is not to run.
                    local.error.clear();
                }
                local.receipt = Some(receipt);
                local.receipt_unsaved = false;
                local.trouble = None;
                self.touch(now, name);
            }
            Err(reason) => {
                // It is true all the same.
                local.receipt = Some(receipt);
                local.receipt_unsaved = true;
                self.failed(now, name, reason);
            }
        }
    }

    pub(super) fn removed(&mut self, now: Timestamp, name: &UnitName, result: Result<(), String>) {
        let Some(local) = self.units.get_mut(name) else { return };
        if !matches!(local.busy, Some(Busy::Removing)) {
            return;
        }
        local.busy = None;
        match result {
            Ok(()) => {
                local.on_disk = false;
                local.receipt = None;
                local.receipt_unsaved = false;
                local.status = None;
                self.settled(now, name);
                self.retry_refused();
            }
            Err(reason) => self.failed(now, name, reason),
        }
    }

    pub(super) fn ran(&mut self, now: Timestamp, name: &UnitName, verb: Verb, result: Result<JobResult, String>) {
        let Some(local) = self.units.get_mut(name) else { return };
        let Some(Busy::Running { order, guard }) = local.busy.take() else { return };
        self.n_jobs -= 1;
        let ended = match result {
            // Its end was not seen. A look will follow and say what is to be done.
            Err(reason) => return self.failed(now, name, reason),
            Ok(ended) => ended,
        };
        match (verb, ended) {
            (Verb::Stop, JobResult::Done) => self.settled(now, name),
            // Whatever kept the stop from ending well, systemd's state says whether something still runs.
            (Verb::Stop, JobResult::Refused { name: error, .. }) if error.ends_with(".NoSuchUnit") => {
                self.status(now, UnitStatus::unloaded(name.clone()));
                self.settled(now, name);
            }
            (Verb::Stop, ended) => match local.status.as_ref().is_some_and(UnitStatus::is_live) {
                true => self.failed(now, name, job_error(verb, &ended)),
                false => self.settled(now, name),
            },
            (Verb::Start | Verb::Restart, JobResult::Refused { message, .. }) => {
                let attempts = local.trouble.as_ref().map_or(0, |trouble| trouble.attempts);
                local.error = format!("systemd refused to {} it: {message}", verb.as_str());
                local.trouble = Some(Trouble { order, attempts, retry: Retry::OnChange });
                self.troubled.insert(name.clone());
                self.touch(now, name);
            }
            (Verb::Start | Verb::Restart, ended) => {
                local.error = match &ended {
                    JobResult::Done => String::new(),
                    // A condition of the unit did not hold: systemd counts that as well done.
                    JobResult::Other(word) if word == "skipped" => String::new(),
                    ended => job_error(verb, ended),
                };
                local.trouble = None;
                if let (Some(order), Some(receipt)) = (order, local.receipt.as_mut()) {
                    // In memory at once, so that it is reported with the job's end; the next step puts it on disk.
                    let guard = guard.filter(|_| is_guarded(&order));
                    *receipt = Receipt { hash: receipt.hash, guard, ..Receipt::complete(&order) };
                    local.receipt_unsaved = true;
                }
                self.touch(now, name);
            }
        }
    }

    /// An effect for a unit failed for a reason that may pass.
    pub(super) fn failed(&mut self, now: Timestamp, name: &UnitName, reason: String) {
        let order = self.placements.as_ref().and_then(|placements| placements.get(name)).cloned();
        let local = self.units.entry(name.clone()).or_default();
        let attempts = match &local.trouble {
            Some(trouble) if trouble.order == order => trouble.attempts + 1,
            _ => 1,
        };
        local.error = reason;
        local.trouble = Some(Trouble { order, attempts, retry: Retry::At(now.plus_ms(pause_ms(attempts))) });
        self.troubled.insert(name.clone());
        self.touch(now, name);
    }

    fn settled(&mut self, now: Timestamp, name: &UnitName) {
        if let Some(local) = self.units.get_mut(name) {
            local.trouble = None;
            local.error.clear();
        }
        self.touch(now, name);
    }
}
