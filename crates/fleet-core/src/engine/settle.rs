//! What stays on a machine, and its global units.

use std::collections::BTreeSet;

use super::patterns::Crowd;
use super::picture::{Kind, Picture};
use super::slots::Slot;
use crate::model::Placement;
use crate::schedule::fits_alone;

impl Picture {
    /// Takes off the machine what may not stay there and puts the global units on it that may.
    pub(super) fn settle(&mut self, machine: Slot) {
        let kept = self.kept(machine);
        let goes = |(unit, order): (&Slot, &Placement)| (!order.is_leaving() && !kept.contains(unit)).then_some(*unit);
        let gone: Vec<Slot> = self.machines[machine].units.iter().filter_map(goes).collect();
        for unit in gone {
            self.let_go(unit, machine);
        }
        for unit in kept {
            let order = self.units[unit].order();
            if self.machines[machine].units.get(&unit) != Some(&order) {
                self.place(unit, machine, order);
            }
        }
    }

    /// Takes leaving orders off the machine that nobody needs any more.
    pub(super) fn end_leaving(&mut self, machine: Slot) {
        let is_needed = |unit: Slot| {
            let row = &self.units[unit];
            // A copy that does not run any more protects nobody.
            let protects = || row.keeps() && !self.is_up(unit) && !self.has_left(unit, machine);
            self.is_stopping(unit, machine) || (row.kind == Kind::Ordinary && protects())
        };
        let ends = |(unit, order): (&Slot, &Placement)| (order.is_leaving() && !is_needed(*unit)).then_some(*unit);
        let ended: Vec<Slot> = self.machines[machine].units.iter().filter_map(ends).collect();
        for unit in ended {
            self.take_off(unit, machine);
        }
    }

    /// Takes the unit off the machine; it and those that are tied to it have to be looked at again.
    pub(super) fn take_off(&mut self, unit: Slot, machine: Slot) {
        self.unplace(unit, machine);
        self.dirty.units.insert(unit);
        self.dirty.gone_units.insert(unit);
        self.dirty.gone_machines.insert(machine);
        self.touch_neighbors(unit);
    }

    /// The units that are to be on the machine, of those that are there and of the global ones.
    fn kept(&self, machine: Slot) -> BTreeSet<Slot> {
        let host = &self.machines[machine];
        let staying = || host.units.iter().filter(|(_, order)| !order.is_leaving()).map(|(unit, _)| *unit);
        let Some(present) = &host.machine else {
            // Of what is absent nothing is touched, but what nobody wants.
            return staying().filter(|unit| self.units[*unit].kind != Kind::Idle).collect();
        };
        let fits = |unit: &Slot| fits_alone(self.units[*unit].requirements(), &host.id, present);
        // An order for this very file comes before one for another, and that before none: what runs undisturbed stays.
        let turn = |unit: &Slot| {
            let row = &self.units[*unit];
            let before = host.units.get(unit).map(|placement| placement.hash);
            (before != row.unit.as_ref().map(|unit| unit.hash), before.is_none(), &row.name)
        };
        // What is being stopped keeps others out, but drives nobody away.
        let (mut leaving, mut stopping) = (Crowd::default(), Crowd::default());
        for (unit, order) in host.units.iter().filter(|(_, order)| order.is_leaving()) {
            let crowd = if order.is_stop() { &mut stopping } else { &mut leaving };
            crowd.add(&self.units[*unit].marks);
        }
        let ordinary = staying().filter(|unit| self.units[*unit].kind == Kind::Ordinary);
        let mut candidates: Vec<Slot> = ordinary.filter(fits).collect();
        candidates.sort_by_key(turn);
        let mut globals: Vec<Slot> = self.globals.iter().copied().filter(fits).collect();
        globals.retain(|unit| match host.units.get(unit) {
            Some(order) => !order.is_leaving(),
            None => present.is_open(),
        });
        globals.sort_by_key(turn);
        loop {
            let mut crowd = leaving.clone();
            let mut kept = BTreeSet::new();
            for unit in candidates.iter().chain(&globals) {
                let marks = &self.units[*unit].marks;
                let is_new = || !host.units.contains_key(unit);
                let is_kept_out = crowd.conflicts_with(marks) || (is_new() && stopping.conflicts_with(marks));
                if !is_kept_out {
                    crowd.add(marks);
                    kept.insert(*unit);
                }
            }
            let has_peers = |unit: &Slot| self.has_peers_among(*unit, |peer| kept.contains(&peer));
            let n_before = candidates.len();
            candidates.retain(|unit| !kept.contains(unit) || has_peers(unit));
            if candidates.len() == n_before {
                return kept;
            }
        }
    }

    /// Whether all whom the unit must be placed with are in a set.
    pub(super) fn has_peers_among(&self, unit: Slot, contains: impl Fn(Slot) -> bool) -> bool {
        self.units[unit].peers.iter().all(|&peer| contains(peer))
    }
}
