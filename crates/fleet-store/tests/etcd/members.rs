//! Several endpoints: clusters of three, and addresses at which nobody is.

use std::collections::BTreeSet;
use std::time::Duration;

use fleet_store::{Guard, Keys, LeaseId, Revision, Store as _, StoreError, Txn, TxnOutcome, Write};
use tokio::time::Instant;

use crate::server::{NEWS_WAIT_MAX, REQUEST_TIMEOUT, Server, config, news, next, put, store, text, watch, write};

/// The original asked one endpoint by chance and hung if that was down.
#[tokio::test(flavor = "multi_thread")]
async fn every_request_finds_the_endpoint_that_works() {
    let server = Server::start();
    let nobody = |port: u16| format!("http://{}:{port}", server.address());
    for urls in [
        [nobody(4001), nobody(4002), server.url()],
        [server.url(), nobody(4001), nobody(4002)],
        [nobody(4001), server.url(), nobody(4002)],
    ] {
        let asked = Instant::now();
        // A store of its own for each request: none can profit from what the one before has found out.
        let written = write(&store(&urls).await, "a", "1").await;
        assert_eq!(store(&urls).await.read(&Keys::One("a".to_owned())).await.expect("a read").kvs.len(), 1);
        let lease = store(&urls).await.grant(Duration::from_secs(60)).await.expect("a lease");
        assert_eq!(store(&urls).await.keep_alive(lease).await, Ok(()));
        assert_eq!(store(&urls).await.revoke(lease).await, Ok(()));
        assert_eq!(news(&mut *watch(&store(&urls).await, written).await).await, Ok((written, "a=1".to_owned())));
        assert!(asked.elapsed() < REQUEST_TIMEOUT, "{:?}", asked.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_endpoints_down_is_said_with_their_names() {
    let urls = ["http://127.0.0.1:1".to_owned(), "http://127.0.0.1:2".to_owned()];
    let mut config = config(&urls);
    config.request_timeout = Duration::from_millis(300);
    let store = fleet_store::etcd::Etcd::connect(config).await.expect("a store");
    match store.commit(&Txn::default()).await {
        Err(StoreError::Unavailable(why)) => {
            assert!(urls.iter().all(|url| why.contains(url)) && why.contains("refused"), "{why}");
            assert!(!why.contains("may have happened"), "it was never sent: {why}");
        }
        other => panic!("{other:?}"),
    }
}

/// Writers increment under guards while the leader dies; every acknowledged write is there, and the watch missed none.
#[tokio::test(flavor = "multi_thread")]
async fn the_leader_of_three_dies() {
    const N_WRITES: u64 = 60;
    const KILL_AT: u64 = 20;
    const N_WRITERS: u64 = 3;
    let mut servers = Server::start_members(3);
    let urls: Vec<String> = servers.iter().map(Server::url).collect();
    let first = write(&store(&urls).await, "n", "0").await;
    let mut watch = watch(&store(&urls).await, next(first)).await;
    let (acknowledged, mut heard_of) = tokio::sync::mpsc::unbounded_channel();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..N_WRITERS {
        let (urls, acknowledged) = (urls.clone(), acknowledged.clone());
        writers.spawn(async move {
            let store = store(&urls).await;
            loop {
                // An election makes some of these fail; then it is simply looked at again.
                let Ok(snapshot) = store.read(&Keys::One("n".to_owned())).await else { continue };
                let n: u64 = text(&snapshot.kvs[0]).parse().expect("a number");
                if N_WRITES <= n {
                    return;
                }
                let guards = vec![Guard::ModRevision("n".to_owned(), snapshot.kvs[0].mod_revision)];
                let txn = Txn { guards, writes: vec![put("n", &(n + 1).to_string())] };
                if let Ok(TxnOutcome::Committed(at)) = store.commit(&txn).await {
                    acknowledged.send((at, n + 1)).expect("the test listens");
                }
            }
        });
    }
    drop(acknowledged);
    let mut heard = Vec::new();
    for n in 1..=N_WRITES {
        let (at, value) = news(&mut *watch).await.expect("news");
        assert_eq!(value, format!("n={n}"), "nothing is left out, and nothing comes twice");
        heard.push((at, n));
        if n == KILL_AT {
            let leads = |server: &&mut Server| 0.0 < server.metric("etcd_server_is_leader");
            servers.iter_mut().find(leads).expect("somebody leads").kill();
        }
    }
    writers.join_all().await;
    let heard: BTreeSet<(Revision, u64)> = heard.into_iter().collect();
    let mut n_acknowledged = 0;
    while let Some(write) = heard_of.recv().await {
        assert!(heard.contains(&write), "{write:?} was acknowledged and is gone");
        n_acknowledged += 1;
    }
    assert!(KILL_AT < n_acknowledged, "{n_acknowledged} writes were acknowledged");
}

/// The watch and the lease of one machine move to another member.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_member_is_left() {
    let servers = Server::start_members(3);
    let urls: Vec<String> = servers.iter().map(Server::url).collect();
    let store = store(&urls).await;
    let first = write(&store, "a", "1").await;
    let mut watch = watch(&store, next(first)).await;
    let lease = store.grant(Duration::from_secs(600)).await.expect("a lease");
    // The member that serves the watch: all requests prefer the one that answered last.
    let watched = |server: &&Server| 0.0 < server.metric("etcd_debugging_mvcc_watcher_total");
    servers.iter().find(watched).expect("somebody serves the watch").freeze();
    let txn = |value: &str| Txn { guards: Vec::new(), writes: vec![put("a", value)] };
    // The first write may end with the member; the next one goes elsewhere, at the latest after an election.
    let give_up = Instant::now() + NEWS_WAIT_MAX;
    let at = loop {
        match store.commit(&txn("2")).await {
            Ok(TxnOutcome::Committed(at)) => break at,
            other => assert!(Instant::now() < give_up, "{other:?}"),
        }
    };
    let mut heard = news(&mut *watch).await.expect("news");
    while heard.0 < at {
        heard = news(&mut *watch).await.expect("news");
    }
    assert_eq!(heard, (at, "a=2".to_owned()));
    assert_eq!(store.keep_alive(lease).await, Ok(()));
}

/// Of several leases in one transaction, the error names the one that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn the_missing_lease_is_named() {
    let server = Server::start();
    let store = store(&[server.url()]).await;
    let mut leases: Vec<LeaseId> = Vec::new();
    for _ in 0..3 {
        leases.push(store.grant(Duration::from_secs(600)).await.expect("a lease"));
    }
    for gone in leases.clone() {
        store.revoke(gone).await.expect("it was there");
        let puts = leases.iter().enumerate().map(|(n, &lease)| Write::Put {
            key: format!("k{n}"),
            value: Vec::new(),
            lease: Some(lease),
        });
        let txn = Txn { guards: Vec::new(), writes: puts.collect() };
        assert_eq!(store.commit(&txn).await, Err(StoreError::NoLease(gone)));
        leases.retain(|&lease| lease != gone);
        leases.push(store.grant(Duration::from_secs(600)).await.expect("a lease"));
    }
}
