//! What the engine asks to be written, and how that is cut into transactions.

use crate::model::{Brake, MachineId, Placement};
use crate::unit::UnitName;

/// All placement writes that bring the picture to rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Written before all else: who leads next must know that nothing may be moved, or that it may again.
    pub brake: Option<BrakeWrite>,
    /// Groups that only delete come first; then by the first unit name and machine in the group.
    ///
    /// Written in this order, a revision between two groups breaks no constraint that the last one keeps.
    pub groups: Vec<PlanGroup>,
}

/// Writes that must be in one transaction: a move's delete and put, units tied by `MachineOf`, a unit and the one that
/// left to make room for it.
///
/// A group is as large as what it ties together, usually one or two writes. The engine sets no upper limit; the store's
/// limit of operations in a transaction is the shell's business (a group over it is written in pieces, in this order,
/// so that deletes still come before puts).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanGroup {
    /// Deletes first, then puts of leaving orders, then puts of placements, each by unit name and machine. Never empty.
    pub writes: Vec<PlacementWrite>,
}

/// A write of the key `brake`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrakeWrite {
    /// The brake is on; it may have been on before and wait for other machines now.
    On(Brake),
    /// Everything that was lost is back or given up.
    Off,
}

impl BrakeWrite {
    /// The brake after it.
    pub fn brake(&self) -> Option<&Brake> {
        match self {
            BrakeWrite::On(brake) => Some(brake),
            BrakeWrite::Off => None,
        }
    }
}

/// One write of one placement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlacementWrite {
    /// Create or replace the order to `machine` about unit `name`.
    Put {
        /// The machine that gets the order.
        machine: MachineId,
        /// The unit that it is about.
        name: UnitName,
        /// The order.
        placement: Placement,
    },
    /// Take the order away: the machine stops and forgets the unit.
    Delete {
        /// The machine that had the order.
        machine: MachineId,
        /// The unit that it was about.
        name: UnitName,
    },
}

impl Plan {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.brake.is_none() && self.groups.is_empty()
    }

    /// All writes of placements in order.
    pub fn writes(&self) -> impl Iterator<Item = &PlacementWrite> {
        self.groups.iter().flat_map(|group| &group.writes)
    }

    /// How many placements are written.
    pub fn n_writes(&self) -> usize {
        self.groups.iter().map(|group| group.writes.len()).sum()
    }
}

impl PlacementWrite {
    /// The machine whose order is written.
    pub fn machine(&self) -> &MachineId {
        match self {
            PlacementWrite::Put { machine, .. } | PlacementWrite::Delete { machine, .. } => machine,
        }
    }

    /// The unit that the order is about.
    pub fn name(&self) -> &UnitName {
        match self {
            PlacementWrite::Put { name, .. } | PlacementWrite::Delete { name, .. } => name,
        }
    }

    /// Whether this is a put.
    pub fn is_put(&self) -> bool {
        matches!(self, PlacementWrite::Put { .. })
    }

    /// Whether this is a placement, and no leaving order.
    pub fn places(&self) -> bool {
        matches!(self, PlacementWrite::Put { placement, .. } if !placement.is_leaving())
    }
}
