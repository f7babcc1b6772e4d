//! How far a drained machine is emptied, and what cannot go.

use std::collections::BTreeMap;

use super::explain::{Explanation, explain_at};
use super::look::{Look, is_wanted};
use crate::model::{Cluster, MachineId, Placement};
use crate::unit::{UnitName, WhenIsolated};

/// How far one unit of a drained machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrainStep {
    /// A global unit: it belongs to the machine and stays there.
    Global,
    /// It is being stopped, because it may not run twice; then it is placed elsewhere.
    Stopping,
    /// It is placed there and is not up there yet; here it runs on until it is.
    Moving {
        /// Where it goes; `None` while it waits for units that go with it.
        to: Option<MachineId>,
        /// Its order was carried out there and it is not up all the same: it failed, or it has ended badly.
        failed: bool,
    },
    /// Another machine can take it, as soon as it is its turn.
    Queued,
    /// No other machine can take it, for these reasons.
    Stuck(Explanation),
}

/// Whether nothing is on its way from the drained machine and nothing more can go: what is there are global units, and what no
/// other machine takes.
pub fn is_drained(cluster: &Cluster, machine: &MachineId) -> bool {
    let is_draining = cluster.machines.get(machine).is_some_and(|machine| machine.draining.is_some());
    let mut orders = cluster.placements.get(machine).into_iter().flatten();
    // Asked before the rest, which is dear: most changes on the way are about a unit that leaves.
    let some_leave = orders.any(|(_, order)| order.is_leaving());
    let stays = |step: &DrainStep| matches!(step, DrainStep::Global | DrainStep::Stuck(_));
    is_draining && !some_leave && explain_drain(cluster, machine).values().all(stays)
}

/// What is still on the machine and what becomes of it, if the machine is drained; of units that nobody wants only what
/// stops before somebody may want it again.
///
/// Holds each unit that has not left yet against each machine and what is placed there.
pub fn explain_drain(cluster: &Cluster, machine: &MachineId) -> BTreeMap<UnitName, DrainStep> {
    let look = Look::at(cluster);
    let mut steps = BTreeMap::new();
    for (name, order) in cluster.placements.get(machine).into_iter().flatten() {
        if order.is_stop() && order.when_isolated == WhenIsolated::Stop {
            steps.insert(name.clone(), DrainStep::Stopping);
            continue;
        }
        let Some(unit) = cluster.units.get(name).filter(|_| is_wanted(cluster, name)) else { continue };
        let is_placed =
            |units: &BTreeMap<UnitName, Placement>| units.get(name).is_some_and(|order| !order.is_leaving());
        let step = if unit.requirements.global {
            DrainStep::Global
        } else if order.is_leaving() {
            let to = cluster.placements.iter().find(|(_, units)| is_placed(units)).map(|(id, _)| id.clone());
            let report = to.as_ref().and_then(|to| cluster.report(to, name));
            let failed = report.is_some_and(|report| unit.generation <= report.done && !report.is_up);
            DrainStep::Moving { to, failed }
        } else {
            let explanation = explain_at(&look, cluster, name);
            let has_place = explanation.able().next().is_some();
            if has_place { DrainStep::Queued } else { DrainStep::Stuck(explanation) }
        };
        steps.insert(name.clone(), step);
    }
    steps
}
