//! What a cluster promises when etcd, a `fleetd`, a machine or the network fails. These take minutes each: they wait for
//! longer than leases live.

mod etcd;
mod fleetd;
mod follow;
mod machines;
mod proxy;
mod scale;

use std::collections::BTreeMap;

use crate::field::{Field, SLEEPER};

/// Main processes by unit and machine.
type Running = BTreeMap<(String, String), u32>;

/// Starts units that run until they are stopped, from a template on `m1`.
#[track_caller]
fn start(field: &Field, name: &str, units: &[String], fleet_section: &str) -> Running {
    field.write("m1", &format!("{name}@.service"), &format!("{SLEEPER}\n[X-Fleet]\n{fleet_section}"));
    // Some hundred names on one line; the shell's limit is far away.
    field.ok("m1", &format!("fleetctl start {}", units.join(" ")));
    let running = field.all_running(units);
    assert_eq!(running.len(), units.len(), "each runs once: {running:?}");
    running
}

/// Fails unless exactly the same processes run as before, where they did.
#[track_caller]
fn check_untouched(field: &Field, units: &[String], before: &Running, after_what: &str) {
    let now = field.all_running(units);
    let changed: Vec<_> = before.iter().filter(|(key, pid)| now.get(key) != Some(pid)).collect();
    let more: Vec<_> = now.keys().filter(|key| !before.contains_key(key)).collect();
    assert!(changed.is_empty() && more.is_empty(), "after {after_what}: no longer so {changed:?}, new {more:?}");
}

/// Waits until a change goes through the whole cluster: a unit starts that was not there.
#[track_caller]
fn check_works(field: &Field, machine: &str, unit: &str) {
    field.write(machine, unit, SLEEPER);
    field.ok(machine, &format!("fleetctl start {unit}"));
    assert_eq!(field.running(unit).len(), 1, "{unit} runs once");
}
