//! `exec`: commands beside units, through the API, on the machine that has the unit.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::LazyLock;

use crate::desk::Desk;
use crate::judge::{is_alive, machine_of, on, runs_on};
use crate::world::{World, eventually, program};

static WORLD: LazyLock<World> = LazyLock::new(|| World::new(1));

const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// The services of systemd's that are commands of ours, and that it still knows on the world's first machine.
fn left(world: &World) -> String {
    let list = ["systemctl", "--user", "list-units", "--all", "--no-legend", "--plain", "fleet-exec-*"];
    on(&world.machines()[0], &list)
}

/// A command that goes on, and the numbers of its processes.
struct Begun {
    fleetctl: Child,
    _stdout: BufReader<ChildStdout>,
    pids: Vec<u32>,
}

impl Begun {
    /// A shell that has begun two processes, beside the unit.
    fn new(endpoint: &str, unit: &str) -> Begun {
        let script = "sleep infinity & setsid sleep infinity & echo $$ $(jobs -p); wait";
        let mut command = Command::new(program("fleetctl"));
        command.args(["exec", unit, "--", "bash", "-c", script]).env("FLEETCTL_ENDPOINT", endpoint);
        let mut fleetctl = command.stdout(Stdio::piped()).spawn().expect("fleetctl starts");
        let mut stdout = BufReader::new(fleetctl.stdout.take().expect("a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let pids: Vec<u32> = line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        assert!(pids.len() == 3 && pids.iter().all(|&pid| is_alive(pid)), "{line}");
        Begun { fleetctl, _stdout: stdout, pids }
    }

    #[track_caller]
    fn is_gone(&self) {
        eventually("all of its processes end", || self.pids.iter().all(|&pid| !is_alive(pid)).then_some(()));
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.fleetctl.kill();
        let _ = self.fleetctl.wait();
    }
}

#[test]
fn a_command_is_where_its_unit_is() {
    let desk = WORLD.desk();
    let machine = &WORLD.machines()[0];
    std::fs::write(machine.run_directory().join("beside.env"), "FROM_FILE=yes\n").expect("the machine's folder");
    let settings = "WorkingDirectory=/var\nUMask=0027\nPrivateTmp=yes\nPrivateNetwork=yes\n\
        Environment=COLOR=blue \"TWO=a b\"\nEnvironmentFile=/run/beside.env\nEnvironmentFile=-/run/nothing.env";
    let start = "ExecStart=/bin/sh -c 'echo mine > /tmp/kept; exec sleep infinity'";
    desk.write("beside.service", &format!("[Service]\n{settings}\n{start}\n"));
    desk.ok("fleetctl start beside");
    let own = "readlink /proc/$(systemctl --user show -P MainPID beside.service)/ns/net";
    let unit_net = on(machine, &["sh", "-c", own]);
    eventually("the unit has written", || {
        desk.run("fleetctl exec beside -- test -s /tmp/kept").code.eq(&0).then_some(())
    });
    let said = desk.ok(
        "fleetctl exec beside -- sh -c 'pwd; umask; echo $COLOR; echo $TWO; echo $FROM_FILE; cat /tmp/kept; readlink /proc/self/ns/net'",
    );
    assert_eq!(said, format!("/var\n0027\nblue\na b\nyes\nmine\n{unit_net}\n"));
    // In the unit's slice, as a service of its own.
    let slice = on(machine, &["systemctl", "--user", "show", "-P", "Slice", "beside.service"]);
    assert!(slice.starts_with("fleet-"), "{slice}");
    let cgroup = desk.ok("fleetctl exec beside -- cat /proc/self/cgroup");
    assert!(cgroup.contains(&format!("/{slice}/fleet-exec-")), "{cgroup}");
    // Words are given as they are.
    let words = desk.ok("fleetctl exec beside -- printf '<%s>' '$COLOR' '%n' 'a  b' '' '\"x;y\"' 'é'");
    assert_eq!(words, "<$COLOR><%n><a  b><><\"x;y\"><é>");
    // It need not run, only be there.
    desk.ok("fleetctl stop beside");
    assert_eq!(desk.ok("fleetctl exec beside.service -- sh -c 'echo $COLOR'"), "blue\n");
    assert_eq!(runs_on(&WORLD, "beside.service"), [""; 0]);
    desk.ok("fleetctl destroy beside");
}

/// What a command has in common with its unit is not changed by its coming and going.
#[test]
fn a_command_leaves_its_units_directories_alone() {
    let desk = WORLD.desk();
    let directories = "RuntimeDirectory=kept\nRuntimeDirectoryMode=0700\nStateDirectory=kept\nStateDirectoryMode=0750";
    desk.write("kept.service", &format!("[Service]\n{directories}\nExecStart=/bin/sleep infinity\n"));
    desk.ok("fleetctl start kept");
    let look = "fleetctl exec kept -- sh -c 'touch $RUNTIME_DIRECTORY/here; stat -c %a $RUNTIME_DIRECTORY $STATE_DIRECTORY; ls $RUNTIME_DIRECTORY'";
    for _ in 0..2 {
        assert_eq!(desk.ok(look), "700\n750\nhere\n");
    }
    // They are still there for the unit itself, and go with it.
    let pid = on(&WORLD.machines()[0], &["systemctl", "--user", "show", "-P", "MainPID", "kept.service"]);
    let runtime = on(
        &WORLD.machines()[0],
        &["sh", "-c", &format!("tr '\\0' '\\n' < /proc/{pid}/environ | sed -n s/^RUNTIME_DIRECTORY=//p")],
    );
    on(&WORLD.machines()[0], &["test", "-e", &format!("{runtime}/here")]);
    // On a machine of these tests /run is on a disk, where systemd removes only what is empty.
    desk.ok("fleetctl exec kept -- sh -c 'rm $RUNTIME_DIRECTORY/here'");
    desk.ok("fleetctl destroy kept");
    on(&WORLD.machines()[0], &["test", "!", "-e", &runtime]);
}

/// A unit that is in another's namespaces: there the command is, too.
#[test]
fn a_command_joins_the_namespaces_that_its_unit_has_joined() {
    let desk = WORLD.desk();
    let private = "[Service]\nPrivateTmp=yes\nExecStart=/bin/sh -c 'echo %n >> /tmp/who; exec sleep infinity'\n";
    desk.write("first.service", private);
    desk.write("second.service", &format!("[Unit]\nJoinsNamespaceOf=first.service\nAfter=first.service\n{private}"));
    desk.ok("fleetctl start first");
    desk.ok("fleetctl start second");
    for unit in ["first", "second"] {
        eventually("both have written", || {
            let ran = desk.run(&format!("fleetctl exec {unit} -- cat /tmp/who"));
            (ran.stdout == "first.service\nsecond.service\n").then_some(())
        });
    }
    desk.ok("fleetctl destroy first second");
}

#[test]
fn a_command_has_the_units_user() {
    let desk = WORLD.desk();
    desk.write("nobodys.service", "[Service]\nUser=nobody\nSupplementaryGroups=games\nExecStart=/bin/sleep infinity\n");
    desk.ok("fleetctl start nobodys");
    let said = desk.ok("fleetctl exec nobodys -- sh -c 'id -un; id -Gn | grep -o games; echo $USER'");
    assert_eq!(said, "nobody\ngames\nnobody\n");
    desk.ok("fleetctl destroy nobodys");
}

#[test]
fn exit_codes_are_the_commands() {
    let desk = WORLD.desk();
    desk.write("codes.service", SLEEPS);
    desk.write("codes.timer", "[Timer]\nOnBootSec=1d\n");
    desk.write("nowhere.service", "[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineMetadata=disk=none\n");
    desk.ok("fleetctl start codes.service codes.timer");
    desk.ok("fleetctl start --no-block nowhere");
    for (code, command) in [
        (0, "true"),
        (1, "false"),
        (7, "sh -c 'exit 7'"),
        (203, "sh -c 'echo of my own; exit 203'"),
        (137, "sh -c 'kill -KILL $$'"),
        (143, "sh -c 'kill -TERM $$'"),
    ] {
        let ran = desk.fails(code, &format!("fleetctl exec codes -- {command}"));
        assert_eq!(ran.stderr, "", "{ran}");
    }
    for (command, why) in [
        ("codes -- /no/such/program", "203/EXEC"),
        ("codes -- no-such-program", "203/EXEC"),
        ("codes -- ./relative", "refused"),
        ("codes.timer -- true", "no service"),
        ("unknown -- true", "does not exist"),
        ("nowhere -- true", "MachineMetadata=disk=none"),
        ("--machine ffff codes -- true", "no machine `ffff`"),
        ("codes -- ''", "no program"),
    ] {
        let ran = desk.fails(125, &format!("fleetctl exec {command}"));
        assert!(ran.stderr.contains(why) && ran.stdout.is_empty(), "{ran}");
    }
    desk.fails(2, "fleetctl exec codes");
    desk.fails(2, "fleetctl exec codes true");
    desk.fails(125, "fleetctl --endpoint unix:///no/such/socket exec codes -- true");
    eventually("nothing is left of any", || left(&WORLD).is_empty().then_some(()));
    desk.ok("fleetctl destroy codes.service codes.timer nowhere");
}

#[test]
fn all_bytes_come_through_both_ways_and_apart() {
    let desk = WORLD.desk();
    desk.write("bytes.service", SLEEPS);
    desk.ok("fleetctl start bytes");
    let odd = desk.ok("fleetctl exec bytes -- printf '\\377\\000\\n' | od -An -tx1");
    assert_eq!(odd, " ff 00 0a\n");
    let apart = desk.run("fleetctl exec bytes -- sh -c 'echo out; echo err >&2; echo out again'");
    assert_eq!((apart.stdout.as_str(), apart.stderr.as_str()), ("out\nout again\n", "err\n"));
    // Random bytes, and text whose characters are cut at any place.
    for (name, make) in
        [("random", "head -c 10000000 /dev/urandom"), ("text", "yes 'Zeile mit Umlauten: äöü €' | head -c 10000000")]
    {
        let there = WORLD.machines()[0].run_directory().join(name);
        desk.ok(&format!("{make} > {}", there.display()));
        let expected = desk.ok(&format!("sha256sum < {}", there.display()));
        assert_eq!(desk.ok(&format!("fleetctl exec bytes -- cat /run/{name} | sha256sum")), expected, "{name}");
        let back = format!("fleetctl exec -i bytes -- sha256sum < {}", there.display());
        assert_eq!(desk.ok(&back), expected, "{name}");
    }
    assert_eq!(desk.ok("echo unread | fleetctl exec -i bytes -- true"), "");
    assert_eq!(desk.ok("echo not passed | fleetctl exec bytes -- cat"), "");
    let large = desk.fails(125, "head -c 17000000 /dev/zero | fleetctl exec -i bytes -- wc -c");
    assert!(large.stderr.contains("16777216 bytes"), "{large}");
    let large = desk.fails(125, "fleetctl exec bytes -- echo $(head -c 120000 /dev/zero | tr '\\0' x) $(seq 5000)");
    assert!(large.stderr.contains("over the limit of 1000"), "{large}");
    // What is printed comes at once, and a reader that has enough ends it.
    assert_eq!(desk.ok("fleetctl exec bytes -- sh -c 'echo first; exec sleep infinity' | head -n 1"), "first\n");
    eventually("nothing is left of any", || left(&WORLD).is_empty().then_some(()));
    desk.ok("fleetctl destroy bytes");
}

#[test]
fn a_command_ends_with_those_who_wait_for_it_and_with_its_unit() {
    let mut world = World::new(1);
    let desk = world.desk();
    desk.write("a.service", SLEEPS);
    desk.ok("fleetctl start a");

    let mut killed = Begun::new(&world.endpoint(), "a");
    killed.fleetctl.kill().expect("it runs");
    killed.is_gone();

    let mut stopped = Begun::new(&world.endpoint(), "a");
    desk.ok("fleetctl stop a");
    stopped.is_gone();
    assert_eq!(stopped.fleetctl.wait().expect("it ends").code(), Some(143));

    // fleetd takes commands along when it is told to end, and the next one finds those that one left which was killed.
    let mut ended = Begun::new(&world.endpoint(), "a");
    world.cluster().stop_fleetd().expect("it stops");
    assert!(ended.pids.iter().all(|&pid| !is_alive(pid)), "none outlives fleetd");
    assert_eq!(ended.fleetctl.wait().expect("it ends").code(), Some(125));
    world.cluster().start_fleetd().expect("it starts");
    let mut left_alone = Begun::new(&world.endpoint(), "a");
    world.cluster().kill_fleetd().expect("it is killed");
    assert_eq!(left_alone.fleetctl.wait().expect("it ends").code(), Some(125));
    world.cluster().start_fleetd().expect("it starts");
    left_alone.is_gone();
    assert_eq!(left(&world), "");
}

#[test]
fn limits_are_kept_and_commands_can_be_switched_off() {
    let mut world = World::new(1);
    let desk = world.desk();
    world.configure("exec_max = 1\nexec_timeout = 2s");
    desk.write("a.service", SLEEPS);
    desk.ok("fleetctl start a");
    let late = desk.fails(125, "fleetctl exec a -- sh -c 'echo begun; exec sleep infinity'");
    assert!(late.stderr.contains("over the limit of 2s (exec_timeout)") && late.stdout == "begun\n", "{late}");
    world.configure("exec_timeout = 1h");
    let one = Begun::new(&world.endpoint(), "a");
    let two = desk.fails(125, "fleetctl exec a -- true");
    assert!(two.stderr.contains("1 commands run on machine") && two.stderr.contains("(exec_max)"), "{two}");
    drop(one);
    eventually("there is room again", || desk.run("fleetctl exec a -- true").code.eq(&0).then_some(()));
    let log = world.fleetd_log();
    let asked = log.lines().find(|line| line.contains("a command beside a unit is asked for"));
    let asked = asked.unwrap_or_else(|| panic!("{log}"));
    for part in ["id=", "a.service", "uid 0, pid ", "echo begun; exec sleep infinity"] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    world.configure("exec = false");
    let off = desk.fails(125, "fleetctl exec a -- true");
    assert!(off.stderr.contains("switched off") && off.stderr.contains("exec = false"), "{off}");
}

/// Whichever is asked, the one of the unit's machine runs it.
#[test]
fn any_fleetd_passes_a_command_on() {
    let mut world = World::on_etcd(3);
    let specs: Vec<_> = world.machines().iter().map(|machine| machine.spec().clone()).collect();
    let endpoints = world.endpoints();
    let logs: Vec<_> = world.cluster().fleetds().iter().map(|fleetd| fleetd.log()).collect();
    let desks: Vec<Desk> = endpoints.iter().map(|endpoint| Desk::new(endpoint, specs.clone())).collect();
    desks[0].write("a@.service", SLEEPS);
    desks[0].write("everywhere.service", &format!("{SLEEPS}[X-Fleet]\nGlobal=true\n"));
    desks[0].ok("fleetctl start a@1 a@2 a@3 everywhere");
    let host = |unit: &str| machine_of(&world, unit).spec().clone();
    for desk in &desks {
        for unit in ["a@1.service", "a@2.service", "a@3.service"] {
            let said = desk.fails(5, &format!("fleetctl exec {unit} -- sh -c 'hostname; echo err >&2; exit 5'"));
            assert_eq!((said.stdout.trim_end(), said.stderr.as_str()), (host(unit).name.as_str(), "err\n"));
        }
        let several = desk.fails(125, "fleetctl exec everywhere -- hostname");
        assert!(several.stderr.contains("is on 3 machines"), "{several}");
        for spec in &specs {
            let named = format!("fleetctl exec --machine {} everywhere -- hostname", &spec.id[..8]);
            assert_eq!(desk.ok(&named).trim_end(), spec.name);
        }
    }
    let unit = ["a@1.service", "a@2.service", "a@3.service"].into_iter().find(|unit| host(unit).name == "m3");
    let unit = unit.expect("each has one");
    let there = machine_of(&world, unit).run_directory().join("random");
    desks[0].ok(&format!("head -c 10000000 /dev/urandom > {}", there.display()));
    let expected = desks[0].ok(&format!("sha256sum < {}", there.display()));
    assert_eq!(desks[0].ok(&format!("fleetctl exec {unit} -- cat /run/random | sha256sum")), expected);
    assert_eq!(desks[1].ok(&format!("fleetctl exec -i {unit} -- sha256sum < {}", there.display())), expected);
    // Both that were asked have it in their logs, under one ID.
    let id_of = |number: usize| {
        let log = std::fs::read_to_string(&logs[number]).expect("the log is there");
        let line = log.lines().rfind(|line| line.contains("is asked for") && line.contains("sha256sum"));
        let line = line.unwrap_or_else(|| panic!("fleetd {number}: {log}")).to_owned();
        line.split_once("id=").and_then(|(_, rest)| Some(rest.split_once([' ', '}'])?.0.to_owned())).expect("an ID")
    };
    assert_eq!(id_of(1), id_of(2));
    // The client that goes away is two connections away.
    let mut far = Begun::new(&endpoints[0], unit);
    far.fleetctl.kill().expect("it runs");
    far.is_gone();
    // So is the machine whose fleetd goes away.
    let mut lost = Begun::new(&endpoints[0], unit);
    world.cluster().fleetds_mut()[2].kill().expect("killed");
    assert_eq!(lost.fleetctl.wait().expect("it ends").code(), Some(125));
    world.cluster().fleetds_mut()[2].start().expect("it starts");
    lost.is_gone();
}
