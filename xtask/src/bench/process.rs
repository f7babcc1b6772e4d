//! What the kernel says about the CPU time of processes.

use std::path::Path;
use std::time::Duration;

use crate::run::ChoreError;

/// Ticks in a second, in which the kernel counts for `/proc/PID/stat`.
///
/// Source: `USER_HZ` of Linux, 100 on every architecture that Rust programs run systemd on; proc(5).
const TICKS_PER_SECOND: u64 = 100;

/// CPU time of a process so far, in user and kernel mode, all threads, also ended ones; to 10 ms.
pub fn cpu(pid: u32) -> Result<Duration, ChoreError> {
    let fields = stat(&pid.to_string())?;
    Ok(ticks(field(&fields, UTIME)? + field(&fields, STIME)?))
}

/// The same of all children of this process that have ended and been waited for.
pub fn children_cpu() -> Result<Duration, ChoreError> {
    let fields = stat("self")?;
    Ok(ticks(field(&fields, CUTIME)? + field(&fields, CSTIME)?))
}

/// How often the threads of a process have waited for something and been woken so far. Those of ended threads are not counted.
pub fn wakeups(pid: u32) -> Result<u64, ChoreError> {
    let path = Path::new("/proc").join(pid.to_string()).join("task");
    let cannot = |err: std::io::Error| ChoreError::Other(format!("cannot read {}: {err}", path.display()));
    let mut total = 0;
    for thread in std::fs::read_dir(&path).map_err(cannot)? {
        // A thread may end between the two reads.
        let Ok(status) = std::fs::read_to_string(thread.map_err(cannot)?.path().join("status")) else { continue };
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        total += count.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(total)
}

/// Where fields stand in `/proc/PID/stat`, counted from the one after the program's name. Source: proc(5), fields 14 to 17.
const UTIME: usize = 11;
const STIME: usize = 12;
const CUTIME: usize = 13;
const CSTIME: usize = 14;

fn stat(pid: &str) -> Result<Vec<String>, ChoreError> {
    let path = Path::new("/proc").join(pid).join("stat");
    let text = std::fs::read_to_string(&path)
        .map_err(|err| ChoreError::Other(format!("cannot read {}: {err}", path.display())))?;
    // The name may contain spaces and parentheses; the last parenthesis ends it.
    let fields = text.rsplit_once(')').map(|(_, fields)| fields.split_whitespace().map(str::to_owned).collect());
    fields.ok_or_else(|| ChoreError::Other(format!("{} is not as proc(5) says: {text}", path.display())))
}

fn field(fields: &[String], idx: usize) -> Result<u64, ChoreError> {
    let value = fields.get(idx).and_then(|text| text.parse().ok());
    value.ok_or_else(|| ChoreError::Other(format!("a stat file of /proc has no number as its field {}", idx + 3)))
}

fn ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_time_grows() {
        let pid = std::process::id();
        let before = cpu(pid).expect("/proc is there");
        while cpu(pid).expect("/proc is there") == before {
            std::hint::black_box((0..100_000_u64).sum::<u64>());
        }
    }
}
