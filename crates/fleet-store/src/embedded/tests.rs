//! The durable store on disks that fail, lose power, belong to somebody else or hold something else.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use expect_test::expect;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use redb::StorageBackend;

use super::disk::{Opener, initialize};
use super::{Embedded, STALL_MAX};
use crate::clock::ManualClock;
use crate::{Batch, Change, Keys, LeaseId, Revision, Snapshot, Store as _, StoreError, Txn, TxnOutcome, Watch, Write};

/// A disk in memory that knows what was synced and what was not.
#[derive(Clone, Debug, Default)]
struct FakeDisk {
    image: Arc<Mutex<Image>>,
}

#[derive(Debug, Default)]
struct Image {
    /// What programs see.
    seen: Vec<u8>,
    /// What is left after a loss of power, at the least.
    synced: Vec<u8>,
    /// What was done since, in order.
    unsynced: Vec<Step>,
    broken: bool,
}

#[derive(Debug)]
enum Step {
    Resize(usize),
    Write(usize, Vec<u8>),
}

/// Disks write whole sectors; a write over several may be torn between them.
const SECTOR: usize = 512;

impl FakeDisk {
    fn image(&self) -> MutexGuard<'_, Image> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_broken(&self, broken: bool) {
        self.image().broken = broken;
    }

    /// The disk as it may be found after a loss of power: of what was not synced any part is there, in any order.
    fn after_power_loss(&self, rng: &mut StdRng) -> FakeDisk {
        let image = self.image();
        let mut left = image.synced.clone();
        for change in &image.unsynced {
            match change {
                // The length of a file is changed in order with the rest by any journaling file system.
                Step::Resize(len) => left.resize(*len, 0),
                Step::Write(at, bytes) => {
                    for (idx, sector) in bytes.chunks(SECTOR).enumerate() {
                        let at = at + idx * SECTOR;
                        if rng.random_bool(0.5) && at + sector.len() <= left.len() {
                            left[at..at + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        let image = Image { seen: left.clone(), synced: left, ..Image::default() };
        FakeDisk { image: Arc::new(Mutex::new(image)) }
    }

    async fn open(&self, clock: &Arc<ManualClock>) -> Result<Embedded, StoreError> {
        let disk = self.clone();
        let open = move || {
            let is_new = disk.image().seen.is_empty();
            let database = redb::Database::builder().create_with_backend(disk.clone());
            let file_error = |reason: String| StoreError::File { path: "fake".to_owned(), reason };
            let database = database.map_err(|err| file_error(err.to_string()))?;
            if is_new {
                initialize(&database).map_err(|err| file_error(err.to_string()))?;
            }
            Ok(database)
        };
        let clock: Arc<ManualClock> = Arc::clone(clock);
        Embedded::start(Opener::new("fake".to_owned(), Box::new(open)), clock).await
    }
}

impl StorageBackend for FakeDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.image().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).expect("a small disk");
        out.copy_from_slice(&self.image().seen[at..at + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).expect("a small disk");
        let mut image = self.image();
        image.seen.resize(len, 0);
        image.unsynced.push(Step::Resize(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut image = self.image();
        if image.broken {
            return Err(io::Error::other("the disk is on fire"));
        }
        image.synced = image.seen.clone();
        image.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).expect("a small disk");
        let mut image = self.image();
        image.seen[at..at + bytes.len()].copy_from_slice(bytes);
        image.unsynced.push(Step::Write(at, bytes.to_vec()));
        Ok(())
    }
}

fn put(key: &str, value: &str, lease: Option<LeaseId>) -> Txn {
    let write = Write::Put { key: key.to_owned(), value: value.as_bytes().to_vec(), lease };
    Txn { guards: Vec::new(), writes: vec![write] }
}

/// The next batch; a watch that stays silent fails the test instead of holding it up.
async fn news(watch: &mut Box<dyn Watch>) -> Result<Batch, StoreError> {
    tokio::time::timeout(Duration::from_secs(10), watch.next()).await.expect("news within the limit")
}

async fn all(store: &Embedded) -> Snapshot {
    store.read(&Keys::Prefix(String::new())).await.expect("a read")
}

fn text(snapshot: &Snapshot) -> String {
    let kvs = snapshot.kvs.iter().map(|kv| format!("{}={}", kv.key, String::from_utf8_lossy(&kv.value)));
    kvs.collect::<Vec<_>>().join(" ")
}

/// A failed commit is seen by nobody, and the store goes on when the disk does.
#[tokio::test]
async fn a_failing_disk() {
    let (disk, clock) = (FakeDisk::default(), Arc::default());
    let store = disk.open(&clock).await.expect("a new store");
    store.commit(&put("a", "1", None)).await.expect("a commit");
    let everything = Keys::Prefix(String::new());
    let mut watch = store.watch(&everything, Revision(3)).await.expect("a watch");

    disk.set_broken(true);
    let failed = store.commit(&put("a", "2", None)).await;
    assert!(matches!(&failed, Err(StoreError::Unavailable(why)) if why.contains("on fire")), "{failed:?}");
    let ended = news(&mut watch).await;
    assert!(ended.is_err(), "the watcher saw {ended:?}, which is not on disk");
    for _ in 0..2 {
        let failed = store.commit(&put("a", "3", None)).await;
        assert!(failed.is_err(), "the disk is still broken, yet: {failed:?}");
    }

    disk.set_broken(false);
    let after = all(&store).await;
    // Only the file knows whether the first failed commit happened; the ones after it certainly did not.
    assert!(matches!(text(&after).as_str(), "a=1" | "a=2"), "{after:?}");
    let mut watch = store.watch(&everything, Revision(after.revision.0 + 1)).await.expect("a watch");
    let outcome = store.commit(&put("a", "4", None)).await;
    let next = Revision(after.revision.0 + 1);
    assert_eq!(outcome, Ok(TxnOutcome::Committed(next)));
    assert_eq!(news(&mut watch).await.map(|batch| batch.revision), Ok(next));
}

/// Requests of one group that fail together all fail, reads too: they may have seen what is not on disk.
#[tokio::test]
async fn a_failing_group() {
    let (disk, clock) = (FakeDisk::default(), Arc::default());
    let store = disk.open(&clock).await.expect("a new store");
    disk.set_broken(true);
    let (first, second) = (put("a", "1", None), put("b", "1", None));
    let (first, second) = tokio::join!(store.commit(&first), store.commit(&second));
    assert!(first.is_err() && second.is_err(), "{first:?} {second:?}");
    disk.set_broken(false);
    let text = text(&all(&store).await);
    assert!(matches!(text.as_str(), "" | "a=1" | "a=1 b=1"), "{text}");
}

/// Power is lost at random moments, with writes torn and reordered; what was acknowledged is there.
#[tokio::test]
async fn power_loss() {
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let clock = Arc::default();
        let mut disk = FakeDisk::default();
        let (mut n_acked, mut lease) = (0, None);
        for _ in 0..4 {
            let store = disk.open(&clock).await.unwrap_or_else(|err| panic!("seed {seed}: {err}"));
            let present = all(&store).await;
            let number = |at: usize| String::from_utf8_lossy(&present.kvs[at].value).parse::<u64>().expect("a number");
            if n_acked == 0 {
                lease = Some(store.grant(Duration::from_secs(60)).await.expect("a lease"));
            } else {
                // Both halves, of one transaction, not older than the last acknowledged one.
                let (a, b) = (number(0), number(1));
                assert!(
                    a == b && (n_acked..=n_acked + 1).contains(&a),
                    "seed {seed}: {n_acked} acked, {a} and {b} found"
                );
                assert_eq!(present.kvs[0].mod_revision, present.kvs[1].mod_revision, "seed {seed}");
                assert_eq!(present.kvs[0].lease, lease, "seed {seed}");
                n_acked = a;
            }
            for _ in 0..rng.random_range(1..12) {
                let value = (n_acked + 1).to_string().into_bytes();
                let put = |key: &str| Write::Put { key: key.to_owned(), value: value.clone(), lease };
                let txn = Txn { guards: Vec::new(), writes: vec![put("a"), put("b")] };
                store.commit(&txn).await.expect("a commit");
                n_acked += 1;
            }
            // One more is under way when the power goes: it is written and not yet synced.
            disk.set_broken(true);
            let value = (n_acked + 1).to_string().into_bytes();
            let put = |key: &str| Write::Put { key: key.to_owned(), value: value.clone(), lease };
            let txn = Txn { guards: Vec::new(), writes: vec![put("a"), put("b")] };
            assert!(store.commit(&txn).await.is_err(), "seed {seed}: acknowledged without a sync");
            disk = disk.after_power_loss(&mut rng);
        }
    }
}

/// Leases begin anew with the store; what was revoked stays so; IDs are not given twice.
#[tokio::test]
async fn leases_survive_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("store.redb");
    let clock: Arc<ManualClock> = Arc::default();
    let open = || Embedded::open_with_clock(&path, Arc::<ManualClock>::clone(&clock));
    let store = open().await.expect("a new store");
    let (short, gone) = (store.grant(Duration::from_secs(10)).await, store.grant(Duration::from_secs(10)).await);
    let (short, gone) = (short.expect("a lease"), gone.expect("a lease"));
    store.commit(&put("a", "1", Some(short))).await.expect("a commit");
    store.revoke(gone).await.expect("the lease lives");
    clock.advance(Duration::from_secs(9));
    store.close().await;
    assert_eq!(store.commit(&put("a", "2", None)).await, Err(super::writer::closed()));

    let store = open().await.expect("the same store");
    clock.advance(Duration::from_secs(9));
    assert_eq!(text(&all(&store).await), "a=1");
    assert_eq!(store.keep_alive(gone).await, Err(StoreError::NoLease(gone)));
    let next = store.grant(Duration::from_secs(60)).await.expect("a lease");
    assert!(gone < next, "{next:?} was given before");
    let mut watch = store.watch(&Keys::Prefix("a".to_owned()), Revision(3)).await.expect("a watch");
    clock.advance(Duration::from_secs(1));
    let batch = news(&mut watch).await.expect("the end of the lease");
    let change = Change::Delete { key: "a".to_owned(), revision: Revision(3) };
    assert_eq!(batch, Batch { revision: Revision(3), changes: vec![change] });
}

/// History is not kept over a restart, and revisions go on.
#[tokio::test]
async fn history_begins_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("store.redb");
    let store = Embedded::open(&path).await.expect("a new store");
    store.commit(&put("a", "1", None)).await.expect("a commit");
    store.close().await;
    let store = Embedded::open(&path).await.expect("the same store");
    let everything = Keys::Prefix(String::new());
    let past = store.watch(&everything, Revision(2)).await.map(drop);
    assert_eq!(past, Err(StoreError::Compacted(Revision(3))));
    let mut watch = store.watch(&everything, Revision(3)).await.expect("a watch");
    assert_eq!(store.commit(&put("a", "2", None)).await, Ok(TxnOutcome::Committed(Revision(3))));
    assert_eq!(news(&mut watch).await.map(|batch| batch.revision), Ok(Revision(3)));
}

/// A process that was halted does not take its own silence for that of others.
#[tokio::test]
async fn a_halted_process_keeps_its_leases() {
    let (disk, clock) = (FakeDisk::default(), Arc::<ManualClock>::default());
    let store = disk.open(&clock).await.expect("a new store");
    let lease = store.grant(Duration::from_secs(10)).await.expect("a lease");
    store.commit(&put("a", "1", Some(lease))).await.expect("a commit");
    clock.advance(Duration::from_secs(3600));
    store.keep_alive(lease).await.expect("nobody could keep it alive");
    clock.advance(Duration::from_secs(10) + STALL_MAX);
    assert_eq!(text(&all(&store).await), "", "this time it was the owner who was silent");
}

/// What is no store of ours is refused with its path, what is wrong, and what to do; and it is left as it was.
#[tokio::test]
async fn refusals() {
    let dir = tempfile::tempdir().expect("a folder");
    let at = |name: &str| dir.path().join(name);
    let table = redb::TableDefinition::<&str, u64>::new("meta");
    let foreign = |path: &Path, format: Option<u64>| {
        let database = redb::Database::create(path).expect("a redb file");
        let txn = database.begin_write().expect("a transaction");
        if let Some(format) = format {
            txn.open_table(table).expect("a table").insert("format", format).expect("a row");
        }
        txn.commit().expect("a commit");
    };
    let open = Embedded::open(&at("open")).await.expect("a new store");
    std::fs::write(at("text"), "this is no database, but it is somebody's").expect("a file");
    foreign(&at("foreign"), None);
    foreign(&at("newer"), Some(7));
    std::fs::write(at("file"), "").expect("a file");
    let mut refused = String::new();
    for name in ["open", "text", "foreign", "newer", "file/store", "."] {
        let err = Embedded::open(&at(name)).await.map(drop).expect_err("a refusal");
        refused.push_str(&format!("{err}\n").replace(&dir.path().display().to_string(), "DIR"));
    }
    drop(open);
    expect![[r#"
        the store's file DIR/open: another process has it open; stop that one, or give this one a path of its own
        the store's file DIR/text: cannot open it as a store: I/O error: Not a redb database: magic number mismatch; check the path, or move the file away
        the store's file DIR/foreign: it is a redb file but no store of fleet's; give another path
        the store's file DIR/newer: its format is 7, and this fleet knows only 1; use the version of fleet that wrote it, or give this one another path
        the store's file DIR/file/store: cannot look at it: Not a directory (os error 20)
        the store's file DIR/.: cannot open it as a store: I/O error: Is a directory (os error 21); check the path, or move the file away
    "#]].assert_eq(&refused);
    let untouched = std::fs::read_to_string(at("text")).expect("the file is there");
    assert_eq!(untouched, "this is no database, but it is somebody's");
}

/// The file may hold secrets of units, and what a killed creation left behind is no obstacle.
#[tokio::test]
async fn creation() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("some/folders/store.redb");
    let unfinished = dir.path().join("some/folders/store.redb.new");
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
    std::fs::write(&unfinished, "half a store").expect("a file");
    let store = Embedded::open(&path).await.expect("a new store");
    assert_eq!(all(&store).await.revision, Revision(1));
    let mode = std::fs::metadata(&path).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!unfinished.exists());
}
