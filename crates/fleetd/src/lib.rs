//! The daemon of fleet: what every machine runs.
//!
//! A library and a program of three lines, so that the simulator can run the very shells that the program runs. Reading
//! order: `daemon` (wiring) and [`parts`] (what is started when), [`view`] (the one picture of the cluster), [`engine`] and
//! [`agent`] (the shells of the two event machines), [`presence`], [`guard`] (a second program in this one), `api`.

pub mod agent;
mod api;
mod args;
pub mod clock;
mod config;
mod daemon;
mod descriptors;
pub mod engine;
mod exec;
pub mod guard;
mod host;
mod journal;
pub mod leave;
mod listen;
mod logging;
mod measured;
mod metrics;
mod nudge;
mod orders;
pub mod parts;
pub mod presence;
mod recent;
mod reload;
mod tls;
pub mod view;

use std::process::ExitCode;

pub use api::Api;

/// The program: reads the command line, runs until it is told to end, and gives the exit code.
pub fn main() -> ExitCode {
    let args = args::parse();
    if let Some(folder) = args.man {
        return match args::write_man_page(&folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(err) => fail(&err),
        };
    }
    if let Some(folder) = args.guard {
        logging::start(0);
        return match guard::run(&folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(err) => fail(&err),
        };
    }
    let read: reload::Read = Box::new(move || {
        config::Settings::collect(args.config.as_deref(), std::env::vars(), args.flags.clone())
            .and_then(config::Settings::check)
    });
    let config = match read() {
        Ok(config) => config,
        Err(err) => return fail(&err),
    };
    let verbosity = logging::start(config.verbosity);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => return fail(&err),
    };
    match runtime.block_on(daemon::run(config, read, verbosity)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => fail(&err),
    }
}

/// Prints an error with its causes. Exit code 1: it could not start or go on.
#[expect(clippy::print_stderr, reason = "the one place that prints; the log may not be there yet")]
fn fail(err: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {err}");
    let mut cause = err.source();
    while let Some(err) = cause {
        eprintln!("  cause: {err}");
        cause = err.source();
    }
    ExitCode::FAILURE
}
