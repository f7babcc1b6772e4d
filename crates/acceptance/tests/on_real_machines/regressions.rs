//! What users of the original reported, each as a test; the numbers are issues of coreos/fleet.

use std::time::Duration;

use crate::judge::{is_alive, machine_of, main_pid, on, property, runs_on};
use crate::world::World;

const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// #1003, #997: units that want and bind each other, and their machine reboots: both run again, in order.
#[test]
fn a_pair_survives_the_reboot_of_its_machine() {
    let mut world = World::new(1);
    let desk = world.desk();
    desk.write("first.service", &format!("[Unit]\nWants=second.service\nBefore=second.service\n{SLEEPS}"));
    desk.write("second.service", &format!("[Unit]\nBindsTo=first.service\nAfter=first.service\n{SLEEPS}"));
    desk.ok("fleetctl start first.service second.service");
    let before = ["first.service", "second.service"].map(|unit| main_pid(&world, unit));
    world.cluster().machine("m1").and_then(|machine| machine.kill()).expect("m1 can be killed");
    assert!(before.iter().all(|pid| !is_alive(*pid)));
    world.cluster().machine("m1").and_then(|machine| machine.boot()).expect("m1 boots");
    for unit in ["first.service", "second.service"] {
        world.wait(unit, "running on the machine after its boot", |unit| {
            let state = unit.placements.first().and_then(|one| one.state.as_ref());
            state.is_some_and(|state| state.active == "active")
                && property(&world.machines()[0], &unit.name, "MainPID") != "0"
        });
    }
    let begun =
        |unit| property(&world.machines()[0], unit, "ExecMainStartTimestampMonotonic").parse::<u64>().expect("a time");
    assert!(begun("first.service") <= begun("second.service"), "in order");
    assert_eq!(desk.run("fleetctl status first second").code, 0);
}

/// #372: 100 equal units on three machines. #1340: among thousands of units the status of one is as quick as ever.
#[test]
fn equal_units_are_spread_evenly_and_many_units_slow_nothing_down() {
    let world = World::new(3);
    let desk = world.desk();
    desk.write("even@.service", SLEEPS);
    desk.ok("fleetctl start $(printf 'even@%s ' $(seq 100)) > /dev/null");
    let mut shares: Vec<usize> = world
        .machines()
        .iter()
        .map(|machine| {
            let list = ["systemctl", "--user", "list-units", "--plain", "--no-legend", "--state=active", "even@*"];
            on(machine, &list).lines().count()
        })
        .collect();
    shares.sort_unstable();
    assert_eq!(shares, [33, 33, 34]);

    let quickest = || (0..5).map(|_| desk.run("fleetctl status even@1").took).min().expect("five of them");
    let among_few = quickest();
    desk.ok("fleetctl submit even@.service && fleetctl submit $(printf 'even@%s ' $(seq 101 2500)) > /dev/null");
    assert_eq!(desk.ok("fleetctl list-unit-files --no-legend").lines().count(), 2_501);
    let among_many = quickest();
    // The original fetched all units for it. Most of both times is systemctl's own start.
    assert!(among_many < 2 * among_few + Duration::from_millis(50), "{among_few:?}, then {among_many:?}");
}

/// #1091: the process of a unit without `Restart=` dies; the next `start` starts it.
#[test]
fn a_unit_that_died_can_be_started_again() {
    let world = World::new(1);
    let desk = world.desk();
    desk.write("dies.service", SLEEPS);
    for (signal, state) in [("KILL", "failed"), ("TERM", "inactive")] {
        desk.ok("fleetctl start dies.service");
        let pid = main_pid(&world, "dies.service");
        on(&world.machines()[0], &["kill", &format!("-{signal}"), &pid.to_string()]);
        world.wait_active("dies.service", state);
        let listed = desk.ok("fleetctl list-units --no-legend --fields=active dies.service");
        assert_eq!(listed.trim(), state, "it is shown as it is");
        assert_eq!(desk.run("fleetctl status dies").code, 3);
        desk.ok("fleetctl start dies.service");
        assert_ne!(main_pid(&world, "dies.service"), pid);
    }
}

/// #1428: `load` of a changed file does not stop the unit that runs.
#[test]
fn load_of_a_changed_file_does_not_stop() {
    let world = World::new(1);
    let desk = world.desk();
    desk.write("keeps.service", SLEEPS);
    desk.ok("fleetctl start keeps.service");
    let pid = main_pid(&world, "keeps.service");
    desk.write("keeps.service", &format!("[Unit]\nDescription=Changed\n{SLEEPS}"));
    for line in ["load keeps.service", "load --replace keeps.service", "submit --replace keeps.service"] {
        desk.run(&format!("fleetctl {line}"));
        assert_eq!(main_pid(&world, "keeps.service"), pid, "after {line}");
    }
}

/// #1342: somebody stops a unit by hand on its machine: that is respected and shown, and `start` starts it again.
#[test]
fn what_is_stopped_by_hand_is_shown_and_respected() {
    let mut world = World::new(1);
    let desk = world.desk();
    desk.write("by-hand.service", SLEEPS);
    desk.ok("fleetctl start by-hand.service");
    on(&world.machines()[0], &["systemctl", "--user", "stop", "by-hand.service"]);
    world.wait_active("by-hand.service", "inactive");
    let shown = desk.ok("fleetctl list-unit-files --no-legend --fields=dstate by-hand.service");
    assert_eq!(shown, "launched\n", "what was asked for, beside what is");
    world.cluster().restart_fleetd().expect("fleetd restarts");
    world.wait_active("by-hand.service", "inactive");
    assert_eq!(runs_on(&world, "by-hand.service"), [""; 0]);
    desk.ok("fleetctl start by-hand.service");
    assert_eq!(runs_on(&world, "by-hand.service"), ["m1"]);
}

/// #1216: the stop command fails and the process lives on: the file stays as long as systemd has not let go of the unit, and
/// fleet says so.
#[test]
fn a_unit_that_cannot_be_stopped_keeps_its_file() {
    let world = World::new(1);
    let desk = world.desk();
    desk.write(
        "clings.service",
        "[Service]\nStandardOutput=append:/run/printed.%n\nExecStart=/bin/sh -c 'trap \"\" TERM; echo ready; while :; do sleep 600; done'\nExecStop=/bin/false\n\
         KillMode=process\nTimeoutStopSec=600\n",
    );
    desk.ok("fleetctl start clings.service");
    let machine = &world.machines()[0];
    // Not before it ignores the signal.
    crate::world::eventually("it is ready", || {
        crate::judge::printed(machine, "clings.service").contains(&"ready".to_owned()).then_some(())
    });
    let pid = main_pid(&world, "clings.service");
    // Long enough for the news of the stop to come even from a disk that is slow to sync.
    let ran = desk.fails(1, "fleetctl destroy --timeout 10 clings.service");
    assert!(ran.stderr.contains("clings.service: deactivating"), "{ran}");
    assert!(is_alive(pid));
    let file = property(machine, "clings.service", "FragmentPath");
    on(machine, &["test", "-e", &file]);
    on(machine, &["kill", "-KILL", &pid.to_string()]);
    world.wait_gone("clings.service");
    assert_eq!(property(machine, "clings.service", "LoadState"), "not-found");
}

/// #1000, #1400: `destroy` returns when the unit's processes are gone, not before.
#[test]
fn destroy_waits_for_the_processes() {
    let world = World::new(1);
    let desk = world.desk();
    desk.write("slowly.service", &format!("{SLEEPS}ExecStop=/bin/sleep 1\n"));
    desk.ok("fleetctl start slowly.service");
    let pid = main_pid(&world, "slowly.service");
    let file = property(machine_of(&world, "slowly.service"), "slowly.service", "FragmentPath");
    assert_eq!(desk.ok("fleetctl destroy slowly.service"), "Destroyed slowly.service\n");
    assert!(!is_alive(pid));
    let gone = world.machines()[0].command("test").args(["!", "-e", &file]).status().expect("the command starts");
    assert!(gone.success(), "{file} is still there");
}
