//! The agent's shell: carries out what the agent of fleet-core asks for and tells it what happened. It decides nothing.

use std::sync::Arc;
use std::time::Duration;

use fleet_core::agent::{Agent, Effect, Event};
use fleet_core::model::{MachineId, Placement, Revision, Timestamp, UnitState};
use fleet_core::unit::{UnitHash, UnitName};
use fleet_store::registry::{FileRecord, Key, Value as _, ops};
use fleet_store::{Change, KeyValue, Keys, LeaseId, Store, StoreError};
use fleet_systemd::{ManagerEvent, UnitManager, UnitStatus};
use tokio::sync::{mpsc, watch};

use crate::clock;
use crate::view::Backoff;

/// Changes of placements that may wait for the agent; more, and the watch waits.
const PLACEMENTS_QUEUE: usize = 64;

/// Drives one machine until its task is dropped.
///
/// `lease` is the one that the machine's presence lives on; its states live on it, too.
pub async fn run(
    machine: MachineId,
    store: Arc<dyn Store>,
    manager: Arc<dyn UnitManager>,
    mut lease: watch::Receiver<LeaseId>,
    n_slices: u32,
    resync: Duration,
) {
    let (results_tx, mut results) = mpsc::unbounded_channel();
    let (placements_tx, mut placements) = mpsc::channel(PLACEMENTS_QUEUE);
    // Dropped with this future, and so ended.
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(follow_placements(machine.clone(), Arc::clone(&store), resync, placements_tx));
    let mut signals = manager.events().expect("the manager's events are taken once, here");
    let shell = Shell { machine, store, manager, results: results_tx };
    let mut agent = Agent::new(n_slices);
    let mut wake: Option<Timestamp> = None;
    loop {
        let first = tokio::select! {
            biased;
            Some(event) = signals.recv() => Heard::FromManager(event),
            Some(event) = placements.recv() => Heard::Other(event),
            Some(event) = results.recv() => Heard::Other(event),
            Ok(()) = lease.changed() => Heard::Other(Event::ReportsLost),
            () = sleep_until(wake) => {
                wake = None;
                Heard::Other(Event::Tick)
            }
        };
        let heard = all_heard(first, &mut signals, &mut placements, &mut results);
        let said = with_states(heard, |unit| shell.manager.status(unit));
        for event in &said {
            note(&shell.machine, event);
        }
        for effect in agent.handle_all(clock::now(), said) {
            tracing::debug!(machine = %shell.machine, ?effect, "agent");
            match effect {
                Effect::Wake(at) => wake = Some(at),
                effect => {
                    let lease = *lease.borrow();
                    tasks.spawn(shell.clone().carry_out(effect, lease));
                }
            }
        }
        // Finished effects have told their result; only their handles are left.
        while tasks.try_join_next().is_some() {}
    }
}

/// What woke the loop.
enum Heard {
    FromManager(ManagerEvent),
    Other(Event),
}

/// What woke the loop, and all else that is there already, in an order that is true: of each source in its own order, and what
/// systemd said before the results, because it was said before the end of a job that is among them.
fn all_heard(
    first: Heard,
    signals: &mut mpsc::Receiver<ManagerEvent>,
    placements: &mut mpsc::Receiver<Event>,
    results: &mut mpsc::UnboundedReceiver<Event>,
) -> Vec<Event> {
    let (from_systemd, other) = match first {
        Heard::FromManager(event) => (Some(event), None),
        Heard::Other(event) => (None, Some(event)),
    };
    // Results are taken first and told last: what systemd said before the end of a job is then there to be taken.
    let mut others: Vec<Event> = other.into_iter().collect();
    others.extend(std::iter::from_fn(|| placements.try_recv().ok()));
    others.extend(std::iter::from_fn(|| results.try_recv().ok()));
    let mut heard: Vec<Event> = from_systemd.into_iter().map(from_manager).collect();
    heard.extend(std::iter::from_fn(|| signals.try_recv().ok()).map(from_manager));
    heard.extend(others);
    heard
}

/// Puts before the end of each job how its unit is now: whoever hears that a start failed wants to know that, and the event
/// that tells of it may still be on its way.
///
/// Asked for only now, so that it is at least as new as all states among `heard`; an older one after a newer would stay.
fn with_states(heard: Vec<Event>, status: impl Fn(&UnitName) -> Option<UnitStatus>) -> Vec<Event> {
    let state_before = |event: &Event| match event {
        Event::Ran(unit, _, Ok(_)) => status(unit).map(Event::Status),
        _ => None,
    };
    heard.into_iter().flat_map(|event| state_before(&event).into_iter().chain([event])).collect()
}

async fn sleep_until(wake: Option<Timestamp>) {
    match wake {
        Some(at) => tokio::time::sleep(clock::until(at)).await,
        None => std::future::pending().await,
    }
}

fn from_manager(event: ManagerEvent) -> Event {
    match event {
        ManagerEvent::Changed(status) => Event::Status(status),
        ManagerEvent::Disconnected => Event::Disconnected,
        ManagerEvent::Connected => Event::Connected,
    }
}

/// Writes to the log what an operator wants to find there.
fn note(machine: &MachineId, event: &Event) {
    match event {
        Event::Disconnected => tracing::warn!(%machine, "lost the connection to systemd; units go on running"),
        Event::Connected => tracing::info!(%machine, "connected to systemd again"),
        Event::GuardFailed(reason) => tracing::warn!(%machine, reason, "no guard"),
        Event::LookFailed(reason) => tracing::warn!(%machine, reason, "cannot look at the machine"),
        Event::FetchFailed(_, reason) => tracing::warn!(%machine, reason, "cannot fetch unit files"),
        Event::Reported(Err(reason)) => tracing::warn!(%machine, reason, "cannot report unit states"),
        Event::Ran(unit, verb, result) => match result {
            Ok(ended) => tracing::info!(%machine, %unit, job = verb.as_str(), ?ended, "job ended"),
            Err(reason) => {
                tracing::warn!(%machine, %unit, job = verb.as_str(), reason, "the end of a job was not seen")
            }
        },
        Event::Wrote(results) | Event::Removed(results) => {
            for (unit, result) in results {
                if let Err(reason) = result {
                    tracing::warn!(%machine, %unit, reason, "unit file");
                }
            }
        }
        _ => tracing::trace!(%machine, ?event, "agent"),
    }
}

#[derive(Clone)]
struct Shell {
    machine: MachineId,
    store: Arc<dyn Store>,
    manager: Arc<dyn UnitManager>,
    results: mpsc::UnboundedSender<Event>,
}

impl Shell {
    async fn carry_out(self, effect: Effect, lease: LeaseId) {
        let text = |err: fleet_systemd::ManagerError| err.to_string();
        let event = match effect {
            Effect::Look => match self.manager.look().await {
                Ok(look) => Event::Looked(look),
                Err(err) => Event::LookFailed(err.to_string()),
            },
            Effect::Fetch(hashes) => self.fetch(hashes).await,
            Effect::Write(files) => {
                let names = files.iter().map(|file| file.name.clone());
                let results = match self.manager.write(&files).await {
                    Ok(results) => results.into_iter().map(|result| result.map_err(text)).collect(),
                    Err(err) => vec![Err(err.to_string()); files.len()],
                };
                Event::Wrote(names.zip(results).collect())
            }
            Effect::WriteReceipt(name, receipt) => {
                let result = self.manager.write_receipt(&name, &receipt).await.map_err(text);
                Event::ReceiptWritten(name, result)
            }
            Effect::Run(name, verb) => {
                let result = self.manager.run(&name, verb).await.map_err(text);
                Event::Ran(name, verb, result)
            }
            Effect::Remove(names) => {
                let results = match self.manager.remove(&names).await {
                    Ok(results) => results.into_iter().map(|result| result.map_err(text)).collect(),
                    Err(err) => vec![Err(err.to_string()); names.len()],
                };
                Event::Removed(names.into_iter().zip(results).collect())
            }
            Effect::Report(states) => Event::Reported(self.report(&states, lease).await),
            Effect::Guard { needed: true } => Event::GuardFailed(
                "this fleetd arms no guard, so it starts no unit with `WhenIsolated=stop`".to_owned(),
            ),
            Effect::Guard { needed: false } => return,
            Effect::Wake(_) => Event::Tick,
        };
        // The receiver is gone only when the agent is: then nobody is left to be told.
        let _ = self.results.send(event);
    }

    async fn fetch(&self, hashes: Vec<UnitHash>) -> Event {
        let mut files = Vec::new();
        for hash in &hashes {
            match self.store.read(&Key::File(*hash).one()).await {
                Ok(snapshot) => {
                    let record = snapshot.kvs.first().and_then(|kv| FileRecord::decode(&kv.value).ok());
                    files.push((*hash, record.map(|record| record.canonical.into())));
                }
                Err(err) => return Event::FetchFailed(hashes, err.to_string()),
            }
        }
        Event::Fetched(files)
    }

    async fn report(&self, states: &[(UnitName, Option<UnitState>)], lease: LeaseId) -> Result<(), String> {
        let states = states.iter().map(|(name, state)| (name, state.as_ref()));
        let txns = ops::report_states(&self.machine, states, lease).map_err(|err| err.to_string())?;
        for txn in txns {
            self.store.commit(&txn).await.map_err(|err| err.to_string())?;
        }
        Ok(())
    }
}

/// Tells the placements of one machine: all of them, then each change; all of them again after a gap, and now and then
/// without one, because watches have lost events before.
async fn follow_placements(machine: MachineId, store: Arc<dyn Store>, resync: Duration, events: mpsc::Sender<Event>) {
    let keys = Key::placements_of(&machine);
    let mut backoff = Backoff::default();
    loop {
        match follow_once(&keys, &*store, resync, &events, &mut backoff).await {
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
    resync: Duration,
    events: &mpsc::Sender<Event>,
    backoff: &mut Backoff,
) -> Result<Ended, StoreError> {
    let snapshot = store.read(keys).await?;
    let all = snapshot.kvs.iter().filter_map(placement).collect();
    if events.send(Event::Placements(all)).await.is_err() {
        return Ok(Ended::NobodyListens);
    }
    let mut watch = store.watch(keys, Revision(snapshot.revision.0 + 1)).await?;
    let due = tokio::time::Instant::now() + resync;
    loop {
        let Ok(batch) = tokio::time::timeout_at(due, watch.next()).await else { return Ok(Ended::ResyncDue) };
        let batch = batch?;
        backoff.reset();
        let changes = batch.changes.iter().filter_map(placement_change).collect();
        if events.send(Event::PlacementsChanged(changes)).await.is_err() {
            return Ok(Ended::NobodyListens);
        }
    }
}

/// An order as it stands in the store. One that cannot be read is left as if it were not there to be carried out, and said.
fn placement(kv: &KeyValue) -> Option<(UnitName, Placement)> {
    let Some(Key::Placement(_, name)) = Key::parse(&kv.key) else {
        tracing::warn!(key = kv.key, "no placement has such a key");
        return None;
    };
    match Placement::decode(&kv.value) {
        Ok(placement) => Some((name, placement)),
        Err(err) => {
            tracing::warn!(key = kv.key, error = %err, "cannot read a placement");
            None
        }
    }
}

fn placement_change(change: &Change) -> Option<(UnitName, Option<Placement>)> {
    match change {
        Change::Put(kv) => placement(kv).map(|(name, placement)| (name, Some(placement))),
        Change::Delete { key, .. } => match Key::parse(key) {
            Some(Key::Placement(_, name)) => Some((name, None)),
            Some(_) | None => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use fleet_systemd::{JobResult, Verb};

    use super::*;

    fn status(active: &str) -> UnitStatus {
        UnitStatus { active: active.to_owned(), ..UnitStatus::unloaded("a.service".parse().expect("a unit name")) }
    }

    /// A benchmark left a running unit behind: its newest state was taken in before an older one, so it was thought at rest.
    #[test]
    fn states_are_heard_in_the_order_of_systemd() {
        let (signals_tx, mut signals) = mpsc::channel(8);
        let (_placements_tx, mut placements) = mpsc::channel(8);
        let (results_tx, mut results) = mpsc::unbounded_channel();
        let mut hear = |first| all_heard(first, &mut signals, &mut placements, &mut results);
        let told = |active| signals_tx.try_send(ManagerEvent::Changed(status(active))).expect("there is room");

        told("active");
        let heard = hear(Heard::FromManager(ManagerEvent::Changed(status("inactive"))));
        assert_eq!(heard, [Event::Status(status("inactive")), Event::Status(status("active"))]);

        // A job's end that woke the loop waits for what systemd said before it.
        told("active");
        results_tx.send(Event::Reported(Ok(()))).expect("the loop is there");
        let heard = hear(Heard::Other(Event::LookFailed(String::new())));
        let expected = [Event::Status(status("active")), Event::LookFailed(String::new()), Event::Reported(Ok(()))];
        assert_eq!(heard, expected);
    }

    /// A unit that starts well and dies at once: its job's end and its death are heard together.
    #[test]
    fn no_state_is_told_after_a_newer_one() {
        let unit: UnitName = "a.service".parse().expect("a unit name");
        let ran = Event::Ran(unit.clone(), Verb::Start, Ok(JobResult::Done));
        let heard = vec![Event::Status(status("active")), Event::Status(status("failed")), ran.clone()];
        let mut expected = heard.clone();
        expected.insert(2, Event::Status(status("failed")));
        assert_eq!(with_states(heard, |_| Some(status("failed"))), expected);

        let unseen = Event::Ran(unit, Verb::Start, Err("the connection was lost".to_owned()));
        assert_eq!(with_states(vec![unseen.clone()], |_| Some(status("active"))), [unseen], "nothing is known then");
        assert_eq!(with_states(vec![ran.clone()], |_| None), [ran], "not a unit of ours any more");
    }
}
