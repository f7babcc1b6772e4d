//! Counts, and the flat list of what machines say of units.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{State, UnitState, WordError, word};

/// `GET /counts`: the cluster in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// The store's revision that this shows.
    pub revision: u64,
    /// The units that exist.
    pub units: UnitCounts,
    /// The machines that are present, have orders, or were spoken of by operators.
    pub machines: MachineCounts,
    /// What machines say of units, by systemd's active state. A global unit counts once for each machine.
    pub active: BTreeMap<String, u64>,
    /// Whether so many machines are lost that nothing is moved.
    pub braked: bool,
}

/// Units in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnitCounts {
    /// All of them, templates too.
    pub total: u64,
    /// Nobody wants them on a machine.
    pub inactive: u64,
    /// To be on a machine and not started.
    pub loaded: u64,
    /// To be started.
    pub launched: u64,
    /// Wanted, and on no machine.
    pub waiting: u64,
    /// On a machine of which nothing is heard.
    pub lost: u64,
    /// Failed on a machine, or the newest order could not be carried out there.
    pub failed: u64,
    /// On every machine that fits.
    pub global: u64,
}

/// Machines in numbers. One may count in several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineCounts {
    /// All of them.
    pub total: u64,
    /// There.
    pub present: u64,
    /// Not there, with orders, and not given up.
    pub lost: u64,
    /// Cordoned by an operator.
    pub cordoned: u64,
    /// Being drained.
    pub draining: u64,
    /// Given up by an operator.
    pub given_up: u64,
}

/// How a machine is, as a filter: it may be several at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MachineState {
    /// There.
    Present,
    /// Not there, with orders, and not given up.
    Lost,
    /// Cordoned by an operator.
    Cordoned,
    /// Being drained.
    Draining,
    /// Given up by an operator.
    GivenUp,
}

impl MachineState {
    /// All of them.
    pub const ALL: [MachineState; 5] = [
        MachineState::Present,
        MachineState::Lost,
        MachineState::Cordoned,
        MachineState::Draining,
        MachineState::GivenUp,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            MachineState::Present => "present",
            MachineState::Lost => "lost",
            MachineState::Cordoned => "cordoned",
            MachineState::Draining => "draining",
            MachineState::GivenUp => "given-up",
        }
    }
}

impl std::str::FromStr for MachineState {
    type Err = WordError;

    fn from_str(given: &str) -> Result<MachineState, WordError> {
        word(given, &MachineState::ALL, MachineState::as_str)
    }
}

/// `GET /states`: what machines say of units, by unit and machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateList {
    /// The store's revision that this shows.
    pub revision: u64,
    /// One for each unit on each machine.
    pub states: Vec<PlacementState>,
    /// There are more: ask again with `after=` this. Only with `limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What one machine says of one unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlacementState {
    /// The unit.
    pub unit: String,
    /// The machine.
    pub machine: String,
    /// How far the unit is wanted to be taken; nothing if it was destroyed and the machine has not let go of it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_state: Option<State>,
    /// Whether the machine is still meant to have it.
    pub placed: bool,
    /// Whether the newest order has been carried out to the end there, well or not.
    pub done: bool,
    /// The machine's words; nothing if it is lost, or has said nothing yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<UnitState>,
}
