//! `cargo xtask test`: everything that must hold.

use crate::run::{ChoreError, cargo, check, say};
use crate::setup;

/// Runs the tests.
pub fn run(quick: bool) -> Result<(), ChoreError> {
    setup::install()?;
    step("format", &["fmt", "--all", "--check"])?;
    step("lints", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"])?;
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

fn step(what: &str, args: &[&str]) -> Result<(), ChoreError> {
    say(&format!("== {what}"));
    check(&mut cargo(args))
}
