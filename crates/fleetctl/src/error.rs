//! What can go wrong, with the values it went wrong with; what to do about it is in `hint`.

mod hint;

use std::fmt;
use std::io;
use std::path::PathBuf;

use fleet_api::backup::BackupError;
use fleet_api::tls::TlsError;
use fleet_api::{ClientError, Endpoint, EndpointError, v2};
use fleet_core::unit::{Problem, UnitNameError};
use fleet_dev::DevError;

use crate::exit::Exit;
use crate::reach::ssh::Gateway;
use crate::wait::{Failure, Goal};

/// The kind of problem that the daemon gives for a unit that is not there.
pub const UNKNOWN_UNIT: &str = "unknown-unit";

/// Why a command, or its part for one unit, failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("there is no command `{given}`")]
    NoCommand { given: String, hint: String },
    #[error("there is no flag `{given}` here")]
    NoFlag { given: String, hint: String },
    #[error("No units given")]
    NoUnits { command: &'static str },
    #[error("units cannot be signed: the signed/verified units feature is DEPRECATED and cannot be used")]
    Signing,
    #[error("environment variable `{name}` has the value `{value}`: {reason}")]
    BadEnv { name: &'static str, value: String, reason: String },
    #[error("`--{flag}` has the value `{value}`: {reason}")]
    BadFlag { flag: &'static str, value: String, reason: String },
    #[error("cannot use `{given}` as the endpoint")]
    Endpoint {
        given: String,
        #[source]
        err: EndpointError,
    },
    #[error("{given} is for TLS, and {endpoint} is without")]
    PlainEndpoint { endpoint: Endpoint, given: String },
    #[error("cannot set up TLS for {endpoint}")]
    Tls {
        endpoint: Endpoint,
        #[source]
        err: Box<TlsError>,
    },
    #[error("Must define output format")]
    NoFields { valid: String },
    #[error("Invalid key in output format: \"{given}\"")]
    BadField { given: String, valid: String },
    #[error("`{given}` is no metadata: write KEY=VALUE")]
    BadPair { given: String },
    #[error("cannot {doing}")]
    Api {
        doing: String,
        #[source]
        err: ClientError,
        hint: Option<String>,
    },
    #[error("cannot {doing}: no answer from fleetd within {seconds} s")]
    NoAnswer { doing: String, seconds: f64 },
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    #[error("cannot write the answer as YAML")]
    Yaml(#[source] Box<serde_saphyr::ser_error::Error>),
    #[error("cannot write the answer as JSON")]
    Json(#[source] serde_json::Error),
    #[error("cannot read `{path}`", path = path.display())]
    Read {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("cannot write `{path}`", path = path.display())]
    Write {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("`{path}` holds other files", path = path.display())]
    NoExport { path: PathBuf },
    #[error("unit {name} changes faster than it can be read")]
    Restless { name: String },
    #[error("`{path}` cannot be used: {reason}", path = path.display())]
    Manifest { path: PathBuf, reason: String },
    #[error("`{path}` is no dump of units: {reason}", path = path.display())]
    Dump { path: PathBuf, reason: String },
    #[error("`{path}` cannot be used as a backup", path = path.display())]
    BadBackup {
        path: PathBuf,
        #[source]
        err: BackupError,
    },
    #[error("{n} of {of} units cannot be imported, so nothing is changed")]
    ImportRefused { n: usize, of: usize },
    #[error("`{given}` names no unit")]
    BadName {
        given: String,
        #[source]
        err: UnitNameError,
    },
    #[error("malformed pattern `{given}`")]
    BadPattern { given: String },
    #[error("nothing matches `{given}`")]
    NoMatch { given: String, looked: &'static str },
    #[error("`{path}` holds no unit file{that}", path = path.display(), that = that)]
    NoFiles { path: PathBuf, that: &'static str },
    #[error("unit file `{path}` cannot be used for {name}", path = path.display())]
    BrokenFile { path: PathBuf, name: String, problems: Vec<Problem> },
    #[error("unable to find Unit({name}) in Registry or on filesystem")]
    FoundNowhere { name: String, path: PathBuf, beside: Option<PathBuf>, similar: Vec<String> },
    #[error("unable to find Unit({name}), nor its template Unit({template}), in Registry or on filesystem")]
    NoTemplate { name: String, template: String },
    #[error("{}", .0.message)]
    Template(Problem),
    #[error("Unit {name} has no local file that could replace it")]
    NothingToReplace { name: String, path: PathBuf },
    #[error("can not replace Unit({name}) in state '{state}', use the appropriate command", state = state.as_str())]
    ReplaceRefused { name: String, state: v2::State },
    #[error("Unit {name} does not exist")]
    UnknownUnit { name: String, similar: Vec<String> },
    #[error("Unable to {verb} unit {name} in state inactive")]
    Inactive { verb: &'static str, name: String },
    #[error("{n} changes in one command are too many: {max} are allowed", max = v2::CHANGES_MAX)]
    TooMany { n: usize },
    #[error("Unit {name}: {problem}")]
    Refused { name: String, problem: Box<v2::Problem> },
    #[error("Unit {name} {failure}")]
    UnitFailed { name: String, failure: Failure, journal: Vec<String> },
    #[error("timed out waiting for unit {name} {goal}")]
    TimedOut { name: String, goal: Goal, why: String },
    #[error("lost fleetd while waiting for units")]
    WatchLost {
        #[source]
        err: Option<ClientError>,
    },
    #[error("interrupted while waiting for {units}")]
    Interrupted { units: String, only: Option<String>, how: Interruption, goal: Goal },
    #[error("timed out waiting for {machine} to be drained")]
    DrainTimedOut { machine: String, left: String },
    #[error("interrupted while waiting for {machine} to be drained")]
    DrainInterrupted { machine: String, how: Interruption },
    #[error("cannot {doing} on {place}: {problem}")]
    NotToldBySystemd { doing: String, place: String, problem: Box<v2::Problem> },
    #[error("Unit {name} does not appear to be {what}.")]
    NotPlaced { name: String, what: &'static str, state: v2::State },
    #[error("`{mode}` is no output mode")]
    JournalMode { mode: String },
    #[error("one machine or unit must be provided")]
    NoTarget,
    #[error("`{given}` is neither a unit nor a machine")]
    UnknownTarget { given: String },
    #[error("`{given}` is a unit and a machine")]
    AmbiguousTarget { given: String, unit: String, machine: String },
    #[error("Unit {name} is on {n} machines", n = machines.len())]
    SeveralMachines { name: String, machines: Vec<String> },
    #[error("Could not determine address of machine {machine}")]
    NoAddress { machine: String },
    #[error("cannot use the address of machine {machine}: {reason}")]
    BadAddress { machine: String, reason: String },
    #[error("the command beside {name} was ended: {reason}")]
    ExecStopped { name: String, reason: String },
    #[error("lost the command beside {name}: {reason}")]
    ExecLost { name: String, reason: String },
    #[error("standard input is over the limit of {max} bytes")]
    StdinTooLarge { max: usize },
    #[error("cannot make a folder for the tunnel's sockets")]
    TunnelFolder(#[source] io::Error),
    #[error("ssh to {gateway} ended{code} before the tunnel was open", code = code.map(|code| format!(" with {code}")).unwrap_or_default())]
    Tunnel { gateway: Gateway, code: Option<i32> },
    #[error("Failed dialing remote address: cannot connect to `{path}`", path = path.display())]
    Dial {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("lost the connection to `{path}`", path = path.display())]
    Relay {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("no machine `{given}`")]
    NoMachine { given: String, known: Vec<String> },
    #[error("`{given}` fits {n} machines", n = machines.len())]
    AmbiguousMachine { given: String, machines: Vec<String> },
    #[error("cannot {doing}")]
    Dev {
        doing: &'static str,
        #[source]
        err: DevError,
    },
    #[error("cannot find `fleetd` beside `{beside}` or in PATH")]
    NoFleetd { beside: String },
    #[error("cannot run `{program}`")]
    Run {
        program: String,
        #[source]
        err: io::Error,
    },
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    #[error("cannot write manual pages to `{folder}`", folder = folder.display())]
    ManPages {
        folder: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
}

/// What ended a wait from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl CommandError {
    /// The exit code that this calls for.
    pub fn exit(&self) -> Exit {
        match self {
            CommandError::NoUnits { .. }
            | CommandError::NoCommand { .. }
            | CommandError::NoFlag { .. }
            | CommandError::JournalMode { .. }
            | CommandError::Signing
            | CommandError::BadEnv { .. }
            | CommandError::BadFlag { .. }
            | CommandError::Endpoint { .. }
            | CommandError::PlainEndpoint { .. }
            | CommandError::NoTarget
            | CommandError::NoFields { .. }
            | CommandError::BadField { .. }
            | CommandError::BadPair { .. }
            | CommandError::BadPattern { .. } => Exit::Usage,
            CommandError::FoundNowhere { .. }
            | CommandError::NoTemplate { .. }
            | CommandError::UnknownUnit { .. }
            | CommandError::UnknownTarget { .. }
            | CommandError::NoMatch { .. } => Exit::NoSuchUnit,
            CommandError::Api { err: ClientError::Problem(problem), .. } if problem.kind == UNKNOWN_UNIT => {
                Exit::NoSuchUnit
            }
            CommandError::Refused { problem, .. } if problem.kind == UNKNOWN_UNIT => Exit::NoSuchUnit,
            CommandError::NotPlaced { .. } => Exit::NotRunning,
            CommandError::Interrupted { how, .. } | CommandError::DrainInterrupted { how, .. } => match how {
                Interruption::Interrupt => Exit::Interrupted,
                Interruption::Terminate => Exit::Terminated,
            },
            // The reader has seen enough.
            CommandError::Output(err) if err.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
            _ => Exit::Failed,
        }
    }

    /// Whether it is worth a word: a reader that went away is not.
    pub fn is_silent(&self) -> bool {
        matches!(self, CommandError::Output(err) if err.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The single findings, one a line.
    pub fn details(&self) -> Vec<String> {
        match self {
            CommandError::NotToldBySystemd { problem, .. } => {
                problem.findings.iter().map(ToString::to_string).collect()
            }
            CommandError::BrokenFile { path, problems, .. } => {
                let place = |problem: &Problem| match problem.line {
                    Some(line) => format!("{}:{line}: {}", path.display(), problem.message),
                    None => format!("{}: {}", path.display(), problem.message),
                };
                problems.iter().map(place).collect()
            }
            CommandError::Api { err: ClientError::Problem(problem), .. } | CommandError::Refused { problem, .. } => {
                problem.findings.iter().map(ToString::to_string).collect()
            }
            CommandError::UnitFailed { journal, .. } => journal.clone(),
            CommandError::TimedOut { why, .. } => vec![why.clone()],
            CommandError::DrainTimedOut { left, .. } => vec![left.clone()],
            _ => Vec::new(),
        }
    }

    /// The ID under which fleetd's log tells more, where something went wrong in fleetd that should not.
    pub fn request(&self) -> Option<&str> {
        match self {
            CommandError::Api { err: ClientError::Problem(problem), .. } | CommandError::Refused { problem, .. } => {
                problem.instance.as_deref().filter(|_| problem.status == 500)
            }
            _ => None,
        }
    }
}

impl From<io::Error> for CommandError {
    /// Only for what [`Console`](crate::console::Console) gives back; every other I/O has a variant that says what failed.
    fn from(err: io::Error) -> CommandError {
        CommandError::Output(err)
    }
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Interruption::Interrupt => "Ctrl-C",
            Interruption::Terminate => "SIGTERM",
        })
    }
}
