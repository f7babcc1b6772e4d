//! etcd servers of a test's own: each with an address and a folder of its own, on loopback, gone with the test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use fleet_store::etcd::{Etcd, EtcdConfig};
use fleet_store::{Batch, Change, Guard, KeyValue, Keys, Revision, Store, Txn, TxnOutcome, Watch, Write};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a server may take to start serving; long, because tests run on full machines.
const START_WAIT_MAX: Duration = Duration::from_secs(60);

/// How long a watch may take to tell what has happened, resuming included.
pub const NEWS_WAIT_MAX: Duration = Duration::from_secs(60);

/// The time for a request in most tests.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

pub const PREFIX: &str = "/fleet-test/";

/// One member.
pub struct Server {
    child: Option<Child>,
    address: String,
    scheme: &'static str,
    dir: tempfile::TempDir,
    args: Vec<String>,
}

impl Server {
    /// A cluster of one that serves.
    pub fn start() -> Server {
        let mut server = Server::prepare("http");
        server.run_alone();
        server
    }

    /// One that does not run yet, but knows its address.
    pub fn prepare(scheme: &'static str) -> Server {
        static N_SERVERS: AtomicU8 = AtomicU8::new(1);
        // An address for each server, so that no other server of any test can have taken the port.
        let (pid, n) = (std::process::id(), N_SERVERS.fetch_add(1, Ordering::Relaxed));
        let address = format!("127.{}.{}.{n}", 1 + (pid >> 8) % 254, pid % 256);
        let dir = tempfile::tempdir().expect("a folder");
        Server { child: None, address, scheme, dir, args: Vec::new() }
    }

    pub fn add_args(&mut self, args: impl IntoIterator<Item = String>) {
        self.args.extend(args);
    }

    pub fn run_alone(&mut self) {
        self.args.push("--name=m0".to_owned());
        let peers = format!("m0=http://{}:12380", self.address);
        self.run(&peers);
        self.wait();
    }

    /// A cluster of several.
    pub fn start_members(n: usize) -> Vec<Server> {
        let mut servers: Vec<Server> = (0..n).map(|_| Server::prepare("http")).collect();
        for (idx, server) in servers.iter_mut().enumerate() {
            server.args.push(format!("--name=m{idx}"));
        }
        let peers = servers.iter().enumerate().map(|(idx, server)| format!("m{idx}=http://{}:12380", server.address));
        let peers = peers.collect::<Vec<_>>().join(",");
        for server in &mut servers {
            server.run(&peers);
        }
        for server in &mut servers {
            server.wait();
        }
        servers
    }

    fn run(&mut self, cluster: &str) {
        let (url, peer) = (self.url(), format!("http://{}:12380", self.address));
        self.args.extend([
            format!("--data-dir={}", self.data_dir().display()),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={cluster}"),
            format!("--listen-metrics-urls=http://{}:12381", self.address),
            "--logger=zap".to_owned(),
        ]);
        self.spawn();
    }

    fn spawn(&mut self) {
        // setpriv lets etcd die with the test even if that is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "etcd"]).args(&self.args);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        self.child = Some(child.expect("setpriv and etcd are installed: `cargo xtask test` does that"));
    }

    /// Waits until the server says that it serves.
    fn wait(&mut self) {
        let log = self.child.as_mut().and_then(|child| child.stderr.take()).expect("a running server");
        let (serving, news) = mpsc::channel();
        std::thread::spawn(move || {
            let mut said = String::new();
            // To the end, so that the server is never stopped by a full pipe.
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                if line.contains("serving client traffic") {
                    // The test may be over.
                    let _ = serving.send(Ok(()));
                    said.clear();
                }
                said.push_str(&line);
                said.push('\n');
            }
            let _ = serving.send(Err(said));
        });
        match news.recv_timeout(START_WAIT_MAX) {
            Ok(Ok(())) => (),
            Ok(Err(said)) => panic!("etcd at {} ended:\n{said}", self.address),
            Err(_) => panic!("etcd at {} does not serve", self.address),
        }
    }

    /// As a power loss does it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a running server");
            child.wait().expect("its end");
        }
    }

    /// Again, on the same data.
    pub fn restart(&mut self) {
        self.kill();
        self.spawn();
        self.wait();
    }

    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().expect("a running server").id();
        kill(Pid::from_raw(i32::try_from(pid).expect("a process ID")), signal).expect("a running server");
    }

    pub fn url(&self) -> String {
        format!("{}://{}:12379", self.scheme, self.address)
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn data_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs `etcdctl` on this server.
    #[track_caller]
    pub fn etcdctl(&self, args: &[&str]) {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").arg("--endpoints").arg(self.url()).args(args);
        let output = command.output().expect("etcdctl is installed: `cargo xtask test` does that");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "etcdctl {args:?}: {said}");
    }

    /// The sum of one of the server's metrics over all its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let mut stream = TcpStream::connect((self.address.as_str(), 12381)).expect("the port for metrics");
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n").expect("a request");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("an answer");
        let values = page.lines().filter_map(|line| {
            let (label, value) = line.rsplit_once(' ')?;
            (label.split('{').next() == Some(name)).then(|| value.parse::<f64>().expect("a number"))
        });
        let values: Vec<f64> = values.collect();
        assert!(!values.is_empty(), "no metric is called {name}");
        values.iter().sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Whether or not it still runs, it is gone afterwards.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn config(urls: &[String]) -> EtcdConfig {
    EtcdConfig {
        endpoints: urls.to_vec(),
        prefix: PREFIX.to_owned(),
        user: None,
        ca_file: None,
        identity: None,
        request_timeout: REQUEST_TIMEOUT,
    }
}

pub async fn store(urls: &[String]) -> Etcd {
    Etcd::connect(config(urls)).await.expect("a store")
}

pub fn all() -> Keys {
    Keys::Prefix(String::new())
}

pub fn put(key: &str, value: &str) -> Write {
    Write::Put { key: key.to_owned(), value: value.as_bytes().to_vec(), lease: None }
}

pub fn puts(writes: Vec<Write>) -> Txn {
    Txn { guards: Vec::new(), writes }
}

pub fn create(key: &str, value: &str) -> Txn {
    Txn { guards: vec![Guard::Absent(key.to_owned())], writes: vec![put(key, value)] }
}

/// Writes what must succeed, and tells at which revision.
#[track_caller]
pub fn committed(outcome: Result<TxnOutcome, fleet_store::StoreError>) -> Revision {
    match outcome {
        Ok(TxnOutcome::Committed(revision)) => revision,
        other => panic!("not committed: {other:?}"),
    }
}

pub async fn write(store: &dyn Store, key: &str, value: &str) -> Revision {
    committed(store.commit(&puts(vec![put(key, value)])).await)
}

pub async fn watch(store: &dyn Store, from: Revision) -> Box<dyn Watch> {
    store.watch(&all(), from).await.expect("a watch")
}

/// The next batch as `key=value`, within the limit.
pub async fn news(watch: &mut dyn Watch) -> Result<(Revision, String), fleet_store::StoreError> {
    let batch = tokio::time::timeout(NEWS_WAIT_MAX, watch.next()).await.expect("news within the limit");
    batch.map(|batch| (batch.revision, show(&batch)))
}

fn show(batch: &Batch) -> String {
    let changes = batch.changes.iter().map(|change| match change {
        Change::Put(kv) => format!("{}={}", kv.key, text(kv)),
        Change::Delete { key, .. } => format!("-{key}"),
    });
    changes.collect::<Vec<_>>().join(" ")
}

pub fn text(kv: &KeyValue) -> String {
    String::from_utf8_lossy(&kv.value).into_owned()
}

pub fn next(revision: Revision) -> Revision {
    Revision(revision.0 + 1)
}
