//! The incremental engine against the from-scratch planner, on random clusters and random changes.
//!
//! `SEED=42 cargo test -p fleet-core --test engine_random` repeats one history. The store here is a [`Cluster`] that
//! only this file changes; the engine sees it through events, in the ways a shell could deliver them.

mod choices;
mod situations;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use fleet_core::check::{self, Violation};
use fleet_core::engine::{Delta, ECHO_WAIT_MS, Effect, Engine, Event, PlacementWrite, Plan, PlanGroup};
use fleet_core::model::{Cluster, MachineId, Revision, TargetState, Timestamp};
use fleet_core::schedule::{Refusal, Situation, explain};
use fleet_core::unit::{Form, UnitName};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Histories in one run.
const N_HISTORIES: u64 = 1_500;

/// Batches of changes in one history; with the histories, more than 10,000 plans are compared in a run.
const N_BATCHES: usize = 12;

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

/// Says which history it was when anything in it panics.
struct SeedOnPanic(u64);

impl Drop for SeedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "repeat it with SEED={}", self.0);
        }
    }
}

struct History {
    seed: u64,
    rng: StdRng,
    /// How many of the units and machines take part: in a small world all meet more often, in a large one there is room.
    n_units: usize,
    n_machines: usize,
    store: Cluster,
    revision: u64,
    generation: u64,
    now: Timestamp,
    engine: Engine,
}

#[expect(clippy::disallowed_methods, reason = "a test may read SEED to repeat one history")]
fn seed_asked_for() -> Option<String> {
    std::env::var("SEED").ok()
}

#[test]
fn engine_plans_what_the_judge_plans() {
    let mut seen = Seen::default();
    let seeds = match seed_asked_for() {
        Some(seed) => vec![seed.parse::<u64>().expect("SEED is a number")],
        None => (0..N_HISTORIES).collect(),
    };
    for &seed in &seeds {
        run(seed, &mut seen);
    }
    if 1 < seeds.len() {
        assert!(10_000 < seen.0["plan compared"], "{seen:?}");
        seen.assert_all(20);
    }
}

fn run(seed: u64, seen: &mut Seen) {
    let _seed_on_panic = SeedOnPanic(seed);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut history = History {
        seed,
        n_units: rng.random_range(4..=choices::UNITS.len()),
        n_machines: rng.random_range(1..=choices::MACHINES.len()),
        rng,
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
                // The echo comes piece by piece: before the last one the picture is not the store's.
                let mut echoes: Vec<Event> = plan.groups.chunks(1).map(|group| self.write(group)).collect();
                let last = echoes.pop().expect("the plan has a group");
                let until = self.now.plus_ms(ECHO_WAIT_MS);
                let effects = self.engine.handle(self.now, Event::Written { revision: Revision(self.revision) });
                assert_eq!(effects, [Effect::Wake(until)]);
                for echo in echoes {
                    no_effect(self.engine.handle(self.now, echo));
                }
                no_effect(self.engine.handle(self.now, Event::Tick));
                self.engine.handle(self.now, last)
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
