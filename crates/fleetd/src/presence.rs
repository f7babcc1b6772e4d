//! Presence: the machine's key, on a lease that is kept alive as long as this process can reach the store.
//!
//! When the process ends, in whatever way, the lease is left to run out: a new `fleetd` that comes in time takes the key
//! over, and nobody ever notices that one was gone.

use std::sync::Arc;
use std::time::Duration;

use fleet_core::model::MachineId;
use fleet_store::registry::{MachineRecord, ops};
use fleet_store::{LeaseId, Store, StoreError};
use tokio::sync::watch;

use crate::view::Backoff;

/// A lease is kept alive so many times within its time, so that two lost calls are no death.
const RENEWALS_PER_TTL: u32 = 3;

/// One machine's presence.
pub struct Presence {
    machine: MachineId,
    record: MachineRecord,
    ttl: Duration,
    store: Arc<dyn Store>,
    lease: watch::Sender<LeaseId>,
}

impl Presence {
    /// Announces the machine and keeps it present until the returned future is dropped. Returns once it is announced.
    pub async fn announce(machine: MachineId, record: MachineRecord, ttl: Duration, store: Arc<dyn Store>) -> Presence {
        let mut backoff = Backoff::default();
        loop {
            match enter(&*store, &machine, &record, ttl).await {
                Ok(lease) => return Presence { machine, record, ttl, store, lease: watch::Sender::new(lease) },
                Err(reason) => {
                    tracing::warn!(%machine, reason, "cannot announce the machine; trying again");
                    backoff.pause().await;
                }
            }
        }
    }

    /// The lease that the machine lives on; a new one means that all that lived on the last is gone.
    pub fn lease(&self) -> watch::Receiver<LeaseId> {
        self.lease.subscribe()
    }

    /// Keeps it alive.
    pub async fn keep(self) {
        let mut backoff = Backoff::default();
        let mut renewals = tokio::time::interval(self.ttl / RENEWALS_PER_TTL);
        renewals.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            renewals.tick().await;
            let lease = *self.lease.borrow();
            match self.store.keep_alive(lease).await {
                Ok(()) => backoff.reset(),
                Err(StoreError::NoLease(_)) => {
                    tracing::warn!(machine = %self.machine, "the machine's lease had run out; announcing it anew");
                    match enter(&*self.store, &self.machine, &self.record, self.ttl).await {
                        Ok(lease) => {
                            self.lease.send_replace(lease);
                        }
                        Err(reason) => {
                            tracing::warn!(machine = %self.machine, reason, "cannot announce the machine; trying again");
                            backoff.pause().await;
                        }
                    }
                }
                Err(err) => {
                    tracing::warn!(machine = %self.machine, error = %err, "cannot renew the machine's lease; trying again");
                    backoff.pause().await;
                    renewals.reset_immediately();
                }
            }
        }
    }
}

async fn enter(
    store: &dyn Store,
    machine: &MachineId,
    record: &MachineRecord,
    ttl: Duration,
) -> Result<LeaseId, String> {
    let lease = store.grant(ttl).await.map_err(|err| err.to_string())?;
    let txn = ops::announce(machine, record, lease).map_err(|err| err.to_string())?;
    store.commit(&txn).await.map_err(|err| err.to_string())?;
    Ok(lease)
}
