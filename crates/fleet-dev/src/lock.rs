//! One process at a time uses a machine's folder.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::DevError;

/// How long to wait for a folder that another process uses.
///
/// Long enough for the warden of a process that was killed just now to finish. Whole seconds, flock(1) counts in them.
pub const IN_USE_LIMIT: Duration = Duration::from_secs(10);

/// How often the file may be replaced under our hands while we take the lock.
const REPLACED_MAX: usize = 100;

/// A file that is locked as long as this value or the warden it was lent to lives.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock, waiting for another holder at most `limit`, in whole seconds.
    pub(crate) fn take(path: &Path, limit: Duration) -> Result<Lock, DevError> {
        let in_use = || DevError::InUse { path: path.to_owned(), limit };
        for _ in 0..REPLACED_MAX {
            let mut options = File::options();
            let file = options.create(true).truncate(false).write(true).open(path);
            let file = file.map_err(DevError::file("cannot open the lock", path))?;
            match file.try_lock() {
                Ok(()) => (),
                Err(TryLockError::WouldBlock) => {
                    // The standard library waits for a lock without a limit; flock(1) has one.
                    let seconds = limit.as_secs().to_string();
                    let mut wait = Command::new("flock");
                    wait.args(["--timeout", &seconds]).arg(path).arg("true");
                    let status = wait.stdin(Stdio::null()).status();
                    let status = status.map_err(|err| DevError::Program { program: "flock".to_owned(), err })?;
                    if !status.success() {
                        return Err(in_use());
                    }
                    continue;
                }
                Err(TryLockError::Error(err)) => return Err(DevError::file("cannot lock", path)(err)),
            }
            // The holder before us may have removed the file: then this lock is on a file that nobody else can see.
            let ours = file.metadata().map_err(DevError::file("cannot look at", path))?;
            match fs::metadata(path) {
                Ok(seen) if (seen.dev(), seen.ino()) == (ours.dev(), ours.ino()) => {
                    return Ok(Lock { file, path: path.to_owned() });
                }
                Ok(_) => (),
                Err(err) if err.kind() == io::ErrorKind::NotFound => (),
                Err(err) => return Err(DevError::file("cannot look at", path)(err)),
            }
        }
        Err(in_use())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A standard stream for a child that is to hold the lock as long as it lives.
    pub(crate) fn lend(&self) -> Result<Stdio, DevError> {
        self.file.try_clone().map(Stdio::from).map_err(DevError::file("cannot duplicate the lock", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("m1.lock");
        let first = Lock::take(&path, IN_USE_LIMIT).expect("the lock is free");
        let err = Lock::take(&path, Duration::from_secs(1)).expect_err("the lock is taken").to_string();
        assert!(err.contains("m1.lock` is in use by another process, which did not end within 1s"), "{err}");

        // A child that the lock was lent to holds it when we are gone, and until it ends.
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(first.lend().expect("descriptors are left"));
        let mut child = command.spawn().expect("cat starts");
        drop(command); // It has the descriptor, too.
        drop(first);
        Lock::take(&path, Duration::from_secs(1)).expect_err("the child holds the lock");
        drop(child.stdin.take());
        let second = Lock::take(&path, IN_USE_LIMIT).expect("the child ends with its input");

        // A lock file that was removed protects nothing, and is not mistaken for the new one.
        fs::remove_file(&path).expect("the file is there");
        let third = Lock::take(&path, IN_USE_LIMIT).expect("a new file has a new lock");
        assert!(path.exists());
        drop((second, third));
        child.wait().expect("cat is our child");
    }
}
