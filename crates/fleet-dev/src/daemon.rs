//! One `fleetd` of a cluster.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::DevError;
use crate::cell::{Cell, Folders};
use crate::host::Host;
use crate::process::{Process, Readiness, not_ready};

/// How long `fleetd` may take from its start to `READY=1`.
pub const FLEETD_READY_LIMIT: Duration = Duration::from_secs(30);

/// How long `fleetd` may take to end in order, before it is killed.
pub const FLEETD_STOP_LIMIT: Duration = Duration::from_secs(10);

/// Variables that would overrule the keys of our configuration file; people have them set for other clusters.
const CONFIG_VARIABLES: [&str; 6] =
    ["FLEET_MACHINES_FILE", "FLEET_STORE", "FLEET_STORE_PATH", "FLEET_ETCD_SERVERS", "FLEET_LISTEN", "FLEET_ADVERTISE"];

/// A `fleetd` with its files in a folder. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    folder: PathBuf,
    program: PathBuf,
    host: Host,
    on: Option<(Process, Cell)>,
}

impl Daemon {
    /// One that does not run, and whose files are still to be written.
    pub(crate) fn new(folder: PathBuf, program: PathBuf, host: Host) -> Daemon {
        Daemon { folder, program, host, on: None }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its API's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("fleet.sock")
    }

    /// What `fleetctl --endpoint` takes.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// What it printed, over all restarts.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("fleetd.log")
    }

    /// Its configuration file, written before its first start.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("fleet.conf")
    }

    /// Its process id; `None` while it does not run.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.on.as_ref().map(|(process, _)| process).filter(|process| process.exited().is_none()).map(Process::pid)
    }

    /// Starts it if it does not run; returns when it is ready.
    ///
    /// # Errors
    /// [`DevError::Program`], [`DevError::NotReady`].
    pub fn start(&mut self) -> Result<(), DevError> {
        if self.pid().is_some() {
            return Ok(());
        }
        self.end(None)?; // What is left of one that ended by itself.
        let cell = Cell::open(&self.host, "fleetd", &[], None)?;
        let ready = Readiness::bind_anew(&self.folder.join("fleetd.ready"))?;
        let log_path = self.log();
        let log = File::options().create(true).append(true).open(&log_path);
        let log = log.map_err(DevError::file("cannot open", &log_path))?;
        let log_too = log.try_clone().map_err(DevError::file("cannot duplicate", &log_path))?;

        let deadline = Instant::now() + FLEETD_READY_LIMIT;
        let mut command = cell.command(&self.program.to_string_lossy());
        command.arg("--config").arg(self.config()).env("NOTIFY_SOCKET", ready.path());
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
        self.on = Some((process, cell));
        Ok(())
    }

    /// Stops it in order; the machines and their units go on.
    ///
    /// # Errors
    /// [`DevError::Left`] if it could not be ended.
    pub fn stop(&mut self) -> Result<(), DevError> {
        self.end(Some(Signal::SIGTERM))
    }

    /// Kills it with -9, as a crash would.
    ///
    /// # Errors
    /// [`DevError::Left`] if it could not be ended.
    pub fn kill(&mut self) -> Result<(), DevError> {
        self.end(Some(Signal::SIGKILL))
    }

    fn end(&mut self, signal: Option<Signal>) -> Result<(), DevError> {
        let Some((process, cell)) = self.on.take() else { return Ok(()) };
        if let Some(signal) = signal {
            process.signal(signal);
            if process.wait(FLEETD_STOP_LIMIT).is_none() {
                tracing::warn!(pid = process.pid(), ?signal, "fleetd did not end in time and is killed");
            }
        }
        cell.close(Folders::Remove)
    }
}
