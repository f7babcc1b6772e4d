//! Simulated clusters: the real shells and event machines of `fleetd`, on a strict store and strict systemds in memory.
//!
//! One thread, simulated time, and everything that chance decides decided by one seed: equal seeds give equal runs, to the
//! last line of the trace. A run is a scenario (users who want things, machines, networks and daemons that fail), then calm,
//! then rest; the judge watches all of it from outside. What it judges: see `judge`. That it finds what it should: see [`Bug`]
//! and the tests.
//!
//! Reading order: `scenario` (what can happen), `driver` (how it happens), `world`, `link` and `hands` (the edge between the
//! daemons and the world), `judge`.
//!
//! Not simulated: clocks that jump or run at different rates; a store that loses what it has acknowledged or goes back in time;
//! systemd's own mistakes; the API's HTTP; disks that lose what was written (but power loss empties `/run`).

mod bug;
mod chance;
mod daemon;
mod driver;
mod gate;
mod guard;
mod hands;
mod judge;
mod link;
mod scenario;
mod trace;
mod units;
mod users;
mod weather;
mod world;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

pub use bug::Bug;
use driver::Driver;
use trace::Trace;

/// How to run a seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether the trace is wanted.
    pub trace: bool,
    /// The bug that is planted, if any.
    pub bug: Option<Bug>,
}

/// How a seed went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first thing that may not be; none if all was well.
    pub violation: Option<String>,
    /// How much time passed in the simulation, in milliseconds.
    pub simulated_ms: u64,
    /// Who did what when; empty if it was not wanted.
    pub trace: Vec<String>,
}

/// Runs one seed.
///
/// # Panics
/// When there can be no runtime, and when the simulation itself is wrong about the world.
pub fn run(seed: u64, options: Options) -> Outcome {
    // The daemons' clock begins at its first use. That must be before this run's time does, or it would stand still at first.
    fleetd::clock::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.unwrap_or_else(|err| panic!("no runtime: {err}"));
    runtime.block_on(async {
        let trace = Trace::new(options.trace);
        let _logs = trace.take_in_logs();
        let driver = Driver::new(seed, options.bug, trace.clone()).await;
        let driver = driver.unwrap_or_else(|err| panic!("a new store can be watched: {err}"));
        let ended = driver.run().await;
        Outcome { violation: ended.err(), simulated_ms: trace.now_ms(), trace: trace.lines() }
    })
}

/// How many seeds went.
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    /// The seeds that went wrong, in their order, and how.
    pub violations: Vec<(u64, String)>,
    /// How much time passed in all of them together, in milliseconds.
    pub simulated_ms: u64,
}

/// Runs seeds on all processors, without traces.
///
/// # Panics
/// As [`run`].
pub fn run_all(seeds: Range<u64>) -> Outcomes {
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = Mutex::new(seeds);
    let outcomes = Mutex::new(Outcomes::default());
    std::thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| {
                loop {
                    let seed = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(seed) = seed else { return };
                    let outcome = run(seed, Options::default());
                    let mut all = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                    all.simulated_ms += outcome.simulated_ms;
                    all.violations.extend(outcome.violation.map(|violation| (seed, violation)));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.violations.sort();
    outcomes
}
