//! The operations: what they write, what guards them, and who wins a race.

use expect_test::expect;
use fleet_core::model::{Generation, TargetState};
use fleet_store::registry::LeaderRecord;
use fleet_store::registry::ops::{self, OpsError, PlacementChange};
use fleet_store::{Guard, Revision, Store as _, StoreError, TXN_BYTES_MAX, TXN_OPS_MAX, Txn, Write};

use crate::support::*;

#[tokio::test]
async fn units() {
    let mut cluster = Cluster::new().await;
    check(
        create(&cluster.view, "a.service", ONE, TargetState::Launched),
        &expect![[r#"
            if absent units/a.service
            put units/a.service {"v":1,"target":"launched","generation":0,"restarts":0,"changed_ms":1000}
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
            put units/a.service {"v":1,"target":"loaded","generation":1,"restarts":0,"changed_ms":1000}
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
            put units/a.service {"v":1,"target":"inactive","generation":1,"restarts":0,"changed_ms":1000}
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
            put units/a.service {"v":1,"target":"launched","generation":0,"restarts":1,"changed_ms":1000}
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
            put units/a@1.service {"v":1,"target":"launched","generation":1,"restarts":0,"changed_ms":1000}
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
            let generation = cluster.view.cluster().units[&unit].generation;
            assert!(last < generation, "{last} then {generation}");
            last = generation;
            let txn = ops::set_target(&cluster.view, &unit, TargetState::Launched, NOW).expect("a transaction");
            cluster.commit(&txn).await.expect("no race");
        }
        let generation = cluster.view.cluster().units[&unit].generation;
        assert!(last < generation, "{last} then {generation}");
        last = generation;
        let txn = ops::destroy(&cluster.view, &unit).expect("a transaction");
        cluster.commit(&txn).await.expect("no race");
    }
}

/// The simulator, seed 3 of its first version: a daemon that was behind created a unit that had been destroyed, with a
/// generation that the agent had carried out long ago. The unit stayed dead for ever.
#[tokio::test]
async fn a_view_that_is_behind_makes_no_old_generations() {
    let mut cluster = Cluster::new().await;
    let unit = name("a.service");
    let behind = cluster.view.clone();
    cluster.create("a.service", ONE, TargetState::Launched).await;
    let last = cluster.view.cluster().units[&unit].generation;
    let destruction = ops::destroy(&cluster.view, &unit).expect("a transaction");
    cluster.commit(&destruction).await.expect("no race");
    let creation = create(&behind, "a.service", ONE, TargetState::Launched).expect("a transaction");
    cluster.commit(&creation).await.expect("nobody has created it meanwhile");
    let generation = cluster.view.cluster().units[&unit].generation;
    assert!(last < generation, "{last} then {generation}");
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
            if absent machines/m1
            if placements/m1/a.service is of 4
            if units/a.service is of 2
            if absent placements/m2/a.service
            if absent placements/m3/a.service
            delete placements/m1/a.service
            put placements/m2/a.service {"v":1,"target":"launched","generation":2,"restarts":0}
            delete placements/m3/a.service
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

    // The machine that it is taken from because it is lost comes back just then.
    let from_lost = ops::change_placements(&cluster.view, &[taken("m1", "a.service")]).expect("a transaction");
    cluster.machine("m1", &[]).await;
    assert_eq!(cluster.commit(&from_lost).await, None);
    let from_present = ops::change_placements(&cluster.view, &[taken("m1", "a.service")]).expect("a transaction");
    assert!(cluster.commit(&from_present).await.is_some());
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
