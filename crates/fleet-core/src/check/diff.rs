//! From the placements before and after to a plan: which writes, and which of them belong together.

use std::collections::{BTreeMap, BTreeSet};

use super::rules::{is_ordinary, requirements, tied};
use crate::engine::{PlacementWrite, Plan, PlanGroup};
use crate::model::{Cluster, MachineId, Placement};
use crate::unit::{Glob, UnitName};

/// The plan that makes `after` of the cluster's placements.
pub(super) fn diff(cluster: &Cluster, after: &BTreeMap<MachineId, BTreeMap<UnitName, Placement>>) -> Plan {
    let none = BTreeMap::new();
    let mut writes = Vec::new();
    let machines: BTreeSet<&MachineId> = cluster.placements.keys().chain(after.keys()).collect();
    for machine in machines {
        let had = cluster.placements.get(machine).unwrap_or(&none);
        let have = after.get(machine).unwrap_or(&none);
        for name in had.keys().filter(|name| !have.contains_key(*name)) {
            writes.push(PlacementWrite::Delete { machine: machine.clone(), name: name.clone() });
        }
        for (name, placement) in have.iter().filter(|(name, placement)| had.get(*name) != Some(placement)) {
            let placement = placement.clone();
            writes.push(PlacementWrite::Put { machine: machine.clone(), name: name.clone(), placement });
        }
    }
    let mut groups: Vec<PlanGroup> = Vec::new();
    while let Some(first) = writes.pop() {
        let mut group = vec![first];
        let mut idx = 0;
        while idx < group.len() {
            let (joined, apart) = writes.drain(..).partition(|write| belong_together(cluster, &group[idx], write));
            group.extend::<Vec<_>>(joined);
            writes = apart;
            idx += 1;
        }
        group.sort_by(|a, b| write_key(a).cmp(&write_key(b)));
        groups.push(PlanGroup { writes: group });
    }
    groups.sort_by(|a, b| group_key(a).cmp(&group_key(b)));
    Plan { brake: None, groups }
}

fn belong_together(cluster: &Cluster, a: &PlacementWrite, b: &PlacementWrite) -> bool {
    if a.name() == b.name() {
        return is_ordinary(cluster, a.name()) && (a.is_put() || b.is_put());
    }
    if a.machine() != b.machine() {
        return false;
    }
    if a.places() == b.places() {
        return tied(cluster, a.name(), b.name());
    }
    let keeps_off = |owner, other: &UnitName| {
        requirements(cluster, owner).is_some_and(|requires| {
            let replaces: &[Glob] = if requires.global { &[] } else { &requires.replaces };
            requires.conflicts.iter().chain(replaces).any(|glob| glob.matches(other.as_str()))
        })
    };
    keeps_off(a.name(), b.name()) || keeps_off(b.name(), a.name())
}

fn write_key(write: &PlacementWrite) -> (bool, bool, &UnitName, &MachineId) {
    (write.is_put(), write.places(), write.name(), write.machine())
}

fn group_key(group: &PlanGroup) -> (bool, Option<(&UnitName, &MachineId)>) {
    let has_put = group.writes.iter().any(PlacementWrite::is_put);
    (has_put, group.writes.iter().map(|write| (write.name(), write.machine())).min())
}
