//! Transactions from a view and a wish. Pure: a function here reads the view and writes nothing.
//!
//! Every transaction is guarded by what it was decided on, so it is carried out on exactly that or not at all
//! ([`crate::TxnOutcome::Conflict`]: bring the view up to date and decide again).
//!
//! # Unit files are shared, and collected
//! A transaction that gives a unit a file always writes the file, even if it is there: that raises the file's revision, and
//! whoever is about to delete the file as unused, guarded by the revision it saw, loses. The reverse order is harmless too,
//! because the file comes back with the unit. What falls through (a unit and its placement going at the same time) is found
//! by the leader, through [`unused_files`]. While anything in the store cannot be read, nothing is collected: a value of a
//! newer fleet may need any file.
//!
//! # Generations
//! An agent refuses an older generation than it has seen, so a unit that is destroyed and created again must not begin at
//! one. Nor can the one who creates it say where it begins: its view may be older than the destruction. So a generation is the
//! number of changes since the unit was created, which is written, and the revision at which it was created, which the store
//! says. Each change raises the store's revision by at least one, so a generation is never above the revision of the unit's
//! last write, and a successor's is always higher.

use std::collections::{BTreeMap, BTreeSet};

use fleet_core::model::{Brake, MachineId, Placement, TargetState, Timestamp, UnitState};
use fleet_core::unit::{Form, UnitFile, UnitHash, UnitName};

use super::record::{
    CordonRecord, DrainRecord, FileRecord, GivenUpRecord, LeaderRecord, MachineRecord, MetadataRecord, OperatorsRecord,
    RequestRecord, Rest, TemplateRef, UnitRecord,
};
use super::{Key, MetadataKey, RequestId, Value, View};
use crate::{Guard, LeaseId, Revision, StoreError, TXN_BYTES_MAX, TXN_OPS_MAX, Txn, Write};

/// Why a wish cannot become a transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpsError {
    /// Create: there is one.
    #[error("unit `{unit}` exists already")]
    UnitExists {
        /// Which unit.
        unit: UnitName,
    },
    /// Everything else: there is none.
    #[error("unit `{unit}` does not exist")]
    NoUnit {
        /// Which unit.
        unit: UnitName,
    },
    /// A template is never loaded or launched. The words are the original's.
    #[error("cannot activate template \"{unit}\"")]
    Template {
        /// Which template.
        unit: UnitName,
    },
    /// The key holds something this fleet cannot read, so nothing can be built on it; only [`destroy`] helps.
    #[error("the store's value of `{key}` cannot be read: {reason}")]
    Unreadable {
        /// Which key.
        key: Key,
        /// Why not.
        reason: String,
    },
    /// A placement says `inactive`: the wish should have been to have none.
    #[error("unit `{unit}` cannot be placed as `inactive`")]
    InactivePlacement {
        /// Which unit.
        unit: UnitName,
    },
    /// One indivisible wish is over a store's limits, such as a unit file that is too long.
    #[error("this cannot be stored in one piece: {0}")]
    TooBig(StoreError),
}

/// A unit as a user gives it.
#[derive(Clone, Debug)]
pub struct NewUnit<'a> {
    /// Its name.
    pub name: &'a UnitName,
    /// The text as the user wrote it.
    pub original: &'a str,
    /// The same, parsed.
    pub file: &'a UnitFile,
    /// How far to take it.
    pub target: TargetState,
    /// The template it is made from, if it is.
    pub template: Option<TemplateRef>,
}

/// One change of a placement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementChange {
    /// Where.
    pub machine: MachineId,
    /// What.
    pub unit: UnitName,
    /// The new order; `None` takes the placement away.
    pub placement: Option<Placement>,
}

/// Creates a unit, if there is none of that name.
///
/// # Errors
/// [`OpsError::UnitExists`], [`OpsError::Template`], [`OpsError::TooBig`].
pub fn create_unit(view: &View, new: &NewUnit<'_>, now: Timestamp) -> Result<Txn, OpsError> {
    let key = Key::Unit(new.name.clone());
    if view.mod_revision(&key).is_some() {
        readable(view, &key)?;
        return Err(OpsError::UnitExists { unit: new.name.clone() });
    }
    let record = UnitRecord {
        hash: new.file.hash(),
        target: new.target,
        changes: 0,
        restarts: 0,
        changed: now,
        template: new.template.clone(),
        rest: Rest::default(),
    };
    activatable(new.name, new.target)?;
    let mut txn = Txn::default();
    txn.guards.push(Guard::Absent(key.to_string()));
    txn.writes.push(put(&key, &record, None));
    txn.writes.push(put_file(new));
    sized(txn)
}

/// Gives a unit another file and target state, and collects the old file if nobody else needs it.
///
/// # Errors
/// [`OpsError::NoUnit`], [`OpsError::Unreadable`], [`OpsError::Template`], [`OpsError::TooBig`].
pub fn replace_unit(view: &View, new: &NewUnit<'_>, now: Timestamp) -> Result<Txn, OpsError> {
    activatable(new.name, new.target)?;
    let old_hash = existing(view, new.name)?.0.hash;
    let mut txn = change_unit(view, new.name, now, |record| {
        record.hash = new.file.hash();
        record.target = new.target;
        record.template.clone_from(&new.template);
        record.changes += 1;
    })?;
    txn.writes.push(put_file(new));
    if old_hash != new.file.hash() {
        collect(view, new.name, &old_hash, &mut txn);
    }
    sized(txn)
}

/// Sets how far a unit is to be taken. Asking again for what it has is a new generation too: a request to start.
///
/// # Errors
/// [`OpsError::NoUnit`], [`OpsError::Unreadable`], [`OpsError::Template`].
pub fn set_target(view: &View, unit: &UnitName, target: TargetState, now: Timestamp) -> Result<Txn, OpsError> {
    activatable(unit, target)?;
    change_unit(view, unit, now, |record| {
        record.target = target;
        record.changes += 1;
    })
}

/// Asks for a restart in place. The generation stays: what is wanted of the unit is the same.
///
/// # Errors
/// [`OpsError::NoUnit`], [`OpsError::Unreadable`].
pub fn restart(view: &View, unit: &UnitName, now: Timestamp) -> Result<Txn, OpsError> {
    change_unit(view, unit, now, |record| record.restarts += 1)
}

/// Destroys a unit, readable or not, and collects its file if nobody else needs it.
///
/// # Errors
/// [`OpsError::NoUnit`].
pub fn destroy(view: &View, unit: &UnitName) -> Result<Txn, OpsError> {
    let key = Key::Unit(unit.clone());
    let seen = view.mod_revision(&key).ok_or_else(|| OpsError::NoUnit { unit: unit.clone() })?;
    let mut txn = Txn::default();
    txn.guards.push(Guard::ModRevision(key.to_string(), seen));
    txn.writes.push(delete(&key));
    if let Some(record) = view.units().get(unit) {
        collect(view, unit, &record.hash, &mut txn);
    }
    Ok(txn)
}

/// Changes placements that belong together: all at one revision, or none.
///
/// Each is guarded by the placement as the view has it, and a put also by the unit it was decided for. What is changed about
/// a machine that the view does not show is guarded by its absence: if it is back, nothing may be started in its stead.
/// So is taking away what is not there, which changes nothing: a watch that lost an event may have kept it from the view.
///
/// # Errors
/// [`OpsError::NoUnit`] (but for one that stops on its way out), [`OpsError::InactivePlacement`], [`OpsError::TooBig`] for
/// more than fit one transaction.
pub fn change_placements(view: &View, changes: &[PlacementChange]) -> Result<Txn, OpsError> {
    let mut txn = Txn::default();
    let (mut guarded, mut absent) = (BTreeSet::new(), BTreeSet::new());
    for PlacementChange { machine, unit, placement } in changes {
        let key = Key::Placement(machine.clone(), unit.clone());
        let unit_key = Key::Unit(unit.clone());
        let seen = view.mod_revision(&key);
        let guard = match seen {
            Some(seen) => Guard::ModRevision(key.to_string(), seen),
            None => Guard::Absent(key.to_string()),
        };
        let is_absent = seen.is_some() && !view.machines().contains_key(machine);
        if is_absent && absent.insert(machine) {
            txn.guards.push(Guard::Absent(Key::Machine(machine.clone()).to_string()));
        }
        match placement {
            Some(placement) => {
                if placement.target == TargetState::Inactive {
                    return Err(OpsError::InactivePlacement { unit: unit.clone() });
                }
                // One that cannot be read has a stand-in.
                let unit_guard = match view.mod_revision(&unit_key) {
                    Some(seen) => Guard::ModRevision(unit_key.to_string(), seen),
                    // What stops on its way out may be destroyed already.
                    None if placement.is_stop() => Guard::Absent(unit_key.to_string()),
                    None => return Err(OpsError::NoUnit { unit: unit.clone() }),
                };
                if guarded.insert(unit) {
                    txn.guards.push(unit_guard);
                }
                txn.guards.push(guard);
                txn.writes.push(put(&key, placement, None));
            }
            None => {
                txn.guards.push(guard);
                txn.writes.push(delete(&key));
            }
        }
    }
    sized(txn)
}

/// Deletes the files that nobody needs, one transaction each (for [`batch`]); the leader does this now and then.
#[must_use]
pub fn unused_files(view: &View) -> Vec<Txn> {
    let unused = view.unused_files().iter().filter(|_| view.unreadable().is_empty());
    let keys = unused.map(|hash| Key::File(*hash));
    let delete_seen = |key: Key| {
        let seen = view.mod_revision(&key)?;
        Some(Txn { guards: vec![Guard::ModRevision(key.to_string(), seen)], writes: vec![delete(&key)] })
    };
    keys.filter_map(delete_seen).collect()
}

/// Sets (`Some`) or removes (`None`) dynamic metadata, all at once. Of several changes of one key the last counts.
///
/// As in the original an empty value is a removal, and a removed key hides the static value.
///
/// # Errors
/// [`OpsError::TooBig`] for more than fit one transaction.
pub fn set_metadata(changes: &[(MachineId, MetadataKey, Option<String>)], now: Timestamp) -> Result<Txn, OpsError> {
    let (mut last, mut machines) = (BTreeMap::new(), BTreeSet::new());
    for (machine, name, value) in changes {
        machines.insert(machine);
        let record = match value.as_deref() {
            None | Some("") => MetadataRecord::Removed,
            Some(value) => MetadataRecord::Set(value.to_owned()),
        };
        last.insert(Key::Metadata(machine.clone(), name.clone()), record);
    }
    let writes = last.iter().map(|(key, record)| put(key, record, None));
    let writes = writes.chain(machines.into_iter().map(|machine| said(machine, now))).collect();
    sized(Txn { guards: Vec::new(), writes })
}

/// Cordons a machine; if it is drained that ends, and what is left stays. It need not be present.
#[must_use]
pub fn cordon(machine: &MachineId, record: &CordonRecord) -> Txn {
    let cordon = put(&Key::Cordon(machine.clone()), record, None);
    let writes = vec![cordon, delete(&Key::Drain(machine.clone())), said(machine, record.since)];
    Txn { guards: Vec::new(), writes }
}

/// Drains a machine, which cordons it as well, or changes how. It need not be present.
#[must_use]
pub fn drain(machine: &MachineId, record: &DrainRecord) -> Txn {
    let writes = vec![put(&Key::Drain(machine.clone()), record, None), said(machine, record.since)];
    Txn { guards: Vec::new(), writes }
}

/// Takes back that a machine is cordoned or drained. It need not be present.
#[must_use]
pub fn uncordon(machine: &MachineId, now: Timestamp) -> Txn {
    let (cordon, drain) = (Key::Cordon(machine.clone()), Key::Drain(machine.clone()));
    let writes = vec![delete(&cordon), delete(&drain), said(machine, now)];
    Txn { guards: Vec::new(), writes }
}

/// Writes the brake (`Some`) or takes it away (`None`); only the leader does, guarded by its [`fence`].
#[must_use]
pub fn brake(brake: Option<&Brake>) -> Txn {
    let write = match brake {
        Some(brake) => put(&Key::Brake, brake, None),
        None => delete(&Key::Brake),
    };
    Txn { guards: Vec::new(), writes: vec![write] }
}

/// Gives a machine up, which must not be present, so that all its orders go at once: the operator knows that it is off.
///
/// This ends when the machine is announced again.
#[must_use]
pub fn give_up(machine: &MachineId, record: &GivenUpRecord) -> Txn {
    Txn {
        guards: vec![Guard::Absent(Key::Machine(machine.clone()).to_string())],
        writes: vec![put(&Key::GivenUp(machine.clone()), record, None), said(machine, record.since)],
    }
}

/// Says that a machine is present, as long as its lease lives; `seen` is the revision of its record that may be replaced,
/// `None` if there is none. So of two machines with one ID only one gets in. A machine that was given up is not any more.
///
/// # Errors
/// [`OpsError::TooBig`] for metadata that do not fit.
pub fn announce(
    machine: &MachineId,
    record: &MachineRecord,
    lease: LeaseId,
    seen: Option<Revision>,
) -> Result<Txn, OpsError> {
    let key = Key::Machine(machine.clone());
    let guard = match seen {
        Some(seen) => Guard::ModRevision(key.to_string(), seen),
        None => Guard::Absent(key.to_string()),
    };
    let writes = vec![put(&key, record, Some(lease)), delete(&Key::GivenUp(machine.clone()))];
    sized(Txn { guards: vec![guard], writes })
}

/// Takes back that a machine is present, if its record is still of that revision. `given_up`: its orders shall go at once,
/// because nothing of it runs any more.
#[must_use]
pub fn withdraw(machine: &MachineId, record: Revision, given_up: Option<&GivenUpRecord>) -> Txn {
    let key = Key::Machine(machine.clone());
    let given_up = given_up.map(|record| put(&Key::GivenUp(machine.clone()), record, None));
    Txn {
        guards: vec![Guard::ModRevision(key.to_string(), record)],
        writes: std::iter::once(delete(&key)).chain(given_up).collect(),
    }
}

/// By what a machine is present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The lease that its record and its states live on.
    pub lease: LeaseId,
    /// The revision of its record: another one is of another `fleetd`, or of this one with other metadata.
    pub record: Revision,
}

/// Reports (`Some`) or takes back (`None`) unit states of a machine, in as few transactions as possible.
///
/// Each is guarded by the machine's record: a store that is slow may carry out the report of a `fleetd` that is gone after
/// those of the one that took its place.
///
/// # Errors
/// [`OpsError::TooBig`] for one state that does not fit.
pub fn report_states<'a>(
    machine: &MachineId,
    states: impl IntoIterator<Item = (&'a UnitName, Option<&'a UnitState>)>,
    seat: Seat,
) -> Result<Vec<Txn>, OpsError> {
    let write = |(unit, state): (&UnitName, Option<&UnitState>)| {
        let key = Key::State(machine.clone(), unit.clone());
        let write = match state {
            Some(state) => put(&key, state, Some(seat.lease)),
            None => delete(&key),
        };
        Txn { guards: Vec::new(), writes: vec![write] }
    };
    let guard = Guard::ModRevision(Key::Machine(machine.clone()).to_string(), seat.record);
    batch(Some(&guard), states.into_iter().map(write))
}

/// Takes the lead, if nobody has it. The revision at which this is committed makes the [`fence`].
#[must_use]
pub fn take_lead(record: &LeaderRecord, lease: LeaseId) -> Txn {
    Txn { guards: vec![Guard::Absent(Key::Leader.to_string())], writes: vec![put(&Key::Leader, record, Some(lease))] }
}

/// What all writes of a leader are guarded by: that it still leads. A paused ex-leader can write nothing.
#[must_use]
pub fn fence(since: Revision) -> Guard {
    Guard::CreateRevision(Key::Leader.to_string(), since)
}

/// Holds as long as the unit is as the view has it, or as long as there still is none.
#[must_use]
pub fn unit_as_seen(view: &View, unit: &UnitName) -> Guard {
    as_seen(view, &Key::Unit(unit.clone()))
}

/// Holds as long as operators say of the machine what the view has. Each of their changes raises the revision of that.
#[must_use]
pub fn machine_as_seen(view: &View, machine: &MachineId) -> Guard {
    as_seen(view, &Key::Operators(machine.clone()))
}

/// Keeps a piece of what came of a request, to be written with its effects; fails if another has written that piece.
#[must_use]
pub fn keep_request(request: &RequestId, piece: u32, record: &RequestRecord, lease: LeaseId) -> Txn {
    let key = Key::Request(request.clone(), piece);
    Txn { guards: vec![Guard::Absent(key.to_string())], writes: vec![put(&key, record, Some(lease))] }
}

/// Room in a transaction that is left for what is added to it later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Operations: guards and writes each.
    pub ops: usize,
    /// Bytes of keys and values.
    pub bytes: usize,
}

/// Packs groups into as few transactions as the limits allow, in their order, without splitting one; `fence` guards each.
///
/// Guards and writes that several groups share are kept once (units made from one template all write its file). A group that
/// writes a key otherwise than an earlier one begins a new transaction.
///
/// # Errors
/// [`OpsError::TooBig`] if one group alone is over a limit.
pub fn batch(fence: Option<&Guard>, groups: impl IntoIterator<Item = Txn>) -> Result<Vec<Txn>, OpsError> {
    Ok(pack(fence, Room::default(), groups)?.into_iter().map(|(txn, _)| txn).collect())
}

/// The same, with room left in each, and how many of the groups are in each transaction. Groups that write nothing are in none,
/// but counted with their neighbors.
///
/// # Errors
/// As [`batch`].
pub fn pack(
    fence: Option<&Guard>,
    room: Room,
    groups: impl IntoIterator<Item = Txn>,
) -> Result<Vec<(Txn, usize)>, OpsError> {
    let mut txns = Vec::new();
    let mut open = Packing::new(fence, room);
    for group in groups {
        if !open.fits(&group) {
            txns.extend(std::mem::replace(&mut open, Packing::new(fence, room)).finish());
        }
        if !open.fits(&group) {
            let mut alone = group;
            alone.guards.extend(fence.cloned());
            let too_large = StoreError::TooLarge { bytes: alone.bytes() + room.bytes };
            return Err(OpsError::TooBig(alone.check().err().unwrap_or(too_large)));
        }
        open.add(group);
    }
    txns.extend(open.finish());
    Ok(txns)
}

/// A transaction being filled, with what it holds so far.
struct Packing {
    txn: Txn,
    n_groups: usize,
    guards: BTreeSet<String>,
    /// Where in `txn.writes` each key is written.
    keys: BTreeMap<String, usize>,
    bytes: usize,
    room: Room,
}

impl Packing {
    fn new(fence: Option<&Guard>, room: Room) -> Packing {
        let txn = Txn { guards: fence.cloned().into_iter().collect(), writes: Vec::new() };
        let (guards, bytes) = (txn.guards.iter().map(identity).collect(), txn.bytes());
        Packing { txn, n_groups: 0, guards, keys: BTreeMap::new(), bytes, room }
    }

    /// Those of the group's writes that are not in the transaction already; `None` if it writes a key otherwise.
    fn new_writes<'g>(&self, group: &'g Txn) -> Option<Vec<&'g Write>> {
        let mut new = Vec::new();
        for write in &group.writes {
            match self.keys.get(write.key()) {
                None => new.push(write),
                Some(&idx) if self.txn.writes[idx] == *write => (),
                Some(_) => return None,
            }
        }
        Some(new)
    }

    fn fits(&self, group: &Txn) -> bool {
        if group.writes.is_empty() {
            return true;
        }
        let Some(new_writes) = self.new_writes(group) else { return false };
        let new_guards = group.guards.iter().filter(|guard| !self.guards.contains(&identity(guard)));
        self.txn.guards.len() + new_guards.count() + self.room.ops <= TXN_OPS_MAX
            && self.txn.writes.len() + new_writes.len() + self.room.ops <= TXN_OPS_MAX
            && self.bytes + group.bytes() + self.room.bytes <= TXN_BYTES_MAX
    }

    fn add(&mut self, group: Txn) {
        self.n_groups += 1;
        if group.writes.is_empty() {
            return;
        }
        let new: Vec<Write> = self.new_writes(&group).unwrap_or_default().into_iter().cloned().collect();
        for write in new {
            self.keys.insert(write.key().to_owned(), self.txn.writes.len());
            self.txn.writes.push(write);
        }
        for guard in group.guards {
            if self.guards.insert(identity(&guard)) {
                self.txn.guards.push(guard);
            }
        }
        self.bytes = self.txn.bytes();
    }

    fn finish(self) -> Option<(Txn, usize)> {
        (!self.txn.writes.is_empty()).then_some((self.txn, self.n_groups))
    }
}

/// Tells guards apart.
fn identity(guard: &Guard) -> String {
    format!("{guard:?}")
}

fn change_unit(
    view: &View,
    unit: &UnitName,
    now: Timestamp,
    change: impl FnOnce(&mut UnitRecord),
) -> Result<Txn, OpsError> {
    let (record, seen) = existing(view, unit)?;
    let mut record = record.clone();
    record.changed = now;
    change(&mut record);
    let key = Key::Unit(unit.clone());
    Ok(Txn { guards: vec![Guard::ModRevision(key.to_string(), seen)], writes: vec![put(&key, &record, None)] })
}

fn existing<'v>(view: &'v View, unit: &UnitName) -> Result<(&'v UnitRecord, Revision), OpsError> {
    let key = Key::Unit(unit.clone());
    readable(view, &key)?;
    let found = view.units().get(unit).zip(view.mod_revision(&key));
    found.ok_or_else(|| OpsError::NoUnit { unit: unit.clone() })
}

fn readable(view: &View, key: &Key) -> Result<(), OpsError> {
    match view.unreadable().get(&key.to_string()) {
        Some(reason) => Err(OpsError::Unreadable { key: key.clone(), reason: reason.to_string() }),
        None => Ok(()),
    }
}

fn activatable(unit: &UnitName, target: TargetState) -> Result<(), OpsError> {
    match (unit.form(), target) {
        (Form::Template, TargetState::Loaded | TargetState::Launched) => Err(OpsError::Template { unit: unit.clone() }),
        (Form::Template, TargetState::Inactive) | (Form::Plain | Form::Instance(_), _) => Ok(()),
    }
}

fn as_seen(view: &View, key: &Key) -> Guard {
    match view.mod_revision(key) {
        Some(seen) => Guard::ModRevision(key.to_string(), seen),
        None => Guard::Absent(key.to_string()),
    }
}

/// That operators have said something of the machine.
pub(super) fn said(machine: &MachineId, now: Timestamp) -> Write {
    put(&Key::Operators(machine.clone()), &OperatorsRecord { changed: now }, None)
}

fn collect(view: &View, unit: &UnitName, hash: &UnitHash, txn: &mut Txn) {
    let key = Key::File(*hash);
    let collectable = view.unreadable().is_empty() && view.is_only_user(unit, hash);
    if let Some(seen) = view.mod_revision(&key).filter(|_| collectable) {
        txn.guards.push(Guard::ModRevision(key.to_string(), seen));
        txn.writes.push(delete(&key));
    }
}

fn put_file(new: &NewUnit<'_>) -> Write {
    let record = FileRecord::of(new.original, new.file);
    put(&Key::File(record.hash()), &record, None)
}

fn put(key: &Key, value: &impl Value, lease: Option<LeaseId>) -> Write {
    Write::Put { key: key.to_string(), value: value.encode(), lease }
}

fn delete(key: &Key) -> Write {
    Write::Delete { key: key.to_string() }
}

fn sized(txn: Txn) -> Result<Txn, OpsError> {
    txn.check().map_err(OpsError::TooBig)?;
    Ok(txn)
}
