//! One bad unit hurts one unit: what is wrong with it is said, and the others go on.

use std::sync::LazyLock;

use crate::judge::{is_alive, main_pid, on, property, runs_on};
use crate::world::World;

static WORLD: LazyLock<World> = LazyLock::new(|| World::new(1));

const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// A file that only systemd can find fault with: it is stored, and the start fails with systemd's reason.
#[test]
fn a_file_that_systemd_cannot_use_fails_alone() {
    let desk = WORLD.desk();
    desk.write("unusable.service", "[Service]\nType=simple\nExecStart=not-an-absolute-path/x\n");
    desk.write("beside-unusable.service", SLEEPS);
    let failed = desk.fails(1, "fleetctl start unusable.service beside-unusable.service");
    assert!(failed.stderr.contains("unusable.service") && failed.stderr.contains("bad-setting"), "{failed}");
    assert!(!failed.stderr.contains("error: Unit beside-unusable.service"), "{failed}");
    assert_eq!(runs_on(&WORLD, "beside-unusable.service"), ["m1"]);
    // Corrected, it runs.
    desk.write("unusable.service", SLEEPS);
    desk.ok("fleetctl start --replace unusable.service");
    assert_eq!(runs_on(&WORLD, "unusable.service"), ["m1"]);
    desk.ok("fleetctl destroy unusable beside-unusable");
}

/// The stop command fails: systemd stops the unit all the same, and says that it failed. So does fleet.
#[test]
fn a_failing_exec_stop_is_reported_and_does_not_keep_the_unit() {
    let desk = WORLD.desk();
    desk.write("bad-stop.service", &format!("{SLEEPS}ExecStop=/bin/false\n"));
    desk.write("good-stop.service", SLEEPS);
    desk.ok("fleetctl start bad-stop.service good-stop.service");
    let pid = main_pid(&WORLD, "bad-stop.service");
    desk.run("fleetctl stop bad-stop good-stop");
    assert!(!is_alive(pid));
    assert_eq!(property(&WORLD.machines()[0], "bad-stop.service", "Result"), "exit-code");
    assert_eq!(property(&WORLD.machines()[0], "good-stop.service", "Result"), "success");
    let listed = desk.ok("fleetctl list-units --no-legend --fields=active bad-stop.service");
    assert_eq!(listed, "failed\n");
    desk.ok("fleetctl start bad-stop");
    desk.ok("fleetctl destroy bad-stop good-stop");
    assert_eq!(property(&WORLD.machines()[0], "bad-stop.service", "LoadState"), "not-found");
}

/// One unit hangs while it is stopped; the others are started, restarted and destroyed meanwhile.
#[test]
fn a_unit_that_hangs_in_stop_holds_nobody_up() {
    let desk = WORLD.desk();
    desk.write("hangs.service", &format!("{SLEEPS}ExecStop=/bin/sleep 600\nTimeoutStopSec=600\n"));
    desk.write("lively.service", SLEEPS);
    desk.ok("fleetctl start hangs.service lively.service");
    desk.ok("fleetctl stop --no-block hangs");
    WORLD.wait("hangs.service", "stopping", |unit| {
        unit.placements.iter().any(|one| one.state.as_ref().is_some_and(|state| state.active == "deactivating"))
    });
    let ran = desk.fails(1, "fleetctl stop --timeout 1 hangs");
    assert!(ran.stderr.contains("deactivating (stop)"), "it says what it waits for: {ran}");
    let pid = main_pid(&WORLD, "lively.service");
    desk.ok("fleetctl restart lively");
    assert_ne!(main_pid(&WORLD, "lively.service"), pid);
    desk.write("newcomer.service", SLEEPS);
    desk.ok("fleetctl start newcomer.service && fleetctl destroy newcomer lively");
    assert_eq!(property(&WORLD.machines()[0], "hangs.service", "ActiveState"), "deactivating");
    // An operator ends it.
    desk.ok("fleetctl destroy --no-block hangs");
    on(&WORLD.machines()[0], &["systemctl", "--user", "kill", "--signal=KILL", "hangs.service"]);
    WORLD.wait_gone("hangs.service");
    assert_eq!(property(&WORLD.machines()[0], "hangs.service", "LoadState"), "not-found");
}

/// A broken file among many: it is refused with file, line and reason, the others run.
#[test]
fn a_broken_file_is_refused_alone() {
    let desk = WORLD.desk();
    desk.write("broken.service", "[Service]\nExecStart=/bin/sleep infinity\n[X-Fleet]\nConflict=a\n");
    desk.write("whole.service", SLEEPS);
    let failed = desk.fails(1, "fleetctl start broken.service whole.service");
    assert!(failed.stderr.contains("broken.service:4"), "file and line: {failed}");
    assert!(failed.stderr.contains("Conflicts"), "the nearest right spelling: {failed}");
    assert_eq!(runs_on(&WORLD, "whole.service"), ["m1"]);
    desk.fails(4, "fleetctl cat broken.service");
}

/// Units that fail again and again, next to one that must not notice.
#[test]
fn a_unit_that_fails_for_ever_leaves_others_alone() {
    let desk = WORLD.desk();
    desk.write(
        "crashes.service",
        "[Service]\nType=oneshot\nRestart=on-failure\nRestartSec=10ms\nExecStart=/bin/false\n",
    );
    desk.write("steady.service", SLEEPS);
    desk.ok("fleetctl start steady.service");
    let pid = main_pid(&WORLD, "steady.service");
    desk.ok("fleetctl start --no-block crashes.service");
    // systemd gives up after its limit of starts; that is the state of this unit.
    WORLD.wait_active("crashes.service", "failed");
    assert_eq!(main_pid(&WORLD, "steady.service"), pid);
    let failed = desk.fails(1, "fleetctl start crashes.service");
    assert!(failed.stderr.contains("crashes.service failed on"), "{failed}");
    desk.ok("fleetctl destroy crashes");
}
