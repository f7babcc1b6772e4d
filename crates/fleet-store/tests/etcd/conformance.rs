//! The suite that every store passes, each scenario on a server of its own: revisions in it are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use fleet_store::Store;
use fleet_store::conformance::Subject;
use fleet_store::etcd::Etcd;

use crate::server::{Server, config};

struct OnEtcd {
    server: Server,
    n_stores: AtomicUsize,
}

#[async_trait]
impl Subject for OnEtcd {
    async fn store(&self) -> Arc<dyn Store> {
        let mut config = config(&[self.server.url()]);
        config.prefix = format!("/{}/", self.n_stores.fetch_add(1, Ordering::Relaxed));
        Arc::new(Etcd::connect(config).await.expect("a store"))
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

fleet_store::conformance!(async { OnEtcd { server: Server::start(), n_stores: AtomicUsize::new(0) } });
