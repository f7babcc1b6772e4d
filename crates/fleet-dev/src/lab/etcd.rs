//! etcd for a lab: one member or several, in the hub, so that a partition of machines does not part them.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::DevError;
use crate::cell::{Cell, Folders};
use crate::etcd::{ETCD_READY_LIMIT, Flags};
use crate::host::Host;
use crate::lab::HUB_ADDRESS;
use crate::lab::hub::Hub;
use crate::process::{NotReady, Process, Readiness, not_ready};

/// etcd's own port for clients; member N has this plus 10 (N-1), and the next one for its peers.
const PORT: u16 = 2379;

/// Where clients reach member `number`.
pub(crate) fn endpoint(number: u16) -> String {
    format!("http://{HUB_ADDRESS}:{}", PORT + 10 * (number - 1))
}

/// One etcd.
#[derive(Debug)]
pub struct EtcdMember {
    /// 1, 2, ...
    number: u16,
    members: u16,
    host: Host,
    hub: Arc<Hub>,
    on: Option<(Process, Cell)>,
}

impl EtcdMember {
    /// Starts a new cluster of `members`, and waits until all serve.
    pub(crate) fn start_all(members: u16, host: &Host, hub: &Arc<Hub>) -> Result<Vec<EtcdMember>, DevError> {
        let new = |number| EtcdMember { number, members, host: host.clone(), hub: Arc::clone(hub), on: None };
        let mut all: Vec<EtcdMember> = (1..=members).map(new).collect();
        // A member serves only when a majority is there: all are started before the first is waited for.
        let starting: Vec<Readiness> = all.iter_mut().map(EtcdMember::spawn).collect::<Result<_, _>>()?;
        for (member, ready) in all.iter().zip(starting) {
            member.wait(&ready)?;
        }
        Ok(all)
    }

    /// Where clients in the lab's network reach it: `http://10.77.0.1:2379`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        endpoint(self.number)
    }

    /// Its process id on this box; `None` while it does not run.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.on.as_ref().map(|(process, _)| process).filter(|process| process.exited().is_none()).map(Process::pid)
    }

    /// What it printed, over all restarts.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.hub.dir().join(format!("etcd{}.log", self.number))
    }

    /// Kills it with -9; what it had stored stays.
    ///
    /// # Errors
    /// [`DevError::Left`] if it could not be ended.
    pub fn kill(&mut self) -> Result<(), DevError> {
        let Some((process, cell)) = self.on.take() else { return Ok(()) };
        cell.close(Folders::Keep)?;
        match process.wait(crate::CELL_END_LIMIT) {
            Some(_killed) => Ok(()),
            None => Err(DevError::Left { what: self.what(), left: format!("process {}", process.pid()) }),
        }
    }

    /// Starts it again if it does not run, and waits until it serves.
    ///
    /// # Errors
    /// [`DevError::Program`], [`DevError::NotReady`].
    pub fn start(&mut self) -> Result<(), DevError> {
        if self.pid().is_some() {
            return Ok(());
        }
        self.kill()?; // What is left of one that ended by itself.
        let ready = self.spawn()?;
        self.wait(&ready)
    }

    /// Hangs it with SIGSTOP: it answers nobody, and connections stay open.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Undoes [`EtcdMember::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some((process, _)) = &self.on {
            process.signal(signal);
        }
    }

    fn what(&self) -> String {
        format!("etcd member {}", self.number)
    }

    fn spawn(&mut self) -> Result<Readiness, DevError> {
        let cell = Cell::open(&self.host, &self.what(), &[], None)?;
        let ready = self.hub.readiness(&format!("etcd{}", self.number))?;
        let log_path = self.log();
        let log = File::options().create(true).append(true).open(&log_path);
        let log = log.map_err(DevError::file("cannot open", &log_path))?;
        let log_too = log.try_clone().map_err(DevError::file("cannot duplicate", &log_path))?;
        let peer = |number: u16| format!("http://{HUB_ADDRESS}:{}", PORT + 10 * (number - 1) + 1);
        let cluster: Vec<String> = (1..=self.members).map(|number| format!("e{number}={}", peer(number))).collect();
        let mut command = self.hub.cell_command(&cell, "etcd");
        let (name, data) = (format!("e{}", self.number), self.hub.disks().join(format!("etcd{}", self.number)));
        let (client, own_peer, cluster) = (self.endpoint(), peer(self.number), cluster.join(","));
        Flags { name: &name, data: &data, client: &client, peer: &own_peer, cluster: &cluster }
            .apply(&mut command, &ready);
        command.stdout(log).stderr(log_too);
        let (process, _no_stdin) = Process::spawn(&mut command, vec![ready.path().to_owned()])?;
        self.on = Some((process, cell));
        Ok(ready)
    }

    fn wait(&self, ready: &Readiness) -> Result<(), DevError> {
        let Some((process, _)) = &self.on else { return Ok(()) };
        ready.wait(Instant::now() + ETCD_READY_LIMIT)?.map_err(|why: NotReady| {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            not_ready(self.what(), why, process, ETCD_READY_LIMIT, &[log])
        })
    }
}
