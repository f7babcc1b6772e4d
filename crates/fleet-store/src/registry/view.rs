//! The whole cluster as records, kept up to date by a watch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fleet_core::model::{Absence, Cluster, Drain, Generation, Machine, MachineId, Placement, Unit, UnitState};
use fleet_core::unit::{Requirements, UnitFile, UnitHash, UnitName};

use super::record::{
    CordonRecord, DrainRecord, FileRecord, GivenUpRecord, LeaderRecord, MachineRecord, MetadataRecord, UnitRecord,
};
use super::{Key, MetadataKey, Value, ValueError};
use crate::{Batch, Change, KeyValue, LeaseId, Revision, Snapshot, Txn, Write};

/// How many units of a machine that leaves the cluster are on their way at once: it does not wait long.
const LEAVE_MAX_AT_ONCE: u32 = 32;

/// The cluster at one revision.
///
/// Feed it a [`Snapshot`] of everything and then every [`Batch`] after it. A view of fewer keys (one machine's placements)
/// works as well, and knows only those. Keys and values that cannot be read are kept apart ([`View::unreadable`]).
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Of every key in the store, readable or not.
    mod_revisions: BTreeMap<String, Revision>,
    pub(super) cluster: Cluster,
    pub(super) units: BTreeMap<UnitName, UnitRecord>,
    files: BTreeMap<UnitHash, Arc<StoredFile>>,
    machines: BTreeMap<MachineId, MachineEntry>,
    metadata: BTreeMap<MachineId, BTreeMap<MetadataKey, MetadataRecord>>,
    cordoned: BTreeMap<MachineId, CordonRecord>,
    drained: BTreeMap<MachineId, DrainRecord>,
    given_up: BTreeMap<MachineId, GivenUpRecord>,
    states: BTreeMap<MachineId, BTreeMap<UnitName, UnitState>>,
    leader: Option<(LeaderRecord, Revision)>,
    n_requests: usize,
    pub(super) unreadable: BTreeMap<String, UnreadableReason>,
    // Indexes, each derived from the above.
    file_users: BTreeMap<UnitHash, FileUsers>,
    unused_files: BTreeSet<UnitHash>,
    placed_on: BTreeMap<UnitName, BTreeSet<MachineId>>,
    reported_by: BTreeMap<UnitName, BTreeSet<MachineId>>,
}

/// One unit file, read.
#[derive(Clone, Debug)]
pub struct StoredFile {
    /// As the user wrote it, and as it is hashed.
    pub record: FileRecord,
    /// The canonical form, parsed.
    pub file: UnitFile,
}

/// One machine that is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineEntry {
    /// What it says of itself; [`Cluster::machines`] has the merged metadata.
    pub record: MachineRecord,
    /// The lease it lives on.
    pub lease: Option<LeaseId>,
}

/// Why a key is not part of the picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableReason {
    /// Not a key of the registry, or one of a newer fleet.
    #[error("this fleet does not know such a key")]
    UnknownKey,
    /// The value cannot be read.
    #[error(transparent)]
    Value(#[from] ValueError),
}

#[derive(Clone, Debug, Default)]
struct FileUsers {
    units: BTreeSet<UnitName>,
    placements: BTreeSet<(MachineId, UnitName)>,
}

impl FileUsers {
    fn is_empty(&self) -> bool {
        self.units.is_empty() && self.placements.is_empty()
    }
}

impl View {
    /// The picture that `snapshot` holds.
    #[must_use]
    pub fn from_snapshot(snapshot: &Snapshot) -> View {
        let mut view = View::default();
        view.resync(snapshot);
        view
    }

    /// Takes in the next batch and says which keys changed. A batch that is already part of the picture changes nothing.
    ///
    /// A unit whose file has come or gone is among the changed, too.
    pub fn apply(&mut self, batch: &Batch) -> Vec<Key> {
        if batch.revision <= self.cluster.revision {
            return Vec::new();
        }
        self.cluster.revision = batch.revision;
        self.take_in(&batch.changes)
    }

    /// Takes in a full read after a gap and says which keys are different from before.
    pub fn resync(&mut self, snapshot: &Snapshot) -> Vec<Key> {
        // A store that went back in time (restored from a backup) may give an old revision to a new value.
        let back_in_time = snapshot.revision < self.cluster.revision;
        self.cluster.revision = snapshot.revision;
        let kept: BTreeSet<&str> = snapshot.kvs.iter().map(|kv| kv.key.as_str()).collect();
        let gone = self.mod_revisions.keys().filter(|key| !kept.contains(key.as_str()));
        let gone = gone.map(|key| Change::Delete { key: key.clone(), revision: snapshot.revision });
        let known = |kv: &&KeyValue| self.mod_revisions.get(&kv.key) == Some(&kv.mod_revision);
        let new = snapshot.kvs.iter().filter(|kv| back_in_time || !known(kv));
        let changes: Vec<Change> = gone.chain(new.cloned().map(Change::Put)).collect();
        self.take_in(&changes)
    }

    /// Takes in a transaction as if it had been committed next: for a picture of what would be. Its guards are not looked at.
    pub fn rehearse(&mut self, txn: &Txn) -> Vec<Key> {
        let revision = Revision(self.cluster.revision.0 + 1);
        let change = |write: &Write| match write {
            Write::Put { key, value, lease } => {
                let known = Key::parse(key).and_then(|key| self.created(&key));
                let create_revision = known.unwrap_or(revision);
                let (key, value, lease) = (key.clone(), value.clone(), *lease);
                Change::Put(KeyValue { key, value, create_revision, mod_revision: revision, lease })
            }
            Write::Delete { key } => Change::Delete { key: key.clone(), revision },
        };
        let changes = txn.writes.iter().map(change).collect();
        self.apply(&Batch { revision, changes })
    }

    /// The revision at which a unit was created, the only one of which that is asked.
    fn created(&self, key: &Key) -> Option<Revision> {
        let Key::Unit(name) = key else { return None };
        let (unit, record) = (self.cluster.units.get(name)?, self.units.get(name)?);
        Some(Revision(unit.generation.0 - record.changes))
    }

    /// The revision of this picture.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.cluster.revision
    }

    /// The revision that last wrote a key; `None` if there is no such key.
    #[must_use]
    pub fn mod_revision(&self, key: &Key) -> Option<Revision> {
        self.mod_revisions.get(&key.to_string()).copied()
    }

    /// The picture that decisions are made on.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// All units.
    #[must_use]
    pub fn units(&self) -> &BTreeMap<UnitName, UnitRecord> {
        &self.units
    }

    /// All unit files.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<UnitHash, Arc<StoredFile>> {
        &self.files
    }

    /// The file of a unit, if both are there.
    #[must_use]
    pub fn file_of(&self, unit: &UnitName) -> Option<&Arc<StoredFile>> {
        self.files.get(&self.units.get(unit)?.hash)
    }

    /// All machines that are present.
    #[must_use]
    pub fn machines(&self) -> &BTreeMap<MachineId, MachineEntry> {
        &self.machines
    }

    /// All dynamic metadata, of machines that are not present too.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<MachineId, BTreeMap<MetadataKey, MetadataRecord>> {
        &self.metadata
    }

    /// The machines on which nothing new is placed, those that are not present too.
    #[must_use]
    pub fn cordoned(&self) -> &BTreeMap<MachineId, CordonRecord> {
        &self.cordoned
    }

    /// The machines that are drained, those that are not present too.
    #[must_use]
    pub fn drained(&self) -> &BTreeMap<MachineId, DrainRecord> {
        &self.drained
    }

    /// The machines of which an operator says that they do not come back.
    #[must_use]
    pub fn given_up(&self) -> &BTreeMap<MachineId, GivenUpRecord> {
        &self.given_up
    }

    /// One order, leaving or not.
    #[must_use]
    pub fn placement(&self, machine: &MachineId, unit: &UnitName) -> Option<&Placement> {
        self.cluster.placements.get(machine)?.get(unit)
    }

    /// The machines that a unit is placed on: at most one, unless it is global. Those it is leaving are not among them.
    pub fn placed_on(&self, unit: &UnitName) -> impl Iterator<Item = &MachineId> {
        self.placed_on.get(unit).into_iter().flatten()
    }

    /// What machines have reported, by machine, then unit.
    #[must_use]
    pub fn states(&self) -> &BTreeMap<MachineId, BTreeMap<UnitName, UnitState>> {
        &self.states
    }

    /// What machines have reported about one unit.
    pub fn states_of(&self, unit: &UnitName) -> impl Iterator<Item = (&MachineId, &UnitState)> {
        let machines = self.reported_by.get(unit).into_iter().flatten();
        machines.filter_map(move |machine| Some((machine, self.states.get(machine)?.get(unit)?)))
    }

    /// The engine that leads, and the revision at which it began to.
    #[must_use]
    pub fn leader(&self) -> Option<(&LeaderRecord, Revision)> {
        self.leader.as_ref().map(|(record, since)| (record, *since))
    }

    /// How many pieces of requests that may be sent again are kept. What came of them is read on demand.
    #[must_use]
    pub fn n_requests(&self) -> usize {
        self.n_requests
    }

    /// The keys that could not be read, and why. They can be listed and deleted, and hurt nothing else: in
    /// [`View::cluster`], and only there, a stand-in takes the place of a unit, a placement or a brake.
    #[must_use]
    pub fn unreadable(&self) -> &BTreeMap<String, UnreadableReason> {
        &self.unreadable
    }

    /// The files that no readable unit and no readable placement needs.
    #[must_use]
    pub fn unused_files(&self) -> &BTreeSet<UnitHash> {
        &self.unused_files
    }

    /// Whether `unit` is the only one that needs the file.
    pub(super) fn is_only_user(&self, unit: &UnitName, hash: &UnitHash) -> bool {
        self.file_users
            .get(hash)
            .is_some_and(|users| users.placements.is_empty() && users.units.len() == 1 && users.units.contains(unit))
    }

    /// Files come first, because units of the same transaction need them to be read.
    fn take_in(&mut self, changes: &[Change]) -> Vec<Key> {
        let is_file = |change: &&Change| matches!(Key::parse(change.key()), Some(Key::File(_)));
        let (files, others): (Vec<&Change>, Vec<&Change>) = changes.iter().partition(is_file);
        let mut changed = BTreeSet::new();
        for change in files.into_iter().chain(others) {
            self.take_in_one(change, &mut changed);
        }
        changed.into_iter().collect()
    }

    fn take_in_one(&mut self, change: &Change, changed: &mut BTreeSet<Key>) {
        let (text, kv) = match change {
            Change::Put(kv) => (kv.key.as_str(), Some(kv)),
            Change::Delete { key, .. } => (key.as_str(), None),
        };
        let was_there = self.mod_revisions.contains_key(text);
        match kv {
            Some(kv) => self.mod_revisions.insert(kv.key.clone(), kv.mod_revision),
            None => self.mod_revisions.remove(text),
        };
        self.unreadable.remove(text);
        let Some(key) = Key::parse(text) else {
            if kv.is_some() {
                self.unreadable.insert(text.to_owned(), UnreadableReason::UnknownKey);
            }
            return;
        };
        if let Key::Request(..) = key {
            match (was_there, kv.is_some()) {
                (false, true) => self.n_requests += 1,
                (true, false) => self.n_requests -= 1,
                (true, true) | (false, false) => (),
            }
            return;
        }
        if let Err(err) = self.set(&key, kv, changed) {
            // The old value is not the key's any more, so it goes, as if the key were deleted.
            let gone = self.set(&key, None, changed);
            debug_assert!(gone.is_ok(), "taking a key away reads no value");
            self.unreadable.insert(text.to_owned(), err.into());
        }
        self.stand_in(&key, changed);
        changed.insert(key);
    }

    /// Sets one key to a value or to nothing. Changes nothing if the value cannot be read.
    fn set(&mut self, key: &Key, kv: Option<&KeyValue>, changed: &mut BTreeSet<Key>) -> Result<(), ValueError> {
        fn read<V: Value>(kv: Option<&KeyValue>) -> Result<Option<V>, ValueError> {
            kv.map(|kv| V::decode(&kv.value)).transpose()
        }
        match key {
            Key::Unit(unit) => {
                let created = kv.map(|kv| kv.create_revision).unwrap_or_default();
                self.set_unit(unit, read(kv)?, created);
            }
            Key::File(hash) => self.set_file(hash, read(kv)?, changed)?,
            Key::Machine(machine) => {
                let lease = kv.and_then(|kv| kv.lease);
                match read(kv)? {
                    Some(record) => {
                        self.machines.insert(machine.clone(), MachineEntry { record, lease });
                    }
                    None => {
                        self.machines.remove(machine);
                    }
                }
                self.merge_machine(machine);
            }
            Key::Metadata(machine, name) => {
                set_in(&mut self.metadata, machine, name, read(kv)?);
                self.merge_machine(machine);
            }
            Key::Cordon(machine) => {
                set_one(&mut self.cordoned, machine, read(kv)?);
                self.merge_machine(machine);
            }
            Key::Drain(machine) => {
                set_one(&mut self.drained, machine, read(kv)?);
                self.merge_machine(machine);
            }
            Key::Brake => self.cluster.brake = read(kv)?,
            Key::GivenUp(machine) => {
                let record: Option<GivenUpRecord> = read(kv)?;
                set_one(&mut self.cluster.absent, machine, record.map(|_| Absence::GivenUp));
                set_one(&mut self.given_up, machine, record);
            }
            // Only their revisions count, and those of every key are known; requests were counted already.
            Key::Operators(_) | Key::Request(..) => (),
            Key::Placement(machine, unit) => self.set_placement(machine, unit, read(kv)?),
            Key::State(machine, unit) => {
                let state: Option<UnitState> = read(kv)?;
                set_in(&mut self.cluster.reports, machine, unit, state.as_ref().map(UnitState::report));
                set_flag(&mut self.reported_by, unit, machine, state.is_some());
                set_in(&mut self.states, machine, unit, state);
            }
            Key::Leader => {
                let record = read(kv)?;
                self.leader = record.zip(kv.map(|kv| kv.create_revision));
            }
        }
        Ok(())
    }

    fn set_unit(&mut self, unit: &UnitName, record: Option<UnitRecord>, created: Revision) {
        if let Some(old) = self.units.remove(unit) {
            self.use_file(&old.hash, |users| users.units.remove(unit));
        }
        self.cluster.units.remove(unit);
        let Some(record) = record else {
            return;
        };
        self.use_file(&record.hash, |users| users.units.insert(unit.clone()));
        let requirements = self.requirements(unit, &record.hash);
        self.cluster.units.insert(
            unit.clone(),
            Unit {
                hash: record.hash,
                target: record.target,
                generation: Generation(created.0.saturating_add(record.changes)),
                restarts: record.restarts,
                changed: record.changed,
                requirements,
            },
        );
        self.units.insert(unit.clone(), record);
    }

    pub(super) fn set_placement(&mut self, machine: &MachineId, unit: &UnitName, placement: Option<Placement>) {
        let user = (machine.clone(), unit.clone());
        if let Some(old) = self.placement(machine, unit).map(|old| old.hash) {
            self.use_file(&old, |users| users.placements.remove(&user));
        }
        if let Some(placement) = &placement {
            self.use_file(&placement.hash, |users| users.placements.insert(user));
        }
        set_flag(
            &mut self.placed_on,
            unit,
            machine,
            placement.as_ref().is_some_and(|placement| !placement.is_leaving()),
        );
        set_in(&mut self.cluster.placements, machine, unit, placement);
    }

    fn set_file(
        &mut self,
        hash: &UnitHash,
        record: Option<FileRecord>,
        changed: &mut BTreeSet<Key>,
    ) -> Result<(), ValueError> {
        let old = self.files.get(hash);
        // A file is written again with each unit that shares it; most often it is the same.
        if old.map(|old| &old.record) == record.as_ref() {
            return Ok(());
        }
        // Other comments around the same content, or none at all: then no unit's requirements change.
        let same_content = old.is_some() && record.is_some();
        match record {
            Some(record) => {
                let file = read_file(hash, &record)?;
                self.files.insert(*hash, Arc::new(StoredFile { record, file }));
            }
            None => {
                self.files.remove(hash);
            }
        }
        self.use_file(hash, |_| false);
        if !same_content {
            let users = self.file_users.get(hash).map(|users| users.units.clone());
            for unit in users.unwrap_or_default() {
                let requirements = self.requirements(&unit, hash);
                if let Some(derived) = self.cluster.units.get_mut(&unit) {
                    derived.requirements = requirements;
                    changed.insert(Key::Unit(unit));
                }
            }
        }
        Ok(())
    }

    /// Changes the users of a file, and keeps the index of files without any.
    fn use_file(&mut self, hash: &UnitHash, change: impl FnOnce(&mut FileUsers) -> bool) {
        let users = self.file_users.entry(*hash).or_default();
        change(users);
        let unused = users.is_empty();
        if unused {
            self.file_users.remove(hash);
        }
        if unused && self.files.contains_key(hash) {
            self.unused_files.insert(*hash);
        } else {
            self.unused_files.remove(hash);
        }
    }

    pub(super) fn requirements(&self, unit: &UnitName, hash: &UnitHash) -> Arc<Requirements> {
        Arc::new(match self.files.get(hash) {
            Some(stored) => Requirements::of(unit, &stored.file),
            // It must wait, and not run anywhere at all: its constraints are not known.
            None => Requirements {
                never: vec![format!("its unit file {hash} is not in the store or cannot be read")],
                ..Requirements::default()
            },
        })
    }

    /// Lays the dynamic metadata of a machine over its static.
    fn merge_machine(&mut self, machine: &MachineId) {
        let Some(MachineEntry { record, .. }) = self.machines.get(machine) else {
            self.cluster.machines.remove(machine);
            return;
        };
        let mut metadata = record.metadata.clone();
        for (name, value) in self.metadata.get(machine).into_iter().flatten() {
            match value {
                MetadataRecord::Set(value) => metadata.insert(name.to_string(), value.clone()),
                MetadataRecord::Removed => metadata.remove(name.as_str()),
            };
        }
        let cordoned = self.cordoned.contains_key(machine);
        let leaving = || record.leaving.then_some(Drain { max_at_once: LEAVE_MAX_AT_ONCE });
        let draining = self.drained.get(machine).map(DrainRecord::drain).or_else(leaving);
        let (public_ip, version) = (record.public_ip.clone(), record.version.clone());
        self.cluster.machines.insert(machine.clone(), Machine { public_ip, metadata, version, cordoned, draining });
    }
}

fn read_file(hash: &UnitHash, record: &FileRecord) -> Result<UnitFile, ValueError> {
    let actual = record.hash();
    if actual != *hash {
        let reason = format!("its hash is {actual}, not that of its key");
        return Err(ValueError::Field { field: "canonical", reason });
    }
    UnitFile::parse(&record.canonical).map_err(|err| ValueError::Field { field: "canonical", reason: err.to_string() })
}

fn set_one<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, key: &K, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key.clone(), value)),
        None => drop(map.remove(key)),
    }
}

/// Sets or takes away an entry of a map of maps, in which no inner map is empty.
fn set_in<A: Ord + Clone, B: Ord + Clone, V>(
    map: &mut BTreeMap<A, BTreeMap<B, V>>,
    outer: &A,
    inner: &B,
    value: Option<V>,
) {
    match value {
        Some(value) => {
            map.entry(outer.clone()).or_default().insert(inner.clone(), value);
        }
        None => {
            if let Some(entries) = map.get_mut(outer) {
                entries.remove(inner);
                if entries.is_empty() {
                    map.remove(outer);
                }
            }
        }
    }
}

fn set_flag<A: Ord + Clone, B: Ord + Clone>(map: &mut BTreeMap<A, BTreeSet<B>>, outer: &A, inner: &B, present: bool) {
    if present {
        map.entry(outer.clone()).or_default().insert(inner.clone());
    } else if let Some(entries) = map.get_mut(outer) {
        entries.remove(inner);
        if entries.is_empty() {
            map.remove(outer);
        }
    }
}
