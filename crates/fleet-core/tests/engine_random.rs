//! The incremental engine against the from-scratch planner, on random clusters and random changes.
//!
//! `SEED=42 cargo test -p fleet-core --test engine_random` repeats one history. The store here is a [`Cluster`] that
//! only this file changes; the engine sees it through events, in the ways a shell could deliver them.

use std::collections::{BTreeMap, BTreeSet};

use fleet_core::check::{self, Violation};
use fleet_core::engine::{Delta, ECHO_WAIT_MS, Effect, Engine, Event, PlacementWrite, Plan, PlanGroup};
use fleet_core::model::{Cluster, Generation, Machine, MachineId, Placement, Revision, TargetState, Timestamp, Unit};
use fleet_core::schedule::{Refusal, Situation, explain};
use fleet_core::unit::{Form, Glob, Requirements, UnitHash, UnitName};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Histories in one run.
const N_HISTORIES: u64 = 700;

/// Batches of changes in one history; with the histories, more than 10,000 plans are compared in a run.
const N_BATCHES: usize = 12;

const UNITS: [&str; 14] = [
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
const MACHINES: [&str; 7] = ["aaaaaaaa1", "aaaaaaaa2", "bbbbbbbb1", "cccccccc", "dddd", "eeeeeeee9", "ffffffff0"];

const MACHINE_IDS_ASKED: [&str; 6] = ["aaaaaaaa", "bbbbbbbb1", "cccccccc", "dddd", "eeeeeee", "not/an/id"];

/// How often each thing happened: a run in which something never happens proves nothing about it.
#[derive(Debug, Default)]
struct Seen(BTreeMap<&'static str, u64>);

impl Seen {
    fn note(&mut self, what: &'static str, happened: bool) {
        *self.0.entry(what).or_default() += u64::from(happened);
    }

    #[track_caller]
    fn assert_all(&self, at_least: u64) {
        let rare: Vec<_> = self.0.iter().filter(|(_, n)| **n < at_least).collect();
        assert!(rare.is_empty(), "too rare to prove anything: {rare:?} of {:?}", self.0);
    }
}

struct History {
    seed: u64,
    rng: StdRng,
    store: Cluster,
    revision: u64,
    generation: u64,
    now: Timestamp,
    engine: Engine,
}

#[test]
fn engine_plans_what_the_judge_plans() {
    let mut seen = Seen::default();
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse::<u64>().expect("SEED is a number")],
        Err(_) => (0..N_HISTORIES).collect(),
    };
    for &seed in &seeds {
        run(seed, &mut seen);
    }
    if 1 < seeds.len() {
        assert!(10_000 < seen.0["plan compared"], "{seen:?}");
        seen.assert_all(10);
    }
}

fn run(seed: u64, seen: &mut Seen) {
    let mut history = History {
        seed,
        rng: StdRng::seed_from_u64(seed),
        store: Cluster::default(),
        revision: 1,
        generation: 0,
        now: Timestamp(1_000),
        engine: Engine::new(),
    };
    // Some histories begin with a cluster as an earlier engine, or nobody, has left it.
    for _ in 0..history.rng.random_range(0..60) {
        let delta = history.delta(true);
        history.change(&delta);
    }
    let snapshot = history.snapshot();
    let effects = history.engine.handle(history.now, snapshot);
    history.follow(effects, seen);
    for _ in 0..N_BATCHES {
        let deltas = history.deltas();
        let event = history.changed(deltas);
        let effects = history.engine.handle(history.now, event);
        history.follow(effects, seen);
    }
}

impl History {
    /// The engine is idle and has said what it wants: judge it, carry it out in one of several ways, until it is at rest.
    fn follow(&mut self, mut effects: Vec<Effect>, seen: &mut Seen) {
        for _ in 0..20 {
            let expected = check::plan(&self.store);
            let plan = match effects.as_slice() {
                [] => Plan::default(),
                [Effect::Write(plan)] => plan.clone(),
                other => panic!("seed {}: {other:?}", self.seed),
            };
            assert_eq!(plan, expected, "seed {}: engine (left) and judge (right) in {}", self.seed, self.show());
            seen.note("plan compared", true);
            if plan.is_empty() {
                seen.note("nothing to do", true);
                assert_eq!(check::invariants(&self.store), [], "seed {}: {}", self.seed, self.show());
                self.judge_explanations(seen);
                return;
            }
            self.note_situations(&plan, seen);
            self.judge_outcome(&plan);
            effects = self.carry_out(plan, seen);
        }
        panic!("seed {}: does not come to rest", self.seed);
    }

    /// Writes the plan and lets the engine hear of it.
    fn carry_out(&mut self, plan: Plan, seen: &mut Seen) -> Vec<Effect> {
        let way = self.rng.random_range(0..100);
        seen.note("written, then echo", (0..40).contains(&way));
        seen.note("echo, then written", (40..65).contains(&way));
        seen.note("changes while writing", (65..80).contains(&way));
        seen.note("snapshot while writing", (80..87).contains(&way));
        seen.note("not written, or in part", (87..96).contains(&way));
        seen.note("echo never comes", (96..100).contains(&way));
        let no_effect = |effects: Vec<Effect>| assert!(effects.is_empty(), "{effects:?}");
        match way {
            0..40 => {
                let echo = self.write(&plan.groups);
                let until = self.now.plus_ms(ECHO_WAIT_MS);
                let effects = self.engine.handle(self.now, Event::Written { revision: Revision(self.revision) });
                assert_eq!(effects, [Effect::Wake(until)]);
                no_effect(self.engine.handle(self.now, Event::Tick));
                self.engine.handle(self.now, echo)
            }
            40..65 => {
                let echo = self.write(&plan.groups);
                no_effect(self.engine.handle(self.now, echo));
                self.engine.handle(self.now, Event::Written { revision: Revision(self.revision) })
            }
            65..80 => {
                // Users go on while the plan is on its way; the plan of before is what gets written.
                let deltas: Vec<Delta> = (0..3).map(|_| self.delta(false)).collect();
                let event = self.changed(deltas);
                no_effect(self.engine.handle(self.now, event));
                let echo = self.write(&plan.groups);
                no_effect(self.engine.handle(self.now, echo));
                self.engine.handle(self.now, Event::Written { revision: Revision(self.revision) })
            }
            80..87 => {
                let early = self.snapshot();
                let n_before = self.rng.random_range(0..=plan.groups.len());
                let first = self.write(&plan.groups[..n_before]);
                let middle = self.snapshot();
                let snapshot = if self.rng.random_bool(0.5) { early } else { middle };
                let is_early = matches!(&snapshot, Event::Snapshot { revision, .. } if revision.0 < self.revision);
                no_effect(self.engine.handle(self.now, snapshot));
                if is_early {
                    no_effect(self.engine.handle(self.now, first));
                }
                let rest = self.write(&plan.groups[n_before..]);
                no_effect(self.engine.handle(self.now, rest));
                self.engine.handle(self.now, Event::Written { revision: Revision(self.revision) })
            }
            87..96 => {
                let n_written = self.rng.random_range(0..=plan.groups.len());
                let echo = self.write(&plan.groups[..n_written]);
                assert_eq!(self.engine.handle(self.now, Event::NotWritten), [Effect::Resync]);
                no_effect(self.engine.handle(self.now, echo));
                let snapshot = self.snapshot();
                self.engine.handle(self.now, snapshot)
            }
            _ => {
                self.write(&plan.groups);
                self.engine.handle(self.now, Event::Written { revision: Revision(self.revision) });
                self.now = self.now.plus_ms(ECHO_WAIT_MS);
                assert_eq!(self.engine.handle(self.now, Event::Tick), [Effect::Resync]);
                let snapshot = self.snapshot();
                self.engine.handle(self.now, snapshot)
            }
        }
    }

    /// Carries out the plan on a copy: at each revision no ordinary unit is placed twice and nothing is broken that was
    /// whole, and in the end all is well and nothing is left to do.
    fn judge_outcome(&self, plan: &Plan) {
        let broken = |cluster: &Cluster| -> BTreeSet<String> {
            let mut found = BTreeSet::new();
            for violation in check::invariants(cluster) {
                match violation {
                    // On which machines is no matter: they become fewer one by one.
                    Violation::PlacedTwice { unit, .. } => found.insert(format!("{unit} twice")),
                    Violation::Conflict { .. } | Violation::PeerMissing { .. } => found.insert(violation.to_string()),
                    _ => false,
                };
            }
            found
        };
        let mut after = self.store.clone();
        let was_broken = broken(&after);
        for group in &plan.groups {
            apply(&mut after, group);
            let now_broken: Vec<String> = broken(&after).difference(&was_broken).cloned().collect();
            assert!(
                now_broken.is_empty(),
                "seed {}: {now_broken:?} after {group:?} of {plan:?} in {}",
                self.seed,
                self.show()
            );
        }
        assert_eq!(check::invariants(&after), [], "seed {}: {plan:?} in {}", self.seed, self.show());
        assert!(check::plan(&after).is_empty(), "seed {}: {plan:?} in {}", self.seed, self.show());
    }

    /// At rest, what waits is refused by each machine with a reason, and what is placed is said to be where it is.
    fn judge_explanations(&self, seen: &mut Seen) {
        for (name, unit) in &self.store.units {
            let on: Vec<MachineId> = self
                .store
                .placements
                .iter()
                .filter(|(_, units)| units.contains_key(name))
                .map(|(id, _)| id.clone())
                .collect();
            let explanation = explain(&self.store, name);
            let able: Vec<&MachineId> = explanation.able().collect();
            let is_wanted = unit.target != TargetState::Inactive && name.form() != Form::Template;
            let right = match &explanation.situation {
                Situation::Unknown => false,
                Situation::Template => name.form() == Form::Template,
                Situation::Inactive => !is_wanted,
                Situation::Placed(machine) => is_wanted && on == [machine.clone()],
                Situation::Waiting => is_wanted && !unit.requirements.global && on.is_empty() && able.is_empty(),
                Situation::Global(placed) => {
                    unit.requirements.global && on == *placed && able == on.iter().collect::<Vec<_>>()
                }
            };
            assert!(right, "seed {}: {explanation:?} in {}", self.seed, self.show());
            for refusal in explanation.machines.iter().flat_map(|answer| &answer.refusals) {
                let what = match refusal {
                    Refusal::Never { .. } => "refused: Never",
                    Refusal::MachineId { .. } => "refused: MachineId",
                    Refusal::Metadata { .. } => "refused: Metadata",
                    Refusal::Conflict { .. } => "refused: Conflict",
                    Refusal::PeerElsewhere { .. } => "refused: PeerElsewhere",
                    Refusal::PeerNotPlaced { .. } => "refused: PeerNotPlaced",
                    Refusal::WouldReplace { .. } => "refused: WouldReplace",
                    Refusal::ReplacedBy { .. } => "refused: ReplacedBy",
                    Refusal::GroupMember { .. } => "refused: GroupMember",
                };
                seen.note(what, true);
                let is_only = explanation.machines.iter().all(|answer| answer.refusals.iter().all(|r| r == refusal));
                seen.note("refused for one reason only", is_only);
            }
        }
    }

    fn write(&mut self, groups: &[PlanGroup]) -> Event {
        let mut deltas = Vec::new();
        for group in groups {
            self.revision += 1;
            apply(&mut self.store, group);
            deltas.extend(group.writes.iter().cloned().map(|write| match write {
                PlacementWrite::Put { machine, name, placement } => Delta::PlacementPut { machine, name, placement },
                PlacementWrite::Delete { machine, name } => Delta::PlacementRemoved { machine, name },
            }));
        }
        if groups.is_empty() {
            self.revision += 1;
        }
        Event::Changed { revision: Revision(self.revision), deltas }
    }

    fn snapshot(&self) -> Event {
        Event::Snapshot { revision: Revision(self.revision), cluster: self.store.clone() }
    }

    fn changed(&mut self, deltas: Vec<Delta>) -> Event {
        for delta in &deltas {
            self.change(delta);
        }
        self.revision += 1;
        Event::Changed { revision: Revision(self.revision), deltas }
    }

    fn change(&mut self, delta: &Delta) {
        match delta.clone() {
            Delta::UnitPut { name, unit } => drop(self.store.units.insert(name, unit)),
            Delta::UnitRemoved { name } => drop(self.store.units.remove(&name)),
            Delta::MachinePut { id, machine } => drop(self.store.machines.insert(id, machine)),
            Delta::MachineRemoved { id } => drop(self.store.machines.remove(&id)),
            Delta::PlacementPut { machine, name, placement } => {
                self.store.placements.entry(machine).or_default().insert(name, placement);
            }
            Delta::PlacementRemoved { machine, name } => remove_placement(&mut self.store, &machine, &name),
        }
    }

    fn deltas(&mut self) -> Vec<Delta> {
        let n_deltas = if self.rng.random_bool(0.6) { 1 } else { self.rng.random_range(2..8) };
        // Once in a while somebody other than the engine has written placements.
        let foreign = self.rng.random_bool(0.1);
        (0..n_deltas).map(|_| self.delta(foreign)).collect()
    }

    fn delta(&mut self, foreign: bool) -> Delta {
        let n_kinds = if foreign { 12 } else { 10 };
        match self.rng.random_range(0..n_kinds) {
            0..5 => self.put_unit(),
            5 => Delta::UnitRemoved { name: self.unit_name() },
            6..9 => {
                let id = self.machine_id();
                Delta::MachinePut { id, machine: self.machine() }
            }
            9 => Delta::MachineRemoved { id: self.machine_id() },
            10 => {
                let (machine, name) = (self.machine_id(), self.unit_name());
                let placement = self.placement(&name);
                Delta::PlacementPut { machine, name, placement }
            }
            _ => Delta::PlacementRemoved { machine: self.machine_id(), name: self.unit_name() },
        }
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
        if self.rng.random_bool(0.3) {
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
        }
        requires.global = self.rng.random_bool(0.15);
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
        Machine { public_ip: self.generation.to_string(), metadata, version: String::new() }
    }

    /// An order as it could be in the store: the right one, or an older one.
    fn placement(&mut self, name: &UnitName) -> Placement {
        let right = self.store.units.get(name).filter(|_| self.rng.random_bool(0.7));
        Placement {
            hash: right.map_or_else(|| UnitHash::of_canonical("old"), |unit| unit.hash),
            target: right.map_or(TargetState::Launched, |unit| unit.target),
            generation: right.map_or(Generation(0), |unit| unit.generation),
            restarts: right.map_or(0, |unit| unit.restarts),
        }
    }

    fn unit_name(&mut self) -> UnitName {
        self.one_of(&UNITS).parse().expect("a unit name")
    }

    fn machine_id(&mut self) -> MachineId {
        self.one_of(&MACHINES).parse().expect("a machine ID")
    }

    fn one_of(&mut self, choices: &[&'static str]) -> &'static str {
        choices[self.rng.random_range(0..choices.len())]
    }

    fn note_situations(&self, plan: &Plan, seen: &mut Seen) {
        let requires = |name: &UnitName| self.store.units.get(name).map(|unit| &*unit.requirements);
        let is_global = |name: &UnitName| requires(name).is_some_and(|requires| requires.global);
        let was_placed = |name: &UnitName| self.store.placements.values().any(|units| units.contains_key(name));
        let mut after = self.store.clone();
        plan.groups.iter().for_each(|group| apply(&mut after, group));
        let same_machine = |a: &UnitName, b: &UnitName| {
            after.placements.values().any(|units| units.contains_key(a) && units.contains_key(b))
        };
        for group in &plan.groups {
            let puts = || group.writes.iter().filter(|write| write.is_put());
            let news = || puts().filter(|write| !was_placed(write.name()));
            let deletes = || group.writes.iter().filter(|write| !write.is_put());
            let moved: Vec<_> = puts().filter(|put| deletes().any(|delete| delete.name() == put.name())).collect();
            let replaced_by = |write: &PlacementWrite, replacer: &UnitName| {
                requires(replacer)
                    .is_some_and(|requires| requires.replaces.iter().any(|glob| glob.matches(write.name().as_str())))
            };
            seen.note("group of several placed", 1 < news().filter(|write| !is_global(write.name())).count());
            seen.note("unit moved", moved.iter().any(|write| !is_global(write.name())));
            seen.note("tied units moved", 1 < moved.iter().filter(|write| !is_global(write.name())).count());
            seen.note(
                "moved for a unit that comes",
                moved
                    .iter()
                    .any(|old| news().any(|new| new.machine() != old.machine() && replaced_by(old, new.name()))),
            );
            seen.note("order renewed in place", puts().any(|put| moved.is_empty() && was_placed(put.name())));
            seen.note("global unit placed", puts().any(|put| is_global(put.name())));
            seen.note("global unit removed", deletes().any(|delete| is_global(delete.name())));
            seen.note("unit that is gone removed", deletes().any(|delete| requires(delete.name()).is_none()));
            seen.note(
                "removed from a lost machine",
                deletes().any(|delete| !self.store.machines.contains_key(delete.machine())),
            );
            let news_with = |has: fn(&Requirements) -> bool| news().any(|put| requires(put.name()).is_some_and(has));
            seen.note("placed by MachineID", news_with(|requires| requires.machine_id.is_some()));
            seen.note("placed by metadata", news_with(|requires| !requires.metadata.is_empty()));
            seen.note("placed by two metadata keys", news_with(|requires| 1 < requires.metadata.len()));
            seen.note("placed with Conflicts", news_with(|requires| !requires.conflicts.is_empty()));
            seen.note("placed with Replaces", news_with(|requires| !requires.replaces.is_empty()));
            let to_its_leader = |put: &PlacementWrite| {
                requires(put.name()).is_some_and(|requires| {
                    !requires.global && requires.machine_of.iter().any(|peer| puts().all(|other| other.name() != peer))
                })
            };
            seen.note("follows a unit that is placed", news().any(to_its_leader));
            seen.note(
                "follows a global unit",
                news().any(|put| {
                    requires(put.name()).is_some_and(|requires| {
                        !requires.global && requires.machine_of.iter().any(|peer| is_global(peer))
                    })
                }),
            );
        }
        for (name, unit) in &self.store.units {
            let placed = after.placements.values().any(|units| units.contains_key(name));
            let ordinary = !unit.requirements.global;
            seen.note("unit waits", unit.target != TargetState::Inactive && ordinary && !placed);
            seen.note(
                "replacer and replaced stay together",
                placed
                    && ordinary
                    && self.store.units.iter().any(|(other, unit)| {
                        other != name
                            && !unit.requirements.global
                            && replaces(&self.store, name, other)
                            && !replaces(&self.store, other, name)
                            && same_machine(name, other)
                    }),
            );
            seen.note(
                "circular Replaces on one machine",
                ordinary
                    && self.store.units.keys().any(|other| {
                        name < other
                            && replaces(&self.store, name, other)
                            && replaces(&self.store, other, name)
                            && same_machine(name, other)
                    }),
            );
        }
        seen.note("placed twice at first", check::invariants(&self.store).iter().any(Violation::is_wrong_always));
    }

    fn show(&self) -> String {
        let mut text = format!("revision {}\n", self.revision);
        for (id, machine) in &self.store.machines {
            text += &format!("  machine {id} {:?}\n", machine.metadata);
        }
        for (name, unit) in &self.store.units {
            text += &format!("  {name} {} {:?}\n", unit.target, unit.requirements);
        }
        for (id, units) in &self.store.placements {
            text += &format!("  on {id}: {:?}\n", units.keys().collect::<Vec<_>>());
        }
        text
    }
}

fn replaces(cluster: &Cluster, replacer: &UnitName, replaced: &UnitName) -> bool {
    cluster.units[replacer].requirements.replaces.iter().any(|glob| glob.matches(replaced.as_str()))
}

fn apply(cluster: &mut Cluster, group: &PlanGroup) {
    for write in group.writes.clone() {
        match write {
            PlacementWrite::Put { machine, name, placement } => {
                cluster.placements.entry(machine).or_default().insert(name, placement);
            }
            PlacementWrite::Delete { machine, name } => remove_placement(cluster, &machine, &name),
        }
    }
}

fn remove_placement(cluster: &mut Cluster, machine: &MachineId, name: &UnitName) {
    if let Some(units) = cluster.placements.get_mut(machine) {
        units.remove(name);
        if units.is_empty() {
            cluster.placements.remove(machine);
        }
    }
}
