//! A cell: a cgroup of ours for one machine or one `fleetd`, with a warden that takes all of it down.
//!
//! A cell ends when it is closed, when it is dropped, and when our process dies in whatever way: the warden (see
//! `scripts/warden.sh`) sees the end of a pipe in each of these cases and does the same. Only if the warden itself is
//! killed together with us something stays; the first cell of the next process finds that by its name and removes it.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::DevError;
use crate::host::{Host, How, MACHINE_PATH, start_ticks};
use crate::lock::Lock;

const JOIN: &str = include_str!("scripts/join.sh");
const WARDEN: &str = include_str!("scripts/warden.sh");

/// How long a warden tries to end what is in its cell before it gives up and says what is left.
///
/// `ROUNDS` in `scripts/warden.sh` times its pause. Usual are some 20 ms: everything is killed with -9.
pub const CELL_END_LIMIT: Duration = Duration::from_secs(10);

/// How the names of our cgroups begin; the rest is [`Owner`] and a number.
const PREFIX: &str = "fleet-dev-";

/// A cgroup in each hierarchy, and who cleans up there.
#[derive(Debug)]
pub(crate) struct Cell {
    /// For messages: "machine `m1`".
    what: String,
    name: String,
    how: How,
    cgroups: Vec<PathBuf>,
    warden: Option<Warden>,
}

#[derive(Debug)]
struct Warden {
    child: Child,
    /// The pipe whose end is the order.
    lifeline: ChildStdin,
}

/// Whether closing a cell removes the folders it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folders {
    Remove,
    Keep,
}

impl Cell {
    /// Makes the cgroups and starts the warden, which is to remove `remove` at the end, and `lock` after that; it holds
    /// the lock until then.
    pub(crate) fn open(host: &Host, what: &str, remove: &[PathBuf], lock: Option<&Lock>) -> Result<Cell, DevError> {
        static SWEEP: Once = Once::new();
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        SWEEP.call_once(|| sweep(host));

        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // journald takes unit names from cgroup paths and jumps over slices only, so a cell of root's is called one.
        let suffix = match host.how {
            How::Root => "slice",
            How::User { .. } => "scope",
        };
        let name = format!("{PREFIX}{}-{number}.{suffix}", Owner::ourselves()?.text());
        let cgroups: Vec<PathBuf> = host.cgroup_parents().iter().map(|parent| parent.join(&name)).collect();
        // The warden first: whatever happens from here on, it removes.
        let warden = Some(Warden::start(&cgroups, remove, lock)?);
        let cell = Cell { what: what.to_owned(), name, how: host.how.clone(), cgroups, warden };
        if cell.how == How::Root {
            for path in &cell.cgroups {
                fs::create_dir(path).map_err(|err| DevError::Cgroup { path: path.clone(), err })?;
            }
        }
        Ok(cell)
    }

    /// A command that runs `program` in this cell, in a process group of its own so that Ctrl-C does not reach it.
    ///
    /// As an ordinary user only once per cell, since a scope lives as long as its first processes.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command;
        match self.how {
            How::Root => {
                command = Command::new("sh");
                command.args(["-c", JOIN, "fleet-dev-join", &self.cgroups.len().to_string()]);
                command.args(self.cgroups.iter().map(|cgroup| cgroup.join("cgroup.procs")));
            }
            How::User { .. } => {
                command = Command::new("systemd-run");
                command.args(["--user", "--scope", "--quiet", "--collect", "--property=Delegate=yes"]);
                command.args(["--slice=app.slice", "--unit", &self.name, "--"]);
            }
        }
        command.arg(program).process_group(0);
        command
    }

    /// The cell's cgroup v2 folder, if the box has that hierarchy.
    pub(crate) fn unified(&self, host: &Host) -> Option<PathBuf> {
        host.unified.as_ref().and(self.cgroups.first().cloned())
    }

    /// Kills everything in the cell at once and removes it; returns when it is gone.
    pub(crate) fn close(mut self, folders: Folders) -> Result<(), DevError> {
        self.end(folders)
    }

    fn end(&mut self, folders: Folders) -> Result<(), DevError> {
        match self.warden.take() {
            Some(warden) => warden.end(&self.what, folders),
            None => Ok(()),
        }
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        if let Err(err) = self.end(Folders::Remove) {
            tracing::error!(%err, "a cell did not end");
        }
    }
}

impl Warden {
    fn start(cgroups: &[PathBuf], remove: &[PathBuf], lock: Option<&Lock>) -> Result<Warden, DevError> {
        let mut command = Command::new("sh");
        // The script is in the environment so that `ps` shows what the warden is for and not three pages of it.
        command.args(["-c", "eval \"$WARDEN\"", "fleet-dev-warden"]).args(cgroups).arg("--");
        command.arg(lock.map_or(Path::new(""), Lock::path)).args(remove);
        command.env_clear().env("PATH", MACHINE_PATH).env("WARDEN", WARDEN).current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // Standard error is silent, it only carries the lock: so the lock ends with the warden and not before.
        command.stderr(lock.map_or_else(|| Ok(Stdio::null()), Lock::lend)?);
        let failed = |err| DevError::Program { program: "sh".to_owned(), err };
        let mut child = command.spawn().map_err(failed)?;
        match child.stdin.take() {
            Some(lifeline) => Ok(Warden { child, lifeline }),
            None => Err(failed(io::Error::other("it has no standard input"))),
        }
    }

    fn end(self, what: &str, folders: Folders) -> Result<(), DevError> {
        let Warden { mut child, mut lifeline } = self;
        let left = |left: String| DevError::Left { what: what.to_owned(), left };
        if folders == Folders::Keep {
            lifeline.write_all(b"keep\n").map_err(|err| left(format!("unknown, its warden is gone: {err}")))?;
        }
        drop(lifeline);
        let mut said = String::new();
        if let Some(mut stdout) = child.stdout.take() {
            stdout.read_to_string(&mut said).map_err(|err| left(format!("unknown, cannot hear its warden: {err}")))?;
        }
        let status = child.wait().map_err(|err| left(format!("unknown, cannot wait for its warden: {err}")))?;
        if status.success() {
            return Ok(());
        }
        Err(left(if said.is_empty() {
            format!("unknown, its warden ended with {status}")
        } else {
            said.trim().to_owned()
        }))
    }
}

/// Removes the cgroups of processes like ours that are gone together with their wardens.
fn sweep(host: &Host) {
    let mut stale = Vec::new();
    for parent in host.cgroup_parents() {
        let Ok(entries) = fs::read_dir(&parent) else { continue }; // Whoever needs it next says so better.
        for entry in entries.flatten() {
            let owner = entry.file_name().to_str().and_then(Owner::of_cgroup);
            if owner.is_some_and(|owner| owner.is_gone()) {
                stale.push(entry.path());
            }
        }
    }
    if stale.is_empty() {
        return;
    }
    tracing::info!(?stale, "removing what a killed process left");
    let swept = Warden::start(&stale, &[], None).and_then(|warden| warden.end("an older cell", Folders::Remove));
    if let Err(err) = swept {
        tracing::warn!(%err, "cannot remove what a killed process left");
    }
}

/// A process, named so that the name is never right for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    /// Inode of its PID namespace: the same number is another process in another namespace.
    pid_namespace: u64,
    pid: u32,
    start_ticks: u64,
}

impl Owner {
    fn ourselves() -> Result<Owner, DevError> {
        let pid = std::process::id();
        let stat = Path::new("/proc/self/stat");
        let ticks = start_ticks(pid).map_err(DevError::file("cannot read", stat))?;
        Ok(Owner { pid_namespace: pid_namespace()?, pid, start_ticks: ticks.unwrap_or_default() })
    }

    fn text(self) -> String {
        format!("{}-{}-{}", self.pid_namespace, self.pid, self.start_ticks)
    }

    /// The owner of a cgroup of that name; `None` if it is none of ours.
    fn of_cgroup(name: &str) -> Option<Owner> {
        let (numbers, _suffix) = name.strip_prefix(PREFIX)?.split_once('.')?;
        let mut numbers = numbers.split('-').map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        let owner = Owner { pid_namespace: next()?, pid: u32::try_from(next()?).ok()?, start_ticks: next()? };
        let (_number, None) = (next()?, next()) else { return None };
        Some(owner)
    }

    /// True only if that is certain: processes of other PID namespaces cannot be seen.
    fn is_gone(self) -> bool {
        pid_namespace().is_ok_and(|own| own == self.pid_namespace)
            && start_ticks(self.pid).is_ok_and(|ticks| ticks != Some(self.start_ticks))
    }
}

fn pid_namespace() -> Result<u64, DevError> {
    let path = Path::new("/proc/self/ns/pid");
    let metadata = fs::metadata(path).map_err(DevError::file("cannot look at", path))?;
    Ok(metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        let own = Owner::ourselves().expect("/proc is there");
        let name = format!("{PREFIX}{}-7.slice", own.text());
        assert_eq!(Owner::of_cgroup(&name), Some(own));
        assert!(!own.is_gone());
        assert!(Owner { start_ticks: own.start_ticks + 1, ..own }.is_gone(), "the number was given to another process");
        assert!(Owner { pid: u32::MAX, ..own }.is_gone());
        assert!(!Owner { pid: u32::MAX, pid_namespace: 1, ..own }.is_gone(), "cannot be known");
        for other in
            ["fleet-dev-1-2-3.slice", "fleet-dev-1-2-3-x.slice", "fleet-dev-1-2-3-4-5.slice", "fleet-m1.slice", ""]
        {
            assert_eq!(Owner::of_cgroup(other), None, "`{other}`");
        }
    }
}
