//! A cluster looked at for one unit: who is where, and what each machine says.

use std::collections::{BTreeMap, BTreeSet};

use super::constraint::{any_match, fits_alone, unmet_metadata};
use super::refusal::{PeerState, Refusal};
use crate::model::{Absence, Cluster, Machine, MachineId, Placement, TargetState, Unit};
use crate::unit::{Form, Glob, Requirements, UnitName, WhenIsolated};

/// The cluster, with what is asked often prepared.
pub(super) struct Look<'a> {
    cluster: &'a Cluster,
    /// Where each ordinary unit is placed, on a machine that is present or not.
    on: BTreeMap<&'a UnitName, &'a MachineId>,
    /// Who names the unit in `MachineOf`.
    followers: BTreeMap<&'a UnitName, Vec<&'a UnitName>>,
}

/// Units imagined on another machine than they are placed on.
type Moves<'a> = BTreeMap<&'a UnitName, &'a MachineId>;

impl<'a> Look<'a> {
    pub(super) fn at(cluster: &'a Cluster) -> Look<'a> {
        let mut on = BTreeMap::new();
        for (machine, units) in &cluster.placements {
            if cluster.absence(machine) == Some(Absence::GivenUp) {
                continue;
            }
            for (name, _) in units.iter().filter(|(_, order)| !order.is_leaving()) {
                if cluster.units.get(name).is_some_and(is_ordinary) {
                    on.entry(name).or_insert(machine);
                }
            }
        }
        let mut followers: BTreeMap<&UnitName, Vec<&UnitName>> = BTreeMap::new();
        for (name, unit) in cluster.units.iter().filter(|(_, unit)| is_ordinary(unit)) {
            for peer in &unit.requirements.machine_of {
                followers.entry(peer).or_default().push(name);
            }
        }
        Look { cluster, on, followers }
    }

    /// Where the unit is placed, on machines that are present.
    pub(super) fn machines_with(&self, name: &UnitName) -> Vec<MachineId> {
        let present = self.cluster.placements.iter().filter(|(id, _)| self.cluster.machines.contains_key(*id));
        let is_placed = |id: &MachineId| self.is_placed(id, name);
        present.map(|(id, _)| id).filter(|id| is_placed(id)).cloned().collect()
    }

    /// The machine that the ordinary unit is placed on, if that is not present.
    pub(super) fn lost_with(&self, name: &UnitName) -> Option<&'a MachineId> {
        self.on.get(name).copied().filter(|id| !self.cluster.machines.contains_key(*id))
    }

    /// The machine that is to stop the unit, which may not run twice, before it is placed elsewhere.
    pub(super) fn stopping_on(&self, name: &UnitName) -> Option<&'a MachineId> {
        let orders = self.cluster.placements.iter().filter_map(|(id, units)| Some((id, units.get(name)?)));
        let is_stopping = |(id, order): &(&MachineId, &Placement)| {
            let has_stopped = match self.cluster.absence(id) {
                None => self.cluster.report(id, name).is_some_and(|report| report.has_left(order)),
                Some(absence) => Absence::Gone <= absence,
            };
            order.is_stop() && order.when_isolated == WhenIsolated::Stop && !has_stopped
        };
        orders.into_iter().find(is_stopping).map(|(id, _)| id)
    }

    /// The drained machine that the ordinary unit is placed on.
    pub(super) fn drained_with(&self, name: &UnitName) -> Option<&'a MachineId> {
        let is_drained = |id: &MachineId| self.cluster.machines.get(id).is_some_and(|one| one.draining.is_some());
        self.on.get(name).copied().filter(|id| is_drained(id))
    }

    /// The units that wait and have to be placed together with this one, with itself.
    ///
    /// Of a unit that is held on a machine that is not present: as it will be when none is held any more. Of one that is to
    /// leave a drained machine: as if it were its turn.
    pub(super) fn waiting_group(&self, name: &'a UnitName) -> BTreeSet<&'a UnitName> {
        let is_held = self.lost_with(name).is_some() && !self.is_released(name);
        self.tied(name, |other| {
            let waits = match self.lost_with(other) {
                Some(_) => is_held || self.is_released(other),
                None => !self.on.contains_key(other) || self.drained_with(other).is_some(),
            };
            is_wanted(self.cluster, other) && is_ordinary(&self.cluster.units[other]) && waits
        })
    }

    /// Whether the unit may be placed elsewhere although it has a placement, because its machine is lost.
    fn is_released(&self, name: &UnitName) -> bool {
        let keeps = || self.cluster.units[name].requirements.when_isolated == WhenIsolated::Keep;
        match self.lost_with(name).and_then(|id| self.cluster.absence(id)) {
            None | Some(Absence::Held) => false,
            Some(Absence::StopHeld) => keeps(),
            Some(Absence::Gone | Absence::GivenUp) => true,
        }
    }

    /// Whether the unit is placed on the machine; a leaving order is no placement.
    fn is_placed(&self, id: &MachineId, name: &UnitName) -> bool {
        let order = self.cluster.placements.get(id).and_then(|units| units.get(name));
        order.is_some_and(|order| !order.is_leaving())
    }

    /// Every reason why the machine cannot take the unit, which is one of a group.
    pub(super) fn refusals(
        &self,
        name: &'a UnitName,
        group: &BTreeSet<&'a UnitName>,
        id: &'a MachineId,
        machine: &Machine,
    ) -> Vec<Refusal> {
        let requires = &*self.cluster.units[name].requirements;
        let mut found = own_refusals(requires, id, machine);
        // A drained machine is cordoned as well, and one word says both.
        found.extend(match (machine.draining, machine.cordoned) {
            (Some(_), _) => Some(Refusal::Draining),
            (None, true) => Some(Refusal::Cordoned),
            (None, false) => None,
        });
        let no_moves = Moves::new();
        let others = self.units_on(id, &no_moves).chain(group.iter().copied().filter(|_| !requires.global));
        found.extend(others.filter_map(|other| self.conflict(name, other)));
        if requires.global {
            let order = self.cluster.placements.get(id).and_then(|units| units.get(name));
            found.extend(order.filter(|order| order.is_stop()).map(|_| Refusal::Stopping));
            return found;
        }
        for peer in requires.machine_of.iter().filter(|peer| !group.contains(peer) && !self.is_placed(id, peer)) {
            found.push(self.peer_refusal(peer));
        }
        for other in self.placed_on(id, &no_moves) {
            if let Some(pattern) = self.replaces(other, name) {
                found.push(Refusal::ReplacedBy { unit: other.clone(), pattern: pattern.clone() });
            }
        }
        found
    }

    /// The units that would have to leave the machine for the group and cannot, as refusals of the first member that
    /// replaces them, with that member's name.
    pub(super) fn blocked_moves(
        &self,
        group: &BTreeSet<&'a UnitName>,
        id: &'a MachineId,
    ) -> Vec<(&'a UnitName, Refusal)> {
        let mut moves = Moves::new();
        let mut found = Vec::new();
        for &name in group {
            if self.cluster.units[name].requirements.replaces.is_empty() {
                continue;
            }
            let replaced = |other: &&'a UnitName| self.replaces(name, other).is_some();
            let there: Vec<&UnitName> = self.placed_on(id, &moves).filter(replaced).collect();
            for unit in there {
                if moves.contains_key(unit) {
                    continue; // It goes with another one that it is tied to.
                }
                let tied = self.tied(unit, |other| self.on.get(other) == Some(&id) && !moves.contains_key(other));
                let is_needed = group.iter().any(|member| {
                    self.cluster.units[*member].requirements.machine_of.iter().any(|peer| tied.contains(peer))
                });
                let to = if is_needed { None } else { self.place_for(&tied, id, &moves) };
                if let Some(to) = to {
                    moves.extend(tied.into_iter().map(|other| (other, to)));
                } else if let Some(pattern) = self.replaces(name, unit) {
                    found.push((name, Refusal::WouldReplace { unit: unit.clone(), pattern: pattern.clone() }));
                }
            }
        }
        found
    }

    /// The least loaded machine, other than where it is, that fits the group as it is.
    fn place_for(&self, group: &BTreeSet<&'a UnitName>, from: &MachineId, moves: &Moves<'a>) -> Option<&'a MachineId> {
        let fits = |id: &MachineId, machine: &Machine| {
            group.iter().all(|name| {
                let requires = &self.cluster.units[*name].requirements;
                let peer_is_there =
                    |peer: &UnitName| group.contains(peer) || self.placed_on(id, moves).any(|other| other == peer);
                fits_alone(requires, id, machine)
                    && machine.is_open()
                    && requires.machine_of.iter().all(peer_is_there)
                    && !self.units_on(id, moves).any(|other| self.conflict(name, other).is_some())
                    && !self
                        .placed_on(id, moves)
                        .any(|other| self.replaces(name, other).is_some() || self.replaces(other, name).is_some())
            })
        };
        let mut fitting: Vec<(usize, &MachineId)> = self
            .cluster
            .machines
            .iter()
            .filter(|(id, machine)| *id != from && fits(id, machine))
            .map(|(id, _)| (self.units_on(id, moves).count(), id))
            .collect();
        fitting.sort();
        fitting.first().map(|(_, id)| *id)
    }

    fn peer_refusal(&self, peer: &UnitName) -> Refusal {
        let peer = peer.clone();
        if let Some(on) = self.on.get(&peer) {
            return Refusal::PeerElsewhere { on: Some((*on).clone()), peer };
        }
        let state = match self.cluster.units.get(&peer) {
            None => PeerState::Unknown,
            Some(_) if peer.form() == Form::Template => PeerState::Template,
            Some(unit) if unit.target == TargetState::Inactive => PeerState::Inactive,
            Some(_) if self.machines_with(&peer).is_empty() => PeerState::Nowhere,
            Some(_) => return Refusal::PeerElsewhere { peer, on: None },
        };
        Refusal::PeerNotPlaced { peer, state }
    }

    /// The pattern of either that keeps the two apart.
    fn conflict(&self, name: &UnitName, other: &UnitName) -> Option<Refusal> {
        let pattern_of = |owner: &UnitName, of: &UnitName| {
            let requires = &self.cluster.units.get(owner)?.requirements;
            any_match(&requires.conflicts, of).cloned()
        };
        let refusal =
            |whose: &UnitName, pattern| Refusal::Conflict { with: other.clone(), pattern, whose: whose.clone() };
        if name == other {
            return None;
        }
        pattern_of(name, other)
            .map(|pattern| refusal(name, pattern))
            .or_else(|| pattern_of(other, name).map(|pattern| refusal(other, pattern)))
    }

    /// The pattern by which the one replaces the other: not if the other replaces it as well, nor if one is global.
    fn replaces(&self, replacer: &UnitName, replaced: &UnitName) -> Option<&'a Glob> {
        let (a, b) = (self.cluster.units.get(replacer)?, self.cluster.units.get(replaced)?);
        if replacer == replaced || !is_ordinary(a) || !is_ordinary(b) {
            return None;
        }
        let pattern = any_match(&a.requirements.replaces, replaced)?;
        any_match(&b.requirements.replaces, replacer).is_none().then_some(pattern)
    }

    /// What is placed on the machine or moved to it, without what is leaving it.
    fn placed_on<'m>(&'m self, id: &'m MachineId, moves: &'m Moves<'a>) -> impl Iterator<Item = &'a UnitName> + 'm {
        self.units_on(id, moves).filter(move |name| moves.contains_key(*name) || self.is_placed(id, name))
    }

    /// What is on the machine, as placed, moved and leaving.
    fn units_on<'m>(&'m self, id: &'m MachineId, moves: &'m Moves<'a>) -> impl Iterator<Item = &'a UnitName> + 'm {
        let stays = |name: &&UnitName| !moves.contains_key(*name);
        let placed = self.cluster.placements.get(id).into_iter().flatten().map(|(name, _)| name);
        placed.filter(stays).chain(moves.iter().filter(move |(_, to)| **to == id).map(|(name, _)| *name))
    }

    /// All that `MachineOf` ties to the unit, through units that are `within`.
    fn tied(&self, name: &'a UnitName, within: impl Fn(&UnitName) -> bool) -> BTreeSet<&'a UnitName> {
        let mut found = BTreeSet::from([name]);
        let mut open = vec![name];
        while let Some(member) = open.pop() {
            let leaders = self.cluster.units.get(member).into_iter().flat_map(|unit| &unit.requirements.machine_of);
            let followers = self.followers.get(member).into_iter().flatten().copied();
            for other in leaders.chain(followers) {
                if within(other) && found.insert(other) {
                    open.push(other);
                }
            }
        }
        found
    }
}

/// Whether the unit is to be on some machine.
pub(super) fn is_wanted(cluster: &Cluster, name: &UnitName) -> bool {
    let is_active = cluster.units.get(name).is_some_and(|unit| unit.target != TargetState::Inactive);
    is_active && name.form() != Form::Template
}

fn is_ordinary(unit: &Unit) -> bool {
    !unit.requirements.global
}

/// What speaks against the machine by itself; nothing exactly if [`fits_alone`].
fn own_refusals(requires: &Requirements, id: &MachineId, machine: &Machine) -> Vec<Refusal> {
    let mut found: Vec<Refusal> =
        requires.never.iter().map(|reason| Refusal::Never { reason: reason.clone() }).collect();
    if let Some(wanted) = requires.machine_id.as_ref().filter(|wanted| !id.is_named_by(wanted)) {
        found.push(Refusal::MachineId { wanted: wanted.clone() });
    }
    found.extend(unmet_metadata(requires, machine).map(|(key, wanted, have)| Refusal::Metadata {
        key: key.clone(),
        wanted: wanted.clone(),
        have: have.cloned(),
    }));
    found
}
