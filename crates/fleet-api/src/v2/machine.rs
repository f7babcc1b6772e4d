//! Machines: who is there, and what operators say of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Lost;

/// One machine: `GET /machines`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Machine {
    /// Its ID.
    pub id: String,
    /// Its address, if it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// Its metadata, static and dynamic together.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The version of its `fleetd`.
    pub version: String,
    /// What its `fleetd` can do besides running units: `engine` (it may decide for the cluster), `api` (others can reach its API, and so
    /// the journals of its units).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Whether its `fleetd` decides for the cluster now; of several machines with one `fleetd`, the first says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leads: bool,
    /// How many units have orders there, those that are leaving too.
    pub units: u64,
    /// Whether it is there. One that is not is known by its orders, or by what operators said of it; of its metadata only the
    /// dynamic are known then.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub present: bool,
    /// It has orders, and nothing is heard of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
    /// Nothing new is placed on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cordoned: bool,
    /// The same, and what is there moves away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<Draining>,
    /// An operator said that it is off; ends when it is back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
    /// Rises with each change that operators make to what is said of it: dynamic metadata, cordon, drain, given up. The machine's
    /// `ETag`; 0 if nothing was ever said.
    #[serde(default)]
    pub revision: u64,
}

fn yes() -> bool {
    true
}

/// How a machine is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Draining {
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// How many units may be on their way at once.
    pub max_at_once: u32,
}

/// The brake: so many machines are lost at once that nothing is moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Brake {
    /// Since when, in milliseconds since the Unix epoch, by the clock of the leader of then.
    pub since_ms: u64,
    /// The machines that have to come back or to be given up, by ID.
    pub lost: Vec<String>,
}

/// `POST /machines/ID/drain`: empty the machine, or change how. `POST /machines/ID/cordon`, `/uncordon` and `/give-up` have no
/// body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainRequest {
    /// How many units may be on their way at once, from 1 to [`DRAIN_MAX`]; without it, what fleet thinks right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10_000)]
    pub max_at_once: Option<u32>,
}

/// Most units that may be on their way from a drained machine at once.
pub const DRAIN_MAX: u32 = 10_000;

/// `GET /machines/ID/drain`: what is still on the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainProgress {
    /// The store's revision that this shows.
    pub revision: u64,
    /// How it is drained; nothing if it is not, or not any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<Draining>,
    /// Whether the machine is there. Else it is not emptied by draining, but as a lost one.
    pub present: bool,
    /// Whether the brake is on, so that nothing moves.
    pub braked: bool,
    /// The units that have orders there, by name; without those that nobody wants.
    pub units: Vec<DrainUnit>,
}

/// One unit on a drained machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainUnit {
    /// Its name.
    pub name: String,
    /// How far it is.
    pub step: DrainStep,
    /// Where it goes, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why no machine can take it, on one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// How far one unit of a drained machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DrainStep {
    /// It is global, belongs to the machine and stays.
    Stays,
    /// It may not run twice, and is being stopped before it is placed elsewhere.
    Stopping,
    /// It is placed elsewhere, and runs here until it is up there.
    Moving,
    /// It is placed elsewhere and has failed there; here it runs on.
    Failed,
    /// Another machine can take it when it is its turn.
    Queued,
    /// No other machine can take it.
    Stuck,
}

/// `GET /machines`: the machines that are present, have orders, or were spoken of by operators, by ID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineList {
    /// The store's revision that this shows.
    pub revision: u64,
    /// Whether so many machines are lost that nothing is moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brake: Option<Brake>,
    /// The machines.
    pub machines: Vec<Machine>,
    /// There are more: ask again with `after=` this. Only with `limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Most keys in one change of metadata: all of them are written in one transaction.
pub const METADATA_CHANGES_MAX: usize = 100;

/// `PATCH /machines/ID/metadata`: change a machine's dynamic metadata, all at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MetadataPatch {
    /// Keys to set.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Keys to remove; a static value of that key is hidden too.
    #[serde(default)]
    pub remove: Vec<String>,
}
