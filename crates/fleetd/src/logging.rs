//! The log: to the journal with its fields when systemd started us, else to stderr.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Registry, reload};

/// Changes how much is logged.
pub struct Verbosity(reload::Handle<Targets, Registry>);

impl Verbosity {
    /// 0 info, 1 debug, 2 everything.
    pub fn set(&self, verbosity: u64) {
        if let Err(err) = self.0.reload(targets(verbosity)) {
            tracing::error!(error = %err, "cannot change what is logged");
        }
    }
}

/// Starts it. `verbosity`: 0 info, 1 debug, 2 everything.
pub fn start(verbosity: u64) -> Verbosity {
    let (ours, handle) = reload::Layer::new(targets(verbosity));
    let registry = tracing_subscriber::registry().with(ours);
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    match journal {
        Some(journal) => registry.with(journal).init(),
        None => {
            let stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
            registry.with(stderr.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))).init();
        }
    }
    Verbosity(handle)
}

/// Only our own rooms: what libraries say below warnings is for their authors.
fn targets(verbosity: u64) -> Targets {
    let level = match verbosity {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let ours = ["fleetd", "fleet_store", "fleet_systemd", "fleet_core"].map(|target| (target, level));
    Targets::new().with_default(LevelFilter::WARN).with_targets(ours)
}
