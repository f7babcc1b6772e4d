//! Presence: the machine's key, on a lease that is kept alive as long as this process can reach the store.
//!
//! When the process ends, in whatever way, the lease is left to run out: a new `fleetd` of the same boot that comes in time
//! takes the key over, and nobody notices that one was gone. A machine whose ID is in use by another one stays out.

use std::sync::Arc;
use std::time::Duration;

use fleet_core::model::{MachineId, Revision};
use fleet_store::registry::ops::{self, Seat};
use fleet_store::registry::{GivenUpRecord, Key, MachineRecord, Value as _};
use fleet_store::{Change, LeaseId, Store, StoreError, TxnOutcome};
use tokio::sync::watch;

use crate::clock::{self, BootClock};
use crate::guard::Until;
use crate::leave::Departure;
use crate::view::Backoff;

/// A lease is kept alive so many times within its time, so that two lost calls are no death.
const RENEWALS_PER_TTL: u32 = 3;

/// One machine's presence.
pub struct Presence {
    entrance: Entrance,
    held: watch::Sender<Seat>,
    until: watch::Sender<Option<Until>>,
}

/// What a machine needs to become present.
struct Entrance {
    machine: MachineId,
    /// What is told of it, which may change.
    record: watch::Receiver<MachineRecord>,
    ttl: Duration,
    boot_clock: BootClock,
    store: Arc<dyn Store>,
}

/// Why the machine could not become present this time.
enum Out {
    /// Another machine has this ID; its record has this revision.
    Taken(MachineRecord, Revision),
    /// Somebody was faster, or the store did not answer.
    Failed(String),
}

impl Presence {
    /// Announces the machine, however long that takes.
    pub async fn announce(
        machine: MachineId,
        record: watch::Receiver<MachineRecord>,
        ttl: Duration,
        boot_clock: BootClock,
        store: Arc<dyn Store>,
    ) -> Presence {
        let mut entrance = Entrance { machine, record, ttl, boot_clock, store };
        let (held, until) = entrance.take().await;
        Presence { entrance, held: watch::Sender::new(held), until: watch::Sender::new(Some(until)) }
    }

    /// By what the machine is present; with a new lease all that lived on the last is gone.
    pub fn seat(&self) -> watch::Receiver<Seat> {
        self.held.subscribe()
    }

    /// Until when the machine certainly has it; `None` while it has none.
    pub fn until(&self) -> watch::Receiver<Option<Until>> {
        self.until.subscribe()
    }

    /// Keeps it alive until nothing is left on the machine that leaves; then it ends it.
    pub async fn keep(self, departure: &Departure) {
        let Presence { mut entrance, held, until } = self;
        let mut backoff = Backoff::up_to(entrance.ttl / RENEWALS_PER_TTL / 2);
        let mut renewals = tokio::time::interval(entrance.ttl / RENEWALS_PER_TTL);
        renewals.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = true;
        loop {
            tokio::select! {
                // In this order, so that equal happenings give an equal run.
                biased;
                _ = renewals.tick() => (),
                () = changed(&mut entrance.record) => told = false,
                () = departure.empty.cancelled() => {
                    until.send_replace(None);
                    let lease = held.borrow().lease;
                    entrance.withdraw(lease).await;
                    return departure.gone.cancel();
                }
            }
            let current = held.borrow().lease;
            if !told {
                match entrance.tell(current).await {
                    Ok(record) => {
                        told = true;
                        held.send_replace(Seat { lease: current, record });
                        tracing::info!(machine = %entrance.machine, "the machine's record was changed");
                    }
                    // With the next renewal it is tried again.
                    Err(Out::Failed(reason)) => {
                        tracing::warn!(machine = %entrance.machine, reason, "cannot change the machine's record yet");
                    }
                    Err(Out::Taken(other, _)) => entrance.refuse(&other),
                }
            }
            // Before it is sent: however late the answer is, the lease lives at least so long.
            let renewed = Until { lease: current, at: (entrance.boot_clock)().plus(entrance.ttl) };
            match entrance.store.keep_alive(current).await {
                Ok(()) => {
                    backoff.reset();
                    until.send_replace(Some(renewed));
                }
                Err(StoreError::NoLease(_)) => {
                    tracing::warn!(machine = %entrance.machine, "the machine's lease had run out; announcing it anew");
                    until.send_replace(None);
                    let (seated, anew) = entrance.take().await;
                    // With all that is to be told by now.
                    told = true;
                    held.send_replace(seated);
                    until.send_replace(Some(anew));
                }
                Err(err) => {
                    tracing::warn!(machine = %entrance.machine, error = %err, "cannot renew the machine's lease; trying again");
                    backoff.pause().await;
                    renewals.reset_immediately();
                }
            }
        }
    }
}

/// Waits for a change. There is none any more when nobody is left who could make one.
async fn changed(record: &mut watch::Receiver<MachineRecord>) {
    if record.changed().await.is_err() {
        std::future::pending().await
    }
}

impl Entrance {
    /// Becomes present, however long that takes.
    async fn take(&mut self) -> (Seat, Until) {
        let mut backoff = Backoff::default();
        loop {
            match self.try_take().await {
                Ok(taken) => return taken,
                Err(Out::Failed(reason)) => {
                    tracing::warn!(machine = %self.machine, reason, "cannot announce the machine; trying again");
                    backoff.pause().await;
                }
                Err(Out::Taken(other, revision)) => {
                    self.refuse(&other);
                    if let Err(err) = self.until_free(revision).await {
                        tracing::warn!(machine = %self.machine, error = %err, "cannot watch the other machine's record");
                        backoff.pause().await;
                    }
                }
            }
        }
    }

    async fn try_take(&mut self) -> Result<(Seat, Until), Out> {
        let failed = |err: StoreError| Out::Failed(err.to_string());
        let seen = self.seen().await?;
        let at = (self.boot_clock)().plus(self.ttl);
        let lease = self.store.grant(self.ttl).await.map_err(failed)?;
        match self.announce(lease, seen).await? {
            TxnOutcome::Committed(record) => Ok((Seat { lease, record }, Until { lease, at })),
            TxnOutcome::Conflict(_) => {
                self.store.revoke(lease).await.map_err(failed)?;
                Err(Out::Failed("its record changed meanwhile".to_owned()))
            }
        }
    }

    /// Changes what is told of the machine, on the lease that it has; the revision of its record then.
    async fn tell(&mut self, lease: LeaseId) -> Result<Revision, Out> {
        let seen = self.seen().await?;
        match self.announce(lease, seen).await? {
            TxnOutcome::Committed(record) => Ok(record),
            TxnOutcome::Conflict(_) => Err(Out::Failed("its record changed meanwhile".to_owned())),
        }
    }

    /// Takes the machine out of the cluster, however long that takes.
    async fn withdraw(&self, lease: LeaseId) {
        let mut backoff = Backoff::default();
        loop {
            match self.try_withdraw(lease).await {
                Ok(()) => return,
                Err(Out::Taken(other, _)) => return self.refuse(&other),
                Err(Out::Failed(reason)) => {
                    tracing::warn!(machine = %self.machine, reason, "cannot withdraw the machine's record; trying again");
                    backoff.pause().await;
                }
            }
        }
    }

    async fn try_withdraw(&self, lease: LeaseId) -> Result<(), Out> {
        let failed = |err: StoreError| Out::Failed(err.to_string());
        // Without a record it is withdrawn already, by a transaction whose answer was lost.
        if let Some(record) = self.seen().await? {
            // What no other machine could take is still ordered here.
            let orders = self.store.read(&Key::placements_of(&self.machine)).await.map_err(failed)?;
            let given_up = (!orders.kvs.is_empty()).then(|| GivenUpRecord { since: clock::now() });
            let txn = ops::withdraw(&self.machine, record, given_up.as_ref());
            if let TxnOutcome::Conflict(_) = self.store.commit(&txn).await.map_err(failed)? {
                return Err(Out::Failed("its record changed meanwhile".to_owned()));
            }
        }
        match self.store.revoke(lease).await {
            Ok(()) | Err(StoreError::NoLease(_)) => Ok(()),
            Err(err) => Err(failed(err)),
        }
    }

    /// The revision of the machine's record, if there is one and it is not another machine's.
    async fn seen(&self) -> Result<Option<Revision>, Out> {
        let failed = |err: StoreError| Out::Failed(err.to_string());
        let snapshot = self.store.read(&Key::Machine(self.machine.clone()).one()).await.map_err(failed)?;
        let Some(kv) = snapshot.kvs.first() else { return Ok(None) };
        match MachineRecord::decode(&kv.value) {
            Ok(other) if !self.was(&other) => Err(Out::Taken(other, snapshot.revision)),
            Ok(_) | Err(_) => Ok(Some(kv.mod_revision)),
        }
    }

    async fn announce(&mut self, lease: LeaseId, seen: Option<Revision>) -> Result<TxnOutcome, Out> {
        // What is told now is no news any more.
        let record = self.record.borrow_and_update().clone();
        let txn = ops::announce(&self.machine, &record, lease, seen).map_err(|err| Out::Failed(err.to_string()))?;
        self.store.commit(&txn).await.map_err(|err| Out::Failed(err.to_string()))
    }

    /// Whether a record is this machine's own, of an earlier `fleetd`.
    fn was(&self, other: &MachineRecord) -> bool {
        !other.boot_id.is_empty() && other.boot_id == self.record.borrow().boot_id
    }

    fn refuse(&self, other: &MachineRecord) {
        let own = self.record.borrow();
        tracing::error!(
            machine = %self.machine,
            here = own.public_ip,
            boot_here = own.boot_id,
            there = other.public_ip,
            boot_there = other.boot_id,
            "machine ID {} is in use by the machine at {}; this one, at {}, stays out. If that is this machine before its \
             reboot, its record goes within {} s. If two machines have one ID (a cloned image), give one a new \
             /etc/machine-id: remove the file, run systemd-machine-id-setup, reboot",
            self.machine,
            or_unknown(&other.public_ip),
            or_unknown(&own.public_ip),
            self.ttl.as_secs(),
        );
    }

    /// Waits until the other record is gone, or may be: watches have lost events before.
    async fn until_free(&self, seen: Revision) -> Result<(), StoreError> {
        let keys = Key::Machine(self.machine.clone()).one();
        let mut watch = self.store.watch(&keys, Revision(seen.0 + 1)).await?;
        let look_again = tokio::time::sleep(self.ttl);
        tokio::pin!(look_again);
        loop {
            let batch = tokio::select! {
                biased;
                batch = watch.next() => batch?,
                () = &mut look_again => return Ok(()),
            };
            if batch.changes.iter().any(|change| matches!(change, Change::Delete { .. })) {
                return Ok(());
            }
        }
    }
}

fn or_unknown(address: &str) -> &str {
    if address.is_empty() { "an unknown address" } else { address }
}

#[cfg(test)]
mod tests {
    use fleet_store::mem::Mem;
    use tokio::time::timeout;

    use super::*;
    use crate::guard::BootTime;

    const TTL: Duration = Duration::from_secs(9);

    /// Found by the simulator: the record was written a second time, long after everything was at rest.
    #[tokio::test(start_paused = true)]
    async fn what_changed_while_there_was_no_lease_is_told_once() {
        let store = Arc::new(Mem::default());
        let machine: MachineId = "m1".parse().expect("an ID");
        let (record, told) = watch::channel(MachineRecord { boot_id: "b1".to_owned(), ..MachineRecord::default() });
        let clock: BootClock = || BootTime(clock::now().0);
        let presence = Presence::announce(machine.clone(), told, TTL, clock, store.clone()).await;
        let Seat { lease, record: first } = *presence.seat().borrow();
        let mut news = store.watch(&Key::Machine(machine).one(), Revision(first.0 + 1)).await.expect("a watch");
        tokio::spawn(async move { presence.keep(&Departure::default()).await });
        store.revoke(lease).await.expect("it is there");
        record.send_modify(|record| record.public_ip = "192.0.2.7".to_owned());
        let mut addresses = Vec::new();
        while let Ok(batch) = timeout(TTL * 3, news.next()).await {
            addresses.extend(batch.expect("a batch").changes.iter().map(|change| match change {
                Change::Put(kv) => MachineRecord::decode(&kv.value).expect("a record").public_ip,
                Change::Delete { .. } => "gone".to_owned(),
            }));
        }
        assert_eq!(addresses, ["gone", "192.0.2.7"]);
    }
}
