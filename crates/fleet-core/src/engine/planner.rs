//! One plan: rounds of settling, moving and placing until nothing is left to look at.
//!
//! Each round does what a round of the rules in `docs/placement.md` does, but only for what is dirty. What is not
//! dirty would come out as it is: a machine's settling depends on that machine, its units and the global units; a
//! refusal stands until the machine loses something or the unit changes.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::Plan;
use super::journal::Journal;
use super::picture::{Kind, Picture};
use super::slots::Slot;
use crate::model::Absence;

impl Picture {
    /// Brings the picture to rest; the plan that brings the store there.
    ///
    /// Ends, because after the first round only leaving orders are taken off any more: each further round places a waiting
    /// unit, or moves one away from its replacer to where no replacer of it is.
    pub(super) fn plan(&mut self) -> Plan {
        self.journal = Some(Journal::default());
        self.clear_given_up();
        self.keep_one_placement();
        let mut is_first = true;
        while is_first || !self.dirty.machines.is_empty() || !self.dirty.units.is_empty() {
            let machines = std::mem::take(&mut self.dirty.machines);
            for &machine in &machines {
                self.end_leaving(machine);
            }
            for &machine in &machines {
                self.settle(machine);
            }
            self.renew_orders();
            // Machines on which something may have become possible in this round.
            let mut freed: BTreeSet<Slot> = machines;
            freed.retain(|&machine| self.machines[machine].machine.is_some());
            self.push_replaced(&mut freed);
            self.place_waiting(&mut freed);
            is_first = false;
        }
        let plan = self.journal.take().expect("set above").into_plan(self);
        self.drop_gone();
        plan
    }

    /// The orders of machines that do not come back.
    fn clear_given_up(&mut self) {
        let is_given_up = |machine: &Slot| {
            let host = &self.machines[*machine];
            host.machine.is_none() && host.absence == Absence::GivenUp
        };
        let given_up: Vec<Slot> = self.dirty.machines.iter().copied().filter(is_given_up).collect();
        for machine in given_up {
            let units: Vec<Slot> = self.machines[machine].units.keys().copied().collect();
            for unit in units {
                self.take_off(unit, machine);
            }
        }
    }

    /// Of several placements of a unit that is not global, the one made last stays; if several are of the same generation,
    /// one on a machine that is present, and of those the one on the first machine by ID. No engine makes a second one; this one must know what to do when it sees one.
    fn keep_one_placement(&mut self) {
        let twice = |slot: &Slot| {
            let row = &self.units[*slot];
            row.kind == Kind::Ordinary && 1 < row.on.len()
        };
        let doubled: Vec<Slot> = self.dirty.units.iter().copied().filter(twice).collect();
        for unit in doubled {
            let mut on: Vec<Slot> = self.units[unit].on.iter().copied().collect();
            on.sort_by_key(|&machine| {
                let host = &self.machines[machine];
                (Reverse(host.units[&unit].generation), host.machine.is_none(), host.label)
            });
            for &machine in on.iter().skip(1) {
                self.unplace(unit, machine);
            }
        }
    }

    /// Orders whose unit changed in nothing that placement asks about.
    fn renew_orders(&mut self) {
        for unit in std::mem::take(&mut self.dirty.orders) {
            let row = &self.units[unit];
            if row.kind == Kind::Idle {
                continue;
            }
            let order = row.order();
            for machine in row.on.clone() {
                if self.machines[machine].units[&unit] != order {
                    self.place(unit, machine, order.clone());
                }
            }
        }
    }
}
