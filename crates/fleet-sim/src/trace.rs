//! What happened, in words: who did what at which simulated time.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// The lines of one run. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    origin: Instant,
    /// `None` if nobody wants to read it: then no line is made.
    lines: Option<Arc<Mutex<Vec<String>>>>,
}

impl Trace {
    /// A trace that begins now; an empty one if it is not wanted.
    pub(crate) fn new(wanted: bool) -> Trace {
        Trace { origin: Instant::now(), lines: wanted.then(Arc::default) }
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
        self.0.say("log", || String::from_utf8_lossy(bytes).trim().to_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
