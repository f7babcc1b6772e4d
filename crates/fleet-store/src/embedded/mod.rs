//! The store of one machine: the same model as `mem`, made durable in one file. No server to install.
//!
//! An acknowledged write is on disk. Watchers and readers see only what is on disk, too: an answer is given and a change is
//! published after the commit that carries it. Transactions that arrive while a commit runs go into the next one together,
//! in order (`writer`), so many writers cost hardly more than one. The file is [`redb`]'s (`disk`); it is read once, at the
//! start, and everything is answered from memory.
//!
//! What lives in memory only is the history, so after a restart a watch can begin at the present revision and later; and
//! the leases' clocks, so every lease has its full time anew. Leases themselves and their keys survive.

mod disk;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};

pub use self::disk::FORMAT_VERSION;
use self::disk::{Disk, Opener};
use self::writer::{Operation, Reply, Request, Writer};
use crate::clock::{Clock, TokioClock, lease_due};
use crate::feed::Feed;
use crate::{Keys, LeaseId, Revision, Snapshot, Store, StoreError, Txn, TxnOutcome, Watch};

/// Most requests waiting for the store's thread; further callers wait for a place.
pub const REQUESTS_MAX: usize = 4096;

/// Most requests answered by one commit to disk.
pub const GROUP_MAX: usize = 1024;

/// How long one request may wait for the disk.
///
/// After that the caller is told [`StoreError::Unavailable`]; the write may still happen. Long, because a disk that is
/// slow for some seconds (a backup, a full write cache) is no reason to fail.
pub const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);

/// How late the end of a lease may be noticed before the store takes itself, not the lease's owner, for the one who was
/// silent.
///
/// A process that was stopped and continued finds all its leases long over, although their owners (often in the same
/// process) could not reach it. Then all leases begin anew, as after a restart.
pub const STALL_MAX: Duration = Duration::from_secs(2);

/// A durable store in one file. Dropping it ends it in the background; [`Embedded::close`] waits for that.
pub struct Embedded {
    requests: mpsc::Sender<Request>,
    feed: Arc<Feed>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
}

impl Embedded {
    /// Opens the store at `path`, or creates it (with the folder it is in). Needs a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::File`] when the file cannot be used: another process has it open, it is no store, its format is
    /// unknown, or the system refuses.
    pub async fn open(path: &Path) -> Result<Embedded, StoreError> {
        Embedded::open_with_clock(path, Arc::new(TokioClock::default())).await
    }

    /// The same, with leases that go by `clock`.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub async fn open_with_clock(path: &Path, clock: Arc<dyn Clock>) -> Result<Embedded, StoreError> {
        Embedded::start(Opener::of_path(path), clock).await
    }

    async fn start(opener: Opener, clock: Arc<dyn Clock>) -> Result<Embedded, StoreError> {
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let (opened, open_result) = oneshot::channel();
        let deadlines = watch::Sender::new(None);
        let mut due = deadlines.subscribe();
        let now = clock.now();
        let path = opener.path().to_owned();
        // A thread of its own: commits block, and the runtime's own threads must not.
        let thread = std::thread::Builder::new().name("fleet-store".to_owned());
        let run = move || match Disk::open(&opener, now) {
            Ok((disk, model)) => {
                let feed = Arc::new(Feed::after(model.revision()));
                if opened.send(Ok(Arc::clone(&feed))).is_ok() {
                    Writer::new(opener, disk, model, feed, deadlines).run(inbox);
                }
            }
            Err(err) => drop(opened.send(Err(err))),
        };
        thread.spawn(run).map_err(|err| StoreError::File {
            path: path.clone(),
            reason: format!("cannot start the thread that writes it: {err}"),
        })?;
        let feed = open_result.await.unwrap_or_else(|_| {
            let reason = "the thread that reads it died; see the log".to_owned();
            Err(StoreError::File { path, reason })
        })?;
        let (weak, expiry_clock) = (requests.downgrade(), Arc::clone(&clock));
        tokio::spawn(async move {
            while lease_due(&*expiry_clock, &mut due).await {
                let Some(requests) = weak.upgrade() else {
                    break;
                };
                let (reply, done) = oneshot::channel();
                let operation = Operation::Expire(reply);
                let now = expiry_clock.now();
                if requests.send(Request { now, operation }).await.is_err() {
                    break;
                }
                drop(requests);
                // An error is the writer's to report; it sets the next deadline, or ends this task by going away.
                let _ = done.await;
            }
        });
        Ok(Embedded { requests, feed, clock })
    }

    /// Ends the store and waits until its file is closed. Everything asked before is done before.
    pub async fn close(&self) {
        let (reply, done) = oneshot::channel();
        let operation = Operation::Close(reply);
        let now = self.clock.now();
        if self.requests.send(Request { now, operation }).await.is_ok() {
            // Without an answer the thread is gone, and its file closed with it.
            let _ = done.await;
        }
    }

    async fn ask<T>(&self, operation: impl FnOnce(Reply<T>) -> Operation) -> Result<T, StoreError> {
        let now = self.clock.now();
        let (reply, answer) = oneshot::channel();
        let operation = operation(reply);
        let asked = async {
            let sent = self.requests.send(Request { now, operation }).await;
            sent.map_err(|_| writer::closed())?;
            answer.await.unwrap_or_else(|_| Err(writer::closed()))
        };
        match tokio::time::timeout(ANSWER_WAIT_MAX, asked).await {
            Ok(answer) => answer,
            Err(_) => {
                let limit = ANSWER_WAIT_MAX.as_secs();
                let reason = format!("its disk did not finish writing within {limit} s");
                Err(StoreError::Unavailable(reason))
            }
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn read(&self, keys: &Keys) -> Result<Snapshot, StoreError> {
        self.ask(|reply| Operation::Read(keys.clone(), reply)).await
    }

    async fn commit(&self, txn: &Txn) -> Result<TxnOutcome, StoreError> {
        // Refused here already, so that what is over a limit is not even copied.
        txn.check()?;
        self.ask(|reply| Operation::Commit(txn.clone(), reply)).await
    }

    async fn watch(&self, keys: &Keys, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        Ok(Box::new(self.feed.watch(keys, from)?))
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.ask(|reply| Operation::Grant(ttl, reply)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(|reply| Operation::KeepAlive(lease, reply)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(|reply| Operation::Revoke(lease, reply)).await
    }
}
