//! `Replaces`: a unit that shares a machine with its replacer moves away, if there is a place for it.

use std::collections::{BTreeMap, BTreeSet};

use super::picture::{Kind, Picture};
use super::slots::Slot;
use crate::model::Placement;
use crate::schedule::fits_alone;
use crate::unit::UnitName;

/// A group that went from one machine to another, or begins to.
pub(super) struct Move {
    from: Slot,
    units: Vec<Slot>,
    /// What was ordered about them on the two machines.
    before: Vec<(Slot, Slot, Option<Placement>)>,
}

impl Picture {
    /// Moves away what shares a machine with its replacer, by the replacers' names. Where there is no place, both stay.
    pub(super) fn push_replaced(&mut self, freed: &mut BTreeSet<Slot>) {
        let mut work: BTreeMap<UnitName, Slot> = BTreeMap::new();
        for machine in freed.iter() {
            for &unit in self.machines[*machine].units.keys() {
                let row = &self.units[unit];
                if !row.marks.replaces.is_empty() {
                    work.insert(row.name.clone(), unit);
                }
            }
        }
        if !freed.is_empty() {
            work.append(&mut self.stuck);
        }
        while let Some((name, replacer)) = work.pop_first() {
            let row = &self.units[replacer];
            let (Kind::Ordinary, Some(&machine)) = (row.kind, row.on.first()) else { continue };
            if self.machines[machine].machine.is_none() {
                continue; // It is looked at when its machine is back.
            }
            let mut is_stuck = false;
            for other in self.replaced_by(replacer, machine) {
                if !self.is_on(other, machine) {
                    continue; // It went with another one that it is tied to.
                }
                let group = self.tied_group(machine, other);
                let moved = if group.contains(&replacer) { None } else { self.move_away(machine, group) };
                match moved {
                    Some(moved) => self.note_move(&moved, freed),
                    None => is_stuck = true,
                }
            }
            if is_stuck {
                self.stuck.insert(name, replacer);
            }
        }
    }

    /// The ordinary units on the machine that the unit replaces, by name.
    pub(super) fn replaced_by(&self, replacer: Slot, machine: Slot) -> Vec<Slot> {
        let host = &self.machines[machine];
        if self.units[replacer].marks.replaces.is_empty() || !host.crowd.may_replace(&self.units[replacer].marks) {
            return Vec::new();
        }
        let replaced = |other: &Slot| self.replaces(replacer, *other) && self.is_on(*other, machine);
        let mut found: Vec<Slot> = host.units.keys().copied().filter(replaced).collect();
        found.sort_by_key(|&other| &self.units[other].name);
        found
    }

    /// Whether a unit on the machine replaces this one.
    pub(super) fn is_replaced_on(&self, unit: Slot, machine: Slot) -> bool {
        let host = &self.machines[machine];
        host.crowd.may_replace(&self.units[unit].marks)
            && host.units.keys().any(|&other| self.replaces(other, unit) && self.is_on(other, machine))
    }

    /// Whether one names the other in `Replaces`, and not the other way round too; global units are left out of it.
    fn replaces(&self, replacer: Slot, replaced: Slot) -> bool {
        let (a, b) = (&self.units[replacer], &self.units[replaced]);
        replacer != replaced
            && a.kind == Kind::Ordinary
            && b.kind == Kind::Ordinary
            && b.marks.matched_by(&a.marks.replaces)
            && !a.marks.matched_by(&b.marks.replaces)
    }

    /// The ordinary units on the machine that `MachineOf` ties to this one, in any number of steps; with itself.
    pub(super) fn tied_group(&self, machine: Slot, unit: Slot) -> BTreeSet<Slot> {
        self.component(unit, |other| self.is_on(other, machine) && self.units[other].kind == Kind::Ordinary)
    }

    /// All that `MachineOf` ties to the unit through units of `scope`.
    pub(super) fn component(&self, unit: Slot, scope: impl Fn(Slot) -> bool) -> BTreeSet<Slot> {
        let mut found = BTreeSet::from([unit]);
        let row = &self.units[unit];
        if row.peers.is_empty() && row.followers.is_empty() {
            return found;
        }
        let mut open = vec![unit];
        while let Some(member) = open.pop() {
            let row = &self.units[member];
            for &other in row.peers.iter().chain(&row.followers) {
                if scope(other) && found.insert(other) {
                    open.push(other);
                }
            }
        }
        found
    }

    /// Moves the group to the least loaded other machine that fits it, if there is one. If some of it may not run twice,
    /// all of it leaves, and is placed when that has stopped.
    pub(super) fn move_away(&mut self, from: Slot, group: BTreeSet<Slot>) -> Option<Move> {
        let to = self.candidates(&group).find(|&to| to != from && self.takes(to, &group))?;
        let order = |unit: Slot, machine: Slot| (unit, machine, self.machines[machine].units.get(&unit).cloned());
        let before = group.iter().flat_map(|&unit| [order(unit, from), order(unit, to)]).collect();
        let must_stop_first = group.iter().any(|&unit| self.stops_first(unit, from));
        for &unit in &group {
            if must_stop_first {
                self.leave(unit, from);
            } else {
                let order = self.unplace(unit, from);
                self.place(unit, to, order);
            }
        }
        Some(Move { from, units: group.into_iter().collect(), before })
    }

    /// Takes a move back.
    pub(super) fn undo_move(&mut self, moved: &Move) {
        for (unit, machine, before) in &moved.before {
            if let Some(order) = before {
                self.place(*unit, *machine, order.clone());
            } else if self.machines[*machine].units.contains_key(unit) {
                self.unplace(*unit, *machine);
            }
        }
    }

    /// Whether the machine fits the group as it is, without a further move.
    fn takes(&self, machine: Slot, group: &BTreeSet<Slot>) -> bool {
        let host = &self.machines[machine];
        let Some(present) = host.open() else { return false };
        group.iter().all(|&unit| {
            let row = &self.units[unit];
            fits_alone(row.requirements(), &host.id, present)
                && !self.conflicts_on(unit, machine)
                && self.has_peers_among(unit, |peer| group.contains(&peer) || self.is_on(peer, machine))
                && self.replaced_by(unit, machine).is_empty()
                && !self.is_replaced_on(unit, machine)
        })
    }

    /// Whether the unit conflicts with what is on the machine, where it is not placed; a leaving order of its own is no
    /// other unit.
    pub(super) fn conflicts_on(&self, unit: Slot, machine: Slot) -> bool {
        let (row, crowd) = (&self.units[unit], &self.machines[machine].crowd);
        if !row.leaving.contains(&machine) {
            return crowd.conflicts_with(&row.marks);
        }
        let mut others = crowd.clone();
        others.remove(&row.marks);
        others.conflicts_with(&row.marks)
    }

    /// The machine that was left is looked at again, now for what waits and in the next round for global units;
    /// those that wait for one that was moved are tried again.
    pub(super) fn note_move(&mut self, moved: &Move, freed: &mut BTreeSet<Slot>) {
        freed.insert(moved.from);
        self.dirty.machines.insert(moved.from);
        for &unit in &moved.units {
            self.touch_neighbors(unit);
        }
    }
}
