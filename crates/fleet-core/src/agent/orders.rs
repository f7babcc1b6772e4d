//! What this machine is ordered to run.

use std::collections::{BTreeMap, BTreeSet};

use super::{Agent, LookState, guard};
use crate::model::{Placement, Timestamp};
use crate::unit::{UnitHash, UnitName};

impl Agent {
    /// All orders, read anew.
    pub(super) fn ordered_anew(
        &mut self,
        now: Timestamp,
        mut orders: BTreeMap<UnitName, Placement>,
        unreadable: BTreeSet<UnitName>,
    ) {
        if self.placements.is_some() && self.look == LookState::Known {
            // All is read anew now and then, and so is the machine: signals have been lost before, too.
            self.look = LookState::Needed;
        }
        let mut before = self.placements.take().unwrap_or_default();
        self.dirty.extend(before.keys().cloned());
        self.unreadable.clear();
        for name in unreadable {
            match before.remove(&name) {
                Some(order) => drop(orders.insert(name, order)),
                None => drop(self.unreadable.insert(name)),
            }
        }
        let leaving = orders.iter().filter(|(_, order)| order.is_leaving());
        leaving.for_each(|(name, _)| self.report.note(now, name));
        self.dirty.extend(orders.keys().chain(self.units.keys()).cloned());
        self.placements = Some(orders);
        self.placements_changed();
    }

    /// Some orders changed. That is nothing before all were read.
    pub(super) fn ordered(&mut self, now: Timestamp, changes: Vec<(UnitName, Option<Placement>)>) {
        let Some(placements) = &mut self.placements else { return };
        for (name, placement) in changes {
            if placement.as_ref().is_some_and(Placement::is_leaving) {
                // That nothing of it runs is an answer, too.
                self.report.note(now, &name);
            }
            match placement {
                Some(placement) => placements.insert(name.clone(), placement),
                None => placements.remove(&name),
            };
            self.unreadable.remove(&name);
            self.dirty.insert(name);
        }
        self.placements_changed();
    }

    fn placements_changed(&mut self) {
        self.forget_files();
        self.guard_is_needed = self.placements.iter().flatten().any(|(_, order)| guard::is_guarded(order));
    }

    /// Keeps only the texts that a placement still needs, so that memory does not grow with history.
    fn forget_files(&mut self) {
        let placements = self.placements.iter().flatten();
        let needed: BTreeSet<UnitHash> = placements.map(|(_, placement)| placement.hash).collect();
        self.files.retain(|hash, _| needed.contains(hash));
    }

    pub(super) fn ordered_with(&self, hash: UnitHash) -> Vec<UnitName> {
        let placements = self.placements.iter().flatten();
        placements.filter(|(_, placement)| placement.hash == hash).map(|(name, _)| name.clone()).collect()
    }
}
