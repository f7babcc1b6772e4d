//! Machines that are not present: how long they have been away, and what that allows.
//!
//! Time is all that the engine knows of them. It counts from when it *saw* a machine go, so that it errs to the side of
//! waiting: a new engine, or one that had lost sight of the store, begins anew.

use std::collections::{BTreeMap, BTreeSet};

use super::BrakeWrite;
use super::picture::Picture;
use crate::model::{Absence, Brake, MachineId, Timestamp};

/// How patient the engine is with machines that are not present. All times are milliseconds and follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EngineConfig {
    /// How long after its presence is gone a machine may come back without anything having moved.
    ///
    /// Presence ends a lease's time after the machine's last sign of life, so this comes on top of that. Too short: a
    /// restart of `fleetd` after an upgrade moves units. Too long: what was lost stays lost.
    pub grace_ms: u64,
    /// How long after that units of which there may never be two (`WhenIsolated=stop`) are still held.
    ///
    /// It must cover the time in which an isolated machine notices that it lost its lease and stops them; the agent's
    /// side is in `docs/isolation.md`.
    pub stop_allowance_ms: u64,
    /// How long after that the machine counts as given up: what of its orders could not be moved goes, and with it the
    /// orders of its global units, which would otherwise stay for ever for each machine that ever was.
    pub forget_ms: u64,
    /// The brake: if more than this share of the machines are lost at once (and more than `brake_min`), nothing moves until
    /// every one of them, and every one that is lost meanwhile, is back or is given up by an operator.
    ///
    /// Then the trouble is more likely in what lies between them and the store than in the machines, and those that are
    /// left could not carry the load of all. Of one: 0.5 is half.
    pub brake_share: f64,
    /// So many machines may always be lost at once without the brake.
    pub brake_min: usize,
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        EngineConfig {
            grace_ms: 10_000,
            stop_allowance_ms: 30_000,
            forget_ms: 24 * 60 * 60 * 1_000,
            brake_share: 0.5,
            brake_min: 2,
        }
    }
}

/// Who is absent, since when, and what follows.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses {
    config: EngineConfig,
    clocks: BTreeMap<MachineId, Clock>,
    given_up: BTreeSet<MachineId>,
    brake: Option<Brake>,
    /// The brake as the store has it, or will have it when the plan that is under way is written.
    stored: Option<Brake>,
}

#[derive(Clone, Copy, Debug)]
struct Clock {
    /// How far the machine is given up.
    absence: Absence,
    /// When that began, or when the time for it began anew after the brake.
    since: Timestamp,
}

impl Losses {
    pub(super) fn new(config: EngineConfig) -> Losses {
        Losses { config, ..Losses::default() }
    }

    pub(super) fn brake(&self) -> Option<&Brake> {
        self.brake.as_ref()
    }

    /// By time and by operators alone; what the brake waits for is not moved whatever is said here.
    pub(super) fn absences(&self) -> BTreeMap<MachineId, Absence> {
        self.clocks.iter().map(|(id, clock)| (id.clone(), self.absence(id, clock))).collect()
    }

    fn absence(&self, id: &MachineId, clock: &Clock) -> Absence {
        if self.given_up.contains(id) { Absence::GivenUp } else { clock.absence }
    }

    /// A full look: who is given up, and whether the brake is on. Of the others it is not known for how long they have been
    /// absent.
    pub(super) fn start_anew(&mut self, given_up: BTreeSet<MachineId>, stored: Option<Brake>, keeps_clocks: bool) {
        self.given_up = given_up;
        // A brake that this engine has pulled and could not write is on all the same.
        self.brake = self.brake.take().or_else(|| stored.clone());
        self.stored = stored;
        if !keeps_clocks {
            self.clocks.clear();
        }
    }

    /// The machine was present, if only for a moment: when it is lost again, that is another loss.
    pub(super) fn came_back(&mut self, id: &MachineId) {
        self.clocks.remove(id);
    }

    pub(super) fn set_given_up(&mut self, id: MachineId, given_up: bool) {
        if given_up {
            self.given_up.insert(id);
        } else {
            self.given_up.remove(&id);
        }
    }

    /// What the store says of the brake. Only the leader writes it, so this is most often its own word coming back.
    pub(super) fn set_stored_brake(&mut self, stored: Option<Brake>) {
        self.stored = stored;
    }

    /// What is to be written of the brake; from then on it counts as written.
    pub(super) fn plan_brake(&mut self) -> Option<BrakeWrite> {
        if self.stored == self.brake {
            return None;
        }
        self.stored.clone_from(&self.brake);
        Some(self.brake.clone().map_or(BrakeWrite::Off, BrakeWrite::On))
    }

    /// Brings the clocks in line with who is absent now, and tells the picture what became of it.
    pub(super) fn update(&mut self, now: Timestamp, picture: &mut Picture) {
        let absent = picture.absent_machines();
        self.clocks.retain(|id, _| absent.contains_key(id));
        for id in absent.keys() {
            self.clocks.entry(id.clone()).or_insert(Clock { absence: Absence::Held, since: now });
        }
        self.brake = self.judge(now, &absent, picture.n_present());
        for clock in self.clocks.values_mut() {
            while let Some((at, next)) = due(&self.config, clock)
                && at <= now
                && self.brake.is_none()
            {
                *clock = Clock { absence: next, since: at };
            }
        }
        picture.set_braked(self.brake.is_some());
        for (id, clock) in &self.clocks {
            let is_waited_for = self.brake.as_ref().is_some_and(|brake| brake.lost.contains(id));
            picture.set_absence(id, if is_waited_for { Absence::Held } else { self.absence(id, clock) });
        }
    }

    /// When the next one is due, if nothing else happens.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let waited_for = self.clocks.iter().filter(|(id, _)| self.brake.is_none() && !self.given_up.contains(*id));
        waited_for.filter_map(|(_, clock)| due(&self.config, clock)).map(|(at, _)| at).min()
    }

    /// Whether the brake is on: it comes on when too many are lost at once, and is on until none of those and none that
    /// was lost meanwhile is. Machines that were written off before are no part of the cluster any more, and machines
    /// without ordinary units are no loss.
    fn judge(&self, now: Timestamp, absent: &BTreeMap<MachineId, bool>, n_present: usize) -> Option<Brake> {
        let is_lost = |(id, has_units): &(&MachineId, &bool)| {
            let is_written_off =
                self.given_up.contains(*id) || matches!(self.clocks[*id].absence, Absence::Gone | Absence::GivenUp);
            **has_units && !is_written_off
        };
        let lost: BTreeSet<MachineId> = absent.iter().filter(is_lost).map(|(id, _)| id.clone()).collect();
        let n_machines = n_present + lost.len();
        let is_too_many =
            self.config.brake_min < lost.len() && self.config.brake_share * (n_machines as f64) < lost.len() as f64;
        let since = match &self.brake {
            Some(brake) if !lost.is_empty() => brake.since,
            None if is_too_many => now,
            Some(_) | None => return None,
        };
        Some(Brake { since, lost })
    }
}

/// What comes after the machine's present state, and when.
fn due(config: &EngineConfig, clock: &Clock) -> Option<(Timestamp, Absence)> {
    let (wait_ms, next) = match clock.absence {
        Absence::Held => (config.grace_ms, Absence::StopHeld),
        Absence::StopHeld => (config.stop_allowance_ms, Absence::Gone),
        Absence::Gone => (config.forget_ms, Absence::GivenUp),
        Absence::GivenUp => return None,
    };
    Some((clock.since.plus_ms(wait_ms), next))
}
