//! The daemon of fleet: what every machine runs.

mod agent;
mod api;
mod args;
mod clock;
mod config;
mod daemon;
mod engine;
mod host;
mod listen;
mod logging;
mod presence;
mod view;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args = args::parse();
    let config = config::Settings::collect(args.config.as_deref(), std::env::vars(), args.flags)
        .and_then(config::Settings::check);
    let config = match config {
        Ok(config) => config,
        Err(err) => return fail(&err),
    };
    logging::start(config.verbosity);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => return fail(&err),
    };
    match runtime.block_on(daemon::run(config)) {
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
