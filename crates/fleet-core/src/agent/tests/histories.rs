//! Machines that fail at random and must converge.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::*;
use super::{all_orders, canonical, hash, letter, name};
use crate::model::{Generation, TargetState};
use crate::unit::WhenIsolated;

/// A machine in memory, strict: it refuses what the real one must never see.
#[derive(Default)]
struct World {
    files: BTreeMap<UnitName, (Receipt, UnitHash)>,
    /// What runs: the file it was started with, and how often this unit was started or stopped.
    live: BTreeMap<UnitName, UnitHash>,
    n_stops: BTreeMap<UnitName, u32>,
    /// Units that were stopped without a note that they are to be started again, because it could not be written. If the agent
    /// dies then, too, nobody knows.
    unnoted: BTreeSet<UnitName>,
    /// How often the agent said that nothing is left.
    n_left: u32,
}

impl World {
    fn status(&self, name: &UnitName) -> UnitStatus {
        let active = if self.live.contains_key(name) { "active" } else { "inactive" };
        UnitStatus { active: active.to_owned(), ..UnitStatus::unloaded(name.clone()) }
    }

    fn look(&self) -> Look {
        Look {
            files: self.files.iter().map(|(name, (receipt, _))| (name.clone(), Some(receipt.clone()))).collect(),
            units: self.files.keys().map(|name| self.status(name)).collect(),
        }
    }

    /// Carries out one effect, or lets it fail.
    fn carry_out(&mut self, effect: Effect, rng: &mut StdRng, faults: bool) -> Vec<Event> {
        let mut fails = || faults && rng.random_bool(0.15);
        match effect {
            Effect::Look if fails() => vec![Event::LookFailed("fault".to_owned())],
            Effect::Look => vec![Event::Looked(self.look())],
            Effect::Fetch(hashes) if fails() => vec![Event::FetchFailed(hashes, "fault".to_owned())],
            Effect::Fetch(hashes) => {
                let text = |hash: UnitHash| (hash, Some(canonical(letter(hash)).into()));
                vec![Event::Fetched(hashes.into_iter().map(text).collect())]
            }
            Effect::Write(files) => {
                let mut one = |file: WriteFile| {
                    if fails() {
                        return (file.name, Err("fault".to_owned()));
                    }
                    self.unnoted.remove(&file.name);
                    let old = self.files.insert(file.name.clone(), (file.receipt.clone(), file.receipt.hash));
                    let same = old.is_some_and(|(_, hash)| hash == file.receipt.hash);
                    assert!(same || !self.live.contains_key(&file.name), "the file of a running unit was replaced");
                    (file.name, Ok(()))
                };
                vec![Event::Wrote(files.into_iter().map(&mut one).collect())]
            }
            Effect::WriteReceipt(name, receipt) if fails() => {
                if receipt.reached == TargetState::Loaded {
                    self.unnoted.insert(name.clone());
                }
                vec![Event::ReceiptWritten(name, Err("fault".to_owned()))]
            }
            Effect::WriteReceipt(name, receipt) => {
                self.unnoted.remove(&name);
                self.files.get_mut(&name).expect("a receipt stands beside a file").0 = receipt;
                vec![Event::ReceiptWritten(name, Ok(()))]
            }
            Effect::Run(name, verb) => {
                if fails() {
                    return vec![Event::Ran(name, verb, Err("fault".to_owned()))];
                }
                let (_, hash) = self.files.get(&name).expect("a job is for a unit with a file");
                if verb != Verb::Start && self.live.remove(&name).is_some() {
                    *self.n_stops.entry(name.clone()).or_default() += 1;
                }
                if verb != Verb::Stop {
                    self.live.entry(name.clone()).or_insert(*hash);
                }
                let mut events =
                    vec![Event::Status(self.status(&name)), Event::Ran(name.clone(), verb, Ok(JobResult::Done))];
                if fails() {
                    // It ran, but its end was not seen.
                    events[1] = Event::Ran(name, verb, Err("fault".to_owned()));
                }
                events
            }
            Effect::Remove(names) => {
                let mut one = |name: UnitName| {
                    if fails() {
                        return (name, Err("fault".to_owned()));
                    }
                    assert!(!self.live.contains_key(&name), "the file of a running unit was removed");
                    self.files.remove(&name);
                    (name, Ok(()))
                };
                vec![Event::Removed(names.into_iter().map(&mut one).collect())]
            }
            Effect::Report(_) if fails() => vec![Event::Reported(Err("fault".to_owned()))],
            Effect::Report(_) => vec![Event::Reported(Ok(()))],
            // No order in these lives is about a unit that needs one.
            Effect::Guard { .. } => unreachable!("nobody asked for a guard"),
            Effect::Left => {
                self.n_left += 1;
                vec![]
            }
            Effect::Wake(_) => vec![],
        }
    }
}

fn random_placement(rng: &mut StdRng, generation: u64) -> Placement {
    Placement {
        hash: hash(["A", "B", "C"][rng.random_range(0..3)]),
        target: if rng.random_bool(0.7) { TargetState::Launched } else { TargetState::Loaded },
        generation: Generation(generation),
        restarts: 0,
        when_isolated: WhenIsolated::Keep,
        leaving: None,
    }
}

/// One life of a machine: orders change, effects fail, the agent dies between any two effects; then faults end.
fn live(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::default();
    let mut orders: BTreeMap<UnitName, Placement> = BTreeMap::new();
    let mut taken: BTreeMap<UnitName, Placement> = BTreeMap::new();
    let mut agent = Agent::new(0);
    let mut queue: Vec<Event> = vec![all_orders(&orders)];
    let (mut now, mut generation) = (Timestamp(0), 0);
    for round in 0..60 {
        let faults = round < 40;
        now = now.plus_ms(if faults { rng.random_range(0..2_000) } else { RETRY_MAX_MS });
        if faults {
            for _ in 0..rng.random_range(0..3) {
                let unit = name(["a", "b", "c", "d"][rng.random_range(0..4)]);
                generation += rng.random_range(1..3);
                let order = match rng.random_range(0..5) {
                    0 => orders.remove(&unit).map(|order| {
                        taken.insert(unit.clone(), order);
                        None
                    }),
                    // The very order that was there before is back, as when a unit moves away and returns.
                    4 if !orders.contains_key(&unit) => taken.remove(&unit).map(|order| {
                        orders.insert(unit.clone(), order.clone());
                        Some(order)
                    }),
                    1 => orders.get_mut(&unit).map(|order| {
                        order.restarts += 1;
                        Some(order.clone())
                    }),
                    _ => {
                        let order = random_placement(&mut rng, generation);
                        orders.insert(unit.clone(), order.clone());
                        Some(Some(order))
                    }
                };
                queue.extend(order.map(|order| Event::PlacementsChanged(vec![(unit, order)])));
            }
            if rng.random_bool(0.1) {
                agent = Agent::new(0);
                queue = vec![all_orders(&orders)];
            }
        }
        queue.push(Event::Tick);
        let mut n_steps = 0;
        while !queue.is_empty() {
            n_steps += 1;
            assert!(n_steps < 1_000, "seed {seed}: it never comes to rest");
            let event = queue.remove(0);
            if matches!(event, Event::Ran(..)) && !queue.is_empty() && rng.random_bool(0.3) {
                // Some jobs take their time while other things go on.
                queue.push(event);
                continue;
            }
            for effect in agent.handle(now, event) {
                if faults && rng.random_bool(0.02) {
                    agent = Agent::new(0);
                    queue = vec![all_orders(&orders)];
                    break;
                }
                queue.extend(world.carry_out(effect, &mut rng, faults));
            }
        }
    }
    for (unit, order) in &orders {
        let (receipt, hash) = world.files.get(unit).unwrap_or_else(|| panic!("seed {seed}: {unit} has no file"));
        assert_eq!((*hash, receipt.generation), (order.hash, order.generation), "seed {seed}: {unit}");
        let runs = (order.target == TargetState::Launched).then_some(order.hash);
        let found = world.live.get(unit).copied();
        assert!(found == runs || (found.is_none() && world.unnoted.contains(unit)), "seed {seed}: what runs of {unit}");
    }
    assert_eq!(world.files.len(), orders.len(), "seed {seed}: files that nobody wants");
    assert!(world.live.len() <= orders.len(), "seed {seed}: units that nobody wants");
    let stops = world.n_stops.clone();
    let mut agent = Agent::new(0);
    let mut queue = vec![all_orders(&orders)];
    while let Some(event) = queue.pop() {
        for effect in agent.handle(now, event) {
            assert!(!matches!(effect, Effect::Run(..) | Effect::Write(_)), "seed {seed}: a new agent did {effect:?}");
            queue.extend(world.carry_out(effect, &mut rng, false));
        }
    }
    assert_eq!(world.n_stops, stops, "seed {seed}: adoption stopped a unit");
    let mut queue =
        vec![Event::Leave, Event::PlacementsChanged(vec![(name("late"), Some(random_placement(&mut rng, 1)))])];
    for round in 0..5 {
        now = now.plus_ms(RETRY_MAX_MS);
        queue.push(Event::Tick);
        while !queue.is_empty() {
            for effect in agent.handle(now, queue.remove(0)) {
                queue.extend(world.carry_out(effect, &mut rng, round < 2));
            }
        }
    }
    assert!(world.files.is_empty() && world.live.is_empty(), "seed {seed}: something stayed on a machine that left");
    assert_eq!(world.n_left, 1, "seed {seed}: that it left is said once");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test's seed comes from outside, so that one can be repeated")]
fn machines_converge_after_faults() {
    match std::env::var("SEED") {
        Ok(seed) => live(seed.parse().expect("SEED is a number")),
        Err(_) => (0..2_000).for_each(live),
    }
}
