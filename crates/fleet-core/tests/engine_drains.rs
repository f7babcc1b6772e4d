//! Machines that are drained: what goes, in which order and how many at once, and what is said of the rest.

mod notation;

use expect_test::{Expect, expect};
use fleet_core::check;
use fleet_core::engine::{Effect, Engine, EngineConfig, Event, Plan};
use fleet_core::model::{Cluster, Timestamp};
use fleet_core::schedule::{DrainStep, explain, explain_drain, is_drained};
use notation::{apply, cluster, plan_text, unit_name};

/// What a new engine does about the cluster; the judge must say the same.
#[track_caller]
fn plan(cluster: &Cluster) -> Plan {
    let event = Event::Snapshot(cluster.clone());
    let effects = Engine::new(EngineConfig::default()).handle(Timestamp(0), event);
    let plan = effects.into_iter().find_map(|effect| match effect {
        Effect::Write(plan) => Some(plan),
        Effect::Resync | Effect::Wake(_) | Effect::Alarm(_) => None,
    });
    let plan = plan.unwrap_or_default();
    assert_eq!(plan, check::plan(cluster), "engine (left) and judge (right)");
    plan
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(plan_text(&plan(&cluster(text))), expected, "{text}");
}

#[test]
fn what_leaves_a_drained_machine() {
    // Start first: the old order goes on until the new one is up.
    check("A: drain(4); B:; a on A", "[~a@A +a@B]");
    check("A: drain(4); B:; a leaving A on B", "");
    check("A: drain(4); B:; a leaving A on B up B", "-a@A");
    // One whose new copy fails runs on where it was.
    check("A: drain(4); B:; a leaving A on B failed B", "");
    // Nothing new comes: neither a unit nor a global one.
    check("A: drain(4); a; g global", "");
    check("A: drain(4) cordoned; B:; a; g global on B", "+a@B");
    // Global units belong to the machine.
    check("A: drain(4); B:; g global on A,B", "");
    // What another machine cannot take stays.
    check("A: d=ssd drain(4); B:; a d=ssd on A; b on A", "[~b@A +b@B]");
    check("A: drain(4); B: drain(4); a on A", "");
    check("A: drain(4); B:; a on A; b on B Conflicts=a", "");
    // What it replaces makes room for it.
    check("A: drain(4); B:; C:; a on A Replaces=b; b on B; c on C", "[-b@B ~a@A +a@B +b@C]");
    // A new version is not held up.
    check("A: d=ssd drain(4); B:; a d=ssd stale on A", "+a@A");
}

#[test]
fn so_many_at_once_and_by_name() {
    check("A: drain(1); B:; a on A; b on A; c on A", "[~a@A +a@B]");
    check("A: drain(2); B:; a on A; b on A; c on A", "[~a@A +a@B] [~b@A +b@B]");
    check("A: drain(2); B:; a leaving A on B; b on A; c on A", "[~b@A +b@B]");
    check("A: drain(2); B:; a leaving A on B; b leaving A on B; c on A", "");
    check("A: drain(2); B:; a leaving A on B up B; b leaving A on B; c on A", "-a@A [~c@A +c@B]");
    // One that has failed elsewhere keeps nobody waiting, nor does one that cannot go.
    check("A: drain(1); B:; a leaving A on B failed B; b on A", "[~b@A +b@B]");
    check("A: d=ssd drain(1); B:; a d=ssd on A; b on A", "[~b@A +b@B]");
    // Each machine by itself.
    check("A: drain(1); B: drain(1); C:; a on A; b on A; c on B", "[~a@A +a@C] [~c@B +c@C]");
    // Tied units go together, as soon as nothing else is on its way.
    check("A: drain(1); B:; a on A; b MachineOf=a on A", "[~a@A ~b@A +a@B +b@B]");
    check("A: drain(2); B:; 0 leaving A on B; a on A; b MachineOf=a on A; c on A", "[~c@A +c@B]");
}

#[test]
fn what_may_not_run_twice_stops_first() {
    const S: &str = "WhenIsolated=stop";
    check(&format!("A: drain(4); B:; s {S} on A"), "!s@A");
    check(&format!("A: drain(4); B:; s {S} stopping A"), "");
    check(&format!("A: drain(4); B:; s {S} stopping A up A"), "");
    check(&format!("A: drain(4); B:; s {S} stopping A failed A"), "");
    check(&format!("A: drain(4); B:; s {S} stopping A down A"), "[-s@A +s@B]");
    // It takes a turn.
    check(&format!("A: drain(1); B:; s {S} stopping A; t on A"), "");
    check(&format!("A: drain(2); B:; s {S} stopping A; t on A"), "[~t@A +t@B]");
    // It is not stopped when it could go nowhere.
    check(&format!("A: d=ssd drain(4); B:; s {S} on A d=ssd"), "");
    // The machine is lost before it has said that it stopped it: it may run there.
    check(&format!("A! held; B:; s {S} stopping A"), "");
    // Not drained any more: it waits until it has stopped all the same, and may come back.
    check(&format!("A:; s {S} stopping A"), "");
    check(&format!("A:; s {S} stopping A down A"), "+s@A");
    // Nobody wants it any more: it stops first all the same, should somebody want it again.
    check(&format!("A: drain(4); B:; s {S} inactive stopping A"), "");
    check(&format!("A: drain(4); B:; s {S} inactive stopping A down A"), "-s@A");
    // It may run twice by now.
    check("A: drain(4); B:; s stopping A", "+s@B");
    // Units that are tied to it run on meanwhile.
    check(&format!("A: drain(4); B:; s {S} on A; t MachineOf=s on A"), "[!s@A ~t@A]");
    check(&format!("A: drain(4); B:; s {S} stopping A; t MachineOf=s leaving A"), "");
    check(&format!("A: drain(4); B:; s {S} stopping A down A; t MachineOf=s leaving A"), "[-s@A +s@B +t@B]");
    // One that is loaded only has nothing to stop, and says so.
    check(&format!("A: drain(4); B:; s {S} loaded on A down A"), "[-s@A +s@B]");
}

/// The whole of it, with a machine that takes the units one after the other.
#[test]
fn a_machine_is_emptied_step_by_step() {
    let mut now = cluster("A: drain(2); B:; C:; a on A; b on A; c on A; g global on A,B,C; s WhenIsolated=stop on A");
    let mut steps = Vec::new();
    for _ in 0..20 {
        let plan = plan(&now);
        steps.push(plan_text(&plan));
        apply(&mut now, &plan);
        // Every machine carries out what it was told, one unit at a time, the first by name.
        let orders =
            now.placements.iter().flat_map(|(id, units)| units.iter().map(move |(name, order)| (id, name, order)));
        let open = orders.filter(|(id, name, order)| {
            let report = now.report(id, name).copied().unwrap_or_default();
            report.done < order.generation || (order.is_stop() && !report.has_left(order))
        });
        let next = open
            .min_by_key(|(_, name, _)| (*name).clone())
            .map(|(id, name, order)| (id.clone(), name.clone(), order.clone()));
        let Some((id, name, order)) = next else { break };
        let report = fleet_core::model::Report {
            done: order.generation,
            is_up: !order.is_stop(),
            left: order.leaving.filter(|_| order.is_stop()),
        };
        now.reports.entry(id).or_default().insert(name, report);
    }
    expect![[r#"
        [~a@A +a@B] [~b@A +b@C]

        -a@A [~c@A +c@B]

        -b@A !s@A

        -c@A



        [-s@A +s@C]

    "#]]
    .assert_eq(&(steps.join("\n") + "\n"));
}

#[track_caller]
fn check_steps(text: &str, expected: &Expect) {
    let cluster = cluster(text);
    let id = "A".parse().expect("a machine ID");
    let line = |(name, step): (&fleet_core::unit::UnitName, &DrainStep)| match step {
        DrainStep::Stuck(explanation) => format!("{explanation}\n"),
        step => format!("{name}: {step:?}\n"),
    };
    expected.assert_eq(&explain_drain(&cluster, &id).iter().map(line).collect::<String>());
}

#[test]
fn what_is_said_of_it() {
    check_steps(
        "A: d=ssd drain(1); B:; C: cordoned; D: drain(1); a leaving A on B; b on A; c leaving A on B failed B; d d=ssd on A; \
         e global on A; s WhenIsolated=stop stopping A; t leaving A MachineOf=s; old.service inactive on A",
        &expect![[r#"
            a.service: Moving { to: Some(B), failed: false }
            b.service: Queued
            c.service: Moving { to: Some(B), failed: true }
            d.service is placed on A, which is drained: none of 4 machines can take it
              3 machines: MachineMetadata=d=ssd (has no d)
              2 machines: drained
              1 machine: cordoned
            e.service: Global
            s.service: Stopping
            t.service: Moving { to: None, failed: false }
        "#]],
    );
    let cluster = cluster("A: d=ssd drain(1); B:; b on A; d d=ssd on A; s WhenIsolated=stop stopping A; w d=hdd");
    let said: Vec<String> = ["b", "d", "s", "w"].map(|name| explain(&cluster, &unit_name(name)).to_string()).into();
    expect![[r#"
        b.service is placed on A, which is drained: 1 of 2 machines can take it, when it is its turn
          1 machine: drained
        d.service is placed on A, which is drained: none of 2 machines can take it
          1 machine: MachineMetadata=d=ssd (has no d)
          1 machine: drained
        s.service is being stopped on A, because it may not run twice: 1 of 2 machines can take it, when that is done
          1 machine: drained
        w.service waits: none of 2 machines can take it
          2 machines: MachineMetadata=d=hdd (has d=ssd, has no d)
          1 machine: drained
    "#]]
    .assert_eq(&(said.join("\n") + "\n"));
}

/// When a fleetd that leaves the cluster may go.
#[test]
fn when_all_that_can_has_left() {
    let cases = [
        ("A:; B:; old.service inactive on A", false),
        ("A: drain(1); B:", true),
        ("A: drain(1); B:; e global on A", true),
        ("A: d=ssd drain(1); B:; d d=ssd on A", true),
        ("A: drain(1); B:; b on A", false),
        ("A: drain(1); B:; a leaving A on B", false),
        ("A: drain(1); B:; s WhenIsolated=stop stopping A", false),
        ("B:; b on B", false),
    ];
    let id = "A".parse().expect("a machine ID");
    for (text, expected) in cases {
        assert_eq!(is_drained(&cluster(text), &id), expected, "{text}");
    }
}
