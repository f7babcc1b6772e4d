//! What a store *means*: keys, revisions, transactions and leases, as etcd v3 has them. Pure and synchronous.
//!
//! Both stores of this crate are shells around one [`Model`]: `mem` keeps nothing else, `embedded` writes to disk what the
//! model says has changed. Time is an argument (a [`Duration`] since the clock's beginning). What etcd does and people get
//! wrong is spelled out at the function that does it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use crate::{
    Batch, Change, Guard, KeyValue, Keys, LEASE_TTL_MAX, LEASES_MAX, LeaseId, Revision, STORE_BYTES_MAX, Snapshot,
    StoreError, Txn, TxnOutcome, Write,
};

/// The revision of a store in which nothing was ever written. Source: etcd.
pub const REVISION_FIRST: Revision = Revision(1);

/// Keys, revisions and leases. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Model {
    revision: Revision,
    entries: BTreeMap<String, KeyValue>,
    /// Bytes of all keys and values.
    bytes: usize,
    leases: BTreeMap<LeaseId, Lease>,
    /// The leases by the moment they end; exactly those of `leases`.
    deadlines: BTreeSet<(Duration, LeaseId)>,
    last_lease: LeaseId,
}

#[derive(Clone, Debug)]
struct Lease {
    ttl: Duration,
    deadline: Duration,
    /// Exactly the keys whose entry names this lease.
    keys: BTreeSet<String>,
}

/// What a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The answer to who asked.
    pub outcome: TxnOutcome,
    /// What changed, if anything did.
    pub batch: Option<Batch>,
}

/// A stored picture that contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A key is younger than the store.
    #[error("key `{key}` has revision {}, newer than the store's own {}", .revision.0, .store.0)]
    FutureKey {
        /// Which key.
        key: String,
        /// Its revision.
        revision: Revision,
        /// The store's.
        store: Revision,
    },
    /// A key hangs on a lease that does not exist.
    #[error("key `{key}` hangs on lease {}, which does not exist", .lease.0)]
    NoLease {
        /// Which key.
        key: String,
        /// Which lease.
        lease: LeaseId,
    },
}

impl Default for Model {
    fn default() -> Model {
        Model {
            revision: REVISION_FIRST,
            entries: BTreeMap::new(),
            bytes: 0,
            leases: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            last_lease: LeaseId(0),
        }
    }
}

impl Model {
    /// A model as it was stored. Every lease gets its full time anew, as after a change of etcd's leader: who was
    /// silent only because the store was away must not be taken for lost.
    ///
    /// # Errors
    /// [`RestoreError`] when the parts contradict each other.
    pub fn restore(
        revision: Revision,
        last_lease: LeaseId,
        kvs: Vec<KeyValue>,
        leases: &[(LeaseId, Duration)],
        now: Duration,
    ) -> Result<Model, RestoreError> {
        let mut model = Model { revision, last_lease, ..Model::default() };
        for &(lease, ttl) in leases {
            model.insert_lease(lease, ttl, now);
        }
        for kv in kvs {
            if revision < kv.mod_revision {
                return Err(RestoreError::FutureKey { key: kv.key, revision: kv.mod_revision, store: revision });
            }
            if let Some(lease) = kv.lease {
                match model.leases.get_mut(&lease) {
                    Some(state) => state.keys.insert(kv.key.clone()),
                    None => return Err(RestoreError::NoLease { key: kv.key, lease }),
                };
            }
            model.bytes += kv.key.len() + kv.value.len();
            model.entries.insert(kv.key.clone(), kv);
        }
        Ok(model)
    }

    /// The present revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The newest lease ever granted; a store that is restored goes on from here, so that no ID comes twice.
    #[must_use]
    pub fn last_lease(&self) -> LeaseId {
        self.last_lease
    }

    /// One key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&KeyValue> {
        self.entries.get(key)
    }

    /// The time to live of a lease, if it exists.
    #[must_use]
    pub fn lease_ttl(&self, lease: LeaseId) -> Option<Duration> {
        self.leases.get(&lease).map(|lease| lease.ttl)
    }

    /// When the next lease ends, if there is one.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// Reads keys at the present revision.
    #[must_use]
    pub fn read(&self, keys: &Keys) -> Snapshot {
        let kvs = match keys {
            Keys::One(key) => self.entries.get(key).cloned().into_iter().collect(),
            Keys::Prefix(prefix) => self
                .entries
                .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
                .take_while(|(key, _)| key.starts_with(prefix.as_str()))
                .map(|(_, kv)| kv.clone())
                .collect(),
        };
        Snapshot { kvs, revision: self.revision }
    }

    /// Carries out a transaction: all of it or nothing.
    ///
    /// As in etcd: leases are looked at only when all guards hold; a put of an equal value is a change; a put without a
    /// lease takes the key off the one it had; deleting a key that is not there changes nothing, and a transaction that
    /// changes nothing does not raise the revision.
    ///
    /// # Errors
    /// Those of [`Txn::check`], [`StoreError::NoLease`] and [`StoreError::Full`].
    pub fn apply(&mut self, txn: &Txn) -> Result<Applied, StoreError> {
        txn.check()?;
        if !txn.guards.iter().all(|guard| self.holds(guard)) {
            return Ok(Applied { outcome: TxnOutcome::Conflict(self.revision), batch: None });
        }
        let mut bytes = self.bytes;
        for write in &txn.writes {
            if let Some(old) = self.entries.get(write.key()) {
                bytes -= old.key.len() + old.value.len();
            }
            if let Write::Put { lease, .. } = write {
                bytes += write.bytes();
                if let Some(lease) = lease.filter(|lease| !self.leases.contains_key(lease)) {
                    return Err(StoreError::NoLease(lease));
                }
            }
        }
        // Only growth is refused, so that a full store can still be emptied.
        if STORE_BYTES_MAX < bytes && self.bytes < bytes {
            return Err(StoreError::Full { what: "bytes of keys and values", limit: STORE_BYTES_MAX });
        }
        let revision = Revision(self.revision.0 + 1);
        let changes: Vec<Change> = txn
            .writes
            .iter()
            .filter_map(|write| match write {
                Write::Put { key, value, lease } => Some(Change::Put(self.put(key, value, *lease, revision))),
                Write::Delete { key } => self.delete(key, revision),
            })
            .collect();
        let batch = self.finish(revision, changes);
        Ok(Applied { outcome: TxnOutcome::Committed(self.revision), batch })
    }

    /// Grants a lease that ends `ttl` after `now`. Whole seconds, rounded up, at least one, at most [`LEASE_TTL_MAX`].
    ///
    /// # Errors
    /// [`StoreError::Full`] when there are [`LEASES_MAX`] already.
    pub fn grant(&mut self, ttl: Duration, now: Duration) -> Result<LeaseId, StoreError> {
        if LEASES_MAX <= self.leases.len() {
            return Err(StoreError::Full { what: "leases", limit: LEASES_MAX });
        }
        let whole = Duration::from_secs(ttl.as_secs() + u64::from(0 < ttl.subsec_nanos()));
        let ttl = whole.clamp(Duration::from_secs(1), LEASE_TTL_MAX);
        self.last_lease = LeaseId(self.last_lease.0 + 1);
        self.insert_lease(self.last_lease, ttl, now);
        Ok(self.last_lease)
    }

    /// Gives a lease its full time from `now` on.
    ///
    /// # Errors
    /// [`StoreError::NoLease`] when it has ended.
    pub fn keep_alive(&mut self, lease: LeaseId, now: Duration) -> Result<(), StoreError> {
        let state = self.leases.get_mut(&lease).ok_or(StoreError::NoLease(lease))?;
        self.deadlines.remove(&(state.deadline, lease));
        // Requests may be handled in another order than they were made; an older one must not shorten the lease.
        state.deadline = state.deadline.max(now + state.ttl);
        self.deadlines.insert((state.deadline, lease));
        Ok(())
    }

    /// Ends a lease and deletes its keys, in one revision (none, if it had no keys).
    ///
    /// # Errors
    /// [`StoreError::NoLease`] when it has ended already.
    pub fn revoke(&mut self, lease: LeaseId) -> Result<Option<Batch>, StoreError> {
        let state = self.leases.remove(&lease).ok_or(StoreError::NoLease(lease))?;
        self.deadlines.remove(&(state.deadline, lease));
        let revision = Revision(self.revision.0 + 1);
        let changes: Vec<Change> = state.keys.iter().filter_map(|key| self.delete(key, revision)).collect();
        Ok(self.finish(revision, changes))
    }

    /// The leases that have reached their end at `now`, earliest first. [`Model::revoke`] ends them.
    pub fn due(&self, now: Duration) -> Vec<LeaseId> {
        let due = self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now);
        due.map(|&(_, lease)| lease).collect()
    }

    /// Ends every lease that is due at `now`, each in a revision of its own.
    pub fn expire(&mut self, now: Duration) -> Vec<Batch> {
        let due = self.due(now);
        due.into_iter().filter_map(|lease| self.revoke(lease).ok().flatten()).collect()
    }

    /// Gives every lease its full time from `now` on, as [`Model::restore`] does.
    pub fn rearm(&mut self, now: Duration) {
        self.deadlines.clear();
        for (&id, lease) in &mut self.leases {
            lease.deadline = now + lease.ttl;
            self.deadlines.insert((lease.deadline, id));
        }
    }

    fn holds(&self, guard: &Guard) -> bool {
        let entry = self.entries.get(guard.key());
        match guard {
            Guard::Absent(_) => entry.is_none(),
            Guard::ModRevision(_, revision) => entry.is_some_and(|kv| kv.mod_revision == *revision),
            Guard::CreateRevision(_, revision) => entry.is_some_and(|kv| kv.create_revision == *revision),
        }
    }

    fn put(&mut self, key: &str, value: &[u8], lease: Option<LeaseId>, revision: Revision) -> KeyValue {
        let old = self.entries.remove(key);
        let create_revision = old.as_ref().map_or(revision, |old| old.create_revision);
        if let Some(old) = &old {
            self.forget(old);
        }
        if let Some(lease) = lease.and_then(|lease| self.leases.get_mut(&lease)) {
            lease.keys.insert(key.to_owned());
        }
        let kv =
            KeyValue { key: key.to_owned(), value: value.to_owned(), create_revision, mod_revision: revision, lease };
        self.bytes += key.len() + value.len();
        self.entries.insert(key.to_owned(), kv.clone());
        kv
    }

    fn delete(&mut self, key: &str, revision: Revision) -> Option<Change> {
        let old = self.entries.remove(key)?;
        self.forget(&old);
        Some(Change::Delete { key: old.key, revision })
    }

    /// Takes a removed entry out of the byte count and off its lease.
    fn forget(&mut self, old: &KeyValue) {
        self.bytes -= old.key.len() + old.value.len();
        if let Some(lease) = old.lease.and_then(|lease| self.leases.get_mut(&lease)) {
            lease.keys.remove(&old.key);
        }
    }

    fn finish(&mut self, revision: Revision, changes: Vec<Change>) -> Option<Batch> {
        if changes.is_empty() {
            return None;
        }
        self.revision = revision;
        Some(Batch { revision, changes })
    }

    fn insert_lease(&mut self, lease: LeaseId, ttl: Duration, now: Duration) {
        let deadline = now + ttl;
        self.deadlines.insert((deadline, lease));
        self.leases.insert(lease, Lease { ttl, deadline, keys: BTreeSet::new() });
    }
}
