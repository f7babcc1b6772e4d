//! Moving in and out: `export` and `import`, of our own exports, of plain files, of what the original's `fleetctl` prints, and of
//! another cluster through API v1.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::desk::Desk;
use crate::judge::{main_pid, runs_on};
use crate::world::World;

const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// Every kind of unit in every state that it can have.
fn fill(desk: &Desk) {
    desk.write("plain.service", &format!("# A comment.\n{SLEEPS}"));
    desk.write("loaded.service", SLEEPS);
    desk.write("global.service", &format!("{SLEEPS}[X-Fleet]\nGlobal=true\n"));
    desk.write("many@.service", &format!("{SLEEPS}[X-Fleet]\nConflicts=many@*.service\n"));
    desk.write("odd.service", &format!("{SLEEPS}[X-Fleet]\nMachineMetdata=a=b\n"));
    desk.ok("fleetctl submit many@.service && fleetctl submit --lenient odd.service");
    desk.ok("fleetctl load loaded.service");
    desk.ok("fleetctl start plain.service global.service many@1.service many@2.service");
}

/// What is in a folder, by name.
fn bytes(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("our folder"));
    entries
        .map(|entry| (entry.file_name().into_string().expect("a name"), fs::read(entry.path()).expect("a file")))
        .collect()
}

/// An export, everything destroyed, an import, and an export again: the same bytes, and the same cluster.
#[test]
fn there_and_back() {
    let world = World::new(2);
    let desk = world.desk();
    fill(&desk);
    desk.ok("fleetctl export one");
    let one = bytes(&desk.path().join("one"));
    let names: Vec<&str> = one.keys().map(String::as_str).collect();
    let expected =
        ["fleet-units.json", "global.service", "loaded.service", "many@.service", "many@1.service", "many@2.service"];
    assert_eq!(names, [&expected[..], &["odd.service", "plain.service"]].concat());
    assert_eq!(one["plain.service"], format!("# A comment.\n{SLEEPS}").into_bytes(), "with its comments");

    let pid = main_pid(&world, "plain.service");
    let same = desk.run("fleetctl import one");
    assert_eq!((same.code, same.stderr.as_str()), (0, "of 7 units 7 are as wanted already\n"), "{same}");
    assert_eq!(main_pid(&world, "plain.service"), pid, "what is as wanted already is left alone");

    desk.ok("fleetctl destroy '*'");
    let dry = desk.ok("fleetctl import --dry-run one | tr --squeeze-repeats '\\t'");
    assert!(dry.contains("many@1.service\tcreate\tlaunched\t-\n"), "{dry}");
    assert!(dry.contains("odd.service\tcreate\tinactive\tline 4: "), "{dry}");
    assert_eq!(desk.ok("fleetctl list-unit-files --no-legend"), "", "a dry run changes nothing");
    desk.ok("fleetctl import --inactive one");
    let states =
        "fleetctl list-unit-files --no-legend --fields dstate | sort | uniq --count | tr --squeeze-repeats ' '";
    assert_eq!(desk.ok(states), " 7 inactive\n");
    desk.ok("fleetctl import one");
    world.wait_active("plain.service", "active");
    world.wait_active("global.service", "active");
    assert_eq!(runs_on(&world, "global.service").len(), 2);
    desk.ok("fleetctl export two");
    assert_eq!(bytes(&desk.path().join("two")), one);

    // An export over an earlier one follows the cluster, and leaves other files alone.
    desk.write("two/README", "mine");
    desk.ok("fleetctl destroy loaded.service && fleetctl stop plain.service && fleetctl export two");
    let two = bytes(&desk.path().join("two"));
    assert!(!two.contains_key("loaded.service") && two.contains_key("README"), "{:?}", two.keys());
    let refused = desk.fails(1, "mkdir other && touch other/x && fleetctl export other");
    assert!(refused.stderr.contains("`other` holds other files"), "{refused}");
}

/// What cannot be taken is said, and nothing is changed then, unless the rest is asked for.
#[test]
fn what_is_refused() {
    let world = World::new(1);
    let desk = world.desk();
    desk.write("in/good.service", &format!("{SLEEPS}[Install]\nWantedBy=multi-user.target\n"));
    desk.write("in/clash.service", SLEEPS);
    desk.write("in/old.busname", SLEEPS);
    desk.write("in/.hidden.service", "no unit at all");
    desk.write("clash.service", "[Service]\nExecStart=/bin/true\n");
    desk.ok("fleetctl submit clash.service");
    let refused = desk.fails(1, "fleetctl import in | tr --squeeze-repeats '\\t'; exit ${PIPESTATUS[0]}");
    assert!(
        refused.stdout.contains("clash.service\trefuse\t-\tthe cluster has another file of that name"),
        "{refused}"
    );
    assert!(refused.stdout.contains("good.service\tcreate\tinactive\t[Install] has no effect"), "{refused}");
    assert!(refused.stderr.contains("2 of 3 units cannot be imported, so nothing is changed"), "{refused}");
    assert_eq!(desk.ok("fleetctl list-unit-files --no-legend --fields unit"), "clash.service\n");
    let rest = desk.fails(1, "fleetctl import --skip-refused --replace in");
    assert_eq!(rest.stderr, "of 3 units 1 were created, 1 were replaced, 1 were left out\n");
    assert_eq!(desk.ok("fleetctl cat clash.service"), SLEEPS);
    let json = desk.fails(1, "fleetctl import -o json in");
    let shown: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(shown["carried_out"], false);
    let actions: Vec<_> = shown["units"].as_array().expect("a list").iter().map(|unit| &unit["action"]).collect();
    assert_eq!(actions, ["none", "none", "refuse"]);
    desk.fails(2, "fleetctl import");
    desk.fails(2, "fleetctl import in --from unix:///x");
    desk.fails(1, "fleetctl import nowhere");
}

/// From one cluster to another, by a dump and through API v1.
#[test]
fn from_another_cluster() {
    let (old, new) = (World::new(2), World::new(2));
    let (there, here) = (old.desk(), new.desk());
    fill(&there);
    there.ok("fleetctl export state && rm state/plain.service");
    let states = "fleetctl list-unit-files --no-legend --full --fields unit,hash,dstate";
    let expected = there.ok(states);

    let dump = "fleetctl list-unit-files > dump; \
                for unit in $(fleetctl list-unit-files --no-legend --fields unit); do fleetctl cat --canonical $unit; done >> dump";
    there.ok(dump);
    let dump = there.path().join("dump");
    here.ok(&format!("fleetctl import {}", dump.display()));
    assert_eq!(here.ok(states), expected);
    new.wait_active("plain.service", "active");

    here.ok("fleetctl destroy '*'");
    here.ok(&format!("fleetctl import --from {}", old.endpoint()));
    assert_eq!(here.ok(states), expected);
    assert_eq!(here.ok(&format!("fleetctl import --from {} -o json | grep --count '\"none\"'", old.endpoint())), "7\n");
    here.fails(1, "fleetctl import --from unix:///nowhere.sock");
}
