//! What the agent hears, and what it asks of the world.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{JobResult, Look, Receipt, UnitStatus, Verb, WriteFile};
use crate::model::{Placement, Timestamp, UnitState};
use crate::unit::{UnitHash, UnitName};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A full look at the placements of this machine: all there are.
    Placements {
        /// Those that can be read.
        orders: BTreeMap<UnitName, Placement>,
        /// The units about which there is an order that cannot be read. For them the last one that could be stays in force, and
        /// where there was none, nothing is done: an order of a newer fleet is no reason to stop a healthy unit.
        unreadable: BTreeSet<UnitName>,
    },
    /// Changes of placements of one or more revisions, in order; what cannot be read is left out, and changes nothing.
    PlacementsChanged(Vec<(UnitName, Option<Placement>)>),
    /// Canonical unit files that were asked for; `None` where the store has none.
    Fetched(Vec<(UnitHash, Option<Arc<str>>)>),
    /// Unit files could not be fetched, and why.
    FetchFailed(Vec<UnitHash>, String),
    /// A full look at the machine.
    Looked(Look),
    /// The look failed, and why.
    LookFailed(String),
    /// Files were written or not, one result each.
    Wrote(Vec<(UnitName, Result<(), String>)>),
    /// A receipt was written or not.
    ReceiptWritten(UnitName, Result<(), String>),
    /// A job has ended; `Err` when its end could not be seen (it may have run).
    Ran(UnitName, Verb, Result<JobResult, String>),
    /// Files were removed or not, one result each.
    Removed(Vec<(UnitName, Result<(), String>)>),
    /// systemd says that a unit's state changed.
    Status(UnitStatus),
    /// The connection to systemd is gone.
    Disconnected,
    /// The connection to systemd is back.
    Connected,
    /// The states of an [`Effect::Report`] are in the store, or not.
    Reported(Result<(), String>),
    /// The machine's lease is a new one: all that was reported is gone.
    ReportsLost,
    /// The guard that [`Effect::Guard`] asked for runs, and will as long as this machine has its lease.
    GuardReady {
        /// Which run of it this is. What was started under another one was stopped by systemd when that ended.
        run: String,
    },
    /// There is no guard, or none any more, and why. The agent asks for it again.
    GuardFailed(String),
    /// The machine leaves the cluster: from now on nothing is wanted here, whatever is ordered. [`Effect::Left`] follows.
    Leave,
    /// A moment that was asked for with [`Effect::Wake`] has come.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Look at all of ours on the machine; answer with `Looked` or `LookFailed`.
    Look,
    /// Fetch unit files; answer with `Fetched` or `FetchFailed`.
    Fetch(Vec<UnitHash>),
    /// Write unit files with their receipts; answer with `Wrote`.
    Write(Vec<WriteFile>),
    /// Replace a receipt; answer with `ReceiptWritten`.
    WriteReceipt(UnitName, Receipt),
    /// Queue a job and wait for its end; answer with `Ran`.
    Run(UnitName, Verb),
    /// Remove the files of units that do not run; answer with `Removed`.
    Remove(Vec<UnitName>),
    /// Write these states to the store (`None` removes one), in batches; answer with `Reported`.
    Report(Vec<(UnitName, Option<UnitState>)>),
    /// The guard (`fleet-guard.service`, to which units with `WhenIsolated=stop` are bound) is needed or not: answer with
    /// `GuardReady` or `GuardFailed` if it is, and see that it runs exactly as long as the machine has its lease.
    Guard {
        /// Whether any order is about such a unit.
        needed: bool,
    },
    /// After [`Event::Leave`]: nothing of ours is on the machine any more.
    Left,
    /// Send `Tick` at this moment. Only the newest one counts.
    Wake(Timestamp),
}
