//! A store in memory with a view that follows it, and how transactions are shown.

use std::fmt::Write as _;

use expect_test::Expect;
use fleet_core::model::{MachineId, Placement, TargetState, Timestamp, Unit};
use fleet_core::unit::{UnitFile, UnitName, WhenIsolated};
use fleet_store::mem::Mem;
use fleet_store::registry::ops::{self, NewUnit, OpsError, PlacementChange};
use fleet_store::registry::{Key, MachineRecord, View};
use fleet_store::{Guard, LeaseId, Revision, Store as _, Txn, TxnOutcome, Watch, Write};

pub const NOW: Timestamp = Timestamp(1000);

/// A store with a view that follows it.
pub struct Cluster {
    pub store: Mem,
    pub watch: Box<dyn Watch>,
    pub view: View,
    pub lease: LeaseId,
}

impl Cluster {
    pub async fn new() -> Cluster {
        let store = Mem::default();
        let snapshot = store.read(&Key::all()).await.expect("a read");
        let watch = store.watch(&Key::all(), Revision(snapshot.revision.0 + 1)).await.expect("a watch");
        let lease = store.grant(std::time::Duration::from_secs(60)).await.expect("a lease");
        Cluster { store, watch, view: View::from_snapshot(&snapshot), lease }
    }

    /// Commits, and lets the view follow; returns what changed, or `None` after a lost race.
    pub async fn commit(&mut self, txn: &Txn) -> Option<Vec<Key>> {
        let outcome = self.store.commit(txn).await.expect("the store answers");
        let TxnOutcome::Committed(revision) = outcome else {
            return None;
        };
        let mut changed = Vec::new();
        while self.view.revision() < revision {
            let batch = self.watch.next().await.expect("a batch");
            changed.extend(self.view.apply(&batch));
        }
        Some(changed)
    }

    pub async fn put(&mut self, key: &str, value: &str) -> Vec<Key> {
        let write = Write::Put { key: key.to_owned(), value: value.as_bytes().to_vec(), lease: None };
        self.commit(&Txn { guards: Vec::new(), writes: vec![write] }).await.expect("no guard")
    }

    pub async fn create(&mut self, unit: &str, text: &str, target: TargetState) -> Vec<Key> {
        let txn = create(&self.view, unit, text, target).expect("a transaction");
        self.commit(&txn).await.expect("no race")
    }

    pub async fn machine(&mut self, machine: &str, metadata: &[(&str, &str)]) {
        let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let record = MachineRecord { metadata, ..MachineRecord::default() };
        let txn = announce(self, machine, &record).expect("a transaction");
        self.commit(&txn).await.expect("no guard");
    }

    pub async fn place(&mut self, machine: &str, unit: &str) {
        let txn = ops::change_placements(&self.view, &[placed(&self.view, machine, unit)]).expect("a transaction");
        self.commit(&txn).await.expect("no race");
    }
}

/// A machine that was there is taken for the same one.
pub fn announce(cluster: &Cluster, machine: &str, record: &MachineRecord) -> Result<Txn, ops::OpsError> {
    let seen = cluster.view.mod_revision(&Key::Machine(id(machine)));
    ops::announce(&id(machine), record, cluster.lease, seen)
}

pub fn id(machine: &str) -> MachineId {
    machine.parse().expect("a machine ID")
}

pub fn name(unit: &str) -> UnitName {
    unit.parse().expect("a unit name")
}

pub fn create(view: &View, unit: &str, text: &str, target: TargetState) -> Result<Txn, OpsError> {
    let file = UnitFile::parse(text).expect("a unit file");
    let new = NewUnit { name: &name(unit), original: text, file: &file, target, template: None };
    ops::create_unit(view, &new, NOW)
}

pub fn replace(view: &View, unit: &str, text: &str, target: TargetState) -> Result<Txn, OpsError> {
    let file = UnitFile::parse(text).expect("a unit file");
    let new = NewUnit { name: &name(unit), original: text, file: &file, target, template: None };
    ops::replace_unit(view, &new, NOW)
}

/// The order that follows from the unit as it is.
pub fn placed(view: &View, machine: &str, unit: &str) -> PlacementChange {
    let Unit { hash, generation, restarts, .. } = view.cluster().units[&name(unit)].clone();
    let placement = Placement {
        hash,
        target: TargetState::Launched,
        generation,
        restarts,
        when_isolated: WhenIsolated::Keep,
        leaving: None,
    };
    PlacementChange { machine: id(machine), unit: name(unit), placement: Some(placement) }
}

pub fn taken(machine: &str, unit: &str) -> PlacementChange {
    PlacementChange { machine: id(machine), unit: name(unit), placement: None }
}

pub fn show(keys: &[Key]) -> String {
    keys.iter().map(|key| short(&key.to_string())).collect::<Vec<_>>().join(" ")
}

/// Hashes are long and say nothing to a reader.
pub fn short(text: &str) -> String {
    match text.split_once("files/") {
        Some((before, after)) => format!("{before}files/{}{}", &after[..4], &after[40..]),
        None => text.to_owned(),
    }
}

pub fn show_txn(txn: &Txn) -> String {
    let mut out = String::new();
    for guard in &txn.guards {
        let line = match guard {
            Guard::Absent(key) => format!("if absent {key}"),
            Guard::ModRevision(key, Revision(at)) => format!("if {key} is of {at}"),
            Guard::CreateRevision(key, Revision(at)) => format!("if {key} was created at {at}"),
        };
        writeln!(out, "{}", short(&line)).expect("writing to a text");
    }
    for write in &txn.writes {
        let line = match write {
            Write::Put { key, .. } if key.starts_with("files/") => format!("put {key}"),
            Write::Put { key, value, lease } => {
                let value = String::from_utf8_lossy(value).replace(',', ", ");
                let value: Vec<&str> = value.split(", ").filter(|field| !field.contains("hash")).collect();
                format!("put {key} {}{}", value.join(","), lease.map_or("", |_| " on the lease"))
            }
            Write::Delete { key } => format!("delete {key}"),
        };
        writeln!(out, "{}", short(&line)).expect("writing to a text");
    }
    out
}

#[track_caller]
pub fn check(result: Result<Txn, OpsError>, want: &Expect) {
    let text = result.map_or_else(|err| format!("error: {err}\n"), |txn| show_txn(&txn));
    want.assert_eq(&text);
}

pub const ONE: &str = "[Service]\nExecStart=/bin/one\n";
pub const TWO: &str = "[Service]\nExecStart=/bin/two\n";
