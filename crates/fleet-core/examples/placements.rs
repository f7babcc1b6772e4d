//! Placements per second of the engine: many units at once, and one at a time, at 1,000 and 10,000 machines.
//!
//! `cargo run --release -p fleet-core --example placements`. Ten units for each machine, one in five with a constraint:
//! in turn metadata (one of three zones), `Conflicts` among the 20 units of one application, and `MachineOf` another
//! unit. Making the changes and dropping the plans is not timed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use fleet_core::engine::{Delta, Effect, Engine, EngineConfig, Event, PlacementWrite, Plan};
use fleet_core::model::{Cluster, Generation, Machine, MachineId, Revision, TargetState, Timestamp, Unit};
use fleet_core::unit::{Glob, Requirements, UnitHash, UnitName};

/// Runs of each measurement. The fastest is printed: what else the box does can only make a run slower.
const N_RUNS: usize = 5;

const NOW: Timestamp = Timestamp(0);

const UNITS_PER_MACHINE: usize = 10;

/// Units of one application, among which one pattern may rule out sharing a machine.
const UNITS_PER_APP: usize = 20;

/// How many single changes are measured, each with its own plan.
const N_SINGLE: usize = 1_000;

/// How many machines are lost, one after the other.
const N_LOST: usize = 100;

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for n_machines in [1_000, 10_000] {
        let n_units = n_machines * UNITS_PER_MACHINE;
        let runs: Vec<AllAtOnce> = (0..N_RUNS).map(|_| all_at_once(n_machines, n_units)).collect();
        let least = |time: fn(&AllAtOnce) -> Duration| runs.iter().map(time).min().expect("there are runs");
        let (taken_in, planned) = (least(|run| run.taken_in), least(|run| run.planned));
        let (lowest, highest) = runs[0].loads;
        writeln!(
            out,
            "{n_machines} machines, {n_units} units at once: {:.0} placements/s planned, {:.0} units/s taken in, \
             {:.0}/s in all; {lowest} to {highest} units on a machine",
            rate(n_units, planned),
            rate(n_units, taken_in),
            rate(n_units, least(|run| run.taken_in + run.planned)),
        )?;
        let single = (0..N_RUNS).map(|_| one_by_one(n_machines, n_units)).min().expect("there are runs");
        writeln!(
            out,
            "{n_machines} machines, {n_units} units placed: {:.0} plans/s for one more unit each",
            rate(N_SINGLE, single)
        )?;
        let lost = (0..N_RUNS).map(|_| machines_lost(n_machines, n_units)).min().expect("there are runs");
        writeln!(
            out,
            "{n_machines} machines, {n_units} units placed: {:.0} plans/s for a lost machine each",
            rate(N_LOST, lost)
        )?;
    }
    Ok(())
}

/// How long the parts took, and how evenly the machines were loaded in the end.
struct AllAtOnce {
    taken_in: Duration,
    planned: Duration,
    loads: (usize, usize),
}

fn rate(n: usize, elapsed: Duration) -> f64 {
    n as f64 / elapsed.as_secs_f64()
}

/// While a first plan is on its way the engine only takes in what happens; planning begins when that one is written. So
/// the two can be timed apart.
fn all_at_once(n_machines: usize, n_units: usize) -> AllAtOnce {
    let mut engine = engine_with(n_machines);
    let first = changed(&mut engine, 2, vec![put_unit(0)]);
    let deltas: Vec<Delta> = (1..=n_units).map(put_unit).collect();

    let begin = now();
    let effects = engine.handle(NOW, Event::Changed { revision: Revision(3), deltas });
    let taken_in = begin.elapsed();
    assert!(effects.is_empty(), "a plan is on its way");

    let echo = Event::Changed { revision: Revision(4), deltas: echo(&first) };
    assert!(engine.handle(NOW, echo).is_empty(), "a plan is on its way");
    let begin = now();
    let mut effects = engine.handle(NOW, Event::Written { revision: Revision(4) });
    let planned = begin.elapsed();
    let Some(Effect::Write(plan)) = effects.pop() else { panic!("there are units to place") };
    assert_eq!(plan.n_writes(), n_units, "every unit has a place");

    let mut loads: BTreeMap<&MachineId, usize> = BTreeMap::new();
    for write in first.writes().chain(plan.writes()) {
        *loads.entry(write.machine()).or_default() += 1;
    }
    let least = loads.values().min().copied().unwrap_or_default();
    let most = loads.values().max().copied().unwrap_or_default();
    AllAtOnce { taken_in, planned, loads: (least, most) }
}

fn one_by_one(n_machines: usize, n_units: usize) -> Duration {
    let mut engine = full_engine(n_machines, n_units);
    let mut elapsed = Duration::ZERO;
    for n in 0..N_SINGLE {
        let revision = 4 + 2 * n as u64;
        let delta = put_unit(n_units + n);
        let begin = now();
        let plan = changed(&mut engine, revision, vec![delta]);
        written(&mut engine, revision + 1, &plan);
        elapsed += begin.elapsed();
        assert_eq!(plan.n_writes(), 1);
    }
    elapsed
}

fn machines_lost(n_machines: usize, n_units: usize) -> Duration {
    let mut engine = full_engine(n_machines, n_units);
    let mut elapsed = Duration::ZERO;
    for n in 0..N_LOST {
        let revision = 4 + 2 * n as u64;
        let delta = Delta::MachineRemoved { id: machine_id(n) };
        let begin = now();
        let plan = changed(&mut engine, revision, vec![delta]);
        written(&mut engine, revision + 1, &plan);
        elapsed += begin.elapsed();
        assert!(UNITS_PER_MACHINE <= plan.n_writes());
    }
    elapsed
}

fn engine_with(n_machines: usize) -> Engine {
    let mut cluster = Cluster::default();
    for n in 0..n_machines {
        let metadata = BTreeMap::from([("zone".to_owned(), zone(n)), ("host".to_owned(), format!("host{n}"))]);
        let machine =
            Machine { public_ip: String::new(), metadata, version: String::new(), cordoned: false, draining: None };
        cluster.machines.insert(machine_id(n), machine);
    }
    // A lost machine's units move at once: what is timed is the planning and not the patience before it.
    let mut engine = Engine::new(EngineConfig { grace_ms: 0, ..EngineConfig::default() });
    let effects = engine.handle(NOW, Event::Snapshot(Cluster { revision: Revision(1), ..cluster }));
    assert!(effects.is_empty());
    engine
}

fn full_engine(n_machines: usize, n_units: usize) -> Engine {
    let mut engine = engine_with(n_machines);
    let plan = changed(&mut engine, 2, (0..n_units).map(put_unit).collect());
    written(&mut engine, 3, &plan);
    engine
}

fn changed(engine: &mut Engine, revision: u64, deltas: Vec<Delta>) -> Plan {
    let effects = engine.handle(NOW, Event::Changed { revision: Revision(revision), deltas });
    plan_of(effects).expect("there is something to place")
}

/// The plan among the effects; after a loss the engine also asks for a tick, when the time of guarded units is up.
fn plan_of(effects: Vec<Effect>) -> Option<Plan> {
    effects.into_iter().find_map(|effect| if let Effect::Write(plan) = effect { Some(plan) } else { None })
}

fn written(engine: &mut Engine, revision: u64, plan: &Plan) {
    let deltas = echo(plan);
    let echoed = engine.handle(NOW, Event::Changed { revision: Revision(revision), deltas });
    assert!(plan_of(echoed).is_none(), "a plan is on its way");
    let done = engine.handle(NOW, Event::Written { revision: Revision(revision) });
    assert!(plan_of(done).is_none(), "nothing is left to place");
}

/// The plan's writes as the watch shows them.
fn echo(plan: &Plan) -> Vec<Delta> {
    let delta = |write: &PlacementWrite| match write.clone() {
        PlacementWrite::Put { machine, name, placement } => Delta::PlacementPut { machine, name, placement },
        PlacementWrite::Delete { machine, name } => Delta::PlacementRemoved { machine, name },
    };
    plan.writes().map(delta).collect()
}

fn put_unit(n: usize) -> Delta {
    let mut requirements = Requirements::default();
    match n % 15 {
        0 => drop(requirements.metadata.insert("zone".to_owned(), BTreeSet::from([zone(n / 15)]))),
        5 => requirements
            .conflicts
            .push(Glob::new(&format!("app{:05}@*.service", n / UNITS_PER_APP)).expect("a valid pattern")),
        10 => drop(requirements.machine_of.insert(unit_name(n - 1))),
        _ => (),
    }
    let unit = Unit {
        hash: UnitHash::of_canonical(""),
        target: TargetState::Launched,
        generation: Generation(1),
        restarts: 0,
        changed: NOW,
        requirements: requirements.into(),
    };
    Delta::UnitPut { name: unit_name(n), unit }
}

fn zone(n: usize) -> String {
    ["a", "b", "c"][n % 3].to_owned()
}

fn unit_name(n: usize) -> UnitName {
    format!("app{:05}@{n:06}.service", n / UNITS_PER_APP).parse().expect("a unit name")
}

/// Spread over the ID space as real ones are, and always the same.
fn machine_id(n: usize) -> MachineId {
    let spread = (n as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    format!("{spread:032x}").parse().expect("a machine ID")
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}
