//! Random units, machines and changes, from a small world in which everything meets everything.

use std::collections::BTreeMap;

use fleet_core::engine::Delta;
use fleet_core::model::{Drain, Generation, Machine, MachineId, Placement, Report, Revision, TargetState, Unit};
use fleet_core::unit::{Glob, Requirements, UnitHash, UnitName, WhenIsolated};
use rand::RngExt as _;

use super::History;

pub(super) const UNITS: [&str; 14] = [
    "a.service",
    "b.service",
    "c.service",
    "d.socket",
    "e.timer",
    "w1.service",
    "w2.service",
    "w3.service",
    "x@.service",
    "x@1.service",
    "x@2.service",
    "x@3.service",
    "y@1.service",
    "y@2.service",
];

const PATTERNS: [&str; 12] = [
    "a.service",
    "b.service",
    "c.service",
    "w1.service",
    "w[12].service",
    "x@*.service",
    "y@*.service",
    "x@1.service",
    "?@2.service",
    "*.socket",
    "w*",
    "*",
];

/// Two machines share a short form; one is shorter than a short form.
pub(super) const MACHINES: [&str; 7] =
    ["aaaaaaaa1", "aaaaaaaa2", "bbbbbbbb1", "cccccccc", "dddd", "eeeeeeee9", "ffffffff0"];

const MACHINE_IDS_ASKED: [&str; 6] = ["aaaaaaaa", "bbbbbbbb1", "cccccccc", "dddd", "eeeeeee", "not/an/id"];

impl History {
    pub(super) fn deltas(&mut self) -> Vec<Delta> {
        let n_deltas = if self.rng.random_bool(0.6) { 1 } else { self.rng.random_range(2..8) };
        // Once in a while somebody other than the engine has written placements.
        let foreign = self.rng.random_bool(0.1);
        (0..n_deltas).map(|_| self.delta(foreign)).collect()
    }

    pub(super) fn delta(&mut self, foreign: bool) -> Delta {
        let n_kinds = if foreign { 17 } else { 15 };
        match self.rng.random_range(0..n_kinds) {
            0..5 => self.put_unit(),
            5 => Delta::UnitRemoved { name: self.unit_name() },
            6..9 => {
                let id = self.machine_id();
                // Most often a machine is as it was but for its being drained, so that what is there could stay.
                let machine = match self.store.machines.get(&id).cloned() {
                    Some(old) if self.rng.random_bool(0.4) => {
                        Machine { draining: self.drain(0.6), cordoned: false, ..old }
                    }
                    Some(_) | None => self.machine(),
                };
                Delta::MachinePut { id, machine }
            }
            9..11 => Delta::MachineRemoved { id: self.machine_id() },
            11..14 => self.report(),
            14 => Delta::GivenUpChanged { id: self.machine_id(), given_up: self.rng.random_bool(0.1) },
            15 => {
                let (machine, name) = (self.machine_id(), self.unit_name());
                let placement = self.placement(&name);
                Delta::PlacementPut { machine, name, placement }
            }
            _ => Delta::PlacementRemoved { machine: self.machine_id(), name: self.unit_name() },
        }
    }

    /// What a machine says of a unit; more often than not of one that is placed there, and that it is up.
    fn report(&mut self) -> Delta {
        let placed = |(id, units): (&MachineId, &BTreeMap<UnitName, Placement>)| {
            units.keys().map(|name| (id.clone(), name.clone())).collect::<Vec<_>>()
        };
        let mut placed: Vec<(MachineId, UnitName)> = self.store.placements.iter().flat_map(placed).collect();
        let (machine, name) = if placed.is_empty() || self.rng.random_bool(0.2) {
            (self.machine_id(), self.unit_name())
        } else {
            placed.swap_remove(self.rng.random_range(0..placed.len()))
        };
        let newest = self.store.units.get(&name).map_or(Generation(0), |unit| unit.generation);
        let done = match self.rng.random_range(0..10) {
            0..2 => None,
            2..4 => Some(Generation(newest.0.saturating_sub(1))),
            _ => Some(newest),
        };
        let order = self.store.placements.get(&machine).and_then(|units| units.get(&name));
        // Of the order that it has, of an older one, or of none.
        let left = match self.rng.random_range(0..10) {
            0..4 => order.and_then(|order| order.leaving),
            4 => Some(Revision(self.rng.random_range(0..=self.revision))),
            _ => None,
        };
        let is_up = self.rng.random_bool(0.8);
        Delta::Reported { machine, name, report: done.map(|done| Report { done, is_up, left }) }
    }

    fn put_unit(&mut self) -> Delta {
        let name = self.unit_name();
        self.generation += 1;
        let old = self.store.units.get(&name).cloned();
        let mut unit = match old {
            // A restart, another target state, a new file with the same requirements.
            Some(old) if self.rng.random_bool(0.4) => old,
            Some(_) | None => Unit {
                hash: UnitHash::of_canonical(""),
                target: TargetState::Launched,
                generation: Generation(0),
                restarts: 0,
                changed: self.now,
                requirements: self.requirements().into(),
            },
        };
        unit.generation = Generation(self.generation);
        unit.restarts += u64::from(self.rng.random_bool(0.2));
        unit.target = match self.rng.random_range(0..10) {
            0..2 => TargetState::Inactive,
            2..4 => TargetState::Loaded,
            _ => TargetState::Launched,
        };
        if self.rng.random_bool(0.6) {
            unit.hash = UnitHash::of_canonical(&self.generation.to_string());
        }
        Delta::UnitPut { name, unit }
    }

    fn requirements(&mut self) -> Requirements {
        let mut requires = Requirements::default();
        if self.rng.random_bool(0.04) {
            requires.machine_id = Some(self.one_of(&MACHINE_IDS_ASKED).to_owned());
        }
        if self.rng.random_bool(0.4) {
            for _ in 0..self.rng.random_range(1..3) {
                requires.machine_of.insert(self.unit_name());
            }
        }
        for (key, share) in [("r", 0.25), ("d", 0.1)] {
            if self.rng.random_bool(share) {
                for _ in 0..self.rng.random_range(1..3) {
                    let value = self.one_of(&["1", "2", "3"]).to_owned();
                    requires.metadata.entry(key.to_owned()).or_default().insert(value);
                }
            }
        }
        if self.rng.random_bool(0.3) {
            requires.conflicts = self.globs();
        }
        if self.rng.random_bool(0.3) {
            requires.replaces = self.globs();
        } else if self.rng.random_bool(0.1) {
            // Two that replace each other are not left to chance.
            requires.replaces = vec![Glob::new("[ab].service").expect("valid")];
        }
        requires.global = self.rng.random_bool(0.15);
        if self.rng.random_bool(0.4) {
            requires.when_isolated = WhenIsolated::Stop;
        }
        if self.rng.random_bool(0.01) {
            requires.never.push("MachineOf= names no unit".to_owned());
        }
        requires
    }

    fn globs(&mut self) -> Vec<Glob> {
        // The widest patterns make all else impossible, so they come seldom.
        let n_patterns = if self.rng.random_bool(0.1) { PATTERNS.len() } else { PATTERNS.len() - 2 };
        let n_globs = self.rng.random_range(1..3);
        (0..n_globs).map(|_| self.one_of(&PATTERNS[..n_patterns])).map(|text| Glob::new(text).expect("valid")).collect()
    }

    fn machine(&mut self) -> Machine {
        let mut metadata = BTreeMap::new();
        for (key, share) in [("r", 0.8), ("d", 0.5)] {
            if self.rng.random_bool(share) {
                metadata.insert(key.to_owned(), self.one_of(&["1", "2"]).to_owned());
            }
        }
        Machine {
            public_ip: self.generation.to_string(),
            metadata,
            version: String::new(),
            cordoned: self.rng.random_bool(0.1),
            draining: self.drain(0.1),
        }
    }

    fn drain(&mut self, share: f64) -> Option<Drain> {
        self.rng.random_bool(share).then(|| Drain { max_at_once: self.rng.random_range(1..4) })
    }

    /// An order as it could be in the store: the right one, or an older one.
    fn placement(&mut self, name: &UnitName) -> Placement {
        let right = self.store.units.get(name).filter(|_| self.rng.random_bool(0.7));
        Placement {
            hash: right.map_or_else(|| UnitHash::of_canonical("old"), |unit| unit.hash),
            target: right.map_or(TargetState::Launched, |unit| unit.target),
            generation: right.map_or(Generation(0), |unit| unit.generation),
            restarts: right.map_or(0, |unit| unit.restarts),
            when_isolated: right.map_or(WhenIsolated::Keep, |unit| unit.requirements.when_isolated),
            leaving: self.rng.random_bool(0.2).then_some(Revision(self.revision)),
        }
    }

    fn unit_name(&mut self) -> UnitName {
        self.one_of(&UNITS[..self.n_units]).parse().expect("a unit name")
    }

    fn machine_id(&mut self) -> MachineId {
        self.one_of(&MACHINES[..self.n_machines]).parse().expect("a machine ID")
    }

    fn one_of(&mut self, choices: &[&'static str]) -> &'static str {
        choices[self.rng.random_range(0..choices.len())]
    }
}
