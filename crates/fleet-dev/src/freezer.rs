//! Hanging all processes of a cell, and letting them go on.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::DevError;
use crate::cell::Cell;
use crate::host::Host;

/// How long all processes of a machine may take to stand still or to move again.
pub const FREEZE_LIMIT: Duration = Duration::from_secs(10);

/// Freezes or thaws all processes of the machine `name`, and waits until that is so.
pub(crate) fn set_frozen(cell: &Cell, host: &Host, name: &str, frozen: bool) -> Result<(), DevError> {
    let Some(cgroup) = cell.unified(host) else { return Err(DevError::NoFreezer { name: name.to_owned() }) };
    let switch = cgroup.join("cgroup.freeze");
    fs::write(&switch, if frozen { "1" } else { "0" }).map_err(DevError::file("cannot write", &switch))?;
    let expected = if frozen { "frozen 1" } else { "frozen 0" };
    let what = if frozen { "freezing" } else { "thawing" };
    if wait_for_line(&cgroup.join("cgroup.events"), expected, FREEZE_LIMIT)? {
        return Ok(());
    }
    Err(DevError::Freezer { what, name: name.to_owned(), limit: FREEZE_LIMIT })
}

/// Waits until the cgroup events file `path` has the line `expected`; false after `limit`.
///
/// The kernel reports changes of that file as urgent data to poll(2): cgroups(7), "cgroup.events".
fn wait_for_line(path: &Path, expected: &str, limit: Duration) -> Result<bool, DevError> {
    let deadline = Instant::now() + limit;
    loop {
        // Opened anew each time: poll reports what changed since the last read of that open file.
        let mut file = File::open(path).map_err(DevError::file("cannot open", path))?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(DevError::file("cannot read", path))?;
        if text.lines().any(|line| line == expected) {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLPRI)], timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => (),
            Err(err) => return Err(DevError::file("cannot wait for", path)(err.into())),
        }
    }
}
