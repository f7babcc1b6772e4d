//! The store's thread: owns the model and the file, takes requests in groups, and answers when they are on disk.
//!
//! One group: every request that waits is applied to the model, in order, so each sees what those before it did. Then what
//! changed is written to disk in one commit. Only then are changes published and requests answered. If the commit fails,
//! nobody has seen anything of the group: all its requests get `Unavailable`, all watches end, and the model is read from
//! the file anew, because only the file knows whether the commit happened.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::disk::{Disk, Opener};
use super::{GROUP_MAX, STALL_MAX};
use crate::feed::Feed;
use crate::model::Model;
use crate::{Batch, Change, Keys, LeaseId, Snapshot, StoreError, TXN_BYTES_MAX, Txn, TxnOutcome};

/// Most bytes written in one group; a group ends with the transaction that passes it.
const GROUP_BYTES_MAX: usize = 8 * TXN_BYTES_MAX;

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// One request, with the time at which it was made: a keep-alive made in time counts even if the disk was slow.
pub(super) struct Request {
    pub(super) now: Duration,
    pub(super) operation: Operation,
}

pub(super) enum Operation {
    Read(Keys, Reply<Snapshot>),
    Commit(Txn, Reply<TxnOutcome>),
    Grant(Duration, Reply<LeaseId>),
    KeepAlive(LeaseId, Reply<()>),
    Revoke(LeaseId, Reply<()>),
    /// End the leases that are due.
    Expire(Reply<()>),
    /// End the store.
    Close(oneshot::Sender<()>),
}

/// What is given to one caller once the group is on disk, or the error if it is not.
type Answer = Box<dyn FnOnce(Option<&StoreError>)>;

/// What a group has changed in the model and not yet on disk.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    /// Keys written or deleted.
    pub(super) keys: BTreeSet<String>,
    /// Leases granted or ended.
    pub(super) leases: BTreeSet<LeaseId>,
}

pub(super) struct Writer {
    opener: Opener,
    /// The file with the model of what is in it; `None` after a failure, until it can be opened again.
    open: Option<(Disk, Model)>,
    feed: Arc<Feed>,
    deadlines: watch::Sender<Option<Duration>>,
}

/// The group in the making.
#[derive(Default)]
struct Group {
    answers: Vec<Answer>,
    batches: Vec<Batch>,
    dirty: Dirty,
    bytes: usize,
}

/// The error after the end of the store.
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("the store was closed".to_owned())
}

impl Writer {
    pub(super) fn new(
        opener: Opener,
        disk: Disk,
        model: Model,
        feed: Arc<Feed>,
        deadlines: watch::Sender<Option<Duration>>,
    ) -> Writer {
        Writer { opener, open: Some((disk, model)), feed, deadlines }
    }

    /// Works until the store is closed or dropped.
    pub(super) fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        self.tell_deadline();
        let mut close = None;
        while close.is_none()
            && let Some(first) = inbox.blocking_recv()
        {
            close = self.serve(first, &mut inbox);
        }
        inbox.close();
        self.open = None; // Closes the file, before anyone is told that it is closed.
        self.feed.close(&closed());
        if let Some(done) = close {
            // Who asked may have given up waiting.
            let _ = done.send(());
        }
    }

    /// Serves one group that begins with `request`; returns whom to tell if it ends with a request to close.
    fn serve(&mut self, mut request: Request, inbox: &mut mpsc::Receiver<Request>) -> Option<oneshot::Sender<()>> {
        let mut group = Group::default();
        let mut close = None;
        if let Err(err) = self.reopen(request.now) {
            group.answers.push(refuse(request.operation, &mut close));
            group.answer(Some(&err));
            return close;
        }
        let Some((disk, model)) = &mut self.open else {
            unreachable!("reopened above");
        };
        for n_requests in 1.. {
            group.end_leases(model, request.now);
            match request.operation {
                Operation::Close(done) => {
                    close = Some(done);
                    break;
                }
                operation => group.apply(model, operation, request.now),
            }
            if n_requests == GROUP_MAX || GROUP_BYTES_MAX <= group.bytes {
                break;
            }
            match inbox.try_recv() {
                Ok(next) => request = next,
                Err(_) => break,
            }
        }
        match disk.write(model, &group.dirty) {
            Ok(()) => {
                for batch in std::mem::take(&mut group.batches) {
                    self.feed.publish(batch);
                }
                self.tell_deadline();
                group.answer(None);
            }
            Err(err) => {
                tracing::error!(error = %err, "the store could not write to its file; reading it anew");
                self.open = None;
                group.answer(Some(&StoreError::Unavailable(err.to_string())));
                // Tried at once, so that watchers find a store again; if it fails, each request tries again.
                if let Err(err) = self.reopen(request.now) {
                    self.feed.cut(&err);
                    self.tell_deadline();
                }
            }
        }
        close
    }

    /// Opens the file again if a failure has closed it.
    fn reopen(&mut self, now: Duration) -> Result<(), StoreError> {
        if self.open.is_some() {
            return Ok(());
        }
        let (disk, model) = Disk::open(&self.opener, now)?;
        let err = StoreError::Unavailable("the store was read anew from its file".to_owned());
        self.feed.restart(model.revision(), &err);
        self.open = Some((disk, model));
        self.tell_deadline();
        Ok(())
    }

    fn tell_deadline(&self) {
        let next = self.open.as_ref().and_then(|(_, model)| model.next_deadline());
        self.deadlines.send_if_modified(|deadline| std::mem::replace(deadline, next) != next);
    }
}

impl Group {
    fn apply(&mut self, model: &mut Model, operation: Operation, now: Duration) {
        match operation {
            Operation::Read(keys, reply) => self.later(reply, Ok(model.read(&keys))),
            Operation::Commit(txn, reply) => {
                let applied = model.apply(&txn).map(|applied| {
                    self.bytes += txn.bytes();
                    self.changed(applied.batch);
                    applied.outcome
                });
                self.later(reply, applied);
            }
            Operation::Grant(ttl, reply) => {
                let granted = model.grant(ttl, now);
                self.dirty.leases.extend(granted.as_ref().ok());
                self.later(reply, granted);
            }
            Operation::KeepAlive(lease, reply) => {
                let kept = model.keep_alive(lease, now);
                self.later(reply, kept);
            }
            Operation::Revoke(lease, reply) => {
                let revoked = self.end_lease(model, lease);
                self.later(reply, revoked);
            }
            // Every request ends the leases that are due before it is looked at.
            Operation::Expire(reply) => self.later(reply, Ok(())),
            Operation::Close(_) => unreachable!("the caller keeps it"),
        }
    }

    fn end_leases(&mut self, model: &mut Model, now: Duration) {
        if model.next_deadline().is_some_and(|deadline| deadline + STALL_MAX < now) {
            tracing::warn!("the store's process was halted; every lease begins anew");
            model.rearm(now);
        }
        for lease in model.due(now) {
            let ended = self.end_lease(model, lease);
            debug_assert!(ended.is_ok(), "a lease that is due exists");
        }
    }

    fn end_lease(&mut self, model: &mut Model, lease: LeaseId) -> Result<(), StoreError> {
        let batch = model.revoke(lease)?;
        self.dirty.leases.insert(lease);
        self.changed(batch);
        Ok(())
    }

    fn changed(&mut self, batch: Option<Batch>) {
        if let Some(batch) = batch {
            self.dirty.keys.extend(batch.changes.iter().map(Change::key).map(str::to_owned));
            self.batches.push(batch);
        }
    }

    fn later<T: 'static>(&mut self, reply: Reply<T>, result: Result<T, StoreError>) {
        self.answers.push(Box::new(|failure| {
            let result = match failure {
                None => result,
                Some(err) => Err(err.clone()),
            };
            // Who asked may have given up waiting.
            let _ = reply.send(result);
        }));
    }

    fn answer(self, failure: Option<&StoreError>) {
        for answer in self.answers {
            answer(failure);
        }
    }
}

/// The answer to a request that cannot be served.
fn refuse(operation: Operation, close: &mut Option<oneshot::Sender<()>>) -> Answer {
    fn with<T: 'static>(reply: Reply<T>) -> Answer {
        Box::new(|failure| {
            // Who asked may have given up waiting.
            let _ = reply.send(Err(failure.cloned().unwrap_or_else(closed)));
        })
    }
    match operation {
        Operation::Read(_, reply) => with(reply),
        Operation::Commit(_, reply) => with(reply),
        Operation::Grant(_, reply) => with(reply),
        Operation::KeepAlive(_, reply) | Operation::Revoke(_, reply) | Operation::Expire(reply) => with(reply),
        Operation::Close(done) => {
            *close = Some(done);
            Box::new(|_| ())
        }
    }
}
