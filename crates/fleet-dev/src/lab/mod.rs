//! A lab: machines as in a data center, on this box. Each has a systemd as PID 1, a disk, and an address on a network that
//! can be cut; etcd is in the hub, the middle of that network.
//!
//! The second kind of machine beside [`crate::Machine`], for what that kind cannot show: `fleetd` as an ordinary service of
//! the system, one on each machine, and machines that lose their power, hang, or are cut off.
//!
//! # What holds
//! - Nothing of the box's own network changes, and labs do not see each other, though all have the same addresses: bridge,
//!   cables and mounts exist in namespaces of the lab's own and end with their last process.
//! - Nothing is left behind, as with the other kind. What is kept is the machines' common tree, see [`lab_rootfs`].
//! - Clocks are the box's.
//!
//! # What must be installed
//! systemd-nspawn, ip, debootstrap for the first time, etcd if it is asked for, nft for [`Lab::mute`]. Root.
//!
//! # What a machine cannot
//! Limit its units' memory or CPU where the box has the controllers in cgroup v1. `reboot` switches it off: boot it.
//!
//! Reading order: `hub` and `scripts/lab/hub.sh`, `machine` and `scripts/lab/boot.sh`, `rootfs`, `etcd`.

mod etcd;
mod hub;
mod machine;
mod rootfs;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;

pub use etcd::EtcdMember;
pub use hub::LAB_DISKS_MIB;
pub use machine::{LAB_MACHINE_READY_LIMIT, LAB_MACHINE_STOP_LIMIT, LabMachine};
pub use rootfs::{CACHE_VARIABLE, LAB_ROOTFS_BUILD_LIMIT, LAB_ROOTFS_MIB, lab_rootfs};

use crate::host::{Host, How};
use crate::machine::join;
use crate::{DevError, MachineSpec};
use hub::Hub;
use machine::MAIN_BRIDGE;

/// The hub's address in the lab's network, which is 10.77.0.0/24 in every lab.
pub const HUB_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// What a lab is to be.
#[derive(Clone, Debug)]
pub struct LabSpec {
    /// The machines; see [`LabSpec::numbered`]. Two may have the same id, as copies of one disk have.
    pub machines: Vec<MachineSpec>,
    /// How many members etcd has: 0 for no etcd.
    pub etcd_members: u16,
    /// What is installed on the machines; `None`: no fleet.
    pub fleet: Option<FleetFiles>,
}

/// fleet, as it is installed on each machine.
#[derive(Clone, Debug)]
pub struct FleetFiles {
    /// The program, which the machines see as `/usr/bin/fleetd`.
    pub fleetd: PathBuf,
    /// The program, which the machines see as `/usr/bin/fleetctl`.
    pub fleetctl: PathBuf,
    /// The folder with `fleetd.service`, `fleetd.socket` and `fleet.conf`.
    pub packaging: PathBuf,
    /// Lines that are added to the end of `fleet.conf` on each machine.
    pub config: String,
}

/// A running lab. Dropping it takes it down.
#[derive(Debug)]
pub struct Lab {
    // The order of the fields is the order in which a drop takes them down.
    machines: Vec<LabMachine>,
    etcd: Vec<EtcdMember>,
    hub: Arc<Hub>,
    /// How many islands there have been.
    islands_made: u64,
}

impl LabSpec {
    /// Machine `mN` with the address `10.77.0.(10+N)`, up to 244.
    #[must_use]
    pub fn numbered(n: u8) -> MachineSpec {
        MachineSpec { address: Ipv4Addr::new(10, 77, 0, n.saturating_add(10)), ..MachineSpec::numbered(n) }
    }

    fn check(&self) -> Result<(), DevError> {
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for spec in &self.machines {
            spec.check_identity()?;
            let [a, b, c, last] = spec.address.octets();
            if [a, b, c] != HUB_ADDRESS.octets()[..3] || !(2..=254).contains(&last) {
                return Err(DevError::BadLabAddress { name: spec.name.clone(), address: spec.address });
            }
            if !names.insert(&spec.name) {
                return Err(DevError::Twice { what: "name", value: spec.name.clone() });
            }
            if !addresses.insert(spec.address) {
                return Err(DevError::Twice { what: "address", value: spec.address.to_string() });
            }
        }
        Ok(())
    }
}

impl Lab {
    /// Builds the machines' tree if it is missing, makes network and disks, starts etcd, then boots all machines in
    /// parallel; returns when all have booted.
    ///
    /// # Errors
    /// As [`lab_rootfs`]; something missing on this box; [`DevError::NotReady`] with the console of a machine or the log
    /// of etcd. Whatever had been made is removed again.
    pub fn start(spec: &LabSpec) -> Result<Lab, DevError> {
        let mut lab = Lab::prepare(spec)?;
        lab.boot_all()?;
        Ok(lab)
    }

    /// The same without booting any machine.
    ///
    /// # Errors
    /// As [`Lab::start`].
    pub fn prepare(spec: &LabSpec) -> Result<Lab, DevError> {
        spec.check()?;
        let host = Host::look()?;
        if host.how != How::Root {
            return Err(DevError::NeedsRoot);
        }
        let tree = lab_rootfs()?;
        let hub = Arc::new(Hub::start(&host)?);
        let etcd = EtcdMember::start_all(spec.etcd_members, &host, &hub)?;
        let all = &spec.machines;
        let new = |one: &MachineSpec| LabMachine::new(one.clone(), all, &host, &hub, &tree, spec.fleet.as_ref());
        let machines = all.iter().map(new).collect::<Result<_, _>>()?;
        Ok(Lab { machines, etcd, hub, islands_made: 0 })
    }

    /// Switches on all machines that are off, in parallel.
    ///
    /// # Errors
    /// The first error of [`LabMachine::boot`]; all are waited for.
    pub fn boot_all(&mut self) -> Result<(), DevError> {
        thread::scope(|scope| {
            let boots: Vec<_> = self.machines.iter_mut().map(|machine| scope.spawn(|| machine.boot())).collect();
            let results: Vec<_> = boots.into_iter().map(join).collect();
            results.into_iter().collect()
        })
    }

    /// The machines, in the order of the spec.
    #[must_use]
    pub fn machines(&self) -> &[LabMachine] {
        &self.machines
    }

    /// The machine of that name.
    ///
    /// # Errors
    /// [`DevError::NoMachine`].
    pub fn machine(&self, name: &str) -> Result<&LabMachine, DevError> {
        let machine = self.machines.iter().find(|machine| machine.spec().name == name);
        machine.ok_or_else(|| DevError::NoMachine { name: name.to_owned() })
    }

    /// The machine of that name, to switch it.
    ///
    /// # Errors
    /// [`DevError::NoMachine`].
    pub fn machine_mut(&mut self, name: &str) -> Result<&mut LabMachine, DevError> {
        let machine = self.machines.iter_mut().find(|machine| machine.spec().name == name);
        machine.ok_or_else(|| DevError::NoMachine { name: name.to_owned() })
    }

    /// The members of etcd.
    #[must_use]
    pub fn etcd(&self) -> &[EtcdMember] {
        &self.etcd
    }

    /// The members of etcd, to kill and start them.
    pub fn etcd_mut(&mut self) -> &mut [EtcdMember] {
        &mut self.etcd
    }

    /// What `etcd_servers` of the configuration takes when etcd has `members` members: their addresses, with commas
    /// between. Known before the lab is there, since it is needed for the configuration.
    #[must_use]
    pub fn etcd_servers(members: u16) -> String {
        (1..=members).map(etcd::endpoint).collect::<Vec<_>>().join(",")
    }

    /// Cuts islands off: `&[&["m1", "m2"], &["m3"]]` makes three parts, {m1 m2}, {m3} and {the others, and the hub with
    /// etcd}. Between parts all frames are lost in silence, open connections hang. Undoes what was cut before, without
    /// a moment in which all see each other: machines come back one by one with fewer islands each time. Also holds for
    /// machines that are off now and booted later.
    ///
    /// # Errors
    /// [`DevError::NoMachine`], [`DevError::Failed`] of ip(8).
    pub fn partition(&mut self, islands: &[&[&str]]) -> Result<(), DevError> {
        for name in islands.iter().flat_map(|island| island.iter()) {
            self.machine(name)?;
        }
        // New bridges each time, and straight from the old to the new: no machine meets another in between that is in
        // neither of its two parts.
        let mut bridge_of = BTreeMap::new();
        for island in islands {
            self.islands_made += 1;
            let bridge = format!("island{}", self.islands_made);
            self.hub.run(&["ip", "link", "add", &bridge, "type", "bridge"])?;
            self.hub.run(&["ip", "link", "set", &bridge, "up"])?;
            bridge_of.extend(island.iter().map(|name| (*name, bridge.clone())));
        }
        for machine in &mut self.machines {
            let bridge = bridge_of.get(machine.spec().name.as_str()).map_or(MAIN_BRIDGE, String::as_str);
            machine.plug_into(bridge)?;
        }
        let in_use: BTreeSet<&String> = bridge_of.values().collect();
        let links = self.hub.run(&["ip", "-brief", "link", "show", "type", "bridge"])?;
        let bridges = links.lines().filter_map(|line| line.split_whitespace().next());
        for bridge in bridges.filter(|bridge| *bridge != MAIN_BRIDGE && !in_use.contains(&(*bridge).to_owned())) {
            self.hub.run(&["ip", "link", "delete", bridge])?;
        }
        Ok(())
    }

    /// Loses what these machines send; they still hear the others. Undoes an earlier one.
    ///
    /// # Errors
    /// [`DevError::NoMachine`], [`DevError::Off`], [`DevError::Failed`] of nft(8).
    pub fn mute(&self, names: &[&str]) -> Result<(), DevError> {
        let mut rules = String::from("add table netdev mute; delete table netdev mute; add table netdev mute; ");
        for name in names {
            let machine = self.machine(name)?;
            if !machine.is_on() {
                return Err(DevError::Off { name: (*name).to_owned() });
            }
            let port = machine.port();
            let hook = format!("type filter hook ingress device {port} priority 0; policy drop;");
            rules.push_str(&format!("add chain netdev mute {port} {{ {hook} }}; "));
        }
        self.hub.run(&["nft", &rules]).map(drop)
    }

    /// Undoes [`Lab::partition`] and [`Lab::mute`].
    ///
    /// # Errors
    /// [`DevError::Failed`] of ip(8) or nft(8).
    pub fn heal(&mut self) -> Result<(), DevError> {
        self.partition(&[])?;
        self.mute(&[])
    }

    /// A command that runs `program` of this box in the hub's network.
    #[must_use]
    pub fn hub_command(&self, program: &str) -> Command {
        self.hub.command(program)
    }

    /// Calls `f` on a new thread that is in the hub's network: sockets that are made there, also by threads that it
    /// starts, are in that network for good.
    ///
    /// # Errors
    /// [`DevError::Enter`].
    pub fn in_network<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, DevError> {
        self.hub.in_network(f)
    }

    /// Takes all of it down: the machines as by power loss, then etcd and the hub.
    ///
    /// # Errors
    /// The first error; everything is taken down as far as it goes.
    pub fn stop(self) -> Result<(), DevError> {
        let Lab { mut machines, mut etcd, hub, .. } = self;
        let killed = thread::scope(|scope| {
            let kills: Vec<_> = machines.iter_mut().map(|machine| scope.spawn(|| machine.kill())).collect();
            let results: Vec<_> = kills.into_iter().map(join).collect();
            results.into_iter().collect::<Result<(), DevError>>()
        });
        let ended = etcd.iter_mut().try_for_each(EtcdMember::kill);
        drop((machines, etcd));
        // Now it is ours alone, so there is something to stop.
        killed.and(ended).and(Arc::into_inner(hub).map_or(Ok(()), Hub::stop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_checked() {
        let check = |change: fn(&mut Vec<MachineSpec>), expected: &str| {
            let mut machines: Vec<MachineSpec> = (1..=2).map(LabSpec::numbered).collect();
            change(&mut machines);
            let said = LabSpec { machines, etcd_members: 0, fleet: None }.check();
            let said = said.map_or_else(|err| err.to_string(), |()| "fine".to_owned());
            assert!(said.contains(expected), "expected `{expected}` in `{said}`");
        };
        check(|_| (), "fine");
        check(|machines| machines[1].id = machines[0].id.clone(), "fine");
        check(|machines| machines[1].name = "m1".to_owned(), "same name `m1`");
        check(|machines| machines[1].name = "M2".to_owned(), "machine name `M2` is not usable");
        check(|machines| machines[1].address = machines[0].address, "same address `10.77.0.11`");
        for address in [Ipv4Addr::new(10, 77, 1, 2), HUB_ADDRESS, Ipv4Addr::new(10, 77, 0, 255)] {
            let machines = vec![MachineSpec { address, ..LabSpec::numbered(1) }];
            let err = LabSpec { machines, etcd_members: 0, fleet: None }.check().expect_err("not usable").to_string();
            assert!(err.contains(&format!("address `{address}`")), "{err}");
        }
    }

    #[test]
    fn etcd_servers_are_known_before() {
        assert_eq!(Lab::etcd_servers(0), "");
        assert_eq!(Lab::etcd_servers(2), "http://10.77.0.1:2379,http://10.77.0.1:2389");
    }
}
