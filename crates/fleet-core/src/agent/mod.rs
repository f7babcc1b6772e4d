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
mod step;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use event::{Effect, Event};
use guard::Guard;
use local::{Busy, Local, Retry, Trouble, job_error};
pub use noun::{JobResult, Look, Receipt, UnitStatus, Verb, WriteFile};
use step::Step;

use crate::model::{Placement, Timestamp};
use crate::unit::{self, UnitHash, UnitName};

/// First pause after an effect failed for a reason that may pass (disk full, store away), in milliseconds.
pub const RETRY_FIRST_MS: u64 = 500;

/// Longest such pause. Each failure doubles it.
pub const RETRY_MAX_MS: u64 = 60_000;

/// After so many failures in a row an order counts as carried out badly: who waits for it need not wait longer.
///
/// The first failures are often gone after a second (a lost connection, a busy store), and saying so would only worry.
pub const ATTEMPTS_TOLD: u32 = 3;

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
    files: BTreeMap<UnitHash, Arc<str>>,
    fetching: BTreeSet<UnitHash>,
    units: BTreeMap<UnitName, Local>,
    /// Units to be looked at in the next pass.
    dirty: BTreeSet<UnitName>,
    look: LookState,
    /// How many units' files are being written: starts wait for that.
    n_writing: usize,
    report: ReportState,
    guard: Guard,
    wake: Option<Timestamp>,
}

#[derive(Debug, PartialEq, Eq)]
enum LookState {
    /// Nothing is known; a look is to be asked for.
    Needed,
    /// A look is under way; what systemd tells meanwhile is kept and laid over it.
    UnderWay(Vec<UnitStatus>),
    /// As of the last look and what systemd told since.
    Known,
    /// It failed; try again at this moment.
    Failed(Timestamp, u32),
    /// Without a connection there is nothing to look at.
    Disconnected,
}

#[derive(Debug, Default)]
struct ReportState {
    under_way: Option<Vec<UnitName>>,
    unreported: BTreeSet<UnitName>,
    failures: u32,
    retry_at: Option<Timestamp>,
}

impl Agent {
    /// An agent that knows nothing yet. Its first effect is a look at the machine.
    ///
    /// `n_slices`: over how many slices units are spread; 0 leaves them in systemd's default slice.
    pub fn new(n_slices: u32) -> Agent {
        Agent {
            n_slices,
            placements: None,
            files: BTreeMap::new(),
            fetching: BTreeSet::new(),
            units: BTreeMap::new(),
            dirty: BTreeSet::new(),
            look: LookState::Needed,
            n_writing: 0,
            report: ReportState::default(),
            guard: Guard::default(),
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
        self.ask_for_tick(now, &mut effects);
        effects
    }

    fn note(&mut self, now: Timestamp, event: Event) {
        match event {
            Event::Placements(placements) => {
                let before = self.placements.replace(placements).unwrap_or_default();
                self.dirty.extend(before.into_keys());
                self.dirty.extend(self.placements.iter().flatten().map(|(name, _)| name.clone()));
                self.dirty.extend(self.units.keys().cloned());
                self.forget_files();
            }
            Event::PlacementsChanged(changes) => {
                if let Some(placements) = &mut self.placements {
                    for (name, placement) in changes {
                        match placement {
                            Some(placement) => placements.insert(name.clone(), placement),
                            None => placements.remove(&name),
                        };
                        self.dirty.insert(name);
                    }
                    self.forget_files();
                }
            }
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
                let failures = match self.look {
                    LookState::Failed(_, failures) => failures + 1,
                    _ => 1,
                };
                if self.look != LookState::Disconnected {
                    self.look = LookState::Failed(now.plus_ms(pause_ms(failures)), failures);
                }
            }
            Event::Wrote(results) => {
                for (name, result) in results {
                    self.wrote(now, &name, result);
                }
            }
            Event::ReceiptWritten(name, result) => self.receipt_written(now, &name, result),
            Event::Ran(name, verb, result) => self.ran(now, &name, verb, result),
            Event::Removed(results) => {
                for (name, result) in results {
                    self.removed(now, &name, result);
                }
            }
            Event::Status(status) => match &mut self.look {
                LookState::UnderWay(meanwhile) => meanwhile.push(status),
                LookState::Known => self.status(now, status),
                // The look that is to come will say it.
                LookState::Needed | LookState::Failed(..) | LookState::Disconnected => (),
            },
            Event::Disconnected => self.look = LookState::Disconnected,
            Event::Connected => self.look = LookState::Needed,
            Event::Reported(result) => self.reported(now, result),
            Event::ReportsLost => {
                for (name, local) in &mut self.units {
                    local.reported = None;
                    self.report.unreported.insert(name.clone());
                }
            }
            Event::GuardReady { anew } => self.guard_ready(anew),
            Event::GuardFailed(_) => self.guard_failed(now),
            Event::Tick => self.wake = None,
        }
    }

    /// Keeps only the texts that a placement still needs, so that memory does not grow with history.
    fn forget_files(&mut self) {
        let placements = self.placements.iter().flatten();
        let needed: BTreeSet<UnitHash> = placements.map(|(_, placement)| placement.hash).collect();
        self.files.retain(|hash, _| needed.contains(hash));
    }

    fn ordered_with(&self, hash: UnitHash) -> Vec<UnitName> {
        let placements = self.placements.iter().flatten();
        placements.filter(|(_, placement)| placement.hash == hash).map(|(name, _)| name.clone()).collect()
    }

    fn fetch_failed(&mut self, now: Timestamp, hash: UnitHash, reason: &str) {
        for name in self.ordered_with(hash) {
            self.failed(now, &name, format!("cannot fetch unit file {}: {reason}", hash.short()));
        }
    }

    fn looked(&mut self, now: Timestamp, look: Look) {
        let LookState::UnderWay(meanwhile) = std::mem::replace(&mut self.look, LookState::Known) else {
            // The connection went away under it: what it saw is old.
            self.look = LookState::Disconnected;
            return;
        };
        for local in self.units.values_mut() {
            local.on_disk = false;
            if !local.receipt_unsaved {
                local.receipt = None;
            }
        }
        let mut unseen: BTreeSet<UnitName> = self.units.keys().cloned().collect();
        for (name, receipt) in look.files {
            let local = self.units.entry(name).or_default();
            local.on_disk = true;
            if !local.receipt_unsaved {
                local.receipt = receipt;
            }
        }
        self.retry_refused();
        for status in look.units.into_iter().chain(meanwhile) {
            unseen.remove(&status.name);
            self.status(now, status);
        }
        for name in unseen {
            self.status(now, UnitStatus::unloaded(name));
        }
        let names: Vec<UnitName> = self.units.keys().cloned().collect();
        self.report.unreported.extend(names.iter().cloned());
        self.dirty.extend(names);
        self.dirty.extend(self.placements.iter().flatten().map(|(name, _)| name.clone()));
    }

    fn status(&mut self, now: Timestamp, status: UnitStatus) {
        let local = self.units.entry(status.name.clone()).or_default();
        let news = local.status.as_ref().is_none_or(|old| (&old.active, &old.sub) != (&status.active, &status.sub));
        if news {
            local.since = now;
        }
        self.dirty.insert(status.name.clone());
        self.report.unreported.insert(status.name.clone());
        local.status = Some(status);
    }

    fn wrote(&mut self, now: Timestamp, name: &UnitName, result: Result<(), String>) {
        self.n_writing = self.n_writing.saturating_sub(1);
        let Some(local) = self.units.get_mut(name) else { return };
        let Some(Busy::Writing(receipt)) = local.busy.take() else { return };
        match result {
            Ok(()) => {
                local.on_disk = true;
                local.receipt = Some(receipt);
                local.receipt_unsaved = false;
                self.settled(name);
                self.retry_refused();
            }
            Err(reason) => self.failed(now, name, reason),
        }
    }

    fn receipt_written(&mut self, now: Timestamp, name: &UnitName, result: Result<(), String>) {
        let Some(local) = self.units.get_mut(name) else { return };
        let Some(Busy::WritingReceipt(receipt)) = local.busy.take() else { return };
        match result {
            Ok(()) => {
                local.receipt = Some(receipt);
                local.receipt_unsaved = false;
                local.trouble = None;
                self.touch(name);
            }
            Err(reason) => self.failed(now, name, reason),
        }
    }

    fn removed(&mut self, now: Timestamp, name: &UnitName, result: Result<(), String>) {
        let Some(local) = self.units.get_mut(name) else { return };
        if !matches!(local.busy, Some(Busy::Removing)) {
            return;
        }
        local.busy = None;
        match result {
            Ok(()) => {
                local.on_disk = false;
                local.receipt = None;
                local.receipt_unsaved = false;
                local.status = None;
                self.settled(name);
                self.retry_refused();
            }
            Err(reason) => self.failed(now, name, reason),
        }
    }

    fn ran(&mut self, now: Timestamp, name: &UnitName, verb: Verb, result: Result<JobResult, String>) {
        let Some(local) = self.units.get_mut(name) else { return };
        let Some(Busy::Running(order)) = local.busy.take() else { return };
        let ended = match result {
            // Its end was not seen. A look will follow and say what is to be done.
            Err(reason) => return self.failed(now, name, reason),
            Ok(ended) => ended,
        };
        match (verb, ended) {
            (Verb::Stop, JobResult::Done) => self.settled(name),
            // Whatever kept the stop from ending well, systemd's state says whether something still runs.
            (Verb::Stop, JobResult::Refused { name: error, .. }) if error.ends_with(".NoSuchUnit") => {
                self.status(now, UnitStatus::unloaded(name.clone()));
                self.settled(name);
            }
            (Verb::Stop, ended) => match local.status.as_ref().is_some_and(UnitStatus::is_live) {
                true => self.failed(now, name, job_error(verb, &ended)),
                false => self.settled(name),
            },
            (Verb::Start | Verb::Restart, JobResult::Refused { message, .. }) => {
                let attempts = local.trouble.as_ref().map_or(0, |trouble| trouble.attempts);
                local.error = format!("systemd refused to {} it: {message}", verb.as_str());
                local.trouble = Some(Trouble { order, attempts, retry: Retry::OnChange });
                self.touch(name);
            }
            (Verb::Start | Verb::Restart, ended) => {
                local.error = match &ended {
                    JobResult::Done => String::new(),
                    // A condition of the unit did not hold: systemd counts that as well done.
                    JobResult::Other(word) if word == "skipped" => String::new(),
                    ended => job_error(verb, ended),
                };
                local.trouble = None;
                if let (Some(order), Some(receipt)) = (order, local.receipt.as_mut()) {
                    // In memory at once, so that it is reported with the job's end; the next step puts it on disk.
                    *receipt = Receipt { hash: receipt.hash, ..Receipt::complete(&order) };
                    local.receipt_unsaved = true;
                }
                self.touch(name);
            }
        }
    }

    /// An effect for a unit failed for a reason that may pass.
    fn failed(&mut self, now: Timestamp, name: &UnitName, reason: String) {
        let order = self.placements.as_ref().and_then(|placements| placements.get(name)).cloned();
        let local = self.units.entry(name.clone()).or_default();
        let attempts = match &local.trouble {
            Some(trouble) if trouble.order == order => trouble.attempts + 1,
            _ => 1,
        };
        local.error = reason;
        local.trouble = Some(Trouble { order, attempts, retry: Retry::At(now.plus_ms(pause_ms(attempts))) });
        self.touch(name);
    }

    fn settled(&mut self, name: &UnitName) {
        if let Some(local) = self.units.get_mut(name) {
            local.trouble = None;
            local.error.clear();
        }
        self.touch(name);
    }

    /// Files changed on this machine: what systemd refused may work now.
    fn retry_refused(&mut self) {
        for (name, local) in &mut self.units {
            if local.trouble.as_ref().is_some_and(|trouble| trouble.retry == Retry::OnChange) {
                local.trouble = None;
                self.dirty.insert(name.clone());
            }
        }
    }

    fn touch(&mut self, name: &UnitName) {
        self.dirty.insert(name.clone());
        self.report.unreported.insert(name.clone());
    }

    fn look_if_needed(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let needed = match self.look {
            LookState::Needed => true,
            LookState::Failed(at, _) => at <= now,
            LookState::UnderWay(_) | LookState::Known | LookState::Disconnected => false,
        };
        if needed {
            self.look = LookState::UnderWay(Vec::new());
            effects.push(Effect::Look);
        }
    }

    /// Looks at every unit of which there is news and collects what can be done for it now.
    fn pass(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let due: Vec<UnitName> =
            self.units.iter().filter(|(_, local)| local.is_due(now)).map(|(name, _)| name.clone()).collect();
        self.dirty.extend(due);
        let (mut writes, mut removes, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let mut fetch = BTreeSet::new();
        for name in std::mem::take(&mut self.dirty) {
            let order = self.placements.as_ref().and_then(|placements| placements.get(&name));
            let local = self.units.entry(name.clone()).or_default();
            local.forget_start();
            match step::next(order, local, now) {
                Step::Rest => (),
                Step::Forget => {
                    self.units.remove(&name);
                    self.report.unreported.insert(name);
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
                    local.busy = Some(Busy::Running(order));
                    effects.push(Effect::Run(name, Verb::Stop));
                }
                Step::Run(verb, order) => starts.push((name, verb, order)),
                Step::Remove => {
                    local.busy = Some(Busy::Removing);
                    removes.push(name);
                }
            }
        }
        if !fetch.is_empty() {
            effects.push(Effect::Fetch(fetch.into_iter().collect()));
        }
        if !removes.is_empty() {
            effects.push(Effect::Remove(removes));
        }
        self.n_writing += writes.len();
        if !writes.is_empty() {
            effects.push(Effect::Write(writes));
        }
        for (name, verb, order) in starts {
            if 0 < self.n_writing || !self.fetching.is_empty() || !self.may_start(&name) {
                // Units that need each other come together: wait until all files are there. And for the guard.
                self.dirty.insert(name);
            } else if let Some(local) = self.units.get_mut(&name) {
                local.busy = Some(Busy::Running(order));
                effects.push(Effect::Run(name, verb));
            }
        }
    }

    fn report(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.report.under_way.is_some() || self.report.retry_at.is_some_and(|at| now < at) {
            return;
        }
        if self.placements.is_none() || self.look != LookState::Known {
            return;
        }
        let mut states = Vec::new();
        for name in std::mem::take(&mut self.report.unreported) {
            let order = self.placements.as_ref().and_then(|placements| placements.get(&name));
            match self.units.get_mut(&name) {
                Some(local) => {
                    let state = local.state(&name, order);
                    if state.is_some() && local.reported != state {
                        local.reported = state.clone();
                        states.push((name, state));
                    }
                }
                None => states.push((name, None)),
            }
        }
        if !states.is_empty() {
            self.report.under_way = Some(states.iter().map(|(name, _)| name.clone()).collect());
            effects.push(Effect::Report(states));
        }
    }

    fn reported(&mut self, now: Timestamp, result: Result<(), String>) {
        let names = self.report.under_way.take().unwrap_or_default();
        match result {
            Ok(()) => {
                self.report.failures = 0;
                self.report.retry_at = None;
            }
            Err(_) => {
                self.report.failures += 1;
                self.report.retry_at = Some(now.plus_ms(pause_ms(self.report.failures)));
                for name in names {
                    if let Some(local) = self.units.get_mut(&name) {
                        local.reported = None;
                    }
                    self.report.unreported.insert(name);
                }
            }
        }
    }

    fn ask_for_tick(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let units = self.units.values().filter(|local| local.busy.is_none());
        let retries = units.filter_map(|local| match local.trouble.as_ref()?.retry {
            Retry::At(at) => Some(at),
            Retry::OnChange => None,
        });
        let look = match self.look {
            LookState::Failed(at, _) => Some(at),
            LookState::Needed | LookState::UnderWay(_) | LookState::Known | LookState::Disconnected => None,
        };
        let next =
            retries.chain(look).chain(self.report.retry_at).chain(self.guard_retry()).filter(|&at| now < at).min();
        if next.is_some() && next != self.wake {
            self.wake = next;
            effects.extend(next.map(Effect::Wake));
        }
    }
}

fn pause_ms(failures: u32) -> u64 {
    (RETRY_FIRST_MS << failures.saturating_sub(1).min(16)).min(RETRY_MAX_MS)
}
