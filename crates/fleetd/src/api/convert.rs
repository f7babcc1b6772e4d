//! From the picture of the cluster to the wire.

use std::collections::BTreeSet;

use fleet_api::v2;
use fleet_core::model::{MachineId, TargetState, Unit, UnitState};
use fleet_core::schedule;
use fleet_core::unit::UnitName;
use fleet_store::registry::View;

/// The target state on the wire.
pub fn state(target: TargetState) -> v2::State {
    match target {
        TargetState::Inactive => v2::State::Inactive,
        TargetState::Loaded => v2::State::Loaded,
        TargetState::Launched => v2::State::Launched,
    }
}

/// And back.
pub fn target(state: v2::State) -> TargetState {
    match state {
        v2::State::Inactive => TargetState::Inactive,
        v2::State::Loaded => TargetState::Loaded,
        v2::State::Launched => TargetState::Launched,
    }
}

/// All units that there is anything to say of: those that exist, and those that a machine has not let go of yet.
pub fn names(view: &View) -> BTreeSet<UnitName> {
    view.units().keys().chain(view.states().values().flat_map(|states| states.keys())).cloned().collect()
}

/// Whether a unit's reasons for waiting are to be worked out: that asks every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reasons {
    /// Yes.
    Explained,
    /// Only that it waits.
    Left,
}

/// A unit as the wire has it; `None` if it neither exists nor is still on a machine.
pub fn unit(view: &View, name: &UnitName, reasons: Reasons) -> Option<v2::Unit> {
    let known = view.cluster().units.get(name);
    let placements = placements(view, name, known);
    if known.is_none() && placements.is_empty() {
        return None;
    }
    let desired = known.map_or(TargetState::Inactive, |unit| unit.target);
    let hash = match (known, placements.first()) {
        (Some(unit), _) => unit.hash.to_string(),
        (None, first) => {
            first.and_then(|first| first.state.as_ref()).map_or_else(String::new, |state| state.hash.clone())
        }
    };
    let file = view.file_of(name);
    let mut unit = v2::Unit {
        name: name.to_string(),
        hash,
        desired_state: state(desired),
        current_state: current(&placements),
        generation: known.map_or(0, |unit| unit.generation.0),
        restarts: known.map_or(0, |unit| unit.restarts),
        global: known.is_some_and(|unit| unit.requirements.global),
        description: file.map(|file| file.file.description().to_owned()).filter(|text| !text.is_empty()),
        placements,
        waiting: None,
    };
    unit.waiting = (waits(&unit) && reasons == Reasons::Explained).then(|| waiting(view, name));
    Some(unit)
}

/// Whether a unit is wanted on a machine and placed on none.
pub fn waits(unit: &v2::Unit) -> bool {
    unit.desired_state != v2::State::Inactive && !unit.placements.iter().any(|placement| placement.placed)
}

/// The least that all placements have reached.
fn current(placements: &[v2::Placement]) -> v2::State {
    let reached =
        |placement: &v2::Placement| placement.state.as_ref().map_or(v2::State::Inactive, |state| state.reached);
    placements.iter().map(reached).min().unwrap_or(v2::State::Inactive)
}

fn placements(view: &View, name: &UnitName, unit: Option<&Unit>) -> Vec<v2::Placement> {
    let placed: BTreeSet<&MachineId> = view.placed_on(name).collect();
    let reporting: BTreeSet<&MachineId> = view.states_of(name).map(|(machine, _)| machine).collect();
    let one = |machine: &&MachineId| {
        let state = view.states().get(*machine).and_then(|states| states.get(name));
        let is_placed = placed.contains(machine);
        let done = is_placed && unit.zip(state).is_some_and(|(unit, state)| is_done(unit, state));
        v2::Placement {
            machine: machine.to_string(),
            ip: address(view, machine),
            placed: is_placed,
            done,
            state: state.map(|state| unit_state(state, done)),
        }
    };
    placed.union(&reporting).map(one).collect()
}

fn is_done(unit: &Unit, state: &UnitState) -> bool {
    unit.generation <= state.done && unit.restarts <= state.restarts
}

/// An error speaks of the order that was carried out last: of an older one it is no news.
fn unit_state(state: &UnitState, done: bool) -> v2::UnitState {
    v2::UnitState {
        load: state.load.clone(),
        active: state.active.clone(),
        sub: state.sub.clone(),
        result: state.result.clone(),
        hash: state.hash.to_string(),
        generation: state.done.0,
        restarts: state.restarts,
        reached: self::state(state.reached),
        error: if done { state.error.clone() } else { String::new() },
        since_ms: state.since.0,
    }
}

/// A machine's address, if it is present and says one.
pub fn address(view: &View, machine: &MachineId) -> Option<String> {
    let entry = view.machines().get(machine)?;
    Some(entry.record.public_ip.clone()).filter(|ip| !ip.is_empty())
}

fn waiting(view: &View, name: &UnitName) -> v2::Waiting {
    let explanation = schedule::explain(view.cluster(), name);
    let refusal = |reason: schedule::Reason| {
        let refuses = |answer: &&schedule::Answer| {
            answer.refusals.iter().any(|refusal| refusal.constraint() == reason.constraint)
        };
        let machines = explanation.machines.iter().filter(refuses).map(|answer| answer.machine.to_string()).collect();
        v2::Refusal { machines, reason: reason.found(), constraint: reason.constraint.clone() }
    };
    let text = explanation.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    v2::Waiting {
        summary: lines.join("; "),
        machines: explanation.machines.len() as u64,
        refusals: explanation.reasons().into_iter().map(refusal).collect(),
    }
}

/// The machines, by ID.
pub fn machines(view: &View) -> Vec<v2::Machine> {
    let cluster = view.cluster();
    let one = |(id, entry): (&MachineId, &fleet_store::registry::MachineEntry)| v2::Machine {
        id: id.to_string(),
        ip: address(view, id),
        metadata: cluster.machines.get(id).map(|machine| machine.metadata.clone()).unwrap_or_default(),
        version: entry.record.version.clone(),
        units: cluster.placements.get(id).map_or(0, |placed| placed.len() as u64),
    };
    view.machines().iter().map(one).collect()
}
