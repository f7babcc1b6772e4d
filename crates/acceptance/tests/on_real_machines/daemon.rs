//! `fleetd` itself: bad configurations, a second one, sockets from systemd, readiness, and its end.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use expect_test::{Expect, expect};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::desk::Desk;
use crate::judge::{is_alive, main_pid, runs_on};
use crate::world::{WAIT_LIMIT, World, eventually, program};

/// A `fleetd` started by hand; killed when the test is over, however it ends.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only if it has ended, which is what is wanted.
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("process numbers are small"))
}

/// Every bad value is an error that names key, value and source; nothing is started.
#[test]
fn bad_values_are_named() {
    let desk = Desk::new("unix:///does/not/exist", Vec::new());
    desk.write("ttl.conf", "# ours\nstore = embedded\nagent_ttl = 1s\n");
    desk.write("word.conf", "store = embedded\nnonsense\n");
    desk.write("machines.toml", "[[machine]]\nid = \"x/z\"\nsystemd_socket = \"/s\"\nunit_directory = \"/u\"\n");
    // Whatever is wrong with a test, a fleetd that starts here must find nothing of this box's own.
    let fleetd =
        "FLEET_STORE_PATH=$PWD/never.redb FLEET_UNITS_DIRECTORY=$PWD/never FLEET_LISTEN=unix://$PWD/never.sock fleetd";
    let rows: &[(&str, &str, i32, Expect)] = &[
        (
            "",
            "--config ttl.conf",
            1,
            expect![[r#"
            error: agent_ttl = `1s` (ttl.conf, line 3): at least 3 s, so that two renewals fit in
        "#]],
        ),
        (
            "",
            "--config word.conf",
            1,
            expect![[r#"
            error: configuration file word.conf, line 2: `nonsense` has no `=`; write `key = value`
        "#]],
        ),
        (
            "",
            "--config missing.conf",
            1,
            expect![[r#"
            error: cannot read configuration file missing.conf
              cause: No such file or directory (os error 2)
        "#]],
        ),
        (
            "",
            "--agent-ttl soon",
            1,
            expect![[r#"
            error: agent_ttl = `soon` (flag --agent-ttl): write a duration with its unit, such as `30s`, `1m30s` or `500ms`
        "#]],
        ),
        (
            "",
            "--listen nowhere",
            1,
            expect![[r#"
            error: listen = `nowhere` (flag --listen): `nowhere`: write unix:///path or host:port
        "#]],
        ),
        (
            "",
            "--machines-file machines.toml",
            1,
            expect![[r#"
            error: machines_file machines.toml, machine 1
              cause: machine ID `x/z` has the character '/'; letters, digits, `-`, `_` and `.` are allowed, and not at first a `.`
        "#]],
        ),
        (
            "",
            "--machines-file ttl.conf",
            1,
            expect![[r#"
            error: machines_file ttl.conf cannot be understood
              cause: TOML parse error at line 2, column 9
              |
            2 | store = embedded
              |         ^^^^^^^^
            string values must be quoted, expected literal string

        "#]],
        ),
        (
            "",
            "--nonsense",
            2,
            expect![[r#"
            error: unexpected argument '--nonsense' found

            Usage: fleetd [OPTIONS]

            For more information, try '--help'.
        "#]],
        ),
        (
            "FLEET_SLICES=many",
            "",
            1,
            expect![[r#"
            error: slices = `many` (environment variable FLEET_SLICES): write a whole number from 0 to 1024
        "#]],
        ),
    ];
    for (variables, arguments, code, expected) in rows {
        let ran = desk.fails(*code, &format!("{variables} {fleetd} {arguments}"));
        assert_eq!(ran.stdout, "");
        expected.assert_eq(&ran.stderr);
    }
    assert!(!desk.path().join("never.redb").exists());
}

/// A second `fleetd` on the same store is refused, and so is one at the same socket; the first goes on.
#[test]
fn a_second_fleetd_is_refused() {
    let world = World::new(1);
    let desk = world.desk();
    let config = world.fleetd_config();
    let config = config.display();
    let refused = desk.fails(1, &format!("fleetd --config {config} 2>&1"));
    expect![[r#"
        error: another fleetd serves machine <m1-id>: it holds <cluster>/m1/run/user/0/systemd/user/.fleetd.lock
    "#]]
    .assert_eq(&desk.filter(&refused.stdout));
    let refused =
        desk.fails(1, &format!("fleetd --config {config} --store-path {}/other.redb 2>&1", desk.path().display()));
    expect![[r#"
        error: another fleetd serves machine <m1-id>: it holds <cluster>/m1/run/user/0/systemd/user/.fleetd.lock
    "#]]
    .assert_eq(&desk.filter(&refused.stdout));
    desk.write("fine.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    desk.ok("fleetctl start fine.service");
    assert_eq!(runs_on(&world, "fine.service"), ["m1"]);
}

/// systemd holds the socket and starts `fleetd` at the first request, which gets its answer.
#[test]
fn a_socket_from_systemd_is_served() {
    let mut world = World::new(1);
    world.cluster().stop_fleetd().expect("fleetd stops");
    let desk = world.desk();
    let socket = desk.path().join("activated.sock");
    let mut command = Command::new("systemd-socket-activate");
    // An empty variable takes back what the file says: the passed socket is then the only one.
    command.args([&format!("--listen={}", socket.display()), "--setenv=FLEET_LISTEN="]);
    command.arg(program("fleetd")).arg("--config").arg(world.fleetd_config());
    let _daemon = start(command, &desk.path().join("activated.log"));
    eventually("the socket is there", || socket.exists().then_some(()));
    let listed =
        desk.ok(&format!("fleetctl --endpoint unix://{} list-machines --no-legend --fields=ip", socket.display()));
    // The first answer may come before the machine is present: the request was there before fleetd.
    assert!(listed.is_empty() || listed.trim() == world.machines()[0].spec().address.to_string(), "{listed}");
    desk.write("activated.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    desk.ok(&format!("fleetctl --endpoint unix://{} start activated.service", socket.display()));
    assert_eq!(runs_on(&world, "activated.service"), ["m1"]);
    let own = UnixStream::connect(world.dir().join("fleet.sock"));
    assert!(own.is_err(), "nobody listens at the socket of the configuration");
}

/// Says READY=1 when it can be used and STOPPING=1 when it goes; SIGTERM and SIGINT end it well and leave units running.
#[test]
fn it_says_when_it_is_ready_and_leaves_units_running() {
    let mut world = World::new(3);
    let desk = world.desk();
    desk.write("stays@.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    desk.ok("fleetctl start stays@1 stays@2 stays@3");
    let units = ["stays@1.service", "stays@2.service", "stays@3.service"];
    let before = units.map(|unit| main_pid(&world, unit));
    world.cluster().stop_fleetd().expect("fleetd stops");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let path = desk.path().join(format!("notify-{signal}"));
        let notify = UnixDatagram::bind(&path).expect("our folder");
        notify.set_read_timeout(Some(WAIT_LIMIT)).expect("a limit that is not zero");
        let mut command = Command::new(program("fleetd"));
        command.arg("--config").arg(world.fleetd_config()).env("NOTIFY_SOCKET", &path);
        let mut daemon = start(command, &desk.path().join(format!("{signal}.log")));
        hear(&notify, "READY=1");
        assert_eq!(desk.ok("fleetctl list-machines --no-legend").lines().count(), 3, "ready means that it can be used");
        kill(pid_of(&daemon.0), signal).expect("it runs");
        hear(&notify, "STOPPING=1");
        let status = daemon.0.wait().expect("it is our child");
        assert!(status.success(), "{signal}: {status}");
        assert!(before.iter().all(|pid| is_alive(*pid)));
    }
    world.cluster().start_fleetd().expect("fleetd starts");
    assert_eq!(units.map(|unit| main_pid(&world, unit)), before);
    for unit in units {
        world.wait_active(unit, "active");
    }
}

/// SIGHUP puts into force what can be reloaded, says what waits for a restart, keeps what was in force when the file is wrong, and
/// touches neither units nor connections.
#[test]
fn the_configuration_is_reloaded() {
    let mut world = World::new(1);
    let desk = world.desk();
    desk.write("stays.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    desk.write("ssd.service", "[Service]\nExecStart=/bin/sleep infinity\n[X-Fleet]\nMachineMetadata=disk=ssd\n");
    desk.ok("fleetctl start stays.service && fleetctl start --no-block ssd.service");
    let before = main_pid(&world, "stays.service");
    world.cluster().stop_fleetd().expect("fleetd stops");
    let path = desk.path().join("notify");
    let notify = UnixDatagram::bind(&path).expect("our folder");
    notify.set_read_timeout(Some(WAIT_LIMIT)).expect("a limit that is not zero");
    let mut command = Command::new(program("fleetd"));
    command.arg("--config").arg(world.fleetd_config()).env("NOTIFY_SOCKET", &path);
    let log = desk.path().join("reload.log");
    let daemon = start(command, &log);
    hear(&notify, "READY=1");
    let mut open = UnixStream::connect(world.dir().join("fleet.sock")).expect("fleetd listens");

    let file = std::fs::read_to_string(world.fleetd_config()).expect("the configuration is there");
    let machines_path = world.dir().join("machines.toml");
    let machines = std::fs::read_to_string(&machines_path).expect("the machines are there");
    let reload = |keys: &str| {
        std::fs::write(world.fleetd_config(), format!("{file}\n{keys}")).expect("our file");
        kill(pid_of(&daemon.0), Signal::SIGHUP).expect("it runs");
        hear(&notify, "RELOADING=1");
        hear(&notify, "READY=1");
        std::fs::read_to_string(&log).expect("the log is there")
    };
    assert!(machines.contains("[machine.metadata]"), "{machines}");
    std::fs::write(&machines_path, machines.replace("[machine.metadata]", "[machine.metadata]\ndisk = \"ssd\""))
        .expect("our file");
    let said = reload("verbosity = 1\ntoken_limit = 1\nslices = 3\nagent_ttl = 20s");
    assert!(said.contains("fleetd has to be started anew for agent_ttl, slices"), "{said}");
    assert!(said.contains("the configuration was read anew reloaded=\"token_limit verbosity\""), "{said}");
    // Its metadata have come to the cluster, and so the unit that waited for them to the machine.
    world.wait_active("ssd.service", "active");
    let page =
        || desk.ok("curl --silent --unix-socket $(echo $FLEETCTL_ENDPOINT | sed s,unix://,,) http://x/fleet/v1/units");
    assert!(page().starts_with(r#"{"nextPageToken":"AQACAA==""#), "{}", page());
    assert!(
        std::fs::read_to_string(&log).expect("the log is there").contains("answered"),
        "verbosity 1 tells of requests"
    );

    let said = reload("token_limit = none");
    let wrong = "the configuration cannot be used, so all stays as it was: token_limit = `none` (";
    assert!(said.contains(wrong), "{said}");
    assert!(page().starts_with(r#"{"nextPageToken":"AQACAA==""#), "{}", page());

    open.write_all(b"GET /fleet/v1/machines HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("it is still open");
    let mut answer = String::new();
    open.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""disk":"ssd""#), "{answer}");
    assert_eq!(main_pid(&world, "stays.service"), before);
}

/// systemd's watchdog hears that it works.
#[test]
fn it_tells_the_watchdog() {
    let mut world = World::new(1);
    let desk = world.desk();
    world.cluster().stop_fleetd().expect("fleetd stops");
    let path = desk.path().join("notify");
    let notify = UnixDatagram::bind(&path).expect("our folder");
    notify.set_read_timeout(Some(WAIT_LIMIT)).expect("a limit that is not zero");
    let mut command = Command::new(program("fleetd"));
    command.arg("--config").arg(world.fleetd_config()).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000");
    let _daemon = start(command, &desk.path().join("watchdog.log"));
    for _ in 0..3 {
        hear(&notify, "WATCHDOG=1");
    }
}

fn start(mut command: Command, log: &Path) -> Daemon {
    let log = std::fs::File::create(log).expect("our folder");
    let log_too = log.try_clone().expect("descriptors are left");
    command.stdin(Stdio::null()).stdout(log).stderr(log_too);
    Daemon(command.spawn().expect("the program starts"))
}

#[track_caller]
fn hear(notify: &UnixDatagram, expected: &str) {
    let begun = std::time::Instant::now();
    let mut buffer = [0; 4096];
    while begun.elapsed() < WAIT_LIMIT + Duration::from_secs(1) {
        let len = notify.recv(&mut buffer).unwrap_or_else(|err| panic!("no {expected}: {err}"));
        if String::from_utf8_lossy(&buffer[..len]).lines().any(|line| line == expected) {
            return;
        }
    }
    panic!("no {expected} within {WAIT_LIMIT:?}");
}
