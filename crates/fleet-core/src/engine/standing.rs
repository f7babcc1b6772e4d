//! Where units stand with their machines: who is away or drained, what was reported, and what that allows.

use std::collections::BTreeMap;

use super::picture::{Kind, MachineRow, Picture};
use super::slots::Slot;
use crate::model::{Absence, Drain, MachineId, Placement, Report};
use crate::unit::{UnitName, WhenIsolated};

impl Picture {
    /// The machines that have orders and are not present, and whether ordinary units are placed on them.
    pub(super) fn absent_machines(&self) -> BTreeMap<MachineId, bool> {
        let is_placed =
            |(unit, order): (&Slot, &Placement)| !order.is_leaving() && self.units[*unit].kind == Kind::Ordinary;
        let absent = self.absent.iter().map(|&slot| &self.machines[slot]);
        absent.map(|host| (host.id.clone(), host.units.iter().any(is_placed))).collect()
    }

    pub(super) fn n_present(&self) -> usize {
        self.load.len()
    }

    /// Says how long an absent machine has been away.
    pub(super) fn set_absence(&mut self, id: &MachineId, absence: Absence) {
        let Some(&slot) = self.machine_slots.get(id) else { return };
        let host = &mut self.machines[slot];
        if host.absence != absence {
            host.absence = absence;
            self.touch_all_on(slot);
        }
    }

    /// Says whether the brake is on.
    pub(super) fn set_braked(&mut self, is_braked: bool) {
        if self.is_braked == is_braked {
            return;
        }
        self.is_braked = is_braked;
        let is_drained = |row: &MachineRow| row.machine.as_ref().is_some_and(|machine| machine.draining.is_some());
        let drained: Vec<Slot> =
            self.machines.iter().filter(|(_, row)| is_drained(row)).map(|(slot, _)| slot).collect();
        for machine in drained {
            self.touch_all_on(machine);
        }
    }

    /// How the machine is drained, if it is and that is not held up by the brake.
    pub(super) fn drain_of(&self, machine: Slot) -> Option<Drain> {
        self.machines[machine].machine.as_ref()?.draining.filter(|_| !self.is_braked)
    }

    /// What the machine has may be held there or not: each unit of it has to be looked at again.
    pub(super) fn touch_all_on(&mut self, machine: Slot) {
        self.dirty.machines.insert(machine);
        let units: Vec<Slot> = self.machines[machine].units.keys().copied().collect();
        for unit in units {
            self.dirty.units.insert(unit);
            self.touch_neighbors(unit);
        }
    }

    /// Whether the unit is placed on the machine; a leaving order is no placement.
    pub(super) fn is_on(&self, unit: Slot, machine: Slot) -> bool {
        self.units[unit].on.contains(&machine)
    }

    /// Whether the unit is to be placed: because it is not, or because its machine has been absent for too long or is drained.
    pub(super) fn waits(&self, unit: Slot) -> bool {
        let row = &self.units[unit];
        let is_released = |machine: &Slot| {
            let host = &self.machines[*machine];
            match host.absence {
                _ if host.machine.is_some() => self.drain_of(*machine).is_some(),
                Absence::Held => false,
                Absence::StopHeld => row.keeps(),
                Absence::Gone | Absence::GivenUp => true,
            }
        };
        row.kind == Kind::Ordinary && row.on.iter().all(is_released)
    }

    /// Whether the present order about the unit is carried out where it is placed.
    pub(super) fn is_up(&self, unit: Slot) -> bool {
        let row = &self.units[unit];
        row.on.iter().any(|&machine| {
            let report = self.report(unit, machine).filter(|report| report.is_up);
            report.zip(row.unit.as_ref()).is_some_and(|(report, unit)| unit.generation <= report.done)
        })
    }

    /// Whether the present order about the unit was carried out where it is placed, well or not.
    pub(super) fn is_done(&self, unit: Slot) -> bool {
        let row = &self.units[unit];
        row.on.iter().any(|&machine| {
            self.report(unit, machine)
                .zip(row.unit.as_ref())
                .is_some_and(|(report, unit)| unit.generation <= report.done)
        })
    }

    /// Whether what may not run twice must be taken to run on that machine still, which was told to stop it: it has not said
    /// that it has, or it is absent and has not had the time for it.
    pub(super) fn is_stopping(&self, unit: Slot, machine: Slot) -> bool {
        let host = &self.machines[machine];
        let Some(order) = host.units.get(&unit) else { return false };
        order.is_stop()
            && order.when_isolated == WhenIsolated::Stop
            && match host.absence {
                _ if host.machine.is_some() => !self.has_left(unit, machine),
                Absence::Held | Absence::StopHeld => true,
                Absence::Gone | Absence::GivenUp => false,
            }
    }

    /// Whether the machine, which is present, has said that the unit left it.
    pub(super) fn has_left(&self, unit: Slot, machine: Slot) -> bool {
        let host = &self.machines[machine];
        let order = host.units.get(&unit).filter(|_| host.machine.is_some());
        order.zip(self.report(unit, machine)).is_some_and(|(order, report)| report.has_left(order))
    }

    fn report(&self, unit: Slot, machine: Slot) -> Option<&Report> {
        self.reports.get(&self.machines[machine].id)?.get(&self.units[unit].name)
    }

    pub(super) fn set_report(&mut self, machine: MachineId, name: UnitName, report: Option<Report>) {
        if let Some(unit) = self.unit_slots.get(&name) {
            self.dirty.machines.extend(&self.units[*unit].leaving);
        }
        let units = self.reports.entry(machine.clone()).or_default();
        match report {
            Some(report) => units.insert(name, report),
            None => units.remove(&name),
        };
        if units.is_empty() {
            self.reports.remove(&machine);
        }
    }

    /// Whether the unit may not run twice and is placed where it may run still.
    pub(super) fn must_stop_first(&self, unit: Slot) -> bool {
        self.units[unit].on.iter().any(|&machine| self.stops_first(unit, machine))
    }

    /// Whether the machine's order is about what may not run twice, and nobody knows yet that it does not run there.
    pub(super) fn stops_first(&self, unit: Slot, machine: Slot) -> bool {
        let host = &self.machines[machine];
        let may_run = host.machine.is_some() || host.absence < Absence::Gone;
        may_run && host.units[&unit].when_isolated == WhenIsolated::Stop
    }
}
