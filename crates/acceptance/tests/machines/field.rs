//! Machines with fleet on them, and a person at each of them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fleet_dev::{FleetFiles, Lab, LabMachine, LabSpec, MachineSpec};

/// How long anything may take that a test waits for and that has no promised time.
pub const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// How long one typed line may take; coreutils' `timeout` ends it then, with exit code 124. Whole seconds.
const LINE_LIMIT: Duration = Duration::from_secs(120);

/// How long a machine may be silent in these tests before it counts as lost. More than the 10 s for which an engine leads
/// without a sign of life, as the default of 30 s is: the engine that decides is there by then.
pub const AGENT_TTL: Duration = Duration::from_secs(12);

/// How often is looked where nobody tells when something happens.
const PAUSE: Duration = Duration::from_millis(50);

/// A running lab with fleet.
pub struct Field {
    pub lab: Lab,
}

/// What became of a typed line.
pub struct Ran {
    line: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

/// What a field is to be.
pub struct FieldSpec {
    pub machines: Vec<MachineSpec>,
    pub etcd_members: u16,
    /// Where the machines look for etcd; `None`: where it is.
    pub etcd_servers: Option<String>,
    /// Lines of `fleet.conf` beside the store's.
    pub config: String,
}

impl FieldSpec {
    /// `n` machines `m1`, `m2`, ... with one etcd, which count as lost after [`AGENT_TTL`].
    pub fn new(n: u8) -> FieldSpec {
        let config = format!("agent_ttl = {}s\n", AGENT_TTL.as_secs());
        FieldSpec { machines: (1..=n).map(LabSpec::numbered).collect(), etcd_members: 1, etcd_servers: None, config }
    }

    /// Boots the machines and waits until each of them lists all of them.
    #[track_caller]
    pub fn start(&self) -> Field {
        self.boot(self.prepare())
    }

    /// The lab with its etcd; the machines are off.
    #[track_caller]
    pub fn prepare(&self) -> Lab {
        let store = match (&self.etcd_servers, self.etcd_members) {
            (Some(servers), _) => format!("store = etcd\netcd_servers = {servers}\n"),
            (None, 0) => "store = embedded\n".to_owned(),
            (None, members) => format!("store = etcd\netcd_servers = {}\n", Lab::etcd_servers(members)),
        };
        let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging");
        let config = store + &self.config;
        let fleet = FleetFiles { fleetd: program("fleetd"), fleetctl: program("fleetctl"), packaging, config };
        let (machines, etcd_members) = (self.machines.clone(), self.etcd_members);
        let lab = Lab::prepare(&LabSpec { machines, etcd_members, fleet: Some(fleet) });
        lab.unwrap_or_else(|err| panic!("the lab cannot be made: {err}"))
    }

    /// Boots all machines and waits until each of them lists all of them.
    #[track_caller]
    pub fn boot(&self, mut lab: Lab) -> Field {
        lab.boot_all().unwrap_or_else(|err| panic!("the lab does not boot: {err}"));
        // With a store of its own a machine knows only itself.
        self.wait_for(lab, if self.etcd_members == 0 { 1 } else { self.machines.len() })
    }

    /// Waits until each machine that is on lists `n_machines`.
    #[track_caller]
    pub fn wait_for(&self, lab: Lab, n_machines: usize) -> Field {
        let field = Field { lab };
        for machine in field.lab.machines().iter().filter(|machine| machine.is_on()) {
            field.wait(&format!("{} lists {n_machines}", machine.spec().name), WAIT_LIMIT, || {
                let listed = field.run(&machine.spec().name, "fleetctl list-machines --no-legend");
                listed.stdout.lines().count() == n_machines
            });
        }
        field
    }
}

impl Field {
    #[track_caller]
    pub fn machine(&self, name: &str) -> &LabMachine {
        self.lab.machine(name).unwrap_or_else(|err| panic!("{err}"))
    }

    #[track_caller]
    pub fn machine_mut(&mut self, name: &str) -> &mut LabMachine {
        self.lab.machine_mut(name).unwrap_or_else(|err| panic!("{err}"))
    }

    /// Puts a unit file into `/root` of a machine, where lines are typed.
    pub fn write(&self, machine: &str, name: &str, text: &str) {
        let path = self.machine(machine).disk().join("root").join(name);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("the machine's disk");
        fs::write(path, text).expect("the machine's disk");
    }

    /// Types a line into a shell in `/root` of a machine, which must be on.
    #[track_caller]
    pub fn run(&self, machine: &str, line: &str) -> Ran {
        let limit = LINE_LIMIT.as_secs().to_string();
        let mut command = self.machine(machine).command("timeout").unwrap_or_else(|err| panic!("{err}"));
        command.args([&limit, "sh", "-c", &format!("cd /root; {line}")]);
        let begun = Instant::now();
        let output = command.stdin(Stdio::null()).output().expect("nsenter is there");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran {
            line: format!("{machine}$ {line}"),
            code: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or_default()),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            took: begun.elapsed(),
        }
    }

    /// Types a line that must succeed; gives what it printed.
    #[track_caller]
    pub fn ok(&self, machine: &str, line: &str) -> String {
        let ran = self.run(machine, line);
        assert_eq!(ran.code, 0, "{ran}\nfleetd there:\n{}", self.fleetd_log(machine));
        ran.stdout.trim_end().to_owned()
    }

    /// What `fleetd` on that machine has logged.
    pub fn fleetd_log(&self, machine: &str) -> String {
        self.run(machine, "journalctl --no-pager --output=short-precise --unit=fleetd --lines=60").stdout
    }

    /// What the machines' own systemds say of a unit: the main process of each that is active, by machine.
    pub fn running(&self, unit: &str) -> BTreeMap<String, u32> {
        let on = self.lab.machines().iter().filter(|machine| machine.is_on());
        on.filter_map(|machine| Some((machine.spec().name.clone(), main_pid(machine, unit)?))).collect()
    }

    /// The same for several units, asked at once.
    pub fn all_running(&self, units: &[String]) -> BTreeMap<(String, String), u32> {
        let on = self.lab.machines().iter().filter(|machine| machine.is_on());
        let per_machine = on.flat_map(|machine| {
            main_pids(machine, units).into_iter().map(|(unit, pid)| ((unit, machine.spec().name.clone()), pid))
        });
        per_machine.collect()
    }

    /// The one machine that runs the unit.
    #[track_caller]
    pub fn machine_of(&self, unit: &str) -> String {
        let running = self.running(unit);
        assert_eq!(running.len(), 1, "{unit} runs on one machine: {running:?}");
        running.into_keys().next().expect("one")
    }

    /// Waits until `is`; gives how long that took.
    #[track_caller]
    pub fn wait(&self, what: &str, limit: Duration, is: impl FnMut() -> bool) -> Duration {
        match wait(limit, is) {
            Some(took) => took,
            None => {
                let on = self.lab.machines().iter().filter(|machine| machine.is_on());
                let logs = on.map(|machine| {
                    let name = &machine.spec().name;
                    format!("fleetd on {name}:\n{}", self.fleetd_log(name))
                });
                panic!("{what}: not within {limit:?}\n{}", logs.collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ran { line, code, stdout, stderr, took } = self;
        write!(f, "{line}\nexit {code} after {took:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// Looks until `is`; gives how long that took, or `None` after `limit`.
fn wait(limit: Duration, mut is: impl FnMut() -> bool) -> Option<Duration> {
    let begun = Instant::now();
    loop {
        // The time before the look: what is seen was so at the latest when the look was over, which says no less.
        if is() {
            return Some(begun.elapsed());
        }
        if limit < begun.elapsed() {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

/// The main process of a unit, if that machine's systemd says that it is active.
fn main_pid(machine: &LabMachine, unit: &str) -> Option<u32> {
    main_pids(machine, &[unit.to_owned()]).remove(unit)
}

/// The main processes of those units that are active, as numbers within the machine.
pub fn main_pids(machine: &LabMachine, units: &[String]) -> BTreeMap<String, u32> {
    let shown = machine.command("systemctl").map(|command| shown(command, units)).unwrap_or_default();
    shown.into_iter().filter(|(_, main)| main.active).map(|(unit, main)| (unit, main.pid)).collect()
}

/// What one machine's systemd says of the main process of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Main {
    /// The process, as a number within the machine.
    pub pid: u32,
    /// Whether the unit is active. If not, it is on its way up or down, and the process is there all the same.
    pub active: bool,
}

/// The main processes of those units that have one, of a machine whose `systemctl` is `command`.
pub fn shown(mut command: Command, units: &[String]) -> BTreeMap<String, Main> {
    command.args(["show", "--property=Id,ActiveState,MainPID", "--"]).args(units);
    // A machine that loses its power meanwhile says nothing, which is what runs there.
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().expect("nsenter is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let block = |block: &str| {
        let value = |key: &str| block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let (id, state, pid) = (value("Id")?, value("ActiveState")?, value("MainPID")?.parse().ok()?);
        (pid != 0).then(|| (id.to_owned(), Main { pid, active: state == "active" }))
    };
    text.split("\n\n").filter_map(block).collect()
}

/// A program of this workspace, built beside this executable.
fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this executable has a path");
    let folder = own.parent().and_then(Path::parent).expect("cargo puts tests into `deps` beside the programs");
    let path = folder.join(name);
    assert!(path.exists(), "`{}` is not built: `cargo build --bins -p fleetd -p fleetctl`", path.display());
    path
}

/// A unit that ends only when it is killed: it does not hear that it is to stop.
pub const STUBBORN: &str = "[Service]\nExecStart=/bin/sh -c 'trap \"\" TERM; exec /usr/bin/sleep infinity'\n";

/// A unit that runs until it is stopped.
pub const SLEEPER: &str = "[Service]\nExecStart=/usr/bin/sleep infinity\n";

/// `name@1.service` to `name@N.service`.
pub fn instances(name: &str, n: usize) -> Vec<String> {
    (1..=n).map(|number| format!("{name}@{number}.service")).collect()
}
