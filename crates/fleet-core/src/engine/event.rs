//! What the engine hears, and what it asks of the world.

use super::Plan;
use crate::model::{Brake, Cluster, Machine, MachineId, Placement, Report, Revision, Timestamp, Unit};
use crate::unit::UnitName;

/// What happened, as far as the engine is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A full look at the store. It replaces everything the engine believed; only the difference to rest is planned,
    /// so the first look of a new engine moves nothing that is well where it is.
    ///
    /// Of [`Cluster::absent`] only who is given up counts. Since when the others are absent a look cannot tell, so for
    /// them the grace begins with it; unless the engine asked for the look because of [`Event::NotWritten`]. A brake that
    /// an earlier engine has pulled is on.
    ///
    /// [`Event::Changed`] goes on after its revision.
    Snapshot(Cluster),
    /// Changes in the store, in the order in which they were made.
    Changed {
        /// The newest revision in the batch. A batch holds whole revisions, never a part of one; one that is not newer
        /// than what the engine has seen is ignored.
        revision: Revision,
        /// The changes.
        deltas: Vec<Delta>,
    },
    /// The last [`Effect::Write`] is in the store, all of it.
    Written {
        /// The revision of its last transaction.
        revision: Revision,
    },
    /// The last [`Effect::Write`] is not, or not wholly, or perhaps not in the store.
    NotWritten,
    /// A moment that was asked for by [`Effect::Wake`] has come. Ticks at other moments do no harm.
    Tick,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the key and the value that the variant names")]
pub enum Delta {
    /// The unit was created or changed.
    UnitPut { name: UnitName, unit: Unit },
    /// The unit was destroyed.
    UnitRemoved { name: UnitName },
    /// The machine appeared, or its metadata changed, or it was cordoned, drained or uncordoned.
    MachinePut { id: MachineId, machine: Machine },
    /// The machine is lost or has left.
    MachineRemoved { id: MachineId },
    /// An order was written, by this engine or by an earlier one.
    PlacementPut { machine: MachineId, name: UnitName, placement: Placement },
    /// An order was taken away.
    PlacementRemoved { machine: MachineId, name: UnitName },
    /// The machine's newest report about the unit ([`crate::model::UnitState::report`]); `None` if it has taken it back.
    Reported { machine: MachineId, name: UnitName, report: Option<Report> },
    /// An operator gave the machine up, or took that back.
    GivenUpChanged { id: MachineId, given_up: bool },
    /// The brake in the store: written by this engine, or by one that led before.
    BrakeChanged { brake: Option<Brake> },
}

/// What the engine asks of the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write this and answer with [`Event::Written`] or [`Event::NotWritten`]. There is never a second one before.
    Write(Plan),
    /// Look at everything and send an [`Event::Snapshot`]: what the engine believed is void.
    Resync,
    /// Send an [`Event::Tick`] at that moment or later. A later request replaces an earlier one.
    Wake(Timestamp),
    /// So many machines are lost that the engine moves nothing (`Some`; again when it waits for other machines), or no
    /// longer (`None`). To be told loudly.
    Alarm(Option<Brake>),
}
