//! The fields of entries in lists, for `fields=`: each list leaves out what is not asked for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
