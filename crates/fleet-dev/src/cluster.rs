//! Several machines and the one `fleetd` that serves them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::Serialize;
use tempfile::TempDir;

use crate::cell::{Cell, Folders};
use crate::host::Host;
use crate::lock::{IN_USE_LIMIT, Lock};
use crate::process::{Process, Readiness, check_socket_path, not_ready};
use crate::spec::check_all;
use crate::{DevError, Machine, MachineSpec};

/// How long `fleetd` may take from its start to `READY=1`.
pub const FLEETD_READY_LIMIT: Duration = Duration::from_secs(30);

/// How long `fleetd` may take to end in order, before it is killed.
pub const FLEETD_STOP_LIMIT: Duration = Duration::from_secs(10);

/// Variables that would overrule the keys of our configuration file; people have them set for other clusters.
const CONFIG_VARIABLES: [&str; 4] = ["FLEET_MACHINES_FILE", "FLEET_STORE", "FLEET_STORE_PATH", "FLEET_LISTEN"];

/// What a cluster is to be.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// The machines; see [`MachineSpec::numbered`].
    pub machines: Vec<MachineSpec>,
    /// Where everything lies. `None`: a new temporary folder, which is removed at the end. `Some`: that folder is made if
    /// missing and kept, with the store, the log and the machines' home folders; a later cluster there goes on with it.
    pub dir: Option<PathBuf>,
    /// The program `fleetd`.
    pub fleetd: PathBuf,
}

/// A running cluster. Dropping it takes it down.
#[derive(Debug)]
pub struct Cluster {
    // The order of the fields is the order in which a drop takes them down.
    fleetd: Option<Fleetd>,
    machines: Vec<Machine>,
    dir: PathBuf,
    program: PathBuf,
    host: Host,
    /// Has no processes: it removes the folder when it is a temporary one, and the socket when not.
    folder: Option<Cell>,
    _lock: Lock,
}

#[derive(Debug)]
struct Fleetd {
    process: Process,
    cell: Cell,
}

/// One `[[machine]]` of `machines.toml`, the file that tells one `fleetd` of its machines. A promise to `fleetd`.
#[derive(Serialize)]
struct MachineEntry<'a> {
    id: &'a str,
    name: &'a str,
    public_ip: String,
    /// Of the box: the private D-Bus socket of that machine's systemd.
    systemd_socket: &'a Path,
    /// Of the box: where that systemd reads unit files.
    unit_directory: &'a Path,
    /// What to put before `systemctl` and `journalctl` so that they talk to that machine.
    enter: Vec<String>,
    /// Whether that is a user manager, so that these want `--user`.
    systemd_user: bool,
    metadata: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct MachinesFile<'a> {
    machine: Vec<MachineEntry<'a>>,
}

impl Cluster {
    /// Brings up the machines in parallel, then `fleetd`; returns when it says that it is ready.
    ///
    /// # Errors
    /// As [`Machine::start_all`]; [`DevError::NotReady`] with the end of `fleetd`'s log. Whatever had been made is
    /// removed again.
    pub fn start(spec: ClusterSpec) -> Result<Cluster, DevError> {
        let ClusterSpec { machines, dir, fleetd: program } = spec;
        check_all(&machines)?;
        let host = Host::look()?;
        let mut temporary = None;
        let dir = match dir {
            Some(dir) => {
                fs::create_dir_all(&dir).map_err(DevError::file("cannot make the folder", &dir))?;
                dir.canonicalize().map_err(DevError::file("cannot find", &dir))?
            }
            None => {
                let parent = std::env::temp_dir();
                let made = tempfile::Builder::new().prefix("fleet-").tempdir_in(&parent);
                let made = made.map_err(DevError::file("cannot make a folder in", &parent))?;
                temporary.insert(made).path().to_owned()
            }
        };
        let lock = Lock::take(&dir.join("cluster.lock"), IN_USE_LIMIT)?;
        let mut remove = vec![dir.join("fleet.sock")];
        let home = if temporary.is_some() { Folders::Remove } else { Folders::Keep };
        remove.extend(temporary.is_some().then(|| dir.clone()));
        let folder = Some(Cell::open(&host, "the cluster's folder", &remove, Some(&lock))?);
        // From here on that cell's warden removes it, also if we are killed.
        let _path = temporary.map(TempDir::keep);
        let mut cluster = Cluster { fleetd: None, machines: Vec::new(), dir, program, host, folder, _lock: lock };
        check_socket_path(&cluster.socket())?;
        cluster.machines = Machine::start_all_in(machines, &cluster.dir, home)?;
        cluster.write_machines_file()?;
        cluster.write_config_file()?;
        cluster.start_fleetd()?;
        Ok(cluster)
    }

    /// What `fleetctl --endpoint` takes: `unix://DIR/fleet.sock`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The folder in which everything of this cluster lies.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What `fleetd` printed: its log, over all restarts.
    #[must_use]
    pub fn fleetd_log(&self) -> PathBuf {
        self.dir.join("fleetd.log")
    }

    /// `fleetd`'s configuration file, written before its first start.
    #[must_use]
    pub fn fleetd_config(&self) -> PathBuf {
        self.dir.join("fleet.conf")
    }

    /// The process id of `fleetd`; `None` while it does not run.
    #[must_use]
    pub fn fleetd_pid(&self) -> Option<u32> {
        self.fleetd.as_ref().filter(|fleetd| fleetd.process.exited().is_none()).map(|fleetd| fleetd.process.pid())
    }

    /// The machines, in the order of the spec.
    #[must_use]
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// The machine of that name, to kill, boot or freeze it.
    ///
    /// # Errors
    /// [`DevError::NoMachine`].
    pub fn machine(&mut self, name: &str) -> Result<&mut Machine, DevError> {
        let machine = self.machines.iter_mut().find(|machine| machine.spec().name == name);
        machine.ok_or_else(|| DevError::NoMachine { name: name.to_owned() })
    }

    /// Starts `fleetd` if it does not run; returns when it is ready.
    ///
    /// # Errors
    /// [`DevError::Program`], [`DevError::NotReady`].
    pub fn start_fleetd(&mut self) -> Result<(), DevError> {
        if self.fleetd_pid().is_some() {
            return Ok(());
        }
        self.end_fleetd(None)?; // What is left of one that ended by itself.
        let cell = Cell::open(&self.host, "fleetd", &[], None)?;
        let ready = Readiness::bind(self.dir.join("fleetd.ready"))?;
        let log_path = self.fleetd_log();
        let log = File::options().create(true).append(true).open(&log_path);
        let log = log.map_err(DevError::file("cannot open", &log_path))?;
        let log_too = log.try_clone().map_err(DevError::file("cannot duplicate", &log_path))?;

        let deadline = Instant::now() + FLEETD_READY_LIMIT;
        let mut command = cell.command(&self.program.to_string_lossy());
        command.arg("--config").arg(self.fleetd_config()).env("NOTIFY_SOCKET", ready.path());
        command.stdin(Stdio::null()).stdout(log).stderr(log_too);
        for name in CONFIG_VARIABLES {
            command.env_remove(name);
        }
        let (process, _no_stdin) = Process::spawn(&mut command, vec![ready.path().to_owned()])?;
        if let Err(why) = ready.wait(deadline)? {
            let what = format!("`{}`", self.program.display());
            let log = fs::read_to_string(&log_path).unwrap_or_default();
            return Err(not_ready(what, why, &process, FLEETD_READY_LIMIT, &[log]));
        }
        ready.listen_on()?;
        self.fleetd = Some(Fleetd { process, cell });
        Ok(())
    }

    /// Stops `fleetd` in order; the machines and their units go on.
    ///
    /// # Errors
    /// [`DevError::Left`] if it could not be ended.
    pub fn stop_fleetd(&mut self) -> Result<(), DevError> {
        self.end_fleetd(Some((Signal::SIGTERM, FLEETD_STOP_LIMIT)))
    }

    /// Stops `fleetd` in order and starts it again.
    ///
    /// # Errors
    /// As [`Cluster::stop_fleetd`] and [`Cluster::start_fleetd`].
    pub fn restart_fleetd(&mut self) -> Result<(), DevError> {
        self.stop_fleetd()?;
        self.start_fleetd()
    }

    /// Kills `fleetd` with -9, as a crash would.
    ///
    /// # Errors
    /// [`DevError::Left`] if it could not be ended.
    pub fn kill_fleetd(&mut self) -> Result<(), DevError> {
        self.end_fleetd(Some((Signal::SIGKILL, FLEETD_STOP_LIMIT)))
    }

    /// Takes all of it down: `fleetd` first, so that it does not report the machines' end as an accident.
    ///
    /// # Errors
    /// The first error; everything is taken down as far as it goes.
    pub fn stop(mut self) -> Result<(), DevError> {
        let fleetd = self.stop_fleetd();
        let machines = Machine::stop_all(std::mem::take(&mut self.machines));
        let folder = self.folder.take().map_or(Ok(()), |folder| folder.close(Folders::Remove));
        fleetd.and(machines).and(folder)
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("fleet.sock")
    }

    fn end_fleetd(&mut self, how: Option<(Signal, Duration)>) -> Result<(), DevError> {
        let Some(Fleetd { process, cell }) = self.fleetd.take() else { return Ok(()) };
        if let Some((signal, limit)) = how {
            process.signal(signal);
            if process.wait(limit).is_none() {
                tracing::warn!(pid = process.pid(), ?signal, ?limit, "fleetd did not end in time and is killed");
            }
        }
        cell.close(Folders::Remove)
    }

    fn write_machines_file(&self) -> Result<(), DevError> {
        let file = MachinesFile { machine: self.machines.iter().map(MachineEntry::of).collect() };
        let text = toml::to_string(&file).map_err(DevError::MachinesFile)?;
        let path = self.dir.join("machines.toml");
        fs::write(&path, text).map_err(DevError::file("cannot write", &path))
    }

    fn write_config_file(&self) -> Result<(), DevError> {
        let dir = self.dir.display();
        let text = format!(
            "# Written by fleet-dev.\nmachines_file = {dir}/machines.toml\nstore = embedded\nstore_path = {dir}/store.redb\nlisten = {}\n",
            self.endpoint()
        );
        let path = self.fleetd_config();
        fs::write(&path, text).map_err(DevError::file("cannot write", &path))
    }
}

impl MachineEntry<'_> {
    fn of(machine: &Machine) -> MachineEntry<'_> {
        let spec = machine.spec();
        MachineEntry {
            id: &spec.id,
            name: &spec.name,
            public_ip: spec.address.to_string(),
            systemd_socket: machine.socket(),
            unit_directory: machine.unit_directory(),
            enter: machine.enter(),
            systemd_user: true,
            metadata: &spec.metadata,
        }
    }
}
