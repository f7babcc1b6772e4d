//! Chores: `cargo xtask demo`, `cargo xtask test`, `cargo xtask sim`, `cargo xtask fuzz`, `cargo xtask load`,
//! `cargo xtask man`, `cargo xtask bench`.
//!
//! Each installs what it needs and the machine lacks, so nothing has to be typed before it.

mod bench;
mod demo;
mod fuzz;
mod load;
mod man;
mod run;
mod setup;
mod sim;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of the fleet workspace.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Show the main job, for real: unit files become running services on three machines.
    Demo,
    /// What the demo shows; runs inside the cluster that `demo` brings up.
    #[command(hide = true)]
    DemoSteps,
    /// Run the tests.
    Test {
        /// Only what takes about a minute: format, lints, unit and golden tests.
        #[arg(long, conflicts_with = "machines")]
        quick: bool,
        /// Only the tests that boot whole machines, which need root: all of them, or those that `.ci/run` runs.
        #[arg(long, value_name = "WHICH", num_args = 0..=1, default_missing_value = "all")]
        machines: Option<test::Machines>,
    },
    /// Simulate whole clusters with faults, one for each seed; `cargo xtask test` runs the first 200.
    Sim(sim::Args),
    /// Look for input that fleet cannot take; `cargo xtask test` tries what was found before.
    Fuzz(fuzz::Args),
    /// Let 100 clients change 1,000 units at once for a minute, and see whether every acknowledged write is there.
    Load(load::Args),
    /// Write the manual pages of fleetctl and fleetd.
    Man {
        /// Where to; it is made if it is not there.
        folder: PathBuf,
    },
    /// Measure, as ratios to a floor that is taken in the same run.
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().chore {
        Chore::Demo => demo::run(),
        Chore::DemoSteps => demo::steps(),
        Chore::Test { quick, machines } => test::run(quick, machines),
        Chore::Sim(args) => sim::run(&args),
        Chore::Fuzz(args) => fuzz::run(&args),
        Chore::Load(args) => load::run(&args),
        Chore::Man { folder } => man::run(&folder),
        Chore::Bench(args) => bench::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            run::say(&format!("error: {err}"));
            ExitCode::FAILURE
        }
    }
}
