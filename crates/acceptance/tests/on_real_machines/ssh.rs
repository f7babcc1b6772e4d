//! `fleetctl ssh`, `--tunnel` and `fd-forward`, with an sshd on each machine and the ssh that people have.
//!
//! A person's configuration of ssh is in a folder of the test: the `ssh` in front in PATH reads it and nothing else.

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use fleet_dev::Machine;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::desk::{Desk, Ran};
use crate::judge::runs_on;
use crate::world::{World, eventually, program};

static WORLD: LazyLock<World> = LazyLock::new(|| World::new(2));

const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// A person with a key that the machines know, and machines that the person's known hosts know.
struct Person {
    desk: Desk,
    /// Of `m1` and `m2`, at the same port.
    daemons: Vec<Sshd>,
}

/// Where machines' sshd listen, by test: they are at the same addresses, and each test has its own.
#[derive(Clone, Copy)]
enum Port {
    Commands = 2201,
    HostKeys = 2202,
    Keys = 2203,
    Agent = 2204,
    Tunnel = 2205,
    Trouble = 2206,
    Killed = 2207,
    Forward = 2208,
}

impl Person {
    fn new(port: Port) -> Person {
        let desk = WORLD.desk();
        let folder = desk.path();
        keygen(&folder.join("id"));
        fs::copy(folder.join("id.pub"), folder.join("authorized_keys")).expect("our folder");
        let port = port as u16;
        let daemons: Vec<Sshd> = WORLD.machines().iter().map(|machine| Sshd::start(machine, port, folder)).collect();
        let known: Vec<String> =
            daemons.iter().map(|sshd| format!("[{}]:{port} {}", sshd.address, sshd.host_key())).collect();
        desk.write("known_hosts", &known.concat());
        let here = folder.display();
        desk.write(
            "config",
            &format!(
                "Port {port}\nIdentityFile {here}/id\nIdentitiesOnly yes\nBatchMode yes\nGlobalKnownHostsFile /dev/null\n\
                 UserKnownHostsFile {here}/known_hosts\n"
            ),
        );
        let ssh = desk.write("bin/ssh", &format!("#!/bin/sh\nexec /usr/bin/ssh -F {here}/config \"$@\"\n"));
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).expect("our file");
        Person { desk, daemons }
    }

    /// A line for the shell, with the person's ssh.
    fn line(&self, line: &str) -> String {
        let here = self.desk.path().display();
        format!("export PATH={here}/bin:$PATH XDG_RUNTIME_DIR={here}; {line}")
    }

    #[track_caller]
    fn ok(&self, line: &str) -> String {
        self.desk.ok(&self.line(line))
    }

    #[track_caller]
    fn fails(&self, code: i32, line: &str) -> Ran {
        self.desk.fails(code, &self.line(line))
    }

    /// The flag for a tunnel through `m1`.
    fn tunnel(&self) -> String {
        format!("--tunnel {}", self.daemons[0].address)
    }

    /// Folders of tunnels that are there now.
    fn folders(&self) -> usize {
        let entries = fs::read_dir(self.desk.path()).expect("our folder").map(|entry| entry.expect("an entry"));
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("fleetctl-")).count()
    }
}

/// An sshd on a machine; it ends with the test.
struct Sshd {
    process: Child,
    address: String,
    files: String,
}

impl Sshd {
    fn start(machine: &Machine, port: u16, folder: &Path) -> Sshd {
        let (name, address) = (&machine.spec().name, machine.spec().address.to_string());
        let files = format!("{}/sshd-{name}", folder.display());
        let key = format!("{files}.key");
        keygen(Path::new(&key));
        let config = format!("{files}.conf");
        let here = folder.display();
        // Its log tells then where it connects to as a gateway; what clients print is mixed with it.
        let level = if port == Port::Tunnel as u16 { "DEBUG1" } else { "INFO" };
        let text = format!(
            "ListenAddress {address}:{port}\nHostKey {key}\nPidFile none\nUsePAM no\nStrictModes no\n\
             PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             AuthorizedKeysFile {here}/authorized_keys\nLogLevel {level}\n"
        );
        fs::write(&config, text).expect("our folder");
        // sshd as root keeps an empty folder there; packages make it at boot.
        let made = machine.command("mkdir").args(["-p", "/run/sshd"]).status().expect("nsenter is there");
        assert!(made.success(), "{made}");
        let mut command = machine.command("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f", &config]).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(format!("{files}.log")).expect("our folder"));
        let process = command.spawn().expect("nsenter is there");
        let sshd = Sshd { process, address, files };
        eventually(&format!("sshd on {name}: {}", sshd.log()), || TcpStream::connect((&*sshd.address, port)).ok());
        sshd
    }

    fn log(&self) -> String {
        fs::read_to_string(format!("{}.log", self.files)).expect("our file")
    }

    /// How often somebody has logged in.
    fn logins(&self) -> usize {
        self.log().matches("Accepted publickey").count()
    }

    fn host_key(&self) -> String {
        fs::read_to_string(format!("{}.key.pub", self.files)).expect("our file")
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // It ran until now, or the test has failed already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn keygen(path: &Path) {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).stdin(Stdio::null());
    assert!(keygen.status().expect("ssh-keygen is there").success());
}

#[test]
fn a_command_runs_on_the_machine_of_a_unit() {
    let person = Person::new(Port::Commands);
    person.desk.write("far.service", SLEEPS);
    person.ok("fleetctl start far");
    let machine = runs_on(&WORLD, "far.service").concat();
    let spec = WORLD.machines().iter().map(Machine::spec).find(|spec| spec.name == machine).expect("it runs");
    let (id, address) = (&spec.id, spec.address);
    for target in [
        "far",
        "far.service",
        "-u far",
        "--unit=far",
        &format!("-m {id}"),
        &format!("--machine {}", &id[..8]),
        &id[..6],
    ] {
        assert_eq!(person.ok(&format!("fleetctl ssh {target} hostname")), format!("{machine}\n"), "{target}");
    }
    assert_eq!(person.ok(&format!("fleetctl ssh {address} hostname")), format!("{machine}\n"));
    // The words are the remote shell's to read, and the command's options its own.
    assert_eq!(person.ok("fleetctl ssh far -- 'echo a   b; echo $((1+1))'"), "a b\n2\n");
    assert_eq!(person.ok("fleetctl ssh -u far echo -n --debug --full=true -A"), "--debug --full=true -A");
    assert_eq!(person.ok("echo words | fleetctl ssh far cat"), "words\n");
    // Exit codes, also of a shell and of what a signal ended.
    person.fails(7, "fleetctl ssh far exit 7");
    person.fails(3, "echo exit 3 | fleetctl ssh far");
    person.fails(255, "fleetctl ssh far 'kill -9 $$'");
    person.ok("fleetctl destroy far");
}

#[test]
fn targets_that_are_none() {
    let desk = WORLD.desk();
    desk.write("everywhere.service", &format!("{SLEEPS}[X-Fleet]\nGlobal=true\n"));
    desk.write("nowhere.service", &format!("{SLEEPS}[X-Fleet]\nMachineMetadata=no=such\n"));
    desk.ok("fleetctl start --no-block nowhere; fleetctl start everywhere");
    for (code, line, said) in [
        (2, "ssh", "one machine or unit must be provided"),
        (2, "ssh -m 1 -u a ls", "cannot be used with"),
        (4, "ssh absent ls", "`absent` is neither a unit nor a machine"),
        (4, "ssh -u absent ls", "Unit absent.service does not exist"),
        (1, "ssh -m absent ls", "no machine `absent`"),
        (3, "ssh nowhere ls", "Unit nowhere.service does not appear to be running."),
        (1, "ssh everywhere ls", "Unit everywhere.service is on 2 machines"),
    ] {
        let ran = desk.fails(code, &format!("fleetctl {line}"));
        assert!(ran.stderr.contains(said) && ran.stdout.is_empty(), "{ran}");
    }
    desk.ok("fleetctl destroy nowhere everywhere");
}

#[test]
fn host_keys_are_checked_as_the_flags_say() {
    let person = Person::new(Port::HostKeys);
    let to = format!("-m {} hostname", WORLD.machines()[1].spec().id);
    let with = |options: &str| person.line(&format!("fleetctl {options} ssh {to}"));
    assert_eq!(person.desk.ok(&with("")), "m2\n");

    // A file of its own, which knows nobody.
    let refused = person.desk.fails(255, &with("--known-hosts-file new"));
    assert!(refused.stderr.contains("Host key verification failed."), "{refused}");
    assert_eq!(person.desk.ok(&with("--known-hosts-file new --strict-host-key-checking=accept-new")), "m2\n");
    assert!(person.desk.ok("cat new").contains("ssh-ed25519"));
    assert_eq!(person.desk.ok(&with("--known-hosts-file new")), "m2\n");

    // Another key than the known one: somebody in between, or a new disk.
    let other = person.daemons[0].host_key();
    let known = format!("[{}]:{} {other}", person.daemons[1].address, Port::HostKeys as u16);
    person.desk.write("changed", &known);
    for checking in
        ["", "--strict-host-key-checking", "--strict-host-key-checking=true", "--strict-host-key-checking=yes"]
    {
        let refused = person.desk.fails(255, &with(&format!("--known-hosts-file changed {checking}")));
        assert!(refused.stderr.contains("REMOTE HOST IDENTIFICATION HAS CHANGED"), "{refused}");
    }
    // Nothing is checked, said or kept.
    let unchecked = person.desk.run(&with("--known-hosts-file changed --strict-host-key-checking=false"));
    assert_eq!((unchecked.code, &*unchecked.stdout, &*unchecked.stderr), (0, "m2\n", ""), "{unchecked}");
    assert_eq!(person.desk.ok("cat changed"), known);
    let variable =
        person.line(&format!("FLEETCTL_STRICT_HOST_KEY_CHECKING=false fleetctl --known-hosts-file no ssh {to}"));
    assert_eq!(person.desk.ok(&variable), "m2\n");
    person.desk.fails(1, "test -e no");
}

#[test]
fn who_one_is_there() {
    let person = Person::new(Port::Keys);
    let id = &WORLD.machines()[0].spec().id;
    keygen(&person.desk.path().join("other"));
    person.desk.ok("mv other id; mv other.pub id.pub");
    let denied = person.fails(255, &format!("fleetctl ssh -m {id} hostname"));
    assert!(denied.stderr.contains("Permission denied (publickey)"), "{denied}");
    let denied = person.fails(255, &format!("fleetctl --ssh-username nobody-at-all ssh -m {id} hostname"));
    assert!(denied.stderr.contains("nobody-at-all@"), "{denied}");
    // The port is the machine's, and not what the configuration says.
    let refused = person.fails(255, &format!("fleetctl ssh --ssh-port 1 -m {id} hostname"));
    assert!(refused.stderr.contains("port 1: Connection refused"), "{refused}");
}

#[test]
fn the_agent_goes_along_when_it_is_asked_for() {
    let person = Person::new(Port::Agent);
    let id = &WORLD.machines()[1].spec().id;
    let with_agent = |line: &str| {
        person.line(&format!(
            "eval $(ssh-agent) >/dev/null; trap 'ssh-agent -k >/dev/null' EXIT; ssh-add -q id; fleetctl ssh {line}"
        ))
    };
    let own = person.ok("ssh-keygen -lf id.pub");
    for flag in ["-A", "--A", "--forward-agent", "--forward-agent=true"] {
        let listed = person.desk.ok(&with_agent(&format!("{flag} -m {id} ssh-add -l")));
        assert_eq!(listed.split(' ').nth(1), own.split(' ').nth(1), "{flag}: {listed}");
    }
    let without = person.desk.fails(2, &with_agent(&format!("-m {id} ssh-add -l")));
    assert!(without.stderr.contains("authentication agent"), "{without}");
}

#[test]
fn every_command_works_through_a_tunnel() {
    let person = Person::new(Port::Tunnel);
    let tunnel = person.tunnel();
    let far = &WORLD.machines()[1].spec().id;
    let says = "[Service]\nExecStart=/bin/sh -c 'echo I am %i; exec sleep infinity'\n";
    person.desk.write("tun@.service", says);
    person.ok(&format!("fleetctl {tunnel} start tun@1 tun@2 tun@3"));
    // By the variable, too; and one login for all the connections of a command.
    let before = person.daemons[0].logins();
    let journal = person.ok(&format!("FLEETCTL_TUNNEL={} fleetctl journal 'tun@*'", person.daemons[0].address));
    assert!((1..=3).all(|number| journal.contains(&format!("I am {number}"))), "{journal}");
    assert_eq!(person.daemons[0].logins(), before + 1);
    assert_eq!(
        person.ok(&format!("fleetctl {tunnel} list-units --no-legend --fields=unit 'tun@*'")).lines().count(),
        3
    );
    // What is followed ends with its reader.
    let followed = person.ok(&format!("fleetctl {tunnel} journal -f tun@2 | head -n 1"));
    assert!(followed.contains("Started tun@2") || followed.contains("I am 2"), "{followed}");

    // A machine behind it: the gateway is asked for a connection, and knows us already.
    let before = (person.daemons[0].logins(), person.daemons[1].logins());
    assert_eq!(person.ok(&format!("fleetctl {tunnel} ssh -m {far} hostname")), "m2\n");
    person.fails(9, &format!("fleetctl {tunnel} ssh -m {far} exit 9"));
    assert_eq!((person.daemons[0].logins(), person.daemons[1].logins()), (before.0 + 2, before.1 + 2));
    let asked = format!("target {} port {}", person.daemons[1].address, Port::Tunnel as u16);
    assert_eq!(person.daemons[0].log().matches(&asked).count(), 2, "{}", person.daemons[0].log());
    assert_eq!(person.folders(), 0);
    person.ok(&format!("fleetctl {tunnel} destroy 'tun@*'"));
}

#[test]
fn what_is_wrong_with_a_tunnel() {
    let person = Person::new(Port::Trouble);
    let tunnel = person.tunnel();
    let closed = person.fails(1, &format!("fleetctl {tunnel}:1 list-machines"));
    let address = &person.daemons[0].address;
    assert!(closed.stderr.contains(&format!("connect to host {address} port 1: Connection refused")), "{closed}");
    assert!(closed.stderr.contains(&format!("ssh to {address} ended with 255 before the tunnel was open")), "{closed}");
    assert!(
        closed.stderr.contains(&format!("hint: ssh has said why; once `ssh {address}` works by itself")),
        "{closed}"
    );

    let nobody = person.fails(1, &format!("fleetctl {tunnel} --endpoint unix:///nowhere/fleet.sock list-machines"));
    assert!(
        nobody.stderr.contains(&format!("see that fleetd listens at unix:///nowhere/fleet.sock as {address} sees it")),
        "{nobody}"
    );
    let nobody = person.fails(1, &format!("fleetctl {tunnel} --endpoint http://127.0.0.1:1 list-machines"));
    assert!(nobody.stderr.contains("AllowTcpForwarding"), "{nobody}");
    let nonsense = person.fails(2, "fleetctl --tunnel 'a b' list-machines");
    assert!(nonsense.stderr.contains("`a b` is no name or address of a host"), "{nonsense}");
    let unknown = person.fails(1, &format!("fleetctl {tunnel} --known-hosts-file no list-machines"));
    assert!(unknown.stderr.contains("Host key verification failed."), "{unknown}");
    assert_eq!(person.folders(), 0);
    // A command that asks nobody opens none.
    assert!(person.ok(&format!("fleetctl {tunnel}:1 version")).starts_with("fleetctl version"));
}

/// However fleetctl ends, its tunnel does, and nothing of it is left.
#[test]
fn a_tunnel_ends_with_fleetctl() {
    let person = Person::new(Port::Killed);
    person.desk.write("long.service", SLEEPS);
    person.ok("fleetctl start long");
    let here = person.desk.path();
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let out = here.join(format!("out-{signal}"));
        // In a session of its own, as in a terminal.
        let mut fleetctl = Command::new("setsid");
        fleetctl.arg(program("fleetctl")).args(["--tunnel", &person.daemons[0].address, "journal", "-f", "long"]);
        let path = format!("{}/bin:{}", here.display(), std::env::var("PATH").unwrap_or_default());
        fleetctl.env("PATH", path).env("XDG_RUNTIME_DIR", here).env("FLEETCTL_ENDPOINT", WORLD.endpoint());
        fleetctl.stdin(Stdio::null()).stdout(File::create(&out).expect("our folder")).stderr(Stdio::null());
        let mut fleetctl = fleetctl.spawn().expect("setsid is there");
        eventually("the journal comes", || fs::metadata(&out).ok().filter(|out| 0 < out.len()));
        assert_eq!(person.folders(), 1, "{signal}");
        let pid = Pid::from_raw(fleetctl.id().cast_signed());
        // `kill` and systemd tell the program alone; a terminal tells all that run in it.
        match signal {
            Signal::SIGINT | Signal::SIGHUP => killpg(pid, signal).expect("it runs"),
            signal => kill(pid, signal).expect("it runs"),
        }
        assert_eq!(fleetctl.wait().expect("it is ours").signal(), Some(signal as i32));
        eventually("the tunnel's folder goes away", || (person.folders() == 0).then_some(()));
        let session = pid.to_string();
        let of_it = || Command::new("pgrep").args(["-s", &session]).output().expect("pgrep is there");
        eventually("all of it ends", || of_it().stdout.is_empty().then_some(()));
    }
    person.ok("fleetctl destroy long");
}

/// What the original's clients do: a command on the gateway, and HTTP over its standard input and output.
#[test]
fn the_originals_clients_come_by_fd_forward() {
    let person = Person::new(Port::Forward);
    let socket = WORLD.endpoint().trim_start_matches("unix://").to_owned();
    let fleetctl = program("fleetctl").display().to_string();
    let request = "printf 'GET /fleet/v1/machines HTTP/1.1\\r\\nHost: domain-sock\\r\\nConnection: close\\r\\n\\r\\n'";
    for way in [String::new(), format!("ssh {} ", person.daemons[0].address)] {
        let answer = person.ok(&format!("{request} | {way}{fleetctl} fd-forward {socket}"));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(&WORLD.machines()[0].spec().id), "{answer}");
    }
    // Settings of the gateway's user are for other commands.
    let nobody = person.fails(1, "FLEETCTL_ENDPOINT=nonsense fleetctl fd-forward /nowhere/fleet.sock");
    assert_eq!(
        nobody.stderr,
        "error: Failed dialing remote address: cannot connect to `/nowhere/fleet.sock`\n  \
         cause: No such file or directory (os error 2)\n\
         hint: see that fleetd runs here and listens there, and that you may open it\n"
    );
    person.fails(2, "fleetctl fd-forward");
    person.fails(2, "fleetctl fd-forward a b");
}
