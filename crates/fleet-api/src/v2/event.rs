//! `GET /events`: what happens in the cluster, as server-sent events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{State, UnitState, WordError, word};

/// The `event:` of the stream's events, and the `kind` in their data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// What is wanted of a unit (`wanted`), or that it was destroyed.
    Unit,
    /// A machine's order about a unit (`order`), or that the machine is to let go of it.
    Placement,
    /// What a machine says of a unit (`state`), or that it has let go of it or is lost.
    State,
    /// A machine is there (`present`), or is not any more.
    Machine,
    /// A piece of a machine's dynamic metadata (`metadata`).
    Metadata,
    /// Nothing new is placed on a machine, or that has ended.
    Cordon,
    /// A machine is drained, or that has ended.
    Drain,
    /// An operator says that a machine does not come back, or it has come back.
    GivenUp,
    /// So many machines are lost that nothing is moved, or that has ended.
    Brake,
    /// Another engine leads (`machine`), or none does.
    Leader,
    /// The past is gone: more was missed than is kept. Read everything anew; events go on after this revision.
    Reset,
}

impl EventKind {
    /// All of them.
    pub const ALL: [EventKind; 11] = [
        EventKind::Unit,
        EventKind::Placement,
        EventKind::State,
        EventKind::Machine,
        EventKind::Metadata,
        EventKind::Cordon,
        EventKind::Drain,
        EventKind::GivenUp,
        EventKind::Brake,
        EventKind::Leader,
        EventKind::Reset,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Unit => "unit",
            EventKind::Placement => "placement",
            EventKind::State => "state",
            EventKind::Machine => "machine",
            EventKind::Metadata => "metadata",
            EventKind::Cordon => "cordon",
            EventKind::Drain => "drain",
            EventKind::GivenUp => "given-up",
            EventKind::Brake => "brake",
            EventKind::Leader => "leader",
            EventKind::Reset => "reset",
        }
    }
}

impl std::str::FromStr for EventKind {
    type Err = WordError;

    fn from_str(given: &str) -> Result<EventKind, WordError> {
        word(given, &EventKind::ALL, EventKind::as_str)
    }
}

/// One thing that happened: the `data:` of an event. Its `id:` is the revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// The store's revision at which it happened. Several events may have one; a stream that is taken up again after an `id`
    /// goes on with the next revision, so the events of one revision come together.
    pub revision: u64,
    /// What it is about.
    pub kind: EventKind,
    /// Whether the thing is gone; else it is there, new or changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// The unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// What is wanted of the unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Wanted>,
    /// The order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// What the machine says of the unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<UnitState>,
    /// What the machine says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<Present>,
    /// The key, and its value; none hides what the machine says itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, Option<String>>>,
    /// The machines that the brake waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
}

impl Event {
    /// An event of which nothing more is known.
    pub fn new(revision: u64, kind: EventKind) -> Event {
        Event {
            revision,
            kind,
            removed: false,
            unit: None,
            machine: None,
            wanted: None,
            order: None,
            state: None,
            present: None,
            metadata: None,
            lost: Vec::new(),
        }
    }
}

/// What is wanted of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Wanted {
    /// How far it is to be taken.
    pub desired_state: State,
    /// Its generation.
    pub generation: u64,
    /// How many restarts were asked for.
    pub restarts: u64,
    /// SHA-1 of its file.
    pub hash: String,
}

/// A machine's order about a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Order {
    /// How far the machine is to take it.
    pub desired_state: State,
    /// The unit's generation that the order is for.
    pub generation: u64,
    /// The unit leaves this machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

/// What a machine says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Present {
    /// Its address, if it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The version of its `fleetd`.
    pub version: String,
    /// Its static metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}
