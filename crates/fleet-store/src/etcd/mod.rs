//! The store of a real cluster: etcd v3, of which this is a client.
//!
//! All keys lie under one prefix. A read asks the majority (it is linearizable) and comes in pages, all at one revision. A
//! transaction is one of etcd's. Every request goes from endpoint to endpoint until one answers, except that a transaction
//! stops where nobody knows whether it was carried out: that is [`StoreError::Unavailable`], and who asked looks again. A
//! watch resumes by itself (`watch`). With nothing to do nothing is asked, apart from pings on the connection of a watch.
//!
//! What is absent: compaction. Let etcd do that (`--auto-compaction-retention`), else its history grows until it is full.
//!
//! Reading order: this page, `convert` (what is said to etcd), `cluster` (to whom), `failure` (what an error means for the
//! write in it), `watch`.

mod cluster;
mod convert;
mod failure;
mod watch;
mod wire;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use self::cluster::{Cluster, Line, Twice};
use self::convert::{Range, Space, number, revision};
use self::failure::Failure;
use self::watch::EtcdWatch;
use self::wire::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseRequest, LeaseRevokeResponse, LeaseStateResponse, RangeRequest,
    RangeResponse, TxnRequest, TxnResponse,
};
use crate::{
    Keys, LEASE_TTL_MAX, LeaseId, Revision, Snapshot, Store, StoreError, Txn, TxnOutcome, WATCHES_MAX, Watch, Write,
};

/// The usual time for one request to one endpoint. Long enough for an etcd on a slow disk, short enough that a machine
/// that lives on a lease of 30 s can ask three endpoints twice.
pub const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);

/// Most keys in one page of a read. A page has to be received within the time for a request.
pub const PAGE_KEYS: i64 = 5_000;

/// How often a read begins anew because etcd dropped the history of the revision it was reading at.
const READ_RESTARTS_MAX: usize = 3;

/// How etcd is reached.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// `http://host:port` or `https://host:port`, one for each member. At least one.
    pub endpoints: Vec<String>,
    /// What all keys begin with. Every `fleetd` of a cluster has the same one; clusters that share an etcd differ in it.
    pub prefix: String,
    /// Who to log in as, if etcd wants that.
    pub user: Option<User>,
    /// PEM file with the certificates that sign those of etcd; `None`: those that the system trusts. Either way the
    /// certificate of an `https` endpoint is checked.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show to etcd, if it wants one.
    pub identity: Option<IdentityFiles>,
    /// How long one request to one endpoint may take.
    pub request_timeout: Duration,
}

/// Somebody whom etcd knows.
#[derive(Clone)]
pub struct User {
    /// As created by `etcdctl user add`.
    pub name: String,
    /// In clear: use `https` endpoints.
    pub password: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct IdentityFiles {
    /// The certificate, and those between it and the authority, if any.
    pub cert_file: PathBuf,
    /// Its private key, not encrypted.
    pub key_file: PathBuf,
}

/// Whether an endpoint is one.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn check_endpoint(url: &str) -> Result<(), String> {
    cluster::parse_endpoint(url).map(|_| ())
}

/// etcd v3 as a store. Cheap to clone: clones share their connections.
#[derive(Clone, Debug)]
pub struct Etcd {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    cluster: Cluster,
    space: Space,
    /// The newest revision that any answer has shown.
    seen: AtomicU64,
    watches: Arc<Semaphore>,
}

impl Etcd {
    /// Checks the configuration and reads the files that it names. etcd itself need not be there yet: the first request
    /// connects.
    ///
    /// # Errors
    /// [`StoreError::Setting`] names the value that cannot be used, [`StoreError::File`] the file.
    pub async fn connect(config: EtcdConfig) -> Result<Etcd, StoreError> {
        let cluster = Cluster::new(&config).await?;
        let (space, watches) = (Space::new(config.prefix), Arc::new(Semaphore::new(WATCHES_MAX)));
        Ok(Etcd { inner: Arc::new(Inner { cluster, space, seen: AtomicU64::new(0), watches }) })
    }
}

impl Inner {
    /// All keys of a range at one revision; `Err` with a failure that [`Failure::is_compacted`] if that one went away.
    async fn read(&self, range: &Range) -> Result<Snapshot, Failure> {
        let (mut kvs, mut at, mut page) = (Vec::new(), 0, PAGE_KEYS);
        let mut key = range.key.clone();
        loop {
            let range_end = range.end.clone();
            let question = RangeRequest { key: key.clone(), range_end, limit: page, revision: at, count_only: false };
            let answer: RangeResponse = match self.cluster.call(wire::RANGE, &question, Twice::Harmless).await {
                Ok(answer) => answer,
                Err(failure) if failure.is_answer_too_large() && 1 < page => {
                    page = (page / 8).max(1);
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            if at == 0 {
                at = answer.header.unwrap_or_default().revision;
            }
            let more = answer.more.then(|| answer.kvs.last().map(|kv| [kv.key.as_slice(), &[0]].concat())).flatten();
            kvs.extend(answer.kvs.into_iter().filter_map(|kv| self.space.kv(kv)));
            match more {
                Some(next) => key = next,
                None => {
                    self.saw(revision(at));
                    return Ok(Snapshot { kvs, revision: revision(at) });
                }
            }
        }
    }

    /// The newest revision that the majority knows, and the cluster's ID.
    async fn present(&self) -> Result<(Revision, u64), Failure> {
        let Range { key, .. } = self.space.range(&Keys::One("\0".to_owned()));
        let question = RangeRequest { key, count_only: true, ..RangeRequest::default() };
        let answer: RangeResponse = self.cluster.call(wire::RANGE, &question, Twice::Harmless).await?;
        let header = answer.header.unwrap_or_default();
        Ok((revision(header.revision), header.cluster_id))
    }

    fn saw(&self, revision: Revision) {
        self.seen.fetch_max(revision.0, Ordering::Relaxed);
    }

    fn seen(&self) -> Revision {
        Revision(self.seen.load(Ordering::Relaxed))
    }

    /// The error to give away.
    fn error(&self, failure: Failure) -> StoreError {
        let hint = failure.hint();
        match failure {
            Failure::NotDone(reason) | Failure::Unknown(reason) => StoreError::Unavailable(reason),
            Failure::Answer(_, reason) => StoreError::Refused(match hint {
                Some(hint) => format!("{reason}: {}", hint.replace("PREFIX", self.space.prefix())),
                None => reason,
            }),
        }
    }

    /// Which of the leases in a transaction does not exist. etcd says only that one does not.
    async fn missing_lease(&self, txn: &Txn) -> Result<StoreError, Failure> {
        let leases = txn.writes.iter().filter_map(|write| match write {
            Write::Put { lease, .. } => *lease,
            Write::Delete { .. } => None,
        });
        let mut leases: Vec<LeaseId> = leases.collect();
        leases.sort_unstable();
        leases.dedup();
        let last = leases.pop();
        for &lease in &leases {
            let question = LeaseRequest { id: lease.0 };
            let state: LeaseStateResponse =
                self.cluster.call(wire::LEASE_TIME_TO_LIVE, &question, Twice::Harmless).await?;
            if state.ttl <= 0 {
                return Ok(StoreError::NoLease(lease));
            }
        }
        let reason = "etcd misses a lease in a transaction that has none".to_owned();
        Ok(last.map_or(StoreError::Refused(reason), StoreError::NoLease))
    }
}

#[async_trait]
impl Store for Etcd {
    async fn read(&self, keys: &Keys) -> Result<Snapshot, StoreError> {
        let range = self.inner.space.range(keys);
        let mut restarts = 0;
        loop {
            match self.inner.read(&range).await {
                Err(failure) if failure.is_compacted() && restarts < READ_RESTARTS_MAX => restarts += 1,
                result => return result.map_err(|failure| self.inner.error(failure)),
            }
        }
    }

    async fn commit(&self, txn: &Txn) -> Result<TxnOutcome, StoreError> {
        txn.check()?;
        let question: TxnRequest = self.inner.space.txn(txn);
        let answer: TxnResponse = match self.inner.cluster.call(wire::TXN, &question, Twice::Wrong).await {
            Ok(answer) => answer,
            Err(failure) if failure.is_no_lease() => {
                let missing = self.inner.missing_lease(txn).await;
                return Err(missing.unwrap_or_else(|failure| self.inner.error(failure)));
            }
            Err(Failure::Unknown(reason)) => {
                return Err(StoreError::Unavailable(format!("{reason}; the write may have happened")));
            }
            Err(failure) => return Err(self.inner.error(failure)),
        };
        let at = revision(answer.header.unwrap_or_default().revision);
        self.inner.saw(at);
        Ok(if answer.succeeded { TxnOutcome::Committed(at) } else { TxnOutcome::Conflict(at) })
    }

    async fn watch(&self, keys: &Keys, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        Ok(Box::new(EtcdWatch::open(Arc::clone(&self.inner), self.inner.space.range(keys), from).await?))
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let ttl = ttl.min(LEASE_TTL_MAX);
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() != 0);
        let question = LeaseGrantRequest { ttl: number(Revision(seconds.max(1))) };
        // Asking twice may grant two leases: nothing hangs on the first, and it runs out.
        let answer = self.inner.cluster.call(wire::LEASE_GRANT, &question, Twice::Harmless).await;
        answer.map(|LeaseGrantResponse { id }| LeaseId(id)).map_err(|failure| self.inner.error(failure))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let ask = |connection: cluster::Connection| async move {
            connection.exchange(wire::LEASE_KEEP_ALIVE, LeaseRequest { id: lease.0 }).await
        };
        let answer = self.inner.cluster.try_all(Line::Calls, Twice::Harmless, ask).await;
        match answer.map_err(|failure| self.inner.error(failure))? {
            LeaseStateResponse { ttl } if 0 < ttl => Ok(()),
            LeaseStateResponse { .. } => Err(StoreError::NoLease(lease)),
        }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        // When an answer is lost on the way and the next endpoint knows no such lease, it was revoked by the first: gone is
        // gone, but the caller hears `NoLease`, as if it had ended by itself a moment earlier.
        let question = LeaseRequest { id: lease.0 };
        match self.inner.cluster.call(wire::LEASE_REVOKE, &question, Twice::Harmless).await {
            Ok(LeaseRevokeResponse {}) => Ok(()),
            Err(failure) if failure.is_no_lease() => Err(StoreError::NoLease(lease)),
            Err(failure) => Err(self.inner.error(failure)),
        }
    }
}
