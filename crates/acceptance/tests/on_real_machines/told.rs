//! What the systemd of a unit's machine is asked and told through the API: `show`, `kill`, `reload`, `reset-failed`, `status -n`.

use std::sync::LazyLock;

use crate::judge::{PRINTS, machine_of, printed, property};
use crate::world::{World, eventually};

static WORLD: LazyLock<World> = LazyLock::new(|| World::new(2));

/// A unit that is started once it listens to signals, and says which came.
const LISTENS: &str = "\
[Service]
ExecStart=/bin/sh -c 'trap \"echo was told HUP\" HUP; trap \"echo was told USR1\" USR1; touch /run/%n.listens; while :; do sleep 0.05; done'
ExecStartPost=/bin/sh -c 'until test -e /run/%n.listens; do sleep 0.01; done'
ExecReload=/bin/kill -USR1 $MAINPID
";

#[test]
fn signals_reloads_and_failures_that_are_forgotten() {
    let desk = WORLD.desk();
    desk.write("told.service", &format!("{LISTENS}{PRINTS}\n"));
    desk.ok("fleetctl start told");
    let machine = machine_of(&WORLD, "told.service");
    let heard = |line: &str| {
        eventually(line, || printed(machine, "told.service").iter().any(|one| one == line).then_some(()));
    };

    let said = desk.ok("fleetctl kill -s hup --kill-whom main told");
    assert!(said.starts_with("Unit told.service was sent SIGHUP on "), "{said}");
    heard("was told HUP");
    let said = desk.ok("fleetctl reload 'tol*'");
    assert!(said.starts_with("Unit told.service reloaded on "), "{said}");
    heard("was told USR1");
    let ran = desk.fails(1, "fleetctl kill -s NONSENSE told");
    assert!(ran.stderr.contains("Failed to parse signal string"), "{}", ran.stderr);

    assert_eq!(desk.ok("fleetctl kill -q -s KILL told"), "");
    eventually("the unit has failed", || desk.run("fleetctl is-failed -q told").code.eq(&0).then_some(()));
    assert_eq!(property(machine, "told.service", "Result"), "signal");
    assert!(desk.ok("fleetctl reset-failed").contains("Unit told.service reset on "));
    eventually("the failure is forgotten", || desk.run("fleetctl is-failed -q told").code.eq(&1).then_some(()));
    assert_eq!(property(machine, "told.service", "ActiveState"), "inactive");
    // Nobody has asked for a start since, and a forgotten failure is none to be asked for.
    assert_eq!(desk.ok("fleetctl show -p ActiveState --value told"), "inactive\n");
    desk.ok("fleetctl start told");
    assert_eq!(property(machine, "told.service", "ActiveState"), "active");

    desk.write("deaf.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    desk.ok("fleetctl start deaf");
    let ran = desk.fails(1, "fleetctl reload deaf");
    assert!(ran.stderr.contains("Job type reload is not applicable for unit deaf.service"), "{}", ran.stderr);
}

#[test]
fn properties() {
    let desk = WORLD.desk();
    desk.write("shown.service", "[Unit]\nDescription=Shown %i\n[Service]\nExecStart=/bin/sleep infinity\n");
    desk.write("everywhere.service", "[Service]\nExecStart=/bin/sleep infinity\n[X-Fleet]\nGlobal=true\n");
    desk.ok("fleetctl start shown everywhere");
    let machine = machine_of(&WORLD, "shown.service");
    let pid = property(machine, "shown.service", "MainPID");
    assert_eq!(desk.ok("fleetctl show -p MainPID,Id shown"), format!("MainPID={pid}\nId=shown.service\n"));
    assert_eq!(desk.ok("fleetctl show -p MainPID -p ActiveState --value shown"), format!("{pid}\nactive\n"));
    assert!(desk.ok("fleetctl show shown").lines().any(|line| line == format!("MainPID={pid}")));
    assert_eq!(desk.ok("fleetctl show -p ActiveState everywhere"), "ActiveState=active\n\nActiveState=active\n");
    let json: serde_json::Value =
        serde_json::from_str(&desk.ok("fleetctl show -p MainPID -o json shown")).expect("JSON");
    assert_eq!(json[0]["properties"]["MainPID"], pid);

    desk.fails(4, "fleetctl show absent");
    desk.ok("fleetctl unload shown");
    let ran = desk.fails(3, "fleetctl show -p MainPID shown");
    assert!(ran.stderr.contains("Unit shown.service does not appear to be on any machine."), "{}", ran.stderr);
    desk.fails(3, "fleetctl kill shown");
}

#[test]
fn lines_of_a_status() {
    let desk = WORLD.desk();
    // It begins to print a little later: systemctl leaves out what was printed before systemd has noted that the unit runs, which can be
    // some milliseconds after the fork. And it goes on: of a process that has ended journald may not know any more whose it was.
    let prints = "sleep 0.2; for n in 1 2 3 4 5 6 7 8 9; do echo line $$n; done; exec sleep infinity";
    desk.write("lines.service", &format!("[Service]\nExecStart=/bin/sh -c '{prints}'\n"));
    desk.ok("fleetctl start lines");
    eventually("the last line is in the journal", || {
        desk.ok("fleetctl journal -n all -o cat lines").contains("line 9").then_some(())
    });
    let n_lines = |n: &str| {
        let ran = desk.run(&format!("fleetctl status -n {n} lines"));
        ran.stdout.lines().filter(|line| line.contains("]: ")).count()
    };
    assert_eq!(
        [n_lines("0"), n_lines("3"), n_lines("500")],
        [0, 3, 10],
        "nine lines, and systemd's word that it is started"
    );
}
