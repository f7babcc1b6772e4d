//! Backups of the registry: what belongs in one, and which writes make a cluster what it was. Pure, as [`super::ops`].
//!
//! What lives on a lease (machines, states, the lead) is said anew by those who say it, and is in no backup. Units that are the same
//! are left alone, so that whatever runs of them runs on. Where a unit runs is restored only where nothing has a placement
//! yet, which is when the store was lost: else the engine decides, for placements of two times might contradict each other.
//!
//! A unit that is created keeps at least the generation that it had: machines that still have it refuse older orders. It is the
//! very same one if the store is young enough and nobody else writes meanwhile, and then nothing is asked of a machine that has the
//! unit as it is to be.

use std::collections::{BTreeMap, BTreeSet};

use fleet_core::model::{Generation, Timestamp};
use fleet_core::unit::UnitName;

use super::record::UnitRecord;
use super::{Key, UnreadableReason, Value, View, ops};
use crate::{Guard, KeyValue, Revision, Snapshot, Txn, Write};

/// A key of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedKey {
    /// The key.
    pub key: String,
    /// The value's bytes.
    pub value: Vec<u8>,
    /// Of a unit: its generation.
    pub generation: Option<Generation>,
}

/// Why a backup cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SavedError {
    /// A key that does not belong in a backup, or that this fleet does not know.
    #[error("`{key}` is no key of a backup")]
    Key {
        /// Which.
        key: String,
    },
    /// A key that is there twice.
    #[error("`{key}` is there twice")]
    Twice {
        /// Which.
        key: String,
    },
    /// A value that cannot be read.
    #[error("the value of `{key}` cannot be read: {reason}")]
    Value {
        /// Whose.
        key: String,
        /// Why not.
        reason: UnreadableReason,
    },
    /// A unit or placement without its file.
    #[error("`{key}` needs the file {hash}, which is not there")]
    NoFile {
        /// Which.
        key: String,
        /// The file.
        hash: String,
    },
    /// A placement of a unit that is not there.
    #[error("`{key}` is the placement of a unit that is not there")]
    NoUnit {
        /// Which.
        key: String,
    },
}

/// A backup that was checked: everything in it can be read and belongs together.
#[derive(Clone, Debug)]
pub struct Saved {
    view: View,
    values: BTreeMap<Key, Vec<u8>>,
    generations: BTreeMap<UnitName, Generation>,
}

/// Whether a key belongs in a backup.
#[must_use]
pub fn is_kept(key: &Key) -> bool {
    match key {
        Key::Unit(_)
        | Key::File(_)
        | Key::Metadata(..)
        | Key::Cordon(_)
        | Key::Drain(_)
        | Key::GivenUp(_)
        | Key::Placement(..)
        | Key::Brake => true,
        // What operators said is kept; that they said something is written anew with each of it.
        Key::Operators(_) | Key::Machine(_) | Key::State(..) | Key::Leader | Key::Request(..) => false,
    }
}

impl Saved {
    /// Checks a backup.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn check(keys: impl IntoIterator<Item = SavedKey>) -> Result<Saved, Vec<SavedError>> {
        let (mut values, mut generations, mut errors) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let mut kvs = Vec::new();
        for SavedKey { key, value, generation } in keys {
            let Some(parsed) = Key::parse(&key).filter(is_kept) else {
                errors.push(SavedError::Key { key });
                continue;
            };
            if let (Key::Unit(unit), Some(generation)) = (&parsed, generation) {
                generations.insert(unit.clone(), generation);
            }
            let revision = Revision(1);
            kvs.push(KeyValue {
                key: key.clone(),
                value: value.clone(),
                create_revision: revision,
                mod_revision: revision,
                lease: None,
            });
            if values.insert(parsed, value).is_some() {
                errors.push(SavedError::Twice { key });
            }
        }
        let view = View::from_snapshot(&Snapshot { kvs, revision: Revision(1) });
        let unreadable = view.unreadable().iter();
        errors.extend(unreadable.map(|(key, reason)| SavedError::Value { key: key.clone(), reason: reason.clone() }));
        let units = view.units().iter().map(|(unit, record)| (Key::Unit(unit.clone()), unit, record.hash));
        let placed = view.cluster().placements.iter().flat_map(|(machine, placed)| {
            // What is only told to go needs no unit and no file any more.
            let stays = placed.iter().filter(|(_, order)| !order.is_leaving());
            stays.map(move |(unit, order)| (Key::Placement(machine.clone(), unit.clone()), unit, order.hash))
        });
        for (key, unit, hash) in units.chain(placed) {
            if !view.files().contains_key(&hash) {
                errors.push(SavedError::NoFile { key: key.to_string(), hash: hash.to_string() });
            }
            if !view.units().contains_key(unit) {
                errors.push(SavedError::NoUnit { key: key.to_string() });
            }
        }
        if errors.is_empty() { Ok(Saved { view, values, generations }) } else { Err(errors) }
    }

    /// The units.
    #[must_use]
    pub fn units(&self) -> &BTreeMap<UnitName, UnitRecord> {
        self.view.units()
    }

    /// The given-up machines of the backup that are present, and so are not given up.
    pub fn back<'a>(&'a self, now: &'a View) -> impl Iterator<Item = String> + 'a {
        self.view.given_up().keys().filter(|id| now.machines().contains_key(*id)).map(ToString::to_string)
    }
}

/// Whether there is nothing that a restore would overwrite.
#[must_use]
pub fn is_empty(now: &View) -> bool {
    now.units().is_empty()
        && has_no_placement(now)
        && now.metadata().is_empty()
        && now.cordoned().is_empty()
        && now.drained().is_empty()
        && now.given_up().is_empty()
        && now.unreadable().is_empty()
}

/// Whether nothing is placed anywhere, so that the backup's placements can be restored.
#[must_use]
pub fn has_no_placement(now: &View) -> bool {
    now.cluster().placements.is_empty()
}

/// One step of a restore: what is to be written together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it is about: a unit, or another key.
    pub key: Key,
    /// How.
    pub change: StepChange,
    /// The writes, guarded by what they were decided on.
    pub txn: Txn,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepChange {
    /// Writes a key that is not there.
    Create,
    /// Writes a key that is there with something else.
    Change,
    /// Removes a key.
    Remove,
}

/// What is still different from the backup, step by step, units before placements; nothing once all is restored.
///
/// `next` is the revision that the next write is expected to have. `placements` says whether placements are restored, and the
/// brake with them. Whoever carries the steps out has to hold the lead, so that no engine acts on a part of them.
#[must_use]
pub fn steps(now: &View, saved: &Saved, placements: bool, next: Revision, at: Timestamp) -> Vec<Step> {
    let was = &saved.view;
    let mut steps: Vec<Step> =
        was.units().iter().filter_map(|(unit, wanted)| unit_step(now, saved, unit, wanted, next, at)).collect();
    for unit in now.units().keys().filter(|unit| !was.units().contains_key(*unit)) {
        if let Ok(txn) = ops::destroy(now, unit) {
            steps.push(Step { key: Key::Unit(unit.clone()), change: StepChange::Remove, txn });
        }
    }
    for key in different(now, was) {
        let mut txn = Txn { guards: vec![guard(now, &key)], writes: vec![write(saved, &key)] };
        if let Key::GivenUp(machine) = &key {
            txn.guards.push(Guard::Absent(Key::Machine(machine.clone()).to_string()));
        }
        if let Key::Metadata(machine, _) | Key::Cordon(machine) | Key::Drain(machine) | Key::GivenUp(machine) = &key {
            txn.writes.push(ops::said(machine, at));
        }
        steps.push(Step { change: change(now, saved, &key), key, txn });
    }
    if placements {
        let orders = saved.values.keys().filter(|key| matches!(key, Key::Placement(..)));
        let missing = orders.filter(|key| now.mod_revision(key).is_none()).cloned();
        let brake = (was.cluster().brake != now.cluster().brake).then_some(Key::Brake);
        for key in missing.chain(brake) {
            let mut txn = Txn { guards: vec![guard(now, &key)], writes: vec![write(saved, &key)] };
            // An order may be for an older file than its unit's.
            txn.writes.extend(file_of_order(was, &key).map(|file| write(saved, &file)));
            steps.push(Step { change: change(now, saved, &key), key, txn });
        }
    }
    steps
}

/// A unit that is not as it was.
fn unit_step(
    now: &View,
    saved: &Saved,
    unit: &UnitName,
    wanted: &UnitRecord,
    next: Revision,
    at: Timestamp,
) -> Option<Step> {
    let key = Key::Unit(unit.clone());
    let mut record = wanted.clone();
    record.changed = at;
    match now.units().get(unit) {
        Some(there) if there.hash == wanted.hash && there.target == wanted.target => return None,
        Some(there) => {
            record.changes = there.changes + 1;
            record.restarts = there.restarts;
        }
        None => {
            let generation = saved.generations.get(unit).map_or(0, |generation| generation.0);
            record.changes = generation.saturating_sub(next.0);
        }
    }
    let unit_write = Write::Put { key: key.to_string(), value: record.encode(), lease: None };
    // The file is written even if it is there, which keeps it from being collected as unused: see `ops`.
    let txn = Txn { guards: vec![guard(now, &key)], writes: vec![unit_write, write(saved, &Key::File(wanted.hash))] };
    Some(Step { change: change(now, saved, &key), key, txn })
}

/// The keys of operators that are not as they were, and those of which nobody can read how they are.
fn different(now: &View, was: &View) -> BTreeSet<Key> {
    let mut keys = BTreeSet::new();
    for view in [was, now] {
        for (machine, names) in view.metadata() {
            for name in names.keys() {
                let value = |view: &View| view.metadata().get(machine).and_then(|names| names.get(name)).cloned();
                if value(was) != value(now) {
                    keys.insert(Key::Metadata(machine.clone(), name.clone()));
                }
            }
        }
        for machine in view.cordoned().keys() {
            if was.cordoned().get(machine) != now.cordoned().get(machine) {
                keys.insert(Key::Cordon(machine.clone()));
            }
        }
        for machine in view.drained().keys() {
            if was.drained().get(machine) != now.drained().get(machine) {
                keys.insert(Key::Drain(machine.clone()));
            }
        }
        // One that is present is not given up, whatever was said of it once.
        for machine in view.given_up().keys().filter(|machine| !now.machines().contains_key(*machine)) {
            if was.given_up().get(machine) != now.given_up().get(machine) {
                keys.insert(Key::GivenUp(machine.clone()));
            }
        }
    }
    let unreadable = now.unreadable().keys().filter_map(|key| Key::parse(key)).filter(is_kept);
    // Units and placements among them are written by steps of their own, if the backup has them.
    keys.extend(unreadable.filter(|key| match key {
        Key::Unit(unit) => !was.units().contains_key(unit),
        Key::Placement(machine, unit) => was.placement(machine, unit).is_none(),
        _ => true,
    }));
    keys
}

/// The file that an order needs.
fn file_of_order(was: &View, key: &Key) -> Option<Key> {
    let Key::Placement(machine, unit) = key else { return None };
    was.placement(machine, unit).map(|order| Key::File(order.hash))
}

/// What the backup says of a key.
fn write(saved: &Saved, key: &Key) -> Write {
    match saved.values.get(key) {
        Some(value) => Write::Put { key: key.to_string(), value: value.clone(), lease: None },
        None => Write::Delete { key: key.to_string() },
    }
}

fn change(now: &View, saved: &Saved, key: &Key) -> StepChange {
    match (saved.values.contains_key(key), now.mod_revision(key)) {
        (false, _) => StepChange::Remove,
        (true, None) => StepChange::Create,
        (true, Some(_)) => StepChange::Change,
    }
}

/// That the key is as the view has it.
fn guard(now: &View, key: &Key) -> Guard {
    match now.mod_revision(key) {
        Some(seen) => Guard::ModRevision(key.to_string(), seen),
        None => Guard::Absent(key.to_string()),
    }
}
