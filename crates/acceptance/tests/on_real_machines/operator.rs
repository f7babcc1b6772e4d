//! What an operator does with machines: cordon, drain, metadata, give up; judged by the machines' systemds.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;

use fleet_api::v2;

use crate::judge::{PRINTS, is_alive, machine_of, main_pid, on, printed, property, runs_on};
use crate::world::World;

const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// Says when it is up and when it has ended, in nanoseconds of the box's clock, which all machines here share.
const TELLS: &str = "ExecStart=/bin/bash -c 'trap \"kill %%1; date +down:%%s%%N; exit 0\" TERM; sleep infinity & \
                     date +up:%%s%%N; systemd-notify --ready; wait'\nType=notify\nNotifyAccess=all\nKillMode=mixed\n";

/// The ID of the machine with that name.
fn id_of(world: &World, name: &str) -> String {
    let machine = world.machines().iter().find(|machine| machine.spec().name == name).expect("one of these");
    on(machine, &["cat", "/etc/machine-id"])
}

/// Which units of this name run where, with their main processes.
fn pids(world: &World, units: &[String]) -> BTreeMap<String, (String, u32)> {
    let one = |unit: &String| (unit.clone(), (machine_of(world, unit).spec().name.clone(), main_pid(world, unit)));
    units.iter().map(one).collect()
}

#[test]
fn a_cordoned_machine_keeps_what_it_has_and_gets_nothing_new() {
    let world = World::new(2);
    let desk = world.desk();
    desk.write("sits@.service", SLEEPS);
    desk.write("all.service", &format!("{SLEEPS}[X-Fleet]\nGlobal=true\n"));
    desk.ok("fleetctl start sits@1 sits@2");
    let units = ["sits@1.service".to_owned(), "sits@2.service".to_owned()];
    let before = pids(&world, &units);
    let m1 = id_of(&world, "m1");
    desk.ok(&format!("fleetctl machine cordon {}", &m1[..8]));
    let listed = desk.ok("fleetctl list-machines --no-legend --fields=state,machine -l");
    assert!(listed.lines().any(|line| line.starts_with("present, cordoned") && line.ends_with(&m1)), "{listed}");

    desk.ok("fleetctl start sits@3 sits@4 sits@5 all");
    for unit in ["sits@3.service", "sits@4.service", "sits@5.service", "all.service"] {
        assert_eq!(runs_on(&world, unit), ["m2"], "{unit}");
    }
    let rows = desk.ok("fleetctl list-unit-files --no-legend --fields=state,unit");
    assert!(rows.lines().any(|row| row.starts_with("1/2") && row.ends_with("all.service")), "{rows}");
    assert_eq!(pids(&world, &units), before, "what is there stays");

    // The whole cluster is closed: what is started waits, and says why. By the address it can be named as well.
    let address = world.machines()[1].spec().address;
    desk.ok(&format!("fleetctl machine cordon {address}"));
    let waits = desk.fails(1, "fleetctl start --timeout 1 sits@6");
    assert!(waits.stderr.contains("2 machines: cordoned"), "{waits}");
    desk.ok(&format!("fleetctl machine uncordon {}", &m1[..8]));
    world.wait_active("sits@6.service", "active");
    assert_eq!(runs_on(&world, "sits@6.service"), ["m1"]);
    world.wait("all.service", "on both", |unit| unit.placements.len() == 2);
    assert_eq!(pids(&world, &units), before);
}

/// Each unit that moves is up on its new machine before it ends on the old one, and nothing else is touched.
#[test]
fn a_machine_is_drained_start_first() {
    let world = World::new(3);
    let desk = world.desk();
    desk.write("moves@.service", &format!("[Service]\n{PRINTS}\n{TELLS}"));
    desk.write("all.service", &format!("{SLEEPS}[X-Fleet]\nGlobal=true\n"));
    desk.ok("fleetctl start all $(printf 'moves@%s ' $(seq 9))");
    let units: Vec<String> = (1..=9).map(|n| format!("moves@{n}.service")).collect();
    let before = pids(&world, &units);
    let on_m1: Vec<&String> = units.iter().filter(|unit| before[*unit].0 == "m1").collect();
    assert_eq!(on_m1.len(), 3, "{before:?}");
    let m1 = id_of(&world, "m1");

    let said = desk.ok(&format!("fleetctl machine drain --max 2 {m1}"));
    assert_eq!(said.trim(), format!("{}...: 3 of 3 units moved; 1 global unit stays", &m1[..8]));
    for (unit, (machine, pid)) in &before {
        if machine == "m1" {
            let new = machine_of(&world, unit);
            assert_ne!(new.spec().name, "m1");
            // Here it is gone, to the last file.
            world.wait(unit, "on one machine", |unit| unit.placements.len() == 1);
            assert!(!is_alive(*pid));
            assert_eq!(property(&world.machines()[0], unit, "LoadState"), "not-found");
            let moment = |lines: &[String], what: &str| -> u64 {
                let line = lines.iter().find_map(|line| line.strip_prefix(what)).unwrap_or_else(|| panic!("{lines:?}"));
                line.trim_start_matches(':').parse().expect("a moment")
            };
            let ended = moment(&printed(&world.machines()[0], unit), "down");
            let began = moment(&printed(new, unit), "up");
            assert!(began < ended, "{unit} was up on {} {began} and ended on m1 {ended}", new.spec().name);
        } else {
            assert_eq!(
                (machine_of(&world, unit).spec().name.as_str(), main_pid(&world, unit)),
                (machine.as_str(), *pid)
            );
        }
    }
    assert_eq!(runs_on(&world, "all.service"), ["m1", "m2", "m3"]);

    // It stays closed until it is opened.
    desk.write("new@.service", SLEEPS);
    desk.ok("fleetctl start new@1 new@2");
    assert_ne!(machine_of(&world, "new@1.service").spec().name, "m1");
    desk.ok(&format!("fleetctl machine uncordon {m1}"));
    desk.ok("fleetctl start new@3");
    assert_eq!(runs_on(&world, "new@3.service"), ["m1"], "it is the least loaded");
}

/// What no other machine can take stays and runs on, and goes when one can; so does one that cannot run elsewhere.
#[test]
fn what_cannot_leave_a_drained_machine_is_said() {
    let world = World::with_metadata(&["disk=ssd", ""]);
    let desk = world.desk();
    let (m1, m2) = (id_of(&world, "m1"), id_of(&world, "m2"));
    desk.write("picky.service", &format!("{SLEEPS}[X-Fleet]\nMachineMetadata=disk=ssd\n"));
    // It runs on the machine that has the file, and fails on the other.
    desk.write(
        "fails.service",
        "[Service]\nExecStartPre=/usr/bin/test -e /run/only-here\nExecStart=/bin/sleep infinity\n",
    );
    desk.write("free.service", SLEEPS);
    desk.ok(&format!("fleetctl machine cordon {m2}"));
    on(&world.machines()[0], &["touch", "/run/only-here"]);
    desk.ok("fleetctl start picky free fails");
    let stay = ["fails.service".to_owned(), "picky.service".to_owned()];
    let before = pids(&world, &stay);
    desk.ok(&format!("fleetctl machine uncordon {m2}"));

    let ran = desk.fails(1, &format!("fleetctl machine drain {m1}"));
    assert_eq!(ran.stdout.trim(), format!("{}...: 1 of 3 units moved", &m1[..8]), "{ran}");
    assert!(
        ran.stderr.contains("picky.service stays: no other machine can take it: 1 machine: MachineMetadata=disk=ssd"),
        "{ran}"
    );
    assert!(ran.stderr.contains(&format!("fails.service stays: has failed on {}...", &m2[..8])), "{ran}");
    assert_eq!(runs_on(&world, "free.service"), ["m2"]);
    assert_eq!(pids(&world, &stay), before, "they run on where they were");

    // The drain goes on: as soon as a machine fits, the unit goes there.
    desk.ok(&format!("fleetctl machine set-metadata {m2} disk=ssd"));
    world.wait(
        "picky.service",
        "on m2 alone",
        |unit| matches!(&unit.placements[..], [one] if one.machine == m2 && one.done),
    );
    assert_eq!(runs_on(&world, "picky.service"), ["m2"]);
    assert_eq!(runs_on(&world, "fails.service"), ["m1"]);
}

/// What may not run twice is stopped here before it is started there.
#[test]
fn what_may_not_run_twice_is_drained_stop_first() {
    let world = World::new(2);
    let desk = world.desk();
    desk.write("once.service", &format!("[Service]\n{PRINTS}\n{TELLS}[X-Fleet]\nWhenIsolated=stop\n"));
    desk.ok("fleetctl start once");
    let old = machine_of(&world, "once.service");
    let id = id_of(&world, &old.spec().name);
    desk.ok(&format!("fleetctl machine drain {id}"));
    let unit = world.wait_active("once.service", "active");
    assert_eq!(unit.placements.len(), 1);
    let new = machine_of(&world, "once.service");
    assert_ne!(new.spec().name, old.spec().name);
    let moment = |machine, what: &str| -> u64 {
        let lines = printed(machine, "once.service");
        lines.iter().find_map(|line| line.strip_prefix(what)?.parse().ok()).unwrap_or_else(|| panic!("{lines:?}"))
    };
    assert!(moment(old, "down:") < moment(new, "up:"), "there were never two");
}

/// A machine that is lost is shown as lost, with all that it has; given up, its units run elsewhere at once.
#[test]
fn a_lost_machine_is_shown_and_given_up() {
    let mut world = World::new(3);
    let desk = world.desk();
    let mut config = OpenOptions::new().append(true).open(world.fleetd_config()).expect("the configuration is there");
    // Long enough that nothing moves by itself.
    config.write_all(b"agent_ttl = 3s\nloss_grace = 1h\n").expect("it can be written");
    world.cluster().restart_fleetd().expect("fleetd restarts");
    desk.write("sits@.service", SLEEPS);
    desk.ok("fleetctl start sits@1 sits@2 sits@3");
    let units: Vec<String> = (1..=3).map(|n| format!("sits@{n}.service")).collect();
    let before = pids(&world, &units);
    let lost = units.iter().find(|unit| before[*unit].0 == "m3").expect("each machine has one").clone();
    let m3 = id_of(&world, "m3");
    let present = desk.fails(1, &format!("fleetctl machine give-up {m3}"));
    assert!(present.stderr.contains("is present") && present.stderr.contains("drain"), "{present}");

    // Its fleetd is gone, so to speak: the one that there is does not serve it any more.
    let path = world.dir().join("machines.toml");
    let machines = std::fs::read_to_string(&path).expect("the machines file is there");
    let others = machines.split("[[machine]]").filter(|machine| !machine.contains(&m3));
    std::fs::write(&path, others.collect::<Vec<_>>().join("[[machine]]")).expect("it can be written");
    world.cluster().restart_fleetd().expect("fleetd restarts");
    let unit = world.wait(&lost, "lost", |unit| unit.placements.iter().any(|one| one.lost.is_some()));
    assert_eq!((unit.placements.len(), unit.placements[0].state.clone()), (1, None));
    assert_eq!(unit.current_state, v2::State::Inactive, "nobody knows that it runs");
    let rows = desk.ok("fleetctl list-units --no-legend");
    let row = rows.lines().find(|row| row.starts_with(&lost)).expect("it is listed");
    assert!(row.contains("\tlost\tno news for ") && !row.contains("running"), "{row}");
    let listed = desk.ok("fleetctl list-machines --no-legend --fields=machine,state");
    assert!(listed.lines().any(|row| row.starts_with(&m3[..8]) && row.contains("lost, no news for ")), "{listed}");
    let status = desk.fails(3, &format!("fleetctl status {lost}"));
    assert!(status.stdout.contains("Fleet: lost; on "), "{status}");
    let json = desk.ok("fleetctl list-machines -o json");
    assert!(json.contains("\"silent_ms\"") && json.contains("\"present\": false"), "{json}");
    let overview = desk.ok("fleetctl status");
    assert!(overview.contains("machines: 2") && overview.contains(&format!("{lost}: on ")), "{overview}");

    desk.ok(&format!("fleetctl machine give-up {}", &m3[..8]));
    let unit = world.wait_active(&lost, "active");
    assert!(matches!(&unit.placements[..], [one] if one.machine != m3), "{unit:?}");
    let listed = desk.ok("fleetctl list-machines --no-legend --fields=machine,state");
    assert!(listed.lines().any(|row| row.starts_with(&m3[..8]) && row.ends_with("given up")), "{listed}");
    // The operator was wrong: it is back, and stops what moved.
    std::fs::write(&path, machines).expect("it can be written");
    world.cluster().restart_fleetd().expect("fleetd restarts");
    world.wait(&lost, "on one machine", |unit| matches!(&unit.placements[..], [one] if one.done && one.machine != m3));
    crate::world::eventually("the old copy is stopped", || (!is_alive(before[&lost].1)).then_some(()));
    let listed = desk.ok("fleetctl list-machines --no-legend --fields=machine,state");
    assert!(listed.lines().all(|row| row.ends_with("present")), "{listed}");
    for unit in units.iter().filter(|unit| **unit != lost) {
        assert_eq!(main_pid(&world, unit), before[unit].1, "{unit} was not touched");
    }
}

/// Three of four are lost at once: the brake is on, says so, and ends when each is given up.
#[test]
fn the_brake_is_shown() {
    let mut world = World::new(4);
    let desk = world.desk();
    let mut config = OpenOptions::new().append(true).open(world.fleetd_config()).expect("the configuration is there");
    config.write_all(b"agent_ttl = 3s\nloss_grace = 1s\n").expect("it can be written");
    world.cluster().restart_fleetd().expect("fleetd restarts");
    desk.write("sits@.service", SLEEPS);
    desk.ok("fleetctl start sits@1 sits@2 sits@3 sits@4");
    let path = world.dir().join("machines.toml");
    let machines = std::fs::read_to_string(&path).expect("the machines file is there");
    let m1 = id_of(&world, "m1");
    let first = machines.split("[[machine]]").find(|machine| machine.contains(&m1)).expect("it is there");
    std::fs::write(&path, format!("[[machine]]{first}")).expect("it can be written");
    world.cluster().restart_fleetd().expect("fleetd restarts");
    let brake =
        || desk.run("fleetctl list-machines").stderr.contains("WARNING: the brake is on: 3 machines lost at once");
    crate::world::eventually("the brake is on", || brake().then_some(()));
    assert!(desk.ok("fleetctl status").starts_with("WARNING: the brake is on"));
    assert!(world.fleetd_log().contains("the brake is on"), "the log says it too");
    // A new leader finds it on, whatever it makes of the lost ones itself.
    world.cluster().restart_fleetd().expect("fleetd restarts");
    assert!(brake());
    let others = ["m2", "m3", "m4"].map(|name| id_of(&world, name));
    desk.ok(&format!("fleetctl machine give-up {}", others[0]));
    desk.ok(&format!("fleetctl machine give-up {}", others[1]));
    let left = desk.run("fleetctl list-machines").stderr;
    assert!(left.contains("the brake is on: 1 machine lost"), "two are less than it takes, and it holds: {left}");
    desk.ok(&format!("fleetctl machine give-up {}", others[2]));
    for n in 1..=4 {
        let unit = world.wait_active(&format!("sits@{n}.service"), "active");
        assert!(matches!(&unit.placements[..], [one] if one.machine == m1), "{unit:?}");
    }
    assert_eq!(desk.run("fleetctl list-machines").stderr, "");
}
