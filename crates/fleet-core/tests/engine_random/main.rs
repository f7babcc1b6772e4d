//! The incremental engine against the from-scratch planner, on random clusters and random changes.
//!
//! `SEED=42 cargo test -p fleet-core --test engine_random` repeats one history. The store here is a [`Cluster`] that
//! only this file changes; the engine sees it through events, in the ways a shell could deliver them.

mod choices;
mod drains;
mod situations;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use fleet_core::check::{self, Violation};
use fleet_core::engine::{
    BrakeWrite, Delta, ECHO_WAIT_MS, Effect, Engine, EngineConfig, Event, PlacementWrite, Plan, PlanGroup,
};
use fleet_core::model::{Absence, Brake, Cluster, MachineId, Placement, Revision, TargetState, Timestamp};
use fleet_core::schedule::{Refusal, Situation, explain};
use fleet_core::unit::{Form, UnitName, WhenIsolated};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Histories in one run.
const N_HISTORIES: u64 = 5_000;

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
    config: EngineConfig,
    /// When the engine wants to be woken.
    wake: Option<Timestamp>,
    given_up: BTreeSet<MachineId>,
    /// The brake as it was judged to be last.
    pulled: Option<Brake>,
    /// Since when machines are absent.
    lost_at: BTreeMap<MachineId, Timestamp>,
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
    let brake_min = if rng.random_bool(0.5) { rng.random_range(0..3) } else { usize::MAX };
    let config = EngineConfig { brake_min, ..EngineConfig::default() };
    let mut history = History {
        seed,
        n_units: rng.random_range(4..=choices::UNITS.len()),
        n_machines: rng.random_range(1..=choices::MACHINES.len()),
        rng,
        store: Cluster::default(),
        revision: 1,
        generation: 0,
        now: Timestamp(1_000),
        engine: Engine::new(config),
        config,
        wake: None,
        given_up: BTreeSet::new(),
        pulled: None,
        lost_at: BTreeMap::new(),
    };
    // Some histories begin with a cluster as an earlier engine, or nobody, has left it.
    for _ in 0..history.rng.random_range(0..60) {
        let delta = history.delta(true);
        history.change(&delta);
    }
    let snapshot = history.snapshot();
    let effects = history.tell(snapshot);
    history.follow(effects, seen);
    for _ in 0..N_BATCHES {
        if history.rng.random_bool(0.5) {
            history.let_time_pass();
            let effects = history.tell(Event::Tick);
            history.follow(effects, seen);
        }
        let deltas = history.deltas();
        let event = history.changed(deltas);
        let effects = history.tell(event);
        history.follow(effects, seen);
    }
}

impl History {
    /// The engine is idle and has said what it wants: judge it, carry it out in one of several ways, until it is at rest.
    fn follow(&mut self, mut effects: Vec<Effect>, seen: &mut Seen) {
        for _ in 0..20 {
            self.store.revision = Revision(self.revision);
            self.store.absent = self.given_up.iter().map(|id| (id.clone(), Absence::GivenUp)).collect();
            self.store.absent.extend(self.engine.absences());
            let expected = self.expected();
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
                self.judge_drains(seen);
                return;
            }
            self.note_situations(&plan, seen);
            self.judge_outcome(&plan);
            effects = self.carry_out(plan, seen);
        }
        panic!("seed {}: does not come to rest", self.seed);
    }

    /// What the judge makes of the store: of the brake, and then of the placements.
    fn expected(&mut self) -> Plan {
        // One that was pulled and could not be written is on all the same.
        let pulled = self.store.brake.clone().or_else(|| self.pulled.take());
        let lost = check::brake(&Cluster { brake: pulled, ..self.store.clone() }, &self.config);
        let since = self.store.brake.as_ref().map_or(self.now, |brake| brake.since);
        // Since when is the engine's word: it may have pulled the brake before, and not have written it.
        let since = self.engine.brake().map_or(since, |brake| brake.since.min(since));
        let brake = (!lost.is_empty()).then_some(Brake { since, lost });
        let after = Cluster { brake: brake.clone(), ..self.store.clone() };
        self.pulled.clone_from(&brake);
        let write = (self.store.brake != brake).then(|| brake.map_or(BrakeWrite::Off, BrakeWrite::On));
        Plan { brake: write, ..check::plan(&after) }
    }

    /// Lets the engine hear of something and looks at what it does besides planning, which is what is returned.
    fn tell(&mut self, event: Event) -> Vec<Effect> {
        if event == Event::Tick && self.wake.is_some_and(|at| at <= self.now) {
            self.wake = None;
        }
        let mut effects = self.engine.handle(self.now, event);
        for effect in effects.extract_if(.., |effect| matches!(effect, Effect::Wake(_) | Effect::Alarm(_))) {
            match effect {
                Effect::Wake(at) => self.wake = Some(at),
                Effect::Alarm(brake) => assert_eq!(brake.as_ref(), self.engine.brake()),
                Effect::Write(_) | Effect::Resync => unreachable!("those were left"),
            }
        }
        for (id, absence) in self.engine.absences() {
            let EngineConfig { grace_ms, stop_allowance_ms, forget_ms, .. } = self.config;
            let least_ms = match absence {
                Absence::Held => 0,
                Absence::StopHeld => grace_ms,
                Absence::Gone => grace_ms + stop_allowance_ms,
                Absence::GivenUp if self.given_up.contains(&id) => 0,
                Absence::GivenUp => grace_ms + stop_allowance_ms + forget_ms,
            };
            let lost_at = self.lost_at.get(&id).copied().unwrap_or_default();
            assert!(lost_at.plus_ms(least_ms) <= self.now, "seed {}: {id} is {absence:?} too early", self.seed);
        }
        effects
    }

    /// Lets it hear of something while a plan is on its way: it plans nothing then, but may pull the brake.
    fn tell_busy(&mut self, event: Event) {
        let effects = self.tell(event);
        assert!(effects.is_empty(), "{effects:?}");
        self.pulled = self.engine.brake().cloned();
    }

    /// Until the next moment that the engine asked for, or some other.
    fn let_time_pass(&mut self) {
        let ms = [1_000, 10_000, 30_000, 100_000_000][self.rng.random_range(0..4)];
        let later = self.now.plus_ms(ms);
        self.now = self.wake.filter(|at| self.now < *at && self.rng.random_bool(0.7)).unwrap_or(later);
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
        match way {
            0..40 => {
                // The echo comes piece by piece: before the last one the picture is not the store's.
                let brake = plan.brake.as_ref().map(|write| self.write_brake(write));
                let groups: Vec<Event> = plan.groups.chunks(1).map(|group| self.write(group)).collect();
                let mut echoes: Vec<Event> = brake.into_iter().chain(groups).collect();
                let last = echoes.pop().expect("the plan has a group");
                let until = self.now.plus_ms(ECHO_WAIT_MS);
                let effects = self.tell(Event::Written { revision: Revision(self.revision) });
                assert_eq!(effects, []);
                assert!(self.wake.is_some_and(|at| at <= until), "nobody would notice that the echo is missing");
                for echo in echoes {
                    self.tell_busy(echo);
                }
                self.tell_busy(Event::Tick);
                self.tell(last)
            }
            40..65 => {
                let echo = self.write_all(&plan);
                self.tell_busy(echo);
                self.tell(Event::Written { revision: Revision(self.revision) })
            }
            65..80 => {
                if self.rng.random_bool(0.3) {
                    self.let_time_pass();
                    self.tell_busy(Event::Tick);
                }
                // Users go on while the plan is on its way; the plan of before is what gets written.
                let deltas: Vec<Delta> = (0..3).map(|_| self.delta(false)).collect();
                let event = self.changed(deltas);
                self.tell_busy(event);
                let echo = self.write_all(&plan);
                self.tell_busy(echo);
                self.tell(Event::Written { revision: Revision(self.revision) })
            }
            80..87 => {
                let early = self.snapshot();
                let n_before = self.rng.random_range(0..=plan.groups.len());
                let groups = plan.groups[..n_before].to_vec();
                let first = self.write_all(&Plan { brake: plan.brake.clone(), groups });
                let middle = self.snapshot();
                let snapshot = if self.rng.random_bool(0.5) { early } else { middle };
                let is_early =
                    matches!(&snapshot, Event::Snapshot(cluster) if cluster.revision < Revision(self.revision));
                self.tell_busy(snapshot);
                if is_early {
                    self.tell_busy(first);
                }
                let rest = self.write(&plan.groups[n_before..]);
                self.tell_busy(rest);
                self.tell(Event::Written { revision: Revision(self.revision) })
            }
            87..96 => {
                let n_written = self.rng.random_range(0..=plan.groups.len());
                let brake = plan.brake.clone().filter(|_| 0 < n_written || self.rng.random_bool(0.5));
                let echo = self.write_all(&Plan { brake, groups: plan.groups[..n_written].to_vec() });
                assert_eq!(self.tell(Event::NotWritten), [Effect::Resync]);
                self.tell_busy(echo);
                let snapshot = self.snapshot();
                self.tell(snapshot)
            }
            _ => {
                self.write_all(&plan);
                self.tell(Event::Written { revision: Revision(self.revision) });
                self.now = self.now.plus_ms(ECHO_WAIT_MS);
                assert_eq!(self.tell(Event::Tick), [Effect::Resync]);
                let snapshot = self.snapshot();
                self.tell(snapshot)
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
        if let Some(write) = &plan.brake {
            after.brake = write.brake().cloned();
        }
        for group in &plan.groups {
            self.judge_group(&after, group);
            apply(&mut after, group);
            let now_broken: Vec<String> = broken(&after).difference(&was_broken).cloned().collect();
            assert!(
                now_broken.is_empty(),
                "seed {}: {now_broken:?} after {group:?} of {plan:?} in {}",
                self.seed,
                self.show()
            );
        }
        self.judge_rooms(plan, &after);
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
                .filter(|(_, units)| units.get(name).is_some_and(|order| !order.is_leaving()))
                .map(|(id, _)| id.clone())
                .collect();
            let is_present = |id: &&MachineId| self.store.machines.contains_key(*id);
            let is_released = |id: &MachineId| match self.store.absence(id) {
                None | Some(Absence::Held) => false,
                Some(Absence::StopHeld) => unit.requirements.when_isolated == WhenIsolated::Keep,
                Some(Absence::Gone | Absence::GivenUp) => true,
            };
            let explanation = explain(&self.store, name);
            let able: Vec<&MachineId> = explanation.able().collect();
            let is_wanted = unit.target != TargetState::Inactive && name.form() != Form::Template;
            let right = match &explanation.situation {
                Situation::Unknown => false,
                Situation::Template => name.form() == Form::Template,
                Situation::Inactive => !is_wanted,
                Situation::Placed(machine) => is_wanted && on == [machine.clone()] && is_present(&machine),
                Situation::Lost(machine) => {
                    seen.note("explained: lost", true);
                    // Also if it stops somewhere else, as when its machine was lost after another had been drained.
                    let itself = std::slice::from_ref(name);
                    let waits = self.waits_for_a_member(&explanation.group) || self.waits_for_a_member(itself);
                    let at_rest = !is_released(machine) || able.is_empty() || waits;
                    is_wanted && on == [machine.clone()] && !is_present(&machine) && at_rest
                }
                Situation::Draining(machine) => {
                    seen.note("explained: draining", true);
                    let drain = self.store.machines.get(machine).and_then(|machine| machine.draining);
                    is_wanted && on == [machine.clone()] && drain.is_some()
                }
                Situation::Stopping(machine) => {
                    seen.note("explained: stopping", true);
                    let order = self.store.placements.get(machine).and_then(|units| units.get(name));
                    is_wanted && on.is_empty() && order.is_some_and(Placement::is_stop)
                }
                Situation::Waiting if self.waits_for_a_member(&explanation.group) => on.is_empty(),
                Situation::Waiting => is_wanted && !unit.requirements.global && on.is_empty() && able.is_empty(),
                Situation::Global(placed) => {
                    let present: Vec<&MachineId> = on.iter().filter(is_present).collect();
                    unit.requirements.global && able == present && placed.iter().collect::<Vec<_>>() == present
                }
            };
            assert!(right, "seed {}: {explanation:?} in {}", self.seed, self.show());
            for refusal in explanation.machines.iter().flat_map(|answer| &answer.refusals) {
                let what = match refusal {
                    Refusal::Never { .. } => "refused: Never",
                    Refusal::MachineId { .. } => "refused: MachineId",
                    Refusal::Cordoned => "refused: Cordoned",
                    Refusal::Draining => "refused: Draining",
                    Refusal::Stopping => "refused: Stopping",
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

    fn write_brake(&mut self, write: &BrakeWrite) -> Event {
        self.revision += 1;
        let brake = write.brake().cloned();
        self.store.brake.clone_from(&brake);
        Event::Changed { revision: Revision(self.revision), deltas: vec![Delta::BrakeChanged { brake }] }
    }

    /// The same for all of it, as one echo.
    fn write_all(&mut self, plan: &Plan) -> Event {
        let first = plan.brake.as_ref().map(|write| self.write_brake(write));
        let rest = self.write(&plan.groups);
        match (first, rest) {
            (Some(Event::Changed { deltas: first, .. }), Event::Changed { revision, deltas }) => {
                Event::Changed { revision, deltas: [first, deltas].concat() }
            }
            (_, rest) => rest,
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
        let absent = self.given_up.iter().map(|id| (id.clone(), Absence::GivenUp)).collect();
        let cluster = Cluster { revision: Revision(self.revision), absent, ..self.store.clone() };
        Event::Snapshot(cluster)
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
            Delta::MachineRemoved { id } => {
                if self.store.machines.remove(&id).is_some() {
                    self.lost_at.insert(id, self.now);
                }
            }
            Delta::Reported { machine, name, report } => {
                let units = self.store.reports.entry(machine).or_default();
                match report {
                    Some(report) => drop(units.insert(name, report)),
                    None => drop(units.remove(&name)),
                }
            }
            Delta::BrakeChanged { .. } => unreachable!("only the engine writes it"),
            Delta::GivenUpChanged { id, given_up: true } => drop(self.given_up.insert(id)),
            Delta::GivenUpChanged { id, given_up: false } => drop(self.given_up.remove(&id)),
            Delta::PlacementPut { machine, name, placement } => {
                self.store.placements.entry(machine).or_default().insert(name, placement);
            }
            Delta::PlacementRemoved { machine, name } => remove_placement(&mut self.store, &machine, &name),
        }
    }

    fn show(&self) -> String {
        let mut text = format!("revision {}\n", self.revision);
        for (id, machine) in &self.store.machines {
            let (metadata, cordoned, draining) = (&machine.metadata, machine.cordoned, machine.draining);
            text += &format!("  machine {id} {metadata:?} {cordoned} {draining:?}\n");
        }
        for (name, unit) in &self.store.units {
            text += &format!("  {name} {} {} {:?}\n", unit.generation, unit.target, unit.requirements);
        }
        for (id, units) in &self.store.placements {
            let show = |(name, order): (&UnitName, &Placement)| {
                format!(
                    "{name}{}",
                    if order.is_leaving() { format!(" (leaves: {})", order.target) } else { String::new() }
                )
            };
            let away = self.store.absence(id);
            text += &format!("  on {id} {away:?}: {:?}\n", units.iter().map(show).collect::<Vec<_>>());
        }
        for (id, units) in &self.store.reports {
            text += &format!("  reports of {id}: {units:?}\n");
        }
        text += &format!("  brake {:?}\n", self.store.brake);
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
