//! `cargo xtask bench`: what fleet costs, as ratios to the floor of bare systemd, taken in the same run.

use crate::run::ChoreError;

/// What to measure.
#[derive(clap::Args)]
pub struct Args {}

/// Measures and prints.
pub fn run(_args: &Args) -> Result<(), ChoreError> {
    Err(ChoreError::Other("not yet".to_owned()))
}
