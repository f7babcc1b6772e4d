//! The suite on both stores of this crate, and through what watches over one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fleet_store::Store;
use fleet_store::clock::ManualClock;
use fleet_store::conformance::Subject;
use fleet_store::embedded::Embedded;
use fleet_store::mem::Mem;
use fleet_store::steady::Steady;

#[derive(Default)]
struct InMemory {
    clock: Arc<ManualClock>,
}

#[async_trait]
impl Subject for InMemory {
    async fn store(&self) -> Arc<dyn Store> {
        let clock: Arc<ManualClock> = Arc::clone(&self.clock);
        Arc::new(Mem::new(clock))
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}

struct OnDisk {
    clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
    n_stores: std::sync::atomic::AtomicUsize,
}

impl Default for OnDisk {
    fn default() -> OnDisk {
        OnDisk { clock: Arc::default(), dir: tempfile::tempdir().expect("a folder"), n_stores: 0.into() }
    }
}

#[async_trait]
impl Subject for OnDisk {
    async fn store(&self) -> Arc<dyn Store> {
        let n = self.n_stores.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = self.dir.path().join(format!("{n}.redb"));
        let clock: Arc<ManualClock> = Arc::clone(&self.clock);
        Arc::new(Embedded::open_with_clock(&path, clock).await.expect("a new store"))
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}

#[derive(Default)]
struct WatchedOver(InMemory);

#[async_trait]
impl Subject for WatchedOver {
    async fn store(&self) -> Arc<dyn Store> {
        Arc::new(Steady::new(self.0.store().await))
    }

    async fn pass(&self, time: Duration) {
        self.0.pass(time).await;
    }
}

mod mem {
    fleet_store::conformance!(async { super::InMemory::default() });
}

mod steady {
    fleet_store::conformance!(async { super::WatchedOver::default() });
}

mod embedded {
    fleet_store::conformance!(async { super::OnDisk::default() });
}
