//! One machine: a systemd user manager in namespaces and a cgroup of its own.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::cell::{Cell, Folders};
use crate::freezer::set_frozen;
use crate::host::{Host, How, MACHINE_PATH};
use crate::lock::{IN_USE_LIMIT, Lock};
use crate::process::{NotReady, Process, Readiness, check_socket_path, not_ready};
use crate::spec::check_all;
use crate::{DevError, MachineSpec};

const BOOT: &str = include_str!("scripts/boot.sh");
const ENTER: &str = include_str!("scripts/enter.sh");

/// How long a machine may take from nothing to a manager that takes orders.
///
/// Usual are 0.1 to 0.3 s; the rest is for dozens at once on a busy box.
pub const MACHINE_READY_LIMIT: Duration = Duration::from_secs(60);

/// How long [`Machine::stop`] lets units end by themselves before everything is killed.
pub const MACHINE_STOP_LIMIT: Duration = Duration::from_secs(2);

/// The machine's journal: in memory only as far as the machine is concerned, no limits, and nothing of the box's in it.
const JOURNALD_CONF: &str = "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nForwardToSyslog=no\nForwardToKMsg=no\n\
    ForwardToConsole=no\nForwardToWall=no\nRateLimitIntervalSec=0\nRateLimitBurst=0\n";

/// Started by hand, the manager would log to the box's console.
const USER_CONF: &str = "[Manager]\nLogTarget=journal\n";

/// A machine on this box. Dropping it takes it down as [`Machine::stop`] does, but without waiting for its units.
#[derive(Debug)]
pub struct Machine {
    spec: MachineSpec,
    folder: PathBuf,
    runtime: PathBuf,
    socket: PathBuf,
    unit_directory: PathBuf,
    host: Host,
    /// What goes away at the end; the whole folder unless it is to be kept.
    remove: Vec<PathBuf>,
    lock: Lock,
    on: Option<On>,
}

/// What exists while the machine is on.
#[derive(Debug)]
struct On {
    process: Process,
    cell: Cell,
}

impl Machine {
    /// Brings up the machine in the folder `dir/NAME`, which is made and belongs to it. Returns when its systemd takes
    /// orders and its journal is up.
    ///
    /// # Errors
    /// A field of `spec` that is not usable, a `dir` too long for sockets or in use, something missing on this box, or
    /// [`DevError::NotReady`] with the machine's own output. Whatever had been made is removed again.
    pub fn start(spec: MachineSpec, dir: &Path) -> Result<Machine, DevError> {
        Machine::start_in(spec, dir, Folders::Remove)
    }

    /// Brings up several machines in parallel. If one fails all are taken down again.
    ///
    /// # Errors
    /// The first error of [`Machine::start`]; [`DevError::Twice`] if two share a name, an id or an address.
    pub fn start_all(specs: Vec<MachineSpec>, dir: &Path) -> Result<Vec<Machine>, DevError> {
        Machine::start_all_in(specs, dir, Folders::Remove)
    }

    pub(crate) fn start_all_in(specs: Vec<MachineSpec>, dir: &Path, home: Folders) -> Result<Vec<Machine>, DevError> {
        check_all(&specs)?;
        thread::scope(|scope| {
            let starts: Vec<_> =
                specs.into_iter().map(|spec| scope.spawn(move || Machine::start_in(spec, dir, home))).collect();
            // All are waited for before the first error is returned.
            let results: Vec<_> = starts.into_iter().map(join).collect();
            results.into_iter().collect()
        })
    }

    /// `home`: whether the machine's home folder, its only lasting part, goes away at the end.
    fn start_in(spec: MachineSpec, dir: &Path, home: Folders) -> Result<Machine, DevError> {
        spec.check()?;
        let host = Host::look()?;
        fs::create_dir_all(dir).map_err(DevError::file("cannot make the folder", dir))?;
        let dir = dir.canonicalize().map_err(DevError::file("cannot find", dir))?;
        if dir.to_str().is_none_or(|text| text.contains(|ch: char| ch.is_whitespace() || ch.is_control() || ch == '\''))
        {
            return Err(DevError::BadFolder { path: dir });
        }
        let folder = dir.join(&spec.name);
        let runtime = folder.join("run/user").join(host.uid.to_string());
        let socket = runtime.join("systemd/private");
        check_socket_path(&socket)?;
        let lock = Lock::take(&dir.join(format!("{}.lock", spec.name)), IN_USE_LIMIT)?;
        let remove = match home {
            Folders::Remove => vec![folder.clone()],
            Folders::Keep => {
                ["run", "etc", "empty", "leader", "keeper", "enter", "boot.log"].map(|name| folder.join(name)).into()
            }
        };
        let unit_directory = runtime.join("systemd/user");
        let mut machine = Machine { spec, folder, runtime, socket, unit_directory, host, remove, lock, on: None };
        machine.boot()?;
        Ok(machine)
    }

    /// Switches a machine on that [`Machine::kill`] switched off. As after a real boot `/run` is empty: unit files that
    /// were there are gone, the home folder is as it was. Nothing happens to a machine that is on.
    ///
    /// # Errors
    /// As [`Machine::start`].
    pub fn boot(&mut self) -> Result<(), DevError> {
        if self.is_on() {
            return Ok(());
        }
        self.switch_off(Folders::Keep)?; // What is left of one whose manager ended by itself.
        let cell = Cell::open(&self.host, &self.what(), &self.remove, Some(&self.lock))?;
        self.lay_out()?;
        let journal_ready = Readiness::bind(self.folder.join("run/fleet-dev/journal"))?;
        let manager_ready = Readiness::bind(self.folder.join("run/fleet-dev/systemd"))?;
        let log_path = self.folder.join("boot.log");
        let log = File::create(&log_path).map_err(DevError::file("cannot make", &log_path))?;
        let log_too = log.try_clone().map_err(DevError::file("cannot duplicate", &log_path))?;

        let deadline = Instant::now() + MACHINE_READY_LIMIT;
        let mut command = cell.command("unshare");
        if let How::User { .. } = self.host.how {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "--uts", "--cgroup", "--propagation", "private", "sh", "-c", BOOT, "fleet-dev-boot"]);
        command.stdin(Stdio::piped()).stdout(log).stderr(log_too).current_dir("/");
        if self.host.how == How::Root {
            command.env_clear(); // `systemd-run --user` needs the user's environment to find the manager.
        }
        let mount_point = |path: &Option<PathBuf>| path.clone().unwrap_or_default();
        command
            .env("PATH", MACHINE_PATH)
            .env("MACHINE_NAME", &self.spec.name)
            .env("MACHINE_FOLDER", &self.folder)
            .env("MACHINE_UID", self.host.uid.to_string())
            .env("MACHINE_GID", self.host.gid.to_string())
            .env("MACHINE_USERNS", self.in_user_namespace())
            .env("SYSTEMD", &self.host.systemd)
            .env("JOURNALD", &self.host.journald)
            .env("CGROUP_UNIFIED", mount_point(&self.host.unified))
            .env("CGROUP_NAMED", mount_point(&self.host.named));
        let waiters = [&journal_ready, &manager_ready].map(|readiness| readiness.path().to_owned()).into();
        let (process, stdin) = Process::spawn(&mut command, waiters)?;

        journal_ready.wait(deadline)?.map_err(|why| self.not_ready("the journal", why, &process))?;
        if let Some(mut stdin) = stdin.0 {
            // If it ended meanwhile, the next wait says so, and why.
            let _gone = stdin.write_all(b"go\n");
        }
        manager_ready.wait(deadline)?.map_err(|why| self.not_ready("systemd", why, &process))?;
        tracing::debug!(machine = self.spec.name, pid = process.pid(), "machine is up");
        self.on = Some(On { process, cell });
        Ok(())
    }

    /// What this machine was asked to be.
    #[must_use]
    pub fn spec(&self) -> &MachineSpec {
        &self.spec
    }

    /// The private D-Bus socket of the machine's systemd, as a path of the box.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where unit files go (`$XDG_RUNTIME_DIR/systemd/user`), as a path of the box. The folder exists.
    #[must_use]
    pub fn unit_directory(&self) -> &Path {
        &self.unit_directory
    }

    /// The machine's `/run`, as a path of the box.
    #[must_use]
    pub fn run_directory(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// The machine's `$XDG_RUNTIME_DIR`, as a path of the box.
    #[must_use]
    pub fn runtime_directory(&self) -> &Path {
        &self.runtime
    }

    /// The process id of the machine's systemd on the box; `None` while the machine is off.
    #[must_use]
    pub fn leader_pid(&self) -> Option<u32> {
        self.on.as_ref().filter(|on| on.process.exited().is_none()).map(|on| on.process.pid())
    }

    /// Whether its systemd runs.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.leader_pid().is_some()
    }

    /// What to put before a command so that it runs on the machine: `[enter.., "systemctl", "--user", "status", "x"]`.
    ///
    /// Stays the same over reboots. On a machine that is off the command ends with 125.
    #[must_use]
    pub fn enter(&self) -> Vec<String> {
        vec!["sh".to_owned(), self.folder.join("enter").to_string_lossy().into_owned()]
    }

    /// A command that runs `program` on the machine, in its own environment; see [`Machine::enter`].
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let enter = self.enter();
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).arg(program);
        command
    }

    /// Power loss: kills every process of the machine at once. Its folder stays; [`Machine::boot`] switches it on again.
    ///
    /// # Errors
    /// [`DevError::Left`] if something could not be killed.
    pub fn kill(&mut self) -> Result<(), DevError> {
        self.switch_off(Folders::Keep)
    }

    /// Hangs every process of the machine: a machine that is there and does not answer.
    ///
    /// # Errors
    /// [`DevError::Off`], [`DevError::NoFreezer`] without cgroup v2, [`DevError::Freezer`] after [`crate::FREEZE_LIMIT`].
    pub fn freeze(&self) -> Result<(), DevError> {
        self.set_frozen(true)
    }

    /// Undoes [`Machine::freeze`].
    ///
    /// # Errors
    /// As [`Machine::freeze`].
    pub fn thaw(&self) -> Result<(), DevError> {
        self.set_frozen(false)
    }

    /// Switches the machine off in order: its units get [`MACHINE_STOP_LIMIT`] to end, then all is killed, and processes,
    /// cgroups and folders are removed.
    ///
    /// # Errors
    /// [`DevError::Left`] with what could not be removed.
    pub fn stop(mut self) -> Result<(), DevError> {
        if let Some(on) = &self.on {
            on.process.signal(Signal::SIGTERM); // For a user manager: start exit.target, which stops all units.
            if on.process.wait(MACHINE_STOP_LIMIT).is_none() {
                tracing::debug!(machine = self.spec.name, "units did not end in time");
            }
        }
        self.take_down()
    }

    /// Stops several machines in parallel.
    ///
    /// # Errors
    /// The first error of [`Machine::stop`]; all are stopped in any case.
    pub fn stop_all(machines: Vec<Machine>) -> Result<(), DevError> {
        thread::scope(|scope| {
            let stops: Vec<_> = machines.into_iter().map(|machine| scope.spawn(|| machine.stop())).collect();
            let results: Vec<_> = stops.into_iter().map(join).collect();
            results.into_iter().collect()
        })
    }

    fn what(&self) -> String {
        format!("machine `{}`", self.spec.name)
    }

    fn in_user_namespace(&self) -> &'static str {
        match self.host.how {
            How::Root => "no",
            How::User { .. } => "yes",
        }
    }

    /// Removes everything; the second time nothing.
    fn take_down(&mut self) -> Result<(), DevError> {
        let remove = std::mem::take(&mut self.remove);
        if self.on.is_none() && !remove.is_empty() {
            // It was killed, and its warden left with the processes: another one removes the rest.
            return Cell::open(&self.host, &self.what(), &remove, Some(&self.lock))?.close(Folders::Remove);
        }
        self.switch_off(Folders::Remove)
    }

    fn switch_off(&mut self, folders: Folders) -> Result<(), DevError> {
        let Some(On { process, cell }) = self.on.take() else { return Ok(()) };
        if folders == Folders::Keep {
            let leader = self.folder.join("leader");
            fs::remove_file(&leader).map_err(DevError::file("cannot remove", &leader))?;
        }
        cell.close(folders)?;
        match process.wait(crate::CELL_END_LIMIT) {
            Some(_killed) => Ok(()),
            None => Err(DevError::Left { what: self.what(), left: format!("process {}", process.pid()) }),
        }
    }

    /// Makes the machine's folder anew: everything but the home folder is as on the first boot.
    fn lay_out(&self) -> Result<(), DevError> {
        let run = self.folder.join("run");
        // systemd leaves folders of mode 000 there, which an ordinary user cannot look into: rm(1) gets rid of them, the
        // standard library does not.
        let mut rm = Command::new("rm");
        rm.args(["-rf", "--one-file-system", "--"]).arg(&run).stdin(Stdio::null());
        let output = rm.output().map_err(|err| DevError::Program { program: "rm".to_owned(), err })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(DevError::file("cannot remove the old folder", &run)(io::Error::other(said)));
        }
        let folders = [
            "etc",
            "home",
            "empty",
            "run/fleet-dev",
            "run/systemd/system",
            "run/systemd/journald.conf.d",
            "run/systemd/user.conf.d",
        ];
        let folders = folders.iter().map(|name| self.folder.join(name)).chain([self.unit_directory.clone()]);
        for folder in folders {
            fs::create_dir_all(&folder).map_err(DevError::file("cannot make the folder", &folder))?;
        }
        // systemd wants it for the user alone, as logind would make it.
        fs::set_permissions(&self.runtime, fs::Permissions::from_mode(0o700))
            .map_err(DevError::file("cannot set the mode of", &self.runtime))?;
        let address = self.spec.address;
        let enter = ENTER
            .replace("@FOLDER@", &format!("'{}'", self.folder.display()))
            .replace("@NAME@", &self.spec.name)
            .replace("@PATH@", MACHINE_PATH)
            .replace("@UID@", &self.host.uid.to_string())
            .replace("@USERNS@", self.in_user_namespace());
        let files = [
            ("etc/machine-id", format!("{}\n", self.spec.id)),
            ("etc/environment", format!("COREOS_PUBLIC_IPV4={address}\nCOREOS_PRIVATE_IPV4={address}\n")),
            ("run/systemd/journald.conf.d/fleet-dev.conf", JOURNALD_CONF.to_owned()),
            ("run/systemd/user.conf.d/fleet-dev.conf", USER_CONF.to_owned()),
            ("enter", enter),
        ];
        for (name, text) in files {
            let path = self.folder.join(name);
            fs::write(&path, text).map_err(DevError::file("cannot write", &path))?;
        }
        Ok(())
    }

    fn not_ready(&self, part: &str, why: NotReady, process: &Process) -> DevError {
        let printed = fs::read_to_string(self.folder.join("boot.log")).unwrap_or_default();
        // Its journal is in a file system that only the machine sees; through a process there we see it, too.
        let keeper = fs::read_to_string(self.folder.join("keeper")).unwrap_or_default();
        if self.host.how == How::Root {
            // Lets the journal take in what a process said that is gone already; it does so for root only.
            let mut sync = Command::new("nsenter");
            sync.args(["--target", keeper.trim(), "--mount", "journalctl", "--sync"]);
            let _best_effort = sync.stdin(Stdio::null()).output();
        }
        let mut journalctl = Command::new("journalctl");
        journalctl.arg("--directory").arg(format!("/proc/{}/root/run/log/journal", keeper.trim()));
        journalctl.args(["--no-pager", "--quiet", "--output=cat"]);
        let journal = journalctl.stdin(Stdio::null()).stderr(Stdio::null()).output();
        // Without either, the error is poorer; it is still the one that matters.
        let journal = journal.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        not_ready(format!("{part} of {}", self.what()), why, process, MACHINE_READY_LIMIT, &[printed, journal])
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), DevError> {
        let Some(on) = &self.on else { return Err(DevError::Off { name: self.spec.name.clone() }) };
        set_frozen(&on.cell, &self.host, &self.spec.name, frozen)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(err) = self.take_down() {
            tracing::error!(%err, "a machine did not end");
        }
    }
}

/// The result of a thread; its panic goes on in ours.
pub(crate) fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
