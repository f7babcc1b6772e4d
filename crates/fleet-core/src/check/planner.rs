//! The from-scratch planner: the rules of placement, in the order in which `docs/placement.md` tells them.

use std::collections::{BTreeMap, BTreeSet};

use super::diff::diff;
use super::rules::{
    conflict, drain_of, fits_alone, is_done, is_leaving_needed, is_open, is_ordinary, is_released, is_stopping, keeps,
    order, replaces, requirements, stops_first, tied, wanted, wanted_once,
};
use crate::engine::Plan;
use crate::model::{Absence, Cluster, MachineId, Placement, TargetState};
use crate::unit::UnitName;

type Placements = BTreeMap<MachineId, BTreeMap<UnitName, Placement>>;

/// What brings the cluster to rest by the rules. Total and deterministic; the plan of the resulting picture is empty.
///
/// Looks at everything, several times: for tests and for judging, not for production.
pub fn plan(cluster: &Cluster) -> Plan {
    let mut planner = Planner { cluster, placed: single_placements(cluster) };
    loop {
        let before = planner.placed.clone();
        planner.end_leaving();
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
    /// One entry for each present machine, and for each absent one that has orders and is not given up; changed step by
    /// step.
    placed: Placements,
}

/// What is placed on machines that are not given up, with at most one placement for each ordinary unit: the one of the
/// newest generation, of those on a present machine, and of those on the first.
fn single_placements(cluster: &Cluster) -> Placements {
    let mut placed: Placements = BTreeMap::new();
    for id in cluster.machines.keys().chain(cluster.placements.keys()) {
        if cluster.absence(id) != Some(Absence::GivenUp) {
            placed.insert(id.clone(), cluster.placements.get(id).cloned().unwrap_or_default());
        }
    }
    let names: BTreeSet<UnitName> = placed.values().flat_map(|units| units.keys().cloned()).collect();
    for name in names.iter().filter(|name| wanted_once(cluster, name)) {
        let staying =
            |units: &BTreeMap<UnitName, Placement>| units.get(name).filter(|order| !order.is_leaving()).cloned();
        let best = placed
            .iter()
            .filter_map(|(id, units)| Some((staying(units)?.generation, cluster.machines.contains_key(id), id)))
            .max_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(b.2.cmp(a.2)))
            .map(|(.., id)| id.clone());
        for (id, units) in &mut placed {
            if staying(units).is_some() && Some(id) != best.as_ref() {
                units.remove(name);
            }
        }
    }
    placed
}

impl Planner<'_> {
    /// Leaving orders go when nobody needs them any more.
    fn end_leaving(&mut self) {
        let mut ended = Vec::new();
        for (id, units) in &self.placed {
            for (name, order) in units.iter().filter(|(_, order)| order.is_leaving()) {
                if !is_leaving_needed(self.cluster, name, (id, order), self.machine_of(name).as_ref()) {
                    ended.push((id.clone(), name.clone()));
                }
            }
        }
        for (id, name) in ended {
            self.placed.get_mut(&id).and_then(|units| units.remove(&name));
        }
    }

    /// What stays where it is, and global units: each machine by itself.
    fn settle_machines(&mut self) {
        let ids: Vec<MachineId> = self.placed.keys().cloned().collect();
        for id in ids {
            let mut settled = match self.cluster.machines.contains_key(&id) {
                true => self.settled(&id),
                false => self.held(&id),
            };
            for (name, order) in &self.placed[&id] {
                if !settled.contains_key(name) && stops_first(self.cluster, &id, order) {
                    settled.insert(name.clone(), self.stop_order(order));
                }
            }
            self.placed.insert(id, settled);
        }
    }

    /// The order to stop what leaves a machine.
    fn stop_order(&self, order: &Placement) -> Placement {
        Placement { leaving: Some(self.cluster.revision), target: TargetState::Loaded, ..order.clone() }
    }

    /// What an absent machine has and somebody wants, or what leaves it, whatever else has become of it.
    fn held(&self, id: &MachineId) -> BTreeMap<UnitName, Placement> {
        let renewed = |(name, old): (&UnitName, &Placement)| {
            let renewed = if old.is_leaving() { old.clone() } else { order(wanted(self.cluster, name)?) };
            Some((name.clone(), renewed))
        };
        self.placed[id].iter().filter_map(renewed).collect()
    }

    fn settled(&self, id: &MachineId) -> BTreeMap<UnitName, Placement> {
        let cluster = self.cluster;
        let here = &self.placed[id];
        let machine = &cluster.machines[id];
        let leaving: Vec<&UnitName> =
            here.iter().filter(|(_, order)| order.is_leaving()).map(|(name, _)| name).collect();
        // What is being stopped keeps others out, but drives nobody away.
        let hinders = |other: &UnitName, name: &UnitName| !here[other].is_stop() || !here.contains_key(name);
        let fits = |name: &UnitName| {
            wanted(cluster, name).is_some_and(|unit| fits_alone(&unit.requirements, id, machine))
                && !leaving.contains(&name)
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
        let mut globals: Vec<&UnitName> = cluster
            .units
            .keys()
            .filter(|name| !is_ordinary(cluster, name) && fits(name))
            .filter(|name| here.contains_key(*name) || is_open(machine))
            .collect();
        globals.sort_by_key(|name| (rank(name), *name));
        loop {
            let mut kept: Vec<&UnitName> = Vec::new();
            for name in candidates.iter().chain(&globals) {
                let there = kept.iter().chain(leaving.iter().filter(|other| hinders(other, name)));
                if !there.copied().any(|other| conflict(cluster, name, other)) {
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
                let staying = kept.into_iter().map(|name| (name.clone(), order(&cluster.units[name])));
                return staying.chain(leaving.iter().map(|name| ((*name).clone(), here[*name].clone()))).collect();
            }
            candidates.retain(|name| !alone.contains(name));
        }
    }

    /// Units that share a machine with one that replaces them move away, if there is a place for them.
    fn push_replaced(&mut self) {
        for replacer in self.cluster.units.keys() {
            let Some(from) = self.machine_of(replacer) else { continue };
            if !self.cluster.machines.contains_key(&from) {
                continue;
            }
            let others: Vec<UnitName> = self.placed[&from].keys().cloned().collect();
            for other in others {
                if self.is_on(&from, &other) && replaces(self.cluster, replacer, &other) {
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
                && is_open(&self.cluster.machines[to])
                && group.iter().all(|name| {
                    let requires = &self.cluster.units[name].requirements;
                    fits_alone(requires, to, &self.cluster.machines[to])
                        && requires.machine_of.iter().all(|peer| group.contains(peer) || self.is_on(to, peer))
                        && !here.iter().any(|(other, order)| {
                            let pushes = replaces(self.cluster, name, other) || replaces(self.cluster, other, name);
                            conflict(self.cluster, name, other) || (pushes && !order.is_leaving())
                        })
                })
        };
        let Some(to) = self.by_load().into_iter().find(fits) else { return false };
        let orders = || group.iter().map(|name| &self.placed[from][name]);
        if orders().any(|order| stops_first(self.cluster, from, order)) {
            // All of it leaves, and is placed when what may not run twice has stopped.
            group.iter().for_each(|name| self.leave(name));
            return true;
        }
        for name in group {
            let placement = self.placed.get_mut(from).and_then(|units| units.remove(name)).expect("it is placed there");
            self.placed.get_mut(&to).expect("a present machine").insert(name.clone(), placement);
        }
        true
    }

    /// Wanted units without a placement, and those whose machine is absent for too long or drained, group by group.
    fn place_waiting(&mut self) {
        let mut waiting: BTreeSet<&UnitName> = self
            .cluster
            .units
            .keys()
            .filter(|name| wanted_once(self.cluster, name))
            .filter(|name| self.machine_of(name).is_none_or(|id| is_released(self.cluster, name, &id)))
            .collect();
        while let Some(first) = waiting.pop_first() {
            let mut group = BTreeSet::from([first]);
            while let Some(name) =
                waiting.iter().copied().find(|name| group.iter().any(|member| tied(self.cluster, name, member)))
            {
                waiting.remove(name);
                group.insert(name);
            }
            if group.iter().any(|name| self.stops_somewhere(name)) || !self.has_turn(&group) {
                continue;
            }
            let Some(placed) = self.by_load().iter().find_map(|id| self.with_group(&group, id)) else { continue };
            if group.iter().any(|name| self.must_stop_first(name)) {
                group.iter().for_each(|name| self.leave(name));
            } else {
                self.placed = placed;
            }
        }
    }

    /// Whether the unit, which may not run twice, is stopping somewhere.
    fn stops_somewhere(&self, name: &UnitName) -> bool {
        let stops = |(id, units): (&MachineId, &BTreeMap<UnitName, Placement>)| {
            units.get(name).is_some_and(|order| is_stopping(self.cluster, name, id, order))
        };
        self.placed.iter().any(stops)
    }

    /// Whether the unit may not run twice and is placed where it may run still.
    fn must_stop_first(&self, name: &UnitName) -> bool {
        self.machine_of(name).is_some_and(|id| stops_first(self.cluster, &id, &self.placed[&id][name]))
    }

    /// Whether each drained machine that has some of the group lets so many more go, or has none on its way.
    fn has_turn(&self, group: &BTreeSet<&UnitName>) -> bool {
        self.placed.iter().all(|(id, units)| {
            let Some(drain) = drain_of(self.cluster, id) else { return true };
            let n_to_go = group.iter().filter(|name| self.is_on(id, name)).count();
            let is_done_elsewhere =
                |name: &UnitName| self.machine_of(name).is_some_and(|new| is_done(self.cluster, name, &new));
            let is_on_the_way = |name: &UnitName| wanted_once(self.cluster, name) && !is_done_elsewhere(name);
            let n_on_the_way = units.iter().filter(|(name, order)| order.is_leaving() && is_on_the_way(name)).count();
            n_to_go == 0 || n_on_the_way == 0 || n_on_the_way + n_to_go <= drain.max_at_once as usize
        })
    }

    /// The placements with the whole group on that machine, and what it replaces moved away; `None` if it cannot be.
    fn with_group(&self, group: &BTreeSet<&UnitName>, id: &MachineId) -> Option<Placements> {
        let cluster = self.cluster;
        let takes = |name: &UnitName, other: &UnitName, order: &Placement| {
            !conflict(cluster, name, other) && (order.is_leaving() || !replaces(cluster, other, name))
        };
        let able = is_open(&cluster.machines[id])
            && group.iter().all(|name| {
                fits_alone(&cluster.units[*name].requirements, id, &cluster.machines[id])
                    && self.placed[id].iter().all(|(other, order)| takes(name, other, order))
                    && !group.iter().any(|other| conflict(cluster, name, other))
            });
        if !able {
            return None;
        }
        let mut trial = Planner { cluster, placed: self.placed.clone() };
        for name in group {
            for other in self.placed[id].keys() {
                if trial.is_on(id, other) && replaces(cluster, name, other) {
                    let pushed = trial.tied_group(id, other);
                    if !trial.push(id, &pushed) {
                        return None;
                    }
                }
            }
        }
        for name in group {
            trial.leave(name);
            let here = trial.placed.get_mut(id).expect("a present machine");
            here.insert((*name).clone(), order(&cluster.units[*name]));
        }
        let peers_here = group
            .iter()
            .all(|name| cluster.units[*name].requirements.machine_of.iter().all(|peer| trial.is_on(id, peer)));
        peers_here.then_some(trial.placed)
    }

    /// The unit gets another placement: the old order stays as a leaving one if a copy shall run all the time, or until
    /// what may not run twice has stopped.
    fn leave(&mut self, name: &UnitName) {
        let Some(id) = self.machine_of(name) else { return };
        let order = &self.placed[&id][name];
        let left = if keeps(self.cluster, name) {
            Some(Placement { leaving: Some(self.cluster.revision), ..order.clone() })
        } else {
            stops_first(self.cluster, &id, order).then(|| self.stop_order(order))
        };
        let units = self.placed.get_mut(&id).expect("it is placed there");
        match left {
            Some(order) => units.insert(name.clone(), order),
            None => units.remove(name),
        };
    }

    /// The ordinary units on that machine that are bound to `name` by `MachineOf`, through any number of steps.
    fn tied_group(&self, id: &MachineId, name: &UnitName) -> BTreeSet<UnitName> {
        let mut group = BTreeSet::from([name.clone()]);
        loop {
            let next = self.placed[id].keys().find(|other| {
                !group.contains(*other)
                    && is_ordinary(self.cluster, other)
                    && self.is_on(id, other)
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
        self.placed.keys().find(|id| self.is_on(id, name)).cloned()
    }

    /// Whether the unit is placed on that machine; a leaving order is no placement.
    fn is_on(&self, id: &MachineId, name: &UnitName) -> bool {
        self.placed[id].get(name).is_some_and(|order| !order.is_leaving())
    }

    /// The present machines, least loaded first, then by ID.
    fn by_load(&self) -> Vec<MachineId> {
        let present = self.placed.iter().filter(|(id, _)| self.cluster.machines.contains_key(*id));
        let mut machines: Vec<(usize, &MachineId)> = present.map(|(id, units)| (units.len(), id)).collect();
        machines.sort();
        machines.into_iter().map(|(_, id)| id.clone()).collect()
    }
}
