//! Wiring: which part is started when, and what ends the process.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use fleet_api::tls::TlsError;
use fleet_core::model::{MachineId, Revision};
use fleet_store::embedded::Embedded;
use fleet_store::etcd::Etcd;
use fleet_store::registry::MachineRecord;
use fleet_store::steady::Steady;
use fleet_store::{Store, StoreError};
use fleet_systemd::dbus::{Address, DbusManager, Dirs};
use fleet_systemd::{ManagerError, UnitManager};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, MachineConfig, StoreAt, SystemdAt};
use crate::host::Host;
use crate::leave::{self, Departure, Served};
use crate::listen::{self, ListenError};
use crate::logging::Verbosity;
use crate::measured::Measured;
use crate::reload::{Read, Reload};
use crate::tls::Sides;
use crate::view::{Backoff, Picture, SharedView};
use crate::{api, clock, descriptors, guard, parts};

/// The file in a machine's `units_directory` that its `fleetd` holds locked. systemd does not look at such names.
const LOCK: &str = ".fleetd.lock";

/// How long the machines may take to be present before the daemon calls itself ready without them. Usual are
/// milliseconds; a machine whose systemd does not answer must not keep the others from being served.
const PRESENT_LIMIT: Duration = Duration::from_secs(5);

/// The watchdog hears from us so many times within its time, so that one that comes late is no death.
const WATCHDOG_TURNS: u32 = 3;

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("cannot create folder {path}")]
    Folder {
        path: String,
        #[source]
        err: std::io::Error,
    },
    #[error("cannot open the store")]
    Store(#[source] StoreError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot use the files of api_certfile, api_keyfile and api_cafile")]
    Tls(#[source] TlsError),
    #[error("cannot create {path}")]
    Lock {
        path: String,
        #[source]
        err: std::io::Error,
    },
    #[error("another fleetd serves machine {machine}: it holds {path}")]
    Served { machine: MachineId, path: String },
    #[error("cannot tell where this program is, which the guard of a machine runs, too")]
    Program(#[source] std::io::Error),
    #[error("cannot handle signals")]
    Signals(#[source] std::io::Error),
}

/// Runs until SIGTERM or SIGINT. Units are left running, unless the configuration says that the machines leave the cluster
/// then. At SIGHUP the configuration is read anew by `read`.
pub async fn run(config: Config, read: Read, verbosity: Verbosity) -> Result<(), DaemonError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(DaemonError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DaemonError::Signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(DaemonError::Signals)?;
    // At once: an upgrade may put another one in its place.
    let program = std::env::current_exe().map_err(DaemonError::Program)?;
    let program = program.to_string_lossy().into_owned();
    // Held, and so kept from others, until the process ends.
    let _locks: Vec<File> = config.machines.iter().map(lock).collect::<Result<_, _>>()?;
    let store: Arc<dyn Store> = Arc::new(Measured(open(&config.store).await?));
    let tls = config.tls.as_ref().map(Sides::load).transpose().map_err(DaemonError::Tls)?;
    let listeners = listeners(&config).await?;
    let advertised = config.advertise.clone().or_else(|| listen::reachable(&listeners));
    descriptors::raise(listeners.len(), &config.api.connections);

    // Everything ends with this set: dropping it aborts the tasks, and none of them has anything to undo.
    let mut parts = JoinSet::new();
    let view = SharedView::new();
    let hosts: BTreeMap<MachineId, Host> =
        config.machines.iter().map(|machine| (machine.id.clone(), Host::new(machine))).collect();
    let ending = CancellationToken::new();
    let api = api::Api::new(Arc::clone(&store), view.clone(), hosts.clone()).until(ending.clone());
    api.set_limits(&config.api);
    api.set_tls(tls);
    let executions = api.executions();
    let mut servers = JoinSet::new();
    for listener in listeners {
        servers.spawn(api::serve(api.clone(), listener));
    }
    // The boot tells this process's restart from another machine with the same ID: those two must not take the lead for
    // their own from each other.
    let id = config.machines.first().map(|machine| format!("{} {}", machine.id, boot_id()));
    let can_lead = !config.disable_engine;
    // Whether sockets speak TLS is settled at the start.
    let is_tls = config.tls.is_some();
    let record = |machine: &MachineConfig| {
        let url = |public_ip: &str| advertised.as_ref().map_or_else(String::new, |at| at.url(public_ip, is_tls));
        record(machine, url, can_lead)
    };
    let mut machines = BTreeMap::new();
    for machine in config.machines.iter().cloned() {
        let told = watch::Sender::new(record(&machine));
        let machine_id = machine.id.clone();
        let departure = Departure::default();
        let (store, program) = (Arc::clone(&store), program.clone());
        let Some(host) = hosts.get(&machine_id).cloned() else { continue };
        let (told_of, settings, leaves) = (told.subscribe(), settings(&config), departure.clone());
        parts.spawn(serve_machine(machine, host, told_of, store, settings, program, leaves));
        machines.insert(machine_id, Served { record: told, departure });
    }
    parts.spawn(tell_that_alive(view.clone()));
    // Without a machine there is no name to lead by, and nobody who asked for an engine: only the API is wanted then.
    let leader_id = id.filter(|_| !config.disable_engine);
    parts::serve_cluster(&mut parts, store, view.clone(), settings(&config), leader_id);
    let mut up = pin!(tell_when_up(&view, &config.machines));
    let mut is_up = false;
    let reload = Reload { read, started: config.clone(), verbosity, api, machines };
    let was_told = loop {
        tokio::select! {
            _ = terminate.recv() => break true,
            _ = interrupt.recv() => break true,
            Some(ended) = parts.join_next() => {
                // A part ends by itself only by a defect; systemd starts us anew, and units do not notice.
                tracing::error!(?ended, "a part of fleetd ended; so does fleetd");
                break false;
            }
            Some(ended) = servers.join_next() => {
                tracing::error!(?ended, "a server of the API ended; so does fleetd");
                break false;
            }
            () = &mut up, if !is_up => is_up = true,
            // Not before systemd knows that it is up: both end with READY=1.
            _ = hangup.recv(), if is_up => reload.carry_out(record),
        }
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    if was_told && config.leave_on_stop {
        tracing::info!("fleetd leaves the cluster, as leave_on_stop says; a second signal ends it at once");
        tokio::select! {
            () = leave::leave(&view, &reload.machines, config.leave_timeout) => tracing::info!("fleetd stops"),
            _ = terminate.recv() => tracing::warn!("fleetd stops before it has left; units go on running"),
            _ = interrupt.recv() => tracing::warn!("fleetd stops before it has left; units go on running"),
        }
    } else {
        tracing::info!("fleetd stops; units go on running");
    }
    // Requests that are underway get their answers, for which the other parts are needed.
    ending.cancel();
    while servers.join_next().await.is_some() {}
    executions.stopped().await;
    Ok(())
}

/// Says that the daemon serves, as soon as it does; or after a while, because a store that is away may stay so for long, and
/// systemd would take a daemon that waits for it for one that hangs.
async fn tell_when_up(view: &SharedView, machines: &[MachineConfig]) {
    let mut waits_for = "the store to be read";
    let up = async {
        view.reached(Revision(0)).await;
        waits_for = "all machines to be present";
        // Who starts units as soon as this daemon is ready expects its machines to be there.
        all_present(view, machines).await;
    };
    if tokio::time::timeout(PRESENT_LIMIT, up).await.is_err() {
        tracing::warn!("still waits for {waits_for} after {} s; ready without that", PRESENT_LIMIT.as_secs());
    }
    let machines: Vec<&str> = machines.iter().map(|machine| machine.id.short()).collect();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), machines = machines.join(","), "fleetd is up");
    // Nobody listens when systemd did not start us: no error.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

/// Tells systemd's watchdog, if there is one, that this process works: that its tasks run, and that the picture can be looked at.
async fn tell_that_alive(view: SharedView) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut turns = tokio::time::interval(limit / WATCHDOG_TURNS);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        drop(view.read());
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
    }
}

/// Makes sure that no other `fleetd` on this box drives the same machine: they would undo each other's work.
fn lock(machine: &MachineConfig) -> Result<File, DaemonError> {
    let path = machine.units_directory.join(LOCK);
    let failed = |err| DaemonError::Lock { path: path.display().to_string(), err };
    std::fs::create_dir_all(&machine.units_directory).map_err(failed)?;
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(DaemonError::Served { machine: machine.id.clone(), path: path.display().to_string() })
        }
        Err(TryLockError::Error(err)) => Err(failed(err)),
    }
}

/// The cluster's memory. etcd need not be there yet.
async fn open(store: &StoreAt) -> Result<Arc<dyn Store>, DaemonError> {
    match store {
        StoreAt::Embedded(path) => {
            let folder = path.parent().unwrap_or(Path::new("/"));
            let wrong = |err| DaemonError::Folder { path: folder.display().to_string(), err };
            std::fs::create_dir_all(folder).map_err(wrong)?;
            Ok(Arc::new(Embedded::open(path).await.map_err(DaemonError::Store)?))
        }
        StoreAt::Etcd(config) => {
            let etcd = Etcd::connect(config.clone()).await.map_err(DaemonError::Store)?;
            Ok(Arc::new(Steady::new(Arc::new(etcd))))
        }
    }
}

/// Waits until the picture of the cluster shows all machines that this daemon serves.
async fn all_present(view: &SharedView, machines: &[MachineConfig]) {
    let mut news = view.listen();
    let are_there = |view: &Picture| machines.iter().all(|machine| view.machines().contains_key(&machine.id));
    let mut done = news.look_anew(are_there);
    while !done {
        done = news.next(|view, _| are_there(view)).await;
    }
}

async fn listeners(config: &Config) -> Result<Vec<listen::Listener>, DaemonError> {
    let mut listeners = listen::passed()?;
    // Sockets from systemd take the place of the default, not of what was asked for.
    if listeners.is_empty() || !config.listen_is_default {
        for address in &config.listen {
            listeners.push(listen::bind(address).await?);
        }
    }
    Ok(listeners)
}

async fn serve_machine(
    machine: MachineConfig,
    host: Host,
    record: watch::Receiver<MachineRecord>,
    store: Arc<dyn Store>,
    settings: parts::Settings,
    program: String,
    departure: Departure,
) {
    let manager = connect(&machine).await;
    host.connected(Arc::clone(&manager));
    let guard = guard::Site {
        unit_text: guard::unit::text(&program, &machine.guard_folder_there),
        permit: Box::new(guard::PermitFile::new(machine.guard_folder())),
    };
    parts::serve_machine(machine.id, record, store, manager, guard, settings, departure).await;
}

/// What a machine tells of itself.
fn record(machine: &MachineConfig, api_url: impl Fn(&str) -> String, can_lead: bool) -> MachineRecord {
    let public_ip = if machine.public_ip.is_empty() { default_address() } else { machine.public_ip.clone() };
    MachineRecord {
        api: api_url(&public_ip),
        public_ip,
        metadata: machine.metadata.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        name: None,
        boot_id: boot_id(),
        leaving: false,
        capabilities: can_lead.then(|| "engine".to_owned()).into_iter().collect(),
    }
}

fn settings(config: &Config) -> parts::Settings {
    parts::Settings {
        resync: config.resync_interval,
        agent_ttl: config.agent_ttl,
        losses: config.losses,
        leader_ttl: config.leader_ttl,
        n_slices: config.slices,
        boot_clock: clock::boot_time,
    }
}

/// Connects to the machine's systemd, however long that takes: without it the machine can run nothing and is not announced.
async fn connect(machine: &MachineConfig) -> Arc<dyn UnitManager> {
    let address = match &machine.systemd {
        SystemdAt::System => Address::System,
        SystemdAt::User => Address::User,
        SystemdAt::Socket(path) => Address::Socket(path.clone()),
    };
    let dirs =
        Dirs { units_directory: machine.units_directory.clone(), unit_directory: machine.unit_directory.clone() };
    let mut backoff = Backoff::default();
    loop {
        match DbusManager::connect(address.clone(), dirs.clone()).await {
            Ok(manager) => return Arc::new(manager),
            Err(err) => {
                warn_connect(&machine.id, &err);
                backoff.pause().await;
            }
        }
    }
}

fn warn_connect(machine: &MachineId, err: &ManagerError) {
    tracing::warn!(%machine, error = %err, "cannot connect to systemd; trying again");
}

/// The kernel's ID of this boot; empty where there is none.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The address by which this machine reaches others: that of its default route, empty if there is none.
fn default_address() -> String {
    // Connecting a datagram socket sends nothing; it only chooses a route. The address is one reserved for documentation.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    match socket {
        Ok(address) if !address.ip().is_loopback() && !address.ip().is_unspecified() => address.ip().to_string(),
        Ok(_) | Err(_) => String::new(),
    }
}
