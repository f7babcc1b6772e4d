//! Commands that tell a unit's systemd something and leave alone what is wanted of the unit.

use clap::{Args, ValueEnum};

use super::EXISTING_HELP;

#[derive(Debug, Args)]
#[command(after_help = KILL_HELP)]
pub struct Kill {
    /// Which signal: a name with or without `SIG`, or a number
    #[arg(short, long, value_name = "SIGNAL", default_value = "SIGTERM", allow_hyphen_values = true)]
    pub signal: String,
    /// To which processes of the unit
    #[arg(long, alias = "kill-who", value_enum, value_name = "WHOM", default_value_t = KillWhom::All)]
    pub kill_whom: KillWhom,
    #[command(flatten)]
    pub told: Told,
}

const KILL_HELP: &str = "\
The unit stays wanted: what becomes of it when its processes end is said by its `Restart=`. To stop it use `fleetctl stop`.";

// Plain, as for `Format`: each would be printed on a line of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KillWhom {
    Main,
    Control,
    All,
}

#[derive(Debug, Args)]
#[command(after_help = EXISTING_HELP)]
pub struct Reload {
    #[command(flatten)]
    pub told: Told,
}

#[derive(Debug, Args)]
#[command(after_help = RESET_FAILED_HELP)]
pub struct ResetFailed {
    #[command(flatten)]
    pub told: Told,
}

const RESET_FAILED_HELP: &str = "\
Without a unit it is done for all that have failed. A failed unit can be started without it; this clears the lists, and the count of starts \
after which systemd refuses more (`start-limit-hit`).";

/// Who is told.
#[derive(Debug, Args)]
pub struct Told {
    /// Only on this machine: its ID or the beginning of it
    #[arg(long, value_name = "ID")]
    pub machine: Option<String>,
    /// Say only what goes wrong
    #[arg(short, long)]
    pub quiet: bool,
    /// Unit names or quoted globs
    #[arg(value_name = "UNIT")]
    pub units: Vec<String>,
}
