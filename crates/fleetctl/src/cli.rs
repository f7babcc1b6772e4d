//! The command line: what can be typed, and what each help says. Commands that only look are in `look`, what a unit's systemd is told in `tell`, those of
//! `machine` in `machine`.

mod look;
mod machine;
mod tell;

use std::path::PathBuf;

use clap::{ArgAction, Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::commands::backup::{BackupArgs, RestoreArgs};
use crate::commands::exec::ExecArgs;
use crate::commands::export::ExportArgs;
use crate::commands::import::ImportArgs;
use crate::completion;
use crate::exit::Exit;
use crate::former::FormerArgs;
use crate::reach::args::ReachArgs;

pub use look::{
    Cat, Explain, Format, Is, Journal, ListMachines, ListUnitFiles, ListUnits, Show, Status, TableArgs, UnitArgs,
};
pub use machine::{DrainArgs, MachineCommand};
pub use tell::{Kill, KillWhom, Reload, ResetFailed, Told};

/// What stands over the list of commands. One text for `-h`, `--help` and `help`: scripts and people get the same.
const ABOUT: &str = "\
Runs systemd units on a cluster of machines.

fleetctl gives ordinary unit files to fleetd, which decides on which machine each runs, hands it to that machine's systemd and \
keeps it so when machines come and go.

A unit may be named with or without its suffix (`hello` is `hello.service`) and by a path to its file. A command may be shortened \
to any beginning that no other command has.";

/// All that can be typed.
#[derive(Debug, Parser)]
#[command(
    name = "fleetctl",
    infer_subcommands = true,
    disable_version_flag = true,
    disable_help_flag = true,
    max_term_width = 100,
    about = ABOUT,
    long_about = None,
    after_help = Exit::help()
)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Flags that every command takes. Each has an environment variable, which counts where the flag is not given.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Print help
    #[arg(short = 'h', long = "help", alias = "h", global = true, action = ArgAction::Help, display_order = 100)]
    pub help: Option<bool>,
    /// Print the version
    #[arg(short = 'v', long = "version", global = true, display_order = 101)]
    pub version: bool,
    /// Where fleetd is: `unix:///PATH`, `http://HOST:PORT` or `https://HOST:PORT` [default: unix:///var/run/fleet.sock] [env: FLEETCTL_ENDPOINT]
    #[arg(long, global = true, value_name = "URL", display_order = 102)]
    pub endpoint: Option<String>,
    /// How long one request may take; waiting for units is not counted [default: 10] [env: FLEETCTL_REQUEST_TIMEOUT]
    #[arg(long, global = true, value_name = "SECONDS", display_order = 103)]
    pub request_timeout: Option<String>,
    /// Say on stderr what is asked of fleetd [env: FLEETCTL_DEBUG]
    #[arg(long, global = true, display_order = 104)]
    pub debug: bool,
    #[command(flatten)]
    pub reach: ReachArgs,
    #[command(flatten)]
    pub former: FormerArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Give unit files to the cluster without placing them
    Submit(Submit),
    /// Place units on machines without starting them
    Load(Load),
    /// Start units and wait until systemd says that they run
    Start(Start),
    /// Stop units; they stay on their machines
    Stop(Stop),
    /// Stop units and take them from their machines; they stay in the cluster
    Unload(Unload),
    /// Restart units where they are
    Restart(Restart),
    /// Stop units, take them from their machines and forget them
    Destroy(Destroy),
    /// Have units read their configuration anew (`ExecReload=`)
    Reload(Reload),
    /// Send a signal to the processes of units
    Kill(Kill),
    /// Have systemd forget that units have failed
    ResetFailed(ResetFailed),
    /// Print unit files
    Cat(Cat),
    /// Say how units are: systemctl's status, or why a unit waits; without a unit: the cluster at a glance
    Status(Status),
    /// Print what systemd knows of units, for scripts: `NAME=VALUE`, one a line
    Show(Show),
    /// Say why a unit is where it is, or nowhere: what each machine says to it
    Explain(Explain),
    /// Print the journals of units, on all their machines
    Journal(Journal),
    /// Say whether units run: a word for each, and exit code 0 if one of them does, 3 if not
    IsActive(Is),
    /// Say whether units have failed: a word for each, and exit code 0 if one of them has, 1 if not
    IsFailed(Is),
    /// Run a command beside a unit, on its machine, as its user and in its environment
    Exec(ExecArgs),
    /// Run a command, or a shell, on the machine of a unit or on a machine, by ssh
    Ssh(SshArgs),
    /// List units as their machines' systemds see them
    ListUnits(ListUnits),
    /// List the units that the cluster knows
    ListUnitFiles(ListUnitFiles),
    /// List the machines: which are there, lost, cordoned or drained
    ListMachines(ListMachines),
    /// Change metadata of a machine, or whether and what it is to run
    #[command(infer_subcommands = true, subcommand_required = true, arg_required_else_help = false)]
    Machine {
        #[command(subcommand)]
        command: MachineCommand,
    },
    /// Write all units as files, with a list of what else is known of them
    Export(ExportArgs),
    /// Take units over from exported or plain files, from a dump, or from another cluster
    Import(ImportArgs),
    /// Keep what the cluster's store holds in a file, as it is at one moment
    Backup(BackupArgs),
    /// Make the cluster what a backup holds
    Restore(RestoreArgs),
    /// Bring up a cluster on this box: machines with a real systemd each, and a fleetd
    Dev(Dev),
    /// Print the script with which a shell completes command lines, also with names from the cluster
    Completion(completion::ScriptArgs),
    /// Print the version of fleetctl
    Version {
        /// Arguments are ignored, as in the original
        #[arg(hide = true)]
        ignored: Vec<String>,
    },
    /// Says that units are not signed any more
    #[command(hide = true)]
    Verify {
        /// Whatever it is
        #[arg(hide = true)]
        units: Vec<String>,
    },
    /// Copy standard input to a socket and what comes from there to standard output, for clients that come by ssh
    FdForward {
        /// The socket's path
        #[arg(value_name = "SOCKET")]
        socket: PathBuf,
    },
    /// What the scripts of `completion` call. Two underscores: a beginning that nobody types
    #[command(name = "__complete", hide = true)]
    Complete(completion::AskArgs),
    /// Write the manual pages; `cargo xtask man` calls it
    #[command(name = "__man", hide = true)]
    Man {
        /// Where to; it must be there
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

/// The commands of the original.
const COMMANDS_OF_THE_ORIGINAL: [&str; 18] = [
    "cat",
    "destroy",
    "fd-forward",
    "help",
    "journal",
    "list-machines",
    "list-unit-files",
    "list-units",
    "load",
    "restart",
    "ssh",
    "start",
    "status",
    "stop",
    "submit",
    "unload",
    "verify",
    "version",
];

/// The parser of the command line: what is declared here, and each short form that meant one command in the original and would be
/// ambiguous among ours.
pub fn parser() -> clap::Command {
    let mut parser = Cli::command();
    let ours: Vec<String> = parser.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let n_original = |begin: &str| COMMANDS_OF_THE_ORIGINAL.iter().filter(|name| name.starts_with(begin)).count();
    let n_ours = |begin: &str| ours.iter().filter(|name| name.starts_with(begin)).count();
    for name in COMMANDS_OF_THE_ORIGINAL.into_iter().filter(|&name| ours.iter().any(|one| one == name)) {
        let begins = (1..name.len()).map(|len| &name[..len]);
        let aliases: Vec<&str> = begins.filter(|begin| n_original(begin) == 1 && 1 < n_ours(begin)).collect();
        parser = parser.mut_subcommand(name, |command| command.aliases(aliases));
    }
    let globals =
        parser.get_arguments().filter(|arg| arg.is_global_set() && !ALWAYS_SHOWN.contains(&arg.get_id().as_str()));
    let hidden: Vec<clap::Arg> = globals.map(|arg| arg.clone().hide(true)).collect();
    parser.mut_subcommands(|command| with_short_help(command).args(hidden.clone()))
}

/// Global options that stay in the help of each command.
const ALWAYS_SHOWN: [&str; 2] = ["help", "version"];

/// What the help of a command says instead of the global options, which would be longer than all else.
const GLOBAL_HELP: &str = "`fleetctl help` tells of the other global options, such as `--endpoint` and `--debug`.";

/// The same command with a help that leads to the global options and does not have them.
fn with_short_help(command: clap::Command) -> clap::Command {
    let after = command.get_after_help().map(|after| format!("{after}\n\n")).unwrap_or_default();
    command.after_help(format!("{after}{GLOBAL_HELP}")).mut_subcommands(with_short_help)
}

/// What `submit`, `load` and `start` read from disk.
#[derive(Clone, Copy, Debug, Args)]
pub struct Files {
    /// Let a local file take the place of a different one in the cluster
    #[arg(long)]
    pub replace: bool,
    /// Take mistakes in `[X-Fleet]` that the original fleet ignored for warnings
    #[arg(long)]
    pub lenient: bool,
    /// Sign the files, which no release since 2015 can do
    #[arg(long, hide = true)]
    pub sign: bool,
}

/// How long to wait.
#[derive(Clone, Copy, Debug, Args)]
pub struct Block {
    /// Do not wait
    #[arg(long)]
    pub no_block: bool,
    /// Wait for N rounds of 2 seconds; 0 or less is without limit
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, allow_negative_numbers = true)]
    pub block_attempts: i64,
    /// Wait for at most this long
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<f64>,
    /// Say only what goes wrong
    #[arg(short, long)]
    pub quiet: bool,
    /// As with systemctl: what is asked for is done now in any case
    #[arg(long, hide = true)]
    pub now: bool,
}

#[derive(Debug, Args)]
#[command(after_help = CREATE_HELP)]
pub struct Submit {
    #[command(flatten)]
    pub files: Files,
    /// Unit names, unit files, directories of them, or quoted globs
    #[arg(value_name = "UNIT")]
    pub units: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = CREATE_HELP)]
pub struct Load {
    #[command(flatten)]
    pub files: Files,
    #[command(flatten)]
    pub block: Block,
    /// Say where the units would be placed, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Unit names, unit files, directories of them, or quoted globs
    #[arg(value_name = "UNIT")]
    pub units: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = CREATE_HELP)]
pub struct Start {
    #[command(flatten)]
    pub files: Files,
    #[command(flatten)]
    pub block: Block,
    /// Say where the units would be placed, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Unit names, unit files, directories of them, or quoted globs
    #[arg(value_name = "UNIT")]
    pub units: Vec<String>,
}

const CREATE_HELP: &str = "\
A unit is looked for in the cluster, then as a file, then as an instance of a template in the cluster, then of a template file in the \
same directory. A symbolic link gives a unit its own name and the content of the file that it leads to. `DIR/` and quoted \
globs stand for the unit files there; `load` and `start` pass over templates among them. A quoted glob without a match on disk is \
matched with the units in the cluster.";

const EXISTING_HELP: &str = "\
A quoted glob is matched with the units in the cluster; `DIR/` and a glob with a path stand for the units whose files are there.";

#[derive(Debug, Args)]
#[command(after_help = EXISTING_HELP)]
pub struct Stop {
    #[command(flatten)]
    pub block: Block,
    /// Unit names or quoted globs
    #[arg(value_name = "UNIT")]
    pub units: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = EXISTING_HELP)]
pub struct Unload {
    #[command(flatten)]
    pub block: Block,
    /// Unit names or quoted globs
    #[arg(value_name = "UNIT")]
    pub units: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = EXISTING_HELP)]
pub struct Restart {
    #[command(flatten)]
    pub block: Block,
    /// Unit names or quoted globs
    #[arg(value_name = "UNIT")]
    pub units: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = EXISTING_HELP)]
pub struct Destroy {
    #[command(flatten)]
    pub block: Block,
    /// Unit names or quoted globs
    #[arg(value_name = "UNIT")]
    pub units: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = SSH_HELP)]
pub struct SshArgs {
    /// To this machine: its ID or the beginning of it, or its address
    #[arg(short, long, value_name = "ID", conflicts_with = "unit")]
    pub machine: Option<String>,
    /// To the machine of this unit
    #[arg(short, long, value_name = "UNIT")]
    pub unit: Option<String>,
    /// Let the machine use the keys of this one's agent
    #[arg(short = 'A', long, alias = "A")]
    pub forward_agent: bool,
    /// Where the machines' sshd listens [default: as ssh does]
    #[arg(long, value_name = "PORT")]
    pub ssh_port: Option<u16>,
    /// A unit or a machine; with `--machine` or `--unit` the first word of the command
    #[arg(value_name = "TARGET")]
    pub target: Option<String>,
    /// What to run there; the words are put together with blanks, for the shell there to read
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

const SSH_HELP: &str = "\
It is your own `ssh` that runs, with its configuration, keys, agent and known hosts. The exit code is that of the command or shell, or 255 \
if ssh itself failed. Options for fleetctl stand before the command; `--` in front of it ends them.";

#[derive(Debug, Args)]
pub struct Dev {
    /// How many machines
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=DEV_MACHINES_MAX))]
    pub machines: u8,
    /// Metadata of a machine: `m1:disk=ssd,zone=a`; may be given several times
    #[arg(long, value_name = "MACHINE:KEY=VALUE,...")]
    pub metadata: Vec<String>,
    /// Where the cluster's memory is: in a file, with one fleetd, or in an etcd, with a fleetd for each machine
    #[arg(long, value_name = "STORE", default_value = "embedded")]
    pub store: DevStore,
    /// Keep the data in this directory and use what is there
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Run this with FLEETCTL_ENDPOINT set, then take all down and end with its exit code
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// What a dev cluster's memory is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DevStore {
    // Plain, as for `Format`: each would be printed on a line of its own.
    Embedded,
    Etcd,
}

/// Most machines of one dev cluster: the last byte of their loopback addresses, with room for those in front.
pub const DEV_MACHINES_MAX: i64 = 200;

/// Reads a positive number of seconds.
pub fn seconds(given: &str) -> Result<f64, String> {
    match given.parse::<f64>() {
        Ok(seconds) if 0.0 < seconds && seconds <= SECONDS_MAX => Ok(seconds),
        Ok(_) | Err(_) => Err(format!("it is no number of seconds greater than 0 and at most {SECONDS_MAX}")),
    }
}

/// Longest time that can be given, in seconds: about three years, so that it can always be added to the clock.
pub const SECONDS_MAX: f64 = 1e8;

/// How long one round of `--block-attempts` is, in seconds. Source: the original's eight looks, a quarter of a second apart.
const ROUND_S: f64 = 2.0;

impl Block {
    /// When to give up, counted from the begin of the wait; `None` is never.
    pub fn limit(&self) -> Option<std::time::Duration> {
        // More rounds than a year has are as good as no limit, and could not be added to the clock.
        #[expect(clippy::cast_precision_loss, reason = "beyond 2^53 rounds the number is cut off anyway")]
        let rounds_s = (0 < self.block_attempts).then(|| (self.block_attempts as f64 * ROUND_S).min(SECONDS_MAX));
        let limit_s = match (rounds_s, self.timeout) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        limit_s.map(std::time::Duration::from_secs_f64)
    }
}
