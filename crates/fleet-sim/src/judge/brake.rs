//! What the brake forbids, and when it comes on and lets go. Source: `docs/placement.md`, "Lost machines".

use std::collections::BTreeSet;

use fleet_core::model::{Brake, MachineId, Revision, TargetState};

use super::Judge;
use super::store::{GRACE_MS, LAG_MS};
use crate::units::Family;

/// How long a machine is lost before its time is over: then it does not count any more. Source: `docs/placement.md`.
const WRITTEN_OFF_MS: u64 = GRACE_MS + 30_000;

impl Judge {
    /// The machines that count as lost for whoever leads, whenever that one saw them go.
    pub(super) fn surely_lost(&self, now_ms: u64) -> BTreeSet<MachineId> {
        let is_lost = |id: &&MachineId| {
            let presence = self.presence[*id];
            let away_ms = now_ms.saturating_sub(presence.went_ms);
            !presence.present
                && (LAG_MS..WRITTEN_OFF_MS).contains(&away_ms)
                && !self.view.given_up().contains_key(*id)
                && self.is_waited_for(id)
        };
        self.presence.keys().filter(is_lost).cloned().collect()
    }

    /// Whether the machine has a unit that is wanted and is not global.
    fn is_waited_for(&self, machine: &MachineId) -> bool {
        self.view.cluster().placements.get(machine).into_iter().flatten().any(|(unit, order)| {
            let is_wanted = self.view.units().get(unit).is_some_and(|wish| wish.target != TargetState::Inactive);
            !order.is_leaving() && is_wanted && Family::of(unit) != Family::Everywhere
        })
    }

    /// Whether so many machines are too many, of so many.
    fn is_too_many(&self, n_lost: usize, n_machines: usize) -> bool {
        self.losses.brake_min < n_lost && n_machines as f64 * self.losses.brake_share < n_lost as f64
    }

    /// Why nothing may be moved from the machine, if the brake is on or has to be. `lost`: those that count as lost.
    pub(super) fn may_not_be_moved(
        &self,
        machine: &MachineId,
        is_present: bool,
        brake: Option<&Brake>,
        lost: &BTreeSet<MachineId>,
    ) -> Option<String> {
        let is_drained = self.view.drained().contains_key(machine) || self.presence[machine].leaving;
        match brake {
            Some(_) if is_present && is_drained => {
                return Some("the brake is on, so drained machines are not emptied".to_owned());
            }
            Some(brake) if !is_present && brake.lost.contains(machine) => {
                return Some("the brake is on, and waits for it".to_owned());
            }
            Some(_) | None => (),
        }
        let now_ms = self.trace.now_ms();
        let may_be_present = |id: &&MachineId| {
            let presence = self.presence[*id];
            presence.present || now_ms.saturating_sub(presence.went_ms) < LAG_MS
        };
        let n_present = self.presence.keys().filter(may_be_present).count();
        let is_braked = lost.contains(machine) && !self.is_deaf && self.is_too_many(lost.len(), n_present + lost.len());
        is_braked.then(|| format!("{} machines of {} are lost at once", lost.len(), n_present + lost.len()))
    }

    /// The brake was written, or taken away.
    pub(super) fn judge_brake(&mut self, now_ms: u64, at: Revision, before: Option<&Brake>) {
        let now = self.view.cluster().brake.clone();
        let none = BTreeSet::new();
        let had = before.map_or(&none, |brake| &brake.lost);
        let has = now.as_ref().map_or(&none, |brake| &brake.lost);
        let is_lost = |id: &MachineId| {
            let presence = self.presence.get(id).copied().unwrap_or_default();
            let was_back = presence.present || self.braked_ms <= presence.came_ms;
            !was_back && !self.view.given_up().contains_key(id) && self.is_waited_for(id)
        };
        let dropped = had.difference(has).find(|id| is_lost(id)).cloned();
        let surely_present = |id: &&MachineId| {
            let presence = self.presence[*id];
            presence.present && LAG_MS < now_ms.saturating_sub(presence.came_ms)
        };
        let n_present = self.presence.keys().filter(surely_present).count();
        if let Some(id) = dropped {
            self.object(now_ms, format!("revision {}: the brake lets go of {id}, which is lost still", at.0));
        }
        if before.is_none() && now.is_some() {
            self.braked_ms = now_ms;
            // Those that are back since a moment were lost when it came on.
            let was_lost = |id: &&MachineId| {
                let presence = self.presence[*id];
                presence.present && 0 < presence.went_ms && now_ms.saturating_sub(presence.came_ms) <= LAG_MS
            };
            let n_lost = has.len() + self.presence.keys().filter(was_lost).count();
            if !self.is_deaf && !self.is_too_many(n_lost, n_present + n_lost) {
                let what = format!("the brake comes on for {n_lost} machines, and {n_present} others are there");
                self.object(now_ms, format!("revision {}: {what}", at.0));
            }
        }
    }
}
