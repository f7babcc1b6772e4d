//! `cargo xtask sim`: simulated clusters with faults, as many seeds as there is time for.

use crate::run::{ChoreError, cargo, check};

/// What to simulate.
#[derive(clap::Args)]
pub struct Args {
    /// How many seeds.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, value_name = "K", default_value_t = 0)]
    from: u64,
    /// Only this seed, with all that happens in it.
    #[arg(long, value_name = "K", env = "SEED", conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
}

/// Runs the seeds. Not needed for it: root, systemd, anything installed.
pub fn run(args: &Args) -> Result<(), ChoreError> {
    let (seeds, from) = (args.seeds.to_string(), args.from.to_string());
    let mut command = cargo(&["run", "--quiet", "--package", "fleet-sim", "--"]);
    match args.seed {
        Some(seed) => command.args(["--seed", &seed.to_string()]),
        None => command.args(["--seeds", &seeds, "--from", &from]),
    };
    check(&mut command)
}
