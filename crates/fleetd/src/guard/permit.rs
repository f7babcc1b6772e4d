//! `fleetd`'s side of the guard's file.

use std::fs;
use std::io;
use std::path::PathBuf;

use fleet_store::LeaseId;
use tokio::sync::watch;

use super::Until;
use super::deadline::{self, BootTime};

/// Where a machine's guard looks until when it may stand.
pub trait Permit: Send + Sync + 'static {
    /// Until then, and no longer.
    ///
    /// # Errors
    /// It could not be said; what was said before stays in force.
    fn extend(&self, until: BootTime) -> io::Result<()>;

    /// Not any more.
    ///
    /// # Errors
    /// It could not be said; what was said before stays in force.
    fn withdraw(&self) -> io::Result<()>;
}

/// A folder with a file in it.
#[derive(Clone, Debug)]
pub struct PermitFile {
    folder: PathBuf,
}

impl PermitFile {
    /// In this folder, which is made when it is needed: it is in `/run`, and goes when the machine does.
    pub fn new(folder: PathBuf) -> PermitFile {
        PermitFile { folder }
    }
}

impl Permit for PermitFile {
    fn extend(&self, until: BootTime) -> io::Result<()> {
        let new = self.folder.join(".new");
        // By rename, so that the guard never sees half of it. In memory (`/run`), and so without waiting for a disk.
        let write =
            || fs::write(&new, deadline::text(until)).and_then(|()| fs::rename(&new, self.folder.join(deadline::FILE)));
        match write() {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.folder)?;
                write()
            }
            other => other,
        }
    }

    fn withdraw(&self) -> io::Result<()> {
        match fs::remove_file(self.folder.join(deadline::FILE)) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// What the permit follows, and who is told of it.
pub struct Grants {
    /// From presence; `None` while the machine has no lease.
    pub until: watch::Receiver<Option<Until>>,
    /// From the agent's shell: see [`super::Post::admitted`].
    pub admitted: watch::Receiver<Option<LeaseId>>,
    /// For the agent's shell: see [`super::Post::granted`].
    pub granted: watch::Sender<Option<Until>>,
}

impl Grants {
    /// Keeps the permit in line with the lease, until dropped.
    ///
    /// It is not extended for a lease that this machine's orders have not been read under. The last word of an earlier
    /// `fleetd` is left to run out until then: the machine may well have had its lease all the time.
    pub async fn keep(mut self, permit: &dyn Permit) {
        let mut had_lease = false;
        loop {
            let (until, read_under) = (*self.until.borrow_and_update(), *self.admitted.borrow_and_update());
            let granted = until.filter(|until| read_under == Some(until.lease));
            let told = match (granted, until) {
                (Some(granted), _) => permit.extend(granted.at),
                // The lease ran out under this process; a first one may still be to come.
                (None, None) if had_lease => permit.withdraw(),
                (None, _) => Ok(()),
            };
            had_lease |= until.is_some();
            match told {
                Ok(()) => drop(self.granted.send_replace(granted)),
                Err(err) => tracing::warn!(error = %err, "cannot tell the guard how long this machine has its lease"),
            }
            tokio::select! {
                // In this order, so that equal happenings give an equal run.
                biased;
                Ok(()) = self.until.changed() => (),
                Ok(()) = self.admitted.changed() => (),
                // Nothing can change any more.
                else => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn the_file_is_whole_or_not_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let permit = PermitFile::new(folder.path().join("not/there/yet"));
        permit.withdraw().expect("nothing to take away");
        let read = || fs::read_to_string(folder.path().join("not/there/yet").join(deadline::FILE));
        for ms in [7, 12] {
            permit.extend(BootTime(ms)).expect("written");
            assert_eq!(read().expect("there"), deadline::text(BootTime(ms)));
        }
        permit.withdraw().expect("taken away");
        assert_eq!(read().expect_err("gone").kind(), io::ErrorKind::NotFound);
        // The machine was off meanwhile, and its `/run` is a new one.
        fs::remove_dir_all(folder.path().join("not")).expect("removed");
        permit.extend(BootTime(20)).expect("written");
        assert_eq!(read().expect("there"), deadline::text(BootTime(20)));
    }

    #[derive(Default)]
    struct Said(Mutex<Vec<String>>);

    impl Permit for Said {
        fn extend(&self, until: BootTime) -> io::Result<()> {
            self.0.lock().expect("no panic").push(until.0.to_string());
            Ok(())
        }

        fn withdraw(&self) -> io::Result<()> {
            self.0.lock().expect("no panic").push("withdrawn".to_owned());
            Ok(())
        }
    }

    /// A new lease is no permit before the orders have been read under it; the last word of an earlier `fleetd` stays.
    #[tokio::test(start_paused = true)]
    async fn only_for_a_lease_that_the_orders_were_read_under() {
        let (until_tx, until) = watch::channel(None);
        let (admitted_tx, admitted) = watch::channel(None);
        let (granted, mut granted_rx) = watch::channel(None);
        let said = Said::default();
        let tell = |lease, ms| until_tx.send_replace(Some(Until { lease: LeaseId(lease), at: BootTime(ms) }));
        let steps = async {
            let settle = || tokio::time::sleep(std::time::Duration::from_millis(1));
            settle().await;
            tell(1, 10);
            settle().await;
            assert_eq!(*granted_rx.borrow_and_update(), None);
            admitted_tx.send_replace(Some(LeaseId(1)));
            settle().await;
            tell(1, 20);
            settle().await;
            assert_eq!(granted_rx.borrow_and_update().map(|until: Until| until.at), Some(BootTime(20)));
            until_tx.send_replace(None);
            settle().await;
            assert_eq!(*granted_rx.borrow_and_update(), None);
            tell(2, 30);
            settle().await;
            tell(2, 40);
            settle().await;
            admitted_tx.send_replace(Some(LeaseId(2)));
            settle().await;
        };
        tokio::select! {
            () = Grants { until, admitted, granted }.keep(&said) => (),
            () = steps => (),
        }
        assert_eq!(said.0.into_inner().expect("no panic"), ["10", "20", "withdrawn", "40"]);
    }
}
