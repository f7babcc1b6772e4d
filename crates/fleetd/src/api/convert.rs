//! From the picture of the cluster to the wire.

use std::collections::BTreeSet;

use fleet_api::v2;
use fleet_core::model::{Cluster, MachineId, TargetState, Unit, UnitState};
use fleet_core::schedule;
use fleet_core::unit::{Form, UnitName, expand_specifiers};
use fleet_store::registry::{Key, MetadataRecord, View};

use crate::clock;
use crate::view::Picture;

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
pub fn unit(view: &Picture, name: &UnitName, reasons: Reasons) -> Option<v2::Unit> {
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
        fitting: known.filter(|unit| unit.requirements.global).map(|unit| {
            let machines = view.cluster().machines.iter();
            machines.filter(|(id, machine)| schedule::fits_alone(&unit.requirements, id, machine)).count() as u64
        }),
        description: file.map(|file| description(name, file.file.description())).filter(|text| !text.is_empty()),
        placements,
        waiting: None,
    };
    unit.waiting = (waits(&unit) && reasons == Reasons::Explained).then(|| waiting(view.cluster(), name));
    Some(unit)
}

/// Whether a unit is wanted on a machine and placed on none.
pub fn waits(unit: &v2::Unit) -> bool {
    unit.desired_state != v2::State::Inactive && !unit.placements.iter().any(|placement| placement.placed)
}

/// The unit's description as systemd shows it; a template's is as it stands in the file.
fn description(name: &UnitName, text: &str) -> String {
    match name.form() {
        Form::Template => text.to_owned(),
        Form::Plain | Form::Instance(_) => expand_specifiers(name, text),
    }
}

/// The least that all placements have reached.
fn current(placements: &[v2::Placement]) -> v2::State {
    let reached =
        |placement: &v2::Placement| placement.state.as_ref().map_or(v2::State::Inactive, |state| state.reached);
    placements.iter().map(reached).min().unwrap_or(v2::State::Inactive)
}

fn placements(view: &Picture, name: &UnitName, unit: Option<&Unit>) -> Vec<v2::Placement> {
    let placed: BTreeSet<&MachineId> = view.placed_on(name).collect();
    let reporting: BTreeSet<&MachineId> = view.states_of(name).map(|(machine, _)| machine).collect();
    let one = |machine: &&MachineId| {
        let state = view.states().get(*machine).and_then(|states| states.get(name));
        let is_placed = placed.contains(machine);
        let lost = lost(view, machine);
        let done = is_placed && unit.zip(state).is_some_and(|(unit, state)| is_done(unit, state));
        v2::Placement {
            machine: machine.to_string(),
            ip: view.address(machine).map(str::to_owned),
            placed: is_placed,
            done,
            // What a lost machine said last is no news.
            state: state.filter(|_| lost.is_none()).map(|state| unit_state(state, done)),
            lost,
        }
    };
    placed.union(&reporting).map(one).collect()
}

fn is_done(unit: &Unit, state: &UnitState) -> bool {
    unit.generation <= state.done && unit.restarts <= state.restarts
}

/// An error speaks of the order that was carried out last: of an older one it is no news.
pub fn unit_state(state: &UnitState, done: bool) -> v2::UnitState {
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

/// Why a unit waits.
pub fn waiting(cluster: &Cluster, name: &UnitName) -> v2::Waiting {
    let explanation = schedule::explain(cluster, name);
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

/// Whether nothing is heard of the machine, and for how long.
fn lost(view: &Picture, machine: &MachineId) -> Option<v2::Lost> {
    let since = view.silent_since(machine)?;
    Some(v2::Lost { silent_ms: clock::now().0.saturating_sub(since.0) })
}

/// The machines that are present, have orders, or were spoken of by operators.
pub fn known_machines(view: &View) -> BTreeSet<&MachineId> {
    let spoken_of = view.cordoned().keys().chain(view.drained().keys()).chain(view.given_up().keys());
    view.machines().keys().chain(view.cluster().placements.keys()).chain(spoken_of).collect()
}

/// The machines, by ID.
pub fn machines(view: &Picture) -> Vec<v2::Machine> {
    known_machines(view).into_iter().map(|id| machine(view, id)).collect()
}

/// One machine.
pub fn machine(view: &Picture, id: &MachineId) -> v2::Machine {
    let cluster = view.cluster();
    let dynamic = || {
        let records = view.metadata().get(id).into_iter().flatten();
        let set = records.filter_map(|(key, record)| match record {
            MetadataRecord::Set(value) => Some((key.to_string(), value.clone())),
            MetadataRecord::Removed => None,
        });
        set.collect()
    };
    let given_up = view.given_up().contains_key(id);
    let record = view.machines().get(id).map(|entry| &entry.record);
    let mut capabilities: BTreeSet<String> = record.map(|record| record.capabilities.clone()).unwrap_or_default();
    capabilities.extend(record.filter(|record| !record.api.is_empty()).map(|_| "api".to_owned()));
    v2::Machine {
        id: id.to_string(),
        ip: view.address(id).map(str::to_owned),
        metadata: cluster.machines.get(id).map_or_else(dynamic, |machine| machine.metadata.clone()),
        version: record.map_or_else(String::new, |record| record.version.clone()),
        capabilities: capabilities.into_iter().collect(),
        leads: view.leader().is_some_and(|(leader, _)| leader_machine(&leader.id) == id.as_str()),
        units: cluster.placements.get(id).map_or(0, |placed| placed.len() as u64),
        present: view.machines().contains_key(id),
        lost: lost(view, id).filter(|_| !given_up),
        cordoned: view.cordoned().contains_key(id),
        draining: draining(view, id),
        given_up,
        revision: revision(view, id),
    }
}

/// The machine of an engine, by the name that it leads under: that begins with the machine's ID.
pub fn leader_machine(leader: &str) -> &str {
    leader.split(' ').next().unwrap_or_default()
}

/// The revision at which operators last said something of the machine; 0 if they never did.
pub fn revision(view: &View, id: &MachineId) -> u64 {
    view.mod_revision(&Key::Operators(id.clone())).unwrap_or_default().0
}

fn draining(view: &View, machine: &MachineId) -> Option<v2::Draining> {
    let record = view.drained().get(machine)?;
    Some(v2::Draining { since_ms: record.since.0, max_at_once: record.max_at_once })
}

/// Whether the brake is on.
pub fn brake(view: &View) -> Option<v2::Brake> {
    let brake = view.cluster().brake.as_ref()?;
    Some(v2::Brake { since_ms: brake.since.0, lost: brake.lost.iter().map(ToString::to_string).collect() })
}

/// How far the machine is emptied.
pub fn drain(view: &View, machine: &MachineId) -> v2::DrainProgress {
    let unit = |(name, step): (UnitName, schedule::DrainStep)| {
        let (step, to, reason) = match step {
            schedule::DrainStep::Global => (v2::DrainStep::Stays, None, String::new()),
            schedule::DrainStep::Stopping => (v2::DrainStep::Stopping, None, String::new()),
            schedule::DrainStep::Moving { to, failed: false } => (v2::DrainStep::Moving, to, String::new()),
            schedule::DrainStep::Moving { to, failed: true } => (v2::DrainStep::Failed, to, String::new()),
            schedule::DrainStep::Queued => (v2::DrainStep::Queued, None, String::new()),
            schedule::DrainStep::Stuck(explanation) => {
                let reasons: Vec<String> = explanation.reasons().iter().map(ToString::to_string).collect();
                (v2::DrainStep::Stuck, None, reasons.join("; "))
            }
        };
        v2::DrainUnit { name: name.to_string(), step, to: to.map(|to| to.to_string()), reason }
    };
    v2::DrainProgress {
        revision: view.revision().0,
        draining: draining(view, machine),
        present: view.machines().contains_key(machine),
        braked: view.cluster().brake.is_some(),
        units: schedule::explain_drain(view.cluster(), machine).into_iter().map(unit).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_as_systemd_shows_them() {
        let check = |name: &str, text: &str, expected: &str| {
            assert_eq!(description(&name.parse().expect("a name"), text), expected, "{name}");
        };
        check("web@80.service", "Web %p on port %i", "Web web on port 80");
        check("web.service", "This is %n on %H", "This is web.service on %H");
        check("web@.service", "Web on port %i", "Web on port %i");
    }
}
