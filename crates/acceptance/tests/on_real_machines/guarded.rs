//! Units with `WhenIsolated=stop`: they run as long as their machine has its lease, whoever is killed or frozen.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::judge::{is_alive, main_pid, property};
use crate::world::{World, eventually};

const GUARD: &str = "fleet-guard.service";

/// Short, because these tests wait for its end.
const AGENT_TTL: Duration = Duration::from_secs(5);

/// How long systemd and a guard that is frozen may take beyond the deadline: the watchdog's margin of 1 s, and a busy box.
const BEYOND: Duration = Duration::from_secs(4);

const STOP: &str = "[Service]\nExecStart=/bin/sleep infinity\n\n[X-Fleet]\nWhenIsolated=stop\n";
const KEEP: &str = "[Service]\nExecStart=/bin/sleep infinity\n\n[X-Fleet]\nWhenIsolated=keep\n";

/// One machine with a short lease, on which a unit of each kind runs.
fn guarded_world() -> World {
    let mut world = World::new(1);
    world.cluster().stop_fleetd().expect("fleetd stops");
    let config = OpenOptions::new().append(true).open(world.fleetd_config());
    let written = config.and_then(|mut file| writeln!(file, "agent_ttl = {}s", AGENT_TTL.as_secs()));
    written.expect("the configuration is ours");
    world.cluster().start_fleetd().expect("fleetd starts");
    let desk = world.desk();
    desk.write("stop.service", STOP);
    desk.write("keep.service", KEEP);
    desk.ok("fleetctl start stop keep");
    world
}

/// Main processes of the guard, the unit under it and the one that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pids {
    guard: u32,
    stop: u32,
    keep: u32,
}

#[track_caller]
fn pids(world: &World) -> Pids {
    let of = |unit| main_pid(world, unit);
    Pids { guard: of(GUARD), stop: of("stop.service"), keep: of("keep.service") }
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).expect("process numbers are small")), signal).expect("it runs");
}

/// Waits until the unit under the guard has ended; it may not take longer than the lease and what systemd needs.
#[track_caller]
fn ends_in_time(world: &World, before: Pids, since: Instant) {
    eventually("the unit under the guard ends", || (!is_alive(before.stop)).then_some(()));
    let took = since.elapsed();
    assert!(took <= AGENT_TTL + BEYOND, "after {took:?}\n{}", world.fleetd_log());
    assert!(is_alive(before.keep), "the other one goes on");
}

/// Waits until both run again; the one that need not stop did not.
#[track_caller]
fn comes_back(world: &World, before: Pids) {
    eventually("the unit runs again", || {
        (property(&world.machines()[0], "stop.service", "ActiveState") == "active").then_some(())
    });
    let now = pids(world);
    assert_ne!((now.guard, now.stop), (before.guard, before.stop));
    assert_eq!(now.keep, before.keep);
    world.wait_active("stop.service", "active");
}

/// It comes with the first unit that needs it and goes with the last.
#[test]
fn a_guard_stands_while_it_is_needed() {
    let world = World::new(1);
    let desk = world.desk();
    let machine = &world.machines()[0];
    desk.write("keep.service", KEEP);
    desk.ok("fleetctl start keep");
    assert_eq!(property(machine, GUARD, "LoadState"), "not-found");
    desk.write("stop.service", STOP);
    desk.ok("fleetctl start stop");
    let guard = main_pid(&world, GUARD);
    assert_eq!(property(machine, "stop.service", "BindsTo"), GUARD);
    desk.ok("fleetctl destroy stop");
    eventually("the guard goes", || (!is_alive(guard)).then_some(()));
    eventually("its file goes", || (property(machine, GUARD, "LoadState") == "not-found").then_some(()));
    // It is fleet's own: nobody can put one in its place, and it is in no list.
    desk.write("fleet-guard.service", STOP);
    let refused = desk.fails(1, "fleetctl start fleet-guard.service");
    assert!(refused.stderr.contains("fleet's own guard"), "{refused}");
    assert!(!desk.ok("fleetctl list-units --no-legend").contains("fleet-guard"));
}

/// Stopped, killed, started anew, and systemd reloaded: as long as the lease lives nothing notices.
#[test]
fn a_restart_of_fleetd_disturbs_no_guard() {
    let mut world = guarded_world();
    let before = pids(&world);
    world.cluster().restart_fleetd().expect("it starts");
    world.wait_active("stop.service", "active");
    assert_eq!(pids(&world), before, "after a restart");
    world.cluster().kill_fleetd().expect("killed");
    world.cluster().start_fleetd().expect("it starts");
    world.wait_active("stop.service", "active");
    assert_eq!(pids(&world), before, "after a kill");
    crate::judge::on(&world.machines()[0], &["systemctl", "--user", "daemon-reload"]);
    // Longer than the last word before would have lasted: it is renewed by the one that is there now.
    std::thread::sleep(AGENT_TTL + BEYOND);
    assert_eq!(pids(&world), before, "with time\n{}", world.fleetd_log());
}

#[test]
fn fleetd_is_killed_and_the_guard_ends() {
    let mut world = guarded_world();
    let before = pids(&world);
    world.cluster().kill_fleetd().expect("killed");
    ends_in_time(&world, before, Instant::now());
    assert_eq!(property(&world.machines()[0], GUARD, "Result"), "success", "it ended by itself");
    world.cluster().start_fleetd().expect("it starts");
    comes_back(&world, before);
}

#[test]
fn fleetd_is_frozen_and_the_guard_ends() {
    let mut world = guarded_world();
    let before = pids(&world);
    let fleetd = world.cluster().fleetd_pid().expect("it runs");
    signal(fleetd, Signal::SIGSTOP);
    ends_in_time(&world, before, Instant::now());
    // A start by hand brings no guard that has no lease, and so no unit.
    let machine = &world.machines()[0];
    let mut start = machine.command("systemctl");
    let started = start.args(["--user", "start", "stop.service"]).output().expect("systemctl runs");
    assert!(!started.status.success(), "{started:?}");
    signal(fleetd, Signal::SIGCONT);
    comes_back(&world, before);
}

/// Then systemd ends it, also when it has read its files anew meanwhile.
#[test]
fn guard_and_fleetd_are_frozen_and_systemd_ends_the_guard() {
    let mut world = guarded_world();
    let before = pids(&world);
    let fleetd = world.cluster().fleetd_pid().expect("it runs");
    signal(before.guard, Signal::SIGSTOP);
    signal(fleetd, Signal::SIGSTOP);
    let since = Instant::now();
    crate::judge::on(&world.machines()[0], &["systemctl", "--user", "daemon-reload"]);
    ends_in_time(&world, before, since);
    assert_eq!(property(&world.machines()[0], GUARD, "Result"), "watchdog");
    signal(fleetd, Signal::SIGCONT);
    comes_back(&world, before);
}

/// The guard alone is frozen or killed: its units stop, and come back with the next.
#[test]
fn a_guard_that_is_lost_is_replaced() {
    let world = guarded_world();
    let before = pids(&world);
    signal(before.guard, Signal::SIGSTOP);
    ends_in_time(&world, before, Instant::now());
    comes_back(&world, before);
    let before = pids(&world);
    signal(before.guard, Signal::SIGKILL);
    ends_in_time(&world, before, Instant::now());
    comes_back(&world, before);
}

/// What is no permit counts as none.
#[test]
fn a_guard_trusts_nothing_but_a_deadline() {
    let world = guarded_world();
    let file = world.machines()[0].unit_directory().join(".guard/deadline");
    let text = std::fs::read_to_string(&file).expect("it is there");
    assert!(text.starts_with("boottime_ms="), "{text}");
    for damage in ["garbage", "gone"] {
        let before = pids(&world);
        match damage {
            "gone" => std::fs::remove_file(&file).expect("it was there"),
            text => std::fs::write(&file, text).expect("ours"),
        }
        ends_in_time(&world, before, Instant::now());
        comes_back(&world, before);
    }
}

/// Something is in the guard's place: the unit waits, says for what, and is started when it can be.
#[test]
fn a_unit_without_a_guard_says_so() {
    let world = World::new(1);
    let desk = world.desk();
    let machine = &world.machines()[0];
    let in_its_place = machine.unit_directory().join(GUARD);
    std::fs::create_dir(&in_its_place).expect("the machine's folder");
    desk.write("stop.service", STOP);
    desk.ok("fleetctl start --no-block stop");
    world.wait("stop.service", "waiting for the guard", |unit| {
        let mut errors = unit.placements.iter().filter_map(|placement| Some(&placement.state.as_ref()?.error));
        errors.any(|error| {
            error.contains("not started, because it may not run without fleet-guard.service: cannot write")
        })
    });
    assert_eq!(property(machine, "stop.service", "ActiveState"), "inactive");
    std::fs::remove_dir(&in_its_place).expect("it is empty");
    world.wait_active("stop.service", "active");
    assert!(!desk.ok("fleetctl status stop").contains("not started"));
}
