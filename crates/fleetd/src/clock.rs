//! The one place where the time is asked for.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fleet_core::model::Timestamp;
use tokio::time::Instant;

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
