//! Trouble in `fleetd` stops nothing.

use std::time::Duration;

use super::{check_untouched, check_works, start};
use crate::field::{AGENT_TTL, Field, FieldSpec, SLEEPER, WAIT_LIMIT, instances};

#[test]
fn it_is_killed_again_and_again() {
    let field = FieldSpec::new(3).start();
    let units = instances("a", 50);
    let before = start(&field, "a", &units, "");
    let mut random: u64 = 1;
    for round in 1..=50 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let machine = ["m1", "m2", "m3"][usize::try_from(random % 3).expect("small")];
        // systemd starts it again after a second. The moment is anywhere between that start and long after it.
        field.ok(machine, "systemctl kill --signal=KILL fleetd");
        std::thread::sleep(Duration::from_millis(random >> 32 & 0x7ff));
        check_untouched(&field, &units, &before, &format!("kill {round}, on {machine}"));
    }
    for machine in ["m1", "m2", "m3"] {
        check_works(&field, machine, &format!("after-the-kills-{machine}.service"));
    }
    check_untouched(&field, &units, &before, "all kills");
}

/// The machine whose `fleetd` said last that its engine leads.
fn leader(field: &Field) -> Option<String> {
    let said = "journalctl --unit=fleetd --output=short-unix --no-pager --grep='this engine leads' --lines=1 --quiet";
    let on = field.lab.machines().iter().map(|machine| machine.spec().name.clone());
    let times = on.filter_map(|name| {
        let line = field.run(&name, said).stdout;
        Some((line.split_whitespace().next()?.parse::<f64>().ok()?, name))
    });
    times.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

#[test]
fn a_leader_that_was_frozen_writes_nothing() {
    const FROST: Duration = Duration::from_secs(60);
    // Engines on m1 and m2, units on m3 and m4: frozen is the engine, and not who runs units.
    let mut spec = FieldSpec::new(4);
    for machine in &mut spec.machines[2..] {
        machine.metadata.insert("role".to_owned(), "worker".to_owned());
    }
    let mut lab = spec.prepare();
    for worker in ["m3", "m4"] {
        let path = lab.machine(worker).expect("one of these").disk().join("etc/fleet/fleet.conf");
        let conf = std::fs::read_to_string(&path).expect("it was written");
        std::fs::write(&path, conf + "disable_engine = true\n").expect("the machine's disk");
    }
    lab.boot_all().expect("they boot");
    let field = spec.wait_for(lab, 4);
    let units = instances("a", 30);
    let before = start(&field, "a", &units, "MachineMetadata=role=worker\n");

    let old = leader(&field).expect("one leads");
    assert!(["m1", "m2"].contains(&old.as_str()), "{old} has no engine");
    let other = if old == "m1" { "m2" } else { "m1" };
    field.ok(&old, "systemctl kill --signal=STOP fleetd");
    field.wait("another engine leads", AGENT_TTL * 3 + WAIT_LIMIT, || leader(&field).as_deref() == Some(other));
    // The new one changes what the old one knows.
    field.ok(other, "fleetctl destroy a@1.service a@2.service");
    field.write(other, "a@.service", &format!("{SLEEPER}\n[X-Fleet]\nMachineMetadata=role=worker\n"));
    field.ok(other, "fleetctl start a@1.service");
    let units = &units[2..];
    let before: super::Running = before.into_iter().filter(|((unit, _), _)| units.contains(unit)).collect();
    let newest = field.all_running(&["a@1.service".to_owned()]);
    std::thread::sleep(FROST);
    check_untouched(&field, units, &before, "the leader was frozen");

    field.ok(&old, "systemctl kill --signal=CONT fleetd");
    field.wait("all machines are listed", WAIT_LIMIT, || {
        field.run(&old, "fleetctl list-machines --no-legend").stdout.lines().count() == 4
    });
    check_works(&field, &old, "after-the-frost.service");
    check_untouched(&field, units, &before, "the old leader was thawed");
    assert_eq!(field.all_running(&["a@1.service".to_owned()]), newest);
    assert_eq!(field.running("a@2.service").len(), 0, "it was destroyed while the old leader was frozen");
    assert_eq!(leader(&field).as_deref(), Some(other), "who leads goes on leading");
}

/// With `leave_on_stop`: what may run elsewhere does before it is stopped here, and nobody waits for a lost machine.
#[test]
fn a_machine_leaves_when_it_is_told_to() {
    let mut spec = FieldSpec::new(3);
    spec.config += "leave_on_stop = true\n";
    spec.machines[0].metadata.insert("only".to_owned(), "here".to_owned());
    let field = spec.start();
    let keep = instances("a", 9);
    let once = instances("b", 6);
    start(&field, "a", &keep, "");
    start(&field, "b", &once, "WhenIsolated=stop\n");
    field.write("m1", "pinned.service", &format!("{SLEEPER}\n[X-Fleet]\nMachineMetadata=only=here\n"));
    field.write("m1", "everywhere.service", &format!("{SLEEPER}\n[X-Fleet]\nGlobal=true\n"));
    field.ok("m1", "fleetctl start pinned.service everywhere.service");
    assert_eq!(field.running("everywhere.service").len(), 3);

    let all: Vec<String> = keep.iter().chain(&once).cloned().collect();
    let copies = |running: &super::Running, unit: &String| running.keys().filter(|(name, _)| name == unit).count();
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| field.ok("m1", "systemctl stop fleetd"));
        while !stopping.is_finished() {
            let running = field.all_running(&all);
            let lost: Vec<_> = keep.iter().filter(|unit| copies(&running, unit) == 0).collect();
            let twice: Vec<_> = once.iter().filter(|unit| 1 < copies(&running, unit)).collect();
            assert!(lost.is_empty() && twice.is_empty(), "no copy of {lost:?}, two of {twice:?}");
        }
    });
    let running = field.all_running(&all);
    for unit in &all {
        assert_eq!(copies(&running, unit), 1, "{unit}: {running:?}");
    }
    assert!(!running.keys().any(|(_, machine)| machine == "m1"), "something was left behind: {running:?}");
    assert_eq!(field.running("pinned.service").len() + field.running("everywhere.service").len(), 2);
    let listed = field.ok("m2", "fleetctl list-machines --no-legend --fields=ip");
    let address = field.machine("m1").spec().address.to_string();
    assert!(!listed.lines().any(|ip| ip == address), "{listed}");

    // Back again it is a machine like any other, and gets what only it can run.
    field.ok("m1", "systemctl start fleetd");
    field.wait("its own units run again", WAIT_LIMIT, || {
        field.running("pinned.service").len() == 1 && field.running("everywhere.service").len() == 3
    });
    check_works(&field, "m1", "after-the-return.service");
}
