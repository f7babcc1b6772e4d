//! Runs seeds: `fleet-sim --seeds N --from K`, or one with its trace: `SEED=K fleet-sim`.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use fleet_sim::{Options, run, run_all};

/// Simulates clusters with faults, one for each seed.
#[derive(Parser)]
struct Cli {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Only this one, with all that happens in it.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
}

#[expect(clippy::print_stdout, reason = "the trace and the result are what this program is for")]
fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(seed) = cli.seed {
        let outcome = run(seed, Options { trace: true, bug: None });
        outcome.trace.iter().for_each(|line| println!("{line}"));
        println!("{}", outcome.violation.as_deref().unwrap_or("all was well"));
        return if outcome.violation.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let begin = Instant::now();
    let all = run_all(cli.from..cli.from.saturating_add(cli.seeds));
    for (seed, violation) in &all.violations {
        println!("SEED={seed}: {violation}");
    }
    let (real_s, simulated_s) = (begin.elapsed().as_secs_f64(), all.simulated_ms as f64 / 1_000.0);
    println!(
        "{} seeds, {} violations; {:.1} seeds/s, {:.0} simulated seconds in each real one",
        cli.seeds,
        all.violations.len(),
        cli.seeds as f64 / real_s,
        simulated_s / real_s,
    );
    if all.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
