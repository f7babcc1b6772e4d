//! A store that must not go back: from the moment it does, nothing is read from it and nothing written.
//!
//! An etcd that was emptied, restored from an older snapshot, or started on another folder answers as if all were well, and what it
//! shows is not what the cluster is about: a machine whose orders are gone would stop all its units. Nobody but an operator
//! knows which of the two is right, so to a daemon such a store is one that does not answer: units run on. A restart of the daemon
//! takes the store as it is then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::{Batch, Keys, LeaseId, Revision, Snapshot, Store, StoreError, Txn, TxnOutcome, Watch};
use async_trait::async_trait;

/// See the module's documentation.
pub struct Steady {
    inner: Arc<dyn Store>,
    seen: Arc<Seen>,
}

/// What was seen of the store, by all requests and watches.
#[derive(Debug, Default)]
struct Seen {
    newest: AtomicU64,
    rewound: OnceLock<StoreError>,
}

struct SteadyWatch {
    inner: Box<dyn Watch>,
    seen: Arc<Seen>,
}

impl Seen {
    /// The newest revision by now: no answer to what is asked after this may be older.
    fn newest(&self) -> Result<Revision, StoreError> {
        match self.rewound.get() {
            Some(err) => Err(err.clone()),
            None => Ok(Revision(self.newest.load(Ordering::Acquire))),
        }
    }

    /// Takes in the revision of an answer to what was asked when `floor` was the newest one.
    fn take(&self, floor: Revision, now: Revision) -> Result<(), StoreError> {
        if now < floor {
            return Err(self.went_back(StoreError::Rewound { seen: floor, now }));
        }
        self.newest.fetch_max(now.0, Ordering::AcqRel);
        Ok(())
    }

    fn went_back(&self, err: StoreError) -> StoreError {
        self.rewound
            .get_or_init(|| {
                tracing::error!(
                    error = %err,
                    "units run on as they are, and fleetd changes nothing any more. If the store is the right one, restart fleetd \
                     on every machine; if not, bring the right one back, or restore a backup, before you do"
                );
                err
            })
            .clone()
    }
}

impl Steady {
    /// Watches over `inner`.
    pub fn new(inner: Arc<dyn Store>) -> Steady {
        Steady { inner, seen: Arc::default() }
    }
}

#[async_trait]
impl Store for Steady {
    async fn read(&self, keys: &Keys) -> Result<Snapshot, StoreError> {
        let floor = self.seen.newest()?;
        let snapshot = self.inner.read(keys).await?;
        self.seen.take(floor, snapshot.revision)?;
        Ok(snapshot)
    }

    async fn commit(&self, txn: &Txn) -> Result<TxnOutcome, StoreError> {
        let floor = self.seen.newest()?;
        let outcome = self.inner.commit(txn).await?;
        let (TxnOutcome::Committed(now) | TxnOutcome::Conflict(now)) = outcome;
        self.seen.take(floor, now)?;
        Ok(outcome)
    }

    async fn watch(&self, keys: &Keys, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.seen.newest()?;
        let inner = self.inner.watch(keys, from).await?;
        Ok(Box::new(SteadyWatch { inner, seen: Arc::clone(&self.seen) }))
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.seen.newest()?;
        self.inner.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.seen.newest()?;
        self.inner.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.seen.newest()?;
        self.inner.revoke(lease).await
    }
}

#[async_trait]
impl Watch for SteadyWatch {
    async fn next(&mut self) -> Result<Batch, StoreError> {
        self.seen.newest()?;
        match self.inner.next().await {
            Ok(batch) => {
                // The others may have seen it go back meanwhile. This may come late, so it is never too old.
                self.seen.newest()?;
                self.seen.take(Revision(0), batch.revision)?;
                Ok(batch)
            }
            Err(err @ StoreError::Rewound { .. }) => Err(self.seen.went_back(err)),
            Err(err) => Err(err),
        }
    }
}
