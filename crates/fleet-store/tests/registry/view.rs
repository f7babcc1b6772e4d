//! The view: metadata laid over each other, what cannot be read, and following against reading anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use expect_test::expect;
use fleet_core::model::{Absence, Brake, Generation, Placement, TargetState, Timestamp, Unit, UnitState};
use fleet_core::unit::{UnitFile, WhenIsolated};
use fleet_store::registry::ops::PlacementChange;
use fleet_store::registry::{CordonRecord, DrainRecord, GivenUpRecord, Key, MachineRecord, View, ops};
use fleet_store::{Store as _, Txn, Write};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::*;

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
    let changed =
        cluster.commit(&ops::set_metadata(&changes, Timestamp(7)).expect("a transaction")).await.expect("no guard");
    assert_eq!(show(&changed), "metadata/m1/disk metadata/m1/zone metadata/m2/x operators/m1 operators/m2");
    assert_eq!(merged(&cluster.view), r#"{"disk": "ssd", "empty": ""}"#);
    cluster.store.revoke(cluster.lease).await.expect("the lease lives");
    cluster.lease = cluster.store.grant(std::time::Duration::from_secs(60)).await.expect("a lease");
    cluster.put("leader", "{}").await;
    assert_eq!(merged(&cluster.view), "absent");
    cluster.machine("m1", &[("zone", "b")]).await;
    assert_eq!(merged(&cluster.view), r#"{"disk": "ssd"}"#);
    let changes = [set("m1", "zone", Some("c")), set("m1", "disk", Some(""))];
    cluster.commit(&ops::set_metadata(&changes, Timestamp(7)).expect("a transaction")).await.expect("no guard");
    assert_eq!(merged(&cluster.view), r#"{"zone": "c"}"#, "an empty value is a removal");
}

/// A machine takes new units or not, and is emptied or not, also when it was away meanwhile. And the brake.
#[tokio::test]
async fn cordons_drains_and_the_brake() {
    let mut cluster = Cluster::new().await;
    let standing = |view: &View| {
        let machine = view.cluster().machines.get(&id("m1"));
        machine.map_or("absent".to_owned(), |machine| match (machine.cordoned, machine.draining) {
            (cordoned, None) => if cordoned { "cordoned" } else { "open" }.to_owned(),
            (cordoned, Some(drain)) => format!("cordoned: {cordoned}, drained {} at once", drain.max_at_once),
        })
    };
    let since = Timestamp(7);
    let (cordoned, drained) = (CordonRecord { since }, DrainRecord { since, max_at_once: 3 });
    let m1 = id("m1");
    cluster.commit(&ops::drain(&m1, &drained)).await.expect("no guard");
    assert_eq!(standing(&cluster.view), "absent");
    cluster.machine("m1", &[]).await;
    assert_eq!(standing(&cluster.view), "cordoned: false, drained 3 at once");
    let changed = cluster.commit(&ops::cordon(&m1, &cordoned)).await.expect("no guard");
    assert_eq!(
        (show(&changed), standing(&cluster.view)),
        ("cordon/m1 drain/m1 operators/m1".to_owned(), "cordoned".to_owned())
    );
    cluster.commit(&ops::drain(&m1, &drained)).await.expect("no guard");
    assert_eq!(standing(&cluster.view), "cordoned: true, drained 3 at once");
    cluster.commit(&ops::uncordon(&m1, since)).await.expect("no guard");
    assert_eq!(standing(&cluster.view), "open");

    let brake = Brake { since, lost: [id("m2"), id("m3")].into() };
    let changed = cluster.commit(&ops::brake(Some(&brake))).await.expect("no guard");
    assert_eq!((show(&changed).as_str(), &cluster.view.cluster().brake), ("brake", &Some(brake)));
    // What the brake waits for is held, until somebody gives it up.
    assert_eq!(cluster.view.cluster().absence(&id("m2")), Some(Absence::Held));
    cluster.commit(&ops::give_up(&id("m2"), &GivenUpRecord { since })).await.expect("it is not present");
    assert_eq!(cluster.view.cluster().absence(&id("m2")), Some(Absence::GivenUp));
    cluster.commit(&ops::brake(None)).await.expect("no guard");
    assert_eq!(cluster.view.cluster().brake, None);
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
            if absent machines/m2
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
            if absent machines/m1
            if placements/m1/a.service is of 4
            delete placements/m1/a.service
        "#]],
    );
}

/// One bad value hurts nothing else: a stand-in takes its place in the picture that decisions are made on.
#[tokio::test]
async fn stand_ins() {
    let mut cluster = Cluster::new().await;
    cluster.create("a.service", ONE, TargetState::Launched).await;
    cluster.create("b.service", TWO, TargetState::Launched).await;
    cluster.place("m1", "a.service").await;
    cluster.place("m1", "b.service").await;
    let (a, b) = (name("a.service"), name("b.service"));
    let (unit_before, order_before) = (
        cluster.view.cluster().units[&a].clone(),
        cluster.view.placement(&id("m1"), &b).expect("it was placed").clone(),
    );

    // A unit is wanted as its placement says, with what its file requires, and can be moved.
    let changed = cluster.put("units/a.service", "{\"v\":9}").await;
    assert_eq!(show(&changed), "units/a.service");
    let stand_in = cluster.view.cluster().units[&a].clone();
    assert_eq!(Unit { changed: unit_before.changed, ..stand_in }, unit_before);
    let order = cluster.view.placement(&id("m1"), &a).expect("it is placed").clone();
    let there = |machine: &str, placement: Option<Placement>| PlacementChange {
        machine: id(machine),
        unit: a.clone(),
        placement,
    };
    cluster.machine("m2", &[]).await;
    let txn = ops::change_placements(&cluster.view, &[there("m1", None), there("m2", Some(order.clone()))]);
    cluster.commit(&txn.expect("a transaction")).await.expect("no race");
    assert!(cluster.view.cluster().units.contains_key(&a));
    // Without a placement nothing is known of it.
    let txn = ops::change_placements(&cluster.view, &[there("m2", None)]).expect("a transaction");
    let changed = cluster.commit(&txn).await.expect("no race");
    assert_eq!(show(&changed), "units/a.service placements/m2/a.service");
    assert!(!cluster.view.cluster().units.contains_key(&a));

    // An order is an old one, which the leader replaces, so that its unit is placed and not placed again.
    let changed = cluster.put("placements/m1/b.service", "{}").await;
    assert_eq!(show(&changed), "placements/m1/b.service");
    let stand_in = cluster.view.placement(&id("m1"), &b).expect("a stand-in").clone();
    assert_eq!(stand_in, Placement { target: TargetState::Loaded, generation: Generation(0), ..order_before });
    assert_eq!(cluster.view.placed_on(&b).collect::<Vec<_>>(), [&id("m1")]);
    // One of no unit is there to be taken away.
    let d = name("d.service");
    cluster.put("placements/m3/d.service", "{}").await;
    let order = cluster.view.placement(&id("m3"), &d).expect("a stand-in");
    assert_eq!((order.when_isolated, order.is_leaving()), (WhenIsolated::Stop, false));
    cluster.create("d.service", ONE, TargetState::Inactive).await;
    let order = cluster.view.placement(&id("m3"), &d).expect("a stand-in");
    assert_eq!((order.when_isolated, order.target), (WhenIsolated::Keep, TargetState::Loaded));
    let txn = ops::change_placements(&cluster.view, &[taken("m3", "d.service")]).expect("a transaction");
    cluster.commit(&txn).await.expect("no race");
    assert!(cluster.view.placement(&id("m3"), &d).is_none());
    // Where neither can be read, nothing is known of either.
    cluster.put("placements/m3/e.service", "{}").await;
    cluster.put("units/e.service", "{}").await;
    assert!(cluster.view.placement(&id("m3"), &name("e.service")).is_none());
    assert!(!cluster.view.cluster().units.contains_key(&name("e.service")));

    // Whatever it says, a brake is one.
    cluster.put("brake", "{\"v\":9}").await;
    assert_eq!(cluster.view.cluster().brake, Some(Brake { since: Timestamp(0), lost: BTreeSet::new() }));
    cluster.commit(&ops::brake(None)).await.expect("no race");
    assert_eq!(cluster.view.cluster().brake, None);
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
        assert_eq!((derived.hash, derived.target), (record.hash, record.target));
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
        7 => announce(cluster, machine, &MachineRecord::default()),
        8 => {
            let value = rng.random_bool(0.5).then(|| "x".to_owned());
            ops::set_metadata(&[(id(machine), "k".parse().expect("a key"), value)], Timestamp(7))
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
                left: None,
            };
            let report = Some(&state).filter(|_| rng.random_bool(0.7));
            let unit = name(unit);
            let txns = {
                let record = cluster.view.mod_revision(&Key::Machine(id(machine))).unwrap_or_default();
                let seat = ops::Seat { lease: cluster.lease, record };
                ops::report_states(&id(machine), [(&unit, report)], seat)
            };
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
