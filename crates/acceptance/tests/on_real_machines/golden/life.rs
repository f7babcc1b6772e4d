//! Units that come, change and go, all going well.

use expect_test::expect;

use super::{ON_M1, SLEEPS, WORLD, check};

#[test]
fn a_life() {
    let desk = WORLD.desk();
    let text = format!("# Says hello\n[Unit]\nDescription=A life\n\n{SLEEPS}\n{ON_M1}");
    desk.write("life.service", &text);
    check(
        &desk,
        &[
            "fleetctl submit life.service",
            "fleetctl list-unit-files life.service",
            "fleetctl status life",
            "fleetctl journal life",
            "fleetctl stop life",
            "fleetctl restart life",
            "fleetctl load life",
            "fleetctl list-units life.service",
            "fleetctl start life",
            "fleetctl load life",
            "fleetctl list-units life.service",
            "fleetctl list-units -l --fields=unit,load,hash,machine life.service",
            "fleetctl list-unit-files --fields=unit,desc,global,target --no-legend life.service",
            "fleetctl cat life",
            "fleetctl cat --canonical life",
            "fleetctl restart life",
            "fleetctl stop life",
            "fleetctl status life",
            "fleetctl unload life",
            "fleetctl destroy life",
            "fleetctl destroy life",
        ],
        expect![[r#"
            $ fleetctl submit life.service
            exit 0
            --- stdout
            Unit life.service inactive
            $ fleetctl list-unit-files life.service
            exit 0
            --- stdout
            UNIT	HASH	DSTATE	STATE	TARGET
            life.service	4184e9d	inactive	inactive	-
            $ fleetctl status life
            exit 3
            --- stdout
            life.service - A life
                 Fleet: inactive; on no machine
            $ fleetctl journal life
            exit 3
            --- stderr
            error: Unit life.service does not appear to be running.
            hint: start it: `fleetctl start life.service`
            $ fleetctl stop life
            exit 1
            --- stderr
            error: Unable to stop unit life.service in state inactive
            hint: it is on no machine, so it does not run
            $ fleetctl restart life
            exit 1
            --- stderr
            error: Unable to restart unit life.service in state inactive
            hint: it is on no machine; start it: `fleetctl start life.service`
            $ fleetctl load life
            exit 0
            --- stdout
            Unit life.service loaded on <m1>.../<m1-ip>
            $ fleetctl list-units life.service
            exit 0
            --- stdout
            UNIT	MACHINE	ACTIVE	SUB
            life.service	<m1>.../<m1-ip>	inactive	dead
            $ fleetctl start life
            exit 0
            --- stdout
            Unit life.service launched on <m1>.../<m1-ip>
            $ fleetctl load life
            exit 0
            --- stderr
            Unit life.service is launched already; `fleetctl stop life.service` stops it
            $ fleetctl list-units life.service
            exit 0
            --- stdout
            UNIT	MACHINE	ACTIVE	SUB
            life.service	<m1>.../<m1-ip>	active	running
            $ fleetctl list-units -l --fields=unit,load,hash,machine life.service
            exit 0
            --- stdout
            UNIT	LOAD	HASH	MACHINE
            life.service	loaded	4184e9d69bab84ad0eb2bdd87f09b5281cb87df6	<m1-id>/<m1-ip>
            $ fleetctl list-unit-files --fields=unit,desc,global,target --no-legend life.service
            exit 0
            --- stdout
            life.service	A life	false	<m1>.../<m1-ip>
            $ fleetctl cat life
            exit 0
            --- stdout
            # Says hello
            [Unit]
            Description=A life

            [Service]
            ExecStart=/bin/sleep infinity

            [X-Fleet]
            MachineMetadata=disk=ssd
            $ fleetctl cat --canonical life
            exit 0
            --- stdout
            [Unit]
            Description=A life

            [Service]
            ExecStart=/bin/sleep infinity

            [X-Fleet]
            MachineMetadata=disk=ssd
            $ fleetctl restart life
            exit 0
            --- stdout
            Unit life.service launched on <m1>.../<m1-ip>
            $ fleetctl stop life
            exit 0
            --- stdout
            Unit life.service loaded on <m1>.../<m1-ip>
            --- stderr
            Successfully stopped units [life.service].
            $ fleetctl status life
            exit 3
            --- stdout
            ○ life.service - A life
                 Loaded: loaded (/run/user/0/systemd/user/life.service; static)
                 Active: inactive (dead)

            <time> m1 systemd[<pid>]: Started life.service - A life.
            <time> m1 systemd[<pid>]: Stopping life.service - A life...
            <time> m1 systemd[<pid>]: Stopped life.service - A life.
            <time> m1 systemd[<pid>]: Started life.service - A life.
            <time> m1 systemd[<pid>]: Stopping life.service - A life...
            <time> m1 systemd[<pid>]: Stopped life.service - A life.
            $ fleetctl unload life
            exit 0
            --- stdout
            Unit life.service inactive
            --- stderr
            Successfully unloaded units [life.service].
            $ fleetctl destroy life
            exit 0
            --- stdout
            Destroyed life.service
            $ fleetctl destroy life
            exit 4
            --- stderr
            error: Unit life.service does not exist
            hint: `fleetctl list-unit-files` shows the units that exist
        "#]],
    );
}

#[test]
fn templates() {
    let desk = WORLD.desk();
    desk.write("mold@.service", &format!("{SLEEPS}{ON_M1}"));
    check(
        &desk,
        &[
            "fleetctl submit mold@.service",
            "fleetctl start mold@.service",
            "fleetctl start mold@7",
            "fleetctl list-unit-files 'mold@*'",
            "fleetctl destroy 'mold@*'",
        ],
        expect![[r#"
            $ fleetctl submit mold@.service
            exit 0
            --- stdout
            Unit mold@.service inactive
            $ fleetctl start mold@.service
            exit 1
            --- stderr
            error: cannot activate template "mold@.service"
            hint: start an instance of it, such as `mold@1.service`
            $ fleetctl start mold@7
            exit 0
            --- stdout
            Unit mold@7.service inactive
            Unit mold@7.service launched on <m1>.../<m1-ip>
            $ fleetctl list-unit-files 'mold@*'
            exit 0
            --- stdout
            UNIT	HASH	DSTATE	STATE	TARGET
            mold@.service	a48c2d4	inactive	inactive	-
            mold@7.service	a48c2d4	launched	launched	<m1>.../<m1-ip>
            $ fleetctl destroy 'mold@*'
            exit 0
            --- stdout
            Destroyed mold@.service
            Destroyed mold@7.service
        "#]],
    );
}

#[test]
fn replacing() {
    let desk = WORLD.desk();
    desk.write("changes.service", &format!("{SLEEPS}{ON_M1}"));
    check(
        &desk,
        &["fleetctl start --replace changes.service", "fleetctl start --replace changes.service"],
        expect![[r#"
            $ fleetctl start --replace changes.service
            exit 0
            --- stdout
            Unit changes.service inactive
            Unit changes.service launched on <m1>.../<m1-ip>
            $ fleetctl start --replace changes.service
            exit 0
            --- stdout
            Found same Unit(changes.service) in Registry, nothing to do
            Unit changes.service launched on <m1>.../<m1-ip>
        "#]],
    );
    desk.write("changes.service", &format!("[Unit]\nDescription=Changed\n{SLEEPS}{ON_M1}"));
    check(
        &desk,
        &[
            "fleetctl start changes.service",
            "fleetctl submit --replace changes.service",
            "fleetctl load --replace changes.service",
            "fleetctl start --replace changes.service",
            "fleetctl list-units --no-legend changes.service",
            "fleetctl destroy changes.service",
        ],
        expect![[r#"
            $ fleetctl start changes.service
            exit 0
            --- stdout
            Unit changes.service launched on <m1>.../<m1-ip>
            --- stderr
            WARNING: Unit changes.service in registry differs from local unit file changes.service. Add --replace to override.
            $ fleetctl submit --replace changes.service
            exit 1
            --- stderr
            error: can not replace Unit(changes.service) in state 'launched', use the appropriate command
            hint: `fleetctl start --replace changes.service` replaces a unit that is launched
            $ fleetctl load --replace changes.service
            exit 1
            --- stderr
            error: can not replace Unit(changes.service) in state 'launched', use the appropriate command
            hint: `fleetctl start --replace changes.service` replaces a unit that is launched
            $ fleetctl start --replace changes.service
            exit 0
            --- stdout
            Unit changes.service launched on <m1>.../<m1-ip>
            $ fleetctl list-units --no-legend changes.service
            exit 0
            --- stdout
            changes.service	<m1>.../<m1-ip>	active	running
            $ fleetctl destroy changes.service
            exit 0
            --- stdout
            Destroyed changes.service
        "#]],
    );
}

#[test]
fn without_waiting() {
    let desk = WORLD.desk();
    desk.write("trigger.service", &format!("{SLEEPS}{ON_M1}"));
    desk.write("trigger-all.service", &format!("{SLEEPS}[X-Fleet]\nGlobal=true\n"));
    check(
        &desk,
        &[
            "fleetctl load --no-block trigger.service trigger-all.service",
            "fleetctl start --no-block trigger trigger-all",
        ],
        expect![[r#"
            $ fleetctl load --no-block trigger.service trigger-all.service
            exit 0
            --- stdout
            Unit trigger.service inactive
            Unit trigger-all.service inactive
            Triggered unit trigger.service load
            Triggered global unit trigger-all.service load
            $ fleetctl start --no-block trigger trigger-all
            exit 0
            --- stdout
            Triggered unit trigger.service start
            Triggered global unit trigger-all.service start
        "#]],
    );
    WORLD.wait_active("trigger.service", "active");
    check(
        &desk,
        &[
            "fleetctl stop --no-block trigger trigger-all",
            "fleetctl unload --no-block trigger trigger-all",
            "fleetctl destroy --no-block trigger trigger-all",
        ],
        expect![[r#"
            $ fleetctl stop --no-block trigger trigger-all
            exit 0
            --- stdout
            Triggered unit trigger.service stop
            Triggered global unit trigger-all.service stop
            --- stderr
            Successfully stopped units [trigger.service trigger-all.service].
            $ fleetctl unload --no-block trigger trigger-all
            exit 0
            --- stdout
            Triggered unit trigger.service unload
            Triggered global unit trigger-all.service unload
            --- stderr
            Successfully unloaded units [trigger.service trigger-all.service].
            $ fleetctl destroy --no-block trigger trigger-all
            exit 0
            --- stdout
            Destroyed trigger.service
            Destroyed trigger-all.service
        "#]],
    );
}

#[test]
fn global_units() {
    let desk = WORLD.desk();
    desk.write("all.service", &format!("[Unit]\nDescription=Everywhere\n{SLEEPS}[X-Fleet]\nGlobal=true\n"));
    check(
        &desk,
        &[
            "fleetctl start all.service",
            "fleetctl list-units all.service",
            "fleetctl list-unit-files all.service",
            // Not what depends on the kernel's accounting.
            "fleetctl status all | grep -v -e Memory: -e Tasks: -e CPU: -e CGroup: -e ─",
            // All have started it in one second.
            "fleetctl journal all | sort --key=4",
            "fleetctl journal --machine 06c45d18 all",
            "fleetctl restart all",
            "fleetctl stop all",
            "fleetctl destroy all",
        ],
        expect![[r#"
            $ fleetctl start all.service
            exit 0
            --- stdout
            Unit all.service inactive
            Unit all.service launched on <m1>.../<m1-ip>
            Unit all.service launched on <m2>.../<m2-ip>
            Unit all.service launched on <m3>.../<m3-ip>
            $ fleetctl list-units all.service
            exit 0
            --- stdout
            UNIT	MACHINE	ACTIVE	SUB
            all.service	<m1>.../<m1-ip>	active	running
            all.service	<m2>.../<m2-ip>	active	running
            all.service	<m3>.../<m3-ip>	active	running
            $ fleetctl list-unit-files all.service
            exit 0
            --- stdout
            UNIT	HASH	DSTATE	STATE	TARGET
            all.service	dbeac37	launched	3/3	global
            $ fleetctl status all | grep -v -e Memory: -e Tasks: -e CPU: -e CGroup: -e ─
            exit 0
            --- stdout
            all.service is global: on 3 of 3 machines that fit
            all.service on <m1>.../<m1-ip>:
            ● all.service - Everywhere
                 Loaded: loaded (/run/user/0/systemd/user/all.service; static)
                 Active: active (running) since <when>
               Main PID: <pid> (sleep)

            <time> m1 systemd[<pid>]: Started all.service - Everywhere.

            all.service on <m2>.../<m2-ip>:
            ● all.service - Everywhere
                 Loaded: loaded (/run/user/0/systemd/user/all.service; static)
                 Active: active (running) since <when>
               Main PID: <pid> (sleep)

            <time> m2 systemd[<pid>]: Started all.service - Everywhere.

            all.service on <m3>.../<m3-ip>:
            ● all.service - Everywhere
                 Loaded: loaded (/run/user/0/systemd/user/all.service; static)
                 Active: active (running) since <when>
               Main PID: <pid> (sleep)

            <time> m3 systemd[<pid>]: Started all.service - Everywhere.
            $ fleetctl journal all | sort --key=4
            exit 0
            --- stdout
            <time> m1 systemd[<pid>]: Started all.service - Everywhere.
            <time> m2 systemd[<pid>]: Started all.service - Everywhere.
            <time> m3 systemd[<pid>]: Started all.service - Everywhere.
            $ fleetctl journal --machine <m1> all
            exit 0
            --- stdout
            <time> m1 systemd[<pid>]: Started all.service - Everywhere.
            $ fleetctl restart all
            exit 0
            --- stdout
            Unit all.service launched on <m1>.../<m1-ip>
            Unit all.service launched on <m2>.../<m2-ip>
            Unit all.service launched on <m3>.../<m3-ip>
            $ fleetctl stop all
            exit 0
            --- stdout
            Unit all.service loaded on <m1>.../<m1-ip>
            Unit all.service loaded on <m2>.../<m2-ip>
            Unit all.service loaded on <m3>.../<m3-ip>
            --- stderr
            Successfully stopped units [all.service].
            $ fleetctl destroy all
            exit 0
            --- stdout
            Destroyed all.service
        "#]],
    );
}

#[test]
fn journals() {
    let desk = WORLD.desk();
    desk.write(
        "talks.service",
        &format!(
            "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'for n in 1 2 3; do echo line $n; done; sleep 0.2'\n{ON_M1}"
        ),
    );
    check(
        &desk,
        &[
            "fleetctl start talks.service",
            "fleetctl journal -o cat -n 100 talks | grep line",
            "fleetctl journal --lines=100 talks | grep 'line 1'",
            // Ends with its reader, although the unit says nothing more.
            "fleetctl journal -f -o cat -n 100 talks | grep -m1 'line 2'",
            "fleetctl journal -o nonsense talks",
        ],
        expect![[r#"
            $ fleetctl start talks.service
            exit 0
            --- stdout
            Unit talks.service inactive
            Unit talks.service launched on <m1>.../<m1-ip>
            $ fleetctl journal -o cat -n 100 talks | grep line
            exit 0
            --- stdout
            line 1
            line 2
            line 3
            $ fleetctl journal --lines=100 talks | grep 'line 1'
            exit 0
            --- stdout
            <time> m1 sh[<pid>]: line 1
            $ fleetctl journal -f -o cat -n 100 talks | grep -m1 'line 2'
            exit 0
            --- stdout
            line 2
            $ fleetctl journal -o nonsense talks
            exit 2
            --- stderr
            error: `nonsense` is no output mode
            hint: use one of `short`, `short-precise`, `short-full`, `short-iso`, `short-iso-precise`, `short-unix`, `short-monotonic`, `with-unit`, `verbose`, `cat`, `json`, `json-pretty`, `json-sse`, `json-seq`
        "#]],
    );
}
