//! The agent's shell: carries out what the agent of fleet-core asks for and tells it what happened. It decides nothing.

use std::sync::Arc;
use std::time::Duration;

use fleet_core::agent::{Agent, Effect, Event};
use fleet_core::model::{MachineId, Timestamp, UnitState};
use fleet_core::unit::{GUARD_UNIT, UnitHash, UnitName};
use fleet_store::registry::ops::{self, Seat};
use fleet_store::registry::{FileRecord, Key, Value as _};
use fleet_store::{LeaseId, Store, TxnOutcome};
use fleet_systemd::{JobResult, ManagerError, ManagerEvent, UnitManager, UnitStatus, Verb};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::clock;
use crate::guard::Post;
use crate::leave::Departure;
use crate::metrics::METRICS;
use crate::orders::{self, Orders};

/// Changes of orders that may wait for the agent; more, and the watch waits.
const ORDERS_QUEUE: usize = 64;

/// What an agent's shell works with.
pub struct Parts {
    /// Which machine.
    pub machine: MachineId,
    /// Where its orders are.
    pub store: Arc<dyn Store>,
    /// Its systemd.
    pub manager: Arc<dyn UnitManager>,
    /// By what the machine is present; its states live on the same lease.
    pub seat: watch::Receiver<Seat>,
    /// For units that may not run without that lease.
    pub guard: Post,
    /// Over how many slices units are spread.
    pub n_slices: u32,
    /// How often the orders are read anew although no watch has failed.
    pub resync: Duration,
    /// When the machine leaves the cluster.
    pub departure: Departure,
}

/// Drives one machine until its task is dropped.
pub async fn run(parts: Parts) {
    let Parts { machine, store, manager, mut seat, guard, n_slices, resync, departure } = parts;
    let (results_tx, mut results) = mpsc::unbounded_channel();
    let (placements_tx, mut placements) = mpsc::channel(ORDERS_QUEUE);
    // Dropped with this future, and so ended.
    let mut tasks = JoinSet::new();
    // The lease as this loop knows it. Not a second receiver of `seat`: which of two hears first is chance, and equal
    // happenings shall give an equal run.
    let (lease_known, follower_lease) = watch::channel(seat.borrow_and_update().lease);
    tasks.spawn(orders::follow(machine.clone(), Arc::clone(&store), follower_lease, resync, placements_tx));
    let mut signals = manager.events().expect("the manager's events are taken once, here");
    let shell = Shell { machine, store, manager, results: results_tx };
    let mut agent = Agent::new(n_slices);
    let mut guard_news = GuardNews::default();
    let mut guarding: Option<AbortHandle> = None;
    let mut wake: Option<Timestamp> = None;
    let mut leaves = false;
    loop {
        let first = tokio::select! {
            biased;
            Some(event) = signals.recv() => Heard::FromManager(event),
            Some(orders) = placements.recv() => Heard::Orders(orders),
            Some(event) = results.recv() => Heard::Other(event),
            Ok(()) = seat.changed() => {
                let lease = seat.borrow().lease;
                if !lease_known.send_if_modified(|known| std::mem::replace(known, lease) != lease) {
                    // Only the machine's record has changed.
                    continue;
                }
                Heard::Other(Event::ReportsLost)
            }
            () = departure.unload.cancelled(), if !leaves => {
                leaves = true;
                Heard::Other(Event::Leave)
            }
            () = sleep_until(wake) => {
                wake = None;
                Heard::Other(Event::Tick)
            }
        };
        let (heard, read_under) = all_heard(first, &mut signals, &mut placements, &mut results);
        let heard = guard_news.told(heard, || shell.manager.status(&guard_unit()));
        let said = with_states(heard, |unit| shell.manager.status(unit));
        for event in &said {
            note(&shell.machine, event);
        }
        for effect in agent.handle_all(clock::now(), said) {
            tracing::debug!(machine = %shell.machine, ?effect, "agent");
            match effect {
                Effect::Wake(at) => wake = Some(at),
                Effect::Left => departure.empty.cancel(),
                Effect::Guard { needed } => {
                    // What was asked for before is not wanted any more: it may still be waiting for a lease.
                    guarding.take().inspect(AbortHandle::abort);
                    guarding = Some(tasks.spawn(shell.clone().guard(needed, guard.clone())));
                }
                effect => {
                    let seat = *seat.borrow();
                    tasks.spawn(shell.clone().carry_out(effect, seat));
                }
            }
        }
        if let Some(lease) = read_under {
            // Now that the agent goes by them, and not before.
            guard.admitted.send_replace(Some(lease));
        }
        // Finished effects have told their result; only their handles are left.
        while tasks.try_join_next().is_some() {}
    }
}

/// What woke the loop.
enum Heard {
    FromManager(ManagerEvent),
    Orders(Orders),
    Other(Event),
}

/// What woke the loop, and all else that is there already, in an order that is true: of each source in its own order, and what
/// systemd said before the results, because it was said before the end of a job that is among them. And the last lease under
/// which all orders among them were read.
fn all_heard(
    first: Heard,
    signals: &mut mpsc::Receiver<ManagerEvent>,
    placements: &mut mpsc::Receiver<Orders>,
    results: &mut mpsc::UnboundedReceiver<Event>,
) -> (Vec<Event>, Option<LeaseId>) {
    let (from_systemd, orders, other) = match first {
        Heard::FromManager(event) => (Some(event), None, None),
        Heard::Orders(orders) => (None, Some(orders), None),
        Heard::Other(event) => (None, None, Some(event)),
    };
    // Results are taken first and told last: what systemd said before the end of a job is then there to be taken.
    let mut others: Vec<Event> = other.into_iter().collect();
    let mut read_under = None;
    for orders in orders.into_iter().chain(std::iter::from_fn(|| placements.try_recv().ok())) {
        read_under = orders.read_under.or(read_under);
        others.push(orders.event);
    }
    others.extend(std::iter::from_fn(|| results.try_recv().ok()));
    let mut heard: Vec<Event> = from_systemd.into_iter().map(from_manager).collect();
    heard.extend(std::iter::from_fn(|| signals.try_recv().ok()).map(from_manager));
    heard.extend(others);
    (heard, read_under)
}

fn guard_unit() -> UnitName {
    GUARD_UNIT.parse().expect("a unit name")
}

/// What systemd says of the guard, as the agent is to hear it: not as of a unit of its own.
#[derive(Debug, Default)]
struct GuardNews {
    /// The agent was told that the guard stands.
    stands: bool,
}

impl GuardNews {
    /// Puts the guard's end in the place of what systemd says of its unit. `status`: how it is by now.
    fn told(&mut self, heard: Vec<Event>, status: impl Fn() -> Option<UnitStatus>) -> Vec<Event> {
        let stands = |status: &UnitStatus| status.active == "active";
        let ended = || Event::GuardFailed("it ended".to_owned());
        let tell = |event: Event| match event {
            Event::Status(status) if status.name.as_str() == GUARD_UNIT => {
                let ends = self.stands && !stands(&status);
                self.stands &= !ends;
                [ends.then(ended), None]
            }
            // Its end may have been told before the end of the job that started it.
            Event::GuardReady { .. } if !status().as_ref().is_some_and(stands) => [Some(ended()), None],
            Event::GuardReady { run } => {
                self.stands = true;
                [Some(Event::GuardReady { run }), None]
            }
            // It may have ended while nothing was heard, and what is bound to it with it: it is asked for again, which says
            // whether it is another one.
            Event::Connected if self.stands => {
                self.stands = false;
                let unknown = "there was no connection to systemd, which may have ended it meanwhile".to_owned();
                [Some(Event::Connected), Some(Event::GuardFailed(unknown))]
            }
            event => [Some(event), None],
        };
        heard.into_iter().flat_map(tell).flatten().collect()
    }
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
        Event::GuardReady { run } => tracing::info!(%machine, run, "the guard stands"),
        Event::GuardFailed(reason) => {
            tracing::warn!(%machine, reason, "no guard: units with `WhenIsolated=stop` are not started now")
        }
        Event::LookFailed(reason) => tracing::warn!(%machine, reason, "cannot look at the machine"),
        Event::FetchFailed(_, reason) => tracing::warn!(%machine, reason, "cannot fetch unit files"),
        Event::Reported(Err(reason)) => tracing::warn!(%machine, reason, "cannot report unit states"),
        Event::Ran(unit, verb, result) => match result {
            Ok(ended) => {
                METRICS.job(verb.as_str(), job_result(ended));
                tracing::info!(%machine, %unit, job = verb.as_str(), ?ended, "job ended");
            }
            Err(reason) => {
                METRICS.job(verb.as_str(), "unseen");
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

/// How a job ended, as a label: in systemd's words, of which there are few.
fn job_result(ended: &JobResult) -> &str {
    match ended {
        JobResult::Done => "done",
        JobResult::Other(word) => word,
        JobResult::Refused { .. } => "refused",
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
    async fn carry_out(self, effect: Effect, seat: Seat) {
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
            Effect::Report(states) => Event::Reported(self.report(&states, seat).await),
            Effect::Guard { .. } | Effect::Left | Effect::Wake(_) => unreachable!("the loop sees to these itself"),
        };
        // The receiver is gone only when the agent is: then nobody is left to be told.
        let _ = self.results.send(event);
    }

    /// Sees that the guard stands, as soon as the machine has a lease, or that it goes.
    async fn guard(self, needed: bool, mut post: Post) {
        let event = match needed {
            true => {
                post.wait().await;
                self.guard_stands(&post.unit_text).await.unwrap_or_else(Event::GuardFailed)
            }
            false => match self.guard_goes().await {
                Ok(()) => return,
                Err(err) => {
                    tracing::warn!(machine = %self.machine, error = %err, "the guard, which nobody needs, did not go");
                    return;
                }
            },
        };
        // As in `carry_out`.
        let _ = self.results.send(event);
    }

    async fn guard_stands(&self, unit_text: &str) -> Result<Event, String> {
        let name = guard_unit();
        let text = |err: ManagerError| err.to_string();
        self.manager.provide(&name, unit_text).await.map_err(text)?;
        if self.manager.status(&name).is_some_and(|status| status.active == "active") {
            return Ok(Event::GuardReady { run: self.manager.invocation(&name).await.map_err(text)? });
        }
        match self.manager.run(&name, Verb::Start).await.map_err(text)? {
            JobResult::Done => Ok(Event::GuardReady { run: self.manager.invocation(&name).await.map_err(text)? }),
            JobResult::Other(result) => Err(format!("the job that starts {name} ended with `{result}`")),
            JobResult::Refused { message, .. } => Err(format!("systemd does not start {name}: {message}")),
        }
    }

    async fn guard_goes(&self) -> Result<(), ManagerError> {
        let name = guard_unit();
        self.manager.run(&name, Verb::Stop).await?;
        self.manager.remove(std::slice::from_ref(&name)).await?.into_iter().collect()
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

    async fn report(&self, states: &[(UnitName, Option<UnitState>)], seat: Seat) -> Result<(), String> {
        let states = states.iter().map(|(name, state)| (name, state.as_ref()));
        let txns = ops::report_states(&self.machine, states, seat).map_err(|err| err.to_string())?;
        for txn in txns {
            let outcome = self.store.commit(&txn).await.map_err(|err| err.to_string())?;
            if let TxnOutcome::Conflict(_) = outcome {
                return Err("the machine's record is another one by now".to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
        let mut hear = |first| all_heard(first, &mut signals, &mut placements, &mut results).0;
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

    /// What is said of the guard's unit is news of the guard: its end once, and a start only if it still stands.
    #[test]
    fn the_guards_end_is_told_once() {
        let guard = |active: &str| UnitStatus { active: active.to_owned(), ..UnitStatus::unloaded(guard_unit()) };
        let mut news = GuardNews::default();
        let mut tell = |event: Event, now: &str| news.told(vec![event], || Some(guard(now))).pop();
        let said = |active: &str| Event::Status(guard(active));
        let ready = || Event::GuardReady { run: "first".to_owned() };
        let ended = Some(Event::GuardFailed("it ended".to_owned()));

        assert_eq!(tell(said("activating"), "activating"), None);
        assert_eq!(tell(said("failed"), "failed"), None, "the end of the job says that");
        assert_eq!(tell(ready(), "active"), Some(ready()));
        assert_eq!(tell(said("active"), "active"), None);
        assert_eq!(tell(said("deactivating"), "deactivating"), ended);
        assert_eq!(tell(said("inactive"), "inactive"), None, "that was said");
        assert_eq!(tell(ready(), "failed"), ended, "it ended before its start was told");
        assert_eq!(tell(Event::Status(status("failed")), "failed"), Some(Event::Status(status("failed"))));
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

    /// The simulator, seed 389 of its first version: the guard ended while there was no connection to systemd, and what had
    /// ended with it was never started again.
    #[test]
    fn a_guard_that_may_have_ended_unheard_is_asked_for_again() {
        let mut news = GuardNews::default();
        let guard = |active: &str| Some(UnitStatus { name: guard_unit(), ..status(active) });
        let ready = || Event::GuardReady { run: "first".to_owned() };
        assert_eq!(news.told(vec![Event::Connected], || None), [Event::Connected], "nobody needs one");
        assert_eq!(news.told(vec![ready()], || guard("active")), [ready()]);
        let told = news.told(vec![Event::Disconnected, Event::Connected], || guard("active"));
        assert_eq!(told[..2], [Event::Disconnected, Event::Connected]);
        assert!(matches!(told[2..], [Event::GuardFailed(_)]), "{told:?}");
        assert_eq!(news.told(vec![Event::Connected], || None), [Event::Connected], "it is asked for already");
    }
}
