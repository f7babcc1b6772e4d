//! `machine ...`: what operators say of machines.

use clap::{Args, Subcommand};
use fleet_api::v2::DRAIN_MAX;
use fleet_core::model::DRAIN_MAX_DEFAULT;

use super::seconds;

#[derive(Debug, Subcommand)]
pub enum MachineCommand {
    /// Set metadata of a machine; units that wait for it are placed at once
    SetMetadata {
        /// The machine: its ID or the beginning of it, or its address
        #[arg(value_name = "ID")]
        machine: String,
        /// What to set
        #[arg(value_name = "KEY=VALUE", required = true)]
        pairs: Vec<String>,
    },
    /// Remove metadata of a machine
    RemoveMetadata {
        /// The machine: its ID or the beginning of it, or its address
        #[arg(value_name = "ID")]
        machine: String,
        /// What to remove
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<String>,
    },
    /// Place nothing new on a machine; what is there stays. Ends a drain
    Cordon {
        /// The machine: its ID or the beginning of it, or its address
        #[arg(value_name = "ID")]
        machine: String,
    },
    /// Let a machine that is cordoned or drained take units again
    Uncordon {
        /// The machine: its ID or the beginning of it, or its address
        #[arg(value_name = "ID")]
        machine: String,
    },
    /// Move away what may move, and place nothing new on the machine; wait until that is done
    Drain(DrainArgs),
    /// Say that a machine that is lost is off and does not come back: its units are placed elsewhere at once
    #[command(after_help = GIVE_UP_HELP)]
    GiveUp {
        /// The machine: its ID or the beginning of it, or its address
        #[arg(value_name = "ID")]
        machine: String,
    },
}

const GIVE_UP_HELP: &str = "\
If the machine runs after all, its units may run twice until it is back, also those with WhenIsolated=stop. It is no longer given up \
when it is back.";

/// `machine drain`.
#[derive(Debug, Args)]
#[command(after_help = DRAIN_HELP)]
pub struct DrainArgs {
    /// How many units may be on their way at once
    #[arg(long, value_name = "N", default_value_t = DRAIN_MAX_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=i64::from(DRAIN_MAX)))]
    pub max: u32,
    /// Do not wait
    #[arg(long)]
    pub no_block: bool,
    /// Say where the units would go, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Wait for at most this long
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<f64>,
    /// The machine: its ID or the beginning of it, or its address
    #[arg(value_name = "ID")]
    pub machine: String,
}

const DRAIN_HELP: &str = "\
A unit runs on here until it is up on its new machine; one with WhenIsolated=stop is stopped first. Global units stay. What no other \
machine can take stays and runs on, and the exit code is 1; it goes as soon as one can take it. `machine uncordon` ends the drain.";
