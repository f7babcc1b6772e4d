//! Which jobs a call makes, and which job comes first.

use std::collections::BTreeMap;

use fleet_core::unit::UnitName;

use super::model::{Model, Refusal};
use super::unit::{Content, Job, Phase, Unit};
use crate::{NO_SUCH_UNIT, Verb};

impl Model {
    pub(super) fn plan_start(
        &mut self,
        name: &UnitName,
        verb: Verb,
        jobs: &mut BTreeMap<UnitName, Verb>,
    ) -> Result<(), Refusal> {
        if jobs.contains_key(name) {
            return Ok(());
        }
        self.load(name);
        let file = match &self.unit(name).content {
            Content::Loaded { file, .. } => file.clone(),
            Content::NotFound => {
                return Err(Refusal { name: NO_SUCH_UNIT, message: format!("Unit {name} not found.") });
            }
            Content::Bad { why, .. } => {
                let message = format!("Unit {name} has a bad unit file setting. ({why})");
                return Err(Refusal { name: "org.freedesktop.systemd1.BadUnitSetting", message });
            }
        };
        jobs.insert(name.clone(), verb);
        for needed in file.needs() {
            self.plan_start(needed, Verb::Start, jobs)?;
        }
        for wanted in &file.wants {
            // A wanted unit that cannot be started is no reason not to start this one; nor is what it would have pulled in.
            let mut with = jobs.clone();
            if self.plan_start(wanted, Verb::Start, &mut with).is_ok() {
                *jobs = with;
            }
        }
        Ok(())
    }

    /// A restart restarts those that would stop with it, if they are up.
    pub(super) fn plan_restarts(&self, name: &UnitName, jobs: &mut BTreeMap<UnitName, Verb>) {
        for other in self.up_and_stopping_with(name) {
            if jobs.insert(other.clone(), Verb::Restart).is_none() {
                self.plan_restarts(&other, jobs);
            }
        }
    }

    pub(super) fn plan_stop(&mut self, name: &UnitName, jobs: &mut BTreeMap<UnitName, Verb>) -> Result<(), Refusal> {
        self.load(name);
        let unit = self.unit(name);
        if unit.phase == Phase::Dead && !matches!(unit.content, Content::Loaded { .. }) {
            return Err(Refusal { name: NO_SUCH_UNIT, message: format!("Unit {name} not loaded.") });
        }
        self.plan_stops(name, jobs);
        Ok(())
    }

    pub(super) fn plan_stops(&self, name: &UnitName, jobs: &mut BTreeMap<UnitName, Verb>) {
        jobs.insert(name.clone(), Verb::Stop);
        for other in self.up_and_stopping_with(name) {
            if !jobs.contains_key(&other) {
                self.plan_stops(&other, jobs);
            }
        }
    }

    fn up_and_stopping_with(&self, name: &UnitName) -> Vec<UnitName> {
        let touched = |unit: &Unit| {
            let up = !unit.phase.at_rest() || unit.job.as_ref().is_some_and(|job| job.verb != Verb::Stop);
            up && unit.file().is_some_and(|file| file.stops_with(name))
        };
        self.units.iter().filter(|(_, unit)| touched(unit)).map(|(name, _)| name.clone()).collect()
    }

    /// Puts a job on a unit: equal wishes become one job, opposite ones cancel the older.
    pub(super) fn install(&mut self, name: &UnitName, verb: Verb) {
        self.last_job += 1;
        let (id, now_ms) = (self.last_job, self.now_ms);
        let unit = self.unit_mut(name);
        match &mut unit.job {
            Some(job) if job.verb == verb || (job.verb != Verb::Stop && verb == Verb::Start) => (),
            Some(job) if job.verb == Verb::Start && verb == Verb::Restart => {
                job.verb = Verb::Restart;
                job.running = false;
            }
            slot => {
                let limit_ms = match &unit.content {
                    Content::Loaded { file, .. } => file.job_timeout_ms.map(|ms| now_ms + ms),
                    Content::NotFound | Content::Bad { .. } => None,
                };
                let new = Job { id, verb, running: false, limit_ms, waiting: Vec::new() };
                if let Some(old) = slot.replace(new) {
                    old.end("canceled");
                }
            }
        }
    }

    /// Whether no other job comes first.
    pub(super) fn may_run(&self, name: &UnitName) -> bool {
        let goes_down = |name: &UnitName| {
            self.units.get(name).is_some_and(|unit| match unit.job.as_ref().map(|job| job.verb) {
                Some(Verb::Stop) => true,
                Some(Verb::Restart) => !unit.phase.at_rest(),
                Some(Verb::Start) | None => false,
            })
        };
        if goes_down(name) {
            let comes_after = |unit: &Unit| unit.file().is_some_and(|file| file.after.contains(name));
            return !self.units.iter().any(|(other, unit)| other != name && comes_after(unit) && goes_down(other));
        }
        let has_job = |other: &UnitName| self.units.get(other).is_some_and(|unit| unit.job.is_some());
        self.unit(name).file().is_none_or(|file| !file.after.iter().any(|other| other != name && has_job(other)))
    }
}
