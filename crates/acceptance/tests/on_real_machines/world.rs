//! A cluster for tests: machines at addresses of their own, the real `fleetd`, and ways to ask and to wait.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet_api::{Client, v2};
use fleet_dev::{Cluster, ClusterSpec, ClusterStore, Machine, MachineSpec};
use futures_util::StreamExt as _;

use crate::desk::Desk;

/// How long anything may take that a test waits for. Usual are milliseconds; the rest is for boxes that compile meanwhile.
pub const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// Networks 127.64.0.0/24 to 127.126.255.0/24 are ours to choose from; 127.77.0.0/24 is what people get from `fleetctl dev`.
const NETWORKS: std::ops::Range<u32> = 0..63 * 256;
const NETWORKS_FIRST: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 0);
const NETWORK_OF_PEOPLE: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 0);

/// Whoever listens here has the network.
const CLAIM_HOST: u32 = 254;
const CLAIM_PORT: u16 = 47_700;

/// A running cluster, alone in its network.
pub struct World {
    cluster: Cluster,
    _claim: TcpListener,
}

impl World {
    /// `n` machines without metadata: `m1`, `m2`, ...
    #[track_caller]
    pub fn new(n: u8) -> World {
        World::with_metadata(&vec![""; usize::from(n)])
    }

    /// One machine for each entry, with that metadata: `disk=ssd,role=web`.
    #[track_caller]
    pub fn with_metadata(metadata: &[&str]) -> World {
        World::start(metadata, ClusterStore::Embedded)
    }

    /// `n` machines with a `fleetd` each, and one etcd.
    #[track_caller]
    pub fn on_etcd(n: u8) -> World {
        World::start(&vec![""; usize::from(n)], ClusterStore::Etcd)
    }

    #[track_caller]
    fn start(metadata: &[&str], store: ClusterStore) -> World {
        let (network, claim) = claim_network();
        let machine = |(idx, metadata): (usize, &&str)| {
            let number = u8::try_from(idx + 1).expect("a handful of machines");
            let pairs = metadata.split(',').filter_map(|pair| pair.split_once('='));
            MachineSpec {
                address: Ipv4Addr::from_bits(network.to_bits() + u32::from(number)),
                metadata: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
                ..MachineSpec::numbered(number)
            }
        };
        let machines = metadata.iter().enumerate().map(machine).collect();
        let spec = ClusterSpec { machines, dir: None, fleetd: program("fleetd"), store };
        let cluster = Cluster::start(spec).unwrap_or_else(|err| panic!("the cluster does not start: {err}"));
        World { cluster, _claim: claim }
    }

    /// A new folder with a person in front of it.
    pub fn desk(&self) -> Desk {
        Desk::new(&self.cluster.endpoint(), self.specs())
    }

    /// The cluster, to take parts of it down.
    pub fn cluster(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    /// The machines: `machines()[0]` is `m1`.
    pub fn machines(&self) -> &[Machine] {
        self.cluster.machines()
    }

    /// What `fleetd` has logged so far.
    pub fn fleetd_log(&self) -> String {
        std::fs::read_to_string(self.cluster.fleetd_log()).expect("the log is there")
    }

    /// The process of `fleetd`, which runs.
    pub fn fleetd_pid(&self) -> u32 {
        self.cluster.fleetd_pid().expect("fleetd runs")
    }

    /// The file `fleetd` was configured by.
    pub fn fleetd_config(&self) -> PathBuf {
        self.cluster.fleetd_config()
    }

    /// Starts each `fleetd` anew with more lines in its configuration.
    pub fn configure(&mut self, line: &str) {
        self.cluster.stop_fleetd().expect("they stop");
        for fleetd in self.cluster.fleetds() {
            let config = OpenOptions::new().append(true).open(fleetd.config());
            config.and_then(|mut file| writeln!(file, "{line}")).expect("the configuration is ours");
        }
        self.cluster.start_fleetd().expect("they start");
    }

    /// The folder that everything of this cluster is in.
    pub fn dir(&self) -> &Path {
        self.cluster.dir()
    }

    pub fn endpoint(&self) -> String {
        self.cluster.endpoint()
    }

    /// The sockets of all `fleetd`: one, or one for each machine on an etcd.
    pub fn endpoints(&self) -> Vec<String> {
        self.cluster.fleetds().iter().map(fleet_dev::Daemon::endpoint).collect()
    }

    fn specs(&self) -> Vec<MachineSpec> {
        self.machines().iter().map(|machine| machine.spec().clone()).collect()
    }

    /// Waits until `fleetd` says of the unit what the test waits for; `what` names it in the message of a failure.
    #[track_caller]
    pub fn wait(&self, unit: &str, what: &str, is: impl Fn(&v2::Unit) -> bool) -> v2::Unit {
        let found = self.watch(unit, what, |unit| unit.is_some_and(&is));
        found.expect("only a unit that is there satisfies it")
    }

    /// Waits until the unit is forgotten, also by the last machine.
    #[track_caller]
    pub fn wait_gone(&self, unit: &str) {
        self.watch(unit, "gone", |unit| unit.is_none());
    }

    #[track_caller]
    fn watch(&self, name: &str, what: &str, is: impl Fn(Option<&v2::Unit>) -> bool) -> Option<v2::Unit> {
        let endpoint = self.endpoint().parse().expect("a socket's path");
        let mut last = None;
        let found = block_on(async {
            let client = Client::new(endpoint, None).expect("a client");
            let request = v2::WatchRequest { units: vec![name.to_owned()], revision: 0 };
            let mut events = client.watch(&request).await.unwrap_or_else(|err| panic!("cannot watch {name}: {err}"));
            let look = async {
                while let Some(event) = events.next().await {
                    let event = event.unwrap_or_else(|err| panic!("cannot watch {name} any longer: {err}"));
                    // The line without a name only says that all units have been shown.
                    if event.name == name {
                        last.clone_from(&event.unit);
                        if is(last.as_ref()) {
                            return true;
                        }
                    }
                }
                false
            };
            tokio::time::timeout(WAIT_LIMIT, look).await.unwrap_or(false)
        });
        assert!(found, "{name} was not {what} within {WAIT_LIMIT:?}: {last:#?}\nfleetd:\n{}", self.fleetd_log());
        last
    }

    /// Waits until every machine that has the unit has carried out the newest order, and systemd says `active`.
    #[track_caller]
    pub fn wait_active(&self, unit: &str, active: &str) -> v2::Unit {
        self.wait(unit, active, |unit| {
            !unit.placements.is_empty()
                && unit
                    .placements
                    .iter()
                    .all(|one| one.placed && one.done && one.state.as_ref().is_some_and(|state| state.active == active))
        })
    }
}

/// Waits for one thing in a runtime of its own.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Waits for something outside of fleet that tells nobody when it happens, such as a server that begins to listen.
///
/// Looks again and again: the one place where tests do, because neither systemd nor fleet knows of it.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    const PAUSE: Duration = Duration::from_millis(20);
    let begun = std::time::Instant::now();
    loop {
        match look() {
            Some(found) => return found,
            None if WAIT_LIMIT < begun.elapsed() => panic!("{what}: not within {WAIT_LIMIT:?}"),
            None => std::thread::sleep(PAUSE),
        }
    }
}

/// A program of this workspace, built beside this executable.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this executable has a path");
    let folder = own.parent().and_then(Path::parent).expect("cargo puts tests into `deps` beside the programs");
    let path = folder.join(name);
    assert!(path.exists(), "`{}` is not built: `cargo build --bins -p fleetd -p fleetctl`", path.display());
    path
}

/// Takes a /24 that no other test, also of another process, has: by listening at an address in it, which the kernel
/// gives to one at a time and takes back at our end however we end.
fn claim_network() -> (Ipv4Addr, TcpListener) {
    // Processes that run side by side begin at different places.
    let start = std::process::id() % NETWORKS.end;
    let networks = NETWORKS.map(|n| (start + n) % NETWORKS.end);
    for network in networks.map(|n| Ipv4Addr::from_bits(NETWORKS_FIRST.to_bits() + n * 256)) {
        let claim = Ipv4Addr::from_bits(network.to_bits() + CLAIM_HOST);
        if network == NETWORK_OF_PEOPLE {
            continue;
        }
        match TcpListener::bind((claim, CLAIM_PORT)) {
            Ok(listener) => return (network, listener),
            Err(err) if err.kind() == std::io::ErrorKind::AddrInUse => (),
            Err(err) => panic!("cannot listen at {claim}:{CLAIM_PORT}: {err}"),
        }
    }
    panic!("all {} networks are taken", NETWORKS.end);
}
