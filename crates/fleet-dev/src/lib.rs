//! A fleet cluster on this box, for people (`fleetctl dev`), for the demo and for tests.
//!
//! A [`Machine`] is a real `systemd --user` with its own host name, machine-id, `/run`, `/etc/environment`, journal and
//! cgroup; a [`Cluster`] is several of them and the one `fleetd` that serves them all, or one
//! for each and an etcd. Only the network, the processes'
//! numbers and the disk are shared with the box, so main PIDs seen by a machine's systemd are valid outside as well.
//!
//! # What holds
//! - Nothing is left behind: neither after [`Machine::stop`] nor when the process that started it is killed with -9. A
//!   *warden*, a process that waits for our end of a pipe to close, kills the cgroup and removes what was made.
//! - No helper binary: namespaces are made by util-linux and short scripts that are part of this library, so that an
//!   installed `fleetctl` and a test of any crate do the same.
//! - All functions block; machines start in parallel with [`Machine::start_all`]. From async code call them on a thread
//!   for blocking work.
//!
//! # What must be installed
//! systemd (with journald), util-linux (`unshare`, `nsenter`, `mount`, `flock`), `hostname`, coreutils and findutils.
//! As root nothing else (etcd for a cluster that has it as its store); PID 1 may be anything. An ordinary user needs a systemd user manager and user namespaces.
//!
//! # What is absent
//! Decisions, unit files, the store: this room knows `fleetd` as a program with a configuration file.
//!
//! Reading order: `spec` (what a machine is), `machine` and `scripts/boot.sh` (how it comes up), `cell` and
//! `scripts/warden.sh` (how all of it goes away), `daemon`, `etcd`, `cluster`.

mod cell;
mod cluster;
mod daemon;
mod error;
mod etcd;
mod freezer;
mod host;
mod lab;
mod lock;
mod machine;
mod process;
mod spec;

pub use cell::CELL_END_LIMIT;
pub use cluster::{Cluster, ClusterSpec, ClusterStore};
pub use daemon::{Daemon, FLEETD_READY_LIMIT, FLEETD_STOP_LIMIT};
pub use error::DevError;
pub use etcd::{ETCD_READY_LIMIT, Etcd};
pub use freezer::FREEZE_LIMIT;
pub use host::INOTIFY_INSTANCES_WANTED;
pub use lab::{
    CACHE_VARIABLE, EtcdMember, FleetFiles, HUB_ADDRESS, LAB_DISKS_MIB, LAB_MACHINE_READY_LIMIT,
    LAB_MACHINE_STOP_LIMIT, LAB_ROOTFS_BUILD_LIMIT, LAB_ROOTFS_MIB, Lab, LabMachine, LabSpec, lab_rootfs,
};
pub use lock::IN_USE_LIMIT;
pub use machine::{MACHINE_READY_LIMIT, MACHINE_STOP_LIMIT, Machine};
pub use spec::{MACHINE_NAME_LEN_MAX, MachineSpec};
