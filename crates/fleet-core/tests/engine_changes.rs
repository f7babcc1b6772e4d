//! What the engine does about one batch of changes, in a cluster that it has seen before.
//!
//! The random histories ([`engine_random`](../engine_random.rs)) find most mistakes in the engine's indexes; here are the
//! situations that come up there too seldom, or not at all, each as a cluster before and after.

mod notation;

use std::collections::BTreeSet;

use fleet_core::check;
use fleet_core::engine::{Delta, ECHO_WAIT_MS, Effect, Engine, EngineConfig, Event, PlacementWrite, Plan};
use fleet_core::model::{Cluster, Revision, Timestamp};
use notation::{apply, cluster, plan_text};

const NOW: Timestamp = Timestamp(1_000);

/// The engine looks at `before` and brings it to rest; then what is different in `after` (its machines and units; its
/// placements are those that the engine made) arrives as one batch. The plan for that is `expected`, and is the judge's.
#[track_caller]
fn check(before: &str, after: &str, expected: &str) {
    let mut store = cluster(before);
    let mut engine = Engine::new(EngineConfig::default());
    let snapshot = Event::Snapshot(store.clone());
    if let Some(plan) = only_plan(engine.handle(NOW, snapshot)) {
        written(&mut engine, &mut store, 2, &plan);
    }
    let after = cluster(after);
    let deltas = difference(&store, &after);
    (store.units, store.machines) = (after.units, after.machines);
    let plan = only_plan(engine.handle(NOW, Event::Changed { revision: Revision(3), deltas })).unwrap_or_default();
    assert_eq!(plan_text(&plan), expected, "engine");
    assert_eq!(plan_text(&check::plan(&store)), expected, "judge");
    if !plan.is_empty() {
        written(&mut engine, &mut store, 4, &plan);
    }
    assert_eq!(check::invariants(&store), []);
}

#[test]
fn what_waits_goes_with_whom_it_waits_for() {
    check(
        "A: d=hdd; B: d=ssd; a on A; b MachineOf=a d=ssd; kick on A",
        "A: d=hdd; B: d=ssd; a; b MachineOf=a d=ssd; kick Replaces=a",
        "[-a@A +a@B +b@B]",
    );
}

#[test]
fn what_could_not_move_moves_when_there_is_room() {
    // Both share the machine because neither could be elsewhere; then another machine comes, far from either.
    check("A:; rep0 on A; kick Replaces=rep0 on A", "A:; B:; rep0; kick Replaces=rep0", "[-rep0@A +rep0@B]");
    // It could move all the time, but for a unit elsewhere, which goes.
    check(
        "A:; B:; rep0 on A; x Conflicts=rep0 on B; kick Replaces=rep0 on A",
        "A:; B:; rep0; kick Replaces=rep0",
        "-x@B [-rep0@A +rep0@B]",
    );
}

/// A unit that pushed in vain goes together with its machine, and then another machine changes: found by a random
/// history, in which the engine went on to ask for the unit that was no more.
#[test]
fn what_could_not_move_goes_with_its_machine() {
    let mut store = cluster("A:; B:; rep0 on A; x Conflicts=rep0 on B; kick Replaces=rep0 on A");
    let mut engine = Engine::new(EngineConfig::default());
    assert_eq!(engine.handle(NOW, Event::Snapshot(store.clone())), []);
    for (revision, text) in [(2, "B:; x Conflicts=rep0"), (4, "B:; C:; x Conflicts=rep0")] {
        let after = cluster(text);
        let deltas = difference(&store, &after);
        (store.units, store.machines) = (after.units, after.machines);
        let plan = only_plan(engine.handle(NOW, Event::Changed { revision: Revision(revision), deltas }));
        if let Some(plan) = plan {
            assert_eq!(plan, check::plan(&store));
            written(&mut engine, &mut store, revision + 1, &plan);
        }
    }
    assert_eq!(check::invariants(&store), []);
}

#[test]
fn what_waits_for_a_move_comes_when_there_is_room() {
    check("A:; rep0 on A; kick Replaces=rep0", "A:; B: d=hdd; rep0; kick Replaces=rep0", "+kick@B");
    // The machine that has become free is not the one that kick goes to.
    check(
        "A: d=ssd; rep0 on A; kick Replaces=rep0 d=ssd",
        "A: d=ssd; B:; rep0; kick Replaces=rep0 d=ssd",
        "[-rep0@A +kick@A +rep0@B]",
    );
}

#[test]
fn a_move_makes_room_for_what_waits() {
    // `w` by name comes after, `b` before the unit that makes the move; both have waited for rep0 to go.
    check(
        "A: d=ssd; B:; rep0 on A; w Conflicts=rep0 d=ssd",
        "A: d=ssd; B:; rep0; w Conflicts=rep0 d=ssd; kick Replaces=rep0 d=ssd",
        "[-rep0@A +kick@A +rep0@B +w@A]",
    );
    check(
        "A: d=ssd; B:; rep0 on A; b Conflicts=rep0 d=ssd",
        "A: d=ssd; B:; rep0; b Conflicts=rep0 d=ssd; kick Replaces=rep0 d=ssd",
        "[-rep0@A +b@A +kick@A +rep0@B]",
    );
    check(
        "A: d=ssd; B:; rep0 on A; g global Conflicts=rep0 d=ssd",
        "A: d=ssd; B:; rep0; g global Conflicts=rep0 d=ssd; kick Replaces=rep0 d=ssd",
        "[-rep0@A +g@A +kick@A +rep0@B]",
    );
}

/// In the same round: `w` comes before `z` by name, so it gets the place that `kick` has made.
#[test]
fn a_move_makes_room_in_the_order_of_names() {
    check(
        "A: d=ssd; B:; rep0 on A; w Conflicts=rep0 d=ssd",
        "A: d=ssd; B:; rep0; w Conflicts=rep0 d=ssd; z Conflicts=w d=ssd; kick Replaces=rep0 d=ssd",
        "[-rep0@A +kick@A +rep0@B +w@A]",
    );
    // The same for what waits for the unit that moves: `s` follows rep0 to B before `z` can have the place.
    check(
        "A: d=ssd; B: e=1; rep0 on A; s MachineOf=rep0 e=1",
        "A: d=ssd; B: e=1; rep0; s MachineOf=rep0 e=1; z Conflicts=s e=1; kick Replaces=rep0 d=ssd",
        "[-rep0@A +kick@A +rep0@B +s@B]",
    );
}

#[test]
fn groups_form_and_fall_apart() {
    check("A:; b MachineOf=a", "A:; b MachineOf=a; a", "[+a@A +b@A]");
    check("A:; B:; a; b MachineOf=a; x MachineOf=a d=ssd", "A:; B:; a; b MachineOf=a", "[+a@A +b@A]");
    // Two groups that one unit had made one: neither of them changed itself.
    check("A:; B:; a; c; x MachineOf=a,c d=ssd", "A:; B:; a; c; x inactive MachineOf=a,c d=ssd", "+a@A +c@B");
    check("A:; a inactive; b MachineOf=a", "A:; a; b MachineOf=a", "[+a@A +b@A]");
    check("A:; B:; a on A; b MachineOf=a on A", "A:; B:; b MachineOf=a", "[-a@A -b@A]");
    check("A:; B:; a on A; b MachineOf=a on A", "A:; B:; a global; b MachineOf=a", "+a@B");
}

#[test]
fn patterns_come_and_go() {
    check("A:; x1 on A; y on A", "A:; x1; y Conflicts=x*", "-y@A");
    check("A:; x1 on A; y Conflicts=x*", "A:; x1; y", "+y@A");
    check("A:; x1 on A; y Conflicts=x*; z Conflicts=x*", "A:; x1; y; z Conflicts=x*", "+y@A");
    check("A:; x1 on A; y Conflicts=x*", "A:; y Conflicts=x*", "[-x1@A +y@A]");
    // Names that were not there when the pattern came.
    check("A:; y Conflicts=x[0-9]*,?.service on A", "A:; y Conflicts=x[0-9]*,?.service; x1; q; ww", "+ww@A");
}

#[test]
fn metadata_comes_and_goes() {
    check("A:; B:; x d=ssd", "A:; B: d=ssd; x d=ssd", "+x@B");
    check("A: d=ssd; B:; x d=ssd on A", "A:; B: d=ssd; x d=ssd", "[-x@A +x@B]");
    check("A: d=ssd; x d=ssd", "A: d=ssd; B: d=ssd; y d=ssd; x d=ssd", "+y@B");
    // Asked for by nobody for a while, and then again.
    check("A: d=hdd; B: d=ssd; x d=ssd on B", "A: d=hdd; B: d=ssd; x on B", "");
    // Several values of one key: the least loaded of the machines with any of them.
    check(
        "A: r=1; B: r=2; C: r=3; a on A; x r=3,2",
        "A: r=1; B: r=2; C: r=3; a; x r=3,2; y r=3,2,1; z r=2,1",
        "+y@C +z@A",
    );
}

/// Machines come one by one, each between the first and the one before, more often than the room between two labels can
/// be halved; among equals the first ID still wins.
#[test]
fn machines_between_machines() {
    const N_MACHINES: usize = 60;
    let mut store = cluster("0:; z:");
    let mut engine = Engine::new(EngineConfig::default());
    assert_eq!(engine.handle(NOW, Event::Snapshot(store.clone())), []);
    for n in (0..N_MACHINES).rev() {
        let with_one_more = cluster(&format!("1{n:03}: d=x"));
        let deltas = difference(&Cluster::default(), &with_one_more);
        store.machines.extend(with_one_more.machines);
        let revision = Revision(2 + (N_MACHINES - n) as u64);
        assert_eq!(engine.handle(NOW, Event::Changed { revision, deltas }), []);
    }
    let units: String = (0..N_MACHINES).map(|n| format!("x{n:03} d=x;")).collect();
    let units = cluster(&units).units;
    let deltas = units.clone().into_iter().map(|(name, unit)| Delta::UnitPut { name, unit }).collect();
    store.units = units;
    let plan =
        only_plan(engine.handle(NOW, Event::Changed { revision: Revision(1_000), deltas })).expect("units to place");
    assert_eq!(plan, check::plan(&store));
    let expected: Vec<String> = (0..N_MACHINES).map(|n| format!("+x{n:03}@1{n:03}")).collect();
    assert_eq!(plan_text(&plan), expected.join(" "));
}

#[test]
fn machine_ids_by_their_short_form() {
    check(
        "01234567aa:; 01234567bb:; x on 01234567aa",
        "01234567aa:; 01234567bb:; x; y MachineID=01234567",
        "+y@01234567bb",
    );
    check("01234567aa:; y MachineID=01234567bb", "01234567aa:; 01234567bb:; y MachineID=01234567bb", "+y@01234567bb");
}

fn difference(before: &Cluster, after: &Cluster) -> Vec<Delta> {
    let mut deltas = Vec::new();
    let names: BTreeSet<_> = before.units.keys().chain(after.units.keys()).cloned().collect();
    for name in names {
        match after.units.get(&name).cloned() {
            Some(unit) if before.units.get(&name) != Some(&unit) => deltas.push(Delta::UnitPut { name, unit }),
            Some(_) => (),
            None => deltas.push(Delta::UnitRemoved { name }),
        }
    }
    let ids: BTreeSet<_> = before.machines.keys().chain(after.machines.keys()).cloned().collect();
    for id in ids {
        match after.machines.get(&id).cloned() {
            Some(machine) if before.machines.get(&id) != Some(&machine) => {
                deltas.push(Delta::MachinePut { id, machine });
            }
            Some(_) => (),
            None => deltas.push(Delta::MachineRemoved { id }),
        }
    }
    deltas
}

/// The plan among the effects. When the engine wants to be woken because a machine is lost is not what is asked here.
fn only_plan(mut effects: Vec<Effect>) -> Option<Plan> {
    effects.retain(|effect| !matches!(effect, Effect::Wake(_)));
    match effects.as_slice() {
        [] => None,
        [Effect::Write(plan)] => Some(plan.clone()),
        other => panic!("one plan at most, not {other:?}"),
    }
}

/// Writes the plan and tells the engine; that is no news to it.
#[track_caller]
fn written(engine: &mut Engine, store: &mut Cluster, revision: u64, plan: &Plan) {
    apply(store, plan);
    let revision = Revision(revision);
    assert_eq!(engine.handle(NOW, Event::Changed { revision, deltas: echo(plan) }), []);
    assert_eq!(engine.handle(NOW, Event::Written { revision }), []);
}

fn echo(plan: &Plan) -> Vec<Delta> {
    let delta = |write: &PlacementWrite| match write.clone() {
        PlacementWrite::Put { machine, name, placement } => Delta::PlacementPut { machine, name, placement },
        PlacementWrite::Delete { machine, name } => Delta::PlacementRemoved { machine, name },
    };
    plan.writes().map(delta).collect()
}

/// While a plan is on its way, and until the watch has shown it, nothing new is planned; then all at once.
#[test]
fn one_plan_at_a_time() {
    let mut store = cluster("A:; B:; x1");
    let mut engine = Engine::new(EngineConfig::default());
    assert_eq!(
        engine.handle(NOW, Event::Changed { revision: Revision(1), deltas: Vec::new() }),
        [],
        "it knows nothing"
    );
    let snapshot = Event::Snapshot(store.clone());
    let first = only_plan(engine.handle(NOW, snapshot)).expect("x1 is to be placed");
    assert_eq!(plan_text(&first), "+x1@A");

    let more = cluster("A:; B:; x1; x2; x3");
    let deltas = difference(&store, &more);
    assert_eq!(engine.handle(NOW, Event::Changed { revision: Revision(2), deltas }), []);
    assert_eq!(engine.handle(NOW, Event::Tick), []);
    let until = NOW.plus_ms(ECHO_WAIT_MS);
    assert_eq!(engine.handle(NOW, Event::Written { revision: Revision(4) }), [Effect::Wake(until)]);
    let other = Event::Changed { revision: Revision(3), deltas: Vec::new() };
    assert_eq!(engine.handle(NOW, other), [], "that is not the echo yet");
    apply(&mut store, &first);
    let echo = Event::Changed { revision: Revision(4), deltas: echo(&first) };
    let second = only_plan(engine.handle(NOW, echo)).expect("x2 and x3 are to be placed");
    assert_eq!(plan_text(&second), "+x2@B +x3@A");
}

/// A batch that is not newer than what was seen says nothing new: a watch may begin too early.
#[test]
fn old_batches_are_ignored() {
    let mut engine = Engine::new(EngineConfig::default());
    let before = cluster("A:; x1 on A");
    let snapshot = Event::Snapshot(Cluster { revision: Revision(5), ..before.clone() });
    assert_eq!(engine.handle(NOW, snapshot), []);
    let deltas = difference(&before, &cluster("A:"));
    assert_eq!(engine.handle(NOW, Event::Changed { revision: Revision(5), deltas: deltas.clone() }), []);
    let plan = only_plan(engine.handle(NOW, Event::Changed { revision: Revision(6), deltas }));
    assert_eq!(plan_text(&plan.expect("x1 is gone")), "-x1@A");
}

/// What was assumed of a plan that was not written is void: everything is looked at anew.
#[test]
fn a_failed_write_and_a_missing_echo_lead_to_a_full_look() {
    let store = cluster("A:; x1");
    let snapshot = || Event::Snapshot(store.clone());
    let mut engine = Engine::new(EngineConfig::default());
    for n in 0..2 {
        let plan = only_plan(engine.handle(NOW, snapshot())).expect("x1 is to be placed");
        assert_eq!(plan_text(&plan), "+x1@A", "the same again, try {n}");
        assert_eq!(engine.handle(NOW, Event::NotWritten), [Effect::Resync]);
    }
    only_plan(engine.handle(NOW, snapshot())).expect("x1 is to be placed");
    let until = NOW.plus_ms(ECHO_WAIT_MS);
    assert_eq!(engine.handle(NOW, Event::Written { revision: Revision(2) }), [Effect::Wake(until)]);
    assert_eq!(engine.handle(Timestamp(until.0 - 1), Event::Tick), []);
    assert_eq!(engine.handle(until, Event::Tick), [Effect::Resync]);
}

/// Units, patterns, metadata, peers and machines that come and go leave nothing behind in the engine.
#[test]
fn what_is_gone_is_forgotten() {
    let size_after = |n_rounds: usize| {
        let mut store = cluster("A: d=x");
        let mut engine = Engine::new(EngineConfig::default());
        assert_eq!(engine.handle(NOW, Event::Snapshot(Cluster { revision: Revision(100_000), ..store.clone() })), []);
        let mut revision = 100_000;
        for n in 100..100 + n_rounds {
            let full =
                format!("A: d=x; B{n}: d=y{n}; a{n}; b{n} MachineOf=a{n} Conflicts=c{n}* d=y{n}; w{n} MachineOf=no{n}");
            let stuck = format!("r{n} Conflicts=a* on B{n}; k{n} Replaces=r{n}");
            for text in [full.clone(), format!("{full}; {stuck}"), "A: d=x".to_owned()] {
                let after = cluster(&text);
                let deltas = difference(&store, &after);
                (store.units, store.machines) = (after.units, after.machines);
                revision += 2;
                let effects = engine.handle(NOW, Event::Changed { revision: Revision(revision - 1), deltas });
                written(&mut engine, &mut store, revision, &only_plan(effects).expect("each change moves something"));
            }
        }
        format!("{engine:?}").len()
    };
    assert_eq!(size_after(2), size_after(50));
}
