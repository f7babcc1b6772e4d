//! What `.ci/run` runs, so that machines cannot rot: three are booted; a start, a power loss, a partition.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::field::{AGENT_TTL, Field, FieldSpec, SLEEPER, WAIT_LIMIT, instances};
use crate::samples::Sampler;

/// How long units may take to run elsewhere once their machine counts as lost.
pub const ELSEWHERE: Duration = Duration::from_secs(2);

/// How long a lost machine may come back before its units are placed elsewhere: the engine's default.
pub const GRACE: Duration = Duration::from_secs(10);

/// Three machines and six units, two on each.
#[track_caller]
fn three_machines() -> (Field, Vec<String>, BTreeMap<(String, String), u32>) {
    let field = FieldSpec::new(3).start();
    let units = instances("a", 6);
    field.write("m1", "a@.service", SLEEPER);
    field.ok("m1", &format!("fleetctl start {}", units.join(" ")));
    let running = field.all_running(&units);
    for machine in ["m1", "m2", "m3"] {
        assert_eq!(on(&running, machine).len(), 2, "spread evenly: {running:?}");
    }
    (field, units, running)
}

/// Those that run on that machine.
fn on(running: &BTreeMap<(String, String), u32>, machine: &str) -> BTreeMap<(String, String), u32> {
    running.iter().filter(|((_, on), _)| on == machine).map(|(key, pid)| (key.clone(), *pid)).collect()
}

#[test]
fn a_unit_starts() {
    let field = FieldSpec::new(3).start();
    let addresses = field.ok("m2", "fleetctl list-machines --no-legend --full --fields=ip");
    let mut addresses: Vec<&str> = addresses.lines().collect();
    addresses.sort_unstable();
    assert_eq!(addresses, ["10.77.0.11", "10.77.0.12", "10.77.0.13"]);
    field.write("m2", "hello.service", SLEEPER);
    field.ok("m2", "fleetctl start hello.service");
    // Wherever it runs, each machine knows.
    let machine = field.machine_of("hello.service");
    let address = field.machine(&machine).spec().address.to_string();
    for from in ["m1", "m2", "m3"] {
        let listed = field.ok(from, "fleetctl list-units --no-legend --full --fields=unit,machine,active");
        assert!(listed.contains(&address) && listed.ends_with("active"), "{from}: {listed}");
    }
}

#[test]
fn a_machine_loses_its_power() {
    let (mut field, units, before) = three_machines();
    let begun = Instant::now();
    field.machine_mut("m3").kill().expect("off");
    field.wait("all units run on the two others", WAIT_LIMIT, || field.all_running(&units).len() == units.len());
    let took = begun.elapsed();
    assert!(took <= AGENT_TTL + GRACE + ELSEWHERE, "after {took:?}: {}", field.fleetd_log("m1"));
    for survivor in ["m1", "m2"] {
        let kept = on(&before, survivor);
        let now = on(&field.all_running(&units), survivor);
        assert!(kept.iter().all(|unit| now.get(unit.0) == Some(unit.1)), "{survivor}: {kept:?}, now {now:?}");
    }
    // It comes back without anything of its own, and nothing runs twice.
    field.machine_mut("m3").boot().expect("on");
    field.wait("m3 is listed again", WAIT_LIMIT, || {
        field.ok("m3", "fleetctl list-machines --no-legend").lines().count() == 3
    });
    assert_eq!(field.all_running(&units).len(), units.len());
}

#[test]
fn a_machine_is_cut_off_and_comes_back() {
    let (mut field, units, before) = three_machines();
    let lost = on(&before, "m3");
    let sampler = Sampler::start(&field, &units);
    field.lab.partition(&[&["m3"]]).expect("cut off");
    field.wait("its units run elsewhere", WAIT_LIMIT, || {
        let now = field.all_running(&units);
        lost.keys().all(|(unit, _)| now.keys().any(|(other, on)| other == unit && on != "m3"))
    });
    assert_eq!(on(&field.all_running(&units), "m3"), lost, "nobody told it to stop anything");
    field.lab.heal().expect("healed");
    field.wait("each unit runs once", WAIT_LIMIT, || field.all_running(&units).len() == units.len());
    let samples = sampler.stop();
    for unit in &units {
        samples.check_always_runs(unit, Duration::from_secs(3));
    }
    for survivor in ["m1", "m2"] {
        let now = on(&field.all_running(&units), survivor);
        assert!(on(&before, survivor).iter().all(|unit| now.get(unit.0) == Some(unit.1)), "{survivor}: {now:?}");
    }
}
