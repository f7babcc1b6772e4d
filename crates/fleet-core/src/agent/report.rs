//! What the store is told of this machine's units.

use std::collections::BTreeMap;

use super::local::{Busy, Local};
use super::step::{self, Step};
use super::{Agent, Effect, LookState, pause_ms};
use crate::model::{Placement, Timestamp};
use crate::unit::UnitName;

/// How long a unit may be in motion before the store is told how far it is, in milliseconds.
///
/// A start is a written file, `activating`, `active` and the end of a job, mostly within some milliseconds. Telling only where
/// that ends spares the store, and all who watch it, three of four writes; who waits for a slow one hears of it soon enough.
pub const REPORT_PATIENCE_MS: u64 = 150;

/// While many jobs are under way, reports are at least so far apart, in milliseconds.
///
/// A thousand units that start together take a second or so; told in ten reports they cost the store, and all who watch it, a
/// fraction of what they cost in hundreds.
pub const REPORT_PAUSE_MS: u64 = 100;

/// So many jobs are many. With fewer, each report goes at once: who starts one unit after the other does not wait for pauses.
pub const REPORT_CROWD: usize = 8;

/// What is still to be told, and how telling went.
#[derive(Debug, Default)]
pub(super) struct ReportState {
    under_way: Option<Vec<UnitName>>,
    /// Units of which there may be something to tell, with when that began.
    unreported: BTreeMap<UnitName, Timestamp>,
    failures: u32,
    retry_at: Option<Timestamp>,
    /// When the pause after the last report ends; it is one only while many jobs are under way.
    pause_until: Option<Timestamp>,
    /// When the patience with a unit in motion ends.
    patient_until: Option<Timestamp>,
}

impl ReportState {
    /// There may be something to tell of a unit.
    pub(super) fn note(&mut self, now: Timestamp, name: &UnitName) {
        if !self.unreported.contains_key(name) {
            self.unreported.insert(name.clone(), now);
        }
    }

    /// When to look again whether something is to be told.
    pub(super) fn wake(&self, n_jobs: usize) -> impl Iterator<Item = Timestamp> {
        let waits = self.under_way.is_none() && !self.unreported.is_empty();
        let pause_until = self.pause_until(n_jobs).filter(|_| waits);
        self.retry_at.into_iter().chain(self.patient_until).chain(pause_until)
    }

    /// When the pause ends, if with so many jobs it is one.
    fn pause_until(&self, n_jobs: usize) -> Option<Timestamp> {
        self.pause_until.filter(|_| REPORT_CROWD <= n_jobs)
    }
}

impl Agent {
    /// One report at a time: what happens meanwhile goes into the next one together.
    pub(super) fn report(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let must_wait = |at: Option<Timestamp>| at.is_some_and(|at| now < at);
        let pause_until = self.report.pause_until(self.n_jobs);
        if self.report.under_way.is_some() || must_wait(self.report.retry_at) || must_wait(pause_until) {
            return;
        }
        if self.placements.is_none() || self.look != LookState::Known {
            return;
        }
        self.report.patient_until = None;
        let mut states = Vec::new();
        for (name, since) in std::mem::take(&mut self.report.unreported) {
            let order = self.placements.as_ref().and_then(|placements| placements.get(&name));
            let Some(local) = self.units.get_mut(&name) else {
                states.push((name, None));
                continue;
            };
            let patient_until = since.plus_ms(REPORT_PATIENCE_MS);
            if now < patient_until && is_in_motion(order, local, now) {
                let earliest = self.report.patient_until.map_or(patient_until, |until| until.min(patient_until));
                self.report.patient_until = Some(earliest);
                self.report.unreported.insert(name, since);
                continue;
            }
            let state = local.state(&name, order);
            if state.is_some() && local.reported != state {
                local.reported = state.clone();
                states.push((name, state));
            }
        }
        if !states.is_empty() {
            self.report.under_way = Some(states.iter().map(|(name, _)| name.clone()).collect());
            self.report.pause_until = Some(now.plus_ms(REPORT_PAUSE_MS));
            effects.push(Effect::Report(states));
        }
    }

    pub(super) fn reported(&mut self, now: Timestamp, result: Result<(), String>) {
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
                    self.report.note(now, &name);
                }
            }
        }
    }
}

/// Whether something is being done for the unit, or is to be done now, that will change what is told of it.
fn is_in_motion(order: Option<&Placement>, local: &Local, now: Timestamp) -> bool {
    match &local.busy {
        Some(Busy::Writing(_) | Busy::Running { .. } | Busy::Removing) => true,
        // The receipt only keeps what can be told already.
        Some(Busy::WritingReceipt(_)) => false,
        None => !matches!(step::next(order, local, now), Step::Rest | Step::WriteReceipt(_)),
    }
}
