//! The relations between units and machines, each in its plainest form.

use crate::model::{Absence, Cluster, Drain, Machine, MachineId, Placement, TargetState, Unit};
use crate::unit::{Form, Glob, Requirements, UnitName, WhenIsolated};

/// The unit of that name if it is to be on some machine: loaded or launched, and no template.
pub(super) fn wanted<'a>(cluster: &'a Cluster, name: &UnitName) -> Option<&'a Unit> {
    let unit = cluster.units.get(name)?;
    (unit.target != TargetState::Inactive && name.form() != Form::Template).then_some(unit)
}

/// What the unit of that name requires; nothing if it is gone.
pub(super) fn requirements<'a>(cluster: &'a Cluster, name: &UnitName) -> Option<&'a Requirements> {
    cluster.units.get(name).map(|unit| &*unit.requirements)
}

/// Whether the unit of that name is placed once, not everywhere. A unit that is gone counts as such.
pub(super) fn is_ordinary(cluster: &Cluster, name: &UnitName) -> bool {
    !requirements(cluster, name).is_some_and(|requires| requires.global)
}

/// Whether the unit is to be on exactly one machine.
pub(super) fn wanted_once(cluster: &Cluster, name: &UnitName) -> bool {
    wanted(cluster, name).is_some() && is_ordinary(cluster, name)
}

/// What the unit requires of the machine itself, whatever else is there.
pub(super) fn fits_alone(requires: &Requirements, id: &MachineId, machine: &Machine) -> bool {
    let metadata_met = requires
        .metadata
        .iter()
        .all(|(key, values)| machine.metadata.get(key).is_some_and(|have| values.contains(have)));
    let id_met = requires.machine_id.as_ref().is_none_or(|wanted| id.is_named_by(wanted));
    requires.never.is_empty() && id_met && metadata_met
}

/// Whether the two may not be on one machine. Both directions; no unit conflicts with itself.
pub(super) fn conflict(cluster: &Cluster, a: &UnitName, b: &UnitName) -> bool {
    let one_way = |owner, other: &UnitName| {
        requirements(cluster, owner).is_some_and(|requires| any_match(&requires.conflicts, other))
    };
    a != b && (one_way(a, b) || one_way(b, a))
}

/// Whether `replacer` pushes `replaced` away: named one way only, and neither of them global.
pub(super) fn replaces(cluster: &Cluster, replacer: &UnitName, replaced: &UnitName) -> bool {
    let one_way = |owner, other: &UnitName| {
        requirements(cluster, owner).is_some_and(|requires| any_match(&requires.replaces, other))
    };
    replacer != replaced
        && is_ordinary(cluster, replacer)
        && is_ordinary(cluster, replaced)
        && one_way(replacer, replaced)
        && !one_way(replaced, replacer)
}

/// Whether one of the two names the other in `MachineOf`, which means nothing in a global unit.
pub(super) fn tied(cluster: &Cluster, a: &UnitName, b: &UnitName) -> bool {
    let one_way = |owner, other| {
        requirements(cluster, owner).is_some_and(|requires| !requires.global && requires.machine_of.contains(other))
    };
    one_way(a, b) || one_way(b, a)
}

/// Whether at least one copy of the unit shall run, rather than at most one.
pub(super) fn keeps(cluster: &Cluster, name: &UnitName) -> bool {
    requirements(cluster, name).is_some_and(|requires| requires.when_isolated == WhenIsolated::Keep)
}

/// Whether the unit, which is placed on that machine, may be placed elsewhere because the machine is absent or drained.
pub(super) fn is_released(cluster: &Cluster, name: &UnitName, id: &MachineId) -> bool {
    match cluster.absence(id) {
        None => drain_of(cluster, id).is_some(),
        Some(Absence::Held) => false,
        Some(Absence::StopHeld) => keeps(cluster, name),
        Some(Absence::Gone | Absence::GivenUp) => true,
    }
}

/// How the machine is drained now: under the brake none is.
pub(super) fn drain_of(cluster: &Cluster, id: &MachineId) -> Option<Drain> {
    if cluster.brake.is_some() { None } else { cluster.machines.get(id)?.draining }
}

/// Whether the machine takes what it does not have yet.
pub(super) fn is_open(machine: &Machine) -> bool {
    !machine.cordoned && machine.draining.is_none()
}

/// Whether the present order about the unit is carried out there, well or not.
pub(super) fn is_done(cluster: &Cluster, name: &UnitName, id: &MachineId) -> bool {
    let report = cluster.report(id, name);
    report.zip(cluster.units.get(name)).is_some_and(|(report, unit)| unit.generation <= report.done)
}

/// Whether that went well.
pub(super) fn is_up(cluster: &Cluster, name: &UnitName, id: &MachineId) -> bool {
    is_done(cluster, name, id) && cluster.report(id, name).is_some_and(|report| report.is_up)
}

/// Whether the order told the machine to stop what may not run twice, and it may run there still.
pub(super) fn is_stopping(cluster: &Cluster, name: &UnitName, id: &MachineId, order: &Placement) -> bool {
    order.is_stop() && stops_first(cluster, id, order) && !has_left(cluster, name, id, order)
}

/// Whether the machine, which is present, has said that the unit left it by that order.
pub(super) fn has_left(cluster: &Cluster, name: &UnitName, id: &MachineId, order: &Placement) -> bool {
    cluster.machines.contains_key(id) && cluster.report(id, name).is_some_and(|report| report.has_left(order))
}

/// Whether the order is about what may not run twice, and that may run there until the machine says otherwise.
pub(super) fn stops_first(cluster: &Cluster, id: &MachineId, order: &Placement) -> bool {
    let has_stopped = matches!(cluster.absence(id), Some(Absence::Gone | Absence::GivenUp));
    order.when_isolated == WhenIsolated::Stop && !has_stopped
}

/// Whether what leaves that machine is needed there: it stops, or protects a unit that is up nowhere else.
pub(super) fn is_leaving_needed(
    cluster: &Cluster,
    name: &UnitName,
    (id, order): (&MachineId, &Placement),
    placed_on: Option<&MachineId>,
) -> bool {
    let is_up = placed_on.is_some_and(|new| is_up(cluster, name, new));
    let protects = wanted_once(cluster, name) && keeps(cluster, name) && !is_up && !has_left(cluster, name, id, order);
    is_stopping(cluster, name, id, order) || protects
}

/// The order that carries out what is wanted of the unit now.
pub(super) fn order(unit: &Unit) -> Placement {
    Placement {
        hash: unit.hash,
        target: unit.target,
        generation: unit.generation,
        restarts: unit.restarts,
        when_isolated: unit.requirements.when_isolated,
        leaving: None,
    }
}

fn any_match(globs: &[Glob], name: &UnitName) -> bool {
    globs.iter().any(|glob| glob.matches(name.as_str()))
}
