//! What this version is to show: a crash that nobody notices, a slow stop that loses nothing, many units at once.

use std::time::{Duration, Instant};

use crate::judge::{PRINTS, is_alive, machine_of, main_pid, on, printed, property, runs_on};
use crate::world::World;

/// How soon a list must be right after `fleetd` is back, and a waiting unit's reasons must be said.
const PROMPT: Duration = Duration::from_secs(1);

/// Processes, units and cgroups of a machine below fleet's slices: what an orphan would be seen by.
fn sleepers(world: &World) -> Vec<String> {
    let listed =
        |machine| on(machine, &["systemctl", "--user", "list-units", "--plain", "--no-legend", "--type=service"]);
    let mut units: Vec<String> = world
        .machines()
        .iter()
        .flat_map(|machine| {
            let name = machine.spec().name.clone();
            listed(machine).lines().map(|line| format!("{name} {line}")).collect::<Vec<_>>()
        })
        .collect();
    units.sort();
    units
}

/// `fleetd` is killed under 20 running units and comes back: nobody notices. Also when it is stopped in order.
#[test]
fn a_crash_of_fleetd_stops_no_unit() {
    let mut world = World::new(3);
    let desk = world.desk();
    desk.write("steady@.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    desk.ok("fleetctl start $(printf 'steady@%s ' $(seq 20))");
    let names: Vec<String> = (1..=20).map(|n| format!("steady@{n}.service")).collect();
    let before: Vec<u32> = names.iter().map(|name| main_pid(&world, name)).collect();
    let units_before = sleepers(&world);
    let rows = desk.ok("fleetctl list-units");
    assert_eq!(rows.lines().count(), 21, "{rows}");

    world.cluster().kill_fleetd().expect("fleetd can be killed");
    assert!(before.iter().all(|pid| is_alive(*pid)), "units live on while fleetd is dead");
    desk.fails(1, "fleetctl list-units");
    // What happens while fleetd is away is seen when it is back.
    let dead = machine_of(&world, &names[0]).spec().name.clone();
    let machine = world.machines().iter().find(|machine| machine.spec().name == dead).expect("a machine");
    on(machine, &["systemctl", "--user", "kill", "--signal=KILL", &names[0]]);

    world.cluster().start_fleetd().expect("fleetd starts again");
    let begun = Instant::now();
    let failed = world.wait_active(&names[0], "failed");
    let took = begun.elapsed();
    assert!(took < PROMPT, "the list was right after {took:?}");
    assert_eq!(failed.placements.len(), 1);
    let rows_after = desk.ok("fleetctl list-units");
    let expected: Vec<String> = rows.lines().map(|row| row.to_owned()).collect();
    for row in expected.iter().filter(|row| !row.starts_with(&names[0])) {
        assert!(rows_after.lines().any(|now| now.split_whitespace().eq(row.split_whitespace())), "{row}\n{rows_after}");
    }
    let after: Vec<u32> = names[1..].iter().map(|name| main_pid(&world, name)).collect();
    assert_eq!(after, before[1..], "no main process has changed");
    desk.ok(&format!("fleetctl start {}", names[0]));
    assert_eq!(sleepers(&world), units_before, "nothing is orphaned, nothing is twice");

    world.cluster().restart_fleetd().expect("fleetd restarts");
    let after: Vec<u32> = names[1..].iter().map(|name| main_pid(&world, name)).collect();
    assert_eq!(after, before[1..], "no main process has changed");
    desk.ok("fleetctl destroy 'steady@*'");
    assert!(before.iter().all(|pid| !is_alive(*pid)), "the units were fleet's all the time");
}

/// A slow `ExecStop=`, and at once a new unit of the same name with other content: the new one runs in the end, and the old
/// one was stopped to the end.
#[test]
fn a_new_unit_of_a_name_that_is_still_stopping_runs_in_the_end() {
    let world = World::new(1);
    let desk = world.desk();
    let text = |which: &str| {
        format!(
            "[Unit]\nDescription={which}\n[Service]\n{PRINTS}\nExecStart=/bin/sh -c 'echo {which} runs; exec sleep infinity'\n\
             ExecStop=/bin/sh -c 'sleep 3; echo {which} has stopped'\n"
        )
    };
    desk.write("slow.service", &text("old"));
    desk.ok("fleetctl start slow.service");
    let old = main_pid(&world, "slow.service");
    desk.ok("fleetctl stop --no-block slow && fleetctl destroy --no-block slow");
    desk.write("slow.service", &text("new"));
    desk.ok("fleetctl start slow.service");
    assert!(!is_alive(old));
    let new = main_pid(&world, "slow.service");
    assert_ne!(new, old);
    let machine = &world.machines()[0];
    assert_eq!(property(machine, "slow.service", "Description"), "new");
    assert_eq!(printed(machine, "slow.service"), ["old runs", "old has stopped", "new runs"]);

    // The same in one command.
    desk.write("slow.service", &text("third"));
    desk.ok("fleetctl start --replace slow.service");
    assert_ne!(main_pid(&world, "slow.service"), new);
    assert_eq!(property(machine, "slow.service", "Description"), "third");
    assert_eq!(printed(machine, "slow.service").last().map(String::as_str), Some("third runs"));
}

/// 300 instances from one folder in one command, one broken file among them: 299 run, one is reported.
#[test]
fn a_folder_of_300_with_one_broken_file_runs_299() {
    let world = World::new(3);
    let desk = world.desk();
    desk.write("many@.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    desk.ok("mkdir all && for n in $(seq 300); do ln -s ../many@.service all/many@$n.service; done");
    desk.ok("rm all/many@150.service");
    desk.write(
        "all/many@150.service",
        "[Service]\nExecStart=/bin/sleep infinity\n[X-Fleet]\nMachineMetdata=disk=ssd\n",
    );
    let ran = desk.fails(1, "fleetctl start all/");
    assert!(ran.stderr.contains("all/many@150.service:4") && ran.stderr.contains("MachineMetadata"), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("error:").count(), 1, "{}", ran.stderr);
    assert_eq!(ran.stdout.lines().filter(|line| line.contains(" launched on ")).count(), 299);
    let mut n_active = Vec::new();
    for machine in world.machines() {
        let list =
            on(machine, &["systemctl", "--user", "list-units", "--plain", "--no-legend", "--state=active", "many@*"]);
        n_active.push(list.lines().count());
    }
    assert_eq!(n_active.iter().sum::<usize>(), 299, "{n_active:?}");
    assert_eq!(runs_on(&world, "many@150.service"), [""; 0]);
    // Least loaded first: nobody has more than a fair share.
    n_active.sort_unstable();
    assert_eq!(n_active, [99, 100, 100]);
}
