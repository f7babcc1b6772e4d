//! The one place where the time is asked for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fleet_core::model::Timestamp;

/// Now.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// How long it is until `at`; nothing if that is past.
pub fn until(at: Timestamp) -> Duration {
    Duration::from_millis(at.0.saturating_sub(now().0))
}
