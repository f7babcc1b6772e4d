//! Promises 1 to 15: what may stand in a unit file, and that systemd gets it as it was written.
//!
//! One machine is enough here. The tests share it and use unit names of their own.

use std::sync::LazyLock;

use fleet_dev::Machine;

use crate::judge::{PRINTS, is_alive, main_pid, on, printed, property, runs_on};
use crate::world::World;

static WORLD: LazyLock<World> = LazyLock::new(|| World::new(1));

fn machine() -> &'static Machine {
    &WORLD.machines()[0]
}

/// Promise 1: the seven types are accepted and keep their type; those that can run without hardware do.
#[test]
fn every_type_of_unit_keeps_its_type() {
    let desk = WORLD.desk();
    let run = machine().run_directory();
    std::fs::create_dir(run.join("types-mount")).expect("the machine's own folder");
    let files = [
        ("types.service", "[Service]\nExecStart=/bin/sleep infinity\n"),
        ("types.socket", "[Socket]\nListenStream=/run/types.sock\n"),
        ("types.timer", "[Timer]\nOnActiveSec=1h\n"),
        ("types.path", "[Path]\nPathExists=/run/types-never\n"),
        ("run-types\\x2dmount.mount", "[Mount]\nWhat=tmpfs\nWhere=/run/types-mount\nType=tmpfs\n"),
        ("run-types\\x2dmount.automount", "[Automount]\nWhere=/run/types-mount\n"),
        ("dev-types.device", "[Unit]\nDescription=A device\n"),
    ];
    for (name, text) in files {
        desk.write(name, text);
        let stdout = desk.ok(&format!("fleetctl submit '{name}'"));
        assert_eq!(stdout, format!("Unit {name} inactive\n"));
    }
    let listed = desk.ok("fleetctl list-unit-files --no-legend --fields=unit");
    for (name, _) in files {
        assert!(listed.lines().any(|line| line == name), "{name} is not in\n{listed}");
    }

    // systemd opens no socket for a service that it does not know, or that runs already.
    desk.ok("fleetctl load types.service");
    for (name, sub) in [
        ("types.socket", "listening"),
        ("types.timer", "waiting"),
        ("types.path", "waiting"),
        ("types.service", "running"),
    ] {
        desk.ok(&format!("fleetctl start {name}"));
        assert_eq!(property(machine(), name, "ActiveState"), "active", "{name}");
        assert_eq!(property(machine(), name, "SubState"), sub, "{name}");
    }
    desk.ok(r"fleetctl load 'run-types\x2dmount.mount' 'run-types\x2dmount.automount' dev-types.device");
    for name in [r"run-types\x2dmount.mount", r"run-types\x2dmount.automount"] {
        assert_eq!(property(machine(), name, "LoadState"), "loaded", "{name}");
    }
}

/// Promise 2: systemd gets all sections but `[X-Fleet]` with the same options in the same order, and has no complaint.
#[test]
fn systemd_gets_the_options_in_order() {
    let desk = WORLD.desk();
    let text = "[Unit]\nDescription=Has options in order\nDocumentation=man:a(1)\nDocumentation=man:b(2)\n\n\
        [Service]\nEnvironment=A=1\nEnvironment=B=2\nExecStartPre=/bin/true one\nExecStartPre=/bin/true two\n\
        ExecStart=/bin/sleep infinity\n\n[X-Fleet]\nX-Conflicts=order-nobody.service\n";
    desk.write("order.service", text);
    desk.ok("fleetctl start order.service");
    let options = |text: &str| -> Vec<String> {
        let mut section = "";
        let mut found = Vec::new();
        for line in text.lines() {
            if line.starts_with('[') {
                section = line;
            } else if line.contains('=') && !line.starts_with('#') && section != "[X-Fleet]" {
                found.push(format!("{section} {line}"));
            }
        }
        found
    };
    let on_machine = on(machine(), &["systemctl", "--user", "cat", "order.service"]);
    let mut given = options(&on_machine);
    // fleet adds one option: units are spread over slices.
    given.retain(|option| !option.starts_with("[Service] Slice="));
    assert_eq!(given, options(text), "{on_machine}");
    assert_eq!(property(machine(), "order.service", "Environment"), "A=1 B=2");
    // Complaints begin with the file and the line: `/.../order.service:7: Unknown key`.
    on(machine(), &["journalctl", "--sync"]);
    let said = on(machine(), &["journalctl", "--quiet", "--no-pager", "--output=cat"]);
    let complaints: Vec<&str> = said.lines().filter(|line| line.contains("/order.service:")).collect();
    assert_eq!(complaints, [""; 0]);
}

/// Promise 3: names in another case are not taken for the real ones. They are refused, since nobody means them; with
/// `--lenient`, which is for old files, they stay without meaning.
#[test]
fn names_in_another_case_are_not_the_real_ones() {
    let desk = WORLD.desk();
    let rows = [
        ("case-section.service", "[x-fleet]\nMachineID=00000000000000000000000000000000\n", "X-Fleet"),
        ("case-option.service", "[X-Fleet]\nmachineid=00000000000000000000000000000000\n", "MachineID"),
    ];
    for (name, section, right) in rows {
        desk.write(name, &format!("[Service]\nExecStart=/bin/sleep infinity\n{section}"));
        let refused = desk.fails(1, &format!("fleetctl start {name}"));
        assert!(refused.stderr.contains(&format!("{name}:")), "names the file and line: {refused}");
        assert!(refused.stderr.contains(right), "says the right spelling: {refused}");
        desk.fails(4, &format!("fleetctl status {name}"));
        // No machine has that ID; it runs because the option means nothing.
        let lenient = desk.run(&format!("fleetctl start --lenient {name}"));
        assert_eq!(lenient.code, 0, "{lenient}");
        assert!(lenient.stderr.contains("WARNING"), "{lenient}");
        assert_eq!(runs_on(&WORLD, name), ["m1"]);
    }
}

/// Promise 4.
#[test]
fn comments_and_blank_lines_are_harmless() {
    let desk = WORLD.desk();
    let text = "# First\n\n[Unit]\n## Second\nDescription=With comments\n\n; third\n[Service]\n\n# Fourth\n\
        ExecStart=/bin/sleep infinity\n# Last\n";
    desk.write("comments.service", text);
    desk.ok("fleetctl start comments.service");
    assert_eq!(property(machine(), "comments.service", "Description"), "With comments");
    assert_eq!(desk.ok("fleetctl cat comments.service"), text, "they are kept");
}

/// Promise 5.
#[test]
fn a_continued_line_is_one_command() {
    let desk = WORLD.desk();
    desk.write(
        "continued.service",
        "[Service]\nStandardOutput=append:/run/printed.%n\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/bash -c '\\\n  for word in one \\\n    two; do \\\n\
         \x20   echo \\'{\"word\": \"\\'$word\\'\"}\\'; \\\n  done'\n",
    );
    desk.ok("fleetctl start continued.service");
    assert_eq!(printed(machine(), "continued.service"), [r#"{"word": "one"}"#, r#"{"word": "two"}"#]);
}

/// Promise 6.
#[test]
fn every_repeated_line_counts() {
    let desk = WORLD.desk();
    let dependencies = ["repeated-1.service", "repeated-2.service", "repeated-3.service"];
    let mut text = "[Unit]\n".to_owned();
    for name in dependencies {
        desk.write(name, "[Service]\nExecStart=/bin/sleep infinity\n");
        text += &format!("Requires={name}\nAfter={name}\n");
    }
    desk.write("repeated.service", &format!("{text}[Service]\nExecStart=/bin/sleep infinity\n"));
    desk.ok("fleetctl load repeated-1 repeated-2 repeated-3 repeated");
    desk.ok("fleetctl start repeated");
    for kind in ["Requires", "After"] {
        let all = property(machine(), "repeated.service", kind);
        for name in dependencies {
            assert!(all.split(' ').any(|word| word == name), "{kind}={all} lacks {name}");
            assert_eq!(runs_on(&WORLD, name), ["m1"], "systemd has started what is required");
        }
    }
}

/// Promise 7: both halves.
#[test]
fn requires_is_hard_and_wants_is_not() {
    let desk = WORLD.desk();
    for (kind, code) in [("Requires", 1), ("Wants", 0)] {
        let name = format!("hard-{kind}.service");
        let text = format!("[Unit]\n{kind}=hard-missing.service\nAfter=hard-missing.service\n");
        desk.write(&name, &format!("{text}[Service]\nExecStart=/bin/sleep infinity\n"));
        let ran = desk.fails(code, &format!("fleetctl start {name}"));
        if kind == "Requires" {
            assert!(ran.stderr.contains("hard-missing.service"), "the reason is said: {ran}");
            assert_eq!(runs_on(&WORLD, &name), [""; 0]);
        } else {
            assert_eq!(runs_on(&WORLD, &name), ["m1"]);
        }
    }
}

/// Promise 8: `After=` on a unit that takes its time to start, both started by one command.
#[test]
fn systemd_orders_what_is_started_together() {
    let desk = WORLD.desk();
    desk.write("first.service", "[Service]\nExecStartPre=/bin/sleep 0.3\nExecStart=/bin/sleep infinity\n");
    desk.write(
        "a-second.service",
        "[Unit]\nWants=first.service\nAfter=first.service\n[Service]\nExecStart=/bin/sleep infinity\n",
    );
    desk.ok("fleetctl start a-second.service first.service");
    let microseconds = |unit: &str, name: &str| property(machine(), unit, name).parse::<u64>().expect("a time");
    let ready = microseconds("first.service", "ActiveEnterTimestampMonotonic");
    let begun = microseconds("a-second.service", "ExecMainStartTimestampMonotonic");
    assert!(0 < ready && ready <= begun, "first was ready at {ready}, second began at {begun}");
}

/// Promise 9, where the original failed: it called a start that took more than two seconds a failure.
#[test]
fn a_slow_start_is_waited_for() {
    let desk = WORLD.desk();
    desk.write(
        "slow.service",
        "[Service]\nTimeoutStartSec=0\nExecStartPre=/bin/sleep 3\nExecStart=/bin/sleep infinity\n",
    );
    let ran = desk.run("fleetctl start slow.service");
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stderr.contains("slow.service: activating (start-pre)"), "it says what it waits for: {ran}");
    assert_eq!(property(machine(), "slow.service", "TimeoutStartUSec"), "infinity");
    assert_eq!(property(machine(), "slow.service", "SubState"), "running");
    main_pid(&WORLD, "slow.service");
}

/// Promise 10.
#[test]
fn with_kill_mode_none_only_exec_stop_acts() {
    let desk = WORLD.desk();
    desk.write(
        "gentle.service",
        "[Service]\nStandardOutput=append:/run/printed.%n\nKillMode=none\nExecStart=/bin/sleep infinity\nExecStop=/bin/sh -c 'echo asked to stop'\n",
    );
    desk.ok("fleetctl start gentle.service");
    let pid = main_pid(&WORLD, "gentle.service");
    desk.ok("fleetctl stop gentle.service");
    assert_eq!(property(machine(), "gentle.service", "ActiveState"), "inactive");
    assert_eq!(printed(machine(), "gentle.service"), ["asked to stop"]);
    assert!(is_alive(pid), "nothing but ExecStop may act, and it did not kill");
    on(machine(), &["kill", &pid.to_string()]);
}

/// Promises 11 and 14: the environment file and `%H` are those of the machine that was chosen.
#[test]
fn address_and_host_name_are_the_machines_own() {
    let desk = WORLD.desk();
    desk.write(
        "where.service",
        "[Service]\nStandardOutput=append:/run/printed.%n\nType=oneshot\nEnvironmentFile=/etc/environment\n\
         ExecStart=/bin/echo ${COREOS_PUBLIC_IPV4} ${COREOS_PRIVATE_IPV4} %H\n",
    );
    desk.ok("fleetctl start where.service");
    let address = machine().spec().address;
    assert_eq!(printed(machine(), "where.service"), [format!("{address} {address} m1")]);
    assert_eq!(on(machine(), &["hostname"]), "m1");
}

/// Promise 12: both halves.
#[test]
fn a_dash_makes_a_failure_harmless() {
    let desk = WORLD.desk();
    let steps = |second: &str| {
        format!(
            "[Service]\nExecStartPre=-/bin/false\nExecStartPre=-/bin/false\n{second}ExecStart=/bin/sleep infinity\n"
        )
    };
    desk.write("dash.service", &steps(""));
    desk.ok("fleetctl start dash.service");
    assert_eq!(runs_on(&WORLD, "dash.service"), ["m1"]);
    // It lives long enough for journald to learn from /proc whose line this is; see the boot script of fleet-dev.
    desk.write("no-dash.service", &steps("ExecStartPre=/bin/sh -c 'echo no image; sleep 0.2; exit 9'\n"));
    let failed = desk.fails(1, "fleetctl start no-dash.service");
    assert!(failed.stderr.contains("Result: exit-code"), "{failed}");
    assert!(failed.stderr.contains("no image"), "its last words are shown: {failed}");
    assert_eq!(property(machine(), "no-dash.service", "ActiveState"), "failed");
}

/// Promise 13, where the original failed for units that depend on each other: their `ExecStop=` was lost.
#[test]
fn exec_stop_is_run_by_stop_and_by_destroy() {
    let desk = WORLD.desk();
    let service = |unit: &str| {
        format!(
            "[Unit]\n{unit}\n[Service]\n{PRINTS}\nExecStart=/bin/sleep infinity\nExecStop=/bin/sh -c 'echo %n stops'\n"
        )
    };
    for verb in ["stop", "destroy"] {
        let (main, side) = (format!("{verb}-main.service"), format!("{verb}-side.service"));
        desk.write(&main, &service(&format!("Requires={side}\nBefore={side}")));
        desk.write(&side, &service(&format!("Requires={main}\nAfter={main}\nBindsTo={main}")));
        desk.ok(&format!("fleetctl start {main} {side}"));
        let pids = [&main, &side].map(|name| main_pid(&WORLD, name));
        desk.ok(&format!("fleetctl {verb} {main} {side}"));
        for (name, pid) in [(&main, pids[0]), (&side, pids[1])] {
            assert_eq!(printed(machine(), name), [format!("{name} stops")], "{verb}");
            assert!(!is_alive(pid), "{name} still runs after {verb}");
        }
    }
}

/// Promise 15.
#[test]
fn instances_know_their_prefix_and_instance() {
    let desk = WORLD.desk();
    desk.write(
        "words@.service",
        "[Unit]\nDescription=%p and %i\n[Service]\nStandardOutput=append:/run/printed.%n\nType=oneshot\nExecStart=/bin/echo %p %i %n\n",
    );
    desk.ok("fleetctl start words@8888");
    assert_eq!(printed(machine(), "words@8888.service"), ["words 8888 words@8888.service"]);
    assert_eq!(property(machine(), "words@8888.service", "Description"), "words and 8888");
}
