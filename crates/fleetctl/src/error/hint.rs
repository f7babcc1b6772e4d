//! What to do about each error.

use std::io;

use fleet_api::{ClientError, v2};
use fleet_core::unit::UnitNameError;

use super::{CommandError, UNKNOWN_UNIT};
use crate::journal::Look;
use crate::render;
use crate::transfer::manifest::FILE_NAME;
use crate::wait::{Failure, Goal};

impl CommandError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            CommandError::NoCommand { hint, .. } | CommandError::NoFlag { hint, .. } => hint.clone(),
            CommandError::PlainEndpoint { endpoint, .. } => {
                let url = endpoint.to_string().replacen("http:", "https:", 1);
                format!("write `{url}`, or leave the files out")
            }
            CommandError::NoTarget => "name a unit or a machine: `fleetctl ssh TARGET [COMMAND...]`".to_owned(),
            CommandError::UnknownTarget { .. } => {
                "`fleetctl list-unit-files` shows the units that exist, `fleetctl list-machines` the machines".to_owned()
            }
            CommandError::AmbiguousTarget { unit, machine, .. } => {
                format!("say which: `--unit {unit}` or `--machine {}`", render::table::typed_id(machine))
            }
            CommandError::SeveralMachines { machines, .. } => {
                let ids = machines.iter().map(|id| render::table::typed_id(id)).collect::<Vec<_>>();
                format!("name one of them with `--machine`: {}", ids.join(", "))
            }
            CommandError::ExecLost { .. } => {
                "nobody knows how it ended; it is stopped, since nobody waits for it any more".to_owned()
            }
            CommandError::StdinTooLarge { .. } => {
                "copy what is to be read to the machine, such as with `fleetctl ssh`".to_owned()
            }
            CommandError::NoAddress { .. } => "it is lost, or its fleetd knows none: see `public_ip` in its fleet.conf".to_owned(),
            CommandError::Tunnel { gateway, .. } => format!(
                "ssh has said why; once `ssh {gateway}` works by itself, so does this (`--ssh-username`, `--ssh-timeout`, \
                 `--known-hosts-file` and `--strict-host-key-checking` hold here too)"
            ),
            CommandError::Dial { .. } => "see that fleetd runs here and listens there, and that you may open it".to_owned(),
            CommandError::Run { program, err } if program == "ssh" && err.kind() == io::ErrorKind::NotFound => {
                "install ssh (on Debian the package `openssh-client`)".to_owned()
            }
            CommandError::Signing => "leave `--sign` out".to_owned(),
            CommandError::NoUnits { command } => {
                format!("name at least one unit: `fleetctl {command} UNIT...`; see `fleetctl help {command}`")
            }
            CommandError::BadEnv { name, .. } => format!("correct the variable, or remove it: `unset {name}`"),
            CommandError::NoFields { valid } | CommandError::BadField { valid, .. } => {
                format!("the columns of this list are {valid}")
            }
            CommandError::Api { err: ClientError::Problem(problem), .. } | CommandError::Refused { problem, .. } => {
                return problem.hint.clone().or_else(|| hint_for(&problem.kind));
            }
            CommandError::Api { hint, .. } => return hint.clone(),
            CommandError::NoAnswer { .. } => {
                "fleetd is there and does not answer in time; more time is given by `--request-timeout`".to_owned()
            }
            CommandError::NoExport { .. } => format!(
                "an export goes into a new or empty directory, or over an earlier export, which has a `{FILE_NAME}`"
            ),
            CommandError::NotToldBySystemd { problem, .. } => return problem.hint.clone().or_else(|| hint_for(&problem.kind)),
            CommandError::Restless { .. } => "try again".to_owned(),
            CommandError::ImportRefused { .. } => {
                "the notes in the table say why; `--skip-refused` imports the others".to_owned()
            }
            CommandError::BadName { given, err: UnitNameError::BadChar { ch, .. } } if "*?[".contains(*ch) => {
                format!("a pattern is quoted: `'{given}'`")
            }
            CommandError::BadName { .. } => {
                "a unit name is a prefix and a type: `hello.service`, `hello@1.service`".to_owned()
            }
            CommandError::BadPattern { .. } => {
                "`*` stands for any characters, `?` for one, `[a-c]` for one of a set; path patterns go in the last part \
                 of a path only"
                    .to_owned()
            }
            CommandError::NoMatch { looked, .. } => format!("looked {looked}"),
            CommandError::NoFiles { .. } => {
                "a unit file has the suffix of its type: `hello.service`, `hello.socket`, ...".to_owned()
            }
            CommandError::BrokenFile { problems, .. } => {
                let hints: Vec<&str> = problems.iter().filter_map(|problem| problem.hint.as_deref()).collect();
                if hints.is_empty() {
                    return None;
                }
                hints.join("; ")
            }
            CommandError::FoundNowhere { beside: Some(beside), .. } if beside.is_dir() => {
                format!("there is a directory of that name: write `{}/`", beside.display())
            }
            CommandError::FoundNowhere { beside: Some(beside), .. } => {
                format!("there is `{}`: write its name with the suffix", beside.display())
            }
            CommandError::FoundNowhere { path, similar, .. } => {
                let missing = format!("there is no file `{}`", path.display());
                if similar.is_empty() { missing } else { format!("{missing}; in the cluster {}", there_is(similar)) }
            }
            CommandError::NoTemplate { template, .. } => {
                format!("submit the template first: `fleetctl submit {template}`")
            }
            CommandError::Template(problem) => return problem.hint.clone(),
            CommandError::NothingToReplace { path, .. } => format!("there is no file `{}`", path.display()),
            CommandError::ReplaceRefused { name, state, .. } => match state {
                v2::State::Launched => format!("`fleetctl start --replace {name}` replaces a unit that is launched"),
                v2::State::Inactive | v2::State::Loaded => {
                    format!("`fleetctl load --replace {name}` replaces a unit that is loaded")
                }
            },
            CommandError::UnknownUnit { similar, .. } if !similar.is_empty() => there_is(similar),
            CommandError::UnknownUnit { .. } => "`fleetctl list-unit-files` shows the units that exist".to_owned(),
            CommandError::Inactive { verb: "stop", .. } => "it is on no machine, so it does not run".to_owned(),
            CommandError::Inactive { name, .. } => format!("it is on no machine; start it: `fleetctl start {name}`"),
            CommandError::UnitFailed { failure: Failure::State { state, .. }, .. } if state.result == "start-limit-hit" => {
                "systemd refuses more starts in a short time; wait a little, or set StartLimitBurst= and \
                 StartLimitIntervalSec= in [Unit]"
                    .to_owned()
            }
            CommandError::UnitFailed { failure: Failure::State { state, .. }, .. } if missing_unit(&state.error).is_some() => {
                let missing = missing_unit(&state.error).unwrap_or_default();
                format!(
                    "the unit asks for {missing} (`Requires=`, `BindsTo=`), which its machine does not have: install it there, give it \
                     to the cluster beside the unit (`MachineOf=`), or take the line out"
                )
            }
            CommandError::UnitFailed { name, failure: Failure::State { state, .. }, .. } if state.load == "bad-setting" => format!(
                "correct the file and give it again: `fleetctl start --replace {name}`; the line numbers are those of \
                 `fleetctl cat --canonical {name}`, and one more"
            ),
            CommandError::UnitFailed { name, failure: Failure::State { .. }, .. } => {
                format!("more is shown by `fleetctl status {name}` and `fleetctl journal {name}`")
            }
            CommandError::TimedOut { goal: Goal::Launched, name, .. } => format!(
                "it stays wanted, and is started as soon as that is possible; `fleetctl unload {name}` takes it back"
            ),
            CommandError::WatchLost { .. } => "what was asked for stays asked for; `fleetctl status` shows how far it is".to_owned(),
            CommandError::Interrupted { goal, only, .. } => match goal {
                Goal::Launched => {
                    let units = only.as_deref().unwrap_or("UNIT...");
                    format!("the desired state stays `launched`; `fleetctl unload {units}` takes it back")
                }
                Goal::Destroyed => "they are going on to be stopped and removed".to_owned(),
                Goal::Loaded | Goal::Stopped => "the desired state stays `loaded`".to_owned(),
                Goal::Unloaded => "the desired state stays `inactive`".to_owned(),
            },
            CommandError::DrainTimedOut { .. } | CommandError::DrainInterrupted { .. } => {
                "the drain goes on; `fleetctl machine drain` follows it again, `fleetctl machine uncordon` ends it".to_owned()
            }
            CommandError::NotPlaced { name, state: v2::State::Inactive, .. } => {
                format!("start it: `fleetctl start {name}`")
            }
            CommandError::NotPlaced { name, .. } => {
                format!("it waits for a machine; `fleetctl status {name}` says why")
            }
            CommandError::JournalMode { .. } => format!("use one of {}", Look::modes()),
            CommandError::NoMachine { known, .. } if known.is_empty() => "no machine is present".to_owned(),
            CommandError::NoMachine { known, .. } => format!("these are there: {}", known.join(", ")),
            CommandError::AmbiguousMachine { machines, .. } => format!("write more of the ID: {}", machines.join(", ")),
            CommandError::NoFleetd { .. } => "install `fleetd` beside `fleetctl`".to_owned(),
            _ => return None,
        };
        Some(hint)
    }
}

/// What of the cluster has a name that begins in the same way.
fn there_is(similar: &[String]) -> String {
    let names: Vec<&str> = similar.iter().map(String::as_str).collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("there {verb} {}", render::progress::some_of(&names, SIMILAR_MAX))
}

/// How many units with a similar name are named.
const SIMILAR_MAX: usize = 5;

/// The unit that systemd misses, in its words for a start that it refuses.
fn missing_unit(error: &str) -> Option<&str> {
    let (_, rest) = error.split_once(" Unit ")?;
    let name = rest.strip_suffix(" not found.").or_else(|| rest.strip_suffix(" not found"))?;
    (!name.contains(' ')).then_some(name)
}

/// What to do about a problem of which the daemon does not say it.
fn hint_for(kind: &str) -> Option<String> {
    let hint = match kind {
        UNKNOWN_UNIT => "`fleetctl list-unit-files` shows the units that exist",
        "unknown-machine" => "`fleetctl list-machines -l` shows the machines that are there",
        "store-unavailable" | "not-ready" => "try again; the units that run go on running",
        _ => return None,
    };
    Some(hint.to_owned())
}
