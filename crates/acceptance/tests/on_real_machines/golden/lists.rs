//! Lists: which rows, in which form, and what comes when something changes.

use expect_test::expect;

use super::{ON_M1, SLEEPS, WORLD, check};
use crate::world::World;

#[test]
fn lists() {
    let desk = WORLD.desk();
    desk.write("list-runs.service", &format!("[Unit]\nDescription=Runs\n{SLEEPS}{ON_M1}"));
    desk.write("list-fails.service", &format!("[Service]\nExecStart=/bin/false\n{ON_M1}"));
    desk.write("list-ticks.timer", &format!("[Timer]\nOnActiveSec=1d\nUnit=list-runs.service\n{ON_M1}"));
    desk.ok("fleetctl start --no-block list-fails.service");
    WORLD.wait_active("list-fails.service", "failed");
    desk.ok("fleetctl submit list-ticks.timer && fleetctl start list-runs.service list-ticks.timer");
    check(
        &desk,
        &[
            "fleetctl list-units 'list-*'",
            "fleetctl list-units -o wide 'list-*'",
            "fleetctl list-units --failed -o name 'list-*'",
            "fleetctl list-units --state=waiting,failed --no-legend --fields=unit,sub 'list-*'",
            "fleetctl list-units --state=nonsense 'list-*'",
            "fleetctl list-units --machine 06c45d18 -t timer 'list-*'",
            "fleetctl list-units --machine 1b39896a 'list-*'",
            "fleetctl list-units --machine nowhere",
            "fleetctl list-units -t job",
            "fleetctl list-unit-files -o wide 'list-*'",
            "fleetctl list-unit-files --state loaded 'list-*'",
            "fleetctl list-unit-files --state failed",
            "fleetctl list-unit-files -o yaml list-fails | grep -v -e since_ms -e revision -e generation",
            "fleetctl status -o wide list-runs list-fails",
            "fleetctl status -o name list-ticks.timer",
            "fleetctl status -o json list-runs nothing | grep '\"name\"'",
            "fleetctl list-machines -o name --state present '06*' 1b39896a",
            "fleetctl list-machines --state draining",
            "fleetctl list-machines --fields=machine,ip zz",
            // On a terminal it is in colour, unless that is not wanted, and as wide as the terminal.
            "script --quiet --return --command 'stty columns 70; TERM=xterm fleetctl list-units list-fails' /dev/null | tr -d '\\r\\033'",
            "script --quiet --return --command 'stty columns 70; TERM=xterm NO_COLOR=1 fleetctl list-units list-fails' /dev/null | tr -d '\\r\\033'",
            "script --quiet --return --command 'stty columns 40; fleetctl list-unit-files --no-legend --fields=desc,unit list-runs' /dev/null | tr -d '\\r\\033'",
        ],
        expect![[r#"
            $ fleetctl list-units 'list-*'
            exit 0
            --- stdout
            UNIT	MACHINE	ACTIVE	SUB
            list-fails.service	<m1>.../<m1-ip>	failed	failed
            list-runs.service	<m1>.../<m1-ip>	active	running
            list-ticks.timer	<m1>.../<m1-ip>	active	waiting
            $ fleetctl list-units -o wide 'list-*'
            exit 0
            --- stdout
            UNIT	MACHINE	LOAD	ACTIVE	SUB	RESULT	HASH	DESC
            list-fails.service	<m1>.../<m1-ip>	loaded	failed	failed	exit-code	a1b54a6	-
            list-runs.service	<m1>.../<m1-ip>	loaded	active	running	success	d6d821c	Runs
            list-ticks.timer	<m1>.../<m1-ip>	loaded	active	waiting	success	781b931	-
            $ fleetctl list-units --failed -o name 'list-*'
            exit 0
            --- stdout
            list-fails.service
            $ fleetctl list-units --state=waiting,failed --no-legend --fields=unit,sub 'list-*'
            exit 0
            --- stdout
            list-fails.service	failed
            list-ticks.timer	waiting
            $ fleetctl list-units --state=nonsense 'list-*'
            exit 0
            --- stdout
            UNIT	MACHINE	ACTIVE	SUB
            $ fleetctl list-units --machine <m1> -t timer 'list-*'
            exit 0
            --- stdout
            UNIT	MACHINE	ACTIVE	SUB
            list-ticks.timer	<m1>.../<m1-ip>	active	waiting
            $ fleetctl list-units --machine <m2> 'list-*'
            exit 0
            --- stdout
            UNIT	MACHINE	ACTIVE	SUB
            $ fleetctl list-units --machine nowhere
            exit 1
            --- stderr
            error: no machine `nowhere`
            hint: these are there: <m1>, <m2>, <m3>
            $ fleetctl list-units -t job
            exit 2
            --- stderr
            error: `--type` has the value `job`: the types of units are automount, device, mount, path, scope, service, slice, socket, swap, target, timer
            $ fleetctl list-unit-files -o wide 'list-*'
            exit 0
            --- stdout
            UNIT	HASH	DSTATE	STATE	TARGET	GLOBAL	DESC
            list-fails.service	a1b54a6	launched	launched	<m1>.../<m1-ip>	false	-
            list-runs.service	d6d821c	launched	launched	<m1>.../<m1-ip>	false	Runs
            list-ticks.timer	781b931	launched	launched	<m1>.../<m1-ip>	false	-
            $ fleetctl list-unit-files --state loaded 'list-*'
            exit 0
            --- stdout
            UNIT	HASH	DSTATE	STATE	TARGET
            $ fleetctl list-unit-files --state failed
            exit 2
            --- stderr
            error: `--state` has the value `failed`: the states here are inactive, loaded, launched; systemd's are in `list-units`
            $ fleetctl list-unit-files -o yaml list-fails | grep -v -e since_ms -e revision -e generation
            exit 0
            --- stdout
            units:
            - name: list-fails.service
              hash: a1b54a6c8650dbe733b942f29464e2bbc52b1e2f
              desired_state: launched
              current_state: launched
              restarts: 0
              placements:
              - machine: <m1-id>
                ip: "<m1-ip>"
                placed: true
                done: true
                state:
                  load: loaded
                  active: failed
                  sub: failed
                  result: exit-code
                  hash: a1b54a6c8650dbe733b942f29464e2bbc52b1e2f
                  restarts: 0
                  reached: launched
            $ fleetctl status -o wide list-runs list-fails
            exit 3
            --- stdout
            UNIT	MACHINE	LOAD	ACTIVE	SUB	RESULT	HASH	DESC
            list-runs.service	<m1>.../<m1-ip>	loaded	active	running	success	d6d821c	Runs
            list-fails.service	<m1>.../<m1-ip>	loaded	failed	failed	exit-code	a1b54a6	-
            $ fleetctl status -o name list-ticks.timer
            exit 0
            --- stdout
            list-ticks.timer
            $ fleetctl status -o json list-runs nothing | grep '"name"'
            exit 0
            --- stdout
                "name": "list-runs.service",
            --- stderr
            error: Unit nothing.service does not exist
            hint: `fleetctl list-unit-files` shows the units that exist
            $ fleetctl list-machines -o name --state present '06*' <m2>
            exit 0
            --- stdout
            <m1-id>
            <m2-id>
            $ fleetctl list-machines --state draining
            exit 0
            --- stdout
            MACHINE	IP	METADATA	STATE
            $ fleetctl list-machines --fields=machine,ip zz
            exit 1
            --- stdout
            MACHINE	IP
            --- stderr
            error: no machine `zz`
            hint: these are there: <m1>, <m2>, <m3>
            $ script --quiet --return --command 'stty columns 70; TERM=xterm fleetctl list-units list-fails' /dev/null | tr -d '\r\033'
            exit 0
            --- stdout
            [1mUNIT[0m	[1mMACHINE[0m	[1mACTIVE[0m	[1mSUB[0m
            list-fails.service	<m1>.../<m1-ip>	[31mfailed[0m	[31mfailed[0m
            $ script --quiet --return --command 'stty columns 70; TERM=xterm NO_COLOR=1 fleetctl list-units list-fails' /dev/null | tr -d '\r\033'
            exit 0
            --- stdout
            UNIT	MACHINE	ACTIVE	SUB
            list-fails.service	<m1>.../<m1-ip>	failed	failed
            $ script --quiet --return --command 'stty columns 40; fleetctl list-unit-files --no-legend --fields=desc,unit list-runs' /dev/null | tr -d '\r\033'
            exit 0
            --- stdout
            Runs	list-runs.service
        "#]],
    );
    desk.ok("fleetctl destroy 'list-*'");
}

#[test]
fn a_list_goes_on_with_what_changes() {
    let desk = WORLD.desk();
    desk.write("goes-on.service", &format!("{SLEEPS}{ON_M1}"));
    desk.ok("fleetctl start goes-on.service");
    // Reads on until a row has the word, and prints it. The list ends when nobody reads any more.
    desk.write("row", "while read -r line; do case \"$line\" in *\"$1\"*) echo \"$line\"; break ;; esac; done\n");
    check(
        &desk,
        &[
            "fleetctl list-units -w goes-on.service | { bash row ACTIVE; bash row running; fleetctl stop goes-on > said 2>&1; bash row dead; \
             fleetctl destroy goes-on > said 2>&1; bash row gone; }",
            "fleetctl list-unit-files --watch -o json 'goes-on*' | { fleetctl submit goes-on.service > said; bash row 'unit\":{' | cut -c1-33; \
             fleetctl destroy goes-on > said 2>&1; bash row null; }",
        ],
        expect![[r#"
            $ fleetctl list-units -w goes-on.service | { bash row ACTIVE; bash row running; fleetctl stop goes-on > said 2>&1; bash row dead; fleetctl destroy goes-on > said 2>&1; bash row gone; }
            exit 0
            --- stdout
            UNIT	MACHINE	ACTIVE	SUB
            goes-on.service	<m1>.../<m1-ip>	active	running
            goes-on.service	<m1>.../<m1-ip>	inactive	dead
            goes-on.service	<m1>.../<m1-ip>	gone	-
            $ fleetctl list-unit-files --watch -o json 'goes-on*' | { fleetctl submit goes-on.service > said; bash row 'unit":{' | cut -c1-33; fleetctl destroy goes-on > said 2>&1; bash row null; }
            exit 0
            --- stdout
            {"name":"goes-on.service","unit":
            {"name":"goes-on.service","unit":null}
        "#]],
    );
}

#[test]
fn machines_go_on_with_what_changes() {
    let world = World::new(1);
    let desk = world.desk();
    desk.write("row", "while read -r line; do case \"$line\" in *\"$1\"*) echo \"$line\"; break ;; esac; done\n");
    let id = &world.machines()[0].spec().id;
    let line = format!(
        "fleetctl list-machines -w --fields=ip,metadata,state | {{ bash row STATE; bash row present; \
         fleetctl machine cordon {id} > said; bash row cordoned; \
         fleetctl machine set-metadata {id} seen=yes > said; bash row seen=yes; }}"
    );
    check(
        &desk,
        &[&line],
        expect![[r#"
        $ fleetctl list-machines -w --fields=ip,metadata,state | { bash row STATE; bash row present; fleetctl machine cordon <m1-id> > said; bash row cordoned; fleetctl machine set-metadata <m1-id> seen=yes > said; bash row seen=yes; }
        exit 0
        --- stdout
        IP	METADATA	STATE
        <m1-ip>	-	present
        <m1-ip>	-	present, cordoned
        <m1-ip>	seen=yes	present, cordoned
        --- stderr
        <m1>... is cordoned: nothing new is placed on it
        metadata of <m1>...: seen=yes
    "#]],
    );
}

#[test]
fn questions_of_scripts() {
    let desk = WORLD.desk();
    desk.write("asked.service", &format!("# A comment\n{SLEEPS}{ON_M1}"));
    desk.write("asked-fails.service", &format!("[Service]\nExecStart=/bin/false\n{ON_M1}"));
    desk.ok("fleetctl start asked.service && fleetctl start --no-block asked-fails.service");
    WORLD.wait_active("asked-fails.service", "failed");
    check(
        &desk,
        &[
            "fleetctl is-active asked",
            "fleetctl is-active asked asked-fails",
            "fleetctl is-active asked-fails",
            "fleetctl is-active --quiet asked-fails",
            "fleetctl is-failed asked asked-fails",
            "fleetctl is-failed asked",
            "fleetctl is-active nothing",
            "fleetctl cat asked asked-fails nothing",
            "fleetctl cat --debug asked 2>&1 | sed -e 's/after .*, request [^ ]*/after TIME, request ID/'",
            "fleetctl destroy 'asked*' | sort",
        ],
        expect![[r#"
            $ fleetctl is-active asked
            exit 0
            --- stdout
            active
            $ fleetctl is-active asked asked-fails
            exit 0
            --- stdout
            active
            failed
            $ fleetctl is-active asked-fails
            exit 3
            --- stdout
            failed
            $ fleetctl is-active --quiet asked-fails
            exit 3
            $ fleetctl is-failed asked asked-fails
            exit 0
            --- stdout
            active
            failed
            $ fleetctl is-failed asked
            exit 1
            --- stdout
            active
            $ fleetctl is-active nothing
            exit 4
            --- stderr
            error: Unit nothing.service does not exist
            hint: `fleetctl list-unit-files` shows the units that exist
            $ fleetctl cat asked asked-fails nothing
            exit 4
            --- stdout
            # asked.service
            # A comment
            [Service]
            ExecStart=/bin/sleep infinity
            [X-Fleet]
            MachineMetadata=disk=ssd

            # asked-fails.service
            [Service]
            ExecStart=/bin/false
            [X-Fleet]
            MachineMetadata=disk=ssd
            --- stderr
            error: Unit nothing.service does not exist
            hint: `fleetctl list-unit-files` shows the units that exist
            $ fleetctl cat --debug asked 2>&1 | sed -e 's/after .*, request [^ ]*/after TIME, request ID/'
            exit 0
            --- stdout
            debug: GET /fleet/v2/units/asked.service/file: 200 after TIME, request ID
            # A comment
            [Service]
            ExecStart=/bin/sleep infinity
            [X-Fleet]
            MachineMetadata=disk=ssd
            $ fleetctl destroy 'asked*' | sort
            exit 0
            --- stdout
            Destroyed asked-fails.service
            Destroyed asked.service
        "#]],
    );
}
