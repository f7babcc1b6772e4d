//! The agent: makes one machine's systemd agree with the placements that the engine wrote for it.
//!
//! It judges nothing itself: a placement is an order. What is on the machine is what systemd says, never a memory of its
//! own deeds; what was carried out is in the receipts beside the unit files, so a new `fleetd` goes on where the last one
//! ended and touches nothing that is as it should be.
//!
//! One [`Agent::handle`] call takes one event and returns the effects to carry out; their results come back as events. A
//! lost connection, a failed write or a refused job concerns its unit only.
//!
//! Order within the machine: files are written before anything is started, so that units which need each other find each
//! other; a running unit's file is replaced or removed only after the unit was stopped by its old file.

mod event;
mod guard;
mod local;
mod noun;
mod orders;
mod report;
mod results;
mod step;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use event::{Effect, Event};
use guard::Guard;
use local::{Busy, Local, Retry};
pub use noun::{JobResult, Look, Receipt, UnitStatus, Verb, WriteFile};
use report::ReportState;
use step::Step;

use crate::model::{Placement, Timestamp};
use crate::unit::{self, UnitHash, UnitName, UnitType};

/// First pause after an effect failed for a reason that may pass (disk full, store away), in milliseconds.
pub const RETRY_FIRST_MS: u64 = 500;

/// Longest such pause. Each failure doubles it.
pub const RETRY_MAX_MS: u64 = 60_000;

/// After so many failures in a row an order counts as carried out badly: who waits for it need not wait longer.
///
/// The first failures are often gone after a second (a lost connection, a busy store), and saying so would only worry.
pub const ATTEMPTS_TOLD: u32 = 3;

/// How long removals may wait for jobs under way, in milliseconds.
///
/// Removed together they cost systemd a few calls instead of two each, and most units are gone from its memory by then, so
/// that it need not be asked at all.
pub const REMOVAL_PATIENCE_MS: u64 = 50;

/// Over how many slices units are spread unless configured otherwise.
///
/// systemd looks at all siblings in the slice at each start; with hundreds of units 32 slices halve its work (measured).
pub const SLICES_DEFAULT: u32 = 32;

/// The agent of one machine. See the module's documentation.
#[derive(Debug)]
pub struct Agent {
    n_slices: u32,
    /// `None` until the store was read for the first time: then nothing is known to be unwanted.
    placements: Option<BTreeMap<UnitName, Placement>>,
    /// Units with an order that cannot be read, and none before it that could: nothing is done about them.
    unreadable: BTreeSet<UnitName>,
    files: BTreeMap<UnitHash, Arc<str>>,
    fetching: BTreeSet<UnitHash>,
    units: BTreeMap<UnitName, Local>,
    /// The units with trouble, and perhaps some that had it: there are few, and every pass asks for them.
    troubled: BTreeSet<UnitName>,
    /// Units to be looked at in the next pass.
    dirty: BTreeSet<UnitName>,
    look: LookState,
    /// A look was asked for and has not been answered. There is one at a time, so that an answer is known to be to that one.
    look_is_out: bool,
    /// How many looks failed, one after the other.
    look_failures: u32,
    /// How many units' files are being written: starts wait for that.
    n_writing: usize,
    /// How many jobs are under way.
    n_jobs: usize,
    /// When removals that wait for jobs are waited with no longer.
    remove_at: Option<Timestamp>,
    report: ReportState,
    guard: Guard,
    guard_is_needed: bool,
    leave: Leave,
    wake: Option<Timestamp>,
}

/// Whether the machine leaves the cluster.
#[derive(Debug, PartialEq, Eq)]
enum Leave {
    No,
    UnderWay,
    Said,
}

/// What happened while a look was under way: it is newer than what the look saw.
#[derive(Debug, Default, PartialEq, Eq)]
struct Meanwhile {
    /// What systemd told.
    told: Vec<UnitStatus>,
    /// Units whose files and receipts were at work on: the look may have seen them before or after.
    touched: BTreeSet<UnitName>,
}

#[derive(Debug, PartialEq, Eq)]
enum LookState {
    /// Nothing is known; a look is to be asked for.
    Needed,
    /// A look is under way.
    UnderWay(Meanwhile),
    /// As of the last look and what systemd told since.
    Known,
    /// It failed; try again at this moment.
    Failed(Timestamp),
    /// Without a connection there is nothing to look at.
    Disconnected,
}

impl Agent {
    /// An agent that knows nothing yet. Its first effect is a look at the machine.
    ///
    /// `n_slices`: over how many slices units are spread; 0 leaves them in systemd's default slice.
    pub fn new(n_slices: u32) -> Agent {
        Agent {
            n_slices,
            placements: None,
            unreadable: BTreeSet::new(),
            files: BTreeMap::new(),
            fetching: BTreeSet::new(),
            units: BTreeMap::new(),
            troubled: BTreeSet::new(),
            dirty: BTreeSet::new(),
            look: LookState::Needed,
            look_is_out: false,
            look_failures: 0,
            n_writing: 0,
            n_jobs: 0,
            remove_at: None,
            report: ReportState::default(),
            guard: Guard::default(),
            guard_is_needed: false,
            leave: Leave::No,
            wake: None,
        }
    }

    /// Takes note of an event and says what is to be done now.
    pub fn handle(&mut self, now: Timestamp, event: Event) -> Vec<Effect> {
        self.handle_all(now, [event])
    }

    /// The same for several events that came together: files that arrive together are written together.
    pub fn handle_all(&mut self, now: Timestamp, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
        for event in events {
            self.note(now, event);
        }
        let mut effects = Vec::new();
        self.look_if_needed(now, &mut effects);
        if self.look == LookState::Known && self.placements.is_some() {
            self.see_to_guard(now, &mut effects);
            self.pass(now, &mut effects);
        }
        self.report(now, &mut effects);
        if self.leave == Leave::UnderWay && self.look == LookState::Known && self.units.is_empty() {
            self.leave = Leave::Said;
            effects.push(Effect::Left);
        }
        self.ask_for_tick(now, &mut effects);
        effects
    }

    fn note(&mut self, now: Timestamp, event: Event) {
        match event {
            Event::Placements { .. } | Event::PlacementsChanged(_) if self.leave != Leave::No => (),
            Event::Leave => {
                self.note(now, Event::Placements { orders: BTreeMap::new(), unreadable: BTreeSet::new() });
                self.leave = Leave::UnderWay;
            }
            Event::Placements { orders, unreadable } => self.ordered_anew(now, orders, unreadable),
            Event::PlacementsChanged(changes) => self.ordered(now, changes),
            Event::Fetched(files) => {
                for (hash, text) in files {
                    self.fetching.remove(&hash);
                    match text {
                        Some(text) => {
                            self.files.insert(hash, text);
                            self.dirty.extend(self.ordered_with(hash));
                        }
                        None => self.fetch_failed(now, hash, "the store has no such file"),
                    }
                }
            }
            Event::FetchFailed(hashes, reason) => {
                for hash in hashes {
                    self.fetching.remove(&hash);
                    self.fetch_failed(now, hash, &reason);
                }
            }
            Event::Looked(look) => self.looked(now, look),
            Event::LookFailed(_) => {
                self.look_is_out = false;
                if matches!(self.look, LookState::UnderWay(_)) {
                    self.look_failures += 1;
                    self.look = LookState::Failed(now.plus_ms(pause_ms(self.look_failures)));
                }
            }
            Event::Wrote(results) => {
                for (name, result) in results {
                    self.worked_on(&name);
                    self.wrote(now, &name, result);
                }
            }
            Event::ReceiptWritten(name, result) => {
                self.worked_on(&name);
                self.receipt_written(now, &name, result);
            }
            Event::Ran(name, verb, result) => self.ran(now, &name, verb, result),
            Event::Removed(results) => {
                for (name, result) in results {
                    self.worked_on(&name);
                    self.removed(now, &name, result);
                }
            }
            Event::Status(status) => match &mut self.look {
                LookState::UnderWay(meanwhile) => meanwhile.told.push(status),
                LookState::Known => self.status(now, status),
                // The look that is to come will say it.
                LookState::Needed | LookState::Failed(_) | LookState::Disconnected => (),
            },
            Event::Disconnected => self.look = LookState::Disconnected,
            Event::Connected => self.look = LookState::Needed,
            Event::Reported(result) => self.reported(now, result),
            Event::ReportsLost => {
                for (name, local) in &mut self.units {
                    local.reported = None;
                    self.report.note(now, name);
                }
            }
            Event::GuardReady { run } => self.guard_ready(run),
            Event::GuardFailed(reason) => self.guard_failed(now, &reason),
            Event::Tick => self.wake = None,
        }
    }

    fn fetch_failed(&mut self, now: Timestamp, hash: UnitHash, reason: &str) {
        for name in self.ordered_with(hash) {
            self.failed(now, &name, format!("cannot fetch unit file {}: {reason}", hash.short()));
        }
    }

    fn looked(&mut self, now: Timestamp, look: Look) {
        self.look_is_out = false;
        // Otherwise the connection went away under it: what it saw is old.
        let LookState::UnderWay(meanwhile) = &mut self.look else { return };
        let meanwhile = std::mem::take(meanwhile);
        self.look = LookState::Known;
        self.look_failures = 0;
        let Meanwhile { told, touched } = meanwhile;
        // Of a unit that is being worked on, the result will say how it is.
        let is_known = |name: &UnitName, local: &Local| local.busy.is_some() || touched.contains(name);
        for (_, local) in self.units.iter_mut().filter(|(name, local)| !is_known(name, local)) {
            local.on_disk = false;
            if !local.receipt_unsaved {
                local.receipt = None;
            }
        }
        let mut unseen: BTreeSet<UnitName> = self.units.keys().cloned().collect();
        for (name, receipt) in look.files {
            let local = self.units.entry(name.clone()).or_default();
            if !is_known(&name, local) {
                local.on_disk = true;
                if !local.receipt_unsaved {
                    local.receipt = receipt;
                }
            }
        }
        self.retry_refused();
        for status in look.units.into_iter().chain(told) {
            unseen.remove(&status.name);
            self.status(now, status);
        }
        for name in unseen {
            self.status(now, UnitStatus::unloaded(name));
        }
        let names: Vec<UnitName> = self.units.keys().cloned().collect();
        names.iter().for_each(|name| self.report.note(now, name));
        self.dirty.extend(names);
        self.dirty.extend(self.placements.iter().flatten().map(|(name, _)| name.clone()));
    }

    /// Work on the unit's file or receipt ended.
    fn worked_on(&mut self, name: &UnitName) {
        if let LookState::UnderWay(meanwhile) = &mut self.look {
            meanwhile.touched.insert(name.clone());
        }
    }

    fn status(&mut self, now: Timestamp, status: UnitStatus) {
        let local = self.units.entry(status.name.clone()).or_default();
        let news = local.status.as_ref().is_none_or(|old| (&old.active, &old.sub) != (&status.active, &status.sub));
        if news {
            local.since = now;
        }
        self.dirty.insert(status.name.clone());
        self.report.note(now, &status.name);
        local.status = Some(status);
    }

    /// Files changed on this machine: what systemd refused may work now.
    fn retry_refused(&mut self) {
        for name in &self.troubled {
            let Some(local) = self.units.get_mut(name) else { continue };
            if local.trouble.as_ref().is_some_and(|trouble| trouble.retry == Retry::OnChange) {
                local.trouble = None;
                self.dirty.insert(name.clone());
            }
        }
    }

    fn touch(&mut self, now: Timestamp, name: &UnitName) {
        self.dirty.insert(name.clone());
        self.report.note(now, name);
    }

    fn look_if_needed(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let needed = match self.look {
            LookState::Needed => true,
            LookState::Failed(at) => at <= now,
            LookState::UnderWay(_) | LookState::Known | LookState::Disconnected => false,
        };
        if needed && !self.look_is_out {
            self.look_is_out = true;
            self.look = LookState::UnderWay(Meanwhile::default());
            effects.push(Effect::Look);
        }
    }

    /// Looks at every unit of which there is news and collects what can be done for it now.
    fn pass(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let is_due = |name: &&UnitName| self.units.get(*name).is_some_and(|local| local.is_due(now));
        self.dirty.extend(self.troubled.iter().filter(is_due).cloned());
        let (mut writes, mut removes, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let mut fetch = BTreeSet::new();
        for name in std::mem::take(&mut self.dirty) {
            if self.unreadable.contains(&name) {
                continue;
            }
            let order = self.placements.as_ref().and_then(|placements| placements.get(&name));
            let local = self.units.entry(name.clone()).or_default();
            local.forget_start(order, self.guard.run());
            match step::next(order, local, now) {
                Step::Rest => (),
                Step::Forget => {
                    self.units.remove(&name);
                    self.report.note(now, &name);
                }
                Step::Write(order) => match self.files.get(&order.hash) {
                    Some(canonical) => {
                        let slice = unit::slice_for(&name, self.n_slices);
                        let receipt = step::receipt_of_write(&order);
                        let text = unit::on_disk(&name, canonical, slice.as_deref());
                        local.busy = Some(Busy::Writing(receipt.clone()));
                        writes.push(WriteFile { name, text, receipt });
                    }
                    None if self.fetching.insert(order.hash) => {
                        fetch.insert(order.hash);
                    }
                    None => (),
                },
                Step::WriteReceipt(receipt) => {
                    local.busy = Some(Busy::WritingReceipt(receipt.clone()));
                    effects.push(Effect::WriteReceipt(name, receipt));
                }
                Step::Run(Verb::Stop, order) => {
                    local.busy = Some(Busy::Running { order, guard: None });
                    self.n_jobs += 1;
                    effects.push(Effect::Run(name, Verb::Stop));
                }
                Step::Run(verb, order) => starts.push((name, verb, order)),
                Step::Remove => removes.push(name),
            }
        }
        if !fetch.is_empty() {
            effects.push(Effect::Fetch(fetch.into_iter().collect()));
        }
        self.n_writing += writes.len();
        if !writes.is_empty() {
            effects.push(Effect::Write(writes));
        }
        // Units that need each other come together: wait until all files are there.
        let all_wait = 0 < self.n_writing || !self.fetching.is_empty();
        let sockets: BTreeSet<UnitName> = starts.iter().map(|(name, ..)| name).filter(is_socket).cloned().collect();
        for (name, verb, order) in starts {
            if all_wait || !self.may_start(&name) || self.waits_for_its_socket(&name, &sockets) {
                self.dirty.insert(name);
            } else if let Some(local) = self.units.get_mut(&name) {
                let guard = self.guard.run().map(str::to_owned);
                local.busy = Some(Busy::Running { order, guard });
                self.n_jobs += 1;
                effects.push(Effect::Run(name, verb));
            }
        }
        self.remove(now, removes, effects);
    }

    /// Whether the unit's socket is to be started first: systemd refuses to start one whose service runs already.
    fn waits_for_its_socket(&self, name: &UnitName, to_be_started: &BTreeSet<UnitName>) -> bool {
        if name.unit_type() != UnitType::Service {
            return false;
        }
        let Ok(socket) = format!("{}.{}", name.stem(), UnitType::Socket.suffix()).parse::<UnitName>() else {
            // The longest of names: no socket can have it.
            return false;
        };
        let is_starting = |local: &Local| matches!(local.busy, Some(Busy::Running { order: Some(_), .. }));
        to_be_started.contains(&socket) || self.units.get(&socket).is_some_and(is_starting)
    }

    /// Removes files together, after the jobs that are under way if those end soon.
    fn remove(&mut self, now: Timestamp, names: Vec<UnitName>, effects: &mut Vec<Effect>) {
        if names.is_empty() {
            self.remove_at = None;
            return;
        }
        let at = *self.remove_at.get_or_insert(now.plus_ms(REMOVAL_PATIENCE_MS));
        if 0 < self.n_jobs && now < at {
            self.dirty.extend(names);
            return;
        }
        self.remove_at = None;
        for name in &names {
            self.units.entry(name.clone()).or_default().busy = Some(Busy::Removing);
        }
        effects.push(Effect::Remove(names));
    }

    fn ask_for_tick(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.troubled.retain(|name| self.units.get(name).is_some_and(|local| local.trouble.is_some()));
        let at_rest = self.troubled.iter().filter_map(|name| self.units.get(name)).filter(|local| local.busy.is_none());
        let retries = at_rest.filter_map(|local| match local.trouble.as_ref()?.retry {
            Retry::At(at) => Some(at),
            Retry::OnChange => None,
        });
        let look = match self.look {
            LookState::Failed(at) => Some(at),
            LookState::Needed | LookState::UnderWay(_) | LookState::Known | LookState::Disconnected => None,
        };
        let next = retries
            .chain(look)
            .chain(self.report.wake(self.n_jobs))
            .chain(self.remove_at)
            .chain(self.guard_retry())
            .filter(|&at| now < at)
            .min();
        if next.is_some() && next != self.wake {
            self.wake = next;
            effects.extend(next.map(Effect::Wake));
        }
    }
}

fn is_socket(name: &&UnitName) -> bool {
    name.unit_type() == UnitType::Socket
}

fn pause_ms(failures: u32) -> u64 {
    (RETRY_FIRST_MS << failures.saturating_sub(1).min(16)).min(RETRY_MAX_MS)
}
