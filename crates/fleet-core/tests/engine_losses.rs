//! Machines that are lost and come back: what moves, and when.

mod notation;

use fleet_core::engine::{Delta, Effect, Engine, EngineConfig, Event, PlacementWrite, Plan};
use fleet_core::model::{Brake, Cluster, Generation, MachineId, Report, Revision, Timestamp};
use notation::{apply, cluster, plan_text, unit_name};

const CONFIG: EngineConfig =
    EngineConfig { grace_ms: 1_000, stop_allowance_ms: 10_000, forget_ms: 100_000, brake_share: 0.5, brake_min: 2 };

/// An engine, the store that it works on, and a clock.
struct World {
    engine: Engine,
    store: Cluster,
    revision: u64,
    now: Timestamp,
    wake: Option<Timestamp>,
    /// What the engine has said of alarms, in order.
    alarms: Vec<Option<Brake>>,
    resyncs: usize,
}

impl World {
    /// The engine sees the cluster for the first time, at the moment 0, in which there is nothing to do.
    #[track_caller]
    fn of(text: &str) -> World {
        let (store, wake, now) = (cluster(text), None, Timestamp(0));
        let engine = Engine::new(CONFIG);
        let mut world = World { engine, store, revision: 1, now, wake, alarms: Vec::new(), resyncs: 0 };
        assert_eq!(world.look(), "");
        world
    }

    /// A full look at the store; what the engine does about it, in one line.
    fn look(&mut self) -> String {
        let event = Event::Snapshot(Cluster { revision: Revision(self.revision), ..self.store.clone() });
        self.tell(event)
    }

    /// One change of the store; what the engine does about it.
    fn change(&mut self, delta: Delta) -> String {
        self.revision += 1;
        self.tell(Event::Changed { revision: Revision(self.revision), deltas: vec![delta] })
    }

    fn lose(&mut self, id: &str) -> String {
        let id = machine_id(id);
        self.store.machines.remove(&id);
        self.change(Delta::MachineRemoved { id })
    }

    fn bring(&mut self, text: &str) -> String {
        let (id, machine) = cluster(text).machines.pop_first().expect("the text has a machine");
        self.store.machines.insert(id.clone(), machine.clone());
        self.change(Delta::MachinePut { id, machine })
    }

    fn give_up(&mut self, id: &str) -> String {
        self.change(Delta::GivenUpChanged { id: machine_id(id), given_up: true })
    }

    fn up(&mut self, machine: &str, unit: &str) -> String {
        let (machine, name) = (machine_id(machine), unit_name(unit));
        let report = Report { done: Generation(2), is_up: true, left: None };
        self.store.reports.entry(machine.clone()).or_default().insert(name.clone(), report);
        self.change(Delta::Reported { machine, name, report: Some(report) })
    }

    /// The clock goes to that moment; the engine is woken when it has asked for it, and only then.
    fn at(&mut self, ms: u64) -> String {
        let mut done = Vec::new();
        while let Some(at) = self.wake.filter(|at| at.0 <= ms) {
            (self.now, self.wake) = (at, None);
            done.push(self.tell(Event::Tick));
        }
        self.now = Timestamp(ms);
        done.retain(|plan| !plan.is_empty());
        done.join(" | ")
    }

    /// Tells the engine and carries out what it plans, which it then hears of.
    fn tell(&mut self, event: Event) -> String {
        let mut done = String::new();
        let mut effects = self.engine.handle(self.now, event);
        while !effects.is_empty() {
            let plan = self.take(effects);
            effects = match plan {
                Some(plan) => {
                    done += &plan_text(&plan);
                    self.written(&plan)
                }
                None => Vec::new(),
            };
        }
        done
    }

    fn written(&mut self, plan: &Plan) -> Vec<Effect> {
        apply(&mut self.store, plan);
        self.revision += 1;
        let revision = Revision(self.revision);
        let delta = |write: &PlacementWrite| match write.clone() {
            PlacementWrite::Put { machine, name, placement } => Delta::PlacementPut { machine, name, placement },
            PlacementWrite::Delete { machine, name } => Delta::PlacementRemoved { machine, name },
        };
        let brake = plan.brake.iter().map(|write| Delta::BrakeChanged { brake: write.brake().cloned() });
        let deltas = brake.chain(plan.writes().map(delta)).collect();
        let mut effects = self.engine.handle(self.now, Event::Changed { revision, deltas });
        effects.extend(self.engine.handle(self.now, Event::Written { revision }));
        effects
    }

    fn take(&mut self, effects: Vec<Effect>) -> Option<Plan> {
        let mut found = None;
        for effect in effects {
            match effect {
                Effect::Write(plan) => assert!(found.replace(plan).is_none(), "one plan at a time"),
                Effect::Wake(at) => self.wake = Some(at),
                Effect::Alarm(alarm) => self.alarms.push(alarm),
                Effect::Resync => self.resyncs += 1,
            }
        }
        found
    }
}

fn machine_id(id: &str) -> MachineId {
    id.parse().expect("a machine ID")
}

#[test]
fn a_lost_machine_has_its_grace_and_its_units_move_as_one() {
    let mut world = World::of("A:; B:; C:; x1 on A; x2 on A; s WhenIsolated=stop on A; g global on A,B,C");
    world.at(50);
    assert_eq!(world.lose("A"), "");
    assert_eq!(world.at(1_049), "");
    assert_eq!(world.at(1_050), "[~x1@A +x1@B] [~x2@A +x2@C]");
    assert_eq!(world.at(11_049), "");
    assert_eq!(world.at(11_050), "[-s@A +s@B]");
    // The new one is up: what ran on the lost machine is not needed any more. Its global unit stays until it is forgotten.
    assert_eq!(world.up("B", "x1"), "-x1@A");
    assert_eq!(world.at(111_049), "");
    assert_eq!(world.at(111_050), "-g@A -x2@A");
    assert_eq!(world.wake, None, "there is nothing more to wait for");
}

#[test]
fn who_is_back_in_time_keeps_everything() {
    let mut world = World::of("A:; B:; x1 on A; s WhenIsolated=stop on A");
    assert_eq!(world.lose("A"), "");
    assert_eq!(world.at(999), "");
    assert_eq!(world.bring("A:"), "");
    assert_eq!(world.at(100_000), "");
    // The next loss has a grace of its own.
    assert_eq!(world.lose("A"), "");
    assert_eq!(world.at(100_999), "");
    assert_eq!(world.at(101_000), "[~x1@A +x1@B]");
    // Back before the end of the stop allowance: what was held never moved, what moved ends here when it is up there.
    assert_eq!(world.bring("A:"), "");
    assert_eq!(world.at(1_000_000), "");
    assert_eq!(world.up("B", "x1"), "-x1@A");
}

/// What has no other place stays with its machine, and moves when there is one.
#[test]
fn what_fits_nowhere_waits_for_a_machine() {
    let mut world = World::of("A: d=ssd; B:; x1 d=ssd on A");
    assert_eq!(world.lose("A"), "");
    assert_eq!(world.at(50_000), "");
    assert_eq!(world.bring("C: d=ssd"), "[~x1@A +x1@C]");
}

/// An engine that has just come does not know for how long a machine has been away.
#[test]
fn the_first_look_begins_the_grace() {
    let mut world = World::of("B:; x1 on A; s WhenIsolated=stop on A");
    assert_eq!(world.at(999), "");
    assert_eq!(world.at(1_000), "[~x1@A +x1@B]");
    // Nor does one that was told to look at everything, because it does not know what it missed.
    assert_eq!(world.at(10_999), "");
    assert_eq!(world.look(), "");
    assert_eq!(world.at(21_998), "");
    assert_eq!(world.at(21_999), "[-s@A +s@B]");
}

/// A plan that lost a race is planned again at once, and the clocks go on.
#[test]
fn a_failed_write_does_not_begin_the_grace_anew() {
    let mut world = World::of("A:; B:; x1 on A");
    assert_eq!(world.lose("A"), "");
    world.now = Timestamp(500);
    let (name, unit) = cluster("y").units.pop_first().expect("a unit");
    world.store.units.insert(name.clone(), unit.clone());
    let put = Event::Changed { revision: Revision(10), deltas: vec![Delta::UnitPut { name, unit }] };
    let effects = world.engine.handle(world.now, put);
    assert!(world.take(effects).is_some());
    let effects = world.engine.handle(world.now, Event::NotWritten);
    assert_eq!(world.take(effects), None);
    assert_eq!(world.resyncs, 1);
    world.revision = 10;
    assert_eq!(world.look(), "+y@B");
    assert_eq!(world.at(999), "");
    assert_eq!(world.at(1_000), "[~x1@A +x1@B]");
}

const FIVE: &str = "A:; B:; C:; D:; E:; a on A; b on B; c on C; d on D; e on E";

#[test]
fn the_brake_holds_everything_until_all_are_back() {
    let mut world = World::of(FIVE);
    for id in ["A", "B"] {
        assert_eq!(world.lose(id), "");
    }
    assert_eq!(world.engine.brake(), None, "two may always be lost");
    world.now = Timestamp(500);
    assert_eq!(world.lose("C"), "brake(A B C)");
    let brake = |ids: &[&str]| Brake { since: Timestamp(500), lost: ids.iter().map(|id| machine_id(id)).collect() };
    assert_eq!(world.store.brake, Some(brake(&["A", "B", "C"])));
    assert_eq!(world.alarms, [Some(brake(&["A", "B", "C"]))]);
    assert_eq!(world.at(1_000_000), "");
    // One less than it takes to pull it is no reason to let it go; and who is lost meanwhile is waited for, too.
    assert_eq!(world.bring("C:"), "brake(A B)");
    assert_eq!(world.at(2_000_000), "");
    assert_eq!(world.lose("D"), "brake(A B D)");
    assert_eq!(world.bring("A:"), "brake(B D)");
    assert_eq!(world.at(3_000_000), "");
    assert_eq!(world.bring("B:"), "brake(D)");
    assert_eq!(world.bring("D:"), "no-brake");
    assert_eq!((world.alarms.last(), &world.store.brake), (Some(&None), &None));
    // All is as it was: the next loss has its grace, and moves.
    assert_eq!(world.lose("A"), "");
    assert_eq!(world.at(3_000_999), "");
    assert_eq!(world.at(3_001_000), "[~a@A +a@B]");
}

/// All machines lose the store for long and come back one by one: nothing moves.
#[test]
fn all_lost_and_back_one_by_one() {
    let mut world = World::of(FIVE);
    for (id, plan) in [("A", ""), ("B", ""), ("C", "brake(A B C)"), ("D", "brake(A B C D)"), ("E", "brake(A B C D E)")]
    {
        assert_eq!(world.lose(id), plan);
    }
    let mut now = 3_600_000;
    for (text, plan) in
        [("A:", "brake(B C D E)"), ("B:", "brake(C D E)"), ("C:", "brake(D E)"), ("D:", "brake(E)"), ("E:", "no-brake")]
    {
        assert_eq!(world.at(now), "");
        assert_eq!(world.bring(text), plan);
        now += 900_000;
    }
    assert_eq!(world.at(100_000_000), "");
}

/// Another engine takes the lead while the brake is on and some are back: it finds the brake in the store.
#[test]
fn the_brake_survives_its_leader() {
    let mut world = World::of(FIVE);
    for (id, plan) in [("A", ""), ("B", ""), ("C", "brake(A B C)")] {
        assert_eq!(world.lose(id), plan);
    }
    assert_eq!(world.bring("A:"), "brake(B C)");
    assert_eq!(world.bring("B:"), "brake(C)");
    world.engine = Engine::new(CONFIG);
    world.wake = None;
    assert_eq!(world.look(), "");
    assert_eq!(world.alarms.last(), Some(&world.store.brake), "it says so loudly as well");
    assert_eq!(world.at(1_000_000), "");
    // Without the key it would not know: one lost machine of five is no reason for a brake.
    world.store.brake = None;
    world.engine = Engine::new(CONFIG);
    assert_eq!(world.look(), "");
    assert_eq!(world.at(1_001_000), "[~c@C +c@A]");
}

/// It was pulled and could not be written: it is on all the same, and is written with the next plan.
#[test]
fn a_brake_that_was_not_written_is_on() {
    let mut world = World::of(FIVE);
    assert_eq!((world.lose("A"), world.lose("B")), (String::new(), String::new()));
    let id = machine_id("C");
    world.store.machines.remove(&id);
    let lost = Event::Changed { revision: Revision(10), deltas: vec![Delta::MachineRemoved { id }] };
    let effects = world.engine.handle(world.now, lost);
    assert!(world.take(effects).is_some_and(|plan| plan.brake.is_some()));
    let effects = world.engine.handle(world.now, Event::NotWritten);
    assert_eq!(world.take(effects), None);
    // One is back before the next look: too few by then, had it been forgotten.
    let back = cluster("A:").machines;
    world.store.machines.extend(back);
    world.revision = 10;
    assert_eq!(world.look(), "brake(B C)");
}

#[test]
fn who_is_given_up_moves_at_once() {
    let mut world = World::of(FIVE);
    for (id, plan) in [("A", ""), ("B", ""), ("C", "brake(A B C)"), ("D", "brake(A B C D)")] {
        assert_eq!(world.lose(id), plan);
    }
    assert_eq!(world.at(50_000), "");
    assert_eq!(world.give_up("A"), "brake(B C D) [-a@A +a@E]");
    assert_eq!(world.at(100_000), "");
    assert_eq!(world.give_up("B"), "brake(C D) [-b@B +b@E]");
    assert_eq!(world.at(200_000), "");
    // One is back: the last one holds all.
    assert_eq!(world.bring("C:"), "brake(D)");
    assert_eq!(world.at(300_000), "");
    assert_eq!(world.give_up("D"), "no-brake [-d@D +d@C]");
    // Given up before it is lost: that counts then.
    let mut world = World::of("A:; B:; a WhenIsolated=stop on A");
    assert_eq!(world.give_up("A"), "");
    assert_eq!(world.lose("A"), "[-a@A +a@B]");
}

/// Neither is a drained machine emptied while the brake is on.
#[test]
fn the_brake_holds_drains() {
    let mut world = World::of(FIVE);
    for (id, plan) in [("A", ""), ("B", ""), ("C", "brake(A B C)")] {
        assert_eq!(world.lose(id), plan);
    }
    assert_eq!(world.bring("E: drain(1)"), "");
    for (text, plan) in [("A:", "brake(B C)"), ("B:", "brake(C)"), ("C:", "no-brake [~e@E +e@A]")] {
        assert_eq!(world.bring(text), plan);
    }
}

/// Those that were written off, and those without ordinary units, are no loss any more.
#[test]
fn old_losses_do_not_pull_the_brake() {
    let mut world = World::of("A:; B:; C:; D:; E:; g global on A,B,C,D,E; a MachineID=A on A; d on D; e on E");
    for (id, at) in [("A", 20_000), ("B", 40_000), ("C", 60_000)] {
        assert_eq!(world.lose(id), "");
        assert_eq!(world.at(at), "");
    }
    assert_eq!(world.lose("D"), "");
    assert_eq!(world.engine.brake(), None);
    assert_eq!(world.at(61_000), "[~d@D +d@E]");
}
