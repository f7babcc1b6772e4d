//! Commands that look and change nothing: files, states, journals, lists.

use clap::{Args, ValueEnum};
use fleet_api::v2::STATUS_LINES_MAX;

use super::EXISTING_HELP;
use crate::former::WayArgs;

#[derive(Debug, Args)]
pub struct Cat {
    /// Print the form that fleet hashes and systemd reads, without comments
    #[arg(long)]
    pub canonical: bool,
    /// Unit names or quoted globs; each of several files gets its unit's name above it
    #[arg(value_name = "UNIT", required = true)]
    pub units: Vec<String>,
}

/// What is asked of units.
#[derive(Debug, Args)]
#[command(after_help = EXISTING_HELP)]
pub struct Is {
    /// Print nothing
    #[arg(short, long)]
    pub quiet: bool,
    /// Unit names or quoted globs
    #[arg(value_name = "UNIT", required = true)]
    pub units: Vec<String>,
}

/// Lines of the journal in a status. Source: systemctl.
const STATUS_LINES: u32 = 10;

#[derive(Debug, Args)]
#[command(after_help = EXISTING_HELP)]
pub struct Status {
    #[command(flatten)]
    pub way: WayArgs,
    /// Only on this machine: its ID or the beginning of it
    #[arg(long, value_name = "ID")]
    pub machine: Option<String>,
    /// How many of the last lines of the journal
    #[arg(short = 'n', long, value_name = "N", default_value_t = STATUS_LINES, value_parser = clap::value_parser!(u32).range(..=i64::from(STATUS_LINES_MAX)))]
    pub lines: u32,
    /// How to print
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub output: Format,
    /// Nothing is shortened here
    #[arg(short = 'l', long, hide = true)]
    pub full: bool,
    #[command(flatten)]
    pub habits: Habits,
    /// Unit names or quoted globs
    #[arg(value_name = "UNIT")]
    pub units: Vec<String>,
}

// Plain comments, for the parser would print them: `Text` is for people, `Wide` the same with all that is worth a column, `Name`
// only names, `Json` and `Yaml` what the API says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Wide,
    Name,
    Json,
    Yaml,
}

#[derive(Debug, Args)]
#[command(after_help = EXISTING_HELP)]
pub struct Show {
    /// Only these properties, with commas between, as systemd names them: `MainPID,ActiveState`
    #[arg(short, long, value_name = "NAMES")]
    pub property: Vec<String>,
    /// Print the values alone
    #[arg(long)]
    pub value: bool,
    /// Only on this machine: its ID or the beginning of it
    #[arg(long, value_name = "ID")]
    pub machine: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub output: Format,
    #[command(flatten)]
    pub habits: Habits,
    /// Unit names or quoted globs
    #[arg(value_name = "UNIT", required = true)]
    pub units: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Explain {
    /// How to print
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub output: Format,
    /// The unit
    #[arg(value_name = "UNIT")]
    pub unit: String,
}

#[derive(Debug, Args)]
pub struct Journal {
    #[command(flatten)]
    pub way: WayArgs,
    /// How many of the last lines, or `all` [default: 10; with a time all]
    #[arg(short = 'n', long, value_name = "N", value_parser = Lines::read)]
    pub lines: Option<Lines>,
    /// Go on with new lines as they come, wherever the units go, also when a connection breaks meanwhile
    #[arg(short, long, alias = "f")]
    pub follow: bool,
    /// Only lines of this time or later, in systemd's words: `-1h`, `yesterday`, `18:30`, `2026-11-22 18:30`
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// Only lines of this time or earlier
    #[arg(short = 'U', long, value_name = "TIME", allow_hyphen_values = true, conflicts_with = "follow")]
    pub until: Option<String>,
    /// journalctl's output mode: `short`, `short-iso`, `cat`, `json`, `verbose`, ...
    #[arg(short, long, value_name = "MODE", default_value = "short")]
    pub output: String,
    /// Only on this machine: its ID or the beginning of it
    #[arg(long, value_name = "ID")]
    pub machine: Option<String>,
    /// Explanations from a catalog: systemd's are for its own messages
    #[arg(short = 'x', long, hide = true)]
    pub catalog: bool,
    /// To the end: there is no pager
    #[arg(short = 'e', long, hide = true)]
    pub pager_end: bool,
    /// A unit as journalctl names it
    #[arg(short = 'u', long = "unit", value_name = "UNIT", hide = true)]
    pub more_units: Vec<String>,
    #[command(flatten)]
    pub habits: Habits,
    /// Unit names or quoted globs; the lines of all are put in the order of time
    #[arg(value_name = "UNIT")]
    pub units: Vec<String>,
}

/// How many of the last lines; `None` for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines(pub Option<u32>);

impl Lines {
    fn read(given: &str) -> Result<Lines, String> {
        match given {
            "all" => Ok(Lines(None)),
            number => number.parse().map(|n| Lines(Some(n))).map_err(|_| "it is neither a number nor `all`".to_owned()),
        }
    }
}

/// How to print a table.
#[derive(Clone, Debug, Args)]
pub struct TableArgs {
    /// Do not shorten machine IDs and hashes, nor cells that are too long for the terminal
    #[arg(short = 'l', long, alias = "l")]
    pub full: bool,
    /// Leave out the header line
    #[arg(long)]
    pub no_legend: bool,
    /// The columns, separated by commas
    #[arg(long, value_name = "FIELDS")]
    pub fields: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub output: Format,
    #[command(flatten)]
    pub habits: Habits,
}

/// What people who know systemctl type, and what is so here without it.
#[derive(Clone, Copy, Debug, Args)]
pub struct Habits {
    /// Show all: nothing is left out here
    #[arg(short, long, hide = true)]
    pub all: bool,
    /// No pager: there is none
    #[arg(long, hide = true)]
    pub no_pager: bool,
    /// No marks in front of rows: there are none
    #[arg(long, hide = true)]
    pub plain: bool,
}

/// Which units to list.
#[derive(Clone, Debug, Args)]
pub struct UnitArgs {
    /// Only what is on this machine: its ID or the beginning of it, or its address
    #[arg(long, value_name = "ID")]
    pub machine: Option<String>,
    /// Only units of these types, separated by commas, such as `service,timer`
    #[arg(short = 't', long = "type", value_name = "TYPES")]
    pub types: Vec<String>,
    /// Only these: unit names or quoted globs
    #[arg(value_name = "UNIT")]
    pub units: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Columns: unit, machine, active, sub, load, hash, result, desc.")]
pub struct ListUnits {
    #[command(flatten)]
    pub table: TableArgs,
    /// Go on with what changes: drawn anew on a terminal, else one line for each change
    #[arg(short, long)]
    pub watch: bool,
    /// Only what is in one of these states, separated by commas, as systemd says them: `failed`, `running`, `active`
    #[arg(long, value_name = "STATES")]
    pub state: Vec<String>,
    /// What has failed (`--state=failed`), and what systemd refuses to start
    #[arg(long)]
    pub failed: bool,
    #[command(flatten)]
    pub units: UnitArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Columns: unit, hash, dstate, state, target, desc, global.")]
pub struct ListUnitFiles {
    #[command(flatten)]
    pub table: TableArgs,
    /// Go on with what changes: drawn anew on a terminal, else one line for each change
    #[arg(short, long)]
    pub watch: bool,
    /// Only units whose desired or current state is one of these, separated by commas: `inactive`, `loaded`, `launched`
    #[arg(long, value_name = "STATES")]
    pub state: Vec<String>,
    #[command(flatten)]
    pub units: UnitArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Columns: machine, ip, metadata, state, units, version.")]
pub struct ListMachines {
    #[command(flatten)]
    pub table: TableArgs,
    /// Go on with what changes: drawn anew on a terminal, else one line for each change
    #[arg(short, long)]
    pub watch: bool,
    /// Only machines in one of these states, separated by commas: `present`, `lost`, `absent`, `given-up`, `cordoned`, `draining`
    #[arg(long, value_name = "STATES")]
    pub state: Vec<String>,
    /// Only these: IDs or beginnings of them, addresses, or quoted globs over IDs
    #[arg(value_name = "ID")]
    pub machines: Vec<String>,
}
