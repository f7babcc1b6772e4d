//! What goes wrong, and what is said about it.

use expect_test::expect;

use super::{ON_M1, SLEEPS, WORLD, check};

#[test]
fn a_unit_that_fails_to_start() {
    let desk = WORLD.desk();
    // It lives long enough for journald to see, in order, whose line this is.
    let script = "sleep 0.1; echo no database here; sleep 0.2; exit 7";
    desk.write("fails.service", &format!("[Service]\nType=oneshot\nExecStart=/bin/sh -c '{script}'\n{ON_M1}"));
    check(
        &desk,
        &["fleetctl start fails.service", "fleetctl status fails", "fleetctl list-units --no-legend fails.service"],
        expect![[r#"
            $ fleetctl start fails.service
            exit 1
            --- stdout
            Unit fails.service inactive
            --- stderr
            error: Unit fails.service failed on <m1>.../<m1-ip>: failed (failed), Result: exit-code, the start job ended with `failed`
              journal:
                <time> m1 systemd[<pid>]: Starting fails.service...
                <time> m1 sh[<pid>]: no database here
                <time> m1 systemd[<pid>]: fails.service: Main process exited, code=exited, status=7/NOTRUNNING
                <time> m1 systemd[<pid>]: fails.service: Failed with result 'exit-code'.
                <time> m1 systemd[<pid>]: Failed to start fails.service.
            hint: more is shown by `fleetctl status fails.service` and `fleetctl journal fails.service`
            $ fleetctl status fails
            exit 3
            --- stdout
            × fails.service
                 Loaded: loaded (/run/user/0/systemd/user/fails.service; static)
                 Active: failed (Result: exit-code) since <when>
                Process: <pid> ExecStart=/bin/sh -c sleep 0.1; echo no database here; sleep 0.2; exit 7 (code=exited, status=7)
               Main PID: <pid> (code=exited, status=7)

            <time> m1 systemd[<pid>]: Starting fails.service...
            <time> m1 sh[<pid>]: no database here
            <time> m1 systemd[<pid>]: fails.service: Main process exited, code=exited, status=7/NOTRUNNING
            <time> m1 systemd[<pid>]: fails.service: Failed with result 'exit-code'.
            <time> m1 systemd[<pid>]: Failed to start fails.service.
            $ fleetctl list-units --no-legend fails.service
            exit 0
            --- stdout
            fails.service	<m1>.../<m1-ip>	failed	failed
        "#]],
    );
}

#[test]
fn units_that_do_not_exist() {
    check(
        &WORLD.desk(),
        &[
            "fleetctl start nowhere",
            "fleetctl start nowhere@1",
            "fleetctl stop nowhere",
            "fleetctl status nowhere",
            "fleetctl cat nowhere",
            "fleetctl journal nowhere",
            "fleetctl destroy 'nowhere*'",
            "fleetctl list-units nowhere.service",
            "fleetctl start",
            "fleetctl start 'a b.service'",
        ],
        expect![[r#"
            $ fleetctl start nowhere
            exit 4
            --- stderr
            error: unable to find Unit(nowhere.service) in Registry or on filesystem
            hint: there is no file `nowhere.service`
            $ fleetctl start nowhere@1
            exit 4
            --- stderr
            error: unable to find Unit(nowhere@1.service), nor its template Unit(nowhere@.service), in Registry or on filesystem
            hint: submit the template first: `fleetctl submit nowhere@.service`
            $ fleetctl stop nowhere
            exit 4
            --- stderr
            error: Unit nowhere.service does not exist
            hint: `fleetctl list-unit-files` shows the units that exist
            $ fleetctl status nowhere
            exit 4
            --- stderr
            error: Unit nowhere.service does not exist
            hint: `fleetctl list-unit-files` shows the units that exist
            $ fleetctl cat nowhere
            exit 4
            --- stderr
            error: Unit nowhere.service does not exist
            hint: `fleetctl list-unit-files` shows the units that exist
            $ fleetctl journal nowhere
            exit 4
            --- stderr
            error: Unit nowhere.service does not exist
            hint: `fleetctl list-unit-files` shows the units that exist
            $ fleetctl destroy 'nowhere*'
            exit 4
            --- stderr
            error: nothing matches `nowhere*`
            hint: looked among the units of the cluster: `fleetctl list-unit-files` shows them
            $ fleetctl list-units nowhere.service
            exit 0
            --- stdout
            UNIT	MACHINE	ACTIVE	SUB
            $ fleetctl start
            exit 2
            --- stderr
            error: No units given
            hint: name at least one unit: `fleetctl start UNIT...`; see `fleetctl help start`
            $ fleetctl start 'a b.service'
            exit 1
            --- stderr
            error: `a b.service` names no unit
              cause: invalid character ' ' in unit name `a b.service`
            hint: a unit name is a prefix and a type: `hello.service`, `hello@1.service`
        "#]],
    );
}

#[test]
fn a_unit_that_no_machine_can_take() {
    let desk = WORLD.desk();
    desk.write("stuck.service", &format!("{SLEEPS}[X-Fleet]\nMachineMetadata=disk=nvme\n"));
    desk.write("stuck-id.service", &format!("{SLEEPS}[X-Fleet]\nMachineID=00000000000000000000000000000000\n"));
    desk.write("stuck-of.service", &format!("{SLEEPS}[X-Fleet]\nMachineOf=stuck-nobody.service\n"));
    check(
        &desk,
        &[
            "fleetctl start --timeout 1 stuck.service",
            "fleetctl start --timeout 1 stuck-id.service",
            "fleetctl start --timeout 1 stuck-of.service",
            "fleetctl status stuck",
            "fleetctl journal stuck",
            "fleetctl stop stuck",
            "fleetctl destroy 'stuck*'",
        ],
        expect![[r#"
            $ fleetctl start --timeout 1 stuck.service
            exit 1
            --- stdout
            Unit stuck.service inactive
            --- stderr
            stuck.service: no machine can take it: 3 machines: MachineMetadata=disk=nvme (has disk=hdd, has disk=ssd, has no disk)
            it is placed as soon as one can; Ctrl-C ends only the waiting, and `fleetctl explain stuck.service` says what each machine says
            error: timed out waiting for unit stuck.service to report state launched
              stuck.service: no machine can take it: 3 machines: MachineMetadata=disk=nvme (has disk=hdd, has disk=ssd, has no disk)
            hint: it stays wanted, and is started as soon as that is possible; `fleetctl unload stuck.service` takes it back
            $ fleetctl start --timeout 1 stuck-id.service
            exit 1
            --- stdout
            Unit stuck-id.service inactive
            --- stderr
            stuck-id.service: no machine can take it: 3 machines: MachineID=00000000000000000000000000000000
            it is placed as soon as one can; Ctrl-C ends only the waiting, and `fleetctl explain stuck-id.service` says what each machine says
            error: timed out waiting for unit stuck-id.service to report state launched
              stuck-id.service: no machine can take it: 3 machines: MachineID=00000000000000000000000000000000
            hint: it stays wanted, and is started as soon as that is possible; `fleetctl unload stuck-id.service` takes it back
            $ fleetctl start --timeout 1 stuck-of.service
            exit 1
            --- stdout
            Unit stuck-of.service inactive
            --- stderr
            stuck-of.service: no machine can take it: 3 machines: MachineOf=stuck-nobody.service (there is no such unit)
            it is placed as soon as one can; Ctrl-C ends only the waiting, and `fleetctl explain stuck-of.service` says what each machine says
            error: timed out waiting for unit stuck-of.service to report state launched
              stuck-of.service: no machine can take it: 3 machines: MachineOf=stuck-nobody.service (there is no such unit)
            hint: it stays wanted, and is started as soon as that is possible; `fleetctl unload stuck-of.service` takes it back
            $ fleetctl status stuck
            exit 3
            --- stdout
            stuck.service
                 Fleet: to be launched; none of 3 machines can take it:
                        3 machines: MachineMetadata=disk=nvme (has disk=hdd, has disk=ssd, has no disk): <m1>... <m2>... <m3>...
            $ fleetctl journal stuck
            exit 3
            --- stderr
            error: Unit stuck.service does not appear to be running.
            hint: it waits for a machine; `fleetctl status stuck.service` says why
            $ fleetctl stop stuck
            exit 0
            --- stdout
            Unit stuck.service loaded
            --- stderr
            Successfully stopped units [stuck.service].
            $ fleetctl destroy 'stuck*'
            exit 0
            --- stdout
            Destroyed stuck-id.service
            Destroyed stuck-of.service
            Destroyed stuck.service
        "#]],
    );
}

#[test]
fn broken_files() {
    let desk = WORLD.desk();
    desk.write("broken.service", "[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineOff=a.service\nGlobal=maybe\n");
    desk.write("empty.service", "# nothing\n");
    check(
        &desk,
        &[
            "fleetctl start broken.service",
            "fleetctl submit --lenient broken.service",
            "fleetctl start empty.service",
            "fleetctl destroy broken",
        ],
        expect![[r#"
            $ fleetctl start broken.service
            exit 1
            --- stderr
            error: unit file `broken.service` cannot be used for broken.service
              broken.service:4: unrecognized requirement in [X-Fleet] section: "MachineOff"
              broken.service:5: `Global=maybe`: neither true nor false, so it would be false
            hint: did you mean `MachineOf`?; write `Global=true`
            $ fleetctl submit --lenient broken.service
            exit 0
            --- stdout
            Unit broken.service inactive
            --- stderr
            WARNING: Unit broken.service: line 4: unrecognized requirement in [X-Fleet] section: "MachineOff"
            WARNING: Unit broken.service: line 5: `Global=maybe`: neither true nor false, so it would be false
            $ fleetctl start empty.service
            exit 1
            --- stderr
            error: unit file `empty.service` cannot be used for empty.service
              empty.service: the file of unit `empty.service` has no option in any section
            hint: a section starts with a line such as `[Service]`, an option is a line `NAME=VALUE`
            $ fleetctl destroy broken
            exit 0
            --- stdout
            Destroyed broken.service
        "#]],
    );
}
