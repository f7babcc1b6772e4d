//! Why units are where they are, and what would become of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Change, ChangeResult, Waiting};

/// `GET /units/NAME/explanation`: where a unit stands in the question of placement, and what each machine says to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The store's revision that this shows.
    pub revision: u64,
    /// The unit.
    pub name: String,
    /// Where it stands.
    pub situation: Situation,
    /// The same in words, on one line.
    pub summary: String,
    /// The machines that it is placed on, or that its situation is about, by ID.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<String>,
    /// The units that have to be placed together with it, because of `MachineOf`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<String>,
    /// What each machine that is present says to it, by ID; of a unit that is placed: what it would say if the unit were to be placed
    /// now. Of those that can take it, the one with the fewest units is taken; a unit that is well where it is stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<MachineAnswer>,
}

/// Where a unit stands in the question of placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Situation {
    /// It is a template: its instances are placed, it never is.
    Template,
    /// Nobody wants it on a machine.
    Inactive,
    /// It is placed.
    Placed,
    /// Its machine is lost, and its grace is not over.
    Lost,
    /// Its machine is drained, and it has not gone yet.
    Draining,
    /// It may not run twice, and waits until its old machine has stopped it.
    Stopping,
    /// It is wanted, and on no machine.
    Waiting,
    /// It is global: on every machine that fits.
    Global,
}

/// What one machine says to a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineAnswer {
    /// The machine.
    pub machine: String,
    /// Its address, if it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// Whether the unit is placed there.
    pub placed: bool,
    /// Whether nothing speaks against it.
    pub able: bool,
    /// How many units have orders there.
    pub units: u64,
    /// All that speaks against it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<MachineRefusal>,
}

/// One thing that speaks against a unit on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineRefusal {
    /// The constraint as the user would write it (`MachineMetadata=disk=ssd`).
    pub constraint: String,
    /// All of it in words, to be read after the machine (`lacks disk=ssd (has disk=hdd)`).
    pub text: String,
}

/// `POST /plan`: what would become of the cluster if this were asked for. Nothing is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanRequest {
    /// Changes of units, as in `POST /changes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Machines that would be drained, by ID.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drain: Vec<String>,
    /// Machines that would be cordoned, by ID.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cordon: Vec<String>,
    /// Machines that would take new units again, by ID.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncordon: Vec<String>,
    /// Machines that would be given up, by ID.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub give_up: Vec<String>,
}

/// The answer to `POST /plan`: how the cluster would be at rest, if every order is carried out well and nothing else happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanResponse {
    /// The store's revision that it was thought out on.
    pub revision: u64,
    /// What each change would come to, in their order. The generation of a unit that would be created is 0.
    pub results: Vec<ChangeResult>,
    /// The units that are asked about or would be placed otherwise, by name; and those that would stay on a drained machine.
    pub units: Vec<PlannedUnit>,
    /// Whether it came to rest while it was thought out; if not, `units` is how far it came.
    pub rests: bool,
}

/// What would become of one unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedUnit {
    /// Its name.
    pub name: String,
    /// What would happen to it.
    pub fate: Fate,
    /// The machines that it is placed on now, by ID.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// The machines that it would be placed on, by ID.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// Why it would wait, or could not leave the machine that is drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// What would happen to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It is on no machine, and would be; or on more machines.
    Placed,
    /// It would go to other machines.
    Moved,
    /// It would go from machines, and to no other.
    Removed,
    /// It would be where it is, perhaps with a new file or state.
    Stays,
    /// It would be wanted, and on no machine.
    Waits,
    /// It would be on no machine, as nobody wants it there.
    Rests,
}
