//! What must hold of machines that are drained, and of units that may not run twice.

use std::collections::BTreeSet;

use fleet_core::check::{self, Violation};
use fleet_core::engine::{Plan, PlanGroup};
use fleet_core::model::{Absence, Cluster, MachineId, Placement, TargetState};
use fleet_core::schedule::{DrainStep, explain_drain};
use fleet_core::unit::{Form, Requirements, UnitName, WhenIsolated};

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
                order.is_some_and(|order| order.is_leaving())
            };
            let new: BTreeSet<&UnitName> = now.iter().copied().filter(|name| !had_left(name)).collect();
            let n_with_those_before = new.len() + now.intersection(&before).count();
            let is_tied = |name: &UnitName| {
                let ties = |unit: &UnitName| &after.units[unit].requirements.machine_of;
                !ties(name).is_empty() || after.units.keys().any(|other| ties(other).contains(name))
            };
            // Whatever drains say, what may not run twice stops where it may not stay.
            let may_stay = |name: &UnitName| {
                let is_broken = check::invariants(&self.store).iter().any(|violation| match violation {
                    Violation::DoesNotFit { unit, machine } => unit == name && machine == id,
                    Violation::Conflict { unit, with, machine } => (unit == name || with == name) && machine == id,
                    _ => false,
                });
                let replaces = |other: &UnitName| {
                    let unit = self.store.units.get(other);
                    unit.is_some_and(|unit| unit.requirements.replaces.iter().any(|glob| glob.matches(name.as_str())))
                };
                !is_broken && !self.store.placements[id].keys().any(replaces)
            };
            let new: BTreeSet<&UnitName> = new.into_iter().filter(|name| may_stay(name)).collect();
            assert!(
                new.is_empty()
                    || n_with_those_before <= drain.max_at_once as usize
                    || new.iter().all(|name| is_tied(name)),
                "seed {}: {new:?} leave {id} beside {before:?}: {plan:?} in {}",
                self.seed,
                self.show()
            );
            let may_leave = after.brake.is_none() || new.iter().all(|name| is_tied(name));
            assert!(may_leave, "seed {}: {new:?} leave {id} under the brake", self.seed);
        }
    }

    /// At rest, each unit of a drained machine is said to be where it is on its way, and with nothing on its way nothing
    /// waits for its turn.
    pub(super) fn judge_drains(&self, seen: &mut Seen) {
        for (id, _) in self.store.machines.iter().filter(|(_, machine)| machine.draining.is_some()) {
            let steps = explain_drain(&self.store, id);
            let orders = self.store.placements.get(id).into_iter().flatten();
            assert_eq!(steps.len(), orders.count(), "seed {}: {steps:?} on {id} in {}", self.seed, self.show());
            for (name, step) in &steps {
                let order = &self.store.placements[id][name];
                let requires = self.store.units.get(name).map(|unit| &unit.requirements);
                let requires = |ask: fn(&Requirements) -> bool| requires.is_some_and(|requires| ask(requires));
                let (what, right) = match step {
                    DrainStep::Global => ("draining: stays", requires(|requires| requires.global)),
                    DrainStep::Stopping => ("draining: stops", order.is_stop()),
                    DrainStep::Moving { to, failed } => {
                        let on = |to: &MachineId| is_placed(self.store.placements.get(to).and_then(|on| on.get(name)));
                        let is_right = order.is_leaving() && to.as_ref().is_none_or(on);
                        (if *failed { "draining: moves, and failed" } else { "draining: moves" }, is_right)
                    }
                    DrainStep::Queued => {
                        let has_company = !on_the_way(&self.store, id).is_empty()
                            || self.store.brake.is_some()
                            || requires(|requires| !requires.machine_of.is_empty())
                            || self.store.units.values().any(|unit| unit.requirements.machine_of.contains(name))
                            // With more than one machine to ask for, who could be moved away there is asked at its turn.
                            || requires(|requires| !requires.replaces.is_empty());
                        ("draining: waits for its turn", !order.is_leaving() && has_company)
                    }
                    DrainStep::Stuck(explanation) => {
                        let has_reason = explanation.machines.iter().all(|answer| !answer.refusals.is_empty());
                        ("draining: cannot go", !order.is_leaving() && has_reason)
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
        let has_stopped = match cluster.absence(id) {
            None => cluster.report(id, name).is_some_and(|report| report.left == order.leaving),
            Some(absence) => Absence::Gone <= absence,
        };
        let is_global = cluster.units.get(name).is_some_and(|unit| unit.requirements.global);
        order.is_stop() && order.when_isolated == WhenIsolated::Stop && !is_global && !has_stopped
    }
}

fn is_placed(order: Option<&Placement>) -> bool {
    order.is_some_and(|order| !order.is_leaving())
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
    let is_wanted = |name: &UnitName| {
        let unit = cluster.units.get(name);
        let is_active = unit.is_some_and(|unit| unit.target != TargetState::Inactive && !unit.requirements.global);
        is_active && name.form() != Form::Template
    };
    orders
        .filter(|(name, order)| order.is_leaving() && is_wanted(name) && !is_done(name))
        .map(|(name, _)| name)
        .collect()
}
