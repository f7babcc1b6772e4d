//! `cargo xtask test`: everything that must hold.

use crate::run::{ChoreError, cargo, check, say};
use crate::setup;

/// Which tests boot whole machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Machines {
    /// All of them; tens of minutes.
    All,
    /// Three machines: a start, a power loss, a partition.
    Smoke,
}

/// Runs the tests.
pub fn run(quick: bool, machines: Option<Machines>) -> Result<(), ChoreError> {
    setup::install()?;
    if let Some(machines) = machines {
        return on_machines(machines);
    }
    setup::install_for_tests()?;
    step("format", &["fmt", "--all", "--check"])?;
    step(
        "lints",
        &["clippy", "--workspace", "--all-targets", "--features", FEATURES, "--quiet", "--", "--deny", "warnings"],
    )?;
    if quick {
        step("unit and golden tests", &["test", "--workspace", "--lib", "--bins"])?;
        return Ok(());
    }
    // The acceptance tests drive the real programs, which cargo builds only when asked.
    step("programs", &["build", "--workspace", "--bins", "--quiet"])?;
    step("all tests", &["test", "--workspace", "--no-fail-fast"])?;
    say("all tests passed");
    Ok(())
}

/// The features without which cargo does not build the tests that boot whole machines, and the one of `cargo xtask load`.
const FEATURES: &str = "acceptance/load,acceptance/machines,fleet-dev/machines";

/// The tests that boot whole machines. One after the other: some measure how long something takes.
fn on_machines(which: Machines) -> Result<(), ChoreError> {
    setup::install_for_machines()?;
    step("programs", &["build", "--package", "fleetd", "--package", "fleetctl", "--bins", "--quiet"])?;
    say("== the machines' tree (built once: some 80 MB from Debian and a few minutes)");
    let tree = fleet_dev::lab_rootfs().map_err(|err| ChoreError::Other(err.to_string()))?;
    say(&format!("{}", tree.display()));
    let acceptance = ["test", "--package", "acceptance", "--features", "machines", "--test", "machines"];
    let one_by_one = ["--", "--test-threads", "1"];
    match which {
        Machines::Smoke => step("smoke test on machines", &[&acceptance[..], &["smoke::"], &one_by_one].concat())?,
        Machines::All => {
            let labs = ["test", "--package", "fleet-dev", "--features", "machines", "--test", "labs"];
            step("machines", &[&labs[..], &one_by_one].concat())?;
            step("tests on machines", &[&acceptance[..], &["--no-fail-fast"], &one_by_one].concat())?;
        }
    }
    say("all tests on machines passed");
    Ok(())
}

fn step(what: &str, args: &[&str]) -> Result<(), ChoreError> {
    say(&format!("== {what}"));
    check(&mut cargo(args))
}
