//! etcd as a program: how it is started, and the one of a cluster whose store it is.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::DevError;
use crate::cell::{Cell, Folders};
use crate::host::{Host, MACHINE_PATH};
use crate::process::{Process, Readiness, not_ready};

/// How long etcd may take until it serves; several members also elect a leader meanwhile.
pub const ETCD_READY_LIMIT: Duration = Duration::from_secs(60);

/// What one member is told of itself and of the others.
pub(crate) struct Flags<'a> {
    pub name: &'a str,
    pub data: &'a Path,
    /// Where clients reach it.
    pub client: &'a str,
    /// Where other members do.
    pub peer: &'a str,
    /// All members: `name=peer,...`.
    pub cluster: &'a str,
}

impl Flags<'_> {
    pub(crate) fn apply(&self, command: &mut Command, ready: &Readiness) {
        command.args(["--name", self.name]).arg("--data-dir").arg(self.data);
        command.args(["--listen-client-urls", self.client, "--advertise-client-urls", self.client]);
        command.args(["--listen-peer-urls", self.peer, "--initial-advertise-peer-urls", self.peer]);
        command.args(["--initial-cluster", self.cluster, "--initial-cluster-state", "new"]);
        command.stdin(Stdio::null()).current_dir("/");
        // Variables named ETCD_... would be read as flags.
        command.env_clear().env("PATH", MACHINE_PATH).env("NOTIFY_SOCKET", ready.path());
    }
}

/// The etcd of a cluster on this box: one member, at a loopback address. Dropping it kills it.
#[derive(Debug)]
pub struct Etcd {
    place: Place,
    process: Process,
    cell: Cell,
}

/// Where it is.
#[derive(Debug)]
struct Place {
    endpoint: String,
    peer: String,
    data: PathBuf,
    log: PathBuf,
    ready: PathBuf,
}

impl Etcd {
    /// Starts it with its data in `dir/etcd`, where it goes on with what is there, at free ports of `address`; returns when it
    /// serves.
    pub(crate) fn start(host: &Host, dir: &Path, address: Ipv4Addr) -> Result<Etcd, DevError> {
        let (endpoint, peer) = two_free_ports(address)?;
        let (data, log, ready) = (dir.join("etcd"), dir.join("etcd.log"), dir.join("etcd.ready"));
        let place = Place { endpoint, peer, data, log, ready };
        let cell = Cell::open(host, "etcd", &[], None)?;
        let process = place.serve(&cell)?;
        Ok(Etcd { place, process, cell })
    }

    /// Kills it, deletes what it has stored, and starts it anew: at the same address there is another, empty store.
    ///
    /// # Errors
    /// As its first start.
    pub fn lose_everything(&mut self) -> Result<(), DevError> {
        self.process.signal(Signal::SIGKILL);
        // SIGKILL ends it for certain, and its folder is free then.
        let _ = self.process.wait(ETCD_READY_LIMIT);
        let data = &self.place.data;
        fs::remove_dir_all(data).map_err(DevError::file("cannot remove the folder", data))?;
        self.process = self.place.serve(&self.cell)?;
        Ok(())
    }

    /// Where it is: `http://127.77.0.11:40123`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.place.endpoint
    }

    /// What it printed.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.place.log
    }

    /// Hangs it with SIGSTOP: it answers nobody, and connections stay open.
    pub fn freeze(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// Undoes [`Etcd::freeze`].
    pub fn thaw(&self) {
        self.process.signal(Signal::SIGCONT);
    }

    pub(crate) fn stop(self) -> Result<(), DevError> {
        // It keeps nothing in memory that is not on its disk.
        self.cell.close(Folders::Remove)
    }
}

impl Place {
    /// Starts it there; returns when it serves.
    fn serve(&self, cell: &Cell) -> Result<Process, DevError> {
        let Place { endpoint, peer, data, log: log_path, ready } = self;
        let log = File::options().create(true).append(true).open(log_path);
        let log = log.map_err(DevError::file("cannot open", log_path))?;
        let log_too = log.try_clone().map_err(DevError::file("cannot duplicate", log_path))?;
        let ready = Readiness::bind_anew(ready)?;
        let mut command = cell.command("etcd");
        let cluster = format!("e1={peer}");
        Flags { name: "e1", data, client: endpoint, peer, cluster: &cluster }.apply(&mut command, &ready);
        command.stdout(log).stderr(log_too);
        let (process, _no_stdin) = Process::spawn(&mut command, vec![ready.path().to_owned()])?;
        if let Err(why) = ready.wait(Instant::now() + ETCD_READY_LIMIT)? {
            let log = fs::read_to_string(log_path).unwrap_or_default();
            return Err(not_ready("etcd".to_owned(), why, &process, ETCD_READY_LIMIT, &[log]));
        }
        ready.listen_on()?;
        Ok(process)
    }
}

/// URLs with two ports of this address that nobody has now. Should somebody be faster, etcd says so and ends.
fn two_free_ports(address: Ipv4Addr) -> Result<(String, String), DevError> {
    let claim = || TcpListener::bind((address, 0)).and_then(|listener| Ok((listener.local_addr()?, listener)));
    let failed = |err| DevError::NoPort { address, err };
    // The first is held until the second is known to be another one.
    let (client, _held) = claim().map_err(failed)?;
    let (peer, _) = claim().map_err(failed)?;
    Ok((format!("http://{client}"), format!("http://{peer}")))
}
