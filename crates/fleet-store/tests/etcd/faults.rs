//! One server, and all that can happen to it and to the way there.

use std::time::Duration;

use fleet_core::model::{TargetState, Timestamp};
use fleet_core::unit::UnitFile;
use fleet_store::etcd::Etcd;
use fleet_store::registry::ops::{self, NewUnit};
use fleet_store::registry::{Key, View};
use fleet_store::{Guard, Keys, Revision, Store as _, StoreError, TxnOutcome};
use tokio::time::Instant;

use crate::proxy::{Answers, Proxy};
use crate::server::{
    REQUEST_TIMEOUT, Server, all, committed, config, create, news, next, put, puts, store, text, watch, write,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_outlives_a_killed_server() {
    let mut server = Server::start();
    let store = store(&[server.url()]).await;
    let first = write(&store, "a", "1").await;
    let mut watch = watch(&store, first).await;
    assert_eq!(news(&mut *watch).await, Ok((first, "a=1".to_owned())));
    // Written, but not yet heard when the server dies: it comes from history.
    let second = write(&store, "a", "2").await;
    server.kill();
    let gone = store.commit(&create("b", "1")).await;
    assert!(matches!(gone, Err(StoreError::Unavailable(_))), "{gone:?}");
    server.restart();
    let third = write(&store, "a", "3").await;
    assert_eq!(news(&mut *watch).await, Ok((second, "a=2".to_owned())));
    assert_eq!(news(&mut *watch).await, Ok((third, "a=3".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_within_the_time_for_a_request_is_no_error() {
    let mut server = Server::start();
    let mut config = config(&[server.url()]);
    config.request_timeout = Duration::from_secs(60);
    let store = Etcd::connect(config.clone()).await.expect("a store");
    write(&store, "a", "1").await;
    server.kill();
    // A write, too, if there is no old connection of which it is not known what became of the last things said on it.
    let fresh = Etcd::connect(config).await.expect("a store");
    let (late_read, late_write) = (
        tokio::spawn(async move { store.read(&all()).await }),
        tokio::spawn(async move { fresh.commit(&create("b", "2")).await }),
    );
    server.restart();
    assert_eq!(late_read.await.expect("no panic").map(|snapshot| snapshot.kvs[0].key.clone()), Ok("a".to_owned()));
    committed(late_write.await.expect("no panic"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_costs_the_time_for_a_request_and_nothing_else() {
    let server = Server::start();
    let store = store(&[server.url()]).await;
    let first = write(&store, "a", "1").await;
    let mut watch = watch(&store, next(first)).await;
    let lease = store.grant(Duration::from_secs(600)).await.expect("a lease");
    server.freeze();
    let asked = Instant::now();
    let frozen = store.commit(&create("b", "1")).await;
    assert!(matches!(&frozen, Err(StoreError::Unavailable(why)) if why.contains("may have happened")), "{frozen:?}");
    assert!(asked.elapsed() < REQUEST_TIMEOUT * 2, "{:?}", asked.elapsed());
    let frozen = store.read(&all()).await;
    assert!(matches!(frozen, Err(StoreError::Unavailable(_))), "{frozen:?}");
    server.thaw();
    // What the server had in its ears before it froze, it may do now.
    let second = write(&store, "a", "2").await;
    let mut heard = news(&mut *watch).await.expect("news");
    if heard.1 == "b=1" {
        heard = news(&mut *watch).await.expect("news");
    }
    assert_eq!(heard, (second, "a=2".to_owned()));
    assert_eq!(store.keep_alive(lease).await, Ok(()));
}

/// No error ever comes on the stranded connections: requests have their time, and the watch has its pings.
#[tokio::test(flavor = "multi_thread")]
async fn stranded_connections_are_noticed() {
    let server = Server::start();
    let proxy = Proxy::to(&server.url()).await;
    let (far, near) = (store(&[proxy.url()]).await, store(&[server.url()]).await);
    let first = write(&far, "a", "1").await;
    let mut watch = watch(&far, next(first)).await;
    proxy.strand();
    let second = write(&near, "a", "2").await;
    let lost = far.read(&all()).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    // The next request has a connection of its own.
    assert_eq!(far.read(&all()).await.expect("a read").revision, second);
    assert_eq!(news(&mut *watch).await, Ok((second, "a=2".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_not_a_lost_write_and_repeating_it_is_harmless() {
    let server = Server::start();
    let proxy = Proxy::to(&server.url()).await;
    let (far, near) = (store(&[proxy.url()]).await, store(&[server.url()]).await);
    let snapshot = far.read(&Key::all()).await.expect("a read");
    let mut watch = watch(&near, next(snapshot.revision)).await;
    let unit = "hello.service".parse().expect("a name");
    let original = "[Service]\nExecStart=/bin/true\n";
    let file = UnitFile::parse(original).expect("a unit file");
    let view = View::from_snapshot(&snapshot);
    let new = NewUnit { name: &unit, original, file: &file, target: TargetState::Launched, template: None };
    let txn = ops::create_unit(&view, &new, Timestamp(1)).expect("a transaction");
    proxy.set(Answers::Hold);
    let lost = far.commit(&txn).await;
    assert!(matches!(&lost, Err(StoreError::Unavailable(why)) if why.contains("may have happened")), "{lost:?}");
    // It did happen; a repetition finds the guard broken, and the look that follows finds the unit.
    let (revision, _) = news(&mut *watch).await.expect("the write");
    proxy.set(Answers::Pass);
    assert_eq!(far.commit(&txn).await, Ok(TxnOutcome::Conflict(revision)));
    let view = View::from_snapshot(&far.read(&Key::all()).await.expect("a read"));
    assert!(view.units().contains_key(&unit), "{view:?}");
}

/// Asking the next endpoint would find the guard broken by the very write, and the writer would take it for somebody else's.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_was_lost_goes_to_no_other_endpoint() {
    let server = Server::start();
    let (first, second) = (Proxy::to(&server.url()).await, Proxy::to(&server.url()).await);
    let store = store(&[first.url(), second.url()]).await;
    // Let the first one be preferred.
    second.set(Answers::Cut);
    store.read(&all()).await.expect("a read");
    second.set(Answers::Pass);
    first.set(Answers::Hold);
    let lost = store.commit(&create("b", "1")).await;
    assert!(matches!(&lost, Err(StoreError::Unavailable(why)) if why.contains("may have happened")), "{lost:?}");
    // The next request does not wait for the one that kept silent.
    let asked = Instant::now();
    let snapshot = store.read(&Keys::One("b".to_owned())).await.expect("a read");
    assert_eq!(snapshot.kvs.iter().map(text).collect::<Vec<_>>(), ["1"]);
    assert!(asked.elapsed() < REQUEST_TIMEOUT, "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_in_the_middle_of_a_write_is_told() {
    let server = Server::start();
    let proxy = Proxy::to(&server.url()).await;
    let (far, near) = (store(&[proxy.url()]).await, store(&[server.url()]).await);
    let first = write(&far, "a", "1").await;
    let mut watch = watch(&near, next(first)).await;
    proxy.set(Answers::Hold);
    let writer = {
        let far = far.clone();
        tokio::spawn(async move { far.commit(&create("b", "1")).await })
    };
    assert_eq!(news(&mut *watch).await, Ok((next(first), "b=1".to_owned())));
    proxy.set(Answers::Cut);
    let cut = writer.await.expect("no panic");
    assert!(matches!(&cut, Err(StoreError::Unavailable(why)) if why.contains("may have happened")), "{cut:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_answers_are_answers() {
    const N_WRITES: usize = 5;
    let server = Server::start();
    let proxy = Proxy::to(&server.url()).await;
    let store = store(&[proxy.url()]).await;
    let first = write(&store, "a", "first").await;
    let mut watch = watch(&store, next(first)).await;
    proxy.set(Answers::Delay(Duration::from_millis(500)));
    let lease = store.grant(Duration::from_secs(60)).await.expect("a lease");
    let mut expected = Vec::new();
    for n in 0..N_WRITES {
        expected.push((write(&store, "a", &n.to_string()).await, format!("a={n}")));
    }
    assert_eq!(store.keep_alive(lease).await, Ok(()));
    for expected in expected {
        assert_eq!(news(&mut *watch).await, Ok(expected));
    }
}

/// etcd sends 1,000 revisions of the past at a time, each message under the revision of the present: who takes that for what
/// it has received leaves the rest out.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_while_catching_up_leaves_nothing_out() {
    const N_WRITES: u64 = 2_500;
    const N_WRITERS: u64 = 50;
    let server = Server::start();
    let proxy = Proxy::to(&server.url()).await;
    let (far, near) = (store(&[proxy.url()]).await, store(&[server.url()]).await);
    let first = write(&near, "a", "first").await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..N_WRITERS {
        let near = near.clone();
        writers.spawn(async move {
            // Too much to be under way all at once.
            let value = "x".repeat(1_000);
            for _ in 0..N_WRITES / N_WRITERS {
                write(&near, "a", &value).await;
            }
        });
    }
    writers.join_all().await;
    let mut watch = watch(&far, first).await;
    for n in 0..=N_WRITES {
        let (at, _) = news(&mut *watch).await.expect("news");
        assert_eq!(at, Revision(first.0 + n));
        if n == 0 {
            proxy.cut_once();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_whose_history_was_compacted_says_so() {
    let server = Server::start();
    let proxy = Proxy::to(&server.url()).await;
    let (far, near) = (store(&[proxy.url()]).await, store(&[server.url()]).await);
    let first = write(&far, "a", "1").await;
    let mut watch_far = watch(&far, first).await;
    assert_eq!(news(&mut *watch_far).await, Ok((first, "a=1".to_owned())));
    proxy.set(Answers::Cut);
    write(&near, "a", "2").await;
    let last = write(&near, "a", "3").await;
    server.etcdctl(&["compact", &last.0.to_string()]);
    proxy.set(Answers::Pass);
    assert_eq!(news(&mut *watch_far).await, Err(StoreError::Compacted(last)));
    assert_eq!(news(&mut *watch_far).await, Err(StoreError::Compacted(last)), "an ended watch stays ended");
    // One that begins in what is gone hears the same, and one that begins after it goes on.
    assert_eq!(news(&mut *watch(&far, first).await).await, Err(StoreError::Compacted(last)));
    assert_eq!(news(&mut *watch(&far, last).await).await, Ok((last, "a=3".to_owned())));
}

/// A copy of the data from before the last writes is what a restored backup is.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_restored_from_a_backup_ends_watches() {
    let mut server = Server::start();
    let store = store(&[server.url()]).await;
    write(&store, "a", "1").await;
    server.kill();
    let backup = server.dir().join("backup");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let status = std::process::Command::new("cp").arg("-r").arg(from).arg(to).status().expect("cp runs");
        assert!(status.success(), "cp {from:?} {to:?}");
    };
    copy(&server.data_dir(), &backup);
    server.restart();
    let mut last = Revision(0);
    for n in 0..10 {
        last = write(&store, "a", &n.to_string()).await;
    }
    let mut watch = watch(&store, last).await;
    assert_eq!(news(&mut *watch).await, Ok((last, "a=9".to_owned())));
    server.kill();
    std::fs::remove_dir_all(server.data_dir()).expect("the data go");
    copy(&backup, &server.data_dir());
    server.restart();
    let rewound = news(&mut *watch).await;
    assert!(matches!(rewound, Err(StoreError::Rewound { seen, now }) if seen == last && now < last), "{rewound:?}");
    // Everything else goes on from what there is.
    let snapshot = store.read(&all()).await.expect("a read");
    assert_eq!(snapshot.kvs.iter().map(text).collect::<Vec<_>>(), ["1"]);
    let mut watch = store.watch(&all(), next(snapshot.revision)).await.expect("a watch");
    let again = write(&store, "a", "again").await;
    assert_eq!(news(&mut *watch).await, Ok((again, "a=again".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_at_the_same_address_ends_watches() {
    let (old, new) = (Server::start(), Server::start());
    let proxy = Proxy::to(&old.url()).await;
    let (far, near) = (store(&[proxy.url()]).await, store(&[new.url()]).await);
    let first = write(&far, "a", "old").await;
    let mut watch = watch(&far, next(first)).await;
    // Further on than the old one, so that revisions give nothing away.
    while write(&near, "a", "new").await <= next(first) {}
    proxy.move_to(&new.url());
    let rewound = news(&mut *watch).await;
    assert!(matches!(rewound, Err(StoreError::Rewound { .. })), "{rewound:?}");
}

/// More than one page and more than gRPC's usual 4 MiB, at one revision although writers go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_read_is_of_one_revision() {
    const N_KEYS: usize = 11_000;
    const KEYS_PER_TXN: usize = 100;
    let server = Server::start();
    let store = store(&[server.url()]).await;
    let value = "x".repeat(1_000);
    for first in (0..N_KEYS).step_by(KEYS_PER_TXN) {
        let writes = (first..first + KEYS_PER_TXN).map(|n| put(&format!("k/{n:06}"), &value)).collect();
        committed(store.commit(&puts(writes)).await);
    }
    // One key of the first page and one of the last change together, all the time.
    let (front, back) = ("k/000000", "k/999999");
    write(&store, back, "x").await;
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut n = 0_u64;
            while stopped.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
                let value = n.to_string();
                committed(store.commit(&puts(vec![put(front, &value), put(back, &value)])).await);
                n += 1;
            }
            n
        })
    };
    for _ in 0..3 {
        let snapshot = store.read(&Keys::Prefix("k/".to_owned())).await.expect("a read");
        assert_eq!(snapshot.kvs.len(), N_KEYS + 1);
        assert!(snapshot.kvs.is_sorted_by(|a, b| a.key < b.key));
        let (first, last) = (&snapshot.kvs[0], &snapshot.kvs[N_KEYS]);
        assert_eq!(first.mod_revision.max(snapshot.revision), snapshot.revision);
        if last.value != b"x" {
            assert_eq!((text(first), first.mod_revision), (text(last), last.mod_revision));
        }
    }
    stop.send(()).expect("the writer still writes");
    assert!(0 < writer.await.expect("the writer ends"), "nothing was written meanwhile");
}

/// A guard alone writes nothing; etcd would answer it from the asked member's own memory, and so could be behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_guard_of_revision_zero_never_holds() {
    let server = Server::start();
    let store = store(&[server.url()]).await;
    let present = write(&store, "a", "1").await;
    for guard in [Guard::ModRevision("b".to_owned(), Revision(0)), Guard::CreateRevision("b".to_owned(), Revision(0))] {
        let txn = fleet_store::Txn { guards: vec![guard], writes: Vec::new() };
        assert_eq!(store.commit(&txn).await, Ok(TxnOutcome::Conflict(present)), "{txn:?}");
    }
}
