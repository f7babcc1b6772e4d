//! A daemon's way to the store: over a network that delays and loses, with a store behind it that answers truly.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fleet_core::model::Revision;
use fleet_store::{Batch, Change, Guard, Keys, LeaseId, Snapshot, Store, StoreError, Txn, TxnOutcome, Watch, Write};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::bug::Bug;
use crate::world::Life;

/// How long a call waits for its answer.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// How long a watch that is cut off waits before it gives up. Shorter cuts are not noticed, but for the delay.
const WATCH_LIMIT: Duration = Duration::from_secs(8);

/// The store as one life of a daemon sees it.
pub(crate) struct Link(pub(crate) Arc<Life>);

impl Link {
    /// Makes a call. The request goes on when the caller dies, as one does that is in a socket already.
    async fn call<T, F>(&self, act: impl FnOnce() -> F + Send + 'static) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let life = &self.0;
        life.world.count_call(life.who).await;
        life.risk().await;
        let (weather, chance) = (life.world.weather(), &life.world.chance);
        let (there, back) = (chance.ms(&weather.store_ms), chance.ms(&weather.store_ms));
        let request_lost = chance.happens(weather.requests_lost);
        let answer_lost = chance.happens(weather.answers_lost);
        let (tell, told) = oneshot::channel();
        let (world, cable) = (Arc::clone(&life.world), Arc::clone(&life.cable));
        tokio::spawn(async move {
            sleep(there).await;
            if request_lost || cable.is_cut() {
                return;
            }
            world.look_at_store();
            let answer = act().await;
            world.look_at_store();
            sleep(back).await;
            if !answer_lost && !cable.is_cut() {
                // The caller may be dead.
                let _ = tell.send(answer);
            }
        });
        let answer = timeout(CALL_LIMIT, async {
            match told.await {
                Ok(answer) => answer,
                Err(_) => std::future::pending().await,
            }
        });
        let answer = match answer.await {
            Ok(answer) => answer,
            Err(_) => Err(StoreError::Unavailable(format!("no answer within {} s", CALL_LIMIT.as_secs()))),
        };
        life.risk().await;
        answer
    }

    async fn commit_one(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let (world, who) = (Arc::clone(&self.0.world), self.0.who);
        let trace = self.0.world.trace.clone();
        let text = txn_text(&txn);
        let outcome = self
            .call(move || async move {
                let outcome = world.mem.commit(&txn).await;
                if let Ok(TxnOutcome::Committed(revision)) = outcome {
                    world.judge().wrote(revision, who);
                    let withdraws =
                        |write: &Write| matches!(write, Write::Delete { key } if key.starts_with("machines/"));
                    if txn.writes.iter().any(withdraws) {
                        world.withdrawn(who);
                    }
                }
                trace.say(&who.to_string(), || format!("store: {text} => {}", outcome_text(&outcome)));
                outcome
            })
            .await;
        if let Err(err) = &outcome {
            self.0.say(|| format!("store: commit: {err}"));
        }
        outcome
    }

    /// Does wrong what the planted bug does wrong.
    fn spoil(&self, txn: &Txn) -> Spoiled {
        let is_fence = |guard: &Guard| matches!(guard, Guard::CreateRevision(key, _) if key == "leader");
        let of_engine = txn.guards.iter().any(is_fence);
        let all_in =
            |folder: &str| !txn.writes.is_empty() && txn.writes.iter().all(|write| write.key().starts_with(folder));
        let mut spoiled = txn.clone();
        match self.0.world.bug {
            Some(Bug::NoFence) => spoiled.guards.retain(|guard| !is_fence(guard)),
            Some(Bug::TornPlans) if of_engine && all_in("placements/") => {
                let guards: Vec<Guard> = txn.guards.iter().filter(|guard| is_fence(guard)).cloned().collect();
                let one = |write: &Write| Txn { guards: guards.clone(), writes: vec![write.clone()] };
                return Spoiled::Torn(txn.writes.iter().map(one).collect());
            }
            Some(Bug::StopFirst) if of_engine => {
                for write in &mut spoiled.writes {
                    let leaves = matches!(write, Write::Put { value, .. } if text(value).contains("\"leaving\":"));
                    if leaves {
                        *write = Write::Delete { key: write.key().to_owned() };
                    }
                }
            }
            Some(Bug::ReportsWithoutLease) if all_in("states/") => {
                for write in &mut spoiled.writes {
                    if let Write::Put { lease, .. } = write {
                        *lease = None;
                    }
                }
            }
            Some(Bug::AckFirst) if all_in("units/") && self.0.world.chance.happens(0.05) => return Spoiled::NotDone,
            Some(Bug::ChecksAssumed) if txn.writes.is_empty() => return Spoiled::NotDone,
            Some(Bug::LeavesOrders) => {
                spoiled.writes.retain(|write| !matches!(write, Write::Put { key, .. } if key.starts_with("given-up/")));
            }
            Some(Bug::ReplacedStays) if of_engine => {
                let comes = |write: &Write| matches!(write, Write::Put { key, .. } if key.contains("/heir-"));
                if txn.writes.iter().any(comes) {
                    spoiled.writes.retain(|write| !write.key().contains("/elder-"));
                }
            }
            _ => (),
        }
        Spoiled::Txn(spoiled)
    }
}

enum Spoiled {
    Txn(Txn),
    Torn(Vec<Txn>),
    NotDone,
}

#[async_trait]
impl Store for Link {
    async fn read(&self, keys: &Keys) -> Result<Snapshot, StoreError> {
        let (world, wanted) = (Arc::clone(&self.0.world), keys.clone());
        let snapshot = self.call(move || async move { world.mem.read(&wanted).await }).await;
        let snapshot = match snapshot {
            Err(_) if is_orders(keys) && self.0.world.has(Bug::UnreadIsNone) => {
                Ok(Snapshot { kvs: Vec::new(), revision: Revision(1) })
            }
            other => other,
        };
        let snapshot = snapshot.map(|mut snapshot| {
            snapshot.kvs.retain(|kv| !self.0.is_hidden(&kv.key));
            snapshot
        });
        match &snapshot {
            Ok(snapshot) if is_orders(keys) => {
                self.0.say(|| format!("reads its orders: {} at {}", snapshot.kvs.len(), snapshot.revision.0));
                self.0.ear.hears(self.0.world.trace.now_ms(), snapshot.revision);
                self.0.world.judge().reads_orders(self.0.who, snapshot.revision);
            }
            Ok(_) => (),
            Err(err) => self.0.say(|| format!("store: read of {keys:?}: {err}")),
        }
        snapshot
    }

    async fn commit(&self, txn: &Txn) -> Result<TxnOutcome, StoreError> {
        match self.spoil(txn) {
            Spoiled::Txn(txn) => self.commit_one(txn).await,
            Spoiled::NotDone => {
                self.call(|| async { Ok(()) }).await?;
                Ok(TxnOutcome::Committed(Revision(0)))
            }
            Spoiled::Torn(txns) => {
                let mut last = TxnOutcome::Committed(Revision(0));
                for txn in txns {
                    last = self.commit_one(txn).await?;
                }
                Ok(last)
            }
        }
    }

    async fn watch(&self, keys: &Keys, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        let (world, wanted) = (Arc::clone(&self.0.world), keys.clone());
        let inner = self
            .call(move || async move {
                let from = if world.has(Bug::WatchFromNow) {
                    let now = world.mem.read(&Keys::One("leader".to_owned())).await?;
                    Revision(now.revision.0 + 1)
                } else {
                    from
                };
                world.mem.watch(&wanted, from).await
            })
            .await?;
        Ok(Box::new(LinkWatch { life: Arc::clone(&self.0), inner, orders: is_orders(keys), delivered: None }))
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let world = Arc::clone(&self.0.world);
        self.call(move || async move { world.mem.grant(ttl).await }).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let world = Arc::clone(&self.0.world);
        let kept = self.call(move || async move { world.mem.keep_alive(lease).await }).await;
        if let Err(err) = &kept {
            self.0.say(|| format!("store: renewal of lease {}: {err}", lease.0));
        }
        match kept {
            Err(StoreError::NoLease(_)) if self.0.world.has(Bug::RenewalAssumed) => Ok(()),
            other => other,
        }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let world = Arc::clone(&self.0.world);
        self.call(move || async move { world.mem.revoke(lease).await }).await
    }
}

fn is_orders(keys: &Keys) -> bool {
    matches!(keys, Keys::Prefix(prefix) if prefix.starts_with("placements/"))
}

struct LinkWatch {
    life: Arc<Life>,
    inner: Box<dyn Watch>,
    orders: bool,
    /// When the last batch was handed out: what came at the same time comes with it.
    delivered: Option<Instant>,
}

#[async_trait]
impl Watch for LinkWatch {
    async fn next(&mut self) -> Result<Batch, StoreError> {
        loop {
            let batch = self.inner.next().await;
            let world = &self.life.world;
            world.look_at_store();
            let weather = world.weather();
            if self.delivered != Some(Instant::now()) {
                sleep(world.chance.ms(&weather.watch_ms)).await;
            }
            if timeout(WATCH_LIMIT, self.life.cable.whole()).await.is_err() {
                self.life.gate.pass().await;
                return Err(StoreError::Unavailable(format!("nothing heard for {} s", WATCH_LIMIT.as_secs())));
            }
            self.life.gate.pass().await;
            if batch.is_ok() && world.chance.happens(weather.batches_lost) {
                self.life.say(|| "a batch of its watch gets lost".to_owned());
                world.judge().goes_deaf();
                continue;
            }
            self.delivered = Some(Instant::now());
            let batch = batch.map(|mut batch| {
                batch.changes.retain(|change| !self.life.is_hidden(change.key()));
                batch
            });
            if let (true, Ok(batch)) = (self.orders, &batch) {
                self.life.ear.hears(world.trace.now_ms(), batch.revision);
            }
            return batch;
        }
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// A transaction in short.
fn txn_text(txn: &Txn) -> String {
    let write = |write: &Write| match write {
        Write::Put { key, .. } => format!("+{key}"),
        Write::Delete { key } => format!("-{key}"),
    };
    txn.writes.iter().map(write).collect::<Vec<_>>().join(" ")
}

fn outcome_text(outcome: &Result<TxnOutcome, StoreError>) -> String {
    match outcome {
        Ok(TxnOutcome::Committed(revision)) => format!("revision {}", revision.0),
        Ok(TxnOutcome::Conflict(revision)) => format!("conflict at {}", revision.0),
        Err(err) => err.to_string(),
    }
}

/// The keys of a batch in short.
pub(crate) fn batch_text(batch: &Batch) -> String {
    let change = |change: &Change| match change {
        Change::Put(kv) => format!("+{}", kv.key),
        Change::Delete { key, .. } => format!("-{key}"),
    };
    batch.changes.iter().map(change).collect::<Vec<_>>().join(" ")
}
