//! The view of a cluster and the operations made from it, on a store in memory.

use std::fmt::Write as _;
use std::sync::Arc;

use expect_test::{Expect, expect};
use fleet_core::model::{Generation, MachineId, Placement, TargetState, Timestamp, UnitState};
use fleet_core::unit::{UnitFile, UnitName};
use fleet_store::mem::Mem;
use fleet_store::registry::ops::{self, NewUnit, OpsError, PlacementChange};
use fleet_store::registry::{Key, LeaderRecord, MachineRecord, UnitRecord, View};
use fleet_store::{
    Guard, LeaseId, Revision, Store as _, StoreError, TXN_BYTES_MAX, TXN_OPS_MAX, Txn, TxnOutcome, Watch, Write,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

const NOW: Timestamp = Timestamp(1000);

/// A store with a view that follows it.
struct Cluster {
    store: Mem,
    watch: Box<dyn Watch>,
    view: View,
    lease: LeaseId,
}

impl Cluster {
    async fn new() -> Cluster {
        let store = Mem::default();
        let snapshot = store.read(&Key::all()).await.expect("a read");
        let watch = store.watch(&Key::all(), Revision(snapshot.revision.0 + 1)).await.expect("a watch");
        let lease = store.grant(std::time::Duration::from_secs(60)).await.expect("a lease");
        Cluster { store, watch, view: View::from_snapshot(&snapshot), lease }
    }

    /// Commits, and lets the view follow; returns what changed, or `None` after a lost race.
    async fn commit(&mut self, txn: &Txn) -> Option<Vec<Key>> {
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

    async fn put(&mut self, key: &str, value: &str) -> Vec<Key> {
        let write = Write::Put { key: key.to_owned(), value: value.as_bytes().to_vec(), lease: None };
        self.commit(&Txn { guards: Vec::new(), writes: vec![write] }).await.expect("no guard")
    }

    async fn create(&mut self, unit: &str, text: &str, target: TargetState) -> Vec<Key> {
        let txn = create(&self.view, unit, text, target).expect("a transaction");
        self.commit(&txn).await.expect("no race")
    }

    async fn machine(&mut self, machine: &str, metadata: &[(&str, &str)]) {
        let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let record = MachineRecord { metadata, ..MachineRecord::default() };
        let txn = ops::announce(&id(machine), &record, self.lease).expect("a transaction");
        self.commit(&txn).await.expect("no guard");
    }

    async fn place(&mut self, machine: &str, unit: &str) {
        let txn = ops::change_placements(&self.view, &[placed(&self.view, machine, unit)]).expect("a transaction");
        self.commit(&txn).await.expect("no race");
    }
}

fn id(machine: &str) -> MachineId {
    machine.parse().expect("a machine ID")
}

fn name(unit: &str) -> UnitName {
    unit.parse().expect("a unit name")
}

fn create(view: &View, unit: &str, text: &str, target: TargetState) -> Result<Txn, OpsError> {
    let file = UnitFile::parse(text).expect("a unit file");
    let new = NewUnit { name: &name(unit), original: text, file: &file, target, template: None };
    ops::create_unit(view, &new, NOW)
}

fn replace(view: &View, unit: &str, text: &str, target: TargetState) -> Result<Txn, OpsError> {
    let file = UnitFile::parse(text).expect("a unit file");
    let new = NewUnit { name: &name(unit), original: text, file: &file, target, template: None };
    ops::replace_unit(view, &new, NOW)
}

/// The order that follows from the unit as it is.
fn placed(view: &View, machine: &str, unit: &str) -> PlacementChange {
    let UnitRecord { hash, generation, restarts, .. } = view.units()[&name(unit)].clone();
    let placement = Placement { hash, target: TargetState::Launched, generation, restarts };
    PlacementChange { machine: id(machine), unit: name(unit), placement: Some(placement) }
}

fn taken(machine: &str, unit: &str) -> PlacementChange {
    PlacementChange { machine: id(machine), unit: name(unit), placement: None }
}

fn show(keys: &[Key]) -> String {
    keys.iter().map(|key| short(&key.to_string())).collect::<Vec<_>>().join(" ")
}

/// Hashes are long and say nothing to a reader.
fn short(text: &str) -> String {
    match text.split_once("files/") {
        Some((before, after)) => format!("{before}files/{}{}", &after[..4], &after[40..]),
        None => text.to_owned(),
    }
}

fn show_txn(txn: &Txn) -> String {
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
fn check(result: Result<Txn, OpsError>, want: &Expect) {
    let text = result.map_or_else(|err| format!("error: {err}\n"), |txn| show_txn(&txn));
    want.assert_eq(&text);
}

const ONE: &str = "[Service]\nExecStart=/bin/one\n";
const TWO: &str = "[Service]\nExecStart=/bin/two\n";

#[tokio::test]
async fn units() {
    let mut cluster = Cluster::new().await;
    check(
        create(&cluster.view, "a.service", ONE, TargetState::Launched),
        &expect![[r#"
        if absent units/a.service
        put units/a.service {"v":1,"target":"launched","generation":2,"restarts":0,"changed_ms":1000}
        put files/e19d
    "#]],
    );
    let changed = cluster.create("a.service", ONE, TargetState::Launched).await;
    assert_eq!(show(&changed), "units/a.service files/e19d", "a unit and its file come in one batch");
    check(
        create(&cluster.view, "a.service", TWO, TargetState::Launched),
        &expect![[r#"
        error: unit `a.service` exists already
    "#]],
    );
    check(
        replace(&cluster.view, "a.service", TWO, TargetState::Loaded),
        &expect![[r#"
        if units/a.service is of 2
        if files/e19d is of 2
        put units/a.service {"v":1,"target":"loaded","generation":3,"restarts":0,"changed_ms":1000}
        put files/40ca
        delete files/e19d
    "#]],
    );
    check(
        replace(&cluster.view, "b.service", TWO, TargetState::Loaded),
        &expect![[r#"
        error: unit `b.service` does not exist
    "#]],
    );
    check(
        ops::set_target(&cluster.view, &name("a.service"), TargetState::Inactive, NOW),
        &expect![[r#"
        if units/a.service is of 2
        put units/a.service {"v":1,"target":"inactive","generation":3,"restarts":0,"changed_ms":1000}
    "#]],
    );
    check(
        ops::set_target(&cluster.view, &name("b.service"), TargetState::Inactive, NOW),
        &expect![[r#"
        error: unit `b.service` does not exist
    "#]],
    );
    check(
        ops::restart(&cluster.view, &name("a.service"), NOW),
        &expect![[r#"
        if units/a.service is of 2
        put units/a.service {"v":1,"target":"launched","generation":2,"restarts":1,"changed_ms":1000}
    "#]],
    );
    check(
        ops::destroy(&cluster.view, &name("a.service")),
        &expect![[r#"
        if units/a.service is of 2
        if files/e19d is of 2
        delete units/a.service
        delete files/e19d
    "#]],
    );
    check(
        ops::destroy(&cluster.view, &name("b.service")),
        &expect![[r#"
        error: unit `b.service` does not exist
    "#]],
    );
}

#[tokio::test]
async fn templates_are_not_activated() {
    let mut cluster = Cluster::new().await;
    cluster.create("t@.service", ONE, TargetState::Inactive).await;
    let unit = name("t@.service");
    for target in [TargetState::Loaded, TargetState::Launched] {
        let refused = Err(OpsError::Template { unit: unit.clone() });
        assert_eq!(ops::set_target(&cluster.view, &unit, target, NOW), refused);
        assert_eq!(replace(&cluster.view, "t@.service", TWO, target), refused);
        assert_eq!(
            create(&cluster.view, "u@.service", TWO, target),
            Err(OpsError::Template { unit: name("u@.service") })
        );
    }
    assert!(ops::set_target(&cluster.view, &unit, TargetState::Inactive, NOW).is_ok());
}

/// A unit file goes with the last that needs it, and never while somebody does.
#[tokio::test]
async fn files_are_collected() {
    let mut cluster = Cluster::new().await;
    cluster.machine("m1", &[]).await;
    cluster.create("a@1.service", ONE, TargetState::Launched).await;
    cluster.create("a@2.service", ONE, TargetState::Launched).await;
    check(
        ops::destroy(&cluster.view, &name("a@1.service")),
        &expect![[r#"
        if units/a@1.service is of 3
        delete units/a@1.service
    "#]],
    );
    check(
        replace(&cluster.view, "a@1.service", TWO, TargetState::Launched),
        &expect![[r#"
        if units/a@1.service is of 3
        put units/a@1.service {"v":1,"target":"launched","generation":4,"restarts":0,"changed_ms":1000}
        put files/40ca
    "#]],
    );
    let txn = ops::destroy(&cluster.view, &name("a@1.service")).expect("a transaction");
    cluster.commit(&txn).await.expect("no race");

    // The last unit goes while its placement still runs the file; then the leader finds it.
    cluster.place("m1", "a@2.service").await;
    let txn = ops::destroy(&cluster.view, &name("a@2.service")).expect("a transaction");
    assert_eq!(txn.writes.len(), 1, "the placement needs the file: {txn:?}");
    cluster.commit(&txn).await.expect("no race");
    assert_eq!(ops::unused_files(&cluster.view), []);
    let txn = ops::change_placements(&cluster.view, &[taken("m1", "a@2.service")]).expect("a transaction");
    cluster.commit(&txn).await.expect("no race");
    let unused = ops::unused_files(&cluster.view);
    check(
        Ok(unused[0].clone()),
        &expect![[r#"
        if files/e19d is of 4
        delete files/e19d
    "#]],
    );

    // Somebody creates a unit with that file just then: the collection loses, or the file comes back.
    let creation = create(&cluster.view, "b.service", ONE, TargetState::Launched).expect("a transaction");
    cluster.commit(&creation).await.expect("no race");
    assert_eq!(cluster.commit(&unused[0]).await, None, "the file is in use again");
    let destruction = ops::destroy(&cluster.view, &name("b.service")).expect("a transaction");
    let creation = create(&cluster.view, "c.service", ONE, TargetState::Launched).expect("a transaction");
    cluster.commit(&creation).await.expect("no race");
    assert_eq!(cluster.commit(&destruction).await, None, "the file has a second user");
    let destruction = ops::destroy(&cluster.view, &name("b.service")).expect("a transaction");
    cluster.commit(&destruction).await.expect("no race");
    assert!(cluster.view.file_of(&name("c.service")).is_some());
}

/// A unit that is destroyed and created again does not begin with old generations.
#[tokio::test]
async fn generations_only_grow() {
    let mut cluster = Cluster::new().await;
    let unit = name("a.service");
    let mut last = Generation(0);
    for round in 0..5 {
        cluster.create("a.service", ONE, TargetState::Launched).await;
        for _ in 0..round * 3 {
            let generation = cluster.view.units()[&unit].generation;
            assert!(last < generation, "{last} then {generation}");
            last = generation;
            let txn = ops::set_target(&cluster.view, &unit, TargetState::Launched, NOW).expect("a transaction");
            cluster.commit(&txn).await.expect("no race");
        }
        let generation = cluster.view.units()[&unit].generation;
        assert!(last < generation, "{last} then {generation}");
        last = generation;
        let txn = ops::destroy(&cluster.view, &unit).expect("a transaction");
        cluster.commit(&txn).await.expect("no race");
    }
}

#[tokio::test]
async fn placements() {
    let mut cluster = Cluster::new().await;
    cluster.create("a.service", ONE, TargetState::Launched).await;
    cluster.create("b.service", ONE, TargetState::Launched).await;
    let both = [placed(&cluster.view, "m1", "a.service"), placed(&cluster.view, "m1", "b.service")];
    check(
        ops::change_placements(&cluster.view, &both),
        &expect![[r#"
        if units/a.service is of 2
        if absent placements/m1/a.service
        if units/b.service is of 3
        if absent placements/m1/b.service
        put placements/m1/a.service {"v":1,"target":"launched","generation":2,"restarts":0}
        put placements/m1/b.service {"v":1,"target":"launched","generation":3,"restarts":0}
    "#]],
    );
    cluster.place("m1", "a.service").await;
    let moved = [taken("m1", "a.service"), placed(&cluster.view, "m2", "a.service"), taken("m3", "a.service")];
    check(
        ops::change_placements(&cluster.view, &moved),
        &expect![[r#"
        if placements/m1/a.service is of 4
        if units/a.service is of 2
        if absent placements/m2/a.service
        delete placements/m1/a.service
        put placements/m2/a.service {"v":1,"target":"launched","generation":2,"restarts":0}
    "#]],
    );
    let mut inactive = placed(&cluster.view, "m1", "a.service");
    inactive.placement.as_mut().expect("an order").target = TargetState::Inactive;
    check(
        ops::change_placements(&cluster.view, &[inactive]),
        &expect![[r#"
        error: unit `a.service` cannot be placed as `inactive`
    "#]],
    );
    let absent = PlacementChange { unit: name("c.service"), ..both[0].clone() };
    check(
        ops::change_placements(&cluster.view, &[absent]),
        &expect![[r#"
        error: unit `c.service` does not exist
    "#]],
    );

    // Decided on an older unit: lost.
    let stale = ops::change_placements(&cluster.view, &[placed(&cluster.view, "m1", "b.service")]);
    let newer = ops::restart(&cluster.view, &name("b.service"), NOW).expect("a transaction");
    cluster.commit(&newer).await.expect("no race");
    assert_eq!(cluster.commit(&stale.expect("a transaction")).await, None);
    let machines: Vec<_> = cluster.view.placed_on(&name("a.service")).collect();
    assert_eq!(machines, [&id("m1")]);
}

/// A leader that has lost the lead writes nothing.
#[tokio::test]
async fn fencing() {
    let mut cluster = Cluster::new().await;
    cluster.create("a.service", ONE, TargetState::Launched).await;
    let record = LeaderRecord { id: "m1".to_owned(), version: "0".to_owned(), since: NOW };
    let campaign = ops::take_lead(&record, cluster.lease);
    cluster.commit(&campaign).await.expect("nobody leads");
    assert_eq!(cluster.commit(&campaign).await, None, "somebody leads");
    let (leader, since) = cluster.view.leader().map(|(leader, since)| (leader.clone(), since)).expect("a leader");
    assert_eq!(leader, record);
    let group = ops::change_placements(&cluster.view, &[placed(&cluster.view, "m1", "a.service")]);
    let fenced = ops::batch(Some(&ops::fence(since)), [group.expect("a transaction")]).expect("a batch");
    cluster.store.revoke(cluster.lease).await.expect("the lease lives");
    let other = cluster.store.grant(std::time::Duration::from_secs(60)).await.expect("a lease");
    cluster.commit(&ops::take_lead(&record, other)).await.expect("nobody leads");
    assert_eq!(cluster.commit(&fenced[0]).await, None, "the old leader is fenced off");
    let (_, since) = cluster.view.leader().expect("a leader");
    let refenced = ops::batch(
        Some(&ops::fence(since)),
        [Txn {
            guards: fenced[0].guards.iter().filter(|guard| guard.key() != "leader").cloned().collect(),
            writes: fenced[0].writes.clone(),
        }],
    );
    assert!(cluster.commit(&refenced.expect("a batch")[0]).await.is_some(), "the new one is not");
}

/// Dynamic metadata over static: a value wins, a removal hides, and both outlive the machine's presence.
#[tokio::test]
async fn metadata() {
    let mut cluster = Cluster::new().await;
    let key = |text: &str| text.parse().expect("a metadata key");
    let set = |machine: &str, name: &str, value: Option<&str>| (id(machine), key(name), value.map(str::to_owned));
    let merged = |view: &View| {
        let machine = view.cluster().machines.get(&id("m1"));
        machine.map_or("absent".to_owned(), |machine| format!("{:?}", machine.metadata))
    };
    cluster.machine("m1", &[("disk", "hdd"), ("zone", "a"), ("empty", "")]).await;
    assert_eq!(merged(&cluster.view), r#"{"disk": "hdd", "empty": "", "zone": "a"}"#);
    let changes =
        [set("m1", "disk", None), set("m1", "disk", Some("ssd")), set("m1", "zone", None), set("m2", "x", Some("y"))];
    let changed = cluster.commit(&ops::set_metadata(&changes).expect("a transaction")).await.expect("no guard");
    assert_eq!(show(&changed), "metadata/m1/disk metadata/m1/zone metadata/m2/x");
    assert_eq!(merged(&cluster.view), r#"{"disk": "ssd", "empty": ""}"#);
    cluster.store.revoke(cluster.lease).await.expect("the lease lives");
    cluster.lease = cluster.store.grant(std::time::Duration::from_secs(60)).await.expect("a lease");
    cluster.put("leader", "{}").await;
    assert_eq!(merged(&cluster.view), "absent");
    cluster.machine("m1", &[("zone", "b")]).await;
    assert_eq!(merged(&cluster.view), r#"{"disk": "ssd"}"#);
    let changes = [set("m1", "zone", Some("c")), set("m1", "disk", Some(""))];
    cluster.commit(&ops::set_metadata(&changes).expect("a transaction")).await.expect("no guard");
    assert_eq!(merged(&cluster.view), r#"{"zone": "c"}"#, "an empty value is a removal");
}

/// What cannot be read is kept apart, hurts nothing else, and can be destroyed.
#[tokio::test]
async fn unreadable_values() {
    let mut cluster = Cluster::new().await;
    cluster.create("a.service", ONE, TargetState::Launched).await;
    cluster.create("b.service", TWO, TargetState::Launched).await;
    cluster.place("m1", "a.service").await;
    cluster.put("events/1", "of a newer fleet").await;
    cluster.put("units/c.service", "not JSON").await;
    cluster.put("placements/m2/b.service", "{\"v\":9}").await;
    let changed = cluster.put("units/a.service", "{\"v\":9}").await;
    assert_eq!(show(&changed), "units/a.service");
    let unreadable: Vec<String> =
        cluster.view.unreadable().iter().map(|(key, reason)| format!("{key}: {reason}\n")).collect();
    expect![[r#"
        events/1: this fleet does not know such a key
        placements/m2/b.service: the value has version 9, and this fleet reads up to 1: upgrade fleet here
        units/a.service: the value has version 9, and this fleet reads up to 1: upgrade fleet here
        units/c.service: the value is not of the expected form: expected ident at line 1 column 2
    "#]]
    .assert_eq(&unreadable.concat());
    assert_eq!(cluster.view.units().keys().collect::<Vec<_>>(), [&name("b.service")]);
    assert!(cluster.view.placement(&id("m1"), &name("a.service")).is_some());

    // An unreadable unit may need any file, so none goes.
    let txn = ops::destroy(&cluster.view, &name("b.service")).expect("a transaction");
    assert_eq!(txn.writes.len(), 1, "{txn:?}");
    assert_eq!(cluster.view.unused_files().len(), 0, "the file of a.service is needed by its placement");

    // What runs of an unreadable unit is left as it is.
    check(
        ops::change_placements(&cluster.view, &[taken("m1", "a.service")]),
        &expect![[r#"
        error: the store's value of `units/a.service` cannot be read: the value has version 9, and this fleet reads up to 1: upgrade fleet here
    "#]],
    );
    check(
        create(&cluster.view, "c.service", ONE, TargetState::Launched),
        &expect![[r#"
        error: the store's value of `units/c.service` cannot be read: the value is not of the expected form: expected ident at line 1 column 2
    "#]],
    );
    check(
        ops::restart(&cluster.view, &name("a.service"), NOW),
        &expect![[r#"
        error: the store's value of `units/a.service` cannot be read: the value has version 9, and this fleet reads up to 1: upgrade fleet here
    "#]],
    );
    check(
        ops::destroy(&cluster.view, &name("c.service")),
        &expect![[r#"
        if units/c.service is of 6
        delete units/c.service
    "#]],
    );
    check(
        ops::change_placements(&cluster.view, &[taken("m2", "b.service")]),
        &expect![[r#"
        if placements/m2/b.service is of 7
        delete placements/m2/b.service
    "#]],
    );
    for unit in ["a.service", "c.service"] {
        let txn = ops::destroy(&cluster.view, &name(unit)).expect("a transaction");
        cluster.commit(&txn).await.expect("no race");
    }
    let left: Vec<&String> = cluster.view.unreadable().keys().collect();
    assert_eq!(left, ["events/1", "placements/m2/b.service"]);
    check(
        ops::change_placements(&cluster.view, &[taken("m1", "a.service")]),
        &expect![[r#"
        if placements/m1/a.service is of 4
        delete placements/m1/a.service
    "#]],
    );
}

/// A unit without its file waits; when the file comes, the unit is among what changed.
#[tokio::test]
async fn a_file_that_is_missing() {
    let mut cluster = Cluster::new().await;
    let text = "[Service]\nExecStart=/bin/one\n[X-Fleet]\nGlobal=true\n";
    cluster.create("a.service", text, TargetState::Launched).await;
    let file = Key::File(UnitFile::parse(text).expect("a unit file").hash());
    let requirements = |view: &View| Arc::clone(&view.cluster().units[&name("a.service")].requirements);
    assert!(requirements(&cluster.view).global && requirements(&cluster.view).never.is_empty());
    let stored = cluster.store.read(&file.one()).await.expect("a read").kvs.remove(0);
    let delete = Write::Delete { key: file.to_string() };
    let changed = cluster.commit(&Txn { guards: Vec::new(), writes: vec![delete] }).await.expect("no guard");
    assert_eq!(changed, [Key::Unit(name("a.service")), file.clone()]);
    assert_eq!(requirements(&cluster.view).never.len(), 1);
    let value = String::from_utf8(stored.value).expect("JSON is text");
    cluster.put(&file.to_string(), &value.replace("one", "two")).await;
    assert_eq!(requirements(&cluster.view).never.len(), 1, "a file under a wrong hash is none");
    let changed = cluster.put(&file.to_string(), &value).await;
    assert_eq!(changed, [Key::Unit(name("a.service")), file]);
    assert!(requirements(&cluster.view).global && requirements(&cluster.view).never.is_empty());
}

/// Groups are packed in order, never split, and each transaction is within every limit.
#[test]
fn batches() {
    let group = |start: usize, n: usize, bytes: usize| {
        let key = |idx: usize| format!("k{idx}");
        let put = |idx| Write::Put { key: key(idx), value: vec![b'x'; bytes], lease: None };
        Txn {
            guards: (start..start + n).map(|idx| Guard::Absent(key(idx))).collect(),
            writes: (start..start + n).map(put).collect(),
        }
    };
    let fence = ops::fence(Revision(7));
    let sizes = |groups: Vec<Txn>| -> Vec<usize> {
        let mut wanted: Vec<Write> = groups.iter().flat_map(|group| group.writes.clone()).collect();
        wanted.dedup(); // Groups that share a write stand side by side here.
        let txns = ops::batch(Some(&fence), groups).expect("a batch");
        let packed: Vec<Write> = txns.iter().flat_map(|txn| txn.writes.clone()).collect();
        assert_eq!(packed, wanted, "all writes, in order");
        for txn in &txns {
            assert_eq!(txn.check(), Ok(()));
            assert_eq!(txn.guards.iter().filter(|guard| **guard == fence).count(), 1, "each is fenced, once");
        }
        txns.iter().map(|txn| txn.writes.len()).collect()
    };
    // One guard of each transaction is the fence.
    assert_eq!(sizes((0..300).map(|idx| group(idx, 1, 10)).collect()), [127, 127, 46]);
    assert_eq!(sizes((0..10).map(|idx| group(idx * 50, 50, 10)).collect()), [100, 100, 100, 100, 100]);
    assert_eq!(sizes((0..5).map(|idx| group(idx, 1, TXN_BYTES_MAX / 3)).collect()), [2, 2, 1]);
    assert_eq!(sizes(vec![group(0, 2, 1), group(1, 2, 1), group(3, 1, 1)]), [4], "an equal write of two is done once");
    assert_eq!(sizes(vec![group(0, 2, 1), group(1, 2, 2), group(3, 1, 1)]), [2, 3], "k1 is written in two ways");
    assert_eq!(sizes(vec![group(0, 0, 0)]), [0; 0]);
    let shared = |idx: usize| Txn { guards: vec![Guard::Absent("shared".to_owned())], ..group(idx, 1, 1) };
    assert_eq!(sizes((0..130).map(shared).collect()), [128, 2], "a guard that all share is kept once");
    let too_long = ops::batch(Some(&fence), [group(0, TXN_OPS_MAX, 1)]);
    assert_eq!(too_long, Err(OpsError::TooBig(StoreError::TooManyOps { ops: TXN_OPS_MAX + 1 })));
    let too_large = ops::batch(None, [group(0, 1, TXN_BYTES_MAX)]);
    assert!(matches!(too_large, Err(OpsError::TooBig(StoreError::TooLarge { .. }))), "{too_large:?}");
}

/// A file that fits no transaction is refused before anything is written.
#[tokio::test]
async fn a_file_that_is_too_long() {
    let cluster = Cluster::new().await;
    // Short enough as a unit file; but each quote takes two bytes in the store, and the comment makes it two texts.
    let text = format!("# a comment\n[Service]\nExecStart=/bin/echo {}\n", "'\"\"'".repeat(120_000));
    let refused = create(&cluster.view, "a.service", &text, TargetState::Launched);
    assert!(matches!(refused, Err(OpsError::TooBig(StoreError::TooLarge { .. }))), "{refused:?}");
}

/// Whatever is done, following the watch and reading anew give the same picture, and a resync finds just the differences.
#[tokio::test]
async fn following_equals_reading_anew() {
    for seed in 0..30 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut cluster = Cluster::new().await;
        let mut behind = cluster.view.clone();
        for _ in 0..60 {
            let changed = random_change(&mut cluster, &mut rng).await;
            let snapshot = cluster.store.read(&Key::all()).await.expect("a read");
            let anew = View::from_snapshot(&snapshot);
            assert_eq!(format!("{:?}", cluster.view), format!("{anew:?}"), "seed {seed}, after {changed:?}");
            judge_indexes(&cluster.view);
            if rng.random_bool(0.1) {
                let differences = behind.resync(&snapshot);
                assert_eq!(format!("{behind:?}"), format!("{anew:?}"), "seed {seed}");
                assert_eq!(behind.resync(&snapshot), [], "seed {seed}: a second look finds nothing new");
                assert!(differences.len() <= snapshot.kvs.len() + 60, "seed {seed}");
            }
        }
    }
}

/// What the view says of files, held against the records themselves.
fn judge_indexes(view: &View) {
    let placed = view.cluster().placements.values().flatten().map(|(_, placement)| placement.hash);
    let used: Vec<_> = view.units().values().map(|unit| unit.hash).chain(placed).collect();
    let unused: Vec<_> = view.files().keys().filter(|hash| !used.contains(hash)).collect();
    assert_eq!(view.unused_files().iter().collect::<Vec<_>>(), unused);
    for (unit, record) in view.units() {
        let derived = &view.cluster().units[unit];
        assert_eq!((derived.hash, derived.generation, derived.target), (record.hash, record.generation, record.target));
        assert_eq!(derived.requirements.never.is_empty(), view.files().contains_key(&record.hash));
    }
    for (machine, placements) in &view.cluster().placements {
        assert!(placements.keys().all(|unit| view.placed_on(unit).any(|on| on == machine)));
    }
    for (machine, states) in view.states() {
        assert!(states.keys().all(|unit| view.states_of(unit).any(|(on, _)| on == machine)));
    }
}

async fn random_change(cluster: &mut Cluster, rng: &mut StdRng) -> Option<Vec<Key>> {
    let unit = *["a.service", "b.service", "c@1.service"].choose(rng).expect("not empty");
    let machine = *["m1", "m2"].choose(rng).expect("not empty");
    let text = *[ONE, TWO].choose(rng).expect("not empty");
    let target = *[TargetState::Inactive, TargetState::Loaded, TargetState::Launched].choose(rng).expect("not empty");
    let view = &cluster.view;
    let txn = match rng.random_range(0..12) {
        0 | 1 => create(view, unit, text, target),
        2 => replace(view, unit, text, target),
        3 => ops::destroy(view, &name(unit)),
        4 | 5 if view.units().contains_key(&name(unit)) => ops::change_placements(view, &[placed(view, machine, unit)]),
        6 => ops::change_placements(view, &[taken(machine, unit)]),
        7 => ops::announce(&id(machine), &MachineRecord::default(), cluster.lease),
        8 => {
            let value = rng.random_bool(0.5).then(|| "x".to_owned());
            ops::set_metadata(&[(id(machine), "k".parse().expect("a key"), value)])
        }
        9 => {
            let state = UnitState {
                load: "loaded".to_owned(),
                active: "active".to_owned(),
                sub: "running".to_owned(),
                result: String::new(),
                hash: UnitFile::parse(text).expect("a unit file").hash(),
                done: Generation(1),
                restarts: 0,
                reached: target,
                error: String::new(),
                since: NOW,
            };
            let report = Some(&state).filter(|_| rng.random_bool(0.7));
            let unit = name(unit);
            let txns = ops::report_states(&id(machine), [(&unit, report)], cluster.lease);
            txns.map(|mut txns| txns.remove(0))
        }
        10 => {
            let keys = ["units/a.service", "placements/m1/b.service", "files/x", "machines/m1", "states/m2/a.service"];
            let key = (*keys.choose(rng).expect("not empty")).to_owned();
            let write = match rng.random_bool(0.5) {
                true => Write::Put { key, value: b"nonsense".to_vec(), lease: None },
                false => Write::Delete { key },
            };
            Ok(Txn { guards: Vec::new(), writes: vec![write] })
        }
        _ => match ops::unused_files(view).into_iter().next() {
            Some(txn) => Ok(txn),
            None => ops::restart(view, &name(unit), NOW),
        },
    };
    cluster.commit(&txn.ok()?).await
}
