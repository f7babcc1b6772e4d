//! Random operations on a naive model, the store in memory and the durable one, compared after each step.
//!
//! The durable store is closed and opened in the middle, now and then. The naive model is written for this test, apart from
//! the code it judges, and keeps no index at all. `SEED=42` repeats one run.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use fleet_store::clock::ManualClock;
use fleet_store::embedded::Embedded;
use fleet_store::mem::Mem;
use fleet_store::{Batch, Change, Guard, Keys, LeaseId, Revision, Snapshot, Store, Txn, Watch, Write};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const KEYS: [&str; 6] = ["a", "b", "p/1", "p/2", "p/3", "q"];
const STEPS: usize = 200;

#[derive(Clone, Debug)]
enum Op {
    Commit(Txn),
    Read(Keys),
    Grant(u64),
    KeepAlive(LeaseId),
    Revoke(LeaseId),
    Second,
    Reopen,
}

/// One row of the naive model.
#[derive(Clone, Debug)]
struct Row {
    key: String,
    value: Vec<u8>,
    created: u64,
    modified: u64,
    lease: Option<LeaseId>,
}

#[derive(Default)]
struct Naive {
    rows: Vec<Row>,
    revision: u64,
    /// ID, time to live, end.
    leases: Vec<(LeaseId, u64, u64)>,
    n_granted: i64,
    now: u64,
    /// What watchers of everything are to be told.
    told: Vec<String>,
}

impl Naive {
    fn step(&mut self, op: &Op) -> String {
        match op {
            Op::Commit(txn) => self.commit(txn),
            Op::Read(keys) => {
                let mut rows: Vec<&Row> = self
                    .rows
                    .iter()
                    .filter(|row| match keys {
                        Keys::One(key) => row.key == *key,
                        Keys::Prefix(prefix) => row.key.starts_with(prefix.as_str()),
                    })
                    .collect();
                rows.sort_by(|left, right| left.key.cmp(&right.key));
                rows.iter().fold(format!("{}:", self.revision), |mut out, row| {
                    let Row { key, value, created, modified, lease } = row;
                    write!(out, " {key} {value:?} {created} {modified} {lease:?}").expect("a text");
                    out
                })
            }
            Op::Grant(seconds) => {
                self.n_granted += 1;
                self.leases.push((LeaseId(self.n_granted), *seconds, self.now + seconds));
                format!("{:?}", LeaseId(self.n_granted))
            }
            Op::KeepAlive(lease) => match self.leases.iter_mut().find(|(id, ..)| id == lease) {
                Some((_, ttl, end)) => {
                    *end = self.now + *ttl;
                    "ok".to_owned()
                }
                None => "no lease".to_owned(),
            },
            Op::Revoke(lease) => {
                if !self.leases.iter().any(|(id, ..)| id == lease) {
                    return "no lease".to_owned();
                }
                self.end(*lease);
                "ok".to_owned()
            }
            Op::Second => {
                self.now += 1;
                let mut due: Vec<_> = self.leases.iter().filter(|(.., end)| *end <= self.now).copied().collect();
                due.sort_by_key(|&(id, _, end)| (end, id));
                for (id, ..) in due {
                    self.end(id);
                }
                "ok".to_owned()
            }
            Op::Reopen => {
                for (_, ttl, end) in &mut self.leases {
                    *end = self.now + *ttl;
                }
                "ok".to_owned()
            }
        }
    }

    fn commit(&mut self, txn: &Txn) -> String {
        let row = |key: &str| self.rows.iter().find(|row| row.key == key);
        let holds = |guard: &Guard| match guard {
            Guard::Absent(key) => row(key).is_none(),
            Guard::ModRevision(key, at) => row(key).is_some_and(|row| row.modified == at.0),
            Guard::CreateRevision(key, at) => row(key).is_some_and(|row| row.created == at.0),
        };
        let keys: Vec<&str> = txn.writes.iter().map(Write::key).collect();
        if keys.iter().enumerate().any(|(idx, key)| keys[..idx].contains(key)) {
            return "duplicate".to_owned();
        }
        if !txn.guards.iter().all(holds) {
            return format!("conflict {}", self.revision);
        }
        for write in &txn.writes {
            if let Write::Put { lease: Some(lease), .. } = write
                && !self.leases.iter().any(|(id, ..)| id == lease)
            {
                return "no lease".to_owned();
            }
        }
        let next = self.revision + 1;
        let mut told = String::new();
        for write in &txn.writes {
            let old = self.rows.iter().position(|row| row.key == write.key()).map(|at| self.rows.remove(at));
            match write {
                Write::Put { key, value, lease } => {
                    let created = old.map_or(next, |old| old.created);
                    write!(told, " {key}={value:?} {created} {lease:?}").expect("a text");
                    self.rows.push(Row {
                        key: key.clone(),
                        value: value.clone(),
                        created,
                        modified: next,
                        lease: *lease,
                    });
                }
                Write::Delete { key } if old.is_some() => write!(told, " -{key}").expect("a text"),
                Write::Delete { .. } => (),
            }
        }
        self.tell(&told);
        format!("committed {}", self.revision)
    }

    fn end(&mut self, lease: LeaseId) {
        self.leases.retain(|(id, ..)| *id != lease);
        let mut keys: Vec<String> =
            self.rows.iter().filter(|row| row.lease == Some(lease)).map(|row| row.key.clone()).collect();
        keys.sort();
        self.rows.retain(|row| row.lease != Some(lease));
        let told: String = keys.iter().map(|key| format!(" -{key}")).collect();
        self.tell(&told);
    }

    fn tell(&mut self, changes: &str) {
        if !changes.is_empty() {
            self.revision += 1;
            self.told.push(format!("{}{changes}", self.revision));
        }
    }
}

async fn step(store: &dyn Store, op: &Op) -> String {
    use fleet_store::StoreError::{DuplicateKey, NoLease};
    use fleet_store::TxnOutcome::{Committed, Conflict};
    let done = |result: Result<(), fleet_store::StoreError>| match result {
        Ok(()) => "ok".to_owned(),
        Err(NoLease(_)) => "no lease".to_owned(),
        Err(err) => panic!("{op:?}: {err}"),
    };
    match op {
        Op::Commit(txn) => match store.commit(txn).await {
            Ok(Committed(at)) => format!("committed {}", at.0),
            Ok(Conflict(at)) => format!("conflict {}", at.0),
            Err(NoLease(_)) => "no lease".to_owned(),
            Err(DuplicateKey { .. }) => "duplicate".to_owned(),
            Err(err) => panic!("{op:?}: {err}"),
        },
        Op::Read(keys) => show(&store.read(keys).await.expect("a read")),
        Op::Grant(seconds) => format!("{:?}", store.grant(Duration::from_secs(*seconds)).await.expect("a lease")),
        Op::KeepAlive(lease) => done(store.keep_alive(*lease).await),
        Op::Revoke(lease) => done(store.revoke(*lease).await),
        Op::Second | Op::Reopen => "ok".to_owned(),
    }
}

fn show(snapshot: &Snapshot) -> String {
    let mut out = format!("{}:", snapshot.revision.0);
    for kv in &snapshot.kvs {
        let (created, modified) = (kv.create_revision.0, kv.mod_revision.0);
        write!(out, " {} {:?} {created} {modified} {:?}", kv.key, kv.value, kv.lease).expect("a text");
    }
    out
}

fn show_batch(batch: &Batch) -> String {
    let mut out = batch.revision.0.to_string();
    for change in &batch.changes {
        match change {
            Change::Put(kv) => {
                let (key, value, created) = (&kv.key, &kv.value, kv.create_revision.0);
                write!(out, " {key}={value:?} {created} {:?}", kv.lease).expect("a text");
            }
            Change::Delete { key, .. } => write!(out, " -{key}").expect("a text"),
        }
    }
    out
}

fn random_op(rng: &mut StdRng, naive: &Naive) -> Op {
    let lease = |rng: &mut StdRng| LeaseId(rng.random_range(1..=naive.n_granted.max(1) + 1));
    let key = |rng: &mut StdRng| KEYS[rng.random_range(0..KEYS.len())].to_owned();
    match rng.random_range(0..100) {
        0..60 => {
            let guard = |rng: &mut StdRng| {
                let key = key(rng);
                let row = naive.rows.iter().find(|row| row.key == key);
                // Mostly guards that hold, or nothing would ever be written.
                match (row, rng.random_range(0..10)) {
                    (None, 0..8) => Guard::Absent(key),
                    (Some(row), 0..5) => Guard::ModRevision(key, Revision(row.modified)),
                    (Some(row), 5..8) => Guard::CreateRevision(key, Revision(row.created)),
                    (_, 8) => Guard::ModRevision(key, Revision(rng.random_range(0..=naive.revision))),
                    _ => Guard::CreateRevision(key, Revision(rng.random_range(0..=naive.revision))),
                }
            };
            let write = |rng: &mut StdRng| match rng.random_range(0..10) {
                0..4 => Write::Delete { key: key(rng) },
                pick => {
                    let lease = (pick < 7 && 0 < naive.n_granted).then(|| lease(rng));
                    Write::Put { key: key(rng), value: vec![rng.random_range(0..4)], lease }
                }
            };
            let guards = (0..rng.random_range(0..3)).map(|_| guard(rng)).collect();
            let writes = (0..rng.random_range(0..4)).map(|_| write(rng)).collect();
            Op::Commit(Txn { guards, writes })
        }
        60..70 => Op::Read(Keys::Prefix(["", "p/", "q"][rng.random_range(0..3)].to_owned())),
        70..73 => Op::Read(Keys::One(key(rng))),
        73..81 => Op::Grant(rng.random_range(1..12)),
        81..86 => Op::KeepAlive(lease(rng)),
        86..89 => Op::Revoke(lease(rng)),
        89..98 => Op::Second,
        _ => Op::Reopen,
    }
}

/// Reads as many batches as there is news, and compares them.
async fn hear(watch: &mut dyn Watch, told: &[String], whose: &str) {
    for want in told {
        let next = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
        let batch = next.unwrap_or_else(|_| panic!("{whose}: no news of {want}")).expect("a batch");
        assert_eq!(show_batch(&batch), *want, "{whose}");
    }
}

async fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let clock: Arc<ManualClock> = Arc::default();
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("store.redb");
    let everything = Keys::Prefix(String::new());
    let mut naive = Naive { revision: 1, ..Naive::default() };
    let mem = Mem::new(Arc::<ManualClock>::clone(&clock));
    let mut disk = Embedded::open_with_clock(&path, Arc::<ManualClock>::clone(&clock)).await.expect("a store");
    let mut mem_watch = mem.watch(&everything, Revision(2)).await.expect("a watch");
    let mut disk_watch = disk.watch(&everything, Revision(2)).await.expect("a watch");
    for n in 0..STEPS {
        let op = random_op(&mut rng, &naive);
        let context = format!("SEED={seed}, step {n}: {op:?}");
        match op {
            Op::Second => clock.advance(Duration::from_secs(1)),
            Op::Reopen => {
                disk.close().await;
                disk = Embedded::open_with_clock(&path, Arc::<ManualClock>::clone(&clock)).await.expect("a store");
                disk_watch = disk.watch(&everything, Revision(naive.revision + 1)).await.expect("a watch");
                for (lease, ..) in naive.leases.clone() {
                    mem.keep_alive(lease).await.expect("the lease lives");
                }
            }
            _ => (),
        }
        let want = naive.step(&op);
        assert_eq!(step(&mem, &op).await, want, "in memory; {context}");
        assert_eq!(step(&disk, &op).await, want, "on disk; {context}");
        let all = naive.step(&Op::Read(everything.clone()));
        assert_eq!(step(&mem, &Op::Read(everything.clone())).await, all, "in memory; {context}");
        assert_eq!(step(&disk, &Op::Read(everything.clone())).await, all, "on disk; {context}");
        let told = std::mem::take(&mut naive.told);
        hear(&mut *mem_watch, &told, &format!("in memory; {context}")).await;
        hear(&mut *disk_watch, &told, &format!("on disk; {context}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_operations() {
    match std::env::var("SEED") {
        Ok(seed) => run(seed.parse().expect("SEED is a number")).await,
        Err(_) => {
            for seed in 0..12 {
                run(seed).await;
            }
        }
    }
}
