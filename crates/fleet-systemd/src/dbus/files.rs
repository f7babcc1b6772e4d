//! Unit files and receipts on disk. Everything here blocks; the callers move it off the runtime's threads.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use fleet_core::model::{Generation, TargetState};
use fleet_core::unit::{GUARD_UNIT, UnitName};
use serde::{Deserialize, Serialize};

use crate::{ManagerError, Receipt, WriteFile};

/// Where unit files are written, and where systemd looks for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// Where the files are written (the original: `/run/fleet/units`). Receipts lie in `.receipts` below it.
    pub units_directory: PathBuf,
    /// Where systemd looks: `/run/systemd/system`, or `$XDG_RUNTIME_DIR/systemd/user`. If it is another directory than
    /// `units_directory`, it gets a symbolic link for each file.
    pub unit_directory: PathBuf,
}

/// The folder of receipts in `units_directory`. systemd does not look into it.
const RECEIPTS: &str = ".receipts";

/// How temporary files begin. systemd takes no file for a unit that does not end in a unit type.
const TEMPORARY: &str = ".fleet-new-";

/// Mode of unit files: systemd's own are readable by everyone, and warn about anything else.
const FILE_MODE: u32 = 0o644;

/// The version of [`ReceiptFile`]. A receipt of another version is taken for none.
const RECEIPT_VERSION: u32 = 1;

/// A receipt as it lies on disk. A promise to the next version of fleet, which adopts what this one left running.
#[derive(Serialize, Deserialize)]
struct ReceiptFile {
    version: u32,
    hash: String,
    generation: u64,
    restarts: u64,
    reached: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    guard: Option<String>,
    /// When the first receipt of this placement was written, in microseconds since the epoch. Receipts of fleetd before this was told
    /// have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    placed_us: Option<u64>,
}

/// When the unit was placed on the machine whose files are in `units_directory`, as the time since the epoch: before its first start,
/// and after it was gone from there the last time. `None` if it has no receipt, or one that does not tell.
///
/// # Errors
/// A receipt that is there and cannot be read.
pub fn placed_at(units_directory: &Path, name: &UnitName) -> io::Result<Option<Duration>> {
    let text = match fs::read(units_directory.join(RECEIPTS).join(name.as_str())) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let file: ReceiptFile = serde_json::from_slice(&text)?;
    Ok(file.placed_us.map(Duration::from_micros))
}

/// The two directories, with the work that is done in them.
#[derive(Clone, Debug)]
pub(super) struct Files {
    units: PathBuf,
    /// Where links go; `None` if systemd reads `units` itself.
    links: Option<PathBuf>,
}

/// What is on disk.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: Vec<(UnitName, Option<Receipt>)>,
    /// Names that have a receipt and no file.
    pub(super) receipts_alone: Vec<UnitName>,
}

impl Files {
    /// Makes the directories and throws away what an earlier process left half written.
    pub(super) fn open(dirs: &Dirs) -> Result<Files, ManagerError> {
        let made = |dir: &Path| {
            make(dir)?;
            fs::canonicalize(dir).map_err(|err| failed("find", dir, &err))
        };
        let (units, links) = (made(&dirs.units_directory)?, made(&dirs.unit_directory)?);
        let files = Files { links: (links != units).then_some(links), units };
        files.make()?;
        files.clean()?;
        Ok(files)
    }

    /// Makes the directories where they are missing: they live in `/run`, and are gone after the machine was.
    pub(super) fn make(&self) -> Result<(), ManagerError> {
        make(&self.units.join(RECEIPTS))?;
        self.links.as_deref().map_or(Ok(()), make)
    }

    /// Removes temporary files of other processes; those of this one may be in use.
    fn clean(&self) -> Result<(), ManagerError> {
        let ours = format!("{TEMPORARY}{}-", std::process::id());
        for dir in [self.units.clone(), self.units.join(RECEIPTS)] {
            for name in names_in(&dir)? {
                if name.starts_with(TEMPORARY) && !name.starts_with(&ours) {
                    let path = dir.join(name);
                    gone(fs::remove_file(&path)).map_err(|err| failed("remove", &path, &err))?;
                }
            }
        }
        Ok(())
    }

    /// All that is there.
    pub(super) fn find(&self) -> Result<Found, ManagerError> {
        let unit_names = |dir: &Path| -> Result<BTreeSet<UnitName>, ManagerError> {
            Ok(names_in(dir)?.iter().filter_map(|name| name.parse().ok()).collect())
        };
        let mut found = Found::default();
        let mut receipts = unit_names(&self.units.join(RECEIPTS))?;
        for name in unit_names(&self.units)? {
            // Fleet's own, and nobody's order.
            if name.as_str() == GUARD_UNIT {
                continue;
            }
            // Something that is no plain file (`x.service` as a directory) was not written here.
            if !fs::symlink_metadata(self.file(&name)).is_ok_and(|meta| meta.is_file()) {
                continue;
            }
            let receipt = receipts.remove(&name).then(|| self.read_receipt(&name)).flatten();
            found.files.push((name, receipt));
        }
        found.receipts_alone.extend(receipts);
        Ok(found)
    }

    /// Writes one file with its receipt; a file that has this content already is left as it is.
    ///
    /// The receipt comes second: if we end in between, the old receipt says that the old file is there, the file is written
    /// again, and that is harmless. The other way round, the new file would never be written.
    pub(super) fn write(&self, file: &WriteFile) -> Result<(), ManagerError> {
        self.write_text(&file.name, &file.text)?;
        self.write_receipt(&file.name, &file.receipt)
    }

    /// The same without a receipt.
    pub(super) fn write_text(&self, name: &UnitName, text: &str) -> Result<(), ManagerError> {
        // First of all, so that nothing of ours is left beside a unit of someone else.
        self.check_link(name)?;
        let path = self.file(name);
        if !fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
            replace(&path, text.as_bytes(), ChangeTime::Fine)?;
        }
        self.link(name)
    }

    /// Tells systemd that the directory changed.
    ///
    /// systemd keeps a list of the unit files there are, and reads the directory again when its time of change is another one, to
    /// the microsecond. Kernels before 6.13 stamp directories with a clock of 1 to 10 ms, so that a file written
    /// right after systemd looked would not be found. Hence a stamp from the fine clock, once a batch.
    pub(super) fn stamp(&self) -> Result<(), ManagerError> {
        let dir = self.links.as_ref().unwrap_or(&self.units);
        let stamped = fs::File::open(dir).and_then(|opened| opened.set_modified(SystemTime::now()));
        stamped.map_err(|err| failed("stamp", dir, &err))
    }

    pub(super) fn write_receipt(&self, name: &UnitName, receipt: &Receipt) -> Result<(), ManagerError> {
        let path = self.receipt(name);
        let there = fs::read(&path).ok();
        let known: Option<ReceiptFile> = there.as_deref().and_then(|text| serde_json::from_slice(text).ok());
        let file = ReceiptFile {
            version: RECEIPT_VERSION,
            hash: receipt.hash.to_string(),
            generation: receipt.generation.0,
            restarts: receipt.restarts,
            reached: receipt.reached.to_string(),
            guard: receipt.guard.clone(),
            placed_us: known.map_or_else(now_us, |known| known.placed_us),
        };
        let text = serde_json::to_vec(&file).map_err(|err| failed("write", &path, &io::Error::other(err)))?;
        if there.is_some_and(|there| there == text) {
            return Ok(());
        }
        replace(&path, &text, ChangeTime::AsItComes)
    }

    /// Removes a unit's link, file and receipt. What is missing already is fine.
    ///
    /// The receipt goes last: as long as it is there, we know that the unit is ours.
    pub(super) fn remove(&self, name: &UnitName) -> Result<(), ManagerError> {
        if let Some(links) = &self.links {
            let link = links.join(name.as_str());
            if fs::read_link(&link).is_ok_and(|target| target == self.file(name)) {
                gone(fs::remove_file(&link)).map_err(|err| failed("remove", &link, &err))?;
            }
        }
        for path in [self.file(name), self.receipt(name)] {
            gone(fs::remove_file(&path)).map_err(|err| failed("remove", &path, &err))?;
        }
        Ok(())
    }

    /// Whether a file of this name is ours.
    pub(super) fn has(&self, name: &UnitName) -> bool {
        fs::symlink_metadata(self.file(name)).is_ok_and(|meta| meta.is_file())
    }

    fn file(&self, name: &UnitName) -> PathBuf {
        self.units.join(name.as_str())
    }

    fn receipt(&self, name: &UnitName) -> PathBuf {
        self.units.join(RECEIPTS).join(name.as_str())
    }

    fn read_receipt(&self, name: &UnitName) -> Option<Receipt> {
        let path = self.receipt(name);
        let read = || -> Result<Receipt, Box<dyn std::error::Error>> {
            let file: ReceiptFile = serde_json::from_slice(&fs::read(&path)?)?;
            if file.version != RECEIPT_VERSION {
                return Err(format!("version {} is not {RECEIPT_VERSION}", file.version).into());
            }
            Ok(Receipt {
                hash: file.hash.parse()?,
                generation: Generation(file.generation),
                restarts: file.restarts,
                reached: file.reached.parse::<TargetState>()?,
                guard: file.guard,
            })
        };
        read()
            .inspect_err(|err| tracing::warn!(path = %path.display(), %err, "receipt cannot be read; taken for none"))
            .ok()
    }

    /// Refuses a name under which systemd would find something that is not ours.
    fn check_link(&self, name: &UnitName) -> Result<(), ManagerError> {
        let Some(links) = &self.links else {
            return Ok(());
        };
        let link = links.join(name.as_str());
        match fs::symlink_metadata(&link) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(err) => Err(failed("link", &link, &err)),
            Ok(_) if fs::read_link(&link).is_ok_and(|there| there == self.file(name)) => Ok(()),
            Ok(_) => Err(ManagerError::File {
                verb: "link",
                path: link.display().to_string(),
                reason: "a unit of that name is there which fleet did not write; rename one of the two".to_owned(),
            }),
        }
    }

    /// Places the link by which systemd finds the file, unless it is there or systemd reads our directory itself.
    fn link(&self, name: &UnitName) -> Result<(), ManagerError> {
        let Some(links) = &self.links else {
            return Ok(());
        };
        let link = links.join(name.as_str());
        match symlink(self.file(name), &link) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => self.check_link(name),
            other => other.map_err(|err| failed("link", &link, &err)),
        }
    }
}

/// How exact the time of change is that a file gets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ChangeTime {
    /// systemd sees by it that a file is another one (`NeedDaemonReload`); about the clocks see [`Files::stamp`].
    Fine,
    /// Nobody looks at it.
    AsItComes,
}

/// Puts `content` at `path` so that a reader sees the old or the new file and nothing in between.
///
/// It is not synced to disk: unit files live in `/run`, which ends with the uptime anyway.
fn replace(path: &Path, content: &[u8], time: ChangeTime) -> Result<(), ManagerError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    // The name is not made from the unit's: that may be as long as a file name can be.
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_file_name(format!("{TEMPORARY}{}-{number}", std::process::id()));
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&temporary)?;
        file.write_all(content)?;
        if time == ChangeTime::Fine {
            file.set_modified(SystemTime::now())?;
        }
        fs::rename(&temporary, path)
    };
    write().map_err(|err| {
        let failure = failed("write", path, &err);
        if let Err(err) = gone(fs::remove_file(&temporary)) {
            tracing::warn!(path = %temporary.display(), %err, "temporary file stays until the next start");
        }
        failure
    })
}

fn make(dir: &Path) -> Result<(), ManagerError> {
    fs::create_dir_all(dir).map_err(|err| failed("create", dir, &err))
}

fn names_in(dir: &Path) -> Result<Vec<String>, ManagerError> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    };
    read().map_err(|err| failed("read", dir, &err))
}

/// `None` on a machine whose clock is before 1970: it has no time yet.
fn now_us() -> Option<u64> {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since_epoch.as_micros()).ok()
}

/// Takes "was not there" for done.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn failed(verb: &'static str, path: &Path, err: &io::Error) -> ManagerError {
    ManagerError::File { verb, path: path.display().to_string(), reason: err.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use fleet_core::unit::UnitHash;

    use super::*;

    fn file(name: &str, text: &str) -> WriteFile {
        let receipt = Receipt {
            hash: UnitHash::of_canonical(text),
            generation: Generation(u64::MAX),
            restarts: 2,
            reached: TargetState::Loaded,
            guard: Some("2f1c".to_owned()),
        };
        WriteFile { name: name.parse().expect("a unit name"), text: text.to_owned(), receipt }
    }

    /// Two directories in a new folder, and what works on them.
    fn directories() -> (tempfile::TempDir, Dirs, Files) {
        let dir = tempfile::tempdir().expect("a folder");
        let dirs = Dirs { units_directory: dir.path().join("fleet"), unit_directory: dir.path().join("systemd") };
        let files = Files::open(&dirs).expect("directories");
        (dir, dirs, files)
    }

    #[test]
    fn what_is_written_is_found_linked_and_gone_when_removed() {
        let (_dir, dirs, files) = directories();
        let (a, longest) = (file("a.service", "text"), file(&format!("{}.service", "x".repeat(247)), "text"));
        for file in [&a, &longest] {
            files.write(file).expect("written");
            let link = dirs.unit_directory.join(file.name.as_str());
            assert_eq!(fs::read_to_string(link).expect("linked"), file.text);
        }
        let path = dirs.units_directory.join("a.service");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o7777, 0o644);
        let want =
            vec![(a.name.clone(), Some(a.receipt.clone())), (longest.name.clone(), Some(longest.receipt.clone()))];
        assert_eq!(files.find().expect("read").files, want);
        for file in [&a, &longest] {
            files.remove(&file.name).expect("removed");
            files.remove(&file.name).expect("gone is gone");
        }
        assert_eq!(files.find().expect("read").files, []);
        assert_eq!(fs::read_dir(&dirs.unit_directory).expect("read").count(), 0, "no link is left");
        assert_eq!(
            fs::read_dir(&dirs.units_directory).expect("read").count(),
            1,
            "only the folder of receipts is left"
        );
    }

    #[test]
    fn equal_content_is_not_written_again() {
        let (_dir, dirs, files) = directories();
        let identity = || {
            let meta = fs::metadata(dirs.units_directory.join("a.service")).expect("there");
            (meta.ino(), meta.mtime_nsec())
        };
        files.write(&file("a.service", "text")).expect("written");
        let before = identity();
        files.write(&file("a.service", "text")).expect("written");
        assert_eq!(identity(), before);
        files.write(&file("a.service", "other")).expect("written");
        assert_ne!(identity(), before);
    }

    #[test]
    fn unit_of_someone_else_is_left_alone() {
        let (_dir, dirs, files) = directories();
        let theirs = dirs.unit_directory.join("a.service");
        fs::write(&theirs, "theirs").expect("written");
        let outcome = files.write(&file("a.service", "ours"));
        assert!(matches!(outcome, Err(ManagerError::File { verb: "link", .. })), "{outcome:?}");
        assert_eq!(fs::read_to_string(&theirs).expect("there"), "theirs");
        assert_eq!(files.find().expect("read").files, [], "nothing of ours beside it");
        files.remove(&"a.service".parse().expect("a name")).expect("nothing of ours is there");
        assert_eq!(fs::read_to_string(&theirs).expect("there"), "theirs");
    }

    #[test]
    fn receipt_that_cannot_be_read_is_none() {
        let (_dir, dirs, files) = directories();
        files.write(&file("a.service", "text")).expect("written");
        let receipt = dirs.units_directory.join(".receipts/a.service");
        let good = fs::read_to_string(&receipt).expect("there");
        for bad in ["", "{}", &good.replace("\"version\":1", "\"version\":2"), &good.replace("loaded", "asleep")] {
            fs::write(&receipt, bad).expect("written");
            assert_eq!(files.find().expect("read").files[0].1, None, "{bad}");
        }
        fs::remove_file(dirs.units_directory.join("a.service")).expect("removed");
        assert_eq!(files.find().expect("read").receipts_alone, ["a.service".parse::<UnitName>().expect("a name")]);
    }

    /// A promise to later versions, which adopt what this one left running.
    #[test]
    fn receipt_on_disk_is_this_text() {
        let (_dir, dirs, files) = directories();
        files.write(&file("a.service", "")).expect("written");
        let text = fs::read_to_string(dirs.units_directory.join(".receipts/a.service")).expect("there");
        let want = concat!(
            r#"{"version":1,"hash":"da39a3ee5e6b4b0d3255bfef95601890afd80709","#,
            r#""generation":18446744073709551615,"restarts":2,"reached":"loaded","guard":"2f1c","placed_us":"#
        );
        let placed_us = text.strip_prefix(want).and_then(|rest| rest.strip_suffix('}'));
        assert!(placed_us.is_some_and(|us| us.parse::<u64>().is_ok()), "{text}");
    }

    #[test]
    fn a_receipt_tells_since_when_the_unit_is_here() {
        let (_dir, dirs, files) = directories();
        let (mut file, before) = (file("a.service", "text"), now_us());
        let at = || placed_at(&dirs.units_directory, &file.name).expect("a receipt");
        let us = |at: Option<Duration>| at.map(|at| u64::try_from(at.as_micros()).expect("this century"));
        assert_eq!(at(), None);
        files.write(&file).expect("written");
        let placed = us(at());
        assert!(before <= placed && placed <= now_us(), "{before:?} {placed:?}");
        // Another order, and another file.
        file.receipt.restarts += 1;
        file.text = "other".to_owned();
        files.write(&file).expect("written");
        let at = || us(placed_at(&dirs.units_directory, &file.name).expect("a receipt"));
        assert_eq!(at(), placed);
        files.remove(&file.name).expect("removed");
        files.write(&file).expect("written");
        assert!(placed < at(), "it was away in between");
        // One that was written before receipts told it: it is not as if the unit came now.
        let receipt = dirs.units_directory.join(".receipts/a.service");
        let text = fs::read_to_string(&receipt).expect("there");
        let (old, _) = text.rsplit_once(",\"placed_us\"").expect("it tells");
        fs::write(&receipt, format!("{old}}}")).expect("written");
        file.receipt.restarts += 1;
        files.write(&file).expect("written");
        assert_eq!(at(), None);
    }

    #[test]
    fn half_written_files_of_another_process_go_at_the_start() {
        let (_dir, dirs, _files) = directories();
        for dir in [dirs.units_directory.clone(), dirs.units_directory.join(".receipts")] {
            fs::write(dir.join(format!("{TEMPORARY}0-7")), "half").expect("written");
            fs::write(dir.join(format!("{TEMPORARY}{}-7", std::process::id())), "in use").expect("written");
        }
        Files::open(&dirs).expect("opened");
        for dir in [dirs.units_directory.clone(), dirs.units_directory.join(".receipts")] {
            let left = names_in(&dir).expect("read");
            let left: Vec<_> = left.iter().filter(|name| name.starts_with(TEMPORARY)).collect();
            assert_eq!(left, [&format!("{TEMPORARY}{}-7", std::process::id())]);
        }
    }

    #[test]
    fn one_directory_for_both_needs_no_link() {
        let dir = tempfile::tempdir().expect("a folder");
        // The same one, spelled twice.
        let dirs = Dirs { units_directory: dir.path().join("u"), unit_directory: dir.path().join("u/../u") };
        let files = Files::open(&dirs).expect("opened");
        files.write(&file("a.service", "text")).expect("written");
        assert!(fs::symlink_metadata(dir.path().join("u/a.service")).expect("there").is_file());
    }
}
