//! Labs, judged from the box: what their machines see of each other, what a power loss does, and what is left.
//!
//! These need root and minutes for the first machines' tree; `cargo xtask test --machines` runs them.

#[path = "../on_this_box/box_state.rs"]
#[expect(dead_code, reason = "the tests of the other kind of machine use the rest")]
mod box_state;

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use box_state::{Traces, output, users_of};
use fleet_dev::{DevError, HUB_ADDRESS, Lab, LabMachine, LabSpec};

/// A lab of `n` machines, without fleet.
#[track_caller]
fn lab(n: u8, etcd_members: u16) -> Lab {
    let spec = LabSpec { machines: (1..=n).map(LabSpec::numbered).collect(), etcd_members, fleet: None };
    Lab::start(&spec).unwrap_or_else(|err| panic!("the lab does not start: {err}"))
}

#[track_caller]
fn on(machine: &LabMachine, words: &[&str]) -> String {
    output(machine.command(words[0]).expect("the machine is on").args(&words[1..]))
}

/// Within how many seconds machines that can see each other do, on a busy box.
const SEEN_LIMIT_S: &str = "20";

/// How many seconds without an answer count as silence. Usual are answers within milliseconds.
const SILENCE_S: &str = "1";

/// Whether a ping from one gets an answer of the other within `limit_s` seconds; `hub` is the hub.
fn sees(lab: &Lab, from: &str, to: &str, limit_s: &str) -> bool {
    let to = match to {
        "hub" => HUB_ADDRESS,
        to => lab.machine(to).expect("one of these").spec().address,
    };
    let mut command = match from {
        // The box itself need not have ping, its kernel answers all the same: a port that nobody listens at refuses.
        "hub" => {
            let mut bash = lab.hub_command("timeout");
            bash.args([limit_s, "bash", "-c", &format!(": 2>&1 </dev/tcp/{to}/1 | grep -q refused")]);
            bash
        }
        from => {
            let mut ping = lab.machine(from).expect("one of these").command("ping").expect("it is on");
            ping.args(["-c", "1", "-w", limit_s, "-q", &to.to_string()]);
            ping
        }
    };
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.expect("nsenter is there").success()
}

/// Checks who sees whom: `parts` are the islands, the one with the hub included.
#[track_caller]
fn check_parts(lab: &Lab, parts: &[&[&str]]) {
    let part_of = |name: &str| parts.iter().position(|part| part.contains(&name));
    let names: Vec<&str> = parts.concat();
    let pairs = names.iter().flat_map(|from| names.iter().map(move |to| (*from, *to))).filter(|(from, to)| from != to);
    let wrong: Vec<String> = pairs
        .filter(|(from, to)| {
            let expected = part_of(from) == part_of(to);
            sees(lab, from, to, if expected { SEEN_LIMIT_S } else { SILENCE_S }) != expected
        })
        .map(|(from, to)| format!("{from} -> {to}"))
        .collect();
    assert_eq!(wrong, Vec::<String>::new(), "parts {parts:?}");
}

#[test]
fn machines_are_whole_and_can_be_cut_off() {
    let mut lab = lab(3, 0);
    for machine in lab.machines() {
        let spec = machine.spec();
        let state = machine.command("systemctl").expect("on").arg("is-system-running").output().expect("nsenter");
        let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
        let failed = on(machine, &["systemctl", "--failed", "--no-legend", "--plain"]);
        assert_eq!((state.as_str(), failed.as_str()), ("running", ""), "{}", spec.name);
        assert_eq!(on(machine, &["cat", "/proc/1/comm"]), "systemd");
        assert_eq!(on(machine, &["cat", "/etc/machine-id"]), spec.id);
        assert_eq!(on(machine, &["hostname"]), spec.name);
        assert!(on(machine, &["cat", "/etc/environment"]).contains(&spec.address.to_string()));
        // A unit under its own systemd, in its own cgroup, with a journal.
        on(machine, &["systemd-run", "--quiet", "--wait", "--unit=hello", "echo", "hello from", &spec.name]);
        let said = on(machine, &["journalctl", "--unit=hello", "--output=cat", "--no-pager"]);
        assert!(said.contains(&format!("hello from {}", spec.name)), "{said}");
        assert_eq!(on(machine, &["stat", "--file-system", "--format=%T", "/sys/fs/cgroup"]), "cgroup2fs");
    }
    let names: Vec<&str> = vec!["hub", "m1", "m2", "m3"];
    check_parts(&lab, &[&names]);
    lab.partition(&[&["m3"]]).expect("a part");
    check_parts(&lab, &[&["hub", "m1", "m2"], &["m3"]]);
    lab.partition(&[&["m1", "m2"], &["m3"]]).expect("other parts");
    check_parts(&lab, &[&["hub"], &["m1", "m2"], &["m3"]]);
    lab.heal().expect("one part");
    check_parts(&lab, &[&names]);
    assert!(matches!(lab.partition(&[&["m9"]]), Err(DevError::NoMachine { .. })));

    // A datagram gets through in one direction only.
    let heard = |lab: &Lab, from: &str, to: &str| {
        let (from, to) = (lab.machine(from).expect("from"), lab.machine(to).expect("to"));
        let listen = "import socket,sys; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('0.0.0.0',9999)); \
                      print('ready',flush=True); s.settimeout(3); print(s.recv(9).decode())";
        let mut listener = to.command("python3").expect("on");
        let mut listener =
            listener.args(["-c", listen]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it");
        let mut lines = BufReader::new(listener.stdout.take().expect("piped")).lines();
        assert_eq!(lines.next().expect("a line").expect("text"), "ready");
        // What the kernel knows of the peer's address must not have to be asked for: that takes both directions.
        on(from, &["bash", "-c", &format!("echo hello >/dev/udp/{}/9999", to.spec().address)]);
        let said = lines.next().map(|line| line.expect("text"));
        listener.wait().expect("our child");
        said.as_deref() == Some("hello")
    };
    assert!(heard(&lab, "m1", "m2") && heard(&lab, "m2", "m1"));
    lab.mute(&["m2"]).expect("muted");
    assert!(heard(&lab, "m1", "m2"), "m2 hears");
    assert!(!heard(&lab, "m2", "m1"), "m2 is not heard");
    lab.heal().expect("healed");
    assert!(heard(&lab, "m2", "m1"));
    lab.stop().expect("nothing is left");
}

#[test]
fn power_is_lost_and_comes_back() {
    let mut lab = lab(2, 0);
    let leader = lab.machine("m2").expect("m2").leader_pid().expect("on");
    let boot = on(lab.machine("m2").expect("m2"), &["cat", "/etc/machine-id", "/proc/1/comm"]);
    on(lab.machine("m2").expect("m2"), &["touch", "/root/kept", "/run/lost"]);
    // A connection that is open: m1 must see silence, no end.
    let serve =
        "import socket; s=socket.create_server(('',7000)); print('ready',flush=True); c,_=s.accept(); c.recv(9)";
    let mut server = lab.machine("m2").expect("m2").command("python3").expect("on");
    let mut server = server.args(["-c", serve]).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut ready = BufReader::new(server.stdout.take().expect("piped")).lines();
    assert_eq!(ready.next().expect("a line").expect("text"), "ready");
    let call = "import socket; s=socket.create_connection(('m2',7000),5); print('open',flush=True); s.settimeout(3)\n\
                try: print('ended', s.recv(9))\nexcept Exception as e: print(type(e).__name__)";
    let mut caller = lab.machine("m1").expect("m1").command("python3").expect("on");
    let mut caller = caller.args(["-c", call]).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut said = BufReader::new(caller.stdout.take().expect("piped")).lines();
    assert_eq!(said.next().expect("a line").expect("text"), "open");

    let traces = Traces::of(leader);
    assert!(3 < traces.process_count(), "{traces:?}");
    lab.machine_mut("m2").expect("m2").kill().expect("off");
    assert_eq!(traces.left(), Vec::<String>::new());
    assert!(!lab.machine("m2").expect("m2").is_on());
    assert!(matches!(lab.machine("m2").expect("m2").command("true"), Err(DevError::Off { .. })));
    assert_eq!(said.next().expect("a line").expect("text"), "TimeoutError", "the peer of a machine without power");
    server.wait().expect("our child");
    caller.wait().expect("our child");
    assert!(!sees(&lab, "m1", "m2", SILENCE_S));

    // Off while it is cut off, it stays cut off when it boots.
    lab.partition(&[&["m2"]]).expect("a part");
    lab.machine_mut("m2").expect("m2").boot().expect("on again");
    check_parts(&lab, &[&["hub", "m1"], &["m2"]]);
    lab.heal().expect("one part");
    check_parts(&lab, &[&["hub", "m1", "m2"]]);
    let m2 = lab.machine("m2").expect("m2");
    assert_eq!(on(m2, &["cat", "/etc/machine-id", "/proc/1/comm"]), boot);
    assert_eq!(on(m2, &["sh", "-c", "ls /root/kept; ls /run/lost || :"]), "/root/kept");

    // A hung machine: its kernel answers, its processes do not.
    m2.freeze().expect("frozen");
    assert!(sees(&lab, "m1", "m2", SEEN_LIMIT_S));
    let mut look = Command::new("timeout");
    let command = m2.command("systemctl").expect("on");
    look.arg(SILENCE_S).arg(command.get_program()).args(command.get_args()).arg("is-system-running");
    let status = look.stdin(Stdio::null()).stdout(Stdio::null()).status().expect("timeout is there");
    assert_eq!(status.code(), Some(124), "nobody answers on a frozen machine");
    m2.thaw().expect("thawed");
    assert_eq!(on(m2, &["systemctl", "is-system-running"]), "running");

    // In order, and by itself; both can be booted again.
    on(
        m2,
        &["systemd-run", "--quiet", "--unit=last", "-p", "ExecStop=touch /root/stopped-in-order", "sleep", "infinity"],
    );
    let m2 = lab.machine_mut("m2").expect("m2");
    m2.shut_down().expect("off");
    m2.boot().expect("on");
    assert_eq!(on(m2, &["ls", "/root/stopped-in-order"]), "/root/stopped-in-order");
    lab.stop().expect("nothing is left");
}

#[test]
fn etcd_serves_the_machines_and_can_be_hung_and_killed() {
    let mut lab = lab(1, 3);
    let status = |lab: &Lab, member: usize| {
        let url = format!("{}/health", lab.etcd()[member].endpoint());
        let mut curl = lab.machine("m1").expect("m1").command("curl").expect("on");
        let output = curl.args(["--silent", "--max-time", "5", &url]).output().expect("nsenter is there");
        String::from_utf8_lossy(&output.stdout).contains("true")
    };
    for member in 0..3 {
        assert!(status(&lab, member), "member {member}");
    }
    lab.etcd()[0].freeze();
    assert!(!status(&lab, 0));
    assert!(status(&lab, 1) && status(&lab, 2), "the two others are a majority");
    lab.etcd()[0].thaw();
    assert!(status(&lab, 0));
    lab.etcd_mut()[1].kill().expect("killed");
    assert!(!status(&lab, 1) && lab.etcd()[1].pid().is_none());
    lab.etcd_mut()[1].start().expect("started");
    assert!(status(&lab, 1));
    // From a thread of this process, too.
    let address = (HUB_ADDRESS, 2379);
    lab.in_network(|| TcpStream::connect(address)).expect("in the network").expect("etcd listens");
    let own = std::fs::read_to_string("/proc/self/net/fib_trie").expect("/proc is mounted");
    assert!(!own.contains(&HUB_ADDRESS.to_string()), "the rest of this process is where it was");
    lab.stop().expect("nothing is left");
}

#[test]
fn nothing_is_left() {
    let traces = |lab: &Lab| {
        let leaders = lab.machines().iter().filter_map(LabMachine::leader_pid);
        let etcd = lab.etcd().iter().filter_map(fleet_dev::EtcdMember::pid);
        leaders.chain(etcd).map(Traces::of).collect::<Vec<_>>()
    };
    let dir = |lab: &Lab| lab.machines()[0].console().parent().expect("a folder").to_owned();
    let check = |traces: &[Traces], dir: &Path| {
        let left: Vec<String> = traces.iter().flat_map(Traces::left).collect();
        assert_eq!(left, Vec::<String>::new());
        assert!(!dir.exists(), "{}", dir.display());
        assert_eq!(users_of(dir), Vec::<String>::new());
    };
    let networks = || output(Command::new("ip").args(["-brief", "link"]));
    let before = networks();

    let stopped = lab(2, 1);
    let (of_stopped, dir_of_stopped) = (traces(&stopped), dir(&stopped));
    assert_eq!(of_stopped.len(), 3);
    assert_ne!(users_of(&dir_of_stopped), Vec::<String>::new(), "the check below would see it");
    stopped.machines()[1].freeze().expect("frozen");
    stopped.stop().expect("also with a frozen machine");
    check(&of_stopped, &dir_of_stopped);

    let dropped = lab(1, 1);
    let (of_dropped, dir_of_dropped) = (traces(&dropped), dir(&dropped));
    drop(dropped);
    check(&of_dropped, &dir_of_dropped);
    assert_eq!(networks(), before, "the box's own network");
}
