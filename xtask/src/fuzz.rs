//! `cargo xtask fuzz`: looks for input that fleet cannot take. What it finds becomes part of the kept corpus by hand.

use std::process::{Command, Stdio};

use crate::run::{ChoreError, check, say, workspace};

/// What to fuzz.
#[derive(clap::Args)]
pub struct Args {
    /// Only this target.
    #[arg(long, value_name = "NAME", value_parser = TARGETS)]
    target: Option<String>,
    /// How long for each target.
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u64,
    /// Afterwards, keep of the corpus only what reaches code that nothing else in it reaches.
    #[arg(long)]
    minimize: bool,
}

/// The programs in `fuzz/`.
const TARGETS: [&str; 3] = ["unit_file", "request", "page_token"];

/// Megabytes that a target may take; what takes more has a leak, or no limit where it needs one.
const MEMORY_MB: u32 = 2_048;

/// Seconds for one input, under the sanitizer; what takes longer hangs.
const INPUT_S: u32 = 10;

/// Bytes of an input. Larger than every limit on length that small inputs can break, but that of a unit file.
const INPUT_LEN: u32 = 16 << 10;

/// Fuzzes; the first input that breaks something ends it, with its file named.
pub fn run(args: &Args) -> Result<(), ChoreError> {
    install()?;
    for target in TARGETS.iter().filter(|target| args.target.as_deref().is_none_or(|only| only == **target)) {
        say(&format!("== {target}: {} min", args.minutes));
        let options = [
            format!("-max_total_time={}", args.minutes * 60),
            format!("-rss_limit_mb={MEMORY_MB}"),
            format!("-timeout={INPUT_S}"),
            format!("-max_len={INPUT_LEN}"),
            "-print_final_stats=1".to_owned(),
        ];
        check(nightly(&["fuzz", "run", target, "--"]).args(options))?;
        if args.minimize {
            check(&mut nightly(&["fuzz", "cmin", target]))?;
        }
    }
    Ok(())
}

/// A command of a nightly cargo, which fuzzing needs for its instrumentation.
fn nightly(args: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.current_dir(workspace()).args(["run", "nightly", "cargo"]).args(args);
    // Those of the cargo that runs this chore would win over `nightly`.
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command
}

fn install() -> Result<(), ChoreError> {
    let is_there = |command: &mut Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    if !is_there(&mut nightly(&["--version"])) {
        say("installing a nightly compiler (for this chore, by rustup)");
        check(Command::new("rustup").args(["toolchain", "install", "nightly", "--profile", "minimal"]))?;
    }
    if !is_there(&mut nightly(&["fuzz", "--version"])) {
        say("installing cargo-fuzz (for this chore, by cargo)");
        check(&mut nightly(&["install", "cargo-fuzz", "--locked"]))?;
    }
    Ok(())
}
