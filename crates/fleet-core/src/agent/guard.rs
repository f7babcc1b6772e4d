//! The guard: what stops the units that must not run twice when this machine loses its lease.
//!
//! It is a unit of systemd's that the shell arms, so that it works without `fleetd`. The agent says whether it is needed,
//! starts nothing of that kind without it, and starts again what it stopped.

use super::local::{Local, Retry, Trouble};
use super::{Agent, Effect, Receipt, pause_ms};
use crate::model::{Generation, Placement, TargetState, Timestamp};
use crate::unit::{GUARD_UNIT, UnitName, WhenIsolated};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Guard {
    /// Nobody needs it.
    #[default]
    Needless,
    /// It was asked for, after so many failures.
    Asked(u32),
    /// This run of it stands.
    Ready(String),
    /// It could not be had; it is asked for again at this moment.
    Failed(Timestamp, u32),
}

impl Guard {
    /// Which run of it stands, if one does.
    pub(super) fn run(&self) -> Option<&str> {
        match self {
            Guard::Ready(run) => Some(run),
            Guard::Needless | Guard::Asked(_) | Guard::Failed(..) => None,
        }
    }
}

/// Whether the order is about a unit that must run under the guard.
pub(super) fn is_guarded(order: &Placement) -> bool {
    order.when_isolated == WhenIsolated::Stop && (order.is_stop() || !order.is_leaving())
}

impl Agent {
    /// Asks for the guard, or says that it is not needed any more.
    pub(super) fn see_to_guard(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let needed = self.guard_is_needed;
        let next = match (needed, &self.guard) {
            (true, Guard::Needless) => Guard::Asked(0),
            (true, Guard::Failed(at, failures)) if *at <= now => Guard::Asked(*failures),
            (false, Guard::Asked(_) | Guard::Ready(_) | Guard::Failed(..)) => Guard::Needless,
            (true, Guard::Asked(_) | Guard::Ready(_) | Guard::Failed(..)) | (false, Guard::Needless) => return,
        };
        self.guard = next;
        effects.push(Effect::Guard { needed });
    }

    pub(super) fn guard_ready(&mut self, run: String) {
        if self.guard == Guard::Needless {
            return;
        }
        self.guard = Guard::Ready(run);
        for (name, _) in self.placements.iter().flatten().filter(|(_, order)| is_guarded(order)) {
            self.dirty.insert(name.clone());
            let Some(local) = self.units.get_mut(name) else { continue };
            if !local.is_live() {
                // It waited for this, if for anything that may pass.
                local.trouble.take_if(|trouble| trouble.retry != Retry::OnChange);
            }
        }
    }

    pub(super) fn guard_failed(&mut self, now: Timestamp, reason: &str) {
        let failures = match &self.guard {
            Guard::Needless => return,
            Guard::Asked(failures) | Guard::Failed(_, failures) => failures + 1,
            Guard::Ready(_) => 1,
        };
        let again = now.plus_ms(pause_ms(failures));
        self.guard = Guard::Failed(again, failures);
        // What waits for it has its trouble, and says so if that lasts.
        let orders = self.placements.iter().flatten();
        let guarded = orders.filter(|(_, order)| is_guarded(order) && order.target == TargetState::Launched);
        let guarded: Vec<_> = guarded.map(|(name, order)| (name.clone(), order.clone())).collect();
        for (name, order) in guarded {
            let Some(local) = self.units.get_mut(&name).filter(|local| local.busy.is_none() && !local.is_live()) else {
                continue;
            };
            local.error = format!("not started, because it may not run without {GUARD_UNIT}: {reason}");
            local.trouble = Some(Trouble { order: Some(order), attempts: failures, retry: Retry::At(again) });
            self.troubled.insert(name.clone());
            self.touch(now, &name);
        }
    }

    /// Whether the unit may be started now.
    pub(super) fn may_start(&self, name: &UnitName) -> bool {
        let order = self.placements.as_ref().and_then(|placements| placements.get(name));
        !order.is_some_and(is_guarded) || self.guard.run().is_some()
    }

    pub(super) fn guard_retry(&self) -> Option<Timestamp> {
        match self.guard {
            Guard::Failed(at, _) => Some(at),
            Guard::Needless | Guard::Asked(_) | Guard::Ready(_) => None,
        }
    }
}

impl Local {
    /// Notes a unit that was started under another run of the guard, and so ended with that, as never started: then it is
    /// started again.
    pub(super) fn forget_start(&mut self, order: Option<&Placement>, guard: Option<&str>) {
        let is_concerned = order.is_some_and(|order| is_guarded(order) && order.target == TargetState::Launched);
        if !is_concerned || guard.is_none() || self.busy.is_some() || self.is_live() {
            return;
        }
        let ended =
            |receipt: &&mut Receipt| receipt.reached == TargetState::Launched && receipt.guard.as_deref() != guard;
        if let Some(receipt) = self.receipt.as_mut().filter(ended) {
            (receipt.generation, receipt.reached) = (Generation(0), TargetState::Loaded);
            self.receipt_unsaved = true;
        }
    }
}
