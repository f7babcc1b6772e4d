//! What units ask of their machines and their neighbors: metadata, and `Replaces`. Source: `docs/placement.md`.

use fleet_core::model::{MachineId, Placement, Revision, TargetState};
use fleet_core::unit::UnitName;
use fleet_store::registry::MetadataRecord;

use super::Judge;
use super::store::LAG_MS;
use crate::units::{DISK, FAST, Family, heir_of, replaced_by};
use crate::world::Host;

impl Judge {
    /// Something was said of a machine's disk, by itself or by an operator.
    pub(super) fn note_disk(&mut self, now_ms: u64, machine: &MachineId) {
        let dynamic = self.view.metadata().get(machine).into_iter().flatten();
        let said = dynamic.filter(|(key, _)| key.as_str() == DISK).map(|(_, record)| record).next();
        let own = self.view.machines().get(machine).and_then(|entry| entry.record.metadata.get(DISK));
        let is_fast = match said {
            Some(MetadataRecord::Set(disk)) => disk == FAST,
            Some(MetadataRecord::Removed) => false,
            None => own.is_some_and(|disk| disk == FAST),
        };
        // What a machine is that is not there nobody knows; it stays what it was.
        if self.view.machines().contains_key(machine)
            && self.is_fast.get(machine).is_none_or(|(was, _)| *was != is_fast)
        {
            self.is_fast.insert(machine.clone(), (is_fast, now_ms));
        }
    }

    /// Whether the machine has had the disk for so long.
    pub(super) fn is_fast_for(&self, now_ms: u64, machine: &MachineId, ms: u64) -> bool {
        self.is_fast.get(machine).is_some_and(|(is_fast, since_ms)| *is_fast && since_ms + ms < now_ms)
    }

    /// Whether the machine has not had the disk for so long.
    fn is_slow_for(&self, now_ms: u64, machine: &MachineId, ms: u64) -> bool {
        self.is_fast.get(machine).is_some_and(|(is_fast, since_ms)| !*is_fast && since_ms + ms < now_ms)
    }

    /// What was placed just now may be where it is, beside whom it is.
    pub(super) fn judge_needs(&mut self, now_ms: u64, at: Revision, new: &[(MachineId, UnitName)]) {
        let mut wrong = Vec::new();
        for (machine, unit) in new {
            if Family::of(unit) == Family::Picky && !self.is_deaf && self.is_slow_for(now_ms, machine, LAG_MS) {
                wrong.push(format!("{unit} is placed on {machine}, which has no {FAST}"));
            }
            let order = self.view.placement(machine, unit);
            let elder = order.and_then(|order| replaced_by(unit, order.hash));
            let pair = elder.map(|elder| (elder, unit.clone())).or(heir_of(unit).map(|heir| (unit.clone(), heir)));
            if let Some((elder, heir)) = pair
                && self.are_beside(machine, &elder, &heir)
            {
                wrong.push(format!("{unit} is placed on {machine}, where {heir} is, which replaces {elder}"));
            }
        }
        wrong.into_iter().for_each(|what| self.object(now_ms, format!("revision {}: {what}", at.0)));
    }

    /// Whether both are placed there, and the second one, as it is wanted now and as it is ordered there, replaces the first.
    fn are_beside(&self, machine: &MachineId, elder: &UnitName, heir: &UnitName) -> bool {
        let placed = |unit| self.view.placement(machine, unit).filter(|order| !order.is_leaving());
        let is_pair = |order: &Placement| replaced_by(heir, order.hash).as_ref() == Some(elder);
        self.is_wanted(elder) && self.is_heir(heir) && placed(elder).is_some() && placed(heir).is_some_and(is_pair)
    }

    fn is_wanted(&self, unit: &UnitName) -> bool {
        self.view.units().get(unit).is_some_and(|wish| wish.target != TargetState::Inactive)
    }

    /// Whether it is wanted with a file by which it replaces another.
    fn is_heir(&self, unit: &UnitName) -> bool {
        self.is_wanted(unit) && self.view.units().get(unit).is_some_and(|wish| replaced_by(unit, wish.hash).is_some())
    }

    /// What at rest does not have what it asks for and could have it.
    pub(super) fn unmet(&self, hosts: &[Host], disks: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for (host, disk) in hosts.iter().zip(disks) {
            let told = self.view.machines().get(&host.id).map(|entry| entry.record.metadata.get(DISK));
            if told.is_some_and(|told| told.map(String::as_str) != Some(*disk)) {
                found.push(format!("{} tells of its disk {told:?}, and its configuration says {disk}", host.id));
            }
        }
        let is_fast = |id: &MachineId| self.is_fast.get(id).is_some_and(|(is_fast, _)| *is_fast);
        for unit in self.view.units().keys().filter(|unit| self.is_wanted(unit)) {
            let on = self.view.placed_on(unit).next();
            let open: Vec<&MachineId> = self.open_since_ms.keys().collect();
            let takes: Vec<&MachineId> = match Family::of(unit) {
                Family::Picky => {
                    if let Some(on) = on.filter(|on| !is_fast(on)) {
                        found.push(format!("{unit} is placed on {on}, which has no {FAST}"));
                    }
                    open.into_iter().filter(|id| is_fast(id)).collect()
                }
                Family::Elder | Family::Heir => open.into_iter().filter(|id| self.is_free_for(id, unit)).collect(),
                _ => continue,
            };
            if let (None, Some(able)) = (on, takes.first()) {
                found.push(format!("{unit} waits, and {able} could take it"));
            }
            if let (Some(on), Some(heir), Some(able)) = (on, heir_of(unit), takes.first())
                && self.are_beside(on, unit, &heir)
            {
                found.push(format!("{unit} is on {on} beside {heir}, which replaces it, and {able} could take it"));
            }
        }
        found
    }

    /// Whether the one of a pair can go to that machine without the other having to move.
    fn is_free_for(&self, machine: &MachineId, unit: &UnitName) -> bool {
        let is_there = |other: &UnitName| self.view.placement(machine, other).is_some_and(|order| !order.is_leaving());
        match heir_of(unit) {
            Some(heir) => !self.is_heir(&heir) || !is_there(&heir),
            None => match self.view.units().get(unit).and_then(|wish| replaced_by(unit, wish.hash)) {
                Some(elder) => !self.is_wanted(&elder) || !is_there(&elder),
                None => true,
            },
        }
    }
}
