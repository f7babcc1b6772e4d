//! The fields of entries in lists, for `fields=`: each list leaves out what is not asked for.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A list that was asked for with `fields=`: of each entry only these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Selection {
    /// The store's revision that this shows.
    pub revision: u64,
    /// Of `GET /units`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub units: Vec<Map<String, Value>>,
    /// Of `GET /states`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub states: Vec<Map<String, Value>>,
    /// Of `GET /machines`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub machines: Vec<Map<String, Value>>,
    /// There are more: ask again with `after=` this. Only with `limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The fields of a [`Unit`](super::Unit).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are told where they are")]
pub enum UnitField {
    Name,
    Hash,
    DesiredState,
    CurrentState,
    Generation,
    Restarts,
    Global,
    Fitting,
    Description,
    Placements,
    Waiting,
}

/// The fields of a [`Machine`](super::Machine).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are told where they are")]
pub enum MachineField {
    Id,
    Ip,
    Metadata,
    Version,
    Capabilities,
    Leads,
    Units,
    Present,
    Lost,
    Cordoned,
    Draining,
    GivenUp,
    Revision,
}

/// The fields of a [`PlacementState`](super::PlacementState).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are told where they are")]
pub enum StateField {
    Unit,
    Machine,
    DesiredState,
    Placed,
    Done,
    State,
}
