//! Planted bugs: what the judge has to find, so that its silence means something.
//!
//! Each is a wrong deed at the edge between `fleetd` and the world, where the world is ours: nothing in the product knows of
//! them.

/// One planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The engine's writes are not guarded by its own key.
    NoFence,
    /// The engine's writes are guarded by its key alone, not by what they were decided on.
    NoGuards,
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
    /// A unit file is collected although it is needed again.
    FilesCollectedUnguarded,
}
