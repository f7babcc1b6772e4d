//! The one place where the time is asked for.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fleet_core::model::Timestamp;
use nix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use crate::guard::BootTime;

/// Now, in the time of the runtime: it never goes back, and in a simulation it is the simulated time.
///
/// It is the system's time at the first call plus what has passed since; setting the system's clock later does not move it,
/// so no pause of ours becomes longer or shorter by that.
pub fn now() -> Timestamp {
    static FIRST: OnceLock<(Instant, u64)> = OnceLock::new();
    let (at, epoch_ms) = FIRST.get_or_init(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (Instant::now(), u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    });
    let passed = Instant::now().saturating_duration_since(*at);
    Timestamp(*epoch_ms).plus_ms(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
}

/// How long it is until `at`; nothing if that is past.
pub fn until(at: Timestamp) -> Duration {
    Duration::from_millis(at.0.saturating_sub(now().0))
}

/// A clock that goes on while the machine is suspended and that nobody can set: [`boot_time`], or the simulated one.
pub type BootClock = fn() -> BootTime;

/// Now, on the clock that goes on while the machine is suspended and that nobody can set. All processes of one boot share it.
pub fn boot_time() -> BootTime {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has had this clock since 2.6.39");
    let ms = |number: i64| u64::try_from(number).unwrap_or_default();
    BootTime(ms(now.tv_sec()) * 1_000 + ms(now.tv_nsec()) / 1_000_000)
}
