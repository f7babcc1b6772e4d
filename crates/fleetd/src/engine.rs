//! The engine's shell: takes the lead, feeds the engine of fleet-core, and writes its plans. It decides nothing.
//!
//! Every write is fenced by the leader's own key: a process that was paused while another took the lead can write nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet_core::engine::{Delta, Effect, Engine, EngineConfig, Event, PlacementWrite, Plan, PlanGroup};
use fleet_core::model::{Brake, MachineId, Revision, Timestamp};
use fleet_store::registry::ops::{self, OpsError, PlacementChange};
use fleet_store::registry::{Key, LeaderRecord, View};
use fleet_store::{Guard, LeaseId, Store, StoreError, Txn, TxnOutcome, Write};
use tokio::task::JoinSet;

use crate::clock;
use crate::metrics::{METRICS, Tasks};
use crate::view::{Backoff, Changes, Look, SharedView};

/// The leader's lease is kept alive so many times within its time, so that two lost calls lose no lead.
const RENEWALS_PER_TTL: u32 = 3;

/// Stands for leader, leads, and stands again when the lead is lost; until its task is dropped.
///
/// `id`: who this is, the same after a restart of the process.
pub async fn run(store: Arc<dyn Store>, view: SharedView, id: String, losses: EngineConfig, ttl: Duration) {
    let mut backoff = Backoff::default();
    loop {
        match take_lead(&store, &view, &id, ttl).await {
            Ok((since, lease)) => {
                tracing::info!(revision = since.0, "this engine leads");
                backoff.reset();
                METRICS.lead(Some(clock::now()));
                lead(&store, &view, Lead { since, lease, renewal: ttl / RENEWALS_PER_TTL }, losses).await;
                METRICS.lead(None);
                tracing::warn!("this engine does not lead any more");
            }
            Err(err) => {
                tracing::warn!(error = %err, "cannot stand for leader; trying again");
                backoff.pause().await;
            }
        }
    }
}

/// Waits until nobody leads and takes the lead.
async fn take_lead(
    store: &Arc<dyn Store>,
    view: &SharedView,
    id: &str,
    ttl: Duration,
) -> Result<(Revision, LeaseId), StoreError> {
    let mut listener = view.listen();
    loop {
        let leader = view.read().leader().map(|(leader, since)| (leader.id.clone(), since));
        match leader {
            None => {
                let lease = store.grant(ttl).await?;
                let record = LeaderRecord {
                    id: id.to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    since: clock::now(),
                };
                match store.commit(&ops::take_lead(&record, lease)).await? {
                    TxnOutcome::Committed(since) => {
                        view.reached(since).await;
                        return Ok((since, lease));
                    }
                    TxnOutcome::Conflict(revision) => {
                        store.revoke(lease).await?;
                        view.reached(revision).await;
                    }
                }
            }
            // It was this one before its restart: no need to wait for the old lease.
            Some((leader, since)) if leader == id => {
                let txn = Txn {
                    guards: vec![ops::fence(since)],
                    writes: vec![Write::Delete { key: Key::Leader.to_string() }],
                };
                let (TxnOutcome::Committed(revision) | TxnOutcome::Conflict(revision)) = store.commit(&txn).await?;
                view.reached(revision).await;
            }
            Some(_) => listener.next(|_, _| ()).await,
        }
    }
}

/// The lead, as it was taken.
struct Lead {
    since: Revision,
    lease: LeaseId,
    /// How often the lease is kept alive.
    renewal: Duration,
}

/// Leads until the lead is lost.
async fn lead(store: &Arc<dyn Store>, view: &SharedView, lead: Lead, losses: EngineConfig) {
    let Lead { since, lease, renewal } = lead;
    let fence = ops::fence(since);
    let mut listener = view.listen();
    let mut engine = Engine::new(losses);
    // Shorter than a renewal, so that a pause costs no lead.
    let mut backoff = Backoff::up_to(renewal / 2);
    // Dropped, and so ended, with the lead.
    let mut writing: JoinSet<Result<Revision, String>> = JoinSet::new();
    let mut wake: Option<Timestamp> = None;
    let mut renewal = tokio::time::interval(renewal);
    renewal.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Nothing is decided on the picture as it is: a watch may have lost an event without anybody noticing, and whoever was not
    // seen to be wanted would be stopped.
    let mut awaited: Option<Look> = Some(view.ask_for_look());
    let mut effects = Vec::new();
    loop {
        for effect in std::mem::take(&mut effects) {
            match effect {
                Effect::Write(plan) => {
                    tell(&plan);
                    let (txns, tasks) = {
                        let view = view.read();
                        let is_present = |machine: &_| view.machines().contains_key(machine);
                        (view_txns(&view, &fence, &plan), Tasks::of(&plan, is_present))
                    };
                    METRICS.planned(tasks);
                    writing.spawn(write(Arc::clone(store), txns, tasks));
                }
                Effect::Resync => {
                    backoff.pause().await;
                    awaited = Some(view.ask_for_look());
                }
                Effect::Wake(at) => wake = Some(at),
                Effect::Alarm(alarm) => tell_alarm(alarm.as_ref()),
            }
        }
        let event = tokio::select! {
            // In this order, so that equal happenings give an equal run.
            biased;
            _ = renewal.tick() => match store.keep_alive(lease).await {
                Ok(()) => continue,
                Err(StoreError::NoLease(_)) => return,
                Err(err) => {
                    tracing::warn!(error = %err, "cannot renew the lead; nothing is decided until the store answers again");
                    // What has not been written by now was decided on a picture that will be old.
                    writing.abort_all();
                    if !store_answers(&**store, lease, &mut renewal).await {
                        return;
                    }
                    tracing::info!("the store answers again");
                    // Machines that were away could not come back meanwhile: beginning anew gives them their time again.
                    engine = Engine::new(losses);
                    awaited = Some(view.ask_for_look());
                    continue;
                }
            },
            Some(written) = writing.join_next() => after_writing(written, &mut backoff),
            told = listener.next(|picture, changes| {
                let is_late = awaited.is_some_and(|look| !view.has_looked(look));
                (news(picture, &changes, since), is_late)
            }) => match told {
                (None, _) => return,
                // It is of the picture before the look that is waited for.
                (Some(_), true) => continue,
                (Some(event), false) => {
                    awaited = None;
                    event
                }
            },
            () = until(wake) => {
                wake = None;
                Event::Tick
            }
        };
        if matches!(event, Event::Snapshot(_)) {
            collect_unused_files(&**store, view, &fence).await;
        }
        effects = handle(&mut engine, event);
    }
}

fn handle(engine: &mut Engine, event: Event) -> Vec<Effect> {
    let begun = Instant::now();
    let effects = engine.handle(clock::now(), event);
    METRICS.round(begun.elapsed());
    effects
}

/// Waits until the lead can be renewed; `false` if it is lost.
async fn store_answers(store: &dyn Store, lease: LeaseId, renewal: &mut tokio::time::Interval) -> bool {
    loop {
        renewal.tick().await;
        match store.keep_alive(lease).await {
            Ok(()) => return true,
            Err(StoreError::NoLease(_)) => return false,
            Err(err) => tracing::debug!(error = %err, "still cannot renew the lead"),
        }
    }
}

fn after_writing(written: Result<Result<Revision, String>, tokio::task::JoinError>, backoff: &mut Backoff) -> Event {
    match written {
        Ok(Ok(revision)) => {
            backoff.reset();
            Event::Written { revision }
        }
        Ok(Err(reason)) => {
            tracing::warn!(reason, "a plan was not written; everything is looked at anew");
            Event::NotWritten
        }
        Err(err) if err.is_cancelled() => Event::NotWritten,
        Err(err) => {
            tracing::error!(error = %err, "writing a plan failed");
            Event::NotWritten
        }
    }
}

async fn until(wake: Option<Timestamp>) {
    match wake {
        Some(at) => tokio::time::sleep(clock::until(at)).await,
        None => std::future::pending().await,
    }
}

fn snapshot(view: &View) -> Event {
    Event::Snapshot(view.cluster().clone())
}

/// What the engine is told of changes; `None` if the lead is lost.
fn news(view: &View, changes: &Changes, since: Revision) -> Option<Event> {
    if view.leader().is_none_or(|(_, leads_since)| leads_since != since) {
        return None;
    }
    let Changes::Keys(keys) = changes else { return Some(snapshot(view)) };
    // Two keys can mean one change (a machine and its metadata): the engine takes the second as no change.
    let deltas = keys.iter().filter_map(|key| delta(view, key)).collect();
    Some(Event::Changed { revision: view.revision(), deltas })
}

fn delta(view: &View, key: &Key) -> Option<Delta> {
    let cluster = view.cluster();
    match key {
        Key::Unit(name) => Some(match cluster.units.get(name) {
            Some(unit) => Delta::UnitPut { name: name.clone(), unit: unit.clone() },
            None => Delta::UnitRemoved { name: name.clone() },
        }),
        Key::Machine(id) | Key::Metadata(id, _) | Key::Cordon(id) | Key::Drain(id) => {
            Some(match cluster.machines.get(id) {
                Some(machine) => Delta::MachinePut { id: id.clone(), machine: machine.clone() },
                None => Delta::MachineRemoved { id: id.clone() },
            })
        }
        Key::Placement(machine, name) => Some(match view.placement(machine, name) {
            Some(placement) => {
                Delta::PlacementPut { machine: machine.clone(), name: name.clone(), placement: placement.clone() }
            }
            None => Delta::PlacementRemoved { machine: machine.clone(), name: name.clone() },
        }),
        Key::GivenUp(id) => Some(Delta::GivenUpChanged { id: id.clone(), given_up: view.given_up().contains_key(id) }),
        Key::State(machine, name) => {
            let report = cluster.report(machine, name).copied();
            Some(Delta::Reported { machine: machine.clone(), name: name.clone(), report })
        }
        Key::Brake => Some(Delta::BrakeChanged { brake: cluster.brake.clone() }),
        Key::File(_) | Key::Leader | Key::Operators(_) | Key::Request(..) => None,
    }
}

fn tell_alarm(brake: Option<&Brake>) {
    match brake {
        Some(Brake { since, lost }) => {
            let lost: Vec<&str> = lost.iter().map(MachineId::as_str).collect();
            tracing::error!(
                n_lost = lost.len(),
                lost = lost.join(" "),
                since_ms = since.0,
                "the brake is on: so many machines are lost at once that nothing is moved until each of them is back or is \
                 given up by an operator (`fleetctl machine give-up ID`)"
            );
        }
        None => tracing::warn!("the brake is off: every machine that was lost is back or given up"),
    }
}

fn tell(plan: &Plan) {
    for write in plan.writes() {
        match write {
            PlacementWrite::Put { machine, name, placement } => {
                let (target, generation) = (placement.target, placement.generation);
                let what = match (placement.is_leaving(), placement.is_stop()) {
                    (false, _) => "placed",
                    (true, false) => "leaves when it is up elsewhere",
                    (true, true) => "leaves when it is stopped",
                };
                tracing::info!(unit = %name, %machine, %target, %generation, "{what}");
            }
            PlacementWrite::Delete { machine, name } => tracing::info!(unit = %name, %machine, "taken away"),
        }
    }
}

/// The transactions of a plan, on the picture as it is now.
fn view_txns(view: &View, fence: &Guard, plan: &Plan) -> Result<Vec<Txn>, OpsError> {
    let mut groups: Vec<Txn> = plan.brake.iter().map(|write| ops::brake(write.brake())).collect();
    for group in &plan.groups {
        match ops::change_placements(view, &changes(group)) {
            Ok(txn) => groups.push(txn),
            // More units are tied together than a transaction holds: one after the other, deletions first.
            Err(OpsError::TooBig(_)) => {
                for change in changes(group) {
                    groups.push(ops::change_placements(view, &[change])?);
                }
            }
            Err(err) => return Err(err),
        }
    }
    ops::batch(Some(fence), groups)
}

fn changes(group: &PlanGroup) -> Vec<PlacementChange> {
    let change = |write: &PlacementWrite| {
        let (machine, unit) = (write.machine().clone(), write.name().clone());
        let placement = match write {
            PlacementWrite::Put { placement, .. } => Some(placement.clone()),
            PlacementWrite::Delete { .. } => None,
        };
        PlacementChange { machine, unit, placement }
    };
    group.writes.iter().map(change).collect()
}

/// Commits in order and stops at the first that is not committed. The revision of the last one.
async fn write(store: Arc<dyn Store>, txns: Result<Vec<Txn>, OpsError>, tasks: Tasks) -> Result<Revision, String> {
    let written = commit_all(&*store, txns).await;
    if written.is_err() {
        METRICS.not_written(tasks);
    }
    written
}

async fn commit_all(store: &dyn Store, txns: Result<Vec<Txn>, OpsError>) -> Result<Revision, String> {
    let mut last = Revision(0);
    for txn in txns.map_err(|err| err.to_string())? {
        match store.commit(&txn).await {
            Ok(TxnOutcome::Committed(revision)) => last = revision,
            Ok(TxnOutcome::Conflict(_)) => return Err("the cluster changed meanwhile".to_owned()),
            Err(err) => return Err(err.to_string()),
        }
    }
    Ok(last)
}

/// Removes unit files that no unit and no placement needs any more. A failure waits for the next time.
async fn collect_unused_files(store: &dyn Store, view: &SharedView, fence: &Guard) {
    let txns = ops::batch(Some(fence), ops::unused_files(&view.read()));
    for txn in txns.unwrap_or_default() {
        if let Err(err) = store.commit(&txn).await {
            tracing::debug!(error = %err, "cannot collect unused unit files now");
            return;
        }
    }
}
