//! `fleetd` as `packaging/` installs it: a service of the system, with its socket.

use std::collections::BTreeMap;

use crate::field::{Field, FieldSpec, SLEEPER, WAIT_LIMIT, instances};

/// One machine with a store of its own, and units that run on it.
#[track_caller]
fn one_machine(units: &[String]) -> (Field, BTreeMap<(String, String), u32>) {
    let field = FieldSpec { etcd_members: 0, config: String::new(), ..FieldSpec::new(1) }.start();
    field.write("m1", "a@.service", SLEEPER);
    field.ok("m1", &format!("fleetctl start {}", units.join(" ")));
    let running = field.all_running(units);
    assert_eq!(running.len(), units.len(), "{running:?}");
    (field, running)
}

#[test]
fn the_files_are_what_systemd_and_fleetd_understand() {
    let (field, _) = one_machine(&instances("a", 1));
    field.ok(
        "m1",
        "systemd-analyze verify /usr/lib/systemd/system/fleetd.service /usr/lib/systemd/system/fleetd.socket",
    );
    let states = "systemctl is-enabled fleetd.service fleetd.socket; systemctl is-active fleetd.service fleetd.socket";
    assert_eq!(field.ok("m1", states), "enabled\nenabled\nactive\nactive");
    assert_eq!(field.ok("m1", "stat --format='%U %G %a' /run/fleet.sock"), "root root 660");
    assert_eq!(field.ok("m1", "journalctl --quiet --unit=fleetd --priority=warning --no-pager"), "", "no warnings");
    assert_eq!(field.ok("m1", "systemctl --failed --no-legend"), "");
}

#[test]
fn units_outlive_fleetd() {
    let units = instances("a", 5);
    let (field, running) = one_machine(&units);
    let mut next = 6;
    for trouble in [
        "systemctl restart fleetd",
        "systemctl kill --signal=KILL fleetd",
        "systemctl daemon-reexec",
        "systemctl daemon-reload",
        "systemctl restart dbus",
        // Whoever asks next has it started by the socket.
        "systemctl stop fleetd 2>&1",
    ] {
        field.ok("m1", trouble);
        // One that starts proves that fleetd is there again and speaks with systemd.
        field.ok("m1", &format!("fleetctl start a@{next}.service"));
        next += 1;
        assert_eq!(field.all_running(&units), running, "after `{trouble}`\n{}", field.fleetd_log("m1"));
        let listed = field.ok("m1", "fleetctl list-units --no-legend --fields=unit,active");
        assert_eq!(listed.lines().filter(|line| line.ends_with("active")).count(), next - 1, "{listed}");
    }
}

#[test]
fn a_machine_alone_starts_its_units_after_a_power_loss() {
    let units = instances("a", 5);
    let (mut field, _) = one_machine(&units);
    field.machine_mut("m1").kill().expect("off");
    field.machine_mut("m1").boot().expect("on");
    field.wait("all units run again", WAIT_LIMIT, || field.all_running(&units).len() == units.len());
}
