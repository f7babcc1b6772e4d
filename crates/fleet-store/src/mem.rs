//! The strict model as a store: nothing outlives the process. For tests and simulation, with faults on request.
//!
//! Every operation first ends the leases that are due by the [`Clock`], so that an answer never depends on how fast a task
//! in the background was.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::clock::{Clock, TokioClock, lease_due};
use crate::feed::Feed;
use crate::model::{Model, REVISION_FIRST};
use crate::{Keys, LeaseId, Revision, Snapshot, Store, StoreError, Txn, TxnOutcome, Watch};

/// A store in memory. Cheap to clone: clones are the same store.
#[derive(Clone)]
pub struct Mem {
    inner: Arc<Inner>,
}

struct Inner {
    model: Mutex<Model>,
    feed: Arc<Feed>,
    clock: Arc<dyn Clock>,
    /// When the next lease ends; tells the task that ends leases how long to sleep.
    deadlines: watch::Sender<Option<Duration>>,
    faults: RwLock<Option<Arc<dyn Faults>>>,
}

/// What is about to happen, for [`Faults`] to judge.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names are those of the trait's functions")]
pub enum Operation<'a> {
    Read(&'a Keys),
    Commit(&'a Txn),
    Watch(&'a Keys, Revision),
    Grant(Duration),
    KeepAlive(LeaseId),
    Revoke(LeaseId),
}

/// What goes wrong with an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// The request is lost: `Unavailable`, and nothing was done.
    Before,
    /// The answer is lost: `Unavailable`, and it *was* done.
    After,
}

/// How one operation is disturbed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disturbance {
    /// By the store's clock, before anything is done.
    pub delay: Duration,
    /// What goes wrong then.
    pub fault: Fault,
}

/// Decides which operations go wrong.
pub trait Faults: Send + Sync + 'static {
    /// Called once for each operation, in the order they are made.
    fn disturb(&self, operation: Operation<'_>) -> Disturbance;
}

impl Default for Mem {
    fn default() -> Mem {
        Mem::new(Arc::new(TokioClock::default()))
    }
}

impl fmt::Debug for Mem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mem").field("revision", &self.model().revision()).finish_non_exhaustive()
    }
}

impl Mem {
    /// An empty store whose leases go by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Mem {
        Mem {
            inner: Arc::new(Inner {
                model: Mutex::new(Model::default()),
                feed: Arc::new(Feed::after(REVISION_FIRST)),
                clock,
                deadlines: watch::Sender::new(None),
                faults: RwLock::new(None),
            }),
        }
    }

    /// Lets `faults` disturb all operations from now on; `None` ends that.
    pub fn set_faults(&self, faults: Option<Arc<dyn Faults>>) {
        *self.inner.faults.write().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Cuts every watch off, as a broken connection does: each ends with [`StoreError::Unavailable`].
    pub fn cut_watches(&self) {
        self.inner.feed.cut(&StoreError::Unavailable("the watch was cut off".to_owned()));
    }

    /// Forgets the history before `revision`, as etcd's compaction does.
    pub fn compact(&self, revision: Revision) {
        self.inner.feed.compact(revision);
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.inner.model()
    }

    /// Runs one operation with whatever disturbance is due to it.
    async fn run<T>(
        &self,
        operation: Operation<'_>,
        act: impl FnOnce(&Inner) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let faults = self.inner.faults.read().unwrap_or_else(PoisonError::into_inner).clone();
        let disturbance = faults.map_or_else(Disturbance::default, |it| it.disturb(operation));
        if !disturbance.delay.is_zero() {
            self.inner.clock.sleep_until(self.inner.clock.now() + disturbance.delay).await;
        }
        match disturbance.fault {
            Fault::None => act(&self.inner),
            Fault::Before => Err(StoreError::Unavailable("the request was lost".to_owned())),
            Fault::After => {
                act(&self.inner)?;
                Err(StoreError::Unavailable("the answer was lost".to_owned()))
            }
        }
    }
}

impl Inner {
    fn model(&self) -> MutexGuard<'_, Model> {
        // The model changes only after all its checks, so a panic elsewhere leaves it whole.
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the due leases, then lets `act` change the model; the lock is held until watchers know.
    fn change<T>(
        &self,
        act: impl FnOnce(&mut Model, Duration) -> Result<(T, Option<crate::Batch>), StoreError>,
    ) -> Result<T, StoreError> {
        let mut model = self.model();
        let now = self.clock.now();
        for batch in model.expire(now) {
            self.feed.publish(batch);
        }
        let result = act(&mut model, now);
        self.deadlines.send_if_modified(|deadline| std::mem::replace(deadline, model.next_deadline()) != *deadline);
        let (value, batch) = result?;
        if let Some(batch) = batch {
            self.feed.publish(batch);
        }
        Ok(value)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.feed.close(&StoreError::Unavailable("the store was closed".to_owned()));
    }
}

#[async_trait]
impl Store for Mem {
    async fn read(&self, keys: &Keys) -> Result<Snapshot, StoreError> {
        let act = |inner: &Inner| inner.change(|model, _| Ok((model.read(keys), None)));
        self.run(Operation::Read(keys), act).await
    }

    async fn commit(&self, txn: &Txn) -> Result<TxnOutcome, StoreError> {
        let act = |inner: &Inner| inner.change(|model, _| model.apply(txn).map(|done| (done.outcome, done.batch)));
        self.run(Operation::Commit(txn), act).await
    }

    async fn watch(&self, keys: &Keys, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        let act = |inner: &Inner| inner.feed.watch(keys, from);
        let watch = self.run(Operation::Watch(keys, from), act).await?;
        Ok(Box::new(watch))
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        // The task that ends leases is there from the first lease on: a store without leases needs no runtime.
        if self.inner.deadlines.receiver_count() == 0 {
            let mut deadlines = self.inner.deadlines.subscribe();
            let (clock, inner) = (Arc::clone(&self.inner.clock), Arc::downgrade(&self.inner));
            tokio::spawn(async move {
                while lease_due(&*clock, &mut deadlines).await {
                    let Some(inner) = inner.upgrade() else {
                        break;
                    };
                    let ended = inner.change(|_, _| Ok(((), None)));
                    debug_assert!(ended.is_ok(), "ending leases cannot fail");
                }
            });
        }
        let act = |inner: &Inner| inner.change(|model, now| model.grant(ttl, now).map(|lease| (lease, None)));
        self.run(Operation::Grant(ttl), act).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let act = |inner: &Inner| inner.change(|model, now| model.keep_alive(lease, now).map(|()| ((), None)));
        self.run(Operation::KeepAlive(lease), act).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let act = |inner: &Inner| inner.change(|model, _| model.revoke(lease).map(|it| ((), it)));
        self.run(Operation::Revoke(lease), act).await
    }
}
