//! API v2 as a client meets it on real machines: the example of `fleet-api`, and what fleetctl makes of explanations and plans.

use crate::world::{World, block_on};

/// The example that the documentation of `fleet-api` leads to, as it stands there.
#[expect(dead_code, reason = "its `main` is for people; here its work is called")]
#[path = "../../../fleet-api/examples/start_and_follow.rs"]
mod example;

#[test]
fn the_example_of_fleet_api_runs() {
    let world = World::new(1);
    let endpoint = world.endpoint().parse().expect("an endpoint");
    let told = block_on(example::start_and_follow(endpoint)).expect("it works");
    let machine = world.machines()[0].spec().id.clone();
    let [placed, active, why, counts, gone] = &told[..] else { panic!("other lines: {told:?}") };
    assert_eq!(placed, &format!("placed on {machine}"));
    assert!(active.starts_with(&format!("active on {machine}, generation ")), "{active}");
    assert_eq!(why, &format!("example-of-fleet-api.service is placed on {machine}"));
    assert_eq!((counts.as_str(), gone.as_str()), ("1 of 1 machines are there", "Destroyed"));
}

#[test]
fn what_would_be_is_what_comes() {
    let world = World::with_metadata(&["disk=ssd", ""]);
    let desk = world.desk();
    let unit = |more: &str| format!("[Service]\nExecStart=/bin/sleep 1000\n[X-Fleet]\n{more}\n");
    desk.write("a.service", &unit("MachineMetadata=disk=ssd"));
    desk.write("b.service", &unit("MachineMetadata=disk=tape"));
    let said = desk.ok("fleetctl start --dry-run a.service b.service");
    assert!(said.contains("a.service would be placed on "), "{said}");
    assert!(said.contains("b.service would wait: "), "{said}");
    assert_eq!(desk.ok("fleetctl list-unit-files --no-legend").trim(), "", "nothing was written");
    desk.ok("fleetctl start a.service");
    let why = desk.ok("fleetctl explain a.service");
    assert!(
        why.contains("a.service is placed on ") && why.contains("has it") && why.contains("lacks disk=ssd"),
        "{why}"
    );
    let machine = &world.machines()[0].spec().id;
    let ran = desk.fails(1, &format!("fleetctl machine drain --dry-run {machine}"));
    assert!(ran.stdout.contains("a.service would stay on "), "{ran}");
    assert!(desk.ok("fleetctl list-units --no-legend").contains("a.service"), "it runs on");
}
