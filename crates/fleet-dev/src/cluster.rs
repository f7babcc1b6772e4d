//! Several machines and what serves them: one `fleetd` with a store of its own, or a `fleetd` each and one etcd.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::TempDir;

use crate::cell::{Cell, Folders};
use crate::daemon::Daemon;
use crate::etcd::Etcd;
use crate::host::Host;
use crate::lock::{IN_USE_LIMIT, Lock};
use crate::machine::join;
use crate::process::check_socket_path;
use crate::spec::check_all;
use crate::{DevError, Machine, MachineSpec};

/// Where a cluster's memory is, and with that how many `fleetd` serve it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClusterStore {
    /// A file; one `fleetd` serves all machines.
    #[default]
    Embedded,
    /// An etcd of its own on this box; each machine has a `fleetd`.
    Etcd,
}

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
    /// Where the cluster's memory is.
    pub store: ClusterStore,
}

/// A running cluster. Dropping it takes it down.
#[derive(Debug)]
pub struct Cluster {
    // The order of the fields is the order in which a drop takes them down.
    /// Never empty. The first serves `m1`.
    fleetds: Vec<Daemon>,
    machines: Vec<Machine>,
    etcd: Option<Etcd>,
    dir: PathBuf,
    /// Has no processes: it removes the folder when it is a temporary one, and the sockets when not.
    folder: Option<Cell>,
    _lock: Lock,
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
    /// Brings up the machines in parallel, and etcd if it is the store, then each `fleetd`; returns when all say that they are
    /// ready.
    ///
    /// # Errors
    /// As [`Machine::start_all`]; [`DevError::NotReady`] with the end of the log of etcd or a `fleetd`. Whatever had been
    /// made is removed again.
    pub fn start(spec: ClusterSpec) -> Result<Cluster, DevError> {
        let ClusterSpec { machines, dir, fleetd: program, store } = spec;
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
        let new = |folder: PathBuf| Daemon::new(folder, program.clone(), host.clone());
        let fleetds: Vec<Daemon> = match store {
            ClusterStore::Embedded => vec![new(dir.clone())],
            ClusterStore::Etcd => {
                machines.iter().map(|machine| new(dir.join(format!("fleetd-{}", machine.name)))).collect()
            }
        };
        let mut remove: Vec<PathBuf> = fleetds.iter().map(Daemon::socket).collect();
        let home = if temporary.is_some() { Folders::Remove } else { Folders::Keep };
        remove.extend(temporary.is_some().then(|| dir.clone()));
        let folder = Some(Cell::open(&host, "the cluster's folder", &remove, Some(&lock))?);
        // From here on that cell's warden removes it, also if we are killed.
        let _path = temporary.map(TempDir::keep);
        let mut cluster = Cluster { fleetds, machines: Vec::new(), etcd: None, dir, folder, _lock: lock };
        for fleetd in &cluster.fleetds {
            check_socket_path(&fleetd.socket())?;
        }
        if let (ClusterStore::Etcd, Some(first)) = (store, machines.first()) {
            cluster.etcd = Some(Etcd::start(&host, &cluster.dir, first.address)?);
        }
        cluster.machines = Machine::start_all_in(machines, &cluster.dir, home)?;
        cluster.configure()?;
        cluster.start_fleetd()?;
        Ok(cluster)
    }

    /// What `fleetctl --endpoint` takes: `unix://DIR/fleet.sock`. Where each machine has a `fleetd`, that of the first.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.first().endpoint()
    }

    /// The folder in which everything of this cluster lies.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the first `fleetd` printed: its log, over all restarts.
    #[must_use]
    pub fn fleetd_log(&self) -> PathBuf {
        self.first().log()
    }

    /// The first `fleetd`'s configuration file, written before its first start.
    #[must_use]
    pub fn fleetd_config(&self) -> PathBuf {
        self.first().config()
    }

    /// The process id of the first `fleetd`; `None` while it does not run.
    #[must_use]
    pub fn fleetd_pid(&self) -> Option<u32> {
        self.first().pid()
    }

    /// Each `fleetd`: one, or that of each machine in their order.
    #[must_use]
    pub fn fleetds(&self) -> &[Daemon] {
        &self.fleetds
    }

    /// The same, to kill and start them one by one.
    pub fn fleetds_mut(&mut self) -> &mut [Daemon] {
        &mut self.fleetds
    }

    /// The cluster's etcd, if that is its store.
    #[must_use]
    pub fn etcd(&self) -> Option<&Etcd> {
        self.etcd.as_ref()
    }

    /// The same, to have it lose everything.
    pub fn etcd_mut(&mut self) -> Option<&mut Etcd> {
        self.etcd.as_mut()
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

    /// Starts each `fleetd` that does not run; returns when all are ready.
    ///
    /// # Errors
    /// [`DevError::Program`], [`DevError::NotReady`].
    pub fn start_fleetd(&mut self) -> Result<(), DevError> {
        self.each_fleetd(Daemon::start)
    }

    /// Stops each `fleetd` in order; the machines and their units go on.
    ///
    /// # Errors
    /// [`DevError::Left`] if one could not be ended.
    pub fn stop_fleetd(&mut self) -> Result<(), DevError> {
        self.each_fleetd(Daemon::stop)
    }

    /// Stops each `fleetd` in order and starts it again.
    ///
    /// # Errors
    /// As [`Cluster::stop_fleetd`] and [`Cluster::start_fleetd`].
    pub fn restart_fleetd(&mut self) -> Result<(), DevError> {
        self.stop_fleetd()?;
        self.start_fleetd()
    }

    /// Kills each `fleetd` with -9, as a crash would.
    ///
    /// # Errors
    /// [`DevError::Left`] if one could not be ended.
    pub fn kill_fleetd(&mut self) -> Result<(), DevError> {
        self.each_fleetd(Daemon::kill)
    }

    /// Takes all of it down: `fleetd` first, so that it does not report the end of machines and store as an accident.
    ///
    /// # Errors
    /// The first error; everything is taken down as far as it goes.
    pub fn stop(mut self) -> Result<(), DevError> {
        let fleetd = self.stop_fleetd();
        let machines = Machine::stop_all(std::mem::take(&mut self.machines));
        let etcd = self.etcd.take().map_or(Ok(()), Etcd::stop);
        let folder = self.folder.take().map_or(Ok(()), |folder| folder.close(Folders::Remove));
        fleetd.and(machines).and(etcd).and(folder)
    }

    fn first(&self) -> &Daemon {
        self.fleetds.first().expect("there is at least one")
    }

    /// In parallel; the first error after all are done.
    fn each_fleetd(&mut self, work: fn(&mut Daemon) -> Result<(), DevError>) -> Result<(), DevError> {
        std::thread::scope(|scope| {
            let works: Vec<_> = self.fleetds.iter_mut().map(|fleetd| scope.spawn(move || work(fleetd))).collect();
            let results: Vec<_> = works.into_iter().map(join).collect();
            results.into_iter().collect()
        })
    }

    /// Writes each `fleetd`'s configuration, and the file of the machines that it serves.
    fn configure(&self) -> Result<(), DevError> {
        let write = |path: PathBuf, text: String| fs::write(&path, text).map_err(DevError::file("cannot write", &path));
        for (idx, fleetd) in self.fleetds.iter().enumerate() {
            let (served, store) = match &self.etcd {
                None => {
                    (&self.machines[..], format!("store = embedded\nstore_path = {}/store.redb\n", self.dir.display()))
                }
                Some(etcd) => {
                    (&self.machines[idx..=idx], format!("store = etcd\netcd_servers = {}\n", etcd.endpoint()))
                }
            };
            let (folder, endpoint) = (fleetd.folder(), fleetd.endpoint());
            fs::create_dir_all(folder).map_err(DevError::file("cannot make the folder", folder))?;
            let file = MachinesFile { machine: served.iter().map(MachineEntry::of).collect() };
            write(folder.join("machines.toml"), toml::to_string(&file).map_err(DevError::MachinesFile)?)?;
            let text = format!(
                "# Written by fleet-dev.\nmachines_file = {}/machines.toml\n{store}listen = {endpoint}\nadvertise = {endpoint}\n",
                folder.display(),
            );
            write(fleetd.config(), text)?;
        }
        Ok(())
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
