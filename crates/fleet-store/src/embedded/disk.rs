//! The file: opening, creating, loading, and one durable commit for a group of changes.
//!
//! Tables: `meta` (format, revision, last lease), `keys` (each with its revisions, lease and value), `leases` (ID and time
//! to live). A commit rewrites the entries that changed, from the model; there is no log to replay and nothing to repair:
//! redb switches to the new tree with one synced write, or not at all.

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redb::{Database, DatabaseError, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::writer::Dirty;
use crate::model::{Model, REVISION_FIRST};
use crate::{KeyValue, LeaseId, Revision, StoreError};

/// The layout of the tables below. A file with another one is refused, not guessed at.
pub const FORMAT_VERSION: u64 = 1;

/// Memory for redb's page cache. Small, because the file is read once and everything is answered from the model.
const CACHE_BYTES: usize = 8 << 20;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const META_FORMAT: &str = "format";
const META_REVISION: &str = "revision";
const META_LAST_LEASE: &str = "last-lease";

/// Key to (create revision, mod revision, lease or 0, value).
const KEYS: TableDefinition<&str, (u64, u64, u64, &[u8])> = TableDefinition::new("keys");

/// Lease to its time to live in seconds.
const LEASES: TableDefinition<u64, u64> = TableDefinition::new("leases");

type OpenDatabase = Box<dyn Fn() -> Result<Database, StoreError> + Send>;

/// How the file is opened: at the start, and again after a failed write.
pub(super) struct Opener {
    path: String,
    open: OpenDatabase,
}

/// An open file.
pub(super) struct Disk {
    path: String,
    database: Database,
}

impl Opener {
    pub(super) fn of_path(path: &Path) -> Opener {
        let owned = path.to_owned();
        Opener::new(path.display().to_string(), Box::new(move || open_or_create(&owned)))
    }

    /// An opener of anything that is a database, for tests with a disk that fails.
    pub(super) fn new(path: String, open: OpenDatabase) -> Opener {
        Opener { path, open }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

impl Disk {
    /// Opens the file and reads all of it.
    pub(super) fn open(opener: &Opener, now: Duration) -> Result<(Disk, Model), StoreError> {
        let disk = Disk { path: opener.path.clone(), database: (opener.open)()? };
        let model = disk.load(now)?;
        Ok((disk, model))
    }

    /// Writes what is `dirty` as the model has it now, durably. Nothing dirty costs nothing.
    pub(super) fn write(&self, model: &Model, dirty: &Dirty) -> Result<(), StoreError> {
        if dirty.keys.is_empty() && dirty.leases.is_empty() {
            return Ok(());
        }
        self.try_write(model, dirty).map_err(|err| self.error("cannot write to it", err))
    }

    fn try_write(&self, model: &Model, dirty: &Dirty) -> Result<(), redb::Error> {
        let mut txn = self.database.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        {
            let mut keys = txn.open_table(KEYS)?;
            for key in dirty.keys.iter().map(String::as_str) {
                match model.get(key) {
                    Some(kv) => keys.insert(key, row(kv))?,
                    None => keys.remove(key)?,
                };
            }
            let mut leases = txn.open_table(LEASES)?;
            for &lease in &dirty.leases {
                match model.lease_ttl(lease) {
                    Some(ttl) => leases.insert(lease.0.cast_unsigned(), ttl.as_secs())?,
                    None => leases.remove(lease.0.cast_unsigned())?,
                };
            }
            let mut meta = txn.open_table(META)?;
            meta.insert(META_REVISION, model.revision().0)?;
            meta.insert(META_LAST_LEASE, model.last_lease().0.cast_unsigned())?;
        }
        Ok(txn.commit()?)
    }

    fn load(&self, now: Duration) -> Result<Model, StoreError> {
        let fail = |err: redb::Error| self.error("cannot read it", err);
        match self.meta(META_FORMAT).map_err(fail)? {
            Some(FORMAT_VERSION) => (),
            Some(other) => {
                let reason = format!(
                    "its format is {other}, and this fleet knows only {FORMAT_VERSION}; use the version of fleet \
                     that wrote it, or give this one another path"
                );
                return Err(self.refuse(reason));
            }
            None => {
                let reason = "it is a redb file but no store of fleet's; give another path";
                return Err(self.refuse(reason.to_owned()));
            }
        }
        let (revision, last_lease, kvs, leases) = self.read_all().map_err(fail)?;
        Model::restore(revision, last_lease, kvs, &leases, now)
            .map_err(|err| self.refuse(format!("it is damaged: {err}; restore it from a backup, or move it away")))
    }

    fn meta(&self, name: &str) -> Result<Option<u64>, redb::Error> {
        let txn = self.database.begin_read()?;
        match txn.open_table(META) {
            Ok(meta) => Ok(meta.get(name)?.map(|value| value.value())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(err) => Err(err.into()),
        }
    }

    #[expect(clippy::type_complexity, reason = "the parts of a model, used once")]
    fn read_all(&self) -> Result<(Revision, LeaseId, Vec<KeyValue>, Vec<(LeaseId, Duration)>), redb::Error> {
        let txn = self.database.begin_read()?;
        let meta = txn.open_table(META)?;
        let number = |name| Ok::<u64, redb::Error>(meta.get(name)?.map_or(0, |it| it.value()));
        let revision = Revision(number(META_REVISION)?);
        let last_lease = LeaseId(number(META_LAST_LEASE)?.cast_signed());
        let mut kvs = Vec::new();
        for entry in txn.open_table(KEYS)?.iter()? {
            let (key, row) = entry?;
            let (created, modified, lease, value) = row.value();
            kvs.push(KeyValue {
                key: key.value().to_owned(),
                value: value.to_owned(),
                create_revision: Revision(created),
                mod_revision: Revision(modified),
                lease: (lease != 0).then_some(LeaseId(lease.cast_signed())),
            });
        }
        let mut leases = Vec::new();
        for entry in txn.open_table(LEASES)?.iter()? {
            let (lease, seconds) = entry?;
            leases.push((LeaseId(lease.value().cast_signed()), Duration::from_secs(seconds.value())));
        }
        Ok((revision, last_lease, kvs, leases))
    }

    fn error(&self, what: &str, err: impl Into<redb::Error>) -> StoreError {
        self.refuse(format!("{what}: {}", err.into()))
    }

    fn refuse(&self, reason: String) -> StoreError {
        StoreError::File { path: self.path.clone(), reason }
    }
}

fn row(kv: &KeyValue) -> (u64, u64, u64, &[u8]) {
    let lease = kv.lease.map_or(0, |lease| lease.0.cast_unsigned());
    (kv.create_revision.0, kv.mod_revision.0, lease, &kv.value)
}

fn open_or_create(path: &Path) -> Result<Database, StoreError> {
    let refuse = |reason: String| StoreError::File { path: path.display().to_string(), reason };
    let exists = path.try_exists().map_err(|err| refuse(format!("cannot look at it: {err}")))?;
    if !exists {
        create(path).map_err(|err| refuse(format!("cannot create it: {err}")))?;
    }
    builder().open(path).map_err(|err| match err {
        DatabaseError::DatabaseAlreadyOpen => {
            refuse("another process has it open; stop that one, or give this one a path of its own".to_owned())
        }
        err => refuse(format!("cannot open it as a store: {err}; check the path, or move the file away")),
    })
}

/// Creates an empty store under another name, and gives it its own only when it is whole and on disk: a process killed
/// half-way leaves nothing that the next one stumbles over.
fn create(path: &Path) -> io::Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    create_dir(dir)?;
    // Two processes that create at once would take each other's half-made file away. The folder is the lock, because it
    // is the one thing that neither replaces. It is held for the milliseconds of this function only.
    let lock = File::open(dir)?;
    lock.lock()?;
    if path.try_exists()? {
        return Ok(());
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    if unfinished.try_exists()? {
        std::fs::remove_file(&unfinished)?;
    }
    let database = builder().create(&unfinished).map_err(io::Error::other)?;
    // Unit files may hold what not everyone should read.
    std::fs::set_permissions(&unfinished, PermissionsExt::from_mode(0o600))?;
    initialize(&database).map_err(io::Error::other)?;
    drop(database);
    File::open(&unfinished)?.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    lock.sync_all()
}

/// Creates the folder and those above it, and makes their names durable.
fn create_dir(dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    std::fs::create_dir_all(dir)?;
    for parent in missing.iter().filter_map(|dir| dir.parent()) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

pub(super) fn initialize(database: &Database) -> Result<(), redb::Error> {
    let mut txn = database.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    {
        let mut meta = txn.open_table(META)?;
        meta.insert(META_FORMAT, FORMAT_VERSION)?;
        meta.insert(META_REVISION, REVISION_FIRST.0)?;
        meta.insert(META_LAST_LEASE, 0)?;
        txn.open_table(KEYS)?;
        txn.open_table(LEASES)?;
    }
    Ok(txn.commit()?)
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}
