//! `cargo xtask load`: many clients that change many units at once, and whether every acknowledged write is there.

use crate::run::{ChoreError, cargo, check};
use crate::setup;

/// How much to ask.
#[derive(clap::Args)]
pub struct Args {
    /// Where the cluster's memory is.
    #[arg(long, value_name = "STORE", default_value = "embedded")]
    store: Store,
    /// How many clients.
    #[arg(long, value_name = "N", default_value_t = 100)]
    clients: u32,
    /// How many units they have together.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    units: u32,
    /// How long.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
}

/// A store.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Store {
    // Plain, as in `fleetctl dev`.
    Embedded,
    Etcd,
}

/// Runs the test `load` of the acceptance tests, whose shorter siblings are part of `cargo xtask test`.
pub fn run(args: &Args) -> Result<(), ChoreError> {
    setup::install()?;
    check(&mut cargo(&["build", "--package", "fleetd", "--package", "fleetctl", "--bins", "--quiet"]))?;
    let mut test =
        cargo(&["test", "--quiet", "--package", "acceptance", "--features", "load", "--test", "on_real_machines"]);
    test.args(["api_v1::many::load", "--", "--exact", "--nocapture"]);
    let store = match args.store {
        Store::Embedded => "embedded",
        Store::Etcd => "etcd",
    };
    test.env("FLEET_LOAD_STORE", store)
        .env("FLEET_LOAD_CLIENTS", args.clients.to_string())
        .env("FLEET_LOAD_UNITS", args.units.to_string())
        .env("FLEET_LOAD_SECONDS", args.seconds.to_string());
    check(&mut test)
}
