//! Planted bugs: what the judge has to find, so that its silence means something.
//!
//! Each is a wrong deed at the edge between `fleetd` and the world, where the world is ours: nothing in the product knows of
//! them. The first seed that shows each among those that `tests/bites.rs` runs, and what the judge says then. Seeds move with each
//! change of `fleetd`; the test prints them:
//!
//! | bug | seed | judged by |
//! | --- | --- | --- |
//! | `NoFence` | 367 | revisions: orders, and nobody leads |
//! | `TornPlans` | 0 | revisions: a unit without its `MachineOf` |
//! | `StopFirst` | 112 | jobs: the last copy is stopped |
//! | `ReportsWithoutLease` | 0 | revisions: a state on no lease |
//! | `AckFirst` | 36 | rest: users were told otherwise |
//! | `RenewalAssumed` | 0 | rest: a machine is not present |
//! | `UnreadIsNone` | 5 | jobs: a stop without an order |
//! | `ReceiptsIgnored` | 0 | jobs: a stop without an order |
//! | `AdoptionRestarts` | 0 | jobs: a restart without an order |
//! | `SignalsLost` | 21 | rest: not reached |
//! | `StopAssumed` | 0 | processes: one ended, and nobody asked for it |
//! | `WatchFromNow` | 94 | rest: not reached |
//!
//! Not found in some hundred seeds, and so not kept: plans that are guarded by the leader's key alone (they would need two
//! changes of one unit within the time of a write).

/// One planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The engine's writes are not guarded by its own key.
    NoFence,
    /// A plan is written piece by piece.
    TornPlans,
    /// What is placed elsewhere is taken away from the lost machine at once, not when the new one is up.
    StopFirst,
    /// States are reported whether the machine's lease lives or not.
    ReportsWithoutLease,
    /// A user's change is acknowledged before it is written.
    AckFirst,
    /// A lease is taken for renewed although the request got lost.
    RenewalAssumed,
    /// The agent takes placements that it could not read for none.
    UnreadIsNone,
    /// A new `fleetd` knows nothing of what the last one carried out.
    ReceiptsIgnored,
    /// A new `fleetd` restarts what it finds running.
    AdoptionRestarts,
    /// News of systemd get lost without a disconnection.
    SignalsLost,
    /// The end of a stop is not waited for.
    StopAssumed,
    /// A watch that is begun anew begins with the present, not where the last one ended.
    WatchFromNow,
}
