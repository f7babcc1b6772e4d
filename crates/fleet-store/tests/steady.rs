//! A store that goes back is one that does not answer any more.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fleet_store::mem::Mem;
use fleet_store::steady::Steady;
use fleet_store::{Guard, Keys, LeaseId, Revision, Snapshot, Store, StoreError, Txn, TxnOutcome, Watch, Write};
use tokio::sync::Semaphore;

/// A store in whose place another one can be put. Its answers to reads wait for a permit.
struct Address {
    store: Mutex<Arc<Mem>>,
    answers: Semaphore,
}

impl Address {
    fn new() -> Arc<Address> {
        Arc::new(Address { store: Mutex::default(), answers: Semaphore::new(1_000) })
    }

    fn store(&self) -> Arc<Mem> {
        Arc::clone(&self.store.lock().expect("no panic"))
    }

    /// As when the folder of an etcd is gone.
    fn empty(&self) {
        *self.store.lock().expect("no panic") = Arc::default();
    }
}

#[async_trait]
impl Store for Address {
    async fn read(&self, keys: &Keys) -> Result<Snapshot, StoreError> {
        let snapshot = self.store().read(keys).await;
        self.answers.acquire().await.expect("it is open").forget();
        snapshot
    }

    async fn commit(&self, txn: &Txn) -> Result<TxnOutcome, StoreError> {
        self.store().commit(txn).await
    }

    async fn watch(&self, keys: &Keys, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.store().watch(keys, from).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.store().grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store().keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store().revoke(lease).await
    }
}

fn all() -> Keys {
    Keys::Prefix(String::new())
}

fn put(key: &str) -> Txn {
    let write = Write::Put { key: key.to_owned(), value: b"v".to_vec(), lease: None };
    Txn { guards: Vec::new(), writes: vec![write] }
}

#[tokio::test]
async fn once_it_went_back_nothing_is_asked_of_it() {
    let address = Address::new();
    let store = Steady::new(address.clone());
    let mut last = Revision(0);
    for key in ["a", "b", "c"] {
        let TxnOutcome::Committed(revision) = store.commit(&put(key)).await.expect("a write") else {
            panic!("no guard")
        };
        last = revision;
    }
    let mut watch = store.watch(&all(), Revision(last.0 + 1)).await.expect("a watch");
    address.empty();
    let went_back =
        |result: Result<(), StoreError>| matches!(result, Err(StoreError::Rewound { seen, .. }) if seen == last);
    assert!(went_back(store.read(&all()).await.map(drop)));
    // Also when it has gone on for longer than the one before.
    for key in ["a", "b", "c", "d", "e"] {
        address.commit(&put(key)).await.expect("a write");
    }
    assert!(went_back(store.read(&all()).await.map(drop)));
    assert!(went_back(store.commit(&put("f")).await.map(drop)));
    assert!(went_back(store.watch(&all(), Revision(1)).await.map(drop)));
    assert!(went_back(watch.next().await.map(drop)));
    assert!(went_back(store.grant(Duration::from_secs(9)).await.map(drop)));
    assert!(went_back(store.keep_alive(LeaseId(1)).await));
    assert!(went_back(store.revoke(LeaseId(1)).await));
    assert_eq!(address.read(&all()).await.expect("a read").kvs.len(), 5, "nothing was written");
    // Who begins anew takes it as it is.
    assert_eq!(Steady::new(address).read(&all()).await.expect("a read").kvs.len(), 5);
}

/// A change by others may be the first that is heard of it.
#[tokio::test]
async fn a_conflict_tells_it_too() {
    let address = Address::new();
    let store = Steady::new(address.clone());
    store.commit(&put("a")).await.expect("a write");
    store.commit(&put("a")).await.expect("a write");
    address.empty();
    let guarded = Txn { guards: vec![Guard::ModRevision("a".to_owned(), Revision(1))], ..put("a") };
    assert!(matches!(store.commit(&guarded).await, Err(StoreError::Rewound { .. })));
}

/// An answer that comes late is older than others that were asked for later, and that is no fault.
#[tokio::test]
async fn a_late_answer_is_not_taken_for_it() {
    let address = Address::new();
    let store = Arc::new(Steady::new(address.clone()));
    address.answers.forget_permits(1_000);
    let late = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.read(&all()).await }
    });
    // It has read, and waits to answer.
    tokio::task::yield_now().await;
    for key in ["a", "b"] {
        store.commit(&put(key)).await.expect("a write");
    }
    address.answers.add_permits(1);
    let snapshot = late.await.expect("no panic").expect("a late answer");
    assert_eq!(snapshot.kvs, []);
    address.answers.add_permits(1);
    assert_eq!(store.read(&all()).await.expect("a read").kvs.len(), 2);
}
