//! What must hold of machines that are drained, and of units that may not run twice.

use std::collections::BTreeSet;

use fleet_core::engine::{Plan, PlanGroup};
use fleet_core::model::{Absence, Cluster, MachineId, Placement};
use fleet_core::schedule::{DrainStep, explain_drain};
use fleet_core::unit::{UnitName, WhenIsolated};

use super::{History, Seen};

impl History {
    /// No plan places a unit that may not run twice while it is stopping somewhere; `before` is the store at that revision.
    pub(super) fn judge_group(&self, before: &Cluster, group: &PlanGroup) {
        for put in group.writes.iter().filter(|write| write.places()) {
            let was_placed = before.placements.values().any(|units| is_placed(units.get(put.name())));
            let stopping = || before.placements.iter().find(|(id, _)| self.stops_on(before, id, put.name()));
            assert!(
                was_placed || stopping().is_none(),
                "seed {}: {put:?} while it is stopping elsewhere: {}",
                self.seed,
                self.show()
            );
        }
    }

    /// No more units leave a drained machine at once than is allowed, unless they are tied together.
    pub(super) fn judge_rooms(&self, plan: &Plan, after: &Cluster) {
        for (id, machine) in &self.store.machines {
            let Some(drain) = machine.draining else { continue };
            let (before, now) = (on_the_way(&self.store, id), on_the_way(after, id));
            let had_left = |name: &UnitName| {
                let order = self.store.placements.get(id).and_then(|units| units.get(name));
                order.is_some_and(|order| order.leaving)
            };
            let new: BTreeSet<&UnitName> = now.iter().copied().filter(|name| !had_left(name)).collect();
            let n_with_those_before = new.len() + now.intersection(&before).count();
            let is_tied = |name: &UnitName| {
                let ties = |unit: &UnitName| &after.units[unit].requirements.machine_of;
                !ties(name).is_empty() || after.units.keys().any(|other| ties(other).contains(name))
            };
            assert!(
                new.is_empty()
                    || n_with_those_before <= drain.max_at_once as usize
                    || new.iter().all(|name| is_tied(name)),
                "seed {}: {new:?} leave {id} beside {before:?}: {plan:?} in {}",
                self.seed,
                self.show()
            );
            assert!(new.is_empty() || after.brake.is_none(), "seed {}: {new:?} leave {id} under the brake", self.seed);
        }
    }

    /// At rest, each unit of a drained machine is said to be where it is on its way, and with nothing on its way nothing
    /// waits for its turn.
    pub(super) fn judge_drains(&self, seen: &mut Seen) {
        for (id, _) in self.store.machines.iter().filter(|(_, machine)| machine.draining.is_some()) {
            let steps = explain_drain(&self.store, id);
            let orders = self.store.placements.get(id).into_iter().flatten();
            let n_wanted = orders.clone().filter(|(name, _)| self.store.units.contains_key(*name)).count();
            assert_eq!(steps.len(), n_wanted, "seed {}: {steps:?} on {id} in {}", self.seed, self.show());
            for (name, step) in &steps {
                let order = &self.store.placements[id][name];
                let unit = &self.store.units[name];
                let (what, right) = match step {
                    DrainStep::Global => ("draining: stays", unit.requirements.global),
                    DrainStep::Stopping => ("draining: stops", self.stops_on(&self.store, id, name)),
                    DrainStep::Moving { to, failed } => {
                        let on = |to: &MachineId| is_placed(self.store.placements.get(to).and_then(|on| on.get(name)));
                        let is_right = order.leaving && to.as_ref().is_none_or(on);
                        (if *failed { "draining: moves, and failed" } else { "draining: moves" }, is_right)
                    }
                    DrainStep::Queued => {
                        let has_company = !on_the_way(&self.store, id).is_empty()
                            || self.store.brake.is_some()
                            || !unit.requirements.machine_of.is_empty()
                            || self.store.units.values().any(|unit| unit.requirements.machine_of.contains(name))
                            // With more than one machine to ask for, who could be moved away there is asked at its turn.
                            || !unit.requirements.replaces.is_empty();
                        ("draining: waits for its turn", !order.leaving && has_company)
                    }
                    DrainStep::Stuck(explanation) => {
                        let has_reason = explanation.machines.iter().all(|answer| !answer.refusals.is_empty());
                        ("draining: cannot go", !order.leaving && has_reason)
                    }
                };
                seen.note(what, true);
                assert!(right, "seed {}: {name} on {id} is {step:?} in {}", self.seed, self.show());
            }
        }
    }

    /// Whether one of a group that waits together is stopping somewhere, or is on a drained machine and has to wait for its
    /// turn: then the others wait for it.
    pub(super) fn waits_for_a_member(&self, group: &[UnitName]) -> bool {
        let waits = |name: &UnitName| {
            self.store.placements.iter().any(|(id, units)| {
                let is_drained = self.store.machines.get(id).is_some_and(|machine| machine.draining.is_some());
                self.stops_on(&self.store, id, name) || (is_drained && is_placed(units.get(name)))
            })
        };
        group.iter().any(waits)
    }

    /// Whether the unit may not run twice, and that machine was told to stop it and may not have done so.
    fn stops_on(&self, cluster: &Cluster, id: &MachineId, name: &UnitName) -> bool {
        let Some(order) = cluster.placements.get(id).and_then(|units| units.get(name)) else { return false };
        let Some(unit) = cluster.units.get(name) else { return false };
        let report = cluster.report(id, name);
        let has_stopped = match cluster.absence(id) {
            None => report.is_some_and(|report| report.is_stopped && order.generation <= report.done),
            Some(absence) => Absence::Gone <= absence,
        };
        let is_once = !unit.requirements.global && unit.requirements.when_isolated == WhenIsolated::Stop;
        order.is_stop() && is_once && !has_stopped
    }
}

fn is_placed(order: Option<&Placement>) -> bool {
    order.is_some_and(|order| !order.leaving)
}

/// The units that leave the machine and have not been seen to elsewhere.
fn on_the_way<'a>(cluster: &'a Cluster, id: &MachineId) -> BTreeSet<&'a UnitName> {
    let is_done = |name: &UnitName| {
        let mut placed = cluster.placements.iter().filter(|(_, units)| is_placed(units.get(name)));
        placed.any(|(to, _)| {
            let report = cluster.report(to, name).zip(cluster.units.get(name));
            report.is_some_and(|(report, unit)| unit.generation <= report.done)
        })
    };
    let orders = cluster.placements.get(id).into_iter().flatten();
    orders.filter(|(name, order)| order.leaving && !is_done(name)).map(|(name, _)| name).collect()
}
