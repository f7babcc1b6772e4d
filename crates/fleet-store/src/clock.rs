//! Time as a store sees it: only distances count, and a test may drive it.
//!
//! Leases are the only thing in a store that time changes. Both stores here ask a [`Clock`], so that a simulation can let
//! an hour pass in no time, and so that no test waits for a lease in earnest.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

/// A clock that only goes forward.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The time since the clock's own beginning.
    fn now(&self) -> Duration;

    /// Returns when `now` is at or past `at`.
    async fn sleep_until(&self, at: Duration);
}

/// The runtime's clock (monotonic; a suspended machine's clock stands still).
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: tokio::time::Instant,
}

impl Default for TokioClock {
    fn default() -> TokioClock {
        TokioClock { origin: tokio::time::Instant::now() }
    }
}

#[async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    async fn sleep_until(&self, at: Duration) {
        tokio::time::sleep_until(self.origin + at).await;
    }
}

/// A clock that stands still until it is told to go on.
#[derive(Debug)]
pub struct ManualClock {
    now: watch::Sender<Duration>,
}

impl Default for ManualClock {
    fn default() -> ManualClock {
        ManualClock { now: watch::Sender::new(Duration::ZERO) }
    }
}

impl ManualClock {
    /// Lets time pass and wakes who waited for it.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now += by);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Duration {
        *self.now.borrow()
    }

    async fn sleep_until(&self, at: Duration) {
        let mut now = self.now.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = now.wait_for(|&now| at <= now).await;
    }
}

/// Waits until the nearest of the leases' `deadlines` is reached: `true`. `false` once the store is gone.
///
/// While there is no lease this sleeps without a timer.
pub(crate) async fn lease_due(clock: &dyn Clock, deadlines: &mut watch::Receiver<Option<Duration>>) -> bool {
    loop {
        let deadline = *deadlines.borrow_and_update();
        let changed = match deadline {
            None => deadlines.changed().await,
            Some(deadline) => tokio::select! {
                // In this order, so that a simulation goes the same way each time.
                biased;
                () = clock.sleep_until(deadline) => return true,
                changed = deadlines.changed() => changed,
            },
        };
        if changed.is_err() {
            return false;
        }
    }
}
