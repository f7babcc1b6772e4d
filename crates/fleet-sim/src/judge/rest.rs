//! What has to be so once all trouble is over: what is wanted runs, nothing else does, and the store tells the truth.

use std::collections::BTreeMap;

use fleet_core::check;
use fleet_core::model::TargetState;
use fleet_core::unit::UnitName;
use fleet_store::registry::UnitRecord;

use super::Judge;
use crate::units::Family;
use crate::users::Ledger;
use crate::world::{Host, Who};

impl Judge {
    /// What is not as it has to be at rest; empty if all is well.
    pub(crate) fn unrest(
        &self,
        hosts: &[Host],
        daemons: &[Option<Who>],
        disks: &[&str],
        ledger: &Ledger,
    ) -> Vec<String> {
        let mut found = ledger.contradictions(&self.view);
        found.extend(check::invariants(self.view.cluster()).iter().map(ToString::to_string));
        let plan = check::plan(self.view.cluster());
        if !plan.is_empty() {
            found.push(format!("there is something to plan: {plan:?}"));
        }
        for (host, daemon) in hosts.iter().zip(daemons) {
            let announced = self.announced.get(&host.id).filter(|_| self.view.machines().contains_key(&host.id));
            if announced != daemon.as_ref() {
                found.push(format!("{} is not present by {daemon:?} but by {announced:?}", host.id));
            }
            if daemon.is_none() && self.has_orders(&host.id) {
                found.push(format!("{} has left for good, and has orders", host.id));
            }
        }
        if self.leader.is_none() || !daemons.contains(&self.leader) {
            found.push(format!("nobody who runs leads, but {:?}", self.leader));
        }
        for (unit, wish) in self.view.units() {
            let wanted_on = self.wanted_on(hosts, unit, wish);
            for (idx, host) in hosts.iter().enumerate() {
                found.extend(self.wrong_on(host, unit, wish, wanted_on.contains(&idx)));
            }
        }
        if let Some(brake) = &self.view.cluster().brake {
            found.push(format!("the brake is on, and waits for {:?}", brake.lost));
        }
        found.extend(self.unmet(hosts, disks));
        for host in hosts {
            found.extend(self.unwanted_on(host));
            found.extend(self.untold_of(host));
        }
        found
    }

    /// Where a unit has to be, by its own placement; that it has one, and where it may be, `check` has judged.
    fn wanted_on(&self, hosts: &[Host], unit: &UnitName, wish: &UnitRecord) -> Vec<usize> {
        if wish.target == TargetState::Inactive {
            return Vec::new();
        }
        let placed: Vec<_> = self.view.placed_on(unit).collect();
        (0..hosts.len()).filter(|&idx| placed.contains(&&hosts[idx].id)).collect()
    }

    fn wrong_on(&self, host: &Host, unit: &UnitName, wish: &UnitRecord, is_here: bool) -> Option<String> {
        let id = &host.id;
        let running = host.running();
        let files = host.files();
        let runs = running.contains_key(unit);
        if !is_here {
            let is_left = runs || files.contains_key(unit);
            return is_left.then(|| format!("{unit} is not placed on {id}, and something of it is there"));
        }
        let Some((_, receipt)) = files.get(unit) else {
            return Some(format!("{unit} is placed on {id}, and its file is not there"));
        };
        if receipt.as_ref().map(|receipt| receipt.hash) != Some(wish.hash) {
            return Some(format!("{unit} has an old file on {id}"));
        }
        let has_to_run = wish.target == TargetState::Launched && Family::of(unit).runs_on();
        // Who was killed stays so until somebody asks for a start.
        let was_killed = host.fake.statuses().get(unit).is_some_and(|status| status.result == "signal");
        if has_to_run != runs && Family::of(unit).runs_on() && !was_killed {
            let word = if runs { "runs" } else { "does not run" };
            return Some(format!("{unit} is to be {} on {id}, and {word}", wish.target));
        }
        let line = host.fake.command_line(unit);
        let text = self.view.file_of(unit).map(|file| file.record.original.clone()).unwrap_or_default();
        match line {
            Some(line) if !text.contains(&line) => {
                Some(format!("{unit} runs as `{line}` on {id}, which its file does not say"))
            }
            Some(_) | None => None,
        }
    }

    /// What is on a machine although no such unit exists.
    fn unwanted_on(&self, host: &Host) -> Vec<String> {
        let files = host.files();
        let running = host.running();
        let names = files.keys().chain(running.keys()).filter(|name| !self.view.units().contains_key(*name));
        names.map(|name| format!("something of {name} is on {}, and no such unit exists", host.id)).collect()
    }

    /// Where what the store says of a machine's units is not what its systemd says.
    fn untold_of(&self, host: &Host) -> Vec<String> {
        let statuses = host.fake.statuses();
        let files = host.files();
        let none = BTreeMap::new();
        let told = self.view.states().get(&host.id).unwrap_or(&none);
        let mut found = Vec::new();
        for (unit, (_, receipt)) in &files {
            let Some(truth) = statuses.get(unit) else { continue };
            let Some(told) = told.get(unit) else {
                found.push(format!("the store knows nothing of {unit} on {}", host.id));
                continue;
            };
            // systemd forgets the result of what ended well, at a time of its own.
            let is_same = (&told.load, &told.active, &told.sub) == (&truth.load, &truth.active, &truth.sub)
                && (truth.active != "failed" || told.result == truth.result);
            // What comes and goes every few seconds is told a moment later.
            if !is_same && Family::of(unit) != Family::Bad {
                found.push(format!(
                    "the store says that {unit} on {} is {} {} {}, and it is {} {} {}",
                    host.id, told.active, told.sub, told.result, truth.active, truth.sub, truth.result
                ));
            }
            let order = self.view.placement(&host.id, unit);
            if let (Some(order), Some(receipt)) = (order, receipt)
                && (told.done, told.restarts) != (order.generation, order.restarts)
            {
                found.push(format!(
                    "{unit} on {}: generation {} and restart {} are told as done, {} and {} are noted, {} and {} were ordered",
                    host.id, told.done, told.restarts, receipt.generation, receipt.restarts, order.generation, order.restarts
                ));
            }
        }
        for unit in told.keys().filter(|unit| !files.contains_key(*unit)) {
            found.push(format!("the store says something of {unit} on {}, where nothing of it is", host.id));
        }
        found
    }
}
