//! The cluster's memory: keys with revisions, guarded transactions, watches from a revision, and leases, shaped as
//! etcd v3 has them, because etcd is the store of a real cluster.
//!
//! [`Store`] is the trait; [`mem`] is the strict model in memory (for tests and simulation), [`embedded`] the same model
//! made durable on disk (the default of one machine), [`etcd`] a client of the real thing. All three pass one conformance
//! suite. [`registry`] is the typed view: which key holds what. Decisions do not live here: this crate stores and tells, it
//! does not choose.

//!
//! Reading order: this page (the words), [`model`] (what they mean: the whole semantics, pure), [`history`] (what watches
//! are fed from), [`mem`] and [`embedded`] (two thin shells), [`etcd`], [`registry`]. With the feature `conformance` there is the
//! suite that every store has to pass, in [`conformance`].

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
pub use fleet_core::model::Revision;

pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod embedded;
pub mod etcd;
mod feed;
pub mod history;
pub mod mem;
pub mod model;
pub mod registry;
pub mod steady;

/// Most operations (guards and writes each) in one transaction.
///
/// Source: etcd's default `--max-txn-ops` (3.4). Every store here has the same, so that nothing works on one machine
/// and fails on a cluster.
pub const TXN_OPS_MAX: usize = 128;

/// Largest sum of keys and values in one transaction, in bytes.
///
/// Source: etcd's default `--max-request-bytes` is 1.5 MiB; a margin is left for its framing.
pub const TXN_BYTES_MAX: usize = 1_400_000;

/// Longest time to live of a lease; a longer one is cut to this.
///
/// Source: etcd's `MaxLeaseTTL` (3.4), in seconds.
pub const LEASE_TTL_MAX: Duration = Duration::from_secs(9_000_000_000);

/// Most leases at a time. A machine has one, an engine one more: this is ten times the largest cluster thought of.
pub const LEASES_MAX: usize = 100_000;

/// Most watches at a time on one store handle.
pub const WATCHES_MAX: usize = 100_000;

/// Most bytes of keys and values together.
///
/// Source: half of etcd's default `--quota-backend-bytes` (2 GiB), because etcd's quota counts history as well.
pub const STORE_BYTES_MAX: usize = 1 << 30;

/// A lease: keys put with it vanish when it expires or is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// One key with its value and the revisions that changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key, without the store's prefix.
    pub key: String,
    /// The value, opaque to the store.
    pub value: Vec<u8>,
    /// The revision that created the key (after its last deletion).
    pub create_revision: Revision,
    /// The revision that last wrote the key.
    pub mod_revision: Revision,
    /// The lease it lives on.
    pub lease: Option<LeaseId>,
}

/// What is read or watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// One key.
    One(String),
    /// Every key that starts so; the empty prefix is everything.
    Prefix(String),
}

/// What must hold for a transaction to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The key does not exist.
    Absent(String),
    /// The key exists and was last written at this revision.
    ModRevision(String, Revision),
    /// The key exists and was created at this revision (a leader's or a lock's key).
    CreateRevision(String, Revision),
}

/// One write of a transaction. A key may be written once in a transaction, as in etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets the key, on the lease if one is given (else on none).
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Vec<u8>,
        /// The lease it shall live on.
        lease: Option<LeaseId>,
    },
    /// Deletes the key; no error if there is none.
    Delete {
        /// The key.
        key: String,
    },
}

/// A guarded transaction: all writes, at one revision, if all guards hold; else none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold.
    pub guards: Vec<Guard>,
    /// All are done.
    pub writes: Vec<Write>,
}

impl Txn {
    /// Checks what needs no store: sizes, and that each key is written once. Every store calls this first, so that all
    /// refuse the same.
    ///
    /// # Errors
    /// [`StoreError::TooManyOps`], [`StoreError::TooLarge`], [`StoreError::EmptyKey`] and [`StoreError::DuplicateKey`].
    pub fn check(&self) -> Result<(), StoreError> {
        let ops = self.guards.len().max(self.writes.len());
        if TXN_OPS_MAX < ops {
            return Err(StoreError::TooManyOps { ops });
        }
        let bytes = self.bytes();
        if TXN_BYTES_MAX < bytes {
            return Err(StoreError::TooLarge { bytes });
        }
        let keys = self.writes.iter().map(Write::key).chain(self.guards.iter().map(Guard::key));
        if keys.into_iter().any(str::is_empty) {
            return Err(StoreError::EmptyKey);
        }
        let mut written = BTreeSet::new();
        match self.writes.iter().map(Write::key).find(|&key| !written.insert(key)) {
            Some(key) => Err(StoreError::DuplicateKey { key: key.to_owned() }),
            None => Ok(()),
        }
    }

    /// The sum of all keys and values, which [`TXN_BYTES_MAX`] limits.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let guards: usize = self.guards.iter().map(|guard| guard.key().len()).sum();
        guards + self.writes.iter().map(Write::bytes).sum::<usize>()
    }
}

impl Guard {
    /// The key that is looked at.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Guard::Absent(key) | Guard::ModRevision(key, _) | Guard::CreateRevision(key, _) => key,
        }
    }
}

impl Write {
    /// The key that is written.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Write::Put { key, .. } | Write::Delete { key } => key,
        }
    }

    /// Its key and value in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Write::Put { key, value, .. } => key.len() + value.len(),
            Write::Delete { key } => key.len(),
        }
    }
}

impl Keys {
    /// Whether `key` is among these.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        match self {
            Keys::One(one) => one == key,
            Keys::Prefix(prefix) => key.starts_with(prefix.as_str()),
        }
    }
}

impl Change {
    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Change::Put(kv) => &kv.key,
            Change::Delete { key, .. } => key,
        }
    }
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnOutcome {
    /// Written at this revision (or nothing was to be written, at the store's present one).
    Committed(Revision),
    /// A guard did not hold; nothing was written. The store's present revision.
    Conflict(Revision),
}

/// Some keys as they were at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Sorted by key, bytewise.
    pub kvs: Vec<KeyValue>,
    /// The store's revision at that time: watch from the next one to miss nothing.
    pub revision: Revision,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key was created or written.
    Put(KeyValue),
    /// The key was deleted, by hand or because its lease ended.
    Delete {
        /// Which key.
        key: String,
        /// When.
        revision: Revision,
    },
}

/// All changes of one revision that a watch asked for: never half a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The revision.
    pub revision: Revision,
    /// Its changes, in the order of the transaction.
    pub changes: Vec<Change>,
}

/// Why a store could not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store did not answer: *a write may have happened*. Look again, then decide again.
    #[error("the store did not answer: {0}")]
    Unavailable(String),
    /// The history needed for this watch is gone: read everything anew.
    #[error("the store's history before revision {} is gone", .0.0)]
    Compacted(Revision),
    /// The store shows an older revision than before, or is another one: it was restored from a backup, or replaced. What
    /// was seen in it need not be there.
    #[error(
        "the store went back from revision {} to {}: it was restored from a backup, or is another one",
        .seen.0, .now.0
    )]
    Rewound {
        /// The newest revision that was seen.
        seen: Revision,
        /// The one it shows now.
        now: Revision,
    },
    /// The store answered that it will not do this, for a reason that asking again does not cure.
    #[error("the store refuses: {0}")]
    Refused(String),
    /// A setting cannot be used.
    #[error("{what} `{value}`: {reason}")]
    Setting {
        /// Which.
        what: &'static str,
        /// As given.
        value: String,
        /// What is wrong with it, and what to write.
        reason: String,
    },
    /// The lease does not exist (any more).
    #[error("lease {} does not exist or has expired", .0.0)]
    NoLease(LeaseId),
    /// More than [`TXN_OPS_MAX`] guards or writes.
    #[error("a transaction of {ops} operations is over the limit of {TXN_OPS_MAX}")]
    TooManyOps {
        /// How many there were.
        ops: usize,
    },
    /// More than [`TXN_BYTES_MAX`].
    #[error("a transaction of {bytes} bytes is over the limit of {TXN_BYTES_MAX}")]
    TooLarge {
        /// How many there were.
        bytes: usize,
    },
    /// A key was written twice in one transaction.
    #[error("key `{key}` is written twice in one transaction")]
    DuplicateKey {
        /// Which.
        key: String,
    },
    /// A key is the empty text, which etcd refuses too.
    #[error("a key cannot be empty")]
    EmptyKey,
    /// One of the store's own limits is reached; nothing was written.
    #[error("the store is full: {what} are limited to {limit}")]
    Full {
        /// What there is too much of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// A file of the store (or one named in its settings) cannot be used.
    #[error("the store's file {path}: {reason}")]
    File {
        /// Which file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A stream of changes; dropping it ends the watch.
#[async_trait]
pub trait Watch: Send {
    /// Waits for the next batch, in order of revisions, none left out, none twice.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if the watcher fell so far behind that history was dropped, [`StoreError::Rewound`] if the
    /// store is not the one it was (in both cases: read everything anew), and [`StoreError::Unavailable`] if the store went
    /// away and the watch cannot resume by itself. Each ends the watch.
    async fn next(&mut self) -> Result<Batch, StoreError>;
}

/// A store as fleet needs it. See the crate's documentation.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads keys, all at one revision.
    async fn read(&self, keys: &Keys) -> Result<Snapshot, StoreError>;

    /// Carries out a guarded transaction.
    ///
    /// # Errors
    /// A guard that does not hold is no error but [`TxnOutcome::Conflict`]. [`StoreError::Unavailable`]: *the writes may
    /// have happened*. A put on an ended lease is [`StoreError::NoLease`]; limits as their variants say.
    async fn commit(&self, txn: &Txn) -> Result<TxnOutcome, StoreError>;

    /// Watches keys for the changes of revision `from` and later, from history if that is in the past.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if `from` is older than the history that is kept; some stores notice that only when the
    /// watch is first asked for a batch.
    async fn watch(&self, keys: &Keys, from: Revision) -> Result<Box<dyn Watch>, StoreError>;

    /// Grants a lease. etcd counts in whole seconds: `ttl` is rounded up to them, and cut to [`LEASE_TTL_MAX`].
    ///
    /// # Errors
    /// [`StoreError::Full`] when there are [`LEASES_MAX`] already.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Sets the lease's clock back to its full time.
    ///
    /// # Errors
    /// [`StoreError::NoLease`] when it has ended: its keys are gone, and a new lease is needed.
    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Ends the lease now and deletes its keys, in one revision.
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;
}
