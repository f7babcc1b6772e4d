//! A cluster to measure on: its unit files, and both ways to start them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use fleet_core::unit::{UnitFile, UnitName, on_disk, slice_for};
use fleet_dev::{Cluster, ClusterSpec, ClusterStore, DevError, MachineSpec};
use fleet_systemd::floor::{FloorRun, bench_floor, bench_floor_stop};
use tempfile::TempDir;

use super::process;
use crate::run::{ChoreError, programs};

/// Over how many slices the floor spreads its units: fleetd's default of `slices`.
pub const N_SLICES: u32 = 32;

/// Runs on every machine for a moment, so that all agents are known to be at work before the clock runs.
const WARM_UP: &str = "warm-up.service";
const WARM_UP_TEXT: &str =
    "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n\n[X-Fleet]\nGlobal=true\n";

/// A cluster on this box, with the unit files `bench-N.service` in `files` and its memory in `store`.
pub struct Rig {
    cluster: Cluster,
    fleetctl: PathBuf,
    files: TempDir,
    store: TempDir,
}

/// What one way of starting took.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// By the clock on the wall.
    pub wall: Duration,
    /// CPU time of the managers.
    pub systemd: Duration,
    /// CPU time of fleetd and fleetctl together; nothing for the floor.
    pub fleet: Duration,
}

impl Rig {
    /// Brings up a cluster.
    pub fn start(n_machines: u8) -> Result<Rig, ChoreError> {
        let programs = programs("release")?;
        let machines = (1..=n_machines).map(MachineSpec::numbered).collect();
        let spec = ClusterSpec { machines, dir: None, fleetd: programs.join("fleetd"), store: ClusterStore::Embedded };
        let files = tempfile::tempdir().map_err(|err| ChoreError::Other(format!("cannot make a folder: {err}")))?;
        let cluster = Cluster::start(spec).map_err(of_dev)?;
        let store = tempfile::tempdir_in(&programs).map_err(|err| {
            ChoreError::Other(format!("cannot make a folder for the store in {}: {err}", programs.display()))
        })?;
        let mut rig = Rig { cluster, fleetctl: programs.join("fleetctl"), files, store };
        rig.write(WARM_UP, WARM_UP_TEXT)?;
        rig.move_store()?;
        Ok(rig)
    }

    /// The store is to be on a disk, as it is on real machines, wherever the rest of the cluster lies.
    fn move_store(&mut self) -> Result<(), ChoreError> {
        self.fleetd_off()?;
        let path = self.cluster.fleetd_config();
        let cannot =
            |verb: &str, err: std::io::Error| ChoreError::Other(format!("cannot {verb} {}: {err}", path.display()));
        let mut text = std::fs::read_to_string(&path).map_err(|err| cannot("read", err))?;
        let store_path = self.store.path().join("store.redb");
        text = text.lines().filter(|line| !line.starts_with("store_path")).map(|line| format!("{line}\n")).collect();
        text.push_str(&format!("store_path = {}\n", store_path.display()));
        std::fs::write(&path, text).map_err(|err| cannot("write", err))?;
        self.fleetd_on()
    }

    /// Takes it down.
    pub fn stop(self) -> Result<(), ChoreError> {
        self.cluster.stop().map_err(of_dev)
    }

    /// Starts units `from..to` by `fleetctl start` and waits until it ends.
    pub fn fleet_start(&self, from: usize, to: usize) -> Result<Taken, ChoreError> {
        let names = names(from, to)?;
        for (n, name) in (from..).zip(&names) {
            self.write(name.as_str(), &text(n))?;
        }
        let mut arguments = vec!["start"];
        arguments.extend(names.iter().map(UnitName::as_str));
        self.measure(|| self.fleetctl(&arguments).map(drop))
    }

    /// Destroys all units, and waits until they are gone.
    pub fn fleet_destroy(&self) -> Result<Taken, ChoreError> {
        self.measure(|| self.fleetctl(&["destroy", "bench-*"]).map(drop))
    }

    /// Starts the same units by bare calls, spread evenly over the machines; over slices as fleet does if `slices`.
    ///
    /// `fleetd` must not run: it would listen to systemd too.
    pub fn floor_start(&self, from: usize, to: usize, slices: bool) -> Result<Taken, ChoreError> {
        let n_slices = if slices { N_SLICES } else { 0 };
        let mut shares = vec![Vec::new(); self.cluster.machines().len()];
        for (n, name) in (from..).zip(names(from, to)?) {
            let file = UnitFile::parse(&text(n)).map_err(|err| ChoreError::Other(err.to_string()))?;
            let slice = slice_for(&name, n_slices);
            let idx = n % shares.len();
            shares[idx].push((name.to_string(), on_disk(&name, &file.canonical(), slice.as_deref())));
        }
        self.measure(|| self.on_all(&shares, bench_floor))
    }

    /// Stops them and removes their files.
    pub fn floor_stop(&self, from: usize, to: usize) -> Result<Taken, ChoreError> {
        let mut shares = vec![Vec::new(); self.cluster.machines().len()];
        for (n, name) in (from..).zip(names(from, to)?) {
            let idx = n % shares.len();
            shares[idx].push(name.to_string());
        }
        self.measure(|| self.on_all(&shares, bench_floor_stop))
    }

    /// Stops fleetd; units go on.
    pub fn fleetd_off(&mut self) -> Result<(), ChoreError> {
        self.cluster.stop_fleetd().map_err(of_dev)
    }

    /// Starts fleetd; every machine is at work when this returns.
    pub fn fleetd_on(&mut self) -> Result<(), ChoreError> {
        self.cluster.start_fleetd().map_err(of_dev)?;
        self.warm_up()
    }

    /// Runs `fleetctl` to its end and gives what it printed.
    pub fn fleetctl(&self, arguments: &[&str]) -> Result<String, ChoreError> {
        let mut command = Command::new(&self.fleetctl);
        command.env_clear().current_dir(self.files.path()).stdin(Stdio::null());
        command.arg("--endpoint").arg(self.cluster.endpoint()).args(arguments);
        output(&format!("fleetctl {}", arguments.iter().take(2).copied().collect::<Vec<_>>().join(" ")), command)
    }

    /// Runs `systemctl --user` against the first machine and gives what it printed.
    pub fn systemctl(&self, arguments: &[&str]) -> Result<String, ChoreError> {
        let machine = &self.cluster.machines()[0];
        let mut command = Command::new("systemctl");
        command.env("XDG_RUNTIME_DIR", machine.runtime_directory()).env_remove("DBUS_SESSION_BUS_ADDRESS");
        command.arg("--user").args(arguments).stdin(Stdio::null());
        output("systemctl", command)
    }

    /// The process of fleetd.
    pub fn fleetd(&self) -> Result<u32, ChoreError> {
        self.cluster.fleetd_pid().ok_or_else(|| ChoreError::Other("fleetd does not run".to_owned()))
    }

    /// The processes of the managers.
    pub fn managers(&self) -> Result<Vec<u32>, ChoreError> {
        let pids = self.cluster.machines().iter().map(|machine| machine.leader_pid());
        pids.collect::<Option<_>>().ok_or_else(|| ChoreError::Other("a machine is off".to_owned()))
    }

    /// CPU time of all managers so far.
    pub fn managers_cpu(&self) -> Result<Duration, ChoreError> {
        self.managers()?.into_iter().map(process::cpu).sum()
    }

    /// CPU time so far of fleetd, if it runs, and of all fleetctl that have ended.
    pub fn fleet_cpu(&self) -> Result<Duration, ChoreError> {
        let fleetd = self.cluster.fleetd_pid().map_or(Ok(Duration::ZERO), process::cpu)?;
        Ok(fleetd + process::children_cpu()?)
    }

    fn warm_up(&self) -> Result<(), ChoreError> {
        self.fleetctl(&["start", WARM_UP])?;
        self.fleetctl(&["destroy", WARM_UP]).map(drop)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), ChoreError> {
        let path = self.files.path().join(name);
        std::fs::write(&path, text).map_err(|err| ChoreError::Other(format!("cannot write {}: {err}", path.display())))
    }

    fn measure(&self, work: impl FnOnce() -> Result<(), ChoreError>) -> Result<Taken, ChoreError> {
        let (systemd, fleet) = (self.managers_cpu()?, self.fleet_cpu()?);
        let begun = Instant::now();
        work()?;
        let wall = begun.elapsed();
        Ok(Taken {
            wall,
            systemd: self.managers_cpu()?.saturating_sub(systemd),
            fleet: self.fleet_cpu()?.saturating_sub(fleet),
        })
    }

    /// Runs `way` on all machines at once, each with its share.
    fn on_all<T: Sync>(
        &self,
        shares: &[Vec<T>],
        way: fn(&Path, &Path, &[T]) -> std::io::Result<FloorRun>,
    ) -> Result<(), ChoreError> {
        let runs: Vec<std::io::Result<FloorRun>> = std::thread::scope(|scope| {
            let all = self.cluster.machines().iter().zip(shares);
            let runs: Vec<_> = all
                .map(|(machine, share)| scope.spawn(|| way(machine.socket(), machine.unit_directory(), share)))
                .collect();
            runs.into_iter().map(|run| run.join().expect("the floor does not panic")).collect()
        });
        for run in runs {
            let run = run.map_err(|err| ChoreError::Other(format!("the floor: {err}")))?;
            if let Some((unit, result)) = run.not_done.first() {
                return Err(ChoreError::Other(format!("the floor: the job of {unit} ended with `{result}`")));
            }
        }
        Ok(())
    }
}

fn of_dev(err: DevError) -> ChoreError {
    ChoreError::Other(err.to_string())
}

/// Each unit has a content of its own: sharing files would spare fleet work that it has with real ones.
fn text(n: usize) -> String {
    format!("[Unit]\nDescription=Unit {n} of the benchmark\n\n[Service]\nExecStart=/bin/sleep infinity\n")
}

fn names(from: usize, to: usize) -> Result<Vec<UnitName>, ChoreError> {
    let name = |n: usize| format!("bench-{n}.service").parse::<UnitName>();
    (from..to).map(name).collect::<Result<_, _>>().map_err(|err| ChoreError::Other(err.to_string()))
}

fn output(line: &str, mut command: Command) -> Result<String, ChoreError> {
    let Output { status, stdout, stderr } =
        command.output().map_err(|err| ChoreError::Start { line: line.to_owned(), err })?;
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr);
        return Err(ChoreError::Other(format!("`{line} ...` failed ({status}): {}", said.trim())));
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}
