//! What may not be done on a machine: a job needs an order, and the last copy of a unit that is wanted is not stopped.

use std::collections::BTreeMap;

use fleet_core::model::{Placement, Revision, TargetState};
use fleet_core::unit::UnitName;
use fleet_store::registry::UnitRecord;
use fleet_systemd::{Receipt, Verb};

use super::{Judge, stood_since};
use crate::units::{Family, heir_of, runs_once};
use crate::world::Who;

/// A main process on a machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    /// Which it is; `None` while a job that was asked for has not brought one up yet.
    number: Option<u64>,
    /// It was begun by an order of this revision or a newer one: no older order can be a reason to stop it.
    since: Revision,
    /// The same for the process that a job under way is to bring up.
    next_since: Option<Revision>,
    /// A job to stop it was asked for.
    stopping: bool,
}

/// A job that a daemon asks its systemd for.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) verb: Verb,
    /// The newest revision that it had heard of when it had not decided yet.
    pub(crate) heard: Revision,
    /// What is noted of the unit then.
    pub(crate) receipt: Option<Receipt>,
    /// It leaves, and stops all that it has.
    pub(crate) unloads: bool,
}

impl Judge {
    /// The power of a machine went off: nothing that ended there ended by anybody's will.
    pub(crate) fn power(&mut self, host: usize) {
        let gone: Vec<_> = self.processes.keys().filter(|(on, _)| *on == host).cloned().collect();
        for at in gone {
            if self.processes.remove(&at).is_some_and(|process| process.number.is_some()) {
                self.ran_until.insert(at, self.view.revision());
            }
        }
    }

    /// The unit's main process is about to end by a fault of its own.
    pub(crate) fn excuse(&mut self, host: usize, unit: &UnitName) {
        if let Some(process) = self.processes.get_mut(&(host, unit.clone())) {
            process.stopping = true;
        }
    }

    /// Takes in which main processes there are on a machine. Whether one has begun of which there may not be two.
    pub(crate) fn look_at_machine(&mut self, host: usize, running: BTreeMap<UnitName, u64>) -> bool {
        let mut is_guarded = false;
        let now_ms = self.trace.now_ms();
        let known: Vec<UnitName> =
            self.processes.keys().filter(|(on, _)| *on == host).map(|(_, unit)| unit.clone()).collect();
        for unit in known {
            let Some(process) = self.processes.get_mut(&(host, unit.clone())) else { continue };
            let now = running.get(&unit).copied();
            if process.number.is_none() || process.number == now {
                continue;
            }
            self.ran_until.insert((host, unit.clone()), self.view.revision());
            // What is guarded ends with its guard.
            let is_healthy = Family::of(&unit).runs_on() && !runs_once(&unit);
            let by_itself = !process.stopping && is_healthy && process.next_since.is_none();
            if now.is_none() {
                process.number = None;
                process.stopping = false;
                if process.next_since.is_none() {
                    self.processes.remove(&(host, unit.clone()));
                }
            }
            if by_itself {
                let machine = &self.machines[host];
                self.object(now_ms, format!("the main process of {unit} on {machine} ended, and nobody asked for it"));
            }
        }
        for (unit, number) in running {
            let machine = self.machines[host].clone();
            let process = self.processes.entry((host, unit.clone())).or_insert(Process {
                number: None,
                since: Revision(0),
                next_since: None,
                stopping: false,
            });
            if process.number != Some(number) {
                process.number = Some(number);
                process.stopping = false;
                process.since = process.next_since.take().unwrap_or(process.since);
                is_guarded |= runs_once(&unit);
                self.trace.say(machine.as_str(), || format!("{unit} runs as process {number}"));
            }
        }
        is_guarded
    }

    /// No unit with `WhenIsolated=stop` runs on two machines.
    pub(crate) fn look_for_copies(&mut self, host: usize) {
        let running = || self.processes.iter().filter(|(_, process)| process.number.is_some()).map(|(at, _)| at);
        let here = running().filter(|(on, unit)| *on == host && runs_once(unit));
        let twice = here.flat_map(|(_, unit)| running().filter(move |(on, other)| *on != host && other == unit));
        let twice = twice.map(|(on, unit)| (unit.clone(), *on)).next();
        if let Some((unit, other)) = twice {
            let (here, there) = (self.machines[host].clone(), self.machines[other].clone());
            self.object(self.trace.now_ms(), format!("{unit} runs on {here} and on {there}, and may run once only"));
        }
    }

    /// A receipt was written: the process is by the order that it speaks of.
    pub(crate) fn receipt(&mut self, host: usize, unit: &UnitName, receipt: &Receipt) {
        let orders = self.orders.get(&(self.machines[host].clone(), unit.clone()));
        let is_it = |order: &Placement| {
            order.generation == receipt.generation && order.restarts == receipt.restarts && order.hash == receipt.hash
        };
        let since = orders.into_iter().flatten().find(|(_, order)| order.as_ref().is_some_and(is_it));
        if let (Some((since, _)), Some(process)) = (since, self.processes.get_mut(&(host, unit.clone()))) {
            process.since = process.since.max(*since);
        }
    }

    /// A daemon asks its systemd for a job.
    pub(crate) fn job(&mut self, now_ms: u64, who: Who, unit: &UnitName, job: Job) {
        let Job { verb, heard, receipt, unloads } = job;
        let host = who.daemon;
        let at = (host, unit.clone());
        if let Some(process) = self.processes.get(&at).copied().filter(|process| process.number.is_some())
            && verb != Verb::Start
        {
            if unloads && verb == Verb::Stop {
                if self.has_to_hand_over(now_ms, who, unit)
                    && let Err(why) = self.leaves_a_copy(host, unit, process.since, receipt.as_ref())
                {
                    self.object(now_ms, format!("{why}, and {} could take it", self.machines_open(now_ms, host)));
                }
            } else if let Err(why) = self.is_ordered(host, unit, verb, process.since, receipt.as_ref()) {
                self.object(now_ms, why);
            } else if verb == Verb::Stop
                && let Err(why) = self.leaves_a_copy(host, unit, process.since, receipt.as_ref())
            {
                self.object(now_ms, why);
            }
        }
        if unloads && self.processes.get(&at).is_some_and(|process| process.number.is_some()) {
            // It was up: who was told to stop another copy because of it is not to blame.
            self.ran_until.insert(at.clone(), self.view.revision());
        }
        let process = self.processes.entry(at).or_insert(Process {
            number: None,
            since: heard,
            next_since: None,
            stopping: false,
        });
        match verb {
            Verb::Start => process.next_since = Some(heard),
            Verb::Restart => (process.next_since, process.stopping) = (Some(heard), true),
            Verb::Stop => process.stopping = true,
        }
    }

    /// Whether an order that stood at some time since the process was begun is a reason for the job.
    fn is_ordered(
        &self,
        host: usize,
        unit: &UnitName,
        verb: Verb,
        since: Revision,
        receipt: Option<&Receipt>,
    ) -> Result<(), String> {
        let machine = &self.machines[host];
        let is_reason = |order: Option<&Placement>| match (verb, order, receipt) {
            (_, None, _) => true,
            (Verb::Restart, Some(order), Some(receipt)) => receipt.restarts < order.restarts,
            (_, Some(order), Some(receipt)) => order.target != TargetState::Launched || order.hash != receipt.hash,
            (_, Some(_), None) => false,
        };
        let history = self.orders.get(&(machine.clone(), unit.clone()));
        if stood_since(history, since, is_reason) {
            return Ok(());
        }
        let (verb, since) = (verb.as_str(), since.0);
        Err(format!("{unit} on {machine}: a {verb} job, and no order since revision {since} asks for it"))
    }

    /// Whether another copy runs, if the unit was wanted all the time as it is.
    fn leaves_a_copy(
        &self,
        host: usize,
        unit: &UnitName,
        since: Revision,
        receipt: Option<&Receipt>,
    ) -> Result<(), String> {
        let family = Family::of(unit);
        let machine = &self.machines[host];
        let Some(Some(wish)) = self.wishes.get(unit).and_then(|history| history.last()).map(|(_, wish)| wish) else {
            return Ok(());
        };
        let is_other = |before: Option<&UnitRecord>| {
            before.is_none_or(|before| {
                before.target != TargetState::Launched || before.hash != wish.hash || before.restarts != wish.restarts
            })
        };
        // What runs may be of an older order than the one that stood when it was begun.
        let is_old = receipt.is_some_and(|receipt| receipt.hash != wish.hash);
        let changed = is_old || stood_since(self.wishes.get(unit), since, is_other);
        // One that ran there since, and ended by a fault of its machine or its own, was up when it was asked for.
        let ran_elsewhere =
            self.ran_until.iter().any(|((on, other), until)| *on != host && other == unit && since <= *until);
        let runs_elsewhere = ran_elsewhere
            || self.processes.iter().any(|((on, other), process)| {
                *on != host && other == unit && process.number.is_some() && !process.stopping
            });
        let is_given_up = self.view.given_up().contains_key(machine);
        // What is replaced moves without running twice.
        let heir = heir_of(unit).and_then(|heir| self.orders.get(&(machine.clone(), heir)));
        let is_replaced = heir.is_some() && stood_since(heir, since, |order| order.is_some());
        if changed
            || runs_once(unit)
            || !family.stays_put()
            || !family.runs_on()
            || runs_elsewhere
            || is_given_up
            || is_replaced
        {
            return Ok(());
        }
        Err(format!("{unit} is stopped on {machine}, is wanted, and runs nowhere else"))
    }
}
