//! Units for tests, as the API shows them.

use std::collections::BTreeMap;

use fleet_api::v2::{Machine, Placement, Refusal, State, Unit, UnitState};

/// A machine that is present, with nothing on it.
pub fn machine(id: &str) -> Machine {
    Machine {
        id: id.to_owned(),
        ip: None,
        metadata: BTreeMap::new(),
        version: "1".to_owned(),
        capabilities: Vec::new(),
        leads: false,
        units: 0,
        present: true,
        lost: None,
        cordoned: false,
        draining: None,
        given_up: false,
        revision: 0,
    }
}

/// A unit of generation 1, on no machine.
pub fn unit(name: &str, desired_state: State) -> Unit {
    Unit {
        name: name.to_owned(),
        hash: "03ec2aa0000000000000000000000000000000ff".to_owned(),
        desired_state,
        current_state: State::Inactive,
        generation: 1,
        restarts: 0,
        global: false,
        fitting: None,
        description: None,
        placements: Vec::new(),
        waiting: None,
    }
}

/// A launched unit of generation 1 on the machine `4f1c2a7d00`.
pub fn placed(name: &str, state: UnitState) -> Unit {
    let mut unit = unit(name, State::Launched);
    unit.placements.push(Placement {
        machine: "4f1c2a7d00".to_owned(),
        ip: Some("10.0.0.1".to_owned()),
        placed: true,
        done: true,
        state: Some(state),
        lost: None,
    });
    unit
}

/// What a machine says of a unit after generation 1 was carried out.
pub fn state(active: &str, sub: &str, result: &str) -> UnitState {
    UnitState {
        load: "loaded".to_owned(),
        active: active.to_owned(),
        sub: sub.to_owned(),
        result: result.to_owned(),
        hash: "03ec2aa0000000000000000000000000000000ff".to_owned(),
        generation: 1,
        restarts: 0,
        reached: State::Launched,
        error: String::new(),
        since_ms: 0,
    }
}

/// Refusals out of constraint, reason and machines.
pub fn refusals(list: &[(&str, &str, &[&str])]) -> Vec<Refusal> {
    let one = |(constraint, reason, machines): &(&str, &str, &[&str])| Refusal {
        constraint: (*constraint).to_owned(),
        reason: (*reason).to_owned(),
        machines: machines.iter().map(|id| (*id).to_owned()).collect(),
    };
    list.iter().map(one).collect()
}
