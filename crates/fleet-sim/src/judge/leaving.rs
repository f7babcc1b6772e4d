//! How a machine leaves: what may run elsewhere is up there before it is stopped here, and then nothing of it is left behind.
//! Source: `docs/fleetd.md`, "Signals and systemd".

use fleet_core::model::{MachineId, Revision};
use fleet_core::unit::UnitName;

use super::Judge;
use super::store::LAG_MS;
use crate::units::Family;
use crate::world::Who;

/// A daemon that was told to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    who: Who,
    /// Until when it hands its units over at most.
    until_ms: u64,
}

impl Judge {
    /// A daemon was told to stop; it may take until then to hand its units over.
    pub(crate) fn leaves(&mut self, who: Who, until_ms: u64) {
        self.leaving.insert(who.daemon, Leaving { who, until_ms });
    }

    /// A daemon has read all orders to its machine, as they were at that revision.
    pub(crate) fn reads_orders(&mut self, who: Who, at: Revision) {
        self.read_orders.insert(who, at);
    }

    /// Whether the machine is not there and has orders that nobody takes away.
    pub(crate) fn waits_for(&self, machine: &MachineId) -> bool {
        let is_there = self.view.machines().contains_key(machine) || self.view.given_up().contains_key(machine);
        !is_there && self.has_orders(machine)
    }

    pub(super) fn has_orders(&self, machine: &MachineId) -> bool {
        self.view.cluster().placements.get(machine).is_some_and(|units| !units.is_empty())
    }

    /// Which machines take new units is kept for each revision.
    pub(super) fn note_openings(&mut self, now_ms: u64) {
        let is_open = |id: &MachineId| {
            let machine = self.view.cluster().machines.get(id);
            let says_no = self.view.cordoned().contains_key(id) || self.view.drained().contains_key(id);
            machine.is_some() && !says_no && !self.presence.get(id).is_some_and(|presence| presence.leaving)
        };
        let open: Vec<MachineId> = self.machines.iter().filter(|id| is_open(id)).cloned().collect();
        self.open_since_ms.retain(|id, _| open.contains(id));
        for id in open {
            self.open_since_ms.entry(id).or_insert(now_ms);
        }
    }

    /// The other machines that could take units, and could for so long that everybody knows.
    pub(super) fn machines_open(&self, now_ms: u64, host: usize) -> String {
        let open = self.open_since_ms.iter().filter(|(_, since_ms)| **since_ms + LAG_MS < now_ms);
        let others = open.map(|(id, _)| id.as_str()).filter(|id| *id != self.machines[host].as_str());
        others.collect::<Vec<_>>().join(" ")
    }

    /// Whether the unit may not be stopped yet on the machine that leaves, unless it runs elsewhere.
    pub(super) fn has_to_hand_over(&self, now_ms: u64, who: Who, unit: &UnitName) -> bool {
        let in_time =
            self.leaving.get(&who.daemon).is_none_or(|leaving| leaving.who != who || now_ms < leaving.until_ms);
        in_time && Family::of(unit).fits_everywhere() && !self.machines_open(now_ms, who.daemon).is_empty()
    }

    /// A machine's record was deleted by somebody.
    pub(super) fn judge_withdrawal(&mut self, now_ms: u64, at: Revision, machine: &MachineId, author: Who) {
        let leaves = self.leaving.get(&author.daemon).is_some_and(|leaving| leaving.who == author);
        if !leaves || self.machines[author.daemon] != *machine {
            self.object(now_ms, format!("the presence of {machine} was deleted, and its lease had not ended"));
            return;
        }
        let histories = self.orders.iter().filter(|((on, _), _)| on == machine);
        let last = histories.filter_map(|(_, history)| history.last());
        // What was ordered after it looked may stay: that is seen to as after a loss.
        let looked = self.read_orders.get(&author).copied().unwrap_or_default();
        let stands = last.filter(|(since, order)| order.is_some() && *since <= looked).count();
        if 0 < stands && !self.view.given_up().contains_key(machine) {
            self.object(now_ms, format!("revision {}: {machine} leaves, and its {stands} orders stay", at.0));
        }
    }
}
