//! A real systemd: a user manager on a machine of its own.

use std::process::Command;
use std::sync::Mutex;

use async_trait::async_trait;
use fleet_core::unit::UnitName;
use fleet_dev::{Machine, MachineSpec};
use fleet_systemd::UnitManager;
use fleet_systemd::dbus::{Address, DbusManager, Dirs};

use crate::world::World;

pub struct Real {
    /// Over the bus of the machine's user, instead of the manager's private socket.
    over_bus: bool,
    machine: Mutex<Machine>,
    _dir: tempfile::TempDir,
}

impl Real {
    pub fn start(over_bus: bool) -> Real {
        let dir = tempfile::tempdir().expect("a folder for the machine");
        let machine = Machine::start(MachineSpec::numbered(1), dir.path()).expect("a machine");
        Real { over_bus, machine: Mutex::new(machine), _dir: dir }
    }

    fn systemctl(&self, args: &[&str]) -> String {
        let mut command: Command = self.machine.lock().expect("no panic elsewhere").command("systemctl");
        let output = command.arg("--user").args(args).output().expect("systemctl runs");
        assert!(output.status.success(), "systemctl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    fn main_pid(&self, name: &UnitName) -> Option<String> {
        let pid = self.systemctl(&["show", "--value", "-p", "MainPID", name.as_str()]);
        (pid != "0").then_some(pid)
    }
}

#[async_trait]
impl World for Real {
    async fn manager(&self) -> Box<dyn UnitManager> {
        let (address, dirs) = {
            let machine = self.machine.lock().expect("no panic elsewhere");
            let dirs = Dirs {
                // A directory of our own and links from systemd's: the harder case of the two.
                units_directory: machine.run_directory().join("fleet/units"),
                unit_directory: machine.unit_directory().to_owned(),
            };
            let bus = format!("unix:path={}", machine.runtime_directory().join("bus").display());
            let socket = machine.socket().to_owned();
            (if self.over_bus { Address::Bus(bus) } else { Address::Socket(socket) }, dirs)
        };
        Box::new(DbusManager::connect(address, dirs).await.expect("systemd is there"))
    }

    async fn command_line(&self, name: &UnitName) -> Option<String> {
        let line = std::fs::read(format!("/proc/{}/cmdline", self.main_pid(name)?)).ok()?;
        let words: Vec<_> = line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).collect();
        Some(String::from_utf8_lossy(&words.join(&b' ')).into_owned())
    }

    async fn kill_main(&self, name: &UnitName) {
        self.systemctl(&["kill", "--kill-who=main", "--signal=KILL", name.as_str()]);
    }

    async fn reload(&self) {
        self.systemctl(&["daemon-reload"]);
    }

    async fn reload_stamp(&self) -> u64 {
        let stamp = self.systemctl(&["show", "--value", "-p", "UnitsLoadTimestampMonotonic"]);
        stamp.parse().expect("a number")
    }

    async fn reexec(&self) {
        self.systemctl(&["daemon-reexec"]);
    }

    async fn reboot(&self) {
        let mut machine = self.machine.lock().expect("no panic elsewhere");
        machine.kill().expect("power off");
        machine.boot().expect("power on");
    }
}
