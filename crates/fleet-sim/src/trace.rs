//! What happened, in words: who did what at which simulated time.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fleet_core::model::Timestamp;
use tokio::time::Instant;

/// The lines of one run. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    origin: Instant,
    /// What the daemons' clocks showed then.
    origin_at: Timestamp,
    /// `None` if nobody wants to read it: then no line is made.
    lines: Option<Arc<Mutex<Vec<String>>>>,
}

impl Trace {
    /// A trace that begins now; an empty one if it is not wanted.
    pub(crate) fn new(wanted: bool) -> Trace {
        Trace { origin: Instant::now(), origin_at: fleetd::clock::now(), lines: wanted.then(Arc::default) }
    }

    /// Milliseconds since the beginning.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Adds a line, if the trace is wanted.
    pub(crate) fn say(&self, who: &str, what: impl FnOnce() -> String) {
        if let Some(lines) = &self.lines {
            let now_ms = self.now_ms();
            lock(lines).push(format!("{:>4}.{:03} {who:<6} {}", now_ms / 1_000, now_ms % 1_000, what()));
        }
    }

    /// All lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.as_ref().map(|lines| lock(lines).clone()).unwrap_or_default()
    }

    /// Takes in what the daemons log, from now on and on this thread, until the guard is dropped.
    pub(crate) fn take_in_logs(&self) -> Option<tracing::subscriber::DefaultGuard> {
        self.lines.as_ref()?;
        let trace = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || Log(trace.clone()))
            .with_ansi(false)
            .with_target(false)
            .with_max_level(tracing::Level::DEBUG)
            .without_time()
            .finish();
        Some(tracing::subscriber::set_default(subscriber))
    }
}

fn lock(lines: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts log lines into the trace.
struct Log(Trace);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.say("log", || since_begin(String::from_utf8_lossy(bytes).trim(), self.0.origin_at));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line with its moments (`Timestamp(1790000000000)`) counted from the beginning: so they can be compared with the other
/// lines, and with those of another run.
fn since_begin(line: &str, begin: Timestamp) -> String {
    const MARK: &str = "Timestamp(";
    let mut parts = line.split(MARK);
    let mut counted = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_at(part.find(')').unwrap_or_default());
        let at_ms: Option<u64> = number.parse().ok();
        let since = at_ms.map_or(number.to_owned(), |at_ms| at_ms.saturating_sub(begin.0).to_string());
        counted.extend([MARK, &since, rest]);
    }
    counted
}
