//! Promises 16 to 27: what may stand in `[X-Fleet]`, judged by where systemd has the units.
//!
//! Three machines: m1 has `disk=ssd,role=web`, m2 `disk=hdd,role=web`, m3 nothing. The tests share them and use unit names of
//! their own; those that change metadata have a world of their own.

use std::sync::LazyLock;

use crate::judge::{machine_of, on, property, runs_on};
use crate::world::World;

const METADATA: [&str; 3] = ["disk=ssd,role=web", "disk=hdd,role=web", ""];

static WORLD: LazyLock<World> = LazyLock::new(|| World::with_metadata(&METADATA));

fn service(fleet: &str) -> String {
    format!("[Service]\nExecStart=/bin/sleep infinity\n[X-Fleet]\n{fleet}\n")
}

/// Promises 16 and 17, and 26 for this option: with more instances than machines the surplus waits.
#[test]
fn conflicting_units_run_on_different_machines() {
    let desk = WORLD.desk();
    for spelling in ["X-Conflicts", "Conflicts"] {
        let prefix = format!("apart-{}", spelling.to_lowercase());
        desk.write(&format!("{prefix}@.service"), &service(&format!("{spelling}={prefix}@*.service")));
        desk.ok(&format!("fleetctl start {prefix}@1 {prefix}@2 {prefix}@3"));
        let names = [1, 2, 3].map(|n| machine_of(&WORLD, &format!("{prefix}@{n}.service")).spec().name.clone());
        let mut different = names.to_vec();
        different.sort();
        assert_eq!(different, ["m1", "m2", "m3"]);

        let surplus = format!("{prefix}@4.service");
        let ran = desk.fails(1, &format!("fleetctl start --timeout 1 {surplus}"));
        assert!(ran.stderr.contains("3 machines"), "{ran}");
        assert!(ran.stderr.contains(&format!("Conflicts={prefix}@*.service")), "{ran}");
        assert_eq!(runs_on(&WORLD, &surplus), [""; 0]);
        desk.ok(&format!("fleetctl destroy {prefix}@2"));
        WORLD.wait_active(&surplus, "active");
        assert_eq!(runs_on(&WORLD, &surplus), [names[1].clone()], "it takes the place that became free");
    }
}

/// Promises 18 and 19, and 26 for this option.
#[test]
fn a_unit_follows_another() {
    let desk = WORLD.desk();
    for (n, spelling) in ["X-ConditionMachineOf", "MachineOf"].into_iter().enumerate() {
        let (main, side) = (format!("led{n}.1.service"), format!("follows{n}.1.service"));
        desk.write(&main, &service("MachineMetadata=disk=hdd"));
        desk.write(&side, &service(&format!("{spelling}={main}")));
        desk.ok(&format!("fleetctl start {main} {side}"));
        assert_eq!((runs_on(&WORLD, &main), runs_on(&WORLD, &side)), (vec!["m2".to_owned()], vec!["m2".to_owned()]));

        desk.write(&format!("led{n}@.service"), &service(&format!("Conflicts=led{n}@*.service")));
        desk.write(&format!("follows{n}@.service"), &service(&format!("{spelling}=led{n}@%i.service")));
        desk.ok(&format!("fleetctl start follows{n}@1 follows{n}@2 follows{n}@3 led{n}@1 led{n}@2 led{n}@3"));
        for instance in 1..=3 {
            let led = runs_on(&WORLD, &format!("led{n}@{instance}.service"));
            assert_eq!(runs_on(&WORLD, &format!("follows{n}@{instance}.service")), led);
            assert_eq!(led.len(), 1);
        }
    }
}

/// Promises 20 and 21, and 26 for this option: the whole ID, as the machine and `list-machines -l` say it, or its beginning.
#[test]
fn a_unit_runs_on_the_machine_with_that_id() {
    let desk = WORLD.desk();
    let ids: Vec<String> = WORLD.machines().iter().map(|machine| on(machine, &["cat", "/etc/machine-id"])).collect();
    for flag in ["-l", "--l", "--full"] {
        let listed = desk.ok(&format!("fleetctl list-machines {flag} --no-legend --fields=machine"));
        let listed: Vec<&str> = listed.lines().collect();
        let mut expected = ids.clone();
        expected.sort();
        assert_eq!(listed, expected, "{flag}");
    }
    for (n, spelling) in ["X-ConditionMachineID", "MachineID"].into_iter().enumerate() {
        for (length, machine, name) in [(32, 1, "m2"), (8, 2, "m3")] {
            let unit = format!("pinned{n}-{length}.service");
            desk.write(&unit, &service(&format!("{spelling}={}", &ids[machine][..length])));
            desk.ok(&format!("fleetctl start {unit}"));
            assert_eq!(runs_on(&WORLD, &unit), [name]);
        }
    }
}

/// Promises 22 and 23, and 26 for this option: the metadata that machines join with is shown and holds.
#[test]
fn a_unit_runs_where_the_metadata_is() {
    let desk = WORLD.desk();
    let listed = desk.ok("fleetctl list-machines --no-legend --fields=ip,metadata");
    for (machine, metadata) in WORLD.machines().iter().zip(["disk=ssd,role=web", "disk=hdd,role=web", "-"]) {
        let address = machine.spec().address.to_string();
        let row = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|row| row[0] == address);
        assert_eq!(row, Some(vec![address.as_str(), metadata]), "{listed}");
    }
    for (n, spelling) in ["X-ConditionMachineMetadata", "MachineMetadata"].into_iter().enumerate() {
        let unit = format!("picky{n}.service");
        desk.write(&unit, &service(&format!("{spelling}=role=web\n{spelling}=disk=hdd")));
        desk.ok(&format!("fleetctl start {unit}"));
        assert_eq!(runs_on(&WORLD, &unit), ["m2"]);
    }
}

/// Promise 24.
#[test]
fn a_global_unit_runs_everywhere_it_fits() {
    let desk = WORLD.desk();
    desk.write("everywhere.service", &service("Global=true"));
    desk.write("every-web.service", &service("Global=true\nMachineMetadata=role=web"));
    desk.ok("fleetctl start everywhere.service every-web.service");
    assert_eq!(runs_on(&WORLD, "everywhere.service"), ["m1", "m2", "m3"]);
    assert_eq!(runs_on(&WORLD, "every-web.service"), ["m1", "m2"]);
    for (n, other) in ["MachineOf=everywhere.service", "MachineID=06c45d18", "Replaces=x.service"].iter().enumerate() {
        let unit = format!("global-and{n}.service");
        desk.write(&unit, &service(&format!("Global=true\n{other}")));
        let refused = desk.fails(1, &format!("fleetctl start {unit}"));
        assert!(refused.stderr.contains("Global"), "{refused}");
        desk.fails(4, &format!("fleetctl cat {unit}"));
    }
}

/// Promise 25: four specifiers in `[X-Fleet]`, and no other.
#[test]
fn four_specifiers_are_filled_in() {
    let desk = WORLD.desk();
    for (specifier, value) in [("%n", "of@7.service"), ("%N", "of@7"), ("%p", "of"), ("%i", "7")] {
        // The unit `of@7.service` must run beside a unit whose name is made of the specifier's value.
        let target = format!("spec-{value}.service");
        desk.write(&target, &service("MachineMetadata=disk=hdd"));
        desk.write("of@.service", &service(&format!("MachineOf=spec-{specifier}.service")));
        desk.ok(&format!("fleetctl start '{target}' of@7"));
        assert_eq!(runs_on(&WORLD, "of@7.service"), ["m2"], "{specifier}");
        desk.ok(&format!("fleetctl destroy of@7 '{target}'"));
    }
    desk.write("literal@.service", &service("MachineMetadata=host=%H"));
    let ran = desk.fails(1, "fleetctl start --timeout 1 literal@7");
    assert!(ran.stderr.contains("host=%H"), "{ran}");
}

/// Promise 27, both halves, and how `start` talks meanwhile: it says within a second, per constraint, how many machines
/// refuse the unit, and ends well when one does no longer.
#[test]
fn a_unit_that_fits_nowhere_waits_with_reasons_and_runs_when_it_fits() {
    let world = World::with_metadata(&METADATA);
    let desk = world.desk();
    desk.write("waits.service", &service("MachineMetadata=disk=nvme\nMachineMetadata=role=web"));
    // Another shell makes it fit as soon as the first one has said why it waits.
    let ran = desk.run(
        "set -o pipefail; begun=$(date +%s%3N); \
         fleetctl start waits.service 2>&1 | while IFS= read -r line; do \
             echo \"$(($(date +%s%3N) - begun)) $line\"; \
             case $line in *'no machine can take it'*) fleetctl machine set-metadata 1b39896a disk=nvme;; esac; \
         done",
    );
    assert_eq!(ran.code, 0, "{ran}");
    let said = ran.stdout.lines().find(|line| line.contains("no machine can take it")).expect("the reason");
    let after_ms: u64 = said.split(' ').next().and_then(|word| word.parse().ok()).expect("the time in front");
    assert!(after_ms < 1_000, "said after {after_ms} ms: {said}");
    for part in ["3 machines", "MachineMetadata=disk=nvme", "1 machine", "MachineMetadata=role=web"] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    for finding in ["has disk=ssd", "has disk=hdd", "has no disk", "has no role"] {
        assert!(said.contains(finding), "`{finding}` is not in: {said}");
    }
    assert_eq!(runs_on(&world, "waits.service"), ["m2"]);

    desk.ok("fleetctl machine set-metadata 1b39896a disk=hdd");
    world.wait("waits.service", "taken away again", |unit| unit.placements.is_empty());
    assert_eq!(runs_on(&world, "waits.service"), [""; 0], "no placement breaks a constraint");
    assert_eq!(property(&world.machines()[1], "waits.service", "LoadState"), "not-found");
}
