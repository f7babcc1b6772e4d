//! One machine of a lab: a systemd as PID 1, with a disk and an address of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::cell::{Cell, Folders};
use crate::freezer::set_frozen;
use crate::host::{Host, MACHINE_PATH};
use crate::lab::hub::Hub;
use crate::lab::{FleetFiles, HUB_ADDRESS};
use crate::process::{Process, not_ready};
use crate::{DevError, MachineSpec};

const BOOT: &str = include_str!("../scripts/lab/boot.sh");

/// How long a machine may take to boot: until its systemd has come to the end of its queue of jobs.
///
/// Usual are 2 s; the rest is for dozens at once on a busy box.
pub const LAB_MACHINE_READY_LIMIT: Duration = Duration::from_secs(180);

/// How long [`LabMachine::shut_down`] lets a machine's units end before it is switched off.
pub const LAB_MACHINE_STOP_LIMIT: Duration = Duration::from_secs(120);

/// The bridge at which all machines and the hub are as long as nothing is parted.
pub(crate) const MAIN_BRIDGE: &str = "br0";

/// A machine of a [`crate::Lab`].
#[derive(Debug)]
pub struct LabMachine {
    spec: MachineSpec,
    host: Host,
    hub: Arc<Hub>,
    /// Whether `fleetd` and `fleetctl` are there, and from where.
    binds: Vec<String>,
    /// The bridge its cable goes to, also when it is switched on again.
    bridge: String,
    on: Option<On>,
}

/// What exists while the machine is on.
#[derive(Debug)]
struct On {
    /// systemd-nspawn; ends when the machine does.
    process: Process,
    cell: Cell,
    /// The machine's systemd.
    leader: u32,
}

impl LabMachine {
    /// Makes the machine's disk; it is off.
    pub(crate) fn new(
        spec: MachineSpec,
        all: &[MachineSpec],
        host: &Host,
        hub: &Arc<Hub>,
        tree: &Path,
        fleet: Option<&FleetFiles>,
    ) -> Result<LabMachine, DevError> {
        let bind = |from: &Path, to: &str| format!("--bind-ro={}:{to}", from.display());
        let binds = fleet.map_or_else(Vec::new, |fleet| {
            vec![bind(&fleet.fleetd, "/usr/bin/fleetd"), bind(&fleet.fleetctl, "/usr/bin/fleetctl")]
        });
        let bridge = MAIN_BRIDGE.to_owned();
        let machine = LabMachine { spec, host: host.clone(), hub: Arc::clone(hub), binds, bridge, on: None };
        machine.make_disk(all, tree, fleet)?;
        Ok(machine)
    }

    /// What this machine was asked to be.
    #[must_use]
    pub fn spec(&self) -> &MachineSpec {
        &self.spec
    }

    /// The process id of the machine's systemd on this box; `None` while the machine is off.
    #[must_use]
    pub fn leader_pid(&self) -> Option<u32> {
        self.on.as_ref().filter(|on| on.process.exited().is_none()).map(|on| on.leader)
    }

    /// Whether its systemd runs.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.leader_pid().is_some()
    }

    /// What the machine printed on its console, over all boots.
    #[must_use]
    pub fn console(&self) -> PathBuf {
        self.hub.dir().join(format!("{}.console", self.spec.name))
    }

    /// Its disk, as a path of this box; also while it is off. Temporary file systems of the machine are not in there.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.hub.outside(&self.root())
    }

    /// What to put before a command so that it runs on the machine, as root, in the machine's own environment. Right until
    /// the machine is switched off.
    ///
    /// The command ends with the machine, but the machine's systemd does not count it (`systemd-run` on the machine starts
    /// one that it does). On a machine that is frozen it does not come to an end: give it a limit of your own.
    ///
    /// # Errors
    /// [`DevError::Off`].
    pub fn enter(&self) -> Result<Vec<String>, DevError> {
        let Some(leader) = self.leader_pid() else { return Err(self.off()) };
        let (leader, path) = (leader.to_string(), format!("PATH={MACHINE_PATH}"));
        let namespaces = ["nsenter", "--target", &leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"];
        let place = ["--root", "--wd", "--", "env", "-i", &path, "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"];
        Ok(namespaces.iter().chain(&place).map(|word| (*word).to_owned()).collect())
    }

    /// A command that runs `program` on the machine; see [`LabMachine::enter`].
    ///
    /// # Errors
    /// [`DevError::Off`].
    pub fn command(&self, program: &str) -> Result<Command, DevError> {
        let enter = self.enter()?;
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).arg(program);
        Ok(command)
    }

    /// Switches the machine on; returns when it has booted. Nothing happens to one that is on.
    ///
    /// # Errors
    /// [`DevError::NotReady`] with what it printed on its console.
    pub fn boot(&mut self) -> Result<(), DevError> {
        if self.is_on() {
            return Ok(());
        }
        self.switch_off()?; // What is left of one that shut itself down.
        let name = &self.spec.name;
        let cell = Cell::open(&self.host, &self.what(), &[], None)?;
        let ready = self.hub.readiness(name)?;
        let console_path = self.console();
        let console = File::options().create(true).append(true).open(&console_path);
        let console = console.map_err(DevError::file("cannot open", &console_path))?;
        let console_too = console.try_clone().map_err(DevError::file("cannot duplicate", &console_path))?;

        let deadline = Instant::now() + LAB_MACHINE_READY_LIMIT;
        let mut command = self.hub.cell_command(&cell, "sh");
        command.args(["-c", BOOT, "fleet-dev-boot", "--quiet", "--boot", "--console=read-only", "--settings=no"]);
        // Neither machined nor a D-Bus of this box is asked, and the machine stays in the cgroup that it is started in.
        command.args(["--register=no", "--keep-unit", "--notify-ready=yes"]);
        command.arg(format!("--directory={}", self.root().display()));
        command.args([format!("--machine={name}"), format!("--hostname={name}"), format!("--uuid={}", self.spec.id)]);
        command.arg(format!("--network-namespace-path=/run/netns/{name}"));
        // As a real machine: it may filter its own network, and has timers that wake it from suspend.
        command.arg("--capability=CAP_NET_ADMIN,CAP_WAKE_ALARM");
        command.args(["--resolv-conf=off", "--timezone=off", "--link-journal=no"]).args(&self.binds);
        command.stdin(Stdio::null()).stdout(console).stderr(console_too).current_dir("/");
        let last = self.spec.address.octets()[3];
        command.env_clear().env("PATH", MACHINE_PATH).env("NOTIFY_SOCKET", ready.path());
        // cgroup v2 alone, whatever this box has: that is what today's distributions have.
        command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
        command.env("NAME", name).env("PORT", self.port()).env("BRIDGE", &self.bridge);
        command.env("ADDRESS", format!("{}/24", self.spec.address)).env("HUB", HUB_ADDRESS.to_string());
        command.env("MAC", format!("02:00:0a:4d:00:{last:02x}"));
        let (process, _no_stdin) = Process::spawn(&mut command, vec![ready.path().to_owned()])?;

        let mut leader = None;
        let heard = ready.wait_hearing(deadline, |line| {
            let pid = line.strip_prefix("X_NSPAWN_LEADER_PID=").and_then(|pid| pid.parse().ok());
            leader = pid.or(leader);
        })?;
        match (heard, leader) {
            (Ok(()), Some(leader)) => {
                ready.listen_on()?;
                self.on = Some(On { process, cell, leader });
                Ok(())
            }
            (Ok(()), None) => Err(DevError::NotReady {
                what: self.what(),
                how: "did not say which process is its systemd".to_owned(),
                words: "systemd-nspawn sends X_NSPAWN_LEADER_PID=, see sd_notify(3)".to_owned(),
            }),
            (Err(why), _) => {
                let console = fs::read_to_string(&console_path).unwrap_or_default();
                Err(not_ready(self.what(), why, &process, LAB_MACHINE_READY_LIMIT, &[console]))
            }
        }
    }

    /// Power loss. Nothing of the machine gets out any more, neither FIN nor RST: its peers see silence. Its disk stays,
    /// unlike after a real one also with what was written and not synced.
    ///
    /// # Errors
    /// [`DevError::Left`] if something could not be killed.
    pub fn kill(&mut self) -> Result<(), DevError> {
        if self.is_on() {
            self.hub.run(&["ip", "link", "set", &self.port(), "down"])?;
        }
        self.switch_off()
    }

    /// Switches the machine off in order, as its own power button would.
    ///
    /// # Errors
    /// [`DevError::Left`] if something could not be ended.
    pub fn shut_down(&mut self) -> Result<(), DevError> {
        if let Some(on) = &self.on {
            on.process.signal(Signal::SIGTERM); // systemd-nspawn asks the systemd in it to power off.
            if on.process.wait(LAB_MACHINE_STOP_LIMIT).is_none() {
                tracing::warn!(machine = self.spec.name, limit = ?LAB_MACHINE_STOP_LIMIT, "did not shut down in time");
            }
        }
        self.kill()
    }

    /// Hangs every process of the machine. Its kernel goes on: it answers pings, and takes connections that nobody accepts.
    ///
    /// # Errors
    /// [`DevError::Off`], [`DevError::NoFreezer`] without cgroup v2, [`DevError::Freezer`] after [`crate::FREEZE_LIMIT`].
    pub fn freeze(&self) -> Result<(), DevError> {
        self.set_frozen(true)
    }

    /// Undoes [`LabMachine::freeze`].
    ///
    /// # Errors
    /// As [`LabMachine::freeze`].
    pub fn thaw(&self) -> Result<(), DevError> {
        self.set_frozen(false)
    }

    /// Puts the machine's cable into another bridge, now or at its next boot.
    pub(crate) fn plug_into(&mut self, bridge: &str) -> Result<(), DevError> {
        if self.bridge != bridge && self.is_on() {
            self.hub.run(&["ip", "link", "set", &self.port(), "master", bridge])?;
        }
        self.bridge = bridge.to_owned();
        Ok(())
    }

    /// The hub's end of its cable.
    pub(crate) fn port(&self) -> String {
        format!("port{}", self.spec.address.octets()[3])
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), DevError> {
        let Some(on) = &self.on else { return Err(self.off()) };
        set_frozen(&on.cell, &self.host, &self.spec.name, frozen)
    }

    fn switch_off(&mut self) -> Result<(), DevError> {
        let Some(On { process, cell, .. }) = self.on.take() else { return Ok(()) };
        cell.close(Folders::Keep)?;
        match process.wait(crate::CELL_END_LIMIT) {
            Some(_killed) => Ok(()),
            None => Err(DevError::Left { what: self.what(), left: format!("process {}", process.pid()) }),
        }
    }

    fn what(&self) -> String {
        format!("machine `{}`", self.spec.name)
    }

    fn off(&self) -> DevError {
        DevError::Off { name: self.spec.name.clone() }
    }

    /// Where its disk is for those in the hub's namespaces.
    fn root(&self) -> PathBuf {
        self.hub.disks().join(&self.spec.name).join("root")
    }

    fn make_disk(&self, all: &[MachineSpec], tree: &Path, fleet: Option<&FleetFiles>) -> Result<(), DevError> {
        let own = self.hub.disks().join(&self.spec.name);
        for part in ["upper", "work", "root"] {
            let folder = self.hub.outside(&own.join(part));
            fs::create_dir_all(&folder).map_err(DevError::file("cannot make the folder", &folder))?;
        }
        let (lower, own, root) = (tree.display(), own.display(), self.root());
        let options = format!("lowerdir={lower},upperdir={own}/upper,workdir={own}/work");
        self.hub.run(&["mount", "-t", "overlay", "overlay", "-o", &options, &root.to_string_lossy()])?;

        let address = self.spec.address;
        let hosts = all.iter().map(|spec| format!("{} {}\n", spec.address, spec.name));
        self.write("etc/hostname", &format!("{}\n", self.spec.name))?;
        self.write("etc/machine-id", &format!("{}\n", self.spec.id))?;
        self.write("etc/hosts", &format!("127.0.0.1 localhost\n{HUB_ADDRESS} hub\n{}", hosts.collect::<String>()))?;
        self.write("etc/environment", &format!("COREOS_PUBLIC_IPV4={address}\nCOREOS_PRIVATE_IPV4={address}\n"))?;
        fleet.map_or(Ok(()), |fleet| self.install(fleet))
    }

    /// Installs fleet as a package would: the unit files, the configuration, `systemctl enable`.
    fn install(&self, fleet: &FleetFiles) -> Result<(), DevError> {
        let read = |name: &str| {
            let path = fleet.packaging.join(name);
            fs::read_to_string(&path).map_err(DevError::file("cannot read", &path))
        };
        for unit in ["fleetd.service", "fleetd.socket"] {
            self.write(&format!("usr/lib/systemd/system/{unit}"), &read(unit)?)?;
        }
        let metadata = self.spec.metadata.iter().map(|(key, value)| format!("{key}={value}"));
        let metadata = metadata.collect::<Vec<_>>().join(",");
        let conf = format!("{}\n# This machine:\nmetadata = \"{metadata}\"\n{}", read("fleet.conf")?, fleet.config);
        self.write("etc/fleet/fleet.conf", &conf)?;
        self.hub.run(&[
            "systemctl",
            &format!("--root={}", self.root().display()),
            "--quiet",
            "enable",
            "fleetd.service",
        ])?;
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> Result<(), DevError> {
        let path = self.disk().join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(DevError::file("cannot make the folder", folder))?;
        }
        fs::write(&path, text).map_err(DevError::file("cannot write", &path))
    }
}
