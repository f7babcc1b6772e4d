//! What `.ci/run` runs, so that machines cannot rot: three are booted; a start, a power loss, a partition.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::field::{AGENT_TTL, Field, FieldSpec, SLEEPER, WAIT_LIMIT, instances};
use crate::samples::Sampler;

/// How long units may take to run elsewhere once their machine counts as lost.
pub const ELSEWHERE: Duration = Duration::from_secs(2);

/// How long a lost machine may come back before its units are placed elsewhere: the engine's default.
pub const GRACE: Duration = Duration::from_secs(10);

/// Three machines and six units, two on each.
#[track_caller]
fn three_machines() -> (Field, Vec<String>, BTreeMap<(String, String), u32>) {
    let field = FieldSpec::new(3).start();
    let units = instances("a", 6);
    field.write("m1", "a@.service", SLEEPER);
    field.ok("m1", &format!("fleetctl start {}", units.join(" ")));
    let running = field.all_running(&units);
    for machine in ["m1", "m2", "m3"] {
        assert_eq!(on(&running, machine).len(), 2, "spread evenly: {running:?}");
    }
    (field, units, running)
}

/// Those that run on that machine.
fn on(running: &BTreeMap<(String, String), u32>, machine: &str) -> BTreeMap<(String, String), u32> {
    running.iter().filter(|((_, on), _)| on == machine).map(|(key, pid)| (key.clone(), *pid)).collect()
}

#[test]
fn a_unit_starts() {
    let field = FieldSpec::new(3).start();
    let addresses = field.ok("m2", "fleetctl list-machines --no-legend --full --fields=ip");
    let mut addresses: Vec<&str> = addresses.lines().collect();
    addresses.sort_unstable();
    assert_eq!(addresses, ["10.77.0.11", "10.77.0.12", "10.77.0.13"]);
    field.write("m2", "hello.service", SLEEPER);
    field.ok("m2", "fleetctl start hello.service");
    // Wherever it runs, each machine knows.
    let machine = field.machine_of("hello.service");
    let address = field.machine(&machine).spec().address.to_string();
    for from in ["m1", "m2", "m3"] {
        let listed = field.ok(from, "fleetctl list-units --no-legend --full --fields=unit,machine,active");
        assert!(listed.contains(&address) && listed.ends_with("active"), "{from}: {listed}");
    }
}

/// With the sshd that Debian ships and root's own `~/.ssh`: from `m1` to the machine of a unit, and through a gateway.
#[test]
fn people_reach_machines_by_ssh() {
    let field = FieldSpec::new(2).start();
    field.ok("m1", "mkdir -p .ssh && ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519");
    let key = field.ok("m1", "cat .ssh/id_ed25519.pub");
    for machine in ["m1", "m2"] {
        field.write(machine, ".ssh/authorized_keys", &format!("{key}\n"));
        field.ok(machine, "systemctl start ssh");
    }
    let id = field.ok("m2", "cat /etc/machine-id");
    field.write("m1", "there.service", &format!("{SLEEPER}[X-Fleet]\nMachineID={id}\n"));
    field.ok("m1", "fleetctl start there");

    let unknown = field.run("m1", "fleetctl ssh there hostname");
    assert_eq!(unknown.code, 255, "{unknown}");
    assert!(unknown.stderr.contains("Host key verification failed."), "{unknown}");
    assert_eq!(field.ok("m1", "fleetctl --strict-host-key-checking=accept-new ssh there hostname"), "m2");
    for target in ["there", &id[..8], "-m 10.77.0.12"] {
        assert_eq!(field.ok("m1", &format!("fleetctl ssh {target} hostname")), "m2");
    }
    assert_eq!(field.run("m1", "fleetctl ssh there exit 7").code, 7);
    let listed = field.ok(
        "m1",
        "eval $(ssh-agent) >/dev/null; ssh-add -q; fleetctl ssh -A there ssh-add -l; ssh-agent -k >/dev/null",
    );
    assert!(listed.contains("(ED25519)"), "{listed}");

    // The fleetd of `m2` is asked at its own socket, and a machine behind it is reached from there: here `m1` itself.
    let tunnel = "--tunnel 10.77.0.12 --strict-host-key-checking=accept-new";
    assert_eq!(
        field.ok("m1", &format!("fleetctl {tunnel} list-units --no-legend --fields=unit,active")),
        "there.service\tactive"
    );
    assert_eq!(field.ok("m1", &format!("fleetctl {tunnel} ssh -m 10.77.0.11 hostname")), "m1");
    assert!(
        field.ok("m1", &format!("timeout 20 fleetctl {tunnel} journal -f there | head -n 1")).contains("there.service")
    );
    field.ok("m1", &format!("fleetctl {tunnel} stop there"));

    field.ok("m2", "rm .ssh/authorized_keys");
    let stranger = field.run("m1", "fleetctl ssh -m 10.77.0.12 hostname");
    assert_eq!(stranger.code, 255, "{stranger}");
    assert!(stranger.stderr.contains("Permission denied (publickey"), "{stranger}");
}

/// On a whole machine, with the systemd that is its PID 1, by a user that systemd has made up; from another machine.
#[test]
fn commands_run_beside_units_on_other_machines() {
    let mut spec = FieldSpec::new(2);
    spec.config += "listen = 0.0.0.0:49153\n";
    let mut field = spec.start();
    let id = field.ok("m2", "cat /etc/machine-id");
    let settings = "DynamicUser=yes\nStateDirectory=made-up\nStateDirectoryMode=0700\nRuntimeDirectory=made-up\nPrivateNetwork=yes";
    let start = "ExecStart=/bin/sh -c 'echo unit > /tmp/kept; echo unit > $STATE_DIRECTORY/kept; exec sleep infinity'";
    field.write("m1", "made-up.service", &format!("[Service]\n{settings}\n{start}\n[X-Fleet]\nMachineID={id}\n"));
    field.ok("m1", "fleetctl start made-up");
    field.wait("the unit has written", WAIT_LIMIT, || {
        field.run("m1", "fleetctl exec made-up -- sh -c 'test -s $STATE_DIRECTORY/kept'").code == 0
    });
    // The machines have no nss-systemd, so such a user has only a number.
    let pid = field.running("made-up.service")["m2"];
    let (user, network) = (format!("stat -c %u /proc/{pid}"), format!("readlink /proc/{pid}/ns/net"));
    let (user, network) = (field.ok("m2", &user), field.ok("m2", &network));
    assert_ne!(user, "0");
    let said = "id -u; hostname; cat /tmp/kept $STATE_DIRECTORY/kept; stat -Lc %a $STATE_DIRECTORY; echo beside > $RUNTIME_DIRECTORY/kept; readlink /proc/self/ns/net; exit 7";
    let expected = format!("{user}\nm2\nunit\nunit\n700\n{network}\n");
    for _ in 0..2 {
        let ran = field.run("m1", &format!("fleetctl exec made-up -- sh -c '{said}'"));
        assert_eq!((ran.code, ran.stdout.as_str()), (7, expected.as_str()), "{ran}");
    }
    assert_eq!(field.ok("m2", "cat /run/private/made-up/kept"), "beside");

    // The network between the client and the command loses everything, in silence.
    let begin = "fleetctl exec made-up -- sh -c 'echo begun; exec sleep 4711' > out 2> err; echo $? > code";
    field.ok("m1", &format!("({begin}) > /dev/null 2>&1 &"));
    field.wait("it has begun", WAIT_LIMIT, || field.run("m1", "grep begun out").code == 0);
    assert_eq!(field.run("m2", "pgrep -f 'sleep 471[1]'").code, 0);
    field.lab.partition(&[&["m2"]]).expect("cut off");
    field.wait("the client hears of it", WAIT_LIMIT, || field.run("m1", "test -s code").code == 0);
    assert_eq!(field.ok("m1", "cat code"), "125");
    assert!(field.ok("m1", "cat err").contains("lost the command beside made-up.service"));
    field.wait("the command is stopped", WAIT_LIMIT, || field.run("m2", "pgrep -f 'sleep 471[1]'").code == 1);
    assert_eq!(field.running("made-up.service").get("m2"), Some(&pid), "its unit goes on");
}

#[test]
fn a_machine_loses_its_power() {
    let (mut field, units, before) = three_machines();
    let begun = Instant::now();
    field.machine_mut("m3").kill().expect("off");
    field.wait("all units run on the two others", WAIT_LIMIT, || field.all_running(&units).len() == units.len());
    let took = begun.elapsed();
    assert!(took <= AGENT_TTL + GRACE + ELSEWHERE, "after {took:?}: {}", field.fleetd_log("m1"));
    for survivor in ["m1", "m2"] {
        let kept = on(&before, survivor);
        let now = on(&field.all_running(&units), survivor);
        assert!(kept.iter().all(|unit| now.get(unit.0) == Some(unit.1)), "{survivor}: {kept:?}, now {now:?}");
    }
    // It comes back without anything of its own, and nothing runs twice.
    field.machine_mut("m3").boot().expect("on");
    field.wait("m3 is listed again", WAIT_LIMIT, || {
        field.ok("m3", "fleetctl list-machines --no-legend").lines().count() == 3
    });
    assert_eq!(field.all_running(&units).len(), units.len());
}

#[test]
fn a_machine_is_cut_off_and_comes_back() {
    let (mut field, units, before) = three_machines();
    let lost = on(&before, "m3");
    let sampler = Sampler::start(&field, &units);
    field.lab.partition(&[&["m3"]]).expect("cut off");
    field.wait("its units run elsewhere", WAIT_LIMIT, || {
        let now = field.all_running(&units);
        lost.keys().all(|(unit, _)| now.keys().any(|(other, on)| other == unit && on != "m3"))
    });
    assert_eq!(on(&field.all_running(&units), "m3"), lost, "nobody told it to stop anything");
    field.lab.heal().expect("healed");
    field.wait("each unit runs once", WAIT_LIMIT, || field.all_running(&units).len() == units.len());
    let samples = sampler.stop();
    for unit in &units {
        samples.check_always_runs(unit, Duration::from_secs(3));
    }
    for survivor in ["m1", "m2"] {
        let now = on(&field.all_running(&units), survivor);
        assert!(on(&before, survivor).iter().all(|unit| now.get(unit.0) == Some(unit.1)), "{survivor}: {now:?}");
    }
}
