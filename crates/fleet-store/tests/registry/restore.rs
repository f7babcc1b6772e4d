//! Restoring a backup: what it writes, and that a store becomes what it was.

use std::collections::BTreeMap;

use fleet_core::model::{Generation, TargetState};
use fleet_store::registry::ops::{self, Room};
use fleet_store::registry::restore::{self, Saved, SavedKey, StepChange};
use fleet_store::registry::{CordonRecord, DrainRecord, GivenUpRecord, Key};
use fleet_store::{Revision, Store as _};

use crate::support::*;

/// What a backup of the store holds.
async fn saved(cluster: &Cluster) -> Vec<SavedKey> {
    let snapshot = cluster.store.read(&Key::all()).await.expect("a read");
    let keep = |kv: fleet_store::KeyValue| {
        let key = Key::parse(&kv.key).filter(restore::is_kept)?;
        let generation = match &key {
            Key::Unit(unit) => Some(cluster.view.cluster().units[unit].generation),
            _ => None,
        };
        Some(SavedKey { key: kv.key, value: kv.value, generation })
    };
    snapshot.kvs.into_iter().filter_map(keep).collect()
}

/// Carries the steps out, one transaction at a time, until nothing is left; gives what was done, as text.
async fn carry_out(cluster: &mut Cluster, saved: &Saved, placements: bool) -> Vec<String> {
    let mut done = Vec::new();
    loop {
        let next = Revision(cluster.view.revision().0 + 1);
        let steps = restore::steps(&cluster.view, saved, placements, next, NOW);
        if steps.is_empty() {
            return done;
        }
        let txns: Vec<_> = steps.iter().map(|step| step.txn.clone()).collect();
        let (txn, n) = ops::pack(None, Room::default(), txns).expect("each fits").remove(0);
        done.extend(steps.iter().take(n).map(|step| {
            let verb = match step.change {
                StepChange::Create => "create",
                StepChange::Change => "change",
                StepChange::Remove => "remove",
            };
            format!("{verb} {}", step.key)
        }));
        cluster.commit(&txn).await.expect("nobody else writes");
    }
}

/// Two units on two machines, and all that operators can say.
async fn filled() -> Cluster {
    let mut cluster = Cluster::new().await;
    cluster.machine("m1", &[]).await;
    cluster.create("a.service", ONE, TargetState::Launched).await;
    cluster.create("b@.service", TWO, TargetState::Inactive).await;
    cluster.create("c.service", TWO, TargetState::Launched).await;
    let txn = ops::restart(&cluster.view, &name("a.service"), NOW).expect("it is there");
    cluster.commit(&txn).await.expect("no race");
    cluster.place("m1", "a.service").await;
    cluster.place("m2", "c.service").await;
    let metadata = [(id("m1"), "k".parse().expect("a key"), Some("v".to_owned()))];
    let txns = [
        ops::set_metadata(&metadata, NOW).expect("it fits"),
        ops::cordon(&id("m1"), &CordonRecord { since: NOW }),
        ops::drain(&id("m2"), &DrainRecord { since: NOW, max_at_once: 3 }),
        ops::give_up(&id("m3"), &GivenUpRecord { since: NOW }),
    ];
    for txn in txns {
        cluster.commit(&txn).await.expect("no race");
    }
    cluster
}

/// Values by key, without what is said anew.
async fn values(cluster: &Cluster) -> BTreeMap<String, Vec<u8>> {
    saved(cluster).await.into_iter().filter(|kv| !kv.key.starts_with("units/")).map(|kv| (kv.key, kv.value)).collect()
}

fn generations(cluster: &Cluster) -> Vec<(String, Generation)> {
    cluster.view.cluster().units.iter().map(|(name, unit)| (name.to_string(), unit.generation)).collect()
}

#[tokio::test]
async fn into_an_empty_store() {
    let old = filled().await;
    let backup = Saved::check(saved(&old).await).expect("it is whole");
    let mut new = Cluster::new().await;
    assert!(restore::is_empty(&new.view));
    let done = carry_out(&mut new, &backup, true).await;
    assert_eq!(
        done,
        [
            "create units/a.service",
            "create units/b@.service",
            "create units/c.service",
            "create metadata/m1/k",
            "create cordon/m1",
            "create drain/m2",
            "create given-up/m3",
            "create placements/m1/a.service",
            "create placements/m2/c.service",
        ]
    );
    assert_eq!(values(&new).await, values(&old).await);
    assert_eq!(generations(&new), generations(&old), "nothing is asked of a machine that has the unit as it is to be");
    assert_eq!(new.view.units()[&name("a.service")].restarts, 1);
    assert!(!restore::is_empty(&new.view));
    assert_eq!(carry_out(&mut new, &backup, true).await, [""; 0], "a second time there is nothing to do");
}

/// A store that is older than the backup's: nothing is ever below what machines have seen.
#[tokio::test]
async fn into_a_store_that_has_seen_more() {
    let old = filled().await;
    let backup = Saved::check(saved(&old).await).expect("it is whole");
    let mut new = Cluster::new().await;
    for _ in 0..50 {
        new.put("brake", r#"{"v":1,"since_ms":1,"lost":[]}"#).await;
    }
    carry_out(&mut new, &backup, true).await;
    for ((unit, was), (_, is)) in generations(&old).into_iter().zip(generations(&new)) {
        assert!(was < is, "{unit}: {was:?} {is:?}");
    }
    assert_eq!(new.view.cluster().brake, None, "it was not there");
}

#[tokio::test]
async fn onto_a_living_cluster() {
    let mut cluster = filled().await;
    let backup = Saved::check(saved(&cluster).await).expect("it is whole");
    let untouched = cluster.view.mod_revision(&Key::Unit(name("a.service")));
    let txn = replace(&cluster.view, "c.service", ONE, TargetState::Launched).expect("a transaction");
    cluster.commit(&txn).await.expect("no race");
    cluster.create("d.service", ONE, TargetState::Launched).await;
    cluster.place("m1", "d.service").await;
    let txn = ops::destroy(&cluster.view, &name("b@.service")).expect("it is there");
    cluster.commit(&txn).await.expect("no race");
    let txn = ops::uncordon(&id("m1"), NOW);
    cluster.commit(&txn).await.expect("no race");
    let metadata = [(id("m2"), "new".parse().expect("a key"), Some("v".to_owned()))];
    cluster.commit(&ops::set_metadata(&metadata, NOW).expect("it fits")).await.expect("no race");
    // It came back.
    cluster.machine("m3", &[]).await;
    // Nobody can read these.
    cluster.put("metadata/m9/k", "nonsense").await;
    cluster.put("units/odd.service", "nonsense").await;
    let before = cluster.view.cluster().units[&name("c.service")].generation;

    assert_eq!(backup.back(&cluster.view).collect::<Vec<_>>(), ["m3"]);
    let done = carry_out(&mut cluster, &backup, false).await;
    assert_eq!(
        done,
        [
            "create units/b@.service",
            "change units/c.service",
            "remove units/d.service",
            "remove units/odd.service",
            "remove metadata/m2/new",
            "remove metadata/m9/k",
            "create cordon/m1",
        ]
    );
    assert_eq!(cluster.view.mod_revision(&Key::Unit(name("a.service"))), untouched, "it is the same");
    assert!(before < cluster.view.cluster().units[&name("c.service")].generation);
    assert!(cluster.view.placement(&id("m1"), &name("d.service")).is_some(), "the engine takes it away, in its order");
    assert_eq!(cluster.view.unreadable().len(), 0);
}

#[tokio::test]
async fn what_is_refused() {
    let good = saved(&filled().await).await;
    let check = |change: &dyn Fn(&mut Vec<SavedKey>), expected: &[&str]| {
        let mut keys = good.clone();
        change(&mut keys);
        let errors = Saved::check(keys).map_or_else(|errors| errors, |_| Vec::new());
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), expected.len(), "{said:?}");
        for (said, expected) in said.iter().zip(expected) {
            assert!(said.contains(expected), "{said}");
        }
    };
    let key = |key: &str, value: &str| SavedKey { key: key.to_owned(), value: value.into(), generation: None };
    check(&|_| (), &[]);
    check(&|keys| keys.push(key("leader", "{}")), &["`leader` is no key of a backup"]);
    check(&|keys| keys.push(key("states/m1/a.service", "{}")), &["is no key of a backup"]);
    check(&|keys| keys.push(key("new/x", "{}")), &["`new/x` is no key of a backup"]);
    check(&|keys| keys.push(keys[0].clone()), &["is there twice"]);
    check(&|keys| keys.push(key("cordon/m7", "{}")), &["the value of `cordon/m7` cannot be read"]);
    check(
        &|keys| keys.push(key("cordon/m7", r#"{"v":99,"since_ms":1}"#)),
        &["the value of `cordon/m7` cannot be read: the value has version 99"],
    );
    check(&|keys| keys.retain(|kv| kv.key != "units/a.service"), &["is the placement of a unit that is not there"]);
    // One that was destroyed and may not run twice has an order to stop, and no more.
    let stop = r#"{"v":1,"hash":"0123456789abcdef0123456789abcdef01234567","target":"loaded","generation":1,"restarts":0,"leaving":3,"stop_when_isolated":true}"#;
    check(&|keys| keys.push(key("placements/m1/gone.service", stop)), &[]);
    // `TWO` is the file of two units and of a placement.
    check(
        &|keys| keys.retain(|kv| !kv.key.starts_with("files/40ca")),
        &["`units/b@.service` needs the file 40ca", "`units/c.service` needs", "`placements/m2/c.service` needs"],
    );
}
