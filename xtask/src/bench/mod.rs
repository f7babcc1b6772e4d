//! `cargo xtask bench`: what fleet costs, as ratios to the floor of bare systemd, taken in the same run.
//!
//! The floor of a start is the same unit files, started by bare D-Bus calls on the same managers (`fleet_systemd::floor`) while
//! no `fleetd` runs. Floor and fleet take turns, so that both meet the same noise; each row has the minimum, which is nearest
//! to a machine without noise, and the median. No time is asserted: machines differ, ratios are for people to read.
//!
//! Absent here: what is measured of the planner is `examples/placements.rs` of fleet-core, which this runs.
//!
//! Reading order: `cases` (what is measured), `rig` (a cluster with its clock), `report`.

mod cases;
mod process;
mod report;
mod rig;

use std::path::Path;
use std::process::Command;

use clap::ValueEnum;

use crate::run::{ChoreError, cargo, check, programs, say};
use crate::setup;
use report::{Format, Report};

/// What to measure, and how thoroughly.
#[derive(clap::Args)]
pub struct Args {
    /// What to measure; everything if none is named.
    #[arg(value_name = "NAME", value_enum)]
    names: Vec<Case>,
    /// A first impression: fewer rounds, 100 units, 1 and 3 machines.
    #[arg(long)]
    quick: bool,
    /// How to print the result.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Where the folders of the machines are made, if there is such a place.
const MEMORY: &str = "/dev/shm";

/// One thing that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// `fleetctl start` of one unit, with nothing else running.
    One,
    /// Many units on 1, 3 and 10 machines.
    Many,
    /// `fleetctl list-units` while many units run.
    List,
    /// What many running units cost while none changes.
    Idle,
    /// Placements per second of the engine alone.
    Planner,
}

/// How much is measured.
struct Scale {
    /// Turns of floor and fleet for starts of one unit.
    n_rounds_one: usize,
    /// Starts of one unit in each turn.
    n_starts: usize,
    /// Turns of floor and fleet for many units.
    n_rounds_many: usize,
    /// Numbers of machines.
    machines: &'static [u8],
    /// Numbers of units that are started together.
    units: &'static [usize],
    /// Units that run while lists and idling are measured.
    n_running: usize,
    /// How often the list is asked for.
    n_lists: usize,
    /// For how long nothing is done, in seconds.
    idle_s: u64,
}

const FULL: Scale = Scale {
    n_rounds_one: 5,
    n_starts: 10,
    n_rounds_many: 3,
    machines: &[1, 3, 10],
    units: &[100, 1_000],
    n_running: 1_000,
    n_lists: 30,
    idle_s: 30,
};

const QUICK: Scale = Scale {
    n_rounds_one: 2,
    n_starts: 5,
    n_rounds_many: 2,
    machines: &[1, 3],
    units: &[100],
    n_running: 100,
    n_lists: 10,
    idle_s: 10,
};

/// Measures and prints.
pub fn run(args: &Args) -> Result<(), ChoreError> {
    setup::install()?;
    if cfg!(debug_assertions) {
        return run_optimized();
    }
    let scale = if args.quick { &QUICK } else { &FULL };
    let wanted = |case: Case| args.names.is_empty() || args.names.contains(&case);
    let mut report = Report::new()?;
    if wanted(Case::Planner) {
        cases::planner(&mut report)?;
    }
    if wanted(Case::One) {
        cases::one(scale, &mut report)?;
    }
    if wanted(Case::Many) {
        cases::many(scale, &mut report)?;
    }
    if wanted(Case::List) || wanted(Case::Idle) {
        cases::running(scale, wanted(Case::List), wanted(Case::Idle), &mut report)?;
    }
    report.print(args.output)
}

/// Builds everything with optimization, and lets the xtask built so do the work: in this one the floor would be slow.
fn run_optimized() -> Result<(), ChoreError> {
    say("building with optimization; the first time takes minutes");
    let packages = ["--package", "fleetd", "--package", "fleetctl", "--package", "xtask"];
    check(cargo(&["build", "--quiet", "--release", "--bins"]).args(packages))?;
    let mut bench = Command::new(programs("release")?.join("xtask"));
    bench.args(std::env::args_os().skip(1));
    // Unit files lie in memory on real machines (`/run`); on a disk, writing them costs more than starting them.
    if Path::new(MEMORY).is_dir() {
        bench.env("TMPDIR", MEMORY);
    }
    check(&mut bench)
}
