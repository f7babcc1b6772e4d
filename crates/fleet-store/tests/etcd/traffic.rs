//! What is asked of a server when nothing happens, and after a watch was dropped.

use std::time::Duration;

use fleet_store::Store as _;
use tokio::time::Instant;

use crate::server::{NEWS_WAIT_MAX, Server, next, store, watch, write};

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_watch_ends_on_the_server() {
    const WATCHERS: &str = "etcd_debugging_mvcc_watcher_total";
    let server = Server::start();
    let store = store(&[server.url()]).await;
    let first = write(&store, "a", "1").await;
    let stays = watch(&store, next(first)).await;
    let goes = watch(&store, next(first)).await;
    assert_eq!(server.metric(WATCHERS), 2.0);
    drop(goes);
    // The server has no other way to tell than its metrics, which have to be asked for.
    let give_up = Instant::now() + NEWS_WAIT_MAX;
    while server.metric(WATCHERS) != 1.0 {
        assert!(Instant::now() < give_up, "the watch is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(stays);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_store_asks_nothing() {
    /// Longer than the pings of a watch are apart, so that these are in it.
    const IDLE: Duration = Duration::from_secs(8);
    let server = Server::start();
    let store = store(&[server.url()]).await;
    let first = write(&store, "a", "1").await;
    let mut watch = watch(&store, next(first)).await;
    let lease = store.grant(Duration::from_secs(600)).await.expect("a lease");
    let asked = || (server.metric("grpc_server_started_total"), server.metric("etcd_server_proposals_committed_total"));
    let before = asked();
    let idle = tokio::time::timeout(IDLE, watch.next()).await;
    assert!(idle.is_err(), "{idle:?}");
    assert_eq!(asked(), before);
    // The figures do move.
    assert_eq!(store.keep_alive(lease).await, Ok(()));
    let after = asked();
    assert!(before.0 < after.0 && before.1 == after.1, "{before:?} {after:?}: a renewal is a request but no write");
}
