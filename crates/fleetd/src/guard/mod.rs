//! The guard: what stops the units that may not run twice when this machine loses its lease, also without `fleetd`.
//!
//! It is a process of its own, `fleetd guard FOLDER`, which the machine's systemd runs as `fleet-guard.service`; units with
//! `WhenIsolated=stop` are bound to that. `fleetd` writes into the folder until when the machine certainly has its lease
//! ([`Permit`]), and the guard ends when that moment comes. The promise, and how its times add up, is in `docs/isolation.md`.
//!
//! - [`deadline`]: what the file says, and what the guard makes of it. Pure.
//! - `permit`: `fleetd`'s side of the file.
//! - `process`: the guard itself.
//! - [`unit`]: the service's file.

pub mod deadline;
mod permit;
mod process;
pub mod unit;

use fleet_store::LeaseId;
use tokio::sync::watch;

pub use deadline::BootTime;
pub use permit::{Grants, Permit, PermitFile};
pub(crate) use process::run;

use crate::clock::BootClock;

/// Until when the machine certainly has its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    /// Which lease. Each `fleetd` has one of its own, and another one after it had run out.
    pub lease: LeaseId,
    /// The moment at which the newest renewal that the store confirmed was sent, and the lease's time on top: the lease
    /// itself ends later, never earlier.
    pub at: BootTime,
}

/// The guard of one machine, as it is on that machine.
pub struct Site {
    /// The text of `fleet-guard.service`.
    pub unit_text: String,
    /// Where it looks until when it may stand.
    pub permit: Box<dyn Permit>,
}

/// What the agent's shell needs for a guard.
#[derive(Clone)]
pub struct Post {
    /// The text of `fleet-guard.service`.
    pub unit_text: String,
    /// What a guard may go by, as far as it has been told; `None` while it may not stand.
    pub granted: watch::Receiver<Option<Until>>,
    /// Under which lease this machine's orders have been read, and so are no older than it. The permit waits for that: with
    /// older orders a unit could be started that has long been moved.
    pub admitted: watch::Sender<Option<LeaseId>>,
    /// What time it is.
    pub boot_clock: BootClock,
}

impl Post {
    /// Waits until a guard may stand.
    pub async fn wait(&mut self) {
        let boot_clock = self.boot_clock;
        let lives = |granted: &Option<Until>| granted.is_some_and(|until| boot_clock() < until.at);
        if self.granted.wait_for(lives).await.is_err() {
            // Nobody can grant anything any more: this daemon is about to end.
            std::future::pending().await
        }
    }
}
