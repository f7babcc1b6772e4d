//! The file between `fleetd` and the guard, and what the guard makes of it.

use std::time::Duration;

/// The file's name in the guard's folder.
pub const FILE: &str = "deadline";

/// A deadline further ahead than this was not written by `fleetd`. As `agent_ttl`, which is limited to the same.
pub const AHEAD_MAX: Duration = Duration::from_secs(60 * 60);

/// How long after the deadline systemd ends a guard that has not ended by itself.
///
/// Part of the sum in `docs/isolation.md`. Longer than a busy machine takes to run a process that woke up, so that the
/// guard usually ends by itself and says why.
pub const WATCHDOG_MARGIN: Duration = Duration::from_secs(1);

/// Closer to the deadline than this the guard waits for it and does not look at the file in between.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// What the file's only line begins with. The rest is the deadline, in decimal digits.
const KEY: &str = "boottime_ms=";

/// A moment, in milliseconds since the machine was booted, those counted in which it was suspended (CLOCK_BOOTTIME).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(pub u64);

impl BootTime {
    /// That much later.
    pub fn plus(self, time: Duration) -> BootTime {
        BootTime(self.0.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long it is from `earlier` to this; nothing if that is the later one.
    pub fn since(self, earlier: BootTime) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Why the guard ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Over {
    /// It does what it is there for.
    #[error("the lease was not renewed in time: the deadline was {} ms ago", .late.as_millis())]
    Passed {
        /// How long ago.
        late: Duration,
    },
    /// `fleetd` took the file away: the lease is gone.
    #[error("the machine's lease is gone")]
    Withdrawn,
    /// What lies there was not written by `fleetd`, or cannot be read.
    #[error("no deadline can be read: {reason}")]
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
}

/// What the guard has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// When to look at the file again, if nothing is heard of it before.
    pub wake_at: BootTime,
    /// After how long systemd has to end the guard, if it does not say otherwise before.
    pub watchdog: Duration,
}

/// The content of the file.
pub fn text(deadline: BootTime) -> String {
    format!("{KEY}{}\n", deadline.0)
}

/// What follows from the file's content (`None`: there is none) at this moment.
///
/// Changes are told by the kernel. Should it lose one, half of what was left is still there when the guard looks by itself.
///
/// # Errors
/// The guard ends. All that is not a deadline ahead of `now` is such a reason.
pub fn judge(content: Option<&str>, now: BootTime) -> Result<Watch, Over> {
    let content = content.ok_or(Over::Withdrawn)?;
    let deadline = parse(content)?;
    let left = deadline.since(now);
    if left.is_zero() {
        return Err(Over::Passed { late: now.since(deadline) });
    }
    if AHEAD_MAX < left {
        return Err(Over::Unreadable { reason: format!("it is {} s ahead", left.as_secs()) });
    }
    let wake_at = if left <= LAST_LOOK { deadline } else { now.plus(left / 2) };
    Ok(Watch { wake_at, watchdog: left + WATCHDOG_MARGIN })
}

fn parse(content: &str) -> Result<BootTime, Over> {
    let digits = content.strip_prefix(KEY).and_then(|rest| rest.strip_suffix('\n'));
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let deadline = digits.and_then(|digits| digits.parse().ok()).map(BootTime);
    deadline.ok_or_else(|| Over::Unreadable { reason: format!("the file says {content:?}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What follows at `now_ms`, in words.
    fn judged(content: &str, now_ms: u64) -> String {
        match judge(Some(content), BootTime(now_ms)) {
            Ok(Watch { wake_at, watchdog }) => format!("look at {}, watchdog {} ms", wake_at.0, watchdog.as_millis()),
            Err(over) => over.to_string(),
        }
    }

    #[test]
    fn it_ends_at_the_deadline_and_looks_before() {
        let file = text(BootTime(100_000));
        assert_eq!(file, "boottime_ms=100000\n");
        assert_eq!(judged(&file, 70_000), "look at 85000, watchdog 31000 ms");
        assert_eq!(judged(&file, 97_999), "look at 98999, watchdog 3001 ms");
        assert_eq!(judged(&file, 98_000), "look at 100000, watchdog 3000 ms");
        assert_eq!(judged(&file, 99_999), "look at 100000, watchdog 1001 ms");
        assert_eq!(judged(&file, 100_000), "the lease was not renewed in time: the deadline was 0 ms ago");
        // As after a suspend, which this clock counts.
        assert_eq!(judged(&file, 9_100_000), "the lease was not renewed in time: the deadline was 9000000 ms ago");
    }

    #[test]
    fn whatever_is_no_deadline_ends_it() {
        assert_eq!(judge(None, BootTime(0)), Err(Over::Withdrawn));
        let garbage = [
            "",
            "boottime_ms=",
            "boottime_ms=\n",
            "boottime_ms=100000",
            "boottime_ms=100000\n\n",
            "boottime_ms=+100000\n",
            " boottime_ms=100000\n",
            "boottime_ms=99999999999999999999999999\n",
            "boottime_ms=1e5\n",
            "\0",
        ];
        for content in garbage {
            assert!(matches!(judge(Some(content), BootTime(0)), Err(Over::Unreadable { .. })), "{content:?}");
        }
    }

    /// A file that outlived a reboot, or was written by hand.
    #[test]
    fn no_deadline_is_further_ahead_than_a_lease_lives() {
        let at = |ms| judged(&text(BootTime(ms)), 1_000);
        assert_eq!(at(3_601_000), "look at 1801000, watchdog 3601000 ms");
        assert_eq!(at(3_602_000), "no deadline can be read: it is 3601 s ahead");
        assert_eq!(at(u64::MAX), "no deadline can be read: it is 18446744073709550 s ahead");
    }
}
