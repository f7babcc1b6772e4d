//! What takes the place of a value that cannot be read, so that one bad value hurts nothing else.
//!
//! Without it a unit would be missing from the picture, and those that are tied to it would be stopped; a placement would be
//! missing, and its unit placed twice; and a brake would be let go. So the picture says of each what is sure to do no harm:
//!
//! - a unit is wanted as its newest placement says, which carries out the last wish that could be read;
//! - a placement is an old one of its unit, so that the leader writes it anew, or takes it away if nobody wants it;
//! - a brake is on and waits for nobody yet, so that the leader writes whom it waits for, or takes it away.

use std::collections::BTreeSet;

use fleet_core::model::{Brake, Generation, MachineId, Placement, TargetState, Timestamp, Unit};
use fleet_core::unit::{UnitHash, UnitName, WhenIsolated};

use super::{Key, View};

impl View {
    /// Brings the stand-ins that depend on this key's value in line with it, and notes what that changed.
    pub(super) fn stand_in(&mut self, key: &Key, changed: &mut BTreeSet<Key>) {
        if self.unreadable.is_empty() {
            return;
        }
        match key {
            Key::Unit(unit) | Key::Placement(_, unit) => {
                // In this order: the unit's stand-in is made of placements that can be read.
                self.stand_in_for_placements(unit, changed);
                self.stand_in_for_unit(unit, changed);
            }
            Key::Brake if self.is_unreadable(key) => {
                self.cluster.brake = Some(Brake { since: Timestamp(0), lost: BTreeSet::new() });
            }
            _ => (),
        }
    }

    fn is_unreadable(&self, key: &Key) -> bool {
        self.unreadable.contains_key(&key.to_string())
    }

    fn stand_in_for_unit(&mut self, unit: &UnitName, changed: &mut BTreeSet<Key>) {
        let key = Key::Unit(unit.clone());
        if !self.is_unreadable(&key) {
            return;
        }
        let placements = self.cluster.placements.values().filter_map(|placements| placements.get(unit));
        let newest = placements.filter(|order| !order.is_stop()).max_by_key(|order| order.generation).cloned();
        match newest {
            Some(Placement { hash, target, generation, restarts, .. }) => {
                let (requirements, changed) = (self.requirements(unit, &hash), Timestamp(0));
                let stand_in = Unit { hash, target, generation, restarts, changed, requirements };
                self.cluster.units.insert(unit.clone(), stand_in);
            }
            None => drop(self.cluster.units.remove(unit)),
        }
        changed.insert(key);
    }

    fn stand_in_for_placements(&mut self, unit: &UnitName, changed: &mut BTreeSet<Key>) {
        let of_unit = |key: &String| match Key::parse(key) {
            Some(Key::Placement(machine, name)) if name == *unit => Some(machine),
            _ => None,
        };
        let machines: Vec<MachineId> = self.unreadable.keys().filter_map(of_unit).collect();
        let order = self.stand_in_order(unit);
        for machine in machines {
            self.set_placement(&machine, unit, order.clone());
            changed.insert(Key::Placement(machine, unit.clone()));
        }
    }

    /// `None` if the unit cannot be read either: then what its machine does is left as it is.
    fn stand_in_order(&self, unit: &UnitName) -> Option<Placement> {
        let old = |hash, when_isolated| Placement {
            hash,
            target: TargetState::Loaded,
            generation: Generation(0),
            restarts: 0,
            when_isolated,
            leaving: None,
        };
        match (self.units.get(unit), self.cluster.units.get(unit)) {
            (Some(record), Some(wanted)) => Some(old(record.hash, wanted.requirements.when_isolated)),
            _ if self.is_unreadable(&Key::Unit(unit.clone())) => None,
            // Of no unit, so that the leader takes it away, with the care that is due to what must not run twice.
            _ => Some(old(UnitHash::of_canonical(""), WhenIsolated::Stop)),
        }
    }
}
