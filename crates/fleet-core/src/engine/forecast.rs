//! What would become of a cluster: the engine at work on a picture of it, with machines that do at once and well what they are told.

use std::collections::{BTreeMap, BTreeSet};

use super::{Delta, Effect, Engine, EngineConfig, Event, PlacementWrite, Plan};
use crate::model::{Cluster, MachineId, Placement, Report, Revision, Timestamp};
use crate::unit::UnitName;

/// So many plans are made at most, one after the other. A drain of one unit at a time takes two for each unit.
pub const FORECAST_PLANS_MAX: usize = 20_000;

/// Where a unit was and would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// The machines that it is placed on.
    pub before: BTreeSet<MachineId>,
    /// The machines that it would be placed on.
    pub after: BTreeSet<MachineId>,
}

/// The cluster at rest, if nothing else happens: nobody wants anything else, no machine comes or goes, every order is carried
/// out at once and well. What is lost stays lost for as long as it has been.
///
/// `false`: it did not come to rest within [`FORECAST_PLANS_MAX`] plans.
pub fn forecast(mut cluster: Cluster) -> (Cluster, bool) {
    let orders: Vec<(MachineId, UnitName, Placement)> = cluster
        .placements
        .iter()
        .flat_map(|(id, units)| units.iter().map(|(name, order)| (id.clone(), name.clone(), order.clone())))
        .collect();
    for (id, name, order) in &orders {
        if let Some(report) = obeyed(&cluster, id, order) {
            cluster.reports.entry(id.clone()).or_default().insert(name.clone(), report);
        }
    }
    // Only revisions that follow each other are asked of the store here, and no time passes.
    let now = Timestamp(0);
    let mut engine = Engine::new(EngineConfig::default());
    let mut effects = engine.handle(now, Event::Snapshot(cluster.clone()));
    for _ in 0..FORECAST_PLANS_MAX {
        let plan = effects.into_iter().find_map(|effect| match effect {
            Effect::Write(plan) => Some(plan),
            Effect::Resync | Effect::Wake(_) | Effect::Alarm(_) => None,
        });
        let Some(plan) = plan else { return (cluster, true) };
        let revision = Revision(cluster.revision.0 + 1);
        cluster.revision = revision;
        let deltas = carry_out(&mut cluster, plan);
        engine.handle(now, Event::Written { revision });
        effects = engine.handle(now, Event::Changed { revision, deltas });
    }
    (cluster, false)
}

/// The units that are placed otherwise in the one cluster than in the other.
pub fn fates(before: &Cluster, after: &Cluster) -> BTreeMap<UnitName, Fate> {
    let mut fates = BTreeMap::<UnitName, Fate>::new();
    for (id, name) in placed(before) {
        fates.entry(name.clone()).or_default().before.insert(id.clone());
    }
    for (id, name) in placed(after) {
        fates.entry(name.clone()).or_default().after.insert(id.clone());
    }
    fates.retain(|_, fate| fate.before != fate.after);
    fates
}

/// Every placement; a leaving order is none.
fn placed(cluster: &Cluster) -> impl Iterator<Item = (&MachineId, &UnitName)> {
    let units =
        cluster.placements.iter().flat_map(|(id, units)| units.iter().map(move |(name, order)| (id, name, order)));
    units.filter(|(_, _, order)| !order.is_leaving()).map(|(id, name, _)| (id, name))
}

/// Writes the plan into the cluster, lets the machines obey, and tells what came of both.
fn carry_out(cluster: &mut Cluster, plan: Plan) -> Vec<Delta> {
    let mut deltas = Vec::new();
    if let Some(write) = &plan.brake {
        cluster.brake = write.brake().cloned();
        deltas.push(Delta::BrakeChanged { brake: cluster.brake.clone() });
    }
    for write in plan.groups.into_iter().flat_map(|group| group.writes) {
        let (machine, name, report) = match write {
            PlacementWrite::Put { machine, name, placement } => {
                let report = obeyed(cluster, &machine, &placement);
                cluster.placements.entry(machine.clone()).or_default().insert(name.clone(), placement.clone());
                deltas.push(Delta::PlacementPut { machine: machine.clone(), name: name.clone(), placement });
                let Some(report) = report else { continue };
                (machine, name, Some(report))
            }
            PlacementWrite::Delete { machine, name } => {
                take(&mut cluster.placements, &machine, &name);
                deltas.push(Delta::PlacementRemoved { machine: machine.clone(), name: name.clone() });
                (machine, name, None)
            }
        };
        match report {
            Some(report) => drop(cluster.reports.entry(machine.clone()).or_default().insert(name.clone(), report)),
            None => take(&mut cluster.reports, &machine, &name),
        }
        deltas.push(Delta::Reported { machine, name, report });
    }
    deltas
}

/// What the machine says when it has done what the order says; nothing if it is not there, or goes on as it was.
fn obeyed(cluster: &Cluster, id: &MachineId, order: &Placement) -> Option<Report> {
    let goes_on = order.is_leaving() && !order.is_stop();
    let report = Report { done: order.generation, is_up: true, left: order.leaving };
    (cluster.machines.contains_key(id) && !goes_on).then_some(report)
}

fn take<V>(map: &mut BTreeMap<MachineId, BTreeMap<UnitName, V>>, id: &MachineId, name: &UnitName) {
    if let Some(units) = map.get_mut(id) {
        units.remove(name);
        if units.is_empty() {
            map.remove(id);
        }
    }
}
