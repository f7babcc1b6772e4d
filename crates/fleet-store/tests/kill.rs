//! `kill -9` in the middle of writing, again and again: what was acknowledged is there, and nothing is there by halves.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fleet_store::embedded::Embedded;
use fleet_store::{Keys, LeaseId, Revision, Snapshot, Store as _};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// As in the probe.
const KEPT: u64 = 20;
const WRITERS: u64 = 4;

/// What the killed process has said.
#[derive(Default)]
struct Said {
    lease: Option<LeaseId>,
    /// Of each writer the last acknowledged number, and the revision.
    acked: BTreeMap<u64, (u64, Revision)>,
    n_acks: usize,
}

fn seed() -> u64 {
    match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number"),
        Err(_) => rand::random(),
    }
}

fn start(path: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleet-store-probe"));
    let args = command.arg("write").arg(path).arg(WRITERS.to_string());
    args.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the probe starts")
}

/// Lets the probe go on until `enough` is said, kills it, and returns all that it has said until its death.
fn kill_when(mut child: Child, enough: impl Fn(&Said) -> bool) -> Said {
    let mut said = Said::default();
    let stdout = child.stdout.take().expect("a pipe");
    let mut killed = enough(&said);
    if killed {
        child.kill().expect("kill -9");
    }
    for line in BufReader::new(stdout).lines() {
        let line = line.expect("the pipe can be read");
        let words: Vec<&str> = line.split(' ').collect();
        let number = |text: &str| text.parse::<u64>().expect("a number");
        match words[..] {
            ["lease", lease] => said.lease = Some(LeaseId(number(lease).cast_signed())),
            ["ack", writer, n, revision] => {
                said.acked.insert(number(writer), (number(n), Revision(number(revision))));
                said.n_acks += 1;
            }
            _ => panic!("the probe said `{line}`"),
        }
        if !killed && enough(&said) {
            child.kill().expect("kill -9");
            killed = true;
        }
    }
    let status = child.wait().expect("the probe ends");
    assert!(killed && status.code().is_none(), "the probe was to be killed, and ended with {status}");
    said
}

/// Holds the file against what was said. `before` is what earlier rounds have said.
fn judge(snapshot: &Snapshot, said: &Said, before: &BTreeMap<u64, (u64, Revision)>) {
    let mut keys: BTreeMap<&str, (u64, Revision)> = BTreeMap::new();
    for kv in &snapshot.kvs {
        if !kv.key.starts_with("presence/") {
            let n = std::str::from_utf8(&kv.value).expect("text").parse().expect("a number");
            keys.insert(&kv.key, (n, kv.mod_revision));
        }
        assert!(kv.mod_revision <= snapshot.revision, "{kv:?} is of the future");
    }
    let mut wanted = BTreeMap::new();
    for writer in 0..WRITERS {
        let acked = said.acked.get(&writer).or_else(|| before.get(&writer)).copied();
        let (last_acked, at) = acked.unwrap_or_default();
        let counter = keys.get(format!("count/{writer}").as_str()).copied();
        let (n, revision) = counter.unwrap_or_default();
        // Each writer waits for its answer, so at most one more was written than acknowledged.
        assert!((last_acked..=last_acked + 1).contains(&n), "writer {writer}: {last_acked} acknowledged, {n} found");
        assert!(n != last_acked || revision == at, "writer {writer}: {n} was acknowledged at {at:?}, not {revision:?}");
        if let Some(counter) = counter {
            wanted.insert(format!("count/{writer}"), counter);
        }
        for kept in (n.saturating_sub(KEPT) + 1)..=n {
            for half in ["a", "b"] {
                let key = format!("{half}/{writer}/{kept}");
                // The two halves of a pair, and of the newest the counter, have one revision.
                let other = keys.get(format!("a/{writer}/{kept}").as_str()).map(|(_, revision)| *revision);
                let pair = if kept == n { Some(revision) } else { other };
                wanted.insert(key, (kept, pair.unwrap_or_else(|| panic!("writer {writer}: a/{kept} is missing"))));
            }
        }
    }
    let keys: BTreeMap<String, (u64, Revision)> = keys.into_iter().map(|(key, it)| (key.to_owned(), it)).collect();
    assert_eq!(keys, wanted, "exactly the pairs that the counters tell of");
}

async fn reopen(path: &Path, lease: Option<LeaseId>) -> Snapshot {
    let store = Embedded::open(path).await.expect("the file can be opened after every kill");
    let snapshot = store.read(&Keys::Prefix(String::new())).await.expect("a read");
    let present: Vec<_> = snapshot.kvs.iter().filter(|kv| kv.key.starts_with("presence/")).collect();
    if let Some(lease) = lease {
        let leases: Vec<_> = present.iter().map(|kv| kv.lease).collect();
        assert_eq!(leases, [Some(lease); 2], "both keys hang on the lease");
        store.keep_alive(lease).await.expect("the lease lives");
    } else {
        assert!(matches!(present.len(), 0 | 2), "the presence is written in one transaction");
    }
    store.close().await;
    snapshot
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive() {
    const ROUNDS: usize = 40;
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("store.redb");
    let (mut before, mut lease, mut n_acks, mut n_unacked) = (BTreeMap::new(), None, 0, 0);
    for round in 0..ROUNDS {
        let n_wanted = rng.random_range(0..150);
        let said = kill_when(start(&path), |said| said.lease.is_some() && n_wanted <= said.n_acks);
        assert!(lease.is_none() || said.lease == lease, "seed {seed}, round {round}: the lease was lost");
        lease = said.lease;
        let snapshot = reopen(&path, lease).await;
        judge(&snapshot, &said, &before);
        n_acks += said.n_acks;
        // What was written without an answer counts as acknowledged from now on: it has been seen.
        for kv in snapshot.kvs.iter().filter(|kv| kv.key.starts_with("count/")) {
            let writer: u64 = kv.key["count/".len()..].parse().expect("a number");
            let n = std::str::from_utf8(&kv.value).expect("text").parse().expect("a number");
            let acked = said.acked.get(&writer).or_else(|| before.get(&writer)).copied();
            n_unacked += usize::from(acked != Some((n, kv.mod_revision)));
            before.insert(writer, (n, kv.mod_revision));
        }
    }
    assert!(ROUNDS < n_acks, "the probe hardly wrote anything: {n_acks} acknowledged writes");
    let text = format!(
        "seed {seed}: {ROUNDS} kills, {n_acks} acknowledged writes, 0 lost; {n_unacked} more were written whole but not \
         yet acknowledged; lease kept\n"
    );
    // Not `println!`: the counts are what this test is for, so they are shown even when it passes.
    std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).expect("stderr");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_during_creation_leaves_nothing_in_the_way() {
    const ROUNDS: usize = 40;
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().expect("a folder");
    let mut n_created = 0;
    for round in 0..ROUNDS {
        let path = dir.path().join(format!("{round}/deep/store.redb"));
        let child = start(&path);
        // The moment of the kill is random, and waits for nothing: creation takes some milliseconds.
        std::thread::sleep(Duration::from_micros(rng.random_range(0..25_000)));
        n_created += usize::from(path.exists());
        let said = kill_when(child, |_| true);
        let snapshot = reopen(&path, said.lease).await;
        judge(&snapshot, &said, &BTreeMap::new());
    }
    let text =
        format!("seed {seed}: {ROUNDS} kills around creation, {n_created} of them after the file had its name\n");
    std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).expect("stderr");
}
