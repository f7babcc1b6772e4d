//! What one machine is ordered to run, as it is read from the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fleet_core::agent::Event;
use fleet_core::model::{MachineId, Placement, Revision};
use fleet_core::unit::UnitName;
use fleet_store::registry::{Key, Value as _};
use fleet_store::{Change, KeyValue, Keys, LeaseId, Store, StoreError};
use tokio::sync::{mpsc, watch};

use crate::view::Backoff;

/// Orders of this machine, or changes of them.
pub struct Orders {
    /// What to tell the agent.
    pub event: Event,
    /// The machine's lease before they were read, if these are all there are.
    pub read_under: Option<LeaseId>,
}

/// Tells the placements of one machine: all of them, then each change; all of them again after a gap, with a new lease
/// (what was ordered before it may have been taken back), and now and then, because watches have lost events before.
pub async fn follow(
    machine: MachineId,
    store: Arc<dyn Store>,
    mut lease: watch::Receiver<LeaseId>,
    resync: Duration,
    orders: mpsc::Sender<Orders>,
) {
    let keys = Key::placements_of(&machine);
    let mut backoff = Backoff::default();
    loop {
        match follow_once(&keys, &*store, &mut lease, resync, &orders, &mut backoff).await {
            Ok(Ended::NobodyListens) => return,
            Ok(Ended::ResyncDue) => (),
            Err(err) => {
                tracing::warn!(%machine, error = %err, "lost sight of the placements; looking at all of them anew");
                backoff.pause().await;
            }
        }
    }
}

/// Why a watch was left although it works.
enum Ended {
    NobodyListens,
    ResyncDue,
}

async fn follow_once(
    keys: &Keys,
    store: &dyn Store,
    lease: &mut watch::Receiver<LeaseId>,
    resync: Duration,
    orders: &mpsc::Sender<Orders>,
    backoff: &mut Backoff,
) -> Result<Ended, StoreError> {
    // Before the read: what is read is no older than this lease.
    let read_under = Some(*lease.borrow_and_update());
    let snapshot = store.read(keys).await?;
    if orders.send(Orders { event: all(&snapshot.kvs), read_under }).await.is_err() {
        return Ok(Ended::NobodyListens);
    }
    let mut watch = store.watch(keys, Revision(snapshot.revision.0 + 1)).await?;
    let due = tokio::time::Instant::now() + resync;
    loop {
        let batch = tokio::select! {
            biased;
            Ok(()) = lease.changed() => return Ok(Ended::ResyncDue),
            () = tokio::time::sleep_until(due) => return Ok(Ended::ResyncDue),
            batch = watch.next() => batch?,
        };
        backoff.reset();
        let event = Event::PlacementsChanged(batch.changes.iter().filter_map(placement_change).collect());
        if orders.send(Orders { event, read_under: None }).await.is_err() {
            return Ok(Ended::NobodyListens);
        }
    }
}

/// All orders as they stand in the store.
fn all(kvs: &[KeyValue]) -> Event {
    let (mut orders, mut unreadable) = (BTreeMap::new(), BTreeSet::new());
    for (name, kv) in kvs.iter().filter_map(|kv| Some((unit_of(&kv.key)?, kv))) {
        match placement(kv) {
            Some(placement) => drop(orders.insert(name, placement)),
            None => drop(unreadable.insert(name)),
        }
    }
    Event::Placements { orders, unreadable }
}

/// One that cannot be read is left out, and that is said.
fn placement(kv: &KeyValue) -> Option<Placement> {
    let read = Placement::decode(&kv.value);
    read.inspect_err(
        |err| tracing::warn!(key = kv.key, error = %err, "cannot read a placement; its unit is left as it is"),
    )
    .ok()
}

fn placement_change(change: &Change) -> Option<(UnitName, Option<Placement>)> {
    let name = unit_of(change.key())?;
    match change {
        Change::Put(kv) => placement(kv).map(|placement| (name, Some(placement))),
        Change::Delete { .. } => Some((name, None)),
    }
}

/// The unit that an order is about.
fn unit_of(key: &str) -> Option<UnitName> {
    let Some(Key::Placement(_, name)) = Key::parse(key) else {
        tracing::warn!(key, "no placement has such a key");
        return None;
    };
    Some(name)
}
