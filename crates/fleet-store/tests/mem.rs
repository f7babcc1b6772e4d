//! What only the store in memory can do: faults on request, and a history small enough to fall out of.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleet_store::clock::ManualClock;
use fleet_store::history::HISTORY_BATCHES_MAX;
use fleet_store::mem::{Disturbance, Fault, Faults, Mem, Operation};
use fleet_store::{Keys, Revision, Store, StoreError, Txn, TxnOutcome, Write};

fn put(key: &str, value: &str) -> Txn {
    let write = Write::Put { key: key.to_owned(), value: value.as_bytes().to_vec(), lease: None };
    Txn { guards: Vec::new(), writes: vec![write] }
}

async fn value(store: &Mem, key: &str) -> Option<String> {
    let kvs = store.read(&Keys::One(key.to_owned())).await.expect("a read").kvs;
    kvs.first().map(|kv| String::from_utf8_lossy(&kv.value).into_owned())
}

/// Disturbs the n-th operation, and writes down what it was asked about.
struct Nth {
    n: AtomicUsize,
    disturbance: Disturbance,
    asked: Mutex<Vec<String>>,
}

impl Faults for Nth {
    fn disturb(&self, operation: Operation<'_>) -> Disturbance {
        self.asked.lock().expect("no panic").push(format!("{operation:?}"));
        match self.n.fetch_sub(1, Ordering::Relaxed) {
            0 => self.disturbance,
            _ => Disturbance::default(),
        }
    }
}

fn nth(n: usize, fault: Fault, delay: Duration) -> Arc<Nth> {
    let disturbance = Disturbance { delay, fault };
    Arc::new(Nth { n: n.into(), disturbance, asked: Mutex::default() })
}

#[tokio::test]
async fn a_lost_request_and_a_lost_answer() {
    for (fault, n, left) in [(Fault::Before, 1, "1"), (Fault::After, 1, "2"), (Fault::None, 1, "2")] {
        let store = Mem::default();
        let faults = nth(n, fault, Duration::ZERO);
        store.set_faults(Some(Arc::<Nth>::clone(&faults)));
        assert_eq!(store.commit(&put("a", "1")).await, Ok(TxnOutcome::Committed(Revision(2))));
        let second = store.commit(&put("a", "2")).await;
        assert_eq!(matches!(second, Err(StoreError::Unavailable(_))), fault != Fault::None, "{fault:?}: {second:?}");
        store.set_faults(None);
        assert_eq!(value(&store, "a").await.as_deref(), Some(left), "{fault:?}");
        let asked = faults.asked.lock().expect("no panic");
        assert!(asked.len() == 2 && asked.iter().all(|it| it.starts_with("Commit(Txn")), "{asked:?}");
    }
}

/// A watch sees what was done although its writer was told otherwise.
#[tokio::test]
async fn a_lost_answer_is_seen_by_watchers() {
    let store = Mem::default();
    let mut watch = store.watch(&Keys::One("a".to_owned()), Revision(2)).await.expect("a watch");
    store.set_faults(Some(nth(0, Fault::After, Duration::ZERO)));
    assert!(store.commit(&put("a", "1")).await.is_err());
    assert_eq!(watch.next().await.map(|batch| batch.revision), Ok(Revision(2)));
}

#[tokio::test]
async fn a_delay_goes_by_the_clock() {
    let clock: Arc<ManualClock> = Arc::default();
    let store = Mem::new(Arc::<ManualClock>::clone(&clock));
    store.set_faults(Some(nth(0, Fault::None, Duration::from_secs(5))));
    let slow = tokio::spawn({
        let store = store.clone();
        async move { store.commit(&put("a", "slow")).await }
    });
    // The runtime has one thread: after this the other task has run until it waits.
    tokio::task::yield_now().await;
    assert_eq!(store.commit(&put("a", "fast")).await, Ok(TxnOutcome::Committed(Revision(2))));
    clock.advance(Duration::from_secs(5));
    assert_eq!(slow.await.expect("no panic"), Ok(TxnOutcome::Committed(Revision(3))));
    assert_eq!(value(&store, "a").await.as_deref(), Some("slow"));
}

#[tokio::test]
async fn cut_and_compacted_watches() {
    let store = Mem::default();
    let everything = Keys::Prefix(String::new());
    let mut watch = store.watch(&everything, Revision(2)).await.expect("a watch");
    store.cut_watches();
    assert!(matches!(watch.next().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(watch.next().await, Err(StoreError::Unavailable(_))), "it stays cut");
    for n in 0..5 {
        store.commit(&put("a", &n.to_string())).await.expect("a commit");
    }
    let mut behind = store.watch(&everything, Revision(3)).await.expect("a watch of the past");
    store.compact(Revision(5));
    assert_eq!(behind.next().await.map(drop), Err(StoreError::Compacted(Revision(5))));
    let late = store.watch(&everything, Revision(4)).await.map(drop);
    assert_eq!(late, Err(StoreError::Compacted(Revision(5))));
    let mut kept = store.watch(&everything, Revision(5)).await.expect("a watch");
    assert_eq!(kept.next().await.map(|batch| batch.revision), Ok(Revision(5)));
}

/// One that does not keep up is told so; one to whom nothing happens is never behind.
#[tokio::test]
async fn slow_watchers() {
    let store = Mem::default();
    let mut slow = store.watch(&Keys::Prefix("busy/".to_owned()), Revision(2)).await.expect("a watch");
    let mut quiet = store.watch(&Keys::One("quiet".to_owned()), Revision(2)).await.expect("a watch");
    let mut last = Revision(1);
    for n in 0..=HISTORY_BATCHES_MAX {
        let TxnOutcome::Committed(at) = store.commit(&put(&format!("busy/{}", n % 10), "x")).await.expect("a commit")
        else {
            panic!("no guard was given");
        };
        last = at;
    }
    // One revision more than is kept was written, so the first is gone, and it is the one the slow watcher needs.
    assert_eq!(slow.next().await.map(drop), Err(StoreError::Compacted(Revision(3))));
    store.commit(&put("quiet", "x")).await.expect("a commit");
    assert_eq!(quiet.next().await.map(|batch| batch.revision), Ok(Revision(last.0 + 1)));
}

/// A watch outlives its store by an error, not by silence.
#[tokio::test]
async fn the_end_of_the_store_ends_its_watches() {
    let store = Mem::default();
    let mut watch = store.watch(&Keys::Prefix(String::new()), Revision(2)).await.expect("a watch");
    drop(store);
    assert!(matches!(watch.next().await, Err(StoreError::Unavailable(_))));
}

/// Keys on a lease that nobody keeps alive go away with no request to make them.
#[tokio::test(start_paused = true)]
async fn leases_end_by_themselves() {
    let store = Mem::default();
    let lease = store.grant(Duration::from_millis(1200)).await.expect("a lease");
    let write = Write::Put { key: "a".to_owned(), value: Vec::new(), lease: Some(lease) };
    store.commit(&Txn { guards: Vec::new(), writes: vec![write] }).await.expect("a commit");
    let mut watch = store.watch(&Keys::One("a".to_owned()), Revision(3)).await.expect("a watch");
    let start = tokio::time::Instant::now();
    assert_eq!(watch.next().await.map(|batch| batch.revision), Ok(Revision(3)));
    // Rounded up to whole seconds; the runtime's timers count in milliseconds.
    let took = start.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_millis(2010)).contains(&took), "{took:?}");
}
