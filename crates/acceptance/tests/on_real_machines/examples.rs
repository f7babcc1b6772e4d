//! Promises 28 to 43 that are about the tutorial's own files: those in `examples/`, a web server and its sidekick.
//!
//! Each test has three machines of its own, since the pairs fill them.

use std::process::Command;

use crate::judge::{machine_of, main_pid, on, property, runs_on};
use crate::world::{World, eventually};

const MAIN: &str = "apache.1.service";
const SIDE: &str = "apache-discovery.1.service";

/// What the web server of a pair answers at its machine's address.
#[track_caller]
fn page(world: &World, unit: &str, port: &str) -> String {
    let url = format!("http://{}:{port}/", machine_of(world, unit).spec().address);
    eventually(&format!("{url} answers"), || {
        let output = Command::new("curl").args(["-fs", "--max-time", "2", &url]).output().expect("curl is installed");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    })
}

/// What the sidekick has written down of its server; nothing if there is no entry.
fn registration(world: &World, machine: &str) -> Option<String> {
    let machine = world.machines().iter().find(|one| one.spec().name == machine).expect("a machine of this world");
    let path = machine.run_directory().join("services/apache").join(machine.spec().address.to_string());
    std::fs::read_to_string(path).ok().filter(|text| !text.is_empty())
}

#[track_caller]
fn check_pair(world: &World, main: &str, side: &str, port: &str) -> String {
    let machine = machine_of(world, main);
    let name = machine.spec().name.clone();
    assert_eq!(runs_on(world, side), [name.as_str()], "the sidekick is beside its server");
    assert_eq!(page(world, main, port), format!("Hello from {name}, port {port}"));
    name
}

/// Promises 28 and 30: from files on disk to a running pair, on one machine.
#[test]
fn a_pair_is_started_from_its_files() {
    let world = World::new(3);
    let desk = world.desk();
    desk.take_examples();
    let said = desk.ok(&format!("fleetctl start static/{MAIN} static/{SIDE}"));
    for unit in [MAIN, SIDE] {
        assert!(said.contains(&format!("Unit {unit} inactive")), "{said}");
        assert!(said.contains(&format!("Unit {unit} launched on ")), "{said}");
    }
    check_pair(&world, MAIN, SIDE, "8080");
}

/// Promise 31: a loaded sidekick is started by systemd; what is wanted of it stays as it was. And 33: that is all that changes.
#[test]
fn a_loaded_sidekick_is_started_as_a_dependency() {
    let world = World::new(3);
    let desk = world.desk();
    desk.take_examples();
    desk.ok("fleetctl submit hello.service");
    desk.ok(&format!("cd static && fleetctl load {MAIN} {SIDE}"));
    assert_eq!(runs_on(&world, MAIN), [""; 0]);
    assert_eq!(runs_on(&world, SIDE), [""; 0]);
    desk.ok(&format!("fleetctl start {MAIN}"));
    check_pair(&world, MAIN, SIDE, "8080");
    let wanted = desk.ok("fleetctl list-unit-files --no-legend --fields=unit,dstate | tr -s '\\t' ' '");
    assert_eq!(wanted, format!("{SIDE} loaded\n{MAIN} launched\nhello.service inactive\n"));
}

/// Promise 32: a sidekick that is only submitted is not loaded by fleet; the start fails and says why.
#[test]
fn a_sidekick_that_is_only_submitted_lets_its_server_fail() {
    let world = World::new(3);
    let desk = world.desk();
    desk.take_examples();
    desk.ok(&format!("cd static && fleetctl submit {MAIN} {SIDE}"));
    let failed = desk.fails(1, &format!("fleetctl start {MAIN}"));
    assert!(failed.stderr.contains(SIDE), "the reason is said: {failed}");
    assert_eq!(runs_on(&world, MAIN), [""; 0]);
    let wanted = desk.ok(&format!("fleetctl list-unit-files --no-legend --fields=unit,dstate,state {SIDE}"));
    assert_eq!(wanted.split_whitespace().collect::<Vec<_>>(), [SIDE, "inactive", "inactive"]);
    // As soon as the sidekick is there the same command works.
    desk.ok(&format!("fleetctl load {SIDE} && fleetctl start {MAIN}"));
    check_pair(&world, MAIN, SIDE, "8080");
}

/// Promises 34 and 35, and 44, 46 and 48 with a file in place of an etcd key: the sidekick goes and comes with its server,
/// and what it has registered goes with it.
#[test]
fn the_sidekick_stops_and_starts_with_its_server() {
    let world = World::new(3);
    let desk = world.desk();
    desk.take_examples();
    desk.ok(&format!("cd static && fleetctl start {MAIN} {SIDE}"));
    let machine = check_pair(&world, MAIN, SIDE, "8080");
    let address = machine_of(&world, MAIN).spec().address;
    // The sidekick looks every 20 seconds; its first look was before the server listened. A new one is at once.
    desk.ok(&format!("fleetctl restart {SIDE}"));
    check_pair(&world, MAIN, SIDE, "8080");
    let entry = eventually("the sidekick registers its server", || registration(&world, &machine));
    assert_eq!(entry.trim(), format!(r#"{{"host": "{machine}", "ipv4_addr": "{address}", "port": 8080}}"#));

    desk.ok(&format!("fleetctl stop {MAIN}"));
    world.wait_active(SIDE, "inactive");
    assert_eq!(runs_on(&world, MAIN), [""; 0]);
    assert_eq!(runs_on(&world, SIDE), [""; 0]);
    assert_eq!(registration(&world, &machine), None, "its ExecStop has removed the entry");
    let wanted = desk.ok(&format!("fleetctl list-unit-files --no-legend --fields=dstate {SIDE}"));
    assert_eq!(wanted.trim(), "launched", "it was the server that was to be stopped");

    desk.ok(&format!("fleetctl start {MAIN}"));
    world.wait_active(SIDE, "active");
    assert_eq!(check_pair(&world, MAIN, SIDE, "8080"), machine);
}

/// Promise 36, where the original failed: a restart restarts, and the sidekick with it.
#[test]
fn the_sidekick_restarts_with_its_server() {
    let world = World::new(3);
    let desk = world.desk();
    desk.take_examples();
    desk.ok(&format!("cd static && fleetctl start {MAIN} {SIDE}"));
    let before = [MAIN, SIDE].map(|unit| main_pid(&world, unit));
    let machine = check_pair(&world, MAIN, SIDE, "8080");
    desk.ok(&format!("fleetctl restart {MAIN}"));
    world.wait_active(SIDE, "active");
    let after = [MAIN, SIDE].map(|unit| main_pid(&world, unit));
    assert_ne!(before[0], after[0], "the server is another process");
    assert_ne!(before[1], after[1], "the sidekick, too");
    assert_eq!(check_pair(&world, MAIN, SIDE, "8080"), machine, "where it was");
}

/// Promise 37: with `Wants=` on the sidekick the server goes on alone. With the tutorial's own `Requires=` it cannot, whatever
/// fleet does: systemd stops what requires a unit that is stopped.
#[test]
fn a_server_without_a_hard_requirement_goes_on_alone() {
    let world = World::new(3);
    let desk = world.desk();
    desk.take_examples();
    desk.ok(&format!("sed -i s/^Requires=/Wants=/ static/{MAIN} && cd static && fleetctl start {MAIN} {SIDE}"));
    let pid = main_pid(&world, MAIN);
    desk.ok(&format!("fleetctl stop {SIDE}"));
    assert_eq!(runs_on(&world, SIDE), [""; 0]);
    assert_eq!(main_pid(&world, MAIN), pid);

    desk.ok(&format!("fleetctl destroy {MAIN} {SIDE}"));
    desk.ok(&format!("sed -i s/^Wants=/Requires=/ static/{MAIN} && cd static && fleetctl start {MAIN} {SIDE}"));
    desk.ok(&format!("fleetctl stop {SIDE}"));
    world.wait_active(MAIN, "inactive");
    assert_eq!(runs_on(&world, MAIN), [""; 0]);
}

/// Promises 38 and 43: instances that are links beside their templates run under the links' names, on their own ports.
#[test]
fn links_to_templates_are_instances() {
    let world = World::new(3);
    let desk = world.desk();
    desk.take_examples();
    desk.ok("cd templates && ln -s apache@.service apache@8888.service && ln -s apache-discovery@.service apache-discovery@8888.service");
    desk.ok("cd templates && fleetctl start apache@8888.service apache-discovery@8888.service");
    check_pair(&world, "apache@8888.service", "apache-discovery@8888.service", "8888");
    let listed = desk.ok("fleetctl list-unit-files --no-legend --fields=unit");
    assert_eq!(listed, "apache-discovery@8888.service\napache@8888.service\n", "the templates were not needed");
}

/// Promises 39 and 42: without links, instances are made from the templates in the cluster; a template itself is inactive
/// and cannot be started.
#[test]
fn instances_are_made_from_the_clusters_templates() {
    let world = World::new(3);
    let desk = world.desk();
    desk.take_examples();
    desk.ok("cd templates && fleetctl submit apache@.service apache-discovery@.service");
    let listed = desk.ok("fleetctl list-unit-files --no-legend --fields=unit,dstate,state,target | tr -s '\\t' ' '");
    assert_eq!(listed, "apache-discovery@.service inactive inactive -\napache@.service inactive inactive -\n");
    for verb in ["start", "load"] {
        let refused = desk.fails(1, &format!("fleetctl {verb} apache@.service"));
        assert!(refused.stderr.contains("cannot activate template \"apache@.service\""), "{refused}");
    }
    desk.ok("fleetctl start apache@8888.service apache-discovery@8888.service");
    check_pair(&world, "apache@8888.service", "apache-discovery@8888.service", "8888");
}

/// Promises 40 and 50: six links, three pairs, three machines, all of which are listed.
#[test]
fn a_folder_of_links_fills_three_machines() {
    let world = World::new(3);
    let desk = world.desk();
    desk.take_examples();
    let machines = desk.ok("fleetctl list-machines --no-legend --fields=ip");
    let addresses: String = world.machines().iter().map(|machine| format!("{}\n", machine.spec().address)).collect();
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&machines), sorted(&addresses), "all machines are there when fleetd is");
    desk.ok("fleetctl start instances/*");
    let mut used = ["5555", "6666", "7777"].map(|port| {
        check_pair(&world, &format!("apache@{port}.service"), &format!("apache-discovery@{port}.service"), port)
    });
    used.sort();
    assert_eq!(used, ["m1", "m2", "m3"]);
}

/// Promise 41: a change in the template reaches a linked instance with `--replace`, and not without.
#[test]
fn a_changed_template_is_used_with_replace() {
    let world = World::new(3);
    let desk = world.desk();
    desk.take_examples();
    desk.ok("fleetctl start instances/*5555.service");
    let unit = "apache@5555.service";
    let pid = main_pid(&world, unit);
    let machine = check_pair(&world, unit, "apache-discovery@5555.service", "5555");
    desk.ok("sed -i 's/^Description=.*/Description=Changed %i/' templates/apache@.service");
    let ran = desk.run("fleetctl start instances/apache@5555.service");
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stderr.contains("differs") && ran.stderr.contains("--replace"), "{ran}");
    assert_eq!(main_pid(&world, unit), pid, "nothing happens without --replace");
    desk.ok("fleetctl start --replace instances/apache@5555.service");
    assert_ne!(main_pid(&world, unit), pid);
    let now_on = machine_of(&world, unit);
    assert_eq!(now_on.spec().name, machine, "it stays where it was");
    assert_eq!(property(now_on, unit, "Description"), "Changed 5555");
    let loaded = on(now_on, &["systemctl", "--user", "show", "--property=NeedDaemonReload", "--value", unit]);
    assert_eq!(loaded, "no", "what runs is what is on disk");
}
