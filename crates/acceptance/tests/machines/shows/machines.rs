//! Machines that lose their power or their network.

use std::time::{Duration, Instant};

use super::{check_works, start};
use crate::field::{AGENT_TTL, FieldSpec, STUBBORN, WAIT_LIMIT, instances};
use crate::samples::Sampler;
use crate::smoke::{ELSEWHERE, GRACE};

/// Kills one of three machines, with 100 units on it. `m1` is the one that leads.
#[track_caller]
fn power_loss_of(victim: &str) {
    const UNITS: usize = 100;
    let spec = FieldSpec::new(3);
    let number: usize = victim[1..].parse().expect("m1, m2, m3");
    let mut lab = spec.prepare();
    // The first that is there leads.
    lab.machine_mut("m1").expect("m1").boot().expect("on");
    let field = spec.wait_for(lab, 1);
    let mut lab = field.lab;
    lab.boot_all().expect("on");
    let mut field = spec.wait_for(lab, 3);
    let desk = if victim == "m1" { "m2" } else { "m1" };
    let units = instances("a", UNITS);
    let id = spec.machines[number - 1].id.clone();
    // All on the victim: then it may take any machine.
    field.write(desk, "a@.service", &format!("{}\n[X-Fleet]\nMachineMetadata=here=yes\n", crate::field::SLEEPER));
    field.ok(desk, &format!("fleetctl machine set-metadata {id} here=yes"));
    field.ok(desk, &format!("fleetctl start {}", units.join(" ")));
    assert!(field.all_running(&units).keys().all(|(_, machine)| machine == victim), "all are on {victim}");
    for machine in spec.machines.iter().filter(|machine| machine.id != id) {
        field.ok(desk, &format!("fleetctl machine set-metadata {} here=yes", machine.id));
    }
    let begun = Instant::now();
    field.machine_mut(victim).kill().expect("off");
    field.wait("all run elsewhere", WAIT_LIMIT, || field.all_running(&units).len() == UNITS);
    let took = begun.elapsed();
    assert!(took <= AGENT_TTL + GRACE + ELSEWHERE, "{UNITS} units after {took:?}\n{}", field.fleetd_log(desk));
}

#[test]
fn a_machine_with_100_units_loses_its_power() {
    power_loss_of("m3");
}

#[test]
fn the_machine_that_leads_loses_its_power() {
    power_loss_of("m1");
}

/// What is done to `fleetd` on the machine that is cut off, and how it is taken back.
struct Trouble {
    begin: &'static str,
    end: &'static str,
}

const NO_TROUBLE: Trouble = Trouble { begin: "true", end: "true" };
const FROZEN: Trouble =
    Trouble { begin: "systemctl kill --signal=STOP fleetd", end: "systemctl kill --signal=CONT fleetd" };
/// For good: systemd would start it again after a second.
const KILLED: Trouble = Trouble {
    begin: "systemctl mask --quiet --runtime fleetd.service && systemctl kill --signal=KILL fleetd",
    end: "systemctl unmask --quiet --runtime fleetd.service && systemctl start fleetd",
};

/// Cuts off one of five, with units of both kinds on each, and heals it.
#[track_caller]
fn one_of_five_is_cut_off(fleetd_there: &Trouble) {
    let mut field = FieldSpec::new(5).start();
    let keep = instances("keep", 10);
    let stop = instances("stop", 10);
    start(&field, "keep", &keep, "WhenIsolated=keep\n");
    // These have to be killed, so all that the stop allowance is for is used up.
    field.write("m1", "stop@.service", &format!("{STUBBORN}\n[X-Fleet]\nWhenIsolated=stop\n"));
    field.ok("m1", &format!("fleetctl start {}", stop.join(" ")));
    assert_eq!(field.all_running(&stop).len(), stop.len());
    let all: Vec<String> = keep.iter().chain(&stop).cloned().collect();
    let running = field.all_running(&all).into_keys();
    let moved: Vec<String> = running.filter(|(_, machine)| machine == "m5").map(|(unit, _)| unit).collect();
    assert!(moved.iter().any(|unit| keep.contains(unit)) && moved.iter().any(|unit| stop.contains(unit)), "{moved:?}");
    let sampler = Sampler::start(&field, &all);
    field.ok("m5", fleetd_there.begin);
    field.lab.partition(&[&["m5"]]).expect("cut off");
    field.wait("all run on the others", WAIT_LIMIT, || {
        let now = field.all_running(&all);
        moved.iter().all(|unit| now.keys().any(|(other, machine)| other == unit && machine != "m5"))
    });
    field.lab.heal().expect("healed");
    field.ok("m5", fleetd_there.end);
    field.wait("each runs once", WAIT_LIMIT, || field.all_running(&all).len() == all.len());
    check_works(&field, "m5", "after-the-cut.service");
    let samples = sampler.stop();
    for unit in &keep {
        samples.check_always_runs(unit, Duration::from_secs(3));
    }
    for unit in &stop {
        samples.check_never_twice(unit);
    }
}

#[test]
fn a_machine_that_is_cut_off_keeps_some_units_and_stops_others() {
    one_of_five_is_cut_off(&NO_TROUBLE);
}

#[test]
fn a_machine_that_is_cut_off_stops_units_without_its_fleetd() {
    one_of_five_is_cut_off(&FROZEN);
}

#[test]
fn a_machine_that_is_cut_off_stops_units_after_its_fleetd_was_killed() {
    one_of_five_is_cut_off(&KILLED);
}
