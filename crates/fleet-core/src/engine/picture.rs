//! What the engine believes of the cluster, with the indexes that make a small change cheap.
//!
//! A change of a key marks what has to be looked at again ([`Dirty`]); nothing is decided here.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::ops::Bound;
use std::sync::Arc;

use super::journal::Journal;
use super::load::{LoadIndex, Rank};
use super::patterns::{Crowd, Marks, Patterns};
use super::slots::{Slot, Slots};
use super::{Delta, PlacementWrite};
use crate::model::{Absence, Cluster, Machine, MachineId, Placement, Report, Revision, TargetState, Unit};
use crate::schedule::fits_alone;
use crate::unit::{Form, Glob, Requirements, UnitName, WhenIsolated};

/// The distance between the labels of two machines that come one after the other. Labels put machines in the order of
/// their IDs; a machine that comes between two others gets the middle, and when there is none left, all get new ones.
const LABEL_GAP: u64 = 1 << 32;

#[derive(Clone, Debug, Default)]
pub(super) struct Picture {
    /// The newest revision that is taken in.
    pub(super) revision: Revision,
    pub(super) units: Slots<UnitRow>,
    pub(super) unit_slots: BTreeMap<UnitName, Slot>,
    pub(super) machines: Slots<MachineRow>,
    pub(super) machine_slots: BTreeMap<MachineId, Slot>,
    pub(super) patterns: Patterns,
    pub(super) load: LoadIndex,
    /// The machines that have orders and are not present.
    pub(super) absent: BTreeSet<Slot>,
    /// What machines have reported.
    pub(super) reports: BTreeMap<MachineId, BTreeMap<UnitName, Report>>,
    /// Whether the brake is on: then nothing is moved from drained machines either.
    pub(super) is_braked: bool,
    /// The wanted global units.
    pub(super) globals: BTreeSet<Slot>,
    /// Units that no machine could take when they were last tried.
    pub(super) waiting: BTreeMap<UnitName, Waiting>,
    /// Units beside which there is another that they replace and that could go nowhere.
    pub(super) stuck: BTreeMap<UnitName, Slot>,
    pub(super) dirty: Dirty,
    /// While planning.
    pub(super) journal: Option<Journal>,
}

/// What has to be looked at again.
#[derive(Clone, Debug, Default)]
pub(super) struct Dirty {
    /// Units that may have to be placed, or that may be placed twice.
    pub(super) units: BTreeSet<Slot>,
    /// Machines on which something may have to go, or may have become possible.
    pub(super) machines: BTreeSet<Slot>,
    /// Units whose orders are out of date, and nothing else of them has changed.
    pub(super) orders: BTreeSet<Slot>,
    /// Units and machines that may be gone for good; their rows are given up if nothing else needs them.
    pub(super) gone_units: BTreeSet<Slot>,
    pub(super) gone_machines: BTreeSet<Slot>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) unit: Slot,
    /// Whether something else than the machines that refused it may end its waiting: another unit that could not be moved
    /// away, or its turn to leave a drained machine. Then a change of any machine counts.
    pub(super) depends_on_others: bool,
}

/// How a unit is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Gone, inactive, or a template: on no machine.
    Idle,
    /// On one machine.
    Ordinary,
    /// On every machine that fits.
    Global,
}

#[derive(Clone, Debug)]
pub(super) struct UnitRow {
    pub(super) name: UnitName,
    /// `None` when there is no such unit (any more), but a placement of it, or a `MachineOf` that names it.
    pub(super) unit: Option<Unit>,
    pub(super) kind: Kind,
    pub(super) marks: Marks,
    /// For each metadata key that it requires, the pairs that will do.
    pub(super) pairs: Vec<Vec<Slot>>,
    /// Whom it must be placed with (`MachineOf`). Nobody, if it is global.
    pub(super) peers: Vec<Slot>,
    /// Who must be placed with it.
    pub(super) followers: BTreeSet<Slot>,
    /// The machines that it is placed on.
    pub(super) on: BTreeSet<Slot>,
    /// The machines that have a leaving order about it.
    pub(super) leaving: BTreeSet<Slot>,
}

impl UnitRow {
    /// What it requires; asked only of units that exist.
    pub(super) fn requirements(&self) -> &Requirements {
        &self.unit.as_ref().expect("only units that are wanted are held against machines").requirements
    }

    /// Whether its file says `Global`, wanted or not.
    pub(super) fn is_global(&self) -> bool {
        self.unit.as_ref().is_some_and(|unit| unit.requirements.global)
    }

    /// The order that carries out what is wanted of it.
    pub(super) fn order(&self) -> Placement {
        let unit = self.unit.as_ref().expect("only units that are wanted are placed");
        let Unit { hash, target, generation, restarts, .. } = *unit;
        let when_isolated = unit.requirements.when_isolated;
        Placement { hash, target, generation, restarts, when_isolated, leaving: None }
    }

    /// Whether at least one copy of it shall run, rather than at most one.
    pub(super) fn keeps(&self) -> bool {
        self.unit.as_ref().is_some_and(|unit| unit.requirements.when_isolated == WhenIsolated::Keep)
    }

    /// The machines that have an order about it.
    fn everywhere(&self) -> impl Iterator<Item = Slot> {
        self.on.iter().chain(&self.leaving).copied()
    }
}

#[derive(Clone, Debug)]
pub(super) struct MachineRow {
    pub(super) id: MachineId,
    /// `None` when it is not present and its placements are still there.
    pub(super) machine: Option<Machine>,
    /// How long it has been away, if it is.
    pub(super) absence: Absence,
    pub(super) label: u64,
    pub(super) units: BTreeMap<Slot, Placement>,
    pub(super) crowd: Crowd,
    /// Those of its metadata pairs that somebody asks for.
    pub(super) pairs: Vec<Slot>,
}

impl MachineRow {
    /// The machine, if it takes what it does not have yet.
    pub(super) fn open(&self) -> Option<&Machine> {
        self.machine.as_ref().filter(|machine| machine.is_open())
    }

    pub(super) fn rank(&self, slot: Slot) -> Rank {
        Rank { load: self.units.len(), label: self.label, machine: slot }
    }
}

impl Picture {
    /// The picture of a full look, with everything to be looked at.
    pub(super) fn of(cluster: Cluster) -> Picture {
        let mut picture = Picture { revision: cluster.revision, reports: cluster.reports, ..Picture::default() };
        for (id, machine) in cluster.machines {
            picture.put_machine(id, machine);
        }
        for (name, unit) in cluster.units {
            picture.put_unit(name, unit);
        }
        for (machine, placements) in cluster.placements {
            for (name, placement) in placements {
                picture.put_placement(&machine, name, placement);
            }
        }
        picture
    }

    /// Takes in one change.
    pub(super) fn apply(&mut self, delta: Delta) {
        match delta {
            Delta::UnitPut { name, unit } => self.put_unit(name, unit),
            Delta::UnitRemoved { name } => self.remove_unit(&name),
            Delta::MachinePut { id, machine } => self.put_machine(id, machine),
            Delta::MachineRemoved { id } => self.remove_machine(&id),
            Delta::PlacementPut { machine, name, placement } => self.put_placement(&machine, name, placement),
            Delta::PlacementRemoved { machine, name } => self.remove_placement(&machine, &name),
            Delta::Reported { machine, name, report } => self.set_report(machine, name, report),
            // It is not the picture that counts the time.
            Delta::GivenUpChanged { .. } | Delta::BrakeChanged { .. } => (),
        }
    }

    fn put_unit(&mut self, name: UnitName, unit: Unit) {
        let slot = self.unit_slot(name);
        let row = &self.units[slot];
        if row.unit.as_ref() == Some(&unit) {
            return;
        }
        let kind = match (unit.target, row.name.form()) {
            (TargetState::Inactive, _) | (_, Form::Template) => Kind::Idle,
            _ if unit.requirements.global => Kind::Global,
            _ => Kind::Ordinary,
        };
        let same_requirements = row.unit.as_ref().is_some_and(|old| {
            Arc::ptr_eq(&old.requirements, &unit.requirements) || old.requirements == unit.requirements
        });
        let same_kind = row.kind == kind;
        if same_requirements {
            self.units[slot].unit = Some(unit);
        } else {
            self.forget_requirements(slot);
            self.units[slot].unit = Some(unit);
            self.learn_requirements(slot);
        }
        self.set_kind(slot, kind);
        if same_requirements && same_kind {
            self.dirty.orders.insert(slot);
            self.dirty.machines.extend(&self.units[slot].leaving);
        } else {
            self.touch_unit(slot);
        }
    }

    fn set_kind(&mut self, slot: Slot, kind: Kind) {
        self.units[slot].kind = kind;
        if kind == Kind::Global {
            self.globals.insert(slot);
        } else {
            self.globals.remove(&slot);
        }
    }

    fn remove_unit(&mut self, name: &UnitName) {
        let Some(&slot) = self.unit_slots.get(name) else { return };
        if self.units[slot].unit.is_none() {
            return;
        }
        self.forget_requirements(slot);
        self.units[slot].unit = None;
        self.set_kind(slot, Kind::Idle);
        self.touch_unit(slot);
        self.dirty.gone_units.insert(slot);
    }

    fn put_machine(&mut self, id: MachineId, machine: Machine) {
        let slot = self.machine_slot(id);
        let row = &mut self.machines[slot];
        if let Some(old) = &mut row.machine
            && (&old.metadata, old.cordoned, old.draining) == (&machine.metadata, machine.cordoned, machine.draining)
        {
            *old = machine;
            return;
        }
        let is_back = row.machine.is_none();
        let drain_changed = row.machine.as_ref().is_some_and(|old| old.draining != machine.draining);
        if !is_back {
            self.load.remove(row.rank(slot), &row.pairs);
        }
        row.pairs = self.load.pairs_of(&machine.metadata);
        row.machine = Some(machine);
        row.absence = Absence::Held;
        self.load.insert(row.rank(slot), &row.pairs);
        self.absent.remove(&slot);
        self.dirty.machines.insert(slot);
        self.dirty.gone_machines.remove(&slot);
        if is_back || drain_changed {
            self.touch_all_on(slot);
        }
    }

    fn remove_machine(&mut self, id: &MachineId) {
        let Some(&slot) = self.machine_slots.get(id) else { return };
        let row = &mut self.machines[slot];
        if row.machine.take().is_some() {
            self.load.remove(row.rank(slot), &row.pairs);
            row.pairs.clear();
            self.absent.insert(slot);
            self.dirty.gone_machines.insert(slot);
            self.touch_all_on(slot);
        }
    }

    fn put_placement(&mut self, machine: &MachineId, name: UnitName, placement: Placement) {
        let (unit, machine) = (self.unit_slot(name), self.machine_slot(machine.clone()));
        if self.machines[machine].units.get(&unit) != Some(&placement) {
            self.place(unit, machine, placement);
            self.touch_unit(unit);
            self.dirty.gone_units.insert(unit);
        }
    }

    fn remove_placement(&mut self, machine: &MachineId, name: &UnitName) {
        let slots = (self.unit_slots.get(name), self.machine_slots.get(machine));
        let (Some(&unit), Some(&machine)) = slots else { return };
        if self.machines[machine].units.contains_key(&unit) {
            self.unplace(unit, machine);
            self.dirty.machines.insert(machine);
            self.touch_unit(unit);
            self.dirty.gone_units.insert(unit);
            self.dirty.gone_machines.insert(machine);
        }
    }

    /// The unit and all that could be concerned by a change of it have to be looked at again.
    fn touch_unit(&mut self, slot: Slot) {
        self.dirty.units.insert(slot);
        let row = &self.units[slot];
        self.dirty.machines.extend(row.everywhere());
        if row.kind == Kind::Global {
            let requires = row.requirements();
            let fitting = self.machines.iter().filter(|(_, host)| {
                host.machine.as_ref().is_some_and(|machine| fits_alone(requires, &host.id, machine))
            });
            self.dirty.machines.extend(fitting.map(|(machine, _)| machine));
        }
        self.touch_neighbors(slot);
    }

    /// Those that `MachineOf` ties to the unit, in either direction, are in another group when the unit changes.
    pub(super) fn touch_neighbors(&mut self, slot: Slot) {
        let row = &self.units[slot];
        self.dirty.units.extend(row.followers.iter().chain(&row.peers));
    }

    /// Takes the unit's patterns, pairs and peers out of the indexes.
    fn forget_requirements(&mut self, slot: Slot) {
        self.touch_neighbors(slot);
        self.with_crowds(slot, Crowd::remove);
        let row = &mut self.units[slot];
        let patterns = [std::mem::take(&mut row.marks.conflicts), std::mem::take(&mut row.marks.replaces)].concat();
        let pairs = std::mem::take(&mut row.pairs).concat();
        for peer in std::mem::take(&mut row.peers) {
            self.units[peer].followers.remove(&slot);
            self.dirty.gone_units.insert(peer);
        }
        // The unit is back in the crowds before other rows change: a pattern that nobody has any more leaves them too.
        self.with_crowds(slot, Crowd::add);
        for pair in pairs {
            for machine in self.load.release(pair) {
                self.machines[machine].pairs.retain(|&other| other != pair);
            }
        }
        for pattern in patterns {
            if let Some(prefix) = self.patterns.release(pattern) {
                self.recount(&prefix, |_| true, |marks| marks.retain(|&other| other != pattern));
            }
        }
    }

    /// Puts the unit's patterns, pairs and peers into the indexes.
    fn learn_requirements(&mut self, slot: Slot) {
        let unit = self.units[slot].unit.as_ref().expect("it was just put");
        let requirements = Arc::clone(&unit.requirements);
        let conflicts = self.acquire_patterns(&requirements.conflicts);
        let replaces = if requirements.global { Vec::new() } else { self.acquire_patterns(&requirements.replaces) };
        let pairs = requirements
            .metadata
            .iter()
            .map(|(key, values)| values.iter().map(|value| self.acquire_pair(key, value)).collect());
        let pairs = pairs.collect();
        self.with_crowds(slot, Crowd::remove);
        let row = &mut self.units[slot];
        row.marks.conflicts = conflicts;
        row.marks.replaces = replaces;
        row.pairs = pairs;
        self.with_crowds(slot, Crowd::add);
        if !requirements.global {
            for peer in &requirements.machine_of {
                let peer = self.unit_slot(peer.clone());
                self.units[slot].peers.push(peer);
                self.units[peer].followers.insert(slot);
            }
        }
    }

    fn acquire_patterns(&mut self, globs: &[Glob]) -> Vec<Slot> {
        let mut slots = Vec::with_capacity(globs.len());
        for glob in globs {
            let (pattern, is_new) = self.patterns.acquire(glob);
            if is_new {
                let prefix = self.patterns.prefix(pattern).to_owned();
                let add = |marks: &mut Vec<Slot>| {
                    let idx = marks.partition_point(|&other| other < pattern);
                    marks.insert(idx, pattern);
                };
                self.recount(&prefix, |name| glob.matches(name), add);
            }
            slots.push(pattern);
        }
        slots
    }

    /// Changes which patterns match, for all units whose names start with `prefix` and are `concerned`.
    fn recount(&mut self, prefix: &str, concerned: impl Fn(&str) -> bool, change: impl Fn(&mut Vec<Slot>)) {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let names = self.unit_slots.range::<str, _>(from).take_while(|(name, _)| name.as_str().starts_with(prefix));
        let slots: Vec<Slot> = names.filter(|(name, _)| concerned(name.as_str())).map(|(_, &slot)| slot).collect();
        for slot in slots {
            self.with_crowds(slot, Crowd::remove);
            change(&mut self.units[slot].marks.matched);
            self.with_crowds(slot, Crowd::add);
        }
    }

    fn with_crowds(&mut self, slot: Slot, change: impl Fn(&mut Crowd, &Marks)) {
        let row = &self.units[slot];
        for machine in row.everywhere() {
            change(&mut self.machines[machine].crowd, &row.marks);
        }
    }

    fn acquire_pair(&mut self, key: &str, value: &str) -> Slot {
        let (pair, is_new) = self.load.acquire(key, value);
        if is_new {
            for (slot, row) in self.machines.iter_mut() {
                let has = |machine: &Machine| machine.metadata.get(key).is_some_and(|have| have == value);
                if row.machine.as_ref().is_some_and(has) {
                    row.pairs.push(pair);
                    self.load.enroll(pair, row.rank(slot));
                }
            }
        }
        pair
    }

    /// The unit's row; a new one, for placements and followers only, if there is none.
    fn unit_slot(&mut self, name: UnitName) -> Slot {
        match self.unit_slots.entry(name) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let name = entry.key().clone();
                let marks = Marks { matched: self.patterns.matching(name.as_str()), ..Marks::default() };
                let (peers, followers, on, leaving) = (Vec::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
                let (kind, pairs) = (Kind::Idle, Vec::new());
                let row = UnitRow { name, unit: None, kind, marks, pairs, peers, followers, on, leaving };
                *entry.insert(self.units.insert(row))
            }
        }
    }

    fn machine_slot(&mut self, id: MachineId) -> Slot {
        if let Some(&slot) = self.machine_slots.get(&id) {
            return slot;
        }
        let label = self.new_label(&id);
        let (units, crowd, pairs) = (BTreeMap::new(), Crowd::default(), Vec::new());
        let absence = Absence::Held;
        let row = MachineRow { id: id.clone(), machine: None, absence, label, units, crowd, pairs };
        let slot = self.machines.insert(row);
        self.machine_slots.insert(id, slot);
        self.absent.insert(slot);
        self.dirty.gone_machines.insert(slot);
        slot
    }

    /// A label between those of the machines before and after.
    fn new_label(&mut self, id: &MachineId) -> u64 {
        let label_of = |(_, &slot): (&MachineId, &Slot)| self.machines[slot].label;
        let before = self.machine_slots.range::<MachineId, _>(..id).next_back().map_or(0, label_of);
        let after = self.machine_slots.range::<MachineId, _>(id..).next().map(label_of);
        let label = match after {
            Some(after) => before + (after - before) / 2,
            None => before.saturating_add(LABEL_GAP),
        };
        if before < label && Some(label) != after {
            return label;
        }
        let slots: Vec<Slot> = self.machine_slots.values().copied().collect();
        let ranks = |machines: &Slots<MachineRow>, load: &mut LoadIndex, change: fn(&mut LoadIndex, Rank, &[Slot])| {
            for (slot, row) in machines.iter().filter(|(_, row)| row.machine.is_some()) {
                change(load, row.rank(slot), &row.pairs);
            }
        };
        ranks(&self.machines, &mut self.load, LoadIndex::remove);
        for (idx, slot) in slots.into_iter().enumerate() {
            self.machines[slot].label = (idx as u64 + 1) * LABEL_GAP;
        }
        ranks(&self.machines, &mut self.load, LoadIndex::insert);
        self.new_label(id)
    }

    /// Puts the unit on the machine, or changes the order about it there.
    pub(super) fn place(&mut self, unit: Slot, machine: Slot, placement: Placement) {
        let (row, host) = (&mut self.units[unit], &mut self.machines[machine]);
        let rank = host.rank(machine);
        let (now_in, before_in) = match placement.is_leaving() {
            true => (&mut row.leaving, &mut row.on),
            false => (&mut row.on, &mut row.leaving),
        };
        now_in.insert(machine);
        before_in.remove(&machine);
        // Whether it is up there, so that they can go, is another question for each placement.
        self.dirty.machines.extend(&row.leaving);
        let before = host.units.insert(unit, placement);
        if before.is_none() {
            host.crowd.add(&row.marks);
            if host.machine.is_some() {
                self.load.remove(rank, &host.pairs);
                self.load.insert(host.rank(machine), &host.pairs);
            }
        }
        if let Some(journal) = &mut self.journal {
            journal.note(unit, machine, before);
        }
    }

    /// Takes the unit off the machine; the order that was there.
    pub(super) fn unplace(&mut self, unit: Slot, machine: Slot) -> Placement {
        let (row, host) = (&mut self.units[unit], &mut self.machines[machine]);
        let rank = host.rank(machine);
        let before = host.units.remove(&unit).expect("only what is placed is taken off");
        if let Some(journal) = &mut self.journal {
            journal.note(unit, machine, Some(before.clone()));
        }
        row.on.remove(&machine);
        row.leaving.remove(&machine);
        host.crowd.remove(&row.marks);
        if host.machine.is_some() {
            self.load.remove(rank, &host.pairs);
            self.load.insert(host.rank(machine), &host.pairs);
        }
        before
    }

    /// The unit gets another placement: the old order stays as a leaving one if a copy shall run all the time, or until
    /// what may not run twice has stopped.
    pub(super) fn leave(&mut self, unit: Slot, machine: Slot) {
        let host = &self.machines[machine];
        if self.units[unit].keeps() && host.absence != Absence::GivenUp {
            let order = Placement { leaving: Some(self.revision), ..host.units[&unit].clone() };
            self.place(unit, machine, order);
        } else {
            self.let_go(unit, machine);
        }
        // Should the new placement be up already, the next round takes the leaving order away.
        self.dirty.machines.insert(machine);
    }

    /// The unit goes from the machine: at once, or when it has stopped there, if it may not run twice.
    pub(super) fn let_go(&mut self, unit: Slot, machine: Slot) {
        if self.stops_first(unit, machine) {
            let order = self.machines[machine].units[&unit].clone();
            let order = Placement { leaving: Some(self.revision), target: TargetState::Loaded, ..order };
            self.place(unit, machine, order);
            self.dirty.units.insert(unit);
            self.touch_neighbors(unit);
        } else {
            self.take_off(unit, machine);
        }
    }

    /// The write that makes the store's placement equal to the picture's.
    pub(super) fn write(&self, unit: Slot, machine: Slot) -> PlacementWrite {
        let host = &self.machines[machine];
        let (name, machine) = (self.units[unit].name.clone(), host.id.clone());
        match host.units.get(&unit) {
            Some(placement) => PlacementWrite::Put { machine, name, placement: placement.clone() },
            None => PlacementWrite::Delete { machine, name },
        }
    }

    /// Gives up the rows of what is gone and placed nowhere.
    pub(super) fn drop_gone(&mut self) {
        for slot in std::mem::take(&mut self.dirty.gone_units) {
            let row = &self.units[slot];
            if row.unit.is_none() && row.everywhere().next().is_none() && row.followers.is_empty() {
                self.unit_slots.remove(&row.name);
                // It is looked at again when a machine is freed; when it went with its machine, none was.
                self.stuck.remove(&row.name);
                self.units.remove(slot);
            }
        }
        for slot in std::mem::take(&mut self.dirty.gone_machines) {
            let row = &self.machines[slot];
            if row.machine.is_none() && row.units.is_empty() {
                self.machine_slots.remove(&row.id);
                self.absent.remove(&slot);
                self.machines.remove(slot);
            }
        }
    }
}
