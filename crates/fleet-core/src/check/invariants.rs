//! What must hold of a cluster at rest.

use std::collections::BTreeMap;
use std::fmt;

use super::rules::{
    conflict, drain_of, fits_alone, is_done, is_leaving_needed, is_open, is_ordinary, is_released, is_stopping, order,
    wanted, wanted_once,
};
use crate::model::{Absence, Cluster, MachineId, Placement};
use crate::unit::UnitName;

/// One thing that is wrong with a picture of a cluster.
///
/// Only [`Violation::PlacedTwice`] is wrong at *every* revision. The others are wrong at rest: a user or a machine may
/// cause them at any time, and the engine's next plan removes them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Violation {
    PlacedTwice { unit: UnitName, first: MachineId, second: MachineId },
    NotWanted { unit: UnitName, machine: MachineId },
    MachineGivenUp { unit: UnitName, machine: MachineId },
    LeavingInVain { unit: UnitName, machine: MachineId },
    DoesNotFit { unit: UnitName, machine: MachineId },
    Conflict { unit: UnitName, with: UnitName, machine: MachineId },
    PeerMissing { unit: UnitName, peer: UnitName, machine: MachineId },
    StaleOrder { unit: UnitName, machine: MachineId },
    GlobalMissing { unit: UnitName, machine: MachineId },
    WaitsInVain { unit: UnitName, machine: MachineId },
    NotDrained { unit: UnitName, from: MachineId, machine: MachineId },
}

impl Violation {
    /// Whether this may not be at any revision, not only at rest.
    pub fn is_wrong_always(&self) -> bool {
        matches!(self, Violation::PlacedTwice { .. })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::PlacedTwice { unit, first, second } => {
                write!(f, "{unit} is placed on {first} and on {second}, and is not global")
            }
            Violation::NotWanted { unit, machine } => write!(f, "{unit} is placed on {machine}, and nobody wants it"),
            Violation::MachineGivenUp { unit, machine } => {
                write!(f, "{unit} has an order on {machine}, which is given up")
            }
            Violation::LeavingInVain { unit, machine } => {
                write!(f, "{unit} has a leaving order on {machine}, which nobody needs")
            }
            Violation::DoesNotFit { unit, machine } => {
                write!(f, "{unit} is placed on {machine}, which lacks what its MachineID or MachineMetadata asks for")
            }
            Violation::Conflict { unit, with, machine } => {
                write!(f, "{unit} and {with} conflict, and are both placed on {machine}")
            }
            Violation::PeerMissing { unit, peer, machine } => {
                write!(f, "{unit} is placed on {machine} without {peer}, which its MachineOf names")
            }
            Violation::StaleOrder { unit, machine } => {
                write!(f, "the order about {unit} on {machine} is not what is wanted of the unit")
            }
            Violation::GlobalMissing { unit, machine } => {
                write!(f, "{unit} is global and fits {machine}, and is not placed there")
            }
            Violation::WaitsInVain { unit, machine } => write!(f, "{unit} waits, and {machine} could run it"),
            Violation::NotDrained { unit, from, machine } => {
                write!(f, "nothing of drained {from} is on its way, and {machine} could run {unit}, which is there")
            }
        }
    }
}

/// All that is wrong, by machine and unit. Empty for a cluster at rest.
pub fn invariants(cluster: &Cluster) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut placed_on: BTreeMap<&UnitName, &MachineId> = BTreeMap::new();
    for (machine, units) in &cluster.placements {
        for (unit, placement) in units {
            if !placement.is_leaving()
                && let Some(first) = placed_on.insert(unit, machine)
                && is_ordinary(cluster, unit)
            {
                let (first, second) = (first.clone(), machine.clone());
                found.push(Violation::PlacedTwice { unit: unit.clone(), first, second });
            }
        }
    }
    for (machine, units) in &cluster.placements {
        for (unit, placement) in units {
            let (unit, machine) = (unit.clone(), machine.clone());
            if cluster.absence(&machine) == Some(Absence::GivenUp) {
                found.push(Violation::MachineGivenUp { unit, machine });
                continue;
            }
            let new = placed_on.get(&unit).copied();
            if placement.is_leaving() && !is_leaving_needed(cluster, &unit, (&machine, placement), new) {
                found.push(Violation::LeavingInVain { unit, machine });
                continue;
            }
            let Some(definition) = wanted(cluster, &unit) else {
                if !placement.is_leaving() {
                    found.push(Violation::NotWanted { unit, machine });
                }
                continue;
            };
            if let Some(host) = cluster.machines.get(&machine) {
                // Two that are leaving ran there together before, whatever their files say by now; so may one that stays
                // and one that is being stopped.
                let meets = |(other, order): &(&UnitName, &Placement)| {
                    let are_leaving = placement.is_leaving() && order.is_leaving();
                    let is_stop = placement.is_stop() || order.is_stop();
                    unit < **other && !are_leaving && !is_stop && conflict(cluster, &unit, other)
                };
                for (with, _) in units.iter().filter(meets) {
                    let (unit, with, machine) = (unit.clone(), with.clone(), machine.clone());
                    found.push(Violation::Conflict { unit, with, machine });
                }
                if !placement.is_leaving() && !fits_alone(&definition.requirements, &machine, host) {
                    found.push(Violation::DoesNotFit { unit: unit.clone(), machine: machine.clone() });
                }
                let missing = |peer: &&UnitName| is_ordinary(cluster, &unit) && !is_placed(units, peer);
                for peer in definition.requirements.machine_of.iter().filter(missing) {
                    if !placement.is_leaving() {
                        let (unit, peer, machine) = (unit.clone(), peer.clone(), machine.clone());
                        found.push(Violation::PeerMissing { unit, peer, machine });
                    }
                }
            }
            if !placement.is_leaving() && *placement != order(definition) {
                found.push(Violation::StaleOrder { unit, machine });
            }
        }
    }
    found.extend(missing_placements(cluster, &placed_on));
    found
}

/// Whether the unit is among them, and not on its way out.
fn is_placed(units: &BTreeMap<UnitName, Placement>, name: &UnitName) -> bool {
    units.get(name).is_some_and(|placement| !placement.is_leaving())
}

/// Whether something is on its way from that machine to another.
fn is_leaving_some(cluster: &Cluster, id: &MachineId, placed_on: &BTreeMap<&UnitName, &MachineId>) -> bool {
    let is_done_elsewhere = |name: &UnitName| placed_on.get(name).is_some_and(|new| is_done(cluster, name, new));
    cluster
        .placements
        .get(id)
        .into_iter()
        .flatten()
        .any(|(name, order)| order.is_leaving() && wanted_once(cluster, name) && !is_done_elsewhere(name))
}

/// Global units that are missing somewhere, and ordinary ones that wait though they could be placed by themselves.
///
/// Units with `MachineOf` or `Replaces`, or replaced by others, are left to [`super::plan`]: whether those can be
/// placed is a question of more than one machine.
fn missing_placements(cluster: &Cluster, placed_on: &BTreeMap<&UnitName, &MachineId>) -> Vec<Violation> {
    let mut found = Vec::new();
    let no_units = BTreeMap::new();
    for name in cluster.units.keys() {
        let Some(unit) = wanted(cluster, name) else { continue };
        let requires = &unit.requirements;
        let ordinary = is_ordinary(cluster, name);
        let replaced = |other: &UnitName| {
            cluster.units.get(other).is_some_and(|o| o.requirements.replaces.iter().any(|g| g.matches(name.as_str())))
        };
        let tied = cluster.units.values().any(|other| other.requirements.machine_of.contains(name));
        let on = placed_on.get(name).copied();
        let stays = on.is_some_and(|on| !is_released(cluster, name, on));
        if ordinary && (stays || tied || !requires.machine_of.is_empty()) {
            continue;
        }
        let stops = |(id, units): (&MachineId, &BTreeMap<UnitName, Placement>)| {
            units.get(name).is_some_and(|order| is_stopping(cluster, name, id, order))
        };
        if ordinary && cluster.placements.iter().any(stops) {
            continue;
        }
        let drained = on.filter(|on| ordinary && drain_of(cluster, on).is_some());
        if drained.is_some_and(|on| is_leaving_some(cluster, on, placed_on)) {
            continue; // Its turn may be still to come.
        }
        if ordinary && !requires.replaces.is_empty() {
            continue;
        }
        for (id, machine) in cluster.machines.iter().filter(|(_, machine)| is_open(machine)) {
            let here = cluster.placements.get(id).unwrap_or(&no_units);
            let taken = is_placed(here, name)
                || (!ordinary && here.contains_key(name))
                || here.iter().any(|(other, order)| {
                    conflict(cluster, name, other) || (ordinary && !order.is_leaving() && replaced(other))
                });
            if fits_alone(requires, id, machine) && !taken {
                let (unit, machine) = (name.clone(), id.clone());
                found.push(match drained {
                    Some(from) => Violation::NotDrained { unit, from: from.clone(), machine },
                    None if ordinary => Violation::WaitsInVain { unit, machine },
                    None => Violation::GlobalMissing { unit, machine },
                });
            }
        }
    }
    found
}
