//! The guard's process. It knows nothing of the cluster: only the file, the time, and the systemd that runs it.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use sd_notify::NotifyState;

use super::deadline::{self, BootTime, Over, Watch};
use crate::clock;

/// Why a guard could not stand, or not any longer.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The file is no permit. Not an error of the guard, but whoever starts it has to know.
    #[error("the guard does not stand")]
    Over(#[source] Over),
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("cannot wait for changes in {path}")]
    Watch {
        path: PathBuf,
        #[source]
        err: Errno,
    },
    #[error("cannot wait for the deadline")]
    Timer(#[source] Errno),
}

/// Stands guard until the deadline in this folder comes, or says that it cannot.
///
/// # Errors
/// It ended, or never stood, for another reason than that the deadline came or was taken back.
pub fn run(folder: &Path) -> Result<(), GuardError> {
    let news = listen(folder).map_err(|err| GuardError::Watch { path: folder.to_owned(), err })?;
    let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK);
    let timer = timer.map_err(GuardError::Timer)?;
    let mut stands = false;
    loop {
        let path = folder.join(deadline::FILE);
        let content = read(&path).map_err(|err| GuardError::Read { path, err })?;
        match deadline::judge(content.as_deref(), clock::boot_time()) {
            Ok(watch) => {
                tell(watch, stands);
                stands = true;
                wait(&news, &timer, watch.wake_at)?;
            }
            Err(over @ (Over::Passed { .. } | Over::Withdrawn)) if stands => {
                tracing::warn!("the guard ends, and systemd stops the units that are bound to it: {over}");
                return Ok(());
            }
            Err(over) => return Err(GuardError::Over(over)),
        }
    }
}

/// Hears of all that may happen to the file, and of the folder's end.
fn listen(folder: &Path) -> Result<Inotify, Errno> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let written = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE;
    let taken = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM;
    let folder_gone = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
    inotify.add_watch(folder, written | taken | folder_gone | AddWatchFlags::IN_ONLYDIR)?;
    Ok(inotify)
}

/// What the file says; `None` if it is not there.
fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

/// Tells systemd that the guard stands, and when to end it should it be frozen then.
fn tell(watch: Watch, stands: bool) {
    // Not more than an hour and a second: it fits.
    let watchdog_us = u32::try_from(watch.watchdog.as_micros()).unwrap_or(u32::MAX);
    let mut state = vec![NotifyState::Watchdog, NotifyState::WatchdogUsec(watchdog_us)];
    if !stands {
        state.insert(0, NotifyState::Ready);
    }
    if let Err(err) = sd_notify::notify(&state) {
        // systemd goes by what it heard last, and that is no later.
        tracing::warn!(error = %err, "cannot tell systemd until when the guard stands");
    }
}

/// Waits until the file may have changed or the moment has come.
fn wait(news: &Inotify, timer: &TimerFd, wake_at: BootTime) -> Result<(), GuardError> {
    let ms = i64::try_from(wake_at.0).unwrap_or(i64::MAX);
    // A moment and no span: one that has passed wakes at once, as after a suspend.
    let moment = TimeSpec::new(ms / 1_000, ms % 1_000 * 1_000_000);
    timer.set(Expiration::OneShot(moment), TimerSetTimeFlags::TFD_TIMER_ABSTIME).map_err(GuardError::Timer)?;
    let mut both = [news.as_fd(), timer.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    match poll(&mut both, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => (),
        Err(err) => return Err(GuardError::Timer(err)),
    }
    // What happened does not matter, only that it is not told again.
    match news.read_events() {
        Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
        Err(err) => Err(GuardError::Timer(err)),
    }
}
