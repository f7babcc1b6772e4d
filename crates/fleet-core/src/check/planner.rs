//! The from-scratch planner: the rules of placement, in the order in which `docs/placement.md` tells them.

use std::collections::{BTreeMap, BTreeSet};

use super::diff::diff;
use super::rules::{conflict, fits_alone, is_ordinary, order, replaces, requirements, tied, wanted};
use crate::engine::Plan;
use crate::model::{Cluster, MachineId, Placement};
use crate::unit::UnitName;

type Placements = BTreeMap<MachineId, BTreeMap<UnitName, Placement>>;

/// What brings the cluster to rest by the rules. Total and deterministic; the plan of the resulting picture is empty.
///
/// Looks at everything, several times: for tests and for judging, not for production.
pub fn plan(cluster: &Cluster) -> Plan {
    let mut planner = Planner { cluster, placed: single_placements(cluster) };
    loop {
        let before = planner.placed.clone();
        planner.settle_machines();
        planner.push_replaced();
        planner.place_waiting();
        if planner.placed == before {
            return diff(cluster, &planner.placed);
        }
    }
}

struct Planner<'a> {
    cluster: &'a Cluster,
    /// One entry for each present machine, changed step by step.
    placed: Placements,
}

/// What is placed on present machines, with at most one placement for each ordinary unit: the one of the newest
/// generation, and of those the one on the first machine.
fn single_placements(cluster: &Cluster) -> Placements {
    let mut placed: Placements = BTreeMap::new();
    for id in cluster.machines.keys() {
        placed.insert(id.clone(), cluster.placements.get(id).cloned().unwrap_or_default());
    }
    let names: BTreeSet<UnitName> = placed.values().flat_map(|units| units.keys().cloned()).collect();
    for name in names.iter().filter(|name| is_ordinary(cluster, name)) {
        let newest = placed.values().filter_map(|units| units.get(name)).map(|placement| placement.generation).max();
        let mut found = false;
        for units in placed.values_mut() {
            let is_it = !found && units.get(name).map(|placement| placement.generation) == newest;
            if is_it {
                found = true;
            } else {
                units.remove(name);
            }
        }
    }
    placed
}

impl Planner<'_> {
    /// What stays where it is, and global units: each machine by itself.
    fn settle_machines(&mut self) {
        let ids: Vec<MachineId> = self.placed.keys().cloned().collect();
        for id in ids {
            let settled = self.settled(&id);
            self.placed.insert(id, settled);
        }
    }

    fn settled(&self, id: &MachineId) -> BTreeMap<UnitName, Placement> {
        let cluster = self.cluster;
        let here = &self.placed[id];
        let fits = |name: &UnitName| {
            wanted(cluster, name).is_some_and(|unit| fits_alone(&unit.requirements, id, &cluster.machines[id]))
        };
        // 0: the machine has the order for this very file; 1: for another file; 2: none.
        let rank = |name: &UnitName| match here.get(name) {
            Some(placement) if placement.hash == cluster.units[name].hash => 0,
            Some(_) => 1,
            None => 2,
        };
        let mut candidates: Vec<&UnitName> =
            here.keys().filter(|name| is_ordinary(cluster, name) && fits(name)).collect();
        candidates.sort_by_key(|name| (rank(name), *name));
        let mut globals: Vec<&UnitName> =
            cluster.units.keys().filter(|name| !is_ordinary(cluster, name) && fits(name)).collect();
        globals.sort_by_key(|name| (rank(name), *name));
        loop {
            let mut kept: Vec<&UnitName> = Vec::new();
            for name in candidates.iter().chain(&globals) {
                if !kept.iter().any(|other| conflict(cluster, name, other)) {
                    kept.push(name);
                }
            }
            let alone: BTreeSet<&UnitName> = kept
                .iter()
                .copied()
                .filter(|name| is_ordinary(cluster, name))
                .filter(|name| cluster.units[*name].requirements.machine_of.iter().any(|peer| !kept.contains(&peer)))
                .collect();
            if alone.is_empty() {
                return kept.into_iter().map(|name| (name.clone(), order(&cluster.units[name]))).collect();
            }
            candidates.retain(|name| !alone.contains(name));
        }
    }

    /// Units that share a machine with one that replaces them move away, if there is a place for them.
    fn push_replaced(&mut self) {
        for replacer in self.cluster.units.keys() {
            let Some(from) = self.machine_of(replacer) else { continue };
            let others: Vec<UnitName> = self.placed[&from].keys().cloned().collect();
            for other in others {
                if self.placed[&from].contains_key(&other) && replaces(self.cluster, replacer, &other) {
                    let group = self.tied_group(&from, &other);
                    if !group.contains(replacer) {
                        self.push(&from, &group);
                    }
                }
            }
        }
    }

    /// Moves the group to the least loaded other machine that fits it; says whether there was one.
    fn push(&mut self, from: &MachineId, group: &BTreeSet<UnitName>) -> bool {
        let fits = |to: &MachineId| {
            let here = &self.placed[to];
            to != from
                && group.iter().all(|name| {
                    let requires = &self.cluster.units[name].requirements;
                    fits_alone(requires, to, &self.cluster.machines[to])
                        && requires.machine_of.iter().all(|peer| group.contains(peer) || here.contains_key(peer))
                        && !here.keys().any(|other| {
                            conflict(self.cluster, name, other)
                                || replaces(self.cluster, name, other)
                                || replaces(self.cluster, other, name)
                        })
                })
        };
        let Some(to) = self.by_load().into_iter().find(fits) else { return false };
        for name in group {
            let placement = self.placed.get_mut(from).and_then(|units| units.remove(name)).expect("it is placed there");
            self.placed.get_mut(&to).expect("a present machine").insert(name.clone(), placement);
        }
        true
    }

    /// Wanted units without a placement, group by group.
    fn place_waiting(&mut self) {
        let mut waiting: BTreeSet<&UnitName> = self
            .cluster
            .units
            .keys()
            .filter(|name| wanted(self.cluster, name).is_some() && is_ordinary(self.cluster, name))
            .filter(|name| self.machine_of(name).is_none())
            .collect();
        while let Some(first) = waiting.pop_first() {
            let mut group = BTreeSet::from([first]);
            while let Some(name) =
                waiting.iter().copied().find(|name| group.iter().any(|member| tied(self.cluster, name, member)))
            {
                waiting.remove(name);
                group.insert(name);
            }
            for id in self.by_load() {
                if let Some(placed) = self.with_group(&group, &id) {
                    self.placed = placed;
                    break;
                }
            }
        }
    }

    /// The placements with the whole group on that machine, and what it replaces moved away; `None` if it cannot be.
    fn with_group(&self, group: &BTreeSet<&UnitName>, id: &MachineId) -> Option<Placements> {
        let cluster = self.cluster;
        let able = group.iter().all(|name| {
            fits_alone(&cluster.units[*name].requirements, id, &cluster.machines[id])
                && !self.placed[id].keys().any(|other| conflict(cluster, name, other) || replaces(cluster, other, name))
                && !group.iter().any(|other| conflict(cluster, name, other))
        });
        if !able {
            return None;
        }
        let mut trial = Planner { cluster, placed: self.placed.clone() };
        for name in group {
            for other in self.placed[id].keys() {
                if trial.placed[id].contains_key(other) && replaces(cluster, name, other) {
                    let pushed = trial.tied_group(id, other);
                    if !trial.push(id, &pushed) {
                        return None;
                    }
                }
            }
        }
        let here = trial.placed.get_mut(id).expect("a present machine");
        for name in group {
            here.insert((*name).clone(), order(&cluster.units[*name]));
        }
        let peers_here = group
            .iter()
            .all(|name| cluster.units[*name].requirements.machine_of.iter().all(|peer| here.contains_key(peer)));
        peers_here.then_some(trial.placed)
    }

    /// The ordinary units on that machine that are bound to `name` by `MachineOf`, through any number of steps.
    fn tied_group(&self, id: &MachineId, name: &UnitName) -> BTreeSet<UnitName> {
        let mut group = BTreeSet::from([name.clone()]);
        loop {
            let next = self.placed[id].keys().find(|other| {
                !group.contains(*other)
                    && is_ordinary(self.cluster, other)
                    && group.iter().any(|member| tied(self.cluster, other, member))
            });
            match next {
                Some(other) => group.insert(other.clone()),
                None => return group,
            };
        }
    }

    /// Where the ordinary unit is placed.
    fn machine_of(&self, name: &UnitName) -> Option<MachineId> {
        requirements(self.cluster, name).filter(|requires| !requires.global)?;
        self.placed.iter().find(|(_, units)| units.contains_key(name)).map(|(id, _)| id.clone())
    }

    /// The machines, least loaded first, then by ID.
    fn by_load(&self) -> Vec<MachineId> {
        let mut machines: Vec<(usize, &MachineId)> = self.placed.iter().map(|(id, units)| (units.len(), id)).collect();
        machines.sort();
        machines.into_iter().map(|(_, id)| id.clone()).collect()
    }
}
