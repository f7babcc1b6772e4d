//! Machines on this box, judged by what systemd, the journal and the kernel say.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use fleet_dev::{Machine, MachineSpec};

use crate::box_state::{Traces, output, users_of, wait_for_line, wardens_of};

fn machines(n: u8, dir: &Path) -> Vec<Machine> {
    Machine::start_all((1..=n).map(MachineSpec::numbered).collect(), dir).expect("machines start on this box")
}

fn systemctl(machine: &Machine, args: &[&str]) -> Command {
    let mut command = machine.command("systemctl");
    command.arg("--user").args(args);
    command
}

fn write_unit(machine: &Machine, name: &str, text: &str) {
    fs::write(machine.unit_directory().join(name), text).expect("the unit directory is there");
}

#[test]
fn three_machines_are_three_machines() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let machines = machines(3, folder.path());
    for (machine, n) in machines.iter().zip(1..) {
        assert_eq!(output(&mut systemctl(machine, &["is-system-running"])), "running");
        assert_eq!(output(&mut machine.command("hostname")), format!("m{n}"));
        assert_eq!(output(machine.command("cat").arg("/etc/machine-id")), MachineSpec::numbered(n).id);
        assert_eq!(
            output(machine.command("cat").arg("/etc/environment")),
            format!("COREOS_PUBLIC_IPV4=127.77.0.1{n}\nCOREOS_PRIVATE_IPV4=127.77.0.1{n}")
        );
        UnixStream::connect(machine.socket()).expect("the private socket takes connections from the box");
        // A unit with the same name everywhere that says where it is, as systemd and as its process see it.
        write_unit(
            machine,
            "where.service",
            "[Service]\nEnvironmentFile=/etc/environment\n\
             ExecStart=/bin/sh -c 'echo %H $(hostname) %m $COREOS_PUBLIC_IPV4; exec sleep infinity'\n",
        );
        output(&mut systemctl(machine, &["start", "where"]));
        let mut journal = machine.command("timeout");
        journal.args(["30", "journalctl", "--follow", "--lines=all", "--output=cat", "--user-unit", "where"]);
        wait_for_line(journal, &format!("m{n} m{n} {} 127.77.0.1{n}", MachineSpec::numbered(n).id));
    }

    // What one machine has, the others do not see.
    write_unit(&machines[0], "only.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    output(&mut systemctl(&machines[0], &["start", "only"]));
    let is_active = |machine| {
        let output = systemctl(machine, &["is-active", "only"]).output().expect("systemctl is installed");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(machines.iter().map(is_active).collect::<Vec<_>>(), ["active", "inactive", "inactive"]);

    // Process ids are those of the box, so that one outside can watch a main PID.
    let main_pid = output(&mut systemctl(&machines[0], &["show", "only", "--property=MainPID", "--value"]));
    let name = fs::read_to_string(format!("/proc/{main_pid}/comm")).expect("the main PID is a process of the box");
    assert_eq!(name, "sleep\n");
    Machine::stop_all(machines).expect("machines stop");
}

#[test]
fn journal_and_status_show_what_units_and_systemd_said() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let machine = Machine::start(MachineSpec::numbered(1), folder.path()).expect("a machine starts on this box");
    // It fails only when the journal has its last words: journald does not learn the unit of a process that is gone. And
    // `status` leaves out lines from before the moment at which systemd notes the start; with a process before it, that
    // moment has passed.
    output(machine.command("sh").args(["-c", "mkfifo $HOME/go"]));
    let script = "echo no luck; read go <$HOME/go; exit 3";
    let bad = format!("[Service]\nExecStartPre=/bin/true\nExecStart=/bin/sh -c '{script}'\n");
    write_unit(&machine, "bad.service", &bad);
    output(&mut systemctl(&machine, &["start", "bad"]));
    let journal = || {
        let mut journal = machine.command("timeout");
        journal.args(["30", "journalctl", "--follow", "--lines=all", "--user-unit", "bad"]);
        journal
    };
    wait_for_line(journal(), "no luck");
    output(machine.command("sh").args(["-c", "echo >$HOME/go"]));
    wait_for_line(journal(), "Failed with result 'exit-code'");

    let status = systemctl(&machine, &["status", "bad", "--no-pager"]).output().expect("systemctl is installed");
    assert_eq!(status.status.code(), Some(3), "systemctl's code for a unit that is not active");
    let status = String::from_utf8_lossy(&status.stdout);
    for part in ["failed (Result: exit-code)", "m1 sh[", "no luck", "m1 systemd["] {
        assert!(status.contains(part), "no `{part}` in\n{status}");
    }
    machine.stop().expect("the machine stops");
}

#[test]
fn stop_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let machines = machines(2, folder.path());
    let mut traces = Vec::new();
    for machine in &machines {
        // One that ends by itself when asked, one that will not end, and one that tried to get away.
        let away = "[Service]\nType=forking\nExecStart=/bin/sh -c 'setsid sleep infinity & exit 0'\n";
        write_unit(machine, "meek.service", "[Service]\nExecStart=/bin/sleep infinity\n");
        write_unit(
            machine,
            "stubborn.service",
            "[Service]\nExecStart=/bin/sh -c 'trap : TERM; while :; do sleep 1; done'\n",
        );
        write_unit(machine, "away.service", away);
        output(&mut systemctl(machine, &["start", "meek", "stubborn", "away"]));
        traces.push(Traces::of(machine.leader_pid().expect("the machine is on")));
    }
    // systemd, its journal, and at least one process of each unit.
    assert!(traces.iter().all(|traces| 5 <= traces.process_count()), "{traces:#?}");
    assert!(!users_of(folder.path()).is_empty(), "wardens and mounts are seen while there are some");

    Machine::stop_all(machines).expect("machines stop");
    for traces in traces {
        assert_eq!(traces.left(), [""; 0]);
    }
    assert_eq!(users_of(folder.path()), [""; 0]);
    let names: Vec<_> = fs::read_dir(folder.path()).expect("our folder").collect();
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn a_dropped_machine_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let machine = Machine::start(MachineSpec::numbered(1), folder.path()).expect("a machine starts on this box");
    let traces = Traces::of(machine.leader_pid().expect("the machine is on"));
    drop(machine);
    assert_eq!(traces.left(), [""; 0]);
    assert_eq!(users_of(folder.path()), [""; 0]);
    assert_eq!(fs::read_dir(folder.path()).expect("our folder").count(), 0);
}

#[test]
fn power_loss_and_reboot() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut machine = Machine::start(MachineSpec::numbered(1), folder.path()).expect("a machine starts on this box");
    write_unit(&machine, "x.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    output(&mut systemctl(&machine, &["start", "x"]));
    let home = output(machine.command("sh").args(["-c", "echo kept > $HOME/file; echo $HOME"]));
    let (enter, socket, first) = (machine.enter(), machine.socket().to_owned(), machine.leader_pid());
    let traces = Traces::of(first.expect("the machine is on"));

    machine.kill().expect("everything can be killed");
    assert_eq!(traces.left(), [""; 0]);
    assert!(!machine.is_on());
    let off = machine.command("true").output().expect("sh is installed");
    assert_eq!(off.status.code(), Some(125));
    assert_eq!(String::from_utf8_lossy(&off.stderr), "machine m1 is off\n");
    machine.freeze().expect_err("a machine that is off cannot be frozen");
    machine.kill().expect("no harm in it");

    machine.boot().expect("it boots again");
    assert_eq!((machine.enter(), machine.socket().to_owned()), (enter, socket), "what others hold stays valid");
    assert_ne!(machine.leader_pid(), first);
    assert_eq!(output(&mut systemctl(&machine, &["is-system-running"])), "running");
    let left_units = systemctl(&machine, &["cat", "x"]).output().expect("systemctl is installed");
    assert!(!left_units.status.success(), "/run is empty after a boot");
    assert_eq!(output(machine.command("cat").arg(format!("{home}/file"))), "kept");

    machine.kill().expect("everything can be killed");
    machine.stop().expect("a machine that is off is stopped, too");
    assert_eq!(users_of(folder.path()), [""; 0]);
    assert_eq!(fs::read_dir(folder.path()).expect("our folder").count(), 0);
}

#[test]
fn a_frozen_machine_is_there_and_does_not_answer() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let machine = Machine::start(MachineSpec::numbered(1), folder.path()).expect("a machine starts on this box");
    let ask = |machine: &Machine| {
        let enter = machine.enter();
        let mut command = Command::new("timeout");
        command.args(["--kill-after=1", "1"]).args(enter).args(["systemctl", "--user", "is-system-running"]);
        command.status().expect("timeout is installed").success()
    };
    machine.freeze().expect("cgroup v2 is there");
    UnixStream::connect(machine.socket()).expect("the kernel still takes connections");
    assert!(!ask(&machine), "a frozen systemd answers nothing");
    machine.thaw().expect("cgroup v2 is there");
    assert!(ask(&machine));
    machine.freeze().expect("cgroup v2 is there");
    let traces = Traces::of(machine.leader_pid().expect("the machine is on"));
    machine.stop().expect("a frozen machine is stopped");
    assert_eq!(traces.left(), [""; 0]);
}

/// A process of its own that brings up machines, to be killed.
struct Starter {
    child: Child,
    leaders: Vec<u32>,
    /// Held open, so that it can say more.
    lines: Lines<BufReader<ChildStdout>>,
}

impl Starter {
    fn run(dir: &Path, n: u8) -> Starter {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleet-dev-machines"));
        command.arg(dir).arg(n.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program of this crate starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
        let first: Vec<String> = lines.by_ref().take(usize::from(n)).map(|line| line.expect("text")).collect();
        let leader = |line: &String| line.split('\t').nth(1)?.parse().ok();
        let leaders: Option<Vec<u32>> = first.iter().map(leader).collect();
        Starter { child, leaders: leaders.unwrap_or_else(|| panic!("not the lines of machines: {first:?}")), lines }
    }

    fn kill(mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }
}

#[test]
fn nothing_outlives_a_killed_starter() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let starter = Starter::run(folder.path(), 3);
    let traces: Vec<Traces> = starter.leaders.iter().copied().map(Traces::of).collect();
    starter.kill();

    // Machines in the same folder: the start waits until the wardens of the dead ones are done with it.
    let again = machines(3, folder.path());
    for traces in traces {
        assert_eq!(traces.left(), [""; 0]);
    }
    for machine in &again {
        assert_eq!(output(&mut systemctl(machine, &["is-system-running"])), "running");
    }
    Machine::stop_all(again).expect("machines stop");
    assert_eq!(users_of(folder.path()), [""; 0]);
}

#[test]
fn what_outlives_even_the_wardens_is_swept_at_the_next_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let starter = Starter::run(&folder.path().join("first"), 2);
    let traces: Vec<Traces> = starter.leaders.iter().copied().map(Traces::of).collect();
    let mut kill = Command::new("kill");
    kill.arg("-9").args(wardens_of(starter.child.id()).iter().map(u32::to_string));
    output(&mut kill);
    starter.kill();
    assert!(traces.iter().all(|traces| !traces.left().is_empty()), "without wardens the machines live on");

    let next = Starter::run(&folder.path().join("second"), 1);
    for traces in traces {
        assert_eq!(traces.left(), [""; 0]);
    }
    let Starter { mut child, lines, .. } = next;
    drop(child.stdin.take());
    assert_eq!(lines.count(), 2, "it says when it is up and when it is down");
    assert!(child.wait().expect("it is our child").success());
    assert_eq!(users_of(folder.path()), [""; 0]);
}

#[test]
fn a_systemd_that_cannot_start_is_quoted_and_nothing_is_left() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // systemd prefers units in the home folder, and this one hides the target that it is to start.
    let units = folder.path().join("m1/home/.config/systemd/user");
    fs::create_dir_all(&units).expect("our folder");
    std::os::unix::fs::symlink("/dev/null", units.join("basic.target")).expect("our folder");
    let err = Machine::start(MachineSpec::numbered(1), folder.path()).expect_err("it has no target").to_string();
    assert!(err.contains("systemd of machine `m1` did not become ready: it ended with exit status: 1"), "{err}");
    assert!(err.contains("basic.target"), "{err}");
    assert_eq!(users_of(folder.path()), [""; 0]);
    assert_eq!(fs::read_dir(folder.path()).expect("our folder").count(), 0);
}

#[test]
fn bad_folders_are_refused_and_leave_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let refused = |name: &str| {
        let dir = folder.path().join(name);
        let err = Machine::start(MachineSpec::numbered(1), &dir).expect_err("this folder cannot work").to_string();
        assert_eq!(fs::read_dir(&dir).expect("it was made").count(), 0, "{err}");
        err
    };
    assert!(refused(&"x".repeat(90)).contains("too long for a unix socket"));
    assert!(refused("with blank").contains("with blank` has blanks"));

    // A failure in the middle: a file lies where the machine's folder should be.
    let dir = folder.path().join("occupied");
    fs::create_dir(&dir).expect("our folder");
    fs::write(dir.join("m1"), "").expect("our folder");
    let err = Machine::start(MachineSpec::numbered(1), &dir).expect_err("a file is in the way").to_string();
    assert!(err.contains("occupied/m1/"), "{err}");
    assert_eq!(users_of(folder.path()), [""; 0]);
}
