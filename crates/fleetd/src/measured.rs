//! A store whose calls are counted and timed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use fleet_core::model::Revision;
use fleet_store::{Keys, LeaseId, Snapshot, Store, StoreError, Txn, TxnOutcome, Watch};

use crate::metrics::METRICS;

/// The store that it is given, measured.
pub struct Measured(pub Arc<dyn Store>);

/// Under the names of the original where it had one: it read one key or many, and wrote.
async fn measured<T>(kind: &str, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let begun = Instant::now();
    let result = call.await;
    METRICS.store_call(kind, begun.elapsed(), result.is_ok());
    result
}

#[async_trait]
impl Store for Measured {
    async fn read(&self, keys: &Keys) -> Result<Snapshot, StoreError> {
        let kind = match keys {
            Keys::One(_) => "get",
            Keys::Prefix(_) => "get_all",
        };
        measured(kind, self.0.read(keys)).await
    }

    async fn commit(&self, txn: &Txn) -> Result<TxnOutcome, StoreError> {
        measured("set", self.0.commit(txn)).await
    }

    async fn watch(&self, keys: &Keys, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        measured("watch", self.0.watch(keys, from)).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        measured("lease", self.0.grant(ttl)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        measured("lease", self.0.keep_alive(lease)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        measured("lease", self.0.revoke(lease)).await
    }
}
